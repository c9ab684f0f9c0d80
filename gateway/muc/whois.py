"""Real JIDs: non-anonymous and semi-anonymous rooms (XEP-0045 sections 3 and 10.2.1)."""

from __future__ import annotations

from collections.abc import Iterable

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
    code = changeCode(before.nonAnonymous, nonAnonymous)
    if not code:
        return ()
    show(room, nonAnonymous)
    return (code,)


def changeCode(before: bool, nonAnonymous: bool) -> int:
    """Return the status code of a change; 0 for none."""
    if nonAnonymous == before:
        return 0
    return _NOW_NON_ANONYMOUS if nonAnonymous else _NOW_SEMI_ANONYMOUS


def show(room: Room, nonAnonymous: bool) -> None:
    """Show the real JIDs to all occupants, or to moderators only, from now on."""
    room.settings.nonAnonymous = nonAnonymous
    for occupant in room.occupants.values():
        occupant.nonAnonymous = nonAnonymous


def toldBy(signs: Iterable[int | str]) -> bool | None:
    """
    Return what status codes, or features of disco#info, say of the real JIDs: true if all occupants see them;
    C{None} if the signs say nothing of it.
    """
    found = [_SIGNS[sign] for sign in signs if sign in _SIGNS]
    return found[-1] if found else None


_SIGNS: dict[int | str, bool] = {
    _NOW_NON_ANONYMOUS: True,
    _NOW_SEMI_ANONYMOUS: False,
    OPTION.features[0]: True,
    OPTION.features[1]: False,
}
