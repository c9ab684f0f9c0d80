"""The store with open exchanges for the next process."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from attrs import asdict
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StoreBroken, StoreFull
from gateway.proxy.exchanges import OpenExchange
from gateway.proxy.store import MIGRATIONS, ExchangeFile, ExchangeStore
from gateway.state import files
from gateway.state.database import Database
from gateway.state.memory import MemoryStore
from gateway.state.sqlite import SqliteBackend
from tests.state.support import StartedReactor, closeAll

ROOT = Path(__file__).resolve().parent.parent.parent
OPEN = [
    OpenExchange("user@example.com/\u05d0 'x'", "n@proxy.example.com", "1", "t@example.com/a", 12.5, ()),
    OpenExchange("user@example.com/b", "proxy.example.com", "2", "t@example.com/b", 13.0, (13.5, 14.0)),
]

# Starts with a file of an older release, and is killed before the commit, after it, or after the removal.
KILLED = """
import os, sys
from pathlib import Path
from twisted.internet.testing import MemoryReactorClock
from gateway.proxy.store import MIGRATIONS, ExchangeFile, ExchangeStore
from gateway.state.database import Database
from gateway.state.sqlite import SqliteBackend
when = sys.argv[2]
class Killed(ExchangeFile):
    def read(self):
        found = super().read()
        if when == "before":
            os.kill(os.getpid(), 9)
        return found
    def remove(self):
        if when == "between":
            os.kill(os.getpid(), 9)
        super().remove()
        os.kill(os.getpid(), 9)
store = Database(SqliteBackend(Path(sys.argv[1], "x.proxy"), MIGRATIONS), MemoryReactorClock())
ExchangeStore(store, Killed(Path(sys.argv[1], "x.exchanges")))
"""


class ExchangeCase(SynchronousTestCase):
    """Collects log lines."""

    def setUp(self) -> None:
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        if str(event.get("log_namespace")).startswith("gateway.proxy.store."):
            self.said.append(str(event["log_format"]).format(**event))


class ExchangeStoreTests(ExchangeCase):
    """Stored exchanges are read once; a store that fails is reported, and prevents nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryStore(MIGRATIONS)

    def process(self) -> ExchangeStore:
        """Return the exchanges of the next process."""
        return ExchangeStore(self.store)

    def test_leftAndTaken(self) -> None:
        """The next process gets the stored exchanges, and the one after it none."""
        self.process().leave(OPEN)
        taken = self.process()
        self.assertEqual((taken.take(), taken.take()), (OPEN, []))
        self.assertEqual(self.process().take(), [])
        self.assertEqual(self.said, [])

    def test_otherClock(self) -> None:
        """Deadlines are stored in UTC: the next process has another clock, and the same remaining time."""
        self.process().leave(OPEN, 1000.0)
        [[deadline], _] = self.store.atStart(
            lambda cursor: cursor.execute("SELECT deadline FROM exchanges ORDER BY id").fetchall()
        )
        self.assertEqual(deadline, 1012.5)
        taken = self.process().take(1500.0)
        self.assertEqual([each.deadline for each in taken], [-487.5, -487.0])
        self.assertEqual(taken[1].copies, (-486.5, -486.0))

    def test_nothing(self) -> None:
        """A process without open exchanges stores none."""
        self.process().leave([])
        self.assertEqual(self.process().take(), [])

    def test_notTaken(self) -> None:
        """If a process never connects, the exchanges stay for the process after it."""
        self.process().leave(OPEN)
        self.process().leave([])
        self.assertEqual(self.process().take(), OPEN)

    def test_replaced(self) -> None:
        """A link that stops twice replaces its stored exchanges; a link that is started again removes them."""
        process = self.process()
        process.leave(OPEN[:1])
        process.leave(OPEN[1:])
        self.assertEqual(ExchangeStore(self.store)._left, OPEN[1:])
        self.assertEqual(process.take(), [])
        self.assertEqual(self.process().take(), [])

    def test_full(self) -> None:
        """If the disk is full, the stored exchanges stay, this is reported, and the stop continues."""
        process = self.process()
        process.leave(OPEN[:1])
        self.store.fault = StoreFull("the disk is full: free some space")
        process.leave(OPEN)
        [line] = self.said
        self.assertTrue(
            line.startswith("memory cannot be written (the disk is full: free some space): 2 open requ")
        )
        self.store.fault = None
        self.assertEqual(self.process().take(), OPEN[:1])

    def test_broken(self) -> None:
        """If the store cannot be read, this is reported, and the gateway starts without exchanges."""
        self.process().leave(OPEN)
        self.store.fault = StoreBroken("file is not a database")
        process = self.process()
        self.assertEqual(self.said, ["memory: open requests are lost: file is not a database."])
        self.assertEqual(process.take(), [])
        self.assertEqual(
            self.said[1:],
            ["memory cannot be written (file is not a database): the next start may end requests a second time."],
        )

    def test_unknown(self) -> None:
        """If the store works again at the first connection, its exchanges are removed: they were not read."""
        self.process().leave(OPEN)
        self.store.fault = StoreBroken("it is locked")
        process = self.process()
        self.store.fault = None
        self.assertEqual(process.take(), [])
        self.assertEqual(self.process().take(), [])


