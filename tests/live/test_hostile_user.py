"""A hostile user among others: the others are served at the usual speed, and no link is lost."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PING, PROXY, ROOMS, proxy, scenario
from tests.live.clients import Client, Implementation, condition, local, newId, stanza, untilServed
from tests.live.delegations import DISCO_INFO, PRIVATE, SPARE, STORAGE_GATEWAY, tables
from tests.live.gateway import Gateway
from tests.live.mallory import Stream
from tests.live.processes import outcome
from tests.live.rawcomponent import RawComponent
from tests.live.rooms import INSTANT, MUC_X
from tests.live.rosters import RosterCase, WebApplication
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, NewerProsody, Prosody

MALLORY = Path(__file__).with_name("mallory.py")
SECONDS = 30
ROOM = f"friends@{ROOMS}"
SERVER_PING = "<ping xmlns='urn:xmpp:ping'/>"
STORED = f"<query xmlns='{PRIVATE}'><a xmlns='urn:alice'>mine</a></query>"
STORED_GET = f"<query xmlns='{PRIVATE}'><a xmlns='urn:alice'/></query>"


class Friends:
    """
    Two users who use every service.

    @ivar slowest: seconds of the slowest answer of each kind.
    @ivar count: number of answers.
    """

    def __init__(self, case: HostileUserTests, gateway: Gateway, alice: Client, bob: Client) -> None:
        self._case = case
        self._gateway = gateway
        self._alice, self._bob = alice, bob
        self.slowest: dict[str, float] = {}
        self.count = 0

    async def round(self) -> None:
        """Use each service once; every answer must be right."""
        case, alice, bob = self._case, self._alice, self._bob
        started = time.monotonic()

        def took(what: str) -> None:
            nonlocal started
            now = time.monotonic()
            self.slowest[what] = max(self.slowest.get(what, 0.0), now - started)
            started = now

        # The server is busy with the attack itself, and the machine with other work.
        await alice.request(DOMAIN, SERVER_PING, seconds=10)
        took("server alone")
        reply = await alice.request(PROXY, PING, seconds=10)
        case.assertEqual(reply.get("type"), "result", condition(reply))
        took("proxy")
        id_ = newId()
        alice.send(stanza("message", f"<body>{id_}</body>", to=ROOM, type="groupchat", id=id_))
        heard = await bob.expectId(id_, "a friend's message")
        case.assertEqual(heard.get("from"), f"{ROOM}/alice")
        took("room")
        reply = await alice.request(None, STORED_GET, seconds=10)
        case.assertEqual([each.text for each in reply.iter("{urn:alice}a")], ["mine"])
        took("delegation")
        name = f"B{self.count}"
        case.application.say("alice", {bob.bare: {"name": name}})
        started = time.monotonic()
        code, answer = await case.refresh(self._gateway, "alice", seconds=10)
        case.assertEqual((code, answer["failed"], answer["updated"]), (200, {}, 1))
        took("refresh")
        self.count += 1
        for client in (alice, bob):
            client.received.clear()


class HostileUserTests(RosterCase):
    """A mix-in: one scenario, for one kind of server."""

    application: WebApplication

    @scenario(SECONDS + 60)
    async def test_others(self) -> None:
        """
        For half a minute one user sends stanzas that are too large, too deep, invalid for some readers, or have
        large answers. The others' exchanges, rooms, private storage and refreshes are right, and none takes a
        second longer than the slowest ping of the server itself.
        """
        self.application = await self.startApplication()
        self.application.say("alice", {})
        url = f"http://127.0.0.1:{self.application.port}/contacts/%s"
        roster: dict[str, Any] = {"domain": DOMAIN, "url": url, **self.applies()}
        gateway = await self.startGateway(
            {
                **proxy(PROXY),
                f'rooms."{ROOMS}"': {},
                **tables(STORAGE_GATEWAY, {PRIVATE: {"handler": "private-storage"}}),
                f'roster."{PRIVILEGED}"': roster,
            }
        )
        await self.login(Implementation(self.server, "implementation", "only"))
        alice, bob = await self.online("alice"), await self.online("bob")
        await untilServed(alice, PROXY)
        for client, nick in ((alice, "alice"), (bob, "bob")):
            client.send(stanza("presence", MUC_X, to=f"{ROOM}/{nick}"))
            await client.expect(lambda element: element.get("from") == f"{ROOM}/{nick}", nick)  # noqa: B023  # awaited at once
            if client is alice:
                await alice.request(ROOM, INSTANT, "set")
        await self.granted(alice, STORED_GET)
        reply = await alice.request(None, STORED, "set")
        self.assertEqual(reply.get("type"), "result")
        friends = Friends(self, gateway, alice, bob)
        await friends.round()
        friends.slowest.clear()
        argv = [sys.executable, str(MALLORY), str(self.server.clientPort), str(gateway.httpPort), str(SECONDS)]
        attack = asyncio.create_task(outcome(argv, self.folder("mallory-"), SECONDS + 20))
        while not attack.done():
            await friends.round()
            await asyncio.sleep(0.05)
        code, said = await attack
        slowest = {what: round(seconds, 2) for what, seconds in friends.slowest.items()}
        sys.stderr.write(f"{friends.count} rounds, slowest {slowest}, peak {gateway.peakMiB():.0f} MiB; {said}")
        self.assertEqual(code, 0, said)
        # It did each of these, and was not merely kept out.
        for what in ("apostrophes", "xml:q", "rejoins", "private gets", "admin", "long rooms", "items", "forms"):
            self.assertIn(f"'{what}'", said)
        self.assertNotIn("not connected", gateway.output.read_text())
        alone = slowest.pop("server alone")
        self.assertLess(max(slowest.values()), 1.0 + alone)


class ShippedProsody(Prosody):
    """With its default limits of stanzas."""

    name = "prosody-shipped"
    shippedLimits = True


class ShippedEjabberd(Ejabberd):
    """The same."""

    name = "ejabberd-shipped"
    shippedLimits = True


class ShippedNewerProsody(NewerProsody):
    """The same."""

    name = "newer-prosody-shipped"
    shippedLimits = True


class ShapedEjabberd(ShippedEjabberd):
    """With its default shaper of clients as well."""

    name = "ejabberd-shaped"
    shippedShaper = True


class BurstTests(RosterCase, SynchronousTestCase):
    """Four sessions of one account, whose shaper allows bursts of 20 kB each."""

    serverClass = ShapedEjabberd

    @scenario(60)
    async def test_rejoins(self) -> None:
        """
        Each session joins a room with 250 kB of history 100 times: the link stays up, and another user is served.
        """
        gateway = await self.startGateway({f'rooms."{ROOMS}"': {}})
        alice = await self.online("alice")
        # No client could send so much in time.
        speaker = await RawComponent(self.server, SPARE).connect()
        self.stack.push_async_callback(speaker.close)
        addresses = f"from='speaker@{SPARE}/r' to='{ROOM}"
        speaker.send(f"<presence {addresses}/speaker'>{MUC_X}</presence>")
        speaker.send(f"<iq {addresses}' type='set' id='open'>{INSTANT}</iq>")
        speaker.send(f"<message {addresses}' type='groupchat'><body>{'x' * 5_000}</body></message>" * 50)
        async with asyncio.timeout(20):
            while sum(local(each) == "message" for each in speaker.received) < 51:
                await asyncio.sleep(0.05)
        streams = [await asyncio.to_thread(Stream, self.server.clientPort) for _ in range(4)]
        for stream in streams:
            self.stack.callback(stream.close)
            stream.send(f"<presence to='{ROOM}/m'>{MUC_X}</presence>" * 100)
        slowest, started = 0.0, time.monotonic()
        while time.monotonic() < started + 15:
            asked = time.monotonic()
            reply = await alice.request(ROOMS, f"<query xmlns='{DISCO_INFO}'/>", seconds=5)
            self.assertEqual(reply.get("type"), "result")
            slowest = max(slowest, time.monotonic() - asked)
            await asyncio.sleep(0.05)
        taken = sum(stream.taken for stream in streams)
        sys.stderr.write(f"{taken} bytes in answer; the slowest answer to another user took {slowest:.2f} s\n")
        self.assertGreater(taken, 5_000_000)
        self.assertLess(slowest, 1.0)
        self.assertNotIn("not connected", gateway.output.read_text())


class ProsodyHostileUserTests(HostileUserTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = ShippedProsody


class NewerProsodyHostileUserTests(HostileUserTests, SynchronousTestCase):
    """On Prosody 13."""

    serverClass = ShippedNewerProsody


class EjabberdHostileUserTests(HostileUserTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = ShippedEjabberd
