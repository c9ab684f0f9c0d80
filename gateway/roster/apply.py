"""
How a server is told: by privilege (XEP-0356), or by ejabberd's own HTTP API.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Awaitable, Generator, Mapping
from typing import Any

from attrs import evolve
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.words.protocols.jabber.error import StanzaError

from gateway import jids
from gateway.errors import ANSWERS, NotGranted, TooLarge
from gateway.interfaces import IPrivileges, RosterItem
from gateway.pieces import Pieces
from gateway.roster.core import RosterTooLarge
from gateway.roster.document import RefreshFailed
from gateway.roster.members import Members
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza, route
from gateway.tables import elided
from gateway.web import Unusable, collected

# Users of whom it is known where they are, and at how many resources: a contact from elsewhere may show any number.
_MOST_USERS = 100_000
_MOST_RESOURCES = 100

# What the link says in place of a server that does not.
_OWN_WORDS = {
    "remote-server-timeout": "the server did not answer in time",
    "remote-server-not-found": "the connection to the server was lost",
    "resource-constraint": "too many requests wait for the server",
}

# What to do where privileges are of no use.
_USE_API = "an ejabberd sets rosters by its HTTP API: set api under [roster], see docs/roster.md"
# What ejabberd before 24.10 answers to each roster that is set by privilege.
_NO_SET = "internal-server-error"

# Bytes of an answer of ejabberd's API: a roster has some 300 for each contact and group.
_MOST_BYTES = 32 * 1024 * 1024

# How ejabberd's API before 24.02 wants the names of several groups.
_BETWEEN_GROUPS = ";"
_BAD_REQUEST = 400


_VERIFIED = "rosters are set by privilege; the server keeps subscriptions"


class Applier(typing.Protocol):
    """
    One server's rosters. Both fail with L{RefreshFailed}.
    """

    def get(self, user: str) -> Awaitable[list[RosterItem]]:
        """A user's roster; C{user} is a bare JID."""

    def set(self, user: str, item: RosterItem, before: RosterItem) -> Awaitable[None]:
        """
        Set one contact, or remove it.

        @param before: what the server has.
        """

    def connectionLost(self) -> None:
        """Forget what was found out about the server: it may be another one the next time."""

    def loopedBack(self) -> None:
        """The server has delegated a request of this one's to the component that it came from."""

    def report(self) -> str:
        """For the status page: how rosters are set."""


def _sees(item: RosterItem) -> bool:
    """Whether the user gets the contact's presence."""
    return item.subscription in ("to", "both")


def _isSeen(item: RosterItem) -> bool:
    """Whether the contact gets the user's."""
    return item.subscription in ("from", "both")


def _isNeighbour(user: str, contact: str) -> bool:
    """Whether the application decides about the contact's roster, too."""
    return jids.split(contact)[1] == jids.split(user)[1]


