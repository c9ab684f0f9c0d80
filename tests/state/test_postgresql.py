"""Stores on PostgreSQL: lost connections, locks, and other faults of the server; two gateways with one store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
from attrs import evolve
from hypothesis import given, strategies
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.errors import StoreBroken, StoreBusy, StoreFull, StoreTaken
from gateway.muc import store as rooms
from gateway.muc.archive_values import Retention
from gateway.muc.store import Owner, StoreEmptied
from gateway.state import database, postgresql, postgresql_session
from gateway.state.database import Database
from gateway.state.dialect import Dialect
from gateway.state.migrations import Migrations
from gateway.state.postgresql import UNKNOWN, PostgresBackend, problem, urlProblem
from gateway.state.postgresql_faults import domainError
from gateway.state.postgresql_session import PREFIX, PostgresSession, connect, schemaOf
from tests.profiles import steady
from tests.state.cluster import cluster
from tests.state.relay import Relay
from tests.state.support import ClockedReactor, StartedReactor, closeAll

MIGRATIONS = (
    ("CREATE TABLE kept (name TEXT PRIMARY KEY, count BIGINT NOT NULL)",),
    ("ALTER TABLE kept ADD COLUMN note TEXT NOT NULL DEFAULT '%'",),
)
NAME = "x.example.kept"


def add(cursor: Any, name: str, ran: list[str] | None = None) -> int:
    """Count: twice is not the same as once."""
    if ran is not None:
        ran.append(name)
    cursor.execute(
        "INSERT INTO kept (name, count) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET count = kept.count + 1",
        (name,),
    )
    cursor.execute("SELECT count FROM kept WHERE name = ?", (name,))
    return int(cursor.fetchone()[0])


def counts(cursor: Any) -> dict[str, int]:
    """Return all counts."""
    return dict(cursor.execute("SELECT name, count FROM kept").fetchall())


class PostgresCase(TestCase):
    """A store in a new database, behind a relay; and its log lines."""

    def setUp(self) -> None:
        self.database = cluster().database()
        self.relay = Relay(cluster().port)
        self.addCleanup(self.relay.close)
        self.url = f"postgresql://gateway@127.0.0.1:{self.relay.port}/{self.database}"
        self.logged: list[str] = []
        self.patch(database, "_PROBE_EVERY", 0.1)
        self.patch(postgresql, "_REOPEN_EVERY", 0.05)
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: Any) -> None:
        if str(event.get("log_namespace")).startswith("gateway.state."):
            self.assertNotIn("log_failure", event)
            self.logged.append(formatEvent(event))

    def hasten(self, wait: float) -> None:
        """Shorten the deadline of requests, on a store that is open: that may take longer on a busy machine."""
        self.patch(database, "_MAX_WAIT", wait)
        self.patch(database, "_WATCH_EVERY", 0.05)
        self.patch(database, "_GRACE", 0.3)
        self.patch(postgresql, "_MARGIN", 0.1)

    def open(
        self, migrations: Migrations = MIGRATIONS, name: str = NAME, url: str = "", clocked: Any = reactor
    ) -> Database:
        opened = Database(PostgresBackend(url or self.url, name, migrations), clocked)
        self.addCleanup(opened.close)
        return opened

    @inlineCallbacks
    def idle(self, migrations: Migrations = MIGRATIONS) -> Any:
        """Open a store with one count, and wait until it has nothing to do."""
        store = self.open(migrations)
        yield store.write(add, "first")
        yield self.until(lambda: not store._jobs)
        return store

    def sql(self, statement: str) -> list[Any]:
        """Run a statement as another program."""
        return cluster().sql(statement, self.database)

    def kept(self) -> dict[str, int]:
        """Return what the server has."""
        return {row[0]: row[1] for row in self.sql(f'TABLE "{schemaOf(NAME)}".kept')}

    def until(self, holds: Callable[[], bool], seconds: float = 10.0) -> Deferred[None]:
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds

        async def wait() -> None:
            while not holds():
                self.assertLess(time.monotonic(), deadline, "not in time")
                await deferLater(reactor, 0.02)

        return Deferred.fromCoroutine(wait())


class LostTests(PostgresCase):
    """Lost connections."""

    @inlineCallbacks
    def test_idle(self) -> Any:
        """If the connection is lost while nothing happens, the next request opens another one; the log says so."""
        store = self.open()
        self.assertEqual((yield store.write(add, "a")), 1)
        self.relay.cut()
        self.assertEqual((yield store.write(add, "a")), 2)
        self.assertEqual((yield store.read(counts)), {"a": 2})
        self.assertEqual(
            self.logged, [f"{store.place}: the connection was lost, and is open again; no request has failed."]
        )

    @inlineCallbacks
    def test_waits(self) -> Any:
        """Requests wait for a server that comes back before their deadline; each is stored once."""
        store = self.open()
        yield store.write(add, "a")
        self.relay.isAway = True
        self.relay.cut()
        waiting = [store.write(add, "a"), store.read(counts)]
        yield deferLater(reactor, 0.5)
        waiting.append(store.write(add, "b"))
        for each in waiting:
            self.assertNoResult(each)
        self.relay.isAway = False
        self.assertEqual((yield gatherResults(waiting)), [2, {"a": 2}, 1])
        self.assertEqual(store.trouble, "")

    @inlineCallbacks
    def test_away(self) -> Any:
        """
        If the server stays away, requests fail at their deadline, later ones at once, and nothing of them is
        stored. When it is back, the store works again by itself.
        """
        store = yield self.idle()
        self.hasten(0.6)
        self.relay.isAway = True
        self.relay.cut()
        started = time.monotonic()
        yield gatherResults([self.assertFailure(store.write(add, "b"), StoreBroken, StoreBusy) for _ in range(5)])
        self.assertLess(time.monotonic() - started, 3)
        self.assertIn("PostgreSQL cannot be reached", store.trouble)
        self.assertIn("start it, or correct state.url", store.trouble)
        started = time.monotonic()
        yield gatherResults([self.assertFailure(store.write(add, "c"), StoreBroken) for _ in range(100)])
        self.assertLess(time.monotonic() - started, 2)
        self.relay.isAway = False
        yield self.until(lambda: not store.trouble)
        self.hasten(10.0)
        self.assertEqual((yield store.write(add, "first")), 2)
        self.assertEqual(self.kept(), {"first": 2})
        self.assertEqual(len(self.logged), 2, self.logged)

    @inlineCallbacks
    def test_inside(self) -> Any:
        """If the connection is lost in a transaction, all of its requests run again, and are stored once."""
        store = self.open()
        yield store.write(add, "a")
        ran: list[str] = []

        def cut(cursor: Any) -> int:
            if len(ran) == 1:
                self.relay.cut()
            return add(cursor, "b", ran)

        done = [store.write(add, "a", ran), store.write(cut), store.write(add, "a", ran)]
        self.assertEqual((yield gatherResults(done)), [2, 1, 3])
        self.assertGreater(len(ran), 3)
        self.assertEqual(self.kept(), {"a": 3, "b": 1})


class CommitTests(PostgresCase):
    """Connections that are lost during a commit."""

    @inlineCallbacks
    def test_lost(self) -> Any:
        """If the server does not get the commit, nothing is stored: the requests run again."""
        for number, together in enumerate((1, 3), 1):
            store = yield self.idle()
            self.relay.onCommit = "lost"
            done = [store.write(add, f"{each}") for each in range(together)]
            self.assertEqual((yield gatherResults(done)), [number] + [1] * (together - 1))
            self.assertEqual(self.relay.onCommit, "")
        self.assertEqual(self.kept(), {"first": 2, "0": 2, "1": 1, "2": 1})

    @inlineCallbacks
    def test_unanswered(self) -> Any:
        """If only the answer is lost, the server knows that the change is stored: it is not made again."""
        for number, together in enumerate((1, 3), 1):
            store = yield self.idle()
            self.relay.onCommit = "unanswered"
            ran: list[str] = []
            done = [store.write(add, f"{each}", ran) for each in range(together)]
            self.assertEqual((yield gatherResults(done)), [number] + [1] * (together - 1))
            self.assertEqual(len(ran), together)
        self.assertEqual(self.kept(), {"first": 2, "0": 2, "1": 1, "2": 1})

    @inlineCallbacks
    def test_unknown(self) -> Any:
        """
        If the server cannot be asked in time, nobody knows: all requests of the transaction fail with that reason,
        and none runs again.
        """
        for together in (1, 3):
            store = yield self.idle()
            self.hasten(0.6)
            self.relay.onCommit, self.relay.isAwayAfter = "unanswered", True
            ran: list[str] = []
            done = [store.write(add, f"{each}", ran) for each in range(together)]
            for each in done:
                error = yield self.assertFailure(each, StoreBroken)
                self.assertEqual(str(error), UNKNOWN)
            self.relay.isAway = self.relay.isAwayAfter = False
            yield self.until(lambda store=store: not store.trouble)  # type: ignore[misc]  # of a loop
            self.hasten(10.0)
            self.assertEqual(len(ran), together)
        self.assertEqual(self.kept(), {"first": 2, "0": 2, "1": 1, "2": 1})

    @inlineCallbacks
    def test_otherServer(self) -> Any:
        """A former standby that has become the primary is not asked: its transactions have other numbers."""
        store = yield self.idle()
        self.relay.onCommit = "unanswered"
        begin = PostgresSession.begin

        def begun(session: PostgresSession, writes: bool) -> None:
            begin(session, writes)
            if session.transaction is not None:
                session.transaction = evolve(session.transaction, timeline="00000000")

        self.patch(PostgresSession, "begin", begun)
        error = yield self.assertFailure(store.write(add, "a"), StoreBroken)
        self.assertEqual(str(error), UNKNOWN)

    @inlineCallbacks
    def test_read(self) -> Any:
        """A read whose end is lost runs again."""
        store = yield self.idle()
        self.relay.onCommit = "unanswered"
        self.assertEqual((yield store.read(counts)), {"first": 1})
        self.assertEqual(self.relay.onCommit, "")


class SharedTransactionTests(PostgresCase):
    """Requests that share a transaction."""

    @inlineCallbacks
    def test_group(self) -> Any:
        """
        The requests of one reactor turn have one commit, also if one of them fails. A write that begins at once
        shares the commit of earlier ones, and later ones share the next.
        """
        store = yield self.idle()
        before = self.relay.commits
        done = [store.write(add, f"{number}") for number in range(50)]
        refused = store.write(lambda cursor: 1 // 0)
        done.append(store.read(counts))
        yield self.assertFailure(refused, ZeroDivisionError)
        yield gatherResults(done)
        self.assertEqual(self.relay.commits - before, 1)
        calls = (store.write, store.writeAtOnce, store.write, store.writeAtOnce)
        self.assertEqual((yield gatherResults([call(add, "a") for call in calls])), [1, 2, 3, 4])
        self.assertEqual(self.relay.commits - before, 3)

    @inlineCallbacks
    def test_cancelled(self) -> Any:
        """A request that is cancelled before its commit is not stored, and its neighbours are, once each."""
        store = yield self.idle()
        cancelled, kept = store.write(add, "a"), store.write(add, "b")
        slow = store.write(lambda cursor: time.sleep(0.2))
        yield deferLater(reactor, 0.1)
        cancelled.cancel()
        yield self.assertFailure(cancelled, CancelledError)
        yield gatherResults([kept, slow])
        self.assertEqual(self.kept(), {"first": 1, "b": 1})


class HungTests(PostgresCase):
    """A server that does not respond, on an open connection."""

    @inlineCallbacks
    def test_statement(self) -> Any:
        """Requests fail at their deadline, and the store works again with another connection."""
        store = yield self.idle()
        self.hasten(0.4)
        self.relay.isSilent = True
        started = time.monotonic()
        error = yield self.assertFailure(store.write(add, "first"), StoreBusy)
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual(str(error), "PostgreSQL does not respond: check it, and the network")
        self.relay.isSilent = False
        yield self.until(lambda: not store.trouble)
        # The old session keeps its lock until the server sees the end of its connection.
        yield self.until(lambda: not store._jobs)
        self.hasten(10.0)
        self.assertEqual((yield store.write(add, "first")), 2)

    @inlineCallbacks
    def test_commit(self) -> Any:
        """A commit without an answer is ended some seconds after the deadline; then the server is asked."""
        store = yield self.idle()
        # Sufficient for a busy machine: the server is asked after that.
        self.hasten(3.0)
        self.relay.onCommit = "silent"
        started = time.monotonic()
        written = store.write(add, "a")
        yield self.until(lambda: self.relay.isSilent)
        # Only that connection is silent.
        yield deferLater(reactor, 0.1)
        self.relay.isSilent = False
        yield written
        self.assertGreater(time.monotonic() - started, 3.0)
        self.assertEqual(self.kept(), {"first": 1, "a": 1})

    def test_end(self) -> None:
        """The process ends although the server does not respond."""
        self.hasten(5.0)
        closeAll(self)
        memory = StartedReactor()
        store = Database(PostgresBackend(self.url, NAME, MIGRATIONS), memory)
        store.atStart(add, "a")
        memory.run()
        self.relay.isSilent = True
        self.patch(postgresql_session, "_PARAMETERS", {**postgresql_session._PARAMETERS, "connect_timeout": 1})
        store.write(add, "a").addErrback(lambda failure: failure.trap(StoreBroken, StoreBusy))
        started = time.monotonic()
        memory.shutDown()
        self.assertLess(time.monotonic() - started, 8)
        self.relay.isSilent = False


class FaultTests(PostgresCase):
    """Faults of the server, each with its error and a remedy."""

    @inlineCallbacks
    def test_lock(self) -> Any:
        """While another process holds the lock, requests fail after half a second, and reading works."""
        store, other = self.open(), psycopg.connect(cluster().url(self.database))
        self.addCleanup(other.close)
        yield store.write(add, "a")
        [key] = other.execute(f"SELECT {self.lock()}::bigint").fetchone() or (0,)
        other.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
        started = time.monotonic()
        error = yield self.assertFailure(store.write(add, "a"), StoreBusy)
        self.assertGreater(time.monotonic() - started, 0.4)
        self.assertIn("another process holds the lock of the store: end that process", str(error))
        self.assertEqual((yield store.read(counts)), {"a": 1})
        other.rollback()
        yield self.until(lambda: not store.trouble)
        self.assertEqual((yield store.write(add, "a")), 2)

    def lock(self) -> int:
        """Return the key of the lock."""
        with connect(self.url, "test") as connection:
            return PostgresSession(connection, NAME, Dialect(()))._lock

    @inlineCallbacks
    def test_readOnly(self) -> Any:
        """A standby, or a database without changes."""
        store = self.open()
        yield store.write(add, "a")
        self.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        self.relay.cut()
        error = yield self.assertFailure(store.write(add, "a"), StoreBroken)
        self.assertIn("name the primary one in state.url, not a standby", str(error))
        cluster().sql(f"ALTER DATABASE {self.database} RESET ALL")
        self.relay.cut()
        yield self.until(lambda: not store.trouble)

    @inlineCallbacks
    def test_removed(self) -> Any:
        """If the schema is removed, the next requests make it again, empty."""
        store = yield self.idle()
        self.sql(f'DROP SCHEMA "{schemaOf(NAME)}" CASCADE')
        yield self.assertFailure(store.write(add, "a"), StoreBroken)
        yield self.until(lambda: not store.trouble)
        self.assertEqual((yield store.read(counts)), {})

    @inlineCallbacks
    def test_newer(self) -> Any:
        """A store of a newer release is refused, before the start as well."""
        store = self.open()
        yield store.write(add, "a")
        older, started = self.open(MIGRATIONS[:1]), time.monotonic()
        error = yield self.assertFailure(older.read(counts), StoreBroken)
        self.assertLess(time.monotonic() - started, 5)
        self.assertIn("a newer release of the gateway has changed it (schema version 2", str(error))
        self.assertEqual(problem(self.url, NAME, MIGRATIONS[:1]), str(error))
        self.assertEqual(problem(self.url, NAME, MIGRATIONS), "")
        self.assertEqual(problem(self.url, "another", MIGRATIONS), "")
        self.assertEqual(problem(self.url), "")
        self.assertEqual(store.backend.version(), 2)

    @inlineCallbacks
    def test_connections(self) -> Any:
        """If the server has no connection left, requests fail with its reason, and later ones at once."""
        self.patch(postgresql, "_REOPEN_EVERY", 30.0)
        self.hasten(2.0)
        cluster().sql(f"ALTER DATABASE {self.database} CONNECTION LIMIT 0")
        cluster().sql("DROP ROLE IF EXISTS limited; CREATE ROLE limited LOGIN")
        store = self.open(url=self.url.replace("gateway@", "limited@"))
        for _ in range(3):
            error = yield self.assertFailure(store.write(add, "a"), StoreBroken)
            self.assertIn("too many connections for database", str(error))

    def test_unusable(self) -> None:
        """A database with another encoding, none, and no server."""
        name = f"{self.database}x"
        made = "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0 LOCALE_PROVIDER libc"
        cluster().sql(f"CREATE DATABASE {name} {made}")
        found = problem(self.url.replace(self.database, name))
        self.assertIn("the encoding of the database is SQL_ASCII: make one with CREATE DATABASE", found)
        found = problem(self.url.replace(self.database, "nothing"))
        self.assertIn('database "nothing" does not exist', found)
        self.relay.isAway = True
        self.assertIn("start it, or correct state.url", problem(self.url))

    def test_errors(self) -> None:
        """Faults that are hard to cause, and those of statements."""
        errors = psycopg.errors
        for error, expected in (
            (errors.DiskFull("x"), StoreFull),
            (errors.TooManyConnections("x"), StoreBusy),
            (errors.QueryCanceled("x"), StoreBusy),
            (errors.DeadlockDetected("x"), StoreBusy),
            (errors.InsufficientPrivilege("x"), StoreBroken),
            (errors.AdminShutdown("x"), StoreBroken),
            (errors.UndefinedTable("x"), StoreBroken),
            (psycopg.OperationalError("x"), StoreBroken),
            (errors.UniqueViolation("x"), type(None)),
            (errors.NumericValueOutOfRange("x"), type(None)),
            (psycopg.DataError("x"), type(None)),
            (ValueError("x"), type(None)),
        ):
            self.assertIs(type(domainError(error)), expected, repr(error))

    @inlineCallbacks
    def test_statement(self) -> Any:
        """A wrong value is the plugin's fault: its exception is raised, and the store counts as working."""
        store = self.open()
        yield store.write(add, "a")
        twice = store.write(lambda cursor: cursor.execute("INSERT INTO kept (name, count) VALUES ('a', 1)"))
        yield self.assertFailure(twice, psycopg.errors.UniqueViolation)
        yield self.assertFailure(store.write(add, "\0"), psycopg.DataError)
        yield self.assertFailure(store.write(add, "\udc00"), UnicodeEncodeError)
        self.assertEqual(store.trouble, "")
        yield self.assertFailure(store.write(lambda cursor: cursor.execute("SELECT x FROM nothing")), StoreBroken)
        self.assertEqual((yield store.write(add, "a")), 2)


