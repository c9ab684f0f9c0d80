"""
The rules of Jabber Address Translation: what comes in, and what is to be done about it. Pure.

U is a requester, C the component, T the target account whose resources implement the service::

    U -> C (any localpart or resource: "the address")    becomes    C/TOKEN -> T/resource
    T/resource -> C/TOKEN                                becomes    the address -> U

Every method that takes a stanza returns an action, or C{None} where the stanza is none of the proxy's business.
"""

from __future__ import annotations

from collections import Counter

from attrs import frozen

from gateway import jids
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
from gateway.proxy.addresses import BrokenSeal, Sealer, UnknownHandle
from gateway.proxy.pool import Pool, Resource
from gateway.stream.stanzas import Stanza, route

# Open exchanges at most, and bytes at most of requests that are kept for a second try.
_MOST_PENDING = 16_384
_MOST_RETAINED = 8 * 1024 * 1024

# Requesters whose tokens are at hand; the others' are made, or checked, again when needed.
_MOST_CORRESPONDENTS = 4_096


@frozen(eq=False)
class Relay:
    """Send the stanza on with these addresses (see L{route})."""

    route: bytes


@frozen
class Refuse:
    """Answer the stanza with an error."""

    error: type[GatewayError]


@frozen
class Drop:
    """Do nothing, for this reason."""

    reason: str


@frozen
class Fail:
    """
    End an exchange with an error.

    @ivar route: the addresses of the error.
    @ivar id: the request's id.
    """

    route: bytes
    id: str
    error: type[GatewayError]


@frozen
class Retry:
    """Send a kept request to another resource."""

    stanza: Stanza
    route: bytes


Action = Relay | Refuse | Drop


class Correspondent:
    """
    Somebody who wrote to the component, together with the address they wrote to.

    @ivar alias: who they are for the implementing client, C/TOKEN.
    @ivar back: leads from the address to the requester.
    """

    __slots__ = ("requester", "address", "alias", "back", "_there")

    def __init__(self, requester: str, address: str, alias: str) -> None:
        self.requester = requester
        self.address = address
        self.alias = alias
        self.back = Relay(route(address, requester))
        self._there: dict[str, Relay] = {}

    def to(self, resource: str) -> Relay:
        """What leads from the alias to a resource of the target."""
        relay = self._there.get(resource)
        if relay is None:
            if len(self._there) >= 16:
                self._there.clear()
            relay = self._there[resource] = Relay(route(self.alias, resource))
        return relay


class _Exchange:
    """
    A request that was handed to a resource.

    @ivar copies: how many more were sent with the same id between the same addresses, each to be answered.
    @ivar kept: the request, if it may be tried a second time.
    """

    __slots__ = ("correspondent", "resource", "deadline", "copies", "kept")

    def __init__(
        self, correspondent: Correspondent, resource: Resource, deadline: float, kept: Stanza | None
    ) -> None:
        self.correspondent = correspondent
        self.resource = resource
        self.deadline = deadline
        self.copies = 0
        self.kept = kept


@frozen
class _Outbound:
    """A request that the implementing client started."""

    back: Relay
    deadline: float


@frozen(kw_only=True)
class Rules:
    """
    What an operator may decide.

    @ivar forward: the kinds of stanza that are forwarded.
    @ivar outbound: whether the implementing client may start exchanges.
    @ivar timeout: seconds for an answer.
    @ivar shared: whether other gateways serve the same component.
    """

    forward: frozenset[str] = frozenset({"iq"})
    outbound: bool = False
    timeout: float = 30.0
    shared: bool = False


