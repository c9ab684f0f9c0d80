"""A server in memory for tests of the stream; what it receives is read by another parser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from twisted.words.xish import domish

from gateway import ns, testing
from gateway.stream.core import Event, Limits, Splitter
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryServer, MemoryTransport, wire

JID = "gw.example.com"
SECRET = "secret"
HEADER = wire.HEADER.encode()

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
    with suppress(ParseError):
        yield from testing.children(data)


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


class ServerTransport(MemoryTransport):
    """A connection to a server, and all that it was ever sent. The server ends its stream when the link has."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if data.endswith(b"</stream:stream>"):
            self.clock.callLater(0, self.endStream)

    def endStream(self) -> None:
        """End the server's stream, if the connection exists."""
        if not self.lost:
            self.say(b"</stream:stream>")

    def accept(self) -> None:
        """Open the server's stream and accept the handshake."""
        self.say(HEADER + b"<handshake/>")

    def heard(self) -> list[Tree]:
        """Return the stanzas that the server has received since the handshake."""
        return [tree(element) for element in children(self.value())][1:]


class World(MemoryServer):
    """A link, its clock and its endpoint."""

    def __init__(self, limits: Limits | None = None, domain: str | None = None) -> None:
        super().__init__(JID, limits=limits, domain=domain)
        self.endpoint.transport = ServerTransport

    @property
    def server(self) -> Any:
        """Return the newest connection, a L{ServerTransport}."""
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
