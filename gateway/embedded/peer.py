"""
The common part of client and component connections: the receiving side of a stream, and back-pressure.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.embedded import stanzas
from gateway.embedded.core import MAX_STANZA
from gateway.embedded.ports import Peer
from gateway.embedded.roster import Item
from gateway.errors import BadRequest, GatewayError, HandlerFailed, NotAcceptable, TooLarge
from gateway.log.seldom import Seldom
from gateway.stream.connection import Connection
from gateway.stream.core import Limits, Splitter
from gateway.stream.refused import StanzaRefused, isBounced, substitute
from gateway.stream.stanzas import Stanza
from gateway.xml import write
from gateway.xml.errors import errorStanza
from gateway.xml.write import route, streamHeader

_IQ_TYPES = frozenset({"get", "set", "result", "error"})

# Limits before authentication.
UNAUTHENTICATED = Limits(stanzaSize=16 * 1024, depth=8)

# Limits after it. A client's stanza must still fit when its addresses become longer; a component's stanza may
# contain one that was sent to it, and is then larger.
CLIENTS = Limits(stanzaSize=MAX_STANZA - 16 * 1024)
COMPONENTS = Limits(stanzaSize=MAX_STANZA + 64 * 1024)


class PeerConnection(Connection):
    """
    A connection that a client or component has opened.

    @cvar namespace: the content namespace of its streams.
    @cvar firstLimits: limits of its first stream.
    """

    namespace: str
    firstLimits = UNAUTHENTICATED
    agent: str | None = None

    # Seconds to authenticate, and to take any bytes of the waiting output.
    admittedWithin = 30.0
    stallFor = 60.0

    # A peer with this many waiting bytes is disconnected, because components do not wait for slow readers. A peer
    # that reads never reaches this: the transport takes more at a time than one chunk of input causes.
    fullBytes = 16 * 1024 * 1024

    _log = Logger()

    def __init__(self, domain: str, clock: IReactorTime) -> None:
        super().__init__(self._makeSplitter(self.firstLimits), clock)
        self._domain = domain
        self._streamId = ""
        # The client's requests that are not answered yet.
        self._asked = 0
        self._held: set[PeerConnection] = set()
        self._refusals = Seldom()

    def connectionMade(self) -> None:
        super().connectionMade()
        self._setDeadline(self._clock.callLater(self.admittedWithin, self.refuse, "connection-timeout"))

    def _makeSplitter(self, limits: Limits) -> Splitter:
        """Return the reader of a stream that fails at the first stanza over the limits."""
        splitter = Splitter(self.namespace, limits)
        splitter.skips = False
        return splitter

    def _open(self, receive: Callable[[Stanza], object]) -> None:
        # From now on a stanza that is too large is skipped, and the stream goes on.
        self._splitter.skips = True
        super()._open(receive)

    @property
    def isUnauthenticated(self) -> bool:
        """True while the peer is not authenticated, unless the connection is closing."""
        return not (self._produces or self._closing)

    def write(self, data: bytes) -> bool:
        if super().write(data):
            return True
        if not self._closing:
            self.abort(ConnectionAbortedError(f"the peer reads too slowly: {self.unsentBytes} bytes wait"))
        return False

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """
        Send a stanza with these addresses, in this stream's namespace.

        @raise NotAcceptable: if that makes it too large: a component would end its stream, and with it the
            exchanges of all other users.
        """
        self.write(stanzas.readdressed(stanza, sender, recipient, self.namespace, MAX_STANZA))

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        """Answer an iq request of this peer."""
        self.write(write.iq(route(recipient, sender), stanza.id or "", "result", payload.encode()))

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        """Send presence that has only a type."""
        self.write(write.presence(route(sender, recipient), kind))

    def push(self, item: Item, removed: bool) -> None:
        """Send a roster push; only clients get one."""

    def _take(self, stanza: Stanza, route_: Callable[[], None]) -> None:
        """
        Handle a stanza of this peer. Any failure is answered to this peer, and does not affect others.

        @param route_: routes the stanza; may raise.
        """
        addresses = self._addresses(stanza)
        error: type[GatewayError]
        try:
            if stanza.name == "iq" and (not stanza.id or stanza.type not in _IQ_TYPES):
                raise BadRequest
            route_()
            return
        except GatewayError as raised:
            error = type(raised)
        except Exception:
            self._log.failure(
                "The embedded host failed to handle {stanza!r}.", event="embedded.stanza_failed", stanza=stanza
            )
            error = HandlerFailed
        if error is NotAcceptable and (stanza.name, stanza.type) == ("iq", "result"):
            # The answer was too large to be delivered. The requester waits for it, so send an error in its place.
            instead = substitute(stanza, TooLarge)
            assert instead is not None
            self._stanzaReceived(instead)
        self.refuseStanza(stanza, *addresses, error)

    def _stanzaReceived(self, stanza: Stanza) -> None:
        """Handle a stanza of this peer; must not raise."""
        raise NotImplementedError

    def _addresses(self, stanza: Stanza) -> tuple[str, str]:
        """Return sender and recipient of a stanza of this peer, which may lack both."""
        raise NotImplementedError

    def _stanzaRefused(self, refused: StanzaRefused) -> None:
        if (more := self._refusals.more(self._clock.seconds())) is not None:
            self._log.warn(
                "The embedded host refused {refused}{more}.",
                event="embedded.stanza_refused",
                refused=refused.inWords(),
                more=more,
            )
        instead = substitute(refused.stanza, refused.why)
        if instead is not None:
            self._stanzaReceived(instead)
        elif isBounced(refused.stanza):
            self.refuseStanza(refused.stanza, *self._addresses(refused.stanza), refused.why)

    def refuseStanza(self, stanza: Stanza, sender: str, recipient: str, error: type[GatewayError]) -> None:
        """Answer a stanza of this peer with an error, unless it is itself an answer (RFC 6120 section 8.3.1)."""
        if stanza.type not in ("error", "result"):
            self.write(errorStanza(stanza.name, route(recipient, sender), stanza.id, error))

    def refuse(self, condition: str, text: str = "") -> None:
        """End the stream with an error (RFC 6120 section 4.9)."""
        self._fail(condition, text)

    def _begin(self, sender: str, version: str | None = None, language: str | None = None) -> None:
        """Answer the peer's stream header with the host's (RFC 6120 section 4.7)."""
        self._streamId = secrets.token_urlsafe(12)
        header = streamHeader(self.namespace, id=self._streamId, from_=sender, version=version, lang=language)
        self.write(header)

    def _fail(self, condition: str, text: str) -> None:
        # A stream error needs an open stream, even if the peer's header was invalid (RFC 6120 section 4.9.1.2).
        if not self._streamId and not self._closing:
            self._begin(self._domain)
        super()._fail(condition, text)

    # Back-pressure. If too much output waits for a peer, neither that peer nor the clients that write to it are
    # read from. Components are still read from, because their stanzas are for many recipients. Answers to the slow
    # peer's own requests do not count either: otherwise a peer that sends requests and does not read could block
    # all others.

    def waitFor(self, peer: Peer, stanza: Stanza) -> None:
        if not isinstance(peer, PeerConnection):
            return
        if peer._asked and stanza.name == "iq" and stanza.type in ("result", "error"):
            peer._asked -= 1
        elif peer.stalled:
            self._hold(peer)

    def _hold(self, slow: PeerConnection) -> None:
        """Stop reading from this peer until the other peer has taken its waiting output."""
        if slow is not self and self not in slow._held:
            slow._held.add(self)
            self._holders += 1
            self._isEnough = True
            self._steer()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if not self.stalled:
            self._release()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, set()
        for other in held:
            other._holders -= 1
            other._steer()


class PeerFactory(Factory):
    """
    Makes connections, and limits the number of unauthenticated ones: at the limit the oldest of them is closed.

    @param make: makes a connection.
    """

    noisy = False
    maxUnauthenticated = 100

    def __init__(self, make: Callable[[], PeerConnection]) -> None:
        self._make = make
        self._unauthenticated: list[PeerConnection] = []

    def buildProtocol(self, addr: IAddress | None) -> PeerConnection:
        self._unauthenticated = [each for each in self._unauthenticated if each.isUnauthenticated]
        if len(self._unauthenticated) >= self.maxUnauthenticated:
            self._unauthenticated.pop(0).refuse("resource-constraint", "too many connections are not logged in")
        connection = self._make()
        self._unauthenticated.append(connection)
        return connection
