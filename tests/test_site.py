"""The HTTP server: what it takes, and how it asks itself."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.error import ConnectError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseDone, readBody
from twisted.web.http import PotentialDataLoss
from twisted.web.resource import Resource

from gateway.listener import Listener, ListenerEndpoint
from gateway.monitor.site import QuietSite
from gateway.web import Body, OwnAgent

MEBIBYTE = 1024 * 1024


class Shown(Resource):
    """Shows the length of what it was sent, and the token."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        body = request.content.read()
        token = request.getHeader(b"authorization") or b"-"
        return b"%d %d %b" % (len(body), body.count(b"x"), token)


class BodyTests(SynchronousTestCase):
    """Bodies, in memory."""

    def length(self, *chunks: bytes, chunked: bool = False) -> int:
        """How many bytes of a body there are to read."""
        transport = StringTransport()
        channel = QuietSite(Shown(), reactor=MemoryReactorClock()).buildProtocol(transport.getPeer())
        assert channel is not None
        channel.makeConnection(transport)
        size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % sum(map(len, chunks))
        channel.dataReceived(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + size + b"\r\n\r\n")
        for chunk in chunks:
            channel.dataReceived(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
        if chunked:
            channel.dataReceived(b"0\r\n\r\n")
        length, count, _ = transport.value().partition(b"\r\n\r\n")[2].split()
        self.assertEqual(length, count)
        return int(length)

    def test_whole(self) -> None:
        """What is within bounds is there as it was sent."""
        for chunked in (False, True):
            self.assertEqual(self.length(b"x" * 1000, b"x" * 70_000, chunked=chunked), 71_000)
            self.assertEqual(self.length(*[b"x" * 65_536] * 16, chunked=chunked), MEBIBYTE)

    def test_tooLong(self) -> None:
        """Of more, one byte too much is kept, however it comes, and nothing is written to disk."""
        for chunked in (False, True):
            self.assertEqual(self.length(*[b"x" * 60_000] * 100, chunked=chunked), MEBIBYTE + 1)


class Producer:
    """A connection, as the body of a response has it: only to stop it ends it at once, whatever it speaks."""

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
        """All of it is there when the other side says so, or says no more."""
        for reason in (ResponseDone(), PotentialDataLoss()):
            self.setUp()
            self.assertNoResult(self.body.whole)
            self.body.connectionLost(Failure(reason))
            self.successResultOf(self.body.whole)
            self.assertEqual((self.taken, self.producer.stops), ([b"a"], 0))

    def test_brokenOff(self) -> None:
        """What breaks off fails."""
        self.body.connectionLost(Failure(ConnectError()))
        self.failureResultOf(self.body.whole, ConnectError)

    def test_cancelled(self) -> None:
        """Who waits no more ends the connection, and gets nothing that is still under way."""
        self.body.whole.cancel()
        self.failureResultOf(self.body.whole, CancelledError)
        self.body.dataReceived(b"b")
        self.body.connectionLost(Failure(ConnectError()))
        self.assertEqual((self.taken, self.producer.stops), ([b"a"], 1))

    def test_refused(self) -> None:
        """So does who cannot take it."""

        def refuse(data: bytes) -> None:
            raise ValueError

        body = Body(refuse)
        body.makeConnection(self.producer)
        body.dataReceived(b"a")
        self.failureResultOf(body.whole, ValueError)
        body.dataReceived(b"b")
        self.assertEqual(self.producer.stops, 1)


class OwnAgentTests(TestCase):
    """Asking oneself, on sockets."""

    timeout = 20

    async def test_asks(self) -> None:
        """It finds the server wherever that listens, whatever the URL says, and shows the token."""
        for token, shown in ((None, b"0 0 -"), ("t0ken", b"0 0 Bearer t0ken")):
            site = QuietSite(Shown(), reactor=reactor)
            http = Listener("http.listen", "tcp:0:interface=127.0.0.1", site, reactor)
            self.assertEqual(http.url, "")
            http.startService()
            self.assertEqual(http.url, f"http://127.0.0.1:{http.address.port}")  # type: ignore[attr-defined]  # TCP
            agent = OwnAgent(http, token, reactor)
            response = await agent.request(b"GET", b"http://nowhere.invalid/a")
            self.assertEqual(await readBody(response), shown)
            await http.stopService()  # type: ignore[misc]  # it listened

    def test_notListening(self) -> None:
        """Where nothing listens, that is said."""
        http = Listener("http.listen", "tcp:0:interface=127.0.0.1", QuietSite(Shown(), reactor=reactor), reactor)
        failed = ListenerEndpoint(http, reactor).connect(QuietSite(Shown(), reactor=reactor))
        self.assertIn("http.listen", str(self.failureResultOf(failed, ConnectError).value))
        asked = ensureDeferred(OwnAgent(http, None, reactor).request(b"GET", b"http://h/"))
        self.failureResultOf(asked, ConnectError)
