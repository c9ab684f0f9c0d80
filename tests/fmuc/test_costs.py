"""Expensive stanzas: each is answered, and none blocks the reactor."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.stream.core import Limits, Splitter
from gateway.stream.stanzas import Stanza
from gateway.testing.wire import HEADER
from tests.fmuc.support import MUC
from tests.fmuc.wire import Wire
from tests.quick import QuickCase

R, OWN, EVE = "r@chat.example", "own@a.example/1", "eve@a.example/1"
NODE = "x@node.example"
USER = f"<x xmlns='{ns.MUC_USER}'>%s</x>"
LIGATURE = "\ufdfa"


def _read(xml: str) -> Stanza:
    """Send one stanza of any size."""
    splitter = Splitter(ns.COMPONENT_ACCEPT, Limits(stanzaSize=8 * 1024 * 1024))
    splitter.feed(HEADER.encode())
    [stanza] = splitter.feed(xml.encode())
    assert isinstance(stanza, Stanza), stanza
    return stanza


class CostCase(QuickCase):
    """A room with its owner."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = Wire(Rooms("chat.example", None, frozenset(("node.example",))))
        self.wire.join(R, "own", OWN)

    def send(self, xml: str, wire: Wire | None = None) -> bytes:
        """Return the bytes that a stanza causes; it must not take long."""
        wire, stanza = wire or self.wire, _read(xml)
        with self.quickly(xml[:200]):
            self.assertTrue(wire.handler.stanzaReceived(stanza))
        sent = b"".join(wire.link.sent)
        wire.link.sent.clear()
        return sent

    def assertRefused(self, sent: bytes) -> None:
        """The stanza is refused as unreadable, or as too large."""
        self.assertTrue(b"<bad-request" in sent or b"<policy-violation" in sent, sent[:500])

    def ask(self, user: str, namespace: str, inside: str, kind: str = "set") -> bytes:
        query = f"<query xmlns='{namespace}'>{inside}</query>"
        return self.send(f"<iq from='{user}' to='{R}' id='1' type='{kind}'>{query}</iq>")

    def show(self, inside: str) -> bytes:
        return self.send(f"<presence from='{EVE}' to='{R}/eve'>{inside}</presence>")


class AdministrationTests(CostCase):
    """Lists of changes (XEP-0045 sections 8 and 9)."""

    def items(self, addresses: list[str]) -> str:
        return "".join(f"<item affiliation='member' jid='{address}'/>" for address in addresses)

    def test_rightsFirst(self) -> None:
        """A user without rights is refused before any item is counted or read."""
        for addresses in (
            [f"a@h{number}/{LIGATURE * 1_000}" for number in range(80)],
            ["@"],
            ["a@b"] * 3_000,
        ):
            self.assertIn(b"<forbidden", self.ask(EVE, ns.MUC_ADMIN, self.items(addresses)))
        self.assertIn(b"<forbidden", self.ask(EVE, ns.MUC_ADMIN, ""))

    def test_sizes(self) -> None:
        """For other users, the parts of an address are bounded before and after their preparation."""
        for addresses in (
            [f"a@h{number}/{LIGATURE * 1_000}" for number in range(80)],
            [f"{number}{LIGATURE * 300}@h" for number in range(80)],
            [f"{number}{'é' * 511}@h" for number in range(80)],
            [f"a@{number}{'é' * 511}" for number in range(80)],
        ):
            self.assertIn(b"<jid-malformed", self.ask(OWN, ns.MUC_ADMIN, self.items(addresses)))

    def test_counted(self) -> None:
        """A request with too many items is not read."""
        self.assertIn(b"<resource-constraint", self.ask(OWN, ns.MUC_ADMIN, self.items(["@"] * 101)))

    def test_expensive(self) -> None:
        """The maximum number of the most expensive addresses."""
        marks = "\u0301\u0316" * 250
        addresses = [f"{number}{marks}@h{number}/{LIGATURE * 341}" for number in range(100)]
        self.assertIn(b"type='result'", self.ask(OWN, ns.MUC_ADMIN, self.items(addresses)))
        self.assertEqual(len(self.wire.room(R).affiliations), 101)

    def test_list(self) -> None:
        """A list is requested by role or affiliation; the rest of the request is not read."""
        item = f"<item affiliation='owner' jid='{LIGATURE * 1_000}'/>"
        self.assertIn(b"own@a.example", self.ask(OWN, ns.MUC_ADMIN, item * 100, "get"))

    def test_ban(self) -> None:
        """A ban compares all occupants' addresses, and prepares none of them again."""
        marks = "\u0301\u0316" * 250
        room = self.wire.room(R)
        for number in range(300):
            self.wire.enter(R, f"n{number}", f"{number}{marks}@a.example/{marks}")
        with self.quickly():
            for occupant in room.occupants.values():
                occupant.person  # noqa: B018  # a property; its cost counts
        self.assertIn(b"type='result'", self.ask(OWN, ns.MUC_ADMIN, self.items(["tom@localhost"])))


