"""Temporary rooms that nobody uses any longer (XEP-0045 section 3)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import CreationRestricted, TooManyRooms
from gateway.muc.room import Bounds
from tests.fmuc.support import MUC, RoomCase, refused, rooms
from tests.muc.test_local import CRONE, HAG, ROOM, presence, user

DAY = 86_400.0
NODE = r"coven\40chat.shakespeare.lit@node.example"
BODY = "<body>x</body>"


def fmuc(real: str) -> str:
    """Return the elements of a join through a node."""
    item = f"<item affiliation='none' role='participant' jid='{real}'/>"
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'/>{MUC}<x xmlns='{ns.MUC_USER}'>{item}</x>"


class ServiceCase(RoomCase):
    """A service that a node may join."""

    bounds = Bounds(idle=DAY)

    def setUp(self) -> None:
        self.service = rooms("chat.shakespeare.lit", "node.example", bounds=self.bounds)

    def join(self, who: str, nick: str, room: str = ROOM) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{room}/{nick}'>{MUC}</presence>")

    def joinNode(self, real: str, nick: str, room: str = ROOM) -> bytes:
        return self.service.take(f"<presence from='{NODE}/{nick}' to='{room}/{nick}'>{fmuc(real)}</presence>")

    def own(self, inside: str, room: str = ROOM) -> bytes:
        query = f"<query xmlns='{ns.MUC_OWNER}'>{inside}</query>"
        return self.service.take(f"<iq from='{CRONE}' to='{room}' id='1' type='set'>{query}</iq>")

    def persistent(self, value: int, room: str = ROOM) -> bytes:
        field = f"<field var='muc#roomconfig_persistentroom'><value>{value}</value></field>"
        return self.own(f"<x xmlns='{ns.DATA}' type='submit'>{field}</x>", room)

    @property
    def there(self) -> set[str]:
        """The rooms that there are."""
        return set(self.service.rooms.rooms)


class IdleTests(ServiceCase):
    """Temporary rooms in which nothing happens."""

    def setUp(self) -> None:
        super().setUp()
        self.join(CRONE, "crone")
        self.service.tick(1)

    def test_destroyed(self) -> None:
        """After the time the room is destroyed as by an owner (section 10.9), also for the users of a mirror."""
        self.joinNode("ben@b.example/1", "ben")
        self.assertEqual(self.service.tick(DAY - 1), b"")
        sent = self.service.tick(1)
        reason = "<reason>Nothing has happened in this temporary room for a long time.</reason>"
        destroyed = f"<status code='110'/><destroy>{reason}</destroy>"
        own, ben, left = sent.split(b"<presence")[1:]
        content = user("owner", "none", destroyed)
        self.assertSent(b"<presence" + own, presence("crone", CRONE, content, "unavailable"))
        self.assertIn(b"<destroy>", ben)
        self.assertIn(f"to='{NODE}".encode(), ben)
        self.assertIn(b"<left/>", left)
        self.assertEqual(self.there, set())

    def test_active(self) -> None:
        """A message or a presence of a user or of a node keeps the room; a request or an error does not."""
        self.joinNode("ben@b.example/1", "ben")
        for sent in (
            f"<message from='{CRONE}' to='{ROOM}' type='groupchat'>{BODY}</message>",
            f"<presence from='{CRONE}' to='{ROOM}/crone'><show>away</show></presence>",
            f"<message from='{NODE}/ben' to='{ROOM}' type='groupchat'>{BODY}<fmuc xmlns='{ns.FMUC}'/></message>",
            f"<presence from='{NODE}/ben' to='{ROOM}/ben'><show>away</show>{fmuc('ben@b.example/1')}</presence>",
        ):
            self.service.tick(DAY - 1)
            self.assertEqual(self.there, {ROOM}, sent)
            self.service.take(sent)
        self.service.tick(DAY - 1)
        self.assertEqual(self.there, {ROOM})
        self.service.take(f"<iq from='{CRONE}' to='{ROOM}/crone' type='get' id='p'><ping xmlns='{ns.PING}'/></iq>")
        self.service.tick(1)
        self.assertEqual(self.there, set())

    def test_persistent(self) -> None:
        """A persistent room stays. If it becomes temporary, its time begins then."""
        self.persistent(1)
        self.service.tick(3 * DAY)
        self.assertEqual(self.there, {ROOM})
        self.persistent(0)
        self.service.tick(DAY - 1)
        self.assertEqual(self.there, {ROOM})
        self.service.tick(1)
        self.assertEqual(self.there, set())

    def test_locked(self) -> None:
        """A room whose owner never sends the form opens, and ends in its time."""
        self.service = rooms("chat.shakespeare.lit", bounds=Bounds(locked=60.0, idle=DAY))
        self.join(CRONE, "crone")
        self.service.tick(61)
        self.join(HAG, "hag")
        self.service.tick(DAY)
        self.assertEqual(self.there, set())

    def test_off(self) -> None:
        """Without the option rooms stay."""
        self.service = rooms("chat.shakespeare.lit")
        self.join(CRONE, "crone")
        self.service.tick(1)
        self.service.tick(1e8)
        self.assertEqual(self.there, {ROOM})


class CreateTests(ServiceCase):
    """Users who may create rooms (section 10.1.1)."""

    def setUp(self) -> None:
        super().setUp()
        self.service.rooms.creators = frozenset(("shakespeare.lit", "ben@b.example"))

    def test_allowed(self) -> None:
        """Users of a domain, and single users, in any spelling; others may enter what there is."""
        for number, who in enumerate((CRONE, "ben@b.example/1", "BEN@B.example./x", "A@Shakespeare.LIT/y")):
            self.assertIn(b"code='201'", self.join(who, "nick", f"r{number}@chat.shakespeare.lit"))
        self.assertIn(b"code='110'", self.join("tom@b.example/1", "tom", "r0@chat.shakespeare.lit"))

    def test_refused(self) -> None:
        """Others get not-allowed: "the service MUST return a <not-allowed/> error"; no room is made."""
        for who in ("tom@b.example/1", "x@sub.shakespeare.lit/1", "b.example/1"):
            error = refused("presence", f"{ROOM}/nick", who, CreationRestricted, MUC)
            self.assertSent(self.join(who, "nick"), error)
        self.assertEqual(self.there, set())

    def test_mirror(self) -> None:
        """The JID that a node names decides, as it does of bans."""
        self.assertIn(b"<not-allowed", self.joinNode("tom@b.example/1", "tom"))
        self.assertIn(b"<reject", self.joinNode("tom@b.example/1", "tom"))
        self.assertEqual(self.there, set())
        self.joinNode("ben@b.example/1", "ben")
        self.assertEqual(self.there, {ROOM})

    def test_node(self) -> None:
        """The domain of a node stands for all its users, not for others."""
        self.service.rooms.creators = frozenset((NODE.partition("@")[2],))
        self.joinNode("tom@b.example/1", "tom")
        self.assertEqual(self.there, {ROOM})
        self.assertIn(b"<not-allowed", self.join("tom@b.example/1", "tom", f"r0@{ROOM.partition('@')[2]}"))

    def test_subdomains(self) -> None:
        """A domain after a dot stands for its subdomains."""
        self.service.rooms.creators = frozenset((".b.example",))
        for who in ("tom@b.example/1", "tom@bb.example/1", "tom@example/1"):
            self.assertIn(b"<not-allowed", self.join(who, "tom"))
        for number, who in enumerate(("tom@a.b.example/1", "tom@c.a.B.example/1")):
            self.assertIn(b"code='201'", self.join(who, "tom", f"r{number}@chat.shakespeare.lit"))

    def test_nobody(self) -> None:
        """An empty list allows nobody."""
        self.service.rooms.creators = frozenset()
        self.assertIn(b"<not-allowed", self.join(CRONE, "crone"))


class CountTests(ServiceCase):
    """Rooms that one user has created."""

    bounds = Bounds(made=2)

    def name(self, number: int) -> str:
        return f"r{number}@chat.shakespeare.lit"

    def assertFull(self, number: int) -> None:
        sent = self.join(CRONE, "crone", self.name(number))
        self.assertSent(sent, refused("presence", f"{self.name(number)}/crone", CRONE, TooManyRooms, MUC))

    def test_spellings(self) -> None:
        """All spellings of a JID, all resources, and mirrors count together."""
        self.join("CRONE1@Shakespeare.lit./x", "crone", self.name(0))
        self.joinNode("Crone1@shakespeare.LIT/y", "crone", self.name(1))
        self.assertFull(2)
        self.assertIn(b"<reject", self.joinNode(CRONE, "crone", self.name(2)))
        self.assertEqual(self.there, {self.name(0), self.name(1)})

    def test_freed(self) -> None:
        """A room that ends frees its place: by the last leave, here or in a mirror, or by destruction."""
        self.join(CRONE, "crone", self.name(0))
        self.join(CRONE, "crone", self.name(1))
        self.assertFull(2)
        self.service.take(f"<presence from='{CRONE}' to='{self.name(0)}/crone' type='unavailable'/>")
        self.joinNode(CRONE, "crone", self.name(2))
        self.assertFull(3)
        self.own("<destroy/>", self.name(1))
        self.join(CRONE, "crone", self.name(4))
        self.assertFull(5)
        self.service.take(
            f"<presence from='{NODE}/crone' to='{self.name(2)}/crone' type='unavailable'>{fmuc(CRONE)}</presence>"
        )
        self.join(CRONE, "crone", self.name(6))
        self.assertEqual(self.there, {self.name(4), self.name(6)})
        self.assertFull(7)

    def test_persistent(self) -> None:
        """A persistent room counts while it is empty."""
        for number in range(2):
            self.join(CRONE, "crone", self.name(number))
            self.persistent(1, self.name(number))
            self.service.take(f"<presence from='{CRONE}' to='{self.name(number)}/crone' type='unavailable'/>")
        self.assertFull(2)
