"""
Requests to a store, and the transactions that they share, on any kind of database. Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from gateway.errors import GatewayError


@define(eq=False)
class Job:
    """
    One request.

    @ivar permit: has one item until it is taken: by the thread, to commit, or by the requester, to cancel.
    @ivar isCommitted: true if the thread has taken it.
    @ivar overdueAt: seconds on the reactor's clock.
    """

    interaction: Callable[..., Any]
    arguments: tuple[object, ...]
    writes: bool
    overdueAt: float = float("inf")
    permit: list[None] = field(factory=lambda: [None])
    isCommitted: bool = False

    @property
    def isCancelled(self) -> bool:
        """True if the requester, or a deadline, has taken the permit."""
        return not self.permit and not self.isCommitted

    def take(self) -> bool:
        """Take the permit; return true if it was there. The thread and the reactor may try at the same time."""
        try:
            self.permit.pop()
        except IndexError:
            return False
        return True

    def commit(self) -> bool:
        """Take the permit for the thread; return true if the thread has it."""
        self.isCommitted = self.isCommitted or self.take()
        return self.isCommitted


class CommitUnknown(Exception):
    """Nobody knows whether a transaction is stored: it must not run again."""


class Session(Protocol):
    """A connection to a database, for one thread at a time; nothing begins a transaction by itself."""

    def begin(self, writes: bool) -> object:
        """Begin a transaction. One that writes excludes all others that write to this store."""

    def execute(self, statement: str) -> object:
        """Run a statement that has no parameters, and that all databases understand."""

    def commit(self) -> object:
        """
        End the transaction.

        @raise CommitUnknown: if nobody knows whether it is stored.
        """

    def rollBack(self) -> object:
        """End the transaction without its changes, if there is one."""

    def version(self) -> int:
        """Return the schema version of the store: the number of its migrations."""

    def setVersion(self, version: int) -> object:
        """Store the schema version."""

    def cursor(self) -> Any:
        """Return a cursor for an interaction (L{gateway.state.interfaces.IStore})."""

    def domainError(self, error: Exception) -> GatewayError | None:
        """Return the error for a requester if the database is at fault; C{None} if the interaction is."""


class Connection(Protocol):
    """
    The connection of one store, for one thread at a time. It is opened with the first request, and again after a
    fault.
    """

    def run(self, jobs: list[Job]) -> list[Any]:
        """See L{runAll}."""

    def leave(self) -> None:
        """The store ends: no request waits any longer for a database that cannot be reached. On any thread."""

    def abort(self) -> None:
        """End the wait for an answer of the database, if that is possible: the request fails. On any thread."""

    def close(self) -> None:
        """Close the connection; the next request opens it again."""


class Backend(Protocol):
    """
    A kind of database, and the place of one store in it.

    @ivar name: the name of the store.
    @ivar place: its place, for operators; without a password.
    @ivar slow: the reason why a request has waited for too long, and a remedy.
    """

    name: str
    place: str
    slow: str

    def connect(self, seconds: Callable[[], float], onReopened: Callable[[], object]) -> Connection:
        """
        Return a connection, which is not open yet.

        @param seconds: returns the time, on any thread.
        @param onReopened: called, on the connection's thread, when it was opened again before a request failed.
        """

    def logReopened(self) -> None:
        """Log that the connection was opened again."""

    def version(self) -> int:
        """Return the schema version of the store; 0 if there is none, or no store."""

    def touch(self, cursor: Any) -> None:
        """An interaction that writes: only that shows whether the disk has room."""


def transact(session: Session, jobs: list[Job]) -> list[Any]:
    """
    Run requests in one transaction, in their order, and commit it. If it fails, the caller rolls back.

    @return: the outcome of each request: the result of its interaction; or a L{Failure} if the interaction
        raised: then only its own changes are rolled back.
    @raise CancelledError: if a request was cancelled meanwhile.
    @raise CommitUnknown: as L{Session.commit}.
    @raise Exception: the exception of the interaction, if there is only one request; or of the database.
    """
    session.begin(any(job.writes for job in jobs))
    if len(jobs) == 1:
        # The transaction is rolled back if it raises.
        outcomes = [jobs[0].interaction(session.cursor(), *jobs[0].arguments)]
    else:
        outcomes = [_interact(session, job) for job in jobs]
    # A requester that was given an error must not find its change stored.
    if not all(job.commit() for job in jobs):
        raise CancelledError
    session.commit()
    return outcomes


def _interact(session: Session, job: Job) -> Any:
    if job.isCancelled:
        raise CancelledError
    session.execute("SAVEPOINT interaction")
    try:
        outcome = job.interaction(session.cursor(), *job.arguments)
    except Exception as error:
        if session.domainError(error) is not None:
            raise
        outcome = Failure()
        session.execute("ROLLBACK TO interaction")
    session.execute("RELEASE interaction")
    return outcome


def runAll(attempt: Callable[[list[Job]], list[Any]], jobs: list[Job]) -> list[Any]:
    """
    Run requests, and return the outcome of each: its result or a L{Failure}.

    They share a transaction. If it fails, each gets a transaction of its own.

    @param attempt: runs some requests in one transaction.
    """
    try:
        return attempt(jobs)
    except CommitUnknown as error:
        return [Failure(error.__cause__) for _ in jobs]
    except BaseException:
        if len(jobs) == 1:
            return [Failure()]
    return [outcome for job in jobs for outcome in runAll(attempt, [job])]
