"""
Fair shares of a table that all users fill: each user may take a part of it; pure.
"""

from __future__ import annotations

from gateway.addresses import jids

# A user may take 1/_PART of the free places, and all users of a domain together as many as are free. So one user
# alone gets a fifth of the table, and one domain half of it, however many accounts it has.
_PART = 4

# Bytes of a request for each place that it takes.
UNIT = 8 * 1024

# Users without open requests that are kept: that is faster than a new entry for each request.
_MAX_IDLE = 4_096


def places(size: int) -> int:
    """Return the number of places that a request of so many bytes takes."""
    return 1 + size // UNIT


class _Domain:
    """
    @ivar taken: places that its users have.
    """

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0


class Share:
    """
    The part of one user.

    @ivar taken: places.
    @ivar isForgotten: true if the user may have another share by now; never while something is taken.
    """

    __slots__ = ("_shares", "_domain", "taken", "isForgotten")

    def __init__(self, shares: Shares, domain: _Domain) -> None:
        self._shares = shares
        self._domain = domain
        self.taken = 0
        self.isForgotten = False

    def take(self, count: int = 1) -> bool:
        """Take places and return true; return false if the user or the domain has too many."""
        # Called for each request that is relayed.
        shares, domain = self._shares, self._domain
        left = shares.bound - shares.taken
        if self.taken * _PART >= left or domain.taken >= left:
            return False
        self.taken += count
        domain.taken += count
        shares.taken += count
        return True

    def keep(self, count: int) -> None:
        """Take places that the user had before a restart, without a limit."""
        self.taken += count
        self._domain.taken += count
        self._shares.taken += count

    def giveBack(self, count: int = 1) -> None:
        self.taken -= count
        self._domain.taken -= count
        self._shares.taken -= count


class Shares:
    """
    The places of one table, and the share of each user. A user is a bare JID.

    @ivar bound: number of places. A request that takes several places may exceed it slightly.
    @ivar taken: number of places that are taken.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.taken = 0
        self._users: dict[str, Share] = {}
        self._domains: dict[str, _Domain] = {}
        self._sweepAt = _MAX_IDLE

    def __len__(self) -> int:
        """Return the number of users that are kept."""
        return len(self._users)

    def of(self, requester: str) -> Share:
        """
        Find a user's share.

        @param requester: any address of the user.
        """
        user = jids.bare(requester)
        share = self._users.get(user)
        if share is None:
            if len(self._users) >= self._sweepAt:
                self._sweep()
            name = jids.split(user)[1]
            domain = self._domains.get(name)
            if domain is None:
                domain = self._domains[name] = _Domain()
            share = self._users[user] = Share(self, domain)
        return share

    def _sweep(self) -> None:
        """Forget users without open requests."""
        for user in [user for user, share in self._users.items() if not share.taken]:
            self._users.pop(user).isForgotten = True
        self._domains = {name: domain for name, domain in self._domains.items() if domain.taken}
        self._sweepAt = len(self._users) + _MAX_IDLE
