"""
Forwards requests to managing entities: the gateway as a delegating server (XEP-0355 section 4).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.delegation import advertisements, stanzas
from gateway.delegation.core import Request
from gateway.delegation.delegations import Delegation
from gateway.delegation.delegator import Completed, Delegator, Forward
from gateway.delegation.nesting import Info, nestingNode
from gateway.errors import BadRequest, RecipientUnavailable
from gateway.reports import StatusItem
from gateway.requirements.servers import kindOf
from gateway.stream.backoff import Backoff
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza
from gateway.xml.errors import errorElement
from gateway.xml.write import presence, route

# Conditions by which a server reports that an address is unavailable. Without s2s, for a domain that they do not
# serve at the moment, ejabberd answers forbidden and Prosody not-allowed.
_NOT_THERE = frozenset(
    {
        "forbidden",
        "gone",
        "not-allowed",
        "recipient-unavailable",
        "remote-server-not-found",
        "remote-server-timeout",
        "service-unavailable",
    }
)

# Those that a managing entity may send as well: some accept forwarded requests from their own server only.
_REFUSALS = frozenset({"forbidden", "not-allowed"})

# Seconds until an unavailable managing entity is asked again: at first, and at most.
_FIRST_RETRY = 2.0
_LAST_RETRY = 60.0

# Seconds that a disco query waits for the information of a managing entity.
_INFO_TIMEOUT = 2.0

# Is called with type and content of the inner iq.
Complete = Callable[[str, bytes], object]


@define(eq=False)
class _Contact:
    """
    One managing entity.

    @ivar address: the address for requests. The full JID of a client is known from its presence only.
    @ivar askAt: time of the next query for its availability; C{None} while that is known, or a query is under way.
    @ivar asking: number of queries under way.
    @ivar refusal: condition of its last answer, if that was in L{_REFUSALS}; else empty.
    """

    entity: str
    address: str | None
    askAt: float | None = None
    backoff: Backoff = field(factory=lambda: Backoff(_FIRST_RETRY, _LAST_RETRY))
    asking: int = 0
    refusal: str = ""


@frozen(eq=False)
class _InfoQuery:
    """A disco query that waits for the information to nest."""

    delegation: Delegation
    node: str
    since: float
    told: Deferred[Info] = field(factory=Deferred)


class Forwarder:
    """
    Forwards requests in delegated namespaces, and keeps track of the managing entities.

    @param onAvailable: is called with each managing entity that has connected.
    @ivar link: link of the component.
    """

    _log = Logger()

    def __init__(
        self, delegations: Iterable[Delegation], link: Link, onAvailable: Callable[[str], object] | None = None
    ) -> None:
        self._component = link.jid
        self.link = link
        self._delegator = Delegator(delegations, secrets.token_urlsafe)
        entities = [entity for each in self._delegator.delegations for entity in each.entities]
        self._contacts = {entity: _Contact(entity, None if _isBare(entity) else entity) for entity in entities}
        self._infos: dict[tuple[str, str], Info] = {}
        self._waiting: list[_InfoQuery] = []
        self._watchers: list[Callable[[float], object]] = []
        self._onAvailable = onAvailable

    def connected(self) -> None:
        for contact in self._contacts.values():
            contact.backoff.reset()
            contact.askAt = self.link.now
            if _isClient(contact.entity):
                # In this order: when Prosody refuses a probe it drops a pending subscription.
                self.link.sendRaw(self._presence(contact, "probe"))
                self.link.sendRaw(self._presence(contact, "subscribe"))
        self.tick(self.link.now)

    def disconnected(self) -> None:
        for contact in self._contacts.values():
            contact.askAt = None
            self._setUnavailable(contact)

    def tick(self, now: float) -> None:
        for contact in self._contacts.values():
            if contact.askAt is not None and contact.askAt <= now and contact.address is not None:
                self._ask(contact, contact.address)
        self._perform(self._delegator.expire(now))
        self._answerWaiting(now)

    def abandon(self) -> None:
        self._perform(self._delegator.abandon())

    @property
    def pending(self) -> int:
        """Number of forwarded requests without an answer."""
        return len(self._delegator)

    def availability(self) -> dict[str, bool]:
        """Return the managing entities, each with true if it is available."""
        return {entity: self._delegator.address(entity) is not None for entity in self._contacts}

    def report(self) -> Iterator[StatusItem]:
        """Return items for the status page."""
        for entity in sorted(self._contacts):
            isAvailable = self._delegator.address(entity) is not None
            state = "is available" if isAvailable else self._describeAbsence(entity)
            about: dict[str, Any] = {"entity": entity, "state": state, "available": isAvailable}
            text = "managing entity {entity} {state}"
            if not isAvailable:
                about["advice"] = self._remedy(entity)
                text += "; {advice}"
            yield StatusItem("delegation.entity", text, about, not isAvailable)

    def _describeAbsence(self, entity: str) -> str:
        refusal = self._contacts[entity].refusal
        return f"is not available, or refuses {self._component} ({refusal})" if refusal else "is not available"

    def missing(self) -> Iterator[StatusItem]:
        """Return an item for each managing entity that is unavailable, with advice."""
        for entity in sorted(self._contacts):
            if self._delegator.address(entity) is None:
                yield StatusItem(
                    "delegation.entity_missing",
                    "{entity} {state}, so no requests are forwarded to it; {todo}.",
                    {"entity": entity, "state": self._describeAbsence(entity), "todo": self._remedy(entity)},
                    isProblem=True,
                )

    def _remedy(self, entity: str) -> str:
        if _isClient(entity):
            return f"its client must be online, and accept the subscription request of {self._component}"
        if self._contacts[entity].refusal:
            return (
                "check that it is connected to its server, and that it accepts delegations from "
                f"{self._component}. It is queried again at least once a minute"
            )
        isEjabberd = kindOf(self.link.software) in ("", "ejabberd")
        drops = "An ejabberd with mod_privilege drops requests between components, see docs/privilege.md. "
        return (
            f"check that it is connected to its server. {drops if isEjabberd else ''}"
            "It is queried again at least once a minute"
        )

    # Requests and their answers.

    def forward(self, complete: Complete, request: Request, delegation: Delegation) -> None:
        """
        Forward a request.

        @param complete: is called once, with the answer.
        @raise GatewayError: if the request cannot be forwarded.
        """
        self._perform([self._delegator.forward(complete, request, delegation, self.link.now)])

    def answerReceived(self, stanza: Stanza) -> bool:
        """Take an iq result or error. Return true if it answers a forwarded request."""
        sender, identifier = stanza.sender or "", stanza.id or ""
        done: Forward | Completed | None
        if stanza.type == "error":
            condition = _condition(stanza)
            done = self._delegator.onError(sender, identifier, condition not in _NOT_THERE, self.link.now)
            if done is not None and condition in _NOT_THERE:
                self._entityMissing(sender, condition)
        else:
            done = self._delegator.onAnswer(sender, identifier, stanzas.unwrapReply(stanza))
            if done is not None and done.reply is None:
                self._log.warn(
                    "{component}: the answer of {sender} to a request in {namespace} is invalid; "
                    "{requester} got an error.",
                    event="delegation.entity_answer_invalid",
                    component=self._component,
                    sender=sender,
                    namespace=done.request.namespace,
                    requester=done.request.requester,
                )
        if done is None:
            return False
        self._perform([done])
        return True

    def _perform(self, actions: Iterable[Forward | Completed]) -> None:
        for action in actions:
            if isinstance(action, Forward):
                addresses = self._component, action.address
                self.link.sendRaw(stanzas.writeForward(ns.DELEGATION_2, *addresses, action.id, action.request))
            elif action.reply is None:
                action.origin("error", errorElement(RecipientUnavailable))
            else:
                action.origin(action.reply.type, action.reply.xml)

    # Availability. A component is queried for the information to nest until it answers; a client sends presence.

    def presenceReceived(self, stanza: Stanza) -> bool:
        """Take presence. Return true if it was handled here."""
        sender = stanza.sender or ""
        contact = self._contacts.get(sender) or self._contacts.get(jids.bare(sender))
        if contact is None or not _isClient(contact.entity):
            return False
        if stanza.type is None and contact.address in (None, sender):
            contact.address = sender
            if self._delegator.address(contact.entity) is None:
                self._ask(contact, sender)
        elif stanza.type == "unavailable" and contact.address == sender:
            self._setUnavailable(contact)
        elif stanza.type == "subscribe":
            self.link.sendRaw(self._presence(contact, "subscribed"))
        return True

    def _ask(self, contact: _Contact, address: str) -> None:
        """
        Query the information to nest (section 7.2). Any answer also means that the managing entity is available.
        """
        contact.askAt = None
        for delegation in self._delegator.delegatedTo(contact.entity):
            for bare in (False, True):
                node = nestingNode(ns.DELEGATION_2, delegation.namespace, bare)
                query = domish.Element(
                    (None, "iq"), attribs={"type": "get", "to": address, "from": self._component}
                )
                query.addElement((ns.DISCO_INFO, "query"))["node"] = node
                contact.asking += 1
                answer = self.link.request(query)
                answer.addCallbacks(
                    self._infoReceived,
                    self._infoFailed,
                    callbackArgs=(contact, address, node),
                    errbackArgs=(contact, address),
                )

    def _infoReceived(self, result: domish.Element, contact: _Contact, address: str, node: str) -> None:
        # An unreadable answer means that the entity is available, too.
        with suppress(BadRequest):
            self._infos[contact.entity, node] = advertisements.readInfo(result)
        contact.asking -= 1
        self._setAvailable(contact, address)
        self._answerWaiting(self.link.now)

    def _infoFailed(self, failure: Any, contact: _Contact, address: str) -> None:
        contact.asking -= 1
        # An error without a stanza is the link's own: too many requests, or a timeout.
        isAnswer = failure.check(StanzaError) and getattr(failure.value, "stanza", None) is not None
        if isAnswer:
            contact.refusal = _refusal(failure.value.condition)
        if isAnswer and failure.value.condition not in _NOT_THERE:
            self._setAvailable(contact, address)
        elif self._delegator.address(contact.entity) is None:
            self._askLater(contact)
        self._answerWaiting(self.link.now)

    def _setAvailable(self, contact: _Contact, address: str) -> None:
        contact.askAt = None
        contact.refusal = ""
        contact.backoff.reset()
        if self._delegator.address(contact.entity) is None:
            self._delegator.onAvailable(contact.entity, address)
            delegated = self._delegator.delegatedTo(contact.entity)
            self._log.info(
                "{component}: {entity} is available; requests in {namespaces} are forwarded to it.",
                event="delegation.entity_available",
                component=self._component,
                entity=contact.entity,
                namespaces=", ".join(each.namespace for each in delegated),
            )
            addresses = self._component, address
            identifier = secrets.token_urlsafe(6)
            self.link.sendRaw(advertisements.advertisement(ns.DELEGATION_2, *addresses, identifier, delegated))
            if self._onAvailable is not None:
                self._onAvailable(contact.entity)

    def _entityMissing(self, address: str, condition: str) -> None:
        """A server has reported an address as unavailable, or the managing entity refuses requests."""
        for contact in self._contacts.values():
            if contact.address == address and self._delegator.address(contact.entity) is not None:
                contact.refusal = _refusal(condition)
                self._log.warn(
                    "{component}: no requests are forwarded to {entity} any longer: it {absence}.",
                    event="delegation.entity_unavailable",
                    component=self._component,
                    entity=contact.entity,
                    absence=self._describeAbsence(contact.entity),
                )
                self._setUnavailable(contact)
                self._askLater(contact)

    def _setUnavailable(self, contact: _Contact) -> None:
        if _isBare(contact.entity):
            contact.address = None
        self._perform(self._delegator.onUnavailable(contact.entity, self.link.now))

    def _askLater(self, contact: _Contact) -> None:
        if contact.askAt is None:
            contact.askAt = self.link.now + contact.backoff.next()

    # Information to nest.

    def watch(self, observer: Callable[[float], object]) -> None:
        """Call an observer with the time when information may have come, and once a second."""
        self._watchers.append(observer)

    def isKnown(self, delegation: Delegation, bare: bool) -> bool:
        """Return true if the information to nest is known, or an available managing entity has none."""
        node = nestingNode(ns.DELEGATION_2, delegation.namespace, bare)
        return any(
            (entity, node) in self._infos
            or (self._delegator.address(entity) is not None and not self._contacts[entity].asking)
            for entity in delegation.entities
        )

    def knownInfo(self, delegation: Delegation) -> Info | None:
        """Return the information to nest into the server's own disco#info, if it is known."""
        return self._info(delegation, nestingNode(ns.DELEGATION_2, delegation.namespace, False))

    def _info(self, delegation: Delegation, node: str) -> Info | None:
        return next((self._infos[each, node] for each in delegation.entities if (each, node) in self._infos), None)

    def askSoon(self, delegation: Delegation) -> None:
        """Query unavailable managing entities soon, because a server waits for their information."""
        soon = self.link.now + _FIRST_RETRY
        for contact in (self._contacts[entity] for entity in delegation.entities):
            if contact.askAt is not None and contact.askAt > soon:
                contact.askAt = soon

    def info(self, delegation: Delegation, bare: bool) -> Deferred[Info]:
        """Return the information of a delegation's managing entity. Wait for a query that is under way."""
        wanted = _InfoQuery(delegation, nestingNode(ns.DELEGATION_2, delegation.namespace, bare), self.link.now)
        # Do not look at all waiting queries: there may be as many as the link's lane has open requests.
        if not self._answerIfKnown(wanted, self.link.now):
            self._waiting.append(wanted)
        return wanted.told

    def _answerWaiting(self, now: float) -> None:
        """Answer the waiting queries whose information is known, or whose time is over."""
        waiting, self._waiting = self._waiting, []
        self._waiting += [wanted for wanted in waiting if not self._answerIfKnown(wanted, now)]
        for observer in self._watchers:
            observer(now)

    def _answerIfKnown(self, wanted: _InfoQuery, now: float) -> bool:
        """Answer a query if its information is known or its time is over. Return true if it was answered."""
        info = self._info(wanted.delegation, wanted.node)
        isAsked = any(self._contacts[each].asking for each in wanted.delegation.entities)
        if info is None and isAsked and now - wanted.since < _INFO_TIMEOUT:
            return False
        wanted.told.callback(info or Info())
        return True

    def _presence(self, contact: _Contact, kind: str) -> bytes:
        return presence(route(self._component, jids.bare(contact.entity)), kind)


def _isClient(entity: str) -> bool:
    return "@" in jids.bare(entity)


def _isBare(entity: str) -> bool:
    """Return true for the bare JID of a client: its server would answer requests to that itself."""
    return _isClient(entity) and "/" not in entity


def _refusal(condition: str) -> str:
    return condition if condition in _REFUSALS else ""


def _condition(stanza: Stanza) -> str:
    """Return the condition of a stanza error; an empty string if it is unreadable."""
    try:
        element = stanza.element
    except BadRequest:
        return ""
    for error in element.elements():
        if error.name == "error":
            for child in error.elements():
                if child.uri == ns.STANZA_ERRORS and child.name != "text":
                    return str(child.name)
    return ""
