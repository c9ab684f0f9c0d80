"""
Pieces of stanzas that both local users and other nodes are sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway import ns
from gateway.fmuc import datetimes
from gateway.fmuc.values import HistoryLimits, OccupantPresence, RoomMessage, StanzaError
from gateway.stream.stanzas import escape

# Bytes of what somebody has chosen, in one stanza: with everything that nodes put around it, the stanza stays below
# 256 KiB, and so below every limit that a server has for components and other servers by default.
MAX_PAYLOAD = 192 * 1024
MAX_STANZA = 256 * 1024
# Characters of a reason that is handed on.
MAX_REASON = 1_000


def attributes(**values: str | None) -> bytes:
    """Attributes of a start tag; without those that are C{None} or empty."""
    names = {"from_": "from", "lang": "xml:lang"}
    return "".join(
        f" {names.get(name, name)}='{escape(value)}'" for name, value in values.items() if value
    ).encode()


def mucUser(presence: OccupantPresence, realJid: str, codes: tuple[int, ...] = ()) -> bytes:
    """
    The C{<x/>} of C{muc#user} in a presence (XEP-0045 section 7.2.2).

    @param real: the JID that its recipient may see; empty for none.
    @param codes: status codes for the recipient alone.
    """
    standing, change = presence.standing, presence.change
    item = attributes(affiliation=standing.affiliation, role=standing.role, jid=realJid, nick=change.nick).decode()
    inside = ""
    if change.actor:
        inside += f"<actor nick='{escape(change.actor)}'/>"
    if change.reason and not change.destroyed:
        inside += f"<reason>{escape(change.reason)}</reason>"
    item = f"<item{item}>{inside}</item>" if inside else f"<item{item}/>"
    status = _status((*change.codes, *codes))
    destroy = ""
    if change.destroyed:
        reason = f"<reason>{escape(change.reason)}</reason>" if change.reason else ""
        destroy = f"<destroy{attributes(jid=change.jid).decode()}>{reason}</destroy>"
    return f"<x xmlns='{ns.MUC_USER}'>{item}{status}{destroy}</x>".encode()


def statusXml(codes: Sequence[int]) -> bytes:
    """The same in a message that tells what has become of the room (section 10.2.1)."""
    return f"<x xmlns='{ns.MUC_USER}'>{_status(codes)}</x>".encode()


def _status(codes: Sequence[int]) -> str:
    return "".join(f"<status code='{code}'/>" for code in codes)


def messageXml(message: RoomMessage, extra: str = "") -> bytes:
    """A message from behind its addresses to its end."""
    delay = ""
    if message.delay is not None:
        stamp = datetimes.formatDateTime(message.delay.stamp)
        delay = f"<delay xmlns='{ns.DELAY}' from='{escape(message.delay.by)}' stamp='{stamp}'/>"
    return b"".join(
        (
            attributes(id=message.id, type=message.kind, lang=message.payload.language),
            b">",
            extra.encode(),
            message.payload.raw,
            delay.encode(),
            b"</message>",
        )
    )


def errorXml(stanzaError: StanzaError) -> str:
    """An C{<error/>}, in the namespace that is the default one there."""
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{escape(stanzaError.text)}</text>" if stanzaError.text else ""
    return f"<error type='{stanzaError.kind}'><{stanzaError.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error>"


def mucXml(password: str, limits: HistoryLimits) -> str:
    """The C{<x/>} of who wants in (XEP-0045 section 7.2.1)."""
    inside = f"<password>{escape(password)}</password>" if password else ""
    wanted = {"maxchars": limits.maxchars, "maxstanzas": limits.maxstanzas, "seconds": limits.seconds}
    numbers = "".join(f" {name}='{number}'" for name, number in wanted.items() if number is not None)
    if limits.since is not None:
        numbers += f" since='{datetimes.formatDateTime(limits.since)}'"
    if numbers:
        inside += f"<history{numbers}/>"
    return f"<x xmlns='{ns.MUC}'>{inside}</x>" if inside else f"<x xmlns='{ns.MUC}'/>"
