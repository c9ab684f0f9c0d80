"""Each service on a link in memory: one user takes all that can be had, and another one is served as ever."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler

from gateway import ns
from gateway.delegation.managing import Route
from gateway.delegation.plugin import manage
from gateway.errors import NoAnswer, OverBudget, Stopping, TooManyPending, TooMuch
from gateway.fmuc.core import Mirroring, Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.values import Dialect
from gateway.interfaces import IReporting
from gateway.stream.budget import BURST, Budget
from gateway.stream.stanzas import errorElement
from tests.delegation.support import FakeNamespace
from tests.stream.memory import JID, World

BAD, GOOD = "bad@example.com", "good@example.com"
SERVER = "example.com"
MANY = 220_000


def join(user: str, room: str = "lobby", nick: str = "") -> bytes:
    """Somebody's join, by the name as the nick unless said otherwise."""
    nick = nick or user.partition("@")[0]
    return f"<presence from='{user}/r' to='{room}@{JID}/{nick}'><x xmlns='{ns.MUC}'/></presence>".encode()


class FairCase(SynchronousTestCase):
    """The bytes that a server hears, by the user whom they are for."""

    def setUp(self) -> None:
        self.world = World()
        self.link: Any = self.world.link

    def sent(self, data: bytes) -> bytes:
        """Return the output that it causes, as bytes: there is much of it."""
        before = len(self.world.server.value())
        self.world.server.say(data)
        return self.world.server.value()[before:]


