"""
The other nodes of a room, as the room sees them.

A room that is alone has L{NoOtherNodes}. A room that forms one room with others (XEP-0289) has an object that joins
them, asks them, and sends them what happens here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateway.muc.occupant import Node, Occupant
from gateway.muc.values import (
    JoinRequest,
    OccupantPresence,
    Payload,
    Presence,
    PresenceChange,
    RoomMessage,
    StanzaError,
)


class OtherNodes(Protocol):
    """
    The other nodes of one room.

    @ivar isMirror: True if another node decides: about joins, messages, affiliations and the configuration.
    @ivar isIdle: True if no other node needs the room.
    @ivar returnsMessages: True if the node that decides returns messages: they are not shown before.
    @ivar joinedRoom: bare JID of the room that this one is a mirror of; empty if it is none.
    """

    @property
    def isMirror(self) -> bool: ...

    @property
    def isIdle(self) -> bool: ...

    @property
    def returnsMessages(self) -> bool: ...

    @property
    def joinedRoom(self) -> str: ...

    def occupantAt(self, address: str) -> Occupant | None:
        """Return the occupant of another node whose stanzas come from this address."""

    def downstreamAt(self, address: str) -> Occupant | None:
        """Return the occupant of a joining node whose stanzas come from this address."""

    def checkAuthority(self, address: str) -> None:
        """
        Check that the node of the occupant with this address may pass on what its occupants want to change.

        @raise OnlyInTheRoom: if it may not.
        """

    def records(self) -> Mapping[str, str]:
        """Return the records of the joining nodes, by bare JID."""

    # Questions to the node that decides. Each returns True if this room has to wait for the answer.

    def requestJoin(self, request: JoinRequest, now: float) -> bool:
        """A local user asks to enter."""

    def whileJoining(self, user: str, nick: str, stanza: Presence, now: float) -> bool:
        """A local user whose join waits sends another presence; False if no join of that user waits."""

    def submitPresence(self, occupant: Occupant, payload: Payload, identifier: str | None) -> bool:
        """An occupant sends a new presence, with this C{id}."""

    def isChanging(self, occupant: Occupant) -> bool:
        """True if an occupant has sent a presence that the node that decides has not returned."""

    def submitMessage(self, message: RoomMessage, now: float) -> bool:
        """An occupant sends a message to all."""

    # Forms.

    def submitForm(self, message: RoomMessage) -> None:
        """An occupant of a mirror sends a data form to the room itself: the node that decides gets it."""

    def askModerators(self, message: RoomMessage) -> bool:
        """Send a message of the room to moderators of other nodes who may act here; True if there are any."""

    # Reports to all other nodes.

    def sendPresence(
        self,
        occupant: Occupant,
        presence: OccupantPresence,
        shown: OccupantPresence | None,
        own: bool,
        identifier: str | None,
    ) -> None:
        """
        The presence of an occupant has changed.

        @param shown: the presence for nodes that the occupant is not connected through; C{None} for none.
        @param own: True if the occupant has sent it; the occupant's own node then knows it.
        @param identifier: C{id} for the occupant's own node.
        """

    def sendMessage(self, message: RoomMessage, origin: Node | None) -> None:
        """
        A message was sent to all.

        @param origin: the node that it comes from.
        """

    def sendPrivate(
        self, recipient: Occupant, message: RoomMessage, error: StanzaError | None, origin: Node | None
    ) -> None:
        """
        An occupant of other nodes is sent a private message, or the error of one.

        @raise NotPrivate: if the message would be shown to others.
        @param origin: the node that it comes from.
        """

    def removed(self, occupant: Occupant, own: bool) -> None:
        """
        An occupant was removed, and the presence was sent.

        @param own: True if the occupant has left by own presence.
        """

    def sessionLeft(self, node: Node, presence: OccupantPresence, identifier: str | None) -> None:
        """
        The session of an occupant through another node has left; other sessions stay.

        @param presence: of the session, unavailable.
        @param identifier: C{id} of the stanza that the session has sent.
        """

    def welcomed(self, user: str) -> None:
        """Tell a local client that was shown the room, as a further session or again, if other nodes are away."""

    def sessionReplaced(self, occupant: Occupant, realJid: str) -> None:
        """
        The session by whose JID other nodes know an occupant has left, and its presence with another JID was sent.

        @param realJid: full JID of the session that has left.
        """

    def left(self, occupant: Occupant, now: float) -> None:
        """An occupant has left by sending unavailable presence, or was removed after a delivery error."""

    def closed(self, change: PresenceChange) -> None:
        """All local users were removed; the occupants of other nodes must be removed, too."""


class NoOtherNodes:
    """A room that is alone: it decides, and reports to nobody."""

    isMirror = False
    isIdle = True
    returnsMessages = False
    joinedRoom = ""

    def occupantAt(self, address: str) -> Occupant | None:
        return None

    def downstreamAt(self, address: str) -> Occupant | None:
        return None

    def checkAuthority(self, address: str) -> None:
        pass

    def records(self) -> Mapping[str, str]:
        return {}

    def requestJoin(self, request: JoinRequest, now: float) -> bool:
        return False

    def whileJoining(self, user: str, nick: str, stanza: Presence, now: float) -> bool:
        return False

    def submitPresence(self, occupant: Occupant, payload: Payload, identifier: str | None) -> bool:
        return False

    def isChanging(self, occupant: Occupant) -> bool:
        return False

    def submitMessage(self, message: RoomMessage, now: float) -> bool:
        return False

    def submitForm(self, message: RoomMessage) -> None:
        pass

    def askModerators(self, message: RoomMessage) -> bool:
        return False

    def sendPresence(
        self,
        occupant: Occupant,
        presence: OccupantPresence,
        shown: OccupantPresence | None,
        own: bool,
        identifier: str | None,
    ) -> None:
        pass

    def sendMessage(self, message: RoomMessage, origin: Node | None) -> None:
        pass

    def sendPrivate(
        self, recipient: Occupant, message: RoomMessage, error: StanzaError | None, origin: Node | None
    ) -> None:
        pass

    def removed(self, occupant: Occupant, own: bool) -> None:
        pass

    def sessionLeft(self, node: Node, presence: OccupantPresence, identifier: str | None) -> None:
        pass

    def welcomed(self, user: str) -> None:
        pass

    def sessionReplaced(self, occupant: Occupant, realJid: str) -> None:
        pass

    def left(self, occupant: Occupant, now: float) -> None:
        pass

    def closed(self, change: PresenceChange) -> None:
        pass
