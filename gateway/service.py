"""
Compose all services of a configuration under one MultiService.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from warnings import warn as deprecated

from attrs import fields
from twisted.application.service import MultiService
from twisted.internet.endpoints import clientFromString
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from zope.interface import Invalid, implementer
from zope.interface.verify import verifyObject

from gateway import plugins
from gateway.config import Config, load, readSecret
from gateway.config.tables import ComponentTable, ConfigError, HttpTable, Url, elided
from gateway.delegation.plugin import serveDelegatedNamespaces
from gateway.http.access import Gate
from gateway.http.agent import OwnAgent
from gateway.http.health import Health, Readiness
from gateway.http.listener import Listener
from gateway.http.site import QuietSite
from gateway.http.status import Status
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IDelegatedNamespace,
    IDelegationPlugin,
    IServerRequirements,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
)
from gateway.metrics import NO_METRICS, IMetrics
from gateway.pieces import Pieces, ReactorLag
from gateway.privilege.handler import PrivilegeHandler
from gateway.privilege.lending import Lending
from gateway.state import files
from gateway.state.database import Database
from gateway.stream.budget import Budget
from gateway.stream.core import Limits
from gateway.stream.instances import OtherInstances
from gateway.stream.link import Link
from gateway.stream.survey import NOTE, Survey

if TYPE_CHECKING:
    from gateway.embedded.host import EmbeddedHost

_log = Logger()

# Paths of the HTTP server that need no token: they reveal only if the gateway is up.
_FREE = frozenset({b"/healthz", b"/readyz"})


def findPlugins() -> list[IServicePlugin]:
    """Return all service plugins, the shipped ones and others. A broken plugin is skipped and logged."""
    return list(_findPlugins(IServicePlugin, "kind").values())


def _findPlugins(interface: Any, name: str) -> dict[str, Any]:
    """
    Return all plugins that provide an interface.

    @param name: the attribute that identifies a plugin, and is the key of the result.
    """
    found: dict[str, Any] = {}
    for plugin in getPlugins(interface, plugins):
        try:
            verifyObject(interface, plugin)
        except Invalid as error:
            _log.critical("A plugin is ignored, because it is not valid: {error}", error=error)
            continue
        # The shipped plugins come first.
        own = getattr(plugin, name)
        if found.setdefault(own, plugin) is not plugin:
            _log.critical('{plugin!r} is ignored: there is already a plugin "{name}".', plugin=plugin, name=own)
    return found


def read(path: Path | None, reactor: Any) -> Config:
    """
    Read a configuration file, and L{check} it.

    @param path: as in L{load}.
    @raise ConfigError: with all problems, those of the file and those that L{check} finds.
    """
    return load(path, findPlugins(), reactor, _problems)


def check(config: Config) -> None:
    """
    Check the environment of the gateway: the state folder, and the checks of the plugins. Create nothing.

    @raise ConfigError: with all problems found.
    """
    problems = _problems(config)
    if problems:
        raise ConfigError(problems)


def _problems(config: Config) -> list[str]:
    unusable = files.folderProblem(config.state_dir)
    problems = [f"state_dir: {unusable}"] if unusable else []
    environment = ServiceEnvironment(config)
    for service in config.services:
        if IConfigCheck.providedBy(service.plugin):
            found = IConfigCheck(service.plugin).check(service.jid, service.table, environment)
            problems += [f'{service.kind}."{service.jid}".{problem}' for problem in found]
    return problems


def warnings(config: Config) -> list[str]:
    """
    Return warnings about faults that do not prevent the gateway from starting: a state folder or a file with
    secrets that every user of the machine can read, and the warnings of the plugins.
    """
    found = list(files.openFilesIn(config.state_dir))
    tables = [config.server, config.embedded, config.http, *(service.table for service in config.services)]
    named = {Path(name) for table in tables if table is not None for name in _fileNames(table)}
    if config.file is not None and any(_holdsSecret(table) for table in tables if table is not None):
        named.add(config.file)
    found += [warning for warning in map(files.openToOthers, sorted(named)) if warning]
    environment = ServiceEnvironment(config)
    for service in config.services:
        if IConfigWarnings.providedBy(service.plugin):
            told = IConfigWarnings(service.plugin).warnings(service.jid, service.table, environment)
            found += [f'{service.kind}."{service.jid}": {each}' for each in told]
    return list(dict.fromkeys(found))


def notes(config: Config) -> list[str]:
    """Return the needs of the server's configuration, as plugins know them; and what C{--check} cannot find out."""
    environment = ServiceEnvironment(config)
    found = [
        f'{service.kind}."{service.jid}".{note}'
        for service in config.services
        if IServerRequirements.providedBy(service.plugin)
        for note in IServerRequirements(service.plugin).notes(service.jid, service.table, environment)
    ]
    return found if environment.isEmbedded else [*found, NOTE]


