"""
What both listeners' connections have in common: the receiving side of a stream, and how slow readers are treated.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway import ns
from gateway.embedded import stanzas
from gateway.embedded.core import MAX_STANZA
from gateway.embedded.ports import Peer
from gateway.embedded.roster import Item
from gateway.errors import GatewayError, HandlerFailed, NotAcceptable, TooLarge, Unreadable
from gateway.seldom import Seldom
from gateway.stream.connection import Connection
from gateway.stream.core import Limits, Splitter
from gateway.stream.refused import StanzaRefused, isBounced, substitute
from gateway.stream.stanzas import Stanza, errorStanza, escape, route

# Until somebody has said who they are, they have little to say.
_IQ_TYPES = frozenset({"get", "set", "result", "error"})

UNAUTHENTICATED = Limits(stanzaSize=16 * 1024, depth=8)

# Bytes of a stanza at most. What clients may send leaves room for another address; what components may, for the
# growth of what was sent to them.
CLIENTS = Limits(stanzaSize=MAX_STANZA - 16 * 1024)
COMPONENTS = Limits(stanzaSize=MAX_STANZA + 64 * 1024)


class PeerConnection(Connection):
    """
    A connection that somebody else opened.

    @cvar namespace: the content namespace of its streams.
    """

    namespace: str
    agent: str | None = None

    # Seconds to say who one is, and to take something of what waits.
    admittedWithin = 30.0
    stallFor = 60.0

    # A peer for which this much waits is given up, because components do not wait for anybody. A peer that reads
    # does not get there: the transport takes more at a time than one chunk of input brings.
    fullBytes = 16 * 1024 * 1024

    _log = Logger()

    def __init__(self, domain: str, clock: IReactorTime) -> None:
        super().__init__(Splitter(self.namespace, UNAUTHENTICATED), clock)
        self._splitter.skips = False
        self._domain = domain
        self._streamId = ""
        # Requests of a client's that others have yet to answer.
        self._asked = 0
        self._held: set[PeerConnection] = set()
        self._refusals = Seldom()

    def connectionMade(self) -> None:
        super().connectionMade()
        self._setDeadline(self._clock.callLater(self.admittedWithin, self.refuse, "connection-timeout"))

    def _open(self, receive: Callable[[Stanza], object]) -> None:
        # Who may say something may say too much.
        self._splitter.skips = True
        super()._open(receive)

    @property
    def isUnauthenticated(self) -> bool:
        """Whether it has yet to say who it is."""
        return not (self._produces or self._closing)

    def write(self, data: bytes) -> bool:
        if super().write(data):
            return True
        if not self._closing:
            self.abort(ConnectionAbortedError(f"it reads too slowly: {self.unsentBytes} bytes wait"))
        return False

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """
        Send a stanza with these addresses, in this stream's namespace.

        @raise NotAcceptable: if that makes it too large: a component would end its stream for it, and with it what
            all others have open there.
        """
        self.write(stanzas.readdressed(stanza, sender, recipient, self.namespace, MAX_STANZA))

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        """Answer an iq request of this peer's."""
        self.write(stanzas.iq(route(recipient, sender), stanza.id or "", "result", payload))

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        """Send presence of the host's own making."""
        self.write(stanzas.presence(sender, recipient, kind))

    def push(self, item: Item, removed: bool) -> None:
        """Tell of a changed roster item; there is nobody to tell but a client."""

    def _take(self, stanza: Stanza, sender: str, recipient: str, route_: Callable[[], None]) -> None:
        """
        See to a stanza of this peer's: whatever comes of it, nobody else suffers.

        @param route_: hands it on; may raise.
        """
        error: type[GatewayError]
        try:
            if stanza.name == "iq" and (not stanza.id or stanza.type not in _IQ_TYPES):
                raise Unreadable
            route_()
            return
        except GatewayError as raised:
            error = type(raised)
        except Exception:
            self._log.failure("The embedded host failed at {stanza!r}.", stanza=stanza)
            error = HandlerFailed
        if error is NotAcceptable and (stanza.name, stanza.type) == ("iq", "result"):
            # It was too large to be handed on, and somebody waits for it.
            instead = substitute(stanza, TooLarge)
            assert instead is not None
            self._stanzaReceived(instead)
        self.refuseStanza(stanza, sender, recipient, error)

    def _stanzaReceived(self, stanza: Stanza) -> None:
        """A stanza of this peer's has come; must not raise."""
        raise NotImplementedError

    def _addresses(self, stanza: Stanza) -> tuple[str, str]:
        """The sender and the recipient of a stanza of this peer's, where it names none, too."""
        raise NotImplementedError

    def _stanzaRefused(self, refused: StanzaRefused) -> None:
        if (more := self._refusals.more(self._clock.seconds())) is not None:
            self._log.warn("The embedded host refused {refused}{more}.", refused=refused.inWords(), more=more)
        instead = substitute(refused.stanza, refused.why)
        if instead is not None:
            self._stanzaReceived(instead)
        elif isBounced(refused.stanza):
            self.refuseStanza(refused.stanza, *self._addresses(refused.stanza), refused.why)

    def refuseStanza(self, stanza: Stanza, sender: str, recipient: str, error: type[GatewayError]) -> None:
        """Answer a stanza of this peer's with an error; not an error itself (RFC 6120 section 8.3.1)."""
        if stanza.type not in ("error", "result"):
            self.write(errorStanza(stanza.name, route(recipient, sender), stanza.id, error))

    def refuse(self, condition: str, text: str = "") -> None:
        """End the stream with an error (RFC 6120 section 4.9)."""
        self._fail(condition, text)

    def _begin(self, sender: str, version: str = "") -> None:
        """Answer the peer's stream header with ours (RFC 6120 section 4.7)."""
        self._streamId = secrets.token_urlsafe(12)
        self.write(
            f"<?xml version='1.0'?><stream:stream xmlns='{self.namespace}' xmlns:stream='{ns.STREAMS}' "
            f"id='{self._streamId}' from='{escape(sender)}'{version}>".encode()
        )

    def _fail(self, condition: str, text: str) -> None:
        # An error stands in a stream, however bad the peer's header was (RFC 6120 section 4.9.1.2).
        if not self._streamId and not self._closing:
            self._begin(self._domain)
        super()._fail(condition, text)

    # Slow readers. One that lets too much wait is not read from any more, nor are the clients that write to it;
    # components are, because what they have to say is for many. So is whoever was asked and answers: else one who
    # asks and does not read could silence everybody.

    def waitFor(self, peer: Peer, stanza: Stanza) -> None:
        if not isinstance(peer, PeerConnection):
            return
        if peer._asked and stanza.name == "iq" and stanza.type in ("result", "error"):
            peer._asked -= 1
        elif peer.stalled:
            self._hold(peer)

    def _hold(self, slow: PeerConnection) -> None:
        """Read nothing until this other one has taken what waits for it."""
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


class Doorway(Factory):
    """
    Makes connections, and bounds how many may stand there without a name: the one that came first has to go.

    @param make: makes one.
    """

    noisy = False
    maxUnauthenticated = 100

    def __init__(self, make: Callable[[], PeerConnection]) -> None:
        self._make = make
        self._unauthenticated: list[PeerConnection] = []

    def buildProtocol(self, addr: IAddress | None) -> PeerConnection:
        self._unauthenticated = [each for each in self._unauthenticated if each.isUnauthenticated]
        if len(self._unauthenticated) >= self.maxUnauthenticated:
            self._unauthenticated.pop(0).refuse("resource-constraint", "too many wait to log in")
        connection = self._make()
        self._unauthenticated.append(connection)
        return connection
