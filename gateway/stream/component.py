"""
One connection of an external component (XEP-0114): header, handshake, stanzas, end.
"""

from __future__ import annotations

import typing
from hashlib import sha1

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from gateway import ns
from gateway.errors import BadRequest
from gateway.stream.connection import Connection
from gateway.stream.core import Limits, Splitter, StreamStarted
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from gateway.stream.traffic import CountingOutflow, CountingSplitter, Traffic
from gateway.xml.read import SEPARATOR
from gateway.xml.write import streamHeader, tag

HANDSHAKE = f"{ns.COMPONENT_ACCEPT}{SEPARATOR}handshake"
_ERROR = f"{ns.STREAMS}{SEPARATOR}error"

# The condition of L{Refused} if the server's header has no id. No stream error has this name.
NO_STREAM_ID = "no-stream-id"


@frozen
class Refused(Exception):
    """
    The stream was ended with a stream error (RFC 6120 section 4.9.3).

    @ivar condition: the stream error's condition.
    @ivar text: the error's text; may be empty.
    """

    condition: str
    text: str

    def __str__(self) -> str:
        return f"{self.condition} ({self.text})" if self.text else self.condition


class Owner(typing.Protocol):
    """The owner of a connection, which is told of all that happens on it."""

    def chunkReceived(self, now: float) -> None:
        """Bytes have come; the stanzas in them follow."""

    def stanzaReceived(self, stanza: Stanza) -> None:
        """A stanza has come. Must not raise."""

    def stanzaRefused(self, refused: StanzaRefused) -> None:
        """A stanza was skipped. Must not raise."""

    def streamEnding(self) -> None:
        """Nothing can be written any more. Comes once, and before L{streamLost}."""

    def streamLost(self, reason: Failure) -> None:
        """A connection that was authenticated is lost."""


class ComponentProtocol(Connection):
    """
    The connecting side of XEP-0114 on one transport.

    @ivar authenticated: fires with this protocol when the server accepts the handshake, and fails with the
        reason if it does not.
    @ivar streamId: the stream's id, given by the server.
    @param traffic: counts stanzas and bytes, if that is needed.
    """

    # Seconds for the server to accept the handshake, and to say why its header has no id.
    handshakeWithin = 15.0
    errorWithin = 2.0

    def __init__(
        self,
        owner: Owner,
        jid: str,
        secret: str,
        limits: Limits,
        clock: IReactorTime,
        traffic: Traffic | None = None,
    ) -> None:
        if traffic is None:
            super().__init__(Splitter(ns.COMPONENT_ACCEPT, limits), clock)
        else:
            splitter = CountingSplitter(ns.COMPONENT_ACCEPT, limits, traffic)
            super().__init__(splitter, clock, CountingOutflow(traffic))
        self._owner = owner
        self._jid = jid
        self._secret = secret
        self.authenticated: Deferred[ComponentProtocol] = Deferred()
        self.streamId = ""

    def connectionMade(self) -> None:
        super().connectionMade()
        late = Refused("connection-timeout", "the server did not answer the handshake in time")
        self._setDeadline(self._clock.callLater(self.handshakeWithin, self.abort, late))
        self.write(streamHeader(ns.COMPONENT_ACCEPT, to=self._jid))

    def _chunkReceived(self, now: float) -> None:
        self._owner.chunkReceived(now)

    def _stanzaRefused(self, refused: StanzaRefused) -> None:
        self._owner.stanzaRefused(refused)

    def _ending(self) -> None:
        self._owner.streamEnding()

    def _lost(self, reason: Failure) -> None:
        if self.authenticated.called:
            self._owner.streamLost(reason)
        else:
            self.authenticated.errback(reason)

    def _goneReason(self, text: str) -> Exception:
        return Refused("connection-timeout", text.replace("the peer", "the server"))

    def _streamEvent(self, event: StreamStarted | Stanza) -> None:
        if isinstance(event, StreamStarted):
            self.streamId = event.attributes.get("id", "")
            if not self.streamId:
                # Openfire begins each refusal like this. A handshake would be a hash of the secret alone: it proves
                # nothing, and can be used again by anybody who sees it.
                self._reason = Refused(NO_STREAM_ID, "the server's stream has no id")
                self._setDeadline(self._clock.callLater(self.errorWithin, self.close))
                return
            self.write(tag("handshake", handshake(self.streamId, self._secret)).encode())
        elif event.name == _ERROR:
            self._reason = _refusal(event)
        elif event.name == HANDSHAKE and self.streamId and not self.authenticated.called:
            self._open(self._owner.stanzaReceived)
            self.authenticated.callback(self)


def handshake(streamId: str, secret: str) -> str:
    """Return the proof of the secret (XEP-0114 section 3): SHA-1 of id and secret, in lower case hexadecimal."""
    return sha1((streamId + secret).encode(), usedforsecurity=False).hexdigest()


def _refusal(error: Stanza) -> Refused:
    """Read the server's stream error."""
    condition, text = "undefined-condition", ""
    try:
        children = list(error.element.elements())
    except BadRequest:
        children = []
    for child in children:
        if child.uri == ns.STREAM_ERRORS:
            if child.name == "text":
                text = str(child)
            else:
                condition = child.name
    return Refused(condition, text)
