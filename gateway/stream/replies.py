"""
Incoming iq requests: each is answered exactly once (RFC 6120 section 8.2.3).
"""

from __future__ import annotations

from collections import deque

# (who asked, id, whom)
Key = tuple[str, str, str]


class Replies:
    """
    The requests that were handed to handlers and have no answer yet; pure and bounded.

    @ivar bound: how many may be open.
    @ivar patience: seconds a handler has for its answer.
    """

    def __init__(self, bound: int = 10_000, patience: float = 25.0) -> None:
        self.bound = bound
        self.patience = patience
        self._open: dict[Key, deque[float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def opened(self, key: Key, now: float) -> bool:
        """
        A request has come.

        @return: whether there is room; if not, it is not in the table and must be refused.
        """
        if self._count >= self.bound:
            return False
        self._open.setdefault(key, deque()).append(now + self.patience)
        self._count += 1
        return True

    def isOpen(self, key: Key) -> bool:
        return key in self._open

    def closed(self, key: Key) -> bool:
        """
        An answer is about to be sent.

        @return: whether it may be: there is such a request, and no other answer was sent.
        """
        deadlines = self._open.get(key)
        if deadlines is None:
            return False
        deadlines.popleft()
        self._count -= 1
        if not deadlines:
            del self._open[key]
        return True

    def expire(self, now: float) -> list[Key]:
        """Close the requests whose deadline has passed, and return them: each gets an error now."""
        overdue = [key for key, deadlines in self._open.items() for deadline in deadlines if deadline <= now]
        for key in overdue:
            self.closed(key)
        return overdue
