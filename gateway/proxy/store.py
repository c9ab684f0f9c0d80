"""
The file that keeps open exchanges over a restart of the gateway.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import asdict, evolve
from cattrs import BaseValidationError, structure
from twisted.logger import Logger

from gateway.proxy.exchanges import OpenExchange
from gateway.state import files

# Raised for a file that is not text, not JSON, or has other JSON.
_NOT_EXCHANGES = (ValueError, TypeError, BaseValidationError)


class ExchangeFile:
    """
    A file that one process writes and the next one reads. Its deadlines are in UTC, because the next process has
    another monotonic clock.

    @ivar path: its path.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, exchanges: list[OpenExchange], offset: float = 0.0) -> None:
        """
        Write the open exchanges, all or none; without any the file is removed.

        @param offset: seconds since 1970 when the link's clock was at 0.
        """
        if not exchanges:
            return
        try:
            moved = [asdict(_moved(exchange, offset)) for exchange in exchanges]
            files.write(self.path, json.dumps(moved).encode())
        except OSError as error:
            self._log.error(
                "{path} cannot be written ({reason}): {count} open requests may stay without an answer.",
                path=self.path,
                reason=error.strerror,
                count=len(exchanges),
            )

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

    def take(self, offset: float = 0.0) -> list[OpenExchange]:
        """
        Read the file and remove it.

        @param offset: as in L{leave}.
        """
        problem = self.problem()
        if problem:
            self._log.error("{problem}.", problem=problem)
        try:
            left = [] if problem else self._read()
            # A file that cannot be removed would be read twice.
            self.path.unlink()
        except FileNotFoundError:
            return []
        except OSError as error:
            self._log.error("{path} cannot be removed: {reason}.", path=self.path, reason=error.strerror)
            return []
        return [_moved(exchange, -offset) for exchange in left]

    def _read(self) -> list[OpenExchange]:
        return structure(json.loads(self.path.read_text("utf-8")), list[OpenExchange])


def _moved(exchange: OpenExchange, seconds: float) -> OpenExchange:
    """Return an exchange with its deadlines on another clock."""
    copies = tuple(deadline + seconds for deadline in exchange.copies)
    return evolve(exchange, deadline=exchange.deadline + seconds, copies=copies)
