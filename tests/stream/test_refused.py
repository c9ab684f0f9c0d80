"""A bad stanza costs only itself: which bytes are skipped, with how much memory and work, and who is told."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import pairwise
from time import process_time
from typing import Any
from weakref import WeakSet

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.errors import BadNamespace, TooDeep, TooLarge
from gateway.http.status import Status
from gateway.interfaces import IRefusalHandler
from gateway.stream import core, skipper
from gateway.stream.checker import StreamFailed
from gateway.stream.core import Limits, Splitter
from gateway.stream.outflow import Copies
from gateway.stream.raw import RawHandler
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from tests.profiles import steady
from tests.reports import sentences
from tests.stream.memory import HEADER, JID, World, split
from tests.stream.memory import stanza as only
from tests.stream.odd import BROKEN, REFUSED, streams
from tests.stream.test_core import end, facts

SMALL = Limits(stanzaSize=200, depth=4)
ROOM = "x" * 300


class SkipTests(SynchronousTestCase):
    """Events of the splitter for stanzas that are refused."""

    def test_namespaces(self) -> None:
        """A stanza that breaks only the rules of namespaces is refused alone, in any spelling and any pieces."""
        for kind, wrong in REFUSED.items():
            for size in (0, 1, 3, 7, 1000):
                first, found, last = end(b"<iq id='1'/>" + wrong + b"<iq id='2'/>", size)
                self.assertEqual((first[3], last[3]), ("1", "2"), kind)
                self.assertEqual(found[:2], (BadNamespace, len(wrong)), kind)
                _, sender, _, identifier, _, _ = found[2]
                self.assertEqual((sender, identifier), ("a", "n"), kind)

    def test_kind(self) -> None:
        """The root is identified by its own declarations, and by those of the stream."""
        header = HEADER[:-1] + f" xmlns:c='{ns.COMPONENT_ACCEPT}'>".encode()
        for root, name in (
            ("iq", "iq"),
            ("c:iq", "iq"),
            (f"message xmlns='{ns.COMPONENT_ACCEPT}'", "message"),
            ("iq xmlns='jabber:client'", "jabber:client\x1fiq"),
            ("nix:iq", "\x1fiq"),
            ("stream:iq", f"{ns.STREAMS}\x1fiq"),
            ("iqs", f"{ns.COMPONENT_ACCEPT}\x1fiqs"),
        ):
            [_, found] = split(header + f"<{root} from='&lt;' to=\"'\" type='t' xml:lang='l' nix:a=''/>".encode())
            assert isinstance(found, StanzaRefused)
            stanza = found.stanza
            self.assertEqual(stanza.name, name)
            self.assertEqual((stanza.sender, stanza.recipient, stanza.id, stanza.type), ("<", "'", None, "t"))
            self.assertEqual(stanza.language, "l")

    def test_reasons(self) -> None:
        """The size comes first, then the depth, then namespaces; in any pieces."""
        deep = "<a>" * 4 + "</a>" * 4
        for content, why in (
            (ROOM, TooLarge),
            (deep, TooDeep),
            ("<nix:a/>", BadNamespace),
            (deep + ROOM, TooLarge),
            ("<nix:a/>" + deep + ROOM, TooLarge),
            (ROOM + "<nix:a/>", TooLarge),
            ("<nix:a/>" + deep, TooDeep),
            (deep + "<nix:a/>", TooDeep),
        ):
            for root in ("iq id='n'", "iq odd='' id='n'"):
                for size in (0, 1, 5, 100, 201):
                    data = f"<{root}>{content}</iq >".encode()
                    found, last = end(data + b"<iq id='2'/>", size, SMALL)
                    self.assertEqual(found[:2], (why, len(data)), (content, size))
                    self.assertEqual((found[2][3], last[3]), ("n", "2"))

    @steady
    @given(
        st.lists(st.sampled_from([*REFUSED.values(), b" ", f"<iq>{ROOM}</iq>".encode()]), max_size=4),
        streams(),
        st.lists(st.integers(0, 10_000), max_size=30),
        st.sampled_from([b"", *(wrong for wrong, _ in BROKEN.values())]),
    )
    def test_anyPieces(self, bad: list[bytes], good: bytes, cuts: list[int], broken: bytes) -> None:
        """Bad stanzas among good ones, in any pieces: the same events, and all good stanzas."""
        good = good.replace(b"<stream:stream", b"<stream:stream xmlns:b='urn:b'", 1)
        header, _, rest = good.partition(b">'>")
        data = header + b">'>" + b"".join(bad) + rest + b"".join(bad) + broken
        whole = facts(split(data, 0, SMALL))
        splitter = Splitter(ns.COMPONENT_ACCEPT, SMALL)
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        self.assertEqual(facts([event for a, b in pairwise(places) for event in splitter.feed(data[a:b])]), whole)
        self.assertEqual(facts(split(data, 1, SMALL)), whole)
        # With limits that let it pass, the rest is the same as without the bad ones.
        found = [each for each in facts(split(data)) if each[0] is not BadNamespace or not isinstance(each, tuple)]
        large = sum(each.startswith(b"<iq>") for each in bad)
        other = facts(split(header + b">'>" + rest + broken))
        self.assertEqual(len(found), len(other) + 2 * large)

    def test_brokenInside(self) -> None:
        """A refused stanza that is not well-formed, or has content that XMPP forbids, ends the stream."""
        for wrong, condition in (
            (b"</b>", "not-well-formed"),
            (b"<!-- x -->", "restricted-xml"),
            (b"&lol;", "restricted-xml"),
            (b"<?x?>", "restricted-xml"),
            (b"\x01", "not-well-formed"),
            (b"<b a='1' a='2'/>", "not-well-formed"),
            (b"\xff", "unsupported-encoding"),
        ):
            for before in (b"<nix:a/>", b"x" * 300, b"x" * 150):
                for size in (0, 1, 7):
                    found = end(b"<iq/><iq><a>" + before + wrong + b"</a></iq><iq/>", size, SMALL)
                    self.assertEqual([each for each in found if isinstance(each, str)], [condition], wrong)
                    self.assertEqual(found[-1], condition)

    def test_endAfter(self) -> None:
        """The end of the stream directly after a refused stanza is handled."""
        for wrong in (*REFUSED.values(), f"<iq>{ROOM}</iq>".encode(), f"<iq a='{ROOM}'/>".encode()):
            for size in (0, 1, 9):
                found = end(wrong + b"</stream:stream>junk", size, Limits(stanzaSize=220))
                self.assertEqual((len(found), found[1]), (2, core.StreamEnded), wrong)

    def test_otherRoot(self) -> None:
        """A stream whose root has another prefix continues with the same prefix."""
        header = f"<s:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:a='{ns.STREAMS}' xmlns:s='{ns.STREAMS}'>".encode()
        _, found, stanza, last = split(header + REFUSED["an unbound prefix"] + b"<iq/></s:stream>")
        self.assertIsInstance(found, StanzaRefused)
        self.assertIsInstance(stanza, Stanza)
        self.assertIsInstance(last, core.StreamEnded)

    def test_header(self) -> None:
        """Before the header is complete, nothing can be skipped."""
        header = f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}' nix:a=''>".encode()
        self.assertEqual(facts(split(header + b"<iq/>")), ["not-well-formed"])
        self.assertEqual(facts(split(HEADER[:-1] + b" " * 300, 10, SMALL)), ["policy-violation"])

    def test_sectionBetween(self) -> None:
        """Text between stanzas over the limit hides no stanza."""
        self.assertEqual(end(b"<![CDATA[" + b"x" * 300, 10, SMALL), ["policy-violation"])

    def test_head(self) -> None:
        """Only the beginning of a refused stanza is kept."""
        for content in (b"<nix:a/>", b"x" * 30_000 + b"<nix:a/>"):
            data = b"<iq id='1'>" + content + b"</iq>"
            for size in (0, 1000):
                found = split(HEADER + data + b"<iq/>", size)[1]
                assert isinstance(found, StanzaRefused)
                self.assertEqual(found.head, data[: skipper.HEAD])


class MemoryTests(SynchronousTestCase):
    """The memory that an endless stanza takes."""

    def skipped(self, begin: bytes, make: Any, total: int, finish: bytes) -> tuple[int, list[Any]]:
        """Return the peak of memory while C{total} bytes are skipped, and the events."""
        splitter = Splitter(ns.COMPONENT_ACCEPT, Limits(stanzaSize=100_000))
        splitter.feed(HEADER + begin)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        fed = number = 0
        events = []
        while fed < total and not events:
            data = make(number)
            events += splitter.feed(data)
            fed += len(data)
            number += 1
        events += splitter.feed(finish)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, facts(events)

    def test_bounded(self) -> None:
        """Text, tags, CDATA sections and new names are skipped in a part of their size."""
        self.patch(skipper, "_PARSER_LIFE", 100_000)

        def names(number: int) -> bytes:
            return b"".join(b"<n%d%d a%d='x'/>" % (number, each, each) for each in range(2000))

        tags = b"<a>x</a>" * 5_000
        for total, bound, begin, make, finish in (
            (2_000_000, 500_000, b"<iq>", lambda number: b"x" * 40_000, b"</iq>"),
            (2_000_000, 500_000, b"<iq>", lambda number: tags, b"</iq>"),
            (4_000_000, 2_000_000, b"<iq>" + b"<a>" * 10_000, lambda number: tags, b"</a>" * 10_000 + b"</iq>"),
            (2_000_000, 500_000, b"<iq><![CDATA[", lambda number: b"</iq>]]" * 5_000, b"]]></iq>"),
            (4_000_000, 3_000_000, b"<iq id='1'><b><c>", names, b"</c></b></iq>"),
        ):
            peak, [found, last] = self.skipped(begin, make, total, finish + b"<iq id='2'/>")
            self.assertIs(found[0], TooLarge)
            self.assertGreater(found[1], total)
            self.assertEqual(last[3], "2")
            self.assertLess(peak, bound, begin)

    def test_parserIsRenewed(self) -> None:
        """A parser that skips is replaced from time to time, at any place, and keeps its position."""
        made = []
        original = skipper.newParser
        self.patch(skipper, "_PARSER_LIFE", 100)
        self.patch(skipper, "newParser", lambda separator: made.append(1) or original(separator))
        inside = "<a b='>'>&amp;<![CDATA[</a>]]]]>\u20ac<c/></a>" * 100
        data = f"<iq id='1'><p><q>{inside}</q></p>{inside}</iq>".encode()
        for size in (1, 2, 7, 50):
            made.clear()
            found, last = end(data + b"<iq id='2'/>", size, SMALL)
            self.assertEqual((found[:2], last[3]), ((TooLarge, len(data)), "2"))
            self.assertGreater(len(made), 10)
            self.assertEqual(end(data[:-5] + b"</p></iq>", size, SMALL), ["not-well-formed"])

    def test_parserIsFreed(self) -> None:
        """A parser that skips is freed with the end of its stanza: no garbage collection is needed."""
        gc.disable()
        self.addCleanup(gc.enable)
        made: WeakSet[skipper.Skipper] = WeakSet()
        original = core.Skipper

        def make(header: bytes) -> skipper.Skipper:
            found = original(header)
            made.add(found)
            return found

        self.patch(core, "Skipper", make)
        splitter = Splitter(ns.COMPONENT_ACCEPT, SMALL)
        splitter.feed(HEADER)
        for _ in range(3):
            splitter.feed(f"<iq><a>{ROOM}".encode())
            self.assertEqual(len(made), 1)
            splitter.feed(b"</a></iq>")
            self.assertEqual(len(made), 0)

    def test_hardBound(self) -> None:
        """A single tag, and endlessly nested elements, end the stream at a hard limit."""
        self.patch(skipper, "HARD_BOUND", 200_000)
        for begin, more in ((b"<iq a='", b"x" * 1000), (b"<iq>", b"<a>" * 300), (b"<iq><", b"n" * 1000)):
            peak, found = self.skipped(begin, lambda number, more=more: more, 10_000_000, b"")
            self.assertEqual(found, ["policy-violation"], begin)
            self.assertLess(peak, 3_000_000)
        # Below the limit it is skipped like any other.
        _, [found, last] = self.skipped(b"<iq a='", lambda number: b"x" * 1000, 150_000, b"'/><iq/>")
        self.assertEqual((found[0], last[0]), (TooLarge, "iq"))

    def test_manyInOnePiece(self) -> None:
        """Many bad stanzas in one piece need linear time: the search for each end is limited to a part of it."""
        looked = []
        check = skipper.Skipper.check
        self.patch(skipper.Skipper, "check", lambda self, data: looked.append(len(data)) or check(self, data))
        self.assertEqual(len(end(b"<iq id='1'><nix:a/></iq>" * 500)), 500)
        self.assertLess(sum(looked), 500 * 1_500)

    def test_work(self) -> None:
        """One long tag in small pieces needs linear time."""
        began = process_time()
        for limit in (200_000, 8_000_000):
            data = b"<iq a='" + b"x" * 4_000_000 + b"'/>"
            [_, found] = split(HEADER + data, 1460, Limits(stanzaSize=limit))
            self.assertEqual(isinstance(found, StanzaRefused), limit < len(data))
        # If it were parsed from its start each time, it would take over a minute.
        self.assertLess(process_time() - began, 10.0)


def stanza(
    name: str, kind: str | None, content: str = ROOM, identifier: str | None = "7", addressed: bool = True
) -> bytes:
    """Return a stanza from a@b to the component; with the default content it is over the limit."""
    attributes = f" from='a@b/c' to='n@{JID}/r'" if addressed else ""
    attributes += f" id='{identifier}'" if identifier else ""
    attributes += f" type='{kind}'" if kind else ""
    return f"<{name}{attributes}>{content}</{name}>".encode()


@implementer(IRefusalHandler)
class Taker(RawHandler):
    """A raw handler that keeps and takes all stanzas."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Stanza] = []
        self.refused: list[StanzaRefused] = []
        self.outcome: Any = False

    def stanzaReceived(self, stanza: Stanza) -> bool:
        self.seen.append(stanza)
        return True

    def stanzaRefused(self, refused: StanzaRefused) -> bool:
        self.refused.append(refused)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return bool(self.outcome)

    def facts(self) -> list[Any]:
        """Return the stanzas that it has taken since the last call, and the conditions of errors."""
        seen, self.seen = self.seen, []
        return [
            (each.name, each.type, each.sender, each.recipient, each.id, conditions(each.element)) for each in seen
        ]


