"""Selection of the resource that gets a request."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway.proxy.pool import Pool, Resource

TARGET = "implementation@example.com"
BALANCES = ("random", "round-robin", "least-pending", "sticky")
# Missed deadlines in a row until a resource is rested, seconds of the rest, and maximum number of resources.
MISSES, REST, MAX_COUNT = 3, 60.0, 1_000


def makePool(balance: str = "round-robin", names: str = "abc", pattern: str = "*") -> Pool:
    """Return a pool with a resource for each letter."""
    pool = Pool(TARGET, pattern, balance, Random(1).random)
    for name in names:
        pool.available(f"{TARGET}/{name}")
    return pool


class BalanceTests(SynchronousTestCase):
    """Each balance, with three resources."""

    def counts(self, pool: Pool, requests: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for number in range(requests):
            found[self.chosen(pool, f"user{number}@example.com/r")] += 1
        return found

    def chosen(self, pool: Pool, requester: str = "user@example.com/r", now: float = 0.0) -> str:
        resource = pool.choose(requester, now)
        assert resource is not None
        return resource.jid[-1]

    def test_random(self) -> None:
        """Random: about the same number for each."""
        found = self.counts(makePool("random"), 3_000)
        self.assertEqual(set(found), set("abc"))
        for count in found.values():
            self.assertTrue(850 < count < 1_150, found)

    def test_roundRobin(self) -> None:
        """Round-robin: each in turn."""
        self.assertEqual(self.counts(makePool("round-robin"), 300), Counter(a=100, b=100, c=100))

    def test_leastPending(self) -> None:
        """Least-pending: the one with the fewest open exchanges."""
        pool = makePool("least-pending")
        a, b, c = pool.all()
        a.open, b.open, c.open = (dict.fromkeys(("x", str(n)) for n in range(m)) for m in (3, 1, 2))
        self.assertEqual(self.chosen(pool), "b")
        b.open = {**a.open, ("x", "more"): None}
        self.assertEqual(self.chosen(pool), "c")

    def test_sticky(self) -> None:
        """Sticky: a requester always has the same resource, and requesters are distributed."""
        pool = makePool("sticky")
        for number in range(20):
            requester = f"user{number}@example.com/r"
            self.assertEqual(len({self.chosen(pool, requester) for _ in range(5)}), 1)
        for count in self.counts(pool, 3_000).values():
            self.assertTrue(800 < count < 1_200)

    def test_stickyStays(self) -> None:
        """If a resource comes or goes, only requesters of that resource move."""
        pool = makePool("sticky")
        requesters = [f"user{number}@example.com/r" for number in range(200)]
        before = {requester: self.chosen(pool, requester) for requester in requesters}
        pool.available(f"{TARGET}/d")
        with4 = {requester: self.chosen(pool, requester) for requester in requesters}
        moved = {with4[requester] for requester in requesters if with4[requester] != before[requester]}
        self.assertEqual(moved, {"d"})
        pool.unavailable(f"{TARGET}/d")
        self.assertEqual({requester: self.chosen(pool, requester) for requester in requesters}, before)
        pool.unavailable(f"{TARGET}/a")
        for requester in requesters:
            if before[requester] != "a":
                self.assertEqual(self.chosen(pool, requester), before[requester])

    def test_everyBalanceFollows(self) -> None:
        """
        With one resource each balance selects it; with none, nothing; one that has left is not selected again.
        """
        for balance in BALANCES:
            pool = makePool(balance, "a")
            self.assertEqual(self.chosen(pool), "a")
            pool.available(f"{TARGET}/b")
            pool.unavailable(f"{TARGET}/a")
            self.assertEqual(self.counts(pool, 10), Counter(b=10))
            pool.unavailable(f"{TARGET}/b")
            self.assertIsNone(pool.choose("user@example.com/r", 0.0))
            self.assertEqual(len(pool), 0)


class MembersTests(SynchronousTestCase):
    """The members of the pool."""

    def test_glob(self) -> None:
        """Only resources that match the pattern are selected."""
        pool = makePool(pattern="service-*", names="")
        news = [pool.available(f"{TARGET}/{name}") for name in ("phone", "service-1", "Service-2", "service-1/x")]
        self.assertEqual(news, [False, True, False, True])
        self.assertIn(f"{TARGET}/service-1", pool)
        self.assertNotIn(f"{TARGET}/phone", pool)

    def test_known(self) -> None:
        """A known resource is not reported as new, and presence of the bare account is ignored."""
        pool = makePool(names="a")
        self.assertFalse(pool.available(f"{TARGET}/a"))
        self.assertFalse(pool.available(TARGET))
        self.assertFalse(pool.available(TARGET + "/"))
        self.assertEqual(len(pool), 1)

    def test_unknown(self) -> None:
        """Unavailable presence of an unknown resource is ignored."""
        pool = makePool(names="a")
        self.assertIsNone(pool.unavailable(f"{TARGET}/b"))
        self.assertEqual(len(pool), 1)

    def test_bounded(self) -> None:
        """Of an account with very many resources some are not selected until others leave."""
        pool = makePool(names="")
        self.assertEqual(sum(pool.available(f"{TARGET}/{number}") for number in range(MAX_COUNT + 5)), MAX_COUNT)
        self.assertFalse(pool.available(f"{TARGET}/{MAX_COUNT}"))
        pool.unavailable(f"{TARGET}/0")
        self.assertTrue(pool.available(f"{TARGET}/{MAX_COUNT}"))

    def test_clear(self) -> None:
        """After a lost connection no resource is known, rested or not."""
        pool = makePool(names="ab")
        for _ in range(MISSES):
            pool.missed(pool.all()[0], 0.0)
        pool.clear()
        self.assertEqual(pool.all(), [])
        self.assertIsNone(pool.choose("user@example.com/r", REST))


class WatchedList(list[Resource]):
    """A list that counts the removals."""

    moves = 0

    def pop(self, *arguments: Any) -> Resource:
        self.moves += 1
        return super().pop(*arguments)


class RestTests(SynchronousTestCase):
    """A resource that misses several deadlines is rested."""

    def rest(self, pool: Pool, resource: Resource, now: float) -> list[bool]:
        return [pool.missed(resource, now) for _ in range(MISSES)]

    def chosen(self, pool: Pool, now: float) -> set[str]:
        found = [pool.choose("user@example.com/r", now) for _ in range(10)]
        return {resource.jid[-1] for resource in found if resource is not None}

    def test_rests(self) -> None:
        """After several misses in a row it is reported once and not selected for a while, and then again."""
        pool = makePool(names="ab")
        a = pool.all()[0]
        self.assertEqual(self.rest(pool, a, 10.0), [False] * (MISSES - 1) + [True])
        self.assertFalse(pool.missed(a, 10.0))
        self.assertEqual(self.chosen(pool, 10.0 + REST - 1), {"b"})
        self.assertEqual(self.chosen(pool, 10.0 + REST), {"a", "b"})
        self.assertEqual(len(pool), 2)

    def test_inARow(self) -> None:
        """An answer in between resets the count of misses."""
        pool = makePool(names="ab")
        a = pool.all()[0]
        for _ in range(MISSES * 2):
            self.assertFalse(pool.missed(a, 0.0))
            pool.answered(a)
        self.assertEqual(self.chosen(pool, 0.0), {"a", "b"})

    def test_onceMore(self) -> None:
        """After its rest, one more miss rests it again."""
        pool = makePool(names="ab")
        a = pool.all()[0]
        self.rest(pool, a, 0.0)
        self.chosen(pool, REST)
        self.assertTrue(pool.missed(a, REST))
        self.assertEqual(self.chosen(pool, REST), {"b"})

    def test_answerEndsRest(self) -> None:
        """A late answer ends the rest."""
        pool = makePool(names="ab")
        a = pool.all()[0]
        self.rest(pool, a, 0.0)
        pool.answered(a)
        self.assertEqual(self.chosen(pool, 1.0), {"a", "b"})
        self.assertEqual(self.rest(pool, a, 2.0)[-1], True)

    def test_allRest(self) -> None:
        """If all are rested, all are selected, so that one that works again is found."""
        for balance in BALANCES:
            pool = makePool(balance, "ab")
            a, b = pool.all()
            self.rest(pool, b, 0.0)
            self.rest(pool, a, 5.0)
            found = Counter[str]()
            for number in range(400):
                resource = pool.choose(f"user{number}@example.com/r", 10.0)
                assert resource is not None
                resource.open["x", str(number)] = None
                found[resource.jid[-1]] += 1
            self.assertEqual(found.total(), 400)
            self.assertTrue(150 < found["a"] < 250, found)
            pool.answered(a)
            self.assertEqual(self.chosen(pool, 10.0), {"a"})

    def test_restIsCheap(self) -> None:
        """Rested resources are examined only when the first rest may end; they end in their order."""
        pool = makePool(names="abc")
        a, b, _ = pool.all()
        self.rest(pool, b, 0.0)
        self.rest(pool, a, 5.0)
        resting = pool._resting = WatchedList(pool._resting)
        self.assertEqual(self.chosen(pool, REST - 1), {"c"})
        self.assertEqual((resting, resting.moves), ([b, a], 0))
        self.assertEqual(self.chosen(pool, REST), {"b", "c"})
        self.assertEqual((resting, resting.moves), ([a], 1))

    def test_restedLeaves(self) -> None:
        """A rested resource that goes offline is removed, and starts anew when it returns."""
        pool = makePool(names="ab")
        a = pool.all()[0]
        self.rest(pool, a, 0.0)
        self.assertIs(pool.unavailable(a.jid), a)
        self.assertEqual(self.chosen(pool, 2 * REST), {"b"})
        pool.available(a.jid)
        self.assertEqual(self.chosen(pool, 1.0), {"a", "b"})

    def test_gone(self) -> None:
        """Reports about a resource that has left are ignored."""
        pool = makePool(names="ab")
        a = pool.all()[0]
        pool.unavailable(a.jid)
        self.assertEqual(self.rest(pool, a, 0.0), [False] * MISSES)
        pool.answered(a)
        self.assertEqual(self.chosen(pool, 2 * REST), {"b"})
