"""A room and its mirror with a reliable channel between them (docs/fmuc-resync.md)."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import NoSuchAddress, NotInSequence, StoreFull
from gateway.fmuc.channel.values import Pace
from gateway.fmuc.compose import _snapshot
from gateway.fmuc.digest import SharedState
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.channel_store import loadChannels
from gateway.muc.records import Record
from gateway.muc.room import Bounds
from gateway.state.sqlite import SqliteSession, connect
from gateway.stream.link import Link
from gateway.testing import MemoryGateway
from tests.fmuc.durable import HeldStore
from tests.fmuc.linked import ANN, BEN, DOWN, HERE, OWN, ROOM, TOP, Linked, Side
from tests.fmuc.support import MUC, canonical, refused
from tests.muc.test_local import user
from tests.reports import sentences

# Users who come later.
CAT, DAN = "cat@b.example/1", "dan@a.example/1"
# Seconds for which occupants behind a lost node stay.
GONE = Bounds().gone
# Occupants of a room that two nodes compare.
COUNT = 30
# Minutes from 2026-01-01 to the time of the tests.
EPOCH = 379_573


def header(number: int | None, received: int, epoch: int = EPOCH) -> str:
    """Return the element of a stanza."""
    numbers = f"{epoch} {received}" if number is None else f"{epoch} {number} {received}"
    return f"<r xmlns='{ns.CHANNEL}' n='{numbers}'/>"


def offer(epoch: int = EPOCH) -> str:
    """Return the element that negotiates a channel."""
    return f"<channel xmlns='{ns.CHANNEL}' e='{epoch}'/>"


def stored(side: Side) -> int:
    """Return the number of records of channels at one side."""
    return len(side.store.atStart(loadChannels))


class LinkedCase(SynchronousTestCase):
    """A room with its owner, and a mirror with two users."""

    maxDiff = None
    mode = Mode.PRIMARY

    def setUp(self) -> None:
        self.link = Linked(self.mode)
        self.enter()

    def enter(self) -> None:
        """All users join."""
        self.link.join(OWN, ROOM, "own")
        self.link.join(ANN, HERE, "ann")
        self.link.join(BEN, HERE, "ben")

    def clear(self) -> None:
        """Forget what the users were shown."""
        for each in self.link.shown.values():
            each.clear()

    def lose(self) -> None:
        """Cut the link, and wait until it is noticed in silence."""
        self.link.cut()
        self.link.wait(180)
        self.assertIs(self.link.state, UplinkState.LOST)

    def mend(self) -> None:
        """Repair the link, and wait for the return."""
        self.link.mend()
        self.link.wait(90)
        self.assertIs(self.link.state, UplinkState.JOINED)

    def administer(self, item: str) -> None:
        """Let the room's owner change an item (XEP-0045 sections 8 to 10)."""
        query = f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"
        self.link.send(TOP, f"<iq type='set' id='b' from='{OWN}' to='{ROOM}'>{query}</iq>")

    def assertHeard(self, *bodies: str, users: tuple[str, ...] = (OWN, ANN, BEN)) -> None:
        """Users have got exactly these messages, in this order."""
        self.assertEqual({each: self.link.heard(each) for each in users}, {each: list(bodies) for each in users})

    def assertInside(self, *nicks: str) -> None:
        """Both sides have these occupants."""
        self.assertEqual(self.link.occupants(), (list(nicks), list(nicks)))

    def assertCrossed(self, *expected: str) -> None:
        """Exactly these stanzas have crossed since the last call."""
        found = "".join(text for _, text in self.link.crossed)
        self.link.crossed.clear()
        self.assertEqual(canonical(found), canonical("".join(expected)))


