"""Stanzas from joining nodes."""

from __future__ import annotations

from gateway import jids
from gateway.errors import Forbidden, GatewayError, Loop, TooMuch
from gateway.fmuc import groupchat, private_messages
from gateway.fmuc.actions import Reject, ToNode
from gateway.fmuc.leave import removeAll
from gateway.fmuc.presence import enterRoom, leave
from gateway.fmuc.room import Node, Occupant, Pending, Room
from gateway.fmuc.uplink import changePresence, occupantLeft, withdraw
from gateway.fmuc.values import (
    DELIVERY_ERRORS,
    TECHNICAL_PROBLEM,
    Dialect,
    Fmuc,
    JoinRequest,
    Message,
    Presence,
    PresenceChange,
    Standing,
    stanzaError,
)


def dialectOf(sender: str, stanza: Presence) -> Dialect:
    """
    Return the protocol of a joining node. In XEP-0289 a join comes from the occupant's address and has C{muc#user};
    in the ProtoXEP it has neither.
    """
    return Dialect.PROTOXEP if stanza.item is None and "/" not in sender else Dialect.XEP_0289


def reject(room: str, sender: str, stanza: Presence, nick: str, why: type[GatewayError]) -> ToNode:
    """Return the rejection of a user, or of a node."""
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    dialect = dialectOf(sender, stanza)
    return ToNode(room, jids.bare(sender), dialect, False, Reject(nick, realJid, stanzaError(why)))


def presence(room: Room, sender: str, nick: str, stanza: Presence, now: float) -> None:
    """
    Handle a presence from a joining node.

    @param sender: address of the node, or of an occupant there.
    """
    peer = jids.bare(sender)
    node = room.joiningNodes.get(peer)
    occupant = room.occupants.get(nick)
    if occupant is not None and (node is None or occupant.node is not node):
        occupant = None
    if stanza.stanzaError is not None:
        if node is not None:
            nodeLost(room, node, now)
    elif stanza.unavailable:
        if occupant is not None:
            # The reason is taken over; codes are not the joining node's to set.
            leave(
                room, occupant, stanza.payload, now, PresenceChange(unavailable=True, reason=stanza.change.reason)
            )
            return
        pending = room.pending.get(nick)
        if pending is not None and node is not None and pending.node is node and not pending.withdrawn:
            assert room.joinedNode is not None
            withdraw(room, room.joinedNode, pending, now)
    elif occupant is not None and node is not None:
        _fromOccupant(room, node, occupant, sender, stanza, now)
    elif stanza.fmuc is not None and stanza.fmuc.realJid:
        _notInRoom(room, node, sender, nick, stanza, stanza.fmuc, now)


def _fromOccupant(room: Room, node: Node, occupant: Occupant, sender: str, stanza: Presence, now: float) -> None:
    """Handle the presence of an occupant."""
    fmuc = stanza.fmuc
    if fmuc is not None and fmuc.realJid not in ("", occupant.realJid):
        room.toNode(node, Reject(occupant.nick, fmuc.realJid, stanzaError(Forbidden)))
    elif fmuc is not None and fmuc.realJid and stanza.joins:
        _enterAnew(room, node, sender, occupant.nick, stanza, fmuc, now)
    else:
        changePresence(room, occupant, stanza.payload, now)


def _notInRoom(
    room: Room, node: Node | None, sender: str, nick: str, stanza: Presence, fmuc: Fmuc, now: float
) -> None:
    """Handle the presence of a user who is not an occupant."""
    pending = room.pending.get(nick)
    if node is not None and pending is not None and not stanza.joins and _isOf(pending, node, fmuc.realJid):
        pending.newPayload = stanza.payload
    elif node is not None and nick not in room.occupants and _isIn(node, fmuc.realJid):
        # Nicks cannot change in a mirror.
        _enterAnew(room, node, sender, nick, stanza, fmuc, now)
    else:
        _enter(room, node, sender, nick, stanza, fmuc, now)


def _isIn(node: Node, realJid: str) -> bool:
    return any(occupant.realJid == realJid for occupant in node.occupants.values())


def _enterAnew(room: Room, node: Node, sender: str, nick: str, stanza: Presence, fmuc: Fmuc, now: float) -> None:
    """Handle the join of a user who is an occupant already: the node was restarted, and needs the full state."""
    node.joined = False
    nodeLost(room, node, now)
    _enter(room, None, sender, nick, stanza, fmuc, now)


def _isOf(pending: Pending, node: Node, realJid: str) -> bool:
    return pending.node is node and pending.request.realJid == realJid and not pending.withdrawn


def _enter(room: Room, node: Node | None, sender: str, nick: str, stanza: Presence, fmuc: Fmuc, now: float) -> None:
    known, peer = node, jids.bare(sender)
    problem: type[GatewayError] | None = None
    if node is None:
        node = Node(peer, dialectOf(sender, stanza), fmuc.replica)
        node.mirrors = node.echoes
        if len(room.joiningNodes) >= room.bounds.nodes:
            problem = TooMuch
        elif room.joinedNode is not None and room.joinedNode.jid == peer:
            # The shortest loop.
            problem = Loop
    if problem is None:
        request = JoinRequest(
            nick=nick,
            realJid=fmuc.realJid,
            payload=stanza.payload,
            password=stanza.password,
            limits=stanza.limits,
            claimedStanding=stanza.item or Standing(),
            id=stanza.id,
        )
        room.joiningNodes[peer] = node
        problem = enterRoom(room, request, node, now)
    if problem is not None:
        if known is None:
            room.joiningNodes.pop(peer, None)
        room.toNode(node, Reject(nick, fmuc.realJid, stanzaError(problem)))


def message(room: Room, node: Node, sender: str, recipient: str, stanza: Message, now: float) -> None:
    """Handle a message from a joining node."""
    if stanza.stanzaError is not None and not sender:
        # A message to all occupants of the node. A message to one of them is returned from that occupant's address.
        if stanza.stanzaError.condition in DELIVERY_ERRORS:
            nodeLost(room, node, now)
    elif recipient and stanza.kind != "groupchat":
        private_messages.fromNode(room, node, sender, recipient, stanza)
    elif stanza.kind == "groupchat" and not recipient:
        groupchat.fromNode(room, node, sender, stanza, now)


def nodeLost(room: Room, node: Node, now: float) -> None:
    """Remove a joining node and its occupants, because stanzas to it are returned or it was restarted."""
    room.log(f"{node.jid} cannot be reached or was restarted: its occupants are removed", warn=True)
    occupants = list(node.occupants.values())
    removeAll(room, occupants, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
    for occupant in occupants:
        occupantLeft(room, occupant, now)
    for pending in list(room.pending.values()):
        if pending.node is node and not pending.withdrawn:
            assert room.joinedNode is not None
            withdraw(room, room.joinedNode, pending, now)
    room.joiningNodes.pop(node.jid, None)
