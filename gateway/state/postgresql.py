"""
Stores on a PostgreSQL server. Everything here blocks.

Each store has a schema of its own, so that no store has to know the tables of another one, and a connection of its
own, so that none waits for another one: a gateway has as many connections as stores, and during a start one more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from gateway.errors import GatewayError, StoreBroken, StoreBusy, StoreFull
from gateway.state.dialect import KEY_FUNCTION, Dialect
from gateway.state.jobs import CommitUnknown, Job, runAll, transact
from gateway.state.migrations import Migrations, migrate, newerVersion
from gateway.state.urls import shown

# The schemas of stores; and the table in each one that has the store's whole name, its version, and the statements
# that made its tables.
PREFIX = "gateway:"
_MAX_SCHEMA = 63
_STORE = """
CREATE TABLE gateway_store (name TEXT NOT NULL, version BIGINT NOT NULL, statements TEXT[] NOT NULL DEFAULT '{}')
"""
_OLDEST = 130_000

# The parameters of a connection that the URL does not name: seconds to connect, and those until a connection to a
# host that does not respond is closed.
_PARAMETERS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Milliseconds that a request waits for the lock of another process, and that a statement may take. A gateway that
# halts in a transaction keeps the lock for a minute at most.
_LOCK_TIMEOUT = 500
_STATEMENT_TIMEOUT = 10_000
_IDLE_TIMEOUT = 60_000
# What was acknowledged has to survive a power failure.
_SYNCHRONOUS = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
# Seconds between two attempts to connect: those of a request that waits, and those while the server is known to be
# away. A request fails that many seconds before its deadline, with a better reason.
_FIRST_DELAY, _MAX_DELAY = 0.05, 1.0
_REOPEN_EVERY = 1.0
_MARGIN = 1.0
_MAX_REASON = 300

_CHECK = "check PostgreSQL and its log"
UNKNOWN = (
    "the connection to PostgreSQL was lost during a commit: nobody knows whether the change is stored; look at it "
    "before it is made again"
)


def domainError(error: BaseException) -> GatewayError | None:
    """Return the error for the requester, with a text for the operator; C{None} if PostgreSQL is not at fault."""
    if isinstance(error, GatewayError):
        return error
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state is None and not isinstance(error, psycopg.OperationalError):
        # Found by psycopg: a wrong number of parameters, a text that PostgreSQL cannot hold.
        return None
    state, reason = state or "08000", _reason(error)
    # Faults of a statement or its values: data, constraints, limits.
    if state[:2] in ("21", "22", "23", "44", "54"):
        return None
    if state == "53100":
        return StoreFull("the disk of PostgreSQL is full: free some space")
    if state == "55P03":
        return StoreBusy(
            "another process holds the lock of the store: end that process (pg_stat_activity and pg_locks show it)"
        )
    if state in ("57014", "40001", "40P01") or state[:2] == "53":
        return StoreBusy(f"{reason}: {_CHECK}")
    if state == "25006":
        return StoreBroken("the server allows no changes: name the primary one in state.url, not a standby")
    if state == "42501":
        return StoreBroken(f"{reason}: grant it to the gateway's user of PostgreSQL")
    if state[:2] in ("08", "57", "28", "3D"):
        return StoreBroken(f"PostgreSQL cannot be reached ({reason}): start it, or correct state.url")
    return StoreBroken(f"{reason}: {_CHECK}")


def _reason(error: BaseException) -> str:
    """Return the first line of a message: the others may have values."""
    text = str(error).strip() or type(error).__name__
    lines = text.splitlines()
    # One line for each host.
    found = " ".join(lines[1:]) if lines[0].startswith("connection failed: Multiple") else lines[0]
    return " ".join(found.split())[:_MAX_REASON].rstrip(".: ")


def schemaOf(name: str) -> str:
    """Return the name of the schema of a store; PostgreSQL allows 63 bytes."""
    schema = PREFIX + name
    if len(schema.encode()) > _MAX_SCHEMA:
        digest = sha256(name.encode()).hexdigest()[:24]
        start = name.encode()[: _MAX_SCHEMA - len(PREFIX) - len(digest) - 1].decode(errors="ignore")
        schema = f"{PREFIX}{start} {digest}"
    return schema


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"{}"'.format(name.replace('"', '""'))


def connect(url: str, application: str) -> psycopg.Connection[Any]:
    """
    Return a new connection in autocommit mode.

    @param application: its name in C{pg_stat_activity}.
    @raise psycopg.Error: if that is not possible.
    """
    given = conninfo_to_dict(url)
    parameters = {**_PARAMETERS, **given, "client_encoding": "UTF8", "application_name": application}
    return psycopg.connect(autocommit=True, **parameters)


def urlProblem(url: str) -> str:
    """Return the reason why a URL cannot be used, and a remedy; empty if it can. Show nothing of its password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return (
            "it is not a URL that libpq understands: correct its options, and write special characters of a "
            "password as %40, or the password in the file of passfile"
        )
    host = str(given.get("host", ""))
    if "@" in host or not all(each.isdecimal() or not each for each in str(given.get("port", "")).split(",")):
        return "special characters of a password are written as %40; or the password is in the file of passfile"
    return ""


