"""
The host as a delegating server (XEP-0355): it forwards the requests of delegated namespaces to managing entities.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress

from attrs import frozen

from gateway import ns
from gateway.addresses import jids
from gateway.delegation import advertisements, stanzas
from gateway.delegation.core import Request
from gateway.delegation.delegations import Delegation
from gateway.delegation.delegator import Completed, Delegator, Forward
from gateway.delegation.nesting import Info, isNested, nestingNode
from gateway.embedded.consent import CONFIGURE, Consents
from gateway.embedded.core import MAX_STANZA, Router
from gateway.embedded.extension import Extension
from gateway.embedded.ports import Peer
from gateway.embedded.sessions import Session
from gateway.errors import BadRequest, GatewayError, RecipientUnavailable
from gateway.stream.core import Limits, Splitter
from gateway.stream.stanzas import TAGS, Stanza
from gateway.xml import write
from gateway.xml.context import Context

# Seconds for an answer: more than a managing entity allows its handlers, so that its own error arrives first.
_TIMEOUT = 30.0

# Open disco#info requests to managing entities.
_MAX_ASKED = 1_000

# Characters of nested information in one answer.
_MAX_NESTED = 128 * 1024

# The stream context of stanzas that the host itself makes.
_CONTEXT = Context.fromDeclarations({None: ns.CLIENT, "stream": ns.STREAMS})


@frozen(eq=False)
class _Origin:
    """The connection that gets the answer, and the request with its addresses."""

    peer: Peer
    stanza: Stanza
    sender: str
    recipient: str


class Forwarder(Extension):
    """
    Forwards requests in delegated namespaces.

    @param router: has the connections of the managing entities.
    @param seconds: the clock.
    """

    def __init__(self, router: Router, delegations: Iterable[Delegation], seconds: Callable[[], float]) -> None:
        self._router = router
        self._seconds = seconds
        self._delegator = Delegator(delegations, secrets.token_urlsafe, timeout=_TIMEOUT)
        # Managing entity and node of each open disco#info request, by id; and the answers.
        self._asked: dict[str, tuple[str, str]] = {}
        self._infos: dict[tuple[str, str], Info] = {}
        self.consents = Consents(router, self._consented, seconds)
        self._entities = {entity for each in self._delegator.delegations for entity in each.entities}

    # Connections of managing entities.

    def componentConnected(self, component: str) -> None:
        for entity in self._of(component):
            self._arrived(entity, entity)

    def componentDisconnected(self, component: str) -> None:
        for entity in self._of(component):
            self._left(entity)

    def componentRemoved(self, component: str) -> None:
        self.consents.forget(component)

    def _of(self, domain: str) -> list[str]:
        """Return the managing entities at this component."""
        return [each for each in self._known() if jids.split(each)[1] == domain]

    def _known(self) -> set[str]:
        """Return all managing entities."""
        return self._entities | self.consents.entities()

    def sessionChanged(self, session: Session) -> None:
        account = session.account
        for entity in {session.jid, account.jid} & self._known():
            there = [each for each, _ in account.available() if entity in (each.jid, account.jid)]
            best = max(there, key=lambda each: each.priority, default=None)
            known = self._delegator.address(entity)
            if known is not None and known not in (each.jid for each in there):
                self._left(entity)
                known = None
            if best is not None and known is None:
                self._arrived(entity, best.jid)
        self.consents.accountChanged(account)

    def _arrived(self, entity: str, address: str) -> None:
        """Advertise the delegations of an entity (section 4.2), and query the information to nest (section 7.2)."""
        self._delegator.onAvailable(entity, address)
        delegated = self._delegator.delegatedTo(entity)
        if delegated:
            self._advertise(address, delegated, None)
            for each in delegated:
                self._ask(entity, address, each.namespace, False)
                self._ask(entity, address, each.namespace, True)
        for user in self.consents.grantors(entity):
            self._consented(user, entity)

    def _consented(self, user: str, entity: str) -> None:
        """Advertise a change of a user's grants to a managing entity (section 5.1; section 8, rule 3)."""
        if self._peerAt(entity) is None:
            # It has disconnected since its request.
            self._left(entity)
            return
        self._delegator.onAvailable(entity, entity)
        granted = [each for each in self.consents.granted(user) if entity in each.entities]
        self._advertise(entity, granted, user)
        if entity not in self._entities and not self.consents.grantors(entity):
            # It manages nothing any longer, and its disconnection would not be noticed, so forget it now.
            self._left(entity)
        for each in granted:
            self._ask(entity, entity, each.namespace, True)

    def _advertise(self, address: str, delegations: list[Delegation], user: str | None) -> None:
        addresses = self._router.domain, address
        identifier = secrets.token_urlsafe(6)
        data = advertisements.advertisement(ns.DELEGATION_2, *addresses, identifier, delegations, user)
        self._write(address, data)

    def _ask(self, entity: str, address: str, namespace: str, bare: bool) -> None:
        node = nestingNode(ns.DELEGATION_2, namespace, bare)
        isNews = (entity, node) not in self._asked.values()
        if isNested(namespace) and isNews and len(self._asked) < _MAX_ASKED:
            identifier = secrets.token_urlsafe()
            self._asked[identifier] = entity, node
            self._write(address, advertisements.infoQuery(self._router.domain, address, identifier, node))

    def _left(self, entity: str) -> None:
        self._asked = {key: asked for key, asked in self._asked.items() if asked[0] != entity}
        self._infos = {key: info for key, info in self._infos.items() if key[0] != entity}
        self._perform(self._delegator.onUnavailable(entity, self._seconds()))

    # Requests and their answers.

    def requestReceived(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        if not self._delegator.delegations and not self.consents.entities():
            return False
        request = stanzas.requestOf(stanza, sender, None if stanza.recipient is None else recipient)
        if (
            recipient == self._router.domain
            and request.namespace == ns.COMMANDS
            and request.attributes.get("node") == CONFIGURE
        ):
            # An entity that manages commands must not be able to prevent users from revoking it (section 6).
            return False
        # The host has no nodes of its own. It answers disco#info of an account without a node. With a node, it
        # refuses requesters who may not see the account, as Prosody does. Disco#items goes to the managing entity.
        account = self._router.accounts.get(recipient)
        isSeen = account is not None and self._router.mayKnow(sender, account)
        isOwn = request.namespace == ns.DISCO_INFO and not (isSeen and request.attributes.get("node"))
        managed = isOwn or recipient == self._router.domain
        delegation = self._delegator.find(request, managed) or self.consents.find(request, recipient, managed)
        # Section 4.3.1: a request that a managing entity sends in a user's name is not delegated back to it.
        if delegation is None or (peer.agent and delegation.isManagedBy(peer.agent)):
            return False
        origin = _Origin(peer, stanza, sender, recipient)
        handed = self._delegator.forward(origin, request, delegation, self._seconds())
        self._perform([handed])
        managing = self._peerAt(handed.address)
        if managing is not None:
            peer.waitFor(managing, stanza)
        return True

    def messageReceived(self, stanza: Stanza, sender: str) -> bool:
        return ns.DATA.encode() in stanza.raw and self.consents.onAnswer(jids.bare(sender), stanza.element)

    def answerReceived(self, stanza: Stanza, sender: str, recipient: str) -> None:
        if recipient != self._router.domain:
            return
        identifier = stanza.id or ""
        if identifier in self._asked:
            self._nested(stanza, sender, identifier)
            return
        done: Forward | Completed | None
        if stanza.type == "error":
            # The entity is connected, so this error is its own answer.
            done = self._delegator.onError(sender, identifier, True, self._seconds())
        else:
            done = self._delegator.onAnswer(sender, identifier, stanzas.unwrapReply(stanza))
        if done is None:
            return
        managing = self._peerAt(sender)
        if managing is not None and isinstance(done, Completed):
            managing.waitFor(done.origin.peer, stanza)
        self._perform([done])

    def tick(self) -> None:
        """End overdue requests; called once a second."""
        self._perform(self._delegator.expire(self._seconds()))

    def _perform(self, actions: Iterable[Forward | Completed]) -> None:
        for action in actions:
            if isinstance(action, Completed):
                self._settle(action)
                continue
            data = stanzas.writeForward(
                ns.DELEGATION_2, self._router.domain, action.address, action.id, action.request
            )
            # A request that is too large or too deep would end the managing entity's stream.
            if len(data) > MAX_STANZA or _isTooDeep(data):
                self._settle(self._delegator.onSendFailed(action))
            else:
                self._write(action.address, data)

    def _settle(self, settled: Completed) -> None:
        origin: _Origin = settled.origin
        reply = settled.reply
        if reply is None:
            origin.peer.refuseStanza(origin.stanza, origin.sender, origin.recipient, RecipientUnavailable)
            return
        if reply.type == "result":
            self._rosterAnswered(settled.request)
        written = write.iq(b"", settled.request.id, reply.type or "", reply.xml, reply.language)
        raw = written.removesuffix(TAGS["iq"][1])
        answer = Stanza("iq", None, None, settled.request.id, reply.type, reply.language, raw, _CONTEXT, 0)
        try:
            origin.peer.forward(answer, origin.recipient, origin.sender)
        except GatewayError as error:
            origin.peer.refuseStanza(origin.stanza, origin.sender, origin.recipient, type(error))

    def _rosterAnswered(self, request: Request) -> None:
        """Send roster pushes to a client that was given its roster, even by a managing entity (section 4.3.1)."""
        account = self._router.accounts.get(request.entity)
        session = None if account is None else account.sessions.get(request.requester)
        if session is not None and (request.namespace, request.type) == (ns.ROSTER, "get"):
            session.interested = True

    def _write(self, address: str, data: bytes) -> None:
        peer = self._peerAt(address)
        if peer is not None:
            peer.write(data)

    def _peerAt(self, address: str) -> Peer | None:
        account = self._router.accounts.get(jids.bare(address))
        if account is None:
            return self._router.components.get(jids.split(address)[1])
        session = account.sessions.get(address)
        return None if session is None else session.peer

    # Nested disco information.

    def nest(self, own: Info, user: str | None) -> Info:
        """
        Return the disco#info of the host, or of a user. The features of a delegated namespace are those of its
        managing entity, not the host's own (section 7.2.1).
        """
        delegations = self._delegator.delegations
        if user is not None:
            delegations += self.consents.granted(user)
        kept = tuple(each for each in own.features if not any(_isOf(each, one.namespace) for one in delegations))
        info = Info(own.identities, kept, own.forms)
        room = _MAX_NESTED
        for delegation in delegations:
            entity = self._delegator.reachable(delegation)
            node = nestingNode(ns.DELEGATION_2, delegation.namespace, user is not None)
            theirs = None if entity is None else self._infos.get((entity, node))
            if theirs is not None:
                room -= len(advertisements.writeInfo(theirs))
                if room >= 0:
                    info += theirs
        return info

    def _nested(self, stanza: Stanza, sender: str, identifier: str) -> None:
        entity, node = self._asked[identifier]
        if self._delegator.address(entity) != sender:
            return
        del self._asked[identifier]
        if stanza.type == "result":
            with suppress(BadRequest):
                self._infos[entity, node] = advertisements.readInfo(stanza.element)


def _isTooDeep(data: bytes) -> bool:
    """True if elements are nested deeper than a stream accepts: wrapping adds levels."""
    if data.count(b"</") < Limits().depth:
        return False
    splitter = Splitter(ns.CLIENT)
    splitter.feed(_CONTEXT.header)
    return any(not isinstance(event, Stanza) for event in splitter.feed(data))


def _isOf(feature: str, namespace: str) -> bool:
    return feature == namespace or feature.startswith(namespace + "#")
