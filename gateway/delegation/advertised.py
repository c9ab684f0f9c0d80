"""The delegations that servers and users advertise: notes and logs them, and reports those that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twisted.logger import Logger

from gateway.addresses import jids
from gateway.delegation.advertisements import readAdvertisements
from gateway.delegation.advice import notGranted
from gateway.delegation.forwarder import Forwarder
from gateway.delegation.managing import Grants, Route
from gateway.metrics import IMetrics, names
from gateway.reports import StatusItem
from gateway.stream.grants import GrantWatch
from gateway.stream.stanzas import Stanza


class Advertised:
    """
    The delegations to one managing entity at the moment.

    @ivar grants: by server, and by user.
    @param component: JID of the managing entity.
    @param servers: domains of the servers that may delegate.
    @param routes: the route of each namespace.
    """

    _log = Logger()

    def __init__(
        self, component: str, servers: frozenset[str], routes: Mapping[str, Route], forwarder: Forwarder
    ) -> None:
        self._component = component
        self._servers = servers
        self._routes = routes
        self._forwarder = forwarder
        self.grants = Grants()
        self._watch = GrantWatch(self._allMissing, self._logMissing)

    def connected(self, now: float) -> None:
        """A connection begins: the servers have to advertise again."""
        self._watch.connected(now)

    def disconnected(self) -> None:
        """The connection was lost, and the delegations with it."""
        self.grants.clear()
        self._watch.disconnected()

    def tick(self, now: float) -> None:
        """Log what is missing when it is time. Call about once a second."""
        self._watch.tick(now)

    def received(self, server: str, stanza: Stanza) -> None:
        """Handle an advertisement of a server, for all of its users or for some (sections 4.2 and 5.1)."""
        for user, grants in readAdvertisements(stanza):
            if user is not None:
                if jids.split(user)[1] == server:
                    self.grants.onUserAdvertisement(user, grants)
                    self._log.info(
                        "{component}: {user} delegates {namespaces}.",
                        event="delegation.user_grants",
                        component=self._component,
                        user=user,
                        namespaces=", ".join(grant.namespace for grant in grants) or "nothing",
                    )
            elif server in self._servers:
                for grant in self.grants.onServerAdvertisement(server, grants):
                    self._log.info(
                        "{component}: {server} delegates {namespace}{filtering} (as {version}).{unwanted}",
                        event="delegation.granted",
                        component=self._component,
                        server=server,
                        namespace=grant.namespace,
                        filtering="".join(f", if the payload has {name}" for name in sorted(grant.filtering)),
                        version=grant.version,
                        unwanted="" if grant.namespace in self._routes else " This namespace is not configured.",
                    )

    def _logMissing(self, missing: StatusItem) -> None:
        self._log.warn(
            "{component}: {missing}", event="delegation.missing", component=self._component, missing=str(missing)
        )

    def _allMissing(self) -> Iterator[StatusItem]:
        """Return items about grants that the servers' configurations lack (section 4.2), and about entities."""
        yield from self._missing()
        yield from self._forwarder.missing()

    def _missing(self) -> Iterator[StatusItem]:
        wanted = {namespace: route.filtering for namespace, route in self._routes.items()}
        return notGranted(self._component, self._servers, wanted, self.grants.get, self._forwarder.link.software)

    def overdue(self) -> Iterator[StatusItem]:
        """Return an item for each server that should have advertised more by now."""
        return self._missing() if self._watch.isOver else iter(())

    def report(self) -> Iterator[StatusItem]:
        """Return items about what is delegated."""
        for server in sorted(self._servers):
            granted = tuple(each for each in self._routes if self.grants.get(server, each) is not None)
            if granted:
                about = {"server": server, "namespaces": granted}
                yield StatusItem("delegation.granted", "{server} delegates {namespaces}", about)
        if self.grants.userCount:
            text = "users who delegate by themselves, in client mode: {count}"
            yield StatusItem("delegation.users", text, {"count": self.grants.userCount})

    def measure(self, metrics: IMetrics) -> None:
        """Register the metrics of what is delegated."""
        granted = metrics.gauge(*names.DELEGATION_GRANTED)
        granted.setFunction(
            lambda: {
                (server, namespace): self.grants.get(server, namespace) is not None
                for server in self._servers
                for namespace in self._routes
            }
        )
        metrics.gauge(*names.DELEGATION_USERS).setFunction(lambda: self.grants.userCount)
