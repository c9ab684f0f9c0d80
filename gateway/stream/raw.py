"""
What the handlers on a link's raw lane have in common.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.words.protocols.jabber.ijabber import IXMPPHandlerCollection
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway.interfaces import IRawHandler
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza


@implementer(IRawHandler)
class RawHandler(XMPPHandler):
    """
    A raw handler that takes nothing and has nothing open; derive from it.

    @ivar _link: what it is on.
    @ivar _send: sends serialised stanzas there.
    """

    _link: Link
    _send: Callable[[bytes], object]

    @property
    def pending(self) -> int:
        return 0

    def setHandlerParent(self, parent: IXMPPHandlerCollection) -> None:
        # A raw handler is of use on a link only.
        assert isinstance(parent, Link)
        self._link = parent
        self._send = parent.sendRaw
        super().setHandlerParent(parent)

    def stanzaReceived(self, stanza: Stanza) -> bool:
        return False

    def tick(self, now: float) -> None:
        """Nothing is overdue."""

    def drain(self) -> None:
        """Nothing is open."""

    def drained(self) -> None:
        """Nothing is left."""
