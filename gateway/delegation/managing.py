"""
What a managing entity keeps: what it was granted, and what it has yet to answer; pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from attrs import define, field, frozen

from gateway.delegation.core import Delegation, Request
from gateway.delegation.nesting import Grant
from gateway.errors import AlreadyOpen, TooManyPending
from gateway.interfaces import IDelegatedNamespace
from gateway.stream.pending import PendingTable
from gateway.stream.shares import Share, Shares, places

T = TypeVar("T")

# Requests of one user that handlers of this process work on at a time.
_MAX_AT_WORK = 16

# Users who have granted something by client mode.
_MAX_USERS = 10_000


@frozen
class Route:
    """
    Who answers for a namespace.

    @ivar handler: if it is one of this process, or where requests are handed on by their attributes.
    @ivar delegation: if they are handed on.
    """

    handler: IDelegatedNamespace | None
    delegation: Delegation | None = None

    @property
    def filtering(self) -> frozenset[str]:
        """By which attributes the server should filter: what lacks them has nobody."""
        return frozenset() if self.handler or self.delegation is None else self.delegation.filtering


class Grants:
    """
    What servers, and in client mode their users, have delegated. It is gone with the connection.
    """

    def __init__(self) -> None:
        self._servers: dict[str, dict[str, Grant]] = {}
        self._users: dict[str, dict[str, Grant]] = {}

    def onServerAdvertisement(self, server: str, grants: Iterable[Grant]) -> list[Grant]:
        """
        A server has advertised these for all of its users. It may send its grants one by one, so they add up.

        @return: those that are new, or changed.
        """
        known = self._servers.setdefault(server, {})
        news = [grant for grant in grants if known.get(grant.namespace) != grant]
        known.update((grant.namespace, grant) for grant in news)
        return news

    def onUserAdvertisement(self, user: str, grants: Iterable[Grant]) -> None:
        """A server has advertised what one of its users grants (section 5.1): these, and nothing else any more."""
        granted = {grant.namespace: grant for grant in grants}
        if not granted:
            self._users.pop(user, None)
        elif user in self._users or len(self._users) < _MAX_USERS:
            self._users[user] = granted

    def clear(self) -> None:
        self._servers.clear()
        self._users.clear()

    def get(self, server: str, namespace: str) -> Grant | None:
        """What a server grants for all of its users."""
        return self._servers.get(server, {}).get(namespace)

    def grantedBy(self, user: str, namespace: str) -> bool:
        """Whether a user has granted this."""
        return namespace in self._users.get(user, {})


@define(eq=False)
class PendingRequest:
    """
    A request that was forwarded to the managing entity and has no answer yet.

    @ivar share: the requester's, in which it has C{places}; C{None} for one that is answered at once.
    """

    version: str
    server: str
    id: str
    request: Request
    deadline: float
    share: Share | None = None
    places: int = 0

    def release(self) -> None:
        """Give the requester's places back."""
        if self.share is not None:
            self.share.giveBack(self.places)


class PendingRequests:
    """
    The forwarded requests without an answer, by server and outer id; bounded.

    @param timeout: seconds for the answer: fewer than any server waits.
    @ivar shares: what each requester has open; a large request counts for several.
    """

    def __init__(self, bound: int = 10_000, timeout: float = 25.0) -> None:
        self._timeout = timeout
        self.shares = Shares(bound)
        self._open: PendingTable[tuple[str, str], PendingRequest] = PendingTable(bound)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, version: str, server: str, identifier: str, request: Request, now: float) -> PendingRequest:
        """
        A request has come.

        @raise AlreadyOpen: when the server uses an id twice.
        @raise TooManyPending: when there is no room, or none for this requester.
        """
        key = (server, identifier)
        if key in self._open:
            raise AlreadyOpen
        share = self.shares.of(request.requester)
        size = places(len(request.xml))
        if not share.take(size):
            raise TooManyPending
        pending = PendingRequest(version, server, identifier, request, now + self._timeout, share, size)
        self._open.add(key, pending)
        return pending

    def isOpen(self, pending: PendingRequest) -> bool:
        return self._open.get((pending.server, pending.id)) is pending

    def close(self, pending: PendingRequest) -> bool:
        """Whether the answer that is there may be sent: it is the first, and in time."""
        if not self.isOpen(pending):
            return False
        del self._open[pending.server, pending.id]
        pending.release()
        return True

    def expire(self, now: float) -> list[PendingRequest]:
        """Close those whose deadline has passed: each gets an error."""
        return self._released(self._open.expire(now))

    def abandon(self) -> list[PendingRequest]:
        """Close all of them."""
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
    So many requests of a user are worked on at a time, the others after them, in order: whatever somebody asks for,
    few of it are before what another asks for.

    @ivar lines: of those who have something that is worked on, by user.
    """

    def __init__(self, most: int = _MAX_AT_WORK) -> None:
        self._most = most
        self.lines: dict[str, _Line[T]] = {}

    def beginOrQueue(self, user: str, request: T) -> bool:
        """
        A request has come.

        @return: whether it may be worked on; if not, it waits for L{takeNext}.
        """
        line = self.lines.get(user)
        if line is None or line.working < self._most:
            return True
        line.waiting.append(request)
        return False

    def begin(self, user: str) -> None:
        """A request is worked on that is not answered at once."""
        self.lines.setdefault(user, _Line()).working += 1

    def end(self, user: str) -> None:
        """One of those is answered, or given up."""
        self.lines[user].working -= 1

    def takeNext(self, user: str) -> T | None:
        """The request whose turn it is now, if there is one."""
        line = self.lines[user]
        if line.waiting and line.working < self._most:
            return line.waiting.popleft()
        if not line.waiting and not line.working:
            del self.lines[user]
        return None
