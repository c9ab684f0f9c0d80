"""
Slows down or refuses users of a link who are over a budget: that of answers, or that of copies for many recipients.
Other users are not affected.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from gateway.addresses import jids
from gateway.errors import GatewayError, OverBudget, Stopping
from gateway.reports import StatusItem
from gateway.stream.budget import Budget, copiesBudget
from gateway.stream.holdback import Holdback
from gateway.stream.stanzas import Stanza

# Seconds of work on held stanzas before the rest of the process has its turn.
_SLICE = 0.02


class Port(typing.Protocol):
    """The part of the link that this uses."""

    jid: str
    now: float

    @property
    def isCongested(self) -> bool:
        """True if much output waits."""

    def handle(self, stanza: Stanza) -> None:
        """Show a stanza to the handlers. Must not raise."""

    def refuse(self, stanza: Stanza, error: type[GatewayError]) -> None:
        """Answer a stanza with an error."""


class Fairness:
    """
    Limits users whose budget is used up. Without a budget of answers, their joins and queries of archives are held
    and their other requests are refused; without a budget of copies, all their stanzas are held.

    @ivar budget: handlers charge their answers to it.
    @ivar copies: the budget of copies; L{spread} charges it.
    @ivar debts: C{budget.debts}. If it and C{held} are empty, as they usually are, L{keeps} need not be called.
    @ivar held: the users whose stanzas are held.
    """

    _log = Logger()

    def __init__(self, port: Port, budget: Budget, clock: IReactorTime) -> None:
        self.budget = budget
        self.copies = copiesBudget(budget)
        self.debts = budget.debts
        self._port = port
        self._clock = clock
        self._holdback = Holdback(budget, self.copies)
        self.held = self._holdback.users
        self._releasing: IDelayedCall | None = None
        self._isDraining = False

    def keeps(self, stanza: Stanza) -> bool:
        """Hold or refuse a stanza; return false if it is to be handled now."""
        if not self.debts and not self.held:
            return False
        now = self._port.now
        if not self._isDraining and self._holdback.mustWait(stanza, now):
            if self._holdback.hold(stanza, now):
                return True
            if stanza.type != "unavailable":
                self._refuse(stanza, OverBudget)
                return True
            # The user leaves, so what is held is obsolete.
            for each in self._holdback.leave(stanza.sender or ""):
                self._refuse(each, OverBudget)
            user = jids.bare(stanza.sender or "")
            if self.copies.owes(user, now):
                self._holdback.watch(user)
            return False
        if self.budget.refuses(stanza, now):
            self._port.refuse(stanza, OverBudget)
            return True
        return False

    def spread(self, user: str, size: int) -> None:
        """
        Charge copies for many recipients to the user who caused them.

        @param user: a bare JID. A full JID, of an occupant of another room, is charged and never held.
        @param size: bytes; each copy counts for L{gateway.stream.budget.COPY} at least.
        """
        if self.copies.chargeUser(user, size, self._port.now):
            self._holdback.watch(user)

    def resume(self) -> None:
        """Hold stanzas again: the link is started again."""
        self._isDraining = False

    def tick(self, now: float) -> None:
        """Handle held stanzas whose time has come. To be called about once a second."""
        for stanza in self._holdback.late(now):
            self._refuse(stanza, OverBudget)
        if self._releasing is None:
            self._release()
        for budget in (self.budget, self.copies):
            budget.expire(now)
            if news := budget.news(now):
                self._log.warn(
                    "{component}: {news}.", event="link.over_budget", component=self._port.jid, news=news
                )

    def drain(self) -> None:
        """Refuse all held stanzas, and hold none from now on: the gateway stops."""
        self._isDraining = True
        if self._releasing is not None:
            self._releasing.cancel()
            self._releasing = None
        for user in list(self.held):
            for stanza in self._holdback.leave(user):
                self._refuse(stanza, Stopping)

    @property
    def heldStanzas(self) -> int:
        """Number of stanzas that are held."""
        return len(self._holdback)

    def report(self) -> Iterator[StatusItem]:
        """For the status page."""
        if self.budget.refused:
            yield StatusItem(
                "fairness.answers",
                "requests refused, over a user's budget of answers: {refused}; "
                "users whose budget is not full: {users}",
                {"refused": self.budget.refused, "users": len(self.debts)},
            )
        if self.copies.refused:
            yield StatusItem(
                "fairness.copies",
                "stanzas refused, over a user's budget of copies for others: {refused}",
                {"refused": self.copies.refused},
            )
        if self.held:
            yield StatusItem(
                "fairness.held",
                "stanzas that wait, of users over a budget: {stanzas}; users: {users}",
                {"stanzas": self.heldStanzas, "users": len(self.held)},
            )

    def _release(self) -> None:
        self._releasing = None
        until = self._clock.seconds() + _SLICE
        for stanza in self._holdback.ready(self._port.now):
            self._port.handle(stanza)
            if self._port.isCongested:
                return
            if self._clock.seconds() >= until and self.held:
                self._releasing = self._clock.callLater(0, self._release)
                return

    def _refuse(self, stanza: Stanza, error: type[GatewayError]) -> None:
        if stanza.type == "unavailable":
            # The user may be in that room.
            self._port.handle(stanza)
            return
        if error is OverBudget:
            # C{isOver} counts the refused stanza.
            sender, now = stanza.sender or "", self._port.now
            self.budget.isOver(sender, now) or self.copies.isOver(sender, now)
        self._port.refuse(stanza, error)
