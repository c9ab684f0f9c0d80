"""
Ordinary rooms of servers behind the gateway's rooms, live: local users in the ordinary room, others through a
mirror. No client and no server knows anything of federation.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from slixmpp import JID
from slixmpp.exceptions import PresenceError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import ENDED_WELL, ROOMS, SECRET, scenario
from tests.live.clients import Client, loginAll, stanza
from tests.live.gateway import Gateway
from tests.live.processes import until
from tests.live.rooms import INSTANT, MIRROR, RoomsCase, Talker, Wire, mirrored
from tests.live.servers import CONFERENCE, DOMAIN, Ejabberd, Prosody

# The other site, which has ordinary rooms of its own.
OTHER_ROOMS, OTHER_MIRROR, OTHER_CONFERENCE = (f"{name}.{DOMAIN}" for name in ("rooms2", "mirror2", "conference2"))
MANY = 20


class BackingTests(RoomsCase):
    """A mix-in: the scenarios, for one kind of server."""

    components = {
        **dict.fromkeys((ROOMS, MIRROR, OTHER_ROOMS, OTHER_MIRROR), SECRET),
        **dict.fromkeys((CONFERENCE, OTHER_CONFERENCE), ""),
    }

    async def startSites(self) -> tuple[Gateway, Gateway]:
        """Start the two gateways: each has rooms that stand for ordinary ones, and mirrors of the other's rooms."""
        above = await self.startGateway(
            {
                f'rooms."{ROOMS}"': {"backing": CONFERENCE, "peers": [MIRROR]},
                f'mirror."{OTHER_MIRROR}"': {"allow": [OTHER_ROOMS], "users": [DOMAIN]},
            }
        )
        self.wire = await Wire(self.server.componentPort).open()
        self.stack.callback(self.wire.close)
        below = self.newGateway(
            {
                f'rooms."{OTHER_ROOMS}"': {"backing": OTHER_CONFERENCE, "peers": [OTHER_MIRROR]},
                f'mirror."{MIRROR}"': {"allow": [ROOMS], "users": [DOMAIN]},
            },
            port=self.wire.port,
        )
        below.start()
        await below.ready()
        return above, below

    async def opened(self, user: str, room: str) -> Talker:
        """Let a user make an ordinary room, and accept its default configuration."""
        talker = await self.talker(user)
        await talker.muc.join_muc_wait(JID(room), user, timeout=10)
        await self.configure(talker, room)
        return talker

    async def configure(self, talker: Talker, room: str) -> None:
        """Accept the default configuration of a room."""
        client = await self.user(talker.stream.boundjid.user, "owner")
        await client.request(room, INSTANT, "set")

    @scenario(120)
    async def test_talk(self) -> None:
        """Join, history, subject, messages, private messages, presence, requests, refusals, kick, ban, leave."""
        await self.startSites()
        there, middle, here = (f"coven@{CONFERENCE}", f"coven@{ROOMS}", mirrored(f"coven@{ROOMS}"))
        bob = await self.opened("bob", there)
        bob.muc.set_subject(JID(there), "Hurly-burly")
        bob.say(there, "When shall we meet again?")
        await bob.awaitMessage(f"{there}/bob", "When shall we meet again?")
        alice, carol = await self.talker("alice"), await self.talker("carol")
        _, subject, occupants, history = await alice.join(here, "alice")
        self.assertEqual(subject["subject"], "Hurly-burly")
        self.assertEqual([each["muc"]["nick"] for each in occupants], ["bob", "alice"])
        self.assertEqual([(str(old["from"]), old["body"]) for old in history], [(f"{here}/bob", bob.said[-1][2])])
        await carol.join(middle, "carol")
        await bob.awaitPresence(f"{there}/carol", None)
        await alice.awaitPresence(f"{here}/carol", None)
        places = ((alice, here), (bob, there), (carol, middle))
        for talker, room in places:
            nick = talker.stream.boundjid.user
            talker.say(room, f"by {nick}")
            for each, seen in places:
                await each.awaitMessage(f"{seen}/{nick}", f"by {nick}")
        alice.whisper(f"{here}/bob", "or in rain")
        await bob.awaitMessage(f"{there}/alice", "or in rain")
        bob.whisper(f"{there}/alice", "lightning")
        await alice.awaitMessage(f"{here}/bob", "lightning")
        for each, _ in places:
            each.came.clear()
        alice.stream.send_presence(pto=f"{here}/alice", pshow="away")
        for each, room in places:
            await each.awaitPresence(f"{room}/alice", None)
        bob.muc.set_subject(JID(there), "Lost and won")
        await alice.awaitMessage(f"{here}/bob", "Lost and won")
        await alice.stream.plugin["xep_0199"].send_ping(JID(f"{here}/bob"), timeout=10)
        await bob.stream.plugin["xep_0199"].send_ping(JID(f"{there}/alice"), timeout=10)
        await self.checkModeration(bob, alice, there, here)
        alice.muc.leave_muc(JID(here), "alice", msg="Paddock calls")
        await alice.awaitPresence(f"{here}/alice", "unavailable", "110")
        await bob.awaitPresence(f"{there}/alice", "unavailable")

    async def checkModeration(self, bob: Talker, alice: Talker, there: str, here: str) -> None:
        """Check refusals, a kick and a ban by a moderator of the ordinary room."""
        for nick in ("bob", "carol"):
            stranger = await self.talker("mallory", nick)
            with self.assertRaises(PresenceError) as raised:
                await stranger.join(here, nick)
            self.assertEqual(raised.exception.condition, "conflict")
        await bob.muc.set_role(JID(there), "alice", "none", reason="Graymalkin")
        await alice.awaitPresence(f"{here}/alice", "unavailable", "307", "110")
        await alice.join(here, "alice")
        address = JID(rf"alice\40{DOMAIN}@{ROOMS}")
        await bob.muc.set_affiliation(JID(there), "outcast", jid=address)
        await alice.awaitPresence(f"{here}/alice", "unavailable", "301", "110")
        with self.assertRaises(PresenceError) as raised:
            await alice.join(here, "alice")
        self.assertEqual(raised.exception.condition, "forbidden")
        await bob.muc.set_affiliation(JID(there), "none", jid=address)
        await alice.join(here, "alice")
        alice.came.clear()
        bob.came.clear()

    @scenario(120)
    async def test_counted(self) -> None:
        """One copy each way for any number of occupants of the mirror; each of them gets each message once."""
        await self.startSites()
        there, middle = f"heath@{CONFERENCE}", f"heath@{ROOMS}"
        here = mirrored(middle)
        own = await self.user("bob", "own")
        await self.enter(own, there, "own")
        await own.request(there, INSTANT, "set")
        clients = [Client(self.server, "alice", f"r{number}") for number in range(MANY)]
        await loginAll(clients)
        for number, client in enumerate(clients):
            self.stack.push_async_callback(client.close)
            await self.enter(client, here, f"n{number}")
        before = [self.wire.passed[way, "message", middle] for way in ("up", "down")]
        own.send(stanza("message", "<body>down</body>", to=there, type="groupchat"))
        clients[3].send(stanza("message", "<body>up</body>", to=here, type="groupchat"))
        for client in (*clients, own):
            room = there if client is own else here
            await self.heard(client, [(f"{room}/n3", "up"), (f"{room}/own", "down")])
        # In replica mode a message comes back. Acknowledgements of the channel are messages, too, without a body.
        after = [self.wire.passed[way, "message", middle] for way in ("up", "down")]
        counts = [one - other for one, other in zip(after, before, strict=True)]
        self.assertLessEqual(counts[0], 1 + 2)
        self.assertEqual(counts[1], 2)

    async def heard(self, client: Client, expected: Sequence[tuple[str, str]]) -> None:
        """Wait until a client has heard these messages; each may come once."""

        async def hasHeard() -> bool:
            bodies = self.bodies(client)
            self.assertEqual(len(bodies), len(set(bodies)), "nothing twice")
            return set(expected) <= set(bodies)

        await until(hasHeard, 15, f"{client.jid} hears {expected}")

    @scenario(180)
    async def test_restarts(self) -> None:
        """
        Each gateway is stopped, and killed, while others talk: nobody in a mirror sees anybody leave, and nothing
        is missing or repeated.
        """
        above, below = await self.startSites()
        there, middle = f"tower@{CONFERENCE}", f"tower@{ROOMS}"
        here = mirrored(middle)
        own, alice, carol = await self.user("bob", "own"), await self.user("alice"), await self.user("carol")
        await self.enter(own, there, "own")
        await own.request(there, INSTANT, "set")
        await self.enter(alice, here, "alice")
        await self.enter(carol, middle, "carol")
        await self.heard(own, [])
        for client in (own, alice, carol):
            client.received.clear()
        said: list[str] = []
        for gateway in (above, below):
            for ending in (signal.SIGTERM, signal.SIGKILL):
                if ending == signal.SIGKILL:
                    gateway.kill9()
                else:
                    self.assertIn(await gateway.terminate(), ENDED_WELL)
                said.append(f"while {len(said)}")
                own.send(stanza("message", f"<body>{said[-1]}</body>", to=there, type="groupchat"))
                await self.heard(own, [(f"{there}/own", said[-1])])
                gateway.start()
                await gateway.ready()
                for client, room in ((alice, here), (carol, middle)):
                    await self.heard(client, [(f"{room}/own", body) for body in said])
        alice.send(stanza("message", "<body>at last</body>", to=here, type="groupchat"))
        for client, room in ((alice, here), (carol, middle), (own, there)):
            await self.heard(client, [(f"{room}/alice", "at last")])
        left = [each for client in (alice, carol) for each in client.received if each.get("type") == "unavailable"]
        self.assertEqual(left, [])

    @scenario(120)
    async def test_both(self) -> None:
        """Ordinary rooms at both sites, each mirrored at the other one."""
        await self.startSites()
        rooms = (
            (f"inn@{CONFERENCE}", f"inn@{ROOMS}", MIRROR),
            (f"inn@{OTHER_CONFERENCE}", f"inn@{OTHER_ROOMS}", OTHER_MIRROR),
        )
        bob, alice = await self.talker("bob"), await self.talker("alice")
        for (there, middle, mirror), owner, guest in zip(rooms, (bob, alice), (alice, bob), strict=True):
            here = mirrored(middle, mirror)
            await owner.muc.join_muc_wait(JID(there), "owner", timeout=10)
            await self.configure(owner, there)
            await guest.join(here, "guest")
            for talker, room, nick in ((owner, there, "owner"), (guest, here, "guest")):
                talker.say(room, f"{nick} in {middle}")
                for each, seen in ((owner, there), (guest, here)):
                    await each.awaitMessage(f"{seen}/{nick}", f"{nick} in {middle}")


class ProsodyBackingTests(BackingTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdBackingTests(BackingTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
