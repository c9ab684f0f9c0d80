"""Gateways that serve one proxy together, with a PostgreSQL database, on a server that divides the stanzas."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PING, PROXY, LiveTests, proxy, scenario
from tests.live.clients import Client, Implementation, condition, echo, silent
from tests.live.gateway import Gateway
from tests.live.processes import Value, holds
from tests.live.servers import DOMAIN, BalancingEjabberd, Ejabberd
from tests.state.cluster import cluster

TIMEOUT = 14
# Seconds until others take over the exchanges of a gateway that was killed, at most.
TAKEN_WITHIN = 9


def forwarded(client: Implementation) -> list[Element]:
    """Return the requests that have come through the proxy, not those of the server itself."""
    return [request for request in client.requests if request.get("from", "").startswith(PROXY)]


class SharedCase(LiveTests):
    """A mix-in: gateways, and their load."""

    async def startAll(self, number: int = 3, **options: Value) -> list[Gateway]:
        """Start gateways on one database."""
        key = self.folder("key-") / "key"
        key.write_text("0" * 64)
        url = cluster().url(cluster().database())
        table = proxy(PROXY, shared=True, key_file=str(key), timeout=TIMEOUT, **options)
        gateways = [self.newGateway({"state": {"url": url}, **table}) for _ in range(number)]
        for gateway in gateways:
            gateway.start()
        for gateway in gateways:
            await gateway.ready()
        return gateways

    async def know(self, gateways: list[Gateway], resources: int) -> None:
        """Wait until each gateway knows so many resources."""
        for gateway in gateways:
            async with asyncio.timeout(10):
                while f"that get requests: {resources}\n" not in (await gateway.get("/status"))[1]:
                    await asyncio.sleep(0.1)

    def outcomes(self, users: list[Client], asked: dict[str, float]) -> Counter[str]:
        """Return how often each outcome was the answer to a request; each request has one, and not before it."""
        answers = [answer for user in users for answer in user.iqs() if answer.get("id") in asked]
        self.assertEqual(Counter(answer.get("id") for answer in answers), Counter(asked.keys()))
        return Counter(condition(answer) or "result" for answer in answers)

    async def load(self, users: list[Client], seconds: float) -> dict[str, float]:
        """Send each user's requests, 20 a second; return their ids."""
        asked = {}
        for _ in range(int(seconds * 20)):
            asked.update((user.sendIq(PROXY, PING), 0.0) for user in users)
            await asyncio.sleep(0.05)
        return asked


