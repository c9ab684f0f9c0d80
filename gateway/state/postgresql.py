"""
Stores on a PostgreSQL server. Everything here blocks.

Each store has a schema of its own, so that no store has to know the tables of another one, and a connection of its
own, so that none waits for another one: a gateway has as many connections as stores, and during a start one more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from gateway.errors import GatewayError, StoreBroken
from gateway.state.dialect import Dialect
from gateway.state.guards import Guard
from gateway.state.jobs import CommitUnknown, Job, runAll, transact
from gateway.state.migrations import Migrations, migrate, newerVersion
from gateway.state.postgresql_faults import domainError, reasonOf
from gateway.state.postgresql_session import PostgresSession, Transaction, applicationOf, connect, unusable
from gateway.state.urls import shown

# Seconds between two attempts to connect: those of a request that waits, and those while the server is known to be
# away. A request fails that many seconds before its deadline, with a better reason.
_FIRST_DELAY, _MAX_DELAY = 0.05, 1.0
_REOPEN_EVERY = 1.0
_MARGIN = 1.0

UNKNOWN = (
    "the connection to PostgreSQL was lost during a commit: nobody knows whether the change is stored; look at it "
    "before it is made again"
)


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
        return str(domainError(error) or reasonOf(error))


def openStore(url: str, name: str, migrations: Migrations, timeout: float) -> PostgresSession:
    """
    Return a session with a store that exists, for a command.

    @param timeout: seconds to wait for a transaction of the gateway.
    @raise GatewayError: if it does not exist, or cannot be used.
    """
    try:
        connection = connect(url, f"xmpp-gateway import into {name}")
        session = PostgresSession(connection, name, Dialect(each for some in migrations for each in some))
        connection.execute(f"SET lock_timeout = {timeout * 1000:.0f}".encode())
        if not session.isThere():
            raise StoreBroken("it does not exist: the gateway creates it when it starts")
        if refusal := newerVersion(session.version(), migrations):
            raise StoreBroken(refusal)
    except psycopg.Error as error:
        raise domainError(error) or StoreBroken(reasonOf(error)) from error
    return session


def exists(url: str, name: str) -> bool:
    """True if a store exists, or if the server does not answer."""
    try:
        with connect(url, "check of stores") as connection:
            return PostgresSession(connection, name, Dialect(())).isThere()
    except psycopg.Error:
        return True


def version(url: str, name: str) -> int:
    """
    Return the schema version of a store; 0 if it does not exist.

    @raise GatewayError: if the database cannot be used.
    """
    try:
        return PostgresBackend(url, name, ()).version()
    except psycopg.Error as error:
        raise domainError(error) or StoreBroken(reasonOf(error)) from error


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
        guard: Guard | None = None,
    ) -> None:
        self._url = url
        self._guard = guard
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
        # The reason why the last attempt to connect has failed.
        self._refusal: GatewayError | None = None
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
        if self._refusal is not None and now < self._reopenAt:
            raise type(self._refusal)(str(self._refusal))
        patience = self._patience(jobs, now) if self._refusal is None else 0.0
        delay = _FIRST_DELAY
        waited = 0.0
        while True:
            try:
                session = self._open()
            except (psycopg.Error, GatewayError) as error:
                self.close()
                # A database that cannot be used stays so. The delays count as well: a test's clock may stand still.
                isFinal = isinstance(error, GatewayError) or max(waited, self._seconds() - now) + delay > patience
                if isFinal or all(job.isCancelled for job in jobs) or self._isLeaving(delay):
                    self._refusal = domainError(error) or StoreBroken(reasonOf(error))
                    self._reopenAt = self._seconds() + _REOPEN_EVERY
                    raise self._refusal from None
                waited += delay
                delay = min(2 * delay, _MAX_DELAY)
            else:
                if self._isLost and self._refusal is None:
                    self._onReopened()
                self._isLost, self._refusal = False, None
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
        connection = connect(self._url, applicationOf(self._name, self._guard))
        try:
            if refusal := unusable(connection):
                raise StoreBroken(refusal)
            session = PostgresSession(connection, self._name, self._dialect, guard=self._guard)
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
        self.rollBack, self.cursor = session.rollBack, session.cursor
        self.domainError = session.domainError
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

    def _isStored(self, transaction: Transaction) -> bool:
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
    @param guard: a condition for changes; C{None} for none.
    """

    slow = "PostgreSQL does not respond: check it, and the network"
    _log = Logger()

    def __init__(self, url: str, name: str, migrations: Migrations, guard: Guard | None = None) -> None:
        self.name = name
        self._guard = guard
        self.place = f"{shown(url)}, {name}"
        self._url = url
        self._migrations = migrations

    def connect(self, seconds: Callable[[], float], onReopened: Callable[[], object]) -> PostgresConnection:
        """See L{Backend.connect}."""
        return PostgresConnection(self._url, self.name, self._migrations, seconds, onReopened, self._guard)

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
