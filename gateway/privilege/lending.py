"""
Lent privileges (XEP-0356): another component may use the permissions of this component.

Towards that component the gateway acts as the server. A request for a user is sent to
C{user\\40domain@component/x}, because the user's own address does not lead to the gateway. A message may be sent to
any address of the gateway. The resource is ignored, but necessary: without one, the mod_privilege of Prosody
refuses the stanza, and that of ejabberd drops iqs. Presence cannot be lent: it would have to come from the users'
addresses.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator

from attrs import asdict, define, evolve, frozen
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    BadRequest,
    GatewayError,
    NoAnswer,
    ResourceLimit,
    Stopping,
    TooLarge,
    TooManyPending,
)
from gateway.interfaces import IStatusProvider
from gateway.log.seldom import Seldom
from gateway.metrics import IMetrics, IMetricsProvider, names
from gateway.privilege import stanzas
from gateway.privilege.core import Permissions
from gateway.privilege.handler import PrivilegeHandler
from gateway.reports import StatusItem
from gateway.stream.feeds import VERSIONS
from gateway.stream.latest import keepLatest
from gateway.stream.pending import PendingTable
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza, errorReply
from gateway.xml.errors import readError
from gateway.xml.write import escape, message, route, serialised, tag

# Requests under way of all entities together, and seconds for each.
_MAX_OPEN = 500
_TIMEOUT = 30.0

# Messages that the server may still refuse; older ones are forgotten.
_MAX_SENT = 1_000


@frozen(eq=False)
class _PendingRequest:
    """
    A request that was passed on.

    @ivar stanza: the request, see L{_withoutContent}.
    @ivar user: the user whom the request is for, bare.
    """

    stanza: Stanza
    user: str
    deadline: float


@define
class _Count:
    """Counters of one entity: messages and requests that were passed on, and refusals."""

    messages: int = 0
    requests: int = 0
    refused: int = 0


@implementer(IMetricsProvider, IStatusProvider)
class Lending(RawHandler):
    """
    Passes on requests and messages of entities, within the permissions of the link's component.

    @param privileges: the privileges of the component.
    @param server: domain of the server that grants them.
    @param entities: domains of the components that may use them.
    """

    _log = Logger()

    def __init__(self, privileges: PrivilegeHandler, server: str, entities: Iterable[str]) -> None:
        super().__init__()
        self._privileges = privileges
        self._server = server
        self._counts = {entity: _Count() for entity in sorted(entities)}
        self._available: set[str] = set()
        self._open: PendingTable[str, _PendingRequest] = PendingTable(_MAX_OPEN)
        # Messages that the server may still refuse, by outer id.
        self._sent: dict[str, Stanza] = {}
        self._draining = False
        self._refusals = Seldom()
        privileges.watchGrants(self._advertiseAll)

    # As a handler.

    @property
    def pending(self) -> int:
        return len(self._open)

    def connectionInitialized(self) -> None:
        # A stopped link may be started again.
        self._draining = False

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._available.clear()
        self._sent.clear()

    def drain(self) -> None:
        self._draining = True

    def drained(self) -> None:
        for _, pending in self._open.popAll():
            self._link.refuse(pending.stanza, Stopping)

    def tick(self, now: float) -> None:
        if not self._link.ready:
            # The error could be dropped from the outbox. It is sent when the link is up again.
            return
        for _, pending in self._open.expire(now):
            self._link.refuse(pending.stanza, NoAnswer)

    def measure(self, metrics: IMetrics) -> None:
        metrics.counter(*names.LENT).setFunction(
            lambda: {
                (entity, outcome): number
                for entity, count in self._counts.items()
                for outcome, number in asdict(count).items()
            }
        )
        metrics.gauge(*names.PENDING).labels("lent").setFunction(lambda: len(self._open))

    def report(self) -> Iterator[StatusItem]:
        granted = self._privileges.permissions(self._server).version
        for entity, count in self._counts.items():
            about = {"entity": entity, "server": self._server, **asdict(count)}
            if granted:
                yield StatusItem(
                    "privileges.lent",
                    "{entity} uses lent privileges on {server}: {messages} messages, {requests} requests, "
                    "{refused} refused",
                    about,
                )
            elif self._link.ready:
                text = "{server} grants no privileges, so none are lent to {entity}: see docs/privilege.md"
                yield StatusItem("privileges.nothing_to_lend", text, about, isProblem=True)

    def stanzaReceived(self, stanza: Stanza) -> bool:
        kind = stanza.type
        if stanza.name == "message":
            if kind == "error":
                return stanza.id in self._sent and stanza.sender == self._server and self._onMessageError(stanza)
            return b"urn:xmpp:privilege:" in stanza.raw and self._handle(stanza, self._message)
        if stanza.name != "iq":
            return False
        if kind in ("get", "set"):
            return "\\40" in (stanza.recipient or "") and self._handle(stanza, self._request)
        return stanza.id in self._open and self._onAnswer(stanza)

    # Stanzas of entities.

    def _handle(self, stanza: Stanza, act: Callable[[Stanza, domish.Element, _Count], bool]) -> bool:
        """
        Handle a stanza of an entity, or refuse it.

        @param act: handles it; returns false if it has nothing to do with privileges.
        """
        count = self._counts.get(jids.bare(stanza.sender or ""))
        if count is None:
            return False
        try:
            return act(stanza, stanza.element, count)
        except GatewayError as error:
            count.refused += 1
            self._link.refuse(stanza, type(error))
            if (more := self._refusals.more(self._link.now)) is not None:
                reason = str(error) or type(error).__name__
                what = f"refused a {stanza.name} of {stanza.sender}: {reason}{more}"
                self._log.warn(
                    "{component}: {what}.", event="privileges.use_refused", component=self._link.jid, what=what
                )
            return True

    def _message(self, stanza: Stanza, outer: domish.Element, count: _Count) -> bool:
        """Pass on a message in the name of a user or of the server (section 5)."""
        recipient = stanza.recipient or self._link.jid
        if jids.split(recipient)[1] != self._link.jid or not stanzas.isPrivileged(outer):
            return False
        inner = stanzas.moved(stanzas.unwrapMessage(outer))
        sender, permissions = self._privileges.managed(inner.getAttribute("from", ""))
        permissions.checkMessage(sender)
        if not inner.getAttribute("to"):
            raise BadRequest
        inner["from"] = sender
        wrapped = stanzas.wrapMessage(permissions.version, self._server, inner)
        identifier = self._sendToServer(wrapped)
        keepLatest(self._sent, identifier, _withoutContent(stanza, recipient), _MAX_SENT)
        count.messages += 1
        return True

    def _request(self, stanza: Stanza, outer: domish.Element, count: _Count) -> bool:
        """Pass on a request for a user's roster (section 4), or on behalf of a user (section 6)."""
        local, domain, _ = jids.split(stanza.recipient or "")
        payloads = list(outer.elements())
        isRoster = [each.uri for each in payloads] == [ns.ROSTER]
        if domain != self._link.jid or not (isRoster or stanzas.isPrivileged(outer)):
            return False
        if not stanza.id:
            raise BadRequest
        user, permissions = self._privileges.managed(jids.unescapeLocal(local))
        kind = stanza.type or ""
        if isRoster:
            permissions.checkRoster(user, kind)
            # Prosody accepts several items, and answers each with the same id.
            if kind == "set" and len(list(payloads[0].elements(ns.ROSTER, "item"))) != 1:
                raise BadRequest
            request = domish.Element((None, "iq"), attribs={"type": kind, "to": user})
            request.addChild(payloads[0])
        else:
            inner = stanzas.unwrapIq(outer)
            permissions.checkIq(stanzas.describeIq(user, kind, inner))
            request = stanzas.wrapIq(permissions.version, user, inner)
        if self._draining:
            raise Stopping
        if self._open.isFull:
            raise TooManyPending
        identifier = self._sendToServer(request)
        kept = _withoutContent(stanza, stanza.recipient or "")
        self._open.add(identifier, _PendingRequest(kept, user, self._link.now + _TIMEOUT))
        count.requests += 1
        return True

    def _sendToServer(self, outer: domish.Element) -> str:
        """
        Send a stanza to the server with an id that cannot be guessed.

        @return: the id.
        """
        outer["from"], outer["id"] = self._link.jid, secrets.token_urlsafe()
        data = serialised(outer, ns.COMPONENT_ACCEPT).encode()
        # The link would send its error to this component, and not to the entity.
        if len(data) > self._link.limits.outgoingSize:
            raise TooLarge
        if not self._link.sendRaw(data):
            raise ResourceLimit
        identifier: str = outer["id"]
        return identifier

    # Answers of the server.

    def _onAnswer(self, answer: Stanza) -> bool:
        """Pass an answer back unchanged, from the address of the request."""
        identifier = answer.id or ""
        if answer.sender != self._open[identifier].user:
            return False
        pending = self._open.pop(identifier)
        data = answer.readdressed(_replyAddresses(pending.stanza))
        # The outer id is the first occurrence: the addresses do not contain it.
        data = data.replace(identifier.encode(), escape(pending.stanza.id or "").encode(), 1)
        if not self._link.sendRaw(data) and self._link.ready:
            # Too many bytes wait for the server, but there is room for an error.
            self._link.countError(ResourceLimit)
            self._link.sendRaw(errorReply(pending.stanza, ResourceLimit))
        return True

    def _onMessageError(self, error: Stanza) -> bool:
        """Pass on the error of a message that the server has refused."""
        sent = self._sent.pop(error.id or "")
        self._counts[jids.bare(sent.sender or "")].refused += 1
        try:
            reason = readError(error.element)
        except Exception:
            reason = StanzaError("undefined-condition", "cancel")
        content = serialised(reason.getElement(), ns.COMPONENT_ACCEPT).encode()
        self._link.sendRaw(message(_replyAddresses(sent), content, sent.id, "error"))
        return True

    # Advertisements.

    def onAvailable(self, entity: str) -> None:
        """Advertise the privileges to an entity that has connected."""
        if entity in self._counts:
            self._available.add(entity)
            self._advertise(entity)

    def _advertiseAll(self) -> None:
        for entity in sorted(self._available):
            self._advertise(entity)

    def _advertise(self, entity: str) -> None:
        granted = self._privileges.permissions(self._server)
        if not granted.version:
            return
        # An entity that knows both versions uses the later message.
        for version in reversed(VERSIONS):
            # The older version has no privileged iqs.
            iq = granted.iq if version == ns.PRIVILEGE else {}
            lent = Permissions(self._link.jid, version, granted.roster, False, granted.message, "none", iq)
            self._link.send(stanzas.advertisement(lent, entity))


def _withoutContent(stanza: Stanza, recipient: str) -> Stanza:
    """Return a stanza without its content, which is enough to answer it."""
    return evolve(stanza, recipient=recipient, raw=tag(stanza.name).encode(), cut=0)


def _replyAddresses(stanza: Stanza) -> bytes:
    """Return the addresses of an answer."""
    return route(stanza.recipient or "", stanza.sender or "")
