"""
The twistd command C{gateway}: the only place that touches the global reactor.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic, time
from types import FrameType
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogPublisher
from twisted.python import usage

from gateway.composition import service
from gateway.composition.checks import origins
from gateway.composition.reader import configurationName
from gateway.composition.reload import Reloader, logStart
from gateway.config.tables import ConfigError, LogTable
from gateway.errors import StartFailed
from gateway.log.output import LogOutput, Standard
from gateway.log.printable import makePrintable, printable
from gateway.metrics.prometheus import PrometheusMetrics
from gateway.stream.trace import NAME as TRACE
from gateway.systemd import serviceManager

T = TypeVar("T")

_DEFAULT = "gateway.toml"
# The environment variable that names another default, such as /etc/xmpp-gateway/gateway.toml.
VARIABLE = "GATEWAY_CONFIG"
_CONFIG = (
    f"The configuration file. Default: the one that the environment variable {VARIABLE} names, or {_DEFAULT} in "
    "the working directory; without such a file, the gateway runs on an embedded host, for trying it out."
)

# Signals that end a process by default, but that operators and tools send for other purposes.
_IGNORED = {
    "SIGHUP": "there is no configuration to reload",
    "SIGUSR1": "there is no log file to open again",
    "SIGUSR2": "it has no meaning here",
}
_STOPPING = "the gateway is already stopping, and waits a few seconds for open requests"


class Options(usage.Options):
    """The command line of C{twistd gateway}."""

    synopsis = "[--config FILE] [--check]"
    longdesc = "Services for any XMPP server, as external components."
    optParameters = [["config", "c", None, _CONFIG]]
    optFlags = [["check", None, "Only check the configuration; exit with 0 if it is valid, with 1 if not."]]

    def postOptions(self) -> None:
        if self["check"]:
            config = _orQuit(self, service.read)
            for warning in service.warnings(config):
                sys.stderr.write(f"warning: {printable(warning)}\n")
            for note in (*origins(config), *service.notes(config)):
                sys.stdout.write("".join(f"{printable(line)}\n" for line in note.split("\n")))
            sys.stdout.write(f"{configurationName(find(self['config']))}: OK\n")
            sys.exit(0)


def makeService(options: Options) -> MultiService:
    """Make the gateway for these options. If the configuration has errors, print all of them and exit."""
    _quitUnlessMayDrop(options)
    ignoreEarlySignal()
    # This must come before twistd adds its observer for a terminal, a file or syslog.
    globalLogPublisher.addObserver(makePrintable)
    twistd: dict[str, Any] | None = getattr(options, "parent", None)
    gateway = _orQuit(options, partial(_make, twistd=twistd))
    # The objects made so far stay, until a service is removed, and those made for stanzas contain no reference
    # cycles: garbage collection at the usual rate would take a tenth of the CPU time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return gateway


def _make(path: Path | None, reactor: Any, twistd: Mapping[str, Any] | None = None) -> MultiService:
    """
    Make the gateway.

    @param twistd: the options of twistd; C{None} if they are not known.
    """
    useMonotonicClock(reactor)
    path = None if path is None else path.absolute()
    config = service.read(path, reactor)
    # Lines are kept until twistd begins to write them.
    logStart(path, config)
    gateway = service.makeService(config, reactor, time, PrometheusMetrics())
    if twistd is not None and not {twistd.get("chroot"), twistd.get("uid")} <= {None}:
        # After the change of the root folder or of the user, its modules may be out of reach.
        gateway.webServer()
    log = ConfiguredLog(LogOutput(Standard(twistd, sys.stdout)), gateway.trace)
    log.begin(config.log)
    reload = Reloader(path, reactor, gateway, lambda config: log.change(config.log)).reload
    manager = serviceManager(gateway, reactor, os.environ, monotonic)
    if manager is not None:
        reload = partial(manager.reloading, reload)
    process = Process(config.state_dir, reactor, reload, log)
    gateway.setServiceParent(process)
    if manager is not None:
        # The last one is the first to stop.
        manager.setServiceParent(process)
    return process


def ignoreEarlySignal() -> None:
    """Ignore SIGHUP until the gateway runs: it would end the process. The file has just been read."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _tooEarly)


