"""The way of each stanza: no stanza of a pair of components overtakes an earlier one."""

from __future__ import annotations

from collections import deque
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.peers import paths
from gateway.peers.order import Order
from gateway.peers.paths import MAX_REFUSED, QUIET, Pair, Paths
from tests.profiles import thorough

WAIT = 15.0
# Components, and one of the peer.
ONE, OTHER, PEER = "one.example", "two.example", "peer.example"


class World:
    """
    Two ways: the direct link, which delivers at once, and a server, which delivers when it is told to, and keeps
    nothing for longer than L{QUIET}.

    @ivar arrived: (component, number) in the order of arrival; of refused ones, in C{refused}.
    """

    def __init__(self, fallsBack: bool = True) -> None:
        self.now = 0.0
        self.isFull = False
        self.arrived: list[tuple[str, bytes]] = []
        self.refused: list[tuple[str, bytes]] = []
        self.server: deque[tuple[str, bytes | int]] = deque()
        self.times: deque[float] = deque()
        self.lost = 0
        self.pings: list[tuple[str, int]] = []
        self.component = ""
        self.paths = Paths(self, fallsBack, WAIT, 0.0)

    def put(self, component: str, data: bytes, order: Order = Order.STRICT) -> bool:
        return self.paths.put((component, PEER), component.encode() + b" " + data, self.now, order)

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        while self.times and self.times[0] + QUIET <= self.now:
            self.times.popleft()
            self.lost += isinstance(self.server.popleft()[1], bytes)
        self.paths.tick(self.now)

    # The port.

    def sendDirectly(self, data: bytes) -> bool:
        component, _, number = data.partition(b" ")
        self.arrived.append((component.decode(), number))
        return True

    def sendByServer(self, pair: Pair, data: bytes) -> bool:
        self.server.append((pair[0], data.partition(b" ")[2]))
        self.times.append(self.now)
        return True

    def ping(self, pair: Pair, number: int) -> None:
        self.pings.append((pair[0], number))
        self.server.append((pair[0], number))
        self.times.append(self.now)

    def refuse(self, pair: Pair, data: bytes) -> None:
        self.refused.append((pair[0], data.partition(b" ")[2]))

    def serve(self) -> None:
        """The server delivers the oldest stanza, or the answer to a ping."""
        if self.server:
            component, data = self.server.popleft()
            self.times.popleft()
            if isinstance(data, int):
                self.paths.answered((component, PEER), data, self.now)
            else:
                self.arrived.append((component, data))

    def lose(self) -> None:
        """The server loses all that it has, without an error."""
        self.lost += sum(isinstance(data, bytes) for _, data in self.server)
        self.server.clear()
        self.times.clear()


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["up", "down", "full", "room", "serve", "serve", "lose", "wait", "wait", "long"]),
        st.sampled_from([ONE, OTHER, "channel"]),
    ),
    max_size=60,
)


