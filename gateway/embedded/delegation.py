"""
The host as a delegating server (XEP-0355): what it does not answer itself, and who does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress

from attrs import frozen

from gateway import jids, ns
from gateway.delegation import stanzas
from gateway.delegation.core import (
    Delegation,
    Delegator,
    Handed,
    Info,
    Settled,
    isDelegable,
    isNested,
    nestingNode,
)
from gateway.embedded.core import LARGEST, Peer, Router, Session
from gateway.errors import GatewayError, NotThere, Unreadable
from gateway.stream.stanzas import Context, Stanza, escape
from gateway.tables import ConfigError

# Seconds for an answer: more than a managing entity gives its handlers, so that its own word for it is heard.
_PATIENCE = 30.0

# What a stanza of the host's own making stands in.
_CONTEXT = Context.fromDeclarations({None: ns.CLIENT, "stream": ns.STREAMS})


@frozen(eq=False)
class _Origin:
    """Who gets the answer, and the addresses that it was asked by."""

    peer: Peer
    stanza: Stanza
    sender: str
    recipient: str


class DelegatingServer:
    """
    Hands requests in delegated namespaces on.

    @param router: knows where managing entities are.
    @param seconds: the clock.
    """

    def __init__(self, router: Router, delegations: Iterable[Delegation], seconds: Callable[[], float]) -> None:
        self._router = router
        self._seconds = seconds
        self._delegator = Delegator(delegations, secrets.token_urlsafe, patience=_PATIENCE)
        # Who was asked for which node, by the id of the question; and what they told.
        self._asked: dict[str, tuple[str, str]] = {}
        self._infos: dict[tuple[str, str], Info] = {}
        entities = {entity for each in self._delegator.delegations for entity in each.entities}
        self._components = {entity for entity in entities if "@" not in entity}
        self._clients = entities - self._components
        problems = [
            f'embedded.delegations."{each.namespace}": found what delegation itself is made of; allowed: any other'
            for each in self._delegator.delegations
            if not isDelegable(each.namespace)
        ]
        if problems:
            raise ConfigError(problems)

    # Who is there.

    def componentChanged(self, domain: str) -> None:
        """A component has connected, or is gone."""
        if domain in self._components:
            if self._router.components.get(domain) is not None:
                self._arrived(domain, domain)
            else:
                self._left(domain)

    def sessionChanged(self, session: Session) -> None:
        """A resource has become available or unavailable."""
        for entity in {session.jid, session.account.jid} & self._clients:
            there = [each for each, _ in session.account.available() if entity in (each.jid, session.account.jid)]
            best = max(there, key=lambda each: each.priority, default=None)
            known = self._delegator.address(entity)
            if known is not None and known not in (each.jid for each in there):
                self._left(entity)
                known = None
            if best is not None and known is None:
                self._arrived(entity, best.jid)

    def _arrived(self, entity: str, address: str) -> None:
        """Advertise what it manages (section 4.2), and ask for what to nest (section 7.2)."""
        self._delegator.arrived(entity, address)
        delegated = self._delegator.delegatedTo(entity)
        granted = [(each.namespace, each.filtering) for each in delegated]
        domain = self._router.domain
        self._write(
            address, stanzas.advertisement(ns.DELEGATION_2, domain, address, secrets.token_urlsafe(6), granted)
        )
        for each in delegated:
            for bare in (False, True) if isNested(each.namespace) else ():
                identifier = secrets.token_urlsafe()
                node = nestingNode(ns.DELEGATION_2, each.namespace, bare)
                self._asked[identifier] = entity, node
                self._write(address, stanzas.infoQuery(domain, address, identifier, node))

    def _left(self, entity: str) -> None:
        self._asked = {key: asked for key, asked in self._asked.items() if asked[0] != entity}
        self._infos = {key: info for key, info in self._infos.items() if key[0] != entity}
        self._perform(self._delegator.left(entity, self._seconds()))

    # Requests and their answers.

    def delegate(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        """
        Hand a request for the host, or for a bare JID of its own, on if it is delegated; return whether it is.

        @raise GatewayError: if it is, and cannot be handed on.
        """
        if not self._delegator.delegations:
            return False
        request = stanzas.requestOf(stanza, sender, None if stanza.recipient is None else recipient)
        # The host has no nodes of its own; it does have disco#info for an account.
        isOwn = request.namespace == ns.DISCO_INFO and not request.attributes.get("node")
        delegation = self._delegator.find(request, isOwn or recipient == self._router.domain)
        if delegation is None:
            return False
        origin = _Origin(peer, stanza, sender, recipient)
        self._perform([self._delegator.forward(origin, request, delegation, self._seconds())])
        return True

    def answered(self, stanza: Stanza, sender: str) -> None:
        """An iq result or error for the host."""
        identifier = stanza.id or ""
        if identifier in self._asked:
            self._nested(stanza, sender, identifier)
            return
        done: Handed | Settled | None
        if stanza.type == "error":
            # It is connected, so this is its own word.
            done = self._delegator.refused(sender, identifier, True, self._seconds())
        else:
            reply = None
            if stanzas.isWrapped(stanza):
                with suppress(Unreadable):
                    reply = stanzas.readReply(stanzas.unwrap(stanza))
            done = self._delegator.answered(sender, identifier, reply, self._seconds())
        if done is not None:
            self._perform([done])

    def tick(self) -> None:
        """End what is overdue; once a second."""
        self._perform(self._delegator.expire(self._seconds()))

    def _perform(self, actions: Iterable[Handed | Settled]) -> None:
        for action in actions:
            if isinstance(action, Settled):
                self._settle(action)
                continue
            data = stanzas.forwarded(
                ns.DELEGATION_2, self._router.domain, action.address, action.id, action.request
            )
            # One that is too large would cost the managing entity its stream.
            if len(data) > LARGEST:
                self._settle(self._delegator.unsent(action))
            else:
                self._write(action.address, data)

    def _settle(self, settled: Settled) -> None:
        origin: _Origin = settled.origin
        reply = settled.reply
        if reply is None:
            origin.peer.refuseStanza(origin.stanza, origin.sender, origin.recipient, NotThere)
            return
        raw = f"<iq id='{escape(settled.request.id)}' type='{reply.type}'>".encode() + reply.xml
        answer = Stanza("iq", None, None, settled.request.id, reply.type, None, raw, _CONTEXT, 0)
        try:
            origin.peer.forward(answer, origin.recipient, origin.sender)
        except GatewayError as error:
            origin.peer.refuseStanza(origin.stanza, origin.sender, origin.recipient, type(error))

    def _write(self, address: str, data: bytes) -> None:
        account = self._router.accounts.get(jids.bare(address))
        if account is None:
            peer = self._router.components.get(address)
        else:
            session = account.sessions.get(address)
            peer = None if session is None else session.peer
        if peer is not None:
            peer.write(data)

    # What is nested.

    def nest(self, own: Info, bare: bool) -> Info:
        """
        What the host shows of itself, or of an account: for a delegated namespace not its own features (section
        7.2.1), but those of who manages it.
        """
        delegations = self._delegator.delegations
        if not delegations:
            return own
        kept = tuple(each for each in own.features if not any(_isOf(each, one.namespace) for one in delegations))
        info = Info(own.identities, kept if bare else (*kept, ns.DELEGATION_2), own.forms)
        for delegation in delegations:
            entity = self._delegator.reached(delegation)
            node = nestingNode(ns.DELEGATION_2, delegation.namespace, bare)
            if entity is not None:
                info += self._infos.get((entity, node), Info())
        return info

    def _nested(self, stanza: Stanza, sender: str, identifier: str) -> None:
        entity, node = self._asked[identifier]
        if self._delegator.address(entity) != sender:
            return
        del self._asked[identifier]
        if stanza.type == "result":
            with suppress(Unreadable):
                self._infos[entity, node] = stanzas.readInfo(stanza.element)


def _isOf(feature: str, namespace: str) -> bool:
    return feature == namespace or feature.startswith(namespace + "#")
