"""
One peer: its connection, and the way of stanzas to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from gateway.errors import NoAnswer, TooLarge
from gateway.log.seldom import Seldom
from gateway.peers.entry import Entry, Links
from gateway.peers.paths import QUIET, Pair, Paths
from gateway.peers.profiles import Profile
from gateway.peers.protocol import PeerConnection, PeerRefused
from gateway.peers.tls import Connecting
from gateway.peers.trouble import explain
from gateway.reports import StatusItem
from gateway.stream.backoff import Backoff
from gateway.stream.core import Limits
from gateway.stream.refused import StanzaRefused, refusedRoot
from gateway.stream.requests import pingOf
from gateway.stream.stanzas import Stanza

# Stanzas are those of rooms and mirrors, which need no larger ones.
LIMITS = Limits(stanzaSize=512 * 1024)

# Seconds for the endpoint to connect; a modem may have to dial.
_CONNECT_WITHIN = 300.0

# Seconds that a connection must have been up for the next try to be as quick as the first.
_STEADY = 10.0


@frozen(kw_only=True)
class PeerSettings:
    """
    The settings of one peer.

    @ivar name: the name of its table.
    @ivar domains: the domains that it speaks for, and that stanzas are sent to by it.
    @ivar endpoint: what to connect to, for the log; C{None} if the peer connects.
    @ivar listen: the address that the peer connects to; C{None} if this side connects.
    @ivar fingerprints: those of the peer's key; several while it is replaced.
    @ivar keyFile: the file of this gateway's own key.
    """

    name: str
    domains: frozenset[str]
    endpoint: str | None
    listen: str | None
    fingerprints: frozenset[str]
    keyFile: str
    profile: Profile
    fallsBack: bool


class Peer:
    """
    A peer, and the connection to it.

    @ivar connections: number of connections so far.
    @ivar refused: number of stanzas of the peer that were not accepted, by the reason.
    @ivar stanzas: number of stanzas, by C{received} and C{sent}.
    @ivar trouble: the reason why there is no connection.
    """

    _log = Logger()

    def __init__(
        self,
        settings: PeerSettings,
        links: Links,
        reactor: Any,
        endpoint: IStreamClientEndpoint | None,
        tls: Connecting | None,
        random: Random,
    ) -> None:
        self.settings = settings
        self.profile = settings.profile
        self._links = links
        self._reactor = reactor
        self._endpoint = endpoint
        self._tls = tls
        now = reactor.seconds()
        self.paths = Paths(self, settings.fallsBack, settings.profile.wait, now)
        profile = settings.profile
        self._backoff = Backoff(profile.firstRetry, profile.lastRetry, random, 20 * profile.firstRetry)
        self._connection: PeerConnection | None = None
        # The connection of this side that is not accepted yet.
        self._joining: PeerConnection | None = None
        self._isRunning = False
        self._trying: Deferred[Any] | None = None
        self._retry: IDelayedCall | None = None
        self._upAt = now
        self.connections = 0
        self._entry = Entry(settings.name, settings.domains, links, self.sendDirectly, reactor)
        self.refused = self._entry.refused
        self.stanzas: Counter[str] = Counter()
        # Of earlier connections.
        self._before: Counter[str] = Counter()
        self._stanzasBefore: Counter[str] = Counter()
        self._lostSeldom = Seldom()
        self._upSeldom = Seldom()
        self.trouble = "connecting" if settings.endpoint else "the peer has not connected yet"
        # The last connection to this side's port with an unknown key, while there is no link.
        self._refusedKey = ""
        self._isPinging = False
        # Answers to pings of this connection that are awaited; the values mean nothing.
        self._pings: dict[Deferred[Any], None] = {}
        # Fires when the last connection is lost, after a stop.
        self._ended: Deferred[None] | None = None

    # As a service.

    def start(self) -> None:
        """Connect, or wait for the peer."""
        self._isRunning = True
        if self._endpoint is not None:
            self._connect()

    def stop(self) -> Deferred[None]:
        """End the connection; what was sent on it before still arrives, if the other side reads it in time."""
        self._isRunning = False
        self.trouble = "stopped"
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._trying is not None:
            self._trying.cancel()
        if self._connection is None and self._joining is None:
            return succeed(None)
        ended = self._ended = Deferred()
        if self._connection is not None:
            self._connection.close()
        elif self._joining is not None:
            # Otherwise the other side could still accept it.
            self._joining.abort(PeerRefused(self.trouble))
        return ended

    def tick(self, now: float) -> None:
        """Called once a second."""
        if self._connection is not None:
            self._connection.tick(now)
        if self.paths.tick(now):
            self._log.warn(
                "{peer}: the direct link is down for {seconds:.0f} s: {way}.",
                event="peer.other_way",
                peer=self.settings.name,
                seconds=self.profile.wait,
                way="stanzas go by the server" if self.settings.fallsBack else "stanzas are refused",
            )

    # Connecting.

    def _connect(self) -> None:
        self._retry = None
        assert self._endpoint is not None and self._tls is not None
        factory = Factory.forProtocol(self._join)
        factory.noisy = False
        wrapped = TLSMemoryBIOFactory(self._tls, True, factory, self._reactor)
        wrapped.noisy = False
        self._trying = maybeDeferred(self._endpoint.connect, wrapped)
        self._trying.addTimeout(_CONNECT_WITHIN, self._reactor)
        self._trying.addCallbacks(self._transportMade, self._tryFailed)

    def _join(self) -> PeerConnection:
        self._joining = PeerConnection(self, self._reactor, False, LIMITS)
        return self._joining

    def _transportMade(self, protocol: Any) -> None:
        self._trying = None
        if not self._isRunning:
            protocol.abortConnection()

    def _tryFailed(self, reason: Failure) -> None:
        self._trying = None
        self._tryAgain(reason)

    def _tryAgain(self, reason: Failure) -> None:
        now = self._reactor.seconds()
        if not self._isRunning:
            return
        self.trouble = explain(reason, self.settings.endpoint, self._tls.own if self._tls is not None else "")
        retry = ""
        if self._endpoint is not None:
            delay = self._backoff.next()
            retry = f" (next try in {delay:.1f} s)"
            self._retry = self._reactor.callLater(delay, self._connect)
        if (more := self._lostSeldom.more(now)) is not None:
            self._log.warn(
                "{peer}: no direct link: {trouble}{retry}{more}.",
                event="peer.lost",
                peer=self.settings.name,
                trouble=self.trouble,
                retry=retry,
                more=more,
            )

    # As the guard and the owner of connections.

    def ownerOf(self, fingerprint: str) -> Peer | None:
        return self if fingerprint in self.settings.fingerprints and self._isRunning else None

    def failed(self, connection: PeerConnection, reason: Failure) -> None:
        self.lost(connection, reason)

    def accepted(self, connection: PeerConnection) -> None:
        now = self._reactor.seconds()
        self._joining = None
        old = self._connection
        if old is not None:
            # The other side has lost it. What was sent on it and is not read yet must not come after new stanzas.
            old.abort(ConnectionAborted("the peer has connected again"))
        self._connection = connection
        self.connections += 1
        self._upAt = now
        self.trouble = self._refusedKey = ""
        if (more := self._upSeldom.more(now)) is not None:
            self._log.info(
                "{peer}: the direct link is up ({address}){more}.",
                event="peer.connected",
                peer=self.settings.name,
                address=connection.address or "no address",
                more=more,
            )
        self.paths.connected(now)
        self._links.connected(self.settings.domains)

    def keyRefused(self, address: str, trouble: str) -> None:
        """A connection to the port of this peer was refused because of its key, which may be the peer's new one."""
        if not self.isUp:
            self._refusedKey = f"a connection from {address or 'no address'} was refused: {trouble}"

    def stanzaReceived(self, connection: PeerConnection, stanza: Stanza) -> None:
        if self._connection is not connection:
            return
        link = self._entry.linkFor(stanza)
        if link is None:
            return
        self.stanzas["received"] += 1
        now = self._reactor.seconds()
        if len(stanza.raw) > link.limits.stanzaSize:
            link.stanzaRefused(refusedRoot(stanza, TooLarge, len(stanza.raw), b""))
        else:
            link.stanzaFromPeer(stanza, now)

    def stanzaRefused(self, refused: StanzaRefused) -> None:
        link = self._entry.linkFor(refused.stanza)
        if link is not None:
            link.stanzaRefused(refused)

    def sessionReceived(self, session: Any) -> None:
        if self._tls is not None:
            self._tls.session = session

    def resumed(self) -> None:
        self.paths.flush(self._reactor.seconds())

    def ending(self, connection: PeerConnection) -> None:
        if self._connection is connection:
            now = self._reactor.seconds()
            self._count(connection)
            self._connection = None
            if now - self._upAt >= _STEADY:
                self._backoff.reset()
            self.paths.disconnected(now)
            # A peer that connects again and again must not fill the table of requests.
            for ping in list(self._pings):
                ping.cancel()

    def lost(self, connection: PeerConnection, reason: Failure) -> None:
        if self._joining is connection:
            self._joining = None
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)
        # A connection that was replaced is not missed.
        if self._connection is None:
            self._tryAgain(reason)

    # As the port of the paths.

    @property
    def isFull(self) -> bool:
        return self._connection is not None and self._connection.isFull

    @property
    def isPinging(self) -> bool:
        """True while a ping is sent, which goes by the server."""
        return self._isPinging

    def sendDirectly(self, data: bytes) -> bool:
        if self._connection is None or not self._connection.write(data):
            return False
        self.stanzas["sent"] += 1
        return True

    def sendByServer(self, pair: Pair, data: bytes) -> bool:
        link = self._links.linkOf(pair[0])
        # Nothing is left to be sent for a component that was removed.
        return link is None or link.sendToServer(data)

    def ping(self, pair: Pair, number: int) -> None:
        here, there = pair
        link = self._links.linkOf(here)
        if link is None:
            return
        request: Any = pingOf(there)
        request.timeout = QUIET
        self._isPinging = True
        try:
            answer = link.request(request)
        finally:
            self._isPinging = False
        self._pings[answer] = None
        answer.addBoth(self._pinged, answer, pair, number)

    def _pinged(self, result: object, answer: Deferred[Any], pair: Pair, number: int) -> None:
        self._pings.pop(answer, None)
        # An error of another entity is an answer. Without one, the paths wait for as long as servers keep stanzas.
        if not isinstance(result, Failure) or getattr(result.value, "stanza", None) is not None:
            self.paths.answered(pair, number, self._reactor.seconds())

    def refuse(self, pair: Pair, data: bytes) -> None:
        link = self._links.linkOf(pair[0])
        if link is not None:
            link.refusals.unreachable(data, NoAnswer)

    # For the operator.

    def _count(self, connection: PeerConnection) -> None:
        self._before += _bytesOf(connection)
        self._stanzasBefore += _stanzaBytesOf(connection)

    @property
    def bytes(self) -> Counter[str]:
        """Bytes of frames, by C{received} and C{sent}."""
        return self._before + (_bytesOf(self._connection) if self._connection is not None else Counter())

    @property
    def stanzaBytes(self) -> Counter[str]:
        """Bytes of stanzas, before compression."""
        now: Counter[str] = Counter() if self._connection is None else _stanzaBytesOf(self._connection)
        return self._stanzasBefore + now

    @property
    def isUp(self) -> bool:
        return self._connection is not None

    def report(self) -> Iterator[StatusItem]:
        """For C{/status}."""
        way = "by the server" if self.paths.byServer else "refused" if self.paths.refuses else "waiting"
        counts = self.bytes
        about = {
            "peer": self.settings.name,
            "isUp": self.isUp,
            "trouble": self.trouble,
            "way": way,
            "received": self.stanzas["received"],
            "sent": self.stanzas["sent"],
            "bytesReceived": counts["received"],
            "bytesSent": counts["sent"],
            "waiting": self.paths.waiting,
            "refusedKey": self._refusedKey,
        }
        text = "direct link to {peer}: up; received: {received} stanzas in {bytesReceived} bytes"
        text += "; sent: {sent} in {bytesSent}"
        if not self.isUp:
            text = "direct link to {peer}: down: {trouble}; stanzas to it: {way}"
            text += "; {refusedKey}" * bool(self._refusedKey)
        if self.paths.waiting:
            text += "; waiting: {waiting}"
        yield StatusItem("peer.link", text, about, isProblem=not self.isUp)
        if self.refused:
            yield StatusItem(
                "peer.refused",
                "stanzas of {peer} that were refused: {refused}; name the components of that gateway in its table "
                "here and in domains, and let its operator do the same for the components here",
                {
                    "peer": self.settings.name,
                    "refused": dict(self.refused),
                },
                isProblem=True,
            )


def _bytesOf(connection: PeerConnection) -> Counter[str]:
    return Counter(received=connection.bytesIn, sent=connection.bytesOut)


def _stanzaBytesOf(connection: PeerConnection) -> Counter[str]:
    return Counter(received=connection.stanzaBytesIn, sent=connection.stanzaBytesOut)
