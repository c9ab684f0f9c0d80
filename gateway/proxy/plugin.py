"""
The plugin of C{[proxy."component JID"]}.

This module is imported for every configuration. Modules that only a configured service needs are not.
"""

from __future__ import annotations

from twisted.application.service import IService
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway.addresses import jids
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IGuide,
    IServerConfiguration,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
)
from gateway.proxy.tables import ProxyTable
from gateway.requirements import Remark


@implementer(IPlugin, IServicePlugin, IConfigCheck, IConfigWarnings, IServerConfiguration, ITourStop)
class ProxyPlugin:
    """Composes a client proxy."""

    kind = "proxy"
    table = ProxyTable

    def check(self, jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[str]:
        from gateway.proxy import compose

        problems = []
        if jids.split(table.target)[1] in environment.components:
            problems.append(
                f'target: found "{table.target}", on a component of this file; allowed: an account on a server, '
                "to which the implementing client logs in"
            )
        # Another gateway may get the answer. Without common tables, this one has no table of open exchanges.
        isApart = table.shared and not compose.hasCommonTables(table, environment)
        if isApart and table.outbound:
            problems.append(
                "outbound: found true with shared = true; allowed: one of them, or both with a PostgreSQL database "
                "in state.url"
            )
        if isApart and table.balance == "least-pending":
            problems.append(
                'balance: found "least-pending" with shared = true; allowed: "random", "round-robin", "sticky"; or '
                '"least-pending" with a PostgreSQL database in state.url'
            )
        if table.shared and table.standby:
            problems.append(
                "shared: found true with standby = true; allowed: one of them; shared lets all gateways serve the "
                "component, standby one of them"
            )
        if table.standby and table.key_file is None:
            problems.append(
                "key_file: found nothing with standby = true; allowed: a file with the same content on all "
                "gateways, or requesters would get other addresses after a takeover"
            )
        return problems + compose.keyProblems(jid, table, environment.stateDir)

    def warnings(self, jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[str]:
        from gateway.proxy import compose

        return compose.storeWarnings(jid, table, environment)

    def requirements(self, jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[Remark]:
        accept = f"in a client of {table.target}, accept its subscription request, as for any contact"
        return [Remark(f"when the component has connected, {accept}")]

    def makeService(self, jid: str, table: ProxyTable, composition: IServiceBuilder) -> IService:
        from gateway.proxy import compose

        return compose.makeService(jid, table, composition)

    def demoTables(self, domain: str) -> dict[str, dict[str, str]]:
        return {f"proxy.{domain}": {"target": f"implementation@{domain}"}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        from gateway.proxy import tour

        await tour.show(guide, jid)
