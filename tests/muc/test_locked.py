"""New rooms that wait for their owner's first form (XEP-0045 sections 7.2.10 and 10.1)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import NotAcceptable, NotEntitled, RoomLocked
from gateway.fmuc.values import Dialect
from gateway.muc.room import Bounds
from tests.fmuc.support import MUC, RoomCase, refused, rooms
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.fmuc.test_text import CAT, LOW, net
from tests.fmuc.wire import to
from tests.muc.test_local import CRONE, HAG, NO_SUBJECT, ROOM, presence, said, status, user

NODE = r"coven\40chat.shakespeare.lit@mirror.example"
SUBMIT, CANCEL = (f"<x xmlns='{ns.DATA}' type='{kind}'/>" for kind in ("submit", "cancel"))
CREATED = presence("crone", CRONE, user("owner", "moderator", status(201, 110)))
DESTROYED = user("owner", "none", f"{status(110)}<destroy/>")


class LockedTests(RoomCase):
    """A room that a user has created, and not configured."""

    def setUp(self) -> None:
        self.service = rooms("chat.shakespeare.lit", "mirror.example", bounds=Bounds(locked=60.0))
        self.made = self.join(CRONE, "crone")

    def join(self, who: str, nick: str) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'>{MUC}</presence>")

    def own(self, who: str, inside: str) -> bytes:
        query = f"<query xmlns='{ns.MUC_OWNER}'>{inside}</query>"
        return self.service.take(f"<iq from='{who}' to='{ROOM}' id='1' type='set'>{query}</iq>")

    def field(self, name: str, value: str) -> str:
        """Return a form with one field."""
        field = f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>"
        return f"<x xmlns='{ns.DATA}' type='submit'>{field}</x>"

    def listed(self) -> bool:
        """True if the service lists the room."""
        query = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
        return ROOM.encode() in self.service.take(
            f"<iq from='{HAG}' to='chat.shakespeare.lit' id='1' type='get'>{query}</iq>"
        ).replace(f"to='{ROOM}".encode(), b"")

    def done(self) -> str:
        """Return the owner's result."""
        return f"<iq from='{ROOM}' to='{CRONE}' id='1' type='result'/>"

    def assertLocked(self) -> None:
        """Nobody else can enter, directly or through a mirror; the room is not listed."""
        self.assertSent(self.join(HAG, "hag"), refused("presence", f"{ROOM}/hag", HAG, RoomLocked, MUC))
        item = f"<item affiliation='none' role='participant' jid='{HAG}'/>"
        sent = self.service.take(
            f"<presence from='{NODE}/hag' to='{ROOM}/hag'><fmuc xmlns='{ns.FMUC}' from='{HAG}'/>{MUC}"
            f"<x xmlns='{ns.MUC_USER}'>{item}</x></presence>"
        )
        self.assertIn(b"<reject>", sent)
        self.assertIn(b"<item-not-found", sent)
        self.assertEqual(set(self.service.rooms.rooms[ROOM].occupants), {"crone"})
        self.assertFalse(self.listed())

    def assertOpen(self) -> None:
        """Others can enter, and the room is listed."""
        self.assertIn(b"code='110'", self.join(HAG, "hag"))
        self.assertTrue(self.listed())

    def test_waits(self) -> None:
        """Section 10.1.1: the owner is in, with 201, and "not allow anyone else to enter the room"."""
        self.assertSent(self.made, CREATED, said("", CRONE, NO_SUBJECT))
        self.assertLocked()
        # The owner comes in again, and may read the form.
        self.assertIn(b"code='110'", self.join(CRONE, "crone"))
        self.assertLocked()

    def test_instant(self) -> None:
        """Section 10.1.2: an empty form opens the room."""
        self.assertSent(self.own(CRONE, SUBMIT), self.done())
        self.assertOpen()

    def test_reserved(self) -> None:
        """Section 10.1.3: a form that is refused leaves the room as it is; a good one opens it."""
        sent = self.own(CRONE, self.field("whois", "nobody"))
        self.assertSent(sent, refused("iq", ROOM, CRONE, NotAcceptable, "id='1'"))
        self.assertLocked()
        self.own(CRONE, self.field("roomname", "Cave"))
        self.assertOpen()

    def test_others(self) -> None:
        """No other user opens or destroys it."""
        for form in (SUBMIT, CANCEL):
            self.assertSent(self.own(HAG, form), refused("iq", ROOM, HAG, NotEntitled, "id='1'"))
        self.assertLocked()

    def test_cancelled(self) -> None:
        """Section 10.1.3: if the owner cancels the form, "the service MUST destroy the room"."""
        self.assertSent(self.own(CRONE, CANCEL), presence("crone", CRONE, DESTROYED, "unavailable"), self.done())
        self.assertEqual(self.service.rooms.rooms, {})
        # The next user creates it anew.
        self.assertIn(status(201, 110).encode(), self.join(HAG, "hag"))

    def test_cancelledLater(self) -> None:
        """Section 10.2: later a cancelled form changes nothing."""
        self.own(CRONE, SUBMIT)
        self.assertSent(self.own(CRONE, CANCEL), self.done())
        self.assertOpen()

    def test_left(self) -> None:
        """Section 10.1.3: if the owner leaves before, the room is destroyed, and the presence says so."""
        sent = self.service.take(f"<presence from='{CRONE}' to='{ROOM}/crone' type='unavailable'/>")
        self.assertSent(sent, presence("crone", CRONE, DESTROYED, "unavailable"))
        self.assertEqual(self.service.rooms.rooms, {})

    def test_leftLater(self) -> None:
        """A room that is open ends without that."""
        self.own(CRONE, SUBMIT)
        sent = self.service.take(f"<presence from='{CRONE}' to='{ROOM}/crone' type='unavailable'/>")
        self.assertSent(sent, presence("crone", CRONE, user("owner", "none", status(110)), "unavailable"))

    def test_timeout(self) -> None:
        """Section 10.1.1: after the timeout the owner "is assumed to have accepted the default configuration"."""
        self.service.tick(59.0)
        self.assertLocked()
        self.service.tick(1.0)
        self.assertOpen()


