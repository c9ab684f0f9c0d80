"""
The uplink: a mirror's relation with its joined node.

A mirror without downstream occupants has left, and sends nothing. Stanzas between two nodes keep their order, so
both agree when that is: the joined node considers a node left when its last occupant has left, and confirms it by
C{<left/>} (XEP-0289) or by sending the last unavailable presence back (ProtoXEP). Stanzas received before the
confirmation are stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from gateway.errors import NoAnswer, NotThere
from gateway.fmuc.actions import Join, Reject
from gateway.fmuc.nodes import JoinedNode, Pending, UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.actions import SendError
from gateway.muc.leave import close, remove
from gateway.muc.presence import changePresence
from gateway.muc.room import Occupant
from gateway.muc.values import (
    TECHNICAL_PROBLEM,
    UNAVAILABLE,
    HistoryLimits,
    OccupantPresence,
    PresenceChange,
    Standing,
    StanzaError,
    stanzaError,
)

if TYPE_CHECKING:
    from gateway.fmuc.federation import Federation

# Seconds for the answer to a join, and between the parts of that answer; for the rest after the joiner's own
# presence, after each part; for all of it; for the confirmation of a leave.
ANSWER, REST, WHOLE, FAREWELL = 30.0, 5.0, 300.0, 10.0


def requestJoin(federation: Federation, joinedNode: JoinedNode, pending: Pending, now: float) -> None:
    """Handle a user's request to enter: the joined node decides."""
    nick = pending.request.nick
    earlier = federation.pending.pop(nick, None)
    if earlier is not None:
        pending.cancelled = earlier.cancelled + 1
    federation.pending[nick] = pending
    if joinedNode.state is UplinkState.IDLE:
        _sendFirstJoin(federation, joinedNode, pending, now)
    elif joinedNode.state is UplinkState.JOINED:
        _sendJoin(federation, joinedNode, pending, now)


def _awaitFirstJoin(joinedNode: JoinedNode, now: float) -> None:
    """Wait for the answer to a first join."""
    joinedNode.state = UplinkState.JOINING
    joinedNode.deadline, joinedNode.latest = now + ANSWER, now + WHOLE


def extendDeadline(federation: Federation, joinedNode: JoinedNode, now: float) -> None:
    """
    Extend the deadline after a part of the answer was received, up to the limit for all of it. If a joiner's own
    presence was received, the wait for the rest is short.
    """
    isIn = any(pending.standing is not None for pending in federation.pending.values())
    joinedNode.deadline = min(now + (REST if isIn else ANSWER), joinedNode.latest)


def _sendFirstJoin(federation: Federation, joinedNode: JoinedNode, pending: Pending, now: float) -> None:
    _awaitFirstJoin(joinedNode, now)
    joinedNode.replica = joinedNode.mirrors = joinedNode.wanted
    joinedNode.agrees = False
    joinedNode.parting = ""
    pending.sent = True
    federation.toNode(joinedNode, Join(pending.request, joinedNode.replica))


def _sendJoin(federation: Federation, joinedNode: JoinedNode, pending: Pending, now: float) -> None:
    """Send a join after the first; it needs no history from the joined node."""
    pending.sent = True
    pending.deadline = now + ANSWER
    federation.toNode(joinedNode, Join(evolve(pending.request, limits=HistoryLimits()), joinedNode.replica))
    if not joinedNode.echoes:
        # Nothing is received but a rejection, perhaps. XEP-0289 section 9: "Node with local user can then send an
        # error message about the collision and kick them".
        del federation.pending[pending.request.nick]
        federation.admit(pending.request, pending.node, pending.request.claimedStanding, now)


def admitPending(federation: Federation, pending: Pending, now: float) -> None:
    """Admit a user whom the joined node has admitted."""
    del federation.pending[pending.request.nick]
    other = federation.room.occupants.get(pending.request.nick)
    if other is not None:
        # The joined node's presence is about one of the two only.
        remove(federation.room, other, UNAVAILABLE)
    if pending.withdrawn:
        return
    # A joining node in primary mode has shown the new presence already.
    request = pending.request if pending.newPayload is None else evolve(pending.request, payload=pending.newPayload)
    occupant = federation.admit(request, pending.node, pending.standing or Standing(), now)
    if pending.newPayload is not None:
        changePresence(federation.room, occupant, pending.newPayload, now)


