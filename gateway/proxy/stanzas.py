"""
The presence that the component itself sends (RFC 6121 sections 3 and 4).
"""

from __future__ import annotations

from gateway.xml import write
from gateway.xml.write import route


def presence(sender: str, recipient: str, kind: str = "") -> bytes:
    """
    A presence stanza without content.

    @param kind: its type; empty for available.
    """
    return write.presence(route(sender, recipient), kind or None)
