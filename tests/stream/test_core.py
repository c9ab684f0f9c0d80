"""Bytes to stanzas: the same stanzas for any pieces and spelling, and the right error for any bad input."""

from __future__ import annotations

import gc
from itertools import pairwise
from time import process_time
from typing import Any
from weakref import WeakSet

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import TooDeep, TooLarge
from gateway.stream import core
from gateway.stream.checker import StreamFailed
from gateway.stream.core import Event, Limits, Splitter, StreamEnded, StreamStarted
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Nonza, Stanza
from gateway.xml.read import SEPARATOR
from tests.profiles import steady
from tests.stream.memory import HEADER, children, domishTree, split, tree
from tests.stream.odd import BROKEN, streams


def facts(events: list[Event]) -> list[Any]:
    """Return events to compare. The text of a failure, and whether a stanza took the fast path, may differ."""
    found: list[Any] = []
    for event in events:
        if isinstance(event, StreamFailed):
            found.append(event.condition)
        elif isinstance(event, StanzaRefused):
            stanza = event.stanza
            known = stanza.name, stanza.sender, stanza.recipient, stanza.id, stanza.type, stanza.language
            found.append((event.why, event.size, known))
        elif isinstance(event, Stanza):
            found.append(
                (event.name, event.sender, event.recipient, event.id, event.type, event.language, event.raw)
            )
        elif isinstance(event, StreamStarted):
            found.append((event.attributes, event.context.header))
        else:
            found.append(type(event))
    return found


def pieces(data: bytes, cuts: list[int]) -> list[Event]:
    """Return the events of C{data} cut at these places."""
    splitter = Splitter(ns.COMPONENT_ACCEPT)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [event for a, b in pairwise(places) for event in splitter.feed(data[a:b])]


def end(data: bytes, size: int = 0, limits: Limits | None = None) -> list[Any]:
    """Return the events of C{data} after a good header, without that of the header."""
    return facts(split(HEADER + data, size, limits))[1:]


class ChunkTests(SynchronousTestCase):
    """The pieces in which a stream comes."""

    @steady
    @given(streams(), st.lists(st.integers(0, 10_000), max_size=30))
    def test_anyPieces(self, data: bytes, cuts: list[int]) -> None:
        """The events are the same, whether a stream comes whole, in single bytes or in any pieces."""
        whole = facts(split(data))
        self.assertEqual(facts(pieces(data, cuts)), whole)
        self.assertEqual(facts(split(data, 1)), whole)

    @steady
    @given(streams(), st.sampled_from(sorted(BROKEN)), streams(), st.lists(st.integers(0, 10_000), max_size=30))
    def test_anyPiecesOfBroken(self, data: bytes, kind: str, more: bytes, cuts: list[int]) -> None:
        """A broken stream gives the stanzas before the error and then one condition, in any pieces."""
        wrong, condition = BROKEN[kind]
        good = facts(split(data))
        broken = data + wrong + more
        self.assertEqual(facts(split(broken)), [*good, condition])
        self.assertEqual(facts(pieces(broken, cuts)), [*good, condition])
        self.assertEqual(facts(split(broken, 1)), [*good, condition])

    @steady
    @given(streams())
    def test_asOthersRead(self, data: bytes) -> None:
        """Names, attributes and trees equal those that ElementTree reads from the same bytes."""
        stanzas = [event for event in split(data) if isinstance(event, Stanza)]
        others = list(children(data))
        self.assertEqual(len(stanzas), len(others))
        for stanza, other in zip(stanzas, others, strict=True):
            name = stanza.name.rpartition(SEPARATOR)[2]
            self.assertEqual(name, other.tag.rpartition("}")[2])
            known = [other.get(key) for key in ("from", "to", "id", "type", f"{{{ns.XML}}}lang")]
            self.assertEqual(
                [stanza.sender, stanza.recipient, stanza.id, stanza.type, stanza.language],
                known,
            )
            self.assertEqual(domishTree(stanza.element), tree(other))
            isStanza = other.tag in {f"{{{ns.COMPONENT_ACCEPT}}}{kind}" for kind in ("iq", "message", "presence")}
            self.assertEqual(isinstance(stanza, Nonza), not isStanza)

    @steady
    @given(streams())
    def test_plainOrCareful(self, data: bytes) -> None:
        """The fast path and the slow path give the same; an unknown attribute selects the slow path."""
        for event in split(data):
            if isinstance(event, Stanza) and event.cut:
                start = len(event.name) + 1
                other = event.raw[:start] + b" odd='1'" + event.raw[start:] + b"</" + event.name.encode() + b">"
                [_, careful] = split(event.context.header + other)
                assert isinstance(careful, Stanza)
                self.assertEqual(careful.cut, 0)
                self.assertEqual(careful.raw.replace(b" odd='1'", b"", 1), event.raw)
                self.assertEqual(facts([careful])[0][:-1], facts([event])[0][:-1])

    def test_keepAlive(self) -> None:
        """White space between stanzas gives no event and needs no memory, in any amount."""
        splitter = Splitter(ns.COMPONENT_ACCEPT, Limits(stanzaSize=200))
        splitter.feed(HEADER)
        for _ in range(100):
            self.assertEqual(splitter.feed(b" \n\t " * 10), [])
        [event] = splitter.feed(b"<iq/>")
        self.assertIsInstance(event, Stanza)