class RemovalTests(CostCase):
    """
    A small stanza that removes many occupants: they are not told of each other, or there would be a million
    stanzas.
    """

    def setUp(self) -> None:
        super().setUp()
        for number in range(1_000):
            self.wire.enter(R, f"n{number}", f"u{number}@b.example/1")
        # The answers to their joins, a million presences, are not of interest.
        self.wire.room(R).arrivals = None
        self.wire.join(R, "carol", "carol@c.example/1")
        # The joins to a large room are answered in portions.
        self.wire.link.settle()
        self.wire.link.sent.clear()
        self.ask(OWN, ns.MUC_ADMIN, "<item affiliation='member' jid='carol@c.example'/>")

    def assertOut(self, sent: bytes, code: int, stay: int = 2) -> None:
        """Each removed occupant is told of the own removal, and each remaining one of all removals."""
        room = self.wire.room(R)
        self.assertEqual(set(room.occupants), {"own", "carol"})
        self.assertEqual(sent.count(f"<status code='{code}'/><status code='110'/>".encode()), 1_000)
        self.assertEqual(sent.count(f"<status code='{code}'/>".encode()), 1_000 * (1 + stay))
        self.assertEqual(sent.count(b"type='unavailable'"), 1_000 * (1 + stay))
        # Only moderators see the real JIDs of others.
        self.assertEqual(sent.count(b"jid='u7@b.example/1'"), 1)
        self.assertIn(f"from='{R}/n999' to='carol@c.example/1' type='unavailable'".encode(), sent)

    def test_membersOnly(self) -> None:
        """A room becomes members-only."""
        fields = "<field var='muc#roomconfig_membersonly'><value>1</value></field>"
        self.assertOut(self.ask(OWN, ns.MUC_OWNER, f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>"), 322)

    def test_domain(self) -> None:
        """The ban of a whole domain whose users are occupants."""
        self.assertOut(self.ask(OWN, ns.MUC_ADMIN, "<item affiliation='outcast' jid='b.example'/>"), 301)


class NodeRemovalTests(CostCase):
    """The same for a node."""

    def test_lost(self) -> None:
        """A node that cannot be reached: its occupants are not told, and the others are told of each."""
        for number in range(1_000):
            self.wire.nodeJoins(R, f"n{number}", NODE, f"u{number}@b.example/1")
        error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        sent = self.send(f"<message from='{NODE}' to='{R}' type='error'>{error}</message>")
        self.assertEqual(sent.count(f"to='{OWN}' type='unavailable'".encode()), 1_000)
        self.assertEqual(set(self.wire.room(R).occupants), {"own"})
        self.assertEqual(self.wire.room(R).nodes.joiningNodes, {})

    def test_banned(self) -> None:
        """
        A ban of the domain of all occupants of a node: the node is told of each removal, and then that it has left.
        """
        for number in range(10):
            self.wire.nodeJoins(R, f"n{number}", NODE, f"u{number}@b.example/1")
        sent = self.ask(OWN, ns.MUC_ADMIN, "<item affiliation='outcast' jid='b.example'/>")
        told = [part for part in sent.split(b"</presence>") if f"to='{NODE}'".encode() in part]
        self.assertEqual([b"code='301'" in part for part in told], [True] * 10 + [False])
        self.assertIn(b"<left", told[-1])


class JoinTests(CostCase):
    """Rooms and nicks with long names."""

    def test_rooms(self) -> None:
        """200 rooms with long names, as one chunk of input may request."""
        room = "é" * 400
        joins = [
            _read(f"<presence from='e{each % 4}@a.example/1' to='{each}{room}@chat.example/é'>{MUC}</presence>")
            for each in range(200)
        ]
        with self.quickly():
            for join in joins:
                self.wire.handler.stanzaReceived(join)
        self.assertEqual(len(self.wire.rooms.rooms), 201)

    def test_mirrors(self) -> None:
        """The same for a mirror, whose addresses contain other addresses."""
        everything = frozenset(("*",))
        wire = Wire(Rooms("chat.example", Mirroring(allow=everything, users=everything), frozenset()))
        for number in range(10):
            room = f"{number}{'é' * 400}\\40{'é' * 50}.example@chat.example"
            self.send(f"<presence from='{EVE}' to='{room}/é'>{MUC}</presence>", wire)
        self.assertEqual(len(wire.rooms.rooms), 10)

    def test_nodes(self) -> None:
        """A node names the joining user; an invalid address is refused."""
        real = f"a@h/{LIGATURE * 1_000}"
        item = USER % f"<item affiliation='none' role='participant' jid='{real}'/>"
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{real}'/>"
        sent = self.send(f"<presence from='{NODE}/eve' to='{R}/eve'>{fmuc}{MUC}{item}</presence>")
        self.assertIn(b"<jid-malformed", sent)


class ElementTests(CostCase):
    """Very many elements."""

    def test_items(self) -> None:
        """Presence with 34,000 items, in one element or in many; also in a much larger stanza."""
        for inside in (
            MUC + USER % ("<item/>" * 34_000),
            MUC + USER % ("<item/>" * 101),
            (USER % "<item/>") * 2_001,
            (USER % "<item/>") * 100_000,
        ):
            self.assertRefused(self.show(inside))
        self.assertNotIn("eve", self.wire.room(R).occupants)

    def test_most(self) -> None:
        """Stanzas just within the limits take little time, too."""
        status = USER % ("<status code='301'/>" * 100)
        for inside in (
            (USER % "<item/>") * 1_600,
            status * 48,
            "<y xmlns:stream='u'/>" + "<stream:a/>" * 1_998,
            "<a xmlns='u'><b/></a>" * 1_999,
        ):
            self.assertNotIn(b"bad-request", self.show(MUC + inside))
        self.assertIn("eve", self.wire.room(R).occupants)

    def test_ids(self) -> None:
        """Very many ids, by JIDs that take long to prepare, and in a spelling that takes long to read."""
        marks = "\u0301\u0316" * 25
        ids = "".join(f"<stanza-id xmlns='{ns.SID}' by='{n}{marks}@h{n}' id='x'/>" for n in range(1_000))
        spelled = f"<stanza-id xmlns='{ns.SID}' by='&#97;@b' id='x'/>" * 1_999
        for inside in (ids, spelled):
            sent = self.send(f"<message from='{OWN}' to='{R}' type='groupchat'>{inside}</message>")
            self.assertEqual(sent.count(b"<stanza-id"), 10)
        for given in ("id='x'", "id='&#97;'"):
            self.assertIn(b"eve", self.show(MUC + f"<occupant-id xmlns='{ns.OCCUPANT_ID}' {given}/>" * 1_990))

    def test_words(self) -> None:
        """Other elements that are read."""
        many = "<a/>" * 101
        for inside in (
            f"<x xmlns='{ns.MUC}'>{many}<history/></x>",
            f"{MUC}<fmuc xmlns='{ns.FMUC}'>{many}</fmuc>",
        ):
            self.assertRefused(self.show(inside))
        for inside in (USER % ("<invite to='a@b'/>" * 101), USER % ("<invite to='a@b'/>" * 100_000)):
            sent = self.send(f"<message from='{OWN}' to='{R}'>{inside}</message>")
            self.assertRefused(sent)
        self.send(f"<message from='{OWN}' to='{R}' type='error'><error>{many}</error></message>")

    def test_messages(self) -> None:
        """A message with very many elements is refused; one with fewer is forwarded unchanged."""
        for inside, isTaken in (("<a/>" * 9_000, True), ("<a/>" * 11_000, False), ("<a/>" * 1_000_000, False)):
            body = f"<body>x</body><q xmlns='u'>{inside}</q>"
            sent = self.send(f"<message from='{OWN}' to='{R}' type='groupchat'>{body}</message>")
            self.assertEqual(inside.encode() in sent, isTaken)
            self.assertEqual(b"<policy-violation" in sent, not isTaken)

    def test_queries(self) -> None:
        """Requests."""
        for namespace in (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.MUC_ADMIN, ns.MUC_OWNER):
            for inside in ("<item/>" * 11_000, "<item/>" * 500_000):
                self.assertRefused(self.ask(OWN, namespace, inside, "get"))
            self.ask(OWN, namespace, "<item/>" * 9_000, "get")
        fields = "<field var='muc#roomconfig_roomname'><value>x</value></field>" * 1_600
        self.assertIn(
            b"type='result'",
            self.ask(OWN, ns.MUC_OWNER, f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>"),
        )


class AnswerTests(CostCase):
    """Long answers to short requests."""

    def test_lists(self) -> None:
        """The maximum number of rooms, and a full room."""
        self.wire.rooms.home = "a.example"
        for number in range(999):
            self.wire.enter(f"{number}{'r' * 50}@chat.example", "own", f"own{number % 20}@a.example/1")
        room = self.wire.room(R)
        for number in range(400):
            self.wire.enter(R, f"n{number}", f"u{number}@a.example/1")
        self.assertEqual((len(self.wire.rooms.rooms), len(room.occupants)), (1_000, 401))
        for to in ("chat.example", R):
            for rsm in ("", f"<set xmlns='{ns.RSM}'><max>10</max><after>{R}/n399</after></set>"):
                query = f"<query xmlns='{ns.DISCO_ITEMS}'>{rsm}</query>"
                sent = self.send(f"<iq from='{OWN}' to='{to}' id='1' type='get'>{query}</iq>")
                self.assertIn(b"<item" if not rsm or to == "chat.example" else b"<count", sent)
        sent = self.ask(OWN, ns.MUC_ADMIN, "<item role='participant'/>", "get")
        self.assertEqual(sent.count(b"<item"), 400)
