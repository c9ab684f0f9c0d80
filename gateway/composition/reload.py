"""
Reload the configuration file while the gateway runs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import twisted
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from gateway import __version__
from gateway.composition.changes import Changes
from gateway.composition.checks import read
from gateway.composition.reader import Config, configurationName
from gateway.composition.service import Gateway
from gateway.composition.shown import serviceSettings, settings
from gateway.config.tables import ConfigError
from gateway.errors import Stopping
from gateway.reports import StatusItem

_log = Logger()

# The sentence on /status about each outcome.
_OUTCOMES = {
    "done": "configuration: reloaded at {time} UTC",
    "partly": "configuration: the reload at {time} UTC had errors; the rest of the file is in use",
    "refused": "configuration: the reload at {time} UTC was refused; nothing was changed",
}


def logStart(path: Path | None, config: Config) -> None:
    """Log the version and the configuration that the gateway starts with."""
    _log.info(
        "xmpp-gateway {version} starts, with {path} (Python {python}, Twisted {twisted}).",
        event="gateway.starts",
        version=__version__,
        path=configurationName(path),
        python=platform.python_version(),
        twisted=twisted.__version__,
    )
    for table in settings(config):
        _logTable(*table)


def _logTable(table: str, settings: str) -> None:
    _log.info("[{table}] {settings}", event="gateway.table", table=table, settings=settings)


class Reloader:
    """
    Reads the configuration file again, applies what differs, and logs the result.

    @param path: the file, absolute: twistd may have changed the working directory since the start. C{None} if there
        is none.
    @param applied: called with a configuration that was applied.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path | None,
        reactor: Any,
        gateway: Gateway,
        applied: Callable[[Config], object] = lambda config: None,
    ) -> None:
        self._path = path
        self._reactor = reactor
        self._gateway = gateway
        self._applied = applied
        self._isAsked = False
        self._running: Deferred[None] = succeed(None)
        self._began = 0.0

    def reload(self) -> Deferred[None]:
        """
        Reload the file. During a reload, any number of further calls cause one more.

        @return: fires when no reload is under way any longer. It does not fail: errors are logged.
        """
        self._isAsked = True
        if self._running.called:
            self._running = Deferred.fromCoroutine(self._run())
        done: Deferred[None] = Deferred()
        self._running.addCallback(lambda _: done.callback(None))
        return done

    async def _run(self) -> None:
        while self._isAsked:
            self._isAsked = False
            self._began = self._gateway.utc()
            try:
                await self._reload()
            except Stopping:
                self._report("refused", "the gateway is stopping")
                self._log.warn(
                    "The configuration is not reloaded: the gateway is stopping.", event="reload.stopping"
                )
            except Exception as error:
                self._report("refused", f"it has raised {type(error).__name__}: see the log")
                self._log.failure("The configuration could not be reloaded.", event="reload.failed")

    async def _reload(self) -> None:
        if self._path is None:
            self._report("refused", "the gateway was started without a configuration file")
            self._log.warn(
                "There is no configuration file to reload: the gateway was started without one.",
                event="reload.no_file",
            )
            return
        before = self._gateway.config
        try:
            changes = await self._gateway.apply(read(self._path, self._reactor))
        except ConfigError as error:
            isApplied = self._gateway.config is not before
            self._report("partly" if isApplied else "refused", *error.problems)
            self._log.error(
                "{path}: {count} error{plural}; {result}:\n{problems}",
                event="reload.wrong_file",
                path=str(self._path),
                count=len(error.problems),
                plural="s" if len(error.problems) > 1 else "",
                result="the rest of the file is in use" if isApplied else "nothing was changed",
                problems="\n".join(error.problems),
            )
        else:
            isApplied = True
            self._report("done", **_steps(changes))
            self._log.info(
                "{path} was reloaded: {changes}.",
                event="reload.done",
                path=str(self._path),
                changes=_inWords(_steps(changes)),
            )
            for service in (*changes.added, *changes.replaced):
                _logTable(*serviceSettings(service))
        if isApplied:
            self._applied(self._gateway.config)

    def _report(self, outcome: str, *problems: str, **steps: tuple[str, ...]) -> None:
        """Let C{/status} show the outcome, in place of that of the reload before."""
        about: dict[str, Any] = {
            "outcome": outcome,
            "began": self._began,
            "time": datetime.fromtimestamp(self._began, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            **dict.fromkeys(("added", "replaced", "removed"), ()),
            **steps,
            "problems": problems,
        }
        text = _OUTCOMES[outcome]
        if problems:
            about["lines"] = "".join(f"\n    {each}" for each in problems)
            text += ":{lines}"
        else:
            about["changes"] = _inWords(steps)
            text += ": {changes}"
        self._gateway.reports[:] = [StatusItem("gateway.reload", text, about, isProblem=outcome != "done")]


def _steps(changes: Changes) -> dict[str, tuple[str, ...]]:
    """Return the JIDs of the services that were changed, by what was done with them; and changed peers."""
    return {
        "added": tuple(each.jid for each in changes.added),
        "replaced": tuple(each.jid for each in changes.replaced),
        "removed": tuple(changes.removed),
        **({"peers": changes.peers} if changes.peers else {}),
    }


def _inWords(steps: Mapping[str, Iterable[str]]) -> str:
    named = [f"{step}: {', '.join(jids)}" for step, jids in steps.items() if jids]
    return "; ".join(named) or "no service differs"
