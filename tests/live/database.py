"""
A gateway under load while its PostgreSQL server is restarted or away: what each requester got, and whether what was
acknowledged is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any
from xml.etree.ElementTree import Element

from attrs import define, field

from gateway import ns
from gateway.state.postgresql_session import schemaOf
from tests.live.case import PROXY, PROXY_ALL, ROOMS, proxy
from tests.live.clients import Client, local, newId, untilServed
from tests.live.delegations import STORAGE_GATEWAY
from tests.live.gateway import Gateway
from tests.live.processes import until
from tests.live.rooms import MIRROR, mirrored
from tests.live.rosters import RosterCase, WebApplication
from tests.live.servers import DOMAIN, PRIVILEGED
from tests.state.cluster import cluster

ROOM = f"talk@{ROOMS}"
SHARED = "proxied request, shared = true"
ROSTER, MIRRORED = "refresh of a roster", "message to a mirror"
# Seconds between two requests of a kind, and between two refreshes; seconds that a requester waits.
_EVERY, _REFRESH_EVERY = 0.05, 0.5
_TIMEOUT = 40.0
# The parts of a run.
BEFORE, AWAY, AFTER = "before", "while it is away", "after"


@define
class Got:
    """
    The outcomes of one kind of requests, in one part of a run.

    @ivar seconds: of each request, by its outcome: "result", the condition of an error, or the status of HTTP.
    """

    seconds: dict[str, list[float]] = field(factory=dict)

    def add(self, outcome: str, seconds: float) -> None:
        """Add an outcome."""
        self.seconds.setdefault(outcome, []).append(seconds)

    def __str__(self) -> str:
        return "; ".join(
            f"{len(each)} {outcome}, at most {max(each):.1f} s" for outcome, each in sorted(self.seconds.items())
        )


def outcomeOf(answer: Element) -> str:
    """Return "result", or the condition of an error."""
    if answer.get("type") != "error":
        return "result"
    return local(next(each for each in answer.iter() if each.tag.startswith(f"{{{ns.STANZA_ERRORS}}}")))


class DatabaseOutage:
    """
    One run. The part of a request is that in which it is sent.

    @ivar got: the outcomes by kind and part.
    @ivar unknown: number of refused changes that are stored all the same.
    """

    def __init__(self, case: RosterCase) -> None:
        self._case = case
        self.database = cluster().database()
        self.got: dict[tuple[str, str], Got] = {}
        self.unknown = 0
        self._part = BEFORE
        self._stored: list[str] = []
        self._refused: list[str] = []
        self._shown: list[str] = []
        self._unshown: list[str] = []
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, away: float, seconds: float) -> None:
        """
        Load the gateway before, while and after the server is away.

        @param away: seconds between its stop and its start.
        @param seconds: of load before and after.
        """
        case = self._case
        application = await case.startApplication()
        key = case.folder("key-") / "key"
        key.write_text("0" * 64)
        gateway = await case.startGateway(
            {
                "state": {"url": cluster().url(self.database)},
                **proxy(PROXY),
                **proxy(PROXY_ALL, shared=True, key_file=str(key)),
                f'rooms."{ROOMS}"': {"peers": [MIRROR]},
                f'mirror."{MIRROR}"': {"allow": [ROOMS], "users": [DOMAIN]},
                f'roster."{PRIVILEGED}"': {**case.table(application), **case.applies()},
                f'delegation."{STORAGE_GATEWAY}"': {"servers": [DOMAIN]},
                f'delegation."{STORAGE_GATEWAY}".namespaces."{ns.PRIVATE}"': {"handler": "private-storage"},
            }
        )
        await case.implementing("a")
        alice, bob = await case.user("alice"), await case.user("bob")
        carol = await case.user("carol")
        await untilServed(alice, PROXY)
        await untilServed(alice, PROXY_ALL)
        await case.granted(alice, self._private("<warm xmlns='urn:x'/>"))
        await self._enter(alice, ROOM)
        owner = "http://jabber.org/protocol/muc#owner"
        form = f"<query xmlns='{owner}'><x xmlns='jabber:x:data' type='submit'/></query>"
        await alice.request(ROOM, form, "set")
        await self._enter(carol, mirrored(ROOM))
        application.say("bob", {})
        async with asyncio.timeout(20):
            while (await case.refresh(gateway, "bob"))[0] != 200:
                await asyncio.sleep(0.2)
        loads = [
            asyncio.create_task(self._load(each, seconds))
            for each, seconds in (
                (lambda: self._put(alice), _EVERY),
                (
                    lambda: self._request("private storage, get", bob, None, self._private("<x xmlns='urn:x'/>")),
                    _EVERY,
                ),
                (lambda: self._request("proxied request", bob, PROXY, "<query xmlns='urn:x'/>"), _EVERY),
                (lambda: self._request(SHARED, bob, PROXY_ALL, "<query xmlns='urn:x'/>"), _EVERY),
                (lambda: self._say(alice, ROOM, "message to a room"), _EVERY),
                (lambda: self._say(carol, mirrored(ROOM), MIRRORED), _EVERY),
                (lambda: self._refresh(gateway, application), _REFRESH_EVERY),
            )
        ]
        await asyncio.sleep(seconds)
        self._part = AWAY
        await asyncio.to_thread(cluster().stopFast)
        await asyncio.sleep(away)
        cluster().begin()
        await until(lambda: asyncio.to_thread(cluster().answers), 30, "PostgreSQL accepts connections")
        self._part = AFTER
        await asyncio.sleep(seconds)
        for task in loads:
            task.cancel()
        await asyncio.gather(*self._tasks)
        assert gateway.running()
        await self._check(alice, carol)

    def _private(self, inner: str) -> str:
        return f"<query xmlns='{ns.PRIVATE}'>{inner}</query>"

    async def _enter(self, user: Client, room: str) -> None:
        nick = f"{room}/{user.bare.partition('@')[0]}"
        user.send(f"<presence to='{nick}'><x xmlns='{ns.MUC}'/></presence>")
        await user.expect(lambda each: each.get("from") == nick, "its own presence")

    async def _load(self, request: Callable[[], Coroutine[Any, Any, object]], every: float) -> None:
        while True:
            task = asyncio.create_task(request())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(every)

    async def _request(self, kind: str, user: Client, to: str | None, inner: str, type_: str = "get") -> str:
        part, began = self._part, time.monotonic()
        outcome = outcomeOf(await user.request(to or user.bare, inner, type_, seconds=_TIMEOUT))
        self.got.setdefault((kind, part), Got()).add(outcome, time.monotonic() - began)
        return outcome

    async def _put(self, user: Client) -> None:
        name = f"n{newId()}"
        inner = self._private(f"<{name} xmlns='urn:x'/>")
        outcome = await self._request("private storage, set", user, None, inner, "set")
        (self._stored if outcome == "result" else self._refused).append(name)

    async def _refresh(self, gateway: Gateway, application: WebApplication) -> None:
        part, began = self._part, time.monotonic()
        # Each refresh changes something, so that there is a tag to be stored.
        application.say("bob", {f"contact@{DOMAIN}": newId()})
        code, _ = await self._case.refresh(gateway, "bob", seconds=_TIMEOUT)
        outcome = "result" if code == 200 else f"status {code}"
        self.got.setdefault((ROSTER, part), Got()).add(outcome, time.monotonic() - began)

    async def _say(self, user: Client, room: str, kind: str) -> None:
        part, began, text = self._part, time.monotonic(), newId()
        user.send(f"<message to='{room}' type='groupchat' id='{text}'><body>{text}</body></message>")
        answer = await user.expectId(text, "the message or an error", _TIMEOUT)
        outcome = outcomeOf(answer)
        self.got.setdefault((kind, part), Got()).add(outcome, time.monotonic() - began)
        (self._shown if outcome == "result" else self._unshown).append(text)

    async def _check(self, *users: Client) -> None:
        """Everything that was acknowledged is stored; messages that were shown are stored once."""
        names = [row[2] for row in self._table(f"{STORAGE_GATEWAY}.private", "private")]
        assert set(self._stored) <= set(names), set(self._stored) - set(names)
        payloads = [row[14] for row in self._table(f"{ROOMS}.rooms", "archive")]
        for text in self._shown:
            assert sum(f">{text}<" in each for each in payloads) == 1, text
        self.unknown = len(set(self._refused) & set(names))
        self.unknown += sum(any(f">{text}<" in each for each in payloads) for text in self._unshown)
        for user in users:
            assert not user.repeated(), user.repeated()

    def _table(self, store: str, table: str) -> list[Any]:
        return cluster().sql(f'TABLE "{schemaOf(store)}".{table}', self.database)

    def rows(self) -> list[str]:
        """Return the rows of a table in Markdown."""
        found = []
        for kind in dict.fromkeys(kind for kind, _ in self.got):
            cells = [str(self.got.get((kind, part), "")) for part in (BEFORE, AWAY, AFTER)]
            found.append(f"| {' | '.join((kind, *cells))} |")
        return found
