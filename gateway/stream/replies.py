"""
Incoming iq requests: each is answered exactly once (RFC 6120 section 8.2.3).
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from gateway.stream.pending import PendingTable
from gateway.stream.shares import Share, Shares

# requester, id, recipient
Key = tuple[str, str, str]


@define(eq=False)
class _Waiting:
    """The requests of one key, by their deadlines."""

    share: Share
    deadlines: deque[float] = field(factory=deque)

    @property
    def deadline(self) -> float:
        """The first of the deadlines."""
        return self.deadlines[0]


class Replies:
    """
    The requests that were handed to handlers and have no answer yet; pure and bounded.

    @param bound: number of requests that may be open; each requester has a fair share.
    @ivar timeout: seconds that a handler has for its answer.
    """

    def __init__(self, bound: int = 10_000, timeout: float = 25.0) -> None:
        self.timeout = timeout
        self._shares = Shares(bound)
        # The shares bound it.
        self._open: PendingTable[Key, _Waiting] = PendingTable(bound)

    def __len__(self) -> int:
        return self._shares.taken

    def opened(self, key: Key, now: float) -> bool:
        """
        A request has come.

        @return: true if there is room for this requester; otherwise it is not in the table and must be refused.
        """
        known = self._open.get(key)
        waiting = known or _Waiting(self._shares.of(key[0]))
        if not waiting.share.take():
            return False
        waiting.deadlines.append(now + self.timeout)
        if known is None:
            self._open.add(key, waiting)
        return True

    def isOpen(self, key: Key) -> bool:
        return key in self._open

    def closed(self, key: Key) -> bool:
        """
        An answer is about to be sent.

        @return: true if it may be sent: there is such a request, and no other answer was sent.
        """
        waiting = self._open.pop(key, None)
        if waiting is None:
            return False
        self._oldestEnded(key, waiting)
        return True

    def expire(self, now: float) -> list[Key]:
        """Close the requests whose deadline has passed, and return them: each gets an error now."""
        overdue = []
        # A key that was opened twice may be overdue again.
        while ended := self._open.expire(now):
            for key, waiting in ended:
                overdue.append(key)
                self._oldestEnded(key, waiting)
        return overdue

    def abandon(self) -> list[Key]:
        """Close all requests, and return them, each as often as it was opened."""
        abandoned = [key for key, waiting in self._open.items() for _ in waiting.deadlines]
        for key in abandoned:
            self.closed(key)
        return abandoned

    def _oldestEnded(self, key: Key, waiting: _Waiting) -> None:
        waiting.deadlines.popleft()
        waiting.share.giveBack()
        if waiting.deadlines:
            self._open.add(key, waiting)
