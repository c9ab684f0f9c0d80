"""
Locked rosters: clients ask for the roster and get what the application says; they cannot change it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
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

from gateway import jids, ns
from gateway.errors import TooManyPending
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, RosterItem
from gateway.pieces import Pieces
from gateway.roster.apply import Applier
from gateway.roster.failures import RefreshFailed
from gateway.roster.interested import InterestedClients
from gateway.roster.refresher import Refresher
from gateway.seldom import Seldom

# Seconds that a refresh and the server each have; a delegated request has 25 in all.
_TIMEOUT = 10.0

# Requests of one user that wait at a time: more than the clients that a user has.
_MAX_WAITING = 16


@define(eq=False)
class _Questions:
    """
    One user's requests.

    @ivar current: those that the question that is being asked is for.
    @ivar next: those that have come since.
    """

    current: list[Deferred[Any]] = field(factory=list)
    next: list[Deferred[Any]] = field(factory=list)


class _UserTurns:
    """
    Asks one question for each user at a time. What is asked meanwhile is asked once more, after it, for all who
    have come by then: an answer is never older than the request. Users take turns.

    @param ask: asks for one user.
    @param concurrency: for how many at a time.
    """

    def __init__(self, ask: Callable[[str], Deferred[Any]], concurrency: int) -> None:
        self._ask = ask
        self._slots = DeferredSemaphore(concurrency)
        self._users: dict[str, _Questions] = {}

    def ask(self, user: str) -> Deferred[Any]:
        """
        @raise TooManyPending: if too many of the user's requests wait.
        """
        questions = self._users.get(user) or _Questions()
        # Those that have given up are among them until their turn.
        if len(questions.current) + len(questions.next) >= _MAX_WAITING:
            raise TooManyPending
        answer: Deferred[Any] = Deferred()
        questions.next.append(answer)
        if user not in self._users:
            self._users[user] = questions
            self._begin(user, questions)
        return answer

    def _begin(self, user: str, questions: _Questions) -> None:
        self._slots.run(self._start, user, questions)

    def _start(self, user: str, questions: _Questions) -> Deferred[Any]:
        questions.current, questions.next = [each for each in questions.next if not each.called], []
        answer = self._ask(user) if questions.current else defer.succeed(None)
        return answer.addBoth(self._onAnswer, user, questions)

    def _onAnswer(self, answer: Any, user: str, questions: _Questions) -> None:
        waiting, questions.current = questions.current, []
        # What they are told is what is there now: before anything else is asked or set.
        for each in waiting:
            # It may have been given up by now.
            if not each.called:
                each.callback(answer)
        if questions.next:
            self._begin(user, questions)
        else:
            del self._users[user]


@frozen
class _Result:
    """
    An answer to a client.

    @ivar reason: why it may not be what the application says; empty if it is.
    @ivar isFresh: whether it is, in every respect.
    """

    query: domish.Element
    reason: str = ""
    isFresh: bool = False


@implementer(IDelegatedNamespace)
class LockedRosters:
    """
    Answers for C{jabber:iq:roster} (RFC 6121 section 2), where a server delegates it.

    The user is refreshed, and then the client gets what the server has: so what it is told and what the server goes
    by are the same, also where the application or the server fails. What a refresh changes is told to clients that
    have got the roster before.

    @param refresher: what the application says when a request comes, or after that, is the truth.
    @param applier: asked for what the server has.
    @param concurrency: for how many users at a time each of the two is asked.
    @param pieces: runs what takes long.
    @param interested: told of clients that get the roster, and of its changes.
    @param component: the JID that the applier asks the server as.
    @param onLoopback: is called if the server delegates such a request to the component: ejabberd does.
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
        concurrency: int,
        pieces: Pieces,
        interested: InterestedClients,
        component: str = "",
        onLoopback: Callable[[], None] = lambda: None,
    ) -> None:
        self._component = component
        self._onLoopback = onLoopback
        self._pieces = pieces
        self._refresher = refresher
        self._applier = applier
        self._clock = clock
        self._interested = interested
        self._refreshTurns = _UserTurns(self._refresh, concurrency)
        self._readTurns = _UserTurns(self._get, concurrency)
        # What was set while a roster is read and written, by user: a list for each that is.
        self._changes: dict[str, list[dict[str, RosterItem]]] = {}
        self._failed, self._wasKept = Seldom(), Seldom()
        refresher.watch(self._onContactSet)

    async def answer(self, request: IDelegatedRequest) -> domish.Element:
        if jids.bare(request.requester) == self._component:
            self._onLoopback()
        if jids.bare(request.requester) != request.entity:
            # Section 2.3.3: <forbidden/> "if the sender of the roster set is not authorized to update the roster";
            # nor is it anybody else's to read.
            raise StanzaError("forbidden")
        if request.type == "set":
            raise StanzaError("not-allowed", text="Your contacts are decided elsewhere, not in your client.")
        result = await self._result(request.entity)
        self._interested.onRosterGiven(request.requester, result.isFresh)
        return result.query

    async def _result(self, user: str) -> _Result:
        """
        @raise TooManyPending: if the user has asked too often.
        """
        reason = f"the refresh takes over {_TIMEOUT:g} s"
        try:
            try:
                # The time that is waited for the user's turn counts, too.
                result: _Result = await self._withTimeout(self._refreshTurns.ask(user))
                reason = result.reason
            except defer.TimeoutError:
                result = await self._withTimeout(self._readTurns.ask(user))
        except (RefreshFailed, defer.TimeoutError) as error:
            if (more := self._failed.more(self._clock.seconds())) is not None:
                self._log.warn(
                    "{user} asked for the roster and got an error: {error}{more}",
                    user=user,
                    error=str(error) or "the server did not answer in time",
                    more=more,
                )
            raise StanzaError("service-unavailable") from error
        if reason and (more := self._wasKept.more(self._clock.seconds())) is not None:
            self._log.warn(
                "{user} got the roster that the server has: {reason}{more}", user=user, reason=reason, more=more
            )
        return result

    def _refresh(self, user: str) -> Deferred[_Result]:
        async def refresh() -> _Result:
            finished = await self._refresher.refresh(jids.split(user)[0], isUnconditional=True)
            isFresh = not finished.reason and not finished.skipped
            return _Result(await self._rosterQuery(user, finished.roster), finished.reason, isFresh)

        return self._withTimeout(Deferred.fromCoroutine(refresh()))

    def _get(self, user: str) -> Deferred[_Result]:
        async def get() -> _Result:
            return _Result(await self._rosterQuery(user))

        return self._withTimeout(Deferred.fromCoroutine(get()))

    async def _rosterQuery(self, user: str, roster: Iterable[RosterItem] | None = None) -> domish.Element:
        """
        A roster as a client gets it, with all that was set until the moment at which this returns.

        @param roster: what the server has, if it is known.
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
        """Record contacts that are set in a user's roster meanwhile."""
        changes: dict[str, RosterItem] = {}
        recorded = self._changes.setdefault(user, [])
        recorded.append(changes)
        try:
            yield changes
        finally:
            # By identity: two that are empty are equal.
            recorded[:] = [each for each in recorded if each is not changes]
            if not recorded:
                del self._changes[user]

    def _onContactSet(self, user: str, item: RosterItem) -> None:
        for changes in self._changes.get(user, ()):
            changes[item.jid] = item
        self._interested.onContactSet(user, item)

    def _withTimeout(self, waiting: Deferred[Any]) -> Deferred[Any]:
        return waiting.addTimeout(_TIMEOUT, self._clock)


def _items(roster: Iterable[RosterItem]) -> Generator[None, None, dict[str, domish.Element]]:
    """By bare JID: one for all whom it answers."""
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
