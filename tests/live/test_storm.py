"""Rooms while the gateway and the server are killed: the short form of L{tests.live.soak_rooms}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import LiveTests, scenario
from tests.live.servers import Ejabberd, Prosody
from tests.live.storm import Scale, Storm, users

SHORT = Scale(occupants=20, rooms=3, kills=1, terminations=1, restarts=1, leavers=2, pause=2.0, interval=0.6)


class StormTests(LiveTests):
    """A mix-in: the scenario, for one kind of server."""

    accounts = users(SHORT.occupants)

    @scenario(90)
    async def test_storm(self) -> None:
        """
        All messages that were shown are in the archive, in the same order; bans that were answered hold; nobody
        who was there notices anything; absent users are removed; a user who returns reads what was said meanwhile.
        """
        await Storm(self, SHORT).run()


class ProsodyStormTests(StormTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdStormTests(StormTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
