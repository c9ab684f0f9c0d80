"""
Joins to large rooms: the presences of the occupants are sent in portions (XEP-0045 section 7.1).

The new occupant is in the room at once. What happens in the room reaches the session in the order of section 7.1:
"In-room presence from other occupants", "In-room presence from the joining entity itself", history, subject, live
messages.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from gateway.muc.occupant import Occupant
from gateway.muc.values import OccupantPresence, RoomMessage

# Presences of one portion; a join to a room with fewer occupants is answered at once.
PORTION = 200
# Messages that a room keeps for its arrivals, and bytes of them. Beyond that, the oldest is dropped.
_MAX_MESSAGES, _MAX_BYTES = 1_000, 4 * 1024 * 1024


@define(eq=False, kw_only=True)
class Arrival:
    """
    A local session that joins.

    @ivar user: full JID.
    @ivar address: as in L{Occupant}.
    @ivar codes: status codes of the own presence.
    @ivar id: C{id} of the stanza.
    @ivar messages: history and subject at the time of the join.
    @ivar unsent: nicks of occupants whose presence follows; C{None} if nothing was sent yet. The values mean
        nothing.
    @ivar start: number of messages that the room had kept for its arrivals before this one.
    @ivar first: the same, before the first of the joins of the session that were not answered. No history has the
        private messages since then.
    """

    user: str
    occupant: Occupant
    address: bytes
    codes: tuple[int, ...]
    id: str | None
    messages: list[RoomMessage]
    unsent: dict[str, None] | None = None
    start: int = 0
    first: int = 0

    def mayGet(self, presence: OccupantPresence) -> bool:
        """
        True if a presence is sent at once: the session has got an earlier one of this occupant, or the occupant has
        come later. Otherwise the current presence is sent with its portion, if the occupant is still there.
        """
        if presence.nick == self.occupant.nick:
            # The own presence follows the others', unless it says that the user has left.
            return presence.change.unavailable and not presence.change.nick
        return self.unsent is not None and presence.nick not in self.unsent


@define(eq=False)
class Arrivals:
    """
    The arrivals of one room.

    @ivar waiting: by address, in turn.
    """

    waiting: dict[bytes, Arrival] = field(factory=dict)
    # Messages, each with the addresses that get it; C{None} for all arrivals.
    _kept: deque[tuple[RoomMessage, frozenset[bytes] | None]] = field(factory=deque)
    _size: int = 0
    _dropped: int = 0

    def add(self, arrival: Arrival) -> None:
        """
        Add an arrival. It replaces an earlier one of the same session, and waits behind the others: a client that
        joins again and again must not keep them waiting.
        """
        earlier = self.waiting.pop(arrival.address, None)
        arrival.start = self._dropped + len(self._kept)
        arrival.first = arrival.start if earlier is None else earlier.first
        self.waiting[arrival.address] = arrival

    def hold(self, stanza: OccupantPresence | RoomMessage, recipients: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the recipients that get a stanza now; messages are kept for the others."""
        waiting = self.waiting
        held = [each for each in recipients if each in waiting]
        if isinstance(stanza, OccupantPresence):
            held = [each for each in held if not waiting[each].mayGet(stanza)]
        elif held:
            self._keep(stanza, None if len(held) == len(waiting) else frozenset(held))
        if not held:
            return recipients
        without = frozenset(held)
        return tuple(each for each in recipients if each not in without)

    def _keep(self, message: RoomMessage, recipients: frozenset[bytes] | None) -> None:
        self._kept.append((message, recipients))
        self._size += len(message.payload.raw)
        while len(self._kept) > _MAX_MESSAGES or self._size > _MAX_BYTES:
            self._size -= len(self._kept.popleft()[0].payload.raw)
            self._dropped += 1

    def withdraw(self, ids: list[str], subject: RoomMessage) -> None:
        """
        Show no arrival messages that could not be stored.

        @param ids: their stanza ids.
        @param subject: the subject without them.
        """
        for number, (message, _) in enumerate(self._kept):
            if message.stanzaId in ids:
                self._kept[number] = message, frozenset()
        for arrival in self.waiting.values():
            left = (each for each in arrival.messages if each.subject or each.stanzaId not in ids)
            arrival.messages = [subject if each.subject else each for each in left]

    def complete(self, arrival: Arrival) -> list[RoomMessage]:
        """Remove an arrival; return the messages since its join."""
        del self.waiting[arrival.address]
        return [
            message
            for number, (message, recipients) in enumerate(self._kept, self._dropped)
            if number >= (arrival.start if message.kind == "groupchat" else arrival.first)
            and (recipients is None or arrival.address in recipients)
        ]
