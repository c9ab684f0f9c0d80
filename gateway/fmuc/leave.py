"""Leaving a room, and removal from it (XEP-0045 sections 7.14 and 8.2)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fmuc.actions import ConfirmLeft
from gateway.fmuc.room import Node, Occupant, Room
from gateway.fmuc.values import PresenceChange


def remove(room: Room, occupant: Occupant, change: PresenceChange, own: bool = False) -> None:
    """
    Remove an occupant and tell all.

    @param own: True if the occupant has left by own presence; then the occupant's joining node knows it.
    """
    removeAll(room, [occupant], change, own)


def removeAll(room: Room, occupants: Sequence[Occupant], change: PresenceChange, own: bool = False) -> None:
    """
    Remove several occupants. Each of them is told of the own removal only: presence from thousands to thousands
    would keep the reactor for seconds.
    """
    for occupant in occupants:
        room.remove(occupant)
    audience = room.audience()
    for occupant in occupants:
        node = occupant.node
        # The occupant is no longer a local user, but is told.
        room.broadcastPresence(occupant, change, not own or (node is not None and node.echoes), audience)
    for node in dict.fromkeys(occupant.node for occupant in occupants):
        if node is None or node is room.joinedNode or node.occupants:
            continue
        if own:
            release(room, node)
        elif node.joined:
            # The node's joins that are in flight count as a first join.
            _parted(room, node)
            release(room, node)


def close(room: Room, change: PresenceChange) -> None:
    """Remove all downstream occupants; each is told of the own removal only (section 10.9)."""
    for occupant in list(room.occupants.values()):
        if not room.isDownstream(occupant):
            continue
        room.remove(occupant)
        if occupant.node is None:
            room.sendSelfPresence(occupant, change)
        elif occupant.node.joined:
            room.toNode(occupant.node, occupant.presence(change))
    for node in list(room.joiningNodes.values()):
        release(room, node)


def release(room: Room, node: Node) -> None:
    """
    Remove a joining node that has no occupants and no pending joins.

    XEP-0289 section 6.4: "the joining node will be considered to have left the FMUC set [...] The joined room
    confirms that the joining room has left the set by sending a presence stanza".
    """
    if node.occupants or any(pending.node is node and not pending.withdrawn for pending in room.pending.values()):
        return
    if room.joiningNodes.pop(node.jid, None) is not None and node.joined:
        _parted(room, node)


def _parted(room: Room, node: Node) -> None:
    node.joined = False
    room.toNode(node, ConfirmLeft())
    room.log(f"no longer mirrored by {node.jid}")
