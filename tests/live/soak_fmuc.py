"""
The fault run of mirrors, in its long form: C{make soak-fmuc}.

52 users of two sites talk in two rooms until they have sent 4,000 messages: rooms of the gateway, ordinary rooms of
one server, or of both. The link fails fifteen times; each gateway is killed twice, and each server once. The
variable SEED repeats a run.
"""

from __future__ import annotations

import sys
import time

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.link.core import Side
from tests.live.case import scenario
from tests.live.federation import FederationCase
from tests.live.link_forms import Form
from tests.live.link_storm import LinkStorm, Scale, seedOr
from tests.live.servers import Ejabberd, NewerEjabberd, Prosody

LONG = Scale(
    occupants=26,
    messages=4_000,
    faults=3,
    kills=2,
    servers=(Side.A, Side.B),
    shortest=3.0,
    longest=40.0,
    rest=4.0,
    pause=0.12,
)


class Soak(FederationCase):
    """A mix-in: the scenarios, for one pair of servers."""

    accounts = LONG.accounts
    hasTwin = False

    @scenario(1_500)
    async def test_s2s(self) -> None:
        """Over s2s."""
        await self.run_(Form.OWN, False)

    @scenario(1_500)
    async def test_direct(self) -> None:
        """Over a direct link of the gateways."""
        await self.run_(Form.OWN, True)

    @scenario(1_500)
    async def test_oneEnd(self) -> None:
        """With ordinary rooms at one end, over s2s."""
        await self.run_(Form.ONE_END, False)

    @scenario(1_500)
    async def test_bothEnds(self) -> None:
        """With ordinary rooms at both ends, over a direct link."""
        await self.run_(Form.BOTH_ENDS, True)

    async def run_(self, form: Form, isDirect: bool) -> None:
        """Carry out one run."""
        names = f"{self.server.name} - {self.far.name}, {form.name}, {'direct link' if isDirect else 's2s'}"

        def report(line: str) -> None:
            sys.stdout.write(f"{names}: {line}\n")
            sys.stdout.flush()

        # ejabberd loses the last messages of its archive with its process (docs/fmuc.md).
        servers = {Side.A: self.server, Side.B: self.far}
        lossy = {each.home for each in form.value if each.backing and isinstance(servers[each.home], Ejabberd)}
        scale = evolve(LONG, servers=tuple(side for side in LONG.servers if side not in lossy))
        report("")
        await LinkStorm(self, form, scale, seedOr(int(time.time())), isDirect, report).run()


class ProsodyEjabberdSoak(Soak, SynchronousTestCase):
    """Rooms at Prosody, mirrors at ejabberd."""

    serverClass, mirrorClass = Prosody, Ejabberd


class NewerEjabberdProsodySoak(Soak, SynchronousTestCase):
    """Rooms at the newer ejabberd, mirrors at the newer Prosody."""

    serverClass, mirrorClass = NewerEjabberd, Prosody
