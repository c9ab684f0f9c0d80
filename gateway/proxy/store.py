"""
The exchanges that are open when the gateway stops, kept for its next start.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import asdict, evolve
from cattrs import BaseValidationError, structure
from twisted.logger import Logger

from gateway.proxy.exchanges import OpenExchange


class ExchangeFile:
    """
    A file that one process leaves and the next one takes. Its deadlines are in UTC: the next process has another
    monotonic clock.

    @ivar path: where it is.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, exchanges: list[OpenExchange], offset: float = 0.0) -> None:
        """
        Write what is open, all of it or nothing; no file if nothing is.

        @param offset: seconds since 1970 when the link's clock was at 0.
        """
        if not exchanges:
            return
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.write_text(json.dumps([asdict(_moved(exchange, offset)) for exchange in exchanges]), "utf-8")
            new.replace(self.path)
        except OSError as error:
            self._log.error(
                "{path} cannot be written ({reason}): {count} open requests may stay without an answer.",
                path=self.path,
                reason=error.strerror,
                count=len(exchanges),
            )

    def take(self, offset: float = 0.0) -> list[OpenExchange]:
        """
        Read what was left, once.

        @param offset: as in L{leave}.
        """
        try:
            text = self.path.read_text("utf-8")
            self.path.unlink()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeError) as error:
            self._log.error("{path} cannot be read: {error}", path=self.path, error=error)
            return []
        try:
            return [_moved(exchange, -offset) for exchange in structure(json.loads(text), list[OpenExchange])]
        except (ValueError, TypeError, BaseValidationError):
            self._log.error("{path} did not hold open exchanges; they are lost.", path=self.path)
            return []


def _moved(exchange: OpenExchange, seconds: float) -> OpenExchange:
    """Return an exchange with its deadlines on another clock."""
    copies = tuple(deadline + seconds for deadline in exchange.copies)
    return evolve(exchange, deadline=exchange.deadline + seconds, copies=copies)
