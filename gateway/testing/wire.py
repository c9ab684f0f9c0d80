"""
Connections in memory, and the XML on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, XMLPullParser

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway import ns
from gateway.stream.core import Splitter
from gateway.stream.stanzas import Stanza

HEADER = f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}' id='s1'>"
END = "</stream:stream>"

_OPENING = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<stream:stream\s")
_HANDSHAKE = f"{{{ns.COMPONENT_ACCEPT}}}handshake"


def children(data: bytes) -> Iterator[Element]:
    """
    Yield the complete children of a stream's root.

    @param data: bytes of a stream from its start tag on, which may break off anywhere.
    @raise xml.etree.ElementTree.ParseError: when the bytes that are not well-formed are reached.
    """
    parser: Any = XMLPullParser(("start", "end"))
    depth = 0
    parser.feed(data)
    for kind, element in parser.read_events():
        depth += 1 if kind == "start" else -1
        if kind == "end" and depth == 1:
            yield element


def canonical(xml: str | bytes) -> list[str]:
    """
    Return each of these stanzas in canonical form: stanzas of the same meaning are equal, whatever their quotes,
    prefixes and order of attributes.
    """
    content = xml.decode() if isinstance(xml, bytes) else xml
    return [canonicalElement(child) for child in ElementTree.fromstring(HEADER + content + END)]


def canonicalElement(element: Element) -> str:
    """Return an element in canonical form; ignore the text after it."""
    element.tail = None
    return ElementTree.canonicalize(ElementTree.tostring(element, encoding="unicode"), rewrite_prefixes=True)


def stanzas(xml: str | bytes) -> list[Stanza]:
    """Return stanzas as a raw handler gets them."""
    splitter = Splitter(ns.COMPONENT_ACCEPT)
    splitter.feed(HEADER.encode())
    found: list[Stanza] = []
    for event in splitter.feed(xml.encode() if isinstance(xml, str) else xml):
        assert isinstance(event, Stanza), event
        found.append(event)
    return found


class MemoryTransport(StringTransport):
    """
    A connection in memory, which holds the bytes that its protocol has written. If the protocol closes it, it is
    lost at the clock's next step, as a real one.

    @ivar clock: its clock.
    @ivar protocol: the protocol; L{connect} sets it.
    @ivar aborted: true if the protocol has aborted the connection.
    @ivar lost: true if the connection does not exist any longer.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self.clock = clock
        self.protocol: Any = None
        self.aborted = False
        self.lost = False

    def connect(self, protocol: Any) -> None:
        """Give the connection to its protocol."""
        self.protocol = protocol
        protocol.makeConnection(self)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self.clock.callLater(0, self.lose, ConnectionLost())

    def lose(self, reason: Exception) -> None:
        """Break the connection."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason))

    def say(self, data: bytes) -> None:
        """Send bytes to the protocol."""
        self.protocol.dataReceived(data)

    def elements(self) -> list[Element]:
        """Return the elements that the protocol has written, except for the handshake of a component."""
        data = self.value()
        if not data:
            return []
        if not _OPENING.match(data):
            data = HEADER.encode() + data
        return [element for element in children(data) if element.tag != _HANDSHAKE]


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    An endpoint whose connections are L{MemoryTransport}s.

    @ivar mode: the result of the next attempts to connect: C{"connect"}, C{"refuse"}, C{"hang"}, or C{"raise"} for
        an exception out of C{connect}.
    @ivar attempts: number of attempts so far.
    @ivar cancelled: number of attempts that were cancelled.
    @ivar transports: all connections so far.
    @cvar transport: the class of new connections.
    """

    transport: type[MemoryTransport] = MemoryTransport

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.mode = "connect"
        self.attempts = 0
        self.cancelled = 0
        self.transports: list[MemoryTransport] = []

    @property
    def server(self) -> MemoryTransport:
        """The newest connection."""
        return self.transports[-1]

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.attempts += 1
        if self.mode == "raise":
            raise OSError("no such thing")
        if self.mode == "refuse":
            return fail(ConnectError(string="refused"))
        if self.mode == "hang":
            return Deferred(self._cancel)
        transport = self.transport(self.clock)
        self.transports.append(transport)
        protocol = protocolFactory.buildProtocol(None)
        transport.connect(protocol)
        return succeed(protocol)

    def _cancel(self, connecting: Deferred[Any]) -> None:
        self.cancelled += 1
