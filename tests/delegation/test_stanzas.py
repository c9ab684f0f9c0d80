"""The XML of delegation: any spelling is read the same, and unreadable stanzas are reported as such."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.delegation import advertisements, stanzas
from gateway.delegation.core import Request
from gateway.delegation.delegations import Delegation
from gateway.delegation.nesting import VERSIONS, Grant, Info
from gateway.errors import BadRequest
from gateway.stream.stanzas import Stanza
from tests.delegation.support import (
    COMPONENT,
    HOST,
    JULIET,
    PUBSUB,
    answer,
    element,
    meaning,
    reply,
    request,
    wrapper,
)
from tests.profiles import steady, thorough
from tests.stream.memory import Tree, split, tree
from tests.stream.odd import attributes, contents, elements

HEADER = f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}' xmlns:h='urn:h' id='s1'>"
IN_CLIENT = f"<s:s xmlns='{ns.CLIENT}' xmlns:s='{ns.STREAMS}'>"
FORWARD = f"{{{ns.FORWARD}}}"
CLIENT = f"{{{ns.CLIENT}}}"
# Text that ends an attribute and the elements around it. Twisted's trees have no space in a namespace, so a tab.
EVIL = "urn:&apos;/&gt;&lt;/iq&gt;&lt;/forwarded&gt;&lt;/delegation&gt;&lt;/iq&gt;&lt;message&#9;to=&apos;x"


def stanza(raw: str) -> Stanza:
    """Return the one stanza of a stream."""
    _, found = split((HEADER + raw).encode())
    assert isinstance(found, Stanza), found
    return found


def parsed(xml: str | bytes, header: str = IN_CLIENT, end: str = "</s:s>") -> list[Any]:
    """Return the elements of a stream, read by another parser."""
    written = xml.decode() if isinstance(xml, bytes) else xml
    return list(ElementTree.fromstring(header + written + end))


def trees(xml: str | bytes) -> list[Tree]:
    """Return trees of them, to compare."""
    return [tree(each) for each in parsed(xml)]


def moved(found: Tree) -> Tree:
    """
    Move elements without a namespace into the client namespace, as the content of an iq without its namespace.
    """
    name, attributes_, parts = found
    if not name.startswith(FORWARD):
        return found
    return (
        name.replace(FORWARD, CLIENT),
        attributes_,
        [each if isinstance(each, str) else moved(each) for each in parts],
    )


# Requester, recipient, id, type, namespace and attributes of the payload, the payload.
Read = tuple[str, str | None, str, str, str, dict[str, str], Tree]


def expected(raw: str) -> Read | None:
    """Return the content of a wrapper by section 4.3, read by another parser; C{None} if it is unreadable."""
    [outer] = parsed(raw, HEADER, "</stream:stream>")
    wrappers = [each for each in outer if each.tag in [f"{{{version}}}delegation" for version in VERSIONS]]
    forwarded = [each for wrapper_ in wrappers for each in wrapper_ if each.tag == f"{FORWARD}forwarded"]
    inside = [each for one in forwarded for each in one if each.tag.rpartition("}")[2] == "iq"]
    if not len(wrappers) == len(forwarded) == len(inside) == 1:
        return None
    [iq] = inside
    if iq.tag not in (f"{CLIENT}iq", f"{FORWARD}iq") or len(iq) != 1:
        return None
    sender, identifier, kind = iq.get("from"), iq.get("id"), iq.get("type")
    if not sender or not identifier or kind not in ("get", "set"):
        return None
    iq[0].tail = None
    payload = tree(iq[0])
    if iq.tag == f"{FORWARD}iq":
        payload = moved(payload)
    own = {name: value for name, value in payload[1].items() if not name.startswith("{")}
    namespace = payload[0][1:].partition("}")[0] if payload[0].startswith("{") else ""
    return sender, iq.get("to"), identifier, kind, namespace, own, payload


def found(one: Request) -> Read:
    """Return the same values of a request."""
    [payload] = trees(one.xml)
    return one.requester, one.recipient, one.id, one.type, one.namespace, dict(one.attributes), payload


def readWrapper(raw: str) -> Read | None:
    """Return the request that is read from a wrapper; C{None} if it is unreadable."""
    try:
        one = stanzas.readRequest(stanzas.unwrap(stanza(raw)))
    except BadRequest:
        return None
    return found(one)


def isFast(raw: str) -> bool:
    """Return true if the wrapper is read without a tree."""

    class Watched(Stanza):
        looked = False

        @property
        def element(self) -> Any:
            Watched.looked = True
            return super().element

    one = stanza(raw)
    watched = Watched(*(getattr(one, name) for name in Stanza.__slots__ if not name.startswith("__")))
    stanzas.readRequest(stanzas.unwrap(watched))
    return not Watched.looked


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the usual value, and sometimes another."""
    return st.sampled_from([usual] * 4 * len(others) + list(others))


