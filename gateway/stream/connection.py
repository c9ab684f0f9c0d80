"""
One end of an XML stream on a transport: events in, bounded output, an end in good order.

Whichever side opened the stream, and whatever is spoken on it: what differs is in what derives from this.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.stream.checker import StreamFailed
from gateway.stream.core import Splitter, StreamEnded, StreamStarted, streamError
from gateway.stream.stanzas import Stanza


@implementer(IPushProducer)
class Connection(Protocol):
    """
    A stream's transport and what is cut from it.

    @ivar stalled: whether the peer reads more slowly than we write.
    """

    # Of TCP, TLS or a UNIX socket.
    transport: typing.Any

    # What waits while the peer does not read. From the first bound on nothing is read from it either: that is the
    # back-pressure, which TCP hands on. Not before, because a peer that writes to us with all its might may read
    # again only when we have read. A connection that cannot take what comes even then is given up.
    readUntilBytes = 4 * 1024 * 1024
    maxStalledBytes = 16 * 1024 * 1024

    # What one chunk causes is written at once as long as it is not more than this.
    batchBytes = 1024 * 1024

    # Seconds for the last bytes of a closed stream to go out.
    closeWithin = 2.0

    def __init__(self, splitter: Splitter, clock: IReactorTime) -> None:
        self._splitter = splitter
        self._clock = clock
        self._batch: list[bytes] | None = None
        self._batchedBytes = 0
        self._stalledBytes = 0
        self._reading = True
        self._reason: Exception | None = None
        self._deadline: IDelayedCall | None = None
        self._closing = False
        # Who gets the stanzas.
        self._receive: Callable[[Stanza], object] = self._early
        self._produces = False
        self.stalled = False

    # For what derives from this.

    def _open(self, receive: Callable[[Stanza], object]) -> None:
        """
        Stanzas flow from now on, and there is no deadline.

        @param receive: takes each; must not raise.
        """
        self._receive = receive
        self._setDeadline(None)
        # Not before: while TLS shakes hands it has a producer wait, and only reading brings it to an end.
        self._produces = True
        self.transport.registerProducer(self, True)

    def _chunkReceived(self) -> None:
        """Bytes have come; the stanzas in them follow."""

    def _early(self, stanza: Stanza) -> None:
        """A stanza has come on a stream that is not, or no longer, open for stanzas."""

    def _streamEvent(self, event: StreamStarted | Stanza) -> None:
        """The stream has begun, or a first-level element that is no stanza has come."""

    def _ending(self) -> None:
        """Nothing can be written any more. Comes once at most, and before L{_lost}."""

    def _lost(self, reason: Failure) -> None:
        """The connection is no more."""

    # As a protocol.

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        # All that one chunk causes is written at once: a system call costs more than a stanza.
        self._batch = []
        self._batchedBytes = 0
        self._chunkReceived()
        splitter = self._splitter
        for event in splitter.feed(data):
            if event.__class__ is Stanza:
                self._receive(event)
                continue
            if isinstance(event, StreamFailed):
                self._reason = event
                self._fail(event.condition, event.text)
            elif isinstance(event, StreamEnded):
                self.close()
            elif not self._closing:
                self._streamEvent(event)
            if self._splitter is not splitter:
                # The stream has begun anew. What the peer sent ahead is part of no stream: had it come before TLS,
                # anybody could have written it.
                break
        batch, self._batch = self._batch, None
        if batch:
            self.write(b"".join(batch))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._receive = _drop
        self._setDeadline(None)
        if not self._closing:
            self._closing = True
            self._ending()
        self._lost(reason if self._reason is None else Failure(self._reason))

    # Output.

    def write(self, data: bytes) -> None:
        """Send serialised stanzas, as soon as the peer takes them; nothing once the stream ends."""
        if self._closing:
            return
        if self._batch is not None:
            self._batch.append(data)
            self._batchedBytes += len(data)
            if self._batchedBytes <= self.batchBytes:
                return
            # One chunk can hold many short requests with long answers.
            data = b"".join(self._batch)
            self._batch.clear()
            self._batchedBytes = 0
        if self.stalled:
            self._stalledBytes += len(data)
            if self._stalledBytes > self.maxStalledBytes:
                self.abort(self._stalledTooLong())
                return
            if self._reading and self._stalledBytes > self.readUntilBytes:
                self._reading = False
                self.transport.pauseProducing()
        self.transport.write(data)

    def close(self, last: bytes = b"</stream:stream>") -> None:
        """End the stream in good order; what was written before still goes out."""
        if self._closing:
            return
        self._end()
        batch, self._batch = self._batch, None
        self.transport.write(b"".join(batch or []) + last)
        if self._produces:
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

    def _fail(self, condition: str, text: str) -> None:
        """End the stream with an error of ours."""
        self.close(streamError(condition, text))

    def _stalledTooLong(self) -> Exception:
        """Why a connection is given up that takes nothing any more."""
        return ConnectionAbortedError("the peer has stopped reading")

    def _end(self) -> None:
        self._closing = True
        self._receive = _drop
        self._ending()

    def _setDeadline(self, deadline: IDelayedCall | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = deadline

    # As a producer.

    def pauseProducing(self) -> None:
        self.stalled = True

    def resumeProducing(self) -> None:
        self.stalled = False
        self._stalledBytes = 0
        if not self._reading:
            self._reading = True
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} says so too."""


def _drop(stanza: Stanza) -> None:
    """Nothing is read any more."""
