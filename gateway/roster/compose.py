"""
The composition of rosters from a web application.
"""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.application.service import IService
from twisted.web.client import Agent
from wokkel.disco import DiscoHandler

from gateway import __version__
from gateway.http.agent import ConnectionPool, makeClient
from gateway.http.served import Branch
from gateway.interfaces import IPrivileges, IServiceBuilder, IServiceEnvironment
from gateway.roster.api import EjabberdApplier
from gateway.roster.apply import Applier, PrivilegeApplier
from gateway.roster.auto import AutoApplier
from gateway.roster.demo import Contacts
from gateway.roster.fetch import WebApplication
from gateway.roster.handler import ApplierWatcher, DiscoInfo, LossWatcher, PresenceWatcher
from gateway.roster.interested import InterestedClients
from gateway.roster.lock import LockedRosters
from gateway.roster.refresher import Refresher
from gateway.roster.resource import RefreshResource, RefreshService, ResultsResource
from gateway.roster.results import Results
from gateway.roster.store import MIGRATIONS, EntityTags
from gateway.roster.tables import RosterTable
from gateway.stream.link import Link
from gateway.stream.survey import Survey


def storeWarnings(jid: str, environment: IServiceEnvironment) -> list[str]:
    """Return the reasons why entity tags cannot be kept over a restart."""
    problem = environment.storeProblem(_storeName(jid), MIGRATIONS)
    return [problem] if problem else []


def makeService(jid: str, table: RosterTable, composition: IServiceBuilder) -> IService:
    """See L{gateway.interfaces.IServicePlugin.makeService}."""
    reactor: Any = composition.reactor
    pool = ConnectionPool(reactor, table.concurrency)
    client = makeClient(Agent(reactor, connectTimeout=table.timeout, pool=pool))
    link = composition.link(jid, table)
    privileges = composition.privileges(link, [table.domain])
    survey = composition.survey(link, table.domain)
    applier = _applier(table, link, privileges, survey, client, composition)
    if table.url is None:
        application = _builtInApplication(table, composition)
    else:
        tags = _tags(jid, table.url, table.domain, composition)
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
    LossWatcher(jid, refresher, lambda: bool(link.running)).setHandlerParent(link)
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
    resource = Branch()
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
    reactor: Any = composition.reactor

    def isOver() -> bool:
        return link.lease.isOver(reactor.seconds())

    byApi = EjabberdApplier(table.api, client, reactor, table.timeout, composition.pieces, isOver)
    if table.apply == "ejabberd-api":
        return byApi

    def privilegeProblem() -> str:
        if survey.isEjabberd:
            return f"{table.domain} is {survey.software or 'ejabberd'}, which cannot set rosters by privilege"
        if privileges.permissions(table.domain).roster != "both":
            return f'{table.domain} does not grant roster = "both"'
        return byPrivilege.problem

    return AutoApplier(byApi, byPrivilege, privilegeProblem, f"gateway@{table.domain}", composition.reactor)


def _tags(jid: str, url: str, domain: str, composition: IServiceBuilder) -> EntityTags:
    if composition.isEmbedded:
        # The host's rosters do not outlive the process.
        return EntityTags(composition.reactor)
    # Another release may apply the same document in another way.
    source = f"{__version__} {domain} {url}"
    return EntityTags(composition.reactor, composition.store(_storeName(jid), MIGRATIONS), source)


def _builtInApplication(table: RosterTable, composition: IServiceBuilder) -> WebApplication:
    """Return the gateway's own application, which is asked over HTTP like any other."""
    composition.serve("demo").putChild(b"contacts", Contacts(table.domain, composition.pieces))
    client = makeClient(composition.ownAgent)
    return WebApplication("http://localhost/demo/contacts/%s", client, composition.reactor, table.timeout)


def _storeName(jid: str) -> str:
    """Name of the store of a component's entity tags."""
    return f"{jid}.roster"
