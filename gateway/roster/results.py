"""
Answers to requests whose caller does not wait: kept for a while, within bounds; no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any

from attrs import define

# Requests whose answers are kept or under way; seconds for which an answer is kept; bytes of all answers.
_MAX_RESULTS = 100
LIFETIME = 3_600.0
_MAX_BYTES = 32 * 1024 * 1024

# Random bytes of an identifier.
_KEY_BYTES = 16


@define(eq=False)
class Result:
    """
    The answer to one request.

    @ivar progress: gives what is known while it is under way.
    @ivar answer: C{None} while it is under way.
    @ivar until: when it is forgotten.
    """

    progress: Callable[[], dict[str, Any]]
    answer: bytes | None = None
    until: float = 0.0


class Results:
    """
    Keeps results by an identifier that nobody can guess. Those that were complete first are forgotten first.

    @param seconds: the time, monotonic.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._running: dict[str, Result] = {}
        self._complete: OrderedDict[str, Result] = OrderedDict()
        self._bytes = 0

    @property
    def isFull(self) -> bool:
        """True if there is no room for another request, even if all complete ones are forgotten."""
        return len(self._running) >= _MAX_RESULTS

    def begin(self, progress: Callable[[], dict[str, Any]]) -> str:
        """Return the identifier of a new result, which is under way."""
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
            # One answer alone may be larger than that.
            isLarge = self._bytes > _MAX_BYTES and len(self._complete) > 1
            if not (oldest.until <= now or isOver or isLarge):
                break
            self._complete.popitem(last=False)
            self._bytes -= len(oldest.answer or b"")
