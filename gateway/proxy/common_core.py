"""
The rules of a proxy whose gateways share their open exchanges. Pure.

A gateway has the exchanges in memory that it will end at their deadlines: those whose requests it has forwarded,
and those that it has taken over. The shared tables have the exchanges of all gateways, because the server may give
an answer to any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.errors import Stopping
from gateway.proxy.actions import Action, Deliver, Find, Relay, Store
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.correspondents import Correspondent
from gateway.proxy.entries import Entry
from gateway.proxy.exchanges import Exchange, Outbound
from gateway.proxy.members import Members
from gateway.proxy.pool import Pool, Resource
from gateway.stream.stanzas import Stanza
from gateway.xml.write import route


class CommonTranslator(Translator):
    """
    The translation of one component by one of its gateways.

    @ivar offset: seconds since 1970 when the clock of C{now} was at 0.
    @param numbers: differ from those of all other gateways.
    """

    def __init__(self, sealer: Sealer, pool: Pool, rules: Rules, members: Members, numbers: Iterator[int]) -> None:
        super().__init__(sealer, pool, rules)
        self.offset = 0.0
        self._members = members
        self._numbers = numbers
        # The request that was opened last, and the numbers of those that are not sent yet.
        self._latest: Entry | None = None
        self._unsent: set[int] = set()

    @property
    def room(self) -> int:
        """Number of exchanges that can be taken over."""
        return min(table.bound - len(table) for table in (self._exchanges, self._outbound))

    def request(self, stanza: Stanza, sender: str, recipient: str, identifier: str, now: float) -> Action:
        """As L{Translator.request}. A request is stored first, and sent after a call of L{stored}."""
        action = super().request(stanza, sender, recipient, identifier, now)
        if not isinstance(action, Relay) or self._latest is None:
            return action
        self._unsent.add(self._latest.number)
        return Store(action.route, self._latest)

    def _opened(self, correspondent: Correspondent, identifier: str, resource: Resource, deadline: float) -> int:
        number = next(self._numbers)
        back = correspondent.address, correspondent.requester
        asked = resource.jid, correspondent.alias
        self._latest = Entry(number, *asked, identifier, *back, deadline + self.offset)
        return number

    def _openedOutbound(
        self, correspondent: Correspondent, identifier: str, recipient: str, sender: str, deadline: float
    ) -> int:
        number = next(self._numbers)
        asked = correspondent.requester, correspondent.address
        self._latest = Entry(number, *asked, identifier, recipient, sender, deadline + self.offset, True)
        return number

    def isUnsent(self, number: int) -> bool:
        """True if a request is not stored yet, and so was not sent."""
        return number in self._unsent

    def stored(self, entry: Entry) -> bool:
        """Note that a request is stored; return true if it is to be sent now."""
        self._unsent.discard(entry.number)
        if entry.isOutbound or not self._has(entry):
            return self._has(entry)
        # If its resource is offline by now, the request goes to another one.
        return self._exchanges[entry.recipient, entry.id].resource.jid == entry.sender

    def withdrawn(self, entry: Entry) -> bool:
        """Forget a request that could not be stored; return true if it was open still."""
        self._unsent.discard(entry.number)
        return self._remove(entry)

    def answer(self, sender: str, recipient: str, identifier: str, now: float) -> Action | None:
        """
        As L{Translator.answer}. If this gateway has forwarded the request, it delivers the answer at once;
        otherwise the tables decide. They always do for answers to the implementing client, because any user may
        send a second one.
        """
        if self._members.isValid(now):
            key = (recipient, identifier)
            exchange = self._exchanges.get(key)
            if exchange is not None and exchange.resource.jid == sender and exchange.number not in self._unsent:
                number = exchange.number
                return Deliver(self._answered(key, exchange, now).route, number)
        isAlias = recipient.startswith(self._aliasPrefix)
        if isAlias and sender.startswith(self._targetPrefix):
            return Find(sender, recipient, identifier)
        # Servers and gateways answer to the component itself.
        if recipient == self.component and not (self._rules.outbound and "@" in sender):
            return None
        if self._rules.outbound:
            return Find(sender, recipient, identifier)
        return self._drop("an answer from another account" if isAlias else "no such request")

    def answeredElsewhere(self, entry: Entry) -> bool:
        """Forget a request that another gateway has answered; return true if it was open still."""
        exchange = self._exchanges.get((entry.recipient, entry.id))
        if exchange is not None and exchange.number == entry.number and not entry.isOutbound:
            self._endOldest((entry.recipient, entry.id), exchange)
            return True
        return self._remove(entry)

    def adopt(self, entries: Iterable[Entry], now: float) -> None:
        """Take over the exchanges of a gateway that has ended."""
        for entry in entries:
            deadline = min(entry.deadline - self.offset, now + self._rules.timeout)
            if entry.isOutbound:
                asked = (entry.sender, entry.recipient, entry.id)
                back = Relay(route(entry.backFrom, entry.backTo))
                # One with the same id was answered elsewhere, and is not removed yet.
                self._outbound.pop(asked, None)
                self._outbound.add(asked, Outbound(back, deadline, entry.number))
                continue
            correspondent = self._correspondents.getOrMake(entry.backTo, entry.backFrom)
            key = (entry.recipient, entry.id)
            correspondent.share.keep(1)
            exchange = self._exchanges.get(key)
            if exchange is not None:
                exchange.repeat(deadline, entry.number)
            else:
                resource = self._pool.former(entry.sender)
                self._exchanges.add(key, Exchange(correspondent, resource, deadline, None, entry.number))
                resource.open[key] = None

    def forgetExchanges(self) -> None:
        """Forget all exchanges: other gateways have taken them over, or will."""
        for key, exchange in list(self._exchanges.items()):
            self._fail(key, exchange, Stopping)
        self._outbound.popAll()

    def _has(self, entry: Entry) -> bool:
        if entry.isOutbound:
            outbound = self._outbound.get((entry.sender, entry.recipient, entry.id))
            return outbound is not None and outbound.number == entry.number
        exchange = self._exchanges.get((entry.recipient, entry.id))
        return exchange is not None and entry.number in (
            exchange.number,
            *(number for _, number in exchange.copies or ()),
        )

    def _remove(self, entry: Entry) -> bool:
        if not self._has(entry):
            return False
        if entry.isOutbound:
            del self._outbound[entry.sender, entry.recipient, entry.id]
            return True
        key = (entry.recipient, entry.id)
        exchange = self._exchanges[key]
        if exchange.number == entry.number and not exchange.copies:
            self._close(key, exchange)
        elif exchange.number == entry.number:
            del self._exchanges[key]
            exchange.endOldest()
            self._exchanges.add(key, exchange)
        else:
            exchange.removeCopy(entry.number)
        return True
