"""Two gateways that are connected as one component: on a server that accepts this, both detect and report it."""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PROXY, ROOMS, LiveTests, proxy, scenario
from tests.live.clients import ECHO
from tests.live.gateway import Gateway
from tests.live.processes import Value, holds, until
from tests.live.servers import Ejabberd, Embedded, Prosody
from tests.live.test_delegation import STORAGE, WANTED

FOUND = "another gateway is connected as this component"
GONE = "no other gateway is connected as this component any longer"
# It considers the other one gone sooner than a minute after the last mark.
SOON = "import gateway.stream.instances; gateway.stream.instances._GONE_AFTER = 20"
BOTH: dict[str, dict[str, Value]] = {**proxy(PROXY), f'rooms."{ROOMS}"': {}}


class EjabberdInstancesTests(LiveTests, SynchronousTestCase):
    """ejabberd accepts both, and sends each a part of the stanzas."""

    serverClass = Ejabberd

    async def startTwo(self, tables: dict[str, dict[str, Value]]) -> tuple[Gateway, Gateway]:
        return await self.startOne(tables), await self.startOne(tables)

    async def startOne(self, tables: dict[str, dict[str, Value]]) -> Gateway:
        """Start one; it may detect the other one before it is ready."""
        second = self.newGateway(tables)
        second.prelude = SOON
        second.start()
        links = sum(".namespaces." not in section for section in tables)
        await holds(lambda: second.log(1000).count(": connected.") == links, 15, "its links are up")
        return second

    @scenario(90)
    async def test_found(self) -> None:
        """
        With any service, both report it in the log, on the status page and as not ready; the report ends when one
        of them is stopped.
        """
        await self.implementing("a")
        first, second = await self.startTwo(BOTH)
        for gateway in (first, second):
            await holds(
                lambda gateway=gateway: gateway.log(1000).count(FOUND) >= 2, 20, "both links find the other"
            )
            for jid in (PROXY, ROOMS):
                self.assertIn(f"{jid}: connected, but {FOUND}", (await gateway.get("/status"))[1])
            status, body = await gateway.get("/readyz")
            self.assertEqual((status, body.count(FOUND)), (503, 2))
        alice = await self.user("alice")
        asked = [alice.sendIq(PROXY, f"<ready xmlns='{ECHO}'/>") for _ in range(40)]
        await asyncio.sleep(3)
        right = [answer for answer in alice.iqs(*asked) if answer.get("type") == "result"]
        self.assertLess(len(right), 40, "the server does not share stanzas out: there is nothing to find")
        await second.terminate()
        await first.ready(45)
        self.assertIn(GONE, first.log(1000))
        self.assertNotIn("Traceback", first.log(1000))

    @scenario(90)
    async def test_grants(self) -> None:
        """When the other one ends, ejabberd ends the delegations of this one as well; they are back soon."""
        first, second = await self.startTwo(STORAGE)
        await holds(lambda: FOUND in first.log(1000), 20, "it finds the other")
        alice = await self.user("alice")
        await self.granted(alice, WANTED)
        await second.terminate()
        reply = await alice.request(alice.bare, WANTED)
        self.assertEqual(reply.get("type"), "error", "ejabberd has ended the delegation of the first one as well")
        await holds(lambda: GONE in first.log(1000), 45, "the other one is gone")
        await self.granted(alice, WANTED)
        await first.ready(20)
        self.assertNotIn("Traceback", first.log(1000))

    @scenario(60)
    async def test_shared(self) -> None:
        """Two with C{shared} are no conflict; a third without it reports one."""
        key = self.folder("key-") / "key"
        key.write_text("0" * 64)
        shared = proxy(PROXY, shared=True, key_file=str(key))
        first, second = await self.startTwo(shared)
        third = await self.startOne(proxy(PROXY))
        await holds(lambda: FOUND in third.log(1000), 20, "the third finds the others")
        for gateway in (first, second):
            self.assertEqual((await gateway.get("/readyz"))[0], 200)
            self.assertNotIn(FOUND, gateway.log(1000))


class AloneTests(LiveTests):
    """A mix-in: a single gateway detects none, and no handler gets its marks."""

    @scenario(40)
    async def test_alone(self) -> None:
        gateway = await self.startGateway(BOTH)
        await asyncio.sleep(4)

        async def ready() -> bool:
            return (await gateway.get("/readyz"))[0] == 200

        await until(ready, 1, "it is ready still")
        for words in (FOUND, "dropped", "answer", "Traceback"):
            self.assertNotIn(words, gateway.log(1000))


class EjabberdAloneTests(AloneTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class ProsodyAloneTests(AloneTests, SynchronousTestCase):
    """On Prosody, which refuses a second connection."""

    serverClass = Prosody


class EmbeddedAloneTests(AloneTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded
