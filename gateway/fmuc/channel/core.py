"""
The reliable channel between two nodes, by the rules of docs/fmuc-resync.md; pure.

Both nodes number what they send, and keep it until it is acknowledged. The owner of a channel stores the records of
L{Channel.take} in one commit with all else that the same event has changed, and calls L{Channel.stored} after the
commit. A channel sends no stanza and acknowledges no number before that. So a process that is killed at any moment
repeats what the other node has not stored, and the other node drops what it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from attrs import define, field

from gateway.errors import NotInSequence, OutboxFull, StoreBroken
from gateway.fmuc.channel.asked import Asked, Credit, Requests
from gateway.fmuc.channel.kept import Inbox, Outbox
from gateway.fmuc.channel.round_trip import RoundTrip
from gateway.fmuc.channel.values import (
    Ask,
    ChannelState,
    Delivered,
    Header,
    Lost,
    Mark,
    Opened,
    Output,
    Pace,
    Position,
    Renewed,
    Report,
    SendAck,
    SendStanza,
    Tally,
)
from gateway.fmuc.channel.window import Window
from gateway.muc.channel_store import CHANNEL, StoredChannel
from gateway.muc.records import Key, Record

T = TypeVar("T")

# Bytes of memory of all outboxes of a service: a domain may have many nodes that never acknowledge. Small outboxes
# are not limited: nodes that acknowledge have those.
_MAX_SIZE, _SMALL = 256 * 1024 * 1024, 16 * 1024


@define(eq=False)
class Channel(Generic[T]):
    """
    One end of a channel. T is the type of received stanzas.

    @ivar room: bare JID of the room here.
    @ivar peer: bare JID of the room there.
    @ivar token: text that makes the ids of this process's requests unique.
    @ivar isWatched: True if a lost channel must be noticed in silence, and must be opened again: local users wait.
    @ivar silences: silences after which it is noticed: two at the joined node, because the joining node asks first.
    @ivar outputs: output of the last calls, in order. The owner takes it away.
    @ivar tally: counts of all channels of the service.
    @ivar flowsSince: returns the seconds of the link's clock since which stanzas do not wait for a connection. The
        round trip of earlier ones is not measured.
    @ivar credit: for requests of the other node, and for answers that contradict it.
    """

    room: str
    peer: str
    pace: Pace
    token: str
    isWatched: bool = False
    silences: int = 1
    state: ChannelState = ChannelState.LOST
    epoch: int = 0
    outputs: list[Output] = field(factory=list)
    tally: Tally = field(factory=Tally)
    roundTrip: RoundTrip = field(init=False)
    window: Window = field(init=False)
    credit: Credit = field(factory=Credit)
    flowsSince: Callable[[], float] = lambda: -inf

    # True if the numbers were compared with the other node's since this process has loaded them.
    _isCompared: bool = False
    # Records that were not taken, and True if they must be stored at once.
    _records: dict[Key, str | None] = field(factory=dict)
    _isUrgent: bool = False
    _outbox: Outbox = field(init=False)
    # Numbers of this node's stanzas: the next one to be sent; the highest one that may have been sent; the last one
    # that is stored.
    _next: int = 1
    _sent: int = 0
    _storedSent: int = 0
    _inbox: Inbox[T] = field(init=False)
    # Numbers of the other node's stanzas: the last one that is acknowledged; the last one that is stored.
    _ackSent: int = 0
    _storedReceived: int = 0
    # Times.
    _ackDue: float = inf
    _isRepeated: bool = False
    _due: float = inf
    _heardAt: float = 0.0
    _requests: Requests = field(init=False)
    # Numbers of this node, and of the other one, up to which both had kept stanzas when the channel opened; and the
    # time of the request that has opened it.
    _kept: tuple[int, int, float] | None = None

    def __attrs_post_init__(self) -> None:
        self._outbox = Outbox(self.room, self.peer, self._records)
        self._inbox = Inbox(self.pace.held)
        self._requests = Requests(self.token)
        self.setPace(self.pace)

    def setPace(self, pace: Pace) -> None:
        """Set the times, before the first round trip is measured."""
        self.pace = pace
        self.roundTrip = RoundTrip(pace.first, pace.least, pace.most)
        self.window = Window(pace.window)

    @classmethod
    def restored(
        cls, stored: StoredChannel, pace: Pace, token: str, now: float, tally: Tally | None = None
    ) -> Channel[T]:
        """
        Return a channel with the numbers and the outbox that were stored. It is lost until L{resume}.

        @raise StoreBroken: if the records are not those of a channel.
        """
        channel: Channel[T] = cls(stored.room, stored.peer, pace, token, tally=tally or Tally())
        try:
            epoch, received, acknowledged = map(int, json.loads(stored.value))
        except (ValueError, TypeError) as error:
            raise StoreBroken(f"the record of the channel to {stored.peer} is damaged; restore a backup") from error
        numbers = sorted(stored.outgoing)
        if numbers != list(range(acknowledged + 1, acknowledged + 1 + len(numbers))):
            raise StoreBroken(f"records of the channel to {stored.peer} are missing; restore a backup")
        channel.epoch = epoch
        channel._inbox.received = channel._storedReceived = received
        outbox = channel._outbox
        outbox.acknowledged = outbox.assigned = acknowledged
        for number in numbers:
            outbox.load(stored.outgoing[number].encode(), now)
        channel._next = acknowledged + 1
        # Any of the stanzas may have been sent before.
        channel._sent = channel._storedSent = outbox.assigned
        channel._heardAt = now
        return channel

    def __len__(self) -> int:
        """Return the number of stanzas that the other node has not acknowledged."""
        return len(self._outbox)

    @property
    def heardAt(self) -> float:
        """Seconds of the link's clock at which the other node was heard last."""
        return self._heardAt

    @property
    def isIdle(self) -> bool:
        """True if nothing is to be sent, acknowledged, asked or stored."""
        return not (self._outbox or self._requests or self._records) and self._ackDue == inf

    @property
    def size(self) -> int:
        """Bytes of memory of these stanzas."""
        return self._outbox.size

    def age(self, now: float) -> float:
        """Return the time for which the oldest of these stanzas has waited."""
        return max(0.0, now - self._outbox.oldest)

    # Input from this node.

    def begin(self, epoch: int, now: float) -> None:
        """Begin a channel that a join and its answer have negotiated (rules 1, 2)."""
        self._renew(epoch)
        self._open(now, now)

    def send(self, stanza: bytes, now: float, isRefusable: bool = True, key: str = "") -> int:
        """
        Keep a stanza, which is sent when it is stored and the channel is open (rules 3, 4, 12); return its number.

        @param isRefusable: True if somebody can be told that it was refused. Others may exceed the limits twofold,
            and then the owner must end the channel.
        @param key: of the state that the stanza tells: it replaces the last one with this key, if that was not sent
            (rule 12); empty for none.
        @raise OutboxFull: if no further stanza can be kept.
        """
        number = self._replaceable(key)
        if not number or len(stanza) > len(self._outbox[number].stanza):
            self.check(now, isRefusable)
        self._isUrgent = True
        if not number:
            return self._outbox.add(stanza, now, key)
        self._outbox.replace(number, stanza)
        return number

    def replaces(self, key: str) -> bool:
        """True if a stanza with a key will replace another one."""
        return self._replaceable(key) > 0

    def ends(self, key: str) -> None:
        """A stanza follows that ends the state with a key."""
        self._outbox.end(key)

    def _replaceable(self, key: str) -> int:
        number = self._outbox.last(key) if key else 0
        return number if number > self._sent else 0

    def check(self, now: float, isRefusable: bool = True) -> None:
        """
        Check that a further stanza can be kept; arguments as of L{send}.

        @raise OutboxFull: if it cannot.
        """
        isOld = isRefusable and self._outbox.oldest + self.pace.age <= now
        if isOld or not self.hasRoom(1 if isRefusable else 2):
            self.tally.full += 1
            raise OutboxFull

    def hasRoom(self, scale: int = 1) -> bool:
        """
        Return True if the outbox is below its limits of number and bytes, and all outboxes are below theirs.

        @param scale: multiple of the limits.
        """
        isShort = len(self._outbox) < self.pace.stanzas * scale and self._outbox.size < self.pace.bytes * scale
        return isShort and (self._outbox.size <= _SMALL or self.tally.size < _MAX_SIZE * scale)

    def withdraw(self, number: int) -> bool:
        """
        Withdraw a stanza that was never sent, because it could not be stored: its sender is told so. Its number is
        sent without a stanza (rule 3).

        @return: False if the stanza may have been sent.
        """
        if not max(self._sent, self._storedSent) < number <= self._outbox.assigned:
            return False
        self._outbox.empty(number)
        self._isUrgent = True
        return True

    def take(self, isDue: bool = False) -> tuple[list[Record], Mark]:
        """
        Return the records of what has changed since they were taken last. If there are any, L{stored} must be
        called with the mark after their commit.

        @param isDue: True to include changes that may be stored later: without them, stanzas are repeated.
        """
        taken: list[Record] = []
        if self._isUrgent or isDue:
            taken, self._isUrgent = list(self._records.items()), False
            self._records.clear()
        return taken, Mark(self.epoch, self._outbox.assigned, self._inbox.received)

    def stored(self, mark: Mark, now: float) -> None:
        """Handle the commit of records, and of all that was taken before them (rules 4, 5)."""
        if mark.epoch != self.epoch:
            return
        self._storedSent = max(self._storedSent, mark.assigned)
        self._storedReceived = max(self._storedReceived, mark.received)
        self._flush(now)
        if self._storedReceived - self._ackSent >= self.pace.window // 4:
            self._acknowledge()

    def all(self) -> list[Record]:
        """Return the records of the whole channel, for a store that has lost them."""
        self._recordNumbers()
        for number, kept in self._outbox.items():
            self._outbox.record(number, kept.stanza.decode())
        return self.take(isDue=True)[0]

    def lost(self) -> None:
        """Handle the loss of this node's own link: nothing can be sent until L{resume}."""
        self._requests.stop()
        self._lose()

    def resume(self, now: float) -> None:
        """Open the channel: this node was started, its link is back, or a stanza has come back undeliverable."""
        self._requests.stop()
        self._ask(now)

    def doubt(self, now: float) -> None:
        """A stanza has come back: ask for the numbers, unless the answer to a recent request is to come."""
        self._exchange(now)

    def linked(self, now: float) -> None:
        """
        The link is new: if stanzas or requests may be lost with an earlier one, or if users wait, ask for the
        numbers without a further wait.
        """
        isNeeded = self.isWatched if self.state is ChannelState.LOST else self._isWaiting
        if isNeeded or self._requests:
            self._requests.stop()
            self._ask(now)

    def isAsked(self, identifier: str) -> bool:
        """True if a request with this id is open."""
        return self._requests.get(identifier) is not None

    def unacknowledged(self) -> list[bytes]:
        """Return the stanzas of the outbox, but for those that were withdrawn."""
        return [kept.stanza for _, kept in self._outbox.items() if kept.stanza]

    def end(self) -> list[Record]:
        """Return the records that remove the channel; those of a new one with the same node may follow."""
        for number in self._outbox.numbers():
            self._outbox.record(number, None)
        self._records[self.room, CHANNEL, self.peer] = None
        return self.take(isDue=True)[0]

    # Input from the other node.

    def receive(self, header: Header, stanza: T, size: int, now: float) -> list[T]:
        """
        Return the stanzas that are to be handled now, in order (rules 6 to 9).

        @param size: bytes of the stanza.
        @raise NotInSequence: if the other node may not send these numbers.
        """
        if not self._isCompared or header.epoch != self.epoch:
            if header.epoch >= self.epoch:
                self._exchange(now)
            return []
        number = header.number
        isOver = number is not None and not 0 < number <= self._inbox.received + self.pace.accepted
        if isOver or header.received > self._sent:
            self._exchange(now)
            raise NotInSequence
        self._heardAt = now
        self._acknowledgedUpTo(header.received, now)
        self._flush(now)
        if self.state is ChannelState.LOST:
            self._exchange(now)
        if number is None:
            return []
        self._ackDue = min(self._ackDue, now + self.pace.ackDelay)
        if self._inbox.knows(number):
            # The acknowledgement was lost.
            self._isRepeated = True
            return []
        self._requests.isHeard()
        found = self._inbox.add(number, stanza, size)
        if found:
            self._recordNumbers()
            self._isUrgent = True
            self._checkDelivered(now)
        return found

    @property
    def position(self) -> Position:
        """The last stanza that has a number. What gets one from now on follows it; a join replaces no presence."""
        return Position(self.epoch, self._outbox.assigned)

    def isBefore(self, position: Position) -> bool:
        """
        True if the other node has not acknowledged anything behind a position. So nothing that it has sent answers
        that (rule 35).
        """
        return position.epoch == self.epoch and self._outbox.acknowledged <= position.number

    def boundary(self) -> Position:
        """
        Return the last stanza that this node has given a number. What follows does not take the place of what was
        before (rule 12).
        """
        self._outbox.endAll()
        return self.position

    def isDelivered(self, now: float) -> bool:
        """
        True if everything is delivered that this node has kept, and what both had kept when the channel opened.
        Otherwise L{outputs} tell when it is (rule 20).
        """
        if self.state is ChannelState.OPEN and self._kept is None and len(self._outbox):
            self._kept = self._outbox.assigned, self._inbox.received, now
        return self.state is ChannelState.OPEN and self._kept is None

    def holds(self, position: Position, answer: T) -> bool:
        """
        Return True if an answer is kept, because stanzas that the other node has numbered before are on their way:
        L{receive} returns it after them (rule 34). An answer of another epoch is dropped.
        """
        return position.epoch != self.epoch or self._inbox.hold(position.number, answer)

    def requested(self, report: Report, now: float) -> Report:
        """
        Return the answer to the other node's request (rules 13 to 18). It is sent before L{outputs}.

        The request may be old, so it only proves what an old one can prove.
        """
        self._heardAt = now
        if report.epoch > self.epoch:
            # A new epoch begins with no numbers. If there are some, this node has forgotten that it was in it.
            self._renew(report.epoch + int(bool(report.sent or report.received)))
            self.outputs.append(Renewed())
        answer = self._report(report.isResume)
        isOlder = report.received < self._outbox.acknowledged or report.sent < self._inbox.highest
        if not self._isCompared or report.epoch != self.epoch or isOlder or report.received > self._sent:
            # The other node may have been started since it was asked.
            self._exchange(now, isAnew=report.isResume and not self._isCompared)
            return answer
        self._acknowledgedUpTo(report.received, now)
        if self.state is ChannelState.LOST:
            self._open(now, now, report)
        elif report.isResume:
            # The other node may have dropped what it was sent meanwhile, also what came after its request. What was
            # repeated already may be on its way.
            self._repeat(self._sent, now - self.roundTrip.timeout(), now, isFirst=True)
        return answer

    def answered(self, identifier: str, report: Report, now: float) -> None:
        """Handle the answer to a request (rules 13 to 18)."""
        asked = self._requests.get(identifier)
        if asked is None:
            return
        self._requests.stop()
        self._heardAt = now
        self._measure(asked.at, now)
        isNew = report.epoch > self.epoch and not (report.sent or report.received)
        if isNew:
            self._renew(report.epoch)
            self.outputs.append(Renewed())
        elif report.epoch != self.epoch or self._contradicts(asked, report):
            if not self.credit.take(now):
                # Each new epoch writes the whole outbox: a node that contradicts each time has to wait.
                self._lose()
                return
            self._renew(max(report.epoch, self.epoch) + 1)
            self.outputs.append(Renewed())
            self._ask(now)
            return
        self._isCompared = True
        self._acknowledgedUpTo(report.received, now)
        if self.state is ChannelState.LOST:
            self._open(now, asked.at, report)
        else:
            # The other node has not received what was sent before, although it has received the later request.
            self._repeat(asked.sent, asked.at, now)

    def _measure(self, sentAt: float, now: float) -> None:
        if sentAt >= self.flowsSince():
            self.roundTrip.measured(now - sentAt)

    def _contradicts(self, asked: Asked, report: Report) -> bool:
        """True if one of the nodes has lost a part of its state since an earlier exchange."""
        isForgotten = report.received < asked.acknowledged or report.sent < asked.highest
        return isForgotten or report.received > self._sent

    def failed(self, identifier: str) -> None:
        """Handle a request that came back: the other node cannot be reached now (rule 11)."""
        if self.isAsked(identifier):
            self._lose()

    # Time.

    def tick(self, now: float) -> None:
        """Handle deadlines that have passed; called once a second while this node's link is up."""
        if self._requests:
            if self._requests.until <= now:
                self._unanswered(now)
        elif self.state is ChannelState.LOST:
            if self.isWatched:
                self._ask(now)
        elif self._due <= now:
            self.window.halve()
            self._ask(now)
        elif self.isWatched and self._heardAt + self._silence <= now:
            self._ask(now)
        if self._ackDue <= now and self.state is ChannelState.OPEN:
            if self._storedReceived > self._ackSent or self._isRepeated:
                self._acknowledge()
            if self._storedReceived == self._inbox.received:
                self._ackDue = inf

    @property
    def _silence(self) -> float:
        """Seconds of silence after which a watched channel is probed (rule 19)."""
        return self.silences * max(self.pace.silence, 4 * self.roundTrip.smoothed)

    def _unanswered(self, now: float) -> None:
        isLast = self._requests.attempts >= self.pace.attempts
        if isLast and self.state is ChannelState.LOST:
            # It was not open since the process was started, or since the link was lost.
            self.outputs.append(Lost())
        elif isLast:
            self._lose()
        if self.isWatched or not isLast:
            self._ask(now)
        else:
            # The other node asks when it needs the channel.
            self._requests.stop()

    # The exchange of numbers.

    def _exchange(self, now: float, isAnew: bool = False) -> None:
        """
        Ask for the other node's numbers, unless the answer to a recent request is to come.

        @param isAnew: True if that request may be lost; then one more is sent.
        """
        isAnew = isAnew and not self._requests.isAnew
        if isAnew or self._requests.last + self.roundTrip.timeout() <= now:
            self._requests.attempts = 0
            self._ask(now)
            self._requests.isAnew = isAnew

    def _ask(self, now: float) -> None:
        asked = Asked(now, self._sent, self._outbox.acknowledged, self._inbox.highest)
        identifier = self._requests.add(asked, self.roundTrip.timeout(self._requests.attempts))
        self.outputs.append(Ask(identifier, self._report(self.state is ChannelState.LOST)))

    def _report(self, isResume: bool) -> Report:
        if not isResume:
            return Report(self.epoch, self._sent, self._storedReceived, False)
        return Report(self.epoch, self._sent, self._storedReceived, True, self._outbox.assigned)

    def _checkDelivered(self, now: float) -> None:
        """Tell when everything is delivered that both nodes had kept when the channel opened (rule 20)."""
        if self._kept is not None:
            own, theirs, since = self._kept
            if own <= self._outbox.acknowledged and theirs <= self._inbox.received:
                self._kept = None
                self.outputs.append(Delivered(now - since))

    def _open(self, now: float, since: float, report: Report | None = None) -> None:
        self.state, self._isCompared = ChannelState.OPEN, True
        self._heardAt = now
        self._requests.stop()
        self.outputs.append(Opened())
        if report is not None:
            self._kept = self._outbox.assigned, max(report.upTo, report.sent), since
            self._checkDelivered(now)
        self.window.begin()
        self._repeat(self._sent, since, now)

    def _lose(self) -> None:
        self._due, self._kept = inf, None
        if self.state is ChannelState.OPEN:
            self.state = ChannelState.LOST
            self.outputs.append(Lost())

    def _renew(self, epoch: int) -> None:
        """Begin an epoch: kept stanzas get new numbers, in their order, and the held ones are dropped (rule 17)."""
        self._lose()
        self._requests.stop()
        self.epoch, self._isCompared = epoch, True
        self._outbox.renumber()
        self._inbox.clear()
        self._next, self._sent, self._storedSent = 1, 0, 0
        self._storedReceived = self._ackSent = 0
        self._ackDue, self._isRepeated = inf, False
        self._recordNumbers()
        self._isUrgent = True

    # The outbox.

    @property
    def _isWaiting(self) -> bool:
        """True if stanzas were sent that are not acknowledged."""
        return self._next - 1 > self._outbox.acknowledged

    def _flush(self, now: float) -> None:
        """Send what is stored, up to the window."""
        if self.state is ChannelState.OPEN:
            last = min(self._storedSent, self._outbox.acknowledged + int(self.window.size))
            while self._next <= last:
                if self._outbox[self._next].sentAt == inf:
                    self._transmit(self._next, now)
                self._next += 1

    def _repeat(self, last: int, until: float, now: float, isFirst: bool = False) -> None:
        """Send what is not acknowledged, but for later numbers, and what was sent after a time (rules 11, 18)."""
        self._outbox.repeat(last, until, isFirst)
        self._next = self._outbox.acknowledged + 1
        self._flush(now)
        self._due = now + self.roundTrip.timeout() if self._isWaiting else inf

    def _transmit(self, number: int, now: float) -> None:
        kept = self._outbox[number]
        self.tally.repeated += int(kept.times > 0)
        kept.sentAt, kept.times = now, kept.times + 1
        self._sent = max(self._sent, number)
        if self._due == inf:
            self._due = now + self.roundTrip.timeout()
        self.outputs.append(SendStanza(self._header(number), kept.stanza))

    def _header(self, number: int | None) -> Header:
        self._ackSent, self._isRepeated = self._storedReceived, False
        if self._storedReceived == self._inbox.received:
            self._ackDue = inf
        return Header(self.epoch, number, self._storedReceived)

    def _acknowledge(self) -> None:
        """Send an acknowledgement alone (rule 10)."""
        if self.state is ChannelState.OPEN:
            self.outputs.append(SendAck(self._header(None)))

    def _acknowledgedUpTo(self, number: int, now: float) -> None:
        """Remove stanzas from the outbox. An acknowledgement that is older than another one has no effect."""
        if number <= self._outbox.acknowledged:
            return
        self.window.acknowledged(number - self._outbox.acknowledged, self._next - 1 - self._outbox.acknowledged)
        self._requests.isHeard()
        kept = self._outbox.removeUpTo(number)
        # RFC 6298 section 3, Karn's algorithm: a stanza that was repeated does not tell which copy is acknowledged.
        if kept.times == 1 and kept.sentAt < inf:
            self._measure(kept.sentAt, now)
        self._next = max(self._next, number + 1)
        self._checkDelivered(now)
        self._due = now + self.roundTrip.timeout() if self._isWaiting else inf
        self._recordNumbers()

    # Records.

    def _recordNumbers(self) -> None:
        numbers = [self.epoch, self._inbox.received, self._outbox.acknowledged]
        self._records[self.room, CHANNEL, self.peer] = json.dumps(numbers)
