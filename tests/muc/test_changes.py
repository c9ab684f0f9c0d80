"""Tests for L{gateway.muc.changes}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StoreFull
from gateway.muc.changes import Durability, Tracked


class TrackedTests(SynchronousTestCase):
    """L{Tracked}."""

    def test_changed(self) -> None:
        """Each way to change the table notes the key; reading it, or removing what is absent, does not."""
        table = Tracked()
        table["a"] = "1"
        table["b"] = "2"
        self.assertEqual((dict(table), list(table.changed)), ({"a": "1", "b": "2"}, ["a", "b"]))
        table.changed.clear()
        self.assertEqual((table.get("c"), table.pop("c", None), "a" in table), (None, None, True))
        self.assertEqual(list(table.changed), [])
        del table["a"]
        self.assertEqual(list(table.changed), ["a"])
        table.changed.clear()
        self.assertEqual(table.pop("b"), "2")
        self.assertEqual(list(table.changed), ["b"])
        table["d"] = "4"
        table.changed.clear()
        table.clear()
        self.assertEqual((dict(table), list(table.changed)), ({}, ["d"]))


class DurabilityTests(SynchronousTestCase):
    """L{Durability}."""

    def test_check(self) -> None:
        """While the store fails, its error is raised, if the rooms are stored: mirrors are not."""
        durability = Durability(isOn=True)
        durability.check()
        durability.fault = StoreFull
        self.assertRaises(StoreFull, durability.check)
        durability.isOn = False
        durability.check()
