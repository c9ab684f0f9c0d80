"""The proxy, with connections in memory; and its process, with real ones."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns, error
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.link.core import Become, Cut, Link, LinkState, Shape, Side, Way
from tests.link.process import Control, Services, toJson, toStep
from tests.link.shaper import Shaper

UP, HOLE, DOWN = LinkState


class Transport(StringTransport):
    """A connection in memory that can be reset."""

    isAborted = False

    def abortConnection(self) -> None:
        self.isAborted = True


class MemoryTests(SynchronousTestCase):
    """The proxy on a reactor in memory."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.shaper = Shaper(self.reactor, Link())
        self.shaper.open(Side.A, 5269, 7001)

    def come(self) -> tuple[Any, Transport]:
        """Accept a connection."""
        factory = self.reactor.tcpServers[-1][1]
        protocol, transport = factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def reach(self) -> tuple[Any, Transport]:
        """Make the proxy's last attempt to connect succeed."""
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        self.assertEqual((host, port), ("127.0.0.1", 5269))
        protocol, transport = factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def lose(self, protocol: Any) -> None:
        """End a connection at one of its ends."""
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_passed(self) -> None:
        """Bytes pass both ways, those that come before the far end is connected as well; so does the end."""
        near, nearWire = self.come()
        near.dataReceived(b"early ")
        far, farWire = self.reach()
        near.dataReceived(b"late")
        far.dataReceived(b"back")
        self.assertEqual((farWire.value(), nearWire.value()), (b"early late", b"back"))
        self.lose(near)
        self.assertTrue(farWire.disconnecting)
        self.lose(far)
        self.assertEqual(self.shaper._pairs, {})

    def test_ended(self) -> None:
        """The end of the far side passes, too; and one that comes before the far end is connected."""
        near, nearWire = self.come()
        far, _ = self.reach()
        self.lose(far)
        self.assertTrue(nearWire.disconnecting)
        self.lose(near)
        near, _ = self.come()
        near.dataReceived(b"bye")
        self.lose(near)
        far, farWire = self.reach()
        self.assertEqual((farWire.value(), farWire.disconnecting), (b"bye", True))
        self.lose(far)
        self.assertEqual(self.shaper._pairs, {})

    def test_refused(self) -> None:
        """If the server does not listen, the connection is closed."""
        near, nearWire = self.come()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectError()))
        self.assertTrue(nearWire.disconnecting)
        self.lose(near)
        self.assertEqual(self.shaper._pairs, {})

    def test_slow(self) -> None:
        """The proxy delivers at the times of the rules, and sets one timer."""
        self.shaper.take(Shape(Way(800, delay=1)))
        near, _ = self.come()
        _, farWire = self.reach()
        near.dataReceived(b"x" * 100)
        self.reactor.pump([0.05] * 39)
        self.assertTrue(0 < len(farWire.value()) < 100)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.pump([0.05] * 3)
        self.assertEqual(farWire.value(), b"x" * 100)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_script(self) -> None:
        """A script runs from now on: a black hole, and a reset at its end."""
        self.reactor.advance(1_000)
        near, nearWire = self.come()
        _, farWire = self.reach()
        self.shaper.add([(1, Become(HOLE)), (4, Cut()), (4, Become(UP))])
        self.reactor.advance(2)
        near.dataReceived(b"lost")
        self.assertEqual((farWire.value(), nearWire.isAborted), (b"", False))
        self.reactor.advance(2)
        self.assertEqual((farWire.value(), nearWire.isAborted, farWire.isAborted), (b"", True, True))
        self.lose(near)
        self.assertEqual(self.shaper._pairs, {})

    def test_late(self) -> None:
        """A far end that is connected after a reset is reset."""
        self.come()
        self.shaper.take(Cut())
        _, farWire = self.reach()
        self.assertTrue(farWire.isAborted)

    def test_down(self) -> None:
        """While the link is down, nothing listens; then it listens on the same port."""
        self.shaper.take(Become(DOWN))
        self.assertIsNone(self.shaper._doors[0].listening)
        self.shaper.take(Become(UP))
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [7001, 7001])
        self.shaper.close()
        self.assertIsNone(self.shaper._doors[0].listening)

    def test_paused(self) -> None:
        """A sender that is too fast is not read."""
        self.shaper.take(Shape(Way(80_000)))
        near, nearWire = self.come()
        self.reach()
        near.dataReceived(b"x" * 100_000)
        self.assertEqual(nearWire.producerState, "paused")
        self.reactor.pump([0.1] * 80)
        self.assertEqual(nearWire.producerState, "producing")

    def test_commands(self) -> None:
        """A command adds steps, and is answered with the state and the counts."""
        control, wire = Control(self.shaper), StringTransport()
        control.makeConnection(wire)
        near, _ = self.come()
        self.reach()
        near.dataReceived(b"four")
        control.dataReceived(b'[[0, "hole"], [5, "up"]]\n[]\n')
        counts = {"a": {"sent": 4, "delivered": 4, "lost": 0}, "b": {"sent": 0, "delivered": 0, "lost": 0}}
        answers = [json.loads(line) for line in wire.value().splitlines()]
        self.assertEqual(answers, [{"state": "hole", "counts": counts}] * 2)
        self.reactor.advance(5)
        self.assertIs(self.shaper.link.state, UP)


