"""
C{[delegation."component JID"]}: the table of the configuration, and the service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import field, frozen
from twisted.application.service import IService
from twisted.plugin import IPlugin
from wokkel.disco import DiscoHandler
from zope.interface import implementer

from gateway import ns
from gateway.config.repairs import meant
from gateway.config.tables import ComponentTable, ConfigError, Domain, Jids, Namespace
from gateway.delegation import tour
from gateway.delegation.client_mode import ClientMode
from gateway.delegation.delegations import Delegation
from gateway.delegation.forwarder import Forwarder
from gateway.delegation.handler import ManagingHandler
from gateway.delegation.managing import Route
from gateway.delegation.private import PrivateStorage
from gateway.delegation.readthrough import ReadThrough
from gateway.delegation.store import MIGRATIONS, PrivateFile
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IDelegatedNamespace,
    IDelegationPlugin,
    IGuide,
    IImportingPlugin,
    IPrivileges,
    IServerConfiguration,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
)
from gateway.requirements import Delegation as Delegated
from gateway.requirements import Module, Privilege, Remark, Requirement
from gateway.stream.link import Link


@frozen(kw_only=True)
class NamespaceTable:
    """
    The keys of one namespace.

    @ivar handler: name of a plugin.
    @ivar jid: managing entities; requests are forwarded to the first one that is available.
    @ivar filtering: only requests whose payload has all of these attributes are forwarded.
    @ivar import_: true if the handler fetches the elements that the server has stored.
    """

    handler: str | None = None
    jid: Jids | None = None
    filtering: frozenset[str] = frozenset()
    import_: bool = False


@frozen(kw_only=True)
class DelegationTable(ComponentTable):
    """
    The keys of C{[delegation."component JID"]}; see docs/delegation.md.

    @ivar servers: domains of the servers whose delegations are accepted.
    @ivar users: domains whose users may delegate namespaces for themselves (client mode).
    @ivar lend_privileges: managing entities that may use the component's own privileges.
    @ivar namespaces: the handlers and managing entities of each namespace.
    """

    servers: frozenset[Domain] = frozenset()
    users: frozenset[Domain] = frozenset()
    lend_privileges: frozenset[Domain] = frozenset()
    namespaces: dict[Namespace, NamespaceTable] = field(factory=dict)


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


@implementer(IPlugin, IServicePlugin, IConfigCheck, IConfigWarnings, IServerConfiguration, ITourStop)
class DelegationPlugin:
    """Plugin for C{[delegation]}."""

    kind = "delegation"
    table = DelegationTable

    def check(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[str]:
        plugins = environment.delegationPlugins()
        problems = []
        if not table.servers | table.users:
            problems.append(
                "servers: found none; allowed: the domains of the servers that may delegate to this component"
            )
        if not table.namespaces:
            problems.append(
                "namespaces: found none; allowed: tables, such as "
                '"jabber:iq:private" = { handler = "private-storage" }'
            )
        for namespace, each in table.namespaces.items():
            key = f'namespaces."{namespace}"'
            if each.handler is None and each.jid is None:
                problems.append(
                    f"{key}: found neither handler nor jid; allowed: one of them, or both with filtering"
                )
            if each.handler is not None and each.handler not in plugins:
                allowed = ", ".join(sorted(plugins))
                advice = meant(each.handler, plugins) or "install the plugin that has this name"
                problems.append(
                    f'{key}.handler: found "{each.handler}"; allowed: the name of a plugin: {allowed}; {advice}'
                )
            if each.handler is not None and each.jid is not None and not each.filtering:
                problems.append(
                    f"{key}.handler: found together with jid; allowed: both only with filtering, which selects the "
                    "requests for jid"
                )
            if each.filtering and each.jid is None:
                problems.append(
                    f"{key}.filtering: found without jid; allowed: only with jid; add jid, or remove filtering"
                )
            if jid in (each.jid or ()):
                advice = "if the gateway serves the namespace itself, set handler in place of jid"
                problems.append(
                    f"{key}.jid: found the component itself; allowed: other managing entities; {advice}"
                )
            if each.import_ and not IImportingPlugin.providedBy(plugins.get(each.handler or "")):
                found = "no handler" if each.handler is None else f'handler = "{each.handler}"'
                allowed = 'with a handler that supports it, such as "private-storage"'
                problems.append(f"{key}.import: found true with {found}; allowed: {allowed}")
        problems += _lendingProblems(table)
        for name in sorted({each.handler for each in table.namespaces.values() if each.handler in plugins}):
            if IConfigCheck.providedBy(plugins[name]):
                problems += IConfigCheck(plugins[name]).check(jid, table, environment)
        return problems

    def warnings(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[str]:
        plugins = environment.delegationPlugins()
        found: list[str] = []
        for name in sorted({each.handler for each in table.namespaces.values() if each.handler in plugins}):
            if IConfigWarnings.providedBy(plugins[name]):
                found += IConfigWarnings(plugins[name]).warnings(jid, table, environment)
        return found

    def requirements(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[Requirement]:
        found: list[Requirement] = []
        for server in sorted(table.servers):
            for namespace, each in table.namespaces.items():
                # With a handler, requests that the filter does not select are needed as well.
                filtering = () if each.handler is not None else tuple(sorted(each.filtering))
                found.append(Delegated(server, namespace, filtering))
                if each.import_:
                    found += [Privilege(server, "iq", "get", namespace), Module(server, "private")]
        if table.lend_privileges:
            entities = ", ".join(sorted(table.lend_privileges))
            found.append(Remark(f"grant it the privileges that {entities} needs: lend_privileges passes them on"))
        return found

    def makeService(self, jid: str, table: DelegationTable, composition: IServiceBuilder) -> IService:
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
                problems.append(_wrongHandler(namespace, str(each.handler), handler.namespaces))
            delegation = None if each.jid is None else Delegation(namespace, each.jid, each.filtering)
            routes[namespace] = Route(handler, delegation)
        if problems:
            raise ConfigError(problems)
        manage(link, routes, table.servers, table.users, onAvailable)
        return link

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {
            f"delegate.{domain}": {"servers": [domain], "namespaces": {ns.PRIVATE: {"handler": "private-storage"}}}
        }

    async def tour(self, guide: IGuide, jid: str) -> None:
        await tour.show(guide, jid)


@implementer(IPlugin, IDelegationPlugin, IImportingPlugin, IConfigCheck, IConfigWarnings)
class PrivateStoragePlugin:
    """Plugin for C{handler = "private-storage"}."""

    name = "private-storage"

    def check(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[str]:
        problem = environment.storeProblem(_fileName(jid), MIGRATIONS)
        problems = [f"{environment.stateKey}: {problem}"] if problem else []
        for namespace, each in table.namespaces.items():
            if each.handler == self.name and namespace != ns.PRIVATE:
                problems.append(_wrongHandler(namespace, self.name, [ns.PRIVATE]))
        return problems

    def warnings(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[str]:
        """Warn before the first start of the data that the delegation hides from users."""
        each = table.namespaces.get(Namespace(ns.PRIVATE))
        imports = each is None or each.import_
        if imports or environment.isEmbedded or environment.hasStore(_fileName(jid)):
            return []
        hidden = "users will no longer see the data that they have stored with the server"
        advice = 'set "import = true", or see docs/delegation.md, "What the server had stored"'
        return [f'namespaces."{ns.PRIVATE}": {hidden}; {advice}']

    def makeHandler(self, jid: str, link: Link, composition: IServiceBuilder) -> IDelegatedNamespace:
        return PrivateStorage(_store(jid, composition))

    def makeImportingHandler(
        self,
        jid: str,
        link: Link,
        composition: IServiceBuilder,
        privileges: IPrivileges,
        servers: Iterable[str],
    ) -> IDelegatedNamespace:
        source = ReadThrough(privileges, servers, composition.reactor)
        source.setHandlerParent(link)
        return PrivateStorage(_store(jid, composition), source)


def _store(jid: str, composition: IServiceBuilder) -> PrivateFile:
    return PrivateFile(composition.store(_fileName(jid), MIGRATIONS))


def _lendingProblems(table: DelegationTable) -> Iterator[str]:
    count = len(table.servers)
    if table.lend_privileges and count != 1:
        yield f"lend_privileges: found {count} servers; allowed: one, the server whose privileges are lent"
    known = {jid for each in table.namespaces.values() for jid in each.jid or ()}
    for entity in sorted(table.lend_privileges - known):
        allowed = "components that are a jid in namespaces"
        yield f'lend_privileges: found "{entity}"; allowed: {allowed}; add it there, or remove it here'


def _wrongHandler(namespace: str, name: str, served: Iterable[str]) -> str:
    found = f'found {name}, which only serves {", ".join(sorted(served))}'
    return f'namespaces."{namespace}".handler: {found}; correct the namespace or the handler'


def _fileName(jid: str) -> str:
    """Return the name of a component's file of private data in the state folder."""
    return f"{jid}.private"
