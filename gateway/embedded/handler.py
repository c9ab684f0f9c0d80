"""
Answers the iq requests that are for the host itself, or that it answers for an account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen
from twisted.words.xish import domish

from gateway import __version__, ns
from gateway.embedded import stanzas
from gateway.embedded.core import Account, Peer, Router
from gateway.errors import Forbidden, NotThere, Unhandled, Unreadable
from gateway.stream.stanzas import Stanza

_HOST_FEATURES = (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.VERSION)
_ACCOUNT_FEATURES = (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING)


@frozen
class Request:
    """
    One request.

    @ivar account: whom it is for; C{None} for the host.
    @ivar known: whether who asks may know of the account.
    """

    sender: str
    account: Account | None
    known: bool
    payload: domish.Element


class Services:
    """What the host answers."""

    def __init__(self, domain: str, users: Iterable[str]) -> None:
        self.router = Router(domain, users, self._serve)
        self._services: dict[tuple[str | None, str], Callable[[Request], str]] = {
            ("get", ns.DISCO_INFO): self._discoInfo,
            ("get", ns.DISCO_ITEMS): self._discoItems,
            ("get", ns.PING): self._ping,
            ("get", ns.VERSION): self._version,
            ("get", ns.ROSTER): self._rosterGet,
            ("set", ns.ROSTER): self._rosterSet,
            ("set", ns.SESSION): self._ping,
        }

    def _serve(
        self, peer: Peer, stanza: Stanza, sender: str, recipient: str, account: Account | None, known: bool
    ) -> None:
        payloads = list(stanzas.tree(stanza).elements())
        if len(payloads) != 1:
            raise Unreadable
        service = self._services.get((stanza.type, payloads[0].uri))
        if service is None:
            raise Unhandled
        answer = service(Request(sender, account, known, payloads[0]))
        peer.answer(stanza, sender, recipient, answer)

    def _discoInfo(self, request: Request) -> str:
        _checkNode(request)
        if request.account is None:
            return stanzas.discoInfo("server", "im", "Embedded host", _HOST_FEATURES)
        return stanzas.discoInfo("account", "registered", "", _ACCOUNT_FEATURES)

    def _discoItems(self, request: Request) -> str:
        _checkNode(request)
        there = [jid for jid, peer in self.router.components.items() if peer is not None]
        return stanzas.discoItems(there if request.account is None else ())

    def _ping(self, request: Request) -> str:
        _checkNode(request)
        return ""

    def _version(self, request: Request) -> str:
        if request.account is not None:
            raise Unhandled
        return stanzas.softwareVersion("xmpp-gateway embedded host", __version__)

    def _rosterGet(self, request: Request) -> str:
        account = _own(request)
        account.sessions[request.sender].interested = True
        return stanzas.rosterQuery(account.roster.listed())

    def _rosterSet(self, request: Request) -> str:
        account = _own(request)
        wanted, removed = stanzas.readItem(request.payload)
        if removed:
            self.router.removeContact(account, wanted.jid)
        else:
            self.router.setContact(account, wanted)
        return ""


def _checkNode(request: Request) -> None:
    """Who may not know of an account learns nothing of it; and there are no nodes."""
    if not request.known or request.payload.getAttribute("node"):
        raise NotThere


def _own(request: Request) -> Account:
    """The account, if it is one of its own resources that asks."""
    if request.account is None or request.sender not in request.account.sessions:
        raise Forbidden
    return request.account
