"""Private data on the disk: only its owner can read it, and it survives any end of the process."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from gateway.delegation.store import MIGRATIONS, PrivateFile
from gateway.state.database import Database
from gateway.state.sqlite import SqliteBackend

USER, KEY = "juliet@capulet.lit", ("urn:x", "x")
ROOT = Path(__file__).resolve().parent.parent.parent

# The tables of releases without versions.
UNVERSIONED = (
    """
    CREATE TABLE IF NOT EXISTS private (
        user TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, xml TEXT NOT NULL,
        PRIMARY KEY (user, namespace, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS asked (
        user TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (user, namespace, name)
    ) WITHOUT ROWID
    """,
)

# Stores an element, waits until it is stored, and is killed.
KILLED = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from gateway.state.database import Database
from gateway.state.sqlite import SqliteBackend
from gateway.delegation.store import MIGRATIONS, PrivateFile
store = PrivateFile(Database(SqliteBackend(Path(sys.argv[1]), MIGRATIONS), reactor))
def stored(kept):
    os.kill(os.getpid(), 9 if kept else 15)
store.put(sys.argv[2], {("urn:x", "x"): "<x xmlns='urn:x'>\\u20ac</x>"}, 100, 1).addCallback(stored)
reactor.callLater(20, reactor.stop)
reactor.run()
"""


class PrivateFileTests(TestCase):
    """One file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def open(self) -> PrivateFile:
        self.database = Database(SqliteBackend(self.path, MIGRATIONS), reactor)
        self.addCleanup(self.database.close)
        return PrivateFile(self.database)

    @inlineCallbacks
    def test_mode(self) -> Any:
        """Only the owner can read it and its journal, with any umask."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        store = self.open()
        yield store.put(USER, {KEY: "<x/>"}, 100, 1)
        found = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.glob("*") if path.is_file()
        }
        mine = {name: mode for name, mode in found.items() if name.startswith(self.path.name)}
        self.assertIn(self.path.name, mine)
        self.assertGreaterEqual(len(mine), 2)
        self.assertEqual(set(mine.values()), {0o600})

    @inlineCallbacks
    def test_killed(self) -> Any:
        """Data that was reported as stored is there after a kill, for the next process."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(self.path), USER],
            env=environment,
            timeout=30,
            capture_output=True,
            check=False,
        )
        self.assertEqual(ended.returncode, -9, ended.stderr)
        store = self.open()
        self.assertEqual((yield store.get(USER, KEY)), "<x xmlns='urn:x'>\u20ac</x>")
        self.assertIsNone((yield store.get("romeo@capulet.lit", KEY)))
        self.assertIsNone((yield store.get(USER, ("urn:x", "y"))))

    @inlineCallbacks
    def test_older(self) -> Any:
        """The file of a release without versions is used as it is: its elements are there, and new ones stored."""
        with closing(sqlite3.connect(self.path)) as connection:
            for statement in UNVERSIONED:
                connection.execute(statement)
            connection.execute("INSERT INTO private VALUES (?, 'urn:x', 'x', 'old')", (USER,))
            connection.execute("INSERT INTO asked VALUES (?, 'urn:x', 'y')", (USER,))
            connection.commit()
        store = self.open()
        self.assertEqual((yield store.get(USER, KEY)), "old")
        self.assertTrue((yield store.wasAsked(USER, ("urn:x", "y"))))
        self.assertTrue((yield store.put(USER, {KEY: "new"}, 100, 1)))
        self.assertEqual((yield store.get(USER, KEY)), "new")
        self.database.close()
        # The older release, too, can still use it.
        with closing(sqlite3.connect(self.path)) as connection:
            for statement in UNVERSIONED:
                connection.execute(statement)
            connection.execute("UPDATE private SET xml = 'older' WHERE user = ?", (USER,))
            connection.commit()
        store = self.open()
        self.assertEqual((yield store.get(USER, KEY)), "older")

    @inlineCallbacks
    def test_durable(self) -> Any:
        """Data is on the disk before it is reported as stored: the journal is flushed at every commit."""
        self.open()
        modes = yield self.database.read(
            lambda cursor: [
                cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]
        )
        self.assertEqual(modes, ["wal", 2])

    @inlineCallbacks
    def test_room(self) -> Any:
        """
        A write over the quota stores nothing. Bytes are counted, not characters; replaced data is not counted.
        """
        store = self.open()
        self.assertTrue((yield store.put(USER, {KEY: "x" * 10}, 10, 1)))
        self.assertFalse((yield store.put(USER, {KEY: "\u20ac" * 4}, 10, 1)))
        self.assertFalse((yield store.put(USER, {KEY: "y", ("urn:y", "y"): "z"}, 10, 1)))
        self.assertEqual((yield store.get(USER, KEY)), "x" * 10)
        self.assertIsNone((yield store.get(USER, ("urn:y", "y"))))
        self.assertTrue((yield store.put(USER, {KEY: "y" * 10}, 10, 1)))
        self.assertTrue((yield store.put("romeo@capulet.lit", {KEY: "z" * 10}, 10, 1)))
        self.assertEqual((yield store.get(USER, KEY)), "y" * 10)
