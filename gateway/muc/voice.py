"""Voice requests of visitors (XEP-0045 section 7.13), and their approval by moderators (section 8.6)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import BadRequest, HasVoice, NoModerator, NoSuchAddress, NotInTheRoom
from gateway.muc.administration import Change, applyChanges, checkEntitled
from gateway.muc.forms import Form, FormField, formXml
from gateway.muc.occupant import Occupant
from gateway.muc.option import BOOLEANS
from gateway.muc.room import Room
from gateway.muc.values import PARTICIPANT, VISITOR, Payload, RoomMessage, person

_ROLE, _JID, _NICK, _ALLOW = "muc#role", "muc#jid", "muc#roomnick", "muc#request_allow"
_TITLE = "Voice request"
_INSTRUCTIONS = "Choose whether this person may speak to all in the room."


def isAnswer(form: Form) -> bool:
    """True if a form of C{muc#request} answers a request; otherwise it is one."""
    return _ALLOW in form.values


def request(room: Room, occupant: Occupant | None, form: Form) -> None:
    """
    Handle an occupant's request: ask the moderators.

    @param occupant: C{None} if the sender is not an occupant.
    @raise GatewayError: if it is refused.
    """
    if occupant is None:
        raise NotInTheRoom
    # "the data form contains only a "muc#role" field with a value of "participant"".
    if form.value(_ROLE) != PARTICIPANT:
        raise BadRequest
    if occupant.standing.role != VISITOR:
        raise HasVoice
    fields = (
        FormField(_ROLE, "list-single", "Requested role", (PARTICIPANT,), ((PARTICIPANT, "Participant"),)),
        FormField(_JID, "jid-single", "User ID", (occupant.realJid,)),
        FormField(_NICK, "text-single", "Room Nickname", (occupant.nick,)),
        FormField(_ALLOW, "boolean", "Grant voice to this person?", ("false",)),
    )
    question = formXml("form", ns.MUC_REQUEST, fields, _TITLE, _INSTRUCTIONS)
    message = RoomMessage(nick="", kind=None, payload=Payload(question.encode()))
    _, moderators = room.audience()
    room.toUsers(message, moderators)
    isAskedElsewhere = room.nodes.askModerators(message)
    if not moderators and not isAskedElsewhere:
        raise NoModerator


def approve(room: Room, user: str, form: Form) -> None:
    """
    Handle an answer.

    @param user: full JID.
    @raise GatewayError: if it is refused.
    """
    checkEntitled(room, user)
    if not BOOLEANS.get(form.value(_ALLOW)):
        return
    occupant = room.occupants.get(form.value(_NICK))
    # Another user may have the nick by now.
    if occupant is None or person(form.value(_JID)) != occupant.person:
        raise NoSuchAddress
    if form.value(_ROLE) != PARTICIPANT:
        raise BadRequest
    # Another moderator may have approved the request before.
    if occupant.standing.role == VISITOR:
        applyChanges(room, user, [Change(nick=occupant.nick, role=PARTICIPANT)])
