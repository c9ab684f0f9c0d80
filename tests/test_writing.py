"""Another XML parser reads the gateway's output as the same tree as its input."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.delegation import stanzas as delegation
from gateway.delegation.core import Request
from gateway.delegation.private import PrivateStorage
from gateway.embedded import stanzas as embedded
from gateway.errors import BadNamespace, NotAcceptable, TooLarge
from gateway.muc.stanzas import parts
from gateway.stream.core import Splitter
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Nonza, Stanza
from gateway.xml.write import route, serialised
from tests.profiles import steady
from tests.stream.memory import HEADER, children, split, stanza, tree
from tests.stream.odd import streams

CLIENT = f"<s:stream xmlns='{ns.CLIENT}' xmlns:s='{ns.STREAMS}'>".encode()
ALICE, HOST = "alice@h/r", "h"


def read(header: bytes, data: bytes) -> list[Any]:
    """Return the elements in C{data}, as ElementTree reads them."""
    found = [tree(each) for each in children(header + data + b"<end/>")]
    assert found, data
    assert found.pop()[0].endswith("}end"), data
    return found


def moved(found: Any) -> Any:
    """Return a tree in which the two content namespaces are one; the host keeps either below other namespaces."""
    name, attributes, inside = found
    name = name.replace(f"{{{ns.COMPONENT_ACCEPT}}}", f"{{{ns.CLIENT}}}")
    return name, attributes, [each if isinstance(each, str) else moved(each) for each in inside]


def elements(found: Any) -> list[Any]:
    """Return the elements in one content namespace."""
    return [each for each in found[2] if not isinstance(each, str)]


def asServersWrite(element: Element, around: str = ns.COMPONENT_ACCEPT) -> str:
    """Write an element as Prosody and ejabberd do: each namespace as the default one."""
    uri, _, name = element.tag.rpartition("}")
    uri = uri[1:]
    written = f"<{name}" + ("" if uri == around else f" xmlns={quoteattr(uri)}")
    for number, (key, value) in enumerate(element.attrib.items()):
        space, _, local = key.rpartition("}")
        if space:
            prefix = "xml" if space[1:] == ns.XML else f"n{number}"
            declared = "" if prefix == "xml" else f" xmlns:{prefix}={quoteattr(space[1:])}"
            written += f"{declared} {prefix}:{local}={quoteattr(value, ESCAPES)}"
        else:
            written += f" {local}={quoteattr(value, ESCAPES)}"
    text = escaped(element.text or "")
    inside = "".join(asServersWrite(each, uri) + escaped(each.tail or "") for each in element)
    return f"{written}>{text}{inside}</{name}>"


ESCAPES = {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}


def escaped(text: str) -> str:
    """Escape a text as it is written between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class MemoryStore:
    """A store for L{PrivateStorage}."""

    def __init__(self) -> None:
        self.kept: dict[Any, str] = {}

    async def get(self, user: str, key: Any) -> str | None:
        return self.kept.get(key)

    async def put(self, user: str, elements: dict[Any, str], mostBytes: int, mostElements: int) -> bool:
        self.kept |= elements
        return True


