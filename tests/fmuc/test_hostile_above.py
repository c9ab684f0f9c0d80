"""Invalid names, joined nodes that send nothing or too much, loops: each ends, and its cost is bounded."""

from __future__ import annotations

from xml.etree import ElementTree

from gateway import ns
from gateway.addresses import jids
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.room import Bounds
from gateway.stream.core import Limits
from tests.fmuc.wire import START, WireCase, fmuc, mirror, read, rooms, seedJoin, to

SOURCE = "room@talk.example"
M = r"room\40talk.example@mirror.example"
ALICE, EVE = "alice@here.example/r", "eve@here.example/r"
FAR, KEV = "room@far.example", "kev@far.example/r"


class NameTests(WireCase):
    """Rooms that cannot exist."""

    def test_nonsense(self) -> None:
        """A mirror's name is a room's JID in canonical escapes; no other room exists."""
        wire = mirror("mirror.example")
        names = (
            "room",
            r"room\40",
            r"\40talk.example",
            r"room\40talk.example\2fnick",
            r"room\40talk..example",
            r"Room\40talk.example",
            r"room\5c40talk.example",
            r"a\40b\40c.example",
            r"room\40talk.example\20",
            r"room\40*",
            "\\27\\22\\26\\3c\\3e\\40x",
        )
        for name in names:
            address = f"{name}@mirror.example"
            self.assertTold(wire.join(address, "eve", EVE), f"presence {address}/eve > {EVE} error item-not-found")
            self.assertTold(
                wire.ask(address, EVE, f"<query xmlns='{ns.DISCO_INFO}'/>"),
                f"iq {address} > {EVE} error item-not-found",
            )
        self.assertEqual(wire.rooms.rooms, {})

    def test_roomsNames(self) -> None:
        """XEP-0045 section 16.1: "Room IDs MUST match the Nodeprep profile": a room has one address."""
        wire = rooms("rooms.example", "far.example")
        for name in ("Lobby", "LOBBY", "ﬁ"):
            address = f"{name}@rooms.example"
            self.assertTold(wire.join(address, "eve", EVE), f"presence {address}/eve > {EVE} error jid-malformed")
            wire.nodeJoins(address, "kev", FAR, KEV)
        self.assertEqual(wire.rooms.rooms, {})

    def test_notAllowed(self) -> None:
        """Rooms on domains that are not allowed, and users of such domains, are refused."""
        wire = mirror("mirror.example", allow=("talk.example",), users=("here.example",))
        other = r"room\40other.example@mirror.example"
        self.assertTold(wire.join(other, "eve", EVE), f"presence {other}/eve > {EVE} error not-allowed")
        self.assertTold(wire.join(M, "kev", KEV), f"presence {M}/kev > {KEV} error not-allowed")
        self.assertEqual(wire.rooms.rooms, {})

    def test_people(self) -> None:
        """A user's address is not a room's: the user would be sent stanzas between nodes."""
        wire = mirror("mirror.example", users=("here.example",))
        victim = r"alice\40here.example@mirror.example"
        self.assertTold(wire.join(victim, "r", EVE), f"presence {victim}/r > {EVE} error not-allowed")
        self.assertEqual(wire.rooms.rooms, {})

    def test_speaker(self) -> None:
        """
        Copies are charged to local users, to occupants of joining nodes, or to nobody; nobody else can be named.
        """
        room = r"r\40talk.example@mirror.example"
        above = "r@talk.example"
        wire = mirror("mirror.example", replica=False, peers=("node.example",))
        wire.rooms.token = "t"
        wire.join(room, "alice", ALICE)
        wire.take(f"<presence from='{above}/alice' to='{room}'>{fmuc(ALICE)}</presence>")
        wire.take(f"<message from='{above}' to='{room}' type='groupchat'><subject/></message>")
        wire.take(f"<presence from='{above}/bob' to='{room}'>{fmuc('bob@talk.example/1')}</presence>")
        wire.nodeJoins(room, "ned", "m@node.example", "ned@x.example/1")
        wire.take(f"<iq from='{above}' to='{room}/ned' id='join-t-1' type='result'/>")
        self.assertEqual(set(wire.room(room).occupants), {"alice", "bob", "ned"})
        for sender, right in (
            (ALICE, ALICE.partition("/")[0]),
            ("eve@evil.example/alice", "eve@evil.example"),
            (f"{above}/alice", ALICE.partition("/")[0]),
            (f"{above}/bob", ""),
            (f"{above}/ned", ""),
            (f"{above}/nobody", ""),
            (above, ""),
            ("m@node.example/ned", "m@node.example/ned"),
            ("m@node.example/alice", "m@node.example/alice"),
            ("m@node.example", ""),
        ):
            self.assertEqual(wire.rooms.speaker(sender, room), right, sender)
        self.assertEqual(wire.rooms.speaker(ALICE, "none@mirror.example/x"), ALICE.partition("/")[0])

    def test_manyRooms(self) -> None:
        """Joins to twice as many rooms as are allowed: only the allowed number is created."""
        for wire, name in (
            (rooms("rooms.example"), "room{}@rooms.example"),
            (mirror("mirror.example"), r"room{}\40talk.example@mirror.example"),
        ):
            refused, most = 0, Bounds().rooms
            wire.rooms.home = "evil.example"
            for number in range(2 * most):
                [*_, last] = wire.join(name.format(number), "eve", f"eve{number // 50}@evil.example/1")
                refused += "resource-constraint" in last
            self.assertEqual((len(wire.rooms.rooms), refused), (most, most))


