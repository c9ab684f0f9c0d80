"""
Jabber Address Translation: a component's address stands for the resources of an ordinary client account.
"""
