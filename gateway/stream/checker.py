"""
Expat, set up to judge an XML stream by the rules of XMPP. Pure.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn
from xml.parsers import expat

from attrs import field, frozen

from gateway import ns
from gateway.xml.read import MAX_NAMESPACE, SEPARATOR, longNamespace, newParser, weakly

NOT_WELL_FORMED = "not-well-formed"

# Expat copies the namespace of each attribute that has one, so that 250 KB cost it seconds and a gigabyte. A long
# namespace with a prefix is refused before expat sees it.
_DECLARATION = b"xmlns:"
_LONG_NAMESPACE = longNamespace(rb"xmlns:[^\s=<>:]*")

# A section, a declaration or an entity; or the beginning of an unfinished instruction, comment or entity.
_UNREAD = re.compile(rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?\?>|&[^;&<]*;|<\?|<!--|&", re.DOTALL)
_SECTION = b"<![CDATA["
# From this number of bytes of an unfinished token on, expat gets further bytes only when the token may have ended.
_LONG_TOKEN = 64 * 1024
# The first byte of a tag, and second bytes of what begins like one.
_TAG, _NO_TAG = b"<"[0], b"!?"


@frozen
class StreamFailed(Exception):
    """
    The peer broke the rules; nothing after this can be read.

    @ivar condition: the stream error to close with (RFC 6120 section 4.9.3).
    @ivar text: the fault, for the log and for the peer.
    """

    condition: str
    text: str = field(default="")

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}"


@frozen
class Header:
    """Offset of a stream's root element, in bytes, and its attributes."""

    start: int
    attributes: dict[str, str]


class Judge:
    """
    Expat on the bytes of one stream, and the constructs that XMPP forbids.

    @ivar parsed: number of bytes that it was given.
    @ivar ahead: number of the last bytes that are not judged yet: an unfinished token.
    """

    _parser: expat.XMLParserType

    def _begin(self, parser: expat.XMLParserType) -> None:
        """Start with the first byte of a stream."""
        self.parsed = self.ahead = 0
        self._refusedAt: int | None = None
        # Bytes of the unfinished token when expat last looked, and pieces that it has not seen yet.
        self._unfinished = 0
        self._held: list[bytes] = []
        self._parser = parser
        parser.XmlDeclHandler = weakly(self._xmlDeclared)
        parser.StartDoctypeDeclHandler = weakly(self._restricted, "a document type declaration")
        parser.ProcessingInstructionHandler = weakly(self._restricted, "a processing instruction")
        parser.CommentHandler = weakly(self._restricted, "a comment")

    def check(self, data: bytes) -> StreamFailed | None:
        """Judge more bytes of the stream; return its fault, or C{None}."""
        self.parsed += len(data)
        if self._unfinished >= _LONG_TOKEN:
            # Expat starts an unfinished token again at each call. The token is a tag, and ends with this character.
            self._held.append(data)
            if b">" not in data:
                self.ahead += len(data)
                return None
            data = b"".join(self._held)
            self._held.clear()
        try:
            self._parse(data)
        except StreamFailed as failure:
            return failure
        except expat.ExpatError as error:
            return _failure(error)
        finally:
            index = self._parser.CurrentByteIndex if self._refusedAt is None else self._refusedAt
            self.ahead = self._unfinished = self.parsed - index
        return None

    def _parse(self, data: bytes) -> None:
        """Give the bytes to expat."""
        self._parser.Parse(data, False)

    def _refuse(self, condition: str, text: str) -> NoReturn:
        # After a callback has raised, expat still goes through the rest of its input.
        self._refusedAt = self._parser.CurrentByteIndex
        raise StreamFailed(condition, text)

    def _restricted(self, what: str, *details: Any) -> None:
        """Refuse a construct (RFC 6120 section 11.1)."""
        self._refuse("restricted-xml", f"{what} in the stream")

    def _xmlDeclared(self, version: str, encoding: str | None, standalone: int) -> None:
        """Refuse another encoding than UTF-8 (RFC 6120 section 11.6)."""
        if encoding is not None and encoding.lower() != "utf-8":
            self._refuse("unsupported-encoding", f"the stream is declared to be {encoding}")


def _unreadIn(tokens: bytes) -> int | None:
    """Return the offset of an unfinished processing instruction, comment or entity; C{None} if there is none."""
    starts = (found.start() for found in _UNREAD.finditer(tokens) if found.group() in (b"<?", b"<!--", b"&"))
    return next(starts, None)


