"""
C{apply = "auto"} with C{api}: rosters are set by ejabberd's HTTP API, or else by privilege.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime

from gateway.interfaces import RosterItem
from gateway.reports import StatusItem
from gateway.roster.api import ApiUnusable, EjabberdApplier
from gateway.roster.apply import PrivilegeApplier, cannotSet
from gateway.roster.failures import RefreshFailed

# Seconds from the connection to the first call of the API: by then the server has granted its privileges.
_ASK_AFTER = 2.0
# Seconds until the API is tried again while privileges are used.
_RETRY_INTERVAL = 60.0


class AutoApplier:
    """
    Chooses between the API and privileges by trying. The API comes first, because ejabberd does not keep
    subscriptions that are set by privilege. If the API cannot be used, and the server grants rosters and is not
    ejabberd, privileges are used. The API is tried again once a minute, and after each connection.

    @param privilegeProblem: returns the reason for which privileges cannot be used, as text; empty if they can.
    @param testUser: bare JID of the domain whose roster is read as a test of the API.
    """

    def __init__(
        self,
        api: EjabberdApplier,
        privilege: PrivilegeApplier,
        privilegeProblem: Callable[[], str],
        testUser: str,
        clock: IReactorTime,
    ) -> None:
        self._api = api
        self._privilege = privilege
        self._privilegeProblem = privilegeProblem
        self._testUser = testUser
        self._clock = clock
        self._nextTry = 0.0
        self._connections = 0
        self.onChange: Callable[[], object] = lambda: None
        api.onChange = privilege.onChange = self._reportChange

    def _reportChange(self) -> None:
        self.onChange()

    @property
    def _isByApi(self) -> bool:
        return not self._api.problem or bool(self._privilegeProblem())

    async def get(self, user: str) -> list[RosterItem]:
        now = self._clock.seconds()
        if self._isByApi or now >= self._nextTry:
            self._nextTry = now + _RETRY_INTERVAL
            try:
                return await self._api.get(user)
            except ApiUnusable as failure:
                if self._isByApi:
                    reasons = filter(None, (str(failure), self._privilegeProblem()))
                    raise RefreshFailed("; ".join(reasons)) from failure
        return await self._privilege.get(user)

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        await (self._api if self._isByApi else self._privilege).set(user, item, before)

    def connectionMade(self) -> None:
        self._connections += 1
        self._clock.callLater(_ASK_AFTER, self._ask, self._connections)

    def connectionLost(self) -> None:
        self._connections += 1
        self._nextTry = 0.0
        self._api.connectionLost()
        self._privilege.connectionLost()

    def _ask(self, connection: int) -> None:
        """Choose before the first refresh, so that the log and the status page show the choice."""
        if connection == self._connections:
            ensureDeferred(self.get(self._testUser)).addErrback(lambda failure: failure.trap(RefreshFailed))

    def onLoopback(self) -> None:
        self._privilege.onLoopback()

    @property
    def problem(self) -> str:
        if self._isByApi:
            return self._api.problem and f"{self._api.problem}; {self._privilegeProblem()}"
        return ""

    def report(self) -> StatusItem:
        if self._isByApi:
            return cannotSet(self.problem) if self.problem else self._api.report()
        way = self._privilege.report()
        about = {"way": way.values.get("way", ""), "privilege": way, "problem": self._api.problem}
        return StatusItem("roster.way", "{privilege}; the API cannot be used: {problem}", about, way.isProblem)
