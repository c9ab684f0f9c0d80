"""Joins to large rooms on a link: other rooms, and those who are there already, share the connection."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from gateway import ns
from gateway.fmuc import pacing
from gateway.muc import welcome
from tests.fmuc.durable import ROOM as STORED
from tests.fmuc.durable import DurableCase
from tests.fmuc.support import MUC
from tests.fmuc.test_handler import ANN, ROOM, C, HandlerCase

EVE = "eve@e.example/1"
NODE = "mirror@node.example"
OTHER = f"other@{C}"
PORTION, COUNT = 10, 25
TURN = 0.001


class LargeCase(HandlerCase):
    """A large room, and a small one. A reactor turn takes a millisecond."""

    def setUp(self) -> None:
        super().setUp()
        for module in (welcome, pacing):
            self.patch(module, "PORTION", PORTION)
        clock = self.server.clock
        self.patch(self.server.link, "later", lambda seconds, act: clock.callLater(max(seconds, TURN), act))
        self.join()
        self.join(OTHER)
        for number in range(COUNT - 1):
            self.enter(f"n{number}", f"u{number}@a.example/1")
            self.work()
        self.server.taken()

    def enter(self, nick: str, who: str, room: str = ROOM) -> None:
        self.server.send(f"<presence from='{who}' to='{room}/{nick}'>{MUC}</presence>")

    def enterNode(self) -> None:
        """The first user of a node joins."""
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{EVE}'/></x>"
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{EVE}'/>"
        self.server.send(f"<presence from='{NODE}/eve' to='{ROOM}/eve'>{fmuc}{item}{MUC}</presence>")

    def work(self) -> None:
        """Let everything be sent."""
        while self.rooms.arriving:
            self.server.clock.advance(TURN)
            self.server.transport.clear()

    def of(self, who: str) -> list[Element]:
        """Return what one recipient is sent."""
        return [each for each in self.server.received() if each.get("to", "") == who]

    def say(self, room: str = OTHER) -> None:
        self.server.send(f"<message from='{ANN}' to='{room}' type='groupchat'><body>x</body></message>")


def names(elements: list[Element]) -> list[str]:
    """Return the names of elements."""
    return [each.tag.partition("}")[2] for each in elements]


class UserTests(LargeCase):
    """Users who join."""

    def test_portions(self) -> None:
        """One portion a reactor turn; others are told at once, and messages of other rooms come in between."""
        self.enter("eve", EVE)
        self.assertEqual(self.of(EVE), [])
        sizes = []
        for _ in range(3):
            self.say()
            self.assertEqual(len(self.of(ANN)), 1)
            self.server.clock.advance(TURN)
            sizes.append(len(self.of(EVE)))
        # The last portion has the own presence and the subject.
        self.assertEqual(sizes, [PORTION, PORTION, COUNT - 2 * PORTION + 2])
        self.server.clock.advance(1)
        self.assertEqual(self.of(EVE), [])

    def test_waits(self) -> None:
        """No portion is sent while earlier output has not left: what comes then waits for one portion at most."""
        self.enter("eve", EVE)
        producer = self.server.transport.producer
        producer.pauseProducing()
        self.server.wait(5)
        self.say()
        producer.resumeProducing()
        self.assertEqual([each.get("from") for each in self.server.received()][-1], f"{OTHER}/ann")
        self.server.clock.advance(0.02)
        self.assertEqual(len(self.of(EVE)), PORTION)

    def test_down(self) -> None:
        """While the link is down, nothing is sent; when it is back, the rest follows."""
        self.enter("eve", EVE)
        self.server.clock.advance(TURN)
        self.assertEqual(len(self.of(EVE)), PORTION)
        self.server.lose()
        self.server.wait(0.3)
        self.assertEqual(self.handler.pending, 1)
        self.server.restore()
        self.server.wait(1)
        self.assertEqual(len(self.of(EVE)), COUNT - PORTION + 2)
        self.assertEqual(self.handler.pending, 0)

    def test_charged(self) -> None:
        """The portions count for the user's budget of answers, as any answer to a join."""
        charged: list[tuple[str, int]] = []
        self.patch(self.server.link.budget, "charge", lambda user, size, now: charged.append((user, size)))
        self.enter("eve", EVE)
        while self.rooms.arriving:
            self.server.clock.advance(TURN)
        sent = [len(tostring(each)) for each in self.of(EVE)]
        sizes = [size for user, size in charged if user == EVE]
        self.assertEqual(len(sizes), 3)
        self.assertGreater(sum(sizes), sum(sent) / 2)

    def test_status(self) -> None:
        """The status page tells of joins that are being answered."""
        self.assertNotIn("rooms.arriving", [each.name for each in self.handler.report()])
        self.enter("eve", EVE)
        [item] = [each for each in self.handler.report() if each.name == "rooms.arriving"]
        self.assertEqual(item.values, {"count": 1})

    def test_stop(self) -> None:
        """A stop ends the joins: the rooms tell everybody, and nothing follows."""
        self.enter("eve", EVE)
        self.server.stop()
        self.assertEqual(names(self.of(EVE)), ["presence"])
        self.assertEqual(self.server.clock.getDelayedCalls(), [])


