"""
Runs refreshes: of several users at a time, and of each user one at a time.
"""

from __future__ import annotations

import typing
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator

from attrs import define
from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.logger import Logger

from gateway.interfaces import RosterItem
from gateway.metrics import NO_METRIC, IHistogram, IMetrics, names
from gateway.pieces import Pieces
from gateway.reports import StatusItem
from gateway.roster.apply import Applier
from gateway.roster.core import Fetch, Finished, Read, Refresh, Set
from gateway.roster.difference import afterSet
from gateway.roster.failures import INTERNAL_ERROR, RefreshFailed, UserUnknown
from gateway.roster.fetch import Fetched


class Application(typing.Protocol):
    """Source of documents: L{gateway.roster.fetch.WebApplication}."""

    def fetch(self, name: str, isUnconditional: bool = False) -> Awaitable[Fetched]:
        """Fetch a user's document."""

    def remember(self, name: str, tag: str | None) -> None:
        """Remember the tag of a document that was applied; without a tag, forget the last one."""

    def forget(self, name: str) -> Awaitable[None]:
        """Forget the last tag, before the user's roster is changed."""

    def serverLost(self) -> int:
        """Forget the tags of those whose rosters were changed last; return the number of these users."""


# Users whose refresh is under way or waits for a free slot.
_MAX_USERS = 100_000
_FULL = Finished(reason=f"{_MAX_USERS} users are waiting for a refresh already; ask again later")

# Users whose last failure is on the status page.
_MAX_FAILURES = 10

# Unknown keys of documents that are logged at most.
_MAX_LOGGED_KEYS = 100


@define(eq=False)
class _Requested:
    """The requests for one refresh of a user, merged."""

    waiting: list[Deferred[Finished]]
    isForced: bool = False
    isUnconditional: bool = False


