"""
Answers for callers that do not wait: kept for a while, within bounds; no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any

from attrs import define

# Answers that are kept or under way; seconds for which an answer is kept; bytes of all answers.
_MAX_RESULTS = 100
LIFETIME = 3_600.0
_MAX_BYTES = 32 * 1024 * 1024

# Random bytes of an identifier.
_KEY_BYTES = 16


@define(eq=False)
class Result:
    """
    The answer to one request.

    @ivar progress: returns the progress while the request is under way.
    @ivar answer: C{None} while the request is under way.
    @ivar until: time at which the answer is dropped.
    """

    progress: Callable[[], dict[str, Any]]
    answer: bytes | None = None
    until: float = 0.0


class Results:
    """
    Keeps results by an identifier that cannot be guessed. Those that were complete first are dropped first.

    @param seconds: monotonic clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._running: dict[str, Result] = {}
        self._complete: OrderedDict[str, Result] = OrderedDict()
        self._bytes = 0

    @property
    def isFull(self) -> bool:
        """True if there is no room for another request, even if all complete answers are dropped."""
        return len(self._running) >= _MAX_RESULTS

    def begin(self, progress: Callable[[], dict[str, Any]]) -> str:
        """Add a result that is under way, and return its identifier."""
        key = token_urlsafe(_KEY_BYTES)
        self._running[key] = Result(progress)
        self._removeOld()
        return key

    def complete(self, key: str, answer: bytes) -> None:
        result = self._running.pop(key)
        result.answer, result.until = answer, self._seconds() + LIFETIME
        self._complete[key] = result
        self._bytes += len(answer)
        self._removeOld()

    def find(self, key: str) -> Result | None:
        self._removeOld()
        return self._running.get(key) or self._complete.get(key)

    def _removeOld(self) -> None:
        now = self._seconds()
        while self._complete:
            oldest = next(iter(self._complete.values()))
            isOver = len(self._running) + len(self._complete) > _MAX_RESULTS
            # A single answer may be larger.
            isLarge = self._bytes > _MAX_BYTES and len(self._complete) > 1
            if not (oldest.until <= now or isOver or isLarge):
                break
            self._complete.popitem(last=False)
            self._bytes -= len(oldest.answer or b"")
