"""A room that is destroyed while a mirror is away: its users are told at the return (XEP-0045 section 10.9)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import NoSuchAddress, StoreBroken
from gateway.fmuc.compose import _snapshot
from gateway.fmuc.destroyed import DestroyedRooms
from gateway.fmuc.values import Mode
from gateway.muc.records import Row
from gateway.muc.room import Bounds
from gateway.muc.values import PresenceChange
from tests.fmuc import linked
from tests.fmuc.linked import TOP
from tests.fmuc.support import RoomCase, canonical, refused
from tests.fmuc.test_linked import LinkedCase
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS
from tests.fmuc.test_resuming import Stored
from tests.muc.test_local import status

REASON, VENUE = "We meet elsewhere.", "heath@chat.example"
DESTROY = f"<destroy jid='{VENUE}'><password>witch</password><reason>{REASON}</reason></destroy>"
CHANGE = PresenceChange(unavailable=True, destroyed=True, reason=REASON, jid=VENUE, password="witch")


def request(owner: str, room: str) -> str:
    """Return the owner's request."""
    return f"<iq type='set' id='d' from='{owner}' to='{room}'><query xmlns='{ns.MUC_OWNER}'>{DESTROY}</query></iq>"


def told(room: str, nick: str, user: str) -> str:
    """Return the presence that a user of the mirror gets."""
    item = f"<item affiliation='none' role='none'/>{status(110)}{DESTROY}"
    inside = f"<x xmlns='{ns.MUC_USER}'>{item}</x>"
    return f"<presence from='{room}/{nick}' to='{user}' type='unavailable'>{inside}</presence>"


class ResumeTests(RoomCase):
    """Without a channel, in both protocols and both modes."""

    def sites(self) -> Iterator[Stored]:
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                yield Stored(dialect, replica)

    def destroy(self, site: Stored) -> None:
        site.take(site.above, request(OWN, ABOVE))
        self.assertNotIn(ABOVE, site.above.rooms.rooms)
        # A new store gets the record, too.
        self.assertIn(((ABOVE, "destroyed", "")), dict(_snapshot(site.above.rooms)[0]))
        site.forget()

    def assertTold(self, site: Stored) -> None:
        """The users of the mirror were told, and neither room exists."""
        for who, nick in ((ANN, "ann"), (BEN, "ben")):
            self.assertEqual(canonical(site.seen(who)), canonical(told(HERE, nick, who)))
        self.assertEqual((site.above.rooms.rooms, site.mirror.rooms.rooms), ({}, {}))

    def test_return(self) -> None:
        """
        Rule 25 of docs/fmuc-resync.md: the mirror asks to compare. It gets the error C{gone} (RFC 6120 section
        8.3.3.5) with reason, alternate room and password, also after a restart of the room's gateway, and does not
        make the room anew.
        """
        for isRestarted in (False, True):
            for site in self.sites():
                site.kill(HERE)
                self.destroy(site)
                if isRestarted:
                    site.kill(ABOVE)
                    site.start(ABOVE)
                site.start(HERE)
                [asked, answer] = [each for each in site.passed() if each.startswith("<iq")][:2]
                self.assertIn("<compare ", asked)
                inside = f"<gone xmlns='{ns.STANZA_ERRORS}'/><x xmlns='{ns.MUC_USER}'>{DESTROY}</x>"
                identifier = asked.partition(" id='")[2].partition("'")[0]
                self.assertEqual(
                    canonical(answer),
                    canonical(
                        f"<iq from='{ABOVE}' to='{HERE}' id='{identifier}' type='error'>"
                        f"<error type='cancel'>{inside}</error></iq>"
                    ),
                )
                self.assertTold(site)

    def test_removed(self) -> None:
        """The same for a mirror whose occupants the room has removed before."""
        for site in self.sites():
            site.kill(HERE)
            site.say(OWN, "x")
            site.wait(int(Bounds().gone) + 1)
            self.assertEqual(list(site.above.rooms.rooms[ABOVE].occupants), ["own"])
            self.destroy(site)
            site.start(HERE)
            self.assertTold(site)

    def test_again(self) -> None:
        """
        The same if there is a new room with the address. Once the mirror has joined that room, it may return to it.
        """
        for site in self.sites():
            site.kill(HERE)
            self.destroy(site)
            site.join(OWN, "own")
            site.forget()
            site.start(HERE)
            self.assertEqual(canonical(site.seen(ANN)), canonical(told(HERE, "ann", ANN)))
            self.assertEqual(list(site.above.rooms.rooms[ABOVE].occupants), ["own"])
            site.join(ANN, "ann")
            self.assertEqual(site.occupants(), (["ann", "own"],) * 2)
            site.kill(HERE)
            site.say(OWN, "x")
            site.wait(int(Bounds().gone) + 1)
            site.start(HERE)
            self.assertEqual(site.occupants(), (["ann", "own"],) * 2)

    def test_strangers(self) -> None:
        """Only nodes of peers are told. A room that was never destroyed is C{item-not-found}, as before."""
        site = Stored(*WAYS[0])
        site.kill(HERE)
        self.destroy(site)
        compare = f"<compare xmlns='{ns.CHANNEL}' d='x'/>"
        site.above.rooms._peers = frozenset(("mirror.example",))
        for sender, room in ((ANN, ABOVE), ("x@far.example", ABOVE), (HERE, "other@chat.example")):
            asked = f"<iq from='{sender}' to='{room}' type='get' id='r'>{compare}</iq>"
            expected = refused("iq", room, sender, NoSuchAddress, "id='r' ")
            self.assertEqual(canonical(site.above.take(asked)), canonical(expected))

    def test_strange(self) -> None:
        """A strange error is one of a room that does not know the mirror: it joins anew."""
        for site in self.sites():
            site.kill(ABOVE)
            site.isSilent = True
            site.start(HERE)
            asked = next(each for each in reversed(site.passed()) if "<compare " in each)
            identifier = asked.partition(" id='")[2].partition("'")[0]
            many = "<a/>" * 1_001
            long = f"<x xmlns='{ns.MUC_USER}'><destroy jid='{'x' * 9_999}'/></x>"
            for inside in ("", f"<x xmlns='{ns.MUC_USER}'/>", long):
                error = f"<error type='cancel'><gone xmlns='{ns.STANZA_ERRORS}'/>{inside}</error>{many}"
                site.mirror.take(f"<iq type='error' id='{identifier}' from='{ABOVE}' to='{HERE}'>{error}</iq>")
                self.assertEqual(sorted(site.mirror.rooms.rooms[HERE].occupants), ["ann", "ben", "own"])


