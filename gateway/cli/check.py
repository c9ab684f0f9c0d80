"""
C{xmpp-gateway check}: try each service.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from attrs import evolve
from twisted.internet.task import deferLater
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish

from gateway import ns
from gateway.cli.findings import Finding, Observed, findings, written
from gateway.cli.program import CommandFailed, Program, configured, orFail, say
from gateway.cli.tries import NOBODY, items, query, tries
from gateway.cli.web import RunningGateway
from gateway.composition import service
from gateway.composition.checks import components, origins, warnings
from gateway.composition.reader import Config, configurationName
from gateway.config import ServerEndpoint
from gateway.config.tables import ConfigError, HttpTable, StateTable
from gateway.errors import GatewayError, NotGranted
from gateway.interfaces import IPermissions, IPrivileges
from gateway.reports import StatusItem
from gateway.requirements import Component, Delegation, ForeignSenders, Privilege
from gateway.requirements.servers import SERVERS, Server, recognise
from gateway.standby import store as leases
from gateway.standby.core import RENEW_EVERY
from gateway.state import places
from gateway.state.database import Database
from gateway.stream.link import Link
from gateway.tap import errorsIn, find

# Seconds until the result: if nothing is missing, because servers take a moment to grant, and the gateway to ask;
# and if something is missing, because it may still come.
_MIN_WAIT, _MAX_WAIT = 5.0, 12.0
_EVERY = 0.25
# Seconds for the server to close the stream after a stanza that it does not accept.
_REACTION = 1.5


@click.command
@configured
@click.option("--server", "kind", type=click.Choice(list(SERVERS)), help="The kind of the server.")
@click.pass_obj
def check(program: Program, kind: str | None, file: str | None) -> None:
    """
    Check the configuration file, then try each service with the server.

    If a gateway runs with this configuration, it is asked for its state, and nothing is connected. Otherwise this
    command runs the gateway itself for some seconds, except for its HTTP server. For each service it prints what
    works, what does not, and the lines to add to the configuration of this server.

    Exit with 1 if something does not work.
    """

    async def main(reactor: Any) -> None:
        path = find(file)
        config = orFail(path, lambda: service.read(path, reactor))
        for warning in warnings(config):
            say(f"warning: {warning}", err=True)
        for origin in origins(config):
            say(origin)
        say(f"{configurationName(path)}: OK")
        running = program.gateway(config, reactor)
        if await running.isThere():
            isGood = await _ask(running, [each.jid for each in config.services])
        elif config.server is None and not components(config):
            say("The gateway does not run. On the embedded host, there is nothing else to check.")
            return
        else:
            isGood = await _try(config, None if kind is None else SERVERS[kind], reactor)
        if not isGood:
            raise SystemExit(1)

    program.run(main)


# A running gateway.


async def _ask(running: RunningGateway, wanted: Iterable[str]) -> bool:
    """Print what a running gateway reports about the components of the file; return true if there is no problem."""
    say(f"A gateway runs at {running.url}; it reports:\n")
    answer = await running.request("GET", "/status", accept="application/json")
    document = answer.document
    if answer.status != 200 or not isinstance(document, dict):
        raise CommandFailed(f"{running.url}/status: {answer.status} {answer.text.strip()[:500]}")
    problems = 0
    links = {str(link.get("component")): link for link in document.get("links", ())}
    for jid in wanted:
        if jid not in links:
            problems += _report(f"{jid} is not a component of this gateway: restart it, or name its own file", True)
    for jid, link in links.items():
        say(f"{jid} ({link.get('kind')})")
        problems += _report(str(link.get("state")), bool(link.get("problem")))
        for item in link.get("items", ()):
            problems += _report(str(item.get("text")), bool(item.get("problem")))
    say("files")
    for item in document.get("files", ()):
        problems += _report(str(item.get("text")), bool(item.get("problem")))
    return not problems


def _report(text: str, isProblem: bool) -> bool:
    first, *others = text.split("\n")
    say(f"  {'PROBLEM' if isProblem else 'ok'}: {first}")
    for line in others:
        say(f"      {line}")
    return isProblem


# No gateway runs: this process is one.


async def _serving(config: Config, reactor: Any) -> dict[str, str]:
    """Return the names of other gateways that serve components of the file, by component (C{standby = true})."""
    url = config.state.url
    if url is None or not any(each.table.standby for each in config.services):
        return {}
    # Gateways of an older release may use it: it is neither made nor changed.
    store = None
    try:
        version = places.version(url, leases.NAME)
        if not version:
            return {}
        store = Database(places.backend(url, leases.NAME, leases.MIGRATIONS[:version]), reactor)
        looks = []
        for seconds in (2 * RENEW_EVERY, 0.0):
            rows = await store.read(leases.leases)
            looks.append({row.component: row for row in rows})
            await deferLater(reactor, seconds)
    except GatewayError as error:
        raise CommandFailed(f"state.url: {error}") from error
    finally:
        if store is not None:
            await store.closeLater()
    before, now = looks
    return {jid: row.owner.name for jid, row in now.items() if jid in before and before[jid] != row}


async def _try(config: Config, server: Server | None, reactor: Any) -> bool:
    """Run the gateway for some seconds; print the findings, and return true if there is no problem."""
    serving = await _serving(config, reactor)
    for each in config.services:
        if each.table.standby and each.jid in serving:
            # A second connection would take stanzas from it, or end its own.
            say(f"{each.jid} ({each.kind})\n  ok: standby: {serving[each.jid]} serves it; it is not tried here\n")
    kept = tuple(each for each in config.services if not (each.table.standby and each.jid in serving))
    if not kept:
        return True
    config = evolve(config, services=kept)
    wanted = {each.jid: each for each in components(config)}
    with _stateFor(config) as ownConfig:
        try:
            gateway = service.makeService(ownConfig, reactor)
        except ConfigError as error:
            raise CommandFailed(errorsIn(config.file, error).rstrip("\n")) from error
        gateway.startService()
        try:
            say("No gateway runs with this configuration, so this command tries the services itself.")
            links = {link.jid: link for link in gateway.links if link.jid in wanted}
            servers = dict.fromkeys(links, server)
            await _settled(wanted, links, reactor)
            if server is None:
                servers |= await _recognised(wanted, links)
            refused = set()
            for jid, link in links.items():
                if servers[jid] is SERVERS["prosody"] and await _refusesOthers(wanted[jid], link, reactor):
                    refused.add(jid)
            observed = {jid: _observed(wanted[jid], link, jid not in refused) for jid, link in links.items()}
            extra = {
                each.jid: [found async for found in tries(each, links[each.jid], servers[each.jid], reactor)]
                for each in config.services
                if each.jid in links
            }
        finally:
            await _stopped(gateway)
    isGood = True
    for jid, component in wanted.items():
        found = [*findings(component, observed[jid], servers[jid]), *extra[jid]]
        isGood = isGood and not any(each.isProblem for each in found)
        say("")
        say("\n".join(written(component, found, servers[jid])))
    return isGood


@contextmanager
def _stateFor(config: Config) -> Iterator[Config]:
    """
    Give the configuration for this command: without the HTTP server, with a try of ejabberd's API where that is
    used, and with a state folder that is removed at the end, if there is none yet, or if the stores are in a
    database: other gateways may use that.
    """
    services = tuple(evolve(each, table=_trying(each.table)) for each in config.services)
    listen = ServerEndpoint("tcp:0:interface=127.0.0.1")
    quiet = evolve(config, http=HttpTable(listen=listen), services=services)
    if config.state.url is None and config.state_dir.exists():
        yield quiet
        return
    # The gateway's user may be another one, who must create the real folder.
    with tempfile.TemporaryDirectory(prefix="xmpp-gateway-") as folder:
        yield evolve(quiet, state_dir=Path(folder), state=StateTable())


def _trying(table: Any) -> Any:
    """Return the table to try: rosters ask ejabberd's API at the connection, not only at the first change."""
    return evolve(table, apply="auto") if getattr(table, "apply", None) == "ejabberd-api" else table


