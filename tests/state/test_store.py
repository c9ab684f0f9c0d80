"""Stores: the same tests for a SQLite file and for memory; what both promise to plugins."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import given, strategies
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from gateway.errors import StoreBroken, StoreBusy, StoreFull
from gateway.interfaces import IStore
from gateway.state import sqlite
from gateway.state.database import Database
from gateway.state.jobs import Job
from gateway.state.memory import MemoryStore
from gateway.state.migrations import Migrations, migrate
from gateway.state.postgresql import PostgresBackend
from gateway.state.sqlite import SqliteBackend, SqliteFile, SqliteSession
from tests.disks import smallDisk
from tests.profiles import steady
from tests.state.cluster import cluster
from tests.state.support import ClockedReactor, StartedReactor, closeAll
from tests.state.test_database import locked

MIGRATIONS = (("CREATE TABLE kept (name TEXT PRIMARY KEY, content TEXT NOT NULL)",),)


class Wrong(Exception):
    """An interaction refuses."""


def put(cursor: sqlite3.Cursor, name: str, content: str = "x") -> str:
    """Store a value."""
    statement = "INSERT INTO kept VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET content = excluded.content"
    cursor.execute(statement, (name, content))
    return name


def putAndFail(cursor: sqlite3.Cursor, name: str) -> None:
    """Store a value, and refuse it."""
    put(cursor, name)
    raise Wrong


def putTwice(cursor: sqlite3.Cursor, name: str) -> None:
    """Store a value, and break a constraint."""
    put(cursor, name)
    cursor.execute("INSERT INTO kept VALUES (?, 'y')", (name,))


def addOne(cursor: sqlite3.Cursor, name: str) -> None:
    """Make a value longer: twice is not the same as once."""
    cursor.execute("UPDATE kept SET content = content || '+' WHERE name = ?", (name,))


def total(cursor: sqlite3.Cursor, name: str) -> int | None:
    """Return the length of all values."""
    length: int | None = cursor.execute("SELECT sum(octet_length(content)) FROM kept").fetchone()[0]
    return length


def found(cursor: sqlite3.Cursor) -> list[tuple[str, str]]:
    """Return all values, in the order of Python."""
    return sorted(cursor.execute("SELECT * FROM kept").fetchall())


def contents(cursor: sqlite3.Cursor) -> list[tuple[str, str]]:
    """Return all values."""
    return cursor.execute("SELECT * FROM kept ORDER BY name").fetchall()


def names(cursor: sqlite3.Cursor) -> list[str]:
    """Return the names of all values."""
    return [name for (name,) in cursor.execute("SELECT name FROM kept ORDER BY name").fetchall()]


class StoreTests:
    """The tests; a class that derives from it has C{make}."""

    make: Any
    constraint: type[Exception] = sqlite3.IntegrityError

    def test_interface(self: Any) -> None:
        """It provides the interface."""
        store = self.make(MIGRATIONS)
        verifyObject(IStore, store)
        self.assertEqual(store.trouble, "")
        self.assertTrue(str(store.report()).startswith(f"{store.name}: works"), store.report())

    @inlineCallbacks
    def test_result(self: Any) -> Any:
        """A Deferred has the result of its interaction, which gets the arguments."""
        store = self.make(MIGRATIONS)
        self.assertEqual((yield store.write(put, "a", "y")), "a")
        self.assertEqual((yield store.read(names)), ["a"])

    @inlineCallbacks
    def test_order(self: Any) -> Any:
        """Interactions run in the order of the calls: a read finds what was written before it, and nothing else."""
        store = self.make(MIGRATIONS)
        found = yield gatherResults(
            [
                store.read(names),
                store.write(put, "a"),
                store.read(names),
                store.write(put, "b"),
                store.write(put, "c"),
                store.read(names),
            ]
        )
        self.assertEqual(found, [[], "a", ["a"], "b", "c", ["a", "b", "c"]])

    @inlineCallbacks
    def test_raises(self: Any) -> Any:
        """Of several interactions, those that raise fail alone, with their own exception, and leave nothing."""
        store = self.make(MIGRATIONS)
        first, refused, wrong, unreadable, last = (
            store.write(put, "a"),
            store.write(putAndFail, "b"),
            store.write(putTwice, "c"),
            store.read(putAndFail, "d"),
            store.write(put, "e"),
        )
        yield self.assertFailure(refused, Wrong)
        yield self.assertFailure(wrong, self.constraint)
        yield self.assertFailure(unreadable, Wrong)
        self.assertEqual((yield gatherResults([first, last])), ["a", "e"])
        self.assertEqual((yield store.read(names)), ["a", "e"])
        self.assertEqual(store.trouble, "")
        yield self.assertFailure(store.write(putAndFail, "f"), Wrong)
        self.assertEqual((yield store.read(names)), ["a", "e"])

    @inlineCallbacks
    def test_savepoints(self: Any) -> Any:
        """An interaction may use savepoints itself, whatever its neighbours do."""
        store = self.make(MIGRATIONS)

        def half(cursor: sqlite3.Cursor, name: str) -> None:
            put(cursor, name)
            cursor.execute("SAVEPOINT before")
            put(cursor, f"{name}, not kept")
            cursor.execute("ROLLBACK TO before")

        yield gatherResults([store.write(half, "a"), store.write(put, "b"), store.write(half, "c")])
        self.assertEqual((yield store.read(names)), ["a", "b", "c"])

    @inlineCallbacks
    def test_collation(self: Any) -> Any:
        """The order of texts is that of their characters' numbers, on every database and in every language."""
        store = self.make(MIGRATIONS)
        shuffled = ["Z", "a", "\u00c4", "", "_", "B", "aa", "%", "?", "\U0001f600", "\uffee", "it's"]
        yield gatherResults([store.write(put, each) for each in shuffled])
        self.assertEqual((yield store.read(names)), sorted(shuffled))

    @inlineCallbacks
    def test_long(self: Any) -> Any:
        """Names may be as long as JIDs are, and longer; each is found, and replaces nothing but itself."""
        store = self.make(MIGRATIONS)
        # No compression makes them short.
        noise = "".join(chr(0x4E00 + (number * number * 7919) % 20_000) for number in range(3_000))
        long = [noise[:length] for length in (166, 167, 168, 400, 1_024, 1_025, 3_000)] + ["x" * 500, "x" * 501]
        for _ in range(2):
            yield gatherResults([store.write(put, each, each) for each in long])
        self.assertEqual((yield store.read(found)), sorted((each, each) for each in long))
        for each in long:
            yield store.write(addOne, each)
        self.assertEqual((yield store.read(found)), sorted((each, f"{each}+") for each in long))

    @inlineCallbacks
    def test_values(self: Any) -> Any:
        """Numbers, texts and nothing come back as they are."""
        store = self.make((("CREATE TABLE v (a BIGINT, b DOUBLE PRECISION, c TEXT)",),))
        rows = [(2**62, 0.1, "\u20ac %s ? \x01"), (-1, 1e300, ""), (None, None, None), (40_000, -2.5, "'")]
        insert = "INSERT INTO v VALUES (?, ?, ?)"
        yield store.write(lambda cursor: cursor.executemany(insert, rows) and None)
        kept = yield store.read(lambda cursor: cursor.execute("SELECT a, b, c FROM v").fetchall())
        self.assertEqual(kept, rows)

    @inlineCallbacks
    def test_bytes(self: Any) -> Any:
        """C{octet_length} counts bytes, as on PostgreSQL; nothing has no length."""
        store = self.make(MIGRATIONS)
        lengths = yield store.read(
            lambda cursor: cursor.execute("SELECT octet_length(?), octet_length(?)", ("\u20ac", None)).fetchone()
        )
        self.assertEqual(lengths, (3, None))

    @inlineCallbacks
    def test_closed(self: Any) -> Any:
        """A store that was closed fails."""
        store = self.make(MIGRATIONS)
        yield store.write(put, "a")
        store.close()
        yield self.assertFailure(store.write(put, "b"), StoreBroken)
        yield self.assertFailure(store.read(names), StoreBroken)


    @inlineCallbacks
    def test_atOnce(self: Any) -> Any:
        """A write that begins at once keeps its place among the others, and fails as they do."""
        store = self.make(MIGRATIONS)
        found = yield gatherResults([store.write(put, "a"), store.writeAtOnce(put, "b"), store.read(names)])
        self.assertEqual(found, ["a", "b", ["a", "b"]])
        yield self.assertFailure(store.writeAtOnce(putAndFail, "x"), Wrong)
        self.assertEqual((yield store.read(names)), ["a", "b"])
        store.close()
        yield self.assertFailure(store.writeAtOnce(put, "c"), StoreBroken)


