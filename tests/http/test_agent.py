"""Web servers that send without end, on real connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ResponseFailed

from gateway.http.agent import ConnectionPool, HeadTooLong
from tests.certificates import makeCertificate

STATUS = b"HTTP/1.1 200 OK\r\n"

# Per server: the first bytes, the repeated bytes, and the maximum number of bytes that it can get rid of,
# including those in the system's buffers.
ENDLESS = {
    "headers": (STATUS, b"X-A: b\r\n"),
    "a header": (STATUS + b"X-A: b\r\n", b" c\r\n"),
    "a line": (STATUS + b"X-A: ", b"x"),
    "a status": (b"", b"HTTP/1.1 "),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's extension": (STATUS + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "trailers": (STATUS + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
}


class Endless(Protocol):
    """Sends as fast as it is read, whatever the request."""

    factory: Any

    def connectionMade(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self.factory.connection = self
        self.sent = 0

    def dataReceived(self, data: bytes) -> None:
        if not self.sent:
            first, again = self.factory.sends
            self.transport.write(first)
            self._again = again * (64 * 1024 // len(again))
            self.sending = LoopingCall(self._send)
            self.sending.start(0)

    def _send(self) -> None:
        if not self.transport._tempDataBuffer:  # bytes in the send buffer
            self.sent += len(self._again)
            self.transport.write(self._again)

    def connectionLost(self, reason: Any = None) -> None:
        if self.sending.running:
            self.sending.stop()
        self.gone.callback(None)


class EndlessTests(TestCase):
    """No such server fills the memory, or stays connected."""

    timeout = 60

    async def serve(self, description: str) -> Any:
        self.factory: Any = Factory.forProtocol(Endless)
        port: Any = await serverFromString(reactor, description).listen(self.factory)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def ends(self, url: str, agent: Agent) -> Any:
        """Return the failure of a request; check that the client closes the connection."""
        asking = agent.request(b"GET", url.encode())
        try:
            answer: Any = await asking
            body = Collected()
            answer.deliverBody(body)
            await body.ended
            failure: Any = body.reason
        except ResponseFailed as error:
            failure = error
        await self.factory.connection.gone.addTimeout(10, reactor)
        self.assertLess(self.factory.connection.sent, 16 * 1024 * 1024)
        return failure

    async def test_plain(self) -> None:
        """Over TCP."""
        port = await self.serve("tcp:0:interface=127.0.0.1")
        agent = Agent(reactor, pool=ConnectionPool(reactor, 2))
        for name, self.factory.sends in ENDLESS.items():
            failure = await self.ends(f"http://127.0.0.1:{port}/", agent)
            isHead = any(reason.check(HeadTooLong) for reason in getattr(failure, "reasons", ()))
            self.assertEqual(isHead, name in ("headers", "a header", "interim answers"), (name, failure))

    async def test_tls(self) -> None:
        """Over TLS, where a proper close needs both sides."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = makeCertificate(folder, "localhost")
        known = trustRootFromCertificates([Certificate.loadPEM(file.read_bytes())])
        port = await self.serve(f"ssl:0:interface=127.0.0.1:privateKey={file}")
        agent = Agent(reactor, BrowserLikePolicyForHTTPS(known), pool=ConnectionPool(reactor, 2))
        for self.factory.sends in (ENDLESS["headers"], ENDLESS["interim answers"]):
            await self.ends(f"https://localhost:{port}/", agent)


class Collected(Protocol):
    """Discards a body."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.reason: Any = None

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason.value
        self.ended.callback(None)


