"""The choice by trying: ejabberd's HTTP API, or else privileges."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.reports import StatusItem
from gateway.roster.api import ApiUnusable
from gateway.roster.auto import AutoApplier
from gateway.roster.failures import RefreshFailed
from gateway.roster.handler import ApplierWatcher

JOHN = "john@example.com"
MARIE = RosterItem(jid="marie@example.com", subscription="both")
NOBODY = RosterItem(jid="marie@example.com")


class FakeApplier:
    """An applier that works, or fails as the test says."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.failure: Exception | None = None
        self.isDown = False
        self.problem = ""
        self.onChange: Any = None
        self.asked: list[str] = []

    async def get(self, user: str) -> list[RosterItem]:
        self.asked.append(user)
        self._setProblem(self.isDown)
        if self.failure is not None:
            raise self.failure
        return []

    def _setProblem(self, isUseless: bool) -> None:
        if isUseless != bool(self.problem):
            self.problem = str(self.failure) if isUseless else ""
            self.onChange()

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        self.asked.append(item.jid)

    def connectionLost(self) -> None:
        self.problem = ""

    def onLoopback(self) -> None:
        self.problem = "looped"

    def report(self) -> StatusItem:
        return StatusItem("roster.way", "by {way}", {"way": self._name})


class AutoTests(SynchronousTestCase):
    """An API and privileges that work or not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.api: Any = FakeApplier("API")
        self.privilege: Any = FakeApplier("privilege")
        self.privilegeProblem = ""
        self.applier = AutoApplier(
            self.api, self.privilege, lambda: self.privilegeProblem, "gateway@example.com", self.clock
        )
        self.watcher = ApplierWatcher("roster.example.com", self.applier)
        self.told: list[tuple[str, str]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "gateway.roster.handler.ApplierWatcher":
            self.told.append((event["log_level"].name, event["report"]))

    def breaks(self) -> None:
        self.api.failure, self.api.isDown = ApiUnusable("no API"), True

    def works(self) -> None:
        self.api.failure, self.api.isDown = None, False

    def ways(self) -> list[str]:
        """Return which appliers read a roster and set a contact."""
        self.api.asked.clear()
        self.privilege.asked.clear()
        self.successResultOf(ensureDeferred(self.applier.get(JOHN)))
        self.successResultOf(ensureDeferred(self.applier.set(JOHN, MARIE, NOBODY)))
        return [
            f"{name} {asked}"
            for name, way in (("api", self.api), ("privilege", self.privilege))
            for asked in way.asked
        ]

    def reason(self) -> str:
        return str(self.failureResultOf(ensureDeferred(self.applier.get(JOHN)), RefreshFailed).value)

    def test_api(self) -> None:
        """The API is the first choice, even if there are privileges."""
        self.assertEqual(self.ways(), [f"api {JOHN}", f"api {MARIE.jid}"])

    def test_privilege(self) -> None:
        """If the API does not answer, privileges are used, and the API is tried again once a minute."""
        self.breaks()
        self.assertEqual(self.ways(), [f"api {JOHN}", f"privilege {JOHN}", f"privilege {MARIE.jid}"])
        self.assertEqual(str(self.applier.report()), "by privilege; the API cannot be used: no API")
        self.assertEqual(self.ways(), [f"privilege {JOHN}", f"privilege {MARIE.jid}"])
        self.clock.advance(61)
        self.assertEqual(self.ways()[0], f"api {JOHN}")
        self.works()
        self.clock.advance(59)
        self.assertEqual(self.ways(), [f"privilege {JOHN}", f"privilege {MARIE.jid}"])
        self.clock.advance(2)
        self.assertEqual(self.ways(), [f"api {JOHN}", f"api {MARIE.jid}"])
        self.assertEqual(str(self.applier.report()), "by API")

    def test_neither(self) -> None:
        """If neither way can be used, both reasons are reported, and nothing is set by privilege."""
        self.breaks()
        self.privilegeProblem = "it is ejabberd"
        for _ in "12":
            self.assertEqual(self.reason(), "no API; it is ejabberd")
        self.assertEqual(self.privilege.asked, [])
        self.assertEqual(str(self.applier.report()), "rosters cannot be set: no API; it is ejabberd")
        # Later findings count.
        self.privilegeProblem = ""
        self.ways()
        self.privilegeProblem = "it keeps no subscriptions"
        self.assertIn("it keeps no subscriptions", self.reason())
        self.works()
        self.assertEqual(self.ways(), [f"api {JOHN}", f"api {MARIE.jid}"])

    def test_otherFailure(self) -> None:
        """A call that fails for another reason does not change the choice."""
        for failure in (RefreshFailed("no such user"), ApiUnusable("late, as others were not")):
            self.api.failure = failure
            self.assertEqual(self.reason(), str(failure))
        self.assertEqual(self.privilege.asked, [])

    def test_told(self) -> None:
        """The choice is made and logged two seconds after the connection, and whenever it changes."""
        self.breaks()
        self.watcher.connectionInitialized()
        self.clock.advance(2)
        self.assertEqual(self.api.asked, ["gateway@example.com"])
        self.assertEqual(self.told, [("info", "by API"), ("info", "by privilege; the API cannot be used: no API")])
        self.works()
        self.clock.advance(60)
        self.ways()
        self.assertEqual(self.told[2:], [("info", "by API")])
        self.breaks()
        self.privilegeProblem = "it is ejabberd"
        self.reason()
        self.applier.onChange()
        self.assertEqual(self.told[3:], [("warn", "rosters cannot be set: no API; it is ejabberd")])

    def test_connectionLost(self) -> None:
        """After a lost connection the choice starts anew, and the pending test of the API is dropped."""
        self.breaks()
        self.ways()
        self.works()
        self.applier.connectionLost()
        self.assertEqual(self.ways()[0], f"api {JOHN}")
        self.api.asked.clear()
        self.applier.connectionMade()
        self.applier.connectionLost()
        self.clock.advance(5)
        self.assertEqual(self.api.asked, [])

    def test_loopback(self) -> None:
        """A loopback concerns privileges alone."""
        self.applier.onLoopback()
        self.assertEqual(self.privilege.problem, "looped")
        self.assertEqual(self.applier.problem, "")