@st.composite
def wrappers(draw: st.DrawFn, prefixes: tuple[str, ...] = ("h", "stream")) -> str:
    """
    Return a strategy for wrappers in any spelling. Sometimes parts are missing, doubled, foreign or misplaced, or
    everything but the payload is as servers write it.

    @param prefixes: those that the stream header declares.
    """
    scope = list(prefixes)
    if draw(st.booleans()):
        return wrapper(request(draw(elements(scope, 2)), draw(st.sampled_from(["get", "set"]))))

    def around(name: str, namespace: str, names: list[str], *own: str) -> tuple[str, str]:
        """Return an element's tags, with a default namespace, a prefix, or an inherited namespace."""
        declarations = list(own)
        if draw(mostly(False, True)):
            scope.append("p")
            declarations.append(f"xmlns:p='urn:p:{draw(st.integers(0, 2))}'")
        if namespace and draw(mostly(False, True)):
            declarations.append(f"xmlns:w='{namespace}'")
            name = f"w:{name}"
        elif namespace:
            declarations.append(f"xmlns='{namespace}'")
        return f"<{name}{draw(attributes(names, declarations))}>", f"</{name}>"

    space = mostly("", "", "\n ", "x")
    tags = [
        around("iq", "", ["xml:lang"], f"from='{HOST}'", f"to='{COMPONENT}'", "id='d1'", "type='set'"),
        around("delegation", draw(mostly(ns.DELEGATION_2, ns.DELEGATION_1, "urn:xmpp:delegation:3")), ["a"]),
        around("forwarded", draw(mostly(ns.FORWARD, "", "urn:x")), ["a"]),
        around(
            draw(mostly("iq", "iqx")),
            draw(mostly(ns.CLIENT, "", "urn:x")),
            ["to", "xml:lang"],
            *(draw(mostly(each, "")) for each in ("from='juliet@capulet.lit/balcony'", "id='1'")),
            "type=" + draw(mostly("'get'", '"set"', "'result'", "''")),
        ),
    ]
    payload = draw(elements(list(dict.fromkeys(scope)), 2))
    written: str = payload * draw(mostly(1, 0, 2))
    for start, end in reversed(tags):
        around_ = start + draw(space) + written + draw(space) + end
        written = around_ * (draw(mostly(1, 1, 1, 2)) if start is not tags[0][0] else 1)
    return written


