"""
Schema versions of a store: the number of migrations that were applied to it.
"""

from __future__ import annotations

from gateway.errors import StoreBroken
from gateway.state.jobs import Session

# The SQL statements of each migration, in order. A released migration never changes.
Migrations = tuple[tuple[str, ...], ...]


def migrate(session: Session, migrations: Migrations) -> None:
    """
    Apply the migrations that a database does not have yet, all in one transaction. After an error or a crash the
    database is unchanged. A database without a version gets all migrations. It may have tables already, if the
    store is older than versions: then its first migration must create tables only if they do not exist.

    @raise StoreBroken: if the database has a newer version.
    """
    if _version(session, migrations) == len(migrations):
        return
    session.begin(True)
    try:
        # Another process may have migrated it meanwhile.
        for statements in migrations[_version(session, migrations) :]:
            for statement in statements:
                session.execute(statement)
        session.setVersion(len(migrations))
        session.commit()
    except BaseException:
        session.rollBack()
        raise


def _version(session: Session, migrations: Migrations) -> int:
    version = session.version()
    refusal = newerVersion(version, migrations)
    if refusal:
        raise StoreBroken(refusal)
    return version


def newerVersion(version: int, migrations: Migrations) -> str:
    """Return the reason why a database of this version cannot be used, with a remedy; empty if it can."""
    if version <= len(migrations):
        return ""
    return (
        f"a newer release of the gateway has changed it (schema version {version}; this release knows "
        f"{len(migrations)}): install that release again, or restore a backup from before the change"
    )
