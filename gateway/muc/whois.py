"""Real JIDs: non-anonymous and semi-anonymous rooms (XEP-0045 sections 3 and 10.2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.muc.option import Option
from gateway.muc.room import Room, Settings

OPTION = Option(
    "muc#roomconfig_whois",
    "nonAnonymous",
    "list-single",
    "Who May Discover Real JIDs?",
    ("muc_nonanonymous", "muc_semianonymous"),
    {"moderators": False, "anyone": True},
    {"moderators": "Moderators Only", "anyone": "Anyone"},
)
# Status codes (section 10.2.1).
_NOW_NON_ANONYMOUS, _NOW_SEMI_ANONYMOUS = 172, 173


def changed(room: Room, before: Settings) -> tuple[int, ...]:
    """Apply the setting to the occupants; return the status code of the change."""
    nonAnonymous = room.settings.nonAnonymous
    if nonAnonymous == before.nonAnonymous:
        return ()
    show(room, nonAnonymous)
    return (_NOW_NON_ANONYMOUS if nonAnonymous else _NOW_SEMI_ANONYMOUS,)


def show(room: Room, nonAnonymous: bool) -> None:
    """Show the real JIDs to all occupants, or to moderators only, from now on."""
    room.settings.nonAnonymous = nonAnonymous
    for occupant in room.occupants.values():
        occupant.nonAnonymous = nonAnonymous


def changedAbove(room: Room, codes: Sequence[int]) -> None:
    """Apply the status codes of a change that another node has made, of which this room is a mirror."""
    if _NOW_NON_ANONYMOUS in codes:
        show(room, True)
    elif _NOW_SEMI_ANONYMOUS in codes:
        show(room, False)
