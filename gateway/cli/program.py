"""
Common parts of the commands: the configuration file, the reactor, errors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react

from gateway.cli.web import RunningGateway, Unreachable
from gateway.composition.checks import findPlugins
from gateway.composition.reader import Config, load
from gateway.config.tables import ConfigError
from gateway.log.printable import printable
from gateway.tap import VARIABLE, errorsIn, find, useMonotonicClock

Main = Callable[[Any], Coroutine[Deferred[Any], Any, None]]


class CommandFailed(click.ClickException):
    """A command cannot do what it was asked for. The text says why, and what to do."""

    def show(self, file: Any = None) -> None:
        click.echo(self.format_message(), file=file, err=True)


@frozen
class Program:
    """
    The surroundings of the commands; tests have others.

    @ivar run: runs a coroutine on a reactor, to its end.
    @ivar gateway: returns the running gateway of a configuration.
    """

    run: Callable[[Main], None]
    gateway: Callable[[Config, Any], RunningGateway]


def runOnReactor(main: Main) -> None:
    """Run a coroutine on the reactor of this process, and end the process."""

    async def reported(reactor: Any) -> None:
        useMonotonicClock(reactor)
        try:
            await main(reactor)
        except click.ClickException as error:
            error.show()
            raise SystemExit(error.exit_code) from error
        except Unreachable as error:
            CommandFailed(str(error)).show()
            raise SystemExit(1) from error
        except BrokenPipeError as error:
            # The reader, such as head, has ended. Python would report that at its exit again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from error

    react(lambda reactor: ensureDeferred(reported(reactor)))


configured = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(dir_okay=False),
    help=f"The configuration file. Default: {VARIABLE}, or gateway.toml in the working directory.",
)


def readConfig(file: str | None, reactor: Any) -> Config:
    """
    Read the configuration file, without any check of the state folder.

    @param file: C{--config}; C{None} for the default.
    @raise CommandFailed: with all of its errors.
    """
    path = find(file)
    return orFail(path, lambda: load(path, findPlugins(), reactor, environment=os.environ))


def orFail(path: Path | None, read: Callable[[], Config]) -> Config:
    """Return a configuration; raise L{CommandFailed} with all of its errors."""
    try:
        return read()
    except ConfigError as error:
        raise CommandFailed(errorsIn(path, error).rstrip("\n")) from error


def say(text: str, err: bool = False) -> None:
    """Print lines, of which parts may come from a server."""
    for line in text.rstrip("\n").split("\n"):
        click.echo(printable(line), err=err)
