"""The budget of answers: the rules without a link, with a given time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.stream.budget import BURST, COPY, FREE, Budget, copiesBudget
from tests.profiles import steady
from tests.stream.memory import stanza

BAD, OTHER = "bad@evil.example", "other@example.com"


class BudgetTests(SynchronousTestCase):
    """A user over the budget is refused, for a time; others are not."""

    def setUp(self) -> None:
        self.budget = Budget()

    def spend(self, user: str = BAD, size: int = BURST, now: float = 0.0) -> None:
        self.budget.charge(user, size, now)

    def test_alone(self) -> None:
        """All resources of a user share the budget; other users have their own."""
        self.spend(f"{BAD}/a")
        self.assertTrue(self.budget.isOver(f"{BAD}/b", 0.0))
        self.assertFalse(self.budget.isOver(f"{OTHER}/a", 0.0))
        self.assertEqual(self.budget.refused, 1)

    def test_free(self) -> None:
        """Small answers are not charged, in any number, and no entry is stored for them."""
        for _ in range(10_000):
            self.assertTrue(self.budget.allows(BAD, FREE, 0.0))
        self.assertEqual(self.budget.debts, {})

    def test_large(self) -> None:
        """Ordinary answers are allowed: many joins at once, and one of the largest room every few seconds."""
        for _ in range(7):
            self.assertTrue(self.budget.allows(OTHER, 300 * 350 + 30_000, 0.0))
        for number in range(1, 100):
            self.assertTrue(self.budget.allows(OTHER, 5_000 * 430 + 256 * 1024, 2.5 * number))

    def test_many(self) -> None:
        """400 answers of 220 kB at once: the first 1 MiB of them is allowed, and in the long run 1 MiB a second."""
        allowed = [self.budget.allows(BAD, 220_000, 0.0) for _ in range(400)]
        self.assertEqual(allowed.count(True), BURST // 220_000 + 1)
        self.assertEqual(allowed, sorted(allowed, reverse=True))
        later = sum(self.budget.allows(BAD, 220_000, tenth / 10) for tenth in range(1, 1_001))
        self.assertLess(abs(later * 220_000 - 100 * 1024 * 1024), 220_000)

    def test_forgiven(self) -> None:
        """No user is refused for longer than a second, for any debt; then no entry is left."""
        self.spend(size=10 * BURST)
        self.assertTrue(self.budget.isOver(BAD, 0.9))
        self.assertFalse(self.budget.isOver(BAD, 1.1))
        self.budget.expire(1.9)
        self.assertEqual(list(self.budget.debts), [BAD])
        self.budget.expire(2.0)
        self.assertEqual(self.budget.debts, {})

    def test_clock(self) -> None:
        """A clock that is set back neither increases nor forgives a debt."""
        self.spend(now=1_000.0)
        self.assertTrue(self.budget.isOver(BAD, 10.0))
        self.assertFalse(self.budget.isOver(BAD, 1_017.0))

    def test_notForgotten(self) -> None:
        """With any number of other users, a user over the budget is not forgotten, and memory is limited."""
        self.spend()
        for number in range(20_000):
            self.spend(f"user{number}@evil.example", FREE + 1)
        self.assertTrue(self.budget.isOver(BAD, 0.0))
        self.assertEqual(len(self.budget.debts), 10_000)
        # Their debts are forgiven at once.
        self.budget.expire(0.5)
        self.spend(OTHER, now=0.5)
        self.assertEqual(sorted(self.budget.debts), [BAD, OTHER])

    def test_whatIsRefused(self) -> None:
        """Iq requests are refused; answers, joins, messages, leaves and changes of presence are not."""
        self.spend()
        join = f"<x xmlns='{ns.MUC}'/>"
        for xml, right in (
            (f"<iq type='get' id='1' from='{BAD}/a'><q xmlns='urn:q'/></iq>", True),
            (f"<iq type='set' id='1' from='{BAD}/a'><q xmlns='urn:q'/></iq>", True),
            (f"<presence from='{BAD}/a'>{join}</presence>", False),
            (f"<iq type='result' id='1' from='{BAD}/a'/>", False),
            (f"<iq type='error' id='1' from='{BAD}/a'/>", False),
            (f"<presence from='{BAD}/a'><show>away</show></presence>", False),
            (f"<presence type='unavailable' from='{BAD}/a'>{join}</presence>", False),
            (f"<presence type='error' from='{BAD}/a'>{join}</presence>", False),
            (f"<message from='{BAD}/a'><body>x</body></message>", False),
            (f"<message type='error' from='{BAD}/a'/>", False),
            (f"<iq type='get' id='1' from='{OTHER}/a'/>", False),
            ("<iq type='get' id='1'/>", False),
        ):
            self.assertEqual(self.budget.refuses(stanza(xml.encode()), 0.0), right, xml)

    def test_news(self) -> None:
        """The log names the user with the most refusals, at most once a minute, and nobody without refusals."""
        self.assertEqual(self.budget.news(0.0), "")
        self.spend()
        self.spend(OTHER)
        for user in (BAD, BAD, OTHER):
            self.budget.isOver(user, 0.0)
        self.assertEqual(
            self.budget.news(1.0), f"3 requests of 2 users were refused, over the answer budget, most of all {BAD}"
        )
        self.budget.isOver(OTHER, 0.0)
        self.assertEqual(self.budget.news(60.9), "")
        self.assertEqual(
            self.budget.news(61.0), f"1 requests of 1 users were refused, over the answer budget: {OTHER}"
        )
        self.assertEqual(self.budget.news(999.0), "")

    def test_copies(self) -> None:
        """
        Copies to many recipients: 60 short messages to 1,000 occupants at once, fewer to 5,000; in the long run
        four a second, and nearly one. A user with a longer name is another one.
        """
        for people, burst, rate in ((500, 132, 8.2), (1_000, 66, 4.1), (5_000, 14, 0.82)):
            copies, taken = copiesBudget(Budget()), []
            for tenth in range(1_000):
                while not copies.isUserOver(BAD, tenth / 10):
                    taken.append(tenth)
                    copies.chargeUser(BAD, people * COPY, tenth / 10)
            self.assertEqual(taken.count(0), burst, people)
            self.assertLess(abs(len(taken) - burst - 100 * rate), 5, people)
        self.assertFalse(copies.isUserOver(f"{BAD}/a", 99.9))
        self.assertTrue(copies.isOver(f"{BAD}/a", 99.9))
        self.assertEqual(copiesBudget(Budget(1_000)).burst, 32_000)
        self.assertIn("stanzas of 1 users were refused, over the budget of copies: bad@", copies.news(100.0))

    @steady
    @given(st.lists(st.tuples(st.integers(0, BURST // 2), st.floats(0.0, 5.0)), max_size=40))
    def test_bounded(self, answers: list[tuple[int, float]]) -> None:
        """
        In any order of requests, no user is sent more than the budget, one answer, and what has been refilled.
        """
        budget, now, sent = Budget(), 0.0, 0
        for size, seconds in answers:
            now += seconds
            if budget.allows(BAD, size, now):
                sent += size if size > FREE else 0
            self.assertLessEqual(sent, BURST + BURST // 2 + now * BURST)
