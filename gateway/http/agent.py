"""
HTTP clients, for web applications and for the gateway's own HTTP server.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import STATUS, HTTP11ClientProtocol
from twisted.web.client import Agent, GzipDecoder, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from gateway.http.listener import Listener, ListenerEndpoint

# Bytes that a server may send before a body, and the number of status lines in them: before the final answer there
# may be some with status 1xx (RFC 9110 section 15.2).
_MAX_HEAD = 32 * 1024
_MAX_HEADS = 4


class HeadTooLong(Exception):
    """A server sends too many bytes or status lines before the body; the text says which of them."""


class BoundedClient(HTTP11ClientProtocol):
    """
    A connection to a web server. Twisted limits the length of each header line, but neither the number of lines nor
    the number of 1xx answers. This class limits both, and disconnects a server that exceeds the limits.
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
                excess = "too many answers with status 1xx" if heads < 0 else f"over {_MAX_HEAD} bytes of headers"
                raise HeadTooLong(excess)
            lineReceived(line)

        parser.lineReceived = receive
        return answer

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._isTooLong:
            # Over TLS, Twisted would wait until the server closes the connection as well.
            self.transport.abortConnection()


class ConnectionPool(HTTPConnectionPool):
    """
    Connections to web servers, which are not logged.

    @param most: the number of idle connections to one server that are kept.
    """

    def __init__(self, reactor: Any, most: int) -> None:
        super().__init__(reactor, persistent=most > 0)
        self.maxPersistentPerHost = most
        self._factory = _makeFactory  # type: ignore[assignment]  # a function in place of the class


def _makeFactory(whenQuiescent: Callable[[Any], None], metadata: str) -> Factory[Any]:
    factory: Factory[Any] = Factory.forProtocol(lambda: BoundedClient(whenQuiescent))
    factory.noisy = False
    return factory


class Body(Protocol):
    """
    Receives the body of a response. If the rest of the body is not wanted, the connection is closed; otherwise the
    other side could keep it open for as long as it likes.

    @ivar whole: fires when the body is complete; fails if the connection is lost, or with the exception that
        C{take} raises. Cancel it to close the connection.
    @param take: called with each piece.
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
            # PotentialDataLoss: the body has no declared length.
            isWhole = reason.check(ResponseDone, PotentialDataLoss)
            self.whole.callback(None) if isWhole else self.whole.errback(reason)

    def _end(self) -> None:
        # Not loseConnection: over TLS that waits until the other side closes the connection as well.
        producer: Any = self.transport
        if producer is not None:
            producer.stopProducing()


class Unusable(Exception):
    """A body is not accepted; the text gives the reason, as the rest of a sentence that starts with "the body"."""


async def collected(response: Any, most: int) -> bytes:
    """
    Return a decompressed body of limited size.

    @param response: with or without the decoder of treq, which is bypassed because its output has no limit.
    @param most: maximum number of bytes, compressed as well as decompressed.
    @raise Unusable: if there are more bytes, or they are not valid gzip.
    @raise ResponseFailed: if the connection is lost before the end.
    """
    plain, packings = unwrapped(response)
    # Not a list of pieces: the server decides their size, so there may be a million of them.
    found = bytearray()
    packer = zlib.decompressobj(16 + zlib.MAX_WBITS)
    came = 0

    def take(data: bytes) -> None:
        nonlocal came
        came += len(data)
        if came > most:
            raise Unusable(f"has over {most} bytes")
        if packings:
            # Ignore data after the end: zlib would keep it, and copy all of it for each piece.
            data = b"" if packer.eof else packer.decompress(data, most + 1 - len(found))
        if len(found) + len(data) > most:
            raise Unusable(f"has over {most} bytes")
        found.extend(data)

    why = ""
    if packings > 1:
        why = "is compressed more than once"
    elif plain.length is not UNKNOWN_LENGTH and plain.length > most:
        why = f"has {plain.length} bytes; at most {most} are accepted"
    body = Body(take)
    plain.deliverBody(body)
    if why:
        body.whole.addErrback(lambda reason: None)
        body.whole.cancel()
        raise Unusable(why)
    try:
        await body.whole
    except zlib.error as error:
        raise Unusable("is not gzip, despite its header") from error
    if packings and not packer.eof:
        raise ResponseFailed([])
    return bytes(found)


def unwrapped(response: Any) -> tuple[Any, int]:
    """Return a response without decoders, and the number of layers of compression."""
    packings = 0
    while isinstance(response, GzipDecoder):
        response = response.original
        packings += 1
    return response, packings


def makeClient(agent: IAgent) -> HTTPClient:
    """Return a client without cookies: they would link requests for different users, and grow without limit."""
    # The type in the annotation of the latest treq does not exist in older versions.
    jar: Any = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return HTTPClient(agent, jar)


@implementer(IAgent)
class OwnAgent:
    """
    Sends each request to this process, whatever host the URL names, together with the token.

    @param token: returns the present token; C{None} if there is none.
    """

    def __init__(self, http: Listener, token: Callable[[], str | None], reactor: Any) -> None:
        self._http = http
        self._token = token
        self._reactor = reactor
        self._agent = Agent.usingEndpointFactory(reactor, self, ConnectionPool(reactor, 0))

    def endpointForURI(self, uri: object) -> ListenerEndpoint:
        """Return the endpoint for a URI, as in C{IAgentEndpointFactory}."""
        return ListenerEndpoint(self._http, self._reactor)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        headers = Headers() if headers is None else headers.copy()
        # The HTTP server accepts this name as its own.
        headers.setRawHeaders("host", [self._http.url.removeprefix("http://") or "localhost"])
        token = self._token()
        if token is not None:
            headers.setRawHeaders("authorization", [f"Bearer {token}"])
        answer: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return answer
