"""
Stores in SQLite files. Everything here blocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from gateway.errors import GatewayError, StoreBroken, StoreBusy
from gateway.state import files
from gateway.state.faults import domainError
from gateway.state.jobs import Job, runAll, transact
from gateway.state.migrations import Migrations, migrate

# Milliseconds that a request waits for the lock of another process. While a lock is known to be held, no request
# waits.
_LOCK_TIMEOUT = 500
# Seconds that a command waits for the lock of the gateway, which holds it for moments.
_COMMAND_TIMEOUT = 10.0
# Bytes that a new journal has at once. SQLite moves 1,000 pages into the file together. Fewer would fit into these
# bytes, but commits wait for each such move: beside a flood, one was seen to take a second.
_JOURNAL = 1024 * 1024
# Bytes of the journal that are kept for later transactions: a large one makes it grow.
_MAX_JOURNAL = 16 * 1024 * 1024
# Seconds between two attempts to open a broken file.
_REOPEN_EVERY = 1.0


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


class SqliteSession:
    """
    An open connection.

    @param connection: in autocommit mode.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.cursor = connection.cursor
        self.close = connection.close

    def begin(self, writes: bool) -> object:
        """See L{Session.begin}."""
        return self.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    def commit(self) -> object:
        """See L{Session.commit}."""
        return self.execute("COMMIT")

    def rollBack(self) -> None:
        """See L{Session.rollBack}."""
        if self.connection.in_transaction:
            self.execute("ROLLBACK")

    def version(self) -> int:
        """See L{Session.version}."""
        [version] = self.execute("PRAGMA user_version").fetchone()
        return int(version)

    def setVersion(self, version: int) -> object:
        """See L{Session.setVersion}."""
        return self.execute(f"PRAGMA user_version = {version:d}")

    def domainError(self, error: Exception) -> GatewayError | None:
        """See L{Session.domainError}."""
        return domainError(error) if isinstance(error, sqlite3.Error | OSError) else None


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
        prepare: Callable[[SqliteSession], object],
        seconds: Callable[[], float],
        onReplaced: Callable[[], object],
    ) -> None:
        # Path.stat() takes longer.
        self._path, self._name = path, str(path)
        self._prepare = prepare
        self._seconds = seconds
        self._onReplaced = onReplaced
        self._session: SqliteSession | None = None
        self._identity: tuple[int, int] | None = None
        self._timeout = _LOCK_TIMEOUT
        self._isLocked = {False: False, True: False}
        self._broken = ""
        self._reopenAt = 0.0

    def run(self, jobs: list[Job]) -> list[Any]:
        """See L{runAll}."""
        return runAll(self._attempt, jobs)

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
            isOpen = self._session is not None
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

    def _connected(self, timeout: int) -> SqliteSession:
        session = self._session
        if session is not None and self._identity != _identity(self._name):
            # SQLite itself would go on using a file that no longer has a name.
            self._onReplaced()
            self.close()
            session = None
        if session is None:
            session = self._opened(timeout)
        if timeout != self._timeout:
            session.execute(f"PRAGMA busy_timeout = {timeout}")
            self._timeout = timeout
        return session

    def _opened(self, timeout: int) -> SqliteSession:
        # SQLite gives the journal the same mode.
        files.makeFile(self._path)
        session = self._session = SqliteSession(connect(self._path, timeout / 1000))
        self._timeout = timeout
        self._identity = _identity(self._name)
        try:
            # FULL protects against power failure. A killed process loses nothing either way.
            session.execute("PRAGMA journal_mode = WAL")
            session.execute("PRAGMA synchronous = FULL")
            session.execute(f"PRAGMA journal_size_limit = {_MAX_JOURNAL}")
            self._prepare(session)
            self._lengthen(session)
        except BaseException:
            self.close()
            raise
        self._broken = ""
        return session

    def _lengthen(self, session: SqliteSession) -> None:
        """
        Give the journal its length, if the disk has room and nobody else writes. A commit that makes a file longer
        takes the disk several times as long as one that overwrites a part of it, as all but the first ones do: the
        journal begins anew when its pages have been moved. SQLite takes zeros for the end of the journal.
        """
        session.execute("PRAGMA busy_timeout = 0")
        self._timeout = 0
        with suppress(sqlite3.Error, OSError):
            # With the lock, nobody else makes it longer.
            session.begin(True)
            try:
                files.lengthen(Path(f"{self._path}-wal"), _JOURNAL)
            finally:
                session.rollBack()

    def _rollBack(self) -> None:
        if self._session is None:
            return
        try:
            self._session.rollBack()
        except sqlite3.Error:
            # Closing the connection rolls back as well.
            self.close()

    def leave(self) -> None:
        """Do nothing: no request waits for longer than for a lock."""

    def abort(self) -> None:
        """Do nothing: nothing ends a call that waits for a disk."""

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(sqlite3.Error):
                session.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def versionOf(path: Path) -> int:
    """Return the schema version of a file; 0 for one without a version, or without content."""
    with closing(opened(path)) as connection:
        return SqliteSession(connection).version()


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that exists and that the gateway may use as well."""
    # Not read-only: without the files beside it, such a connection cannot read a file with a write-ahead log.
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", _COMMAND_TIMEOUT, uri=True)


class SqliteBackend:
    """
    One file, for L{gateway.state.database.Database}.

    @ivar path: the file.
    @raise OSError: if it cannot be created.
    """

    slow = "its disk does not respond: check the disk"
    _log = Logger()

    def __init__(self, path: Path, migrations: Migrations) -> None:
        self.path = path
        self.name = path.name
        self.place = str(path)
        self._migrations = migrations
        files.makeFile(path)

    def connect(self, seconds: Callable[[], float], onReopened: Callable[[], object]) -> SqliteFile:
        """See L{Backend.connect}."""
        return SqliteFile(self.path, self._prepare, seconds, onReopened)

    def logReopened(self) -> None:
        """See L{Backend.logReopened}."""
        self._log.warn(
            "{path} was moved or replaced; it is opened again.", event="state.file_replaced", path=self.path
        )

    def version(self) -> int:
        """See L{Backend.version}."""
        return versionOf(self.path)

    def touch(self, cursor: sqlite3.Cursor) -> None:
        """See L{Backend.touch}."""
        [version] = cursor.execute("PRAGMA user_version").fetchone()
        cursor.execute(f"PRAGMA user_version = {version:d}")

    def _prepare(self, session: SqliteSession) -> None:
        migrate(session, self._migrations)


class SchemaBackend(SqliteBackend):
    """
    A file without a version, for C{IServiceBuilder.database}, which is deprecated.

    @param schema: SQL statements that create the tables if they do not exist; they run whenever the file is opened.
    """

    def __init__(self, path: Path, schema: tuple[str, ...]) -> None:
        super().__init__(path, ())
        self._schema = schema

    def _prepare(self, session: SqliteSession) -> None:
        for statement in self._schema:
            session.execute(statement)
