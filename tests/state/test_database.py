"""Databases with a full disk, or with a locked, corrupt, read-only or missing file: each request gets its error."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.errors import ERRORS, StoreBroken, StoreBusy, StoreFull, TooManyPending
from gateway.state import database, sqlite
from gateway.state.database import Database
from gateway.state.faults import Condition, problem
from gateway.state.sqlite import SqliteBackend
from tests.disks import smallDisk
from tests.state.support import ClockedReactor

MIGRATIONS = (("CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, content TEXT NOT NULL)",),)


def put(cursor: sqlite3.Cursor, name: str, content: str) -> str:
    """Store a value."""
    cursor.execute(
        "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET content = excluded.content", (name, content)
    )
    return name


def get(cursor: sqlite3.Cursor, name: str) -> str | None:
    """Return the stored value."""
    row = cursor.execute("SELECT content FROM kept WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that a writer needs, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def hang(cursor: sqlite3.Cursor, finish: list[None], *started: list[None]) -> None:
    """
    Do not end before C{finish} has an item.

    @param started: gets an item.
    @raise AssertionError: if the reactor has waited meanwhile.
    """
    for each in started:
        each.append(None)
    deadline = time.monotonic() + 10
    while not finish:
        assert time.monotonic() < deadline, "the reactor has waited for the thread"
        time.sleep(0.01)


class DatabaseCase(TestCase):
    """A database in a folder, and its log lines."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "x.db"
        self.logged: list[str] = []
        self.patch(database, "_PROBE_EVERY", 0.1)
        self.patch(sqlite, "_REOPEN_EVERY", 0.05)
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: Any) -> None:
        if str(event.get("log_namespace")).startswith("gateway.state."):
            self.assertNotIn("log_failure", event)
            self.logged.append(formatEvent(event))

    def open(self, path: Path | None = None, clocked: Any = reactor) -> Database:
        opened = Database(SqliteBackend(path or self.path, MIGRATIONS), clocked)
        self.addCleanup(opened.close)
        return opened

    def until(self, holds: Callable[[], bool], seconds: float = 5.0) -> Deferred[None]:
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds

        async def wait() -> None:
            while not holds():
                self.assertLess(time.monotonic(), deadline, "not in time")
                await deferLater(reactor, 0.02)

        return Deferred.fromCoroutine(wait())


