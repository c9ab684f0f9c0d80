"""
Locked rosters: clients ask for the roster and get what the application says; they cannot change it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from attrs import define, field
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
from gateway.roster.document import RefreshFailed, readingDocument
from gateway.roster.fetch import Answer
from gateway.roster.refresher import Application
from gateway.seldom import Seldom

# Seconds that the application and the server each have; a delegated request has 25 in all.
_PATIENCE = 10.0

# Requests of one user that wait at a time: more than the clients that a user has.
_MOST_WAITING = 16


@define(eq=False)
class _Asked:
    """
    One user's requests.

    @ivar now: those that the question that is being asked is for.
    @ivar next: those that have come since.
    """

    now: list[Deferred[Any]] = field(factory=list)
    next: list[Deferred[Any]] = field(factory=list)


class _Turns:
    """
    Asks one question for each user at a time. What is asked meanwhile is asked once more, after it, for all who
    have come by then: an answer is never older than the request. Users take turns.

    @param ask: asks for one user.
    @param concurrency: for how many at a time.
    """

    def __init__(self, ask: Callable[[str], Deferred[Any]], concurrency: int) -> None:
        self._ask = ask
        self._slots = DeferredSemaphore(concurrency)
        self._users: dict[str, _Asked] = {}

    def ask(self, user: str) -> Deferred[Any]:
        """
        @raise TooManyPending: if too many of the user's requests wait.
        """
        asked = self._users.get(user) or _Asked()
        # Those that have given up are among them until their turn.
        if len(asked.now) + len(asked.next) >= _MOST_WAITING:
            raise TooManyPending
        answer: Deferred[Any] = Deferred()
        asked.next.append(answer)
        if user not in self._users:
            self._users[user] = asked
            self._begin(user, asked)
        return answer

    def _begin(self, user: str, asked: _Asked) -> None:
        self._slots.run(self._take, user, asked)

    def _take(self, user: str, asked: _Asked) -> Deferred[Any]:
        asked.now, asked.next = [each for each in asked.next if not each.called], []
        answer = self._ask(user) if asked.now else defer.succeed(None)
        return answer.addBoth(self._answered, user, asked)

    def _answered(self, answer: Any, user: str, asked: _Asked) -> None:
        waiting, asked.now = asked.now, []
        if asked.next:
            self._begin(user, asked)
        else:
            del self._users[user]
        for each in waiting:
            # It may have been given up by now.
            if not each.called:
                each.callback(answer)


@implementer(IDelegatedNamespace)
class LockedRosters:
    """
    Answers for C{jabber:iq:roster} (RFC 6121 section 2), where a server delegates it.

    @param application: what it says when a request comes, or after that, is the truth.
    @param applier: asked for what the server has, where the application fails.
    @param concurrency: for how many users at a time each of the two is asked.
    @param pieces: runs what takes long.
    @param component: the JID that the applier asks the server as.
    @param loopedBack: is called if the server delegates such a request to the component: ejabberd does.
    """

    _log = Logger()

    namespaces = frozenset({ns.ROSTER})
    features: tuple[str, ...] = ()
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()

    def __init__(
        self,
        application: Application,
        applier: Applier,
        clock: IReactorTime,
        concurrency: int,
        pieces: Pieces,
        component: str = "",
        loopedBack: Callable[[], None] = lambda: None,
    ) -> None:
        self._component = component
        self._loopedBack = loopedBack
        self._pieces = pieces
        self._application = application
        self._applier = applier
        self._clock = clock
        self._said = _Turns(self._fetch, concurrency)
        self._kept = _Turns(self._get, concurrency)
        self._failed, self._wasKept = Seldom(), Seldom()

    async def answer(self, request: IDelegatedRequest) -> domish.Element:
        if jids.bare(request.requester) == self._component:
            self._loopedBack()
        if jids.bare(request.requester) != request.entity:
            # Section 2.3.3: <forbidden/> "if the sender of the roster set is not authorized to update the roster";
            # nor is it anybody else's to read.
            raise StanzaError("forbidden")
        if request.type == "set":
            raise StanzaError("not-allowed", text="Your contacts are decided elsewhere, not in your client.")
        return await self._roster(request.entity)

    async def _roster(self, user: str) -> domish.Element:
        """
        @raise TooManyPending: if the user has asked too often.
        """
        try:
            # The time that is waited for the user's turn counts, too.
            said: domish.Element = await self._inTime(self._said.ask(user))
            return said
        except RefreshFailed as failure:
            reason = str(failure)
        except defer.TimeoutError:
            reason = f"the application did not answer within {_PATIENCE:g} s"
        try:
            there: domish.Element = await self._inTime(self._kept.ask(user))
        except (RefreshFailed, defer.TimeoutError) as error:
            if (more := self._failed.more(self._clock.seconds())) is not None:
                self._log.warn(
                    "{user} asked for the roster and got an error: {reason}; and the server: {error}{more}",
                    user=user,
                    reason=reason,
                    error=error,
                    more=more,
                )
            raise StanzaError("service-unavailable") from error
        if (more := self._wasKept.more(self._clock.seconds())) is not None:
            self._log.warn(
                "{user} got the roster that the server has: {reason}{more}", user=user, reason=reason, more=more
            )
        return there

    def _fetch(self, user: str) -> Deferred[domish.Element]:
        async def fetch() -> domish.Element:
            answer: Answer = await self._application.fetch(jids.split(user)[0], anew=True)
            document = await self._pieces.run(readingDocument(answer.document or b"", user))
            return await self._pieces.run(_query(document.contacts.values()))

        return self._inTime(Deferred.fromCoroutine(fetch()))

    def _get(self, user: str) -> Deferred[domish.Element]:
        async def get() -> domish.Element:
            return await self._pieces.run(_query(await self._applier.get(user)))

        return self._inTime(Deferred.fromCoroutine(get()))

    def _inTime(self, waiting: Deferred[domish.Element]) -> Deferred[domish.Element]:
        return waiting.addTimeout(_PATIENCE, self._clock)


def _query(items: Iterable[RosterItem]) -> Generator[None, None, domish.Element]:
    """One for all whom it answers."""
    query = domish.Element((ns.ROSTER, "query"))
    for item in items:
        query.addChild(_written(item))
        yield
    return query


def _written(item: RosterItem) -> domish.Element:
    element = domish.Element((ns.ROSTER, "item"))
    element["jid"], element["subscription"] = item.jid, item.subscription
    if item.name:
        element["name"] = item.name
    if item.ask:
        element["ask"] = "subscribe"
    for group in sorted(item.groups):
        element.addElement("group", content=group)
    return element
