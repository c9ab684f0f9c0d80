"""
One connection of a direct link: TLS, frames, compression, and the stanzas in them.
"""

from __future__ import annotations

import typing

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway import ns
from gateway.log.printable import printable
from gateway.peers.compression import Compressor, Decompressor
from gateway.peers.frames import MAX_BATCH, BadFrame, FrameReader, Kind, written
from gateway.peers.profiles import Profile
from gateway.peers.tls import PROTOCOLS, Handshake
from gateway.stream.connection import Connection
from gateway.stream.core import Limits, Splitter
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from gateway.xml.context import COMPONENT

# Bytes of stanzas that are read in one turn of the reactor: a few bytes may stand for many. A frame counts at least
# this much.
_AT_ONCE = 64 * 1024
_LEAST = 64
# Seconds until frames are looked at again while the handlers are behind.
_LATER = 0.02
# Characters of a reason.
_MAX_REASON = 300


@frozen
class PeerRefused(Exception):
    """One side has ended the connection, for this reason."""

    text: str

    def __str__(self) -> str:
        return self.text


def notConfigured(fingerprint: str) -> str:
    """Return the reason for a key that is not accepted."""
    return f"the key {fingerprint} is not configured"


class Owner(typing.Protocol):
    """The peer that a connection belongs to. No method may raise."""

    profile: Profile

    def accepted(self, connection: PeerConnection) -> None:
        """Stanzas flow from now on."""

    def stanzaReceived(self, connection: PeerConnection, stanza: Stanza) -> None:
        """A stanza has come."""

    def stanzaRefused(self, refused: StanzaRefused) -> None:
        """A stanza was skipped."""

    def sessionReceived(self, session: typing.Any) -> None:
        """The TLS session for the next connection."""

    def resumed(self) -> None:
        """There is room for output again."""

    def ending(self, connection: PeerConnection) -> None:
        """Nothing can be written any more."""

    def lost(self, connection: PeerConnection, reason: Failure) -> None:
        """The connection is gone."""


class Guard(typing.Protocol):
    """Decides which keys are accepted."""

    profile: Profile

    def ownerOf(self, fingerprint: str) -> Owner | None:
        """Return the peer that has a key; C{None} for none. Must not raise."""

    def failed(self, connection: PeerConnection, reason: Failure) -> None:
        """A connection has ended that no owner has. Must not raise."""


