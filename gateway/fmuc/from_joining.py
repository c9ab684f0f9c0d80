"""Stanzas from joining nodes."""

from __future__ import annotations

from gateway import jids
from gateway.errors import Forbidden, GatewayError, Loop, NoSuchAddress, NotInTheRoom, ResourceLimit
from gateway.fmuc.actions import Reject, ToNode
from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import JoiningNode, Node
from gateway.fmuc.pending import PendingJoin
from gateway.fmuc.values import Dialect, FederationMode, Fmuc, Mode, NodeMessage, NodePresence
from gateway.muc import groupchat, private_messages
from gateway.muc.actions import SendError
from gateway.muc.join import checkUser, grant
from gateway.muc.leave import leave, removeAll
from gateway.muc.nick import checkNick
from gateway.muc.presence import changePresence
from gateway.muc.room import Occupant
from gateway.muc.values import (
    DELIVERY_ERRORS,
    TECHNICAL_PROBLEM,
    JoinRequest,
    PresenceChange,
    Standing,
    stanzaError,
)


def dialectOf(sender: str, stanza: NodePresence) -> Dialect:
    """
    Return the protocol of a joining node. In XEP-0289 a join comes from the occupant's address and has C{muc#user};
    in the ProtoXEP it has neither.
    """
    return Dialect.PROTOXEP if stanza.item is None and "/" not in sender else Dialect.XEP_0289


def reject(room: str, sender: str, stanza: NodePresence, nick: str, error: GatewayError) -> ToNode:
    """Return the rejection of a user, or of a node."""
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    rejection = Reject(nick, realJid, stanzaError(type(error)))
    return ToNode(room, jids.bare(sender), dialectOf(sender, stanza), False, rejection)


def presence(federation: Federation, sender: str, recipient: str, stanza: NodePresence, now: float) -> None:
    """
    Handle a presence from a joining node that is known.

    @param sender: address of the node, or of an occupant there.
    @param recipient: address of the room, or of an occupant here.
    """
    nick = recipient.partition("/")[2] or sender.partition("/")[2]
    presenceOf(federation, sender, nick, stanza, now)


def presenceOf(federation: Federation, sender: str, nick: str, stanza: NodePresence, now: float) -> None:
    """Handle the presence of a user of a joining node, which may be new."""
    node = federation.joiningNodes.get(jids.bare(sender))
    occupant = federation.room.occupants.get(nick)
    if occupant is not None and (node is None or occupant.node is not node):
        occupant = None
    if stanza.stanzaError is not None:
        if node is not None:
            nodeLost(federation, node, now)
    elif stanza.unavailable:
        _leaves(federation, node, occupant, nick, stanza, now)
    elif occupant is not None and node is not None:
        _fromOccupant(federation, node, occupant, sender, stanza, now)
    elif stanza.fmuc is not None and stanza.fmuc.realJid:
        _notInRoom(federation, node, sender, nick, stanza, stanza.fmuc, now)


def _leaves(
    federation: Federation,
    node: JoiningNode | None,
    occupant: Occupant | None,
    nick: str,
    stanza: NodePresence,
    now: float,
) -> None:
    if occupant is not None:
        # The reason is taken over; codes are not the joining node's to set.
        change = PresenceChange(unavailable=True, reason=stanza.change.reason)
        leave(federation.room, occupant, stanza.payload, now, change)
        return
    pending = federation.pending.get(nick)
    if pending is not None and node is not None and pending.origin is node and not pending.isWithdrawn:
        assert federation.uplink is not None
        federation.uplink.withdraw(pending, now)


def _fromOccupant(
    federation: Federation, node: JoiningNode, occupant: Occupant, sender: str, stanza: NodePresence, now: float
) -> None:
    """Handle the presence of an occupant."""
    fmuc = stanza.fmuc
    if fmuc is not None and fmuc.realJid not in ("", occupant.realJid):
        federation.toNode(node, Reject(occupant.nick, fmuc.realJid, stanzaError(Forbidden)))
    elif fmuc is not None and fmuc.realJid and stanza.joins:
        _enterAnew(federation, node, sender, occupant.nick, stanza, fmuc, now)
    else:
        changePresence(federation.room, occupant, stanza.payload, now)


def _notInRoom(
    federation: Federation,
    node: JoiningNode | None,
    sender: str,
    nick: str,
    stanza: NodePresence,
    fmuc: Fmuc,
    now: float,
) -> None:
    """Handle the presence of a user who is not an occupant."""
    pending = federation.pending.get(nick)
    if node is not None and pending is not None and not stanza.joins and _isOf(pending, node, fmuc.realJid):
        pending.newPayload = stanza.payload
    elif node is not None and nick not in federation.room.occupants and _isIn(node, fmuc.realJid):
        # Nicks cannot change in a mirror.
        _enterAnew(federation, node, sender, nick, stanza, fmuc, now)
    else:
        _enter(federation, node, sender, nick, stanza, fmuc, now)


def _isIn(node: JoiningNode, realJid: str) -> bool:
    return any(occupant.realJid == realJid for occupant in node.occupants.values())


def _isOf(pending: PendingJoin, node: JoiningNode, realJid: str) -> bool:
    return pending.origin is node and pending.request.realJid == realJid and not pending.isWithdrawn


