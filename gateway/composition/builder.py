"""
Build the parts of one service for its plugin.

Modules that only some services need are imported when their parts are built.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn as deprecated

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString
from zope.interface import implementer

from gateway.composition.changes import linkSettings
from gateway.composition.checks import ServiceEnvironment
from gateway.composition.direct import DirectLinks
from gateway.composition.reader import Config
from gateway.config.tables import ComponentTable, ConfigError
from gateway.interfaces import (
    IDelegatedNamespace,
    IPrivileges,
    IServiceBuilder,
    IStore,
)
from gateway.metrics import NO_METRICS, IMetrics
from gateway.pieces import Pieces
from gateway.state import places
from gateway.state.database import Database
from gateway.state.guards import Guard
from gateway.state.migrations import Migrations
from gateway.state.sqlite import SchemaBackend
from gateway.stream.budget import Budget
from gateway.stream.core import Limits
from gateway.stream.instances import OtherInstances
from gateway.stream.lease import Lease
from gateway.stream.link import Link
from gateway.stream.outages import Outage
from gateway.stream.survey import Survey

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent

    from gateway.embedded.host import EmbeddedHost
    from gateway.http.served import Served
    from gateway.privilege.handler import PrivilegeHandler

# These modules, but for that of C{ownAgent}, which only the embedded host's services need.
LATE = ("gateway.delegation.compose", "gateway.http.served", "gateway.privilege.lending")


@implementer(IServiceBuilder)
class ServiceBuilder(ServiceEnvironment):
    """
    Builds the parts of one service for its plugin, and releases them when the service is removed.

    @ivar links: all links made so far.
    @ivar databases: all stores made so far.
    @ivar served: the resources of the HTTP server, by the first segment of their path.
    @param makeOwnAgent: makes C{ownAgent} (L{IServiceBuilder}).
    @param pieces: as L{IServiceBuilder.pieces}; by default, of this service alone.
    @param outages: those of each server, by its endpoint; by default, of this service alone.
    @param direct: the direct links; C{None} for none.
    @param lease: of the component, if other gateways may serve it.
    @param guard: the condition for changes of its stores, likewise.
    @param changed: called when links, databases or resources were added or removed.
    """

    def __init__(
        self,
        config: Config,
        host: EmbeddedHost | None,
        makeOwnAgent: Callable[[], IAgent],
        reactor: Any,
        wallClock: Callable[[], float] | None = None,
        metrics: IMetrics = NO_METRICS,
        pieces: Pieces | None = None,
        changed: Callable[[], object] = lambda: None,
        outages: MutableMapping[str, Outage] | None = None,
        direct: DirectLinks | None = None,
        lease: Lease | None = None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(config)
        self.metrics = metrics.group()
        self.wallClock = wallClock or reactor.seconds
        self._makeOwnAgent = makeOwnAgent
        self._server = config.server
        self._host = host
        self.reactor = reactor
        self.pieces = pieces or Pieces(reactor)
        self._changed = changed
        self._outages: MutableMapping[str, Outage] = {} if outages is None else outages
        self._direct = direct
        self._lease = lease
        self._guard = guard
        self.links: list[Link] = []
        self._surveys: dict[Link, Survey] = {}
        self.databases: list[Database] = []
        self._stores: dict[str, Database] = {}
        self.served: dict[str, Served] = {}

    @cached_property
    def ownAgent(self) -> IAgent:
        return self._makeOwnAgent()

    async def removeLinks(self) -> None:
        """Remove all links: the service does not exist any longer."""
        await gatherResults([self.removeLink(link) for link in list(self.links)], consumeErrors=True)

    async def closeDatabases(self) -> None:
        """Close all databases, after L{removeLinks}."""
        self.metrics.close()
        await gatherResults([each.closeLater() for each in self.databases], consumeErrors=True)

    def serve(self, name: str) -> Served:
        from gateway.http.served import Served

        return self.served.setdefault(name, Served(self._changed))

    def link(self, jid: str, table: ComponentTable) -> Link:
        settings = linkSettings(self._server, table)
        domain, secret = settings.domain, settings.secret
        if settings.endpoint is not None:
            endpoint = clientFromString(self.reactor, settings.endpoint)
        else:
            assert self._host is not None
            secret = secret or secrets.token_hex()
            self._host.admit(jid, secret)
            endpoint, domain = self._host.componentEndpoint, self._host.domain
        # The configuration reader has refused a table that has an endpoint but no secret.
        assert secret is not None
        where = settings.endpoint or "the embedded host"
        outage = self._outages.setdefault(where, Outage())
        link = Link(
            self.reactor,
            endpoint,
            jid,
            secret,
            Limits(stanzaSize=settings.stanzaSize, outgoingSize=settings.outgoingSize),
            domain=domain,
            where=where,
            outage=outage,
            instances=OtherInstances(jid, secrets.token_hex(8)),
            budget=Budget(settings.answerBudget),
            metrics=self.metrics.scope("component", jid),
            lease=self._lease,
        )
        self.links.append(link)
        if domain is not None:
            self.survey(link, domain)
        self._changed()
        return link

    def useDirectLinks(self, link: Link) -> None:
        if self._direct is not None:
            self._direct.add(link)

    def removeLink(self, link: Link) -> Deferred[None]:
        link.isFinal = True
        if link in self.links:
            self.links.remove(link)
            self._surveys.pop(link, None)
            self._changed()
        if link.parent is not None:
            link.disownServiceParent()
        return link.stopService().addCallback(self._onStopped, link)

    def _onStopped(self, result: None, link: Link) -> None:
        link.metrics.close()
        if self._direct is not None:
            self._direct.remove(link)
        if self._host is not None:
            self._host.dismiss(link.jid)

    def survey(self, link: Link, server: str) -> Survey:
        survey = self._surveys.get(link)
        if survey is None:
            survey = self._surveys[link] = Survey(server, link.jid, self.reactor)
            survey.setHandlerParent(link)
        return survey

    def store(self, name: str, migrations: Migrations) -> IStore:
        if name not in self._stores:
            place, guard = self._place, self._guard
            self._stores[name] = self._database(name, lambda: places.backend(place, name, migrations, guard))
        return self._stores[name]

    def database(self, name: str, schema: tuple[str, ...]) -> Database:
        """
        Return a store with tables that are created if they do not exist, always in a file; the deprecated way to
        get one.

        @param name: the name of the file.
        """
        deprecated("IServiceBuilder.database is deprecated; use store", DeprecationWarning, 2)
        return self._database(name, lambda: SchemaBackend(Path(self.stateDir, name), schema))

    def _database(self, name: str, makeBackend: Callable[[], Any]) -> Database:
        try:
            made = Database(makeBackend(), self.reactor)
        except OSError as error:
            path = Path(self.stateDir, name)
            raise ConfigError([f"state_dir: {path} cannot be created: {error.strerror}"]) from error
        made.measure(self.metrics.scope("file", name))
        self.databases.append(made)
        self._changed()
        return made

    def privileges(self, link: Link, servers: Iterable[str]) -> PrivilegeHandler:
        from gateway.privilege.handler import PrivilegeHandler

        handler = PrivilegeHandler(servers)
        handler.setHandlerParent(link)
        return handler

    def lend(self, privileges: IPrivileges, server: str, entities: Iterable[str]) -> Callable[[str], object]:
        from gateway.privilege.handler import PrivilegeHandler
        from gateway.privilege.lending import Lending

        if not isinstance(privileges, PrivilegeHandler):
            raise TypeError("privileges can be lent only if privileges() has returned them")
        lending = Lending(privileges, server, entities)
        lending.setHandlerParent(privileges.parent)
        return lending.onAvailable

    def serveDelegatedNamespaces(self, link: Link, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
        from gateway.delegation import compose

        compose.serveDelegatedNamespaces(link, servers, handler)

    def answers(self, link: Link, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
        """Call L{serveDelegatedNamespaces}; the deprecated name of it."""
        deprecated("IServiceBuilder.answers is deprecated; use serveDelegatedNamespaces", DeprecationWarning, 2)
        self.serveDelegatedNamespaces(link, servers, handler)
