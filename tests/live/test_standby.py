"""Gateways with the same rooms and mirrors on one PostgreSQL database: one is killed, halted or cut off from it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections import Counter
from functools import partial
from typing import Any
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway.standby.core import WAITS_FOR
from gateway.state.postgresql_session import schemaOf
from tests.live.case import PROXY, ROOMS, TogetherTests, proxy
from tests.live.clients import Client, Implementation, local, stanza, untilServed
from tests.live.delegations import PRIVATE, STORAGE_GATEWAY
from tests.live.gateway import Gateway
from tests.live.processes import Value, holds
from tests.live.rooms import MIRROR, RoomsCase, mirrored
from tests.live.servers import DOMAIN, Ejabberd, KickingProsody
from tests.live.test_delegation import WANTED, note, noted
from tests.state.cluster import cluster
from tests.state.relay import Relay

ROOM = f"standby@{ROOMS}"
PLACES = {"alice": ROOM, "bob": ROOM, "carol": mirrored(ROOM)}


class StandbyCase(RoomsCase):
    """A mix-in: two gateways, of which one serves the components."""

    # Seconds from the end of a gateway until the rooms are back.
    within = 10.0
    # Number of components of a gateway.
    links = 2
    # True if the server ends the connection of a gateway that does not respond when another one connects.
    ends = True

    def tables(self, url: str) -> dict[str, dict[str, Value]]:
        """Return the tables of a gateway."""
        return {
            "state": {"url": url},
            f'rooms."{ROOMS}"': {"standby": True, "peers": [MIRROR]},
            f'mirror."{MIRROR}"': {"standby": True, "allow": [ROOMS], "users": [DOMAIN]},
        }

    async def serves(self, gateway: Gateway) -> bool:
        """True if a gateway serves all components."""
        return (await gateway.get("/status"))[1].count(": connected\n") == self.links

    async def untilServes(self, gateway: Gateway) -> None:
        """Wait until a gateway serves all components."""
        async with asyncio.timeout(20):
            while not await self.serves(gateway):
                await asyncio.sleep(0.1)

    async def startTwo(self, first: str = "") -> tuple[Gateway, Gateway]:
        """
        Start a gateway that serves the components, and one that waits.

        @param first: the URL of the first one's database, if that is another one.
        """
        self.database = cluster().database()
        url = cluster().url(self.database)
        urls = first.format(url.rpartition("/")[2]) or url, url
        gateways = [self.newGateway(self.tables(each)) for each in urls]
        for number, gateway in enumerate(gateways):
            gateway.start()
            await gateway.ready()
            if not number:
                await self.untilServes(gateway)
        _, status = await gateways[1].get("/status")
        waiting = f": standby: .*{gateways[0].directory}/gateway.toml serves it"
        self.assertEqual(len(re.findall(waiting, status)), self.links)
        return gateways[0], gateways[1]


    async def waits(self, former: Gateway, serving: Gateway) -> None:
        """Wait until a gateway knows that another one serves its components, and is not connected."""

        async def isWaiting() -> bool:
            _, status = await former.get("/status")
            return f"{serving.directory}/gateway.toml serves it" in status and ": connected" not in status

        async with asyncio.timeout(10):
            while not await isWaiting():
                await asyncio.sleep(0.2)


class RoomsStandbyTests(StandbyCase):
    """A mix-in: rooms and a mirror of them, for one kind of server."""

    async def enterAll(self) -> dict[str, Client]:
        """Let users enter the room, and its mirror."""
        users = {}
        for name, place in PLACES.items():
            users[name] = await self.user(name, "standby")
            await self.enter(users[name], place, name)
        for name, client in users.items():
            last = f"{PLACES[name]}/carol"
            await client.expect(lambda each, last=last: each.get("from") == last, "the last join")
        await asyncio.sleep(0.5)
        for client in users.values():
            client.received.clear()
        return users

    def heard(self, client: Client) -> list[str]:
        """Return the messages that rooms have shown to a client, once for each time."""
        return [
            child.text or ""
            for element in client.received
            for child in element
            if element.get("type") == "groupchat" and local(child) == "body"
        ]

    def hasHeard(self, client: Client, start: str) -> bool:
        """True if rooms have shown a client a message that begins like this."""
        return any(each.startswith(start) for each in self.heard(client))

    def presences(self, client: Client) -> list[Element]:
        """Return the presence of occupants that came to a client."""
        names = [each for each in client.received if local(each) == "presence"]
        return [each for each in names if (each.get("from") or "").partition("/")[0] in PLACES.values()]

    async def talk(self, client: Client, name: str) -> None:
        """Send messages until cancelled."""
        number = 0
        while True:
            number += 1
            with contextlib.suppress(ConnectionError):
                body = f"<body>{name}{number}</body>"
                client.send(stanza("message", body, to=PLACES[name], type="groupchat", id=f"{name}{number}"))
            await asyncio.sleep(0.2)

    async def back(self, users: dict[str, Client], since: float) -> float:
        """Wait until a new message of each user is shown to all; return the seconds since a time."""
        texts = []
        for name, client in users.items():
            texts.append(f"back-{name}-{since}")

            async def ask(client: Client = client, place: str = PLACES[name], text: str = texts[-1]) -> None:
                number = 0
                while not self.hasHeard(client, f"{text}-"):
                    number += 1
                    body = f"<body>{text}-{number}</body>"
                    client.send(stanza("message", body, to=place, type="groupchat", id=f"{text}-{number}"))
                    await asyncio.sleep(0.2)

            async with asyncio.timeout(40):
                await ask()
        for client in users.values():
            for text in texts:
                await holds(partial(self.hasHeard, client, f"{text}-"), 10, f"{client.jid} sees {text}")
        return time.monotonic() - since

    async def check(self, users: dict[str, Client]) -> None:
        """
        All that anybody was shown is shown to each user once, or in the history for one who joins anew; nobody was
        sent a presence.
        """
        await asyncio.sleep(2)
        shown = set(self.heard(users["alice"])) | set(self.heard(users["bob"]))
        for name, client in users.items():
            self.assertEqual([each for each, count in Counter(self.heard(client)).items() if count > 1], [], name)
            self.assertEqual([each.get("from") for each in self.presences(client)], [], name)
        newcomer = await self.user("manager", "standby")
        await self.enter(newcomer, ROOM, "manager")
        await asyncio.sleep(1)
        history = set(self.heard(newcomer))
        # The history has the last messages.
        self.assertIn(self.heard(users["alice"])[-1], history)
        lost = shown - history - await self.archived(newcomer)
        self.assertEqual(lost, set())

    async def archived(self, client: Client) -> set[str]:
        """Return the messages in the archive of the room."""
        found: set[str] = set()
        before = ""
        while True:
            page = f"<set xmlns='http://jabber.org/protocol/rsm'><max>100</max><before>{before}</before></set>"
            query = f"<query xmlns='urn:xmpp:mam:2' queryid='all'>{page}</query>"
            answer = await client.request(ROOM, query, "set")
            for element in client.received:
                if any(local(child) == "result" and child.get("queryid") == "all" for child in element):
                    found.update(each.text or "" for each in element.iter() if local(each) == "body")
            fin = answer[0]
            if fin.get("complete") == "true":
                return found
            before = next(each.text or "" for each in fin.iter() if local(each) == "first")

    async def killed(self) -> None:
        """
        The gateway that serves the rooms is killed twice, and started again as the one that waits. The other one
        has the rooms, with their occupants, within the time; nothing that was shown is lost or shown twice.
        """
        serving, waiting = await self.startTwo()
        users = await self.enterAll()
        talks = [asyncio.create_task(self.talk(client, name)) for name, client in users.items()]
        took = []
        for _ in range(2):
            await asyncio.sleep(2)
            serving.kill9()
            took.append(await self.back(users, time.monotonic()))
            serving.start()
            await serving.ready()
            serving, waiting = waiting, serving
        for task in talks:
            task.cancel()
        print(f"{type(self).__name__}: killed: rooms back after {', '.join(f'{each:.1f}' for each in took)} s")
        self.assertLess(max(took), self.within)
        await self.check(users)
        for gateway in (serving, waiting):
            self.assertNotIn("Traceback", gateway.log(10_000))

    async def terminated(self) -> None:
        """A gateway that is stopped leaves the rooms to the other one at once."""
        serving, _ = await self.startTwo()
        users = await self.enterAll()
        stopping = asyncio.create_task(serving.terminate())
        took = await self.back(users, time.monotonic())
        await stopping
        print(f"{type(self).__name__}: terminated: rooms back after {took:.1f} s")
        # It may wait five seconds for answers.
        self.assertLess(took, self.within)
        await self.check(users)

    async def halted(self) -> None:
        """
        A gateway that is halted loses the rooms. When it goes on, it handles nothing of what has come meanwhile,
        and waits. Until then ejabberd gives it half of the stanzas, so that nothing works as it should.
        """
        serving, waiting = await self.startTwo()
        users = await self.enterAll()
        talks = [asyncio.create_task(self.talk(client, name)) for name, client in users.items()]
        await asyncio.sleep(1)
        serving.child.send_signal(signal.SIGSTOP)
        if self.ends:
            took = await self.back(users, time.monotonic())
            print(f"{type(self).__name__}: halted: rooms back after {took:.1f} s")
            self.assertLess(took, self.within)
        await self.untilServes(waiting)
        await asyncio.sleep(2)
        serving.child.send_signal(signal.SIGCONT)
        continued = time.monotonic()
        await self.waits(serving, waiting)
        took = await self.back(users, continued)
        print(f"{type(self).__name__}: halted: rooms back {took:.1f} s after it goes on")
        # On ejabberd, the other one may connect anew when it finds that this one is gone.
        self.assertLess(took, self.within if self.ends else 20)
        await self.untilServes(waiting)
        for task in talks:
            task.cancel()
        await self.back(users, time.monotonic())
        await self.check(users)

    async def cutOff(self) -> None:
        """A gateway that cannot reach the database any longer stops serving the rooms; the other one has them."""
        relay = Relay(cluster().port)
        self.stack.callback(relay.close)
        serving, waiting = await self.startTwo(f"postgresql://gateway@127.0.0.1:{relay.port}/{{}}")
        users = await self.enterAll()
        talks = [asyncio.create_task(self.talk(client, name)) for name, client in users.items()]
        await asyncio.sleep(1)
        relay.isAway = True
        relay.cut()
        took = await self.back(users, time.monotonic())
        for task in talks:
            task.cancel()
        print(f"{type(self).__name__}: cut off: rooms back after {took:.1f} s")
        self.assertLess(took, self.within)
        self.assertGreater(took, WAITS_FOR - 1)
        self.assertTrue(await self.serves(waiting))
        self.assertNotIn(": connected", (await serving.get("/status"))[1])
        await self.check(users)
        relay.isAway = False


class ServicesStandbyTests(StandbyCase):
    """A mix-in: private storage and a proxy, for one kind of server."""

    def tables(self, url: str) -> dict[str, dict[str, Value]]:
        key = str(self.server.directory / "standby.key")
        delegating = f'delegation."{STORAGE_GATEWAY}"'
        return {
            "state": {"url": url},
            **proxy(PROXY, standby=True, key_file=key),
            delegating: {"servers": [DOMAIN], "standby": True},
            f'{delegating}.namespaces."{PRIVATE}"': {"handler": "private-storage"},
        }

    async def killed(self) -> None:
        """
        The gateway is killed: the other one has what was stored, and answers requests. There was one connection of
        each component at a time, so ejabberd ends no delegation.
        """
        serving, waiting = await self.startTwo()
        await self.implementing("a")
        alice = await self.user("alice")
        await self.granted(alice, WANTED)
        await untilServed(alice, PROXY)
        for number in range(2):
            stored = await alice.request(alice.bare, note(f"n{number}"), "set")
            self.assertEqual(stored.get("type"), "result")
            began = time.monotonic()
            serving.kill9()
            served = asyncio.create_task(untilServed(alice, PROXY, 40))
            await self.stored(alice, f"n{number}")
            took = time.monotonic() - began
            print(f"{type(self).__name__}: killed: {took:.1f} s, proxy {await served:.1f} s")
            self.assertLess(took, self.within)
            serving.start()
            await serving.ready()
            serving, waiting = waiting, serving
        self.assertNotIn("Traceback", serving.log(10_000) + waiting.log(10_000))

    def notes(self) -> list[Any]:
        """Return what the database has."""
        return cluster().sql(f'TABLE "{schemaOf(f"{STORAGE_GATEWAY}.private")}".private', self.database)

    async def works(self, user: Client, text: str, since: float, what: str) -> None:
        """Wait until a user can store a text, and has an answer through the proxy."""
        proxied = asyncio.create_task(untilServed(user, PROXY, 40))
        async with asyncio.timeout(40):
            changed = None
            while changed is None or changed.get("type") != "result":
                with contextlib.suppress(AssertionError):
                    changed = await user.request(user.bare, note(text), "set", seconds=2)
                await asyncio.sleep(0.1)
        await self.stored(user, text)
        storage, _ = time.monotonic() - since, await proxied
        print(f"{type(self).__name__}: {what}: {storage:.1f} s, proxy {time.monotonic() - since:.1f} s")
        self.assertLess(time.monotonic() - since, 20.0)

    async def stored(self, user: Client, text: str) -> None:
        """Ask until the user's note has a text. What was sent to a gateway that is killed gets no answer."""
        async with asyncio.timeout(40):
            while True:
                with contextlib.suppress(AssertionError):
                    if noted(await user.request(user.bare, WANTED, seconds=2)) == text:
                        return
                await asyncio.sleep(0.1)

    async def halted(self) -> None:
        """
        The gateway is halted for a minute, with changes and requests that it has just received. Meanwhile the other
        one serves. When the first one goes on, it stores nothing, answers nothing, and waits.
        """
        serving, waiting = await self.startTwo()
        answers = 8.0

        def slowly(client: Implementation, request: Element) -> None:
            isSlow = any(local(child) == "slow" for child in request)
            asyncio.get_running_loop().call_later(answers if isSlow else 0, client.answer, request)

        await self.implementing("a", behaviour=slowly)
        alice = await self.user("alice")
        await self.granted(alice, WANTED)
        await untilServed(alice, PROXY)
        stored = await alice.request(alice.bare, note("first"), "set")
        self.assertEqual(stored.get("type"), "result")
        alice.received.clear()
        asked = [f"halted{number}" for number in range(60)]
        for number, id_ in enumerate(asked[:20]):
            alice.sendIq(PROXY, "<slow xmlns='urn:example:slow'/>", "get", id_)
            if number == 10:
                await asyncio.sleep(0.5)
        for number, id_ in enumerate(asked[20:]):
            alice.sendIq(alice.bare, note(f"old{number}"), "set", id_)
            if number == 20:
                await asyncio.sleep(0.005)
        serving.child.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        await self.untilServes(waiting)
        if self.ends:
            await self.works(alice, "new", began, "halted")
        await asyncio.sleep(began + 60 - time.monotonic())
        found = self.notes()
        serving.child.send_signal(signal.SIGCONT)
        continued = time.monotonic()
        await self.waits(serving, waiting)
        await asyncio.sleep(3)
        self.assertEqual(self.notes(), found)
        await self.works(alice, "newer", continued, "halted: after it goes on")
        # On ejabberd, it connects each component anew when it finds that the other one is gone.
        await self.untilServes(waiting)
        answered = Counter(each.get("id") for each in alice.received if local(each) == "iq")
        self.assertEqual([id_ for id_ in asked if answered[id_] > 1], [])
        self.assertNotIn("Traceback", serving.log(10_000) + waiting.log(10_000))


