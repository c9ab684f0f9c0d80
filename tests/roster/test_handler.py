"""Users who come online."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.roster import handler
from gateway.roster.core import Finished
from gateway.roster.handler import PresenceWatcher
from tests.proxy.support import stanza


class FakeRefresher:
    """Refreshes at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outcome = Finished()

    def refresh(self, name: str, isForced: bool = False) -> Deferred[Finished]:
        self.asked.append(name)
        return succeed(self.outcome)


class WatcherTests(SynchronousTestCase):
    """The presence feed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refresher: Any = FakeRefresher()
        self.watcher = PresenceWatcher("h", self.refresher, 60.0, self.clock)  # type: ignore[arg-type]  # a stand-in

    def see(self, sender: str, kind: str = "") -> None:
        self.watcher.seen(stanza(f"<presence from='{sender}'{kind and f' type={kind!r}'}/>"))

    def test_online(self) -> None:
        """A user of the domain who comes online is refreshed; nobody else is, and nobody who goes."""
        for sender, kind in (("john@h/a", ""), ("mary@other/a", ""), ("h", ""), ("mary@h/a", "unavailable")):
            self.see(sender, kind)
        self.assertEqual(self.refresher.asked, ["john"])

    def test_interval(self) -> None:
        """Not more often than that, however often they come."""
        for seconds in (0, 0, 10, 49, 1, 30, 29, 1):
            self.clock.advance(seconds)
            self.see("john@h/a")
        # At 0, at 60 and at 120 seconds.
        self.assertEqual(self.refresher.asked, ["john"] * 3)

    def test_tooLarge(self) -> None:
        """Whose roster is too large is left alone for an hour; others are not."""
        self.refresher.outcome = Finished(reason="x", isTooLarge=True)
        self.see("john@h/a")
        self.refresher.outcome = Finished(reason="x")
        self.see("mary@h/a")
        for _ in range(59):
            self.clock.advance(60)
            self.see("john@h/a")
            self.see("mary@h/a")
        self.assertEqual(self.refresher.asked.count("john"), 1)
        self.assertEqual(self.refresher.asked.count("mary"), 60)
        self.clock.advance(60)
        self.see("john@h/a")
        self.assertEqual(self.refresher.asked.count("john"), 2)

    def test_bounded(self) -> None:
        """Only so many are remembered."""
        self.patch(handler, "_MOST_USERS", 2)
        for name in ("a", "b", "c", "a"):
            self.see(f"{name}@h/x")
        self.assertEqual(self.refresher.asked, ["a", "b", "c", "a"])