class ChannelTests(LinkedCase):
    """With a channel: it keeps the last presences for ten minutes, and then the room is remembered."""

    def test_long(self) -> None:
        """The link is down for longer than either node keeps anything of the other one."""
        for away in (30, int(2 * Bounds().gone) + 700):
            link = self.link = linked.Linked(self.mode)
            self.enter()
            link.cut()
            link.wait(200)
            link.send(TOP, request(linked.OWN, linked.ROOM))
            link.wait(away)
            link.kill(link.top)
            link.kill(link.down)
            for each in link.shown.values():
                each.clear()
            link.mend()
            link.wait(120)
            for who, nick in ((linked.ANN, "ann"), (linked.BEN, "ben")):
                found = [each for each in link.shown[who] if each.get("type") == "unavailable"]
                text = "".join(ElementTree.tostring(each).decode() for each in found)
                self.assertEqual(canonical(text), canonical(told(linked.HERE, nick, who)))
            self.assertInside()


class ChannelReplicaTests(ChannelTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


class TableTests(SynchronousTestCase):
    """The table of rooms, and its records."""

    def test_bound(self) -> None:
        """The oldest rooms are forgotten, in the store, too; so are the nodes that have joined a later room."""
        table = DestroyedRooms()
        rows: dict[tuple[str, str, str], str] = {}
        for number in range(1_100):
            for key, value in table.add(f"r{number}@x", CHANGE):
                if value is None:
                    del rows[key]
                else:
                    rows[key] = value
        self.assertEqual((len(table), len(rows)), (1_000, 1_000))
        other: Row = ("r@x", "room", "", "{}")
        restored = DestroyedRooms()
        self.assertEqual(restored.restore([other, *((*key, value) for key, value in rows.items())]), [other])
        self.assertEqual(sorted(restored.all()), sorted(table.all()))
        self.assertEqual(restored.owed("r1099@x", "m@y"), CHANGE)
        self.assertIsNone(restored.owed("r99@x", "m@y"))
        for number in range(101):
            self.assertEqual(len(table.joined("r1099@x", f"m{number}@y")), 1)
        self.assertEqual(table.joined("r1099@x", "m100@y"), [])
        self.assertEqual([table.owed("r1099@x", f"m{number}@y") for number in (0, 1, 100)], [CHANGE, None, None])

    def test_damaged(self) -> None:
        """A record that is not one says what to do."""
        for text in ("", "[]", "{}", "[1]", "3"):
            with self.assertRaisesRegex(StoreBroken, "r@x is damaged; restore a backup"):
                DestroyedRooms().restore([("r@x", "destroyed", "", text)])
