"""
Carries refreshes out: many users at a time, each user once at a time.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred, succeed
from twisted.logger import Logger

from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster.apply import Applier
from gateway.roster.core import Fetch, Finished, Read, Refresh, Set
from gateway.roster.difference import afterSet
from gateway.roster.failures import RefreshFailed
from gateway.roster.fetch import Fetched


class Application(typing.Protocol):
    """Where documents come from: L{gateway.roster.fetch.WebApplication}."""

    def fetch(self, name: str, isUnconditional: bool = False) -> Awaitable[Fetched]:
        """Ask for a user's document."""

    def remember(self, name: str, tag: str | None) -> None:
        """What it says is done, or cannot be told."""


# Users whose refresh is under way or waits for its turn.
_MAX_USERS = 100_000
_FULL = Finished(reason=f"{_MAX_USERS} users wait for a refresh already; ask again later")

# Unknown keys of documents that are logged.
_MAX_LOGGED_KEYS = 100


@define(eq=False)
class _Requested:
    """A user whose refresh is under way, and who waits for the next one."""

    waiting: list[Deferred[Finished]]
    isForced: bool = False
    isUnconditional: bool = False


class Refresher:
    """
    @param domain: whose users.
    @param concurrency: how many at a time.
    @param pieces: runs what takes long.
    @param maxRemovals: contacts that one refresh may remove; C{None} for any number.

    @ivar announced: users of requests under way whose refresh has not begun; the requests count them down.
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
        self._users: dict[str, _Requested] = {}
        self._reported: set[str] = set()
        self._observers: list[Callable[[str, RosterItem], object]] = []

    def watch(self, observer: Callable[[str, RosterItem], object]) -> None:
        """Have each contact that was set, or removed, told: the user's bare JID, and what the server has now."""
        self._observers.append(observer)

    def refresh(self, name: str, isForced: bool = False, isUnconditional: bool = False) -> Deferred[Finished]:
        """
        Refresh a user.

        While a refresh of the same user is under way, what it has fetched may be out of date already: so there is
        one more after it, for all who have asked in the meantime.

        @param name: without the domain, as it stands in a JID.
        @param isForced: whether any number of contacts may be removed, and whether what has not changed counts too.
        @param isUnconditional: whether what has not changed counts too.
        @return: fires with how it went; never fails.
        """
        done: Deferred[Finished] = Deferred()
        user = self._users.get(name)
        if user is not None:
            user.waiting.append(done)
            user.isForced = user.isForced or isForced
            user.isUnconditional = user.isUnconditional or isUnconditional
        elif self._isFull:
            done.callback(_FULL)
        else:
            self._users[name] = _Requested([])
            self._begin(name, _Requested([done], isForced, isUnconditional))
        return done

    def announce(self, count: int) -> bool:
        """Count users whose refresh will be asked for; false, and they are not counted, if there are too many."""
        if self.announced + count > _MAX_USERS:
            return False
        self.announced += count
        return True

    @property
    def _isFull(self) -> bool:
        return max(len(self._users), len(self._slots.waiting)) >= _MAX_USERS

    def dryRun(self, name: str) -> Deferred[Finished]:
        """Tell what a refresh would change, and change nothing."""
        if self._isFull:
            return succeed(_FULL)
        refresh = Refresh(f"{name}@{self._domain}", isDry=True)
        running: Deferred[Finished] = self._slots.run(self._start, self._steps, name, refresh, True, [])
        return running

    def _begin(self, name: str, asked: _Requested) -> None:
        refresh = Refresh(f"{name}@{self._domain}", None if asked.isForced else self._maxRemovals)
        isUnconditional = asked.isForced or asked.isUnconditional
        running: Deferred[Finished] = self._slots.run(self._start, self._run, name, refresh, isUnconditional)
        running.addCallback(self._onRefreshed, name, asked.waiting)

    def _onRefreshed(self, finished: Finished, name: str, waiting: list[Deferred[Finished]]) -> None:
        # First those who wait: what they are told is what is there now, and nothing is set meanwhile.
        for each in waiting:
            each.callback(finished)
        user = self._users[name]
        if user.waiting:
            self._users[name] = _Requested([])
            self._begin(name, user)
        else:
            del self._users[name]

    def _start(self, work: Callable[..., Coroutine[Any, Any, Finished]], *arguments: object) -> Deferred[Finished]:
        running: Deferred[Finished] = ensureDeferred(work(*arguments))
        return running

    def _logUnknownKeys(self, keys: frozenset[str], user: str) -> None:
        """Log keys of a document that mean nothing, each once."""
        for key in sorted(keys - self._reported):
            if len(self._reported) < _MAX_LOGGED_KEYS:
                self._reported.add(key)
                self._log.warn(
                    "The key {key} of contacts of {user} is ignored; there are name, groups and subscription.",
                    user=user,
                    key=key,
                )

    async def _run(self, name: str, refresh: Refresh, isUnconditional: bool) -> Finished:
        tags: list[str | None] = [None]
        finished = await self._steps(name, refresh, isUnconditional, tags)
        # What is skipped is told again at the next refresh, even if the document is the same.
        isDone = not finished.reason and not finished.skipped
        self._application.remember(name, tags[-1] if isDone else None)
        return finished

    async def _steps(self, name: str, refresh: Refresh, isUnconditional: bool, tags: list[str | None]) -> Finished:
        """
        Take one step after the other.

        @param tags: gets the entity tag of what was fetched.
        """
        step = refresh.begin()
        while not isinstance(step, Finished):
            try:
                match step:
                    case Fetch():
                        answer = await self._application.fetch(name, isUnconditional)
                        tags.append(answer.tag)
                        step = await self._pieces.run(refresh.onDocument(answer.document))
                        self._logUnknownKeys(refresh.unknown, refresh.user)
                        # It may be large, and the rest of this takes its time.
                        del answer
                    case Read():
                        roster = await self._applier.get(refresh.user)
                        step = await self._pieces.run(refresh.onRoster(roster))
                    case Set(item, before):
                        await self._applier.set(refresh.user, item, before)
                        for observer in self._observers:
                            observer(refresh.user, afterSet(item, before))
                        step = refresh.onSet()
            except RefreshFailed as failure:
                step = refresh.onFailure(failure)
            except Exception:
                self._log.failure("The refresh of {user} failed.", user=refresh.user)
                step = refresh.onFailure(RefreshFailed("an internal error, see the gateway's log"))
        return step
