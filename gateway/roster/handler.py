"""
Users who come online are refreshed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.words.protocols.jabber.jid import JID
from wokkel.disco import DiscoFeature, DiscoIdentity
from wokkel.iwokkel import IDisco
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import jids, ns
from gateway.roster.core import Finished
from gateway.roster.refresher import Refresher
from gateway.stream.stanzas import Stanza

# Seconds that a user whose roster is too large to be read is left alone.
_TOO_LARGE_REST = 3_600.0

# Users whose last refresh is remembered.
_MOST_USERS = 100_000


class PresenceWatcher:
    """
    Hears the presence feed (XEP-0356 section 7).

    @param minInterval: seconds between two refreshes of a user by this.
    """

    _log = Logger()

    def __init__(self, domain: str, refresher: Refresher, minInterval: float, clock: IReactorTime) -> None:
        self._domain = domain
        self._refresher = refresher
        self._minInterval = minInterval
        self._clock = clock
        self._refreshed: OrderedDict[str, float] = OrderedDict()

    def seen(self, presence: Stanza) -> None:
        """A resource of a user, or of a contact, has become available or unavailable."""
        local, domain, _ = jids.split(presence.sender or "")
        if presence.type is not None or domain != self._domain or not local:
            return
        now = self._clock.seconds()
        last = self._refreshed.pop(local, None)
        self._refreshed[local] = now if last is None or now - last >= self._minInterval else last
        if len(self._refreshed) > _MOST_USERS:
            self._refreshed.popitem(last=False)
        if self._refreshed[local] == now and last != now:
            self._refresher.refresh(local).addCallback(self._ended, local)

    def _ended(self, finished: Finished, name: str) -> None:
        if finished.isTooLarge and name in self._refreshed:
            self._refreshed[name] = self._clock.seconds() + _TOO_LARGE_REST - self._minInterval
        # Of whom the application knows nothing there is nothing to say.
        if finished.reason and not finished.isUnknown:
            self._log.warn(
                "{name}@{domain} came online, and keeps the roster that is there: {reason}",
                name=name,
                domain=self._domain,
                reason=finished.reason,
            )


@implementer(IDisco)
class Description(XMPPHandler):
    """What the component says that it is (XEP-0030); L{wokkel.disco.DiscoHandler} asks."""

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        if nodeIdentifier:
            return []
        return [
            DiscoIdentity("component", "generic", "Rosters from a web application"),
            DiscoFeature(ns.DISCO_INFO),
        ]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return []
