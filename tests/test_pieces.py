"""Long work in pieces."""

from __future__ import annotations

from collections.abc import Generator

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.pieces import Pieces


class PiecesTests(SynchronousTestCase):
    """Each piece takes 3 ms here, and a turn has 10 ms."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pieces = Pieces(self.clock)
        self.done: list[str] = []

    def work(self, name: str, count: int = 1, cost: float = 0.003) -> Generator[None, None, str]:
        for _ in range(count):
            self.clock.rightNow += cost
            self.done.append(name)
            yield
        return name

    def turn(self) -> str:
        """Return the names of the work done in the next reactor turn."""
        self.done.clear()
        # Not Clock.advance, which would run calls that are scheduled meanwhile in the same turn.
        calls, self.clock.calls = self.clock.calls, []
        for call in calls:
            call.func(*call.args)
        return "".join(self.done)

    def test_short(self) -> None:
        """Short work is done at once."""
        self.assertEqual(self.successResultOf(self.pieces.run(self.work("a", 3))), "a")

    def test_long(self) -> None:
        """Long work takes several turns, with time for other events in between."""
        running = self.pieces.run(self.work("a", 10))
        self.assertEqual("".join(self.done), "aaaa")
        self.assertNoResult(running)
        self.assertEqual(self.turn(), "aaaa")
        self.assertEqual(self.turn(), "aa")
        self.assertEqual(self.successResultOf(running), "a")
        self.assertEqual(self.turn(), "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shared(self) -> None:
        """All work together gets the time of one turn, and each work gets its share."""
        running = [self.pieces.run(self.work(name, 6)) for name in "abcdef"]
        self.assertEqual("".join(self.done), "aaaa")
        turns = [self.turn() for _ in range(20)]
        self.assertLessEqual(max(map(len, turns)), 5)
        # 5 ms at a time.
        self.assertEqual("".join(turns)[:12], "aabbccddeeff")
        self.assertEqual(sum(map(bool, turns)), 8)
        for each in running:
            self.successResultOf(each)

    def test_manyShort(self) -> None:
        """Many short works together take no more time than one long work."""
        running = [self.pieces.run(self.work("a")) for _ in range(100)]
        self.assertEqual(len(self.done), 4)
        self.assertLessEqual(max(len(self.turn()) for _ in range(50)), 5)
        for each in running:
            self.successResultOf(each)

    def test_tiny(self) -> None:
        """A turn is used to its end, however short the pieces are."""
        running = [self.pieces.run(self.work(name, 500, 0.0001)) for name in "ab"]
        self.assertGreaterEqual(len(self.done), 99)
        turns = [self.turn() for _ in range(12)]
        self.assertGreaterEqual(min(map(len, turns[:8])), 99)
        for each in running:
            self.successResultOf(each)

    def test_fails(self) -> None:
        """An exception of the work fails its Deferred."""

        def broken() -> Generator[None, None, None]:
            yield
            raise ValueError

        self.failureResultOf(self.pieces.run(broken()), ValueError)

    def test_cancelled(self) -> None:
        """Cancelled work ends; the rest continues."""
        first: Deferred[str] = self.pieces.run(self.work("a", 10))
        second = self.pieces.run(self.work("b", 2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        for _ in range(5):
            self.assertNotIn("a", self.turn())
        self.successResultOf(second)