class RoomsTests(FairCase):
    """A room with 250 kB of history."""

    def setUp(self) -> None:
        super().setUp()
        RoomsHandler(Rooms(JID, None, frozenset())).setHandlerParent(self.link)
        self.world.up()
        self.world.say(join(GOOD))
        body = "x" * 5_000
        for _ in range(50):
            self.sent(
                f"<message from='{GOOD}/r' to='lobby@{JID}' type='groupchat'><body>{body}</body></message>".encode()
            )

    def test_rejoins(self) -> None:
        """100 rejoins in 11 kB: a budget's worth is handled at once, others later, in order; nobody else waits."""
        before = len(self.world.server.value())
        out = self.sent(join(BAD) * 100)
        self.assertLess(len(out), BURST + 600_000)
        self.assertNotIn(errorElement(OverBudget), out)
        self.assertNotIn(b"resource-constraint", self.sent(join("third@example.com")))
        info = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertIn(
            b"result", self.sent(f"<iq type='get' id='1' from='{GOOD}/r' to='{JID}'>{info}</iq>".encode())
        )
        # What the user says after the joins comes after them.
        message = f"<message from='{BAD}/r' to='lobby@{JID}' type='groupchat'><body>x</body></message>"
        self.assertEqual(self.sent(message.encode()), b"")
        self.world.wait(10)
        slowly = self.world.server.value()[before:]
        self.assertLess(len(slowly), BURST + 10 * BURST + 600_000)
        self.world.wait(30)
        out = self.world.server.value()[before:]
        refused = out.count(errorElement(OverBudget))
        # What has waited for 20 seconds is refused.
        self.assertTrue(5 < refused < 30, refused)
        self.assertEqual(out.count(b"code='110'"), 100 - refused + 2)
        self.assertNotIn(b"resource-constraint", self.sent(join(BAD)))
        self.assertEqual(self.sent(message.encode()).count(b"<body>x</body>"), 3)

    def test_said(self) -> None:
        """The log names who it was, once; the status page counts."""
        warnings: list[str] = []
        globalLogPublisher.addObserver(lambda event: warnings.append(str(event.get("news", ""))))
        self.sent(join(BAD) * 300)
        self.world.wait(2)
        [line] = [each for each in warnings if "users refused" in each]
        self.assertIn(f"of 1 users refused, who were sent too much: {BAD}", line)
        [refused, held] = IReporting(self.link).report()
        self.assertIn("users that are charged: 1", refused)
        self.assertRegex(held, r"stanzas held, of users who were sent much: 1[89]\d; users: 1")

    def test_disco(self) -> None:
        """A user who is in no room, and asks 400 times which rooms there are, is refused alone, too."""
        for number in range(100):
            self.sent(join(f"user{number}@example.com", room="r" * 900 + str(number)))
        items = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
        info = b"".join(
            f"<iq type='get' id='{number}' from='{BAD}/r' to='{JID}'>{items}</iq>".encode() for number in range(400)
        )
        out = self.sent(info)
        self.assertLess(len(out), BURST + 500_000)
        self.assertEqual(out.count(b"</iq>"), 400)
        self.assertGreater(out.count(errorElement(OverBudget)), 100)
        asked = f"<iq type='get' id='1' from='{GOOD}/r' to='{JID}'>{items}</iq>".encode()
        self.assertIn(b"type='result'", self.sent(asked))

    def test_leaves(self) -> None:
        """A user who leaves while joins are held, more than there is room for, is out; every join is answered."""
        before = len(self.world.server.value())
        gone = f"<presence from='{BAD}/r' to='lobby@{JID}/bad' type='unavailable'/>".encode()
        self.sent(join(BAD) * 300 + gone)
        self.world.wait(60)
        out = self.world.server.value()[before:]
        joined = out.count(b"code='110'") - 1
        self.assertEqual(joined + out.count(errorElement(OverBudget)), 300)
        self.assertLess(joined, 15)
        self.assertEqual(out.count(b"type='unavailable'"), 2)
        self.assertEqual(list(IReporting(self.link).report())[1:], [])

    def test_leavesBehindJoins(self) -> None:
        """A leave that is held behind joins is a leave, whatever becomes of them: nobody is in as a ghost."""
        gone = f"<presence from='{BAD}/r' to='den@{JID}/bad' type='unavailable'/>".encode()
        out = f"from='den@{JID}/bad' to='{GOOD}/r' type='unavailable'".encode()
        ends = (
            # It waits for too long,
            lambda: self.world.wait(30),
            # or another session leaves, and there is room for nothing more,
            lambda: self.sent(join(BAD) * 300 + gone.replace(b"/r'", b"/s'")),
            # or the gateway stops.
            self.link.stopService,
        )
        for end in ends:
            self.sent(join(GOOD, room="den") + join(BAD, room="den"))
            self.sent(join(BAD) * 150 + gone)
            before = len(self.world.server.value())
            end()
            self.assertIn(out, self.world.server.value()[before:])
            self.world.wait(60)

    def test_otherLeaves(self) -> None:
        """A leave that is held behind a join, of another room, is a leave, whatever becomes of the join."""
        gone = f"<presence from='{BAD}/r' to='other@{JID}/bad' type='unavailable'/>".encode()
        hears = f"from='other@{JID}/bad' to='{GOOD}/r' type='unavailable'".encode()
        self.sent(join(GOOD, room="other"))
        for more in (b"", join(BAD) * 300 + gone.replace(b"other", b"lobby")):
            self.world.wait(10)
            self.assertIn(b"code='110'", self.sent(join(BAD, room="other")))
            before = len(self.world.server.value())
            self.link.budget.charge(BAD, 2 * BURST, self.link.now)
            self.sent(join(BAD) + gone + more)
            for _ in range(50):
                self.link.budget.charge(BAD, 2 * BURST, self.link.now)
                self.world.wait(0.5)
            self.assertEqual(self.world.server.value()[before:].count(hears), 1)

    def test_stops(self) -> None:
        """Joins that are held when the gateway stops are refused at once."""
        self.sent(join(BAD) * 100)
        before = len(self.world.server.value())
        self.link.stopService()
        self.assertGreater(self.world.server.value()[before:].count(errorElement(Stopping)), 85)

    def test_stopsLater(self) -> None:
        """No more are held while the stop waits for what is open: they would never be answered."""
        self.patch(RoomsHandler, "pending", 1)
        self.sent(join(BAD) * 100)
        self.link.stopService()
        self.assertEqual(self.sent(join(BAD)).count(errorElement(Stopping)), 1)

    def test_fanOut(self) -> None:
        """Messages to many are no answer: a burst of them costs their sender nothing."""
        self.sent(b"".join(join(f"user{number}@example.com") for number in range(1_000)))
        message = f"<message from='{GOOD}/r' to='lobby@{JID}' type='groupchat'><body>{'x' * 1_000}</body></message>"
        self.world.wait(17)
        away = f"<presence from='{GOOD}/r' to='lobby@{JID}/good'><show>away</show></presence>"
        self.sent((message * 60 + away * 60 + away.replace("good", "user7") * 60).encode())
        self.assertEqual(self.link.budget.debts, {})


