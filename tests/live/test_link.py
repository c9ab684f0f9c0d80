"""
Mirrors over a real link: Prosody and ejabberd federate through a proxy that is slow, cut and half-open.

These tests state what users notice of a lost link: messages that are refused or late. Nobody is put out.
"""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.link.core import Become, Cut, LinkState, Shape, Way
from tests.live.case import scenario
from tests.live.clients import Client, condition, local, stanza
from tests.live.federation import FederationCase
from tests.live.processes import until
from tests.live.servers import Ejabberd, Prosody

UP, HOLE, DOWN = LinkState
FREE = Shape(Way())


class LinkTests(FederationCase):
    """A mix-in: the scenarios, for one pair of servers."""

    async def joined(self, name: str) -> tuple[Client, Client, str, str]:
        """Return a user in a room, one in its mirror, and both addresses."""
        await self.network.take(Become(UP), FREE)
        await self.haveSites()
        room, mirror = self.places(name)
        alice, bob = await self.user("alice"), await self.farUser("bob")
        await self.enter(alice, room, "alice")
        await self.enter(bob, mirror, "bob")
        return alice, bob, room, mirror

    def say(self, client: Client, room: str, body: str) -> None:
        """Send a message to all."""
        client.send(stanza("message", f"<body>{body}</body>", to=room, type="groupchat", id=body))

    async def heard(self, client: Client, occupant: str, body: str, seconds: float = 8) -> None:
        """Wait until an occupant's message is shown."""

        async def isHeard() -> bool:
            return (occupant, body) in self.shown(client)

        await until(isHeard, seconds, f"{client.jid} hears {occupant}: {body}")

    def shown(self, client: Client) -> list[tuple[str, str]]:
        """Return the messages that were shown, without errors."""
        return [
            (element.get("from") or "", child.text or "")
            for element in client.received
            for child in element
            if element.get("type") == "groupchat" and local(child) == "body"
        ]

    async def talk(self, alice: Client, bob: Client, room: str, mirror: str, word: str, seconds: float = 8) -> None:
        """Say something on each side; both users hear both."""
        self.say(alice, room, f"{word}-near")
        self.say(bob, mirror, f"{word}-far")
        for client, address in ((alice, room), (bob, mirror)):
            await self.heard(client, f"{address}/alice", f"{word}-near", seconds)
            await self.heard(client, f"{address}/bob", f"{word}-far", seconds)

    @scenario(60)
    async def test_talk(self) -> None:
        """Join, talk both ways, talk in private, leave; over a link of 64,000 bit/s with a delay, too."""
        alice, bob, room, mirror = await self.joined("talk")
        await self.talk(alice, bob, room, mirror, "fast")
        bob.send(stanza("message", "<body>psst</body>", to=f"{mirror}/alice", type="chat"))
        whispered = await alice.expect(lambda each: each.get("type") == "chat", "the private message")
        self.assertEqual(whispered.get("from"), f"{room}/bob")
        await self.network.take(Shape(Way(64_000, 0.2, 0.1)))
        await self.talk(alice, bob, room, mirror, "slow")
        carol = await self.farUser("carol")
        await self.enter(carol, mirror, "carol")
        bob.send(stanza("presence", to=f"{mirror}/bob", type="unavailable"))
        await self.gone(bob, f"{mirror}/bob", "110")
        await self.gone(alice, f"{room}/bob")
        self.assertEqual(len(self.shown(bob)), len(set(self.shown(bob))))

    @scenario(60)
    async def test_cut(self) -> None:
        """
        If all connections are reset while nobody talks, nobody notices: the servers connect again for the next
        stanza.
        """
        alice, bob, room, mirror = await self.joined("cut")
        await self.talk(alice, bob, room, mirror, "before")
        await self.network.take(Cut())
        await asyncio.sleep(0.3)
        await self.talk(alice, bob, room, mirror, "after")
        self.assertFalse([each for each in (*alice.received, *bob.received) if each.get("type") == "unavailable"])

    @scenario(60)
    async def test_profile(self) -> None:
        """
        A mirror with the profile hf: chat states, changes of presence, and optional elements of messages do not
        cross. In replica mode, messages of the mirror come back without these elements.
        """
        await self.network.take(Become(UP), FREE)
        await self.startSites(profile="hf")
        room, mirror = self.places("profile")
        alice, bob, carol = await self.user("alice"), await self.farUser("bob"), await self.farUser("carol")
        for client, address in ((alice, room), (bob, mirror), (carol, mirror)):
            await self.enter(client, address, client.jid.partition("@")[0])
        state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
        mark = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
        bob.send(stanza("message", state, to=mirror, type="groupchat"))
        bob.send(stanza("presence", "<show>away</show>", to=f"{mirror}/bob"))
        text, written = "it's \"<late>\"", "<body>it's \"&lt;late&gt;\"</body>"
        bob.send(stanza("message", written + mark, to=mirror, type="groupchat", id="q"))
        for client, address in ((bob, mirror), (carol, mirror), (alice, room)):
            await self.heard(client, f"{address}/bob", text)

        def names(client: Client) -> set[str]:
            return {local(child) for element in client.received for child in element}

        self.assertLessEqual({"composing", "show"}, names(carol))
        self.assertTrue(names(alice).isdisjoint({"composing", "show", "markable"}))
        await self.talk(alice, bob, room, mirror, "both")
        self.assertEqual(self.shown(bob).count((f"{mirror}/bob", text)), 1)
        for each in self._gateways:
            self.assertNotIn("resumes", each.log())

    @scenario(60)
    async def test_refused(self) -> None:
        """
        If the link is down, everybody stays: further messages of the mirror's users are refused, and they get those
        of the room when the link is back.
        """
        alice, bob, room, mirror = await self.joined("refused")
        await self.network.take(Become(DOWN))
        await asyncio.sleep(0.3)
        self.say(bob, mirror, "lost")
        self.say(alice, room, "missed")
        await asyncio.sleep(1)
        self.say(bob, mirror, "refused")
        error = await bob.expectId("refused", "the error")
        self.assertEqual(condition(error), "recipient-unavailable")
        await self.network.take(Become(UP))
        # ejabberd returns everything for a second after a failed attempt, and the mirror tries less and less often.
        await self.heard(bob, f"{mirror}/alice", "missed", 20)
        await self.talk(alice, bob, room, mirror, "again")
        self.assertNotIn("refused", [body for client in (alice, bob) for _, body in self.shown(client)])
        self.assertFalse([each for each in (*alice.received, *bob.received) if each.get("type") == "unavailable"])

    @scenario(60)
    async def test_hole(self) -> None:
        """
        Messages that are sent in a black hole arrive late if the link thaws. If the connections are reset, the
        servers lose them without any error; the channel repeats them, and each is shown once. Nobody is put out.
        """
        alice, bob, room, mirror = await self.joined("hole")
        await self.talk(alice, bob, room, mirror, "before")
        await self.network.script([(0, Become(HOLE)), (2, Become(UP))])
        await self.talk(alice, bob, room, mirror, "late")
        await self.network.take(Become(HOLE))
        self.say(alice, room, "lost-near")
        self.say(bob, mirror, "lost-far")
        await asyncio.sleep(1)
        found = await self.network.take(Cut(), Become(UP))
        self.assertTrue(all(each["lost"] > 0 for each in found["counts"].values()), found)
        await asyncio.sleep(0.3)
        await self.talk(alice, bob, room, mirror, "after")
        for client, address in ((alice, room), (bob, mirror)):
            for speaker, body in (("alice", "lost-near"), ("bob", "lost-far")):
                await self.heard(client, f"{address}/{speaker}", body, 20)
                self.assertEqual(self.shown(client).count((f"{address}/{speaker}", body)), 1)
        self.assertFalse([each for each in (*alice.received, *bob.received) if each.get("type") == "unavailable"])


class ProsodyEjabberdLinkTests(LinkTests, SynchronousTestCase):
    """Rooms at Prosody, mirrors at ejabberd."""

    serverClass, mirrorClass = Prosody, Ejabberd


class EjabberdProsodyLinkTests(LinkTests, SynchronousTestCase):
    """Rooms at ejabberd, mirrors at Prosody."""

    serverClass, mirrorClass = Ejabberd, Prosody
