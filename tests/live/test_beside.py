"""Components without privileges on an ejabberd that grants some to another: it looks into the iqs of all."""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PROXY, WITH_PRIVILEGED, proxy, scenario
from tests.live.servers import Ejabberd
from tests.live.test_delegation import DelegationTests

# A link that is pinged after a second of silence, and has a second more to hear of it.
IMPATIENT = (
    "from gateway.stream.link import Link as L; L.pingAfter, L.goneAfter = L.pingAfter / 60, L.goneAfter / 30"
)


class BesideTests(DelegationTests):
    """A mix-in: what such components do with the server itself."""

    components = WITH_PRIVILEGED

    @scenario(30)
    async def test_idle(self) -> None:
        """A link on which nothing happens stays."""
        gateway = self.newGateway(proxy(PROXY))
        gateway.prelude = IMPATIENT
        gateway.start()
        await gateway.ready()
        await asyncio.sleep(6)
        self.assertEqual(gateway.log(1000).count(f"{PROXY}: connected."), 1)
        self.assertTrue(gateway.running())


class EjabberdBesideTests(BesideTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    newerTodo = {
        "test_idle": "12.2: the ping to the bare domain is dropped, domain/ping would be answered",
        "test_privateData": "12.2: the answers to disco nesting are dropped, to domain/x they would arrive",
    }
