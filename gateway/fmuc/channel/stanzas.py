"""The elements of the reliable channel (docs/fmuc-resync.md, schema)."""

from __future__ import annotations

import re
from html import unescape

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest
from gateway.fmuc.channel.values import MAX_KEEP, Ask, Header, Position, Report, SendAck, SendStanza
from gateway.muc.stanzas import attributeOf, parts
from gateway.stream.stanzas import Stanza
from gateway.xml.context import COMPONENT
from gateway.xml.cut import Part, cut, only, usualTag
from gateway.xml.write import iq, message, route, tag

# Numbers have up to 15 digits: at a thousand stanzas a second they last for 30,000 years.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
# Names of the header. That of an error differs, because a server returns the header of a stanza that it cannot
# deliver.
HEADER, HEADER_OF_ERROR = "r", "f"
# Characters of a digest or an id.
_MAX_TEXT = 256
_IDS = ns.SID.encode()
# The first one is the sender of a stanza, and the second one the user of the element that follows.
_FROM = re.compile(rb" from='([^']*)'")
_ATTRIBUTE = re.compile(rb" (\w+)='([^']*)'")
_MUC = f" xmlns='{ns.MUC}'".encode()


def offerXml(epoch: int, keep: int = 0, told: int = 0) -> str:
    """
    Return the element of a join, and of its answer, that negotiates a channel.

    @param keep: seconds for which the joining node stays without users; 0 if it does not.
    @param told: in an acceptance, number of occupants that were told before; they have no numbers.
    """
    values = {"k": str(keep) if keep else None, "o": str(told) if told else None}
    return tag("channel", xmlns=ns.CHANNEL, e=str(epoch), **values)


def readOffer(element: domish.Element) -> int:
    """
    Return the epoch of an offer.

    @raise BadRequest: if it has none.
    """
    return _number(element, "e")


def readKeep(element: domish.Element) -> int:
    """
    Return the seconds of an offer, or of its acceptance, for which the joining node stays without users.

    @raise BadRequest: if the text is no number.
    """
    return min(_number(element, "k"), MAX_KEEP) if element.hasAttribute("k") else 0


def readTold(element: domish.Element) -> int:
    """
    Return the number of occupants that were told before an acceptance.

    @raise BadRequest: if the text is no number.
    """
    return _number(element, "o") if element.hasAttribute("o") else 0


def headerXml(header: Header, isOriginId: bool = False, stanzaId: str = "", name: str = HEADER) -> str:
    """
    Return the element of a stanza.

    @param isOriginId: True if the message had an origin id that is equal to its id.
    @param stanzaId: the message's stanza id by its sender; empty for none.
    """
    known = (header.epoch, header.number, header.received)
    numbers = " ".join(str(each) for each in known if each is not None)
    return tag(name, xmlns=ns.CHANNEL, n=numbers, o="1" if isOriginId else None, i=stanzaId or None)


def readHeader(element: domish.Element) -> Header:
    """
    Read the element of a stanza.

    @raise BadRequest: if it is not valid.
    """
    numbers = [_read(each) for each in (element.getAttribute("n") or "").split(" ")]
    isAlone = len(numbers) == 2
    if not isAlone and len(numbers) != 3:
        raise BadRequest
    return Header(numbers[0], None if isAlone else numbers[1], numbers[-1])


def readPosition(element: domish.Element) -> Position | None:
    """
    Return the position of the answer to a comparison; C{None} if it has none.

    @raise BadRequest: if it is not valid.
    """
    if not element.hasAttribute("k"):
        return None
    numbers = [_read(each) for each in element.getAttribute("k", "").split(" ")]
    if len(numbers) != 2:
        raise BadRequest
    return Position(*numbers)


def nameOf(stanza: bytes) -> bytes:
    """Return the name of a stanza, as L{gateway.xml.write} writes it."""
    return stanza[1:].partition(b" ")[0]


def joinOf(stanza: bytes) -> tuple[str, str] | None:
    """
    Return the nick and the user (full JID) of a stanza that is a join; C{None} for others.

    @param stanza: as L{gateway.fmuc.dialects} writes it.
    """
    start, _, inside = stanza.partition(b">")
    found = [unescape(each.decode()) for each in _FROM.findall(stanza)]
    if nameOf(stanza) != b"presence" or b" type=" in start or _MUC not in inside or len(found) < 2:
        return None
    return found[0].partition("/")[2], found[1]


def messageOf(stanza: bytes) -> tuple[str, str, str] | None:
    """
    Return the nick of the sender, that of the recipient or an empty text, and the id, of a stanza that is a message
    other than an error; C{None} for others.

    @param stanza: as L{gateway.fmuc.dialects} writes it.
    """
    start = stanza.partition(b">")[0]
    found = {name.decode(): unescape(value.decode()) for name, value in _ATTRIBUTE.findall(start)}
    if nameOf(stanza) != b"message" or found.get("type") == "error":
        return None
    return found["from"].partition("/")[2], found["to"].partition("/")[2], found.get("id", "")


def withHeader(stanza: bytes, header: Header) -> bytes:
    """
    Return a stanza with a header as its last element; the header tells ids of a message more briefly.

    @param stanza: as L{gateway.xml.write} writes it.
    """
    isError = b" type='error'" in stanza.partition(b">")[0]
    if isError:
        inside = headerXml(header, name=HEADER_OF_ERROR).encode()
    else:
        stanza, isOriginId, stanzaId = _shortened(stanza)
        inside = headerXml(header, isOriginId, stanzaId).encode()
    if stanza.endswith(b"/>"):
        return b"%b>%b</%b>" % (stanza[:-2], inside, nameOf(stanza))
    start, _, end = stanza.rpartition(b"</")
    return b"%b%b</%b" % (start, inside, end)


