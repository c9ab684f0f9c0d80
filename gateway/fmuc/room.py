"""
One room: who is in it and how he got in, the nodes above and below, what was said.

There is one kind of room. One with a node above is a mirror of the room there; each may have nodes below, which
mirror it.
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
    What one service may hold.

    @ivar rooms: at most.
    @ivar made: those that one user has made; a bare JID is one.
    @ivar occupants: of one room.
    @ivar nodes: below one room.
    @ivar pending: joins of one room that the node above has not answered.
    @ivar nick: bytes.
    @ivar messages: that are kept as history of one room.
    @ivar bytes: the same, in size.
    @ivar affiliations: of one room.
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
    What an owner may decide (XEP-0045 section 10).

    @ivar public: whether everybody sees real JIDs (non-anonymous); else only moderators do (semi-anonymous).
    @ivar subjects: whether everybody with a voice may set the subject.
    @ivar listed: whether the service names it.
    @ivar persistent: whether it stays when everybody is gone; while the process lives.
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
    How we stand with the node above. C{LEAVING}: what comes is from before we left, until it says that we have.
    """

    IDLE = 0
    JOINING = 1
    JOINED = 2
    LEAVING = 3


@define(eq=False)
class Node:
    """
    A room elsewhere that is one room with this one.

    @ivar jid: bare JID.
    @ivar replica: whether the joining one of the two shows only what the joined one sends back.
    @ivar mirrors: whether the joined node sends messages back to where they come from.
    @ivar occupants: those that are behind it.
    @ivar joined: of one below: whether it gets what happens.
    @ivar sent: bytes that went there.
    @ivar received: bytes that came from there.
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
        Whether the joined node sends presence back to where it comes from.

        In the seed it always does. XEP-0289 section 6.3: "in primary-primary mode they won't distribute the stanza
        back to the node from which they received it".
        """
        return self.replica or self.dialect is Dialect.PROTOXEP


