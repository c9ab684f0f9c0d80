"""Two gateways' direct links on one reactor in memory, and a wire between them that counts, breaks and stalls."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError  # noqa: A004  # Twisted's, not the builtin
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.peers import identity
from gateway.peers.peer import LIMITS, PeerSettings
from gateway.peers.profiles import PROFILES
from gateway.peers.protocol import PeerConnection
from gateway.peers.service import Peers
from gateway.peers.tls import Connecting
from gateway.stream.link import Link
from gateway.testing.wire import MemoryEndpoint, MemoryTransport, canonicalElement, children
from tests.stream.memory import HEADER

HERE, THERE = "mirror.here.example", "rooms.there.example"

# Bytes that a transport keeps until it pauses its producer, as TCP.
_FULL = 64 * 1024


@implementer(ITCPTransport)
class End:
    """One end of a wire."""

    disconnecting = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.other: Any = None
        self.protocol: Any = None
        self.sent = bytearray()
        self.producer: Any = None
        self.isPaused = self.isStalled = self.isLost = False

    def write(self, data: bytes) -> None:
        if self.isLost or self.disconnecting:
            return
        self._wire.count += len(data)
        self._wire.log.append((self._wire.name(self), bytes(data)))
        self.sent += data
        if len(self.sent) > _FULL and self.producer is not None and not self.isStalled:
            self.isStalled = True
            self.producer.pauseProducing()

    def writeSequence(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.isPaused = True

    def resumeProducing(self) -> None:
        self.isPaused = False

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.sent.clear()
        self.disconnecting = True
        self.isAborted = True

    isAborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Do nothing."""

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "192.0.2.1", 40000)

    getHost = getPeer

    def lose(self, reason: Exception) -> None:
        if not self.isLost:
            self.isLost = True
            self.protocol.connectionLost(Failure(reason))


class Wire:
    """
    A connection between two protocols.

    @ivar count: bytes of payload, in both directions.
    @ivar log: (side, bytes) of each write.
    @ivar isBlocked: true if nothing passes.
    """

    def __init__(self, client: Any, server: Any) -> None:
        self.count = 0
        self.log: list[tuple[str, bytes]] = []
        self.isBlocked = False
        self.client, self.server = End(self), End(self)
        self.client.other, self.server.other = self.server, self.client
        self.client.protocol, self.server.protocol = client, server
        server.makeConnection(self.server)
        client.makeConnection(self.client)

    def name(self, end: End) -> str:
        return "client" if end is self.client else "server"

    def pass_(self) -> bool:
        """Deliver what was written; return true if there was anything."""
        moved = False
        for end in (self.client, self.server):
            if end.isLost or self.isBlocked:
                continue
            if end.sent and not end.other.isPaused and not end.other.isLost:
                data = bytes(end.sent[:_FULL])
                del end.sent[: len(data)]
                moved = True
                end.other.protocol.dataReceived(data)
                if end.isStalled and len(end.sent) < _FULL:
                    end.isStalled = False
                    if end.producer is not None:
                        end.producer.resumeProducing()
        for end in (self.client, self.server):
            if end.disconnecting and not end.isLost and not (end.sent and not self.isBlocked):
                moved = True
                end.lose(ConnectionAborted() if end.isAborted else ConnectionDone())
                if not self.isBlocked:
                    end.other.lose(ConnectionLost() if end.isAborted else ConnectionDone())
        return moved

    def cut(self) -> None:
        """Break the connection for both."""
        for end in (self.client, self.server):
            end.sent.clear()
            end.lose(ConnectionLost())


class Net:
    """
    A reactor, and the wires on it.

    @ivar isDown: true if connections are refused.
    """

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.wires: list[Wire] = []
        self.isDown = False
        self._answered = 0

    def turn(self) -> None:
        """Let all happen that needs no time."""
        for _ in range(1_000):
            self._connect()
            self.reactor.advance(0)
            moved = [wire.pass_() for wire in self.wires]
            due = [call for call in self.reactor.getDelayedCalls() if call.getTime() <= self.reactor.seconds()]
            if not any(moved) and not due and self._answered == len(self.reactor.tcpClients):
                return
        raise AssertionError("it never ends")

    def wait(self, seconds: float) -> None:
        """Let time pass, half a second at a time."""
        for _ in range(round(seconds * 2)):
            self.reactor.advance(0.5)
            self.turn()

    def _connect(self) -> None:
        while self._answered < len(self.reactor.tcpClients):
            _, port, factory, *_ = self.reactor.tcpClients[self._answered]
            connector = self.reactor.connectors[self._answered]
            self._answered += 1
            if connector.stoppedConnecting:
                continue
            found = [] if self.isDown else [each for number, each, *_ in self.reactor.tcpServers if number == port]
            server = found[-1].buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000)) if found else None
            if server is None:
                factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError("refused")))
                continue
            client = factory.buildProtocol(IPv4Address("TCP", "192.0.2.2", port))
            self.wires.append(Wire(client, server))

    @property
    def wire(self) -> Wire:
        """The newest connection."""
        return self.wires[-1]

    def raw(self, port: int = 5299) -> tuple[End, bytearray]:
        """Connect to the listening side as any program; return the end, and what it receives."""

        class Program:
            got = bytearray()

            def makeConnection(self, transport: Any) -> None:
                """Do nothing."""

            def dataReceived(self, data: bytes) -> None:
                self.got += data

            def connectionLost(self, reason: Failure) -> None:
                """Do nothing."""

        [factory] = [each for number, each, *_ in self.reactor.tcpServers if number == port]
        program = Program()
        program.got = bytearray()
        wire = Wire(program, factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000)))
        self.wires.append(wire)
        return wire.client, program.got


