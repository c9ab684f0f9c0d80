"""
Rooms' services live, with slixmpp's own XEP-0045 and XEP-0077: registration, voice requests, requests between
occupants, and the avatar; in a room and through a mirror.
"""

from __future__ import annotations

import asyncio
from typing import Any

from slixmpp import JID
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.stanza import Message
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import scenario
from tests.live.rooms import RoomsCase, Talker
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody

REGISTER = "http://jabber.org/protocol/muc#register"


class RoomServicesTests(RoomsCase):
    """
    A mix-in: the scenarios, for one kind of server.

    @cvar hasAvatars: True if rooms have vCards.
    """

    hasAvatars = True

    async def helped(self, user: str) -> Talker:
        """Log in a client with the further plugins, which keeps the forms that it is sent."""
        talker = await self.talker(user)
        for plugin in ("xep_0004", "xep_0054", "xep_0077", "xep_0092"):
            talker.stream.register_plugin(plugin)
        return talker

    async def asked(self, talker: Talker, room: str) -> asyncio.Future[Message]:
        """Return the next form that a room sends."""
        found: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def take(message: Message) -> None:
            if message["from"] == JID(room) and message["form"]["type"] == "form" and not found.done():
                found.set_result(message)

        talker.stream.add_event_handler("message_xform", take)
        return found

    def answer(self, talker: Talker, question: Message, field: str) -> None:
        """Submit a form with one field set to true, as a client does."""
        reply = talker.stream.make_message(question["from"])
        form = question["form"]
        form["type"] = "submit"
        form.field[field]["value"] = True
        reply.append(form)
        reply.send()

    def iq(self, talker: Talker, to: str, kind: str) -> Any:
        iq = talker.stream.make_iq(ito=JID(to), itype=kind)
        iq.enable("register")
        return iq

    async def register(self, talker: Talker, room: str, nick: str) -> None:
        """Register as a client does: fetch the form, fill it in, submit it."""
        got = await self.iq(talker, room, "get").send(timeout=5)
        self.assertIn("muc#register_roomnick", got["register"]["form"].get_fields())
        iq = self.iq(talker, room, "set")
        form = iq["register"]["form"]
        form["type"] = "submit"
        form.add_field(var="FORM_TYPE", ftype="hidden", value=REGISTER)
        form.add_field(var="muc#register_roomnick", value=nick)
        await iq.send(timeout=5)

    @scenario(60)
    async def test_registration(self) -> None:
        """
        XEP-0045 section 7.10: an owner approves; then the nick is the user's own, also for users of a mirror; the
        user may unregister.
        """
        await self.startSites()
        there, here = self.places("register")
        bob, alice, carol = [await self.helped(name) for name in ("bob", "alice", "carol")]
        await bob.join(there, "bob")
        question = await self.asked(bob, there)
        await self.register(alice, there, "hag")
        form = await asyncio.wait_for(question, 5)
        self.assertEqual(form["form"].get_values()["x-muc#register_jid"], f"alice@{DOMAIN}")
        self.answer(bob, form, "muc#register_allow")
        async with asyncio.timeout(5):
            while not (got := await self.iq(alice, there, "get").send(timeout=5))["register"]["registered"]:
                await asyncio.sleep(0.1)
        self.assertEqual(got["register"]["username"], "hag")
        info = await alice.stream.plugin["xep_0030"].get_info(jid=JID(there), node="x-roomuser-item", timeout=5)
        self.assertIn(("conference", "text", None, "hag"), info["disco_info"]["identities"])
        for room in (there, here):
            with self.assertRaises(PresenceError) as raised:
                await carol.join(room, "hag")
            self.assertEqual(raised.exception.condition, "conflict")
        own, *_ = await alice.join(here, "hag")
        self.assertEqual(own["muc"]["affiliation"], "member")
        with self.assertRaises(IqError) as denied:
            await self.register(carol, there, "hag")
        self.assertEqual(denied.exception.condition, "conflict")
        remove = self.iq(alice, there, "set")
        remove["register"]["remove"] = True
        await remove.send(timeout=5)
        self.assertFalse((await self.iq(alice, there, "get").send(timeout=5))["register"]["registered"])

    @scenario(60)
    async def test_voice(self) -> None:
        """Sections 7.13 and 8.6: visitors of the room and of a mirror ask for voice; the moderator grants it."""
        await self.startSites()
        there, here = self.places("voice")
        bob, alice, carol = [await self.helped(name) for name in ("bob", "alice", "carol")]
        await bob.join(there, "bob")
        config = await bob.muc.get_room_config(JID(there), timeout=5)
        config["type"] = "submit"
        config.field["muc#roomconfig_moderatedroom"]["value"] = True
        if "members_by_default" in config.get_fields():
            config.field["members_by_default"]["value"] = False
        await bob.muc.set_room_config(JID(there), config)
        for talker, room, nick in ((alice, there, "alice"), (carol, here, "carol")):
            own, *_ = await talker.join(room, nick)
            self.assertEqual(own["muc"]["role"], "visitor")
            question = await self.asked(bob, there)
            talker.muc.request_voice(JID(room), "participant")
            form = await asyncio.wait_for(question, 5)
            values = form["form"].get_values()
            jid = f"{self.known(nick)}/{nick}" if self.backing and room == here else str(talker.stream.boundjid)
            self.assertEqual((values["muc#roomnick"], values["muc#jid"]), (nick, jid))
            self.answer(bob, form, "muc#request_allow")
            async with asyncio.timeout(5):
                while talker.muc.get_jid_property(JID(room), nick, "role") != "participant":
                    await asyncio.sleep(0.1)
            talker.say(room, f"{nick} speaks")
            await bob.awaitMessage(f"{there}/{nick}", f"{nick} speaks")

    @scenario(60)
    async def test_occupants(self) -> None:
        """Requests between occupants, in both directions through a mirror; and the room's avatar there."""
        await self.startSites()
        there, here = self.places("requests")
        bob, alice = [await self.helped(name) for name in ("bob", "alice")]
        await bob.join(there, "bob")
        await alice.join(here, "alice")
        await bob.awaitPresence(f"{there}/alice", None)
        for talker, other in ((bob, f"{there}/alice"), (alice, f"{here}/bob")):
            await talker.stream.plugin["xep_0199"].send_ping(JID(other), timeout=5)
            version = await talker.stream.plugin["xep_0092"].get_version(JID(other), timeout=5)
            self.assertEqual(version["from"], JID(other))
            info = await talker.stream.plugin["xep_0030"].get_info(jid=JID(other), timeout=5)
            self.assertIn("urn:xmpp:ping", info["disco_info"]["features"])
            # The account's server answers: these have no vCards.
            with self.assertRaises(IqError) as denied:
                await talker.stream.plugin["xep_0054"].get_vcard(JID(other), timeout=5)
            answered = denied.exception
            self.assertEqual((answered.condition, answered.iq["from"]), ("service-unavailable", JID(other)))
        with self.assertRaises(IqError) as denied:
            await alice.stream.plugin["xep_0199"].send_ping(JID(f"{here}/nobody"), timeout=5)
        self.assertEqual(denied.exception.condition, "item-not-found")
        if self.hasAvatars:
            await self.checkAvatar(bob, alice, there, here)

    async def checkAvatar(self, bob: Talker, alice: Talker, there: str, here: str) -> None:
        """Check that a room's avatar is given to a user of its mirror."""
        iq = bob.stream.plugin["xep_0054"].make_vcard()
        iq["PHOTO"]["TYPE"], iq["PHOTO"]["BINVAL"] = "image/png", b"png"
        await bob.stream.plugin["xep_0054"].publish_vcard(jid=JID(there), vcard=iq)
        card = await alice.stream.plugin["xep_0054"].get_vcard(JID(here), timeout=5)
        self.assertEqual(card["vcard_temp"]["PHOTO"]["BINVAL"], b"png")


class EmbeddedRoomServicesTests(RoomServicesTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyRoomServicesTests(RoomServicesTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdRoomServicesTests(RoomServicesTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
