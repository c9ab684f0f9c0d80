"""
The interfaces that handlers on a link provide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from twisted.words.protocols.jabber.ijabber import IXMPPHandler
from zope.interface import Attribute, Interface

from gateway.reports import StatusItem
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza


class IRawHandler(IXMPPHandler):
    """
    An XMPP handler that takes stanzas before they are parsed into a tree: the first of a link's two lanes.

    A handler gives exactly one answer to each iq request that it takes. If C{stanzaReceived} raises, the link
    answers the request, so the handler must not keep it open. If a small request may cause a large answer, the
    handler charges the answer to the link's C{budget} (L{gateway.stream.budget.Budget.charge}).
    """

    pending: int = Attribute("Number of open exchanges; a link that stops waits for them for a limited time.")

    def stanzaReceived(stanza: Stanza) -> bool:
        """Handle one stanza; return true if the handler takes it. Otherwise the next handler gets it."""

    def tick(now: float) -> None:
        """
        End what is overdue. Called about once a second, whether the link is connected or not.

        @param now: seconds on the link's clock, which is monotonic.
        """

    def drain() -> None:
        """Take no new work, because the gateway is stopping; open exchanges may still end."""

    def drained() -> None:
        """End all open exchanges: the stop does not wait any longer, but stanzas sent now are still delivered."""


class IRefusalHandler(Interface):
    """
    A raw handler may provide this to answer a stanza that the stream refused because it exceeds a limit or breaks
    the rules of namespaces in XML. The link answers all others.
    """

    def stanzaRefused(refused: StanzaRefused) -> bool:
        """Handle a refused stanza; return true if it is answered. Otherwise the link answers it."""


class IPeerHandler(Interface):
    """A raw handler may provide this to learn that a direct link is up, again or for the first time."""

    def peerConnected(domains: Collection[str]) -> None:
        """
        Handle a new connection: what was sent on an earlier one may be lost.

        @param domains: those that the peer speaks for.
        """


class IStatusProvider(Interface):
    """A handler may provide this to add items to C{/status}."""

    def report() -> Iterable[StatusItem]:
        """Return the current state, for the operator. Texts instead of items are accepted for one release."""
