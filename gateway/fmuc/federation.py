"""The other nodes of one room: what the room asks them and tells them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve

from gateway.addresses import jids
from gateway.errors import LinkDown, NotPrivate, OnlyInTheRoom, OutboxFull
from gateway.fmuc import admission, join_requests, quirks
from gateway.fmuc.actions import ConfirmLeft, PrivateMessage, Return, Submission
from gateway.fmuc.channel.values import ChannelState
from gateway.fmuc.node_table import NodeTable, presenceAt
from gateway.fmuc.nodes import Doubt, JoiningNode, Node
from gateway.fmuc.returned import digest
from gateway.fmuc.uplink.states import UplinkState
from gateway.muc.occupant import Node as AnyNode
from gateway.muc.occupant import Occupant
from gateway.muc.values import (
    AVAILABLE,
    MODERATOR,
    UNAVAILABLE,
    JoinRequest,
    OccupantPresence,
    Payload,
    Presence,
    PresenceChange,
    RoomMessage,
    Standing,
    StanzaError,
)


@define(eq=False)
class Federation(NodeTable):
    """
    The other nodes of one room; implements L{gateway.muc.port.OtherNodes}.

    @ivar administrators: domains of nodes that may pass on the administration of their users.
    @ivar isReturned: True while a message is passed on that the joined node has returned by a reference. Any other
        message may be that of another session of its sender.
    @ivar exposesPrivate: True if private messages are sent to nodes that show them to all occupants.
    @ivar destruction: set when the room is destroyed.
    """

    administrators: frozenset[str] = frozenset()
    isReturned: bool = False
    exposesPrivate: bool = False
    destruction: PresenceChange | None = None

    @property
    def isMirror(self) -> bool:
        return self.uplink is not None

    @property
    def isIdle(self) -> bool:
        isNeeded = self.uplink is not None and (self.uplink.isLeaving or self.uplink.isKept)
        return not self.pending and not self.joiningNodes and not isNeeded

    @property
    def returnsMessages(self) -> bool:
        return self.uplink is not None and self.uplink.node.returnsMessages

    @property
    def joinedRoom(self) -> str:
        return "" if self.uplink is None else self.uplink.node.jid

    def checkAuthority(self, address: str) -> None:
        # XEP-0289: "an owner on another node cannot effect changes to the affiliation lists on this node", unless
        # this node's operator trusts the other one with that.
        if jids.split(address)[1] not in self.administrators:
            raise OnlyInTheRoom

    def records(self) -> Mapping[str, str]:
        found = {jid: node.record() for jid, node in self.joiningNodes.items() if node.hasJoined}
        uplink = self.uplink
        if uplink is not None and uplink.state is not UplinkState.IDLE:
            uplink.node.entered = uplink.notJoined()
            found[uplink.node.jid] = uplink.node.record()
            # No node has a resource.
            found |= {f"{uplink.node.jid}/{name}": text for name, text in uplink.outgoing.records()}
        return found

    # Joins.

    def requestJoin(self, request: JoinRequest, now: float, node: JoiningNode | None = None) -> bool:
        """As L{join_requests.ask}: C{node} is the joining node that the request comes from."""
        return join_requests.ask(self, request, now, node)

    def whileJoining(self, user: str, nick: str, stanza: Presence, now: float) -> bool:
        return join_requests.whileJoining(self, user, nick, stanza, now)

    def admit(
        self, request: JoinRequest, node: JoiningNode | None, standing: Standing, now: float, created: bool = False
    ) -> Occupant:
        return admission.admit(self, request, node, standing, now, created)

    # Presence and messages.

    def submitPresence(self, occupant: Occupant, payload: Payload, identifier: str | None) -> bool:
        if self.uplink is None:
            return False
        joined = self.uplink.node
        if joined.profile.gather:
            # It is shown at once, and does not come back.
            joined.waiting.nicks[occupant.nick] = None
            return False
        if not self.uplink.offer(occupant, payload, identifier):
            return False
        self.toNode(joined, evolve(occupant.presence(AVAILABLE), payload=payload), identifier)
        if joined.returnsPresence and not (joined.channel is not None and joined.channel.replaces(occupant.nick)):
            self.uplink.changes[occupant.nick] += 1
        return joined.returnsPresence

    def isChanging(self, occupant: Occupant) -> bool:
        return self.uplink is not None and occupant.nick in self.uplink.resumption.offered

    def submitMessage(self, message: RoomMessage, now: float) -> bool:
        joined = self.joinedNode
        if self.uplink is None or joined is None:
            return False
        self.uplink.checkMessage(message.nick, now)
        if self.uplink.keeps(message, now):
            return False
        self.uplink.submits(message, now)
        isSent = self.toNode(joined, Submission(_withoutId(message), nomirror=not joined.returnsMessages))
        # "it MUST NOT fan out this message to local users until it receives the message copy from the MUC".
        return isSent and joined.returnsMessages

    def submitForm(self, message: RoomMessage) -> None:
        uplink = self.uplink
        if uplink is not None:
            _checkRoom(uplink.node)
            marked = evolve(message, id=uplink.formMark + (message.id or ""))
            self.toNode(uplink.node, PrivateMessage(marked, ""))

    def askModerators(self, message: RoomMessage) -> bool:
        asked = [
            (node, occupant.nick)
            for node in self.joiningNodes.values()
            if node.isServed and jids.split(node.jid)[1] in self.administrators
            for occupant in node.occupants.values()
            if occupant.standing.role == MODERATOR and not occupant.addresses
        ]
        for node, nick in asked:
            self.toNode(node, PrivateMessage(message, nick))
        return bool(asked)

    def sendPresence(
        self,
        occupant: Occupant,
        presence: OccupantPresence,
        shown: OccupantPresence | None,
        own: bool,
        identifier: str | None,
    ) -> None:
        for node in self.joiningNodes.values():
            isOwn = node in occupant.nodes
            stanza = presence if isOwn else shown
            if stanza is not None and node.hasJoined and (not own or not isOwn or node.returnsPresence):
                isSender = isOwn and occupant.allSessions()[-1].node is node
                if node.profile.gather and node.waiting.mayWait(presenceAt(node, occupant, stanza)):
                    if not isSender:
                        node.waiting.nicks[occupant.nick] = None
                    continue
                if not node.isServed:
                    continue
                self.toNode(node, presenceAt(node, occupant, stanza), identifier if isSender else None)

    def sendMessage(self, message: RoomMessage, origin: AnyNode | None) -> None:
        sender = self.room.occupants.get(message.nick) if self.joiningNodes else None
        if sender is not None and message.delay is None and not sender.isHidden:
            # Otherwise the sender has left: a message that has come back, or a subject that was set earlier.
            message = _withoutId(message)
        for node in self.joiningNodes.values():
            # ProtoXEP, "Fire and Forget": the MUC "MUST NOT resend this message to the proxy".
            # A subject is returned over a channel: another one may have crossed it.
            isReturned = node.returnsMessages or (message.subject and node.channel is not None)
            if node.isServed and (isReturned or node is not origin):
                isOwn = node is origin and (self.uplink is None or self.isReturned)
                # A process that was killed does not know what it has sent; a channel still keeps the order.
                if isOwn and node.resumes and node.channel is None and message.delay is None:
                    self.toNode(node, Return(message.nick, digest(message), message.stanzaId))
                else:
                    self.toNode(node, message if node is origin else _messageAt(node, message))

    def sendPrivate(
        self, recipient: Occupant, message: RoomMessage, error: StanzaError | None, origin: AnyNode | None
    ) -> None:
        nodes = self._nodesOf(recipient, origin)
        if message.nick and error is None:
            for node in nodes:
                self._checkPrivate(node)
        for node in nodes:
            if error is not None and node.channel is not None and not node.channel.hasRoom():
                # Nobody can be told, and what others send has priority.
                continue
            # A message of the room itself is none of the joined node's.
            if message.nick or node is not self.joinedNode:
                self.toNode(node, PrivateMessage(_withoutId(message), recipient.nick, error))

    def _checkPrivate(self, node: Node) -> None:
        """
        Check that an occupant's message to another one may be sent to a node now.

        @raise GatewayError: if it would be shown to others, or cannot be kept.
        """
        if quirks.exposesPrivate(node) and not self.exposesPrivate:
            raise NotPrivate
        _checkRoom(node)
        if node is self.joinedNode and self.isLost and (self.returnsMessages or node.channel is None):
            # In primary mode a channel keeps it.
            raise LinkDown

    @staticmethod
    def _nodesOf(occupant: Occupant, origin: AnyNode | None) -> list[Node]:
        """Return the nodes through which an occupant is connected, without one of them."""
        return [node for node in occupant.nodes if isinstance(node, Node) and node is not origin]

    # Leaving.

    def removed(self, occupant: Occupant, own: bool) -> None:
        if self.uplink is not None:
            self.uplink.occupantRemoved(occupant)
        for each in self.joiningNodes.values():
            # In primary mode a node is not told of the leaves of its own users.
            each.waiting.forget(occupant.nick)
        for node in occupant.nodes:
            if not isinstance(node, JoiningNode) or node.occupants or node.isKept:
                continue
            if own:
                self.release(node)
            elif node.isServed:
                # A node in doubt without a channel is told when it resumes. Joins in flight count as a first join.
                self._confirmLeft(node)
                self.release(node)

    def sessionLeft(self, node: AnyNode, presence: OccupantPresence, identifier: str | None) -> None:
        assert isinstance(node, JoiningNode)
        if node.returnsPresence:
            self.toNode(node, presence, identifier)
        self.release(node)

    def welcomed(self, user: str) -> None:
        if self.uplink is not None:
            self.uplink.showLoss(user)

    def sessionReplaced(self, occupant: Occupant, realJid: str) -> None:
        """
        Openfire knows each session by its JID: the new one has joined now, and the old one leaves. A node of the
        gateway knows one session, and needs no leave.
        """
        presence = evolve(occupant.presence(UNAVAILABLE), realJid=realJid, payload=Payload())
        nodes: list[Node] = [node for node in self.joiningNodes.values() if node.isServed]
        if self.uplink is not None and self.uplink.isIn:
            nodes.append(self.uplink.node)
        for node in nodes:
            if not node.returnsPresence and node not in occupant.nodes and not occupant.isHidden:
                self.toNode(node, presence)

    def left(self, occupant: Occupant, now: float) -> None:
        if self.uplink is not None:
            self.uplink.occupantLeft(occupant, now)

    def closed(self, change: PresenceChange) -> None:
        if change.destroyed:
            self.destruction = change
        nodes = list(self.joiningNodes.values())
        for node in nodes:
            for occupant in node.occupants.values():
                if node.hasJoined:
                    self.toNode(node, presenceAt(node, occupant, occupant.presence(change)))
        for node in nodes:
            for occupant in list(node.occupants.values()):
                self.room.remove(occupant)
            self.release(node, isFinal=True)
        if self.uplink is not None:
            self.uplink.changes.clear()

    def compareAll(self, now: float) -> None:
        for node in self.joiningNodes.values():
            if node.channel is None:
                # It is asked after each restart.
                continue
            if node.channel.state is ChannelState.OPEN:
                node.doubt = node.doubt or Doubt(now, now + self.room.bounds.gone)
            else:
                node.isRenewed = True

    def release(self, node: JoiningNode, isFinal: bool = False) -> None:
        """
        Remove a joining node that has no occupants and no pending joins.

        @param isFinal: True if it may not stay without them any longer.

        XEP-0289 section 6.4: "the joining node will be considered to have left the FMUC set [...] The joined room
        confirms that the joining room has left the set by sending a presence stanza".
        """
        isNeeded = any(pending.isOf(node) for pending in self.pending.values())
        if node.occupants or isNeeded or (node.isKept and not isFinal):
            return
        if self.joiningNodes.pop(node.jid, None) is not None and node.hasJoined:
            self._confirmLeft(node)
        self.room.changes.nodes = True

    def endStays(self) -> None:
        """End the stays of joining nodes without occupants: this node leaves, and cannot keep them up to date."""
        for node in [each for each in self.joiningNodes.values() if each.isKept and not each.occupants]:
            # If a join through it waits, the node gets the answer to a first join.
            self._confirmLeft(node)
            self.release(node)

    def _confirmLeft(self, node: JoiningNode) -> None:
        node.hasJoined = False
        self.room.changes.nodes = True
        self.toNode(node, ConfirmLeft())
        self.room.log(f"no longer mirrored by {node.jid}")


def _checkRoom(node: Node) -> None:
    """
    Check that the channel with a node can keep a further stanza.

    @raise OutboxFull: if it cannot.
    """
    if node.channel is not None and not node.channel.hasRoom():
        raise OutboxFull


def _withoutId(message: RoomMessage) -> RoomMessage:
    """Return a message for another node, which knows the occupant id of a present sender by the presence."""
    return evolve(message, occupantId="")


def _messageAt(node: Node, message: RoomMessage) -> RoomMessage:
    """
    Return a message for a node that it does not come from. If the sender has another session there, it is not this
    session's: in primary mode the node shows its own messages at once, and no copy of them.
    """
    occupant = node.occupants.get(message.nick)
    session = None if occupant is None else occupant.sessionAt(node)
    if occupant is None or session is None:
        return message
    other = next((each.jid for each in occupant.sessions if each.jid != session.jid), jids.bare(session.jid))
    return evolve(message, realJid=other)