class AboveTests(WireCase):
    """Joined nodes that answer nothing, or too much."""

    def setUp(self) -> None:
        self.wire = mirror("mirror.example")

    def shown(self, nick: str, real: str, **more: str) -> str:
        """Return an occupant's presence from the joined node."""
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        return f"<presence from='{SOURCE}/{nick}' to='{M}'>{fmuc(real)}{item}</presence>"

    def joined(self) -> None:
        """Alice has joined."""
        self.wire.join(M, "alice", ALICE)
        self.wire.take(self.shown("alice", ALICE))
        self.wire.take(f"<message from='{SOURCE}' to='{M}' type='groupchat'><subject/></message>")

    def test_silence(self) -> None:
        """Waiting users are told in time; nothing is left, and the joined node is asked no more."""
        for number in range(5):
            self.wire.join(M, f"u{number}", f"u{number}@here.example/r")
        self.assertTold(self.wire.tick(BROADBAND.answer - 1), f"iq {M} > {SOURCE} get")
        found = [each for _ in range(4) for each in self.wire.tick(BROADBAND.answer)]
        self.assertEqual(sum("error remote-server-timeout" in each for each in found), 5)
        self.assertEqual(self.wire.rooms.rooms, {})

    def test_manyJoins(self) -> None:
        """
        Joins while the joined node sends nothing, twice as many as may wait: the others are refused; one stanza is
        sent.
        """
        up, refused, most = 0, 0, Bounds().pending
        for number in range(2 * most):
            for each in self.wire.join(M, f"u{number}", f"u{number}@here.example/r"):
                up += f"> {SOURCE}" in each
                refused += "error" in each
        self.assertEqual((up, refused), (1, most))
        self.assertEqual(len(self.wire.room(M).nodes.pending), most)

    def test_flood(self) -> None:
        """Messages and presence of a waiting user are neither stored nor sent."""
        self.wire.join(M, "alice", ALICE)
        for number in range(1_000):
            self.wire.join(M, "alice", ALICE)
            self.wire.join(M, f"other{number}", ALICE)
            self.wire.say(M, ALICE, "hello")
        room = self.wire.room(M)
        self.assertEqual(set(room.nodes.pending), {"alice"})
        self.assertEqual(len(room.history), 0)
        self.assertEqual(room.occupants, {})

    def test_comingAndGoing(self) -> None:
        """A user who joins and leaves as fast as possible leaves nothing behind."""
        for _ in range(1_000):
            self.wire.join(M, "alice", ALICE)
            self.wire.leave(M, "alice", ALICE)
        for _ in range(5):
            self.wire.tick(2 * BROADBAND.answer)
        self.assertEqual(self.wire.rooms.rooms, {})

    def test_historyOffered(self) -> None:
        """Endless history: a limited part is stored, and all users are admitted at last."""
        self.wire.join(M, "alice", ALICE)
        self.wire.take(self.shown("alice", ALICE))
        delay = f"<delay xmlns='{ns.DELAY}' from='{SOURCE}' stamp='2001-01-01T00:00:00Z'/>"
        message = (
            f"<message from='{SOURCE}/kev' to='{M}' type='groupchat'>{fmuc(KEV)}<body>{{}}</body>{delay}</message>"
        )
        room = self.wire.room(M)
        for number in range(1_000):
            self.wire.take(message.format(number))
            self.assertLessEqual(len(room.history), Bounds().messages)
            self.wire.tick(BROADBAND.rest - 1)
            if room.nodes.joinedNode is not None and room.nodes.uplink.state is UplinkState.JOINED:
                break
        self.assertIn(ALICE, room.users)
        self.assertLess(self.wire.link.now - START, 600)

    def test_slowLink(self) -> None:
        """On a slow link a user is admitted, as long as stanzas arrive."""
        self.wire.join(M, "alice", ALICE)
        for number in range(5):
            self.wire.take(self.shown(f"u{number}", f"u{number}@talk.example/r"))
            self.assertTold(self.wire.tick(BROADBAND.answer - 1))
        self.wire.take(self.shown("alice", ALICE))
        self.assertIn(f"presence {M}/alice none/participant 110", to(ALICE, self.wire.tick(BROADBAND.rest + 1)))

    def test_largeHistory(self) -> None:
        """The stored history is bounded in bytes: ids, names and languages count."""
        self.joined()
        big = "i" * 50_000
        for number in range(20):
            self.wire.take(
                f"<message from='{SOURCE}/kev' to='{M}' type='groupchat' id='{number}{big}' xml:lang='{big}'>"
                f"{fmuc('k' * 50_000)}<body>x</body></message>"
            )
        kept = sum(
            len(said.payload.raw) + len(said.id or "") + len(said.payload.language) + len(said.realJid)
            for said in self.wire.room(M).history
        )
        self.assertLessEqual(kept, Bounds().bytes)

    def test_manyOccupants(self) -> None:
        """A joined node can show no more occupants than a room may hold."""
        wire = mirror("mirror.example", bounds=Bounds(occupants=50))
        wire.join(M, "alice", ALICE)
        for number in range(500):
            wire.take(self.shown(f"u{number}", f"u{number}@talk.example/r"))
        wire.take(self.shown("alice", ALICE))
        wire.take(f"<message from='{SOURCE}' to='{M}' type='groupchat'><subject/></message>")
        self.assertLessEqual(len(wire.room(M).occupants), 51)
        self.assertIn(ALICE, wire.room(M).users)

    def test_codesFromAbove(self) -> None:
        """An available occupant has not left, whatever codes and elements the presence contains."""
        self.joined()
        x = (
            f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' nick='new'/>"
            "<destroy jid='trap@talk.example'/><status code='110'/><status code='301'/><status code='303'/></x>"
        )
        sent = self.wire.take(f"<presence from='{SOURCE}/kev' to='{M}'>{fmuc(KEV)}{x}</presence>")
        self.assertTold(sent, f"presence {M}/kev > {ALICE} none/participant")
        sent = self.wire.take(f"<presence from='{SOURCE}/kev' to='{M}'>{fmuc(KEV)}{x}<show>away</show></presence>")
        self.assertTold(sent, f"presence {M}/kev > {ALICE} none/participant show=away")

    def test_othersWords(self) -> None:
        """Only the joined node speaks for its occupants; other addresses of its domain do not."""
        self.joined()
        for sender in ("other@talk.example/alice", "talk.example", f"x{SOURCE}/kev"):
            self.wire.take(f"<message from='{sender}' to='{M}' type='groupchat'><body>lie</body></message>")
            self.wire.take(f"<presence from='{sender}' to='{M}'>{fmuc('', '<left/>')}</presence>")
            self.wire.take(f"<presence from='{sender}' to='{M}/alice' type='unavailable'/>")
        room = self.wire.room(M)
        self.assertEqual(set(room.occupants), {"alice"})
        self.assertEqual(len(room.history), 0)

    def test_emptyMirror(self) -> None:
        """Without downstream occupants, stanzas of the joined node cause no answer and are not stored."""
        anything = (
            self.shown("kev", KEV)
            + f"<message from='{SOURCE}/kev' to='{M}' type='groupchat'>{fmuc(KEV)}<body>x</body></message>"
            + f"<presence from='{SOURCE}' to='{M}'>{fmuc('', '<left/>')}</presence>"
            + f"<presence from='{SOURCE}' to='{M}' type='error'/>"
            + f"<message from='{SOURCE}/kev' to='{M}' type='error'/>"
        )
        sent = self.wire.take(anything)
        self.assertFalse([each for each in sent if " error " not in each], sent)
        self.assertEqual(self.wire.rooms.rooms, {})
        self.joined()
        self.wire.leave(M, "alice", ALICE)
        self.wire.take(f"<presence from='{SOURCE}' to='{M}'>{fmuc('', '<left/>')}</presence>")
        self.assertEqual(self.wire.rooms.rooms, {})


