"""The plan of a fault run."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.link.core import Link, LinkState, Side
from tests.link.faults import Fault, Victim, plan

VICTIMS = [Victim(Side.A, False), Victim(Side.A, True), Victim(Side.B, False)]


class PlanTests(SynchronousTestCase):
    """Plans of many seeds."""

    def test_all(self) -> None:
        """Each kind of fault comes as often as it should, each process is killed once, while a fault lasts."""
        for seed in range(50):
            rounds = plan(seed, 2, VICTIMS, 1.0, 4.0)
            self.assertEqual(Counter(each.fault for each in rounds), dict.fromkeys(Fault, 2))
            found = [each.victim for each in rounds if each.victim is not None]
            self.assertEqual(sorted(map(str, found)), sorted(map(str, VICTIMS)))
            for each in rounds:
                self.assertTrue(1.0 <= each.seconds <= (12.0 if each.fault is Fault.SLOW else 4.0), each)
                self.assertLessEqual(each.killAt, each.seconds)

    def test_seed(self) -> None:
        """A seed repeats its plan; another one has another."""
        first, second, other = (plan(seed, 3, VICTIMS, 1.0, 4.0) for seed in (7, 7, 8))
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)

    def test_end(self) -> None:
        """At the end of each fault the link is up, and has no limits."""
        for each in plan(1, 1, [], 1.0, 2.0):
            with self.subTest(fault=each.fault):
                link = Link()
                for step in each.begin:
                    link.take(step, 0.0)
                for step in each.end:
                    link.take(step, 1.0)
                self.assertIs(link.state, LinkState.UP)
                link.opened(1, 2.0)
                effects = link.received(1, Side.A, b"x" * 10_000, 2.0)
                self.assertEqual([type(effect).__name__ for effect in effects], ["Deliver"])