# A wrapper as servers write it, in several spellings with the same meaning.
PLAIN = wrapper(request(f"<pubsub xmlns='{PUBSUB}' a='b'><x>é</x></pubsub>", "set"))
PREFIXED = "<p:pubsub{} a='b'><p:x>é</p:x></p:pubsub>"
SAME = {
    "double quotes": PLAIN.replace("'", '"'),
    "white space": PLAIN.replace("<forwarded", "\n <forwarded").replace("</forwarded>", "\n</forwarded> "),
    "a prefix inside": wrapper(request(PREFIXED.format(f" xmlns:p='{PUBSUB}'"), "set")),
    "a prefix on the iq": wrapper(request(PREFIXED.format(""), "set").replace("<iq", f"<iq xmlns:p='{PUBSUB}'", 1)),
    "references": PLAIN.replace("'b'", "'&#98;'").replace("é", "&#xe9;").replace("p:forward", "p&#58;forward"),
    "a section": PLAIN.replace("é", "<![CDATA[é]]>"),
    "line breaks in the tag": PLAIN.replace(" id='1'", "\n id='1'\t"),
    "no namespace": PLAIN.replace(f" xmlns='{ns.CLIENT}'", ""),
}


class SpellingTests(SynchronousTestCase):
    """Different spellings with the same meaning."""

    @thorough
    @given(wrappers())
    def test_any(self, raw: str) -> None:
        """The result equals that of another parser, or both fail."""
        found = readWrapper(raw)
        # Twisted cannot build a tree of this, but the fast path may read it.
        self.assertEqual(found, expected(raw), raw)

    def test_same(self) -> None:
        """Chosen spellings; those of servers are read without a tree."""
        usual = expected(PLAIN)
        self.assertIsNotNone(usual)
        self.assertEqual(readWrapper(PLAIN), usual)
        self.assertTrue(isFast(PLAIN))
        for name, spelled in SAME.items():
            with self.subTest(name):
                self.assertEqual(expected(spelled), usual)
                self.assertEqual(readWrapper(spelled), usual)

    def test_fast(self) -> None:
        """Spellings of Prosody and ejabberd: with and without a recipient, without content, in either version."""
        for raw in (
            (
                "<iq id='azE7' to='gw.localhost' from='localhost' type='set'>"
                "<delegation xmlns='urn:xmpp:delegation:2'>"
                "<forwarded xmlns='urn:xmpp:forward:0'><iq from='alice@localhost/r' type='get' id='x' "
                "xmlns='jabber:client'><q xmlns='urn:xmpp:test:1'/></iq></forwarded></delegation></iq>"
            ),
            wrapper(
                request("<q xmlns='urn:q' node='n'><i>1</i></q>", to="juliet@capulet.lit"), "1", ns.DELEGATION_1
            ),
        ):
            self.assertTrue(isFast(raw))
            self.assertEqual(readWrapper(raw), expected(raw))

    def test_meaning(self) -> None:
        """Payloads keep their meaning: inherited prefixes, CDATA sections, children in other namespaces."""
        for payload in (
            "<h:x h:a='1'><h:y/></h:x>",
            "<x xmlns='urn:x'><![CDATA[</x></iq><iq>]]></x>",
            "<x xmlns='urn:x'><message xmlns='jabber:client'><body>b</body></message></x>",
            "<x xmlns='urn:x'><iq xmlns='jabber:client'/></x>",
            f"<x xmlns='urn:x'><forwarded xmlns='{ns.FORWARD}'><y/></forwarded></x>",
            f"<forwarded xmlns='{ns.FORWARD}'><y/></forwarded>",
            "<x xmlns='urn:x'><y xmlns=''/></x>",
            "<x xmlns=''><y/></x>",
            "<x><y/></x>",
            "<x xmlns='urn:x' xml:lang='de' a='&lt;&apos;&quot;&#10;'>&amp;&#13;</x>",
            "<x xmlns='urn:x'/>",
            "<x xmlns='urn:x'><x/></x>",
            "<x xmlns='urn:x' xmlns:y='urn:y' y:a='1' a='2'><y:x/></x>",
        ):
            for inner in (request(payload), request(payload).replace(f" xmlns='{ns.CLIENT}'", "")):
                with self.subTest(inner):
                    raw = wrapper(inner)
                    self.assertIsNotNone(expected(raw))
                    self.assertEqual(readWrapper(raw), expected(raw))

    def test_outside(self) -> None:
        """A prefix may be declared on any element around the payload."""
        payload = "<p:x p:a='1' a='2'><p:y/>p:z</p:x>"
        usual = expected(wrapper(request(payload.replace("<p:x", "<p:x xmlns:p='urn:p'"))))
        for name in ("<iq from='capulet.lit'", "<delegation", "<forwarded", f"<iq xmlns='{ns.CLIENT}'"):
            raw = wrapper(request(payload)).replace(name, f"{name} xmlns:p='urn:p'")
            with self.subTest(raw):
                self.assertEqual(expected(raw), usual)
                self.assertEqual(readWrapper(raw), usual)


