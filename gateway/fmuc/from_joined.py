"""Stanzas from the joined node."""

from __future__ import annotations

from attrs import evolve

from gateway import jids
from gateway.errors import GatewayError, NickInUse, NotInTheRoom, NotThere
from gateway.fmuc.federation import Federation
from gateway.fmuc.from_joining import privateMessage, returnError
from gateway.fmuc.nodes import JoinedNode, UplinkState
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
from gateway.fmuc.values import Dialect, NodeMessage, NodePresence
from gateway.muc.actions import SendError
from gateway.muc.groupchat import broadcast
from gateway.muc.leave import remove
from gateway.muc.port import Node as AnyNode
from gateway.muc.room import Occupant
from gateway.muc.values import (
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
    PresenceChange,
    RoomMessage,
    Standing,
    StanzaError,
    stanzaError,
)

# Codes of occupants who were removed.
_THROWN_OUT = frozenset((BANNED, KICKED, NOT_A_MEMBER, MEMBERS_ONLY_NOW, SERVICE_SHUTDOWN))


def presence(
    federation: Federation, joinedNode: JoinedNode, sender: str, recipient: str, stanza: NodePresence, now: float
) -> None:
    """
    Handle a presence from the joined node.

    @param sender: resource of the sender: the nick, if it is an occupant's presence.
    @param recipient: resource of the recipient.
    """
    fmuc = stanza.fmuc
    if stanza.stanzaError is not None:
        # The ProtoXEP sends it "to the full MUC JID of the user on the slave". A stanza to a node that cannot be
        # delivered is returned from the nick that it was sent to.
        onReject(federation, joinedNode, recipient or sender, stanza.stanzaError, now)
    elif fmuc is not None and fmuc.reject is not None:
        why = StanzaError("cancel", "not-allowed", fmuc.reject)
        # XEP-0289 sends it to the bare JID, Openfire to the full JID.
        onReject(federation, joinedNode, recipient or sender, why, now)
    elif fmuc is not None and fmuc.left:
        confirmedLeft(federation, joinedNode, now)
    elif joinedNode.state is UplinkState.LEAVING:
        if stanza.unavailable and joinedNode.dialect is Dialect.PROTOXEP and sender == joinedNode.parting:
            becomeIdle(federation, joinedNode, now)
    elif not sender or joinedNode.state is UplinkState.IDLE:
        return
    elif stanza.unavailable:
        _gone(federation, joinedNode, sender, stanza, now)
    else:
        _shown(federation, joinedNode, sender, stanza, now)
        if joinedNode.state is UplinkState.JOINING:
            extendDeadline(federation, joinedNode, now)


def _real(joinedNode: JoinedNode, stanza: NodePresence) -> tuple[str, bool]:
    """
    Return the occupant's real JID, and whether every occupant may see it.

    Openfire writes the occupant's own address into the item, which is not a real JID.
    """
    jid = stanza.jid if jids.bare(stanza.jid) != joinedNode.jid else ""
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    return realJid or jid, bool(jid)


