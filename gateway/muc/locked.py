"""
Rooms that wait for the first form of the user who has created them (XEP-0045 sections 7.2.10 and 10.1).

Until then nobody else can enter. A room that is created through a mirror waits only if it accepts the form through
that mirror.
"""

from __future__ import annotations

from gateway.errors import RoomLocked
from gateway.muc.room import Room
from gateway.muc.values import OWNER, JoinRequest


def lock(room: Room, now: float) -> None:
    """Lock a new room until its owner sends the first form."""
    if room.bounds.locked:
        room.lockedUntil = now + room.bounds.locked


def unlock(room: Room) -> None:
    """Open a room: "the service MUST then unlock the room and allow other entities to join it"."""
    room.lockedUntil = 0.0


def expire(room: Room, now: float) -> None:
    """
    Open a room that has waited long enough: "if the room owner does not configure the room within the timeout
    period, the room owner is assumed to have accepted the default configuration" (section 10.1.1).
    """
    if room.lockedUntil and room.lockedUntil <= now:
        unlock(room)
        room.log("the owner has sent no configuration: the room is open now")


def checkJoin(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.2.10: "the service MUST refuse entry and return an <item-not-found/> error"."""
    check(room, affiliation)


def check(room: Room, affiliation: str) -> None:
    """Raise the error of a room that does not "officially exist" for others than its owner (section 10.1.1)."""
    if room.lockedUntil and affiliation != OWNER:
        raise RoomLocked
