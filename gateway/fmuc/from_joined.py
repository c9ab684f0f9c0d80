"""
What comes from the node above.
"""

from __future__ import annotations

from attrs import evolve

from gateway import jids
from gateway.errors import NickInUse, NotInTheRoom, NotThere
from gateway.fmuc import private_messages
from gateway.fmuc.actions import SendError
from gateway.fmuc.leave import remove
from gateway.fmuc.room import JoinedNode, Node, Occupant, Room, UplinkState
from gateway.fmuc.uplink import (
    admitPending,
    becomeIdle,
    complete,
    confirmedLeft,
    extendDeadline,
    leaveIfEmpty,
    leaveNow,
    occupantLeft,
    rejectPending,
    removeEveryone,
)
from gateway.fmuc.values import (
    AVAILABLE,
    BANNED,
    DELIVERY_ERRORS,
    KICKED,
    MEMBERS_ONLY_NOW,
    NO_ROLE,
    NOT_A_MEMBER,
    SERVICE_SHUTDOWN,
    TECHNICAL_PROBLEM,
    UNAVAILABLE,
    Delay,
    Dialect,
    Message,
    Presence,
    PresenceChange,
    RoomMessage,
    Standing,
    StanzaError,
    stanzaError,
)

# Why somebody is gone who has not left.
_THROWN_OUT = frozenset((BANNED, KICKED, NOT_A_MEMBER, MEMBERS_ONLY_NOW, SERVICE_SHUTDOWN))


def presence(room: Room, joinedNode: JoinedNode, sender: str, recipient: str, stanza: Presence, now: float) -> None:
    """
    A presence stanza from the node above.

    @param sender: the resource that it is from: a nick, as a rule.
    @param recipient: the resource that it is to.
    """
    fmuc = stanza.fmuc
    if stanza.stanzaError is not None:
        # The seed sends it "to the full MUC JID of the user on the slave"; what was sent to a node and cannot be
        # delivered comes back from the nick that it was sent to.
        onReject(room, joinedNode, recipient or sender, stanza.stanzaError, now)
    elif fmuc is not None and fmuc.reject is not None:
        why = StanzaError("cancel", "not-allowed", fmuc.reject)
        # XEP-0289 sends it to the bare JID, Openfire to the full one.
        onReject(room, joinedNode, recipient or sender, why, now)
    elif fmuc is not None and fmuc.left:
        confirmedLeft(room, joinedNode, now)
    elif joinedNode.state is UplinkState.LEAVING:
        if stanza.unavailable and joinedNode.dialect is Dialect.PROTOXEP and sender == joinedNode.parting:
            becomeIdle(room, joinedNode, now)
    elif not sender or joinedNode.state is UplinkState.IDLE:
        return
    elif stanza.unavailable:
        _gone(room, joinedNode, sender, stanza, now)
    else:
        _shown(room, joinedNode, sender, stanza, now)
        if joinedNode.state is UplinkState.JOINING:
            extendDeadline(room, joinedNode, now)


def _real(joinedNode: JoinedNode, stanza: Presence) -> tuple[str, bool]:
    """
    Whose presence it is, and whether every occupant may know it.

    Openfire has the occupant's JID in the item, which is nobody's real one.
    """
    jid = stanza.jid if jids.bare(stanza.jid) != joinedNode.jid else ""
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    return realJid or jid, bool(jid)


