"""
Bytes of an XML stream to stanzas (RFC 6120 section 4): pure, no I/O.

A L{Splitter} is fed what the transport read and answers with events. Expat checks every byte, at its own speed,
for it calls nobody back from inside a stanza. What it has found well-formed, and free of the constructs that XMPP
forbids, is then cut by looking for tags alone: no other C{<} is left.
"""

from __future__ import annotations

import re

from attrs import frozen

from gateway import ns
from gateway.stream.checker import SEPARATOR, Checker, StreamFailed, isText, readTag
from gateway.stream.stanzas import START_TAG, TAGS, Context, Nonza, Stanza, escape

# After this many bytes a parser is replaced: expat keeps every name it ever saw until it is freed, and names
# come from strangers.
_PARSER_LIFE = 4 * 1024 * 1024

# In well-formed content: a tag, or the beginning of a section in which "<" begins no tag.
_TAG = re.compile(rb"<!\[CDATA\[|" + START_TAG.pattern)
_SECTION, _SECTION_END = b"<![CDATA[", b"]]>"
_SLASH, _BANG = b"/!"

# A start tag as servers write nearly all of them: known attributes, between single quotes, that stand for
# themselves.
_PLAIN = re.compile(
    r"<(iq|message|presence)(?: (?:"
    + "|".join(f"{name}='([^'&<>\\t\\n\\r]*)'" for name in ("from", "to", "id", "type", "xml:lang"))
    + r"))*(/?)"
)
_UNSEEN = (0, 0)


@frozen
class Limits:
    """
    What one stanza may cost.

    @ivar stanzaSize: bytes from its first C{<} on.
    @ivar depth: nested elements, the stanza's root being the first.
    """

    stanzaSize: int = 256 * 1024
    depth: int = 64


@frozen
class StreamStarted:
    """The peer's stream header: its unqualified attributes, and what its namespaces mean for the stanzas."""

    attributes: dict[str, str]
    context: Context


@frozen
class StreamEnded:
    """The peer closed its stream in good order (RFC 6120 section 4.4)."""


Event = StreamStarted | Stanza | StreamEnded | StreamFailed


