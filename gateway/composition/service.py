"""
Compose all services of a configuration under one MultiService.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from gateway import __version__
from gateway.composition.builder import ServiceBuilder
from gateway.composition.changes import Changes, compare
from gateway.composition.checks import check, failed, findPlugins, notes, read, warnings
from gateway.composition.direct import DirectLinks
from gateway.composition.reader import Config, readSecret
from gateway.composition.reader import Service as ConfiguredService
from gateway.composition.running import Running, digests
from gateway.composition.takeover import Takeover
from gateway.config.tables import ConfigError, HttpTable
from gateway.errors import StartFailed, Stopping
from gateway.http.listener import LaterFactory, Listener
from gateway.metrics import INFO, NO_METRICS, IMetrics
from gateway.metrics.samples import EVERY, Samples
from gateway.pieces import Pieces, ReactorLag
from gateway.reports import StatusItem
from gateway.state import files
from gateway.state.database import Database
from gateway.stream.link import Link
from gateway.stream.outages import Outage

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent

    from gateway.composition.web import WebServer
    from gateway.embedded.host import EmbeddedHost
    from gateway.standby.service import Waiting

__all__ = ["Gateway", "ServiceBuilder", "check", "findPlugins", "makeService", "notes", "read", "warnings"]

_log = Logger()

# Seconds for a removed service to stop; then as many for its links, and for its databases. Each needs less.
_STOP_TIMEOUT = 20.0


def makeService(
    config: Config,
    reactor: Any,
    wallClock: Callable[[], float] | None = None,
    metrics: IMetrics = NO_METRICS,
) -> Gateway:
    """
    Return the whole gateway, not started.

    @param config: as L{read} returns it: checked.
    @param wallClock: as L{IServiceBuilder.wallClock}; by default the reactor's clock, for tests with one clock.
    @param metrics: takes the metrics of all services. L{PrometheusMetrics} are served at C{/metrics}.
    @raise ConfigError: if something that the file names cannot be used.
    """
    _warn(warnings(config))
    try:
        files.makeFolder(config.state_dir)
    except OSError as error:
        raise ConfigError([f"state_dir: {config.state_dir} cannot be created: {error.strerror}"]) from error
    return Gateway(config, reactor, wallClock or reactor.seconds, metrics)


class Gateway(MultiService):
    """
    The parent of all services of a configuration. They are named C{kind:JID}, the HTTP server C{http}, the embedded
    host C{embedded}, the timer that measures the delay of the reactor C{lag}.

    Services can be added, replaced and removed while others run. The others are not affected.

    @ivar config: the configuration. Its services are those that exist now.
    @ivar links: the links of all services, in the order of the configuration.
    @ivar reported: the same, with components that other gateways serve.
    @ivar databases: their databases likewise.
    @ivar reports: items about the gateway as a whole, for C{/status}.
    @ivar samples: the last minutes of each component.
    @ivar pieces: runs the long work of all services.
    """

    _log = Logger()

    def __init__(
        self, config: Config, reactor: Any, wallClock: Callable[[], float], metrics: IMetrics = NO_METRICS
    ) -> None:
        super().__init__()
        self.config = config
        self.links: list[Link] = []
        self.reported: list[Link | Waiting] = []
        self.databases: list[Database] = []
        self.reports: list[StatusItem] = []
        self._reactor = reactor
        self._wallClock = wallClock
        self._recorded = metrics
        self.samples = Samples(metrics)
        self._nextSample: IDelayedCall | None = None
        self.pieces = Pieces(reactor)
        # Kept by the links.
        self._outages: MutableMapping[str, Outage] = WeakValueDictionary()
        self._running: dict[str, Running] = {}
        self._direct = DirectLinks(reactor, metrics)
        self._takeover = Takeover(self, reactor, self.samples.group())
        self._changing = DeferredLock()
        self._isStopping = self._isTracing = False
        self._web: WebServer | None = None
        # If [http] is not configured, the default port may be in use, for instance by another gateway; and perhaps
        # nobody ever connects there.
        table = config.http or HttpTable()
        isConfigured = config.http is not None
        factory = self.webServer().site if isConfigured else LaterFactory(lambda: self.webServer().site)
        self._http = Listener("http.listen", table.listen, factory, reactor, isConfigured)
        self._http.setName("http")
        self._http.setServiceParent(self)
        if metrics.isRecording:
            metrics.gauge(*INFO).labels(__version__).set(1)
            lag = ReactorLag(reactor, metrics)
            lag.setName("lag")
            lag.setServiceParent(self)
        try:
            self._host = _embeddedHost(config, self._http, reactor, wallClock)
        except OSError as error:
            path = error.filename or config.state_dir
            raise ConfigError([f"state_dir: {path} cannot be used: {error.strerror}"]) from error
        if self._host is not None:
            self._host.setServiceParent(self)
        problems: list[str] = []
        try:
            self._direct.use(config)
        except ConfigError as error:
            problems += error.problems
        for service in config.services:
            try:
                self._make(service)
            except ConfigError as error:
                problems += _problemsOf(service, error)
            except Exception as error:
                problems.append(failed(service, error))
        if problems:
            raise ConfigError(problems)
        self.publish()

    def startService(self) -> None:
        self._isStopping = False
        super().startService()
        self._direct.startService()
        self._sampleLater()
        self._takeover.start()

    def stopService(self) -> Deferred[Any]:
        self._isStopping = True
        if self._nextSample is not None:
            self._nextSample.cancel()
            self._nextSample = None
        if self._web is not None:
            self._web.live.stop()
        # A service that is being removed is no child any longer.
        stopping = [maybeDeferred(super().stopService), self._changing.run(lambda: None)]
        stopped: Deferred[Any] = DeferredList(stopping, consumeErrors=True)
        # The last stanzas of the services use the direct links.
        stopped.addCallback(lambda _: self._direct.stopService())
        return stopped.addCallback(lambda _: Deferred.fromCoroutine(self._takeover.stop()))

    # Changes; they are made one after the other.

    def put(self, service: ConfiguredService) -> Deferred[Changes]:
        """Add a service, or replace the one with its JID; see L{apply}."""
        return self._change(lambda config: _withService(config, service))

    def remove(self, jid: str) -> Deferred[Changes]:
        """Remove a service, if there is one with this JID; see L{apply}."""
        return self._change(lambda config: _withoutService(config, jid))

    def apply(self, config: Config) -> Deferred[Changes]:
        """
        Add, replace and remove the services that differ in a new configuration.

        The HTTP resources of a service that is removed or replaced are withdrawn at once, and its links and
        databases are not reported any longer. HTTP requests under way still get their answers. The service is
        stopped: its links answer open iq requests, for a limited time (L{Link.drainFor}), and disconnect. Then
        everything that was made for it is released, and its successor is made.

        Files that the tables name, such as keys, and the HTTP token are read anew: a service is replaced as well if
        only the content of its files differs.

        If a service cannot be made although its check has found no problem, the others are changed, and its
        predecessor is made again.

        @return: fires with the changes when all are complete. Fails with L{ConfigError} before anything is changed,
            if the configuration has problems, or a difference that needs a restart. Fails with L{ConfigError}
            afterwards if a service could not be made, and with L{Stopping} if the gateway stops meanwhile.
        """
        return self._change(lambda _: config, isAnew=True)

    def _change(self, makeConfig: Callable[[Config], Config], isAnew: bool = False) -> Deferred[Changes]:
        changing: Deferred[Changes] = self._changing.run(
            lambda: Deferred.fromCoroutine(self._apply(makeConfig, isAnew))
        )
        return changing

    async def _apply(self, makeConfig: Callable[[Config], Config], isAnew: bool) -> Changes:
        self._checkRuns()
        config = makeConfig(self.config)
        changes = compare(self.config, config, self._renewed() if isAnew else ())
        if changes.restart:
            raise ConfigError([f"{key}: has changed, which requires a restart" for key in changes.restart])
        if changes.added or changes.replaced:
            check(config)
            known = warnings(self.config)
            _warn(each for each in warnings(config) if each not in known)
        if isAnew:
            self._readToken(config)
        ending = (*changes.removed, *(each.jid for each in changes.replaced))
        leaving = {jid: self._running.pop(jid) for jid in ending}
        successors = {each.jid: each.kind for each in changes.replaced}
        for jid, running in leaving.items():
            # A successor of another kind cannot answer the requests that this service leaves open.
            if successors.get(jid) != running.configured.kind and running.lease is None:
                for link in running.builder.links:
                    link.isFinal = True
        self.config = config
        self.publish()
        # Nothing waits in the outboxes of these, except for errors to requests that come too late.
        links = {link.jid: link for running in leaving.values() for link in running.builder.links if link.ready}
        await gatherResults([Deferred.fromCoroutine(self.end(each)) for each in leaving.values()])
        self._takeover.keepOnly({each.jid for each in config.services if each.table.standby})
        self._checkRuns()
        problems = await self._usePeers(config) if isAnew else []
        for service in (*changes.replaced, *changes.added):
            found = await self.tryToMake(service)
            if found and service.jid in leaving:
                found += await self.tryToMake(leaving[service.jid].configured)
            problems += found
        self._handOver(links)
        there = {jid: running.configured for jid, running in self._running.items()}
        services = tuple(there[each.jid] for each in config.services if each.jid in there)
        self.config = evolve(config, services=services)
        self.publish()
        if problems:
            raise ConfigError(problems)
        return changes

    def _handOver(self, former: Mapping[str, Link]) -> None:
        """Let successors of links, by JID, send what these could not send any longer."""
        for running in self._running.values():
            for link in running.builder.links:
                if link.jid in former:
                    link.inherit(former[link.jid].outbox)

    async def _usePeers(self, config: Config) -> list[str]:
        """Make and end direct links; return the problems found."""
        try:
            await self._direct.use(config)
        except ConfigError as error:
            return error.problems
        except StartFailed as error:
            return [str(error)]
        return []

    def _renewed(self) -> set[str]:
        """Return the JIDs of services whose files have changed since they were read."""
        return {jid for jid, each in self._running.items() if each.files != digests(each.configured)}

    def _readToken(self, config: Config) -> None:
        """
        Read the token of the HTTP server anew.

        @raise ConfigError: if that is not possible.
        """
        path = None if config.http is None else config.http.token_file
        try:
            token = None if path is None else readSecret(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError([f"http.token_file: {path}: {reason}"]) from None
        if self._web is not None:
            self._web.token = token

    def utc(self) -> float:
        """Return the seconds since 1970."""
        return self._wallClock()

    def trace(self, isOn: bool) -> None:
        """Log the stanzas of all links, with their content, or do not log them any longer."""
        self._isTracing = isOn
        self.publish()

    def serviceOf(self, jid: str) -> Running | None:
        """Return the service of a component; C{None} if there is none."""
        return self._running.get(jid)

    def change(self, act: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """Run a coroutine after all changes that have begun; not if the gateway stops meanwhile."""

        async def changed() -> None:
            if not self._isStopping:
                await act()

        done: Deferred[None] = self._changing.run(lambda: Deferred.fromCoroutine(changed()))
        return done

    def _checkRuns(self) -> None:
        if self._isStopping:
            raise Stopping

    async def tryToMake(self, service: ConfiguredService) -> list[str]:
        """Make a service while others run; return the problems found. If there are any, nothing of it is left."""
        try:
            self._make(service)
        except ConfigError as error:
            problems = _problemsOf(service, error)
        except (Exception, SystemExit) as error:
            self._log.failure("{name} cannot be started.", event="service.not_started", name=_nameOf(service))
            problems = [f'{service.kind}."{service.jid}": {type(error).__name__}: {error}; see the log']
        else:
            self.publish()
            return []
        await self.end(self._running.pop(service.jid))
        return problems

    def _make(self, service: ConfiguredService) -> None:
        """
        Make a service; start it if the gateway is running. If another gateway may serve the component, this is done
        when it is known that none does.

        @raise ConfigError: if it cannot work.
        """
        running = self.prepare(service)
        if self._takeover.mayMake(running):
            running.service = service.plugin.makeService(service.jid, service.table, running.builder)
            # The plugin may have created some of them.
            running.files = digests(service)
            running.service.setName(_nameOf(service))
            running.service.setServiceParent(self)

    def prepare(self, service: ConfiguredService) -> Running:
        """Prepare to make a service: see L{Running}."""

        def changed() -> None:
            if running.service is not None:
                self.publish()

        lease = self._takeover.leaseOf(self.config, service)
        builder = ServiceBuilder(
            self.config,
            self._host,
            self._ownAgent,
            self._reactor,
            self._wallClock,
            self.samples,
            self.pieces,
            changed,
            self._outages,
            self._direct,
            lease,
            self._takeover.guardOf(service.jid) if lease is not None else None,
        )
        running = self._running[service.jid] = Running(service, builder, lease, digests(service))
        return running

    async def end(self, running: Running) -> None:
        """Stop a service, and release everything that was made for it. Log what fails, and go on."""
        service = running.service
        steps: list[Callable[[], Any]] = [running.builder.removeLinks, running.builder.closeDatabases]
        if service is not None and service.parent is self:
            steps.insert(0, service.disownServiceParent)
        for step in steps:
            try:
                await maybeDeferred(step).addTimeout(_STOP_TIMEOUT, self._reactor)
            except Exception:
                self._log.failure(
                    "{name} did not stop as it should.",
                    event="service.not_stopped",
                    name=_nameOf(running.configured),
                )
        # Objects of the start are exempt from garbage collection (tap.py), and a service consists of cycles.
        gc.unfreeze()

    def webServer(self) -> WebServer:
        """Return the HTTP server, which is made when it is needed: its modules take time and memory."""
        if self._web is None:
            from gateway.composition.web import WebServer

            table = self.config.http or HttpTable()
            self._web = WebServer(table, self, self._recorded, self._reactor, self._wallClock)
            self._web.serve(each.builder.served for each in self._inOrder())
        return self._web

    def _sampleLater(self) -> None:
        self._nextSample = self._reactor.callLater(EVERY, self._sample)

    def _sample(self) -> None:
        self._sampleLater()
        self.samples.take(self._reactor.seconds())
        if self._web is not None:
            self._web.live.tick()

    def _ownAgent(self) -> IAgent:
        from gateway.http.agent import OwnAgent

        return OwnAgent(self._http, lambda: None if self._web is None else self._web.token, self._reactor)

    def kinds(self) -> dict[str, str]:
        """Return the kinds of services by component."""
        return {each.jid: each.kind for each in self.config.services}

    def _inOrder(self) -> list[Running]:
        """Return the services that there are, in the order of the configuration."""
        return [self._running[each.jid] for each in self.config.services if each.jid in self._running]

    def publish(self) -> None:
        """Serve and report what the services have now, in the order of the configuration."""
        there = self._inOrder()
        self.links[:] = [link for each in there for link in each.builder.links]
        self.reported[:] = [link for each in there for link in self._takeover.reported(each)]
        for link in self.links:
            link.trace(self._isTracing)
        self.databases[:] = [database for each in there for database in each.builder.databases]
        self.databases += self._takeover.stores
        if self._web is not None:
            self._web.serve(each.builder.served for each in there)
        if self._host is not None:
            self._host.setServices(_jidsByKind(each.configured for each in there))


def _warn(found: Iterable[str]) -> None:
    for each in found:
        _log.warn("{found}", event="config.warning", found=each)


def _withoutService(config: Config, jid: str) -> Config:
    return evolve(config, services=tuple(each for each in config.services if each.jid != jid))


def _withService(config: Config, service: ConfiguredService) -> Config:
    """Return the configuration with a service in the place of the one with its JID, otherwise at the end."""
    services = {each.jid: each for each in config.services} | {service.jid: service}
    return evolve(config, services=tuple(services.values()))


def _nameOf(service: ConfiguredService) -> str:
    return f"{service.kind}:{service.jid}"


def _problemsOf(service: ConfiguredService, error: ConfigError) -> list[str]:
    return [f'{service.kind}."{service.jid}".{problem}' for problem in error.problems]


def _jidsByKind(services: Iterable[ConfiguredService]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for service in services:
        found.setdefault(service.kind, []).append(service.jid)
    return found


def _embeddedHost(
    config: Config, http: Listener, reactor: Any, wallClock: Callable[[], float]
) -> EmbeddedHost | None:
    if config.embedded is None:
        return None
    # Imported here, because a gateway on a real server needs neither this package nor its dependencies.
    from gateway.embedded.host import EmbeddedHost

    services = _jidsByKind(config.services)
    return EmbeddedHost(
        config.embedded, services, config.state_dir, reactor, sys.stdout.write, lambda: http.url, wallClock
    )
