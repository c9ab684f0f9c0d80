"""Answers that are kept for a while."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.roster import results
from gateway.roster.results import LIFETIME, Results


class ResultsTests(SynchronousTestCase):
    """Bounds."""

    def setUp(self) -> None:
        self.now = 5.0
        self.results = Results(lambda: self.now)

    def complete(self, answer: bytes) -> str:
        key = self.results.begin(dict)
        self.results.complete(key, answer)
        return key

    def answers(self, *keys: str) -> list[bytes | None]:
        """Return the answers; C{None} for an unknown one."""
        found = [self.results.find(key) for key in keys]
        return [each and each.answer for each in found]

    def test_lifetime(self) -> None:
        """The lifetime starts at the end of a request; those under way stay."""
        running = self.results.begin(dict)
        first = self.complete(b"1")
        self.now += LIFETIME - 1
        second = self.complete(b"2")
        self.assertEqual(self.answers(first, second), [b"1", b"2"])
        self.now += 1
        self.assertEqual(self.answers(first, second), [None, b"2"])
        self.now += LIFETIME
        self.assertEqual(self.answers(second), [None])
        self.assertIsNotNone(self.results.find(running))
        self.results.complete(running, b"3")
        self.assertEqual(self.answers(running), [b"3"])

    def test_many(self) -> None:
        """Complete answers make room, the oldest first."""
        self.patch(results, "_MAX_RESULTS", 3)
        keys = [self.complete(b"%d" % number) for number in range(4)]
        self.assertEqual(self.answers(*keys), [None, b"1", b"2", b"3"])
        running = [self.results.begin(dict) for _ in range(2)]
        self.assertEqual(self.answers(*keys), [None, None, None, b"3"])
        self.assertFalse(self.results.isFull)
        running.append(self.results.begin(dict))
        self.assertTrue(self.results.isFull)
        self.assertEqual(self.answers(*keys), [None] * 4)
        self.results.complete(running[0], b"x")
        self.assertFalse(self.results.isFull)

    def test_large(self) -> None:
        """The bytes of all answers are bounded; the last answer is always kept."""
        self.patch(results, "_MAX_BYTES", 10)
        keys = [self.complete(b"1" * size) for size in (4, 6, 1)]
        self.assertEqual(self.answers(*keys), [None, b"1" * 6, b"1"])
        keys.append(self.complete(b"2" * 20))
        self.assertEqual(self.answers(*keys), [None, None, None, b"2" * 20])
        keys.append(self.complete(b"3"))
        self.assertEqual(self.answers(*keys[-2:]), [None, b"3"])
        self.assertEqual(self.results._bytes, 1)