class Refresher:
    """
    Refreshes users of one domain.

    @param domain: the users' domain.
    @param concurrency: number of users at a time.
    @param pieces: runs long computations.
    @param maxRemovals: contacts that one refresh may remove; C{None} for any number.

    @ivar announced: number of users in HTTP requests whose refresh has not begun; the batches count it down.
    @ivar outcomes: number of refreshes that ended, without dry runs: C{changed}, C{unchanged}, C{failed},
        C{unknown} to the application, or C{refused} because too many users wait.
    @ivar failures: reasons of the last failures of at most L{_MAX_FAILURES} users, by name, whose refresh has not
        succeeded since.
    @ivar contactsSet: number of contacts that were set or removed.
    """

    _log = Logger()

    def __init__(
        self,
        domain: str,
        application: Application,
        applier: Applier,
        concurrency: int,
        pieces: Pieces,
        maxRemovals: int | None = None,
    ) -> None:
        self._domain = domain
        self._application = application
        self._applier = applier
        self._maxRemovals = maxRemovals
        self._pieces = pieces
        self.concurrency = concurrency
        self.announced = 0
        self._slots = DeferredSemaphore(concurrency)
        # Number of times that the connection to the server was lost.
        self._losses = 0
        self._users: dict[str, _Requested] = {}
        self._reported: set[str] = set()
        self._observers: list[Callable[[str, RosterItem], object]] = []
        self.outcomes: Counter[str] = Counter()
        self.failures: OrderedDict[str, str] = OrderedDict()
        self.contactsSet = 0
        self._seconds: Callable[[], float] = lambda: 0.0
        self._durations: IHistogram = NO_METRIC
        self._fetches: IHistogram = NO_METRIC

    def measure(self, metrics: IMetrics, seconds: Callable[[], float]) -> None:
        """
        Register metrics.

        @param seconds: returns the time on the reactor's clock.
        """
        self._seconds = seconds
        self._durations = metrics.histogram(*names.ROSTER_REFRESH)
        self._fetches = metrics.histogram(*names.ROSTER_FETCH)
        metrics.counter(*names.ROSTER_REFRESHES).setFunction(lambda: dict(self.outcomes))
        metrics.counter(*names.ROSTER_SET).setFunction(lambda: self.contactsSet)
        metrics.gauge(*names.ROSTER_WAITING).setFunction(lambda: len(self._users))

    def report(self) -> Iterator[StatusItem]:
        """For the status page."""
        if self.outcomes or self._users:
            known = {name: self.outcomes[name] for name in ("changed", "unchanged", "failed", "unknown")}
            yield StatusItem(
                "roster.refreshes",
                "refreshes: {changed} with changes, {unchanged} without, {failed} failed, {unknown} of users who "
                "are unknown to the application; users whose refresh waits or is under way: {waiting}",
                {**known, "waiting": len(self._users)},
            )
        for name, reason in self.failures.items():
            about = {"user": f"{name}@{self._domain}", "reason": reason}
            text = "the last refresh of {user} failed: {reason}"
            yield StatusItem("roster.failure", text, about, isProblem=True, isOfOneUser=True)

    def watch(self, observer: Callable[[str, RosterItem], object]) -> None:
        """
        Call an observer for each contact that was set or removed, with the user's bare JID and the server's new
        item.
        """
        self._observers.append(observer)

    def refresh(self, name: str, isForced: bool = False, isUnconditional: bool = False) -> Deferred[Finished]:
        """
        Refresh a user.

        While a refresh of the same user is under way, its document may be out of date already. So one more refresh
        follows it, for all requests that came meanwhile.

        @param name: localpart of the user's JID.
        @param isForced: true to allow any number of removals, and to compare an unchanged document, too.
        @param isUnconditional: true to compare an unchanged document, too.
        @return: fires with the result; never fails.
        """
        done: Deferred[Finished] = Deferred()
        user = self._users.get(name)
        if user is not None:
            user.waiting.append(done)
            user.isForced = user.isForced or isForced
            user.isUnconditional = user.isUnconditional or isUnconditional
        elif self._isFull:
            self.outcomes["refused"] += 1
            done.callback(_FULL)
        else:
            self._users[name] = _Requested([])
            self._begin(name, _Requested([done], isForced, isUnconditional))
        return done

    def announce(self, count: int) -> bool:
        """Count users whose refresh will be asked for. If they are too many, count none and return false."""
        if self.announced + count > _MAX_USERS:
            return False
        self.announced += count
        return True

    @property
    def _isFull(self) -> bool:
        return max(len(self._users), len(self._slots.waiting)) >= _MAX_USERS

    def serverLost(self) -> int:
        """
        The connection to the server was lost, and maybe its last changes. The next refresh compares those rosters.

        @return: number of users whose rosters were changed last.
        """
        self._losses += 1
        return self._application.serverLost()

    def dryRun(self, name: str) -> Deferred[Finished]:
        """Return the changes that a refresh would make, without making them."""
        if self._isFull:
            return succeed(_FULL)
        refresh = Refresh(f"{name}@{self._domain}", isDry=True)
        running: Deferred[Finished] = self._slots.run(self._steps, name, refresh, True, [])
        return running

    def _begin(self, name: str, asked: _Requested) -> None:
        refresh = Refresh(f"{name}@{self._domain}", None if asked.isForced else self._maxRemovals)
        isUnconditional = asked.isForced or asked.isUnconditional
        running: Deferred[Finished] = self._slots.run(self._run, name, refresh, isUnconditional)
        running.addCallback(self._onRefreshed, name, asked.waiting)

    def _onRefreshed(self, finished: Finished, name: str, waiting: list[Deferred[Finished]]) -> None:
        # Answer the waiting requests before anything else is set, so that the answer is still right.
        for each in waiting:
            each.callback(finished)
        user = self._users[name]
        if user.waiting:
            self._users[name] = _Requested([])
            self._begin(name, user)
        else:
            del self._users[name]

    def _count(self, name: str, finished: Finished, hasChanged: bool) -> None:
        self.failures.pop(name, None)
        if finished.isUnknown:
            self.outcomes["unknown"] += 1
        elif finished.reason:
            self.outcomes["failed"] += 1
            self.failures[name] = finished.reason
            if len(self.failures) > _MAX_FAILURES:
                self.failures.popitem(last=False)
        else:
            self.outcomes["changed" if hasChanged else "unchanged"] += 1

    def _logUnknownKeys(self, keys: frozenset[str], user: str) -> None:
        """Log unknown keys of a document, each once."""
        for key in sorted(keys - self._reported):
            if len(self._reported) < _MAX_LOGGED_KEYS:
                self._reported.add(key)
                self._log.warn(
                    "Contacts of {user} have the unknown key {key}; valid: name, groups, subscription.",
                    event="roster.key_unknown",
                    user=user,
                    key=key,
                )

    async def _run(self, name: str, refresh: Refresh, isUnconditional: bool) -> Finished:
        tags: list[str | None] = [None]
        begun, losses = self._seconds(), self._losses
        finished = await self._steps(name, refresh, isUnconditional, tags)
        self._durations.observe(self._seconds() - begun)
        self._count(name, finished, refresh.hasChanged)
        # Without a tag, skipped contacts are reported again by the next refresh, even if the document is unchanged.
        # What was read or changed before the connection was lost may be lost.
        isDone = not finished.reason and not finished.skipped and losses == self._losses
        self._application.remember(name, tags[-1] if isDone else None)
        return finished

    async def _fetch(self, name: str, isUnconditional: bool) -> Fetched:
        begun, outcome = self._seconds(), "failed"
        try:
            answer = await self._application.fetch(name, isUnconditional)
            outcome = "unchanged" if answer.document is None else "fetched"
        except UserUnknown:
            outcome = "unknown"
            raise
        finally:
            self._fetches.labels(outcome).observe(self._seconds() - begun)
        return answer

    async def _steps(self, name: str, refresh: Refresh, isUnconditional: bool, tags: list[str | None]) -> Finished:
        """
        Run a refresh, step by step.

        @param tags: the entity tag of the document is appended to it.
        """
        step = refresh.begin()
        isChanged = False
        while not isinstance(step, Finished):
            try:
                match step:
                    case Fetch():
                        answer = await self._fetch(name, isUnconditional)
                        tags.append(answer.tag)
                        step = await self._pieces.run(refresh.onDocument(answer.document))
                        self._logUnknownKeys(refresh.unknown, refresh.user)
                        # Free memory: the document may be large, and the remaining steps take a while.
                        del answer
                    case Read():
                        roster = await self._applier.get(refresh.user)
                        step = await self._pieces.run(refresh.onRoster(roster))
                    case Set(item, before):
                        if not isChanged:
                            isChanged = True
                            await self._application.forget(name)
                        await self._applier.set(refresh.user, item, before)
                        self.contactsSet += 1
                        for observer in self._observers:
                            observer(refresh.user, afterSet(item, before))
                        step = refresh.onSet()
            except RefreshFailed as failure:
                step = refresh.onFailure(failure)
            except Exception:
                self._log.failure("The refresh of {user} failed.", event="roster.refresh_failed", user=refresh.user)
                step = refresh.onFailure(RefreshFailed(INTERNAL_ERROR))
        return step
