"""Leaving a room, and removal from it (XEP-0045 sections 7.14, 8.2 and 10.9)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import TECHNICAL_PROBLEM, UNAVAILABLE, Presence, PresenceChange


def leave(
    room: Room, occupant: Occupant, stanza: Presence, now: float, change: PresenceChange = UNAVAILABLE
) -> None:
    """Handle an occupant's leave."""
    occupant.payload = stanza.payload
    remove(room, occupant, change, own=True, identifier=stanza.id)
    room.nodes.left(occupant, now)


def drop(room: Room, occupant: Occupant, now: float) -> None:
    """Remove an occupant who cannot be reached, or who is not an occupant any longer at another node."""
    remove(room, occupant, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
    room.nodes.left(occupant, now)


def remove(
    room: Room, occupant: Occupant, change: PresenceChange, own: bool = False, identifier: str | None = None
) -> None:
    """
    Remove an occupant and tell all.

    @param own: True if the occupant has left by sending unavailable presence.
    @param identifier: C{id} of that presence.
    """
    removeAll(room, [occupant], change, own, identifier)


def removeAll(
    room: Room,
    occupants: Sequence[Occupant],
    change: PresenceChange,
    own: bool = False,
    identifier: str | None = None,
) -> None:
    """
    Remove several occupants. Each of them is told only of its own removal: otherwise thousands of presences to
    thousands of occupants would block the reactor for seconds.
    """
    for occupant in occupants:
        room.remove(occupant)
    audience = room.audience()
    for occupant in occupants:
        # The occupant is no longer among the users, but is told.
        room.broadcastPresence(occupant, change, own, audience, identifier=identifier)
    for occupant in occupants:
        room.nodes.removed(occupant, own)


def close(room: Room, change: PresenceChange) -> None:
    """Remove all occupants; each is told only of its own removal (section 10.9)."""
    for occupant in list(room.users.values()):
        room.remove(occupant)
        room.sendSelfPresence(occupant, change)
    room.nodes.closed(change)
