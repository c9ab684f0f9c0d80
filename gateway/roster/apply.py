"""
Reading and setting rosters: the port, and the implementation by privilege (XEP-0356).
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.error import StanzaError

from gateway.addresses import jids
from gateway.errors import ERRORS, NotGranted, TooLarge
from gateway.interfaces import IPrivileges, RosterItem
from gateway.reports import StatusItem
from gateway.roster.advice import ejabberdApiAdvice
from gateway.roster.failures import RefreshFailed, RosterTooLarge
from gateway.roster.visibility import Visibility, isSameDomain
from gateway.stream.link import Link
from gateway.stream.survey import Survey

# Conditions that the link answers with if the server does not answer.
_LINK_ERRORS = {
    "remote-server-timeout": "the server did not answer in time",
    "remote-server-not-found": "the connection to the server was lost",
    "resource-constraint": "too many requests wait for the server",
}

# Advice if privileges do not work.
_USE_API = "ejabberd needs its HTTP API: set api under [roster], see docs/roster.md"
# Condition with which ejabberd before 24.10 refuses to set a roster by privilege.
_SET_UNSUPPORTED = "internal-server-error"

_VERIFIED = "rosters are set by privilege; the server keeps subscriptions"
_UNVERIFIED = "rosters are set by privilege; subscriptions are not verified yet"


def cannotSet(problem: str, advice: str = "") -> StatusItem:
    """
    Return the item for an applier that cannot set rosters.

    @param advice: lines of configuration that help, if there are any.
    """
    text = "rosters cannot be set: {problem}" + ("\n{advice}" if advice else "")
    return StatusItem("roster.way", text, {"way": "", "problem": problem, "advice": advice}, isProblem=True)


class Applier(typing.Protocol):
    """
    Port to the rosters of one server. L{get} and L{set} fail with L{RefreshFailed}.

    @ivar onChange: called when the result of L{report} has changed.
    """

    onChange: Callable[[], object]

    @property
    def problem(self) -> str:
        """The reason for which no roster can be set, as text for the operator; empty if there is none."""

    def get(self, user: str) -> Awaitable[list[RosterItem]]:
        """Return a user's roster; C{user} is a bare JID."""

    def set(self, user: str, item: RosterItem, before: RosterItem) -> Awaitable[None]:
        """
        Set one contact, or remove it.

        @param before: the server's current item.
        """

    def connectionMade(self) -> None:
        """The component's connection is ready."""

    def connectionLost(self) -> None:
        """Forget all findings about the server: the next connection may be to another one."""

    def onLoopback(self) -> None:
        """The server has delegated a request of this object to the component that sent it."""

    def report(self) -> StatusItem:
        """Return an item for the log and the status page about the way in which rosters are set."""


class PrivilegeApplier:
    """
    Reads and sets rosters by the roster privilege, with one iq for each contact.

    ejabberd 24.10 and newer answers a set with a result, but keeps the contact's old subscription. So the roster is
    read back after the first set of a connection that changes a subscription.

    @param server: findings about the server.
    @param probes: true to send presence in the users' names when a change of a subscription starts or stops one
        user seeing another. The server must allow the component to use their addresses.
    """

    def __init__(self, privileges: IPrivileges, link: Link, server: Survey, probes: bool = False) -> None:
        self._privileges = privileges
        self._link = link
        self._server = server
        self.onChange: Callable[[], object] = lambda: None
        self.problem = ""
        self._isVerified = False
        self._visibility = Visibility() if probes else None
        if self._visibility is not None:
            privileges.watchPresence(self._visibility.onPresence)

    async def get(self, user: str) -> list[RosterItem]:
        items: list[RosterItem] = await self._translateErrors(
            self._privileges.getRoster(user), "the roster could not be read"
        )
        return items

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        what = f"{item.jid} could not be set"
        if self.problem:
            raise RefreshFailed(f"{what}: {self.problem}")
        visibility = self._visibility if isSameDomain(user, item.jid) else None
        if visibility is None:
            await self._set(user, item, before, what)
            return
        visibility.beginSet(user, item, before)
        try:
            await self._set(user, item, before, what)
        finally:
            visibility.endSet(user, item)
        hasPresenceFeed = self._privileges.permissions(jids.split(user)[1]).feed != "none"
        for presence in visibility.onSet(user, item, before, hasPresenceFeed):
            self._link.sendRaw(presence)

    async def _set(self, user: str, item: RosterItem, before: RosterItem, what: str) -> None:
        await self._translateErrors(self._privileges.setRoster(user, [item]), what)
        if not self._isVerified and item.subscription not in ("remove", before.subscription):
            await self._verify(user, item, before)

    async def _verify(self, user: str, item: RosterItem, before: RosterItem) -> None:
        """
        Compare the item that was set with the server's item.

        @raise RefreshFailed: if the subscription differs.
        """
        found = [each.subscription for each in await self.get(user) if jids.bare(each.jid) == item.jid]
        if found == [item.subscription]:
            self._isVerified = True
            self.onChange()
            return
        there = found[0] if found else "no such contact"
        failure = f"{item.jid} was set to {item.subscription}, but the server has {there}"
        if found != [before.subscription]:
            # A client may have changed the item meanwhile.
            raise RefreshFailed(failure)
        self._setProblem(f"the server accepts rosters by privilege, but does not keep subscriptions; {_USE_API}")
        raise RefreshFailed(f"{failure}: {self.problem}")

    def onLoopback(self) -> None:
        self._setProblem(f"the server delegates the component's own requests for rosters to it; {_USE_API}")

    def _setProblem(self, why: str) -> None:
        self.problem = why
        self.onChange()

    def connectionMade(self) -> None:
        """Nothing to do: the first set shows whether the server keeps subscriptions."""

    def connectionLost(self) -> None:
        self.problem, self._isVerified = "", False
        if self._visibility is not None:
            self._visibility.clear()

    def report(self) -> StatusItem:
        advice = ejabberdApiAdvice(self._link.jid)
        if self.problem:
            return cannotSet(self.problem, advice)
        about = {"way": "privilege", "verified": self._isVerified}
        if self._isVerified:
            return StatusItem("roster.way", _VERIFIED, about)
        if not self._server.isEjabberd:
            return StatusItem("roster.way", _UNVERIFIED, about)
        text = _UNVERIFIED + ", and {server} is not known to keep them\n{advice}"
        about |= {"server": self._server.software or "ejabberd", "advice": advice}
        return StatusItem("roster.way", text, about, isProblem=True)

    async def _translateErrors(self, done: Deferred[Any], what: str) -> Any:
        try:
            return await done
        except (NotGranted, StanzaError) as error:
            if isinstance(error, StanzaError) and error.text == ERRORS[TooLarge].text:
                # The link's own error, not the server's.
                raise RosterTooLarge(f"{what}: it is larger than max_stanza_size under [server] allows") from error
            raise RefreshFailed(f"{what}: {self._explain(error)}") from error

    def _explain(self, error: NotGranted | StanzaError) -> str:
        if self.problem:
            return self.problem
        if not self._link.ready and self._link.trouble:
            return f"there is no connection to the server: {self._link.trouble}"
        if isinstance(error, NotGranted):
            return str(error)
        if error.condition == _SET_UNSUPPORTED:
            return f"the server says {error.condition}; {_USE_API}"
        return _LINK_ERRORS.get(error.condition) or f"the server says {error.condition}"