class EjabberdServicesTests(ServicesStandbyTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    ends = False


class ProsodyServicesTests(ServicesStandbyTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = KickingProsody


class EjabberdRoomsTests(RoomsStandbyTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    ends = False


class ProsodyRoomsTests(RoomsStandbyTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = KickingProsody


class ServicesTests(TogetherTests, SynchronousTestCase):
    """Private storage and a proxy, on both servers at once, because the scenario mostly waits."""

    classes = (EjabberdServicesTests, ProsodyServicesTests)

    def test_killed(self) -> None:
        """The other gateway has what was stored, and answers requests."""
        self.together("killed", 90)

    def test_halted(self) -> None:
        """A gateway that was halted for a minute stores and answers nothing when it goes on."""
        self.together("halted", 120)


class RoomsTests(TogetherTests, SynchronousTestCase):
    """Rooms and a mirror, likewise."""

    classes = (EjabberdRoomsTests, ProsodyRoomsTests)

    def test_killed(self) -> None:
        """The other gateway has the rooms with their occupants; nothing that was shown is lost."""
        self.together("killed", 120)

    def test_terminated(self) -> None:
        """The same at once, after a stop."""
        self.together("terminated", 60)

    def test_halted(self) -> None:
        """A gateway that was halted waits when it goes on."""
        self.together("halted", 90)

    def test_cutOff(self) -> None:
        """A gateway that does not reach the database stops serving the rooms."""
        self.together("cutOff", 60)
