"""The whole state of the rooms of a service, for a store that is new. Pure."""

from __future__ import annotations

from gateway.muc import archive, records
from gateway.muc.archive_store import Step
from gateway.muc.service import RoomService


def snapshot(rooms: RoomService) -> tuple[list[records.Record], list[Step]]:
    """Return all records, and the messages of the histories for the archives: older ones are lost."""
    found: list[records.Record] = []
    steps: list[Step] = []
    for room in rooms.rooms.values():
        if rooms.durability.isOn:
            found += records.whole(room)
        if room.bounds.archived and len(room.history):
            steps.append(archive.newest(room))
    return found, steps
