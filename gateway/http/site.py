"""
The HTTP server. It logs no requests, and limits the memory and time that callers may use.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.python.reflect import prefixedMethodNames
from twisted.web import http
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from gateway.http.access import Gate, Refusal
from gateway.http.answers import MAX_BODY
from gateway.http.html import answer
from gateway.http.login import loginForm
from gateway.metrics import IMetrics, names

# Bytes of a body that are kept: one more than a resource accepts, so that the resource notices a body that is too
# long.
_KEPT = MAX_BODY + 1

# Bytes of all incomplete bodies together, and number of connections.
_MAX_BYTES = 16 * 1024 * 1024
_MAX_CONNECTIONS = 256

# Seconds for a request's head, for its body, and for the caller to receive the answer.
_TIMEOUT = 30.0

# Bytes and seconds up to which an unwanted body is read: if a connection is closed with unread bytes, the answer
# may be lost (RFC 9112 section 9.6).
_DISCARDED = 2 * 1024 * 1024
_LINGER = 2.0


class BoundedRequest(Request):
    """
    A request that keeps the beginning of its body in memory, and nothing on disk.

    @ivar refusal: the answer if the head alone was enough to refuse the request.
    """

    channel: Any
    content: Any
    refusal: Refusal | None = None

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        kept = data[: _KEPT - self.content.tell()]
        if kept and self.channel.keep(len(kept)):
            self.content.write(kept)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # Replaces Twisted's method, which always parses a form; that may take seconds.
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        self.args = http.parse_qs(query, keep_blank_values=True)
        self.process()

    def render(self, resrc: Any) -> None:
        isHeadless = isinstance(resrc, Resource) and type(resrc).render is Resource.render
        super().render(_Headless(resrc) if isHeadless and not hasattr(resrc, "render_GET") else resrc)

    def process(self) -> None:
        if self.refusal is None:
            super().process()
            return
        self.setHeader(b"content-type", b"text/plain; charset=utf-8")
        self.setHeader(b"cache-control", b"no-store")
        self.setHeader(b"connection", b"close")
        for name, value in self.refusal.headers:
            self.setHeader(name, value)
        isLogin = self.refusal.isLogin
        body = answer(self, self.refusal.code, loginForm()) if isLogin else self.refusal.text.encode()
        # Twisted does not have a name for every status.
        self.setResponseCode(self.refusal.code, HTTPStatus(self.refusal.code).phrase.encode())
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()


class _Headless(Resource):
    """A resource without GET. Twisted allows HEAD for each resource, and answers it by GET, even without one."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._resource = resource

    def render(self, request: Request) -> Any:
        allowed = {each.encode() for each in prefixedMethodNames(type(self._resource), "render_")} - {b"HEAD"}
        if request.method not in allowed:
            raise UnsupportedMethod(sorted(allowed))
        return self._resource.render(request)


