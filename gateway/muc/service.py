"""The rooms of one component: makes and removes them, and handles the stanzas of users. Pure."""

from __future__ import annotations

from collections import Counter

from gateway.addresses import jids
from gateway.errors import (
    BadRequest,
    GatewayError,
    Malformed,
    NoSuchAddress,
    NoVoiceRequests,
    ResourceLimit,
    TooManyRooms,
)
from gateway.muc import groupchat, invitations, presence, private_messages
from gateway.muc.actions import Action, LogLine, SendError
from gateway.muc.datetimes import UtcClock
from gateway.muc.leave import close, drop
from gateway.muc.room import Bounds, Room, Settings
from gateway.muc.values import (
    DELIVERY_ERRORS,
    SERVICE_SHUTDOWN,
    Message,
    Presence,
    PresenceChange,
    StanzaError,
    stanzaError,
)


class RoomService:
    """
    All rooms of one component.

    @ivar jid: JID of the component.
    @ivar rooms: by bare JID.
    @ivar utcClock: the time of day; each C{now} is on the link's clock.
    @ivar home: the server's own domain; empty if it is unknown.
    @ivar areMirrors: True if the rooms are mirrors of rooms elsewhere.
    """

    name = "Rooms"
    areMirrors = False

    def __init__(self, jid: str, bounds: Bounds | None = None) -> None:
        self.jid = jid
        self.rooms: dict[str, Room] = {}
        self.utcClock = UtcClock()
        self.home = ""
        self._bounds = bounds or Bounds()
        self._made: Counter[str] = Counter()
        self._lines: list[Action] = []

    # What other services change.

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

    def newRoom(self, jid: str, creators: tuple[str, ...] = ()) -> Room:
        """Return a room that is not there yet."""
        return Room(jid, self._bounds, self.utcClock, creators)

    def outsider(self, jid: str, nick: str, user: str, stanza: Presence) -> Action:
        """
        Return the answer to a presence, which is no join, to a room that does not exist.

        @raise GatewayError: the answer is this error.
        """
        if not nick:
            raise NoSuchAddress
        return presence.notInRoom(jid, nick, user)

    # Rooms.

    def make(self, jid: str, creator: str, domain: str) -> Room:
        """
        Make a room.

        @param creator: bare JID of the user whose join makes it.
        @param domain: domain that the join comes from. Other servers may have any number of accounts, so all users
            of one domain together may create as many rooms as are left: half of all, if nobody else creates any.
        @raise GatewayError: if there can be no such room.
        """
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
        """Make one of the component's own rooms at the start."""
        jid = f"{name}@{self.jid}"
        room = self.rooms[jid] = self.newRoom(jid)
        room.settings = settings

    def settled(self, room: Room | None, *further: Action) -> list[Action]:
        """Remove a room if it is empty; return its actions and further ones."""
        actions: list[Action] = [] if room is None else room.takeActions()
        if self._lines:
            actions, self._lines = [*self._lines, *actions], []
        actions.extend(further)
        if room is not None and room.isEmpty and not room.settings.persistent:
            self._remove(room)
        return actions

    def _remove(self, room: Room) -> None:
        if self.rooms.pop(room.jid, None) is None:
            return
        for creator in room.creators:
            if self._made[creator] > 1:
                self._made[creator] -= 1
            else:
                del self._made[creator]

    def log(self, text: str) -> None:
        """Log a warning, with the next actions."""
        self._lines.append(LogLine(f"{self.jid}: {text}", warn=True))

    def shutDown(self) -> list[Action]:
        """End the service and tell everybody (XEP-0045 section 11.2)."""
        actions: list[Action] = []
        for room in list(self.rooms.values()):
            close(room, PresenceChange(unavailable=True, codes=(SERVICE_SHUTDOWN,)))
            actions += room.takeActions()
        self.rooms.clear()
        self._made.clear()
        return actions

    # Stanzas of users.

    def toService(self, sender: str, recipient: str, stanza: Presence) -> list[Action]:
        """Handle a presence to the service itself: only rooms are joined."""
        if not stanza.joins:
            return []
        return [_error("presence", recipient, sender, stanza.id, NoSuchAddress(), isJoin=True)]

    def userPresence(self, sender: str, recipient: str, stanza: Presence, now: float) -> list[Action]:
        """Handle a user's presence of type none, unavailable or error."""
        jid, _, nick = recipient.partition("/")
        room = self.rooms.get(jid)
        if room is None and (stanza.unavailable or stanza.stanzaError is not None):
            return []
        if room is not None and stanza.stanzaError is not None:
            self._bounced(room, sender, stanza.stanzaError, now)
            return self.settled(room)
        isJoin = stanza.joins
        try:
            if room is None or not (stanza.unavailable or sender in room.users):
                self.checkUser(sender)
            if room is None and not stanza.joins:
                return self.settled(None, self.outsider(jid, nick, sender, stanza))
            if room is None:
                room = self.make(jid, jids.bare(sender), jids.split(sender)[1])
            isJoin = not nick or sender not in room.users
            presence.fromUser(room, sender, nick, stanza, now)
        except GatewayError as error:
            return self.settled(room, _error("presence", recipient, sender, stanza.id, error, isJoin))
        return self.settled(room)

    def userMessage(self, sender: str, recipient: str, stanza: Message, now: float) -> list[Action]:
        """Handle a user's message to a room or an occupant."""
        room = self.rooms.get(jids.bare(recipient))
        try:
            if room is None:
                raise NoSuchAddress
            if stanza.stanzaError is not None and stanza.stanzaError.condition in DELIVERY_ERRORS:
                self._bounced(room, sender, stanza.stanzaError, now)
            else:
                _message(room, sender, recipient.partition("/")[2], stanza, now)
        except GatewayError as error:
            # An error is never answered.
            if stanza.kind != "error":
                return self.settled(room, _error("message", recipient, sender, stanza.id, error))
        return self.settled(room)

    def _bounced(self, room: Room, user: str, error: StanzaError, now: float) -> None:
        """
        Remove a user after a delivery error.

        "a MUC service SHOULD remove a user if the service receives a delivery-related error in relation to a stanza
        it has previously sent to the user" (XEP-0045 section 16.1.2).
        """
        occupant = room.users.get(user)
        if occupant is not None and error.condition in DELIVERY_ERRORS:
            drop(room, occupant, now)


def _message(room: Room, user: str, nick: str, stanza: Message, now: float) -> None:
    if nick:
        private_messages.fromUser(room, user, nick, stanza)
    elif stanza.kind == "groupchat":
        groupchat.fromUser(room, user, stanza, now)
    elif stanza.kind == "error":
        return
    elif stanza.invitations:
        invitations.fromUser(room, user, stanza)
    else:
        # XEP-0045 section 17.2: "or reject them with a <bad-request/> error".
        raise NoVoiceRequests if stanza.form else BadRequest


def _error(
    name: str, address: str, user: str, identifier: str | None, error: GatewayError, isJoin: bool = False
) -> SendError:
    jid, _, nick = address.partition("/")
    sender = f"{jid}/{nick}" if nick else jid
    return SendError(name, sender, user, identifier, stanzaError(type(error)), isJoin)
