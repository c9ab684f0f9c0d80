"""
The HTTP server itself: it logs no requests, and bounds the memory and time that a caller may take.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from gateway.monitor.access import Gate, Refusal
from gateway.web import MAX_BODY

# Bytes of a body that are kept: one more than any resource takes, so that it sees that the body is too long.
_KEPT = MAX_BODY + 1

# Bytes of all bodies that are not complete yet; connections.
_MAX_BYTES = 16 * 1024 * 1024
_MAX_CONNECTIONS = 256

# Seconds for a request's head, for its body, and for the caller to take the answer.
_TIMEOUT = 30.0

# Bytes and seconds for which an unwanted body is read: if a connection is closed on unread bytes, the answer may be
# lost (RFC 9112 section 9.6).
_DISCARDED = 2 * 1024 * 1024
_LINGER = 2.0


class BoundedRequest(Request):
    """
    Keeps the beginning of a body in memory, and nothing on disk.

    @ivar refusal: the answer, if it was decided from the head alone.
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
        # Not Twisted's own: that parses a form, which takes seconds, before anybody has asked for it.
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        self.args = http.parse_qs(query, keep_blank_values=True)
        self.process()

    def process(self) -> None:
        if self.refusal is None:
            super().process()
            return
        # Twisted does not know each status by name.
        self.setResponseCode(self.refusal.code, HTTPStatus(self.refusal.code).phrase.encode())
        self.setHeader(b"content-type", b"text/plain; charset=utf-8")
        self.setHeader(b"cache-control", b"no-store")
        self.setHeader(b"connection", b"close")
        for name, value in self.refusal.headers:
            self.setHeader(name, value)
        body = self.refusal.text.encode()
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()


class Channel(http.HTTPChannel):
    """
    One connection. Its time-outs are deadlines: bytes that come do not put them off.

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
    # True from an answer until what follows the request is looked at, and the call that will do it.
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
        """Do nothing: a head or a body that comes in drops must end as well."""

    def allHeadersReceived(self) -> None:
        request: BoundedRequest = self.requests[-1]
        request.refusal = self.site.gate.refusal(
            self._path, request.requestHeaders, self.transport.getHost(), self._version != b"HTTP/1.1"
        )
        if request.refusal is None:
            super().allHeadersReceived()
            if self.length != 0:
                self.setTimeout(_TIMEOUT)
            return
        self.persistent = False
        self._isDiscarding = self.length != 0
        # The request is complete now: whatever follows is no part of it.
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
        Look at what follows a request, which is answered, in a later turn of the reactor, and when the answer is on
        its way: a chunk may hold thousands of requests.
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
        """Take so many bytes more into memory; true if the connection still exists."""
        return self.site.keep(self, count)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._isDiscarding:
            super().rawDataReceived(data)
            return
        self._discarded += len(data)
        if self._discarded > _DISCARDED:
            self.transport.abortConnection()

    def loseConnection(self) -> None:
        # Until the caller has the answer it holds the connection, as it does before its request is complete.
        self.site.waits(self)
        self.setTimeout(_LINGER if self._isDiscarding else _TIMEOUT)
        if self._isDiscarding and ITCPTransport.providedBy(self.transport) and not self.isSecure():
            self._networkProducer.unregisterProducer()
            self.transport.loseWriteConnection()
        else:
            super().loseConnection()

    def timeoutConnection(self) -> None:
        # Without a log line: a caller could write as many as it likes.
        self.transport.abortConnection()


class QuietSite(Site):
    """
    Serves what the gate admits. Requests are not logged: health is asked for every few seconds.

    Connections and incomplete bodies have a bound. Where it is reached, the connection is closed that has waited
    longest for its caller: an honest caller's request is complete within milliseconds.

    @ivar gate: decides at the end of each request's head.
    """

    noisy = False
    requestFactory = BoundedRequest
    protocol = Channel  # type: ignore[assignment]  # Twisted's own is a switch between it and HTTP/2

    def __init__(self, resource: Resource, gate: Gate, reactor: IReactorTime) -> None:
        super().__init__(resource, timeout=_TIMEOUT, reactor=reactor)
        self.gate = gate
        self._bytes = 0
        self._connections = 0
        # Connections that wait for the caller, those that have waited longest first.
        self._waiting: dict[Channel, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._connections >= _MAX_CONNECTIONS:
            if not self._waiting:
                return None
            self._drop(next(iter(self._waiting)))
        return super().buildProtocol(addr)

    def acceptableProtocols(self) -> list[bytes]:
        # No HTTP/2, which Twisted would offer over TLS: it has none of these bounds.
        return [b"http/1.1"]

    def isOpen(self, channel: Channel) -> None:
        """There is a connection more."""
        self._connections += 1
        self.waits(channel)

    def waits(self, channel: Channel) -> None:
        """The channel waits for the caller."""
        self._waiting[channel] = None

    def isServed(self, channel: Channel) -> None:
        """The channel's request is complete, and will be answered."""
        self._waiting.pop(channel, None)
        self._bytes -= channel.kept
        channel.kept = 0

    def isGone(self, channel: Channel) -> None:
        """The connection is lost."""
        self._connections -= 1
        self.isServed(channel)

    def keep(self, channel: Channel, count: int) -> bool:
        """Count bytes that a channel keeps; true unless that costs the channel itself its connection."""
        channel.kept += count
        self._bytes += count
        while self._bytes > _MAX_BYTES:
            self._drop(next(each for each in self._waiting if each.kept))
        return channel in self._waiting

    def _drop(self, channel: Channel) -> None:
        self.isServed(channel)
        for request in channel.requests:
            request.content = BytesIO()
        channel.transport.abortConnection()

    def log(self, request: http.Request) -> None:
        """Not in the log."""
