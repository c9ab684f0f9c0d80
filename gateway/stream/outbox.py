"""
Stanzas that wait while the link is down.
"""

from __future__ import annotations

from collections import deque


class Outbox:
    """
    A bounded queue of serialised stanzas, each with a deadline; pure.

    @ivar maxCount: number of stanzas that may wait.
    @ivar maxBytes: number of bytes that may wait.
    @ivar timeout: seconds that each may wait.
    """

    def __init__(self, maxCount: int = 10_000, maxBytes: int = 8 * 1024 * 1024, timeout: float = 30.0) -> None:
        self.maxCount = maxCount
        self.maxBytes = maxBytes
        self.timeout = timeout
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, data: bytes, now: float) -> bool:
        """
        Add one stanza.

        @return: true if there was room.
        """
        if len(self._waiting) >= self.maxCount or self._bytes + len(data) > self.maxBytes:
            return False
        self._waiting.append((now + self.timeout, data))
        self._bytes += len(data)
        return True

    def expire(self, now: float) -> int:
        """Drop overdue stanzas and return their number."""
        count = 0
        while self._waiting and self._waiting[0][0] <= now:
            self._bytes -= len(self._waiting.popleft()[1])
            count += 1
        return count

    def takeAll(self) -> list[bytes]:
        """Empty the queue; return its stanzas in order."""
        stanzas = [stanza for _, stanza in self._waiting]
        self._waiting.clear()
        self._bytes = 0
        return stanzas
