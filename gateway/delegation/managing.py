"""
Tables of a managing entity: grants, pending requests, and the queues of users; pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from attrs import define, field, frozen

from gateway.delegation.core import Request
from gateway.delegation.delegations import Delegation
from gateway.delegation.nesting import Grant
from gateway.errors import AlreadyOpen, TooManyPending
from gateway.interfaces import IDelegatedNamespace
from gateway.stream.pending import PendingTable
from gateway.stream.shares import Share, Shares, places

T = TypeVar("T")

# Requests of one user that handlers work on at a time.
_MAX_AT_WORK = 16

# Users who have delegated something in client mode.
_MAX_USERS = 10_000


@frozen
class Route:
    """
    The handler and the delegation of a namespace. With both, requests that the delegation covers are forwarded.

    @ivar handler: answers requests in this process.
    @ivar delegation: the managing entities that requests are forwarded to.
    """

    handler: IDelegatedNamespace | None
    delegation: Delegation | None = None

    @property
    def filtering(self) -> frozenset[str]:
        """Attributes that the server should filter by: requests without them cannot be answered here."""
        return frozenset() if self.handler or self.delegation is None else self.delegation.filtering


class Grants:
    """
    Delegations that were advertised by servers, and in client mode for single users. They end with the connection.
    """

    def __init__(self) -> None:
        self._servers: dict[str, dict[str, Grant]] = {}
        self._users: dict[str, dict[str, Grant]] = {}

    def onServerAdvertisement(self, server: str, grants: Iterable[Grant]) -> list[Grant]:
        """
        Add grants that a server has advertised for all of its users. It may send them one by one.

        @return: grants that are new or changed.
        """
        known = self._servers.setdefault(server, {})
        news = [grant for grant in grants if known.get(grant.namespace) != grant]
        known.update((grant.namespace, grant) for grant in news)
        return news

    def onUserAdvertisement(self, user: str, grants: Iterable[Grant]) -> None:
        """Replace the grants of one user (section 5.1)."""
        granted = {grant.namespace: grant for grant in grants}
        if not granted:
            self._users.pop(user, None)
        elif user in self._users or len(self._users) < _MAX_USERS:
            self._users[user] = granted

    def clear(self) -> None:
        self._servers.clear()
        self._users.clear()

    def get(self, server: str, namespace: str) -> Grant | None:
        """Return the grant of a server for all of its users."""
        return self._servers.get(server, {}).get(namespace)

    @property
    def userCount(self) -> int:
        """Number of users who delegate something in client mode."""
        return len(self._users)

    def grantedBy(self, user: str, namespace: str) -> bool:
        """Return true if a user has granted a namespace."""
        return namespace in self._users.get(user, {})


@define(eq=False)
class PendingRequest:
    """
    A request that was forwarded to the managing entity and has no answer yet.

    @ivar since: seconds on the clock when it arrived.
    @ivar share: the requester's share, of which it takes C{places}; C{None} if it is answered at once.
    """

    version: str
    server: str
    id: str
    request: Request
    deadline: float
    share: Share | None = None
    places: int = 0
    since: float = 0.0

    def release(self) -> None:
        """Give the requester's places back."""
        if self.share is not None:
            self.share.giveBack(self.places)


class PendingRequests:
    """
    The forwarded requests without an answer, by server and outer id; bounded.

    @param timeout: seconds for the answer, less than any server waits.
    @ivar shares: the places that each requester has taken; a large request takes several.
    """

    def __init__(self, bound: int = 10_000, timeout: float = 25.0) -> None:
        self._timeout = timeout
        self.shares = Shares(bound)
        self._open: PendingTable[tuple[str, str], PendingRequest] = PendingTable(bound)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, version: str, server: str, identifier: str, request: Request, now: float) -> PendingRequest:
        """
        Add a request.

        @raise AlreadyOpen: if the server uses an id twice.
        @raise TooManyPending: if there is no place, or none for this requester.
        """
        key = (server, identifier)
        share = self.shares.of(request.requester)
        size = places(len(request.xml))
        if not share.take(size):
            raise AlreadyOpen if key in self._open else TooManyPending
        pending = PendingRequest(version, server, identifier, request, now + self._timeout, share, size, now)
        try:
            self._open.add(key, pending)
        except AlreadyOpen:
            share.giveBack(size)
            raise
        return pending

    def isOpen(self, pending: PendingRequest) -> bool:
        return self._open.get((pending.server, pending.id)) is pending

    def close(self, pending: PendingRequest) -> bool:
        """Close a request. Return true if its answer may be sent: it is the first one, and in time."""
        key = (pending.server, pending.id)
        if self._open.get(key) is not pending:
            return False
        del self._open[key]
        pending.release()
        return True

    def expire(self, now: float) -> list[PendingRequest]:
        """Close and return the requests whose deadline has passed."""
        return self._released(self._open.expire(now))

    def abandon(self) -> list[PendingRequest]:
        """Close and return all requests."""
        return self._released(self._open.popAll())

    def _released(self, removed: list[tuple[tuple[str, str], PendingRequest]]) -> list[PendingRequest]:
        for _, pending in removed:
            pending.release()
        return [pending for _, pending in removed]


@define
class _Line(Generic[T]):
    working: int = 0
    waiting: deque[T] = field(factory=deque)


class Turns(Generic[T]):
    """
    Limits how many requests of one user are worked on at a time. Further ones wait in order, so that the requests
    of one user do not delay those of another.

    @ivar lines: the queues of users for whom a handler works, by user.
    """

    def __init__(self, most: int = _MAX_AT_WORK) -> None:
        self._most = most
        self.lines: dict[str, _Line[T]] = {}

    def beginOrQueue(self, user: str, request: T) -> bool:
        """
        Return true if a request may be worked on now; if not, it waits for L{takeNext}.
        """
        line = self.lines.get(user)
        if line is None or line.working < self._most:
            return True
        line.waiting.append(request)
        return False

    def begin(self, user: str) -> None:
        """A handler works on a request and does not answer at once."""
        self.lines.setdefault(user, _Line()).working += 1

    def end(self, user: str) -> None:
        """A handler has answered, or was cancelled."""
        self.lines[user].working -= 1

    def takeNext(self, user: str) -> T | None:
        """Return the next request that may be worked on, if there is one."""
        line = self.lines[user]
        if line.waiting and line.working < self._most:
            return line.waiting.popleft()
        if not line.waiting and not line.working:
            del self.lines[user]
        return None
