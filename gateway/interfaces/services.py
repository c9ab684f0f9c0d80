"""
Services: what a plugin provides, and what it builds them from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface import Attribute, Interface

from gateway.interfaces.delegation import IDelegatedNamespace
from gateway.interfaces.privilege import IPrivileges
from gateway.metrics import IMetrics

if TYPE_CHECKING:
    from twisted.application.service import IService
    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IAgent

    from gateway.config.tables import ComponentTable
    from gateway.http.served import Served
    from gateway.pieces import Pieces
    from gateway.requirements import Requirement
    from gateway.state.interfaces import IStore
    from gateway.stream.link import Link
    from gateway.stream.survey import Survey

    T = TypeVar("T", bound=ComponentTable)


class IServiceEnvironment(Interface):
    """The environment that a service will run in."""

    stateDir: str = Attribute("The folder for durable state; it may not exist yet.")
    stateKey: str = Attribute("The key of the configuration that names the place of stores, for messages.")
    isEmbedded: bool = Attribute("True if the gateway runs on its embedded host.")
    components: Collection[str] = Attribute("The JIDs of all components of the configuration, this one included.")

    def tables(kind: type[T]) -> dict[str, T]:
        """Return the tables of one class, of all services of the configuration, by the component's JID."""

    def delegationPlugins() -> dict[str, IDelegationPlugin]:
        """Return all handlers for delegated namespaces by name."""

    def storeProblem(name: str, migrations: tuple[tuple[str, ...], ...]) -> str:
        """
        Return the reason why a store cannot be used, and a remedy; empty if it can be used or does not exist yet.
        Create and change nothing. The parameters are those of L{IServiceBuilder.store}.
        """

    def hasStore(name: str) -> bool:
        """True if a store exists; true as well if that cannot be found out."""


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

    pieces: Pieces = Attribute("The L{gateway.pieces.Pieces} that runs long work for all services.")

    metrics: IMetrics = Attribute("Takes metrics. Those of a link and its handlers belong to C{link.metrics}.")

    ownAgent: IAgent = Attribute("Sends each request to this process, whatever host a URL names.")

    def link(jid: str, table: ComponentTable) -> Link:
        """
        Return a new link for the component C{jid}, not started.

        Add handlers by C{handler.setHandlerParent(link)}. The link is an C{IService}, and the plugin's service must
        be this link or contain it. /readyz includes it.
        """

    def removeLink(link: Link) -> Deferred[None]:
        """
        Stop a link that L{link} has returned, and forget it: its open requests are answered. The links of a service
        that is removed need no such call.
        """

    def useDirectLinks(link: Link) -> None:
        """
        Let a link's component use the direct links of C{[peers]}: its stanzas to the domain of a peer go there, and
        a peer may send stanzas to the component, from its own domains only. Stanzas of L{Link.sendCopies} do not.

        @param link: returned by L{link}.
        """

    def serve(name: str) -> Served:
        """
        Return the service's resource of C{[http]} at C{/name}. Callers must send the token if there is one. At most
        1,048,577 bytes of a request's body are kept.

        @param name: the first segment of the path. Several services may use the same one: if their children have
            the same name, that of the service which is first in the configuration is served.
        @return: the resource; add children to it. They are withdrawn when the service is removed, or earlier by
            its method C{withdraw}.
        """

    def store(name: str, migrations: tuple[tuple[str, ...], ...]) -> IStore:
        """
        Return the durable state with this name: a SQLite file of that name in the folder for durable state, or
        tables in the PostgreSQL database of C{[state]}. /readyz and /status report its faults. It is closed when
        the service is removed.

        @param name: by convention C{component JID.kind}. The same name is the same store.
        @param migrations: the SQL statements of each version of its tables. A store gets those that it does not
            have yet, all or none of them. A new release only appends to them; a store with more
            migrations, from a newer release, is not used.
        @raise gateway.config.ConfigError: if the store cannot be created.
        """

    def privileges(link: Link, servers: Iterable[str]) -> IPrivileges:
        """
        Give the link's component the privileges that servers grant for their users (XEP-0356).

        @param link: returned by L{link}.
        @param servers: domains whose advertisements are accepted.
        """

    def survey(link: Link, server: str) -> Survey:
        """
        Return the survey of a link: it queries the link's server after each connection.

        @param link: returned by L{link}.
        @param server: the domain to query; ignored if the configuration gives the domain of the link's server.
        """

    def lend(privileges: IPrivileges, server: str, entities: Iterable[str]) -> Callable[[str], object]:
        """
        Let other components use the privileges that a server grants the link's component.

        @param privileges: returned by L{privileges}.
        @param server: the domain of the server that grants them.
        @param entities: the domains of these components.
        @return: a function that advertises the privileges to one entity; call it whenever the entity has connected.
        """

    def serveDelegatedNamespaces(link: Link, servers: Iterable[str], handler: IDelegatedNamespace) -> None:
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
        Compose one service: at the start, and again if its table changes while the gateway runs. The former service
        is stopped before that.

        @param jid: the component's JID, normalised.
        @param table: an instance of L{table}.
        @raise gateway.config.ConfigError: if the table cannot work, for a reason that its types cannot express.
        """


class IConfigCheck(Interface):
    """
    A plugin may provide this beside L{IServicePlugin} for checks that the types of its table cannot express.
    C{--check} and each start call it before anything is created. An L{IDelegationPlugin} may provide it as well:
    L{check} is called with the table of each delegation that uses the plugin.
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


class IServerConfiguration(Interface):
    """
    A plugin may provide this beside L{IServicePlugin}: the commands C{snippet} and C{check} of C{xmpp-gateway} then
    include the configuration that the service needs in its server.
    """

    def requirements(jid: str, table: Any, environment: IServiceEnvironment) -> Iterable[Requirement]:
        """Return the requirements of a table, beside the component itself; create nothing."""


class IDelegationPlugin(Interface):
    """
    A handler for delegated namespaces. An object in a module of C{gateway.plugins} provides it together with
    C{twisted.plugin.IPlugin}; C{{ handler = "name" }} in the configuration uses it.
    """

    name: str = Attribute("The name of the handler in the configuration.")

    def makeHandler(jid: str, link: Link, composition: IServiceBuilder) -> IDelegatedNamespace:
        """
        Return a handler for one managing entity.

        @param jid: the managing entity's JID.
        @param link: its link.
        """


class IImportingPlugin(Interface):
    """
    An L{IDelegationPlugin} may provide this to support C{import = true}: its handler can import the data that users
    stored on the server before the namespace was delegated.
    """

    def makeImportingHandler(
        jid: str, link: Link, composition: IServiceBuilder, privileges: IPrivileges, servers: Iterable[str]
    ) -> IDelegatedNamespace:
        """
        Return a handler that imports; otherwise like L{IDelegationPlugin.makeHandler}.

        @param privileges: the privileges that the servers grant to the link's component.
        @param servers: the domains of the delegating servers.
        """