class InjectionTests(SynchronousTestCase):
    """Names are chosen by the requester; they stay names."""

    def test_names(self) -> None:
        """A namespace with a quote, a tag and a whole stanza in it, of an element and of an attribute."""
        for payload in (
            f'<x xmlns="{EVIL}"/>',
            f'<x xmlns="urn:x"><y xmlns="{EVIL}">&amp;</y></x>',
            f'<x xmlns="urn:x" xmlns:e="{EVIL}" e:a="{EVIL}">&#13;</x>',
            f'<e:x xmlns:e="{EVIL}"/>',
        ):
            with self.subTest(payload):
                raw = wrapper(request(payload))
                self.assertIsNotNone(expected(raw))
                self.assertEqual(readWrapper(raw), expected(raw))
                one = stanzas.readRequest(stanzas.unwrap(stanza(raw)))
                on = stanzas.writeForward(ns.DELEGATION_2, HOST, COMPONENT, "d1", one).decode()
                self.assertEqual(len(parsed(on, HEADER, "</stream:stream>")), 1)
                back = stanzas.xmlOf(one.payload) + stanzas.xmlOf(element(payload))
                self.assertEqual(trees(back), trees(payload) * 2)

    def test_forms(self) -> None:
        """The same in a form that is nested."""
        form = f'<x xmlns="jabber:x:data"><y xmlns="{EVIL}"/></x>'
        iq = stanza(f"<iq type='result'><query xmlns='{ns.DISCO_INFO}'>{form}</query></iq>").element
        [found] = advertisements.readInfo(iq).forms
        self.assertEqual(trees(found), trees(form))


class UnreadableTests(SynchronousTestCase):
    """Section 4.3 and XEP-0297: a wrapper has exactly one iq, and it is a request."""

    def test_unreadable(self) -> None:
        """Each way to break that."""
        payload = "<x xmlns='urn:x'/>"
        right = request(payload)
        self.assertIsNotNone(readWrapper(wrapper(right)))
        delegation = wrapper(right)[len("<iq from='capulet.lit' to='pubsub.capulet.lit' id='d1' type='set'>") : -5]
        for name, raw in {
            "nothing": wrapper(""),
            "no forwarded": wrapper("").replace(f"<forwarded xmlns='{ns.FORWARD}'></forwarded>", ""),
            "not wrapped": wrapper("").replace("delegation", "dele"),
            "two iqs": wrapper(right + right),
            "two wrappers": wrapper(right).replace(delegation, delegation * 2),
            "two forwarded": wrapper(f"{right}</forwarded><forwarded xmlns='{ns.FORWARD}'>"),
            "nested": wrapper(request(wrapper(right))).replace("<iq from='capulet.lit'", "<iq", 1),
            "a message": wrapper(right.replace("<iq", "<message").replace("</iq", "</message")),
            "text": wrapper("x"),
            "another version": wrapper(right, version="urn:xmpp:delegation:3"),
            "foreign forwarded": wrapper(right).replace(ns.FORWARD, "urn:x"),
            "foreign iq": wrapper(right.replace(ns.CLIENT, "urn:x")),
            "iq of the server's own": wrapper(right.replace(ns.CLIENT, ns.COMPONENT_ACCEPT)),
            "foreign default": wrapper(
                right.replace(f"xmlns='{ns.CLIENT}'", "xmlns='urn:x'").replace(payload, "<x/>")
            ),
            "no payload": wrapper(request("")),
            "no payload, one tag": wrapper(request("").replace("></iq>", "/>")),
            "only text": wrapper(request("x")),
            "two payloads": wrapper(request(payload * 2)),
            "no sender": wrapper(right.replace(f" from='{JULIET}'", "")),
            "empty sender": wrapper(right.replace(JULIET, "")),
            "no id": wrapper(right.replace(" id='1'", "")),
            "empty id": wrapper(right.replace(" id='1'", " id=''")),
            "no type": wrapper(right.replace(" type='get'", "")),
            "a result": wrapper(request(payload, "result")),
            "an error": wrapper(request(payload, "error")),
        }.items():
            with self.subTest(name):
                if name != "nested":
                    self.assertIsNone(expected(raw))
                    self.assertIsNone(readWrapper(raw))
                else:
                    # The outer iq is an ordinary request.
                    self.assertEqual(readWrapper(raw), expected(raw))

    def test_huge(self) -> None:
        """A large stanza is readable."""
        payload = f"<x xmlns='urn:x' a='{'b' * 50_000}'>{'<y/>' * 10_000}</x>"
        found = readWrapper(wrapper(request(payload)))
        assert found is not None
        self.assertEqual(found[-1], trees(payload)[0])


