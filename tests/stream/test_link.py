"""
The link stays up or reconnects, for any behaviour of servers, endpoints and handlers; with a clock and transports
in memory.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import Any

from OpenSSL.SSL import Error as TlsError
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError, StreamError
from twisted.words.protocols.jabber.jid import internJID
from twisted.words.protocols.jabber.xmlstream import STREAM_AUTHD_EVENT
from twisted.words.xish import domish
from twisted.words.xish.utility import EventDispatcher
from wokkel.component import Router, XMPPComponentServerFactory
from wokkel.ping import PingClientProtocol, PingHandler
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.interfaces import IRawHandler
from gateway.stream.backoff import Backoff
from gateway.stream.core import Limits
from gateway.stream.link import Link
from gateway.stream.outbox import Outbox
from gateway.stream.requests import pingOf
from gateway.stream.stanzas import Stanza
from tests.stream.memory import HEADER, JID, SECRET, World
from tests.stream.odd import BROKEN


class Fault(Exception):
    """An exception of the tests' handlers."""


class Silent(XMPPHandler):
    """Takes each request, and never answers it."""

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/iq[@type='get']", self._take)

    def _take(self, iq: Any) -> None:
        iq.handled = True


@implementer(IRawHandler)
class RawHandler(XMPPHandler):
    """Takes stanzas as C{takes} decides, and keeps all of them."""

    def __init__(self, takes: bool = True) -> None:
        super().__init__()
        self.takes = takes
        self.faulty: set[str] = set()
        self.pending = 0
        self.seen: list[str | None] = []
        self.ticks = 0
        self.drains = 0
        self.ended = 0

    def _happens(self, what: str) -> None:
        if what in self.faulty:
            raise Fault(what)

    def stanzaReceived(self, stanza: Stanza) -> bool:
        self._happens("stanza")
        self.seen.append(stanza.id)
        return self.takes

    def tick(self, now: float) -> None:
        self._happens("tick")
        self.ticks += 1

    def drain(self) -> None:
        self._happens("drain")
        self.drains += 1

    def drained(self) -> None:
        self._happens("drained")
        self.ended += 1


def streamError(condition: str) -> bytes:
    """Return a server's stream error and end of the stream."""
    return f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>".encode()


