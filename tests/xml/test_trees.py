"""Trees of C{xml.etree.ElementTree}, read and written."""

from __future__ import annotations

from xml.etree.ElementTree import Comment, Element, QName, SubElement, canonicalize, fromstring, tostring

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import BadRequest, TooLarge
from gateway.xml import trees
from gateway.xml.context import CLIENT, COMPONENT
from gateway.xml.trees import tree, written
from tests.profiles import steady

TEXTS = st.none() | st.text(st.sampled_from("a<>&\"' \t\n\r\u00e9\U0001f600"), max_size=4)
NAMES = st.sampled_from(["{a}x", "{b&'\"<}y", "z", f"{{{ns.CLIENT}}}x", f"{{{ns.XML}}}lang"])


def element(
    name: str, attributes: dict[str, str], text: str | None, inside: list[tuple[Element, str | None]]
) -> Element:
    """Return an element with text, attributes, and elements that text follows."""
    made = Element(name, attributes)
    made.text = text
    for child, tail in inside:
        child.tail = tail
        made.append(child)
    return made


VALUES = st.dictionaries(NAMES, TEXTS.map(lambda text: text or ""), max_size=3)
TREES = st.recursive(
    st.builds(element, NAMES, VALUES, TEXTS, st.just([])),
    lambda inner: st.builds(element, NAMES, st.just({}), TEXTS, st.lists(st.tuples(inner, TEXTS), max_size=3)),
    max_leaves=6,
)


def same(one: Element, other: Element) -> bool:
    """True if two trees are equal, whatever their prefixes are."""
    return (
        (one.tag, one.attrib, one.text or "", len(one)) == (other.tag, other.attrib, other.text or "", len(other))
        and all((a.tail or "") == (b.tail or "") for a, b in zip(one, other, strict=True))
        and all(map(same, one, other))
    )


class TreeTests(SynchronousTestCase):
    """Elements of a stream."""

    def test_read(self) -> None:
        """An element has the default namespace of its stream, and the prefixes of it."""
        found = tree(CLIENT, b"<a b='1'><c xmlns='d'>e</c></a>")
        self.assertEqual((found.tag, found.attrib), (f"{{{ns.CLIENT}}}a", {"b": "1"}))
        self.assertEqual(found.findtext("{d}c"), "e")
        self.assertEqual(tree(COMPONENT, b"<a/>").tag, f"{{{ns.COMPONENT_ACCEPT}}}a")
        self.assertEqual(tree(CLIENT, b"<stream:a/>").tag, f"{{{ns.STREAMS}}}a")

    def test_wrong(self) -> None:
        """Bytes that are not one whole element are refused, and so is one that is too large for a tree."""
        broken = (b"", b"text", b"<a>", b"</a>", b"<a/></stream:stream>", b"\xff")
        for raw in (*broken, b"<a/><b/>", b"<a/>text", b"text<a/>", b"<a xmlns='}'/>"):
            self.assertRaises(BadRequest, tree, CLIENT, raw)
        self.assertRaises(TooLarge, tree, CLIENT, b"<a>" + b"<b/>" * 20_000 + b"</a>")

    @steady
    @given(TREES)
    def test_written(self, whole: Element) -> None:
        """Another parser reads the tree that was written, wherever it stands."""
        for around in ("", ns.CLIENT, "a"):
            found = fromstring(f"<r xmlns='{around}'>{written(whole, around)}</r>")[0]
            self.assertTrue(same(found, whole), f"{tostring(whole)!r} became {tostring(found)!r}")

    def test_short(self) -> None:
        """A namespace is declared where it begins, and a prefix only for attributes."""
        whole = Element("{a}x", {"b": "1", "{c}d": "2", f"{{{ns.XML}}}lang": "en"})
        SubElement(whole, "{a}y").text = "z"
        SubElement(whole, "{e}y")
        expected = "<x xmlns='a' b='1' xmlns:a1='c' a1:d='2' xml:lang='en'><y>z</y><y xmlns='e'/></x>"
        self.assertEqual(written(whole, ns.CLIENT), expected)
        self.assertEqual(canonicalize(expected), canonicalize(written(whole, "a").replace("<x", "<x xmlns='a'", 1)))

    def test_impossible(self) -> None:
        """A comment is refused, and the namespace that has no names."""
        whole = Element("a")
        whole.append(Comment("b"))
        self.assertRaises(ValueError, written, whole, "")
        for name in (f"{{{ns.XMLNS}}}a", "b"):
            self.assertRaises(ValueError, written, Element(name, {f"{{{ns.XMLNS}}}c": "d"}), "")

    def test_largest(self) -> None:
        """There is a limit of characters, also if a namespace is declared again and again."""
        whole = Element("{a}x")
        for _ in range(100):
            SubElement(whole, f"{{{'b' * 100}}}y").text = "c"
        self.assertEqual(len(written(whole, "", 20_000)), len(written(whole, "")))
        self.assertRaises(TooLarge, written, whole, "", 10_000)
        # It ends there: what follows is not looked at.
        for large in (Element(f"{{{'b' * 100}}}y"), element("x", {}, None, [(Element("y"), "c" * 100)])):
            whole = Element("{a}x")
            whole.extend([large] * 200)
            whole.append(Comment("b"))
            self.assertRaises(TooLarge, written, whole, "", 10_000)

    def test_qualified(self) -> None:
        """A name may be a C{QName}, whether it was written before or not."""
        self.patch(trees, "_NAMES", {})
        for _ in range(2):
            self.assertEqual(written(Element(QName("a", "x")), ""), "<x xmlns='a'/>")

    def test_names(self) -> None:
        """Names that are remembered have a limit, and long ones are not remembered."""
        self.patch(trees, "_NAMES", {})
        for number in range(5_000):
            written(Element(f"{{a}}x{number}"), "a")
            written(Element(f"{{{'a' * 300}}}x{number}"), "a")
        self.assertLessEqual(len(trees._NAMES), 1_000)
        self.assertLessEqual(max(map(len, trees._NAMES)), 200)