def _fileNames(table: Any) -> Iterator[str]:
    """Yield the file names in a table; these files hold keys, tokens or secrets."""
    for each in fields(type(table)):
        if each.name.endswith("_file") and getattr(table, each.name) is not None:
            yield getattr(table, each.name)


def _holdsSecret(table: Any) -> bool:
    """True if the table itself contains a secret: as the value of a secret key, or in the query of a URL."""
    for each in fields(type(table)):
        value = getattr(table, each.name)
        if each.repr is not False or not value or getattr(table, f"{each.name}_file", None) is not None:
            continue
        if Url not in get_args(each.type) or elided(value) != value:
            return True
    return False


def makeService(
    config: Config,
    reactor: Any,
    wallClock: Callable[[], float] | None = None,
    gateway: MultiService | None = None,
    metrics: IMetrics = NO_METRICS,
) -> MultiService:
    """
    Return the whole gateway, not started. Its services are named C{kind:JID}, the HTTP server C{http}.

    @param config: as L{read} returns it: checked.
    @param wallClock: as L{IServiceBuilder.wallClock}; by default the reactor's clock, for tests with one clock.
    @param gateway: the parent of all services, which is returned; by default a new one.
    @param metrics: takes the metrics of all services.
    @raise ConfigError: if something that the file names cannot be used.
    """
    for each in warnings(config):
        _log.warn("{found}", found=each)
    wallClock = wallClock or reactor.seconds
    try:
        files.makeFolder(config.state_dir)
    except OSError as error:
        raise ConfigError([f"state_dir: {config.state_dir} cannot be created: {error.strerror}"]) from error
    gateway = MultiService() if gateway is None else gateway
    root = Resource()
    table = config.http or HttpTable()
    token = None if table.token_file is None else readSecret(table.token_file)
    gate = Gate(token, table.hosts, _FREE)
    # If [http] is not configured, the default port may be in use, for instance by another gateway.
    site = QuietSite(root, gate, reactor)
    http = Listener("http.listen", table.listen, site, reactor, config.http is not None)
    if metrics.isRecording:
        site.measure(metrics)
        ReactorLag(reactor, metrics).setServiceParent(gateway)
    http.setName("http")
    http.setServiceParent(gateway)
    try:
        host = _embeddedHost(config, http, reactor, wallClock)
    except OSError as error:
        path = error.filename or config.state_dir
        raise ConfigError([f"state_dir: {path} cannot be used: {error.strerror}"]) from error
    if host is not None:
        host.setServiceParent(gateway)
    composition = ServiceBuilder(config, host, OwnAgent(http, token, reactor), reactor, wallClock, metrics)
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
    root.putChild(b"healthz", Health())
    root.putChild(b"readyz", Readiness(composition.links, composition.databases))
    root.putChild(b"status", Status(composition.links, composition.databases))
    for name, resource in composition.served.items():
        root.putChild(name.encode(), resource)
    return gateway


def _embeddedHost(
    config: Config, http: Listener, reactor: Any, wallClock: Callable[[], float]
) -> EmbeddedHost | None:
    if config.embedded is None:
        return None
    # Imported here, because a gateway on a real server needs neither this package nor its dependencies.
    from gateway.embedded.host import EmbeddedHost

    services: dict[str, list[str]] = {}
    for service in config.services:
        services.setdefault(service.kind, []).append(service.jid)
    return EmbeddedHost(
        config.embedded, services, config.state_dir, reactor, sys.stdout.write, lambda: http.url, wallClock
    )


