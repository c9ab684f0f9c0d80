"""
The whole gateway, made from TOML text on a reactor in memory. The test plays its servers, clients, web applications
and browsers, and sees only what the gateway sends to them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock

from gateway import service
from gateway.stream.component import handshake
from tests.embedded.support import Client, Component, said
from tests.stream.memory import HEADER, MemoryTransport, children

# Files that a configuration may name, in its folder.
FILES = {
    "first.secret": "first\n",
    "second.secret": "second\n",
    "first.key": "11" * 32,
    "second.key": "22" * 32,
}

USER = "user@example.net/desk"


class Server:
    """
    The server's end of one component's link; the component is accepted.

    @ivar place: the host and port that the gateway connected to.
    @ivar proof: the component's handshake.
    """

    def __init__(self, transport: MemoryTransport, place: tuple[str, int]) -> None:
        self.place = place
        self._transport = transport
        transport.say(HEADER)
        [shown] = children(transport.value())
        self.proof = shown.text
        transport.say(b"<handshake/>")
        self._read = 1

    @property
    def isGone(self) -> bool:
        """True if the connection is lost."""
        return self._transport.lost

    def lose(self) -> None:
        """Lose the connection."""
        self._transport.lose(ConnectionLost())

    def heard(self) -> list[Element]:
        """Return the elements that were received since the last call."""
        found = list(children(self._transport.value()))[self._read :]
        self._read += len(found)
        return found

    def say(self, xml: str) -> list[Element]:
        """Send stanzas; return the elements that come back at once."""
        self.heard()
        self._transport.say(xml.encode())
        return self.heard()

    def told(self, xml: str) -> list[str]:
        """Send stanzas; return a line for each element that comes back at once."""
        return [said(each) for each in self.say(xml)]

    def knows(self, *secrets: str) -> list[str]:
        """Return the one of these secrets that the component has proved."""
        return [secret for secret in secrets if handshake("s1", secret) == self.proof]


@define(eq=False)
class Call:
    """
    A request of the gateway to a web application.

    @ivar place: the host and port that it was sent to.
    @ivar token: its Authorization header; empty if it has none.
    """

    transport: MemoryTransport
    place: tuple[str, int]
    path: str
    token: str

    def reply(self, document: object, status: int = 200) -> None:
        """Answer the request."""
        body = json.dumps(document).encode()
        self.transport.say(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


class Response:
    """The answer to an HTTP request, as far as it has been received."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    @property
    def status(self) -> int | None:
        found = re.match(rb"HTTP/1\.[01] (\d+) ", self._transport.value())
        return int(found[1]) if found else None

    @property
    def text(self) -> str:
        """Return all of it."""
        return self._transport.value().decode()

    @property
    def body(self) -> Any:
        return json.loads(self._transport.value().partition(b"\r\n\r\n")[2])


@define(eq=False)
class Gateway:
    """
    A running gateway.

    @raise ConfigError: if the configuration is refused.
    """

    folder: Path
    text: str
    reactor: MemoryReactorClock = field(factory=MemoryReactorClock)
    _service: Any = None
    _servers: dict[str, Server] = field(factory=dict)
    _applications: list[tuple[MemoryTransport, tuple[str, int]]] = field(factory=list)
    _answered: int = 0

    def __attrs_post_init__(self) -> None:
        for name, content in FILES.items():
            (self.folder / name).write_text(content)
        path = self.folder / "gateway.toml"
        path.write_text(self.text)
        self._service = service.makeService(service.read(path, self.reactor), self.reactor)
        self._service.startService()

    def stop(self) -> None:
        """Stop the gateway; its connections stay open."""
        self._service.stopService()
        self.wait(20)

    def wait(self, seconds: float) -> None:
        """Let time pass, half a second at a time."""
        for _ in range(round(seconds * 2)):
            self.reactor.advance(0.5)

    def until(self, happens: Any, atMost: float = 120) -> float | None:
        """Return the seconds until a condition is true; C{None} if it does not become true."""
        for halves in range(round(atMost * 2)):
            self._connect()
            if happens():
                return halves / 2
            self.wait(0.5)
        return None

    # Peers that the gateway connects to.

    def _connect(self) -> None:
        """Accept the connections that the gateway is making."""
        self.reactor.advance(0)
        waiting = self.reactor.tcpClients[self._answered :]
        self._answered += len(waiting)
        for host, port, factory, *_ in waiting:
            protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", port))
            transport = MemoryTransport(self.reactor)
            transport.protocol = protocol
            protocol.makeConnection(transport)
            component = re.search(rb"<stream:stream .* to='([^']*)'>", transport.value())
            if component is None:
                self._applications.append((transport, (host, port)))
            else:
                self._servers[component[1].decode()] = Server(transport, (host, port))

    def server(self, component: str) -> Server:
        """Return the server that this component has connected to."""
        self._connect()
        return self._servers[component]

    def forget(self, component: str) -> None:
        """Keep no reference to the connections of a component."""
        self._connect()
        self._servers.pop(component, None)
        self.reactor.tcpClients.clear()
        self.reactor.connectors.clear()
        self._answered = 0

    def calls(self) -> list[Call]:
        """Return the requests to web applications since the last call."""
        self._connect()
        return [call for transport, place in self._applications for call in _calls(transport, place)]

    # Peers that connect to the gateway.

    @property
    def listening(self) -> list[tuple[str, int]]:
        """Return interfaces and ports that the gateway listens on."""
        return [(interface, port) for port, _, _, interface in self.reactor.tcpServers]

    def accept(self, port: int) -> Any:
        """Connect to a port; return the protocol that is built for the connection."""
        [factory] = [factory for number, factory, *_ in self.reactor.tcpServers if number == port]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))  # type: ignore[arg-type]  # it is one
        assert protocol is not None
        return protocol

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Send an HTTP request to the default port."""
        transport = MemoryTransport(self.reactor)
        transport.hostAddr = IPv4Address("TCP", "127.0.0.1", 5290)
        transport.protocol = self.accept(5290)
        transport.protocol.makeConnection(transport)
        sent = {"Host": "127.0.0.1:5290", "Content-Length": str(len(body)), "Connection": "close"}
        if body:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        transport.say("\r\n".join([*lines, "", ""]).encode() + body)
        self.reactor.advance(0)
        return Response(transport)

    def client(self, user: str, password: str) -> Client:
        """Return a client of the embedded host that is logged in and online."""
        client = self.unauthenticated()
        client.logIn(user, password)
        client.send("<presence/>")
        return client

    def unauthenticated(self) -> Client:
        """Return a client of the embedded host that is only connected."""
        return Client(self.reactor, self.accept(5222))

    def component(self, jid: str, secret: str) -> Component:
        """Return a component on the embedded host that is not the gateway's own."""
        component = Component(self.reactor, self.accept(5347))
        component.logIn(jid, secret)
        return component


def _calls(transport: MemoryTransport, place: tuple[str, int]) -> Iterator[Call]:
    data = transport.value()
    transport.clear()
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        path = head.decode().split(" ")[1]
        token = re.search(rb"(?i)\r\nauthorization: (.*)", head + b"\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        length = int(found[1]) if found else 0
        yield Call(transport, place, path, token[1].decode().strip() if token else "")
        data = rest[length:]