class Checker(Judge):
    """
    Judges a whole stream, namespaces included.

    @ivar header: set once the root has begun.
    @ivar declared: the root's namespace declarations.
    """

    def __init__(self, namespace: str) -> None:
        # The last bytes that expat was given, with the unfinished token before them.
        self._last = b""
        # True if the next bytes are in a section.
        self._inSection = False
        self.header: Header | None = None
        self.declared: dict[str | None, str] = {}
        self._namespace = namespace
        parser = newParser()
        self._begin(parser)
        parser.StartNamespaceDeclHandler = weakly(self._declare)
        parser.StartElementHandler = weakly(self._rootStarted)
        parser.StartCdataSectionHandler = weakly(self._section, True)
        parser.EndCdataSectionHandler = weakly(self._section, False)

    def _parse(self, data: bytes) -> None:
        token = self._last[-self._unfinished :] + data if self._unfinished else data
        self._last = token
        wasInSection = self._inSection
        try:
            # Most input has no such declaration, and this test costs a tenth of the pattern.
            if _DECLARATION in token:
                data = self._parseDeclared(token, data)
            self._parser.Parse(data, False)
        except expat.ExpatError:
            # Expat tells the place of the fault. An instruction, a comment or an entity around it is an unfinished
            # token.
            before = self.parsed - len(token)
            section = _SECTION if wasInSection else b""
            start = _unreadIn(section + token[: self._parser.CurrentByteIndex - before])
            self._refusedAt = None if start is None else before + start - len(section)
            raise

    def _parseDeclared(self, token: bytes, data: bytes) -> bytes:
        """
        Refuse a tag with a long namespace, after everything before it was judged.

        @param token: the unfinished token, and the bytes after it.
        @param data: its last bytes, which expat does not have yet.
        @return: those of them that expat does not have yet.
        """
        before = self.parsed - len(token)
        for found in _LONG_NAMESPACE.finditer(token):
            given = len(token) - len(data)
            if found.start() > given:
                self._parser.Parse(token[given : found.start()], False)
                data = token[found.start() :]
            # A tag is now the unfinished token, and a text is not.
            start = self._parser.CurrentByteIndex - before
            if 0 <= start < found.start() and token[start] == _TAG and token[start + 1] not in _NO_TAG:
                self._refusedAt = before + start
                raise StreamFailed(NOT_WELL_FORMED, f"the namespace of a prefix has over {MAX_NAMESPACE} bytes")
        return data

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        self.declared[prefix] = uri or ""

    def _section(self, isIn: bool) -> None:
        self._inSection = isIn

    def _rootStarted(self, name: str, attributes: dict[str, str]) -> None:
        """Check the stream header (RFC 6120 section 4.8); from here on expat has no callbacks."""
        self._parser.StartElementHandler = self._parser.StartNamespaceDeclHandler = None
        if name != f"{ns.STREAMS}{SEPARATOR}stream":
            self._refuse("invalid-namespace", f"the stream's root is {name.replace(SEPARATOR, ' ')!r}")
        if self.declared.get(None) != self._namespace:
            found = self.declared.get(None)
            self._refuse("invalid-namespace", f"the stream is for {found!r}, not for {self._namespace!r}")
        self.header = Header(self._parser.CurrentByteIndex, attributes)


def checkWhole(stream: bytes, namespace: str) -> StreamFailed | None:
    """Return the fault of a whole stream, from header to end tag; C{None} if it has none."""
    if b"<!" in stream or b"<?" in stream:
        return Checker(namespace).check(stream)
    # Without callbacks expat needs much less time.
    try:
        newParser().Parse(stream, True)
    except expat.ExpatError as error:
        return _failure(error)
    return None


def _failure(error: expat.ExpatError) -> StreamFailed:
    text = f"{expat.errors.messages[error.code]} at line {error.lineno}, column {error.offset}"
    return StreamFailed("restricted-xml" if error.code in _RESTRICTED else NOT_WELL_FORMED, text)


def worded(failure: StreamFailed, unread: bytes) -> StreamFailed:
    """
    Return the failure, or C{unsupported-encoding} if the bytes are not UTF-8 (RFC 6120 section 11.6).

    @param unread: the bytes from the failure on.
    """
    start = unread[:4]
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if not error.start:
            return StreamFailed("unsupported-encoding", f"not UTF-8, but {start!r}")
    return failure


# Expat's errors for entities other than the five of XML itself.
_RESTRICTED = {
    expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY],
    expat.errors.codes[expat.errors.XML_ERROR_ENTITY_DECLARED_IN_PE],
}
