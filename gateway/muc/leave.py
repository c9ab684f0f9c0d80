"""Leaving a room, and removal from it (XEP-0045 sections 7.14, 8.2 and 10.9)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from gateway.muc.actions import ANSWER_IQ
from gateway.muc.occupant import Occupant, Session
from gateway.muc.room import Room
from gateway.muc.sessions import leaveSession
from gateway.muc.values import TECHNICAL_PROBLEM, UNAVAILABLE, Presence, PresenceChange


def leave(
    room: Room,
    occupant: Occupant,
    stanza: Presence,
    now: float,
    change: PresenceChange = UNAVAILABLE,
    session: Session | None = None,
) -> None:
    """
    Handle an occupant's leave.

    @param session: the one of several sessions that leaves; the occupant stays.
    """
    if session is not None:
        leaveSession(room, occupant, session, stanza.payload, change, stanza.id)
        return
    if room.lockedUntil and len(room.occupants) == 1:
        # Section 10.1.3: "If the room owner becomes unavailable [...] before submitting the form [...] The service
        # MUST then destroy the room", with C{<destroy/>}.
        change = evolve(change, destroyed=True)
    occupant.payload = stanza.payload
    remove(room, occupant, change, own=True, identifier=stanza.id)
    room.nodes.left(occupant, now)


def drop(room: Room, occupant: Occupant, now: float, session: Session | None = None) -> None:
    """
    Remove an occupant who cannot be reached, or whom another node does not know as an occupant any longer.

    @param session: the one of several sessions that cannot be reached; the occupant stays.
    """
    change = PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,))
    if session is not None:
        leaveSession(room, occupant, session, session.payload, change)
        return
    remove(room, occupant, change)
    room.nodes.left(occupant, now)


def remove(
    room: Room, occupant: Occupant, change: PresenceChange, own: bool = False, identifier: str | None = None
) -> None:
    """
    Remove an occupant and tell all.

    @param own: True if the occupant has left by sending unavailable presence.
    @param identifier: C{id} of that presence.
    """
    removeAll(room, {occupant: change}, own, identifier)


def removeAll(
    room: Room,
    changes: Mapping[Occupant, PresenceChange],
    own: bool = False,
    identifier: str | None = None,
    answer: bool = False,
) -> None:
    """
    Remove several occupants. Each of them is told only of its own removal: otherwise thousands of presences to
    thousands of occupants would block the reactor for seconds.

    The removed users are told first, and then the remaining occupants (sections 7.14 and 8.2).

    @param answer: True if the answer to the iq request that is being handled is sent in between.
    """
    for occupant, change in changes.items():
        room.remove(occupant)
        if occupant.node is None:
            room.sendSelfPresence(occupant, change, identifier=identifier)
    if answer:
        room.emit(ANSWER_IQ)
    audience = room.audience()
    for occupant, change in changes.items():
        room.broadcastPresence(occupant, change, own, audience, to=(), identifier=identifier)
    for occupant in changes:
        room.nodes.removed(occupant, own)


def close(room: Room, change: PresenceChange) -> None:
    """Remove all occupants; each is told only of its own removal (section 10.9)."""
    local = list(dict.fromkeys(room.users.values()))
    for occupant in local:
        room.sendSelfPresence(occupant, change)
    room.nodes.closed(change)
    for occupant in local:
        if occupant.nick in room.occupants:
            room.remove(occupant)
