"""
Servers' disco nesting queries (XEP-0355 section 7.2) that wait for a managing entity which is not connected yet.

A server nests only what the first answer contains, and asks seldom: Prosody once after its start, ejabberd once in
each connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import frozen
from twisted.logger import Logger
from twisted.words.xish import domish

from gateway import ns
from gateway.delegation import advertisements, stanzas
from gateway.delegation.advice import tooLate
from gateway.delegation.delegations import Delegation
from gateway.delegation.disco import olderQuery
from gateway.delegation.forwarder import Forwarder
from gateway.delegation.managing import Route
from gateway.delegation.nesting import Grant, Info, readNestingNode
from gateway.errors import BadRequest
from gateway.reports import StatusItem
from gateway.stream.stanzas import Stanza

# Seconds for a server that may delegate nothing before it has the answer: ejabberd waits for 32 seconds, and a
# forwarding gateway for 30. After this limit the answer may take two seconds more.
_FIRST_LIMIT = 25.0

# Seconds from the start of a connection until a server's disco#info is checked.
_CHECK_AFTER = 5.0

# Seconds for a server that delegates already, such as Prosody: it takes the answer at any time.
_LAST_LIMIT = 3600.0


@frozen(eq=False)
class _Query:
    """
    A query that is not answered yet.

    @ivar version: the version of the specification in its node.
    @ivar since: time of its arrival.
    """

    stanza: Stanza
    server: str
    version: str
    delegation: Delegation
    bare: bool
    since: float


class HeldQueries:
    """
    Holds a server's nesting query until a managing entity of the namespace has sent its disco#info. Each query gets
    one answer: it is given to the link again, which answers it like any other.

    There is at most one query for each server and node. Requests never wait here, nor do queries for a namespace
    with a handler.

    A server that delegates without a query has asked in an earlier connection. Its disco#info is checked once a
    connection.

    @param servers: domains of the delegating servers.
    @param routes: the route of each namespace.
    @param granted: returns a server's grant for a namespace, or C{None}.
    """

    _log = Logger()

    def __init__(
        self,
        servers: Iterable[str],
        routes: Mapping[str, Route],
        forwarder: Forwarder,
        granted: Callable[[str, str], Grant | None],
    ) -> None:
        self._component = forwarder.link.jid
        self._servers = sorted(servers)
        self._delegations = {
            namespace: route.delegation
            for namespace, route in routes.items()
            if route.delegation is not None and route.handler is None
        }
        self._forwarder = forwarder
        self._granted = granted
        self._held: dict[tuple[str, str], _Query] = {}
        self._passing: Stanza | None = None
        # Queries that were answered too early, by server and namespace: the version of the query.
        self._late: dict[tuple[str, str], str] = {}
        self._upSince: float | None = None
        # Server and namespace that were checked in this connection.
        self._checked: set[tuple[str, str]] = set()
        self._draining = False
        forwarder.watch(self.tick)

    def queryReceived(self, stanza: Stanza) -> bool:
        """
        Take an iq get from a server.

        @return: true if it is held, or was handed to the link in another form.
        """
        if stanza is self._passing:
            return False
        if self._delegations and stanzas.mayBeDelegation(stanza) and self._holds(stanza):
            return True
        query = olderQuery(stanza, self._component)
        if query is not None:
            self._forwarder.link.handle(query)
        return query is not None

    def _holds(self, stanza: Stanza) -> bool:
        node = _nodeOf(stanza)
        asked = readNestingNode(node)
        delegation = None if asked is None else self._delegations.get(asked[0])
        if asked is None or delegation is None:
            return False
        server, bare = stanza.sender or "", asked[1]
        # The server has asked again and does not wait for the earlier answer.
        earlier = self._held.pop((server, node), None)
        if earlier is not None:
            self._answer(earlier)
        if self._draining or self._forwarder.isKnown(delegation, bare):
            self._late.pop((server, delegation.namespace), None)
            return False
        version = ns.DELEGATION_1 if node.startswith(ns.DELEGATION_1) else ns.DELEGATION_2
        self._held[server, node] = _Query(stanza, server, version, delegation, bare, self._forwarder.link.now)
        return True

    def connected(self) -> None:
        """Hold queries, also after an earlier L{drain}."""
        self._draining = False

    def drain(self) -> None:
        """Answer all queries, and hold no further ones."""
        self._draining = True
        self._answerLate(self._takeAll(lambda query: True))

    def tick(self, now: float) -> None:
        """Answer the queries whose information is known, and those whose deadline has passed."""
        if not self._forwarder.link.ready:
            self._upSince = None
            self._checked.clear()
            return
        if self._upSince is None:
            self._upSince = now
        if now >= self._upSince + _CHECK_AFTER:
            self._check()
        if not self._held:
            return
        for query in self._takeAll(lambda query: self._forwarder.isKnown(query.delegation, query.bare)):
            self._answer(query)
        self._answerLate(self._takeAll(lambda query: self._deadline(query) <= now))
        for query in self._held.values():
            if now < self._since(query) + _FIRST_LIMIT:
                self._forwarder.askSoon(query.delegation)

    def _deadline(self, query: _Query) -> float:
        isGranted = self._granted(query.server, query.delegation.namespace) is not None
        limit = _LAST_LIMIT if isGranted and query.version == ns.DELEGATION_2 else _FIRST_LIMIT
        return self._since(query) + limit

    def _since(self, query: _Query) -> float:
        """Return when a query began to wait; the time before the present connection does not count."""
        return max(query.since, self._upSince or query.since)

    def _takeAll(self, matches: Callable[[_Query], bool]) -> list[_Query]:
        taken = [(key, query) for key, query in self._held.items() if matches(query)]
        for key, _ in taken:
            del self._held[key]
        return [query for _, query in taken]

    def _answerLate(self, queries: list[_Query]) -> None:
        """Answer queries without the information, and log the consequences."""
        self._noteLate({(each.server, each.delegation.namespace): each.version for each in queries})
        for query in queries:
            self._answer(query)

    def _noteLate(self, late: Mapping[tuple[str, str], str]) -> None:
        self._late |= late
        for line in self._describeLate(late):
            self._log.warn("{component}: {line}", event="delegation.late", component=self._component, line=line)

    def _answer(self, query: _Query) -> None:
        """Give a query to the link again, and let it pass."""
        before, self._passing = self._passing, query.stanza
        self._forwarder.link.handle(olderQuery(query.stanza, self._component) or query.stanza)
        self._passing = before

    # Checks of a server's disco#info.

    def _check(self) -> None:
        """Ask servers for their disco#info, for namespaces whose information is known."""
        held = {(query.server, query.delegation.namespace) for query in self._held.values()}
        for server in self._servers:
            told = {
                namespace: info.features
                for namespace, delegation in self._delegations.items()
                if (server, namespace) not in held | self._checked | self._late.keys()
                and (grant := self._granted(server, namespace)) is not None
                and grant.version == ns.DELEGATION_2
                and (info := self._forwarder.knownInfo(delegation)) is not None
            }
            if not told:
                continue
            self._checked |= {(server, namespace) for namespace in told}
            query = domish.Element((None, "iq"), attribs={"type": "get", "to": server})
            query.addElement((ns.DISCO_INFO, "query"))
            answer = self._forwarder.link.request(query).addCallback(advertisements.readInfo)
            # Without an answer there is nothing to report.
            answer.addCallbacks(self._compare, lambda failure: None, callbackArgs=(server, told))

    def _compare(self, shown: Info, server: str, told: Mapping[str, tuple[str, ...]]) -> None:
        known = {*shown.features, ns.DISCO_INFO}
        missing = {namespace for namespace, features in told.items() if not known.issuperset(features)}
        self._noteLate({(server, namespace): ns.DELEGATION_2 for namespace in missing})

    # For the operator.

    def report(self) -> Iterator[StatusItem]:
        """Return items for the status page."""
        waiting = sorted({(each.server, each.delegation.namespace) for each in self._held.values()})
        for server, namespace in waiting:
            entities = " or ".join(self._delegations[namespace].entities)
            about = {"server": server, "entities": entities, "namespace": namespace}
            text = "{server} waits for the disco#info of {entities} for {namespace}"
            yield StatusItem("delegation.waiting_for_info", text, about)
        yield from self._describeLate(self._late)

    def _describeLate(self, late: Mapping[tuple[str, str], str]) -> Iterator[StatusItem]:
        for server, version in sorted({(server, version) for (server, _), version in late.items()}):
            namespaces = sorted(name for (each, name), asked in late.items() if (each, asked) == (server, version))
            entities = sorted({entity for name in namespaces for entity in self._delegations[name].entities})
            yield tooLate(self._component, server, version, entities, namespaces)


def _nodeOf(stanza: Stanza) -> str:
    """Return the node of a disco#info query; an empty string for any other iq."""
    try:
        element = stanza.element
    except BadRequest:
        return ""
    return next((str(each.getAttribute("node", "")) for each in element.elements(ns.DISCO_INFO, "query")), "")
