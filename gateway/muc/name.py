"""The name of a room (XEP-0045 section 10.2)."""

from __future__ import annotations

from gateway.muc.option import Option
from gateway.muc.room import Room

OPTION = Option("muc#roomconfig_roomname", "name", "text-single", "Natural-Language Room Name")


def nameOf(room: Room) -> str:
    """Return the name for lists of rooms."""
    return room.settings.name or room.jid.partition("@")[0]
