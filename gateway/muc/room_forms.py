"""
Data forms that are sent to a room: voice requests (XEP-0045 section 7.13), and answers to these and to requests for
registration (sections 8.6 and 9.9).
"""

from __future__ import annotations

from gateway import ns
from gateway.errors import BadRequest, NotInTheRoom
from gateway.muc import register, voice
from gateway.muc.forms import Form
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import Message, RoomMessage


def fromUser(room: Room, user: str, stanza: Message) -> None:
    """
    Handle a local user's message to the room itself; only forms are such messages.

    @raise GatewayError: if it is refused.
    """
    _submit(room, room.users.get(user), user, stanza, "")


def fromNode(room: Room, occupant: Occupant | None, address: str, stanza: Message) -> None:
    """
    Handle a message of a joining node's occupant to the room itself.

    @param occupant: C{None} if the node has no such occupant.
    @param address: the occupant's address there.
    @raise GatewayError: if it is refused.
    """
    if occupant is None:
        raise NotInTheRoom
    _submit(room, occupant, occupant.realJid, stanza, address)


def _submit(room: Room, occupant: Occupant | None, user: str, stanza: Message, address: str) -> None:
    form = stanza.form or Form()
    isVoice = form.isSubmitted(ns.MUC_REQUEST)
    if not isVoice and not form.isSubmitted(ns.MUC_REGISTER):
        if form.kind == "cancel":
            return
        # Section 17.2: "or reject them with a <bad-request/> error".
        raise BadRequest
    if room.nodes.isMirror:
        if occupant is None:
            raise NotInTheRoom
        room.nodes.submitForm(
            RoomMessage(
                nick=occupant.nick, realJid=occupant.realJid, kind=stanza.kind, id=stanza.id, payload=stanza.payload
            )
        )
    elif isVoice and not voice.isAnswer(form):
        voice.request(room, occupant, form)
    else:
        if address:
            room.nodes.checkAuthority(address)
        (voice.approve if isVoice else register.approve)(room, user, form)
