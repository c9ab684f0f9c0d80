"""An occupant of a room, and the node that an occupant is connected through."""

from __future__ import annotations

from typing import Protocol

from attrs import define

from gateway.muc.values import AVAILABLE, NO_ROLE, OccupantPresence, Payload, PresenceChange, Standing, person


class Node(Protocol):
    """
    Another node of a room.

    @ivar jid: bare JID of the room there.
    """

    jid: str
    occupants: dict[str, Occupant]

    def add(self, occupant: Occupant, jid: str) -> None:
        """Record an occupant who is connected through the node, by a session with this full JID."""

    def remove(self, occupant: Occupant, jid: str) -> None:
        """Remove such an occupant."""


_NO_PAYLOAD = Payload()


@define(eq=False)
class Session:
    """
    One of several sessions of an occupant (XEP-0045 section 7.2.8): a client of a local user, or all clients of the
    user at another node.

    @ivar jid: full JID.
    @ivar payload: of its last presence.
    @ivar node: as in L{Occupant}.
    @ivar address: as in L{Occupant}.
    """

    jid: str
    payload: Payload
    node: Node | None = None
    address: bytes = b""


@define(eq=False)
class Occupant:
    """
    An occupant: a nick, and the sessions of one user (a bare JID) who has it.

    @ivar realJid: full JID; empty if another node does not tell it. Of several sessions, that of the first one,
        until it leaves: other nodes know the occupant by it.
    @ivar nonAnonymous: True if every occupant may see the real JID.
    @ivar node: the node through which the occupant is connected; C{None} for a local user, and if one of several
        sessions is local.
    @ivar address: of a local user: the JID, escaped for an XML attribute.
    @ivar sessions: all sessions; the last one has sent the presence that is shown. Empty if there is one session,
        with the values of the occupant.
    @ivar isHidden: True if the others are sent no presence of the occupant (L{gateway.muc.presence_broadcast}).
    @ivar id: occupant id (XEP-0421); empty if another node tells neither the id nor the JID.
    """

    nick: str
    realJid: str
    standing: Standing
    payload: Payload
    nonAnonymous: bool
    node: Node | None = None
    address: bytes = b""
    sessions: tuple[Session, ...] = ()
    id: str = ""
    isHidden: bool = False
    _last: OccupantPresence | None = None
    _person: tuple[str, str] = ("", "")

    @property
    def person(self) -> str:
        """The user's bare JID, as L{person} normalises it."""
        # A ban asks this of all occupants, and some addresses take long to prepare.
        if self._person[0] != self.realJid:
            self._person = self.realJid, person(self.realJid)
        return self._person[1]

    def allSessions(self) -> tuple[Session, ...]:
        """Return all sessions, also a single one."""
        return self.sessions or (Session(self.realJid, self.payload, self.node, self.address),)

    def session(self, jid: str) -> Session | None:
        """Return the local session with this full JID; C{None} if the occupant has only one session."""
        return next((each for each in self.sessions if each.jid == jid and each.node is None), None)

    def sessionAt(self, node: Node) -> Session | None:
        """Return the session through another node; C{None} if the occupant has only one session."""
        return next((each for each in self.sessions if each.node is node), None)

    def jidAt(self, node: Node) -> str:
        """Return the full JID of the session through another node, or of the only session."""
        session = self.sessionAt(node)
        return self.realJid if session is None else session.jid

    def showSession(self, session: Session, payload: Payload) -> None:
        """Record the presence of a session: the latest one is shown."""
        session.payload = payload
        self.sessions = (*(each for each in self.sessions if each is not session), session)

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Addresses of the local sessions."""
        if self.sessions:
            return tuple(each.address for each in self.sessions if each.node is None)
        return (self.address,) if self.node is None else ()

    @property
    def localJids(self) -> tuple[str, ...]:
        """Full JIDs of the local sessions; the last one has sent the latest presence."""
        if self.sessions:
            return tuple(each.jid for each in self.sessions if each.node is None)
        return (self.realJid,) if self.node is None else ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes through which the occupant is connected."""
        if self.sessions:
            return tuple(each.node for each in self.sessions if each.node is not None)
        return () if self.node is None else (self.node,)

    def giveId(self, identifier: str) -> None:
        """Set the occupant id."""
        if identifier != self.id:
            self.id = identifier
            # Ids hardly ever change, and L{presence} is called for each occupant at each join.
            self._last = None

    def presence(self, change: PresenceChange) -> OccupantPresence:
        """Return the occupant's current presence."""
        last = self._last
        if change is AVAILABLE and last is not None and self._isAs(last):
            return last
        standing, payload = self.standing, self.payload
        if change.nick:
            # The presence is that of the new nick, and follows. Clients would take this one for a leave.
            payload = _NO_PAYLOAD
        elif change.unavailable:
            # An occupant who leaves has no role. An occupant who changes the nick keeps it.
            standing = Standing(standing.affiliation, NO_ROLE)
        presence = OccupantPresence(
            nick=self.nick,
            realJid=self.realJid,
            nonAnonymous=self.nonAnonymous,
            standing=standing,
            payload=payload,
            change=change,
            occupantId=self.id,
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
