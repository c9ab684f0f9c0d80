"""
C{xmpp-gateway reload}: let the running gateway read its configuration file again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click
from twisted.internet.task import deferLater

from gateway import tap
from gateway.cli.program import CommandFailed, Program, configured, orFail, say
from gateway.cli.web import RunningGateway, Unreachable
from gateway.composition import service
from gateway.state import files

# Seconds between two looks at the outcome; seconds that the gateway may be unreachable; seconds that a reload may
# last: a service that is removed has a minute to stop.
_EVERY = 0.25
_SILENT_FOR = 5.0
_WAIT = 90.0


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
    changes only the services that differ. The command waits for the result, and prints it. Exit with 1 if the
    gateway refuses the change, and with 3 if its HTTP server does not tell the result.
    """

    async def main(reactor: Any) -> None:
        path = tap.find(file)
        config = orFail(path, lambda: service.read(path, reactor))
        process = _processIn(pidfile)
        if tap.ignoresHangUp(process):
            advice = "restart it without nohup; a service manager, or twistd without -n, keeps it running as well"
            raise CommandFailed(f"process {process} ignores SIGHUP, as programs under nohup do: {advice}")
        try:
            sent = tap.hangUp(process)
        except OSError as error:
            raise CommandFailed(f"process {process} cannot be signalled: {error.strerror}") from error
        try:
            reloaded = await _outcome(program.gateway(config, reactor), sent, reactor)
        except Unreachable as error:
            reason = str(error).rstrip(".")
            unknown = f"the result is not known: {reason}. See its log."
            say(f"Process {process} reloads its file, but {unknown}", err=True)
            raise SystemExit(3) from error
        _print(reloaded)

    program.run(main)


async def _outcome(gateway: RunningGateway, since: float, reactor: Any) -> Mapping[str, Any]:
    """
    Return the item about the first reload that began after a moment.

    @param since: the moment, by the clock that the gateway reads, too: it is on this machine.
    @raise Unreachable: if the gateway does not report it in time.
    """
    start = reactor.seconds()
    while True:
        await deferLater(reactor, _EVERY)
        waited = reactor.seconds() - start
        try:
            answer = await gateway.request("GET", "/status", accept="application/json")
        except Unreachable:
            # The gateway may not know the new token yet.
            if waited >= _SILENT_FOR:
                raise
            continue
        document = answer.document
        items = document.get("gateway", ()) if isinstance(document, dict) else ()
        for item in items:
            if item["name"] == "gateway.reload" and item["values"]["began"] >= since:
                return cast("Mapping[str, Any]", item)
        if waited >= _WAIT:
            raise Unreachable(f"{gateway.url}/status does not have it after {_WAIT:g} s")


def _print(reloaded: Mapping[str, Any]) -> None:
    """Print the outcome; exit with 1 if the gateway has refused something."""
    values = reloaded["values"]
    if values["outcome"] != "done":
        say(reloaded["text"], err=True)
        raise SystemExit(1)
    names = ("added", "replaced", "removed", "peers")
    steps = [f"{step}: {', '.join(values[step])}" for step in names if values.get(step)]
    say("Reloaded." if steps else "Reloaded: no service differs.")
    for each in steps:
        say(f"  {each}")


def _processIn(pidfile: Path) -> int:
    """
    Return the number of the gateway's process.

    @raise CommandFailed: if the file does not name one. A signal to another process could end it.
    """
    try:
        process = int(files.readLine(pidfile))
    except OSError as error:
        advice = "name the gateway's file with --pidfile, or use systemctl reload, or send its process SIGHUP"
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
