"""The rules of a link, with a clock that is a number."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.link.core import (
    Abort,
    Become,
    Connect,
    Counts,
    Cut,
    Deliver,
    Effect,
    Finish,
    Link,
    LinkState,
    Listen,
    Pause,
    Shape,
    Side,
    Way,
    randomFaults,
)
from tests.profiles import steady

A, B = Side.A, Side.B
UP, HOLE, DOWN = LinkState


class Run:
    """A link, and its effects with their times."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.now = 0.0
        self.happened: list[tuple[float, Effect]] = []

    def note(self, effects: list[Effect]) -> None:
        """Keep effects."""
        self.happened += [(self.now, each) for each in effects]

    def until(self, end: float) -> None:
        """Advance from one event to the next, as a reactor does."""
        while (at := self.link.nextAt()) <= end:
            self.now = max(self.now, at)
            self.note(self.link.advance(self.now))
        self.now = end

    def send(self, data: bytes, side: Side = A, connection: Any = 1) -> None:
        """Send bytes now."""
        self.note(self.link.received(connection, side, data, self.now))

    def step(self, step: Any) -> None:
        """Carry out a step now."""
        self.note(self.link.take(step, self.now))

    def delivered(self, side: Side = B, connection: Any = 1) -> bytes:
        """Return what a side got on a connection."""
        return b"".join(
            each.data
            for _, each in self.happened
            if isinstance(each, Deliver) and (each.side, each.connection) == (side, connection)
        )

    def lastAt(self, side: Side = B) -> float:
        """Return the time of the last delivery to a side."""
        return max(at for at, each in self.happened if isinstance(each, Deliver) and each.side is side)


def opened(way: Way | None = None, **options: Any) -> Run:
    """Return a link with one connection, opened by A."""
    run = Run(Link(way, **options))
    run.note(run.link.opened(1, 0.0))
    return run


class TimeTests(SynchronousTestCase):
    """Bandwidth, delay and jitter."""

    def test_plain(self) -> None:
        """Without limits, bytes are delivered at once."""
        run = opened()
        run.send(b"x" * 100_000)
        self.assertEqual(run.delivered(), b"x" * 100_000)
        self.assertEqual(run.link.nextAt(), math.inf)

    def test_bandwidth(self) -> None:
        """300 bytes take a second at 2,400 bit/s, each direction for itself; the delay comes on top."""
        run = opened(Way(2_400, delay=1.5))
        run.send(b"x" * 300)
        run.send(b"y" * 600, B)
        run.until(2.4)
        self.assertLess(len(run.delivered()), 300)
        run.until(10)
        self.assertEqual((run.delivered(), run.delivered(A)), (b"x" * 300, b"y" * 600))
        self.assertAlmostEqual(run.lastAt(), 2.5)
        self.assertAlmostEqual(run.lastAt(A), 3.5)

    def test_idle(self) -> None:
        """The time in which a link is idle is not saved."""
        run = opened(Way(800))
        run.until(100)
        run.send(b"x" * 100)
        run.until(200)
        self.assertAlmostEqual(run.lastAt(), 101)

    def test_late(self) -> None:
        """Bytes that arrive before a step are delivered before it, also if the clock passes both at once."""
        run = opened(Way(80), script=[(10.0, Cut())])
        run.send(b"x" * 50)
        run.now = 20.0
        run.note(run.link.advance(run.now))
        self.assertEqual(run.delivered(), b"x" * 50)
        self.assertEqual(run.happened[-1], (20.0, Abort(1)))

    def test_held(self) -> None:
        """Bytes that wait in a black hole take their time after it."""
        run = opened(Way(800))
        run.step(Become(HOLE))
        run.send(b"x" * 100)
        run.until(10)
        run.step(Become(UP))
        run.until(20)
        self.assertAlmostEqual(run.lastAt(), 11)

    def test_shared(self) -> None:
        """Connections share the bandwidth: the second waits for the first."""
        run = opened(Way(800))
        run.note(run.link.opened(2, 0.0))
        run.send(b"x" * 100)
        run.send(b"y" * 100, connection=2)
        run.until(10)
        self.assertEqual(run.delivered(connection=2), b"y" * 100)
        self.assertAlmostEqual(run.lastAt(), 2)

    def test_changed(self) -> None:
        """A change of the bandwidth holds for the bytes that wait."""
        run = opened(Way(80), script=[(10.0, Shape(Way(8_000), A))])
        run.send(b"x" * 1_100)
        run.until(100)
        # 100 bytes, and at most one piece more, by the old one.
        self.assertTrue(11 <= run.lastAt() <= 12.6, run.lastAt())

    def test_jitter(self) -> None:
        """Jitter delays, within its bounds, and by the seed; bytes stay in their order."""

        def arrivals(seed: int) -> list[float]:
            run = opened(Way(delay=1, jitter=5), seed=seed)
            for number in range(50):
                run.send(bytes([number]))
            run.until(100)
            self.assertEqual(run.delivered(), bytes(range(50)))
            return [at for at, each in run.happened if isinstance(each, Deliver)]

        first = arrivals(1)
        self.assertEqual(first, arrivals(1))
        self.assertNotEqual(first, arrivals(2))
        self.assertTrue(1 <= min(first) < max(first) <= 6, first)


