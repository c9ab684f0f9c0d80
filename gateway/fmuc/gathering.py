"""Sends the presence that has waited for others, to nodes behind a slow link."""

from __future__ import annotations

from gateway.fmuc.federation import Federation
from gateway.fmuc.node_table import presenceAt
from gateway.fmuc.nodes import Node
from gateway.fmuc.thinning import thinned
from gateway.fmuc.uplink.states import UplinkState
from gateway.muc.occupant import Occupant
from gateway.muc.values import AVAILABLE

# Bytes of a presence without its payload, about.
_PRESENCE = 300


def tick(federation: Federation, now: float) -> None:
    """Send what is due to all nodes that can be reached."""
    for node in federation.joiningNodes.values():
        if node.waiting.nicks and node.isServed:
            _send(federation, node, now)
    uplink = federation.uplink
    if uplink is not None and uplink.state is UplinkState.JOINED:
        _send(federation, uplink.node, now)


def _send(federation: Federation, node: Node, now: float) -> None:
    left = node.profile.budget
    for nick in node.waiting.take(now, node.profile.gather):
        occupant = federation.room.occupants.get(nick)
        if occupant is None or not _isDue(federation, node, occupant):
            del node.waiting.nicks[nick]
        elif left > 0:
            left -= _PRESENCE + len(occupant.payload.raw)
            federation.toNode(node, presenceAt(node, occupant, occupant.presence(AVAILABLE)))


def _isDue(federation: Federation, node: Node, occupant: Occupant) -> bool:
    """True if a node gets an occupant's presence, and does not have the current one."""
    if node is federation.joinedNode:
        isTold = federation.isDownstream(occupant)
    else:
        isTold = node in occupant.nodes or not occupant.isHidden
    return isTold and node.waiting.isNew(occupant.nick, thinned(node.profile, occupant.payload)[0])
