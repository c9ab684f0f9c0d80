"""
Interfaces between the parts of the gateway, and those that a plugin provides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.words.protocols.jabber.ijabber import IXMPPHandler
from zope.interface import Attribute, Interface

from gateway._deprecated import renamed

if TYPE_CHECKING:
    from twisted.application.service import IService
    from twisted.internet.defer import Deferred
    from twisted.web.resource import Resource
    from twisted.words.xish import domish

    from gateway.config.tables import ComponentTable
    from gateway.metrics import IMetrics
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


class IStatusProvider(Interface):
    """A handler may provide this to add items to C{/status}."""

    def report() -> Iterable[StatusItem]:
        """Return the current state, for the operator. Texts instead of items are accepted for one release."""


class IServiceEnvironment(Interface):
    """The environment that a service will run in."""

    stateDir: str = Attribute("The folder for durable state; it may not exist yet.")
    isEmbedded: bool = Attribute("True if the gateway runs on its embedded host.")
    components: Collection[str] = Attribute("The JIDs of all components of the configuration, this one included.")

    def delegationPlugins() -> dict[str, IDelegationPlugin]:
        """Return all handlers for delegated namespaces by name."""


class IServiceBuilder(IServiceEnvironment):
    """Builds the parts of a service for its plugin. The folder for durable state exists."""

    reactor: Any = Attribute(
        "Provides C{IReactorTime} and the interfaces that endpoints need. Its clock is monotonic: use it for "
        "intervals and deadlines."
    )

    wallClock: Callable[[], float] = Attribute(
        "Returns the time of day, in seconds since 1970 UTC. This clock may be set forward or back at any time: "
        "use it only for time stamps, and for times that are kept over a restart."
    )

    pieces: Any = Attribute("The L{gateway.pieces.Pieces} that runs long work for all services.")

    metrics: IMetrics = Attribute("Takes metrics. Those of a link and its handlers belong to C{link.metrics}.")

    ownAgent: Any = Attribute("An C{IAgent} that sends each request to this process, whatever host a URL names.")

    def link(jid: str, table: ComponentTable) -> Any:
        """
        Return a new L{gateway.stream.link.Link} for the component C{jid}, not started.

        Add handlers by C{handler.setHandlerParent(link)}. The link is an C{IService}, and the plugin's service must
        be it or contain it. /readyz includes it.
        """

    def serve(name: str) -> Resource:
        """
        Return the resource of C{[http]} at C{/name}. Callers must send the token if there is one. At most 1,048,577
        bytes of a request's body are kept.

        @param name: the first segment of the path.
        @return: the same resource for the same name; add children to it.
        """

    def database(name: str, schema: tuple[str, ...]) -> Any:
        """
        Return a new L{gateway.state.database.Database} in the folder for durable state. /readyz and /status report
        its faults.

        @param name: the name of the file.
        @param schema: SQL statements that create its tables if they do not exist.
        @raise gateway.config.ConfigError: if the file cannot be created.
        """

    def privileges(link: Any, servers: Iterable[str]) -> Any:
        """
        Give the link's component the privileges that servers grant for their users (XEP-0356).

        @param link: returned by L{link}.
        @param servers: domains whose advertisements are accepted.
        @return: provides L{IPrivileges}.
        """

    def survey(link: Any, server: str) -> Any:
        """
        Return a L{gateway.stream.survey.Survey}, which queries the server of a link after each connection.

        @param link: returned by L{link}.
        @param server: the domain to query, unless the link is one of the configured server, which is queried then.
        """

    def lend(privileges: Any, server: str, entities: Iterable[str]) -> Callable[[str], object]:
        """
        Let other components use the privileges that a server grants the link's component.

        @param privileges: returned by L{privileges}.
        @param server: the domain of the server that grants them.
        @param entities: the domains of these components.
        @return: a function to call with each of them when it has connected; it advertises the privileges.
        """

    def serveDelegatedNamespaces(link: Any, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
        """
        Let the link's component answer requests of the handler's namespaces that servers delegate (XEP-0355).

        @param link: returned by L{link}.
        @param servers: domains whose delegations are accepted.
        """


class IServicePlugin(Interface):
    """
    A kind of service. An object in a module of C{gateway.plugins} provides it together with
    C{twisted.plugin.IPlugin}; the table C{[kind."component JID"]} in the configuration starts a service.
    """

    kind: str = Attribute("The first part of the name of its tables in the configuration, such as C{proxy}.")
    table: type[ComponentTable] = Attribute(
        "A frozen attrs class, derived from L{gateway.config.ComponentTable}, with the keys of its table."
    )

    def makeService(jid: str, table: Any, composition: IServiceBuilder) -> IService:
        """
        Compose one service.

        @param jid: the component's JID, normalised.
        @param table: an instance of L{table}.
        @raise gateway.config.ConfigError: if the table cannot work, for a reason that its types cannot express.
        """


class IConfigCheck(Interface):
    """
    A plugin may provide this beside L{IServicePlugin} for checks that the types of its table cannot express.
    C{--check} and each start call it before anything is created. An L{IDelegationPlugin} may provide it as well: it
    is called with the table of each delegation that uses it.
    """

    def check(jid: str, table: Any, environment: IServiceEnvironment) -> list[str]:
        """Return a line for each problem of a table, beginning with the key concerned; create nothing."""


class IConfigWarnings(Interface):
    """
    A plugin may provide this beside L{IServicePlugin} to warn of faults that do not prevent a service from working.
    C{--check} prints the warnings, the start logs them. An L{IDelegationPlugin} may provide it as well.
    """

    def warnings(jid: str, table: Any, environment: IServiceEnvironment) -> list[str]:
        """Return a line for each warning, which names the file or begins with the key; create nothing."""


class IServerRequirements(Interface):
    """
    A plugin may provide this beside L{IServicePlugin} to list its requirements on the server's configuration.
    C{--check} prints them.
    """

    def notes(jid: str, table: Any, environment: IServiceEnvironment) -> list[str]:
        """Return the requirements of a table, each of one or several lines; create nothing."""


class ITourStop(Interface):
    """A plugin may provide this beside L{IServicePlugin} to be part of the embedded default and of the tour."""

    def demoTables(domain: str) -> dict[str, dict[str, Any]]:
        """
        Return the tables that are used if nothing is configured.

        @param domain: the domain of the embedded host.
        @return: tables as in a configuration file, by component JID.
        """

    def tour(guide: IGuide, jid: str) -> Awaitable[None]:
        """
        Demonstrate one of its services, which runs on the embedded host, to a user who does not know it.

        @param jid: the service's JID.
        @raise gateway.tour.guide.TourFailed: from the guide, if a check fails.
        """


class IGuide(Interface):
    """The guide of the tour: prints texts, and acts as an ordinary client of the embedded host."""

    jid: str = Attribute("The full JID that it is logged in as.")

    def say(text: str) -> None:
        """Print one paragraph."""

    def ask(recipient: str, payload: str, kind: str = "get") -> Awaitable[domish.Element]:
        """
        Send an iq request with this payload (XML); print the request and the answer.

        @return: the answer, of type result or error.
        """

    def send(stanza: str) -> None:
        """Send a message or presence (XML), and print it. Use L{hear} for stanzas that it causes."""

    def check(right: object, promise: str) -> None:
        """
        Print that a promise holds.

        @raise gateway.tour.guide.TourFailed: if C{right} is false.
        """

    def hear(right: Callable[[domish.Element], bool], promise: str) -> Awaitable[domish.Element]:
        """
        Wait for an unsolicited stanza, and print it. It may have arrived earlier; each is returned once.

        @param right: returns true for the stanza that is waited for.
        @param promise: a description of the stanza.
        @raise gateway.tour.guide.TourFailed: if it does not arrive in time.
        """

    def friend() -> Awaitable[IGuide | None]:
        """
        Log in a second client with another account, for the rest of the tour.

        @return: C{None} if there is no second account.
        """

    def web(method: str, path: str, body: str = "") -> Awaitable[tuple[int, str]]:
        """
        Send a request to the gateway's HTTP server; print the request and the answer.

        @param body: JSON.
        @return: status and body.
        """


class IDelegatedRequest(Interface):
    """An iq request in a delegated namespace (XEP-0355), as it was sent to the server."""

    requester: str = Attribute("The sender's JID, usually a full JID.")
    id: str = Attribute("The id that the requester has chosen.")
    entity: str = Attribute("The recipient: the bare JID of a user of the server, or the server's domain.")
    type: str = Attribute('C{"get"} or C{"set"}.')
    namespace: str = Attribute("The namespace of the payload.")
    payload: domish.Element = Attribute("The one child element; its tree is built at the first access.")
    xml: bytes = Attribute("The payload as bytes, for a place where the default namespace is jabber:client.")


class IDelegatedNamespace(Interface):
    """Answers requests in namespaces that servers delegate."""

    namespaces: frozenset[str] = Attribute("The namespaces that it can answer for.")
    features: tuple[str, ...] = Attribute("Features for the server's disco#info, in place of the server's own.")
    identities: tuple[tuple[str, str, str], ...] = Attribute("Likewise identities: category, type and name.")
    bareFeatures: tuple[str, ...] = Attribute("Features for the disco#info of the users' bare JIDs.")
    bareIdentities: tuple[tuple[str, str, str], ...] = Attribute("Likewise identities.")

    def answer(request: IDelegatedRequest) -> Any:
        """
        Answer one request.

        @return: the payload of the result: an element, bytes as L{IDelegatedRequest.xml}, or C{None} for an empty
            result; or an awaitable of these. The request's own bytes are not checked again.
        @raise twisted.words.protocols.jabber.error.StanzaError: the error for the requester. Any other exception is
            answered as C{internal-server-error}; no answer within 25 seconds is C{remote-server-timeout}.
        """


class IDelegationPlugin(Interface):
    """
    A handler for delegated namespaces. An object in a module of C{gateway.plugins} provides it together with
    C{twisted.plugin.IPlugin}; C{{ handler = "name" }} in the configuration uses it.
    """

    name: str = Attribute("The name of the handler in the configuration.")

    def makeHandler(jid: str, link: Any, composition: IServiceBuilder) -> IDelegatedNamespace:
        """
        Return a handler for one managing entity.

        @param jid: the managing entity's JID.
        @param link: its L{gateway.stream.link.Link}.
        """


class IImportingPlugin(Interface):
    """
    An L{IDelegationPlugin} may provide this to support C{import = true}: its handler can import the data that users
    stored on the server before the namespace was delegated.
    """

    def makeImportingHandler(
        jid: str, link: Any, composition: IServiceBuilder, privileges: IPrivileges, servers: Iterable[str]
    ) -> IDelegatedNamespace:
        """
        Return a handler that imports; otherwise like L{IDelegationPlugin.makeHandler}.

        @param privileges: the privileges that the servers grant to the link's component.
        @param servers: the domains of the delegating servers.
        """


@frozen(kw_only=True)
class RosterItem:
    """
    A contact in a user's roster (RFC 6121 section 2.1.2).

    @ivar jid: its JID, usually a bare JID.
    @ivar subscription: C{none}, C{to}, C{from} or C{both}; C{remove} if the contact was or is to be removed.
    @ivar ask: true while the user's subscription request is not answered; read only.
    """

    jid: str
    name: str = ""
    groups: frozenset[str] = frozenset()
    subscription: str = "none"
    ask: bool = False


class IPrivileges(Interface):
    """
    Privileges of a component for the users of a server (XEP-0356), as far as the server grants them.

    If a request needs a privilege that is not granted, nothing is sent and L{gateway.errors.NotGranted} gives the
    reason. Deferreds may also fail with a C{StanzaError}: the server's error, C{remote-server-timeout}, or
    C{remote-server-not-found} if the connection is lost.
    """

    def permissions(server: str) -> Any:
        """
        Return the privileges that a server grants now, as a frozen L{gateway.privilege.core.Permissions}. Its
        C{version} is empty if the server has advertised nothing.

        @raise gateway.errors.NotGranted: if advertisements of this server are not accepted.
        """

    def getRoster(user: str) -> Deferred[list[RosterItem]]:
        """
        Request a user's roster.

        @param user: bare JID.
        """

    def setRoster(user: str, items: Iterable[RosterItem]) -> Deferred[None]:
        """
        Set these roster items, one after the other, and no others. Stop at the first failure.

        @param user: bare JID.
        """

    def sendAs(message: domish.Element) -> None:
        """
        Let the server send a message.

        @param message: from the bare JID of a user, or from the server; is not changed.
        @raise gateway.errors.NotGranted: if the server has not granted it.
        """

    def requestAs(user: str, iq: domish.Element) -> Deferred[domish.Element]:
        """
        Let the server send an iq request on behalf of a user.

        @param user: bare JID.
        @param iq: of type get or set, to any address; is not changed.
        @return: fires with the result; an error is a C{StanzaError}.
        """

    def pushRoster(user: str, resource: str, item: RosterItem, refused: Callable[[], object]) -> bool:
        """
        Send a roster push to one of a user's clients, in the user's name, if the server does not send it itself
        (RFC 6121 section 2.1.6).

        @param user: bare JID.
        @param resource: full JID of the client.
        @param refused: called if an error is returned: the client may be offline.
        @return: false if too much output waits for the server.
        @raise gateway.errors.NotGranted: if the server does not grant to set C{jabber:iq:roster} in users' names.
        """

    def watchPresence(observer: Callable[[Stanza], object]) -> None:
        """
        Register an observer of the presence that the server forwards: of each resource that becomes available (no
        type) or C{unavailable}. If the server supports it, the presence of all available users is repeated after
        each connection.
        """

    def watchRosters(observer: Callable[[str, list[RosterItem]], object]) -> None:
        """Register an observer of roster pushes, called with the user's bare JID and the changed items."""


# Hidden from type checkers, which would accept any name otherwise.
if not TYPE_CHECKING:
    _OLD_NAMES = {
        "IChecked": "IConfigCheck", "IComposition": "IServiceBuilder", "IDemonstration": "ITourStop",
        "INoted": "IServerRequirements", "IReporting": "IStatusProvider", "ISurroundings": "IServiceEnvironment",
        "IWarned": "IConfigWarnings",
    }
    __getattr__ = renamed(__name__, _OLD_NAMES)