@implementer(IHandshakeListener)
class PeerConnection(Connection):
    """
    One side of a direct link on one transport, above TLS.

    @ivar owner: the peer; C{None} until its key is known.
    @ivar isReady: true while stanzas flow.
    @ivar bytesIn: bytes of frames received; C{bytesOut}: sent.
    @ivar stanzaBytesIn: bytes of stanzas received, before compression; C{stanzaBytesOut}: sent.
    """

    def __init__(self, guard: Guard, clock: IReactorTime, isListening: bool, limits: Limits) -> None:
        splitter = Splitter(ns.COMPONENT_ACCEPT, limits)
        splitter.feed(COMPONENT.header)
        super().__init__(splitter, clock)
        self.owner: Owner | None = None
        self.isReady = False
        self.address = ""
        self.bytesIn = self.bytesOut = self.stanzaBytesIn = self.stanzaBytesOut = 0
        self._guard = guard
        self._isListening = isListening
        self._handshake: Handshake | None = None
        self._frames = FrameReader()
        self._compressor: Compressor | None = None
        self._decompressor: Decompressor | None = None
        self._goingOnWith: IDelayedCall | None = None
        self._isHolding = self._owesPong = False
        self._gathering: IDelayedCall | None = None
        self._heardAt = clock.seconds()
        self._pingedAt: float | None = None
        # True if the other side closes the connection, when it has read everything; true if it has said CLOSE.
        self._isLeft = self._isTold = False

    # The handshake.

    def connectionMade(self) -> None:
        super().connectionMade()
        self.address = str(getattr(self.transport.getPeer(), "host", ""))
        late = PeerRefused("the handshake was not completed in time")
        self._setDeadline(self._clock.callLater(self._guard.profile.handshake, self.abort, late))

    def keyShown(self, fingerprint: str) -> bool:
        if self._guard.ownerOf(fingerprint) is not None:
            return True
        text = notConfigured(fingerprint) if fingerprint else "the certificate of the other side cannot be read"
        self._reason = PeerRefused(text)
        return False

    def handshakeCompleted(self) -> None:
        handshake: Handshake = self.transport.handshake
        self._handshake = handshake
        number = PROTOCOLS.get(handshake.protocol)
        if number is None:
            spoken = ", ".join(each.decode() for each in PROTOCOLS)
            self._refuse(f"the gateways have no version of the protocol in common; this one speaks {spoken}")
            return
        owner = self._guard.ownerOf(handshake.fingerprint)
        if owner is None:
            self._refuse(notConfigured(handshake.fingerprint))
            return
        self.owner = owner
        self._compressor, self._decompressor = Compressor(number), Decompressor(number)
        if self._isListening:
            self._signal(Kind.READY)
            self._start()
        elif not handshake.isNew:
            # The other side has accepted this key before, and need not be waited for.
            self._start()

    def _start(self) -> None:
        if self.isReady or self._closing or self.owner is None:
            return
        self.stallFor = self.owner.profile.stall
        self.isReady = True
        self._heardAt = self._clock.seconds()
        self._open(self._stanzaReceived)
        self.owner.accepted(self)

    def _refuse(self, text: str) -> None:
        self._reason = PeerRefused(text)
        self.close(text)

    @property
    def hasEnded(self) -> bool:
        """True if nothing comes any more."""
        return self._closing

    # Input.

    def dataReceived(self, data: bytes) -> None:
        self.bytesIn += len(data)
        self._heardAt = self._clock.seconds()
        self._pingedAt = None
        self._frames.put(data)
        if self._goingOnWith is None:
            self._readFrames()

    def _readFrames(self) -> None:
        left = _AT_ONCE
        try:
            while not self._closing and not self._waiting and left > 0:
                frame = self._frames.next()
                if frame is None:
                    break
                left -= self._frameReceived(*frame)
            else:
                # Something may be left, for a later turn.
                self._readLater()
        except BadFrame as error:
            self._refuse(str(error))
        if self._owesPong and not self.stalled:
            # One for all pings of a turn.
            self._owesPong = False
            self._signal(Kind.PONG)

    def _readLater(self) -> None:
        if self._closing:
            return
        if not self._waiting:
            self._hold(True)
        self._goingOnWith = self._clock.callLater(_LATER if self._waiting else 0, self._goOnReading)

    def _goOnReading(self) -> None:
        self._goingOnWith = None
        self._hold(False)
        self._readFrames()
        if self._goingOnWith is None:
            self._steer()

    def _hold(self, isHolding: bool) -> None:
        """Read nothing more from the transport, or go on."""
        if isHolding is not self._isHolding:
            self._isHolding = isHolding
            self._holders += 1 if isHolding else -1
            if isHolding:
                self._steer()

    def _frameReceived(self, kind: Kind, content: bytes) -> int:
        """Return the bytes that count."""
        if kind is Kind.STANZAS:
            if self._decompressor is None or not self.isReady:
                raise BadFrame("stanzas before the connection is ready")
            batch = self._decompressor.decompress(content)
            self.stanzaBytesIn += len(batch)
            super().dataReceived(batch)
            return max(_LEAST, len(batch))
        if kind is Kind.CLOSE:
            # In one line, as it is logged.
            text = printable(content.decode(errors="replace")[:_MAX_REASON])
            self._reason = PeerRefused(f"the other gateway says: {text}" if text else "the other gateway stops")
            self._isTold = True
            self.close("")
        elif content:
            raise BadFrame(f"content in a frame of kind {kind.name}")
        elif kind is Kind.READY:
            if self._isListening:
                raise BadFrame("READY from the connecting side")
            self._start()
            if self.owner is not None and self._handshake is not None:
                # The listening side's tickets have come with it.
                self.owner.sessionReceived(self._handshake.session)
        elif kind is Kind.PING:
            self._owesPong = self.isReady
        return _LEAST

    def _stanzaReceived(self, stanza: Stanza) -> None:
        if self.owner is not None:
            self.owner.stanzaReceived(self, stanza)

    def _stanzaRefused(self, refused: StanzaRefused) -> None:
        if self.owner is not None:
            self.owner.stanzaRefused(refused)

    # Output.

    @property
    def isFull(self) -> bool:
        """True if output waits for the other side, so that more of it should wait elsewhere."""
        return self.stalled or self.unsentBytes > MAX_BATCH

    def write(self, data: bytes) -> bool:
        if self._closing or not self.isReady or not self._hasRoom(len(data)):
            return False
        self._output.put(data)
        if self._gathering is None and not self.stalled:
            # What one turn of the reactor causes is compressed together.
            profile = self._guard.profile if self.owner is None else self.owner.profile
            self._gathering = self._clock.callLater(profile.gather, self._gathered)
        return True

    def _gathered(self) -> None:
        self._gathering = None
        self._flush()

    def _flush(self) -> None:
        wasFull = self.isFull
        super()._flush()
        if wasFull and not self.isFull and not self._closing and self.owner is not None:
            self.owner.resumed()

    def _emit(self, data: bytes) -> None:
        if self._compressor is None:
            return
        for start in range(0, len(data), MAX_BATCH):
            batch = data[start : start + MAX_BATCH]
            self.stanzaBytesOut += len(batch)
            self._signal(Kind.STANZAS, self._compressor.compress(batch))

    def _signal(self, kind: Kind, content: bytes = b"") -> None:
        frame = written(kind, content)
        self.bytesOut += len(frame)
        self.transport.write(frame)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.owner is not None and not self._closing:
            self.owner.resumed()

    # The end.

    def tick(self, now: float) -> None:
        """Find out whether the other side is there. Called once a second."""
        if not self.isReady or self._closing or self.owner is None:
            return
        profile = self.owner.profile
        if not self._reading or self.stalled:
            # Nothing is read, so silence has no meaning; a stall has a deadline of its own.
            self._heardAt = now
            self._pingedAt = None
        elif self._pingedAt is not None:
            if now - self._pingedAt > profile.gone:
                self.abort(PeerRefused("the other gateway does not respond"))
        elif now - self._heardAt >= (2 if self._isListening else 1) * profile.ping:
            # One side's pings are enough for both.
            self._pingedAt = now
            self._signal(Kind.PING)

    def close(self, last: str | bytes = "") -> None:
        if self._closing:
            return
        # Frames go past the queue, so the stanzas that wait go first; and no more are asked for.
        super()._flush()
        content = last.encode()[: 2 * _MAX_REASON] if isinstance(last, str) else last
        if self._handshake is not None:
            self._signal(Kind.CLOSE, content)
        self._isLeft = self.isReady and not self._isTold
        super().close(b"")

    def _leave(self) -> None:
        if not self._isLeft:
            super()._leave()

    def _fail(self, condition: str, text: str) -> None:
        self.close(f"{condition}: {text}")

    def _goneReason(self, text: str) -> Exception:
        return PeerRefused(text.replace("the peer", "the other gateway"))

    def _ending(self) -> None:
        wasReady, self.isReady = self.isReady, False
        if wasReady and self.owner is not None:
            self.owner.ending(self)

    def _forget(self) -> None:
        super()._forget()
        for call in (self._goingOnWith, self._gathering):
            if call is not None:
                call.cancel()
        self._goingOnWith = self._gathering = None

    def _lost(self, reason: Failure) -> None:
        if self.owner is None:
            self._guard.failed(self, reason)
        else:
            self.owner.lost(self, reason)
