"""
FMUC live: two gateways with a server between them, clients in rooms and in mirrors, and stanzas counted between
them.
"""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import tostring

from slixmpp import JID
from slixmpp.exceptions import IqError, PresenceError
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.profiles import BROADBAND
from tests.live.case import ENDED_WELL, MIRRORS, ROOMS, TogetherTests, scenario
from tests.live.clients import Client, condition, loginAll, stanza
from tests.live.processes import holds, need, until
from tests.live.rooms import MIRROR, MUC, MUC_USER, RoomsCase, Talker
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody
from tests.live.terminal import Profanity, Terminal

PING = "<ping xmlns='urn:xmpp:ping'/>"
MANY = 20


class FmucTests(RoomsCase):
    """A mix-in: the scenarios, for one kind of server."""

    @scenario(60)
    async def test_talk(self) -> None:
        """
        slixmpp's own XEP-0045 on both sides: join, history, subject, messages, private messages, presence, nicks,
        kick, ban, leave.
        """
        await self.startSites()
        there, here = self.places("coven")
        bob, alice = await self.talker("bob"), await self.talker("alice")
        own, _, _, _ = await bob.join(there, "bob")
        self.assertIn(201, own["muc"]["status_codes"])
        bob.muc.set_subject(JID(there), "Hurly-burly")
        bob.say(there, "When shall we meet again?")
        await bob.awaitMessage(f"{there}/bob", "When shall we meet again?")

        _, subject, occupants, history = await alice.join(here, "alice")
        self.assertEqual(subject["subject"], "Hurly-burly")
        self.assertEqual([each["muc"]["nick"] for each in occupants], ["bob", "alice"])
        [old] = history
        self.assertEqual((str(old["from"]), old["body"]), (f"{here}/bob", "When shall we meet again?"))
        self.assertEqual(str(old["delay"]["from"]), here)
        await bob.awaitPresence(f"{there}/alice", None)

        alice.say(here, "In thunder")
        for each, room in ((alice, here), (bob, there)):
            await each.awaitMessage(f"{room}/alice", "In thunder")
        # The ids of the sender and of the message are the same on both sides (XEP-0421, XEP-0359).
        ids = alice.ids["In thunder"]
        self.assertEqual(ids, (ids[0], ids[1], here))
        self.assertTrue(ids[0] and ids[1])
        if not self.backing:
            self.assertEqual(bob.ids["In thunder"], (ids[0], ids[1], there))
        for inside in ("<xml:q/>", f"""<x>{"'" * 100_000}</x>""", "<a>" * 70 + "</a>" * 70):
            # Each is refused alone: the server writes the first as invalid XML, and the others are over a limit.
            alice.stream.send_raw(f"<message to='{here}' type='groupchat'><body>spoilt</body>{inside}</message>")
        alice.whisper(f"{here}/bob", "or in rain")
        await bob.awaitMessage(f"{there}/alice", "or in rain")
        bob.whisper(f"{there}/alice", "lightning")
        await alice.awaitMessage(f"{here}/bob", "lightning")
        alice.came.clear()
        bob.came.clear()
        alice.stream.send_presence(pto=f"{here}/alice", pshow="away")
        for each, room in ((alice, here), (bob, there)):
            await each.awaitPresence(f"{room}/alice", None)
        bob.muc.set_subject(JID(there), "Lost and won")
        await alice.awaitMessage(f"{here}/bob", "Lost and won")
        await self.checkMirrorRefusals(alice, here, there)
        await self.checkInvitations(alice, here)

        await bob.muc.set_role(JID(there), "alice", "none", reason="Graymalkin")
        await alice.awaitPresence(f"{here}/alice", "unavailable", "307", "110")
        await bob.awaitPresence(f"{there}/alice", "unavailable", "307")
        await alice.join(here, "alice")
        await bob.muc.set_affiliation(JID(there), "outcast", jid=JID(self.known("alice")))
        await alice.awaitPresence(f"{here}/alice", "unavailable", "301", "110")
        with self.assertRaises(PresenceError) as raised:
            await alice.join(here, "alice")
        self.assertEqual(raised.exception.condition, "forbidden")
        await bob.muc.set_affiliation(JID(there), "none", jid=JID(self.known("alice")))
        await alice.join(here, "alice")
        alice.came.clear()
        bob.came.clear()
        alice.muc.leave_muc(JID(here), "alice", msg="Paddock calls")
        await alice.awaitPresence(f"{here}/alice", "unavailable", "110")
        await bob.awaitPresence(f"{there}/alice", "unavailable")
        for gateway in self._gateways:
            self.assertNotIn("not connected", gateway.log(1000))

    async def checkInvitations(self, alice: Talker, here: str) -> None:
        """Check that an invitation comes from the room of its sender, and that a refusal is sent back there."""
        guest = await self.user("mallory", "guest")
        alice.muc.invite(JID(here), JID(guest.bare), reason="Come like shadows")
        invitation = await guest.expect(lambda each: each.get("from") == here, "the invitation")
        [invite] = invitation.iter(f"{{{MUC_USER}}}invite")
        self.assertEqual(invite.get("from"), f"{here}/alice")
        self.assertEqual(invite.findtext(f"{{{MUC_USER}}}reason"), "Come like shadows")
        words = f"<decline to='{invite.get('from')}'><reason>So depart</reason></decline>"
        guest.send(stanza("message", f"<x xmlns='{MUC_USER}'>{words}</x>", to=here))
        await alice.awaitDecline(here, "So depart")
        if isinstance(self.server, Embedded):
            return
        # An unreadable join is answered, too: servers write this one as XML that breaks the rules of namespaces.
        guest.send(stanza("presence", f"<x xmlns='{MUC}'/><xml:q/>", to=f"{here}/guest"))
        answer = await guest.expect(lambda each: each.get("from") == f"{here}/guest", "the error")
        self.assertEqual((answer.get("type"), condition(answer)), ("error", "bad-request"))

    async def checkMirrorRefusals(self, alice: Talker, here: str, there: str) -> None:
        """Check the refusals of a mirror, and the answer to a self-ping."""
        carol = await self.talker("carol")
        for nick in ("bob", "alice"):
            with self.assertRaises(PresenceError) as raised:
                await carol.join(here, nick)
            self.assertEqual(raised.exception.condition, "conflict")
        with self.assertRaises(IqError) as denied:
            await alice.muc.set_role(JID(here), "bob", "none")
        self.assertEqual(denied.exception.condition, "not-allowed")
        await alice.stream.plugin["xep_0199"].send_ping(JID(f"{here}/alice"), timeout=5)
        with self.assertRaises(IqError) as denied:
            await carol.stream.plugin["xep_0199"].send_ping(JID(f"{here}/carol"), timeout=5)
        self.assertEqual(denied.exception.condition, "not-acceptable")
        info = await carol.stream.plugin["xep_0030"].get_info(jid=JID(here), timeout=5)
        self.assertIn("http://jabber.org/protocol/muc", info["disco_info"]["features"])
        rooms = await carol.stream.plugin["xep_0030"].get_items(jid=JID(ROOMS), timeout=5)
        if not self.backing:
            self.assertIn(there, [str(jid) for jid, _, _ in rooms["disco_items"]["items"]])

    @scenario(90)
    async def test_counted(self) -> None:
        """
        One copy for the mirror with any number of occupants, in each protocol and mode; each occupant gets each
        message once.
        """
        await self.startSites()
        own = await self.user("bob", "own")
        clients = [Client(self.server, "alice", f"r{number}") for number in range(MANY)]
        await loginAll(clients)
        for client in clients:
            self.stack.push_async_callback(client.close)
        await asyncio.gather(*(self.counted(mirror, mode, own, clients) for mirror, (_, mode) in MIRRORS.items()))

    async def counted(self, mirror: str, mode: str, own: Client, clients: list[Client]) -> None:
        """Check the same for one of them."""
        name = mirror.partition(".")[0]
        there, here = self.places(name, mirror)
        # The connection between the gateways has the room by that address.
        room = f"{name}@{ROOMS}"
        await self.enter(own, there, "own")
        for number, client in enumerate(clients):
            await self.enter(client, here, f"n{number}")
        # Each join is one stanza to the room.
        self.assertEqual(self.wire.passed["up", "presence", room], MANY)
        own.send(stanza("message", "<body>down</body>", to=there, type="groupchat"))
        clients[3].send(stanza("message", "<body>up</body>", to=here, type="groupchat"))
        for client in (*clients, own):
            place = there if client is own else here
            heard = self.hasHeard(client, [(f"{place}/n3", "up"), (f"{place}/own", "down")])
            await until(heard, 10, f"{client.jid} hears both in {place}")
        # The subject came with the first join.
        counts = [self.wire.passed[way, "message", room] for way in ("up", "down")]
        self.assertEqual(counts, [1, 2 + (mode == "replica")], mirror)
        for number, client in enumerate(clients):
            client.send(stanza("presence", to=f"{here}/n{number}", type="unavailable"))
            await self.gone(client, f"{here}/n{number}", "110")
        await self.gone(own, f"{there}/n{MANY - 1}")
        # The effects of the last leave.
        await asyncio.sleep(0.3)
        before = self.wire.count(room)
        own.send(stanza("message", "<body>alone</body>", to=there, type="groupchat"))
        await until(self.hasHeard(own, [(f"{there}/own", "alone")]), 5, "the echo")
        own.send(stanza("presence", to=f"{there}/own", type="unavailable"))
        await self.gone(own, f"{there}/own")
        await asyncio.sleep(0.3)
        self.assertEqual(self.wire.count(room), before, mirror)

    def hasHeard(self, client: Client, expected: list[tuple[str, str]]):  # type: ignore[no-untyped-def]  # a condition
        async def heard() -> bool:
            bodies = self.bodies(client)
            self.assertEqual(len(bodies), len(set(bodies)), "nothing twice")
            return sorted(expected) == sorted(each for each in bodies if each in expected)

        return heard

    async def checkLostConnections(self) -> None:
        """
        If an occupant's connection is lost, the occupant leaves everywhere. If the gateway of the mirrors, or that
        of the room, is stopped in an orderly way, nobody leaves.
        """
        above, below = await self.startSites()
        there, here = self.places("heath")
        own = await self.user("bob", "own")
        users = [Client(self.server, name, "cut") for name in ("alice", "carol")]
        await loginAll(users)
        for user in users:
            self.stack.push_async_callback(user.close)
        await self.enter(own, there, "own")
        for nick, user in zip(("alice", "carol"), users, strict=True):
            await self.enter(user, here, nick)
        users[0].drop()
        await self.gone(own, f"{there}/alice")
        await self.gone(users[1], f"{here}/alice")
        for client in (own, users[1]):
            client.received.clear()
        for gateway in (below, above):
            self.assertIn(await gateway.terminate(), ENDED_WELL)
            gateway.start()
            await gateway.ready()
        own.send(stanza("message", "<body>still here</body>", to=there, type="groupchat"))
        # A question of the mirrors' gateway may be lost with the process that it is for: it has this deadline.
        seconds = BROADBAND.answer + 5
        await until(self.hasHeard(users[1], [(f"{here}/own", "still here")]), seconds, "the mirror's user hears it")
        left = [each for client in (own, users[1]) for each in client.received if each.get("type") == "unavailable"]
        self.assertEqual(left, [])

    async def checkKilledServer(self) -> None:
        """
        A server that is killed sends no unavailable presence: occupants who do not return are found by pings, also
        in the mirror.
        """
        above, below = await self.startSites()
        there, here = self.places("tower")
        own, alice, carol = [Client(self.server, name, "ghost") for name in ("bob", "alice", "carol")]
        await loginAll([own, alice, carol])
        for client in (own, alice, carol):
            self.stack.push_async_callback(client.close)
        await self.enter(own, there, "own")
        await self.enter(alice, here, "alice")
        await self.enter(carol, here, "carol")
        self.server.kill9()
        self.server.start()
        await self.server.ready()
        await above.ready()
        await below.ready()
        for client in (own, alice):
            client.received.clear()
            await client.loginAgain(10)
        await self.enter(own, there, "own")
        await self.enter(alice, here, "alice")
        own.send(stanza("message", "<body>Who's there?</body>", to=there, type="groupchat"))
        await until(self.hasHeard(alice, [(f"{here}/own", "Who's there?")]), 5, "she hears it")
        for client, carols in ((alice, f"{here}/carol"), (own, f"{there}/carol")):
            await holds(partial(self.isGone, client, carols), 10, f"{carols} is gone")

    def isGone(self, client: Client, occupant: str) -> bool:
        """True if a client was shown no presence of an occupant, or at last the leave."""
        kinds = [each.get("type") for each in client.received if each.get("from") == occupant]
        return not kinds or kinds[-1] == "unavailable"

    async def checkRefusals(self) -> None:
        """
        Check rooms and users that are not listed, and invalid stanzas; and a room whose service is not connected.
        """
        above, _ = await self.startSites()
        user = await self.user("alice")
        for room, why in (
            (rf"room\40other.{DOMAIN}@{MIRROR}", "not-allowed"),
            (f"nonsense@{MIRROR}", "item-not-found"),
        ):
            user.send(stanza("presence", "<x xmlns='http://jabber.org/protocol/muc'/>", to=f"{room}/x", id="j"))
            reply = await user.expect(lambda each, room=room: each.get("from") == f"{room}/x", room)
            self.assertEqual(condition(reply), why)
        self.assertIn(await above.terminate(), ENDED_WELL)
        _, room = self.places("x")
        user.send(stanza("presence", "<x xmlns='http://jabber.org/protocol/muc'/>", to=f"{room}/x"))
        reply = await user.expect(lambda each: each.get("from") == f"{room}/x", room)
        self.assertEqual(condition(reply), self.server.absent)


