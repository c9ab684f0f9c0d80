"""Elements as servers store and export them."""

from __future__ import annotations

from time import process_time
from typing import Any

import hypothesis
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.delegation.private import MAX_ELEMENT_SIZE
from gateway.delegation.stored import BadData, ExportReader, Skipped, entry, fromTable
from tests.delegation.support import element, meaning

USER = "juliet@capulet.lit"
DOMAIN = "capulet.lit"
# As ejabberd 23.01 and 26.07 write it.
EXPORT = (
    "<?xml version='1.0' encoding='UTF-8'?><host xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude' "
    f"jid='{DOMAIN}'><user name='juliet' password='secret'><query xmlns='jabber:iq:roster'><item jid='a@b'/>"
    "</query><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference xmlns:p='urn:p' "
    "name='A&amp;B' xml:lang='de' p:z='1'><nick>\u20acuro</nick>tail</conference></storage>"
    "<e xmlns='urn:empty'/></query></user>"
    "<user name='romeo'><query xmlns='jabber:iq:private'><a xmlns='urn:1'>1</a></query></user></host>"
)


def table(name: str = "a", uri: str = "urn:1", *children: Any, **attributes: str) -> dict[Any, Any]:
    """Return Prosody's table of an element."""
    return {"name": name, "attr": {"xmlns": uri, **attributes}, **dict(enumerate(children, 1))}


def _tables(inner: Any) -> Any:
    names = st.one_of(st.text(), st.sampled_from(["a", "b-c", "\u00e4"]))
    attributes = st.dictionaries(names, st.text())
    array = st.lists(inner)
    fixed = {"name": names, "attr": attributes.map(lambda found: {"xmlns": "urn:1", **found}), "__array": array}
    return st.fixed_dictionaries(fixed)


class EntryTests(SynchronousTestCase):
    """One element."""

    def refused(self, given: domish.Element) -> str:
        return str(self.assertRaises(BadData, entry, USER, given))

    def test_right(self) -> None:
        """The key and the stored element."""
        found = entry(USER, element("<a xmlns='urn:1' b='&lt;'><c xmlns='urn:2'/>d</a>"))
        self.assertEqual((found.user, found.key), (USER, ("urn:1", "a")))
        self.assertEqual(meaning(found.xml), meaning("<a xmlns='urn:1' b='&lt;'><c xmlns='urn:2'/>d</a>"))

    def test_namespace(self) -> None:
        """As for clients, the element needs a namespace of its own."""
        for uri in ("", ns.CLIENT, ns.PRIVATE):
            self.assertIn("no namespace of its own", self.refused(domish.Element((uri, "a"))))

    def test_size(self) -> None:
        """An element over the limit for clients is not imported."""
        self.assertIn("too large", self.refused(element(f"<a xmlns='urn:1'>{'x' * MAX_ELEMENT_SIZE}</a>")))
        many = domish.Element(("urn:1", "a"))
        for _ in range(20_000):
            many.addElement("b")
        self.assertIn("too large", self.refused(many))

    def test_noXml(self) -> None:
        """Characters that XML does not allow, and invalid names."""
        for text in ("\0", "\x1f", "\ud800", "\uffff"):
            given = domish.Element(("urn:1", "a"))
            given.addContent(text)
            self.assertIn("XML does not allow", self.refused(given))
            self.assertIn("XML does not allow", self.refused(domish.Element(("urn:1", "a"), attribs={"b": text})))
        self.refused(domish.Element((ns.XMLNS, "a")))
        self.refused(domish.Element(("urn:1", "a b")))
        self.refused(domish.Element(("urn:1", "a/><b")))


