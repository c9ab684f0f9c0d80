"""
The places that stores are in: the path of a state folder, or the URL of a PostgreSQL database. Everything blocks.
"""

from __future__ import annotations

from pathlib import Path

from gateway.state import copying, faults, urls
from gateway.state.copying import Copied, CopyFailed, Folder, Place
from gateway.state.guards import Guard, Locks
from gateway.state.jobs import Backend
from gateway.state.migrations import Migrations
from gateway.state.sqlite import SqliteBackend


def backend(place: Path | str, name: str, migrations: Migrations, guard: Guard | None = None) -> Backend:
    """
    Return the place of one store.

    @param guard: a condition for changes, in a database that several gateways share.
    @raise OSError: if its file cannot be created.
    """
    if isinstance(place, Path):
        return SqliteBackend(place / name, migrations)
    # Imported here: it needs psycopg, which is optional.
    from gateway.state.postgresql import PostgresBackend

    return PostgresBackend(place, name, migrations, guard)


def locks() -> Locks:
    """Return the locks of PostgreSQL databases."""
    from gateway.state import postgresql_session

    return postgresql_session.PostgresLocks()


def problem(place: Path | str, name: str, migrations: Migrations) -> str:
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


def exists(place: Path | str, name: str) -> bool:
    """True if a store exists; true as well if that cannot be found out."""
    if isinstance(place, Path):
        return (place / name).exists()
    if urlProblem(place):
        return True
    from gateway.state import postgresql

    return postgresql.exists(place, name)


def version(place: Path | str, name: str) -> int:
    """
    Return the schema version of a store; 0 if it does not exist. Change nothing.

    @raise GatewayError: if a database cannot be used.
    """
    if isinstance(place, Path):
        return SqliteBackend(place / name, ()).version() if (place / name).exists() else 0
    from gateway.state import postgresql

    return postgresql.version(place, name)


def copy(source: str, target: str) -> list[Copied]:
    """
    Copy all stores of a place to another one; each is the path of a folder, or a URL.

    @raise CopyFailed: if that is not possible; then the target has no stores.
    """
    return copying.copy(_copyable(source), _copyable(target))


def _copyable(name: str) -> Place:
    if not name.startswith(("postgresql:", "postgres:")):
        return Folder(Path(name))
    if not urls.isUrl(name):
        raise CopyFailed(f"{urls.shown(name)} is not a valid URL: write special characters as %40")
    if unusable := urlProblem(name):
        raise CopyFailed(f"{urls.shown(name)}: {unusable}")
    from gateway.state.schemas import Schemas

    return Schemas(name)


def urlProblem(url: str) -> str:
    """Return the reason why a database cannot be used, and a remedy; empty if it can. Create nothing."""
    try:
        from gateway.state import postgresql
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == "psycopg" else f" ({error})"
        return f'psycopg is not installed{reason}: install it with pip install "xmpp-gateway[postgresql]"'
    return postgresql.urlProblem(url) or postgresql.problem(url)
