"""
C{[roster."component JID"]}: the table and the composition of the service.
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from treq.client import HTTPClient
from twisted.application.service import IService
from twisted.plugin import IPlugin
from twisted.web.client import Agent
from twisted.web.resource import Resource
from wokkel.disco import DiscoHandler
from zope.interface import implementer

from gateway import __version__
from gateway.config.tables import ComponentTable, Count, Domain, Seconds, Url, elided
from gateway.http.agent import ConnectionPool, makeClient
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IGuide,
    IPrivileges,
    IServerConfiguration,
    IServerRequirements,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
)
from gateway.requirements import Requirement, ejabberd
from gateway.roster import tour
from gateway.roster.advice import pushAdvice, serverRequirements
from gateway.roster.api import EjabberdApplier
from gateway.roster.apply import Applier, PrivilegeApplier
from gateway.roster.auto import AutoApplier
from gateway.roster.demo import Contacts
from gateway.roster.fetch import WebApplication
from gateway.roster.handler import ApplierWatcher, DiscoInfo, PresenceWatcher
from gateway.roster.interested import InterestedClients
from gateway.roster.lock import LockedRosters
from gateway.roster.refresher import Refresher
from gateway.roster.resource import RefreshResource, RefreshService, ResultsResource
from gateway.roster.results import Results
from gateway.roster.store import MIGRATIONS, EntityTags
from gateway.stream.link import Link
from gateway.stream.survey import Survey

_CONCURRENCY = Count(32)
_URL = """the address of a user's contacts, with %s once, where the user name goes, such as \
"http://127.0.0.1:8000/contacts/%s\""""
_TIMEOUT, _MIN_INTERVAL = Seconds(10.0), Seconds(60.0)


