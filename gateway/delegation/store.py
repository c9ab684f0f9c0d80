"""
Private data in a store.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from gateway.delegation.private import Key
from gateway.errors import ResourceLimit
from gateway.interfaces import IStore

# Files of releases without versions have these tables already.
MIGRATIONS = (
    (
        """
        CREATE TABLE IF NOT EXISTS private (
            "user" TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, xml TEXT NOT NULL,
            PRIMARY KEY ("user", namespace, name)
        ) WITHOUT ROWID
        """,
        # Elements that the users' server does not have.
        """
        CREATE TABLE IF NOT EXISTS asked (
            "user" TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
            PRIMARY KEY ("user", namespace, name)
        ) WITHOUT ROWID
        """,
    ),
)

# Characters of a namespace and a name that L{PrivateFile.wasAsked} remembers.
_MAX_ASKED = 1_024


class PrivateFile:
    """Private data in a store with L{MIGRATIONS}."""

    def __init__(self, store: IStore) -> None:
        self._store = store

    def get(self, user: str, key: Key) -> Deferred[str | None]:
        return self._store.read(_get, user, key)

    def put(self, user: str, elements: dict[Key, str], maxBytes: int, maxElements: int) -> Deferred[bool]:
        return self._store.write(_put, user, elements, maxBytes, maxElements)

    def wasAsked(self, user: str, key: Key) -> Deferred[bool]:
        return self._store.read(_wasAsked, user, key)

    def adopt(self, user: str, key: Key, xml: str | None, maxBytes: int, maxElements: int) -> Deferred[str | None]:
        return self._store.write(_adopt, user, key, xml, maxBytes, maxElements)


def _get(cursor: Any, user: str, key: Key) -> str | None:
    cursor.execute('SELECT xml FROM private WHERE "user" = ? AND namespace = ? AND name = ?', (user, *key))
    row = cursor.fetchone()
    return None if row is None else row[0]


def _put(cursor: Any, user: str, elements: dict[Key, str], maxBytes: int, maxElements: int) -> bool:
    cursor.execute("SAVEPOINT before")
    cursor.executemany(
        'INSERT INTO private VALUES (?, ?, ?, ?) ON CONFLICT ("user", namespace, name) '
        "DO UPDATE SET xml = excluded.xml",
        [(user, *key, xml) for key, xml in elements.items()],
    )
    return _fits(cursor, user, maxBytes, maxElements)


def _fits(cursor: Any, user: str, maxBytes: int, maxElements: int) -> bool:
    """Return true if the user is within the limits; if not, roll back to the savepoint."""
    cursor.execute('SELECT count(*), sum(octet_length(xml)) FROM private WHERE "user" = ?', (user,))
    count, size = cursor.fetchone()
    if count > maxElements or size > maxBytes:
        cursor.execute("ROLLBACK TO before")
        return False
    return True


def insert(cursor: Any, user: str, key: Key, xml: str, maxBytes: int, maxElements: int) -> str | None:
    """
    Store an element that was stored elsewhere before, unless the user has one already.

    @return: the user's present element; C{None} if C{xml} was stored.
    @raise ResourceLimit: if there is no room.
    """
    there = _get(cursor, user, key)
    if there is None:
        cursor.execute("SAVEPOINT before")
        cursor.execute("INSERT INTO private VALUES (?, ?, ?, ?)", (user, *key, xml))
        if not _fits(cursor, user, maxBytes, maxElements):
            raise ResourceLimit
    return there


def _adopt(
    cursor: Any, user: str, key: Key, xml: str | None, maxBytes: int, maxElements: int
) -> str | None:
    if xml is not None:
        try:
            return insert(cursor, user, key, xml, maxBytes, maxElements) or xml
        except ResourceLimit:
            # The element stays where it is.
            return xml
    there = _get(cursor, user, key)
    if there is None and sum(map(len, key)) <= _MAX_ASKED:
        cursor.execute('SELECT count(*) FROM asked WHERE "user" = ?', (user,))
        if cursor.fetchone()[0] < maxElements:
            cursor.execute("INSERT INTO asked VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (user, *key))
    return there


def _wasAsked(cursor: Any, user: str, key: Key) -> bool:
    cursor.execute('SELECT 1 FROM asked WHERE "user" = ? AND namespace = ? AND name = ?', (user, *key))
    return cursor.fetchone() is not None
