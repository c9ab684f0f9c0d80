"""
The destination of the log, which can be changed while the process runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
)
from twisted.python import log as legacy
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from zope.interface import implementer

from gateway.log.lines import asJson, asText

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warn", "error", "critical"]

# The owner can write, the group can read.
_MODE = 0o640

# With O_NONBLOCK, a pipe that nobody reads is an error, and does not block the process.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class AppendFile:
    """
    A file that only grows. Another program may rename it; L{reopen} then begins a new one.

    @raise OSError: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = _open(path)

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def reopen(self) -> None:
        """
        Open the path again.

        @raise OSError: if that is not possible. Then the old file is used further.
        """
        before, self._descriptor = self._descriptor, _open(self.path)
        os.close(before)

    def close(self) -> None:
        os.close(self._descriptor)


def _open(path: Path) -> int:
    isNew = not os.path.lexists(path)
    descriptor = os.open(path, _FLAGS, _MODE)
    if isNew and os.geteuid() == 0:
        # twistd changes its user later (--uid), and the new user will open the file again.
        folder = path.parent.stat()
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


class TwistdFile(LogFile):
    """The file of C{twistd --logfile}. As with twistd itself, it is rotated at SIGUSR1, and at 1 MB."""

    def reopen(self) -> None:
        if os.path.exists(self.path):
            self.rotate()
        else:
            # Another program has renamed it.
            super().reopen()


class Standard:
    """
    The destination that twistd's command line asks for, which is used without C{[log] file}.

    @ivar isKnown: true if the command line is known and twistd writes the log: not with a .tac file or C{--logger}.
    @ivar isChosen: true if the command line names a destination; then C{[log] file} is not used.
    @ivar isSyslog: true if that is the system's log, which has its own format.
    @param options: the options of twistd; C{None} if they are not known.
    @param stdout: the standard output; twistd replaces C{sys.stdout} by the log.
    """

    def __init__(self, options: Mapping[str, Any] | None, stdout: Any) -> None:
        self.isKnown = options is not None and "syslog" in options and not options.get("logger")
        known: Mapping[str, Any] = options if options is not None and self.isKnown else {}
        self._prefix = known.get("prefix") or "twisted"
        self._stdout = stdout
        self.isSyslog = bool(known.get("syslog"))
        name = known.get("logfile") or ("-" if known.get("nodaemon") else "")
        self.isChosen = self.isSyslog or bool(known.get("logfile"))
        self.isStdout = name == "-"
        self._path = os.path.abspath(name or "twistd.log")

    def stream(self) -> Any:
        """Return the stream to write to."""
        return self._stdout if self.isStdout else TwistdFile.fromFullPath(self._path)

    def syslog(self) -> Callable[[dict[str, Any]], object]:
        """Return twistd's observer for the system's log."""
        from twisted.python.syslog import SyslogObserver

        # A legacy observer is any function.
        observer: Any = SyslogObserver(self._prefix).emit
        return LegacyLogObserverWrapper(observer)


@implementer(ILogObserver)
class LogOutput:
    """
    Writes the log in one format to one destination, from some level on.

    A line that cannot be written, for instance because the disk is full, is lost. Lost lines are counted, and
    logged as soon as lines can be written again.

    @ivar isAttached: true if twistd writes the log here.
    """

    _log = Logger()

    def __init__(self, standard: Standard) -> None:
        self.isAttached = False
        self._standard = standard
        self._file: str | None = None
        self._stream: Any = None
        self._syslog: Callable[[dict[str, Any]], object] | None = None
        self._write: Callable[[dict[str, Any]], str] = asText
        self._filter = LogLevelFilterPredicate()
        self._lost = 0

    def use(self, isJson: bool, level: Level, levels: Mapping[str, Level], file: str | None) -> None:
        """
        Change the settings.

        @param level: events below this level are not written.
        @param levels: other levels for loggers, by the beginning of their names up to a dot.
        @param file: C{None} for the destination of twistd's command line.
        @raise OSError: if the file cannot be opened. Then nothing is changed.
        """
        if self._standard.isChosen:
            file = None
        if file is not None:
            if self._file != file or not isinstance(self._stream, AppendFile):
                self._replace(AppendFile(Path(file)))
        elif self._standard.isSyslog:
            self._syslog = self._syslog or self._standard.syslog()
        elif self._standard.isKnown and (self._stream is None or self._file is not None):
            self._replace(self._standard.stream())
        self._file = file
        self._write = asJson if isJson else asText
        self._filter = LogLevelFilterPredicate(LogLevel.levelWithName(level))
        for name, each in levels.items():
            self._filter.setLogLevelForNamespace(name, LogLevel.levelWithName(each))

    def _replace(self, stream: Any) -> None:
        before, self._stream = self._stream, stream
        if isinstance(before, AppendFile | TwistdFile):
            before.close()

    def attach(self, application: object) -> None:
        """
        Make twistd write the log here, unless its application has an observer already.

        @param application: the parent of all services, to which twistd attaches no observer yet.
        """
        if not isinstance(application, Componentized) or (self._stream is None and self._syslog is None):
            return
        if any(application.getComponent(each, None) is not None for each in (ILogObserver, legacy.ILogObserver)):
            return
        application.setComponent(ILogObserver, self)
        self.isAttached = True

    def notes(self, isJson: bool, file: str | None, isDefault: bool) -> list[str]:
        """
        Return settings that have no effect, each with the reason.

        @param isDefault: true if all settings are the default ones.
        """
        if not self.isAttached:
            reason = "the gateway runs with twistd --logger, from a .tac file without log.file, or without twistd"
            return [] if isDefault else [f"[log] is not used: {reason}"]
        found = []
        if file is None and not self._standard.isKnown:
            found.append("log.file was removed, which requires a restart; until then its file is used")
        if file is not None and self._standard.isChosen:
            found.append("log.file is not used: twistd was told where to log by --logfile or --syslog")
        if isJson and self._syslog is not None:
            found.append('log.format: "json" is not used: twistd --syslog writes text')
        return found

    def isDebug(self, logger: str) -> bool:
        """True if the lines of a logger are written at all levels."""
        return self.isAttached and self._filter.logLevelForNamespace(logger) is LogLevel.debug

    def reopen(self) -> bool:
        """
        Open the file again, or rotate twistd's.

        @return: false if the log is not written to a file.
        @raise OSError: if that is not possible.
        """
        if not self.isAttached or not isinstance(self._stream, AppendFile | TwistdFile):
            return False
        self._stream.reopen()
        return True

    def __call__(self, event: dict[str, Any]) -> None:
        if self._filter(event) is PredicateResult.no:
            return
        if self._syslog is not None:
            self._syslog(event)
            return
        try:
            self._stream.write(self._write(event))
            self._stream.flush()
        except (OSError, ValueError):
            self._lost += 1
        else:
            if self._lost:
                lost, self._lost = self._lost, 0
                self._log.error(
                    "{count} lines could not be written to the log.", event="log.lines_lost", count=lost
                )