class MirrorTests(RoomCase):
    """A user creates a room through a mirror."""

    def test_created(self) -> None:
        """The user is told 201, owns the room, and it is open: other users of the mirror and of the room enter."""
        for way in WAYS:
            site = Site(*way)
            site.above.rooms._bounds = Bounds(locked=60.0)
            site.join(ANN, "ann")
            own = user("owner", "moderator", status(201, 110))
            self.assertSent(
                site.seen(ANN).encode(),
                f"<presence from='{HERE}/ann' to='{ANN}'>{own}</presence>",
                f"<message from='{HERE}' to='{ANN}' type='groupchat'>{NO_SUBJECT}</message>",
            )
            self.assertEqual(site.above.rooms.rooms[ABOVE].affiliations, {"ann@a.example": "owner"})
            for who, nick in ((BEN, "ben"), (OWN, "own")):
                site.join(who, nick)
                seen = site.seen(who)
                self.assertIn("code='110'", seen, way)
                self.assertNotIn("code='201'", seen)
            self.assertNotIn("code='201'", site.seen(ANN))

    def test_administering(self) -> None:
        """If the room accepts forms through the mirror, it waits for one, as for a user in the room itself."""
        for way in WAYS:
            for form, isOpened in ((SUBMIT, True), (CANCEL, False)):
                site = Site(*way, administrators="mirror.example")
                site.above.rooms._bounds = Bounds(locked=60.0)
                site.join(ANN, "ann")
                self.assertIn(status(201, 110), site.seen(ANN))
                for who, nick in ((BEN, "ben"), (OWN, "own")):
                    site.join(who, nick)
                    self.assertIn("<item-not-found", site.seen(who), way)
                site.seen(ANN)
                query = f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>"
                site.take(site.mirror, f"<iq from='{ANN}' to='{HERE}' id='1' type='set'>{query}</iq>")
                destroyed = f"<presence from='{HERE}/ann' to='{ANN}' type='unavailable'>{DESTROYED}</presence>"
                self.assertSent(
                    site.seen(ANN).encode(),
                    *(() if isOpened else (destroyed,)),
                    f"<iq from='{HERE}' to='{ANN}' id='1' type='result'/>",
                )
                site.join(BEN, "ben")
                self.assertIn(status(110) if isOpened else status(201, 110), site.seen(BEN))

    def test_chain(self) -> None:
        """The same through a chain of mirrors."""
        for dialect in Dialect:
            of = net(dialect, True)
            told = to(CAT, of.join(LOW, "cat", CAT))
            self.assertEqual(told[0], f"presence {LOW}/cat owner/moderator 201 110")
