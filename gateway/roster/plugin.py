"""
The plugin of C{[roster."component JID"]}.

This module is imported for every configuration. Modules that only a configured service needs are not.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway.config.tables import elided
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IGuide,
    IServerConfiguration,
    IServerRequirements,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
)
from gateway.requirements import Requirement, ejabberd
from gateway.roster.advice import pushAdvice, serverRequirements
from gateway.roster.tables import RosterTable

_URL = """the address of a user's contacts, with %s once, where the user name goes, such as \
"http://127.0.0.1:8000/contacts/%s\""""


@implementer(
    IPlugin, IServicePlugin, IConfigCheck, IConfigWarnings, IServerConfiguration, IServerRequirements, ITourStop
)
class RosterPlugin:
    """Composes rosters from a web application."""

    kind = "roster"
    table = RosterTable

    def check(self, jid: str, table: RosterTable, environment: IServiceEnvironment) -> list[str]:
        problems = []
        for other, its in environment.tables(RosterTable).items():
            if other == jid:
                break
            if its.domain == table.domain:
                allowed = f'one [roster] for each; remove this one or [roster."{other}"]'
                problems.append(f'domain: found "{table.domain}" a second time; allowed: {allowed}')
        if table.url is None and not environment.isEmbedded:
            problems.append(f"url: found nothing; allowed: {_URL}")
        if table.url is not None and table.url.count("%s") != 1:
            problems.append(f'url: found "{elided(table.url)}"; allowed: {_URL}')
        if table.apply == "ejabberd-api" and table.api is None:
            problems.append(
                'api: found nothing; required with apply = "ejabberd-api"; add the address of ejabberd\'s HTTP '
                f'API, such as "{ejabberd.API}"'
            )
        if table.apply == "privilege" and table.api is not None:
            allowed = 'with "auto" or "ejabberd-api"; remove api or apply'
            problems.append(f'api: found with apply = "privilege"; allowed: {allowed}')
        if table.probes and table.api is not None:
            problems.append("probes: found true; allowed: without api only; remove probes, or api on Prosody")
        if table.offline != "apply" and table.api is not None:
            # Otherwise a user who is online might wait for the next login.
            problems.append(
                f'offline: found "{table.offline}"; allowed: "apply" with api: ejabberd does not show who is online'
            )
        if table.signature_secret == "":
            advice = "remove the key if requests are not signed"
            problems.append(f"signature_secret: found an empty string; allowed: a secret; {advice}")
        return problems

    def warnings(self, jid: str, table: RosterTable, environment: IServiceEnvironment) -> list[str]:
        from gateway.roster import compose

        return compose.storeWarnings(jid, environment)

    def notes(self, jid: str, table: RosterTable, environment: IServiceEnvironment) -> list[str]:
        notes = []
        if table.lock and table.api is None and not environment.isEmbedded:
            notes.append(f"lock: the server must delegate rosters. {pushAdvice(jid, table.domain)}")
        if table.probes:
            notes.append(f'probes: in Prosody, Component "{jid}" needs validate_from_addresses = false')
        return notes

    def requirements(self, jid: str, table: RosterTable, environment: IServiceEnvironment) -> list[Requirement]:
        return serverRequirements(table.domain, table.api, table.lock, table.probes)

    def makeService(self, jid: str, table: RosterTable, composition: IServiceBuilder) -> IService:
        from gateway.roster import compose

        return compose.makeService(jid, table, composition)

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {f"roster.{domain}": {"domain": domain}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        from gateway.roster import tour

        await tour.show(guide, jid)