class PasswordTests(PostgresCase):
    """Passwords are in no message."""

    @inlineCallbacks
    def test_wrong(self) -> Any:
        """The server refuses one."""
        self.hasten(2.0)
        found = cluster().sql("SHOW hba_file")[0][0]
        lines = "host all guarded 127.0.0.1/32 scram-sha-256\n"
        with open(found, encoding="utf-8") as file:
            before = file.read()
        with open(found, "w", encoding="utf-8") as file:
            file.write(lines + before)
        self.addCleanup(lambda: open(found, "w", encoding="utf-8").write(before) and None)  # noqa: SIM115  # at the end
        cluster().sql("DROP ROLE IF EXISTS guarded; CREATE ROLE guarded SUPERUSER LOGIN PASSWORD 's3cret'")
        cluster().sql("SELECT pg_reload_conf()")
        yield deferLater(reactor, 0.3)
        url = self.url.replace("gateway@", "guarded:%s@")
        right, wrong = self.open(url=url % "s3cret"), self.open(url=url % "wr0ng", name="y")
        self.assertEqual((yield right.write(add, "a")), 1)
        error = yield self.assertFailure(wrong.write(add, "a"), StoreBroken)
        self.assertIn('password authentication failed for user "guarded"', str(error))
        said = [str(error), *self.logged, str(wrong.report()), str(right.report()), right.place]
        said.append(problem(url % "wr0ng"))
        self.assertTrue(right.place.startswith("postgresql://127.0.0.1:"), right.place)
        self.assertFalse([each for each in said if "s3cret" in each or "wr0ng" in each])

    def test_urls(self) -> None:
        """URLs that libpq does not understand, or reads in another way than they are meant."""
        for url in (
            "postgresql://u:s3cret@h:s3cret/x",
            "postgresql://u:p@s3cret@h/x",
            "postgresql://h/x?s3cret=1",
            "postgresql://u:%zzs3cret@h/x",
        ):
            found = urlProblem(url)
            self.assertIn("special characters of a password", found)
            self.assertNotIn("s3cret", found)
        for url in ("postgresql:///x", "postgres://u:p%40@h:5432/x?sslmode=verify-full&connect_timeout=3"):
            self.assertEqual(urlProblem(url), "")


