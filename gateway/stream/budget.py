"""
Limits of the bytes that each user is sent in answer to small requests; pure.

A join of a large room, its history or a stored element: a hundred bytes may bring back thousands of times as many,
on the one stream that all users share. Messages of others are not charged, nor are stanzas that are forwarded
unchanged. Copies of one user's messages for many recipients have a budget of their own.
"""

from __future__ import annotations

from collections import Counter

from attrs import define

from gateway.addresses import jids
from gateway.stream.stanzas import Stanza

# Bytes of an answer that is not charged. A larger one is charged in full.
FREE = 4 * 1024

# Bytes that a user may be sent at once, the default; and seconds until all of them may be sent again. Prosody needs
# a quarter of a second for 1 MiB of answers to delegated requests, and serves nobody else meanwhile. That is a join
# of the largest room, or of some eight rooms of 300: further joins wait (L{gateway.stream.holdback}).
BURST = 1024 * 1024
_REFILL = 1.0

# The budget of copies for others: its size as a multiple of the burst of answers, and the seconds until all of it
# may be used again. 60 short messages to 1,000 people in one burst pass; in the long run a user may send 2 MiB/s,
# or 4,096 copies a second.
_COPIES = 32
_COPIES_REFILL = 16.0
# Minimum number of bytes that a copy counts for: the cost of a short copy is the work for a stanza. A copy takes 40
# to 60 us of Prosody's CPU, and 1 MB of large copies 50 ms: one user takes a quarter of Prosody's CPU at most.
COPY = 512

# Users that are kept. Debts end within seconds, so no stream has so many users with debts at a time.
_MAX_USERS = 10_000

# Seconds between two lines in the log.
_REPORT_EVERY = 60.0


@define
class _Debt:
    """
    @ivar owed: bytes, as of C{at}.
    """

    owed: float
    at: float


class Budget:
    """
    A token bucket for each user; a user is a bare JID. Only users with a debt are kept.

    @ivar debts: the users who owe something; empty as a rule.
    @ivar refused: number of refused stanzas since the start.
    @ivar burst: bytes that a user may be sent, or may send, at once.
    @param refill: seconds until all of it may be used again.
    @param kind: the name of the refused stanzas in the log.
    @param reason: the reason in the log.
    """

    def __init__(
        self,
        burst: int = BURST,
        refill: float = _REFILL,
        kind: str = "requests",
        reason: str = "over the answer budget",
    ) -> None:
        self.debts: dict[str, _Debt] = {}
        self.refused = 0
        self.burst = burst
        self._refill = refill
        self._kind = kind
        self._reason = reason
        self._news: Counter[str] = Counter()
        self._reportAt = 0.0

    def refuses(self, stanza: Stanza, now: float) -> bool:
        """
        True if a stanza is an iq request and its sender has been sent too much.
        """
        isRequest = stanza.name == "iq" and (stanza.type == "get" or stanza.type == "set")
        return isRequest and self.isOver(stanza.sender or "", now)

    def owes(self, user: str, now: float) -> bool:
        """True if a user, a bare JID, has been sent too much. It counts nothing."""
        return user in self.debts and self._owed(user, now) >= self.burst

    def allows(self, requester: str, size: int, now: float) -> bool:
        """
        Charge an answer and return true; return false if it must not be sent.

        @param requester: any address of the user.
        @param size: bytes.
        """
        if size <= FREE:
            return True
        if self.isOver(requester, now):
            return False
        self.charge(requester, size, now)
        return True

    def charge(self, requester: str, size: int, now: float) -> None:
        """Charge a user for bytes that were sent."""
        if size <= FREE:
            return
        self.chargeUser(jids.bare(requester), size, now)

    def chargeUser(self, user: str, size: int, now: float) -> bool:
        """
        Charge a user, by the key of C{debts}, for any number of bytes.

        @return: true if the user is now over the budget, as L{owes} defines it.
        """
        debt = self.debts.get(user)
        if debt is None:
            if len(self.debts) >= _MAX_USERS:
                # A new user is not charged; the debts of the others are kept.
                return False
            debt = self.debts[user] = _Debt(0.0, now)
        # So nobody waits for longer than two refill times.
        debt.owed = min(self._left(debt, now) + size, 2.0 * self.burst)
        debt.at = now
        return debt.owed >= self.burst

    def expire(self, now: float) -> None:
        """Forget users without a debt. To be called about once a second."""
        for user in [user for user in self.debts if not self._owed(user, now)]:
            del self.debts[user]

    def news(self, now: float) -> str:
        """Return a sentence for the log, once a minute at most; empty if there is nothing to say."""
        if not self._news or now < self._reportAt:
            return ""
        self._reportAt = now + _REPORT_EVERY
        [(user, _)] = self._news.most_common(1)
        most = f", most of all {user}" if len(self._news) > 1 else f": {user}"
        text = f"{self._news.total()} {self._kind} of {len(self._news)} users were refused, {self._reason}{most}"
        self._news.clear()
        return text

    def isOver(self, requester: str, now: float) -> bool:
        """Return true, and count a refused stanza, if the requester was sent too much."""
        return bool(self.debts) and self.isUserOver(jids.bare(requester), now)

    def isUserOver(self, user: str, now: float) -> bool:
        """As L{isOver}, for a key of C{debts}."""
        if not self.owes(user, now):
            return False
        self.refused += 1
        # Bounded by the table of debts, as of the last minute.
        if user in self._news or len(self._news) < _MAX_USERS:
            self._news[user] += 1
        return True

    def _owed(self, user: str, now: float) -> float:
        debt = self.debts.get(user)
        return 0.0 if debt is None else self._left(debt, now)

    def _left(self, debt: _Debt, now: float) -> float:
        return max(0.0, debt.owed - max(0.0, now - debt.at) * self.burst / self._refill)


def copiesBudget(answers: Budget) -> Budget:
    """Return a budget for copies of users' messages to many recipients; L{Budget.chargeUser} takes their bytes."""
    return Budget(_COPIES * answers.burst, _COPIES_REFILL, "stanzas", "over the budget of copies")
