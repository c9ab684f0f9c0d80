"""Live tests: the gateway as an operator runs it, between private servers and ordinary slixmpp clients."""