def _shown(room: Room, joinedNode: JoinedNode, nick: str, stanza: Presence, now: float) -> None:
    realJid, nonAnonymous = _real(joinedNode, stanza)
    standing = stanza.item or Standing()
    if nonAnonymous:
        # What the room above shows to everybody is no secret here.
        room.settings.nonAnonymous = True
    pending = room.pending.get(nick)
    if pending is not None:
        if pending.sent and _isOf(pending.request.realJid, realJid, stanza):
            _confirmed(room, joinedNode, nick, standing, stanza.fmuc is not None and stanza.fmuc.replica, now)
            return
        # Somebody else was there first: who is known above has the nick. A join that was sent has its answer yet to
        # come: he may have gone before it arrived.
        if not pending.sent and not pending.withdrawn:
            rejectPending(room, pending, stanzaError(NickInUse))
    occupant = room.occupants.get(nick)
    if occupant is not None and room.isDownstream(occupant):
        if _isOf(occupant.realJid, realJid, stanza):
            occupant.changing = max(0, occupant.changing - 1)
            _update(room, occupant, standing, stanza)
            return
        # Section 9: "Node with local user can then send an error message about the collision and kick them".
        _expelled(room, occupant, stanzaError(NickInUse), now)
        occupant = None
        if joinedNode.state not in (UplinkState.JOINING, UplinkState.JOINED):
            return
    if occupant is None:
        if len(room.occupants) >= room.bounds.occupants:
            return
        occupant = Occupant(nick, realJid, standing, stanza.payload, nonAnonymous, joinedNode)
        room.add(occupant)
        room.broadcastPresence(occupant, _why(stanza), includeOriginNode=True)
    else:
        occupant.realJid, occupant.nonAnonymous = realJid or occupant.realJid, nonAnonymous
        _update(room, occupant, standing, stanza)


def _isOf(own: str, realJid: str, stanza: Presence) -> bool:
    """
    Whether a presence is that of one of ours, whose JID is C{own}.

    XEP-0289: "the fmuc element is always added", and of ours the node above knows the JID. The seed has none.
    """
    return realJid == own or (not realJid and stanza.fmuc is None)


def _confirmed(room: Room, joinedNode: JoinedNode, nick: str, standing: Standing, agrees: bool, now: float) -> None:
    pending = room.pending[nick]
    joinedNode.agrees = joinedNode.agrees or agrees
    if pending.cancelled:
        pending.cancelled -= 1
    elif joinedNode.state is UplinkState.JOINING:
        pending.standing = standing
    elif pending.withdrawn:
        del room.pending[nick]
        leaveIfEmpty(room, joinedNode, now)
    else:
        pending.standing = standing
        admitPending(room, pending, now)


def _update(room: Room, occupant: Occupant, standing: Standing, stanza: Presence) -> None:
    """A new status, role or affiliation."""
    # "Role change should be distributed across nodes and fanned out to users, but only cosmetically".
    newPayload = standing != occupant.standing
    joinedNode = room.joinedNode
    if joinedNode is None or joinedNode.echoes or not room.isDownstream(occupant):
        occupant.payload = stanza.payload
    elif not newPayload:
        # What ours show is known here first, and shown already.
        return
    occupant.standing = standing
    node = occupant.node
    room.broadcastPresence(
        occupant, _why(stanza), includeOriginNode=newPayload or (node is not None and node.echoes)
    )


def _why(stanza: Presence) -> PresenceChange:
    """Of somebody who is there it is told who has changed his standing; codes and new nicks are for who goes."""
    return PresenceChange(reason=stanza.change.reason, actor=stanza.change.actor)


def _expelled(room: Room, occupant: Occupant, why: StanzaError, now: float) -> None:
    """One of ours was let in, and may not be."""
    remove(room, occupant, PresenceChange(unavailable=True, codes=(KICKED,), reason=why.text or why.condition))
    if occupant.node is None:
        room.out.append(
            SendError("presence", f"{room.jid}/{occupant.nick}", occupant.realJid, None, why, isJoin=True)
        )
    occupantLeft(room, occupant, now)


