"""Entering a room (XEP-0045 section 7.2)."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import Banned
from gateway.muc import max_users, members_only, password
from gateway.muc.moderated import defaultRole
from gateway.muc.nick import checkFree, checkNick
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import (
    AVAILABLE,
    CREATED,
    NON_ANONYMOUS,
    OUTCAST,
    OWNER,
    HistoryLimits,
    JoinRequest,
    Standing,
    person,
)


def enter(room: Room, request: JoinRequest, now: float) -> None:
    """
    Handle a local user's join.

    @raise GatewayError: if the user may not enter.
    """
    checkUser(request.realJid)
    checkNick(room, request.nick)
    checkFree(room, request.nick)
    if not room.nodes.requestJoin(request, now):
        standing, created = grant(room, request)
        admit(room, request, standing, now, created)


def checkUser(realJid: str) -> None:
    """
    Refuse a user whose JID cannot be compared with others; no ban or membership could apply.

    @param realJid: full JID.
    @raise Malformed: if it cannot.
    """
    jids.prepared(realJid)


def grant(room: Room, request: JoinRequest) -> tuple[Standing, bool]:
    """
    Return a new occupant's standing, and True if the join has created the room.

    @raise GatewayError: if the user may not enter.
    """
    created = not (room.occupants or room.affiliations or room.settings.persistent)
    if created:
        # Section 10.1.2: an instant room; the user who creates it becomes owner.
        room.affiliations[person(request.realJid)] = OWNER
    affiliation = room.affiliation(request.realJid)
    for check in _CHECKS:
        check(room, request, affiliation)
    return Standing(affiliation, defaultRole(room, affiliation)), created


def _checkBan(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.2.7: banned users are "forbidden"."""
    if affiliation == OUTCAST:
        raise Banned


# In the order of their errors.
_CHECKS = (_checkBan, members_only.checkJoin, password.checkJoin, max_users.checkJoin)


def admit(room: Room, request: JoinRequest, standing: Standing, now: float, created: bool = False) -> Occupant:
    """Add a local user as an occupant and tell all."""
    occupant = Occupant(
        request.nick,
        request.realJid,
        standing,
        request.payload,
        room.settings.nonAnonymous,
        id=request.occupantId,
    )
    occupants = list(room.occupants.values())
    room.add(occupant)
    # Section 7.2.2: first "the complete list of existing occupants", then "the new occupant's own presence".
    for other in occupants:
        room.sendPresence(other, occupant)
    room.broadcastPresence(occupant, AVAILABLE, tellSelf=False)
    codes = (*((NON_ANONYMOUS,) if occupant.nonAnonymous else ()), *((CREATED,) if created else ()))
    room.sendSelfPresence(occupant, AVAILABLE, *codes, identifier=request.id)
    _sendHistory(room, request.limits, occupant, now)
    return occupant


def rejoin(
    room: Room, occupant: Occupant, limits: HistoryLimits, now: float, identifier: str | None = None
) -> None:
    """Send everything to a local user who joins again: the client has lost its state."""
    for other in room.occupants.values():
        if other is not occupant:
            room.sendPresence(other, occupant)
    codes = (NON_ANONYMOUS,) if occupant.nonAnonymous else ()
    room.sendSelfPresence(occupant, AVAILABLE, *codes, identifier=identifier)
    _sendHistory(room, limits, occupant, now)


def _sendHistory(room: Room, limits: HistoryLimits, occupant: Occupant, now: float) -> None:
    """Section 7.2.13: history after presence. Section 7.2.15: the subject after history, even an empty one."""
    to = (occupant.address,)
    for message in room.recent(limits, occupant.realJid, now):
        room.toUsers(message, to)
    room.toUsers(subjectOf(room), to)
