"""Moderated rooms, and the role of a new occupant (XEP-0045 section 5.1.2)."""

from __future__ import annotations

from gateway.errors import NoVoice
from gateway.muc.occupant import Occupant
from gateway.muc.option import boolean
from gateway.muc.room import Room
from gateway.muc.values import ADMIN, MEMBER, MODERATOR, OWNER, PARTICIPANT, VISITOR

OPTION = boolean(
    "muc#roomconfig_moderatedroom", "moderated", "Make Room Moderated?", ("muc_moderated", "muc_unmoderated")
)


def defaultRole(room: Room, affiliation: str) -> str:
    """Return the role of a new occupant."""
    if affiliation in (OWNER, ADMIN):
        return MODERATOR
    return PARTICIPANT if affiliation == MEMBER or not room.settings.moderated else VISITOR


def checkVoice(occupant: Occupant) -> None:
    """
    Section 7.4: a message from a visitor in a moderated room is "forbidden".

    A mirror knows the roles, too, and does not show a message that the room will reject.
    """
    if occupant.standing.role == VISITOR:
        raise NoVoice