@frozen(kw_only=True)
class RosterTable(ComponentTable):
    """
    The keys of C{[roster."component JID"]}; see docs/roster.md.

    @ivar domain: domain of the users.
    @ivar url: address of a user's contacts, with C{%s} for the user's name; required except on the embedded host,
        C{None} for its built-in application.
    @ivar offline: refresh of users in a request who are not online: at once, never, or at their next login.
    @ivar lock: true if clients get the application's roster and may not change it.
    @ivar apply: how rosters are set: by privilege (XEP-0356), by ejabberd's API, or by the one that works.
    @ivar api: address of ejabberd's HTTP API.
    @ivar probes: true to send presence in users' names after a change of a subscription, for Prosody.
    @ivar concurrency: users that are refreshed at a time.
    @ivar timeout: seconds for each attempt to fetch a document.
    @ivar max_removals: contacts that a refresh may remove, unless forced; C{None} for any number.
    @ivar min_interval: seconds between two refreshes of a user because of a change of status.
    @ivar signature_secret: secret that requests for refreshes must be signed with.
    """

    domain: Domain
    url: Url | None = field(default=None, repr=False)
    offline: Literal["apply", "skip", "later"] = "apply"
    lock: bool = False
    apply: Literal["auto", "privilege", "ejabberd-api"] = "auto"
    api: Url | None = field(default=None, repr=False)
    probes: bool = False
    concurrency: Count = _CONCURRENCY
    timeout: Seconds = _TIMEOUT
    max_removals: Count | None = None
    min_interval: Seconds = _MIN_INTERVAL
    signature_secret: str | None = field(default=None, repr=False)


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
        problem = environment.storeProblem(_storeName(jid), MIGRATIONS)
        return [problem] if problem else []

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
        reactor: Any = composition.reactor
        pool = ConnectionPool(reactor, table.concurrency)
        client = makeClient(Agent(reactor, connectTimeout=table.timeout, pool=pool))
        link = composition.link(jid, table)
        privileges = composition.privileges(link, [table.domain])
        survey = composition.survey(link, table.domain)
        applier = self._applier(table, link, privileges, survey, client, composition)
        if table.url is None:
            application = self._builtInApplication(table, composition)
        else:
            tags = self._tags(jid, table.url, table.domain, composition)
            application = WebApplication(table.url, client, reactor, table.timeout, tags)
        pieces = composition.pieces
        refresher = Refresher(table.domain, application, applier, table.concurrency, pieces, table.max_removals)

        def hasPresenceFeed() -> bool:
            return privileges.permissions(table.domain).feed != "none"

        # ejabberd and the embedded host push to all clients, including those that got the roster from the
        # component.
        pushing = table.lock and table.api is None and not composition.isEmbedded
        interested = InterestedClients(jid, table.domain, privileges if pushing else None, reactor)
        watcher = PresenceWatcher(
            table.domain,
            refresher,
            table.min_interval,
            reactor,
            hasPresenceFeed,
            table.api is None,
            interested.takeFresh,
        )
        watcher.setHandlerParent(link)
        privileges.watchPresence(watcher.onPresence)
        DiscoInfo().setHandlerParent(link)
        applierWatcher = ApplierWatcher(jid, applier)
        applierWatcher.setHandlerParent(link)
        survey.watch(applierWatcher.onServerIdentified)
        if table.lock:
            interested.setHandlerParent(link)
            privileges.watchPresence(interested.onPresence)
            # Delegation answers disco, too.
            locked = LockedRosters(refresher, applier, reactor, pieces, interested, jid)
            composition.serveDelegatedNamespaces(link, [table.domain], locked)
        else:
            DiscoHandler().setHandlerParent(link)
        resource = Resource()
        secret = None if table.signature_secret is None else table.signature_secret.encode()
        postpone = {"apply": None, "skip": watcher.isOffline, "later": watcher.postpone}[table.offline]
        results = Results(reactor.seconds)
        service = RefreshService(refresher, pieces, results, composition.wallClock, secret, postpone)
        resource.putChild(b"refresh", RefreshResource(service))
        resource.putChild(b"results", ResultsResource(service))
        admin = composition.serve("roster_admin")
        admin.putChild(table.domain.encode(), resource)
        # Served for the first domain only.
        admin.putChild(b"refresh", RefreshResource(service))
        admin.putChild(b"results", ResultsResource(service))
        return link

    def _applier(
        self,
        table: RosterTable,
        link: Link,
        privileges: IPrivileges,
        survey: Survey,
        client: HTTPClient,
        composition: IServiceBuilder,
    ) -> Applier:
        byPrivilege = PrivilegeApplier(privileges, link, survey, table.probes)
        if table.api is None:
            return byPrivilege
        byApi = EjabberdApplier(table.api, client, composition.reactor, table.timeout, composition.pieces)
        if table.apply == "ejabberd-api":
            return byApi

        def privilegeProblem() -> str:
            if survey.isEjabberd:
                return f"{table.domain} is {survey.software or 'ejabberd'}, which cannot set rosters by privilege"
            if privileges.permissions(table.domain).roster != "both":
                return f'{table.domain} does not grant roster = "both"'
            return byPrivilege.problem

        return AutoApplier(byApi, byPrivilege, privilegeProblem, f"gateway@{table.domain}", composition.reactor)

    def _tags(self, jid: str, url: str, domain: str, composition: IServiceBuilder) -> EntityTags:
        if composition.isEmbedded:
            # The host's rosters do not outlive the process.
            return EntityTags()
        # Another release may apply the same document in another way.
        source = f"{__version__} {domain} {url}"
        return EntityTags(composition.store(_storeName(jid), MIGRATIONS), source, composition.reactor)

    def _builtInApplication(self, table: RosterTable, composition: IServiceBuilder) -> WebApplication:
        """Return the gateway's own application, which is asked over HTTP like any other."""
        composition.serve("demo").putChild(b"contacts", Contacts(table.domain, composition.pieces))
        client = makeClient(composition.ownAgent)
        return WebApplication("http://localhost/demo/contacts/%s", client, composition.reactor, table.timeout)

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {f"roster.{domain}": {"domain": domain}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        await tour.show(guide, jid)


def _storeName(jid: str) -> str:
    """Name of the store of a component's entity tags."""
    return f"{jid}.roster"
