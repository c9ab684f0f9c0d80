"""Rooms of a gateway that is killed and terminated while their occupants talk."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from xml.etree.ElementTree import Element, tostring

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.live.case import ACCOUNTS, ENDED_WELL, MIRRORS, ROOMS, scenario
from tests.live.clients import Client, local, stanza
from tests.live.gateway import Gateway
from tests.live.processes import holds
from tests.live.rooms import RoomsCase
from tests.live.servers import DOMAIN, Ejabberd, Embedded, NewerEjabberd, NewerProsody, Prosody

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


class MirrorRestartTests(RoomsCase):
    """A mix-in: mirrors and their room, each in a gateway of its own; for one kind of server."""

    def heard(self, client: Client, room: str) -> list[str]:
        """Return the messages that a room has shown to a client, once for each time."""
        return [
            child.text or ""
            for element in client.received
            for child in element
            if element.get("type") == "groupchat"
            and (element.get("from") or "").startswith(room)
            and local(child) == "body"
        ]

    def hasHeard(self, client: Client, room: str, bodies: set[str]) -> bool:
        """True if a room has shown these messages to a client."""
        return bodies <= set(self.heard(client, room))

    async def archived(self, client: Client, room: str) -> set[str]:
        """Return the messages in the archive of a room."""
        found: set[str] = set()
        before = ""
        while True:
            page = f"<set xmlns='{ns.RSM}'><max>100</max><before>{before}</before></set>"
            answer = await client.request(room, f"<query xmlns='{ns.MAM}' queryid='all'>{page}</query>", "set")
            for element in client.received:
                if any(local(child) == "result" and child.get("queryid") == "all" for child in element):
                    found.update(each.text or "" for each in element.iter() if local(each) == "body")
            fin = answer[0]
            if fin.get("complete") == "true":
                return found
            before = next(each.text or "" for each in fin.iter() if local(each) == "first")

    @staticmethod
    def isFrom(sender: str, element: Element) -> bool:
        """True if a stanza is from this address."""
        return element.get("from") == sender

    async def talk(self, client: Client, name: str, room: str) -> None:
        """Send messages until cancelled."""
        number = 0
        while True:
            number += 1
            with contextlib.suppress(ConnectionError):
                body = f"<body>{name}{number}</body>"
                client.send(stanza("message", body, to=room, type="groupchat", id=f"{name}{number}"))
            await asyncio.sleep(0.3)

    async def restart(self, gateway: Gateway) -> None:
        """Kill and terminate a gateway, and start it each time."""
        for isKilled in (True, False):
            await asyncio.sleep(1)
            if isKilled:
                gateway.kill9()
            else:
                self.assertIn(await gateway.terminate(), ENDED_WELL)
            await asyncio.sleep(1)
            gateway.start()
            await gateway.ready()
            await asyncio.sleep(2)

    @scenario(90)
    async def test_untouched(self) -> None:
        """
        Users talk in a room, and in mirrors of it in each protocol and mode, while both gateways are killed and
        terminated. Nobody is sent a presence; each message that the room has shown is shown to all, once.
        """
        above, below = await self.startSites()
        room, _ = self.places("storm")
        rooms = (room, *(self.places("storm", jid)[1] for jid in MIRRORS))
        places = dict(zip(ACCOUNTS, rooms, strict=False))
        users = {name: await self.user(name, "storm") for name in places}
        for name, client in users.items():
            await self.enter(client, places[name], name)
        last = [*users][-1]
        for name, client in users.items():
            await client.expect(partial(self.isFrom, f"{places[name]}/{last}"), "the last join")
        await asyncio.sleep(0.5)
        for client in users.values():
            client.received.clear()
        talks = [asyncio.create_task(self.talk(client, name, places[name])) for name, client in users.items()]
        for gateway in (below, above):
            await self.restart(gateway)
        for task in talks:
            task.cancel()
        shown = set(self.heard(users["alice"], room))
        self.assertGreater(len(shown), 20)
        await asyncio.sleep(4)
        for name, client in users.items():
            # A process that is killed may have stored a message and not shown it; it is in the archive.
            missing = shown - set(self.heard(client, places[name]))
            if missing:
                self.assertLess(len(missing), 10)
                self.assertEqual(missing - await self.archived(client, places[name]), set(), name)
        after = [f"after-{name}" for name in users]
        for name, client in users.items():
            client.send(stanza("message", f"<body>after-{name}</body>", to=places[name], type="groupchat"))
        for name, client in users.items():
            await holds(partial(self.hasHeard, client, places[name], set(after)), 10, "all talk")
            found = Counter(self.heard(client, places[name]))
            self.assertEqual([each for each, count in found.items() if count > 1], [], name)
            if self.backing and name == "alice":
                # An ordinary room removes occupants whose component is not connected.
                continue
            came = [
                tostring(each)
                for each in client.received
                if local(each) == "presence" and (each.get("from") or "").startswith(places[name])
            ]
            self.assertEqual(came, [], name)


class ProsodyRestartTests(RestartTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdRestartTests(RestartTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class ProsodyMirrorRestartTests(MirrorRestartTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class NewerProsodyMirrorRestartTests(MirrorRestartTests, SynchronousTestCase):
    """On a newer Prosody."""

    serverClass = NewerProsody


class EjabberdMirrorRestartTests(MirrorRestartTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class NewerEjabberdMirrorRestartTests(MirrorRestartTests, SynchronousTestCase):
    """On a newer ejabberd."""

    serverClass = NewerEjabberd


class EmbeddedMirrorRestartTests(MirrorRestartTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded
