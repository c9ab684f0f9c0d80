"""
The clients that have a locked roster, and the pushes that tell them of its changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import NotGranted
from gateway.interfaces import IPrivileges, IStatusProvider, RosterItem
from gateway.log.seldom import Seldom
from gateway.metrics import IMetrics, IMetricsProvider, names
from gateway.reports import StatusItem
from gateway.roster.advice import pushAdvice
from gateway.stream.latest import keepLatest
from gateway.stream.stanzas import Stanza

# Users whose clients are known, and clients of each user.
_MAX_USERS = 100_000
_MAX_CLIENTS = 100

# Seconds from the connection until a missing grant is reported.
_GRANT_TIMEOUT = 3.0

# Stamp of presence that is older than the connection (XEP-0203).
_DELAY = ns.DELAY.encode()


@define(eq=False)
class _Client:
    """
    A client that is online.

    @ivar isInterested: true if it was sent the roster, so that it is told of changes.
    @ivar isAvailable: true if it has sent available presence.
    @ivar isFresh: true if it was sent a fresh roster, and has not sent presence since.
    """

    isInterested: bool = False
    isAvailable: bool = False
    isFresh: bool = False


@implementer(IMetricsProvider, IStatusProvider)
class InterestedClients(XMPPHandler):
    """
    Pushes changes of a locked roster to clients, if the server does not. Prosody pushes only to clients whose
    roster request it has answered itself. A client gets pushes if L{gateway.roster.lock} has sent it the roster, or
    if it was online before the gateway was connected: an earlier process may have sent it.

    @param component: the JID of the gateway's component.
    @param domain: the users' domain.
    @param privileges: port for the pushes; C{None} if the server pushes by itself.
    """

    _log = Logger()

    def __init__(self, component: str, domain: str, privileges: IPrivileges | None, clock: IReactorTime) -> None:
        super().__init__()
        self._component = component
        self._domain = domain
        self._privileges = privileges
        self._clock = clock
        self._connectedAt: float | None = None
        self._users: OrderedDict[str, dict[str, _Client]] = OrderedDict()
        self._pushed = 0
        self._unsent = Seldom()

    def connectionInitialized(self) -> None:
        self._connectedAt = self._clock.seconds()
        if self._privileges is not None:
            self._clock.callLater(_GRANT_TIMEOUT, self._logMissingGrant, self._connectedAt)

    def connectionLost(self, reason: Failure) -> None:
        """Forget all clients: the server sends the presence of those online again."""
        super().connectionLost(reason)
        self._connectedAt = None
        self._users.clear()

    def onRosterGiven(self, jid: str, isFresh: bool) -> None:
        """A client was sent its user's roster."""
        client = self._add(jid)
        client.isInterested = True
        client.isFresh = isFresh and not client.isAvailable

    def takeFresh(self, jid: str) -> bool:
        """
        Return true, once, if a client was sent a fresh roster and now sends its first presence: then no refresh is
        needed.
        """
        client = self._users.get(jids.bare(jid), {}).get(jid)
        if client is None or not client.isFresh:
            return False
        client.isFresh = False
        return True

    def onPresence(self, presence: Stanza) -> None:
        """A resource has become available or unavailable. It may belong to a contact on another domain."""
        jid = presence.sender or ""
        if presence.type == "unavailable":
            self._remove(jid)
        elif presence.type is None and jids.split(jid)[1] == self._domain:
            client = self._add(jid)
            client.isInterested |= not client.isAvailable and _DELAY in presence.raw
            client.isAvailable = True

    def onContactSet(self, user: str, item: RosterItem) -> None:
        """A contact was set in a user's roster."""
        if self._privileges is None:
            return
        for jid in [jid for jid, client in self._users.get(user, {}).items() if client.isInterested]:
            try:
                isSent = self._privileges.pushRoster(user, jid, item, partial(self._onPushError, jid))
            except NotGranted:
                # Already logged, by _logMissingGrant.
                return
            if isSent:
                self._pushed += 1
            elif (more := self._unsent.more(self._clock.seconds())) is not None:
                self._log.warn(
                    "A roster push to {jid} was dropped: too much output waits for the server.{more}",
                    event="roster.push_dropped",
                    jid=jid,
                    more=more,
                )

    def measure(self, metrics: IMetrics) -> None:
        metrics.gauge(*names.ROSTER_CLIENTS).setFunction(lambda: self._interested)
        metrics.counter(*names.ROSTER_PUSHES).setFunction(lambda: self._pushed)

    @property
    def _interested(self) -> int:
        return sum(client.isInterested for clients in self._users.values() for client in clients.values())

    def report(self) -> Iterator[StatusItem]:
        clients = self._interested
        if self._privileges is None:
            text = "locked rosters were given to {clients} clients; the server pushes changes"
            yield StatusItem("roster.locked", text, {"clients": clients})
        elif self._connectedAt is not None and self._clock.seconds() - self._connectedAt >= _GRANT_TIMEOUT:
            about = {"clients": clients, "pushes": self._pushed}
            text = "changes are pushed to {clients} clients; {pushes} pushes were sent"
            yield self._missingGrant() or StatusItem("roster.pushes", text, about)

    def _add(self, jid: str) -> _Client:
        bare = jids.bare(jid)
        clients = self._users.get(bare, {})
        keepLatest(self._users, bare, clients, _MAX_USERS)
        client = clients.get(jid) or _Client()
        keepLatest(clients, jid, client, _MAX_CLIENTS)
        return client

    def _remove(self, jid: str) -> None:
        bare = jids.bare(jid)
        clients = self._users.get(bare, {})
        if clients.pop(jid, None) is not None and not clients:
            del self._users[bare]

    def _onPushError(self, jid: str) -> None:
        """A push was answered with an error: forget the client, unless it is known to be online."""
        client = self._users.get(jids.bare(jid), {}).get(jid)
        if client is not None and not client.isAvailable:
            self._remove(jid)

    def _missingGrant(self) -> StatusItem | None:
        """Return advice if the grant for pushes is missing."""
        assert self._privileges is not None
        granted = self._privileges.permissions(self._domain).iq.get(ns.ROSTER, "none")
        if granted in ("set", "both"):
            return None
        software = getattr(self.parent, "software", "")
        return StatusItem(
            "roster.pushes_not_granted",
            "{server} does not grant roster pushes to the component, so clients see changes of locked "
            "rosters only at their next login. {advice}",
            {"server": self._domain, "advice": pushAdvice(self._component, self._domain, software)},
            isProblem=True,
        )

    def _logMissingGrant(self, connectedAt: float) -> None:
        if self._connectedAt == connectedAt and (missed := self._missingGrant()):
            self._log.warn(
                "{component}: {missed}",
                event="roster.pushes_not_granted",
                component=self._component,
                missed=str(missed),
            )
