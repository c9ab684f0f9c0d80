"""The other nodes of one room: what the room asks them and tells them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from gateway.addresses import jids
from gateway.errors import (
    GatewayError,
    JoinedElsewhere,
    LinkDown,
    Loop,
    NickChangeForbidden,
    NickInUse,
    NotPrivate,
    OnlyInTheRoom,
    OutboxFull,
    ResourceLimit,
    RoomFull,
)
from gateway.fmuc import quirks
from gateway.fmuc.actions import (
    Admission,
    ConfirmLeft,
    Content,
    Join,
    LeftOut,
    PrivateMessage,
    Reject,
    Return,
    Submission,
    ToNode,
)
from gateway.fmuc.channel_values import ChannelState
from gateway.fmuc.channels import Channels
from gateway.fmuc.nodes import Doubt, JoinedNode, JoiningNode, Node
from gateway.fmuc.pending import PendingJoin
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.returned import digest
from gateway.fmuc.returning import Uplink
from gateway.fmuc.thinning import crossing
from gateway.fmuc.uplink import UplinkState
from gateway.fmuc.values import Mode
from gateway.muc import join
from gateway.muc.occupant import Node as AnyNode
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import (
    AVAILABLE,
    CREATED,
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
    person,
    stanzaError,
)

# Withdrawn joins with one nick that the joined node has not answered; above this number, further ones are refused.
_MAX_OWED = 100


@define(eq=False)
class Federation:
    """
    The other nodes of one room; implements L{gateway.muc.port.OtherNodes}.

    A room with a joined node is a mirror of the room there. Every room may have joining nodes, which mirror it.

    @ivar uplink: relation with the joined node; C{None} if the room is this node's own.
    @ivar joiningNodes: by bare JID.
    @ivar administrators: domains of nodes that may pass on the administration of their users.
    @ivar isReturned: True while a message is passed on that the joined node has returned by a reference. Any other
        message may be that of another session of its sender.
    @ivar channels: the channels of the service; C{None} if it has none, because nothing is stored.
    @ivar exposesPrivate: True if private messages are sent to nodes that show them to all occupants.
    @ivar destruction: set when the room is destroyed.
    """

    room: Room
    uplink: Uplink | None = None
    joiningNodes: dict[str, JoiningNode] = field(factory=dict)
    administrators: frozenset[str] = frozenset()
    isReturned: bool = False
    channels: Channels | None = None
    exposesPrivate: bool = False
    destruction: PresenceChange | None = None

    @property
    def isMirror(self) -> bool:
        return self.uplink is not None

    @property
    def isLost(self) -> bool:
        """True if this is a mirror whose joined node cannot be reached now."""
        return self.uplink is not None and self.uplink.state is UplinkState.LOST

    @property
    def isIdle(self) -> bool:
        isNeeded = self.uplink is not None and (self.uplink.isLeaving or self.uplink.isKept)
        return not self.pending and not self.joiningNodes and not isNeeded

    @property
    def returnsMessages(self) -> bool:
        return self.uplink is not None and self.uplink.node.returnsMessages

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
        node = self.node(jids.bare(address))
        return None if node is None else node.occupants.get(address.partition("/")[2])

    @property
    def joinedRoom(self) -> str:
        return "" if self.uplink is None else self.uplink.node.jid

    def downstreamAt(self, address: str) -> Occupant | None:
        node = self.joiningNodes.get(jids.bare(address))
        return None if node is None else node.occupants.get(address.partition("/")[2])

    def isHere(self, address: str) -> bool:
        """True if an occupant of this node, or of a joining node, sends from this address."""
        return address in self.room.users or self.downstreamAt(address) is not None

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

    def isDownstream(self, occupant: Occupant) -> bool:
        """True if the occupant is connected through this node: a local user, or an occupant of a joining node."""
        return self.uplink is None or occupant.node is not self.uplink.node

    @property
    def downstreamCount(self) -> int:
        """Number of downstream occupants: local users and occupants of joining nodes."""
        return len(self.room.occupants) - (0 if self.uplink is None else len(self.uplink.node.occupants))

    def toNode(self, node: Node, stanza: Content, identifier: str | None = None) -> bool:
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

    # Joins.

    def requestJoin(self, request: JoinRequest, now: float, node: JoiningNode | None = None) -> bool:
        """
        Ask the joined node to admit a user; return False if this node decides itself.

        @param node: the joining node that the request comes from; C{None} for a local user.
        @raise GatewayError: if the user may not enter.
        """
        if self.uplink is not None and node is None and self._joinsOwn(request, now):
            return True
        self._checkConflict(request, node)
        if self.uplink is None:
            return False
        most, earlier = self.room.bounds.pending, self.pending.get(request.nick)
        # The joined node may answer nothing, while users join and leave again and again.
        if len(self.pending) >= most or (earlier is not None and earlier.owed >= min(_MAX_OWED, most)):
            raise ResourceLimit
        if len(self.room.occupants) >= self.room.bounds.occupants:
            raise RoomFull
        if node is None and self._pendingOf(request.realJid) is not None:
            raise NickChangeForbidden
        if self._isKnownElsewhere(request, node):
            # To the joined node, both joins come from this node: it would assume a restart of this node.
            raise JoinedElsewhere
        self.uplink.join(request, node, now)
        return True

    def _joinsOwn(self, request: JoinRequest, now: float) -> bool:
        """
        Handle the join of a further session of a local user (XEP-0045 section 7.2.8); False if it is none.

        The joined node sees one occupant, whom it has admitted already.
        """
        occupant, pending = self.room.occupants.get(request.nick), self.pending.get(request.nick)
        who = person(request.realJid)
        if occupant is not None and not occupant.nodes:
            # A local user has the nick, so it is this one, whose join would have been refused otherwise.
            if self._pendingOf(request.realJid) is not None:
                # The client has asked for another nick before; it is one occupant at most.
                raise NickChangeForbidden
            join.addSession(self.room, occupant, request, now)
            return True
        if pending is None or not pending.isOf(None) or person(pending.request.realJid) != who:
            return False
        if self._pendingOf(request.realJid) is not None:
            raise NickChangeForbidden
        if len(pending.further) + 1 >= self.room.bounds.sessions:
            raise ResourceLimit
        pending.further[request.realJid] = request
        return True

    def _checkConflict(self, request: JoinRequest, node: JoiningNode | None) -> None:
        """
        Raise the error of a nick that another user has or has asked for (XEP-0045 section 7.2.8).

        A join that went round a loop comes back with the nick and the real JID that it had here, whether the nodes
        on its way know of loops or not: none of them may change these.
        """
        there = self.room.occupants.get(request.nick)
        pending = self.pending.get(request.nick)
        if pending is not None and pending.isWithdrawn:
            pending = None
        if there is None and pending is None:
            return
        real = request.realJid
        isOccupant = there is not None and _hasElsewhere(there, real, node)
        hasAsked = pending is not None and pending.request.realJid == real and pending.origin is not node
        if node is not None and (isOccupant or hasAsked):
            raise Loop
        if pending is not None or there is None or not self._mayShare(there, request):
            raise NickInUse

    def _mayShare(self, occupant: Occupant, request: JoinRequest) -> bool:
        """
        True if a user may have a further session as this occupant (XEP-0045 section 7.2.8).

        A mirror asks the joined node, if the occupant is connected there. Its own occupants are connected in one
        way each: the joined node does not tell which session of an occupant has sent a message that comes back.
        """
        isMirrored = self.uplink is not None and self.isDownstream(occupant)
        return not isMirrored and occupant.person == person(request.realJid)

    def _isKnownElsewhere(self, request: JoinRequest, node: JoiningNode | None) -> bool:
        """
        True if the user is an occupant, or has asked to join, through another node: this one, or another joining
        node. The nick differs, because L{_checkConflict} refuses the same one.
        """
        real = request.realJid
        if node is not None and real in self.room.users:
            return True
        return any(real in each.users for each in self.joiningNodes.values() if each is not node) or any(
            one.request.realJid == real and one.origin is not node and not one.isWithdrawn
            for one in self.pending.values()
        )

    def _pendingOf(self, user: str) -> PendingJoin | None:
        """Return a local user's pending join."""
        each = (
            one
            for one in self.pending.values()
            if one.isOf(None) and (one.request.realJid == user or user in one.further)
        )
        return next(each, None)

    def whileJoining(self, user: str, nick: str, stanza: Presence, now: float) -> bool:
        pending = self._pendingOf(user)
        if pending is None or self.uplink is None:
            return False
        further = pending.further.get(user)
        if stanza.joins and not stanza.unavailable:
            return pending.request.nick == nick
        if further is not None:
            del pending.further[user]
            if not stanza.unavailable:
                pending.further[user] = evolve(further, payload=stanza.payload)
        elif stanza.unavailable:
            self._withdraw(pending, now)
        elif pending.isSent:
            pending.newPresence = stanza
        else:
            pending.request = evolve(pending.request, payload=stanza.payload)
        return True

    def _withdraw(self, pending: PendingJoin, now: float) -> None:
        """Withdraw a local user's join; another session of the user that waits joins anew."""
        assert self.uplink is not None
        further, pending.further = pending.further, {}
        self.uplink.withdraw(pending, now)
        for request in further.values():
            try:
                self.requestJoin(request, now)
            except GatewayError as error:
                self.uplink.refuse(request, stanzaError(type(error)))

    def admit(
        self, request: JoinRequest, node: JoiningNode | None, standing: Standing, now: float, created: bool = False
    ) -> Occupant:
        """
        Add an occupant and tell all.

        @param node: the joining node through which the occupant is connected; C{None} for a local user.
        @param created: True if the join has created the room.
        """
        if node is None:
            return join.admit(self.room, request, standing, now, created)
        room = self.room
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
        self._welcome(node, occupant, occupants, request, now, created)
        return occupant

    def addSession(self, occupant: Occupant, request: JoinRequest, node: JoiningNode, now: float) -> None:
        """
        Add a further session of an occupant (XEP-0045 section 7.2.8), through a joining node.

        @raise GatewayError: if there are too many.
        """
        isAnswered = node.hasJoined and node.returnsPresence and request.payload != occupant.payload
        join.addSession(self.room, occupant, request, now, node)
        isDue = node.returnsPresence or request.asksId or occupant.standing != request.claimedStanding
        if not node.hasJoined:
            others = [other for other in self.room.occupants.values() if other is not occupant]
            self._welcome(node, occupant, others, request, now)
        elif isDue and not isAnswered:
            self.toNode(node, presenceAt(node, occupant, occupant.presence(AVAILABLE)))

    def _welcome(
        self,
        node: JoiningNode,
        occupant: Occupant,
        others: list[Occupant],
        request: JoinRequest,
        now: float,
        created: bool = False,
    ) -> None:
        """Send everything to a node whose first user is admitted."""
        room = self.room
        # XEP-0289 section 6.1: "the list of current occupants and message context in the same order as specified in
        # XEP-0045", and the new occupant's own presence.
        told = [other for other in others if not other.isHidden]
        for other in told:
            self.toNode(node, other.presence(AVAILABLE))
        node.hasJoined = True
        room.changes.nodes = True
        room.log(f"mirrored by {node.jid}")
        change = PresenceChange(codes=(CREATED,)) if created else AVAILABLE
        own = presenceAt(node, occupant, occupant.presence(change))
        epoch = None if self.channels is None else self.channels.agreed(room.jid, node)
        self.toNode(node, Admission(own, node.mode.current, node.resumes, epoch, node.keep, len(told)))
        if self.channels is not None and epoch is not None:
            self.channels.begin(room.jid, node, epoch, now)
            # If the node is welcomed again, because this join and a removal have crossed, the channel goes on.
            node.offer = None
        for message in room.recent(request.limits, node.jid, now):
            self.toNode(node, message)
        self.toNode(node, subjectOf(room))

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


def _hasElsewhere(occupant: Occupant, user: str, node: JoiningNode | None) -> bool:
    """True if an occupant has a session with this full JID, through another node than C{node}."""
    return any(each.jid == user and each.node is not node for each in occupant.allSessions())


def presenceAt(node: Node, occupant: Occupant, presence: OccupantPresence) -> OccupantPresence:
    """Return an occupant's presence for a node: with the JID of the session there, by which the node knows it."""
    session = occupant.sessionAt(node)
    return presence if session is None else evolve(presence, realJid=session.jid)


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
