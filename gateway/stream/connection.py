"""
One end of an XML stream on a transport: events in, bounded output, an orderly end.

Base class for both sides of a stream, and for all kinds of streams.
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.errors import ERRORS
from gateway.stream.checker import StreamFailed
from gateway.stream.core import Event, Splitter, StreamEnded, StreamStarted, streamError
from gateway.stream.outflow import Copies, Outflow
from gateway.stream.refused import StanzaRefused
from gateway.stream.sending import send
from gateway.stream.stanzas import Stanza

# A stanza of so few bytes is accepted even if the buffers are full for larger ones, so that errors can be sent.
_SMALL = 4 * 1024
# Bytes of copies that are worth a system call of their own.
_MUCH = 64 * 1024
# The clock is read after each fourth event: the bits of the event's number that must be 0.
_BY_CLOCK = 3

# If a timer is late by so many seconds, the process was suspended.
_ASLEEP = 30.0


@implementer(IPushProducer)
class Connection(Protocol):
    """
    A stream's transport and the events that are cut from it.

    Input and output are paced together. When much output waits, no further event is handled and nothing more is
    read; both go on when the peer has read. A burst slows a connection down, it does not end it: a connection ends
    only when the peer takes nothing for L{stallFor} seconds.

    @ivar stalled: true while the transport takes no output.
    """

    # TCP, TLS or a UNIX socket.
    transport: typing.Any

    # Bytes of waiting output above which no event is handled and nothing is read. Not fewer, because some
    # peers read nothing while they write.
    pauseAboveBytes = 4 * 1024 * 1024

    # Bytes of memory that waiting output may take. Only output without an event of this stream reaches it.
    fullBytes = 32 * 1024 * 1024

    # Bytes that are given to the transport at once. The output for one chunk of input is one write, if it fits.
    pieceBytes = 1024 * 1024

    # Seconds of work on events before the rest of the process has its turn.
    sliceSeconds = 0.02

    # Seconds that the peer may go without taking any output.
    stallFor = 300.0

    # Seconds for the last bytes of a closed stream to go out: without progress, and in all.
    closeWithin = 2.0
    closeInAll = 10.0

    def __init__(self, splitter: Splitter, clock: IReactorTime, output: Outflow | None = None) -> None:
        self._splitter = splitter
        self._clock = clock
        self._output = output or Outflow()
        self._append = self._output.parts.append
        # Events that are cut but not handled yet, and the call that will handle them.
        self._waiting: deque[Event] = deque()
        self._goingOn: IDelayedCall | None = None
        self._working = False
        # Calls after the events that are being handled.
        self._afterwards: list[Callable[[], object]] = []
        # True if no further event is to be handled in this turn.
        self._isEnough = False
        self._reading = True
        # Number of callers that have paused reading.
        self._holders = 0
        self._reason: Exception | None = None
        self._deadline: IDelayedCall | None = None
        self._closing = False
        self._closeBy = 0.0
        # True if the peer is to end its stream before the transport is closed.
        self._awaitsEnd = False
        # Takes the stanzas.
        self._receive: Callable[[Stanza], object] = self._early
        self._produces = False
        self.stalled = False

    # For subclasses.

    def _open(self, receive: Callable[[Stanza], object]) -> None:
        """
        Stanzas flow from now on, and there is no deadline.

        @param receive: takes each; must not raise.
        """
        self._receive = receive
        self._setDeadline(None)
        # Not earlier: during its handshake TLS pauses a producer, and only reading completes the handshake.
        self._produces = True
        self.transport.registerProducer(self, True)

    def _startAnew(self, splitter: Splitter) -> None:
        """
        Begin a new stream on the same transport.

        Bytes that the peer sent ahead are dropped: before TLS anybody could have written them.
        """
        self._splitter = splitter
        self._waiting.clear()

    def _chunkReceived(self, now: float) -> None:
        """Bytes have come, or earlier ones have their turn; the stanzas in them follow."""

    def _early(self, stanza: Stanza) -> None:
        """A stanza has come before the stream is open for stanzas, or after that."""

    def _streamEvent(self, event: StreamStarted | Stanza) -> None:
        """The stream has begun, or a first-level element that is no stanza has come."""

    def _stanzaRefused(self, refused: StanzaRefused) -> None:
        """A stanza was skipped on a stream that is open for stanzas; must not raise."""

    def _ending(self) -> None:
        """Nothing can be written any more. Comes once at most, and before L{_lost}."""

    def _lost(self, reason: Failure) -> None:
        """The connection is gone."""

    # As a protocol.

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        events = self._splitter.feed(data)
        if self._waiting:
            # The transport had read this before it was paused.
            self._waiting.extend(events)
        else:
            self._work(iter(events))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._receive = _drop
        self._setDeadline(None)
        self._forget()
        if not self._closing:
            self._closing = True
            self._ending()
        self._lost(reason if self._reason is None else Failure(self._reason))

    # Input.

    def _work(self, events: Iterator[Event]) -> None:
        """Handle events until none is left, too much output waits, or the time slice is over."""
        now = self._clock.seconds()
        self._chunkReceived(now)
        # Their output is written at once: a system call costs more than a stanza.
        self._working = True
        self._isEnough = False
        until = now + self.sliceSeconds
        for count, event in enumerate(events, 1):
            if event.__class__ is Stanza:
                self._receive(event)
            elif self._handleOther(event):
                break
            # The clock is read after some events only: it costs half as much as a small event.
            if self._isEnough or (not count & _BY_CLOCK and self._clock.seconds() >= until):
                self._waiting.extend(events)
                break
        self._worked()

    def _worked(self) -> None:
        while self._afterwards:
            calls, self._afterwards = self._afterwards, []
            for call in calls:
                call()
        self._working = False
        if self._output.size or self._closeBy:
            self._flush()
        if self._waiting or not self._reading or self._output.size or self._holders:
            self._steer()

    def _handleOther(self, event: Event) -> bool:
        """Handle an event that is no stanza; return true if a new stream begins, so that no further one counts."""
        splitter = self._splitter
        if isinstance(event, StreamFailed):
            self._reason = event
            self._fail(event.condition, event.text)
        elif isinstance(event, StreamEnded):
            isAwaited, self._awaitsEnd = self._awaitsEnd, False
            if isAwaited and not self._closeBy:
                # All output is with the transport.
                self._leave()
            self.close()
        elif isinstance(event, StanzaRefused):
            if not self._closing:
                self._refusedReceived(event)
        elif not self._closing:
            self._streamEvent(event)
        return self._splitter is not splitter

    def _goOn(self) -> None:
        """Handle the events that wait."""
        self._goingOn = None
        events, self._waiting = self._waiting, deque()
        self._work(iter(events))

    def _steer(self) -> None:
        """Start or stop reading, and schedule the events that wait."""
        if self._closing:
            return
        # After too much output, half of it must be gone before reading goes on.
        room = self.pauseAboveBytes if self._reading else self.pauseAboveBytes // 2
        mayTake = not self._holders and self._output.size <= room
        if mayTake and self._waiting and self._goingOn is None:
            self._goingOn = self._clock.callLater(0, self._goOn)
        reading = mayTake and not self._waiting
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _refusedReceived(self, refused: StanzaRefused) -> None:
        if self._produces:
            self._stanzaRefused(refused)
        else:
            # Before authentication the stream need not be spared.
            error = ERRORS[refused.why]
            condition = "policy-violation" if error.condition == "policy-violation" else "not-well-formed"
            self._reason = StreamFailed(condition, error.text)
            self._fail(condition, error.text)

    # Output.

    @property
    def unsentBytes(self) -> int:
        """Bytes of output that the transport has not been given yet."""
        return self._output.size

    def write(self, data: bytes) -> bool:
        """
        Send serialised stanzas, as soon as the peer takes them; nothing once the stream ends.

        @return: true if there was room.
        """
        output = self._output
        size = output.size + len(data)
        if self._working and size <= self.pieceBytes and not self._closing:
            # Nearly all output is caused by an event; it is written at the end of the chunk.
            output.size = size
            self._append(data)
            return True
        if self._closing or not self._hasRoom(len(data)):
            return False
        output.put(data)
        self._written()
        return True

    def writeAll(self, stanzas: Iterable[bytes]) -> None:
        """Send stanzas that a bounded queue has kept, whatever else waits."""
        if not self._closing:
            for data in stanzas:
                self._output.put(data)
            self._written()

    def together(self, act: Callable[[], object]) -> None:
        """Call a function whose output is written at once, as that of an event is."""
        if self._working:
            act()
            return
        self._working = True
        try:
            act()
        finally:
            self._worked()

    def afterEvents(self, call: Callable[[], object]) -> bool:
        """
        Call a function after the events that are being handled; its output is written with theirs.

        @param call: must not raise.
        @return: False if no events are being handled; then it is not called.
        """
        if self._working:
            self._afterwards.append(call)
        return self._working

    def writeCopies(self, copies: Copies) -> bool:
        """Send one stanza to many recipients, otherwise as L{write}."""
        if self._working and not self._closing and self._output.size + copies.size <= self.pieceBytes:
            # A piece is written at once in any case.
            self._output.putJoined(copies)
            return True
        if self._closing or (self._output.memory > self.fullBytes and not self._hasRoom(copies.largest)):
            return False
        if self._output.size and not self.stalled and copies.size > _MUCH:
            # Then the output before them is joined once, not part by part.
            self._flush()
        self._output.putCopies(copies)
        self._written()
        return True

    def _hasRoom(self, size: int) -> bool:
        memory = self._output.memory
        return memory <= self.fullBytes or (size <= _SMALL and memory <= 2 * self.fullBytes)

    def _written(self) -> None:
        if not self.stalled:
            self._flush()
        if self._output.size > self.pauseAboveBytes:
            self._isEnough = True
        if self._reading and not self._working:
            self._steer()

    def _emit(self, data: bytes) -> None:
        """Give bytes to the transport."""
        send(self.transport, data)

    def _flush(self) -> None:
        """Give output to the transport until it stalls."""
        output = self._output
        while output.size and not self.stalled:
            # The transport may stall here.
            self._emit(output.take(self.pieceBytes))
        if self._closing and not output.size and self._closeBy:
            self._closeBy = 0.0
            if self._produces:
                # A paused producer would keep the transport from closing.
                self.transport.unregisterProducer()
            self._leave()

    def _leave(self) -> None:
        """The last byte is with the transport: close it. There is a deadline."""
        if not self._awaitsEnd:
            self.transport.loseConnection()

    def close(self, last: bytes = b"</stream:stream>") -> None:
        """End the stream in an orderly way; earlier output is still sent."""
        if self._closing:
            return
        self._end()
        self._waiting.clear()
        self._output.put(last)
        self._closeBy = self._clock.seconds() + self.closeInAll
        self._setDeadline(self._clock.callLater(self.closeWithin, self.transport.abortConnection))
        self._flush()

    def finish(self, late: Callable[[Stanza], object]) -> None:
        """
        End the stream, and close the transport when the peer has ended its own (RFC 6120 section 4.4), or after
        L{closeWithin}.

        @param late: takes the stanzas that come until then; they cannot be answered on this stream.
        """
        if self._closing:
            return
        waiting = [event for event in self._waiting if isinstance(event, Stanza)]
        self._awaitsEnd = True
        self.close()
        self._receive = late
        for stanza in waiting:
            late(stanza)
        if not self._reading:
            self.transport.resumeProducing()

    def abort(self, reason: Exception) -> None:
        """
        End the connection at once.

        @param reason: reported as the reason of the loss.
        """
        self._reason = self._reason or reason
        if not self._closing:
            self._end()
        self._forget()
        self.transport.abortConnection()

    def _fail(self, condition: str, text: str) -> None:
        """End the stream with a stream error."""
        self.close(streamError(condition, text))

    def _stalledTooLong(self) -> None:
        if self._deadline is not None and self._clock.seconds() - self._deadline.getTime() > _ASLEEP:
            # The process did not run meanwhile, so it could not see what the peer has read.
            self._setDeadline(self._clock.callLater(self.stallFor, self._stalledTooLong))
            return
        waiting = f"{self.unsentBytes} bytes wait" if self.unsentBytes else "its buffers are full"
        self.abort(self._goneReason(f"the peer has read nothing for {self.stallFor:.0f} s, and {waiting}"))

    def _goneReason(self, text: str) -> Exception:
        """Return the reason to end a connection whose peer has stopped reading."""
        return ConnectionAbortedError(text)

    def _end(self) -> None:
        self._closing = True
        self._receive = _drop
        self._ending()

    def _forget(self) -> None:
        """Drop waiting events and output."""
        self._waiting.clear()
        self._output.clear()
        self._closeBy = 0.0
        if self._goingOn is not None:
            self._goingOn.cancel()
            self._goingOn = None

    def _setDeadline(self, deadline: IDelayedCall | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = deadline

    # As a producer.

    def pauseProducing(self) -> None:
        if self.stalled:
            return
        self.stalled = True
        if not self._closing:
            self._setDeadline(self._clock.callLater(self.stallFor, self._stalledTooLong))

    def resumeProducing(self) -> None:
        self.stalled = False
        if self._closing:
            if self._closeBy:
                left = min(self.closeWithin, self._closeBy - self._clock.seconds())
                self._setDeadline(self._clock.callLater(max(0.0, left), self.transport.abortConnection))
        else:
            self._setDeadline(None)
        self._flush()
        self._steer()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} follows."""


def _drop(stanza: Stanza) -> None:
    """Ignore a stanza: the stream ends."""
