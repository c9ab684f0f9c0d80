"""Messages to all occupants (XEP-0045 section 7.4)."""

from __future__ import annotations

from gateway.errors import NotInTheRoom, TooLarge
from gateway.muc import archive
from gateway.muc.moderated import checkVoice
from gateway.muc.occupant import Node, Occupant
from gateway.muc.room import Room
from gateway.muc.subject import checkChange, subjectOf
from gateway.muc.values import MODERATOR, Message, RoomMessage


def fromUser(room: Room, user: str, stanza: Message, now: float) -> None:
    """
    Handle a local user's message.

    @raise GatewayError: if it is refused.
    """
    submit(room, room.users.get(user), stanza, now)


def submit(
    room: Room,
    occupant: Occupant | None,
    stanza: Message,
    now: float,
    stanzaId: str = "",
    origin: Node | None = None,
) -> None:
    """
    Handle an occupant's message.

    @param occupant: C{None} if the sender is not an occupant.
    @param stanzaId: the stanza id with which another node has shown the message already; empty for none.
    @param origin: the node that the message comes from; C{None} for a local user.
    @raise GatewayError: if it is refused.
    """
    if occupant is None:
        # "If the sender is not an occupant of the room, the service SHOULD return a <not-acceptable/> error".
        raise NotInTheRoom
    if len(stanza.payload.raw) * len(room.users) > room.bounds.copies:
        raise TooLarge
    if stanza.store or stanza.subject:
        room.durability.check()
    if occupant.standing.role != MODERATOR:
        checkVoice(occupant)
        if stanza.subject:
            checkChange(room)
    if not stanzaId and stanza.lasts and not room.nodes.returnsMessages:
        stanzaId = room.ids.stanzaId(room.nextIds)
    message = RoomMessage(
        nick=occupant.nick,
        realJid=occupant.realJid,
        occupantId=occupant.id,
        stanzaId=stanzaId,
        payload=stanza.payload,
        id=stanza.id,
        subject=stanza.subject,
        store=stanza.store,
    )
    if not room.nodes.submitMessage(message, now):
        broadcast(room, message, origin, now)


def broadcast(room: Room, message: RoomMessage, origin: Node | None, now: float) -> None:
    """
    Store a message, and send it to all.

    @param origin: the node that the message comes from.
    """
    stored = message.delayed(room.stamp(now))
    archive.add(room, stored)
    room.broadcastMessage(message, origin)
    if message.subject:
        room.subject = stored
    elif message.store:
        room.history.add(stored)


def withdraw(room: Room, added: int, subject: RoomMessage | None) -> list[str]:
    """
    Remove a message that cannot be stored, and that nobody was shown; later messages must be withdrawn first.

    @param added: number of messages of the history before this one.
    @param subject: subject before this message.
    @return: stanza ids of what was removed, also of a subject.
    """
    found = []
    while room.history.added > added:
        message = room.history.withdraw()
        if message is not None and message.stanzaId:
            found.append(message.stanzaId)
    room.changes.messages = min(room.changes.messages, added)
    if room.subject is not None and room.subject is not subject and room.subject.stanzaId:
        found.append(room.subject.stanzaId)
    room.subject = subject
    if room.arrivals is not None:
        room.arrivals.withdraw(found, subjectOf(room))
    return found
