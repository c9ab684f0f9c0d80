"""Waiting output, compared with a string of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.outflow import Copies, Outflow
from tests.profiles import steady

PIECES = st.binary(max_size=30)
COPIES = st.builds(Copies, PIECES, st.lists(PIECES, min_size=1, max_size=20), PIECES)
STEPS = st.lists(st.one_of(PIECES, COPIES, st.integers(1, 100)), max_size=40)


def written(copies: Copies) -> bytes:
    """Return the same output without a queue."""
    return b"".join(copies.before + recipient + copies.after for recipient in copies.recipients)


class OutflowTests(SynchronousTestCase):
    """The queue."""

    @given(STEPS)
    @steady
    def test_same(self, steps: list[bytes | Copies | int]) -> None:
        """
        The output has the same bytes in order; the size is that of the waiting part; no piece is much too large.
        """
        output, put, taken = Outflow(), b"", b""
        for step in [*steps, 10_000]:
            if isinstance(step, bytes):
                output.put(step)
                put += step
            elif isinstance(step, Copies):
                output.putCopies(step)
                put += written(step)
            else:
                piece = output.take(step)
                self.assertLessEqual(len(piece), step + 3 * 30)
                self.assertTrue(piece or not output.size)
                taken += piece
            self.assertEqual(output.size, len(put) - len(taken))
            self.assertEqual(put[: len(taken)], taken)
            self.assertGreaterEqual(output.memory, 0)
        self.assertEqual((taken, output.size, output.memory), (put, 0, 0))

    @given(COPIES)
    @steady
    def test_copies(self, copies: Copies) -> None:
        """Copies know their size, and that of the largest copy."""
        self.assertEqual((copies.written(), copies.size), (written(copies), len(written(copies))))
        around = len(copies.before + copies.after)
        self.assertEqual(copies.largest, max(around + len(recipient) for recipient in copies.recipients))

    def test_memory(self) -> None:
        """A stanza to a thousand recipients is held once, until the last copy is sent."""
        output = Outflow()
        output.putCopies(Copies(b"<", [b"recipient"] * 1_000, b">" + b"x" * 100_000))
        self.assertGreater(output.size, 100_000_000)
        while output.size:
            self.assertLess(output.memory, 110_000)
            self.assertLess(len(output.take(250_000)), 350_000)
        self.assertEqual(output.memory, 0)

    def test_clear(self) -> None:
        """After a clear nothing is left, even in the middle of copies."""
        output = Outflow()
        output.putCopies(Copies(b"a", [b"1", b"2", b"3"], b"b"))
        output.take(1)
        output.clear()
        self.assertEqual((output.size, output.memory, output.take(10)), (0, 0, b""))
        output.putCopies(Copies(b"a", [b"1", b"2"], b"b"))
        self.assertEqual(output.take(10), b"a1ba2b")
