"""
C{xmpp-gateway tour}: the tour of an embedded gateway.
"""

from __future__ import annotations

import click

from gateway.cli.program import Program, configured
from gateway.tour.command import main


@click.command
@configured
@click.pass_obj
def tour(program: Program, file: str | None) -> None:
    """Show the services of a running embedded gateway: log in like any client, and print each stanza."""
    program.run(main([] if file is None else ["--config", file], lambda text: click.echo(text, nl=False)))
