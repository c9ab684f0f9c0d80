"""
The handler that reads which servers send a component presence unasked (L{gateway.stream.feeds}).
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.reports import StatusItem
from gateway.stream.interfaces import IStatusProvider
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza

# A part of both namespaces of advertisements.
_MARK = b"urn:xmpp:privilege:"


@implementer(IStatusProvider)
class UnaskedPresence(RawHandler):
    """
    The first handler of a link. It takes advertisements of privileges, if no other handler has a use for them, and
    no other stanza. It reports presence that the component's own server sends for nothing.
    """

    _log = Logger()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._link.feeds.clear()

    def stanzaReceived(self, stanza: Stanza) -> bool:
        if stanza.name == "iq":
            return False
        sender, feeds = stanza.sender or "", self._link.feeds
        if stanza.name == "message":
            return (
                _MARK in stanza.raw
                and not {"@", "/"}.intersection(sender)
                and stanza.type != "error"
                and stanza.recipient in (None, "", self._link.jid)
                and self._messageReceived(sender, stanza)
            )
        if stanza.type in (None, "unavailable") and feeds.covers(sender, stanza.recipient or ""):
            feeds.received += 1
        return False

    def _messageReceived(self, server: str, stanza: Stanza) -> bool:
        feeds = self._link.feeds
        before = feeds.unused
        if not feeds.advertised(server, stanza.element):
            return False
        if feeds.unused not in ("", before):
            self._log.info(
                "{component}: {unused}",
                event="link.presence_unused",
                component=self._link.jid,
                unused=str(self._unused()),
            )
        return not feeds.isRead

    def report(self) -> Iterator[StatusItem]:
        if self._link.feeds.unused:
            yield self._unused()

    def _unused(self) -> StatusItem:
        feeds = self._link.feeds
        return StatusItem(
            "presence.unused",
            "{server} grants the privilege presence = {kind}, which this component has no use for: it sends each "
            "change of a user's presence, {received} so far. See docs/privilege.md for a smaller grant.",
            {"server": self._link.domain, "kind": feeds.unused, "received": feeds.received},
        )
