"""
The presence that the component itself sends (RFC 6121 sections 3 and 4).
"""

from __future__ import annotations

from gateway.stream.stanzas import route


def presence(sender: str, recipient: str, kind: str = "") -> bytes:
    """
    A presence stanza without content.

    @param kind: its type; empty for available.
    """
    attribute = f" type='{kind}'".encode() if kind else b""
    return b"<presence" + route(sender, recipient) + attribute + b"/>"