class TableTests(SynchronousTestCase):
    """Prosody's tables."""

    def test_lua(self) -> None:
        """
        Children at numeric keys; namespaces are inherited; attributes in namespaces in the new and the old
        notation.
        """
        inner = {"name": "b", "attr": {"urn:p\x01z": "1", "urn:q|y": "2", "xml:lang": "de"}, 1: "text"}
        found = fromTable(table("a", "urn:1", "x", inner, "y", c="<"))
        self.assertEqual(
            meaning(found.toXml()),
            meaning(
                "<a xmlns='urn:1' c='&lt;'>x<b xmlns:p='urn:p' xmlns:q='urn:q' p:z='1' q:y='2' xml:lang='de'>text"
                "</b>y</a>"
            ),
        )

    def test_json(self) -> None:
        """Children in a list."""
        given = {"name": "a", "attr": {"xmlns": "urn:1"}, "__array": [{"name": "b", "attr": {}}, "t"]}
        self.assertEqual(meaning(fromTable(given).toXml()), meaning("<a xmlns='urn:1'><b/>t</a>"))

    def test_bad(self) -> None:
        """Invalid content."""
        deep: Any = "x"
        for _ in range(100):
            deep = table("a", "urn:1", deep)
        for given in (
            None,
            1,
            "text",
            [],
            {},
            {"name": "a", "attr": []},
            {"name": 1, "attr": {}},
            {"name": "a b", "attr": {}},
            {"name": "a><script", "attr": {}},
            {"name": "a:b", "attr": {}},
            {"name": "", "attr": {}},
            {"name": "a", "attr": {"b": 1}},
            {"name": "a", "attr": {1: "b"}},
            {"name": "a", "attr": {"b='1' c": "x"}},
            {"name": "a", "attr": {"p:b": "x"}},
            {"name": "a", "attr": {"\x01b": "x"}},
            {"name": "a", "attr": {"urn:p\x01": "x"}},
            {"name": "a", "attr": {"xmlns": None}},
            {"name": "a", "attr": {}, "__array": "x"},
            {"name": "a", "attr": {}, "__array": [1]},
            table("a", "urn:1", True),
            table("a", "urn:1", {}),
            deep,
        ):
            self.assertRaises(BadData, fromTable, given)

    @hypothesis.given(st.recursive(st.one_of(st.text(), st.integers(), st.none()), _tables))
    def test_any(self, given: Any) -> None:
        """Any table gives an element that can be stored, or this error."""
        try:
            found = entry(USER, fromTable(given))
        except BadData:
            return
        self.assertEqual(len(meaning(found.xml)), 1)


