"""The configuration is reloaded under load, by the signal that an operator sends."""

from __future__ import annotations

import asyncio
import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PING, PROXY, ROOMS, LiveTests, proxy, scenario
from tests.live.clients import Implementation, newId
from tests.live.processes import holds
from tests.live.servers import Ejabberd, Prosody
from tests.live.test_outage import HOLD, unlessHeld

OTHER = f'\n[rooms."{ROOMS}"]\n'


class ReloadTests(LiveTests):
    """A mix-in: a gateway whose file is changed while its proxy is in use."""

    @scenario(60)
    async def test_underLoad(self) -> None:
        """
        Services are added, replaced and removed, and wrong files are refused, while a proxy answers requests: each
        of them once, none with an error, over the same connection.
        """
        gateway = await self.startGateway(proxy(PROXY, timeout=50))
        implementation = await self.login(Implementation(self.server, "implementation", "a", unlessHeld))
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        held = alice.sendIq(PROXY, HOLD)
        request = await implementation.asked(held)
        asked: list[str] = []
        kinds: list[str | None] = []
        isLoading = True

        async def load() -> None:
            while isLoading:
                asked.append(newId())
                reply = await alice.request(PROXY, PING, id_=asked[-1], seconds=10)
                kinds.append(reply.get("type"))

        loads = [asyncio.create_task(load()) for _ in range(20)]
        text = gateway.config.read_text()
        logged = 0
        for change, words in (
            (text + OTHER, f"added: {ROOMS}."),
            (text + OTHER + 'peers = ["peer.example"]\n', f"replaced: {ROOMS}."),
            (text + OTHER + "peers = 5\n[prxy]\n", "2 errors; nothing was changed:"),
            (text.replace("s3cret", "s3cret\\n") + "[", "1 error; nothing was changed:"),
            (text, f"removed: {ROOMS}."),
        ):
            before = len(kinds)
            gateway.config.write_text(change)
            gateway.child.send_signal(signal.SIGHUP)
            await holds(lambda n=logged, w=words: w in gateway.log(1000)[n:], 15, f"the log says: {words}")
            logged = len(gateway.log(1000))
            await holds(lambda before=before: len(kinds) > before + 50, 10, "requests are answered")
        isLoading = False
        await asyncio.gather(*loads)
        implementation.answer(request)
        answer = await alice.expectId(held, "the answer to the request from before the reloads")
        self.assertEqual(answer.get("type"), "result")
        self.assertEqual(set(kinds), {"result"})
        self.assertEqual(len(kinds), len(asked))
        self.assertEqual(alice.repeated(), {})
        log = gateway.log(1000)
        self.assertEqual(log.count(f"{PROXY}: connected."), 1)
        self.assertEqual(log.count("not connected"), 0)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("s3cret", log)
        self.assertTrue(gateway.running())


class ProsodyReloadTests(ReloadTests, SynchronousTestCase):
    """Beside Prosody."""

    serverClass = Prosody


class EjabberdReloadTests(ReloadTests, SynchronousTestCase):
    """Beside ejabberd."""

    serverClass = Ejabberd
