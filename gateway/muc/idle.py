"""
Temporary rooms in which nothing happens.

A temporary room ends when it is empty (XEP-0045 section 3). One that a forgotten client, or another node, stays in
would never end. So it is destroyed if nobody has sent a message or a presence for a long time.
"""

from __future__ import annotations

from gateway.muc.configuration import end
from gateway.muc.room import Room
from gateway.muc.values import PresenceChange

_REASON = "Nothing has happened in this temporary room for a long time."


def expire(room: Room, now: float) -> None:
    """Destroy a room that has been idle for too long; all occupants are told (section 10.9)."""
    if not room.activeAt or room.settings.persistent:
        room.activeAt = now
    elif room.bounds.idle and room.activeAt + room.bounds.idle <= now:
        room.log("this temporary room was idle for too long, and is destroyed")
        end(room, PresenceChange(unavailable=True, destroyed=True, reason=_REASON))