class ReplyTests(SynchronousTestCase):
    """Answers of a managing entity, read by a delegating server."""

    def test_reply(self) -> None:
        """Each of their values."""
        for kind, content in (("result", "<x xmlns='urn:x'/>"), ("error", "<x xmlns='urn:x'/><error/>")):
            one = stanzas.readReply(stanzas.unwrap(stanza(answer(reply(content, kind)))))
            self.assertEqual((one.sender, one.recipient, one.id), ("juliet@capulet.lit", JULIET, "1"))
            self.assertEqual((one.type, one.xml), (kind, content.encode()))
        empty = reply("").replace("></iq>", "/>")
        self.assertEqual(stanzas.readReply(stanzas.unwrap(stanza(answer(empty)))).xml, b"")

    def test_content(self) -> None:
        """
        RFC 6120 section 8.2.3: a result has at most one element, in any spelling; an error has an error element.
        """
        one, other = "<p:x xmlns:p='urn:x'><x xmlns='urn:x'/></p:x>", "<x xmlns='urn:x'><x/></x>"
        for content, kind, fits in (
            (one, "result", True),
            (other, "result", True),
            (one + other, "result", False),
            ("<x xmlns='urn:x'/><x xmlns='urn:x'/>", "result", False),
            ("", "error", False),
            (one, "error", False),
            (f"{one}<error type='cancel'/>", "error", True),
            ("<error xmlns='urn:x'/>", "error", False),
        ):
            inside = stanzas.unwrap(stanza(answer(reply(content, kind))))
            with self.subTest(content, kind=kind):
                if fits:
                    self.assertEqual(stanzas.readReply(inside).xml, content.encode())
                else:
                    self.assertRaises(BadRequest, stanzas.readReply, inside)

    def test_namespace(self) -> None:
        """An iq in another namespace than C{jabber:client} is refused."""
        for namespace in ("urn:x", ns.COMPONENT_ACCEPT, ""):
            raw = answer(reply().replace(f"xmlns='{ns.CLIENT}'", f"xmlns='{namespace}'" if namespace else ""))
            with self.subTest(namespace):
                self.assertRaises(BadRequest, lambda raw=raw: stanzas.readReply(stanzas.unwrap(stanza(raw))))


