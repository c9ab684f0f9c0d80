"""Stanzas as a server writes them."""

from __future__ import annotations

from gateway.stream.stanzas import Stanza
from gateway.testing import stanzas


def stanza(xml: str) -> Stanza:
    """Return the one stanza of a text."""
    [found] = stanzas(xml)
    return found
