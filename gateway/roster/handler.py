"""
Refreshes users who come online, and keeps track of online users.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.jid import JID
from wokkel.disco import DiscoFeature, DiscoIdentity
from wokkel.iwokkel import IDisco
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.interfaces import IStatusProvider
from gateway.metrics import IMetrics, IMetricsProvider, names
from gateway.reports import StatusItem
from gateway.roster.apply import Applier
from gateway.roster.core import Finished
from gateway.roster.refresher import Refresher
from gateway.stream.backoff import Backoff
from gateway.stream.latest import keepLatest
from gateway.stream.stanzas import Stanza

# Seconds without a refresh for a user whose roster is too large to be read.
_TOO_LARGE_PAUSE = 3_600.0

# Seconds until a failed refresh is repeated: the first time, and at most.
_FIRST_PAUSE, _MAX_PAUSE = 2.0, 300.0

# Users whose last refresh is remembered, who are online, and whose refresh is postponed to their next login;
# resources of each user.
_MAX_USERS = 100_000
_MAX_RESOURCES = 100

# Refreshes of one user at a time: one under way, and one that follows it.
_MAX_PENDING = 2


@define(eq=False)
class _LastRefresh:
    """
    The last refresh of a user.

    @ivar begun: time at which it began.
    @ivar pausedUntil: until this time, presence causes no refresh of the user.
    @ivar pending: number of the user's refreshes that have not ended.
    """

    begun: float = -inf
    pausedUntil: float = -inf
    pending: int = 0


@define(eq=False)
class _Retry:
    """
    The next try for a user whose refresh has failed.

    @ivar call: C{None} until the first try is scheduled.
    """

    call: IDelayedCall | None = None
    isForced: bool = False
    backoff: Backoff = field(factory=lambda: Backoff(_FIRST_PAUSE, _MAX_PAUSE))


@implementer(IMetricsProvider, IStatusProvider)
class PresenceWatcher(XMPPHandler):
    """
    Reads the presence feed (XEP-0356 section 7), and refreshes users at each login and at changes of status. A
    failed refresh is repeated while the user is online. Reports for the refresher as well.

    @param minInterval: seconds between two refreshes of a user that changes of status cause.
    @param hasPresenceFeed: returns true if the server grants the presence feed.
    @param isFeedComplete: true if the feed also has the users who are online when the component connects, and each
        end of a session. ejabberd sends neither, so there a login may look like a change of status.
    @param takeFresh: returns true if a client that comes online, given by its full JID, was just sent a fresh
        roster.
    """

    _log = Logger()

    def __init__(
        self,
        domain: str,
        refresher: Refresher,
        minInterval: float,
        clock: IReactorTime,
        hasPresenceFeed: Callable[[], bool],
        isFeedComplete: bool = True,
        takeFresh: Callable[[str], bool] = lambda jid: False,
    ) -> None:
        super().__init__()
        self._domain = domain
        self._refresher = refresher
        self._minInterval = minInterval
        self._clock = clock
        self._hasPresenceFeed = hasPresenceFeed
        self._isFeedComplete = isFeedComplete
        self._takeFresh = takeFresh
        self._last: OrderedDict[str, _LastRefresh] = OrderedDict()
        self._online: dict[str, set[str]] = {}
        self._postponed: dict[str, bool] = {}
        self._retries: dict[str, _Retry] = {}
        self._due: dict[str, IDelayedCall] = {}

    def connectionLost(self, reason: Failure) -> None:
        """Forget the online users: the server sends them again, but not those who have left meanwhile."""
        super().connectionLost(reason)
        for name in list(self._online):
            self._onOffline(name)

    def report(self) -> Iterator[StatusItem]:
        yield from self._refresher.report()

    def measure(self, metrics: IMetrics) -> None:
        self._refresher.measure(metrics, self._clock.seconds)
        metrics.gauge(*names.ROSTER_ONLINE).setFunction(lambda: len(self._online))

    def onPresence(self, presence: Stanza) -> None:
        """A resource has become available or unavailable. It may belong to a contact on another domain."""
        local, domain, resource = jids.split(presence.sender or "")
        if domain != self._domain or not local:
            return
        if presence.type is None:
            self._onAvailable(local, resource)
        elif presence.type == "unavailable" and local in self._online:
            self._online[local].discard(resource)
            if not self._online[local]:
                self._onOffline(local)

    def isOffline(self, name: str, isForced: bool = False) -> bool:
        """
        True if the online users are known, and the user is not among them.

        @param isForced: unused; L{postpone} has the same signature.
        """
        isKnown = self._isFeedComplete and len(self._online) < _MAX_USERS and self._hasPresenceFeed()
        return isKnown and name not in self._online

    def postpone(self, name: str, isForced: bool) -> bool:
        """
        Postpone the refresh of a user who is not online to the next login. It is forced if this one is.

        @return: false if the user is to be refreshed now.
        """
        if not self.isOffline(name) or (name not in self._postponed and len(self._postponed) >= _MAX_USERS):
            return False
        self._postponed[name] = isForced or self._postponed.get(name, False)
        return True

    def _onAvailable(self, name: str, resource: str) -> None:
        if name not in self._online and len(self._online) < _MAX_USERS:
            self._online[name] = set()
        resources = self._online.get(name, set())
        isLogin = resource not in resources
        if len(resources) < _MAX_RESOURCES:
            resources.add(resource)
        now = self._clock.seconds()
        last = self._last.get(name) or _LastRefresh()
        if now < last.pausedUntil:
            return
        wait = last.begun + self._minInterval - now
        if isLogin and self._takeFresh(f"{name}@{self._domain}/{resource}") and name not in self._postponed:
            last.begun = now
            keepLatest(self._last, name, last, _MAX_USERS)
        elif isLogin or wait <= 0:
            self._refresh(name, self._postponed.pop(name, False))
        elif not self._isFeedComplete and name in self._online and name not in self._due:
            self._due[name] = self._clock.callLater(wait, self._refresh, name, False)

    def _refresh(self, name: str, isForced: bool) -> None:
        self._cancelDue(name)
        last = self._last.get(name) or _LastRefresh()
        keepLatest(self._last, name, last, _MAX_USERS)
        if last.pending >= _MAX_PENDING and not isForced:
            # The refresh that has not begun yet is sufficient.
            return
        last.begun = self._clock.seconds()
        last.pending += 1
        self._refresher.refresh(name, isForced).addCallback(self._onRefreshed, name, last, isForced)

    def _onRefreshed(self, finished: Finished, name: str, last: _LastRefresh, isForced: bool) -> None:
        last.pending -= 1
        if finished.isTooLarge:
            last.pausedUntil = self._clock.seconds() + _TOO_LARGE_PAUSE
        for written, reason in islice(finished.skipped.items(), 1):
            self._log.warn(
                "{name}@{domain} came online; {count} {were} skipped, for example {written}: {reason}",
                event="roster.contacts_skipped",
                name=name,
                domain=self._domain,
                count=len(finished.skipped),
                were="contact was" if len(finished.skipped) == 1 else "contacts were",
                written=json.dumps(written),
                reason=reason,
            )
        # An unknown user is not an error, and a roster that is too large stays so.
        mayPass = bool(finished.reason) and not finished.isUnknown and not finished.isTooLarge
        if mayPass and name not in self._online:
            if isForced and len(self._postponed) < _MAX_USERS:
                self._postponed[name] = True
        elif mayPass:
            self._scheduleRetry(finished.reason, name, isForced)
        else:
            self._cancelRetry(name)
            if finished.isTooLarge:
                self._warn(name, f"{finished.reason}; presence of the user causes no refresh for an hour")

    def _scheduleRetry(self, reason: str, name: str, isForced: bool) -> None:
        retry = self._retries.get(name)
        if retry is None:
            self._warn(name, f"{reason}; the refresh is repeated while the user is online")
            retry = self._retries[name] = _Retry()
        elif retry.call is not None and retry.call.active():
            retry.isForced = retry.isForced or isForced
            return
        retry.isForced = isForced
        retry.call = self._clock.callLater(retry.backoff.next(), self._retry, name)

    def _retry(self, name: str) -> None:
        self._refresh(name, self._retries[name].isForced)

    def _cancelRetry(self, name: str) -> bool:
        """Cancel the next try for a user; return true if it was to be forced."""
        retry = self._retries.pop(name, None)
        if retry is not None and retry.call is not None and retry.call.active():
            retry.call.cancel()
        return retry is not None and retry.isForced

    def _cancelDue(self, name: str) -> None:
        due = self._due.pop(name, None)
        if due is not None and due.active():
            due.cancel()

    def _onOffline(self, name: str) -> None:
        del self._online[name]
        self._cancelDue(name)
        if self._cancelRetry(name) and len(self._postponed) < _MAX_USERS:
            self._postponed[name] = True

    def _warn(self, name: str, reason: str) -> None:
        self._log.warn(
            "{name}@{domain} came online, but the roster was not refreshed: {reason}",
            event="roster.not_refreshed",
            name=name,
            domain=self._domain,
            reason=reason,
        )


class LossWatcher(XMPPHandler):
    """
    Tells a refresher when the connection is lost, because the server may have lost its last changes.

    @param isWanted: returns false if the gateway itself has ended the connection.
    """

    _log = Logger()

    def __init__(self, jid: str, refresher: Refresher, isWanted: Callable[[], bool]) -> None:
        super().__init__()
        self._jid = jid
        self._refresher = refresher
        self._isWanted = isWanted

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if self._isWanted() and (count := self._refresher.serverLost()):
            self._log.info(
                "{component}: the server may have lost the last changes of rosters. Rosters that the next refresh "
                "compares even if their documents are unchanged: {count}",
                event="roster.doubted",
                component=self._jid,
                count=count,
            )


@implementer(IStatusProvider)
class ApplierWatcher(XMPPHandler):
    """
    Tells an applier about the connection, and logs the applier's report when it changes.

    @ivar onServerIdentified: to be called when there is a finding about the server.
    """

    _log = Logger()

    def __init__(self, jid: str, applier: Applier) -> None:
        super().__init__()
        self._jid = jid
        self._applier = applier
        self._lastReport = ""
        applier.onChange = self.onServerIdentified = self._logReport

    def connectionInitialized(self) -> None:
        self._lastReport = ""
        self._applier.connectionMade()
        self._logReport()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._applier.connectionLost()

    def report(self) -> Iterator[StatusItem]:
        yield self._applier.report()

    def _logReport(self) -> None:
        report = str(self._applier.report())
        if report != self._lastReport:
            self._lastReport = report
            level = LogLevel.warn if self._applier.problem else LogLevel.info
            self._log.emit(
                level, "{component}: {report}", event="roster.applies", component=self._jid, report=report
            )


@implementer(IDisco)
class DiscoInfo(XMPPHandler):
    """The component's disco information (XEP-0030), for L{wokkel.disco.DiscoHandler}."""

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        if nodeIdentifier:
            return []
        return [
            DiscoIdentity("component", "generic", "Rosters from a web application"),
            DiscoFeature(ns.DISCO_INFO),
        ]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return []
