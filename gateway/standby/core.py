"""
The rules by which several gateways agree on the one that serves a component. Pure.

All gateways share a table with a row for each component. The one that serves a component, its I{owner}, changes the
row once a second; that renews its lease. The others look at the row. If it has not changed for longer than a lease
lasts, they try to put themselves into it, and the database lets one of them succeed.

The clocks of the machines need not agree, only run at the same rate: nobody compares the times of two machines. An
owner counts from the moment before it asks the database; others count from the moment after they have seen the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import inf

from attrs import define, field, frozen

from gateway.stream.lease import Lease

# Seconds between two looks at the table, and between two renewals.
TICK = 0.5
RENEW_EVERY = 1.0
# Seconds for which others have to see the same row; the owner serves for a second less after the start of its last
# renewal. The difference is more than a tick, in which the owner stops.
WAITS_FOR = 6.0
SERVES_FOR = WAITS_FOR - 1.0
# The same after an owner has taken a component: it may be busy, because it loads the state of the service.
LOADS_FOR = 30.0
# Seconds for which a gateway with components leaves a further one to others, at most.
_MAX_COURTESY = 1.0
# Turns after which a component that cannot be taken counts as kept. A session that was told to end ends sooner.
_MAX_TRIES = 4


@frozen
class Owner:
    """
    A process that serves components.

    @ivar run: a random text that distinguishes it from all others.
    @ivar name: its host and process id, for operators.
    """

    run: str
    name: str


@frozen
class Row:
    """
    The row of one component.

    @ivar beat: number of renewals so far.
    @ivar wait: seconds for which others have to see this row.
    """

    component: str
    owner: Owner
    beat: int
    wait: float


@frozen
class Turn:
    """
    The changes of the table that a process asks for in one transaction.

    @ivar renew: components that are its own.
    @ivar take: rows of former owners.
    @ivar claim: components without a row.
    @ivar release: components that are its own, and that it does not want any longer.
    """

    renew: tuple[str, ...] = ()
    take: tuple[Row, ...] = ()
    claim: tuple[str, ...] = ()
    release: tuple[str, ...] = ()

    @property
    def wait(self) -> float:
        """Seconds for which others have to see the rows that are renewed."""
        return LOADS_FOR if self.take or self.claim else WAITS_FOR

    @property
    def renewed(self) -> tuple[str, ...]:
        """The components whose rows are renewed, if they are this process's."""
        return (*self.renew, *(row.component for row in self.take), *self.claim)

    @property
    def writes(self) -> bool:
        """True if it changes the table."""
        return bool(self.renewed or self.release)


@frozen
class Taken:
    """
    The component is this gateway's.

    @ivar former: the last owner; C{None} if there was none.
    """

    component: str
    former: Owner | None


@frozen
class Lost:
    """
    The component is not this gateway's any longer.

    @ivar owner: the new owner; C{None} if the lease was not renewed in time.
    """

    component: str
    owner: Owner | None


@frozen
class Waits:
    """The component is another gateway's."""

    component: str
    owner: Owner


@frozen
class Kept:
    """A session in the database keeps the component for a former owner."""

    component: str
    owner: Owner


Change = Taken | Lost | Waits | Kept


@define(eq=False)
class _Wanted:
    """
    A component that this gateway may serve.

    @ivar row: the last row that was seen; C{None} if there was none.
    @ivar since: the time at which this row was first seen.
    @ivar notBefore: the time before which it is not taken.
    @ivar tries: number of turns that could not take it, because a session keeps the row.
    """

    lease: Lease = field(factory=lambda: Lease(-inf, silentAt=-inf))
    row: Row | None = None
    since: float = 0.0
    notBefore: float = -inf
    tries: int = 0