def _enterAnew(
    federation: Federation, node: JoiningNode, sender: str, nick: str, stanza: NodePresence, fmuc: Fmuc, now: float
) -> None:
    """Handle the join of a user who is an occupant already: the node was restarted, and needs the full state."""
    node.hasJoined = False
    nodeLost(federation, node, now)
    _enter(federation, None, sender, nick, stanza, fmuc, now)


def _enter(
    federation: Federation,
    known: JoiningNode | None,
    sender: str,
    nick: str,
    stanza: NodePresence,
    fmuc: Fmuc,
    now: float,
) -> None:
    """Handle a join: "the usual ACL checks as if [the user] had joined directly"."""
    peer = jids.bare(sender)
    node = known or _newNode(peer, sender, stanza, fmuc)
    try:
        if known is None:
            _checkNode(federation, peer)
            federation.joiningNodes[peer] = node
        request = JoinRequest(
            nick=nick,
            realJid=fmuc.realJid,
            payload=stanza.payload,
            password=stanza.password,
            limits=stanza.limits,
            claimedStanding=stanza.item or Standing(),
            id=stanza.id,
        )
        checkUser(request.realJid)
        checkNick(federation.room, nick)
        if not federation.requestJoin(request, now, node):
            standing, _ = grant(federation.room, request)
            federation.admit(request, node, standing, now)
    except GatewayError as error:
        if known is None:
            federation.joiningNodes.pop(peer, None)
        federation.toNode(node, Reject(nick, fmuc.realJid, stanzaError(type(error))))


def _newNode(peer: str, sender: str, stanza: NodePresence, fmuc: Fmuc) -> JoiningNode:
    mode = Mode.REPLICA if fmuc.replica else Mode.PRIMARY
    return JoiningNode(peer, dialectOf(sender, stanza), FederationMode(asked=mode, agreed=mode))


def _checkNode(federation: Federation, peer: str) -> None:
    if len(federation.joiningNodes) >= federation.room.bounds.nodes:
        raise ResourceLimit
    if federation.joinedNode is not None and federation.joinedNode.jid == peer:
        # The shortest loop.
        raise Loop


def message(federation: Federation, sender: str, recipient: str, stanza: NodeMessage, now: float) -> None:
    """
    Handle a message from a joining node.

    @param sender: address of the node, or of an occupant there.
    @param recipient: address of the room, or of an occupant here.
    """
    peer, _, sender = sender.partition("/")
    recipient = recipient.partition("/")[2]
    node = federation.joiningNodes[peer]
    try:
        if stanza.stanzaError is not None and not sender:
            # A message to all occupants of the node. A message to one of them is returned from that occupant's
            # address.
            if stanza.stanzaError.condition in DELIVERY_ERRORS:
                nodeLost(federation, node, now)
        elif recipient and stanza.kind != "groupchat":
            privateMessage(federation, node, sender, recipient, stanza)
        elif stanza.kind == "groupchat" and not recipient:
            _toAll(federation, node, sender, stanza, now)
    except GatewayError as error:
        returnError(federation, node, sender, recipient, stanza, error)


def _toAll(federation: Federation, node: JoiningNode, sender: str, stanza: NodeMessage, now: float) -> None:
    # A node uses it in all of its messages, or in none.
    node.nomirror = stanza.nomirror
    occupant = federation.room.occupants.get(sender)
    # The node does not speak for other nodes' occupants.
    isIn = occupant is not None and occupant.node is node
    groupchat.submit(federation.room, occupant if isIn else None, stanza, now)


def privateMessage(federation: Federation, node: Node, sender: str, recipient: str, stanza: NodeMessage) -> None:
    """
    Handle a private message that comes from another node.

    @raise GatewayError: if it cannot be delivered.
    """
    occupants = federation.room.occupants
    occupant, there = occupants.get(sender), occupants.get(recipient)
    if occupant is None or occupant.node is not node:
        raise NotInTheRoom
    if there is None or there.node is node:
        raise NoSuchAddress
    private_messages.send(federation.room, occupant, there, stanza)


def returnError(
    federation: Federation, node: Node, sender: str, recipient: str, stanza: NodeMessage, error: GatewayError
) -> None:
    """Return an error for a message of another node's occupant; an error is never answered."""
    if stanza.kind != "error":
        room = federation.room
        answer, to = stanzaError(type(error)), f"{node.jid}/{sender}" if sender else node.jid
        room.emit(SendError("message", room.address(recipient), to, stanza.id, answer))


def nodeLost(federation: Federation, node: JoiningNode, now: float) -> None:
    """Remove a joining node and its occupants, because stanzas to it are returned or it was restarted."""
    room = federation.room
    room.log(f"{node.jid} cannot be reached or was restarted: its occupants are removed", warn=True)
    occupants = list(node.occupants.values())
    removeAll(room, occupants, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
    for occupant in occupants:
        federation.left(occupant, now)
    for pending in list(federation.pending.values()):
        if pending.origin is node and not pending.isWithdrawn:
            assert federation.uplink is not None
            federation.uplink.withdraw(pending, now)
    federation.joiningNodes.pop(node.jid, None)
