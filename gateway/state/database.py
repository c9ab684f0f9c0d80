"""
A store in a database, used by one thread. Faults of the database cost requests, never the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.errors import GatewayError, StoreBroken, StoreBusy, StoreFull, TooManyPending
from gateway.metrics import IMetrics, names
from gateway.reports import StatusItem
from gateway.state.faults import Condition
from gateway.state.interfaces import IStore
from gateway.state.jobs import Backend, Job
from gateway.state.worker import Worker

T = TypeVar("T")

# Requests that share a transaction; it holds the lock until all of them have run.
_MAX_SHARING = 256
# Requests that may wait for the thread, and seconds that one may take: well under any requester's deadline, so that
# a commit ends before it.
_MAX_WAITING = 10_000
_MAX_WAIT = 10.0
_WATCH_EVERY = 1.0
# Seconds after which a request is aborted that is overdue: if its commit has begun, the requester still waits.
_GRACE = 5.0
# Seconds between two probes of a database that does not work.
_PROBE_EVERY = 5.0


@implementer(IStore)
class Database:
    """
    One store, in a SQLite file or on a PostgreSQL server. A change is on the disk before it is reported as stored.

    Requests of one reactor turn, and those that come while the thread is busy, share a transaction in their order,
    so one flush of the disk stores all of them; L{writeAtOnce} does not wait for the end of the turn. This changes
    no result: if an interaction raises, only its own changes are rolled back; if the transaction fails, or a
    request in it is cancelled, each request gets a transaction of its own. One database for all stores would need
    fewer flushes only if several services write in one reactor turn.

    If the database fails, a request fails with L{StoreFull}, L{StoreBusy} or L{StoreBroken} and stores nothing; the
    log gets one line a minute about it. A lock delays a request by at most half a second, a slow disk or a lost
    connection by about ten seconds. A cancelled request stores nothing either, unless its commit has begun. The
    database is tried again with each request, and every five seconds if there are no requests.

    @ivar backend: the kind of its database, and its place in it.
    @ivar name: the name of the store.
    @ivar place: its place, for operators: the file, or the URL without a password.
    @ivar failures: number of requests and probes that failed since the start.
    @param reactor: provides the clock, and C{callFromThread}; for tests, it may also provide C{makeWorker}.
    """

    _log = Logger()

    def __init__(self, backend: Backend, reactor: Any) -> None:
        self.name = backend.name
        self.place = backend.place
        self.backend = backend
        self._reactor = reactor
        self._condition = Condition()
        self.failures = 0
        # All unanswered requests; those that the thread does not have yet; those that have run, with their results.
        self._jobs: dict[Job, Deferred[Any]] = {}
        self._waiting: deque[Job] = deque()
        self._finished: deque[tuple[list[Job], list[Any]]] = deque()
        self._handing: IDelayedCall | None = None
        self._probing: IDelayedCall | None = None
        self._watching: IDelayedCall | None = None
        self._trigger: object = None
        self._isStarted = False
        self._isWorking = False
        # True if it is closed as soon as no request is left.
        self._isLeaving = False
        self._isClosed = False
        # One thread and one connection: requests keep their order, one store has one writer, and no store waits for
        # another one.
        self._worker = getattr(reactor, "makeWorker", Worker)(self.name)
        # Only the thread uses it, once there is one.
        self._connection = backend.connect(reactor.seconds, self._onReopened)
        # Threads do not survive a fork, and a daemon forks before the reactor runs.
        reactor.callWhenRunning(self._start)

    @property
    def trouble(self) -> str:
        """The reason why the database does not work, and a remedy; empty while it works."""
        return self._condition.trouble

    def report(self) -> StatusItem:
        """See L{IStore.report}."""
        about = {"file": self.name, "trouble": self.trouble, "failures": self._condition.refused}
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
        """See L{IStore.read}."""
        return self._run(Job(interaction, arguments, False, self._reactor.seconds() + _MAX_WAIT))

    def write(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """See L{IStore.write}."""
        return self._run(Job(interaction, arguments, True, self._reactor.seconds() + _MAX_WAIT))

    def writeAtOnce(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """See L{IStore.writeAtOnce}."""
        job = Job(interaction, arguments, True, self._reactor.seconds() + _MAX_WAIT)
        return self._run(job, isAtOnce=True)

    def atStart(self, interaction: Callable[..., T], *arguments: object) -> T:
        """See L{IStore.atStart}."""
        # The thread may be using its own connection. This second one is closed: it would not survive a fork.
        connection = self.backend.connect(self._reactor.seconds, self._onReopened)
        [outcome] = connection.run([Job(interaction, arguments, True)])
        connection.close()
        if isinstance(outcome, Failure):
            if (found := outcome.check(StoreFull, StoreBusy, StoreBroken)) is not None:
                # The operator has to know the place.
                raise found(f"{self.place}: {outcome.value}")
            outcome.raiseException()
        result: T = outcome
        return result

    def close(self) -> None:
        """End the thread; waiting requests are not stored."""
        for job in self._jobs:
            job.take()
        self._end()

    def closeLater(self) -> Deferred[None]:
        """
        Close the file after the requests that wait; later ones fail at once. Never block: if the disk does not
        respond, the thread ends when it does.

        @return: fires when the file is closed, or when the last request is overdue.
        """
        if not self._isStarted:
            self._end()
        if self._isClosed or self._isLeaving:
            return succeed(None)
        # Requests keep their order, so this one is the last.
        idle = self.read(lambda cursor: None)
        self._isLeaving = True
        return idle.addBoth(self._onIdle)

    def _onIdle(self, result: object) -> None:
        if self._jobs and isinstance(result, Failure) and result.check(StoreBusy):
            self._log.error(
                "{path} is still open: {reason}.",
                event="state.still_open",
                path=self.place,
                reason=self.backend.slow,
            )
        self._endIfIdle()

    def _endIfIdle(self) -> None:
        if self._isLeaving and not self._jobs:
            self._end()

    # In the reactor's thread.

    def _start(self) -> None:
        if self._isClosed:
            return
        self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self._shutDown)
        self._worker.start()
        self._isStarted = True
        self._handOver()
        self._probe()

    def _shutDown(self) -> None:
        """Finish all requests: services that have just stopped may have left some."""
        self._trigger = None
        self._end()

    def _end(self) -> None:
        if self._isClosed:
            return
        self._isClosed = True
        if self._trigger is not None:
            with suppress(KeyError, ValueError):
                self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
        for each in (self._handing, self._probing, self._watching):
            if each is not None:
                each.cancel()
        self._handing = self._probing = self._watching = None
        waiting = list(self._waiting)
        if self._isStarted:
            self._worker.call(self._work, waiting)
        elif waiting:
            # There is no thread.
            self._finished.append((waiting, self._connection.run(waiting)))
        # stop() waits for the thread.
        self._connection.leave()
        if self._isStarted and not self._worker.isDone(_GRACE):
            self._connection.abort()
        self._worker.stop()
        self._connection.close()
        self._deliver()

    def _run(self, job: Job, isAtOnce: bool = False) -> Deferred[Any]:
        if self._isClosed or self._isLeaving:
            return fail(StoreBroken("it is closed"))
        if self._jobs and next(iter(self._jobs)).overdueAt <= self._reactor.seconds():
            self._failed(self.backend.slow)
            return fail(StoreBusy(self.backend.slow))
        if len(self._jobs) >= _MAX_WAITING:
            return fail(TooManyPending())
        done = self._jobs[job] = Deferred(lambda _: job.permit.clear())
        self._waiting.append(job)
        if self._watching is None:
            self._watchLater()
        if self._isStarted and not self._isWorking:
            if isAtOnce:
                self._handOver()
            elif self._handing is None:
                # Requests of this turn share a transaction.
                self._handing = self._reactor.callLater(0, self._endOfTurn)
        return done

    def _endOfTurn(self) -> None:
        self._handing = None
        if not self._isWorking:
            self._handOver()

    def _handOver(self) -> None:
        """Give the thread the next requests: reads, or a write and the requests after it."""
        jobs: list[Job] = []
        # Reads before the first write get a transaction of their own: the write may have to wait for the lock.
        while self._waiting and len(jobs) < _MAX_SHARING:
            if self._waiting[0].writes and jobs and not jobs[0].writes:
                break
            job = self._waiting.popleft()
            if job.isCancelled:
                del self._jobs[job]
            else:
                jobs.append(job)
        self._isWorking = bool(jobs)
        if jobs:
            self._worker.call(self._work, jobs)

    def _deliver(self) -> None:
        while self._finished:
            jobs, outcomes = self._finished.popleft()
            if not self._isClosed:
                self._handOver()
            for job, outcome in zip(jobs, outcomes, strict=True):
                self._onOutcome(job, outcome)
        self._endIfIdle()

    def _onOutcome(self, job: Job, outcome: Any) -> None:
        done = self._jobs.pop(job)
        error = outcome.value if isinstance(outcome, Failure) else None
        if isinstance(error, StoreFull | StoreBusy | StoreBroken):
            self._failed(str(error))
        # Only a write shows that the database works: reads succeed even if the disk is full or the lock is held.
        elif error is None and job.writes and self._condition.works():
            self._log.info("{path} works again.", event="state.works_again", path=self.place)
        if not done.called:
            done.callback(outcome)

    def _watch(self) -> None:
        """Fail overdue requests: the disk does not respond. They will not be stored."""
        self._watching = None
        now = self._reactor.seconds()
        for job, done in list(self._jobs.items()):
            if job.overdueAt > now:
                break
            if job.take():
                self._failed(self.backend.slow)
                done.errback(StoreBusy(self.backend.slow))
        if self._jobs and next(iter(self._jobs)).overdueAt + _GRACE <= now:
            # Its commit has begun, or it was answered, but the thread still waits for the database.
            self._connection.abort()
        self._watchLater()

    def _watchLater(self) -> None:
        # The errback may have closed the file.
        if self._jobs and self._watching is None and not self._isClosed:
            self._watching = self._reactor.callLater(_WATCH_EVERY, self._watch)

    def _failed(self, trouble: str) -> None:
        self.failures += 1
        if self._condition.failed(trouble, self._reactor.seconds()):
            self._log.error(
                "{path} does not work: {trouble}. Requests for it get an error (failures so far: {refused}); "
                "the gateway retries by itself.",
                event="state.failed",
                path=self.place,
                trouble=trouble,
                refused=self._condition.refused,
            )
        if self._probing is None and not self._isClosed:
            self._probing = self._reactor.callLater(_PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        """Try to open and write the database, without waiting for a request."""
        self._probing = None
        # A failure is logged, and leads to the next probe.
        self.write(self.backend.touch).addErrback(lambda failure: failure.trap(GatewayError, CancelledError))

    # In the thread.

    def _work(self, jobs: list[Job]) -> None:
        self._finished.append((jobs, self._connection.run(jobs) if jobs else []))
        self._reactor.callFromThread(self._deliver)

    def _onReopened(self) -> None:
        self._reactor.callFromThread(self.backend.logReopened)
