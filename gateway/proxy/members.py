"""
The gateways that serve one component together: which of them still run. Pure.

Each gateway has a row in a table that all of them read, and changes it once a second. If a row has not changed for
some seconds, its gateway has ended, was halted, or does not reach the database; another one then takes over its
open exchanges. Until shortly before that, the gateway itself may rely on what it has in memory.

Nobody compares the clocks of two machines: a gateway counts from the moment before it changes its own row; others
count from the moment after they have first seen a value, as long as they read the table again and again. So an
outage of the database ends no gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

# Seconds for which others have to see the same row, and for which a gateway relies on its memory.
WAITS_FOR = 6.0
SERVES_FOR = WAITS_FOR - 1.0
# Seconds between two reads after which nothing is known about the time between them.
_MAX_GAP = 3.0


class Members:
    """
    The gateways of one component, as one of them sees the table. All times are on its own monotonic clock.

    @ivar others: number of other gateways that were seen running.
    """

    def __init__(self) -> None:
        self.others = 0
        # The value of each other gateway's row, and the time at which it was first seen.
        self._seen: dict[str, tuple[int, float]] = {}
        self._readAt = -inf
        self._validUntil = -inf

    def isValid(self, now: float) -> bool:
        """True if no other gateway can have taken over this one's exchanges."""
        return now < self._validUntil

    def observed(self, own: str, beats: Mapping[str, int], askedAt: float, now: float) -> None:
        """
        Note the table after this gateway has changed its own row.

        @param own: the name of this gateway.
        @param beats: the value of each row.
        @param askedAt: the time before the transaction.
        @param now: the time after it.
        """
        before = self._seen if now - self._readAt <= _MAX_GAP else {}
        self._readAt = now
        self._validUntil = askedAt + SERVES_FOR
        self._seen = {}
        for name, beat in beats.items():
            if name != own:
                value, since = before.get(name, (beat, now))
                self._seen[name] = (beat, since if value == beat else now)
        self.others = len(self._seen) - len(self.silent(now))

    def silent(self, now: float) -> list[tuple[str, int]]:
        """Return the rows that have not changed for too long, each with its value."""
        return [(name, beat) for name, (beat, since) in self._seen.items() if now - since >= WAITS_FOR]

    def lost(self) -> None:
        """Note that this gateway has left, or that another one has taken over its exchanges."""
        self._validUntil = -inf
