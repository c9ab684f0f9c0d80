"""
C{xmpp-gateway reload}: let the running gateway read its configuration file again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from gateway import tap
from gateway.cli.program import CommandFailed, Program, configured, orFail
from gateway.composition import service
from gateway.state import files


@click.command
@configured
@click.option(
    "--pidfile",
    type=click.Path(dir_okay=False, path_type=Path),
    default="twistd.pid",
    help="The file with the number of the gateway's process. Default: twistd.pid in the working directory.",
)
@click.pass_obj
def reload(program: Program, pidfile: Path, file: str | None) -> None:
    """
    Let the running gateway read its configuration file again, without a restart.

    The file is checked before: if it has errors, they are printed, and the gateway is not disturbed. The gateway
    changes only the services that differ; its log has the result.
    """

    async def main(reactor: Any) -> None:
        path = tap.find(file)
        orFail(path, lambda: service.read(path, reactor))
        process = _processIn(pidfile)
        try:
            tap.hangUp(process)
        except OSError as error:
            raise CommandFailed(f"process {process} cannot be signalled: {error.strerror}") from error
        click.echo(f"Process {process} reloads {path or 'nothing: it has no configuration file'}; see its log.")

    program.run(main)


def _processIn(pidfile: Path) -> int:
    """
    Return the number of the gateway's process.

    @raise CommandFailed: if the file does not name one. A signal to another process could end it.
    """
    try:
        process = int(files.readLine(pidfile))
    except OSError as error:
        advice = "name the gateway's file with --pidfile, or send its process SIGHUP"
        raise CommandFailed(f"{pidfile} cannot be read: {error.strerror}; {advice}") from error
    except ValueError as error:
        raise CommandFailed(f"{pidfile} does not contain the number of a process") from error
    # Without /proc, nothing is known about the process.
    with contextlib.suppress(OSError):
        if b"gateway" not in Path(f"/proc/{process}/cmdline").read_bytes():
            raise CommandFailed(f"process {process} of {pidfile} is no gateway: was it killed?")
    if process < 2:
        raise CommandFailed(f"{pidfile} does not contain the number of a process")
    return process
