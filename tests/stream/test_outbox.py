"""Stanzas sent while the link is down: in order, for a limited time, with limits."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.outbox import Outbox


class OutboxTests(SynchronousTestCase):
    """The queue without a link, with a given time."""

    def test_order(self) -> None:
        """Waiting stanzas are sent in order, once."""
        outbox = Outbox()
        for data in (b"<a/>", b"<b/>", b"<c/>"):
            self.assertTrue(outbox.put(data, 0.0))
        self.assertEqual(
            (len(outbox), b"".join(outbox.takeAll()), len(outbox), outbox.takeAll()),
            (3, b"<a/><b/><c/>", 0, []),
        )

    def test_count(self) -> None:
        """The number of waiting stanzas is limited; the first ones stay."""
        outbox = Outbox(maxCount=2)
        self.assertEqual([outbox.put(data, 0.0) for data in (b"1", b"2", b"3")], [True, True, False])
        self.assertEqual(b"".join(outbox.takeAll()), b"12")
        self.assertTrue(outbox.put(b"4", 0.0))

    def test_bytes(self) -> None:
        """Their bytes are limited; a smaller one may still fit."""
        outbox = Outbox(maxBytes=4)
        self.assertEqual(
            [outbox.put(data, 0.0) for data in (b"12", b"345", b"67", b"8")], [True, False, True, False]
        )
        self.assertEqual(b"".join(outbox.takeAll()), b"1267")

    def test_patience(self) -> None:
        """Each waits for a limited time, and frees its place afterwards."""
        outbox = Outbox(maxBytes=2, timeout=30.0)
        outbox.put(b"1", 0.0)
        outbox.put(b"2", 10.0)
        self.assertEqual((outbox.expire(29.9), outbox.put(b"3", 29.9)), (0, False))
        self.assertEqual((outbox.expire(30.0), outbox.put(b"3", 30.0)), (1, True))
        self.assertEqual(b"".join(outbox.takeAll()), b"23")
        self.assertEqual(outbox.expire(1000.0), 0)
