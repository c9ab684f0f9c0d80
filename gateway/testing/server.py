"""
The server's side of a component's link.
"""

from __future__ import annotations

from random import Random
from typing import Any
from xml.etree.ElementTree import Element

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from gateway.stream.link import Link
from gateway.testing.wire import HEADER, MemoryEndpoint, MemoryTransport, canonicalElement


class ServerSide:
    """
    The server's side of a component.

    @ivar transport: its connection.
    """

    @property
    def transport(self) -> MemoryTransport:
        raise NotImplementedError

    def accept(self) -> None:
        """Accept the handshake of the component."""
        self.transport.clear()
        self.transport.say(HEADER.encode())
        self.transport.clear()
        self.transport.say(b"<handshake/>")

    def send(self, xml: str | bytes) -> None:
        """Send stanzas to the component, in one segment."""
        self.transport.say(xml.encode() if isinstance(xml, str) else xml)

    def ask(self, xml: str | bytes) -> list[Element]:
        """Send stanzas; return the elements that the component sends at once."""
        self.transport.clear()
        self.send(xml)
        return self.received()

    def received(self) -> list[Element]:
        """Return the elements that the component has sent since the last call of this method or L{taken}."""
        found = self.transport.elements()
        self.transport.clear()
        return found

    def taken(self) -> list[str]:
        """Return these elements in canonical form, to compare them with L{gateway.testing.canonical}."""
        return [canonicalElement(element) for element in self.received()]

    def lose(self) -> None:
        """Break the connection."""
        self.transport.lose(ConnectionDone())

    @property
    def isGone(self) -> bool:
        """True if the connection is lost."""
        return self.transport.lost


class MemoryServer(ServerSide):
    """
    A server, and the link of one component to it.

    A handler is added by C{handler.setHandlerParent(server.link)}, as on any link.

    @ivar clock: the clock of both.
    @ivar endpoint: the link's endpoint. Its C{mode} decides about the next attempts to connect.
    @ivar link: not started; L{start} starts it, and L{stop} must stop it.
    @param more: further arguments of the link.
    """

    def __init__(self, jid: str = "service.example.com", **more: Any) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint(self.clock)
        self.link = Link(self.clock, self.endpoint, jid, "secret", random=Random(1), **more)

    @property
    def transport(self) -> MemoryTransport:
        return self.endpoint.server

    @property
    def connections(self) -> int:
        """Number of connections so far."""
        return len(self.endpoint.transports)

    def start(self) -> None:
        """Start the link and accept it."""
        self.link.startService()
        self.accept()

    def restore(self) -> None:
        """
        Let time pass until a lost link has connected again, and accept it.

        @raise AssertionError: if it does not connect within a minute.
        """
        before = self.connections
        self.endpoint.mode = "connect"
        for _ in range(600):
            if self.connections > before:
                break
            self.wait(0.1)
        assert self.connections > before, "the link does not connect: it is not started, or was not lost"
        self.accept()

    def wait(self, seconds: float) -> None:
        """Let time pass, a tenth of a second at a time."""
        self.clock.pump([0.1] * round(seconds * 10))

    def stop(self) -> Deferred[None]:
        """
        Stop the link, and let up to ten seconds pass until it has ended.

        @return: fires when the link has ended; normally it has already fired.
        """
        stopped = self.link.stopService()
        for _ in range(200):
            if stopped.called:
                break
            self.clock.advance(0.05)
        return stopped