async def _stopped(gateway: service.Gateway) -> None:
    await gateway.stopService()
    for database in gateway.databases:
        await database.closeLater()


async def _settled(wanted: Mapping[str, Component], links: Mapping[str, Link], reactor: Any) -> None:
    """Wait until nothing is missing, or as long as it makes sense."""
    started = reactor.seconds()
    while True:
        passed = reactor.seconds() - started
        isGood = all(not any(each.isProblem for each in _all(wanted[jid], link)) for jid, link in links.items())
        if passed >= (_MIN_WAIT if isGood else _MAX_WAIT):
            return
        await deferLater(reactor, _EVERY)


def _all(component: Component, link: Link) -> Iterator[Finding]:
    return findings(component, _observed(component, link, True), None)


async def _recognised(wanted: Mapping[str, Component], links: Mapping[str, Link]) -> dict[str, Server | None]:
    """Return the kind of the server of each component. Those on one host are on one server."""
    byHost: dict[str, Server] = {}
    for jid, link in links.items():
        host = _hostOf(wanted[jid])
        found = recognise(await _softwareOf(wanted[jid], link)) if link.ready and host not in byHost else None
        if found is not None:
            byHost[host] = found
    return {jid: byHost.get(_hostOf(wanted[jid])) for jid in links}


def _hostOf(component: Component) -> str:
    return component.address.socket or component.address.host