class Leases:
    """
    The components that this gateway may serve, and its leases.

    All times are on the reactor's clock. Between L{turn} and L{answered} there is one transaction at most.

    @ivar own: this process.
    """

    def __init__(self, own: Owner) -> None:
        self.own = own
        self._wanted: dict[str, _Wanted] = {}
        # Components that have a row of this process, as far as is known.
        self._rows: set[str] = set()
        self._renewAt = -inf
        # True if the table was read since a component was added.
        self._isKnown = False

    @property
    def components(self) -> list[str]:
        """All components that this gateway wants."""
        return list(self._wanted)

    def add(self, component: str) -> Lease:
        """Want a component; return its lease, which is over until the component is taken."""
        if component not in self._wanted:
            self._wanted[component] = _Wanted()
            self._isKnown = False
        return self._wanted[component].lease

    def remove(self, component: str) -> None:
        """Do not want a component any longer; the next turn releases it."""
        wanted = self._wanted.pop(component, None)
        if wanted is not None:
            wanted.lease.until = -inf

    def postpone(self, component: str, until: float) -> None:
        """Give a component up, and do not take it before a time: another gateway may be able to serve it."""
        wanted = self._wanted.get(component)
        if wanted is not None:
            wanted.lease.until = -inf
            wanted.notBefore = until

    def isOwn(self, component: str, now: float) -> bool:
        """True if this gateway serves a component."""
        wanted = self._wanted.get(component)
        return wanted is not None and now < wanted.lease.until

    def owner(self, component: str) -> Owner | None:
        """Return the process in the row of a component, when it was last seen."""
        wanted = self._wanted.get(component)
        return None if wanted is None or wanted.row is None else wanted.row.owner

    def isKept(self, component: str) -> bool:
        """True if a session in the database keeps a component for a former owner."""
        wanted = self._wanted.get(component)
        return wanted is not None and wanted.tries >= _MAX_TRIES

    def turn(self, now: float) -> Turn:
        """Return what to ask of the table now, once in C{TICK} seconds."""
        free = self._free(now)
        isDue = bool(free) or now >= self._renewAt
        renew, release = [], []
        for component in sorted(self._rows):
            wanted = self._wanted.get(component)
            if wanted is None or now < wanted.notBefore:
                release.append(component)
            elif isDue or wanted.lease.until == -inf:
                renew.append(component)
        if isDue and not free:
            # A tick may come a little early.
            self._renewAt = now + RENEW_EVERY - TICK / 2
        return Turn(
            renew=tuple(renew),
            take=tuple(row for row in free.values() if row is not None),
            claim=tuple(component for component, row in free.items() if row is None),
            release=tuple(release),
        )

    def _free(self, now: float) -> dict[str, Row | None]:
        """
        Return the component to take now, with its row. A gateway takes one in each turn, in an order of its own,
        and waits for each one that it has: so the components are spread over the gateways, when these start and
        when one of them ends. Those that could not be taken come last.
        """
        courtesy = min(_MAX_COURTESY, TICK * len(self._rows))
        for component in sorted(self._wanted, key=lambda each: (self._wanted[each].tries, self._order(each))):
            wanted = self._wanted[component]
            if component not in self._rows and self._isKnown and now >= wanted.notBefore:
                wait = 0.0 if wanted.row is None else wanted.row.wait
                if now - wanted.since >= wait + courtesy:
                    return {component: wanted.row}
        return {}

    def _order(self, component: str) -> bytes:
        return blake2b(f"{self.own.run} {component}".encode(), digest_size=8).digest()

    def mayTake(self, now: float) -> bool:
        """True if the next turn may take a component."""
        return bool(self._free(now))

    def renewNow(self) -> None:
        """The next turn renews, also if the last renewal was a short time ago."""
        self._renewAt = -inf

    def leave(self) -> Turn:
        """Want no component any longer; return the last turn."""
        components = tuple(sorted(self._wanted.keys() | self._rows))
        for component in components:
            self.remove(component)
        return Turn(release=components)

    def answered(self, turn: Turn, rows: Iterable[Row], askedAt: float, now: float) -> list[Change]:
        """
        Note the whole table after a turn.

        @param askedAt: the time before the transaction; all that it renews counts from there.
        @param now: the time after it.
        """
        changes: list[Change] = self.expired(now)
        renewed, until = set(turn.renewed), askedAt + turn.wait - (WAITS_FOR - SERVES_FOR)
        found = {row.component: row for row in rows}
        self._rows = {component for component, row in found.items() if row.owner.run == self.own.run}
        for component, wanted in self._wanted.items():
            row, before = found.get(component), wanted.row
            if row != before or not self._isKnown:
                wanted.since, wanted.tries = now, 0
            wanted.row = row
            if row is not None and row in turn.take:
                wanted.tries += 1
                if wanted.tries == _MAX_TRIES:
                    changes.append(Kept(component, row.owner))
            if row is not None and component in self._rows:
                if component in renewed and now < until and now >= wanted.notBefore:
                    if wanted.lease.until == -inf:
                        former = None if before is None or before.owner.run == self.own.run else before.owner
                        changes.append(Taken(component, former))
                    wanted.lease.until = until
                    # Nobody takes the component before that time.
                    wanted.lease.silentAt = askedAt + turn.wait
            elif wanted.lease.until != -inf:
                wanted.lease.until = wanted.lease.silentAt = -inf
                changes.append(Lost(component, None if row is None else row.owner))
            elif row is not None and (before is None or before.owner != row.owner):
                changes.append(Waits(component, row.owner))
        self._isKnown = True
        return changes

    def expired(self, now: float) -> list[Change]:
        """Return the components whose leases have ended because they were not renewed."""
        changes: list[Change] = []
        for component, wanted in self._wanted.items():
            if wanted.lease.until != -inf and now >= wanted.lease.until:
                wanted.lease.until = -inf
                changes.append(Lost(component, None))
        return changes
