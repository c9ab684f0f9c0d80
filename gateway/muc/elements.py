"""Elements of XEP-0045 that are sent to local users and to other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from gateway import ns
from gateway.muc import datetimes
from gateway.muc.values import Delay, Invitation, OccupantPresence, PresenceChange, RoomMessage
from gateway.xml import write
from gateway.xml.write import escape, tag, textTag

# Bytes of one stanza that other entities choose. With all that nodes add, the stanza stays below 256 KiB, and so
# below the default limits of servers for components and for other servers.
MAX_PAYLOAD = 192 * 1024
MAX_STANZA = 256 * 1024
# Characters of a reason.
MAX_REASON = 1_000


def mucUser(presence: OccupantPresence, realJid: str, codes: tuple[int, ...] = ()) -> bytes:
    """
    Return the element C{x} of C{muc#user} of a presence (XEP-0045 section 7.2.2).

    @param realJid: the JID that the recipient may see; empty for none.
    @param codes: status codes for the recipient alone.
    """
    standing, change = presence.standing, presence.change
    inside = tag("actor", nick=change.actor) if change.actor else ""
    destroy = destroyXml(change) if change.destroyed else ""
    if not change.destroyed:
        inside += textTag("reason", change.reason)
    item = itemXml(standing.affiliation, standing.role, realJid, change.nick, inside)
    return tag("x", item + _status((*change.codes, *codes)) + destroy, xmlns=ns.MUC_USER).encode()


def destroyXml(change: PresenceChange) -> str:
    """Return the element C{destroy} (section 10.9)."""
    inside = textTag("password", change.password) + textTag("reason", change.reason)
    return tag("destroy", inside, jid=change.jid or None)


def itemXml(affiliation: str, role: str = "", jid: str = "", nick: str = "", inside: str = "") -> str:
    """
    Return an element C{item} of C{muc#user} or C{muc#admin}; attributes without a value are left out.

    @param inside: its content.
    """
    standing = {"affiliation": affiliation or None, "role": role or None}
    return tag("item", inside or None, **standing, jid=jid or None, nick=nick or None)


def statusXml(codes: Sequence[int]) -> bytes:
    """Return the element C{x} of C{muc#user} of a message about a configuration change (section 10.2.1)."""
    return tag("x", _status(codes), xmlns=ns.MUC_USER).encode()


def _status(codes: Sequence[int]) -> str:
    return "".join(tag("status", code=str(code)) for code in codes)


def invitesXml(invitations: Iterable[Invitation]) -> bytes:
    """Return the element C{x} of C{muc#user} with the invitations of an occupant (section 7.8.2)."""
    inside = "".join(tag("invite", textTag("reason", each.reason) or None, to=each.jid) for each in invitations)
    return tag("x", inside, xmlns=ns.MUC_USER).encode()


def declineXml(sender: str, reason: str) -> bytes:
    """Return the element C{x} of C{muc#user} with a decline, as the room passes it on (section 7.8.2)."""
    return tag("x", tag("decline", textTag("reason", reason) or None, from_=sender), xmlns=ns.MUC_USER).encode()


def messageXml(message: RoomMessage, addresses: bytes, extra: str = "", ids: bytes = b"") -> bytes:
    """
    Return a message.

    @param addresses: as L{gateway.xml.write.route} returns them.
    @param extra: elements before the payload.
    @param ids: elements after the payload.
    """
    delay = b"" if message.delay is None else _delayXml(message.delay)
    content = b"".join((extra.encode(), message.payload.raw, ids, delay))
    language = message.payload.language or None
    return write.message(addresses, content, message.id or None, message.kind or None, language)


# Each new occupant is sent the same history.
@lru_cache(1024)
def _delayXml(delay: Delay) -> bytes:
    return tag("delay", xmlns=ns.DELAY, from_=delay.by, stamp=datetimes.formatDateTime(delay.stamp)).encode()


# The bytes before and after the id.
_BEFORE_ID, _, _AFTER_ID = tag("occupant-id", xmlns=ns.OCCUPANT_ID, id="?").encode().rpartition(b"?")


def occupantIdXml(identifier: str) -> bytes:
    """Return the element C{occupant-id} (XEP-0421); nothing if the id is empty."""
    return b"%b%b%b" % (_BEFORE_ID, escape(identifier).encode(), _AFTER_ID) if identifier else b""


def stanzaIdXml(identifier: str, room: str) -> bytes:
    """
    Return the element C{stanza-id} (XEP-0359); nothing if the id is empty.

    @param room: bare JID of the room that sends the message.
    """
    if not identifier:
        return b""
    before, after = _aroundStanzaId(room)
    return b"%b%b%b" % (before, escape(identifier).encode(), after)


# Nearly all messages have one.
@lru_cache(1024)
def _aroundStanzaId(room: str) -> tuple[bytes, bytes]:
    """Return the element's bytes before and after the id, which is its last attribute."""
    before, _, after = tag("stanza-id", xmlns=ns.SID, by=room, id="?").encode().rpartition(b"?")
    return before, after


def mucXml(password: str, since: float | None = None, most: int | None = None) -> str:
    """
    Return the element C{x} of C{muc} of a join (XEP-0045 section 7.2.1).

    @param since: limit of the history, in seconds since 1970.
    @param most: maximum number of messages of the history.
    """
    history = ""
    if since is not None or most is not None:
        stamp = None if since is None else datetimes.formatDateTime(since)
        history = tag("history", maxstanzas=None if most is None else str(most), since=stamp)
    return tag("x", history + textTag("password", password) or None, xmlns=ns.MUC)