def _tooEarly(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def useMonotonicClock(reactor: object) -> None:
    """
    Make a reactor measure intervals and deadlines by a monotonic clock.

    Twisted uses the wall clock: if that is set back, no timer fires until the clock has caught up; if it is set
    forward, all timers fire. The new clock continues from the present reading of the old one, so calls that are
    already scheduled keep their remaining time. Only Twisted's own reactors are changed.
    """
    if not isinstance(reactor, ReactorBase):
        return
    offset = reactor.seconds() - monotonic()

    def seconds() -> float:
        return monotonic() + offset

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        # A call reads this clock when it is delayed.
        call.seconds = seconds  # type: ignore[attr-defined]  # not in its interface


class ConfiguredLog:
    """
    Applies C{[log]} to the output of the log.

    @param trace: called with true if stanzas are to be logged, and with false if they are not.
    """

    _log = Logger()

    def __init__(self, output: LogOutput, trace: Callable[[bool], object] = lambda isOn: None) -> None:
        self.output = output
        self._trace = trace
        self._table = LogTable()

    def begin(self, table: LogTable) -> None:
        """
        Apply the table at the start.

        @raise ConfigError: if the file cannot be opened.
        """
        try:
            self._use(table)
        except OSError as error:
            raise ConfigError([f"log.file: {error.filename or table.file}: {error.strerror}"]) from error

    def change(self, table: LogTable) -> None:
        """Apply a table while the gateway runs; log what has no effect."""
        if table == self._table:
            return
        try:
            self._use(table)
        except OSError as error:
            self._log.error(
                "log.file: {file}: {reason}; the settings of the log are not changed.",
                event="log.unchanged",
                file=table.file,
                reason=error.strerror,
            )
        else:
            self.onUsed()

    def _use(self, table: LogTable) -> None:
        levels = {str(part): level for part, level in table.levels.items()}
        self.output.use(table.format == "json", table.level, levels, table.file)
        self._table = table

    def onUsed(self) -> None:
        """The settings are in use: log those that have no effect, and trace stanzas or not."""
        self._trace(self.output.isDebug(TRACE))
        table = self._table
        for note in self.output.notes(table.format == "json", table.file, table == LogTable()):
            self._log.warn("{note}.", event="log.no_effect", note=note)

    def reopen(self) -> bool:
        """Open the file again; return false if there is none. If that fails, the old one is used further."""
        try:
            return self.output.reopen()
        except OSError as error:
            self._log.error(
                "The log file cannot be opened again: {reason}.", event="log.not_reopened", reason=str(error)
            )
            return True


class Process(MultiService):
    """
    The gateway as a process: handles signals and failures at the start.

    @param stateDir: a folder that must be writable for the user that the process runs as.
    @param reload: called on SIGHUP; C{None} if there is nothing to reload.
    @param log: the log, whose file is opened again on SIGUSR1.
    """

    _log = Logger()

    def __init__(
        self,
        stateDir: Path,
        reactor: Any,
        reload: Callable[[], object] | None = None,
        log: ConfiguredLog | None = None,
    ) -> None:
        super().__init__()
        self._configuredLog = log
        self._reload = reload
        self._stateDir = stateDir
        self._reactor = reactor
        self._handlersBefore: dict[int, Any] = {}

    def setServiceParent(self, parent: Any) -> None:
        # twistd attaches its observer to the application after this.
        if self._configuredLog is not None:
            self._configuredLog.output.attach(parent)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """
        Start everything.

        @raise StartFailed: for any reason not to start; the reason is logged as well.
        """
        for name, meaning in _IGNORED.items():
            # Keep an existing handler: twistd rotates its log file on SIGUSR1, nohup ignores SIGHUP.
            if signal.getsignal(getattr(signal, name)) in (signal.SIG_DFL, _tooEarly):
                if name == "SIGHUP" and self._reload is not None:
                    self._handle(name, self._reload)
                elif name == "SIGUSR1":
                    self._handle(name, partial(self._reopenLog, meaning))
                else:
                    self._ignore(name, meaning)
        if self._configuredLog is not None:
            self._configuredLog.onUsed()
        try:
            self._checkStateDir()
            super().startService()
        except StartFailed as error:
            self._log.critical(
                "The gateway does not start: {problem}", event="gateway.start_failed", problem=str(error)
            )
            raise
        except (Exception, SystemExit) as error:
            self._log.failure("The gateway does not start.", event="gateway.start_raised")
            raise StartFailed(f"{type(error).__name__}: {error}") from error

    def stopService(self) -> Deferred[Any]:
        for name in ("SIGTERM", "SIGINT"):
            self._ignore(name, _STOPPING)
        if signal.SIGHUP in self._handlersBefore:
            self._ignore("SIGHUP", _STOPPING)
        stopped: Deferred[Any] = super().stopService()
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: object) -> object:
        for number, handler in self._handlersBefore.items():
            signal.signal(number, handler)
        self._handlersBefore.clear()
        return result

    def _ignore(self, name: str, meaning: str) -> None:
        """Ignore a signal, but log it."""
        self._handle(name, partial(self._logIgnored, name, meaning))

    def _logIgnored(self, name: str, meaning: str) -> None:
        self._log.warn("{name} is ignored: {meaning}.", event="signal.ignored", name=name, meaning=meaning)

    def _reopenLog(self, meaning: str) -> None:
        if self._configuredLog is None or not self._configuredLog.reopen():
            self._logIgnored("SIGUSR1", meaning)

    def _handle(self, name: str, call: Callable[[], object]) -> None:
        """Call a function at each signal of this kind, in place of its former effect."""

        def received(number: int, frame: FrameType | None) -> None:
            # A signal interrupts Python at any point, so this only schedules the call.
            self._reactor.callFromThread(call)

        number = getattr(signal, name)
        before = signal.signal(number, received)
        self._handlersBefore.setdefault(number, before)

    def _checkStateDir(self) -> None:
        """Check the folder again: twistd may have changed user (--uid) and root folder (--chroot) since."""
        if not os.access(self._stateDir, os.W_OK | os.X_OK, effective_ids=True):
            problem = f"state_dir: not writable by uid {os.geteuid()}, or missing: {self._stateDir}"
            raise StartFailed(f"{problem}: create it, owned by that user")


