"""
A small XMPP host for trying the gateway out: accounts, rosters, presence, components. Not for production.
"""
