"""
One room: its occupants, its nodes and its messages.

There is one kind of room. A room with a joined node is a mirror of the room there. Every room may have joining
nodes, which mirror it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import define, field, frozen

from gateway import jids
from gateway.fmuc.actions import Action, ConfirmLeft, Join, LogLine, PrivateMessage, Reject, ToNode, ToUsers
from gateway.fmuc.datetimes import UtcClock
from gateway.fmuc.history import History
from gateway.fmuc.values import (
    AVAILABLE,
    MODERATOR,
    NO_ROLE,
    NONE,
    OUTCAST,
    SELF,
    Audience,
    Delay,
    Dialect,
    HistoryLimits,
    JoinRequest,
    OccupantPresence,
    Payload,
    PresenceChange,
    RoomMessage,
    Standing,
    person,
)
from gateway.stream.stanzas import escape


@frozen(kw_only=True)
class Bounds:
    """
    Limits of one service.

    @ivar rooms: number of rooms.
    @ivar made: rooms created by one user (a bare JID).
    @ivar occupants: occupants of a room.
    @ivar nodes: joining nodes of a room.
    @ivar pending: joins of a room that the joined node has not answered.
    @ivar nick: bytes of a nick.
    @ivar messages: messages in the history of a room.
    @ivar bytes: size of the history of a room.
    @ivar affiliations: affiliations of a room.
    @ivar copies: bytes of all copies of one message.
    """

    rooms: int = 1_000
    made: int = 100
    occupants: int = 5_000
    nodes: int = 100
    pending: int = 1_000
    nick: int = 256
    messages: int = 50
    bytes: int = 256 * 1024
    affiliations: int = 5_000
    copies: int = 64 * 1024 * 1024


@define
class Settings:
    """
    Configuration of a room by its owners (XEP-0045 section 10).

    @ivar changeSubject: True if every occupant with voice may set the subject.
    @ivar public: True if the service lists the room.
    @ivar nonAnonymous: True if all occupants see real JIDs; otherwise only moderators do (semi-anonymous).
    @ivar persistent: True if the room stays when it is empty, until the process ends.
    """

    name: str = ""
    password: str = ""
    membersOnly: bool = False
    moderated: bool = False
    persistent: bool = False
    public: bool = True
    nonAnonymous: bool = False
    changeSubject: bool = True


class UplinkState(Enum):
    """
    State of the uplink, the relation with the joined node.

    C{LEAVING}: this node has left, and the confirmation is pending. Stanzas that are received meanwhile are stale.
    """

    IDLE = 0
    JOINING = 1
    JOINED = 2
    LEAVING = 3


@define(eq=False)
class Node:
    """
    A room elsewhere that forms one federated room with this one.

    @ivar jid: bare JID.
    @ivar replica: True if the joining one of the two nodes shows only what the joined one sends back.
    @ivar mirrors: True if the joined node sends messages back to the node that they come from.
    @ivar occupants: occupants who are connected through that node, by nick.
    @ivar joined: of a joining node: True if it has been sent the occupants and the history.
    @ivar bytesSent: bytes sent to it.
    @ivar bytesReceived: bytes received from it.
    """

    jid: str
    dialect: Dialect
    replica: bool = True
    mirrors: bool = True
    occupants: dict[str, Occupant] = field(factory=dict)
    joined: bool = False
    bytesSent: int = 0
    bytesReceived: int = 0

    @property
    def echoes(self) -> bool:
        """
        True if the joined node sends presence back to the node that it comes from.

        In the ProtoXEP it always does. XEP-0289 section 6.3: "in primary-primary mode they won't distribute the
        stanza back to the node from which they received it".
        """
        return self.replica or self.dialect is Dialect.PROTOXEP


@define(eq=False)
class JoinedNode(Node):
    """
    The joined node, with the state of the uplink.

    @ivar wanted: True if this node is configured for replica mode.
    @ivar agrees: True if the joined node has agreed to replica mode.
    @ivar deadline: end of the current wait, in seconds of the link's clock.
    @ivar latest: end of all that a first join brings.
    @ivar parting: nick of the last leave that was sent, until the joined node sends it back.
    @ivar parted: nicks of leaves that the joined node has not sent back, with the joining node of each. Messages
        from before the leave arrive before it.
    @ivar fresh: True if this node left before its first join was answered.
    """

    state: UplinkState = UplinkState.IDLE
    wanted: bool = False
    agrees: bool = False
    deadline: float = 0.0
    latest: float = 0.0
    parting: str = ""
    parted: dict[str, Node | None] = field(factory=dict)
    fresh: bool = False


@define(eq=False)
class Occupant:
    """
    An occupant.

    @ivar realJid: full JID; empty if the joined node does not tell it.
    @ivar nonAnonymous: True if every occupant may see the real JID.
    @ivar node: the node through which the occupant is connected; C{None} for a local user.
    @ivar address: of a local user: the JID, escaped for an XML attribute.
    @ivar changing: number of presence changes that the joined node has not sent back.
    """

    nick: str
    realJid: str
    standing: Standing
    payload: Payload
    nonAnonymous: bool
    node: Node | None = None
    address: bytes = b""
    changing: int = 0
    _last: OccupantPresence | None = None
    _person: tuple[str, str] = ("", "")

    @property
    def person(self) -> str:
        """The user's bare JID, as L{person} normalises it."""
        # A ban asks this of all occupants, and some addresses take long to prepare.
        if self._person[0] != self.realJid:
            self._person = self.realJid, person(self.realJid)
        return self._person[1]

    def presence(self, change: PresenceChange) -> OccupantPresence:
        """Return the occupant's current presence."""
        last = self._last
        if change is AVAILABLE and last is not None and self._isAs(last):
            return last
        # An occupant who leaves has no role. An occupant who changes the nick keeps it.
        standing = (
            Standing(self.standing.affiliation, NO_ROLE)
            if change.unavailable and not change.nick
            else self.standing
        )
        presence = OccupantPresence(
            nick=self.nick,
            realJid=self.realJid,
            nonAnonymous=self.nonAnonymous,
            standing=standing,
            payload=self.payload,
            change=change,
        )
        if change is AVAILABLE:
            # Every new occupant is sent this presence; it need not be serialised again for each.
            self._last = presence
        return presence

    def _isAs(self, presence: OccupantPresence) -> bool:
        return (
            presence.payload is self.payload
            and presence.standing is self.standing
            and presence.nick is self.nick
            and presence.realJid is self.realJid
            and presence.nonAnonymous is self.nonAnonymous
        )


