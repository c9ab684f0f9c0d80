"""Tags and stanzas that are written from values."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.stream.core import Splitter
from gateway.stream.stanzas import Stanza
from gateway.xml.context import CLIENT
from gateway.xml.write import (
    FORWARDED,
    attributes,
    iq,
    message,
    presence,
    route,
    streamHeader,
    tag,
    textTag,
    writeStanza,
)
from tests.profiles import steady

TEXTS = st.text(st.sampled_from("a<>&\"' \t\n\r\u00e9\U0001f600"), max_size=8)


def read(data: bytes) -> Stanza:
    """Return a stanza as the other side of a client's stream reads it."""
    _, stanza = Splitter(ns.CLIENT).feed(CLIENT.header + data)
    assert isinstance(stanza, Stanza)
    return stanza


class TagTests(SynchronousTestCase):
    """Elements."""

    def test_forms(self) -> None:
        """With content, without, and with none at all."""
        self.assertEqual(tag("a", "<b/>", c="1"), "<a c='1'><b/></a>")
        self.assertEqual(tag("a", "", c="1"), "<a c='1'></a>")
        self.assertEqual(tag("a", c="1"), "<a c='1'/>")

    def test_attributes(self) -> None:
        """In the order in which they are given, without those that are None; two names stand for others."""
        self.assertEqual(attributes(to="", from_="b", lang="en", id=None), " to='' from='b' xml:lang='en'")

    def test_text(self) -> None:
        """Text is escaped; without text there is no element."""
        self.assertEqual(textTag("a", "<&", b="1"), "<a b='1'>&lt;&amp;</a>")
        self.assertEqual(textTag("a", "", b="1"), "")

    @steady
    @given(TEXTS, TEXTS)
    def test_any(self, value: str, text: str) -> None:
        """Another parser reads the values that were written."""
        found = ElementTree.fromstring(tag("a", textTag("b", text), c=value))
        self.assertEqual(found.attrib, {"c": value})
        self.assertEqual("".join(each.text or "" for each in found), text)


class StanzaTests(SynchronousTestCase):
    """Stanzas."""

    def test_bytes(self) -> None:
        """Addresses come first, then id, type and language."""
        addresses = route("a", "b")
        self.assertEqual(presence(addresses), b"<presence from='a' to='b'/>")
        self.assertEqual(
            presence(addresses, "probe", b"<x/>", "en"),
            b"<presence from='a' to='b' type='probe' xml:lang='en'><x/></presence>",
        )
        self.assertEqual(
            message(addresses, b"<x/>", "1", "chat", "en"),
            b"<message from='a' to='b' id='1' type='chat' xml:lang='en'><x/></message>",
        )
        self.assertEqual(iq(addresses, "1", "result"), b"<iq from='a' to='b' id='1' type='result'/>")
        self.assertEqual(iq(b"", "1", "result", b""), b"<iq id='1' type='result'></iq>")
        self.assertEqual(
            iq(FORWARDED + addresses, "1", "get", b"<x/>", "en"),
            b"<iq xmlns='jabber:client' from='a' to='b' id='1' type='get' xml:lang='en'><x/></iq>",
        )
        self.assertEqual(writeStanza("iq", b"", id=""), b"<iq id=''/>")

    @steady
    @given(TEXTS, TEXTS, TEXTS, st.none() | TEXTS)
    def test_any(self, sender: str, recipient: str, identifier: str, language: str | None) -> None:
        """The other side reads the values that were written."""
        for stanza in (
            read(iq(route(sender, recipient), identifier, "set", b"<x/>", language)),
            read(message(route(sender, recipient), b"<x/>", identifier, "set", language)),
        ):
            known = stanza.sender, stanza.recipient, stanza.id, stanza.type, stanza.language
            self.assertEqual(known, (sender, recipient, identifier, "set", language))
            self.assertEqual(stanza.payload, b"<x/>")

    def test_header(self) -> None:
        """A stream header, as the other side reads it."""
        header = streamHeader(ns.CLIENT, id="1", from_="h'", version="1.0", lang=None)
        self.assertEqual(
            header,
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            b"xmlns:stream='http://etherx.jabber.org/streams' id='1' from='h&apos;' version='1.0'>",
        )
