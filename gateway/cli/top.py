"""
C{xmpp-gateway top}: the load of the running gateway, live.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import Any

import click
from twisted.internet.task import deferLater

from gateway.cli.program import CommandFailed, Program, configured, readConfig, say
from gateway.cli.rates import Reading, lines, read
from gateway.cli.web import RunningGateway, Unreachable
from gateway.log.printable import printable

_INTERVAL = 2.0
# Moves the cursor home, and clears the rest of a line and of the screen.
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command
@configured
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=_INTERVAL, help="Seconds between readings.")
@click.option("--once", is_flag=True, help="Print one table, and exit; the default if the output is no terminal.")
@click.pass_obj
def top(program: Program, once: bool, interval: float, file: str | None) -> None:
    """
    Show the load of the running gateway, live: stanzas and bytes of each component, open requests, latencies.

    The latencies are bounds: half, or 95 %, of the requests took no longer. End it with Control-C. It goes on
    while the gateway restarts.
    """

    async def main(reactor: Any) -> None:
        gateway = program.gateway(readConfig(file, reactor), reactor)
        before = await _read(gateway, reactor)
        if once or not sys.stdout.isatty():
            await deferLater(reactor, interval)
            say("\n".join(lines(before, await _read(gateway, reactor))))
            return
        click.clear()
        while True:
            await deferLater(reactor, interval)
            size = shutil.get_terminal_size()
            before, shown = await nextReading(gateway, before, size, reactor)
            text = "".join(f"{printable(line)}{_END_OF_LINE}\n" for line in shown)
            click.echo(f"{_HOME}{text}{_END_OF_SCREEN}", nl=False)

    program.run(main)


async def nextReading(
    gateway: RunningGateway, before: Reading, size: os.terminal_size, reactor: Any
) -> tuple[Reading, list[str]]:
    """Return the next reading, and the lines to show. While no gateway answers, return the reason."""
    try:
        now = await _read(gateway, reactor)
    except Unreachable as error:
        return before, [*textwrap.wrap(str(error), size.columns), "", "This command tries again."]
    # The cursor is in the last line.
    return now, lines(before, now, size.columns, size.lines - 1)


async def _read(gateway: RunningGateway, reactor: Any) -> Reading:
    answer = await gateway.request("GET", "/metrics", accept="text/plain; version=0.0.4")
    if answer.status != 200:
        raise CommandFailed(f"{gateway.url}/metrics: {answer.status} {answer.text.strip()[:200]}")
    try:
        return read(answer.text, reactor.seconds())
    except ValueError as error:
        raise CommandFailed(f"{gateway.url}/metrics has no metrics: is it a gateway? {error}") from error