def _shown(federation: Federation, joinedNode: JoinedNode, nick: str, stanza: NodePresence, now: float) -> None:
    realJid, nonAnonymous = _real(joinedNode, stanza)
    standing = stanza.item or Standing()
    if nonAnonymous:
        # A JID that the joined node shows to all occupants is no secret here.
        federation.room.settings.nonAnonymous = True
    pending = federation.pending.get(nick)
    if pending is not None:
        if pending.sent and _isOf(pending.request.realJid, realJid, stanza):
            _confirmed(federation, joinedNode, nick, standing, stanza.fmuc is not None and stanza.fmuc.replica, now)
            return
        # An occupant of the joined node has the nick already. A join that was sent is still to be answered: that
        # occupant may leave before it arrives.
        if not pending.sent and not pending.withdrawn:
            rejectPending(federation, pending, stanzaError(NickInUse))
    occupant = federation.room.occupants.get(nick)
    if occupant is not None and federation.isDownstream(occupant):
        if _isOf(occupant.realJid, realJid, stanza):
            joinedNode.changing[nick] = max(0, joinedNode.changing[nick] - 1)
            _update(federation, occupant, standing, stanza)
            return
        # Section 9: "Node with local user can then send an error message about the collision and kick them".
        _expelled(federation, occupant, stanzaError(NickInUse), now)
        occupant = None
        if joinedNode.state not in (UplinkState.JOINING, UplinkState.JOINED):
            return
    if occupant is None:
        if len(federation.room.occupants) >= federation.room.bounds.occupants:
            return
        occupant = Occupant(nick, realJid, standing, stanza.payload, nonAnonymous, joinedNode)
        federation.room.add(occupant)
        federation.room.broadcastPresence(occupant, _why(stanza))
    else:
        occupant.realJid, occupant.nonAnonymous = realJid or occupant.realJid, nonAnonymous
        _update(federation, occupant, standing, stanza)


def _isOf(own: str, realJid: str, stanza: NodePresence) -> bool:
    """
    True if a presence is that of the downstream user whose JID is C{own}.

    XEP-0289: "the fmuc element is always added", so the joined node names the JID. The ProtoXEP does not.
    """
    return realJid == own or (not realJid and stanza.fmuc is None)


def _confirmed(
    federation: Federation, joinedNode: JoinedNode, nick: str, standing: Standing, agrees: bool, now: float
) -> None:
    pending = federation.pending[nick]
    joinedNode.agrees = joinedNode.agrees or agrees
    if pending.cancelled:
        pending.cancelled -= 1
    elif joinedNode.state is UplinkState.JOINING:
        pending.standing = standing
    elif pending.withdrawn:
        del federation.pending[nick]
        leaveIfEmpty(federation, joinedNode, now)
    else:
        pending.standing = standing
        admitPending(federation, pending, now)


def _update(federation: Federation, occupant: Occupant, standing: Standing, stanza: NodePresence) -> None:
    """Handle a new status, role or affiliation."""
    # "Role change should be distributed across nodes and fanned out to users, but only cosmetically".
    isNew = standing != occupant.standing
    joinedNode = federation.joinedNode
    if joinedNode is None or joinedNode.echoes or not federation.isDownstream(occupant):
        occupant.payload = stanza.payload
    elif not isNew:
        # In primary mode the presence of a downstream occupant was sent before.
        return
    occupant.standing = standing
    federation.room.broadcastPresence(occupant, _why(stanza), own=not isNew)


def _why(stanza: NodePresence) -> PresenceChange:
    """Return the reason and the actor of a change. Codes and new nicks are for occupants who leave."""
    return PresenceChange(reason=stanza.change.reason, actor=stanza.change.actor)


def _expelled(federation: Federation, occupant: Occupant, why: StanzaError, now: float) -> None:
    """Remove a downstream occupant whom the joined node does not accept."""
    remove(
        federation.room,
        occupant,
        PresenceChange(unavailable=True, codes=(KICKED,), reason=why.text or why.condition),
    )
    if occupant.node is None:
        federation.room.emit(
            SendError(
                "presence", f"{federation.room.jid}/{occupant.nick}", occupant.realJid, None, why, isJoin=True
            )
        )
    occupantLeft(federation, occupant, now)


