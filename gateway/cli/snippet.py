"""
C{xmpp-gateway snippet}: the server's side of a configuration.
"""

from __future__ import annotations

from typing import Any

import click
from attrs import evolve

from gateway.cli.program import CommandFailed, Program, configured, readConfig
from gateway.composition.checks import components
from gateway.composition.reader import configurationName
from gateway.requirements import Component
from gateway.requirements.servers import SERVERS, blocks
from gateway.tap import find


@click.command
@configured
@click.option("--hide-secrets", is_flag=True, help="Print a placeholder in the place of each secret.")
@click.option("--host", metavar="JID", multiple=True, help="Only this component; may be given several times.")
@click.argument("server", type=click.Choice(list(SERVERS)))
@click.pass_obj
def snippet(program: Program, server: str, host: tuple[str, ...], hide_secrets: bool, file: str | None) -> None:
    """
    Print the server's side of the configuration file, as one block for the configuration of SERVER.

    The block has every component with its secret, and all delegations and privileges that the services need. Lines
    that begin with a comment sign say what else is to be done.
    """

    async def main(reactor: Any) -> None:
        config = readConfig(file, reactor)
        found = components(config)
        if config.server is None and not found:
            raise CommandFailed(
                f"{configurationName(find(file))}: it has no [server], and the embedded host needs no other "
                "configuration. --config names the file of a gateway beside a server"
            )
        unknown = sorted(set(host) - {each.jid for each in found})
        if unknown:
            jids = ", ".join(each.jid for each in found)
            raise CommandFailed(f'--host: found "{", ".join(unknown)}"; allowed: {jids}')
        chosen = [each for each in found if not host or each.jid in host]
        click.echo(blocks(SERVERS[server], list(map(_hidden, chosen)) if hide_secrets else chosen), nl=False)

    program.run(main)


def _hidden(component: Component) -> Component:
    return evolve(component, secret=None)
