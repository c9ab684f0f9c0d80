"""Nicks (XEP-0045 sections 7.2.8 and 7.6)."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import BadNick, NickChangeForbidden, NickInUse
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import AVAILABLE, NICK_CHANGED, Presence, PresenceChange, person


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


def checkFree(room: Room, nick: str, user: str = "") -> Occupant | None:
    """
    Raise the error of a nick that another user has (section 7.2.8).

    @param user: full or bare JID of the user who wants the nick.
    @return: the user's own occupant, if the user has the nick already.
    """
    occupant = room.occupants.get(nick)
    if occupant is not None and (not user or occupant.person != person(user)):
        raise NickInUse
    return occupant


def checkReserved(room: Room, nick: str, user: str) -> None:
    """
    Raise the error of a nick that is reserved for another user (section 7.12).

    @param user: full or bare JID.
    """
    owner = room.registrations.users.get(nick)
    if owner is not None and owner != person(user):
        raise NickInUse


def checkReservable(room: Room, nick: str, who: str) -> None:
    """
    Raise the error of a nick that cannot be reserved: it is invalid, or another user has it.

    @param who: bare JID.
    """
    checkNick(room, nick)
    checkReserved(room, nick, who)
    checkFree(room, nick, who)


def changeNick(room: Room, occupant: Occupant, user: str, nick: str, stanza: Presence) -> None:
    """
    Change a nick (section 7.6); all sessions have the new one.

    ProtoXEP: "nick-changing is not allowed for users connected through a proxy".

    @param user: full JID of the session that asks for it.
    """
    if room.nodes.isMirror or occupant.nodes:
        raise NickChangeForbidden
    checkNewNick(room, occupant, nick)
    renameOccupant(room, occupant, nick, stanza, user)


def checkNewNick(room: Room, occupant: Occupant, nick: str) -> None:
    """Raise the error of a nick that an occupant may not change to."""
    # Each nick is a record of its own.
    room.durability.check()
    checkNick(room, nick)
    checkFree(room, nick)
    checkReserved(room, nick, occupant.realJid)


def renameOccupant(
    room: Room,
    occupant: Occupant,
    nick: str,
    stanza: Presence,
    user: str = "",
    own: bool = False,
) -> None:
    """
    Give an occupant a new nick.

    @param stanza: the occupant's presence with the new nick.
    @param user: full JID of the session that has sent it, if it is one of several.
    @param own: True if the occupant's node has changed the nick already.
    """
    # The occupant stays, so the presence says nothing about the standing.
    room.broadcastPresence(occupant, PresenceChange(unavailable=True, codes=(NICK_CHANGED,), nick=nick), own)
    # A session that is still being sent the occupants stays.
    arrivals, room.arrivals = room.arrivals, None
    room.remove(occupant)
    session = occupant.session(user)
    if session is not None:
        occupant.showSession(session, stanza.payload)
    occupant.nick, occupant.payload = nick, stanza.payload
    room.add(occupant)
    room.arrivals = arrivals
    room.broadcastPresence(occupant, AVAILABLE, own, identifier=stanza.id)
