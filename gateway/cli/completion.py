"""
C{xmpp-gateway completion}: completion of commands and options in a shell.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_NAME = "xmpp-gateway"
_VARIABLE = "_XMPP_GATEWAY_COMPLETE"


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """
    Print a script that completes commands and options in SHELL.

    For bash: xmpp-gateway completion bash > /etc/bash_completion.d/xmpp-gateway
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, _NAME, _VARIABLE).source())
