"""
How a server is told: by privilege (XEP-0356), or by ejabberd's own HTTP API.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Awaitable
from typing import Any

from treq import content
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web.http_headers import Headers
from twisted.words.protocols.jabber.error import StanzaError

from gateway import jids
from gateway.errors import NotGranted
from gateway.interfaces import IPrivileges, RosterItem
from gateway.roster.core import RefreshFailed
from gateway.stream.link import Link
from gateway.stream.stanzas import route

# How ejabberd's API wants the names of several groups.
_BETWEEN_GROUPS = ";"


class Applier(typing.Protocol):
    """
    One server's rosters. Both fail with L{RefreshFailed}.
    """

    def get(self, user: str) -> Awaitable[list[RosterItem]]:
        """A user's roster; C{user} is a bare JID."""

    def set(self, user: str, item: RosterItem) -> Awaitable[None]:
        """Set one contact, or remove it."""


class PrivilegeApplier:
    """
    By the roster privilege; one iq for each contact.

    @param probes: whether to let two users who may see each other now see each other at once, by probes in their
        names; a server must let the component use them.
    """

    def __init__(self, privileges: IPrivileges, link: Link, probes: bool = False) -> None:
        self._privileges = privileges
        self._link = link
        self._probes = probes

    async def get(self, user: str) -> list[RosterItem]:
        items: list[RosterItem] = await _inWords(self._privileges.getRoster(user), "the roster could not be read")
        return items

    async def set(self, user: str, item: RosterItem) -> None:
        await _inWords(self._privileges.setRoster(user, [item]), f"{item.jid} could not be set")
        if self._probes and jids.split(item.jid)[1] == jids.split(user)[1]:
            if item.subscription in ("to", "both"):
                self._probe(user, item.jid)
            if item.subscription in ("from", "both"):
                self._probe(item.jid, user)

    def _probe(self, asking: str, asked: str) -> None:
        self._link.sendRaw(b"<presence%b type='probe'/>" % route(asking, asked))


async def _inWords(done: Deferred[Any], what: str) -> Any:
    try:
        return await done
    except NotGranted as error:
        raise RefreshFailed(f"{what}: {error}") from error
    except StanzaError as error:
        raise RefreshFailed(f"{what}: the server says {error.condition}") from error


class EjabberdApplier:
    """
    By ejabberd's HTTP API (mod_http_api, mod_admin_extra).

    @param url: where it is, as C{http://127.0.0.1:5280/api}.
    @param timeout: seconds for each call.
    """

    def __init__(self, url: str, client: HTTPClient, reactor: Any, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._client = client
        self._reactor = reactor
        self._timeout = timeout

    async def get(self, user: str) -> list[RosterItem]:
        local, domain, _ = jids.split(user)
        found = await self._call("get_roster", {"user": local, "server": domain}, "the roster could not be read")
        try:
            return _read(found)
        except (KeyError, TypeError, AttributeError) as error:
            raise RefreshFailed("the roster could not be read: ejabberd's answer is not one") from error

    async def set(self, user: str, item: RosterItem) -> None:
        local, domain, _ = jids.split(user)
        contact, host, _ = jids.split(item.jid)
        whose = {"localuser": local, "localhost": domain, "user": contact, "host": host}
        what = f"{item.jid} could not be set"
        if item.subscription == "remove":
            await self._call("delete_rosteritem", whose, what)
            return
        if unwritable := [group for group in item.groups if _BETWEEN_GROUPS in group]:
            raise RefreshFailed(f"{what}: ejabberd's API takes the group {min(unwritable)!r} for several")
        about = {"nick": item.name, "group": _BETWEEN_GROUPS.join(sorted(item.groups)), "subs": item.subscription}
        await self._call("add_rosteritem", {**whose, **about}, what)

    async def _call(self, command: str, arguments: dict[str, str], what: str) -> Any:
        asking: Deferred[Any] = ensureDeferred(self._ask(command, arguments))
        asking.addTimeout(self._timeout, self._reactor, _late)
        try:
            code, answer = await asking
        except _Late as error:
            raise RefreshFailed(f"{what}: ejabberd's API did not answer within {self._timeout:g} s") from error
        except Exception as error:
            raise RefreshFailed(f"{what}: ejabberd's API cannot be reached: {error}") from error
        if code != 200:
            raise RefreshFailed(f"{what}: ejabberd's API answered {command} with status {code}: {answer!r:.200}")
        if isinstance(answer, int) and answer:
            raise RefreshFailed(f"{what}: ejabberd's API answered {command} with {answer}")
        return answer

    async def _ask(self, command: str, arguments: dict[str, str]) -> tuple[int, Any]:
        response: Any = await self._client.post(
            f"{self._url}/{command}",
            data=json.dumps(arguments).encode(),
            headers=Headers({"content-type": ["application/json"]}),
            allow_redirects=False,
            reactor=self._reactor,
        )
        data = await content(response)
        try:
            return response.code, json.loads(data)
        except ValueError:
            return response.code, data


class _Late(Exception):
    """The time is up."""


def _late(outcome: object, timeout: float) -> Any:
    raise _Late


def _read(rows: list[dict[str, Any]]) -> list[RosterItem]:
    """
    A roster as C{get_roster} has it: before 24 a contact has a row for each group, since then a list of them.
    """
    about: dict[str, dict[str, Any]] = {}
    groups: dict[str, set[str]] = {}
    for row in rows:
        about[row["jid"]] = row
        names = row["groups"] if "groups" in row else [row["group"]]
        groups.setdefault(row["jid"], set()).update(name for name in names if name)
    return [
        RosterItem(jid=jid, name=row["nick"], groups=frozenset(groups[jid]), subscription=row["subscription"])
        for jid, row in about.items()
    ]