def problem(url: str, name: str = "", migrations: Migrations = ()) -> str:
    """
    Return the reason why a database or a store in it cannot be used, and a remedy; empty if it can be used or does
    not exist yet. Create nothing.

    @param name: the store; empty for the database alone.
    """
    try:
        with connect(url, "check of stores") as connection:
            if refusal := unusable(connection):
                return refusal
            if not name:
                return ""
            session = PostgresSession(connection, name, Dialect(()))
            return newerVersion(session.version(), migrations) if session.isThere() else ""
    except psycopg.Error as error:
        return str(domainError(error) or _reason(error))


def exists(url: str, name: str) -> bool:
    """True if a store exists, or if the server does not answer."""
    try:
        with connect(url, "check of stores") as connection:
            return PostgresSession(connection, name, Dialect(())).isThere()
    except psycopg.Error:
        return True


def unusable(connection: psycopg.Connection[Any]) -> str:
    """Return the reason why a database cannot have stores, and a remedy; empty if it can."""
    version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
    if version < _OLDEST:
        return f"PostgreSQL {version // 10_000} is too old: use release {_OLDEST // 10_000} or a newer one"
    if encoding != "UTF8":
        return f"the encoding of the database is {encoding}: make one with CREATE DATABASE ... ENCODING 'UTF8'"
    return ""


