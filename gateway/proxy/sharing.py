"""
A proxy on the links of several gateways, which share their open exchanges in a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from gateway.addresses import jids
from gateway.errors import AlreadyOpen, GatewayError, HandlerFailed, Stopping, TooManyPending
from gateway.proxy.actions import Action, Deliver, Fail, Find, Relay, Retry, Store
from gateway.proxy.common_core import CommonTranslator
from gateway.proxy.common_store import News
from gateway.proxy.common_tables import TAKEN_OVER, CommonTables
from gateway.proxy.entries import Entry
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.stanzas import presence
from gateway.reports import StatusItem
from gateway.stream.shares import Share, Shares, places
from gateway.stream.stanzas import Stanza, errorReply
from gateway.xml.write import route

# Places for stanzas that wait for the database, of 8 KiB each.
_MAX_HELD = 8_192
# Seconds after which a resource that has not answered a probe is offline.
_ANSWERS_WITHIN = 10.0
# Seconds from a presence that says offline until the target is probed.
_PROBE_AFTER = 2.0


class SharingHandler(ProxyHandler):
    """
    Jabber Address Translation for one component, by one of its gateways.

    The server gives each stanza to one of the gateways. So a request is in the tables before it is sent, and each
    presence of the target is entered there for the others.
    """

    _translator: CommonTranslator

    def __init__(
        self, translator: CommonTranslator, tables: CommonTables, wallClock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(translator, None, wallClock)
        self._tables = tables
        self._held = Shares(_MAX_HELD)
        # Numbers of requests that got an error before they were stored.
        self._failed: set[int] = set()
        self._isDraining = False
        # The gateways with other settings that were logged.
        self._differing: list[StatusItem] = []
        # The mark of the resources that do not answer a probe, and when they are forgotten.
        self._mark = ""
        self._forgetAt: float | None = None
        self._probeAt: float | None = None

    @property
    def pending(self) -> int:
        held = len(self._waiting) + self._held.taken + self._tables.pending
        if self._isDraining and self._tables.members.others:
            # They end the exchanges.
            return held
        return held + self._translator.pending

    @property
    def gateways(self) -> int:
        """As L{ProxyHandler.gateways}; 0 while that is not known."""
        return 1 + len(self._tables.others) if self._tables.members.isValid(self._link.now) else 0

    def report(self) -> Iterator[StatusItem]:
        yield from super().report()
        if self.gateways:
            others = tuple(sorted(each.host for each in self._tables.others))
            about = {"gateways": self.gateways, "others": others}
            text = "gateways that serve this component: {gateways}; the others are {others}"
            yield StatusItem("proxy.gateways", text if others else text.partition(";")[0], about)
            yield from self._differences()

    def _differences(self) -> list[StatusItem]:
        """Return an item for each gateway that has other settings."""
        text = (
            "{gateway} has other settings for this component: {settings}. Give all gateways the same ones, and the "
            "same content of key_file"
        )
        found = [(each.host, self._tables.own.differs(each)) for each in self._tables.others]
        return [
            StatusItem("proxy.other_settings", text, {"gateway": host, "settings": tuple(keys)}, isProblem=True)
            for host, keys in found
            if keys
        ]

    # The link.

    def drain(self) -> None:
        self._isDraining = True
        if self._tables.members.others:
            # The server goes on giving requests to this gateway, and the others will end them.
            self._stopWaiting()
            return
        super().drain()
        if self._link.isFinal and self._link.ready:
            self._perform(self._translator.abandonAll())

    def drained(self) -> None:
        self._translator.drain()
        self._tables.leave(Stopping())
        self._translator.forgetExchanges()

    def _takeOver(self) -> None:
        self._isDraining = False
        if not self._beginAnew():
            self._beat()

    def _beginAnew(self) -> bool:
        """
        If other gateways may take this one for ended, because it was halted or had no connection, leave all
        exchanges to them, and take part anew. Return true if so.
        """
        if not self._tables.isSilent(self._link.now):
            return False
        self._tables.leave(TAKEN_OVER)
        self._translator.forgetExchanges()
        self._beat()
        return True

    def stanzaReceived(self, stanza: Stanza) -> bool:
        # After a halt, the input that has come meanwhile may be handled before the next tick.
        self._beginAnew()
        return super().stanzaReceived(stanza)

    def _probe(self) -> None:
        # Presence may come to another gateway, so it must come after the mark.
        self._tables.ask().addCallback(self._marked).addErrback(self._broken)

    def _marked(self, mark: str) -> None:
        if self._link.ready:
            self._mark, self._forgetAt = mark, self._link.now + _ANSWERS_WITHIN
            super()._probe()

    def tick(self, now: float) -> None:
        if self._link.ready:
            self._beat()
            if self._forgetAt is not None and self._forgetAt <= now:
                self._forgetAt = None
                self._tables.forget(self._mark)
            if self._probeAt is not None and self._probeAt <= now:
                self._probeAt = None
                self._send(presence(self._component, self._target, "probe"))
        super().tick(now)

    # What other gateways do.

    def _beat(self) -> None:
        self._translator.offset = self._offset()
        self._tables.beat(self._translator.room).addCallback(self._told).addErrback(self._broken)

    def _told(self, news: News | None) -> None:
        if news is None:
            return
        if news.isLost:
            if self._translator.pending:
                self._log.warn(
                    "{component}: another gateway has taken over the {count} open requests of this one, which was "
                    "halted or did not reach PostgreSQL.",
                    event="proxy.requests_taken",
                    component=self._component,
                    count=self._translator.pending,
                )
            self._translator.forgetExchanges()
            self._beat()
            return
        differing = self._differences()
        for item in differing:
            if item not in self._differing:
                self._log.error(
                    "{component}: {problem}.",
                    event="proxy.other_settings",
                    component=self._component,
                    problem=str(item),
                )
        self._differing = differing
        for entry in news.answered:
            self._translator.answeredElsewhere(entry)
        if news.adopted:
            self._log.info(
                "{component}: took over {count} open requests of a gateway that has ended.",
                event="proxy.requests_adopted",
                component=self._component,
                count=len(news.adopted),
            )
            self._translator.adopt(news.adopted, self._link.now)
        if news.resources is not None and self._link.ready:
            known = {resource.jid for resource in self._translator.resources.all()}
            known.update(entry.sender for entry in news.adopted if not entry.isOutbound)
            # A gateway with other settings may have another target.
            online = {jid for jid in news.resources if jids.bare(jid) == self._target}
            for jid in sorted(online - known):
                super()._targetPresence(jid, None)
            for jid in sorted(known - online):
                super()._targetPresence(jid, "unavailable")

    def _targetPresence(self, sender: str, kind: str | None) -> None:
        super()._targetPresence(sender, kind)
        if kind is None and sender in self._translator.resources:
            self._tables.setOnline(sender, True)
        elif kind == "unavailable" and sender != self._target:
            self._tables.setOnline(sender, False)
            if self._probeAt is None:
                # If it is online again by now, another gateway may have said so before.
                self._probeAt = self._link.now + _PROBE_AFTER

    def _revoked(self) -> None:
        super()._revoked()
        self._tables.forgetResources()

    # Stanzas.

    def _carryOut(self, stanza: Stanza, action: Action) -> None:
        if isinstance(action, Deliver):
            try:
                self._send(stanza.readdressed(action.route))
            except Exception:
                self._lost(stanza, Relay(action.route))
                raise
            finally:
                self._tables.end(action.number)
        elif isinstance(action, Store):
            share = self._hold(stanza)
            if share is None:
                self._translator.withdrawn(action.entry)
                self._refuse(stanza, TooManyPending)
                return
            done: Deferred[bool] = self._tables.open(action.entry)
            done.addBoth(self._stored, stanza, action, share).addErrback(self._broken)
        elif isinstance(action, Find):
            share = self._hold(stanza)
            if share is None:
                self._translator.dropped["a slow database"] += 1
                return
            found = self._tables.find(action.sender, action.recipient, action.id)
            found.addBoth(self._found, stanza, share).addErrback(self._broken)

    def _hold(self, stanza: Stanza) -> Share | None:
        """Take places for a stanza that waits for the database."""
        share = self._held.of(stanza.sender or "")
        return share if share.take(places(len(stanza.raw))) else None

    def _stored(self, result: bool | Failure, stanza: Stanza, action: Store, share: Share) -> None:
        share.giveBack(places(len(stanza.raw)))
        entry = action.entry
        hasFailed = entry.number in self._failed
        self._failed.discard(entry.number)
        if result is True:
            if hasFailed:
                self._tables.end(entry.number)
            elif self._translator.stored(entry):
                self._send(stanza.readdressed(action.route))
        else:
            self._translator.withdrawn(entry)
            if not hasFailed:
                self._answer(stanza, AlreadyOpen if result is False else _errorOf(result))

    def _answer(self, stanza: Stanza, error: type[GatewayError]) -> None:
        self._link.countError(error)
        self._send(errorReply(stanza, error))

    def _found(self, result: Entry | Failure | None, stanza: Stanza, share: Share) -> None:
        share.giveBack(places(len(stanza.raw)))
        if isinstance(result, Entry):
            if self._isDraining and not self._link.ready:
                # It cannot be delivered any longer: another gateway will end the exchange.
                self._tables.restore(result)
                return
            # It may be this gateway's.
            self._translator.answeredElsewhere(result)
            relay = Relay(route(result.backFrom, result.backTo))
            try:
                self._send(stanza.readdressed(relay.route))
            except Exception:
                self._lost(stanza, relay)
                raise
        else:
            self._translator.dropped["no such request" if result is None else "a slow database"] += 1

    def _perform(self, actions: Sequence[Fail | Retry]) -> None:
        for action in actions:
            if isinstance(action, Retry):
                moved = self._tables.move(action.number, action.resource)
                moved.addCallbacks(self._moved, _ignored, (action,)).addErrback(self._broken)
            elif self._translator.isUnsent(action.number):
                self._failed.add(action.number)
                super()._perform([action])
            else:
                self._tables.close(action.number).addCallback(self._closed, action).addErrback(self._broken)

    def _moved(self, isOpen: bool, action: Retry) -> None:
        if isOpen:
            super()._perform([action])

    def _closed(self, isOpen: bool, action: Fail) -> None:
        if isOpen:
            super()._perform([action])

    def _broken(self, failure: Failure) -> None:
        self._log.failure(
            "{component}: a change of open requests could not be carried out.",
            failure,
            event="proxy.change_failed",
            component=self._component,
        )


def _errorOf(result: object) -> type[GatewayError]:
    """Return the error for the requester."""
    error = result.value if isinstance(result, Failure) else None
    return type(error) if isinstance(error, GatewayError) else HandlerFailed


def _ignored(failure: Failure) -> None:
    """The exchange ends at its deadline."""
    failure.trap(GatewayError, CancelledError)
