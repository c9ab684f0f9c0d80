"""A hostile user beside others: what they do goes on, at its usual pace, and no link is lost."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PING, PROXY, ROOMS, proxy, scenario
from tests.live.clients import Client, Implementation, condition, newId, stanza, untilServed
from tests.live.delegations import PRIVATE, STORAGE_GATEWAY, tables
from tests.live.gateway import Gateway
from tests.live.processes import outcome
from tests.live.rooms import MUC_X
from tests.live.rosters import RosterCase, WebApplication
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, Prosody

MALLORY = Path(__file__).with_name("mallory.py")
SECONDS = 30
ROOM = f"friends@{ROOMS}"
STORED = f"<query xmlns='{PRIVATE}'><a xmlns='urn:alice'>mine</a></query>"
STORED_GET = f"<query xmlns='{PRIVATE}'><a xmlns='urn:alice'/></query>"


class Friends:
    """
    Two users who use every service.

    @ivar slowest: seconds of the slowest answer of each kind.
    @ivar count: how many there were.
    """

    def __init__(self, case: HostileUserTests, gateway: Gateway, alice: Client, bob: Client) -> None:
        self._case = case
        self._gateway = gateway
        self._alice, self._bob = alice, bob
        self.slowest: dict[str, float] = {}
        self.count = 0

    async def round(self) -> None:
        """Use each once; every answer must be right."""
        case, alice, bob = self._case, self._alice, self._bob
        started = time.monotonic()

        def took(what: str) -> None:
            nonlocal started
            now = time.monotonic()
            self.slowest[what] = max(self.slowest.get(what, 0.0), now - started)
            started = now

        reply = await alice.request(PROXY, PING, seconds=5)
        case.assertEqual(reply.get("type"), "result", condition(reply))
        took("proxy")
        id_ = newId()
        alice.send(stanza("message", f"<body>{id_}</body>", to=ROOM, type="groupchat", id=id_))
        heard = await bob.expectId(id_, "a friend's message")
        case.assertEqual(heard.get("from"), f"{ROOM}/alice")
        took("room")
        reply = await alice.request(None, STORED_GET, seconds=5)
        case.assertEqual([each.text for each in reply.iter("{urn:alice}a")], ["mine"])
        took("delegation")
        name = f"B{self.count}"
        case.application.say("alice", {bob.bare: {"name": name}})
        started = time.monotonic()
        code, answer = await case.refresh(self._gateway, "alice", seconds=5)
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
        For half a minute one user sends what is too large, too deep, no XML for some, and what makes much of
        little; the others' exchanges, rooms, private storage and refreshes are right and none takes a second.
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
            await client.expect(lambda element: element.get("from") == f"{ROOM}/{nick}", nick)  # noqa: B023
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
        self.assertLess(max(slowest.values()), 1.0)


class ShippedProsody(Prosody):
    """With the limits of stanzas that are its defaults."""

    name = "prosody-shipped"
    shippedLimits = True


class ShippedEjabberd(Ejabberd):
    """The same."""

    name = "ejabberd-shipped"
    shippedLimits = True


class ProsodyHostileUserTests(HostileUserTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = ShippedProsody


class EjabberdHostileUserTests(HostileUserTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = ShippedEjabberd
