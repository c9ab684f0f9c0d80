"""Hostile users of mirrors, and joined rooms that answer nothing or poison what a mirror tells of them."""

from __future__ import annotations

from gateway import ns
from gateway.errors import NickChangeForbidden, ResourceLimit
from gateway.fmuc.values import Dialect
from gateway.testing import stanzas
from tests.fmuc import wire
from tests.fmuc.support import MUC, RoomCase, Service, mirror, refused
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.fmuc.test_properties import OPEN, asking, info
from tests.fmuc.wire import fmuc
from tests.muc.test_local import user
from tests.quick import QuickCase

PHONE = "ann@a.example/phone"


class Above:
    """
    A mirror that Ann is in, and the joined room, which answers only what a test sends in its name.

    @ivar service: the mirror.
    """

    def __init__(self, dialect: Dialect, replica: bool) -> None:
        self.service: Service = mirror("mirror.example", dialect, replica)
        self._dialect = dialect
        self.join(ANN, "ann")
        self.show("ann", ANN, "<replica/>" if replica else "")
        self.service.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'><subject/></message>")

    def join(self, who: str, nick: str) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{HERE}/{nick}'>{MUC}</presence>")

    def leave(self, who: str, nick: str) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{HERE}/{nick}' type='unavailable'/>")

    def show(self, nick: str, real: str, inside: str = "", kind: str = "") -> bytes:
        """The joined room sends an occupant's presence."""
        given = "" if self._dialect is Dialect.PROTOXEP else fmuc(real, inside)
        item = user("none", "none" if kind else "participant")
        to = f"{HERE}/ann" if self._dialect is Dialect.PROTOXEP else HERE
        return self.service.take(f"<presence from='{ABOVE}/{nick}' to='{to}'{kind}>{given}{item}</presence>")


class JoinTests(RoomCase):
    """Joins that are not answered."""

    def test_twoNicks(self) -> None:
        """
        A client whose join with one nick waits cannot take a nick of its own user's other client: it would be two
        occupants, and the leave would remove only one of them.
        """
        for way in WAYS:
            site = Above(*way)
            room = site.service.rooms.rooms[HERE]
            site.join(PHONE, "other")
            error = refused("presence", f"{HERE}/ann", PHONE, NickChangeForbidden, MUC)
            self.assertSent(site.join(PHONE, "ann"), error)
            self.assertEqual(set(room.users), {ANN})
            # Once it has left, it may.
            site.leave(PHONE, "other")
            self.assertIn(b"code='110'", site.join(PHONE, "ann"))
            for who in (ANN, PHONE):
                site.leave(who, "ann")
            self.assertEqual((room.users, room.shared), ({}, {}), way)

    def test_furtherNick(self) -> None:
        """The same for a client that waits as a further session."""
        for way in WAYS:
            site = Above(*way)
            for who in (BEN, BEN + "2"):
                site.join(who, "ben")
            error = refused("presence", f"{HERE}/ben3", BEN + "2", NickChangeForbidden, MUC)
            self.assertSent(site.join(BEN + "2", "ben3"), error)

    def test_again(self) -> None:
        """
        A user joins and leaves again and again, and the joined room answers nothing: the list of answers that are
        still to come does not grow without end, and ends with the wait.
        """
        for way in WAYS:
            site = Above(*way)
            pending = site.service.rooms.federation(HERE)
            assert pending is not None
            for _ in range(150):
                sent = site.join(BEN, "ben")
                site.leave(BEN, "ben")
            self.assertSent(sent, refused("presence", f"{HERE}/ben", BEN, ResourceLimit, MUC))
            self.assertEqual(pending.pending["ben"].owed, 100)
            for _ in range(3):
                site.service.tick(30)
            self.assertEqual(pending.pending, {})
            self.assertIn(f"to='{ABOVE}/ben'".encode(), site.join(BEN, "ben"))

    def test_fence(self) -> None:
        """Only the joined room itself, for the same nick, answers the fence of a join."""
        site = Above(Dialect.XEP_0289, False)
        sent = site.join(BEN, "ben")
        self.assertIn(b"id='join-t-1'", sent)
        for sender, recipient in (
            (BEN, f"{HERE}/ben"),
            (ANN, f"{HERE}/ben"),
            (f"{ABOVE}/own", f"{HERE}/ben"),
            ("COVEN@chat.example", f"{HERE}/ben"),
            (f"{ABOVE}.", f"{HERE}/ben"),
            (HERE, f"{HERE}/ben"),
            (ABOVE, HERE),
            (ABOVE, f"{HERE}/ann"),
        ):
            for kind in ("result", "error"):
                iq = f"<iq from='{sender}' to='{recipient}' id='join-t-1' type='{kind}'/>"
                self.assertEqual(site.service.take(iq), b"", sender)
        sent = site.service.take(f"<iq from='{ABOVE}' to='{HERE}/ben' id='join-t-1' type='result'/>")
        self.assertIn(f"to='{BEN}'".encode(), sent)


