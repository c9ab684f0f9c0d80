"""Nicks (XEP-0045 sections 7.2.8 and 7.6)."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import BadNick, NickChangeForbidden, NickInUse
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import AVAILABLE, NICK_CHANGED, Presence, PresenceChange


def checkNick(room: Room, nick: str) -> None:
    """
    Raise the error of an invalid nick.

    ProtoXEP, "Business Rules": "the MUC MUST NOT modify the nick of a user joining from a proxy - if their JID is
    unacceptable, the join must instead fail". The same rule applies to all users.
    """
    if not nick or len(nick.encode()) > room.bounds.nick:
        raise BadNick
    # XEP-0045 section 7.2.8: the definition of a conflict "is up to the implementation". Here two nicks are equal
    # if they are equal as resources (RFC 7622), and spaces at an end, or several in a row, make no difference (RFC
    # 8266 section 2.1). Only the normalised spelling of a nick is accepted; its case is kept.
    if nick != " ".join(nick.split()) or not jids.isPrepared(room.address(nick)):
        raise BadNick


def checkFree(room: Room, nick: str) -> None:
    """Raise the error of a nick that an occupant has (section 7.2.8)."""
    if nick in room.occupants:
        raise NickInUse


def changeNick(room: Room, occupant: Occupant, nick: str, stanza: Presence) -> None:
    """Change a nick (section 7.6). ProtoXEP: "nick-changing is not allowed for users connected through a proxy"."""
    if room.nodes.isMirror:
        raise NickChangeForbidden
    checkNick(room, nick)
    checkFree(room, nick)
    # The occupant stays, so the presence says nothing about the standing.
    room.broadcastPresence(occupant, PresenceChange(unavailable=True, codes=(NICK_CHANGED,), nick=nick))
    room.remove(occupant)
    occupant.nick, occupant.payload = nick, stanza.payload
    room.add(occupant)
    room.broadcastPresence(occupant, AVAILABLE, identifier=stanza.id)
