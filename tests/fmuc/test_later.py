"""Mirrors with users whose configuration has changed: the room is told when they join anew."""

from __future__ import annotations

from typing import Any

from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.profiles import BROADBAND, HF
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.testing import MemoryServer
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS
from tests.fmuc.test_resuming import ResumeCase, Stored


class LaterTests(ResumeCase):
    """A reload, or a restart, with another configuration."""

    def change(self, site: Stored, way: tuple[Dialect, Mode], **options: Any) -> None:
        """Restart the mirror with other options; nobody sees anything of it."""
        site._way, site.options = way, options
        site.kill(HERE)
        site.start(HERE)
        self.assertEqual(site.shown, [])

    def mode(self, site: Stored) -> Mode:
        federation = site.mirror.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        return federation.uplink.node.mode.current

    def reported(self, site: Stored) -> list[str]:
        """Return the lines of the status about it, which is no problem."""
        handler = RoomsHandler(site.mirror.rooms)
        handler.setHandlerParent(MemoryServer("mirror.example").link)
        found = list(handler.report())
        self.assertFalse(any(each.isProblem for each in found))
        return [str(each) for each in found if each.name == "rooms.later"]

    def joinAnew(self, site: Stored) -> list[str]:
        """The room forgets the mirror, which then joins anew; return what has crossed."""
        site.kill(ABOVE)
        site._stored[ABOVE].clear()
        site.passed()
        site.start(ABOVE)
        site.join(OWN, "own")
        site.say(ANN, "x")
        site.wait(40)
        self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)
        return site.passed()

    def test_mode(self) -> None:
        """
        XEP-0289: the mode is a part of the first join, so that the old one stays until then, and messages are shown
        once; the status and the log say so. In the ProtoXEP each message tells it.
        """
        for replica in (True, False):
            site = Stored(Dialect.XEP_0289, replica)
            before, after = (Mode.REPLICA, Mode.PRIMARY) if replica else (Mode.PRIMARY, Mode.REPLICA)
            self.change(site, (Dialect.XEP_0289, after))
            line = "mirrors with users that keep the earlier mode until they join anew: 1"
            self.assertEqual(self.reported(site), [line])
            self.assertIs(self.mode(site), before)
            self.assertHealthy(site)
            # Another restart does not change it.
            site.kill(HERE)
            site.start(HERE)
            self.assertEqual((self.reported(site), self.mode(site)), ([line], before))
            crossed = self.joinAnew(site)
            self.assertEqual(any("<replica/>" in each for each in crossed), after is Mode.REPLICA)
            self.assertEqual((self.reported(site), self.mode(site)), ([], after))
            self.assertEqual(site.node.mode, FederationMode(after, after))
            self.assertHealthy(site)
            site = Stored(Dialect.PROTOXEP, replica)
            self.change(site, (Dialect.PROTOXEP, after))
            self.assertEqual((self.reported(site), self.mode(site)), ([], after))
            self.assertHealthy(site)

    def test_profile(self) -> None:
        """The mirror's own part of a new profile applies at once, the room's part when the mirror joins anew."""
        for dialect, replica in WAYS:
            site = Stored(dialect, replica)
            way = dialect, Mode.REPLICA if replica else Mode.PRIMARY
            self.change(site, way, profile=HF, keep=300)
            line = "mirrors with users that keep the earlier profile and keep until they join anew: 1"
            self.assertEqual(self.reported(site), [line])
            federation = site.mirror.rooms.federation(HERE)
            assert federation is not None and federation.uplink is not None
            self.assertIs(federation.uplink.node.profile, HF)
            self.assertIs(site.node.profile, BROADBAND)
            self.joinAnew(site)
            self.assertEqual((self.reported(site), site.node.profile), ([], HF))

    def test_left(self) -> None:
        """The first join after all users have left tells everything."""
        site = Stored(Dialect.XEP_0289, True)
        self.change(site, (Dialect.PROTOXEP, Mode.PRIMARY))
        line = "mirrors with users that keep the earlier protocol and mode until they join anew: 1"
        self.assertEqual(self.reported(site), [line])
        for who, nick in ((ANN, "ann"), (BEN, "ben")):
            site.leave(who, nick)
        for who, nick in ((ANN, "ann"), (BEN, "ben")):
            site.join(who, nick)
        self.assertEqual((self.reported(site), self.mode(site)), ([], Mode.PRIMARY))
        self.assertIs(site.node.dialect, Dialect.PROTOXEP)
        self.assertIs(site.state, UplinkState.JOINED)
        self.assertHealthy(site)


del ResumeCase
