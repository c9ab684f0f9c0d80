"""
Client mode, the managing entity's side (XEP-0355 section 5): users subscribe to the component, and are asked for
delegations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza
from gateway.xml.write import presence, route


class ClientMode:
    """
    Asks servers to ask their users for delegations.

    @param domains: the domains of these users.
    @param namespaces: the namespaces that are asked for.
    """

    _log = Logger()

    def __init__(self, domains: frozenset[str], namespaces: Iterable[str], link: Link) -> None:
        self._component = link.jid
        self._domains = domains
        self._namespaces = tuple(namespaces)
        self._link = link
        # Users whose server has not answered yet. A user who subscribes repeatedly is asked once at a time.
        self._open: set[str] = set()

    def presenceReceived(self, stanza: Stanza, granted: Callable[[str, str], bool]) -> bool:
        """
        Take presence. Return true if it was handled here.

        @param granted: returns true if a user has granted a namespace.
        """
        user = jids.bare(stanza.sender or "")
        if jids.split(user)[1] not in self._domains or jids.bare(stanza.recipient or "") != self._component:
            return False
        if stanza.type == "subscribe":
            self._present(user, "subscribed")
            self.ask(user)
        elif stanza.type == "probe":
            # A subscriber has come online: "delegations will be asked on each new session" (section 8, rule 2).
            if not all(granted(user, namespace) for namespace in self._namespaces):
                self.ask(user)
        elif stanza.type == "unsubscribe":
            self._present(user, "unsubscribed")
        return True

    def ask(self, user: str) -> None:
        """Ask a user's server to ask the user, unless it is being asked."""
        if user in self._open:
            return
        self._open.add(user)
        server = jids.split(user)[1]
        addresses = {"from": self._component, "to": server, "type": "get"}
        request = domish.Element((None, "iq"), attribs=addresses)
        query = request.addElement((ns.DELEGATION_2, "query"))
        query["to"] = user
        for namespace in self._namespaces:
            query.addElement("delegate")["namespace"] = namespace
        self._link.request(request).addCallbacks(
            self._asked, self._refused, callbackArgs=(user,), errbackArgs=(user,)
        )

    def _asked(self, result: domish.Element, user: str) -> None:
        self._open.discard(user)
        self._log.info(
            "{component}: the server of {user} asks the user for delegations.",
            event="delegation.asks_user",
            component=self._component,
            user=user,
        )

    def _refused(self, reason: Failure, user: str) -> None:
        self._open.discard(user)
        error = reason.value
        assert isinstance(error, StanzaError)
        self._log.warn(
            "{component}: the server of {user} does not ask the user for delegations: {condition}. Few servers "
            "support client mode (XEP-0355 section 5).",
            event="delegation.client_mode_refused",
            component=self._component,
            user=user,
            condition=error.condition,
        )

    def _present(self, user: str, kind: str) -> None:
        self._link.sendRaw(presence(route(self._component, user), kind))
