"""A server in memory for tests of the stream; what it receives is read by another parser."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from hypothesis import HealthCheck, settings
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.stream.core import Event, Limits, Splitter
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza

JID = "gw.example.com"
SECRET = "secret"
HEADER = f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}' id='s1'>".encode()

# The same examples in each run, on any machine.
steady = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

Tree = tuple[str, dict[str, str], list[Any]]


def split(data: bytes, size: int = 0, limits: Limits | None = None) -> list[Event]:
    """Return the events of a stream that comes in pieces of C{size} bytes, or all at once."""
    splitter = Splitter(ns.COMPONENT_ACCEPT, limits)
    events: list[Event] = []
    for start in range(0, len(data), size or len(data)):
        events += splitter.feed(data[start : start + (size or len(data))])
    return events


def stanza(raw: bytes) -> Stanza:
    """Return the one stanza that C{raw} is."""
    _, found = split(HEADER + raw)
    assert isinstance(found, Stanza), found
    return found


def children(data: bytes) -> Iterator[Element]:
    """Yield the children of a stream's root, read by ElementTree; end quietly if the stream is broken."""
    parser = XMLPullParser(("start", "end"))
    depth = 0
    try:
        parser.feed(data)
        for kind, element in parser.read_events():
            depth += 1 if kind == "start" else -1
            if kind == "end" and depth == 1:
                yield element
    except ParseError:
        return


def tree(element: Element) -> Tree:
    """Return an element as a tree that can be compared: name, attributes, texts and elements in order."""
    parts: list[Any] = [element.text or ""]
    for child in element:
        parts += [tree(child), child.tail or ""]
    return element.tag, dict(element.attrib), [part for part in parts if part]


def domishTree(element: domish.Element) -> Tree:
    """Return the same tree of a C{domish.Element}."""
    attributes = {
        f"{{{name[0]}}}{name[1]}" if isinstance(name, tuple) else name: value
        for name, value in element.attributes.items()
    }
    name = f"{{{element.uri}}}{element.name}" if element.uri else element.name
    return name, attributes, [child if isinstance(child, str) else domishTree(child) for child in element.children]


class MemoryTransport(StringTransport):
    """Bytes in memory. An aborted connection is lost at the clock's next step, like a real one."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.protocol: Any = None
        self.aborted = False
        self.lost = False

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
        """Deliver bytes from the server."""
        self.protocol.dataReceived(data)

    def accept(self) -> None:
        """Open the server's stream and accept the handshake."""
        self.say(HEADER + b"<handshake/>")

    def heard(self) -> list[Tree]:
        """Return the stanzas that the server has received since the handshake."""
        return [tree(element) for element in children(self.value())][1:]


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    An endpoint whose connections are L{MemoryTransport}s.

    @ivar mode: the behaviour of C{connect}: C{connect}, C{refuse}, C{raise} or C{hang}.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.mode = "connect"
        self.attempts = 0
        self.cancelled = 0
        self.transports: list[MemoryTransport] = []

    @property
    def server(self) -> MemoryTransport:
        """Return the newest connection."""
        return self.transports[-1]

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts += 1
        if self.mode == "raise":
            raise OSError("no such thing")
        if self.mode == "refuse":
            return fail(ConnectError(string="refused"))
        if self.mode == "hang":
            return Deferred(self._cancel)
        transport = MemoryTransport(self.clock)
        self.transports.append(transport)
        transport.protocol = protocol = factory.buildProtocol(None)
        protocol.makeConnection(transport)
        return succeed(protocol)

    def _cancel(self, connecting: Deferred[Any]) -> None:
        self.cancelled += 1


class World:
    """A link, its clock and its endpoint."""

    def __init__(self, limits: Limits | None = None, domain: str | None = None) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint(self.clock)
        self.link = Link(self.clock, self.endpoint, JID, SECRET, limits, Random(1), domain)

    @property
    def server(self) -> MemoryTransport:
        return self.endpoint.server

    def up(self) -> World:
        """Start the link and accept it as the server."""
        self.link.startService()
        self.server.accept()
        return self

    def say(self, data: bytes) -> list[Tree]:
        """Deliver bytes from the server; return what it receives at once."""
        before = len(self.server.heard())
        self.server.say(data)
        return self.server.heard()[before:]

    def wait(self, seconds: float) -> None:
        """Let time pass, a tenth of a second at a time."""
        self.clock.pump([0.1] * round(seconds * 10))
