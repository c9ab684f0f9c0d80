"""Outages of the web application: refreshes wait for it, and fail if it stays away."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.pieces import Pieces
from gateway.roster import fetch
from gateway.roster.batch import Batch
from gateway.roster.failures import RefreshFailed, UserUnknown
from gateway.roster.fetch import Fetched, WebApplication
from gateway.roster.outage import MAX_WAIT, Outage
from gateway.roster.refresher import Refresher
from tests.roster.test_refresher import FakeWorld

DOCUMENT = b"{}"
UNCHANGED = Fetched(None, "1")


class Application(WebApplication):
    """
    An application without a network.

    @ivar outcome: its answer, or the exception that each try raises; C{None} if tries end by their timeout.
    @ivar asked: the time of each try, and the user.
    @ivar most: the largest number of tries at a time.
    """

    def __init__(self, clock: Clock) -> None:
        client: Any = None
        super().__init__("http://h/%s", client, clock, 10.0)
        self.clock = clock
        self.outcome: Fetched | Exception | None = ConnectionRefusedError("refused")
        self.asked: list[tuple[float, str]] = []
        self.open = self.most = 0

    async def _ask(self, name: str, tag: str | None) -> Fetched:
        self.asked.append((self.clock.seconds(), name))
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            if self.outcome is None:
                await Deferred[None]()
            elif isinstance(self.outcome, Exception):
                raise self.outcome
            else:
                return self.outcome
        finally:
            self.open -= 1
        raise AssertionError


class OutageTests(SynchronousTestCase):
    """One application, and many users."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.application = Application(self.clock)
        self.ended: dict[str, str] = {}
        # Nobody waits at the end of a test.
        self.addCleanup(self.wait, 3)
        self.addCleanup(setattr, self.application, "outcome", UNCHANGED)

    def fetch(self, *names: str) -> None:
        for name in names:
            asking = ensureDeferred(self.application.fetch(name))

            def failed(failure: Failure, name: str = name) -> None:
                failure.trap(RefreshFailed)
                self.ended[name] = failure.getErrorMessage()

            def done(answer: Fetched, name: str = name) -> None:
                self.ended[name] = "done"

            asking.addCallbacks(done, failed)

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds * 10))

    def goDown(self) -> None:
        """Let eight users fail."""
        names = [f"down{number}" for number in range(8)]
        self.fetch(*names)
        self.wait(2)
        self.assertEqual(sorted(self.ended), names)
        self.assertIn("3 tries", self.ended["down0"])
        self.application.asked.clear()
        self.application.most = 0
        self.ended.clear()

    def test_turns(self) -> None:
        """During an outage one document is tried at a time, every two seconds, of the users in turns."""
        self.goDown()
        self.fetch("a", "b", "c")
        self.wait(9)
        self.assertEqual((self.ended, self.application.most), ({}, 1))
        self.assertEqual([name for _, name in self.application.asked], ["a", "b", "c", "a"])
        times = [time for time, _ in self.application.asked]
        for earlier, later in pairwise(times):
            self.assertAlmostEqual(later - earlier, 2.0, places=0)

    def test_returns(self) -> None:
        """When the application answers again, for whomever, all who wait get their answers; both is logged."""
        with capturedLogs() as logs:
            self.goDown()
            self.fetch("a", "b", "c")
            self.wait(5)
            self.application.outcome = UNCHANGED
            self.wait(2.1)
        self.assertEqual(self.ended, dict.fromkeys("abc", "done"))
        events = [each["event"] for each in logs if "event" in each]
        self.assertEqual(events, ["roster.application_down", "roster.application_up"])
        self.fetch("d")
        self.assertEqual(self.ended["d"], "done")

    def test_unknown(self) -> None:
        """An answer with an error ends an outage, too."""
        for outcome in (UserUnknown("404"), fetch._Retriable("500", isAnswer=True)):
            self.application.outcome = ConnectionRefusedError("refused")
            self.goDown()
            self.application.outcome = outcome
            self.fetch("a")
            self.wait(4)
            self.assertIn(str(outcome), self.ended.pop("a"))
            self.assertFalse(self.application._outage.isDown)

    def test_staysAway(self) -> None:
        """After a minute all who wait fail, later ones fail at once, and there is one try in two seconds."""
        self.goDown()
        self.fetch(*map(str, range(30)))
        self.wait(MAX_WAIT - 5)
        self.assertEqual(self.ended, {})
        self.wait(8)
        self.assertEqual(len(self.ended), 30)
        self.assertEqual(len(set(self.ended.values())), 1)
        self.assertIn("does not answer for any user: the application cannot be reached: refused", self.ended["0"])
        self.application.asked.clear()
        for number in range(100):
            self.fetch(f"late{number}")
            self.wait(0.1)
        self.wait(0.1)
        self.assertEqual(len(self.ended), 130)
        self.assertLessEqual(len(self.application.asked), 6)
        # The next one comes much later, and is tried at once.
        self.wait(100)
        self.application.outcome = UNCHANGED
        self.fetch("z")
        self.wait(0.1)
        self.assertEqual(self.ended["z"], "done")

    def test_silence(self) -> None:
        """An application that accepts connections, and is silent: the same."""
        self.application.outcome = None
        names = [f"down{number}" for number in range(8)]
        self.fetch(*names)
        self.wait(35)
        self.assertEqual(len(self.ended), 8)
        self.fetch("a", "b")
        self.wait(MAX_WAIT + 20)
        self.assertIn("did not answer within 10 s", self.ended["a"])
        self.assertIn("did not answer within 10 s", self.ended["b"])

    def test_slowUser(self) -> None:
        """Failures of a few users, or with answers to others in between, are no outage."""
        for _ in range(20):
            self.fetch("a", "b")
            self.wait(2)
        self.assertFalse(self.application._outage.isDown)
        for number in range(20):
            self.application.outcome = ConnectionRefusedError("refused")
            self.fetch(f"down{number}", f"down{number}'")
            self.wait(2)
            self.application.outcome = UNCHANGED
            self.fetch("up")
            self.assertFalse(self.application._outage.isDown)

    def test_errors(self) -> None:
        """Statuses from 500 on are answers: each user is tried three times."""
        self.application.outcome = fetch._Retriable("500", isAnswer=True)
        self.fetch(*map(str, range(30)))
        self.wait(2)
        self.assertEqual((len(self.ended), len(self.application.asked)), (30, 90))

    def test_batch(self) -> None:
        """A request for 10,000 users ends soon after the minute, with a reason for each user."""
        world = FakeWorld()
        pieces = Pieces(self.clock)
        refresher = Refresher("h", self.application, world, 32, pieces)
        names = [f"user{number}" for number in range(10_000)]
        refresher.announce(len(names))
        batch = Batch(refresher, pieces, isDry=False, isForced=False)
        running = ensureDeferred(batch.run(names))
        self.wait(MAX_WAIT + 5)
        self.clock.pump([0.000_1] * 10_000)
        self.successResultOf(running)
        self.assertEqual((len(batch._failed), batch.isFailure, refresher.announced), (10_000, True, 0))
        self.assertLess(len(self.application.asked), 150)
        self.assertEqual(world.asked, [])

    def test_manyLogins(self) -> None:
        """As many users as wait for a free slot: they fail one after the other, not inside of each other."""
        self.goDown()
        self.wait(MAX_WAIT)
        refresher = Refresher("h", self.application, FakeWorld(), 4, Pieces(self.clock))
        running = [refresher.refresh(f"user{number}") for number in range(5_000)]
        self.wait(3)
        self.clock.pump([0.000_1] * 6_000)
        self.assertEqual(sum(bool(self.successResultOf(each).reason) for each in running), 5_000)


class RuleTests(SynchronousTestCase):
    """The rules, without an application."""

    def test_users(self) -> None:
        """Eight users count, however often each of them fails; an answer begins anew."""
        outage = Outage()
        for number in range(20):
            outage.onFailure(str(number % 7), "no answer", number)
        self.assertFalse(outage.isDown)
        outage.onFailure("7", "no answer", 20)
        self.assertTrue(outage.isDown)
        self.assertEqual((outage.seconds(20), outage.untilTry(20), outage.untilTry(30)), (20, 2, 0))
        self.assertEqual((outage.isHopeless(59), outage.isHopeless(60)), (False, True))
        outage.onAnswer()
        self.assertFalse(outage.isDown)
        outage.onFailure("8", "no answer", 100)
        self.assertEqual(outage.seconds(101), 1)
