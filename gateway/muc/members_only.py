"""Members-only rooms (XEP-0045 sections 7.2.6 and 9.5)."""

from __future__ import annotations

from gateway.errors import MembersOnly
from gateway.muc.leave import removeAll
from gateway.muc.option import boolean
from gateway.muc.room import Room, Settings
from gateway.muc.values import MEMBERS_ONLY_NOW, NONE, JoinRequest, PresenceChange

OPTION = boolean(
    "muc#roomconfig_membersonly", "membersOnly", "Make Room Members-Only?", ("muc_membersonly", "muc_open")
)


def checkJoin(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.2.6: other users than members are "registration-required"."""
    if room.settings.membersOnly and affiliation == NONE:
        raise MembersOnly


def changed(room: Room, before: Settings) -> tuple[int, ...]:
    """Section 9.5: if a room becomes members-only, other users than members "MUST" be removed."""
    if room.settings.membersOnly and not before.membersOnly:
        others = [occupant for occupant in room.occupants.values() if occupant.standing.affiliation == NONE]
        removeAll(room, dict.fromkeys(others, PresenceChange(unavailable=True, codes=(MEMBERS_ONLY_NOW,))))
    return ()
