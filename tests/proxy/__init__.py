"""Jabber Address Translation: addresses, pool, rules, handler, table."""