class SpellingTests(SynchronousTestCase):
    """Legal XML that a simple parser misreads."""

    def test_sectionWithStanzas(self) -> None:
        """
        The content of a CDATA section is text, even if it looks like the end of one stanza and the start of
        another.
        """
        forged = b"<message from='a' to='b'><body><![CDATA[</message><message from='admin'>]]></body></message>"
        for size in (0, 1, 7):
            self.assertEqual(
                [(found[0], found[1]) for found in end(forged + b"<iq from='c'/>", size)],
                [("message", "a"), ("iq", "c")],
            )

    def test_sectionWithEnd(self) -> None:
        """A CDATA section cannot end the stream."""
        data = b"<iq id='1'><![CDATA[</iq></stream:stream>]]></iq><iq id='2'/>"
        for size in (0, 1):
            self.assertEqual([found[3] for found in end(data, size)], ["1", "2"])

    def test_sectionBetweenStanzas(self) -> None:
        """A CDATA section outside stanzas is text: skipped, with any content."""
        for text in (b"", b"<iq from='x'/>", b"]]", b"]", b">", b"</stream:stream>"):
            data = b"<![CDATA[" + text + b"]]><iq id='2'/><![CDATA[" + text + b"]]></stream:stream>"
            for size in (0, 1):
                first, last = end(data, size)
                self.assertEqual((first[3], last), ("2", StreamEnded), text)

    def test_bigTagInSection(self) -> None:
        """A CDATA section in many pieces, with and without brackets, is one text."""
        text = b"<a>]]]]" * 50
        data = b"<message odd=''><body><![CDATA[" + text + b"]]></body></message><iq/>"
        for size in (0, 1, 5):
            self.assertEqual([found[0] for found in end(data, size)], ["message", "iq"])

    def test_spaceInNamespace(self) -> None:
        """A namespace may contain any character of XML, and does not end the stream."""
        for uri in ("a b", " ", "a|b", "urn:x&#10;y", "\u20ac", "a&#9;b"):
            data = f"<iq id='1'><q xmlns='{uri}'/></iq><iq id='2'><x:q xmlns:x='{uri}'/></iq>".encode()
            self.assertEqual([found[3] for found in end(data)], ["1", "2"], uri)

    def test_stanzaInStanza(self) -> None:
        """A stanza ends with its own end tag, with any elements of the same name in it, in any spelling."""
        for inside in (
            b"<f><iq id='x'><q/></iq></f>",
            b"<f><iq id='x'/></f>",
            b"<iq/>",
            b"<iq></iq>",
            b"<iq></iq >",
            b"<iq a='/>'></iq>",
            b'<iq a="\'/>"/>',
            b"<iq\n/>",
            b"<iqx></iqx>",
            b"<iqx/>",
            b"<iq><iq/></iq>",
            b"<iq/><iq></iq>",
            b"<iq></iq><iq></iq>",
            b"<iqx/><iq></iq>",
            b"<iq></iq><iqx></iqx>",
        ):
            whole = b"<iq id='1'>" + inside
            for after in (b"<iq id='2'></iq>", b"<iq id='2'/>", b"<message id='2'><iq></iq></message>"):
                for ending in (b"</iq>", b"</iq >"):
                    for size in (0, 1):
                        found = [(each[3], each[6]) for each in end(whole + ending + after, size)]
                        self.assertEqual(found[0], ("1", whole))
                        self.assertEqual([each[0] for each in found], ["1", "2"])

    def test_stanzaOfOtherNamespace(self) -> None:
        """Only elements in the content namespace are stanzas, whatever their name."""
        for data in (
            b"<iq xmlns='jabber:client'/>",
            b"<stream:iq/>",
            b"<x:iq xmlns:x='urn:x'/>",
            b"<iq xmlns=''/>",
        ):
            _, event = split(HEADER + data)
            self.assertIsInstance(event, Nonza, data)

    def test_lineEnds(self) -> None:
        """Line ends in values are normalised as XML demands, also on the fast path."""
        self.assertEqual(end(b"<iq id='a\r\nb\tc'/>")[0][3], "a b c")
        self.assertEqual(end(b"<iq id='a&#13;b&#10;c'/>")[0][3], "a\rb\nc")

    def test_endAndMore(self) -> None:
        """Bytes after the end of the stream are ignored, well-formed or not."""
        for more in (b"", b"junk", b"<iq/>", b"\xff", b"x" * 500):
            for size in (0, 1):
                found = end(b"<iq/></stream:stream >" + more, size, Limits(stanzaSize=250))
                self.assertEqual(found[1:], [StreamEnded])

    def test_byteOrderMark(self) -> None:
        """A byte order mark before the stream, and a declaration of UTF-8, change nothing."""
        for before in (b"\xef\xbb\xbf", b"<?xml version='1.0' encoding='UTF-8'?>", b"<?xml version='1.0'?>\n "):
            for size in (0, 1):
                started, event = split(before + HEADER + b"<iq id='1'/>", size)
                assert isinstance(started, StreamStarted)
                assert isinstance(event, Stanza)
                self.assertEqual((started.attributes, event.id), ({"id": "s1"}, "1"))


