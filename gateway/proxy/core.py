"""
The rules of Jabber Address Translation: stanzas in, actions out. Pure.

U is a requester, C the component, T the target account whose resources implement the service::

    U -> C (any localpart or resource: "the address")    becomes    C/TOKEN -> T/resource
    T/resource -> C/TOKEN                                becomes    the address -> U

Every method that takes a stanza returns an action, or C{None} if the stanza is not for the proxy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import frozen

from gateway.addresses import jids
from gateway.errors import (
    AlreadyOpen,
    GatewayError,
    NoAnswer,
    NoResource,
    NoSuchAddress,
    NotOffered,
    ResourceGone,
    Stopping,
    TooManyPending,
)
from gateway.proxy.actions import Action, Drop, Fail, Refuse, Relay, Retry
from gateway.proxy.addresses import BrokenSeal, Sealer, UnknownHandle
from gateway.proxy.correspondents import Correspondent, Correspondents
from gateway.proxy.exchanges import Exchange, OpenExchange, Outbound
from gateway.proxy.pool import Pool, Resource
from gateway.stream.pending import PendingTable
from gateway.stream.shares import Shares
from gateway.stream.stanzas import Stanza
from gateway.xml.write import route

# Limits: open exchanges (each requester has a fair share), and as many that the implementing client has started;
# characters of an id, which each open exchange holds; bytes of requests that are kept for a second try; ended
# exchanges that are remembered after a start.
_MAX_PENDING = 16_384
_MAX_ID = 1_023
_MAX_RETAINED = 8 * 1024 * 1024
_MAX_ENDED = 65_536


@frozen(kw_only=True)
class Rules:
    """
    The operator's options.

    @ivar forward: the kinds of stanza that are forwarded.
    @ivar outbound: true if the implementing client may start exchanges.
    @ivar timeout: seconds for an answer.
    @ivar shared: true if other gateways serve the same component, and share no tables with this one. Not together
        with C{outbound}, nor with a balance that counts open exchanges: there is no table of them then.
    """

    forward: frozenset[str] = frozenset({"iq"})
    outbound: bool = False
    timeout: float = 30.0
    shared: bool = False


class Translator:
    """
    One component's translation.

    @ivar dropped: number of dropped stanzas by reason.
    @ivar observe: is called with the seconds from a request to its answer; C{None} if nobody needs them.
    """

    def __init__(self, sealer: Sealer, pool: Pool, rules: Rules) -> None:
        self.component = sealer.component
        self.target = pool.target
        self.dropped: Counter[str] = Counter()
        self.observe: Callable[[float], object] | None = None
        # All requests that wait for an answer, including those with the same id.
        self._owed = Shares(_MAX_PENDING)
        self._correspondents = Correspondents(sealer, self._owed)
        self._pool = pool
        self._rules = rules
        self._relaysIq = "iq" in rules.forward
        self._shared = rules.shared
        self._targetPrefix = pool.target + "/"
        self._aliasPrefix = self._correspondents.prefix
        self._exchanges: PendingTable[tuple[str, str], Exchange] = PendingTable(_MAX_PENDING)
        self._outbound: PendingTable[tuple[str, str, str], Outbound] = PendingTable(_MAX_PENDING)
        self._retained = 0
        self._sealSufficesUntil = 0.0
        # Hashes of the exchanges that have ended, as long as a seal suffices.
        self._ended: set[int] | None = None
        self._draining = False

    @property
    def timeout(self) -> float:
        """Seconds for an answer."""
        return self._rules.timeout

    @property
    def resources(self) -> Pool:
        """The resources of the target that are known to be online."""
        return self._pool

    @property
    def pending(self) -> int:
        """Number of answers that are owed."""
        return self._owed.taken + len(self._outbound)

    # Requests and their answers.

    def request(self, stanza: Stanza, sender: str, recipient: str, identifier: str, now: float) -> Action:
        """Handle an iq of type get or set to the component."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            return self._outboundRequest(sender, recipient, identifier, now)
        if self._draining or not self._relaysIq:
            return Refuse(Stopping if self._relaysIq else NotOffered)
        if len(identifier) > _MAX_ID:
            return Refuse(TooManyPending)
        correspondent = self._correspondents.forRequest(sender, recipient)
        if correspondent is None:
            return Refuse(NoSuchAddress)
        share = correspondent.share
        if share.isForgotten:
            share = correspondent.share = self._owed.of(sender)
        key = (correspondent.alias, identifier)
        exchange = self._exchanges.get(key)
        if exchange is not None:
            # The requester used the id twice. The answers cannot be told apart, so one resource must give both.
            if not share.take():
                return Refuse(TooManyPending)
            deadline = now + self._rules.timeout
            exchange.repeat(deadline, self._opened(correspondent, identifier, exchange.resource, deadline))
            return correspondent.to(exchange.resource.jid)
        resource = self._pool.choose(sender, now)
        if resource is None:
            return Refuse(NoResource)
        there = correspondent.to(resource.jid)
        if self._shared:
            # The answer may come to another gateway, so this one would not see the end of the exchange.
            return there
        if not share.take():
            return Refuse(TooManyPending)
        kept = None
        if stanza.type == "get" and self._retained < _MAX_RETAINED:
            kept = stanza
            self._retained += len(stanza.raw)
        deadline = now + self._rules.timeout
        number = self._opened(correspondent, identifier, resource, deadline)
        self._exchanges.add(key, Exchange(correspondent, resource, deadline, kept, number))
        resource.open[key] = None
        return there

    def _opened(self, correspondent: Correspondent, identifier: str, resource: Resource, deadline: float) -> int:
        """Note a request that will be forwarded, and return its number; 0 if gateways share no tables."""
        return 0

    def answer(self, sender: str, recipient: str, identifier: str, now: float) -> Action | None:
        """
        Handle an iq of type result or error to the component.

        It is delivered only if its exchange is open and it comes from the resource that was asked. A seal alone
        is enough while another process may have forwarded the request: after a start, and when the component is
        shared.
        """
        key = (recipient, identifier)
        exchange = self._exchanges.get(key)
        if exchange is not None and exchange.resource.jid == sender:
            return self._answered(key, exchange, now)
        outbound = self._outbound.pop((sender, recipient, identifier), None)
        if outbound is not None:
            return outbound.back
        if not recipient.startswith(self._aliasPrefix):
            return None if recipient == self.component else self._drop("no such request")
        if not sender.startswith(self._targetPrefix):
            return self._drop("an answer from another account")
        if exchange is not None:
            return self._drop("an answer from another resource")
        return self._answerBySeal(recipient, key, now)

    def _answered(self, key: tuple[str, str], exchange: Exchange, now: float) -> Relay:
        if self.observe is not None:
            self.observe(now - exchange.deadline + self._rules.timeout)
        self._endOldest(key, exchange)
        return exchange.correspondent.back

    def _endOldest(self, key: tuple[str, str], exchange: Exchange) -> None:
        """End the oldest request of an exchange: it was answered."""
        resource = exchange.resource
        if exchange.copies:
            del self._exchanges[key]
            exchange.endOldest()
            self._exchanges.add(key, exchange)
        else:
            self._close(key, exchange)
        if resource.misses:
            self._pool.answered(resource)

    def _answerBySeal(self, recipient: str, key: tuple[str, str], now: float) -> Action:
        """Handle an answer of the target to an exchange that this process does not know."""
        try:
            correspondent = self._correspondents.byAlias(recipient)
        except BrokenSeal:
            return self._drop("a broken seal")
        except UnknownHandle:
            return self._drop("a forgotten handle")
        if not self._shared:
            if now >= self._sealSufficesUntil or self._ended is None:
                return self._drop("no such request")
            if hash(key) in self._ended:
                return self._drop("a second answer")
            self._remember(key)
        return correspondent.back

    def _outboundRequest(self, sender: str, recipient: str, identifier: str, now: float) -> Action:
        if not self._rules.outbound:
            return Refuse(NotOffered)
        if self._draining:
            return Refuse(Stopping)
        if self._outbound.isFull or len(identifier) > _MAX_ID:
            return Refuse(TooManyPending)
        correspondent = self._correspondents.byRecipient(recipient)
        if correspondent is None:
            return Refuse(NoSuchAddress)
        key = (correspondent.requester, correspondent.address, identifier)
        if key in self._outbound:
            return Refuse(AlreadyOpen)
        back = Relay(route(recipient, sender))
        deadline = now + self._rules.timeout
        number = self._openedOutbound(correspondent, identifier, recipient, sender, deadline)
        self._outbound.add(key, Outbound(back, deadline, number))
        return correspondent.back

    def _openedOutbound(
        self, correspondent: Correspondent, identifier: str, recipient: str, sender: str, deadline: float
    ) -> int:
        """As L{_opened}, for a request of the implementing client."""
        return 0

    def withdraw(self, sender: str, recipient: str, identifier: str) -> None:
        """Forget a request that was just taken but could not be forwarded; the caller answers it."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            asked = self._correspondents.byRecipient(recipient)
            if asked is not None:
                self._outbound.pop((asked.requester, asked.address, identifier), None)
            return
        correspondent = self._correspondents.forRequest(sender, recipient)
        key = ("" if correspondent is None else correspondent.alias, identifier)
        exchange = self._exchanges.get(key)
        if exchange is not None and exchange.copies:
            exchange.copies.pop()
            exchange.correspondent.share.giveBack()
        elif exchange is not None:
            self._close(key, exchange)

    # Messages and presence.

    @property
    def forwardsPresence(self) -> bool:
        """True if presence of anybody reaches the implementing client (C{forward})."""
        return "presence" in self._rules.forward

    def message(self, sender: str, recipient: str, kind: str | None, now: float) -> Action:
        """Handle a message to the component."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            action: Action = self._fromTarget("message", recipient)
        elif "message" not in self._rules.forward or kind == "groupchat":
            action = Refuse(NotOffered)
        else:
            correspondent = self._correspondents.forRequest(sender, recipient)
            resource = self._pool.choose(sender, now)
            if correspondent is None:
                action = Refuse(NoSuchAddress)
            elif resource is None:
                action = Refuse(NoResource)
            else:
                action = correspondent.to(resource.jid)
        # RFC 6120 section 8.3.1: an error is never answered with an error.
        if kind == "error" and isinstance(action, Refuse):
            return self._drop("an error message for nobody")
        return action

    def presence(self, sender: str, recipient: str) -> list[Relay] | Refuse:
        """Handle presence to the component, except the target's own presence to the component itself."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            action = self._fromTarget("presence", recipient)
            return [action] if isinstance(action, Relay) else action
        if not self.forwardsPresence:
            return Refuse(NotOffered)
        correspondent = self._correspondents.forRequest(sender, recipient)
        if correspondent is None:
            return Refuse(NoSuchAddress)
        return [correspondent.to(resource.jid) for resource in self._pool.all()]

    def _fromTarget(self, name: str, recipient: str) -> Relay | Refuse:
        if name not in self._rules.forward:
            return Refuse(NotOffered)
        if not recipient.startswith(self._aliasPrefix) and not self._rules.outbound:
            return Refuse(NotOffered)
        correspondent = self._correspondents.byRecipient(recipient)
        return Refuse(NoSuchAddress) if correspondent is None else correspondent.back

    # The target's resources.

    def available(self, jid: str) -> bool:
        """Note a resource of the target that is online; return true if it is new."""
        return self._pool.available(jid)

    def unavailable(self, jid: str) -> list[Fail | Retry]:
        """
        End the exchanges of a resource that is offline. A get is tried once more at another resource, other
        requests get an error now. No server tells the requester, because the request was delivered.
        """
        resource = self._pool.unavailable(jid)
        actions: list[Fail | Retry] = []
        for key in [] if resource is None else list(resource.open):
            actions += self._moveOrFail(key, self._exchanges[key])
        return actions

    def forgetResources(self) -> None:
        """Forget the online resources; open exchanges may still be answered."""
        self._pool.clear()

    def _moveOrFail(self, key: tuple[str, str], exchange: Exchange) -> list[Fail | Retry]:
        # If several requests have one id, it is unknown which of them is still open.
        kept = exchange.kept if exchange.copies is None else None
        # The second try has the deadline of the first.
        other = self._pool.choose(exchange.correspondent.requester, 0.0) if kept else None
        if kept is None or other is None:
            return self._fail(key, exchange, ResourceGone)
        self._forget(key, exchange)
        exchange.resource = other
        other.open[key] = None
        return [Retry(kept, exchange.correspondent.to(other.jid).route, other.jid, exchange.number)]

    # Time.

    def started(self, now: float) -> None:
        """
        Note the first connection of this process. Answers may come to requests of an earlier process.
        """
        self._sealSufficesUntil = now + self._rules.timeout
        self._ended = set()

    def openExchanges(self) -> list[OpenExchange]:
        """Return the open exchanges, for the next process."""
        return [
            OpenExchange(
                requester=exchange.correspondent.requester,
                address=exchange.correspondent.address,
                id=key[1],
                resource=exchange.resource.jid,
                deadline=exchange.deadline,
                copies=tuple(deadline for deadline, _ in exchange.copies or ()),
            )
            for key, exchange in self._exchanges.items()
        ]

    def reopen(self, exchanges: list[OpenExchange], now: float) -> None:
        """Take over the open exchanges of the previous process."""
        for each in exchanges:
            correspondent = self._correspondents.forRequest(each.requester, each.address)
            key = ("" if correspondent is None else correspondent.alias, each.id)
            if correspondent is None or self._exchanges.isFull or key in self._exchanges:
                continue
            resource = self._pool.former(each.resource)
            latest = now + self._rules.timeout
            exchange = Exchange(correspondent, resource, min(each.deadline, latest), None)
            for deadline in each.copies:
                exchange.repeat(min(deadline, latest))
            correspondent.share.keep(1 + len(each.copies))
            self._exchanges.add(key, exchange)
            resource.open[key] = None

    def abandon(self) -> list[Fail]:
        """
        End the exchanges that the implementing client started. The next process could not tell their answers from
        forgeries.
        """
        return [Fail(out.back.route, key[2], Stopping, out.number) for key, out in self._outbound.popAll()]

    def abandonAll(self) -> list[Fail | Retry]:
        """End all exchanges: there will be no process that could end those of L{openExchanges}."""
        abandoned = [self._fail(key, exchange, Stopping) for key, exchange in list(self._exchanges.items())]
        return [*self.abandon(), *(action for actions in abandoned for action in actions)]

    def expire(self, now: float) -> tuple[list[Fail | Retry], list[Resource]]:
        """
        End the exchanges whose deadline has passed.

        @return: the actions for the requesters, and the resources that are rested from now on.
        """
        if now >= self._sealSufficesUntil:
            self._ended = None
        actions: list[Fail | Retry] = []
        rested = []
        for key, exchange in self._exchanges.expire(now):
            if self._pool.missed(exchange.resource, now):
                rested.append(exchange.resource)
            back = exchange.correspondent.back.route
            number = exchange.number
            while exchange.deadline <= now and exchange.endOldest():
                actions.append(Fail(back, key[1], NoAnswer, number))
                number = exchange.number
            if exchange.deadline <= now:
                actions += self._fail(key, exchange, NoAnswer)
            else:
                self._exchanges.add(key, exchange)
        for outKey, outbound in self._outbound.expire(now):
            actions.append(Fail(outbound.back.route, outKey[2], NoAnswer, outbound.number))
        return actions, rested

    def drain(self) -> None:
        """Take no new requests."""
        self._draining = True

    def resume(self) -> None:
        """Take requests again: the link is started again."""
        self._draining = False

    # The books.

    def _fail(self, key: tuple[str, str], exchange: Exchange, error: type[GatewayError]) -> list[Fail | Retry]:
        self._close(key, exchange)
        owed = [exchange.number]
        while exchange.endOldest():
            owed.append(exchange.number)
        return [Fail(exchange.correspondent.back.route, key[1], error, number) for number in owed]

    def _close(self, key: tuple[str, str], exchange: Exchange) -> None:
        self._exchanges.pop(key, None)
        exchange.correspondent.share.giveBack()
        self._forget(key, exchange)
        if self._ended is not None:
            self._remember(key)

    def _remember(self, key: tuple[str, str]) -> None:
        """Remember an ended exchange, so that a seal alone does not allow a second answer."""
        if self._ended is not None and len(self._ended) < _MAX_ENDED:
            self._ended.add(hash(key))

    def _forget(self, key: tuple[str, str], exchange: Exchange) -> None:
        del exchange.resource.open[key]
        if exchange.kept is not None:
            self._retained -= len(exchange.kept.raw)
            exchange.kept = None

    def _isAlias(self, recipient: str) -> bool:
        """True if a stanza of the implementing client is for a requester, not for the component itself."""
        return recipient.startswith(self._aliasPrefix) or "\\40" in jids.split(recipient)[0]

    def _drop(self, reason: str) -> Drop:
        self.dropped[reason] += 1
        return Drop(reason)
