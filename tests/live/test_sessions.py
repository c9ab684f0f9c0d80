"""One user, two clients, one nick (XEP-0045 section 7.2.8), in rooms and mirrors, with slixmpp and profanity."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path

from slixmpp import JID
from slixmpp.exceptions import PresenceError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import MIRRORS, ROOMS, scenario
from tests.live.processes import need
from tests.live.rooms import RoomsCase, Talker
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody
from tests.live.terminal import Profanity, Terminal


class SessionsTests(RoomsCase):
    """
    A mix-in: a phone and a desktop of one user, and another user who sees one occupant.

    @cvar numbers: make each message another one.
    """

    numbers = count()

    async def meet(self) -> tuple[Talker, Talker, Talker]:
        """Log in Bob, and two clients of Alice."""
        bob, phone = await self.talker("bob"), await self.talker("alice", "phone")
        return bob, phone, await self.talker("alice", "desk")

    def seen(self, talker: Talker, occupant: str) -> list[str | None]:
        """Return the types of an occupant's presence that a user has got since the last call."""
        found = [kind for who, kind, _ in talker.came if who == occupant]
        talker.came.clear()
        return found

    async def talk(self, bob: Talker, there: str, clients: list[tuple[Talker, str]]) -> None:
        """All hear what each of them says, and private messages come to all clients."""
        everybody = [(bob, there), *clients]
        for speaker, room in everybody:
            nick, text = "bob" if speaker is bob else "alice", f"words {next(self.numbers)}"
            speaker.say(room, text)
            for listener, here in everybody:
                await listener.awaitMessage(f"{here}/{nick}", text)
                self.assertEqual([what for _, _, what in listener.said].count(text), 1)
        whispered = f"words {next(self.numbers)}"
        bob.whisper(f"{there}/alice", whispered)
        for client, here in clients:
            await client.awaitMessage(f"{here}/bob", whispered)
            await client.stream.plugin["xep_0199"].send_ping(JID(f"{here}/alice"), timeout=5)

    @scenario(90)
    async def test_mirrors(self) -> None:
        """Two clients in each mirror; then one in the room, and one in a mirror that knows real JIDs."""
        await self.startSites()
        bob, phone, desk = await self.meet()
        for mirror, (protocol, _) in MIRRORS.items():
            name = mirror.partition(".")[0]
            there, here = self.places(name, mirror)
            # The joined node; other sessions of a user are not in an ordinary room, where the user has another JID.
            room = f"{name}@{self.service}"
            await bob.join(there, "bob")
            await phone.join(here, "alice")
            await bob.awaitPresence(f"{there}/alice", None)
            before = self.wire.passed["up", "presence", room]
            await desk.join(here, "alice")
            await self.talk(bob, there, [(phone, here), (desk, here)])
            # The joined node sees one occupant, with a new presence at most.
            self.assertLessEqual(self.wire.passed["up", "presence", room], before + 1)
            self.seen(bob, f"{there}/alice")
            phone.muc.leave_muc(JID(here), "alice")
            await phone.awaitPresence(f"{here}/alice", "unavailable", "110")
            desk.say(here, "still here")
            await bob.awaitMessage(f"{there}/alice", "still here")
            self.assertNotIn("unavailable", self.seen(bob, f"{there}/alice"))
            # A mirror that is mirrored itself shares no nicks, nor does a room that stands for an ordinary one.
            if protocol == "xep-0289" and not self.backing:
                await phone.join(room, "alice")
                await self.talk(bob, there, [(phone, room), (desk, here)])
                self.seen(bob, f"{there}/alice")
                phone.muc.leave_muc(JID(room), "alice")
                await phone.awaitPresence(f"{room}/alice", "unavailable", "110")
                self.assertNotIn("unavailable", self.seen(bob, f"{there}/alice"))
            desk.muc.leave_muc(JID(here), "alice")
            await bob.awaitPresence(f"{there}/alice", "unavailable")
            for each in (bob, phone, desk):
                each.said.clear()
                each.came.clear()

    @scenario(60)
    async def test_returns(self) -> None:
        """A client returns with another resource, while the room does not know that its connection was lost."""
        await self.startSites()
        bob, phone, desk = await self.meet()
        there, here = self.places("heath")
        for room in (f"heath@{self.service}", here):
            await bob.join(there, "bob")
            await phone.join(room, "alice")
            await bob.awaitPresence(f"{there}/alice", None)
            own, *_ = await desk.join(room, "alice")
            self.assertIn(110, own["muc"]["status_codes"])
            self.seen(bob, f"{there}/alice")
            phone.stream.abort()
            desk.say(room, "again")
            await bob.awaitMessage(f"{there}/alice", "again")
            self.assertNotIn("unavailable", self.seen(bob, f"{there}/alice"))
            desk.muc.leave_muc(JID(room), "alice")
            await bob.awaitPresence(f"{there}/alice", "unavailable")
            bob.said.clear()
            phone = await self.talker("alice", "phone")

    @scenario(60)
    async def test_profanity(self) -> None:
        """profanity on the desktop and slixmpp on the phone, in a mirror and in its room."""
        need(Terminal.missing("profanity"))
        await self.startSites()
        there, here = self.places("castle")
        bob, phone = await self.talker("bob"), await self.talker("alice", "phone")
        await bob.join(there, "bob")
        terminal = Profanity(Path(tempfile.mkdtemp(prefix="p-", dir=self.server.directory)))
        self.stack.callback(terminal.stop)
        tls = self.server.certificate is not None
        await terminal.login(f"alice@{DOMAIN}/desk", self.server.clientPort, self.server.password("alice"), tls)
        for room in (f"castle@{self.service}", here):
            await phone.join(room, "alice")
            await bob.awaitPresence(f"{there}/alice", None)
            self.seen(bob, f"{there}/alice")
            await terminal.type(f"/join {room} nick alice")
            await terminal.expect("Participants", "bob")
            phone.say(room, f"Is this a dagger in {room}?")
            await terminal.expect(f"alice: Is this a dagger in {room}?")
            await terminal.type(f"Come to {room}")
            for talker, where in ((bob, there), (phone, room)):
                await talker.awaitMessage(f"{where}/alice", f"Come to {room}")
            bob.whisper(f"{there}/alice", "A false creation")
            await phone.awaitMessage(f"{room}/bob", "A false creation")
            self.seen(bob, f"{there}/alice")
            await terminal.type("/close")
            # The presence of the phone is shown again.
            await bob.awaitPresence(f"{there}/alice", None)
            self.assertNotIn("unavailable", self.seen(bob, f"{there}/alice"))
            phone.muc.leave_muc(JID(room), "alice")
            await bob.awaitPresence(f"{there}/alice", "unavailable")


