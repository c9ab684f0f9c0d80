"""
The services of components that other gateways have as well (C{standby = true}): each is made when this gateway
takes its component over, and ends when another one does. Without C{standby}, nothing of them is imported.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection, Coroutine, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from gateway.composition.builder import LATE
from gateway.composition.reader import Config
from gateway.composition.reader import Service as ConfiguredService
from gateway.composition.running import Running
from gateway.metrics import IMetrics, names
from gateway.state import places
from gateway.state.database import Database
from gateway.state.guards import Guard
from gateway.stream.lease import Lease
from gateway.stream.link import Link

if TYPE_CHECKING:
    from gateway.standby.service import Standby, Waiting

# Seconds for which a component is left to other gateways if this one cannot serve it.
_POSTPONE = 30.0


class Services(Protocol):
    """The services of the gateway."""

    def serviceOf(self, jid: str) -> Running | None:
        """Return the service of a component."""

    def prepare(self, service: ConfiguredService) -> Running:
        """Prepare to make a service."""

    async def tryToMake(self, service: ConfiguredService) -> list[str]:
        """Make a service while others run; return the problems found. If there are any, nothing of it is left."""

    async def end(self, running: Running) -> None:
        """Stop a service, and release everything that was made for it."""

    def publish(self) -> None:
        """Serve and report what the services have now."""

    def change(self, act: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """Run a coroutine after all changes of services that have begun; not if the gateway stops meanwhile."""


class Takeover:
    """
    Makes and ends these services.

    @ivar stores: the table that the gateways share, if there is such a service.
    """

    _log = Logger()

    def __init__(self, services: Services, reactor: Any, metrics: IMetrics) -> None:
        self._services = services
        self._reactor = reactor
        self._metrics = metrics
        self.stores: list[Database] = []
        self._standby: Standby | None = None
        self._isStarted = False
        metrics.gauge(*names.STANDBY_SERVES).setFunction(lambda: self._ofEach(lambda standby: standby.isOwn))
        metrics.gauge(*names.STANDBY_GATEWAYS).setFunction(lambda: self._ofEach(lambda standby: standby.gateways))

    def _ofEach(self, which: Callable[[Standby], Callable[[str], float]]) -> dict[str, float]:
        """Return a number of each component for which this gateway takes part."""
        standby = self._standby
        return {} if standby is None else {each: which(standby)(each) for each in standby.components}

    def start(self) -> None:
        """Take part from now on."""
        self._isStarted = True
        if self._standby is not None:
            self._standby.startService()

    async def stop(self) -> None:
        """Leave the components to other gateways, after all that was accepted is stored."""
        self._isStarted = False
        if self._standby is not None:
            served = [self._services.serviceOf(jid) for jid in self._standby.components]
            ending = [Deferred.fromCoroutine(self._leave(each)) for each in served if each is not None]
            await gatherResults(ending)
            await self._standby.stopService()

    def leaseOf(self, config: Config, service: ConfiguredService) -> Lease | None:
        """Take part for a component; return its lease, or C{None} if no other gateway may serve it."""
        url = config.state.url
        if not service.table.standby or url is None:
            return None
        if self._standby is None:
            self._standby = self._makeStandby(url, f"{socket.gethostname()}, {config.file}")
            if self._isStarted:
                self._standby.startService()
        return self._standby.add(service.jid)

    def _makeStandby(self, url: str, name: str) -> Standby:
        from gateway.standby import store as leases
        from gateway.standby.core import Owner
        from gateway.standby.service import Standby

        # When a service is made, there may be another release in the place of this one, or another root folder.
        for each in LATE:
            import_module(each)
        store = Database(places.backend(url, leases.NAME, leases.MIGRATIONS), self._reactor)
        store.measure(self._metrics.scope("file", leases.NAME))
        self.stores.append(store)
        own = Owner(secrets.token_hex(8), name)
        return Standby(store, own, self._reactor, places.locks(), self._onTaken, self._onLost)

    def guardOf(self, jid: str) -> Guard | None:
        """Return the condition for changes of the stores of a component with a lease."""
        return None if self._standby is None else self._standby.guard(jid)

    def keepOnly(self, components: Collection[str]) -> None:
        """Take part no longer for other components; their services have ended."""
        if self._standby is not None:
            for each in self._standby.components:
                if each not in components:
                    self._standby.remove(each)

    def mayMake(self, running: Running) -> bool:
        """True if a service that was prepared may be made now."""
        isOwn = self._standby is not None and self._standby.isOwn(running.configured.jid)
        return running.lease is None or isOwn

    def reported(self, running: Running) -> Sequence[Link | Waiting]:
        """Return the links of a service, or the one that stands for them."""
        if running.lease is None or running.service is not None or self._standby is None:
            return running.builder.links
        return [self._standby.waiting(running.configured.jid)]

    def _onTaken(self, jid: str) -> None:
        self._services.change(lambda: self._take(jid))

    async def _take(self, jid: str) -> None:
        running, standby = self._services.serviceOf(jid), self._standby
        if running is None or running.service is not None or standby is None or not standby.isOwn(jid):
            return
        if problems := await self._services.tryToMake(running.configured):
            self._log.error(
                "{component}: this gateway cannot serve it; it is left to others for {seconds:.0f} s:\n{problems}",
                event="standby.not_served",
                component=jid,
                seconds=_POSTPONE,
                problems="\n".join(problems),
            )
            self._services.prepare(running.configured)
            standby.postpone(jid, _POSTPONE)
            self._services.publish()
        else:
            standby.loaded()

    def _onLost(self, jid: str) -> None:
        running = self._services.serviceOf(jid)
        if running is not None and running.service is not None:
            for link in running.builder.links:
                # Errors are sent for what is open; there is no time to wait for answers.
                link.drainFor = 0.0
                link.stopService()
            self._services.change(lambda: self._leave(running))

    async def _leave(self, running: Running) -> None:
        """End a service; it may be made again."""
        if running.service is not None and self._services.serviceOf(running.configured.jid) is running:
            self._services.prepare(running.configured)
            self._services.publish()
            await self._services.end(running)
