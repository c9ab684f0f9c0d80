"""Requests for what belongs to others: they are refused with the right error, and bounded."""

from __future__ import annotations

from gateway import ns
from gateway.errors import NotInTheRoom, ResourceLimit, TooManyRooms
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.values import Dialect
from gateway.muc.room import Bounds
from gateway.muc.values import OUTCAST
from tests.fmuc.support import MUC, RoomCase, Service, mirror, refused, rooms
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN

NODE, OTHER = "x@node.example", "x@other.example"


def joining(node: str, nick: str, real: str, dialect: Dialect = Dialect.XEP_0289) -> str:
    """Return a joining node's join."""
    fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{real}'/>"
    if dialect is Dialect.PROTOXEP:
        return f"<presence from='{node}' to='{ABOVE}/{nick}'>{fmuc}</presence>"
    item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{real}'/></x>"
    return f"<presence from='{node}/{nick}' to='{ABOVE}/{nick}'>{fmuc}{MUC}{item}</presence>"


class NodeTests(RoomCase):
    """Joining nodes."""

    def setUp(self) -> None:
        self.above = rooms("chat.example", "node.example", "other.example")
        self.above.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        self.above.take(joining(NODE, "ann", ANN))
        self.above.take(joining(OTHER, "ben", BEN))
        self.room = self.above.rooms.rooms[ABOVE]

    def test_notAllowed(self) -> None:
        """A domain that is not a peer, or the component's own, has no occupants; nothing is stored for it."""
        for dialect in Dialect:
            for node in ("x@outside.example", "node.example"):
                self.assertIn(b"federate", self.above.take(joining(node, "eve", "eve@outside.example/1", dialect)))
        self.assertEqual(set(self.room.occupants), {"own", "ann", "ben"})
        self.assertEqual(set(self.room.nodes.joiningNodes), {NODE, OTHER})

    def test_another(self) -> None:
        """A node speaks for its occupants, and for no others."""
        for nick in ("ben", "own"):
            for sender in (f"{NODE}/{nick}", NODE):
                kick = f"<presence from='{sender}' to='{ABOVE}/{nick}' type='unavailable'/>"
                self.assertSent(self.above.take(kick))
                change = f"<presence from='{sender}' to='{ABOVE}/{nick}'><show>xa</show></presence>"
                self.assertSent(self.above.take(change))
            body = "<body>x</body>"
            said = f"<message from='{NODE}/{nick}' to='{ABOVE}' type='groupchat'>{body}</message>"
            self.assertSent(self.above.take(said), refused("message", ABOVE, f"{NODE}/{nick}", NotInTheRoom))
            secret = f"<message from='{NODE}/{nick}' to='{ABOVE}/ben' type='chat'>{body}</message>"
            expected = refused("message", f"{ABOVE}/ben", f"{NODE}/{nick}", NotInTheRoom)
            self.assertSent(self.above.take(secret), expected)
            taken = self.above.take(joining(NODE, nick, "eve@node.example/1"))
            self.assertIn(b"<conflict", taken)
        self.assertEqual(set(self.room.occupants), {"own", "ann", "ben"})
        self.assertEqual(self.room.occupants["ben"].payload.raw, b"")

    def test_otherUser(self) -> None:
        """The real JID of an occupant does not change."""
        sent = self.above.take(joining(NODE, "ann", "eve@node.example/1"))
        self.assertIn(b"<forbidden", sent)
        self.assertEqual(self.room.occupants["ann"].realJid, ANN)

    def test_realJids(self) -> None:
        """A join with an invalid JID is refused."""
        for real in ("a b", "@", "a@/b"):
            self.assertIn(b"<jid-malformed", self.above.take(joining(NODE, "eve", real)))
        self.assertEqual(set(self.room.occupants), {"own", "ann", "ben"})

    def test_banned(self) -> None:
        """A banned user, or a user of a banned domain, cannot join, however a node spells the address."""
        self.room.affiliations |= {"tom@localhost": OUTCAST, "evil.example": OUTCAST}
        for real in (
            "tom@localhost/q",
            "TOM@localhost./q",
            "tom@LOCALHOST\u3002/q",
            "\uff54om@localhost/q",
            "t\u00adom@localhost/q",
            "a@evil.example./q",
            "a@EVIL\uff0eexample/q",
        ):
            self.assertIn(b"<forbidden", self.above.take(joining(NODE, "tom", real)), real)
        for user in ("Tom@localhost./q", "a@Evil.example./q"):
            sent = self.above.take(f"<presence from='{user}' to='{ABOVE}/tom'>{MUC}</presence>")
            self.assertIn(b"<forbidden", sent, user)
        self.assertEqual(set(self.room.occupants), {"own", "ann", "ben"})

    def test_bannedInside(self) -> None:
        """A ban applies to occupants with another spelling; the admin may use another spelling, too."""
        for banned, real in (("tom@localhost", "TOM@localhost./q"), ("EVIL.example.", "a@evil.example/q")):
            self.above.take(joining(NODE, "tom", real))
            self.assertIn("tom", self.room.occupants)
            item = f"<query xmlns='{ns.MUC_ADMIN}'><item jid='{banned}' affiliation='outcast'/></query>"
            self.above.take(f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{item}</iq>")
            self.assertNotIn("tom", self.room.occupants)

    def test_administration(self) -> None:
        """Nodes have no rights of administration, neither their own nor their users'."""
        item = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ben' role='none'/></query>"
        for sender, condition in ((NODE, b"<forbidden"), (f"{NODE}/ann", b"<not-allowed")):
            sent = self.above.take(f"<iq from='{sender}' to='{ABOVE}' id='1' type='set'>{item}</iq>")
            self.assertIn(condition, sent)

    def test_bounded(self) -> None:
        """The number of a room's nodes is limited."""
        service = rooms("chat.example", "node.example", bounds=Bounds(nodes=2))
        for number in range(3):
            sent = service.take(joining(f"x{number}@node.example", f"n{number}", f"n{number}@a.example/1"))
        self.assertIn(b"<resource-constraint", sent)
        self.assertEqual(len(service.rooms.rooms[ABOVE].nodes.joiningNodes), 2)


class UserTests(RoomCase):
    """Users."""

    def test_spoofed(self) -> None:
        """A user's own C{fmuc} element is refused or ignored."""
        service = rooms("chat.example", "node.example")
        service.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        sent = service.take(joining(ANN.partition("/")[0], "ann", BEN))
        self.assertIn(b"federate", sent)
        service.take(f"<presence from='{ANN}' to='{ABOVE}/ann'>{MUC}</presence>")
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{BEN}'/>"
        sent = service.take(f"<presence from='{ANN}' to='{ABOVE}/ann'>{fmuc}<show>xa</show></presence>")
        sent += service.take(
            f"<message from='{ANN}' to='{ABOVE}' type='groupchat'><body>x</body>{fmuc}"
            f"<nomirror xmlns='{ns.FMUC}'/></message>"
        )
        self.assertNotIn(ns.FMUC.encode(), sent)
        self.assertEqual(sent.count(b"<body>x<"), 2)
        self.assertEqual(service.rooms.rooms[ABOVE].occupants["ann"].realJid, ANN)

    def test_fromAbove(self) -> None:
        """In a mirror, only the joined node administers."""
        service = mirror("mirror.example")
        service.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        for sender in ("evil@chat.example/ann", "chat.example/ann", BEN):
            item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
            sent = service.take(f"<presence from='{sender}' to='{HERE}/ann'>{item}</presence>")
            self.assertNotIn(b"owner", sent)
            self.assertNotIn(f"to='{ANN}'".encode(), sent)
        self.assertEqual(set(service.rooms.rooms[HERE].nodes.pending), {"ann"})

    def test_joins(self) -> None:
        """1,000 joins: as many users enter as a room may hold, and each other one is told."""
        service = rooms("chat.example", bounds=Bounds(occupants=50))
        refusals = 0
        for number in range(1_000):
            sent = service.take(f"<presence from='u{number}@a.example/1' to='{ABOVE}/n{number}'>{MUC}</presence>")
            refusals += b"The room is full" in sent
        self.assertEqual((len(service.rooms.rooms[ABOVE].occupants), refusals), (50, 950))

    def test_rooms(self) -> None:
        """The number of rooms of each kind is limited, and so are joins that the joined node has not answered."""
        here, bounds = frozenset(("*",)), Bounds(rooms=3, pending=3)
        mirroring = Mirroring(allow=here, users=here)
        for service in (
            rooms("chat.example", bounds=bounds),
            Service(Rooms("chat.example", mirroring, frozenset(), bounds)),
        ):
            service.rooms.home = "a.example"
            for number in range(4):
                room = rf"r{number}\40x.example@chat.example"
                sent = service.take(f"<presence from='{ANN}' to='{room}/ann'>{MUC}</presence>")
            self.assertSent(sent, refused("presence", f"{room}/ann", ANN, ResourceLimit, MUC))
            self.assertEqual(len(service.rooms.rooms), 3)
        room = r"r0\40x.example@chat.example"
        for number in range(3):
            sent = service.take(f"<presence from='u{number}@a.example/1' to='{room}/n{number}'>{MUC}</presence>")
        self.assertSent(sent, refused("presence", f"{room}/n2", "u2@a.example/1", ResourceLimit, MUC))

    def test_roomsOfDomain(self) -> None:
        """
        Users of another server create half of the rooms, with any number of accounts, and those of a third server
        half of the rest. The server's own users create all that are left.
        """
        here, bounds = frozenset(("*",)), Bounds(rooms=40)
        mirroring = Mirroring(allow=here, users=here)
        for service in (
            rooms("chat.example", bounds=bounds),
            Service(Rooms("chat.example", mirroring, frozenset(), bounds)),
        ):
            service.rooms.home = "home.example"
            made = [self.make(service, domain) for domain in ("a.example", "b.example", "home.example")]
            self.assertEqual(made, [20, 10, 10])
            if service.rooms.areMirrors:
                continue
            # When some rooms have ended, as many can be created.
            for number in range(20):
                room = rf"a.example{number}\40x.example@chat.example"
                service.take(f"<presence from='u{number}@a.example/1' to='{room}/n' type='unavailable'/>")
            made = [self.make(service, domain) for domain in ("c.example", "home.example")]
            self.assertEqual(made, [10, 10])

    def make(self, service: Service, domain: str) -> int:
        """Return the number of rooms that 50 users of a domain can create."""
        before, sent = len(service.rooms.rooms), b""
        for number in range(50):
            room = rf"{domain}{number}\40x.example@chat.example"
            sent = service.take(f"<presence from='u{number}@{domain}/1' to='{room}/n'>{MUC}</presence>")
        self.assertSent(sent, refused("presence", f"{room}/n", f"u49@{domain}/1", ResourceLimit, MUC))
        return len(service.rooms.rooms) - before

    def test_roomsOfNode(self) -> None:
        """
        A node may name any user as the creator, also one of the server's own users, so the node's domain counts.
        """
        service = rooms("chat.example", "node.example", bounds=Bounds(rooms=40))
        service.rooms.home = "home.example"
        for number in range(50):
            real = f"u{number}@home.example/1" if number % 2 else f"u@{number}.example/1"
            join = joining("r@node.example", "n", real).replace(ABOVE, f"r{number}@chat.example")
            sent = service.take(join)
        self.assertIn(b"resource-constraint", sent)
        self.assertEqual(len(service.rooms.rooms), 20)

    def test_roomsOfOne(self) -> None:
        """One user creates a limited number of rooms, by any resource or node; others can create theirs."""
        here, bounds = frozenset(("*",)), Bounds(made=3)
        mirroring = Mirroring(allow=here, users=here)
        for service in (
            rooms("chat.example", "node.example", bounds=bounds),
            Service(Rooms("chat.example", mirroring, frozenset(), bounds)),
        ):
            bare = ANN.partition("/")[0]
            for number in range(4):
                room = rf"r{number}\40x.example@chat.example"
                sent = service.take(f"<presence from='{bare}/{number}' to='{room}/ann'>{MUC}</presence>")
            self.assertSent(sent, refused("presence", f"{room}/ann", f"{bare}/3", TooManyRooms, MUC))
            if not service.rooms.areMirrors:
                sent = service.take(joining(f"{room[:-12]}node.example", "ann", f"{bare}/4").replace(ABOVE, room))
                self.assertIn(b"resource-constraint", sent)
            self.assertEqual(len(service.rooms.rooms), 3)
            service.take(f"<presence from='{BEN}' to='{room}/ben'>{MUC}</presence>")
            self.assertEqual(len(service.rooms.rooms), 4)
            # When one of the user's rooms ends, another can be created; nothing is stored for a user without rooms.
            first = r"r0\40x.example@chat.example"
            if not service.rooms.areMirrors:
                service.take(f"<presence from='{bare}/0' to='{first}/ann' type='unavailable'/>")
                sent = service.take(f"<presence from='{bare}/0' to='new@chat.example/ann'>{MUC}</presence>")
                self.assertIn(b"code='201'", sent)
                sent = service.take(f"<presence from='{bare}/0' to='newer@chat.example/ann'>{MUC}</presence>")
                self.assertIn(b"resource-constraint", sent)
            service.shutDown()
            self.assertEqual(service.rooms._made, {})

    def test_madeAndLeft(self) -> None:
        """Rooms that were left again do not count."""
        service = rooms("chat.example", bounds=Bounds(made=2))
        for number in range(10):
            sent = service.take(f"<presence from='{ANN}' to='r{number}@chat.example/ann'>{MUC}</presence>")
            self.assertIn(b"code='201'", sent)
            service.take(f"<presence from='{ANN}' to='r{number}@chat.example/ann' type='unavailable'/>")
        self.assertEqual(service.rooms._made, {})

    def test_escapes(self) -> None:
        """Addresses and reasons are escaped."""
        service = rooms("chat.example", "node.example")
        nick = "&apos;/&gt;&lt;x&gt;&quot;"
        service.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        sent = service.take(f"<presence from='ann@a.example/&apos;&lt;' to='{ABOVE}/{nick}'>{MUC}</presence>")
        self.assertIn(b"code='110'", sent)
        self.assertIn("'/><x>\"", service.rooms.rooms[ABOVE].occupants)
        item = (
            f"<query xmlns='{ns.MUC_ADMIN}'><item nick='{nick}' role='none'><reason>{nick}</reason></item></query>"
        )
        sent = service.take(f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{item}</iq>")
        # Three stanzas, as another parser reads them.
        self.assertSent(sent, sent.decode())
        self.assertEqual(sent.count(b"<reason>&apos;/&gt;&lt;x&gt;&quot;</reason>"), 2)
