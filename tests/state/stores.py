"""Runs tests that are written for stores in memory on the other kinds of stores."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

from gateway.state.jobs import Session
from gateway.state.memory import MemoryStore
from gateway.state.migrations import Migrations, migrate
from gateway.state.sqlite import SqliteSession, connect
from tests.state.cluster import cluster

_numbers = count()


class _Stores:
    """The first base class of a test; each request to a store is done before the call returns, as in memory."""

    def setUp(self: Any) -> None:
        self.patch(MemoryStore, "_opened", lambda store, migrations: self._opened(migrations))
        super().setUp()  # type: ignore[misc]  # of the test


class OnFiles(_Stores):
    """Each store is a SQLite file."""

    def _opened(self: Any, migrations: Migrations) -> Session:
        connection = connect(Path(self.mktemp()), 0)
        self.addCleanup(connection.close)
        # Nothing is tried here about power failures.
        connection.execute("PRAGMA synchronous = OFF")
        session = SqliteSession(connection)
        migrate(session, migrations)
        return session


class OnPostgres(_Stores):
    """Each store is a schema of one PostgreSQL database."""

    def _opened(self: Any, migrations: Migrations) -> Session:
        # Imported here, because the cluster skips the test if it is missing.
        from gateway.state.postgresql import PostgresConnection

        url = cluster().url("postgres")
        made = PostgresConnection(url, f"store {next(_numbers)}", migrations, time.monotonic, lambda: None)
        self.addCleanup(made.close)
        return made._connected([])