def complete(federation: Federation, joinedNode: JoinedNode, now: float) -> None:
    """Handle the end of all that the first join brings."""
    joinedNode.state = UplinkState.JOINED
    if joinedNode.dialect is Dialect.XEP_0289 and not joinedNode.agrees:
        # It knows primary mode only: "they won't distribute the stanza back to the node from which they received
        # it".
        joinedNode.replica = joinedNode.mirrors = False
        if joinedNode.wanted:
            federation.room.log(
                f"{joinedNode.jid} sends nothing back: messages are shown at once, as in primary mode", warn=True
            )
    federation.room.log(f"mirrors {joinedNode.jid}")
    for pending in list(federation.pending.values()):
        # The joined node's occupant keeps the nick until it leaves or our join is rejected.
        isHeld = pending.request.nick in federation.room.occupants
        if pending.sent and (pending.standing is not None or not (joinedNode.echoes or isHeld)):
            admitPending(federation, pending, now)
    for nick, pending in list(federation.pending.items()):
        if federation.pending.get(nick) is pending and not pending.sent and not pending.withdrawn:
            _sendJoin(federation, joinedNode, pending, now)
    leaveIfEmpty(federation, joinedNode, now)


def withdraw(federation: Federation, joinedNode: JoinedNode, pending: Pending, now: float) -> None:
    """Withdraw a pending join, because the user has left."""
    nick = pending.request.nick
    if pending.sent or pending.cancelled:
        pending.withdrawn = True
    else:
        del federation.pending[nick]
    if pending.sent:
        _sendUnavailable(federation, joinedNode, _unavailable(pending))
    leaveIfEmpty(federation, joinedNode, now)
    node = pending.node
    if node is not None:
        # The joining node may wait for two answers: that to the join, and its own unavailable presence.
        if node.echoes or not node.joined:
            federation.toNode(node, Reject(nick, pending.request.realJid, stanzaError(NotThere)))
        if node.echoes:
            federation.toNode(node, _unavailable(pending))
        federation.release(node)


def _unavailable(pending: Pending) -> OccupantPresence:
    request = pending.request
    occupant = Occupant(request.nick, request.realJid, Standing(), request.payload, False)
    return occupant.presence(UNAVAILABLE)


def _sendUnavailable(federation: Federation, joinedNode: JoinedNode, presence: OccupantPresence) -> None:
    joinedNode.parting = presence.nick
    federation.toNode(joinedNode, presence)


def occupantLeft(federation: Federation, occupant: Occupant, now: float, tell: bool = True) -> None:
    """
    Handle the removal of a downstream occupant.

    @param tell: True if the joined node must be told.
    """
    joinedNode = federation.joinedNode
    if joinedNode is None or joinedNode.state in (UplinkState.IDLE, UplinkState.LEAVING):
        return
    if tell:
        if joinedNode.echoes and len(joinedNode.parted) < federation.room.bounds.occupants:
            joinedNode.parted[occupant.nick] = occupant.node
        _sendUnavailable(federation, joinedNode, occupant.presence(UNAVAILABLE))
    leaveIfEmpty(federation, joinedNode, now, told=tell)


def leaveIfEmpty(federation: Federation, joinedNode: JoinedNode, now: float, told: bool = True) -> None:
    """
    Leave if there are no downstream occupants.

    @param told: False if the joined node removed the last occupant itself and so knows it.
    """
    if federation.downstreamCount or joinedNode.state not in (UplinkState.JOINING, UplinkState.JOINED):
        return
    if joinedNode.dialect is Dialect.XEP_0289 or joinedNode.parting:
        # XEP-0289 has an element for it, which is sent in any case. In the ProtoXEP an occupant who left before
        # counts at the joined node until the unavailable presence has come back.
        told = True
    wanted = [pending for pending in federation.pending.values() if pending.sent and not pending.withdrawn]
    if wanted and told:
        return
    wasJoining = joinedNode.state is UplinkState.JOINING
    for nick, pending in list(federation.pending.items()):
        if pending.sent and pending.withdrawn:
            del federation.pending[nick]
    _discardState(federation, joinedNode)
    if wanted:
        # The joined node considered this node left when it removed the last occupant; joins in flight count as a
        # first join.
        _awaitFirstJoin(joinedNode, now)
        return
    awaits = bool(joinedNode.parting) if joinedNode.dialect is Dialect.PROTOXEP or wasJoining else True
    if told and awaits:
        joinedNode.state = UplinkState.LEAVING
        joinedNode.fresh = wasJoining
        joinedNode.deadline = now + FAREWELL
    else:
        becomeIdle(federation, joinedNode, now)


def becomeIdle(federation: Federation, joinedNode: JoinedNode, now: float) -> None:
    """Complete a leave. If joins are waiting, the first of them is sent."""
    if joinedNode.state in (UplinkState.JOINED, UplinkState.LEAVING) and not joinedNode.fresh:
        federation.room.log(f"has left {joinedNode.jid}")
    joinedNode.fresh = False
    joinedNode.state = UplinkState.IDLE
    joinedNode.parting = ""
    waiting = next(
        (pending for pending in federation.pending.values() if not pending.sent and not pending.withdrawn), None
    )
    if waiting is not None:
        _sendFirstJoin(federation, joinedNode, waiting, now)


