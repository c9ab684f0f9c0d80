"""The history of rooms with archives: it has no records, because the archives have its messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.muc import records
from gateway.muc.archive_values import ArchivedMessage
from gateway.muc.room import Room
from gateway.muc.service import RoomService
from gateway.muc.values import Delay, Payload, RoomMessage


def restore(rooms: RoomService, stored: Mapping[str, Sequence[ArchivedMessage]]) -> list[records.Record]:
    """
    Restore the history of rooms that have just been made from their records.

    @param stored: the newest messages of archives, by room.
    @return: the records that are due if archives were switched off, or on: messages from before that keep their
        records, until newer ones have taken their places.
    """
    changed: list[records.Record] = []
    if rooms.areMirrors:
        # Their histories have records, because messages without stanza ids are in no archive.
        return changed
    for room in rooms.rooms.values():
        isRecorded, found = len(room.history) > 0, stored.get(room.jid, ())
        _add(room, found)
        changed += records.take(room)
        if isRecorded and rooms.durability.hasArchive and _fill(room, found):
            changed += records.withoutHistory(room)
    return changed


def _fill(room: Room, found: Sequence[ArchivedMessage]) -> bool:
    """True if the history has no place for older messages."""
    return len(found) == room.bounds.messages or sum(each.size for each in found) > room.bounds.bytes


def _add(room: Room, found: Sequence[ArchivedMessage]) -> None:
    known = {each.stanzaId for each in room.history}
    # Messages before one that has a record are not in the history any longer.
    start = max((number for number, each in enumerate(found, 1) if each.id in known), default=0)
    for each in found[start:]:
        room.history.add(_message(each))
        room.stamped = max(room.stamped, each.utc)


def _message(archived: ArchivedMessage) -> RoomMessage:
    return RoomMessage(
        nick=archived.nick,
        payload=Payload(archived.payload.encode(), archived.language),
        realJid=archived.realJid,
        occupantId=archived.occupantId,
        stanzaId=archived.id,
        id=archived.stanza,
        delay=Delay(archived.room, archived.utc),
    )
