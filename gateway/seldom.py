"""
Lines in the log of what may happen at any rate; pure.
"""

from __future__ import annotations

# Seconds from one line to the next.
_EVERY = 60.0


class Seldom:
    """
    One line a minute, and in it how many there would have been more: strangers cannot fill a disk with it.
    """

    def __init__(self) -> None:
        self._nextAt: float | None = None
        self._leftOut = 0

    def more(self, now: float) -> str | None:
        """
        It has happened.

        @return: C{None} if there is to be no line; else what to put at its end.
        """
        if self._nextAt is not None and now < self._nextAt:
            self._leftOut += 1
            return None
        self._nextAt = now + _EVERY
        leftOut, self._leftOut = self._leftOut, 0
        return f" (and {leftOut} more like it since the last such line)" if leftOut else ""