class NodeTests(LargeCase):
    """Nodes that join."""

    def test_portions(self) -> None:
        """A node gets its portions in turns, in the order of section 7.1, and what happens meanwhile after them."""
        self.enterNode()
        self.assertEqual(self.of(f"{NODE}/eve"), [])
        self.say(ROOM)
        found = []
        for _ in range(10):
            self.server.clock.advance(TURN)
            sent = [each for each in self.server.received() if (each.get("to") or "").startswith(NODE)]
            self.assertLessEqual(len(sent), PORTION)
            found += sent
        self.assertEqual(names(found[: COUNT + 1]), ["presence"] * (COUNT + 1))
        self.assertEqual(found[COUNT].get("from"), f"{ROOM}/eve")
        self.assertEqual(names(found[COUNT + 1 :]), ["message", "message"])
        self.assertEqual(found[-1].get("from"), f"{ROOM}/ann")
        self.say(ROOM)
        self.assertEqual(len([each for each in self.server.received() if (each.get("to") or "") == NODE]), 1)
        self.assertEqual(self.handler.pending, 0)

    def test_turns(self) -> None:
        """Nodes and users take turns: a user does not wait until a node has everything."""
        self.enterNode()
        self.enter("zoe", "zoe@z.example/1")
        self.server.clock.advance(TURN)
        self.server.clock.advance(TURN)
        self.assertEqual(len(self.of("zoe@z.example/1")), PORTION)

    def test_bounded(self) -> None:
        """A limited number of bytes waits for a node; then all are sent, in their order."""
        self.patch(pacing, "_MAX_LANE", 2_000)
        self.enterNode()
        sent = [each for each in self.server.received() if (each.get("to") or "").startswith(NODE)]
        self.assertEqual(names(sent), ["presence"] * (COUNT + 1) + ["message"])

    def test_stop(self) -> None:
        """A stop sends what waits for a node."""
        self.enterNode()
        self.server.stop()
        sent = [each for each in self.server.received() if (each.get("to") or "").startswith(NODE)]
        self.assertGreater(len(sent), COUNT)


class StoredTests(DurableCase):
    """Rooms that are stored."""

    def test_waits(self) -> None:
        """
        No portion is made while earlier output waits for the store: otherwise the portions of many joins would wait
        there, and be sent at once.
        """
        for module in (welcome, pacing):
            self.patch(module, "PORTION", PORTION)
        clock = self.server.clock
        for number in range(COUNT):
            self.server.send(f"<presence from='u{number}@a.example/1' to='{STORED}/n{number}'>{MUC}</presence>")
            clock.advance(0)
        self.server.transport.clear()
        self.store.isHeld = True
        self.server.send(f"<presence from='{EVE}' to='{STORED}/eve'>{MUC}</presence>")
        clock.pump([0.02] * 50)
        self.assertEqual(self.server.received(), [])
        arrivals = self.room.arrivals
        assert arrivals is not None
        self.assertIsNone(next(iter(arrivals.waiting.values())).unsent)
        self.store.isHeld = False
        self.store.commit()
        clock.pump([0.02] * 5)
        sent = [each for each in self.server.received() if each.get("to") == EVE]
        self.assertEqual(len(sent), COUNT + 2)

    def test_messages(self) -> None:
        """A user who talks all the time, so that output always waits for the store, holds up no join."""
        for module in (welcome, pacing):
            self.patch(module, "PORTION", PORTION)
        clock = self.server.clock
        for number in range(COUNT):
            self.server.send(f"<presence from='u{number}@a.example/1' to='{STORED}/n{number}'>{MUC}</presence>")
            clock.advance(0)
        self.server.send(f"<presence from='{EVE}' to='{STORED}/eve'>{MUC}</presence>")
        self.server.transport.clear()
        self.store.isHeld = True
        body = "<body>x</body>"
        text = f"<message type='groupchat' from='u0@a.example/1' to='{STORED}'>{body}</message>"
        self.server.send(text)
        for _ in range(4 * COUNT):
            self.server.send(text)
            self.store.commit()
            clock.pump([0.02])
        self.assertIsNone(self.room.arrivals)
        sent = [each for each in self.server.received() if each.get("to") == EVE]
        self.assertEqual(len([each for each in sent if each.tag.endswith("presence")]), COUNT + 1)
