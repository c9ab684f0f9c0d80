"""
What comes from the node above.
"""

from __future__ import annotations

from attrs import evolve

from gateway import jids
from gateway.errors import NickInUse, NotInTheRoom, NotThere
from gateway.fmuc import private_messages
from gateway.fmuc.actions import Refuse
from gateway.fmuc.leave import remove
from gateway.fmuc.room import Above, Node, Occupant, Room, State
from gateway.fmuc.uplink import complete, expel, fail, farewell, gone, idle, letIn, more, out, settle
from gateway.fmuc.values import (
    BANNED,
    GONE,
    HERE,
    KICKED,
    MEMBERS_ONLY_NOW,
    NO_ROLE,
    NOT_A_MEMBER,
    SHUTDOWN,
    TROUBLE,
    UNDELIVERED,
    Delay,
    Dialect,
    Message,
    Notice,
    Presence,
    Rank,
    Refusal,
    Said,
    refusal,
)

# Why somebody is gone who has not left.
_THROWN_OUT = frozenset((BANNED, KICKED, NOT_A_MEMBER, MEMBERS_ONLY_NOW, SHUTDOWN))


def presence(room: Room, above: Above, sender: str, recipient: str, stanza: Presence, now: float) -> None:
    """
    A presence stanza from the node above.

    @param sender: the resource that it is from: a nick, as a rule.
    @param recipient: the resource that it is to.
    """
    fmuc = stanza.fmuc
    if stanza.refusal is not None:
        # The seed sends it "to the full MUC JID of the user on the slave"; what was sent to a node and cannot be
        # delivered comes back from the nick that it was sent to.
        rejected(room, above, recipient or sender, stanza.refusal, now)
    elif fmuc is not None and fmuc.reject is not None:
        why = Refusal("cancel", "not-allowed", fmuc.reject)
        # XEP-0289 sends it to the bare JID, Openfire to the full one.
        rejected(room, above, recipient or sender, why, now)
    elif fmuc is not None and fmuc.left:
        out(room, above, now)
    elif above.state is State.LEAVING:
        if stanza.gone and above.dialect is Dialect.PROTOXEP and sender == above.parting:
            idle(room, above, now)
    elif not sender or above.state is State.IDLE:
        return
    elif stanza.gone:
        _gone(room, above, sender, stanza, now)
    else:
        _shown(room, above, sender, stanza, now)
        if above.state is State.JOINING:
            more(room, above, now)


def _real(above: Above, stanza: Presence) -> tuple[str, bool]:
    """
    Whose presence it is, and whether every occupant may know it.

    Openfire has the occupant's JID in the item, which is nobody's real one.
    """
    jid = stanza.jid if jids.bare(stanza.jid) != above.jid else ""
    real = stanza.fmuc.real if stanza.fmuc is not None else ""
    return real or jid, bool(jid)


def _shown(room: Room, above: Above, nick: str, stanza: Presence, now: float) -> None:
    real, public = _real(above, stanza)
    rank = stanza.item or Rank()
    if public:
        # What the room above shows to everybody is no secret here.
        room.settings.public = True
    pending = room.pending.get(nick)
    if pending is not None:
        if pending.sent and _isOf(pending.entry.real, real, stanza):
            _confirmed(room, above, nick, rank, stanza.fmuc is not None and stanza.fmuc.replica, now)
            return
        # Somebody else was there first: who is known above has the nick. A join that was sent has its answer yet to
        # come: he may have gone before it arrived.
        if not pending.sent and not pending.gone:
            fail(room, pending, refusal(NickInUse))
    occupant = room.occupants.get(nick)
    if occupant is not None and room.isOurs(occupant):
        if _isOf(occupant.real, real, stanza):
            occupant.changing = max(0, occupant.changing - 1)
            _update(room, occupant, rank, stanza)
            return
        # Section 9: "Node with local user can then send an error message about the collision and kick them".
        _expelled(room, occupant, refusal(NickInUse), now)
        occupant = None
        if above.state not in (State.JOINING, State.JOINED):
            return
    if occupant is None:
        if len(room.occupants) >= room.bounds.occupants:
            return
        occupant = Occupant(nick, real, rank, stanza.content, public, above)
        room.add(occupant)
        room.tell(occupant, _why(stanza), toOwner=True)
    else:
        occupant.real, occupant.public = real or occupant.real, public
        _update(room, occupant, rank, stanza)


def _isOf(own: str, real: str, stanza: Presence) -> bool:
    """
    Whether a presence is that of one of ours, whose JID is C{own}.

    XEP-0289: "the fmuc element is always added", and of ours the node above knows the JID. The seed has none.
    """
    return real == own or (not real and stanza.fmuc is None)