class WrittenTests(SynchronousTestCase):
    """Serialised stanzas are read back the same."""

    def test_forwarded(self) -> None:
        """A forwarded request keeps its meaning, with all characters."""
        for recipient in (None, "o'b&<@d"):
            for payload in (b"<x xmlns='urn:x'>&amp;</x>", b"<x xmlns='urn:x'/>"):
                one = Request("o'b&<@d/\" \n>", recipient, "'1\t&", "set", "urn:x", {}, payload)
                raw = stanzas.writeForward(ns.DELEGATION_1, "a'", "b", "&2", one).decode()
                outer = stanza(raw)
                self.assertEqual((outer.sender, outer.recipient, outer.id, outer.type), ("a'", "b", "&2", "set"))
                inside = stanzas.unwrap(outer)
                self.assertEqual(inside.version, ns.DELEGATION_1)
                again = stanzas.readRequest(inside)
                self.assertEqual(found(again), found(one))

    def test_portable(self) -> None:
        """
        The form of an answer that every server delivers: an outer result, no white space, no prefix, both
        addresses, the inner iq's namespace, and an error inside.
        """
        asked = Request(JULIET, None, "1", "get", "urn:x", {}, b"<x xmlns='urn:x'/>")
        for kind, xml in (("result", b""), ("result", b"<x xmlns='urn:x'/>"), ("error", b"<error/>")):
            written = stanzas.writeAnswer(ns.DELEGATION_2, COMPONENT, HOST, "d1", asked, kind, xml).decode()
            self.assertEqual(meaning(written), meaning(answer(reply(xml.decode(), kind))))
            self.assertTrue(
                written.startswith(f"<iq from='{COMPONENT}' to='{HOST}' id='d1' type='result'><delegation")
            )
            self.assertNotIn("> <", written)
            self.assertEqual(written.count(f"xmlns='{ns.CLIENT}'"), 1)

    def test_written(self) -> None:
        """Elements of handlers, serialised where the default namespace is C{jabber:client}."""
        for xml in (
            "<x xmlns='urn:x'><y/><z xmlns='urn:z'/></x>",
            "<p:x xmlns:p='urn:x' p:a='1'><p:y/></p:x>",
            "<x xmlns='jabber:client'><y/></x>",
            "<x xmlns='urn:x' xml:lang='de'><y xmlns='jabber:client'><x xmlns='urn:x'/></y></x>",
        ):
            with self.subTest(xml):
                self.assertEqual(trees(stanzas.xmlOf(element(xml))), trees(xml))
                self.assertEqual(stanzas.checkedXml(element(xml)), stanzas.xmlOf(element(xml)))

    def test_noXml(self) -> None:
        """Characters that XML does not allow are refused: they would end the stream."""
        for text in ("\x00", "\x0b", "\ufffe", "\ud800"):
            one = element("<x xmlns='urn:x'/>")
            one.addContent(text)
            self.assertRaises(ValueError, stanzas.checkedXml, one)
            two = element("<x xmlns='urn:x'/>")
            two["a"] = text
            self.assertRaises(ValueError, stanzas.checkedXml, two)

    @steady
    @given(contents(["h"], 2))
    def test_requestOf(self, inside: str) -> None:
        """A client's own iq is read unchanged, or not at all, with any content."""
        raw = f"<iq type='get' id='1'>{inside}</iq>"
        children = list(parsed(raw, HEADER, "</stream:stream>")[0])
        try:
            one = stanzas.requestOf(stanza(raw), JULIET, None)
        except BadRequest:
            self.assertNotEqual(len(children), 1)
            return
        [child] = children
        child.tail = None
        payload = tree(child)
        # By default a client's stream namespace is the client namespace.
        self.assertEqual(_inClient(trees(one.xml)[0]), _inClient(payload))


def _inClient(one: Tree) -> Tree:
    name, attributes_, parts = one
    return (
        name.replace(ns.COMPONENT_ACCEPT, ns.CLIENT),
        attributes_,
        [each if isinstance(each, str) else _inClient(each) for each in parts],
    )


