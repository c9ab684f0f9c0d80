"""
The rooms of one component: routes each stanza to the rules for its sender. Pure.

The sender's address alone decides whether a stanza is the joined node's, a joining node's or a local user's;
nothing in the stanza does.
"""

from __future__ import annotations

from collections import Counter

from attrs import frozen

from gateway import jids
from gateway.errors import (
    GatewayError,
    Loop,
    Malformed,
    NoSuchAddress,
    NotAMirror,
    NotAPeer,
    NotMirrored,
    NoVoiceRequests,
    Stopping,
    TooManyRooms,
    TooMuch,
    Unreadable,
)
from gateway.fmuc import from_joined, from_joining, groupchat, invitations, presence, private_messages
from gateway.fmuc.actions import Action, LogLine, SendError
from gateway.fmuc.datetimes import UtcClock
from gateway.fmuc.leave import close, remove
from gateway.fmuc.room import Bounds, JoinedNode, Node, Room, Settings, UplinkState
from gateway.fmuc.uplink import expire, leaveNow, occupantLeft
from gateway.fmuc.values import (
    DELIVERY_ERRORS,
    SERVICE_SHUTDOWN,
    TECHNICAL_PROBLEM,
    Dialect,
    Message,
    Presence,
    PresenceChange,
    StanzaError,
    stanzaError,
)


def within(domain: str, domains: frozenset[str]) -> bool:
    """True if a list of domains in the configuration contains a domain."""
    return domain in domains or "*" in domains


@frozen(kw_only=True)
class Mirroring:
    """
    Configuration of a mirror.

    @ivar dialect: protocol that is spoken with joined nodes.
    @ivar replica: True for replica mode: a message is shown when the joined node's copy arrives; otherwise at once.
    @ivar allow: domains whose rooms may be mirrored.
    @ivar users: domains whose users may join through the mirror.
    """

    dialect: Dialect = Dialect.XEP_0289
    replica: bool = True
    allow: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()


