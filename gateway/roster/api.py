"""
Rosters of ejabberd, by its HTTP API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any

from attrs import evolve
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers

from gateway.addresses import jids
from gateway.config.tables import elided
from gateway.http.agent import Unusable, collected
from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.reports import StatusItem
from gateway.roster.apply import cannotSet
from gateway.roster.failures import RefreshFailed
from gateway.roster.members import Members
from gateway.roster.visibility import isSameDomain

# Bytes of an answer of ejabberd's API. A roster has about 300 for each contact and group.
_MAX_BYTES = 32 * 1024 * 1024

# Seconds without calls after one that was not answered in time, while no other call is answered.
_SILENCE = 10.0

# Separator of group names in ejabberd's API before 24.02.
_BETWEEN_GROUPS = ";"
_BAD_REQUEST = 400
# Statuses of any command if the API does not exist, or does not allow this machine.
_UNUSABLE = (401, 403, 404, 405)
_REMEDY = " (for the listener, modules and api_permissions that it needs, see docs/roster.md)"


class EjabberdApplier:
    """
    Reads and sets rosters by ejabberd's HTTP API (mod_http_api, mod_admin_extra).

    @param url: address of the API, such as C{http://127.0.0.1:5281/api}.
    @param timeout: seconds for each call.
    @param pieces: runs long computations.
    @param isOver: returns true if another gateway may serve the component by now; then no call is made.
    """

    def __init__(
        self,
        url: str,
        client: HTTPClient,
        reactor: Any,
        timeout: float,
        pieces: Pieces,
        isOver: Callable[[], bool] = lambda: False,
    ) -> None:
        self._isOver = isOver
        self._pieces = pieces
        self._url = url.rstrip("/")
        self._client = client
        self._reactor = reactor
        self._timeout = timeout
        self.onChange: Callable[[], object] = lambda: None
        self.problem = ""
        # Number of calls that were answered.
        self._answered = 0
        # Until this time no call is made: each would wait for its timeout, one user after another.
        self._silentUntil = 0.0
        # Groups are a list since 24.02, and a string before that. Each version refuses the other form, so the form
        # that was accepted last is tried first.
        self._listsGroups = True

    async def get(self, user: str) -> list[RosterItem]:
        local, domain, _ = jids.split(user)
        about = {"user": local, "server": domain}
        found = await self._call("get_roster", domain, about, "the roster could not be read")
        try:
            return await self._pieces.run(_readRoster(found))
        except (KeyError, TypeError, AttributeError) as error:
            raise RefreshFailed("the roster could not be read: ejabberd's answer is invalid") from error

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        if item.subscription != "remove":
            await self._add(user, item)
            return
        if before.subscription != "none" and isSameDomain(user, item.jid):
            # Otherwise ejabberd would end the contact's subscriptions as well (RFC 6121 section 2.5), and only the
            # application decides about these. The groups do not matter now, and some cannot be written.
            await self._add(user, evolve(before, subscription="none", groups=frozenset()))
        domain = jids.split(user)[1]
        await self._call("delete_rosteritem", domain, _addresses(user, item.jid), f"{item.jid} could not be set")

    def connectionMade(self) -> None:
        """Nothing to do: the first call shows whether the API can be used."""

    def connectionLost(self) -> None:
        self.problem = ""
        self._silentUntil = 0.0

    def onLoopback(self) -> None:
        """Nothing to do: a request to the API is never delegated."""

    def report(self) -> StatusItem:
        if self.problem:
            return cannotSet(self.problem)
        return StatusItem("roster.way", "rosters are set by ejabberd's HTTP API", {"way": "ejabberd-api"})

    async def _add(self, user: str, item: RosterItem) -> None:
        domain = jids.split(user)[1]
        what = f"{item.jid} could not be set"
        about = {**_addresses(user, item.jid), "nick": item.name, "subs": item.subscription}
        asList = self._listsGroups
        try:
            await self._call("add_rosteritem", domain, {**about, **_groups(item, asList, what)}, what)
        except _Refused as refused:
            other = _groups(item, not asList, what)
            try:
                await self._call("add_rosteritem", domain, {**about, **other}, what)
            except _Refused:
                # The form of the groups is not the reason.
                raise refused from None
            self._listsGroups = not asList

    async def _call(self, command: str, domain: str, arguments: Mapping[str, object], what: str) -> Any:
        if self._isOver():
            raise RefreshFailed(f"{what}: another gateway may serve the component by now")
        done = self._answered
        if self._reactor.seconds() < self._silentUntil:
            raise ApiUnusable(f"{what}: {self.problem}")
        try:
            answer = await self._checkedCall(command, domain, arguments)
        except ApiUnusable as failure:
            if self._answered == done:
                # No call was answered meanwhile, so the API is down, not just one call late.
                self._setProblem(str(failure))
                if isinstance(failure, _Silent):
                    self._silentUntil = self._reactor.seconds() + _SILENCE
            raise ApiUnusable(f"{what}: {failure}") from failure
        except RefreshFailed as failure:
            self._setProblem("")
            raise type(failure)(f"{what}: {failure}") from failure
        self._setProblem("")
        return answer

    def _setProblem(self, problem: str) -> None:
        if not problem:
            self._answered += 1
            self._silentUntil = 0.0
        isOther = bool(problem) != bool(self.problem)
        self.problem = problem
        if isOther:
            self.onChange()

    async def _checkedCall(self, command: str, domain: str, arguments: Mapping[str, object]) -> Any:
        waiting: Deferred[Any] = ensureDeferred(self._post(command, domain, arguments))
        waiting.addTimeout(self._timeout, self._reactor, _raiseTimeout)
        try:
            code, answer = await waiting
        except ApiUnusable:
            raise
        except Unusable as error:
            raise RefreshFailed(f"the answer of ejabberd's API {error}") from error
        except ResponseFailed as error:
            raise ApiUnusable("the answer of ejabberd's API is incomplete") from error
        except Exception as error:
            raise ApiUnusable(f"ejabberd's API cannot be reached: {elided(str(error))}") from error
        if code != 200:
            kind = _Refused if code == _BAD_REQUEST else ApiUnusable if code in _UNUSABLE else RefreshFailed
            # A dictionary of ejabberd has a sentence, and numbers for programs.
            reason = answer.get("message", answer) if isinstance(answer, dict) else answer
            remedy = _REMEDY if code in _UNUSABLE else ""
            raise kind(f"ejabberd's API answered {command} with status {code}: {reason!s:.200}{remedy}")
        if isinstance(answer, int) and answer:
            raise RefreshFailed(f"ejabberd's API answered {command} with {answer}")
        return answer

    async def _post(self, command: str, domain: str, arguments: Mapping[str, object]) -> tuple[int, Any]:
        response: Any = await self._client.post(
            f"{self._url}/{command}",
            data=json.dumps(arguments).encode(),
            # ejabberd logs a warning for each request to a host that it does not serve.
            headers=Headers({"content-type": ["application/json"], "host": [domain]}),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        data = await collected(response.original, _MAX_BYTES)
        try:
            return response.code, await self._pieces.run(_parseJson(data))
        except (ValueError, RecursionError):
            return response.code, data


def _parseJson(data: bytes) -> Generator[None, None, Any]:
    """Parse JSON. A list is parsed in pieces, because a roster may have megabytes."""
    members = Members(data.decode("utf-8-sig"))
    if members.opening != "[":
        return json.loads(data)
    rows: list[Any] = []
    for member in members:
        if member is not None:
            rows.append(member[1])
        yield
    return rows


def _addresses(user: str, contact: str) -> dict[str, str]:
    """Return the API's arguments for the two JIDs."""
    (local, domain, _), (name, host, _) = jids.split(user), jids.split(contact)
    return {"localuser": local, "localhost": domain, "user": name, "host": host}


def _groups(item: RosterItem, asList: bool, what: str) -> dict[str, object]:
    """
    Return the API's argument for a contact's groups.

    @raise RefreshFailed: if the groups cannot be written in this form.
    """
    names = sorted(item.groups)
    if asList:
        return {"groups": names}
    if unwritable := [name for name in names if _BETWEEN_GROUPS in name]:
        raise RefreshFailed(f"{what}: this ejabberd's API reads the group {unwritable[0]!r} as several groups")
    return {"group": _BETWEEN_GROUPS.join(names)}


class ApiUnusable(RefreshFailed):
    """The API does not answer, or does not allow this machine. Other commands would fail, too."""


class _Silent(ApiUnusable):
    """The API has not answered in time."""


class _Refused(RefreshFailed):
    """The API refuses these arguments."""


def _raiseTimeout(outcome: object, timeout: float) -> Any:
    raise _Silent(f"ejabberd's API did not answer within {timeout:g} s")


def _readRoster(rows: list[dict[str, Any]]) -> Generator[None, None, list[RosterItem]]:
    """
    Read the answer of C{get_roster}, in pieces. Before ejabberd 24 a contact has a row for each group, since then
    one row with a list of groups.
    """
    about: dict[str, dict[str, Any]] = {}
    groups: dict[str, set[str]] = {}
    for row in rows:
        about[row["jid"]] = row
        names = row["groups"] if "groups" in row else [row["group"]]
        groups.setdefault(row["jid"], set()).update(name for name in names if name)
        yield
    items: list[RosterItem] = []
    for jid, row in about.items():
        items.append(
            RosterItem(jid=jid, name=row["nick"], groups=frozenset(groups[jid]), subscription=row["subscription"])
        )
        yield
    return items