def _gone(federation: Federation, joinedNode: JoinedNode, nick: str, stanza: NodePresence, now: float) -> None:
    joinedNode.parted.pop(nick, None)
    if nick == joinedNode.parting:
        joinedNode.parting = ""
        isThrownOut = set(stanza.change.codes) & _THROWN_OUT
        isAlone = (
            joinedNode.state is UplinkState.JOINED and not federation.downstreamCount and not joinedNode.parted
        )
        if joinedNode.dialect is Dialect.PROTOXEP and isThrownOut and isAlone:
            # The joined node removed our last occupant before it saw our leave. ProtoXEP 0.0.1 has no C{<left/>},
            # so treat this as "left"; joins in flight count as a first join.
            confirmedLeft(federation, joinedNode, now)
            return
    change = evolve(stanza.change, unavailable=True)
    if change.destroyed:
        # XEP-0045 section 10.9: each occupant is told with a presence of their own.
        removeEveryone(federation, change, now)
        return
    occupant = federation.room.occupants.get(nick)
    if occupant is None:
        return
    occupant.payload = stanza.payload
    if stanza.item is not None:
        occupant.standing = Standing(stanza.item.affiliation, NO_ROLE)
    isDownstream = federation.isDownstream(occupant)
    if isDownstream and not set(change.codes) & _THROWN_OUT:
        # Downstream occupants leave by their own presence and keep their nicks. In the ProtoXEP this may be the
        # presence of another occupant who had the nick that a downstream user is joining with.
        change = PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,))
    isChanging = joinedNode.changing[nick] > 0
    remove(federation.room, occupant, change)
    pending = federation.pending.get(nick)
    if pending is not None and pending.sent and not joinedNode.echoes and joinedNode.state is UplinkState.JOINED:
        # That occupant had kept a downstream user from the nick.
        admitPending(federation, pending, now)
    if isDownstream:
        # "When an FMUC node receives notice that one of their users has been kicked by a moderator on another node
        # it SHOULD kick the user and fan-out the consequent presence stanzas". A stanza that the user has sent
        # meanwhile may count as a join there: another join, if joins are not answered, or a presence change.
        tell = not joinedNode.echoes or isChanging or TECHNICAL_PROBLEM in change.codes
        if not tell and joinedNode.dialect is Dialect.PROTOXEP:
            # One stanza makes sure; the joined node ignores it if the occupant is gone.
            federation.toNode(joinedNode, occupant.presence(UNAVAILABLE))
        occupantLeft(federation, occupant, now, tell=tell)


def onReject(federation: Federation, joinedNode: JoinedNode, nick: str, why: StanzaError, now: float) -> None:
    """
    Handle the rejection of a join or of a presence change.

    @param nick: empty if the rejection names nobody; then it is for the oldest pending join.
    """
    if joinedNode.state is UplinkState.LEAVING:
        if joinedNode.fresh and nick in ("", joinedNode.parting):
            becomeIdle(federation, joinedNode, now)
        return
    if joinedNode.state is UplinkState.IDLE:
        return
    if not nick:
        nick = next((each for each, pending in federation.pending.items() if pending.sent), "")
    pending = federation.pending.get(nick)
    if pending is not None and pending.sent:
        if pending.cancelled:
            pending.cancelled -= 1
            return
        federation.room.log(
            f"{joinedNode.jid} rejects {pending.request.realJid}: {why.text or why.condition}", warn=True
        )
        rejectPending(federation, pending, why)
        leaveIfEmpty(federation, joinedNode, now)
        return
    occupant = federation.room.occupants.get(nick)
    if occupant is None or not federation.isDownstream(occupant):
        return
    if joinedNode.dialect is Dialect.PROTOXEP:
        _takenBack(federation, joinedNode, occupant, why, now)
    else:
        _expelled(federation, occupant, why, now)


def _takenBack(
    federation: Federation, joinedNode: JoinedNode, occupant: Occupant, why: StanzaError, now: float
) -> None:
    """
    In the ProtoXEP an occupant's presence may be taken for the answer to a join with the same nick. Then the joined
    node's occupant has the nick and stays.
    """
    _expelled(federation, occupant, why, now)
    if joinedNode.state is UplinkState.JOINED and occupant.nick not in federation.room.occupants:
        other = Occupant(occupant.nick, "", occupant.standing, occupant.payload, False, joinedNode)
        federation.room.add(other)
        federation.room.broadcastPresence(other, AVAILABLE)


