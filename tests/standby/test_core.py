"""The agreement on the gateway that serves a component, with several processes and one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.standby.core import (
    LOADS_FOR,
    SERVES_FOR,
    TICK,
    WAITS_FOR,
    Change,
    Kept,
    Leases,
    Lost,
    Owner,
    Row,
    Taken,
    Turn,
    Waits,
)
from gateway.standby.store import MIGRATIONS, perform
from gateway.state.guards import Guard, Locks
from gateway.state.memory import MemoryStore
from tests.profiles import steady

C, D, E = "rooms.example.com", "mirror.example.com", "other.example.com"


class Process:
    """
    One gateway; its steps are those of L{gateway.standby.service.Standby}.

    @ivar waiting: the turn that the table has not got, with the time at which it was asked.
    @ivar found: the answer that the process has not got.
    """

    def __init__(self, store: MemoryStore, name: str, *components: str) -> None:
        self.store = store
        self.own = Owner(f"run-{name}", name)
        self.locks = Keeping()
        self.leases = Leases(self.own)
        self.lease = {each: self.leases.add(each) for each in components or (C,)}
        self.waiting: tuple[Turn, float] | None = None
        self.found: tuple[Turn, float, list[Row]] | None = None

    def ask(self, now: float) -> None:
        """Look at the clock, and ask, unless an answer is pending."""
        self.leases.expired(now)
        if self.waiting is None and self.found is None:
            self.waiting = self.leases.turn(now), now

    def perform(self) -> None:
        """The table gets the turn."""
        if self.waiting is not None:
            turn, askedAt = self.waiting
            self.waiting = None
            self.found = turn, askedAt, get(self.store, self.own, turn, self.locks)

    def answer(self, now: float) -> list[Change]:
        """The process gets the answer."""
        if self.found is None:
            return []
        turn, askedAt, rows = self.found
        self.found = None
        return self.leases.answered(turn, rows, askedAt, now)

    def lose(self) -> None:
        """The database has failed: nobody knows whether the turn was stored."""
        self.waiting = self.found = None

    def step(self, now: float) -> list[Change]:
        """Do all at once."""
        self.ask(now)
        self.perform()
        return self.answer(now)

    def serves(self, now: float, component: str = C) -> bool:
        """True if it handles stanzas."""
        return now < self.lease[component].until


class Keeping(Locks):
    """
    Sessions that do not end.

    @ivar kept: the components whose rows they keep.
    """

    def __init__(self) -> None:
        self.kept: set[str] = set()

    def isFree(self, cursor: Any, guard: Guard) -> bool:
        return guard.values["component"] not in self.kept


def get(store: MemoryStore, own: Owner, turn: Turn, locks: Locks | None = None) -> list[Row]:
    """Return the answer of the table."""
    found: list[Row] = store.atStart(perform, own, turn, locks or Locks())
    return found


class LeasesTests(SynchronousTestCase):
    """L{Leases} and L{perform}."""

    def setUp(self) -> None:
        self.store = MemoryStore(MIGRATIONS)
        self.one, self.other = Process(self.store, "one"), Process(self.store, "other")

    def run_(self, start: float, seconds: float, *processes: Process) -> list[tuple[float, str, Change]]:
        """Let time pass for some processes; return what changes, with the time and the process."""
        found = []
        for number in range(round(seconds / TICK) + 1):
            now = start + number * TICK
            for process in processes:
                found += [(now, process.own.name, each) for each in process.step(now)]
        return found

    def test_first(self) -> None:
        """The first gateway that looks serves the component, at its second look; the other one waits."""
        found = self.run_(0.0, 20.0, self.one, self.other)
        expected = [(TICK, "one", Taken(C, None)), (TICK, "other", Waits(C, self.one.own))]
        self.assertEqual(found, expected)
        self.assertTrue(self.one.serves(20.0))
        self.assertEqual((self.one.leases.isOwn(C, 20.0), self.other.leases.isOwn(C, 20.0)), (True, False))
        self.assertEqual(self.other.leases.owner(C), self.one.own)

    def test_killed(self) -> None:
        """A while after the last renewal of a process that was killed, another one takes the component."""
        self.run_(0.0, 10.0, self.one, self.other)
        [(now, name, change)] = self.run_(10.5, 20.0, self.other)
        self.assertEqual((name, change), ("other", Taken(C, self.one.own)))
        self.assertLessEqual(now - 10.0, WAITS_FOR + 2 * TICK)
        self.assertGreater(now - 10.0, SERVES_FOR)

    def test_loaded(self) -> None:
        """A process that has loaded a component renews at once; from then on it is waited for as usual."""
        self.run_(0.0, 0.5, self.one)
        self.one.leases.renewNow()
        self.one.step(0.6)
        found = self.run_(0.7, 20.0, self.other)
        self.assertEqual([(name, change) for _, name, change in found][-1], ("other", Taken(C, self.one.own)))
        self.assertLess(found[-1][0], 0.6 + WAITS_FOR + 2 * TICK)

    def test_halted(self) -> None:
        """A process that was halted does not serve any longer when it goes on, and waits."""
        self.run_(0.0, 10.0, self.one, self.other)
        self.run_(10.5, 10.0, self.other)
        self.assertFalse(self.one.serves(21.0))
        self.assertEqual(self.one.leases.expired(21.0), [Lost(C, None)])
        self.assertEqual(self.one.step(21.0), [Waits(C, self.other.own)])
        self.assertEqual(self.run_(21.5, 30.0, self.one, self.other), [])

    def test_haltedAlone(self) -> None:
        """If nobody has taken the component meanwhile, it is lost and taken again."""
        self.run_(0.0, 10.0, self.one)
        self.one.ask(10.5)
        self.one.perform()
        self.assertEqual(self.one.answer(16.0), [Lost(C, None)])
        self.assertEqual(self.one.step(16.5), [Taken(C, None)])

    def test_silent(self) -> None:
        """
        A halted gateway that goes on, and has only its clock, does not regard the component as its own. It sends
        nothing from the earliest time at which another one may have taken it.
        """
        self.run_(0.0, 5.0, self.one)
        lease = self.one.lease[C]
        self.assertEqual(lease.silentAt - lease.until, WAITS_FOR - SERVES_FOR)
        taken = next(now for now, _, each in self.run_(5.5, 20.0, self.other) if isinstance(each, Taken))
        self.assertLessEqual(lease.silentAt, taken)
        self.assertFalse(self.one.leases.isOwn(C, lease.until))

    def test_lateAnswer(self) -> None:
        """The time of a lease counts from before the question, however late the answer comes."""
        self.one.step(0.0)
        self.one.ask(1.0)
        self.one.perform()
        self.assertEqual(self.one.answer(3.0), [Taken(C, None)])
        self.one.ask(3.5)
        self.one.perform()
        self.assertEqual(self.one.answer(5.0), [])
        self.assertEqual(self.one.lease[C].until, 3.5 + SERVES_FOR)

    def test_loads(self) -> None:
        """
        A process that has taken a component may be busy for longer, because it loads it; so may it for others that
        it has. Its next turn ends this time.
        """
        self.run_(0.0, 1.0, self.one)
        self.one.lease[D] = self.one.leases.add(D)
        for now in (2.0, 2.5):
            self.one.step(now)
            self.other.step(now)
        found = self.run_(3.0, LOADS_FOR - 2.0, self.other)
        self.assertEqual((found, self.one.serves(LOADS_FOR), self.one.serves(LOADS_FOR, D)), ([], True, True))
        self.assertEqual(self.one.step(LOADS_FOR + 0.5), [])
        found = self.run_(LOADS_FOR + 0.5, WAITS_FOR, self.other)
        self.assertEqual([each[1:] for each in found], [("other", Taken(C, self.one.own))])

    def test_seenOnce(self) -> None:
        """A row counts from when it was first seen: a gateway that has just started waits as long as others."""
        self.run_(0.0, 10.0, self.one)
        [(_, _, first), (now, _, change)] = self.run_(100.0, 20.0, self.other)
        self.assertEqual((first, change), (Waits(C, self.one.own), Taken(C, self.one.own)))
        self.assertGreaterEqual(now, 100.0 + WAITS_FOR)

    def test_released(self) -> None:
        """A gateway that stops releases its components; another one takes them at once."""
        self.run_(0.0, 10.0, self.one, self.other)
        get(self.store, self.one.own, self.one.leases.leave())
        self.assertFalse(self.one.serves(10.0))
        self.assertEqual(self.run_(10.5, 0.5, self.other), [(11.0, "other", Taken(C, None))])

    def test_removed(self) -> None:
        """A component that is not wanted any longer is released; one that is added is claimed."""
        self.run_(0.0, 10.0, self.one, self.other)
        self.one.leases.remove(C)
        self.assertFalse(self.one.serves(10.0))
        self.one.lease[D] = self.one.leases.add(D)
        found = self.run_(10.5, 1.5, self.one, self.other)
        self.assertEqual(found, [(11.0, "one", Taken(D, None)), (11.0, "other", Taken(C, None))])

    def test_addedTwice(self) -> None:
        """A service that is replaced keeps the lease of its component."""
        self.run_(0.0, 1.0, self.one)
        self.assertIs(self.one.leases.add(C), self.one.lease[C])
        self.assertTrue(self.one.serves(1.0))

    def test_postponed(self) -> None:
        """A component that a gateway cannot serve is left to others for some time."""
        self.run_(0.0, 10.0, self.one)
        self.one.leases.postpone(C, 40.0)
        self.assertFalse(self.one.serves(10.0))
        self.assertEqual(self.run_(10.5, 29.0, self.one), [])
        self.assertEqual(self.run_(40.0, 1.0, self.one), [(40.0, "one", Taken(C, None))])
        self.one.leases.postpone(C, 80.0)
        self.run_(42.0, 1.0, self.one)
        found = self.run_(44.0, 60.0, self.other, self.one)
        self.assertEqual([each[1:] for each in found][:1], [("other", Taken(C, None))])
        self.assertFalse(self.one.serves(100.0))

    def test_unknown(self) -> None:
        """
        If nobody knows whether a claim was stored, or that a row was taken, the process renews it before it serves:
        others have seen it for some time.
        """
        for start in (0.0, 100.0):
            self.other.step(start)
            self.one.step(start)
            asked = start + WAITS_FOR
            self.one.ask(asked)
            self.one.perform()
            self.one.lose()
            self.assertFalse(self.one.serves(asked))
            self.other.step(asked)
            self.assertIsInstance(self.one.step(asked + 4.0)[-1], Taken)
            self.assertTrue(self.one.serves(asked + WAITS_FOR))
            self.assertEqual(self.other.step(asked + WAITS_FOR), [])
            # It is killed.
            self.one.lease[C].until = 0.0
            self.run_(start + 20.0, 10.0, self.other)
            get(self.store, self.other.own, self.other.leases.leave())
            self.other.leases.add(C)
            get(self.store, Owner("run-third", "third"), Turn(claim=(C,)))

    def test_kept(self) -> None:
        """A component that a session keeps is reported, and taken afterwards; others are taken before."""
        one, other = Process(self.store, "one", C, D, E), Process(self.store, "other", C, D, E)
        self.run_(0.0, 5.0, one, other)
        for first in (C, D, E):
            other.locks.kept.add(first)
        found = self.run_(5.5, WAITS_FOR + 12 * TICK, other)
        self.assertEqual({each for _, _, each in found}, {Kept(each, one.own) for each in (C, D, E)})
        other.locks.kept -= {D, E}
        found = self.run_(18.5, 4.0, other)
        self.assertEqual({each for _, _, each in found}, {Taken(each, one.own) for each in (D, E)})
        self.assertEqual([other.leases.isKept(each) for each in (C, D)], [True, False])
        other.locks.kept.clear()
        self.assertEqual([each for _, _, each in self.run_(23.0, 2.0, other)], [Taken(C, one.own)])
        self.assertFalse(other.leases.isKept(C))

    def test_taken(self) -> None:
        """Another process has changed the row by force: this one stops."""
        self.run_(0.0, 10.0, self.one)
        row = get(self.store, self.other.own, Turn())[0]
        get(self.store, self.other.own, Turn(take=(row,)))
        self.assertEqual(self.one.step(11.0), [Lost(C, self.other.own)])

    def test_race(self) -> None:
        """Of two that take or claim at the same time, one succeeds."""
        for now in (0.0, 30.0):
            self.one.step(now)
            self.other.step(now)
            for each in (self.one, self.other):
                each.ask(now + WAITS_FOR)
            self.one.perform()
            self.other.perform()
            changes = self.one.answer(now + WAITS_FOR) + self.other.answer(now + WAITS_FOR)
            self.assertEqual(sum(isinstance(each, Taken) for each in changes), 1)
            self.one.leases.expired(now + 20.0)

    def test_spread(self) -> None:
        """Components are spread over the gateways, when these start and when one of them ends."""
        names = [f"c{number}.example.com" for number in range(6)]
        processes = [Process(self.store, name, *names) for name in ("a", "b", "c")]
        for start, left in ((0.0, processes), (20.0, processes[1:]), (40.0, processes[2:])):
            found = self.run_(start, 15.0, *left)
            self.assertLessEqual(found[-1][0] - start, WAITS_FOR + 4.0)
            served = [sum(each.serves(start + 15.0, name) for name in names) for each in left]
            self.assertEqual(sum(served), 6)
            self.assertGreater(min(served), 0)

    def test_several(self) -> None:
        """Each component has an owner of its own."""
        one, other = Process(self.store, "one", C, D), Process(self.store, "other", C, D)
        self.run_(0.0, 1.0, one)
        one.leases.remove(D)
        self.run_(1.5, 3.0, one, other)
        self.assertEqual((one.serves(4.0, C), other.serves(4.0, D)), (True, True))
        self.assertEqual(self.run_(5.0, 10.0, one, other), [])


@st.composite
def histories(draw: Any) -> Sequence[tuple[float, int, str]]:
    """Return steps of three processes: seconds that pass, the process, and its step."""
    step = st.tuples(
        st.sampled_from((0.0, 0.1, 0.5, 0.5, 1.0, 3.0)),
        st.integers(0, 2),
        st.sampled_from(("step", "step", "ask", "perform", "perform", "answer", "lose", "leave", "postpone")),
    )
    found: list[tuple[float, int, str]] = draw(st.lists(step, max_size=120))
    return found


class RandomTests(SynchronousTestCase):
    """Three processes that are halted, delayed and cut off from the database at random."""

    @steady
    @given(histories())
    def test_one(self, history: Sequence[tuple[float, int, str]]) -> None:
        """At no time two of them serve a component; afterwards one of them does."""
        store = MemoryStore(MIGRATIONS)
        processes = [Process(store, name) for name in ("a", "b", "c")]
        now = 0.0
        for passed, number, what in history:
            now += passed
            process = processes[number]
            if what in ("step", "ask", "answer"):
                getattr(process, what)(now)
            elif what in ("perform", "lose"):
                getattr(process, what)()
            elif what == "postpone":
                process.leases.postpone(C, now + 2.0)
            else:
                process.lose()
                get(store, process.own, process.leases.leave())
                process.lease[C] = process.leases.add(C)
            serving = [each.own.name for each in processes if each.serves(now)]
            self.assertLessEqual(len(serving), 1, (now, serving))
        for number in range(40):
            for process in processes:
                process.step(now + number * TICK)
            serving = [each.own.name for each in processes if each.serves(now + number * TICK)]
            self.assertLessEqual(len(serving), 1, (now, serving))
        self.assertEqual(len(serving), 1)
