"""
Three gateways on one domain, while 100 clients use rooms, a proxy and private storage: one gateway is killed every
20 seconds for three minutes. C{make soak-standby} prints the table of docs/scaling.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.state.postgresql_session import schemaOf
from tests.live.case import PROXY, ROOMS, scenario
from tests.live.clients import Client, condition, local, newId, untilServed
from tests.live.delegations import STORAGE_GATEWAY
from tests.live.gateway import Gateway
from tests.live.processes import Value
from tests.live.rooms import RoomsCase
from tests.live.servers import DOMAIN, Ejabberd, KickingProsody
from tests.live.storm import users
from tests.state.cluster import cluster

CLIENTS, GATEWAYS, KILLS, EVERY = 100, 3, 9, 20.0
# Seconds until a gateway that was killed is started again; between two requests of a client; for an answer.
AWAY, INTERVAL, TIMEOUT = 5.0, 1.0, 15.0
KINDS = {"rooms": ROOMS, "proxy": PROXY, "private storage": STORAGE_GATEWAY}


@define
class Record:
    """
    The requests of one kind.

    @ivar outcomes: number by outcome: "result", the condition of an error, or "no answer".
    @ivar served: of each request with a result: when it was sent, and when it was answered.
    @ivar back: seconds from each kill of the gateway that serves the component until the next result.
    """

    outcomes: Counter[str] = field(factory=Counter)
    served: list[tuple[float, float]] = field(factory=list)
    back: list[float] = field(factory=list)


class StandbySoak(RoomsCase):
    """A mix-in: the run, for one kind of server."""

    accounts = (*users(CLIENTS), "implementation")

    @scenario(600)
    async def test_soak(self) -> None:
        """
        Nothing that was acknowledged is lost, nobody is answered twice, the occupants stay, and each component is
        back within ten seconds.
        """
        self.database = cluster().database()
        self.gateways = [self.newGateway(self.tables()) for _ in range(GATEWAYS)]
        for gateway in self.gateways:
            gateway.start()
            await gateway.ready(30)
        await self.implementing("a", "b")
        self.records = {kind: Record() for kind in KINDS}
        self.stored: list[str] = []
        names = users(CLIENTS)
        clients = [await self.user(name, "soak") for name in names]
        await untilServed(clients[1], PROXY, 30)
        await self.granted(clients[2], self.private("<warm xmlns='urn:x'/>"), 30)
        talkers = clients[::3]
        for number, client in enumerate(talkers):
            await self.enter(client, self.roomOf(client, talkers), f"u{number}")
        await asyncio.sleep(2)
        for client in clients:
            client.received.clear()
        self.tasks: set[asyncio.Task[None]] = set()
        loads = [asyncio.create_task(self.load(number, client, talkers)) for number, client in enumerate(clients)]
        for number in range(KILLS):
            await asyncio.sleep(EVERY - AWAY)
            await self.killOne(list(KINDS)[number % len(KINDS)])
        await asyncio.sleep(EVERY)
        for load in loads:
            load.cancel()
        await asyncio.gather(*self.tasks)
        self.report()
        self.check(clients, talkers)

    def tables(self) -> dict[str, dict[str, Value]]:
        """Return the tables of a gateway."""
        key = self.folderOfKey / "proxy.key"
        namespaces = f'delegation."{STORAGE_GATEWAY}".namespaces."{ns.PRIVATE}"'
        return {
            "state": {"url": cluster().url(self.database)},
            f'rooms."{ROOMS}"': {"standby": True},
            f'proxy."{PROXY}"': {
                "target": f"implementation@{DOMAIN}",
                "standby": True,
                "key_file": str(key),
            },
            f'delegation."{STORAGE_GATEWAY}"': {"servers": [DOMAIN], "standby": True},
            namespaces: {"handler": "private-storage"},
        }

    @property
    def folderOfKey(self) -> Any:
        """The folder of the key that the gateways share."""
        return self.server.directory

    def private(self, inner: str) -> str:
        """Return a request of private storage."""
        return f"<query xmlns='{ns.PRIVATE}'>{inner}</query>"

    def roomOf(self, client: Client, talkers: list[Client]) -> str:
        """Return the room of a user."""
        return f"room{talkers.index(client) % 5}@{ROOMS}"

    async def load(self, number: int, client: Client, talkers: list[Client]) -> None:
        """Send requests of one client until cancelled."""
        await asyncio.sleep(number / CLIENTS * INTERVAL)
        acts: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
            lambda: self.say(client, self.roomOf(client, talkers)),
            lambda: self.ask(client),
            lambda: self.store(client),
        )
        while True:
            task = asyncio.create_task(acts[number % 3]())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            await asyncio.sleep(INTERVAL)

    def note(self, kind: str, sent: float, outcome: str) -> None:
        """Note the outcome of a request."""
        self.records[kind].outcomes[outcome] += 1
        if outcome == "result":
            self.records[kind].served.append((sent, time.monotonic()))

    async def answered(self, kind: str, client: Client, identifier: str, sent: float) -> bool:
        """Wait for an answer; return true if it is a result."""
        outcome = "no answer"
        with contextlib.suppress(AssertionError):
            answer = await client.expectId(identifier, "an answer", TIMEOUT)
            outcome = condition(answer) or "result"
        self.note(kind, sent, outcome)
        return outcome == "result"

    async def say(self, client: Client, room: str) -> None:
        text, sent = newId(), time.monotonic()
        client.send(f"<message to='{room}' type='groupchat' id='{text}'><body>{text}</body></message>")
        await self.answered("rooms", client, text, sent)

    async def ask(self, client: Client) -> None:
        sent = time.monotonic()
        await self.answered("proxy", client, client.sendIq(PROXY, "<query xmlns='urn:x'/>"), sent)

    async def store(self, client: Client) -> None:
        name, sent = f"n{newId()}", time.monotonic()
        asked = client.sendIq(client.bare, self.private(f"<{name} xmlns='urn:x'/>"), "set")
        if await self.answered("private storage", client, asked, sent):
            self.stored.append(name)

    async def servedBy(self, component: str) -> Gateway | None:
        """Return the gateway that serves a component."""
        for gateway in self.gateways:
            if f"{component}: connected" in (await gateway.get("/status"))[1]:
                return gateway
        return None

    async def killOne(self, kind: str) -> None:
        """Kill the gateway that serves a component, and start it again later."""
        killed = await self.servedBy(KINDS[kind]) or self.gateways[0]
        _, status = await killed.get("/status")
        gone = [each for each, jid in KINDS.items() if f"{jid}: connected" in status]
        at = time.monotonic()
        killed.kill9()
        await asyncio.sleep(AWAY)
        killed.start()
        await asyncio.sleep(EVERY - AWAY - 3)
        for each in gone:
            record = self.records[each]
            later = [answered for sent, answered in record.served if sent > at]
            record.back.append(min(later, default=float("inf")) - at)

    def report(self) -> None:
        """Print the table."""
        for kind, record in self.records.items():
            outcomes = ", ".join(f"{count} {name}" for name, count in record.outcomes.most_common())
            back = ", ".join(f"{each:.1f}" for each in sorted(record.back))
            sys.stdout.write(f"{self.server.name} | {kind} | {outcomes} | {back} |\n")
        sys.stdout.flush()

    def check(self, clients: list[Client], talkers: list[Client]) -> None:
        """Nothing is lost, nothing comes twice, and nobody has left a room."""
        for client in clients:
            self.assertEqual(client.repeated(), {}, client.jid)
        names = {row[2] for row in self.table(f"{STORAGE_GATEWAY}.private", "private")}
        self.assertEqual(set(self.stored) - names, set())
        archived = "".join(str(row[14]) for row in self.table(f"{ROOMS}.rooms", "archive"))
        for client in talkers:
            bodies = [
                child.text or ""
                for element in client.received
                for child in element
                if element.get("type") == "groupchat" and local(child) == "body"
            ]
            self.assertEqual([each for each, count in Counter(bodies).items() if count > 1], [])
            self.assertEqual([each for each in bodies if f">{each}<" not in archived], [])
            came = [each for each in client.received if local(each) == "presence" and ROOMS in each.get("from", "")]
            self.assertEqual([each.get("from") for each in came], [])
        for record in self.records.values():
            self.assertLess(max(record.back), 10)
        for gateway in self.gateways:
            self.assertNotIn("Traceback", gateway.log(100_000))

    def table(self, store: str, table: str) -> list[Any]:
        """Return the rows of a table."""
        return cluster().sql(f'TABLE "{schemaOf(store)}".{table}', self.database)


class EjabberdStandbySoak(StandbySoak, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class ProsodyStandbySoak(StandbySoak, SynchronousTestCase):
    """On Prosody."""

    serverClass = KickingProsody
