"""Administration by moderators, admins and owners (XEP-0045 sections 8 and 9)."""

from __future__ import annotations

from attrs import evolve, frozen

from gateway.addresses import jids
from gateway.errors import (
    LastOwner,
    NickInUse,
    NoSuchAddress,
    NotAcceptable,
    NotAllowed,
    NotEntitled,
    OnlyInTheRoom,
    OwnersOnly,
    ResourceLimit,
)
from gateway.muc.actions import SendInvitation
from gateway.muc.leave import removeAll
from gateway.muc.moderated import defaultRole
from gateway.muc.nick import checkReservable
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import (
    ADMIN,
    AVAILABLE,
    BANNED,
    KICKED,
    MEMBER,
    MODERATOR,
    NO_ROLE,
    NONE,
    NOT_A_MEMBER,
    OUTCAST,
    OWNER,
    VISITOR,
    Invitation,
    PresenceChange,
    Standing,
    person,
)

# Of one request: each may be sent to all occupants.
MAX_CHANGES = 100
# In ascending order of rights (section 5.2).
_LEVELS = {OUTCAST: 0, NONE: 1, MEMBER: 2, ADMIN: 3, OWNER: 4}


@frozen(kw_only=True)
class Change:
    """
    A requested change: a role by nick, or an affiliation by JID or by the nick of an occupant.

    @ivar jid: bare JID.
    @ivar reserved: the nick to reserve for the user of an affiliation; empty to free it; C{None} for no change.
    """

    nick: str = ""
    jid: str = ""
    reserved: str | None = None
    role: str = ""
    affiliation: str = ""
    reason: str = ""


@frozen
class ListedUser:
    """An entry of a list: an occupant, listed by role, or a user, listed by affiliation."""

    affiliation: str
    role: str = ""
    jid: str = ""
    nick: str = ""


def level(room: Room, user: str) -> int:
    """Return the level of a user's affiliation."""
    return _LEVELS[room.affiliation(user)]


def checkEntitled(room: Room, user: str) -> None:
    """
    Raise the error of a user who may not change anything.

    @param user: full JID.
    """
    if room.nodes.isMirror:
        # ProtoXEP, "Administration": "connect directly to the MUC and follow the standard process".
        raise OnlyInTheRoom
    actor = room.occupantOf(user)
    isModerator = actor is not None and actor.standing.role == MODERATOR
    if not isModerator and level(room, user) < _LEVELS[ADMIN]:
        raise NotEntitled


def applyChanges(room: Room, user: str, changes: list[Change]) -> None:
    """
    Apply all changes, or none if one of them is not allowed.

    @param user: full JID of a user for whom L{checkEntitled} raises nothing.
    @raise GatewayError: if a change is not allowed.
    """
    actor = room.occupantOf(user)
    own = level(room, user)
    reserved: dict[str, str] = {}
    for each in changes:
        if each.role:
            _checkRole(room, own, each)
        else:
            _checkAffiliation(room, user, own, each)
            if each.reserved:
                checkReservable(room, each.reserved, each.jid)
                # The same list may reserve the nick for another user.
                if reserved.setdefault(each.reserved, each.jid) != each.jid:
                    raise NickInUse
    # The nick of an occupant who is removed by one change is unknown to the following ones.
    changes = [each if each.role else evolve(each, jid=_jidOf(room, each)) for each in changes]
    _checkResult(room, changes)
    nick = "" if actor is None else actor.nick
    kicked = {room.occupants[each.nick]: _removal(each, KICKED, nick) for each in changes if each.role == NO_ROLE}
    if kicked:
        removeAll(room, kicked, answer=True)
    people = _people(room) if any(each.affiliation for each in changes) else {}
    for each in changes:
        if each.role:
            occupant = room.occupants.get(each.nick)
            if occupant is not None:
                _giveRole(room, occupant, each, nick)
        else:
            _giveAffiliation(room, people, each, nick, room.settings.password)


def _checkResult(room: Room, changes: list[Change]) -> None:
    wanted = room.affiliations | {each.jid: each.affiliation for each in changes if each.affiliation}
    wanted = {jid: affiliation for jid, affiliation in wanted.items() if affiliation != NONE}
    # Section 10.6: the last owner cannot be revoked, nor can all owners at once.
    if OWNER in room.affiliations.values() and OWNER not in wanted.values():
        raise LastOwner
    if len(wanted) > max(room.bounds.affiliations, len(room.affiliations)):
        raise ResourceLimit


