"""Two nodes with a channel between them, on a network that does anything, and their stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from gateway.errors import NotInSequence
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.channel.values import Ask, Delivered, Mark, Pace, Report, SendAck, SendStanza
from gateway.muc.channel_store import loadChannels
from gateway.muc.records import Record
from gateway.muc.store import MIGRATIONS, saveRecords
from gateway.state.memory import MemoryStore

ROOMS = ("lobby@rooms.example", "lobby\\40rooms.example@mirror.example")
EPOCH = 417
# Small limits, so that short runs reach them.
PACE = Pace(window=8, accepted=8, stanzas=12, age=2_000.0)


@define
class Packet:
    """
    A stanza on its way.

    @ivar to: number of the node.
    """

    to: int
    content: SendStanza | SendAck | Ask | tuple[str, Report]


@define(eq=False)
class Node:
    """
    One of the two nodes: a process, and what it has stored.

    @ivar delivered: stanzas whose effects are stored.
    @ivar accepted: stanzas whose users were told that they are accepted: they are stored.
    @ivar events: what the channel has told its owner, but for L{Delivered}.
    @ivar level: number of times at which everything that both nodes had kept was delivered.
    """

    number: int
    network: Network
    pace: Pace
    store: MemoryStore
    channel: Channel[str] = field(init=False)
    delivered: list[str] = field(factory=list)
    accepted: list[str] = field(factory=list)
    events: list[object] = field(factory=list)
    level: int = 0
    isWatched: bool = False
    _lives: int = 0
    # Of the commits that are to come: records, delivered and accepted stanzas, and the mark.
    _pending: list[tuple[list[Record], list[str], list[str], Mark]] = field(factory=list)

    def start(self) -> None:
        """Start the process with what is stored."""
        self._lives += 1
        token = f"{self.number}.{self._lives}."
        stored = self.store.atStart(loadChannels)
        if stored:
            self.channel = Channel.restored(stored[0], self.pace, token, self.network.now)
        else:
            self.channel = Channel(ROOMS[self.number], ROOMS[1 - self.number], self.pace, token)
        self.channel.isWatched = self.isWatched

    def kill(self) -> None:
        """Kill the process, and start it again."""
        self._pending.clear()
        self.start()
        self.channel.resume(self.network.now)
        self.settle()

    def dump(self) -> list[str]:
        """Return a copy of the store."""
        return list(self.store._session.connection.iterdump())

    def restore(self, copy: list[str]) -> None:
        """Restore a copy, and start the process with it."""
        self.store = MemoryStore(())
        self.store._session.connection.executescript("\n".join(copy[1:-1]))
        self.kill()

    def watch(self, isWatched: bool) -> None:
        """Let local users wait, or not."""
        self.isWatched = self.channel.isWatched = isWatched

    def settle(self, delivered: Iterable[str] = (), accepted: Iterable[str] = (), isDue: bool = False) -> None:
        """Handle what a call has caused."""
        records, mark = self.channel.take(isDue)
        if records:
            self._pending.append((records, list(delivered), list(accepted), mark))
        for each in self.channel.outputs:
            if isinstance(each, SendStanza | SendAck | Ask):
                self.network.send(self.number, each)
            elif isinstance(each, Delivered):
                self.level += 1
            else:
                self.events.append(each)
        self.channel.outputs.clear()

    def say(self, text: str) -> None:
        """Send a stanza."""
        self.channel.send(text.encode(), self.network.now)
        self.settle(accepted=[text])

    def commit(self, isTold: bool = True) -> None:
        """
        Commit what waits, in one transaction.

        @param isTold: False if the process is killed before it learns of it.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        merged: dict[tuple[str, str, str], str | None] = {}
        for records, delivered, accepted, _ in pending:
            for key, value in records:
                merged.pop(key, None)
                merged[key] = value
            self.delivered += delivered
            self.accepted += accepted
        self.store.atStart(saveRecords, list(merged.items()))
        if isTold:
            self.channel.stored(pending[-1][-1], self.network.now)
            self.settle()

    def tick(self) -> None:
        self.channel.tick(self.network.now)
        self.settle(isDue=True)

    def receive(self, packet: Packet) -> None:
        """Handle a packet."""
        content, now = packet.content, self.network.now
        found: list[str] = []
        if isinstance(content, SendStanza | SendAck):
            text = content.stanza.decode() if isinstance(content, SendStanza) else ""
            try:
                found = self.channel.receive(content.header, text, len(text), now)
            except NotInSequence as error:
                self.events.append(error)
        elif isinstance(content, Ask):
            answer = self.channel.requested(content.report, now)
            self.network.packets.append(Packet(1 - self.number, (content.id, answer)))
        else:
            self.channel.answered(*content, now)
        self.settle(found)


@define(eq=False)
class Network:
    """
    The network, with the clock.

    @ivar packets: what is on its way, oldest first.
    @ivar sent: number of packets that were sent.
    """

    pace: Pace = PACE
    now: float = 1_000.0
    packets: list[Packet] = field(factory=list)
    sent: list[Packet] = field(factory=list)
    nodes: list[Node] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.nodes = [Node(number, self, self.pace, MemoryStore(MIGRATIONS)) for number in (0, 1)]
        for node in self.nodes:
            node.start()
            node.channel.begin(EPOCH, self.now)
            node.settle()
            node.commit()

    def send(self, sender: int, content: SendStanza | SendAck | Ask) -> None:
        """Take a stanza of a node."""
        packet = Packet(1 - sender, content)
        self.packets.append(packet)
        self.sent.append(packet)

    def deliver(self, index: int = 0) -> None:
        """Deliver one packet."""
        packet = self.packets.pop(index)
        self.nodes[packet.to].receive(packet)

    def run(self, seconds: float = 0.0, isLost: Callable[[Packet], bool] | None = None) -> None:
        """
        Deliver everything at once, in order, while time passes.

        @param isLost: tells which packets are lost.
        """
        last = self.now + seconds
        while True:
            for node in self.nodes:
                node.commit()
            if self.packets:
                if isLost is not None and isLost(self.packets[0]):
                    del self.packets[0]
                else:
                    self.deliver()
            elif self.now < last:
                self.now += 1.0
                for node in self.nodes:
                    node.tick()
            elif not any(node._pending for node in self.nodes):
                return
