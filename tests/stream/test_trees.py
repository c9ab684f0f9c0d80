"""Trees of stanzas: the same that domish would build."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest, TooLarge
from gateway.stream.stanzas import Stanza
from gateway.xml.read import MAX_COST, Builder, parse
from gateway.xml.write import serialised
from tests.profiles import steady
from tests.quick import QuickCase
from tests.stream.memory import HEADER, domishTree, split
from tests.stream.odd import streams


def everything(element: domish.Element) -> Any:
    """Return all parts of an element, except its parent."""
    children = [each if isinstance(each, str) else everything(each) for each in element.children]
    return element.uri, element.name, element.defaultUri, element.attributes, element.localPrefixes, children


def byDomish(header: bytes, raw: bytes) -> domish.Element:
    """Return the same by domish's own stream."""
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
        """Every stanza of a stream gives the tree that domish builds of it alone."""
        builder: Builder | None = None
        # Domish alone cannot read a namespace with a space in it.
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
        """Text is one piece, at any length."""
        text = "a\n&" * 10_000
        raw = f"<message><body>{text.replace('&', '&amp;')}</body></message>".encode()
        self.assertEqual(Builder(HEADER).build(raw).body.children, [text])

    def test_notOne(self) -> None:
        """Anything but one whole element is an error."""
        for raw in (b"", b"text", b"<iq>", b"<iq><q></iq>", b"<iq/><iq/>", b"</stream:stream>", b"<iq", b"<a:iq/>"):
            self.assertRaises(BadRequest, Builder(HEADER).build, raw)


class CostTests(QuickCase):
    """Limits of a tree; a stanza that is only forwarded may have any number of elements."""

    header = f"<s:s xmlns='{ns.COMPONENT_ACCEPT}' xmlns:s='{ns.STREAMS}'>".encode()

    def assertRefused(self, raw: bytes) -> None:
        with self.quickly(raw[:100]):
            self.assertRaises(TooLarge, parse, self.header, raw)

    def test_most(self) -> None:
        """The maximum of tags and attributes takes less than a tenth of a second. One more is refused."""
        many, left = divmod(MAX_COST - 2, 3)
        items = b"<i a='' b=\"\"/>" * many + b"<i/>" * left
        with self.quickly():
            tree = parse(self.header, b"<iq>" + items + b"</iq>")
        self.assertEqual(len(tree.children), many + left)
        self.assertRefused(b"<iq>" + items + b"<i/></iq>")
        self.assertRefused(b"<iq>" + b"<i/>" * (MAX_COST - 1) + b"</iq>")

    def test_hostile(self) -> None:
        """Four million bytes of the most expensive input."""
        self.assertRefused(b"<iq>" + b"<a/>" * 1_000_000 + b"</iq>")
        self.assertRefused(b"<iq" + b"".join(b" a%d=''" % number for number in range(400_000)) + b"></iq>")
        self.assertRefused(b"<iq" + b"".join(b" xmlns:a%d='u'" % number for number in range(200_000)) + b"></iq>")

    def test_longNamespace(self) -> None:
        """The work of expat is proportional to the product of a namespace's length and the number of its uses."""
        long = b"u" * 130_000
        self.assertRefused(
            b"<iq><q xmlns:p='" + long + b"'" + b"".join(b" p:a%d=''" % n for n in range(9_000)) + b"/></iq>"
        )
        self.assertRefused(b'<iq><q xmlns = "' + long + b'">' + b"<a/>" * 9_000 + b"</q></iq>")

    def test_text(self) -> None:
        """Text is cheap, at any length; quotes, and words that look like declarations, are text."""
        for text in (b"x" * 4_000_000, b"&apos;" * 60_000, b"'" * 60_000, b"xmlns=q" + b"u" * 100_000):
            with self.quickly(text[:100]):
                tree = parse(self.header, b"<iq>" + text + b"</iq>")
            self.assertEqual(len(tree.children), 1)
