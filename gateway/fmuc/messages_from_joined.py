"""Messages from the joined node: to all, private ones, history, the subject, and errors."""

from __future__ import annotations

from attrs import evolve

from gateway.addresses import jids
from gateway.errors import GatewayError, NotInTheRoom
from gateway.fmuc.federation import Federation
from gateway.fmuc.from_joined import parties
from gateway.fmuc.from_joining import privateMessage, returnError
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.values import UNREACHABLE, Fmuc, NodeMessage, Returned
from gateway.muc import archive
from gateway.muc.elements import statusXml
from gateway.muc.groupchat import broadcast
from gateway.muc.invitations import declined
from gateway.muc.leave import drop
from gateway.muc.occupant import Node as AnyNode
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import (
    DELIVERY_ERRORS,
    Delay,
    Payload,
    RoomMessage,
    person,
    stanzaError,
)
from gateway.muc.whois import toldBy

# A room of the gateway refuses a message with these if its store fails, or if the sender has sent too much. Nothing
# else is lost then.
_REFUSALS = frozenset(("internal-server-error", "resource-constraint"))


def message(federation: Federation, sender: str, recipient: str, stanza: NodeMessage, now: float) -> None:
    """
    Handle a message from the joined node.

    @param sender: address of the room there, or of an occupant.
    @param recipient: address of the room here, or of an occupant.
    """
    uplink, sender, recipient = parties(federation, sender, recipient)
    uplink.heard(now, isError=stanza.kind == "error")
    if not uplink.isIn:
        return
    if stanza.kind == "error":
        _returned(federation, uplink, sender, recipient, stanza, now)
    elif stanza.kind == "groupchat" and stanza.returned is not None:
        _toSender(federation, uplink, sender, stanza, stanza.returned, now)
    elif stanza.kind == "groupchat" and stanza.codes and not sender:
        _configurationChanged(federation, uplink, stanza)
    elif stanza.kind == "groupchat":
        _toAll(federation, uplink, sender, stanza, now)
    elif recipient and not sender:
        _fromRoom(federation, recipient, stanza)
    elif recipient:
        try:
            privateMessage(federation, uplink.node, sender, recipient, stanza)
        except GatewayError as error:
            returnError(federation, uplink.node, sender, recipient, stanza, error)


def _fromRoom(federation: Federation, nick: str, stanza: NodeMessage) -> None:
    """Pass on a message of the joined room itself to one downstream occupant, such as a form for a moderator."""
    room = federation.room
    occupant = room.occupants.get(nick)
    if occupant is None or not federation.isDownstream(occupant):
        return
    for each in stanza.invitations:
        if each.declines:
            declined(room, occupant, each.sender, each.reason)
    if not stanza.invitations:
        message = RoomMessage(nick="", kind=stanza.kind, id=stanza.id, payload=stanza.payload)
        room.toUsers(message, occupant.addresses)
        federation.sendPrivate(occupant, message, None, None)


def _configurationChanged(federation: Federation, uplink: Uplink, stanza: NodeMessage) -> None:
    """
    Pass on a change of the room's configuration. XEP-0045 section 10.2.1: the message is for "all occupants", and
    codes 172 and 173 tell them who sees their real JIDs.
    """
    room = federation.room
    uplink.learn(toldBy(stanza.codes))
    uplink.users.isOpen = False
    payload = Payload(statusXml(stanza.codes) + stanza.payload.raw, stanza.payload.language)
    room.broadcastMessage(RoomMessage(nick="", payload=payload, id=stanza.id, store=False), None)


def _toSender(
    federation: Federation, uplink: Uplink, sender: str, stanza: NodeMessage, returned: Returned, now: float
) -> None:
    """Handle a message of this node that the joined node returns by a reference: show what was sent."""
    message = uplink.node.awaited.take(sender, returned.digest)
    if message is None:
        # It was changed on its way, or this node was restarted since; a return brings the joined node's message.
        federation.room.log(f"{uplink.node.jid} returns a message that was not sent so: this mirror resumes")
        uplink.disturbed(now)
        return
    whole = NodeMessage(
        kind=stanza.kind,
        payload=message.payload,
        id=message.id,
        subject=message.subject,
        store=message.store,
        lasts=bool(returned.stanzaId),
        stanzaId=returned.stanzaId,
        fmuc=Fmuc(realJid=message.realJid),
        occupantId=message.occupantId,
    )
    federation.isReturned = True
    try:
        _toAll(federation, uplink, sender, whole, now)
    finally:
        federation.isReturned = False