class EmbeddedFmucTests(FmucTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded

    @scenario(60)
    async def test_profanity(self) -> None:
        """
        A user of profanity joins a mirror: history, subject, messages, private messages, presence, an invitation, a
        kick, a ban; and leaves.
        """
        need(Terminal.missing("profanity"))
        await self.startSites()
        there, here = self.places("castle")
        bob = await self.talker("bob")
        await bob.join(there, "bob")
        bob.muc.set_subject(JID(there), "Dunsinane")
        bob.say(there, "Tomorrow, and tomorrow")
        await bob.awaitMessage(f"{there}/bob", "Tomorrow, and tomorrow")
        # A path to a socket may have 107 bytes.
        terminal = Profanity(Path(tempfile.mkdtemp(prefix="p-", dir=self.server.directory)))
        self.stack.callback(terminal.stop)
        await terminal.login(f"alice@{DOMAIN}/desk", self.server.clientPort, self.server.password("alice"))
        await terminal.type(f"/join {here} nick alice")
        await bob.awaitPresence(f"{there}/alice", None)
        await terminal.expect("Dunsinane", "bob: Tomorrow, and tomorrow")
        bob.say(there, "Is this a dagger?")
        await terminal.expect("bob: Is this a dagger?")
        await terminal.type("Come, let me clutch thee")
        await bob.awaitMessage(f"{there}/alice", "Come, let me clutch thee")
        await terminal.expect("alice: Come, let me clutch thee")
        guest = await self.user("carol", "guest")
        await terminal.type(f"/invite send {guest.bare} Enter")
        await guest.expect(lambda each: here in "".join(tostring(each, "unicode")), "the invitation")
        await terminal.type("/msg bob A false creation")
        await bob.awaitMessage(f"{there}/alice", "A false creation")
        bob.whisper(f"{there}/alice", "Proceeding from the heat-oppressed brain")
        await terminal.expect("Proceeding from the heat-oppressed brain")
        bob.came.clear()
        await terminal.type("/status set away")
        await bob.awaitPresence(f"{there}/alice", None)
        # A kicked user is told so in the first of its windows.
        await bob.muc.set_role(JID(there), "alice", "none", reason="Out, out")
        await terminal.type("/win 1")
        await terminal.expect("Out, out")
        await self.again(terminal, bob, f"{there}/alice", f"/join {here} nick alice")
        await bob.muc.set_affiliation(JID(there), "outcast", jid=JID(self.known("alice")), reason="Brief candle")
        await terminal.type("/win 1")
        await terminal.expect("Brief candle")
        await bob.muc.set_affiliation(JID(there), "none", jid=JID(self.known("alice")))
        await self.again(terminal, bob, f"{there}/alice", f"/join {here} nick alice")
        await terminal.type("/close")
        await bob.awaitPresence(f"{there}/alice", "unavailable")

    async def again(self, terminal: Terminal, other: Talker, occupant: str, command: str) -> None:
        """Join again, until another occupant has the presence and the room's window lists the occupants."""
        other.came.clear()
        await terminal.type(command)
        await other.awaitPresence(occupant, None)
        await terminal.expect("Participants")
        other.came.clear()


class ProsodyFmucTests(FmucTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdFmucTests(FmucTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class WaitingTests(TogetherTests, SynchronousTestCase):
    """Tests that mostly wait, on all servers at once."""

    classes = (EmbeddedFmucTests, ProsodyFmucTests, EjabberdFmucTests)

    def test_dropped(self) -> None:
        """
        If an occupant's connection is lost, the occupant leaves everywhere. If the gateway of the mirrors, or that
        of the room, is stopped in an orderly way, nobody leaves.
        """
        self.together("checkLostConnections", 60)

    def test_ghosts(self) -> None:
        """
        A server that is killed sends no unavailable presence: occupants who do not return are found by pings, also
        in the mirror.
        """
        self.together("checkKilledServer", 90)

    def test_refused(self) -> None:
        """Rooms and users that are not listed, and invalid stanzas; a room whose service is not connected."""
        self.together("checkRefusals", 60)
