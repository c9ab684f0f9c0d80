"""The rooms of one component: makes and removes them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from operator import itemgetter

from gateway.addresses import jids
from gateway.errors import CreationRestricted, GatewayError, Malformed, NoSuchAddress, ResourceLimit, TooManyRooms
from gateway.muc import idle, invitations, locked, records, welcome
from gateway.muc.actions import Action, ForgetArchive, LogLine
from gateway.muc.changes import Durability
from gateway.muc.datetimes import UtcClock
from gateway.muc.ghosts import Ghosts
from gateway.muc.ids import Ids
from gateway.muc.info import Info
from gateway.muc.leave import close
from gateway.muc.occupant import Node
from gateway.muc.occupant_iq import OccupantIqs
from gateway.muc.presence import notInRoom
from gateway.muc.room import Bounds, Room, Settings
from gateway.muc.values import BROADCAST_ROLES, SERVICE_SHUTDOWN, Message, Presence, PresenceChange, person
from gateway.stream.stanzas import Stanza


class RoomService:
    """
    All rooms of one component.

    @ivar jid: JID of the component.
    @ivar rooms: by bare JID.
    @ivar utcClock: the time of day; each C{now} is on the link's clock.
    @ivar home: the server's own domain; empty if it is unknown.
    @ivar creators: domains and bare JIDs of users who may make rooms, and domains of nodes all of whose users may.
        A domain after a dot stands for its subdomains, C{"*"} for all users.
    @ivar iqs: open requests between occupants.
    @ivar ghosts: finds local users who are gone.
    @ivar durability: tells whether the rooms are stored, and whether they can be.
    @ivar arriving: rooms with sessions that are still being sent the occupants, by bare JID and in turn; the values
        mean nothing.
    @ivar shownRoles: the roles whose presence new rooms broadcast.
    @ivar areMirrors: True if the rooms are mirrors of rooms elsewhere.
    @param ids: makes the ids; by default, they end with the process.
    """

    name = "Rooms"
    areMirrors = False

    def __init__(self, jid: str, bounds: Bounds | None = None, ids: Ids | None = None) -> None:
        self.jid = jid
        self._ids = ids or Ids()
        self.rooms: dict[str, Room] = {}
        self.utcClock = UtcClock()
        self.home = ""
        self.creators: frozenset[str] = frozenset(("*",))
        self.iqs = OccupantIqs()
        self._bounds = bounds or Bounds()
        self.ghosts = Ghosts(self._bounds.silence)
        self._made: Counter[str] = Counter()
        self._lines: list[Action] = []
        self.durability = Durability(hasArchive=self._bounds.archived >= self._bounds.messages)
        self._records: list[records.Record] = []
        self.shownRoles = BROADCAST_ROLES
        self.arriving: dict[str, None] = {}

    # Methods that other services override.

    def checkAddress(self, jid: str) -> None:
        """Raise the error of an address that no room can have."""
        # XEP-0045 section 16.1: "Room IDs MUST match the Nodeprep profile".
        if not jids.isPrepared(jid):
            raise Malformed

    def checkUser(self, user: str) -> None:
        """Raise the error of a user who may not use the service."""

    def defaultName(self, jid: str) -> str:
        """Return the name of a room that has no name of its own."""
        return jid.partition("@")[0]

    def joinedInfo(self, jid: str) -> Info | None:
        """Return what the joined room of a mirror has told of itself; C{None} if that is unknown."""
        return None

    def givesIds(self, jid: str) -> bool:
        """True if each occupant of a room has an occupant id; of the component, if that is so in all rooms."""
        return True

    def newRoom(self, jid: str, creators: tuple[str, ...] = ()) -> Room:
        """Return a new room; it is not in the table yet."""
        room = Room(jid, self._bounds, self.utcClock, self._ids, self._ids.salt(jid), creators, self.durability)
        room.settings.presenceBroadcast = self.shownRoles
        return room

    def absent(self, jid: str) -> GatewayError:
        """Return the error for a message or a request to a room that does not exist."""
        return NoSuchAddress()

    def outsider(self, jid: str, nick: str, user: str, stanza: Presence) -> Action:
        """
        Return the answer to a presence to a room that does not exist. The presence is not a join.

        @raise GatewayError: the answer is this error.
        """
        if not nick:
            raise NoSuchAddress
        return notInRoom(jid, nick, user)

    def invite(self, room: Room, user: str, stanza: Message, now: float) -> None:
        """
        Handle invitations, or declines, that a user sends to a room.

        @raise GatewayError: if they are refused.
        """
        invitations.fromUser(room, user, stanza)

    # Rooms.

    def make(self, jid: str, creator: str, domain: str) -> Room:
        """
        Make a room.

        @param creator: bare JID of the user whose join makes it, in any spelling.
        @param domain: domain that the join comes from. Other servers may have any number of accounts, so all users
            of one domain together may create as many rooms as are left: half of all, if nobody else creates any.
        @raise GatewayError: if there can be no such room.
        """
        creator = person(creator)
        labels = jids.split(creator)[1].split(".")
        above = (f".{'.'.join(labels[number:])}" for number in range(1, len(labels)))
        if self.creators.isdisjoint(("*", creator, ".".join(labels), domain, *above)):
            # XEP-0045 section 10.1.1: "the service MUST return a <not-allowed/> error".
            raise CreationRestricted
        creators = creator, f"@{domain}"
        if self._made[creator] >= self._bounds.made:
            raise TooManyRooms
        left = self._bounds.rooms - len(self.rooms)
        if left <= 0 or (domain != self.home and self._made[creators[1]] >= left):
            raise ResourceLimit
        self.checkAddress(jid)
        self._made.update(creators)
        room = self.rooms[jid] = self.newRoom(jid, creators)
        return room

    def open(self, name: str, settings: Settings) -> None:
        """Make one of the component's own rooms at the start, unless it was restored."""
        jid = f"{name}@{self.jid}"
        if jid not in self.rooms:
            room = self.rooms[jid] = self.newRoom(jid)
            room.settings = settings

    def settled(self, room: Room | None, *further: Action) -> list[Action]:
        """Remove a room if it is empty. Return its actions, followed by C{further}."""
        actions: list[Action] = [] if room is None else room.takeActions()
        if self._lines:
            actions, self._lines = [*self._lines, *actions], []
        actions.extend(further)
        if room is not None:
            if room.arrivals is not None:
                self.arriving[room.jid] = None
            if room.isEmpty and not room.settings.persistent:
                # A refused join leaves a room that was never stored.
                isStored = self._remove(room)
                if isStored and room.bounds.archived and not self.areMirrors:
                    # Others may make a new room with this address. A mirror stands for the same room later on.
                    actions.append(ForgetArchive(room.jid))
            elif self.durability.isOn:
                self._records += records.take(room)
            else:
                records.forget(room)
        return actions

    def portion(self) -> list[Action]:
        """Return the next portion for a session that is still being sent the occupants of a large room."""
        while self.arriving:
            jid = next(iter(self.arriving))
            del self.arriving[jid]
            room = self.rooms.get(jid)
            if room is not None and room.arrivals is not None:
                welcome.proceed(room)
                return self.settled(room)
        return []

    def takeRecords(self) -> list[records.Record]:
        """Return the records of all changes since the last call, in their order."""
        taken = self._records
        if taken:
            self._records = []
        return taken

    def restore(self, rows: Iterable[records.Row], now: float) -> None:
        """
        Make the rooms of an earlier process, at the start. Their occupants are in them; L{Ghosts.verify} finds
        those who have gone.

        @param now: seconds of the link's clock.
        @raise StoreBroken: if the rows are not those of rooms.
        """
        room = itemgetter(0)
        for jid, each in groupby(sorted(rows, key=room), key=room):
            made = self.rooms[jid] = self.newRoom(jid)
            records.restore(made, each, now, partial(self.restoredNode, made))
            self._made.update(made.creators)

    def restoredNode(self, room: Room, jid: str, record: str) -> Node | None:
        """
        Return a joining node of a room that is restored; C{None} if it is unknown.

        @param record: its record; empty for a node that was restored before.
        """
        return None

    def _remove(self, room: Room) -> bool:
        """Remove a room; return True if its state may be in the store."""
        if self.rooms.pop(room.jid, None) is None:
            return False
        isStored = self.durability.isOn and room.changes.head is not None
        if isStored:
            self._records.append(records.removal(room.jid))
        for creator in room.creators:
            if self._made[creator] > 1:
                self._made[creator] -= 1
            else:
                del self._made[creator]
        return isStored

    def log(self, text: str) -> None:
        """Log a warning, with the next actions."""
        self._lines.append(LogLine(f"{self.jid}: {text}", warn=True))

    def tick(self, now: float) -> list[Action]:
        """Handle deadlines that have passed."""
        actions = self.iqs.expire(now) + self.ghosts.tick(self.rooms, now)
        for room in list(self.rooms.values()):
            if room.lockedUntil:
                locked.expire(room, now)
            idle.expire(room, now)
            actions += self.settled(room)
        return actions

    @property
    def areArchived(self) -> bool:
        """True if the rooms have archives."""
        return self._bounds.archived > 0

    @property
    def historyLimits(self) -> tuple[int, int]:
        """Number of messages in the history of a room, and bytes of them."""
        return self._bounds.messages, self._bounds.bytes

    def heard(self, room: Room, user: str, now: float) -> None:
        """Record that a user has sent a message or a presence to a room."""
        room.activeAt = now
        self.ghosts.heard(room, user)

    def pinged(self, stanza: Stanza, now: float) -> list[Action] | None:
        """Handle an iq of type result or error; C{None} if it answers no ping of a room."""
        room = self.rooms.get(stanza.recipient or "")
        return self.settled(room) if room is not None and self.ghosts.answered(room, stanza, now) else None

    def shutDown(self, isFinal: bool = True) -> list[Action]:
        """
        End the service and tell everybody (XEP-0045 section 11.2).

        @param isFinal: False if rooms that are stored do not end: the next process has them, with their occupants.
        """
        actions = self.iqs.stop()
        self.ghosts.stop()
        if self.durability.isOn and not isFinal:
            return actions
        for room in list(self.rooms.values()):
            close(room, PresenceChange(unavailable=True, codes=(SERVICE_SHUTDOWN,)))
            actions += self.settled(room)
        self.rooms.clear()
        self._made.clear()
        return actions
