"""Presence of local users: entering (XEP-0045 section 7.2), changes (7.7), a new nick (7.6), leaving (7.14)."""

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
    """Handle a local user's presence to an occupant's address, of type none or unavailable."""
    occupant = room.users.get(user)
    pending = None if occupant is not None else pendingJoinOf(room, user)
    if stanza.unavailable:
        if occupant is not None:
            # The nick does not matter: a user is one occupant here (section 7.14).
            leave(room, occupant, stanza.payload, now)
        elif pending is not None and room.joinedNode is not None:
            withdraw(room, room.joinedNode, pending, now)
    elif not nick:
        # Section 7.2.1: a join without a nick is "jid-malformed".
        sendError(room, nick, user, stanza.id, NoNick, isJoin=True)
    elif occupant is not None:
        _fromOccupant(room, occupant, nick, stanza, now)
    elif pending is not None and (pending.request.nick == nick or not stanza.joins):
        # The answer to the join is pending. The new presence is sent with the join, or after it.
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
    """Tell a user who is not an occupant, but behaves like one: "with an explicit kick" (section 7.2.17)."""
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
    """Return a local user's pending join."""
    each = (
        one
        for one in room.pending.values()
        if one.request.realJid == user and one.node is None and not one.withdrawn
    )
    return next(each, None)


def enterRoom(room: Room, request: JoinRequest, node: Node | None, now: float) -> type[GatewayError] | None:
    """
    Handle a join, from a local user or through a joining node: "the usual ACL checks as if [he] had joined
    directly".

    @return: the error if the user may not enter.
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
            # The joined node knows the user by one way only, and would take a second join for that of a restarted
            # node.
            return NickIsKept
        requestJoin(room, joinedNode, Pending(request, node, now + 2 * ANSWER), now)
        return None
    created = not (room.occupants or room.affiliations or room.settings.persistent)
    if created:
        # Section 10.1.2: an instant room; the user who creates it becomes owner.
        room.affiliations[person(request.realJid)] = OWNER
    standing = checkAccess(room, request)
    if not isinstance(standing, Standing):
        return standing
    admit(room, request, node, standing, now, created)
    return None


def _isInElsewhere(room: Room, request: JoinRequest, node: Node | None) -> bool:
    """
    True if the user is an occupant, or has asked, by another nick and another way: here, or through another joining
    node.
    """
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
    """Handle an occupant's leave."""
    occupant.payload = payload
    remove(room, occupant, change, own=True)
    occupantLeft(room, occupant, now)


def _changeNick(room: Room, occupant: Occupant, nick: str, stanza: Presence, now: float) -> None:
    """Change a nick (section 7.6). ProtoXEP: "nick-changing is not allowed for users connected through a proxy"."""
    request = JoinRequest(nick=nick, realJid=occupant.realJid)
    problem = (
        NickIsKept if room.joinedNode is not None else nickProblem(room, nick) or nickConflict(room, request, None)
    )
    if problem is not None:
        sendError(room, nick, occupant.realJid, stanza.id, problem)
        return
    change = PresenceChange(unavailable=True, codes=(NICK_CHANGED,), nick=nick)
    # The occupant stays, so the presence says nothing about the standing.
    room.broadcastPresence(occupant, change, includeOriginNode=True)
    room.remove(occupant)
    occupant.nick, occupant.payload = nick, stanza.payload
    room.add(occupant)
    room.broadcastPresence(occupant, AVAILABLE, includeOriginNode=True)


def sendError(
    room: Room, nick: str, user: str, identifier: str | None, why: type[GatewayError], isJoin: bool = False
) -> None:
    """Answer a local user's presence with an error."""
    room.out.append(SendError("presence", room.address(nick), user, identifier, stanzaError(why), isJoin))
