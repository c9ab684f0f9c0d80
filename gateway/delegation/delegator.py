"""
Forwarded requests that wait for an answer: the delegating side of XEP-0355 section 4.3; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from gateway.delegation.core import Reply, Request
from gateway.delegation.delegations import Delegation, delegationOf
from gateway.errors import RecipientUnavailable, TooManyPending
from gateway.stream.pending import PendingTable
from gateway.stream.shares import Share, Shares, places


@frozen
class Forward:
    """
    Action: send a request to C{address}, wrapped, with this outer id.
    """

    address: str
    id: str
    request: Request


@frozen
class Completed:
    """
    Action: answer the requester of a forwarded request.

    @ivar origin: the value that L{Delegator.forward} was given.
    @ivar reply: a valid reply; C{None} for the error C{service-unavailable}.
    """

    origin: Any
    request: Request
    reply: Reply | None


@frozen
class _Pending:
    """
    @ivar entity: the managing entity that was asked.
    @ivar left: managing entities that can be asked next.
    @ivar deadline: seconds on the clock for this managing entity.
    @ivar until: the deadline for all managing entities together.
    """

    origin: Any
    request: Request
    share: Share
    entity: str
    address: str
    left: tuple[str, ...]
    deadline: float
    until: float


class Delegator:
    """
    Forwards requests to managing entities, and checks the replies.

    @ivar shares: the places that each requester has taken; a large request takes several.
    @param makeId: makes ids that cannot be guessed.
    @param timeout: seconds for an answer, all managing entities of a namespace together.
    """

    def __init__(
        self,
        delegations: Iterable[Delegation],
        makeId: Callable[[], str],
        bound: int = 10_000,
        timeout: float = 20.0,
    ) -> None:
        self._delegations = {each.namespace: each for each in delegations}
        self._makeId = makeId
        self._timeout = timeout
        self._pending: PendingTable[str, _Pending] = PendingTable(bound)
        self.shares = Shares(bound)
        self._addresses: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def delegations(self) -> list[Delegation]:
        return list(self._delegations.values())

    def delegatedTo(self, entity: str) -> list[Delegation]:
        """Return what is delegated to a managing entity."""
        return [each for each in self._delegations.values() if entity in each.entities]

    # Available managing entities.

    def onAvailable(self, entity: str, address: str) -> None:
        """A managing entity has become available at this address."""
        self._addresses[entity] = address

    def onUnavailable(self, entity: str, now: float) -> list[Forward | Completed]:
        """A managing entity has become unavailable. Its unanswered requests go to the next one."""
        self._addresses.pop(entity, None)
        lost = [(key, pending) for key, pending in self._pending.items() if pending.entity == entity]
        for key, _ in lost:
            del self._pending[key]
        return [self._retry(pending, now, _isSafe(pending)) for _, pending in lost]

    def address(self, entity: str) -> str | None:
        """Return the address of a managing entity; C{None} if it is unavailable."""
        return self._addresses.get(entity)

    def reachable(self, delegation: Delegation) -> str | None:
        """Return the first available managing entity of a delegation, if there is one."""
        return next((each for each in delegation.entities if each in self._addresses), None)

    # Requests.

    def find(self, request: Request, managed: bool = True) -> Delegation | None:
        """See L{delegationOf}."""
        return delegationOf(request, self._delegations, managed)

    def forward(self, origin: Any, request: Request, delegation: Delegation, now: float) -> Forward:
        """
        Forward a request.

        @param origin: any value; L{Completed} returns it.
        @raise RecipientUnavailable: if no managing entity is available (section 4.3, N.B. 1).
        @raise TooManyPending: if too many requests are under way.
        """
        share = self.shares.of(request.requester)
        if not share.take(places(len(request.xml))):
            raise TooManyPending
        forward = self._forwardTo(origin, request, share, delegation.entities, now, now + self._timeout)
        if forward is None:
            share.giveBack(places(len(request.xml)))
            raise RecipientUnavailable
        return forward

    def onAnswer(self, sender: str, identifier: str, reply: Reply | None) -> Completed | None:
        """
        Take an iq result.

        @param reply: the wrapped reply; C{None} if there is not exactly one.
        @return: C{None} if it answers no pending request.
        """
        pending = self._take(sender, identifier)
        if pending is None:
            return None
        isValid = reply is not None and reply.answers(pending.request)
        return self._complete(pending, reply if isValid else None)

    def onError(self, sender: str, identifier: str, isThere: bool, now: float) -> Forward | Completed | None:
        """
        Take an iq error (section 4.3, N.B. 2).

        @param isThere: true if the managing entity may have sent it; false if a server reports it as unavailable.
        @return: C{None} if it answers no pending request.
        """
        pending = self._take(sender, identifier)
        if pending is None:
            return None
        return self._complete(pending) if isThere else self._retry(pending, now)

    def onSendFailed(self, forward: Forward) -> Completed:
        """A request could not be sent."""
        return self._complete(self._pending.pop(forward.id))

    def expire(self, now: float) -> list[Forward | Completed]:
        """End requests whose deadline has passed. Those of type get go to the next managing entity."""
        return [self._retry(each, now, _isSafe(each)) for _, each in self._pending.expire(now)]

    def abandon(self) -> list[Completed]:
        """End all requests."""
        return [self._complete(pending) for _, pending in self._pending.popAll()]

    def _take(self, sender: str, identifier: str) -> _Pending | None:
        """Remove and return the request that a stanza answers."""
        pending = self._pending.get(identifier)
        # Only the entity that was asked may answer; another one may guess ids.
        if pending is None or pending.address != sender:
            return None
        return self._pending.pop(identifier)

    def _complete(self, pending: _Pending, reply: Reply | None = None) -> Completed:
        pending.share.giveBack(places(len(pending.request.xml)))
        return Completed(pending.origin, pending.request, reply)

    def _retry(self, pending: _Pending, now: float, mayRepeat: bool = True) -> Forward | Completed:
        """Forward a request to the next managing entity, if it may be repeated and there is one."""
        forward = None
        if mayRepeat and pending.until > now:
            forward = self._forwardTo(
                pending.origin, pending.request, pending.share, pending.left, now, pending.until
            )
        return forward or self._complete(pending)

    def _forwardTo(
        self, origin: Any, request: Request, share: Share, entities: tuple[str, ...], now: float, until: float
    ) -> Forward | None:
        """Forward a request to the first available entity. The time is divided among the available ones."""
        there = tuple(each for each in entities if each in self._addresses)
        if not there:
            return None
        entity, address = there[0], self._addresses[there[0]]
        identifier = self._makeId()
        deadline = now + (until - now) / len(there)
        self._pending.add(identifier, _Pending(origin, request, share, entity, address, there[1:], deadline, until))
        return Forward(address, identifier, request)


def _isSafe(pending: _Pending) -> bool:
    """True if a request may be sent again, though the first managing entity may have acted on it."""
    return pending.request.type == "get"
