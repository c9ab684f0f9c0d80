"""
Namespace Delegation (XEP-0355), both sides: the managing entity, and the delegating server.
"""