@define(eq=False)
class Pending:
    """
    A join that waits for the joined node's answer.

    @ivar node: the joining node that sent the join; C{None} for a local user.
    @ivar sent: True if the join was sent. Joins after the first wait until the first is complete.
    @ivar standing: the standing that the joined node has given, once it has sent the occupant's presence.
    @ivar cancelled: number of earlier withdrawn joins with this nick whose answers are pending.
    @ivar withdrawn: True if this join was withdrawn, too.
    @ivar newPayload: presence that the user has sent since.
    """

    request: JoinRequest
    node: Node | None
    deadline: float
    sent: bool = False
    standing: Standing | None = None
    cancelled: int = 0
    withdrawn: bool = False
    newPayload: Payload | None = None


@define(eq=False)
class Room:
    """
    One room.

    @ivar jid: bare JID.
    @ivar out: actions, in their order.
    @ivar creators: names that the room is counted by: the bare JID of the user whose join created it, and the
        domain that the join came from.
    @ivar users: local users by full JID.
    @ivar joiningNodes: by bare JID.
    @ivar pending: joins that wait for the joined node, by nick.
    @ivar subject: the message that set the subject.
    @ivar affiliations: by bare JID; users with affiliation none are absent.
    @ivar utcClock: the time of day.
    @ivar stamped: stamp of the last message that was stamped here.
    """

    jid: str
    out: list[Action]
    bounds: Bounds
    utcClock: UtcClock
    creators: tuple[str, ...] = ()
    joinedNode: JoinedNode | None = None
    settings: Settings = field(factory=Settings)
    occupants: dict[str, Occupant] = field(factory=dict)
    users: dict[str, Occupant] = field(factory=dict)
    joiningNodes: dict[str, Node] = field(factory=dict)
    pending: dict[str, Pending] = field(factory=dict)
    subject: RoomMessage | None = None
    affiliations: dict[str, str] = field(factory=dict)
    stamped: float = 0.0
    history: History = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.history = History(self.bounds.messages, self.bounds.bytes)

    def node(self, jid: str) -> Node | None:
        """Return the joined node or the joining node with this bare JID."""
        return (
            self.joinedNode
            if self.joinedNode is not None and self.joinedNode.jid == jid
            else self.joiningNodes.get(jid)
        )

    # Messages.

    def stamp(self, now: float) -> Delay:
        """Return the delay of a message that is sent now."""
        self.stamped = self.utcClock.stampAfter(self.stamped, now)
        return Delay(self.jid, self.stamped)

    def recent(self, limits: HistoryLimits, recipient: str, now: float) -> list[RoomMessage]:
        """Return messages of the history, as L{History.recent}; C{now} is the link's clock."""
        return self.history.recent(limits, self.jid, recipient, self.utcClock.utc(now))

    # Occupants.

    def add(self, occupant: Occupant) -> None:
        """Add an occupant."""
        self.occupants[occupant.nick] = occupant
        if occupant.node is None:
            occupant.address = escape(occupant.realJid).encode()
            self.users[occupant.realJid] = occupant
        else:
            occupant.node.occupants[occupant.nick] = occupant

    def remove(self, occupant: Occupant) -> None:
        """Remove an occupant; nobody is told."""
        del self.occupants[occupant.nick]
        if occupant.node is None:
            del self.users[occupant.realJid]
        else:
            del occupant.node.occupants[occupant.nick]

    def isDownstream(self, occupant: Occupant) -> bool:
        """True if the occupant is connected through this node: a local user, or an occupant of a joining node."""
        return self.joinedNode is None or occupant.node is not self.joinedNode

    @property
    def downstreamCount(self) -> int:
        """Number of downstream occupants: local users and occupants of joining nodes."""
        return len(self.occupants) - (0 if self.joinedNode is None else len(self.joinedNode.occupants))

    @property
    def isEmpty(self) -> bool:
        """True if the room can be removed."""
        return not self.occupants and not self.pending and not self.joiningNodes and not self.isLeaving

    @property
    def isLeaving(self) -> bool:
        """True if the joined node has not yet confirmed that this node has left."""
        return self.joinedNode is not None and self.joinedNode.state is UplinkState.LEAVING

    def affiliation(self, user: str) -> str:
        """
        Return a user's affiliation, whether the user is an occupant or not.

        @param user: full or bare JID, in any spelling.
        """
        who = person(user)
        found = self.affiliations.get(who)
        # XEP-0045 section 9.2: a ban may name a whole domain.
        if found is None and self.affiliations.get(jids.split(who)[1]) == OUTCAST:
            return OUTCAST
        return found or NONE

    # Sending.

    def address(self, nick: str) -> str:
        """Return an occupant's address; the room's own if the nick is empty."""
        return f"{self.jid}/{nick}" if nick else self.jid

    def toUsers(
        self,
        stanza: OccupantPresence | RoomMessage,
        recipients: Sequence[bytes],
        showRealJid: bool = False,
        codes: tuple[int, ...] = (),
    ) -> None:
        """Send a stanza to some local users."""
        if recipients:
            self.out.append(ToUsers(self.jid, stanza, tuple(recipients), showRealJid, codes))

    def toNode(
        self, node: Node, stanza: Join | OccupantPresence | RoomMessage | Reject | ConfirmLeft | PrivateMessage
    ) -> None:
        """Send a stanza to a node."""
        self.out.append(ToNode(self.jid, node.jid, node.dialect, node is self.joinedNode, stanza))

    def log(self, text: str, warn: bool = False) -> None:
        """Log a line about this room."""
        self.out.append(LogLine(f"{self.jid}: {text}", warn))

    def sendPresence(self, occupant: Occupant, to: Occupant) -> None:
        """Send one occupant's presence to one local user."""
        showRealJid = occupant.nonAnonymous or to.standing.role == MODERATOR
        self.toUsers(occupant.presence(AVAILABLE), (to.address,), showRealJid)

    def audience(self, but: Occupant | None = None) -> Audience:
        """Return the addresses of local users, without one of them."""
        plain: list[bytes] = []
        privileged: list[bytes] = []
        for user in self.users.values():
            if user is not but:
                (privileged if user.standing.role == MODERATOR else plain).append(user.address)
        return tuple(plain), tuple(privileged)

    def broadcastPresence(
        self,
        occupant: Occupant,
        change: PresenceChange,
        includeOriginNode: bool,
        known: Audience | None = None,
        tellSelf: bool = True,
    ) -> None:
        """
        Send an occupant's presence to all local users, including the occupant, and to the joining nodes.

        @param includeOriginNode: True to include the joining node through which the occupant is connected.
        @param known: the other local users, if they are known already.
        @param tellSelf: False to leave the occupant out.
        """
        presence = occupant.presence(change)
        plain, privileged = known or self.audience(occupant)
        if occupant.nonAnonymous:
            self.toUsers(presence, plain + privileged, True)
        else:
            self.toUsers(presence, plain)
            self.toUsers(presence, privileged, True)
        if occupant.node is None and tellSelf:
            self.sendSelfPresence(occupant, change)
        for node in self.joiningNodes.values():
            if node.joined and (includeOriginNode or node is not occupant.node):
                self.toNode(node, presence)

    def sendSelfPresence(self, occupant: Occupant, change: PresenceChange, *codes: int) -> None:
        """Send a local user's own presence, with code 110 (XEP-0045 section 7.2.2)."""
        self.toUsers(occupant.presence(change), (occupant.address,), occupant.nonAnonymous, (*codes, SELF))

    def broadcastMessage(self, message: RoomMessage, origin: Node | None) -> None:
        """
        Send a message to all local users, including the sender, and to the joining nodes.

        @param origin: the joining node that the message comes from.
        """
        self.toUsers(message, [user.address for user in self.users.values()])
        for node in self.joiningNodes.values():
            # ProtoXEP, "Fire and Forget": the MUC "MUST NOT resend this message to the proxy".
            if node.joined and (node.mirrors or node is not origin):
                self.toNode(node, message)
