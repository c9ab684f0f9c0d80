"""
Incoming iq requests: each is answered exactly once (RFC 6120 section 8.2.3).
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from gateway.stream.shares import Share, Shares

# (who asked, id, whom)
Key = tuple[str, str, str]


@define(eq=False)
class _Waiting:
    """The requests of one key, by their deadlines."""

    share: Share
    deadlines: deque[float] = field(factory=deque)


class Replies:
    """
    The requests that were handed to handlers and have no answer yet; pure and bounded.

    @param bound: how many may be open, of which each requester has a fair share.
    @ivar patience: seconds a handler has for its answer.
    """

    def __init__(self, bound: int = 10_000, patience: float = 25.0) -> None:
        self.patience = patience
        self._shares = Shares(bound)
        self._open: dict[Key, _Waiting] = {}

    def __len__(self) -> int:
        return self._shares.taken

    def opened(self, key: Key, now: float) -> bool:
        """
        A request has come.

        @return: whether there is room for this requester; if not, it is not in the table and must be refused.
        """
        waiting = self._open.get(key) or _Waiting(self._shares.of(key[0]))
        if not waiting.share.take():
            return False
        self._open[key] = waiting
        waiting.deadlines.append(now + self.patience)
        return True

    def isOpen(self, key: Key) -> bool:
        return key in self._open

    def closed(self, key: Key) -> bool:
        """
        An answer is about to be sent.

        @return: whether it may be: there is such a request, and no other answer was sent.
        """
        waiting = self._open.get(key)
        if waiting is None:
            return False
        waiting.deadlines.popleft()
        waiting.share.giveBack()
        if not waiting.deadlines:
            del self._open[key]
        return True

    def expire(self, now: float) -> list[Key]:
        """Close the requests whose deadline has passed, and return them: each gets an error now."""
        overdue = [key for key, waiting in self._open.items() for deadline in waiting.deadlines if deadline <= now]
        for key in overdue:
            self.closed(key)
        return overdue
