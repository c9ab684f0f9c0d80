"""
A store in memory, for tests: SQLite without a file and without a thread. That is simpler than a second
implementation of SQL, or of the state of each feature.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from gateway.errors import GatewayError, StoreBroken
from gateway.reports import StatusItem
from gateway.state.interfaces import IStore
from gateway.state.jobs import Job, Session, transact
from gateway.state.migrations import Migrations, migrate
from gateway.state.sqlite import SqliteSession, connect

T = TypeVar("T")


@cache
def _migrated(migrations: Migrations) -> bytes:
    """Return an empty database of the newest version. A copy takes a quarter of the time."""
    with closing(connect(":memory:", 0)) as connection:
        migrate(SqliteSession(connection), migrations)
        return connection.serialize()


@implementer(IStore)
class MemoryStore:
    """
    A store that lasts as long as the object. Each request is done before the call returns.

    @ivar fault: set it to an error, and requests fail with it.
    """

    def __init__(self, migrations: Migrations, name: str = "memory") -> None:
        self.name = name
        self.fault: GatewayError | None = None
        self._session = self._opened(migrations)

    def _opened(self, migrations: Migrations) -> Session:
        connection = connect(":memory:", 0)
        if migrations:
            connection.deserialize(_migrated(migrations))
        return SqliteSession(connection)

    @property
    def trouble(self) -> str:
        return "" if self.fault is None else str(self.fault)

    def report(self) -> StatusItem:
        text = "{file}: {trouble}" if self.trouble else "{file}: works"
        return StatusItem("file", text, {"file": self.name, "trouble": self.trouble}, bool(self.trouble))

    def read(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        return execute(self._run, Job(interaction, arguments, False))

    def write(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        return execute(self._run, Job(interaction, arguments, True))

    def writeAtOnce(self, interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        return self.write(interaction, *arguments)

    def atStart(self, interaction: Callable[..., T], *arguments: object) -> T:
        result: T = self._run(Job(interaction, arguments, True))
        return result

    def close(self) -> None:
        self.fault = StoreBroken("it is closed")

    def _run(self, job: Job) -> Any:
        if self.fault is not None:
            raise self.fault
        try:
            [result] = transact(self._session, [job])
        except BaseException:
            self._session.rollBack()
            raise
        return result
