"""The plan of a fault run: faults of a link and ends of processes, in an order that a seed repeats."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from random import Random

from attrs import frozen

from tests.link.core import Become, Cut, LinkState, Shape, Side, Step, Way

FREE = Shape(Way())
# A link by radio.
SLOW = Shape(Way(2_400, 1.5))
UP, HOLE, DOWN = map(Become, LinkState)


class Fault(Enum):
    """Faults of a link, for operators."""

    RESET = "connections reset"
    DOWN = "link down"
    HOLE = "black hole"
    STALE = "black hole, then reset"
    SLOW = "2,400 bit/s"


# A slow link lasts longer than other faults.
_SLOWER = 3
# Steps at the begin of a fault, and at its end. A reset takes no time.
_STEPS: dict[Fault, tuple[Sequence[Step], Sequence[Step]]] = {
    Fault.RESET: ((Cut(),), ()),
    Fault.DOWN: ((DOWN,), (UP,)),
    Fault.HOLE: ((HOLE,), (UP,)),
    Fault.STALE: ((HOLE,), (Cut(), UP)),
    Fault.SLOW: ((SLOW,), (FREE,)),
}


@frozen
class Victim:
    """A process that is killed: the server of a side, or its gateway."""

    side: Side
    isServer: bool

    def __str__(self) -> str:
        return f"{'server' if self.isServer else 'gateway'} {self.side.value}"


@frozen(kw_only=True)
class Round:
    """
    One fault of the link. While it lasts, one process may be killed.

    @ivar seconds: length of the fault.
    @ivar killAt: seconds from its begin until the process is killed.
    @ivar away: seconds until it is started again; it may be longer than the fault.
    @ivar seed: of everything else that happens in this round.
    """

    fault: Fault
    seconds: float
    victim: Victim | None
    killAt: float
    away: float
    seed: int

    @property
    def begin(self) -> Sequence[Step]:
        """Return the steps at its begin."""
        return _STEPS[self.fault][0]

    @property
    def end(self) -> Sequence[Step]:
        """Return the steps at its end."""
        return _STEPS[self.fault][1]

    def __str__(self) -> str:
        killed = f"; after {self.killAt:.1f} s {self.victim} killed, for {self.away:.1f} s" if self.victim else ""
        return f"{self.fault.value} for {self.seconds:.1f} s{killed}"


def plan(seed: int, faults: int, victims: Sequence[Victim], shortest: float, longest: float) -> list[Round]:
    """
    Return a plan, the same for each seed.

    @param faults: number of faults of each kind.
    @param victims: processes that are killed, in any order: not more than there are faults.
    @param shortest: seconds of a fault, at least.
    @param longest: seconds of a fault, at most; a slow link lasts three times as long.
    """
    random = Random(seed)
    kinds = list(Fault) * faults
    random.shuffle(kinds)
    killed: list[Victim | None] = [*victims, *[None] * (len(kinds) - len(victims))]
    random.shuffle(killed)
    rounds = []
    for kind, victim in zip(kinds, killed, strict=True):
        seconds = random.uniform(shortest, longest) * (_SLOWER if kind is Fault.SLOW else 1)
        killAt, away = random.uniform(0, seconds), random.uniform(0, shortest)
        seeds = random.getrandbits(32)
        rounds.append(Round(fault=kind, seconds=seconds, victim=victim, killAt=killAt, away=away, seed=seeds))
    return rounds