async def _softwareOf(component: Component, link: Link) -> str:
    """Return the name of the server's software: what it says itself, or its identity (XEP-0030)."""
    for item in items(link):
        if item.name == "server.software":
            return str(item.values["software"])
        if item.name == "server.drops_requests":
            return "ejabberd"
    if component.server is None:
        return ""
    try:
        answer = await link.request(query(component.server))
    except StanzaError:
        return ""
    identities = [each for query in answer.elements() for each in query.elements(ns.DISCO_INFO, "identity")]
    return next((each.getAttribute("name") or "" for each in identities if each["category"] == "server"), "")


async def _refusesOthers(component: Component, link: Link, reactor: Any) -> bool:
    """True if the server closes the stream because of a stanza from a user's address."""
    domains = [each.server for each in component.requirements if isinstance(each, Privilege)]
    if not link.ready or not component.having(ForeignSenders) or not domains:
        return False
    nobody = f"{NOBODY}@{domains[0]}"
    failures = link.failures
    link.send(domish.Element((None, "presence"), attribs={"type": "probe", "from": nobody, "to": nobody}))
    # If the server closes the stream, its grants are forgotten: wait until it has sent them again.
    await deferLater(reactor, _REACTION)
    if link.failures == failures:
        return False
    await _settled({link.jid: component}, {link.jid: link}, reactor)
    return True


def _observed(component: Component, link: Link, maySendForOthers: bool) -> Observed:
    found = tuple(map(_judged, items(link)))
    servers = {each.server for each in component.requirements if isinstance(each, Privilege | Delegation)}
    granted: dict[str, IPermissions] = {}
    for handler in link:
        if IPrivileges.providedBy(handler):
            # A handler knows the servers of its table only.
            with suppress(NotGranted):
                granted |= {server: IPrivileges(handler).permissions(server) for server in servers}
    delegated = {
        (item.values["server"], namespace)
        for item in found
        if item.name == "delegation.granted"
        for namespace in item.values["namespaces"]
    }
    return Observed(
        isConnected=link.ready,
        trouble=link.conflict if link.ready else link.trouble,
        delegated=frozenset(delegated),
        permissions=granted,
        maySendForOthers=maySendForOthers,
        items=found,
    )


def _judged(item: StatusItem) -> StatusItem:
    """Return an item as a problem if it is one for this command: a proxy that nobody implements now."""
    if item.name == "proxy.resources" and not item.values.get("online") and not item.isProblem:
        advice = "log in to {target} with the client that implements the service; it must accept the subscription"
        return evolve(item, text=f"{item.text}: {advice}", isProblem=True)
    return item