class PropertiesTests(QuickCase):
    """Properties of joined rooms (disco#info)."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = wire.mirror("mirror.example")
        self.wire.rooms.token = self.wire.rooms.properties._token = "t"

    def answered(self, payload: str, askers: int = 900) -> bytes:
        """Let many users wait for one answer, which must not take long."""
        for number in range(askers):
            self.wire.bytes(asking(f"u{number}@d{number % 30}.example/1"))
        with self.quickly():
            sent = self.wire.bytes(f"<iq from='{ABOVE}' to='{HERE}' id='info-t-1' type='result'>{payload}</iq>")
        self.assertEqual(sent.count(b"</iq>"), askers)
        self.assertEqual(len(self.wire.rooms.properties), 0)
        return sent

    def test_manyFields(self) -> None:
        """Very many fields are written once for all who have asked; those over the limit are left out."""
        fields = "".join(f"<field var='muc#roominfo_{number}'><value/></field>" for number in range(480))
        sent = self.answered(info(*OPEN, fields=fields))
        self.assertLess(len(sent) / 900, 10_000)
        self.assertIn(b"muc#roominfo_7'", sent)

    def test_manyValues(self) -> None:
        """A field with very many values is left out; features stay."""
        fields = f"<field var='muc#roominfo_x'>{'<value/>' * 8_000}</field>"
        sent = self.answered(info("muc_membersonly", fields=fields), 30)
        self.assertNotIn(b"muc#roominfo_x", sent)
        self.assertIn(b"muc_membersonly", sent)

    def test_forged(self) -> None:
        """Only the joined room tells its properties, in the answer to a request."""
        self.wire.bytes(asking(ANN))
        for sender, recipient, identifier in (
            (BEN, HERE, "info-t-1"),
            (f"{ABOVE}/own", HERE, "info-t-1"),
            ("other@chat.example", HERE, "info-t-1"),
            (ABOVE, HERE.replace("coven", "other"), "info-t-1"),
            (ABOVE, f"{HERE}/ann", "info-t-1"),
            (ABOVE, HERE, "info-t-2"),
        ):
            iq = f"<iq from='{sender}' to='{recipient}' id='{identifier}' type='result'>{info('muc_open')}</iq>"
            [stanza] = stanzas(iq)
            self.assertFalse(self.wire.handler.stanzaReceived(stanza))
        self.assertEqual(self.wire.link.sent, [])
        self.assertIsNone(self.wire.rooms.properties.known(HERE))


class CrossingTests(RoomCase):
    """Stanzas that cross on a slow link."""

    def test_kickedMeanwhile(self) -> None:
        """
        A user changes the presence, while a moderator changes the user's affiliation, and then kicks the user. The
        affiliation is no answer to the change: the change may come later than the kick, and count as a join. So the
        mirror takes it back, and no ghost stays in the joined room.
        """
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            above, here = site.above, site.mirror
            late = here.take(f"<presence from='{BEN}' to='{HERE}/ben'><show>away</show></presence>")
            down = b""
            for item in ("jid='ben@a.example' affiliation='none'", "nick='ben' role='none'"):
                query = f"<query xmlns='{ns.MUC_ADMIN}'><item {item}/></query>"
                down += above.take(f"<iq from='{OWN}' to='{ABOVE}' id='q' type='set'>{query}</iq>")
            down += above.take(_crossing(late, ABOVE))
            site.take(here, _crossing(down, HERE))
            self.assertEqual(set(above.rooms.rooms[ABOVE].occupants), {"own", "ann"}, (dialect, replica))
            self.assertEqual(set(here.rooms.rooms[HERE].occupants), {"own", "ann"}, (dialect, replica))


def _crossing(sent: bytes, room: str) -> str:
    """Return the stanzas to a room, or to a node's room, and leave out those to users."""
    found = [each for each in stanzas(sent) if (each.recipient or "").partition("/")[0] == room]
    addresses = [f" from='{each.sender}' to='{each.recipient}'".encode() for each in found]
    return b"".join(each.readdressed(to) for each, to in zip(found, addresses, strict=True)).decode()
