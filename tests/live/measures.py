"""Measures of a gateway's process over time: memory, descriptors, CPU, and stalls (L{tests.live.stalls})."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from statistics import median

from tests.live.gateway import Gateway
from tests.live.processes import holds

# Seconds within which connections end after their last use.
_CLOSED_WITHIN = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Measures:
    """
    Measures of one process, from now on.

    @ivar started: time of the first one.
    @ivar memory: time, and resident memory in MiB, once a second.
    @ivar warmAt: time from which on the memory is compared.
    @ivar descriptors: numbers of open ones at the begin and at the end.
    @ivar seconds: from begin to end.
    @ivar cpu: CPU time in seconds meanwhile.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._folder = Path(f"/proc/{gateway.child.pid}")
        self.started = time.monotonic()
        self.memory: list[tuple[float, float]] = []
        self.warmAt = 0.0
        self.descriptors = (self._open(), 0)
        self._used = self._cpuTime()
        self.seconds = self.cpu = 0.0

    async def sample(self) -> None:
        """Measure the memory, until cancelled."""
        while True:
            self.memory.append((time.monotonic() - self.started, self._gateway.residentMiB()))
            await asyncio.sleep(1)

    def markWarm(self) -> None:
        """The process is warm."""
        self.warmAt = time.monotonic() - self.started

    async def end(self) -> None:
        """
        Wait until as many descriptors are open as at the begin.

        @raise AssertionError: there are more.
        """
        self.cpu = self._cpuTime() - self._used
        self.seconds = time.monotonic() - self.started
        before = self.descriptors[0]
        await holds(lambda: self._open() <= before, _CLOSED_WITHIN, f"the gateway has {before} descriptors again")
        self.descriptors = before, self._open()

    def medians(self) -> tuple[float, float]:
        """Return the medians of the memory in the first and the last fifth after the warm-up, in MiB."""
        warm = [mib for at, mib in self.memory if at >= self.warmAt]
        fifth = max(1, len(warm) // 5)
        return median(warm[:fifth]), median(warm[-fifth:])

    @property
    def growth(self) -> float:
        """Growth of the memory after the warm-up, as a part."""
        first, last = self.medians()
        return last / first - 1

    def stalls(self) -> list[tuple[float, float, float]]:
        """Return for each second: the time, the longest stall, and the longest one with waits for a processor."""
        lines = (self._gateway.directory / "stalls.txt").read_text().splitlines()
        found = (tuple(map(float, line.split())) for line in lines)
        return [(at - self.started, own, late) for at, late, own in found if at > self.started]

    @property
    def longest(self) -> float:
        """The longest stall in seconds, without waits for a processor."""
        return max(own for _, own, _ in self.stalls())

    def _open(self) -> int:
        return len(list((self._folder / "fd").iterdir()))

    def _cpuTime(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
