"""Elements and stanzas moved to another content namespace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import BadRequest, TooLarge
from gateway.xml.context import CLIENT, COMPONENT
from gateway.xml.move import moved, movedStanza
from gateway.xml.read import parse
from gateway.xml.write import serialised
from tests.profiles import steady

ELEMENTS = st.recursive(
    st.sampled_from(["", "x", "&lt;", "<![CDATA[<]]>"]),
    lambda inside: st.builds(
        lambda name, attributes, content: f"<{name}{''.join(attributes)}>{''.join(content)}</{name}>",
        st.sampled_from(["a", "b"]),
        st.sets(
            st.sampled_from(
                [
                    *(" c='1'", ' d="&quot;"', " xml:lang='e'", " xmlns:p='urn:p' p:e='1'"),
                    *(" xmlns='urn:x'", f" xmlns='{ns.CLIENT}'", f" xmlns='{ns.COMPONENT_ACCEPT}'"),
                ]
            ),
            max_size=2,
        ).filter(lambda each: sum(" xmlns=" in one for one in each) < 2),
        st.lists(inside, max_size=3),
    ),
    max_leaves=8,
)


def written(raw: bytes) -> str:
    """Return a stanza moved while it is read, in the form in which a tree is written."""
    data = movedStanza(raw, CLIENT, ns.COMPONENT_ACCEPT, {"to": "b"}, 10_000)
    return serialised(parse(COMPONENT.header, data), ns.COMPONENT_ACCEPT)


class MovedTests(SynchronousTestCase):
    """The two ways to move."""

    @steady
    @given(st.lists(ELEMENTS, max_size=3), st.booleans())
    def test_same(self, content: list[str], isWhole: bool) -> None:
        """A stanza that is moved while it is read is the same as its tree, moved."""
        raw = f"<message to='b'>{''.join(content)}".encode()
        tree = parse(CLIENT.header, raw + b"</message>")
        expected = serialised(moved(tree, ns.CLIENT, ns.COMPONENT_ACCEPT), ns.COMPONENT_ACCEPT)
        self.assertEqual(written(raw + b"</message>" if isWhole else raw), expected)

    def test_third(self) -> None:
        """Below an element of a third namespace nothing is moved."""
        raw = f"<iq to='b'><a/><x xmlns='urn:x'><a xmlns='{ns.CLIENT}'/></x></iq>".encode()
        self.assertEqual(written(raw), raw.decode())

    def test_attributes(self) -> None:
        """Attributes of the root are replaced where they stand, or added."""
        data = movedStanza(b"<iq id='1' to='a'/>", CLIENT, ns.COMPONENT_ACCEPT, {"from": "'", "to": "b"}, 100)
        self.assertEqual(data, b"<iq id='1' to='b' from='&apos;'></iq>")

    def test_bounded(self) -> None:
        """The result is limited, and what is not well-formed is an error."""
        raw = b"<iq xmlns:p='urn:pppppppppp'>" + b"<p:a/>" * 10 + b"</iq>"
        self.assertRaises(TooLarge, movedStanza, raw, CLIENT, ns.COMPONENT_ACCEPT, {}, 200)
        self.assertRaises(BadRequest, movedStanza, b"<iq><a></iq>", CLIENT, ns.COMPONENT_ACCEPT, {}, 200)
