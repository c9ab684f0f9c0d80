"""Locked rosters on real servers: clients get the application's contacts, and cannot change them."""

from __future__ import annotations

import asyncio
import contextlib
import json

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import SECRET, scenario
from tests.live.clients import Client, condition
from tests.live.processes import until
from tests.live.rosters import ROSTER, RosterCase, WebApplication
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, Embedded, Prosody

ALICE, BOB, CAROL = f"alice@{DOMAIN}", f"bob@{DOMAIN}", f"carol@{DOMAIN}"


async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer slowly, as an application: each user has the contact carol, after 0.15 s."""
    body = json.dumps({CAROL: {"name": "Carol"}}).encode()
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.15)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    writer.close()


class LockTests(RosterCase):
    """A mix-in: the scenario, for one kind of server, which delegates rosters to the component that stores them."""

    components = {PRIVILEGED: SECRET}
    delegations = {ROSTER: {"jid": PRIVILEGED}}

    async def contacts(self, client: Client) -> dict[str | None, tuple[str | None, str | None]]:
        """Return name and subscription of each contact that a client gets."""
        reply = await client.request(None, f"<query xmlns='{ROSTER}'/>")
        return {
            item.get("jid"): (item.get("name"), item.get("subscription"))
            for item in reply.iter(f"{{{ROSTER}}}item")
        }

    @scenario(60)
    async def test_locked(self) -> None:
        """
        A client reads the application's document, and every change is refused; changes of the application are there
        at once; while it is down, the client reads the server's roster.
        """
        application = await self.startApplication()
        application.say("alice", {BOB: {"name": "Bob", "groups": ["A"]}})
        application.say("bob", {ALICE: {}})
        gateway = await self.startRosters(application, lock=True)
        alice, bob = await self.user("alice"), await self.user("bob")
        await self.granted(alice, f"<query xmlns='{ROSTER}'/>")
        self.assertEqual(await self.contacts(alice), {BOB: ("Bob", "both")})
        self.assertEqual(await self.contacts(bob), {ALICE: (None, "both")})
        for item in (f"jid='carol@{DOMAIN}'", f"jid='{BOB}' name='B'", f"jid='{BOB}' subscription='remove'"):
            reply = await alice.request(None, f"<query xmlns='{ROSTER}'><item {item}/></query>", "set")
            self.assertEqual(condition(reply), "not-allowed", item)
        await self.refresh(gateway, "alice", "bob")
        await self.pushes(alice)
        application.say("alice", {BOB: {"name": "Robert"}})
        code, answer = await self.refresh(gateway, "alice")
        self.assertEqual((code, answer["updated"]), (200, 1), answer)
        self.assertEqual(await self.pushes(alice), [(BOB, "Robert", "both", "")])
        self.assertEqual(await self.contacts(alice), {BOB: ("Robert", "both")})
        application.kill9()
        self.assertEqual(await self.contacts(alice), {BOB: ("Robert", "both")})
        self.assertIn("got the server's roster as it is", gateway.log())

    @scenario(120)
    async def test_greedy(self) -> None:
        """2,500 requests of one user at once: each has an answer, and another user has the right one soon."""
        served = await asyncio.start_server(slowly, "127.0.0.1", 0)
        self.stack.callback(served.close)
        application = WebApplication(self.folder("application-"))
        application.port = served.sockets[0].getsockname()[1]
        await self.startRosters(application, lock=True)
        alice, bob = await self.user("alice"), await self.user("bob")
        await self.granted(alice, f"<query xmlns='{ROSTER}'/>")
        alice.received.clear()
        alice.send("".join(f"<iq type='get' id='g{n}'><query xmlns='{ROSTER}'/></iq>" for n in range(2_500)))
        # Until they have reached the gateway.
        await asyncio.sleep(1)
        begun = asyncio.get_running_loop().time()
        found = await self.contacts(bob)
        waited = asyncio.get_running_loop().time() - begun
        self.assertEqual(found, {CAROL: ("Carol", "both")}, f"after {waited} s")
        self.assertLess(waited, 5, "while alice's are answered")

        async def answered() -> bool:
            replies = (each for each in alice.received if each.get("type") in ("result", "error"))
            return len({each.get("id") for each in replies}) >= 2_500

        await until(answered, 60, "alice has all answers")


class EmbeddedLockTests(LockTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyLockTests(LockTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdLockTests(LockTests, SynchronousTestCase):
    """On ejabberd, by its HTTP API."""

    serverClass = Ejabberd

    @scenario(30)
    async def test_privilege(self) -> None:
        """
        Without its API this server delegates the component's own requests to it, which is reported: nothing can be
        set, and the server's roster is unknown, so clients get an error.
        """
        application = await self.startApplication()
        application.say("alice", {BOB: {}})
        table = {**self.table(application), "lock": True}
        gateway = await self.startGateway({f'roster."{PRIVILEGED}"': table})
        alice = await self.user("alice")

        async def isDelegated() -> bool:
            reply = await alice.request(None, f"<query xmlns='{ROSTER}'/>")
            return condition(reply) == "service-unavailable"

        await until(isDelegated, 20, "the server delegates rosters")
        code, answer = await self.refresh(gateway, "alice")
        self.assertEqual((code, answer["updated"]), (500, 0))
        self.assertIn("own requests for rosters to it; ejabberd needs its HTTP API", answer["failed"]["alice"])