class SharedTests(PostgresCase):
    """Two gateways with one store."""

    @inlineCallbacks
    def test_writers(self) -> Any:
        """Their transactions come one after the other, however long each takes."""
        # In PostgreSQL, 0 means no limit; test_lock tests the limit.
        self.patch(postgresql_session, "_LOCK_TIMEOUT", 0)
        stores = [self.open(clocked=ClockedReactor()) for _ in range(2)]
        yield gatherResults([store.write(add, "a") for store in stores for _ in range(100)])
        self.assertEqual(self.kept(), {"a": 200})

    @inlineCallbacks
    def test_taken(self) -> Any:
        """Rooms of the one that was started first are not stored any longer; its requests fail."""
        first, second = (self.open(rooms.MIGRATIONS, "x.rooms") for _ in range(2))
        owners = Owner("1", b"x"), Owner("2", b"x")
        record = [(("r@x", "room", ""), "1")]
        for store, owner in zip((first, second), owners, strict=True):
            yield self.assertFailure(self.save(store, owner, []), StoreEmptied, StoreTaken)
            yield store.write(owner.take)
            yield self.save(store, owner, record)
        error = yield self.assertFailure(self.save(first, owners[0], record), StoreTaken)
        self.assertIn("another gateway has taken it over", str(error))
        yield self.save(second, owners[1], record)

    def save(self, store: Database, owner: Owner, records: Any) -> Deferred[None]:
        return store.write(rooms.save, records, [], Retention(1, 1.0), owner)