class FaultTests(SynchronousTestCase):
    """Cuts, black holes, and a link that is down."""

    def test_opened(self) -> None:
        """A connection is passed on; its end comes after its bytes, and what the other side sent is lost."""
        run = opened(Way(80))
        self.assertEqual(run.happened, [(0.0, Connect(1))])
        run.send(b"x" * 20)
        run.send(b"y" * 20, B)
        run.note(run.link.closed(1, A, 0.0))
        run.until(10)
        self.assertEqual(run.delivered(), b"x" * 20)
        self.assertEqual(run.happened[-1], (2.0, Finish(1, B)))
        self.assertEqual(run.link.counts, {A: Counts(20, 20, 0), B: Counts(20, 0, 20)})
        run.send(b"more")
        self.assertEqual(run.link.counts[A].sent, 20)

    def test_cut(self) -> None:
        """A cut resets each connection, and loses what is under way and what waits; then the link works."""
        run = opened(Way(80, delay=1))
        run.send(b"x" * 100)
        run.until(5)
        before = len(run.delivered())
        run.step(Cut())
        run.until(50)
        self.assertEqual(run.happened[-1], (5.0, Abort(1)))
        self.assertEqual(run.link.counts[A], Counts(100, before, 100 - before))
        self.assertTrue(0 < before < 100)
        run.note(run.link.opened(2, 50.0))
        run.send(b"z", connection=2)
        run.until(60)
        self.assertEqual(run.delivered(connection=2), b"z")

    def test_thawed(self) -> None:
        """A black hole takes bytes and connections without an answer; if it ends by itself, all is delivered."""
        run = opened()
        run.step(Become(HOLE))
        run.send(b"late")
        run.note(run.link.opened(2, 0.0))
        run.send(b"too", connection=2)
        run.until(30)
        self.assertEqual(run.happened, [(0.0, Connect(1))])
        run.step(Become(UP))
        self.assertEqual(run.happened[1], (30.0, Connect(2)))
        self.assertEqual((run.delivered(), run.delivered(connection=2)), (b"late", b"too"))

    def test_reset(self) -> None:
        """If a black hole ends with a reset, all that was sent meanwhile is lost."""
        run = opened(script=[(1.0, Become(HOLE)), (4.0, Cut()), (4.0, Become(UP))])
        run.until(2)
        run.send(b"lost")
        run.until(5)
        self.assertEqual(run.happened, [(0.0, Connect(1)), (4.0, Abort(1))])
        self.assertEqual(run.link.counts[A], Counts(4, 0, 4))

    def test_abandoned(self) -> None:
        """A connection that was opened and closed in a black hole is not passed on."""
        run = Run(Link())
        run.step(Become(HOLE))
        run.note(run.link.opened(1, 0.0))
        run.note(run.link.closed(1, A, 0.0))
        run.step(Become(UP))
        self.assertEqual(run.happened, [])

    def test_down(self) -> None:
        """A link that is down refuses connections, once."""
        run = opened()
        run.step(Become(DOWN))
        run.step(Become(DOWN))
        run.note(run.link.opened(2, 0.0))
        run.step(Become(HOLE))
        run.step(Become(UP))
        effects = [each for _, each in run.happened]
        self.assertEqual(effects, [Connect(1), Abort(1), Listen(False), Abort(2), Listen(True)])

    def test_buffer(self) -> None:
        """A sender that is faster than the link is paused, and resumed when half of the buffer is free."""
        run = opened(Way(800), buffer=1_000)
        run.send(b"x" * 1_000)
        run.send(b"x" * 200)
        self.assertIn((0.0, Pause(1, A, True)), run.happened)
        run.until(20)
        [(at, _)] = [each for each in run.happened if each[1] == Pause(1, A, False)]
        self.assertTrue(6.8 <= at <= 7.2, at)

    def test_random(self) -> None:
        """Random faults are the same for each seed, in order; each kind occurs, and each fault ends."""
        script = randomFaults(7, 10_000, 30, 5)
        self.assertEqual(script, randomFaults(7, 10_000, 30, 5))
        self.assertNotEqual(script, randomFaults(8, 10_000, 30, 5))
        self.assertEqual(script, sorted(script, key=lambda each: each[0]))
        self.assertEqual({step for _, step in script}, {Cut(), *map(Become, LinkState)})
        self.assertEqual([step for _, step in script if isinstance(step, Become)][-1], Become(UP))

    @steady
    @given(st.integers(0, 1_000), st.integers(0, 3))
    def test_conserved(self, seed: int, jitter: int) -> None:
        """
        With any faults, a connection delivers a beginning of what was sent, and all of it unless it was reset; each
        byte is delivered or lost.
        """
        run = Run(Link(Way(4_000, 0.5, jitter), randomFaults(seed, 100, 10, 5), seed))
        sent: dict[int, bytes] = defaultdict(bytes)
        for number in range(50):
            run.until(number * 2)
            run.note(run.link.opened(number, run.now))
            for connection in range(max(0, number - 3), number + 1):
                data = bytes([number]) * (100 + connection)
                before = run.link.counts[A].sent
                run.send(data, connection=connection)
                if run.link.counts[A].sent > before:
                    sent[connection] += data
        run.until(1_000)
        reset = {each.connection for _, each in run.happened if isinstance(each, Abort)}
        for connection, data in sent.items():
            found = run.delivered(connection=connection)
            self.assertTrue(data.startswith(found))
            self.assertTrue(connection in reset or found == data)
        counts = run.link.counts[A]
        self.assertEqual(counts.sent, counts.delivered + counts.lost)
        self.assertEqual(counts.sent, sum(map(len, sent.values())))