def _jidOf(room: Room, each: Change) -> str:
    occupant = room.occupants.get(each.nick) if each.nick and not each.jid else None
    return each.jid or ("" if occupant is None else occupant.person)


def _checkRole(room: Room, own: int, each: Change) -> None:
    occupant = room.occupants.get(each.nick)
    if occupant is None:
        raise NoSuchAddress
    if each.role == occupant.standing.role:
        # Section 9.8: a list may have entries that change nothing.
        return
    theirs = _LEVELS[occupant.standing.affiliation]
    # Section 8.2: "A user cannot be kicked by a moderator with a lower affiliation."
    if theirs > own:
        raise NotAllowed
    # Sections 8.4 and 9.7: the role of an admin or owner follows from the affiliation.
    if theirs >= _LEVELS[ADMIN] and each.role not in (MODERATOR, NO_ROLE):
        raise NotAllowed
    # Section 8.4: voice is not revoked from a user "at or above the moderator's level"; affiliation none is no
    # level.
    if each.role == VISITOR and theirs >= own and theirs > _LEVELS[NONE]:
        raise NotAllowed
    # Section 9.6: only admins grant and revoke the moderator role.
    if MODERATOR in (each.role, occupant.standing.role) and own < _LEVELS[ADMIN]:
        raise NotAllowed if occupant.standing.role == MODERATOR else NotEntitled


def _checkAffiliation(room: Room, user: str, own: int, each: Change) -> None:
    jid = _jidOf(room, each)
    if not jid or each.affiliation not in _LEVELS:
        raise NotAcceptable
    if own < _LEVELS[ADMIN]:
        raise NotEntitled
    # Section 9.1: users cannot ban themselves.
    if each.affiliation == OUTCAST and jid == person(user):
        raise LastOwner
    if own == _LEVELS[OWNER]:
        return
    isAdmin = _LEVELS[room.affiliations.get(jid, NONE)] >= _LEVELS[ADMIN]
    # Section 9.1: "a user cannot be banned by an admin with a lower affiliation".
    if isAdmin and each.affiliation == OUTCAST:
        raise NotAllowed
    # Sections 10.3 to 10.8: only owners edit the lists of owners and admins.
    if isAdmin or _LEVELS[each.affiliation] >= _LEVELS[ADMIN]:
        raise OwnersOnly


def _giveRole(room: Room, occupant: Occupant, each: Change, actor: str) -> None:
    if each.role == occupant.standing.role:
        return
    occupant.standing = evolve(occupant.standing, role=each.role)
    room.broadcastPresence(occupant, evolve(AVAILABLE, reason=each.reason, actor=actor))


def _people(room: Room) -> dict[str, list[Occupant]]:
    """Return occupants by bare JID and by domain. One user may have several nicks."""
    found: dict[str, list[Occupant]] = {}
    for occupant in room.occupants.values():
        who = occupant.person
        for each in {who, jids.split(who)[1]}:
            found.setdefault(each, []).append(occupant)
    return found


def _giveAffiliation(
    room: Room, people: dict[str, list[Occupant]], each: Change, actor: str, password: str = ""
) -> None:
    """
    Apply a change of an affiliation.

    @param actor: nick of the user who makes the change; empty for none.
    @param password: the room's password for a user who is invited; empty if that user must know it.
    """
    isNew = each.jid not in room.affiliations and each.jid not in people
    if each.affiliation == NONE:
        room.affiliations.pop(each.jid, None)
    else:
        room.affiliations[each.jid] = each.affiliation
    _reserve(room, each)
    if isNew and each.affiliation == MEMBER and room.settings.membersOnly:
        # Section 9.5: "the service SHOULD send an invitation to any user who has been added to the member list of a
        # members-only room".
        sender = room.address(actor)
        room.emit(SendInvitation(room.jid, sender, Invitation(each.jid, each.reason), password))
    code = {OUTCAST: BANNED, NONE: NOT_A_MEMBER if room.settings.membersOnly else 0}.get(each.affiliation, 0)
    removed: list[Occupant] = []
    for occupant in people.get(each.jid, ()):
        # A domain ban does not affect occupants with an affiliation of their own. An earlier change may have
        # removed the occupant.
        isMeant = occupant.person == each.jid or each.affiliation == OUTCAST == room.affiliation(occupant.realJid)
        if not isMeant or room.occupants.get(occupant.nick) is not occupant:
            continue
        occupant.standing = Standing(each.affiliation, defaultRole(room, each.affiliation))
        if code:
            removed.append(occupant)
        else:
            room.broadcastPresence(occupant, evolve(AVAILABLE, reason=each.reason, actor=actor))
    if removed:
        removeAll(room, dict.fromkeys(removed, _removal(each, code, actor)))


