"""Shows the users of a mirror that the joined node is away. Pure."""

from __future__ import annotations

from attrs import evolve

from gateway.muc.datetimes import formatDateTime
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import AVAILABLE, Payload, RoomMessage
from gateway.xml.write import escape, tag

_AWAY = tag("show", "away").encode()


def clockTime(seconds: float) -> str:
    """Return the time of the day of seconds since 1970."""
    return f"{formatDateTime(seconds)[-9:-4]} UTC"


def notice(room: Room, text: str) -> None:
    """Send a message of the room itself to all who are connected through this node; it is not in the history."""
    body = tag("body", escape(text)).encode()
    room.broadcastMessage(RoomMessage(nick="", payload=Payload(body), store=False), None)


def showAway(room: Room, occupant: Occupant) -> None:
    """Show an occupant as away, without a change of what is known of the occupant."""
    known, occupant.payload = occupant.payload, evolve(occupant.payload, raw=_AWAY)
    room.broadcastPresence(occupant, AVAILABLE)
    occupant.payload = known
