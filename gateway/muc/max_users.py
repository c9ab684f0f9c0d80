"""The maximum number of occupants (XEP-0045 sections 7.2.9 and 10.2)."""

from __future__ import annotations

from attrs import evolve, frozen

from gateway.errors import NotAcceptable, RoomFull
from gateway.muc.forms import FormField
from gateway.muc.option import Option
from gateway.muc.room import Bounds, Room, Settings
from gateway.muc.values import ADMIN, OWNER, JoinRequest

_VAR, _UNLIMITED = "muc#roomconfig_maxusers", "none"
# Numbers that the form offers; any other number is accepted as well.
_OFFERED = {str(number): number for number in (10, 20, 30, 50, 100, 200, 500, 1_000)} | {_UNLIMITED: 0}
# Owners and admins enter a full room: "up to some reasonable number of additional occupants".
_MORE = 100


@frozen
class _MaxUsers(Option):
    """An option whose values are numbers, and a word for no limit but the service's own."""

    def read(self, settings: Settings, value: str) -> Settings:
        if value == _UNLIMITED:
            return evolve(settings, maxUsers=0)
        isNumber = value.isascii() and value.isdigit() and len(value) < 10
        if not isNumber or not 0 < int(value) <= Bounds().occupants:
            raise NotAcceptable
        return evolve(settings, maxUsers=int(value))

    def value(self, settings: Settings) -> str:
        return str(settings.maxUsers) if settings.maxUsers else _UNLIMITED


OPTION = _MaxUsers(
    _VAR, "maxUsers", "list-single", "Maximum Number of Occupants", values=_OFFERED, labels={_UNLIMITED: "None"}
)


def checkJoin(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.2.9: "the room MUST allow the admin or owner to join, up to some reasonable number"."""
    most = min(room.bounds.occupants, room.settings.maxUsers or room.bounds.occupants)
    if len(room.occupants) >= most + (_MORE if affiliation in (OWNER, ADMIN) else 0):
        raise RoomFull


def infoFields(settings: Settings) -> tuple[FormField, ...]:
    """Return the field of disco#info; none without a limit of the room's own."""
    return (FormField(_VAR, "text-single", OPTION.label, (str(settings.maxUsers),)),) if settings.maxUsers else ()