class LoopTests(WireCase):
    """Rooms that mirror themselves, at any length."""

    def test_own(self) -> None:
        """A mirror cannot mirror its own rooms, and so not itself."""
        wire = mirror("mirror.example")
        own = r"room\40mirror.example@mirror.example"
        self.assertTold(wire.join(own, "eve", EVE), f"presence {own}/eve > {EVE} error not-allowed")
        mirrored = f"{jids.escapeLocal(M)}@mirror.example"
        self.assertTold(wire.join(mirrored, "eve", EVE), f"presence {mirrored}/eve > {EVE} error not-allowed")
        self.assertEqual(wire.rooms.rooms, {})

    def test_mirrorOfMirror(self) -> None:
        """A mirror of another mirror is a chain, not a loop."""
        wire = mirror("other.example")
        chained = f"{jids.escapeLocal(M)}@other.example"
        self.assertTold(
            wire.join(chained, "eve", EVE),
            f"presence {chained}/eve > {M}/eve none/participant jid={EVE} fmuc={EVE}replica",
        )

    def ring(self, nodes: int, dialect: Dialect) -> None:
        """The joined node forwards each join, until it comes back from the last node."""
        wire = mirror("mirror.example", dialect, peers=("*",))
        wire.join(M, "eve", EVE)
        # With one node, the joined node itself sends the join back.
        last = SOURCE if nodes == 1 else f"room@n{nodes}.example"
        if dialect is Dialect.XEP_0289:
            sent = wire.nodeJoins(M, "eve", last, EVE)
            self.assertEqual(len(sent), 1, sent)
            self.assertIn("reject", sent[0])
        else:
            sent = wire.take(seedJoin(M, "eve", last, EVE))
            self.assertTold(sent, f"presence {M} > {last}/eve error not-allowed")
        # Each node rejects it to the node before, until the rejection arrives at the start.
        rejection = f"<presence from='{SOURCE}' to='{M}/eve'>{fmuc(EVE, '<reject>loop</reject>')}</presence>"
        sent = wire.take(rejection)
        self.assertTrue(to(EVE, sent), sent)
        wire.tick(2 * BROADBAND.answer)
        self.assertEqual(wire.rooms.rooms, {})

    def test_rings(self) -> None:
        """Loops of one, two and three other nodes, in both protocols."""
        for nodes in (1, 2, 3):
            for dialect in Dialect:
                self.ring(nodes, dialect)


