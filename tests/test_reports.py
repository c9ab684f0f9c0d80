"""Items that services report."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.reports import StatusItem


class StatusItemTests(SynchronousTestCase):
    """Sentences that are made from values."""

    def test_plain(self) -> None:
        """Strings and numbers stand as they are, also with braces in them; the text may leave values out."""
        item = StatusItem("a.b", "{who} has {count}", {"who": "{nobody} {", "count": 3, "more": True})
        self.assertEqual(str(item), "{nobody} { has 3")
        self.assertFalse(item.isProblem)

    def test_many(self) -> None:
        """Several strings are a list; numbers by name are counts, in the order of the names."""
        item = StatusItem(
            "a.b", "{names}: {counts}{none}", {"names": ("x", "y"), "counts": {"b": 1, "a": 2}, "none": ()}
        )
        self.assertEqual(str(item), "x, y: 2 a; 1 b")

    def test_items(self) -> None:
        """An item may contain others: one, or several that are separated by semicolons."""
        inner = StatusItem("a.c", "{n} is in", {"n": 1})
        one = StatusItem("a.b", "{it}, {all}", {"it": inner, "all": (inner, StatusItem("a.d", "out"))})
        self.assertEqual(str(one), "1 is in, 1 is in; out")

    def test_missing(self) -> None:
        """A name without a value is a fault of the provider."""
        self.assertRaises(KeyError, str, StatusItem("a.b", "{x}"))
