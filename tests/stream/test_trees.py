"""
Trees of stanzas: those that domish itself would build.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.stream.stanzas import Stanza, serialised
from gateway.stream.trees import Builder
from tests.stream.memory import HEADER, domishTree, split, steady
from tests.stream.odd import streams


def everything(element: domish.Element) -> Any:
    """All that an element is made of, but its parent."""
    children = [each if isinstance(each, str) else everything(each) for each in element.children]
    return element.uri, element.name, element.defaultUri, element.attributes, element.localPrefixes, children


def byDomish(header: bytes, raw: bytes) -> domish.Element:
    """The same by domish's own stream."""
    found: list[domish.Element] = []
    stream = domish.elementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.ElementEvent = found.append
    stream.DocumentEndEvent = lambda: None
    stream.parse(header)
    stream.parse(raw)
    [element] = found
    return element


class BuilderTests(SynchronousTestCase):
    """One builder for the stanzas of a stream."""

    @steady
    @given(streams())
    def test_asDomish(self, data: bytes) -> None:
        """Every stanza of a stream, one after the other, is the tree that domish builds of it alone."""
        builder: Builder | None = None
        # Of a namespace with a space in it domish alone makes nothing.
        data = data.replace(b"urn: h", b"urn:h")
        for stanza in split(data):
            if isinstance(stanza, Stanza) and b"'a b'" not in stanza.raw:
                builder = builder or Builder(stanza.context.header)
                raw = stanza.raw
                if not raw.endswith(b"/>") or raw.count(b"<") > 1:
                    raw += b"</" + raw[1:].replace(b"/", b" ").replace(b">", b" ").split()[0] + b">"
                element = builder.build(raw)
                self.assertEqual(everything(element), everything(byDomish(stanza.context.header, raw)))
                self.assertIsNone(element.parent)
                for child in element.elements():
                    self.assertIs(child.parent, element)
                for default in ("", ns.CLIENT, ns.COMPONENT_ACCEPT):
                    header = f"<s:s xmlns='{default}' xmlns:s='{ns.STREAMS}'>".encode()
                    again = byDomish(header, serialised(element, default).encode())
                    self.assertEqual(domishTree(again), domishTree(element))

    def test_longText(self) -> None:
        """Text is one piece, however long."""
        text = "a\n&" * 10_000
        raw = f"<message><body>{text.replace('&', '&amp;')}</body></message>".encode()
        self.assertEqual(Builder(HEADER).build(raw).body.children, [text])

    def test_notOne(self) -> None:
        """What is not one whole element is an error."""
        for raw in (b"", b"text", b"<iq>", b"<iq><q></iq>", b"<iq/><iq/>", b"</stream:stream>", b"<iq", b"<a:iq/>"):
            self.assertRaises(domish.ParserError, Builder(HEADER).build, raw)
