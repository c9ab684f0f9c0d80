"""
Open exchanges that are kept over a restart of the gateway.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from cattrs import BaseValidationError, structure
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.errors import GatewayError
from gateway.interfaces import IStore
from gateway.proxy.exchanges import OpenExchange
from gateway.state import files

# Deadlines are in seconds since 1970 UTC, because the next process has another monotonic clock.
MIGRATIONS = (
    (
        """
        CREATE TABLE exchanges (
            requester TEXT NOT NULL, address TEXT NOT NULL, id TEXT NOT NULL, resource TEXT NOT NULL,
            deadline DOUBLE PRECISION NOT NULL, copies TEXT NOT NULL,
            PRIMARY KEY (requester, address, id)
        )
        """,
    ),
)

# Raised for a file that is not text, not JSON, or has other JSON.
_NOT_EXCHANGES = (ValueError, TypeError, BaseValidationError)


class ExchangeStore:
    """
    The exchanges that one process leaves and the next one takes.

    @param store: with L{MIGRATIONS}. If it fails, this is logged, and there are no exchanges to take.
    @param old: the file of older releases, whose exchanges are moved to the store.
    """

    _log = Logger()

    def __init__(self, store: IStore, old: ExchangeFile | None = None) -> None:
        self._store = store
        try:
            self._left = self._load(old)
            # True if the store may hold exchanges that this process has open, or had.
            self._isFilled = bool(self._left)
        except GatewayError as error:
            self._log.error(
                "{name}: open requests are lost: {reason}.",
                event="proxy.requests_lost",
                name=store.name,
                reason=str(error),
            )
            self._left, self._isFilled = [], True

    def _load(self, old: ExchangeFile | None) -> list[OpenExchange]:
        moved = [] if old is None else old.read()
        left = self._store.atStart(_adopt, moved)
        # Not before the commit. If the process is killed between the two, the next start finds both.
        if old is not None and not old.remove():
            # They would be taken again by each start.
            self._store.atStart(_replace, ())
            return []
        return left

    def leave(self, exchanges: list[OpenExchange], offset: float = 0.0) -> None:
        """
        Store the open exchanges for the next process, all or none, in place of those that are there.

        @param offset: seconds since 1970 when the link's clock was at 0.
        """
        if not exchanges:
            return
        self._isFilled = True
        moved = [_moved(exchange, offset) for exchange in exchanges]
        self._store.write(_replace, moved).addErrback(
            self._onFailure, f"{len(moved)} open requests may stay without an answer"
        )

    def take(self, offset: float = 0.0) -> list[OpenExchange]:
        """
        Return the exchanges of the previous process once, and remove those that are stored.

        A process that is killed before the removal is on the disk, some milliseconds after its first connection,
        leaves them to the next process as well.

        @param offset: as in L{leave}.
        """
        left, self._left = self._left, []
        if self._isFilled:
            self._isFilled = False
            self._store.write(_replace, ()).addErrback(
                self._onFailure, "the next start may end requests a second time"
            )
        return [_moved(exchange, -offset) for exchange in left]

    def _onFailure(self, failure: Failure, result: str) -> None:
        failure.trap(GatewayError, CancelledError)
        self._log.error(
            "{name} cannot be written ({reason}): {result}.",
            event="proxy.requests_not_stored",
            name=self._store.name,
            reason=failure.getErrorMessage(),
            result=result,
        )


class ExchangeFile:
    """
    The JSON file of older releases, in place of the store.

    @ivar path: its path.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path

    def problem(self) -> str:
        """Return why the file cannot be read; empty if it can, or if there is none. Changes nothing."""
        try:
            self._read()
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"{self.path} cannot be read: {error.strerror}"
        except _NOT_EXCHANGES:
            return f"{self.path} is not a file of open exchanges: they are lost"
        return ""

    def read(self) -> list[OpenExchange]:
        """Return its exchanges; log it if the file cannot be read."""
        problem = self.problem()
        if problem:
            self._log.error("{problem}.", event="proxy.old_file_unusable", problem=problem)
        return self._read() if not problem and self.path.exists() else []

    def remove(self) -> bool:
        """Remove it; return false if it cannot be removed, which is logged."""
        try:
            files.remove(self.path)
        except OSError as error:
            self._log.error(
                "{path} cannot be removed: {reason}.",
                event="proxy.old_file_not_removed",
                path=self.path,
                reason=error.strerror,
            )
            return False
        return True

    def _read(self) -> list[OpenExchange]:
        found = json.loads(self.path.read_text("utf-8"))
        # The store holds neither half of a surrogate pair nor NaN.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
        return structure(found, list[OpenExchange])


def _adopt(cursor: Any, exchanges: Sequence[OpenExchange]) -> list[OpenExchange]:
    """Add exchanges that are not there yet, and return all."""
    _insert(cursor, exchanges)
    cursor.execute("SELECT requester, address, id, resource, deadline, copies FROM exchanges ORDER BY deadline")
    return [
        OpenExchange(requester, address, identifier, resource, deadline, tuple(json.loads(copies)))
        for requester, address, identifier, resource, deadline, copies in cursor.fetchall()
    ]


def _replace(cursor: Any, exchanges: Sequence[OpenExchange]) -> None:
    cursor.execute("DELETE FROM exchanges")
    _insert(cursor, exchanges)


def _insert(cursor: Any, exchanges: Sequence[OpenExchange]) -> None:
    cursor.executemany(
        "INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (each.requester, each.address, each.id, each.resource, each.deadline, json.dumps(each.copies))
            for each in exchanges
        ],
    )


def _moved(exchange: OpenExchange, seconds: float) -> OpenExchange:
    """Return an exchange with its deadlines on another clock."""
    copies = tuple(deadline + seconds for deadline in exchange.copies)
    return evolve(exchange, deadline=exchange.deadline + seconds, copies=copies)
