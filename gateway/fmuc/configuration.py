"""Configuration and destruction by owners (XEP-0045 section 10), in rooms without a joined node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from gateway.errors import NotAcceptable, NotEntitled, OnlyInTheRoom
from gateway.fmuc.leave import close, removeAll
from gateway.fmuc.muc_xml import statusXml
from gateway.fmuc.room import Room, Settings
from gateway.fmuc.values import MEMBERS_ONLY_NOW, NONE, OWNER, Payload, PresenceChange, RoomMessage

# Status codes of configuration changes (section 10.2.1).
_CHANGED, _NOW_PUBLIC, _NOW_SEMI_ANONYMOUS = 104, 172, 173
# Characters of a name or a password.
_MAX_TEXT = 1_000
_TRUE = {"1": True, "true": True, "0": False, "false": False}


@frozen
class Field:
    """
    A field of the configuration form.

    @ivar var: name of the field.
    @ivar name: attribute of L{Settings}.
    @ivar kind: type of the field.
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
    """Return the current values of the form."""
    found = {}
    for field in FIELDS:
        value = bool(settings.password) if not field.name else getattr(settings, field.name)
        if field.kind == "list-single":
            value = "anyone" if value else "moderators"
        found[field.var] = str(int(value)) if isinstance(value, bool) else value
    return found


def configuration(room: Room, user: str) -> Settings:
    """
    Return the configuration for an owner.

    @param user: full JID.
    @raise GatewayError: if the user is not an owner.
    """
    _onlyOwners(room, user)
    return room.settings


def configure(room: Room, user: str, given: Mapping[str, str]) -> None:
    """
    Apply a submitted form: all of it, or nothing if a value is not acceptable.

    @param given: values by C{var}; unknown fields are ignored, and missing ones stay as they are.
    @raise GatewayError: if the form is refused.
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
        # Section 9.5: if a room becomes members-only, other users than members "MUST" be removed.
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
        # Section 10.2: a value that is not allowed is "not-acceptable".
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
    # Section 10.1.3: an empty password is "not-acceptable" if a password is required.
    if needed is not None and _TRUE[needed] and not settings.password:
        raise NotAcceptable
    return settings


def destroy(room: Room, user: str, reason: str, jid: str) -> None:
    """
    Destroy a room.

    @param jid: JID of an alternate room; or empty.
    @raise GatewayError: if the user is not an owner.
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