class ReconnectTests(SynchronousTestCase):
    """Connections and reconnections."""

    def setUp(self) -> None:
        self.world = World()
        self.link = self.world.link
        self.link.tickEvery = 3600.0

    def gap(self) -> float:
        """Return the seconds until the next attempt, which is made."""
        made = self.world.endpoint.attempts
        [retry] = [call for call in self.world.clock.getDelayedCalls() if call.func == self.link._connect]
        seconds = float(retry.getTime() - self.world.clock.seconds())
        self.world.clock.advance(seconds)
        self.assertEqual(self.world.endpoint.attempts, made + 1)
        return seconds

    def test_serverDownAtStart(self) -> None:
        """A link may start before its server: it is not ready, says why, and is ready when the server has come."""
        self.world.endpoint.mode = "refuse"
        self.link.startService()
        self.assertEqual(self.link.ready, False)
        self.assertIn("refused", self.link.trouble)
        self.gap()
        self.world.endpoint.mode = "connect"
        self.gap()
        self.world.server.accept()
        self.assertEqual((self.link.ready, self.link.trouble), (True, ""))

    def test_backoff(self) -> None:
        """
        For ten seconds the attempts are quick. Then the intervals grow up to 30 s, partly random, and the attempts
        never end.
        """
        for mode in ("refuse", "raise"):
            self.setUp()
            self.world.endpoint.mode = mode
            self.link.startService()
            gaps = [self.gap() for _ in range(2500)]
            self.assertEqual(len([gap for gap, end in zip(gaps, accumulate(gaps), strict=True) if end < 10]), 27)
            self.assertLessEqual(max(gaps[:27]), 0.51)
            self.assertLessEqual(max(gaps), 30.0)
            self.assertGreaterEqual(min(gaps[37:]), 15.0)
            self.assertGreater(len(set(gaps[10:])), 100)
            self.world.endpoint.mode = "connect"
            self.gap()
            self.world.server.accept()
            self.assertTrue(self.link.ready)

    def test_jitterDiffers(self) -> None:
        """Two gateways do not reconnect at the same times."""
        gaps = set()
        for seed in (1, 2):
            self.setUp()
            self.link._backoff = Backoff(1.0, 30.0, Random(seed))
            self.world.endpoint.mode = "refuse"
            self.link.startService()
            gaps.add(self.gap())
        self.assertEqual(len(gaps), 2)

    def test_quickAfterLoss(self) -> None:
        """After a stream that was up the next attempt is within a second, after any number of losses."""
        self.link.startService()
        for _ in range(50):
            self.world.server.accept()
            self.assertTrue(self.link.ready)
            self.world.clock.advance(10)
            self.world.server.lose(ConnectionLost())
            self.assertFalse(self.link.ready)
            self.assertLessEqual(self.gap(), 1.0)

    def test_cutAtOnce(self) -> None:
        """If a server accepts and disconnects soon after, the intervals grow at last, until a stream lasts."""
        self.link.startService()
        gaps = []
        for _ in range(50):
            self.world.server.accept()
            self.world.clock.advance(9)
            self.world.server.lose(ConnectionLost())
            gaps.append(self.gap())
        self.assertLessEqual(gaps[0], 1.0)
        self.assertGreaterEqual(min(gaps[37:]), 15.0)
        self.world.server.accept()
        self.world.clock.advance(10)
        self.world.server.lose(ConnectionLost())
        self.assertLessEqual(self.gap(), 1.0)

    def test_unreachable(self) -> None:
        """If the server cannot be reached, the log names the address, and advice."""
        for reason, words in (
            (error.ConnectionRefusedError("111"), ("nothing listens at tcp:example.com:5347", "server running")),
            (ConnectError(2, "No such file"), ("nothing listens at tcp:example.com:5347", "for components")),
            (ConnectError(13, "Permission denied"), ("Permission denied",)),
            (DNSLookupError("no"), ("the host of tcp:example.com:5347 does not exist", "name")),
            (error.ConnectionDone(), ("the server has closed the connection", "for components")),
            (error.ConnectionLost(), ("the server has closed the connection", "for components")),
            (TlsError([("SSL routines", "", "wrong version number")]), ("speak TLS", "wrong version number")),
            (error.TimeoutError(), ("nothing answers at tcp:example.com:5347", "firewall")),
        ):
            self.setUp()
            self.link._where = "tcp:example.com:5347"
            self.patch(self.world.endpoint, "connect", lambda factory, reason=reason: fail(reason))
            self.link.startService()
            for word in words:
                self.assertIn(word, self.link.trouble)
            self.assertNotIn("other side", self.link.trouble)

    def test_refusals(self) -> None:
        """
        A refusal that an operator must fix is logged with advice, without the secret; the next attempt is after the
        longest interval.
        """
        for condition, words in (
            ("not-authorized", "secret"),
            ("conflict", "another connection"),
            ("host-unknown", "does not know this component"),
        ):
            for accepted in (False, True):
                self.setUp()
                self.link.startService()
                if accepted:
                    self.world.server.accept()
                self.world.server.say((b"" if accepted else HEADER) + streamError(condition))
                self.world.clock.advance(0)
                self.assertIn(words, self.link.trouble)
                self.assertFalse(self.link.ready)
                self.assertGreaterEqual(self.gap(), 15.0)

    def test_nameTaken(self) -> None:
        """
        For a name in use Openfire sends a header without an id, and closes: this is logged, and tried again slowly.
        """
        self.link.startService()
        self.world.server.say(HEADER.replace(b" id='s1'", b""))
        self.world.server.lose(ConnectionDone())
        self.assertIn("is a second gateway running", self.link.trouble)
        self.assertIn("Server > Server Settings > External Components", self.link.trouble)
        self.assertFalse(self.link.ready)
        self.assertGreaterEqual(self.gap(), 15.0)

    def test_wrongPort(self) -> None:
        """A server's port for clients is recognised and logged, and tried again slowly."""
        self.link.startService()
        self.world.server.say(HEADER.replace(ns.COMPONENT_ACCEPT.encode(), ns.CLIENT.encode()))
        self.world.clock.advance(0)
        self.assertIn("not for components", self.link.trouble)
        self.assertGreaterEqual(self.gap(), 15.0)

    def test_logged(self) -> None:
        """The reason and the time of the next attempt are logged in one sentence."""
        self.world.endpoint.mode = "refuse"
        with capturedLogs() as logged:
            self.link.startService()
        self.assertRegex(formatEvent(logged[0]), r": not connected: .*[\w?] \(next try in 0\.\d s\)\.$")

    def test_lostBeforeAccepted(self) -> None:
        """A connection that ends before or during the handshake is tried again."""
        self.link.startService()
        self.world.server.lose(ConnectionLost())
        self.gap()
        self.world.server.say(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.world.clock.advance(0)
        self.assertIn("not-well-formed", self.link.trouble)
        self.gap()
        self.world.clock.advance(15)
        self.world.clock.advance(0)
        self.assertIn("in time", self.link.trouble)
        self.gap()
        self.world.server.accept()
        self.assertTrue(self.link.ready)

    def test_badInput(self) -> None:
        """After each kind of bad input the link comes up again, and reports the fault meanwhile."""
        world = World(Limits(stanzaSize=1000)).up()
        for wrong, condition in BROKEN.values():
            world.server.say(wrong)
            self.assertFalse(world.link.ready)
            self.assertIn(f"<{condition} ".encode(), world.server.value())
            world.wait(0.1)
            self.assertTrue(world.server.lost)
            self.assertIn(condition, world.link.trouble)
            world.wait(1.5)
            world.server.accept()
            self.assertTrue(world.link.ready)
            world.wait(10)


class OutputTests(SynchronousTestCase):
    """Times of output, and output while the link is down."""

    def test_waits(self) -> None:
        """
        Stanzas sent while the link is down go out in order when it is up, before those that handlers send then.
        """
        world = World()

        class Greeter(XMPPHandler):
            """Sends a stanza at once."""

            def connectionInitialized(self) -> None:
                self.send(domish.Element((None, "presence"), attribs={"to": "greeting"}))

        Greeter().setHandlerParent(world.link)
        for to in ("1", "2"):
            self.assertTrue(world.link.sendRaw(f"<message to='{to}'/>".encode()))
        world.link.startService()
        world.link.sendRaw(b"<message to='3'/>")
        self.assertEqual(world.server.heard(), [])
        world.server.accept()
        world.link.sendRaw(b"<message to='4'/>")
        # ejabberd with mod_privilege would drop it.
        self.assertEqual(world.server.heard(), [])
        world.wait(0.3)
        world.link.sendRaw(b"<message to='5'/>")
        self.assertEqual([said[1]["to"] for said in world.server.heard()], ["1", "2", "3", "greeting", "4", "5"])

    def test_several(self) -> None:
        """Several stanzas are written at once; of those over the server's limit, each is refused by itself."""
        world = World(Limits(outgoingSize=100)).up()
        written: list[bytes] = []
        self.patch(world.server, "write", written.append)
        small = [f"<message to='{to}'/>".encode() for to in "12"]
        world.link.sendSeveral(small)
        self.assertEqual(written, [b"".join(small)])
        world.link.sendSeveral([small[0], b"<message to='3'>" + b"x" * 100 + b"</message>", small[1]])
        self.assertEqual(written[1:], small)

    def test_afterInput(self) -> None:
        """
        A call after the input comes after all stanzas that came in one piece; without a stanza, or a connection, at
        the end of the reactor turn. If it raises, that is logged, and the connection stays.
        """
        world = World()
        called: list[int] = []

        class Counting(RawHandler):
            """Asks for a call at each stanza."""

            def stanzaReceived(self, stanza: Stanza) -> bool:
                world.link.afterInput(lambda: called.append(len(self.seen)))
                return super().stanzaReceived(stanza)

        raw = Counting()
        raw.setHandlerParent(world.link)

        def fail() -> None:
            called.append(-1)
            raise Fault

        world.link.afterInput(fail)
        self.assertEqual(called, [])
        world.clock.advance(0)
        self.assertEqual(called, [-1])
        world.up()
        world.say(b"<message from='a@b'/>" * 3)
        self.assertEqual(called, [-1, 3, 3, 3])
        world.server.protocol.together(lambda: world.link.afterInput(fail))
        world.link.afterInput(fail)
        self.assertEqual(called, [-1, 3, 3, 3, -1])
        world.clock.advance(0)
        self.assertEqual(called, [-1, 3, 3, 3, -1, -1])
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 3)
        world.say(b"<message from='a@b'/>")
        self.assertEqual(called[6:], [4])

    def test_nothingWaits(self) -> None:
        """If no output waits, stanzas are sent at once."""
        world = World().up()
        world.link.sendRaw(b"<message to='1'/>")
        self.assertEqual([said[1]["to"] for said in world.server.heard()], ["1"])

    def test_waitsStill(self) -> None:
        """
        If a connection is lost at once, waiting output is kept; if it is closed at once, waiting output is sent
        before.
        """
        world = World()
        world.link.sendRaw(b"<message to='1'/>")
        world.up()
        world.server.say(b"</stream:stream>")
        self.assertEqual(world.server.heard(), [])
        world.wait(1.5)
        world.server.accept()
        world.link.stopService()
        self.assertEqual([said[1]["to"] for said in world.server.heard()], ["1"])

    def test_deadline(self) -> None:
        """Stanzas that have waited too long are dropped, and no others."""
        world = World()
        world.endpoint.mode = "refuse"
        world.link.startService()
        world.link.sendRaw(b"<message to='1'/>")
        world.wait(25)
        world.link.sendRaw(b"<message to='2'/>")
        world.endpoint.mode = "connect"
        while not world.endpoint.transports:
            world.wait(1)
        world.server.accept()
        world.wait(0.3)
        self.assertGreater(world.clock.seconds(), 31)
        self.assertEqual([said[1]["to"] for said in world.server.heard()], ["2"])

    def test_bound(self) -> None:
        """Over the limit stanzas are refused; once the link is up they are accepted again."""
        world = World()
        world.link.outbox = Outbox(maxCount=2)
        taken = [world.link.sendRaw(f"<message to='{to}'/>".encode()) for to in range(4)]
        self.assertEqual(taken, [True, True, False, False])
        world.up()
        world.wait(0.3)
        self.assertTrue(world.link.sendRaw(b"<message to='9'/>"))
        self.assertEqual([said[1]["to"] for said in world.server.heard()], ["0", "1", "9"])

    def test_whileEnding(self) -> None:
        """Stanzas sent between the end of the stream and that of the connection are sent on the next connection."""
        for last in (b"</stream:stream>", b"<!-- x -->", streamError("system-shutdown")):
            world = World().up()
            world.server.say(last)
            self.assertTrue(world.link.sendRaw(b"<message to='1'/>"))
            self.assertTrue(world.server.value().endswith(b"</stream:stream>"))
            self.assertTrue(world.link.trouble)
            world.wait(1.5)
            world.server.accept()
            world.wait(0.3)
            self.assertEqual([said[1]["to"] for said in world.server.heard()], ["1"])