class PathTests(SynchronousTestCase):
    """The rules."""

    def test_waits(self) -> None:
        """At the start, and after a loss, stanzas wait for the direct link."""
        world = World()
        world.put(ONE, b"1")
        world.tick(WAIT - 1)
        self.assertEqual((world.arrived, len(world.server)), ([], 0))
        world.paths.connected(world.now)
        world.put(ONE, b"2")
        self.assertEqual(world.arrived, [(ONE, b"1"), (ONE, b"2")])
        world.paths.disconnected(world.now)
        world.put(ONE, b"3")
        self.assertEqual((world.paths.waiting, world.paths.waitingBytes), (1, len(ONE) + 2))
        world.paths.connected(world.now)
        self.assertEqual(world.arrived[-1], (ONE, b"3"))
        self.assertEqual(world.pings, [])

    def test_flows(self) -> None:
        """Stanzas flow since the link is up, or since they go by the server, or since its ping was answered."""
        world = World()
        self.assertEqual(world.paths.flowsSince, inf)
        world.tick(WAIT)
        self.assertEqual(world.paths.flowsSince, WAIT)
        world.put(ONE, b"1")
        world.tick(5)
        world.paths.connected(world.now)
        self.assertEqual(world.paths.flowsSince, WAIT + 5)
        world.tick()
        [(component, number)] = world.pings
        world.paths.answered((component, PEER), number, world.now)
        self.assertEqual(world.paths.flowsSince, WAIT + 6)
        world.paths.disconnected(world.now)
        self.assertEqual(world.paths.flowsSince, inf)
        world = World()
        world.tick(WAIT)
        world.put(ONE, b"1")
        world.paths.connected(world.now)
        world.tick(QUIET)
        self.assertEqual(world.paths.flowsSince, WAIT + QUIET)
        refuses = World(False)
        refuses.tick(WAIT)
        self.assertEqual(refuses.paths.flowsSince, inf)

    def test_fallback(self) -> None:
        """If the link does not come back in time, all go by the server, in their order; then at once."""
        world = World()
        world.put(ONE, b"1")
        world.put(ONE, b"2")
        world.tick(WAIT)
        world.put(ONE, b"3")
        self.assertEqual([each for _, each in world.server], [b"1", b"2", b"3"])

    def test_noFallback(self) -> None:
        """Without a fallback they are refused."""
        world = World(False)
        world.put(ONE, b"1")
        world.tick(WAIT)
        world.put(ONE, b"2")
        self.assertEqual((world.refused, len(world.server)), ([(ONE, b"1"), (ONE, b"2")], 0))
        world.paths.connected(world.now)
        world.put(ONE, b"3")
        self.assertEqual(world.arrived, [(ONE, b"3")])

    def test_manyRefused(self) -> None:
        """Many that wait are refused over several ticks, in their order; all at once if the peer is removed."""
        count = 2 * MAX_REFUSED + 1
        for isRemoved in (False, True):
            world = World(False)
            for number in range(count):
                world.put(ONE, b"%d" % number)
            world.tick(WAIT)
            self.assertEqual(len(world.refused), MAX_REFUSED)
            world.put(ONE, b"last")
            if isRemoved:
                world.paths.end(world.now)
            else:
                world.tick()
                self.assertEqual(len(world.refused), 2 * MAX_REFUSED)
                world.tick()
            expected = [*(b"%d" % number for number in range(count)), b"last"]
            self.assertEqual([each for _, each in world.refused], expected)
            world.put(ONE, b"at once")
            self.assertEqual(world.refused[-1], (ONE, b"at once"))
        world = World()
        for number in range(count):
            world.put(ONE, b"%d" % number)
        world.tick(WAIT)
        self.assertEqual(len(world.server), count, "what goes by the server needs no handler")

    def test_ping(self) -> None:
        """After the fallback, a ping that the server answers comes before the next stanza on the direct link."""
        world = World()
        world.put(ONE, b"1")
        world.tick(WAIT)
        world.paths.connected(world.now)
        world.put(ONE, b"2")
        world.put(OTHER, b"1")
        self.assertEqual(world.arrived, [(OTHER, b"1")], "the other component has not used the server")
        world.serve()
        world.serve()
        self.assertEqual(world.arrived, [(OTHER, b"1"), (ONE, b"1"), (ONE, b"2")])

    def test_lostPing(self) -> None:
        """
        The server may lose a ping without an error, with a connection that fails. Another one follows, and then
        later ones less often; each answer counts, that to an earlier one, too.
        """
        for isEarlier in (False, True):
            world = World()
            world.put(ONE, b"1")
            world.tick(WAIT)
            world.paths.connected(world.now)
            world.put(ONE, b"2")
            if not isEarlier:
                world.lose()
            for _ in range(int(WAIT)):
                world.tick()
            self.assertEqual((len(world.pings), world.arrived), (2, []))
            while world.server and world.arrived[-1:] != [(ONE, b"2")]:
                world.serve()
            self.assertEqual(world.arrived[-1:], [(ONE, b"2")])
            for _ in range(int(QUIET)):
                world.tick()
            self.assertEqual(len(world.pings), 2, "no ping follows an answer")
        world = World()
        world.put(ONE, b"1")
        world.tick(WAIT)
        world.paths.connected(world.now)
        world.put(ONE, b"2")
        times = []
        for second in range(int(QUIET)):
            before = len(world.pings)
            world.tick()
            times += [second + 1] * (len(world.pings) - before)
        self.assertEqual((times, world.arrived), ([15, 45, 105], [(ONE, b"2")]))

    def test_pairs(self) -> None:
        """Each pair of components has its own order, and its own ping: s2s has a connection for each of them."""
        world = World()
        world.put(ONE, b"1")
        world.paths.put((ONE, "third.example"), b"one.example 2", world.now)
        world.tick(WAIT)
        world.paths.connected(world.now)
        self.assertEqual(len(world.pings), 2)
        world.put(ONE, b"3")
        world.paths.put((ONE, "third.example"), b"one.example 4", world.now)
        world.paths.answered((ONE, "third.example"), world.pings[1][1], world.now)
        self.assertEqual(world.arrived, [(ONE, b"4")])
        world.paths.answered((ONE, PEER), world.pings[0][1], world.now)
        self.assertEqual(world.arrived, [(ONE, b"4"), (ONE, b"3")])

    def fallenBack(self, *orders: Order) -> World:
        """Return a world whose server was given stanzas with these orders, and whose direct link is up again."""
        world = World()
        for number, order in enumerate(orders):
            world.put(ONE, b"%d" % number, order)
        world.tick(WAIT)
        self.assertEqual(len(world.server), len(orders))
        world.paths.connected(world.now)
        return world

    def test_channel(self) -> None:
        """Stanzas of a channel need no ping: they use the direct link as soon as it is up."""
        world = self.fallenBack(Order.CHANNEL, Order.ANY)
        self.assertEqual(world.pings, [])
        world.put(ONE, b"c", Order.CHANNEL)
        world.put(ONE, b"s")
        self.assertEqual(world.arrived, [(ONE, b"c"), (ONE, b"s")])

    def test_channelBeforeAnswer(self) -> None:
        """They do not wait for the answer to a ping, either; but overtake nothing that waits here."""
        world = self.fallenBack(Order.STRICT)
        self.assertEqual(len(world.pings), 1)
        world.put(ONE, b"c", Order.CHANNEL)
        self.assertEqual(world.arrived, [(ONE, b"c")])
        world.isFull = True
        world.put(ONE, b"d", Order.CHANNEL)
        world.put(ONE, b"s", Order.OPENING)
        world.put(ONE, b"e", Order.CHANNEL)
        world.isFull = False
        world.paths.flush(world.now)
        self.assertEqual(world.arrived[1:], [(ONE, b"d")])
        world.serve()
        world.serve()
        self.assertEqual(world.arrived[2:], [(ONE, b"0"), (ONE, b"s"), (ONE, b"e")])

    def test_opening(self) -> None:
        """A stanza that opens a channel is not overtaken on its way by the server, as long as that may keep it."""
        world = self.fallenBack(Order.OPENING)
        world.put(ONE, b"c", Order.CHANNEL)
        self.assertEqual(world.arrived, [])
        world.serve()
        world.serve()
        self.assertEqual(world.arrived, [(ONE, b"0"), (ONE, b"c")])
        for hasAnswer in (True, False):
            # It is known to have arrived, or no server keeps it any longer.
            world = self.fallenBack(Order.OPENING)
            if hasAnswer:
                world.serve()
                world.serve()
            world.paths.disconnected(world.now)
            world.tick(QUIET)
            world.paths.connected(world.now)
            world.paths.disconnected(world.now)
            world.tick(WAIT)
            world.put(ONE, b"s")
            world.paths.connected(world.now)
            world.put(ONE, b"c", Order.CHANNEL)
            self.assertEqual(world.arrived[-1:], [(ONE, b"c")])

    def test_noAnswer(self) -> None:
        """If no answer comes, stanzas wait until the server cannot keep an earlier one any longer."""
        world = World()
        world.put(ONE, b"1")
        world.tick(WAIT)
        world.paths.connected(world.now)
        world.put(ONE, b"2")
        world.tick(QUIET - 1)
        self.assertEqual(world.arrived, [])
        world.tick(1)
        self.assertEqual(world.arrived, [(ONE, b"2")])

    def test_quiet(self) -> None:
        """After a long time without a stanza by the server there is no ping: it would cost a connection of s2s."""
        world = World()
        world.put(ONE, b"1")
        world.tick(WAIT)
        world.tick(QUIET)
        world.paths.connected(world.now)
        world.put(ONE, b"2")
        self.assertEqual((world.pings, world.arrived), ([], [(ONE, b"2")]))

    def test_oldPing(self) -> None:
        """The answer to the ping of an earlier connection does not count."""
        world = World()
        world.put(ONE, b"1")
        world.tick(WAIT)
        world.paths.connected(world.now)
        [(_, first)] = world.pings
        world.paths.disconnected(world.now)
        world.paths.connected(world.now)
        world.put(ONE, b"2")
        world.paths.answered((ONE, PEER), first, world.now)
        self.assertEqual(world.arrived, [])
        world.paths.answered((ONE, PEER), world.pings[-1][1], world.now)
        self.assertEqual(world.arrived, [(ONE, b"2")])

    def test_full(self) -> None:
        """While the direct link takes nothing, stanzas wait; their number and size are bounded."""
        self.patch(paths, "MAX_COUNT", 3)
        world = World()
        world.paths.connected(world.now)
        world.isFull = True
        self.assertEqual([world.put(ONE, b"%d" % number) for number in range(4)], [True, True, True, False])
        self.assertTrue(world.put(OTHER, b"0"))
        world.isFull = False
        world.paths.flush(world.now)
        self.assertEqual([each for name, each in world.arrived if name == ONE], [b"0", b"1", b"2"])
        self.patch(paths, "MAX_BYTES", 100)
        world.isFull = True
        self.assertFalse(world.put(ONE, b"x" * 100))

    @thorough
    @given(STEPS, st.booleans())
    def test_order(self, steps: list[str], fallsBack: bool) -> None:
        """
        Stanzas of a pair arrive in their order, each once at most, and none is forgotten. Those of a channel may
        overtake some.
        """
        world = World(fallsBack)
        count, channel = 0, set[int]()
        for step in steps:
            if step == "up" and not world.paths.isUp:
                world.paths.connected(world.now)
            elif step == "down" and world.paths.isUp:
                world.paths.disconnected(world.now)
            elif step in ("full", "room"):
                world.isFull = step == "full"
            elif step in ("serve", "lose"):
                getattr(world, step)()
            elif step in ("wait", "long"):
                world.tick(5.0 if step == "wait" else 80.0)
            elif step == "channel" or "." in step:
                count += 1
                channel |= {count} if step == "channel" else set()
                order = Order.CHANNEL if step == "channel" else Order.STRICT
                world.put(ONE if step == "channel" else step, b"%d" % count, order)
        world.isFull = False
        if not world.paths.isUp:
            world.paths.connected(world.now)
        while world.server:
            world.serve()
        # A ping may be lost.
        world.tick(QUIET)
        for component in (ONE, OTHER):
            numbers = [int(each) for name, each in world.arrived if name == component]
            self.assertEqual(len(numbers), len(set(numbers)))
            strict = [each for each in numbers if each not in channel]
            self.assertEqual(strict, sorted(strict))
        self.assertEqual(len(world.arrived) + len(world.refused) + world.lost, count)
