"""The two queues of a channel: stanzas that wait for their acknowledgement, and for earlier stanzas. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Generic, TypeVar

from attrs import define, field

from gateway.muc.channel_store import OUTGOING, outgoingName
from gateway.muc.records import Key

T = TypeVar("T")

# Bytes of memory that a kept stanza takes beside its own.
_AROUND = 200


@define
class Kept:
    """
    A stanza of the outbox.

    @ivar since: seconds; the time at which it was accepted, or at which this process has loaded it.
    @ivar sentAt: seconds; the time at which it was sent last; C{inf} if it is to be sent.
    @ivar times: number of times that this process has sent it.
    @ivar key: of the state that it tells, which a later stanza may tell in its place; empty for none.
    """

    stanza: bytes
    since: float
    sentAt: float = inf
    times: int = 0
    key: str = ""


@define
class Outbox:
    """
    The stanzas that the other node has not acknowledged, by number.

    @ivar records: changes of their records.
    @ivar size: bytes of memory.
    @ivar acknowledged: the number before the first one.
    @ivar assigned: the number of the last one.
    """

    room: str
    peer: str
    records: dict[Key, str | None]
    size: int = 0
    acknowledged: int = 0
    assigned: int = 0
    _kept: dict[int, Kept] = field(factory=dict)
    # Numbers of the last stanzas with a key.
    _last: dict[str, int] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, number: int) -> Kept:
        return self._kept[number]

    def items(self) -> Iterator[tuple[int, Kept]]:
        """Yield the numbers and their stanzas."""
        yield from self._kept.items()

    def numbers(self) -> Iterator[int]:
        """Return the numbers of all stanzas."""
        return iter(self._kept)

    @property
    def oldest(self) -> float:
        """Time since which the first stanza waits."""
        return next((kept.since for kept in self._kept.values()), inf)

    def load(self, stanza: bytes, since: float) -> int:
        """Add a stanza whose record is stored; return its number."""
        self.assigned += 1
        self._kept[self.assigned] = Kept(stanza, since)
        self.size += len(stanza) + _AROUND
        return self.assigned

    def add(self, stanza: bytes, since: float, key: str = "") -> int:
        """Add a stanza; return its number."""
        number = self.load(stanza, since)
        self.record(number, stanza.decode())
        if key:
            self._kept[number].key, self._last[key] = key, number
        return number

    def last(self, key: str) -> int:
        """Return the number of the last stanza with a key; 0 for none, also after L{end}."""
        return self._last.get(key, 0)

    def end(self, key: str) -> None:
        """The next stanza with a key tells another state than the earlier ones."""
        self._last.pop(key, None)

    def endAll(self) -> None:
        """The same for all keys."""
        self._last.clear()

    def replace(self, number: int, stanza: bytes) -> None:
        """Replace the stanza with a number, which was never sent."""
        kept = self._kept[number]
        self.size += len(stanza) - len(kept.stanza)
        kept.stanza = stanza
        self.record(number, stanza.decode())

    def empty(self, number: int) -> None:
        """Forget the stanza with a number; the number stays."""
        kept = self._kept[number]
        self._forget(kept.key, number)
        self.size -= len(kept.stanza)
        kept.stanza = b""
        self.record(number, "")

    def _forget(self, key: str, number: int) -> None:
        if self._last.get(key) == number:
            del self._last[key]

    def removeUpTo(self, number: int) -> Kept:
        """Remove all stanzas up to a number, which is acknowledged; return the last one of them."""
        for each in range(self.acknowledged + 1, number + 1):
            kept = self._kept.pop(each)
            self._forget(kept.key, each)
            self.size -= len(kept.stanza) + _AROUND
            self.record(each, None)
        self.acknowledged = number
        return kept

    def repeat(self, last: int, until: float, isFirst: bool = False) -> None:
        """
        The stanzas up to a number that were sent until a time are to be sent again.

        @param isFirst: True if later ones are as well, if they were sent once only.
        """
        for number, kept in self._kept.items():
            if number <= last and (kept.sentAt <= until or (isFirst and kept.times == 1)):
                kept.sentAt = inf

    def renumber(self) -> None:
        """Number the stanzas from 1 on, in their order."""
        kept, self._kept = self._kept, {}
        self.size = self.acknowledged = self.assigned = 0
        self._last.clear()
        for number in kept:
            self.record(number, None)
        for each in kept.values():
            self.add(each.stanza, each.since)

    def record(self, number: int, value: str | None) -> None:
        """Change a record."""
        self.records[self.room, OUTGOING, outgoingName(number, self.peer)] = value


@define
class Inbox(Generic[T]):
    """
    Received stanzas, of which the later ones wait for earlier ones.

    @ivar most: maximum number of bytes that wait.
    @ivar received: number up to which everything was received.
    @ivar size: bytes of stanzas that wait.
    """

    most: int
    received: int = 0
    size: int = 0
    _held: dict[int, tuple[T, int]] = field(factory=dict)
    # An answer without a number of its own, and the number after which it is handled.
    _answer: tuple[int, T] | None = None

    @property
    def highest(self) -> int:
        """The highest number that has come; stanzas before it may be missing."""
        return max(self._held, default=self.received)

    def knows(self, number: int) -> bool:
        """True if the stanza with a number was received."""
        return number <= self.received or number in self._held

    def add(self, number: int, stanza: T, size: int) -> list[T]:
        """Add a stanza; return those that are complete, in order. If there is no room for it, it is dropped."""
        if number > self.received + 1 and self.size + size > self.most:
            return []
        self._held[number] = stanza, size
        self.size += size
        found: list[T] = []
        while self.received + 1 in self._held:
            self.received += 1
            stanza, size = self._held.pop(self.received)
            self.size -= size
            found.append(stanza)
            if self._answer is not None and self._answer[0] <= self.received:
                found.append(self._answer[1])
                self._answer = None
        return found

    def hold(self, number: int, answer: T) -> bool:
        """
        Keep an answer until everything up to a number is received, in place of an earlier one.

        @return: False if it is received.
        """
        isEarly = number > self.received
        self._answer = (number, answer) if isEarly else None
        return isEarly

    def clear(self) -> None:
        """Forget everything: a new epoch begins."""
        self._held.clear()
        self._answer = None
        self.received = self.size = 0
