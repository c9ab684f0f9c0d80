"""
The tries of C{xmpp-gateway check} that a service does not make by itself: a request through a proxy, a document of
the web application, the servers of other nodes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.web.client import Agent
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish

from gateway import ns
from gateway.cli.findings import Finding
from gateway.cli.web import reasonOf
from gateway.composition.reader import Service
from gateway.config.tables import elided
from gateway.http.agent import ConnectionPool, Unusable, collected, makeClient
from gateway.interfaces import IStatusProvider
from gateway.reports import StatusItem
from gateway.requirements.servers import SERVERS, Server
from gateway.stream.link import Link

# Seconds for each try; bytes of a document.
_TIMEOUT = 10.0
_MAX_DOCUMENT = 8 * 1024 * 1024
# A user and a resource that probably do not exist.
NOBODY = "xmpp-gateway-check"
# Conditions of errors that the servers write, in place of the other server or of the implementing client.
_UNREACHABLE = ("remote-server-not-found", "remote-server-timeout")

Try = Callable[[Any, Link, "Server | None", Any], AsyncIterator[Finding]]


async def tries(service: Service, link: Link, server: Server | None, reactor: Any) -> AsyncIterator[Finding]:
    """Yield the findings of the tries for a service of a known kind, if it is connected."""
    found = _TRIES.get(service.kind)
    if found is not None and link.ready:
        async for each in found(service.table, link, server, reactor):
            yield each


def items(link: Link) -> Iterator[StatusItem]:
    """Yield the reports of a link and of its handlers."""
    for handler in (link, *link):
        if IStatusProvider.providedBy(handler):
            yield from IStatusProvider(handler).report()


def query(to: str) -> domish.Element:
    """Return a disco#info query (XEP-0030)."""
    request = domish.Element((None, "iq"), attribs={"type": "get", "to": to})
    request.addElement((ns.DISCO_INFO, "query"))
    return request


async def _answered(link: Link, to: str, reactor: Any) -> str:
    """Return an empty string if an address answers a query with a result, otherwise the condition of the error."""
    try:
        await link.request(query(to)).addTimeout(_TIMEOUT, reactor)
    except StanzaError as error:
        return str(error.condition)
    except (TimedOut, CancelledError):
        return "remote-server-timeout"
    return ""


async def _proxy(table: Any, link: Link, server: Server | None, reactor: Any) -> AsyncIterator[Finding]:
    """Send a request to the proxy, through the server, as any user does."""
    isOnline = any(item.values.get("online") for item in items(link) if item.name == "proxy.resources")
    # ejabberd with mod_privilege drops requests between components.
    if not isOnline or "iq" not in table.forward or server is SERVERS["ejabberd"]:
        return
    condition = await _answered(link, link.jid, reactor)
    if condition in _UNREACHABLE:
        yield Finding(f"{table.target} does not answer a request (disco#info) within {_TIMEOUT:g} s", True)
    else:
        yield Finding(f"{table.target} answers a request with {condition or 'a result'}")


async def _application(table: Any, link: Link, server: Server | None, reactor: Any) -> AsyncIterator[Finding]:
    """Ask the web application for the contacts of a user whom it need not know."""
    if table.url is None:
        return
    what = f"the web application at {elided(table.url)}"
    try:
        status = await Deferred.fromCoroutine(_fetch(table.url, reactor)).addTimeout(_TIMEOUT, reactor)
    except Exception as error:
        yield Finding(f"{what} does not answer: {reasonOf(error)}", True)
    else:
        yield Finding(f"{what} answers with status {status}", status not in (200, 404))


async def _fetch(url: str, reactor: Any) -> int:
    client = makeClient(Agent(reactor, connectTimeout=_TIMEOUT, pool=ConnectionPool(reactor, 0)))
    response: Any = await client.get(url.replace("%s", quote(NOBODY)), unbuffered=True)
    try:
        await collected(response, _MAX_DOCUMENT)
    except Unusable as error:
        raise ValueError(f"the body {error}") from error
    return int(response.code)


async def _nodes(table: Any, link: Link, server: Server | None, reactor: Any) -> AsyncIterator[Finding]:
    """Ask the domains of other nodes for anything: any answer of theirs shows that they can be reached."""
    backing = getattr(table, "backing", None)
    if backing is not None:
        yield await _ordinary(backing, link, server, reactor)
    domains = {*table.peers, *getattr(table, "allow", ())} - {"*"}
    for domain in sorted(domains):
        condition = await _answered(link, f"{domain}/{NOBODY}", reactor)
        if condition in _UNREACHABLE:
            advice = "does its gateway run, do both names have DNS records and certificates, and is s2s allowed?"
            yield Finding(f"{domain} cannot be reached ({condition}): {advice}", True)
        else:
            yield Finding(f"{domain} can be reached")


async def _ordinary(domain: str, link: Link, server: Server | None, reactor: Any) -> Finding:
    """Ask a service of ordinary rooms whether it is one (XEP-0045 section 6.1)."""
    try:
        answer = await link.request(query(domain)).addTimeout(_TIMEOUT, reactor)
    except StanzaError as error:
        advice = "backing names the server's own service of rooms, such as a Component of type muc of Prosody"
        return Finding(f"{domain} does not answer a request (disco#info): {error.condition}; {advice}", True)
    except (TimedOut, CancelledError):
        # ejabberd with mod_privilege drops requests between components.
        isDropping = server is SERVERS["ejabberd"]
        advice = "; with mod_privilege, ejabberd 24.10 and newer drops requests to rooms: see docs/privilege.md"
        silent = f"{domain} does not answer a request (disco#info) within {_TIMEOUT:g} s"
        return Finding(silent + advice * isDropping, True)
    found = next(answer.elements(), domish.Element((None, "none")))
    if any(each.getAttribute("var") == ns.MUC for each in found.elements()):
        return Finding(f"{domain} is a service of rooms")
    return Finding(f"{domain} is no service of rooms: its disco#info has no {ns.MUC}", True)


_TRIES: dict[str, Try] = {"proxy": _proxy, "roster": _application, "rooms": _nodes, "mirror": _nodes}