class Channel(http.HTTPChannel):
    """
    One connection. Its time-outs are deadlines: received bytes do not extend them.

    @ivar kept: bytes of an incomplete body that are in memory.
    """

    site: QuietSite
    transport: Any
    _networkProducer: Any
    _handlingRequest: bool
    _dataBuffer: list[bytes]
    _waitingForTransport: bool
    kept = 0
    _isDiscarding = False
    _discarded = 0
    # True from an answer until the bytes after the request are handled; and the delayed call that handles them.
    _isBetween = False
    _turn: IDelayedCall | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.isOpen(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isBetween = False
        if self._turn is not None:
            self._turn.cancel()
        self.site.isGone(self)
        super().connectionLost(reason)

    def resetTimeout(self) -> None:
        """Do nothing: a deadline also applies to a head or a body that arrives in small pieces."""

    def allHeadersReceived(self) -> None:
        request: BoundedRequest = self.requests[-1]
        request.refusal = self.site.gate.refusal(
            self._path,
            request.requestHeaders,
            self.transport.getHost(),
            self._version != b"HTTP/1.1",
            self._command,
            self.site.utc(),
        )
        if request.refusal is None:
            super().allHeadersReceived()
            if self.length != 0:
                self.setTimeout(_TIMEOUT)
            return
        self.persistent = False
        self._isDiscarding = self.length != 0
        # The request counts as complete now: the bytes that follow are not read as its body.
        self.length = 0
        request.gotLength(0)

    def allContentReceived(self) -> None:
        self.site.isServed(self)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        if self.persistent:
            self.site.waits(self)
        super().requestDone(request)

    def setLineMode(self, extra: bytes = b"") -> None:
        """
        Handle the bytes after an answered request in a later reactor turn, once the answer has been taken: a chunk
        may contain thousands of requests.
        """
        self._handlingRequest = self._isBetween = True
        self._dataBuffer = [extra] if extra else []
        self._goOnLater()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._goOnLater()

    def _goOnLater(self) -> None:
        if self._isBetween and not self._waitingForTransport and self._turn is None:
            self._turn = self.callLater(0, self._goOn)

    def _goOn(self) -> None:
        self._turn = None
        if self._waitingForTransport:
            return
        self._handlingRequest = self._isBetween = False
        data, self._dataBuffer = b"".join(self._dataBuffer), []
        self._networkProducer.resumeProducing()
        super().setLineMode(data)

    def keep(self, count: int) -> bool:
        """Count bytes that are kept in memory; return true if the connection still exists."""
        return self.site.keep(self, count)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._isDiscarding:
            super().rawDataReceived(data)
            return
        self._discarded += len(data)
        if self._discarded > _DISCARDED:
            self.transport.abortConnection()

    def loseConnection(self) -> None:
        # The connection now waits for the caller to receive the answer.
        self.site.waits(self)
        self.setTimeout(_LINGER if self._isDiscarding else _TIMEOUT)
        if self._isDiscarding and ITCPTransport.providedBy(self.transport) and not self.isSecure():
            self._networkProducer.unregisterProducer()
            self.transport.loseWriteConnection()
        else:
            super().loseConnection()

    def timeoutConnection(self) -> None:
        # No log line: callers could cause any number of them.
        self.transport.abortConnection()


class QuietSite(Site):
    """
    Serves the requests that the gate admits. Requests are not logged: health probes come every few seconds.

    The number of connections and the size of incomplete bodies are limited. At the limit, the connection that has
    waited longest for its caller is closed: the request of an honest caller is complete within milliseconds.

    @ivar gate: decides after the head of each request.
    @ivar utc: returns the seconds since 1970; without them no browser has a session.
    @ivar answered: number of answered requests by status code.
    @ivar connections: number of open connections.
    @ivar dropped: number of connections that were closed at a limit.
    """

    noisy = False
    requestFactory = BoundedRequest
    protocol = Channel  # type: ignore[assignment]  # Twisted's default switches between HTTP/1.1 and HTTP/2

    def __init__(
        self, resource: Resource, gate: Gate, reactor: IReactorTime, utc: Callable[[], float] = lambda: math.inf
    ) -> None:
        super().__init__(resource, timeout=_TIMEOUT, reactor=reactor)
        self.gate = gate
        self.utc = utc
        self._bytes = 0
        self.connections = self.dropped = 0
        self.answered: Counter[int] = Counter()
        # Connections that wait for their caller, the longest-waiting first.
        self._waiting: dict[Channel, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.connections >= _MAX_CONNECTIONS:
            if not self._waiting:
                self.dropped += 1
                return None
            self._drop(next(iter(self._waiting)))
        return super().buildProtocol(addr)

    def acceptableProtocols(self) -> list[bytes]:
        # No HTTP/2, which Twisted would offer over TLS: it has none of these limits.
        return [b"http/1.1"]

    def isOpen(self, channel: Channel) -> None:
        """Count a new connection."""
        self.connections += 1
        self.waits(channel)

    def waits(self, channel: Channel) -> None:
        """Record that the channel waits for its caller."""
        self._waiting[channel] = None

    def isServed(self, channel: Channel) -> None:
        """Record that the channel's request is complete and will be answered."""
        self._waiting.pop(channel, None)
        self._bytes -= channel.kept
        channel.kept = 0

    def isGone(self, channel: Channel) -> None:
        """Record that the connection is lost."""
        self.connections -= 1
        self.isServed(channel)

    def keep(self, channel: Channel, count: int) -> bool:
        """Count bytes that a channel keeps; return false if the channel itself was closed because of the limit."""
        channel.kept += count
        self._bytes += count
        while self._bytes > _MAX_BYTES:
            self._drop(next(each for each in self._waiting if each.kept))
        return channel in self._waiting

    def measure(self, metrics: IMetrics) -> None:
        """Register metrics."""
        metrics.counter(*names.HTTP_REQUESTS).setFunction(
            lambda: {str(code): count for code, count in self.answered.items()}
        )
        metrics.gauge(*names.HTTP_CONNECTIONS).setFunction(lambda: self.connections)
        metrics.counter(*names.HTTP_DROPPED).setFunction(lambda: self.dropped)

    def _drop(self, channel: Channel) -> None:
        self.dropped += 1
        self.isServed(channel)
        for request in channel.requests:
            request.content = BytesIO()
        channel.transport.abortConnection()

    def log(self, request: http.Request) -> None:
        """Count requests, and do not log them."""
        self.answered[request.code] += 1
