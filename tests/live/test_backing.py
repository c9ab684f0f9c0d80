"""
Ordinary rooms of servers behind the gateway's rooms, live: local users in the ordinary room, others through a
mirror. No client and no server knows anything of federation.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from slixmpp import JID
from slixmpp.exceptions import PresenceError
from twisted.trial.unittest import SynchronousTestCase

from tests.live import test_fmuc
from tests.live.case import COMPONENTS, ENDED_WELL, ROOMS, SECRET, scenario
from tests.live.clients import Client, condition, stanza
from tests.live.federation import CONFERENCE as FEDERATED
from tests.live.gateway import Gateway
from tests.live.processes import until
from tests.live.rooms import MIRROR, MUC, MUC_USER, RoomsCase, mirrored
from tests.live.servers import CONFERENCE, DOMAIN, Ejabberd, Prosody
from tests.live.test_fmuc import FmucTests
from tests.live.test_fmuc_private import PrivateTests
from tests.live.test_link import LinkTests

# The other site, which has ordinary rooms of its own.
OTHER_ROOMS, OTHER_MIRROR, OTHER_CONFERENCE = (f"other-{name}" for name in (ROOMS, MIRROR, CONFERENCE))
# Messages while a gateway is away: more than the history of the servers has.
MISSED = 60


class Backed(RoomsCase):
    """A mix-in: ordinary rooms of the server behind those of the gateway."""

    backing = CONFERENCE
    components = {
        **COMPONENTS,
        **dict.fromkeys((OTHER_ROOMS, OTHER_MIRROR), SECRET),
        **dict.fromkeys((CONFERENCE, OTHER_CONFERENCE), ""),
    }


class BackingTests(Backed):
    """A mix-in: scenarios of two sites, each with ordinary rooms, and with mirrors of the other one's."""

    async def startSites(self) -> tuple[Gateway, Gateway]:
        """Start the two gateways."""
        near = self.newGateway(
            {
                f'rooms."{ROOMS}"': {"backing": CONFERENCE, "peers": [MIRROR]},
                f'mirror."{OTHER_MIRROR}"': {"allow": [OTHER_ROOMS], "users": [DOMAIN]},
            }
        )
        far = self.newGateway(
            {
                f'rooms."{OTHER_ROOMS}"': {"backing": OTHER_CONFERENCE, "peers": [OTHER_MIRROR]},
                f'mirror."{MIRROR}"': {"allow": [ROOMS], "users": [DOMAIN]},
            }
        )
        for each in (near, far):
            each.start()
        for each in (near, far):
            await each.ready()
        return near, far

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
        near, far = await self.startSites()
        there, here = self.places("tower")
        middle = f"tower@{ROOMS}"
        own, alice, carol = await self.user("bob", "own"), await self.user("alice"), await self.user("carol")
        await self.enter(own, there, "own")
        await self.enter(alice, here, "alice")
        await self.enter(carol, middle, "carol")
        own.send(stanza("message", "<body>begin</body>", to=there, type="groupchat"))
        for client, room in ((alice, here), (carol, middle), (own, there)):
            await self.heard(client, [(f"{room}/own", "begin")])
            client.received.clear()
        said: list[str] = []
        for gateway in (near, far):
            for ending in (signal.SIGTERM, signal.SIGKILL):
                if ending == signal.SIGKILL:
                    gateway.kill9()
                else:
                    self.assertIn(await gateway.terminate(), ENDED_WELL)
                # The archive has more than the history of the servers: 20.
                for _ in range(1 if said else MISSED):
                    said.append(f"while {len(said)}")
                    own.send(stanza("message", f"<body>{said[-1]}</body>", to=there, type="groupchat"))
                await self.heard(own, [(f"{there}/own", body) for body in said])
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
        """
        Ordinary rooms at both sites, each mirrored at the other one; users in the ordinary room, in the one that
        stands for it, and in its mirror.
        """
        await self.startSites()
        rooms = (
            (f"inn@{CONFERENCE}", f"inn@{ROOMS}", MIRROR),
            (f"inn@{OTHER_CONFERENCE}", f"inn@{OTHER_ROOMS}", OTHER_MIRROR),
        )
        bob, alice, carol = [await self.talker(name) for name in ("bob", "alice", "carol")]
        for (there, middle, mirror), owner, guest in zip(rooms, (bob, alice), (alice, bob), strict=True):
            here = mirrored(middle, mirror)
            await owner.join(there, "owner")
            await guest.join(here, "guest")
            await carol.join(middle, "carol")
            places = ((owner, there, "owner"), (guest, here, "guest"), (carol, middle, "carol"))
            for talker, room, nick in places:
                talker.say(room, f"{nick} in {middle}")
                for each, seen, _ in places:
                    await each.awaitMessage(f"{seen}/{nick}", f"{nick} in {middle}")
            with self.assertRaises(PresenceError) as raised:
                await (await self.talker("mallory", mirror)).join(here, "carol")
            self.assertEqual(raised.exception.condition, "conflict")
            await guest.stream.plugin["xep_0199"].send_ping(JID(f"{here}/owner"), timeout=10)
            await owner.stream.plugin["xep_0199"].send_ping(JID(f"{there}/guest"), timeout=10)