class Translator:
    """
    One component's translation.

    @ivar dropped: how many stanzas were dropped, by reason.
    """

    def __init__(self, sealer: Sealer, pool: Pool, rules: Rules) -> None:
        self.component = sealer.component
        self.target = pool.target
        self.dropped: Counter[str] = Counter()
        self._sealer = sealer
        self._pool = pool
        self._rules = rules
        self._relaysIq = "iq" in rules.forward
        self._targetPrefix = pool.target + "/"
        self._aliasPrefix = sealer.component + "/"
        self._exchanges: dict[tuple[str, str], _Exchange] = {}
        self._copies = 0
        self._outbound: dict[tuple[str, str, str], _Outbound] = {}
        self._retained = 0
        self._byAddress: dict[tuple[str, str], Correspondent] = {}
        self._byAlias: dict[str, Correspondent] = {}
        self._sealSufficesUntil = 0.0
        self._draining = False

    @property
    def pending(self) -> int:
        """How many answers are owed."""
        return len(self._exchanges) + self._copies + len(self._outbound)

    # Requests and their answers.

    def request(self, stanza: Stanza, sender: str, recipient: str, identifier: str, now: float) -> Action:
        """An iq of type get or set has come to the component."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            return self._outboundRequest(sender, recipient, identifier, now)
        if not self._relaysIq:
            return Refuse(NotOffered)
        if self._draining:
            return Refuse(Stopping)
        if self.pending >= _MOST_PENDING:
            return Refuse(TooManyPending)
        correspondent = self._byAddress.get((sender, recipient)) or self._meet(sender, recipient)
        key = (correspondent.alias, identifier)
        exchange = self._exchanges.get(key)
        if exchange is not None:
            # The ids are the requester's affair. Its answers cannot be told apart, so they must come from one.
            exchange.copies += 1
            self._copies += 1
            return correspondent.to(exchange.resource.jid)
        resource = self._pool.choose(sender, now)
        if resource is None:
            return Refuse(NoResource)
        kept = None
        if stanza.type == "get" and self._retained < _MOST_RETAINED:
            kept = stanza
            self._retained += len(stanza.raw)
        self._exchanges[key] = _Exchange(correspondent, resource, now + self._rules.timeout, kept)
        resource.open += 1
        return correspondent.to(resource.jid)

    def answer(self, sender: str, recipient: str, identifier: str, now: float) -> Action | None:
        """
        An iq of type result or error has come to the component.

        It is delivered only if its exchange is open and it comes from the resource that was asked. A seal alone
        is enough while another process may have forwarded the request: after a start, and when the component is
        shared.
        """
        key = (recipient, identifier)
        exchange = self._exchanges.get(key)
        if exchange is not None and exchange.resource.jid == sender:
            if exchange.copies:
                exchange.copies -= 1
                self._copies -= 1
            else:
                self._close(key, exchange)
            if exchange.resource.misses:
                self._pool.answered(exchange.resource)
            return exchange.correspondent.back
        outbound = self._outbound.pop((sender, recipient, identifier), None)
        if outbound is not None:
            return outbound.back
        if not recipient.startswith(self._aliasPrefix):
            return None if recipient == self.component else self._drop("no such request")
        if not sender.startswith(self._targetPrefix):
            return self._drop("an answer from a stranger")
        if exchange is not None:
            return self._drop("an answer from another resource")
        try:
            correspondent = self._recall(recipient)
        except BrokenSeal:
            return self._drop("a broken seal")
        except UnknownHandle:
            return self._drop("a forgotten handle")
        if now >= self._sealSufficesUntil and not self._rules.shared:
            return self._drop("no such request")
        return correspondent.back

    def _outboundRequest(self, sender: str, recipient: str, identifier: str, now: float) -> Action:
        if not self._rules.outbound:
            return Refuse(NotOffered)
        if self._draining:
            return Refuse(Stopping)
        if self.pending >= _MOST_PENDING:
            return Refuse(TooManyPending)
        correspondent = self._resolve(recipient)
        if correspondent is None:
            return Refuse(NoSuchAddress)
        key = (correspondent.requester, correspondent.address, identifier)
        if key in self._outbound:
            return Refuse(AlreadyOpen)
        back = Relay(route(recipient, sender))
        self._outbound[key] = _Outbound(back, now + self._rules.timeout)
        return correspondent.back

    # Messages and presence.

    def message(self, sender: str, recipient: str, kind: str | None, now: float) -> Action:
        """A message has come to the component."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            action: Action = self._fromTarget("message", recipient)
        elif "message" not in self._rules.forward or kind == "groupchat":
            action = Refuse(NotOffered)
        else:
            resource = self._pool.choose(sender, now)
            if resource is None:
                action = Refuse(NoResource)
            else:
                action = (self._byAddress.get((sender, recipient)) or self._meet(sender, recipient)).to(
                    resource.jid
                )
        # RFC 6120 section 8.3.1: an error is never answered with an error.
        if kind == "error" and isinstance(action, Refuse):
            return self._drop("an error message for nobody")
        return action

    def presence(self, sender: str, recipient: str) -> list[Relay] | Refuse:
        """Presence, available or not, has come to the component: from others than the target's to itself."""
        if sender.startswith(self._targetPrefix) and self._isAlias(recipient):
            action = self._fromTarget("presence", recipient)
            return [action] if isinstance(action, Relay) else action
        if "presence" not in self._rules.forward:
            return Refuse(NotOffered)
        correspondent = self._byAddress.get((sender, recipient)) or self._meet(sender, recipient)
        return [correspondent.to(resource.jid) for resource in self._pool.all()]

    def _fromTarget(self, name: str, recipient: str) -> Relay | Refuse:
        if name not in self._rules.forward:
            return Refuse(NotOffered)
        if not recipient.startswith(self._aliasPrefix) and not self._rules.outbound:
            return Refuse(NotOffered)
        correspondent = self._resolve(recipient)
        return Refuse(NoSuchAddress) if correspondent is None else correspondent.back

    # The target's resources.

    def available(self, jid: str) -> bool:
        """A resource of the target is online: whether that is news."""
        return self._pool.available(jid)

    def unavailable(self, jid: str) -> list[Fail | Retry]:
        """
        A resource of the target is offline, so its exchanges end: a get is tried once more at another resource,
        the rest get an error now. Neither server tells the requester (server-side, the request was delivered).
        """
        resource = self._pool.unavailable(jid)
        if resource is None or not resource.open:
            return []
        actions: list[Fail | Retry] = []
        for key, exchange in [entry for entry in self._exchanges.items() if entry[1].resource is resource]:
            actions += self._moveOrFail(key, exchange)
        return actions

    def forgetResources(self) -> None:
        """What was known of who is online is out of date; open exchanges may still be answered."""
        self._pool.clear()

    def _moveOrFail(self, key: tuple[str, str], exchange: _Exchange) -> list[Fail | Retry]:
        kept = exchange.kept
        # The deadline stays, so a second try is worth its while or ends with it.
        other = self._pool.choose(exchange.correspondent.requester, 0.0) if kept and not exchange.copies else None
        if kept is None or other is None:
            return self._fail(key, exchange, ResourceGone)
        self._forget(exchange)
        exchange.resource = other
        other.open += 1
        return [Retry(kept, exchange.correspondent.to(other.jid).route)]

    # Time.

    def started(self, now: float) -> None:
        """
        The component is connected for the first time. Answers may come to what an earlier process forwarded.
        """
        self._sealSufficesUntil = now + self._rules.timeout

    def expire(self, now: float) -> tuple[list[Fail | Retry], list[Resource]]:
        """
        End what is overdue.

        @return: what to tell the requesters, and which resources are rested from now on.
        """
        actions: list[Fail | Retry] = []
        rested = []
        for key, exchange in [entry for entry in self._exchanges.items() if entry[1].deadline <= now]:
            if self._pool.missed(exchange.resource, now):
                rested.append(exchange.resource)
            actions += self._fail(key, exchange, NoAnswer)
        for outKey, outbound in [entry for entry in self._outbound.items() if entry[1].deadline <= now]:
            del self._outbound[outKey]
            actions.append(Fail(outbound.back.route, outKey[2], NoAnswer))
        return actions, rested

    def drain(self) -> None:
        """Take no new requests."""
        self._draining = True

    # The books.

    def _fail(self, key: tuple[str, str], exchange: _Exchange, error: type[GatewayError]) -> list[Fail | Retry]:
        self._close(key, exchange)
        self._copies -= exchange.copies
        if self._rules.shared:
            # Another gateway may have delivered the answer, which it got in our place.
            return []
        return [Fail(exchange.correspondent.back.route, key[1], error)] * (1 + exchange.copies)

    def _close(self, key: tuple[str, str], exchange: _Exchange) -> None:
        del self._exchanges[key]
        self._forget(exchange)

    def _forget(self, exchange: _Exchange) -> None:
        exchange.resource.open -= 1
        if exchange.kept is not None:
            self._retained -= len(exchange.kept.raw)
            exchange.kept = None

    def _meet(self, requester: str, address: str) -> Correspondent:
        """The correspondent for a requester and the address written to."""
        alias = self._aliasPrefix + self._sealer.seal(requester, address)
        correspondent = Correspondent(requester, address, alias)
        if len(self._byAddress) >= _MOST_CORRESPONDENTS:
            self._byAddress.clear()
            self._byAlias.clear()
        self._byAddress[requester, address] = self._byAlias[alias] = correspondent
        return correspondent

    def _recall(self, alias: str) -> Correspondent:
        """The correspondent whom an alias stands for."""
        known = self._byAlias.get(alias)
        return known or self._meet(*self._sealer.unseal(alias.removeprefix(self._aliasPrefix)))

    def _isAlias(self, recipient: str) -> bool:
        """Whether the implementing client writes to somebody behind the component, not to the component."""
        return recipient.startswith(self._aliasPrefix) or "\\40" in jids.split(recipient)[0]

    def _resolve(self, recipient: str) -> Correspondent | None:
        """Whom the implementing client means: a token's requester, or C{user\\40domain@C/resource} (XEP-0106)."""
        if recipient.startswith(self._aliasPrefix):
            try:
                return self._recall(recipient)
            except (BrokenSeal, UnknownHandle):
                return None
        local, _, resource = jids.split(recipient)
        try:
            user = jids.prepared(jids.unescapeLocal(local) + (f"/{resource}" if resource else ""))
        except ValueError:
            return None
        if jids.split(user)[1] == self.component:
            return None
        return self._byAddress.get((user, self.component)) or self._meet(user, self.component)

    def _drop(self, reason: str) -> Drop:
        self.dropped[reason] += 1
        return Drop(reason)
