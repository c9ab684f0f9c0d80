"""The archives of one component: open queries, and the removal of old messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.errors import GatewayError, HandlerFailed, Stopping, TooManyPending
from gateway.muc import archive_store
from gateway.muc.actions import ReadArchive
from gateway.muc.archive_values import ArchiveEnd, ArchivePage, Retention
from gateway.state.interfaces import IStore
from gateway.stream.shares import Shares

# Open queries of a service, and of one user.
_MAX_QUERIES, _MAX_OF_USER = 4_000, 10
# Rooms whose old messages are removed at a time, and seconds between two times.
_SWEPT, _SWEEP_EVERY = 50, 60.0

Found = ArchivePage | tuple[ArchiveEnd, ArchiveEnd] | None


class Archiving:
    """
    The open queries of the archives of one component, and the removal of old messages.

    A message is stored by L{gateway.fmuc.commits.Commits}, before it is shown.
    """

    _log = Logger()

    def __init__(self, store: IStore, retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._shares = Shares(_MAX_QUERIES)
        self._queries: set[Deferred[Any]] = set()
        self._isStopping = False
        self._sweepAt = 0.0
        self._sweptTo = ""

    @property
    def pending(self) -> int:
        """Number of open queries."""
        return len(self._queries)

    def tick(self, now: float, utc: float) -> None:
        """Remove old messages, of some rooms at a time."""
        if self._sweepAt <= now and not self._store.trouble:
            self._sweepAt = now + _SWEEP_EVERY
            swept = self._store.write(archive_store.sweep, self._sweptTo, _SWEPT, utc, self._retention)
            swept.addCallbacks(self._onSwept, self._onSweepFailed)

    def _onSwept(self, room: str) -> None:
        self._sweptTo = room

    def _onSweepFailed(self, failure: Failure) -> None:
        # The store logs its own faults. There is another attempt.
        if not isinstance(failure.value, GatewayError | CancelledError):
            self._log.failure(
                "Old messages cannot be removed from archives", failure, event="rooms.archive_not_trimmed"
            )

    def read(
        self, action: ReadArchive, answer: Callable[[Found], object], refuse: Callable[[type[GatewayError]], object]
    ) -> None:
        """
        Read a page, or the ends, of an archive; call C{answer} or C{refuse} once.

        A request in the store has a deadline of its own.
        """
        user = action.stanza.sender or ""
        share = self._shares.of(user)
        if share.taken >= _MAX_OF_USER or not share.take():
            refuse(TooManyPending)
            return
        found: Deferred[Any]
        if action.query is None:
            found = self._store.read(archive_store.ends, action.stanza.recipient or "")
        else:
            found = self._store.read(archive_store.page, action.query)
        self._queries.add(found)

        def ended(result: Found | Failure) -> Found | Failure:
            share.giveBack()
            self._queries.discard(found)
            return result

        def failed(failure: Failure) -> None:
            error = failure.value
            why = type(error) if isinstance(error, GatewayError) else HandlerFailed
            if why is HandlerFailed and not self._isStopping:
                self._log.failure("An archive cannot be read", failure, event="rooms.archive_unreadable")
            refuse(Stopping if self._isStopping else why)

        found.addBoth(ended)
        found.addCallbacks(answer, failed)

    def stop(self) -> None:
        """End the open queries: the service stops."""
        self._isStopping = True
        for each in list(self._queries):
            each.cancel()
        self._isStopping = False