class StepTests(SynchronousTestCase):
    """Steps as JSON."""

    def test_steps(self) -> None:
        """Each step is the same when it is read back; others are refused."""
        for step in (Cut(), *map(Become, LinkState), Shape(Way()), Shape(Way(75, 2, 1))):
            self.assertEqual(toStep(json.loads(json.dumps(toJson(step)))), step)
        for wrong in ("cat", {"bit": 1}, 7):
            self.assertRaises(ValueError, toStep, wrong)


class ServicesTests(SynchronousTestCase):
    """The DNS server."""

    def test_answers(self) -> None:
        """It knows the SRV records of its services."""
        services = Services({"rooms.example": 7})
        name = b"_xmpp-server._tcp.Rooms.example"
        [answer], _, _ = self.successResultOf(services.query(dns.Query(name, dns.SRV)))
        self.assertEqual((answer.payload.port, answer.payload.target.name), (7, b"localhost"))
        self.assertEqual(self.successResultOf(services.query(dns.Query(name, dns.A))), ([], [], []))
        other = services.query(dns.Query(b"_xmpp-server._tcp.other.example", dns.SRV))
        self.failureResultOf(other, error.DNSNameError)


class _Server(Protocol):
    """Answers with what it gets."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class _Client(Protocol):
    """Waits for bytes, and for the end."""

    def __init__(self, expected: int) -> None:
        self.got = b""
        self._expected = expected
        self.complete: defer.Deferred[None] = defer.Deferred()
        self.lost: defer.Deferred[type[Exception]] = defer.Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        if len(self.got) == self._expected:
            self.complete.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.type)


class LoopbackTests(TestCase):
    """The proxy on real sockets."""

    timeout = 20

    async def test_loopback(self) -> None:
        """A megabyte passes both ways, is reset by a cut, and is refused while the link is down."""
        from twisted.internet import reactor

        there: Any = reactor
        server = there.listenTCP(0, Factory.forProtocol(_Server), interface="127.0.0.1")
        shaper = Shaper(there, Link(Way(delay=0.01)))
        self.addCleanup(server.stopListening)
        self.addCleanup(shaper.close)
        port = shaper.open(Side.A, server.getHost().port)
        endpoint = TCP4ClientEndpoint(there, "127.0.0.1", port)
        client = await connectProtocol(endpoint, _Client(1_000_000))
        client.transport.write(b"x" * 1_000_000)
        await client.complete
        self.assertEqual([each.sent for each in shaper.link.counts.values()], [1_000_000] * 2)
        shaper.take(Cut())
        self.assertIs(await client.lost, ConnectionLost)
        again = await connectProtocol(endpoint, _Client(1))
        shaper.take(Become(DOWN))
        await again.lost
        await self.assertFailure(connectProtocol(endpoint, _Client(1)), ConnectError)
        shaper.take(Become(UP))
        last = await connectProtocol(endpoint, _Client(1))
        last.transport.write(b"y")
        await last.complete
        last.transport.loseConnection()
        await last.lost
        while shaper._pairs:
            await deferLater(there, 0.01)