class DatabaseStoreTests(StoreTests, TestCase):
    """A file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def make(self, migrations: Migrations) -> Database:
        made = Database(SqliteBackend(self.path, migrations), reactor)
        self.addCleanup(made.close)
        return made


class PostgresStoreTests(StoreTests, TestCase):
    """A schema of a database."""

    def setUp(self) -> None:
        self.database = cluster().database()
        self.constraint = psycopg.errors.UniqueViolation

    def make(self, migrations: Migrations) -> Database:
        made = Database(PostgresBackend(cluster().url(self.database), "x.kept", migrations), reactor)
        self.addCleanup(made.close)
        return made


class MemoryStoreTests(StoreTests, TestCase):
    """Memory."""

    def make(self, migrations: Migrations) -> MemoryStore:
        return MemoryStore(migrations)

    def test_fault(self) -> None:
        """It fails when it is told to."""
        store = self.make(MIGRATIONS)
        store.fault = StoreBroken("the disk burns")
        self.failureResultOf(store.write(put, "a"), StoreBroken)
        self.assertEqual(store.trouble, "the disk burns")
        self.assertEqual(str(store.report()), "memory: the disk burns")
        store.fault = None
        self.assertEqual(self.successResultOf(store.read(names)), [])


class AtStartTests(TestCase):
    """Requests before the reactor runs."""

    def test_atStart(self) -> None:
        """They are done at once, in a file or in memory; what they store is there. An exception is raised."""
        path = Path(self.mktemp())
        for store in (Database(SqliteBackend(path, MIGRATIONS), MemoryReactorClock()), MemoryStore(MIGRATIONS)):
            self.assertEqual(store.atStart(put, "a"), "a")
            self.assertRaises(Wrong, store.atStart, putAndFail, "b")
            self.assertEqual(store.atStart(names), ["a"])
        # There is no connection that a daemon's fork would copy.
        self.assertEqual([each.name for each in path.parent.glob(f"{path.name}-*")], [])
        path.write_bytes(b"something else" * 100)
        again = Database(SqliteBackend(path, MIGRATIONS), MemoryReactorClock())
        self.assertRaises(StoreBroken, again.atStart, names)

    @inlineCallbacks
    def test_shutDown(self) -> Any:
        """Requests of services that stop are done before the process ends; further ones fail."""
        closeAll(self)
        memory = StartedReactor()
        path = Path(self.mktemp())
        store = Database(SqliteBackend(path, MIGRATIONS), memory)
        memory.run()
        written = store.write(put, "a")
        memory.shutDown()
        self.assertEqual(self.successResultOf(written), "a")
        self.failureResultOf(store.write(put, "b"), StoreBroken)
        again = Database(SqliteBackend(path, MIGRATIONS), reactor)
        self.assertEqual((yield again.read(names)), ["a"])


class JournalTests(TestCase):
    """The journal beside a file."""

    @inlineCallbacks
    def test_bounded(self) -> Any:
        """The space of a large transaction is given back after some more: the journal does not stay as large."""
        self.patch(sqlite, "_MAX_JOURNAL", 64 * 1024)
        path = Path(self.mktemp())
        store = Database(SqliteBackend(path, MIGRATIONS), reactor)
        self.addCleanup(store.close)
        # The store itself writes once, at its start, after the requests that wait by then.
        yield store.write(put, "first")
        yield store.write(put, "x" * 8_000_000)
        journal = Path(f"{path}-wal")
        self.assertGreater(journal.stat().st_size, 8_000_000)
        for number in range(3):
            yield store.write(put, f"{number}")
        self.assertLessEqual(journal.stat().st_size, 64 * 1024)

    def open(self) -> SqliteFile:
        """Return a file whose disk need not keep anything, with its tables."""
        file = SqliteFile(Path(self.mktemp()).absolute(), prepare, lambda: 0.0, lambda: None)
        self.addCleanup(file.close)
        return file

    def journal(self, file: SqliteFile) -> bytes:
        """Return the content of the journal."""
        return Path(f"{file._path}-wal").read_bytes()

    def test_length(self) -> None:
        """The journal has a length before the first commit, and is used anew: commits do not make it longer."""
        file = self.open()
        lengths = []
        for number in range(1_500):
            [stored] = file.run([Job(put, (f"{number % 3}", "x" * (number % 600)), True)])
            self.assertEqual(stored, f"{number % 3}")
            lengths.append(len(self.journal(file)))
        self.assertEqual(set(lengths[:200]), {1024 * 1024})
        self.assertLessEqual(lengths[-1], 1_100 * 4_120)

    def test_killed(self) -> None:
        """After a kill, all commits are in the journal: its unused end is no part of it."""
        file = self.open()
        for number in range(9):
            file.run([Job(put, (f"{number}",), True)])
            copied = self.open()
            copied._path.write_bytes(file._path.read_bytes())
            Path(f"{copied._path}-wal").write_bytes(self.journal(file))
            self.assertEqual(copied.run([Job(names, (), False)]), [[f"{each}" for each in range(number + 1)]])

    def test_otherWriter(self) -> None:
        """
        While another process writes, the journal keeps its length, and no request waits for that; later requests
        wait for the lock as usual.
        """
        self.patch(sqlite, "_LOCK_TIMEOUT", 20_000)
        file = self.open()
        file.run([Job(put, ("x",), True)])
        file.close()
        started = time.monotonic()
        with locked(file._path):
            self.assertEqual(file.run([Job(names, (), False)]), [["x"]])
        self.assertLess(time.monotonic() - started, 15)
        self.assertLess(len(self.journal(file)), 1024 * 1024)
        [waits] = file.run([Job(lambda cursor: cursor.execute("PRAGMA busy_timeout").fetchone(), (), True)])
        self.assertEqual(waits, (20_000,))

    def test_smallDisk(self) -> None:
        """If the disk has no room for the length of the journal, none of it is taken for that."""
        with smallDisk(Path(self.mktemp()).absolute(), "256k") as disk:
            file = SqliteFile(disk.path / "x.db", prepare, lambda: 0.0, lambda: None)
            self.assertEqual(file.run([Job(put, ("x", "y" * 50_000), True)]), ["x"])
            file.close()


class SharedTests(TestCase):
    """Requests that share a transaction."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store = Database(SqliteBackend(self.path, MIGRATIONS), reactor)
        self.addCleanup(self.store.close)

    def commits(self) -> Deferred[int]:
        """The number of commits so far: each one with changes adds a last frame of a transaction to the journal."""
        return self.store.read(lambda cursor: len(committed(Path(f"{self.path}-wal").read_bytes())))

    @inlineCallbacks
    def test_group(self) -> Any:
        """The writes of one reactor turn are one transaction, with reads between them, and one that fails."""
        yield self.store.write(put, "first")
        before = yield self.commits()
        done = [self.store.write(put, f"{number}") for number in range(50)]
        done.append(self.store.read(names))
        refused = self.store.write(putAndFail, "x")
        done += [self.store.write(put, f"{number}") for number in range(50, 100)]
        yield self.assertFailure(refused, Wrong)
        yield gatherResults(done)
        self.assertEqual((yield self.commits()) - before, 1)
        self.assertEqual(len((yield self.store.read(names))), 101)

    @inlineCallbacks
    def test_alone(self) -> Any:
        """Writes of different turns are transactions of their own, if the thread has nothing to do."""
        yield self.store.write(put, "first")
        before = yield self.commits()
        for number in range(5):
            yield self.store.write(put, f"{number}")
        self.assertEqual((yield self.commits()) - before, 5)

    @inlineCallbacks
    def test_atOnce(self) -> Any:
        """
        A write that begins at once shares its transaction with earlier requests of the turn; later ones share the
        next transaction.
        """
        yield self.store.write(put, "first")
        before = yield self.commits()
        done = [self.store.write(put, "a"), self.store.writeAtOnce(put, "b")]
        self.assertEqual((len(self.store._waiting), self.store._isWorking), (0, True))
        done += [self.store.writeAtOnce(put, "c"), self.store.write(put, "d"), self.store.writeAtOnce(put, "e")]
        self.assertEqual(len(self.store._waiting), 3)
        yield gatherResults(done)
        self.assertEqual((yield self.commits()) - before, 2)
        # The turn ends while the thread works; the writes of later turns wait for it.
        isOver: list[None] = []

        def slow(cursor: sqlite3.Cursor) -> None:
            deadline = time.monotonic() + 5
            while not isOver and time.monotonic() < deadline:
                time.sleep(0.01)

        later: list[Deferred[Any]] = [self.store.write(put, "f"), self.store.writeAtOnce(slow)]
        for name in "gh":
            yield deferLater(reactor, 0)
            later.append(self.store.writeAtOnce(put, name))
        isOver.append(None)
        yield gatherResults(later)
        self.assertEqual((yield self.commits()) - before, 4)
        self.assertEqual((yield self.store.read(names)), ["a", "b", "c", "d", "e", "f", "first", "g", "h"])

    @inlineCallbacks
    def test_cancelled(self) -> Any:
        """A request that is cancelled while its neighbours run is not stored; they are, once each."""
        yield self.store.write(put, "first")
        ran: list[str] = []

        def slow(cursor: sqlite3.Cursor, name: str) -> None:
            ran.append(name)
            put(cursor, name)
            if len(ran) == 1:
                # In the thread, as if the requester had done it in the reactor's thread at this moment.
                reactor.callFromThread(cancelled.cancel)  # type: ignore[attr-defined]  # twisted's reactor is a module
                deadline = time.monotonic() + 5
                while not cancelled.called and time.monotonic() < deadline:
                    time.sleep(0.01)

        cancelled = self.store.write(put, "cancelled")
        before, after = self.store.write(slow, "before"), self.store.write(slow, "after")
        yield self.assertFailure(cancelled, CancelledError)
        yield gatherResults([before, after])
        self.assertEqual((yield self.store.read(names)), ["after", "before", "first"])

    @inlineCallbacks
    def test_reads(self) -> Any:
        """Reads before the first write do not wait for its lock."""
        self.patch(sqlite, "_LOCK_TIMEOUT", 5_000)
        yield self.store.write(put, "first")
        # The store itself writes once, at its start, and would wait for the lock: this read follows.
        yield self.store.read(names)
        with locked(self.path):
            reading = self.store.read(names)
            writing = self.store.write(put, "second")
            self.assertEqual((yield reading), ["first"])
            self.assertNoResult(writing)
        yield writing

    @inlineCallbacks
    def test_full(self) -> Any:
        """If a change does not fit on the disk, it fails alone: smaller ones of the same turn are stored."""
        closeAll(self)
        with smallDisk(Path(self.mktemp()).absolute(), "256k") as disk:
            store = Database(SqliteBackend(disk.path / "x.db", MIGRATIONS), reactor)
            yield store.write(put, "first")
            small, large, last = (
                store.write(put, "small"),
                store.write(put, "large", "x" * 300_000),
                store.write(put, "last"),
            )
            yield self.assertFailure(large, StoreFull)
            self.assertEqual((yield gatherResults([small, last])), ["small", "last"])
            self.assertEqual((yield store.read(names)), ["first", "last", "small"])
            store.close()

    @inlineCallbacks
    def test_hangs(self) -> Any:
        """If the disk hangs in a shared transaction, all of its requests fail in time, and none is stored."""
        clock = ClockedReactor()
        store = Database(SqliteBackend(self.path, MIGRATIONS), clock)
        self.addCleanup(store.close)
        yield store.write(put, "first")
        hung: list[None] = []
        self.addCleanup(hung.append, None)
        started: list[None] = []

        def hang(cursor: sqlite3.Cursor) -> None:
            started.append(None)
            while not hung:
                time.sleep(0.01)

        waiting = [store.write(put, "before"), store.write(hang), store.write(put, "after")]
        while not started:
            yield deferLater(reactor, 0.02)
        clock.advance(10.0)
        for each in waiting:
            self.failureResultOf(each, StoreBusy)
        hung.append(None)
        while store._jobs:
            yield deferLater(reactor, 0.02)
        self.assertEqual((yield store.read(names)), ["first"])


