"""
Chat rooms (XEP-0045), one file for each use case. Pure.

A room may be one of several nodes that act as one room. It knows the other nodes only by the interface of
C{port.py}, which C{gateway/fmuc/} implements.
"""
