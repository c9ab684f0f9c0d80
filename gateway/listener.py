"""
A listening port as a service: that its address cannot be had is known, and said, at the start.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, ILoggingContext, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides


class Listener(Service):
    """
    One address that is listened on while the service runs.

    @ivar key: the key of the configuration that decides it.
    @param required: whether the process ends when the address is taken; else it goes on without.
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
            f"{self.key}: {self._listen} cannot be listened on: "
            f"{getattr(reason, 'strerror', None) or failure.getErrorMessage()}"
        )
        if self._required:
            raise SystemExit(message)
        # Not as "message": observers of Twisted's older kind take that word away from those after them.
        self._log.warn("{problem}. The gateway runs without it.", problem=message)
