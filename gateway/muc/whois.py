"""Real JIDs: non-anonymous and semi-anonymous rooms (XEP-0045 sections 3 and 10.2.1)."""

from __future__ import annotations

from gateway.muc.option import Option
from gateway.muc.room import Room, Settings

OPTION = Option(
    "muc#roomconfig_whois",
    "nonAnonymous",
    "list-single",
    "Who sees real addresses",
    ("muc_nonanonymous", "muc_semianonymous"),
    {"moderators": False, "anyone": True},
)
# Status codes (section 10.2.1).
_NOW_NON_ANONYMOUS, _NOW_SEMI_ANONYMOUS = 172, 173


def changed(room: Room, before: Settings) -> tuple[int, ...]:
    """Apply the setting to the occupants; return the status code of the change."""
    nonAnonymous = room.settings.nonAnonymous
    if nonAnonymous == before.nonAnonymous:
        return ()
    for occupant in room.occupants.values():
        occupant.nonAnonymous = nonAnonymous
    return (_NOW_NON_ANONYMOUS if nonAnonymous else _NOW_SEMI_ANONYMOUS,)