class AdvertisementTests(SynchronousTestCase):
    """Section 4.2."""

    def test_both(self) -> None:
        """Advertisements are read back as written, with filters; one for a user has that user."""
        delegated = [Delegation("urn:1", ()), Delegation("urn:'2&", (), frozenset({"b'", "a"}))]
        for version in VERSIONS:
            for user in (None, "o'b@d"):
                raw = advertisements.advertisement(version, HOST, COMPONENT, "1", delegated, user).decode()
                self.assertEqual(
                    advertisements.readAdvertisements(stanza(raw)),
                    [(user, [Grant(each.namespace, version, each.filtering) for each in delegated])],
                )

    def test_odd(self) -> None:
        """Duplicate namespaces count once, several elements are several, unreadable ones are ignored."""
        raw = (
            f"<message from='{HOST}' to='{COMPONENT}'><x xmlns='urn:x'/>"
            "<delegation xmlns='urn:xmpp:delegation:3'><delegated namespace='urn:3'/></delegation>"
            "<delegation xmlns='urn:xmpp:delegation:1'><delegated namespace='urn:1'/><delegated namespace='urn:1'/>"
            "<delegated/><delegated namespace=''/><other namespace='urn:2'/>"
            "<delegated xmlns='urn:x' namespace='urn:4'/></delegation>"
            "<delegation xmlns='urn:xmpp:delegation:2'>text<delegated namespace='urn:5'><attribute/>"
            "<attribute name='a'/><attribute name=''/></delegated></delegation></message>"
        )
        self.assertEqual(
            advertisements.readAdvertisements(stanza(raw)),
            [
                (None, [Grant("urn:1", ns.DELEGATION_1)]),
                (None, [Grant("urn:5", ns.DELEGATION_2, frozenset({"a"}))]),
            ],
        )
        self.assertEqual(advertisements.readAdvertisements(stanza("<message/>")), [])


class InfoTests(SynchronousTestCase):
    """Section 7.2."""

    info = Info(
        (("pubsub", "pep", ""), ("a'", "b&", "<c>")),
        ("urn:1", "urn:'2"),
        ("<x xmlns='jabber:x:data' type='result'><field var='a'><value>b</value></field></x>",),
    )

    def test_both(self) -> None:
        """Info is read back as written; the node is echoed."""
        written = advertisements.writeInfo(self.info, "n'")
        info = advertisements.readInfo(stanza(f"<iq type='result'>{written}</iq>").element)
        self.assertEqual((info.identities, info.features), (self.info.identities, self.info.features))
        self.assertEqual([meaning(form) for form in info.forms], [meaning(form) for form in self.info.forms])
        self.assertEqual(meaning(written)[0][1], {"node": "n'"})
        self.assertEqual(meaning(advertisements.writeInfo(Info()))[0][1:], ({}, []))

    def test_none(self) -> None:
        """An answer without a query is unreadable."""
        for raw in ("<iq/>", f"<iq><query xmlns='{ns.DISCO_ITEMS}'/></iq>"):
            self.assertRaises(BadRequest, advertisements.readInfo, stanza(raw).element)

    def test_long(self) -> None:
        """
        Long info is refused: it would make answers to others too large, and escaping can make it six times longer.
        """
        for size, fits in ((2_000, True), (3_000, False)):
            quotes = '"' * size
            xml = f"<iq><query xmlns='{ns.DISCO_INFO}'><feature var='{quotes}'/></query></iq>"
            if fits:
                self.assertEqual(advertisements.readInfo(stanza(xml).element).features, (quotes,))
            else:
                self.assertRaises(BadRequest, advertisements.readInfo, stanza(xml).element)

    def test_query(self) -> None:
        """The query for it."""
        raw = advertisements.infoQuery("a'", "b", "1&", "n<").decode()
        self.assertEqual(
            meaning(raw),
            meaning(
                "<iq from='a&apos;' to='b' id='1&amp;' type='get'>"
                f"<query xmlns='{ns.DISCO_INFO}' node='n&lt;'/></iq>"
            ),
        )
