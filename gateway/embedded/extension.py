"""
What a specification beyond RFC 6121 hears of from the rules, and may take over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.stream.stanzas import Stanza

if TYPE_CHECKING:
    from gateway.embedded.ports import Peer
    from gateway.embedded.roster import Item
    from gateway.embedded.sessions import Account, Session


class Extension:
    """
    One that cares for nothing; derive from it.
    """

    def connected(self, component: str) -> None:
        """A component has been authenticated."""

    def disconnected(self, component: str) -> None:
        """It is gone."""

    def received(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        """
        A component has sent a stanza.

        @return: whether it is taken; then nobody else sees it.
        @raise GatewayError: if it is to be answered with an error.
        """
        return False

    def requested(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        """
        An iq request has come for the host, or for a bare JID on it, whether there is such an account or not.

        @return: whether it is taken.
        @raise GatewayError: if it is to be answered with an error.
        """
        return False

    def answered(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """An answer to an iq has come for an account or the host."""

    def messageReceived(self, stanza: Stanza, sender: str) -> bool:
        """
        A message has come for the host.

        @return: whether it is taken.
        @raise GatewayError: if it is to be answered with an error.
        """
        return False

    def sessionChanged(self, session: Session) -> None:
        """A resource is available, or is so no more, or is gone; L{Session} says which."""

    def appeared(self, jid: str, content: Stanza) -> None:
        """A resource of an account has become available."""

    def vanished(self, jid: str, content: Stanza | str) -> None:
        """A resource of an account is available no more."""

    def changed(self, account: Account, item: Item, removed: bool) -> None:
        """A contact was added to an account's roster, changed or removed."""


class Extensions(Extension):
    """All that a host has."""

    def __init__(self) -> None:
        self._all: list[Extension] = []

    def add(self, extension: Extension) -> None:
        self._all.append(extension)

    def connected(self, component: str) -> None:
        for each in self._all:
            each.connected(component)

    def disconnected(self, component: str) -> None:
        for each in self._all:
            each.disconnected(component)

    def received(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        return any(each.received(peer, stanza, sender, recipient) for each in self._all)

    def answered(self, stanza: Stanza, sender: str, recipient: str) -> None:
        for each in self._all:
            each.answered(stanza, sender, recipient)

    def requested(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        return any(each.requested(peer, stanza, sender, recipient) for each in self._all)

    def messageReceived(self, stanza: Stanza, sender: str) -> bool:
        return any(each.messageReceived(stanza, sender) for each in self._all)

    def sessionChanged(self, session: Session) -> None:
        for each in self._all:
            each.sessionChanged(session)

    def appeared(self, jid: str, content: Stanza) -> None:
        for each in self._all:
            each.appeared(jid, content)

    def vanished(self, jid: str, content: Stanza | str) -> None:
        for each in self._all:
            each.vanished(jid, content)

    def changed(self, account: Account, item: Item, removed: bool) -> None:
        for each in self._all:
            each.changed(account, item, removed)
