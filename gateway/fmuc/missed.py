"""Messages that a mirror may have missed, until the joined node has sent all of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from attrs import define, field

from gateway.muc.occupant import Node
from gateway.muc.values import RoomMessage

# Seconds by which the clocks of two sites may differ.
SKEW = 60.0
# Bytes of missed messages.
_MAX_BYTES = 4 * 1024 * 1024


@define(eq=False)
class MissedMessages:
    """
    The messages of one return, in the joined node's order.

    A stanza id of the joined node tells whether a message is known. Other software may give none; then a message is
    known if the same one was shown at about that time. A user may say the same twice: each message that was shown
    counts once.

    @ivar last: stanza id of the last message; empty for none.
    """

    last: str = ""
    # Each message, the node that it has come from, and True if its stanza id is the joined node's.
    _found: list[tuple[RoomMessage, Node | None, bool]] = field(factory=list)
    _ids: set[str] = field(factory=set)
    _size: int = 0

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()
        self._ids.clear()
        self._size, self.last = 0, ""

    def keep(self, message: RoomMessage, isGiven: bool, origin: Node | None, most: int) -> None:
        """
        Keep a message with its time. The answer to a request of an earlier process may have it as well.

        @param isGiven: True if its stanza id is the joined node's.
        @param origin: the node that it has come from, if that is known.
        @param most: maximum number of messages.
        """
        self._size += len(message.payload.raw)
        if len(self._found) >= most or self._size > _MAX_BYTES or (isGiven and message.stanzaId in self._ids):
            return
        self._found.append((message, origin, isGiven))
        self.last = message.stanzaId
        if isGiven:
            self._ids.add(message.stanzaId)

    def unknown(
        self, shown: Iterable[RoomMessage], isOwn: Callable[[RoomMessage], bool] | None
    ) -> list[tuple[RoomMessage, Node | None]]:
        """
        Return the messages that were not shown, each with the node that it has come from.

        @param shown: messages that were shown, in their order.
        @param isOwn: True for a message of an occupant here, in primary mode: the occupant has seen it, and it may
            have another stanza id there, and another time. C{None} in replica mode.
        """
        shown = list(shown)
        known = {each.stanzaId for each in shown}
        # Times of the messages that may be those of the joined node under other ids.
        times: dict[tuple[str, ...], list[float]] = {}
        for each in shown:
            if each.delay is not None and each.stanzaId not in self._ids:
                times.setdefault(_contentOf(each), []).append(each.delay.stamp)

        def isShown(message: RoomMessage, isGiven: bool) -> bool:
            if isGiven and message.stanzaId in known:
                return True
            if not isGiven and _take(times, message, SKEW):
                return True
            # Without an id, the sender may have said the same once more.
            return isOwn is not None and (isOwn(message) or (bool(message.id) and _take(times, message, inf)))

        return [(message, origin) for message, origin, isGiven in self._found if not isShown(message, isGiven)]


def _contentOf(message: RoomMessage) -> tuple[str, ...]:
    return message.nick, message.id or "", message.payload.raw.decode()


def _take(times: dict[tuple[str, ...], list[float]], message: RoomMessage, most: float) -> bool:
    """Take away the time of the first equal message that differs by so many seconds at most; False for none."""
    assert message.delay is not None
    stamp, equal = message.delay.stamp, times.get(_contentOf(message), [])
    found = next((each for each in equal if abs(each - stamp) <= most), None)
    if found is None:
        return False
    equal.remove(found)
    return True
