"""
Reload the configuration file while the gateway runs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import twisted
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from gateway import __version__
from gateway.composition.changes import Changes
from gateway.composition.checks import read
from gateway.composition.reader import Config
from gateway.composition.service import Gateway
from gateway.composition.shown import serviceSettings, settings
from gateway.config.tables import ConfigError
from gateway.errors import Stopping

_log = Logger()


def logStart(path: Path | None, config: Config) -> None:
    """Log the version and the configuration that the gateway starts with."""
    _log.info(
        "xmpp-gateway {version} starts, with {path} (Python {python}, Twisted {twisted}).",
        event="gateway.starts",
        version=__version__,
        path="the embedded default" if path is None else str(path),
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
            try:
                await self._reload()
            except Stopping:
                self._log.warn(
                    "The configuration is not reloaded: the gateway is stopping.", event="reload.stopping"
                )
            except Exception:
                self._log.failure("The configuration could not be reloaded.", event="reload.failed")

    async def _reload(self) -> None:
        if self._path is None:
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
            self._log.info(
                "{path} was reloaded: {changes}.",
                event="reload.done",
                path=str(self._path),
                changes=_inWords(changes),
            )
            for service in (*changes.added, *changes.replaced):
                _logTable(*serviceSettings(service))
        if isApplied:
            self._applied(self._gateway.config)


def _inWords(changes: Changes) -> str:
    """Return the services that were changed."""
    steps = {
        "added": [each.jid for each in changes.added],
        "replaced": [each.jid for each in changes.replaced],
        "removed": changes.removed,
    }
    named = [f"{step}: {', '.join(jids)}" for step, jids in steps.items() if jids]
    return "; ".join(named) or "no service differs"
