"""
Ports between the parts, and what a plugin provides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.words.protocols.jabber.ijabber import IXMPPHandler
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.application.service import IService
    from twisted.internet.defer import Deferred
    from twisted.web.resource import Resource
    from twisted.words.xish import domish

    from gateway.stream.refused import StanzaRefused
    from gateway.stream.stanzas import Stanza
    from gateway.tables import ComponentTable


class IRawHandler(IXMPPHandler):
    """
    An XMPP handler that takes stanzas before a tree is built of them: the first of a link's two lanes.

    What it takes it answers for: an iq request that it takes gets exactly one answer from it. A request at which
    it raises is answered by the link, so nothing of it may be left open. Where much may come of a small request it
    charges that to the link's C{budget} (L{gateway.stream.budget.Budget.charge}).
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

        @param now: seconds on the link's clock, which is monotonic.
        """

    def drain() -> None:
        """The gateway is stopping: take no new work, but let open exchanges end."""

    def drained() -> None:
        """The stop waits no longer; what is sent now still goes out."""


class IRefusalHandler(Interface):
    """
    A raw handler may provide this to answer a stanza that the stream refused, as it is over a limit or breaks the
    rules of namespaces. The link answers all others.
    """

    def stanzaRefused(refused: StanzaRefused) -> bool:
        """
        Look at a refused stanza.

        @return: whether it is answered; if not, the link sees to it.
        """


class IReporting(Interface):
    """What a handler may provide to be heard on the status page."""

    def report() -> Iterable[str]:
        """What an operator should know now, in words; each in one or several lines."""


class ISurroundings(Interface):
    """What a service will find around it."""

    stateDir: str = Attribute("The folder for durable state; it may not exist yet.")
    isEmbedded: bool = Attribute("Whether the gateway runs on its embedded host.")
    components: Collection[str] = Attribute("The JIDs of all components of the configuration, this one too.")

    def delegationPlugins() -> dict[str, IDelegationPlugin]:
        """Every handler for delegated namespaces that there is, by name."""


class IComposition(ISurroundings):
    """What a plugin may use to compose its service; the folder for durable state exists now."""

    reactor: Any = Attribute(
        "Provides C{IReactorTime} and what endpoints need. Its clock is for intervals and deadlines: no clock that "
        "somebody can set."
    )

    wallClock: Callable[[], float] = Attribute(
        "Returns the time of day, in seconds since 1970 UTC. It may be set, forward or back, at any time: only for "
        "stamps, and for what is kept over a restart."
    )

    pieces: Any = Attribute("A L{gateway.pieces.Pieces}, which runs what takes long, for all services together.")

    ownAgent: Any = Attribute("An C{IAgent} that asks what this process serves, whatever host a URL names.")

    def link(jid: str, table: ComponentTable) -> Any:
        """
        A new, unstarted L{gateway.stream.link.Link} for the component C{jid}.

        It takes handlers by C{handler.setHandlerParent(link)} and is itself an C{IService}; the plugin's service
        must hold it. /readyz counts it.
        """

    def serve(name: str) -> Resource:
        """
        A part of what C{[http]} serves; callers must show the token, if there is one. Of a request's body the
        first 1,048,577 bytes are kept.

        @param name: the first part of its path.
        @return: the same for the same name: put children into it.
        """

    def database(name: str, schema: tuple[str, ...]) -> Any:
        """
        A new L{gateway.database.Database} in the folder for durable state. /readyz and /status report its trouble.

        @param name: of the file.
        @param schema: SQL statements that make its tables, if they do not exist.
        @raise gateway.tables.ConfigError: if the file cannot be made.
        """

    def privileges(link: Any, servers: Iterable[str]) -> Any:
        """
        What servers let the link's component do for their users (XEP-0356).

        @param link: what L{link} gave.
        @param servers: the domains that are listened to.
        @return: provides L{IPrivileges}.
        """

    def survey(link: Any, server: str) -> Any:
        """
        What is found out about the server of a link after each connection: a L{gateway.stream.survey.Survey}.

        @param link: what L{link} gave.
        @param server: the domain that is asked, unless the link belongs to the configured server: then that is.
        """

    def lend(privileges: Any, server: str, entities: Iterable[str]) -> Callable[[str], object]:
        """
        Let other components use what a server lets the link's component do for its users.

        @param privileges: what L{privileges} gave.
        @param server: whose privileges are lent, its domain.
        @param entities: the domains of these components.
        @return: is to be called with each of them when it has connected, which is advertised to it then.
        """

    def answers(link: Any, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
        """
        Let the link's component answer for the handler's namespaces where servers delegate them (XEP-0355).

        @param link: what L{link} gave.
        @param servers: the domains that are listened to.
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
    working and its table's types do not tell; C{--check} and the start both ask. An L{IDelegationPlugin} may
    provide it too: it is given the table of each delegation that uses it.
    """

    def check(jid: str, table: Any, surroundings: ISurroundings) -> list[str]:
        """
        Look, and make nothing.

        @return: one line for each problem, which begins with the key in question.
        """


class IWarned(Interface):
    """
    Provided by a plugin beside L{IServicePlugin}, if it has warnings: faults that do not keep a service from
    working. C{--check} prints them, the start logs them. An L{IDelegationPlugin} may provide it, too.
    """

    def warnings(jid: str, table: Any, surroundings: ISurroundings) -> list[str]:
        """
        Look, and make nothing.

        @return: one line for each warning, which names the file or begins with the key in question.
        """


class INoted(Interface):
    """Provided by a plugin beside L{IServicePlugin}, if the server must grant something; C{--check} prints it."""

    def notes(jid: str, table: Any, surroundings: ISurroundings) -> list[str]:
        """
        Look, and make nothing.

        @return: what the server's configuration needs; each in one or several lines.
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
        @raise gateway.guide.Disappointed: from the guide, when something is not as it was said.
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

    def send(stanza: str) -> None:
        """Send a message or presence (XML), and show it; what comes of it is for L{hear}."""

    def check(right: object, promise: str) -> None:
        """
        Say that something was as promised.

        @raise gateway.guide.Disappointed: if not C{right}.
        """

    def hear(right: Callable[[domish.Element], bool], promise: str) -> Awaitable[domish.Element]:
        """
        Wait for a stanza that nobody asked for, and show it. It may have come already; each is heard once.

        @param right: whether it is the one.
        @param promise: what it is, in words.
        @raise gateway.guide.Disappointed: if it does not come.
        """

    def friend() -> Awaitable[IGuide | None]:
        """
        A second client, logged in as another account, for the rest of the tour.

        @return: C{None} if there is no such account.
        """

    def web(method: str, path: str, body: str = "") -> Awaitable[tuple[int, str]]:
        """
        Ask what the gateway serves over HTTP, show both question and answer.

        @param body: JSON.
        @return: status and body.
        """


