"""Tests for L{gateway.stream.backoff}."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.backoff import Backoff


class BackoffTests(SynchronousTestCase):
    """L{Backoff}."""

    def test_doubles(self) -> None:
        """Each interval is twice the one before it, up to the longest."""
        backoff = Backoff(1.0, 5.0)
        self.assertEqual([backoff.next() for _ in range(5)], [1.0, 2.0, 4.0, 5.0, 5.0])

    def test_reset(self) -> None:
        """A success resets the interval to the shortest."""
        backoff = Backoff(1.0, 30.0)
        backoff.next()
        backoff.next()
        backoff.reset()
        self.assertEqual(backoff.next(), 1.0)

    def test_hopeless(self) -> None:
        """If an early attempt would fail in the same way, the longest interval comes first."""
        self.assertEqual(Backoff(1.0, 30.0).next(isHopeless=True), 30.0)

    def test_quick(self) -> None:
        """For some seconds intervals do not grow, unless another try is hopeless; a success starts them again."""
        backoff = Backoff(0.5, 8.0, quickFor=2.0)
        for _ in range(2):
            self.assertEqual([backoff.next() for _ in range(8)], [0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 2.0, 4.0])
            backoff.reset()
        self.assertEqual([backoff.next(isHopeless=True), backoff.next()], [8.0, 1.0])

    def test_random(self) -> None:
        """At most half of an interval is random."""
        intervals = [Backoff(8.0, 8.0, Random(seed)).next() for seed in range(100)]
        self.assertTrue(all(4.0 <= each < 8.0 for each in intervals))
        self.assertGreater(len(set(intervals)), 90)

    def test_forEver(self) -> None:
        """Thousands of attempts cause no error."""
        backoff = Backoff(1.0, 30.0)
        self.assertEqual([backoff.next() for _ in range(5_000)][-1], 30.0)
