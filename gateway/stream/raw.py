"""
Base class of the handlers on a link's raw lane.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.words.protocols.jabber.ijabber import IXMPPHandlerCollection
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway.stream.interfaces import IRawHandler
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza


@implementer(IRawHandler)
class RawHandler(XMPPHandler):
    """
    A raw handler that takes nothing and has nothing open; derive from it.

    @ivar _link: the link that it is on.
    @ivar _send: sends serialised stanzas there.
    """

    _link: Link
    _send: Callable[[bytes], object]

    @property
    def pending(self) -> int:
        return 0

    def setHandlerParent(self, parent: IXMPPHandlerCollection) -> None:
        # A raw handler needs a link.
        assert isinstance(parent, Link)
        self._link = parent
        self._send = parent.sendRaw
        super().setHandlerParent(parent)

    def stanzaReceived(self, stanza: Stanza) -> bool:
        return False

    def tick(self, now: float) -> None:
        """Called about once a second; end overdue exchanges here."""

    def drain(self) -> None:
        """The link will stop: accept nothing new."""

    def drained(self) -> None:
        """The link stops: end the exchanges that are still open."""
