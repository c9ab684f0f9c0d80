"""
A rate limit for log lines; pure.
"""

from __future__ import annotations

# Seconds from one line to the next.
_EVERY = 60.0


class Seldom:
    """
    Allows one line a minute and counts the suppressed ones, so that third parties cannot fill the disk.
    """

    def __init__(self) -> None:
        self._nextAt: float | None = None
        self._leftOut = 0

    def more(self, now: float) -> str | None:
        """
        Record one event.

        @return: C{None} if the line is suppressed; otherwise a text to append to it.
        """
        if self._nextAt is not None and now < self._nextAt:
            self._leftOut += 1
            return None
        self._nextAt = now + _EVERY
        leftOut, self._leftOut = self._leftOut, 0
        return f" (and {leftOut} more like it since the last such line)" if leftOut else ""
