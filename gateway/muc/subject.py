"""The subject of a room (XEP-0045 sections 7.2.15 and 8.1)."""

from __future__ import annotations

from gateway.errors import NoVoice
from gateway.muc.option import boolean
from gateway.muc.room import Room
from gateway.muc.values import Payload, RoomMessage
from gateway.xml.write import tag

OPTION = boolean("muc#roomconfig_changesubject", "changeSubject", "Allow Occupants to Change Subject?")
_NO_SUBJECT = Payload(tag("subject").encode())


def checkChange(room: Room) -> None:
    """Section 8.1: the subject of an occupant who is not a moderator, and may not change it, is "forbidden"."""
    if not room.settings.changeSubject:
        raise NoVoice


def subjectOf(room: Room) -> RoomMessage:
    """ "If there is no subject set, the room MUST return an empty <subject/> element." """
    return room.subject or RoomMessage(nick="", payload=_NO_SUBJECT, subject=True)
