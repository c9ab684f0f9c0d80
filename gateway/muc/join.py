"""Entering a room (XEP-0045 section 7.2)."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import Banned, ResourceLimit
from gateway.muc import locked, max_users, members_only, password, register, welcome
from gateway.muc.moderated import defaultRole
from gateway.muc.nick import checkFree, checkNick
from gateway.muc.occupant import Node, Occupant, Session
from gateway.muc.room import Room
from gateway.muc.sessions import changePresence, insert
from gateway.muc.values import AVAILABLE, OUTCAST, OWNER, HistoryLimits, JoinRequest, Standing, person


def enter(room: Room, request: JoinRequest, now: float) -> None:
    """
    Handle a local user's join.

    @raise GatewayError: if the user may not enter.
    """
    checkUser(request.realJid)
    checkNick(room, request.nick)
    occupant = checkFree(room, request.nick, request.realJid)
    if room.nodes.requestJoin(request, now):
        return
    standing, created = grant(room, request, occupant)
    if created:
        locked.lock(room, now)
    if occupant is None:
        admit(room, request, standing, now, created)
    else:
        addSession(room, occupant, request, now)


def checkUser(realJid: str) -> None:
    """
    Refuse a user whose JID cannot be compared with others; no ban or membership could apply.

    @param realJid: full JID.
    @raise Malformed: if it cannot.
    """
    jids.prepared(realJid)


def grant(room: Room, request: JoinRequest, occupant: Occupant | None = None) -> tuple[Standing, bool]:
    """
    Return a new occupant's standing, and True if the join has created the room.

    @param occupant: the user's occupant, if the join is that of a further session.
    @raise GatewayError: if the user may not enter.
    """
    room.durability.check()
    created = not (room.occupants or room.affiliations or room.settings.persistent)
    if created:
        # Section 10.1.1: "assign the requesting user as the initial room owner".
        room.affiliations[person(request.realJid)] = OWNER
    affiliation = room.affiliation(request.realJid)
    for check in _CHECKS:
        check(room, request, affiliation)
    if occupant is None:
        max_users.checkJoin(room, request, affiliation)
    return Standing(affiliation, defaultRole(room, affiliation)), created


def _checkBan(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.2.7: banned users are "forbidden"."""
    if affiliation == OUTCAST:
        raise Banned


# In the order of their errors.
_CHECKS = (_checkBan, locked.checkJoin, members_only.checkJoin, password.checkJoin, register.checkJoin)


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
    occupant.isHidden = room.hides(occupant)
    room.add(occupant)
    # Section 7.2.2: first "the complete list of existing occupants", then "the new occupant's own presence".
    arrival = welcome.begin(room, occupant, request.realJid, request.limits, now, request.id, created)
    room.broadcastPresence(occupant, AVAILABLE, to=())
    if arrival is not None:
        welcome.complete(room, arrival)
    return occupant


def addSession(room: Room, occupant: Occupant, request: JoinRequest, now: float, node: Node | None = None) -> None:
    """
    Add a further session of an occupant (section 7.2.8). It gets what a new occupant gets; the others are told only
    if the presence is new.

    @param node: the joining node that it comes from; C{None} for a local user.
    @raise ResourceLimit: if the occupant has too many sessions.
    """
    if len(occupant.allSessions()) >= room.bounds.sessions:
        raise ResourceLimit
    session = Session(request.realJid, request.payload, node)
    insert(room, occupant, session)
    if request.payload != occupant.payload or room.nodes.isChanging(occupant):
        changePresence(room, occupant, request.payload, None, session, isNew=True)
    if node is None:
        rejoin(room, occupant, request.realJid, request.limits, now, request.id)


def rejoin(
    room: Room, occupant: Occupant, user: str, limits: HistoryLimits, now: float, identifier: str | None = None
) -> None:
    """
    Send everything to a local user who joins again, because the client has lost its state, or to a new session.

    @param user: full JID of the session.
    """
    arrival = welcome.begin(room, occupant, user, limits, now, identifier)
    if arrival is not None:
        welcome.complete(room, arrival)
    room.nodes.welcomed(user)
