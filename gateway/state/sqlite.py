"""
Transactions of requests on a SQLite connection, and the connection to a file. Everything here blocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from gateway.errors import StoreBroken, StoreBusy
from gateway.state import files
from gateway.state.faults import domainError

# Milliseconds that a request waits for the lock of another process. While a lock is known to be held, no request
# waits.
_LOCK_TIMEOUT = 500
# Bytes that a new journal has at once. SQLite moves 1,000 pages into the file together. Fewer would fit into these
# bytes, but commits wait for each such move: beside a flood, one was seen to take a second.
_JOURNAL = 1024 * 1024
# Bytes of the journal that are kept for later transactions: a large one makes it grow.
_MAX_JOURNAL = 16 * 1024 * 1024
# Seconds between two attempts to open a broken file.
_REOPEN_EVERY = 1.0


@define(eq=False)
class Job:
    """
    One request.

    @ivar permit: has one item until it is taken: by the thread, to commit, or by the requester, to cancel.
    @ivar isCommitted: true if the thread has taken it.
    @ivar overdueAt: seconds on the reactor's clock.
    """

    interaction: Callable[..., Any]
    arguments: tuple[object, ...]
    writes: bool
    overdueAt: float = float("inf")
    permit: list[None] = field(factory=lambda: [None])
    isCommitted: bool = False

    @property
    def isCancelled(self) -> bool:
        """True if the requester, or a deadline, has taken the permit."""
        return not self.permit and not self.isCommitted

    def take(self) -> bool:
        """Take the permit; return true if it was there. The thread and the reactor may try at the same time."""
        try:
            self.permit.pop()
        except IndexError:
            return False
        return True

    def commit(self) -> bool:
        """Take the permit for the thread; return true if the thread has it."""
        self.isCommitted = self.isCommitted or self.take()
        return self.isCommitted


def connect(database: Path | str, timeout: float, uri: bool = False) -> sqlite3.Connection:
    """
    Return a connection in autocommit mode, for one thread at a time.

    @param timeout: seconds to wait for another process's lock.
    @param uri: true if C{database} is a URI.
    """
    connection = sqlite3.connect(database, timeout, isolation_level=None, check_same_thread=False, uri=uri)
    if sqlite3.sqlite_version_info < (3, 43):
        # SQLite has the function since 3.43, PostgreSQL always.
        connection.create_function("octet_length", 1, _octetLength, deterministic=True)
    return connection


def _octetLength(text: str | None) -> int | None:
    return None if text is None else len(text.encode())


def transact(connection: sqlite3.Connection, jobs: list[Job]) -> list[Any]:
    """
    Run requests in one transaction, in their order, and commit it. If it fails, the caller rolls back.

    @param connection: in autocommit mode.
    @return: the outcome of each request: the result of its interaction; or a L{Failure} if the interaction
        raised: then only its own changes are rolled back.
    @raise CancelledError: if a request was cancelled meanwhile.
    @raise Exception: the exception of the interaction, if there is only one request.
    @raise sqlite3.Error: if the database is at fault.
    @raise OSError: likewise.
    """
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE" if any(job.writes for job in jobs) else "BEGIN")
    if len(jobs) == 1:
        # The transaction is rolled back if it raises.
        outcomes = [jobs[0].interaction(cursor, *jobs[0].arguments)]
    else:
        outcomes = [_interact(connection, job) for job in jobs]
    # A requester that was given an error must not find its change stored.
    if not all(job.commit() for job in jobs):
        raise CancelledError
    cursor.execute("COMMIT")
    return outcomes


def _interact(connection: sqlite3.Connection, job: Job) -> Any:
    if job.isCancelled:
        raise CancelledError
    connection.execute("SAVEPOINT interaction")
    try:
        outcome = job.interaction(connection.cursor(), *job.arguments)
    except Exception as error:
        if isinstance(error, sqlite3.Error | OSError) and domainError(error) is not None:
            raise
        outcome = Failure()
        connection.execute("ROLLBACK TO interaction")
    connection.execute("RELEASE interaction")
    return outcome


class SqliteFile:
    """
    The connection to one file, for one thread at a time.

    @param prepare: brings the tables of a newly opened file up to date.
    @param seconds: returns the time, on any thread.
    @param onReplaced: called if the file has been moved or replaced.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], object],
        seconds: Callable[[], float],
        onReplaced: Callable[[], object],
    ) -> None:
        # Path.stat() takes longer.
        self._path, self._name = path, str(path)
        self._prepare = prepare
        self._seconds = seconds
        self._onReplaced = onReplaced
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._timeout = _LOCK_TIMEOUT
        self._isLocked = {False: False, True: False}
        self._broken = ""
        self._reopenAt = 0.0

    def run(self, jobs: list[Job]) -> list[Any]:
        """
        Run requests, and return the outcome of each: its result or a L{Failure}.

        They share a transaction. If it fails, each gets a transaction of its own.
        """
        try:
            return self._attempt(jobs)
        except BaseException:
            if len(jobs) == 1:
                return [Failure()]
        return [outcome for job in jobs for outcome in self.run([job])]

    def _attempt(self, jobs: list[Job]) -> list[Any]:
        if any(job.isCancelled for job in jobs):
            raise CancelledError
        now = self._seconds()
        if self._broken and now < self._reopenAt:
            raise StoreBroken(self._broken)
        writes = any(job.writes for job in jobs)
        try:
            outcomes = transact(self._connected(0 if self._isLocked[writes] else _LOCK_TIMEOUT), jobs)
        except (sqlite3.Error, OSError, StoreBroken) as error:
            isOpen = self._connection is not None
            self._rollBack()
            refusal = error if isinstance(error, StoreBroken) else domainError(error)
            if refusal is None:
                raise
            self._isLocked[writes] = isinstance(refusal, StoreBusy)
            if isinstance(refusal, StoreBroken):
                self.close()
                if not isOpen:
                    self._broken, self._reopenAt = str(refusal), now + _REOPEN_EVERY
            raise refusal from None
        except BaseException:
            self._rollBack()
            raise
        self._isLocked[writes] = False
        return outcomes

    def _connected(self, timeout: int) -> sqlite3.Connection:
        connection = self._connection
        if connection is not None and self._identity != _identity(self._name):
            # SQLite itself would go on using a file that no longer has a name.
            self._onReplaced()
            self.close()
            connection = None
        if connection is None:
            connection = self._opened(timeout)
        if timeout != self._timeout:
            connection.execute(f"PRAGMA busy_timeout = {timeout}")
            self._timeout = timeout
        return connection

    def _opened(self, timeout: int) -> sqlite3.Connection:
        # SQLite gives the journal the same mode.
        files.makeFile(self._path)
        connection = self._connection = connect(self._path, timeout / 1000)
        self._timeout = timeout
        self._identity = _identity(self._name)
        try:
            # FULL protects against power failure. A killed process loses nothing either way.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_MAX_JOURNAL}")
            self._prepare(connection)
            self._lengthen(connection)
        except BaseException:
            self.close()
            raise
        self._broken = ""
        return connection

    def _lengthen(self, connection: sqlite3.Connection) -> None:
        """
        Give the journal its length, if the disk has room and nobody else writes. A commit that makes a file longer
        takes the disk several times as long as one that overwrites a part of it, as all but the first ones do: the
        journal begins anew when its pages have been moved. SQLite takes zeros for the end of the journal.
        """
        connection.execute("PRAGMA busy_timeout = 0")
        self._timeout = 0
        with suppress(sqlite3.Error, OSError):
            # With the lock, nobody else makes it longer.
            connection.execute("BEGIN IMMEDIATE")
            try:
                files.lengthen(Path(f"{self._path}-wal"), _JOURNAL)
            finally:
                connection.execute("ROLLBACK")

    def _rollBack(self) -> None:
        if self._connection is None:
            return
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing the connection rolls back as well.
            self.close()

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