class DelegationTests(FairCase):
    """The requester stands in the wrapper; the stanza's sender is the server."""

    def setUp(self) -> None:
        super().setUp()
        self.waiting: list[tuple[str, Deferred[Any]]] = []
        handler = FakeNamespace(self.answer, namespaces=frozenset({"urn:q"}))
        manage(self.link, {"urn:q": Route(handler)}, frozenset({SERVER}))
        self.world.up()

    def answer(self, request: Any) -> Deferred[Any]:
        self.waiting.append((request.requester, Deferred()))
        return self.waiting[-1][1]

    def ask(self, user: str, identifier: str, kind: str = "get") -> bytes:
        inner = f"<iq xmlns='{ns.CLIENT}' from='{user}/r' id='1' type='{kind}'><q xmlns='urn:q'/></iq>"
        wrapped = f"<forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded>"
        return (
            f"<iq from='{SERVER}' to='{JID}' type='set' id='{identifier}'>"
            f"<delegation xmlns='{ns.DELEGATION_2}'>{wrapped}</delegation></iq>".encode()
        )

    def settle(self, size: int = MANY) -> bytes:
        """Let all who wait have 220 kB each, or as much as is said."""
        before = len(self.world.server.value())
        waiting, self.waiting = self.waiting, []
        for _, answer in waiting:
            payload = domish.Element(("urn:q", "q"))
            payload.addContent("x" * size)
            answer.callback(payload)
        return self.world.server.value()[before:]

    def test_later(self) -> None:
        """400 gets of 220 kB, answered later: the budget's worth is sent, the rest are errors; each once."""
        self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(400)))
        self.sent(self.ask(GOOD, "g"))
        # However many of them there are, few are before another user's.
        self.assertEqual([user for user, _ in self.waiting], [f"{BAD}/r"] * 16 + [f"{GOOD}/r"])
        out, asked = b"", 0
        while self.waiting:
            asked += len(self.waiting)
            out += self.settle()
        # Once it is certain that nothing will come of it, the handler is not asked.
        self.assertLess(asked, BURST // MANY + 20)
        self.assertLess(len(out), BURST + 3 * MANY)
        self.assertEqual(out.count(b"</iq></forwarded>"), 401)
        self.assertEqual(out.count(errorElement(OverBudget)), 400 - BURST // MANY - 1)
        self.assertEqual(self.link.pending, 0)
        self.assertIn(b"x" * MANY, out[out.index(b"id='g'") :])
        # From now on nobody is asked.
        self.assertEqual(self.sent(self.ask(BAD, "b", "set")).count(errorElement(OverBudget)), 1)
        self.assertEqual(self.waiting, [])
        self.assertEqual(self.sent(self.ask(GOOD, "g2")), b"")

    def test_tooLarge(self) -> None:
        """Answers that no server takes cost as much to make: they are charged, too, and seldom logged."""
        told: list[str] = []

        def observer(event: Any) -> None:
            told.extend([event["told"]] if "told" in event else [])

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for many in (5_000_000, 3 * MANY):
            self.world.wait(10)
            asked = 0
            self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(400)))
            while self.waiting:
                asked += len(self.waiting)
                self.settle(many)
            self.assertLess(asked, BURST // many + 20)
        self.assertEqual(len(told), 1)
        self.world.wait(70)
        self.sent(self.ask(BAD, "b"))
        self.settle(many)
        self.assertEqual(len(told), 2)
        self.assertRegex(told[1], rf"the answer for urn:q has \d+ bytes; {BAD}/r got an error \(and \d+ more")

    def test_noRoom(self) -> None:
        """Results for which there is no room, because the server does not read, are errors inside; one for each."""
        self.link.budget = Budget(10 * MANY)
        self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(10)))
        protocol = self.world.server.protocol
        protocol.fullBytes = 3 * MANY
        protocol.pauseProducing()
        before = len(self.world.server.value())
        self.settle()
        protocol.resumeProducing()
        out = self.world.server.value()[before:]
        self.assertEqual(out.count(b"</iq></forwarded>"), 10)
        self.assertEqual(out.count(errorElement(TooMuch)), 7)
        self.assertEqual(self.link.pending, 0)

    def test_givenUp(self) -> None:
        """Of those that wait for their turn each has its answer in time, too, and nobody is asked for them then."""
        self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(40)))
        before = len(self.world.server.value())
        self.world.wait(26)
        self.assertEqual(self.world.server.value()[before:].count(errorElement(NoAnswer)), 40)
        self.assertEqual((len(self.waiting), self.link.pending), (16, 0))
        self.sent(self.ask(BAD, "b"))
        self.assertEqual(len(self.waiting), 17)

    def test_open(self) -> None:
        """10,000 that are never answered: one account's fair share is kept, and others come in."""
        out = self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(10_000)))
        self.assertEqual(out.count(errorElement(TooManyPending)), 8_000)
        self.assertEqual(self.sent(self.ask(GOOD, "g")), b"")
        self.assertEqual([user for user, _ in self.waiting[-1:]], [f"{GOOD}/r"])


