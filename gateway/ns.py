"""
Every namespace the gateway speaks, with the specification it comes from and the version it was read in.
"""

# RFC 6120: streams, stanzas and their errors.
STREAMS = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
XML = "http://www.w3.org/XML/1998/namespace"

# XEP-0114 1.6: Jabber Component Protocol.
COMPONENT_ACCEPT = "jabber:component:accept"

# XEP-0199 2.0.1: XMPP Ping.
PING = "urn:xmpp:ping"
