"""Misbehaviour of web applications, on real connections, so that a lost connection is a real one."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

from gateway.http import agent
from gateway.http.agent import ConnectionPool, makeClient
from gateway.roster import fetch, store
from gateway.roster.failures import RefreshFailed
from gateway.roster.fetch import WebApplication
from tests.certificates import makeCertificate

DOCUMENT = b'{"marie@example.com": {}}'


def response(body: bytes = DOCUMENT, status: str = "200 OK", **headers: str) -> bytes:
    """Return a complete answer."""
    headers = {"Content_Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Speaker(Protocol):
    """Answers each request with the next item: C{None} is silence; after C{b"|"} the connection ends."""

    factory: Any

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self._got = b""

    def dataReceived(self, data: bytes) -> None:
        self._got += data
        while b"\r\n\r\n" in self._got:
            head, _, self._got = self._got.partition(b"\r\n\r\n")
            self.factory.requests.append(head.decode("latin-1"))
            answer = self.factory.answers.pop(0)
            if answer is not None:
                self.transport.write(answer.removesuffix(b"|"))
                if answer.endswith(b"|"):
                    self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.connected = 0


class FetchTests(TestCase):
    """One application."""

    timeout = 20

    def setUp(self) -> None:
        self.factory: Any = Factory.forProtocol(Speaker)
        self.factory.answers, self.factory.requests, self.factory.connections = [], [], []
        self.port: Any = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.pool = ConnectionPool(reactor, 2)
        self.patch(fetch, "_FIRST_PAUSE", 0.01)
        self.application = self.make(self.port.getHost().port)

    @inlineCallbacks
    def tearDown(self) -> Any:
        for connection in self.factory.connections:
            if connection.connected:
                connection.transport.abortConnection()
        # Only then is the loss seen.
        yield deferLater(reactor, 0.01)
        yield self.pool.closeCachedConnections()
        yield self.port.stopListening()

    def make(self, port: int, timeout: float = 20, clock: Any = reactor) -> WebApplication:
        client = makeClient(Agent(reactor, pool=self.pool))
        return WebApplication(f"http://127.0.0.1:{port}/contacts/%s?x=1", client, clock, timeout)

    def makeTimed(self) -> Clock:
        """Make one whose pauses take no time, and whose timeout of 30 seconds is that of the returned clock."""
        clock = Clock()
        self.patch(fetch, "deferLater", lambda clock, seconds: succeed(None))
        self.application = self.make(self.port.getHost().port, 30.0, clock)
        return clock

    @inlineCallbacks
    def until(self, condition: Callable[[], object]) -> Any:
        """Wait until something is so, as long as the test may take."""
        while not condition():
            yield deferLater(reactor, 0.005)

    @inlineCallbacks
    def overdue(self, clock: Clock, *answers: bytes | None) -> Any:
        """Fail by the timeout at each of these answers, which the application gives to tries of one document."""
        bodies: list[object] = []
        collect = agent.collected

        def collected(response: Any, most: int) -> Any:
            bodies.append(response)
            return collect(response, most)

        self.patch(fetch, "collected", collected)
        failing = self.fails(*answers, part="within 30 s; 3 tries")
        begun = 0
        for number, answer in enumerate(answers, 1):
            begun += answer is not None
            state = len(answers) - number, begun
            yield self.until(lambda state=state: (len(self.factory.answers), len(bodies)) == state)  # type: ignore[misc]  # of a loop
            self.assertNoResult(failing)
            clock.advance(30.0)
        yield failing

    def ask(self, *answers: bytes | None, name: str = "john", isUnconditional: bool = False) -> Deferred[Any]:
        self.factory.answers[:] = answers
        return ensureDeferred(self.application.fetch(name, isUnconditional))

    @inlineCallbacks
    def fails(self, *answers: bytes | None, part: str) -> Any:
        asked = len(self.factory.requests)
        failure = yield self.assertFailure(self.ask(*answers), RefreshFailed)
        self.assertIn(part, str(failure))
        self.assertEqual(self.factory.answers, [])
        self.assertEqual(len(self.factory.requests) - asked, len(answers))

    @inlineCallbacks
    def test_document(self) -> Any:
        """A document is fetched; the user's name is URL-encoded; the connection is kept."""
        for name, path in (("john", "john"), ("jöhn/..", "j%C3%B6hn%2F.."), ("a b%s", "a%20b%25s")):
            answer = yield self.ask(response(), name=name)
            self.assertEqual((answer.document, answer.tag), (DOCUMENT, None))
            self.assertEqual(self.factory.requests[-1].split("\r\n")[0], f"GET /contacts/{path}?x=1 HTTP/1.1")
        self.assertEqual(len(self.factory.connections), 1)

    @inlineCallbacks
    def test_cookies(self) -> Any:
        """Cookies are not kept: one user's would be sent with another user's request, and they are not bounded."""
        for _ in range(2):
            yield self.ask(response(Set_Cookie="session=1; Path=/"))
        self.assertNotIn("cookie", self.factory.requests[-1].lower())

    @inlineCallbacks
    def test_tags(self) -> Any:
        """A tag is sent after its document was applied; then status 304 is valid, otherwise it is an error."""
        tagged = response(ETag='"1"')
        answer = yield self.ask(tagged)
        self.assertEqual(answer.tag, '"1"')
        yield self.ask(tagged)
        self.assertNotIn("none-match", self.factory.requests[-1].lower())
        self.application.remember("john", '"1"')
        answer = yield self.ask(response(b"", "304 Not Modified"))
        self.assertEqual((answer.document, answer.tag), (None, '"1"'))
        self.assertIn('if-none-match: "1"', self.factory.requests[-1].lower())
        yield self.ask(tagged, isUnconditional=True)
        self.assertNotIn("none-match", self.factory.requests[-1].lower())
        self.application.remember("john", None)
        yield self.fails(response(b"", "304 Not Modified"), part="status 304")

    @inlineCallbacks
    def test_strangeTag(self) -> Any:
        """A tag need not be ASCII (RFC 9110 section 8.8.3); it comes back byte for byte."""
        answer = yield self.ask(response().replace(b"\r\n\r\n", b'\r\nETag: "\xe9\xff"\r\n\r\n'))
        self.application.remember("john", answer.tag)
        yield self.ask(response(b"", "304 Not Modified"))
        self.assertIn(b'if-none-match: "\xe9\xff"', self.factory.requests[-1].encode("latin-1").lower())

    @inlineCallbacks
    def test_packed(self) -> Any:
        """A document may be compressed, once and completely."""
        packed = gzip.compress(DOCUMENT)
        answer = yield self.ask(response(packed, Content_Encoding="gzip"))
        self.assertEqual(answer.document, DOCUMENT)
        self.assertIn("accept-encoding: gzip", self.factory.requests[-1].lower())
        half = response(packed[:-9], Content_Encoding="gzip")
        yield self.fails(half, half, half, part="is incomplete; 3 tries")
        yield self.fails(response(DOCUMENT, Content_Encoding="gzip"), part="is not gzip, despite its header")
        twice = response(gzip.compress(packed), Content_Encoding="gzip, gzip")
        yield self.fails(twice, part="compressed more than once")

    @inlineCallbacks
    def test_bomb(self) -> Any:
        """No more of a compressed document is unpacked than the limit."""
        unpacked: list[int] = []
        make = zlib.decompressobj

        class Packer:
            """Remembers how much it has unpacked."""

            def __init__(self, bits: int) -> None:
                self._packer = make(bits)

            @property
            def eof(self) -> bool:
                return bool(self._packer.eof)

            def decompress(self, data: bytes, most: int) -> bytes:
                found = self._packer.decompress(data, most)
                unpacked.append(len(found))
                return found

        self.patch(fetch, "MAX_BYTES", 10_000)
        self.patch(agent.zlib, "decompressobj", Packer)
        bomb = gzip.compress(b" " * 1_000_000)
        yield self.fails(response(bomb, Content_Encoding="gzip"), part="over 10000 bytes")
        self.assertEqual(sum(unpacked), 10_001)

    @inlineCallbacks
    def test_behindPacked(self) -> Any:
        """Bytes after the end of a compressed document are dropped, and do not delay the answer for ever."""
        packers: list[Any] = []
        make = zlib.decompressobj
        self.patch(agent.zlib, "decompressobj", lambda bits: packers.append(make(bits)) or packers[-1])
        self.patch(fetch, "MAX_BYTES", 1_000_000)
        packed = gzip.compress(DOCUMENT)
        answer = yield self.ask(response(packed + b"x" * 900_000, Content_Encoding="gzip"))
        self.assertEqual(answer.document, DOCUMENT)
        # The transport reads no more than this at once.
        self.assertLess(len(packers[0].unused_data), 65_537)
        endless = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in [packed, *[b"x" * 60_000] * 20])
        head = response(b"", Content_Encoding="gzip", Transfer_Encoding="chunked")
        yield self.fails(head.replace(b"Content-Length: 0\r\n", b"") + endless, part="over 1000000 bytes")

    @inlineCallbacks
    def test_refusals(self) -> Any:
        """A failure that another try would not change is reported at once."""
        yield self.fails(response(b"", "404 Not Found"), part="status 404")
        yield self.fails(response(b"", "403 Forbidden"), part="status 403")
        yield self.fails(response(b"", "204 No Content"), part="status 204")
        yield self.fails(response(b"", "302 Found", Location="http://other/"), part="redirections")
        yield self.fails(response(b"", Content_Length=str(10**9)), part="1000000000 bytes")

    @inlineCallbacks
    def test_again(self) -> Any:
        """A failure that may pass is tried three times; the last one is reported."""
        bad, half = response(b"", "503 Service Unavailable"), response(Content_Length="100") + b"|"
        answer = yield self.ask(bad, half, response())
        self.assertEqual(answer.document, DOCUMENT)
        yield self.fails(bad, bad, bad, part="status 503; 3 tries")
        yield self.fails(half, half, half, part="is incomplete; 3 tries")
        yield self.fails(b"nonsense\r\n\r\n|", b"|", b"|", part="3 tries")

    @inlineCallbacks
    def test_pauses(self) -> Any:
        """The second try comes after half a second, the third one after a second."""
        pauses: list[float] = []
        self.patch(fetch, "_FIRST_PAUSE", 0.5)
        self.patch(fetch, "deferLater", lambda clock, seconds: succeed(pauses.append(seconds)))
        bad = response(b"", "503 Service Unavailable")
        yield self.fails(bad, bad, bad, part="status 503; 3 tries")
        self.assertEqual(pauses, [0.5, 1.0])

    @inlineCallbacks
    def test_silence(self) -> Any:
        """Without an answer, or with one that never ends, a try ends at its timeout."""
        clock = self.makeTimed()
        yield self.overdue(clock, None, None, None)
        endless = response(Content_Length="100")
        yield self.overdue(clock, endless, endless, endless)

    @inlineCallbacks
    def test_left(self) -> Any:
        """A connection that still brings an unused body is closed; one that has brought all of it is kept."""
        clock = self.makeTimed()
        endless = response(Content_Length="100")
        yield self.overdue(clock, endless, endless, endless)
        yield self.until(lambda: not [each for each in self.factory.connections if each.connected])
        much = b"x" * 70_000
        for answer, part, tries in (
            (response(b"x", "404 Not Found", Content_Length="100"), "status 404", 1),
            (response(much, "404 Not Found", Content_Length="100000"), "status 404", 1),
            (response(b"x", "500 Oops", Content_Length="100"), "status 500", 3),
            (response(much, Content_Length=str(10**9)), "1000000000 bytes", 1),
        ):
            yield self.fails(*[answer] * tries, part=part)
            if much not in answer:
                clock.advance(30.0)
            yield self.until(lambda: not [each for each in self.factory.connections if each.connected])
        self.factory.connections.clear()
        for _ in range(6):
            yield self.fails(response(b"Who?", "404 Not Found"), part="status 404")
        # The first connection was still busy when the second request began.
        self.assertEqual([each.connected for each in self.factory.connections], [1, 1])

    @inlineCallbacks
    def test_refused(self) -> Any:
        """If nothing listens at the address, the reason says so."""
        port = self.port.getHost().port
        yield self.port.stopListening()
        failure = yield self.assertFailure(ensureDeferred(self.make(port).fetch("john")), RefreshFailed)
        self.assertIn("cannot be reached", str(failure))

    @inlineCallbacks
    def test_certificate(self) -> Any:
        """An invalid certificate is reported at once, and no request is sent."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = makeCertificate(folder, "localhost")
        known = trustRootFromCertificates([Certificate.loadPEM(file.read_bytes())])
        yield self.port.stopListening()
        endpoint = serverFromString(reactor, f"ssl:0:interface=127.0.0.1:privateKey={file}")
        self.port = yield endpoint.listen(self.factory)
        for host, trusted, part in (
            ("localhost", None, "its certificate is not trusted by this machine"),
            ("127.0.0.1", known, "does not match the host of url"),
        ):
            agent = Agent(reactor, BrowserLikePolicyForHTTPS(trusted), pool=self.pool)
            url = f"https://{host}:{self.port.getHost().port}/%s"
            self.application = WebApplication(url, makeClient(agent), reactor, 5)
            yield self.fails(part=part)
        self.assertEqual(len(self.factory.connections), 2)
        agent = Agent(reactor, BrowserLikePolicyForHTTPS(known), pool=self.pool)
        url = f"https://localhost:{self.port.getHost().port}/%s"
        self.application = WebApplication(url, makeClient(agent), reactor, 5)
        answer = yield self.ask(response())
        self.assertEqual(answer.document, DOCUMENT)

    @inlineCallbacks
    def test_dots(self) -> Any:
        """Users whose names would mean another path in a URL are not asked for."""
        for name in (".", ".."):
            yield self.assertFailure(self.ask(name=name), RefreshFailed)
        self.assertEqual(self.factory.requests, [])

    @inlineCallbacks
    def test_smallPieces(self) -> Any:
        """A document may come byte by byte."""
        chunks = b"".join(b"1\r\n%c\r\n" % each for each in DOCUMENT)
        answer = yield self.ask(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        self.assertEqual(answer.document, DOCUMENT)

    @inlineCallbacks
    def test_interim(self) -> Any:
        """Some answers with status 1xx may come before the real one."""
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        for count in (1, 3):
            answer = yield self.ask(interim * count + response())
            self.assertEqual(answer.document, DOCUMENT)
        # The bound is for each request of a kept connection.
        self.assertEqual(len(self.factory.connections), 1)
        yield self.fails(interim * 4 + response(), part="the application sends too many answers with status 1xx")

    @inlineCallbacks
    def test_longHead(self) -> Any:
        """The size of all headers is bounded. The error names the bound, and there is no further try."""
        for head in (b"X-Long: %b\r\n" % (b"x" * 1_000) * 31, b"Y: \r\n" * 5_000):
            answer = yield self.ask(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 2\r\n\r\n{}")
            self.assertEqual(answer.document, b"{}")
        for head in (
            b"HTTP/1.1 200 OK\r\n" + b"X-Long: %b\r\n" % (b"x" * 1_000) * 33 + b"\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"Y: \r\n" * 7_000,
            b"HTTP/1.1 200 OK\r\nX: x\r\n" + b" continued\r\n" * 3_000,
        ):
            yield self.fails(head, part="the application sends over 32768 bytes of headers")

    @inlineCallbacks
    def test_notShown(self) -> Any:
        """No error shows the query of the url, not even errors of libraries."""
        client = makeClient(Agent(reactor, pool=self.pool))
        self.application = WebApplication("http://[::1/%s?key=hidden", client, reactor, 1)
        failure = yield self.assertFailure(self.ask(), RefreshFailed)
        self.assertIn("cannot be reached", str(failure))
        self.assertNotIn("hidden", str(failure))

    def test_tagsBounded(self) -> None:
        """The number of tags is bounded; a very long tag is not kept."""
        self.patch(store, "_MAX_TAGS", 3)
        for number in range(5):
            self.application.remember(str(number), '"x"')
        self.application.remember("4", "x" * 2_000)
        self.assertEqual(list(self.application._tags._tags), ["2", "3"])
