"""
A component's connection to its server as a service: reconnection for ever, and two lanes of handlers.

What it sends is in L{gateway.stream.output}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from functools import partial
from operator import attrgetter
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import STANZA_CONDITIONS
from twisted.words.protocols.jabber.ijabber import IXMPPHandler, IXMPPHandlerCollection
from twisted.words.xish import domish
from zope.interface import implementer

from gateway.errors import ERRORS, BadRequest, GatewayError, HandlerFailed, Stopping
from gateway.metrics import NO_METRICS, IMetrics, IMetricsProvider
from gateway.reports import StatusItem
from gateway.stream.backoff import Backoff
from gateway.stream.budget import Budget
from gateway.stream.component import ComponentProtocol, Refused
from gateway.stream.core import Limits
from gateway.stream.fairness import Fairness
from gateway.stream.feeds import Feeds
from gateway.stream.instances import SHARED, OtherInstances
from gateway.stream.interfaces import IPeerHandler, IRawHandler, IStatusProvider
from gateway.stream.lane import ElementLane, T
from gateway.stream.lease import Lease
from gateway.stream.measures import measure
from gateway.stream.outages import Outage
from gateway.stream.outbox import Outbox
from gateway.stream.output import Output
from gateway.stream.refusals import Refusals
from gateway.stream.refused import StanzaRefused
from gateway.stream.requests import pingOf
from gateway.stream.stanzas import Stanza
from gateway.stream.trace import Tracer
from gateway.stream.trouble import explain, isRefused, logOutage

# The conditions of RFC 6120 section 8.3.3; Twisted's list lacks one.
_CONDITIONS = STANZA_CONDITIONS.keys() | {"policy-violation"}

# Seconds between two tries to connect: at first, and at most. A server that is restarted is back in a few seconds.
# A client that is there earlier is told that the component is unavailable, and may not try again.
_FIRST_DELAY = 0.5
_LAST_DELAY = 30.0
_QUICK_FOR = 10.0


@implementer(IXMPPHandlerCollection, IStatusProvider)
class Link(Output, Service):
    """
    The stream of one component, up or down.

    Handlers are added with their C{setHandlerParent}. Those that provide L{IRawHandler} see stanzas first, and
    as bytes; other handlers get the stanzas that no raw handler took.

    @ivar budget: bytes that each user may be sent in answer. Handlers charge large answers to it.
    @ivar fairness: slows down or refuses users who are over it. Handlers tell it of copies (L{Fairness.spread}).
    @ivar feeds: the presence that servers send the component unasked.
    @ivar trouble: the reason for the operator if no stanzas flow; otherwise empty.
    @ivar domain: the server's own host, which is pinged after a long silence; C{None} for never.
    @ivar software: the software of the server, as it says or shows (L{Survey}); empty until that is known.
    @ivar conflict: the reason for the operator if the link is up but of little use; otherwise empty.
    @ivar standby: always empty: this gateway serves the component.
    @ivar shared: true if other gateways may be connected as this component.
    @ivar isFinal: true if the component is removed: no later link or process will answer what is open at the stop.
    @ivar metrics: metrics of this link and its handlers, see L{IMetricsProvider}.
    @ivar connections: number of connections that the server accepted.
    @ivar failures: number of connections that failed or were lost.
    @ivar errors: number of stanzas that were answered with an error, by its condition. Handlers that write errors
        themselves count them with L{countError}.
    @param where: the endpoint in the operator's words.
    @param outage: the outages of the server, which its links report together; by default, of this link alone.
    @param instances: detects other gateways that are connected as this component; C{None} for no detection.
    """

    # Seconds that a stop waits for open exchanges; seconds between two ticks.
    drainFor = 5.0
    tickEvery = 1.0

    # Seconds without a byte until the server is pinged; from the ping until it counts as gone; without reading
    # until it counts as gone.
    pingAfter = 60.0
    goneAfter = 30.0
    stallFor = 300.0

    # Seconds from the handshake until the outbox is sent. ejabberd 24.10 and newer knows a component's privileges a
    # moment after the handshake, and drops earlier iqs.
    settleFor = 0.2

    # Seconds that a stream must have been up for the next try to be as quick as the first.
    steadyAfter = 10.0

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        jid: str,
        secret: str,
        limits: Limits | None = None,
        random: Random | None = None,
        domain: str | None = None,
        where: str = "the server's endpoint",
        instances: OtherInstances | None = None,
        budget: Budget | None = None,
        metrics: IMetrics = NO_METRICS,
        outage: Outage | None = None,
        lease: Lease | None = None,
    ) -> None:
        super().__init__(reactor, jid, limits or Limits(), lease or Lease())
        self._backoff = Backoff(_FIRST_DELAY, _LAST_DELAY, random or Random(), _QUICK_FOR)
        self.budget = budget or Budget()
        self.fairness = Fairness(self, self.budget, reactor)
        self.feeds = Feeds(jid, domain)
        # Both are nearly always empty.
        self._debts, self._held = self.fairness.debts, self.fairness.held
        self._secret = secret
        self.domain = domain
        self._upAt = self._heardAt = self.now
        self._pingedAt: float | None = None
        self.trouble = "not started"
        self.software = self.conflict = self.standby = ""
        self.shared = False
        self.isFinal = False
        self._instances = instances
        self._stopping: Deferred[None] = succeed(None)
        self._stopped: Deferred[None] | None = None
        self._raw: list[IRawHandler] = []
        self._lane = ElementLane(self)
        self.errors: Counter[str] = Counter()
        self.connections = self.failures = 0
        self.refusals = Refusals(self, partial(reactor.callLater, 0))
        self._endpoint = endpoint
        self._where = where
        self._outage = outage or Outage()
        self._factory = Factory.forProtocol(self._makeProtocol)
        self._factory.noisy = False
        self._trying: Deferred[Any] | None = None
        self._retry: IDelayedCall | None = None
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self.metrics = metrics
        self._traffic = measure(self, metrics) if metrics.isRecording else None

    # As a service.

    def startService(self) -> None:
        super().startService()
        self.trouble = "connecting"
        self._outage.add(self.jid)
        self.fairness.resume()
        self._lane.resume()
        self._ticking.start(self.tickEvery, now=False)
        self._connect()

    def stopService(self) -> Deferred[None]:
        if self.running:
            super().stopService()
            self._outage.remove(self.jid)
            self._stopping = self._stop()
        return self._stopping

    @inlineCallbacks
    def _stop(self) -> Generator[Deferred[Any], Any, None]:
        self.fairness.drain()
        for handler in self._raw:
            self._lane.guard(handler.drain)
        deadline = self._reactor.seconds() + self.drainFor
        while self.ready and self.pending and self._reactor.seconds() < deadline:
            yield deferLater(self._reactor, 0.05)
        for handler in self._raw:
            self._lane.guard(handler.drained)
        self._lane.drained()
        # Handlers do nothing any longer; what the outbox takes from now on is for a successor.
        self._ticking.stop()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._protocol is not None:
            self._settled(self._protocol)
            self._stopped = Deferred()
            if self.ready and self.drainFor:
                self._protocol.finish(self._tooLate)
            else:
                self._protocol.close()
            yield self._stopped
            self._stopped = None
        elif self._trying is not None:
            self._trying.cancel()
        self.trouble = "stopped"

    def _tooLate(self, stanza: Stanza) -> None:
        """Keep the answer to a request that has come when the stream had ended, for a successor."""
        if stanza.name == "iq" and stanza.type in ("get", "set"):
            self._lane.refuse(stanza, Stopping)

    def inherit(self, outbox: Outbox) -> None:
        """Send what a link of the same component that was stopped could not send any longer."""
        for data in outbox.takeAll():
            self.sendRaw(data)

    @property
    def pending(self) -> int:
        """Number of open exchanges."""
        return self.openReplies + self.openRequests + sum(handler.pending for handler in self._raw)

    @property
    def openReplies(self) -> int:
        """Number of requests that wait for the answer of an element handler."""
        return len(self._lane.replies)

    @property
    def openRequests(self) -> int:
        """Number of the component's own requests without an answer."""
        return len(self._lane.requests)

    # As the parent of handlers.

    def report(self) -> Iterator[StatusItem]:
        if len(self.outbox):
            about = {"stanzas": len(self.outbox), "bytes": self.outbox.size}
            yield StatusItem("link.outbox", "stanzas that wait for the link: {stanzas}; bytes: {bytes}", about)
        if self.lost:
            text = "stanzas that could not be sent: {late} waited too long for the link, {full} found no room"
            yield StatusItem("link.lost", text, {"late": self.lost["late"], "full": self.lost["full"]})
        yield from self.feeds.report()
        yield from self.lease.report()
        yield from self.fairness.report()
        yield from self.refusals.report()
        if self.detour is not None:
            yield from self.detour.report()

    def __iter__(self) -> Iterator[IXMPPHandler]:
        return iter(self._lane)

    def addHandler(self, handler: IXMPPHandler) -> None:
        if IRawHandler.providedBy(handler):
            self._raw.append(handler)
        self._lane.addHandler(handler)
        if self.metrics.isRecording and IMetricsProvider.providedBy(handler):
            self._lane.guard(IMetricsProvider(handler).measure, self.metrics)

    def removeHandler(self, handler: IXMPPHandler) -> None:
        if IRawHandler.providedBy(handler):
            self._raw.remove(handler)
        self._lane.removeHandler(handler)

    def send(self, obj: Any) -> None:
        """Send an element; one answer for each request, as L{ElementLane.send} has it."""
        self._lane.send(obj)

    def request(self, request: Any) -> Deferred[domish.Element]:
        """Send an iq request and wait for its answer, as L{ElementLane.request} has it."""
        return self._lane.request(request)

    def ask(self, request: Any, read: Callable[[Stanza], T]) -> Deferred[T]:
        """Send an iq request and read its answer as bytes, as L{ElementLane.ask} has it."""
        return self._lane.ask(request, read)

    def afterInput(self, call: Callable[[], object]) -> None:
        """
        Call a function after the stanzas that came in one piece; at the end of the reactor turn, if no stanza is
        being handled.
        """
        guarded = partial(self._lane.guard, call)
        if self._protocol is None or not self._protocol.afterEvents(guarded):
            self._reactor.callLater(0, guarded)

    def trace(self, isOn: bool) -> None:
        """Log all stanzas, with their content, or do not log them any longer."""
        if isOn == (self._tracer is not None):
            return
        # A stanza that is being handled is shown to the handlers of before.
        if isOn:
            self._tracer = Tracer(self.jid)
            self._raw = [self._tracer, *self._raw]
        else:
            self._raw = [each for each in self._raw if not isinstance(each, Tracer)]
            self._tracer = None
        if self._write is not None and self._protocol is not None:
            self._write = self._writerOf(self._protocol)

    # As the owner of a connection.

    def chunkReceived(self, now: float) -> None:
        self.now = self._heardAt = now
        # If it is over, the link stops, and drops the stanzas that follow.
        self.lease.isOver(now)

    def stanzaReceived(self, stanza: Stanza, isNew: bool = True) -> None:
        """
        Show a stanza to the handlers.

        @param isNew: false if L{Fairness} has held it.
        """
        if isNew and (self._debts or self._held) and self.fairness.keeps(stanza):
            return
        if stanza.name != "iq":
            self._noteFeeds(stanza)
        for handler in self._raw:
            try:
                if handler.stanzaReceived(stanza):
                    return
            except Exception as error:
                self._handlerFailed(stanza, error)
                return
        if self._instances is None or not self._instances.received(stanza, self.now):
            self._lane.stanzaReceived(stanza)

    def _noteFeeds(self, stanza: Stanza) -> None:
        try:
            unused = self.feeds.noted(stanza)
        except BadRequest:
            # The handlers refuse it.
            return
        if unused is not None:
            self._log.info(
                "{component}: {unused}", event="link.presence_unused", component=self.jid, unused=str(unused)
            )

    def stanzaFromPeer(self, stanza: Stanza, now: float) -> None:
        """Show a stanza that has not come from the server to the handlers."""
        self.now = now
        if not self.lease.isOver(now):
            self.stanzaReceived(stanza)

    def peerConnected(self, domains: Collection[str]) -> None:
        """Tell the handlers that there is a new connection to the components of a peer."""
        for handler in self._raw:
            if IPeerHandler.providedBy(handler):
                self._lane.guard(IPeerHandler(handler).peerConnected, domains)

    def _handlerFailed(self, stanza: Stanza, error: Exception) -> None:
        why = type(error) if isinstance(error, GatewayError) else HandlerFailed
        if why is HandlerFailed:
            self._log.failure(
                "{component}: a handler failed at {stanza!r}.",
                event="link.raw_handler_failed",
                component=self.jid,
                stanza=stanza,
            )
        if stanza.name == "iq" and stanza.type in ("get", "set"):
            self._lane.refuse(stanza, why)

    def handle(self, stanza: Stanza) -> None:
        """Show a stanza that was held to the handlers."""
        if not self.lease.isOver(self._reactor.seconds()):
            self.stanzaReceived(stanza, isNew=False)

    def refuse(self, stanza: Stanza, error: type[GatewayError]) -> None:
        """Answer a stanza with an error."""
        self._lane.refuse(stanza, error)

    def countError(self, error: type[GatewayError]) -> None:
        """Count an error that a handler has written itself."""
        self.errors[ERRORS[error].condition] += 1

    def countCondition(self, condition: str) -> None:
        """As L{countError}, by the condition, which may be another entity's."""
        self.errors[condition if condition in _CONDITIONS else "other"] += 1

    def later(self, seconds: float, act: Callable[[], object]) -> IDelayedCall:
        """Call a function after some seconds of the link's clock, if the component is this gateway's then."""
        return self._reactor.callLater(seconds, self._callLate, act)

    def _callLate(self, act: Callable[[], object]) -> None:
        if not self.lease.isOver(self._reactor.seconds()):
            act()

    def stanzaRefused(self, refused: StanzaRefused) -> None:
        self.refusals.incoming(refused, self._raw)

    def streamEnding(self) -> None:
        self._write = None
        self.ready = False
        self.trouble = "the stream is ending"

    def streamLost(self, reason: Failure) -> None:
        self._protocol = self._write = None
        self.ready = False
        # A server that accepts and disconnects at once refuses the component.
        if self._reactor.seconds() - self._upAt >= self.steadyAfter:
            self._backoff.reset()
        self.feeds.clear()
        self._lane.disconnected(reason)
        if self._stopped is not None:
            self._stopped.callback(None)
        else:
            self._tryAgain(reason)

    # Connecting.

    def _makeProtocol(self) -> ComponentProtocol:
        traffic = self._traffic
        self._protocol = ComponentProtocol(self, self.jid, self._secret, self.limits, self._reactor, traffic)
        self._protocol.stallFor = self.stallFor
        return self._protocol

    def _connect(self) -> None:
        self._retry = None
        if self.lease.isOver(self._reactor.seconds()):
            return
        trying: Deferred[Any] = maybeDeferred(self._endpoint.connect, self._factory)
        self._trying = trying
        trying.addCallback(attrgetter("authenticated"))
        trying.addCallbacks(self._connected, self._failed)

    def _connected(self, protocol: ComponentProtocol) -> None:
        self._trying = None
        self.ready = True
        self.connections += 1
        self._upAt = self._heardAt = self._reactor.seconds()
        self._pingedAt = None
        self.trouble = ""
        if self._instances is not None:
            self._instances.connected(self._upAt)
        if self._outage.isDown(self.jid):
            logOutage(self._outage.connected(self.jid, self._upAt))
        else:
            self._log.info("{component}: connected.", event="link.connected", component=self.jid)
        self._reportDropped(self.outbox.expire(self._upAt))
        if len(self.outbox):
            self._reactor.callLater(self.settleFor, self._settled, protocol)
        else:
            self._write = self._writerOf(protocol)
        # The outbox comes first, because handlers send as soon as they are connected.
        self._lane.connected(protocol.streamId)

    def _failed(self, reason: Failure) -> None:
        self._trying = None
        self._protocol = None
        if self._stopped is not None:
            self._stopped.callback(None)
        elif self.running:
            self._tryAgain(reason)

    def _tryAgain(self, reason: Failure) -> None:
        """Note why there is no stream, and schedule the next try."""
        self.failures += 1
        refused = isRefused(reason)
        delay = self._backoff.next(refused)
        self.trouble = explain(reason, self._where)
        now = self._reactor.seconds()
        logOutage(self._outage.failed(self.jid, self.trouble, refused, delay, now))
        self._log.debug(
            "{component}: the connection failed or was lost: {trouble} (next try in {delay:.1f} s).",
            event="link.try_failed",
            component=self.jid,
            trouble=self.trouble,
            delay=delay,
        )
        self._retry = self._reactor.callLater(delay, self._connect)

    def _tick(self) -> None:
        self.now = now = self._reactor.seconds()
        if self.lease.isOver(now):
            return
        self._reportDropped(self.outbox.expire(now))
        self.fairness.tick(now)
        for handler in self._raw:
            self._lane.guard(handler.tick, now)
        self._lane.tick(now)
        self.refusals.tick()
        logOutage(self._outage.tick(now))
        if self.ready and self._protocol is not None:
            self._watch(self._protocol, now)
            if self._instances is not None and not self._protocol.stalled:
                mark = self._instances.tick(now)
                if mark and not self.sendRaw(mark):
                    self._instances.notSent()
                self._compare(self._protocol, self._instances.found and not self.shared)

    def _watch(self, protocol: ComponentProtocol, now: float) -> None:
        """Close a connection whose server is silent."""
        if protocol.stalled:
            # Reading is paused, so silence has no meaning.
            self._heardAt = now
            return
        if now - self._heardAt < self.pingAfter or self.domain is None:
            self._pingedAt = None
        elif self._pingedAt is not None:
            # Counted from the ping: while the machine slept nothing could arrive.
            if now - self._pingedAt > self.goneAfter:
                protocol.abort(Refused("connection-timeout", "the server does not respond"))
        else:
            self._pingedAt = now
            # Any answer shows that the server lives; silence is handled above.
            self._lane.request(pingOf(self.domain)).addBoth(lambda answer: None)

    def _compare(self, protocol: ComponentProtocol, isShared: bool) -> None:
        """
        Log once that another gateway has come, or has gone. Then connect anew: with the last connection of the
        other one, ejabberd has ended the delegations and privileges of this one as well, without a word.
        """
        if isShared and not self.conflict:
            self.conflict = SHARED
            self._log.warn("{component}: {conflict}.", event="link.conflict", component=self.jid, conflict=SHARED)
        elif self.conflict and not isShared:
            self.conflict = ""
            self._log.info(
                "{component}: no other gateway is connected as this component any longer.",
                event="link.conflict_over",
                component=self.jid,
            )
            protocol.abort(Refused("reset", "with the other gateway, what the server grants has ended"))