class WatchTests(SynchronousTestCase):
    """Dead connections."""

    def test_silence(self) -> None:
        """A server that is silent for a minute is pinged once; if it stays silent, it is disconnected."""
        world = World(domain="example.com").up()
        world.wait(58)
        self.assertEqual(world.server.heard(), [])
        world.wait(4)
        [(name, attributes, [(ping, _, _)])] = world.server.heard()
        self.assertEqual((name, ping), (f"{{{ns.COMPONENT_ACCEPT}}}iq", f"{{{ns.PING}}}ping"))
        self.assertEqual(
            (attributes["to"], attributes["from"], attributes["type"]), ("example.com/ping", JID, "get")
        )
        world.wait(27)
        self.assertFalse(world.server.aborted)
        first = world.server
        world.wait(5)
        self.assertTrue(first.aborted)
        self.assertIn("does not respond", world.link.trouble)

    def test_sleep(self) -> None:
        """After a suspend of the machine the server is pinged first, and has half a minute to answer."""
        world = World(domain="example.com").up()
        for answers in (True, False):
            heard = len(world.server.heard())
            world.clock.advance(7200)
            self.assertEqual(len(world.server.heard()), heard + 1)
            world.wait(29)
            self.assertFalse(world.server.aborted)
            if answers:
                world.server.say(b" ")
                world.wait(29)
                self.assertTrue(world.link.ready)
        first = world.server
        world.wait(3)
        self.assertTrue(first.aborted)

    def test_sleepWhileWriting(self) -> None:
        """A server that had output to read at the suspend has its minutes to read it."""
        world = World(domain="example.com").up()
        first = world.server
        first.protocol.pauseProducing()
        world.clock.advance(7200)
        world.wait(298)
        self.assertFalse(first.aborted)
        world.wait(6)
        self.assertTrue(first.aborted)

    def test_signsOfLife(self) -> None:
        """
        Any byte ends the silence, an error as the answer to the ping or white space; then a new minute begins.
        """
        world = World(domain="example.com").up()
        for sign in (b" ", b"<iq type='error' from='example.com' to='gw.example.com' id='?'/>", b"\n"):
            before = len(world.server.heard())
            world.wait(62)
            self.assertEqual(len(world.server.heard()), before + 1)
            world.server.say(sign)
            world.wait(35)
            self.assertTrue(world.link.ready)
            world.server.say(b" ")

    def test_nobodyToPing(self) -> None:
        """Without the server's name, silence does not end the connection."""
        world = World().up()
        world.wait(300)
        self.assertEqual((world.link.ready, world.server.heard()), (True, []))

    def test_stall(self) -> None:
        """A server may read nothing for some minutes, but not for ever; meanwhile it is not considered silent."""
        world = World(domain="example.com").up()
        world.server.protocol.pauseProducing()
        world.wait(290)
        self.assertTrue(world.link.ready)
        world.server.protocol.resumeProducing()
        world.wait(20)
        world.server.protocol.pauseProducing()
        world.wait(298)
        self.assertTrue(world.link.ready)
        first = world.server
        world.wait(6)
        self.assertTrue(first.aborted)
        self.assertIn("the server has read nothing for 300 s", world.link.trouble)


