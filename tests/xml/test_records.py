"""Lists of simple elements, read without a tree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway.xml.context import CLIENT
from gateway.xml.read import SEPARATOR, parse
from gateway.xml.records import readRecords
from tests.profiles import steady

Record = tuple[dict[str, str], list[str]]

LIST, RECORD, TEXT = (f"urn:l{SEPARATOR}{name}" for name in ("list", "record", "text"))


def read(content: str) -> list[Record] | None:
    """Read with one parser, and no tree."""
    found: list[Record] = []
    before = CLIENT.header, b"<iq type='result'>"
    hasList = readRecords(before, content.encode(), (LIST, RECORD), TEXT, lambda *record: found.append(record))
    return found if hasList else None


def readTree(content: str) -> list[Record] | None:
    """Read the same from a tree."""
    iq = parse(CLIENT.header, b"<iq>" + content.encode() + b"</iq>")
    for each in iq.elements("urn:l", "list"):
        return [
            (
                dict(record.attributes),
                ["".join(_texts(text)) for text in record.elements("urn:l", "text")],
            )
            for record in each.elements("urn:l", "record")
        ]
    return None


def _texts(element: domish.Element) -> list[str]:
    return [each if isinstance(each, str) else "".join(_texts(each)) for each in element.children]


ELEMENTS = st.recursive(
    st.sampled_from(["", " ", "x", "&amp;", "&lt;é"]),
    lambda inside: st.builds(
        lambda name, namespace, attributes, content: f"<{name}{namespace}{attributes}>{''.join(content)}</{name}>",
        st.sampled_from(["list", "record", "text", "other"]),
        st.sampled_from(["", " xmlns='urn:l'", " xmlns='urn:other'"]),
        st.sampled_from(["", " a='1'", " a='&quot;' b='2'"]),
        st.lists(inside, max_size=4),
    ),
    max_leaves=20,
)


class RecordTests(SynchronousTestCase):
    """Attributes and texts of each record in the first list."""

    def test_records(self) -> None:
        """Records in order, each with its own texts; other elements are passed over."""
        content = (
            "<list xmlns='urn:l'>text<record a='1'><text>one</text><other>no</other><text/></record><other/>"
            "<record xmlns='urn:other' a='3'/><record b='&lt;'><text>t<other>w</other>o</text></record></list>"
        )
        self.assertEqual(read(content), [({"a": "1"}, ["one", ""]), ({"b": "<"}, ["two"])])

    def test_first(self) -> None:
        """The first list counts, empty or not, and no list deeper down."""
        self.assertIsNone(read("<other xmlns='urn:l'><list><record/></list></other>"))
        self.assertEqual(read("<list xmlns='urn:l'/><list xmlns='urn:l'><record/></list>"), [])

    def test_prefixes(self) -> None:
        """Names count, and not how they are written."""
        content = "<p:list xmlns:p='urn:l'><p:record a='1'><p:text>x</p:text></p:record><record/></p:list>"
        self.assertEqual(read(content), [({"a": "1"}, ["x"])])

    @steady
    @given(st.lists(ELEMENTS, max_size=3))
    def test_any(self, elements: list[str]) -> None:
        """Any content is read as from a tree."""
        content = "".join(elements)
        self.assertEqual(read(content), readTree(content))

    @steady
    @given(st.lists(ELEMENTS, max_size=4))
    def test_anyList(self, elements: list[str]) -> None:
        """Any list is read as from a tree."""
        content = f"<list xmlns='urn:l'>{''.join(elements)}</list>"
        self.assertEqual(read(content), readTree(content))
