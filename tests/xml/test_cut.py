"""Elements that are found by their tags are those that a parser finds, in any spelling."""

from __future__ import annotations

from random import Random
from xml.etree import ElementTree

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import BadRequest
from gateway.muc.stanzas import parts
from gateway.stream.stanzas import Stanza
from gateway.testing import stanzas
from gateway.testing.wire import END, HEADER
from gateway.xml.context import CLIENT
from gateway.xml.cut import MAX_PARTS, Part, cut, cutTree, mayDeclare, only, usualTag
from gateway.xml.read import MAX_COST, parse
from tests.profiles import thorough

_SPACES = (" ", "  ", "\n", "\t ")
_NAMES = ("x", "fmuc", "body", "a.b-c", "xmlns", "é")
_NAMESPACES = (ns.FMUC, ns.MUC_USER, ns.COMPONENT_ACCEPT, "", "urn:x", "urn:&amp;")
_VALUES = (
    "1",
    "a > b",
    f" xmlns={{other}}{ns.MUC}{{other}} ",
    "&lt;x/&gt;",
    "&apos;&quot;",
    "/",
    f"xmlns={{other}}{ns.FMUC}{{other}}",
)
_TEXTS = ("", "", "text", "a &amp; b", "]]&gt;", "<![CDATA[<fmuc/></x>]]>", "<![CDATA[]]>", "'\"", " > ")
# Prefixes that a stream's header declares, and one that it does not.
_PREFIXES = ("stream", "p")


def element(random: Random, depth: int) -> str:
    """Return one element in an unusual spelling."""
    name = random.choice(_NAMES[:5]) if random.random() < 0.9 else _NAMES[5]
    declared = ""
    if random.random() < 0.2:
        prefix = random.choice(_PREFIXES)
        name = f"{prefix}:{name}"
        if prefix == "p":
            declared = f" xmlns:p='{ns.FMUC}'"
    attributes = [declared]
    for attribute in random.sample(("a", "b", "xml:lang", "xmlns", "xmlns.a", "axmlns"), random.randrange(4)):
        quote, other = random.choice(("'\"", "\"'"))
        pool = _NAMESPACES if attribute == "xmlns" else _VALUES
        value = random.choice(pool).format(other=other)
        around = [random.choice(("", " ")) for _ in range(2)]
        attributes.append(f"{random.choice(_SPACES)}{attribute}{around[0]}={around[1]}{quote}{value}{quote}")
    random.shuffle(attributes)
    start = f"<{name}{''.join(attributes)}{random.choice(('', ' '))}"
    if random.random() < 0.3:
        return f"{start}/>"
    inside = "".join(
        random.choice(_TEXTS) + (element(random, depth - 1) if depth else "") for _ in range(random.randrange(3))
    )
    return f"{start}>{inside}{random.choice(_TEXTS)}</{name}>"


def meaning(xml: str) -> list[str]:
    """Return each element in canonical form, as another parser reads it."""
    found = []
    for each in ElementTree.fromstring(HEADER + xml + END):
        each.tail = None
        found.append(
            ElementTree.canonicalize(ElementTree.tostring(each, encoding="unicode"), rewrite_prefixes=True)
        )
    return found


class PartsTests(SynchronousTestCase):
    """Elements found by tags, or in a tree if that is not possible."""

    maxDiff = None

    @thorough
    @example(0, " id='1'")
    @given(st.integers(0, 2**32), st.sampled_from(("", " id='1'", ' id="1"', " xml:lang='en'", " other='1'")))
    def test_same(self, seed: int, more: str) -> None:
        """Names and namespaces are those that another parser finds, and each element is valid in any stanza."""
        random = Random(seed)
        payload = "".join(random.choice(_TEXTS) + element(random, 3) for _ in range(random.randrange(4)))
        [stanza] = stanzas(f"<message from='a@b/c' to='d@e'{more}>{payload}</message>")
        found = parts(stanza)
        tags = [each.tag for each in ElementTree.fromstring(HEADER + payload + END)]
        self.assertEqual([f"{{{part.namespace}}}{part.name}".removeprefix("{}") for part in found], tags)
        for part, whole in zip(found, meaning(payload), strict=True):
            self.assertEqual(meaning(part.raw.decode()), [whole])
            self.assertEqual((part.element.uri or "", part.element.name), (part.namespace, part.name))

    def test_bounded(self) -> None:
        """Very many elements are not searched for, side by side or nested, by tags or in a tree."""
        for inside in ("<a/>" * (MAX_PARTS + 1), "<q>" + "<a/>" * MAX_COST + "</q>"):
            for offset in (8, 0):
                [stanza] = stanzas("<message/>")
                stanza = Stanza(
                    "message", None, None, None, None, None, b"<message>" + inside.encode(), stanza.context, offset
                )
                self.assertRaises(BadRequest, parts, stanza)
        found = Stanza(
            "message", None, None, None, None, None, b"<message>" + b"<a/>" * MAX_PARTS, stanza.context, 8
        )
        self.assertEqual(len(parts(found)), MAX_PARTS)

    def test_spelling(self) -> None:
        """Elements cut by tags keep their bytes; those from a tree are written anew."""
        content = """<a  b="1"><a/></a>text<c xmlns='urn:c'><![CDATA[</c>]]></c >"""
        expected = [
            Part(ns.CLIENT, "a", b"""<a  b="1"><a/></a>""", CLIENT.header),
            Part("urn:c", "c", b"<c xmlns='urn:c'><![CDATA[</c>]]></c >", CLIENT.header),
        ]
        self.assertEqual(cut(content.encode(), CLIENT), expected)
        self.assertIsNone(cut(b"<a/><p:a xmlns:p='urn:p'/>", CLIENT))
        tree = parse(CLIENT.header, f"<iq>{content}</iq>".encode())
        self.assertEqual(
            [part.raw for part in cutTree(tree, CLIENT)],
            [b"<a b='1'><a/></a>", b"<c xmlns='urn:c'>&lt;/c&gt;</c>"],
        )


