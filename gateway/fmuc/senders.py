"""
The sender of a stanza to a room: a user, the joined node, or a joining node. Pure.

The sender's address alone decides it. The exception is a first join: a node that joins is not known yet.
"""

from __future__ import annotations

from enum import Enum

from gateway.addresses import jids
from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.values import NodePresence


class Sender(Enum):
    """The kinds of senders of a stanza."""

    USER = 0
    JOINED_NODE = 1
    JOINING_NODE = 2


def within(domain: str, domains: frozenset[str]) -> bool:
    """True if a list of domains in the configuration contains a domain."""
    return domain in domains or "*" in domains


def kindOf(federation: Federation, sender: str) -> Sender:
    """Return the kind of the sender of a stanza to a room."""
    node = federation.node(jids.bare(sender))
    if node is None:
        return Sender.USER
    return Sender.JOINED_NODE if isinstance(node, JoinedNode) else Sender.JOINING_NODE


def isJoin(
    sender: str, recipient: str, stanza: NodePresence, peers: frozenset[str], users: frozenset[str]
) -> bool:
    """
    True if a presence is a joining node's join: it has a nick in its C{to}. A joined node's presence comes from an
    occupant's address and has no element C{x} of C{muc}.

    @param peers: domains whose nodes may join.
    @param users: domains whose users may join, if the room is a mirror.
    """
    fmuc = stanza.fmuc
    if fmuc is None or not fmuc.realJid or stanza.unavailable or stanza.stanzaError is not None:
        return False
    nick, resource = recipient.partition("/")[2], sender.partition("/")[2]
    if fmuc.reject is not None or not nick or not (stanza.joins or not resource):
        return False
    return not _isUser(sender, stanza, peers, users)


def _isUser(sender: str, stanza: NodePresence, peers: frozenset[str], users: frozenset[str]) -> bool:
    """True if the sender can only be a user; then FMUC elements are ignored."""
    domain, resource = jids.split(sender)[1:]
    if not resource or within(domain, peers):
        return False
    return domain in users or stanza.item is None


def speaker(federation: Federation | None, sender: str, peers: frozenset[str]) -> str:
    """
    Return the user that the copies of a stanza are charged to: the bare JID of a local user, or the address of an
    occupant behind a joining node. It is empty for the joined node, which forwards stanzas of others.
    """
    peer, _, resource = sender.partition("/")
    if federation is not None and sender in federation.room.users:
        return peer
    if federation is not None and federation.joinedNode is not None and federation.joinedNode.jid == peer:
        # In a mirror, messages of local users come back this way.
        occupant = federation.room.occupants.get(resource)
        return jids.bare(occupant.realJid) if occupant is not None and occupant.node is None else ""
    if within(jids.split(peer)[1], peers):
        return sender if resource else ""
    return peer


def isAnswered(federation: Federation | None, sender: str, recipient: str, joins: bool) -> bool:
    """
    True if an available presence that the stream refused gets an error: a join or another nick does, because the
    user, or the node, waits for an answer. A change of status does not: clients take an error for their removal.

    @param joins: True if the first bytes of the presence ask to join.
    """
    local, _, nick = jids.split(recipient)
    peer = jids.bare(sender)
    isIn = False
    if federation is not None:
        if federation.joinedNode is not None and federation.joinedNode.jid == peer:
            return False
        occupant = federation.room.occupants.get(nick)
        isIn = occupant is not None and (
            sender in occupant.localJids or any(node.jid == peer for node in occupant.nodes)
        )
    return bool(local) and (joins or (bool(nick) and not isIn))
