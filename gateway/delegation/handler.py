"""
The managing entity on a link: takes what servers forward, finds who answers, and answers in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish import domish
from wokkel.disco import DiscoFeature, DiscoIdentity
from wokkel.iwokkel import IDisco
from zope.interface import implementer

from gateway import jids, ns
from gateway.delegation import stanzas
from gateway.delegation.advice import notGranted
from gateway.delegation.asking import Asking
from gateway.delegation.core import Request
from gateway.delegation.disco import infoOf, nested
from gateway.delegation.held import HeldQueries
from gateway.delegation.managing import Grants, Open, OpenRequests, Route, Turns
from gateway.delegation.nesting import REMAINING, VERSIONS, Info, readNestingNode
from gateway.delegation.onward import Onward
from gateway.errors import (
    AlreadyOpen,
    Forbidden,
    GatewayError,
    HandlerFailed,
    NoAnswer,
    OverBudget,
    Stopping,
    TooLarge,
    TooManyPending,
    TooMuch,
    Unhandled,
    Unreadable,
)
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, IRefusalHandler, IReporting
from gateway.seldom import Seldom
from gateway.stream.budget import FREE
from gateway.stream.raw import RawHandler
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza, errorElement, errorStanza, route

# Seconds after which a grant that has not come is missed.
_GRANT_PATIENCE = 3.0


@implementer(IDisco, IRefusalHandler, IReporting)
class ManagingHandler(RawHandler):
    """
    A managing entity (XEP-0355).

    @param servers: domains of the servers that are heard.
    @param domains: whose users are heard, by client mode.
    @param routes: who answers, by namespace.
    """

    _log = Logger()

    def __init__(
        self,
        component: str,
        servers: frozenset[str],
        routes: Mapping[str, Route],
        onward: Onward,
        asking: Asking,
        domains: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self._component = component
        self._servers = servers
        self._heard = servers | domains
        self._asking = asking
        self._routes = routes
        self._onward = onward
        self._grants = Grants()
        self._held = HeldQueries(component, servers, routes, onward, self._grants.get)
        self._open = OpenRequests()
        self._awaited: dict[Open, Deferred[Any]] = {}
        self._turns: Turns[tuple[IDelegatedNamespace, Open]] = Turns()
        self._draining = False
        self._complainAt: float | None = None
        self._tooLarge = Seldom()

    @property
    def pending(self) -> int:
        return len(self._open)

    def connectionInitialized(self) -> None:
        self._complainAt = self._link.now + _GRANT_PATIENCE
        self._onward.connected()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._grants.disconnected()
        self._complainAt = None
        self._onward.disconnected()

    def drain(self) -> None:
        self._draining = True
        self._held.drain()

    def drained(self) -> None:
        self._onward.abandon()
        for opened in self._open.abandon():
            self._write(opened, "error", errorElement(Stopping))
            self._giveUp(opened)

    def tick(self, now: float) -> None:
        self._onward.tick(now)
        for opened in self._open.expire(now):
            self._log.warn(
                "{component}: {namespace} was not answered in time; {requester} got an error.",
                component=self._component,
                namespace=opened.request.namespace,
                requester=opened.request.requester,
            )
            self._write(opened, "error", errorElement(NoAnswer))
            self._giveUp(opened)
        if self._complainAt is not None and self._complainAt <= now:
            self._complainAt = None
            self._complain()

    # What comes.

    def stanzaReceived(self, stanza: Stanza) -> bool:
        name, kind = stanza.name, stanza.type
        if name == "iq":
            if kind == "set":
                if stanza.sender in self._heard and stanzas.isWrapped(stanza):
                    self._forwardedReceived(stanza)
                    return True
                return False
            if kind == "get":
                return stanza.sender in self._servers and self._held.queryReceived(stanza)
            return kind in ("result", "error") and self._onward.answerReceived(stanza)
        if name == "message":
            if stanza.sender in self._heard and kind != "error" and stanzas.isWrapped(stanza):
                self._advertised(stanza.sender or "", stanza)
                return True
            return False
        return self._onward.presenceReceived(stanza) or self._asking.presenceReceived(
            stanza, self._grants.grantedBy
        )

    def _advertised(self, server: str, stanza: Stanza) -> None:
        for user, grants in stanzas.readAdvertisements(stanza):
            if user is not None:
                if jids.split(user)[1] == server:
                    self._grants.userAdvertised(user, grants)
                    self._log.info(
                        "{component}: {user} delegates {namespaces}.",
                        component=self._component,
                        user=user,
                        namespaces=", ".join(grant.namespace for grant in grants) or "nothing",
                    )
            elif server in self._servers:
                for grant in self._grants.advertised(server, grants):
                    self._log.info(
                        "{component}: {server} delegates {namespace}{filtering} (as {version}).{unwanted}",
                        component=self._component,
                        server=server,
                        namespace=grant.namespace,
                        filtering="".join(f", where there is {name}" for name in sorted(grant.filtering)),
                        version=grant.version,
                        unwanted="" if grant.namespace in self._routes else " The configuration has nobody for it.",
                    )

    def _complain(self) -> None:
        """Say what the server's configuration lacks (section 4.2), and who is not there to answer."""
        for missed in (*self._missed(), *self._onward.missed()):
            self._log.warn("{component}: {missed}", component=self._component, missed=missed)

    def _missed(self) -> Iterator[str]:
        wanted = {namespace: route.filtering for namespace, route in self._routes.items()}
        return notGranted(self._component, self._servers, wanted, self._grants.get)

    def report(self) -> Iterator[str]:
        for server in sorted(self._servers):
            granted = [namespace for namespace in self._routes if self._grants.get(server, namespace) is not None]
            if granted:
                yield f"{server} delegates {', '.join(granted)}"
        yield from self._onward.report()
        yield from self._held.report()
        yield f"open requests: {len(self._open)}"
        # Until they have come they are not missed.
        if self._link.ready and self._complainAt is None:
            yield from self._missed()

    def _forwardedReceived(self, stanza: Stanza) -> None:
        """Section 4.3: one forwarded request, and one answer."""
        server, identifier = stanza.sender or "", stanza.id or ""
        now = self._link.now
        inside = None
        try:
            if not identifier:
                raise Unreadable
            inside = stanzas.unwrap(stanza)
            request = stanzas.readRequest(inside)
        except Unreadable:
            self._log.warn(
                "{component}: {server} forwarded what cannot be read: {stanza!r}.",
                component=self._component,
                server=server,
                stanza=stanza,
            )
            if inside is not None:
                with suppress(Unreadable):
                    opened = Open(inside.version, server, identifier, stanzas.readHead(inside), now)
                    self._write(opened, "error", errorElement(Unreadable))
                    return
            # There is nobody known to tell but the server.
            addresses = route(stanza.recipient or self._component, server)
            self._send(errorStanza("iq", addresses, identifier, Unreadable))
            return
        try:
            opened = self._open.opened(inside.version, server, identifier, request, now)
        except (AlreadyOpen, TooManyPending) as error:
            self._write(Open(inside.version, server, identifier, request, now), "error", errorElement(type(error)))
            return
        try:
            self._dispatch(opened)
        except GatewayError as error:
            self._fail(opened, type(error))

    def stanzaRefused(self, refused: StanzaRefused) -> bool:
        """Answer a forwarded request whose payload the stream refused: an outer error is lost on ejabberd."""
        stanza = refused.stanza
        if stanza.name != "iq" or stanza.type != "set" or stanza.sender not in self._heard or not stanza.id:
            return False
        try:
            inside = stanzas.unwrapHead(refused.head)
            request = stanzas.readHead(inside)
        except Unreadable:
            return False
        opened = Open(inside.version, stanza.sender or "", stanza.id, request, self._link.now)
        self._write(opened, "error", errorElement(refused.why))
        return True

    def _dispatch(self, opened: Open) -> None:
        request = opened.request
        if self._draining:
            raise Stopping
        budget = self._link.budget
        if budget.debts and budget.isOver(request.requester, self._link.now):
            raise OverBudget
        _, domain, resource = jids.split(request.entity)
        if domain != opened.server or resource:
            # Only "to itself" or to "any bare jid that it manages" may be forwarded.
            raise Forbidden
        if opened.server not in self._servers:
            user = jids.bare(request.requester) if request.entity == domain else request.entity
            if not self._grants.grantedBy(user, request.namespace):
                raise Forbidden
        found = self._find(request)
        if found is None:
            raise Unhandled
        if found.delegation is not None and found.delegation.covers(request):
            self._onward.forward(lambda kind, xml: self._settled(opened, kind, xml), request, found.delegation)
        elif found.handler is None:
            raise Unhandled
        elif not self._turns.lines or self._turns.mayBegin(request.line, (found.handler, opened)):
            self._ask(found.handler, opened)

    def _ask(self, handler: IDelegatedNamespace, opened: Open) -> None:
        handle: Callable[[IDelegatedRequest], Any] = handler.answer
        try:
            result = handle(opened.request)
            if result is None or isinstance(result, domish.Element):
                self._result(result, opened)
                return
        except BaseException:
            # SystemExit, too: a handler does not end the process.
            self._raised(Failure(), opened)
            return
        answer: Deferred[Any] = maybeDeferred(lambda: result)
        waits = not answer.called
        if waits:
            self._awaited[opened] = answer
        answer.addCallback(self._result, opened)
        answer.addErrback(self._raised, opened)
        if waits:
            self._turns.began(opened.request.line)
            answer.addBoth(lambda _: self._turnEnded(opened.request.line))

    def _turnEnded(self, line: str) -> None:
        self._turns.ended(line)
        while (following := self._turns.following(line)) is not None:
            handler, opened = following
            if not self._open.isOpen(opened):
                continue
            if self._link.budget.isOver(opened.request.requester, self._link.now):
                self._fail(opened, OverBudget)
            else:
                self._ask(handler, opened)

    def _find(self, request: Request) -> Route | None:
        route = self._routes.get(request.namespace)
        if route is None:
            names = REMAINING.get(request.namespace, ())
            route = next((self._routes[name] for name in names if name in self._routes), None)
        return route

    # What goes.

    def _result(self, result: domish.Element | None, opened: Open) -> None:
        if result is None:
            xml = b""
        elif isinstance(result, domish.Element):
            try:
                xml = stanzas.writtenSafely(result)
            except TooLarge:
                self._link.budget.charge(opened.request.requester, self._link.limits.stanzaSize, self._link.now)
                raise
        else:
            raise TypeError(f"an answer is an element or None, not {type(result).__name__}")
        self._settled(opened, "result", xml)

    def _raised(self, failure: Failure, opened: Open) -> None:
        """The handler has refused a request, or has failed; or nobody waits for it any more."""
        if not self._open.isOpen(opened):
            return
        error: Any = failure.value
        if isinstance(error, StanzaError):
            try:
                self._settled(opened, "error", stanzas.writtenSafely(error.getElement()))
                return
            except Exception:
                failure = Failure()
        if isinstance(error, GatewayError):
            self._fail(opened, type(error))
            return
        self._log.failure(
            "{component}: the handler for {namespace} failed.",
            failure=failure,
            component=self._component,
            namespace=opened.request.namespace,
        )
        self._fail(opened, HandlerFailed)

    def _fail(self, opened: Open, error: type[GatewayError]) -> None:
        self._settled(opened, "error", errorElement(error))

    def _settled(self, opened: Open, kind: str, xml: bytes) -> None:
        """The first answer is sent; what comes after it, or too late, is not."""
        self._awaited.pop(opened, None)
        if self._open.closed(opened):
            self._write(opened, kind, xml)

    def _giveUp(self, opened: Open) -> None:
        """Nobody wants the answer any more."""
        answer = self._awaited.pop(opened, None)
        if answer is not None:
            answer.cancel()

    def _write(self, opened: Open, kind: str, xml: bytes) -> None:
        addresses = opened.version, self._component, opened.server, opened.id, opened.request
        answer = stanzas.answered(*addresses, kind, xml)
        if len(answer) > FREE and (error := self._refusal(opened, len(answer))) is not None:
            answer = stanzas.answered(*addresses, "error", errorElement(error))
        if not self._send(answer) and self._link.ready:
            # Too much waits for the server, but there is room for an error.
            self._send(stanzas.answered(*addresses, "error", errorElement(TooMuch)))

    def _refusal(self, opened: Open, size: int) -> type[GatewayError] | None:
        """Charge the requester for a large answer; return the error that is sent instead if it is too much."""
        link, request = self._link, opened.request
        # The link refuses a larger one as a whole, but only what is in it reaches the requester on every server.
        if size <= link.limits.outgoingSize:
            return None if link.budget.allows(request.requester, size, link.now) else OverBudget
        # It was as much work as one that is sent.
        link.budget.charge(request.requester, size, link.now)
        if (more := self._tooLarge.more(link.now)) is not None:
            told = f"the answer for {request.namespace} has {size} bytes; {request.requester} got an error{more}"
            self._log.warn("{component}: {told}.", component=self._component, told=told)
        return TooLarge

    # Disco, section 7: L{wokkel.disco.DiscoHandler} asks.

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
        theirs = self._onward.info(route.delegation, bare)
        return theirs.addCallback(lambda info: nested(own + info, namespace))

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return []
