"""Stanzas as bytes: with new addresses they keep their meaning, and errors have the form of RFC 6120."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import ERRORS, BadRequest
from gateway.stream.stanzas import Nonza, Stanza, errorReply
from gateway.xml.write import escape, route, serialised
from tests.profiles import steady
from tests.stream.memory import HEADER, children, split, stanza, tree
from tests.stream.odd import streams

# Any text that XML allows.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("'\"<>&\t\n\r"), max_size=20)


class ReaddressTests(SynchronousTestCase):
    """A stanza with other addresses, in another stream."""

    @steady
    @given(streams(), TEXTS, TEXTS)
    def test_sameTree(self, data: bytes, sender: str, recipient: str) -> None:
        """If the stream has only the usual declarations, everything but C{to} and C{from} stays the same."""
        stanzas = [event for event in split(data) if isinstance(event, Stanza)]
        for found, other in zip(stanzas, children(data), strict=True):
            if isinstance(found, Nonza):
                continue
            written = found.readdressed(route(sender, recipient))
            [moved] = children(HEADER + written)
            name, attributes, parts = tree(other)
            self.assertEqual(tree(moved), (name, {**attributes, "from": sender, "to": recipient}, parts))
            # The next gateway reads it the same.
            again = stanza(written)
            self.assertEqual((again.sender, again.recipient, again.id), (sender, recipient, found.id))

    @steady
    @given(streams())
    def test_payloadIsCopied(self, data: bytes) -> None:
        """The bytes of the payload are copied unchanged."""
        for event in split(data):
            if isinstance(event, Stanza):
                self.assertIn(event.payload, event.readdressed(route("a", "b")))
                self.assertEqual(stanza(event.readdressed(route("a", "b"))).payload, event.payload)

    def test_plain(self) -> None:
        """A stanza without special features has the usual form."""
        payload = b"<q  xmlns = \"urn:q\">\xe2\x82\xac&gt;<x a='>'/></q >"
        found = stanza(b"<iq to='c' xml:lang='en' type='get' id='1' from='a@b/c'>" + payload + b"</iq>")
        self.assertTrue(found.cut)
        self.assertEqual(
            found.readdressed(route("c/x'y", "d@e")),
            b"<iq from='c/x&apos;y' to='d@e' id='1' type='get' xml:lang='en'>" + payload + b"</iq>",
        )

    def test_headersPrefix(self) -> None:
        """
        A prefix of the stream header is declared on a stanza that uses it, unless the stanza declares its own.
        """
        header = HEADER[:-1] + b" xmlns:h='urn:h'>"
        for raw, uri in (
            (b"<iq><h:q/></iq>", "urn:h"),
            (b"<iq odd=''><h:q/></iq>", "urn:h"),
            (b"<iq xmlns:h='urn:o'><h:q/></iq>", "urn:o"),
            (b"<iq><h:q xmlns:h='urn:i'/></iq>", "urn:i"),
        ):
            _, found = split(header + raw)
            assert isinstance(found, Stanza)
            [moved] = children(HEADER + found.readdressed(route("a", "b")))
            self.assertEqual(moved[0].tag, f"{{{uri}}}q", raw)

    def test_addressLikeText(self) -> None:
        """Text in another attribute, and an attribute with a prefix, is not an address, and stays."""
        found = stanza(b"<iq id=\" to='x' from='y' \" x:to='z' xmlns:x='urn:x' from='a' to = \"b\"/>")
        self.assertEqual((found.sender, found.recipient, found.id), ("a", "b", " to='x' from='y' "))
        again = stanza(found.readdressed(route("c", "d")))
        self.assertEqual((again.sender, again.recipient, again.id), ("c", "d", " to='x' from='y' "))
        self.assertEqual(again.element["urn:x", "to"], "z")


class ElementTests(SynchronousTestCase):
    """The tree of a stanza."""

    def test_newEachTime(self) -> None:
        """Each access gives a new tree: a handler's changes are not seen by the next handler."""
        found = stanza(b"<iq from='a'><q xmlns='urn:q'/></iq>")
        found.element.q["spoilt"] = "1"
        self.assertIsNone(found.element.q.getAttribute("spoilt"))

    def test_onlyTag(self) -> None:
        """A stanza that is one tag has a tree, also if its end looks like another's."""
        for raw in (b"<iq/>", b"<iq />", b'<iq a="/>"/>', b"<iq a='>'><x/></iq>"):
            self.assertEqual(stanza(raw).element.name, "iq", raw)

    def test_repr(self) -> None:
        """A log line about a stanza has its addresses and nothing of its payload."""
        said = repr(stanza(b"<message from='a' to='b'><body>private</body></message>"))
        self.assertIn("from='a' to='b'", said)
        self.assertNotIn("private", said)


