"""
How much of a table that is for everybody one user may fill; pure.
"""

from __future__ import annotations

from gateway import jids

# One user may have as much as this part of what is left, and all users of one domain together as much as is left.
# So one user alone gets a fifth of the table, and one domain half of it, be it of a thousand accounts.
_PART = 4

# Bytes that a request may have for each place that it takes.
UNIT = 8 * 1024


def places(size: int) -> int:
    """How many places a request of so many bytes takes."""
    return 1 + size // UNIT


class Share:
    """
    What one user has.

    @ivar taken: places.
    """

    __slots__ = ("_shares", "_user", "_domain", "taken")

    def __init__(self, shares: Shares, user: str) -> None:
        self._shares = shares
        self._user = user
        self._domain = jids.split(user)[1]
        self.taken = 0

    def take(self, count: int = 1) -> bool:
        """Take places, unless the user or the domain has enough of them; return whether they were taken."""
        shares = self._shares
        left = shares.bound - shares.taken
        if self.taken * _PART >= left or shares.domains.get(self._domain, 0) >= left:
            return False
        self.keep(count)
        return True

    def keep(self, count: int) -> None:
        """Take places that the user has had before, however many."""
        shares, domain = self._shares, self._domain
        if not self.taken:
            shares.users[self._user] = self
        self.taken += count
        shares.domains[domain] = shares.domains.get(domain, 0) + count
        shares.taken += count

    def giveBack(self, count: int = 1) -> None:
        shares, domain = self._shares, self._domain
        self.taken -= count
        if not self.taken:
            del shares.users[self._user]
        left = shares.domains[domain] - count
        if left:
            shares.domains[domain] = left
        else:
            del shares.domains[domain]
        shares.taken -= count


class Shares:
    """
    The places of one table, and what each user has of them. A user is a bare JID.

    @ivar bound: how many places there are. A request that takes several may go a little beyond.
    @ivar taken: how many are taken.
    @ivar users: the shares of those who have any; C{domains}: how many all of a domain's users have.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.taken = 0
        self.users: dict[str, Share] = {}
        self.domains: dict[str, int] = {}

    def of(self, requester: str) -> Share:
        """
        Find a user's share. One that is empty is worth keeping only if nobody else asks for it meanwhile.

        @param requester: any address of the user.
        """
        user = jids.bare(requester)
        return self.users.get(user) or Share(self, user)