def hangUp(process: int) -> float:
    """
    Send a process the signal that lets a gateway read its configuration again.

    @return: the time just before, in seconds since 1970.
    @raise OSError: if that is not possible.
    """
    now = time()
    os.kill(process, signal.SIGHUP)
    return now


def ignoresHangUp(process: int) -> bool:
    """Return True if a process ignores that signal, as under nohup. Without /proc, nothing is known about it."""
    with contextlib.suppress(OSError):
        # The ignored signals, as bits.
        ignored = re.search(r"(?m)^SigIgn:\s*([0-9a-f]+)$", Path(f"/proc/{process}/status").read_text())
        return ignored is not None and bool(int(ignored[1], 16) >> (signal.SIGHUP - 1) & 1)
    return False


def _quitUnlessMayDrop(options: Options) -> None:
    """
    End the process if twistd was told to change its user and has no permission to do so.

    twistd itself would only fail in the background, and its parent process would wait for ever.
    """
    twistd: dict[str, Any] = getattr(options, "parent", None) or {}
    own, wanted = (os.geteuid(), os.getegid()), (twistd.get("uid"), twistd.get("gid"))
    if own[0] != 0 and any(want not in (None, have) for want, have in zip(wanted, own, strict=True)):
        sys.exit("--uid and --gid: only root can change the user or the group of a process")


def find(named: str | None) -> Path | None:
    """
    Return the path of the configuration file.

    @param named: the value of C{--config}.
    @return: C{None} for the embedded default.
    """
    named = named or os.environ.get(VARIABLE)
    path = Path(named or _DEFAULT)
    return path if named or path.exists() else None


def _orQuit(options: Options, make: Callable[[Path | None, object], T]) -> T:
    # twistd has chosen the reactor before it calls this function, so it must not be imported earlier.
    from twisted.internet import reactor

    path = find(options["config"])
    try:
        return make(path, reactor)
    except ConfigError as error:
        sys.stderr.write(errorsIn(path, error))
        sys.exit(1)


def errorsIn(path: Path | None, error: ConfigError) -> str:
    """Return the lines that report the errors of a configuration file."""
    lines = "".join(f"  {printable(problem)}\n" for problem in error.problems)
    count = len(error.problems)
    return f"{configurationName(path)}: {count} error{'s' if count > 1 else ''}:\n{lines}"
