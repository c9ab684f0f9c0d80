"""Components without privileges on an ejabberd that grants some to another: it looks into the iqs of all."""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PROXY, WITH_PRIVILEGED, LiveTests, proxy, scenario
from tests.live.servers import Ejabberd
from tests.live.test_delegation import STORAGE, WANTED

# A link for which minutes are seconds.
IMPATIENT = (
    "import gateway.stream.instances as i; from gateway.stream.link import Link as L; "
    "i._NEW = 0; i._SIGN_EVERY /= 30; L.pingAfter /= 30; L.goneAfter /= 30"
)


class EjabberdBesideTests(LiveTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    components = WITH_PRIVILEGED

    @scenario(30)
    async def test_idle(self) -> None:
        """A link on which nothing happens stays."""
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
