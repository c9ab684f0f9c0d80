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


def notice(room: Room, text: str, to: str | None = None) -> None:
    """
    Send a message of the room itself; it is not in the history.

    @param to: full JID of a local user; C{None} for all who are connected through this node.
    """
    message = RoomMessage(nick="", payload=Payload(tag("body", escape(text)).encode()), store=False)
    if to is None:
        room.broadcastMessage(message, None)
    else:
        room.toUsers(message, (escape(to).encode(),))


def showAway(room: Room, occupant: Occupant, to: str | None = None) -> None:
    """
    Show an occupant as away, without a change of what is known of the occupant.

    @param to: as of L{notice}.
    """
    known, occupant.payload = occupant.payload, evolve(occupant.payload, raw=_AWAY)
    if to is None:
        room.broadcastPresence(occupant, AVAILABLE)
    else:
        room.toUsers(occupant.presence(AVAILABLE), (escape(to).encode(),), occupant.nonAnonymous)
    occupant.payload = known
