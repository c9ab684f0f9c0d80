"""
Privileged entities (XEP-0356): permissions of a component on a server and its users.
"""