class LanesTests(SynchronousTestCase):
    """The stanzas that each handler gets, and effects of a failing handler on others."""

    def test_rawFirst(self) -> None:
        """
        Raw handlers get stanzas in their order, each only those that earlier ones left; then the ordinary handlers.
        """
        world = World().up()
        first, second = RawHandler(takes=False), RawHandler(takes=True)
        PingHandler().setHandlerParent(world.link)
        first.setHandlerParent(world.link)
        second.setHandlerParent(world.link)
        ping = f"<iq from='a@b' to='{JID}' type='get' id='1'><ping xmlns='{ns.PING}'/></iq>".encode()
        self.assertEqual(world.say(ping), [])
        self.assertEqual((first.seen, second.seen), (["1"], ["1"]))
        second.takes = False
        self.assertEqual(world.say(ping)[0][1]["type"], "result")
        first.takes = True
        self.assertEqual(world.say(ping), [])
        self.assertEqual(len(second.seen), 2)
        first.disownHandlerParent(world.link)
        world.say(ping)
        self.assertEqual((len(first.seen), len(second.seen)), (3, 3))

    def test_raisingRaw(self) -> None:
        """
        A request at which a raw handler raises gets internal-server-error; other stanzas get no answer; the link
        works on.
        """
        world = World().up()
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        raw.faulty = {"stanza"}
        said = world.say(
            b"<iq from='a@b/c' to='n@gw.example.com/r' type='set' id='1'/><iq from='a@b' type='error' id='2'/>"
            b"<iq from='a@b' type='result' id='3'/><message from='a@b'/><presence from='a@b'/>"
            b"<iq type='get' id='4'/><iq type='get'/><iq from='a@b' type='get' id='5'/>"
        )
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 8)
        self.assertEqual(
            [one[1] for one in said],
            [
                {"from": "n@gw.example.com/r", "to": "a@b/c", "id": "1", "type": "error"},
                {"from": JID, "to": "a@b", "id": "5", "type": "error"},
            ],
        )
        self.assertIn("internal-server-error", repr(said[0]))
        raw.faulty = set()
        world.say(b"<iq from='a@b' id='6'/>")
        self.assertEqual((raw.seen, world.link.ready), (["6"], True))

    def test_raisingTick(self) -> None:
        """A handler that raises in its tick prevents neither the others' ticks nor its own next one."""
        world = World().up()
        first, second = RawHandler(), RawHandler()
        first.setHandlerParent(world.link)
        second.setHandlerParent(world.link)
        first.faulty = {"tick"}
        world.clock.pump([1.0] * 3)
        self.assertEqual((first.ticks, second.ticks, len(self.flushLoggedErrors(Fault))), (0, 3, 3))
        first.faulty = set()
        world.clock.advance(1.0)
        self.assertEqual((first.ticks, second.ticks), (1, 4))

    def test_ticksWhileDown(self) -> None:
        """Ticks continue while there is no stream."""
        world = World()
        world.endpoint.mode = "refuse"
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        world.link.startService()
        world.clock.pump([1.0] * 5)
        self.assertEqual(raw.ticks, 5)