def message(
    federation: Federation, joinedNode: JoinedNode, sender: str, recipient: str, stanza: NodeMessage, now: float
) -> None:
    """Handle a message from the joined node."""
    if joinedNode.state in (UplinkState.IDLE, UplinkState.LEAVING):
        return
    if stanza.kind == "error":
        _bounced(federation, joinedNode, sender, recipient, stanza, now)
        return
    if recipient and stanza.kind != "groupchat":
        try:
            privateMessage(federation, joinedNode, sender, recipient, stanza)
        except GatewayError as error:
            returnError(federation, joinedNode, sender, recipient, stanza, error)
        return
    if stanza.kind != "groupchat":
        return
    occupant = federation.room.occupants.get(sender)
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
        extendDeadline(federation, joinedNode, now)
        _joinContextReceived(federation, joinedNode, message, None if occupant is None else occupant.node, now)
        return
    if message.delay is not None and jids.bare(message.delay.by) == joinedNode.jid:
        # History is requested once, but a slow link may deliver it late.
        if message.subject:
            _subjectReceived(federation, _ofHere(federation, message))
        return
    origin = joinedNode.parted.get(sender) if occupant is None else occupant.node
    if occupant is not None and federation.isDownstream(occupant) and not joinedNode.mirrors:
        if stanza.fmuc is not None and realJid == occupant.realJid:
            # It was shown already.
            return
        # The ProtoXEP does not name the sender, but messages of our occupants "MUST NOT" come back: another
        # occupant had the nick.
        origin = None
    broadcast(federation.room, evolve(message, delay=None), origin, now)


def _joinContextReceived(
    federation: Federation, joinedNode: JoinedNode, message: RoomMessage, origin: AnyNode | None, now: float
) -> None:
    """
    Handle history, and the subject, which completes the join.

    XEP-0289 section 6.1: "adding the history to the room's history [...] and changing the subject", and nothing of
    it is sent to the joined node.
    """
    message = _ofHere(federation, message)
    if message.subject:
        _subjectReceived(federation, message)
        complete(federation, joinedNode, now)
    elif message.delay is not None:
        federation.room.history.add(message)
    else:
        broadcast(federation.room, message, origin, now)


def _ofHere(federation: Federation, message: RoomMessage) -> RoomMessage:
    """
    Replace the delay's C{from}. XEP-0045 sections 7.2.13 and 7.2.15: "from" is "the JID of the room itself", which
    is this one.
    """
    return (
        message if message.delay is None else evolve(message, delay=Delay(federation.room.jid, message.delay.stamp))
    )


def _subjectReceived(federation: Federation, message: RoomMessage) -> None:
    known, federation.room.subject = federation.room.subject, message
    if known is None or known.payload != message.payload:
        federation.room.broadcastMessage(message, None)


def _bounced(
    federation: Federation, joinedNode: JoinedNode, sender: str, nick: str, stanza: NodeMessage, now: float
) -> None:
    """
    Handle an error for a downstream occupant's message: the sender is told. If the joined node does not know the
    sender, or this node, as an occupant any longer, the sender or all occupants are removed.
    """
    occupant = federation.room.occupants.get(nick)
    if occupant is None or not federation.isDownstream(occupant) or stanza.stanzaError is None:
        return
    to = occupant.realJid if occupant.node is None else f"{occupant.node.jid}/{nick}"
    federation.room.emit(SendError("message", federation.room.address(sender), to, stanza.id, stanza.stanzaError))
    if sender:
        # The message was private.
        return
    if stanza.stanzaError.condition in DELIVERY_ERRORS:
        leaveNow(federation, joinedNode, stanzaError(NotThere))
        removeEveryone(federation, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)), now)
    elif stanza.stanzaError.condition == stanzaError(NotInTheRoom).condition:
        remove(federation.room, occupant, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
        occupantLeft(federation, occupant, now)
