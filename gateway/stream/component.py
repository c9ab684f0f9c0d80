"""
One connection of an external component (XEP-0114): header, handshake, stanzas, end.
"""

from __future__ import annotations

import typing
from hashlib import sha1

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.stream.checker import SEPARATOR, StreamFailed
from gateway.stream.core import Event, Limits, Splitter, StreamEnded, StreamStarted, streamError
from gateway.stream.stanzas import Stanza, escape

_HANDSHAKE = f"{ns.COMPONENT_ACCEPT}{SEPARATOR}handshake"
_ERROR = f"{ns.STREAMS}{SEPARATOR}error"


@frozen
class Refused(Exception):
    """
    The stream was ended for a reason that the protocol has a name for (RFC 6120 section 4.9.3).

    @ivar condition: the stream error's condition.
    @ivar text: words, if there were any.
    """

    condition: str
    text: str

    def __str__(self) -> str:
        return f"{self.condition} ({self.text})" if self.text else self.condition


class Owner(typing.Protocol):
    """Who is told what happens on a connection."""

    def chunkReceived(self) -> None:
        """Bytes have come; the stanzas in them follow."""

    def stanzaReceived(self, stanza: Stanza) -> None:
        """A stanza has come. Must not raise."""

    def streamEnding(self) -> None:
        """Nothing can be written any more. Comes once at most, and before L{streamLost} if at all."""

    def streamLost(self, reason: Failure) -> None:
        """A connection that was authenticated is no more."""


@implementer(IPushProducer)
class ComponentProtocol(Protocol):
    """
    The connecting side of XEP-0114 on one transport.

    @ivar authenticated: fires with this when the server accepts the handshake; fails with why it did not.
    @ivar streamId: the server's name for the stream.
    @ivar stalled: whether the server reads more slowly than the gateway writes. Then nothing is read from it
        either: that is the back-pressure, which TCP hands on.
    """

    # Of TCP, TLS or a UNIX socket.
    transport: typing.Any

    # Written while the server does not read. Reading has stopped by then, so only the ends of what is open
    # already (timeouts, say) can come; a connection that cannot take even these is given up.
    maxStalledBytes = 16 * 1024 * 1024

    # Seconds for the server to accept the handshake, and for the last bytes of a closed stream to go out.
    handshakeWithin = 15.0
    closeWithin = 2.0

    def __init__(self, owner: Owner, jid: str, secret: str, limits: Limits, clock: IReactorTime) -> None:
        self._owner = owner
        self._jid = jid
        self._secret = secret
        self._clock = clock
        self._splitter = Splitter(ns.COMPONENT_ACCEPT, limits)
        self._batch: list[bytes] | None = None
        self._stalledBytes = 0
        self._reason: Exception | None = None
        self._deadline: IDelayedCall | None = None
        self._closing = False
        self._open = False
        self.authenticated: Deferred[ComponentProtocol] = Deferred()
        self.streamId = ""
        self.stalled = False

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._deadline = self._clock.callLater(
            self.handshakeWithin,
            lambda: self.abort(Refused("connection-timeout", "the server did not answer the handshake in time")),
        )
        self.write(
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT_ACCEPT}' "
            f"xmlns:stream='{ns.STREAMS}' to='{escape(self._jid)}'>".encode()
        )

    def dataReceived(self, data: bytes) -> None:
        # All that one chunk causes is written at once: a system call costs more than a stanza.
        self._batch = []
        self._owner.chunkReceived()
        received = self._owner.stanzaReceived
        for event in self._splitter.feed(data):
            if event.__class__ is Stanza:
                if self._open:
                    received(event)
            else:
                self._streamEvent(event)
        batch, self._batch = self._batch, None
        if batch:
            self.write(b"".join(batch))

    def write(self, data: bytes) -> None:
        """Send serialised stanzas, as soon as the server takes them; nothing once the stream ends."""
        if self._closing:
            return
        if self._batch is not None:
            self._batch.append(data)
            return
        if self.stalled:
            self._stalledBytes += len(data)
            if self._stalledBytes > self.maxStalledBytes:
                self.abort(Refused("policy-violation", "the server has stopped reading"))
                return
        self.transport.write(data)

    def close(self, last: bytes = b"</stream:stream>") -> None:
        """End the stream in good order; what was written before still goes out."""
        if self._closing:
            return
        self._end()
        batch, self._batch = self._batch, None
        self.transport.write(b"".join(batch or []) + last)
        if self.authenticated.called:
            # A paused producer would keep the transport from closing.
            self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._setDeadline(self._clock.callLater(self.closeWithin, self.transport.abortConnection))

    def abort(self, reason: Exception) -> None:
        """End the connection at once, C{reason} being why it was lost."""
        self._reason = self._reason or reason
        if not self._closing:
            self._end()
        self.transport.abortConnection()

    def _end(self) -> None:
        self._closing = True
        self._open = False
        self._owner.streamEnding()

    def pauseProducing(self) -> None:
        self.stalled = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.stalled = False
        self._stalledBytes = 0
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} says so too."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        self._setDeadline(None)
        if self._reason is not None:
            reason = Failure(self._reason)
        if self.authenticated.called:
            self._owner.streamLost(reason)
        else:
            self.authenticated.errback(reason)

    def _setDeadline(self, deadline: IDelayedCall | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = deadline

    def _streamEvent(self, event: Event) -> None:
        if isinstance(event, StreamStarted):
            self.streamId = event.attributes.get("id", "")
            # XEP-0114 section 3: SHA-1 over stream id and secret, in lower case hexadecimal.
            proof = sha1((self.streamId + self._secret).encode(), usedforsecurity=False).hexdigest()
            self.write(f"<handshake>{proof}</handshake>".encode())
        elif isinstance(event, StreamFailed):
            self._reason = event
            self.close(streamError(event.condition, event.text))
        elif isinstance(event, StreamEnded):
            self.close()
        elif event.name == _ERROR:
            self._reason = _refusal(event)
        elif event.name == _HANDSHAKE and not self.authenticated.called and not self._closing:
            self._open = True
            self._setDeadline(None)
            # Not before: while TLS shakes hands it has a producer wait, and only reading brings it to an end.
            self.transport.registerProducer(self, True)
            self.authenticated.callback(self)


def _refusal(error: Stanza) -> Refused:
    """What the server's stream error says."""
    condition, text = "undefined-condition", ""
    try:
        children = list(error.element.elements())
    except domish.ParserError:
        children = []
    for child in children:
        if child.uri == ns.STREAM_ERRORS:
            if child.name == "text":
                text = str(child)
            else:
                condition = child.name
    return Refused(condition, text)