@define(eq=False)
class JoinedNode(Node):
    """
    The joined node.

    @ivar wanted: whether we would have it send back what comes from here.
    @ivar agrees: whether it has said that it does.
    @ivar deadline: seconds on the link's clock until which something must come, in a state that waits.
    @ivar latest: until which all that a first join brings must have come.
    @ivar parting: the nick that left last, until the node has sent that back.
    @ivar parted: who has left, with the joining node that he was behind, until the node above has sent that back;
        what he has said comes back before it.
    @ivar fresh: whether we left before we were in.
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
    Somebody in the room.

    @ivar real: full JID; empty where the node above does not tell.
    @ivar public: whether every occupant may see it.
    @ivar node: behind which he is; C{None} for a local user.
    @ivar address: of a local user: his JID, escaped.
    @ivar changing: how many changes of his the node above has yet to send back.
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
        """The bare JID by which the occupant is known, as L{person} has it."""
        # A ban asks everybody, and some addresses take long to prepare.
        if self._person[0] != self.realJid:
            self._person = self.realJid, person(self.realJid)
        return self._person[1]

    def presence(self, change: PresenceChange) -> OccupantPresence:
        """His presence as it is now."""
        last = self._last
        if change is AVAILABLE and last is not None and self._isAs(last):
            return last
        # Who is gone has no role; who comes back by another nick keeps his.
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
            # Everybody who joins is shown it, and it need not be written anew for each.
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
    A join that the node above has to answer.

    @ivar node: the joining node that it comes from; C{None} for a local user.
    @ivar sent: whether it was sent; those after the first wait for what that brings.
    @ivar rank: what he is, once the node above has shown him.
    @ivar cancelled: how many joins before it, with the same nick, were taken back and have had no answer yet.
    @ivar gone: whether this one was taken back, too.
    @ivar news: what he has come to show since.
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
    @ivar out: where actions go, in order.
    @ivar makers: the names that its making is counted by: the bare JID of the first who came, and the domain.
    @ivar users: local occupants by full JID.
    @ivar below: joining nodes by bare JID.
    @ivar pending: joins by nick.
    @ivar subject: the message that set it.
    @ivar affiliations: by bare JID; none where there is none.
    @ivar calendar: the time of day.
    @ivar stamped: the stamp of the last message that got one here.
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
        """The node above or below by this bare JID."""
        return (
            self.joinedNode
            if self.joinedNode is not None and self.joinedNode.jid == jid
            else self.joiningNodes.get(jid)
        )

    # What was said.

    def stamp(self, now: float) -> Delay:
        """Return the delay of a message that is said now."""
        self.stamped = self.utcClock.stampAfter(self.stamped, now)
        return Delay(self.jid, self.stamped)

    def recent(self, limits: HistoryLimits, recipient: str, now: float) -> list[RoomMessage]:
        """As L{History.recent}, on the link's clock."""
        return self.history.recent(limits, self.jid, recipient, self.utcClock.utc(now))

    # Who is in.

    def add(self, occupant: Occupant) -> None:
        """Let him be in."""
        self.occupants[occupant.nick] = occupant
        if occupant.node is None:
            occupant.address = escape(occupant.realJid).encode()
            self.users[occupant.realJid] = occupant
        else:
            occupant.node.occupants[occupant.nick] = occupant

    def remove(self, occupant: Occupant) -> None:
        """Let him be no more."""
        del self.occupants[occupant.nick]
        if occupant.node is None:
            del self.users[occupant.realJid]
        else:
            del occupant.node.occupants[occupant.nick]

    def isDownstream(self, occupant: Occupant) -> bool:
        """Whether he is in through this node: local, or behind one below."""
        return self.joinedNode is None or occupant.node is not self.joinedNode

    @property
    def downstreamCount(self) -> int:
        """How many are in through this node."""
        return len(self.occupants) - (0 if self.joinedNode is None else len(self.joinedNode.occupants))

    @property
    def isEmpty(self) -> bool:
        """Whether nobody needs it."""
        return not self.occupants and not self.pending and not self.joiningNodes and not self.isLeaving

    @property
    def isLeaving(self) -> bool:
        """Whether the node above has still to say that we are out."""
        return self.joinedNode is not None and self.joinedNode.state is UplinkState.LEAVING

    def affiliation(self, user: str) -> str:
        """
        What somebody is, in or not.

        @param user: full or bare JID, as his server spells it.
        """
        who = person(user)
        found = self.affiliations.get(who)
        # XEP-0045 section 9.2: who is banned may be a whole domain.
        if found is None and self.affiliations.get(jids.split(who)[1]) == OUTCAST:
            return OUTCAST
        return found or NONE

    # What is told.

    def address(self, nick: str) -> str:
        """An occupant's address; the room's own for no nick."""
        return f"{self.jid}/{nick}" if nick else self.jid

    def toUsers(
        self,
        stanza: OccupantPresence | RoomMessage,
        recipients: Sequence[bytes],
        showRealJid: bool = False,
        codes: tuple[int, ...] = (),
    ) -> None:
        """The same to some local users."""
        if recipients:
            self.out.append(ToUsers(self.jid, stanza, tuple(recipients), showRealJid, codes))

    def toNode(
        self, node: Node, stanza: Join | OccupantPresence | RoomMessage | Reject | ConfirmLeft | PrivateMessage
    ) -> None:
        """One copy to a node."""
        self.out.append(ToNode(self.jid, node.jid, node.dialect, node is self.joinedNode, stanza))

    def log(self, text: str, warn: bool = False) -> None:
        """Something for the log."""
        self.out.append(LogLine(f"{self.jid}: {text}", warn))

    def sendPresence(self, occupant: Occupant, to: Occupant) -> None:
        """One occupant's presence to one local user."""
        showRealJid = occupant.nonAnonymous or to.standing.role == MODERATOR
        self.toUsers(occupant.presence(AVAILABLE), (to.address,), showRealJid)

    def audience(self, but: Occupant | None = None) -> Audience:
        """The addresses of local users, but for one: of moderators, who see real JIDs, in the second part."""
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
        An occupant's presence to all local users, himself too, and to the nodes below.

        @param toOwner: whether the joining node that he is behind is told as well.
        @param known: the other local users, where they are known already.
        @param isNews: true if the occupant itself is told, too.
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
        """A local user's own presence (XEP-0045 section 7.2.2: with code 110)."""
        self.toUsers(occupant.presence(change), (occupant.address,), occupant.nonAnonymous, (*codes, SELF))

    def broadcastMessage(self, message: RoomMessage, origin: Node | None) -> None:
        """
        A message to all local users, its sender too, and to the nodes below.

        @param origin: the joining node that it comes from.
        """
        self.toUsers(message, [user.address for user in self.users.values()])
        for node in self.joiningNodes.values():
            # The seed, section "Fire and Forget": it "MUST NOT resend this message to the proxy".
            if node.joined and (node.mirrors or node is not origin):
                self.toNode(node, message)
