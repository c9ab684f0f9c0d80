"""
Roles whose presence is broadcast (XEP-0045 sections 5.1 and 7.2.2): others are hidden, for rooms of thousands.

The presence of a hidden occupant is sent to that occupant only; moderators find hidden occupants in the lists of
roles. A change of the role shows an occupant to the others, or hides it from them by an unavailable presence.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from gateway.errors import NotAcceptable
from gateway.muc.occupant import Occupant
from gateway.muc.option import Option
from gateway.muc.room import Room, Settings
from gateway.muc.values import AVAILABLE, BROADCAST_ROLES

# Presences that a change of the configuration sends at once.
_MAX_COPIES = 100_000


@frozen
class _Roles(Option):
    """An option with several values, or none."""

    def current(self, settings: Settings) -> tuple[str, ...]:
        return settings.presenceBroadcast

    def readAll(self, settings: Settings, values: tuple[str, ...]) -> Settings:
        if not frozenset(BROADCAST_ROLES).issuperset(values):
            raise NotAcceptable
        return evolve(settings, presenceBroadcast=ordered(values))


OPTION = _Roles(
    "muc#roomconfig_presencebroadcast",
    "presenceBroadcast",
    "list-multi",
    "Roles for which Presence is Broadcasted",
    values={each: each for each in BROADCAST_ROLES},
    labels={each: each.capitalize() for each in BROADCAST_ROLES},
)


def ordered(roles: Iterable[str]) -> tuple[str, ...]:
    """Return roles in their order."""
    given = frozenset(roles)
    return tuple(each for each in BROADCAST_ROLES if each in given)


def changed(room: Room, before: Settings) -> tuple[int, ...]:
    """
    Show or hide occupants. In a large room, some of them are shown or hidden with their next presence: otherwise
    thousands of presences to thousands of occupants would block the reactor.
    """
    if room.settings.presenceBroadcast != before.presenceBroadcast:
        most = _MAX_COPIES // max(1, len(room.users))
        for occupant in [each for each in room.occupants.values() if each.isHidden != room.hides(each)][:most]:
            room.broadcastPresence(occupant, AVAILABLE, own=True, to=())
    return ()


def seenBy(room: Room, occupant: Occupant | None) -> list[str]:
    """Return the nicks of the occupants whose presence an occupant is sent."""
    return [nick for nick, each in room.occupants.items() if each is occupant or not each.isHidden]
