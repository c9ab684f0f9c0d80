"""Mirrors of a room with an ordinary room behind it that stay when their last user has left (C{keep})."""

from __future__ import annotations

import re
from functools import partial

from gateway import ns
from gateway.fmuc.nodes import JoiningNode
from gateway.muc import archive_store
from gateway.muc.room import Bounds
from tests.fmuc.backed import COMPONENT, NORTH, ROOM, SERVICE, SOURCE, Site, backed
from tests.fmuc.support import MUC
from tests.fmuc.test_backing import ANN, BOB, CAROL, DAN, FORM
from tests.fmuc.wire import WireCase, mirror, rooms, to

KEEP = 300
ARCHIVED = Bounds(archived=1_000)
EVE = "eve@local.example/e"


class KeepTests(WireCase):
    """Bob was in the mirror, and has left; nobody of the gateway is in the ordinary room then. Rule 30."""

    isReplica = True

    def setUp(self, isArchived: bool = True) -> None:
        bounds = Bounds(locked=300.0, archived=1_000 if isArchived else 0)
        self.site = Site(
            rooms(SERVICE, bounds=bounds, isStored=isArchived),
            backed(isStored=True, bounds=ARCHIVED),
            mirror("north.example", isStored=True, replica=self.isReplica, keep=KEEP, bounds=ARCHIVED),
        )
        self.site.join(SOURCE, "ann", ANN)
        self.site.ask(SOURCE, ANN, FORM, "set")
        self.site.join(NORTH, "bob", BOB)
        self.site.say(SOURCE, ANN, "before")
        self.site.leave(NORTH, "bob", BOB)
        self.wait(3)

    def wait(self, seconds: int) -> list[str]:
        """Let time pass; return what users are shown."""
        return [each for _ in range(seconds) for each in self.site.tick(1)]

    @property
    def stays(self) -> bool:
        """True if the mirror is in its room."""
        there = self.site.wires[COMPONENT].rooms.node(ROOM, NORTH) is not None
        self.assertIs(NORTH in self.site.wires["north.example"].rooms.rooms, there)
        return there

    def inside(self) -> list[list[str]]:
        """Return the nicks in the ordinary room, in the room that stands for it, and in the mirror."""
        places = ((SERVICE, SOURCE), (COMPONENT, ROOM), ("north.example", NORTH))
        return [sorted(self.site.wires[domain].room(room).occupants) for domain, room in places]

    def checkArchives(self, *bodies: str) -> None:
        """Both archives have these messages."""
        for domain, room in ((COMPONENT, ROOM), ("north.example", NORTH)):
            found = self.successResultOf(self.site.wires[domain].store.read(archive_store.newest, 1_000, 10**9))
            payloads = [each.payload.partition("<body>")[2] for each in found[room]]
            self.assertEqual([each.partition("</body>")[0] for each in payloads], list(bodies))

    def checkTalk(self) -> None:
        """All have the same occupants, and each of them hears Ann and Bob."""
        first, *others = self.inside()
        self.assertEqual(others, [first, first])
        for room, user in ((SOURCE, ANN), (NORTH, BOB)):
            found = [each for each in self.site.say(room, user, "talk") if "body=talk" in each]
            self.assertEqual(len(found), len(first))

    def test_back(self) -> None:
        """A user who is back gets what was said meanwhile, once; others have come and gone."""
        self.assertEqual(self.inside()[0], ["ann"])
        self.site.join(SOURCE, "eve", EVE)
        self.site.leave(SOURCE, "ann", ANN)
        for number in range(5):
            self.site.say(SOURCE, EVE, f"m{number}")
        self.site.crossed.clear()
        self.wait(KEEP // 2)
        self.assertEqual(self.site.crossed, [])
        self.assertEqual(self.site.wires[COMPONENT].rooms.comparisons, {})
        self.assertTrue(self.stays)
        found = self.site.join(NORTH, "bob", BOB) + self.wait(3)
        heard = [each.partition("body=")[2] for each in to(BOB, found) if "body=" in each]
        self.assertEqual(heard, ["before delayed", *(f"m{number}" for number in range(5))])
        # The join, and the query of the archive.
        self.assertEqual(self.site.counted(COMPONENT, SERVICE), {"presence": 1, "iq": 1})
        self.assertEqual(self.inside(), [["bob", "eve"]] * 3)
        self.site.join(SOURCE, "ann", ANN)
        self.checkTalk()

    def test_many(self) -> None:
        """More messages than in the history were missed: all of them come from the archive of the ordinary room."""
        bodies = [f"m{number}" for number in range(130)]
        for body in bodies:
            self.site.say(SOURCE, ANN, body)
        found = self.site.join(NORTH, "bob", BOB) + self.wait(3)
        self.assertEqual([each.partition("body=")[2] for each in to(BOB, found) if "body=" in each][1:], bodies)
        self.checkArchives("before", *bodies)

    def test_noArchive(self) -> None:
        """
        Without an archive, nobody knows what was missed. Then the history of the ordinary room is all there is,
        also for the mirror.
        """
        self.setUp(isArchived=False)
        self.site.join(SOURCE, "eve", EVE)
        self.site.leave(SOURCE, "ann", ANN)
        for number in range(60):
            self.site.say(SOURCE, EVE, f"m{number}")
        found = self.site.join(NORTH, "bob", BOB) + self.wait(3)
        heard = [each.partition("body=")[2] for each in to(BOB, found) if "body=" in each]
        self.assertEqual(heard, [f"m{number} delayed" for number in range(10, 60)])
        self.checkArchives(*(f"m{number}" for number in range(10, 60)))
        self.assertEqual(self.inside(), [["bob", "eve"]] * 3)
        self.site.join(SOURCE, "ann", ANN)
        self.checkTalk()
        self.site.leave(NORTH, "bob", BOB)
        self.wait(KEEP - 20)
        self.assertTrue(self.stays)

    def test_otherRoom(self) -> None:
        """
        The ordinary room has ended meanwhile, and is made anew: nothing of the former one is shown. For some
        servers, an archive without the last known message is complete.
        """
        service = self.site.wires[SERVICE]
        settled = service.settled

        def lenient(xml: str | bytes = b"") -> bytes:
            fin = f"<fin xmlns='{ns.MAM}' complete='true'/>".encode()
            result = b"type='result'>" + fin + b"</iq>"
            return re.sub(rb"type='error'><error .*?</error></iq>", result, settled(xml))

        self.patch(service, "settled", lenient)
        self.site.leave(SOURCE, "ann", ANN)
        found = self.site.join(NORTH, "bob", BOB) + self.wait(3)
        self.assertEqual([each for each in found if "before" in each], [])
        self.assertEqual(self.inside(), [["bob"]] * 3)
        self.site.say(NORTH, BOB, "new")
        self.checkArchives("new")

    def test_together(self) -> None:
        """Three users come at the same time, and the ordinary room refuses the first one: the others are let in."""
        self.site.join(SOURCE, "eve", EVE)
        users = (("eve", DAN), ("bob", BOB), ("carol", CAROL))
        joins = (f"<presence from='{user}' to='{NORTH}/{nick}'>{MUC}</presence>" for nick, user in users)
        found = self.site.send("".join(joins)) + self.wait(3)
        refused = [each for each in found if " error" in each]
        self.assertEqual(refused, [f"presence {NORTH}/eve > {DAN} error conflict"])
        self.assertEqual(self.inside()[0], ["ann", "bob", "carol", "eve"])
        self.checkTalk()

    def test_over(self) -> None:
        """The stay ends in time, and nothing is left of it."""
        self.wait(KEEP - 10)
        self.assertTrue(self.stays)
        self.wait(30)
        self.assertFalse(self.stays)
        self.assertEqual(self.site.wires[COMPONENT].rooms.rooms, {})
        self.site.join(NORTH, "bob", BOB)
        self.checkTalk()

    def test_again(self) -> None:
        """The time begins anew with each stay."""
        for _ in range(3):
            self.wait(KEEP - 60)
            self.site.join(NORTH, "bob", BOB)
            self.site.leave(NORTH, "bob", BOB)
        self.assertTrue(self.stays)
        self.wait(KEEP + 30)
        self.assertFalse(self.stays)

    def test_reconnected(self) -> None:
        """A new connection meanwhile, and a process that was killed: both stay, and ask nobody."""
        for number, again in enumerate((partial(self.site.connect, COMPONENT), self.site.restart)):
            self.site.crossed.clear()
            again()
            self.wait(20)
            self.assertTrue(self.stays)
            self.assertEqual(self.site.counted(COMPONENT, SERVICE), {})
            self.site.say(SOURCE, ANN, f"m{number}")
            found = self.site.join(NORTH, "bob", BOB) + self.wait(3)
            self.assertEqual(to(BOB, found)[-1], f"message {NORTH}/ann body=m{number}")
            self.checkTalk()
            self.site.leave(NORTH, "bob", BOB)
            self.wait(3)

    def test_away(self) -> None:
        """The ordinary service cannot be reached: a user who is back is told, and may enter later."""
        self.site.away = {SERVICE}
        self.site.join(NORTH, "bob", BOB)
        self.wait(90)
        self.site.away = set()
        self.wait(30)
        self.assertTrue(self.stays)
        self.site.join(NORTH, "bob", BOB)
        self.wait(3)
        self.checkTalk()

    def test_refused(self) -> None:
        """The ordinary room refuses a user: both go on to stay, and the next one gets what was said meanwhile."""
        self.site.join(SOURCE, "eve", EVE)
        self.site.say(SOURCE, ANN, "missed")
        found = self.site.join(NORTH, "eve", CAROL) + self.wait(3)
        self.assertEqual(to(CAROL, found), [f"presence {NORTH}/eve error conflict"])
        self.assertTrue(self.stays)
        self.site.leave(SOURCE, "eve", EVE)
        found = self.site.join(NORTH, "bob", BOB) + self.wait(3)
        self.assertEqual(to(BOB, found)[-1], f"message {NORTH}/ann body=missed")
        self.checkTalk()

    def test_withdrawn(self) -> None:
        """A user leaves before the ordinary room has answered, and joins again; also while another user is in."""
        for others in ((), ("carol",)):
            for nick in others:
                self.site.join(NORTH, nick, CAROL)
            join = f"<presence from='{BOB}' to='{NORTH}/bob'>{MUC}</presence>"
            self.site.send(join + f"<presence from='{BOB}' to='{NORTH}/bob' type='unavailable'/>")
            self.wait(15)
            self.assertTrue(self.stays)
            self.assertEqual(self.inside(), [["ann", *others]] * 3)
            self.site.send(join)
            self.wait(3)
            self.assertEqual(self.inside()[0], ["ann", "bob", *others])
            self.checkTalk()
            self.site.leave(NORTH, "bob", BOB)
            self.wait(3)

    def test_agreed(self) -> None:
        """The room agrees to the time that the mirror offers."""
        node = self.site.wires[COMPONENT].rooms.node(ROOM, NORTH)
        assert isinstance(node, JoiningNode)
        self.assertEqual(node.keep, KEEP)

    def test_said(self) -> None:
        """Bob has said something while the service could not be reached, and left: it is sent when Carol comes."""
        self.site.join(NORTH, "bob", BOB)
        self.site.away = {SERVICE}
        self.site.connect(COMPONENT)
        self.site.say(NORTH, BOB, "said")
        self.site.leave(NORTH, "bob", BOB)
        self.wait(20)
        self.site.away = set()
        self.site.connect(COMPONENT)
        self.wait(20)
        self.assertTrue(self.stays)
        found = self.site.join(NORTH, "carol", CAROL) + self.wait(30)
        self.assertIn(f"message {SOURCE}/bob body=said", to(ANN, found))
        self.assertEqual(self.inside(), [["ann", "carol"]] * 3)


class KeepPrimaryTests(KeepTests):
    """The same in primary mode."""

    isReplica = False
