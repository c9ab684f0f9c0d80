"""Bounded message history of a room (XEP-0045 sections 7.2.13 and 7.2.14)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from gateway.muc.values import HistoryLimits, RoomMessage

# Upper estimate of the characters of a stanza beside its payload, addresses and ids: tags, type and delay.
_AROUND = 250


class History:
    """
    The newest messages, each with its delay.

    @ivar added: number of messages that were added so far.
    @ivar begins: this number when all messages were removed last.
    @param messages: maximum number.
    @param size: maximum size, in bytes of payload and characters of the rest.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._largest = size
        self._size = 0
        self.added = self.begins = 0
        # Lists: an empty deque takes 700 bytes in each room, and few messages are moved.
        self._kept: list[RoomMessage] = []
        # The size of each.
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[RoomMessage]:
        return iter(self._kept)

    def add(self, message: RoomMessage) -> None:
        """Add a message that has a delay; remove the oldest ones if a limit is exceeded."""
        size = _sizeOf(message)
        self._kept.append(message)
        self._sizes.append(size)
        self._size += size
        self.added += 1
        while len(self._kept) > self._messages or self._size > self._largest:
            del self._kept[0]
            self._size -= self._sizes.pop(0)

    def withdraw(self) -> RoomMessage | None:
        """
        Remove the newest message, as if it had not been added. Older ones that were removed for it do not return.

        @return: the message; C{None} if it was larger than the history may be.
        """
        self.added -= 1
        if not self._kept:
            return None
        self._size -= self._sizes.pop()
        return self._kept.pop()

    def since(self, number: int) -> Iterator[tuple[int, RoomMessage]]:
        """Return the messages that were added as number C{number} (from 0) or later, with their numbers."""
        new = min(self.added - number, len(self._kept))
        return zip(count(self.added - new), self._kept[len(self._kept) - new :], strict=False)

    def clear(self) -> None:
        """Remove all messages."""
        self._kept.clear()
        self._sizes.clear()
        self._size = 0
        self.begins = self.added

    def recent(self, limits: HistoryLimits, room: str, recipient: str, utc: float) -> list[RoomMessage]:
        """
        Return the messages that a user asks for, oldest first.

        "The service MUST send the smallest amount of traffic that meets any combination of the above criteria", and
        complete stanzas only.

        @param room: bare JID of the sender.
        @param recipient: JID of the recipient.
        @param utc: seconds since 1970.
        """
        oldest = max(
            limits.since if limits.since is not None else float("-inf"),
            utc - limits.seconds if limits.seconds is not None else float("-inf"),
        )
        found: list[RoomMessage] = []
        # The room's JID is in the sender's address, the stanza id and the delay.
        around = 3 * len(room) + len(recipient) + _AROUND
        left = limits.maxchars
        for message in reversed(self._kept):
            assert message.delay is not None
            if len(found) == limits.maxstanzas:
                break
            if message.delay.stamp < oldest:
                # The joined node stamps by its own clock, so a newer stamp may come before an older one.
                continue
            if left is not None:
                left -= len(message.payload.raw) + len(message.nick) + _idsOf(message) + around
                if left < 0:
                    break
            found.append(message)
        return found[::-1]


def _sizeOf(message: RoomMessage) -> int:
    """Return the size of the parts that other entities choose."""
    return (
        len(message.payload.raw)
        + len(message.payload.language)
        + len(message.nick)
        + len(message.realJid)
        + _idsOf(message)
    )


def _idsOf(message: RoomMessage) -> int:
    """Return the number of characters of the ids."""
    return len(message.id or "") + len(message.occupantId) + len(message.stanzaId)
