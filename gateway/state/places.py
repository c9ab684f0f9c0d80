"""
The places that stores are in: the state folder, or a database of PostgreSQL. Everything here blocks.
"""

from __future__ import annotations

from pathlib import Path

from gateway.config.tables import DatabaseUrl, elided
from gateway.state import copying, faults
from gateway.state.copying import Copied, CopyFailed, Folder, IPlace
from gateway.state.jobs import IBackend
from gateway.state.migrations import Migrations
from gateway.state.sqlite import SqliteBackend

Place = Path | DatabaseUrl


def backend(place: Place, name: str, migrations: Migrations) -> IBackend:
    """
    Return the place of one store.

    @raise OSError: if its file cannot be created.
    """
    if isinstance(place, Path):
        return SqliteBackend(place / name, migrations)
    # Imported here: it needs psycopg, which is optional.
    from gateway.state.postgresql import PostgresBackend

    return PostgresBackend(place, name, migrations)


def problem(place: Place, name: str, migrations: Migrations) -> str:
    """
    Return the reason why a store cannot be used, and a remedy; empty if it can be used or does not exist yet.
    Create nothing.
    """
    if isinstance(place, Path):
        return faults.problem(place / name, migrations)
    if urlProblem(place):
        # That is a problem of the place, not of the store.
        return ""
    from gateway.state import postgresql

    found = postgresql.problem(place, name, migrations)
    return f"{name} cannot be used: {found}" if found else ""


def copy(source: str, target: str) -> list[Copied]:
    """
    Copy all stores of a place to another one; each is the path of a folder, or a URL.

    @raise CopyFailed: if that is not possible; then the target has no stores.
    """
    return copying.copy(_copyable(source), _copyable(target))


def _copyable(name: str) -> IPlace:
    if not name.startswith(("postgresql:", "postgres:")):
        return Folder(Path(name))
    url = DatabaseUrl(name)
    if problem := urlProblem(url):
        raise CopyFailed(f"{elided(url)}: {problem}")
    from gateway.state.schemas import Schemas

    return Schemas(url)


def urlProblem(url: DatabaseUrl) -> str:
    """Return the reason why a database cannot be used, and a remedy; empty if it can. Create nothing."""
    try:
        from gateway.state import postgresql
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == "psycopg" else f" ({error})"
        return f'psycopg is not installed{reason}: install it with pip install "xmpp-gateway[postgresql]"'
    return postgresql.urlProblem(url) or postgresql.problem(url)
