"""The archives of ordinary rooms (XEP-0313), for what was missed: the answers to queries. Pure."""

from __future__ import annotations

from attrs import define, evolve, field, frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest
from gateway.fmuc.ordinary.stanzas import readMessage
from gateway.fmuc.values import NodeMessage
from gateway.muc import datetimes
from gateway.muc.ids import MAX_ID
from gateway.muc.values import Delay
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children
from gateway.xml.move import moved
from gateway.xml.write import serialised

# Seconds for which a page is awaited; the wait of a mirror for the end of the answer to its join is longer.
WAIT = 4.0
# Pages, and messages that wait meanwhile, and their bytes.
_MAX_PAGES, MAX_HELD, _MAX_BYTES = 10, 1_000, 4 * 1024 * 1024


@define(eq=False)
class Missed:
    """
    A query for what was missed, until its end.

    @ivar id: of the open request.
    @ivar deadline: of the open request, in seconds of the link's clock.
    @ivar seen: stanza ids of the messages so far.
    @ivar held: messages to all that have come meanwhile, and their senders.
    """

    id: str
    deadline: float
    seen: set[str] = field(factory=set)
    held: list[tuple[str, NodeMessage]] = field(factory=list)
    pages: int = 0
    _size: int = 0

    def hold(self, sender: str, message: NodeMessage) -> bool:
        """Keep a message to all that has come meanwhile; return False if no further one may be kept."""
        self.held.append((sender, message))
        self._size += len(message.payload.raw)
        return len(self.held) < MAX_HELD and self._size < _MAX_BYTES

    def left(self, isComplete: bool) -> list[tuple[str, NodeMessage]]:
        """
        Return the held messages that the archive has not given. History is needed if the archive has not given all.
        """
        return [
            each
            for each in self.held
            if each[1].stanzaId not in self.seen and not (isComplete and each[1].delay is not None)
        ]

    def next(self, last: str, identifier: str, now: float) -> bool:
        """Begin with the next page, and return True; False if there may be no further one."""
        self.pages += 1
        self.id, self.deadline = identifier, now + WAIT
        return bool(last) and self.pages < _MAX_PAGES


@frozen
class Result:
    """
    One message of an archive.

    @ivar query: id of the query.
    @ivar sender: the occupant's address.
    """

    query: str
    sender: str
    message: NodeMessage


def readResult(stanza: Stanza, source: str, room: str) -> Result:
    """
    Read one result (section 4.2).

    @param source: bare JID of the ordinary room.
    @param room: bare JID of the room here.
    @raise BadRequest: if it cannot be read.
    """
    result = next((each for each in children(stanza.element) if each.uri == ns.MAM), None)
    found = [] if result is None else [each for each in children(result) if each.uri == ns.FORWARD]
    if result is None or not found:
        raise BadRequest
    inside = {each.name: each for each in children(found[0])}
    delay, message = inside.get("delay"), inside.get("message")
    stamp = None if delay is None else datetimes.parseDateTime(delay.getAttribute("stamp", ""))
    if message is None or stamp is None or message.uri != ns.CLIENT:
        raise BadRequest
    sender, identifier = message.getAttribute("from", ""), result.getAttribute("id", "")
    if jids.bare(sender) != source or not 0 < len(identifier) <= MAX_ID:
        raise BadRequest
    written = serialised(moved(message, ns.CLIENT, ns.COMPONENT_ACCEPT), ns.COMPONENT_ACCEPT).encode()
    archived = evolve(
        stanza,
        sender=sender,
        id=message.getAttribute("id"),
        type=message.getAttribute("type"),
        language=message.attributes.get((ns.XML, "lang")),
        raw=written.rpartition(b"</")[0] or written,
        cut=0,
    )
    read = readMessage(archived, source, room)
    given = evolve(read, delay=Delay(source, stamp), stanzaId=identifier)
    return Result(result.getAttribute("queryid", ""), sender, given)


def readFin(stanza: Stanza) -> tuple[bool, str]:
    """
    Return whether a page was the last one, and the id of its last message; empty for none (section 4.3).

    @raise BadRequest: if it cannot be read.
    """
    fin = next((each for each in stanza.element.elements() if each.name == "fin"), None)
    if fin is None:
        return True, ""
    page = next((each for each in fin.elements() if each.uri == ns.RSM), None)
    last = None if page is None else next((each for each in page.elements() if each.name == "last"), None)
    identifier = "" if last is None else str(last)
    return fin.getAttribute("complete") in ("true", "1"), identifier if len(identifier) <= MAX_ID else ""
