"""
The whole gateway on a reactor in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from gateway.composition import service
from gateway.metrics.prometheus import PrometheusMetrics
from gateway.testing.http import PORT, Call, Response, calls, request
from gateway.testing.server import ServerSide
from gateway.testing.wire import HEADER, MemoryTransport, children

P = ParamSpec("P")

# Added to the tables of a test that names no host for its components.
_SERVER = '\n[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "secret"\ndomain = "example.com"\n'
_NAMES_HOST = re.compile(r"^\[(server|embedded)\b", re.MULTILINE)


class _Worker:
    """A thread of a store whose calls are done before they return."""

    def __init__(self, name: str) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""

    stop = start

    def isDone(self, seconds: float) -> bool:
        """Return true."""
        return True

    def call(self, act: Callable[[Any], object], argument: Any) -> None:
        act(argument)


class _Reactor(MemoryReactorClock):
    """A running reactor whose stores use no threads."""

    makeWorker = _Worker

    def callWhenRunning(self, callable: Callable[P, object], *args: P.args, **kw: P.kwargs) -> None:  # noqa: A002  # Twisted's name
        callable(*args, **kw)

    def callFromThread(self, call: Callable[P, object], *args: P.args, **kw: P.kwargs) -> None:
        call(*args, **kw)


class ComponentSide(ServerSide):
    """
    The server's side of one connection of a component of a L{MemoryGateway}. It accepts the component.

    @ivar place: host and port of the endpoint.
    @ivar proof: the content of the component's C{<handshake/>}.
    """

    def __init__(self, transport: MemoryTransport, place: tuple[str, int], reactor: MemoryReactorClock) -> None:
        self._transport, self.place, self._reactor = transport, place, reactor
        transport.say(HEADER.encode())
        [shown] = children(transport.value())
        self.proof = shown.text
        transport.clear()
        transport.say(b"<handshake/>")

    def send(self, xml: str | bytes) -> None:
        super().send(xml)
        # What is stored first is sent at the end of the reactor turn.
        self._reactor.advance(0)

    @property
    def transport(self) -> MemoryTransport:
        return self._transport


class MemoryGateway:
    """
    A gateway that runs on a configuration. It starts at once; L{stop} stops it.

    @ivar folder: the folder.
    @ivar reactor: its reactor and clock.
    @ivar service: the gateway's service; C{service.getServiceNamed("kind:JID")} is that of one table.
    @ivar refuses: true if new connections are refused.
    @param folder: a folder for the configuration file and C{state_dir}; it is made if it does not exist.
    @param tables: the text of the configuration, such as C{[version."version.example.com"]}. Without a C{[server]}
        or C{[embedded]} table, the components connect to the server C{example.com}. With C{[embedded]}, too, the
        test is the server of the gateway's own components; to connect to the embedded host, use L{accepted}.
    @raise gateway.config.tables.ConfigError: if the configuration is refused.
    """

    def __init__(self, folder: Path | str, tables: str) -> None:
        self.refuses = False
        self.reactor = _Reactor()
        self._sides: dict[str, ComponentSide] = {}
        self._others: list[tuple[MemoryTransport, tuple[str, int]]] = []
        self._answered = 0
        self.folder = Path(folder).absolute()
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "gateway.toml"
        path.write_text(tables if _NAMES_HOST.search(tables) else tables + _SERVER)
        config = service.read(path, self.reactor)
        self.service = service.makeService(config, self.reactor, metrics=PrometheusMetrics())
        self.service.startService()

    def stop(self) -> None:
        """Stop the gateway, and let 20 seconds pass; its connections stay open."""
        self.service.stopService()
        self.wait(20)
        for call, arguments, more in self.reactor.triggers.pop("during", {}).get("shutdown", ()):
            # Closes the stores.
            call(*arguments, **more)

    # Time.

    def wait(self, seconds: float) -> None:
        """Let time pass, half a second at a time. Connections that the gateway makes meanwhile are accepted."""
        for _ in range(round(seconds * 2)):
            self.reactor.advance(0.5)
            self._connect()

    def until(self, happens: Callable[[], object], atMost: float = 120) -> float | None:
        """
        Let time pass until something happens.

        @param happens: called each half second; returns a true value if it has happened.
        @return: the seconds; C{None} if it did not happen.
        """
        for halves in range(round(atMost * 2)):
            self._connect()
            if happens():
                return halves / 2
            self.wait(0.5)
        return None

    # Connections of the gateway to others.

    def server(self, component: str) -> ComponentSide:
        """
        Return the server's side of the newest connection of a component.

        @raise AssertionError: if it has not connected.
        """
        self._connect()
        assert component in self._sides, f"{component} has not connected; others: {sorted(self._sides)}"
        return self._sides[component]

    def calls(self) -> list[Call]:
        """Return the HTTP requests to other programs since the last call."""
        self._connect()
        found = [call for transport, place in self._others for call in calls(transport, place)]
        self._others = [each for each in self._others if not each[0].lost]
        return found

    def _connect(self) -> None:
        self.reactor.advance(0)
        waiting = self.reactor.tcpClients[self._answered :]
        connectors = self.reactor.connectors[self._answered :]
        self._answered += len(waiting)
        for (host, port, factory, *_), connector in zip(waiting, connectors, strict=True):
            if connector.stoppedConnecting:
                continue
            if self.refuses:
                factory.clientConnectionFailed(connector, Failure(ConnectError(string="refused")))
                continue
            transport = MemoryTransport(self.reactor)
            transport.connect(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", port)))
            component = re.search(rb"<stream:stream .* to='([^']*)'>", transport.value())
            if component is None:
                self._others.append((transport, (host, port)))
            else:
                self._sides[component[1].decode()] = ComponentSide(transport, (host, port), self.reactor)

    # Connections of others to the gateway.

    @property
    def listening(self) -> list[tuple[str, int]]:
        """Interfaces and ports that the gateway listens on."""
        return [(interface, port) for port, _, _, interface in self.reactor.tcpServers]

    def accepted(self, port: int) -> Any:
        """Connect to a port of the gateway; return the protocol of the connection, which has no transport yet."""
        protocol = self._factory(port).buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))
        assert protocol is not None
        return protocol

    def _factory(self, port: int) -> IProtocolFactory:
        [factory] = [factory for number, factory, *_ in self.reactor.tcpServers if number == port]
        return factory

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """
        Send an HTTP request to the gateway's default port.

        @param body: JSON.
        @param headers: further headers, with C{_} in place of C{-}, such as C{Authorization} and C{Content_Type}.
        """
        site = self._factory(PORT)
        found = request(site, self.reactor, method, path, body, **headers)
        self.reactor.advance(0)
        return found
