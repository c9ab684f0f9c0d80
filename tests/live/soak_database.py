"""The long form of C{tests.live.test_postgresql}, with the table of docs/postgresql.md: C{make soak-database}."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import scenario
from tests.live.database import DatabaseOutage
from tests.live.rosters import RosterCase
from tests.live.servers import Prosody
from tests.state.cluster import cluster

STOPS = {"restart": 0.0, "30 s": 30.0}


class DatabaseSoak(RosterCase, SynchronousTestCase):
    """A restart, and a stop for 30 seconds."""

    serverClass = Prosody
    hasTwin = False

    @scenario(300)
    async def test_soak(self) -> None:
        """Nothing that was acknowledged is lost, and each requester got an answer."""
        cluster()
        for name, seconds in STOPS.items():
            outage = DatabaseOutage(self)
            await outage.run(seconds, 15)
            rows = "\n".join(outage.rows())
            sys.stdout.write(f"\n{name}:\n{rows}\nstored though refused: {outage.unknown}\n")
            for gateway in self._gateways:
                gateway.stop()
