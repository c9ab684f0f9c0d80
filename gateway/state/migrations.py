"""
Schema versions of a store: the number of migrations that were applied to it.
"""

from __future__ import annotations

import sqlite3

from gateway.errors import StoreBroken

# The SQL statements of each migration, in order. A released migration never changes.
Migrations = tuple[tuple[str, ...], ...]


def migrate(connection: sqlite3.Connection, migrations: Migrations) -> None:
    """
    Apply the migrations that a database does not have yet, all in one transaction. After an error or a crash the
    database is unchanged. A database without a version gets all migrations. It may have tables already, if the
    store is older than versions: then its first migration must create tables only if they do not exist.

    @param connection: in autocommit mode.
    @raise StoreBroken: if the database has a newer version.
    """
    if _version(connection, migrations) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated it meanwhile.
        for statements in migrations[_version(connection, migrations) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations):d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, migrations: Migrations) -> int:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    refusal = newerVersion(version, migrations)
    if refusal:
        raise StoreBroken(refusal)
    return int(version)


def newerVersion(version: int, migrations: Migrations) -> str:
    """Return the reason why a database of this version cannot be used, with a remedy; empty if it can."""
    if version <= len(migrations):
        return ""
    return (
        f"a newer release of the gateway has changed it (schema version {version}; this release knows "
        f"{len(migrations)}): install that release again, or restore a backup from before the change"
    )
