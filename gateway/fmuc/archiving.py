"""The archives of one component: open queries, and the removal of old messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.addresses import jids
from gateway.errors import GatewayError, HandlerFailed, Stopping, TooManyPending
from gateway.muc import archive_store
from gateway.muc.actions import ReadArchive
from gateway.muc.archive_values import ArchiveEnd, ArchivePage, Retention
from gateway.state.interfaces import IStore
from gateway.stream.shares import Share, Shares

# Open queries of a service, and of one user.
_MAX_QUERIES, _MAX_OF_USER = 4_000, 10
# Seconds that a query may wait for others.
_MAX_WAIT = 20.0
# Rooms whose old messages are removed at a time, and seconds between two times, if nothing is left to remove.
_SWEPT, _SWEEP_EVERY = 50, 60.0

Found = ArchivePage | tuple[ArchiveEnd, ArchiveEnd] | None


@define(eq=False)
class _Query:
    """
    An open query.

    @ivar read: reads in the store.
    @ivar answer: C{answer} of L{Archiving.read}, as C{refuse}.
    @ivar user: bare JID.
    @ivar overdueAt: seconds of the link's clock.
    """

    read: Callable[[], Deferred[Any]]
    answer: Callable[[Found], object]
    refuse: Callable[[type[GatewayError]], object]
    user: str
    share: Share
    overdueAt: float


class _Turns:
    """Queries that wait: domains take turns, and so do the users of a domain, however many queries each has."""

    def __init__(self) -> None:
        # By domain and bare JID.
        self._domains: dict[str, dict[str, deque[_Query]]] = {}

    def __len__(self) -> int:
        return sum(len(queries) for users in self._domains.values() for queries in users.values())

    def add(self, query: _Query) -> None:
        """Add a query, which waits for earlier ones of its user."""
        users = self._domains.setdefault(jids.split(query.user)[1], {})
        users.setdefault(query.user, deque()).append(query)

    def next(self) -> _Query | None:
        """Remove and return the query whose turn it is."""
        if not self._domains:
            return None
        domain = next(iter(self._domains))
        users = self._domains.pop(domain)
        user = next(iter(users))
        queries = users.pop(user)
        query = queries.popleft()
        if queries:
            users[user] = queries
        if users:
            self._domains[domain] = users
        return query

    def overdue(self, now: float) -> list[_Query]:
        """Remove and return the queries whose deadline has passed."""
        everything = [each for users in self._domains.values() for queries in users.values() for each in queries]
        found = [each for each in everything if each.overdueAt <= now]
        if found:
            self._domains.clear()
            for each in everything:
                if each.overdueAt > now:
                    self.add(each)
        return found


class Archiving:
    """
    The open queries of the archives of one component, and the removal of old messages.

    A message is stored by L{gateway.fmuc.commits.Commits}, before it is shown. A search of a large archive takes a
    while, and the store does one thing after the other. So one query at a time is in the store, and others wait
    here, and take turns: a commit waits for one search at most, and nobody waits for all queries of another user.
    """

    _log = Logger()

    def __init__(self, store: IStore, retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._shares = Shares(_MAX_QUERIES)
        self._waiting = _Turns()
        # The query that is in the store.
        self._reading: Deferred[Any] | None = None
        self._isTaking = False
        self._isStopping = False
        self._sweepAt = 0.0
        self._sweptTo = ""

    @property
    def pending(self) -> int:
        """Number of open queries."""
        return len(self._waiting) + (self._reading is not None)

    def tick(self, now: float, utc: float) -> None:
        """Refuse queries that have waited for too long, and remove old messages, some at a time."""
        for query in self._waiting.overdue(now):
            self._refuse(query, TooManyPending)
        if self._sweepAt <= now and not self._store.trouble:
            self._sweepAt = now + _SWEEP_EVERY
            swept = self._store.write(archive_store.sweep, self._sweptTo, _SWEPT, utc, self._retention)
            swept.addCallbacks(self._onSwept, self._onSweepFailed)

    def _onSwept(self, swept: archive_store.Swept) -> None:
        self._sweptTo = swept.room
        if not swept.isDone:
            self._sweepAt = 0.0

    def _onSweepFailed(self, failure: Failure) -> None:
        # The store logs its own faults. There is another attempt.
        if not isinstance(failure.value, GatewayError | CancelledError):
            self._log.failure(
                "Old messages cannot be removed from archives", failure, event="rooms.archive_not_trimmed"
            )

    def read(
        self,
        action: ReadArchive,
        now: float,
        answer: Callable[[Found], object],
        refuse: Callable[[type[GatewayError]], object],
    ) -> None:
        """
        Read a page, or the ends, of an archive; call C{answer} or C{refuse} once.

        A request in the store has another deadline.
        """
        user = action.stanza.sender or ""
        share = self._shares.of(user)
        if share.taken >= _MAX_OF_USER or not share.take():
            refuse(TooManyPending)
            return
        read: Callable[[], Deferred[Any]]
        if action.query is None:
            read = partial(self._store.read, archive_store.ends, action.stanza.recipient or "")
        else:
            read = partial(self._store.read, archive_store.page, action.query)
        self._waiting.add(_Query(read, answer, refuse, jids.bare(user), share, now + _MAX_WAIT))
        self._readNext()

    def _readNext(self) -> None:
        if self._isTaking:
            # The store has answered at once, as it does while the disk does not respond. The loop goes on.
            return
        self._isTaking = True
        try:
            while self._reading is None and (query := self._waiting.next()) is not None:
                found = self._reading = query.read()
                found.addBoth(self._onRead, query.share)
                found.addCallbacks(query.answer, self._onUnread, errbackArgs=(query.refuse,))
                found.addBoth(self._onAnswered)
        finally:
            self._isTaking = False

    def _onRead(self, result: Found | Failure, share: Share) -> Found | Failure:
        share.giveBack()
        self._reading = None
        return result

    def _onUnread(self, failure: Failure, refuse: Callable[[type[GatewayError]], object]) -> None:
        error = failure.value
        why = type(error) if isinstance(error, GatewayError) else HandlerFailed
        if why is HandlerFailed and not self._isStopping:
            self._log.failure("An archive cannot be read", failure, event="rooms.archive_unreadable")
        refuse(Stopping if self._isStopping else why)

    def _onAnswered(self, result: object) -> object:
        self._readNext()
        return result

    def _refuse(self, query: _Query, why: type[GatewayError]) -> None:
        query.share.giveBack()
        query.refuse(why)

    def stop(self) -> None:
        """End the open queries: the service stops."""
        self._isStopping = True
        while (query := self._waiting.next()) is not None:
            self._refuse(query, Stopping)
        if self._reading is not None:
            self._reading.cancel()
        self._isStopping = False
