"""Stanzas of local users."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import GatewayError, NoSuchAddress
from gateway.muc import groupchat, private_messages, room_forms
from gateway.muc.actions import Action, SendError
from gateway.muc.leave import drop
from gateway.muc.presence import fromUser
from gateway.muc.room import Room
from gateway.muc.service import RoomService
from gateway.muc.values import DELIVERY_ERRORS, Message, Presence, StanzaError, stanzaError


def toService(sender: str, recipient: str, stanza: Presence) -> list[Action]:
    """Handle a presence to the service itself: only rooms are joined."""
    if not stanza.joins:
        return []
    return [_error("presence", recipient, sender, stanza.id, NoSuchAddress(), isJoin=True)]


def presence(service: RoomService, sender: str, recipient: str, stanza: Presence, now: float) -> list[Action]:
    """Handle a user's presence of type none, unavailable or error."""
    jid, _, nick = recipient.partition("/")
    room = service.rooms.get(jid)
    if room is None and (stanza.unavailable or stanza.stanzaError is not None):
        return []
    if room is not None and stanza.stanzaError is not None:
        _bounced(room, sender, stanza.stanzaError, now)
        return service.settled(room)
    isJoin = stanza.joins
    try:
        if room is None or not (stanza.unavailable or sender in room.users):
            service.checkUser(sender)
        if room is None and not stanza.joins:
            return service.settled(None, service.outsider(jid, nick, sender, stanza))
        if room is None:
            room = service.make(jid, jids.bare(sender), jids.split(sender)[1])
        isJoin = not nick or sender not in room.users
        fromUser(room, sender, nick, stanza, now)
        service.heard(room, sender, now)
    except GatewayError as error:
        return service.settled(room, _error("presence", recipient, sender, stanza.id, error, isJoin))
    return service.settled(room)


def message(
    service: RoomService, room: Room | None, sender: str, recipient: str, stanza: Message, now: float
) -> list[Action]:
    """
    Handle a user's message to a room or an occupant.

    @param room: C{None} if there is no room with this address.
    """
    try:
        if room is None:
            raise service.absent(jids.bare(recipient))
        if stanza.stanzaError is not None and stanza.stanzaError.condition in DELIVERY_ERRORS:
            _bounced(room, sender, stanza.stanzaError, now)
        else:
            service.heard(room, sender, now)
            _message(service, room, sender, recipient.partition("/")[2], stanza, now)
    except GatewayError as error:
        # An error is never answered.
        if stanza.kind != "error":
            return service.settled(room, _error("message", recipient, sender, stanza.id, error))
    return service.settled(room)


def _bounced(room: Room, user: str, error: StanzaError, now: float) -> None:
    """
    Remove a user after a delivery error.

    "a MUC service SHOULD remove a user if the service receives a delivery-related error in relation to a stanza
    it has previously sent to the user" (XEP-0045 section 16.1.2).
    """
    occupant = room.users.get(user)
    if occupant is not None and error.condition in DELIVERY_ERRORS:
        drop(room, occupant, now, occupant.session(user))


def _message(service: RoomService, room: Room, user: str, nick: str, stanza: Message, now: float) -> None:
    if nick:
        private_messages.fromUser(room, user, nick, stanza)
    elif stanza.kind == "groupchat":
        groupchat.fromUser(room, user, stanza, now)
    elif stanza.kind == "error":
        return
    elif stanza.invitations:
        room.durability.check()
        service.invite(room, user, stanza, now)
    else:
        room.durability.check()
        room_forms.fromUser(room, user, stanza)


def _error(
    name: str, address: str, user: str, identifier: str | None, error: GatewayError, isJoin: bool = False
) -> SendError:
    jid, _, nick = address.partition("/")
    sender = f"{jid}/{nick}" if nick else jid
    return SendError(name, sender, user, identifier, stanzaError(type(error)), isJoin)
