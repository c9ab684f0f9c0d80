"""Rooms that several sites share (FMUC, XEP-0289): each message crosses the link between two sites once."""
