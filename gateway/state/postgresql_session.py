"""
A connection to PostgreSQL with the schema of one store. Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Self

import psycopg
from attrs import frozen
from psycopg.conninfo import conninfo_to_dict

from gateway.errors import GatewayError, StoreTaken
from gateway.state.dialect import KEY_FUNCTION, Dialect
from gateway.state.guards import Guard, Locks
from gateway.state.postgresql_faults import domainError

# The schemas of stores; and the table in each one that has the store's whole name, its version, and the statements
# that made its tables.
PREFIX = "gateway:"
_MAX_SCHEMA = 63
_STORE = """
CREATE TABLE gateway_store (name TEXT NOT NULL, version BIGINT NOT NULL, statements TEXT[] NOT NULL DEFAULT '{}')
"""
# The oldest release that is supported.
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
# Milliseconds that a request waits for the lock of another process, and that a statement may take; and for which a
# gateway that is halted in a transaction keeps the lock: for less time than others wait until they take its
# components over (gateway/standby/core.py).
_LOCK_TIMEOUT = 500
_STATEMENT_TIMEOUT = 10_000
_IDLE_TIMEOUT = 4_000
_TIMELINE = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
# What was acknowledged has to survive a power failure.
_SYNCHRONOUS = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


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


def _literal(text: str) -> str:
    """Return a text as SQL has it; a backslash has no meaning there (C{standard_conforming_strings})."""
    return "'{}'".format(text.replace("'", "''"))


def _rowOf(guard: Guard) -> str:
    """Return a query for the row of a guard."""
    where = " AND ".join(f"{quoted(column)} = {_literal(value)}" for column, value in guard.values.items())
    table = f"{quoted(schemaOf(guard.store))}.{quoted(guard.table)}"
    return f"SELECT true FROM {table} WHERE {where}"  # noqa: S608 -- all parts are quoted


def _heldBy(guard: Guard) -> str:
    """Return an expression that is true if there is the row of a guard, and that keeps the row if it is there."""
    # A lock as foreign keys have it: it does not hinder changes of other columns.
    return f"({_rowOf(guard)} FOR KEY SHARE)"


def applicationOf(name: str, guard: Guard | None) -> str:
    """Return the name of a session with a store in C{pg_stat_activity}."""
    return f"xmpp-gateway {name}" if guard is None else f"{_sessionsOf(guard.holder)}{name}"


def _sessionsOf(holder: str) -> str:
    return f"xmpp-gateway {holder} "


class PostgresLocks(Locks):
    """The sessions of a database that several gateways use."""

    def endSessions(self, cursor: Any, holder: str) -> None:
        """
        See L{Locks.endSessions}.

        PostgreSQL has no time limit for all of them: if a client halts within the messages of one statement, its
        session is not regarded as idle. The sessions of another user of PostgreSQL are left alone.
        """
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = current_user AND starts_with(application_name, ?)",
            (_sessionsOf(holder),),
        )

    def isFree(self, cursor: Any, guard: Guard) -> bool:
        """
        See L{Locks.isFree}.

        Without a wait: a session that was told to end may need a moment, and may never end if its disk does not
        respond; whoever waits for it keeps the lock of the store, for which others wait.
        """
        query = f"{_rowOf(guard)} FOR UPDATE SKIP LOCKED"
        return cursor.connection.execute(query.encode(), prepare=False).fetchone() is not None


def connect(url: str, application: str) -> psycopg.Connection[Any]:
    """
    Return a new connection in autocommit mode.

    @param application: its name in C{pg_stat_activity}.
    @raise psycopg.Error: if that is not possible.
    """
    given = conninfo_to_dict(url)
    parameters = {**_PARAMETERS, **given, "client_encoding": "UTF8", "application_name": application}
    return psycopg.connect(autocommit=True, **parameters)


def unusable(connection: psycopg.Connection[Any]) -> str:
    """Return the reason why a database cannot have stores, and a remedy; empty if it can."""
    version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
    if version < _OLDEST:
        return f"PostgreSQL {version // 10_000} is too old: use release {_OLDEST // 10_000} or a newer one"
    if encoding != "UTF8":
        return f"the encoding of the database is {encoding}: make one with CREATE DATABASE ... ENCODING 'UTF8'"
    return ""


@frozen
class Transaction:
    """
    A transaction that writes.

    @ivar timeline: of the server. A standby that becomes the primary begins a new one, with numbers of its own.
    """

    number: str
    timeline: str


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
    @param guard: a condition for all transactions that write; C{None} for none.
    @ivar transaction: the last one that writes; C{None} if there is none, or a later one that reads.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        name: str,
        dialect: Dialect,
        schema: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.connection = connection
        self.close = connection.close
        self.transaction: Transaction | None = None
        self._name = name
        self._dialect = dialect
        self._schema = quoted(schema or schemaOf(name))
        self._guard = guard
        self._isAllowed = "true" if guard is None else _heldBy(guard)
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
        """
        See L{Session.begin}.

        @raise StoreTaken: if the condition of the guard is not met.
        """
        self.transaction = None
        if not writes:
            # All statements find the same state, as in a file.
            self._simple("BEGIN ISOLATION LEVEL REPEATABLE READ")
            return
        lock = f"SELECT pg_advisory_xact_lock({self._lock})"
        number, timeline, isAllowed = self._simple(
            f"BEGIN; {lock}; SELECT pg_current_xact_id()::text, {_TIMELINE}, {self._isAllowed}"
        )
        if not isAllowed and self._guard is not None:
            raise StoreTaken(self._guard.reason)
        self.transaction = Transaction(number, timeline)

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

    def domainError(self, error: Exception) -> GatewayError | None:
        """See L{Session.domainError}."""
        return domainError(error)

    def isStored(self, transaction: Transaction) -> bool | None:
        """True if an earlier transaction is stored, false if it is not; C{None} if that is not known."""
        status, timeline = self._simple(f"SELECT pg_xact_status('{int(transaction.number)}'::xid8), {_TIMELINE}")
        if timeline != transaction.timeline:
            return None
        return {"committed": True, "aborted": False}.get(status)