class StoppedTests(SynchronousTestCase):
    """The end of a process."""

    def test_stopped(self) -> None:
        """Exchanges that are stored during the shutdown are on the disk when the process ends."""
        closeAll(self)
        path, memory = Path(self.mktemp()), StartedReactor()
        process = ExchangeStore(Database(SqliteBackend(path, MIGRATIONS), memory))
        memory.run()
        process.leave(OPEN)
        memory.shutDown()
        again = Database(SqliteBackend(path, MIGRATIONS), MemoryReactorClock())
        self.assertEqual(ExchangeStore(again).take(), OPEN)


class OldFileTests(ExchangeCase):
    """The file of older releases is moved to the store; a file that cannot be used is reported."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = ExchangeFile(self.folder / "x.exchanges")
        self.write(OPEN)

    def write(self, exchanges: list[OpenExchange]) -> None:
        self.file.path.write_text(json.dumps([asdict(each) for each in exchanges]))

    def start(self) -> ExchangeStore:
        """Return the exchanges of the next process."""
        store = Database(SqliteBackend(self.folder / "x.proxy", MIGRATIONS), MemoryReactorClock())
        return ExchangeStore(store, self.file)

    def test_takenOver(self) -> None:
        """The first start moves the exchanges to the store, and removes the file."""
        self.assertEqual(self.start().take(), OPEN)
        self.assertFalse(self.file.path.exists())
        self.assertEqual(self.said, [])

    def test_notConnected(self) -> None:
        """If a process never connects, the exchanges stay in the store for the process after it."""
        self.start()
        self.assertFalse(self.file.path.exists())
        self.assertEqual(self.start().take(), OPEN)

    def test_killed(self) -> None:
        """If the process is killed between two steps, the next one finds each exchange once."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for when, isThere in (("before", True), ("between", True), ("after", False)):
            self.write(OPEN)
            arguments = [sys.executable, "-c", KILLED, str(self.folder), when]
            ended = subprocess.run(arguments, env=environment, timeout=30, capture_output=True, check=False)
            self.assertEqual(ended.returncode, -9, ended.stderr)
            self.assertEqual(self.file.path.exists(), isThere, when)
            self.assertEqual(self.start().take(), OPEN, when)
            with closing(sqlite3.connect(self.folder / "x.proxy")) as connection:
                connection.execute("DELETE FROM exchanges")
                connection.commit()

    def test_older(self) -> None:
        """The file of an older release that was started in between is moved to the store as well."""
        self.start().take()
        self.write(OPEN[1:])
        self.assertIn(OPEN[1], self.start().take())

    def test_broken(self) -> None:
        """A file with other content is reported and removed: the gateway starts."""
        contents = (b"", b"[", b"{}", b"[1]", b'[{"id": "1"}]', b"\xff", b'"x"', b'["\\ud800"]', b"[NaN]")
        for content in contents:
            self.file.path.write_bytes(content)
            self.said.clear()
            self.assertEqual("is not a file of open exchanges" in self.file.problem(), content != b"{}", content)
            self.assertEqual(self.file.path.read_bytes(), content)
            self.assertEqual(self.start().take(), [], content)
            self.assertEqual(len(self.said), content != b"{}", content)
            self.assertFalse(self.file.path.exists(), content)
        self.assertEqual(self.file.problem(), "")
        self.file.path.mkdir()
        self.assertIn("cannot be read: Is a directory", self.file.problem())
        self.assertEqual(self.start().take(), [])

    def test_notRemoved(self) -> None:
        """A file that cannot be removed is not used, because each start would read it again."""

        def refuse(path: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(files, "remove", refuse)
        self.assertEqual(self.start().take(), [])
        self.assertIn("cannot be removed: Operation not permitted", self.said[0])

    def test_storeBroken(self) -> None:
        """If the store fails, the file stays for the next process."""
        store = MemoryStore(MIGRATIONS)
        store.fault = StoreFull("the disk is full")
        self.assertEqual(ExchangeStore(store, self.file).take(), [])
        self.assertEqual(self.start().take(), OPEN)
