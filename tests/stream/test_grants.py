"""Grants that a server should have sent before a deadline."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.grants import TIMEOUT, GrantWatch


class GrantWatchTests(SynchronousTestCase):
    """Missing grants are logged once in each connection."""

    def setUp(self) -> None:
        self.missing = ["a", "b"]
        self.logged: list[str] = []
        self.watch = GrantWatch(lambda: iter(self.missing), self.logged.append)

    def test_once(self) -> None:
        """Nothing is missing before the deadline. Then each line is logged once."""
        self.watch.connected(10.0)
        self.watch.tick(10.0 + TIMEOUT - 0.1)
        self.assertEqual((self.logged, self.watch.isOver), ([], False))
        self.watch.tick(10.0 + TIMEOUT)
        self.watch.tick(99.0)
        self.assertEqual((self.logged, self.watch.isOver), (["a", "b"], True))

    def test_connections(self) -> None:
        """A lost connection ends the watch, and the next one starts it again."""
        self.watch.connected(0.0)
        self.watch.disconnected()
        self.watch.tick(99.0)
        self.assertEqual((self.logged, self.watch.isOver), ([], False))
        self.watch.connected(100.0)
        self.watch.tick(100.0 + TIMEOUT)
        self.assertEqual(self.logged, ["a", "b"])
        self.watch.disconnected()
        self.assertFalse(self.watch.isOver)
        self.watch.connected(200.0)
        self.assertFalse(self.watch.isOver)
        self.watch.tick(200.0 + TIMEOUT)
        self.assertEqual(self.logged, ["a", "b", "a", "b"])

    def test_never(self) -> None:
        """Without a connection there is nothing to log."""
        self.watch.tick(99.0)
        self.assertEqual((self.logged, self.watch.isOver), ([], False))
