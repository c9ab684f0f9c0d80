"""
Private data in SQLite, in the state folder.
"""

from __future__ import annotations

import sqlite3

from twisted.internet.defer import Deferred

from gateway.database import Database
from gateway.delegation.private import Key

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS private (
        user TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, xml TEXT NOT NULL,
        PRIMARY KEY (user, namespace, name)
    ) WITHOUT ROWID
    """,
)


class PrivateFile:
    """Private data in a database with L{SCHEMA}."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user: str, key: Key) -> Deferred[str | None]:
        return self._database.read(_get, user, key)

    def put(self, user: str, elements: dict[Key, str], mostBytes: int, mostElements: int) -> Deferred[bool]:
        return self._database.write(_put, user, elements, mostBytes, mostElements)


def _get(cursor: sqlite3.Cursor, user: str, key: Key) -> str | None:
    cursor.execute("SELECT xml FROM private WHERE user = ? AND namespace = ? AND name = ?", (user, *key))
    row = cursor.fetchone()
    return None if row is None else row[0]


def _put(cursor: sqlite3.Cursor, user: str, elements: dict[Key, str], mostBytes: int, mostElements: int) -> bool:
    cursor.execute("SAVEPOINT before")
    cursor.executemany(
        "INSERT INTO private VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET xml = excluded.xml",
        [(user, *key, xml) for key, xml in elements.items()],
    )
    cursor.execute("SELECT count(*), sum(length(CAST(xml AS BLOB))) FROM private WHERE user = ?", (user,))
    count, size = cursor.fetchone()
    if count > mostElements or size > mostBytes:
        cursor.execute("ROLLBACK TO before")
        return False
    return True
