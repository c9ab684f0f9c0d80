"""Tests for L{gateway.stream.pending}."""

from __future__ import annotations

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import AlreadyOpen, TooManyPending
from gateway.stream.pending import PendingTable
from tests.profiles import steady


@frozen(eq=False)
class Entry:
    """An entry."""

    deadline: float


class PendingTableTests(SynchronousTestCase):
    """L{PendingTable}."""

    def test_bound(self) -> None:
        """A full table refuses new entries until something is removed."""
        table: PendingTable[str, Entry] = PendingTable(2)
        table.add("a", Entry(1.0))
        table.add("b", Entry(1.0))
        self.assertTrue(table.isFull)
        self.assertRaises(TooManyPending, table.add, "c", Entry(1.0))
        del table["a"]
        self.assertFalse(table.isFull)
        table.add("c", Entry(1.0))
        self.assertEqual(list(table), ["b", "c"])

    def test_twice(self) -> None:
        """A key can be open once; the entry that was there stays."""
        table: PendingTable[str, Entry] = PendingTable(2)
        first = Entry(1.0)
        table.add("a", first)
        self.assertRaises(AlreadyOpen, table.add, "a", Entry(2.0))
        self.assertIs(table["a"], first)

    def test_onTime(self) -> None:
        """An entry expires at its deadline, not before it."""
        table: PendingTable[str, Entry] = PendingTable(2)
        entry = Entry(10.0)
        table.add("a", entry)
        self.assertEqual(table.expire(9.99), [])
        self.assertEqual(table.expire(10.0), [("a", entry)])
        self.assertEqual(table.expire(11.0), [])
        self.assertNotIn("a", table)

    def test_early(self) -> None:
        """An entry with a shorter timeout does not wait for those that were added before it."""
        table: PendingTable[str, Entry] = PendingTable(9)
        late, early = Entry(30.0), Entry(5.0)
        table.add("late", late)
        table.add("early", early)
        self.assertEqual(table.expire(5.0), [("early", early)])
        self.assertEqual(table.expire(30.0), [("late", late)])

    def test_earlyGone(self) -> None:
        """Neither a removed entry nor a later one with the same key expires at the removed entry's deadline."""
        table: PendingTable[str, Entry] = PendingTable(9)
        table.add("late", Entry(30.0))
        table.add("early", Entry(5.0))
        del table["early"]
        table.add("early", Entry(40.0))
        self.assertEqual(table.expire(5.0), [])
        self.assertIn("early", table)

    def test_popAll(self) -> None:
        """All of them are removed."""
        table: PendingTable[str, Entry] = PendingTable(9)
        entry = Entry(30.0)
        table.add("a", entry)
        self.assertEqual(table.popAll(), [("a", entry)])
        self.assertFalse(table)

    def test_quick(self) -> None:
        """Only overdue entries are examined."""
        looks = 0

        class Counting:
            @property
            def deadline(self) -> float:
                nonlocal looks
                looks += 1
                return 10.0

        table: PendingTable[int, Counting] = PendingTable(1_000)
        for number in range(1_000):
            table.add(number, Counting())
        looks = 0
        table.expire(9.0)
        self.assertEqual(looks, 1)

    @steady
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(0, 8), st.integers(0, 40)),
                st.tuples(st.just("remove"), st.integers(0, 8), st.just(0)),
                st.tuples(st.just("expire"), st.just(0), st.integers(0, 10)),
            ),
            max_size=60,
        )
    )
    def test_model(self, steps: list[tuple[str, int, int]]) -> None:
        """In any order of operations, the same entries expire at the same times as with a scan of all."""
        table: PendingTable[int, Entry] = PendingTable(6)
        model: dict[int, Entry] = {}
        now = 0.0
        for what, key, amount in steps:
            if what == "add":
                entry = Entry(now + amount)
                if key in model:
                    self.assertRaises(AlreadyOpen, table.add, key, entry)
                elif len(model) == 6:
                    self.assertRaises(TooManyPending, table.add, key, entry)
                else:
                    table.add(key, entry)
                    model[key] = entry
            elif what == "remove":
                self.assertIs(table.pop(key, None), model.pop(key, None))
            else:
                now += amount
                overdue = table.expire(now)
                self.assertEqual({key for key, _ in overdue}, {k for k, e in model.items() if e.deadline <= now})
                self.assertEqual(overdue, sorted(overdue, key=lambda item: item[1].deadline))
                model = {k: e for k, e in model.items() if e.deadline > now}
            self.assertEqual(dict(table), model)
