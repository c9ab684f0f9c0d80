"""The answer to a join (XEP-0045 sections 7.1 and 7.2): presences, history, subject; large rooms send portions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from gateway.muc import avatar, presence_broadcast
from gateway.muc.actions import ShowOccupants
from gateway.muc.arrivals import PORTION, Arrival, Arrivals
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import AVAILABLE, CREATED, MODERATOR, NON_ANONYMOUS, HistoryLimits


def begin(
    room: Room,
    occupant: Occupant,
    user: str,
    limits: HistoryLimits,
    now: float,
    identifier: str | None = None,
    created: bool = False,
) -> Arrival | None:
    """
    Send the presences of the other occupants to a local session that joins.

    @param user: full JID of the session.
    @param identifier: C{id} of its stanza.
    @param created: True if the join has created the room.
    @return: for L{complete}; C{None} if the room is large, and L{proceed} sends everything.
    """
    session = occupant.session(user)
    arrival = Arrival(
        user=user,
        occupant=occupant,
        address=occupant.address if session is None else session.address,
        codes=(*((NON_ANONYMOUS,) if occupant.nonAnonymous else ()), *((CREATED,) if created else ())),
        id=identifier,
        messages=[*room.recent(limits, user, now), subjectOf(room)],
    )
    if len(room.occupants) <= PORTION + 1:
        room.forgetArrival(arrival.address)
        _sendPresences(room, arrival, room.occupants)
        return arrival
    if room.arrivals is None:
        room.arrivals = Arrivals()
    room.arrivals.add(arrival)
    return None


def complete(room: Room, arrival: Arrival) -> None:
    """
    Send the session its own presence, and messages. Section 7.2.13: history after presence. Section 7.2.15: the
    subject after history, even an empty one.
    """
    to = (arrival.address,)
    room.sendSelfPresence(arrival.occupant, AVAILABLE, *arrival.codes, identifier=arrival.id, to=to)
    for message in arrival.messages:
        room.toUsers(message, to)
    if room.card is not None and room.card.hashes:
        avatar.show(room, to)


def proceed(room: Room) -> None:
    """Send the next portion to the session whose turn it is."""
    arrivals = room.arrivals
    if arrivals is None:
        return
    arrival = next(iter(arrivals.waiting.values()))
    unsent = arrival.unsent
    if unsent is None:
        unsent = arrival.unsent = dict.fromkeys(presence_broadcast.seenBy(room, None))
    nicks = list(islice(unsent, PORTION))
    for nick in nicks:
        del unsent[nick]
    _sendPresences(room, arrival, [nick for nick in nicks if nick in room.occupants])
    if not unsent:
        later = arrivals.complete(arrival)
        if not arrivals.waiting:
            room.arrivals = None
        complete(room, arrival)
        for message in later:
            room.toUsers(message, (arrival.address,))


def _sendPresences(room: Room, arrival: Arrival, nicks: Iterable[str]) -> None:
    occupants, own = room.occupants, arrival.occupant
    others = [each for nick in nicks if (each := occupants[nick]) is not own and not each.isHidden]
    presences = [each.presence(AVAILABLE) for each in others]
    if presences:
        isModerator = arrival.occupant.standing.role == MODERATOR
        room.emit(ShowOccupants(room.jid, presences, arrival.address, isModerator))
