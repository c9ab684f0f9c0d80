"""Results of queries of an archive (XEP-0313), written."""

from __future__ import annotations

from gateway import ns
from gateway.muc.archive_values import ArchivedMessage, ArchiveEnd, ArchivePage, ArchiveQuery
from gateway.muc.datetimes import formatDateTime
from gateway.muc.elements import itemXml, occupantIdXml, stanzaIdXml
from gateway.xml.write import FORWARDED, attributes, escape, message, route, tag

_MESSAGE_TYPE = "groupchat"


def formXml() -> str:
    """Return the form with the fields of queries (section 4.1.5)."""
    fields = tag("field", tag("value", ns.MAM), type="hidden", var="FORM_TYPE")
    fields += tag("field", type="jid-single", var="with")
    fields += "".join(tag("field", type="text-single", var=var) for var in _TEXTS)
    # "the server MUST include a [...] <validate/> element that signals the list is open to arbitrary values".
    isOpen = tag("validate", tag("open"), xmlns=ns.VALIDATE, datatype="xs:string")
    fields += tag("field", isOpen, type="list-multi", var="ids")
    return tag("query", tag("x", fields, xmlns=ns.DATA, type="form"), xmlns=ns.MAM)


_TEXTS = ("start", "end", "before-id", "after-id")


def metadataXml(ends: tuple[ArchiveEnd, ArchiveEnd] | None) -> str:
    """Return the payload of the answer with the ends of an archive (section 5); an empty one has none."""
    if ends is None:
        return tag("metadata", xmlns=ns.MAM)
    inside = "".join(
        tag(name, id=end.id, timestamp=formatDateTime(end.utc))
        for name, end in zip(("start", "end"), ends, strict=True)
    )
    return tag("metadata", inside, xmlns=ns.MAM)


def resultsXml(page: ArchivePage, query: ArchiveQuery, user: str) -> list[bytes]:
    """
    Return the messages of a page, each as a stanza to the user.

    @param user: full JID.
    """
    addresses = route(query.room, user)
    messages = reversed(page.messages) if query.isFlipped else page.messages
    return [message(addresses, _resultXml(each, query)) for each in messages]


def _resultXml(archived: ArchivedMessage, query: ArchiveQuery) -> bytes:
    """
    Section 6.1.2: the message "MUST NOT have a 'to' attribute, and the 'from' MUST be the occupant JID of the
    sender".
    """
    sender = f"{archived.room}/{archived.nick}" if archived.nick else archived.room
    content = (
        archived.payload.encode()
        + occupantIdXml(archived.occupantId)
        + stanzaIdXml(archived.id, archived.room)
        + _senderXml(archived, query)
    )
    around = FORWARDED + attributes(from_=sender).encode()
    inside = message(around, content, archived.stanza, _MESSAGE_TYPE, archived.language or None)
    delay = tag("delay", xmlns=ns.DELAY, stamp=formatDateTime(archived.utc))
    forwarded = tag("forwarded", delay + inside.decode(), xmlns=ns.FORWARD)
    return tag("result", forwarded, xmlns=ns.MAM, queryid=query.queryId, id=archived.id).encode()


def _senderXml(archived: ArchivedMessage, query: ArchiveQuery) -> bytes:
    """
    Return the real JID of the sender for users who may see it (section 6.1.2). A message from the time before the
    room became non-anonymous shows it to no further users.
    """
    if not archived.realJid or not (query.seesAll or (query.seesOpen and archived.isOpen)):
        return b""
    item = itemXml(archived.affiliation, archived.role, archived.realJid)
    return tag("x", item, xmlns=ns.MUC_USER).encode()


def finXml(page: ArchivePage) -> str:
    """Return the payload of the answer to a query (section 4.3)."""
    ends = ""
    if page.messages:
        first, last = page.messages[0].id, page.messages[-1].id
        ends = tag("first", escape(first), index=str(page.index)) + tag("last", escape(last))
    found = tag("set", ends + tag("count", str(page.count)), xmlns=ns.RSM)
    return tag("fin", found, xmlns=ns.MAM, complete="true" if page.isComplete else None)
