"""A process whose lease another one has taken changes nothing, whatever its clock says."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StoreBusy, StoreTaken
from gateway.standby.core import Owner, Row, Turn
from gateway.standby.store import MIGRATIONS, NAME, guard, perform
from gateway.state.database import Database
from gateway.state.dialect import Dialect
from gateway.state.postgresql import PostgresBackend
from gateway.state.postgresql_session import PostgresSession, connect
from tests.state.cluster import cluster

C = "private.exa'mple"
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
        found: list[Row] = self.leases.atStart(perform, own, Turn(**turn))
        return found

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

    def test_halted(self) -> None:
        """
        While a transaction of the owner is open, the lease is renewed, but not taken: what it commits is there when
        another process reads the store.
        """
        self.stores[ONE].atStart(put, "a")
        with connect(self.url, "test") as connection:
            session = PostgresSession(connection, STORE, Dialect(TABLES[0]), guard=guard(C, ONE))
            session.begin(True)
            put(session.cursor(), "b")
            [row] = self.turn(ONE, renew=(C,))
            self.assertEqual(row.beat, self.row.beat + 1)
            self.assertRaises(StoreBusy, self.turn, OTHER, take=(row,))
            session.commit()
        self.assertEqual(self.turn(OTHER, take=(row,))[0].owner, OTHER)
        self.assertEqual(self.stores[OTHER].atStart(names), ["a", "b"])

    def name(self) -> str:
        """Return the name of the database."""
        return self.url.rpartition("/")[2].partition("?")[0]
