"""
Privileged entities (XEP-0356): what a server lets a component do for its users.
"""