class ErrorTests(SynchronousTestCase):
    """Stanza errors (RFC 6120 section 8.3)."""

    def test_reply(self) -> None:
        """An error has the same id, and comes from the address that was written to."""
        found = stanza(b"<iq from='a@b/&lt;' to='c/&apos;' id='&amp;1' type='get'><q xmlns='urn:q'/></iq>")
        for error, answer in ERRORS.items():
            [said] = children(HEADER + errorReply(found, error))
            self.assertEqual(said.attrib, {"from": "c/'", "to": "a@b/<", "id": "&1", "type": "error"})
            [element] = said
            self.assertEqual(element.get("type"), answer.kind)
            self.assertEqual(element[0].tag, f"{{{ns.STANZA_ERRORS}}}{answer.condition}")
            self.assertEqual([text.text for text in element[1:]], [answer.text] if answer.text else [])

    def test_noId(self) -> None:
        """Without an id the error has none either."""
        [said] = children(HEADER + errorReply(stanza(b"<iq from='a' to='b'/>"), BadRequest))
        self.assertNotIn("id", said.attrib)

    @steady
    @given(TEXTS)
    def test_escape(self, text: str) -> None:
        """Any text is kept as a value and as content."""
        read = fromstring(f"<a b='{escape(text)}' c=\"{escape(text)}\">{escape(text)}</a>")
        self.assertEqual((read.get("b"), read.get("c"), read.text or ""), (text, text, text))


class SerialisedTests(SynchronousTestCase):
    """Elements as they are serialised."""

    @steady
    # ElementTree cannot read a namespace with "}".
    @given(TEXTS.filter(lambda text: text and "}" not in text), TEXTS, TEXTS)
    def test_anyText(self, uri: str, value: str, text: str) -> None:
        """Any text in a namespace, an attribute or a text is kept, and is nothing else."""
        element = domish.Element((uri, "x"), attribs={"a": value, (uri, "b"): value, (ns.XML, "lang"): "en"})
        element.addElement("inner").addContent(text)
        element.addElement((ns.COMPONENT_ACCEPT, "body"))
        [found] = children(HEADER + serialised(element, ns.COMPONENT_ACCEPT).encode())
        inner = (f"{{{uri}}}inner", {}, [text] if text else [])
        body = (f"{{{ns.COMPONENT_ACCEPT}}}body", {}, [])
        attributes = {"a": value, f"{{{uri}}}b": value, f"{{{ns.XML}}}lang": "en"}
        self.assertEqual(tree(found), (f"{{{uri}}}x", attributes, [inner, body]))

    def test_injection(self) -> None:
        """A namespace cannot end its own tag; with domish's serialiser it can."""
        element = domish.Element(("urn:'/><iq type='set'/><x xmlns='", "x"))
        self.assertEqual(len(list(children(HEADER + element.toXml().encode()))), 3)
        self.assertEqual(len(list(children(HEADER + serialised(element, "").encode()))), 1)

    def test_xml(self) -> None:
        """Raw XML that a handler has added is written as XML."""
        element = domish.Element((None, "message"))
        element.addRawXml("<body>&amp;</body>")
        self.assertEqual(serialised(element, ns.CLIENT), "<message><body>&amp;</body></message>")
