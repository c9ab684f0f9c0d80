"""Components without privileges on an ejabberd that grants some to another: it inspects the iqs of all."""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PROXY, WITH_PRIVILEGED, LiveTests, proxy, scenario
from tests.live.processes import until
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, PassingEjabberd
from tests.live.test_delegation import STORAGE, WANTED

ROSTER = {"domain": DOMAIN, "url": "http://127.0.0.1:9/%s"}

# A link whose intervals are seconds instead of minutes.
IMPATIENT = (
    "import gateway.stream.instances as i; from gateway.stream.link import Link as L; "
    "i._NEW = 0; i._MARK_EVERY /= 30; L.pingAfter /= 30; L.goneAfter /= 30"
)


class EjabberdBesideTests(LiveTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    components = WITH_PRIVILEGED

    @scenario(30)
    async def test_idle(self) -> None:
        """An idle link stays connected."""
        gateway = self.newGateway(proxy(PROXY))
        gateway.prelude = IMPATIENT
        gateway.start()
        await gateway.ready()
        await asyncio.sleep(8)
        self.assertEqual(gateway.log(1000).count(f"{PROXY}: connected."), 1)
        self.assertTrue(gateway.running())

    @scenario(30)
    async def test_delegated(self) -> None:
        """A namespace that is delegated to one of them is answered by it."""
        await self.startGateway(STORAGE)
        await self.granted(await self.user("alice"), WANTED)

    @scenario(30)
    async def test_loss(self) -> None:
        """If a server drops requests of one of them, the log and /status report it, and the effect."""
        gateway = await self.startGateway({**proxy(PROXY), f'roster."{PRIVILEGED}"': ROSTER})
        # One without privileges, and one with.
        isDropped = self.server.dropsRequests
        about = f"{DOMAIN} drops requests of this component"

        async def isFound() -> bool:
            _, status = await gateway.get("/status")
            return status.count(f"{DOMAIN} is ejabberd") == 2 - isDropped and status.count(about) == isDropped

        await until(isFound, 15, "the server is found out")
        await asyncio.sleep(4)
        self.assertTrue(await isFound())
        self.assertEqual(gateway.log(1000).count(f"{PROXY}: {about}"), isDropped)


class PassingEjabberdBesideTests(LiveTests, SynchronousTestCase):
    """On ejabberd 26 with the entry that the report advises: nothing is dropped."""

    serverClass = PassingEjabberd
    components = WITH_PRIVILEGED
    test_loss = EjabberdBesideTests.test_loss
