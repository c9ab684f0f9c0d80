"""
Output that waits until the peer reads: in order, counted, returned in pieces; pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from itertools import islice

from attrs import field, frozen

# Parts that are looked at for one piece.
MAX_PARTS = 10_000


class Addresses(tuple[bytes, ...]):  # noqa: SLOT001  # the size is kept
    """Addresses that several stanzas are sent to; their sizes are added up once."""

    @cached_property
    def size(self) -> int:
        """Bytes of all together."""
        return sum(map(len, self))


@frozen
class Copies:
    """
    One stanza for many recipients, kept once.

    @ivar before: the bytes up to the recipient's address.
    @ivar recipients: the addresses, escaped; at least one.
    @ivar after: the bytes behind it.
    @ivar size: bytes of all copies together.
    """

    before: bytes
    recipients: Sequence[bytes]
    after: bytes
    size: int = field(init=False)

    @size.default
    def _count(self) -> int:
        recipients = self.recipients
        size = recipients.size if isinstance(recipients, Addresses) else sum(map(len, recipients))
        return (len(self.before) + len(self.after)) * len(recipients) + size

    @property
    def largest(self) -> int:
        """Bytes of the largest copy."""
        return len(self.before) + len(self.after) + max(map(len, self.recipients))

    def written(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return the copies for some of the recipients, by default for all of them."""
        # Joined once: another copy of all bytes would cost more than the rest.
        parts = list(self.recipients[start:stop])
        parts[0] = self.before + parts[0]
        parts[-1] += self.after
        return (self.after + self.before).join(parts)


class Outflow:
    """
    A queue of output.

    @ivar size: bytes that wait, as they will be sent.
    @ivar memory: bytes of memory that they take.
    @ivar parts: the queue; L{put} adds to it, and to C{size}.
    """

    def __init__(self) -> None:
        self.size = 0
        self.parts: deque[bytes | Copies] = deque()
        # If the first part is one of copies: number of its recipients whose copies were returned.
        self._taken = 0
        # Parts that are copies, and the bytes that they save.
        self._shared = 0
        self._saved = 0

    @property
    def memory(self) -> int:
        return self.size - self._saved

    def put(self, data: bytes) -> None:
        """Add bytes."""
        self.parts.append(data)
        self.size += len(data)

    def putCopies(self, copies: Copies) -> None:
        """Add one stanza for many."""
        self.parts.append(copies)
        self._shared += 1
        self.size += copies.size
        self._saved += copies.size - _held(copies)

    def putJoined(self, copies: Copies) -> None:
        """Add one stanza for many as bytes: nothing is saved if it is sent at once."""
        self.put(copies.written())

    def takesAll(self, most: int) -> bool:
        """True if L{take} would return everything at once, and nothing of it is copies."""
        return self.size <= most and not self._shared

    def take(self, most: int) -> bytes:
        """
        Remove the next bytes and return them.

        @param most: number of bytes. It may be exceeded, because a part, or one copy, is not divided.
        """
        parts = self.parts
        # As L{takesAll}, without the call: all output passes here.
        if self.size <= most and not self._shared:
            taken = b"".join(parts)  # type: ignore[arg-type]  # all of them are bytes
            parts.clear()
            self.size = 0
            return taken
        pieces: list[bytes] = []
        count = 0
        for part in tuple(islice(parts, MAX_PARTS)):
            if isinstance(part, bytes):
                if count and count + len(part) > most:
                    break
                piece = part
                parts.popleft()
            else:
                piece = self._takeCopies(part, most - count)
            pieces.append(piece)
            count += len(piece)
            if count >= most or self._taken:
                # Some copies may be left of this part.
                break
        self.size -= count
        return b"".join(pieces)

    def clear(self) -> None:
        """Forget all that waits."""
        self.parts.clear()
        self.size = self._shared = self._saved = self._taken = 0

    def _takeCopies(self, copies: Copies, most: int) -> bytes:
        start = self._taken
        one = len(copies.before) + len(copies.recipients[start]) + len(copies.after)
        stop = min(start + max(1, most // max(1, one)), len(copies.recipients))
        piece = copies.written(start, stop)
        if stop == len(copies.recipients):
            self.parts.popleft()
            self._taken = 0
            self._shared -= 1
            self._saved += _held(copies) - len(piece)
        else:
            self._taken = stop
            self._saved -= len(piece)
        return piece


def _held(copies: Copies) -> int:
    """Bytes of memory that copies take; the addresses belong to the room, only references to them count."""
    return len(copies.before) + len(copies.after) + 8 * len(copies.recipients)
