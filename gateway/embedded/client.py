"""
One client's connection: STARTTLS, SASL, resource binding, and then its stanzas (RFC 6120).
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any

from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from gateway import ns
from gateway.addresses import jids
from gateway.embedded import stanzas
from gateway.embedded.accounts import IAccount, Passwords
from gateway.embedded.handler import Services
from gateway.embedded.peer import CLIENTS, UNAUTHENTICATED, PeerConnection
from gateway.embedded.ports import Peer
from gateway.embedded.roster import Item
from gateway.embedded.sasl import MECHANISMS, Exchange, SaslFailed, begin
from gateway.embedded.sessions import Account, Session
from gateway.errors import BadRequest, GatewayError, Malformed
from gateway.stream.core import Limits, StreamStarted
from gateway.stream.stanzas import Stanza
from gateway.xml import write
from gateway.xml.errors import errorStanza
from gateway.xml.read import SEPARATOR
from gateway.xml.write import escape, tag

# Failed logins allowed on one connection (RFC 6120 section 6.4.5).
_MAX_FAILURES = 5


class ClientConnection(PeerConnection):
    """
    A client on one transport.

    @param tls: the argument for C{startTLS}.
    """

    namespace = ns.CLIENT

    def __init__(
        self, services: Services, portal: Portal, passwords: Passwords, tls: object, clock: IReactorTime
    ) -> None:
        super().__init__(services.router.domain, clock)
        self._services = services
        self._portal = portal
        self._passwords = passwords
        self._tls = tls
        self._secure = False
        self._exchange: Exchange | None = None
        self._failures = 0
        self._account: Account | None = None
        self._session: Session | None = None
        self._pushes = 0

    def _streamEvent(self, event: StreamStarted | Stanza) -> None:
        if isinstance(event, StreamStarted):
            self._headerReceived(event.attributes)
            return
        namespace, _, name = event.name.partition(SEPARATOR)
        if (namespace, name) == (ns.TLS, "starttls") and not self._secure:
            self._startTls()
        elif namespace == ns.SASL and self._account is None:
            self._saslReceived(event, name)
        else:
            self.refuse("unsupported-stanza-type")

    def _headerReceived(self, attributes: dict[str, str]) -> None:
        self._begin(self._domain, "1.0", "en")
        if attributes.get("to", self._domain).lower() != self._domain:
            self.refuse("host-unknown", f"this is {self._domain}")
        elif not attributes.get("version", "").startswith("1."):
            self.refuse("unsupported-version", "this is XMPP 1.0")
        elif not self._secure:
            self._offer(tag("starttls", tag("required"), xmlns=ns.TLS))
        elif self._account is None:
            offered = "".join(tag("mechanism", mechanism) for mechanism in MECHANISMS)
            self._offer(tag("mechanisms", offered, xmlns=ns.SASL))
        else:
            self._offer(tag("bind", xmlns=ns.BIND) + tag("session", tag("optional"), xmlns=ns.SESSION))

    def _offer(self, features: str) -> None:
        self.write(tag("stream:features", features).encode())

    def _restart(self, limits: Limits) -> None:
        """Start a new stream on the same transport, without any state of the old one."""
        self._startAnew(self._makeSplitter(limits))
        self._streamId = ""

    def _startTls(self) -> None:
        self.write(tag("proceed", xmlns=ns.TLS).encode())
        # This must be sent before the TLS handshake, so it cannot wait for the end of the chunk.
        self._flush()
        self.transport.startTLS(self._tls)
        self._secure = True
        self._restart(UNAUTHENTICATED)

    # Authentication (RFC 6120 section 6).

    def _saslReceived(self, nonza: Stanza, name: str) -> None:
        try:
            if not self._secure:
                raise SaslFailed("encryption-required")
            element = nonza.element
            if name == "abort":
                raise SaslFailed("aborted")
            if name == "auth":
                self._exchange = begin(element.getAttribute("mechanism", ""), self._domain, self._passwords.keys)
                if not element.children:
                    # No initial response: send an empty challenge first (RFC 6120 section 6.4.2).
                    self._sasl("challenge", b"")
                    return
            elif name != "response" or self._exchange is None:
                raise SaslFailed("malformed-request")
            outcome = self._exchange.step(_decoded(str(element)))
        except SaslFailed as failure:
            self._saslFailed(failure.condition)
            return
        except BadRequest:
            self._saslFailed("malformed-request")
            return
        if isinstance(outcome, bytes):
            self._sasl("challenge", outcome)
        else:
            self._logIn(self._exchange, outcome)

    def _logIn(self, exchange: Exchange, credentials: ICredentials) -> None:
        def accepted(avatar: tuple[object, Account, object]) -> None:
            self._account = avatar[1]
            self._exchange = None
            self._sasl("success", exchange.last)
            self._restart(CLIENTS)

        def refused(reason: Failure) -> None:
            if not reason.check(UnauthorizedLogin):
                self._log.failure("A login failed.", event="embedded.login_failed", failure=reason)
            self._saslFailed("not-authorized" if reason.check(UnauthorizedLogin) else "temporary-auth-failure")

        self._portal.login(credentials, None, IAccount).addCallbacks(accepted, refused)

    def _saslFailed(self, condition: str) -> None:
        self._exchange = None
        self._failures += 1
        self.write(tag("failure", tag(condition), xmlns=ns.SASL).encode())
        if self._failures >= _MAX_FAILURES:
            self.refuse("policy-violation", "too many attempts")

    def _sasl(self, name: str, data: bytes) -> None:
        self.write(tag(name, b64encode(data).decode(), xmlns=ns.SASL).encode())

    # Resource binding (RFC 6120 section 7).

    def _early(self, stanza: Stanza) -> None:
        payload: Any = None
        if self._account is not None and stanza.name == "iq" and stanza.type == "set":
            with suppress(BadRequest):
                payload = next(stanza.element.elements(ns.BIND, "bind"), None)
        if payload is None or self._account is None:
            self.refuse("not-authorized", "log in and bind a resource before anything else")
            return
        if not stanza.id:
            self.write(errorStanza("iq", b"", None, BadRequest))
            return
        wanted = next((str(each) for each in payload.elements(ns.BIND, "resource")), "")
        try:
            self._bind(self._account, jids.prepared(f"{self._account.jid}/{wanted or secrets.token_urlsafe(9)}"))
        except GatewayError as error:
            self.write(errorStanza("iq", b"", stanza.id, type(error)))
            return
        assert self._session is not None
        bound = tag("bind", tag("jid", escape(self._session.jid)), xmlns=ns.BIND)
        self.write(write.iq(b"", stanza.id, "result", bound.encode()))

    def _bind(self, account: Account, jid: str) -> None:
        self._session, old = self._services.router.bind(account, jid, self)
        if old is not None:
            assert isinstance(old.peer, ClientConnection)
            old.peer.refuse("conflict", "another client has logged in as this resource")
        self._open(self._stanzaReceived)

    # Stanzas.

    def _stanzaReceived(self, stanza: Stanza) -> None:
        session = self._session
        assert session is not None
        sender = stanza.sender
        if sender is not None and sender != session.jid and not _isOwn(sender, session):
            # RFC 6120 section 8.1.2.1.
            self.refuse("invalid-from")
            return
        router, recipient = self._services.router, stanza.recipient or ""
        self._take(stanza, lambda: router.fromClient(session, stanza, recipient and jids.prepared(recipient)))

    def _addresses(self, stanza: Stanza) -> tuple[str, str]:
        session = self._session
        assert session is not None
        return session.jid, stanza.recipient or session.account.jid

    def push(self, item: Item, removed: bool) -> None:
        # Without "from", a push is from the account itself (RFC 6121 section 2.1.6).
        self._pushes += 1
        query = stanzas.rosterQuery([item], removed)
        self.write(write.iq(b"", f"push{self._pushes}", "set", query.encode()))

    def waitFor(self, peer: Peer, stanza: Stanza) -> None:
        if stanza.name == "iq" and stanza.type in ("get", "set"):
            self._asked += 1
        super().waitFor(peer, stanza)

    def _ending(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._services.router.unbind(session)


def _isOwn(sender: str, session: Session) -> bool:
    try:
        return jids.prepared(sender) in (session.jid, session.account.jid)
    except Malformed:
        return False


def _decoded(text: str) -> bytes:
    """Decode a SASL message (RFC 6120 section 6.4.2); "=" stands for an empty one."""
    if text == "=":
        return b""
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise SaslFailed("incorrect-encoding") from error