def _gone(room: Room, joinedNode: JoinedNode, nick: str, stanza: Presence, now: float) -> None:
    joinedNode.parted.pop(nick, None)
    if nick == joinedNode.parting:
        joinedNode.parting = ""
        isThrownOut = set(stanza.change.codes) & _THROWN_OUT
        isAlone = joinedNode.state is UplinkState.JOINED and not room.downstreamCount and not joinedNode.parted
        if joinedNode.dialect is Dialect.PROTOXEP and isThrownOut and isAlone:
            # It has not heard yet that he has left, and by its own doing nobody of ours is in there: the seed has
            # no other word for that. Ours on their way there will find us out.
            confirmedLeft(room, joinedNode, now)
            return
    change = evolve(stanza.change, unavailable=True)
    if change.destroyed:
        # XEP-0045 section 10.9: everybody is told so in his own name.
        removeEveryone(room, change, now)
        return
    occupant = room.occupants.get(nick)
    if occupant is None:
        return
    occupant.payload = stanza.payload
    if stanza.item is not None:
        occupant.standing = Standing(stanza.item.affiliation, NO_ROLE)
    downstreamCount = room.isDownstream(occupant)
    if downstreamCount and not set(change.codes) & _THROWN_OUT:
        # Ours leave when they say so, and keep their nicks: in the seed it may have been another's presence, with
        # the nick that one of ours was asking for.
        change = PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,))
    remove(room, occupant, change)
    pending = room.pending.get(nick)
    if pending is not None and pending.sent and not joinedNode.echoes and joinedNode.state is UplinkState.JOINED:
        # It was his nick that kept one of ours out.
        admitPending(room, pending, now)
    if downstreamCount:
        # "When an FMUC node receives notice that one of their users has been kicked by a moderator on another node
        # it SHOULD kick the user and fan-out the consequent presence stanzas". What he has sent meanwhile may let
        # him in again there: another join, where these are not answered, or a change, which looks like one.
        broadcastPresence = not joinedNode.echoes or occupant.changing > 0 or TECHNICAL_PROBLEM in change.codes
        if not broadcastPresence and joinedNode.dialect is Dialect.PROTOXEP:
            # It costs one stanza to be sure, and nothing comes back if it was he indeed.
            room.toNode(joinedNode, occupant.presence(UNAVAILABLE))
        occupantLeft(room, occupant, now, broadcastPresence=broadcastPresence)


def onReject(room: Room, joinedNode: JoinedNode, nick: str, why: StanzaError, now: float) -> None:
    """
    A join, or a change of presence, is refused.

    @param nick: empty where the refusal names nobody: it is for the join that has waited longest.
    """
    if joinedNode.state is UplinkState.LEAVING:
        if joinedNode.fresh and nick in ("", joinedNode.parting):
            becomeIdle(room, joinedNode, now)
        return
    if joinedNode.state is UplinkState.IDLE:
        return
    if not nick:
        nick = next((each for each, pending in room.pending.items() if pending.sent), "")
    pending = room.pending.get(nick)
    if pending is not None and pending.sent:
        if pending.cancelled:
            pending.cancelled -= 1
            return
        room.log(f"{joinedNode.jid} refuses {pending.request.realJid}: {why.text or why.condition}", warn=True)
        rejectPending(room, pending, why)
        leaveIfEmpty(room, joinedNode, now)
        return
    occupant = room.occupants.get(nick)
    if occupant is None or not room.isDownstream(occupant):
        return
    if joinedNode.dialect is Dialect.PROTOXEP:
        _takenBack(room, joinedNode, occupant, why, now)
    else:
        _expelled(room, occupant, why, now)


def _takenBack(room: Room, joinedNode: JoinedNode, occupant: Occupant, why: StanzaError, now: float) -> None:
    """
    In the seed nothing tells whose presence it was that was taken for a join's answer: it was another's, who is
    known above by that nick and stays.
    """
    _expelled(room, occupant, why, now)
    if joinedNode.state is UplinkState.JOINED and occupant.nick not in room.occupants:
        other = Occupant(occupant.nick, "", occupant.standing, occupant.payload, False, joinedNode)
        room.add(other)
        room.broadcastPresence(other, AVAILABLE, includeOriginNode=True)


