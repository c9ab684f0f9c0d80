"""Answers that come before stanzas which the other node has sent before them, and offers that come back."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.fmuc.channel.values import Header, Position
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from gateway.muc.values import Payload
from tests.fmuc.channels import EPOCH as FIRST
from tests.fmuc.channels import Network
from tests.fmuc.linked import ANN, BEN, DOWN, HERE, OWN, ROOM, TOP, Linked
from tests.fmuc.support import MUC, canonical
from tests.fmuc.test_linked import DAN, EPOCH, LinkedCase, offer
from tests.muc.test_local import user

_RESULT = f"<iq from='{ROOM}' to='{HERE}' type='result'"


class HeldTests(SynchronousTestCase):
    """Rule 34 of docs/fmuc-resync.md, of one end of a channel."""

    def setUp(self) -> None:
        self.channel = Network().nodes[0].channel

    def receive(self, number: int, epoch: int = FIRST) -> list[str]:
        """Give the channel a stanza; return what is to be handled."""
        return self.channel.receive(Header(epoch, number, 0), str(number), 1, 0.0)

    def test_order(self) -> None:
        """An answer is handled after the stanzas that were numbered before it, and before the later ones."""
        self.assertFalse(self.channel.holds(Position(FIRST, 0), "early"))
        self.assertTrue(self.channel.holds(Position(FIRST, 2), "answer"))
        self.assertEqual([self.receive(3), self.receive(2)], [[], []])
        self.assertEqual(self.receive(1), ["1", "2", "answer", "3"])
        self.assertEqual(self.receive(4), ["4"])
        self.assertFalse(self.channel.holds(Position(FIRST, 4), "late"))

    def test_last(self) -> None:
        """A later answer takes the place of an earlier one, whether it has to wait or not."""
        self.channel.holds(Position(FIRST, 1), "a")
        self.channel.holds(Position(FIRST, 1), "b")
        self.assertEqual(self.receive(1), ["1", "b"])
        self.channel.holds(Position(FIRST, 2), "c")
        self.assertFalse(self.channel.holds(Position(FIRST, 1), "d"))
        self.assertEqual(self.receive(2), ["2"])

    def test_epochs(self) -> None:
        """An answer of another epoch is dropped, and so is one that waits when an epoch begins."""
        self.assertTrue(self.channel.holds(Position(FIRST + 1, 0), "a"))
        self.assertTrue(self.channel.holds(Position(FIRST, 1), "b"))
        self.channel.begin(FIRST + 1, 0.0)
        self.assertEqual(self.receive(1, FIRST + 1), ["1"])


class AnsweredTests(SynchronousTestCase):
    """Rule 35 of docs/fmuc-resync.md, of one end of a channel."""

    def test_before(self) -> None:
        """Only what acknowledges something that was sent after a position can be the answer to that."""
        node = Network().nodes[0]
        channel = node.channel
        for body in ("a", "b"):
            # What is before it may wait, too.
            position = channel.position
            node.say(body)
        node.commit()
        self.assertEqual(position, Position(FIRST, 1))
        for acknowledged, isBefore in ((0, True), (1, True), (2, False)):
            channel.receive(Header(FIRST, acknowledged + 1, acknowledged), "c", 1, 0.0)
            self.assertIs(channel.isBefore(position), isBefore)
        self.assertFalse(channel.isBefore(Position(FIRST + 1, 5)))


class OvertakenTests(LinkedCase):
    """Rule 34: a mirror that was killed compares, and the room sends something before it answers."""

    def overtake(self) -> None:
        """A user of the room joins, and leaves, before the request arrives: both are lost once."""
        lost: list[str] = []

        def isLost(sender: str, text: str) -> bool:
            if sender == DOWN and "compare" in text and not lost:
                lost.append(text)
                server = self.link.top.server
                server.send(f"<presence from='{DAN}' to='{ROOM}/dan'>{MUC}</presence>")
                server.send(f"<presence from='{DAN}' to='{ROOM}/dan' type='unavailable'/>")
            isOfDan = sender == TOP and f"{ROOM}/dan" in text and text not in lost
            lost.extend([text] * isOfDan)
            return isOfDan

        self.clear()
        self.link.isLost = isLost
        self.link.down.kill()
        self.link.crossed.clear()
        self.link.settle()

    def answers(self) -> list[str]:
        """Return the answers to comparisons that have crossed."""
        return [text for sender, text in self.link.crossed if sender == TOP and "compare" in text]

    def test_equal(self) -> None:
        """The digests are equal; the mirror handles the answer when it has seen the user come and go."""
        self.overtake()
        [answer] = self.answers()
        # Before, it has sent the subject, and its answer to Ben's join.
        compare = f"<compare xmlns='{ns.CHANNEL}' k='{EPOCH} 4'/>"
        self.assertEqual(canonical(answer), canonical(f"{_RESULT} id='ask-m2-1'>{compare}</iq>"))
        self.assertIs(self.link.state, UplinkState.RETURNING)
        self.link.wait(10)
        self.assertIs(self.link.state, UplinkState.JOINED)
        shown = [(each.get("from"), each.get("type")) for each in self.link.shown[ANN]]
        self.assertEqual(shown, [(f"{HERE}/dan", None), (f"{HERE}/dan", "unavailable")])
        self.assertEqual(len(self.answers()), 1)
        self.assertInside("ann", "ben", "own")

    def test_waiting(self) -> None:
        """
        Presence of a user of the room waits, because the link is slow, and a mirror that was killed compares. The
        state of the room is numbered after the answer, so none of it takes the place of what waits: the mirror
        would miss it there, and remove the user.
        """
        told: list[str] = []

        def isLost(sender: str, text: str) -> bool:
            if "tell-" in text and not told:
                told.append(text)
                server = self.link.top.server
                for number in range(100):
                    body = f"<body>{number}</body>"
                    server.send(f"<message from='{OWN}' to='{ROOM}' type='groupchat'>{body}</message>")
                server.send(f"<presence from='{OWN}' to='{ROOM}/own'><status>new</status></presence>")
            return sender == TOP and bool(told) and not text.endswith("iq>")

        self.link.isLost = isLost
        # So the digests differ.
        self.link.top.rooms.rooms[ROOM].occupants["ann"].payload = Payload(b"<status>other</status>")
        self.link.kill(self.link.down)
        self.assertTrue(told)
        self.clear()
        self.link.mend()
        self.link.wait(60)
        self.assertIs(self.link.state, UplinkState.JOINED)
        self.assertInside("ann", "ben", "own")
        shown = [each for each in self.link.shown[ANN] if "presence" in each.tag]
        statuses = [each.findtext("{*}status") for each in shown if each.get("from") == f"{HERE}/own"]
        self.assertEqual(statuses, ["new"])

    def test_malformed(self) -> None:
        """An answer with another position than two numbers is none: the mirror asks again."""
        for position in ("", "x", f"{EPOCH}", f"{EPOCH} 1 1", f"{EPOCH} -1", f"{EPOCH + 1} 0"):
            with self.subTest(position):
                self.link.isLost = lambda sender, text: sender == TOP and "compare" in text
                self.link.kill(self.link.down)
                asked = self.link.crossed[-1][1].partition("id=\"")[2].partition('"')[0]
                payload = f"<compare xmlns='{ns.CHANNEL}' k='{position}'/>"
                self.link.send(DOWN, f"{_RESULT} id='{asked}'>{payload}</iq>")
                self.assertIs(self.link.state, UplinkState.RETURNING)
                self.link.mend()
                self.link.wait(60)
                self.assertIs(self.link.state, UplinkState.JOINED)
        self.assertInside("ann", "ben", "own")


class OvertakenReplicaTests(OvertakenTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


class ReturnedOfferTests(SynchronousTestCase):
    """Section 4.1 of docs/fmuc-resync.md: an offer is accepted by the joined node alone."""

    def test_returned(self) -> None:
        """A server returns the first join with its payload: there is no channel. The next join is a first one."""
        link = Linked()
        link.cut()
        link.join(ANN, HERE, "ann")
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'>{offer()}</fmuc>"
        error = f"<error type='wait'><remote-server-timeout xmlns='{ns.STANZA_ERRORS}'/></error>"
        link.send(DOWN, f"<presence from='{ROOM}/ann' to='{HERE}/ann' type='error'>{fmuc}{MUC}{error}</presence>")
        self.assertEqual(link.errors(ANN), ["remote-server-timeout"])
        self.assertEqual(link.down.channels.table, {})
        link.mend()
        link.join(OWN, ROOM, "own")
        link.join(BEN, HERE, "ben")
        link.wait(60)
        self.assertEqual(link.occupants(), (["ben", "own"], ["ben", "own"]))
        link.say(BEN, HERE, "a")
        self.assertEqual(link.heard(OWN), ["a"])


class LeftTests(LinkedCase):
    """Section 4.6 and rule 3: a node that does not know yet that it has left."""

    def test_presence(self) -> None:
        """The channel tells it: its presence is not refused, because the error would end the channel."""
        self.link.isLost = lambda sender, text: sender == TOP
        for nick in ("ann", "ben"):
            self.administer(f"<item nick='{nick}' role='none'/>")
        self.assertEqual(self.link.down.nicks(HERE), ["ann", "ben", "own"])
        self.link.crossed.clear()
        self.link.send(DOWN, f"<presence from='{ANN}' to='{HERE}/ann'><show>away</show></presence>")
        [(_, text)] = self.link.crossed
        self.assertIn("away", text)
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(self.link.occupants(), (["own"], []))
        codes = [each.get("code") for one in self.link.shown[ANN] for each in one.iter(f"{{{ns.MUC_USER}}}status")]
        self.assertEqual(codes[-2:], ["307", "110"])

    def test_removed(self) -> None:
        """
        Rule 34: a killed node compares, and its users are removed meanwhile. It is not told that it is unknown, by
        which they would join anew, but waits for the channel.
        """
        lost: list[str] = []

        def isLost(sender: str, text: str) -> bool:
            if sender == DOWN and "compare" in text and not lost:
                lost.append(text)
                for nick in ("ann", "ben"):
                    query = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='{nick}' role='none'/></query>"
                    self.link.top.server.send(f"<iq type='set' id='b' from='{OWN}' to='{ROOM}'>{query}</iq>")
            isFirst = sender == TOP and "presence" in text and text not in lost
            lost.extend([text] * isFirst)
            return isFirst

        self.link.isLost = isLost
        self.link.kill(self.link.down)
        answers = [text for sender, text in self.link.crossed if sender == TOP and "ask-" in text]
        self.assertEqual(len(answers), 1)
        self.assertIn("resource-constraint", answers[0])
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(self.link.occupants(), (["own"], []))
        codes = [each.get("code") for one in self.link.shown[ANN] for each in one.iter(f"{{{ns.MUC_USER}}}status")]
        self.assertEqual(codes[-2:], ["307", "110"])

    def test_others(self) -> None:
        """A node without a channel is told at once that its user is not in the room."""
        self.link.crossed.clear()
        inside = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'/>{user('none', 'participant', jid=ANN)}"
        self.link.send(TOP, f"<presence from='x{HERE}/ann' to='{ROOM}/ann'>{inside}</presence>")
        self.assertIn("You are not in the room", self.link.crossed[-1][1])


class NotStoredTests(SynchronousTestCase):
    """Section 4.6: a node that stores nothing any longer has no channels."""

    def test_refused(self) -> None:
        """Its answer is the error by which the other node joins anew."""
        link = Linked(channels=(False, True))
        link.join(OWN, ROOM, "own")
        for name in ("probe", "resume"):
            link.crossed.clear()
            request = f"<{name} xmlns='{ns.CHANNEL}' e='{EPOCH}' n='0' a='0'/>"
            link.send(TOP, f"<iq type='set' id='r' from='{HERE}' to='{ROOM}'>{request}</iq>")
            error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/>"
            text = f"<text xmlns='{ns.STANZA_ERRORS}'>This address is unknown.</text></error>"
            [(_, answer)] = link.crossed
            expected = f"<iq type='error' id='r' from='{ROOM}' to='{HERE}'>{error}{text}</iq>"
            self.assertEqual(canonical(answer), canonical(expected))


del LinkedCase
