"""Input and output of a connection paced together, on a transport whose capacity the test sets."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.component import ComponentProtocol, Refused
from gateway.stream.core import Limits
from gateway.stream.outflow import Copies
from gateway.stream.stanzas import Stanza
from tests.stream.memory import JID, SECRET, ServerTransport
from tests.stream.test_component import Owner

BUFFER = 100


class SlowTransport(ServerTransport):
    """
    Buffers like Twisted's sockets: pauses the producer above C{BUFFER} bytes, and resumes it when all are gone.

    @ivar sent: bytes that the peer has read.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sent = b""
        self.most = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.most = max(self.most, len(self.value()))
        if self.producer is not None and len(self.value()) > BUFFER:
            self.producer.pauseProducing()

    def drain(self) -> None:
        """Read the buffer, as the peer."""
        self.sent += self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()

    def unregisterProducer(self) -> None:
        super().unregisterProducer()
        self.producerState = "gone"


class PacingTests(SynchronousTestCase):
    """A component's connection; with limits that are small enough for a test."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.transport = SlowTransport(self.clock)
        self.protocol = ComponentProtocol(self.owner, JID, SECRET, Limits(), self.clock)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.transport.accept()
        self.transport.drain()
        self.transport.sent = b""
        self.protocol.pieceBytes, self.protocol.pauseAboveBytes = 200, 1_000

    def answering(self, answer: Callable[[Stanza], bytes]) -> None:
        self.owner.onStanza = lambda stanza: self.protocol.write(answer(stanza))

    def ask(self, first: int, last: int) -> None:
        """Send this number of requests in one chunk."""
        self.transport.say(b"".join(b"<iq id='%d'/>" % number for number in range(first, last)))

    def drainAll(self) -> None:
        for _ in range(1_000):
            self.transport.drain()
            self.clock.advance(0)
            if not self.transport.value():
                return
        self.fail("it never ends")

    def test_oneWrite(self) -> None:
        """All output that a chunk causes is one write, up to a size."""
        writes: list[bytes] = []
        self.patch(self.transport, "write", writes.append)
        self.answering(lambda stanza: b"%70s" % stanza.id.encode())
        self.ask(0, 3)
        self.assertEqual([len(data) for data in writes], [140, 70])

    def test_finish(self) -> None:
        """Stanzas that wait for their turn when the stream is ended are late, and so are those read after that."""
        self.answering(lambda stanza: b"%300s" % stanza.id.encode())
        self.ask(0, 20)
        late: list[str | None] = []
        self.protocol.finish(lambda stanza: late.append(stanza.id))
        handled = [stanza.id for stanza in self.owner.stanzas]
        self.assertLess(len(handled), 20)
        self.assertEqual(self.transport.producerState, "producing")
        self.ask(20, 22)
        self.assertEqual(handled + late, [str(number) for number in range(22)])

    def test_afterEvents(self) -> None:
        """
        A call after a chunk comes after its stanzas, once, and its output is written with theirs. A call that asks
        for another one gets it at once. While no stanza is handled, there is nothing to wait for.
        """
        writes: list[bytes] = []
        self.patch(self.transport, "write", writes.append)

        def after() -> None:
            self.protocol.write(b"[after]")
            if len(self.owner.stanzas) == 2:
                self.assertTrue(self.protocol.afterEvents(lambda: self.protocol.write(b"[last]")))

        self.owner.onStanza = lambda stanza: stanza.id == "0" and self.protocol.afterEvents(after)
        self.ask(0, 2)
        self.assertEqual(writes, [b"[after][last]"])
        self.ask(2, 3)
        self.assertEqual(len(writes), 1)
        self.assertFalse(self.protocol.afterEvents(self.fail))
        self.protocol.together(lambda: self.protocol.afterEvents(after))
        self.assertEqual(writes[1:], [b"[after]"])

    def test_afterSlice(self) -> None:
        """If the time slice ends before the chunk, the call does not wait for the rest."""
        called: list[int] = []

        def late(stanza: Stanza) -> None:
            self.clock.advance(1)
            self.protocol.afterEvents(lambda: called.append(len(self.owner.stanzas)))

        self.owner.onStanza = late
        self.ask(0, 8)
        self.assertEqual(called, [4, 4, 4, 4])

    def test_burst(self) -> None:
        """
        For any amount of output caused by a chunk, in it or after it: the connection stays, all requests are
        answered in order, and neither the transport nor the queue holds more than a few times the limit.
        """
        self.answering(lambda stanza: b"[%s:%300s]" % (stanza.id.encode(), b""))
        self.ask(0, 500)
        handled = len(self.owner.stanzas)
        self.assertLess(handled, 8)
        self.assertEqual(self.transport.producerState, "paused")
        # The transport had read this chunk before it was paused.
        self.ask(500, 600)
        self.assertEqual(len(self.owner.stanzas), handled)
        most = 0
        while self.transport.value():
            most = max(most, self.protocol.unsentBytes)
            self.transport.drain()
            self.clock.advance(0)
        self.assertLess(most, 1_000 + 400)
        self.assertLess(self.transport.most, 200 + 400)
        self.assertEqual(self.transport.sent, b"".join(b"[%d:%300s]" % (n, b"") for n in range(600)))
        self.assertEqual((self.transport.producerState, self.transport.aborted), ("producing", False))

    def test_copies(self) -> None:
        """A stanza to many recipients is sent piece by piece, in its place."""
        self.protocol.write(b"first")
        self.protocol.writeCopies(Copies(b"<to '", [b"%d" % number for number in range(100)], b"' " + b"x" * 90))
        self.protocol.write(b"last")
        self.assertEqual(self.transport.producerState, "paused")
        self.drainAll()
        copies = b"".join(b"<to '%d' %s" % (number, b"x" * 90) for number in range(100))
        self.assertEqual(self.transport.sent, b"first" + copies + b"last")
        self.assertLess(self.transport.most, 400)
        self.assertEqual(self.transport.producerState, "producing")

    def test_readsWhileStalled(self) -> None:
        """A small amount of waiting output does not stop reading: the peer may be waiting for the gateway."""
        self.protocol.write(b"x" * 200)
        self.assertTrue(self.protocol.stalled)
        self.answering(lambda stanza: b"answer")
        self.ask(0, 3)
        self.assertEqual((len(self.owner.stanzas), self.transport.producerState), (3, "producing"))
        self.drainAll()
        self.assertEqual(self.transport.sent, b"x" * 200 + b"answer" * 3)

    def test_outputOfOthers(self) -> None:
        """
        Output without an event of this stream stops reading, and is limited; small stanzas have a higher limit.
        """
        self.protocol.fullBytes = 10_000
        self.assertTrue(all(self.protocol.write(b"x" * 200) for _ in range(7)))
        self.assertEqual(self.transport.producerState, "paused")
        while self.protocol.write(b"x" * 5_000):
            pass
        self.assertLess(self.protocol.unsentBytes, 16_000)
        self.assertFalse(self.protocol.writeCopies(Copies(b"x" * 5_000, [b"a", b"b"], b"")))
        self.assertTrue(self.protocol.write(b"<error/>"))
        self.assertTrue(self.transport.connected and not self.transport.aborted)
        accepted = self.protocol.unsentBytes
        while self.protocol.write(b"x" * 1_000):
            self.assertLess(self.protocol.unsentBytes, accepted + 20_000)
        self.drainAll()
        self.assertEqual(self.transport.sent.count(b"<error/>"), 1)
        self.assertTrue(self.protocol.write(b"x" * 5_000))
        self.assertEqual(self.transport.producerState, "producing")

    def test_turns(self) -> None:
        """Events that take long let other work run in between; all are handled, in order."""
        handled: list[str | None] = []

        def work(stanza: Stanza) -> None:
            handled.append(stanza.id)
            self.clock.rightNow += 0.015

        self.owner.onStanza = work
        self.clock.callLater(0, handled.append, "somebody else")
        self.ask(0, 9)
        self.assertEqual((handled, self.transport.producerState), (["0", "1", "2", "3"], "paused"))
        self.clock.advance(0)
        self.assertEqual(handled, ["0", "1", "2", "3", "somebody else", "4", "5", "6", "7", "8"])
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """Events that wait when the connection is lost are dropped, and none is left."""
        self.answering(lambda stanza: b"x" * 2_000)
        self.ask(0, 5)
        self.transport.lose(ConnectionDone())
        self.drainAll()
        # The first answer went to the transport; the second did not fit.
        self.assertEqual((len(self.owner.stanzas), self.clock.getDelayedCalls()), (2, []))
        self.assertEqual(self.protocol.unsentBytes, 0)

    def test_noProgress(self) -> None:
        """
        A peer that reads nothing is disconnected after a time, with the reason; one that reads a little is not.
        """
        self.answering(lambda stanza: b"x" * 300)
        self.ask(0, 20)
        for _ in range(5):
            self.clock.advance(self.protocol.stallFor - 1)
            self.transport.drain()
        self.assertFalse(self.transport.aborted)
        waiting = self.protocol.unsentBytes
        self.clock.advance(self.protocol.stallFor)
        self.assertTrue(self.transport.aborted)
        self.clock.advance(0)
        [lost] = self.owner.lost
        self.assertIsInstance(lost.value, Refused)
        self.assertIn(f"the server has read nothing for 300 s, and {waiting} bytes wait", str(lost.value))

    def test_closeFlushes(self) -> None:
        """Output that was accepted before a close is sent piece by piece, and then the end of the stream."""
        for _ in range(10):
            self.protocol.write(b"x" * 150)
        self.protocol.close()
        self.assertFalse(self.protocol.write(b"late"))
        self.assertFalse(self.transport.disconnecting)
        for _ in range(5):
            self.clock.advance(self.protocol.closeWithin - 0.5)
            self.transport.drain()
        while not self.transport.disconnecting:
            self.transport.drain()
        self.assertEqual(self.transport.sent + self.transport.value(), b"x" * 1_500 + b"</stream:stream>")
        self.assertEqual(self.transport.producerState, "gone")
        self.assertFalse(self.transport.aborted)

    def test_closeHasAnEnd(self) -> None:
        """The close is limited: without progress it ends soon, and with slow progress after some time."""
        for _ in range(100):
            self.protocol.write(b"x" * 150)
        self.protocol.close()
        for _ in range(9):
            self.clock.advance(1)
            self.transport.drain()
        self.assertFalse(self.transport.aborted)
        self.clock.advance(1)
        self.assertTrue(self.transport.aborted)

    def test_endWaits(self) -> None:
        """The peer's end of the stream is handled after its earlier stanzas."""
        self.answering(lambda stanza: b"[%s:%2000s]" % (stanza.id.encode(), b""))
        self.transport.say(b"<iq id='1'/><iq id='2'/></stream:stream>")
        self.drainAll()
        self.assertEqual([stanza.id for stanza in self.owner.stanzas], ["1", "2"])
        self.assertTrue(self.transport.sent.endswith(b"</stream:stream>"))
        self.assertTrue(self.transport.disconnecting)
