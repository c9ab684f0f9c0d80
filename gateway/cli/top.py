"""
C{xmpp-gateway top}: the load of the running gateway, live.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click
from twisted.internet.task import deferLater

from gateway.cli.program import CommandFailed, Program, configured, readConfig, say
from gateway.cli.rates import Reading, lines, read
from gateway.cli.web import RunningGateway

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

    The latencies are bounds: half, or 95 %, of the requests took no longer. End it with Control-C.
    """

    async def main(reactor: Any) -> None:
        gateway = program.gateway(readConfig(file, reactor), reactor)
        isLive = sys.stdout.isatty() and not once
        before = await _read(gateway, reactor)
        if isLive:
            click.clear()
        while True:
            await deferLater(reactor, interval)
            now = await _read(gateway, reactor)
            if not isLive:
                say("\n".join(lines(before, now)))
                return
            size = shutil.get_terminal_size()
            # The cursor is in the last line.
            shown = lines(before, now, size.columns, size.lines - 1)
            text = "".join(f"{line}{_END_OF_LINE}\n" for line in shown)
            click.echo(f"{_HOME}{text}{_END_OF_SCREEN}", nl=False)
            before = now

    program.run(main)


async def _read(gateway: RunningGateway, reactor: Any) -> Reading:
    answer = await gateway.request("GET", "/metrics", accept="text/plain; version=0.0.4")
    if answer.status != 200:
        raise CommandFailed(f"{gateway.url}/metrics: {answer.status} {answer.text.strip()[:200]}")
    try:
        return read(answer.text, reactor.seconds())
    except ValueError as error:
        raise CommandFailed(f"{gateway.url}/metrics has no metrics: is it a gateway? {error}") from error
