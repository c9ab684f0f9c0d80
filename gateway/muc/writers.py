"""Writes actions: L{WRITERS} has a function for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway import ns
from gateway.muc.actions import (
    Action,
    AnswerIq,
    AskUser,
    ForgetArchive,
    ForwardIq,
    LogLine,
    ReadArchive,
    ResumeArchive,
    SendError,
    SendInvitation,
    SendResult,
    ShowOccupants,
    ToArchive,
    ToUsers,
    ToUsersAvatar,
)
from gateway.muc.elements import messageXml, mucUser, occupantIdXml, stanzaIdXml
from gateway.muc.values import OccupantPresence
from gateway.stream.outflow import Copies
from gateway.xml.errors import errorXml
from gateway.xml.write import iq, message, presence, route, tag, textTag, writeStanza

# Stands for the recipient's address in a stanza to many. XML does not allow this character.
_RECIPIENT = "\0"

# What an action sends: no bytes, one stanza, several stanzas, or one for many recipients.
Written = bytes | list[bytes] | Copies


def _toUsers(action: ToUsers) -> bytes | Copies:
    """Serialise once; only the address differs."""
    head, tail = _around(action)
    if len(action.recipients) == 1:
        return head + action.recipients[0] + tail
    return Copies(head, action.recipients, tail)


def _showOccupants(action: ShowOccupants) -> list[bytes]:
    """A join to a large room sends thousands of these; nearly all of them have been serialised before."""
    room, recipient, showRealJids = action.room, action.recipient, action.showRealJids
    written = []
    for stanza in action.presences:
        showRealJid = showRealJids or stanza.nonAnonymous
        found = stanza.serialised[showRealJid]
        head, tail = found or _around(ToUsers(room, stanza, (recipient,), showRealJid))
        written.append(head + recipient + tail)
    return written


def _invite(action: SendInvitation) -> bytes:
    invitation = action.invitation
    name = "decline" if invitation.declines else "invite"
    inside = tag(name, textTag("reason", invitation.reason), from_=action.sender)
    content = tag("x", inside + textTag("password", action.password), xmlns=ns.MUC_USER)
    return message(route(action.room, invitation.jid), content.encode())


def _avatar(action: ToUsersAvatar) -> bytes | Copies:
    photo = tag("photo", action.hash or None)
    content = tag("x", photo, xmlns=ns.VCARD_UPDATE).encode()
    head, tail = _split(presence(route(action.room, _RECIPIENT), None, content))
    return Copies(head, action.recipients, tail)


def _around(action: ToUsers) -> tuple[bytes, bytes]:
    """Return the bytes before and after the recipient's address."""
    stanza = action.stanza
    if not isinstance(stanza, OccupantPresence):
        # XEP-0045 section 7.5: to a private message "The service SHOULD add the <x/> element".
        mark = "" if stanza.kind == "groupchat" or not stanza.nick else tag("x", xmlns=ns.MUC_USER)
        ids = occupantIdXml(stanza.occupantId) + stanzaIdXml(stanza.stanzaId, action.room)
        return _split(messageXml(stanza, _addresses(action), mark, ids))
    found = None if action.codes else stanza.serialised[action.showRealJid]
    if found is not None:
        return found
    kind = "unavailable" if stanza.change.unavailable else None
    # Some clients read the first element C{x}, and the payload may have one of another namespace.
    user = mucUser(stanza, stanza.realJid if action.showRealJid else "", action.codes)
    content = b"".join((user, stanza.payload.raw, occupantIdXml(stanza.occupantId)))
    around = _split(presence(_addresses(action), kind, content, stanza.payload.language or None, action.id))
    if not action.codes:
        stanza.serialised[action.showRealJid] = around
    return around


def _addresses(action: ToUsers) -> bytes:
    nick = action.stanza.nick
    return route(f"{action.room}/{nick}" if nick else action.room, _RECIPIENT)


def _split(written: bytes) -> tuple[bytes, bytes]:
    head, _, tail = written.partition(_RECIPIENT.encode())
    return head, tail


def _refuse(action: SendError) -> bytes:
    muc = tag("x", xmlns=ns.MUC) if action.isJoin else ""
    error = action.stanzaError
    content = (muc + errorXml(error.kind, error.condition, error.text)).encode()
    addresses = route(action.sender, action.recipient)
    return writeStanza(action.name, addresses, content, id=action.id or None, type="error")


def _forwardIq(action: ForwardIq) -> bytes:
    return action.stanza.readdressed(route(action.sender, action.recipient))


def _askUser(action: AskUser) -> bytes:
    return iq(route(action.room, action.recipient), action.id, "get", action.payload)


def _result(action: SendResult) -> bytes:
    return iq(route(action.sender, action.recipient), action.id, "result", action.payload or None)


def _nothing(action: Action) -> bytes:
    return b""


WRITERS: dict[type[Action], Callable[[Any], Written]] = {
    ToUsers: _toUsers,
    ShowOccupants: _showOccupants,
    SendError: _refuse,
    ToUsersAvatar: _avatar,
    SendInvitation: _invite,
    ForwardIq: _forwardIq,
    AskUser: _askUser,
    SendResult: _result,
    LogLine: _nothing,
    AnswerIq: _nothing,
    **dict.fromkeys((ToArchive, ResumeArchive, ForgetArchive, ReadArchive), _nothing),
}
