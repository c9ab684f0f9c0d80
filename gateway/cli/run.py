"""
C{xmpp-gateway run}: the gateway itself, in the foreground.
"""

from __future__ import annotations

import sys

import click
from twisted.scripts import twistd

from gateway.cli.program import configured


@click.command
@configured
@click.option("--check", is_flag=True, help="Only check the configuration, as twistd gateway --check does.")
def run(check: bool, file: str | None) -> None:
    """
    Run the gateway in the foreground, for a service manager or in a container; its log is on standard output.

    This is the same as twistd -n --pidfile= gateway.
    """
    options = [] if file is None else ["--config", file]
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "gateway", *options, *["--check"] * check]
    twistd.run()
