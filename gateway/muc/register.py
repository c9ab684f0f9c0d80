"""Registration with a room (XEP-0045 sections 7.10 and 7.12), and its approval by admins (section 9.9)."""

from __future__ import annotations

from attrs import frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    BadRequest,
    NoSuchAddress,
    NotAcceptable,
    NotAllowed,
    NotEntitled,
    NotRegistered,
    OnlyInTheRoom,
    ResourceLimit,
)
from gateway.muc import locked
from gateway.muc.administration import makeMember, removeMember
from gateway.muc.forms import Form, FormField, formXml
from gateway.muc.nick import checkReservable, checkReserved
from gateway.muc.option import BOOLEANS, Option
from gateway.muc.room import Room
from gateway.muc.values import ADMIN, MEMBER, NONE, OUTCAST, OWNER, JoinRequest, Payload, RoomMessage, person
from gateway.xml.write import escape

NOBODY, APPROVAL, EVERYBODY = "nobody", "approval", "everybody"
# XEP-0045 defines no such field; XEP-0068 section 3.4: the name of a field that is not registered begins with "x-".
OPTION = Option(
    "x-muc#roomconfig_registration",
    "registration",
    "list-single",
    "Who May Register with the Room?",
    values={each: each for each in (NOBODY, APPROVAL, EVERYBODY)},
    labels={NOBODY: "Nobody", APPROVAL: "Anyone, with Approval by an Admin", EVERYBODY: "Anyone"},
)

_NICK, _ALLOW = "muc#register_roomnick", "muc#register_allow"
_JID = "x-muc#register_jid"
_TITLE = "Registration request"
_INSTRUCTIONS = "Choose whether this person may register with the room."
# Requests of a room that no admin has answered.
_MAX_REQUESTS = 100
# Owners and admins who are asked if none of them is in the room.
_MAX_ASKED = 20


@frozen
class Requirements:
    """
    Answer to a request for the requirements.

    @ivar nick: the reserved nick of a registered user; empty if the user is not registered.
    @ivar form: XML of the form for others.
    """

    nick: str = ""
    form: str = ""


def requirements(room: Room, user: str) -> Requirements:
    """
    Return what a user needs to register.

    @param user: full JID.
    @raise GatewayError: if the user may not register.
    """
    _check(room, user)
    nick = room.registrations.nicks.get(person(user), "")
    if nick:
        return Requirements(nick)
    field = FormField(_NICK, "text-single", "Desired Nickname", isRequired=True)
    return Requirements(form=formXml("form", ns.MUC_REGISTER, (field,), f"Registration with {room.jid}"))


def register(room: Room, user: str, form: Form) -> None:
    """
    Handle a submitted form: the user becomes a member with a reserved nick, or the admins are asked.

    @raise GatewayError: if it is refused.
    """
    _check(room, user)
    if form.kind == "cancel":
        return
    if not form.isSubmitted(ns.MUC_REGISTER):
        raise BadRequest
    nick, who = form.value(_NICK), person(user)
    if not nick:
        raise NotAcceptable
    checkReservable(room, nick, who)
    if room.affiliation(user) != NONE:
        room.registrations.reserve(who, nick)
    elif room.settings.registration == EVERYBODY:
        makeMember(room, who)
        room.registrations.reserve(who, nick)
    else:
        _ask(room, who, nick)


def unregister(room: Room, user: str) -> None:
    """
    Handle a removal (XEP-0077 section 3.2): the nick is free, and a member is no longer one.

    @raise GatewayError: if the user is not registered.
    """
    _check(room, user)
    who = person(user)
    if who not in room.registrations.nicks and room.registrations.requests.pop(who, None) is None:
        raise NotRegistered
    room.registrations.release(who)
    if room.affiliations.get(who) == MEMBER:
        removeMember(room, who)


def approve(room: Room, user: str, form: Form) -> None:
    """
    Handle the answer of an owner or admin to a request.

    @param user: full JID.
    @raise GatewayError: if it is refused.
    """
    if room.affiliation(user) not in (OWNER, ADMIN):
        raise NotEntitled
    who, nick = form.value(_JID), form.value(_NICK)
    # Another admin may have answered, or the user may have asked for another nick meanwhile.
    if room.registrations.requests.get(who) != nick:
        raise NoSuchAddress
    if BOOLEANS.get(form.value(_ALLOW)):
        _check(room, who)
        checkReservable(room, nick, who)
        if room.affiliation(who) == NONE:
            makeMember(room, who, room.settings.password)
        room.registrations.reserve(who, nick)
    room.registrations.requests.pop(who, None)


def checkJoin(room: Room, request: JoinRequest, affiliation: str) -> None:
    """Section 7.12: "the service MUST deny entry [...] and return a <conflict/> error"."""
    checkReserved(room, request.nick, request.realJid)


def _check(room: Room, user: str) -> None:
    if room.nodes.isMirror:
        raise OnlyInTheRoom
    # A user whose JID cannot be compared with others could not enter.
    jids.prepared(user)
    affiliation = room.affiliation(user)
    locked.check(room, affiliation)
    # "If the user requesting registration requirements is not allowed to register [...] the room MUST return a
    # <not-allowed/> error".
    if affiliation == OUTCAST or (affiliation == NONE and room.settings.registration == NOBODY):
        raise NotAllowed


def _ask(room: Room, who: str, nick: str) -> None:
    """Ask the owners and admins who are in the room; if there are none, those who are not."""
    requests = room.registrations.requests
    if requests.get(who) == nick:
        # They were asked before.
        return
    if who not in requests and len(requests) >= _MAX_REQUESTS:
        # Requests of users who were banned meanwhile cannot be approved any longer.
        for each in [each for each in requests if room.affiliation(each) == OUTCAST]:
            del requests[each]
        if len(requests) >= _MAX_REQUESTS:
            raise ResourceLimit
    present = [jid for jid, occupant in room.users.items() if occupant.standing.affiliation in (OWNER, ADMIN)]
    absent = [jid for jid, affiliation in room.affiliations.items() if affiliation in (OWNER, ADMIN)]
    asked = present or absent[:_MAX_ASKED]
    if not asked:
        raise NotAllowed
    requests[who] = nick
    fields = (
        FormField(_JID, "jid-single", "User ID", (who,)),
        FormField(_NICK, "text-single", "Desired Nickname", (nick,)),
        FormField(_ALLOW, "boolean", "Allow this person to register with the room?", ("0",)),
    )
    question = formXml("form", ns.MUC_REGISTER, fields, _TITLE, _INSTRUCTIONS)
    message = RoomMessage(nick="", kind=None, payload=Payload(question.encode()))
    room.toUsers(message, tuple(escape(jid).encode() for jid in asked))
