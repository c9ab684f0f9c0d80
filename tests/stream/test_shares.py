"""The part of a shared table that one user may fill."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.shares import UNIT, Share, Shares, places


class SharesTests(SynchronousTestCase):
    """Quotas of users and domains."""

    def fill(self, shares: Shares, user: str) -> Share:
        """Fill the table as far as a user can."""
        share = shares.of(user)
        while share.take():
            pass
        return share

    def test_alone(self) -> None:
        """One user gets a fifth, with any resources, and another one is not affected."""
        shares = Shares(10_000)
        juliet = self.fill(shares, "juliet@capulet.lit/balcony")
        self.assertEqual(juliet.taken, 2_000)
        self.assertIs(shares.of("juliet@capulet.lit/chamber"), juliet)
        self.assertTrue(shares.of("romeo@montague.lit/orchard").take())
        juliet.giveBack(10)
        self.assertTrue(juliet.take())

    def test_domain(self) -> None:
        """A thousand accounts of one domain get half; others get in, and have their fair share of the rest."""
        shares = Shares(10_000)
        crowd = [self.fill(shares, f"user{number}@evil.example") for number in range(1_000)]
        self.assertEqual(sum(each.taken for each in crowd), 5_000)
        self.assertEqual(self.fill(shares, "romeo@montague.lit").taken, 1_000)
        self.assertEqual(shares.taken, 6_000)

    def test_turns(self) -> None:
        """
        With any number of greedy users: once their first requests have ended, there is room for those with few.
        """
        shares = Shares(10_000)
        crowd = [shares.of(f"user@{number}.evil.example") for number in range(1_000)]
        for _ in range(20):
            for share in crowd:
                while share.take():
                    pass
            for share in crowd:
                if share.taken:
                    share.giveBack(1 + share.taken // 4)
        self.assertGreater(shares.bound - shares.taken, 25)

    def test_one(self) -> None:
        """One user can fill the smallest table, and no more."""
        shares = Shares(1)
        kept = [self.fill(shares, each) for each in ("juliet@capulet.lit", "romeo@montague.lit")]
        self.assertEqual([each.taken for each in kept], [1, 0])

    def test_size(self) -> None:
        """A large request counts for several."""
        self.assertEqual([places(each) for each in (0, UNIT - 1, UNIT, 10 * UNIT)], [1, 1, 2, 11])

    def test_forgotten(self) -> None:
        """Users without requests are forgotten when there are many of them; others are not."""
        shares = Shares(1_000_000)
        share, idle = shares.of("juliet@capulet.lit"), shares.of("romeo@montague.lit")
        share.take(4)
        for number in range(20_000):
            other = shares.of(f"user@{number}.example")
            other.take()
            other.giveBack()
            self.assertLess(len(shares), 5_000)
        self.assertIs(shares.of("juliet@capulet.lit/balcony"), share)
        self.assertEqual((share.isForgotten, idle.isForgotten, shares.taken), (False, True, 4))
        self.assertLess(len(shares._domains), 5_000)

    def test_manyAtOnce(self) -> None:
        """The same is fast if many users have requests."""
        shares = Shares(1_000_000)
        sweeps: list[int] = []
        self.patch(shares, "_sweep", lambda: (sweeps.append(len(shares)), Shares._sweep(shares)))
        for number in range(50_000):
            shares.of(f"user@{number}.example").take()
        self.assertEqual(len(shares), 50_000)
        self.assertLess(len(sweeps), 13)

    def test_kept(self) -> None:
        """Places that a user had before belong to the user, in any number, and are counted."""
        shares = Shares(10)
        share = shares.of("juliet@capulet.lit")
        share.keep(9)
        self.assertFalse(share.take())
        self.assertEqual(shares.taken, 9)
