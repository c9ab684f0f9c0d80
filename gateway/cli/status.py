"""
C{xmpp-gateway status}: the state of the running gateway.
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.program import CommandFailed, Program, configured, readConfig, say


@click.command
@configured
@click.option("--json", "asJson", is_flag=True, help="Print the same values in JSON, for programs.")
@click.pass_obj
def status(program: Program, asJson: bool, file: str | None) -> None:
    """
    Print the state of the running gateway: its links, the reports of its services, its files.

    Exit with 1 if no gateway answers, or if a link or a file of it does not work.
    """

    async def main(reactor: Any) -> None:
        gateway = program.gateway(readConfig(file, reactor), reactor)
        accepted = "application/json" if asJson else "text/plain"
        answer = await gateway.request("GET", "/status", accept=accepted)
        if answer.status != 200:
            raise CommandFailed(f"{gateway.url}/status: {answer.status} {answer.text.strip()[:500]}")
        # Lines of JSON have no unprintable characters, and must not be shortened.
        click.echo(answer.text.rstrip("\n")) if asJson else say(answer.text)
        ready = await gateway.request("GET", "/readyz")
        if ready.status != 200:
            if not asJson:
                say(f"\nNot ready:\n{ready.text}", err=True)
            raise SystemExit(1)

    program.run(main)
