"""
The gateways that have a component, whichever of them serves it: for reports alone, leases do not need it. Pure.

Each gateway has a row in a table that all of them share, and changes it every few seconds. One whose row has not
changed for some time has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import inf

from attrs import frozen

from gateway.standby.core import Owner

# Seconds between two changes of a row; for which an unchanged row counts; and after which others remove it.
ANNOUNCE_EVERY = 5.0
COUNTS_FOR = 3 * ANNOUNCE_EVERY + 1.0
REMOVED_AFTER = 60.0


@frozen
class Gateway:
    """
    The row of one gateway.

    @ivar beat: number of changes so far.
    """

    process: Owner
    components: Collection[str]
    beat: int


class Gateways:
    """The other gateways, as one of them sees the table. All times are on its own monotonic clock."""

    def __init__(self, own: Owner) -> None:
        self._own = own
        # Each other gateway by its run, with the time at which this row was first seen.
        self._seen: dict[str, tuple[Gateway, float]] = {}
        self._readAt = -inf

    def observed(self, rows: Iterable[Gateway], now: float) -> None:
        """Note the whole table."""
        # After an outage of the database, nobody has had a chance to change a row.
        before = self._seen if now - self._readAt < COUNTS_FOR else {}
        self._readAt = now
        self._seen = {}
        for row in rows:
            if row.process.run != self._own.run:
                known, since = before.get(row.process.run, (row, now))
                self._seen[row.process.run] = row, (since if known == row else now)

    def ended(self, now: float) -> list[tuple[str, int]]:
        """Return the gateways that ended long ago: run and beat of each."""
        return [(run, row.beat) for run, (row, since) in self._seen.items() if now - since >= REMOVED_AFTER]

    def names(self, component: str, now: float) -> list[str]:
        """Return the names of the other gateways that have a component."""
        # An earlier process of this gateway has the same name.
        return sorted(
            row.process.name
            for row, since in self._seen.values()
            if component in row.components and now - since < COUNTS_FOR and row.process.name != self._own.name
        )
