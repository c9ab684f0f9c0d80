"""Voice requests of visitors (XEP-0045 section 7.13), and their approval by moderators (section 8.6)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import BadRequest, HasVoice, NoModerator, NoSuchAddress, NotInTheRoom, OnlyInTheRoom
from gateway.muc.administration import Change, applyChanges, checkEntitled
from gateway.muc.forms import Form, FormField, formXml
from gateway.muc.occupant import Occupant
from gateway.muc.option import BOOLEANS
from gateway.muc.room import Room
from gateway.muc.values import PARTICIPANT, VISITOR, Message, Payload, RoomMessage, person

_ROLE, _JID, _NICK, _ALLOW = "muc#role", "muc#jid", "muc#roomnick", "muc#request_allow"
_TITLE = "Voice request"
_INSTRUCTIONS = "Choose whether this person may speak to all in the room."


def fromUser(room: Room, user: str, stanza: Message, form: Form) -> None:
    """
    Handle a local user's form of C{muc#request}.

    @raise GatewayError: if it is refused.
    """
    if _ALLOW in form.values:
        _approve(room, user, form)
    else:
        _request(room, room.users.get(user), stanza, form)


def submit(room: Room, occupant: Occupant | None, stanza: Message, form: Form) -> None:
    """
    Handle the same of another node's occupant, who cannot answer requests.

    @param occupant: C{None} if the sender is not an occupant of that node.
    @raise GatewayError: if it is refused.
    """
    if _ALLOW in form.values:
        raise OnlyInTheRoom
    _request(room, occupant, stanza, form)


def _request(room: Room, occupant: Occupant | None, stanza: Message, form: Form) -> None:
    """Handle a request: ask the moderators who are in the room itself."""
    if occupant is None:
        raise NotInTheRoom
    # "the data form contains only a "muc#role" field with a value of "participant"".
    if form.value(_ROLE) != PARTICIPANT:
        raise BadRequest
    if occupant.standing.role != VISITOR:
        raise HasVoice
    forwarded = RoomMessage(
        nick=occupant.nick, realJid=occupant.realJid, kind=stanza.kind, id=stanza.id, payload=stanza.payload
    )
    if room.nodes.submitForm(forwarded):
        return
    _, moderators = room.audience()
    if not moderators:
        raise NoModerator
    fields = (
        FormField(_ROLE, "list-single", "Requested role", (PARTICIPANT,), ((PARTICIPANT, "Participant"),)),
        FormField(_JID, "jid-single", "User ID", (occupant.realJid,)),
        FormField(_NICK, "text-single", "Room Nickname", (occupant.nick,)),
        FormField(_ALLOW, "boolean", "Grant voice to this person?", ("false",)),
    )
    question = formXml("form", ns.MUC_REQUEST, fields, _TITLE, _INSTRUCTIONS)
    room.toUsers(RoomMessage(nick="", kind=None, payload=Payload(question.encode())), moderators)


def _approve(room: Room, user: str, form: Form) -> None:
    checkEntitled(room, user)
    if not BOOLEANS.get(form.value(_ALLOW)):
        return
    occupant = room.occupants.get(form.value(_NICK))
    # The nick may have another owner by now.
    if occupant is None or person(form.value(_JID)) != occupant.person:
        raise NoSuchAddress
    if form.value(_ROLE) != PARTICIPANT:
        raise BadRequest
    # Another moderator may have approved the request before.
    if occupant.standing.role == VISITOR:
        applyChanges(room, user, [Change(nick=occupant.nick, role=PARTICIPANT)])
