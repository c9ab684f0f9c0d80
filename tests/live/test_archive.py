"""Archives of rooms and mirrors live, with slixmpp's own XEP-0313."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from slixmpp import JID
from slixmpp.exceptions import IqError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import MIRRORS, scenario
from tests.live.rooms import RoomsCase, Talker, mirrored
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody


class ArchiveTests(RoomsCase):
    """
    A mix-in: the scenarios, for one kind of server.

    @cvar history: number of messages in the history of the room.
    """

    history = 50

    async def reader(self, user: str) -> Talker:
        talker = await self.talker(user)
        talker.stream.register_plugin("xep_0313")
        return talker

    async def read(self, talker: Talker, room: str, **more: Any) -> list[tuple[str, str, str]]:
        """Return the id, the sender and the body of each result, page by page."""
        found = []
        mam = talker.stream.plugin["xep_0313"]
        async for message in mam.iterate(jid=JID(room), rsm={"max": 7}, **more):
            result = message["mam_result"]
            said = result["forwarded"]["stanza"]
            found.append((str(result["id"]), str(said["from"]), str(said["body"])))
        return found

    @scenario(90)
    async def test_pages(self) -> None:
        """
        All messages come, in order and with the ids that they were shown with, in a room and in each mirror of it,
        also for a client that joins without history.
        """
        await self.startSites()
        room, _ = self.places("pages")
        bob, alice, carol = [await self.reader(name) for name in ("bob", "alice", "carol")]
        await bob.join(room, "bob")
        texts = [f"message {number}" for number in range(30)]
        for text in texts:
            bob.say(room, text)
        await bob.awaitMessage(f"{room}/bob", texts[-1])
        expected = [(str(bob.ids[text][1]), f"{room}/bob", text) for text in texts]
        await self.checkRoom(room, bob, carol, expected)
        for number, mirror in enumerate(MIRRORS):
            _, here = self.places("pages", mirror)
            with self.assertRaises(IqError) as refused:
                await carol.stream.plugin["xep_0313"].retrieve(jid=JID(here), timeout=5)
            self.assertIn(refused.exception.condition, ("forbidden", "not-acceptable"))
            alice.said.clear()
            await alice.muc.join_muc_wait(JID(here), f"alice{number}", maxchars=0, timeout=10)
            self.assertEqual([body for _, _, body in alice.said if body.startswith("message")], [], mirror)
            found = await self.read(alice, here)
            self.assertEqual(
                [(identifier, body) for identifier, _, body in found if body],
                [(identifier, body) for identifier, _, body in expected[-self.history :]],
                mirror,
            )
            self.assertEqual(found[0][1], f"{here}/bob")
            alice.muc.leave_muc(JID(here), f"alice{number}")
            await alice.awaitPresence(f"{here}/alice{number}", "unavailable", "110")

    async def checkRoom(
        self, room: str, bob: Talker, carol: Talker, expected: list[tuple[str, str, str]]
    ) -> None:
        """Check the archive of the room itself: its pages, its ends, its form, and who may read it."""
        self.assertEqual(await self.read(bob, room), expected)
        self.assertEqual(await self.read(bob, room, total=7, reverse=True), expected[:-8:-1])
        features = (await bob.stream.plugin["xep_0030"].get_info(jid=room))["disco_info"]["features"]
        self.assertLessEqual({"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended"}, features)
        mam = bob.stream.plugin["xep_0313"]
        ends = (await mam.get_archive_metadata(JID(room)))["mam_metadata"]
        self.assertEqual((ends["start"]["id"], ends["end"]["id"]), (expected[0][0], expected[-1][0]))
        fields = (await mam.get_fields(JID(room))).get_fields()
        self.assertLessEqual({"start", "end", "with", "before-id", "after-id", "ids"}, fields.keys())
        # Carol has never been in the room, which is open.
        self.assertEqual(await self.read(carol, room), expected)

    @scenario(60)
    async def test_filters(self) -> None:
        """
        Messages since a time, and of one sender: by the occupant's address for all, by the real JID only for those
        who may know it (section 4.1.1).
        """
        await self.startSites()
        room = f"filters@{self.service}"
        bob, alice = await self.reader("bob"), await self.reader("alice")
        await bob.join(room, "bob")
        await alice.join(room, "alice")
        first = datetime.now(UTC) - timedelta(seconds=1)
        bob.say(room, "old")
        await alice.awaitMessage(f"{room}/bob", "old")
        # Messages have stamps of whole seconds.
        await asyncio.sleep(1.1)
        since = datetime.now(UTC)
        await asyncio.sleep(1.1)
        for talker, name in ((bob, "bob"), (alice, "alice")):
            talker.say(room, f"new of {name}")
            await alice.awaitMessage(f"{room}/{name}", f"new of {name}")
        for reverse in (False, True):
            found = await self.read(alice, room, start=since, reverse=reverse, total=9)
            expected = ["new of bob", "new of alice"]
            self.assertEqual([body for _, _, body in found], expected[::-1] if reverse else expected)
        found = await self.read(alice, room, start=first, end=since - timedelta(seconds=1))
        self.assertEqual([body for _, _, body in found], ["old"])
        await self.checkSenders(room, bob, alice, first)
        mirror = mirrored(room)
        carol = await self.reader("carol")
        await carol.muc.join_muc_wait(JID(mirror), "carol", maxchars=0, timeout=10)
        found = await self.read(carol, mirror, with_jid=JID(f"{mirror}/alice"), start=since)
        self.assertEqual([(sender, body) for _, sender, body in found], [(f"{mirror}/alice", "new of alice")])

    async def checkSenders(self, room: str, bob: Talker, alice: Talker, first: datetime) -> None:
        """Check the archive of the room itself by sender."""
        for with_, reader in ((f"{room}/bob", alice), (f"bob@{DOMAIN}", bob), (f"bob@{DOMAIN}/talk", bob)):
            found = await self.read(reader, room, with_jid=JID(with_), start=first)
            self.assertEqual([body for _, _, body in found], ["old", "new of bob"], with_)
        with self.assertRaises(IqError) as refused:
            # slixmpp's iterator regards an error as the end.
            mam = alice.stream.plugin["xep_0313"]
            await mam.retrieve(jid=JID(room), with_jid=JID(f"bob@{DOMAIN}"), timeout=5)
        self.assertEqual(refused.exception.condition, "forbidden")

    @scenario(90)
    async def test_reconnection(self) -> None:
        """A client that comes back gets what it has missed, also after a restart of the gateway."""
        above, _ = await self.startSites()
        room = f"again@{self.service}"
        bob, alice = await self.reader("bob"), await self.reader("alice")
        await bob.join(room, "bob")
        await alice.join(room, "alice")
        bob.say(room, "seen")
        await alice.awaitMessage(f"{room}/bob", "seen")
        last = str(alice.ids["seen"][1])
        await alice.close()
        bob.say(room, "missed")
        await bob.awaitMessage(f"{room}/bob", "missed")
        above.stop()
        above.start()
        await above.ready()
        again = await self.reader("alice")
        await again.muc.join_muc_wait(JID(room), "alice", maxchars=0, timeout=10)
        mam = again.stream.plugin["xep_0313"]
        page = await mam.retrieve(jid=JID(room), rsm={"after": last}, timeout=10)
        bodies = [str(each["mam_result"]["forwarded"]["stanza"]["body"]) for each in page["mam"]["results"]]
        self.assertEqual(bodies, ["missed"])
        self.assertEqual(page["mam_fin"].xml.get("complete"), "true")


class ProsodyArchiveTests(ArchiveTests, SynchronousTestCase):
    """With Prosody."""

    serverClass = Prosody


class EjabberdArchiveTests(ArchiveTests, SynchronousTestCase):
    """With ejabberd."""

    serverClass = Ejabberd


class EmbeddedArchiveTests(ArchiveTests, SynchronousTestCase):
    """With the embedded host."""

    serverClass = Embedded
