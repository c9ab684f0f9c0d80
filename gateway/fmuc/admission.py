"""Users who are admitted, and what their nodes are told."""

from __future__ import annotations

from gateway.fmuc.actions import Admission
from gateway.fmuc.node_table import NodeTable, presenceAt
from gateway.fmuc.nodes import JoiningNode
from gateway.muc import join
from gateway.muc.occupant import Occupant
from gateway.muc.subject import subjectOf
from gateway.muc.values import AVAILABLE, CREATED, JoinRequest, PresenceChange, Standing


def admit(
    nodes: NodeTable,
    request: JoinRequest,
    node: JoiningNode | None,
    standing: Standing,
    now: float,
    created: bool = False,
) -> Occupant:
    """
    Add an occupant and tell all.

    @param node: the joining node through which the occupant is connected; C{None} for a local user.
    @param created: True if the join has created the room.
    """
    if node is None:
        return join.admit(nodes.room, request, standing, now, created)
    room = nodes.room
    occupant = Occupant(
        request.nick,
        request.realJid,
        standing,
        request.payload,
        room.settings.nonAnonymous,
        node,
        id=request.occupantId,
    )
    occupant.isHidden = room.hides(occupant)
    occupants = list(room.occupants.values())
    room.add(occupant)
    if node.hasJoined:
        # This node decides role and affiliation. If the join has claimed the right ones, the joining node needs
        # no copy of this presence.
        isKnown = standing == request.claimedStanding and not request.asksId
        room.broadcastPresence(occupant, AVAILABLE, own=isKnown)
        return occupant
    room.broadcastPresence(occupant, AVAILABLE)
    _welcome(nodes, node, occupant, occupants, request, now, created)
    return occupant


def addSession(nodes: NodeTable, occupant: Occupant, request: JoinRequest, node: JoiningNode, now: float) -> None:
    """
    Add a further session of an occupant (XEP-0045 section 7.2.8), through a joining node.

    @raise GatewayError: if there are too many.
    """
    isAnswered = node.hasJoined and node.returnsPresence and request.payload != occupant.payload
    join.addSession(nodes.room, occupant, request, now, node)
    isDue = node.returnsPresence or request.asksId or occupant.standing != request.claimedStanding
    if not node.hasJoined:
        others = [other for other in nodes.room.occupants.values() if other is not occupant]
        _welcome(nodes, node, occupant, others, request, now)
    elif isDue and not isAnswered:
        nodes.toNode(node, presenceAt(node, occupant, occupant.presence(AVAILABLE)))


def _welcome(
    nodes: NodeTable,
    node: JoiningNode,
    occupant: Occupant,
    others: list[Occupant],
    request: JoinRequest,
    now: float,
    created: bool = False,
) -> None:
    """Send everything to a node whose first user is admitted."""
    room = nodes.room
    # XEP-0289 section 6.1: "the list of current occupants and message context in the same order as specified in
    # XEP-0045", and the new occupant's own presence.
    told = [other for other in others if not other.isHidden]
    for other in told:
        nodes.toNode(node, other.presence(AVAILABLE))
    node.hasJoined = True
    room.changes.nodes = True
    room.log(f"mirrored by {node.jid}")
    change = PresenceChange(codes=(CREATED,)) if created else AVAILABLE
    own = presenceAt(node, occupant, occupant.presence(change))
    epoch = None if nodes.channels is None else nodes.channels.agreed(room.jid, node)
    nodes.toNode(node, Admission(own, node.mode.current, node.resumes, epoch, node.keep, len(told)))
    if nodes.channels is not None and epoch is not None:
        nodes.channels.begin(room.jid, node, epoch, now)
        # If the node is welcomed again, because this join and a removal have crossed, the channel goes on.
        node.offer = None
    for message in room.recent(request.limits, node.jid, now):
        nodes.toNode(node, message)
    nodes.toNode(node, subjectOf(room))
