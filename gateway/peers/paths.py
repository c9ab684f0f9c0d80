"""
The way of each stanza to a peer: the direct link, or the component's server (s2s). Pure.

No stanza of a component overtakes an earlier one to the same component of the peer: s2s has a connection for each
such pair, and they are independent.

 - While the direct link is up, all stanzas use it. If it takes no more for the moment, they wait.
 - If it is lost, they wait for it. After some time, they go by the server in their order, and so do later ones.
 - If it comes up again after the component has used the server, a ping goes by the server. Stanzas wait until it is
   answered: what went before it has arrived then. The ping may be lost with a connection of s2s, so it is repeated,
   and any answer counts. Without one, they wait until no server keeps stanzas. The answer waits for nothing: the
   other side may wait for it before it sends what this side waits for.
 - Stanzas of a channel need no ping, and do not wait for its answer: their receiver restores their order.
"""

from __future__ import annotations

import typing
from collections import deque
from math import inf

from gateway.peers.order import Order

# Seconds for which a server may keep a stanza for another server: ejabberd 26 tries for 120 s.
QUIET = 150.0

# Stanzas of one pair that may wait, and their bytes.
MAX_COUNT = 10_000
MAX_BYTES = 8 * 1024 * 1024

# Waiting stanzas of one pair that are refused in one turn: the component handles an answer to each.
MAX_REFUSED = 200

# A component of this side, and one of the peer.
Pair = tuple[str, str]


class Port(typing.Protocol):
    """The two ways, for the stanzas of each pair."""

    @property
    def isFull(self) -> bool:
        """True if the direct link takes no more for the moment."""

    def sendDirectly(self, data: bytes) -> bool:
        """Send a stanza by the direct link; return true if there was room."""

    def sendByServer(self, pair: Pair, data: bytes) -> bool:
        """Send a stanza by the component's server; return true if there was room."""

    def ping(self, pair: Pair, number: int) -> None:
        """
        Send a ping by the component's server; its answer, or its error, is L{Paths.answered} with this number, if
        the direct link is still up. Must not raise.
        """

    def refuse(self, pair: Pair, data: bytes) -> None:
        """Answer a stanza: the peer cannot be reached."""


