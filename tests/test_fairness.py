"""Fairness: for each service on a link in memory, one user sends as much as possible, another is still served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler

from gateway import ns
from gateway.delegation.compose import manage
from gateway.delegation.managing import Route
from gateway.errors import NoAnswer, OverBudget, ResourceLimit, Stopping, TooManyPending
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.values import Dialect
from gateway.interfaces import IStatusProvider
from gateway.muc.store import MIGRATIONS
from gateway.state.memory import MemoryStore
from gateway.stream.budget import BURST, Budget
from gateway.xml.errors import errorElement
from tests.delegation.support import FakeNamespace
from tests.reports import sentences
from tests.stream.memory import JID, World

BAD, GOOD = "bad@example.com", "good@example.com"
SERVER = "example.com"
MANY = 220_000


def join(user: str, room: str = "lobby", nick: str = "") -> bytes:
    """Return a user's join; the nick is the user's name by default."""
    nick = nick or user.partition("@")[0]
    return f"<presence from='{user}/r' to='{room}@{JID}/{nick}'><x xmlns='{ns.MUC}'/></presence>".encode()


class FairCase(SynchronousTestCase):
    """A link that counts the bytes sent, by recipient."""

    def setUp(self) -> None:
        self.world = World()
        self.link: Any = self.world.link

    def sent(self, data: bytes) -> bytes:
        """Return the output that an input causes, as bytes, because it is large."""
        before = len(self.world.server.value())
        self.world.server.say(data)
        # The end of the reactor turn.
        self.world.clock.advance(0)
        return self.world.server.value()[before:]


class RoomsTests(FairCase):
    """A room with 250 kB of history."""

    def setUp(self) -> None:
        super().setUp()
        self.handler(Rooms(JID, None, frozenset())).setHandlerParent(self.link)
        self.world.up()
        self.world.say(join(GOOD))
        body = "x" * 5_000
        for _ in range(50):
            self.sent(
                f"<message from='{GOOD}/r' to='lobby@{JID}' type='groupchat'><body>{body}</body></message>".encode()
            )

    def handler(self, rooms: Rooms) -> RoomsHandler:
        """Return the handler of rooms in memory."""
        return RoomsHandler(rooms)

    def test_rejoins(self) -> None:
        """Of 100 rejoins in 11 kB, a budget's worth is handled at once, the rest later; others do not wait."""
        before = len(self.world.server.value())
        out = self.sent(join(BAD) * 100)
        self.assertLess(len(out), BURST + 600_000)
        self.assertNotIn(errorElement(OverBudget), out)
        self.assertNotIn(b"resource-constraint", self.sent(join("third@example.com")))
        info = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertIn(
            b"result", self.sent(f"<iq type='get' id='1' from='{GOOD}/r' to='{JID}'>{info}</iq>".encode())
        )
        # Stanzas that the user sends after the joins are handled after them.
        message = f"<message from='{BAD}/r' to='lobby@{JID}' type='groupchat'><body>x</body></message>"
        self.assertEqual(self.sent(message.encode()), b"")
        self.world.wait(10)
        slowly = self.world.server.value()[before:]
        self.assertLess(len(slowly), BURST + 10 * BURST + 600_000)
        self.world.wait(30)
        out = self.world.server.value()[before:]
        refused = out.count(errorElement(OverBudget))
        # Stanzas that have waited for 20 seconds are refused.
        self.assertTrue(5 < refused < 30, refused)
        self.assertEqual(out.count(b"code='110'"), 100 - refused + 2)
        self.assertNotIn(b"resource-constraint", self.sent(join(BAD)))
        self.assertEqual(self.sent(message.encode()).count(b"<body>x</body>"), 3)

    def test_said(self) -> None:
        """The log names the user, once; the status page counts."""
        warnings: list[str] = []
        globalLogPublisher.addObserver(lambda event: warnings.append(str(event.get("news", ""))))
        self.sent(join(BAD) * 300)
        self.world.wait(2)
        [line] = [each for each in warnings if "users were refused" in each]
        self.assertIn(f"of 1 users were refused, over the answer budget: {BAD}", line)
        [refused, held] = sentences(IStatusProvider(self.link).report())
        self.assertIn("users whose budget is not full: 1", refused)
        self.assertRegex(held, r"stanzas that wait, of users over a budget: 1[89]\d; users: 1")

    def test_disco(self) -> None:
        """A user who is in no room and queries the list of rooms 400 times is the only one refused."""
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
        """A user who leaves while more joins are held than the limit is out; every join is answered."""
        before = len(self.world.server.value())
        gone = f"<presence from='{BAD}/r' to='lobby@{JID}/bad' type='unavailable'/>".encode()
        self.sent(join(BAD) * 300 + gone)
        self.world.wait(60)
        out = self.world.server.value()[before:]
        joined = out.count(b"code='110'") - 1
        self.assertEqual(joined + out.count(errorElement(OverBudget)), 300)
        self.assertLess(joined, 15)
        self.assertEqual(out.count(b"type='unavailable'"), 2)
        self.assertEqual(sentences(IStatusProvider(self.link).report())[1:], [])

    def test_leavesBehindJoins(self) -> None:
        """A leave that is held behind joins is always handled, so no ghost occupant stays."""
        gone = f"<presence from='{BAD}/r' to='den@{JID}/bad' type='unavailable'/>".encode()
        out = f"from='den@{JID}/bad' to='{GOOD}/r' type='unavailable'".encode()
        ends = (
            # It waits too long,
            lambda: self.world.wait(30),
            # or another session leaves, and the limit is reached,
            lambda: self.sent(join(BAD) * 300 + gone.replace(b"/r'", b"/s'")),
            # or the gateway stops.
            self.link.stopService,
        )
        for end in ends:
            self.sent(join(GOOD, room="den") + join(BAD, room="den"))
            self.sent(join(BAD) * 150 + gone)
            before = len(self.world.server.value())
            end()
            self.world.clock.advance(0)
            self.assertIn(out, self.world.server.value()[before:])
            self.world.wait(60)

    def test_otherLeaves(self) -> None:
        """A leave that is held behind a join of another room is handled, whatever happens to the join."""
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
        """While the stop waits for open requests no further joins are held: they would never be answered."""
        self.patch(RoomsHandler, "pending", 1)
        self.sent(join(BAD) * 100)
        self.link.stopService()
        self.assertEqual(self.sent(join(BAD)).count(errorElement(Stopping)), 1)


