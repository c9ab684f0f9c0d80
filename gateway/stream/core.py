"""
Bytes of an XML stream to stanzas (RFC 6120 section 4): pure, no I/O.

A L{Splitter} takes the transport's bytes and returns events. Expat checks every byte, and has no callbacks inside
stanzas, so it runs at full speed. Checked bytes are well-formed and free of the constructs that XMPP forbids, so
stanzas are cut from them by a search for tags.

A stanza that is over a limit, or that breaks the rules of namespaces alone, is skipped: its event is a
L{StanzaRefused}. The stream fails only if no more can be read.
"""

from __future__ import annotations

import re

from attrs import frozen

from gateway import ns
from gateway.errors import BadNamespace, GatewayError, TooDeep, TooLarge
from gateway.stream.checker import NOT_WELL_FORMED, Checker, StreamFailed, worded
from gateway.stream.refused import StanzaRefused, refusedRoot, rootOf
from gateway.stream.skipper import HEAD, Skipper
from gateway.stream.stanzas import TAGS, Nonza, Stanza
from gateway.xml.context import Context
from gateway.xml.read import SEPARATOR, START_TAG, readTag
from gateway.xml.write import tag, textTag

# Bytes after which a parser is replaced: expat keeps every name until it is freed, and anybody can make names up.
_PARSER_LIFE = 4 * 1024 * 1024

# In well-formed content: a tag, or the beginning of a section in which "<" begins no tag.
_TAG = re.compile(rb"<!\[CDATA\[|" + START_TAG.pattern)
_SECTION, _SECTION_END, _END = b"<![CDATA[", b"]]>", b"</"
_SLASH, _BANG = b"/!"

# A start tag as servers write nearly all of them: known attributes, in single quotes, without entities.
_PLAIN = re.compile(
    r"<(iq|message|presence)(?: (?:"
    + "|".join(f"{name}='([^'&<>\\t\\n\\r]*+)'" for name in ("from", "to", "id", "type", "xml:lang"))
    + r"))*+(/?)>"
)
_UNSEEN = (0, 0, 0)

# Bytes in which the end of a skipped stanza is searched at first; twice as many each time after that.
_FIRST_PIECE = 1024


@frozen
class Limits:
    """
    Limits for one stanza. The defaults suit those of Prosody and ejabberd: 512 KiB from other servers, which may be
    written six times as long, and 512 KiB from a component.

    @ivar stanzaSize: bytes from its first C{<} on.
    @ivar depth: nested elements, the stanza's root being the first.
    @ivar outgoingSize: bytes of a stanza that is sent.
    """

    stanzaSize: int = 4 * 1024 * 1024
    depth: int = 64
    outgoingSize: int = 512 * 1024

    def broken(self, size: int, depth: int) -> type[GatewayError] | None:
        """Return the error for a stanza with this size and depth; C{None} if it is within the limits."""
        if size > self.stanzaSize:
            return TooLarge
        return TooDeep if depth > self.depth else None


@frozen
class StreamStarted:
    """The peer's stream header: its unqualified attributes and its namespaces."""

    attributes: dict[str, str]
    context: Context


@frozen
class StreamEnded:
    """The peer closed its stream (RFC 6120 section 4.4)."""


Event = StreamStarted | Stanza | StanzaRefused | StreamEnded | StreamFailed


class Splitter:
    """
    Cuts the bytes of one XML stream into events.

    @ivar namespace: the content namespace that the stream must declare as its default.
    @ivar skips: true: a refused stanza is skipped to its end, however far that is; false: the stream fails.
    """

    def __init__(self, namespace: str, limits: Limits | None = None) -> None:
        self.namespace = namespace
        self.skips = True
        self._limits = limits or Limits()
        self._kinds = {f"{namespace}{SEPARATOR}{kind}": kind for kind in ("iq", "message", "presence")}
        self._checker = Checker(namespace)
        self._context: Context | None = None
        self._header = b""
        # Bytes of the incomplete last element.
        self._rest: list[bytes] = []
        self._restSize = 0
        # For L{_cutAny}: number of those bytes that were searched, the depth there, and the greatest depth.
        self._seen = _UNSEEN
        # While a stanza is skipped.
        self._skipper: Skipper | None = None
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """
        Take the next bytes of the stream and return what they complete, in order.

        No input makes it raise: on a failure the last event is a L{StreamFailed}, and nothing is read after it.
        """
        events: list[Event] = []
        try:
            # Each turn leaves the bytes behind a skipped stanza, or the bytes to be skipped, or nothing.
            while data and not self._over:
                skipper = self._skipper
                data = self._read(data, events) if skipper is None else self._skip(skipper, data, events)
        except StreamFailed as failure:
            self._over = True
            events.append(failure)
        return events

    def _read(self, data: bytes, events: list[Event]) -> bytes:
        failure = self._checker.check(data)
        if self._rest:
            self._rest.append(data)
            self._restSize += len(data)
            if failure is None and b">" not in data and self._restSize <= self._limits.stanzaSize:
                # Nothing ends here: do not join many small pieces again and again.
                return b""
            data = b"".join(self._rest)
        checked = len(data) - self._checker.ahead
        rest = self._cut(data, checked, events)
        if events and isinstance(events[-1], StreamEnded):
            self._over = True
            return b""
        if failure is None:
            return self._keep(data[rest:])
        isSkipped = self.skips and self._context is not None and failure.condition == NOT_WELL_FORMED
        # A text between stanzas has no namespaces.
        if not isSkipped or not data.startswith(b"<", rest):
            raise worded(failure, data[checked:])
        # Without namespaces it may still have an end.
        return self._skipFrom(data[rest:])

    def _keep(self, rest: bytes) -> bytes:
        """Keep the bytes of an incomplete element; return them if it is over a limit and has to be skipped."""
        if len(rest) > self._limits.stanzaSize or self._seen[2] > self._limits.depth:
            if not self.skips or self._context is None or rest.startswith((_SECTION, _END)):
                raise _overLimit()
            return self._skipFrom(rest)
        self._rest = [rest] if rest else []
        self._restSize = len(rest)
        if self._context is not None and self._checker.parsed > _PARSER_LIFE + 2 * self._restSize:
            self._checkAnew()
            self._checker.check(rest)
        return b""

    def _checkSize(self, size: int) -> None:
        """Check the bytes of something that cannot be skipped: a header, a section, or the end of the stream."""
        if size > self._limits.stanzaSize:
            raise _overLimit()

    def _checkAnew(self) -> None:
        self._checker = Checker(self.namespace)
        self._checker.check(self._header)

    def _skipFrom(self, rest: bytes) -> bytes:
        """Begin to skip the element that C{rest} begins with."""
        self._rest = []
        self._restSize = 0
        self._seen = _UNSEEN
        self._skipper = Skipper(self._header)
        return rest

    def _skip(self, skipper: Skipper, data: bytes, events: list[Event]) -> bytes:
        # Expat would go through all of it, even if the stanza ends early in it.
        piece = data[: max(skipper.given, _FIRST_PIECE)]
        following = skipper.skip(piece)
        if following is None:
            return data[len(piece) :]
        assert self._context is not None
        root = rootOf(skipper.name, skipper.attributes, self._context)
        # The result does not depend on how the stream was cut into pieces.
        why = self._limits.broken(skipper.size, skipper.deepest) or BadNamespace
        events.append(StanzaRefused(root, why, skipper.size, skipper.head[: skipper.size]))
        self._skipper = None
        self._checkAnew()
        return data[len(piece) - following :]

    def _cut(self, data: bytes, checked: int, events: list[Event]) -> int:
        """
        Add the complete stanzas in C{data} to C{events}.

        @param checked: number of bytes of C{data} that expat has found well-formed.
        @return: offset of the rest.
        """
        position = 0
        if self._context is None:
            position = self._begin(data, checked, events)
        context = self._context
        if context is None:
            return 0
        seen, self._seen = self._seen, _UNSEEN
        if seen is not _UNSEEN:
            # A stanza that comes in many pieces is searched only in its new part.
            after = self._cutAny(data, 0, checked, context, seen, events)
            if after is None:
                return 0
            position = after
        # Where there are sections, "<" may begin no tag. To search for one byte takes less time than for two.
        hasSections = data.find(b"!", position, checked) >= 0 and data.find(b"<!", position, checked) >= 0
        # Latin-1 has one character for each byte: the same offsets.
        text = "" if hasSections else data.decode("latin-1")
        # One search in the whole chunk takes less time than one in each stanza that is forwarded.
        used = context.usedIn(data, position, checked)
        while True:
            position = self._cutPlain(data, text, position, checked, used, events)
            if position == checked:
                return checked
            start = data.find(b"<", position, checked)
            if start < 0:
                return checked
            if start > position:
                # Spaces between stanzas.
                position = start
                continue
            close = data.find(b">", start, checked)
            if close < 0:
                return start
            if data[start + 1] == _SLASH:
                self._checkSize(close + 1 - start)
                events.append(StreamEnded())
                return close + 1
            after = self._cutAny(data, start, checked, context, _UNSEEN, events)
            if after is None:
                return start
            position = after

    def _cutPlain(
        self, data: bytes, text: str, position: int, checked: int, context: Context, events: list[Event]
    ) -> int:
        """
        Fast path: cut complete stanzas as long as they are plain. Nearly all are, and the gateway spends most of
        its time here.

        @param text: C{data}, one character for each byte; empty if it has sections.
        @return: offset of the first element that is not plain or not complete, or of a space.
        """
        find, match = data.find, _PLAIN.match
        largest, deepest = self._limits.stanzaSize, self._limits.depth
        isAscii = text.isascii()
        while tag := match(text, position, checked):
            name, sender, recipient, identifier, kind, language, slash = tag.groups()
            if not isAscii:
                sender, recipient, identifier = _utf8(sender), _utf8(recipient), _utf8(identifier)
                kind, language = _utf8(kind), _utf8(language)
            opening, ending = TAGS[name]
            close = tag.end() - 1
            if slash:
                end = after = close + 1
                cut = 0
            else:
                end = find(ending, close, checked)
                if find(opening, close, end) >= 0:
                    end = _end(data, close, checked, opening, ending)
                # Short ones cannot be deep, and for those that are too large the depth does not matter.
                if end < 0 or (end - close > 4 * deepest and not _isFlat(data, close, end, self._limits)):
                    break
                after = end + len(ending)
                cut = close - position
            raw = data[position:end]
            stanza = Stanza(name, sender, recipient, identifier, kind, language, raw, context, cut)
            size = after - position
            events.append(stanza if size <= largest else refusedRoot(stanza, TooLarge, size, raw[:HEAD]))
            position = after
        return position

    def _begin(self, data: bytes, checked: int, events: list[Event]) -> int:
        """
        Read the stream header if it is complete; C{data} is the stream from its first byte.

        @return: offset of the first byte behind it.
        """
        header = self._checker.header
        if header is None:
            return 0
        if b"\0" in data[header.start : header.start + 2]:
            # Expat detects UTF-16 by the first bytes, although it was told UTF-8.
            raise StreamFailed("unsupported-encoding", "not UTF-8, but UTF-16")
        tag = START_TAG.match(data, header.start, checked)
        if tag is None:
            return 0
        self._checkSize(tag.end())
        self._header = tag.group()
        self._context = Context.fromDeclarations(self._checker.declared)
        events.append(StreamStarted(header.attributes, self._context))
        return tag.end()

    def _cutAny(
        self,
        data: bytes,
        start: int,
        checked: int,
        context: Context,
        seen: tuple[int, int, int],
        events: list[Event],
    ) -> int | None:
        """
        Slow path: cut any first-level element, if it is complete.

        @param seen: number of its bytes that were searched before, the depth there, and the greatest depth.
        @return: offset of the first byte behind it; C{None} if it is not complete.
        """
        if data.startswith(_SECTION, start):
            # Text between stanzas has no meaning.
            ending = data.find(_SECTION_END, start, checked)
            if ending < 0:
                return None
            self._checkSize(ending + len(_SECTION_END) - start)
            return ending + len(_SECTION_END)
        offset, depth, deepest = seen
        position = start + offset
        while found := _TAG.search(data, position, checked):
            position = found.end()
            tag = found.group()
            if tag[1] == _BANG:
                ending = data.find(_SECTION_END, position, checked)
                if ending < 0:
                    self._seen = found.start() - start, depth, deepest
                    return None
                position = ending
                continue
            if tag[1] == _SLASH:
                depth -= 1
            else:
                depth += 1
                deepest = max(deepest, depth)
                depth -= tag[-2] == _SLASH
            if not depth:
                end = found.start() if tag[1] == _SLASH else position
                stanza = self._make(data[start:end], context)
                size = position - start
                why = self._limits.broken(size, deepest)
                events.append(stanza if why is None else refusedRoot(stanza, why, size, stanza.raw[:HEAD]))
                return position
        self._seen = checked - start, depth, deepest
        return None

    def _make(self, raw: bytes, context: Context) -> Stanza:
        name, attributes = readTag(raw, context)
        get = attributes.get
        known = get("from"), get("to"), get("id"), get("type"), get(f"{ns.XML}{SEPARATOR}lang")
        if name in self._kinds:
            return Stanza(self._kinds[name], *known, raw, context, 0)
        return Nonza(name, *known, raw, context, 0)


