"""
Private messages (XEP-0045 section 7.5): "each node that receives it is responsible for routing it to the
appropriate node (or the occupant, if local)" (XEP-0289 section 6.6).
"""

from __future__ import annotations

from gateway.errors import GatewayError, NoSuchAddress, NotInTheRoom, Unreadable
from gateway.fmuc.actions import PrivateMessage, SendError
from gateway.fmuc.room import Node, Occupant, Room
from gateway.fmuc.values import Message, RoomMessage, StanzaError, stanzaError


def fromUser(room: Room, user: str, nick: str, stanza: Message) -> None:
    """Handle a local user's message to one occupant."""
    occupant = room.users.get(user)
    recipient = room.occupants.get(nick)
    why: type[GatewayError] | None = None
    if occupant is None:
        why = NotInTheRoom
    elif recipient is None:
        # Section 7.5: a nick that nobody has is "item-not-found".
        why = NoSuchAddress
    elif stanza.kind == "groupchat":
        # "the service MUST refuse to deliver the message [...] and return a <bad-request/> error".
        why = Unreadable
    if why is not None:
        if stanza.kind != "error":
            room.out.append(SendError("message", f"{room.jid}/{nick}", user, stanza.id, stanzaError(why)))
        return
    assert occupant is not None and recipient is not None
    _route(room, occupant, recipient, stanza)


def fromNode(room: Room, node: Node, sender: str, recipient: str, stanza: Message) -> None:
    """Handle a private message that comes from another node."""
    occupant = room.occupants.get(sender)
    there = room.occupants.get(recipient)
    if occupant is not None and occupant.node is node and there is not None and there.node is not node:
        _route(room, occupant, there, stanza)
    elif stanza.kind != "error":
        why = NotInTheRoom if occupant is None or occupant.node is not node else NoSuchAddress
        bounce(room, node, sender, recipient, stanza, stanzaError(why))


def bounce(room: Room, node: Node, sender: str, recipient: str, stanza: Message, why: StanzaError) -> None:
    """Return an error for a message of another node's occupant."""
    address = f"{room.jid}/{recipient}" if recipient else room.jid
    room.out.append(SendError("message", address, f"{node.jid}/{sender}", stanza.id, why))


def _route(room: Room, occupant: Occupant, recipient: Occupant, stanza: Message) -> None:
    message = RoomMessage(
        nick=occupant.nick, realJid=occupant.realJid, kind=stanza.kind, id=stanza.id, payload=stanza.payload
    )
    if recipient.node is not None:
        room.toNode(recipient.node, PrivateMessage(message, recipient.nick, stanza.stanzaError))
    elif stanza.stanzaError is not None:
        room.out.append(
            SendError("message", f"{room.jid}/{occupant.nick}", recipient.realJid, stanza.id, stanza.stanzaError)
        )
    else:
        room.toUsers(message, (recipient.address,))