def message(room: Room, joinedNode: JoinedNode, sender: str, recipient: str, stanza: Message, now: float) -> None:
    """A message from the node above."""
    if joinedNode.state in (UplinkState.IDLE, UplinkState.LEAVING):
        return
    if stanza.kind == "error":
        _bounced(room, joinedNode, sender, recipient, stanza, now)
        return
    if recipient and stanza.kind != "groupchat":
        private_messages.fromNode(room, joinedNode, sender, recipient, stanza)
        return
    if stanza.kind != "groupchat":
        return
    occupant = room.occupants.get(sender)
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None and stanza.fmuc.realJid else ""
    if not realJid and occupant is not None:
        realJid = occupant.realJid
    message = RoomMessage(
        nick=sender,
        realJid=realJid,
        payload=stanza.payload,
        id=stanza.id,
        subject=stanza.subject,
        store=stanza.store,
        delay=stanza.delay,
    )
    if joinedNode.state is UplinkState.JOINING:
        extendDeadline(room, joinedNode, now)
        _joinContextReceived(room, joinedNode, message, None if occupant is None else occupant.node, now)
        return
    if message.delay is not None and jids.bare(message.delay.by) == joinedNode.jid:
        # What was said before was asked for once; but the link may have been slow.
        if message.subject:
            _subjectReceived(room, _ofHere(room, message))
        return
    origin = joinedNode.parted.get(sender) if occupant is None else occupant.node
    if occupant is not None and room.isDownstream(occupant) and not joinedNode.mirrors:
        if stanza.fmuc is not None and realJid == occupant.realJid:
            # Shown already.
            return
        # The seed does not say whose it is, but there what is ours "MUST NOT" come back: another had the nick.
        origin = None
    broadcast(room, evolve(message, delay=None), origin, now)


def _joinContextReceived(
    room: Room, joinedNode: JoinedNode, message: RoomMessage, origin: Node | None, now: float
) -> None:
    """
    What a join brings after the occupants: history, and the subject, with which it is complete.

    XEP-0289 section 6.1: "adding the history to the room's history [...] and changing the subject", and nothing
    of it goes back.
    """
    message = _ofHere(room, message)
    if message.subject:
        _subjectReceived(room, message)
        complete(room, joinedNode, now)
    elif message.delay is not None:
        room.history.add(message)
    else:
        broadcast(room, message, origin, now)


def _ofHere(room: Room, message: RoomMessage) -> RoomMessage:
    """XEP-0045 sections 7.2.13 and 7.2.15: "from" is "the JID of the room itself", and here that is this one."""
    return message if message.delay is None else evolve(message, delay=Delay(room.jid, message.delay.stamp))


def _subjectReceived(room: Room, message: RoomMessage) -> None:
    known, room.subject = room.subject, message
    if known is None or known.payload != message.payload:
        room.broadcastMessage(message, None)


def broadcast(room: Room, message: RoomMessage, origin: Node | None, now: float) -> None:
    """A message to everybody here, and into what is kept."""
    room.broadcastMessage(message, origin)
    kept = evolve(message, delay=room.stamp(now))
    if message.subject:
        room.subject = kept
    elif message.store:
        room.history.add(kept)


def _bounced(room: Room, joinedNode: JoinedNode, sender: str, nick: str, stanza: Message, now: float) -> None:
    """
    The node above does not take a message of one of ours: he is told. If that is because we are not in there any
    more, he and the others are out: what they see is not the room.
    """
    occupant = room.occupants.get(nick)
    if occupant is None or not room.isDownstream(occupant) or stanza.stanzaError is None:
        return
    to = occupant.realJid if occupant.node is None else f"{occupant.node.jid}/{nick}"
    room.out.append(SendError("message", room.address(sender), to, stanza.id, stanza.stanzaError))
    if sender:
        # It was for one occupant.
        return
    if stanza.stanzaError.condition in DELIVERY_ERRORS:
        leaveNow(room, joinedNode, stanzaError(NotThere))
        removeEveryone(room, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)), now)
    elif stanza.stanzaError.condition == stanzaError(NotInTheRoom).condition:
        remove(room, occupant, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
        occupantLeft(room, occupant, now)
