"""Durable state of a service: the secret of its ids, the records of its rooms, their archives and channels."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from gateway.errors import StoreBroken, StoreTaken
from gateway.muc import archive_store, archived_history, channel_store
from gateway.muc.archive_store import Step
from gateway.muc.archive_values import ArchivedMessage, Retention
from gateway.muc.channel_store import CHANNEL, OUTGOING
from gateway.muc.ids import SECRET
from gateway.muc.records import GONE, Record, Row
from gateway.muc.service import RoomService
from gateway.state.interfaces import IStore

MIGRATIONS = (
    # Version 1.
    ("CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL)",),
    # Version 2.
    (
        """
        CREATE TABLE records (
            room TEXT NOT NULL,
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (room, kind, name)
        ) WITHOUT ROWID
        """,
    ),
    # Version 3.
    archive_store.MIGRATION,
    # Version 4.
    channel_store.MIGRATION,
)
_SET = "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (room, kind, name) DO UPDATE SET value = excluded.value"


# The names of the secrets.
_IDS, _RUN, _TRIED = "ids", "run", "tried"
_REPLACE = "INSERT INTO secrets VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class StoreEmptied(Exception):
    """The store does not have the state of the service any longer: its file was removed or replaced."""


@frozen
class Owner:
    """
    The process that writes to a store; each process takes it over at its start.

    @ivar run: a random text.
    @ivar secret: as of L{loadSecret}.
    """

    run: str
    secret: bytes

    def take(self, cursor: Any) -> None:
        """Take over a store."""
        cursor.execute(_REPLACE, (_RUN, self.run))
        cursor.execute(_REPLACE, (_IDS, self.secret.hex()))

    def check(self, cursor: Any) -> None:
        """
        Check that the store is this process's.

        @raise StoreEmptied: if it is new.
        @raise StoreTaken: if it is another process's.
        """
        cursor.execute("SELECT value FROM secrets WHERE name = ?", (_RUN,))
        found = cursor.fetchone()
        if found is None:
            raise StoreEmptied
        if found[0] != self.run:
            raise StoreTaken(
                "another gateway has taken it over, or it was replaced by a backup: stop one of two gateways with "
                "the same component and the same state_dir or url, or give it standby = true in both; or restart "
                "this one to use the store as it is"
            )


def loadSecret(store: IStore) -> bytes:
    """
    Return the secret of L{gateway.muc.ids.Ids}; make it at the first start. With it, ids are the same after a
    restart, and at each gateway that shares the store.

    @raise StoreBroken: if somebody has changed it, or another error of L{IStore}.
    """
    text = store.atStart(_keep, _IDS, secrets.token_bytes(SECRET).hex())
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != SECRET:
        raise StoreBroken(f"{store.name}: the secret of the ids is not one of {SECRET} bytes; restore a backup")
    return secret


def _keep(cursor: Any, name: str, new: str) -> str:
    """Return a secret; the new one if there is none yet."""
    cursor.execute("INSERT INTO secrets VALUES (?, ?) ON CONFLICT DO NOTHING", (name, new))
    cursor.execute("SELECT value FROM secrets WHERE name = ?", (name,))
    return str(cursor.fetchone()[0])


def restore(store: IStore, rooms: RoomService, now: float) -> None:
    """
    Make the rooms of an earlier process, at the start.

    @param now: seconds of the link's clock.
    @raise StoreBroken: if the records are not those of rooms, or another error of L{IStore}.
    """
    rows, messages = store.atStart(_load, *rooms.historyLimits)
    rooms.restore(rows, now)
    kept = frozenset(rooms.rooms if rooms.areArchived else ())
    # The archive of a mirror may outlast it: a mirror stands for a room elsewhere.
    isAll = rooms.areMirrors and rooms.areArchived
    store.atStart(_settle, archived_history.restore(rooms, messages), None if isAll else kept)


def _settle(cursor: Any, records: Sequence[Record], rooms: frozenset[str] | None) -> None:
    saveRecords(cursor, records)
    if rooms is not None:
        # A room that does not exist any longer has no archive.
        archive_store.keepOnly(cursor, rooms)


def _load(cursor: Any, messages: int, size: int) -> tuple[list[Row], dict[str, list[ArchivedMessage]]]:
    return loadRecords(cursor), archive_store.newest(cursor, messages, size)


def loadRecords(cursor: Any) -> list[Row]:
    """Return all records."""
    cursor.execute("SELECT room, kind, name, value FROM records")
    found: list[Row] = cursor.fetchall()
    return found


def saveRecords(cursor: Any, records: Sequence[Record]) -> None:
    """Store records, in their order."""
    for key, value in records:
        if key[1] in (CHANNEL, OUTGOING):
            channel_store.save(cursor, *key, value)
        elif value is not None:
            cursor.execute(_SET, (*key, value))
        elif key[1] == GONE:
            cursor.execute("DELETE FROM records WHERE room = ?", key[:1])
        else:
            cursor.execute("DELETE FROM records WHERE room = ? AND kind = ? AND name = ?", key)


def save(
    cursor: Any,
    records: Sequence[Record],
    steps: Sequence[Step],
    retention: Retention,
    owner: Owner | None = None,
    isWhole: bool = False,
) -> None:
    """
    Store records, and changes of archives, in their order. If there are none, try whether the store can be written.

    @param owner: C{None} if the store is not shared with other processes.
    @param isWhole: True if these are all records of the service: others are removed.
    @raise StoreEmptied: if C{isWhole} is needed.
    @raise StoreTaken: if the store is another process's.
    """
    if owner is not None:
        try:
            owner.check(cursor)
        except StoreEmptied:
            if not isWhole:
                raise
            owner.take(cursor)
    if isWhole:
        cursor.execute("DELETE FROM records")
        channel_store.clear(cursor)
    if not records and not steps:
        # Only a write shows whether the disk has room. SQLite does not write an equal value.
        cursor.execute(_REPLACE, (_TRIED, ""))
        cursor.execute("DELETE FROM secrets WHERE name = ?", (_TRIED,))
    saveRecords(cursor, records)
    archive_store.apply(cursor, steps, retention)