class _Lane:
    """
    The stanzas of one pair.

    @ivar waiting: stanzas, each with its order.
    @ivar usedAt: the last use of the server for a stanza that needs it, in seconds; C{None} if it was not used.
    @ivar hasOpened: True if the server was given a stanza that opens a channel.
    @ivar ping: number of the pings whose answer is awaited; 0 for none.
    @ivar againAt: time of the next ping of this number; C{pause}: seconds between it and the one before.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, Order]] = deque()
        self.size = 0
        self.usedAt: float | None = None
        self.hasOpened = False
        self.ping = 0
        self.againAt = self.pause = 0.0

    def isQuiet(self, now: float) -> bool:
        return self.usedAt is None or now >= self.usedAt + QUIET


class Paths:
    """
    Decides for one peer.

    @ivar isUp: true while the direct link is up.
    @ivar byServer: true while stanzas go by the server.
    @ivar refuses: true while they are refused.
    @param fallsBack: false: if the direct link is down for long, stanzas are refused.
    @param wait: seconds that stanzas wait for a direct link that is down. A ping without an answer is repeated
        after that time, then after twice the time, and so on.
    """

    def __init__(self, port: Port, fallsBack: bool, wait: float, now: float) -> None:
        self._port = port
        self._fallsBack = fallsBack
        self._wait = wait
        self._lanes: dict[Pair, _Lane] = {}
        self._downAt = now
        self._pings = 0
        # The last time at which stanzas that had waited began to be sent.
        self._openedAt = now
        self.isUp = False
        self.byServer = False
        self.refuses = False

    @property
    def waiting(self) -> int:
        """Number of stanzas that wait."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def waitingBytes(self) -> int:
        """Bytes of them."""
        return sum(lane.size for lane in self._lanes.values())

    @property
    def flowsSince(self) -> float:
        """Seconds since which stanzas have not waited for a link that is down; infinite if they wait now."""
        return self._openedAt if self.isUp or self.byServer else inf

    def put(self, pair: Pair, data: bytes, now: float, order: Order = Order.STRICT) -> bool:
        """Send a stanza, or let it wait; return true if there was room."""
        if order is Order.ANY and self.isUp and not self._port.isFull:
            return self._port.sendDirectly(data)
        lane = self._lanes.get(pair)
        if lane is None:
            lane = self._lanes[pair] = _Lane()
        if not lane.waiting and self._isOpen(lane, order):
            return self._send(pair, lane, data, now, order)
        if len(lane.waiting) >= MAX_COUNT or lane.size + len(data) > MAX_BYTES:
            return False
        lane.waiting.append((data, order))
        lane.size += len(data)
        return True

    def connected(self, now: float) -> None:
        """The direct link is up."""
        self.isUp, self.byServer, self.refuses = True, False, False
        self._openedAt = now
        for pair, lane in self._lanes.items():
            if lane.isQuiet(now):
                lane.usedAt, lane.hasOpened = None, False
            else:
                self._pings += 1
                lane.ping, lane.pause = self._pings, self._wait
                self._ping(pair, lane, now)
        self.flush(now)

    def _ping(self, pair: Pair, lane: _Lane, now: float) -> None:
        lane.againAt = now + lane.pause
        self._port.ping(pair, lane.ping)

    def disconnected(self, now: float) -> None:
        """The direct link is lost."""
        self.isUp = False
        self._downAt = now
        for lane in self._lanes.values():
            lane.ping = 0

    def answered(self, pair: Pair, number: int, now: float) -> None:
        """A ping by the server was answered, with a result or an error: the server keeps no earlier stanza."""
        lane = self._lanes.get(pair)
        if lane is not None and lane.ping == number:
            lane.ping = 0
            lane.usedAt, lane.hasOpened, self._openedAt = None, False, now
            self.flush(now)

    def takeOver(self, former: Paths) -> None:
        """Go on for a peer whose settings have changed: with what waits, and after what the server has."""
        self._lanes, former._lanes = former._lanes, {}
        for lane in self._lanes.values():
            lane.ping = 0

    def end(self, now: float) -> None:
        """The peer is removed: what waits goes its other way."""
        self.isUp, self.byServer, self.refuses = False, self._fallsBack, not self._fallsBack
        # There is no later tick.
        self.flush(now, MAX_COUNT)

    def tick(self, now: float) -> bool:
        """Go on when a time is over; return true if stanzas begin to go another way. Called once a second."""
        hasChanged = False
        if not self.isUp and not self.byServer and not self.refuses and now >= self._downAt + self._wait:
            hasChanged, self._openedAt = True, now
            self.byServer, self.refuses = self._fallsBack, not self._fallsBack
        for pair, lane in self._lanes.items():
            if lane.ping and lane.isQuiet(now):
                lane.ping, self._openedAt = 0, now
            elif lane.ping and lane.againAt <= now:
                lane.pause *= 2
                self._ping(pair, lane, now)
        self.flush(now)
        return hasChanged

    def flush(self, now: float, most: int = MAX_REFUSED) -> None:
        """
        Send what waits, as far as possible.

        @param most: maximum number of stanzas of one pair that are refused; the next call goes on.
        """
        for pair, lane in list(self._lanes.items()):
            left = most
            while lane.waiting and self._isOpen(lane, lane.waiting[0][1]) and left > 0:
                left -= self.refuses
                data, order = lane.waiting.popleft()
                lane.size -= len(data)
                if not self._send(pair, lane, data, now, order):
                    # The server's link counts what it has no room for.
                    break

    def _isOpen(self, lane: _Lane, order: Order) -> bool:
        if self.isUp:
            mayPass = not lane.ping or (order is Order.CHANNEL and not lane.hasOpened)
            return mayPass and not self._port.isFull
        return self.byServer or self.refuses

    def _send(self, pair: Pair, lane: _Lane, data: bytes, now: float, order: Order) -> bool:
        if self.isUp:
            return self._port.sendDirectly(data)
        if self.byServer:
            if order in (Order.OPENING, Order.STRICT):
                lane.usedAt = now
                lane.hasOpened |= order is Order.OPENING
            return self._port.sendByServer(pair, data)
        self._port.refuse(pair, data)
        return True
