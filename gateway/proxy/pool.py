"""
The resources of the target account, and the choice of one for each request. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from hashlib import blake2b

# Missed deadlines in a row after which a resource is rested, and seconds of that rest.
_MISSES = 3
_REST = 60.0

# Resources of an account that are used; further ones get no requests.
_MAX_RESOURCES = 1_000


class Resource:
    """
    One resource that is online.

    @ivar jid: full JID.
    @ivar open: keys of its exchanges in order; the values have no meaning.
    @ivar misses: number of missed deadlines in a row.
    @ivar restsUntil: time when it may be chosen again, in seconds.
    """

    __slots__ = ("jid", "open", "misses", "restsUntil")

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.open: dict[tuple[str, str], None] = {}
        self.misses = 0
        self.restsUntil = 0.0

    def __repr__(self) -> str:
        return f"<Resource {self.jid} open={len(self.open)}>"


class Pool:
    """
    The resources of one account that may be chosen.

    @param target: the account's bare JID.
    @param pattern: the glob that a resource's name must match.
    @param balance: C{"random"}, C{"round-robin"}, C{"least-pending"} or C{"sticky"}.
    @param random: returns numbers in [0, 1).
    """

    def __init__(self, target: str, pattern: str, balance: str, random: Callable[[], float]) -> None:
        self.target = target
        self._pattern = pattern
        self._resources: dict[str, Resource] = {}
        # Resources from before the connection was lost, as long as they have open exchanges.
        self._former: dict[str, Resource] = {}
        self._fit: list[Resource] = []
        self._resting: list[Resource] = []
        self._turn = 0
        self._random = random
        self._choose = {
            "random": self._chooseRandom,
            "round-robin": self._chooseInTurn,
            "least-pending": self._chooseLeastPending,
            "sticky": self._chooseSticky,
        }[balance]

    def __len__(self) -> int:
        return len(self._resources)

    def __contains__(self, jid: str) -> bool:
        return jid in self._resources

    @property
    def load(self) -> dict[str, int]:
        """Number of open exchanges of each resource that is online, by full JID."""
        return {jid: len(resource.open) for jid, resource in self._resources.items()}

    def available(self, jid: str) -> bool:
        """
        Add a resource that is online.

        @return: true if it is new.
        """
        name = jid.partition("/")[2]
        if jid in self._resources or not name or not fnmatchcase(name, self._pattern):
            return False
        if len(self._resources) >= _MAX_RESOURCES:
            return False
        resource = self._resources[jid] = self._former.pop(jid) if jid in self._former else Resource(jid)
        resource.misses = 0
        resource.restsUntil = 0.0
        self._fit.append(resource)
        return True

    def unavailable(self, jid: str) -> Resource | None:
        """Remove a resource that is offline, and return it; C{None} if it was unknown."""
        resource = self._resources.pop(jid, None)
        if resource is None:
            resource = self._former.pop(jid, None)
        else:
            (self._fit if resource in self._fit else self._resting).remove(resource)
        return resource

    def clear(self) -> None:
        """Forget the online resources."""
        known = [*self._former.values(), *self._resources.values()]
        self._former = {resource.jid: resource for resource in known if resource.open}
        self._resources.clear()
        self._fit.clear()
        self._resting.clear()

    def former(self, jid: str) -> Resource:
        """Return a resource that has exchanges from before this connection, or of another gateway."""
        return self._resources.get(jid) or self._former.setdefault(jid, Resource(jid))

    def all(self) -> list[Resource]:
        """Return all resources that are online, also rested ones."""
        return list(self._resources.values())

    def choose(self, requester: str, now: float) -> Resource | None:
        """
        Choose the resource for a request of C{requester}: one that is not rested; any, if all of them are.
        """
        if self._resting:
            self._wake(now)
        able = self._fit or self._resting
        if len(able) > 1:
            return self._choose(requester, able)
        return able[0] if able else None

    def missed(self, resource: Resource, now: float) -> bool:
        """
        Count a missed deadline of a resource.

        @return: true if it is rested for that.
        """
        resource.misses += 1
        if resource.misses < _MISSES or resource not in self._fit:
            return False
        resource.restsUntil = now + _REST
        self._fit.remove(resource)
        self._resting.append(resource)
        return True

    def answered(self, resource: Resource) -> None:
        """Note an answer: the resource works."""
        resource.misses = 0
        if resource.restsUntil and resource in self._resting:
            self._resting.remove(resource)
            self._fit.append(resource)
        resource.restsUntil = 0.0

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0].restsUntil <= now:
            resource = self._resting.pop(0)
            # One more missed deadline, and it is rested again.
            resource.misses = _MISSES - 1
            resource.restsUntil = 0.0
            self._fit.append(resource)

    def _chooseRandom(self, requester: str, able: list[Resource]) -> Resource:
        return able[int(self._random() * len(able))]

    def _chooseInTurn(self, requester: str, able: list[Resource]) -> Resource:
        self._turn = turn = (self._turn + 1) % len(able)
        return able[turn]

    def _chooseLeastPending(self, requester: str, able: list[Resource]) -> Resource:
        return min(able, key=_openExchanges)

    def _chooseSticky(self, requester: str, able: list[Resource]) -> Resource:
        # Rendezvous hashing: when a resource comes or goes, only its own requesters move.
        return max(able, key=lambda resource: _weight(requester, resource.jid))


def _openExchanges(resource: Resource) -> int:
    return len(resource.open)


def _weight(requester: str, jid: str) -> bytes:
    return blake2b(f"{requester}\0{jid}".encode(), digest_size=8).digest()
