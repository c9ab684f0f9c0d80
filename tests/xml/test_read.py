"""Parsers of single elements end with their work."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest
from gateway.xml import move, read, records
from gateway.xml.context import Context
from tests.stream.memory import HEADER

QUERY = b"<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>"
CONTEXT = Context.fromDeclarations({None: ns.COMPONENT_ACCEPT, "stream": ns.STREAMS})


class FreedTests(SynchronousTestCase):
    """Expat keeps its names; no garbage collection is needed to free it."""

    def setUp(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)

    def made(self, module: Any, name: str) -> WeakSet[Any]:
        """Return the objects of a class that are made from now on, and are still there."""
        found: WeakSet[Any] = WeakSet()
        original = getattr(module, name)

        def make(*arguments: Any) -> Any:
            made = original(*arguments)
            found.add(made)
            return made

        self.patch(module, name, make)
        return found

    def test_builders(self) -> None:
        """A builder of trees is kept up to a number of bytes, and not after an error."""
        self.patch(read, "_builders", {})
        self.patch(read, "_BUILDER_LIFE", 150)
        made = self.made(read, "Builder")
        counts = []
        for _ in range(6):
            read.parse(HEADER, QUERY)
            counts.append(len(made))
        self.assertEqual(counts, [1, 1, 1, 1, 1, 1])
        with self.assertRaises(BadRequest):
            read.parse(HEADER, b"<a/><b/>")
        self.assertEqual(len(made), 0)

    def test_trees(self) -> None:
        """Trees are freed after some bytes, though few objects are no reason for a collection."""
        self.patch(read, "_builders", {})
        self.patch(read, "_BUILDER_LIFE", 100_000)
        made: WeakSet[domish.Element] = WeakSet()
        raw = b"<query><x>" + b"y" * 9_000 + b"</x></query>"
        for _ in range(50):
            made.add(read.parse(HEADER, raw))
            self.assertLessEqual(len(made), 13)

    def test_readers(self) -> None:
        """Readers of events end with their stanza, also with a faulty one."""

        def readRecords(content: bytes) -> None:
            path = f"{ns.ROSTER}{read.SEPARATOR}query", f"{ns.ROSTER}{read.SEPARATOR}item"
            records.readRecords((HEADER,), content, path, "group", lambda *_: None)

        def moveStanza(content: bytes) -> None:
            move.movedStanza(content, CONTEXT, ns.CLIENT, {}, 1_000)

        works: tuple[tuple[Any, str, Callable[[bytes], None]], ...] = (
            (records, "_RecordReader", readRecords),
            (move, "_MovingWriter", moveStanza),
        )
        for module, name, work in works:
            made = self.made(module, name)
            work(QUERY)
            self.assertEqual(len(made), 0, name)
            with self.assertRaises(BadRequest):
                work(b"<a></b>")
            self.assertEqual(len(made), 0, name)
