"""
Stalls of a gateway's reactor, measured in its process: C{import} and L{watch} are a gateway's C{prelude}.

A timer runs every 10 ms. Each second a line is written: the time, the longest delay of the timer, and the longest
one without the time for which the process was ready and waited for a processor; all in seconds.
"""

from __future__ import annotations

import os
import time
from typing import Any

_EVERY = 0.01


def watch(path: str) -> None:
    """Append the lines to a file while the reactor runs."""
    # Only in the gateway's process: the live tests themselves have no reactor.
    from twisted.internet import reactor

    given: Any = reactor
    given.callWhenRunning(_Watch(given, path).tick)


class _Watch:
    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._file = open(path, "a", buffering=1)  # noqa: SIM115  # until the process ends
        # Of the main thread; its second number is the time in the queue for a processor, in nanoseconds.
        self._schedule = os.open("/proc/self/schedstat", os.O_RDONLY)
        self._due, self._waited = time.monotonic(), self._queued()
        self._late = self._own = 0.0
        self._written = self._due

    def tick(self) -> None:
        """Measure, and wait for the next time."""
        now, waited = time.monotonic(), self._queued()
        late = max(0.0, now - self._due)
        self._late = max(self._late, late)
        self._own = max(self._own, late - (waited - self._waited))
        if now - self._written >= 1:
            self._file.write(f"{now:.3f} {self._late:.4f} {self._own:.4f}\n")
            self._written, self._late, self._own = now, 0.0, 0.0
        self._due, self._waited = now + _EVERY, waited
        self._reactor.callLater(_EVERY, self.tick)

    def _queued(self) -> float:
        return int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9