def _toAll(federation: Federation, uplink: Uplink, sender: str, stanza: NodeMessage, now: float) -> None:
    room = federation.room
    occupant, gone = room.occupants.get(sender), next(iter(uplink.leaves.get(sender, ())), None)
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    if not realJid and occupant is not None:
        realJid = occupant.realJid
    submitter = federation.joiningNodes.get(stanza.submitter)
    message = RoomMessage(
        nick=sender,
        realJid=realJid,
        occupantId=_occupantId(room, occupant or gone, stanza),
        stanzaId=stanza.stanzaId or (room.ids.stanzaId(room.nextIds) if stanza.lasts and sender else ""),
        payload=stanza.payload,
        id=stanza.id,
        subject=stanza.subject,
        store=stanza.store,
        delay=stanza.delay,
    )
    if _isOmitted(room, uplink, sender, occupant or gone, stanza):
        return
    # Another occupant may have the nick since.
    known = occupant or gone
    origin = submitter if submitter is not None or known is None else known.node
    if uplink.state is UplinkState.JOINING:
        uplink.feed(Event.PART, now)
        if message.subject or not uplink.resumption.isComparing:
            _joinContext(room, uplink, message, origin, now)
            return
    if message.delay is not None and jids.bare(message.delay.by) == uplink.node.jid:
        # History is requested once, but a slow link may deliver it late.
        if message.subject:
            _newSubject(room, _ofHere(room, message))
        elif uplink.resumption.isReturn:
            uplink.resumption.keep(_ofHere(room, message), isGiven=bool(stanza.stanzaId), origin=submitter)
        return
    if occupant is not None and federation.isDownstream(occupant) and not uplink.node.returnsMessages:
        if stanza.fmuc is not None and realJid == occupant.realJid:
            _ofPrimary(room, message, now)
            return
        # The ProtoXEP does not name the sender, but messages of our occupants "MUST NOT" come back: another
        # occupant had the nick.
        origin = None
    if stanza.stanzaId and message.store:
        uplink.resumption.last = stanza.stanzaId
    broadcast(room, evolve(message, delay=None), origin, now)
    if known is None and sender and message.delay is None:
        uplink.spoke(sender, now)


def _ofPrimary(room: Room, message: RoomMessage, now: float) -> None:
    """
    Handle an own message in primary mode: it was shown here before it was sent. A subject comes back to tell the
    joined node's order.
    """
    if message.subject:
        _newSubject(room, message.delayed(room.stamp(now)))


def _isOmitted(
    room: Room, uplink: Uplink, sender: str, occupant: Occupant | None, stanza: NodeMessage
) -> bool:
    """True if a new message, whose sender is not known, is not shown."""
    if occupant is not None or stanza.delay is not None or not (sender and stanza.stanzaId):
        return False
    if uplink.node.channel is None:
        # The sender's presence was lost. The message comes again with those that were missed.
        return uplink.resumption.isReturn
    # It may have been shown before it was sent; a node that was killed has forgotten whose it is.
    return room.hasStanzaId(stanza.stanzaId)


def _occupantId(room: Room, occupant: Occupant | None, stanza: NodeMessage) -> str:
    """
    Return the sender's occupant id: the joined node gives it in the presence of occupants, and in history, whose
    senders may have left. Otherwise this node makes one, if the real JID is known.
    """
    if stanza.occupantId:
        return stanza.occupantId
    if occupant is not None and stanza.delay is None:
        return occupant.id
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    return room.occupantId(person(realJid)) if realJid else ""


def _joinContext(room: Room, uplink: Uplink, message: RoomMessage, origin: AnyNode | None, now: float) -> None:
    """
    Handle history, and the subject, which completes the join.

    XEP-0289 section 6.1: "adding the history to the room's history [...] and changing the subject", and nothing of
    it is sent to the joined node.
    """
    message = _ofHere(room, message)
    if message.subject:
        if not uplink.resumption.isComparing:
            archive.resume(room, message)
        _newSubject(room, message)
        uplink.feed(Event.COMPLETE, now)
    elif message.delay is not None:
        uplink.inquiry.end()
        room.history.add(message)
    else:
        archive.resume(room)
        broadcast(room, message, origin, now)


def _ofHere(room: Room, message: RoomMessage) -> RoomMessage:
    """
    Replace the delay's C{from}. XEP-0045 sections 7.2.13 and 7.2.15: "from" is "the JID of the room itself", which
    is this one.
    """
    return message if message.delay is None else evolve(message, delay=Delay(room.jid, message.delay.stamp))


def _newSubject(room: Room, message: RoomMessage) -> None:
    known, room.subject = room.subject, message
    # Some rooms leave out the language in the answer to a join.
    if known is None or known.payload.raw != message.payload.raw:
        room.broadcastMessage(message, None)


def _returned(
    federation: Federation, uplink: Uplink, sender: str, nick: str, stanza: NodeMessage, now: float
) -> None:
    """
    Handle an error for a downstream occupant's message: the sender is told. If the joined node does not know the
    sender, or this node, as an occupant any longer, this node returns, or the sender is removed.
    """
    room, error = federation.room, stanza.stanzaError
    if error is None:
        return
    isForm = (stanza.id or "").startswith(uplink.formMark)
    uplink.messageReturned(nick, sender, (stanza.id or "").removeprefix(uplink.formMark), error)
    occupant = room.occupants.get(nick)
    if occupant is None or not federation.isDownstream(occupant):
        return
    if sender or isForm:
        # The message was private, or a form.
        return
    condition, isUnknown = error.condition, stanzaError(NotInTheRoom).condition
    if uplink.node.channel is not None and condition in UNREACHABLE:
        # A channel repeats what cannot be delivered. A refusal may say that the joined node has lost its own one.
        return
    if uplink.node.resumes and condition in _REFUSALS:
        return
    if condition in UNREACHABLE:
        uplink.unreachable(now)
    elif condition in DELIVERY_ERRORS or (condition == isUnknown and uplink.node.resumes):
        uplink.disturbed(now)
    elif condition == isUnknown and uplink.state is UplinkState.JOINED:
        drop(room, occupant, now)
