"""Archives of rooms and mirrors live, with slixmpp's own XEP-0313."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from slixmpp import JID
from slixmpp.exceptions import IqError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import MIRRORS, ROOMS, scenario
from tests.live.rooms import RoomsCase, Talker, mirrored
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody

ROOM = f"coven@{ROOMS}"


class ArchiveTests(RoomsCase):
    """A mix-in: the scenarios, for one kind of server."""

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
        bob, alice, carol = [await self.reader(name) for name in ("bob", "alice", "carol")]
        await bob.join(ROOM, "bob")
        texts = [f"message {number}" for number in range(30)]
        for text in texts:
            bob.say(ROOM, text)
        await bob.awaitMessage(f"{ROOM}/bob", texts[-1])
        expected = [(str(bob.ids[text][1]), f"{ROOM}/bob", text) for text in texts]
        self.assertEqual(await self.read(bob, ROOM), expected)
        self.assertEqual(await self.read(bob, ROOM, total=7, reverse=True), expected[:-8:-1])
        features = (await bob.stream.plugin["xep_0030"].get_info(jid=ROOM))["disco_info"]["features"]
        self.assertLessEqual({"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended"}, features)
        mam = bob.stream.plugin["xep_0313"]
        ends = (await mam.get_archive_metadata(JID(ROOM)))["mam_metadata"]
        self.assertEqual((ends["start"]["id"], ends["end"]["id"]), (expected[0][0], expected[-1][0]))
        fields = (await mam.get_fields(JID(ROOM))).get_fields()
        self.assertLessEqual({"start", "end", "with", "before-id", "after-id", "ids"}, fields.keys())
        # Carol has never been in the room, which is open.
        self.assertEqual(await self.read(carol, ROOM), expected)
        for number, mirror in enumerate(MIRRORS):
            here = mirrored(ROOM, mirror)
            with self.assertRaises(IqError) as refused:
                await carol.stream.plugin["xep_0313"].retrieve(jid=JID(here), timeout=5)
            self.assertIn(refused.exception.condition, ("forbidden", "not-acceptable"))
            alice.said.clear()
            await alice.muc.join_muc_wait(JID(here), f"alice{number}", maxchars=0, timeout=10)
            self.assertEqual([body for _, _, body in alice.said if body.startswith("message")], [], mirror)
            found = await self.read(alice, here)
            self.assertEqual(
                [(identifier, body) for identifier, _, body in found[:30]],
                [(identifier, body) for identifier, _, body in expected],
                mirror,
            )
            self.assertEqual(found[0][1], f"{here}/bob")

    @scenario(60)
    async def test_filters(self) -> None:
        """
        Messages since a time, and of one sender: by the occupant's address for all, by the real JID only for those
        who may know it (section 4.1.1).
        """
        await self.startSites()
        bob, alice = await self.reader("bob"), await self.reader("alice")
        await bob.join(ROOM, "bob")
        await alice.join(ROOM, "alice")
        first = datetime.now(UTC) - timedelta(seconds=1)
        bob.say(ROOM, "old")
        await alice.awaitMessage(f"{ROOM}/bob", "old")
        # Messages have stamps of whole seconds.
        await asyncio.sleep(1.1)
        since = datetime.now(UTC)
        await asyncio.sleep(1.1)
        for talker, name in ((bob, "bob"), (alice, "alice")):
            talker.say(ROOM, f"new of {name}")
            await alice.awaitMessage(f"{ROOM}/{name}", f"new of {name}")
        for reverse in (False, True):
            found = await self.read(alice, ROOM, start=since, reverse=reverse, total=9)
            expected = ["new of bob", "new of alice"]
            self.assertEqual([body for _, _, body in found], expected[::-1] if reverse else expected)
        found = await self.read(alice, ROOM, start=first, end=since - timedelta(seconds=1))
        self.assertEqual([body for _, _, body in found], ["old"])
        for with_, reader in ((f"{ROOM}/bob", alice), (f"bob@{DOMAIN}", bob), (f"bob@{DOMAIN}/talk", bob)):
            found = await self.read(reader, ROOM, with_jid=JID(with_), start=first)
            self.assertEqual([body for _, _, body in found], ["old", "new of bob"], with_)
        with self.assertRaises(IqError) as refused:
            # slixmpp's iterator regards an error as the end.
            mam = alice.stream.plugin["xep_0313"]
            await mam.retrieve(jid=JID(ROOM), with_jid=JID(f"bob@{DOMAIN}"), timeout=5)
        self.assertEqual(refused.exception.condition, "forbidden")
        mirror = mirrored(ROOM)
        carol = await self.reader("carol")
        await carol.muc.join_muc_wait(JID(mirror), "carol", maxchars=0, timeout=10)
        found = await self.read(carol, mirror, with_jid=JID(f"{mirror}/alice"), start=since)
        self.assertEqual([(sender, body) for _, sender, body in found], [(f"{mirror}/alice", "new of alice")])

    @scenario(90)
    async def test_reconnection(self) -> None:
        """A client that comes back gets what it has missed, also after a restart of the gateway."""
        above, _ = await self.startSites()
        bob, alice = await self.reader("bob"), await self.reader("alice")
        await bob.join(ROOM, "bob")
        await alice.join(ROOM, "alice")
        bob.say(ROOM, "seen")
        await alice.awaitMessage(f"{ROOM}/bob", "seen")
        last = str(alice.ids["seen"][1])
        await alice.close()
        bob.say(ROOM, "missed")
        await bob.awaitMessage(f"{ROOM}/bob", "missed")
        above.stop()
        above.start()
        await above.ready()
        again = await self.reader("alice")
        await again.muc.join_muc_wait(JID(ROOM), "alice", maxchars=0, timeout=10)
        mam = again.stream.plugin["xep_0313"]
        page = await mam.retrieve(jid=JID(ROOM), rsm={"after": last}, timeout=10)
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
