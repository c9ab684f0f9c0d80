"""A gateway whose PostgreSQL server is restarted, and stopped for some seconds, under load."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import scenario
from tests.live.database import AFTER, AWAY, BEFORE, MIRRORED, SHARED, DatabaseOutage
from tests.live.rosters import RosterCase
from tests.live.servers import Prosody
from tests.state.cluster import cluster


class DatabaseTests(RosterCase, SynchronousTestCase):
    """On Prosody: the gateway's side is the same on each server."""

    serverClass = Prosody
    hasTwin = False

    @scenario(60)
    async def test_restart(self) -> None:
        """During a restart of the server requests wait: none fails, and all are stored."""
        cluster()
        outage = DatabaseOutage(self)
        await outage.run(0, 2)
        for key, got in outage.got.items():
            self.assertEqual(set(got.seconds), {"result"}, (key, str(got)))

    @scenario(90)
    async def test_away(self) -> None:
        """While the server is away for longer than requests wait, each gets an error in time; later all goes on."""
        cluster()
        outage = DatabaseOutage(self)
        await outage.run(15, 8)
        for (kind, part), got in outage.got.items():
            if kind == "proxied request":
                self.assertEqual(set(got.seconds), {"result"}, (kind, part))
            # A mirror repeats what its room has not accepted.
            bound = 25 if kind == MIRRORED else 15
            for seconds in got.seconds.values():
                self.assertLess(max(seconds), bound, (kind, part, str(got)))
        # No other gateway can have taken its requests over.
        for part in (BEFORE, AWAY, AFTER):
            self.assertNotIn("resource-constraint", outage.got[SHARED, part].seconds)
        for kind in (SHARED, "message to a room"):
            self.assertIn("internal-server-error", outage.got[kind, AWAY].seconds)
        self.assertIn("internal-server-error", outage.got["private storage, set", AWAY].seconds)
        self.assertIn("result", outage.got["message to a room", AFTER].seconds)
