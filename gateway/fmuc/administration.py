"""
What moderators, admins and owners do (XEP-0045 sections 8 and 9), in rooms that are this node's own.
"""

from __future__ import annotations

from attrs import evolve, frozen

from gateway.errors import (
    GatewayError,
    LastOwner,
    NoSuchAddress,
    NotAcceptable,
    NotAllowed,
    NotEntitled,
    OnlyInTheRoom,
    TooMuch,
)
from gateway.fmuc.admission import defaultRole
from gateway.fmuc.departure import remove
from gateway.fmuc.room import Occupant, Room, person
from gateway.fmuc.values import (
    ADMIN,
    BANNED,
    HERE,
    KICKED,
    MEMBER,
    MODERATOR,
    NO_ROLE,
    NONE,
    NOT_A_MEMBER,
    OUTCAST,
    OWNER,
    Notice,
    Rank,
)

# Each may do what those before it may (section 5.2).
_LEVELS = {OUTCAST: 0, NONE: 1, MEMBER: 2, ADMIN: 3, OWNER: 4}


@frozen(kw_only=True)
class Change:
    """
    What shall become of somebody; a role by nick, an affiliation by JID, or by the nick of who is in.

    @ivar jid: bare JID.
    """

    nick: str = ""
    jid: str = ""
    role: str = ""
    affiliation: str = ""
    reason: str = ""


@frozen
class Listed:
    """One of a list: of who is in, by role, or of all who are known, by affiliation."""

    affiliation: str
    role: str = ""
    jid: str = ""
    nick: str = ""


def level(room: Room, user: str) -> int:
    """How much a user may do by affiliation."""
    return _LEVELS[room.affiliation(user)]


def change(room: Room, user: str, changes: list[Change]) -> type[GatewayError] | None:
    """
    Do all of it, or, if one of the changes may not be, nothing.

    @param user: full JID of who wants it.
    @return: why not.
    """
    if room.above is not None:
        # The seed, section "Administration": "connect directly to the MUC and follow the standard process".
        return OnlyInTheRoom
    actor = room.users.get(user)
    own = level(room, user)
    if own < _LEVELS[ADMIN] and (actor is None or actor.rank.role != MODERATOR):
        return NotEntitled
    for each in changes:
        problem = _roleProblem(room, own, each) if each.role else _affiliationProblem(room, user, own, each)
        if problem is not None:
            return problem
    nick = "" if actor is None else actor.nick
    for each in changes:
        if each.role:
            occupant = room.occupants.get(each.nick)
            if occupant is not None:
                _giveRole(room, occupant, each, nick)
        else:
            _giveAffiliation(room, _jidOf(room, each), each, nick)
    return None


def _jidOf(room: Room, each: Change) -> str:
    occupant = room.occupants.get(each.nick) if each.nick and not each.jid else None
    return each.jid or ("" if occupant is None else person(occupant.real))


def _roleProblem(room: Room, own: int, each: Change) -> type[GatewayError] | None:
    occupant = room.occupants.get(each.nick)
    if occupant is None:
        return NoSuchAddress
    theirs = _LEVELS[occupant.rank.affiliation]
    # Section 8.2: "A user cannot be kicked by a moderator with a lower affiliation."
    if theirs > own:
        return NotAllowed
    # Sections 8.4 and 9.7: the role of an admin or owner comes with his affiliation.
    if theirs >= _LEVELS[ADMIN] and each.role not in (MODERATOR, NO_ROLE):
        return NotAllowed
    # Section 9.6: moderators are made, and made none, by admins.
    if MODERATOR in (each.role, occupant.rank.role) and own < _LEVELS[ADMIN]:
        return NotAllowed if occupant.rank.role == MODERATOR else NotEntitled
    return None


def _affiliationProblem(room: Room, user: str, own: int, each: Change) -> type[GatewayError] | None:
    jid = _jidOf(room, each)
    if not jid or each.affiliation not in _LEVELS:
        return NotAcceptable
    if own < _LEVELS[ADMIN]:
        return NotEntitled
    now, wanted = room.affiliations.get(jid, NONE), _LEVELS[each.affiliation]
    # Sections 9 and 10: admins ban, and make members; owners do all of it.
    if own < _LEVELS[OWNER] and (_LEVELS[now] >= _LEVELS[ADMIN] or wanted >= _LEVELS[ADMIN]):
        return NotAllowed
    # Section 9.1: nobody bans himself; 10.6: "the service MUST" keep one owner.
    if now == OWNER and wanted < _LEVELS[OWNER] and sum(a == OWNER for a in room.affiliations.values()) == 1:
        return LastOwner
    if each.affiliation == OUTCAST and jid == person(user):
        return LastOwner
    if jid not in room.affiliations and len(room.affiliations) >= room.bounds.affiliations:
        return TooMuch
    return None


def _giveRole(room: Room, occupant: Occupant, each: Change, actor: str) -> None:
    if each.role == NO_ROLE:
        remove(room, occupant, Notice(gone=True, codes=(KICKED,), reason=each.reason, actor=actor))
        return
    occupant.rank = evolve(occupant.rank, role=each.role)
    room.tell(occupant, evolve(HERE, reason=each.reason, actor=actor), toOwner=True)


def _giveAffiliation(room: Room, jid: str, each: Change, actor: str) -> None:
    if each.affiliation == NONE:
        room.affiliations.pop(jid, None)
    else:
        room.affiliations[jid] = each.affiliation
    code = {OUTCAST: BANNED, NONE: NOT_A_MEMBER if room.settings.membersOnly else 0}.get(each.affiliation, 0)
    # One person may be in more than once, by different nicks.
    for occupant in [one for one in room.occupants.values() if person(one.real) == jid]:
        occupant.rank = Rank(each.affiliation, defaultRole(room, each.affiliation))
        if code:
            remove(room, occupant, Notice(gone=True, codes=(code,), reason=each.reason, actor=actor))
        else:
            room.tell(occupant, evolve(HERE, reason=each.reason, actor=actor), toOwner=True)


def listed(room: Room, user: str, wanted: Change) -> list[Listed] | type[GatewayError]:
    """
    Who has a role or an affiliation.

    @param wanted: with one of both, and nothing else.
    """
    if room.above is not None:
        return OnlyInTheRoom
    actor = room.users.get(user)
    if level(room, user) < _LEVELS[ADMIN] and (actor is None or actor.rank.role != MODERATOR):
        return NotEntitled
    if wanted.role:
        return [
            Listed(one.rank.affiliation, one.rank.role, one.real, one.nick)
            for one in room.occupants.values()
            if one.rank.role == wanted.role
        ]
    if wanted.affiliation not in _LEVELS or wanted.affiliation == NONE:
        return NotAcceptable
    return [
        Listed(wanted.affiliation, jid=jid) for jid, each in room.affiliations.items() if each == wanted.affiliation
    ]
