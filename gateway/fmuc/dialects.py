"""
Stanzas between two nodes, in the two protocols: ProtoXEP 0.0.1 and XEP-0289 (0.2).

Reading needs no distinction, because each element has the same meaning in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gateway import ns
from gateway.fmuc.actions import Admission, ConfirmLeft, Content, Join, PrivateMessage, Reject, Submission, ToNode
from gateway.fmuc.values import Dialect
from gateway.muc.muc_xml import attributes, errorXml, messageXml, mucUser, mucXml
from gateway.muc.values import HistoryLimits, OccupantPresence, RoomMessage
from gateway.xml.write import escape


class Codec(Protocol):
    """Serialiser of one protocol. Each method returns one stanza, or no bytes."""

    def join(self, room: str, peer: str, stanza: Join) -> bytes:
        """To the joined node."""

    def presence(
        self, room: str, peer: str, toJoined: bool, stanza: OccupantPresence, replica: bool = False
    ) -> bytes:
        """In both directions."""

    def message(self, room: str, peer: str, stanza: RoomMessage, nomirror: bool = False) -> bytes:
        """In both directions."""

    def privateMessage(self, room: str, peer: str, stanza: PrivateMessage) -> bytes:
        """In both directions."""

    def reject(self, room: str, peer: str, stanza: Reject) -> bytes:
        """To a joining node."""

    def confirmLeft(self, room: str, peer: str) -> bytes:
        """To a joining node."""


def toNode(action: ToNode) -> bytes:
    """Serialise a stanza to another node."""
    return _WRITERS[type(action.stanza)](_CODECS[action.dialect], action, action.stanza)


def _fmuc(realJid: str, inside: str = "") -> str:
    given = attributes(from_=realJid).decode()
    return f"<fmuc xmlns='{ns.FMUC}'{given}>{inside}</fmuc>" if inside else f"<fmuc xmlns='{ns.FMUC}'{given}/>"


def _presence(head: bytes, language: str, *inside: bytes) -> bytes:
    payload = b"".join(inside)
    start = b"<presence" + head + attributes(lang=language)
    return start + b">" + payload + b"</presence>" if payload else start + b"/>"


class Protoxep:
    """
    ProtoXEP 0.0.1. Presence to the joined node is sent from the mirror itself to the occupant's address; all other
    stanzas are sent from the occupant's address.
    """

    def join(self, room: str, peer: str, stanza: Join) -> bytes:
        request = stanza.request
        limited = request.password or request.limits != HistoryLimits()
        muc = mucXml(request.password, request.limits) if limited else ""
        head = attributes(from_=room, to=f"{peer}/{request.nick}")
        inside = _fmuc(request.realJid) + muc
        return _presence(head, request.payload.language, inside.encode(), request.payload.raw)

    def presence(
        self, room: str, peer: str, toJoined: bool, stanza: OccupantPresence, replica: bool = False
    ) -> bytes:
        kind = "unavailable" if stanza.change.unavailable else None
        payload = stanza.payload
        if toJoined:
            head = attributes(from_=room, to=f"{peer}/{stanza.nick}", type=kind)
            who = b"" if stanza.change.unavailable else _fmuc(stanza.realJid).encode()
            return _presence(head, payload.language, who, payload.raw)
        head = attributes(from_=f"{room}/{stanza.nick}", to=peer, type=kind)
        return _presence(
            head, payload.language, payload.raw, mucUser(stanza, stanza.realJid if stanza.nonAnonymous else "")
        )

    def message(self, room: str, peer: str, stanza: RoomMessage, nomirror: bool = False) -> bytes:
        # "the proxy MAY include the <nomirror> element".
        extra = f"<nomirror xmlns='{ns.FMUC}'/>" if nomirror else ""
        return _message(room, stanza.nick, peer, stanza, extra)

    def privateMessage(self, room: str, peer: str, stanza: PrivateMessage) -> bytes:
        return _private(room, peer, stanza, "")

    def reject(self, room: str, peer: str, stanza: Reject) -> bytes:
        # "it sends to the full MUC JID of the user on the slave".
        recipient = f"{peer}/{stanza.nick}" if stanza.nick else peer
        head = attributes(from_=room, to=recipient, type="error")
        return _presence(head, "", f"<x xmlns='{ns.MUC}'/>".encode(), errorXml(stanza.stanzaError).encode())

    def confirmLeft(self, room: str, peer: str) -> bytes:
        # The joining node knows it from the last occupant's presence.
        return b""


class Xep0289:
    """XEP-0289: "the fmuc element is always added containing the JID of the user"."""

    def join(self, room: str, peer: str, stanza: Join) -> bytes:
        request = stanza.request
        standing = request.claimedStanding
        item = attributes(affiliation=standing.affiliation, role=standing.role, jid=request.realJid).decode()
        # The joined node must know whether to send this node's stanzas back. XEP-0289 has no element for it.
        who = _fmuc(request.realJid, "<replica/>" if stanza.replica else "")
        inside = f"{who}{mucXml(request.password, request.limits)}<x xmlns='{ns.MUC_USER}'><item{item}/></x>"
        head = attributes(from_=f"{room}/{request.nick}", to=f"{peer}/{request.nick}")
        return _presence(head, request.payload.language, inside.encode(), request.payload.raw)

    def presence(
        self, room: str, peer: str, toJoined: bool, stanza: OccupantPresence, replica: bool = False
    ) -> bytes:
        kind = "unavailable" if stanza.change.unavailable else None
        head = attributes(
            from_=f"{room}/{stanza.nick}", to=f"{peer}/{stanza.nick}" if toJoined else peer, type=kind
        )
        # "the XEP-0045 rules apply for whether to include the jid in the muc#user element".
        user = mucUser(stanza, stanza.realJid if stanza.nonAnonymous or toJoined else "")
        who = _fmuc(stanza.realJid, "<replica/>" if replica else "").encode()
        return _presence(head, stanza.payload.language, who, stanza.payload.raw, user)

    def message(self, room: str, peer: str, stanza: RoomMessage, nomirror: bool = False) -> bytes:
        return _message(room, stanza.nick, peer, stanza, _fmuc(stanza.realJid))

    def privateMessage(self, room: str, peer: str, stanza: PrivateMessage) -> bytes:
        return _private(room, peer, stanza, _fmuc(stanza.message.realJid))

    def reject(self, room: str, peer: str, stanza: Reject) -> bytes:
        words = escape(stanza.stanzaError.text or stanza.stanzaError.condition)
        inside = _fmuc(stanza.realJid if stanza.nick else "", f"<reject>{words}</reject>")
        if not stanza.nick:
            return _presence(attributes(from_=room, to=peer), "", inside.encode())
        # The bare JID would not tell whose join is rejected. Openfire writes to the full JID, too.
        head = attributes(from_=room, to=f"{peer}/{stanza.nick}")
        return _presence(head, "", inside.encode(), errorXml(stanza.stanzaError).encode())

    def confirmLeft(self, room: str, peer: str) -> bytes:
        return _presence(attributes(from_=room, to=peer), "", _fmuc("", "<left/>").encode())


def _message(room: str, nick: str, recipient: str, message: RoomMessage, extra: str) -> bytes:
    sender = f"{room}/{nick}" if nick else room
    return b"<message" + attributes(from_=sender, to=recipient) + messageXml(message, extra)


def _private(room: str, peer: str, stanza: PrivateMessage, extra: str) -> bytes:
    extra += "" if stanza.stanzaError is None else errorXml(stanza.stanzaError)
    return _message(room, stanza.message.nick, f"{peer}/{stanza.recipient}", stanza.message, extra)


_CODECS: dict[Dialect, Codec] = {Dialect.PROTOXEP: Protoxep(), Dialect.XEP_0289: Xep0289()}

_WRITERS: dict[type[Content], Callable[[Codec, ToNode, Any], bytes]] = {
    Join: lambda codec, to, stanza: codec.join(to.room, to.peer, stanza),
    Admission: lambda codec, to, stanza: codec.presence(to.room, to.peer, False, stanza.presence, stanza.replica),
    OccupantPresence: lambda codec, to, stanza: codec.presence(to.room, to.peer, to.toJoined, stanza),
    Submission: lambda codec, to, stanza: codec.message(to.room, to.peer, stanza.message, stanza.nomirror),
    RoomMessage: lambda codec, to, stanza: codec.message(to.room, to.peer, stanza),
    PrivateMessage: lambda codec, to, stanza: codec.privateMessage(to.room, to.peer, stanza),
    Reject: lambda codec, to, stanza: codec.reject(to.room, to.peer, stanza),
    ConfirmLeft: lambda codec, to, stanza: codec.confirmLeft(to.room, to.peer),
}
