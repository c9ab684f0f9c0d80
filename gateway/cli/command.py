"""
The table of commands.
"""

from __future__ import annotations

import click

import gateway
from gateway.cli.check import check
from gateway.cli.completion import completion
from gateway.cli.init import init
from gateway.cli.manual import manual
from gateway.cli.peers import peers
from gateway.cli.program import Program, runOnReactor
from gateway.cli.refresh import refresh
from gateway.cli.reload import reload
from gateway.cli.run import run
from gateway.cli.snippet import snippet
from gateway.cli.state import state
from gateway.cli.status import status
from gateway.cli.top import top
from gateway.cli.tour import tour
from gateway.cli.version import version
from gateway.cli.web import RunningGateway

# In the order of --help.
COMMANDS: tuple[click.Command, ...] = (
    *(init, check, run, snippet, status, top, refresh, reload),
    *(peers, state, tour, version, completion, manual),
)


class _Commands(click.Group):
    """Lists its commands in the order of the table."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(gateway.__version__, prog_name="xmpp-gateway")
def commands() -> None:
    """
    Configure, check and watch an XMPP gateway.

    The gateway itself runs as: xmpp-gateway run, or twistd -n gateway --config FILE
    """


for each in COMMANDS:
    commands.add_command(each)


def main() -> None:
    """Run the command that the command line names."""
    commands(obj=Program(runOnReactor, RunningGateway), prog_name="xmpp-gateway")
