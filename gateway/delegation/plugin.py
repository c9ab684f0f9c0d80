"""
The plugins of C{[delegation."component JID"]} and of the private storage.

This module is imported for every configuration. Modules that only a configured service needs are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.application.service import IService
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway import ns
from gateway.config.repairs import meant
from gateway.config.tables import Namespace
from gateway.delegation.tables import DelegationTable, lendingProblems, wrongHandler
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
        problems += lendingProblems(table)
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
        from gateway.delegation import compose

        return compose.makeService(jid, table, composition)

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {
            f"delegate.{domain}": {"servers": [domain], "namespaces": {ns.PRIVATE: {"handler": "private-storage"}}}
        }

    async def tour(self, guide: IGuide, jid: str) -> None:
        from gateway.delegation import tour

        await tour.show(guide, jid)


@implementer(IPlugin, IDelegationPlugin, IImportingPlugin, IConfigCheck, IConfigWarnings)
class PrivateStoragePlugin:
    """Plugin for C{handler = "private-storage"}."""

    name = "private-storage"

    def check(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[str]:
        from gateway.delegation import compose

        problems = compose.storeProblems(jid, environment)
        for namespace, each in table.namespaces.items():
            if each.handler == self.name and namespace != ns.PRIVATE:
                problems.append(wrongHandler(namespace, self.name, [ns.PRIVATE]))
        return problems

    def warnings(self, jid: str, table: DelegationTable, environment: IServiceEnvironment) -> list[str]:
        """Warn before the first start of the data that the delegation hides from users."""
        from gateway.delegation import compose

        each = table.namespaces.get(Namespace(ns.PRIVATE))
        imports = each is None or each.import_
        if imports or environment.isEmbedded or compose.hasStore(jid, environment):
            return []
        hidden = "users will no longer see the data that they have stored with the server"
        advice = 'on Prosody, set "import = true"; otherwise see docs/delegation.md, "What the server had stored"'
        return [f'namespaces."{ns.PRIVATE}": {hidden}; {advice}']

    def makeHandler(self, jid: str, link: Link, composition: IServiceBuilder) -> IDelegatedNamespace:
        from gateway.delegation import compose

        return compose.makePrivateStorage(jid, composition)

    def makeImportingHandler(
        self,
        jid: str,
        link: Link,
        composition: IServiceBuilder,
        privileges: IPrivileges,
        servers: Iterable[str],
    ) -> IDelegatedNamespace:
        from gateway.delegation import compose

        return compose.makeImportingStorage(jid, link, composition, privileges, servers)
