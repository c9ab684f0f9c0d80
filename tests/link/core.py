"""
The rules of a link between two sites: bandwidth, delay, jitter and faults of the connections that it carries.

All connections share the bandwidth of a direction, in the order of their bytes. Bytes of one connection are never
reordered or lost while the connection exists, as TCP has it: jitter delays what follows as well, and a black hole
delivers everything late if it ends without a reset.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
import operator
from collections import deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from attrs import Factory, define, frozen

# Bytes that are sent in one piece: those of so many seconds, within these limits. A change of the bandwidth takes
# effect after the piece.
_PIECE_SECONDS = 0.1
_MIN_PIECE, _MAX_PIECE = 16, 16_384
# Bytes of a connection that may wait in one direction; then its sender must pause.
BUFFER = 65_536


class Side(enum.Enum):
    """The two sites."""

    A = "a"
    B = "b"

    @property
    def other(self) -> Side:
        """The other site."""
        return Side.B if self is Side.A else Side.A


class LinkState(enum.Enum):
    """
    The state of the link.

    C{HOLE}: the link takes bytes and connections, and delivers nothing until it is up again. C{DOWN}: connections
    are reset, and new ones are refused.
    """

    UP = "up"
    HOLE = "hole"
    DOWN = "down"


@frozen
class Way:
    """
    One direction.

    @ivar bits: bandwidth in bit/s.
    @ivar delay: seconds from the last bit sent to the last bit received.
    @ivar jitter: maximum of additional seconds.
    """

    bits: float = math.inf
    delay: float = 0.0
    jitter: float = 0.0


# Steps of a script.


@frozen
class Shape:
    """
    Change a direction.

    @ivar side: the sending side; C{None} for both.
    """

    way: Way
    side: Side | None = None


@frozen
class Cut:
    """Reset all connections, and lose what they have under way; new connections are accepted as before."""


@frozen
class Become:
    """Change the state."""

    state: LinkState


Step = Shape | Cut | Become


def randomFaults(seed: int, seconds: float, interval: float, duration: float) -> list[tuple[float, Step]]:
    """
    Return a script of faults in random order, the same for each seed: resets, a link that is down, black holes with
    and without a reset at their end. At its end the link is up.

    @param interval: mean seconds between the end of a fault and the next one.
    @param duration: mean seconds of a fault, except for a reset, which takes no time.
    """
    random = Random(seed)
    script: list[tuple[float, Step]] = []
    at = random.expovariate(1 / interval)
    while at < seconds:
        kind = random.choice(("reset", "down", "hole", "hole and reset"))
        if kind == "reset":
            script.append((at, Cut()))
        else:
            script.append((at, Become(LinkState.DOWN if kind == "down" else LinkState.HOLE)))
            at += random.expovariate(1 / duration)
            script += [(at, Cut())] * (kind == "hole and reset") + [(at, Become(LinkState.UP))]
        at += random.expovariate(1 / interval)
    return script


# Effects that the user of a link must carry out, in their order.


@frozen
class Connect:
    """Connect to the server on the side that did not open the connection."""

    connection: Any


@frozen
class Deliver:
    """Give bytes to a side."""

    connection: Any
    side: Side
    data: bytes


@frozen
class Finish:
    """Close a connection at a side, after all bytes from the other one."""

    connection: Any
    side: Side


@frozen
class Abort:
    """Reset a connection at both sides."""

    connection: Any


@frozen
class Pause:
    """Read nothing from this side of a connection, or read again."""

    connection: Any
    side: Side
    isPaused: bool


@frozen
class Listen:
    """Accept new connections, or refuse them."""

    isListening: bool


Effect = Connect | Deliver | Finish | Abort | Pause | Listen


@define
class Counts:
    """
    Bytes from one side.

    @ivar sent: taken from the side.
    @ivar delivered: given to the other side.
    @ivar lost: of connections that were reset or closed before they arrived.
    """

    sent: int = 0
    delivered: int = 0
    lost: int = 0


@define(eq=False)
class _Flow:
    """
    One direction of a connection.

    @ivar unsent: bytes that wait for the link.
    @ivar arrival: time when its last bytes under way arrive.
    """

    connection: Any
    unsent: int = 0
    isPaused: bool = False
    arrival: float = 0.0


@define(eq=False)
class _Direction:
    """
    Everything that one side sends. In both queues, C{None} in place of bytes is the end of a connection.

    @ivar unsent: in the order of its arrival here.
    @ivar underWay: a heap: time of arrival at the other side, a number for the order, and the bytes.
    @ivar freeAt: time when the next piece may be sent.
    """

    way: Way
    flows: dict[Any, _Flow] = Factory(dict)
    unsent: deque[tuple[_Flow, bytes | None]] = Factory(deque)
    underWay: list[tuple[float, int, _Flow, bytes | None]] = Factory(list)
    freeAt: float = 0.0
    counts: Counts = Factory(Counts)
    numbers: Iterator[int] = Factory(itertools.count)

    def put(self, flow: _Flow, data: bytes | None, now: float) -> None:
        """Add bytes that the side has sent."""
        if not self.unsent:
            self.freeAt = max(self.freeAt, now)
        self.unsent.append((flow, data))
        size = len(data or b"")
        flow.unsent += size
        self.counts.sent += size

    def send(self, now: float, random: Random) -> None:
        """Send what can be sent until now."""
        while self.unsent and self.freeAt <= now:
            flow, data = self.unsent.popleft()
            if not self._has(flow):
                continue
            if data is not None:
                size = self._pieceSize()
                if len(data) > size:
                    self.unsent.appendleft((flow, data[size:]))
                    data = data[:size]
                flow.unsent -= len(data)
                self.freeAt += len(data) * 8 / self.way.bits
            jitter = random.uniform(0, self.way.jitter) if self.way.jitter else 0.0
            flow.arrival = max(flow.arrival, self.freeAt + self.way.delay + jitter)
            heapq.heappush(self.underWay, (flow.arrival, next(self.numbers), flow, data))

    def receive(self, now: float) -> Iterator[tuple[_Flow, bytes | None]]:
        """Yield what has arrived until now."""
        while self.underWay and self.underWay[0][0] <= now:
            _, _, flow, data = heapq.heappop(self.underWay)
            if self._has(flow):
                self.counts.delivered += len(data or b"")
                yield flow, data

    def forget(self, connection: Any) -> None:
        """Forget a connection, and all its bytes."""
        flow = self.flows.pop(connection, None)
        if flow is not None:
            self.counts.lost += flow.unsent
            self.counts.lost += sum(len(data or b"") for _, _, each, data in self.underWay if each is flow)

    def nextAt(self) -> float:
        """Return the time when the next piece is sent or arrives."""
        sent = self.freeAt if self.unsent else math.inf
        return min(sent, self.underWay[0][0]) if self.underWay else sent

    def _has(self, flow: _Flow) -> bool:
        return self.flows.get(flow.connection) is flow

    def _pieceSize(self) -> int:
        if self.way.bits == math.inf:
            return _MAX_PIECE
        return min(_MAX_PIECE, max(_MIN_PIECE, int(self.way.bits / 8 * _PIECE_SECONDS)))


class Link:
    """
    A link. Each method returns the effects; after each of them, L{nextAt} is the time to call L{advance}.

    @ivar state: the state.
    @ivar counts: bytes by the side that sent them.
    @param script: steps, each with its time, in their order.
    @param seed: of the jitter.
    @param buffer: bytes of a connection that may wait in one direction, before its sender must pause.
    """

    def __init__(
        self,
        way: Way | None = None,
        script: Iterable[tuple[float, Step]] = (),
        seed: int = 0,
        buffer: float = BUFFER,
    ) -> None:
        self.state = LinkState.UP
        self._directions = {side: _Direction(way or Way()) for side in Side}
        self.counts = {side: direction.counts for side, direction in self._directions.items()}
        self._random = Random(seed)
        self._buffer = buffer
        self._script = deque(script)
        # Connections that were opened in a black hole.
        self._unconnected: list[Any] = []

    def add(self, script: Iterable[tuple[float, Step]]) -> None:
        """Add steps to the script; of two steps at one time, the older one comes first."""
        self._script = deque(sorted([*self._script, *script], key=operator.itemgetter(0)))

    def opened(self, connection: Any, now: float) -> list[Effect]:
        """Accept a connection."""
        effects = self.advance(now)
        if self.state is LinkState.DOWN:
            return [*effects, Abort(connection)]
        for direction in self._directions.values():
            direction.flows[connection] = _Flow(connection)
        if self.state is LinkState.HOLE:
            self._unconnected.append(connection)
            return effects
        return [*effects, Connect(connection)]

    def received(self, connection: Any, side: Side, data: bytes, now: float) -> list[Effect]:
        """Take bytes that a side has sent."""
        effects = self.advance(now)
        flow = self._directions[side].flows.get(connection)
        if flow is not None:
            self._directions[side].put(flow, data, now)
            effects += self._move(now)
            if flow.unsent > self._buffer and not flow.isPaused:
                flow.isPaused = True
                effects.append(Pause(connection, side, True))
        return effects

    def closed(self, connection: Any, side: Side, now: float) -> list[Effect]:
        """Handle the end of a connection at a side: the other side gets all bytes first."""
        effects = self.advance(now)
        # Nobody is there to get them.
        self._directions[side.other].forget(connection)
        if connection in self._unconnected:
            self._unconnected.remove(connection)
            self._directions[side].forget(connection)
        flow = self._directions[side].flows.get(connection)
        if flow is not None:
            self._directions[side].put(flow, None, now)
        return [*effects, *self._move(now)]

    def advance(self, now: float) -> list[Effect]:
        """Carry out the steps of the script, and move the bytes, until now."""
        effects: list[Effect] = []
        while self._script and self._script[0][0] <= now:
            at, step = self._script.popleft()
            effects += self._move(at)
            effects += self._take(step, at)
        return [*effects, *self._move(now)]

    def take(self, step: Step, now: float) -> list[Effect]:
        """Carry out one step."""
        effects = self.advance(now)
        effects += self._take(step, now)
        return [*effects, *self._move(now)]

    def nextAt(self) -> float:
        """Return the time when something happens next; infinity if nothing does."""
        found = self._script[0][0] if self._script else math.inf
        if self.state is LinkState.UP:
            found = min(found, *(each.nextAt() for each in self._directions.values()))
        return found

    def _take(self, step: Step, now: float) -> list[Effect]:
        if isinstance(step, Shape):
            for side in Side if step.side is None else (step.side,):
                self._directions[side].way = step.way
            return []
        if isinstance(step, Cut):
            return self._cut()
        before, self.state = self.state, step.state
        effects: list[Effect] = []
        if step.state is LinkState.DOWN:
            effects = self._cut()
        elif step.state is LinkState.UP:
            for direction in self._directions.values():
                direction.freeAt = max(direction.freeAt, now)
            effects = [Connect(connection) for connection in self._unconnected]
            self._unconnected.clear()
        if LinkState.DOWN in (before, step.state) and before is not step.state:
            effects.append(Listen(step.state is not LinkState.DOWN))
        return effects

    def _cut(self) -> list[Effect]:
        """Reset all connections."""
        found = dict.fromkeys(key for direction in self._directions.values() for key in direction.flows)
        self._unconnected.clear()
        for direction in self._directions.values():
            for connection in found:
                direction.forget(connection)
            direction.unsent.clear()
            direction.underWay.clear()
        return [Abort(connection) for connection in found]

    def _move(self, now: float) -> list[Effect]:
        """Send and deliver, if the link is up."""
        effects: list[Effect] = []
        if self.state is not LinkState.UP:
            return effects
        for side, direction in self._directions.items():
            direction.send(now, self._random)
            for flow, data in direction.receive(now):
                if data is None:
                    direction.forget(flow.connection)
                    effects.append(Finish(flow.connection, side.other))
                else:
                    effects.append(Deliver(flow.connection, side.other, data))
            for flow in [each for each in direction.flows.values() if each.isPaused]:
                if flow.unsent <= self._buffer / 2:
                    flow.isPaused = False
                    effects.append(Pause(flow.connection, side, False))
        return effects
