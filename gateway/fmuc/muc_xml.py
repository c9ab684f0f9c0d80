"""
Pieces of stanzas that both local users and other nodes are sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway import ns
from gateway.fmuc import datetimes
from gateway.fmuc.values import Limits, Refusal, Said, Shown
from gateway.stream.stanzas import escape

# Bytes of what somebody has chosen, in one stanza: with everything that nodes put around it, the stanza stays below
# 256 KiB, and so below every limit that a server has for components and other servers by default.
LARGEST = 192 * 1024
LARGEST_STANZA = 256 * 1024
# Characters of a reason that is handed on.
LONGEST_REASON = 1_000


def attributes(**values: str | None) -> bytes:
    """Attributes of a start tag; without those that are C{None} or empty."""
    names = {"from_": "from", "lang": "xml:lang"}
    return "".join(
        f" {names.get(name, name)}='{escape(value)}'" for name, value in values.items() if value
    ).encode()


def mucUser(shown: Shown, real: str, codes: tuple[int, ...] = ()) -> bytes:
    """
    The C{<x/>} of C{muc#user} in a presence (XEP-0045 section 7.2.2).

    @param real: the JID that its recipient may see; empty for none.
    @param codes: status codes for the recipient alone.
    """
    rank, notice = shown.rank, shown.notice
    item = attributes(affiliation=rank.affiliation, role=rank.role, jid=real, nick=notice.nick).decode()
    inside = ""
    if notice.actor:
        inside += f"<actor nick='{escape(notice.actor)}'/>"
    if notice.reason and not notice.destroyed:
        inside += f"<reason>{escape(notice.reason)}</reason>"
    item = f"<item{item}>{inside}</item>" if inside else f"<item{item}/>"
    status = _status((*notice.codes, *codes))
    destroy = ""
    if notice.destroyed:
        reason = f"<reason>{escape(notice.reason)}</reason>" if notice.reason else ""
        destroy = f"<destroy{attributes(jid=notice.jid).decode()}>{reason}</destroy>"
    return f"<x xmlns='{ns.MUC_USER}'>{item}{status}{destroy}</x>".encode()


def statusXml(codes: Sequence[int]) -> bytes:
    """The same in a message that tells what has become of the room (section 10.2.1)."""
    return f"<x xmlns='{ns.MUC_USER}'>{_status(codes)}</x>".encode()


def _status(codes: Sequence[int]) -> str:
    return "".join(f"<status code='{code}'/>" for code in codes)


def messageXml(said: Said, extra: str = "") -> bytes:
    """A message from behind its addresses to its end."""
    delay = ""
    if said.delay is not None:
        stamp = datetimes.written(said.delay.stamp)
        delay = f"<delay xmlns='{ns.DELAY}' from='{escape(said.delay.by)}' stamp='{stamp}'/>"
    return b"".join(
        (
            attributes(id=said.id, type=said.kind, lang=said.content.language),
            b">",
            extra.encode(),
            said.content.raw,
            delay.encode(),
            b"</message>",
        )
    )


def errorXml(refusal: Refusal) -> str:
    """An C{<error/>}, in the namespace that is the default one there."""
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{escape(refusal.text)}</text>" if refusal.text else ""
    return f"<error type='{refusal.kind}'><{refusal.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error>"


def mucXml(password: str, limits: Limits) -> str:
    """The C{<x/>} of who wants in (XEP-0045 section 7.2.1)."""
    inside = f"<password>{escape(password)}</password>" if password else ""
    wanted = {"maxchars": limits.maxchars, "maxstanzas": limits.maxstanzas, "seconds": limits.seconds}
    numbers = "".join(f" {name}='{number}'" for name, number in wanted.items() if number is not None)
    if limits.since is not None:
        numbers += f" since='{datetimes.written(limits.since)}'"
    if numbers:
        inside += f"<history{numbers}/>"
    return f"<x xmlns='{ns.MUC}'>{inside}</x>" if inside else f"<x xmlns='{ns.MUC}'/>"