# Requests, and those of them that are cancelled before they run.
interactions = strategies.sampled_from(
    [(put, True), (putAndFail, True), (putTwice, True), (addOne, True), (total, False)]
)
requests = strategies.lists(
    strategies.tuples(interactions, strategies.sampled_from("abc"), strategies.integers(0, 9)),
    min_size=2,
    max_size=12,
)


def prepare(session: SqliteSession) -> None:
    """Make the tables; the disk need not keep them."""
    session.execute("PRAGMA synchronous = OFF")
    migrate(session, MIGRATIONS)


class EqualTests(SynchronousTestCase):
    """A shared transaction has the same results as one for each request."""

    @steady
    @given(requests)
    def test_equal(self, asked: list[Any]) -> None:
        """Random requests, some of which fail or are cancelled."""
        found = []
        for isShared in (True, False):
            path = Path(self.mktemp())
            file = SqliteFile(path, prepare, lambda: 0.0, lambda: None)
            jobs = [Job(interaction, (name,), writes) for (interaction, writes), name, _ in asked]
            for job, (_, _, number) in zip(jobs, asked, strict=True):
                if not number:
                    job.take()
            outcomes = file.run(jobs) if isShared else [file.run([job])[0] for job in jobs]
            outcomes += file.run([Job(contents, (), False)])
            file.close()
            found.append([each.type if isinstance(each, Failure) else each for each in outcomes])
        self.assertEqual(found[0], found[1])


def committed(journal: bytes) -> list[int]:
    """
    Return the sizes of the database in pages after each commit in a write-ahead log
    (https://www.sqlite.org/fileformat2.html#walformat).
    """
    page = int.from_bytes(journal[8:12], "big")
    frames = range(32, len(journal) - 23, 24 + page)
    salt = journal[16:24]
    sizes = [
        int.from_bytes(journal[start + 4 : start + 8], "big")
        for start in frames
        if journal[start + 8 : start + 16] == salt
    ]
    return [size for size in sizes if size]
