"""
The order that a stanza needs among the others of its components. Pure.

Nodes of federated rooms restore the order of stanzas of a channel by themselves (docs/fmuc-resync.md).
"""

from __future__ import annotations

import re
from enum import Enum

from gateway import ns
from gateway.stream.stanzas import Stanza

_CHANNEL = ns.CHANNEL.encode()
# In the spelling of this gateway: the last element of a message or a presence, which is empty; the only element of
# an iq; an element of a presence. A comparison has its place in a channel if it tells it, in an answer.
_HEADER = re.compile(rb"\b[rf] xmlns='%b' [^<>]*/>\Z" % _CHANNEL)
_REQUEST = re.compile(rb"[^>]*>.(?:(?:probe|resume) xmlns='%b'|compare xmlns='%b'[^>]* k=')" % (_CHANNEL, _CHANNEL))
_OPENING = b"channel xmlns='%b'" % _CHANNEL


class Order(Enum):
    """Stanzas that a stanza may overtake."""

    ANY = "it may overtake any other one"
    CHANNEL = "it may overtake those that have left, but for one that opens a channel"
    OPENING = "it opens a channel, and may overtake none"
    STRICT = "it may overtake none"


def orderOf(stanza: Stanza) -> Order:
    """Return the order of a stanza to a peer."""
    if stanza.name == "iq" and stanza.type in ("result", "error") and "@" not in (stanza.recipient or ""):
        # The answer to a request of the other component itself, such as its ping by the server.
        return Order.ANY
    raw = stanza.raw
    if _CHANNEL not in raw:
        return Order.STRICT
    if stanza.name == "iq":
        return Order.CHANNEL if _REQUEST.match(raw) else Order.STRICT
    if _HEADER.search(raw):
        return Order.CHANNEL
    return Order.OPENING if stanza.name == "presence" and _OPENING in raw else Order.STRICT