class PrivilegeApplier:
    """
    By the roster privilege; one iq for each contact.

    ejabberd 24.10 and newer answers a set with a result and keeps the contact's old subscription. So the roster is
    read back after the first set of a connection that changes a subscription.

    @ivar useless: why nothing can be set, in words for the operator; empty where that is not known.
    @param probes: whether to show two users of the server who may see each other now that they are there, and that
        they are gone when they may not any more, in their names; a server must let the component use them.
    """

    _log = Logger()

    def __init__(self, privileges: IPrivileges, link: Link, probes: bool = False) -> None:
        self._privileges = privileges
        self._link = link
        self._probes = probes
        self.useless = ""
        self._isVerified = False
        # Who is there, by bare JID: full JIDs, those seen last at the end.
        self._there: dict[str, dict[str, None]] = {}
        if probes:
            privileges.watchPresence(self._seen)

    async def get(self, user: str) -> list[RosterItem]:
        items: list[RosterItem] = await self._inWords(
            self._privileges.getRoster(user), "the roster could not be read"
        )
        return items

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        what = f"{item.jid} could not be set"
        if self.useless:
            raise RefreshFailed(f"{what}: {self.useless}")
        await self._inWords(self._privileges.setRoster(user, [item]), what)
        if not self._isVerified and item.subscription not in ("remove", before.subscription):
            await self._verify(user, item, before)
        if self._probes and _isNeighbour(user, item.jid):
            self._show(item.jid, user, _sees(before), _sees(item))
            self._show(user, item.jid, _isSeen(before), _isSeen(item))

    async def _verify(self, user: str, item: RosterItem, before: RosterItem) -> None:
        """
        Compare what was set with what the server has now.

        @raise RefreshFailed: if the subscription is another.
        """
        found = [each.subscription for each in await self.get(user) if jids.bare(each.jid) == item.jid]
        if found == [item.subscription]:
            if not self._isVerified:
                self._log.info("{jid}: {report}.", jid=self._link.jid, report=_VERIFIED)
            self._isVerified = True
            return
        there = found[0] if found else "no such contact"
        failure = f"{item.jid} was set with {item.subscription}, and the server has {there}"
        if found != [before.subscription]:
            # Somebody else may have changed it meanwhile.
            raise RefreshFailed(failure)
        self._isUseless(f"the server takes rosters by privilege and does not keep subscriptions; {_USE_API}")
        raise RefreshFailed(f"{failure}: {self.useless}")

    def loopedBack(self) -> None:
        self._isUseless(f"the server delegates the component's own requests for rosters to it; {_USE_API}")

    def _isUseless(self, why: str) -> None:
        if not self.useless:
            self._log.warn("{jid}: no roster can be set by privilege: {why}.", jid=self._link.jid, why=why)
        self.useless = why

    def connectionLost(self) -> None:
        self.useless, self._isVerified = "", False

    def report(self) -> str:
        if self.useless:
            return f"rosters cannot be set: {self.useless}"
        return _VERIFIED if self._isVerified else "rosters are set by privilege; subscriptions are not verified yet"

    async def _inWords(self, done: Deferred[Any], what: str) -> Any:
        try:
            return await done
        except (NotGranted, StanzaError) as error:
            if isinstance(error, StanzaError) and error.text == ANSWERS[TooLarge].text:
                # These are the link's own words.
                raise RosterTooLarge(f"{what}: it is larger than max_stanza_size under [server] allows") from error
            raise RefreshFailed(f"{what}: {self._why(error)}") from error

    def _why(self, error: NotGranted | StanzaError) -> str:
        if self.useless:
            return self.useless
        if not self._link.ready and self._link.trouble:
            return f"there is no connection to the server: {self._link.trouble}"
        if isinstance(error, NotGranted):
            return str(error)
        if error.condition == _NO_SET:
            return f"the server says {error.condition}; {_USE_API}"
        return _OWN_WORDS.get(error.condition) or f"the server says {error.condition}"

    def _show(self, seen: str, seeing: str, before: bool, now: bool) -> None:
        if now and not before:
            # The server answers for whom it may.
            self._link.sendRaw(b"<presence%b type='probe'/>" % route(seeing, seen))
        elif before and not now:
            for resource in sorted(self._there.get(seen, ())):
                self._link.sendRaw(b"<presence%b type='unavailable'/>" % route(resource, seeing))

    def _seen(self, presence: Stanza) -> None:
        """A resource of a user, or of a contact, has become available or unavailable."""
        resource = presence.sender or ""
        user = jids.bare(resource)
        if presence.type is None:
            if user in self._there or len(self._there) < _MOST_USERS:
                resources = self._there.setdefault(user, {})
                resources.pop(resource, None)
                resources[resource] = None
                if len(resources) > _MOST_RESOURCES:
                    # ejabberd does not tell of one whose connection was lost.
                    del resources[next(iter(resources))]
        elif presence.type == "unavailable" and user in self._there:
            self._there[user].pop(resource, None)
            if not self._there[user]:
                del self._there[user]