class IDelegatedRequest(Interface):
    """An iq request in a delegated namespace (XEP-0355), as it was sent to the server."""

    requester: str = Attribute("Who sent it: a full JID as a rule.")
    id: str = Attribute("Its id, as the requester has chosen it.")
    entity: str = Attribute("Whom it is for: the bare JID of a user of the server, or the server's own.")
    type: str = Attribute('C{"get"} or C{"set"}.')
    namespace: str = Attribute("Its payload's.")
    payload: domish.Element = Attribute("The one element in it; a tree is built at the first look.")
    xml: bytes = Attribute("The same element as bytes, for a place where the default namespace is jabber:client.")


class IDelegatedNamespace(Interface):
    """Answers for namespaces that servers delegate."""

    namespaces: frozenset[str] = Attribute("Those that it can answer for.")
    features: tuple[str, ...] = Attribute("What the server's own disco#info shows in place of its own features.")
    identities: tuple[tuple[str, str, str], ...] = Attribute("The same: category, type and name of each.")
    bareFeatures: tuple[str, ...] = Attribute("What the disco#info of its users' bare JIDs shows.")
    bareIdentities: tuple[tuple[str, str, str], ...] = Attribute("The same.")

    def answer(request: IDelegatedRequest) -> Any:
        """
        Answer one request.

        @return: content of the result: an element, or C{None} for nothing; or an awaitable of it. An element may
            be bytes, as L{IDelegatedRequest.xml}. The request's own bytes are not checked again.
        @raise twisted.words.protocols.jabber.error.StanzaError: what the requester is told. Anything else that is
            raised is C{internal-server-error}; no answer within 25 seconds is C{remote-server-timeout}.
        """


