"""
The tables that the gateways of one component share, for one gateway: changes are collected, and share transactions.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import count
from math import inf
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.errors import GatewayError, StoreBusy, TooManyPending
from gateway.interfaces import IStore
from gateway.proxy import common_store
from gateway.proxy.common_store import Changes, News, Outcome
from gateway.proxy.entries import Entry
from gateway.proxy.members import SERVES_FOR, Members
from gateway.proxy.settings import Gateway

# Changes that share a transaction, which excludes those of other gateways until it ends; changes that may wait.
_MAX_SHARING = 512
_MAX_WAITING = 32_768
# Transactions in which an exchange is looked for, if others hold the lock, each for half a second.
_MAX_TRIES = 5

TAKEN_OVER = StoreBusy("another gateway has taken over the open requests of this one")


class _Kind(Enum):
    """A kind of changes: its field of L{Changes}."""

    ENDED = "ended"
    OPENED = "opened"
    MOVED = "moved"
    CLOSED = "closed"
    FOUND = "found"


# What has happened already is tried until it is stored.
_LASTING = (_Kind.ENDED, _Kind.CLOSED)


@define(eq=False)
class _Change:
    """
    A change that waits.

    @ivar value: an item of L{Changes}.
    @ivar done: fires with the item of L{Outcome}.
    @ivar tries: number of transactions that have failed because others held the lock.
    """

    kind: _Kind
    value: Any
    done: Deferred[Any]
    tries: int = 0


class CommonTables:
    """
    The shared tables, as one gateway uses them.

    Changes of one reactor turn, and those that come while the database is busy, share a transaction. If it fails,
    requests and answers that wait for it fail with an error of the store; the rest is tried again.

    @ivar members: the gateways that serve the component.
    @ivar others: the other ones that run, as of the last beat.
    @ivar name: the name of this gateway, a new one each time after it has left.
    @param store: with L{common_store.MIGRATIONS}.
    @param reactor: provides the clock.
    @ivar own: what is reported about this gateway.
    """

    _log = Logger()

    def __init__(self, store: IStore, reactor: IReactorTime, own: Gateway | None = None) -> None:
        self.members = Members()
        self.own = own or Gateway()
        self.others: list[Gateway] = []
        self.name = _randomName()
        self._store = store
        self._reactor = reactor
        self._isRegistered = False
        self._waiting: deque[_Change] = deque()
        self._isWorking = self._isScheduled = self._isBeating = False
        self._beatAt = -inf
        # Resources whose state waits to be stored; number of changes of resources so far.
        self._resources: dict[str, bool] = {}
        self._changes = 0
        # Exchanges that this gateway has answered since the last beat, and since the one before it.
        self._answered: set[int] = set()
        self._answeredBefore: set[int] = set()

    @property
    def pending(self) -> int:
        """Number of changes that wait, and 1 while a transaction is at work."""
        return len(self._waiting) + len(self._resources) + self._isWorking

    def isSilent(self, now: float) -> bool:
        """True if the last L{beat} ended so long ago that other gateways may take this one for ended."""
        return self._isRegistered and not self._isBeating and now - self._beatAt >= SERVES_FOR

    def open(self, entry: Entry) -> Deferred[bool]:
        """
        Store a request before it is sent.

        @return: fires with false if another request that the implementing client has started has its id.
        """
        return self._add(_Kind.OPENED, entry)

    def end(self, number: int) -> None:
        """Remove an exchange whose answer this gateway has delivered."""
        self._answered.add(number)
        self._add(_Kind.ENDED, number)

    def move(self, number: int, resource: str) -> Deferred[bool]:
        """
        Await the answer from another resource.

        @return: fires with false if the exchange was answered.
        """
        return self._add(_Kind.MOVED, (number, resource))

    def close(self, number: int) -> Deferred[bool]:
        """
        Remove an exchange that ends with an error. The Deferred does not fail, but waits until the database works.

        @return: fires with false if it was answered, or is another gateway's.
        """
        return self._add(_Kind.CLOSED, number)

    def find(self, sender: str, recipient: str, identifier: str) -> Deferred[Entry | None]:
        """
        End the exchange that an answer belongs to, whichever gateway has it.

        @return: fires with the exchange; C{None} if there is none.
        """
        return self._add(_Kind.FOUND, (sender, recipient, identifier))

    def restore(self, entry: Entry) -> None:
        """Undo what L{find} has done: the answer cannot be delivered."""
        self._write(common_store.restore, entry, _randomName())

    def setOnline(self, resource: str, isOnline: bool) -> None:
        """Note a resource of the target that is online, or offline, for all gateways."""
        self._changes += 1
        self._resources[resource] = isOnline
        self._soon()

    def forgetResources(self) -> None:
        """Remove all resources: their presence cannot be seen."""
        self._changes += 1
        self._write(common_store.forgetAll)

    def ask(self) -> Deferred[str]:
        """
        Mark all resources before the target is probed.

        @return: fires with the mark for L{forget}; also if the database does not work.
        """
        mark = _randomName()
        return self._write(common_store.ask, mark).addCallback(lambda _: mark)

    def forget(self, mark: str) -> None:
        """Remove the resources that were not seen online after they were marked."""
        self._write(common_store.forget, mark)

    def beat(self, room: int) -> Deferred[News | None]:
        """
        Renew the row of this gateway, and read what has happened; to be called once a second.

        @param room: as in L{common_store.beat}.
        @return: fires with C{None} if that cannot be known now.
        """
        if self._isBeating:
            return succeed(None)
        self._isBeating = True
        now = self._reactor.seconds()
        isNew = None if self._isRegistered else self.own
        done = self._store.write(common_store.beat, self.name, tuple(self.members.silent(now)), room, isNew)
        # What has failed is tried again.
        self._soon()
        return done.addBoth(self._beaten, self.name, now, self._changes)

    def _beaten(self, news: News | Failure, name: str, askedAt: float, changes: int) -> News | None:
        self._isBeating = False
        self._beatAt = self._reactor.seconds()
        if isinstance(news, Failure):
            news.trap(GatewayError, CancelledError)
            return None
        if name != self.name:
            # It has left meanwhile.
            return None
        if news.isLost:
            self.leave(TAKEN_OVER)
            return news
        self._isRegistered = True
        now = self._reactor.seconds()
        self.members.observed(name, news.beats, askedAt, now)
        ended = {name, *(each for each, _ in self.members.silent(now))}
        self.others = [gateway for each, gateway in news.gateways.items() if each not in ended]
        for entry in news.answered:
            if entry.number in self._answered or entry.number in self._answeredBefore:
                # Two gateways have delivered an answer for this request: one of them belongs to another request
                # with the same id.
                self.find(entry.sender, entry.recipient, entry.id).addErrback(lambda _: None)
        self._answeredBefore, self._answered = self._answered, set()
        # What was read is older than the changes.
        return news if changes == self._changes else evolve(news, resources=None)

    def leave(self, reason: GatewayError) -> None:
        """
        Leave all exchanges to other gateways, or to the next process.

        @param reason: with it, requests and answers fail that the database does not have yet.
        """
        self.members.lost()
        late = [change for change in self._waiting if change.kind not in _LASTING]
        self._waiting = deque(change for change in self._waiting if change.kind in _LASTING)
        for change in late:
            change.done.errback(reason)
        if self._isRegistered or self._isBeating:
            self._isRegistered = False
            self._write(common_store.leave, self.name)
        self.name = _randomName()

    def _write(self, interaction: Callable[..., None], *arguments: object) -> Deferred[None]:
        """Call an interaction; the store reports a fault."""
        return self._store.write(interaction, *arguments).addErrback(
            lambda failure: failure.trap(GatewayError, CancelledError) and None
        )

    def _add(self, kind: _Kind, value: object) -> Deferred[Any]:
        if len(self._waiting) >= _MAX_WAITING and kind not in _LASTING:
            return fail(TooManyPending())
        done: Deferred[Any] = Deferred()
        self._waiting.append(_Change(kind, value, done))
        self._soon()
        return done

    def _soon(self) -> None:
        if not self._isWorking and not self._isScheduled:
            self._isScheduled = True
            self._reactor.callLater(0, self._work)

    def _work(self) -> None:
        self._isScheduled = False
        if self._isWorking or not (self._waiting or self._resources):
            return
        self._isWorking = True
        taken: dict[_Kind, list[_Change]] = {kind: [] for kind in _Kind}
        for _ in range(min(_MAX_SHARING, len(self._waiting))):
            change = self._waiting.popleft()
            taken[change.kind].append(change)
        resources, self._resources = self._resources, {}
        changes = Changes(
            **{kind.value: [change.value for change in group] for kind, group in taken.items()},
            resources=list(resources.items()),
        )
        done = self._store.writeAtOnce(common_store.perform, self.name, changes)
        done.addCallbacks(self._stored, self._failed, (taken,), errbackArgs=(taken, resources))
        done.addErrback(self._broken)

    def _stored(self, outcome: Outcome, taken: dict[_Kind, list[_Change]]) -> None:
        self._isWorking = False
        self._soon()
        if outcome.opened is None:
            for change in taken[_Kind.OPENED]:
                change.done.errback(TAKEN_OVER)
        for kind, results in (
            (_Kind.OPENED, outcome.opened or ()),
            (_Kind.MOVED, outcome.moved),
            (_Kind.CLOSED, outcome.closed),
            (_Kind.FOUND, outcome.found),
        ):
            for change, result in zip(taken[kind], results, strict=False):
                change.done.callback(result)

    def _failed(self, failure: Failure, taken: dict[_Kind, list[_Change]], resources: dict[str, bool]) -> None:
        self._isWorking = False
        if failure.check(GatewayError, CancelledError) is None:
            self._broken(failure)
        if failure.check(StoreBusy):
            # Other gateways held the lock. An answer waits a little longer, because it would be lost.
            for change in taken[_Kind.FOUND]:
                change.tries += 1
            patient = [change for change in taken[_Kind.FOUND] if change.tries < _MAX_TRIES]
            taken[_Kind.FOUND] = [change for change in taken[_Kind.FOUND] if change.tries >= _MAX_TRIES]
            self._waiting.extendleft(reversed(patient))
        for kind in _LASTING:
            self._waiting.extendleft(reversed(taken[kind]))
        self._resources = resources | self._resources
        for change in taken[_Kind.OPENED]:
            # Perhaps nobody knows whether it is stored.
            self._waiting.append(_Change(_Kind.ENDED, change.value.number, Deferred()))
        if any(change.kind not in _LASTING for change in self._waiting):
            self._soon()
        for kind in (_Kind.OPENED, _Kind.MOVED, _Kind.FOUND):
            for change in taken[kind]:
                change.done.errback(failure)

    def _broken(self, failure: Failure) -> None:
        self._log.failure(
            "{name}: changes of open requests have failed.",
            failure,
            event="proxy.changes_failed",
            name=self._store.name,
        )


def numbers() -> Iterator[int]:
    """Return numbers for exchanges that no other process has."""
    return count(secrets.randbits(30) << 32)


def _randomName() -> str:
    return secrets.token_hex(8)
