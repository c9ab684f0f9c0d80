"""
How a mirror stands with the node above: when it joins, when it leaves, what it waits for.

A room that nobody is in through this node is out, and sends nothing. Stanzas between two nodes keep their order,
so both agree on when that is: the joined node counts a node out when its last occupant has left, and says so,
by C{<left/>} (XEP-0289) or by sending the last C{unavailable} back (the seed). What came before is old.
"""

from __future__ import annotations

from attrs import evolve

from gateway.errors import NoAnswer, NotThere
from gateway.fmuc.actions import Joining, Refuse, Rejected
from gateway.fmuc.join import admit
from gateway.fmuc.leave import close, release, remove
from gateway.fmuc.room import Above, Occupant, Pending, Room, State
from gateway.fmuc.values import GONE, HERE, TROUBLE, Content, Dialect, Limits, Notice, Rank, Refusal, Shown, refusal

# Seconds for the answer to a join, and between the pieces of it; for the rest of what a join brings, after each
# piece of that, and for all; for the word that we are out.
ANSWER, REST, WHOLE, FAREWELL = 30.0, 5.0, 300.0, 10.0


def ask(room: Room, above: Above, pending: Pending, now: float) -> None:
    """Somebody wants in: the node above decides."""
    nick = pending.entry.nick
    earlier = room.pending.pop(nick, None)
    if earlier is not None:
        pending.cancelled = earlier.cancelled + 1
    room.pending[nick] = pending
    if above.state is State.IDLE:
        _begin(room, above, pending, now)
    elif above.state is State.JOINED:
        _send(room, above, pending, now)


def _await(above: Above, now: float) -> None:
    """A first join is under way."""
    above.state = State.JOINING
    above.deadline, above.latest = now + ANSWER, now + WHOLE


def more(room: Room, above: Above, now: float) -> None:
    """
    A piece of what it brings has come; it may go on, but not for ever. Who has been shown himself waits only for
    what else there is.
    """
    isIn = any(pending.rank is not None for pending in room.pending.values())
    above.deadline = min(now + (REST if isIn else ANSWER), above.latest)


def _begin(room: Room, above: Above, pending: Pending, now: float) -> None:
    _await(above, now)
    above.replica = above.mirrors = above.wanted
    above.agrees = False
    above.parting = ""
    pending.sent = True
    room.toNode(above, Joining(pending.entry, above.replica))


def _send(room: Room, above: Above, pending: Pending, now: float) -> None:
    """One more, who needs no history from above: it is here."""
    pending.sent = True
    pending.deadline = now + ANSWER
    room.toNode(above, Joining(evolve(pending.entry, limits=Limits()), above.replica))
    if not above.echoes:
        # Nothing will come but a refusal, perhaps: XEP-0289 section 9, "Node with local user can then send an error
        # message about the collision and kick them".
        del room.pending[pending.entry.nick]
        admit(room, pending.entry, pending.node, pending.entry.claimed, now)


def change(room: Room, occupant: Occupant, content: Content, now: float) -> None:
    """He shows something else."""
    above = room.above
    if above is not None:
        shown = evolve(occupant.shown(HERE), content=content)
        room.toNode(above, shown)
        if above.echoes:
            occupant.changing += 1
            return
    occupant.content = content
    room.tell(occupant, HERE, toOwner=occupant.node is not None and occupant.node.echoes)


def letIn(room: Room, pending: Pending, now: float) -> None:
    """The node above has."""
    del room.pending[pending.entry.nick]
    other = room.occupants.get(pending.entry.nick)
    if other is not None:
        # It says so of one of them only.
        remove(room, other, GONE)
    if pending.gone:
        return
    # A node that has let him in at once knows what he shows now.
    entry = pending.entry if pending.news is None else evolve(pending.entry, content=pending.news)
    occupant = admit(room, entry, pending.node, pending.rank or Rank(), now)
    if pending.news is not None:
        change(room, occupant, pending.news, now)


def complete(room: Room, above: Above, now: float) -> None:
    """All that the first join brings has come."""
    above.state = State.JOINED
    if above.dialect is Dialect.XEP_0289 and not above.agrees:
        # It knows one mode only: "they won't distribute the stanza back to the node from which they received it".
        above.replica = above.mirrors = False
        if above.wanted:
            room.note(f"{above.jid} sends nothing back: messages are shown at once, as in primary mode", warn=True)
    room.note(f"mirrors {above.jid}")
    for pending in list(room.pending.values()):
        # Who is known by that nick there has it, until he goes or ours is refused.
        isHeld = pending.entry.nick in room.occupants
        if pending.sent and (pending.rank is not None or not (above.echoes or isHeld)):
            letIn(room, pending, now)
    for nick, pending in list(room.pending.items()):
        if room.pending.get(nick) is pending and not pending.sent and not pending.gone:
            _send(room, above, pending, now)
    settle(room, above, now)


def cancel(room: Room, above: Above, pending: Pending, now: float) -> None:
    """Who had asked wants in no more."""
    nick = pending.entry.nick
    if pending.sent or pending.cancelled:
        pending.gone = True
    else:
        del room.pending[nick]
    if pending.sent:
        _sayGone(room, above, _shownGone(pending))
    settle(room, above, now)
    node = pending.node
    if node is not None:
        # It may wait for two things: an answer to the join, and its own word of leaving.
        if node.echoes or not node.joined:
            room.toNode(node, Rejected(nick, pending.entry.real, refusal(NotThere)))
        if node.echoes:
            room.toNode(node, _shownGone(pending))
        release(room, node)


def _shownGone(pending: Pending) -> Shown:
    entry = pending.entry
    occupant = Occupant(entry.nick, entry.real, Rank(), entry.content, False)
    return occupant.shown(GONE)


