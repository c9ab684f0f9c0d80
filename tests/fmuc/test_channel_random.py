"""Two channels over a network that loses, repeats, reorders and delays, while processes are killed."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import OutboxFull
from gateway.fmuc.channel.values import ChannelState, Pace
from tests.fmuc.channels import PACE, Network
from tests.profiles import thorough

# A narrow window, and few bytes for stanzas that wait for earlier ones.
NARROW = Pace(window=4, accepted=4, stanzas=6, ackDelay=4.0, attempts=2, held=3, age=2_000.0)
# Packets that are on their way at most.
MOST = 60
# Two bytes each: the step; the node and a value.
STEPS = st.binary(min_size=120, max_size=400)


class Run:
    """
    Steps and the network that they concern.

    @ivar refused: stanzas that were refused.
    @ivar seen: what has happened, so that the tests cover it.
    """

    def __init__(self, pace: Pace) -> None:
        self.network = Network(pace)
        self.refused: list[str] = []
        self.seen: set[str] = set()
        self._said = 0
        self._copies: list[list[str] | None] = [None, None]

    def do(self, steps: bytes, table: tuple[Callable[[Run, int, int], None], ...]) -> None:
        """Carry out steps."""
        for step, value in zip(steps[::2], steps[1::2], strict=False):
            table[step % len(table)](self, value & 1, value >> 1)

    def say(self, node: int, value: int) -> None:
        """Send a stanza, or several."""
        for _ in range(1 + value % 3):
            self._said += 1
            text = f"{node}.{self._said}"
            try:
                self.network.nodes[node].say(text)
            except OutboxFull:
                self.refused.append(text)
                self.seen.add("refused")

    def commit(self, node: int, value: int) -> None:
        """Commit what waits."""
        self.network.nodes[node].commit()

    def deliver(self, node: int, value: int) -> None:
        """Deliver the oldest packet, and commit what it changes."""
        if self.network.packets:
            self.network.deliver()
            self.network.nodes[node].commit()

    def overtake(self, node: int, value: int) -> None:
        """Deliver any packet."""
        if self.network.packets:
            self.network.deliver(value % len(self.network.packets))

    def lose(self, node: int, value: int) -> None:
        """Lose packets that follow each other."""
        if self.network.packets:
            start = value % len(self.network.packets)
            del self.network.packets[start : start + 1 + value % 7]

    def repeat(self, node: int, value: int) -> None:
        """Deliver a packet that stays on its way."""
        packets = self.network.packets
        if packets:
            packet = packets[value % len(packets)]
            self.network.nodes[packet.to].receive(packet)

    def wait(self, node: int, value: int) -> None:
        """Let time pass."""
        for _ in range((1, 1, 1, 3, 10)[value % 5]):
            self.network.now += (1, 1, 2, 5)[value % 4]
            for each in self.network.nodes:
                each.tick()
        del self.network.packets[MOST:]

    def kill(self, node: int, value: int) -> None:
        """Kill a process; perhaps between a commit and the news of it."""
        if value % 2:
            self.network.nodes[node].commit(isTold=False)
        self.network.nodes[node].kill()

    def unlink(self, node: int, value: int) -> None:
        """A node's own link is lost for a moment."""
        channel = self.network.nodes[node].channel
        channel.lost()
        if value % 4:
            channel.resume(self.network.now)
        self.network.nodes[node].settle()

    def watch(self, node: int, value: int) -> None:
        """Let local users wait, or not."""
        self.network.nodes[node].watch(value % 2 == 0)

    def copy(self, node: int, value: int) -> None:
        """Copy a store."""
        self._copies[node] = self.network.nodes[node].dump()

    def restore(self, node: int, value: int) -> None:
        """Restore the copy of a store."""
        copy = self._copies[node]
        if copy is not None:
            # What was sent before is not on its way any longer: the limitation of docs/fmuc-resync.md.
            self.network.packets.clear()
            self.network.nodes[node].restore(copy)

    def heal(self) -> None:
        """Let time pass without faults, until nothing is to be done any longer."""
        for node in self.network.nodes:
            node.watch(True)
        self.network.run(300)
        for node in self.network.nodes:
            node.watch(False)
        self.network.run(60)
        sent = len(self.network.sent)
        self.network.run(300)
        assert len(self.network.sent) == sent, self.network.sent[sent:]
        for node in self.network.nodes:
            assert node.channel.state is ChannelState.OPEN
            assert node.channel.isIdle
            assert not node._pending
            for each in node.events:
                self.seen.add(type(each).__name__)

    def check(self) -> None:
        """Check that everything was delivered exactly once, and in order."""
        nodes = self.network.nodes
        for node, other in (nodes, nodes[::-1]):
            assert other.delivered == node.accepted, (node.accepted, other.delivered)
            assert not set(self.refused).intersection(node.accepted)
        assert not self.seen & {"Renewed", "NotInSequence"}


USUAL = (*[Run.say] * 4, *[Run.commit] * 2, *[Run.deliver] * 6, *[Run.wait] * 3, Run.overtake, Run.overtake)
FAULTS = (*USUAL, Run.lose, Run.repeat, Run.repeat, Run.kill, Run.unlink, Run.watch)
RESTORES = (*FAULTS, Run.copy, Run.restore)


def faults(steps: bytes, pace: Pace) -> Run:
    """Try faults of the network and of processes: each accepted stanza is delivered exactly once, and in order."""
    run = Run(pace)
    run.do(steps, FAULTS)
    run.heal()
    run.check()
    return run


def restores(steps: bytes, pace: Pace) -> Run:
    """
    Try operators who restore old copies of the stores, too. Stanzas may be missing then, or be delivered twice; but
    the nodes find each other again, and later stanzas are delivered exactly once, and in order.
    """
    run = Run(pace)
    run.do(steps, RESTORES)
    run.heal()
    nodes = run.network.nodes
    starts = [(len(node.accepted), len(node.delivered)) for node in nodes]
    for number in range(10):
        nodes[number % 2].say(f"after {number}")
        run.network.run(number % 3)
    run.heal()
    for one, other in ((0, 1), (1, 0)):
        said = nodes[one].accepted[starts[one][0] :]
        assert len(said) == 5, said
        assert nodes[other].delivered[starts[other][1] :] == said
    return run


def tried(act: Callable[[bytes, Pace], Run], pace: Pace, chosen: settings) -> set[str]:
    """Try examples; return what has happened in them."""
    seen: set[str] = set()

    @chosen
    @given(STEPS)
    def check(steps: bytes) -> None:
        seen.update(act(steps, pace).seen)

    check()
    return seen


class RandomTests(SynchronousTestCase):
    """Anything that may happen between two nodes."""

    def test_faults(self) -> None:
        """Losses, repetitions, other orders, delays, lost links and killed processes."""
        self.assertEqual(tried(faults, PACE, thorough), {"Opened", "Lost", "refused"})

    def test_narrow(self) -> None:
        """The same with small limits."""
        self.assertEqual(tried(faults, NARROW, thorough), {"Opened", "Lost", "refused"})

    def test_restores(self) -> None:
        """The same with stores that are restored."""
        self.assertLessEqual({"Opened", "Lost", "Renewed", "refused"}, tried(restores, PACE, thorough))
