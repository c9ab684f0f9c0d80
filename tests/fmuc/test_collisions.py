"""Both sides of a lost link act at the same time, and the people concerned are told (docs/fmuc-resync.md, 4.7)."""

from __future__ import annotations

from xml.etree import ElementTree

from gateway import ns
from gateway.errors import LinkDown, NickInUse, NotInTheRoom
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from tests.fmuc.linked import ANN, BEN, DOWN, HERE, OWN, ROOM, TOP
from tests.fmuc.support import MUC, canonical, refused
from tests.fmuc.test_linked import CAT, DAN, LinkedCase
from tests.fmuc.test_mirrors import ABOVE, WAYS
from tests.fmuc.test_mirrors import ANN as FIRST
from tests.fmuc.test_mirrors import HERE as MIRROR
from tests.fmuc.test_resuming import ResumeCase, Stored
from tests.muc.test_local import status

KICK = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ben' role='none'/></query>"


class CollisionTests(LinkedCase):
    """Primary mode, with a channel."""

    def setUp(self) -> None:
        super().setUp()
        self.link.cut()
        self.clear()

    def lose(self) -> None:
        """The users are told, too."""
        super().lose()
        self.clear()

    def assertShown(self, who: str, *expected: str) -> None:
        """A user was shown exactly these stanzas since the last call."""
        found = "".join(ElementTree.tostring(each).decode() for each in self.link.shown.get(who, []))
        self.link.shown[who] = []
        self.assertEqual(canonical(found), canonical("".join(expected)))

    def message(self, who: str, inside: str) -> str:
        """Send a message to the mirror; return what is in it."""
        self.link.send(DOWN, f"<message type='groupchat' id='m' from='{who}' to='{HERE}'>{inside}</message>")
        return inside

    def test_ban(self) -> None:
        """
        XEP-0045 section 9.1: a user who was banned meanwhile is put out with 301 and the reason. What the user has
        said is refused, and others do not see it there.
        """
        said = self.message(ANN, "<body>a</body>")
        own = f"<message from='{HERE}/ann' to='{ANN}' type='groupchat' id='m'>{said}</message>"
        self.assertShown(ANN, *[own] * (self.mode is Mode.PRIMARY))
        self.administer("<item jid='ann@a.example' affiliation='outcast'><reason>noise</reason></item>")
        self.clear()
        self.mend()
        item = "<item affiliation='outcast' role='none'><actor nick='own'/><reason>noise</reason></item>"
        inside = f"<x xmlns='{ns.MUC_USER}'>{item}{status(301, 110)}</x>"
        self.assertShown(
            ANN,
            f"<presence from='{HERE}/ann' to='{ANN}' type='unavailable'>{inside}</presence>",
            refused("message", HERE, ANN, NotInTheRoom, "id='m' "),
        )
        self.assertInside("ben", "own")
        self.assertEqual(self.link.heard(OWN), [])

    def test_nick(self) -> None:
        """XEP-0045 section 7.2.8: the user who has joined the room has the nick; the other one is told."""
        self.link.join(DAN, HERE, "x")
        self.link.join(CAT, ROOM, "x")
        self.mend()
        self.assertShown(DAN, refused("presence", f"{HERE}/x", DAN, NickInUse, MUC))
        self.assertInside("ann", "ben", "own", "x")
        self.assertEqual(self.link.down.rooms.rooms[HERE].occupants["x"].realJid, CAT)

    def test_subjects(self) -> None:
        """
        XEP-0045 section 8.1: a subject while the room is lost is shown at once. The one that reaches the room last
        is that of both nodes, and all users see it last.
        """
        form = "<field var='muc#roomconfig_changesubject'><value>1</value></field>"
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{form}</x></query>"
        self.link.send(TOP, f"<iq type='set' id='c' from='{OWN}' to='{ROOM}'>{form}</iq>")
        self.lose()
        subject = self.message(ANN, "<subject>a</subject>")
        for who in (ANN, BEN):
            head = f"<message from='{HERE}/ann' to='{who}' type='groupchat' id='m'>"
            self.assertShown(who, f"{head}{subject}</message>")
        self.link.send(
            TOP, f"<message type='groupchat' id='o' from='{OWN}' to='{ROOM}'><subject>o</subject></message>"
        )
        self.mend()
        for who in (ANN, BEN, OWN):
            shown = [each.findtext(f"{{{ns.COMPONENT_ACCEPT}}}subject") for each in self.link.shown[who]]
            self.assertEqual([each for each in shown if each][-1], "a", who)

    def test_moderation(self) -> None:
        """Sections 8 to 10: the room decides, so moderation is refused with the reason while it is lost."""
        self.lose()
        for query, kind in (
            (KICK, "set"),
            (f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast'/></query>", "get"),
            (f"<query xmlns='{ns.MUC_OWNER}'/>", "get"),
            (f"<query xmlns='{ns.REGISTER}'/>", "get"),
        ):
            self.link.send(DOWN, f"<iq type='{kind}' id='k' from='{ANN}' to='{HERE}'>{query}</iq>")
            self.assertShown(ANN, refused("iq", HERE, ANN, LinkDown, "id='k' "))
        self.mend()
        self.clear()
        self.link.send(DOWN, f"<iq type='set' id='k' from='{ANN}' to='{HERE}'>{KICK}</iq>")
        self.assertEqual(self.link.errors(ANN), ["not-allowed"])


class CollisionReplicaTests(CollisionTests):
    """The same in replica mode: messages and subjects are refused while the room is lost."""

    mode = Mode.REPLICA

    def test_subjects(self) -> None:
        """XEP-0045 section 8.1: the sender of a subject is told that the room has not got it."""
        self.lose()
        self.message(ANN, "<subject>a</subject>")
        self.assertShown(ANN, refused("message", HERE, ANN, LinkDown, "id='m' "))
        self.assertShown(BEN)
        self.mend()
        self.assertIsNone(self.link.top.rooms.rooms[ROOM].subject)


class AnyTests(ResumeCase):
    """Both protocols and both modes, without a channel."""

    def test_moderation(self) -> None:
        """Moderation is refused with the reason while the room cannot be reached."""
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                site = Stored(dialect, replica)
                site.kill(ABOVE)
                site.say(FIRST, "x")
                self.assertIs(site.state, UplinkState.LOST)
                site.forget()
                site.take(site.mirror, f"<iq type='set' id='k' from='{FIRST}' to='{MIRROR}'>{KICK}</iq>")
                expected = refused("iq", MIRROR, FIRST, LinkDown, "id='k' ")
                self.assertEqual(canonical(site.seen(FIRST)), canonical(expected))
                self.assertEqual(site.passed(), [])