class FullTests(DatabaseCase):
    """A full disk."""

    @inlineCallbacks
    def test_full(self) -> Any:
        """A change is refused and nothing of it stored; reading works; with free space everything works again."""
        with smallDisk(self.folder / "disk", "256k") as disk:
            kept = self.open(disk.path / "x.db")
            yield kept.write(put, "before", "x")
            disk.fill()
            for number in range(5):
                yield self.assertFailure(kept.write(put, f"{number}", "y" * 100_000), StoreFull)
                self.assertIn("the disk is full: free some space", kept.trouble)
                self.assertEqual((yield kept.read(get, "before")), "x")
            self.assertIn("x.db: the disk is full: free some space; ", str(kept.report()))
            [line] = self.logged
            reason = "does not work: the disk is full: free some space."
            self.assertTrue(line.startswith(f"{kept.place} {reason}"), line)
            disk.free()
            yield self.until(lambda: not kept.trouble)
            self.assertEqual(self.logged[1:], [f"{kept.place} works again."])
            for number in range(5):
                self.assertIsNone((yield kept.read(get, f"{number}")))
            yield kept.write(put, "after", "y" * 100_000)
            kept.close()

    @inlineCallbacks
    def test_fullFirst(self) -> Any:
        """If the disk is full at the first start, the file that is left can be used by the next start."""
        with smallDisk(self.folder / "disk", "64k") as disk:
            disk.fill()
            kept = self.open(disk.path / "x.db")
            yield self.assertFailure(kept.write(put, "a", "x"), StoreFull)
            kept.close()
            self.assertEqual(problem(Path(kept.place)), "")
            disk.free()
            again = self.open(Path(kept.place))
            yield again.write(put, "a", "y")
            self.assertEqual((yield again.read(get, "a")), "y")
            again.close()

    @inlineCallbacks
    def test_room(self) -> Any:
        """A full disk on systems that cannot mount one: the file may not grow."""
        kept = self.open()
        yield kept.write(put, "before", "x")
        [pages] = yield kept.read(lambda cursor: cursor.execute("PRAGMA page_count").fetchone())
        yield kept.read(lambda cursor: cursor.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        yield self.assertFailure(kept.write(put, "a", "y" * 100_000), StoreFull)
        self.assertIsNone((yield kept.read(get, "a")))
        yield kept.read(lambda cursor: cursor.execute("PRAGMA max_page_count = 1000000").fetchone())
        yield kept.write(put, "a", "y" * 100_000)

    def test_answers(self) -> None:
        """Each error has its stanza error."""
        said = {error: ERRORS[error].condition for error in (StoreFull, StoreBusy, StoreBroken)}
        self.assertEqual(
            said,
            {
                StoreFull: "resource-constraint",
                StoreBusy: "resource-constraint",
                StoreBroken: "internal-server-error",
            },
        )


class LockedTests(DatabaseCase):
    """A lock of another process."""

    @inlineCallbacks
    def test_locked(self) -> Any:
        """Only the first request waits half a second; reading works; refused changes are not stored later."""
        kept = self.open()
        yield kept.write(put, "before", "x")
        with locked(self.path):
            started = time.monotonic()
            waiting = [self.assertFailure(kept.write(put, f"{number}", "y"), StoreBusy) for number in range(200)]
            reading = kept.read(get, "before")
            yield gatherResults(waiting)
            self.assertEqual((yield reading), "x")
            first = time.monotonic() - started
            self.assertGreater(first, 0.4)
            self.assertLess(first, 3)
            started = time.monotonic()
            yield gatherResults([self.assertFailure(kept.write(put, "late", "y"), StoreBusy) for _ in range(200)])
            # With a wait of five seconds for each request it was 1,000.
            self.assertLess(time.monotonic() - started, 3)
            self.assertIn("another process has locked it", kept.trouble)
        yield self.until(lambda: not kept.trouble)
        self.assertEqual(len(self.logged), 2, self.logged)
        for name in ("0", "199", "late"):
            self.assertIsNone((yield kept.read(get, name)))
        yield kept.write(put, "after", "x")

    @inlineCallbacks
    def test_short(self) -> Any:
        """A short lock causes no error."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        with locked(self.path):
            waiting = kept.write(put, "a", "y")
            yield deferLater(reactor, 0.1)
            self.assertNoResult(waiting)
        yield waiting
        self.assertEqual((kept.trouble, self.logged), ("", []))

    @inlineCallbacks
    def test_shortAgain(self) -> Any:
        """A short lock causes no error either after a long one that did, once the file works again."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        with locked(self.path):
            yield self.assertFailure(kept.write(put, "a", "y"), StoreBusy)
        yield kept.write(put, "a", "y")
        with locked(self.path):
            waiting = kept.write(put, "a", "z")
            yield deferLater(reactor, 0.1)
            self.assertNoResult(waiting)
        yield waiting

    @inlineCallbacks
    def test_process(self) -> Any:
        """A lock of another process that excludes readers as well: found at the start, and recovered from."""
        keep = (
            "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.execute('PRAGMA locking_mode = EXCLUSIVE')\nc.execute('BEGIN EXCLUSIVE')\n"
            "c.execute('CREATE TABLE x (y)')\nprint('locked', flush=True)\nsys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", keep, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdin is not None
        with process.stdin, process.stdout:
            process.stdout.readline()
            kept = self.open()
            yield self.assertFailure(kept.read(get, "a"), StoreBusy)
            yield self.assertFailure(kept.write(put, "a", "x"), StoreBusy)
            started = time.monotonic()
            yield gatherResults([self.assertFailure(kept.read(get, "a"), StoreBusy) for _ in range(50)])
            self.assertLess(time.monotonic() - started, 3)
            process.kill()
            process.wait()
        yield self.until(lambda: not kept.trouble)
        yield kept.write(put, "a", "y")


class CancelledTests(DatabaseCase):
    """Cancelled requests."""

    @inlineCallbacks
    def test_queued(self) -> Any:
        """A request that is cancelled while it waits for the thread is not run."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        ran: list[str] = []
        with locked(self.path):
            first = self.assertFailure(kept.write(put, "first", "y"), StoreBusy)
            queued = kept.write(lambda cursor: ran.append("ran"))
            queued.cancel()
            yield self.assertFailure(queued, CancelledError)
            yield first
        yield kept.write(put, "b", "x")
        self.assertEqual(ran, [])

    @inlineCallbacks
    def test_running(self) -> Any:
        """A request that is cancelled while it runs is rolled back."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        started: list[None] = []
        finish: list[None] = []
        self.addCleanup(finish.append, None)

        def slow(cursor: sqlite3.Cursor) -> None:
            put(cursor, "a", "y")
            started.append(None)
            while not finish:
                time.sleep(0.01)

        running = kept.write(slow)
        yield self.until(lambda: bool(started))
        running.cancel()
        yield self.assertFailure(running, CancelledError)
        finish.append(None)
        self.assertEqual((yield kept.read(get, "a")), "x")
        self.assertEqual((kept.trouble, self.logged), ("", []))

    @inlineCallbacks
    def test_waited(self) -> Any:
        """On a hanging disk each request gets an error in time, later requests at once; none is run afterwards."""
        clock = ClockedReactor()
        kept = self.open(clocked=clock)
        yield kept.write(put, "a", "x")
        hung: list[None] = []
        self.addCleanup(hung.append, None)
        started: list[None] = []

        def hangs(cursor: sqlite3.Cursor) -> None:
            put(cursor, "a", "y")
            started.append(None)
            while not hung:
                time.sleep(0.01)

        waiting = [kept.write(hangs), *(kept.write(put, "a", f"{number}") for number in range(10))]
        yield self.until(lambda: bool(started))
        clock.pump([0.1] * 99)
        for each in waiting:
            self.assertNoResult(each)
        clock.advance(1.0)
        for each in waiting:
            self.failureResultOf(each, StoreBusy)
        yield self.assertFailure(kept.write(put, "a", "z"), StoreBusy)
        self.assertIn("its disk does not respond", kept.trouble)
        self.assertEqual(len(self.logged), 1)
        hung.append(None)
        yield self.until(lambda: bool(clock.advance(0.1) or not kept.trouble))
        self.assertEqual((yield kept.read(get, "a")), "x")

    @inlineCallbacks
    def test_closedMeanwhile(self) -> Any:
        """The errback of a request may close the file, or send another request."""
        for react in (Database.close, lambda kept: self.assertFailure(kept.read(get, "a"), StoreBusy)):
            clock = ClockedReactor()
            kept = self.open(clocked=clock)
            yield kept.write(put, "a", "x")
            finish: list[None] = []
            started: list[None] = []
            hung = kept.write(hang, finish, started)
            yield self.until(lambda started=started: bool(started))  # type: ignore[misc]  # of a loop
            hung.addErrback(lambda failure, finish=finish: finish.append(None))
            hung.addCallback(lambda result, react=react, kept=kept: react(kept))
            clock.advance(10.0)
            yield hung
            yield self.until(lambda kept=kept: str(kept.report()).endswith("that wait: 0"))  # type: ignore[misc]  # of a loop
            kept.close()
            self.assertEqual((kept._watching, kept._probing), (None, None))

    @inlineCallbacks
    def test_bounded(self) -> Any:
        """The number of waiting requests is limited; when they are done, further ones are accepted."""
        self.patch(database, "_MAX_WAITING", 3)
        kept = self.open()
        yield self.until(lambda: str(kept.report()).endswith("that wait: 0"))
        waiting = [kept.write(put, f"{number}", "x") for number in range(3)]
        yield self.assertFailure(kept.write(put, "4", "x"), TooManyPending)
        yield gatherResults(waiting)
        yield kept.write(put, "4", "x")

    @inlineCallbacks
    def test_closeLater(self) -> Any:
        """The requests that wait are still stored, without blocking the reactor; then the thread ends."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        finish: list[None] = []
        slow = kept.write(hang, finish)
        stored = kept.write(put, "a", "y")
        closing = kept.closeLater()
        self.assertNoResult(closing)
        finish.append(None)
        yield gatherResults([slow, stored])
        yield closing
        self.assertFalse([each for each in kept._worker.threads if each.is_alive()])
        yield self.assertFailure(kept.write(put, "a", "z"), StoreBroken)
        again = self.open()
        self.assertEqual((yield again.read(get, "a")), "y")
        yield again.closeLater()
        # A second time, nothing happens.
        yield again.closeLater()

    @inlineCallbacks
    def test_closeLaterHung(self) -> Any:
        """If the disk does not respond, the reactor does not wait for the thread, and the log says so."""
        clock = ClockedReactor()
        kept = self.open(clocked=clock)
        yield kept.read(get, "a")
        threads = list(kept._worker.threads)
        finish: list[None] = []
        started: list[None] = []
        hung = kept.write(hang, finish, started)
        hung.addErrback(lambda failure: None)
        yield self.until(lambda: bool(started))
        closing = kept.closeLater()
        self.assertNoResult(closing)
        clock.advance(10.0)
        yield closing
        self.assertTrue(any(each.is_alive() for each in threads))
        self.assertIn(f"{self.path} is still open: its disk does not respond: check the disk.", self.logged)
        yield hung
        yield self.assertFailure(kept.read(get, "a"), StoreBroken)
        # The thread ends when the disk responds.
        finish.append(None)
        yield self.until(lambda: not any(each.is_alive() for each in threads))
        self.assertEqual((kept._watching, kept._probing, kept._trigger), (None, None, None))

    @inlineCallbacks
    def test_closeLaterLocked(self) -> Any:
        """A file that another process has locked is closed as well."""
        kept = self.open()
        yield kept.read(get, "a")
        threads = list(kept._worker.threads)
        self.patch(kept._connection, "run", lambda jobs: [Failure(StoreBusy("locked")) for _ in jobs])
        yield kept.closeLater()
        self.assertFalse(any(each.is_alive() for each in threads))

    @inlineCallbacks
    def test_closeLaterFull(self) -> Any:
        """If no further request may wait, the file is closed after those that do. The reactor does not wait."""
        self.patch(database, "_MAX_WAITING", 2)
        kept = self.open()
        yield kept.read(get, "a")
        yield self.until(lambda: str(kept.report()).endswith("that wait: 0"))
        finish: list[None] = []
        slow = kept.write(hang, finish)
        stored = kept.write(put, "a", "y")
        threads = list(kept._worker.threads)
        kept.closeLater()
        self.assertNoResult(slow)
        finish.append(None)
        yield gatherResults([slow, stored])
        yield self.until(lambda: not any(each.is_alive() for each in threads))

    def test_closedAtStart(self) -> Any:
        """A request that waits for the start of the reactor fails if the file is closed before that."""
        clock = MemoryReactorClock()
        clock.hasRun = False
        kept = Database(SqliteBackend(self.path, MIGRATIONS), clock)
        waiting = kept.write(put, "a", "x")
        kept.close()
        self.assertTrue(waiting.called)
        return self.assertFailure(waiting, CancelledError)

    @inlineCallbacks
    def test_closed(self) -> Any:
        """A request that waits when the file is closed is not run; a later one fails at once."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        ran: list[str] = []
        running = kept.read(lambda cursor: time.sleep(0.1))
        running.addErrback(lambda failure: failure.trap(CancelledError))
        waiting = kept.write(lambda cursor: ran.append("ran"))
        kept.close()
        kept.close()
        yield self.assertFailure(waiting, CancelledError)
        self.assertEqual(ran, [])
        yield self.assertFailure(kept.write(put, "a", "y"), StoreBroken)


class BrokenTests(DatabaseCase):
    """Broken files."""

    @inlineCallbacks
    def test_corrupt(self) -> Any:
        """A file that is not a database is refused and not changed; the log gives the remedy once."""
        self.path.write_bytes(b"something else, and long enough to be read" * 100)
        kept = self.open()
        for _ in range(50):
            yield self.assertFailure(kept.read(get, "a"), StoreBroken)
            yield self.assertFailure(kept.write(put, "a", "x"), StoreBroken)
        [line] = self.logged
        self.assertIn("file is not a database: stop the gateway, move the file away", line)
        self.assertTrue(self.path.read_bytes().startswith(b"something else"))
        self.path.unlink()
        yield self.until(lambda: not kept.trouble)
        yield kept.write(put, "a", "x")

    @inlineCallbacks
    def test_corruptWhileRunning(self) -> Any:
        """If pages are overwritten at run time, requests for them fail with an error, not a traceback."""
        kept = self.open()
        for number in range(50):
            yield kept.write(put, f"{number}", "x" * 4000)
        yield kept.read(lambda cursor: None)
        # Move the journal into the file, so that pages are read from there.
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(self.path.stat().st_size - 4096))
        yield self.until(lambda: "corrupt" in problem(self.path))
        outcomes = []
        for number in range(50):
            done = kept.read(get, f"{number}")
            done.addErrback(lambda failure: failure.type)
            outcomes.append((yield done))
        self.assertIn(StoreBroken, outcomes)
        self.assertLessEqual(set(outcomes) - {StoreBroken}, {"x" * 4000, None})
        self.assertIn("malformed", kept.trouble)

    @inlineCallbacks
    def test_readOnly(self) -> Any:
        """On a disk that became read-only requests fail; once it is writable everything works again."""
        with smallDisk(self.folder / "disk", "256k") as disk:
            kept = self.open(disk.path / "x.db")
            yield kept.write(put, "a", "x")
            kept.close()
            disk.remount("ro")
            again = self.open(Path(kept.place))
            yield self.assertFailure(again.write(put, "a", "y"), StoreBroken)
            self.assertIn(
                f"make the file and its folder writable for the gateway's uid {os.getuid()}", again.trouble
            )
            disk.remount("rw")
            yield self.until(lambda: not again.trouble)
            self.assertEqual((yield again.read(get, "a")), "x")
            yield again.write(put, "a", "z")
            again.close()

    @inlineCallbacks
    def test_readOnlyWhileRunning(self) -> Any:
        """The same for a file that was open when the disk became read-only."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        yield kept.read(lambda cursor: cursor.execute("PRAGMA query_only = ON").fetchone())
        yield self.assertFailure(kept.write(put, "a", "y"), StoreBroken)
        self.assertIn("attempt to write a readonly database", kept.trouble)
        yield kept.write(put, "a", "z")
        self.assertEqual((kept.trouble, (yield kept.read(get, "a"))), ("", "z"))

    @inlineCallbacks
    def test_moved(self) -> Any:
        """A file that was moved away is not written any longer: changes go to a file with the configured name."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        # The store writes once by itself at its start.
        yield kept.read(get, "a")
        for each in list(self.folder.iterdir()):
            each.rename(each.with_name(each.name.replace("x.db", "moved")))
        yield kept.write(put, "a", "y")
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(get(connection.cursor(), "a"), "y")
        self.assertIn("was moved or replaced", self.logged[0])

    @inlineCallbacks
    def test_folderGone(self) -> Any:
        """If the folder is missing, requests fail."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        yield kept.read(get, "a")
        self.folder.rename(self.folder.with_name("elsewhere"))
        yield self.assertFailure(kept.write(put, "a", "y"), StoreBroken)
        self.assertIn("No such file or directory", kept.trouble)

    @inlineCallbacks
    def test_statement(self) -> Any:
        """A wrong statement is the plugin's fault: its exception is raised, and the file counts as working."""
        kept = self.open()
        yield kept.write(put, "a", "x")
        twice = kept.write(lambda cursor: cursor.execute("INSERT INTO kept VALUES ('a', 'y')"))
        yield self.assertFailure(twice, sqlite3.IntegrityError)
        yield self.assertFailure(kept.write(lambda cursor: 1 // 0), ZeroDivisionError)
        yield self.assertFailure(kept.write(lambda cursor: cursor.execute("x", (1, 2))), StoreBroken)
        yield kept.write(put, "b", "x")
        self.assertEqual((yield kept.read(get, "a")), "x")


class ConditionTests(SynchronousTestCase):
    """The rate of log lines."""

    def test_lines(self) -> None:
        """One line a minute, however many requests fail, and however often the file works in between."""
        condition = Condition()
        logged = [second for second in range(200) for _ in range(10) if condition.failed("full", float(second))]
        self.assertEqual(logged, [0, 60, 120, 180])
        self.assertEqual((condition.trouble, condition.refused), ("full", 2000))
        self.assertTrue(condition.works())
        self.assertEqual((condition.trouble, condition.refused), ("", 0))
        lines = [(condition.failed("full", 200.0 + second), condition.works()) for second in range(40)]
        self.assertEqual(lines, [(False, False)] * 40)
        self.assertEqual((condition.failed("full", 240.0), condition.works()), (True, True))


class ProblemTests(DatabaseCase):
    """The check before the start, which creates nothing."""

    @inlineCallbacks
    def test_right(self) -> Any:
        """A file that is missing, empty, in use or was closed has no problem."""
        self.assertEqual((problem(self.path), list(self.folder.iterdir())), ("", []))
        kept = self.open()
        self.assertEqual(problem(self.path), "")
        yield kept.write(put, "a", "x")
        with locked(self.path):
            self.assertEqual(problem(self.path), "")
        self.assertEqual(problem(self.path), "")
        kept.close()
        before = sorted(each.name for each in self.folder.iterdir())
        self.assertEqual(before, ["x.db"])
        self.assertEqual(problem(self.path), "")
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), before)

    @inlineCallbacks
    def test_wrong(self) -> Any:
        """A folder, another kind of file, a corrupt or read-only one: reported with its path and a remedy."""
        self.path.mkdir()
        self.assertEqual(problem(self.path), f"{self.path} is not a file")
        self.path.rmdir()
        self.path.write_bytes(b"x" * 5000)
        self.assertIn(f"{self.path} cannot be used: file is not a database: stop the gateway", problem(self.path))
        self.path.unlink()
        kept = self.open()
        for number in range(50):
            yield kept.write(put, f"{number}", "x" * 4000)
        kept.close()
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[:20_000] + bytes(20_000) + whole[40_000:])
        self.assertIn(f"{self.path} is corrupt: stop the gateway", problem(self.path))
        self.path.write_bytes(whole[:30_000])
        self.assertIn("malformed", problem(self.path))
        with smallDisk(self.folder / "disk", "512k") as disk:
            (disk.path / "x").write_bytes(whole)
            disk.remount("ro")
            self.assertIn("is not readable and writable for the gateway's user", problem(disk.path / "x"))


class ReactorTests(SynchronousTestCase):
    """Behaviour before the reactor runs."""

    def test_fork(self) -> None:
        """No thread is started before the reactor runs, because a daemon forks."""
        memory = MemoryReactorClock()
        path = Path(self.mktemp())
        kept = Database(SqliteBackend(path, MIGRATIONS), memory)
        self.addCleanup(kept.close)
        kept.write(put, "a", "x").addErrback(lambda failure: failure.trap(CancelledError))
        self.assertFalse([each for each in kept._worker.threads if each.is_alive()])
        self.assertEqual(path.stat().st_size, 0)
