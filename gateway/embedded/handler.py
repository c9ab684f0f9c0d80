"""
Answer iq requests to the host itself, and those that it answers for an account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen
from twisted.words.xish import domish

from gateway import __version__, ns
from gateway.addresses import jids
from gateway.delegation.advertisements import writeInfo
from gateway.delegation.delegations import Delegation
from gateway.delegation.nesting import Info
from gateway.embedded import stanzas
from gateway.embedded.consent import CONFIGURE
from gateway.embedded.core import Router
from gateway.embedded.delegation import Forwarder
from gateway.embedded.ports import Peer
from gateway.embedded.sessions import Account
from gateway.errors import BadRequest, Forbidden, NoHandler, NoSuchNode, RecipientUnavailable
from gateway.requirements.servers import EMBEDDED
from gateway.stream.stanzas import Stanza

_HOST_FEATURES = (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.VERSION, ns.COMMANDS, ns.DELEGATION_2)
_CONFIGURE_NAME = "Delegations"
_ACCOUNT_FEATURES = (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING)
# Namespaces of the requests that are answered for the host only.
_OF_HOST = frozenset({ns.VERSION, ns.DELEGATION_2, ns.COMMANDS})


@frozen
class Request:
    """
    One iq request.

    @ivar account: the account that it is addressed to; C{None} for the host.
    """

    sender: str
    account: Account | None
    payload: domish.Element


class Services:
    """The services of the host."""

    def __init__(
        self, domain: str, users: Iterable[str], delegations: Iterable[Delegation], seconds: Callable[[], float]
    ) -> None:
        self.router = Router(domain, users, self._serve)
        self.delegating = Forwarder(self.router, delegations, seconds)
        self.router.extensions.append(self.delegating)
        self._services: dict[tuple[str | None, str], Callable[[Request], str]] = {
            ("get", ns.DISCO_INFO): self._discoInfo,
            ("get", ns.DISCO_ITEMS): self._discoItems,
            ("get", ns.PING): self._ping,
            ("get", ns.VERSION): self._version,
            ("get", ns.ROSTER): self._rosterGet,
            ("set", ns.ROSTER): self._rosterSet,
            ("set", ns.SESSION): self._ping,
            ("get", ns.DELEGATION_2): self._delegationAsked,
            ("set", ns.COMMANDS): self._command,
        }

    def _serve(self, peer: Peer, stanza: Stanza, sender: str, recipient: str, account: Account | None) -> None:
        payloads = list(stanza.element.elements())
        if len(payloads) != 1:
            raise BadRequest
        namespace = payloads[0].uri
        if account is None and recipient != self.router.domain:
            peer.answer(stanza, sender, recipient, _unseen(stanza.type, payloads[0]))
            return
        service = self._services.get((stanza.type, namespace))
        if service is None or (account is not None and namespace in _OF_HOST):
            raise NoHandler
        peer.answer(stanza, sender, recipient, service(Request(sender, account, payloads[0])))

    def _discoInfo(self, request: Request) -> str:
        if request.account is None and request.payload.getAttribute("node") == CONFIGURE:
            info = Info((("automation", "command-node", _CONFIGURE_NAME),), (ns.COMMANDS, ns.DATA))
            return writeInfo(info, CONFIGURE)
        _checkNode(request)
        if request.account is None:
            own = Info((("server", "im", "Embedded host"),), _HOST_FEATURES)
            return writeInfo(self.delegating.nest(own, None))
        own = Info((("account", "registered", ""),), _ACCOUNT_FEATURES)
        return writeInfo(self.delegating.nest(own, request.account.jid))

    def _discoItems(self, request: Request) -> str:
        domain = self.router.domain
        if request.account is None and request.payload.getAttribute("node") == ns.COMMANDS:
            return stanzas.discoItems([(domain, CONFIGURE, _CONFIGURE_NAME)], ns.COMMANDS)
        _checkNode(request)
        there = [(jid, "", "") for jid, peer in self.router.components.items() if peer is not None]
        return stanzas.discoItems(there if request.account is None else ())

    def _delegationAsked(self, request: Request) -> str:
        self.delegating.consents.request(request.sender, request.payload)
        return ""

    def _command(self, request: Request) -> str:
        if request.payload.getAttribute("node") != CONFIGURE:
            raise NoSuchNode
        user = jids.bare(request.sender)
        if user not in self.router.accounts:
            raise Forbidden
        return self.delegating.consents.command(user, request.payload)

    def _ping(self, request: Request) -> str:
        _checkNode(request)
        return ""

    def _version(self, request: Request) -> str:
        return stanzas.softwareVersion(EMBEDDED, __version__)

    def _rosterGet(self, request: Request) -> str:
        account = _own(request)
        session = account.sessions.get(request.sender)
        if session is not None:
            session.interested = True
        return stanzas.rosterQuery(account.roster.listed())

    def _rosterSet(self, request: Request) -> str:
        account = _own(request)
        wanted, removed = stanzas.readItem(request.payload)
        if removed:
            self.router.removeContact(account, wanted.jid)
        else:
            self.router.setContact(account, wanted)
        return ""


def _unseen(kind: str | None, payload: domish.Element) -> str:
    """
    Return the answer for an account that the requester may not see, or that does not exist: the same for both.

    @raise Forbidden: for a roster set (RFC 6121 section 2.1.5).
    @raise RecipientUnavailable: for other requests, except disco#items (XEP-0030 section 8).
    """
    if (kind, payload.uri) == ("get", ns.DISCO_ITEMS):
        return stanzas.discoItems((), payload.getAttribute("node", ""))
    if (kind, payload.uri) == ("set", ns.ROSTER):
        raise Forbidden
    raise RecipientUnavailable


def _checkNode(request: Request) -> None:
    """Refuse a request to a node: there are no nodes except those handled before."""
    if request.payload.getAttribute("node"):
        raise NoSuchNode


def _own(request: Request) -> Account:
    """Return the account if the request is from one of its resources, or in its name (XEP-0356)."""
    account = request.account
    if account is None or (request.sender != account.jid and request.sender not in account.sessions):
        raise Forbidden
    return account