def conditions(element: domish.Element) -> list[str]:
    """Return the error conditions in a stanza."""
    return [each.name for error in element.elements() for each in error.elements() if each.name != "text"]


class LinkCase(SynchronousTestCase):
    """A link with small limits and a raw handler."""

    def setUp(self) -> None:
        self.world = World(Limits(stanzaSize=200, depth=4, outgoingSize=1000))
        self.taker = Taker()
        self.taker.setHandlerParent(self.world.link)
        self.world.up()

    def errors(self, data: bytes) -> list[Any]:
        """Return the answers that the server receives: kind, addresses, id and condition of each."""
        return [
            (
                name.rpartition("}")[2],
                attributes.get("type"),
                attributes["from"],
                attributes["to"],
                attributes.get("id"),
                [condition[0].rpartition("}")[2] for condition in error[2]][:1],
            )
            for name, attributes, [error] in self.world.say(data)
        ]


BACK = (f"n@{JID}/r", "a@b/c")
THERE = ("a@b/c", f"n@{JID}/r")


class IncomingTests(LinkCase):
    """Answers of a link to refused stanzas of its server."""

    def test_answered(self) -> None:
        """
        An iq request and a message get an error with the right condition, from the address that they were sent to.
        """
        for content, condition in (
            (ROOM, "policy-violation"),
            ("<a>" * 4 + "</a>" * 4, "policy-violation"),
            (f"<q xmlns='{ns.XML}'/>", "bad-request"),
        ):
            for name, kinds in (("iq", ("get", "set", None, "odd")), ("message", (None, "groupchat", "odd"))):
                for kind in kinds:
                    self.assertEqual(
                        self.errors(stanza(name, kind, content)), [(name, "error", *BACK, "7", [condition])]
                    )
                    self.assertEqual(
                        self.errors(stanza(name, kind, content, None)), [(name, "error", *BACK, None, [condition])]
                    )
        self.assertEqual(self.taker.facts(), [])
        self.assertTrue(self.world.link.ready)

    def test_silent(self) -> None:
        """Available presence, a stanza without a sender, and other elements get no answer, and reach no handler."""
        for data in (
            stanza("presence", None),
            stanza("message", None, addressed=False),
            stanza("iq", "get", addressed=False),
            f"<x from='a'>{ROOM}</x>".encode(),
            f"<x xmlns='{ns.XML}' type='error' from='a'/>".encode(),
        ):
            self.assertEqual(self.world.say(data), [], data)
        self.assertEqual(self.taker.facts(), [])
        self.assertEqual(len(self.taker.refused), 5)

    def test_substituted(self) -> None:
        """In place of an answer, or of an error of any kind, its recipient gets an error; a leave stays a leave."""
        for name, kind in (("iq", "result"), ("iq", "error"), ("message", "error"), ("presence", "error")):
            self.assertEqual(self.world.say(stanza(name, kind)), [])
            self.assertEqual(self.taker.facts(), [(name, "error", *THERE, "7", ["policy-violation"])])
        for kind in ("unavailable", "unsubscribed", "probe"):
            self.assertEqual(self.world.say(stanza("presence", kind)), [])
            self.assertEqual(self.taker.facts(), [("presence", kind, *THERE, "7", [])])

    def test_requestEnds(self) -> None:
        """A request whose answer is refused fails at once, with the reason."""
        request = domish.Element((None, "iq"), attribs={"type": "get", "to": "a@b/c", "id": "7"})
        self.world.link.removeHandler(self.taker)
        answer = self.world.link.request(request)
        self.world.say(stanza("iq", "result"))
        failure = self.failureResultOf(answer, StanzaError)
        self.assertEqual(failure.value.condition, "policy-violation")
        self.assertEqual(failure.value.text, "The stanza is too large.")
        self.assertEqual(self.world.link.pending, 0)

    def test_handler(self) -> None:
        """A handler may answer itself; if it raises, the link answers."""
        self.taker.outcome = True
        self.assertEqual(self.world.say(stanza("iq", "get")), [])
        [refused] = self.taker.refused
        self.assertEqual((refused.stanza.sender, refused.why), ("a@b/c", TooLarge))
        self.assertTrue(refused.head.startswith(b"<iq from='a@b/c'"))
        self.taker.outcome = ValueError("x")
        self.assertEqual(len(self.errors(stanza("iq", "get"))), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_beforeHandshake(self) -> None:
        """Before the server has accepted the component, a refused element ends the stream."""
        large = f"<iq>{ROOM}</iq>".encode()
        for data, condition in ((large, "policy-violation"), (REFUSED["an unbound prefix"], "not-well-formed")):
            world = World(Limits(stanzaSize=200))
            world.link.startService()
            world.server.say(HEADER + data)
            world.wait(0.1)
            self.assertIn(condition, world.link.trouble)

    def test_flood(self) -> None:
        """A user who repeats it costs others no stanza, and the log has one line a minute with the user's name."""
        said: list[str] = []
        self.patch(type(self.world.link.refusals), "_log", Lines(said))
        for number in range(50):
            self.world.say(stanza("message", None) + stanza("iq", "get", "", str(number)))
        self.assertEqual([fact[4] for fact in self.taker.facts()], [str(number) for number in range(50)])
        self.assertEqual(len(said), 1)
        self.assertIn("1 from the server, too large; the last: message from 'a@b/c' to", said[0])
        self.world.wait(59)
        self.assertEqual(len(said), 1)
        self.world.wait(3)
        self.assertEqual(len(said), 2)
        self.assertIn("49 from the server, too large", said[1])
        self.world.wait(200)
        self.assertEqual(len(said), 2)
        status = Status([self.world.link])
        shown = "".join(sentences(self.world.link.report())) + "\n"
        self.assertIn("refused stanzas: 50 from the server, too large; the limits are max_stanza_size", shown)
        self.assertIn(b"refused stanzas: 50", rendered(status))

    def test_logIsSafe(self) -> None:
        """Names of elements and addresses may be long, or have characters that must not be logged."""
        said: list[str] = []
        self.patch(type(self.world.link.refusals), "_log", Lines(said))
        self.world.say(f"<\u00e9{'x' * 300} from='a\u202e&#10;{'b' * 3000}' nix:a=''/>".encode())
        self.assertLess(len(said[0]), 700)
        self.assertTrue(said[0].isascii() and said[0].isprintable(), said[0])


class Lines:
    """A log that keeps its lines."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def warn(self, text: str, **values: Any) -> None:
        self.lines.append(text.format(**values))

    def failure(self, text: str, **values: Any) -> None:
        self.lines.append(text.format(**values))


def rendered(status: Status) -> bytes:
    """Return the text of the status page."""
    from twisted.web.test.requesthelper import DummyRequest

    request: Any = DummyRequest([b""])
    return status.render_GET(request)


class OutgoingTests(LinkCase):
    """Stanzas for which the server would end the stream are not sent."""

    def send(self, data: bytes) -> list[Any]:
        """Send; return the stanzas that the server receives at once."""
        before = len(self.world.server.heard())
        self.world.link.sendRaw(data)
        self.world.clock.advance(0)
        return [
            (name.rpartition("}")[2], attributes.get("type"), attributes.get("from"), attributes.get("to"))
            for name, attributes, _ in self.world.server.heard()[before:]
        ]

    def test_bounced(self) -> None:
        """A request and a message come back as errors, as if by the recipient, but not synchronously."""
        for name, kind in (("iq", "get"), ("iq", "set"), ("message", None), ("message", "groupchat")):
            before = len(self.world.server.heard())
            self.assertTrue(self.world.link.sendRaw(stanza(name, kind, "x" * 1000)))
            self.assertEqual(self.taker.facts(), [])
            self.world.clock.advance(0)
            self.assertEqual(self.taker.facts(), [(name, "error", *BACK, "7", ["policy-violation"])])
            self.assertEqual(len(self.world.server.heard()), before)

    def test_substituted(self) -> None:
        """The recipient of an answer gets an error in its place; a leave is sent without its content."""
        for name, kind, instead in (
            ("iq", "result", "error"),
            ("iq", "error", "error"),
            ("message", "error", "error"),
            ("presence", "unavailable", "unavailable"),
        ):
            self.assertEqual(self.send(stanza(name, kind, "x" * 1000)), [(name, instead, *THERE)])
        self.assertEqual(self.send(stanza("presence", None, "x" * 1000)), [])
        self.assertEqual(self.taker.facts(), [])

    def test_limit(self) -> None:
        """A stanza at the limit is sent unchanged."""
        empty = stanza("message", None, "")
        fits = stanza("message", None, "x" * (1000 - len(empty)))
        self.world.server.clear()
        self.assertTrue(self.world.link.sendRaw(fits))
        self.assertEqual(self.world.server.value(), fits)
        self.world.server.clear()
        self.world.link.sendRaw(fits.replace(b"xx", b"xxx", 1))
        self.assertEqual(self.world.server.value(), b"")

    def test_several(self) -> None:
        """Of several together those that the server accepts are sent, in order."""
        small = [b"<message id='%d' to='a'>%b</message>" % (each, b"y" * 400) for each in range(4)]
        large = b"<presence>" + b"x" * 1000 + b"</presence>"
        self.world.server.clear()
        self.assertTrue(self.world.link.sendRaw(b"".join([*small[:2], large, *small[2:]])))
        self.assertEqual(self.world.server.value(), b"".join(small))
        self.world.server.clear()
        self.assertTrue(self.world.link.sendRaw(b"".join(small)))
        self.assertTrue(self.world.link.sendAll(large))
        self.assertEqual(self.world.server.value(), b"".join(small) + large)

    def test_nonsense(self) -> None:
        """Bytes over the limit that are not a stanza are not sent: they would end the stream, too."""
        for data in (b"<a>" * 1000, b"</b>" * 1000, b"x" * 1001, b"<nix:x>" + b"x" * 1000 + b"</nix:x>"):
            self.assertEqual(self.send(data), [])
        self.assertEqual(sum(self.world.link.refusals.counts.values()), 4)
        self.assertTrue(self.world.link.ready)

    def test_copies(self) -> None:
        """
        Each copy of a stanza for many recipients counts alone: too large copies are refused, the others are sent.
        """
        empty = stanza("message", None, "")
        before, _, after = stanza("message", None, "x" * (1000 - len(empty))).partition(f"n@{JID}/r".encode())
        short, long = f"n@{JID}/r".encode(), f"n@{JID}/rr".encode()
        self.world.server.clear()
        self.assertTrue(self.world.link.sendCopies(Copies(before, [short, long, short], after)))
        self.assertEqual(self.world.server.value(), (before + short + after) * 2)
        self.world.clock.advance(0)
        error = ("message", "error", f"n@{JID}/rr", "a@b/c", "7", ["policy-violation"])
        self.assertEqual(self.taker.facts(), [error])
        after = b"'>" + b"x" * 1000 + b"</presence>"
        leave = Copies(b"<presence type='unavailable' to='", [b"a@b/c", b"d@e/f"], after)
        self.world.server.clear()
        self.assertTrue(self.world.link.sendCopies(leave))
        self.assertEqual(self.world.server.value().count(b"type='unavailable'"), 2)
        self.assertNotIn(b"x" * 1000, self.world.server.value())
        self.assertEqual(sum(self.world.link.refusals.counts.values()), 3)

    def test_whileDown(self) -> None:
        """The same applies while the link is down."""
        world = World(Limits(outgoingSize=1000))
        self.assertTrue(world.link.sendRaw(stanza("presence", None, "x" * 1000)))
        world.up()
        self.assertEqual(world.server.heard(), [])

    def test_noRoom(self) -> None:
        """
        The sender gets the error even if there is no room for other output, nor for an error to the recipient.
        """
        protocol: Any = self.world.server.protocol
        protocol.pauseProducing()
        protocol.fullBytes = 0
        large = stanza("iq", "result", "x" * 1000)
        self.assertTrue(self.world.link.sendRaw(large))
        self.assertFalse(self.world.link.sendRaw(large))
        self.assertFalse(self.world.link.sendRaw(b"<message to='a'/>" * 100))


class TreeTests(LinkCase):
    """Limits of a stanza of which a tree is built."""

    def test_tags(self) -> None:
        """A tree of too many elements is not built; a request gets an error, and no traceback is logged."""
        content = "<a/>" * 32_768
        world = World()
        taker = Taker()
        taker.setHandlerParent(world.link)
        world.up()
        self.patch(taker, "stanzaReceived", lambda stanza: bool(stanza.element))
        for removed in (False, True):
            if removed:
                world.link.removeHandler(taker)
                handler = Ordinary()
                handler.setHandlerParent(world.link)
            [(_, _, [error])] = world.say(stanza("iq", "get", content))
            self.assertEqual(error[2][0][0], f"{{{ns.STANZA_ERRORS}}}policy-violation")
            self.assertEqual(world.say(stanza("message", None, content)), [])
            self.assertTrue(world.say(stanza("iq", "get", "<q xmlns='urn:q'/>")) or not removed)
        self.assertEqual(world.link.pending, 0)
        self.assertRaises(TooLarge, lambda: only(stanza("message", None, content)).element)


class Ordinary(XMPPHandler):
    """A handler of the other lane, which builds a tree of each stanza."""

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/*", lambda element: None)


class UnauthenticatedTests(SynchronousTestCase):
    """Without authentication nothing is skipped."""

    def test_fails(self) -> None:
        """A splitter that skips nothing fails at the limit, and at a fault of namespaces."""
        for data, condition in ((b"<iq>" + b"x" * 300, "policy-violation"), (b"<iq><nix:a/>", "not-well-formed")):
            splitter = Splitter(ns.COMPONENT_ACCEPT, SMALL)
            splitter.skips = False
            [found] = splitter.feed(HEADER + data)[1:]
            assert isinstance(found, StreamFailed)
            self.assertEqual(found.condition, condition)


