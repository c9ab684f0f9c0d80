"""
The fault run of mirrors, in its long form: C{make soak-fmuc}.

52 users of two sites talk in two rooms, one with a mirror in each mode, until they have sent 4,000 messages. The
link fails fifteen times; each gateway is killed twice, and each server once. The variable SEED repeats a run.
"""

from __future__ import annotations

import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.link.core import Side
from tests.live.case import scenario
from tests.live.federation import FederationCase
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
        await self.run_(False)

    @scenario(1_500)
    async def test_direct(self) -> None:
        """Over a direct link of the gateways."""
        await self.run_(True)

    async def run_(self, isDirect: bool) -> None:
        """Carry out one run."""
        names = f"{self.server.name} - {self.far.name}, {'direct link' if isDirect else 's2s'}"

        def report(line: str) -> None:
            sys.stdout.write(f"{names}: {line}\n")
            sys.stdout.flush()

        report("")
        await LinkStorm(self, LONG, seedOr(int(time.time())), isDirect, report).run()


class ProsodyEjabberdSoak(Soak, SynchronousTestCase):
    """Rooms at Prosody, mirrors at ejabberd."""

    serverClass, mirrorClass = Prosody, Ejabberd


class NewerEjabberdProsodySoak(Soak, SynchronousTestCase):
    """Rooms at the newer ejabberd, mirrors at the newer Prosody."""

    serverClass, mirrorClass = NewerEjabberd, Prosody
