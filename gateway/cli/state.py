"""
C{xmpp-gateway state}: backups and copies of the durable state, and its schema versions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import gatherResults

from gateway.cli.program import CommandFailed, Program, configured, orFail, readConfig
from gateway.composition import service
from gateway.composition.reader import Config
from gateway.config.tables import ConfigError
from gateway.errors import GatewayError
from gateway.state import backup as backups
from gateway.state import places, urls
from gateway.state.copying import CopyFailed
from gateway.tap import errorsIn, find


@click.group
def state() -> None:
    """Back up, restore, upgrade and copy the durable state."""


@state.command
@configured
@click.option("--force", is_flag=True, help="Replace ARCHIVE if it exists.")
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(program: Program, archive: Path, force: bool, file: str | None) -> None:
    """
    Copy the state folder into ARCHIVE, a tar file, while the gateway runs or not.

    Each database is copied as it is between two transactions. The archive contains keys, so only you can read it.
    It has no stores in PostgreSQL (url of [state]): back them up with pg_dump.
    """

    async def main(reactor: Any) -> None:
        config = readConfig(file, reactor)
        folder = config.state_dir
        try:
            copied = backups.backUp(folder, archive, force)
        except backups.BackupFailed as error:
            raise CommandFailed(str(error)) from error
        for each in copied:
            click.echo(f"  {each.name}: {each.size} bytes" + f", version {each.version}" * each.isDatabase)
        click.echo(f"{archive}: {_counted(len(copied), 'file')} of {folder}")
        if config.state.url is not None:
            click.echo(f"The stores are not in it: back up {urls.shown(config.state.url)} with pg_dump.")

    program.run(main)


@state.command
@configured
@click.option("--force", is_flag=True, help="Do so even if a gateway seems to run.")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def restore(program: Program, archive: Path, force: bool, file: str | None) -> None:
    """
    Put the content of ARCHIVE in the place of the state folder. Stop the gateway before.

    The old folder is kept, under another name.
    """

    async def main(reactor: Any) -> None:
        config = readConfig(file, reactor)
        if not force:
            await _checkStopped(program, config, reactor)
        try:
            old = backups.restore(archive, config.state_dir)
        except backups.BackupFailed as error:
            raise CommandFailed(str(error)) from error
        click.echo(f"{config.state_dir}: restored from {archive}")
        if old is not None:
            click.echo(f"The old folder is {old}; delete it when it is not needed any longer.")

    program.run(main)


@state.command
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.pass_obj
def copy(program: Program, source: str, target: str) -> None:
    """
    Copy all stores from FROM to TO, and compare them. Each is a state folder, or the URL of a PostgreSQL database.

    Stop the gateway before. TO must not have stores. Keys and other files stay in the state folder. Write a
    password in the file of passfile, not here: other users of this machine can see the command.
    """

    async def main(reactor: Any) -> None:
        try:
            copied = places.copy(source, target)
        except (CopyFailed, OSError) as error:
            raise CommandFailed(str(error)) from error
        for each in copied:
            rows = sum(each.rows.values())
            counts = f"{_counted(len(each.rows), 'table')}, {_counted(rows, 'row')}"
            click.echo(f"  {each.name}: version {each.version}, {counts}")
        click.echo(f"{_shown(target)}: {_counted(len(copied), 'store')} of {_shown(source)}; all rows are equal.")
        click.echo("Now name it in the configuration, as url of [state] or as state_dir, and start the gateway.")

    program.run(main)


def _shown(place: str) -> str:
    return urls.shown(place) if urls.isUrl(place) else place


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


@state.command
@configured
@click.pass_obj
def upgrade(program: Program, file: str | None) -> None:
    """
    Bring the databases of the state folder to the schema of this release, as the next start would do.

    Make a backup before: older releases refuse a newer schema. Stop the gateway before.
    """

    async def main(reactor: Any) -> None:
        path = find(file)
        config = orFail(path, lambda: service.read(path, reactor))
        await _checkStopped(program, config, reactor)
        try:
            made = service.makeService(config, reactor)
        except ConfigError as error:
            raise CommandFailed(errorsIn(path, error).rstrip("\n")) from error
        failed = False
        for database in made.databases:
            before = database.backend.version()
            try:
                database.atStart(lambda cursor: None)
            except GatewayError as error:
                failed = True
                click.echo(f"{database.place}: {error}", err=True)
            else:
                after = database.backend.version()
                change = f"version {after}" if before == after else f"version {before} is now {after}"
                click.echo(f"{database.place}: {change}")
        await gatherResults([database.closeLater() for database in made.databases])
        if failed:
            raise SystemExit(1)

    program.run(main)


async def _checkStopped(program: Program, config: Config, reactor: Any) -> None:
    gateway = program.gateway(config, reactor)
    if await gateway.isThere():
        raise CommandFailed(f"a gateway runs at {gateway.url}: stop it first")
    if config.state_dir.is_dir() and (opened := backups.openDatabases(config.state_dir)):
        raise CommandFailed(
            f"{opened[0]} is open: stop the gateway first. If it was killed, start and stop it once"
        )