def _discardState(federation: Federation, joinedNode: JoinedNode) -> None:
    """Drop all that is known from the joined node: it is stale."""
    for occupant in list(joinedNode.occupants.values()):
        federation.room.remove(occupant)
    joinedNode.parted.clear()
    federation.room.history.clear()
    federation.room.subject = None


def rejectPending(federation: Federation, pending: Pending, why: StanzaError) -> None:
    """Reject a pending join."""
    request = pending.request
    del federation.pending[request.nick]
    if pending.withdrawn:
        return
    if pending.node is None:
        federation.room.emit(
            SendError(
                "presence", f"{federation.room.jid}/{request.nick}", request.realJid, request.id, why, isJoin=True
            )
        )
    else:
        federation.toNode(pending.node, Reject(request.nick, request.realJid, why))
        federation.release(pending.node)


def confirmedLeft(federation: Federation, joinedNode: JoinedNode, now: float) -> None:
    """
    Handle the joined node's confirmation that this node has left (XEP-0289 section 6.4).

    If joins are in flight, the joined node considered this node left before it received them, and admits it again.
    """
    if joinedNode.state is UplinkState.LEAVING:
        becomeIdle(federation, joinedNode, now)
    elif joinedNode.state is UplinkState.JOINED:
        for occupant in list(joinedNode.occupants.values()):
            remove(federation.room, occupant, UNAVAILABLE)
        federation.room.history.clear()
        if federation.downstreamCount or any(pending.sent for pending in federation.pending.values()):
            _awaitFirstJoin(joinedNode, now)
        else:
            becomeIdle(federation, joinedNode, now)


def leaveNow(federation: Federation, joinedNode: JoinedNode, why: StanzaError) -> None:
    """
    Remove all downstream occupants from the joined node at once; no answer is awaited.

    @param why: error for the pending joins.
    """
    isIn = joinedNode.state in (UplinkState.JOINING, UplinkState.JOINED)
    for occupant in federation.room.occupants.values():
        if isIn and federation.isDownstream(occupant):
            federation.toNode(joinedNode, occupant.presence(UNAVAILABLE))
    for pending in list(federation.pending.values()):
        if isIn and pending.sent and not pending.withdrawn:
            federation.toNode(joinedNode, _unavailable(pending))
        rejectPending(federation, pending, why)


def removeEveryone(federation: Federation, change: PresenceChange, now: float) -> None:
    """Remove all occupants: nobody can be in the room through this node any longer."""
    joinedNode = federation.joinedNode
    assert joinedNode is not None
    why = "was destroyed" if change.destroyed else "cannot be reached or does not know this mirror any longer"
    federation.room.log(f"{joinedNode.jid} {why}: all occupants are removed", warn=not change.destroyed)
    for pending in list(federation.pending.values()):
        rejectPending(federation, pending, stanzaError(NotThere))
    close(federation.room, change)
    _discardState(federation, joinedNode)
    becomeIdle(federation, joinedNode, now)


def expire(federation: Federation, joinedNode: JoinedNode, now: float) -> None:
    """Handle deadlines that have passed."""
    if joinedNode.state is UplinkState.LEAVING and joinedNode.deadline <= now:
        becomeIdle(federation, joinedNode, now)
    elif joinedNode.state is UplinkState.JOINING and joinedNode.deadline <= now:
        _joinExpired(federation, joinedNode, now)
    late = [
        pending
        for pending in federation.pending.values()
        if pending.deadline <= now and (not pending.sent or joinedNode.state is UplinkState.JOINED)
    ]
    for pending in late:
        _overdue(federation, joinedNode, pending)
    if late:
        leaveIfEmpty(federation, joinedNode, now)


def _joinExpired(federation: Federation, joinedNode: JoinedNode, now: float) -> None:
    if any(pending.standing is not None for pending in federation.pending.values()):
        # Old rooms need not send a subject; then everything has been received.
        complete(federation, joinedNode, now)
        return
    for pending in list(federation.pending.values()):
        if pending.sent:
            _overdue(federation, joinedNode, pending)
    if federation.downstreamCount:
        removeEveryone(federation, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)), now)
    else:
        leaveIfEmpty(federation, joinedNode, now)


def _overdue(federation: Federation, joinedNode: JoinedNode, pending: Pending) -> None:
    if pending.sent and not pending.withdrawn:
        federation.room.log(f"{joinedNode.jid} has not answered", warn=True)
        # The join may still be admitted.
        _sendUnavailable(federation, joinedNode, _unavailable(pending))
    rejectPending(federation, pending, stanzaError(NoAnswer))
