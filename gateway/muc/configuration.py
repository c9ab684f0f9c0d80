"""Configuration and destruction by owners (XEP-0045 section 10)."""

from __future__ import annotations

from gateway.errors import NotAcceptable, NotEntitled, OnlyInTheRoom
from gateway.muc import (
    description,
    invitations,
    max_users,
    members_only,
    moderated,
    name,
    occupant_iq,
    owners,
    password,
    persistent,
    presence_broadcast,
    public,
    register,
    subject,
    whois,
)
from gateway.muc.actions import ANSWER_IQ
from gateway.muc.administration import applyChanges
from gateway.muc.elements import statusXml
from gateway.muc.forms import Form, FormField
from gateway.muc.leave import close
from gateway.muc.locked import unlock
from gateway.muc.option import BOOLEANS, MAX_TEXT, Option
from gateway.muc.room import Room
from gateway.muc.values import OWNER, Payload, PresenceChange, RoomMessage

# In the order of the form.
OPTIONS: tuple[Option, ...] = (
    name.OPTION,
    description.OPTION,
    public.OPTION,
    persistent.OPTION,
    members_only.OPTION,
    moderated.OPTION,
    presence_broadcast.OPTION,
    subject.OPTION,
    invitations.OPTION,
    whois.OPTION,
    max_users.OPTION,
    register.OPTION,
    occupant_iq.OPTION,
    password.OPTION,
)
# The form does not offer this field, because there is no public log. A form that asks for one is refused.
_LOGGING = "muc#roomconfig_enablelogging"
# Further effects of a change of the settings.
_CHANGED = (whois.changed, members_only.changed, presence_broadcast.changed)
# Types of fields whose values are offered.
_LISTS = ("list-single", "list-multi")
# Status code of any change (section 10.2.1).
_CONFIGURATION_CHANGED = 104


def form(room: Room, user: str) -> list[FormField]:
    """
    Return the form with the current values.

    @param user: full JID.
    @raise GatewayError: if the user is not an owner.
    """
    checkOwner(room, user)
    fields = []
    for option in OPTIONS:
        if option is password.OPTION:
            required = (str(int(bool(room.settings.password))),)
            fields.append(FormField(password.REQUIRED_VAR, "boolean", password.REQUIRED_LABEL, required))
        values = tuple(option.values) if option.values and option.kind in _LISTS else ()
        current = option.current(room.settings)
        if values:
            # The maximum number of occupants may be another number than those that are offered.
            values = (*(each for each in current if each not in values), *values)
        choices = tuple((each, option.labels.get(each, each)) for each in values)
        fields.append(FormField(option.var, option.kind, option.label, current, choices))
    return [*fields, *owners.fields(room)]


def configure(room: Room, user: str, given: Form) -> None:
    """
    Apply a submitted form: all of it, or nothing if a value is not acceptable. Unknown fields are ignored, and
    missing ones stay as they are.

    @raise GatewayError: if the form is refused.
    """
    checkOwner(room, user)
    settings = room.settings
    for option in OPTIONS:
        if option.var in given.values:
            settings = option.readAll(settings, given.values[option.var])
    settings = password.readRequired(settings, given)
    if BOOLEANS.get(given.value(_LOGGING)):
        raise NotAcceptable
    applyChanges(room, user, owners.changes(room, given))
    unlock(room)
    before, room.settings = room.settings, settings
    codes: list[int] = []
    for changed in _CHANGED:
        codes += changed(room, before)
    if settings != before:
        notify(room, *codes)


def notify(room: Room, *codes: int) -> None:
    """
    Tell all occupants of a change: "the service MUST send a message of type "groupchat" to all occupants", those of
    other nodes included.

    @param codes: further status codes (section 10.2.1).
    """
    payload = Payload(statusXml((_CONFIGURATION_CHANGED, *codes)))
    room.broadcastMessage(RoomMessage(nick="", payload=payload), None)


def cancel(room: Room, user: str) -> None:
    """
    Handle a cancelled form. It changes nothing, but if it is the first form of a new room, "the service MUST
    destroy the room" (section 10.1.3).

    @raise GatewayError: if the user is not an owner.
    """
    checkOwner(room, user)
    if room.lockedUntil:
        destroy(room, user)


def destroy(room: Room, user: str, reason: str = "", jid: str = "", password: str = "") -> None:
    """
    Destroy a room. All occupants are told before the owner's request is answered (section 10.9).

    @param jid: JID of an alternate room, or empty.
    @param password: its password.
    @raise GatewayError: if the user is not an owner, or the password is too long.
    """
    checkOwner(room, user)
    if len(password) > MAX_TEXT:
        raise NotAcceptable
    end(
        room,
        PresenceChange(unavailable=True, destroyed=True, reason=reason[:MAX_TEXT], jid=jid, password=password),
    )
    room.emit(ANSWER_IQ)


def end(room: Room, change: PresenceChange) -> None:
    """Remove all occupants and everything that keeps a room; the service removes the room then."""
    close(room, change)
    room.affiliations.clear()
    room.registrations.clear()
    room.settings.persistent = False


def checkOwner(room: Room, user: str) -> None:
    """Raise the error of a user who is not an owner, or is at a mirror of the room."""
    if room.nodes.isMirror:
        raise OnlyInTheRoom
    if room.affiliation(user) != OWNER:
        raise NotEntitled
