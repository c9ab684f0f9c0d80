"""
The time and the bytes until a room and its mirror are equal again after an outage of the link.

During the outage, stanzas are lost without an error, as in a black hole that ends with a reset.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from hour import SECONDS, Hour
from sites import MIRROR, ROOM, Run, Traffic, Variant

from gateway.fmuc.channel.values import ChannelState
from gateway.fmuc.uplink.states import UplinkState
from gateway.stream.stanzas import Stanza
from tests.link.core import Shape, Side, Way

# Seconds of the hour at which the outage begins: all remote users have come.
BEGINS = 620.0
# Seconds after the outage in which both sides must be equal.
_MOST = 3_600.0


class Outage(Run):
    """
    A part of the hour with an outage.

    @ivar took: seconds from the end of the outage until both sides are equal; C{math.inf} if they are not.
    @ivar traffic: the stanzas that cross in this time.
    @param minutes: of the outage.
    @param isBusy: False if nobody does anything during the outage.
    @param bits, delay: of the link after the outage.
    """

    def __init__(self, variant: Variant, minutes: float, isBusy: bool, bits: float, delay: float) -> None:
        self._ends = BEGINS + minutes * 60
        self._isBusy_ = isBusy
        self._way = Way(bits, delay)
        self._isDown = False
        self.took = math.inf
        super().__init__(variant, Hour(20))

    def _cross(self, side: Side, stanza: Stanza) -> None:
        if not self._isDown:
            super()._cross(side, stanza)

    def _play(self, hour: Hour) -> None:
        self._begin(hour)
        last = min(self._ends, SECONDS) if self._isBusy_ else BEGINS
        events = deque(event for event in hour.events if event.at < last)
        self._until(BEGINS, events, lambda: False)
        self._isDown = True
        self._until(self._ends, events, lambda: False)
        self._isDown = False
        self._link.take(Shape(self._way), self._now)
        self.traffic = {side: Traffic(gather=self._gather) for side in Side}
        self._until(self._ends + _MOST, events, self._isEqual)
        if self._isEqual():
            self.took = self._now - self._ends

    def _until(self, end: float, events: Any, isOver: Callable[[], bool]) -> None:
        """Let time pass."""
        while self._now < end and not isOver():
            act = events[0].at if events else math.inf
            self._now = min(act, self._link.nextAt(), math.floor(self._now) + 1.0, end)
            self._carryOut(self._link.advance(self._now))
            if self._now == math.floor(self._now):
                self._tick()
            if self._now == act:
                self._act(events.popleft())

    def _isEqual(self) -> bool:
        """True if both sides have the same occupants, and nothing is left to be sent."""
        assert self._mirror is not None
        room, mirror = self._room.rooms.rooms.get(ROOM), self._mirror.rooms.rooms.get(MIRROR)
        federation = self._mirror.rooms.federation(MIRROR)
        if room is None or mirror is None or federation is None or federation.uplink is None:
            return False
        for wire in (self._room, self._mirror):
            for channel in (wire.rooms.channels.table if wire.rooms.channels else {}).values():
                if channel.state is not ChannelState.OPEN or len(channel):
                    return False
        return (
            federation.uplink.state is UplinkState.JOINED
            and not federation.uplink.resumption.isReturn
            and not federation.uplink.unsent
            and not len(federation.uplink.outgoing)
            and self._link.nextAt() == math.inf
            and set(room.occupants) == set(mirror.occupants)
        )
