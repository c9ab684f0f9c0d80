"""Joins to a mirror whose room is lost: they work against what is known, and the room decides at the return."""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.fmuc.uplink.known_users import KnownUsers, isOpen
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from tests.fmuc.linked import ANN, BEN, DOWN, HERE, OWN, ROOM, TOP
from tests.fmuc.support import canonical
from tests.fmuc.test_linked import CAT, DAN, LinkedCase
from tests.muc.test_local import status, user

# Ann's other client.
PHONE = "ann@a.example/phone"


class JoinCase(LinkedCase):
    """A mirror with Ben, and with Ann, who has left again. The link is cut."""

    def setUp(self) -> None:
        super().setUp()
        self.link.say(OWN, ROOM, "before")
        self.link.leave(ANN, HERE, "ann")
        self.link.wait(3)
        self.lose()

    def lose(self) -> None:
        """The users are told, too."""
        super().lose()
        self.clear()

    @property
    def down(self) -> str:
        """The notice of the state."""
        what = "is refused until it is back" if self.mode is Mode.REPLICA else "is kept"
        return f"The link to {ROOM} is down since 14:11 UTC; what you say {what}."

    def openRoom(self) -> None:
        """The mirror learns that everybody may enter: a client asks for the properties."""
        query = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.link.send(DOWN, f"<iq from='{BEN}' to='{HERE}' type='get' id='i'>{query}</iq>")

    def codes(self, who: str) -> list[str | None]:
        """Return the status codes that a user got."""
        return [each.get("code") for one in self.link.shown[who] for each in one.iter(f"{{{ns.MUC_USER}}}status")]


