"""
The service manager of systemd: tell it the state of the process (C{sd_notify(3)}), for a unit with C{Type=notify}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from gateway.log.printable import printable
from gateway.reports import StatusItem

# Seconds until the start is over, although links are not connected: other units may wait for it, and the gateway
# connects by itself when the server is available. systemd itself waits for 90 seconds by default.
_MAX_START = 30.0
# Maximum seconds between two looks at the links. The watchdog may need a shorter time.
_EVERY = 1.0
# Characters of the sentence that `systemctl status` shows.
_MAX_STATUS = 300


class Watched(Protocol):
    """
    A link.

    @ivar trouble: the reason why it is not connected.
    """

    jid: str
    ready: bool
    trouble: str


class _Gateway(Protocol):
    """The parts of L{gateway.composition.service.Gateway} that are read here."""

    @property
    def links(self) -> Sequence[Watched]:
        """The links of all services."""

    @property
    def reports(self) -> Sequence[StatusItem]:
        """The outcome of the last reload."""


class ServiceManager(Service):
    """
    Tells systemd when all links are connected (C{READY=1}), when the gateway reloads its configuration and when it
    stops, with a sentence for C{systemctl status}; and that the reactor still runs (C{WATCHDOG=1}).

    @param send: sends lines to systemd.
    @param watchdog: seconds within which systemd expects a sign of life; C{None} for no watchdog.
    @param clock: returns the seconds of the system's monotonic clock, from which systemd tells whether a reload
        began after its signal.
    """

    def __init__(
        self,
        gateway: _Gateway,
        reactor: Any,
        send: Callable[..., None],
        clock: Callable[[], float],
        watchdog: float | None = None,
    ) -> None:
        self._gateway = gateway
        self._reactor = reactor
        self._send = send
        self._watchdog = watchdog
        self._clock = clock
        self._isReady = False
        self._status = ""
        self._started = self._lastPing = 0.0
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._started = self._lastPing = self._reactor.seconds()
        half = _EVERY if self._watchdog is None else self._watchdog / 2
        self._ticks.start(min(_EVERY, half))

    def stopService(self) -> None:
        """Tell systemd that the gateway stops; it expects no sign of life any longer."""
        super().stopService()
        if self._ticks.running:
            self._ticks.stop()
        self._send("STOPPING=1", "STATUS=stopping; waiting for open requests")

    def reloading(self, reload: Callable[[], Deferred[None]]) -> Deferred[None]:
        """Reload the configuration; tell systemd when that begins and when it is done."""
        if not self._isReady:
            # systemd would take the end of the reload for the end of the start.
            return reload()
        microseconds = int(self._clock() * 1e6)
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", "STATUS=reloading the configuration")
        return reload().addBoth(self._reloaded)

    def _reloaded(self, result: None) -> None:
        if self.running:
            self._status = self._sentence()
            self._send("READY=1", f"STATUS={self._status}")

    def _tick(self) -> None:
        now = self._reactor.seconds()
        if self._watchdog is not None and now - self._lastPing >= self._watchdog / 2 - _EVERY / 2:
            self._lastPing = now
            self._send("WATCHDOG=1")
        status = self._sentence()
        if not self._isReady and (not self._waiting() or now - self._started >= _MAX_START):
            self._isReady = True
            self._send("READY=1", f"STATUS={status}")
        elif status != self._status:
            self._send(f"STATUS={status}")
        self._status = status

    def _waiting(self) -> list[Watched]:
        return [link for link in self._gateway.links if not link.ready]

    def _sentence(self) -> str:
        """Return the state of the links, and what was wrong with the last reload."""
        count = len(self._gateway.links)
        waiting = self._waiting()
        parts = [f"{count - len(waiting)} of {count} links connected"]
        parts += [f"{link.jid}: {link.trouble}" for link in waiting[:1]]
        parts += [str(item).partition("\n")[0] for item in self._gateway.reports if item.isProblem]
        # Control characters would begin another line.
        return printable("; ".join(parts))[:_MAX_STATUS]


def serviceManager(
    gateway: _Gateway, reactor: Any, environment: Mapping[str, str], clock: Callable[[], float]
) -> ServiceManager | None:
    """
    Return the connection to systemd.

    @param clock: as that of L{ServiceManager}.
    @param environment: of this process. C{NOTIFY_SOCKET} names systemd's socket, C{WATCHDOG_USEC} the microseconds
        of the watchdog, and C{WATCHDOG_PID} the process that it is for.
    @return: C{None} if the process is no unit with C{Type=notify}.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    isOurs = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    watchdog = int(microseconds) / 1e6 if isOurs and microseconds.isdecimal() and int(microseconds) else None

    def send(*lines: str) -> None:
        notify(address, *lines)

    return ServiceManager(gateway, reactor, send, clock, watchdog)


def notify(address: str, *lines: str) -> None:
    """
    Send lines to systemd, without waiting. A lost message has no effect on the gateway.

    @param address: the path of its socket, or a name in the abstract namespace after C{@}.
    """
    name = f"\0{address[1:]}" if address.startswith("@") else address
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_UNIX, kind) as sending, suppress(OSError):
        sending.sendto("\n".join(lines).encode(), name)