def _shortened(stanza: bytes) -> tuple[bytes, bool, str]:
    """Return a message without the ids that a header can tell, and these; other stanzas as they are."""
    if _IDS not in stanza or nameOf(stanza) != b"message":
        return stanza, False, ""
    start, _, rest = stanza.partition(b">")
    content, _, end = rest.rpartition(b"</")
    # Ids in an unusual spelling stay where they are.
    found, outer = cut(content, COMPONENT), usualTag(start + b">")
    if found is None or outer is None:
        return stanza, False, ""
    room, originId = outer.attributes["from"].partition("/")[0], {"xmlns": ns.SID, "id": outer.attributes.get("id")}
    isOriginId, stanzaId = False, ""
    kept: list[bytes] = []
    for part in found:
        known = only(part.raw) if part.namespace == ns.SID else None
        if known == originId and part.name == "origin-id":
            isOriginId = True
        elif known is not None and part.name == "stanza-id" and known.get("by") == room and not stanzaId:
            stanzaId = known.get("id", "")
        else:
            kept.append(part.raw)
    return b"%b>%b</%b" % (start, b"".join(kept), end), isOriginId, stanzaId


def expanded(stanza: Stanza, found: list[Part]) -> list[Part]:
    """
    Return the elements of a message, with those ids as elements that its header tells.

    @raise BadRequest: if the header tells what is there as well, or what it may not tell.
    """
    header = next((part for part in found if (part.namespace, part.name) == (ns.CHANNEL, HEADER)), None)
    if header is None:
        return found
    isOriginId, stanzaId = attributeOf(header, "o"), attributeOf(header, "i")
    if isOriginId not in ("", "1") or len(stanzaId) > _MAX_TEXT or (isOriginId and not stanza.id):
        raise BadRequest
    room = jids.bare(stanza.sender or "")
    told = []
    if isOriginId:
        told.append(("origin-id", {"id": stanza.id}))
    if stanzaId:
        told.append(("stanza-id", {"by": room, "id": stanzaId}))
    names = {name for name, _ in told}
    known = (part for part in found if part.namespace == ns.SID and part.name in names)
    if any(attributeOf(part, "by") in ("", room) for part in known):
        raise BadRequest
    elements = ((name, tag(name, xmlns=ns.SID, **attributes).encode()) for name, attributes in told)
    return [*found, *(Part(ns.SID, name, raw, COMPONENT.header) for name, raw in elements)]


def acknowledgement(room: str, peer: str, header: Header) -> bytes:
    """Return a stanza that has nothing but a header, with a number if the stanza with this number was withdrawn."""
    return message(route(room, peer), headerXml(header).encode())


def request(room: str, peer: str, identifier: str, report: Report) -> bytes:
    """Return the request for the other node's numbers."""
    return iq(route(room, peer), identifier, "set" if report.isResume else "get", reportXml(report).encode())


def reportXml(report: Report) -> str:
    """Return the element of a request, or of its answer."""
    return tag(
        "resume" if report.isResume else "probe",
        xmlns=ns.CHANNEL,
        e=str(report.epoch),
        n=str(report.sent),
        a=str(report.received),
        k=str(report.upTo) if report.upTo != report.sent and report.isResume else None,
    )


def readReport(element: domish.Element) -> Report:
    """
    Read the element of a request, or of its answer.

    @raise BadRequest: if it is not valid.
    """
    isResume = element.name == "resume"
    if not isResume and element.name != "probe":
        raise BadRequest
    sent = _number(element, "n")
    numbers = _number(element, "e"), sent, _number(element, "a")
    if not isResume:
        return Report(*numbers, False)
    upTo = _number(element, "k") if element.hasAttribute("k") else sent
    return Report(*numbers, True, upTo)


def isRequest(stanza: Stanza) -> bool:
    """True if an iq of type get or set asks for the numbers of this node."""
    if ns.CHANNEL.encode() not in stanza.raw:
        return False
    payload = next(stanza.element.elements(), None)
    return payload is not None and payload.uri == ns.CHANNEL and payload.name in ("probe", "resume")


def written(room: str, peer: str, output: Ask | SendStanza | SendAck) -> bytes:
    """Return the stanza of an output of the channel between two rooms (bare JIDs)."""
    if isinstance(output, Ask):
        return request(room, peer, output.id, output.report)
    if isinstance(output, SendStanza) and output.stanza:
        return withHeader(output.stanza, output.header)
    return acknowledgement(room, peer, output.header)


def headerOf(stanza: Stanza) -> Header | None:
    """
    Return the header of a stanza; C{None} if it has none.

    @raise BadRequest: if it is not valid.
    """
    if ns.CHANNEL.encode() not in stanza.raw:
        return None
    name = HEADER_OF_ERROR if stanza.type == "error" else HEADER
    headers = (part for part in parts(stanza) if (part.namespace, part.name) == (ns.CHANNEL, name))
    part = next(headers, None)
    return None if part is None else readHeader(part.element)


def isEmpty(stanza: Stanza) -> bool:
    """True if a stanza has nothing but a header: its sender has withdrawn it (rule 3)."""
    return stanza.name == "message" and len(parts(stanza)) == 1


def _number(element: domish.Element, name: str) -> int:
    return _read(element.getAttribute(name) or "")


def _read(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise BadRequest
    return int(text)
