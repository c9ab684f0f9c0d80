"""
A bounded table of entries that wait for an answer, each with a deadline; pure.
"""

from __future__ import annotations

import typing
from typing import TypeVar

from gateway.errors import AlreadyOpen, TooManyPending


class HasDeadline(typing.Protocol):
    """An entry of a table."""

    @property
    def deadline(self) -> float:
        """Seconds on the clock that L{PendingTable.expire} is given; constant while the entry is in a table."""


K = TypeVar("K")
V = TypeVar("V", bound=HasDeadline)


class PendingTable(dict[K, V]):
    """
    A dict of entries that end at their deadline. Add by L{add} alone; read and remove as in any dict.

    Most tables have one timeout for all entries. So entries are added in the order of their deadlines, and a dict
    keeps that order: L{expire} looks at overdue entries only. Entries whose deadline is before that of an
    earlier entry are kept in a separate list.

    @ivar bound: number of entries at most.
    """

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.bound = bound
        self._latest = 0.0
        # May have entries that are not in the table any longer.
        self._early: list[tuple[K, V]] = []

    @property
    def isFull(self) -> bool:
        return len(self) >= self.bound

    def add(self, key: K, entry: V) -> None:
        """
        Add an entry.

        @raise AlreadyOpen: if there is one with this key.
        @raise TooManyPending: if the table is full.
        """
        size = len(self)
        if self.setdefault(key, entry) is not entry:
            raise AlreadyOpen
        if size >= self.bound:
            del self[key]
            raise TooManyPending
        deadline = entry.deadline
        if deadline >= self._latest:
            self._latest = deadline
        elif size:
            self._early.append((key, entry))
        else:
            self._early.clear()
            self._latest = deadline

    def expire(self, now: float) -> list[tuple[K, V]]:
        """Remove the entries whose deadline has passed, and return them in the order of their deadlines."""
        overdue: list[tuple[K, V]] = []
        for key, entry in self.items():
            if entry.deadline > now:
                break
            overdue.append((key, entry))
        for key, _ in overdue:
            del self[key]
        if self._early:
            self._early = [(key, entry) for key, entry in self._early if self.get(key) is entry]
            early = [(key, entry) for key, entry in self._early if entry.deadline <= now]
            for key, _ in early:
                del self[key]
            overdue += early
        overdue.sort(key=lambda item: item[1].deadline)
        return overdue

    def popAll(self) -> list[tuple[K, V]]:
        """Remove all entries and return them."""
        entries = list(self.items())
        self.clear()
        return entries
