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
from gateway.fmuc.actions import Action, Joining, Left, News, Private, Rejected, ToNode, ToUsers
from gateway.fmuc.datetimes import Calendar
from gateway.fmuc.history import History
from gateway.fmuc.values import (
    HERE,
    MODERATOR,
    NO_ROLE,
    NONE,
    OUTCAST,
    SELF,
    Audience,
    Content,
    Delay,
    Dialect,
    Entry,
    Limits,
    Notice,
    Rank,
    Said,
    Shown,
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
    listed: bool = True
    public: bool = False
    subjects: bool = True


class State(Enum):
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
    sent: int = 0
    received: int = 0

    @property
    def echoes(self) -> bool:
        """
        Whether the joined node sends presence back to where it comes from.

        In the seed it always does. XEP-0289 section 6.3: "in primary-primary mode they won't distribute the stanza
        back to the node from which they received it".
        """
        return self.replica or self.dialect is Dialect.PROTOXEP


@define(eq=False)
class Above(Node):
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

    state: State = State.IDLE
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
    real: str
    rank: Rank
    content: Content
    public: bool
    node: Node | None = None
    address: bytes = b""
    changing: int = 0
    _last: Shown | None = None
    _person: tuple[str, str] = ("", "")

    @property
    def person(self) -> str:
        """The bare JID by which the occupant is known, as L{person} has it."""
        # A ban asks everybody, and some addresses take long to prepare.
        if self._person[0] != self.real:
            self._person = self.real, person(self.real)
        return self._person[1]

    def shown(self, notice: Notice) -> Shown:
        """His presence as it is now."""
        last = self._last
        if notice is HERE and last is not None and self._isAs(last):
            return last
        # Who is gone has no role; who comes back by another nick keeps his.
        rank = Rank(self.rank.affiliation, NO_ROLE) if notice.gone and not notice.nick else self.rank
        shown = Shown(
            nick=self.nick, real=self.real, public=self.public, rank=rank, content=self.content, notice=notice
        )
        if notice is HERE:
            # Everybody who joins is shown it, and it need not be written anew for each.
            self._last = shown
        return shown

    def _isAs(self, shown: Shown) -> bool:
        return (
            shown.content is self.content
            and shown.rank is self.rank
            and shown.nick is self.nick
            and shown.real is self.real
            and shown.public is self.public
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

    entry: Entry
    node: Node | None
    deadline: float
    sent: bool = False
    rank: Rank | None = None
    cancelled: int = 0
    gone: bool = False
    news: Content | None = None


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
    calendar: Calendar
    makers: tuple[str, ...] = ()
    above: Above | None = None
    settings: Settings = field(factory=Settings)
    occupants: dict[str, Occupant] = field(factory=dict)
    users: dict[str, Occupant] = field(factory=dict)
    below: dict[str, Node] = field(factory=dict)
    pending: dict[str, Pending] = field(factory=dict)
    subject: Said | None = None
    affiliations: dict[str, str] = field(factory=dict)
    stamped: float = 0.0
    history: History = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.history = History(self.bounds.messages, self.bounds.bytes)

    def node(self, jid: str) -> Node | None:
        """The node above or below by this bare JID."""
        return self.above if self.above is not None and self.above.jid == jid else self.below.get(jid)

    # What was said.

    def stamp(self, now: float) -> Delay:
        """Return the delay of a message that is said now."""
        self.stamped = self.calendar.stampAfter(self.stamped, now)
        return Delay(self.jid, self.stamped)

    def recent(self, limits: Limits, recipient: str, now: float) -> list[Said]:
        """As L{History.recent}, on the link's clock."""
        return self.history.recent(limits, self.jid, recipient, self.calendar.utc(now))

    # Who is in.

    def add(self, occupant: Occupant) -> None:
        """Let him be in."""
        self.occupants[occupant.nick] = occupant
        if occupant.node is None:
            occupant.address = escape(occupant.real).encode()
            self.users[occupant.real] = occupant
        else:
            occupant.node.occupants[occupant.nick] = occupant

    def remove(self, occupant: Occupant) -> None:
        """Let him be no more."""
        del self.occupants[occupant.nick]
        if occupant.node is None:
            del self.users[occupant.real]
        else:
            del occupant.node.occupants[occupant.nick]

    def isOurs(self, occupant: Occupant) -> bool:
        """Whether he is in through this node: local, or behind one below."""
        return self.above is None or occupant.node is not self.above

    @property
    def ours(self) -> int:
        """How many are in through this node."""
        return len(self.occupants) - (0 if self.above is None else len(self.above.occupants))

    @property
    def isEmpty(self) -> bool:
        """Whether nobody needs it."""
        return not self.occupants and not self.pending and not self.below and not self.isLeaving

    @property
    def isLeaving(self) -> bool:
        """Whether the node above has still to say that we are out."""
        return self.above is not None and self.above.state is State.LEAVING

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
        what: Shown | Said,
        recipients: Sequence[bytes],
        revealing: bool = False,
        codes: tuple[int, ...] = (),
    ) -> None:
        """The same to some local users."""
        if recipients:
            self.out.append(ToUsers(self.jid, what, tuple(recipients), revealing, codes))

    def toNode(self, node: Node, what: Joining | Shown | Said | Rejected | Left | Private) -> None:
        """One copy to a node."""
        self.out.append(ToNode(self.jid, node.jid, node.dialect, node is self.above, what))

    def note(self, text: str, warn: bool = False) -> None:
        """Something for the log."""
        self.out.append(News(f"{self.jid}: {text}", warn))

    def show(self, occupant: Occupant, to: Occupant) -> None:
        """One occupant's presence to one local user."""
        revealing = occupant.public or to.rank.role == MODERATOR
        self.toUsers(occupant.shown(HERE), (to.address,), revealing)

    def audience(self, but: Occupant | None = None) -> Audience:
        """The addresses of local users, but for one: of moderators, who see real JIDs, in the second part."""
        plain: list[bytes] = []
        privileged: list[bytes] = []
        for user in self.users.values():
            if user is not but:
                (privileged if user.rank.role == MODERATOR else plain).append(user.address)
        return tuple(plain), tuple(privileged)

    def tell(
        self, occupant: Occupant, notice: Notice, toOwner: bool, known: Audience | None = None, isNews: bool = True
    ) -> None:
        """
        An occupant's presence to all local users, himself too, and to the nodes below.

        @param toOwner: whether the joining node that he is behind is told as well.
        @param known: the other local users, where they are known already.
        @param isNews: true if the occupant itself is told, too.
        """
        shown = occupant.shown(notice)
        plain, privileged = known or self.audience(occupant)
        if occupant.public:
            self.toUsers(shown, plain + privileged, True)
        else:
            self.toUsers(shown, plain)
            self.toUsers(shown, privileged, True)
        if occupant.node is None and isNews:
            self.toSelf(occupant, notice)
        for node in self.below.values():
            if node.joined and (toOwner or node is not occupant.node):
                self.toNode(node, shown)

    def toSelf(self, occupant: Occupant, notice: Notice, *codes: int) -> None:
        """A local user's own presence (XEP-0045 section 7.2.2: with code 110)."""
        self.toUsers(occupant.shown(notice), (occupant.address,), occupant.public, (*codes, SELF))

    def say(self, said: Said, origin: Node | None) -> None:
        """
        A message to all local users, its sender too, and to the nodes below.

        @param origin: the joining node that it comes from.
        """
        self.toUsers(said, [user.address for user in self.users.values()])
        for node in self.below.values():
            # The seed, section "Fire and Forget": it "MUST NOT resend this message to the proxy".
            if node.joined and (node.mirrors or node is not origin):
                self.toNode(node, said)
