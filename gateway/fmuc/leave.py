"""
How somebody is in no more (XEP-0045 sections 7.14 and 8.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fmuc.actions import ConfirmLeft
from gateway.fmuc.room import Node, Occupant, Room
from gateway.fmuc.values import PresenceChange


def remove(room: Room, occupant: Occupant, change: PresenceChange, own: bool = False) -> None:
    """
    Tell everybody that an occupant is gone.

    @param own: whether he has left by himself; the joining node that he is behind then knows it.
    """
    removeAll(room, [occupant], change, own)


def removeAll(room: Room, occupants: Sequence[Occupant], change: PresenceChange, own: bool = False) -> None:
    """
    Remove several occupants. Those who stay are told of each, and each of the others of itself only: to tell
    thousands of thousands would keep the reactor for seconds.
    """
    for occupant in occupants:
        room.remove(occupant)
    audience = room.audience()
    for occupant in occupants:
        node = occupant.node
        # The occupant is no local user any longer, but is told.
        room.broadcastPresence(occupant, change, not own or (node is not None and node.echoes), audience)
    for node in dict.fromkeys(occupant.node for occupant in occupants):
        if node is None or node is room.joinedNode or node.occupants:
            continue
        if own:
            release(room, node)
        elif node.joined:
            # What it has on its way to us will be a first join.
            _parted(room, node)
            release(room, node)


def close(room: Room, change: PresenceChange) -> None:
    """
    All who are in through this node are out, and each is told of himself only (section 10.9).
    """
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
    Forget a joining node that nobody is behind any more.

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
