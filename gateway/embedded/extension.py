"""
The events that the rules report to implementations of further specifications, which may take over stanzas.
"""

from __future__ import annotations

from gateway.embedded.ports import Peer
from gateway.embedded.roster import Item
from gateway.embedded.sessions import Account, Session
from gateway.stream.stanzas import Stanza


class Extension:
    """
    Base class: ignores all events.
    """

    def componentConnected(self, component: str) -> None:
        """Handle a component that was authenticated."""

    def componentDisconnected(self, component: str) -> None:
        """Handle a component that has disconnected."""

    def componentRemoved(self, component: str) -> None:
        """Handle a component that does not exist any longer: revoke what users have granted it."""

    def stanzaReceived(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        """
        Handle a stanza of a component.

        @return: true if it is taken; then it is not processed further.
        @raise GatewayError: if it must be answered with an error.
        """
        return False

    def requestReceived(self, peer: Peer, stanza: Stanza, sender: str, recipient: str) -> bool:
        """
        Handle an iq request to the host, or to a bare JID on it, whether there is such an account or not.

        @return: true if it is taken.
        @raise GatewayError: if it must be answered with an error.
        """
        return False

    def answerReceived(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """Handle an answer to an iq, addressed to an account or the host."""

    def messageReceived(self, stanza: Stanza, sender: str) -> bool:
        """
        Handle a message to the host.

        @return: true if it is taken.
        @raise GatewayError: if it must be answered with an error.
        """
        return False

    def sessionChanged(self, session: Session) -> None:
        """Handle a resource that became available or unavailable, or disconnected; see L{Session}."""

    def resourceAvailable(self, jid: str, content: Stanza) -> None:
        """Handle a resource of an account that became available."""

    def resourceUnavailable(self, jid: str, content: Stanza | str) -> None:
        """Handle a resource of an account that became unavailable."""

    def contactChanged(self, account: Account, item: Item, removed: bool) -> None:
        """Handle a contact that was added to an account's roster, changed or removed."""
