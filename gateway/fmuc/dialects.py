"""
What two nodes write to each other, in the words of the seed (ProtoXEP 0.0.1) and in those of XEP-0289 (0.2).

Reading needs no choice: each word means the same in both.
"""

from __future__ import annotations

from typing import Protocol

from gateway import ns
from gateway.fmuc.actions import Joining, Private, Rejected, ToNode
from gateway.fmuc.muc_xml import attributes, errorXml, messageXml, mucUser, mucXml
from gateway.fmuc.values import Dialect, Limits, Said, Shown
from gateway.stream.stanzas import escape


class Codec(Protocol):
    """How each thing is said to a node; all give one stanza, or none."""

    def joining(self, room: str, peer: str, what: Joining) -> bytes:
        """Up."""

    def shown(self, room: str, peer: str, up: bool, what: Shown) -> bytes:
        """Both ways."""

    def said(self, room: str, peer: str, up: bool, what: Said) -> bytes:
        """Both ways."""

    def private(self, room: str, peer: str, what: Private) -> bytes:
        """Both ways."""

    def rejected(self, room: str, peer: str, what: Rejected) -> bytes:
        """Down."""

    def left(self, room: str, peer: str) -> bytes:
        """Down."""


def toNode(action: ToNode) -> bytes:
    """One copy to a node."""
    codec, room, peer, up, what = _CODECS[action.dialect], action.room, action.peer, action.up, action.what
    if isinstance(what, Said):
        return codec.said(room, peer, up, what)
    if isinstance(what, Shown):
        return codec.shown(room, peer, up, what)
    if isinstance(what, Joining):
        return codec.joining(room, peer, what)
    if isinstance(what, Private):
        return codec.private(room, peer, what)
    if isinstance(what, Rejected):
        return codec.rejected(room, peer, what)
    return codec.left(room, peer)


def _fmuc(real: str, inside: str = "") -> str:
    given = attributes(from_=real).decode()
    return f"<fmuc xmlns='{ns.FMUC}'{given}>{inside}</fmuc>" if inside else f"<fmuc xmlns='{ns.FMUC}'{given}/>"


def _presence(head: bytes, language: str, *inside: bytes) -> bytes:
    content = b"".join(inside)
    start = b"<presence" + head + attributes(lang=language)
    return start + b">" + content + b"</presence>" if content else start + b"/>"


class Protoxep:
    """
    The seed. Upwards presence is from the mirror itself, to the occupant; everything else is from the occupant.
    """

    def joining(self, room: str, peer: str, what: Joining) -> bytes:
        entry = what.entry
        limited = entry.password or entry.limits != Limits()
        muc = mucXml(entry.password, entry.limits) if limited else ""
        head = attributes(from_=room, to=f"{peer}/{entry.nick}")
        inside = _fmuc(entry.real) + muc
        return _presence(head, entry.content.language, inside.encode(), entry.content.raw)

    def shown(self, room: str, peer: str, up: bool, what: Shown) -> bytes:
        kind = "unavailable" if what.notice.gone else None
        content = what.content
        if up:
            head = attributes(from_=room, to=f"{peer}/{what.nick}", type=kind)
            who = b"" if what.notice.gone else _fmuc(what.real).encode()
            return _presence(head, content.language, who, content.raw)
        head = attributes(from_=f"{room}/{what.nick}", to=peer, type=kind)
        return _presence(head, content.language, content.raw, mucUser(what, what.real if what.public else ""))

    def said(self, room: str, peer: str, up: bool, what: Said) -> bytes:
        # "the proxy MAY include the <nomirror> element".
        extra = f"<nomirror xmlns='{ns.FMUC}'/>" if what.nomirror else ""
        return _message(room, what.nick, peer, what, extra)

    def private(self, room: str, peer: str, what: Private) -> bytes:
        return _private(room, peer, what, "")

    def rejected(self, room: str, peer: str, what: Rejected) -> bytes:
        # "it sends to the full MUC JID of the user on the slave".
        recipient = f"{peer}/{what.nick}" if what.nick else peer
        head = attributes(from_=room, to=recipient, type="error")
        return _presence(head, "", f"<x xmlns='{ns.MUC}'/>".encode(), errorXml(what.refusal).encode())

    def left(self, room: str, peer: str) -> bytes:
        # The last occupant's presence has told it.
        return b""


class Xep0289:
    """XEP-0289: "the fmuc element is always added containing the JID of the user"."""

    def joining(self, room: str, peer: str, what: Joining) -> bytes:
        entry = what.entry
        rank = entry.claimed
        item = attributes(affiliation=rank.affiliation, role=rank.role, jid=entry.real).decode()
        # The joined node has to know whether to send back what comes from here; the XEP has no word for it.
        who = _fmuc(entry.real, "<replica/>" if what.replica else "")
        inside = f"{who}{mucXml(entry.password, entry.limits)}<x xmlns='{ns.MUC_USER}'><item{item}/></x>"
        head = attributes(from_=f"{room}/{entry.nick}", to=f"{peer}/{entry.nick}")
        return _presence(head, entry.content.language, inside.encode(), entry.content.raw)

    def shown(self, room: str, peer: str, up: bool, what: Shown) -> bytes:
        kind = "unavailable" if what.notice.gone else None
        head = attributes(from_=f"{room}/{what.nick}", to=f"{peer}/{what.nick}" if up else peer, type=kind)
        # "the XEP-0045 rules apply for whether to include the jid in the muc#user element".
        user = mucUser(what, what.real if what.public or up else "")
        who = _fmuc(what.real, "<replica/>" if what.replica else "").encode()
        return _presence(head, what.content.language, who, what.content.raw, user)

    def said(self, room: str, peer: str, up: bool, what: Said) -> bytes:
        return _message(room, what.nick, peer, what, _fmuc(what.real))

    def private(self, room: str, peer: str, what: Private) -> bytes:
        return _private(room, peer, what, _fmuc(what.said.real))

    def rejected(self, room: str, peer: str, what: Rejected) -> bytes:
        words = escape(what.refusal.text or what.refusal.condition)
        inside = _fmuc(what.real if what.nick else "", f"<reject>{words}</reject>")
        if not what.nick:
            return _presence(attributes(from_=room, to=peer), "", inside.encode())
        # To the bare JID it would not say whose join it is; Openfire writes to the full one, too.
        head = attributes(from_=room, to=f"{peer}/{what.nick}")
        return _presence(head, "", inside.encode(), errorXml(what.refusal).encode())

    def left(self, room: str, peer: str) -> bytes:
        return _presence(attributes(from_=room, to=peer), "", _fmuc("", "<left/>").encode())


def _message(room: str, nick: str, recipient: str, said: Said, extra: str) -> bytes:
    sender = f"{room}/{nick}" if nick else room
    return b"<message" + attributes(from_=sender, to=recipient) + messageXml(said, extra)


def _private(room: str, peer: str, what: Private, extra: str) -> bytes:
    extra += "" if what.refusal is None else errorXml(what.refusal)
    return _message(room, what.said.nick, f"{peer}/{what.recipient}", what.said, extra)


_CODECS: dict[Dialect, Codec] = {Dialect.PROTOXEP: Protoxep(), Dialect.XEP_0289: Xep0289()}
