"""All services of two gateways while everything around them fails: the short form of L{tests.live.soak_all}."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import scenario
from tests.live.link_storm import Scale as Talk
from tests.live.link_storm import seedOr
from tests.live.servers import Ejabberd, Prosody
from tests.live.soak import Scale, Soak, SoakCase, accounts

TALK = Talk(occupants=8, messages=100, faults=0, kills=0, servers=(), shortest=0, longest=0, rest=0, pause=0.1)
SHORT = Scale(talk=TALK, seconds=0.0, rest=0.3, away=1.5)


class SoakTests(SoakCase, SynchronousTestCase):
    """Prosody and ejabberd."""

    serverClass, mirrorClass = Prosody, Ejabberd
    accounts = accounts(TALK)

    @scenario(120)
    async def test_soak(self) -> None:
        """
        Nothing that was accepted is lost or comes twice, each request is answered once, descriptors are closed,
        and no stall takes 100 ms.
        """
        lines: list[str] = []
        soak = Soak(self, SHORT, seedOr(1), lines.append)
        try:
            await soak.run()
        except BaseException:
            sys.stderr.write("\n".join([*lines, ""]))
            raise
        for measures in soak.measures.values():
            self.assertLess(measures.longest, 0.1)