def _removal(each: Change, code: int, actor: str) -> PresenceChange:
    return PresenceChange(unavailable=True, codes=(code,), reason=each.reason, actor=actor)


def _reserve(room: Room, each: Change) -> None:
    """
    Section 9.5: a list of members may change reserved nicks. Only users with an affiliation have one, and requests
    of banned users are not kept.
    """
    requests = room.registrations.requests
    if each.affiliation == OUTCAST:
        for who in [who for who in requests if room.affiliation(who) == OUTCAST]:
            del requests[who]
    if each.affiliation in (NONE, OUTCAST) or each.reserved == "":
        room.registrations.release(each.jid)
    elif each.reserved:
        room.registrations.reserve(each.jid, each.reserved)


def makeMember(room: Room, jid: str, password: str = "") -> None:
    """
    Make a user a member, who has asked for it.

    @param password: the room's password, if an admin has approved it.
    @raise ResourceLimit: if there are too many affiliations.
    """
    _giveAsked(room, Change(jid=jid, affiliation=MEMBER), password)


def removeMember(room: Room, jid: str) -> None:
    """Make a member a user without affiliation, who has asked for it."""
    _giveAsked(room, Change(jid=jid, affiliation=NONE))


def _giveAsked(room: Room, change: Change, password: str = "") -> None:
    _checkResult(room, [change])
    _giveAffiliation(room, _people(room), change, "", password)


def adminList(room: Room, user: str, wanted: Change) -> list[ListedUser]:
    """
    Return the occupants with a role, or the users with an affiliation.

    @param wanted: has a role or an affiliation, and nothing else.
    @raise GatewayError: if the user may not see the list.
    """
    if room.nodes.isMirror:
        raise OnlyInTheRoom
    if wanted.affiliation == NONE:
        raise NotAcceptable
    if not _mayList(room, user, wanted):
        raise NotEntitled
    if wanted.role:
        return [
            ListedUser(one.standing.affiliation, one.standing.role, one.realJid, one.nick)
            for one in room.occupants.values()
            if one.standing.role == wanted.role
        ]
    return [
        ListedUser(wanted.affiliation, jid=jid, nick=room.registrations.nicks.get(jid, ""))
        for jid, each in room.affiliations.items()
        if each == wanted.affiliation
    ]


def _mayList(room: Room, user: str, wanted: Change) -> bool:
    own, actor = level(room, user), room.occupantOf(user)
    if wanted.role:
        # Section 8.5: moderators manage voice. Section 9.8: admins manage moderators.
        isModerator = actor is not None and actor.standing.role == MODERATOR
        return own >= _LEVELS[ADMIN] or (isModerator and wanted.role != MODERATOR)
    isGroup = room.settings.membersOnly and room.settings.nonAnonymous
    if wanted.affiliation in (OWNER, ADMIN):
        # Sections 10.5 and 10.8. In a group whose members know each other, clients need all lists of users: they
        # encrypt for those (OMEMO, XEP-0384).
        return own == _LEVELS[OWNER] or (isGroup and own >= _LEVELS[MEMBER])
    if wanted.affiliation == MEMBER and room.settings.nonAnonymous:
        # Section 9.5: members may see the member list of a non-anonymous room, and so may occupants of a
        # members-only one.
        return own >= _LEVELS[MEMBER] or (isGroup and actor is not None)
    return own >= _LEVELS[ADMIN]
