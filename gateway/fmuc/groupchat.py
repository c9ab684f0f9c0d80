"""Messages to all occupants (XEP-0045 section 7.4), and the subject (section 8.1)."""

from __future__ import annotations

from attrs import evolve

from gateway.errors import GatewayError, NotInTheRoom, NoVoice, TooLarge
from gateway.fmuc.actions import SendError
from gateway.fmuc.from_joined import broadcast
from gateway.fmuc.private_messages import bounce
from gateway.fmuc.room import Node, Occupant, Room
from gateway.fmuc.values import MODERATOR, VISITOR, Dialect, Message, RoomMessage, stanzaError


def fromUser(room: Room, user: str, stanza: Message, now: float) -> None:
    """Handle a local user's message."""
    occupant = room.users.get(user)
    # "If the sender is not an occupant of the room, the service SHOULD return a <not-acceptable/> error".
    why = checkVoice(room, occupant, stanza)
    if occupant is None or why is not None:
        room.out.append(SendError("message", room.jid, user, stanza.id, stanzaError(why or NotInTheRoom)))
        return
    _submit(room, occupant, stanza, now)


def fromNode(room: Room, node: Node, sender: str, stanza: Message, now: float) -> None:
    """Handle the message of a joining node's occupant."""
    # The mode of a node does not change between messages.
    node.mirrors = not stanza.nomirror and (node.replica or node.dialect is Dialect.PROTOXEP)
    occupant = room.occupants.get(sender)
    if occupant is not None and occupant.node is not node:
        # The node does not speak for other nodes' occupants.
        occupant = None
    why = checkVoice(room, occupant, stanza)
    if occupant is None or why is not None:
        bounce(room, node, sender, "", stanza, stanzaError(why or NotInTheRoom))
        return
    _submit(room, occupant, stanza, now)


def checkVoice(room: Room, occupant: Occupant | None, stanza: Message) -> type[GatewayError] | None:
    """Return the error if an occupant may not send the message. If there is a joined node, it decides."""
    if occupant is None:
        return NotInTheRoom
    if len(stanza.payload.raw) * len(room.users) > room.bounds.copies:
        return TooLarge
    if occupant.standing.role == MODERATOR:
        return None
    # Section 7.4: a message from a visitor in a moderated room is "forbidden". Section 8.1: so is the subject of an
    # occupant who may not change it. A mirror knows the roles, and does not show a message that the room will
    # reject.
    if occupant.standing.role == VISITOR or (stanza.subject and not room.settings.changeSubject):
        return NoVoice
    return None


def _submit(room: Room, occupant: Occupant, stanza: Message, now: float) -> None:
    message = RoomMessage(
        nick=occupant.nick,
        realJid=occupant.realJid,
        payload=stanza.payload,
        id=stanza.id,
        subject=stanza.subject,
        store=stanza.store,
    )
    joinedNode = room.joinedNode
    if joinedNode is not None:
        room.toNode(joinedNode, evolve(message, nomirror=not joinedNode.mirrors))
        if joinedNode.mirrors:
            # "it MUST NOT fan out this message to local users until it receives the message copy from the MUC".
            return
    broadcast(room, message, occupant.node, now)
