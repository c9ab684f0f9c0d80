"""
Locked rosters: clients get the roster of the application's document, and cannot change it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import define, field, frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import TooManyPending
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, RosterItem
from gateway.log.seldom import Seldom
from gateway.pieces import Pieces
from gateway.roster.apply import Applier
from gateway.roster.failures import RefreshFailed
from gateway.roster.interested import InterestedClients
from gateway.roster.refresher import Refresher

# Seconds for a refresh, and for the server after it. A delegated request has 25 altogether.
_TIMEOUT = 10.0

# Requests of one user that wait at a time: more than any user has clients.
_MAX_WAITING = 16


@define(eq=False)
class _Questions:
    """
    The waiting requests of one user.

    @ivar current: requests that the question under way will answer.
    @ivar next: later requests, for the next question.
    """

    current: list[Deferred[Any]] = field(factory=list)
    next: list[Deferred[Any]] = field(factory=list)


class _UserTurns:
    """
    Asks one question for each user at a time. Requests that come while it is asked share the next question, so that
    no answer is older than its request. Users take turns.

    @param ask: asks the question for one user.
    @param concurrency: number of users at a time.
    """

    def __init__(
        self, ask: Callable[[str], Coroutine[Any, Any, _Result]], concurrency: int, clock: IReactorTime
    ) -> None:
        self._ask = ask
        self._slots = DeferredSemaphore(concurrency)
        self._clock = clock
        self._users: dict[str, _Questions] = {}

    def ask(self, user: str) -> Deferred[_Result]:
        """
        Return the answer to a question that is asked after this call. It fails with a C{TimeoutError} if it takes
        too long; the wait for the user's turn counts.

        @raise TooManyPending: if too many of the user's requests wait.
        """
        questions = self._users.get(user) or _Questions()
        # Cancelled requests are counted until their turn.
        if len(questions.current) + len(questions.next) >= _MAX_WAITING:
            raise TooManyPending
        answer: Deferred[_Result] = Deferred()
        questions.next.append(answer)
        if user not in self._users:
            self._users[user] = questions
            self._slots.run(self._start, user, questions)
        return answer.addTimeout(_TIMEOUT, self._clock)

    def _start(self, user: str, questions: _Questions) -> Deferred[Any]:
        questions.current, questions.next = [each for each in questions.next if not each.called], []
        answer: Deferred[Any] = defer.succeed(None)
        if questions.current:
            answer = Deferred.fromCoroutine(self._ask(user)).addTimeout(_TIMEOUT, self._clock)
        return answer.addBoth(self._onAnswer, user, questions)

    def _onAnswer(self, answer: Any, user: str, questions: _Questions) -> None:
        waiting, questions.current = questions.current, []
        # Answer them before anything else is asked or set, so that the answer is still right.
        for each in waiting:
            # It may have been cancelled.
            if not each.called:
                each.callback(answer)
        if questions.next:
            self._slots.run(self._start, user, questions)
        else:
            del self._users[user]


@frozen
class _Result:
    """
    An answer to a client.

    @ivar reason: reason for which it may differ from the application's document; empty if it does not.
    @ivar isFresh: true if the refresh succeeded and no contact was skipped.
    """

    query: domish.Element
    reason: str = ""
    isFresh: bool = False


@implementer(IDelegatedNamespace)
class LockedRosters:
    """
    Answers delegated requests of C{jabber:iq:roster} (RFC 6121 section 2).

    The user is refreshed first; then the client gets the server's roster. So clients and server have the same
    roster, even if the application or the server fails. Changes are pushed to clients that already have the roster.

    @param refresher: refreshes the user before each answer.
    @param applier: reads the server's roster; told if the server delegates a request of the component to the
        component, as ejabberd does.
    @param pieces: runs long computations.
    @param interested: told of clients that get the roster, and of its changes.
    @param component: JID in whose name the applier sends requests.
    """

    _log = Logger()

    namespaces = frozenset({ns.ROSTER})
    features: tuple[str, ...] = ()
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()

    def __init__(
        self,
        refresher: Refresher,
        applier: Applier,
        clock: IReactorTime,
        pieces: Pieces,
        interested: InterestedClients,
        component: str,
    ) -> None:
        self._component = component
        self._pieces = pieces
        self._refresher = refresher
        self._applier = applier
        self._clock = clock
        self._interested = interested
        self._refreshTurns = _UserTurns(self._refresh, refresher.concurrency, clock)
        self._readTurns = _UserTurns(self._get, refresher.concurrency, clock)
        # Contacts that are set while a roster is being read and encoded: by user, a dict for each such roster.
        self._changes: dict[str, list[dict[str, RosterItem]]] = {}
        self._failed, self._wasKept = Seldom(), Seldom()
        refresher.watch(self._onContactSet)

    async def answer(self, request: IDelegatedRequest) -> domish.Element:
        if jids.bare(request.requester) == self._component:
            self._applier.onLoopback()
        if jids.bare(request.requester) != request.entity:
            # Section 2.3.3: <forbidden/> "if the sender of the roster set is not authorized to update the roster".
            # The same holds for reading.
            raise StanzaError("forbidden")
        if request.type == "set":
            raise StanzaError("not-allowed", text="Your contacts are managed elsewhere, not in your client.")
        result = await self._result(request.entity)
        self._interested.onRosterGiven(request.requester, result.isFresh)
        return result.query

    async def _result(self, user: str) -> _Result:
        """
        Return the roster after a refresh; if that takes too long, the current one.

        @raise TooManyPending: if too many of the user's requests wait.
        """
        reason = f"the refresh takes more than {_TIMEOUT:g} s"
        try:
            try:
                result = await self._refreshTurns.ask(user)
                reason = result.reason
            except defer.TimeoutError:
                result = await self._readTurns.ask(user)
        except (RefreshFailed, defer.TimeoutError) as error:
            if (more := self._failed.more(self._clock.seconds())) is not None:
                self._log.warn(
                    "The roster request of {user} was answered with an error: {error}{more}",
                    event="roster.lock_request_failed",
                    user=user,
                    error=str(error) or "the server did not answer in time",
                    more=more,
                )
            raise StanzaError("service-unavailable") from error
        if reason and (more := self._wasKept.more(self._clock.seconds())) is not None:
            self._log.warn(
                "{user} got the server's roster as it is: {reason}{more}",
                event="roster.lock_passed",
                user=user,
                reason=reason,
                more=more,
            )
        return result

    async def _refresh(self, user: str) -> _Result:
        finished = await self._refresher.refresh(jids.split(user)[0], isUnconditional=True)
        isFresh = not finished.reason and not finished.skipped
        return _Result(await self._rosterQuery(user, finished.roster), finished.reason, isFresh)

    async def _get(self, user: str) -> _Result:
        return _Result(await self._rosterQuery(user))

    async def _rosterQuery(self, user: str, roster: Iterable[RosterItem] | None = None) -> domish.Element:
        """
        Return the roster as an element, including contacts that are set while it is read and encoded.

        @param roster: the server's roster, if it is known.
        """
        with self._recording(user) as changes:
            if roster is None:
                roster = await self._applier.get(user)
            items = await self._pieces.run(_items(roster))
            for jid, item in changes.items():
                items.pop(jid, None)
                if item.subscription != "remove":
                    items[jid] = _itemElement(item)
            query = domish.Element((ns.ROSTER, "query"))
            query.children = list(items.values())
            return query

    @contextmanager
    def _recording(self, user: str) -> Iterator[Mapping[str, RosterItem]]:
        """Record contacts that are set in a user's roster within this context."""
        changes: dict[str, RosterItem] = {}
        recorded = self._changes.setdefault(user, [])
        recorded.append(changes)
        try:
            yield changes
        finally:
            # By identity: two empty dicts are equal.
            recorded[:] = [each for each in recorded if each is not changes]
            if not recorded:
                del self._changes[user]

    def _onContactSet(self, user: str, item: RosterItem) -> None:
        for changes in self._changes.get(user, ()):
            changes[item.jid] = item
        self._interested.onContactSet(user, item)


def _items(roster: Iterable[RosterItem]) -> Generator[None, None, dict[str, domish.Element]]:
    """Return item elements by bare JID, in pieces."""
    items: dict[str, domish.Element] = {}
    for item in roster:
        items[jids.bare(item.jid)] = _itemElement(item)
        yield
    return items


def _itemElement(item: RosterItem) -> domish.Element:
    element = domish.Element((ns.ROSTER, "item"))
    element["jid"], element["subscription"] = item.jid, item.subscription
    if item.name:
        element["name"] = item.name
    if item.ask:
        element["ask"] = "subscribe"
    for group in sorted(item.groups):
        element.addElement("group", content=group)
    return element
