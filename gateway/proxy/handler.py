"""
The proxy on a link's raw lane: gives stanzas to the core and carries out its actions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.ijabber import IXMPPHandlerCollection
from zope.interface import implementer

from gateway.addresses import jids
from gateway.errors import BadRequest, GatewayError, HandlerFailed, NoResource
from gateway.interfaces import IStatusProvider
from gateway.metrics import IMetrics, IMetricsProvider, label, names
from gateway.proxy.actions import Action, Drop, Fail, Refuse, Relay, Retry
from gateway.proxy.core import Translator
from gateway.proxy.stanzas import presence
from gateway.proxy.store import ExchangeStore
from gateway.proxy.waiting import WaitingRoom
from gateway.reports import StatusItem
from gateway.stream.backoff import Backoff
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza, errorReply
from gateway.xml.errors import errorStanza

# Seconds until a subscription is requested again: at first, and at most.
_FIRST_RESUBSCRIPTION = 1.0
_LAST_RESUBSCRIPTION = 300.0
# The operator is told when the interval has grown to this value: at the fourth request, after some seconds.
_WORTH_A_WARNING = 8 * _FIRST_RESUBSCRIPTION

# Seconds between two log lines about dropped stanzas.
_REPORT_EVERY = 60.0


@implementer(IMetricsProvider, IStatusProvider)
class ProxyHandler(RawHandler):
    """
    Jabber Address Translation for one component.

    @param kept: the exchanges of the previous process; C{None} if gateways share their exchanges.
    @param wallClock: as L{gateway.interfaces.IServiceBuilder.wallClock}; by default the link's clock.
    """

    _log = Logger()

    def __init__(
        self, translator: Translator, kept: ExchangeStore | None, wallClock: Callable[[], float] | None = None
    ) -> None:
        super().__init__()
        self._wallClock = wallClock
        self._translator = translator
        self._kept = kept
        self._waiting = WaitingRoom()
        self._component = translator.component
        self._target = translator.target
        self._started = False
        self._subscribeAt: float | None = None
        self._resubscription = Backoff(_FIRST_RESUBSCRIPTION, _LAST_RESUBSCRIPTION)
        self._warned = False
        self._reported: Counter[str] = Counter()
        self._reportAt = 0.0

    def setHandlerParent(self, parent: IXMPPHandlerCollection) -> None:
        super().setHandlerParent(parent)
        if self._translator.forwardsPresence:
            self._link.feeds.isUsed = True

    @property
    def pending(self) -> int:
        return self._translator.pending + len(self._waiting)

    @property
    def gateways(self) -> int:
        """Number of gateways that serve the component, with this one."""
        return 1

    def report(self) -> Iterator[StatusItem]:
        if self._link.ready:
            pool = self._translator.resources
            isUnseen = self._warned and self._subscribeAt is not None
            about = {"target": self._target, "online": len(pool), "open_by_resource": pool.load}
            text = "resources of {target} that get requests: {online}"
            if not pool and not isUnseen:
                about["advice"] = f"log in to {self._target} with the client that implements the service"
                text += ": {advice}"
            # If its presence cannot be seen, the next item has the remedy.
            yield StatusItem("proxy.resources", text, about, isProblem=not pool and not isUnseen)
            if isUnseen:
                yield self._unseen()
        yield StatusItem("proxy.pending", "open requests: {count}", {"count": self.pending})

    def measure(self, metrics: IMetrics) -> None:
        translator = self._translator
        translator.observe = metrics.histogram(*names.PROXY_ROUND_TRIP).observe
        metrics.gauge(*names.PROXY_RESOURCES).setFunction(lambda: len(translator.resources))
        metrics.gauge(*names.PROXY_GATEWAYS).setFunction(lambda: self.gateways)
        metrics.counter(*names.PROXY_DROPPED).setFunction(
            lambda: {label(reason): count for reason, count in translator.dropped.items()}
        )
        pending = metrics.gauge(*names.PENDING)
        pending.labels("proxy").setFunction(lambda: translator.pending)
        pending.labels("proxy_waiting").setFunction(lambda: len(self._waiting))

    def drain(self) -> None:
        self._translator.drain()
        self._stopWaiting()

    def drained(self) -> None:
        isLast = self._link.isFinal and self._link.ready
        self._perform(self._translator.abandonAll() if isLast else self._translator.abandon())
        if self._kept is not None:
            self._kept.leave(self._translator.openExchanges(), self._offset())

    def _offset(self) -> float:
        """Return the seconds since 1970 when the link's clock was at 0."""
        return 0.0 if self._wallClock is None else self._wallClock() - self._link.now

    def connectionInitialized(self) -> None:
        # A link that was stopped may be started again.
        self._translator.resume()
        self._takeOver()
        self._expire(self._link.now)
        self._waiting.open(self._link.now, self._translator.timeout)
        self._probe()

    def _takeOver(self) -> None:
        """Take over the exchanges of the previous process."""
        if self._kept is not None:
            self._translator.reopen(self._kept.take(self._offset()), self._link.now)
        if not self._started:
            self._started = True
            self._translator.started(self._link.now)

    def _probe(self) -> None:
        """Ask for the target's presence."""
        # If the subscription exists, the target's server answers both. The order matters: Prosody drops a waiting
        # subscription at a probe that it may not answer.
        self._send(presence(self._component, self._target, "probe"))
        self._resubscription.reset()
        self._subscribe()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._translator.forgetResources()
        self._subscribeAt = None
        # The errors are sent when the link is up again.
        self._stopWaiting()

    def _stopWaiting(self) -> None:
        """Handle the stanzas that have waited for the target's presence."""
        for stanza in self._waiting.close():
            self._link.handle(stanza)

    def stanzaReceived(self, stanza: Stanza) -> bool:
        sender, recipient, kind = stanza.sender, stanza.recipient, stanza.type
        action: Action | None
        if not sender or not recipient:
            return self._unaddressed(sender)
        if stanza.name == "iq":
            identifier = stanza.id
            if not identifier:
                # RFC 6120 section 8.2.3: an iq must have an id.
                if kind == "result" or kind == "error":
                    self._translator.dropped["a missing id"] += 1
                action = Refuse(BadRequest)
            elif kind == "get" or kind == "set":
                action = self._translator.request(stanza, sender, recipient, identifier, self._link.now)
            elif kind == "result" or kind == "error":
                action = self._translator.answer(sender, recipient, identifier, self._link.now)
                if action is None:
                    return False
            else:
                action = Refuse(BadRequest)
        elif stanza.name == "message":
            if stanza is self._link.feeds.advertisement:
                # The server tells the component, not the implementing client.
                return True
            action = self._translator.message(sender, recipient, kind, self._link.now)
        else:
            self._presenceReceived(stanza, sender, recipient, kind)
            return True
        self._act(stanza, action)
        return True

    def _act(self, stanza: Stanza, action: Action) -> None:
        if isinstance(action, Relay):
            try:
                self._send(stanza.readdressed(action.route))
            except Exception:
                # The link logs it, and answers a request.
                self._lost(stanza, action)
                raise
        elif isinstance(action, Refuse):
            if stanza.type != "error" and stanza.type != "result":
                self._refuse(stanza, action.error)
        elif not isinstance(action, Drop):
            self._carryOut(stanza, action)

    def _carryOut(self, stanza: Stanza, action: Action) -> None:
        """Carry out an action for the tables that gateways share."""

    def _refuse(self, stanza: Stanza, error: type[GatewayError]) -> None:
        """Answer with an error; while the target's resources are unknown the stanza waits instead."""
        if error is not NoResource or not self._waiting.hold(stanza):
            self._link.countError(error)
            self._send(errorReply(stanza, error))

    def _unaddressed(self, sender: str | None) -> bool:
        """Refuse a stanza without a recipient: the component itself answers nothing."""
        if not sender:
            self._translator.dropped["a missing address"] += 1
        return not sender

    def _lost(self, stanza: Stanza, relay: Relay) -> None:
        """Handle a stanza that the gateway failed to forward: a request still gets one answer."""
        identifier = stanza.id or ""
        if stanza.name != "iq":
            return
        if stanza.type == "get" or stanza.type == "set":
            self._translator.withdraw(stanza.sender or "", stanza.recipient or "", identifier)
        else:
            self._link.countError(HandlerFailed)
            self._send(errorStanza("iq", relay.route, identifier, HandlerFailed))

    def tick(self, now: float) -> None:
        # While the link is down an error may be dropped from the outbox. So exchanges that end meanwhile are ended
        # when the link is up again.
        if self._link.ready:
            self._expire(now)
        if self._waiting.isOver(now):
            self._stopWaiting()
        if self._subscribeAt is not None and self._subscribeAt <= now:
            self._subscribe()
        if self._reportAt <= now and self._translator.dropped != self._reported:
            self._reportAt = now + _REPORT_EVERY
            news = self._translator.dropped - self._reported
            self._reported = Counter(self._translator.dropped)
            self._log.warn(
                "{component}: dropped stanzas: {reasons}.",
                event="proxy.stanzas_dropped",
                component=self._component,
                reasons=", ".join(f"{count} for {reason}" for reason, count in news.most_common()),
            )

    def _expire(self, now: float) -> None:
        actions, rested = self._translator.expire(now)
        self._perform(actions)
        for resource in rested:
            self._log.warn(
                "{component}: {resource} did not answer several requests in a row; for a while other resources "
                "get the requests.",
                event="proxy.resource_rests",
                component=self._component,
                resource=resource.jid,
            )

    def _perform(self, actions: Sequence[Fail | Retry]) -> None:
        for action in actions:
            if isinstance(action, Retry):
                self._send(action.stanza.readdressed(action.route))
            else:
                self._link.countError(action.error)
                self._send(errorStanza("iq", action.route, action.id, action.error))

    def _subscribe(self) -> None:
        """Request a subscription to the target's presence, and again until presence comes."""
        if self._resubscription.interval >= _WORTH_A_WARNING and not self._warned:
            self._warned = True
            self._log.warn(
                "{component}: {unseen}",
                event="proxy.target_not_seen",
                component=self._component,
                unseen=str(self._unseen()),
            )
        self._send(presence(self._component, self._target, "subscribe"))
        self._subscribeLater()

    def _unseen(self) -> StatusItem:
        return StatusItem(
            "proxy.target_unseen",
            "{target} does not let the component see its presence, so no request can be forwarded. Does the "
            "account exist? Its client must accept the subscription request, which is repeated.",
            {"target": self._target},
            isProblem=True,
        )

    def _subscribeLater(self) -> None:
        self._subscribeAt = self._link.now + self._resubscription.next()

    def _presenceReceived(self, stanza: Stanza, sender: str, recipient: str, kind: str | None) -> None:
        if recipient == self._component and jids.bare(sender) == self._target:
            self._targetPresence(sender, kind)
        elif kind is None or kind == "unavailable":
            relays = self._translator.presence(sender, recipient)
            if isinstance(relays, list):
                if not relays:
                    self._waiting.hold(stanza)
                for relay in relays:
                    self._send(stanza.readdressed(relay.route))
            elif kind is None and not self._link.feeds.covers(sender, recipient):
                # An error to unasked presence would reach each user at each change of their presence.
                self._link.countError(relays.error)
                self._send(errorReply(stanza, relays.error))
        elif kind == "subscribe" or kind == "unsubscribe":
            # The component has no roster, and the implementing client none of requesters: nobody may subscribe.
            self._send(presence(jids.bare(recipient), jids.bare(sender), "unsubscribed"))

    def _targetPresence(self, sender: str, kind: str | None) -> None:
        """Handle presence of the target account (RFC 6121 sections 3 and 4)."""
        if kind is None:
            self._subscribeAt = None
            self._warned = False
            if self._translator.available(sender):
                self._log.info(
                    "{component}: {resource} is online.",
                    event="proxy.resource_online",
                    component=self._component,
                    resource=sender,
                )
                self._stopWaiting()
        elif kind == "unavailable":
            if sender in self._translator.resources:
                self._log.info(
                    "{component}: {resource} is offline.",
                    event="proxy.resource_offline",
                    component=self._component,
                    resource=sender,
                )
            self._perform(self._translator.unavailable(sender))
            if sender == self._target:
                # The answer to a probe if no resource is online (RFC 6121 section 4.3.2).
                self._stopWaiting()
        elif kind == "subscribed":
            self._subscribeAt = None
        elif kind == "unsubscribed":
            self._revoked()
        elif kind == "subscribe":
            self._send(presence(self._component, self._target, "subscribed"))
            self._send(presence(self._component, self._target))
        elif kind == "unsubscribe":
            self._send(presence(self._component, self._target, "unsubscribed"))
        elif kind == "probe":
            self._send(presence(self._component, self._target))
        elif kind == "error":
            self._log.warn(
                "{component}: presence of {target} is not available: its server answers with an error. Does the "
                "account exist, and can its server be reached?",
                event="proxy.target_unavailable",
                component=self._component,
                target=self._target,
            )
            self._stopWaiting()

    def _revoked(self) -> None:
        """Handle C{unsubscribed}: the subscription is denied or revoked. A server may answer the probe with it."""
        self._translator.forgetResources()
        self._stopWaiting()
        if self._subscribeAt is None:
            self._resubscription.reset()
            self._subscribeLater()