class StopTests(SynchronousTestCase):
    """In any state of the link: a stop ends it soon, and no timer is left."""

    def stopped(self, world: World, stopping: Deferred[Any]) -> None:
        """The link has stopped."""
        self.successResultOf(stopping)
        attempts = world.endpoint.attempts
        self.assertEqual(world.clock.getDelayedCalls(), [])
        world.clock.advance(120)
        self.assertEqual(world.endpoint.attempts, attempts)
        self.assertEqual((world.link.ready, world.link.trouble), (False, "stopped"))

    def test_connected(self) -> None:
        """A stream that is up is closed in an orderly way."""
        world = World().up()
        stopping = world.link.stopService()
        self.assertTrue(world.server.value().endswith(b"</stream:stream>"))
        self.assertNoResult(stopping)
        world.clock.advance(0)
        self.stopped(world, stopping)

    def test_connecting(self) -> None:
        """A connection attempt is cancelled."""
        world = World()
        world.endpoint.mode = "hang"
        world.link.startService()
        self.stopped(world, world.link.stopService())
        self.assertEqual(world.endpoint.cancelled, 1)

    def test_handshaking(self) -> None:
        """A connection in its handshake is closed, also if the server accepts at that moment."""
        for said in (b"", HEADER, HEADER + b"<handshake/>"):
            world = World()
            world.link.startService()
            stopping = world.link.stopService()
            world.server.say(said)
            self.assertFalse(world.link.ready)
            world.clock.advance(0)
            self.stopped(world, stopping)

    def test_waiting(self) -> None:
        """Between two attempts, the next one is cancelled."""
        world = World()
        world.endpoint.mode = "refuse"
        world.link.startService()
        self.stopped(world, world.link.stopService())

    def test_twice(self) -> None:
        """A second stop, also during the first, has no further effect, and both Deferreds fire."""
        world = World().up()
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        raw.pending = 1
        first = world.link.stopService()
        second = world.link.stopService()
        world.wait(6)
        self.successResultOf(first)
        self.successResultOf(second)
        self.stopped(world, world.link.stopService())
        self.assertEqual((raw.drains, raw.ended), (1, 1))

    def test_notStarted(self) -> None:
        """A stop before the start has no effect."""
        self.successResultOf(World().link.stopService())

    def test_pending(self) -> None:
        """Open exchanges may complete first, and the stop waits no longer than necessary."""
        world = World().up()
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        raw.pending = 1
        stopping = world.link.stopService()
        self.assertEqual((raw.drains, raw.ended), (1, 0))
        world.wait(2)
        self.assertNoResult(stopping)
        self.assertTrue(world.link.ready)
        world.link.sendRaw(b"<message to='last'/>")
        raw.pending = 0
        world.wait(0.2)
        self.assertEqual(world.server.heard()[-1][1]["to"], "last")
        self.stopped(world, stopping)

    def test_pendingForever(self) -> None:
        """The wait is limited to five seconds."""
        world = World().up()
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        raw.pending = 1
        stopping = world.link.stopService()
        world.wait(4.8)
        self.assertNoResult(stopping)
        world.wait(0.5)
        self.stopped(world, stopping)

    def test_ordinaryHandlers(self) -> None:
        """Requests that ordinary handlers have not answered get an error, and requests of handlers fail."""
        world = World().up()
        handler = Silent()
        handler.setHandlerParent(world.link)
        world.say(b"<iq type='get' id='1' from='u@d/r' to='gw.example.com'><q xmlns='urn:q'/></iq>")
        waiting = world.link.request(pingOf("example.com"))
        stopping = world.link.stopService()
        world.wait(4.8)
        self.assertNoResult(waiting)
        world.wait(0.5)
        self.assertEqual(self.failureResultOf(waiting, StanzaError).value.condition, "remote-server-not-found")
        name, attributes, _ = world.server.heard()[-1]
        self.assertEqual((name.partition("}")[2], attributes["type"], attributes["id"]), ("iq", "error", "1"))
        self.stopped(world, stopping)
        # A link that is stopped has no clock that would end a request.
        late = self.failureResultOf(world.link.request(pingOf("example.com")), StanzaError)
        self.assertEqual(late.value.condition, "remote-server-not-found")
        self.assertEqual(world.link.pending, 0)
        world.link.startService()
        again = world.link.request(pingOf("example.com"))
        self.assertNoResult(again)
        again.addErrback(lambda failure: None)
        world.link.stopService()

    def test_requestWhileDown(self) -> None:
        """A request that waits for a connection fails at the stop: nothing would end it afterwards."""
        world = World()
        world.endpoint.mode = "refuse"
        world.link.startService()
        waiting = world.link.request(pingOf("example.com"))
        self.stopped(world, world.link.stopService())
        self.assertEqual(self.failureResultOf(waiting, StanzaError).value.condition, "remote-server-not-found")

    def test_lostWhileDraining(self) -> None:
        """If the stream is lost meanwhile, the wait ends."""
        world = World().up()
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        raw.pending = 1
        stopping = world.link.stopService()
        world.server.lose(ConnectionLost())
        world.wait(0.2)
        self.stopped(world, stopping)

    def test_raisingDrain(self) -> None:
        """A handler that raises when it is drained does not prevent the stop."""
        world = World().up()
        raw = RawHandler()
        raw.setHandlerParent(world.link)
        raw.faulty = {"drain"}
        stopping = world.link.stopService()
        world.clock.advance(0)
        self.stopped(world, stopping)
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 1)

    def test_fromHandler(self) -> None:
        """A handler may stop the link while it handles a stanza."""
        world = World().up()
        stopping: list[Deferred[Any]] = []

        class Stopper(RawHandler):
            """Stops its link."""

            def stanzaReceived(self, stanza: Stanza) -> bool:
                world.link.sendRaw(b"<message to='last'/>")
                stopping.append(world.link.stopService())
                return super().stanzaReceived(stanza)

        stopper = Stopper()
        stopper.setHandlerParent(world.link)
        world.server.say(b"<iq id='1'/><iq id='2'/>")
        world.clock.advance(0)
        self.stopped(world, stopping[0])
        self.assertEqual((stopper.seen, world.server.heard()[0][1]["to"]), (["1"], "last"))

    def test_late(self) -> None:
        """
        Until the server has ended its stream as well, errors to requests are kept for a successor; for two seconds
        at most.
        """
        for isEnded in (True, False):
            world = World().up()
            world.server.endStream = lambda: None
            stopping = world.link.stopService()
            world.server.say(b"<iq id='1' type='get' from='u@example.com'/><message from='u@example.com'/>")
            world.server.say(b"</stream:stream>" if isEnded else b"<iq id='1' type='result' from='u@example.com'/>")
            world.clock.advance(0 if isEnded else 1.9)
            if not isEnded:
                self.assertNoResult(stopping)
                world.clock.advance(0.2)
            self.stopped(world, stopping)
            [error] = world.link.outbox.takeAll()
            self.assertIn(b"id='1' type='error'", error)

    def test_again(self) -> None:
        """A stopped link may be started again, and reconnects as before."""
        world = World().up()
        world.link.stopService()
        world.clock.advance(0)
        world.up()
        world.server.lose(ConnectionLost())
        world.wait(1.5)
        world.server.accept()
        self.assertTrue(world.link.ready)


