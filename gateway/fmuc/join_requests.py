"""The joins that a room asks its joined node for: conflicts, further sessions, and withdrawals."""

from __future__ import annotations

from attrs import evolve

from gateway.errors import (
    GatewayError,
    JoinedElsewhere,
    Loop,
    NickChangeForbidden,
    NickInUse,
    ResourceLimit,
    RoomFull,
)
from gateway.fmuc.node_table import NodeTable
from gateway.fmuc.nodes import JoiningNode
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.muc import join
from gateway.muc.occupant import Occupant
from gateway.muc.values import JoinRequest, Presence, person, stanzaError

# Withdrawn joins with one nick that the joined node has not answered; above this number, further ones are refused.
_MAX_OWED = 100


def ask(nodes: NodeTable, request: JoinRequest, now: float, node: JoiningNode | None = None) -> bool:
    """
    Ask the joined node to admit a user; return False if this node decides itself.

    @param node: the joining node that the request comes from; C{None} for a local user.
    @raise GatewayError: if the user may not enter.
    """
    if nodes.uplink is not None and node is None and _joinsOwn(nodes, request, now):
        return True
    _checkConflict(nodes, request, node)
    if nodes.uplink is None:
        return False
    most, earlier = nodes.room.bounds.pending, nodes.pending.get(request.nick)
    # The joined node may answer nothing, while users join and leave again and again.
    if len(nodes.pending) >= most or (earlier is not None and earlier.owed >= min(_MAX_OWED, most)):
        raise ResourceLimit
    if len(nodes.room.occupants) >= nodes.room.bounds.occupants:
        raise RoomFull
    if node is None and _pendingOf(nodes, request.realJid) is not None:
        raise NickChangeForbidden
    if _isKnownElsewhere(nodes, request, node):
        # To the joined node, both joins come from this node: it would assume a restart of this node.
        raise JoinedElsewhere
    nodes.uplink.join(request, node, now)
    return True


def _joinsOwn(nodes: NodeTable, request: JoinRequest, now: float) -> bool:
    """
    Handle the join of a further session of a local user (XEP-0045 section 7.2.8); False if it is none.

    The joined node sees one occupant, whom it has admitted already.
    """
    occupant, pending = nodes.room.occupants.get(request.nick), nodes.pending.get(request.nick)
    who = person(request.realJid)
    if occupant is not None and not occupant.nodes:
        # A local user has the nick, so it is this one, whose join would have been refused otherwise.
        if _pendingOf(nodes, request.realJid) is not None:
            # The client has asked for another nick before; it is one occupant at most.
            raise NickChangeForbidden
        join.addSession(nodes.room, occupant, request, now)
        return True
    if pending is None or not pending.isOf(None) or person(pending.request.realJid) != who:
        return False
    if _pendingOf(nodes, request.realJid) is not None:
        raise NickChangeForbidden
    if len(pending.further) + 1 >= nodes.room.bounds.sessions:
        raise ResourceLimit
    pending.further[request.realJid] = request
    return True


def _checkConflict(nodes: NodeTable, request: JoinRequest, node: JoiningNode | None) -> None:
    """
    Raise the error of a nick that another user has or has asked for (XEP-0045 section 7.2.8).

    A join that went round a loop comes back with the nick and the real JID that it had here, whether the nodes
    on its way know of loops or not: none of them may change these.
    """
    there = nodes.room.occupants.get(request.nick)
    pending = nodes.pending.get(request.nick)
    if pending is not None and pending.isWithdrawn:
        pending = None
    if there is None and pending is None:
        return
    real = request.realJid
    isOccupant = there is not None and _hasElsewhere(there, real, node)
    hasAsked = pending is not None and pending.request.realJid == real and pending.origin is not node
    if node is not None and (isOccupant or hasAsked):
        raise Loop
    if pending is not None or there is None or not _mayShare(nodes, there, request):
        raise NickInUse


def _mayShare(nodes: NodeTable, occupant: Occupant, request: JoinRequest) -> bool:
    """
    True if a user may have a further session as this occupant (XEP-0045 section 7.2.8).

    A mirror asks the joined node, if the occupant is connected there. Its own occupants are connected in one
    way each: the joined node does not tell which session of an occupant has sent a message that comes back.
    """
    isMirrored = nodes.uplink is not None and nodes.isDownstream(occupant)
    return not isMirrored and occupant.person == person(request.realJid)


def _isKnownElsewhere(nodes: NodeTable, request: JoinRequest, node: JoiningNode | None) -> bool:
    """
    True if the user is an occupant, or has asked to join, through another node: this one, or another joining
    node. The nick differs, because L{_checkConflict} refuses the same one.
    """
    real = request.realJid
    if node is not None and real in nodes.room.users:
        return True
    return any(real in each.users for each in nodes.joiningNodes.values() if each is not node) or any(
        one.request.realJid == real and one.origin is not node and not one.isWithdrawn
        for one in nodes.pending.values()
    )


def _pendingOf(nodes: NodeTable, user: str) -> PendingJoin | None:
    """Return a local user's pending join."""
    each = (
        one
        for one in nodes.pending.values()
        if one.isOf(None) and (one.request.realJid == user or user in one.further)
    )
    return next(each, None)


def whileJoining(nodes: NodeTable, user: str, nick: str, stanza: Presence, now: float) -> bool:
    """Handle the presence of a local user whose join waits; return False if no join of that user waits."""
    pending = _pendingOf(nodes, user)
    if pending is None or nodes.uplink is None:
        return False
    further = pending.further.get(user)
    if stanza.joins and not stanza.unavailable:
        return pending.request.nick == nick
    if further is not None:
        del pending.further[user]
        if not stanza.unavailable:
            pending.further[user] = evolve(further, payload=stanza.payload)
    elif stanza.unavailable:
        _withdraw(nodes, pending, now)
    elif pending.isSent:
        pending.newPresence = stanza
    else:
        pending.request = evolve(pending.request, payload=stanza.payload)
    return True


def _withdraw(nodes: NodeTable, pending: PendingJoin, now: float) -> None:
    """Withdraw a local user's join; another session of the user that waits joins anew."""
    assert nodes.uplink is not None
    further, pending.further = pending.further, {}
    nodes.uplink.withdraw(pending, now)
    for request in further.values():
        try:
            ask(nodes, request, now)
        except GatewayError as error:
            nodes.uplink.refuse(request, stanzaError(type(error)))


def _hasElsewhere(occupant: Occupant, user: str, node: JoiningNode | None) -> bool:
    """True if an occupant has a session with this full JID, through another node than C{node}."""
    return any(each.jid == user and each.node is not node for each in occupant.allSessions())
