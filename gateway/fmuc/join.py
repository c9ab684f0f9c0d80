"""
Who may enter a room, and how he does (XEP-0045 section 7.2).
"""

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
    CREATED,
    HERE,
    MEMBER,
    MODERATOR,
    NONE,
    OUTCAST,
    OWNER,
    PARTICIPANT,
    REAL_JIDS_ARE_SHOWN,
    VISITOR,
    Content,
    Entry,
    Limits,
    Rank,
    Said,
)

_NO_SUBJECT = Content(b"<subject/>")


def addressProblem(real: str) -> type[GatewayError] | None:
    """
    Return the error for a user whose JID cannot be compared with others: no ban would hold, and no membership.

    @param real: full JID.
    """
    try:
        jids.prepared(real)
    except ValueError:
        return Malformed
    return None


def nickProblem(room: Room, nick: str) -> type[GatewayError] | None:
    """
    Why this can be nobody's nick.

    The seed, section "Business Rules": "the MUC MUST NOT modify the nick of a user joining from a proxy - if their
    JID is unacceptable, the join must instead fail". So it is for everybody.
    """
    if not nick or len(nick.encode()) > room.bounds.nick:
        return BadNick
    # XEP-0045 section 7.2.8: what is a conflict "is up to the implementation". Here two nicks are the same if they
    # are so as resources (RFC 7622), and spaces at an end, or several in a row, make no difference (RFC 8266
    # section 2.1). Of all spellings of a nick only the one that these rules write is taken; its case is kept.
    if nick != " ".join(nick.split()):
        return BadNick
    return None if jids.isPrepared(room.address(nick)) else BadNick


def conflict(room: Room, entry: Entry, node: Node | None) -> type[GatewayError] | None:
    """
    Whether somebody else has the nick, or has asked for it (section 7.2.8).

    A join that has gone all the way round comes back with the nick and the real JID that it had here, whether the
    nodes on its way know of loops or not: for none of them may change these.
    """
    there = room.occupants.get(entry.nick)
    pending = room.pending.get(entry.nick)
    if pending is not None and pending.gone:
        pending = None
    if there is None and pending is None:
        return None
    same = there is not None and (there.real, there.node) != (entry.real, node) and there.real == entry.real
    asked = pending is not None and pending.entry.real == entry.real and pending.node is not node
    return Loop if node is not None and (same or asked) else NickInUse


def access(room: Room, entry: Entry) -> Rank | type[GatewayError]:
    """The ACL checks of a room that has no node above: what he is, or why he may not enter."""
    affiliation = room.affiliation(entry.real)
    settings = room.settings
    # Section 7.2.7: banned users are "forbidden".
    if affiliation == OUTCAST:
        return Banned
    # Section 7.2.6: members only are "registration-required".
    if settings.membersOnly and affiliation == NONE:
        return MembersOnly
    # Section 7.2.5: a password that is none, or another, is "not-authorized".
    if settings.password and entry.password != settings.password:
        return WrongPassword
    # Section 7.2.9: "the room MUST allow the admin or owner to join, up to some reasonable number".
    most = room.bounds.occupants + (100 if affiliation in (OWNER, ADMIN) else 0)
    if len(room.occupants) >= most:
        return RoomFull
    return Rank(affiliation, defaultRole(room, affiliation))


def defaultRole(room: Room, affiliation: str) -> str:
    """Section 5.1.2."""
    if affiliation in (OWNER, ADMIN):
        return MODERATOR
    return PARTICIPANT if affiliation == MEMBER or not room.settings.moderated else VISITOR


def admit(room: Room, entry: Entry, node: Node | None, rank: Rank, now: float, created: bool = False) -> Occupant:
    """
    Let somebody in, and tell everybody.

    @param node: the joining node that he is behind.
    """
    occupant = Occupant(entry.nick, entry.real, rank, entry.content, room.settings.public, node)
    occupants = list(room.occupants.values())
    room.add(occupant)
    if node is None:
        # Section 7.2.2: first "the complete list of existing occupants", then "the new occupant's own presence".
        for other in occupants:
            room.show(other, occupant)
        room.tell(occupant, HERE, toOwner=True, isNews=False)
        codes = (*((REAL_JIDS_ARE_SHOWN,) if occupant.public else ()), *((CREATED,) if created else ()))
        room.toSelf(occupant, HERE, *codes)
        _catchUp(room, entry.limits, occupant, now)
        return occupant
    first = not node.joined
    if first:
        # XEP-0289 section 6.1: "the list of current occupants and message context in the same order as specified in
        # XEP-0045", and his own presence with them.
        for other in occupants:
            room.toNode(node, other.shown(HERE))
        node.joined = True
    # Role and affiliation are for us to say: who was told nothing else has them right.
    room.tell(occupant, HERE, toOwner=not first and (node.echoes or rank != entry.claimed))
    if first:
        room.note(f"mirrored by {node.jid}")
        room.toNode(node, evolve(occupant.shown(HERE), replica=node.replica))
        for said in room.recent(entry.limits, node.jid, now):
            room.toNode(node, said)
        room.toNode(node, subjectOf(room))
    return occupant


def welcomeBack(room: Room, occupant: Occupant, limits: Limits, now: float) -> None:
    """A local user joins a second time: his client has lost what it knew, so it gets all of it anew."""
    for other in room.occupants.values():
        if other is not occupant:
            room.show(other, occupant)
    room.toSelf(occupant, HERE, *((REAL_JIDS_ARE_SHOWN,) if occupant.public else ()))
    _catchUp(room, limits, occupant, now)


def _catchUp(room: Room, limits: Limits, occupant: Occupant, now: float) -> None:
    """Section 7.2.13: history after presence; section 7.2.15: the subject after that, even if there is none."""
    to = (occupant.address,)
    for said in room.recent(limits, occupant.real, now):
        room.toUsers(said, to)
    room.toUsers(subjectOf(room), to)


def subjectOf(room: Room) -> Said:
    """ "If there is no subject set, the room MUST return an empty <subject/> element." """
    return room.subject or Said(nick="", content=_NO_SUBJECT, subject=True)