class EjabberdSharedTests(SharedCase, SynchronousTestCase):
    """ejabberd gives each stanza to any of the gateways."""

    serverClass = Ejabberd

    @scenario(90)
    async def test_killed(self) -> None:
        """
        A gateway is killed while requests of three users are open, a resource goes offline, and one does not
        answer: each request gets one answer, and no later than with one gateway and the time of a takeover.
        """
        gateways = await self.startAll(balance="least-pending")
        first, second = await self.implementing("a", "b", behaviour=silent)
        await self.know(gateways, 2)
        users = [await self.user(name) for name in ("alice", "bob", "carol")]
        asked = {user.sendIq(PROXY, PING): time.monotonic() for _ in range(20) for user in users}
        await holds(lambda: len(forwarded(first)) + len(forwarded(second)) == len(asked), 10, "all are forwarded")
        open_ = forwarded(first)
        # Each gateway balances what it forwards.
        self.assertLessEqual(abs(2 * len(open_) - len(asked)), len(gateways))
        gateways[0].kill9()
        # What the server gives to the closed connection is lost.
        await asyncio.sleep(0.5)
        for request in open_[::2]:
            first.answer(request)
        await holds(lambda: sum(len(user.iqs()) for user in users) == len(open_[::2]), 5, "these are answered")
        # What second has open is sent to first once more, if the gateway runs; otherwise it gets an error.
        first.behaviour = echo
        await second.close()
        since = min(asked.values())
        await holds(
            lambda: sum(len(user.iqs()) for user in users) == len(asked),
            since + TIMEOUT + TAKEN_WITHIN - time.monotonic(),
            "all are answered",
        )
        # Then the service works as before.
        later = {user.sendIq(PROXY, PING): 0.0 for _ in range(20) for user in users}
        await holds(lambda: sum(len(user.iqs()) for user in users) == len(asked) + len(later), 10, "answers")
        self.assertEqual(self.outcomes(users, later), {"result": len(later)})
        await asyncio.sleep(3)
        found = self.outcomes(users, asked)
        self.assertEqual(found["remote-server-timeout"], len(open_[1::2]))
        self.assertGreater(found["result"], len(open_[::2]), found)
        self.assertLessEqual(found.keys(), {"result", "remote-server-timeout", "service-unavailable"})
        for gateway in gateways[1:]:
            self.assertNotIn("Traceback", gateway.log(1000))
            self.assertEqual((await gateway.get("/readyz"))[0], 200)
            self.assertIn("open requests: 0\n", (await gateway.get("/status"))[1])

    @scenario(90)
    async def test_interrupted(self) -> None:
        """
        Under load, a gateway stops in an orderly way and starts again, and the database is restarted: each request
        has one answer. If the database is away for a short time, nobody gets an error.
        """
        gateways = await self.startAll(2)
        await self.implementing("a", "b")
        await self.know(gateways, 2)
        users = [await self.user(name) for name in ("alice", "bob")]
        loading = asyncio.create_task(self.load(users, 6))
        await asyncio.sleep(2)
        await gateways[0].terminate()
        gateways[0].start()
        asked = await loading
        await gateways[0].ready()
        await self.know(gateways, 2)
        await holds(lambda: sum(len(user.iqs()) for user in users) == len(asked), TIMEOUT + 3, "answers")
        found = self.outcomes(users, asked)
        self.assertLessEqual(found.keys(), {"result", "service-unavailable"})
        self.assertLess(found["service-unavailable"], 20)
        for user in users:
            user.received.clear()
        loading = asyncio.create_task(self.load(users, 6))
        await asyncio.sleep(2)
        await asyncio.to_thread(cluster().stopFast)
        await asyncio.sleep(2)
        cluster().begin()
        asked = await loading
        await holds(lambda: sum(len(user.iqs()) for user in users) == len(asked), TIMEOUT + 3, "answers")
        self.assertEqual(self.outcomes(users, asked), {"result": len(asked)})
        await asyncio.sleep(2)
        self.assertEqual(self.outcomes(users, asked), {"result": len(asked)})

    @scenario(60)
    async def test_outbound(self) -> None:
        """Requests of the implementing client are answered once, and those without an answer get an error."""
        gateways = await self.startAll(2, outbound=True)
        [client] = await self.implementing("a")
        await self.know(gateways, 1)
        alice = await self.login(Implementation(self.server, "alice", "home"))
        address = f"alice\\40{DOMAIN}@{PROXY}/home"
        asked = {client.sendIq(address, PING): 0.0 for _ in range(30)}
        await holds(lambda: len(client.iqs(*asked)) == len(asked), 10, "all are answered")
        self.assertEqual(self.outcomes([client], asked), {"result": len(asked)})
        alice.behaviour = silent
        asked = {client.sendIq(address, PING): 0.0 for _ in range(10)}
        await holds(lambda: len(forwarded(alice)) == 40, 5, "all are forwarded")
        # A second request with the id of an open one, whichever gateway gets it.
        twice = [client.sendIq(address, PING, id_=next(iter(asked))) for _ in range(4)]
        await holds(lambda: len(client.iqs(*twice)) == 4, 5, "these are refused")
        self.assertEqual({condition(each) for each in client.iqs(*twice)}, {"conflict"})
        client.received.clear()
        gateways[0].kill9()
        await holds(lambda: len(client.iqs(*asked)) == len(asked), TIMEOUT + TAKEN_WITHIN, "all get an error")
        self.assertEqual(self.outcomes([client], asked), {"remote-server-timeout": len(asked)})
        self.assertNotIn("Traceback", gateways[1].log(1000))


class BalancingEjabberdSharedTests(SharedCase, SynchronousTestCase):
    """ejabberd gives all stanzas of a sender to one gateway: all answers and presence of the target to the same."""

    serverClass = BalancingEjabberd

    @scenario(60)
    async def test_balanced(self) -> None:
        """Each request is answered once, and each gateway knows the resources; also after one was away."""
        gateways = await self.startAll()
        await self.implementing("a", "b")
        await self.know(gateways, 2)
        users = [await self.user(name) for name in ("alice", "bob", "carol")]
        for _ in range(2):
            asked = await self.load(users, 1)
            await holds(lambda: sum(len(user.iqs()) for user in users) == 60, 10, "answers")
            self.assertEqual(self.outcomes(users, asked), {"result": 60})
            # While one is away, ejabberd drops what it would give to it. When it is back, all is as before.
            gateways[0].kill9()
            gateways[0].start()
            await gateways[0].ready()
            await self.know(gateways, 2)
            for user in users:
                user.received.clear()
