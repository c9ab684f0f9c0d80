"""Output to real sockets, at once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from gateway import ns
from gateway.stream.connection import Connection
from gateway.stream.core import Limits, Splitter
from gateway.stream.outflow import Copies
from gateway.stream.sending import send
from tests.certificates import makeCertificate


class Reader(Protocol):
    """Keeps what comes, once it reads."""

    def __init__(self) -> None:
        self.read = b""

    def dataReceived(self, data: bytes) -> None:
        self.read += data


class SendingTests(TestCase):
    """The bytes of a connection, and the turn of the reactor in which they leave."""

    timeout = 20

    @inlineCallbacks
    def connect(self, server: str = "tcp:0:interface=127.0.0.1", client: str = "tcp:127.0.0.1:{port}") -> Any:
        """Connect both ends; return the sending transport and the reading protocol."""
        accepted: Deferred[Reader] = Deferred()

        class Accepting(Reader):
            def connectionMade(self) -> None:
                accepted.callback(self)

        port = yield serverFromString(reactor, server).listen(Factory.forProtocol(Accepting))
        self.addCleanup(port.stopListening)
        where = client.format(port=getattr(port.getHost(), "port", 0))
        protocol = yield clientFromString(reactor, where).connect(Factory.forProtocol(Reader))
        reader = yield accepted
        self.addCleanup(self.end, protocol, reader)
        return protocol.transport, reader

    @inlineCallbacks
    def end(self, *protocols: Protocol) -> Any:
        """Abort the connections, and wait until they are gone."""
        for each in protocols:
            assert each.transport is not None
            each.transport.abortConnection()
        while any(getattr(each.transport, "connected", 0) for each in protocols):
            yield deferLater(reactor, 0.01)
        yield deferLater(reactor, 0.01)

    @inlineCallbacks
    def reads(self, reader: Reader, expected: bytes) -> Any:
        """Wait until these bytes have come, and no others."""
        while len(reader.read) < len(expected):
            yield deferLater(reactor, 0.005)
        self.assertTrue(reader.read == expected, "other bytes came, or in another order")

    def drain(self, reader: Reader) -> None:
        """Read all that has come, without the reactor."""
        with contextlib.suppress(BlockingIOError):
            while True:
                reader.read += reader.transport.socket.recv(1_000_000)

    @inlineCallbacks
    def test_atOnce(self) -> Any:
        """Bytes that the socket takes need no turn of the reactor."""
        transport, reader = yield self.connect()
        send(transport, b"one ")
        self.assertNotIn(transport, reactor.getWriters())
        # The other end has it already.
        self.assertEqual(reader.transport.socket.recv(100), b"one ")
        send(transport, b"")
        send(transport, b"two")
        yield self.reads(reader, b"two")

    @inlineCallbacks
    def test_order(self) -> Any:
        """If the socket is full, the transport sends the rest, and what follows, in order."""
        transport, reader = yield self.connect()
        reader.transport.pauseProducing()
        parts = [bytes([number]) * 1_000_003 for number in range(1, 20)]
        for part in parts:
            send(transport, part)
        self.assertIn(transport, reactor.getWriters())
        self.drain(reader)
        while not transport.dataBuffer:
            yield deferLater(reactor, 0.005)
        # The socket has room again, and the reactor has not noticed yet.
        self.drain(reader)
        send(transport, b"then")
        reader.transport.resumeProducing()
        yield self.reads(reader, b"".join(parts) + b"then")
        send(transport, b" again")
        self.assertNotIn(transport, reactor.getWriters())

    @inlineCallbacks
    def test_burst(self) -> Any:
        """A turn of the reactor writes a part of a burst only, even if the peer reads as fast."""
        transport, _ = yield self.connect()
        written: list[int] = []

        def takesAll(data: Any) -> int:
            written.append(len(data))
            return len(data)

        connection = Connection(Splitter(ns.COMPONENT_ACCEPT, Limits()), reactor)
        connection.makeConnection(transport)
        connection._open(lambda stanza: None)
        self.patch(transport, "writeSomeData", takesAll)
        copies = Copies(b"<message to='", [b"someone"] * 2_000, b"'>%b</message>" % (b"x" * 100_000))
        connection.writeCopies(copies)
        self.assertLessEqual(sum(written), transport.SEND_LIMIT)
        while sum(written) < copies.size:
            yield deferLater(reactor, 0)
        self.assertLessEqual(max(written), connection.pieceBytes + transport.SEND_LIMIT)
        self.assertEqual(sum(written), copies.size)

    @inlineCallbacks
    def test_earlier(self) -> Any:
        """Bytes that were given to the transport itself leave before."""
        transport, reader = yield self.connect()
        transport.write(b"one ")
        send(transport, b"two")
        yield self.reads(reader, b"one two")

    @inlineCallbacks
    def test_unix(self) -> Any:
        """A UNIX socket does the same."""
        path = self.mktemp()[-40:].replace("/", "-")
        transport, reader = yield self.connect(f"unix:{path}", f"unix:{path}")
        send(transport, b"one")
        self.assertNotIn(transport, reactor.getWriters())
        yield self.reads(reader, b"one")

    @inlineCallbacks
    def test_tls(self) -> Any:
        """Nothing passes by TLS, which a transport may get at any time."""
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate = PrivateCertificate.loadPEM(makeCertificate(folder, "localhost").read_bytes())
        transport, reader = yield self.connect()
        reader.transport.startTLS(certificate.options(), True)
        transport.startTLS(CertificateOptions(), True)
        for part in (b"during the handshake ", b"afterwards"):
            already = reader.read
            send(transport, part)
            yield self.reads(reader, already + part)

    @inlineCallbacks
    def test_lost(self) -> Any:
        """A connection that is gone takes no bytes, and raises nothing."""
        transport, reader = yield self.connect()
        reader.transport.abortConnection()
        for _ in range(3):
            send(transport, b"x" * 100)
        while transport.connected:
            send(transport, b"x" * 100)
            yield deferLater(reactor, 0.005)
        send(transport, b"late")

    def test_others(self) -> None:
        """Another kind of transport gets the bytes as they are."""
        transport = StringTransport()
        send(transport, b"one")
        self.assertEqual(transport.value(), b"one")