class StartTests(PostgresCase):
    """Before the reactor runs."""

    def test_atStart(self) -> None:
        """A request is done at once, without a connection that stays; without a server it fails at once."""
        store = Database(PostgresBackend(self.url, NAME, MIGRATIONS), MemoryReactorClock())
        self.assertEqual(store.atStart(add, "a"), 1)
        [[sessions]] = self.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        self.assertEqual(sessions, 1)
        self.relay.isAway = True
        started = time.monotonic()
        error = self.assertRaises(StoreBroken, store.atStart, add, "a")
        self.assertLess(time.monotonic() - started, 2)
        self.assertTrue(str(error).startswith(f"{store.place}: PostgreSQL cannot be reached"), error)


class SchemaTests(SynchronousTestCase):
    """Names of schemas."""

    @steady
    @given(strategies.text(min_size=1, max_size=300))
    def test_length(self, name: str) -> None:
        """PostgreSQL cuts longer names; those with the same beginning stay different."""
        self.assertLessEqual(len(schemaOf(name).encode()), 63)
        self.assertTrue(schemaOf(name).startswith(PREFIX))
        self.assertNotEqual(schemaOf("x" * 300 + name), schemaOf("x" * 300 + name + "y"))


class DialectTests(SynchronousTestCase):
    """Statements in PostgreSQL's spelling."""

    def test_tables(self) -> None:
        """Texts have the order of SQLite; keys with texts are those of xmpp_key."""
        dialect = Dialect(
            (
                'CREATE TABLE t ("user" TEXT NOT NULL, n BIGINT, x TEXT, PRIMARY KEY ("user", n)) WITHOUT ROWID',
                "CREATE UNIQUE INDEX ids ON t (n, x)",
                "CREATE TABLE u (n BIGINT PRIMARY KEY, x TEXT)",
            )
        )
        statement = 'CREATE TABLE t ("user" TEXT, n BIGINT, PRIMARY KEY ("user", n)) WITHOUT ROWID'
        made, key = dialect.translated(statement)
        self.assertEqual(made, 'CREATE TABLE t ("user" TEXT COLLATE "C", n BIGINT)')
        self.assertEqual(key, 'CREATE UNIQUE INDEX IF NOT EXISTS t_key ON t (xmpp_key("user"), n)')
        for statement, expected in {
            "CREATE UNIQUE INDEX ids ON t (n, x)": "CREATE UNIQUE INDEX IF NOT EXISTS ids ON t (n, xmpp_key(x))",
            'SELECT x FROM t WHERE "user" = ? AND n > ? ORDER BY "user", n DESC LIMIT ?':
            'SELECT x FROM t WHERE xmpp_key("user") = xmpp_key(%s) AND n > %s ORDER BY xmpp_key("user"), n DESC '
            "LIMIT %s",
            'INSERT INTO t VALUES (?, ?, \'?%\') ON CONFLICT ("user", n) DO UPDATE SET x = excluded.x':
            "INSERT INTO t VALUES (%s, %s, '?%%') ON CONFLICT (xmpp_key(\"user\"), n) DO UPDATE SET x = excluded.x",
            "UPDATE u SET x = ? WHERE n = ?": "UPDATE u SET x = %s WHERE n = %s",
            'UPDATE t SET "user" = ? WHERE "user" = ?':
            'UPDATE t SET "user" = %s WHERE xmpp_key("user") = xmpp_key(%s)',
            "ROLLBACK TO before": "ROLLBACK TO before",
        }.items():
            self.assertEqual(dialect.translated(statement), (expected,))