def _confirmed(room: Room, above: Above, nick: str, rank: Rank, agrees: bool, now: float) -> None:
    pending = room.pending[nick]
    above.agrees = above.agrees or agrees
    if pending.cancelled:
        pending.cancelled -= 1
    elif above.state is State.JOINING:
        pending.rank = rank
    elif pending.gone:
        del room.pending[nick]
        settle(room, above, now)
    else:
        pending.rank = rank
        letIn(room, pending, now)


def _update(room: Room, occupant: Occupant, rank: Rank, stanza: Presence) -> None:
    """A new status, role or affiliation."""
    # "Role change should be distributed across nodes and fanned out to users, but only cosmetically".
    news = rank != occupant.rank
    above = room.above
    if above is None or above.echoes or not room.isOurs(occupant):
        occupant.content = stanza.content
    elif not news:
        # What ours show is known here first, and shown already.
        return
    occupant.rank = rank
    node = occupant.node
    room.tell(occupant, _why(stanza), toOwner=news or (node is not None and node.echoes))


def _why(stanza: Presence) -> Notice:
    """Of somebody who is there it is told who has changed his standing; codes and new nicks are for who goes."""
    return Notice(reason=stanza.notice.reason, actor=stanza.notice.actor)


def _expelled(room: Room, occupant: Occupant, why: Refusal, now: float) -> None:
    """One of ours was let in, and may not be."""
    remove(room, occupant, Notice(gone=True, codes=(KICKED,), reason=why.text or why.condition))
    if occupant.node is None:
        room.out.append(Refuse("presence", f"{room.jid}/{occupant.nick}", occupant.real, None, why, joining=True))
    gone(room, occupant, now)


def _gone(room: Room, above: Above, nick: str, stanza: Presence, now: float) -> None:
    above.parted.pop(nick, None)
    if nick == above.parting:
        above.parting = ""
        isThrownOut = set(stanza.notice.codes) & _THROWN_OUT
        isAlone = above.state is State.JOINED and not room.ours and not above.parted
        if above.dialect is Dialect.PROTOXEP and isThrownOut and isAlone:
            # It has not heard yet that he has left, and by its own doing nobody of ours is in there: the seed has
            # no other word for that. Ours on their way there will find us out.
            out(room, above, now)
            return
    notice = evolve(stanza.notice, gone=True)
    if notice.destroyed:
        # XEP-0045 section 10.9: everybody is told so in his own name.
        expel(room, notice, now)
        return
    occupant = room.occupants.get(nick)
    if occupant is None:
        return
    occupant.content = stanza.content
    if stanza.item is not None:
        occupant.rank = Rank(stanza.item.affiliation, NO_ROLE)
    ours = room.isOurs(occupant)
    if ours and not set(notice.codes) & _THROWN_OUT:
        # Ours leave when they say so, and keep their nicks: in the seed it may have been another's presence, with
        # the nick that one of ours was asking for.
        notice = Notice(gone=True, codes=(TROUBLE,))
    remove(room, occupant, notice)
    pending = room.pending.get(nick)
    if pending is not None and pending.sent and not above.echoes and above.state is State.JOINED:
        # It was his nick that kept one of ours out.
        letIn(room, pending, now)
    if ours:
        # "When an FMUC node receives notice that one of their users has been kicked by a moderator on another node
        # it SHOULD kick the user and fan-out the consequent presence stanzas". What he has sent meanwhile may let
        # him in again there: another join, where these are not answered, or a change, which looks like one.
        tell = not above.echoes or occupant.changing > 0 or TROUBLE in notice.codes
        if not tell and above.dialect is Dialect.PROTOXEP:
            # It costs one stanza to be sure, and nothing comes back if it was he indeed.
            room.toNode(above, occupant.shown(GONE))
        gone(room, occupant, now, tell=tell)


def rejected(room: Room, above: Above, nick: str, why: Refusal, now: float) -> None:
    """
    A join, or a change of presence, is refused.

    @param nick: empty where the refusal names nobody: it is for the join that has waited longest.
    """
    if above.state is State.LEAVING:
        if above.fresh and nick in ("", above.parting):
            idle(room, above, now)
        return
    if above.state is State.IDLE:
        return
    if not nick:
        nick = next((each for each, pending in room.pending.items() if pending.sent), "")
    pending = room.pending.get(nick)
    if pending is not None and pending.sent:
        if pending.cancelled:
            pending.cancelled -= 1
            return
        room.note(f"{above.jid} refuses {pending.entry.real}: {why.text or why.condition}", warn=True)
        fail(room, pending, why)
        settle(room, above, now)
        return
    occupant = room.occupants.get(nick)
    if occupant is None or not room.isOurs(occupant):
        return
    if above.dialect is Dialect.PROTOXEP:
        _takenBack(room, above, occupant, why, now)
    else:
        _expelled(room, occupant, why, now)


