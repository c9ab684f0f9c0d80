"""
Messages for a joined node without a channel that cannot be sent now, in primary mode.

They are shown here at once, and sent when the joined node is there again. Each of them is stored, and is in the end
either sent once, or returned to its sender. What the joined node, or a server, loses after that is lost: the
protocols have no acknowledgement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Any

from attrs import define, evolve, field, frozen

from gateway.addresses import jids
from gateway.errors import GatewayError, LinkDown, OutboxFull
from gateway.fmuc.actions import Submission
from gateway.fmuc.channel.values import Pace
from gateway.fmuc.nodes import JoinedNode, JoiningNode
from gateway.fmuc.uplink.port import Mirror
from gateway.muc.actions import SendError
from gateway.muc.occupant import Occupant
from gateway.muc.values import Delay, Payload, RoomMessage, person, stanzaError
from gateway.stream.shares import Share, Shares

# Bytes of memory that a message takes beside its record.
_AROUND = 500


@frozen
class Unsent:
    """
    A message that waits.

    @ivar message: with the time at which it was said.
    @ivar origin: bare JID of the joining node that it comes from; empty for a local user.
    @ivar since: seconds of the link's clock at which it was accepted, or at which this process has loaded it.
    @ivar record: all of it as a text.
    """

    message: RoomMessage
    origin: str
    since: float
    record: str

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.record) + _AROUND


@define(eq=False)
class Outgoing:
    """
    The messages of one mirror that wait, in their order. The limits are those of a channel's outbox, and each user
    has a share of them.
    """

    _mirror: Mirror
    _pace: Pace
    _unsent: dict[int, Unsent] = field(factory=dict)
    _last: int = 0
    _places: Shares = field(init=False)
    _bytes: Shares = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._forgetShares()

    def _forgetShares(self) -> None:
        self._places, self._bytes = Shares(self._pace.stanzas), Shares(self._pace.bytes)

    def __len__(self) -> int:
        return len(self._unsent)

    def keep(self, message: RoomMessage, now: float) -> None:
        """
        Keep a message of a downstream occupant.

        @raise OutboxFull: if there is too much already, of all users or of this one.
        """
        room = self._mirror.room
        node = room.occupants[message.nick].node
        origin = node.jid if isinstance(node, JoiningNode) else ""
        said = message.delayed(room.stamp(now))
        unsent = Unsent(said, origin, now, _written(said, origin))
        place, size = self._sharesOf(unsent)
        if self._bytes.taken + unsent.size > self._pace.bytes or not place.take():
            raise OutboxFull
        if not size.take(unsent.size):
            place.giveBack()
            raise OutboxFull
        self._put(self._last + 1, unsent)
        room.changes.nodes = True

    def _sharesOf(self, unsent: Unsent) -> tuple[Share, Share]:
        user = self._userOf(unsent)
        return self._places.of(user), self._bytes.of(user)

    def _userOf(self, unsent: Unsent) -> str:
        """
        Return the user whose share a message takes, as a domain of its own: all users of a mirror may be of one
        domain, which needs no share then.
        """
        return jids.escapeLocal(person(unsent.message.realJid))

    def _put(self, number: int, unsent: Unsent) -> None:
        self._unsent[number] = unsent
        self._last = max(self._last, number)

    def _take(self, isTaken: Callable[[Unsent], bool]) -> list[Unsent]:
        """Remove and return the messages that a function accepts."""
        return self._remove([number for number, unsent in self._unsent.items() if isTaken(unsent)])

    def _remove(self, numbers: Iterable[int]) -> list[Unsent]:
        taken = [self._unsent.pop(number) for number in numbers]
        for unsent in taken:
            place, size = self._sharesOf(unsent)
            place.giveBack()
            size.giveBack(unsent.size)
        if not self._unsent:
            # A service may have many of these tables.
            self._forgetShares()
        if taken:
            self._mirror.room.changes.nodes = True
        return taken

    def send(self, node: JoinedNode, waits: Callable[[str], bool]) -> None:
        """
        Send the messages before the first one that must wait. The joined node may be of another mode than before,
        and would return the messages: then their senders get an error.

        @param waits: True for the nick of an occupant whom the joined node has not admitted yet.
        """
        ready = takewhile(lambda each: not waits(each[1].message.nick), self._unsent.items())
        for unsent in self._remove([number for number, _ in ready]):
            message = unsent.message
            sender = self._mirror.room.occupants.get(message.nick)
            isIn = sender is not None and self._mirror.isDownstream(sender) and _isOf(message, sender)
            if isIn and not node.returnsMessages:
                self._mirror.toNode(node, Submission(evolve(message, occupantId=""), nomirror=True))
            else:
                self._refuse(unsent, LinkDown)

    def senderLeft(self, occupant: Occupant) -> None:
        """An occupant was removed: the joined node would not take the messages."""
        if self._unsent:
            nick = occupant.nick
            self.refuse(lambda each: each.message.nick == nick and _isOf(each.message, occupant))

    def discard(self) -> None:
        """All occupants have left."""
        self.refuse()

    def expire(self, now: float) -> None:
        """Return the messages that have waited for too long."""
        if self._unsent:
            self.refuse(lambda each: each.since + self._pace.age <= now, OutboxFull)

    def refuse(
        self, isRefused: Callable[[Unsent], bool] = lambda _: True, error: type[GatewayError] = LinkDown
    ) -> None:
        """Return messages to their senders with an error."""
        for unsent in self._take(isRefused):
            self._refuse(unsent, error)

    def _refuse(self, unsent: Unsent, error: type[GatewayError]) -> None:
        room, message = self._mirror.room, unsent.message
        to = f"{unsent.origin}/{message.nick}" if unsent.origin else message.realJid
        room.emit(SendError("message", room.jid, to, message.id, stanzaError(error)))

    # Records.

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield the records, each with its name."""
        return ((str(number), unsent.record) for number, unsent in self._unsent.items())

    def load(self, name: str, text: str) -> None:
        """
        Add a message of an earlier process; L{begin} follows.

        @param name: of its record.
        @param text: its record.
        @raise ValueError: if they are none.
        """
        unsent = Unsent(*_read(text), 0.0, text)
        self._put(int(name), unsent)
        place, size = self._sharesOf(unsent)
        place.keep(1)
        size.keep(unsent.size)

    def begin(self, now: float) -> None:
        """Continue with the messages that were loaded, in any order."""
        self._unsent = {number: evolve(unsent, since=now) for number, unsent in sorted(self._unsent.items())}


def _isOf(message: RoomMessage, occupant: Occupant) -> bool:
    return person(message.realJid) == occupant.person


def _written(message: RoomMessage, origin: str) -> str:
    assert message.delay is not None
    payload = message.payload
    values = [message.nick, message.realJid, message.stanzaId, message.id, message.delay.by, message.delay.stamp]
    return json.dumps([origin, *values, payload.language, payload.raw.decode()], ensure_ascii=False)


def _read(text: str) -> tuple[RoomMessage, str]:
    values: list[Any] = json.loads(text)
    origin, nick, realJid, stanzaId, identifier, by, stamp, language, raw = values
    payload, delay = Payload(raw.encode(), language), Delay(by, stamp)
    message = RoomMessage(
        nick=nick, payload=payload, realJid=realJid, stanzaId=stanzaId, id=identifier, delay=delay
    )
    return message, origin
