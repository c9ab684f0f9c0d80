"""One room: its occupants and messages."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, evolve, field, frozen

from gateway.addresses import jids
from gateway.muc.actions import Action, LogLine, ToUsers
from gateway.muc.arrivals import Arrivals
from gateway.muc.changes import Changes, Durability, Tracked
from gateway.muc.datetimes import UtcClock
from gateway.muc.history import History
from gateway.muc.ids import Ids, occupantId
from gateway.muc.occupant import Node, Occupant
from gateway.muc.port import NoOtherNodes, OtherNodes
from gateway.muc.registrations import Registrations
from gateway.muc.values import (
    BROADCAST_ROLES,
    MODERATOR,
    NONE,
    OUTCAST,
    SELF,
    UNAVAILABLE,
    Audience,
    Delay,
    HistoryLimits,
    OccupantPresence,
    Payload,
    PresenceChange,
    RoomMessage,
    VCard,
    person,
)
from gateway.stream.outflow import Addresses
from gateway.xml.write import escape


@frozen(kw_only=True)
class Bounds:
    """
    Limits of one service.

    @ivar rooms: number of rooms.
    @ivar made: rooms created by one user (a bare JID).
    @ivar occupants: occupants of a room.
    @ivar sessions: sessions of an occupant.
    @ivar nodes: nodes that have joined a room.
    @ivar pending: joins of a room that another node has not answered.
    @ivar nick: bytes of a nick.
    @ivar messages: messages in the history of a room.
    @ivar bytes: size of the history of a room.
    @ivar affiliations: affiliations of a room.
    @ivar copies: bytes of all copies of one message.
    @ivar locked: seconds that a new room waits for its owner's first form; 0 for rooms that do not wait.
    @ivar silence: seconds without a stanza of a local user after which a ping is sent; 0 for no pings.
    @ivar idle: seconds after which a temporary room is destroyed in which nothing happens; 0 for never.
    @ivar archived: messages in the archive of a room; 0 for no archives.
    @ivar gone: seconds for which occupants behind another node stay that cannot be reached.
    """

    rooms: int = 1_000
    made: int = 100
    occupants: int = 5_000
    sessions: int = 10
    nodes: int = 100
    pending: int = 1_000
    nick: int = 256
    messages: int = 50
    bytes: int = 256 * 1024
    affiliations: int = 5_000
    copies: int = 64 * 1024 * 1024
    locked: float = 0.0
    silence: float = 0.0
    idle: float = 0.0
    archived: int = 0
    gone: float = 600.0


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    """Return values that a record may have as a list."""
    return tuple(values)


@define
class Settings:
    """
    Configuration of a room by its owners (XEP-0045 section 10).

    @ivar description: a text for people; empty for none.
    @ivar persistent: True if the room stays when it is empty.
    @ivar public: True if the service lists the room.
    @ivar nonAnonymous: True if all occupants see real JIDs; otherwise only moderators do (semi-anonymous).
    @ivar changeSubject: True if every occupant with voice may set the subject.
    @ivar queries: True if occupants may send iq requests to each other.
    @ivar invites: True if members of a members-only room may invite others, who become members.
    @ivar registration: users who may become members by registration; L{gateway.muc.register} has the values.
    @ivar presenceBroadcast: roles whose presence is sent to the other occupants.
    @ivar maxUsers: number of occupants, without some more owners and admins; 0 for the service's limit.
    """

    name: str = ""
    description: str = ""
    password: str = ""
    membersOnly: bool = False
    moderated: bool = False
    persistent: bool = False
    public: bool = True
    nonAnonymous: bool = False
    changeSubject: bool = True
    queries: bool = True
    invites: bool = False
    maxUsers: int = 0
    registration: str = "approval"
    presenceBroadcast: tuple[str, ...] = field(default=BROADCAST_ROLES, converter=_texts)


@define(eq=False)
class Room:
    """
    One room.

    @ivar jid: bare JID.
    @ivar nodes: the other nodes that form one room with this one.
    @ivar creators: the keys by which the room counts towards the limits of L{gateway.muc.service}: the bare JID of
        the user whose join created it, and the domain that the join came from.
    @ivar users: occupants by the full JIDs of their local sessions.
    @ivar shared: the occupants with several sessions; the values mean nothing.
    @ivar subject: the message that set the subject.
    @ivar affiliations: by bare JID; users with affiliation none are absent.
    @ivar registrations: reserved nicks of users with an affiliation.
    @ivar card: the vCard, with the avatar.
    @ivar utcClock: the time of day.
    @ivar ids: makes the ids of the service.
    @ivar salt: key of the occupant ids.
    @ivar nextIds: the next stanza ids: L{Ids.stanzaId}.
    @ivar lockedUntil: end of the wait for the owner's first form, in seconds of the link's clock; 0 if the room is
        open.
    @ivar stamped: stamp of the last message that was stamped here.
    @ivar durability: of the service.
    @ivar changes: marks of what has changed since the records of the room were taken.
    @ivar arrivals: local sessions that are still being sent the occupants; C{None} if there are none.
    @ivar activeAt: time of the last message, or presence of a user, in seconds of the link's clock; 0 if unknown.
    """

    jid: str
    bounds: Bounds
    utcClock: UtcClock
    ids: Ids
    salt: bytes
    creators: tuple[str, ...] = ()
    durability: Durability = field(factory=Durability)
    nextIds: list[str] = field(factory=list)
    nodes: OtherNodes = field(factory=NoOtherNodes)
    settings: Settings = field(factory=Settings)
    occupants: dict[str, Occupant] = field(factory=dict)
    users: dict[str, Occupant] = field(factory=dict)
    subject: RoomMessage | None = None
    affiliations: Tracked = field(factory=Tracked)
    registrations: Registrations = field(factory=Registrations)
    card: VCard | None = None
    stamped: float = 0.0
    lockedUntil: float = 0.0
    activeAt: float = 0.0
    arrivals: Arrivals | None = None
    history: History = field(init=False)
    changes: Changes = field(init=False, factory=Changes)
    _actions: list[Action] = field(init=False, factory=list)
    shared: dict[Occupant, None] = field(init=False, factory=dict)
    _addresses: Addresses | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.history = History(self.bounds.messages, self.bounds.bytes)

    # Messages.

    def stamp(self, now: float) -> Delay:
        """Return the delay of a message that is sent now."""
        self.activeAt = now
        self.stamped = self.utcClock.stampAfter(self.stamped, now)
        return Delay(self.jid, self.stamped)

    def recent(self, limits: HistoryLimits, recipient: str, now: float) -> list[RoomMessage]:
        """Return messages of the history, as L{History.recent}; C{now} is the link's clock."""
        return self.history.recent(limits, self.jid, recipient, self.utcClock.utc(now))

    def hasStanzaId(self, identifier: str) -> bool:
        """True if the subject or a message of the history has this stanza id."""
        isSubject = self.subject is not None and self.subject.stanzaId == identifier
        return isSubject or any(message.stanzaId == identifier for message in self.history)

    # Occupants.

    def add(self, occupant: Occupant) -> None:
        """Add an occupant, with an occupant id if another node has given none."""
        if not occupant.id and occupant.realJid:
            occupant.giveId(self.occupantId(person(occupant.realJid)))
        self.sessionsChanged()
        self.occupants[occupant.nick] = occupant
        self.changes.nicks[occupant.nick] = None
        if occupant.sessions:
            self.shared[occupant] = None
            self.users.update(dict.fromkeys(occupant.localJids, occupant))
            for session in occupant.sessions:
                if session.node is not None:
                    session.node.add(occupant, session.jid)
        elif occupant.node is None:
            occupant.address = escape(occupant.realJid).encode()
            self.users[occupant.realJid] = occupant
        else:
            occupant.node.add(occupant, occupant.realJid)

    def remove(self, occupant: Occupant) -> None:
        """Remove an occupant with all sessions; nobody is told."""
        self.sessionsChanged()
        del self.occupants[occupant.nick]
        self.changes.nicks[occupant.nick] = None
        self.shared.pop(occupant, None)
        for jid in occupant.localJids:
            del self.users[jid]
        for address in occupant.addresses if self.arrivals is not None else ():
            self.forgetArrival(address)
        for node in occupant.nodes:
            node.remove(occupant, occupant.jidAt(node))

    def forgetArrival(self, address: bytes) -> None:
        """Forget a session that is being sent the occupants: it has left, or joins again."""
        if self.arrivals is not None:
            self.arrivals.waiting.pop(address, None)
            if not self.arrivals.waiting:
                self.arrivals = None

    def sessionsChanged(self) -> None:
        """A local session was added or removed."""
        self._addresses = None

    @property
    def localCount(self) -> int:
        """Number of occupants with a local session."""
        return len(self.users) - sum(max(0, len(each.addresses) - 1) for each in self.shared)

    def occupantId(self, user: str) -> str:
        """
        Return the occupant id that this room gives a user.

        @param user: prepared bare JID.
        """
        return occupantId(self.salt, user)

    def occupantOf(self, user: str) -> Occupant | None:
        """Return the occupant with a full JID, local or of another node."""
        others = (each for each in self.occupants.values() if each.realJid == user)
        return self.users.get(user) or next(others, None)

    @property
    def isListed(self) -> bool:
        """True if the service lists the room. A locked room does not officially exist yet."""
        return self.settings.public and not self.lockedUntil

    @property
    def isEmpty(self) -> bool:
        """True if the room can be removed."""
        return not self.occupants and self.nodes.isIdle

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

    def emit(self, action: Action) -> None:
        """Add an action."""
        self._actions.append(action)

    def takeActions(self) -> list[Action]:
        """Return the actions since the last call, in their order."""
        taken, self._actions = self._actions, []
        return taken

    def address(self, nick: str) -> str:
        """Return an occupant's address; the room's own if the nick is empty."""
        return f"{self.jid}/{nick}" if nick else self.jid

    def toUsers(
        self,
        stanza: OccupantPresence | RoomMessage,
        recipients: tuple[bytes, ...],
        showRealJid: bool = False,
        codes: tuple[int, ...] = (),
        identifier: str | None = None,
    ) -> None:
        """Send a stanza to some local users. Those that are still being sent the occupants get some later."""
        if self.arrivals is not None:
            recipients = self.arrivals.hold(stanza, recipients)
        if recipients:
            self.emit(ToUsers(self.jid, stanza, recipients, showRealJid, codes, identifier))

    def log(self, text: str, warn: bool = False) -> None:
        """Log a line about this room."""
        self.emit(LogLine(f"{self.jid}: {text}", warn))

    def _lone(self) -> Iterable[Occupant]:
        """Return the local users who have one session."""
        users = self.users.values()
        return [user for user in users if not user.sessions] if self.shared else users

    def audience(self, but: Occupant | None = None) -> Audience:
        """Return the addresses of local users, without one of them."""
        plain: list[bytes] = []
        privileged: list[bytes] = []
        for user in self._lone():
            if user is not but:
                (privileged if user.standing.role == MODERATOR else plain).append(user.address)
        for user in self.shared:
            if user is not but:
                (privileged if user.standing.role == MODERATOR else plain).extend(user.addresses)
        return tuple(plain), tuple(privileged)

    def broadcastPresence(
        self,
        occupant: Occupant,
        change: PresenceChange,
        own: bool = False,
        known: Audience | None = None,
        to: tuple[bytes, ...] | None = None,
        identifier: str | None = None,
    ) -> None:
        """
        Send an occupant's presence to all local users, including the occupant, and to the other nodes.

        @param own: True if the occupant has sent it; the occupant's own node then knows it.
        @param known: the other local users, if they are known already.
        @param to: addresses of the occupant's own sessions that are told; C{None} for all.
        @param identifier: C{id} of the stanza that the occupant has sent.
        """
        self.changes.nicks[occupant.nick] = None
        presence = occupant.presence(change)
        shown = self._shown(occupant, presence)
        if shown is not None:
            plain, privileged = known or self.audience(occupant)
            if occupant.nonAnonymous:
                self.toUsers(shown, plain + privileged, True)
            else:
                self.toUsers(shown, plain)
                self.toUsers(shown, privileged, True)
        self.sendSelfPresence(occupant, change, identifier=identifier, to=to)
        self.nodes.sendPresence(occupant, presence, shown, own, identifier)

    def hides(self, occupant: Occupant) -> bool:
        """True if the occupant's role is none of those whose presence is broadcast."""
        return occupant.standing.role not in self.settings.presenceBroadcast

    def _shown(self, occupant: Occupant, presence: OccupantPresence) -> OccupantPresence | None:
        """Return what the others are sent of an occupant's presence; C{None} for nothing."""
        wasHidden = occupant.isHidden
        if presence.change.unavailable:
            return None if wasHidden else presence
        occupant.isHidden = self.hides(occupant)
        if not occupant.isHidden:
            return presence
        return None if wasHidden else evolve(occupant.presence(UNAVAILABLE), payload=Payload())

    def sendSelfPresence(
        self,
        occupant: Occupant,
        change: PresenceChange,
        *codes: int,
        identifier: str | None = None,
        to: tuple[bytes, ...] | None = None,
    ) -> None:
        """
        Send a local user's own presence, with code 110 (XEP-0045 section 7.2.2).

        @param identifier: C{id} of the stanza that the user has sent: "the room might also reflect" it. Of several
            sessions, the one whose presence came last gets it.
        @param to: addresses of some sessions; C{None} for all.
        """
        presence, recipients = occupant.presence(change), occupant.addresses if to is None else to
        if identifier is not None and occupant.sessions and to is None:
            sender = occupant.sessions[-1].address
            self._toSelf(occupant, presence, tuple(each for each in recipients if each != sender), codes)
            recipients = (sender,) if sender in recipients else ()
        self._toSelf(occupant, presence, recipients, codes, identifier)

    def _toSelf(
        self,
        occupant: Occupant,
        presence: OccupantPresence,
        recipients: tuple[bytes, ...],
        codes: tuple[int, ...],
        identifier: str | None = None,
    ) -> None:
        self.toUsers(presence, recipients, occupant.nonAnonymous, (*codes, SELF), identifier)

    def broadcastMessage(
        self, message: RoomMessage, origin: Node | None, toNodes: RoomMessage | None = None
    ) -> None:
        """
        Send a message to all local users, including the sender, and to the other nodes.

        @param origin: the node that the message comes from.
        @param toNodes: the message as other nodes get it; C{None} for the same.
        """
        if self._addresses is None:
            addresses = [user.address for user in self._lone()]
            for user in self.shared:
                addresses += user.addresses
            # Kept, because most messages go to the same users as the one before.
            self._addresses = Addresses(addresses)
        self.toUsers(message, self._addresses)
        self.nodes.sendMessage(toNodes or message, origin)
