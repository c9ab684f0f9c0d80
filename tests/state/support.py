"""A reactor that starts and ends a store, and the end of all threads of stores."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.state.database import Database


def closeAll(test: SynchronousTestCase) -> None:
    """Close all databases of a test, also if it fails: the process waits for their threads."""
    start = Database._start

    def started(database: Database) -> None:
        test.addCleanup(database.close)
        start(database)

    test.patch(Database, "_start", started)


class ClockedReactor(Clock):
    """
    The reactor with a clock that only the test advances, so that nothing is overdue because the machine is slow.
    Threads, and what is to be done at the end of the turn, are as on the reactor.
    """

    def callLater(self, delay: float, function: Any, *arguments: object, **more: object) -> Any:
        if delay == 0:
            return reactor.callLater(0, function, *arguments, **more)
        return super().callLater(delay, function, *arguments, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class StartedReactor(MemoryReactorClock):
    """Runs what is to be called when it runs, and when it shuts down."""

    def __init__(self) -> None:
        super().__init__()
        self._whenRunning: list[Any] = []
        self._whenStopping: list[Any] = []

    def callWhenRunning(self, function: Any, *arguments: object) -> None:
        self._whenRunning.append((function, arguments))

    def addSystemEventTrigger(self, phase: str, event: str, function: Any, *arguments: object) -> object:
        self._whenStopping.append((function, arguments))
        return len(self._whenStopping)

    def callFromThread(self, function: Any, *arguments: object, **more: object) -> None:
        """Forget it, as a reactor that has stopped does."""

    def run(self) -> None:
        for function, arguments in self._whenRunning:
            function(*arguments)

    def shutDown(self) -> None:
        for function, arguments in self._whenStopping:
            function(*arguments)
