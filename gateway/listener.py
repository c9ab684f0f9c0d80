"""
A listening port as a service: that its address cannot be had is known, and said, at the start.
"""

from __future__ import annotations

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
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from gateway.errors import StartFailed

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # only compared with


class Listener(Service):
    """
    One address that is listened on while the service runs.

    @ivar key: the key of the configuration that decides it.
    @param required: whether L{StartFailed} is raised when the address is taken; else it goes on without.
    """

    _log = Logger()

    def __init__(
        self, key: str, listen: str, factory: IProtocolFactory, reactor: Any, required: bool = True
    ) -> None:
        self.key = key
        self._listen = listen
        self._factory = factory
        # Twisted's log says who listens by this name.
        alsoProvides(factory, ILoggingContext)
        factory.logPrefix = lambda: key  # type: ignore[attr-defined]  # as the interface wants it
        self._endpoint = serverFromString(reactor, listen)
        self._required = required
        self._port: IListeningPort | None = None

    @property
    def address(self) -> IAddress:
        """Where it listens; only while it does."""
        assert self._port is not None
        return self._port.getHost()

    @property
    def isListening(self) -> bool:
        return self._port is not None

    @property
    def url(self) -> str:
        """What it serves to web browsers; empty if there is no such URL."""
        if self._port is None or isinstance(self.address, UNIXAddress):
            return ""
        host, port = reachable(self.address)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def startService(self) -> None:
        super().startService()
        failures: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._listening, failures.append)
        # Whether an address is free is known at once.
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
            f"cannot listen on {self._listen}"
        )
        if self._required:
            raise StartFailed(message)
        # Not as "message": observers of Twisted's older kind take that word away from those after them.
        self._log.warn("{problem}. The gateway runs without it.", problem=message)


@implementer(IStreamClientEndpoint)
class ListenerEndpoint:
    """Leads to a listener of this process, wherever that listens by now."""

    def __init__(self, listener: Listener, reactor: Any) -> None:
        self._listener = listener
        self._reactor = reactor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        if not self._listener.isListening:
            return fail(ConnectError(string=f"{self._listener.key} is not listened on"))
        endpoint = clientFromString(self._reactor, reach(self._listener.address))
        connecting: Deferred[Any] = endpoint.connect(protocolFactory)
        return connecting


def reach(address: IAddress) -> str:
    """A listening address as a client endpoint string."""
    if isinstance(address, UNIXAddress):
        return f"unix:path={quoteStringArgument(show(address))}"
    host, port = reachable(address)
    return f"tcp:host={quoteStringArgument(host)}:port={port}"


def reachable(address: IAddress) -> tuple[str, int]:
    """Host and port at which a listening TCP address is reached from here."""
    assert isinstance(address, IPv4Address | IPv6Address)
    # What listens everywhere listens here.
    return {_EVERYWHERE: "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port


def show(address: IAddress) -> str:
    """A listening address, for people."""
    if isinstance(address, UNIXAddress):
        return (address.name or b"").decode()
    assert isinstance(address, IPv4Address | IPv6Address)
    return f"{address.host}:{address.port}"
