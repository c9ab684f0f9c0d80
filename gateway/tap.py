"""
The twistd command C{gateway}: the only place that touches the global reactor.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time
from types import FrameType
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogPublisher
from twisted.python import usage

from gateway import service
from gateway.errors import StartFailed
from gateway.printable import makePrintable, printable
from gateway.tables import ConfigError

T = TypeVar("T")

_DEFAULT = "gateway.toml"
_CONFIG = (
    f"The configuration. By default {_DEFAULT} in the working directory; if there is none, the gateway runs on an "
    "embedded host, for trying it out."
)

# Signals that end a process by default, and that operators and their tools send for other reasons.
_IGNORED = {
    "SIGHUP": "the gateway does not reload its configuration: restart it",
    "SIGUSR1": "there is no log file to rotate: the log goes elsewhere",
    "SIGUSR2": "it has no meaning here",
}
_REPEATED = dict.fromkeys(
    ("SIGTERM", "SIGINT"), "the gateway is stopping already, and waits some seconds for open requests"
)


class Options(usage.Options):
    """Command line of C{twistd gateway}."""

    synopsis = "[--config FILE] [--check]"
    longdesc = "Services for any XMPP server, as external components."
    optParameters = [["config", "c", None, _CONFIG]]
    optFlags = [["check", None, "Only check the configuration: exit with 0 if it is right, with 1 if not."]]

    def postOptions(self) -> None:
        if self["check"]:
            config = _orQuit(self, service.read)
            for warning in service.warnings(config):
                sys.stderr.write(f"warning: {printable(warning)}\n")
            for note in service.notes(config):
                sys.stdout.write("".join(f"{printable(line)}\n" for line in note.split("\n")))
            name = find(self["config"]) or "The embedded default"
            sys.stdout.write(f"{name}: the configuration is right.\n")
            sys.exit(0)


def makeService(options: Options) -> MultiService:
    """Make the gateway that the options ask for; ends the process, saying all reasons, if that cannot be."""
    _quitUnlessMayDrop(options)
    # Before twistd adds the observer that writes: for a terminal, a file or syslog.
    globalLogPublisher.addObserver(makePrintable)
    gateway = _orQuit(options, _make)
    # What is here now stays, and what comes and goes with stanzas holds no cycles: looking for garbage at the
    # usual rate would cost a tenth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return gateway


def _make(path: Path | None, reactor: Any) -> MultiService:
    useMonotonicClock(reactor)
    config = service.read(path, reactor)
    return service.makeService(config, reactor, time, Process(config.state_dir, reactor))


def useMonotonicClock(reactor: object) -> None:
    """
    Have a reactor measure intervals and deadlines by a clock that nobody can set.

    Twisted takes the wall clock: when that is set back no timer fires until it has caught up, and when it is set
    forward all of them fire. The new clock goes on from the old one's present reading, so calls that are scheduled
    already keep the time that they have left. Only for Twisted's own reactors; others have clocks of their own.
    """
    if not isinstance(reactor, ReactorBase):
        return
    offset = reactor.seconds() - monotonic()

    def seconds() -> float:
        return monotonic() + offset

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        # Read when the call is put off.
        call.seconds = seconds  # type: ignore[attr-defined]  # not in its interface


class Process(MultiService):
    """
    The gateway as a process: its signals, and failures at its start.

    @param stateDir: folder that must be writable for the user that the process runs as.
    """

    _log = Logger()

    def __init__(self, stateDir: Path, reactor: Any) -> None:
        super().__init__()
        self._stateDir = stateDir
        self._reactor = reactor
        self._handlersBefore: dict[int, Any] = {}

    def startService(self) -> None:
        """
        Start everything.

        @raise StartFailed: for whatever reason it does not start; the reason is in the log, too.
        """
        for name, meaning in _IGNORED.items():
            # The handler stays if there is one: twistd rotates its log file at SIGUSR1, nohup ignores SIGHUP.
            if signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:
                self._handle(name, meaning)
        try:
            self._checkStateDir()
            super().startService()
        except StartFailed as error:
            self._log.critical("The gateway does not start: {problem}", problem=str(error))
            raise
        except (Exception, SystemExit) as error:
            self._log.failure("The gateway does not start.")
            raise StartFailed(f"{type(error).__name__}: {error}") from error

    def stopService(self) -> Deferred[Any]:
        for name, meaning in _REPEATED.items():
            self._handle(name, meaning)
        stopped: Deferred[Any] = super().stopService()
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: object) -> object:
        for number, handler in self._handlersBefore.items():
            signal.signal(number, handler)
        self._handlersBefore.clear()
        return result

    def _handle(self, name: str, meaning: str) -> None:
        """Ignore a signal, but log it."""

        def received(number: int, frame: FrameType | None) -> None:
            # Python may be anywhere, so nothing else is done here.
            said = "{name} is ignored: {meaning}."
            self._reactor.callFromThread(self._log.warn, said, name=name, meaning=meaning)

        number = getattr(signal, name)
        self._handlersBefore[number] = signal.signal(number, received)

    def _checkStateDir(self) -> None:
        """twistd has changed the user (--uid) and the root folder (--chroot) since the folder was made."""
        if not os.access(self._stateDir, os.W_OK | os.X_OK, effective_ids=True):
            problem = f"state_dir: not writable by uid {os.geteuid()}, or not there: {self._stateDir}"
            raise StartFailed(f"{problem}: make it, and give it to that user")


def _quitUnlessMayDrop(options: Options) -> None:
    """
    End the process if twistd is to change its user and cannot.

    twistd itself finds out only in the background, and then its parent waits for ever.
    """
    twistd: dict[str, Any] = getattr(options, "parent", None) or {}
    own, wanted = (os.geteuid(), os.getegid()), (twistd.get("uid"), twistd.get("gid"))
    if own[0] != 0 and any(want not in (None, have) for want, have in zip(wanted, own, strict=True)):
        sys.exit("--uid and --gid: only root can change the user or the group of a process")


def find(named: str | None) -> Path | None:
    """
    Which file the configuration is in.

    @param named: what the command line says.
    @return: C{None} for the embedded default.
    """
    path = Path(named or _DEFAULT)
    return path if named or path.exists() else None


def _orQuit(options: Options, make: Callable[[Path | None, object], T]) -> T:
    # twistd chooses the reactor before it calls us, so it is imported no earlier.
    from twisted.internet import reactor

    path = find(options["config"])
    try:
        return make(path, reactor)
    except ConfigError as error:
        lines = "".join(f"  {printable(problem)}\n" for problem in error.problems)
        count = len(error.problems)
        name = path or "The embedded default"
        sys.stderr.write(f"{name}: {count} thing{'s' if count > 1 else ''} to put right:\n{lines}")
        sys.exit(1)
