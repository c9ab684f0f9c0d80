"""Stanzas sent while the link is down: in order, for a while, within bounds."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.outbox import Outbox


class OutboxTests(SynchronousTestCase):
    """The queue alone, told the time."""

    def test_order(self) -> None:
        """Waiting stanzas come out in order, once."""
        outbox = Outbox()
        for data in (b"<a/>", b"<b/>", b"<c/>"):
            self.assertTrue(outbox.put(data, 0.0))
        self.assertEqual(
            (len(outbox), outbox.takeAll(), len(outbox), outbox.takeAll()), (3, b"<a/><b/><c/>", 0, b"")
        )

    def test_count(self) -> None:
        """No more than so many wait; the first stay."""
        outbox = Outbox(maxCount=2)
        self.assertEqual([outbox.put(data, 0.0) for data in (b"1", b"2", b"3")], [True, True, False])
        self.assertEqual(outbox.takeAll(), b"12")
        self.assertTrue(outbox.put(b"4", 0.0))

    def test_bytes(self) -> None:
        """No more than so many bytes wait; one that is smaller may still fit."""
        outbox = Outbox(maxBytes=4)
        self.assertEqual(
            [outbox.put(data, 0.0) for data in (b"12", b"345", b"67", b"8")], [True, False, True, False]
        )
        self.assertEqual(outbox.takeAll(), b"1267")

    def test_patience(self) -> None:
        """Each waits for so long and no longer, and makes room when it goes."""
        outbox = Outbox(maxBytes=2, patience=30.0)
        outbox.put(b"1", 0.0)
        outbox.put(b"2", 10.0)
        self.assertEqual((outbox.expire(29.9), outbox.put(b"3", 29.9)), (0, False))
        self.assertEqual((outbox.expire(30.0), outbox.put(b"3", 30.0)), (1, True))
        self.assertEqual(outbox.takeAll(), b"23")
        self.assertEqual(outbox.expire(1000.0), 0)