class NegotiationTests(SynchronousTestCase):
    """Sections 4.1 and 4.2: the join, and the numbers of stanzas."""

    maxDiff = None

    def test_stanzas(self) -> None:
        """XEP-0045 section 7.2 through a mirror: the join of the first user agrees on a channel, in both modes."""
        for mode in Mode:
            with self.subTest(mode=mode):
                link = Linked(mode)
                link.join(ANN, HERE, "ann")
                replica = "<replica/>" if mode is Mode.REPLICA else ""
                fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'>{replica}{offer()}</fmuc>"
                there = f"from='{ROOM}' to='{HERE}'"
                fromRoom = f"<message type='groupchat' {there}><fmuc xmlns='{ns.FMUC}'/>"
                self.assertEqual(
                    canonical("".join(text for _, text in link.crossed)),
                    canonical(
                        f"<presence from='{HERE}/ann' to='{ROOM}/ann'>{fmuc}{MUC}"
                        f"{user('none', 'participant', jid=ANN)}</presence>"
                        f"<presence from='{ROOM}/ann' to='{HERE}'>{fmuc}"
                        f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/>"
                        f"<status code='201'/></x></presence>"
                        f"{fromRoom}<subject/>{header(1, 0)}</message>"
                    ),
                )
                link.crossed.clear()
                link.say(ANN, HERE, "x")
                link.wait(2)
                said = f"<message type='groupchat' id='x' from='{HERE}/ann' to='{ROOM}'>"
                said += f"<body>x</body>{header(1, 1)}</message>"
                back = f"<message type='groupchat' id='x' from='{ROOM}/ann' to='{HERE}'>"
                back += f"<body>x</body>{header(2, 1)}</message>"
                alone = f"<message {there}>{header(None, 1)}</message>"
                last = f"<message from='{HERE}' to='{ROOM}'>{header(None, 2)}</message>"
                self.assertEqual(
                    canonical("".join(text for _, text in link.crossed)),
                    canonical(said + (back + last if mode is Mode.REPLICA else alone)),
                )

    def test_notBoth(self) -> None:
        """
        Rule 1: if one of the nodes has no channels, nothing of the protocol is sent but an offer, and all works as
        before.
        """
        for has in ((True, False), (False, True)):
            for mode in Mode:
                with self.subTest(has=has, mode=mode):
                    link = Linked(mode, has)
                    link.join(OWN, ROOM, "own")
                    link.join(ANN, HERE, "ann")
                    link.say(ANN, HERE, "x")
                    link.say(OWN, ROOM, "y")
                    self.assertEqual((link.heard(OWN), link.heard(ANN)), (["x", "y"], ["x", "y"]))
                    found = {each.tag for _, text in link.crossed for each in ElementTree.fromstring(text).iter()}
                    offers = {f"{{{ns.CHANNEL}}}channel"} if link.down.rooms.channels is not None else set()
                    self.assertEqual({each for each in found if ns.CHANNEL in each}, offers)

    def test_configured(self) -> None:
        """A mirror of the configuration offers a channel, unless it speaks the ProtoXEP, which is not extended."""
        for dialect in Dialect:
            table = f'[mirror."{DOWN}"]\nallow = ["{TOP}"]\nusers = ["a.example"]\nprotocol = "{dialect.value}"\n'
            gateway = MemoryGateway(Path(self.mktemp()), table)
            self.addCleanup(gateway.stop)
            [sent] = gateway.server(DOWN).ask(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
            found = sent.findall(f".//{{{ns.CHANNEL}}}channel")
            self.assertEqual(len(found), int(dialect is Dialect.XEP_0289))

    def test_incomplete(self) -> None:
        """Section 4.1: an occupant whose presence is lost before the acceptance is told by a comparison."""
        link = Linked()
        link.join(OWN, ROOM, "own")
        link.isLost = lambda sender, text: f'{ROOM}/own"' in text
        link.join(ANN, HERE, "ann")
        self.assertEqual(link.occupants()[1], ["ann"])
        link.mend()
        link.wait(5)
        self.assertEqual(link.occupants(), (["ann", "own"], ["ann", "own"]))
        asked = [text for _, text in link.crossed if ":iq " in text]
        link.wait(50)
        self.assertEqual([text for _, text in link.crossed if ":iq " in text], asked)

    def test_bad(self) -> None:
        """An offer without an epoch is refused; an acceptance of a smaller epoch than the offer is ignored."""
        link = Linked()
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'><channel xmlns='{ns.CHANNEL}' e='x'/></fmuc>"
        link.send(TOP, f"<presence from='{HERE}/ann' to='{ROOM}/ann' id='1'>{fmuc}{MUC}</presence>")
        self.assertIn("bad-request", link.crossed[0][1])
        link.cut()
        link.join(ANN, HERE, "ann")
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'>{offer(EPOCH - 1)}</fmuc>"
        item = user("none", "participant")
        link.send(DOWN, f"<presence from='{ROOM}/ann' to='{HERE}'>{fmuc}{item}</presence>")
        self.assertEqual(link.down.channels.table, {})


class DeliveryTests(LinkedCase):
    """Section 2: exactly once, and in order."""

    def test_lost(self) -> None:
        """Rule 11: what was lost without an error is sent again."""
        self.link.cut()
        for number in range(3):
            self.link.say(ANN, HERE, f"a{number}")
            self.link.say(OWN, ROOM, f"o{number}")
        self.link.mend()
        self.link.wait(60)
        for each in (OWN, ANN, BEN):
            heard = self.link.heard(each)
            self.assertEqual([body for body in heard if body[0] == "a"], ["a0", "a1", "a2"])
            self.assertEqual([body for body in heard if body[0] == "o"], ["o0", "o1", "o2"])

    def test_repeated(self) -> None:
        """Rule 6: what comes twice is handled once."""
        self.link.isRepeated = True
        self.link.say(ANN, HERE, "a")
        self.link.say(OWN, ROOM, "o")
        self.link.leave(BEN, HERE, "ben")
        self.link.join(BEN, HERE, "ben")
        self.link.wait(60)
        self.assertHeard("a", "o", users=(OWN, ANN))
        self.assertInside("ann", "ben", "own")

    def test_overtaken(self) -> None:
        """Rule 7: a stanza that overtakes others waits for them; what it lets through is handled in order."""
        kept: list[tuple[str, str]] = []
        self.link.isLost = lambda sender, text: bool("body>" not in text or kept.append((sender, text)) is None)
        for body in ("a", "b", "c"):
            self.link.say(ANN, HERE, body)
        self.link.mend()
        for _, text in reversed(kept):
            self.link.send(TOP, text)
        self.assertHeard("a", "b", "c")

    def test_killed(self) -> None:
        """Rules 4 and 5: a process may be killed at any moment: a message that was shown is at both sides, once."""
        for side, speaker, room in ((self.link.down, ANN, HERE), (self.link.top, OWN, ROOM)):
            for isTold in (None, False, True):
                with self.subTest(side=side.domain, isTold=isTold):
                    for each in self.link.shown.values():
                        each.clear()
                    side.store.isHeld = True
                    self.link.say(speaker, room, "x")
                    self.assertHeard()
                    if isTold is not None:
                        self.link.cut()
                        side.store.commit(isTold)
                        self.link.settle()
                    self.link.kill(side)
                    self.link.mend()
                    self.link.wait(60)
                    there = (OWN,) if speaker is ANN else (ANN, BEN)
                    self.assertHeard(*([] if isTold is None else ["x"]), users=there)
                    self.assertHeard(*(["x"] if isTold else []), users=(speaker,))
                    self.assertInside("ann", "ben", "own")

    def test_receiverKilled(self) -> None:
        """Rule 5: a node that is killed before it has stored a stanza gets it again; afterwards, it does not."""
        for isCommitted in (False, True):
            with self.subTest(isCommitted=isCommitted):
                for each in self.link.shown.values():
                    each.clear()
                self.link.top.store.isHeld = True
                self.link.say(ANN, HERE, "x")
                self.assertHeard(users=(OWN,))
                if isCommitted:
                    self.link.top.store.commit()
                    self.link.cut()
                    self.link.settle()
                self.link.kill(self.link.top)
                self.link.mend()
                self.link.wait(60)
                self.assertHeard("x")

    def test_reconnected(self) -> None:
        """A server that restarts loses stanzas; the occupants stay, and nobody is told anything."""
        for side in self.link.sides.values():
            self.link.cut()
            self.link.say(ANN, HERE, f"a{side.domain}")
            side.server.lose()
            self.link.settle()
            side.server.restore()
            self.link.mend()
            self.link.wait(30)
        self.assertHeard(f"a{TOP}", f"a{DOWN}")
        self.assertInside("ann", "ben", "own")

    def test_returned(self, condition: str = "remote-server-not-found") -> None:
        """A stanza that comes back as undeliverable is kept; nobody gets an error, and nobody leaves."""
        self.link.cut()
        for speaker, nick, room, domain in ((ANN, "ann", HERE, DOWN), (OWN, "own", ROOM, TOP)):
            self.link.crossed.clear()
            self.link.say(speaker, room, domain)
            error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
            here, there = (HERE, ROOM) if domain == DOWN else (ROOM, HERE)
            back = f"<message type='error' id='{domain}' from='{there}' to='{here}/{nick}'>{header(9, 9)}{error}"
            self.link.send(domain, f"{back}</message>")
            self.assertEqual(self.link.errors(speaker), [])
        self.link.mend()
        self.link.wait(60)
        self.assertEqual([sorted(self.link.heard(each)) for each in (OWN, ANN, BEN)], [[TOP, DOWN]] * 3)
        self.assertInside("ann", "ben", "own")

    def test_forbidden(self) -> None:
        """The same with an ejabberd that must not look for an absent component at other servers."""
        self.test_returned("forbidden")

    def test_destroyed(self) -> None:
        """XEP-0045 section 10.9: the room is destroyed while the link is down; the mirror learns it later."""
        self.link.cut()
        destroy = f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>"
        self.link.send(TOP, f"<iq type='set' id='d' from='{OWN}' to='{ROOM}'>{destroy}</iq>")
        self.assertEqual(self.link.occupants(), ([], ["ann", "ben", "own"]))
        self.link.kill(self.link.top)
        self.link.mend()
        self.link.wait(120)
        self.assertInside()
        self.assertEqual((stored(self.link.top), stored(self.link.down)), (0, 0))

    def test_left(self) -> None:
        """The last user leaves: both nodes forget the channel. The next join agrees on another one."""
        self.link.leave(BEN, HERE, "ben")
        self.link.leave(ANN, HERE, "ann")
        self.link.wait(30)
        self.assertEqual((stored(self.link.top), stored(self.link.down)), (0, 0))
        self.assertLeft("own")
        self.link.crossed.clear()
        self.link.join(ANN, HERE, "ann")
        self.assertInside("ann", "own")
        self.assertTrue(any(f'e="{EPOCH + 1}"' in text for _, text in self.link.crossed))

    def assertLeft(self, *nicks: str) -> None:
        """The room has these occupants, and the mirror does not exist."""
        self.assertEqual(self.link.occupants(), (list(nicks), []))

    def test_ghosts(self) -> None:
        """After a loss of any length, users who have left meanwhile are gone half a minute after the return."""
        for seconds in (10, 50, 96, 159, 278):
            with self.subTest(seconds=seconds):
                self.link.cut()
                self.link.leave(BEN, HERE, "ben")
                self.link.leave(OWN, ROOM, "own")
                self.link.wait(seconds)
                self.link.mend()
                self.link.wait(32)
                self.assertInside("ann")
                self.link.join(BEN, HERE, "ben")
                self.link.join(OWN, ROOM, "own")
                self.assertInside("ann", "ben", "own")

    def test_joinedAgain(self) -> None:
        """
        XEP-0045 section 7.2.8: the latest presence counts. A client sends a presence, is restarted, and joins again
        without it, while the link is down. So does another client of the user.
        """
        for client in (BEN, "ben@a.example/3"):
            with self.subTest(client=client):
                self.link.cut()
                self.link.send(DOWN, f"<presence from='{BEN}' to='{HERE}/ben'><show>xa</show></presence>")
                self.link.join(client, HERE, "ben")
                self.link.wait(30)
                self.link.mend()
                self.link.wait(60)
                for each in (OWN, ANN, client):
                    found = [one for one in self.link.shown[each] if one.get("from", "").endswith("/ben")]
                    self.assertNotIn("xa", "".join(found[-1].itertext()))

    def test_leftWhileLost(self) -> None:
        """The last user leaves while the link is down: the room learns it when the link is back: no ghost stays."""
        self.link.cut()
        self.link.leave(BEN, HERE, "ben")
        self.link.leave(ANN, HERE, "ann")
        self.link.wait(60)
        self.link.kill(self.link.down)
        self.assertEqual(self.link.occupants(), (["ann", "ben", "own"], []))
        self.link.mend()
        self.link.wait(120)
        self.assertLeft("own")

    def test_charged(self) -> None:
        """The answer to a join that a channel sends is charged to the node at once, not after the commit."""
        self.link.leave(BEN, HERE, "ben")
        self.link.leave(ANN, HERE, "ann")
        for number in range(3):
            self.link.say(OWN, ROOM, f"{number}" * 1_000)
        charged: list[tuple[str, int]] = []
        budget = self.link.top.server.link.budget
        self.patch(budget, "charge", lambda user, size, now: charged.append((user, size)))
        self.link.top.store.isHeld = True
        self.link.join(ANN, HERE, "ann")
        [size] = [size for user, size in charged if user == HERE]
        self.assertGreater(size, 2_000)
        self.assertEqual(self.link.heard(ANN)[-1:], [])
        self.link.top.store.isHeld = False
        self.link.top.store.commit()
        self.link.wait(2)
        self.assertEqual(len([body for body in self.link.heard(ANN) if len(body) == 1_000]), 3)
        self.assertLess(sum(size for user, size in charged if user == HERE), size + 2_000)


class ReplicaTests(DeliveryTests):
    """The same in replica mode."""

    mode = Mode.REPLICA

    def test_killed(self) -> None:
        """All see one order; a message that was stored is shown once."""
        for isTold in (None, False, True):
            with self.subTest(isTold=isTold):
                for each in self.link.shown.values():
                    each.clear()
                self.link.down.store.isHeld = True
                self.link.say(ANN, HERE, "x")
                if isTold is not None:
                    self.link.down.store.commit(isTold)
                self.link.kill(self.link.down)
                self.link.wait(60)
                self.assertHeard(*([] if isTold is None else ["x"]))

    def test_reconnected(self) -> None:
        """As in primary mode; the order is that of the room."""
        self.link.cut()
        self.link.say(ANN, HERE, "a")
        self.link.down.server.lose()
        self.link.settle()
        self.link.down.server.restore()
        self.link.mend()
        self.link.wait(30)
        self.assertHeard("a")


class ManyTests(SynchronousTestCase):
    """Bounds of a service with many channels."""

    def test_started(self) -> None:
        """After a start, channels are opened some at a time."""
        link = Linked()
        for number in range(90):
            link.join(ANN, HERE.replace("coven", f"r{number}"), "ann")
        link.wait(10)
        link.crossed.clear()
        link.down.kill()
        opened = []
        for _ in range(3):
            link.settle()
            mark = f'id="c{link.down.rooms.token}-'
            opened.append(sum(mark in text for way, text in link.crossed if way == DOWN))
            link.crossed.clear()
            for side in link.sides.values():
                side.server.clock.advance(1.0)
        self.assertEqual(opened, [50, 40, 0])


class RefusalTests(LinkedCase):
    """Stanzas that the other node may not send, and those that cannot be kept."""

    def test_numberless(self) -> None:
        """A message of a node without a number is refused, as soon as there is a channel."""
        self.link.crossed.clear()
        text = f"<message type='groupchat' id='m' from='{HERE}/ann' to='{ROOM}'><body>x</body></message>"
        self.link.send(TOP, text)
        expected = refused("message", ROOM, f"{HERE}/ann", NotInSequence, "id='m' ")
        self.assertEqual(canonical(self.link.crossed[0][1]), canonical(expected))
        self.assertHeard()

    def test_unknown(self) -> None:
        """Section 4.6: a stanza with a number from a node without a channel gets an error, and has no effect."""
        node = f"other@{DOWN}"
        for inside, isAnswered in ((header(1, 0), True), (header(None, 0), False)):
            self.link.crossed.clear()
            self.link.send(TOP, f"<message id='m' from='{node}' to='{ROOM}'>{inside}</message>")
            found = canonical("".join(text for _, text in self.link.crossed))
            expected = refused("message", ROOM, node, NoSuchAddress, "id='m' ") if isAnswered else ""
            self.assertEqual(found, canonical(expected))

    def test_ofUser(self) -> None:
        """A user's stanza with an element of the channel is handled without it."""
        inside = f"<body>x</body>{header(1, 0)}"
        self.link.send(TOP, f"<message type='groupchat' from='{OWN}' to='{ROOM}'>{inside}</message>")
        self.assertHeard("x")
        self.assertNotIn(ns.CHANNEL, str([each.tag for each in self.link.shown[ANN][-1]]))

    def test_outOfSequence(self) -> None:
        """Rule 8: numbers that may not be sent are refused, and an exchange of numbers follows."""
        for number, received in ((0, 0), (1_000, 0), (9, 1_000)):
            self.link.crossed.clear()
            inside = f"<body>x</body>{header(number, received)}"
            self.link.send(TOP, f"<message type='groupchat' from='{HERE}/ann' to='{ROOM}'>{inside}</message>")
            self.assertTrue(any("unexpected-request" in text for _, text in self.link.crossed))
            self.assertHeard()
            self.link.wait(10)
        self.link.say(ANN, HERE, "y")
        self.assertHeard("y")

    def test_full(self) -> None:
        """Rule 12: a message that cannot be kept is refused to its sender, and nobody is shown it."""
        self.link.cut()
        most = Pace().stanzas
        for number in range(most + 1):
            self.link.say(ANN, HERE, f"m{number}")
        self.assertEqual(self.link.errors(ANN), ["resource-constraint"])
        # The loss is not noticed yet; a link that is slow has the same effect.
        texts = [text for each in self.link.shown[ANN] if (text := each.findtext(f".//{{{ns.STANZA_ERRORS}}}text"))]
        self.assertEqual(texts, ["Too much waits for the other site; try again later."])
        self.assertEqual(len(self.link.heard(BEN)), most)
        self.link.mend()
        self.link.wait(120)
        self.assertHeard(*(f"m{number}" for number in range(most)))

    def test_notStored(self) -> None:
        """A message that cannot be stored in time is refused to its sender, and does not cross the link."""
        self.link.top.store.isHeld = True
        self.link.say(OWN, ROOM, "x")
        self.link.top.store.fault = StoreFull()
        self.link.wait(15)
        self.assertEqual(self.link.errors(OWN), ["resource-constraint"])
        self.link.top.store.fault = None
        self.link.top.store.isHeld = False
        self.link.top.store.commit()
        self.link.wait(60)
        self.link.say(OWN, ROOM, "y")
        self.link.wait(60)
        self.assertHeard("y")

    def test_kicked(self) -> None:
        """
        Messages that a user has sent while the link was down, and that the joined node gets after it has removed
        the user, are refused to the user, once. So are those of the last user, with whom the channel ends.
        """
        for users in ((ANN, BEN), (ANN,)):
            if BEN not in users:
                self.link.leave(BEN, HERE, "ben")
            self.link.wait(5)
            self.link.cut()
            self.link.say(ANN, HERE, "late")
            self.link.say(ANN, HERE, "later")
            if BEN in users:
                self.link.say(BEN, HERE, "taken")
            kick = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ann' role='none'/></query>"
            self.link.send(TOP, f"<iq type='set' id='k' from='{OWN}' to='{ROOM}'>{kick}</iq>")
            self.link.shown[ANN].clear()
            self.link.mend()
            self.link.wait(120)
            errors = [each for each in self.link.shown[ANN] if each.get("type") == "error"]
            found = [(each.get("id"), each.get("from")) for each in errors]
            self.assertEqual(found, [("late", HERE), ("later", HERE)], users)
            self.assertEqual(self.link.errors(BEN), [])
            self.assertNotIn("late", self.link.heard(OWN))
            self.link.join(ANN, HERE, "ann")
            self.link.wait(5)

    def test_destroyed(self) -> None:
        """With a room that was destroyed meanwhile, all channels end: the messages of each user are returned."""
        self.link.cut()
        self.link.say(ANN, HERE, "a")
        self.link.say(BEN, HERE, "b")
        destroy = f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>"
        self.link.send(TOP, f"<iq type='set' id='d' from='{OWN}' to='{ROOM}'>{destroy}</iq>")
        self.link.mend()
        self.link.wait(120)
        for who, body in ((ANN, "a"), (BEN, "b")):
            errors = [each.get("id") for each in self.link.shown[who] if each.get("type") == "error"]
            self.assertEqual(errors, [body])

    def test_kickNotStored(self) -> None:
        """
        XEP-0045 section 8.2: a kick that is not stored in time holds, and its moderator gets an error. The channel
        tells it when it is stored.
        """
        self.link.top.store.isHeld = True
        kick = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ben' role='none'/></query>"
        self.link.send(TOP, f"<iq type='set' id='k' from='{OWN}' to='{ROOM}'>{kick}</iq>")
        self.link.top.store.fault = StoreFull()
        self.link.wait(15)
        self.assertEqual(self.link.errors(OWN), ["resource-constraint"])
        self.assertEqual(self.link.occupants(), (["ann", "own"], ["ann", "ben", "own"]))
        self.link.top.store.fault = None
        self.link.top.store.isHeld = False
        self.link.top.store.commit()
        self.link.wait(60)
        self.assertInside("ann", "own")


class ForgottenTests(LinkedCase):
    """Sections 4.6 and rule 15: a node has lost its state."""

    def test_room(self) -> None:
        """The room has lost everything: the mirror joins anew, with what it has kept; users notice nothing."""
        self.link.cut()
        self.link.say(ANN, HERE, "a")
        self.link.say(BEN, HERE, "b")
        self.link.top.store = type(self.link.top.store)()
        self.link.kill(self.link.top)
        self.link.mend()
        self.link.join(OWN, ROOM, "own")
        self.link.wait(120)
        self.assertHeard("a", "b")
        self.assertInside("ann", "ben", "own")
        self.link.say(OWN, ROOM, "c")
        self.assertHeard("a", "b", "c")

    def test_mirror(self) -> None:
        """The mirror has lost everything: the room learns it, and no ghost stays."""
        self.link.down.store = type(self.link.down.store)()
        self.link.kill(self.link.down)
        self.link.say(OWN, ROOM, "x")
        self.link.wait(60)
        self.assertEqual(self.link.occupants(), (["own"], []))
        self.assertEqual(stored(self.link.top), 0)
        self.link.join(ANN, HERE, "ann")
        self.link.say(OWN, ROOM, "y")
        self.assertHeard("x", "y", users=(ANN,))

    def test_noPeer(self) -> None:
        """
        A node whose domain was removed from the peers is removed. It learns that it has left, and is sent nothing
        that its channel has kept.
        """
        self.link.cut()
        self.link.say(OWN, ROOM, "x")
        self.link.top.peers = frozenset()
        self.link.crossed.clear()
        self.link.mend()
        self.link.kill(self.link.top)
        self.assertEqual(stored(self.link.top), 0)
        self.link.say(OWN, ROOM, "y")
        self.link.wait(60)
        sent = [text for domain, text in self.link.crossed if domain == TOP]
        self.assertIn(":left ", sent[0])
        self.assertNotIn("body>", "".join(sent))
        self.assertEqual(self.link.occupants(), (["own"], []))

    def test_joinInFlight(self) -> None:
        """A comparison says that a join is missing which the channel has kept: it is delivered, and not refused."""
        self.link.isLost = lambda sender, text: "/cat" in text and ":iq " not in text
        self.link.join(CAT, HERE, "cat")
        self.link.crossed.clear()
        self.link.uplink.disturbed(self.link.down.server.clock.seconds())
        rooms = self.link.down.rooms
        self.link.down.handler._perform(rooms.settled(rooms.rooms[HERE]))
        self.link.settle()
        self.assertTrue([text for domain, text in self.link.crossed if domain == TOP and "missing" in text])
        self.link.mend()
        self.link.wait(20)
        self.assertEqual(self.link.errors(CAT), [])
        self.assertInside("ann", "ben", "cat", "own")

    def test_snapshot(self) -> None:
        """The whole state, for a store that is new, has the channels with what they have kept."""
        self.link.cut()
        self.link.say(ANN, HERE, "a")
        kinds: dict[str, int] = {}
        records: list[Record] = _snapshot(self.link.down.rooms)[0]
        for (_, kind, _), _ in records:
            kinds[kind] = kinds.get(kind, 0) + 1
        self.assertEqual((kinds["channel"], kinds["outgoing"]), (1, 1))

    def test_nobody(self) -> None:
        """Rule 25: if the room knows none of the mirror's users, no state follows: they leave at once."""
        for side, jid, nick in ((self.link.down, HERE, "ben"), (self.link.top, ROOM, "ann")):
            room = side.rooms.rooms[jid]
            room.remove(room.occupants[nick])
            side.handler._perform(side.rooms.settled(room))
        self.link.settle()
        self.link.kill(self.link.down)
        self.link.wait(20)
        self.assertEqual(self.link.occupants(), (["own"], []))
        codes = [each.get("code") for one in self.link.shown[ANN] for each in one.iter(f"{{{ns.MUC_USER}}}status")]
        self.assertEqual(codes[-2:], ["333", "110"])


class LostTests(LinkedCase):
    """Section 4.4: a link that is down, and its return."""

    def test_return(self) -> None:
        """Local users stay for any time; both nodes ask each other, and are equal again at the return."""
        self.lose()
        self.link.say(ANN, HERE, "a")
        self.link.say(OWN, ROOM, "o")
        self.link.wait(300)
        self.assertInside("ann", "ben", "own")
        for side in self.link.sides.values():
            kept = [each for each in sentences(side.handler.report()) if each.startswith("stanzas that are kept")]
            self.assertEqual(len(kept), 1)
        self.mend()
        down = f"The link to {ROOM} is down since 14:11 UTC; what you say is kept."
        self.assertHeard(down, "a", f"The link to {ROOM} is up again.", "o", users=(ANN, BEN))
        self.assertHeard("o", "a", users=(OWN,))

    def test_newLink(self) -> None:
        """
        Rule 11: when a direct link is up again, nobody waits for the next attempt: the channel opens within a
        second. If it was not lost, what the link has lost is repeated; if nothing is missing, nothing crosses.
        """
        self.lose()
        self.link.say(OWN, ROOM, "a")
        self.link.wait(300)
        self.link.mend()
        self.link.down.handler.peerConnected(["other.example"])
        self.link.wait(1)
        self.assertIs(self.link.state, UplinkState.LOST)
        for side, domain in ((self.link.top, DOWN), (self.link.down, TOP)):
            side.handler.peerConnected([domain])
        self.link.wait(1)
        self.assertIs(self.link.state, UplinkState.JOINED)
        self.assertEqual(self.link.heard(BEN)[-1], "a")
        self.link.wait(10)
        self.link.cut()
        self.link.say(ANN, HERE, "b")
        self.link.mend()
        self.link.down.handler.peerConnected([TOP])
        self.link.wait(1)
        self.assertEqual(self.link.heard(OWN), ["a", "b"])
        self.link.wait(10)
        self.link.crossed.clear()
        for side, domain in ((self.link.top, DOWN), (self.link.down, TOP)):
            side.handler.peerConnected([domain])
        self.link.wait(1)
        self.assertEqual(self.link.crossed, [])

    def test_short(self) -> None:
        """Users are told nothing of a loss that ends soon, such as a restart of the other node."""
        error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.link.shown[BEN].clear()
        self.link.cut()
        self.link.crossed.clear()
        self.link.say(ANN, HERE, "a")
        self.link.send(DOWN, f"<message type='error' id='a' from='{ROOM}' to='{HERE}/ann'>{error}</message>")
        asked = [text for _, text in self.link.crossed if ":iq " in text]
        [identifier] = [text.partition(' id="')[2].partition('"')[0] for text in asked]
        self.link.send(DOWN, f"<iq type='error' id='{identifier}' from='{ROOM}' to='{HERE}'>{error}</iq>")
        self.assertIs(self.link.state, UplinkState.LOST)
        self.link.wait(10)
        self.link.mend()
        self.link.wait(30)
        self.assertIs(self.link.state, UplinkState.JOINED)
        self.assertEqual(len(self.link.shown[BEN]), 1)

    def test_away(self) -> None:
        """XEP-0045 section 7.7: the room's occupants are shown as away while it is lost, and then as they are."""
        status = "<status>here</status>"
        self.link.send(TOP, f"<presence from='{OWN}' to='{ROOM}/own'>{status}</presence>")
        self.link.shown[ANN].clear()
        self.lose()
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
        head = f"<presence from='{HERE}/own' to='{ANN}'"
        self.assertShown(f"{head}>{item}<show>away</show></presence>")
        self.link.mend()
        self.link.wait(90)
        self.assertShown(f"{head}>{item}{status}</presence>")
        self.lose()
        self.assertShown(f"{head}>{item}<show>away</show></presence>")
        self.link.wait(GONE)
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='none'/></x>"
        self.assertShown(f"{head} type='unavailable'>{item}{status}</presence>")
        self.link.mend()
        self.link.wait(90)
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
        self.assertShown(f"{head}>{item}{status}</presence>")

    def test_killed(self) -> None:
        """The same if the mirror is killed meanwhile; users are told of the loss once."""
        self.link.shown[ANN].clear()
        self.lose()
        self.link.kill(self.link.down)
        self.link.wait(60)
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
        head = f"<presence from='{HERE}/own' to='{ANN}'"
        told = len(self.link.heard(ANN))
        self.assertShown(f"{head}>{item}<show>away</show></presence>")
        self.link.mend()
        self.link.wait(90)
        self.assertEqual((told, self.link.heard(ANN)), (1, [f"The link to {ROOM} is up again."]))
        self.assertShown(f"{head}>{item}</presence>")

    def assertShown(self, expected: str) -> None:
        """Ann was shown exactly this presence since the last call."""
        found = [each for each in self.link.shown[ANN] if each.tag.endswith("}presence")]
        self.link.shown[ANN].clear()
        text = "".join(ElementTree.tostring(each).decode() for each in found)
        self.assertEqual(canonical(text), canonical(expected))

    def test_leftAtReturn(self) -> None:
        """The last users leave when the link is back, before the channel is open: what they have said arrives."""
        self.lose()
        self.link.say(ANN, HERE, "a")
        self.link.mend()
        self.link.leave(BEN, HERE, "ben")
        self.link.leave(ANN, HERE, "ann")
        self.link.wait(120)
        self.assertHeard(*([] if self.mode is Mode.REPLICA else ["a"]), users=(OWN,))
        self.assertEqual(self.link.occupants(), (["own"], []))
        self.assertEqual((stored(self.link.top), stored(self.link.down)), (0, 0))

    def test_gone(self) -> None:
        """The room removes the occupants of a node that is away for too long; they join anew at the return."""
        self.lose()
        self.link.say(OWN, ROOM, "o")
        self.link.wait(GONE + 120)
        self.assertEqual(self.link.occupants(), (["own"], ["ann", "ben"]))
        self.link.say(ANN, HERE, "a")
        self.link.mend()
        self.link.wait(120)
        self.assertInside("ann", "ben", "own")
        for each in (OWN, ANN, BEN):
            heard = [body for body in self.link.heard(each) if len(body) == 1]
            self.assertEqual(sorted(heard), ["a", "o"])


class ComparisonTests(LinkedCase):
    """Sections 4.4 and 4.5: the stanzas of a return, half of the occupants being in the mirror."""

    def enter(self) -> None:
        super().enter()
        self.fill(COUNT)
        self.measure()

    def fill(self, count: int) -> None:
        """Let more users join, up to a number of occupants, and say something."""
        for number in range(len(self.link.occupants()[0]) - 3, count - 3):
            side, room = (("b", ROOM), ("a", HERE))[number % 2]
            self.link.join(f"u{number}@{side}.example/1", room, f"u{number}")
        self.link.say(OWN, ROOM, "o")
        self.link.say(ANN, HERE, "a")
        self.link.wait(30)

    def measure(self) -> None:
        """Count the bytes to each node."""
        self.size: dict[str, int] = {ROOM: 0, HERE: 0}
        kind = type(self.link.down.server.link)
        send = kind.sendRaw

        def sendRaw(link: Link, data: bytes) -> None:
            to = data.decode().partition(" to='")[2].partition("'")[0]
            if to in self.size:
                self.size[to] += len(data)
            send(link, data)

        self.patch(kind, "sendRaw", sendRaw)
        self.link.crossed.clear()

    def names(self) -> list[str]:
        """Return what has crossed since the last call: "presence", and the names of elements."""
        found = [ElementTree.fromstring(text) for _, text in self.link.crossed]
        self.link.crossed.clear()
        return ["presence" if each.tag.endswith("}presence") else each[0].tag.partition("}")[2] for each in found]

    def test_unchanged(self) -> None:
        """
        Rules 18, 20, 21: after an outage and after a restart of either node, under 400 bytes cross each way, in one
        exchange, or in two if the mirror was restarted. The room has 100 occupants.
        """
        self.fill(100)
        self.link.cut()
        self.link.wait(200)
        self.assertIs(self.link.state, UplinkState.LOST)
        self.link.mend()
        self.link.crossed.clear()
        self.size.update({ROOM: 0, HERE: 0})
        self.link.wait(59)
        self.assertCosts("resume", "resume")
        for users in self.link.shown.values():
            users.clear()
        self.link.kill(self.link.down)
        self.link.wait(30)
        self.assertCosts("resume", "resume", "compare", "compare")
        self.link.kill(self.link.top)
        self.link.wait(20)
        self.assertCosts("resume", "resume")
        shown = {each.tag.partition("}")[2] for users in self.link.shown.values() for each in users}
        self.assertLessEqual(shown, {"iq"})
        self.assertEqual([len(each) for each in self.link.occupants()], [100, 100])

    def assertCosts(self, *names: str) -> None:
        """Exactly these elements have crossed, and under 400 bytes each way."""
        self.assertEqual(self.names(), list(names))
        self.assertLess(max(self.size.values()), 400)
        self.size.update({ROOM: 0, HERE: 0})

    def test_kept(self) -> None:
        """Rule 20: what was kept is delivered before the nodes compare, so that it is no difference."""
        self.link.cut()
        self.link.leave("u1@a.example/1", HERE, "u1")
        self.link.leave("u2@b.example/1", ROOM, "u2")
        self.link.kill(self.link.down)
        self.link.crossed.clear()
        self.link.mend()
        self.link.wait(58)
        names = self.names()
        self.assertEqual(names.count("compare"), 2)
        self.assertEqual(*self.link.occupants())

    def test_otherOrder(self) -> None:
        """
        Rules 20, 21: the mirror was killed while the link was down. In the room its messages come after many
        others, which are all that the mirror still knows, and their sender has left. They do not come back.
        """
        said = [f"o{number}" for number in range(60)]
        self.link.say(ANN, HERE, "x")
        self.link.cut()
        self.link.say(ANN, HERE, "y")
        for body in said:
            self.link.say(OWN, ROOM, body)
        self.link.leave(ANN, HERE, "ann")
        self.link.kill(self.link.down)
        self.link.crossed.clear()
        self.link.mend()
        self.link.wait(90)
        self.assertIs(self.link.state, UplinkState.JOINED)
        self.assertEqual(self.link.heard(OWN), ["o", "a", "x", *said, "y"])
        back = [text for domain, text in self.link.crossed if domain == TOP and "delay" in text]
        self.assertEqual(back, [])
        shown = ["x", "y", *said] if self.mode is Mode.PRIMARY else ["x", *said, "y"]
        self.assertEqual(self.link.heard(BEN)[2:], shown)
        self.assertEqual(*self.link.occupants())

    def test_askedEarly(self) -> None:
        """
        Rule 20: a room that was killed, and is a mirror itself, asks the mirror to compare before it has got all
        that this mirror has kept. What a user has said before the leave is not refused.
        """
        self.link.cut()
        self.link.say(ANN, HERE, "y")
        self.link.leave(ANN, HERE, "ann")
        self.link.kill(self.link.top)
        self.link.isLost = lambda sender, text: "body>y<" in text
        self.link.wait(20)
        self.link.crossed.clear()
        payload = f"<compare xmlns='{ns.CHANNEL}'/>"
        self.link.send(DOWN, f"<iq from='{ROOM}' to='{HERE}' type='get' id='q'>{payload}</iq>")
        self.link.wait(1)
        self.assertEqual([text for _, text in self.link.crossed if "compare" in text], [])
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(len([text for _, text in self.link.crossed if "compare" in text]), 2)
        self.assertEqual(self.link.heard(OWN)[-1], "y")
        self.assertEqual(self.link.errors(ANN), [])
        self.assertEqual(*self.link.occupants())

    def test_one(self) -> None:
        """Rules 22, 23: an occupant of each node whom the other one does not know: a few presences cross."""
        for side, jid, nick in ((self.link.down, HERE, "u2"), (self.link.top, ROOM, "u1")):
            room = side.rooms.rooms[jid]
            room.remove(room.occupants[nick])
            side.handler._perform(side.rooms.settled(room))
        self.link.settle()
        self.link.shown[ANN].clear()
        self.link.kill(self.link.down)
        self.link.wait(58)
        told = "".join(text for domain, text in self.link.crossed if domain == DOWN).count("occupant nick=")
        self.assertIn(told, range(1, 6))
        names = self.names()
        self.assertEqual(names[:6], ["resume", "resume", *["compare"] * 4])
        self.assertIn(names.count("presence"), range(2, 9))
        self.assertLess(max(self.size.values()), 4_000)
        shown = [each.get("from") for each in self.link.shown[ANN] if each.tag.endswith("}presence")]
        # Missing occupants are removed when the state is complete (rule 23).
        self.assertEqual(shown, [f"{HERE}/u2", f"{HERE}/u1"])
        up, down = self.link.occupants()
        self.assertEqual((up, len(up)), (down, COUNT - 1))

    def test_renewed(self) -> None:
        """
        Rules 17, 20, 21: the mirror has an old store again, in which its newest message is its own, and came to the
        room after another one. In the new epoch it asks for what follows the last message that surely came.
        """
        self.link.cut()
        self.link.say(OWN, ROOM, "p")
        self.link.say(ANN, HERE, "b")
        copy = list(self.link.down.store._session.connection.iterdump())
        self.link.mend()
        self.link.wait(60)
        last = ["p", "b"] if self.mode is Mode.REPLICA else ["b", "p"]
        self.assertEqual(self.link.heard(ANN), ["o", "a", *last])
        self.link.shown[ANN].clear()
        store = self.link.down.store = HeldStore()
        store._session = SqliteSession(connect(":memory:", 0))
        store._session.connection.executescript("\n".join(copy[1:-1]))
        self.link.kill(self.link.down)
        self.link.wait(60)
        self.assertEqual([each.epoch for each in self.link.down.channels.table.values()], [EPOCH + 1])
        self.assertEqual([len(each) for each in self.link.occupants()], [COUNT, COUNT])
        room = self.link.down.rooms.rooms[HERE]
        self.assertEqual(sorted(each.payload.raw[6:7] for each in room.history), [b"a", b"b", b"o", b"p"])
        self.assertIn("p", self.link.heard(ANN))
        self.assertEqual(self.link.heard(OWN), ["o", "a", "p", "b"])

    def test_hashes(self) -> None:
        """Hashes of another version: everything is compared."""
        self.patch(SharedState, "hashes", lambda state: "x")
        room = self.link.down.rooms.rooms[HERE]
        room.remove(room.occupants["u2"])
        self.link.down.handler._perform(self.link.down.rooms.settled(room))
        self.link.settle()
        self.link.kill(self.link.down)
        self.link.wait(58)
        self.assertGreaterEqual(self.names().count("presence"), COUNT)
        self.assertEqual([len(each) for each in self.link.occupants()], [COUNT, COUNT])


class ComparisonReplicaTests(ComparisonTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


class CollisionTests(LinkedCase):
    """Section 4.7: the rules for what has happened at both nodes while the link was down. The room decides."""

    def test_subjects(self) -> None:
        """XEP-0045 section 8.1: of two subjects, the one that reaches the room last is that of both nodes."""
        form = "<field var='muc#roomconfig_changesubject'><value>1</value></field>"
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{form}</x></query>"
        self.link.send(TOP, f"<iq type='set' id='c' from='{OWN}' to='{ROOM}'>{form}</iq>")
        for isCut in (False, True):
            if isCut:
                self.link.cut()
            for who, room, text in ((ANN, HERE, f"a{isCut}"), (OWN, ROOM, f"o{isCut}"), (ANN, HERE, f"b{isCut}")):
                inside = f"<subject>{text}</subject>"
                to = room.rpartition("@")[2]
                self.link.send(to, f"<message type='groupchat' from='{who}' to='{room}'>{inside}</message>")
            self.link.mend()
            self.link.wait(60)
            found = [self.link.top.rooms.rooms[ROOM].subject, self.link.down.rooms.rooms[HERE].subject]
            texts = [each is not None and each.payload.raw for each in found]
            self.assertEqual(texts, [f"<subject>b{isCut}</subject>".encode()] * 2)
            last = [each.findtext(f"{{{ns.COMPONENT_ACCEPT}}}subject") for each in self.link.shown[BEN]]
            self.assertEqual([text for text in last if text][-1], f"b{isCut}")


class CollisionReplicaTests(CollisionTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


class LostReplicaTests(LostTests):
    """The same in replica mode: the room decides about messages, so none can be shown while it is away."""

    mode = Mode.REPLICA

    def test_return(self) -> None:
        """XEP-0045 section 7.4: a message is refused to its sender while the link is down."""
        self.lose()
        self.link.say(ANN, HERE, "a")
        self.assertEqual(self.link.errors(ANN), ["recipient-unavailable"])
        self.link.say(OWN, ROOM, "o")
        self.mend()
        self.link.say(ANN, HERE, "b")
        down = f"The link to {ROOM} is down since 14:11 UTC; what you say is refused until it is back."
        self.assertHeard(down, f"The link to {ROOM} is up again.", "o", "b", users=(ANN, BEN))
        self.assertHeard("o", "b", users=(OWN,))

    def test_gone(self) -> None:
        """The room removes the occupants of a node that is away for too long; they join anew at the return."""
        self.lose()
        self.link.say(OWN, ROOM, "o")
        self.link.wait(GONE + 120)
        self.link.mend()
        self.link.wait(120)
        self.assertInside("ann", "ben", "own")
        self.assertEqual([self.link.heard(each).count("o") for each in (OWN, ANN, BEN)], [1, 1, 1])
