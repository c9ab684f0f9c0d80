"""The HTTP server, and the agent that sends requests to it."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.error import ConnectError, ConnectionAborted
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web import http
from twisted.web.client import ResponseDone, readBody
from twisted.web.http import PotentialDataLoss
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import alsoProvides

from gateway.http import site as server
from gateway.http.access import Gate
from gateway.http.agent import Body, OwnAgent
from gateway.http.listener import Listener, ListenerEndpoint
from gateway.http.site import QuietSite

MEBIBYTE = 1024 * 1024


class Shown(Resource):
    """Answers with the length of the body, and the token."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        body = request.content.read()
        token = request.getHeader(b"authorization") or b"-"
        return b"%d %d %b" % (len(body), body.count(b"x"), token)


class BodyTests(SynchronousTestCase):
    """Bodies, in memory."""

    def length(self, *chunks: bytes, chunked: bool = False) -> int:
        """Return the number of bytes of the body that can be read."""
        transport = StringTransport()
        channel = QuietSite(Shown(), Gate(), MemoryReactorClock()).buildProtocol(transport.getPeer())
        assert channel is not None
        channel.makeConnection(transport)
        size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % sum(map(len, chunks))
        channel.dataReceived(b"POST / HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n" + size + b"\r\n\r\n")
        for chunk in chunks:
            channel.dataReceived(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
        if chunked:
            channel.dataReceived(b"0\r\n\r\n")
        length, count, _ = transport.value().partition(b"\r\n\r\n")[2].split()
        self.assertEqual(length, count)
        return int(length)

    def test_whole(self) -> None:
        """A body within the limits is complete."""
        for chunked in (False, True):
            self.assertEqual(self.length(b"x" * 1000, b"x" * 70_000, chunked=chunked), 71_000)
            self.assertEqual(self.length(*[b"x" * 65_536] * 16, chunked=chunked), MEBIBYTE)

    def test_tooLong(self) -> None:
        """Of a longer body one byte more than the limit is kept, and nothing is written to disk."""
        for chunked in (False, True):
            self.assertEqual(self.length(*[b"x" * 60_000] * 100, chunked=chunked), MEBIBYTE + 1)


class Reading(StringTransport):
    """A TCP connection, which can be closed in one direction."""

    def __init__(self) -> None:
        super().__init__(hostAddress=IPv4Address("TCP", "127.0.0.1", 5290))
        alsoProvides(self, ITCPTransport)
        self.isHalfClosed = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""

    def loseWriteConnection(self) -> None:
        self.isHalfClosed = True

    def abortConnection(self) -> None:
        super().abortConnection()
        self.channel.connectionLost(Failure(ConnectionAborted()))


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
TOKEN = b"Authorization: Bearer t\r\n"


class BoundTests(SynchronousTestCase):
    """Limits of the memory and time that callers may use."""

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.served = Served()
        self.site = QuietSite(self.served, Gate("t"), self.clock)

    def connect(self, *data: bytes) -> Any:
        transport: Any = Reading()
        transport.channel = self.site.buildProtocol(transport.getPeer())
        if transport.channel is None:
            return None
        transport.channel.makeConnection(transport)
        for each in data:
            transport.channel.dataReceived(each)
        return transport

    def test_tokenFirst(self) -> None:
        """Without the token the answer follows the head; the body is read up to a limit, and not kept."""
        transport = self.connect(HEAD, b"\r\n")
        self.assertIn(b"401 Unauthorized", transport.value())
        self.assertIn(b"connection: close", transport.value().lower())
        self.assertTrue(transport.isHalfClosed)
        for _ in range(20):
            transport.channel.dataReceived(b"x" * 100_000)
        self.assertEqual((self.site._bytes, transport.channel._dataBuffer), (0, []))
        self.assertFalse(transport.disconnected)
        transport.channel.dataReceived(b"x" * 100_000)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.served.bodies, [])

    def test_linger(self) -> None:
        """A caller that sends nothing more has two seconds to close the connection."""
        transport = self.connect(HEAD, b"\r\n")
        self.clock.advance(1.9)
        transport.channel.dataReceived(b"x")
        self.assertFalse(transport.disconnected)
        self.clock.advance(0.2)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.site.connections, 0)

    def test_noContinue(self) -> None:
        """No caller is told to continue if its body will not be read."""
        expect = b"Expect: 100-continue\r\n\r\n"
        self.assertNotIn(b"100 Continue", self.connect(HEAD, expect).value())
        self.assertIn(b"100 Continue", self.connect(HEAD, TOKEN, expect).value())

    def test_chunked(self) -> None:
        """A body of unknown length is treated in the same way; a second request after the first is not answered."""
        transport = self.connect(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        transport.channel.dataReceived(b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(transport.value().count(b"HTTP/1.1 401"), 1)
        self.assertEqual(self.served.bodies, [])

    def test_forms(self) -> None:
        """A form is a body like any other: it is not parsed."""
        for kind in (b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"):
            head = b"POST /?q=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n" + TOKEN
            self.connect(head, b"Content-Type: " + kind, b"\r\n\r\n", b"a=b")
        self.assertEqual(self.served.bodies, [b"a=b"] * 2)
        self.assertEqual(self.served.args, {b"q": [b"1"]})

    def test_manyBodies(self) -> None:
        """Incomplete bodies have a size limit; the oldest connection is closed, honest callers are served."""
        waiting = [self.connect(HEAD, TOKEN, b"\r\n", b"x" * 999_999) for _ in range(150)]
        kept = [transport for transport in waiting if not transport.disconnected]
        self.assertEqual(kept, waiting[-16:])
        self.assertLessEqual(self.site._bytes, 16 * MEBIBYTE)
        self.assertEqual(self.site._bytes, 16 * 999_999)
        honest = self.connect(HEAD, TOKEN, b"\r\n", b"y" * 1_000_000)
        self.assertIn(b"200 OK", honest.value())
        self.assertEqual(self.served.bodies, [b"y" * 1_000_000])
        waiting[-1].channel.dataReceived(b"x")
        self.assertIn(b"200 OK", waiting[-1].value())
        for transport in [*kept[:-1], honest, waiting[-1]]:
            if not transport.disconnected:
                transport.channel.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual((self.site._bytes, self.site.connections, len(self.site._waiting)), (0, 0, 0))

    def test_deadlines(self) -> None:
        """A head or a body that arrives in small pieces is ended after 30 s each."""
        drops = HEAD + TOKEN + b"X-Slow: "
        transport = self.connect(drops)
        for _ in range(29):
            self.clock.advance(1)
            transport.channel.dataReceived(b"a")
        self.assertFalse(transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(transport.disconnected)
        transport = self.connect(HEAD, TOKEN)
        self.clock.advance(29)
        transport.channel.dataReceived(b"\r\n")
        for _ in range(29):
            self.clock.advance(1)
            transport.channel.dataReceived(b"a")
        self.assertFalse(transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(transport.disconnected)

    def test_slowAnswer(self) -> None:
        """The server has no deadline for making an answer, but one for sending it."""
        self.served.isSlow = True
        close = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + TOKEN + b"\r\n"
        transport = self.connect(close)
        self.clock.advance(1_000)
        self.assertFalse(transport.disconnected)
        self.served.finish()
        self.assertIn(b"200 OK", transport.value())
        self.clock.advance(31)
        self.assertTrue(transport.disconnected)

    def test_kept(self) -> None:
        """A connection serves one request after the other, each within 30 s."""
        get = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + TOKEN + b"\r\n"
        transport = self.connect(get)
        for _ in range(3):
            self.clock.advance(29)
            transport.channel.dataReceived(get)
        self.assertEqual(transport.value().count(b"200 OK"), 4)
        self.clock.advance(30)
        self.assertTrue(transport.disconnected)

    def test_pipelined(self) -> None:
        """Each request of one chunk is handled in a turn of its own, and none while an answer is not taken."""
        get = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + TOKEN + b"\r\n"
        transport = self.connect(get * 800)
        answers = [transport.value().count(b"200 OK")]
        for _ in range(3):
            # The clock itself would run all turns at once.
            [turn] = [each for each in self.clock.getDelayedCalls() if each.getTime() == self.clock.seconds()]
            turn.cancel()
            transport.channel._goOn()
            answers.append(transport.value().count(b"200 OK"))
        self.assertEqual(answers, [1, 2, 3, 4])
        self.assertEqual(transport.producerState, "paused")
        transport.channel.pauseProducing()
        transport.channel.dataReceived(get[:9])
        self.clock.advance(1)
        self.assertEqual(transport.value().count(b"200 OK"), 4)
        transport.channel.resumeProducing()
        self.clock.advance(1)
        self.assertEqual(transport.value().count(b"200 OK"), 800)
        self.assertEqual(transport.producerState, "producing")
        transport.channel.dataReceived(get[9:])
        transport.channel.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(transport.value().count(b"200 OK"), 801)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_manyConnections(self) -> None:
        """A new connection replaces the one that has waited longest, but none whose request is being served."""
        self.patch(server, "_MAX_CONNECTIONS", 3)
        self.served.isSlow = True
        get = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + TOKEN + b"\r\n"
        serving = self.connect(get)
        first, second, third = self.connect(), self.connect(b"GET"), self.connect()
        gone = [each.disconnected for each in (serving, first, second, third)]
        self.assertEqual(gone, [False, True, False, False])
        second.channel.dataReceived(get[3:])
        third.channel.dataReceived(get)
        self.assertIsNone(self.connect())
        third.channel.connectionLost(Failure(ConnectionAborted()))
        self.assertIsNotNone(self.connect())

    def test_manyRefused(self) -> None:
        """Refused callers that keep their connections do not exclude others."""
        self.patch(server, "_MAX_CONNECTIONS", 3)
        refused = [self.connect(HEAD, b"\r\n") for _ in range(10)]
        self.assertEqual([each.disconnected for each in refused], [True] * 7 + [False] * 3)

    def test_noHttp2(self) -> None:
        """HTTP/2, which Twisted would offer over TLS, has no such limits."""
        self.patch(http, "H2_ENABLED", True)
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])


class Served(Resource):
    """Records requests; answers at once, or when it is told to."""

    isLeaf = True
    isSlow = False

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.args: Any = None
        self.open: list[Any] = []

    def render(self, request: Any) -> Any:
        self.bodies.append(request.content.read())
        self.args = request.args
        if not self.isSlow:
            return b"ok"
        self.open.append(request)
        return NOT_DONE_YET

    def finish(self) -> None:
        """Answer the open request."""
        for request in self.open:
            request.write(b"ok")
            request.finish()


class Producer:
    """A connection as the producer of a response body; stopping it closes it at once, with any transport."""

    def __init__(self) -> None:
        self.stops = 0

    def stopProducing(self) -> None:
        self.stops += 1


class AnsweredBodyTests(SynchronousTestCase):
    """The body of an answer."""

    def setUp(self) -> None:
        self.taken: list[bytes] = []
        self.body = Body(self.taken.append)
        self.producer: Any = Producer()
        self.body.makeConnection(self.producer)
        self.body.dataReceived(b"a")

    def test_whole(self) -> None:
        """The body is complete when the other side closes properly, or just closes."""
        for reason in (ResponseDone(), PotentialDataLoss()):
            self.setUp()
            self.assertNoResult(self.body.whole)
            self.body.connectionLost(Failure(reason))
            self.successResultOf(self.body.whole)
            self.assertEqual((self.taken, self.producer.stops), ([b"a"], 0))

    def test_brokenOff(self) -> None:
        """An aborted body fails."""
        self.body.connectionLost(Failure(ConnectError()))
        self.failureResultOf(self.body.whole, ConnectError)

    def test_cancelled(self) -> None:
        """Cancelling closes the connection; no further bytes are delivered."""
        self.body.whole.cancel()
        self.failureResultOf(self.body.whole, CancelledError)
        self.body.dataReceived(b"b")
        self.body.connectionLost(Failure(ConnectError()))
        self.assertEqual((self.taken, self.producer.stops), ([b"a"], 1))

    def test_refused(self) -> None:
        """So does an exception of the receiver."""

        def refuse(data: bytes) -> None:
            raise ValueError

        body = Body(refuse)
        body.makeConnection(self.producer)
        body.dataReceived(b"a")
        self.failureResultOf(body.whole, ValueError)
        body.dataReceived(b"b")
        self.assertEqual(self.producer.stops, 1)


class OwnAgentTests(TestCase):
    """Requests to this process, on sockets."""

    timeout = 20

    async def test_asks(self) -> None:
        """It connects to the server's current address, whatever the URL says, and sends the token."""
        for token, shown in ((None, b"0 0 -"), ("t0ken", b"0 0 Bearer t0ken")):
            site = QuietSite(Shown(), Gate(), reactor)
            http = Listener("http.listen", "tcp:0:interface=127.0.0.1", site, reactor)
            self.assertEqual(http.url, "")
            http.startService()
            self.assertEqual(http.url, f"http://127.0.0.1:{http.address.port}")  # type: ignore[attr-defined]  # TCP
            agent = OwnAgent(http, lambda token=token: token, reactor)
            response = await agent.request(b"GET", b"http://nowhere.invalid/a")
            self.assertEqual(await readBody(response), shown)
            await http.stopService()  # type: ignore[misc]  # it listened

    def test_notListening(self) -> None:
        """If the server does not listen, the error says so."""
        http = Listener("http.listen", "tcp:0:interface=127.0.0.1", QuietSite(Shown(), Gate(), reactor), reactor)
        failed = ListenerEndpoint(http, reactor).connect(QuietSite(Shown(), Gate(), reactor))
        self.assertIn("http.listen", str(self.failureResultOf(failed, ConnectError).value))
        asked = ensureDeferred(OwnAgent(http, lambda: None, reactor).request(b"GET", b"http://h/"))
        self.failureResultOf(asked, ConnectError)
