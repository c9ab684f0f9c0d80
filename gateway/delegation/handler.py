"""
The managing entity on a link: takes forwarded requests, finds their handlers, and answers in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish import domish
from wokkel.disco import DiscoFeature, DiscoIdentity
from wokkel.iwokkel import IDisco
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.delegation import stanzas
from gateway.delegation.advertised import Advertised
from gateway.delegation.client_mode import ClientMode
from gateway.delegation.disco import infoOf, nested
from gateway.delegation.forwarder import Forwarder
from gateway.delegation.held import HeldQueries
from gateway.delegation.managing import PendingRequest, PendingRequests, Route, Turns
from gateway.delegation.nesting import VERSIONS, Info, readNestingNode, remaining
from gateway.errors import (
    AlreadyOpen,
    BadRequest,
    Forbidden,
    GatewayError,
    HandlerFailed,
    NoAnswer,
    NoHandler,
    OverBudget,
    ResourceLimit,
    Stopping,
    TooLarge,
    TooManyPending,
)
from gateway.interfaces import IDelegatedNamespace, IRefusalHandler, IStatusProvider
from gateway.interfaces.delegation import Payload
from gateway.log.seldom import Seldom
from gateway.metrics import IHistogram, IMetrics, IMetricsProvider, names
from gateway.reports import StatusItem
from gateway.stream.budget import FREE
from gateway.stream.raw import RawHandler
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from gateway.xml.errors import errorElement, errorStanza
from gateway.xml.write import route

# Namespaces that are not configured, but belong to one that is.
_OTHER = "other"
_PAYLOADS = bytes, domish.Element, Element


@implementer(IDisco, IMetricsProvider, IRefusalHandler, IStatusProvider)
class ManagingHandler(RawHandler):
    """
    A managing entity (XEP-0355).

    @param servers: domains of the servers that may delegate.
    @param domains: domains whose users may delegate in client mode.
    @param routes: the route of each namespace.
    """

    _log = Logger()

    def __init__(
        self,
        servers: frozenset[str],
        routes: Mapping[str, Route],
        forwarder: Forwarder,
        clientMode: ClientMode,
        domains: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self._component = forwarder.link.jid
        self._servers = servers
        self._heard = servers | domains
        self._clientMode = clientMode
        self._routes = routes
        self._forwarder = forwarder
        self._advertised = Advertised(self._component, servers, routes, forwarder)
        self._grants = self._advertised.grants
        self._held = HeldQueries(servers, routes, forwarder, self._grants.get)
        self._open = PendingRequests()
        self._awaited: dict[PendingRequest, Deferred[Any]] = {}
        self._turns: Turns[tuple[IDelegatedNamespace, PendingRequest]] = Turns()
        self._draining = False
        self._tooLarge = Seldom()
        self._durations: dict[tuple[str, str], IHistogram] = {}

    @property
    def pending(self) -> int:
        return len(self._open)

    def connectionInitialized(self) -> None:
        # A stopped link may be started again.
        self._draining = False
        self._held.connected()
        self._advertised.connected(self._link.now)
        self._forwarder.connected()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._advertised.disconnected()
        self._forwarder.disconnected()

    def drain(self) -> None:
        self._draining = True
        self._held.drain()

    def drained(self) -> None:
        self._forwarder.abandon()
        for pending in self._open.abandon():
            self._writeError(pending, Stopping)
            self._cancel(pending)

    def tick(self, now: float) -> None:
        self._forwarder.tick(now)
        for pending in self._open.expire(now):
            self._log.warn(
                "{component}: a request in {namespace} was not answered in time; {requester} got an error.",
                event="delegation.no_answer",
                component=self._component,
                namespace=pending.request.namespace,
                requester=pending.request.requester,
            )
            self._observe(pending, "error")
            self._writeError(pending, NoAnswer)
            self._cancel(pending)
        self._advertised.tick(now)

    # Incoming stanzas.

    def stanzaReceived(self, stanza: Stanza) -> bool:
        name, kind = stanza.name, stanza.type
        if name == "iq":
            if kind == "set":
                if stanza.sender in self._heard and stanzas.mayBeDelegation(stanza):
                    self._forwardedReceived(stanza)
                    return True
                return False
            if kind == "get":
                return stanza.sender in self._servers and self._held.queryReceived(stanza)
            return kind in ("result", "error") and self._forwarder.answerReceived(stanza)
        if name == "message":
            if stanza.sender in self._heard and kind != "error" and stanzas.mayBeDelegation(stanza):
                self._advertised.received(stanza.sender or "", stanza)
                return True
            return False
        return self._forwarder.presenceReceived(stanza) or self._clientMode.presenceReceived(
            stanza, self._grants.grantedBy
        )

    def report(self) -> Iterator[StatusItem]:
        yield from self._advertised.report()
        yield from self._forwarder.report()
        yield from self._held.report()
        yield StatusItem("delegation.pending", "open requests: {count}", {"count": len(self._open)})
        if self._link.ready:
            yield from self._advertised.overdue()

    def measure(self, metrics: IMetrics) -> None:
        requests = metrics.histogram(*names.DELEGATION_REQUEST)
        self._durations = {
            (namespace, outcome): requests.labels(namespace, outcome)
            for namespace in (*self._routes, _OTHER)
            for outcome in ("result", "error")
        }
        self._advertised.measure(metrics)
        pending = metrics.gauge(*names.PENDING)
        pending.labels("delegation").setFunction(lambda: len(self._open))
        pending.labels("delegation_forwarded").setFunction(lambda: self._forwarder.pending)
        metrics.gauge(*names.DELEGATION_ENTITY_UP).setFunction(self._forwarder.availability)

    def _observe(self, pending: PendingRequest, kind: str) -> None:
        """Record the time that a request took."""
        namespace = pending.request.namespace
        duration = self._durations.get((namespace if namespace in self._routes else _OTHER, kind))
        if duration is not None:
            duration.observe(self._link.now - pending.since)

    def _forwardedReceived(self, stanza: Stanza) -> None:
        """Take a forwarded request (section 4.3). It gets exactly one answer."""
        server, identifier = stanza.sender or "", stanza.id or ""
        now = self._link.now
        inside = None
        try:
            if not identifier:
                raise BadRequest
            inside = stanzas.unwrap(stanza)
            request = stanzas.readRequest(inside)
        except BadRequest:
            self._log.warn(
                "{component}: {server} forwarded an unreadable request: {stanza!r}.",
                event="delegation.request_unreadable",
                component=self._component,
                server=server,
                stanza=stanza,
            )
            if inside is not None:
                with suppress(BadRequest):
                    pending = PendingRequest(inside.version, server, identifier, stanzas.readHead(inside), now)
                    self._writeError(pending, BadRequest)
                    return
            # The requester is unknown, so the server gets the error.
            addresses = route(stanza.recipient or self._component, server)
            self._link.countError(BadRequest)
            self._send(errorStanza("iq", addresses, identifier, BadRequest))
            return
        try:
            pending = self._open.open(inside.version, server, identifier, request, now)
        except (AlreadyOpen, TooManyPending) as error:
            refused = PendingRequest(inside.version, server, identifier, request, now)
            self._writeError(refused, type(error))
            return
        try:
            self._dispatch(pending)
        except GatewayError as error:
            self._fail(pending, type(error))

    def stanzaRefused(self, refused: StanzaRefused) -> bool:
        """Answer a forwarded request whose payload the stream refused: ejabberd ignores outer errors."""
        stanza = refused.stanza
        if stanza.name != "iq" or stanza.type != "set" or stanza.sender not in self._heard or not stanza.id:
            return False
        try:
            inside = stanzas.unwrapHead(refused.head)
            request = stanzas.readHead(inside)
        except BadRequest:
            return False
        pending = PendingRequest(inside.version, stanza.sender or "", stanza.id, request, self._link.now)
        self._writeError(pending, refused.why)
        return True

    def _dispatch(self, pending: PendingRequest) -> None:
        request = pending.request
        if self._draining:
            raise Stopping
        budget = self._link.budget
        if budget.debts and budget.isOver(request.requester, self._link.now):
            raise OverBudget
        _, domain, resource = jids.split(request.entity)
        if domain != pending.server or resource:
            # A server may forward requests "to itself" or to "any bare jid that it manages" only.
            raise Forbidden
        if pending.server not in self._servers:
            user = jids.bare(request.requester) if request.entity == domain else request.entity
            if not self._grants.grantedBy(user, request.namespace):
                raise Forbidden
        found = self._routes.get(request.namespace) or remaining(self._routes, request.namespace)
        if found is None:
            raise NoHandler
        if found.delegation is not None and found.delegation.covers(request):
            self._forwarder.forward(lambda kind, xml: self._complete(pending, kind, xml), request, found.delegation)
        elif found.handler is None:
            raise NoHandler
        elif not self._turns.lines or self._turns.beginOrQueue(request.line, (found.handler, pending)):
            self._ask(found.handler, pending)

    def _ask(self, handler: IDelegatedNamespace, pending: PendingRequest) -> None:
        try:
            result = handler.answer(pending.request)
            if result is None or isinstance(result, _PAYLOADS):
                self._handlerReturned(result, pending)
                return
        except BaseException:
            # SystemExit as well: a handler must not end the process.
            self._handlerFailed(Failure(), pending)
            return
        answer: Deferred[Any] = maybeDeferred(lambda: result)
        waits = not answer.called
        if waits:
            self._awaited[pending] = answer
        answer.addCallback(self._handlerReturned, pending)
        answer.addErrback(self._handlerFailed, pending)
        if waits:
            self._turns.begin(pending.request.line)
            answer.addBoth(lambda _: self._endTurn(pending.request.line))

    def _endTurn(self, line: str) -> None:
        self._turns.end(line)
        while (following := self._turns.takeNext(line)) is not None:
            handler, pending = following
            if not self._open.isOpen(pending):
                continue
            if self._link.budget.isOver(pending.request.requester, self._link.now):
                self._fail(pending, OverBudget)
            else:
                self._ask(handler, pending)

    # Answers.

    def _handlerReturned(self, result: Payload, pending: PendingRequest) -> None:
        if result is None:
            xml = b""
        elif result is pending.request.xml:
            # The stream has checked it.
            xml = result
        elif isinstance(result, _PAYLOADS):
            try:
                xml = stanzas.checkedXml(result)
            except TooLarge:
                self._link.budget.charge(pending.request.requester, self._link.limits.stanzaSize, self._link.now)
                raise
        else:
            raise TypeError(f"an answer is an element, bytes or None, not {type(result).__name__}")
        self._complete(pending, "result", xml)

    def _handlerFailed(self, failure: Failure, pending: PendingRequest) -> None:
        """The handler has raised an error. It is ignored if the request was closed meanwhile."""
        if not self._open.isOpen(pending):
            return
        error: Any = failure.value
        if isinstance(error, StanzaError):
            try:
                self._complete(pending, "error", stanzas.checkedXml(error.getElement()))
                return
            except Exception:
                failure = Failure()
        if isinstance(error, GatewayError):
            self._fail(pending, type(error))
            return
        self._log.failure(
            "{component}: the handler for {namespace} failed.",
            event="delegation.handler_failed",
            failure=failure,
            component=self._component,
            namespace=pending.request.namespace,
        )
        self._fail(pending, HandlerFailed)

    def _fail(self, pending: PendingRequest, error: type[GatewayError]) -> None:
        if self._open.isOpen(pending):
            self._link.countError(error)
        self._complete(pending, "error", errorElement(error))

    def _complete(self, pending: PendingRequest, kind: str, xml: bytes) -> None:
        """Send an answer, unless the request was answered or has timed out."""
        if self._awaited:
            self._awaited.pop(pending, None)
        if self._open.close(pending):
            self._observe(pending, kind)
            self._write(pending, kind, xml)

    def _cancel(self, pending: PendingRequest) -> None:
        """Cancel the handler's answer."""
        answer = self._awaited.pop(pending, None)
        if answer is not None:
            answer.cancel()

    def _writeError(self, pending: PendingRequest, error: type[GatewayError]) -> None:
        """Answer a request that is not open with an error."""
        self._link.countError(error)
        self._write(pending, "error", errorElement(error))

    def _write(self, pending: PendingRequest, kind: str, xml: bytes) -> None:
        addresses = pending.version, self._component, pending.server, pending.id, pending.request
        answer = stanzas.writeAnswer(*addresses, kind, xml)
        if len(answer) > FREE and (error := self._refusal(pending, len(answer))) is not None:
            self._link.countError(error)
            answer = stanzas.writeAnswer(*addresses, "error", errorElement(error))
        if not self._send(answer) and self._link.ready:
            # Too many bytes wait for the server, but there is room for an error.
            self._link.countError(ResourceLimit)
            self._send(stanzas.writeAnswer(*addresses, "error", errorElement(ResourceLimit)))

    def _refusal(self, pending: PendingRequest, size: int) -> type[GatewayError] | None:
        """Charge the requester for a large answer; return the error that is sent instead if it is too much."""
        link, request = self._link, pending.request
        # The link would answer a larger one with an outer error, which some servers do not pass on.
        if size <= link.limits.outgoingSize:
            return None if link.budget.allows(request.requester, size, link.now) else OverBudget
        # It was as much work as an answer that is sent.
        link.budget.charge(request.requester, size, link.now)
        if (more := self._tooLarge.more(link.now)) is not None:
            told = f"the answer for {request.namespace} has {size} bytes; {request.requester} got an error{more}"
            self._log.warn(
                "{component}: {told}.", event="delegation.answer_too_large", component=self._component, told=told
            )
        return TooLarge

    # Disco (section 7), for L{wokkel.disco.DiscoHandler}.

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> Any:
        if not nodeIdentifier:
            return [
                DiscoIdentity("component", "generic", "Namespace delegation"),
                *(DiscoFeature(each) for each in (ns.DISCO_INFO, *VERSIONS)),
            ]
        asked = readNestingNode(nodeIdentifier)
        if asked is None or asked[0] not in self._routes:
            return []
        namespace, bare = asked
        route = self._routes[namespace]
        own = Info() if route.handler is None else infoOf(route.handler, bare)
        if route.delegation is None:
            return nested(own, namespace)
        theirs = self._forwarder.info(route.delegation, bare)
        return theirs.addCallback(lambda info: nested(own + info, namespace))

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return []
