"""
The composition of a managing entity, and of the private storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.application.service import IService
from wokkel.disco import DiscoHandler

from gateway.config.tables import ConfigError
from gateway.delegation.client_mode import ClientMode
from gateway.delegation.delegations import Delegation
from gateway.delegation.forwarder import Forwarder
from gateway.delegation.handler import ManagingHandler
from gateway.delegation.managing import Route
from gateway.delegation.private import PrivateStorage
from gateway.delegation.readthrough import ReadThrough
from gateway.delegation.store import MIGRATIONS, PrivateFile
from gateway.delegation.tables import DelegationTable, wrongHandler
from gateway.interfaces import (
    IDelegatedNamespace,
    IImportingPlugin,
    IPrivileges,
    IServiceBuilder,
    IServiceEnvironment,
)
from gateway.stream.link import Link


def manage(
    link: Link,
    routes: Mapping[str, Route],
    servers: frozenset[str],
    users: frozenset[str] = frozenset(),
    onAvailable: Callable[[str], object] | None = None,
) -> None:
    """
    Make a link's component a managing entity.

    @param routes: the route of each namespace.
    @param servers: domains of the servers that may delegate to it.
    @param users: domains whose users may delegate to it in client mode (section 5).
    @param onAvailable: is called with each managing entity that requests are forwarded to, when it has connected.
    """
    delegations = [route.delegation for route in routes.values() if route.delegation is not None]
    forwarder = Forwarder(delegations, link, onAvailable)
    clientMode = ClientMode(users, routes, link)
    ManagingHandler(servers, routes, forwarder, clientMode, users).setHandlerParent(link)
    DiscoHandler().setHandlerParent(link)


def serveDelegatedNamespaces(link: Link, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
    """See L{gateway.interfaces.IServiceBuilder.serveDelegatedNamespaces}."""
    manage(link, dict.fromkeys(handler.namespaces, Route(handler)), frozenset(servers))


def makeService(jid: str, table: DelegationTable, composition: IServiceBuilder) -> IService:
    """See L{gateway.interfaces.IServicePlugin.makeService}."""
    plugins = composition.delegationPlugins()
    link = composition.link(jid, table)
    # Handlers that act in users' names find it on the link.
    privileges = composition.privileges(link, table.servers)
    onAvailable = None
    if table.lend_privileges:
        [server] = table.servers
        onAvailable = composition.lend(privileges, server, table.lend_privileges)
    made: dict[str, IDelegatedNamespace] = {}
    importing = {each.handler for each in table.namespaces.values() if each.import_}
    for name in {each.handler for each in table.namespaces.values() if each.handler is not None}:
        if name in importing:
            plugin = IImportingPlugin(plugins[name])
            made[name] = plugin.makeImportingHandler(jid, link, composition, privileges, table.servers)
        else:
            made[name] = plugins[name].makeHandler(jid, link, composition)
    routes: dict[str, Route] = {}
    problems = []
    for namespace, each in table.namespaces.items():
        handler = None if each.handler is None else made[each.handler]
        if handler is not None and namespace not in handler.namespaces:
            problems.append(wrongHandler(namespace, str(each.handler), handler.namespaces))
        delegation = None if each.jid is None else Delegation(namespace, each.jid, each.filtering)
        routes[namespace] = Route(handler, delegation)
    if problems:
        raise ConfigError(problems)
    manage(link, routes, table.servers, table.users, onAvailable)
    return link


def makePrivateStorage(jid: str, composition: IServiceBuilder, source: ReadThrough | None = None) -> PrivateStorage:
    """
    Return the private storage of a component.

    @param source: has the elements that the users' servers have stored.
    """
    return PrivateStorage(PrivateFile(composition.store(_fileName(jid), MIGRATIONS)), source)


def makeImportingStorage(
    jid: str, link: Link, composition: IServiceBuilder, privileges: IPrivileges, servers: Iterable[str]
) -> PrivateStorage:
    """See L{gateway.interfaces.IImportingPlugin.makeImportingHandler}."""
    source = ReadThrough(privileges, servers, composition.reactor)
    source.setHandlerParent(link)
    return makePrivateStorage(jid, composition, source)


def storeProblems(jid: str, environment: IServiceEnvironment) -> list[str]:
    """Return the reasons why the private storage cannot be used."""
    problem = environment.storeProblem(_fileName(jid), MIGRATIONS)
    return [f"{environment.stateKey}: {problem}"] if problem else []


def hasStore(jid: str, environment: IServiceEnvironment) -> bool:
    """True if the private storage exists."""
    return environment.hasStore(_fileName(jid))


def _fileName(jid: str) -> str:
    """Return the name of a component's file of private data in the state folder."""
    return f"{jid}.private"