class LaneTests(FairCase):
    """An ordinary Wokkel handler that has much to tell."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[domish.Element] = []
        handler = XMPPHandler()
        handler.connectionInitialized = self.started
        self.handler = handler
        handler.setHandlerParent(self.link)
        self.world.up()

    def started(self) -> None:
        self.handler.xmlstream.addObserver("/iq[@type='get']", self.take)

    def take(self, iq: Any) -> None:
        iq.handled = True
        self.asked.append(iq)

    def test_later(self) -> None:
        """The same, at once or later."""
        self.sent(
            b"".join(
                f"<iq type='get' id='{number}' from='{user}/r' to='{JID}'><q xmlns='urn:q'/></iq>".encode()
                for user, count in ((BAD, 400), (GOOD, 1))
                for number in range(count)
            )
        )
        before = len(self.world.server.value())
        for iq in self.asked:
            result: Any = domish.Element((None, "iq"))
            result.attributes = {"type": "result", "id": iq["id"], "to": iq["from"], "from": iq["to"]}
            result.addElement(("urn:q", "q"), content="x" * MANY)
            self.handler.send(result)
        out = self.world.server.value()[before:]
        self.assertLess(len(out), BURST + 3 * MANY)
        self.assertEqual(out.count(b"</iq>"), 401)
        self.assertIn(b"x" * MANY, out[out.index(f"to='{GOOD}/r'".encode()) :])
        refused = self.sent(f"<iq type='get' id='x' from='{BAD}/r' to='{JID}'><q xmlns='urn:q'/></iq>".encode())
        self.assertIn(errorElement(OverBudget), refused)


class MirrorTests(FairCase):
    """A mirror: what a join brings comes when the room above answers."""

    def setUp(self) -> None:
        super().setUp()
        self.above = "lobby@talk.example.net"
        self.room = f"lobby\\40talk.example.net@{JID}"
        allow, users = frozenset({"talk.example.net"}), frozenset({SERVER})
        mirroring = Mirroring(dialect=Dialect.PROTOXEP, allow=allow, users=users)
        RoomsHandler(Rooms(JID, mirroring, frozenset())).setHandlerParent(self.link)
        self.world.up()
        self.enter(GOOD)
        self.sent(f"<message from='{self.above}' to='{self.room}' type='groupchat'><subject/></message>".encode())

    def enter(self, user: str) -> bytes:
        """Join, and let the room above agree."""
        nick = user.partition("@")[0]
        self.sent(f"<presence from='{user}/r' to='{self.room}/{nick}'><x xmlns='{ns.MUC}'/></presence>".encode())
        return self.sent(self.shown(nick, f"{user}/r"))

    def shown(self, nick: str, real: str, more: str = "") -> bytes:
        x = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{real}'/></x>"
        return f"<presence from='{self.above}/{nick}' to='{self.room}'>{more}{x}</presence>".encode()

    def test_late(self) -> None:
        """The user who has joined is charged, not the room above that has sent the answer, whoever else joins."""
        self.sent(b"".join(self.shown(f"n{number}", f"n{number}@talk.example.net/r") for number in range(200)))
        self.assertEqual(self.link.budget.debts, {})
        self.assertGreater(len(self.enter(BAD)), 200 * 200)
        self.assertEqual(list(self.link.budget.debts), [BAD])

    def test_alone(self) -> None:
        """Nobody is made to owe anything by what somebody else shows, also to one alone."""
        large = self.shown("n", "n@talk.example.net/r", f"<status>{'x' * 15_000}</status>")
        self.assertGreater(len(self.sent(large * 3)), 3 * 15_000)
        self.assertEqual(self.link.budget.debts, {})