@implementer(IServiceEnvironment)
class ServiceEnvironment:
    """The environment that plugins check before they make their services."""

    def __init__(self, config: Config) -> None:
        self.stateDir = str(config.state_dir)
        self.isEmbedded = config.embedded is not None
        self.components = {service.jid for service in config.services}
        if config.embedded is not None:
            self.components |= config.embedded.components.keys()

    def delegationPlugins(self) -> dict[str, IDelegationPlugin]:
        return _findPlugins(IDelegationPlugin, "name")


@implementer(IServiceBuilder)
class ServiceBuilder(ServiceEnvironment):
    """
    Builds the parts of services for their plugins.

    @ivar links: all links made so far.
    @ivar databases: all databases made so far.
    @ivar served: the resources of the HTTP server, by the first segment of their path.
    """

    def __init__(
        self,
        config: Config,
        host: EmbeddedHost | None,
        ownAgent: IAgent,
        reactor: Any,
        wallClock: Callable[[], float] | None = None,
        metrics: IMetrics = NO_METRICS,
    ) -> None:
        super().__init__(config)
        self.metrics = metrics
        self.wallClock = wallClock or reactor.seconds
        self.ownAgent = ownAgent
        self._server = config.server
        self._host = host
        self.reactor = reactor
        self.pieces = Pieces(reactor)
        self.links: list[Link] = []
        self._surveys: dict[Link, Survey] = {}
        self.databases: list[Database] = []
        self.served: dict[str, Resource] = {}

    def serve(self, name: str) -> Resource:
        return self.served.setdefault(name, Resource())

    def link(self, jid: str, table: ComponentTable) -> Link:
        # A component with an endpoint of its own is on another server, so the domain and limits of [server] do not
        # apply to it.
        limits, budget = Limits(), Budget()
        domain: str | None = None
        endpoint = None if table.endpoint is None else clientFromString(self.reactor, table.endpoint)
        secret = table.secret
        if self._server is not None:
            limits = Limits(
                stanzaSize=self._server.max_stanza_size, outgoingSize=self._server.max_outgoing_stanza_size
            )
            budget = Budget(self._server.answer_budget)
            secret = secret or self._server.secret
            if endpoint is None:
                domain = self._server.domain
                endpoint = clientFromString(self.reactor, self._server.endpoint)
        elif endpoint is None:
            assert self._host is not None
            secret = secret or secrets.token_hex()
            self._host.admit(jid, secret)
            endpoint, domain = self._host.componentEndpoint, self._host.domain
        # The configuration reader has refused a table without them.
        assert endpoint is not None and secret is not None
        where = table.endpoint or (self._server and self._server.endpoint) or "the embedded host"
        link = Link(
            self.reactor,
            endpoint,
            jid,
            secret,
            limits,
            domain=domain,
            where=where,
            instances=OtherInstances(jid, secrets.token_hex(8)),
            budget=budget,
            metrics=self.metrics.scope("component", jid),
        )
        self.links.append(link)
        if domain is not None:
            self.survey(link, domain)
        return link

    def survey(self, link: Link, server: str) -> Survey:
        survey = self._surveys.get(link)
        if survey is None:
            survey = self._surveys[link] = Survey(server, link.jid, self.reactor)
            survey.setHandlerParent(link)
        return survey

    def database(self, name: str, schema: tuple[str, ...]) -> Database:
        path = Path(self.stateDir, name)
        try:
            made = Database(path, schema, self.reactor)
        except OSError as error:
            raise ConfigError([f"state_dir: {path} cannot be created: {error.strerror}"]) from error
        if self.metrics.isRecording:
            made.measure(self.metrics.scope("file", name))
        self.databases.append(made)
        return made

    def privileges(self, link: Link, servers: Iterable[str]) -> PrivilegeHandler:
        handler = PrivilegeHandler(servers)
        handler.setHandlerParent(link)
        return handler

    def lend(self, privileges: PrivilegeHandler, server: str, entities: Iterable[str]) -> Callable[[str], object]:
        lending = Lending(privileges, server, entities)
        lending.setHandlerParent(privileges.parent)
        return lending.onAvailable

    def serveDelegatedNamespaces(self, link: Link, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
        serveDelegatedNamespaces(link, servers, handler)

    def answers(self, link: Link, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
        """Call L{serveDelegatedNamespaces}; the deprecated name of it."""
        deprecated("IServiceBuilder.answers is deprecated; use serveDelegatedNamespaces", DeprecationWarning, 2)
        self.serveDelegatedNamespaces(link, servers, handler)
