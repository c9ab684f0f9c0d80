"""
Grants that a server should have sent by now; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.reports import StatusItem

# Seconds after the start of a connection. Servers send their grants at once.
TIMEOUT = 3.0


class GrantWatch:
    """
    Logs the grants that are missing L{TIMEOUT} seconds after the start of a connection, once in each connection.

    @ivar isOver: true from then on until the connection is lost: a grant that is not there is missing.
    @param missing: returns an item for each grant that is missing at the moment, with advice.
    @param log: is called with each item.
    """

    def __init__(
        self, missing: Callable[[], Iterable[StatusItem]], log: Callable[[StatusItem], object]
    ) -> None:
        self._missing = missing
        self._log = log
        self._deadline: float | None = None
        self.isOver = False

    def connected(self, now: float) -> None:
        """A connection begins: the server has to send its grants again."""
        self._deadline = now + TIMEOUT
        self.isOver = False

    def disconnected(self) -> None:
        """The connection was lost: nothing is missing until the next one."""
        self._deadline = None
        self.isOver = False

    def tick(self, now: float) -> None:
        """Log the missing grants when it is time. Call about once a second."""
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            self.isOver = True
            for item in self._missing():
                self._log(item)