class LostJoinTests(JoinCase):
    """XEP-0045 section 7.2 while the joined node is lost."""

    def test_enteredAndKilled(self) -> None:
        """A user has entered, and the mirror is killed: this user is in, so the join is not taken for withdrawn."""
        self.link.join(ANN, HERE, "ann")
        self.link.wait(3)
        self.link.kill(self.link.down)
        self.assertEqual(self.link.down.rooms.rooms[HERE].nodes.pending, {})
        self.mend()
        self.assertInside("ann", "ben", "own")

    def test_known(self) -> None:
        """
        A user who was in before gets the room as it is known, with its occupants as away, history, subject, and the
        notice of the state. At the return the room gets the join, and what was said, in order.
        """
        self.link.join(PHONE, HERE, "ann")
        found = "".join(ElementTree.tostring(each).decode() for each in self.link.shown[PHONE])
        person = user("none", "participant")
        owner = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
        delay = f"<delay xmlns='urn:xmpp:delay' from='{HERE}' stamp='2026-09-21T14:13:20Z'/>"
        item = user("none", "participant", status(110))
        expected = (
            f"<presence from='{HERE}/own' to='{PHONE}'>{owner}</presence>"
            f"<presence from='{HERE}/ben' to='{PHONE}'>{person}</presence>"
            f"<presence from='{HERE}/ann' to='{PHONE}'>{item}</presence>"
            f"<message from='{HERE}/own' to='{PHONE}' type='groupchat' id='before'>"
            f"<body>before</body>{delay}</message>"
            f"<message from='{HERE}' to='{PHONE}' type='groupchat'><subject/></message>"
            f"<message from='{HERE}' to='{PHONE}' type='groupchat'><body>{self.down}</body></message>"
            f"<presence from='{HERE}/own' to='{PHONE}'><show>away</show>{owner}</presence>"
        )
        self.assertEqual(canonical(found), canonical(expected))
        self.link.say(PHONE, HERE, "a")
        self.link.wait(300)
        self.mend()
        self.assertInside("ann", "ben", "own")
        isKept = self.mode is Mode.PRIMARY
        self.assertEqual(self.link.heard(OWN)[-1:], ["a"] if isKept else [])
        self.assertEqual(self.link.errors(PHONE), [] if isKept else ["recipient-unavailable"])
        for who, room, body in ((PHONE, HERE, "p"), (OWN, ROOM, "o")):
            self.link.say(who, room, body)
        self.assertEqual([self.link.heard(who)[-2:] for who in (PHONE, BEN, OWN)], [["p", "o"]] * 3)

    def ids(self, who: str, nick: str) -> list[str | None]:
        """Return the occupant ids in the presence of an occupant that a user got."""
        found = (each for each in self.link.shown[who] if each.tag.endswith("}presence"))
        shown = [each for each in found if each.get("from") == f"{HERE}/{nick}"]
        return [one.get("id") for each in shown for one in each.iter(f"{{{ns.OCCUPANT_ID}}}occupant-id")]

    def test_id(self) -> None:
        """
        XEP-0421 section 4.1: a user who was in before has the room's occupant id at once; the id of another user is
        shown when the room has given it.
        """
        self.link.mend()
        self.openRoom()
        self.link.wait(90)
        self.lose()
        self.link.join(PHONE, HERE, "ann")
        self.link.join(DAN, HERE, "dan")
        self.mend()
        given = {nick: each.id for nick, each in self.link.top.rooms.rooms[ROOM].occupants.items()}
        self.assertEqual(set(self.ids(PHONE, "ann")), {given["ann"]})
        found = self.ids(DAN, "dan")
        self.assertEqual((len(found), found[1]), (2, given["dan"]))

    def test_further(self) -> None:
        """
        A further client of an occupant, and an occupant's client that joins again, are told the same, each once
        (section 7.2.8); the user's other client is told nothing again.
        """
        self.link.join(PHONE, HERE, "ann")
        for who, other in ((ANN, PHONE), (PHONE, ANN)):
            self.clear()
            self.link.join(who, HERE, "ann")
            found = "".join(ElementTree.tostring(each).decode() for each in self.link.shown[who][-2:])
            owner = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
            expected = (
                f"<message from='{HERE}' to='{who}' type='groupchat'><body>{self.down}</body></message>"
                f"<presence from='{HERE}/own' to='{who}'><show>away</show>{owner}</presence>"
            )
            self.assertEqual(canonical(found), canonical(expected))
            self.assertEqual([each.findtext("{*}body") for each in self.link.shown[who]].count(self.down), 1)
            self.assertEqual(self.link.shown[other], [])

    def test_unknown(self) -> None:
        """A user of whom nothing is known waits for a minute, and is then refused with the reason."""
        self.link.join(DAN, HERE, "dan")
        self.assertEqual(self.link.shown.get(DAN, []), [])
        self.link.wait(61)
        self.assertEqual(self.link.errors(DAN), ["remote-server-timeout"])
        self.mend()
        self.assertInside("ben", "own")

    def test_open(self) -> None:
        """If the room has told that everybody may enter, so may a new user; not one who was banned before."""
        self.mend()
        self.openRoom()
        self.link.join(ANN, HERE, "ann")
        self.administer("<item jid='ann@a.example' affiliation='outcast'/>")
        self.lose()
        self.link.join(DAN, HERE, "dan")
        self.assertIn("110", self.codes(DAN))
        self.link.join(ANN, HERE, "ann")
        self.link.wait(61)
        self.assertEqual(self.link.errors(ANN), ["remote-server-timeout"])
        self.mend()
        self.assertInside("ben", "dan", "own")

    def test_changed(self) -> None:
        """After a change of the room's configuration (code 104), nothing is known of new users."""
        self.mend()
        self.openRoom()
        form = "<field var='muc#roomconfig_membersonly'><value>1</value></field>"
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{form}</x></query>"
        self.administer("<item jid='ben@a.example' affiliation='member'/>")
        self.link.send(TOP, f"<iq type='set' id='c' from='{OWN}' to='{ROOM}'>{form}</iq>")
        self.lose()
        self.link.join(DAN, HERE, "dan")
        self.link.wait(61)
        self.assertEqual(self.link.errors(DAN), ["remote-server-timeout"])

    def test_banned(self) -> None:
        """XEP-0045 section 7.2.7: a user who was banned meanwhile is put out at the return, and told why."""
        self.administer("<item jid='ann@a.example' affiliation='outcast'/>")
        self.link.join(ANN, HERE, "ann")
        self.link.say(ANN, HERE, "a")
        self.mend()
        self.assertInside("ben", "own")
        self.assertIn("307", self.codes(ANN))
        # The message was refused at once, or it comes to the room after the join.
        isReplica = self.mode is Mode.REPLICA
        expected = ["recipient-unavailable", "forbidden"] if isReplica else ["forbidden", "not-acceptable"]
        self.assertEqual(self.link.errors(ANN)[-2:], expected)
        self.assertNotIn("a", self.link.heard(OWN))

    def test_lostAgain(self) -> None:
        """
        The link is lost again before the answer to a join that the channel has kept. The answer, a rejection, still
        counts: the user is put out, and does not enter while the link is lost once more.
        """
        self.administer("<item jid='ann@a.example' affiliation='outcast'/>")
        self.link.join(ANN, HERE, "ann")
        self.link.isLost = lambda sender, text: "forbidden" in text
        for _ in range(90):
            self.link.wait(self.link.state is UplinkState.LOST)
        self.assertIs(self.link.state, UplinkState.JOINED)
        self.link.cut()
        self.link.say(BEN, HERE, "b")
        self.link.wait(55)
        self.assertIs(self.link.state, UplinkState.LOST)
        self.assertEqual(self.link.occupants(), (["ben", "own"], ["ann", "ben", "own"]))
        self.mend()
        self.assertInside("ben", "own")
        self.assertIn("307", self.codes(ANN))
        self.assertEqual(self.link.errors(ANN), ["forbidden"])
        self.lose()
        self.link.join(ANN, HERE, "ann")
        self.assertEqual(self.link.shown[ANN], [])

    def test_lostForLong(self) -> None:
        """
        The link is lost again, for ten minutes, before the room has the join; or it is so slow that the join takes
        two minutes. The user is not put out: the channel delivers the join, and the answer.
        """
        for isSlow in (False, True):
            with self.subTest(isSlow=isSlow):
                self.setUp()
                self.link.join(PHONE, HERE, "ann")
                self.link.isLost = lambda sender, text: sender == DOWN and "<ns0:presence" in text
                for _ in range(90):
                    self.link.wait(self.link.state is UplinkState.LOST)
                self.assertIs(self.link.state, UplinkState.JOINED)
                if not isSlow:
                    self.link.cut()
                self.link.wait(120 if isSlow else 600)
                self.assertEqual(self.link.state is UplinkState.JOINED, isSlow)
                self.assertEqual(self.link.occupants(), (["ben", "own"], ["ann", "ben", "own"]))
                self.mend()
                self.assertInside("ann", "ben", "own")
                gone = [each for each in self.link.shown[PHONE] if each.get("type") == "unavailable"]
                self.assertEqual([each.get("from") for each in gone if each.get("from") == f"{HERE}/ann"], [])

    def test_conflict(self) -> None:
        """XEP-0045 section 7.2.8: somebody in the room has the nick since. The user of the mirror is put out."""
        self.link.join(CAT, ROOM, "ann")
        self.link.join(ANN, HERE, "ann")
        self.mend()
        self.assertInside("ann", "ben", "own")
        self.assertIn("307", self.codes(ANN))
        self.assertIn("conflict", self.link.errors(ANN))
        self.assertEqual(self.link.down.rooms.rooms[HERE].occupants["ann"].realJid, CAT)
        self.link.join(ANN, HERE, "ann2")
        self.assertInside("ann", "ann2", "ben", "own")

    def test_left(self) -> None:
        """A user who joins and leaves again, and one who leaves at the return: no ghost stays."""
        for _ in range(2):
            self.link.join(ANN, HERE, "ann")
            self.link.leave(ANN, HERE, "ann")
        self.mend()
        self.assertInside("ben", "own")

    def test_killed(self) -> None:
        """Each gateway is killed between the join and the return."""
        for domain in (TOP, DOWN):
            with self.subTest(domain=domain):
                self.setUp()
                self.link.join(ANN, HERE, "ann")
                self.link.say(ANN, HERE, "a")
                self.link.kill(self.link.sides[domain])
                self.link.wait(30)
                self.mend()
                self.link.wait(60)
                self.assertInside("ann", "ben", "own")
                self.assertEqual(self.link.heard(OWN).count("a"), int(self.mode is Mode.PRIMARY))

    def test_forgotten(self) -> None:
        """The link is down for so long that the room removes the mirror: all join anew, this user as well."""
        self.link.join(ANN, HERE, "ann")
        self.link.wait(1_500)
        self.mend()
        self.link.wait(60)
        self.assertInside("ann", "ben", "own")