class ExportTests(SynchronousTestCase):
    """XML by XEP-0227."""

    def read(self, xml: str | bytes, size: int = 1_000_000, domain: str = DOMAIN) -> list[Any]:
        data = xml.encode() if isinstance(xml, str) else xml
        reader = ExportReader(domain)
        found: list[Any] = []
        for start in range(0, len(data), size):
            found += reader.read(data[start : start + size])
        return found + reader.read(b"", isLast=True)

    def assertFound(self, xml: str, *expected: tuple[str, str], size: int = 1_000_000) -> None:
        found = [
            each if isinstance(each, Skipped) else (each[0], meaning(each[1].toXml()))
            for each in self.read(xml, size)
        ]
        self.assertEqual(found, [(name, meaning(content)) for name, content in expected])

    def refused(self, xml: str | bytes) -> str:
        return str(self.assertRaises(BadData, self.read, xml))

    def test_ejabberd(self) -> None:
        """A file by ejabberd is read in pieces of any size."""
        bookmarks = EXPORT[EXPORT.index("<storage") : EXPORT.index("<e xmlns")]
        expected = ("juliet", bookmarks), ("juliet", "<e xmlns='urn:empty'/>"), ("romeo", "<a xmlns='urn:1'>1</a>")
        for size in (1, 7, 1_000_000):
            self.assertFound(EXPORT, *expected, size=size)

    def test_whole(self) -> None:
        """A file of a whole server with several hosts: only one host is imported."""
        user = "<user name='u'><query xmlns='jabber:iq:private'><a xmlns='urn:1'/></query></user>"
        hosts = f"<host jid='other.lit'>{user}</host><host jid='{DOMAIN}'>{user}</host><host>{user}</host>"
        for namespace in ("urn:xmpp:pie:0", "http://www.xmpp.org/extensions/xep-0227.html#ns"):
            found = self.read(f"<server-data xmlns='{namespace}'>{hosts}</server-data>")
            skipped = [each.what for each in found if isinstance(each, Skipped)]
            self.assertEqual(skipped, ["other.lit", "a host without a name"])
            self.assertEqual([each[0] for each in found if not isinstance(each, Skipped)], ["u"])

    def test_include(self) -> None:
        """Other files that a file includes are named, and not opened."""
        [found] = self.read(
            "<server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'>"
            "<xi:include href='/etc/passwd'/></server-data>"
        )
        self.assertEqual((found.what, found.why), ("/etc/passwd", "it is a separate file: import it, too"))

    def test_elsewhere(self) -> None:
        """Private data is read only at its place, with any content of users' other data."""
        private = "<query xmlns='jabber:iq:private'><a xmlns='urn:1'/></query>"
        user = f"<user xmlns='urn:xmpp:pie:0' name='victim'>{private}</user>"
        for data in (
            f"<vCard xmlns='vcard-temp'>{private}{user}<host xmlns='urn:xmpp:pie:0' jid='x'>{user}</host></vCard>",
            f"<offline-messages>{user}</offline-messages>",
            user,
            "<user xmlns=''><query xmlns='jabber:iq:private'><a xmlns='urn:1'/></query></user>",
        ):
            xml = f"<host xmlns='urn:xmpp:pie:0' jid='{DOMAIN}'><user name='mallory'>{data}{private}</user></host>"
            self.assertFound(xml, ("mallory", "<a xmlns='urn:1'/>"))

    def test_broken(self) -> None:
        """A file of another kind, or a truncated one, is an error."""
        self.assertIn("not an export by XEP-0227", self.refused("<a/>"))
        self.assertIn("not well-formed", self.refused(""))
        self.assertIn("not well-formed", self.refused("text"))
        self.assertIn("not well-formed", self.refused(b"\xff\xfe<\0a\0"))
        for size in range(60, len(EXPORT) - 1, 9):
            self.assertIn("not well-formed", self.refused(EXPORT[:size]))
        broken = EXPORT.replace("</nick>", "</nock>")
        self.assertIn(", in the data of juliet@capulet.lit: mismatched tag", self.refused(broken))

    def test_entities(self) -> None:
        """Document types and entities are refused: no external files, no exponential expansion."""
        for declaration in ('<!ENTITY x SYSTEM "file:///etc/passwd">', '<!ENTITY x "xxxxxxxxxxxxxx">', ""):
            self.assertIn("document type", self.refused(f"<!DOCTYPE host [{declaration}]>{EXPORT[38:]}"))

    def user(self, content: str) -> str:
        private = f"<query xmlns='jabber:iq:private'>{content}<ok xmlns='urn:1'/></query>"
        return f"<host xmlns='urn:xmpp:pie:0' jid='{DOMAIN}'><user name='u'>{private}</user></host>"

    def test_bounds(self) -> None:
        """An element that is too large or too deep is skipped; the others are imported."""
        for content in (
            f"<a xmlns='urn:1'>{'<b/>' * 20_000}</a>",
            f"<a xmlns='urn:1'>{'x' * 2_000_000}</a>",
            f"<a xmlns='urn:1'>{'<b>' * 100}{'</b>' * 100}</a>",
        ):
            skipped, (name, found) = self.read(self.user(content), 65_536)
            self.assertEqual(
                (skipped.what, skipped.why), (f"u@{DOMAIN}: a", "it is too large or too deep to be stored")
            )
            self.assertEqual((name, found.name), ("u", "ok"))

    def test_hostile(self) -> None:
        """Data that would cost expat much memory or time ends the import; the error names the user."""
        long = "n" * 300_000
        many = "".join(f" p:a{number}=''" for number in range(1_000))
        started = process_time()
        problem = self.refused(self.user(f"<a xmlns='urn:1' xmlns:p='{long}'{many}/>"))
        self.assertIn("a namespace has over 1023 bytes", problem)
        self.assertIn("bytes", self.refused(self.user(f"<a xmlns='{long}'/>")))
        # The first piece ends within the declaration.
        data = self.user(f"<a xmlns:p='{long}'/>").encode()
        reader = ExportReader(DOMAIN)
        start = data.index(b"nnnn")
        reader.read(data[: start + 10])
        error = self.assertRaises(BadData, reader.read, data[start + 10 :])
        self.assertIn("u@capulet.lit", str(error))
        self.assertLess(process_time() - started, 2)
        self.assertIn(
            "a tag has over",
            str(self.assertRaises(BadData, self.read, self.user(f"<a b='{'x' * 9_000_000}'/>"), 65_536)),
        )