def _takenBack(room: Room, above: Above, occupant: Occupant, why: Refusal, now: float) -> None:
    """
    In the seed nothing tells whose presence it was that was taken for a join's answer: it was another's, who is
    known above by that nick and stays.
    """
    _expelled(room, occupant, why, now)
    if above.state is State.JOINED and occupant.nick not in room.occupants:
        other = Occupant(occupant.nick, "", occupant.rank, occupant.content, False, above)
        room.add(other)
        room.tell(other, HERE, toOwner=True)


def message(room: Room, above: Above, sender: str, recipient: str, stanza: Message, now: float) -> None:
    """A message from the node above."""
    if above.state in (State.IDLE, State.LEAVING):
        return
    if stanza.kind == "error":
        _bounced(room, above, sender, recipient, stanza, now)
        return
    if recipient and stanza.kind != "groupchat":
        private_messages.fromNode(room, above, sender, recipient, stanza)
        return
    if stanza.kind != "groupchat":
        return
    occupant = room.occupants.get(sender)
    real = stanza.fmuc.real if stanza.fmuc is not None and stanza.fmuc.real else ""
    if not real and occupant is not None:
        real = occupant.real
    said = Said(
        nick=sender,
        real=real,
        content=stanza.content,
        id=stanza.id,
        subject=stanza.subject,
        lasting=stanza.lasting,
        delay=stanza.delay,
    )
    if above.state is State.JOINING:
        more(room, above, now)
        _contextReceived(room, above, said, None if occupant is None else occupant.node, now)
        return
    if said.delay is not None and jids.bare(said.delay.by) == above.jid:
        # What was said before was asked for once; but the link may have been slow.
        if said.subject:
            _subjectReceived(room, _ofHere(room, said))
        return
    origin = above.parted.get(sender) if occupant is None else occupant.node
    if occupant is not None and room.isOurs(occupant) and not above.mirrors:
        if stanza.fmuc is not None and real == occupant.real:
            # Shown already.
            return
        # The seed does not say whose it is, but there what is ours "MUST NOT" come back: another had the nick.
        origin = None
    spread(room, evolve(said, delay=None), origin, now)


def _contextReceived(room: Room, above: Above, said: Said, origin: Node | None, now: float) -> None:
    """
    What a join brings after the occupants: history, and the subject, with which it is complete.

    XEP-0289 section 6.1: "adding the history to the room's history [...] and changing the subject", and nothing
    of it goes back.
    """
    said = _ofHere(room, said)
    if said.subject:
        _subjectReceived(room, said)
        complete(room, above, now)
    elif said.delay is not None:
        room.history.add(said)
    else:
        spread(room, said, origin, now)


def _ofHere(room: Room, said: Said) -> Said:
    """XEP-0045 sections 7.2.13 and 7.2.15: "from" is "the JID of the room itself", and here that is this one."""
    return said if said.delay is None else evolve(said, delay=Delay(room.jid, said.delay.stamp))


def _subjectReceived(room: Room, said: Said) -> None:
    known, room.subject = room.subject, said
    if known is None or known.content != said.content:
        room.say(said, None)


def spread(room: Room, said: Said, origin: Node | None, now: float) -> None:
    """A message to everybody here, and into what is kept."""
    room.say(said, origin)
    kept = evolve(said, delay=room.stamp(now))
    if said.subject:
        room.subject = kept
    elif said.lasting:
        room.history.add(kept)


def _bounced(room: Room, above: Above, sender: str, nick: str, stanza: Message, now: float) -> None:
    """
    The node above does not take a message of one of ours: he is told. If that is because we are not in there any
    more, he and the others are out: what they see is not the room.
    """
    occupant = room.occupants.get(nick)
    if occupant is None or not room.isOurs(occupant) or stanza.refusal is None:
        return
    to = occupant.real if occupant.node is None else f"{occupant.node.jid}/{nick}"
    room.out.append(Refuse("message", room.address(sender), to, stanza.id, stanza.refusal))
    if sender:
        # It was for one occupant.
        return
    if stanza.refusal.condition in UNDELIVERED:
        farewell(room, above, refusal(NotThere))
        expel(room, Notice(gone=True, codes=(TROUBLE,)), now)
    elif stanza.refusal.condition == refusal(NotInTheRoom).condition:
        remove(room, occupant, Notice(gone=True, codes=(TROUBLE,)))
        gone(room, occupant, now)
