"""The federated rooms of one component: makes, restores and removes them. Pure."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable

from gateway import ns
from gateway.addresses import jids
from gateway.errors import GatewayError, NoSuchAddress, NotInTheRoom, NotMirrored
from gateway.fmuc import holding, invitations
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.channel.values import ChannelState
from gateway.fmuc.destroyed import DestroyedRooms
from gateway.fmuc.federation import Federation
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.nodes import JoinedNode, JoiningNode, Node
from gateway.fmuc.properties import Properties
from gateway.fmuc.senders import within
from gateway.fmuc.uplink.known_users import isOpen
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, FederationMode, NodePresence
from gateway.muc import whois
from gateway.muc.actions import Action
from gateway.muc.ids import Ids
from gateway.muc.info import Info
from gateway.muc.invitations import invitationsOf
from gateway.muc.records import Record, Row, removal
from gateway.muc.room import Bounds, Room
from gateway.muc.service import RoomService
from gateway.muc.values import Message, Presence

# For the operator: a reload does not make all users leave and join again.
LATER = "mirrors with users that keep the earlier {options} until they join anew: {count}"


class FederatedRooms(RoomService):
    """
    All rooms of one component; L{gateway.fmuc.core.Rooms} handles their stanzas.

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
        if mirroring is not None:
            self.name = "Mirrored rooms"
            self.areMirrors = True
            # A message without a stanza id is in the history alone.
            self.durability.hasArchive = False

    # Rooms and nodes.

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

    def _isFromJoined(self, sender: str, recipient: str) -> bool:
        """
        True if a stanza to a mirror comes from the room that the mirror stands for. If nobody is in the mirror,
        that room must learn it: this gateway was restarted, and the room still shows the former occupants.
        """
        return self.areMirrors and self.mirrored(jids.bare(recipient)) == jids.bare(sender)

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
        self._mirroring.check(self.mirrored(jid), self.jid)

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
        """Return the room that an address stands for, as L{Mirroring.mirrored}; C{None} if it stands for none."""
        return None if self._mirroring is None else self._mirroring.mirrored(jid)

    # An earlier process.

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
            else:
                uplink.restoreJoins(now)
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
