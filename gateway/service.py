"""
Composes everything that a configuration asks for under one MultiService.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import Invalid, implementer
from zope.interface.verify import verifyObject

from gateway import plugins
from gateway.config import Config
from gateway.interfaces import IComposition, IServicePlugin
from gateway.monitor.health import Health, Readiness
from gateway.stream.core import Limits
from gateway.stream.link import Link
from gateway.tables import ComponentTable, ConfigError, HttpTable, ServerTable

_log = Logger()


def findPlugins() -> list[IServicePlugin]:
    """Every kind of service there is, ours and others'; what is not as it should be is passed over, and said."""
    found: dict[str, IServicePlugin] = {}
    for plugin in getPlugins(IServicePlugin, plugins):
        try:
            verifyObject(IServicePlugin, plugin)
        except Invalid as error:
            _log.critical("A plugin cannot be used: {error}", error=error)
            continue
        # Ours come first.
        if found.setdefault(plugin.kind, plugin) is not plugin:
            _log.critical(
                '{plugin!r} is not used: there is a plugin "{kind}" already.', plugin=plugin, kind=plugin.kind
            )
    return list(found.values())


def makeService(config: Config, reactor: Any) -> MultiService:
    """
    The whole gateway, not started. Its services are named C{kind:JID}, the HTTP server C{http}.

    @raise ConfigError: when something that the file names cannot be used.
    """
    try:
        os.makedirs(config.state_dir, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"state_dir: {config.state_dir} cannot be made: {error.strerror}"]) from error
    gateway = MultiService()
    composition = Composition(config, reactor)
    problems: list[str] = []
    for service in config.services:
        try:
            made = service.plugin.makeService(service.jid, service.table, composition)
        except ConfigError as error:
            problems += [f'{service.kind}."{service.jid}".{problem}' for problem in error.problems]
        else:
            made.setName(f"{service.kind}:{service.jid}")
            made.setServiceParent(gateway)
    if problems:
        raise ConfigError(problems)
    root = Resource()
    root.putChild(b"healthz", Health())
    root.putChild(b"readyz", Readiness(composition.links))
    http = HttpService(config.http, root, reactor)
    http.setName("http")
    http.setServiceParent(gateway)
    return gateway


@implementer(IComposition)
class Composition:
    """
    What plugins compose with.

    @ivar links: every link that was asked for.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        self._server: ServerTable = config.server
        self.stateDir = str(config.state_dir)
        self.reactor = reactor
        self.links: list[Link] = []

    def link(self, jid: str, table: ComponentTable) -> Link:
        endpoint = table.endpoint or self._server.endpoint
        secret = table.secret or self._server.secret
        # The configuration is refused when either is missing.
        assert endpoint is not None and secret is not None
        link = Link(
            self.reactor,
            clientFromString(self.reactor, endpoint),
            jid,
            secret,
            Limits(stanzaSize=self._server.max_stanza_size),
            # A component with an endpoint of its own is on another server, whose name is not known here.
            domain=None if table.endpoint else self._server.domain,
        )
        self.links.append(link)
        return link


class QuietSite(Site):
    """Says nothing of each request: health is asked for every few seconds, and the log is for people."""

    noisy = False

    def log(self, request: Request) -> None:
        """Not in the log."""


class HttpService(Service):
    """
    The HTTP server.

    @param table: C{None} if the configuration does not speak of it: then the default is tried, and that its port
        is taken, by another gateway perhaps, keeps nothing from running.
    """

    def __init__(self, table: HttpTable | None, root: Resource, reactor: Any) -> None:
        self._required = table is not None
        self._listen = (table or HttpTable()).listen
        self._endpoint = serverFromString(reactor, self._listen)
        self._site = QuietSite(root, reactor=reactor)
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        super().startService()
        failures: list[Failure] = []
        self._endpoint.listen(self._site).addCallbacks(self._listening, failures.append)
        # Whether an address is free is known at once.
        if failures:
            self._cannotListen(failures[0])

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        return None if self._port is None else self._port.stopListening()

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def _cannotListen(self, failure: Failure) -> None:
        message = f"http.listen: {self._listen} cannot be listened on: {failure.getErrorMessage()}"
        if self._required:
            raise SystemExit(message)
        _log.warn("{message}. The gateway runs without HTTP.", message=message)
