"""Reading and writing: stanzas that change their namespace, roster items, answers."""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway import ns
from gateway.embedded import stanzas
from gateway.embedded.peer import MAX_STANZA
from gateway.embedded.roster import Item
from gateway.errors import BadRequest, GatewayError, NotAcceptable
from gateway.xml.read import parse
from tests.embedded.support import elements, stanza
from tests.quick import QuickCase

FROM, TO = "a@h/r", "c.h"


def moved(
    xml: str, old: str = ns.CLIENT, new: str = ns.COMPONENT_ACCEPT, declared: str = ""
) -> list[ElementTree.Element]:
    """Return the elements in a stream of the new namespace after a stanza was forwarded there."""
    return elements(stanzas.readdressed(stanza(xml, old, declared), FROM, TO, new, MAX_STANZA), new)


def expected(xml: str) -> ElementTree.Element:
    """Return the expected result: elements in the old namespace are moved, except within a third one."""

    def move(element: ElementTree.Element) -> None:
        space, brace, name = element.tag.rpartition("}")
        if space == f"{{{ns.CLIENT}":
            element.tag = f"{{{ns.COMPONENT_ACCEPT}{brace}{name}"
            for child in element:
                move(child)

    [element] = elements(xml.encode())
    move(element)
    element.attrib.update({"from": FROM, "to": TO})
    return element


def shape(element: ElementTree.Element) -> str:
    """Return the canonical form of an element."""
    return ElementTree.canonicalize(ElementTree.tostring(element, encoding="unicode"), rewrite_prefixes=True)


def query(xml: str) -> domish.Element:
    """Return the payload of a roster set."""
    return parse(b"<s xmlns='jabber:client'>", f"<query xmlns='{ns.ROSTER}'>{xml}</query>".encode())


class ReaddressedTests(SynchronousTestCase):
    """A stanza with other addresses, in another namespace."""

    def test_same(self) -> None:
        """Any stanza arrives as sent, except for the addresses and the content namespace."""
        for content in (
            "",
            "text",
            "<body>a &amp; b &lt;c&gt; \"d\" 'e'</body>",
            "<x xmlns='urn:x'><y a='1'/>tail</x>",
            "<x xmlns='urn:x' xmlns:p='urn:p' p:a='1'><p:y><z xmlns=''/></p:y></x>",
            "<f xmlns='urn:f'><message xmlns='jabber:client' from='q@h'><body>b</body></message></f>",
            "<body xmlns='jabber:client' xml:lang='de'>b</body>",
            "<c:body xmlns:c='jabber:client'>b<c:i c:a='2'/></c:body>",
            "<x xmlns='urn:x'>jabber:client<y b='jabber:client'/></x>",
            "<body xmlns='jabber&#58;client'>b</body>",
            "<x xmlns='jabber:client'/><y xmlns='urn:y' z='&apos;&lt;&amp;&#10;&quot;'>&#13;</y>",
        ):
            for attributes in ("", " id='1' type='chat' xml:lang='en'", " xmlns='jabber:client' id='&#39;&amp;'"):
                xml = f"<message{attributes}>{content}</message>"
                [arrived] = moved(xml)
                self.assertEqual(shape(arrived), shape(expected(xml)), xml)

    def test_back(self) -> None:
        """The reverse direction; stanzas forwarded within another namespace stay unchanged."""
        xml = (
            "<iq type='result' id='1'><y xmlns='jabber:component:accept'/>"
            "<x xmlns='urn:x'><message xmlns='jabber:component:accept'/></x></iq>"
        )
        [arrived] = moved(xml, ns.COMPONENT_ACCEPT, ns.CLIENT)
        self.assertEqual(
            [each.tag for each in arrived.iter()],
            [f"{{{ns.CLIENT}}}iq", f"{{{ns.CLIENT}}}y", "{urn:x}x", f"{{{ns.COMPONENT_ACCEPT}}}message"],
        )

    def test_prefixes(self) -> None:
        """A prefix that the sender's stream declares keeps its meaning for the recipient."""
        declared = f"xmlns:c='{ns.CLIENT}' xmlns:p='urn:p'"
        for xml in (
            "<c:message><c:body/></c:message>",
            "<message><c:body/><p:x/></message>",
            "<c:message/>",
            "<message><x xmlns='jabber:client'/><p:x p:a='1'/></message>",
        ):
            [arrived] = moved(xml, declared=declared)
            self.assertEqual(shape(arrived), shape(expected(xml.replace("message", f"message {declared}", 1))), xml)

    def test_hiddenNamespace(self) -> None:
        """Any spelling of the old namespace is moved to the new one; otherwise it would end that stream."""
        for xml in (
            "<c:message xmlns:c='jabber&#58;client'/>",
            "<message xmlns='jabber&#x3a;client'><body/></message>",
            '<c:message xmlns:c = "jabber&#58;client"><c:body/></c:message>',
        ):
            [arrived] = moved(xml)
            self.assertEqual(arrived.tag, f"{{{ns.COMPONENT_ACCEPT}}}message", xml)

    def test_noInjection(self) -> None:
        """A namespace cannot inject XML into another stream."""
        evil = "u&apos;/>&lt;/message>&lt;iq from=&apos;admin@h&apos;/>&lt;message x=&apos;"
        for xml in (
            f"<message><x xmlns='jabber:client'/><p:y xmlns:p='{evil}'/></message>",
            f"<message><x xmlns='jabber:client'/><y xmlns='{evil}'/></message>",
            f"<message><x xmlns='jabber:client'/><y xmlns:p='{evil}' p:a='1'/></message>",
        ):
            found = moved(xml)
            self.assertEqual([each.tag for each in found], [f"{{{ns.COMPONENT_ACCEPT}}}message"], xml)
            self.assertEqual(shape(found[0]), shape(expected(xml)))

    def test_growth(self) -> None:
        """A long namespace with a short prefix does not make a stanza many times larger."""
        declared = f"xmlns:p='urn:{'p' * 1_000}'"
        xml = f"<message><x xmlns='jabber:client'/>{'<p:y/>' * 10_000}</message>"
        try:
            found = stanza(xml, declared=declared)
            size = len(stanzas.readdressed(found, FROM, TO, ns.COMPONENT_ACCEPT, MAX_STANZA))
        except NotAcceptable:
            size = 0
        self.assertLess(size, MAX_STANZA)


