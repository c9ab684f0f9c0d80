"""A process whose lease another one has taken changes nothing, whatever its clock says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import OperationalError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StoreTaken
from gateway.standby.core import Owner, Row, Turn
from gateway.standby.store import MIGRATIONS, NAME, guard, perform
from gateway.state.database import Database
from gateway.state.dialect import Dialect
from gateway.state.postgresql import PostgresBackend
from gateway.state.postgresql_session import (
    PostgresLocks,
    PostgresSession,
    applicationOf,
    connect,
    quoted,
    schemaOf,
)
from tests.state.cluster import cluster

C, D, E = "private.exa'mple", "other.example", "third.example"
KEEP = f"BEGIN; SELECT 1 FROM {quoted(schemaOf(NAME))}.leases WHERE component <> '{D}' FOR KEY SHARE".encode()  # noqa: S608  # constants
STORE = f"{C}.private"
TABLES = (("CREATE TABLE kept (name TEXT PRIMARY KEY)",),)
ONE, OTHER = Owner("run-one", "one"), Owner("run-other", "other")


def put(cursor: Any, name: str) -> None:
    """Store a name."""
    cursor.execute("INSERT INTO kept VALUES (?)", (name,))


def names(cursor: Any) -> list[str]:
    """Return the names."""
    cursor.execute("SELECT name FROM kept ORDER BY name")
    return [name for (name,) in cursor.fetchall()]


class Patient(PostgresLocks):
    """Ends no session."""

    def endSessions(self, cursor: Any, holder: str) -> None:
        """Do nothing."""


class GuardTests(SynchronousTestCase):
    """L{guard} on PostgreSQL."""

    def setUp(self) -> None:
        self.url = cluster().url(cluster().database())
        self.leases = self.database(PostgresBackend(self.url, NAME, MIGRATIONS))
        self.stores = {
            each: self.database(PostgresBackend(self.url, STORE, TABLES, guard(C, each))) for each in (ONE, OTHER)
        }
        [self.row] = self.turn(ONE, claim=(C,))

    def database(self, backend: PostgresBackend) -> Database:
        """Open a store."""
        made = Database(backend, MemoryReactorClock())
        self.addCleanup(made.close)
        return made

    def turn(self, own: Owner, **turn: Any) -> list[Row]:
        """Change the table of leases, and return it."""
        found: list[Row] = self.leases.atStart(perform, own, Turn(**turn), PostgresLocks())
        return found

    def take(self, row: Row) -> None:
        """Take a row; a session that is to end may need a moment."""
        deadline = time.monotonic() + 5
        while self.turn(OTHER, take=(row,))[0].owner != OTHER:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_taken(self) -> None:
        """The owner changes the store; after another process has taken the lease, only that one does."""
        self.stores[ONE].atStart(put, "a")
        self.turn(ONE, renew=(C,))
        self.stores[ONE].atStart(put, "b")
        [row] = self.turn(ONE)
        self.turn(OTHER, take=(row,))
        error = self.assertRaises(StoreTaken, self.stores[ONE].atStart, put, "c")
        self.assertIn(f"another gateway may serve {C} by now", str(error))
        self.stores[OTHER].atStart(put, "d")
        self.assertEqual(self.stores[OTHER].atStart(names), ["a", "b", "d"])

    def test_new(self) -> None:
        """Without the lease, a store is not even made, or changed by a migration."""
        self.assertRaises(StoreTaken, self.stores[OTHER].atStart, put, "a")
        self.assertEqual(cluster().sql("SELECT 1 FROM pg_tables WHERE tablename = 'kept'", self.name()), [])

    def test_released(self) -> None:
        """The same holds after a process has released the lease itself."""
        self.turn(ONE, release=(C,))
        self.assertRaises(StoreTaken, self.stores[ONE].atStart, put, "a")

    @contextmanager
    def change(self) -> Iterator[PostgresSession]:
        """Return a session of the owner in which a change is not committed."""
        self.stores[ONE].atStart(put, "a")
        own = guard(C, ONE)
        with connect(self.url, applicationOf(STORE, own)) as connection:
            session = PostgresSession(connection, STORE, Dialect(TABLES[0]), guard=own)
            session.begin(True)
            put(session.cursor(), "b")
            yield session

    def test_open(self) -> None:
        """
        While a transaction of the owner is open, the lease is renewed, but not taken: what it commits is there when
        another process reads the store.
        """
        with self.change() as session:
            [row] = self.turn(ONE, renew=(C,))
            self.assertEqual(row.beat, self.row.beat + 1)
            found = self.leases.atStart(perform, OTHER, Turn(take=(row,)), Patient())
            self.assertEqual(found, [row])
            session.commit()
        self.take(row)
        self.assertEqual(self.stores[OTHER].atStart(names), ["a", "b"])

    def test_kept(self) -> None:
        """
        A row that a session keeps and that cannot be ended, such as one of another user of PostgreSQL, delays
        neither the renewal of other components nor their release.
        """
        self.turn(OTHER, claim=(D, E))
        with connect(self.url, "another one") as session:
            session.execute(KEEP)
            before = {row.component: row for row in self.turn(OTHER)}
            began = time.monotonic()
            found = self.turn(OTHER, take=(self.row,), renew=(D,), release=(E,))
            self.assertLess(time.monotonic() - began, 0.4)
            after = {row.component: row for row in found}
            self.assertEqual((after[C], after[E]), (before[C], before[E]))
            self.assertEqual((after[D].owner, after[D].beat), (OTHER, before[D].beat + 1))
            session.execute(b"COMMIT")
        self.take(self.row)
        self.assertEqual({row.component for row in self.turn(OTHER, release=(E,))}, {C, D})

    def test_ended(self) -> None:
        """A process that takes the lease ends such a transaction; it is not stored."""
        with self.assertRaises(OperationalError), self.change() as session:
            self.take(self.row)
            session.commit()
        self.assertEqual(self.stores[OTHER].atStart(names), ["a"])
        self.assertRaises(StoreTaken, self.stores[ONE].atStart, put, "c")

    def test_halted(self) -> None:
        """The same if the owner is halted within the messages of a statement, which PostgreSQL waits for."""
        with self.assertRaises(OperationalError), self.change() as session, session.connection.pipeline():
            session.connection.execute(b"SELECT pg_sleep(0)")
            self.take(self.row)
        self.assertEqual(self.stores[OTHER].atStart(names), ["a"])

    def name(self) -> str:
        """Return the name of the database."""
        return self.url.rpartition("/")[2].partition("?")[0]
