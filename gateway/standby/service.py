"""
Takes part in the agreement on the gateway that serves a component, and tells what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from gateway.errors import GatewayError
from gateway.reports import StatusItem
from gateway.standby.core import TICK, Change, Kept, Leases, Lost, Owner, Row, Taken, Turn
from gateway.standby.gateways import ANNOUNCE_EVERY, Gateway, Gateways
from gateway.standby.store import announce, guard, leave, perform
from gateway.state.guards import Guard, Locks
from gateway.state.interfaces import IStore
from gateway.stream.interfaces import IStatusProvider
from gateway.stream.lease import Lease

KEPT = (
    "its last gateway has ended, but a session in PostgreSQL keeps its lease: end that session (pg_stat_activity "
    "and pg_locks show it)"
)


@implementer(IStatusProvider)
class Waiting:
    """A component that another gateway serves, in the place of its link in reports."""

    ready = False
    conflict = ""

    def __init__(self, jid: str, standby: Standby) -> None:
        self.jid = jid
        self._standby = standby

    @property
    def trouble(self) -> str:
        """The reason why no gateway is known to serve the component; empty if one is."""
        if self._standby.server(self.jid):
            return ""
        return self._standby.trouble(self.jid) or "no gateway serves it at the moment"

    @property
    def standby(self) -> str:
        """The state in words."""
        server = self._standby.server(self.jid)
        return f"{server} serves it" if server else self.trouble

    def report(self) -> Iterator[StatusItem]:
        return self._standby.report(self.jid)

    def __iter__(self) -> Iterator[object]:
        return iter(())


class Standby(Service):
    """
    The components that this gateway and others may serve.

    @param store: the table that the gateways share.
    @param own: this process.
    @param reactor: provides the clock.
    @param locks: as of L{perform}.
    @param onTaken: called with a component that this gateway serves from now on.
    @param onLost: called with a component that it does not serve any longer. It stops what handles stanzas of the
        component before it returns.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        own: Owner,
        reactor: Any,
        locks: Locks,
        onTaken: Callable[[str], object],
        onLost: Callable[[str], object],
    ) -> None:
        self._store = store
        self._own = own
        self._reactor = reactor
        self._leases = Leases(own)
        self._gateways = Gateways(own)
        self._announceAt = -inf
        self._locks = locks
        self._onTaken = onTaken
        self._onLost = onLost
        self._isAsking = False
        # True if another turn follows this one at once.
        self._isAgain = False
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._ticking.start(TICK)

    def stopService(self) -> Deferred[None]:
        """
        Release all components, so that other gateways need not wait. What serves them has ended before.

        @return: fires when that is stored, or cannot be.
        """
        if not self.running:
            return succeed(None)
        super().stopService()
        self._ticking.stop()
        self._announceAt = -inf
        self._store.write(leave, self._own).addErrback(_ignored)
        return self._ask(self._leases.leave())

    @property
    def components(self) -> list[str]:
        """All components for which it takes part."""
        return self._leases.components

    def add(self, component: str) -> Lease:
        """Take part for a component; return its lease."""
        lease = self._leases.add(component)
        lease.onOver = self._expire
        lease.report = lambda: self.report(component)
        self._announceAt = -inf
        return lease

    def remove(self, component: str) -> None:
        """Take part no longer; another gateway may serve the component."""
        self._leases.remove(component)

    def loaded(self) -> None:
        """
        A service was made. The leases are renewed at once, so that others wait no longer than usual if this gateway
        fails now.
        """
        self._leases.renewNow()
        self._isAgain = self._isAsking
        if not self._isAsking:
            self._tick()

    def postpone(self, component: str, seconds: float) -> None:
        """Leave a component to other gateways for some time, because this one cannot serve it."""
        self._leases.postpone(component, self._reactor.seconds() + seconds)

    def isOwn(self, component: str) -> bool:
        """True if this gateway serves a component."""
        return self._leases.isOwn(component, self._reactor.seconds())

    def guard(self, component: str) -> Guard:
        """Return the condition for changes of the stores of a component."""
        return guard(component, self._own)

    def waiting(self, component: str) -> Waiting:
        """Return what stands for the link of a component in reports, while this gateway does not serve it."""
        return Waiting(component, self)

    def report(self, component: str) -> Iterator[StatusItem]:
        """Yield what is reported about the gateways that have a component."""
        others = self._gateways.names(component, self._reactor.seconds())
        server = self._own.name if self.isOwn(component) else self.server(component)
        waiting = tuple(each for each in sorted([*others, self._own.name]) if each != server)
        about = {"gateways": 1 + len(others), "server": server, "waiting": waiting}
        if not others and server == self._own.name:
            text = "no other gateway has this component: if this one fails, none takes it over"
        else:
            text = "gateways that have this component: {gateways}; it is served by {server}; on standby: {waiting}"
            if not server:
                text = text.replace("by {server}", "by none")
        yield StatusItem("standby.gateways", text, about)

    def gateways(self, component: str) -> int:
        """Return the number of gateways that have a component, with this one."""
        return 1 + len(self._gateways.names(component, self._reactor.seconds()))

    def server(self, component: str) -> str:
        """Return the name of the other gateway that serves a component; empty if none does or it is not known."""
        owner = None if self.trouble(component) else self._leases.owner(component)
        # An earlier process of this gateway has the same name.
        return "" if owner is None or owner.name == self._own.name else owner.name

    def trouble(self, component: str) -> str:
        """Return the reason why no gateway is known to serve a component; empty if there is none."""
        if self._store.trouble:
            return f"it is not known whether another gateway serves it: the store {self._store.name} does not work"
        return KEPT if self._leases.isKept(component) else ""

    def _tick(self) -> None:
        self._expire()
        if not self._isAsking:
            self._ask(self._leases.turn(self._reactor.seconds()))
        # After the turn, whose transaction it shares.
        if self._reactor.seconds() >= self._announceAt:
            self._announce()

    def _announce(self) -> None:
        now = self._reactor.seconds()
        self._announceAt = now + ANNOUNCE_EVERY
        ended = self._gateways.ended(now)
        done: Deferred[list[Gateway]] = self._store.write(announce, self._own, self.components, ended)
        done.addCallbacks(lambda rows: self._gateways.observed(rows, self._reactor.seconds()), _ignored)

    def _expire(self) -> None:
        self._tell(self._leases.expired(self._reactor.seconds()))

    def _ask(self, turn: Turn) -> Deferred[None]:
        self._isAsking = True
        askedAt = self._reactor.seconds()
        ask = self._store.write if turn.writes else self._store.read
        rows: Deferred[list[Row]] = ask(perform, self._own, turn, self._locks)
        return rows.addCallbacks(self._answered, self._failed, (turn, askedAt))

    def _answered(self, rows: list[Row], turn: Turn, askedAt: float) -> None:
        self._isAsking = False
        if not self.running:
            return
        self._tell(self._leases.answered(turn, rows, askedAt, self._reactor.seconds()))
        isAgain, self._isAgain = self._isAgain, False
        if isAgain or (not turn.writes and self._leases.mayTake(self._reactor.seconds())):
            self._tick()

    def _failed(self, failure: Any) -> None:
        # The store reports its faults itself.
        self._isAsking = False
        failure.trap(GatewayError, CancelledError)

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            component = change.component
            if isinstance(change, Taken):
                self._log.info(
                    "{component}: this gateway serves it now ({former}).",
                    event="standby.taken",
                    component=component,
                    former="no other one did" if change.former is None else f"before: {change.former.name}",
                )
                self._onTaken(component)
            elif isinstance(change, Lost):
                self._log.warn(
                    "{component}: this gateway does not serve it any longer: {reason}.",
                    event="standby.lost",
                    component=component,
                    reason="its lease was not renewed in time, because PostgreSQL or this process was too slow"
                    if change.owner is None
                    else f"{change.owner.name} does",
                )
                self._onLost(component)
            elif isinstance(change, Kept):
                self._log.error(
                    "{component}: cannot be taken from {former}: {reason}.",
                    event="standby.kept",
                    component=component,
                    former=change.owner.name,
                    reason=KEPT,
                )
            else:
                isFormer = change.owner.name == self._own.name
                self._log.info(
                    "{component}: standby: {owner}.",
                    event="standby.waits",
                    component=component,
                    owner="the lease of an earlier process of this gateway has not ended yet"
                    if isFormer
                    else f"{change.owner.name} serves it",
                )


def _ignored(failure: Any) -> None:
    """The store reports its faults itself."""
    failure.trap(GatewayError, CancelledError)
