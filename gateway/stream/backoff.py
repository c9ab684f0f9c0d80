"""
Intervals between tries that grow; pure.
"""

from __future__ import annotations

from random import Random


class Backoff:
    """
    At first the tries are quick, and at even intervals; then the interval doubles after each try.

    @ivar interval: seconds; L{next} returns this value, or less if the interval is random.
    @param first: seconds before the second try.
    @param last: seconds at most.
    @param quickFor: seconds of the quick tries, whose interval is C{first}.
    @param random: makes half of each interval random, so that many gateways do not reconnect at the same time;
        C{None} for fixed intervals.
    """

    def __init__(
        self, first: float, last: float, random: Random | None = None, quickFor: float = 0.0
    ) -> None:
        self._first = first
        self._quickFor = self._quickLeft = quickFor
        self._last = last
        self._random = random
        self.interval = first

    def next(self, isHopeless: bool = False) -> float:
        """
        Return the seconds until the next try.

        @param isHopeless: another try soon would end in the same way, so the interval is the longest one.
        """
        interval = self._last if isHopeless else self.interval
        delay = interval if self._random is None else interval * (0.5 + 0.5 * self._random.random())
        if self._quickLeft > 0 and not isHopeless:
            self._quickLeft -= delay
        else:
            self.interval = min(2 * self.interval, self._last)
        return delay

    def reset(self) -> None:
        """A try has succeeded."""
        self.interval = self._first
        self._quickLeft = self._quickFor
