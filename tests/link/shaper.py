"""A TCP proxy between two sites, on loopback ports, that follows the rules of L{Link}."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from attrs import define
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.link.core import Abort, Connect, Deliver, Effect, Finish, Link, Listen, Pause, Side, Step

_LOOPBACK = "127.0.0.1"


@define(eq=False)
class _Door:
    """
    A port on which one side reaches a server of the other side.

    @ivar side: the side that connects.
    @ivar target: port of the server.
    """

    side: Side
    port: int
    target: int
    listening: Any = None


class _End(Protocol):
    """One end of a connection."""

    transport: Any

    def __init__(self, shaper: Shaper, connection: int, side: Side) -> None:
        self.connection = connection
        self.side = side
        self._shaper = shaper

    def connectionMade(self) -> None:
        self._shaper.connected(self)

    def dataReceived(self, data: bytes) -> None:
        self._shaper.received(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._shaper.ended(self)


class _Connecting(ClientFactory):
    """An attempt to connect to the server of the other side."""

    noisy = False

    def __init__(self, shaper: Shaper, connection: int, side: Side) -> None:
        self._shaper, self._connection, self._side = shaper, connection, side

    def buildProtocol(self, addr: Any) -> _End:
        return _End(self._shaper, self._connection, self._side)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._shaper.refused(self._connection)


@define(eq=False)
class _Pair:
    """
    A connection.

    @ivar isConnecting: true while the far end is being connected.
    @ivar early: bytes for that end meanwhile.
    @ivar isFinished: true if it is to be closed after them.
    """

    door: _Door
    ends: dict[Side, _End]
    early: list[bytes]
    isConnecting: bool = False
    isFinished: bool = False


class Shaper:
    """
    The proxy. Each port leads from one side to one server of the other side; the connections of all ports share the
    link.

    @param reactor: the reactor.
    @param link: its rules, with their time in seconds since the proxy was made.
    """

    def __init__(self, reactor: Any, link: Link) -> None:
        self.link = link
        self._reactor = reactor
        self._began = reactor.seconds()
        self._doors: list[_Door] = []
        self._pairs: dict[int, _Pair] = {}
        self._numbers = itertools.count()
        self._call: IDelayedCall | None = None
        self._schedule()

    @property
    def now(self) -> float:
        """The time of the rules."""
        return float(self._reactor.seconds() - self._began)

    def open(self, side: Side, target: int, port: int = 0) -> int:
        """
        Listen for the connections of a side to a server.

        @param target: port of the server.
        @param port: port to listen on; 0 for a free one.
        @return: the port.
        """
        door = _Door(side, port, target)
        self._doors.append(door)
        self._listen(door)
        return door.port

    def close(self) -> None:
        """Stop listening, and reset all connections."""
        self._setListening(False)
        for connection in list(self._pairs):
            self._abort(connection)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def take(self, step: Step) -> None:
        """Carry out a step."""
        self._perform(self.link.take(step, self.now))

    def add(self, script: Iterable[tuple[float, Step]]) -> None:
        """Add steps, each with its time in seconds from now."""
        now = self.now
        self.link.add((now + at, step) for at, step in script)
        self._schedule()

    def catchUp(self) -> None:
        """Carry out all that is due."""
        self._perform(self.link.advance(self.now))

    # From the connections.

    def connected(self, end: _End) -> None:
        """Handle a new connection at one of its ends."""
        pair = self._pairs.get(end.connection)
        if pair is None:
            # The connection was reset in the meantime.
            end.transport.abortConnection()
            return
        pair.ends[end.side] = end
        if end.side is pair.door.side:
            self._perform(self.link.opened(end.connection, self.now))
        else:
            pair.isConnecting = False
            end.transport.writeSequence(pair.early)
            pair.early.clear()
            if pair.isFinished:
                end.transport.loseConnection()

    def received(self, end: _End, data: bytes) -> None:
        """Handle bytes from one end."""
        self._perform(self.link.received(end.connection, end.side, data, self.now))

    def ended(self, end: _End) -> None:
        """Handle the end of a connection at one of its ends."""
        pair = self._pairs.get(end.connection)
        if pair is None or pair.ends.pop(end.side, None) is None:
            return
        self._perform(self.link.closed(end.connection, end.side, self.now))
        self._prune(end.connection, pair)

    def refused(self, connection: int) -> None:
        """Handle a failed attempt to connect to the server."""
        pair = self._pairs.get(connection)
        if pair is not None:
            pair.isConnecting = False
            self._perform(self.link.closed(connection, pair.door.side.other, self.now))
            self._prune(connection, pair)

    def _prune(self, connection: int, pair: _Pair) -> None:
        """Forget a connection without ends."""
        if not pair.ends and not pair.isConnecting:
            self._pairs.pop(connection, None)

    # To the connections.

    def _accepted(self, door: _Door) -> _End:
        connection = next(self._numbers)
        self._pairs[connection] = _Pair(door, {}, [])
        return _End(self, connection, door.side)

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Listen):
                self._setListening(effect.isListening)
            elif isinstance(effect, Abort):
                self._abort(effect.connection)
            elif (pair := self._pairs.get(effect.connection)) is not None:
                self._performOne(effect, pair)
        self._schedule()

    def _performOne(self, effect: Connect | Deliver | Finish | Pause, pair: _Pair) -> None:
        if isinstance(effect, Connect):
            pair.isConnecting = True
            factory = _Connecting(self, effect.connection, pair.door.side.other)
            self._reactor.connectTCP(_LOOPBACK, pair.door.target, factory)
            return
        end = pair.ends.get(effect.side)
        if end is None and effect.side is not pair.door.side:
            if isinstance(effect, Deliver):
                pair.early.append(effect.data)
            elif isinstance(effect, Finish):
                pair.isFinished = True
        if end is None:
            return
        transport: Any = end.transport
        if isinstance(effect, Deliver):
            transport.write(effect.data)
        elif isinstance(effect, Finish):
            transport.loseConnection()
        elif effect.isPaused:
            transport.pauseProducing()
        else:
            transport.resumeProducing()

    def _abort(self, connection: Any) -> None:
        pair = self._pairs.pop(connection, None)
        for end in list(pair.ends.values()) if pair is not None else ():
            end.transport.abortConnection()

    def _setListening(self, isListening: bool) -> None:
        for door in self._doors:
            if isListening:
                self._listen(door)
            elif door.listening is not None:
                door.listening.stopListening()
                door.listening = None

    def _listen(self, door: _Door) -> None:
        factory = Factory.forProtocol(partial(self._accepted, door))
        factory.noisy = False
        door.listening = self._reactor.listenTCP(door.port, factory, interface=_LOOPBACK)
        door.port = door.listening.getHost().port

    def _schedule(self) -> None:
        """Advance at the time of the next event."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        at = self.link.nextAt()
        if at != math.inf:
            self._call = self._reactor.callLater(max(0.0, at - self.now), self.catchUp)
