"""The elements of the reliable channel (docs/fmuc-resync.md, schema)."""

from __future__ import annotations

import re

from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest
from gateway.fmuc.channel_values import Header, Report
from gateway.xml.write import iq, message, route, tag

# Numbers have up to 15 digits: at a thousand stanzas a second they last for 30,000 years.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
# Names of the header. That of an error differs, because a server returns the header of a stanza that it cannot
# deliver.
HEADER, HEADER_OF_ERROR = "r", "f"


def offerXml(epoch: int) -> str:
    """Return the element of a join, and of its answer, that negotiates a channel."""
    return tag("channel", xmlns=ns.CHANNEL, e=str(epoch))


def readOffer(element: domish.Element) -> int:
    """
    Return the epoch of an offer.

    @raise BadRequest: if it has none.
    """
    return _number(element, "e")


def headerXml(header: Header, name: str = HEADER) -> str:
    """Return the element of a stanza."""
    number = None if header.number is None else str(header.number)
    return tag(name, xmlns=ns.CHANNEL, e=str(header.epoch), n=number, a=str(header.received))


def readHeader(element: domish.Element) -> Header:
    """
    Read the element of a stanza.

    @raise BadRequest: if it is not valid.
    """
    number = _number(element, "n") if element.hasAttribute("n") else None
    return Header(_number(element, "e"), number, _number(element, "a"))


def nameOf(stanza: bytes) -> bytes:
    """Return the name of a stanza, as L{gateway.xml.write} writes it."""
    return stanza[1:].partition(b" ")[0]


def withHeader(stanza: bytes, header: Header) -> bytes:
    """
    Return a stanza with a header as its last element.

    @param stanza: as L{gateway.xml.write} writes it.
    """
    isError = b" type='error'" in stanza.partition(b">")[0]
    inside = headerXml(header, HEADER_OF_ERROR if isError else HEADER).encode()
    if stanza.endswith(b"/>"):
        return b"%b>%b</%b>" % (stanza[:-2], inside, nameOf(stanza))
    start, _, end = stanza.rpartition(b"</")
    return b"%b%b</%b" % (start, inside, end)


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


def _number(element: domish.Element, name: str) -> int:
    text = element.getAttribute(name) or ""
    if _NUMBER.fullmatch(text) is None:
        raise BadRequest
    return int(text)
