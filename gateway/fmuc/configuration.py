"""
What owners decide (XEP-0045 section 10), of rooms that are this node's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from gateway.errors import NotAcceptable, NotEntitled, OnlyInTheRoom
from gateway.fmuc.leave import close, removeAll
from gateway.fmuc.muc_xml import statusXml
from gateway.fmuc.room import Room, Settings
from gateway.fmuc.values import MEMBERS_ONLY_NOW, NONE, OWNER, Payload, PresenceChange, RoomMessage

# Status codes of what has changed (section 10.2.1).
_CHANGED, _NOW_PUBLIC, _NOW_SEMI_ANONYMOUS = 104, 172, 173
# Characters of a name or a password.
_MAX_TEXT = 1_000
_TRUE = {"1": True, "true": True, "0": False, "false": False}


@frozen
class Field:
    """
    One thing that an owner may decide.

    @ivar var: its name in the form.
    @ivar name: the attribute of L{Settings}.
    @ivar kind: the field's type.
    """

    var: str
    name: str
    kind: str
    label: str


FIELDS = (
    Field("muc#roomconfig_roomname", "name", "text-single", "The room's name"),
    Field("muc#roomconfig_publicroom", "public", "boolean", "Can be found by everybody"),
    Field("muc#roomconfig_persistentroom", "persistent", "boolean", "Stays when everybody is gone"),
    Field("muc#roomconfig_membersonly", "membersOnly", "boolean", "For members only"),
    Field("muc#roomconfig_moderatedroom", "moderated", "boolean", "Newcomers have no voice"),
    Field("muc#roomconfig_changesubject", "changeSubject", "boolean", "Everybody with a voice may set the subject"),
    Field("muc#roomconfig_whois", "nonAnonymous", "list-single", "Who sees real addresses"),
    Field("muc#roomconfig_passwordprotectedroom", "", "boolean", "A password is needed"),
    Field("muc#roomconfig_roomsecret", "password", "text-private", "The password"),
)
WHOIS = {"moderators": False, "anyone": True}


def values(settings: Settings) -> dict[str, str]:
    """The form's values as they are now."""
    found = {}
    for field in FIELDS:
        value = bool(settings.password) if not field.name else getattr(settings, field.name)
        if field.kind == "list-single":
            value = "anyone" if value else "moderators"
        found[field.var] = str(int(value)) if isinstance(value, bool) else value
    return found


def configuration(room: Room, user: str) -> Settings:
    """
    What an owner may look at.

    @param user: full JID.
    @raise GatewayError: if he is none.
    """
    _onlyOwners(room, user)
    return room.settings


def configure(room: Room, user: str, given: Mapping[str, str]) -> None:
    """
    Do what an owner wants: all of it, or, if something of it cannot be, nothing.

    @param given: by C{var}; what there is no field for means nothing, and what is left out stays as it is.
    @raise GatewayError: if it may not be.
    """
    _onlyOwners(room, user)
    settings = _read(room.settings, given)
    before, room.settings = room.settings, settings
    codes = [_CHANGED]
    if settings.nonAnonymous != before.nonAnonymous:
        codes.append(_NOW_PUBLIC if settings.nonAnonymous else _NOW_SEMI_ANONYMOUS)
        for occupant in room.occupants.values():
            occupant.nonAnonymous = settings.nonAnonymous
    if settings.membersOnly and not before.membersOnly:
        # Section 9.5: who is no member of a room that is for members now "MUST" be removed.
        others = [occupant for occupant in room.occupants.values() if occupant.standing.affiliation == NONE]
        removeAll(room, others, PresenceChange(unavailable=True, codes=(MEMBERS_ONLY_NOW,)))
    if settings != before:
        newPayload = RoomMessage(nick="", payload=Payload(statusXml(codes)))
        room.toUsers(newPayload, [occupant.address for occupant in room.users.values()])


def _read(settings: Settings, given: Mapping[str, str]) -> Settings:
    changes: dict[str, Any] = {}
    for field in FIELDS:
        value = given.get(field.var)
        if value is None or not field.name:
            continue
        # Section 10.2: a value that is none of those is "not-acceptable".
        allowed = _TRUE if field.kind == "boolean" else WHOIS if field.kind == "list-single" else None
        if len(value) > _MAX_TEXT or (allowed is not None and value not in allowed):
            raise NotAcceptable
        changes[field.name] = value if allowed is None else allowed[value]
    needed = given.get("muc#roomconfig_passwordprotectedroom")
    if needed is not None and needed not in _TRUE:
        raise NotAcceptable
    if needed is not None and not _TRUE[needed]:
        changes["password"] = ""
    settings = evolve(settings, **changes)
    # Section 10.1.3: a password that is needed and is none is "not-acceptable".
    if needed is not None and _TRUE[needed] and not settings.password:
        raise NotAcceptable
    return settings


def destroy(room: Room, user: str, reason: str, jid: str) -> None:
    """
    Let a room be no more.

    @param jid: of another that takes its place; or empty.
    @raise GatewayError: if the user may not.
    """
    _onlyOwners(room, user)
    close(room, PresenceChange(unavailable=True, destroyed=True, reason=reason[:_MAX_TEXT], jid=jid))
    room.affiliations.clear()
    room.settings.persistent = False


def _onlyOwners(room: Room, user: str) -> None:
    if room.joinedNode is not None:
        raise OnlyInTheRoom
    if room.affiliation(user) != OWNER:
        raise NotEntitled
