"""Rooms of a gateway that is killed and terminated while their occupants talk."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.live.case import ENDED_WELL, ROOMS, scenario
from tests.live.clients import Client, local, stanza
from tests.live.processes import holds
from tests.live.rooms import RoomsCase
from tests.live.servers import DOMAIN, Ejabberd, Prosody

ROOM = f"storm@{ROOMS}"


class RestartTests(RoomsCase):
    """A mix-in: the scenario, for one kind of server."""

    def heard(self, client: Client) -> list[str]:
        """Return the messages that the room has shown to a client, once for each time."""
        # ejabberd returns the body with the error of a message that came while the gateway was away.
        return [
            child.text or ""
            for element in client.received
            for child in element
            if element.get("type") == "groupchat" and local(child) == "body"
        ]

    async def talk(self, client: Client, name: str) -> None:
        """Send messages until cancelled."""
        number = 0
        while True:
            number += 1
            with contextlib.suppress(ConnectionError):
                client.send(
                    stanza(
                        "message", f"<body>{name}{number}</body>", to=ROOM, type="groupchat", id=f"{name}{number}"
                    )
                )
            await asyncio.sleep(0.4)

    @scenario(90)
    async def test_killed(self) -> None:
        """
        The gateway is killed three times and terminated twice. A message that anybody was shown is in the history,
        and shown once; a ban that was answered holds; the occupants are in, without a presence of anybody; a user
        who has gone meanwhile is removed.
        """
        gateway = await self.startGateway({f'rooms."{ROOMS}"': {}})
        users = {name: await self.user(name, "storm") for name in ("alice", "bob")}
        carol = Client(self.server, "carol", "storm")
        await carol.login()
        self.stack.push_async_callback(carol.close)
        for name, client in (*users.items(), ("carol", carol)):
            await self.enter(client, ROOM, name)
        alice, bob = users.values()
        for client in users.values():
            await client.expect(lambda each: each.get("from") == f"{ROOM}/carol", "the last join")
            client.received.clear()
        talks = [asyncio.create_task(self.talk(client, name)) for name, client in users.items()]
        banned = []
        for round_ in range(5):
            await asyncio.sleep(0.5)
            outcast = f"<item affiliation='outcast' jid='b{round_}@{DOMAIN}'/>"
            reply = await alice.request(ROOM, f"<query xmlns='{ns.MUC_ADMIN}'>{outcast}</query>", "set")
            if reply.get("type") == "result":
                banned.append(f"b{round_}@{DOMAIN}")
            if round_ % 2:
                self.assertIn(await gateway.terminate(), ENDED_WELL)
            else:
                gateway.kill9()
            if round_ == 4:
                carol.drop()
            gateway.start()
            await gateway.ready()
        for task in talks:
            task.cancel()
        await self.gone(alice, f"{ROOM}/carol")
        await asyncio.sleep(1)
        shown = set(self.heard(alice)) | set(self.heard(bob))
        self.assertGreater(len(shown), 10)
        for client in (alice, bob):
            self.assertEqual([each for each, count in Counter(self.heard(client)).items() if count > 1], [])
            came = [
                each.get("from")
                for each in client.received
                if local(each) == "presence" and ROOM in (each.get("from") or "")
            ]
            self.assertEqual(set(came) - {f"{ROOM}/carol"}, set())
        self.assertEqual(len(banned), 5)
        listed = await alice.request(ROOM, f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast'/></query>")
        self.assertEqual({each.get("jid") for each in listed.iter(f"{{{ns.MUC_ADMIN}}}item")}, set(banned))
        carol.received.clear()
        await carol.loginAgain(10)
        await self.enter(carol, ROOM, "carol")
        await holds(lambda: shown <= set(self.heard(carol)), 5, "the history has all that was shown")


class ProsodyRestartTests(RestartTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdRestartTests(RestartTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
