"""Password-protected rooms (XEP-0045 sections 7.2.5 and 10.2): a room with a password requires it."""

from __future__ import annotations

from attrs import evolve

from gateway.errors import NotAcceptable, WrongPassword
from gateway.muc.forms import Form
from gateway.muc.option import BOOLEANS, Option
from gateway.muc.room import Room, Settings
from gateway.muc.values import JoinRequest

OPTION = Option(
    "muc#roomconfig_roomsecret",
    "password",
    "text-private",
    "The Room Password",
    ("muc_passwordprotected", "muc_unsecured"),
)
# The form has a second field for it, which is not a separate setting.
REQUIRED_VAR, REQUIRED_LABEL = "muc#roomconfig_passwordprotectedroom", "Password Required to Enter?"


def checkJoin(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.2.5: a missing or wrong password is "not-authorized"."""
    if room.settings.password and request.password != room.settings.password:
        raise WrongPassword


def readRequired(settings: Settings, given: Form) -> Settings:
    """
    Return settings with the second field's value.

    @raise NotAcceptable: if a password is required and none is set (section 10.1.3), or the value is not allowed.
    """
    if not given.values.get(REQUIRED_VAR):
        return settings
    required = given.value(REQUIRED_VAR)
    if required not in BOOLEANS:
        raise NotAcceptable
    if not BOOLEANS[required]:
        return evolve(settings, password="")
    if not settings.password:
        raise NotAcceptable
    return settings
