"""Entering a room (XEP-0045 section 7.2)."""

from __future__ import annotations

from attrs import evolve

from gateway import jids
from gateway.errors import (
    BadNick,
    Banned,
    GatewayError,
    Loop,
    Malformed,
    MembersOnly,
    NickInUse,
    RoomFull,
    WrongPassword,
)
from gateway.fmuc.room import Node, Occupant, Room
from gateway.fmuc.values import (
    ADMIN,
    AVAILABLE,
    CREATED,
    MEMBER,
    MODERATOR,
    NON_ANONYMOUS,
    NONE,
    OUTCAST,
    OWNER,
    PARTICIPANT,
    VISITOR,
    HistoryLimits,
    JoinRequest,
    Payload,
    RoomMessage,
    Standing,
)

_NO_SUBJECT = Payload(b"<subject/>")


def addressProblem(realJid: str) -> type[GatewayError] | None:
    """
    Return the error for a user whose JID cannot be compared with others; no ban or membership could apply.

    @param realJid: full JID.
    """
    try:
        jids.prepared(realJid)
    except ValueError:
        return Malformed
    return None


def nickProblem(room: Room, nick: str) -> type[GatewayError] | None:
    """
    Return the error for an invalid nick.

    ProtoXEP, "Business Rules": "the MUC MUST NOT modify the nick of a user joining from a proxy - if their JID is
    unacceptable, the join must instead fail". The same rule applies to all users.
    """
    if not nick or len(nick.encode()) > room.bounds.nick:
        return BadNick
    # XEP-0045 section 7.2.8: the definition of a conflict "is up to the implementation". Here two nicks are equal
    # if they are equal as resources (RFC 7622), and spaces at an end, or several in a row, make no difference (RFC
    # 8266 section 2.1). Only the normalised spelling of a nick is accepted; its case is kept.
    if nick != " ".join(nick.split()):
        return BadNick
    return None if jids.isPrepared(room.address(nick)) else BadNick


def nickConflict(room: Room, request: JoinRequest, node: Node | None) -> type[GatewayError] | None:
    """
    Return the error if another user has the nick or has asked for it (section 7.2.8).

    A join that went round a loop comes back with the nick and the real JID that it had here, whether the nodes on
    its way know of loops or not: none of them may change these.
    """
    there = room.occupants.get(request.nick)
    pending = room.pending.get(request.nick)
    if pending is not None and pending.withdrawn:
        pending = None
    if there is None and pending is None:
        return None
    same = (
        there is not None
        and (there.realJid, there.node) != (request.realJid, node)
        and there.realJid == request.realJid
    )
    asked = pending is not None and pending.request.realJid == request.realJid and pending.node is not node
    return Loop if node is not None and (same or asked) else NickInUse


def checkAccess(room: Room, request: JoinRequest) -> Standing | type[GatewayError]:
    """Check the access to a room without a joined node; return the standing, or the error."""
    affiliation = room.affiliation(request.realJid)
    settings = room.settings
    # Section 7.2.7: banned users are "forbidden".
    if affiliation == OUTCAST:
        return Banned
    # Section 7.2.6: other users than members are "registration-required".
    if settings.membersOnly and affiliation == NONE:
        return MembersOnly
    # Section 7.2.5: a missing or wrong password is "not-authorized".
    if settings.password and request.password != settings.password:
        return WrongPassword
    # Section 7.2.9: "the room MUST allow the admin or owner to join, up to some reasonable number".
    most = room.bounds.occupants + (100 if affiliation in (OWNER, ADMIN) else 0)
    if len(room.occupants) >= most:
        return RoomFull
    return Standing(affiliation, defaultRole(room, affiliation))


def defaultRole(room: Room, affiliation: str) -> str:
    """Return the role of a new occupant (section 5.1.2)."""
    if affiliation in (OWNER, ADMIN):
        return MODERATOR
    return PARTICIPANT if affiliation == MEMBER or not room.settings.moderated else VISITOR


def admit(
    room: Room, request: JoinRequest, node: Node | None, standing: Standing, now: float, created: bool = False
) -> Occupant:
    """
    Add an occupant and tell all.

    @param node: the joining node through which the occupant is connected.
    """
    occupant = Occupant(request.nick, request.realJid, standing, request.payload, room.settings.nonAnonymous, node)
    occupants = list(room.occupants.values())
    room.add(occupant)
    if node is None:
        # Section 7.2.2: first "the complete list of existing occupants", then "the new occupant's own presence".
        for other in occupants:
            room.sendPresence(other, occupant)
        room.broadcastPresence(occupant, AVAILABLE, includeOriginNode=True, tellSelf=False)
        codes = (*((NON_ANONYMOUS,) if occupant.nonAnonymous else ()), *((CREATED,) if created else ()))
        room.sendSelfPresence(occupant, AVAILABLE, *codes)
        _sendHistory(room, request.limits, occupant, now)
        return occupant
    first = not node.joined
    if first:
        # XEP-0289 section 6.1: "the list of current occupants and message context in the same order as specified in
        # XEP-0045", and the new occupant's own presence.
        for other in occupants:
            room.toNode(node, other.presence(AVAILABLE))
        node.joined = True
    # This node decides role and affiliation. A node that is told nothing else had claimed the right ones.
    room.broadcastPresence(
        occupant, AVAILABLE, includeOriginNode=not first and (node.echoes or standing != request.claimedStanding)
    )
    if first:
        room.log(f"mirrored by {node.jid}")
        room.toNode(node, evolve(occupant.presence(AVAILABLE), replica=node.replica))
        for message in room.recent(request.limits, node.jid, now):
            room.toNode(node, message)
        room.toNode(node, subjectOf(room))
    return occupant


def rejoin(room: Room, occupant: Occupant, limits: HistoryLimits, now: float) -> None:
    """Send everything to a local user who joins again: the client has lost its state."""
    for other in room.occupants.values():
        if other is not occupant:
            room.sendPresence(other, occupant)
    room.sendSelfPresence(occupant, AVAILABLE, *((NON_ANONYMOUS,) if occupant.nonAnonymous else ()))
    _sendHistory(room, limits, occupant, now)


def _sendHistory(room: Room, limits: HistoryLimits, occupant: Occupant, now: float) -> None:
    """
    Section 7.2.13: history after presence. Section 7.2.15: the subject after the history, even if it is empty.
    """
    to = (occupant.address,)
    for message in room.recent(limits, occupant.realJid, now):
        room.toUsers(message, to)
    room.toUsers(subjectOf(room), to)


def subjectOf(room: Room) -> RoomMessage:
    """ "If there is no subject set, the room MUST return an empty <subject/> element." """
    return room.subject or RoomMessage(nick="", payload=_NO_SUBJECT, subject=True)