class PostgresCursor:
    """The cursor of an interaction: takes the statements of SQLite."""

    __slots__ = ("_cursor", "_translated")

    def __init__(self, cursor: psycopg.Cursor[Any], dialect: Dialect) -> None:
        self._cursor = cursor
        self._translated = dialect.translated

    def execute(self, statement: str, parameters: Any = ()) -> Self:
        for each in self._translated(statement):
            # Not a literal string: the statements of plugins are not.
            self._cursor.execute(each.encode(), parameters)
        return self

    def executemany(self, statement: str, rows: Any) -> Self:
        [translated] = self._translated(statement)
        self._cursor.executemany(translated.encode(), rows)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class PostgresSession:
    """
    An open connection, with the schema of a store.

    @param connection: in autocommit mode.
    @param schema: by default, that of the name.
    @ivar transaction: the identifier of the transaction that writes; C{None} if there is none.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], name: str, dialect: Dialect, schema: str | None = None
    ) -> None:
        self.connection = connection
        self.transaction: str | None = None
        self._name = name
        self._dialect = dialect
        self._schema = quoted(schema or schemaOf(name))
        self._lock = int.from_bytes(sha256(self._schema.encode()).digest()[:8], "big", signed=True)
        self._simple(
            f"SET search_path = {self._schema}; SET lock_timeout = {_LOCK_TIMEOUT}; {_SYNCHRONOUS}"
        )

    def limit(self) -> None:
        """Bound the time of later statements; migrations take the time that they need."""
        self._simple(
            f"SET statement_timeout = {_STATEMENT_TIMEOUT}; "
            f"SET idle_in_transaction_session_timeout = {_IDLE_TIMEOUT}"
        )

    def _simple(self, statements: str) -> Any:
        """Run statements in one round trip, and return the first row of the last one, if it has rows."""
        cursor = self.connection.execute(statements.encode(), prepare=False)
        while cursor.nextset():
            pass
        return cursor.fetchone() if cursor.description else None

    def begin(self, writes: bool) -> None:
        """See L{Session.begin}."""
        self.transaction = None
        if not writes:
            # All statements find the same state, as in a file.
            self._simple("BEGIN ISOLATION LEVEL REPEATABLE READ")
            return
        lock = f"SELECT pg_advisory_xact_lock({self._lock})"
        [self.transaction] = self._simple(f"BEGIN; {lock}; SELECT pg_current_xact_id()::text")

    def commit(self) -> None:
        """See L{Session.commit}, but raise a L{psycopg.Error} if the connection is lost."""
        self._simple("COMMIT")

    def rollBack(self) -> None:
        """See L{Session.rollBack}."""
        if self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self._simple("ROLLBACK")

    def execute(self, statement: str) -> None:
        """See L{Session.execute}."""
        for each in self._dialect.translated(statement):
            self.connection.execute(each.encode(), (), prepare=False)
        if statement.lstrip().startswith(("CREATE", "ALTER", "DROP")):
            self.connection.execute("UPDATE gateway_store SET statements = statements || %s::text", (statement,))

    def isThere(self) -> bool:
        """True if the store exists."""
        [found] = self._simple("SELECT to_regclass('gateway_store') IS NOT NULL")
        return bool(found)

    def make(self) -> None:
        """Make the schema, if the store does not exist."""
        if self.isThere():
            return
        self.begin(True)
        try:
            if not self.isThere():
                self._simple(f"CREATE SCHEMA IF NOT EXISTS {self._schema}; {_STORE}; {KEY_FUNCTION}")
                self.connection.execute("INSERT INTO gateway_store (name, version) VALUES (%s, 0)", (self._name,))
            self.commit()
        except BaseException:
            self.rollBack()
            raise

    def version(self) -> int:
        """See L{Session.version}."""
        [version] = self._simple("SELECT version FROM gateway_store")
        return int(version)

    def setVersion(self, version: int) -> None:
        """See L{Session.setVersion}."""
        self.connection.execute("UPDATE gateway_store SET version = %s", (version,))

    def cursor(self) -> PostgresCursor:
        """See L{Session.cursor}."""
        return PostgresCursor(self.connection.cursor(), self._dialect)

    def isFault(self, error: Exception) -> bool:
        """See L{Session.isFault}."""
        return domainError(error) is not None

    def isStored(self, transaction: str) -> bool | None:
        """True if an earlier transaction is stored, false if it is not; C{None} if it may still be."""
        [status] = self._simple(f"SELECT pg_xact_status('{int(transaction)}'::xid8)")
        return {"committed": True, "aborted": False}.get(status)


class PostgresConnection:
    """
    The connection of one store, for one thread at a time.

    If it is lost before a commit, the transaction runs again on a new connection. If it is lost during a commit,
    PostgreSQL is asked whether the transaction is stored. A request waits for a new connection until shortly before
    its deadline; while PostgreSQL is known to be away, no request waits.
    """

    def __init__(
        self,
        url: str,
        name: str,
        migrations: Migrations,
        seconds: Callable[[], float],
        onReopened: Callable[[], object],
    ) -> None:
        self._url = url
        self._name = name
        self._migrations = migrations
        self._dialect = Dialect(statement for statements in migrations for statement in statements)
        self._seconds = seconds
        self._onReopened = onReopened
        self._session: PostgresSession | None = None
        # A second descriptor of the connection's socket, until it is taken: by the thread, to close it, or by the
        # reactor, to end the wait of the thread.
        self._socket: list[socket.socket] = []
        # Has an item when the store ends.
        self._leaving: SimpleQueue[None] = SimpleQueue()
        self._isLost = False
        self._broken = ""
        self._reopenAt = 0.0

    def run(self, jobs: list[Job]) -> list[Any]:
        """See L{runAll}."""
        return runAll(self._attempt, jobs)

    def _attempt(self, jobs: list[Job]) -> list[Any]:
        for isLast in (False, True):
            if any(job.isCancelled for job in jobs):
                raise CancelledError
            session = self._connected(jobs)
            try:
                return transact(_Asking(session, lambda: self._connected(jobs)), jobs)
            except CommitUnknown:
                self.close()
                raise
            except psycopg.Error as error:
                self._rollBack()
                if (self._session is None or isinstance(error, _NotStored)) and not isLast:
                    # The connection is lost, and with it the transaction.
                    continue
                refusal = domainError(error)
                if refusal is None:
                    raise
                if isinstance(refusal, StoreBroken):
                    # The schema may have been removed: a new connection makes it.
                    self.close()
                raise refusal from None
            except BaseException:
                self._rollBack()
                raise
        raise AssertionError("the second attempt has ended")

    def _connected(self, jobs: list[Job]) -> PostgresSession:
        if self._session is not None and not self._session.connection.closed:
            return self._session
        self.close()
        now = self._seconds()
        if self._broken and now < self._reopenAt:
            raise StoreBroken(self._broken)
        patience = 0.0 if self._broken else self._patience(jobs, now)
        delay = _FIRST_DELAY
        waited = 0.0
        while True:
            try:
                session = self._open()
            except (psycopg.Error, GatewayError) as error:
                self.close()
                # The delays count as well: the clock of a test may stand still.
                isTooLate = max(waited, self._seconds() - now) + delay > patience
                if isTooLate or all(job.isCancelled for job in jobs) or self._isLeaving(delay):
                    refusal = domainError(error) or StoreBroken(_reason(error))
                    self._broken, self._reopenAt = str(refusal), self._seconds() + _REOPEN_EVERY
                    raise refusal from None
                waited += delay
                delay = min(2 * delay, _MAX_DELAY)
            else:
                if self._isLost and not self._broken:
                    self._onReopened()
                self._isLost, self._broken = False, ""
                return session

    def _patience(self, jobs: list[Job], now: float) -> float:
        """Return the seconds that requests may wait; none if they have no deadline, as at a start."""
        deadlines = [job.overdueAt for job in jobs if job.overdueAt != float("inf")]
        return max(deadlines, default=0.0) - now - _MARGIN

    def _isLeaving(self, seconds: float) -> bool:
        """Wait; return true at once if the store ends."""
        try:
            self._leaving.get(timeout=seconds)
        except Empty:
            return False
        self._leaving.put(None)
        return True

    def _open(self) -> PostgresSession:
        connection = connect(self._url, f"xmpp-gateway {self._name}")
        try:
            if refusal := unusable(connection):
                raise StoreBroken(refusal)
            session = PostgresSession(connection, self._name, self._dialect)
            session.make()
            migrate(session, self._migrations)
            session.limit()
        except BaseException:
            connection.close()
            raise
        self._session = session
        self._socket = [socket.socket(fileno=os.dup(connection.fileno()))]
        return session

    def _rollBack(self) -> None:
        if self._session is None:
            return
        try:
            self._session.rollBack()
        except psycopg.Error:
            self.close()
        else:
            if self._session.connection.closed:
                self.close()

    def leave(self) -> None:
        """See L{Connection.leave}."""
        self._leaving.put(None)

    def abort(self) -> None:
        """See L{Connection.abort}."""
        with suppress(IndexError, OSError), self._socket.pop() as taken:
            taken.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See L{Connection.close}."""
        session, self._session = self._session, None
        if session is None:
            return
        self._isLost = self._isLost or session.connection.closed
        with suppress(IndexError):
            self._socket.pop().close()
        with suppress(psycopg.Error):
            session.connection.close()