def _overLimit() -> StreamFailed:
    return StreamFailed("policy-violation", "a header, a text or a stanza is over a limit")


def _utf8(value: str | None) -> str | None:
    """Return a value whose bytes were read as one character each."""
    return value and value.encode("latin-1").decode()


def _end(data: bytes, close: int, checked: int, opening: bytes, ending: bytes) -> int:
    """
    Return the offset of a stanza's end tag.

    It is the first one at which start and end tags of this name balance. Prefixed names, self-closing tags or an
    unusual spelling can only make end tags look too few.

    @param close: offset of the end of its start tag.
    @return: -1 if there is none in these bytes; the slow path then decides.
    """
    end = data.find(ending, close, checked)
    inner = data.find(opening, close, end)
    while end >= 0 and inner >= 0:
        end = data.find(ending, end + 1, checked)
        inner = data.find(opening, inner + 1, end)
    return end


def _isFlat(data: bytes, start: int, end: int, limits: Limits) -> bool:
    """True if these bytes are certainly not nested too deep, or are too large in any case."""
    return end - start > limits.stanzaSize or data.count(b"<", start, end) < limits.depth


def streamError(condition: str, text: str = "") -> bytes:
    """Return a stream error with the closing tag: the last bytes of a stream (RFC 6120 section 4.9)."""
    described = tag(condition, xmlns=ns.STREAM_ERRORS) + textTag("text", text, xmlns=ns.STREAM_ERRORS)
    return f"{tag('stream:error', described)}</stream:stream>".encode()
