"""Copies of all stores from a folder to PostgreSQL and back: complete and equal, or nothing."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.delegation import store as private
from gateway.delegation.store import PrivateFile
from gateway.muc import store as rooms
from gateway.proxy import store as exchanges
from gateway.roster import store as tags
from gateway.state import copying, places
from gateway.state.copying import CopyFailed
from gateway.state.database import Database
from gateway.state.migrations import Migrations
from gateway.state.postgresql_session import schemaOf
from tests.cli.support import call
from tests.state.cluster import cluster

LONG = "\u20ac" * 1_000
# Two versions of which the second one changes a table.
CHANGED = (
    ("CREATE TABLE kept (name TEXT PRIMARY KEY)", "INSERT INTO kept VALUES ('first')"),
    ("ALTER TABLE kept ADD COLUMN size DOUBLE PRECISION",),
)
STORES: dict[str, tuple[Migrations, str, tuple[Any, ...]]] = {
    "rooms.example.rooms": (
        rooms.MIGRATIONS,
        "INSERT INTO archive VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (LONG, 1, "a", 2**40, 3, "n", "j", "p", 1, "none", "role", "o", None, "", "<x/>%", 0),
    ),
    "delegate.example.private": (
        private.MIGRATIONS,
        "INSERT INTO private VALUES (?, ?, ?, ?)",
        (LONG, "u", "n", "'"),
    ),
    "proxy.example.proxy": (
        exchanges.MIGRATIONS,
        "INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?)",
        ("r", "a", "i", "x", 1e9 + 0.1, "[]"),
    ),
    "roster.example.roster": (tags.MIGRATIONS, "INSERT INTO tags VALUES (?, ?, ?)", ("n", "s", '"1"')),
    "x" * 100: (CHANGED, "INSERT INTO kept VALUES (?, ?)", ("second", -2.5)),
}


def run(cursor: Any, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
    """Run a statement; return its rows."""
    cursor.execute(statement, parameters)
    return cursor.fetchall() if statement.startswith("SELECT") else []


class CopyTests(SynchronousTestCase):
    """C{xmpp-gateway state copy}."""

    def setUp(self) -> None:
        self.folder, self.back = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.database = cluster().database()
        self.url = cluster().url(self.database)
        (self.folder / "proxy.example.key").write_text("a key")
        (self.folder / "empty").touch()
        for name, (migrations, statement, row) in STORES.items():
            self.open(self.folder, name, migrations).atStart(run, statement, row)

    def open(self, place: Path | str, name: str, migrations: Migrations) -> Database:
        return Database(places.backend(place, name, migrations), MemoryReactorClock())

    def content(self, folder: Path) -> dict[str, list[str]]:
        """Return the tables, rows and versions of all files."""
        found = {}
        for name in STORES:
            with closing(sqlite3.connect(folder / name)) as connection:
                [version] = connection.execute("PRAGMA user_version").fetchone()
                found[name] = [*connection.iterdump(), f"{version}"]
        return found

    def test_thereAndBack(self) -> None:
        """All stores come to PostgreSQL and back as they were; the services find theirs at each place."""
        done = call("state", "copy", str(self.folder), self.url)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("  rooms.example.rooms: version 4, 5 tables, 1 row\n", done.stdout)
        self.assertIn(f": 5 stores of {self.folder}; all rows are equal.\n", done.stdout)
        for name, (migrations, _, row) in STORES.items():
            table = {"rooms": "archive", "private": "private", "proxy": "exchanges", "roster": "tags"}
            query = f"SELECT * FROM {table.get(name.rpartition('.')[2], 'kept')}"  # noqa: S608  # of this module
            store = self.open(self.url, name, migrations)
            self.assertIn(row, store.atStart(run, query))
        taken = call("state", "copy", self.url, str(self.back))
        self.assertEqual(taken.exit_code, 0, taken.output)
        self.assertEqual(self.content(self.back), self.content(self.folder))
        self.assertEqual(sorted(each.name for each in self.back.iterdir()), sorted(STORES))

    def test_keys(self) -> None:
        """A copied store still finds and replaces its rows."""
        places.copy(str(self.folder), self.url)
        store = self.open(self.url, "delegate.example.private", private.MIGRATIONS)
        with mock.patch.object(store, "write", side_effect=store.atStart):
            self.assertTrue(PrivateFile(store).put(LONG, {("u", "n"): "new"}, 9_999, 9))
        [row] = cluster().sql(f'TABLE "{schemaOf(store.name)}".private', self.database)
        self.assertEqual(row, (LONG, "u", "n", "new"))

    def test_refused(self) -> None:
        """A target that is not empty, a source without stores, and places that are in use."""
        places.copy(str(self.folder), self.url)
        for source, target, expected in (
            (str(self.folder), self.url, "has stores already, such as delegate.example.private: name an empty"),
            (self.url, str(self.folder), "has stores already"),
            (str(self.back), self.url, "has no stores: nothing to copy"),
            ("postgresql://h/x?y=1", str(self.back), "special characters of a password"),
        ):
            error = self.assertRaises(CopyFailed, places.copy, source, target)
            self.assertIn(expected, str(error))
        backend = places.backend(self.url, "proxy.example.proxy", exchanges.MIGRATIONS)
        connection: Any = backend.connect(time.monotonic, lambda: None)
        self.addCleanup(connection.close)
        connection._connected([])
        error = self.assertRaises(CopyFailed, places.copy, self.url, str(self.back))
        self.assertIn("is in use by xmpp-gateway proxy.example.proxy (pid ", str(error))
        (self.folder / "proxy.example.proxy-wal").touch()
        done = call("state", "copy", str(self.folder), str(self.back))
        self.assertEqual(done.exit_code, 1)
        self.assertIn("proxy.example.proxy is open: stop the gateway first", done.stderr)

    def test_nothingHalf(self) -> None:
        """If a copy differs, or a store cannot be copied, the target stays empty."""
        for source, target in ((str(self.folder), self.url), (str(self.folder), str(self.back))):
            numbers = count()
            self.patch(copying, "_content", lambda rows, numbers=numbers: next(numbers))
            error = self.assertRaises(CopyFailed, places.copy, source, target)
            self.assertIn("differs", str(error))
        self.assertEqual(list(self.back.iterdir()), [])
        left = cluster().sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'gateway%'", self.database)
        self.assertEqual(left, [])

    def test_others(self) -> None:
        """A file or schema that has the name of a store, and is none, stays as it is; then nothing is copied."""
        name = "roster.example.roster"
        self.back.mkdir()
        (self.back / name).write_text("no store")
        error = self.assertRaises(CopyFailed, places.copy, str(self.folder), str(self.back))
        self.assertIn(f"{name} is there already: move it away, or name an empty folder", str(error))
        self.assertEqual([each.read_text() for each in self.back.iterdir()], ["no store"])
        cluster().sql(f'CREATE SCHEMA "{schemaOf(name)}" CREATE TABLE other (id INT)', self.database)
        self.assertRaises(CopyFailed, places.copy, str(self.folder), self.url)
        query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE 'gateway%'"
        self.assertEqual(cluster().sql(query, self.database), [(schemaOf(name), "other")])
