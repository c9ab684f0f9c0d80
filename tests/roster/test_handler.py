"""Users who come online."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.roster import handler
from gateway.roster.core import Finished
from gateway.roster.handler import LossWatcher, PresenceWatcher
from tests.proxy.support import stanza


class FakeRefresher:
    """
    Refreshes at once, or when the test says.

    @ivar waiting: refreshes under way; C{None} if each ends at once.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.forced: list[bool] = []
        self.outcome = Finished()
        self.waiting: list[Deferred[Finished]] | None = None
        self.losses = 0

    def refresh(self, name: str, isForced: bool = False) -> Deferred[Finished]:
        self.asked.append(name)
        self.forced.append(isForced)
        if self.waiting is None:
            return succeed(self.outcome)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def serverLost(self) -> int:
        self.losses += 1
        return 7


class WatcherTests(SynchronousTestCase):
    """The presence feed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refresher: Any = FakeRefresher()
        self.hasPresenceFeed = True
        self.watcher = self.made(True)

    def made(self, isFeedComplete: bool) -> PresenceWatcher:
        clock: Any = self.clock
        return PresenceWatcher("h", self.refresher, 60.0, clock, lambda: self.hasPresenceFeed, isFeedComplete)

    def see(self, sender: str, kind: str = "") -> None:
        self.watcher.onPresence(stanza(f"<presence from='{sender}'{kind and f' type={kind!r}'}/>"))

    def test_online(self) -> None:
        """
        A user of the domain who comes online is refreshed. Users of other domains, and those who leave, are not.
        """
        for sender, kind in (("john@h/a", ""), ("mary@other/a", ""), ("h", ""), ("mary@h/a", "unavailable")):
            self.see(sender, kind)
        self.assertEqual(self.refresher.asked, ["john"])

    def test_interval(self) -> None:
        """A change of status causes a refresh at most once in an interval."""
        for seconds in (0, 0, 10, 49, 1, 30, 29, 1):
            self.clock.advance(seconds)
            self.see("john@h/a")
        # At 0, at 60 and at 120 seconds.
        self.assertEqual(self.refresher.asked, ["john"] * 3)

    def test_login(self) -> None:
        """Each login causes a refresh, of another resource or the same one, even right after the last one."""
        for sender, kind, count in (
            ("john@h/a", "", 1),
            ("john@h/b", "", 2),
            ("john@h/a", "", 2),
            ("john@h/a", "unavailable", 2),
            ("john@h/a", "", 3),
            ("john@h/b", "", 3),
            ("john@h/c", "unavailable", 3),
            ("john@h/b", "unavailable", 3),
            ("john@h/a", "unavailable", 3),
            ("john@h/a", "", 4),
        ):
            self.see(sender, kind)
            self.assertEqual(len(self.refresher.asked), count, sender)

    def test_fresh(self) -> None:
        """A login whose client has a fresh roster causes no refresh, unless one was postponed."""
        fresh = {"john@h/a", "john@h/b", "mary@h/a"}
        clock: Any = self.clock
        self.watcher = PresenceWatcher("h", self.refresher, 60.0, clock, lambda: True, True, fresh.__contains__)
        for sender in ("john@h/a", "john@h/b", "john@h/a"):
            self.see(sender)
        self.assertEqual(self.refresher.asked, [])
        self.see("john@h/c")
        self.assertEqual(self.refresher.asked, ["john"])
        self.watcher.postpone("mary", True)
        self.see("mary@h/a")
        self.assertEqual((self.refresher.asked, self.refresher.forced), (["john", "mary"], [False, True]))
        # The interval for changes of status starts then.
        self.see("lucy@h/a")
        fresh.add("lucy@h/b")
        self.clock.advance(59)
        self.see("lucy@h/b")
        self.clock.advance(2)
        self.see("lucy@h/a")
        self.assertEqual(self.refresher.asked.count("lucy"), 1)
        self.clock.advance(60)
        self.see("lucy@h/a")
        self.assertEqual(self.refresher.asked.count("lucy"), 2)

    def test_looksLikeStatus(self) -> None:
        """If a login may look like a change of status, an early one counts at the end of the interval."""
        self.watcher = self.made(False)
        times: list[float] = []
        for second in range(400):
            asked = len(self.refresher.asked)
            if second in (0, 10, 59, 150, 151, 250):
                self.see("john@h/a")
            times += [second] * (len(self.refresher.asked) - asked)
            asked = len(self.refresher.asked)
            self.clock.advance(1)
            times += [second + 1] * (len(self.refresher.asked) - asked)
        self.assertEqual(times, [0, 60, 150, 210, 270])
        self.assertEqual((self.clock.getDelayedCalls(), self.watcher._due), ([], {}))
        self.assertFalse(self.watcher.isOffline("mary"))

    def test_earlier(self) -> None:
        """A detected login cancels the waiting refresh, and so does the end of the user's sessions."""
        self.watcher = self.made(False)
        for resource in "aab":
            self.see(f"john@h/{resource}")
        self.assertEqual((len(self.refresher.asked), self.clock.getDelayedCalls()), (2, []))
        self.see("john@h/b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for resource in "ab":
            self.see(f"john@h/{resource}", "unavailable")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reconnected(self) -> None:
        """A login while the link was down counts as a login."""
        self.see("john@h/a")
        self.lose()
        self.see("john@h/a")
        self.assertEqual(self.refresher.asked, ["john"] * 2)

    def lose(self) -> None:
        self.watcher.connectionLost(Failure(ConnectionDone()))

    def test_pending(self) -> None:
        """Many logins cause one refresh under way, and one after it."""
        waiting = self.refresher.waiting = []
        for _ in range(20):
            self.see("john@h/a")
            self.see("john@h/a", "unavailable")
        self.assertEqual(len(self.refresher.asked), 2)
        waiting.pop(0).callback(Finished())
        for number in range(20):
            self.see(f"john@h/{number}")
        self.assertEqual(len(self.refresher.asked), 3)

    def test_again(self) -> None:
        """A failed refresh is repeated while the user is online, at growing intervals, and logged once."""
        self.refresher.outcome = Finished(reason="status 500")
        times: list[float] = []
        with capturedLogs() as logs:
            self.see("john@h/a")
            for _ in range(2_000):
                asked = len(self.refresher.asked)
                self.clock.advance(1)
                times += [self.clock.seconds()] * (len(self.refresher.asked) - asked)
        self.assertEqual(times[:8], [2, 6, 14, 30, 62, 126, 254, 510])
        self.assertEqual({later - sooner for sooner, later in pairwise(times[8:])}, {300})
        [event] = logs
        self.assertEqual(event["reason"], "status 500; the refresh is repeated while the user is online")
        self.refresher.outcome = Finished()
        self.clock.advance(300)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # After a success, the next failure counts as the first.
        self.refresher.outcome = Finished(reason="status 500")
        asked = len(self.refresher.asked)
        self.see("john@h/b")
        self.clock.advance(2)
        self.assertEqual(len(self.refresher.asked), asked + 2)

    def test_againOnce(self) -> None:
        """Changes of status and further logins start no second series of tries; a success ends the series."""
        self.refresher.outcome = Finished(reason="x")
        for name in ("a", "b", "c"):
            self.see(f"john@h/{name}")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.refresher.outcome = Finished()
        self.see("john@h/d")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forcedMeanwhile(self) -> None:
        """If a forced refresh fails while the next try waits, that try is forced."""
        self.watcher.postpone("john", True)
        waiting = self.refresher.waiting = []
        self.see("john@h/a")
        self.see("john@h/b")
        for each in reversed(waiting):
            each.callback(Finished(reason="x"))
        self.clock.advance(2)
        self.assertEqual(self.refresher.forced, [True, False, True])

    def test_gone(self) -> None:
        """After the last resource has left or the link is lost, it is not tried again."""
        self.refresher.outcome = Finished(reason="x")
        for go in (lambda: self.see("john@h/a", "unavailable"), self.lose):
            self.see("john@h/a")
            self.see("john@h/b")
            self.see("john@h/b", "unavailable")
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            go()
            self.assertEqual(self.clock.getDelayedCalls(), [])
        waiting = self.refresher.waiting = []
        self.see("john@h/a")
        self.lose()
        waiting.pop().callback(Finished(reason="x"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unknown(self) -> None:
        """If the application does not know the user, the refresh is not repeated, and nothing is logged."""
        self.refresher.outcome = Finished(reason="x", isUnknown=True)
        with capturedLogs() as logs:
            self.see("john@h/a")
        self.assertEqual((self.clock.getDelayedCalls(), logs), ([], []))

    def test_skipped(self) -> None:
        """Skipped contacts are logged, with the first one as example."""
        self.refresher.outcome = Finished(skipped={"a\n@x": "odd", "b@x": "odd"})
        with capturedLogs() as logs:
            self.see("john@h/a")
        [text] = [str(formatEvent(event)) for event in logs]
        self.assertEqual(text, 'john@h came online; 2 contacts were skipped, for example "a\\n@x": odd')
        self.refresher.outcome = Finished(skipped={"b@x": "odd"})
        with capturedLogs() as logs:
            self.see("mary@h/a")
        [text] = [str(formatEvent(event)) for event in logs]
        self.assertEqual(text, 'mary@h came online; 1 contact was skipped, for example "b@x": odd')

    def test_tooLarge(self) -> None:
        """A user whose roster is too large is not refreshed for an hour, not even at logins; others are."""
        self.refresher.outcome = Finished(reason="x", isTooLarge=True)
        self.see("john@h/a")
        self.refresher.outcome = Finished()
        self.see("mary@h/a")
        for number in range(59):
            self.clock.advance(60)
            self.see(f"john@h/{number}")
            self.see("mary@h/a")
        self.assertEqual(self.refresher.asked.count("john"), 1)
        self.assertEqual(self.refresher.asked.count("mary"), 60)
        self.clock.advance(60)
        self.see("john@h/a")
        self.assertEqual(self.refresher.asked.count("john"), 2)

    def test_bounded(self) -> None:
        """The number of remembered users is bounded."""
        self.patch(handler, "_MAX_USERS", 2)
        for name in ("a", "b", "c", "a"):
            self.see(f"{name}@h/x")
            self.see(f"{name}@h/x", "unavailable")
        self.assertEqual(self.refresher.asked, ["a", "b", "c", "a"])
        self.assertEqual((len(self.watcher._last), len(self.watcher._online)), (2, 0))

    def test_postponed(self) -> None:
        """A user who is offline is refreshed at the next login, once, and by force if that was asked for."""
        self.assertEqual([self.watcher.postpone("john", each) for each in (False, True, False)], [True] * 3)
        self.assertTrue(self.watcher.postpone("mary", False))
        self.assertEqual(self.refresher.asked, [])
        for sender in ("john@h/a", "mary@h/a", "john@h/b"):
            self.see(sender)
        self.assertEqual(self.refresher.asked, ["john", "mary", "john"])
        self.assertEqual(self.refresher.forced, [True, False, False])
        self.assertEqual(self.watcher._postponed, {})
        self.assertFalse(self.watcher.postpone("john", True))

    def test_offline(self) -> None:
        """A user counts as offline only if the server sends the presence of online users."""
        self.see("john@h/a")
        for kind in ("subscribe", "unsubscribed", "probe", "error"):
            self.see("john@h/a", kind)
        self.assertEqual([self.watcher.isOffline(each) for each in ("john", "mary")], [False, True])
        self.hasPresenceFeed = False
        self.assertEqual([self.watcher.isOffline(each) for each in ("john", "mary")], [False, False])
        self.assertFalse(self.watcher.postpone("mary", False))
        self.hasPresenceFeed = True
        self.lose()
        self.assertTrue(self.watcher.isOffline("john"))

    def test_stillOwed(self) -> None:
        """A forced refresh that has not gone well by the time the user goes is owed again."""
        for outcome in (Finished(reason="x"), None):
            self.watcher.postpone("john", True)
            if outcome is None:
                self.refresher.waiting = []
            else:
                self.refresher.outcome = outcome
            self.see("john@h/a")
            self.see("john@h/a", "unavailable")
            for each in self.refresher.waiting or ():
                each.callback(Finished(reason="x"))
            self.assertEqual(self.watcher._postponed, {"john": True})
            self.assertEqual(self.refresher.forced.pop(), True)

    def test_boundedOwed(self) -> None:
        """Only so many wait for their login; further ones are refreshed now."""
        self.patch(handler, "_MAX_USERS", 2)
        found = [self.watcher.postpone(name, False) for name in ("a", "b", "c", "a")]
        self.assertEqual(found, [True, True, False, True])

    def test_boundedOnline(self) -> None:
        """If more users or resources are online than are remembered, no user counts as offline."""
        self.patch(handler, "_MAX_USERS", 2)
        self.patch(handler, "_MAX_RESOURCES", 2)
        for name in ("a", "b", "c"):
            for resource in "xyz":
                self.see(f"{name}@h/{resource}")
        self.assertEqual([len(each) for each in self.watcher._online.values()], [2, 2])
        self.assertFalse(self.watcher.isOffline("c"))


class LossTests(SynchronousTestCase):
    """The end of a connection."""

    def test_lost(self) -> None:
        """The refresher is told if the connection is lost, and not if the gateway ends it; the number is logged."""
        for isWanted, losses, lines in ((True, 1, 1), (False, 0, 0)):
            refresher: Any = FakeRefresher()
            watcher = LossWatcher("rosters.h", refresher, lambda wanted=isWanted: wanted)  # type: ignore[misc]  # a default
            with capturedLogs() as events:
                watcher.connectionLost(Failure(ConnectionDone()))
            self.assertEqual((refresher.losses, len(events)), (losses, lines))
            for event in events:
                self.assertIn("if their documents are unchanged: 7", formatEvent(event) or "")
