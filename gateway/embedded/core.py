"""
The rules of a small XMPP server: the routing of stanzas (RFC 6120 section 10, RFC 6121 section 8), presence and
subscriptions (RFC 6121 sections 3 and 4). Pure except for the ports that it calls.

All address parameters are normalised. The addresses in the stanzas themselves are not used.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable

from gateway.addresses import jids
from gateway.embedded.extension import Extension
from gateway.embedded.ports import Peer
from gateway.embedded.roster import Item
from gateway.embedded.sessions import Account, Session
from gateway.errors import (
    BadRequest,
    NotAcceptable,
    NotAllowed,
    RecipientUnavailable,
    ResourceLimit,
    TooLarge,
    UnknownServer,
)
from gateway.stream.stanzas import Stanza

# Connected resources of an account, and recipients of a resource's directed presence.
_MAX_RESOURCES = 64
_MAX_DIRECTED = 1_000

# Bytes of a stanza that is sent to a client or component.
MAX_STANZA = 256 * 1024

# Bytes of an available presence, which is kept in memory.
_MAX_PRESENCE = 16 * 1024

_SUBSCRIPTIONS = frozenset({"subscribe", "subscribed", "unsubscribe", "unsubscribed"})


# Arguments: the requester's connection, the request, sender, recipient, and the recipient's account if the
# requester may see it.
Serve = typing.Callable[[Peer, Stanza, str, str, "Account | None"], None]


class Router:
    """
    All accounts and components of one host.

    @ivar domain: the host's domain.
    @ivar components: all configured components by domain; C{None} if not connected.
    @ivar extensions: notified of events; may take over stanzas.
    @param serve: answers an iq request to the host, or one that the host answers for an account.
    """

    def __init__(self, domain: str, users: Iterable[str], serve: Serve) -> None:
        self.domain = domain
        self.accounts = {jid: Account(jid) for jid in (f"{user}@{domain}" for user in users)}
        self.components: dict[str, Peer | None] = {}
        self.extensions: list[Extension] = []
        self._serve = serve

    # Connections.

    def bind(self, account: Account, jid: str, peer: Peer) -> tuple[Session, Session | None]:
        """
        Add a resource that has logged in.

        @return: its session, and the older session of the same resource that it replaces, if any: usually a lost
            connection (RFC 6120 section 7.7.2.2).
        @raise ResourceLimit: if the account has too many resources.
        """
        old = account.sessions.get(jid)
        if old is None and len(account.sessions) >= _MAX_RESOURCES:
            raise ResourceLimit
        session = account.sessions[jid] = Session(account, jid, peer)
        return session, old

    def unbind(self, session: Session) -> None:
        """Remove a resource that has disconnected, with or without "unavailable" (RFC 6121 section 4.5.2)."""
        sessions = session.account.sessions
        if sessions.get(session.jid) is session:
            del sessions[session.jid]
        self._unavailable(session, "unavailable")
        self._sessionChanged(session)

    def attach(self, domain: str, peer: Peer | None) -> None:
        """Record that a component has connected or, if C{peer} is C{None}, disconnected."""
        self.components[domain] = peer
        for extension in self.extensions:
            if peer is None:
                extension.componentDisconnected(domain)
            else:
                extension.componentConnected(domain)

    def offerRequest(self, origin: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        """Offer an iq request to the extensions; return true if one has taken it."""
        return any(each.requestReceived(origin, stanza, sender, recipient) for each in self.extensions)

    def removeComponent(self, domain: str) -> None:
        """Remove a component: it is not one of the configuration any longer."""
        if self.components[domain] is not None:
            # It has disconnected, but its connection was not yet seen to end.
            self.attach(domain, None)
        del self.components[domain]
        for extension in self.extensions:
            extension.componentRemoved(domain)

    def mayKnow(self, asking: str, account: Account) -> bool:
        """True if an entity may learn that the account exists: the account itself, and its presence subscribers."""
        asking = jids.bare(asking)
        return asking == account.jid or account.roster.isSubscriber(asking)

    def peers(self) -> list[Peer]:
        """Return all connections."""
        sessions = [each.peer for account in self.accounts.values() for each in account.sessions.values()]
        return sessions + [each for each in self.components.values() if each is not None]

    # Received stanzas.

    def fromClient(self, session: Session, stanza: Stanza, recipient: str) -> None:
        """
        Handle a stanza of a client.

        @param recipient: empty if the stanza has none.
        @raise GatewayError: if the stanza must be answered with an error.
        """
        kind = stanza.type
        if stanza.name != "presence":
            self._pass(session.peer, stanza, session.jid, recipient or session.account.jid)
        elif kind in _SUBSCRIPTIONS:
            self._subscription(session, stanza, kind, jids.bare(recipient))
        elif recipient:
            self._directed(session, stanza, recipient)
        elif kind is None and len(stanza.raw) <= _MAX_PRESENCE:
            self._available(session, stanza)
        elif kind == "unavailable":
            self._unavailable(session, stanza)
        else:
            raise NotAcceptable

    def fromComponent(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> None:
        """
        Handle a stanza of a component.

        @raise GatewayError: if the stanza must be answered with an error.
        """
        if any(each.stanzaReceived(peer, stanza, sender, recipient) for each in self.extensions):
            return
        if stanza.name == "presence":
            self._presenceTo(peer, stanza, sender, recipient)
        else:
            self._pass(peer, stanza, sender, recipient)

    # Messages and iqs.

    def _pass(self, origin: Peer, stanza: Stanza, sender: str, recipient: str) -> None:
        local, domain, resource = jids.split(recipient)
        account = self.accounts.get(f"{local}@{domain}") if local else None
        session = account.sessions.get(recipient) if account is not None and resource else None
        if domain != self.domain:
            self._away(origin, stanza, sender, recipient, domain)
        elif session is not None:
            _hand(origin, session.peer, stanza, sender, recipient)
        elif stanza.name == "message" and account is not None:
            self._message(origin, stanza, sender, recipient, account)
        elif stanza.name == "iq" and not resource:
            self._iq(origin, stanza, sender, recipient, account)
        elif recipient != self.domain or not any(each.messageReceived(stanza, sender) for each in self.extensions):
            raise RecipientUnavailable

    def _iq(self, origin: Peer, stanza: Stanza, sender: str, recipient: str, account: Account | None) -> None:
        """Handle an iq to the host, or to an account for which the host answers (RFC 6121 section 8.5.2.1.3)."""
        if stanza.type not in ("get", "set"):
            for each in self.extensions:
                each.answerReceived(stanza, sender, recipient)
        elif not self.offerRequest(origin, stanza, sender, recipient):
            # The answer must not reveal an account to entities that may not see it (RFC 6121 section 8.5.1).
            seen = account if account is not None and self.mayKnow(sender, account) else None
            self._serve(origin, stanza, sender, recipient, seen)

    def _message(self, origin: Peer, stanza: Stanza, sender: str, recipient: str, account: Account) -> None:
        """Deliver a message to an account, or to an offline resource (RFC 6121 sections 8.5.2.1.1, 8.5.3.2.1)."""
        kind = stanza.type
        if kind == "error" or (kind == "headline" and recipient != account.jid):
            return
        # Only a chat message to an offline resource is delivered to other resources.
        meant = kind == "chat" or (recipient == account.jid and kind != "groupchat")
        takers = [session for session, _ in account.available() if meant and session.priority >= 0]
        for session in takers:
            _hand(origin, session.peer, stanza, sender, recipient)
        if not takers and kind != "headline":
            # There is no offline storage.
            raise RecipientUnavailable

    def _away(self, origin: Peer, stanza: Stanza, sender: str, recipient: str, domain: str) -> None:
        """Deliver a stanza for another domain to a component; there are no other servers."""
        peer = self.components.get(domain)
        if peer is None:
            raise RecipientUnavailable if domain in self.components else UnknownServer
        _hand(origin, peer, stanza, sender, recipient)

    # Presence from clients.

    def _available(self, session: Session, stanza: Stanza) -> None:
        """
        Broadcast available presence to all subscribers. If it is initial presence, also send the client the
        presence of its contacts (RFC 6121 sections 4.2 and 4.4).
        """
        account = session.account
        initial = session.presence is None
        session.presence = stanza
        session.priority = _priority(stanza)
        for contact in (*account.roster.subscribers(), account.jid):
            self._show(stanza, session.jid, contact)
        if not initial:
            return
        for extension in self.extensions:
            extension.resourceAvailable(session.jid, stanza)
        for other, presence in account.available():
            if other is not session:
                session.peer.forward(presence, other.jid, session.jid)
        for contact in account.roster.subscriptions():
            self._probe(session, contact)
        for requester, request in account.roster.pending():
            present(session.peer, request, requester, account.jid)
        self._sessionChanged(session)

    def _probe(self, session: Session, contact: str) -> None:
        """Probe a contact's presence (RFC 6121 section 4.3)."""
        domain = jids.split(contact)[1]
        peer = self.components.get(domain)
        if domain == self.domain:
            self._probed(session.peer, session.jid, contact)
        elif peer is not None:
            peer.announce(session.account.jid, contact, "probe")

    def _unavailable(self, session: Session, content: Stanza | str) -> None:
        """Send unavailable presence to all who were sent available presence (RFC 6121 sections 4.5 and 4.6.3)."""
        account = session.account
        seen = session.directed
        wasAvailable = session.presence is not None
        if wasAvailable:
            seen = seen | {*account.roster.subscribers(), account.jid}
            for extension in self.extensions:
                extension.resourceUnavailable(session.jid, content)
        session.presence, session.directed = None, set()
        for contact in seen:
            self._show(content, session.jid, contact)
        if wasAvailable:
            self._sessionChanged(session)

    def _sessionChanged(self, session: Session) -> None:
        for extension in self.extensions:
            extension.sessionChanged(session)

    def _directed(self, session: Session, stanza: Stanza, recipient: str) -> None:
        """Send directed presence (RFC 6121 section 4.6)."""
        account = session.account
        if stanza.type == "unavailable":
            session.directed.discard(recipient)
        elif stanza.type is None and (
            session.presence is None or not account.roster.isSubscriber(jids.bare(recipient))
        ):
            if len(session.directed) >= _MAX_DIRECTED:
                raise ResourceLimit
            session.directed.add(recipient)
        self._presenceTo(session.peer, stanza, session.jid, recipient)

    def _subscription(self, session: Session, stanza: Stanza, kind: str, contact: str) -> None:
        """Handle a client's request, approval or end of a subscription (RFC 6121 section 3)."""
        account = session.account
        if not contact or contact == account.jid:
            raise NotAllowed if contact else BadRequest
        wasSubscriber = account.roster.isSubscriber(contact)
        change = account.roster.outbound(kind, contact)
        if change.pushes:
            self.push(account, account.roster.get(contact))
        if change.passes:
            self._presenceTo(session.peer, stanza, account.jid, contact)
            self.reveal(account, contact, wasSubscriber)

    # Delivery of presence.

    def _show(self, content: Stanza | str, sender: str, recipient: str, origin: Peer | None = None) -> None:
        """
        Send the presence of a resource, available or not, to the recipient's connected resources.

        @param origin: the sender of directed presence, which may have to wait if the recipient reads slowly.
        """
        domain = jids.split(recipient)[1]
        component = self.components.get(domain)
        account = self.accounts.get(jids.bare(recipient))
        if component is not None:
            present(component, content, sender, recipient)
        elif account is not None:
            # Presence to a bare JID goes to each available resource, presence to a full JID only to that resource.
            for session in list(account.sessions.values()):
                if session.jid == recipient or (recipient == account.jid and session.presence is not None):
                    present(session.peer, content, sender, recipient)
                    if origin is not None and isinstance(content, Stanza):
                        origin.waitFor(session.peer, content)

    def _presenceTo(self, origin: Peer, stanza: Stanza, sender: str, recipient: str) -> None:
        domain = jids.split(recipient)[1]
        if domain != self.domain:
            self._away(origin, stanza, sender, recipient, domain)
        elif stanza.type == "probe":
            self._probed(origin, sender, recipient)
        elif stanza.type in _SUBSCRIPTIONS:
            self._subscribed(origin, stanza, stanza.type, jids.bare(sender), jids.bare(recipient))
        else:
            self._show(stanza, sender, recipient, origin)

    def _probed(self, origin: Peer, sender: str, recipient: str) -> None:
        """Answer a probe for an account's presence (RFC 6121 section 4.3.2)."""
        asking, own = jids.bare(sender), jids.bare(recipient)
        account = self.accounts.get(own)
        if account is None or not self.mayKnow(asking, account):
            if own != self.domain:
                origin.announce(own, asking, "unsubscribed")
            return
        there = [(each, presence) for each, presence in account.available() if recipient in (each.jid, own)]
        for session, presence in there:
            origin.forward(presence, session.jid, sender)
        if not there:
            origin.announce(recipient, sender, "unavailable")

    def _subscribed(
        self, origin: Peer | None, content: Stanza | str, kind: str, sender: str, recipient: str
    ) -> None:
        """Deliver a request, approval or end of a subscription to an account (RFC 6121 section 3)."""
        account = self.accounts.get(recipient)
        wasSubscriber = account is not None and account.roster.isSubscriber(sender)
        if kind == "subscribe" and origin is not None and wasSubscriber:
            origin.announce(recipient, sender, "subscribed")
        elif account is not None:
            change = account.roster.inbound(kind, sender, content)
            if change.passes:
                self._show(content, sender, recipient, origin)
            if change.pushes:
                self.push(account, account.roster.get(sender))
            self.reveal(account, sender, wasSubscriber)

    def reveal(self, account: Account, contact: str, wasSubscriber: bool) -> None:
        """If the contact's right to see the account has changed, send it the account's presence, or unavailable."""
        isSubscriber = account.roster.isSubscriber(contact)
        if isSubscriber != wasSubscriber:
            for session, presence in account.available():
                self._show(presence if isSubscriber else "unavailable", session.jid, contact)

    # The roster.

    def setContact(self, account: Account, wanted: Item) -> None:
        """
        Add a contact, or change its name and groups, for a client.

        @raise NotAllowed: if the contact is the account itself.
        @raise ResourceLimit: if the roster is full.
        """
        if wanted.jid == account.jid:
            raise NotAllowed
        self.push(account, account.roster.set(wanted.jid, wanted.name, wanted.groups))

    def removeContact(self, account: Account, jid: str, isAlone: bool = False) -> None:
        """
        Remove a contact and both subscriptions, for a client (RFC 6121 section 2.5).

        @param isAlone: if true, the roster of a contact on this host is not changed.
        @raise NoSuchAddress: if it is not a contact.
        """
        item = account.roster.get(jid)
        account.roster.remove(item)
        self.push(account, item, True)
        kinds = ["unsubscribe"] if item.to or item.ask else []
        kinds += ["unsubscribed"] if item.from_ or item.pending is not None else []
        domain = jids.split(jid)[1]
        peer = self.components.get(domain)
        for kind in kinds:
            if domain == self.domain:
                if not isAlone:
                    self._subscribed(None, kind, kind, account.jid, jid)
            elif peer is not None:
                peer.announce(account.jid, jid, kind)
        self.reveal(account, jid, item.from_)

    def push(self, account: Account, item: Item, removed: bool = False) -> None:
        for session in list(account.sessions.values()):
            if session.interested:
                session.peer.push(item, removed)
        for extension in self.extensions:
            extension.contactChanged(account, item, removed)


def _hand(origin: Peer, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> None:
    peer.forward(stanza, sender, recipient)
    origin.waitFor(peer, stanza)


def present(peer: Peer, content: Stanza | str, sender: str, recipient: str) -> None:
    """Send a presence stanza, or presence that has only a type."""
    if isinstance(content, str):
        peer.announce(sender, recipient, content)
    else:
        peer.forward(content, sender, recipient)


def _priority(presence: Stanza) -> int:
    """Return the priority (RFC 6121 section 4.7.2.3); 0 if there is none or it is not valid."""
    try:
        for child in presence.element.elements():
            if child.name == "priority":
                return max(-128, min(127, int(str(child))))
    except TooLarge:
        raise
    except (ValueError, BadRequest):
        pass
    return 0