class QuickTests(QuickCase):
    """Stanzas that once took a minute."""

    def test_declarations(self) -> None:
        """Text full of fragments of declarations is handled fast."""
        for part in ("xmlns", "xmlns:", "xmlns:a", "xmlns =", "xmlns='", 'xmlns="', "xmlns ", "xmlns:a = "):
            raw = f"<message><body>{part * (250_000 // len(part))}</body></message>"
            found = stanza(raw)
            with self.quickly(part):
                stanzas.readdressed(found, FROM, TO, ns.COMPONENT_ACCEPT, MAX_STANZA)


class WrittenTests(SynchronousTestCase):
    """Stanzas of the host."""

    def test_roster(self) -> None:
        """Items with all attributes; a removed one with its address only."""
        items = [Item("a@h", "A & 'B'", ("<g>", "h"), to=True, ask=False), Item("b@h", ask=True)]
        found = ElementTree.fromstring(stanzas.rosterQuery(items))
        one, other = found
        self.assertEqual(one.attrib, {"jid": "a@h", "name": "A & 'B'", "subscription": "to"})
        self.assertEqual([group.text for group in one], ["<g>", "h"])
        self.assertEqual(other.attrib, {"jid": "b@h", "subscription": "none", "ask": "subscribe"})
        [gone] = ElementTree.fromstring(stanzas.rosterQuery(items[:1], removed=True))
        self.assertEqual((gone.attrib, len(gone)), ({"jid": "a@h", "subscription": "remove"}, 0))

    def test_disco(self) -> None:
        """Items and version."""
        items = ElementTree.fromstring(stanzas.discoItems([("a.h", "", ""), ("b.h", "n", "N'")], "of"))
        self.assertEqual(items.attrib, {"node": "of"})
        self.assertEqual(
            [each.attrib for each in items], [{"jid": "a.h"}, {"jid": "b.h", "node": "n", "name": "N'"}]
        )
        version = ElementTree.fromstring(stanzas.softwareVersion("n&", "1"))
        self.assertEqual([each.text for each in version], ["n&", "1"])


class ReadItemTests(SynchronousTestCase):
    """Roster sets of clients."""

    def test_read(self) -> None:
        """The prepared bare JID, name and groups, and the operation."""
        item, removed = stanzas.readItem(
            query(
                "<item jid='Bob@H/r' name='Bob' subscription='both' ask='subscribe'>"
                "<group>g</group><group>k</group></item>"
            )
        )
        self.assertEqual((item.jid, item.name, item.groups, removed), ("bob@h", "Bob", ("g", "k"), False))
        self.assertEqual((item.subscription, item.ask), ("none", False))
        item, removed = stanzas.readItem(query("<item jid='bob@h' subscription='remove'/>"))
        self.assertEqual((item.jid, item.name, item.groups, removed), ("bob@h", "", (), True))

    def test_refused(self) -> None:
        """RFC 6121 section 2.3.3: invalid items, and the error for each."""
        long = "x" * 1_024
        expected: dict[str, type[GatewayError]] = {
            "": BadRequest,
            "<item jid='a@h'/><item jid='b@h'/>": BadRequest,
            "<item/>": BadRequest,
            "<item jid=''/>": BadRequest,
            "<item jid='@h'/>": BadRequest,
            "<item jid='a b@h'/>": BadRequest,
            f"<item jid='{long}@h'/>": BadRequest,
            f"<item jid='a@{long}'/>": BadRequest,
            "<item jid='a@h'><group>g</group><group>g</group></item>": BadRequest,
            "<item jid='a@h'><group/></item>": NotAcceptable,
            f"<item jid='a@h'><group>{long}</group></item>": NotAcceptable,
            f"<item jid='a@h' name='{long}'/>": NotAcceptable,
            "<item jid='a@h'>" + "".join(f"<group>{n}</group>" for n in range(101)) + "</item>": NotAcceptable,
        }
        for xml, error in expected.items():
            self.assertRaises(error, stanzas.readItem, query(xml))

    def test_longest(self) -> None:
        """A name of 1,023 characters is accepted."""
        long = "x" * 1_023
        item, _ = stanzas.readItem(query(f"<item jid='{long}@h' name='{long}'><group>{long}</group></item>"))
        self.assertEqual((item.jid, item.name, item.groups), (f"{long}@h", long, (long,)))


class TreeTests(SynchronousTestCase):
    """Stanzas as trees."""

    def test_space(self) -> None:
        """A namespace with a space, which XML allows, is handled like any other."""
        self.assertEqual(stanza("<message id='1'/>").element["id"], "1")
        found = stanza("<message><x xmlns='a b'/></message>").element.firstChildElement()
        self.assertEqual((found.uri, found.name), ("a b", "x"))
