"""Schema versions of stores: each release brings a store up to date, whatever interrupts it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.errors import StoreBroken
from gateway.state.database import Database
from gateway.state.faults import problem
from gateway.state.migrations import Migrations, migrate
from gateway.state.sqlite import SqliteBackend, SqliteSession

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST = ("CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY)", "INSERT INTO kept VALUES ('first')")
SECOND = ("ALTER TABLE kept ADD COLUMN content TEXT NOT NULL DEFAULT ''", "UPDATE kept SET content = 'of ' || name")
BROKEN = (SECOND[0], "UPDATE nothing SET content = 1")

# Is killed between two statements of a migration, all of which it has run, or none.
KILLED = """
import os, sqlite3, sys
from gateway.state.migrations import migrate
from gateway.state.sqlite import SqliteSession
class Killed(tuple):
    def __iter__(self):
        for number, statement in enumerate(super().__iter__()):
            if number == int(sys.argv[2]):
                os.kill(os.getpid(), 9)
            yield statement
        os.kill(os.getpid(), 9)
first, second = eval(sys.argv[3])
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
migrate(SqliteSession(connection), (first, Killed(second)))
"""


class MigrationsTests(SynchronousTestCase):
    """One file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def migrate(self, *migrations: tuple[str, ...]) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            migrate(SqliteSession(connection), migrations)

    def content(self, query: str = "SELECT * FROM kept") -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def version(self) -> int:
        [[version]] = self.content("PRAGMA user_version")
        return int(version)

    def test_new(self) -> None:
        """A new store gets all versions; one that has them all is not changed."""
        self.migrate(FIRST, SECOND)
        self.assertEqual((self.version(), self.content()), (2, [("first", "of first")]))
        before = self.path.read_bytes()
        self.migrate(FIRST, SECOND)
        self.assertEqual(self.path.read_bytes(), before)

    def test_older(self) -> None:
        """A store gets the versions that it does not have, each once."""
        self.migrate(FIRST)
        self.assertEqual((self.version(), self.content()), (1, [("first",)]))
        self.migrate(FIRST, SECOND)
        self.assertEqual((self.version(), self.content()), (2, [("first", "of first")]))

    def test_unversioned(self) -> None:
        """Tables without a version are those of the first one, and stay."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE kept (name TEXT PRIMARY KEY)")
            connection.execute("INSERT INTO kept VALUES ('old')")
            connection.commit()
        self.migrate(FIRST, SECOND)
        self.assertEqual((self.version(), self.content()), (2, [("old", "of old"), ("first", "of first")]))

    def test_broken(self) -> None:
        """If a statement fails, the store stays as it is."""
        self.migrate(FIRST)
        self.assertRaises(sqlite3.OperationalError, self.migrate, FIRST, BROKEN)
        self.assertEqual((self.version(), self.content()), (1, [("first",)]))
        self.migrate(FIRST, SECOND)
        self.assertEqual(self.version(), 2)

    def test_killed(self) -> None:
        """If the process is killed between any two statements, the store stays as it is."""
        self.migrate(FIRST)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for statement in range(3):
            arguments = [sys.executable, "-c", KILLED, str(self.path), str(statement), repr((FIRST, SECOND))]
            ended = subprocess.run(arguments, env=environment, timeout=30, capture_output=True, check=False)
            self.assertEqual(ended.returncode, -9, ended.stderr)
            self.assertEqual((self.version(), self.content()), (1, [("first",)]))
        self.migrate(FIRST, SECOND)
        self.assertEqual((self.version(), self.content()), (2, [("first", "of first")]))

    def test_newer(self) -> None:
        """A store of a newer release is refused and not changed."""
        self.migrate(FIRST, SECOND)
        before = self.path.read_bytes()
        error = self.assertRaises(StoreBroken, self.migrate, FIRST)
        self.assertEqual(
            str(error),
            "a newer release of the gateway has changed it (schema version 2; this release knows 1): install that "
            "release again, or restore a backup from before the change",
        )
        self.assertEqual(problem(self.path, (FIRST,)), f"{self.path} cannot be used: {error}")
        self.assertEqual((problem(self.path, (FIRST, SECOND)), problem(self.path)), ("", ""))
        self.assertEqual(self.path.read_bytes(), before)

    def test_meanwhile(self) -> None:
        """If another process migrates the store at the same moment, nothing is applied twice."""

        class Meanwhile(sqlite3.Connection):
            """Another process comes first."""

            def execute(this, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql == "BEGIN IMMEDIATE":
                    self.migrate(FIRST)
                return super().execute(sql, *parameters)

        with closing(sqlite3.connect(self.path, isolation_level=None, factory=Meanwhile)) as connection:
            migrate(SqliteSession(connection), (FIRST,))
        self.assertEqual((self.version(), self.content()), (1, [("first",)]))


class RunningTests(TestCase):
    """Migrations of a running gateway."""

    @inlineCallbacks
    def test_newer(self) -> Any:
        """Requests to a store of a newer release fail, and /status has the reason and the remedy."""
        path = Path(self.mktemp())
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 3")
        migrations: Migrations = (FIRST,)
        store = Database(SqliteBackend(path, migrations), reactor)
        self.addCleanup(store.close)
        for _ in range(3):
            yield self.assertFailure(store.read(lambda cursor: None), StoreBroken)
            yield self.assertFailure(store.write(lambda cursor: None), StoreBroken)
        self.assertIn("install that release again, or restore a backup", str(store.report()))
        with closing(sqlite3.connect(path)) as connection:
            self.assertEqual(connection.execute("SELECT * FROM sqlite_master").fetchall(), [])
