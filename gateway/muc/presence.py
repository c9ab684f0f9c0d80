"""Presence of local users: joins, changes (XEP-0045 section 7.7), new nicks, leaves."""

from __future__ import annotations

from gateway.errors import NoNick
from gateway.muc.actions import ToUsers
from gateway.muc.join import enter, rejoin
from gateway.muc.leave import leave
from gateway.muc.nick import changeNick
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.sessions import changePresence
from gateway.muc.values import (
    KICKED,
    NO_ROLE,
    NONE,
    SELF,
    TECHNICAL_PROBLEM,
    JoinRequest,
    OccupantPresence,
    Payload,
    Presence,
    PresenceChange,
    Standing,
)
from gateway.xml.write import escape


def fromUser(room: Room, user: str, nick: str, stanza: Presence, now: float) -> None:
    """
    Handle a local user's presence to an occupant's address, of type none or unavailable.

    @raise GatewayError: if it is refused.
    """
    occupant = room.users.get(user)
    if stanza.unavailable:
        if occupant is not None:
            # The nick does not matter: a user is one occupant here (section 7.14).
            leave(room, occupant, stanza, now, session=occupant.session(user))
        else:
            room.nodes.whileJoining(user, nick, stanza, now)
    elif not nick:
        # Section 7.2.1: a join without a nick is "jid-malformed".
        raise NoNick
    elif occupant is not None:
        _fromOccupant(room, occupant, user, nick, stanza, now)
    elif room.nodes.whileJoining(user, nick, stanza, now):
        return
    elif not stanza.joins:
        room.emit(notInRoom(room.jid, nick, user))
    else:
        enter(room, _request(nick, user, stanza), now)


def _fromOccupant(room: Room, occupant: Occupant, user: str, nick: str, stanza: Presence, now: float) -> None:
    if occupant.nick != nick:
        changeNick(room, occupant, user, nick, stanza)
        return
    if not stanza.joins or stanza.payload != occupant.payload or room.nodes.isChanging(occupant):
        changePresence(room, occupant, stanza.payload, stanza.id, occupant.session(user))
    if stanza.joins:
        rejoin(room, occupant, user, stanza.limits, now, stanza.id)


def _request(nick: str, user: str, stanza: Presence) -> JoinRequest:
    return JoinRequest(
        nick=nick,
        realJid=user,
        payload=stanza.payload,
        password=stanza.password,
        limits=stanza.limits,
        id=stanza.id,
    )


def notInRoom(room: str, nick: str, user: str) -> ToUsers:
    """Tell a user who is not an occupant, but behaves like one: "with an explicit kick" (section 7.2.17)."""
    presence = OccupantPresence(
        nick=nick,
        realJid="",
        nonAnonymous=False,
        standing=Standing(NONE, NO_ROLE),
        payload=Payload(),
        change=PresenceChange(
            unavailable=True, codes=(KICKED, TECHNICAL_PROBLEM), reason="You are not in the room."
        ),
    )
    return ToUsers(room, presence, (escape(user).encode(),), codes=(SELF,))
