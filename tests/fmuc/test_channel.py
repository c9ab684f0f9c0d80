"""The rules of docs/fmuc-resync.md; the docstring of a test names its rule."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import NotInSequence, OutboxFull, StoreBroken
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.channel.values import (
    Ask,
    ChannelState,
    Header,
    Lost,
    Opened,
    Pace,
    Renewed,
    Report,
    SendAck,
    SendStanza,
)
from gateway.fmuc.profiles import PROFILES
from gateway.muc.channel_store import StoredChannel
from gateway.muc.store import MIGRATIONS
from gateway.state.memory import MemoryStore
from tests.fmuc.channels import EPOCH, PACE, ROOMS, Network, Packet

PAGE = Path(__file__).parents[2] / "docs" / "fmuc-resync.md"


class RulesTests(SynchronousTestCase):
    """Two nodes with one channel."""

    def setUp(self) -> None:
        self.use(PACE)

    def use(self, pace: Pace) -> None:
        """Begin with other limits."""
        self.network = Network(pace)
        self.one, self.two = self.network.nodes
        self.one.events.clear()
        self.two.events.clear()

    def sent(self) -> list[object]:
        """Return what was sent since the last call."""
        found: list[object] = [packet.content for packet in self.network.sent]
        self.network.sent.clear()
        return found

    def header(self, number: int | None, received: int = 0, epoch: int = EPOCH) -> Header:
        return Header(epoch, number, received)

    def receive(self, header: Header, text: str = "x") -> list[str]:
        """Give the first node a stanza; return what is delivered."""
        found = self.one.channel.receive(header, text, len(text), self.network.now)
        self.one.settle(found)
        return found

    def test_begins(self) -> None:
        """Rules 1, 2, 3: no traffic begins a channel; its first stanza has number 1, and the next ones follow."""
        self.network.run(600)
        self.assertEqual(self.sent(), [])
        for text in ("a", "b"):
            self.one.say(text)
        self.one.commit()
        self.assertEqual(self.sent(), [SendStanza(self.header(1), b"a"), SendStanza(self.header(2), b"b")])

    def test_storedBefore(self) -> None:
        """Rule 4: a stanza is sent after its commit. A killed process sends it again until it is acknowledged."""
        self.one.say("a")
        self.assertEqual(self.sent(), [])
        self.one.commit()
        self.assertEqual(self.sent(), [SendStanza(self.header(1), b"a")])
        self.network.packets.clear()
        self.one.kill()
        self.network.run(5)
        self.assertEqual(self.two.delivered, ["a"])
        self.one.kill()
        self.sent()
        self.network.run(30)
        self.assertFalse([each for each in self.sent() if isinstance(each, SendStanza)])

    def test_withdrawn(self) -> None:
        """Rule 3: the number of a stanza that was withdrawn is sent alone; one that may have been sent stays."""
        self.one.say("a")
        self.one.commit()
        for text in ("bb", "c"):
            self.one.channel.send(text.encode(), self.network.now)
        self.assertEqual([self.one.channel.withdraw(number) for number in (1, 2, 9)], [False, True, False])
        self.one.settle()
        self.one.commit()
        self.network.run()
        self.assertEqual(self.two.delivered, ["a", "", "c"])
        self.one.channel.requested(Report(EPOCH, 0, 3, False), self.network.now)
        self.assertEqual((len(self.one.channel), self.one.channel._outbox.size), (0, 0))

    def test_storedAgain(self) -> None:
        """Rule 4: if the store was lost, all records are stored again."""
        self.one.say("a")
        self.two.say("b")
        self.network.run(5)
        self.one.say("c")
        self.one.commit()
        self.network.packets.clear()
        self.one.store = MemoryStore(MIGRATIONS)
        self.one._pending.append((self.one.channel.all(), [], [], self.one.channel.take()[1]))
        self.one.commit()
        self.one.kill()
        self.network.run(60)
        self.assertEqual((self.two.delivered, self.one.delivered), (["a", "c"], ["b"]))
        self.assertEqual(self.one.events, [Opened()])

    def test_lostBefore(self) -> None:
        """Rule 4: a stanza of a process that is killed before the commit was never accepted."""
        self.one.say("a")
        self.one.kill()
        self.network.run(30)
        self.assertEqual((self.one.accepted, self.two.delivered), ([], []))

    def test_acknowledgedAfter(self) -> None:
        """Rule 5: no header acknowledges a number before its commit; no report does, either."""
        self.one.say("a")
        self.one.commit()
        self.network.deliver()
        self.sent()
        self.network.now += 10
        self.two.channel.tick(self.network.now)
        self.assertEqual(self.two.channel.outputs, [])
        for isResume in (False, True):
            answer = self.two.channel.requested(Report(EPOCH, 1, 0, isResume), self.network.now)
            self.assertEqual(answer.received, 0)
        self.two.commit()
        self.two.tick()
        self.assertEqual(self.sent(), [SendAck(self.header(None, 1))])

    def test_acknowledgedWith(self) -> None:
        """Rule 5: the header of a stanza does not acknowledge what was received while its commit was under way."""
        self.one.say("a")
        self.receive(self.header(1), "b")
        [(*_, mark), _] = self.one._pending
        self.one.channel.stored(mark, self.network.now)
        self.one.settle()
        self.assertEqual(self.sent(), [SendStanza(self.header(1), b"a")])

    def test_repeated(self) -> None:
        """Rule 6: a number that was received is dropped, and acknowledged again; it is not kept."""
        self.two.say("a")
        self.network.run(2)
        self.assertEqual(self.sent(), [SendStanza(self.header(1), b"a"), SendAck(self.header(None, 1))])
        self.assertEqual(self.receive(self.header(1), "a"), [])
        self.assertEqual(self.one.channel._inbox._held, {})
        self.network.run(2)
        self.assertEqual(self.sent(), [SendAck(self.header(None, 1))])

    def test_order(self) -> None:
        """Rule 7: later stanzas wait for earlier ones; a second copy of one changes nothing."""
        self.assertEqual(self.receive(self.header(3), "c"), [])
        self.assertEqual(self.receive(self.header(3), "c"), [])
        self.assertEqual(self.receive(self.header(2), "b"), [])
        self.assertEqual(self.receive(self.header(1), "a"), ["a", "b", "c"])
        self.assertEqual((self.one.channel._inbox._held, self.one.channel._inbox.size), ({}, 0))

    def test_waiting(self) -> None:
        """Rule 7: stanzas that wait are limited in size; the one that all wait for is always taken."""
        self.use(evolve(PACE, held=3))
        self.assertEqual(self.receive(self.header(2), "bbb"), [])
        self.assertEqual(self.receive(self.header(3), "c"), [])
        self.assertEqual(self.receive(self.header(1), "aaaa"), ["aaaa", "bbb"])
        self.assertEqual(self.receive(self.header(3), "c"), ["c"])

    def test_refused(self) -> None:
        """Rule 8: numbers beyond the window, zero, and acknowledgements of what was not sent have no effect."""
        self.assertEqual(self.receive(self.header(8)), [])
        self.one.say("kept")
        for header in (self.header(9), self.header(0), self.header(1, 1), self.header(None, 1)):
            with self.assertRaises(NotInSequence):
                self.receive(header)
            self.one.settle()
        self.assertEqual(len(self.one.channel), 1)
        # One exchange for all of them.
        self.assertEqual(self.sent(), [Ask("0.1.1", Report(EPOCH, 0, 0, False))])

    def test_otherEpoch(self) -> None:
        """Rule 9: a stanza of another epoch is dropped; that of a later one causes one exchange."""
        self.assertEqual(self.receive(self.header(1, 9, EPOCH - 1)), [])
        self.assertEqual(self.sent(), [])
        for _ in range(2):
            self.assertEqual(self.receive(self.header(1, 9, EPOCH + 1)), [])
        self.assertEqual(self.sent(), [Ask("0.1.1", Report(EPOCH, 0, 0, False))])

    def test_acknowledgement(self) -> None:
        """Rule 10: it goes with a stanza; or alone after a while, once. Then nothing is sent."""
        self.one.say("a")
        self.network.run()
        self.two.say("b")
        self.network.run()
        self.network.run(600)
        self.assertEqual(
            self.sent(),
            [SendStanza(self.header(1), b"a"), SendStanza(self.header(1, 1), b"b"), SendAck(self.header(None, 1))],
        )

    def test_many(self) -> None:
        """Rule 10: of many stanzas a quarter of the window is acknowledged at once, so the sender need not wait."""
        for number in range(10):
            self.one.say(str(number))
        self.network.run()
        self.assertEqual(self.two.delivered, [*map(str, range(10))])

    def flood(self) -> list[int]:
        """Send stanzas without an acknowledgement; return their numbers."""
        for number in range(12):
            self.one.say(str(number))
        self.one.commit()
        return self.numbers()

    def numbers(self) -> list[int]:
        """Return the numbers of the stanzas that were sent since the last call."""
        return [each.header.number or 0 for each in self.sent() if isinstance(each, SendStanza)]

    def acknowledge(self, number: int) -> list[int]:
        """Acknowledge stanzas; return the numbers of those that follow."""
        self.receive(self.header(None, number))
        return self.numbers()

    def test_window(self) -> None:
        """Rule 33: the window is half of the maximum at first, and grows by one for each one acknowledged."""
        self.assertEqual(self.flood(), [1, 2, 3, 4])
        self.assertEqual([self.acknowledge(1), self.acknowledge(2)], [[5], [6]])
        self.assertEqual([self.acknowledge(4), self.acknowledge(6)], [[7, 8], [9, 10, 11]])
        self.one.channel.lost()
        self.one.settle()
        self.one.channel.requested(Report(EPOCH, 0, 6, True), self.network.now)
        self.one.settle()
        # It opens.
        self.assertEqual(self.numbers(), [7, 8, 9, 10])

    def test_windowMost(self) -> None:
        """Rules 8, 33: there is a maximum; a window that is not used up does not grow."""
        window = self.one.channel.window
        for _ in range(100):
            window.acknowledged(3, 8)
        self.assertEqual(window.size, 8)
        window.begin()
        for _ in range(100):
            self.one.say("a")
            self.one.commit()
            self.acknowledge(self.one.channel._sent)
        self.assertEqual(window.size, 4)

    def test_windowHalved(self) -> None:
        """Rule 33: a time without an acknowledgement halves the window, in which lost stanzas are repeated, too."""
        self.one.channel.window.size = 8.0
        self.assertEqual(self.flood(), [*range(1, 9)])
        self.network.packets.clear()
        self.network.now += 5
        self.one.tick()
        self.assertEqual(self.one.channel.window.size, 4)
        self.one.channel.answered("0.1.1", Report(EPOCH, 0, 0, False), self.network.now)
        self.one.settle()
        self.assertEqual(self.numbers(), [1, 2, 3, 4])
        self.assertEqual(self.acknowledge(3), [5, 6, 7])
        for _ in range(9):
            self.one.channel.window.halve()
        # It was sent once, and counts as lost: how long it took is not known.
        self.assertEqual(self.acknowledge(8), [9, 10])
        self.assertEqual(self.one.channel.roundTrip.smoothed, 0.001)

    def test_slow(self) -> None:
        """
        Rules 11, 33: both nodes have 300 stanzas to send after an outage, and the link carries one a second: only
        what was lost is sent again, and there are few requests and acknowledgements beside that.
        """
        self.use(Pace())
        for number in range(300):
            self.one.say(str(number))
            self.two.say(str(number))
        for node in (self.one, self.two):
            node.commit()
            node.channel.lost()
            node.settle()
        lost = len(self.network.packets)
        self.network.packets.clear()
        self.sent()
        self.one.channel.resume(self.network.now)
        self.one.settle()
        lanes: tuple[list[Packet], list[Packet]] = ([], [])
        seconds = 0
        while self.one.channel or self.two.channel:
            seconds += 1
            self.network.now += 1
            for packet in self.network.packets:
                lanes[packet.to].append(packet)
            self.network.packets.clear()
            for node in (self.one, self.two):
                if lanes[node.number]:
                    node.receive(lanes[node.number].pop(0))
                node.commit()
                node.tick()
        self.assertEqual(self.one.delivered, [*map(str, range(300))])
        self.assertEqual(self.two.delivered, self.one.delivered)
        self.assertEqual([self.one.events, self.two.events], [[Lost(), Opened()]] * 2)
        self.assertEqual(self.one.channel.tally.repeated + self.two.channel.tally.repeated, lost)
        requests = [each.content for each in self.network.sent if isinstance(each.content, Ask)]
        self.assertLess(len(requests), 15)
        self.assertLess(seconds, 420)

    def test_windowOfProbes(self) -> None:
        """Rule 33: a probe because of silence does not halve the window."""
        self.one.watch(True)
        self.network.run(61)
        self.assertEqual(len(self.sent()), 1)
        self.assertEqual(self.one.channel.window.size, 4)

    def test_heardMeanwhile(self) -> None:
        """Rule 11: while stanzas or acknowledgements come, the answer may be behind them: the channel is open."""
        self.two.say("late")
        self.flood()
        self.network.packets.clear()
        for number in range(1, 9):
            self.network.now += 29
            self.one.tick()
            self.receive(self.header(number))
        self.assertEqual(self.one.events, [])
        for number in range(1, 9):
            self.network.now += 29
            self.one.tick()
            self.acknowledge(number)
        self.assertEqual(self.one.events, [])
        for _ in range(3):
            self.network.now += 31
            self.one.tick()
            # A stanza that was received before is no news.
            self.receive(self.header(8))
        self.assertEqual(self.one.events, [Lost()])

    def test_lostStanza(self) -> None:
        """Rule 11: a request finds the lost stanza; what was sent before the request is sent again."""
        self.one.say("a")
        self.one.commit()
        self.network.packets.clear()
        self.network.run(4)
        self.assertEqual(len(self.sent()), 1)
        self.one.say("b")
        self.network.run(1)
        report = Report(EPOCH, 2, 0, False)
        self.assertEqual(
            self.sent(),
            [
                *(SendStanza(self.header(2), b"b"), Ask("0.1.1", report), SendStanza(self.header(1), b"a")),
                *(SendStanza(self.header(2), b"b"), SendAck(self.header(None, 2))),
            ],
        )
        self.network.run(5)
        self.assertEqual((self.two.delivered, self.one.events), (["a", "b"], []))

    def test_lateStanza(self) -> None:
        """Rule 11: a stanza that was sent after the request is not sent again because of its answer."""
        self.one.say("a")
        self.one.commit()
        self.network.packets.clear()
        self.network.run(4)
        self.network.now += 1
        self.one.tick()
        request = self.network.packets.pop()
        self.network.now += 1
        self.one.say("b")
        self.one.commit()
        self.network.packets.clear()
        self.sent()
        self.two.receive(request)
        self.network.deliver()
        self.assertEqual(self.sent(), [SendStanza(self.header(1), b"a")])

    def test_sameTime(self) -> None:
        """Rule 11: a stanza that is sent right after the request, at the same time, is not sent again."""
        self.one.channel.doubt(self.network.now)
        self.one.say("a")
        self.one.commit()
        self.network.packets.clear()
        self.one.channel.answered("0.1.1", Report(EPOCH, 0, 0, False), self.network.now)
        self.one.settle()
        self.assertEqual(self.numbers(), [1])

    def test_repeatedMeanwhile(self) -> None:
        """Rule 11: a stanza that was repeated after the request is not sent again because of its answer."""
        self.one.say("a")
        self.one.commit()
        self.one.channel.resume(self.network.now)
        self.network.now += 5
        self.one.channel.requested(Report(EPOCH, 0, 0, True), self.network.now)
        self.one.settle()
        self.assertEqual(len(self.sent()), 3)
        self.one.channel.answered("0.1.1", Report(EPOCH, 0, 0, False), self.network.now)
        self.one.settle()
        self.assertEqual(self.sent(), [])

    def test_backOff(self) -> None:
        """Rule 11: the waits double, up to a limit; after three requests the channel is lost, and is silent."""
        self.one.say("a")
        self.one.commit()
        asked = []
        for _ in range(200):
            self.network.now += 1
            self.one.tick()
            asked += [self.network.now - 1_000 for each in self.sent() if isinstance(each, Ask)]
        self.assertEqual(asked, [5, 10, 20])
        self.assertEqual(self.one.events, [Lost()])
        self.one.watch(True)
        asked.clear()
        for _ in range(300):
            self.network.now += 1
            self.one.tick()
            asked += [self.network.now - 1_200 for each in self.sent() if isinstance(each, Ask)]
        self.assertEqual(asked, [1, 6, 16, 36, 66, 96, 126, 156, 186, 216, 246, 276])

    def test_undeliverable(self) -> None:
        """Rule 11: a request that comes back makes the channel lost at once; an unknown one does not."""
        self.one.channel.resume(self.network.now)
        self.one.channel.failed("other")
        self.one.settle()
        self.assertEqual(self.one.events, [])
        self.one.channel.failed("0.1.1")
        self.one.settle()
        self.assertEqual(self.one.events, [Lost()])
        # The other node needs nothing, but answers.
        self.one.watch(True)
        self.network.packets.clear()
        self.network.run(60)
        self.assertEqual(self.one.events, [Lost(), Opened()])

    def test_measured(self) -> None:
        """Rule 11: the wait follows the measured round trip; a stanza that was repeated is not measured."""
        self.one.say("a")
        self.one.commit()
        self.network.now += 7
        self.network.run()
        self.network.now += 2
        self.two.tick()
        self.network.run()
        self.assertEqual(self.one.channel.roundTrip.smoothed, 9.0)
        self.assertEqual(self.one.channel.roundTrip.timeout(), 27.0)
        self.assertEqual(self.one.channel.roundTrip.timeout(9), 30.0)
        self.one.say("b")
        self.one.commit()
        self.one.channel.lost()
        self.one.channel._open(self.network.now + 100, self.network.now + 100)
        self.receive(self.header(None, 2))
        self.assertEqual(self.one.channel.roundTrip.smoothed, 9.0)

    def test_notMeasured(self) -> None:
        """
        RFC 6298 section 3: a round trip is not measured that has the time for which a direct link was down, neither
        of a stanza nor of a request.
        """
        self.one.channel.flowsSince = lambda: self.network.now
        self.one.say("a")
        self.one.commit()
        self.network.now += 7
        self.network.run()
        self.network.now += 2
        self.two.tick()
        self.network.run()
        self.one.channel.resume(self.network.now)
        self.one.settle()
        self.network.now += 5
        self.network.run()
        self.assertEqual(self.one.channel.roundTrip.smoothed, 0.0)
        since = self.network.now
        self.one.channel.flowsSince = lambda: since
        self.one.channel.resume(self.network.now)
        self.one.settle()
        self.network.now += 5
        self.network.run()
        self.assertEqual(self.one.channel.roundTrip.smoothed, 5.0)

    def test_full(self) -> None:
        """Rule 12: what exceeds the number, the bytes or the age is refused, and what was kept stays."""
        self.one.channel.lost()
        for number in range(12):
            self.one.say(str(number))
        with self.assertRaises(OutboxFull):
            self.one.say("over")
        for _ in range(12):
            self.one.channel.send(b"leave", self.network.now, isRefusable=False)
        with self.assertRaises(OutboxFull):
            self.one.channel.send(b"leave", self.network.now, isRefusable=False)
        self.assertEqual(len(self.one.channel), 24)

    def test_bytes(self) -> None:
        """Rule 12: bytes and age, which an acknowledgement frees."""
        self.use(evolve(PACE, bytes=500))
        self.one.say("a" * 300)
        with self.assertRaises(OutboxFull):
            for text in "bcd":
                self.one.say(text)
        self.network.run(5)
        self.one.say("e")
        self.assertEqual(self.one.channel._outbox.size, 201)
        self.one.channel.lost()
        self.network.now += 2_000
        with self.assertRaises(OutboxFull):
            self.one.say("late")

    def test_together(self) -> None:
        """Rule 12: if all outboxes of a service are too large together, only small ones grow."""
        self.one.channel.lost()
        self.one.channel.tally.size = 256 * 1024 * 1024
        self.one.say("a" * 17_000)
        with self.assertRaises(OutboxFull):
            self.one.say("b")
        self.one.channel.send(b"leave", self.network.now, isRefusable=False)
        self.one.channel.tally.size *= 2
        with self.assertRaises(OutboxFull):
            self.one.channel.send(b"leave", self.network.now, isRefusable=False)
        self.one.channel.tally.size = 0
        self.one.say("b")

    def test_started(self) -> None:
        """Rule 13: a node that was started neither sends nor accepts a number before an exchange."""
        self.one.say("a")
        self.one.commit()
        self.two.say("b")
        self.two.commit()
        self.one.start()
        self.sent()
        self.one.say("c")
        self.one.commit()
        self.assertEqual(self.sent(), [])
        self.assertEqual(self.receive(self.header(1, 1), "b"), [])
        self.assertEqual(self.sent(), [Ask("0.2.1", Report(EPOCH, 1, 0, True, 2))])
        self.assertEqual(len(self.one.channel), 2)

    def test_lateRequest(self) -> None:
        """Rule 14: a request opens no channel that was not compared since the start: the node asks itself."""
        self.one.start()
        self.sent()
        answer = self.one.channel.requested(Report(EPOCH, 0, 0, True), self.network.now)
        self.one.settle()
        self.assertEqual((answer, self.one.events), (Report(EPOCH, 0, 0, True), []))
        self.assertEqual(self.sent(), [Ask("0.2.1", Report(EPOCH, 0, 0, True))])
        self.network.run(1)
        self.assertEqual(self.one.events, [Opened()])

    def test_bothStarted(self) -> None:
        """Rule 14: what was asked may be lost with the process that it is for; the next one asks, too."""
        self.one.kill()
        self.network.packets.clear()
        self.two.kill()
        self.network.run()
        self.assertEqual((self.one.events, self.two.events), ([Opened()], [Opened()]))

    def test_onceMore(self) -> None:
        """Rule 14: one request is sent once more, whatever the other node sends; the wait begins anew."""
        self.one.kill()
        for _ in range(3):
            self.one.channel.requested(Report(EPOCH, 0, 0, True), self.network.now)
            self.one.settle()
        self.assertEqual(len(self.sent()), 2)
        self.network.packets.clear()
        self.network.run(PACE.first)
        self.assertEqual(self.one.events, [Opened()])
        self.one.kill()
        self.one.channel.requested(Report(EPOCH, 0, 0, True), self.network.now)
        self.one.settle()
        self.assertEqual(len([each for each in self.sent() if isinstance(each, Ask)]), 3)

    def test_opens(self) -> None:
        """Rule 14: a request opens a channel that was compared; an old one does not."""
        self.one.say("a")
        self.two.say("b")
        self.network.run(5)
        self.one.channel.lost()
        for report in (Report(EPOCH, 1, 0, True), Report(EPOCH, 0, 1, True)):
            self.one.channel.requested(report, self.network.now)
            self.one.settle()
            self.assertIs(self.one.channel.state, ChannelState.LOST)
        self.one.channel.requested(Report(EPOCH, 1, 1, True), self.network.now)
        self.one.settle()
        self.assertEqual(self.one.events, [Lost(), Opened()])

    def test_otherAnswer(self) -> None:
        """Rule 14: an answer to no open request has no effect, and neither has a second answer."""
        self.one.channel.answered("0.1.1", Report(EPOCH + 5, 0, 0, False), self.network.now)
        self.one.channel.resume(self.network.now)
        self.one.channel.answered("0.1.1", Report(EPOCH, 0, 0, False), self.network.now)
        self.one.channel.answered("0.1.1", Report(EPOCH + 5, 0, 0, False), self.network.now)
        self.one.settle()
        self.assertEqual((self.one.channel.epoch, self.one.events), (EPOCH, []))

    def answered(self, report: Report) -> None:
        """Let the other node answer a request, in a channel in which both have sent and received one stanza."""
        self.use(PACE)
        self.one.say("a")
        self.two.say("b")
        self.network.run(5)
        self.sent()
        self.one.channel.resume(self.network.now)
        self.one.channel.answered("0.1.1", report, self.network.now)
        self.one.settle()

    def test_contradiction(self) -> None:
        """Rule 15: an answer that cannot be true begins the next epoch."""
        for report, epoch in (
            (Report(EPOCH, 1, 0, False), EPOCH + 1),
            (Report(EPOCH, 0, 1, False), EPOCH + 1),
            (Report(EPOCH, 1, 2, False), EPOCH + 1),
            (Report(EPOCH - 3, 1, 1, False), EPOCH + 1),
            (Report(EPOCH + 3, 1, 0, False), EPOCH + 4),
            (Report(EPOCH + 3, 0, 1, False), EPOCH + 4),
        ):
            with self.subTest(report=report):
                self.answered(report)
                self.assertEqual(self.one.events, [Lost(), Renewed()])
                expected = Ask("0.1.2", Report(epoch, 0, 0, True))
                self.assertEqual(self.sent()[-1], expected)
                self.network.run(5)
                self.assertEqual(self.one.events[2:], [Opened()])
                self.assertEqual(self.two.channel.epoch, epoch)

    def test_waitingContradicts(self) -> None:
        """Rule 15: a stanza that waits for earlier ones was sent, too; its number would be used a second time."""
        self.receive(self.header(2))
        self.one.channel.requested(Report(EPOCH, 1, 0, True), self.network.now)
        self.one.settle()
        [ask] = self.sent()
        assert isinstance(ask, Ask)
        self.one.channel.answered(ask.id, Report(EPOCH, 1, 0, True), self.network.now)
        self.one.settle()
        self.assertEqual(self.one.events, [Lost(), Renewed()])

    def test_noContradiction(self) -> None:
        """Rule 15: numbers that have grown since the request are no contradiction."""
        self.answered(Report(EPOCH, 1, 1, False))
        self.one.channel.resume(self.network.now)
        self.one.say("c")
        self.one.commit()
        self.receive(self.header(2, 2), "d")
        self.one.channel.answered("0.1.2", Report(EPOCH, 1, 1, False), self.network.now)
        self.one.settle()
        self.assertEqual((self.one.events, self.one.channel.epoch), ([], EPOCH))

    def test_later(self) -> None:
        """Rule 16: a later epoch without numbers begins at once; the epoch after it, if it has numbers."""
        for report, epoch in (
            (Report(EPOCH + 3, 0, 0, True), EPOCH + 3),
            (Report(EPOCH + 3, 1, 0, True), EPOCH + 4),
            (Report(EPOCH + 3, 0, 1, True), EPOCH + 4),
        ):
            with self.subTest(report=report):
                self.use(PACE)
                answer = self.one.channel.requested(report, self.network.now)
                self.one.settle()
                self.assertEqual(answer, Report(epoch, 0, 0, True))
                self.assertEqual(self.one.events[:2], [Lost(), Renewed()])
        self.answered(Report(EPOCH + 3, 0, 0, False))
        self.assertEqual(self.one.events, [Lost(), Renewed(), Opened()])
        self.assertEqual(self.one.channel.epoch, EPOCH + 3)

    def test_renewed(self) -> None:
        """Rule 17: the stanzas of the outbox have new numbers, which are stored before they are sent."""
        self.one.say("a")
        self.network.run(5)
        self.one.say("b")
        self.one.commit()
        self.network.packets.clear()
        self.one.say("c")
        # The commit of the old number is told after the new epoch has begun.
        marks = list(self.one._pending)
        self.sent()
        self.one.channel.requested(Report(EPOCH + 3, 0, 0, True), self.network.now)
        self.one.settle()
        self.one.channel.stored(marks[-1][-1], self.network.now)
        self.one.settle()
        self.assertEqual(self.sent(), [])
        self.one.commit()
        numbers = [self.header(number, 0, EPOCH + 3) for number in (1, 2)]
        self.assertEqual(self.sent(), [SendStanza(numbers[0], b"b"), SendStanza(numbers[1], b"c")])
        self.network.packets.clear()
        self.one.kill()
        self.network.run(60)
        self.assertEqual(self.two.delivered, ["a", "b", "c"])
        self.assertTrue(self.one.channel.isIdle)

    def test_forgets(self) -> None:
        """Rule 17: what waits for earlier stanzas of the old epoch is dropped."""
        self.receive(self.header(2), "old")
        self.one.channel.requested(Report(EPOCH + 3, 0, 0, True), self.network.now)
        self.one.settle()
        self.assertEqual(self.receive(self.header(1, 0, EPOCH + 3), "new"), ["new"])
        self.assertEqual(self.one.channel._inbox.size, 0)

    def test_opened(self) -> None:
        """Rule 18: what was sent, and is not acknowledged, is sent again, and what was kept follows."""
        self.one.say("a")
        self.one.commit()
        self.network.packets.clear()
        self.one.channel.lost()
        self.one.say("b")
        self.one.commit()
        self.sent()
        self.one.channel.resume(self.network.now)
        self.one.settle()
        self.network.run(0)
        ask, *stanzas = self.sent()
        self.assertEqual(ask, Ask("0.1.1", Report(EPOCH, 1, 0, True, 2)))
        self.assertEqual(stanzas[:2], [SendStanza(self.header(1), b"a"), SendStanza(self.header(2), b"b")])

    def test_resumes(self) -> None:
        """
        Rule 18: a node that is open repeats what the other one dropped, also what came after its request; nothing
        because of a probe, and nothing that was repeated already and may be on its way.
        """
        self.one.say("a")
        self.one.commit()
        self.network.now += 4
        self.one.say("b")
        self.one.commit()
        self.sent()
        for isResume, now, expected in (
            (False, 1_004, []),
            (True, 1_004, [1, 2]),
            (True, 1_008, []),
            (False, 1_009, []),
            (True, 1_009, [1, 2]),
        ):
            self.network.now = now
            self.one.channel.requested(Report(EPOCH, 0, 0, isResume), self.network.now)
            self.one.settle()
            self.assertEqual(self.numbers(), expected)

    def test_linked(self) -> None:
        """
        Rule 11: on a new link, a node asks at once if its stanzas or requests may be lost with the earlier one, or
        if users wait for a lost channel; otherwise nothing is sent.
        """
        self.one.channel.linked(self.network.now)
        self.one.settle()
        self.assertEqual(self.sent(), [])
        self.one.say("a")
        self.one.commit()
        self.network.packets.clear()
        self.sent()
        for identifier in ("0.1.1", "0.1.2"):
            self.one.channel.linked(self.network.now)
            self.one.settle()
            self.assertEqual(self.sent(), [Ask(identifier, Report(EPOCH, 1, 0, False))])
            self.network.packets.clear()
        self.one.channel.lost()
        self.one.channel.linked(self.network.now)
        self.one.settle()
        self.assertEqual(self.sent(), [])
        self.one.watch(True)
        self.one.channel.linked(self.network.now)
        self.one.settle()
        self.assertEqual(self.sent(), [Ask("0.1.3", Report(EPOCH, 1, 0, True, 1))])
        self.network.run(5)
        self.assertEqual(self.two.delivered, ["a"])
        # A probe of the silence.
        self.network.run(50)
        self.sent()
        self.network.packets.clear()
        self.network.now += 10
        self.one.tick()
        self.network.packets.clear()
        self.assertEqual(len(self.sent()), 1)
        self.one.channel.linked(self.network.now)
        self.one.settle()
        self.assertEqual(len(self.sent()), 1)

    def test_silence(self) -> None:
        """Rule 19: a watched channel is probed in silence; the answer is all that comes."""
        self.one.watch(True)
        self.network.run(59)
        self.assertEqual(self.sent(), [])
        self.network.run(1)
        self.assertEqual(self.sent(), [Ask("0.1.1", Report(EPOCH, 0, 0, False))])
        self.network.run(59)
        self.assertEqual(self.sent(), [])
        self.one.channel.roundTrip.smoothed = 20.0
        self.network.run(20)
        self.assertEqual(self.sent(), [])
        self.network.run(1)
        self.assertEqual(len(self.sent()), 1)

    def test_heard(self) -> None:
        """Rule 19: a lost node that hears the other one asks at once, but not for each stanza."""
        self.one.channel.lost()
        for number in (1, 2, 3):
            self.receive(self.header(number), str(number))
        self.assertEqual(self.sent(), [Ask("0.1.1", Report(EPOCH, 0, 0, True))])

    def test_delivered(self) -> None:
        """Rule 20: the owner learns when everything is delivered that both nodes had kept at the opening."""
        for upTo, numbers, acknowledged, level in (
            (0, (), 2, 1),
            (2, (1,), 2, 0),
            (2, (1, 2), 1, 0),
            (2, (1, 2), 2, 1),
            (2, (1, 3, 2), 2, 1),
        ):
            with self.subTest(upTo=upTo, numbers=numbers, acknowledged=acknowledged):
                self.use(PACE)
                self.one.channel.lost()
                for text in "ab":
                    self.one.say(text)
                self.one.commit()
                self.one.channel.requested(Report(EPOCH, 0, 0, True, upTo), self.network.now)
                for number in numbers:
                    self.receive(self.header(number, acknowledged))
                self.receive(self.header(None, acknowledged))
                self.assertEqual(self.one.level, level)

    def test_deliveredLater(self) -> None:
        """Rule 20: what a node keeps after the opening is not awaited; a loss in between begins anew."""
        self.one.channel.lost()
        self.one.say("a")
        self.one.channel.resume(self.network.now)
        self.one.settle()
        self.one.commit()
        self.network.deliver()
        self.network.deliver()
        self.assertEqual((self.one.events, self.one.level), ([Lost(), Opened()], 0))
        self.one.channel.lost()
        self.one.settle()
        self.receive(self.header(None, 1))
        self.assertEqual(self.one.level, 0)
        self.one.channel.resume(self.network.now)
        self.one.settle()
        self.one.say("b")
        self.network.run(30)
        self.assertEqual((self.one.level, self.two.delivered), (1, ["a", "b"]))

    def test_return(self) -> None:
        """Rules 18, 20: the return of both nodes is one exchange, if nothing was kept."""
        for node in (self.one, self.two):
            node.channel.lost()
            node.settle()
        self.one.channel.resume(self.network.now)
        self.one.settle()
        self.network.run(30)
        self.assertEqual(len(self.sent()), 1)
        for node in (self.one, self.two):
            self.assertEqual((node.events, node.level), ([Lost(), Opened()], 1))

    def test_damaged(self) -> None:
        """Records that are none, or are not complete, are an error for the operator."""
        for value, numbers in (("[1,2]", ()), ("x", ()), ("[1,0,0]", (2,)), ("[1,0,0]", (1, 3))):
            stored = StoredChannel(*ROOMS, value, dict.fromkeys(numbers, "x"))
            with self.assertRaises(StoreBroken):
                Channel[str].restored(stored, PACE, "", 0.0)

    def test_end(self) -> None:
        """A channel that ends leaves nothing behind."""
        self.one.say("a")
        self.one.commit()
        self.one._pending.append((self.one.channel.end(), [], [], self.one.channel.take()[1]))
        self.one.commit(isTold=False)
        self.one.start()
        self.assertEqual((self.one.channel.epoch, len(self.one.channel)), (0, 0))

    def test_paces(self) -> None:
        """Waits of each profile fit together; no window is larger than the protocol's."""
        for pace in [each.pace for each in PROFILES.values()]:
            self.assertLess(2 * pace.ackDelay, pace.least)
            self.assertLess(pace.least, pace.first)
            self.assertLess(pace.first, pace.most)
            self.assertLessEqual(pace.window, pace.accepted)

    def test_cited(self) -> None:
        """Each rule of the page has a test that cites it, and each citation is a rule."""
        rules = set(re.findall(r"^(\d+)\. ", PAGE.read_text(), re.MULTILINE))
        source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
        cited = set(re.findall(r"\d+", " ".join(re.findall(r"\bRules? ([\d, ]+)", source))))
        self.assertEqual(rules, {str(number) for number in range(1, 36)})
        self.assertEqual(cited, rules)