class SizeTests(WireCase):
    """No stanza is so large that a stream could be closed for it."""

    # The gateway's default limit, and that of most servers.
    MAX_SIZE = Limits().stanzaSize

    def assertSmall(self, sent: bytes) -> None:
        """All stanzas are small enough."""
        self.assertLess(max(len(ElementTree.tostring(each)) for each in read(sent)), self.MAX_SIZE)

    def test_messages(self) -> None:
        """A message that would be too large with the additions of all nodes is refused at the first node."""
        wire = rooms("rooms.example")
        wire.join("room@rooms.example", "alice", ALICE)
        large = f"<message from='{ALICE}' to='room@rooms.example' type='groupchat'><body>{{}}</body></message>"
        self.assertSmall(wire.bytes(large.format("x" * 190_000)))
        self.assertTold(
            wire.take(large.format("x" * 200_000)), f"message room@rooms.example > {ALICE} error bad-request"
        )

    def test_rooms(self) -> None:
        """The list of rooms comes in pages (XEP-0045 section 6.3), which together are complete."""
        wire = rooms("rooms.example")
        names = [f"{'x' * 900}{number}@rooms.example" for number in range(120)]
        for number, name in enumerate(names):
            wire.join(name, "alice", f"{number}@here.example/1")
        found: list[str] = []
        after = ""
        for _ in range(20):
            inside = f"<set xmlns='{ns.RSM}'><max>50</max><after>{after}</after></set>" if after else ""
            asked = f"<query xmlns='{ns.DISCO_ITEMS}'>{inside}</query>"
            sent = wire.bytes(f"<iq from='{ALICE}' to='rooms.example' id='q' type='get'>{asked}</iq>")
            self.assertSmall(sent)
            [answer] = read(sent)
            piece = [each.get("jid", "") for each in answer.iter(f"{{{ns.DISCO_ITEMS}}}item")]
            self.assertEqual(answer.findtext(f".//{{{ns.RSM}}}count"), "120")
            if not piece:
                break
            self.assertEqual(answer.findtext(f".//{{{ns.RSM}}}last"), piece[-1])
            found += piece
            after = piece[-1]
        self.assertEqual(found, names)

    def test_lists(self) -> None:
        """A list that must be complete and is too large is not sent."""
        wire = rooms("rooms.example")
        wire.join("room@rooms.example", "alice", ALICE)
        affiliations = wire.room("room@rooms.example").affiliations
        asked = f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast'/></query>"
        for many, answer in ((100, "result"), (300, "error resource-constraint")):
            affiliations |= {f"{'x' * 1_000}{number}@rooms.example": "outcast" for number in range(many)}
            self.assertTold(
                wire.ask("room@rooms.example", ALICE, asked), f"iq room@rooms.example > {ALICE} {answer}"
            )
