"""Stanzas as a server writes them, and a link with a server in memory."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway import ns
from gateway.stream.core import Splitter
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza

HEADER = f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}'>"
END = "</stream:stream>"


def stanza(xml: str) -> Stanza:
    """Return the one stanza of a text."""
    splitter = Splitter(ns.COMPONENT_ACCEPT)
    splitter.feed(HEADER.encode())
    [event] = splitter.feed(xml.encode())
    assert isinstance(event, Stanza), event
    return event


def canonical(xml: str | bytes) -> list[str]:
    """Return stanzas in canonical form."""
    content = xml.decode() if isinstance(xml, bytes) else xml
    found = []
    for child in ElementTree.fromstring(HEADER + content + END):
        child.tail = None
        text = ElementTree.tostring(child, encoding="unicode")
        found.append(ElementTree.canonicalize(text, rewrite_prefixes=True))
    return found


@implementer(IStreamClientEndpoint)
class MemoryServer:
    """
    The server's end of a link.

    @ivar clock: the link's clock.
    @ivar link: the link; stopped by L{stop}.
    """

    def __init__(self, jid: str) -> None:
        self.clock = Clock()
        self.link = Link(self.clock, self, jid, "secret")  # type: ignore[arg-type]  # Clock has what a link needs
        self.connections = 0
        self._protocol: Any = None
        self._transport = StringTransport()

    def connect(self, factory: Factory) -> Deferred[Any]:
        self.connections += 1
        self._protocol = factory.buildProtocol(None)  # type: ignore[arg-type]  # it looks at no address
        self._transport = StringTransport()
        self._protocol.makeConnection(self._transport)
        return succeed(self._protocol)

    def start(self) -> None:
        """Start the link and accept it."""
        self.link.startService()
        self.accept()

    def accept(self) -> None:
        """Authenticate the connection."""
        header = HEADER.replace(">", f" from='{self.link.jid}' id='s1'>")
        self._protocol.dataReceived(f"{header}".encode())
        self._transport.clear()
        self._protocol.dataReceived(b"<handshake/>")

    def send(self, xml: str) -> None:
        """Deliver stanzas to the gateway, in one piece."""
        self._protocol.dataReceived(xml.encode())

    def taken(self) -> list[str]:
        """Return the gateway's output since the last call, in canonical form, without the end of the stream."""
        data = self._transport.value().removesuffix(END.encode())
        self._transport.clear()
        return canonical(data)

    def lose(self) -> None:
        """Break the connection."""
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def stop(self) -> Deferred[None]:
        """Stop the link, and close its connection when the link ends the stream."""
        stopped: Deferred[None] = self.link.stopService()
        for _ in range(200):
            if self._transport.disconnecting:
                self.lose()
                break
            self.clock.advance(0.05)
        return stopped
