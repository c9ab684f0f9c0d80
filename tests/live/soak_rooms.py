"""
The fault run of rooms, in its long form: C{make soak-rooms}.

100 occupants in 10 rooms talk. The gateway is killed ten times and terminated ten times, the server twice.
"""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import LiveTests, scenario
from tests.live.servers import Ejabberd, Prosody
from tests.live.storm import Scale, Storm, users

LONG = Scale(occupants=100, rooms=10, kills=10, terminations=10, restarts=2, leavers=5, pause=4.0, interval=3.0)


class Soak(LiveTests):
    """A mix-in: the scenario, for one kind of server."""

    accounts = users(LONG.occupants)

    @scenario(900)
    async def test_soak(self) -> None:
        """Nothing that was shown or answered is lost, and nothing is shown twice."""
        sys.stdout.write(f"\n{self.server.name}: {LONG}\n")
        await Storm(self, LONG, self.report).run()

    def report(self, line: str) -> None:
        """Write a line of the report."""
        sys.stdout.write(f"{self.server.name}: {line}\n")
        sys.stdout.flush()


class ProsodySoak(Soak, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdSoak(Soak, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
