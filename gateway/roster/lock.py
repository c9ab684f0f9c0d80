"""
Locked rosters: clients ask for the roster and get what the application says; they cannot change it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import jids, ns
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, RosterItem
from gateway.roster.apply import Applier
from gateway.roster.core import RefreshFailed, readDocument
from gateway.roster.fetch import Answer
from gateway.roster.refresher import Application

# Seconds that the application and the server each have; a delegated request has 25 in all.
_PATIENCE = 10.0


@implementer(IDelegatedNamespace)
class LockedRosters:
    """
    Answers for C{jabber:iq:roster} (RFC 6121 section 2), where a server delegates it.

    @param application: asked at each request: what it says is the truth.
    @param applier: asked for what the server has, where the application fails.
    @param concurrency: for how many users at a time the application is asked.
    """

    _log = Logger()

    namespaces = frozenset({ns.ROSTER})
    features: tuple[str, ...] = ()
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()

    def __init__(self, application: Application, applier: Applier, clock: IReactorTime, concurrency: int) -> None:
        self._application = application
        self._applier = applier
        self._clock = clock
        self._slots = DeferredSemaphore(concurrency)

    async def answer(self, request: IDelegatedRequest) -> domish.Element:
        if jids.bare(request.requester) != request.entity:
            # Section 2.3.3: <forbidden/> "if the sender of the roster set is not authorized to update the roster";
            # nor is it anybody else's to read.
            raise StanzaError("forbidden")
        if request.type == "set":
            raise StanzaError("not-allowed", text="Your contacts are decided elsewhere, not in your client.")
        query = domish.Element((ns.ROSTER, "query"))
        for item in await self._contacts(request.entity):
            query.addChild(_written(item))
        return query

    async def _contacts(self, user: str) -> list[RosterItem]:
        name = jids.split(user)[0]
        try:
            answer: Answer = await self._inTime(self._slots.run(self._fetch, name))
            return list(readDocument(answer.document or b"", user).values())
        except RefreshFailed as failure:
            reason = str(failure)
        except defer.TimeoutError:
            reason = f"the application did not answer within {_PATIENCE:g} s"
        try:
            there: list[RosterItem] = await self._inTime(self._applier.get(user))
        except (RefreshFailed, defer.TimeoutError) as error:
            self._log.warn(
                "{user} asked for the roster and got an error: {reason}; and the server: {error}",
                user=user,
                reason=reason,
                error=error,
            )
            raise StanzaError("service-unavailable") from error
        self._log.warn("{user} got the roster that the server has: {reason}", user=user, reason=reason)
        return there

    def _fetch(self, name: str) -> Deferred[Answer]:
        return _started(self._application.fetch(name, anew=True))

    def _inTime(self, waiting: Awaitable[Any]) -> Deferred[Any]:
        return _started(waiting).addTimeout(_PATIENCE, self._clock)


def _started(waiting: Awaitable[Any]) -> Deferred[Any]:
    async def run() -> Any:
        return await waiting

    return Deferred.fromCoroutine(run())


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
