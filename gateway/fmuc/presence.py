"""
Presence of local users: entering (XEP-0045 section 7.2), changes (7.7), another nick (7.6), leaving (7.14).
"""

from __future__ import annotations

from attrs import evolve

from gateway.errors import GatewayError, NickIsKept, NoNick, RoomFull, TooMuch
from gateway.fmuc.actions import Refuse, ToUsers
from gateway.fmuc.join import access, addressProblem, admit, conflict, nickProblem, welcomeBack
from gateway.fmuc.leave import remove
from gateway.fmuc.room import Node, Occupant, Pending, Room
from gateway.fmuc.uplink import ANSWER, ask, cancel, change, gone
from gateway.fmuc.values import (
    GONE,
    HERE,
    KICKED,
    NICK_CHANGED,
    NO_ROLE,
    NONE,
    OWNER,
    SELF,
    TROUBLE,
    Content,
    Entry,
    Notice,
    Presence,
    Rank,
    Shown,
    person,
    refusal,
)
from gateway.stream.stanzas import escape


def fromUser(room: Room, user: str, nick: str, stanza: Presence, now: float) -> None:
    """A local user's presence to an occupant's address; it may be available, or not, but no error."""
    occupant = room.users.get(user)
    pending = None if occupant is not None else asked(room, user)
    if stanza.gone:
        if occupant is not None:
            # Whatever nick it names: section 7.14 has it from a user who is nobody else here.
            leave(room, occupant, stanza.content, now)
        elif pending is not None and room.above is not None:
            cancel(room, room.above, pending, now)
    elif not nick:
        # Section 7.2.1: who names no nick is told "jid-malformed".
        refuse(room, nick, user, stanza.id, NoNick, joining=True)
    elif occupant is not None:
        _fromOccupant(room, occupant, nick, stanza, now)
    elif pending is not None and (pending.entry.nick == nick or not stanza.joins):
        # His answer is on its way, and what he shows meanwhile goes with him, or after him.
        if not stanza.joins and pending.sent:
            pending.news = stanza.content
        elif not stanza.joins:
            pending.entry = evolve(pending.entry, content=stanza.content)
    elif not stanza.joins:
        room.out.append(astray(room.jid, nick, user))
    else:
        _asks(room, user, nick, stanza, now)


def _fromOccupant(room: Room, occupant: Occupant, nick: str, stanza: Presence, now: float) -> None:
    if occupant.nick != nick:
        _rename(room, occupant, nick, stanza, now)
        return
    if not stanza.joins or stanza.content != occupant.content:
        change(room, occupant, stanza.content, now)
    if stanza.joins:
        welcomeBack(room, occupant, stanza.limits, now)


def _asks(room: Room, user: str, nick: str, stanza: Presence, now: float) -> None:
    entry = Entry(
        nick=nick,
        real=user,
        content=stanza.content,
        password=stanza.password,
        limits=stanza.limits,
        id=stanza.id,
    )
    problem = enter(room, entry, None, now)
    if problem is not None:
        refuse(room, nick, user, stanza.id, problem, joining=True)


def astray(room: str, nick: str, user: str) -> ToUsers:
    """
    Tell somebody who believes that he is in that he is not: "with an explicit kick" (section 7.2.17).
    """
    notice = Notice(gone=True, codes=(KICKED, TROUBLE), reason="You are not in the room.")
    shown = Shown(nick=nick, real="", public=False, rank=Rank(NONE, NO_ROLE), content=Content(), notice=notice)
    return ToUsers(room, shown, (escape(user).encode(),), codes=(SELF,))


def asked(room: Room, user: str) -> Pending | None:
    """A local user's join that has no answer yet."""
    each = (one for one in room.pending.values() if one.entry.real == user and one.node is None and not one.gone)
    return next(each, None)


def enter(room: Room, entry: Entry, node: Node | None, now: float) -> type[GatewayError] | None:
    """
    Somebody wants in, from here or through a joining node: "the usual ACL checks as if [he] had joined directly".

    @return: why he may not.
    """
    problem = addressProblem(entry.real) or nickProblem(room, entry.nick) or conflict(room, entry, node)
    if problem is not None:
        return problem
    above = room.above
    if above is not None:
        if len(room.pending) >= room.bounds.pending or len(room.occupants) >= room.bounds.occupants:
            return TooMuch if len(room.pending) >= room.bounds.pending else RoomFull
        if node is None and asked(room, entry.real) is not None:
            return NickIsKept
        if _isInElsewhere(room, entry, node):
            # The node above knows this one alone, and would take him for a user of one that has begun anew.
            return NickIsKept
        ask(room, above, Pending(entry, node, now + 2 * ANSWER), now)
        return None
    created = not (room.occupants or room.affiliations or room.settings.persistent)
    if created:
        # Section 10.1.2: an instant room; who creates it owns it.
        room.affiliations[person(entry.real)] = OWNER
    rank = access(room, entry)
    if not isinstance(rank, Rank):
        return rank
    admit(room, entry, node, rank, now, created)
    return None


def _isInElsewhere(room: Room, entry: Entry, node: Node | None) -> bool:
    """Whether who wants in is in already, by another nick and another way: here, or through another node below."""
    real = entry.real
    if node is not None and real in room.users:
        return True
    ways = (each for each in room.below.values() if each is not node)
    return any(occupant.real == real for each in ways for occupant in each.occupants.values()) or any(
        one.entry.real == real and one.node is not node and not one.gone for one in room.pending.values()
    )


def leave(room: Room, occupant: Occupant, content: Content, now: float, notice: Notice = GONE) -> None:
    """He goes by himself."""
    occupant.content = content
    remove(room, occupant, notice, own=True)
    gone(room, occupant, now)


def _rename(room: Room, occupant: Occupant, nick: str, stanza: Presence, now: float) -> None:
    """
    Another nick (section 7.6). The seed: "nick-changing is not allowed for users connected through a proxy".
    """
    entry = Entry(nick=nick, real=occupant.real)
    problem = NickIsKept if room.above is not None else nickProblem(room, nick) or conflict(room, entry, None)
    if problem is not None:
        refuse(room, nick, occupant.real, stanza.id, problem)
        return
    notice = Notice(gone=True, codes=(NICK_CHANGED,), nick=nick)
    # He stays, so that this says nothing of what he is.
    room.tell(occupant, notice, toOwner=True)
    room.remove(occupant)
    occupant.nick, occupant.content = nick, stanza.content
    room.add(occupant)
    room.tell(occupant, HERE, toOwner=True)


def refuse(
    room: Room, nick: str, user: str, identifier: str | None, why: type[GatewayError], joining: bool = False
) -> None:
    """Tell a local user that his presence is not taken."""
    room.out.append(Refuse("presence", room.address(nick), user, identifier, refusal(why), joining))