class Routed(EventDispatcher):
    """Another domain on the same server."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []

    def send(self, element: Any) -> None:
        self.sent.append(element)


@implementer(IStreamClientEndpoint)
class PeerEndpoint:
    """An endpoint that connects to Wokkel's component server in memory."""

    def __init__(self, secret: str) -> None:
        self.router = Router()
        self.factory = XMPPComponentServerFactory(self.router, secret)
        self.factory.addBootstrap(STREAM_AUTHD_EVENT, self._accepted)
        self.accepted: list[Any] = []
        self.pumps: list[iosim.IOPump] = []

    def _accepted(self, xmlstream: Any) -> None:
        self.accepted.append(xmlstream)

    def connect(self, factory: Any) -> Deferred[Any]:
        client, server = factory.buildProtocol(None), self.factory.buildProtocol(None)
        transports = iosim.FakeTransport(server, True), iosim.FakeTransport(client, False)
        self.pumps.append(iosim.connect(server, transports[0], client, transports[1], greet=False))
        return succeed(client)

    def pump(self) -> None:
        """Move bytes between both sides until there are none."""
        self.pumps[-1].flush()


class PeerTests(SynchronousTestCase):
    """With independent software as the peer: Wokkel's component server and router."""

    def start(self, secret: str = SECRET) -> tuple[Link, PeerEndpoint, Clock]:
        """Return a started link, after all output was delivered."""
        clock, endpoint = Clock(), PeerEndpoint(SECRET)
        link = Link(clock, endpoint, JID, secret, random=Random(1))
        link.startService()
        endpoint.pump()
        return link, endpoint, clock

    def test_exchange(self) -> None:
        """Requests and answers pass in both directions, and a stop ends the stream on both sides."""
        link, endpoint, clock = self.start()
        self.assertTrue(link.ready)
        PingHandler().setHandlerParent(link)
        asking = PingClientProtocol()
        asking.setHandlerParent(link)
        [xmlstream] = endpoint.accepted
        heard = Routed()
        endpoint.router.addRoute("b", heard)
        xmlstream.send(f"<iq from='a@b/c' to='{JID}' type='get' id='1'><ping xmlns='{ns.PING}'/></iq>")
        endpoint.pump()
        self.assertEqual([(iq["to"], iq["id"], iq["type"]) for iq in heard.sent], [("a@b/c", "1", "result")])
        asked = asking.ping(internJID("a@b/c"), internJID(JID))
        endpoint.pump()
        xmlstream.send(f"<iq from='a@b/c' to='{JID}' type='result' id='{heard.sent[-1]['id']}'/>")
        endpoint.pump()
        self.successResultOf(asked)
        stopping = link.stopService()
        endpoint.pump()
        clock.advance(0.1)
        endpoint.pump()
        self.successResultOf(stopping)
        self.assertEqual(list(endpoint.router.routes), ["b"])

    def test_wrongSecret(self) -> None:
        """A wrong secret is logged as such, without the secret."""
        link, endpoint, _ = self.start("mistyped")
        self.assertEqual((link.ready, endpoint.accepted), (False, []))
        self.assertIn("secret", link.trouble)
        self.assertNotIn("mistyped", link.trouble)

    def test_serverGone(self) -> None:
        """After the server has gone and come back, the link is up again."""
        link, endpoint, clock = self.start()
        endpoint.accepted[0].transport.loseConnection()
        endpoint.pump()
        self.assertFalse(link.ready)
        clock.advance(1.0)
        endpoint.pump()
        self.assertEqual((link.ready, len(endpoint.accepted)), (True, 2))

    def test_lostReason(self) -> None:
        """Handlers get the reason for the end of the stream."""
        link, endpoint, _ = self.start()
        told: list[Failure] = []
        handler = XMPPHandler()
        self.patch(handler, "connectionLost", told.append)
        handler.setHandlerParent(link)
        endpoint.accepted[0].sendStreamError(StreamError("system-shutdown"))
        endpoint.pump()
        self.assertEqual([str(failure.value) for failure in told], ["system-shutdown"])