class ProsodyBackingTests(BackingTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdBackingTests(BackingTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class BackedTests(Backed, FmucTests):
    """
    A mix-in: the flows of mirrors.

    @cvar limitsUsers: True if a room may have a largest number of occupants.
    """

    limitsUsers = False

    @scenario(90)
    async def test_refusals(self) -> None:
        """The ordinary room's own refusals reach the user in the mirror whom they are for; and its end, all."""
        await self.startSites()
        for mirror in (MIRROR, f"mirror3.{DOMAIN}"):
            await self.checkRoomRefusals(*self.places(f"gate-{mirror.partition('.')[0]}", mirror))

    async def checkRoomRefusals(self, there: str, here: str) -> None:
        """Check a wrong password, a visitor, a subject, a room that is full, and the room's end."""
        bob, alice, carol = await self.talker("bob"), await self.user("alice"), await self.user("carol")
        await bob.join(there, "bob")
        await self.configure(bob, there, passwordprotectedroom="1", roomsecret="sesame", changesubject="0")
        self.assertEqual(await self.refusal(alice, f"{here}/alice", "barley"), "not-authorized")
        self.assertIsNone(await self.refusal(alice, f"{here}/alice", "sesame"))
        await bob.awaitPresence(f"{there}/alice", None)
        await bob.muc.set_role(JID(there), "alice", "visitor")
        await alice.expect(lambda each: role(each, f"{here}/alice") == "visitor", "the role")
        speech, title = "<body>Open</body>", "<subject>Forty</subject>"
        for inside, word in ((speech, "voiceless"), (title, "subject")):
            alice.send(stanza("message", inside, to=here, type="groupchat", id=word))
            error = await alice.expectId(word, "the error")
            self.assertEqual((error.get("from"), condition(error)), (here, "forbidden"))
        alice.received.clear()
        await bob.muc.set_role(JID(there), "alice", "participant")
        await alice.expect(lambda each: role(each, f"{here}/alice") == "participant", "the voice")
        alice.send(stanza("message", speech, to=here, type="groupchat", id="voice"))
        await bob.awaitMessage(f"{there}/alice", "Open")
        if self.limitsUsers:
            await self.configure(bob, there, maxusers="2")
            self.assertEqual(await self.refusal(carol, f"{here}/carol", "sesame"), "resource-constraint")
            await self.configure(bob, there, maxusers="200")
        self.assertIsNone(await self.refusal(carol, f"{here}/carol", "sesame"))
        await bob.muc.destroy(JID(there))
        for client, nick in ((alice, "alice"), (carol, "carol")):
            end = await self.gone(client, f"{here}/{nick}", "110")
            self.assertEqual(len([*end.iter(f"{{{MUC_USER}}}destroy")]), 1)
        for client in (bob, alice, carol):
            await client.close()

    async def refusal(self, client: Client, occupant: str, secret: str) -> str | None:
        """Join with a password; return the condition of the refusal, or None if the user is in."""
        client.received.clear()
        join = f"<x xmlns='{MUC}'><password>{secret}</password></x>"
        client.send(stanza("presence", join, to=occupant, id="join"))
        return condition(await client.expect(lambda each: each.get("from") == occupant, "the answer"))


def role(element: Element, occupant: str) -> str | None:
    """Return the role in a presence of this occupant."""
    items = element.iter(f"{{{MUC_USER}}}item") if element.get("from") == occupant else ()
    return next((each.get("role") for each in items), None)


class ProsodyBackedTests(BackedTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody


class EjabberdBackedTests(BackedTests, SynchronousTestCase):
    """With rooms of ejabberd."""

    serverClass = Ejabberd
    limitsUsers = True


class BackedWaitingTests(test_fmuc.WaitingTests):
    """Those that mostly wait: lost connections, a server that is killed, addresses without a room."""

    classes = (ProsodyBackedTests, EjabberdBackedTests)


class ProsodyBackedLinkTests(LinkTests, SynchronousTestCase):
    """Rooms of Prosody, mirrors at ejabberd, and a link between the servers."""

    serverClass, mirrorClass = Prosody, Ejabberd
    backing = FEDERATED


class EjabberdBackedLinkTests(LinkTests, SynchronousTestCase):
    """Rooms of ejabberd, mirrors at Prosody, and a link between the servers."""

    serverClass, mirrorClass = Ejabberd, Prosody
    backing = FEDERATED


class ProsodyBackedPrivateTests(Backed, PrivateTests, SynchronousTestCase):
    """A private room of Prosody."""

    serverClass = Prosody


class EjabberdBackedPrivateTests(Backed, PrivateTests, SynchronousTestCase):
    """A private room of ejabberd."""

    serverClass = Ejabberd