class StoredRoomsTests(RoomsTests):
    """The same where output waits for a store: the rest of a chunk is handled before anything is sent."""

    def handler(self, rooms: Rooms) -> RoomsHandler:
        """Return the handler of stored rooms."""
        return RoomsHandler(rooms, None, Commits(MemoryStore(MIGRATIONS), rooms.durability, self._later))

    def _later(self, act: Callable[[], object]) -> None:
        self.world.clock.callLater(0, act)


class SpeakerTests(FairCase):
    """A room with many occupants, one of whom sends much; the bytes sent are only counted."""

    MANY = 500

    def setUp(self) -> None:
        super().setUp()
        self.rooms = Rooms(JID, None, frozenset({"node.example"}))
        RoomsHandler(self.rooms).setHandlerParent(self.link)
        self.world.up()
        self.heard: Counter[bytes] = Counter()
        self.size = 0
        self.patch(self.world.server, "write", lambda data: None)
        self.crowd(self.MANY)
        self.world.wait(2)
        self.patch(self.world.server, "write", self.written)

    def written(self, data: bytes) -> None:
        self.size += len(data)
        for word in (b"<message ", b"<presence ", b"resource-constraint", b"policy-violation", b"<iq "):
            self.heard[word] += data.count(word)

    def crowd(self, count: int) -> None:
        for number in range(count):
            self.world.server.say(join(f"user{number}@example.com"))
        # The answers to their joins, whose number grows with its square, are not of interest.
        self.rooms.rooms[f"lobby@{JID}"].arrivals = None

    def speak(self, user: str, body: str, count: int = 1) -> int:
        """Send messages; return the number of those that all occupants get at once."""
        before = self.heard[b"<message "]
        message = f"<message from='{user}/r' to='lobby@{JID}' type='groupchat'><body>{body}</body></message>"
        self.world.server.say(message.encode() * count)
        return (self.heard[b"<message "] - before) // self.MANY

    def bad(self, number: int = 0) -> str:
        return f"user{number}@example.com"

    def test_bursts(self) -> None:
        """A burst of 60 short messages is sent at once, from one user or many, also after such a burst."""
        self.assertEqual(self.speak(self.bad(), "Hello, everybody!", 60), 60)
        self.assertEqual(sum(self.speak(self.bad(number), "Hello, everybody!") for number in range(60)), 60)
        self.assertEqual(self.link.budget.debts, {})
        self.assertEqual(self.link.fairness.held, {})
        self.world.wait(16.1)
        self.assertEqual(self.link.fairness.copies.debts, {})

    def test_flood(self) -> None:
        """One user cannot fill the link with 60 kB for each of 500 occupants; others are served as usual."""
        self.assertEqual(self.speak(self.bad(), "x" * 60_000, 200), 2)
        self.assertEqual(self.speak(self.bad(1), "x"), 1)
        for _ in range(8):
            self.world.wait(16)
            self.assertLess(self.speak(self.bad(), "x" * 60_000, 10), 3)
        # 128 seconds' worth, and what goes at once.
        self.assertLess(self.size, (128 * 2 + 64) * 1024 * 1024)
        # The others are refused, each once: there is no room for them, or they have waited for too long.
        self.world.wait(30)
        self.assertEqual(self.heard[b"policy-violation"], 0)
        self.assertEqual(self.heard[b"resource-constraint"] + self.heard[b"<message "] // self.MANY, 281)

    def test_slowed(self) -> None:
        """Short messages beyond the burst are delayed, in order, and not lost."""
        self.assertEqual(self.speak(self.bad(), "x", 240), 132)
        [held] = sentences(IStatusProvider(self.link).report())
        self.assertIn("users over a budget: 108; users: 1", held)
        before = self.heard[b"<message "]
        self.world.wait(5)
        self.assertIn((self.heard[b"<message "] - before) // self.MANY, range(30, 43))
        self.world.wait(12)
        self.assertEqual(self.heard[b"<message "] - before, 108 * self.MANY)
        self.assertEqual(self.heard[b"resource-constraint"], 0)
        self.assertEqual(self.link.fairness.held, {})

    def test_told(self) -> None:
        """The log and the status page report refused stanzas and their senders."""
        warnings: list[str] = []

        def observer(event: Any) -> None:
            warnings.append(str(event.get("news", "")))

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.speak(self.bad(), "x", 400)
        self.world.wait(2)
        self.assertIn("stanzas of 1 users were refused, over the budget of copies: user0@example.com", warnings[-1])
        shown = sentences(self.link.report())
        self.assertIn("stanzas refused, over a user's budget of copies for others: 68", shown)

    def test_presence(self) -> None:
        """Presence to many occupants counts in the same way: changes, other nicks, joins and leaves."""
        address = f"to='lobby@{JID}"
        shows = f"<presence from='user0@example.com/r' {address}/user0'><status>{'x' * 15_000}</status></presence>"
        nicks = [f"<presence from='user1@example.com/r' {address}/{nick}'/>" for nick in ("a", "b")]
        enters = join(self.bad(2)).decode()
        leaves = f"<presence from='user2@example.com/r' {address}/user2' type='unavailable'/>"
        for stanzas in (shows * 20, "".join(nicks) * 100, (leaves + enters) * 100):
            before = self.heard[b"<presence "]
            self.world.server.say(stanzas.encode())
            self.assertLess(self.heard[b"<presence "] - before, 140 * self.MANY)
        self.assertEqual(len(self.link.fairness.held), 3)

    def test_administration(self) -> None:
        """The copies that one request causes are charged as well, and the next request waits."""
        items = "".join(f"<item nick='user{number}' role='visitor'/>" for number in range(1, 99))
        query = f"<query xmlns='{ns.MUC_ADMIN}'>{items}</query>"
        request = f"<iq from='user0@example.com/r' to='lobby@{JID}' id='1' type='set'>{query}</iq>"
        self.world.server.say(request.encode())
        self.world.server.say(request.replace("visitor", "participant").encode())
        self.world.server.say(request.encode())
        self.assertEqual(self.heard[b"<iq "], 2)
        self.world.wait(17)
        self.assertEqual(self.heard[b"<iq "], 3)

    def test_overflow(self) -> None:
        """A user with the maximum of held stanzas who leaves, which drops them, cannot send sooner."""
        self.speak(self.bad(), "x", 400)
        gone = f"<presence from='user0@example.com/s' to='other@{JID}/user0' type='unavailable'/>"
        for _ in range(5):
            self.world.server.say(gone.encode())
            self.assertEqual(self.speak(self.bad(), "x", 200), 0)

    def test_tooLarge(self) -> None:
        """A message whose copies exceed 64 MiB together is refused, and is not in the history."""
        self.assertEqual(self.speak(self.bad(), "x" * 140_000), 0)
        self.assertEqual(self.heard[b"policy-violation"], 1)
        self.assertEqual(len(self.rooms.rooms[f"lobby@{JID}"].history), 0)
        self.assertNotIn(self.bad(), self.link.fairness.copies.debts)
        self.assertEqual(self.speak(self.bad(1), "x" * 130_000), 1)

    def test_nodes(self) -> None:
        """Users behind a joining node are refused individually; presence of a node is never held."""
        node, room = "m@node.example", f"lobby@{JID}"
        for nick in ("bad", "good"):
            self.world.server.say(
                f"<presence from='{node}/{nick}' to='{room}/{nick}'>"
                f"<fmuc xmlns='{ns.FMUC}' from='{nick}@x.example/r'/>"
                f"<x xmlns='{ns.MUC}'/><x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
                "</presence>".encode()
            )

        def speak(nick: str, count: int) -> int:
            before = self.heard[b"<message "]
            message = f"<message from='{node}/{nick}' to='{room}' type='groupchat'><body>x</body></message>"
            self.world.server.say(message.encode() * count)
            return (self.heard[b"<message "] - before) // self.MANY

        # Its join was the first.
        self.assertEqual(speak("bad", 200), 131)
        self.assertEqual(self.heard[b"resource-constraint"], 69)
        self.assertEqual(speak("good", 1), 1)
        whisper = f"<message from='{node}/bad' to='{room}/user1' type='chat'><body>x</body></message>"
        self.world.server.say(whisper.encode())
        self.assertEqual(self.heard[b"resource-constraint"], 69)
        before = self.heard[b"<presence "]
        self.world.server.say(f"<presence from='{node}/bad' to='{room}/bad' type='unavailable'/>".encode())
        self.assertEqual(self.heard[b"<presence "] - before, self.MANY)
        self.assertEqual(self.speak(self.bad(), "x"), 1)

    def test_everybodyAPeer(self) -> None:
        """If any domain may be a node, local users are still held, not refused."""
        self.rooms._peers = frozenset({"*"})
        self.assertEqual(self.speak(self.bad(), "x", 240), 132)
        self.assertEqual(list(self.link.fairness.held), [self.bad()])
        self.assertEqual(self.heard[b"resource-constraint"], 0)

    def test_stopped(self) -> None:
        """A link that is started again after a stop holds stanzas, and its rooms accept stanzas."""
        self.speak(self.bad(), "x", 140)
        self.link.stopService()
        self.world.wait(20)
        self.link.startService()
        self.world.server.accept()
        self.patch(self.world.server, "write", self.written)
        self.crowd(self.MANY)
        self.world.wait(2)
        self.assertEqual(self.speak(self.bad(), "x", 240), 132)
        self.assertEqual(len(self.link.fairness.held), 1)


class DelegationTests(FairCase):
    """Delegated requests: the requester is in the wrapper, and the stanza's sender is the server."""

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
        """Answer all waiting requests with 220 kB each, or another size."""
        before = len(self.world.server.value())
        waiting, self.waiting = self.waiting, []
        for _, answer in waiting:
            payload = domish.Element(("urn:q", "q"))
            payload.addContent("x" * size)
            answer.callback(payload)
        return self.world.server.value()[before:]

    def test_later(self) -> None:
        """Of 400 gets of 220 kB, answered later, a budget's worth is sent, the others get errors, once each."""
        self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(400)))
        self.sent(self.ask(GOOD, "g"))
        # Even with many of them, few are answered before another user's request.
        self.assertEqual([user for user, _ in self.waiting], [f"{BAD}/r"] * 16 + [f"{GOOD}/r"])
        out, asked = b"", 0
        while self.waiting:
            asked += len(self.waiting)
            out += self.settle()
        # If the answer would be refused anyway, the handler is not called.
        self.assertLess(asked, BURST // MANY + 20)
        self.assertLess(len(out), BURST + 3 * MANY)
        self.assertEqual(out.count(b"</iq></forwarded>"), 401)
        self.assertEqual(out.count(errorElement(OverBudget)), 400 - BURST // MANY - 1)
        self.assertEqual(self.link.pending, 0)
        self.assertIn(b"x" * MANY, out[out.index(b"id='g'") :])
        # From now on no handler is called.
        self.assertEqual(self.sent(self.ask(BAD, "b", "set")).count(errorElement(OverBudget)), 1)
        self.assertEqual(self.waiting, [])
        self.assertEqual(self.sent(self.ask(GOOD, "g2")), b"")

    def test_tooLarge(self) -> None:
        """Answers that are too large for any server are charged as well, and rarely logged."""
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
        """If the server does not read, results without room become errors; one for each request."""
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
        self.assertEqual(out.count(errorElement(ResourceLimit)), 7)
        self.assertEqual(self.link.pending, 0)

    def test_givenUp(self) -> None:
        """Requests that wait for their turn are answered in time, and then no handler is called for them."""
        self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(40)))
        before = len(self.world.server.value())
        self.world.wait(26)
        self.assertEqual(self.world.server.value()[before:].count(errorElement(NoAnswer)), 40)
        self.assertEqual((len(self.waiting), self.link.pending), (16, 0))
        self.sent(self.ask(BAD, "b"))
        self.assertEqual(len(self.waiting), 17)

    def test_open(self) -> None:
        """10,000 requests that are never answered: one account keeps its fair share, and others are accepted."""
        out = self.sent(b"".join(self.ask(BAD, f"b{number}") for number in range(10_000)))
        self.assertEqual(out.count(errorElement(TooManyPending)), 8_000)
        self.assertEqual(self.sent(self.ask(GOOD, "g")), b"")
        self.assertEqual([user for user, _ in self.waiting[-1:]], [f"{GOOD}/r"])