class IDelegationPlugin(Interface):
    """
    A handler for delegated namespaces. Provide it, together with C{twisted.plugin.IPlugin}, by an object in a
    module of C{gateway.plugins}, and C{{ handler = "name" }} uses it.
    """

    name: str = Attribute("What the configuration calls it.")

    def makeHandler(jid: str, link: Any, composition: IComposition) -> IDelegatedNamespace:
        """
        @param jid: the managing entity's.
        @param link: its L{gateway.stream.link.Link}.
        """


class IImportingPlugin(Interface):
    """
    Provided by an L{IDelegationPlugin} for C{import = true}: its handler can take over what users stored with the
    server before the namespace was delegated.
    """

    def makeImportingHandler(
        jid: str, link: Any, composition: IComposition, privileges: IPrivileges, servers: Iterable[str]
    ) -> IDelegatedNamespace:
        """
        The same as L{IDelegationPlugin.makeHandler}, for a handler that imports.

        @param privileges: what the servers grant to the link's component.
        @param servers: the domains of the servers that delegate.
        """


@frozen(kw_only=True)
class RosterItem:
    """
    A contact in somebody's roster (RFC 6121 section 2.1.2).

    @ivar jid: its JID, a bare one as a rule.
    @ivar subscription: C{none}, C{to}, C{from} or C{both}; C{remove} for one that is, or shall be, no more.
    @ivar ask: whether the owner waits for the contact's leave; nothing that can be set.
    """

    jid: str
    name: str = ""
    groups: frozenset[str] = frozenset()
    subscription: str = "none"
    ask: bool = False


class IPrivileges(Interface):
    """
    What a component may do for the users of a server (XEP-0356), as far as the server grants it.

    What is not granted is refused at once, with the reason in the text of L{gateway.errors.NotGranted}, and
    nothing is sent. Deferreds fail with a C{StanzaError} too: what the server says, or C{remote-server-timeout}, or
    C{remote-server-not-found} when the connection goes.
    """

    def permissions(server: str) -> Any:
        """
        What a server grants at the moment: a L{gateway.privilege.core.Permissions}, a frozen value; with an empty
        C{version} while the server has advertised nothing.

        @raise gateway.errors.NotGranted: if it is none of those that are listened to.
        """

    def getRoster(user: str) -> Deferred[list[RosterItem]]:
        """
        Ask for a user's roster.

        @param user: bare JID.
        """

    def setRoster(user: str, items: Iterable[RosterItem]) -> Deferred[None]:
        """
        Set these items, one after the other, and none of the others; the first failure ends it.

        @param user: bare JID.
        """

    def sendAs(message: domish.Element) -> None:
        """
        Let the server send a message.

        @param message: from the bare JID of a user, or from the server; is not changed.
        @raise gateway.errors.NotGranted: if it may not be sent.
        """

    def requestAs(user: str, iq: domish.Element) -> Deferred[domish.Element]:
        """
        Let the server send an iq request on behalf of a user.

        @param user: bare JID.
        @param iq: of type get or set, to anybody; is not changed.
        @return: fires with the result; an error is a C{StanzaError}.
        """

    def pushRoster(user: str, resource: str, item: RosterItem, refused: Callable[[], object]) -> bool:
        """
        Tell one of a user's clients of a change of the roster, in the user's name, where the server does not do so
        itself (RFC 6121 section 2.1.6).

        @param user: bare JID.
        @param resource: full JID of the client.
        @param refused: is called if an error comes back: the client may be gone.
        @return: false if too much waits for the server.
        @raise gateway.errors.NotGranted: if the server does not grant to set C{jabber:iq:roster} in users' names.
        """

    def watchPresence(observer: Callable[[Stanza], object]) -> None:
        """
        Hear of the presence that is granted: of each resource that becomes available (no type) or C{unavailable}.
        Where the server does its part, all who are available are told of anew after each connection.
        """

    def watchRosters(observer: Callable[[str, list[RosterItem]], object]) -> None:
        """Hear of changes, if the server pushes them: the user's bare JID, and the item."""
