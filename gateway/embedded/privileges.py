"""
The server's side of XEP-0356 (0.4.1): privileges of components for the accounts of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.config.tables import Domain, PrivilegesTable
from gateway.embedded import stanzas
from gateway.embedded.core import MAX_STANZA, Router, present
from gateway.embedded.extension import Extension
from gateway.embedded.ports import Peer
from gateway.embedded.roster import Item
from gateway.embedded.sessions import Account
from gateway.embedded.stanzas import toBytes
from gateway.errors import (
    AlreadyOpen,
    BadRequest,
    GatewayError,
    Malformed,
    NoAnswer,
    NotAcceptable,
    NotAllowed,
    NotGranted,
    RecipientUnavailable,
    TooManyPending,
)
from gateway.privilege import stanzas as wire
from gateway.privilege.core import Permissions
from gateway.stream.core import Splitter
from gateway.stream.stanzas import Stanza
from gateway.xml import write
from gateway.xml.context import CLIENT, COMPONENT, Context
from gateway.xml.errors import errorStanza
from gateway.xml.read import parse
from gateway.xml.write import route

# Seconds for the answer to a request on behalf of an account; less than a link allows for its own requests.
_TIMEOUT = 25.0
_MAX_OPEN = 1_000

# Resources of contacts on components whose presence is kept, and bytes of each presence.
_MAX_CONTACTS = 2_000
_MAX_PRESENCE = 16 * 1024


# Recipient, account on whose behalf the request was sent, id.
Key = tuple[str, str, str]


def grants(domain: str, tables: Mapping[Domain, PrivilegesTable]) -> dict[str, Permissions]:
    """Return the configured permissions by component."""
    return {
        entity: Permissions(domain, ns.PRIVILEGE, each.roster, each.push, each.message, each.presence, each.iq)
        for entity, each in tables.items()
    }


@define(eq=False)
class _Entity:
    """
    A connected privileged entity.

    @ivar shown: the resources whose available presence it was sent.
    """

    jid: str
    peer: Peer
    permissions: Permissions
    shown: set[str] = field(factory=set)


class Privileges(Extension):
    """
    The privileges of one host's components.

    @param granted: by component.
    """

    def __init__(self, router: Router, granted: Mapping[str, Permissions], clock: IReactorTime) -> None:
        self._router = router
        self._granted = granted
        self._clock = clock
        self._entities: dict[str, _Entity] = {}
        self._open: dict[Key, _PrivilegedIqPeer] = {}
        self._contacts: dict[str, Stanza] = {}
        self._pushes = 0

    # Connections of privileged entities.

    def componentConnected(self, component: str) -> None:
        peer = self._router.components[component]
        permissions = self._granted.get(component)
        if permissions is None or peer is None:
            return
        entity = self._entities[component] = _Entity(component, peer, permissions)
        peer.write(toBytes(wire.advertisement(permissions, component), ns.COMPONENT_ACCEPT, MAX_STANZA))
        # > if a privileged entity is connected after first presence stanzas have been received, the server MUST
        # > send it all the presence stanzas with no 'type' attribute it would have had  (section 8)
        for account in self._router.accounts.values():
            for session, presence in account.available():
                self._show([entity], presence, session.jid, None, True)
        for jid, presence in self._contacts.items():
            if self._isWatched(jid):
                self._show([entity], presence, jid, None, False)

    def componentDisconnected(self, component: str) -> None:
        # The component cannot send unavailable presence for its resources any longer.
        for jid in [each for each in self._contacts if jids.split(each)[1] == component]:
            del self._contacts[jid]
            for entity in self._entities.values():
                entity.shown.discard(jid)
        if self._entities.pop(component, None) is not None:
            for key, proxy in list(self._open.items()):
                if jids.split(proxy.agent or "")[1] == component:
                    self._open.pop(key).deadline.cancel()

    # Stanzas of privileged entities.

    def stanzaReceived(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        if stanza.name == "presence":
            self._contactPresence(stanza, sender, recipient)
            return False
        entity = jids.split(sender)[1]
        local, domain, resource = jids.split(recipient)
        if entity == self._router.domain or domain != self._router.domain:
            return False
        permissions = self._granted.get(entity) or Permissions(domain)
        if stanza.name == "message":
            if not local and stanza.type != "error" and b"urn:xmpp:privilege:" in stanza.raw:
                return self._message(peer, stanza, permissions)
        elif stanza.type in ("get", "set"):
            if b"privileged_iq" in stanza.raw:
                return self._iq(peer, stanza, sender, recipient, permissions)
            if local and not resource and ns.ROSTER.encode() in stanza.raw:
                return self._roster(peer, stanza, sender, recipient, permissions)
        return False

    def _roster(self, peer: Peer, stanza: Stanza, sender: str, recipient: str, permissions: Permissions) -> bool:
        """Answer a roster get or set (section 4.3)."""
        payloads = list(stanza.element.elements())
        if [each.uri for each in payloads] != [ns.ROSTER]:
            return False
        kind = stanza.type or ""
        permissions.checkRoster(recipient, kind)
        # If rosters are delegated, the managing entity answers (XEP-0355 section 4.3).
        if self._router.offerRequest(peer, stanza, sender, recipient):
            return True
        account = self._router.accounts.get(recipient)
        if account is None:
            raise RecipientUnavailable
        answer = ""
        if kind == "get":
            answer = stanzas.rosterQuery(account.roster.listed())
        else:
            wanted, removed = stanzas.readItem(payloads[0])
            subscription = next(payloads[0].elements(ns.ROSTER, "item")).getAttribute("subscription")
            if removed:
                # As with subscriptions, only this account's roster changes.
                self._router.removeContact(account, wanted.jid, isAlone=True)
            elif subscription is None:
                self._router.setContact(account, wanted)
            else:
                self._setSubscription(account, wanted, subscription)
        peer.answer(stanza, sender, recipient, answer)
        return True

    def _setSubscription(self, account: Account, wanted: Item, subscription: str) -> None:
        """Add or change a contact with the given subscription, without asking; presence flows at once."""
        if subscription not in ("none", "to", "from", "both"):
            raise BadRequest
        roster, jid = account.roster, wanted.jid
        if jid == account.jid:
            raise NotAllowed
        wasSubscriber, sawBefore = roster.isSubscriber(jid), jid in roster.subscriptions()
        item = roster.set(jid, wanted.name, wanted.groups)
        item.to, item.from_ = subscription in ("to", "both"), subscription in ("from", "both")
        item.ask = item.ask and not item.to
        if item.from_:
            item.pending = None
        self._router.push(account, item)
        self._router.reveal(account, jid, wasSubscriber)
        # A contact on this host is revealed when its own roster changes; one on a component is probed.
        contact = self._router.components.get(jids.split(jid)[1])
        if item.to and not sawBefore and contact is not None and account.available():
            contact.announce(account.jid, jid, "probe")

    def _message(self, peer: Peer, stanza: Stanza, permissions: Permissions) -> bool:
        """Send a message on behalf of an account or the host (section 5)."""
        outer = stanza.element
        if not wire.isPrivileged(outer):
            return False
        inner = wire.moved(wire.unwrapMessage(outer))
        try:
            sender = jids.prepared(inner.getAttribute("from", ""))
        except Malformed:
            sender = ""
        permissions.checkMessage(sender)
        if sender != self._router.domain:
            self._managed(sender)
        recipient = jids.prepared(inner.getAttribute("to", ""))
        content = _cut(CLIENT, toBytes(inner, ns.CLIENT, MAX_STANZA))
        # An error would be sent to the account or the host, and neither handles errors.
        with suppress(GatewayError):
            self._router.fromComponent(peer, content, sender, recipient)
        return True

    def _iq(self, peer: Peer, stanza: Stanza, sender: str, recipient: str, permissions: Permissions) -> bool:
        """Send an iq request on behalf of an account (section 6.3)."""
        outer = stanza.element
        if not wire.isPrivileged(outer):
            return False
        request = wire.unwrapIq(outer)
        permissions.checkIq(wire.describeIq(recipient, stanza.type or "", request))
        self._managed(recipient)
        asked = jids.prepared(request.getAttribute("to") or recipient)
        content = _cut(CLIENT, toBytes(request, ns.CLIENT, MAX_STANZA))
        key = asked, recipient, request["id"]
        if key in self._open:
            raise AlreadyOpen
        if len(self._open) >= _MAX_OPEN:
            raise TooManyPending
        deadline = self._clock.callLater(_TIMEOUT, self._fail, key, NoAnswer)
        proxy = self._open[key] = _PrivilegedIqPeer(
            peer, stanza.id or "", recipient, sender, deadline, self._answer, key
        )
        try:
            # > It sets the 'from' attribute of the encapsulated <iq/> stanza
            # > it can then send the encapsulated <iq/> as if it were sent by Juliet herself
            self._router.fromComponent(proxy, content, recipient, asked)
        except GatewayError as error:
            self._fail(key, type(error))
        return True

    def _managed(self, user: str) -> None:
        if user not in self._router.accounts:
            raise NotGranted(f"{user} is not an account of this host")

    # Answers to requests on behalf of an account.

    def answerReceived(self, stanza: Stanza, sender: str, recipient: str) -> None:
        key = sender, recipient, stanza.id or ""
        asking = self._open.get(key)
        if asking is not None:
            try:
                asking.forward(stanza, sender, recipient)
            except BadRequest:
                self._fail(key, NotAcceptable)

    def _fail(self, key: Key, error: type[GatewayError]) -> None:
        asked, user, identifier = key
        self._answer(key, parse(CLIENT.header, errorStanza("iq", route(asked, user), identifier, error)))

    def _answer(self, key: Key, answer: domish.Element) -> None:
        """
        Return an answer to the privileged entity.

        > it sends it back to privileged entity using a <forward/> element encapsulated in a <privilege/> element
        > (section 6.3)
        """
        proxy = self._open.pop(key, None)
        if proxy is None:
            return
        if proxy.deadline.active():
            proxy.deadline.cancel()
        addresses = route(proxy.user, proxy.agent or "")
        payload = wire.wrapAnswer(ns.PRIVILEGE, wire.moved(answer))
        try:
            content = toBytes(payload, ns.COMPONENT_ACCEPT, MAX_STANZA)
            data = write.iq(addresses, proxy.id, "result", content)
            # Wrapping has made the answer larger, and a component ends its stream if a stanza is too large or deep.
            _cut(COMPONENT, data)
        except NotAcceptable:
            data = errorStanza("iq", addresses, proxy.id, NotAcceptable)
        proxy.peer.write(data)

    # Notifications of privileged entities.

    def contactChanged(self, account: Account, item: Item, removed: bool) -> None:
        """Send roster pushes (section 4.4)."""
        for entity in self._entities.values():
            if entity.permissions.pushes:
                self._pushes += 1
                addresses = route(account.jid, entity.jid)
                query = stanzas.rosterQuery([item], removed)
                entity.peer.write(write.iq(addresses, f"roster-push-{self._pushes}", "set", query.encode()))

    def resourceAvailable(self, jid: str, content: Stanza) -> None:
        self._show(self._entities.values(), content, jid, None, True)

    def resourceUnavailable(self, jid: str, content: Stanza | str) -> None:
        self._show(self._entities.values(), content, jid, "unavailable", True)

    def _contactPresence(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """
        Forward presence that an entity on a component sends to an account.

        > every presence information with no 'type' attribute or with a 'type' with a value of 'unavailable' that
        > the privileged entity is receiving or would receive if it were available  (section 7.4; the managed entity
        > is meant, as the example and what follows say)
        """
        account = self._router.accounts.get(jids.bare(recipient))
        if stanza.type not in (None, "unavailable") or account is None:
            return
        isContact = jids.bare(sender) in account.roster.subscriptions()
        # If no account sees the contact any longer, its unavailable presence also goes to the privileged entities.
        if not isContact and (stanza.type is None or self._isWatched(sender)):
            return
        if stanza.type is not None:
            self._contacts.pop(sender, None)
        elif len(stanza.raw) > _MAX_PRESENCE or self._isFull(sender):
            return
        else:
            self._contacts[sender] = stanza
        self._show(self._entities.values(), stanza, sender, stanza.type, False)

    def _isWatched(self, contact: str) -> bool:
        """True if any account is subscribed to the contact's presence."""
        return any(jids.bare(contact) in each.roster.subscriptions() for each in self._router.accounts.values())

    def _isFull(self, contact: str) -> bool:
        return len(self._contacts) >= _MAX_CONTACTS and contact not in self._contacts

    def _show(
        self, entities: Iterable[_Entity], content: Stanza | str, sender: str, kind: str | None, managed: bool
    ) -> None:
        """Send presence to the entities that may see it (sections 7.1 and 7.4)."""
        for entity in entities:
            if not entity.permissions.showsPresence(kind, managed, sender in entity.shown):
                continue
            (entity.shown.discard if kind else entity.shown.add)(sender)
            # A presence that is too large for this stream is skipped; its own recipients still get it.
            with suppress(NotAcceptable):
                present(entity.peer, content, sender, entity.jid)