class EjabberdApplier:
    """
    By ejabberd's HTTP API (mod_http_api, mod_admin_extra).

    @param url: where it is, as C{http://127.0.0.1:5280/api}.
    @param timeout: seconds for each call.
    @param pieces: runs what takes long.
    """

    def __init__(self, url: str, client: HTTPClient, reactor: Any, timeout: float, pieces: Pieces) -> None:
        self._pieces = pieces
        self._url = url.rstrip("/")
        self._client = client
        self._reactor = reactor
        self._timeout = timeout
        # Groups are a list since 24.02, and a string before. Each version refuses the other form; the one that was
        # accepted last is tried first.
        self._listsGroups = True

    async def get(self, user: str) -> list[RosterItem]:
        local, domain, _ = jids.split(user)
        about = {"user": local, "server": domain}
        found = await self._call("get_roster", domain, about, "the roster could not be read")
        try:
            return await self._pieces.run(_reading(found))
        except (KeyError, TypeError, AttributeError) as error:
            raise RefreshFailed("the roster could not be read: ejabberd's answer is not one") from error

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        if item.subscription != "remove":
            await self._add(user, item)
            return
        if before.subscription != "none" and _isNeighbour(user, item.jid):
            # Else the server would end the contact's subscriptions as well: only the application may (RFC 6121
            # section 2.5). What groups it is in does not matter any more, and not all can be written.
            await self._add(user, evolve(before, subscription="none", groups=frozenset()))
        domain = jids.split(user)[1]
        await self._call("delete_rosteritem", domain, _whose(user, item.jid), f"{item.jid} could not be set")

    def connectionLost(self) -> None:
        """The API is no part of the component's connection."""

    def loopedBack(self) -> None:
        """Nor are its requests."""

    def report(self) -> str:
        return "rosters are set by ejabberd's HTTP API"

    async def _add(self, user: str, item: RosterItem) -> None:
        domain = jids.split(user)[1]
        what = f"{item.jid} could not be set"
        about = {**_whose(user, item.jid), "nick": item.name, "subs": item.subscription}
        asList = self._listsGroups
        try:
            await self._call("add_rosteritem", domain, {**about, **_groups(item, asList, what)}, what)
        except _Refused as refused:
            other = _groups(item, not asList, what)
            try:
                await self._call("add_rosteritem", domain, {**about, **other}, what)
            except _Refused:
                # The groups are not the reason.
                raise refused from None
            self._listsGroups = not asList

    async def _call(self, command: str, domain: str, arguments: Mapping[str, object], what: str) -> Any:
        asking: Deferred[Any] = ensureDeferred(self._ask(command, domain, arguments))
        asking.addTimeout(self._timeout, self._reactor, _late)
        try:
            code, answer = await asking
        except _Late as error:
            raise RefreshFailed(f"{what}: ejabberd's API did not answer within {self._timeout:g} s") from error
        except Unusable as error:
            raise RefreshFailed(f"{what}: the answer of ejabberd's API {error}") from error
        except ResponseFailed as error:
            raise RefreshFailed(f"{what}: the answer of ejabberd's API broke off") from error
        except Exception as error:
            raise RefreshFailed(f"{what}: ejabberd's API cannot be reached: {elided(str(error))}") from error
        if code != 200:
            kind = _Refused if code == _BAD_REQUEST else RefreshFailed
            raise kind(f"{what}: ejabberd's API answered {command} with status {code}: {answer!r:.200}")
        if isinstance(answer, int) and answer:
            raise RefreshFailed(f"{what}: ejabberd's API answered {command} with {answer}")
        return answer

    async def _ask(self, command: str, domain: str, arguments: Mapping[str, object]) -> tuple[int, Any]:
        response: Any = await self._client.post(
            f"{self._url}/{command}",
            data=json.dumps(arguments).encode(),
            # An ejabberd logs a warning for each request to a host that it does not serve.
            headers=Headers({"content-type": ["application/json"], "host": [domain]}),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        data = await collected(response.original, _MOST_BYTES)
        try:
            return response.code, await self._pieces.run(_parsing(data))
        except (ValueError, RecursionError):
            return response.code, data


def _parsing(data: bytes) -> Generator[None, None, Any]:
    """JSON, in pieces if it is a list: a roster has megabytes."""
    members = Members(data.decode("utf-8-sig"))
    if members.opening != "[":
        return json.loads(data)
    rows: list[Any] = []
    for member in members:
        if member is not None:
            rows.append(member[1])
        yield
    return rows


def _whose(user: str, contact: str) -> dict[str, str]:
    """Two JIDs as the API wants them."""
    (local, domain, _), (name, host, _) = jids.split(user), jids.split(contact)
    return {"localuser": local, "localhost": domain, "user": name, "host": host}


def _groups(item: RosterItem, asList: bool, what: str) -> dict[str, object]:
    """
    The argument for a contact's groups.

    @raise RefreshFailed: if they cannot be written so.
    """
    names = sorted(item.groups)
    if asList:
        return {"groups": names}
    if unwritable := [name for name in names if _BETWEEN_GROUPS in name]:
        raise RefreshFailed(f"{what}: this ejabberd's API takes the group {unwritable[0]!r} for several")
    return {"group": _BETWEEN_GROUPS.join(names)}


class _Refused(RefreshFailed):
    """The API does not take these arguments."""


class _Late(Exception):
    """The time is up."""


def _late(outcome: object, timeout: float) -> Any:
    raise _Late


def _reading(rows: list[dict[str, Any]]) -> Generator[None, None, list[RosterItem]]:
    """
    A roster as C{get_roster} has it, in pieces: before 24 a contact has a row for each group, since then a list of
    them.
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