class FailureTests(SynchronousTestCase):
    """Failures of a stream, and their conditions (RFC 6120 sections 4.9.3 and 11)."""

    def test_conditions(self) -> None:
        """Each kind of bad input has its condition, after the stanzas before it and with none after it."""
        for kind, (wrong, condition) in BROKEN.items():
            for size in (0, 1, 3):
                found = end(b"<iq id='1'/>" + wrong + b"<iq id='2'/>", size)
                self.assertEqual(found[1:], [condition], kind)

    def test_headers(self) -> None:
        """Each kind of bad header has its condition."""
        streams = ns.STREAMS
        for header, condition in (
            (f"<stream xmlns='{ns.COMPONENT_ACCEPT}'>", "invalid-namespace"),
            (f"<s:stream xmlns='jabber:client' xmlns:s='{streams}'>", "invalid-namespace"),
            (f"<s:stream xmlns:s='{streams}'>", "invalid-namespace"),
            (f"<stream xmlns='{streams}'>", "invalid-namespace"),
            (f"<s:other xmlns='{ns.COMPONENT_ACCEPT}' xmlns:s='{streams}'>", "invalid-namespace"),
            ("<!DOCTYPE x><x>", "restricted-xml"),
            ("<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><x>&b;</x>", "restricted-xml"),
            ("<!-- x --><x>", "restricted-xml"),
            ("<?pi x?><x>", "restricted-xml"),
            ("HTTP/1.1 400 Bad Request\r\n", "not-well-formed"),
            ("<stream:stream>", "not-well-formed"),
            ("<?xml version='1.0' encoding='ISO-8859-1'?>" + HEADER.decode(), "unsupported-encoding"),
            ("<?xml version='1.0' encoding='utf-16'?>" + HEADER.decode(), "unsupported-encoding"),
        ):
            for size in (0, 1):
                self.assertEqual(facts(split(header.encode(), size)), [condition], header)

    def test_utf16(self) -> None:
        """A stream in UTF-16 has its own condition, in either byte order."""
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            for size in (0, 1):
                data = (HEADER + b"<iq/>").decode().encode(encoding)
                self.assertEqual(facts(split(data, size)), ["unsupported-encoding"], encoding)

    def test_badUtf8(self) -> None:
        """
        Bytes that are not UTF-8, in a name, a value or a text, have another condition than XML that is not
        well-formed.
        """
        for wrong in (b"\xff", b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x28\xa1"):
            for frame in (b"<iq a='%b'/>", b"<message>%b</message>", b"<%b/>", b"%b"):
                for size in (0, 1):
                    self.assertEqual(end(frame % wrong + b" ", size), ["unsupported-encoding"], (wrong, frame))
        for fine in (b"\xef\xbf\xbf", b"\x01", b"\x00"):
            self.assertEqual(end(b"<message>" + fine + b"</message>"), ["not-well-formed"], fine)

    def test_depth(self) -> None:
        """Elements nested 64 deep are accepted, 65 deep are not, in any spelling; the next stanza is."""
        for root in ("iq", "iq odd=''"):
            for name in ("a", "iq"):
                for inner in (f"<{name}></{name}>", f"<{name}/>"):
                    for depth in (64, 65):
                        inside = f"<{name}>" * (depth - 2) + inner + f"</{name}>" * (depth - 2)
                        for size in (0, 1):
                            first, second = end(f"<{root}>{inside}</iq><iq/>".encode(), size)
                            self.assertEqual(first[0], "iq" if depth == 64 else TooDeep, (depth, inner))
                            self.assertEqual(second[0], "iq")
        self.assertEqual(end(b"<iq>" + b"<a>" * 64), [])
        self.assertEqual(end(b"<iq>" + b"<a/>" * 1000 + b"</iq>")[0][0], "iq")

    def test_anyDepth(self) -> None:
        """Other limits of depth are exact as well."""
        for limit in (1, 2, 3):
            for depth in (1, 2, 3, 4):
                data = b"<iq>" + b"<a>" * (depth - 1) + b"</a>" * (depth - 1) + b"</iq>"
                [found] = end(data, 0, Limits(depth=limit))
                self.assertEqual(found[0] is TooDeep, depth > limit, (depth, limit))

    def test_size(self) -> None:
        """A stanza at the limit is accepted, one byte more is not, in any spelling and any pieces."""
        limit = 300
        for begin, ending in ((b"<iq id='1'>", b"</iq>"), (b'<iq id="1">', b"</iq>"), (b"<iq id='", b"'/>")):
            for size in (0, 1, 7):
                fill = limit - len(begin) - len(ending)
                fits = begin + b"x" * fill + ending
                [found] = end(fits, size, Limits(stanzaSize=limit))
                self.assertEqual(found[0], "iq")
                _, found, last = end(
                    b"<iq/>" + begin + b"x" * (fill + 1) + ending + b"<iq/>", size, Limits(stanzaSize=limit)
                )
                self.assertEqual(found[:2], (TooLarge, limit + 1), (begin, size))
                self.assertEqual(last[0], "iq")

    def test_endlessStanza(self) -> None:
        """Without skipping, text, tags, one tag or a CDATA section without end fail at the limit."""
        for begin, more in (
            (b"<iq>", b"x"),
            (b"<iq>", b"<a/>"),
            (b"<iq odd='1'>", b"<a>1</a>"),
            (b"<iq a='", b"x"),
            (b"<iq ", b" "),
            (b"<iq><![CDATA[", b"x>"),
            (b"<iq", b"q"),
        ):
            splitter = Splitter(ns.COMPONENT_ACCEPT, Limits(stanzaSize=1000))
            splitter.skips = False
            events = splitter.feed(HEADER + begin)
            fed = len(begin)
            while len(events) == 1 and fed < 3000:
                events += splitter.feed(more)
                fed += len(more)
            self.assertEqual(facts(events[1:]), ["policy-violation"], (begin, more))
            self.assertLessEqual(fed, 1000 + len(more))

    def test_nothingAfterFailure(self) -> None:
        """A failed stream accepts no more bytes."""
        splitter = Splitter(ns.COMPONENT_ACCEPT)
        self.assertEqual(facts(splitter.feed(b"nonsense ")), ["not-well-formed"])
        self.assertEqual(splitter.feed(HEADER + b"<iq/>"), [])

    def test_failureSaysWhat(self) -> None:
        """A failure has a text for the log, and a stream error that is well-formed XML for the peer."""
        failed = split(HEADER + b"<a></b>")[-1]
        assert isinstance(failed, StreamFailed)
        self.assertIn("mismatched tag", str(failed))
        data = HEADER + core.streamError(failed.condition, "<'&\">")
        [error] = [tree(element) for element in children(data)]
        self.assertEqual(error[0], f"{{{ns.STREAMS}}}error")
        condition, text = error[2]
        self.assertEqual(condition[0], f"{{{ns.STREAM_ERRORS}}}not-well-formed")
        self.assertEqual(text[2], ["<'&\">"])


class WorkTests(SynchronousTestCase):
    """Limits of the splitter's work and memory."""

    def test_smallPieces(self) -> None:
        """A large stanza in small pieces, each with the end of a tag, needs linear time."""
        for more in (b"<a/>", b"<a>1</a>", b"x>>>"):
            data = b"<iq odd='1'>" + more * (100_000 // len(more)) + b"</iq>"
            began = process_time()
            [found] = end(data, 4)
            # With quadratic time this takes a minute.
            self.assertLess(process_time() - began, 5.0, more)
            self.assertEqual(len(found[-1]), len(data) - len(b"</iq>"))

    def test_parserIsRenewed(self) -> None:
        """Parsers, which keep names of third parties, are replaced from time to time; no stanza is lost."""
        made = []
        original = core.Checker
        self.patch(core, "_PARSER_LIFE", 500)
        self.patch(core, "Checker", lambda namespace: made.append(1) or original(namespace))
        data = b"".join(
            f"<iq id='{number}' odd='&amp;'><q{number} xmlns='urn:{number}'>\u20ac</q{number}></iq>".encode()
            for number in range(300)
        )
        for size in (0, 1, 7, 100):
            made.clear()
            self.assertEqual([found[3] for found in end(data, size)], [str(number) for number in range(300)])
            if size:
                self.assertGreater(len(made), 10)

    def test_parserIsFreed(self) -> None:
        """A replaced parser is freed at once, and the last one with its stream: no garbage collection is needed."""
        gc.disable()
        self.addCleanup(gc.enable)
        self.patch(core, "_PARSER_LIFE", 500)
        made: WeakSet[core.Checker] = WeakSet()
        original = core.Checker

        def make(namespace: str) -> core.Checker:
            checker = original(namespace)
            made.add(checker)
            return checker

        self.patch(core, "Checker", make)
        splitter = Splitter(ns.COMPONENT_ACCEPT)
        splitter.feed(HEADER)
        for number in range(100):
            splitter.feed(f"<iq id='{number}'><q{number} xmlns='urn:x'/></iq>".encode())
        self.assertEqual(len(made), 1)
        del splitter
        self.assertEqual(len(made), 0)

    def test_renewalKeepsStrict(self) -> None:
        """A renewed parser checks its input as before, also within a stanza."""
        self.patch(core, "_PARSER_LIFE", 100)
        for kind, (wrong, condition) in BROKEN.items():
            for before in (b"<iq>" + b"<a/>" * 100 + b"</iq>", b"<iq/>" * 100):
                found = end(before + wrong, 10)
                self.assertEqual(found[-1], condition, kind)
