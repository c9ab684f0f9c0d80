"""
The managing entity on a link: takes what servers forward, finds who answers, and answers in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.ijabber import IXMPPHandlerCollection
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish import domish
from wokkel.data_form import Form
from wokkel.disco import DiscoFeature, DiscoIdentity
from wokkel.iwokkel import IDisco
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import jids, ns
from gateway.delegation import stanzas
from gateway.delegation.advice import howToGrant
from gateway.delegation.core import (
    CLIENT_HEADER,
    REMAINING,
    VERSIONS,
    Delegation,
    Info,
    Request,
    readNestingNode,
)
from gateway.delegation.managing import Grants, Open, OpenRequests
from gateway.delegation.onward import Onward
from gateway.errors import (
    AlreadyOpen,
    Forbidden,
    GatewayError,
    HandlerFailed,
    NoAnswer,
    Stopping,
    TooManyPending,
    Unhandled,
    Unreadable,
)
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, IRawHandler
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza, errorElement, errorReply, parse

# Seconds after which a grant that has not come is missed.
_GRANT_PATIENCE = 10.0


@frozen
class Route:
    """
    Who answers for a namespace.

    @ivar handler: if it is one of this process, or where requests are handed on by their attributes.
    @ivar delegation: if they are handed on.
    """

    handler: IDelegatedNamespace | None
    delegation: Delegation | None


@implementer(IRawHandler, IDisco)
class ManagingHandler(XMPPHandler):
    """
    A managing entity (XEP-0355).

    @param servers: domains of the servers that are heard.
    @param routes: who answers, by namespace.
    """

    _log = Logger()

    def __init__(
        self, component: str, servers: frozenset[str], routes: Mapping[str, Route], onward: Onward
    ) -> None:
        super().__init__()
        self._component = component
        self._servers = servers
        self._routes = routes
        self._onward = onward
        self._grants = Grants()
        self._open = OpenRequests()
        self._awaited: dict[Open, Deferred[Any]] = {}
        self._draining = False
        self._complainAt: float | None = None
        self._link: Link
        self._send: Callable[[bytes], object]

    @property
    def pending(self) -> int:
        return len(self._open)

    def setHandlerParent(self, parent: IXMPPHandlerCollection) -> None:
        # A raw handler is of use on a link only.
        assert isinstance(parent, Link)
        self._link = parent
        self._send = parent.sendRaw
        super().setHandlerParent(parent)

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
                if stanza.sender in self._servers and stanzas.isWrapped(stanza):
                    self._forwardedReceived(stanza)
                    return True
                return False
            return kind in ("result", "error") and self._onward.answerReceived(stanza)
        if name == "message":
            if stanza.sender in self._servers and kind != "error" and stanzas.isWrapped(stanza):
                self._advertised(stanza.sender or "", stanza)
                return True
            return False
        return self._onward.presenceReceived(stanza)

    def _advertised(self, server: str, stanza: Stanza) -> None:
        for user, grants in stanzas.readAdvertisements(stanza):
            if user is None:
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
        """Section 4.2 has not come true: say what the server's configuration lacks."""
        for server in sorted(self._servers):
            missing = [namespace for namespace in self._routes if self._grants.get(server, namespace) is None]
            if missing:
                self._log.warn(
                    "{component}: {server} does not delegate {namespaces}, so nobody there is served. {advice}",
                    component=self._component,
                    server=server,
                    namespaces=", ".join(missing),
                    advice=howToGrant(self._component, server, missing),
                )

    def _forwardedReceived(self, stanza: Stanza) -> None:
        """Section 4.3: one forwarded request, and one answer."""
        server, identifier = stanza.sender or "", stanza.id or ""
        try:
            inside = stanzas.unwrap(stanza)
            request = stanzas.readRequest(inside)
            if not identifier:
                raise Unreadable
        except Unreadable:
            self._log.warn(
                "{component}: {server} forwarded what cannot be read: {stanza!r}.",
                component=self._component,
                server=server,
                stanza=stanza,
            )
            # There is nobody known to tell but the server.
            self._send(errorReply(stanza, Unreadable))
            return
        now = self._link.now
        try:
            opened = self._open.opened(inside.version, server, identifier, request, now)
        except (AlreadyOpen, TooManyPending) as error:
            self._write(Open(inside.version, server, identifier, request, now), "error", errorElement(type(error)))
            return
        try:
            self._dispatch(opened)
        except GatewayError as error:
            self._fail(opened, type(error))

    def _dispatch(self, opened: Open) -> None:
        request = opened.request
        if self._draining:
            raise Stopping
        _, domain, resource = jids.split(request.entity)
        if domain != opened.server or resource:
            # Only "to itself" or to "any bare jid that it manages" may be forwarded.
            raise Forbidden
        route = self._find(request)
        if route is None:
            raise Unhandled
        if route.delegation is not None and route.delegation.covers(request):
            self._onward.forward(lambda kind, xml: self._settled(opened, kind, xml), request, route.delegation)
        elif route.handler is None:
            raise Unhandled
        else:
            self._ask(route.handler, opened)

    def _ask(self, handler: IDelegatedNamespace, opened: Open) -> None:
        handle: Callable[[IDelegatedRequest], Any] = handler.answer
        try:
            result = handle(opened.request)
            if result is None or isinstance(result, domish.Element):
                self._result(result, opened)
                return
        except Exception:
            self._failed(Failure(), opened)
            return
        answer: Deferred[Any] = maybeDeferred(lambda: result)
        if not answer.called:
            self._awaited[opened] = answer
        answer.addCallback(self._result, opened)
        answer.addErrback(self._failed, opened)

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
            xml = stanzas.written(result)
        else:
            raise TypeError(f"an answer is an element or None, not {type(result).__name__}")
        self._settled(opened, "result", xml)

    def _failed(self, failure: Failure, opened: Open) -> None:
        error = failure.value
        if not self._open.isOpen(opened):
            # It was given up.
            return
        if isinstance(error, StanzaError):
            self._settled(opened, "error", stanzas.written(error.getElement()))
        elif isinstance(error, GatewayError):
            self._fail(opened, type(error))
        else:
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
        self._send(
            stanzas.answered(opened.version, self._component, opened.server, opened.id, opened.request, kind, xml)
        )

    # Disco, section 7: L{wokkel.disco.DiscoHandler} asks.

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> Any:
        if not nodeIdentifier:
            return [
                DiscoIdentity("component", "generic", "Namespace delegation"),
                *(DiscoFeature(each) for each in (ns.DISCO_INFO, *VERSIONS)),
            ]
        nested = readNestingNode(nodeIdentifier)
        if nested is None or nested[0] not in self._routes:
            return []
        namespace, bare = nested
        route = self._routes[namespace]
        own = Info() if route.handler is None else _info(route.handler, bare)
        if route.delegation is None:
            return _discoItems(own, namespace, bare)
        theirs = self._onward.info(route.delegation, bare)
        return theirs.addCallback(lambda info: _discoItems(own + info, namespace, bare))

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return []


def _info(handler: IDelegatedNamespace, bare: bool) -> Info:
    if bare:
        return Info(tuple(handler.bareIdentities), tuple(handler.bareFeatures))
    return Info(tuple(handler.identities), tuple(handler.features))


def _discoItems(info: Info, namespace: str, bare: bool) -> list[Any]:
    """
    As Wokkel has it. There is always something: a server may delegate nothing before it has a result, and an empty
    one would be sent as an error.
    """
    features = info.features or ((ns.DISCO_INFO,) if bare else (namespace,))
    return [
        *(DiscoIdentity(*identity) for identity in info.identities),
        *(DiscoFeature(feature) for feature in features),
        *(Form.fromElement(parse(CLIENT_HEADER, form.encode())) for form in info.forms),
    ]