def _sayGone(room: Room, above: Above, shown: Shown) -> None:
    above.parting = shown.nick
    room.toNode(above, shown)


def gone(room: Room, occupant: Occupant, now: float, tell: bool = True) -> None:
    """
    One of ours is in no more.

    @param tell: whether the node above has to be told.
    """
    above = room.above
    if above is None or above.state in (State.IDLE, State.LEAVING):
        return
    if tell:
        if above.echoes and len(above.parted) < room.bounds.occupants:
            above.parted[occupant.nick] = occupant.node
        _sayGone(room, above, occupant.shown(GONE))
    settle(room, above, now, told=tell)


def settle(room: Room, above: Above, now: float, told: bool = True) -> None:
    """
    Leave, if nobody is in any more through this node.

    @param told: whether the node above does not know it already, for it was its own doing.
    """
    if room.ours or above.state not in (State.JOINING, State.JOINED):
        return
    if above.dialect is Dialect.XEP_0289 or above.parting:
        # XEP-0289 has a word for it, which comes in any case. In the seed, who left before is in there until that
        # has come back.
        told = True
    wanted = [pending for pending in room.pending.values() if pending.sent and not pending.gone]
    if wanted and told:
        return
    wasJoining = above.state is State.JOINING
    for nick, pending in list(room.pending.items()):
        if pending.sent and pending.gone:
            del room.pending[nick]
    _forget(room, above)
    if wanted:
        # It has counted us out when the last of ours was thrown out, and what is on its way is a first join to it.
        _await(above, now)
        return
    awaits = bool(above.parting) if above.dialect is Dialect.PROTOXEP or wasJoining else True
    if told and awaits:
        above.state = State.LEAVING
        above.fresh = wasJoining
        above.deadline = now + FAREWELL
    else:
        idle(room, above, now)


def idle(room: Room, above: Above, now: float) -> None:
    """We are out; those that have waited for it may begin anew."""
    if above.state in (State.JOINED, State.LEAVING) and not above.fresh:
        room.note(f"has left {above.jid}")
    above.fresh = False
    above.state = State.IDLE
    above.parting = ""
    waiting = next((pending for pending in room.pending.values() if not pending.sent and not pending.gone), None)
    if waiting is not None:
        _begin(room, above, waiting, now)


def _forget(room: Room, above: Above) -> None:
    """What is known from above is out of date."""
    for occupant in list(above.occupants.values()):
        room.remove(occupant)
    above.parted.clear()
    room.history.clear()
    room.subject = None


def fail(room: Room, pending: Pending, why: Refusal) -> None:
    """Somebody may not be in."""
    entry = pending.entry
    del room.pending[entry.nick]
    if pending.gone:
        return
    if pending.node is None:
        room.out.append(Refuse("presence", f"{room.jid}/{entry.nick}", entry.real, entry.id, why, joining=True))
    else:
        room.toNode(pending.node, Rejected(entry.nick, entry.real, why))
        release(room, pending.node)


def out(room: Room, above: Above, now: float) -> None:
    """
    The node above says that we are out (XEP-0289 section 6.4).

    Where ours are on their way to it, it has counted us out for those before, and will have us in again.
    """
    if above.state is State.LEAVING:
        idle(room, above, now)
    elif above.state is State.JOINED:
        for occupant in list(above.occupants.values()):
            remove(room, occupant, GONE)
        room.history.clear()
        if room.ours or any(pending.sent for pending in room.pending.values()):
            _await(above, now)
        else:
            idle(room, above, now)


def farewell(room: Room, above: Above, why: Refusal) -> None:
    """
    All of ours are out at once; nobody waits for what comes of it.

    @param why: those who wait will not be in.
    """
    isIn = above.state in (State.JOINING, State.JOINED)
    for occupant in room.occupants.values():
        if isIn and room.isOurs(occupant):
            room.toNode(above, occupant.shown(GONE))
    for pending in list(room.pending.values()):
        if isIn and pending.sent and not pending.gone:
            room.toNode(above, _shownGone(pending))
        fail(room, pending, why)


def expel(room: Room, notice: Notice, now: float) -> None:
    """Nobody can be in through this node any more."""
    above = room.above
    assert above is not None
    why = "is no more" if notice.destroyed else "cannot be reached, or knows nothing of this mirror"
    room.note(f"{above.jid} {why}: all are out", warn=not notice.destroyed)
    for pending in list(room.pending.values()):
        fail(room, pending, refusal(NotThere))
    close(room, notice)
    _forget(room, above)
    idle(room, above, now)


def expire(room: Room, above: Above, now: float) -> None:
    """End what is overdue."""
    if above.state is State.LEAVING and above.deadline <= now:
        idle(room, above, now)
    elif above.state is State.JOINING and above.deadline <= now:
        _joinExpired(room, above, now)
    late = [
        pending
        for pending in room.pending.values()
        if pending.deadline <= now and (not pending.sent or above.state is State.JOINED)
    ]
    for pending in late:
        _overdue(room, above, pending)
    if late:
        settle(room, above, now)


def _joinExpired(room: Room, above: Above, now: float) -> None:
    if any(pending.rank is not None for pending in room.pending.values()):
        # A room that sends no subject, as older ones need not, has sent all it had.
        complete(room, above, now)
        return
    for pending in list(room.pending.values()):
        if pending.sent:
            _overdue(room, above, pending)
    if room.ours:
        expel(room, Notice(gone=True, codes=(TROUBLE,)), now)
    else:
        settle(room, above, now)


def _overdue(room: Room, above: Above, pending: Pending) -> None:
    if pending.sent and not pending.gone:
        room.note(f"{above.jid} has not answered", warn=True)
        # It may be let in yet.
        _sayGone(room, above, _shownGone(pending))
    fail(room, pending, refusal(NoAnswer))
