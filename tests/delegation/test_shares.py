"""What one user may take of what is for everybody."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.delegation.shares import PART, Shares
from gateway.errors import TooManyPending


class SharesTests(SynchronousTestCase):
    """Everybody has their own."""

    def test_size(self) -> None:
        """A large request counts for several; what is given back is there again, and nothing is kept of it."""
        shares = Shares(3)
        shares.take("juliet@capulet.lit/balcony", 2 * PART)
        self.assertRaises(TooManyPending, shares.take, "juliet@capulet.lit/chamber", 1)
        shares.take("romeo@capulet.lit/orchard", 1)
        shares.giveBack("juliet@capulet.lit/chamber", 2 * PART)
        for _ in range(3):
            shares.take("juliet@capulet.lit/chamber", PART - 1)
        self.assertRaises(TooManyPending, shares.take, "juliet@capulet.lit", 1)
        for _ in range(3):
            shares.giveBack("juliet@capulet.lit", PART - 1)
        shares.giveBack("romeo@capulet.lit/orchard", 1)
        self.assertEqual(shares._taken, {})
