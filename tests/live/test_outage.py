"""Links between the gateway and a real server that fail: refused, cut, or the server is not there yet."""

from __future__ import annotations

import asyncio
import contextlib
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import MIRRORS, PING, PROXY, ROOMS, LiveTests, TogetherTests, proxy, scenario
from tests.live.clients import ECHO, Client, Implementation, echo, local, newId, untilServed
from tests.live.processes import holds, until
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody

HOLD = f"<hold xmlns='{ECHO}'/>"

# Seconds after the server's return within which service must be back by itself.
BACK_WITHIN = 35


def unlessHeld(client: Implementation, request: Element) -> None:
    """Do not answer a payload that is to be held; echo others."""
    if local(request[0]) != "hold":
        echo(client, request)


class OutageTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    @scenario(30)
    async def test_wrongSecret(self) -> None:
        """A wrong secret is reported in plain words, and the process stays: alive, and not ready."""
        gateway = self.newGateway(proxy(PROXY), secret="wrong")
        gateway.start()
        await holds(lambda: "rejects the secret" in gateway.log(), 10, "the log speaks of the secret")
        self.assertNotIn("Traceback", gateway.log())
        self.assertNotIn('"wrong"', gateway.log())
        status, body = await gateway.get("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(PROXY, body)
        self.assertEqual((await gateway.get("/healthz"))[0], 200)
        await asyncio.sleep(2)
        self.assertTrue(gateway.running())

    @scenario(30)
    async def test_oneLinkOfTwo(self) -> None:
        """A component that the server does not know is reported as not ready, and others are served."""
        unknown = f"unknown.{DOMAIN}"
        gateway = self.newGateway({**proxy(unknown), **proxy(PROXY)})
        gateway.start()
        await holds(lambda: f"{unknown}: not connected" in gateway.log(), 10, "the log names the unknown component")
        await self.implementing("a")
        await untilServed(await self.user("alice"), PROXY)
        status, body = await gateway.get("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(unknown, body)
        self.assertNotIn(PROXY, body)

    @scenario(70)
    async def test_gatewayBeforeServer(self) -> None:
        """A gateway that is started before its server is alive, reports that it is not ready, and serves later."""
        self.server.kill9()
        gateway = self.newGateway(proxy(PROXY))
        gateway.start()

        async def alive() -> bool:
            return (await gateway.get("/healthz"))[0] == 200

        await until(alive, 15, "the gateway is alive")
        status, body = await gateway.get("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(PROXY, body)
        await asyncio.sleep(2)
        self.server.start()
        await self.server.ready()
        await gateway.ready(BACK_WITHIN)
        for words in ("not connected", "connected again"):
            self.assertEqual(gateway.log(1000).count(words), 1, words)
        await self.login(Implementation(self.server, "implementation", "a"))
        alice = await self.login(Client(self.server, "alice", "home"))
        await untilServed(alice, PROXY)

    @scenario(70)
    async def test_fewLines(self) -> None:
        """An outage of a server with five components is two lines: when they are lost, and when they are back."""
        gateway = await self.startGateway({
            **proxy(PROXY),
            f'rooms."{ROOMS}"': {},
            **{f'mirror."{each}"': {"allow": ["*"], "users": [DOMAIN]} for each in list(MIRRORS)[:3]},
        })
        self.server.kill9()
        await asyncio.sleep(5)
        self.server.start()
        await self.server.ready()
        await gateway.ready(BACK_WITHIN)
        log = gateway.log(1000)
        for words in (": not connected: ", ": connected again "):
            [line] = [each for each in log.splitlines() if words in each]
            self.assertEqual(line.count(f".{DOMAIN}"), 5, line)

    async def serverKilledUnderLoad(self) -> None:
        """
        After a kill -9 of the server under load, service is back by itself. No exchange ends twice, and each one
        that had reached the implementing client ends once: only the server's own data is lost.
        """
        gateway = await self.startGateway(proxy(PROXY, timeout=15))
        implementation = await self.login(Implementation(self.server, "implementation", "a", unlessHeld))
        users = [await self.login(Client(self.server, name, "load")) for name in ("alice", "bob", "carol")]
        await untilServed(users[0], PROXY)
        held = {user: [user.sendIq(PROXY, HOLD) for _ in range(100)] for user in users}
        await holds(lambda: len(self.held(implementation)) == 300, 5, "all that is held has come")

        loading = True
        asked: dict[Client, set[str]] = {user: set() for user in users}

        async def load(user: Client) -> None:
            while loading:
                id_ = newId()
                asked[user].add(id_)
                with contextlib.suppress(AssertionError, ConnectionError):
                    await user.request(PROXY, PING, id_=id_, seconds=2)

        loads = [asyncio.create_task(load(user)) for user in users for _ in range(50)]
        await asyncio.sleep(1.5)
        self.assertTrue(min(len(user.iqs()) for user in users) > 100, "there is no load")
        self.server.kill9()
        await asyncio.sleep(0.5)
        loading = False
        await asyncio.gather(*loads)
        self.server.start()
        await self.server.ready()
        back = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.loginAgain(10) for client in (implementation, *users)))
        self.assertEqual(sum(len(user.iqs(*held[user])) for user in users), 0)

        self.assertTrue(await gateway.ready(BACK_WITHIN) < BACK_WITHIN)
        await untilServed(users[0], PROXY, BACK_WITHIN)
        took = asyncio.get_running_loop().time() - back
        self.assertTrue(took < BACK_WITHIN, f"service again after {took:.1f} s")

        # Requests that were delivered to the implementing client and not answered end at their deadline.
        await holds(
            lambda: all(len(user.iqs(*held[user])) >= 100 for user in users),
            25,
            "every held request has ended",
        )
        replies = await asyncio.gather(*(user.request(PROXY, PING) for user in users for _ in range(200)))
        self.assertEqual({reply.get("type") for reply in replies}, {"result"})
        await asyncio.sleep(1)
        for user in users:
            self.assertEqual(user.repeated(), {})
            self.assertEqual({reply.get("type") for reply in user.iqs(*held[user])}, {"error"})
            self.assertTrue(all(reply.get("from") == PROXY for reply in user.iqs()))
        self.assertNotIn("Traceback", gateway.log(1000))

    async def stanzaOverTheLimits(self) -> None:
        """
        A stanza over a limit, or one that servers write wrongly, affects neither other exchanges nor the link.
        """
        gateway = await self.startGateway(proxy(PROXY, timeout=6))
        (implementation,) = await self.implementing("a", behaviour=unlessHeld)
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        # For one timeout after a start a valid seal alone would be enough.
        await asyncio.sleep(6.5)
        bad = {
            "deep": f"<x xmlns='{ECHO}'>" * 100 + "</x>" * 100,
            "big": f"<x xmlns='{ECHO}'>{'y' * 300_000}</x>",
            # Servers write these six times as long, and the last as invalid XML.
            "quotes": f"""<x xmlns='{ECHO}'>{"'" * 100_000}</x>""",
            "xml": f"<x xmlns='{ECHO}'><xml:q/></x>",
        }
        for name, inner in bad.items():
            id_ = alice.sendIq(PROXY, HOLD)
            request = await implementation.asked(id_)
            # A server with limits of its own may end the client's stream.
            mallory = await self.user("mallory", name)
            hers = mallory.sendIq(PROXY, inner)
            if name in ("quotes", "xml"):
                reply = await mallory.expectId(hers, f"an answer to the {name} stanza")
                told = {local(each) for each in reply.iter()} & {"policy-violation", "bad-request", "x"}
                self.assertIn(told, ({"policy-violation"}, {"bad-request", "x"}, {"bad-request"}, {"x"}), name)
            await asyncio.sleep(1)
            await untilServed(alice, PROXY, BACK_WITHIN)
            implementation.answer(request)
            reply = await alice.expectId(id_, f"the answer after the {name} stanza")
            self.assertEqual((reply.get("type"), reply.get("from")), ("result", PROXY))
        self.assertEqual(alice.repeated(), {})
        self.assertNotIn("Traceback", gateway.log(1000))
        self.assertEqual(gateway.log(1000).count("not connected"), 0)

    def held(self, implementation: Implementation) -> list[Element]:
        """Return the requests that it was asked to hold."""
        return [request for request in implementation.requests if local(request[0]) == "hold"]


class ProsodyOutageTests(OutageTests, SynchronousTestCase):
    """Outages of Prosody."""

    serverClass = Prosody


class EjabberdOutageTests(OutageTests, SynchronousTestCase):
    """Outages of ejabberd."""

    serverClass = Ejabberd


class EmbeddedOutageTests(OutageTests, SynchronousTestCase):
    """Outages of the embedded host."""

    serverClass = Embedded


class WaitingOutageTests(TogetherTests, SynchronousTestCase):
    """Tests that mostly wait, on all servers at once."""

    classes = (ProsodyOutageTests, EjabberdOutageTests, EmbeddedOutageTests)

    def test_stanzaOverTheLimits(self) -> None:
        """No user's stanza ends the link, and others' exchanges continue."""
        self.together("stanzaOverTheLimits", 60)

    def test_serverKilledUnderLoad(self) -> None:
        """If a server is killed under load, only its own data is lost."""
        self.together("serverKilledUnderLoad", 120)
