"""Rooms that stand for ordinary rooms (XEP-0045) of a server."""
