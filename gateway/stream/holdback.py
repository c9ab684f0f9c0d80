"""
Holds stanzas, to be handled later: joins and queries of archives of users who are over their budget of answers, and
all stanzas of users who are over their budget of copies. Pure.

A user's stanzas keep their order: later stanzas of the user wait behind a held one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from attrs import define, field

from gateway import ns
from gateway.addresses import jids
from gateway.stream.budget import Budget
from gateway.stream.stanzas import Stanza

# Limits for each user and for all users; more is refused. Seconds that a stanza is held.
MAX_STANZAS = 200
MAX_BYTES = 256 * 1024
MAX_BYTES_IN_ALL = 16 * 1024 * 1024
MAX_SECONDS = 20.0

_MUC, _MAM = ns.MUC.encode(), ns.MAM.encode()
_REFERENCE = b"&#"


@define(eq=False)
class _Held:
    """
    @ivar stanzas: each with its time of arrival.
    @ivar size: bytes of all of them.
    """

    stanzas: deque[tuple[float, Stanza]] = field(factory=deque)
    size: int = 0


class Holdback:
    """
    A queue for each user that has to wait; a user is a bare JID.

    @ivar users: the queues; empty as a rule. The queue of a user who owes copies may be empty.
    @param budget: the budget of answers; joins and queries of archives wait for it.
    @param copies: the budget of copies; all stanzas but answers wait for it.
    """

    def __init__(self, budget: Budget, copies: Budget) -> None:
        self._budget = budget
        self._copies = copies
        self.users: dict[str, _Held] = {}
        self._size = 0

    def __len__(self) -> int:
        return sum(len(held.stanzas) for held in self.users.values())

    def mustWait(self, stanza: Stanza, now: float) -> bool:
        """
        True if a stanza is to be held: its user is over the budget of copies; or it is a join, or a query of an
        archive, of a user over the budget of answers, or follows a held one.

        Answers are never held: they belong to exchanges of others. Other requests are refused, but a client that
        reads an archive page by page would take an error for the end, and miss messages for good.
        """
        if stanza.type in ("result", "error"):
            return False
        user = jids.bare(stanza.sender or "")
        held = self.users.get(user)
        if held is not None:
            if held.stanzas or self._owes(user, now):
                return True
            del self.users[user]
        return _isLarge(stanza) and self._budget.owes(user, now)

    def watch(self, user: str) -> None:
        """Hold the next stanzas of a user, as long as the user owes copies."""
        if user not in self.users:
            self.users[user] = _Held()

    def hold(self, stanza: Stanza, now: float) -> bool:
        """
        Keep a stanza for later.

        @return: true if there is room.
        """
        user, size = jids.bare(stanza.sender or ""), len(stanza.raw)
        held = self.users.get(user)
        isFull = held is not None and (len(held.stanzas) >= MAX_STANZAS or held.size + size > MAX_BYTES)
        if isFull or self._size + size > MAX_BYTES_IN_ALL:
            return False
        if held is None:
            held = self.users[user] = _Held()
        held.stanzas.append((now, stanza))
        held.size += size
        self._size += size
        return True

    def leave(self, sender: str) -> Iterator[Stanza]:
        """Remove and yield all held stanzas of a user."""
        while stanza := self._next(jids.bare(sender)):
            yield stanza

    def late(self, now: float) -> Iterator[Stanza]:
        """Remove and yield the stanzas that have been held for too long."""
        for user, held in list(self.users.items()):
            while held.stanzas and held.stanzas[0][0] <= now - MAX_SECONDS and (stanza := self._next(user)):
                yield stanza

    def ready(self, now: float) -> Iterator[Stanza]:
        """
        Yield the stanzas that may be handled, one of each user in turn.

        The caller must handle and charge each before it asks for the next one.
        """
        users = list(self.users)
        while users:
            users = [user for user in users if user in self.users and not self._owes(user, now)]
            for user in users:
                if stanza := self._next(user):
                    yield stanza

    def _owes(self, user: str, now: float) -> bool:
        return self._budget.owes(user, now) or self._copies.owes(user, now)

    def _next(self, user: str) -> Stanza | None:
        held = self.users.get(user)
        if held is None:
            return None
        if not held.stanzas:
            del self.users[user]
            return None
        _, stanza = held.stanzas.popleft()
        held.size -= len(stanza.raw)
        self._size -= len(stanza.raw)
        if not held.stanzas:
            del self.users[user]
        return stanza


def _isLarge(stanza: Stanza) -> bool:
    """True for a join, and for a query of an archive: their answers are large by nature."""
    isJoin = stanza.name == "presence" and stanza.type is None
    isQuery = stanza.name == "iq" and stanza.type == "set"
    namespace = _MUC if isJoin else _MAM
    # If the stanza has character references, the namespace may be written with them.
    return (isJoin or isQuery) and (namespace in stanza.raw or _REFERENCE in stanza.raw)