class LaneTests(FairCase):
    """An ordinary Wokkel handler with large answers."""

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
        """The same, with answers at once or later."""
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
    """A mirror: the result of a join comes when the joined room answers."""

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
        """Join, and let the joined room accept."""
        nick = user.partition("@")[0]
        self.sent(f"<presence from='{user}/r' to='{self.room}/{nick}'><x xmlns='{ns.MUC}'/></presence>".encode())
        return self.sent(self.shown(nick, f"{user}/r"))

    def shown(self, nick: str, real: str, more: str = "") -> bytes:
        x = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{real}'/></x>"
        return f"<presence from='{self.above}/{nick}' to='{self.room}'>{more}{x}</presence>".encode()

    def test_late(self) -> None:
        """The joining user is charged, not the joined room that has sent the answer, whoever else joins."""
        shown = [self.shown(f"n{number}", f"n{number}@talk.example.net/r") for number in range(300)]
        self.sent(b"".join(shown[:150]))
        self.assertEqual(self.link.budget.debts, {})
        self.assertGreater(len(self.enter(BAD)), 150 * 200)
        self.assertEqual(list(self.link.budget.debts), [BAD])
        # The answer to a join of a larger room has portions.
        self.sent(b"".join(shown[150:]))
        before = len(self.world.server.value())
        self.enter("late@example.com")
        self.world.wait(1)
        self.assertGreater(len(self.world.server.value()) - before, 300 * 200)
        self.assertIn("late@example.com", self.link.budget.debts)

    def test_alone(self) -> None:
        """Stanzas that are caused by another user are not charged to their recipient."""
        large = self.shown("n", "n@talk.example.net/r", f"<status>{'x' * 15_000}</status>")
        self.assertGreater(len(self.sent(large * 3)), 3 * 15_000)
        self.assertEqual(self.link.budget.debts, {})

    def test_speakers(self) -> None:
        """A local user is charged for copies of returned stanzas; stanzas of others elsewhere are not charged."""
        nicks = [f"user{number}" for number in range(1_000)]
        for nick in nicks:
            self.enter(f"{nick}@{SERVER}")
            self.world.server.clear()

        def back(nick: str, count: int) -> None:
            addresses = f"from='{self.above}/{nick}' to='{self.room}'"
            self.world.server.clear()
            message = f"<message {addresses} type='groupchat'><body>x</body></message>"
            self.world.server.say(message.encode() * count)

        self.sent(self.shown("other", "other@talk.example.net/r"))
        self.world.wait(20)
        back("other", 80)
        self.assertEqual(self.link.fairness.copies.debts, {})
        back("user7", 80)
        self.assertEqual(list(self.link.fairness.copies.debts), [f"user7@{SERVER}"])
        said = f"<message from='user7@{SERVER}/r' to='{self.room}' type='groupchat'><body>x</body></message>"
        self.world.server.clear()
        self.assertEqual(self.sent(said.encode()), b"")
        self.assertIn(self.above.encode(), self.sent(said.replace("user7", "user8").encode()))
        debts = dict(self.link.fairness.copies.debts)
        # The mirror does not know this one, and joins anew.
        back("nobody", 80)
        self.assertEqual(self.link.fairness.copies.debts, debts)
