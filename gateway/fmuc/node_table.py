"""The table of the other nodes of one room, and what is sent to one of them."""

from __future__ import annotations

from attrs import define, evolve, field

from gateway.addresses import jids
from gateway.fmuc import quirks
from gateway.fmuc.actions import Admission, Content, Join, LeftOut, Reject, Submission, ToNode
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.nodes import JoinedNode, JoiningNode, Node
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.returned import digest
from gateway.fmuc.thinning import crossing
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import OccupantPresence, RoomMessage


@define(eq=False)
class NodeTable:
    """
    The other nodes of one room, with their occupants.

    A room with a joined node is a mirror of the room there. Every room may have joining nodes, which mirror it.

    @ivar uplink: relation with the joined node; C{None} if the room is this node's own.
    @ivar joiningNodes: by bare JID.
    @ivar channels: the channels of the service; C{None} if it has none, because nothing is stored.
    """

    room: Room
    uplink: Uplink | None = None
    joiningNodes: dict[str, JoiningNode] = field(factory=dict)
    channels: Channels | None = None

    @property
    def isLost(self) -> bool:
        """True if this is a mirror whose joined node cannot be reached now."""
        return self.uplink is not None and self.uplink.state is UplinkState.LOST

    @property
    def joinedNode(self) -> JoinedNode | None:
        """The joined node."""
        return None if self.uplink is None else self.uplink.node

    @property
    def pending(self) -> dict[str, PendingJoin]:
        """Joins that wait for the joined node, by nick."""
        return {} if self.uplink is None else self.uplink.pending

    def node(self, jid: str) -> Node | None:
        """Return the joined node or the joining node with this bare JID."""
        joined = self.joinedNode
        return joined if joined is not None and joined.jid == jid else self.joiningNodes.get(jid)

    def occupantAt(self, address: str) -> Occupant | None:
        """Return the occupant of another node whose stanzas come from this address."""
        node = self.node(jids.bare(address))
        return None if node is None else node.occupants.get(address.partition("/")[2])

    def downstreamAt(self, address: str) -> Occupant | None:
        """Return the occupant of a joining node whose stanzas come from this address."""
        node = self.joiningNodes.get(jids.bare(address))
        return None if node is None else node.occupants.get(address.partition("/")[2])

    def isHere(self, address: str) -> bool:
        """True if an occupant of this node, or of a joining node, sends from this address."""
        return address in self.room.users or self.downstreamAt(address) is not None

    def isDownstream(self, occupant: Occupant) -> bool:
        """True if the occupant is connected through this node: a local user, or an occupant of a joining node."""
        return self.uplink is None or occupant.node is not self.uplink.node

    @property
    def downstreamCount(self) -> int:
        """Number of downstream occupants: local users and occupants of joining nodes."""
        return len(self.room.occupants) - (0 if self.uplink is None else len(self.uplink.node.occupants))

    @property
    def keepsNodes(self) -> bool:
        """True if a joining node may stay without occupants."""
        return any(node.isKept for node in self.joiningNodes.values())

    def toNode(self, node: Node, stanza: Content, identifier: str | None = None) -> bool:
        """Send a stanza to a node; return False if nothing of it crosses the link."""
        whole = stanza
        if node.isOpenfire and isinstance(stanza, Reject):
            stanza = quirks.rejection(stanza, isinstance(node, JoiningNode) and node.hasJoined)
        if node.profile is not BROADBAND:
            sent, words = crossing(node.profile, stanza)
            if words:
                node.leftOut += len(words)
                self.room.emit(LeftOut(tuple(words)))
            if sent is None:
                return False
            stanza = sent
            if isinstance(stanza, OccupantPresence | Admission):
                node.waiting.told(stanza.presence if isinstance(stanza, Admission) else stanza)
            elif isinstance(stanza, Join):
                node.waiting.toldPayload(stanza.request.nick, stanza.request.payload)
        if isinstance(stanza, Submission) and isinstance(node, JoinedNode) and node.returnsShort:
            stanza = evolve(stanza, digest=digest(stanza.message))
            # What is shown when it comes back includes all that has not crossed.
            assert isinstance(whole, Submission)
            node.awaited.sent(stanza.digest, whole.message)
        isJoined = node is self.joinedNode
        isBrief = self._isBrief(node, stanza)
        self.room.emit(
            ToNode(self.room.jid, node.jid, node.dialect, isJoined, stanza, identifier, isBrief, node.channel)
        )
        return True

    def _isBrief(self, node: Node, stanza: Content) -> bool:
        """
        True if a message need not name its sender, whom the other node knows by the presence. In primary mode, the
        joined node's name distinguishes the sessions of a user who is at both nodes.
        """
        message = stanza.message if isinstance(stanza, Submission) else stanza
        if not isinstance(message, RoomMessage) or message.delay is not None:
            return False
        sender = self.room.occupants.get(message.nick)
        isReplica = node.mode.current is Mode.REPLICA
        if sender is None:
            return False
        if node.channel is not None:
            # Presence cannot have been lost.
            isKnown = node is self.joinedNode or node in sender.nodes or not sender.isHidden
            return isKnown and (isReplica or node is self.joinedNode or node not in sender.nodes)
        isGateway = isinstance(node, JoinedNode | JoiningNode) and node.resumes
        return node.profile.isBrief and isGateway and isReplica


def presenceAt(node: Node, occupant: Occupant, presence: OccupantPresence) -> OccupantPresence:
    """Return an occupant's presence for a node: with the JID of the session there, by which the node knows it."""
    session = occupant.sessionAt(node)
    return presence if session is None else evolve(presence, realJid=session.jid)
