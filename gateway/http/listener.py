"""
A listening port as a service. If it cannot listen on its address, that is reported at the start.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from gateway.errors import StartFailed

_REMEDIES = {
    errno.EADDRINUSE: "; stop the program that uses it (ss -ltnp names it), or choose another port",
    errno.EADDRNOTAVAIL: "; choose an address of this machine",
    errno.EACCES: "; choose a port from 1024, or another folder for a socket, or permit it to the gateway's user",
}

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # only compared with


class Listener(Service):
    """
    Listens on one address while the service runs.

    @ivar key: the configuration key of the address.
    @param required: if true, L{StartFailed} is raised if the address is in use; if false, a warning is logged.
    """

    _log = Logger()

    def __init__(
        self, key: str, listen: str, factory: IProtocolFactory, reactor: Any, required: bool = True
    ) -> None:
        self.key = key
        self._listen = listen
        self._factory = factory
        # Twisted logs this name.
        alsoProvides(factory, ILoggingContext)
        factory.logPrefix = lambda: key  # type: ignore[attr-defined]  # as the interface wants it
        self._endpoint = serverFromString(reactor, listen)
        self._required = required
        self._port: IListeningPort | None = None

    @property
    def address(self) -> IAddress:
        """The address that it listens on; only available while it listens."""
        assert self._port is not None
        return self._port.getHost()

    @property
    def isListening(self) -> bool:
        return self._port is not None

    @property
    def url(self) -> str:
        """Base URL of a web server that listens here; empty if there is none."""
        if self._port is None or isinstance(self.address, UNIXAddress):
            return ""
        host, port = connectAddress(self.address)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def startService(self) -> None:
        super().startService()
        failures: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._listening, failures.append)
        # listen() fails at once if the address is in use.
        if failures:
            self._cannotListen(failures[0])

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        port, self._port = self._port, None
        return None if port is None else port.stopListening()

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def _cannotListen(self, failure: Failure) -> None:
        reason = getattr(failure.value, "socketError", None)
        message = (
            f"{self.key}: {getattr(reason, 'strerror', None) or failure.getErrorMessage()}: "
            f"cannot listen on {self._listen}{_REMEDIES.get(getattr(reason, 'errno', 0), '')}"
        )
        if self._required:
            raise StartFailed(message)
        # Not called "message": Twisted's legacy observers remove that key before later observers see it.
        self._log.warn("{problem}. The gateway runs without it.", event="http.not_listening", problem=message)


class LaterFactory(Factory[Any]):
    """
    A factory that is made when the first connection comes.

    @param make: makes it.
    """

    noisy = False

    def __init__(self, make: Callable[[], Factory[Any]]) -> None:
        self._make = make
        self._made: Factory[Any] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._made is None:
            self._made = self._make()
            if self.numPorts:
                self._made.doStart()
        return self._made.buildProtocol(addr)

    def startFactory(self) -> None:
        if self._made is not None:
            self._made.doStart()

    def stopFactory(self) -> None:
        if self._made is not None:
            self._made.doStop()


@implementer(IStreamClientEndpoint)
class ListenerEndpoint:
    """Connects to a listener of this process, at its current address."""

    def __init__(self, listener: Listener, reactor: Any) -> None:
        self._listener = listener
        self._reactor = reactor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        if not self._listener.isListening:
            return fail(ConnectError(string=f"{self._listener.key}: not listening"))
        endpoint = clientFromString(self._reactor, clientEndpointFor(self._listener.address))
        connecting: Deferred[Any] = endpoint.connect(protocolFactory)
        return connecting


def clientEndpointFor(address: IAddress) -> str:
    """Return the client endpoint string that connects to a listening address."""
    if isinstance(address, UNIXAddress):
        return f"unix:path={quoteStringArgument(describe(address))}"
    host, port = connectAddress(address)
    return f"tcp:host={quoteStringArgument(host)}:port={port}"


def connectAddress(address: IAddress) -> tuple[str, int]:
    """Return host and port at which this machine can connect to a listening TCP address."""
    assert isinstance(address, IPv4Address | IPv6Address)
    # A port that listens on all interfaces also listens on the loopback interface.
    return {_EVERYWHERE: "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port


def describe(address: IAddress) -> str:
    """Return a listening address as text for people."""
    if isinstance(address, UNIXAddress):
        return (address.name or b"").decode()
    assert isinstance(address, IPv4Address | IPv6Address)
    return f"{address.host}:{address.port}"
