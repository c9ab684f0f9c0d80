"""
Output in portions: the occupants of a large room, for a user or a node that joins.

All rooms of a component share the connection to the server. Each portion is sent when earlier output has left, so
that stanzas of other rooms, and to other occupants, wait for one portion only.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.interfaces import IDelayedCall

from gateway.fmuc.actions import ToNode
from gateway.fmuc.core import Rooms
from gateway.muc.actions import Action
from gateway.muc.arrivals import PORTION
from gateway.stream.link import Link

# Seconds until the next try, if earlier output has not left.
_PACE = 0.02
# Bytes that wait for one node; if there are more, all of them are sent.
_MAX_LANE = 16 * 1024 * 1024

_Lane = deque[tuple[ToNode, bytes]]


class Pacing:
    """
    Joins to large rooms that are being answered, of users and nodes, in turn.

    @ivar link: set before anything waits.
    @param waits: returns True if earlier output waits for the store.
    @param perform: carries out the actions of a portion for a user.
    @param sendToNode: sends stanzas to a node.
    """

    link: Link

    def __init__(
        self,
        rooms: Rooms,
        waits: Callable[[], bool],
        perform: Callable[[list[Action]], object],
        sendToNode: Callable[[Iterable[tuple[ToNode, bytes]]], object],
    ) -> None:
        self._rooms = rooms
        self._waits = waits
        self._perform = perform
        self._sendToNode = sendToNode
        # By room and node.
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._sizes: Counter[tuple[str, str]] = Counter()
        self._call: IDelayedCall | None = None
        # Nodes and users take turns.
        self._isTurnOfNodes = False

    @property
    def arriving(self) -> int:
        """Number of sessions and nodes that are being sent the occupants of a room."""
        rooms = (self._rooms.rooms.get(jid) for jid in self._rooms.arriving)
        users = (len(room.arrivals.waiting) for room in rooms if room is not None and room.arrivals is not None)
        return sum(users) + len(self._lanes)

    def start(self) -> None:
        """Send the first portion in the next reactor turn, if anything waits."""
        if self._call is None and (self._rooms.arriving or self._lanes):
            self._call = self.link.later(0, self._next)

    def stop(self) -> None:
        """Send what waits for nodes, and nothing later: the link stops."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for key in list(self._lanes):
            self._send(key, len(self._lanes[key]))

    def begin(self, ready: Sequence[tuple[Action, object]]) -> None:
        """Let the stanzas to a node wait from now on, if there are more than one portion of them."""
        if len(ready) <= PORTION:
            return
        counts = Counter((each.room, each.peer) for each, _ in ready if isinstance(each, ToNode))
        for key, count in counts.items():
            if count > PORTION:
                self._lanes.setdefault(key, deque())
        self.start()

    def holds(self, action: ToNode, data: bytes) -> bool:
        """Keep a stanza if earlier ones to the node wait; return False if it may be sent."""
        key = action.room, action.peer
        lane = self._lanes.get(key)
        if lane is None:
            return False
        lane.append((action, data))
        self._sizes[key] += len(data)
        if self._sizes[key] > _MAX_LANE:
            self._send(key, len(lane))
        return True

    def _next(self) -> None:
        self._call = None
        if self.link.isBusy or self._waits():
            self._call = self.link.later(_PACE, self._next)
            return
        # One write for all stanzas of a portion.
        self.link.together(self._portion)
        self.start()

    def _portion(self) -> None:
        self._isTurnOfNodes = not self._isTurnOfNodes
        if self._lanes and (self._isTurnOfNodes or not self._rooms.arriving):
            self._send(next(iter(self._lanes)), PORTION)
        else:
            self._perform(self._rooms.portion())

    def _send(self, key: tuple[str, str], number: int) -> None:
        lane = self._lanes.pop(key)
        first = [lane.popleft() for _ in range(min(number, len(lane)))]
        self._sizes[key] -= sum(len(data) for _, data in first)
        if lane:
            # The others have their turn before.
            self._lanes[key] = lane
        else:
            del self._sizes[key]
        self._sendToNode(first)
