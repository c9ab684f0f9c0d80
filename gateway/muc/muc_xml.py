"""Elements and attributes that are sent to local users and to other nodes."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import ns
from gateway.muc import datetimes
from gateway.muc.values import HistoryLimits, OccupantPresence, RoomMessage, StanzaError
from gateway.xml.write import escape

# Bytes of one stanza that other entities choose. With all that nodes add, the stanza stays below 256 KiB, and so
# below the default limits of servers for components and for other servers.
MAX_PAYLOAD = 192 * 1024
MAX_STANZA = 256 * 1024
# Characters of a reason.
MAX_REASON = 1_000


def attributes(**values: str | None) -> bytes:
    """Return attributes of a start tag; C{None} and empty values are left out."""
    names = {"from_": "from", "lang": "xml:lang"}
    return "".join(
        f" {names.get(name, name)}='{escape(value)}'" for name, value in values.items() if value
    ).encode()


def mucUser(presence: OccupantPresence, realJid: str, codes: tuple[int, ...] = ()) -> bytes:
    """
    Return the element C{x} of C{muc#user} of a presence (XEP-0045 section 7.2.2).

    @param realJid: the JID that the recipient may see; empty for none.
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
    """Return the element C{x} of C{muc#user} of a message about a configuration change (section 10.2.1)."""
    return f"<x xmlns='{ns.MUC_USER}'>{_status(codes)}</x>".encode()


def _status(codes: Sequence[int]) -> str:
    return "".join(f"<status code='{code}'/>" for code in codes)


def messageXml(message: RoomMessage, extra: str = "") -> bytes:
    """Return the part of a message that follows the addresses, to the end tag."""
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
    """Return an C{error} element in the stream's default namespace."""
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{escape(stanzaError.text)}</text>" if stanzaError.text else ""
    return f"<error type='{stanzaError.kind}'><{stanzaError.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error>"


def mucXml(password: str, limits: HistoryLimits) -> str:
    """Return the element C{x} of C{muc} of a join (XEP-0045 section 7.2.1)."""
    inside = f"<password>{escape(password)}</password>" if password else ""
    wanted = {"maxchars": limits.maxchars, "maxstanzas": limits.maxstanzas, "seconds": limits.seconds}
    numbers = "".join(f" {name}='{number}'" for name, number in wanted.items() if number is not None)
    if limits.since is not None:
        numbers += f" since='{datetimes.formatDateTime(limits.since)}'"
    if numbers:
        inside += f"<history{numbers}/>"
    return f"<x xmlns='{ns.MUC}'>{inside}</x>" if inside else f"<x xmlns='{ns.MUC}'/>"
