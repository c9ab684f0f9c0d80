"""
The reliable channels of the nodes of one service: negotiation, stanzas and requests; pure.

A channel exists from the negotiation on until one of the nodes has left and everything is delivered, or until the
other node does not know it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from math import inf

from attrs import define, field, frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, GatewayError, NoSuchAddress, NotInSequence, ResourceLimit
from gateway.fmuc.actions import Kept, ToNode
from gateway.fmuc.channel import stanzas as channel_stanzas
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.channel.values import (
    ChannelState,
    Delivered,
    Lost,
    Mark,
    Opened,
    Pace,
    Renewed,
    Tally,
)
from gateway.fmuc.nodes import JoiningNode, Node
from gateway.fmuc.values import ABSENT, Dialect
from gateway.muc.actions import SendResult
from gateway.muc.channel_store import StoredChannel
from gateway.muc.occupant_iq import errorOf
from gateway.muc.records import Record
from gateway.stream.stanzas import Stanza

# Bare JID of the room here, and of the room there.
Place = tuple[str, str]

# Seconds that a channel whose node has left tries to deliver what is left.
_MAX_REST = 600.0
# Channels whose nodes have left; above this number, the oldest one ends.
_MAX_RESTING = 1_000
# Ended channels whose epochs are known; of more, the oldest one is forgotten.
_MAX_ENDED = 1_000
# Channels that are opened each second after a start.
_MAX_RESUMED = 50
# Offered epochs are minutes since 2026-01-01, so that another process offers a greater one.
_SINCE, _MINUTE = 1_767_225_600.0, 60.0
# Conditions of errors by which the other node's gateway refuses a single stanza.
_REFUSALS = frozenset(("internal-server-error", "recipient-unavailable", "resource-constraint"))
_UNREACHABLE = ABSENT - _REFUSALS
# Conditions by which the other node says that it does not know the channel.
_UNKNOWN = frozenset(("item-not-found", "feature-not-implemented"))
_OUT_OF_SEQUENCE = "unexpected-request"


@frozen
class Forgotten:
    """The other node does not know the channel any longer; it has ended here, too."""


Event = Opened | Delivered | Lost | Renewed | Forgotten


@define
class Taken:
    """
    Effects of the last calls.

    @ivar records: records that must be stored before what they tell is sent.
    @ivar marks: the channels that must be told of the commit.
    @ivar sent: stanzas, in their order.
    @ivar events: changes of channels.
    """

    records: list[Record] = field(factory=list)
    marks: list[tuple[Channel[Stanza], Mark]] = field(factory=list)
    sent: list[tuple[ToNode, bytes]] = field(factory=list)
    events: list[tuple[Place, Event]] = field(factory=list)


@define(eq=False)
class Channels:
    """
    All channels of one service.

    @param token: distinguishes requests of this process from those of an earlier one.
    @param utc: returns the time in seconds since 1970 from the link's clock.
    @param mayBeNode: returns True if a sender (bare JID) may be a node of a room (bare JID).
    @ivar flowsSince: returns since when stanzas to a domain have not waited, as L{gateway.stream.link.Link} does.
    @ivar observeReturn: is called with the seconds of a return; C{None} if nobody needs them.
    """

    token: str
    utc: Callable[[float], float]
    mayBeNode: Callable[[str, str], bool]
    table: dict[Place, Channel[Stanza]] = field(factory=dict)
    observeReturn: Callable[[float], object] | None = None
    flowsSince: Callable[[str], float] = lambda domain: -inf
    tally: Tally = field(factory=Tally)
    _offered: int = 0
    # Channels that calls have changed; the values mean nothing.
    _touched: dict[Place, None] = field(factory=dict)
    _taken: Taken = field(factory=Taken)
    # Channels that are to be opened; the values mean nothing.
    _closed: dict[Place, None] = field(factory=dict)
    # Channels whose stanzas may be lost; the values mean nothing.
    _linked: dict[Place, None] = field(factory=dict)
    # Epochs of ended channels: a node that has lost its state may offer the same one within the minute.
    _ended: dict[Place, int] = field(factory=dict)
    # Times at which nodes have left whose channels are in the table.
    _resting: dict[Place, float] = field(factory=dict)

    def restore(self, stored: Iterable[StoredChannel], now: float) -> None:
        """
        Restore the channels of an earlier process.

        @raise StoreBroken: if the records are not those of channels.
        """
        for each in stored:
            channel = self.table[each.room, each.peer] = Channel.restored(each, Pace(), self._ids, now, self.tally)
            channel.flowsSince = self._flowsTo(each.peer)

    def _flowsTo(self, peer: str) -> Callable[[], float]:
        return lambda: self.flowsSince(jids.split(peer)[1])

    @property
    def _ids(self) -> str:
        return f"c{self.token}-"

    @property
    def waiting(self) -> int:
        """Number of stanzas that are kept for nodes that do not answer."""
        return sum(len(each) for each in self.table.values() if each.state is ChannelState.LOST)

    # Negotiation.

    def offer(self, room: str, node: Node, now: float) -> int:
        """Return the epoch that a first join offers; an earlier channel has ended."""
        self.end(room, node)
        self._offered = max(self._offered + 1, int((self.utc(now) - _SINCE) / _MINUTE))
        # One node may have chosen an epoch that is no number for others.
        return max(self._ended.get((room, node.jid), -1) + 1, self._offered)

    def agreed(self, room: str, node: JoiningNode) -> int | None:
        """Return the epoch of a channel that is accepted (rule 2); C{None} if none was offered."""
        if node.offer is None:
            return None
        place = room, node.jid
        known = self.table.get(place)
        latest = self._ended.get(place, -1) if known is None else known.epoch
        return max(node.offer, latest + 1)

    def begin(self, room: str, node: Node, epoch: int, now: float) -> None:
        """Begin a channel that was negotiated."""
        place = room, node.jid
        self.end(room, node)
        channel = self.table[place] = node.channel = Channel(
            room, node.jid, node.profile.pace, self._ids, tally=self.tally
        )
        channel.flowsSince = self._flowsTo(node.jid)
        channel.begin(epoch, now)
        self.touch(place)

    def end(self, room: str, node: Node) -> list[bytes]:
        """End the channel with a node; return the messages that the node has not acknowledged."""
        node.channel = None
        return self.drop((room, node.jid))

    def drop(self, place: Place) -> list[bytes]:
        """End a channel whose node has left; otherwise as L{end}."""
        channel = self.table.pop(place, None)
        self._touched.pop(place, None)
        self._resting.pop(place, None)
        if channel is None:
            return []
        self._ended.pop(place, None)
        self._ended[place] = channel.epoch
        if len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        messages = [each for each in channel.unacknowledged() if channel_stanzas.nameOf(each) == b"message"]
        self._taken.records += channel.end()
        return messages

    # Stanzas.

    def touch(self, place: Place) -> None:
        """A channel has changed: L{take} follows."""
        self._touched[place] = None

    @property
    def isChanged(self) -> bool:
        """True if there is something to L{take}."""
        return bool(self._touched or self._taken.records or self._taken.events)

    def take(self, isDue: bool = False) -> Taken:
        """
        Return what the last calls have caused.

        @param isDue: as in L{Channel.take}.
        """
        taken, self._taken = self._taken, Taken()
        touched, self._touched = self._touched, {}
        for place in touched:
            channel = self.table[place]
            records, mark = channel.take(isDue)
            if records:
                taken.records += records
                taken.marks.append((channel, mark))
            outputs, channel.outputs = channel.outputs, []
            for each in outputs:
                if isinstance(each, Delivered) and self.observeReturn is not None:
                    self.observeReturn(each.seconds)
                if isinstance(each, Opened | Delivered | Lost | Renewed):
                    taken.events.append((place, each))
                else:
                    taken.sent.append((_toNode(place), channel_stanzas.written(*place, each)))
        return taken

    def stored(self, channel: Channel[Stanza], mark: Mark, now: float) -> None:
        """Handle the commit of what was taken."""
        place = channel.room, channel.peer
        if self.table.get(place) is channel:
            channel.stored(mark, now)
            self.touch(place)

    def all(self) -> list[Record]:
        """Return the records of all channels, for a new store."""
        return [record for channel in self.table.values() for record in channel.all()]

    def isKnown(self, sender: str, recipient: str) -> bool:
        """True if there is a channel between two nodes, by the addresses of a stanza."""
        return (jids.bare(recipient), jids.bare(sender)) in self.table

    def received(self, stanza: Stanza, now: float) -> Iterator[Stanza]:
        """
        Handle a presence or a message; return the stanzas that are to be handled now, in order. If one of them ends
        the channel, there are no further ones: they are of an earlier stay (rule 9).

        @raise GatewayError: the answer is this error.
        """
        room, peer = place = jids.bare(stanza.recipient or ""), jids.bare(stanza.sender or "")
        channel = self.table.get(place)
        header = channel_stanzas.headerOf(stanza)
        if stanza.type == "error" and (header is None or channel is None):
            return iter((stanza,) if channel is None else self._failed(place, channel, stanza, now))
        if channel is None:
            if header is None or not self.mayBeNode(peer, room):
                return iter((stanza,))
            if header.number is None or header.epoch <= self._ended.get(place, -1):
                # It may have been sent before the other node knew of the end: an error might end the next channel.
                return iter(())
            raise NoSuchAddress
        if header is None:
            if stanza.name == "message":
                raise NotInSequence
            return iter((stanza,))
        self.touch(place)
        found = channel.receive(header, stanza, len(stanza.raw), now)
        return self._untilEnd(place, channel, found)

    def _untilEnd(self, place: Place, channel: Channel[Stanza], found: list[Stanza]) -> Iterator[Stanza]:
        for each in found:
            if self.table.get(place) is not channel:
                return
            if not channel_stanzas.isEmpty(each):
                yield each

    def _failed(self, place: Place, channel: Channel[Stanza], stanza: Stanza, now: float) -> list[Stanza]:
        """Handle the error of a stanza; it is repeated, unless the other node has refused it."""
        condition = errorOf(stanza).condition
        isOfNode = stanza.name == "presence" or "/" not in (stanza.sender or "")
        if condition in _UNREACHABLE or condition == _OUT_OF_SEQUENCE:
            channel.doubt(now)
            self.touch(place)
            return []
        if condition in _UNKNOWN and isOfNode:
            self.forget(place)
            return []
        return [stanza]

    def forget(self, place: Place) -> None:
        """End a channel that the other node does not know, or that is of no use any longer; L{take} follows."""
        self._taken.events.append((place, Forgotten()))

    # Requests.

    def request(self, stanza: Stanza, now: float) -> SendResult:
        """
        Return the answer to a request for the numbers of this node (L{channel_stanzas.isRequest}).

        @raise GatewayError: the answer is this error.
        """
        place = stanza.recipient or "", stanza.sender or ""
        channel = self.table.get(place)
        if channel is None:
            raise NoSuchAddress
        asked = channel_stanzas.readReport(next(stanza.element.elements()))
        if not channel.credit.take(now):
            # The answer, and what follows it, may be ten thousand times as long. The node asks again.
            raise ResourceLimit
        report = channel.requested(asked, now)
        self.touch(place)
        return SendResult(*place, stanza.id or "", channel_stanzas.reportXml(report).encode())

    def answered(self, stanza: Stanza, now: float) -> bool:
        """Handle an iq of type result or error; return False if it answers no request of a channel."""
        identifier, place = stanza.id or "", (stanza.recipient or "", stanza.sender or "")
        if not identifier.startswith(self._ids):
            return False
        channel = self.table.get(place)
        if channel is None or not channel.isAsked(identifier):
            # It is late.
            return channel is not None
        self.touch(place)
        if stanza.type == "error":
            if errorOf(stanza).condition in _UNKNOWN:
                self.forget(place)
            else:
                channel.failed(identifier)
            return True
        payload = next(stanza.element.elements(), None)
        try:
            if payload is None or payload.uri != ns.CHANNEL:
                raise BadRequest
            channel.answered(identifier, channel_stanzas.readReport(payload), now)
        except GatewayError:
            channel.failed(identifier)
        return True

    def holds(self, stanza: Stanza) -> bool:
        """
        Return True if an iq of type result is the answer to a comparison, and is kept because stanzas that were
        numbered before are on their way: L{received} returns it after them (rule 34).
        """
        if not self.table or ns.CHANNEL.encode() not in stanza.raw:
            return False
        channel = self.table.get((stanza.recipient or "", stanza.sender or ""))
        payload = next(stanza.element.elements(), None)
        if channel is None or payload is None or (payload.uri, payload.name) != (ns.CHANNEL, "compare"):
            return False
        try:
            position = channel_stanzas.readPosition(payload)
        except BadRequest:
            # It is no answer: the node asks again.
            return True
        return position is not None and channel.holds(position, stanza)

    # The link, and time.

    def disconnected(self) -> None:
        """
        Handle the loss of this component's connection. Nobody is told: the channels may open as soon as it is back,
        and are lost if they do not.
        """
        for place, channel in self.table.items():
            channel.lost()
            self.touch(place)
            channel.outputs.clear()

    def connected(self, now: float) -> None:
        """Open all channels, some at a time: this process was started, or its connection is new."""
        self._closed = dict.fromkeys(self.table)
        self._resume(now)

    def _resume(self, now: float) -> None:
        for place in list(islice(self._closed, _MAX_RESUMED)):
            del self._closed[place]
            if place in self.table:
                self.table[place].resume(now)
                self.touch(place)

    def linked(self, domains: Collection[str]) -> None:
        """
        The direct link to these domains is new: stanzas may be lost with an earlier one, and a lost channel can be
        opened. The numbers are compared from the next tick on, those of some channels at a time.
        """
        self._linked |= {place: None for place in self.table if place[1].rpartition("@")[2] in domains}

    def _doubt(self, now: float) -> None:
        for place in list(islice(self._linked, _MAX_RESUMED)):
            del self._linked[place]
            if place in self.table and place not in self._closed:
                self.table[place].linked(now)
                self.touch(place)

    def tick(
        self, nodeOf: Callable[[str, str], Node | None], isWatched: Callable[[str, str], bool], now: float
    ) -> None:
        """
        Handle deadlines. Called once a second while the component is connected.

        @param nodeOf: returns the node of a room, both by their bare JIDs.
        @param isWatched: returns True if users here wait for a node.
        """
        self._resume(now)
        self._doubt(now)
        self.tally.size = sum(each.size for each in self.table.values())
        for place, channel in list(self.table.items()):
            if place in self._closed:
                continue
            node = nodeOf(*place)
            if node is not None and node.channel is channel:
                self._resting.pop(place, None)
                channel.isWatched = isWatched(*place)
                channel.silences = 2 if isinstance(node, JoiningNode) else 1
            else:
                since = self._resting.setdefault(place, now)
                channel.isWatched = len(channel) > 0
                isOver = since + _MAX_REST <= now or len(self._resting) > _MAX_RESTING
                if channel.isIdle or isOver:
                    self.drop(place)
                    continue
            channel.tick(now)
            if channel.outputs or not channel.isIdle:
                self.touch(place)


def _toNode(place: Place) -> ToNode:
    return ToNode(*place, Dialect.XEP_0289, False, Kept(b""))
