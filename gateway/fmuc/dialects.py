"""
Stanzas between two nodes, in the two protocols: ProtoXEP 0.0.1 and XEP-0289 (0.2).

Reading needs no distinction, because each element has the same meaning in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gateway import ns
from gateway.fmuc.actions import (
    Admission,
    AskInvitations,
    AskOccupants,
    AskProperties,
    AskResume,
    AskReturn,
    ConfirmLeft,
    Content,
    Fence,
    Join,
    Kept,
    PrivateMessage,
    Probe,
    Reject,
    Return,
    Submission,
    TellOccupants,
    ToNode,
)
from gateway.fmuc.channel.stanzas import offerXml
from gateway.fmuc.digest import ALL
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.elements import invitesXml, itemXml, messageXml, mucUser, mucXml, occupantIdXml, stanzaIdXml
from gateway.muc.occupant import Occupant
from gateway.muc.values import (
    KICKED,
    NO_ROLE,
    NONE,
    OccupantPresence,
    Payload,
    PresenceChange,
    RoomMessage,
    Standing,
    StanzaError,
)
from gateway.xml.errors import errorXml
from gateway.xml.write import escape, iq, message, presence, route, tag

_REMOVED = Standing(NONE, NO_ROLE)


class Codec(Protocol):
    """Serialiser of one protocol. Each method returns one stanza, or no bytes."""

    def join(self, room: str, peer: str, stanza: Join) -> bytes:
        """To the joined node."""

    def presence(self, to: ToNode, stanza: OccupantPresence, admission: Admission | None = None) -> bytes:
        """In both directions."""

    def message(self, to: ToNode, stanza: RoomMessage, nomirror: bool = False) -> bytes:
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
    return tag("fmuc", inside or None, xmlns=ns.FMUC, from_=realJid or None)


def _mode(mode: Mode) -> str:
    """Return our extension of XEP-0289, which has no element for the mode."""
    return tag("replica") if mode is Mode.REPLICA else ""


def _resumes(resumes: bool, isFirst: bool = False, profile: Profile = BROADBAND) -> str:
    """Return our extension of both protocols: the node can resume, and has a profile."""
    if not resumes:
        return ""
    name = None if profile is BROADBAND else profile.name
    return tag("resume", xmlns=ns.RESUME, first="true" if isFirst else None, profile=name)


def _most(stanza: Join) -> int | None:
    """Return the limit of the history of a first join. A return needs all that was missed."""
    return stanza.profile.history if stanza.isFirst and stanza.request.limits.since is None else None


def _canResume(admission: Admission | None) -> bool:
    return admission is not None and admission.resumes


def _offer(stanza: Join | Admission) -> str:
    """Return the offer of a channel, or its acceptance."""
    told = stanza.told if isinstance(stanza, Admission) else 0
    return "" if stanza.channel is None else offerXml(stanza.channel, stanza.keep, told)


def _presence(
    addresses: bytes, kind: str | None, language: str, *inside: bytes, identifier: str | None = None
) -> bytes:
    return presence(addresses, kind, b"".join(inside) or None, language or None, identifier)


class Protoxep:
    """
    ProtoXEP 0.0.1. Presence to the joined node is sent from the mirror itself to the occupant's address; all other
    stanzas are sent from the occupant's address.
    """

    def join(self, room: str, peer: str, stanza: Join) -> bytes:
        request = stanza.request
        since = request.limits.since
        isNeeded = request.password or since is not None or _most(stanza) is not None
        muc = mucXml(request.password, since, _most(stanza)) if isNeeded else ""
        inside = _fmuc(request.realJid) + muc + _resumes(True, stanza.isFirst, stanza.profile)
        addresses = route(room, f"{peer}/{request.nick}")
        return _presence(addresses, None, request.payload.language, inside.encode(), request.payload.raw)

    def presence(self, to: ToNode, stanza: OccupantPresence, admission: Admission | None = None) -> bytes:
        kind = "unavailable" if stanza.change.unavailable else None
        payload = stanza.payload
        if to.toJoined:
            who = b"" if stanza.change.unavailable else _fmuc(stanza.realJid).encode()
            addresses = route(to.room, f"{to.peer}/{stanza.nick}")
            return _presence(addresses, kind, payload.language, who, payload.raw, identifier=to.id)
        user = mucUser(stanza, stanza.realJid if stanza.nonAnonymous else "")
        addresses = route(f"{to.room}/{stanza.nick}", to.peer)
        inside = (user, payload.raw, occupantIdXml(stanza.occupantId), _resumes(_canResume(admission)).encode())
        return _presence(addresses, kind, payload.language, *inside, identifier=to.id)

    def message(self, to: ToNode, stanza: RoomMessage, nomirror: bool = False) -> bytes:
        # "the proxy MAY include the <nomirror> element".
        extra = tag("nomirror", xmlns=ns.FMUC) if nomirror else ""
        return _message(to.room, stanza.nick, to.peer, stanza, extra)

    def privateMessage(self, room: str, peer: str, stanza: PrivateMessage) -> bytes:
        return _private(room, peer, stanza, "")

    def reject(self, room: str, peer: str, stanza: Reject) -> bytes:
        # "it sends to the full MUC JID of the user on the slave".
        recipient = f"{peer}/{stanza.nick}" if stanza.nick else peer
        inside = tag("x", xmlns=ns.MUC) + _error(stanza.stanzaError)
        return _presence(route(room, recipient), "error", "", inside.encode())

    def confirmLeft(self, room: str, peer: str) -> bytes:
        # The joining node knows it from the last occupant's presence.
        return b""


class Xep0289:
    """XEP-0289: "the fmuc element is always added containing the JID of the user"."""

    def join(self, room: str, peer: str, stanza: Join) -> bytes:
        request = stanza.request
        standing = request.claimedStanding
        # The joined node must know whether to send this node's stanzas back; if not, this one may be needed.
        asked = _mode(stanza.mode) + (tag("occupant-id") if stanza.asksId else "") + _offer(stanza)
        who = _fmuc(request.realJid, asked)
        user = tag("x", itemXml(standing.affiliation, standing.role, request.realJid), xmlns=ns.MUC_USER)
        muc = mucXml(request.password, request.limits.since, _most(stanza))
        inside = who + muc + user + _resumes(True, stanza.isFirst, stanza.profile)
        addresses = route(f"{room}/{request.nick}", f"{peer}/{request.nick}")
        return _presence(addresses, None, request.payload.language, inside.encode(), request.payload.raw)

    def presence(self, to: ToNode, stanza: OccupantPresence, admission: Admission | None = None) -> bytes:
        kind, payload = "unavailable" if stanza.change.unavailable else None, stanza.payload
        recipient = f"{to.peer}/{stanza.nick}" if to.toJoined else to.peer
        # "the XEP-0045 rules apply for whether to include the jid in the muc#user element".
        user = mucUser(stanza, stanza.realJid if stanza.nonAnonymous or to.toJoined else "")
        mode = "" if admission is None else _mode(admission.mode) + _offer(admission)
        who = _fmuc(stanza.realJid, mode).encode()
        addresses = route(f"{to.room}/{stanza.nick}", recipient)
        # The joined node replaces the ids that others bring.
        given = b"" if to.toJoined else occupantIdXml(stanza.occupantId)
        inside = (who, user, payload.raw, given, _resumes(_canResume(admission)).encode())
        return _presence(addresses, kind, payload.language, *inside, identifier=to.id)

    def message(self, to: ToNode, stanza: RoomMessage, nomirror: bool = False) -> bytes:
        return _message(to.room, stanza.nick, to.peer, stanza, "" if to.isBrief else _fmuc(stanza.realJid))

    def privateMessage(self, room: str, peer: str, stanza: PrivateMessage) -> bytes:
        # Openfire shows a message with C{fmuc} to all occupants, also one to or from the room itself.
        isOfRoom = not (stanza.recipient and stanza.message.nick)
        return _private(room, peer, stanza, "" if isOfRoom else _fmuc(stanza.message.realJid))

    def reject(self, room: str, peer: str, stanza: Reject) -> bytes:
        words = stanza.stanzaError.text or stanza.stanzaError.condition
        inside = _fmuc(stanza.realJid if stanza.nick else "", tag("reject", escape(words)))
        if stanza.removes:
            # XEP-0289 section 6.5: "they SHOULD kick the user".
            change = PresenceChange(unavailable=True, codes=(KICKED,), reason=words)
            user = mucUser(Occupant(stanza.nick, "", _REMOVED, Payload(), False).presence(change), "")
            return _presence(route(f"{room}/{stanza.nick}", peer), "unavailable", "", inside.encode(), user)
        if not stanza.nick:
            return _presence(route(room, peer), None, "", inside.encode())
        # The bare JID would not tell whose join is rejected. Openfire writes to the full JID, too.
        inside += _error(stanza.stanzaError)
        return _presence(route(room, f"{peer}/{stanza.nick}"), None, "", inside.encode())

    def confirmLeft(self, room: str, peer: str) -> bytes:
        return _presence(route(room, peer), None, "", _fmuc("", tag("left")).encode())


def _message(room: str, nick: str, recipient: str, message: RoomMessage, extra: str) -> bytes:
    sender = f"{room}/{nick}" if nick else room
    ids = occupantIdXml(message.occupantId) + stanzaIdXml(message.stanzaId, room)
    return messageXml(message, route(sender, recipient), extra, ids)


def _private(room: str, peer: str, stanza: PrivateMessage, extra: str) -> bytes:
    extra += "" if stanza.stanzaError is None else _error(stanza.stanzaError)
    to = f"{peer}/{stanza.recipient}" if stanza.recipient else peer
    return _message(room, stanza.message.nick, to, stanza.message, extra)


def _fence(room: str, peer: str, stanza: Fence) -> bytes:
    ping = tag("ping", xmlns=ns.PING).encode()
    return iq(route(f"{room}/{stanza.nick}", peer), stanza.id, "get", ping)


def _askProperties(room: str, peer: str, stanza: AskProperties) -> bytes:
    return iq(route(room, peer), stanza.id, "get", tag("query", xmlns=ns.DISCO_INFO).encode())


def _askOccupants(room: str, peer: str, stanza: AskOccupants) -> bytes:
    return iq(route(room, peer), stanza.id, "get", tag("query", xmlns=ns.DISCO_ITEMS).encode())


def _askInvitations(room: str, peer: str, stanza: AskInvitations) -> bytes:
    return iq(route(f"{room}/{stanza.nick}", peer), stanza.id, "set", invitesXml(stanza.invitations))


def _askResume(room: str, peer: str, stanza: AskResume) -> bytes:
    payload = tag("compare", xmlns=ns.CHANNEL, d=stanza.digest, m=stanza.last)
    return iq(route(room, peer), stanza.id, "get", payload.encode())


def _tellOccupants(room: str, peer: str, stanza: TellOccupants) -> bytes:
    occupants = "".join(tag("occupant", nick=nick, jid=jid) for nick, jid in stanza.occupants)
    more = "true" if stanza.more else None
    buckets = None if stanza.buckets is ALL else stanza.buckets
    payload = tag(
        "compare",
        occupants or None,
        xmlns=ns.CHANNEL,
        m=stanza.last,
        n=None if buckets is None else str(buckets.count),
        b=None if buckets is None else buckets.text,
        more=more,
    )
    return iq(route(room, peer), stanza.id, "set", payload.encode())


def _askReturn(room: str, peer: str, stanza: AskReturn) -> bytes:
    return iq(route(room, peer), stanza.id, "get", tag("compare", xmlns=ns.CHANNEL).encode())


def _return(room: str, peer: str, stanza: Return) -> bytes:
    """Return the reference to a message, our extension of both protocols."""
    inside = tag("echo", xmlns=ns.RESUME, d=stanza.digest, id=stanza.stanzaId or None)
    return message(route(f"{room}/{stanza.nick}", peer), inside.encode(), None, "groupchat", None)


def _error(error: StanzaError) -> str:
    return errorXml(error.kind, error.condition, error.text)


_CODECS: dict[Dialect, Codec] = {Dialect.PROTOXEP: Protoxep(), Dialect.XEP_0289: Xep0289()}


_WRITERS: dict[type[Content], Callable[[Codec, ToNode, Any], bytes]] = {
    Join: lambda codec, to, stanza: codec.join(to.room, to.peer, stanza),
    Fence: lambda codec, to, stanza: _fence(to.room, to.peer, stanza),
    AskProperties: lambda codec, to, stanza: _askProperties(to.room, to.peer, stanza),
    AskOccupants: lambda codec, to, stanza: _askOccupants(to.room, to.peer, stanza),
    AskInvitations: lambda codec, to, stanza: _askInvitations(to.room, to.peer, stanza),
    AskResume: lambda codec, to, stanza: _askResume(to.room, to.peer, stanza),
    TellOccupants: lambda codec, to, stanza: _tellOccupants(to.room, to.peer, stanza),
    AskReturn: lambda codec, to, stanza: _askReturn(to.room, to.peer, stanza),
    Admission: lambda codec, to, stanza: codec.presence(to, stanza.presence, stanza),
    OccupantPresence: lambda codec, to, stanza: codec.presence(to, stanza),
    Submission: lambda codec, to, stanza: codec.message(to, stanza.message, stanza.nomirror),
    Return: lambda codec, to, stanza: _return(to.room, to.peer, stanza),
    RoomMessage: lambda codec, to, stanza: codec.message(to, stanza),
    PrivateMessage: lambda codec, to, stanza: codec.privateMessage(to.room, to.peer, stanza),
    Reject: lambda codec, to, stanza: codec.reject(to.room, to.peer, stanza),
    Probe: lambda codec, to, stanza: presence(route(to.room, to.peer), None, _fmuc("").encode()),
    ConfirmLeft: lambda codec, to, stanza: codec.confirmLeft(to.room, to.peer),
    Kept: lambda codec, to, stanza: stanza.data,
}
