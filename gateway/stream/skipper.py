"""
Finds the end of a refused stanza in bounded memory. Pure.
"""

from __future__ import annotations

from gateway.stream.checker import Judge, StreamFailed, worded
from gateway.xml.read import START_TAG, newParser

# Bytes of a single tag, or of the names of all open elements with _LEVEL bytes more for each. Beyond that the
# stream ends, so memory is bounded.
HARD_BOUND = 16 * 1024 * 1024
_LEVEL = 128

# Bytes after which a parser is replaced: expat keeps every name until it is freed, and here Python does, too.
_PARSER_LIFE = 512 * 1024

# Bytes of the element that are kept, to find out whom to answer.
HEAD = 16 * 1024


class Skipper(Judge):
    """
    Reads one first-level element and keeps only its beginning.

    It ignores namespaces, so an element that breaks only their rules has an end like any other.

    @ivar name: the root's name as it is written; empty until it has come.
    @ivar attributes: the root's, by the names as they are written.
    @ivar given: number of bytes that it was given, from the element's first byte on.
    @ivar size: bytes of the whole element, once its end is found.
    @ivar deepest: greatest depth of nested elements.
    @ivar head: the first bytes of the element.
    @param header: the start tag of the stream.
    """

    def __init__(self, header: bytes) -> None:
        self.name = ""
        self.attributes: dict[str, str] = {}
        self.size = self.deepest = 0
        self.head = b""
        self._header = header
        # Names of the open elements, the root first, and their cost in bytes.
        self._open: list[str] = []
        self._openSize = 0
        self._inSection = False
        # The unfinished token.
        self._rest: list[bytes] = []
        self.given = 0
        # Offsets of the root's start tag and of the last tag, counted from the end of expat's input.
        self._fromRoot: int | None = None
        self._fromEnd: int | None = None
        self._isOnlyTag = False
        self._renew(b"")

    def skip(self, data: bytes) -> int | None:
        """
        Take more of the stream.

        @return: number of these bytes that follow the element; C{None} while it has not ended.
        @raise StreamFailed: if it is not well-formed, or goes beyond the hard bound.
        """
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        self.given += len(data)
        self._rest.append(data)
        failure = self.check(data)
        if not self._held:
            unread = b"".join(self._rest)
            if self._fromRoot is not None:
                self._readRoot(unread)
            if self._fromEnd is not None:
                return self._ended(unread, len(unread) - self._fromEnd)
            if failure is not None:
                raise worded(failure, unread[len(unread) - self.ahead :])
            self._rest = [unread[len(unread) - self.ahead :]]
        if max(self.ahead, self._openSize) > HARD_BOUND:
            raise StreamFailed("policy-violation", f"a tag, or the open elements, are over {HARD_BOUND} bytes")
        if self.parsed > _PARSER_LIFE + 2 * self._openSize and not (self._inSection or self._held):
            self._renew(self._rest[0])
        return None

    def _readRoot(self, unread: bytes) -> None:
        """Read the root's start tag in C{unread}."""
        assert self._fromRoot is not None
        tag = START_TAG.match(unread, len(unread) - self._fromRoot)
        assert tag is not None
        self._isOnlyTag = tag.group().endswith(b"/>")
        self.given = self._fromRoot
        self._fromRoot = None
        if self._isOnlyTag:
            self._fromEnd = len(unread) - tag.end() + 1

    def _ended(self, unread: bytes, at: int) -> int:
        """
        @param at: offset of the last tag, or of its last byte.
        @return: number of bytes that follow.
        """
        following = len(unread) - (unread.index(b">", at) + 1)
        self.size = self.given - following
        return following

    def _renew(self, rest: bytes) -> None:
        """Go on with a new parser, in the same place."""
        parser = newParser(None)
        self._begin(parser)
        self.check(self._header)
        self.check("".join(f"<{name}>" for name in self._open).encode())
        parser.StartElementHandler = self._elementStarted
        parser.EndElementHandler = self._elementEnded
        parser.StartCdataSectionHandler = self._sectionStarted
        parser.EndCdataSectionHandler = self._sectionEnded
        self.check(rest)

    def _elementStarted(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open:
            self.name, self.attributes = name, attributes
            self._fromRoot = self.parsed - self._parser.CurrentByteIndex
        self._open.append(name)
        self._openSize += len(name) + _LEVEL
        if len(self._open) > self.deepest:
            self.deepest += 1

    def _elementEnded(self, name: str) -> None:
        if self._open:
            self._open.pop()
            self._openSize -= len(name) + _LEVEL
        if not self._open:
            self._fromEnd = self.parsed - self._parser.CurrentByteIndex
            # The bytes behind it belong to other elements. Without callbacks, expat does not keep this object.
            self._parser.StartElementHandler = self._parser.EndElementHandler = None
            self._parser.StartCdataSectionHandler = self._parser.EndCdataSectionHandler = None

    def _sectionStarted(self) -> None:
        self._inSection = True

    def _sectionEnded(self) -> None:
        self._inSection = False
