"""
Asking others over HTTP, and the gateway itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Coroutine
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import STATUS, HTTP11ClientProtocol
from twisted.web.client import Agent, GzipDecoder, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from gateway.listener import Listener, ListenerEndpoint

_log = Logger()

# Bytes of the body of a request that any resource takes.
MAX_BODY = 1024 * 1024

# Bytes of all that a server sends before a body, and how many answers that may be: before the real one there may be
# some with status 1xx (RFC 9110 section 15.2).
_MAX_HEAD = 32 * 1024
_MAX_HEADS = 4


class HeadTooLong(Exception):
    """A server sends more before the body than is taken; the text says what."""


class BoundedClient(HTTP11ClientProtocol):
    """
    A connection to a web server. Twisted bounds each line of an answer's head, but not the number of lines, nor the
    number of heads. This bounds both, and disconnects a server that goes on.
    """

    transport: Any
    _isTooLong = False

    def request(self, request: Any) -> Deferred[IResponse]:
        answer: Deferred[IResponse] = super().request(request)
        parser: Any = self._parser
        if parser is None:
            return answer
        room, heads = _MAX_HEAD, _MAX_HEADS
        lineReceived = parser.lineReceived

        def receive(line: bytes) -> None:
            nonlocal room, heads
            room -= len(line) + 1
            heads -= parser.state == STATUS
            if room < 0 or heads < 0:
                self._isTooLong = True
                excess = "status 1xx again and again" if heads < 0 else f"over {_MAX_HEAD} bytes of headers"
                raise HeadTooLong(excess)
            lineReceived(line)

        parser.lineReceived = receive
        return answer

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._isTooLong:
            # Over TLS Twisted would wait until the server takes leave.
            self.transport.abortConnection()


class ConnectionPool(HTTPConnectionPool):
    """
    Connections to web servers, which are not logged.

    @param most: how many to one server are kept.
    """

    def __init__(self, reactor: Any, most: int) -> None:
        super().__init__(reactor, persistent=most > 0)
        self.maxPersistentPerHost = most
        self._factory = _makeFactory  # type: ignore[assignment]  # a function makes them as well as the class


def _makeFactory(whenQuiescent: Callable[[Any], None], metadata: str) -> Factory[Any]:
    factory: Factory[Any] = Factory.forProtocol(lambda: BoundedClient(whenQuiescent))
    factory.noisy = False
    return factory


class Body(Protocol):
    """
    Takes the body of a response, to which it is delivered. A connection of which nobody wants the rest is ended:
    else it would be there for as long as the other side likes.

    @ivar whole: fires when all of it has come; fails when it breaks off, or with what C{take} raises. To cancel it
        is to want no more.
    @param take: is given each piece.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self.whole: Deferred[None] = Deferred(lambda _: self._end())

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        try:
            self._take(data)
        except Exception:
            self.whole.errback(Failure())
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            # The second: nobody has said how long it is.
            isWhole = reason.check(ResponseDone, PotentialDataLoss)
            self.whole.callback(None) if isWhole else self.whole.errback(reason)

    def _end(self) -> None:
        # Not loseConnection: over TLS that waits until the other side has taken leave, too.
        producer: Any = self.transport
        if producer is not None:
            producer.stopProducing()


class Unusable(Exception):
    """A body is not taken; the text says why, as what follows "the body"."""


async def collected(response: Any, most: int) -> bytes:
    """
    A body, unpacked, in bounds.

    @param response: as it came, or as it is unpacked by treq, which is not used: it has no bound.
    @param most: bytes, packed and unpacked.
    @raise Unusable: if there are more of them, or they are not what they are said to be.
    @raise ResponseFailed: if it breaks off.
    """
    plain, packings = unwrapped(response)
    # Not a list of pieces, of which there may be a million: a server decides how small they are.
    found = bytearray()
    packer = zlib.decompressobj(16 + zlib.MAX_WBITS)
    came = 0

    def take(data: bytes) -> None:
        nonlocal came
        came += len(data)
        if came > most:
            raise Unusable(f"has over {most} bytes")
        if packings:
            # What follows the end is passed over: zlib would keep it, and copy all of it for each piece.
            data = b"" if packer.eof else packer.decompress(data, most + 1 - len(found))
        if len(found) + len(data) > most:
            raise Unusable(f"has over {most} bytes")
        found.extend(data)

    why = ""
    if packings > 1:
        why = "is packed more than once"
    elif plain.length is not UNKNOWN_LENGTH and plain.length > most:
        why = f"has {plain.length} bytes; at most {most} are taken"
    body = Body(take)
    plain.deliverBody(body)
    if why:
        body.whole.addErrback(lambda reason: None)
        body.whole.cancel()
        raise Unusable(why)
    try:
        await body.whole
    except zlib.error as error:
        raise Unusable("says that it is gzip, and is not") from error
    if packings and not packer.eof:
        raise ResponseFailed([])
    return bytes(found)


def unwrapped(response: Any) -> tuple[Any, int]:
    """A response as it came, and how often it is packed."""
    packings = 0
    while isinstance(response, GzipDecoder):
        response = response.original
        packings += 1
    return response, packings


def answerLater(
    request: Request, answering: Coroutine[Any, Any, bytes], fault: Callable[[Request], bytes]
) -> int:
    """
    Answer a request with the body that a coroutine returns, unless the caller is gone by then.

    @param fault: makes the body where the coroutine raises. A request without an answer would hold its connection,
        one of few.
    @return: for C{render} to return.
    """
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def failed(failure: Failure) -> bytes:
        _log.failure("A request could not be answered.", failure)
        return fault(request)

    def answer(body: bytes) -> None:
        if not gone:
            request.write(body)
            request.finish()

    ensureDeferred(answering).addErrback(failed).addCallback(answer)
    return NOT_DONE_YET


def isFromPage(headers: Headers) -> bool:
    """
    True if a GET comes from a page in a browser; false if it comes from a program, or somebody typed the address.
    """
    sites = headers.getRawHeaders(b"sec-fetch-site")
    if sites:
        return sites != [b"none"]
    # Older browsers do not say it. They name the page, unless it forbids that; and each calls itself Mozilla.
    if headers.hasHeader(b"origin") or headers.hasHeader(b"referer"):
        return True
    return any(b"mozilla/" in agent.lower() for agent in headers.getRawHeaders(b"user-agent") or ())


def makeClient(agent: IAgent) -> HTTPClient:
    """A client that keeps no cookies: they would tie together what is asked for different users, without bound."""
    # Not every treq has the class that the latest one is typed with.
    jar: Any = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return HTTPClient(agent, jar)


@implementer(IAgent)
class OwnAgent:
    """Asks what this process serves, whatever host a URL names, and shows the token."""

    def __init__(self, http: Listener, token: str | None, reactor: Any) -> None:
        self._http = http
        self._token = token
        self._reactor = reactor
        self._agent = Agent.usingEndpointFactory(reactor, self, ConnectionPool(reactor, 0))

    def endpointForURI(self, uri: object) -> ListenerEndpoint:
        """As C{IAgentEndpointFactory} has it."""
        return ListenerEndpoint(self._http, self._reactor)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        headers = Headers() if headers is None else headers.copy()
        # By which the listener knows itself.
        headers.setRawHeaders("host", [self._http.url.removeprefix("http://") or "localhost"])
        if self._token is not None:
            headers.setRawHeaders("authorization", [f"Bearer {self._token}"])
        answer: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return answer
