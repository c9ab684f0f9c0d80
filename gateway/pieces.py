"""
Run long work in short pieces, so that the process handles other events in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from gateway.metrics import IMetrics, names

T = TypeVar("T")

# Seconds between two looks at the delay of the reactor's timers.
_LOOK_EVERY = 1.0

# Seconds of one reactor turn that all long work may use together.
_SLICE = 0.01
# Seconds of it that one task gets before a waiting task continues. A switch to another task costs as much as a
# small piece, and each task that has begun uses memory.
_SHARE = 0.005


class Pieces:
    """
    Divides the time of the process between long work and everything else.

    Work that fits into the rest of this reactor turn is done at once. Other work continues in later turns; the work
    that has waited longest comes first.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until = 0.0
        self._turn: IDelayedCall | None = None
        self._waiting: deque[Deferred[None]] = deque()

    def run(self, work: Generator[None, None, T]) -> Deferred[T]:
        """
        Run a generator that yields after each piece; a piece takes a few milliseconds at most.

        @return: fires with what the generator returns, or fails with what it raises.
        """
        running: Deferred[T] = ensureDeferred(self._run(work))
        return running

    async def _run(self, work: Generator[None, None, T]) -> T:
        seconds = self._clock.seconds
        while True:
            if self.isOver:
                await self.turn()
            until = min(self._until, seconds() + _SHARE)
            try:
                next(work)
                while seconds() < until:
                    next(work)
            except StopIteration as end:
                value: T = end.value
                return value

    @property
    def isOver(self) -> bool:
        """True if this turn has no time left for long work."""
        now = self._clock.seconds()
        if self._turn is None:
            self._begin(now)
        return bool(self._waiting) or now >= self._until

    def turn(self) -> Deferred[None]:
        """Wait for a later turn."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _begin(self, now: float) -> None:
        self._until = now + _SLICE
        self._turn = self._clock.callLater(0, self._next)

    def _next(self) -> None:
        self._turn = None
        if not self._waiting:
            return
        self._begin(self._clock.seconds())
        # At least one continues, whatever the clock does.
        self._waiting.popleft().callback(None)
        while self._waiting and self._clock.seconds() < self._until:
            self._waiting.popleft().callback(None)


class ReactorLag(Service):
    """
    Measures the delay of a timer, which is the time that other events of the process had to wait as well.
    """

    def __init__(self, clock: IReactorTime, metrics: IMetrics) -> None:
        self._clock = clock
        self._delays = metrics.histogram(*names.REACTOR_LAG)
        self._look: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._lookLater()

    def stopService(self) -> None:
        super().stopService()
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _lookLater(self) -> None:
        self._look = self._clock.callLater(_LOOK_EVERY, self._observe, self._clock.seconds() + _LOOK_EVERY)

    def _observe(self, due: float) -> None:
        self._delays.observe(max(0.0, self._clock.seconds() - due))
        self._lookLater()
