"""Output that crosses by channels: a channel numbers it, and learns of the commit after which it may be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import evolve

from gateway.addresses import jids
from gateway.errors import OutboxFull
from gateway.fmuc.actions import Admission, ConfirmLeft, Join, Kept, ToNode
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.channel.stanzas import nameOf
from gateway.fmuc.channel.table import Channels, Taken
from gateway.fmuc.channel.values import Mark
from gateway.fmuc.commits import Commits, Refusal
from gateway.fmuc.core import Rooms
from gateway.fmuc.values import Dialect
from gateway.muc.actions import Action, SendError
from gateway.muc.records import Record
from gateway.muc.values import AVAILABLE, OccupantPresence
from gateway.stream.link import Link

T = TypeVar("T")

# Stanzas by their channels, and their numbers.
Numbers = list[tuple[Channel[Any], int]]


def crosses(action: ToNode, data: bytes) -> bool:
    """True if the channel of a stanza to a node sends it; requests are sent directly."""
    return action.channel is not None and nameOf(data) != b"iq"


class Numbering:
    """
    The channels of one component, as its output sees them.

    @ivar link: set before anything is sent.
    @param perform: carries out actions.
    """

    link: Link

    def __init__(self, rooms: Rooms, commits: Commits, perform: Callable[[Sequence[Action]], object]) -> None:
        self._rooms = rooms
        self._commits = commits
        self._perform = perform

    def refusals(self, ready: list[tuple[Action, T]]) -> list[tuple[Action, T]]:
        """Return output in which errors for messages that channels have delivered cross by these channels."""
        channels = self._rooms.channels
        if channels is None or not channels.table or not any(isinstance(each, SendError) for each, _ in ready):
            return ready
        return [(self._refusal(action, channels), data) for action, data in ready]

    def _refusal(self, action: Action, channels: Channels) -> Action:
        if not isinstance(action, SendError) or action.name != "message":
            return action
        place = jids.bare(action.sender), jids.bare(action.recipient)
        channel = channels.table.get(place)
        if channel is None:
            return action
        self.link.countCondition(action.stanzaError.condition)
        return ToNode(*place, Dialect.XEP_0289, False, Kept(b""), channel=channel)

    def number(self, ready: Iterable[tuple[Action, object]]) -> Numbers:
        """Pass stanzas to their channels, which send them after the commit; return their numbers."""
        numbers: Numbers = []
        channels, now = self._rooms.channels, self.link.now
        for action, data in ready:
            if channels is None or not isinstance(action, ToNode) or action.channel is None:
                continue
            assert isinstance(data, bytes)
            place, channel = (action.room, action.peer), action.channel
            if channels.table.get(place) is not channel or not crosses(action, data) or not data:
                continue
            try:
                key = self._keyOf(action, channel)
                numbers.append((channel, channel.send(data, now, isRefusable=False, key=key)))
                channels.touch(place)
            except OutboxFull:
                # Most senders cannot be told. The node joins anew, or is removed.
                channels.forget(place)
        return numbers

    def _keyOf(self, action: ToNode, channel: Channel[Any]) -> str:
        """
        Return the nick of an occupant whose presence replaces an earlier one that was not sent; empty for others. A
        node that its own occupants' presence is returned to counts it.
        """
        stanza = action.stanza.presence if isinstance(action.stanza, Admission) else action.stanza
        if isinstance(stanza, Join):
            channel.ends(stanza.request.nick)
        elif isinstance(stanza, ConfirmLeft):
            # The answer to the next first join has all occupants again.
            channel.boundary()
        if not isinstance(stanza, OccupantPresence):
            return ""
        node = None if action.toJoined else self._rooms.node(action.room, action.peer)
        isReturned = node is not None and stanza.nick in node.occupants
        if stanza.change == AVAILABLE and not isReturned and stanza is action.stanza:
            return stanza.nick
        channel.ends(stanza.nick)
        return ""

    def take(self, isDue: bool) -> Taken:
        """Return what the channels have to store and to send; C{isDue} is as for L{Channel.take}."""
        return Taken() if self._rooms.channels is None else self._rooms.channels.take(isDue)

    def withdrawing(self, refusal: Refusal, numbers: Numbers) -> Refusal:
        """Return a refusal that withdraws the stanzas as well that would tell the change."""
        return evolve(refusal, undo=partial(self._withdraw, refusal.undo, numbers))

    def _withdraw(self, undo: Callable[[], Iterable[Record]], numbers: Numbers) -> list[Record]:
        found = list(undo())
        for channel, number in numbers:
            channel.withdraw(number)
            records, mark = channel.take()
            found += records
            self._commits.whenStored(partial(self._stored, channel, mark))
        return found

    def put(self, taken: Taken) -> None:
        """Handle what was taken, when its records were passed to the store."""
        for channel, mark in taken.marks:
            self._commits.whenStored(partial(self._stored, channel, mark))
        for place, event in taken.events:
            self._perform(self._rooms.channelChanged(place, event, self.link.now))

    def _stored(self, channel: Channel[Any], mark: Mark) -> None:
        if self._rooms.channels is not None:
            self._rooms.channels.stored(channel, mark, self.link.now)
            self._perform(())
