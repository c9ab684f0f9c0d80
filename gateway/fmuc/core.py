"""The federated rooms of one component: routes each stanza to the rules for its sender. Pure."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from attrs import evolve, field, frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    GatewayError,
    LinkDown,
    Loop,
    NoSuchAddress,
    NotAMirror,
    NotAPeer,
    NotInTheRoom,
    NotMirrored,
    OnlyInTheRoom,
    ResourceLimit,
    Stopping,
)
from gateway.fmuc import (
    from_joined,
    from_joining,
    gathering,
    holding,
    invitations,
    messages_from_joined,
    quirks,
    senders,
)
from gateway.fmuc.actions import AskProperties, Kept, ToNode
from gateway.fmuc.channel_values import ChannelState
from gateway.fmuc.channels import Channels, Event, Forgotten, Place, isRequest
from gateway.fmuc.destroyed import DestroyedRooms, goneXml
from gateway.fmuc.federation import Federation
from gateway.fmuc.known_users import isOpen
from gateway.fmuc.nodes import JoinedNode, JoiningNode, Node
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.properties import Properties, asksProperties
from gateway.fmuc.returning import Uplink
from gateway.fmuc.senders import Sender, within
from gateway.fmuc.uplink import UplinkState
from gateway.fmuc.values import Dialect, FederationMode, Mode, NodeMessage, NodePresence
from gateway.muc import from_user, whois
from gateway.muc.actions import Action, SendError, SendResult
from gateway.muc.ids import Ids
from gateway.muc.info import Info
from gateway.muc.invitations import invitationsOf
from gateway.muc.occupant_iq import errorOf
from gateway.muc.records import Record, Row, removal
from gateway.muc.room import Bounds, Room
from gateway.muc.service import RoomService
from gateway.muc.values import Message, Presence, stanzaError
from gateway.stream.stanzas import Stanza

# Requests that a mirror passes on: administration, configuration, registration, the vCard.
_OF_JOINED = frozenset((ns.MUC_ADMIN, ns.MUC_OWNER, ns.REGISTER, ns.VCARD))
# States of the uplink that have a deadline.
_WAITING = frozenset(UplinkState) - {UplinkState.IDLE, UplinkState.JOINED}
# For the operator: a reload does not make all users leave and join again.
LATER = "mirrors with users that keep the earlier {options} until they join anew: {count}"
# The users of a mirror, for rooms that are none.
_NOBODY: frozenset[str] = frozenset()


@frozen(kw_only=True)
class Mirroring:
    """
    Configuration of a mirror.

    @ivar dialect: protocol that is spoken with joined nodes.
    @ivar mode: mode to ask joined nodes for.
    @ivar allow: domains whose rooms may be mirrored.
    @ivar users: domains whose users may join through the mirror.
    @ivar profile: of the links to rooms.
    @ivar profiles: of those to rooms of some domains.
    @ivar keep: seconds for which a mirror stays in a room without users.
    @ivar backing: domain of the ordinary rooms (XEP-0045) that the rooms of this component stand for; empty if they
        stand for federated rooms anywhere. L{gateway.fmuc.backing.Backing} speaks with ordinary rooms.
    """

    dialect: Dialect = Dialect.XEP_0289
    mode: Mode = Mode.REPLICA
    allow: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    profile: Profile = BROADBAND
    profiles: Mapping[str, Profile] = field(factory=dict)
    keep: int = 0
    backing: str = ""

    def profileOf(self, room: str) -> Profile:
        """Return the profile of the link to a room."""
        return self.profiles.get(jids.split(room)[1], self.profile)


class Rooms(RoomService):
    """
    All rooms of one component.

    @ivar observeJoin: is called with the seconds that a mirror's first join took; C{None} if nobody needs them.
    @ivar comparisons: number of answers of joined nodes by L{ResumeAnswer.outcome}.
    @ivar properties: properties of the joined rooms of mirrors.
    @ivar destroyed: rooms that were destroyed, for nodes that were away.
    @ivar channels: reliable channels to other nodes; C{None} if nothing is stored.
    @ivar exposesPrivate: as in L{Federation}.
    @ivar token: distinguishes ids of this process from those of an earlier one.
    @param mirroring: C{None} if the rooms are the component's own.
    @param peers: domains whose nodes may join.
    @param administrators: domains among them whose nodes may pass on the administration of their users.
    """

    def __init__(
        self,
        jid: str,
        mirroring: Mirroring | None,
        peers: frozenset[str],
        bounds: Bounds | None = None,
        ids: Ids | None = None,
        administrators: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(jid, bounds, ids)
        self.token = secrets.token_hex(4)
        self.channels: Channels | None = None
        self.destroyed = DestroyedRooms()
        self.properties = Properties(self, self.token)
        self.exposesPrivate = False
        self._mirroring = mirroring
        self._peers = peers
        self.observeJoin: Callable[[float], object] | None = None
        self.comparisons: Counter[str] = Counter()
        self._administrators = administrators
        # Rooms whose other nodes have to be asked whether stanzas are lost.
        self._disturbed: deque[str] = deque()
        if mirroring is not None:
            self.name = "Mirrored rooms"
            self.areMirrors = True
            # A message without a stanza id is in the history alone.
            self.durability.hasArchive = False

    # Stanzas.

    def presence(self, sender: str, recipient: str, stanza: NodePresence, now: float) -> list[Action]:
        """Handle a presence of type none, unavailable or error to a room or an occupant."""
        if not jids.split(recipient)[0]:
            return from_user.toService(sender, recipient, stanza)
        federation = self.federation(jids.bare(recipient))
        users = _NOBODY if self._mirroring is None else self._mirroring.users
        joined = None if federation is None else federation.joinedNode
        if joined is not None and jids.bare(sender) == joined.jid and quirks.announcesJoin(recipient, stanza):
            assert federation is not None and federation.uplink is not None
            federation.uplink.isOpenfire()
            return self.settled(federation.room)
        if senders.isJoin(sender, recipient, stanza, self._peers, users):
            return self._nodeJoins(sender, recipient, stanza, now)
        if federation is None and self._isFromJoined(sender, recipient):
            # A destroyed room confirms that this mirror of it has left.
            isLeft = stanza.fmuc is not None and stanza.fmuc.left
            isAnswered = not (isLeft or stanza.unavailable or stanza.stanzaError is not None)
            return [_absent("presence", sender, recipient, stanza.id)] if isAnswered else []
        handle = None if federation is None else _PRESENCE.get(senders.kindOf(federation, sender))
        if federation is None or handle is None:
            if stanza.fmuc is not None and self.channels is not None and self.channels.isKnown(sender, recipient):
                # The node does not know yet that it has left: the channel tells it.
                return []
            return from_user.presence(self, sender, recipient, stanza, now)
        handle(federation, sender, recipient, stanza, now)
        return self.settled(federation.room)

    def message(self, sender: str, recipient: str, stanza: NodeMessage, now: float) -> list[Action]:
        """Handle a message to a room or an occupant."""
        federation = self.federation(jids.bare(recipient))
        if federation is None and self._isFromJoined(sender, recipient):
            return [] if stanza.kind == "error" else [_absent("message", sender, recipient, stanza.id)]
        handle = None if federation is None else _MESSAGE.get(senders.kindOf(federation, sender))
        if federation is None or handle is None:
            room = None if federation is None else federation.room
            return from_user.message(self, room, sender, recipient, stanza, now)
        handle(federation, sender, recipient, stanza, now)
        if stanza.codes and handle is messages_from_joined.message:
            # The configuration has changed.
            self.properties.forget(federation.room.jid)
        return self.settled(federation.room)

    def request(self, stanza: Stanza, now: float) -> list[Action] | None:
        """
        Handle an iq request that concerns other nodes: a joining node's fence, which waits until its join is
        answered; an invitation by an occupant of a joining node; disco#info of a mirror, which waits until the
        joined node has told its properties; a request for the joined node by a user who is not in the mirror.

        @return: C{None} if the request is another one.
        @raise GatewayError: the answer is this error.
        """
        jid = stanza.recipient or ""
        federation = self.federation(jid)
        if isRequest(stanza):
            if self.channels is None:
                # Nothing is stored any longer.
                raise NoSuchAddress
            return [self.channels.request(stanza, now)]
        resume = holding.payloadOf(stanza)
        if resume is not None:
            return self._resumes(federation, stanza, resume, now)
        if federation is not None and from_joining.holdsFence(federation, stanza):
            return []
        if federation is not None and invitations.answer(federation, stanza, self.iqs, now):
            return self.settled(federation.room)
        source = self.mirrored(jid) if self._mirroring is not None and "/" not in jid else None
        if self._mirroring is None or source is None:
            return None
        if _asksJoined(stanza) and (federation is None or not federation.isHere(stanza.sender or "")):
            self.checkAddress(jid)
            # ProtoXEP, "Administration": "connect directly to the MUC and follow the standard process". No address
            # stands for this user there.
            text = f"A mirror passes on the requests of its occupants: join it, or ask {source} itself."
            why = evolve(stanzaError(OnlyInTheRoom), text=text)
            return [SendError("iq", jid, stanza.sender or "", stanza.id, why)]
        if federation is not None and federation.isLost and _asksJoined(stanza):
            raise LinkDown
        if not asksProperties(stanza):
            return None
        self.checkAddress(jid)
        domain = jids.split(stanza.sender or "")[1]
        if not (within(domain, self._mirroring.users) or within(domain, self._peers)):
            raise NotMirrored
        asked = self.properties.ask(jid, stanza, now)
        if asked is None:
            return None
        return [ToNode(jid, source, self._mirroring.dialect, True, AskProperties(asked))] if asked else []

    def _resumes(
        self, federation: Federation | None, stanza: Stanza, payload: domish.Element, now: float
    ) -> list[Action]:
        """Handle the request of a joining node to resume, or that of the joined node to do so."""
        uplink = None if federation is None else federation.uplink
        room, peer = stanza.recipient or "", stanza.sender or ""
        if federation is not None and uplink is not None and uplink.node.jid == peer:
            if not uplink.isIn or stanza.type != "get":
                raise NoSuchAddress
            answer = SendResult(federation.room.jid, uplink.node.jid, stanza.id or "")
            uplink.disturbed(now)
            return self.settled(federation.room, answer)
        if not within(jids.split(peer)[1], self._peers):
            raise NoSuchAddress
        change = self.destroyed.owed(room, peer)
        if change is not None and self.node(room, peer) is None:
            return [ToNode(room, peer, Dialect.XEP_0289, False, Kept(goneXml(stanza, change)))]
        if self.channels is not None and self.channels.isKnown(peer, room) and self.node(room, peer) is None:
            # It has left, and its channel delivers that, with the reasons of removals. Until then it asks again.
            raise ResourceLimit
        if federation is None:
            raise NoSuchAddress
        return self.settled(federation.room, *holding.resumed(federation, stanza, payload, now))

    def answered(self, stanza: Stanza, now: float) -> list[Action] | None:
        """Handle an iq of type result or error; C{None} if it answers no request of the rooms' own."""
        pinged = self.pinged(stanza, now)
        if pinged is not None:
            return pinged
        if self.channels is not None and self.channels.answered(stanza, now):
            return []
        sender, (here, _, nick) = stanza.sender or "", (stanza.recipient or "").partition("/")
        federation = self.federation(here)
        uplink = None if federation is None else federation.uplink
        condition = errorOf(stanza).condition if stanza.type == "error" else ""
        if federation is not None and holding.answered(federation, stanza, self.token, condition, now):
            return self.settled(federation.room)
        if federation is not None and uplink is not None and not nick and sender == uplink.node.jid:
            if uplink.occupantsTold(stanza, condition, now):
                return self.settled(federation.room)
            if uplink.inquiry.answered(stanza.id or ""):
                info = None if condition else self.properties.read(here, stanza, now)
                uplink.described(condition, info, quirks.isOfOpenfire(stanza), now)
                return self.settled(federation.room)
            answer = holding.readAnswer(stanza, condition)
            if uplink.resumeAnswered(stanza.id or "", answer, now):
                self.comparisons[answer.outcome] += 1
                return self.settled(federation.room)
        if self._mirroring is not None and not nick and sender == self.mirrored(here):
            actions, known = self.properties.answered(here, stanza, now), self.properties.known(here)
            if uplink is not None and actions is not None and known is not None:
                uplink.learnLate(whois.toldBy(known.features))
                uplink.users.isOpen = isOpen(known.features)
            return actions
        if federation is None or uplink is None or uplink.node.jid != sender or not uplink.pending:
            return None
        error = errorOf(stanza) if stanza.type == "error" else None
        isKnown = uplink.answered(nick, stanza.id or "", error, now)
        return self.settled(federation.room) if isKnown else None

    def channelChanged(self, place: Place, event: Event, now: float) -> list[Action]:
        """Handle a change of a channel."""
        federation = self.federation(place[0])
        node = None if federation is None else federation.node(place[1])
        isJoined = isinstance(node, JoinedNode)
        if node is None and isinstance(event, Forgotten) and self.channels is not None:
            # Nobody has to learn what is left.
            self.channels.drop(place)
        if federation is None:
            return []
        if isinstance(node, JoiningNode):
            holding.channelChanged(federation, node, event, now)
        elif federation.uplink is not None and isJoined:
            federation.uplink.channelChanged(event, now)
        return self.settled(federation.room)

    def mayBeNode(self, jid: str, room: str) -> bool:
        """True if an address (bare JID) may be a node of a room (bare JID)."""
        return within(jids.split(jid)[1], self._peers) or self._isFromJoined(jid, room)

    def isWatched(self, room: str, jid: str) -> bool:
        """
        True if the node with a JID is the joined one of a room, and users here wait for it; or if it is a joining
        node that has occupants, or does not answer: it may have forgotten this one, and its occupants are not there
        any longer.
        """
        federation = self.federation(room)
        uplink = None if federation is None else federation.uplink
        if federation is None or uplink is None or uplink.node.jid != jid:
            node = None if federation is None else federation.joiningNodes.get(jid)
            channel = None if node is None else node.channel
            isLost = channel is not None and channel.state is ChannelState.LOST
            return isLost or (node is not None and bool(node.occupants))
        return bool(federation.room.users or federation.joiningNodes or uplink.pending or uplink.isLeaving)

    @property
    def pending(self) -> int:
        """Number of requests that wait for an occupant's answer, or a joined room's."""
        return len(self.iqs) + len(self.properties) + len(self.ghosts)

    def joinedInfo(self, jid: str) -> Info | None:
        return self.properties.known(jid)

    def givesIds(self, jid: str) -> bool:
        mirroring = self._mirroring
        if mirroring is None or (mirroring.dialect is Dialect.XEP_0289 and not mirroring.backing):
            return True
        # By the ProtoXEP, and by XEP-0045, a room names no users, so the mirror cannot make ids itself: they "MUST
        # be generated such that" they are stable (XEP-0421 section 4.1).
        known = self.joinedInfo(jid)
        return known is not None and ns.OCCUPANT_ID in known.features

    def federation(self, room: str) -> Federation | None:
        """
        Return the other nodes of a room.

        @param room: bare JID.
        """
        found = self.rooms.get(room)
        if found is None:
            return None
        assert isinstance(found.nodes, Federation)
        return found.nodes

    def node(self, room: str, jid: str) -> Node | None:
        """Return the joined or joining node of a room; both arguments are bare JIDs."""
        federation = self.federation(room)
        return None if federation is None else federation.node(jid)

    def _nodeJoins(self, sender: str, recipient: str, stanza: NodePresence, now: float) -> list[Action]:
        """Handle the join of a user of another node."""
        jid, _, nick = recipient.partition("/")
        peer = jids.bare(sender)
        federation = self.federation(jid)
        try:
            if not within(jids.split(peer)[1], self._peers) or not jids.split(peer)[0]:
                self.log(f'{peer} may not join {jid}: its domain is not in "peers"')
                raise NotAPeer
            if federation is not None and federation.joinedNode is not None and federation.joinedNode.jid == peer:
                raise Loop
            if federation is None:
                # The user creates the room, not the node, which has many users. The domain is the node's, because
                # the node may name users of any domain.
                creator = jids.bare(stanza.fmuc.realJid if stanza.fmuc is not None else peer)
                self.make(jid, creator, jids.split(peer)[1])
                federation = self.federation(jid)
        except GatewayError as error:
            return self.settled(
                None, from_joining.reject(jid, sender, stanza, "" if isinstance(error, NotAPeer) else nick, error)
            )
        assert federation is not None
        from_joining.presenceOf(federation, sender, nick, stanza, now)
        if peer in federation.joiningNodes:
            self._record(self.destroyed.joined(jid, peer))
        return self.settled(federation.room)

    def _isFromJoined(self, sender: str, recipient: str) -> bool:
        """
        True if a stanza to a mirror comes from the room that the mirror stands for. If nobody is in the mirror,
        that room must learn it: this gateway was restarted, and the room still shows the former occupants.
        """
        return self.areMirrors and self.mirrored(jids.bare(recipient)) == jids.bare(sender)

    def absent(self, jid: str) -> GatewayError:
        if self._mirroring is None:
            return super().absent(jid)
        # Nobody is in this mirror. The room may exist, but the sender is not in it (XEP-0045 section 7.4).
        try:
            self.checkAddress(jid)
        except GatewayError as error:
            return error
        return NotInTheRoom()

    def outsider(self, jid: str, nick: str, user: str, stanza: Presence) -> Action:
        if isinstance(stanza, NodePresence) and stanza.fmuc is not None:
            raise NoSuchAddress
        return super().outsider(jid, nick, user, stanza)

    def invite(self, room: Room, user: str, stanza: Message, now: float) -> None:
        federation = room.nodes
        assert isinstance(federation, Federation)
        if self._mirroring is None or not invitationsOf(stanza):
            super().invite(room, user, stanza, now)
            return
        known, users = self.joinedInfo(room.jid), self._mirroring.users
        invitations.ask(federation, user, stanza, self.iqs, users, known, now)

    # Charges and refused stanzas.

    def unread(
        self, sender: str, recipient: str, identifier: str | None, error: type[GatewayError], joins: bool
    ) -> list[Action]:
        """Handle an available presence that the stream refused; C{joins} is as for L{senders.isAnswered}."""
        if not senders.isAnswered(self.federation(jids.bare(recipient)), sender, recipient, joins):
            return []
        return [SendError("presence", recipient, sender, identifier, stanzaError(error), isJoin=True)]

    def speaker(self, sender: str, recipient: str) -> str:
        """Return the user that the copies of a stanza are charged to, as L{senders.speaker} does."""
        return senders.speaker(self.federation(jids.bare(recipient)), sender, self._peers)

    # Time.

    def tick(self, now: float) -> list[Action]:
        actions = super().tick(now) + self._disturb(now)
        most = holding.MAX_ASKED
        for room in list(self.rooms.values()):
            federation = room.nodes
            assert isinstance(federation, Federation)
            if federation.joiningNodes:
                most -= holding.tick(federation, self.token, now, most)
                gathering.tick(federation, now)
                actions += self.settled(room)
            uplink = federation.uplink
            if uplink is not None and uplink.node.waiting.nicks:
                gathering.tick(federation, now)
                actions += self.settled(room)
            if uplink is not None and (
                uplink.pending or uplink.state in _WAITING or min(uplink.probeAt, uplink.emptyUntil) <= now
            ):
                uplink.expire(now)
                actions += self.settled(room)
        return actions + self.properties.expire(now)

    def reconnected(self, now: float) -> list[Action]:
        """Handle a new connection: stanzas between nodes may be lost. Return what is sent at once."""
        self._disturbed = deque(self.rooms)
        return self._disturb(now)

    def _disturb(self, now: float) -> list[Action]:
        """Ask other nodes whether stanzas are lost: those of some rooms at a time."""
        actions: list[Action] = []
        for _ in range(min(len(self._disturbed), holding.MAX_ASKED)):
            federation = self.federation(self._disturbed.popleft())
            if federation is not None:
                holding.doubt(federation, now)
                holding.tick(federation, self.token, now, len(federation.joiningNodes))
                if federation.uplink is not None:
                    federation.uplink.disturbed(now, isReconnected=True)
                actions += self.settled(federation.room)
        return actions

    def shutDown(self, isFinal: bool = True) -> list[Action]:
        actions = self.properties.stop()
        for room in list(self.rooms.values()):
            federation = self.federation(room.jid)
            uplink = None if federation is None else federation.uplink
            if uplink is not None and (isFinal or not self.durability.isOn):
                uplink.leaveNow(stanzaError(Stopping))
            elif uplink is not None:
                uplink.refuseJoins(stanzaError(Stopping))
                actions += self.settled(room)
        return [*actions, *super().shutDown(isFinal)]

    def restoredNode(self, room: Room, jid: str, record: str) -> Node | None:
        federation = room.nodes
        assert isinstance(federation, Federation)
        uplink = federation.uplink
        if uplink is not None and "/" in jid:
            uplink.outgoing.load(jid.partition("/")[2], record)
            return None
        if uplink is not None and uplink.node.jid == jid:
            if record:
                node = JoinedNode.restored(jid, record)
                node.isOrdinary = uplink.node.isOrdinary
                uplink.restored(node)
                self._restoreChannel(room, node)
            return uplink.node
        if record:
            joining = federation.joiningNodes[jid] = JoiningNode.restored(jid, record)
            self._restoreChannel(room, joining)
        return federation.joiningNodes.get(jid)

    def _restoreChannel(self, room: Room, node: Node) -> None:
        if self.channels is not None:
            node.channel = self.channels.table.get((room.jid, node.jid))
        if node.channel is not None:
            node.channel.setPace(node.profile.pace)

    def restore(self, rows: Iterable[Row], now: float) -> None:
        super().restore(self.destroyed.restore(rows), now)
        for room in list(self.rooms.values()):
            federation = room.nodes
            assert isinstance(federation, Federation)
            for node in federation.joiningNodes.values():
                if not within(jids.split(node.jid)[1], self._peers):
                    self.log(f'{node.jid} may not join {room.jid} any longer: its domain is not in "peers"')
                    holding.expel(federation, node, now)
            uplink = federation.uplink
            if uplink is None:
                continue
            self._removeUsers(room)
            uplink.continued(now)
            if uplink.state is UplinkState.IDLE:
                self._remove(room)
                self._records += [removal(room.jid), *self.destroyed.records(room.jid)]
            elif not federation.downstreamCount and not uplink.stays(now):
                # A leave, or the answer to a first join, was in flight.
                for occupant in list(room.occupants.values()):
                    room.remove(occupant)
                uplink.abandoned()
        count, options = self.later()
        if count:
            self.log(LATER.format(options=" and ".join(options), count=count))

    def later(self) -> tuple[int, tuple[str, ...]]:
        """
        Return the number of mirrors in rooms that were told an earlier configuration, and the options that differ.
        """
        federations = filter(None, map(self.federation, self.rooms))
        found = [each.uplink.later for each in federations if each.uplink is not None and each.uplink.later]
        return len(found), tuple(dict.fromkeys(option for each in found for option in each))

    def _removeUsers(self, room: Room) -> None:
        """Remove users of a mirror who may not use it any longer: the configuration was changed."""
        for jid in list(room.users):
            try:
                self.checkAddress(room.jid)
                self.checkUser(jid)
            except GatewayError:
                occupant = room.users.get(jid)
                # It was removed with another session of the same user.
                if occupant is not None:
                    room.remove(occupant)

    def _remove(self, room: Room) -> bool:
        isStored = super()._remove(room)
        federation = room.nodes
        assert isinstance(federation, Federation)
        if federation.destruction is not None and self._peers:
            self._record(self.destroyed.add(room.jid, federation.destruction))
        elif isStored:
            # The removal of the room removes this record, too.
            self._record(self.destroyed.records(room.jid))
        return isStored

    def _record(self, found: list[Record]) -> None:
        if self.durability.isOn:
            self._records += found

    # Mirrors.

    def newRoom(self, jid: str, creators: tuple[str, ...] = ()) -> Room:
        room = super().newRoom(jid, creators)
        room.nodes = federation = Federation(
            room,
            administrators=self._administrators,
            channels=self.channels,
            exposesPrivate=self.exposesPrivate,
        )
        if self._mirroring is not None:
            mode = FederationMode(self._mirroring.mode)
            source = self.mirrored(jid) or ""
            joined = JoinedNode(source, self._mirroring.dialect, mode, self._mirroring.profileOf(source))
            joined.isOrdinary = bool(self._mirroring.backing)
            federation.uplink = Uplink(federation, joined, self.token, self.observeJoin)
            federation.uplink.keep = self._mirroring.keep
            known = self.properties.known(jid)
            federation.uplink.told = None if known is None else whois.toldBy(known.features)
            federation.uplink.users.isOpen = known is not None and isOpen(known.features)
        return room

    def checkAddress(self, jid: str) -> None:
        if self._mirroring is None:
            super().checkAddress(jid)
            return
        source = self.mirrored(jid)
        if source is None:
            raise NoSuchAddress if self._mirroring.backing else NotAMirror
        domain = jids.split(source)[1]
        # A user's address is not a room's: otherwise users could be sent stanzas between nodes.
        isElsewhere = domain != self.jid and domain not in self._mirroring.users
        if not isElsewhere or not within(domain, self._mirroring.allow):
            raise NotMirrored

    def make(self, jid: str, creator: str, domain: str) -> Room:
        try:
            return super().make(jid, creator, domain)
        except NotMirrored:
            self.log(f'{self.mirrored(jid)} may not be mirrored: its domain is not in "allow"')
            raise

    def checkUser(self, user: str) -> None:
        domain = jids.split(user)[1]
        if self._mirroring is not None and not within(domain, self._mirroring.users):
            self.log(f'{domain} is not in "users" of this mirror')
            raise NotMirrored

    def defaultName(self, jid: str) -> str:
        return (self.mirrored(jid) if self.areMirrors else None) or super().defaultName(jid)

    def mirrored(self, jid: str) -> str | None:
        """
        Return the room that a mirror's address stands for (XEP-0106); C{None} if it stands for none.

        Of several spellings of the escapes only the canonical one is valid. A room that stands for an ordinary one
        has its localpart; addresses with an escaped "@" are those of puppets.
        """
        local = jids.split(jid)[0]
        if self._mirroring is not None and self._mirroring.backing:
            isRoom = bool(local) and "@" not in jids.unescapeLocal(local) and jids.isPrepared(jid)
            return f"{local}@{self._mirroring.backing}" if isRoom else None
        source = jids.unescapeLocal(local)
        right = jids.isPrepared(source) and jids.escapeLocal(source) == local
        there, domain, resource = jids.split(source)
        return source if right and there and domain and not resource else None


# The rules for stanzas of nodes. Those for users are in L{gateway.muc.from_user}.
_PRESENCE = {Sender.JOINED_NODE: from_joined.presence, Sender.JOINING_NODE: from_joining.presence}
_MESSAGE = {Sender.JOINED_NODE: messages_from_joined.message, Sender.JOINING_NODE: from_joining.message}


def _asksJoined(stanza: Stanza) -> bool:
    """True if an iq request to a mirror is for the joined node."""
    if not any(each.encode() in stanza.raw for each in _OF_JOINED):
        return False
    payload = next(stanza.element.elements(), None)
    return payload is not None and payload.uri in _OF_JOINED


def _absent(name: str, sender: str, recipient: str, identifier: str | None) -> SendError:
    return SendError(name, recipient, sender, identifier, stanzaError(NoSuchAddress))