class RoundTripTests(SynchronousTestCase):
    """Streams of all spellings, forwarded in every form."""

    @steady
    @given(streams())
    def test_stream(self, data: bytes) -> None:
        """Readdressed, as a tree, in parts, in another namespace: a stanza stays the same."""
        found = [event for event in split(data) if isinstance(event, Stanza)]
        for event, other in zip(found, children(data), strict=True):
            if isinstance(event, Nonza):
                continue
            right = tree(other)
            addressed = right[0], {**right[1], "from": "a<'", "to": "b"}, right[2]
            self.assertEqual(read(HEADER, event.readdressed(route("a<'", "b"))), [addressed])
            for header, namespace in ((HEADER, ns.COMPONENT_ACCEPT), (CLIENT, ns.CLIENT)):
                self.assertEqual(read(header, serialised(event.element, namespace).encode()), [right])
            self.assertEqual(read(HEADER, b"".join(each.raw for each in parts(event))), elements(right))
            for part, each in zip(parts(event), elements(right), strict=True):
                self.assertEqual(f"{{{part.namespace}}}{part.name}".removeprefix("{}"), each[0])
                self.assertEqual(read(HEADER, serialised(part.element, ns.COMPONENT_ACCEPT).encode()), [each])
            sent = embedded.readdressed(event, "a<'", "b", ns.CLIENT, 1_000_000)
            [there] = read(CLIENT, sent)
            self.assertEqual(there[0], addressed[0].replace(ns.COMPONENT_ACCEPT, ns.CLIENT))
            self.assertEqual(moved(there), moved(addressed))
            self.assertEqual(read(CLIENT, embedded.toBytes(event.element, ns.CLIENT, 1_000_000)), [right])

    @steady
    @given(streams())
    def test_rewritten(self, data: bytes) -> None:
        """If a server rewrites it, a stanza is the same or is refused, and the next one is read."""
        for other in children(data):
            namespaces = {each.tag.rpartition("}")[0] for each in other.iter()}
            first, second = split(HEADER + asServersWrite(other).encode() + b"<iq id='next'/>")[1:]
            assert isinstance(second, Stanza)
            self.assertEqual(second.id, "next")
            if f"{{{ns.XML}" in namespaces:
                assert isinstance(first, StanzaRefused)
                self.assertIs(first.why, BadNamespace)
            else:
                assert isinstance(first, Stanza)
                written = serialised(first.element, ns.COMPONENT_ACCEPT).encode()
                self.assertEqual(read(HEADER, written), [tree(other)])

    @steady
    @given(streams(), st.booleans())
    def test_delegated(self, data: bytes, isRead: bool) -> None:
        """Wrapped for a managing entity and in its answer, a payload stays the same, parsed or not."""
        splitter = Splitter(ns.CLIENT)
        data = data.replace(ns.COMPONENT_ACCEPT.encode(), ns.CLIENT.encode())
        found = [event for event in splitter.feed(data) if isinstance(event, Stanza)]
        for event, other in zip(found, children(data), strict=True):
            inside = elements(tree(other))
            if event.name != "iq" or len(inside) != 1:
                continue
            event.id, event.type = "1", "set"
            request = delegation.requestOf(event, ALICE, HOST)
            sent = delegation.writeForward(ns.DELEGATION_2, HOST, "gw", "o", request)
            again = delegation.readRequest(delegation.unwrap(stanza(sent)))
            self.assertEqual(read(CLIENT, again.xml), inside)
            answer = delegation.checkedXml(again.payload if isRead else again.xml)
            back = delegation.writeAnswer(ns.DELEGATION_2, "gw", HOST, "o", again, "result", answer)
            [outer] = read(HEADER, back)
            self.assertEqual(elements(elements(elements(elements(outer)[0])[0])[0]), inside)

    @steady
    @given(streams())
    def test_stored(self, data: bytes) -> None:
        """Private storage returns each element that it accepts."""
        for event, other in zip(
            (each for each in split(data) if isinstance(each, Stanza)), children(data), strict=True
        ):
            if isinstance(event, Nonza):
                continue
            for part, right in zip(parts(event), elements(tree(other)), strict=True):
                storage = PrivateStorage(MemoryStore())
                xml = f"<query xmlns='{ns.PRIVATE}'>".encode() + serialised(part.element, ns.PRIVATE).encode()
                store = Request(ALICE, None, "1", "set", ns.PRIVATE, {}, xml + b"</query>")
                storing = ensureDeferred(storage.answer(store))
                if part.namespace in ("", ns.CLIENT, ns.PRIVATE):
                    self.failureResultOf(storing, NotAcceptable)
                    continue
                self.successResultOf(storing)
                wanted: Any = domish.Element((part.namespace, part.name))
                asked = f"<query xmlns='{ns.PRIVATE}'>{serialised(wanted, ns.PRIVATE)}</query>".encode()
                get = Request(ALICE, None, "2", "get", ns.PRIVATE, {}, asked)
                answer = self.successResultOf(ensureDeferred(storage.answer(get)))
                [query] = read(CLIENT, delegation.checkedXml(answer))
                self.assertEqual(elements(query), [right])


class WriterTests(SynchronousTestCase):
    """Names that need care."""

    def test_xml(self) -> None:
        """Elements and attributes in XML's own namespace get its prefix; their content keeps the default one."""
        raw = "<message><xml:q xml:a='1'><body/><xml:r/></xml:q><x xmlns='urn:x'><xml:q/><y/></x></message>"
        self.assertEqual(serialised(stanza(raw.encode()).element, ns.COMPONENT_ACCEPT), raw)

    def test_xmlns(self) -> None:
        """A name in the namespace of declarations cannot be written: it raises an error."""
        inside: Any = domish.Element(("urn:x", "x"))
        inside.addElement((ns.XMLNS, "q"))
        attribute: Any = domish.Element(("urn:x", "x"))
        attribute[(ns.XMLNS, "a")] = "urn:a"
        for element in (domish.Element((ns.XMLNS, "q")), inside, attribute):
            self.assertRaises(ValueError, serialised, element, "")

    def test_attributes(self) -> None:
        """A namespace is declared once in a tag, however many attributes use it."""
        many = "".join(f" p:a{number}='{number}'" for number in range(100))
        raw = f"<message xmlns:p='{'u' * 1000}' xmlns:r='r' r:a='' xml:lang='e'{many}/>".encode()
        written = serialised(stanza(raw).element, ns.COMPONENT_ACCEPT).encode()
        self.assertLess(len(written), 4_000)
        self.assertEqual(read(HEADER, written), read(HEADER, raw))

    def test_growth(self) -> None:
        """An element that would grow without limit is not written: a long namespace is repeated at each use."""
        raw = f"<message xmlns:p='{'u' * 1_000}'><x>{'<p:a/>' * 9_000}</x></message>".encode()
        for write in (
            lambda: serialised(stanza(raw).element, ns.COMPONENT_ACCEPT),
            lambda: parts(stanza(raw)),
            lambda: delegation.requestOf(stanza(raw.replace(b"message", b"iq")), ALICE, HOST),
        ):
            # Not by assertRaises, which would print the element.
            with self.assertRaises(TooLarge):
                write()
        self.assertRaises(TooLarge, serialised, stanza(b"<message>xxxx</message>").element, "", 20)
