"""
Presence of local users: entering (XEP-0045 section 7.2), changes (7.7), another nick (7.6), leaving (7.14).
"""

from __future__ import annotations

from attrs import evolve

from gateway.errors import GatewayError, NickIsKept, NoNick, RoomFull, TooMuch
from gateway.fmuc.actions import SendError, ToUsers
from gateway.fmuc.join import addressProblem, admit, checkAccess, nickConflict, nickProblem, rejoin
from gateway.fmuc.leave import remove
from gateway.fmuc.room import Node, Occupant, Pending, Room
from gateway.fmuc.uplink import ANSWER, changePresence, occupantLeft, requestJoin, withdraw
from gateway.fmuc.values import (
    AVAILABLE,
    KICKED,
    NICK_CHANGED,
    NO_ROLE,
    NONE,
    OWNER,
    SELF,
    TECHNICAL_PROBLEM,
    UNAVAILABLE,
    JoinRequest,
    OccupantPresence,
    Payload,
    Presence,
    PresenceChange,
    Standing,
    person,
    stanzaError,
)
from gateway.stream.stanzas import escape


def fromUser(room: Room, user: str, nick: str, stanza: Presence, now: float) -> None:
    """A local user's presence to an occupant's address; it may be available, or not, but no error."""
    occupant = room.users.get(user)
    pending = None if occupant is not None else pendingJoinOf(room, user)
    if stanza.unavailable:
        if occupant is not None:
            # Whatever nick it names: section 7.14 has it from a user who is nobody else here.
            leave(room, occupant, stanza.payload, now)
        elif pending is not None and room.joinedNode is not None:
            withdraw(room, room.joinedNode, pending, now)
    elif not nick:
        # Section 7.2.1: who names no nick is told "jid-malformed".
        sendError(room, nick, user, stanza.id, NoNick, isJoin=True)
    elif occupant is not None:
        _fromOccupant(room, occupant, nick, stanza, now)
    elif pending is not None and (pending.request.nick == nick or not stanza.joins):
        # His answer is on its way, and what he shows meanwhile goes with him, or after him.
        if not stanza.joins and pending.sent:
            pending.newPayload = stanza.payload
        elif not stanza.joins:
            pending.request = evolve(pending.request, payload=stanza.payload)
    elif not stanza.joins:
        room.out.append(notInRoom(room.jid, nick, user))
    else:
        _joinRoom(room, user, nick, stanza, now)


def _fromOccupant(room: Room, occupant: Occupant, nick: str, stanza: Presence, now: float) -> None:
    if occupant.nick != nick:
        _changeNick(room, occupant, nick, stanza, now)
        return
    if not stanza.joins or stanza.payload != occupant.payload:
        changePresence(room, occupant, stanza.payload, now)
    if stanza.joins:
        rejoin(room, occupant, stanza.limits, now)


def _joinRoom(room: Room, user: str, nick: str, stanza: Presence, now: float) -> None:
    request = JoinRequest(
        nick=nick,
        realJid=user,
        payload=stanza.payload,
        password=stanza.password,
        limits=stanza.limits,
        id=stanza.id,
    )
    problem = enterRoom(room, request, None, now)
    if problem is not None:
        sendError(room, nick, user, stanza.id, problem, isJoin=True)


def notInRoom(room: str, nick: str, user: str) -> ToUsers:
    """
    Tell somebody who believes that he is in that he is not: "with an explicit kick" (section 7.2.17).
    """
    change = PresenceChange(unavailable=True, codes=(KICKED, TECHNICAL_PROBLEM), reason="You are not in the room.")
    presence = OccupantPresence(
        nick=nick,
        realJid="",
        nonAnonymous=False,
        standing=Standing(NONE, NO_ROLE),
        payload=Payload(),
        change=change,
    )
    return ToUsers(room, presence, (escape(user).encode(),), codes=(SELF,))


def pendingJoinOf(room: Room, user: str) -> Pending | None:
    """A local user's join that has no answer yet."""
    each = (
        one
        for one in room.pending.values()
        if one.request.realJid == user and one.node is None and not one.withdrawn
    )
    return next(each, None)


def enterRoom(room: Room, request: JoinRequest, node: Node | None, now: float) -> type[GatewayError] | None:
    """
    Somebody wants in, from here or through a joining node: "the usual ACL checks as if [he] had joined directly".

    @return: why he may not.
    """
    problem = (
        addressProblem(request.realJid) or nickProblem(room, request.nick) or nickConflict(room, request, node)
    )
    if problem is not None:
        return problem
    joinedNode = room.joinedNode
    if joinedNode is not None:
        if len(room.pending) >= room.bounds.pending or len(room.occupants) >= room.bounds.occupants:
            return TooMuch if len(room.pending) >= room.bounds.pending else RoomFull
        if node is None and pendingJoinOf(room, request.realJid) is not None:
            return NickIsKept
        if _isInElsewhere(room, request, node):
            # The node above knows this one alone, and would take him for a user of one that has begun anew.
            return NickIsKept
        requestJoin(room, joinedNode, Pending(request, node, now + 2 * ANSWER), now)
        return None
    created = not (room.occupants or room.affiliations or room.settings.persistent)
    if created:
        # Section 10.1.2: an instant room; who creates it owns it.
        room.affiliations[person(request.realJid)] = OWNER
    standing = checkAccess(room, request)
    if not isinstance(standing, Standing):
        return standing
    admit(room, request, node, standing, now, created)
    return None


def _isInElsewhere(room: Room, request: JoinRequest, node: Node | None) -> bool:
    """Whether who wants in is in already, by another nick and another way: here, or through another node below."""
    realJid = request.realJid
    if node is not None and realJid in room.users:
        return True
    ways = (each for each in room.joiningNodes.values() if each is not node)
    return any(occupant.realJid == realJid for each in ways for occupant in each.occupants.values()) or any(
        one.request.realJid == realJid and one.node is not node and not one.withdrawn
        for one in room.pending.values()
    )


def leave(
    room: Room, occupant: Occupant, payload: Payload, now: float, change: PresenceChange = UNAVAILABLE
) -> None:
    """He goes by himself."""
    occupant.payload = payload
    remove(room, occupant, change, own=True)
    occupantLeft(room, occupant, now)


def _changeNick(room: Room, occupant: Occupant, nick: str, stanza: Presence, now: float) -> None:
    """
    Another nick (section 7.6). The seed: "nick-changing is not allowed for users connected through a proxy".
    """
    request = JoinRequest(nick=nick, realJid=occupant.realJid)
    problem = (
        NickIsKept if room.joinedNode is not None else nickProblem(room, nick) or nickConflict(room, request, None)
    )
    if problem is not None:
        sendError(room, nick, occupant.realJid, stanza.id, problem)
        return
    change = PresenceChange(unavailable=True, codes=(NICK_CHANGED,), nick=nick)
    # He stays, so that this says nothing of what he is.
    room.broadcastPresence(occupant, change, includeOriginNode=True)
    room.remove(occupant)
    occupant.nick, occupant.payload = nick, stanza.payload
    room.add(occupant)
    room.broadcastPresence(occupant, AVAILABLE, includeOriginNode=True)


def sendError(
    room: Room, nick: str, user: str, identifier: str | None, why: type[GatewayError], isJoin: bool = False
) -> None:
    """Tell a local user that his presence is not taken."""
    room.out.append(SendError("presence", room.address(nick), user, identifier, stanzaError(why), isJoin))