class _NotStored(psycopg.OperationalError):
    """The connection was lost during a commit, and nothing is stored."""


class _Asking:
    """
    A session that finds out whether its transaction is stored, if the connection is lost during the commit.

    @param connected: returns a session on a new connection.
    """

    def __init__(self, session: PostgresSession, connected: Callable[[], PostgresSession]) -> None:
        self._session = session
        self._connected = connected
        self.begin, self.execute = session.begin, session.execute
        self.rollBack, self.cursor, self.isFault = session.rollBack, session.cursor, session.isFault
        self.version, self.setVersion = session.version, session.setVersion

    def commit(self) -> None:
        """See L{Session.commit}."""
        try:
            self._session.commit()
        except psycopg.Error as error:
            if not self._session.connection.closed or self._session.transaction is None:
                raise
            if not self._isStored(self._session.transaction):
                raise _NotStored(str(error)) from error

    def _isStored(self, transaction: str) -> bool:
        try:
            isStored = self._connected().isStored(transaction)
        except (psycopg.Error, GatewayError):
            isStored = None
        if isStored is None:
            raise CommitUnknown from StoreBroken(UNKNOWN)
        return isStored


class PostgresBackend:
    """
    One store on a server, for L{gateway.state.database.Database}. Nothing is connected before the first request.

    @param url: a connection URI of libpq.
    """

    slow = "PostgreSQL does not respond: check it, and the network"
    _log = Logger()

    def __init__(self, url: str, name: str, migrations: Migrations) -> None:
        self.name = name
        self.place = f"{shown(url)}, {name}"
        self._url = url
        self._migrations = migrations

    def connect(self, seconds: Callable[[], float], onReopened: Callable[[], object]) -> PostgresConnection:
        """See L{Backend.connect}."""
        return PostgresConnection(self._url, self.name, self._migrations, seconds, onReopened)

    def logReopened(self) -> None:
        """See L{Backend.logReopened}."""
        self._log.warn(
            "{place}: the connection was lost, and is open again; no request has failed.",
            event="state.reconnected",
            place=self.place,
        )

    def version(self) -> int:
        """See L{Backend.version}."""
        with connect(self._url, "check of stores") as connection:
            session = PostgresSession(connection, self.name, Dialect(()))
            return session.version() if session.isThere() else 0

    def touch(self, cursor: Any) -> None:
        """See L{Backend.touch}."""
        cursor.execute("UPDATE gateway_store SET version = version")