@define(eq=False)
class _PrivilegedIqPeer:
    """
    The sender of a request on behalf of an account, as seen by the rules. It passes the answer to the privileged
    entity.

    @ivar id: the id of the top-level iq.
    @ivar user: the account's bare JID.
    @ivar agent: the sender of the top-level iq.
    """

    peer: Peer
    id: str
    user: str
    agent: str | None
    deadline: IDelayedCall
    _answer: Callable[[Key, domish.Element], object]
    _key: Key

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        answer = write.iq(route(recipient, sender), stanza.id or "", "result", payload.encode())
        self._answer(self._key, parse(CLIENT.header, answer))

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """Pass on the answer of the entity that was asked, or of a managing entity."""
        element = stanza.element
        element["from"], element["to"] = sender, recipient
        self._answer(self._key, element)

    def refuseStanza(self, stanza: Stanza, sender: str, recipient: str, error: type[GatewayError]) -> None:
        self._answer(self._key, parse(CLIENT.header, errorStanza("iq", route(recipient, sender), stanza.id, error)))

    def waitFor(self, peer: Peer, stanza: Stanza) -> None:
        self.peer.waitFor(peer, stanza)

    # A requester is not sent anything else.

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        """Never called."""

    def push(self, item: Item, removed: bool) -> None:
        """Never called."""

    def write(self, data: bytes) -> bool:
        """Never called."""
        return False


def _cut(context: Context, data: bytes) -> Stanza:
    """
    Return a stanza as parsed from a stream of its own.

    @raise NotAcceptable: if a stream with the usual limits would refuse it.
    """
    _, stanza = Splitter(context.namespace).feed(context.header + data)
    if not isinstance(stanza, Stanza):
        raise NotAcceptable
    return stanza