class LostJoinReplicaTests(LostJoinTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


class KnownUsersTests(SynchronousTestCase):
    """The users who are remembered."""

    def test_bound(self) -> None:
        """A thousand of each kind; the oldest ones are forgotten."""
        known = KnownUsers()
        for number in range(1_001):
            known.admitted(f"u{number}@x/1", f"id{number}")
        self.assertEqual([known.mayEnter(f"u{number}@x/2") for number in (0, 1, 1_000)], [False, True, True])
        self.assertEqual([known.idOf(f"u{number}@x/2") for number in (0, 1, 1_000)], ["", "id1", "id1000"])
        known.refused("U1@x/3")
        self.assertFalse(known.mayEnter("u1@x/1"))
        known.isOpen = True
        self.assertEqual([known.mayEnter(f"u{number}@x/2") for number in (0, 1)], [True, False])
        known.admitted("u1@x/1", "")
        self.assertTrue(known.mayEnter("u1@x/1"))

    def test_features(self) -> None:
        """XEP-0045 section 6.4: both features are needed."""
        self.assertTrue(isOpen(("muc_open", "muc_unsecured", "x")))
        for found in (("muc_open",), ("muc_unsecured",), ("muc_open", "muc_passwordprotected"), ()):
            self.assertFalse(isOpen(found))