class Splitter:
    """
    Cuts the bytes of one XML stream into events.

    @ivar namespace: the content namespace that the stream must declare as its default.
    """

    def __init__(self, namespace: str, limits: Limits | None = None) -> None:
        self.namespace = namespace
        self._limits = limits or Limits()
        self._kinds = {f"{namespace}{SEPARATOR}{kind}": kind for kind in ("iq", "message", "presence")}
        self._checker = Checker(namespace)
        self._context: Context | None = None
        # What is not complete yet: at least its first byte is unknown to be followed by the rest of an element.
        self._rest: list[bytes] = []
        self._restSize = 0
        # How much of that L{_cutAny} has gone through, and how deep it was then.
        self._seen = _UNSEEN
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """
        Take the next bytes of the stream and return what they complete, in order.

        Never raises for what the peer sent: a L{StreamFailed} is the last event, and nothing is read after it.
        """
        events: list[Event] = []
        if self._over:
            return events
        failure = self._checker.check(data)
        if self._rest:
            self._rest.append(data)
            self._restSize += len(data)
            if failure is None and b">" not in data and self._restSize <= self._limits.stanzaSize:
                # Nothing ends here, and many small pieces must not be joined over and over.
                return events
            data = b"".join(self._rest)
        checked = len(data) - self._checker.ahead
        if failure is not None and not isText(data[checked : checked + 4]):
            failure = StreamFailed("unsupported-encoding", f"not UTF-8, but {data[checked : checked + 4]!r}")
        try:
            rest = self._cut(data, checked, events)
            if events and isinstance(events[-1], StreamEnded):
                self._over = True
                return events
            # What follows a failure was never looked at.
            self._keep(data[rest:] if failure is None else data[rest:checked])
        except StreamFailed as broken:
            failure = broken
        if failure is not None:
            self._over = True
            events.append(failure)
        return events

    def _keep(self, rest: bytes) -> None:
        """Hold what is not complete; refuse it once it is too large."""
        self._rest = [rest] if rest else []
        self._restSize = len(rest)
        if self._restSize > self._limits.stanzaSize:
            raise self._tooLarge()
        if self._context is not None and self._checker.parsed > _PARSER_LIFE + 2 * self._restSize:
            self._checker = Checker(self.namespace)
            self._checker.check(self._context.header)
            self._checker.check(rest)

    def _cut(self, data: bytes, checked: int, events: list[Event]) -> int:
        """
        Add what is complete in C{data} to C{events}.

        @param checked: how much of C{data} expat has found well-formed.
        @return: where the rest begins.
        """
        position = 0
        if self._context is None:
            position = self._begin(data, checked, events)
        context = self._context
        if context is None:
            return 0
        find, match = data.find, _PLAIN.fullmatch
        largest, deepest = self._limits.stanzaSize, self._limits.depth
        seen, self._seen = self._seen, _UNSEEN
        # Where there are sections, "<" may begin no tag.
        plainly = find(b"<!", max(position, seen[0]), checked) < 0
        while True:
            start = find(b"<", position, checked)
            if start < 0:
                return checked
            close = find(b">", start, checked)
            if close < 0:
                return start
            # Nearly all stanzas are plain, and this is where the gateway spends its time.
            # What is so large that it comes in many pieces is looked for its end only where it has grown.
            tag = match(data[start:close].decode()) if plainly and (start or seen is _UNSEEN) else None
            if tag is not None:
                name, sender, recipient, identifier, kind, language, slash = tag.groups()
                opening, ending = TAGS[name]
                end = close + 1 if slash else _end(data, close, checked, opening, ending)
                # Short ones have no room for depth.
                if slash or (end >= 0 and (end - close <= 4 * deepest or data.count(b"<", close, end) < deepest)):
                    position = end if slash else end + len(ending)
                    if position - start > largest:
                        raise self._tooLarge()
                    raw = data[start:end]
                    cut = 0 if slash else close - start
                    events.append(Stanza(name, sender, recipient, identifier, kind, language, raw, context, cut))
                    continue
            elif data[start + 1] == _SLASH:
                events.append(StreamEnded())
                return close + 1
            after = self._cutAny(data, start, checked, context, _UNSEEN if start else seen, events)
            if after is None:
                return start
            position = after

    def _begin(self, data: bytes, checked: int, events: list[Event]) -> int:
        """
        Read the stream header, once all of it is there; C{data} is the stream from its first byte.

        @return: where what follows it begins.
        """
        header = self._checker.header
        if header is None:
            return 0
        if b"\0" in data[header.start : header.start + 2]:
            # By its first bytes expat takes a stream for UTF-16, whatever it was told.
            raise StreamFailed("unsupported-encoding", "not UTF-8, but UTF-16")
        tag = START_TAG.match(data, header.start, checked)
        if tag is None:
            return 0
        self._context = Context.fromDeclarations(self._checker.declared)
        events.append(StreamStarted(header.attributes, self._context))
        return tag.end()

    def _cutAny(
        self,
        data: bytes,
        start: int,
        checked: int,
        context: Context,
        seen: tuple[int, int],
        events: list[Event],
    ) -> int | None:
        """
        Cut any first-level element, if all of it is there: the same result.

        @param seen: how much of it was gone through before, in vain, and the depth there.
        @return: where what follows it begins; C{None} if it is not complete.
        """
        if data.startswith(_SECTION, start):
            # Text between stanzas means nothing.
            ending = data.find(_SECTION_END, start, checked)
            return None if ending < 0 else ending + len(_SECTION_END)
        offset, depth = seen
        position = start + offset
        while found := _TAG.search(data, position, checked):
            position = found.end()
            tag = found.group()
            if tag[1] == _BANG:
                ending = data.find(_SECTION_END, position, checked)
                if ending < 0:
                    self._seen = found.start() - start, depth
                    return None
                position = ending
                continue
            if tag[1] == _SLASH:
                depth -= 1
            else:
                depth += 1
                if depth > self._limits.depth:
                    raise StreamFailed("policy-violation", f"elements are nested over {self._limits.depth} deep")
                depth -= tag[-2] == _SLASH
            if not depth:
                end = found.start() if tag[1] == _SLASH else position
                if position - start > self._limits.stanzaSize:
                    raise self._tooLarge()
                events.append(self._make(data[start:end], context))
                return position
        self._seen = checked - start, depth
        return None

    def _make(self, raw: bytes, context: Context) -> Stanza:
        name, attributes = readTag(raw, context)
        get = attributes.get
        known = get("from"), get("to"), get("id"), get("type"), get(f"{ns.XML}{SEPARATOR}lang")
        if name in self._kinds:
            return Stanza(self._kinds[name], *known, raw, context, 0)
        return Nonza(name, *known, raw, context, 0)

    def _tooLarge(self) -> StreamFailed:
        return StreamFailed("policy-violation", f"a stanza is over {self._limits.stanzaSize} bytes")


def _end(data: bytes, close: int, checked: int, opening: bytes, ending: bytes) -> int:
    """
    Where the end tag of a stanza is.

    At the first of its name up to which as many end as begin: were one of those that begin another, or an only tag,
    or did one end in an odd spelling, there would be fewer ends.

    @param close: where its start tag ends.
    @return: -1 if there is none, or one that is not so easy to see.
    """
    end = data.find(ending, close, checked)
    inner = data.find(opening, close, end)
    while end >= 0 and inner >= 0:
        end = data.find(ending, end + 1, checked)
        inner = data.find(opening, inner + 1, end)
    return end


def streamError(condition: str, text: str = "") -> bytes:
    """A stream error with its closing tag, to be the last bytes of a stream (RFC 6120 section 4.9)."""
    words = f"<text xmlns='{ns.STREAM_ERRORS}'>{escape(text)}</text>" if text else ""
    return (
        f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>{words}</stream:error></stream:stream>"
    ).encode()
