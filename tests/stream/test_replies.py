"""
The table of incoming requests: each may be answered once.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.replies import Replies
from tests.profiles import steady

A, B = ("alice@example.com/r", "1", "gw"), ("bob@example.com/r", "1", "gw")


class RepliesTests(SynchronousTestCase):
    """The table without a link, with a given time."""

    def test_once(self) -> None:
        """A request accepts one answer; two peers with the same id are two requests."""
        replies = Replies()
        self.assertTrue(replies.opened(A, 0.0) and replies.opened(B, 0.0))
        self.assertEqual([replies.closed(key) for key in (A, A, B, B)], [True, False, True, False])
        self.assertEqual(len(replies), 0)

    def test_sameAgain(self) -> None:
        """The same request twice accepts two answers."""
        replies = Replies()
        replies.opened(A, 0.0)
        replies.opened(A, 1.0)
        self.assertEqual([replies.closed(A) for _ in range(3)], [True, True, False])

    def test_abandon(self) -> None:
        """All requests are closed at once; each gets an answer of its own, also those with the same id."""
        replies = Replies()
        for key in (A, B, A):
            replies.opened(key, 0.0)
        self.assertEqual(sorted(replies.abandon()), [A, A, B])
        self.assertEqual((len(replies), replies.closed(A), replies.abandon()), (0, False, []))

    def test_bound(self) -> None:
        """Over the limit a request is refused, and nothing of it is stored."""
        replies = Replies(bound=1)
        self.assertEqual((replies.opened(A, 0.0), replies.opened(B, 0.0)), (True, False))
        self.assertEqual((replies.isOpen(B), replies.closed(B), len(replies)), (False, False, 1))

    def test_expire(self) -> None:
        """Overdue requests are closed and returned once each; others stay."""
        replies = Replies(timeout=25.0)
        replies.opened(A, 0.0)
        replies.opened(A, 1.0)
        replies.opened(A, 10.0)
        replies.opened(B, 10.0)
        self.assertEqual((replies.expire(24.9), replies.expire(26.0)), ([], [A, A]))
        self.assertEqual((len(replies), replies.isOpen(A), replies.isOpen(B)), (2, True, True))
        self.assertEqual(sorted(replies.expire(35.0)), [A, B])
        self.assertEqual((len(replies), replies.expire(99.0)), (0, []))

    @steady
    @given(st.lists(st.tuples(st.sampled_from("oca"), st.sampled_from([A, B]), st.integers(0, 5))))
    def test_books(self, steps: list[tuple[str, tuple[str, str, str], int]]) -> None:
        """In any order of operations: as many answers and timeouts as requests, and none open at the end."""
        replies, now, opened, ended = Replies(bound=5, timeout=3.0), 0.0, 0, 0
        for step, key, seconds in steps:
            if step == "o":
                opened += replies.opened(key, now)
            elif step == "c":
                ended += replies.closed(key)
            else:
                now += seconds
                ended += len(replies.expire(now))
            self.assertEqual(len(replies), opened - ended)
        self.assertEqual(len(replies.expire(now + 10)), opened - ended)
