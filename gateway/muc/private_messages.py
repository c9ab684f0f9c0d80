"""Private messages (XEP-0045 section 7.5)."""

from __future__ import annotations

from gateway.errors import BadRequest, NoSuchAddress, NotInTheRoom
from gateway.muc.actions import SendError
from gateway.muc.occupant import Node, Occupant
from gateway.muc.room import Room
from gateway.muc.values import Message, RoomMessage


def fromUser(room: Room, user: str, nick: str, stanza: Message) -> None:
    """
    Handle a local user's message to one occupant.

    @raise GatewayError: if it is refused.
    """
    occupant, recipient = room.users.get(user), room.occupants.get(nick)
    if occupant is None:
        raise NotInTheRoom
    if recipient is None:
        # Section 7.5: a nick that nobody has is "item-not-found".
        raise NoSuchAddress
    if stanza.kind == "groupchat":
        # "the service MUST refuse to deliver the message [...] and return a <bad-request/> error".
        raise BadRequest
    send(room, occupant, recipient, stanza)


def send(
    room: Room, occupant: Occupant, recipient: Occupant, stanza: Message, origin: Node | None = None
) -> None:
    """
    Send a private message, or the error of one.

    XEP-0289 section 6.6: "each node that receives it is responsible for routing it to the appropriate node (or the
    occupant, if local)".

    @param origin: the node that the message comes from.
    """
    # XEP-0359 section 3: "For one-on-one messages the assigning entity is the account", not the room.
    message = RoomMessage(
        nick=occupant.nick,
        realJid=occupant.realJid,
        occupantId=occupant.id,
        kind=stanza.kind,
        id=stanza.id,
        payload=stanza.payload,
    )
    if recipient.nodes:
        room.nodes.sendPrivate(recipient, message, stanza.stanzaError, origin)
    # Section 7.2.8: "it is RECOMMENDED to route to all resources".
    if stanza.stanzaError is None:
        room.toUsers(message, recipient.addresses)
        return
    for jid in recipient.localJids:
        room.emit(SendError("message", room.address(occupant.nick), jid, stanza.id, stanza.stanzaError))
