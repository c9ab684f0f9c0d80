"""
The twistd command C{gateway}: the only place that touches the global reactor.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.application.service import MultiService
from twisted.python import usage

from gateway import service
from gateway.tables import ConfigError

T = TypeVar("T")

_DEFAULT = "gateway.toml"
_CONFIG = (
    f"The configuration. By default {_DEFAULT} in the working directory; if there is none, the gateway runs on an "
    "embedded host, for trying it out."
)


class Options(usage.Options):
    """Command line of C{twistd gateway}."""

    synopsis = "[--config FILE] [--check]"
    longdesc = "Services for any XMPP server, as external components."
    optParameters = [["config", "c", None, _CONFIG]]
    optFlags = [["check", None, "Only check the configuration: exit with 0 if it is right, with 1 if not."]]

    def postOptions(self) -> None:
        if self["check"]:
            _orQuit(self, service.read)
            name = find(self["config"]) or "The embedded default"
            sys.stdout.write(f"{name}: the configuration is right.\n")
            sys.exit(0)


def makeService(options: Options) -> MultiService:
    """Make the gateway that the options ask for; ends the process, saying all reasons, if that cannot be."""
    gateway = _orQuit(options, lambda path, reactor: service.makeService(service.read(path, reactor), reactor))
    # What is here now stays, and what comes and goes with stanzas holds no cycles: looking for garbage at the
    # usual rate would cost a tenth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return gateway


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
        lines = "".join(f"  {problem}\n" for problem in error.problems)
        count = len(error.problems)
        name = path or "The embedded default"
        sys.stderr.write(f"{name}: {count} thing{'s' if count > 1 else ''} to put right:\n{lines}")
        sys.exit(1)