class Caller:
    """
    Another gateway that has a key, and connects to a gateway of any kind.

    @ivar accepts: the fingerprint of the gateway's key; C{None} until the handshake.
    @ivar stanzas: stanzas that it has received, as text.
    @ivar reason: the reason of the end.
    """

    profile = PROFILES["broadband"]

    def __init__(self, clock: Any, own: identity.Identity) -> None:
        self._clock = clock
        self._own = own
        self.accepts: str | None = None
        self.connection: PeerConnection | None = None
        self.stanzas: list[str] = []
        self.reason = ""

    def call(self, server: Any) -> Wire:
        """Connect to a protocol of the other side."""
        factory = Factory.forProtocol(lambda: PeerConnection(self, self._clock, False, LIMITS))
        wrapped = TLSMemoryBIOFactory(Connecting(self._own), True, factory, self._clock)
        self.wire = Wire(wrapped.buildProtocol(None), server)
        self.turn()
        return self.wire

    def turn(self) -> None:
        """Let all happen that needs no time."""
        moved = True
        while moved:
            self._clock.advance(0)
            moved = self.wire.pass_()

    def say(self, xml: str) -> None:
        """Send stanzas."""
        assert self.connection is not None
        self.connection.write(xml.encode())
        self.turn()

    def ownerOf(self, fingerprint: str) -> Caller:
        self.accepts = fingerprint
        return self

    def failed(self, connection: PeerConnection, reason: Failure) -> None:
        self.reason = reason.getErrorMessage()

    lost = failed

    def accepted(self, connection: PeerConnection) -> None:
        self.connection = connection

    def stanzaReceived(self, connection: PeerConnection, stanza: Any) -> None:
        self.stanzas.append(stanza.whole.decode())

    def stanzaRefused(self, refused: Any) -> None:
        """Do nothing."""

    def sessionReceived(self, session: Any) -> None:
        """Do nothing."""

    def resumed(self) -> None:
        """Do nothing."""

    def ending(self, connection: PeerConnection) -> None:
        self.connection = None


class Site:
    """
    One gateway: its direct links, and a component on a server.

    @ivar heard: stanzas that the component has received, as text.
    @ivar own: the fingerprint of its key.
    """

    def __init__(self, net: Net, folder: str, component: str) -> None:
        self._net = net
        Path(folder).mkdir(exist_ok=True)
        self.keyFile = str(Path(folder, "peers.key").absolute())
        self.own = identity.load(Path(self.keyFile)).fingerprint
        self.component = component
        self.peers = Peers(net.reactor, random=Random(1))
        self.endpoint = MemoryEndpoint(net.reactor)
        self.link = Link(net.reactor, self.endpoint, component, "secret", random=Random(1))
        self.heard: list[str] = []
        self.answersByServer = True
        self.link.stanzaReceived = self._received  # type: ignore[method-assign]  # records it first
        self._receive = Link.stanzaReceived
        self.peers.add(self.link)

    def _received(self, stanza: Any, isNew: bool = True) -> None:
        self.heard.append(stanza.whole.decode())
        self._receive(self.link, stanza, isNew)

    def start(self) -> None:
        self.link.startService()
        server: MemoryTransport = self.endpoint.server
        server.say(HEADER)
        server.say(b"<handshake/>")
        server.clear()
        self.peers.startService()

    def stop(self) -> Deferred[Any]:
        stopping = [self.peers.stopService(), self.link.stopService()]
        self.endpoint.server.say(b"</stream:stream>")
        return gatherResults(stopping)

    def settings(self, other: Site | str, **more: Any) -> PeerSettings:
        """Return the settings of a peer, by default the connecting side's."""
        known: dict[str, Any] = {
            "name": other if isinstance(other, str) else other.component,
            "endpoint": "tcp:192.0.2.2:5299",
            "listen": None,
            "fingerprints": frozenset([other.own]) if isinstance(other, Site) else frozenset(),
            "keyFile": self.keyFile,
            "profile": PROFILES["broadband"],
            "fallsBack": True,
        }
        known |= more
        known.setdefault("domains", frozenset([known["name"]]))
        return PeerSettings(**known)

    def viaServer(self) -> list[str]:
        """Return the stanzas that the server was sent since the last call."""
        server = self.endpoint.server
        found = [canonicalElement(each) for each in children(HEADER + server.value())]
        server.clear()
        return found

    def fromServer(self, xml: str) -> None:
        """Deliver a stanza of the server."""
        self.endpoint.server.say(xml.encode())

    def took(self) -> list[str]:
        """Return what the component has received since the last call."""
        found, self.heard = self.heard, []
        return found


LISTENS = {"endpoint": None, "listen": "tcp:5299"}


def two(
    folder: str, here: dict[str, Any] | None = None, there: dict[str, Any] | None = None
) -> tuple[Net, Site, Site]:
    """Return a mirror's gateway that connects to a rooms' gateway, both started; nothing has passed yet."""
    net = Net()
    one, other = Site(net, folder + ".1", HERE), Site(net, folder + ".2", THERE)
    one.peers.use([one.settings(other, **(here or {}))])
    other.peers.use([other.settings(one, **LISTENS, **(there or {}))])
    other.start()
    one.start()
    return net, one, other


def say(number: int, sender: str = f"room@{HERE}", recipient: str = f"room@{THERE}") -> str:
    """Return a message."""
    body = f"<body>{number}</body>"
    return f"<message from='{sender}' to='{recipient}' type='groupchat' id='m{number}'>{body}</message>"
