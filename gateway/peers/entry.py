"""
The check of the stanzas that a peer sends: it speaks for its own domains, to components that use direct links.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Collection

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.addresses import jids
from gateway.errors import UnknownServer
from gateway.log.printable import printable
from gateway.log.seldom import Seldom
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza, errorReply


class Links(typing.Protocol):
    """The components that use direct links."""

    def linkOf(self, domain: str) -> Link | None:
        """Return the link of a component; C{None} if there is none, or it is stopped."""

    def connected(self, domains: Collection[str]) -> None:
        """Tell the components that the peer that speaks for these domains has a new connection."""


class Entry:
    """
    Checks the stanzas of one peer.

    @ivar refused: number of stanzas that were not accepted, by the reason.
    @param domains: the domains that the peer speaks for.
    @param answer: sends an error to the peer.
    """

    _log = Logger()

    def __init__(
        self,
        peer: str,
        domains: Collection[str],
        links: Links,
        answer: Callable[[bytes], object],
        clock: IReactorTime,
    ) -> None:
        self._peer = peer
        self._domains = domains
        self._links = links
        self._answer = answer
        self._clock = clock
        self._seldom = Seldom()
        self.refused: Counter[str] = Counter()

    def linkFor(self, stanza: Stanza) -> Link | None:
        """Return the link that a stanza is for; C{None} if the peer may not send it there."""
        sender, recipient = stanza.sender or "", stanza.recipient or ""
        if stanza.name not in ("iq", "message", "presence"):
            self._refuse(stanza, "not a stanza")
        elif not jids.isPrepared(sender) or jids.split(sender)[1] not in self._domains:
            self._refuse(stanza, "from a domain that is not the peer's")
        elif not jids.isPrepared(recipient):
            self._refuse(stanza, "to an address that is not valid")
        elif (link := self._links.linkOf(jids.split(recipient)[1])) is None:
            self._refuse(stanza, "to a domain that is not a component here")
            if stanza.type != "error" and not (stanza.name == "iq" and stanza.type == "result"):
                self._answer(errorReply(stanza, UnknownServer))
        else:
            return link
        return None

    def _refuse(self, stanza: Stanza, why: str) -> None:
        self.refused[why] += 1
        if (more := self._seldom.more(self._clock.seconds())) is not None:
            self._log.warn(
                "{peer}: a stanza was refused: {reason}: from {sender} to {recipient}{more}.",
                event="peer.stanza_refused",
                peer=self._peer,
                reason=why,
                sender=printable((stanza.sender or "nobody")[:200]),
                recipient=printable((stanza.recipient or "nobody")[:200]),
                more=more,
            )
