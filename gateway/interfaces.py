"""
Ports between the parts, and what a plugin provides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any

from twisted.words.protocols.jabber.ijabber import IXMPPHandler
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.application.service import IService
    from twisted.words.xish import domish

    from gateway.stream.stanzas import Stanza
    from gateway.tables import ComponentTable


class IRawHandler(IXMPPHandler):
    """
    An XMPP handler that takes stanzas before a tree is built of them: the first of a link's two lanes.

    What it takes it answers for: an iq request that it takes gets exactly one answer from it. A request at which
    it raises is answered by the link, so nothing of it may be left open.
    """

    pending: int = Attribute("How many exchanges are open; a link that stops waits for them a while.")

    def stanzaReceived(stanza: Stanza) -> bool:
        """
        Look at one stanza.

        @return: whether it is taken; if not, the next handler sees it.
        """

    def tick(now: float) -> None:
        """
        The coarse clock: called about once a second, connected or not, to end what is overdue.

        @param now: seconds on the link's clock.
        """

    def drain() -> None:
        """The gateway is stopping: take no new work, but let open exchanges end."""

    def drained() -> None:
        """The stop waits no longer; what is sent now still goes out."""


class IComposition(Interface):
    """What a plugin may use to compose its service."""

    stateDir: str = Attribute("The folder for durable state; exists, readable by the gateway alone.")
    reactor: Any = Attribute("Provides C{IReactorTime} and what endpoints need.")

    def link(jid: str, table: ComponentTable) -> Any:
        """
        A new, unstarted L{gateway.stream.link.Link} for the component C{jid}.

        It takes handlers by C{handler.setHandlerParent(link)} and is itself an C{IService}; the plugin's service
        must hold it. /readyz counts it.
        """


class IServicePlugin(Interface):
    """
    A kind of service. Provide it, together with C{twisted.plugin.IPlugin}, by an object in a module of
    C{gateway.plugins}, and C{[kind."component JID"]} starts it.
    """

    kind: str = Attribute("The first part of its table's name in the configuration, as C{proxy}.")
    table: type[ComponentTable] = Attribute(
        "A frozen attrs class, derived from L{gateway.tables.ComponentTable}, with the keys of its table."
    )

    def makeService(jid: str, table: Any, composition: IComposition) -> IService:
        """
        Compose one service.

        @param jid: the component's JID, normalised.
        @param table: an instance of L{table}.
        @raise gateway.tables.ConfigError: when the table cannot work, for a reason that its types do not tell.
        """


class IChecked(Interface):
    """
    What a plugin may provide beside L{IServicePlugin} to find, before anything is made, what keeps a service from
    working and its table's types do not tell; C{--check} and the start both ask.
    """

    def check(jid: str, table: Any, stateDir: str, components: Collection[str]) -> list[str]:
        """
        Look, and make nothing.

        @param stateDir: as L{IComposition.stateDir}, but it may not exist yet.
        @param components: the JIDs of all components of the configuration, this one too.
        @return: one line for each problem, which begins with the key in question.
        """


class IDemonstration(Interface):
    """
    What a plugin may provide beside L{IServicePlugin} to be part of the embedded default, and of the tour.
    """

    def demoTables(domain: str) -> dict[str, dict[str, Any]]:
        """
        What is served where nothing is configured.

        @param domain: the embedded host's.
        @return: tables as in a configuration file, by component JID.
        """

    def tour(guide: IGuide, jid: str) -> Awaitable[None]:
        """
        Show one of its services, running on the embedded host, to somebody who does not know it.

        @param jid: the service's JID.
        @raise gateway.tour.Disappointed: from the guide, when something is not as it was said.
        """


class IGuide(Interface):
    """Who leads the tour: an ordinary client of the embedded host, and a voice."""

    jid: str = Attribute("The full JID that it is logged in as.")

    def say(text: str) -> None:
        """Tell what comes, or what it means; in one paragraph."""

    def ask(recipient: str, payload: str, kind: str = "get") -> Awaitable[domish.Element]:
        """
        Send an iq request with this payload (XML), show both it and the answer.

        @return: the answer, of type result or error.
        """

    def check(right: object, promise: str) -> None:
        """
        Say that something was as promised.

        @raise gateway.tour.Disappointed: if not C{right}.
        """