# Elements in the spelling of servers, and nearly in it.
USUAL = st.recursive(
    st.sampled_from(["", " ", "x", "&amp;", "<![CDATA[</a>]]>", "<b/>"]),
    lambda inside: st.builds(
        lambda name, attributes, content, end: f"<{name}{''.join(attributes)}>{''.join(content)}</{name}{end}>",
        st.sampled_from(["a", "ab", "b"]),
        st.sets(st.sampled_from([" c='1'", ' d="2"', " xml:lang='e'", " xmlns='urn:x'", " f='>'", " g='&gt;'"])),
        st.lists(inside, max_size=3),
        st.sampled_from(["", "", " "]),
    ),
    max_leaves=8,
)


class OnlyTests(SynchronousTestCase):
    """The fast path for a single element."""

    @thorough
    @given(st.lists(USUAL, max_size=2))
    def test_same(self, content: list[str]) -> None:
        """It finds an element only if the slow path finds the same one alone, and a parser the same attributes."""
        raw = "".join(content).encode()
        found = only(raw)
        if found is None:
            return
        [part] = cut(raw, CLIENT) or []
        self.assertEqual(part.raw, raw)
        self.assertEqual(part.namespace, found.get("xmlns", ns.CLIENT))
        attributes = dict(part.element.attributes)
        if (ns.XML, "lang") in attributes:
            attributes["xml:lang"] = attributes.pop((ns.XML, "lang"))
        self.assertEqual({**attributes, "xmlns": ""}, {**found, "xmlns": ""})

    def test_certain(self) -> None:
        """Single elements as servers write them are found; whatever may be more than one, or less, is not."""
        for raw in (
            "<a/>",
            "<a b='1' xml:lang='en'>x<b/>y</a>",
            """<query xmlns="urn:x"><storage xmlns='urn:y'/></query>""",
        ):
            self.assertIsNotNone(only(raw.encode()), raw)
        for raw in ("", "x", "<a/><a/>", "<a/> ", " <a/>", "<a>x</a><b/>", "<a></a><a></a>", "<a><a/></a>"):
            self.assertIsNone(only(raw.encode()), raw)
        for raw in ("<p:a/>", "<a p:b='1'/>", "<a  b='1'/>", "<a b='&amp;'/>", "<a b='1\n'/>", "<a />"):
            self.assertIsNone(only(raw.encode()), raw)

    def test_tag(self) -> None:
        """A start tag at any offset, with its attributes; what looks like an attribute in a value is none."""
        tag = usualTag(b"<a>" + b"""<b c="' d='1" xmlns='urn:b'/>""", 3)
        self.assertEqual(tag, ("b", {"c": "' d='1", "xmlns": "urn:b"}, 32, True))
        self.assertIsNone(usualTag(b"<a>text", 3))

    def test_declarations(self) -> None:
        """A namespace may be declared if its bytes are there, or a declaration with a character reference."""
        spelled = ("<a xmlns='u&#114;n:x'/>", """<a xmlns:p = "&#117;rn:x"/>""")
        for raw in ("<a xmlns='urn:x'/>", "<a>urn:x</a>", *spelled):
            self.assertTrue(mayDeclare(raw.encode(), "urn:x"), raw)
        for raw in ("<a xmlns='urn:y'/>", "<a b='&amp;'/>", "<a xmlns='urn:y'>&amp;</a>"):
            self.assertFalse(mayDeclare(raw.encode(), "urn:x"), raw)
