"""Tables that forget their oldest entry."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.latest import keepLatest


class LatestTests(SynchronousTestCase):
    """Setting entries."""

    def test_oldest(self) -> None:
        """A full table forgets the entry that was set longest ago; an entry that is set again is the latest."""
        table: dict[str, int] = {}
        for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
            keepLatest(table, key, value, 2)
        self.assertEqual(list(table.items()), [("a", 3), ("c", 4)])