class RoomSessionsTests(SessionsTests):
    """A mix-in: in the gateway's own rooms, too."""

    @scenario(60)
    async def test_room(self) -> None:
        """In the room itself: join, talk, presence, a new nick, leave, a kick."""
        await self.startSites()
        there = f"coven@{ROOMS}"
        bob, phone, desk = await self.meet()
        await bob.join(there, "bob")
        await phone.join(there, "alice")
        await bob.awaitPresence(f"{there}/alice", None)
        bob.say(there, "When shall we meet again?")
        await phone.awaitMessage(f"{there}/bob", "When shall we meet again?")
        self.seen(bob, f"{there}/alice")
        own, _, occupants, history = await desk.join(there, "alice")
        self.assertIn(110, own["muc"]["status_codes"])
        self.assertIn("bob", [str(each["from"].resource) for each in occupants])
        self.assertEqual([str(each["body"]) for each in history], ["When shall we meet again?"])
        await self.talk(bob, there, [(phone, there), (desk, there)])
        self.assertNotIn("unavailable", self.seen(bob, f"{there}/alice"))
        desk.stream.send_presence(pto=JID(f"{there}/alice"), pshow="dnd")
        for each in (bob, phone):
            await each.awaitPresence(f"{there}/alice", None)
        phone.stream.send_presence(pto=JID(f"{there}/alicia"))
        for each in (phone, desk):
            await each.awaitPresence(f"{there}/alice", "unavailable", "303", "110")
            await each.awaitPresence(f"{there}/alicia", None, "110")
        await bob.awaitPresence(f"{there}/alicia", None)
        self.seen(bob, f"{there}/alicia")
        phone.muc.leave_muc(JID(there), "alicia")
        await phone.awaitPresence(f"{there}/alicia", "unavailable", "110")
        desk.say(there, "still here")
        await bob.awaitMessage(f"{there}/alicia", "still here")
        self.assertNotIn("unavailable", self.seen(bob, f"{there}/alicia"))
        await phone.join(there, "alicia")
        carol = await self.talker("carol")
        with self.assertRaises(PresenceError) as raised:
            await carol.join(there, "alicia")
        self.assertEqual(raised.exception.condition, "conflict")
        await bob.muc.set_role(JID(there), "alicia", "none", reason="Graymalkin")
        for each in (phone, desk):
            await each.awaitPresence(f"{there}/alicia", "unavailable", "307", "110")


class EmbeddedSessionsTests(RoomSessionsTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodySessionsTests(RoomSessionsTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdSessionsTests(RoomSessionsTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
