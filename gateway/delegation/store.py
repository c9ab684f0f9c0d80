"""
Private data in SQLite, in the state folder.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from twisted.enterprise.adbapi import ConnectionPool, Transaction
from twisted.internet.defer import Deferred

from gateway.delegation.private import Key

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS private (
        user TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, xml TEXT NOT NULL,
        PRIMARY KEY (user, namespace, name)
    ) WITHOUT ROWID
"""


class PrivateFile:
    """
    One file of it. What is kept is on the disk before it is said to be.

    @raise OSError: if it cannot be made.
    """

    def __init__(self, path: Path, reactor: Any) -> None:
        # For the owner's eyes only, as its journal will be.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        # One thread: SQLite has one writer, and a user's requests keep their order.
        self._pool = ConnectionPool(
            "sqlite3", path, check_same_thread=False, cp_min=1, cp_max=1, cp_openfun=_opened, cp_reactor=reactor
        )

    def get(self, user: str, key: Key) -> Deferred[str | None]:
        return self._run(_get, user, key)

    def put(self, user: str, elements: dict[Key, str], mostBytes: int, mostElements: int) -> Deferred[bool]:
        return self._run(_put, user, elements, mostBytes, mostElements)

    def _run(self, interaction: Any, *arguments: object) -> Deferred[Any]:
        done: Deferred[Any] = self._pool.runInteraction(interaction, *arguments)
        return done


def _opened(connection: sqlite3.Connection) -> None:
    # A killed process loses nothing either way; this is for a machine that loses its power.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_SCHEMA)
    connection.commit()


def _get(transaction: Transaction, user: str, key: Key) -> str | None:
    transaction.execute("SELECT xml FROM private WHERE user = ? AND namespace = ? AND name = ?", (user, *key))
    row = transaction.fetchone()
    return None if row is None else row[0]


def _put(transaction: Transaction, user: str, elements: dict[Key, str], mostBytes: int, mostElements: int) -> bool:
    transaction.execute("SAVEPOINT before")
    transaction.executemany(
        "INSERT INTO private VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET xml = excluded.xml",
        [(user, *key, xml) for key, xml in elements.items()],
    )
    transaction.execute("SELECT count(*), sum(length(CAST(xml AS BLOB))) FROM private WHERE user = ?", (user,))
    count, size = transaction.fetchone()
    if count > mostElements or size > mostBytes:
        transaction.execute("ROLLBACK TO before")
        return False
    return True
