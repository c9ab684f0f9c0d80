"""
A SQLite file in the state folder, used by one thread. Faults of its disk cost requests, never the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway import metrics as names
from gateway.errors import GatewayError, StoreBroken, StoreBusy, StoreFull, TooManyPending
from gateway.metrics import IMetrics
from gateway.reports import StatusItem
from gateway.state import files
from gateway.state.faults import Condition, domainError

T = TypeVar("T")

# Milliseconds that a request waits for the lock of another process. While a lock is known to be held, no request
# waits.
_LOCK_TIMEOUT = 500
# Requests that may wait for the thread, and seconds that one may take: well under any requester's deadline, so that
# a commit ends before it.
_MAX_WAITING = 10_000
_MAX_WAIT = 10.0
_WATCH_EVERY = 1.0
# Seconds between two attempts to open a broken file, and between two probes of one that does not work.
_REOPEN_EVERY = 1.0
_PROBE_EVERY = 5.0

_SLOW = "its disk does not respond: check the disk"


@define(eq=False)
class _Job:
    """
    One transaction.

    @ivar permit: has one item until it is taken: by the thread, to commit, or by the requester, to cancel.
    @ivar overdueAt: seconds on the reactor's clock.
    """

    interaction: Callable[..., Any]
    arguments: tuple[object, ...]
    writes: bool
    overdueAt: float
    permit: list[None] = field(factory=lambda: [None])

    def take(self) -> bool:
        """Take the permit; return true if it was there. The thread and the reactor may try at the same time."""
        try:
            self.permit.pop()
        except IndexError:
            return False
        return True


class Database:
    """
    One SQLite file. A change is on the disk before it is reported as stored.

    If the file fails, a request fails with L{StoreFull}, L{StoreBusy} or L{StoreBroken} and stores nothing; the log
    gets one line a minute about it. A lock delays a request by at most half a second, a slow disk by about ten
    seconds. A cancelled request stores nothing either, unless its commit has begun. The file is tried again with
    each request, and every five seconds if there are no requests.

    @ivar path: the file.
    @ivar failures: number of requests and probes that failed since the start.
    @param schema: SQL statements that create the tables if they do not exist.
    @param reactor: provides the clock, and C{callFromThread}.
    @raise OSError: if the file cannot be created.
    """

    _log = Logger()

    def __init__(self, path: Path, schema: tuple[str, ...], reactor: Any) -> None:
        self.path = path
        self._schema = schema
        self._reactor = reactor
        self._condition = Condition()
        self.failures = 0
        self._jobs: dict[_Job, Deferred[Any]] = {}
        self._probing: IDelayedCall | None = None
        self._watching: IDelayedCall | None = None
        self._trigger: object = None
        self._isClosed = False
        # One thread: SQLite allows one writer, and requests keep their order.
        self._pool = ThreadPool(0, 1, name=path.name)
        # Only the thread uses these.
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._timeout = _LOCK_TIMEOUT
        self._isLocked = {False: False, True: False}
        self._broken = ""
        self._reopenAt = 0.0
        files.makeFile(path)
        # Threads do not survive a fork, and a daemon forks before the reactor runs.
        reactor.callWhenRunning(self._start)

    @property
    def trouble(self) -> str:
        """The reason why the file does not work, and a remedy; empty while it works."""
        return self._condition.trouble

    def report(self) -> StatusItem:
        """Return the state of the file; it has one line."""
        about = {"file": self.path.name, "trouble": self.trouble, "failures": self._condition.refused}
        about["waiting"] = len(self._jobs)
        text = "{file}: {trouble}; failures: {failures}" if self.trouble else "{file}: works"
        return StatusItem("file", text + "; requests that wait: {waiting}", about, bool(self.trouble))

    def measure(self, metrics: IMetrics) -> None:
        """
        Register metrics.

        @param metrics: of this file alone.
        """
        metrics.gauge(*names.STATE_UP).setFunction(lambda: not self.trouble)
        metrics.counter(*names.STATE_FAILURES).setFunction(lambda: self.failures)
        metrics.gauge(*names.STATE_WAITING).setFunction(lambda: len(self._jobs))

    def read(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """
        Call a function in the thread, with a cursor and arguments, in a transaction that does not write.

        @return: fires with its result; may be cancelled.
        """
        return self._run(interaction, arguments, writes=False)

    def write(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Like L{read}, in a transaction that may write. The Deferred fires after the commit."""
        return self._run(interaction, arguments, writes=True)

    def close(self) -> None:
        """End the thread; waiting requests are not stored."""
        if self._isClosed:
            return
        self._isClosed = True
        if self._trigger is not None:
            with suppress(KeyError, ValueError):
                self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
        for each in (self._probing, self._watching):
            if each is not None:
                each.cancel()
        self._probing = self._watching = None
        self._pool.stop()
        self._disconnect()

    def closeLater(self) -> Deferred[None]:
        """
        Close the file after the requests that wait. Never block: if the disk does not respond, the thread ends when
        it does.
        """
        if self._isClosed or self._trigger is None:
            self.close()
            return succeed(None)
        # Requests keep their order, so this one is the last.
        return self.read(lambda cursor: None).addBoth(self._onIdle)

    def _onIdle(self, result: object) -> None:
        if isinstance(result, Failure) and result.check(StoreBusy):
            self._log.error("{path} is still open: {reason}.", path=self.path, reason=_SLOW)
        else:
            self.close()

    # In the reactor's thread.

    def _start(self) -> None:
        if self._isClosed:
            return
        self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self._shutDown)
        self._pool.start()
        self._probe()

    def _shutDown(self) -> None:
        self._trigger = None
        self.close()

    def _run(self, interaction: Callable[..., T], arguments: tuple[object, ...], writes: bool) -> Deferred[T]:
        if self._isClosed:
            return fail(StoreBroken("it is closed"))
        now = self._reactor.seconds()
        if self._jobs and next(iter(self._jobs)).overdueAt <= now:
            self._failed(_SLOW)
            return fail(StoreBusy(_SLOW))
        if len(self._jobs) >= _MAX_WAITING:
            return fail(TooManyPending())
        job = _Job(interaction, arguments, writes, now + _MAX_WAIT)
        done = self._jobs[job] = Deferred(lambda _: job.permit.clear())
        self._watchLater()
        self._pool.callInThreadWithCallback(
            lambda _, result: self._reactor.callFromThread(self._finished, job, result), self._work, job
        )
        return done

    def _finished(self, job: _Job, result: Any) -> None:
        done = self._jobs.pop(job)
        error = result.value if isinstance(result, Failure) else None
        if isinstance(error, StoreFull | StoreBusy | StoreBroken):
            self._failed(str(error))
        # Reading works where the disk is full, and where the lock is held.
        elif error is None and job.writes and self._condition.works():
            self._log.info("{path} works again.", path=self.path)
        if not done.called:
            done.callback(result)

    def _watch(self) -> None:
        """Fail requests that wait behind one that the disk holds up. They will not run."""
        self._watching = None
        now = self._reactor.seconds()
        for job, done in list(self._jobs.items()):
            if job.overdueAt > now:
                break
            if job.take():
                self._failed(_SLOW)
                done.errback(StoreBusy(_SLOW))
        self._watchLater()

    def _watchLater(self) -> None:
        # The errback may have closed the file.
        if self._jobs and self._watching is None and not self._isClosed:
            self._watching = self._reactor.callLater(_WATCH_EVERY, self._watch)

    def _failed(self, trouble: str) -> None:
        self.failures += 1
        if self._condition.failed(trouble, self._reactor.seconds()):
            self._log.error(
                "{path} does not work: {trouble}. Until then requests get an error (failures so far: {refused}); "
                "the gateway retries by itself.",
                path=self.path,
                trouble=trouble,
                refused=self._condition.refused,
            )
        if self._probing is None and not self._isClosed:
            self._probing = self._reactor.callLater(_PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        """Try to open and write the file, without waiting for a request."""
        self._probing = None
        # A failure is logged, and leads to the next probe.
        self.write(_touch).addErrback(lambda failure: failure.trap(GatewayError, CancelledError))

    # In the thread.

    def _work(self, job: _Job) -> Any:
        if not job.permit or self._isClosed:
            raise CancelledError
        now = self._reactor.seconds()
        if self._broken and now < self._reopenAt:
            raise StoreBroken(self._broken)
        try:
            result = self._transact(job)
        except (sqlite3.Error, OSError) as error:
            isOpen = self._connection is not None
            self._rollBack()
            refusal = domainError(error)
            if refusal is None:
                raise
            self._isLocked[job.writes] = isinstance(refusal, StoreBusy)
            if isinstance(refusal, StoreBroken):
                self._disconnect()
                if not isOpen:
                    self._broken, self._reopenAt = str(refusal), now + _REOPEN_EVERY
            raise refusal from None
        except BaseException:
            self._rollBack()
            raise
        self._isLocked[job.writes] = False
        return result

    def _transact(self, job: _Job) -> Any:
        timeout = 0 if self._isLocked[job.writes] else _LOCK_TIMEOUT
        connection = self._connected(timeout)
        if timeout != self._timeout:
            connection.execute(f"PRAGMA busy_timeout = {timeout}")
            self._timeout = timeout
        connection.execute("BEGIN IMMEDIATE" if job.writes else "BEGIN")
        result = job.interaction(connection.cursor(), *job.arguments)
        if not job.take():
            # The requester was given an error meanwhile.
            raise CancelledError
        connection.execute("COMMIT")
        return result

    def _connected(self, timeout: int) -> sqlite3.Connection:
        if self._connection is not None and self._identity == _identity(self.path):
            return self._connection
        if self._connection is not None:
            # SQLite itself would go on using a file that no longer has a name.
            moved = "{path} was moved or replaced; it is opened again."
            self._reactor.callFromThread(self._log.warn, moved, path=self.path)
            self._disconnect()
        # SQLite gives the journal the same mode.
        files.makeFile(self.path)
        connection = self._connection = sqlite3.connect(
            self.path, timeout=timeout / 1000, isolation_level=None, check_same_thread=False
        )
        self._timeout = timeout
        self._identity = _identity(self.path)
        try:
            # FULL protects against power failure. A killed process loses nothing either way.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for statement in self._schema:
                connection.execute(statement)
        except BaseException:
            self._disconnect()
            raise
        self._broken = ""
        return connection

    def _rollBack(self) -> None:
        if self._connection is None:
            return
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing the connection rolls back as well.
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _touch(cursor: sqlite3.Cursor) -> None:
    """Write a page: only a write shows if the disk has room."""
    [version] = cursor.execute("PRAGMA user_version").fetchone()
    cursor.execute(f"PRAGMA user_version = {version:d}")
