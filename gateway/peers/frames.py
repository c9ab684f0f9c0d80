"""
Frames of a direct link: a header of one to three bytes, and content. Pure.

The header is a number in base 128, the lowest seven bits first; each byte but the last has its highest bit set. Its
lowest three bits are the kind of the frame, the others the length of the content.
"""

from __future__ import annotations

from enum import IntEnum

# Bytes of stanzas in one frame, before compression; and of the content of a frame, as it is sent. Data that cannot
# be compressed grow by a few bytes.
MAX_BATCH = 64 * 1024
MAX_FRAME = MAX_BATCH + 1024

_MAX_HEADER = 3


class Kind(IntEnum):
    """
    STANZAS has compressed bytes of stanzas. PING asks for a PONG. With READY, the listening side accepts the other
    side. CLOSE ends the connection; its content is the reason.
    """

    STANZAS = 0
    PING = 1
    PONG = 2
    READY = 3
    CLOSE = 4


class BadFrame(Exception):
    """The other side breaks the rules of the protocol; nothing more can be read."""


def written(kind: Kind, content: bytes = b"") -> bytes:
    """Return a frame."""
    value = len(content) << 3 | kind
    header = bytearray()
    while value > 0x7F:
        header.append(value & 0x7F | 0x80)
        value >>= 7
    header.append(value)
    return bytes(header) + content


class FrameReader:
    """Cuts bytes into frames, one at a time."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def put(self, data: bytes) -> None:
        """Add bytes."""
        self._bytes += data

    def next(self) -> tuple[Kind, bytes] | None:
        """
        Remove the next frame; return its kind and content. C{None} if it is not complete.

        @raise BadFrame: if it is not one, or too long.
        """
        found = self._header()
        if found is None:
            return None
        value, start = found
        end = start + (value >> 3)
        if end - start > MAX_FRAME:
            raise BadFrame(f"a frame of {end - start} bytes; at most {MAX_FRAME} are allowed")
        try:
            kind = Kind(value & 0b111)
        except ValueError:
            raise BadFrame(f"a frame of the unknown kind {value & 0b111}") from None
        if len(self._bytes) < end:
            return None
        content = bytes(self._bytes[start:end])
        del self._bytes[:end]
        return kind, content

    def _header(self) -> tuple[int, int] | None:
        """Return the number in the header, and the header's length; C{None} if it is not complete."""
        value = 0
        for index, byte in enumerate(self._bytes[:_MAX_HEADER]):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if not byte and index:
                    raise BadFrame("a header that is longer than needed")
                return value, index + 1
        if len(self._bytes) >= _MAX_HEADER:
            raise BadFrame(f"a header of more than {_MAX_HEADER} bytes")
        return None
