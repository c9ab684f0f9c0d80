"""
C{xmpp-gateway peers}: this gateway's key for direct links.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from gateway.cli.program import CommandFailed, Program, configured, readConfig, say
from gateway.composition.changes import keyFile
from gateway.composition.reader import Config, configurationName
from gateway.peers import identity
from gateway.state import files

_KINDS = ("rooms", "mirror")


@click.command
@configured
@click.pass_obj
def peers(program: Program, file: str | None) -> None:
    """
    Print the fingerprint of this gateway's key, and the table for the configuration of the other gateway.

    The key is made if there is none, and this is reported. Only the fingerprint is printed; it is not secret.
    """

    async def main(reactor: Any) -> None:
        config = readConfig(file, reactor)
        if config.file is None:
            # The gateway of another folder would have another key.
            say(f"warning: this is for {configurationName(None)}; --config names the file of a gateway", err=True)
        names = list(dict.fromkeys(keyFile(config, each) for each in config.peers.values())) or [keyFile(config)]
        for name in names:
            isNew = not os.path.exists(name)
            try:
                files.makeFolder(config.state_dir)
                own = identity.load(Path(name))
            except OSError as error:
                problem = f"{config.state_dir} cannot be created: {error.strerror}"
                raise CommandFailed(problem) from error
            except identity.KeyProblem as error:
                raise CommandFailed(str(error)) from error
            if isNew:
                say(f"{name}: a new key was made", err=True)
            click.echo(f"# The key in {name}")
            click.echo(_block(config, own.fingerprint))

    program.run(main)


def _block(config: Config, fingerprint: str) -> str:
    first, *others = [each.jid for each in config.services if each.kind in _KINDS] or ["COMPONENT"]
    lines = [f'[peers."{first}"]']
    if others:
        quoted = ", ".join(f'"{each}"' for each in others)
        lines.append(f"domains = [{quoted}]")
    lines += [
        f'fingerprint = "{fingerprint}"',
        '# On one side: listen = "tls:5299". On the other side: endpoint = "tls:HOST:5299".',
    ]
    return "\n".join(lines)
