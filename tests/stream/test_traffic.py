"""Stanzas and bytes are counted by kind, exactly, however the stream is divided."""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.stream.core import Limits
from gateway.stream.outflow import Copies
from gateway.stream.refused import StanzaRefused
from gateway.stream.traffic import RECEIVED, SENT, CountingOutflow, CountingSplitter, Traffic
from tests.stream.memory import HEADER, JID

ROOT = f"from='a@example.com' to='{JID}'"
IQ = f"<iq {ROOT} type='get' id='1'><q xmlns='urn:q'/></iq>".encode()
MESSAGE = f"<message {ROOT}><body>{'x' * 200}</body></message>".encode()
PRESENCE = f"<presence {ROOT}/>".encode()
# The slow path: other quotes, a prefix, an entity.
ODD = f'<message from="a@example.com" to="{JID}"><body>y</body></message >'.encode()
PREFIXED = b"<x:iq xmlns:x='jabber:component:accept' type='set' id='2'><q xmlns='urn:q'/></x:iq>"
ENTITY = f"<presence from='a&apos;b@example.com' to='{JID}'><show>away</show></presence>".encode()
LARGE = f"<message {ROOT}><body>{'z' * 3000}</body></message>".encode()
KINDS = {IQ: "iq", MESSAGE: "message", PRESENCE: "presence", PREFIXED: "iq", ENTITY: "presence"}


class ReceivedTests(SynchronousTestCase):
    """Received stanzas."""

    def check(self, stanzas: list[bytes], size: int, refused: int = 0) -> None:
        """Check the counters after these stanzas have come in pieces of a size."""
        traffic = Traffic()
        splitter = CountingSplitter(ns.COMPONENT_ACCEPT, Limits(stanzaSize=2_000), traffic)
        data = HEADER + b"<handshake/>" + b"".join(stanzas)
        events = []
        for start in range(0, len(data), size):
            events += splitter.feed(data[start : start + size])
        self.assertEqual(len([each for each in events if isinstance(each, StanzaRefused)]), refused)
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for each in stanzas:
            if each in KINDS:
                counts[KINDS[each]] += 1
                sizes[KINDS[each]] += len(each)
        expected = {(kind, RECEIVED): counts[kind] for kind in ("iq", "message", "presence")}
        found = {key: value for key, value in traffic.stanzas().items() if key[1] == RECEIVED}
        self.assertEqual(found, expected, size)
        expected = {(kind, RECEIVED): sizes[kind] for kind in ("iq", "message", "presence")}
        found = {key: value for key, value in traffic.stanzaBytes().items() if key[1] == RECEIVED}
        self.assertEqual(found, expected, size)
        self.assertEqual(traffic.sizes[RECEIVED], len(data))

    def test_pieces(self) -> None:
        """Pieces of every size, of one kind and of several; unusual stanzas as well."""
        random = Random(1)
        mixed = random.choices([IQ, MESSAGE, PRESENCE, PREFIXED, ENTITY], k=12)
        for stanzas in ([IQ] * 5, [MESSAGE] * 3 + [IQ] * 3, [IQ, MESSAGE, IQ], mixed):
            for size in range(1, len(b"".join(stanzas)), 3):
                self.check(stanzas, size)

    def test_refused(self) -> None:
        """A stanza that is refused is none of those that were received, whatever it comes with."""
        for size in (1, 50, 100, 500, 1_000, 3_000, 10_000):
            self.check([IQ, IQ, LARGE, IQ, MESSAGE, LARGE], size, refused=2)

    def test_odd(self) -> None:
        """The space in an unusual end tag is not counted."""
        traffic = Traffic()
        CountingSplitter(ns.COMPONENT_ACCEPT, None, traffic).feed(HEADER + IQ + ODD)
        self.assertEqual(traffic.stanzaBytes()["message", RECEIVED], len(ODD) - 1)


class SentTests(SynchronousTestCase):
    """Sent stanzas."""

    def test_pieces(self) -> None:
        """Pieces of every size, of one kind and of several, with copies; each stanza counts when it was taken."""
        copies = Copies(b"<message to='", (b"a@example.com", b"b@example.com"), b"'><body>x</body></message>")
        random = Random(1)
        mixed = random.choices([IQ, MESSAGE, PRESENCE, copies], k=12)
        for parts in ([IQ] * 5, [IQ, MESSAGE, IQ], [copies, IQ], mixed):
            for size in range(1, 600, 7):
                traffic = Traffic()
                outflow = CountingOutflow(traffic)
                for part in (b"<stream:stream>", *parts):
                    if isinstance(part, Copies) and size % 2:
                        outflow.putCopies(part)
                    elif isinstance(part, Copies):
                        outflow.putJoined(part)
                    else:
                        outflow.put(part)
                counts: Counter[str] = Counter(other=1)
                sizes: Counter[str] = Counter(other=15)
                taken = b""
                while outflow.size:
                    taken += outflow.take(size)
                for part in parts:
                    many = isinstance(part, Copies)
                    kind = "message" if isinstance(part, Copies) else KINDS[part]
                    counts[kind] += 2 if many else 1
                    sizes[kind] += part.size if isinstance(part, Copies) else len(part)
                kinds = ("iq", "message", "presence", "other")
                found = {kind: traffic.stanzas()[kind, SENT] for kind in kinds}
                self.assertEqual(found, {kind: counts[kind] for kind in kinds}, size)
                found = {kind: traffic.stanzaBytes()[kind, SENT] for kind in kinds}
                self.assertEqual(found, {kind: sizes[kind] for kind in kinds}, size)
                self.assertEqual((traffic.sizes[SENT], sum(found.values())), (len(taken), len(taken)))