class Rooms:
    """
    All rooms of one component.

    @ivar jid: JID of the component.
    @ivar rooms: by bare JID.
    @ivar utcClock: the time of day; each C{now} is on the link's clock.
    @ivar home: the server's own domain; empty if it is unknown.
    @param mirroring: C{None} if the rooms are the component's own.
    @param peers: domains whose nodes may join.
    """

    def __init__(
        self, jid: str, mirroring: Mirroring | None, peers: frozenset[str], bounds: Bounds | None = None
    ) -> None:
        self.jid = jid
        self.rooms: dict[str, Room] = {}
        self._made: Counter[str] = Counter()
        self._mirroring = mirroring
        self._peers = peers
        self._bounds = bounds or Bounds()
        self.utcClock = UtcClock()
        self.home = ""
        self._out: list[Action] = []

    @property
    def isMirror(self) -> bool:
        """True if the rooms are mirrors."""
        return self._mirroring is not None

    def presence(self, sender: str, recipient: str, stanza: Presence, now: float) -> list[Action]:
        """Handle a presence of type none, unavailable or error to a room or an occupant."""
        local, _, nick = jids.split(recipient)
        jid = jids.bare(recipient)
        peer, _, resource = sender.partition("/")
        room = self.rooms.get(jid)
        if not local:
            if stanza.joins:
                self._refuse("presence", recipient, sender, stanza.id, NoSuchAddress, isJoin=True)
            return self._taken()
        if _isJoin(stanza, resource, nick) and not self._isUser(sender, stanza):
            self._nodeJoins(room, jid, sender, nick, stanza, now)
        elif room is None:
            if stanza.stanzaError is None and not stanza.unavailable:
                self._userJoins(jid, sender, nick, stanza, now)
        elif room.joinedNode is not None and peer == room.joinedNode.jid:
            from_joined.presence(room, room.joinedNode, resource, nick, stanza, now)
        elif peer in room.joiningNodes:
            from_joining.presence(room, sender, nick or resource, stanza, now)
        elif stanza.stanzaError is not None:
            self._bounced(room, sender, stanza.stanzaError, now)
        elif stanza.unavailable or sender in room.users:
            presence.fromUser(room, sender, nick, stanza, now)
        else:
            self._userJoins(jid, sender, nick, stanza, now)
        return self._done(room or self.rooms.get(jid))

    def message(self, sender: str, recipient: str, stanza: Message, now: float) -> list[Action]:
        """Handle a message to a room or an occupant."""
        jid, _, nick = recipient.partition("/")
        peer, _, resource = sender.partition("/")
        room = self.rooms.get(jid)
        if room is None:
            if stanza.kind != "error":
                self._refuse("message", recipient, sender, stanza.id, NoSuchAddress)
        elif room.joinedNode is not None and peer == room.joinedNode.jid:
            from_joined.message(room, room.joinedNode, resource, nick, stanza, now)
        elif peer in room.joiningNodes:
            from_joining.message(room, room.joiningNodes[peer], resource, nick, stanza, now)
        elif stanza.stanzaError is not None and stanza.stanzaError.condition in DELIVERY_ERRORS:
            self._bounced(room, sender, stanza.stanzaError, now)
        elif nick:
            private_messages.fromUser(room, sender, nick, stanza)
        elif stanza.kind == "groupchat":
            groupchat.fromUser(room, sender, stanza, now)
        elif stanza.kind != "error" and stanza.invitations:
            invitations.fromUser(room, sender, stanza)
        elif stanza.kind != "error":
            # XEP-0045 section 17.2: "or reject them with a <bad-request/> error".
            why = NoVoiceRequests if stanza.form else Unreadable
            self._refuse("message", recipient, sender, stanza.id, why)
        return self._done(room)

    def unread(
        self, sender: str, recipient: str, identifier: str | None, why: type[GatewayError], joins: bool
    ) -> list[Action]:
        """
        Answer an available presence that the stream refused. A join and another nick get an error: the user, or the
        node, waits for an answer. A change of status gets none: clients take an error for their removal.

        @param joins: true if the first bytes of the presence ask to join.
        """
        local, _, nick = jids.split(recipient)
        peer = jids.bare(sender)
        room = self.rooms.get(jids.bare(recipient))
        isIn = False
        if room is not None:
            if room.joinedNode is not None and room.joinedNode.jid == peer:
                return []
            occupant = room.occupants.get(nick)
            isIn = occupant is not None and (
                occupant.realJid == sender if occupant.node is None else occupant.node.jid == peer
            )
        if local and (joins or (nick and not isIn)):
            self._refuse("presence", recipient, sender, identifier, why, isJoin=True)
        return self._taken()

    def speaker(self, sender: str, recipient: str) -> str:
        """
        Return the user that the copies of a stanza are charged to: the bare JID of a local user, or the address of
        an occupant behind a joining node. It is empty for the joined node, which hands on stanzas of others.
        """
        peer, _, resource = sender.partition("/")
        room = self.rooms.get(jids.bare(recipient))
        if room is not None and sender in room.users:
            return peer
        if room is not None and room.joinedNode is not None and room.joinedNode.jid == peer:
            # In a mirror, messages of local users come back this way.
            occupant = room.occupants.get(resource)
            return jids.bare(occupant.realJid) if occupant is not None and occupant.node is None else ""
        if within(jids.split(peer)[1], self._peers):
            return sender if resource else ""
        return peer

    def node(self, room: str, jid: str) -> Node | None:
        """Return the joined or joining node of a room; both arguments are bare JIDs."""
        found = self.rooms.get(room)
        return None if found is None else found.node(jid)

    def settled(self, room: Room) -> list[Action]:
        """Return the actions of a change to a room that was made outside of this class."""
        return self._done(room)

    def tick(self, now: float) -> list[Action]:
        """Handle deadlines that have passed."""
        for room in list(self.rooms.values()):
            joinedNode = room.joinedNode
            if joinedNode is not None and (
                room.pending or joinedNode.state in (UplinkState.JOINING, UplinkState.LEAVING)
            ):
                expire(room, joinedNode, now)
                self._sweep(room)
        return self._taken()

    def shutDown(self) -> list[Action]:
        """End the service and tell everybody (XEP-0045 section 11.2)."""
        for room in list(self.rooms.values()):
            if room.joinedNode is not None:
                leaveNow(room, room.joinedNode, stanzaError(Stopping))
            close(room, PresenceChange(unavailable=True, codes=(SERVICE_SHUTDOWN,)))
        self.rooms.clear()
        self._made.clear()
        return self._taken()

    # Joins.

    def _nodeJoins(self, room: Room | None, jid: str, sender: str, nick: str, stanza: Presence, now: float) -> None:
        why: type[GatewayError] | None = None
        peer = jids.bare(sender)
        if not within(jids.split(peer)[1], self._peers) or not jids.split(peer)[0]:
            why = NotAPeer
            self._logLine(f'{peer} may not join {jid}: its domain is not in "peers"')
        elif room is not None and room.joinedNode is not None and room.joinedNode.jid == peer:
            why = Loop
        elif room is None:
            # The user creates the room, not the node, which has many users. The domain is the node's, because the
            # node may name users of any domain.
            creator = jids.bare(stanza.fmuc.realJid if stanza.fmuc is not None else peer)
            room, why = self._make(jid, creator, jids.split(peer)[1])
        if room is None or why is not None:
            self._out.append(
                from_joining.reject(jid, sender, stanza, "" if why is NotAPeer else nick, why or NoSuchAddress)
            )
            return
        from_joining.presence(room, sender, nick, stanza, now)

    def _userJoins(self, jid: str, user: str, nick: str, stanza: Presence, now: float) -> None:
        why: type[GatewayError] | None = None
        room = self.rooms.get(jid)
        if self._mirroring is not None and not within(jids.split(user)[1], self._mirroring.users):
            why = NotMirrored
            self._logLine(f'{jids.split(user)[1]} is not in "users" of this mirror')
        elif room is None and stanza.joins:
            room, why = self._make(jid, jids.bare(user), jids.split(user)[1])
        elif room is None and nick and stanza.fmuc is None:
            self._out.append(presence.notInRoom(jid, nick, user))
            return
        elif room is None:
            why = NoSuchAddress
        if room is None or why is not None:
            self._refuse(
                "presence", f"{jid}/{nick}" if nick else jid, user, stanza.id, why or NoSuchAddress, stanza.joins
            )
            return
        presence.fromUser(room, user, nick, stanza, now)

    def _isUser(self, sender: str, stanza: Presence) -> bool:
        """True if the sender can only be a user; then FMUC elements mean nothing."""
        domain, resource = jids.split(sender)[1:]
        if not resource or within(domain, self._peers):
            return False
        isDownstream = self._mirroring is not None and domain in self._mirroring.users
        return isDownstream or stanza.item is None

    def _make(self, jid: str, creator: str, domain: str) -> tuple[Room | None, type[GatewayError] | None]:
        """
        Create a room, or return the error.

        @param domain: domain that the join comes from. Other servers may have any number of accounts, so all users
            of one domain together may create as many rooms as are left: half of all, if nobody else creates any.
        """
        creators = creator, f"@{domain}"
        if self._made[creator] >= self._bounds.made:
            return None, TooManyRooms
        left = self._bounds.rooms - len(self.rooms)
        if left <= 0 or (domain != self.home and self._made[creators[1]] >= left):
            return None, TooMuch
        problem = self.problem(jid)
        if problem is NotMirrored:
            self._logLine(f'{self.mirrored(jid)} may not be mirrored: its domain is not in "allow"')
        if problem is not None:
            return None, problem
        room = self.rooms[jid] = Room(jid, self._out, self._bounds, self.utcClock, creators)
        self._made.update(creators)
        if self._mirroring is not None:
            source = self.mirrored(jid) or ""
            room.joinedNode = JoinedNode(source, self._mirroring.dialect, wanted=self._mirroring.replica)
        return room, None

    def open(self, name: str, settings: Settings) -> None:
        """Create one of the component's own rooms at the start."""
        jid = f"{name}@{self.jid}"
        self.rooms[jid] = Room(jid, self._out, self._bounds, self.utcClock, settings=settings)

    def problem(self, jid: str) -> type[GatewayError] | None:
        """Return the error if there can be no room with this address."""
        if self._mirroring is None:
            # XEP-0045 section 16.1: "Room IDs MUST match the Nodeprep profile".
            return None if jids.isPrepared(jid) else Malformed
        source = self.mirrored(jid)
        if source is None:
            return NotAMirror
        domain = jids.split(source)[1]
        # A user's address is not a room's: otherwise users could be sent stanzas between nodes.
        isElsewhere = domain != self.jid and domain not in self._mirroring.users
        return None if isElsewhere and within(domain, self._mirroring.allow) else NotMirrored

    def _logLine(self, text: str) -> None:
        """Log a warning."""
        self._out.append(LogLine(f"{self.jid}: {text}", warn=True))

    def mirrored(self, jid: str) -> str | None:
        """
        Return the room that a mirror's address stands for (XEP-0106); C{None} if it stands for none.

        Of several spellings of the escapes only the canonical one is valid.
        """
        local = jids.split(jid)[0]
        source = jids.unescapeLocal(local)
        right = jids.isPrepared(source) and jids.escapeLocal(source) == local
        there, domain, resource = jids.split(source)
        return source if right and there and domain and not resource else None

    # Removal.

    def _bounced(self, room: Room, user: str, why: StanzaError, now: float) -> None:
        """
        Remove a user after a delivery error.

        "a MUC service SHOULD remove a user if the service receives a delivery-related error in relation to a stanza
        it has previously sent to the user" (XEP-0045 section 16.1.2).
        """
        occupant = room.users.get(user)
        if occupant is not None and why.condition in DELIVERY_ERRORS:
            remove(room, occupant, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
            occupantLeft(room, occupant, now)

    def _refuse(
        self,
        name: str,
        address: str,
        user: str,
        identifier: str | None,
        why: type[GatewayError],
        isJoin: bool = False,
    ) -> None:
        self._out.append(SendError(name, address, user, identifier, stanzaError(why), isJoin))

    def _done(self, room: Room | None) -> list[Action]:
        if room is not None:
            self._sweep(room)
        return self._taken()

    def _sweep(self, room: Room) -> None:
        """Remove a room that is empty."""
        if not room.isEmpty or room.settings.persistent or self.rooms.pop(room.jid, None) is None:
            return
        for creator in room.creators:
            if self._made[creator] > 1:
                self._made[creator] -= 1
            else:
                del self._made[creator]

    def _taken(self) -> list[Action]:
        taken, self._out[:] = self._out[:], []
        return taken


def _isJoin(stanza: Presence, resource: str, nick: str) -> bool:
    """
    True if a presence is a joining node's join. A joined node's presence comes from an occupant's address and has
    no element C{x} of C{muc}.
    """
    fmuc = stanza.fmuc
    if (
        fmuc is None
        or not fmuc.realJid
        or stanza.unavailable
        or stanza.stanzaError is not None
        or fmuc.reject is not None
    ):
        return False
    return stanza.joins or (not resource and bool(nick))
