"""The managing entity on a link: each request gets exactly one answer, for any input and any handler."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any
from xml.etree.ElementTree import Comment, Element, SubElement

from hypothesis import given
from twisted.internet.defer import Deferred, fail, succeed
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.delegation import stanzas
from gateway.delegation.advice import howToGrant
from gateway.delegation.delegations import Delegation
from gateway.delegation.managing import Route
from gateway.delegation.nesting import Info
from gateway.delegation.stanzas import answerAddress
from gateway.errors import (
    AlreadyOpen,
    BadNamespace,
    BadRequest,
    Forbidden,
    HandlerFailed,
    NoAnswer,
    NoHandler,
    RecipientUnavailable,
    ResourceLimit,
    Stopping,
    TooDeep,
    TooLarge,
    TooManyPending,
)
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, IRawHandler, IRefusalHandler
from gateway.stream.core import Limits
from tests.delegation.support import (
    COMPONENT,
    GRANT_TIMEOUT,
    HOST,
    JULIET,
    PUBSUB,
    TIMEOUT,
    Case,
    FakeNamespace,
    answer,
    element,
    errorXml,
    reply,
    request,
    wrapper,
)
from tests.delegation.test_stanzas import EVIL, wrappers
from tests.profiles import steady
from tests.reports import sentences

PAYLOAD = f"<pubsub xmlns='{PUBSUB}'/>"
ASKED = wrapper(request(PAYLOAD))


def refused(error: type[Any], **more: Any) -> str:
    """Return the answer with this error."""
    return answer(reply(errorXml(error), "error", **more))


def _given(waiting: Deferred[Any], request: IDelegatedRequest) -> Deferred[Any]:
    return waiting


class InterfaceTests(Case):
    """Its interfaces."""

    def test_interfaces(self) -> None:
        """It is a raw handler; its routes and requests provide their interfaces."""
        fake = self.serve(lambda request: None)
        verifyObject(IRawHandler, self.handler)
        verifyObject(IDelegatedNamespace, fake)
        self.server.send(ASKED)
        verifyObject(IDelegatedRequest, fake.asked[0])


class HeardTests(Case):
    """The stanzas that are accepted, and the protocol version of answers."""

    def test_onlyServers(self) -> None:
        """Only requests of configured servers are accepted; all others are refused, and no handler is asked."""
        fake = self.serve(lambda request: None)
        for server in ("montaigu.lit", "mallory@capulet.lit/x", "capulet.lit/x", "x.capulet.lit"):
            self.server.send(wrapper(request(PAYLOAD), server=server))
            [(name, attributes, _)] = self.taken()
            self.assertEqual((name, attributes["to"], attributes["type"]), ("{jabber:client}iq", server, "error"))
        self.assertEqual((fake.asked, self.handler.pending), ([], 0))

    def test_advertisementsToo(self) -> None:
        """Advertisements of other entities are ignored."""
        self.serve(lambda request: None)
        for server in ("montaigu.lit", "mallory@capulet.lit/x"):
            self.server.send(self.advertised(server))
        self.server.send(self.advertised(HOST).replace("<message", "<message type='error'"))
        self.assertEqual([line for line in self.logged if "delegates" in line], [])
        self.server.send(self.advertised(HOST))
        self.assertEqual(len([line for line in self.logged if "delegates" in line]), 1)

    def advertised(self, server: str) -> str:
        return (
            f"<message from='{server}' to='{COMPONENT}'><delegation xmlns='{ns.DELEGATION_2}'>"
            f"<delegated namespace='{PUBSUB}'/></delegation></message>"
        )

    def test_versions(self) -> None:
        """
        Each version is answered in the same version. ejabberd uses the older one and may drop results to its bare
        domain. Prosody accepts only the newer one.
        """
        self.serve(lambda request: None)
        for version, recipient in ((ns.DELEGATION_1, f"{HOST}/delegation"), (ns.DELEGATION_2, HOST)):
            self.server.send(wrapper(request(PAYLOAD), version=version))
            self.assertSent(answer(reply(), version=version, to=recipient))

    def test_servers(self) -> None:
        """Several servers, each for its own users."""
        fake = FakeNamespace(lambda request: None)
        self.make({PUBSUB: Route(fake, None)}, (HOST, "montaigu.lit"))
        romeo = "romeo@montaigu.lit/x"
        self.server.send(ASKED + wrapper(request(PAYLOAD, requester=romeo), server="montaigu.lit"))
        self.assertSent(answer(reply()), answer(reply(to=romeo, sender="romeo@montaigu.lit"), to="montaigu.lit"))
        self.server.send(wrapper(request(PAYLOAD, to="romeo@montaigu.lit")))
        self.assertSent(refused(Forbidden, sender="romeo@montaigu.lit"))
        self.assertEqual(len(fake.asked), 2)

    def test_whom(self) -> None:
        """
        Section 4.3: a request is "either directed to" the server, "or directed to any bare jid (and only bare jid)
        that it manages". Any user may be the requester.
        """
        fake = self.serve(lambda request: None)
        for to in (HOST, "romeo@capulet.lit"):
            self.server.send(wrapper(request(PAYLOAD, to=to, requester="romeo@montaigu.lit/x")))
            self.assertSent(answer(reply(to="romeo@montaigu.lit/x", sender=to)))
        self.assertEqual([each.entity for each in fake.asked], [HOST, "romeo@capulet.lit"])
        for to in ("romeo@capulet.lit/x", "romeo@x.capulet.lit", "montaigu.lit", "capulet.lit/x", COMPONENT):
            self.server.send(wrapper(request(PAYLOAD, to=to)))
            self.assertSent(refused(Forbidden, sender=to))
        self.assertEqual(len(fake.asked), 2)

    def test_unknown(self) -> None:
        """A namespace without a handler."""
        self.serve(lambda request: None)
        self.server.send(wrapper(request("<x xmlns='urn:x'/>")))
        self.assertSent(refused(NoHandler))

    def test_unreadable(self) -> None:
        """A wrapper without a readable request is answered to the server, because the requester is unknown."""
        self.serve(lambda request: None)
        for inner in ("", request(PAYLOAD) * 2, request(PAYLOAD, "result"), request(PAYLOAD, identifier="")):
            self.server.send(wrapper(inner))
            self.assertSent(f"<iq from='{COMPONENT}' to='{HOST}' id='d1' type='error'>{errorXml(BadRequest)}</iq>")
            self.assertIn("forwarded an unreadable request", self.logged[-1])

    def test_unreadableInside(self) -> None:
        """If only the payload is bad, the requester gets an inner error: ejabberd does not deliver outer errors."""
        fake = self.serve(lambda request: None)
        for payload in ("", PAYLOAD * 2):
            self.server.send(wrapper(request(payload)))
            self.assertSent(refused(BadRequest))
            self.assertIn("forwarded an unreadable request", self.logged[-1])
        self.assertEqual((fake.asked, self.handler.pending), ([], 0))

    def test_refusedAtTheStream(self) -> None:
        """A forwarded request that the stream refuses is answered in the portable form; other stanzas are not."""
        fake = self.serve(lambda request: None)
        rewritten = f"<query xmlns='{ns.PRIVATE}'><q xmlns='{ns.XML}'/></query>"
        deep = "<a>" * 64 + "</a>" * 64
        for payload, error in ((rewritten, BadNamespace), (deep, TooDeep), ("x" * 4_200_000, TooLarge)):
            for version in (ns.DELEGATION_1, ns.DELEGATION_2):
                self.server.send(wrapper(request(payload, to="romeo@capulet.lit"), version=version))
                self.assertSent(
                    refused(error, sender="romeo@capulet.lit")
                    .replace(ns.DELEGATION_2, version)
                    .replace(f"to='{HOST}'", f"to='{answerAddress(version, HOST)}'", 1)
                )
        self.server.send(wrapper(request(rewritten), server="montaigu.lit"))
        outer = f"type='error'>{errorXml(BadNamespace)}</iq>"
        self.assertSent(f"<iq from='{COMPONENT}' to='montaigu.lit' id='d1' {outer}")
        for inner in (rewritten, request(rewritten).replace(f" xmlns='{ns.CLIENT}'", "")):
            self.server.send(wrapper(inner))
            self.assertSent(f"<iq from='{COMPONENT}' to='{HOST}' id='d1' {outer}")
        self.assertEqual((fake.asked, self.handler.pending), ([], 0))
        verifyObject(IRefusalHandler, self.handler)

    def test_noRecipient(self) -> None:
        """A forwarded request without a recipient."""
        self.serve(lambda request: None)
        self.server.send(wrapper("").replace(f" to='{COMPONENT}'", ""))
        self.assertSent(f"<iq from='{COMPONENT}' to='{HOST}' id='d1' type='error'>{errorXml(BadRequest)}</iq>")


class AnswerTests(Case):
    """Exactly one answer, for any result of the handler."""

    def asked(self, respond: Any, *expected: str) -> None:
        fake = self.serve(respond)
        self.server.send(ASKED)
        self.assertSent(*expected)
        self.assertEqual((len(fake.asked), self.handler.pending), (1, 0))

    def test_element(self) -> None:
        """An element is sent as the result, in the form that all servers accept."""
        self.asked(
            lambda request: element("<x xmlns='urn:x' a='&lt;'>é</x>"),
            answer(reply("<x xmlns='urn:x' a='&lt;'>é</x>")),
        )

    def test_none(self) -> None:
        """C{None} is an empty result."""
        self.asked(lambda request: None, answer(reply()))

    def test_tooLarge(self) -> None:
        """An answer over the server's limit, or over any limit, becomes an error; the stream stays open."""
        limits = Limits()
        for size in (limits.outgoingSize, limits.stanzaSize):
            given = element(f"<x xmlns='urn:x'>{'x' * size}</x>")
            with self.subTest(size):
                self.setUp()
                self.asked(lambda request, given=given: given, refused(TooLarge))

    def test_stanzaError(self) -> None:
        """A stanza error is sent to the requester inside a result, which all servers deliver."""
        wanted = (
            f"<error type='cancel' code='404'><item-not-found xmlns='{ns.STANZA_ERRORS}'/>"
            f"<text xmlns='{ns.STANZA_ERRORS}'>no &lt;such&gt;</text></error>"
        )

        def respond(request: IDelegatedRequest) -> Any:
            raise StanzaError("item-not-found", text="no <such>")

        self.asked(respond, answer(reply(wanted, "error")))
        self.asked(
            lambda request: fail(StanzaError("item-not-found", text="no <such>")), answer(reply(wanted, "error"))
        )

    def test_gatewayError(self) -> None:
        """A domain error is answered by the table of errors."""

        def respond(request: IDelegatedRequest) -> Any:
            raise ResourceLimit

        self.asked(respond, refused(ResourceLimit))

    def test_raises(self) -> None:
        """Another exception is an internal error: it is logged, and the requester sees no detail."""

        def respond(request: IDelegatedRequest) -> Any:
            raise ZeroDivisionError("hidden")

        self.asked(respond, refused(HandlerFailed))
        self.asked(lambda request: fail(ZeroDivisionError("hidden")), refused(HandlerFailed))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_nonsense(self) -> None:
        """Values that are not a valid answer."""
        for nonsense in (1, "<x/>", bytearray(b"<x/>"), [], object(), domish.Element):
            self.asked(lambda request, nonsense=nonsense: nonsense, refused(HandlerFailed))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 6)

    def test_bytes(self) -> None:
        """An element may be bytes. They are checked, unless they are the request's own."""
        for xml in (b"<x/>", b"<x xmlns='urn:x'><x>&amp;</x></x>", b"<p:x xmlns:p='urn:x'><p:x/></p:x>"):
            self.asked(lambda request, xml=xml: xml, answer(reply(xml.decode())))
            self.asked(lambda request, xml=xml: succeed(xml), answer(reply(xml.decode())))
        bad = (
            *(b"", b" ", b"text", b"<x/>text", b"<x/><y/>", b"<x></x><x></x>", b"<x>", b"</iq>", b"</iq><iq>"),
            *(b"<x/></iq><iq/><iq>", b"<x></y>", b"<p:x/>", b"<x>\x00</x>", b"\xff", b"<!-- --><x/>", b"\n<x/>"),
            *(b"<x/></stream:stream>", b"<x/></stream:stream><stream:stream>", b"<x><![CDATA[</x>"),
        )
        for xml in bad:
            self.asked(lambda request, xml=xml: xml, refused(HandlerFailed))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), len(bad))

    def test_trees(self) -> None:
        """An element may be one of C{xml.etree.ElementTree}, as C{tree} of the request is."""
        self.asked(lambda request: request.tree if request.tree is request.tree else None, answer(reply(PAYLOAD)))
        whole = Element("{urn:x}x", {"a": "&"})
        SubElement(whole, "{urn:x}y").text = "<"
        written = "<x xmlns='urn:x' a='&amp;'><y>&lt;</y></x>"
        self.asked(lambda request: whole, answer(reply(written)))
        self.asked(lambda request: succeed(whole), answer(reply(written)))
        two = "x/><y"
        bad = Element("x"), Element("x"), Element("x y"), Comment("x"), Element(two), domish.Element((None, two))
        bad[0].text, bad[1].text = "\x00", "\ud800"
        for each in bad:
            self.asked(lambda request, each=each: each, refused(HandlerFailed))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), len(bad))

    def test_ownBytes(self) -> None:
        """The request's own bytes may be the answer; they are sent unchanged, without another check."""
        self.patch(stanzas, "checkedXml", self.fail)
        self.serve(lambda request: request.xml)
        for payload in (PAYLOAD, f'<pubsub xmlns="{PUBSUB}"><a  b = "1"></a></pubsub>'):
            self.server.send(wrapper(request(payload)))
            self.assertIn(payload.encode(), self.server.transport.value())
            self.taken()

    def test_noXml(self) -> None:
        """Characters that XML does not allow would end the stream; they are refused."""
        for text in ("\x00", "\ud800"):
            bad = element("<x xmlns='urn:x'/>")
            bad.addContent(text)
            self.asked(lambda request, bad=bad: bad, refused(HandlerFailed))
            self.asked(lambda request, text=text: fail(StanzaError("conflict", text=text)), refused(HandlerFailed))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 4)

    def test_awaitables(self) -> None:
        """Deferreds and coroutines."""

        async def respond(request: IDelegatedRequest) -> Any:
            return element(PAYLOAD)

        async def refuse(request: IDelegatedRequest) -> Any:
            raise Forbidden

        self.asked(lambda request: succeed(element(PAYLOAD)), answer(reply(PAYLOAD)))
        self.asked(respond, answer(reply(PAYLOAD)))
        self.asked(refuse, refused(Forbidden))

    def test_later(self) -> None:
        """A handler that answers late, but before the deadline."""
        waiting: Deferred[Any] = Deferred()
        self.serve(lambda request: waiting)
        self.server.send(ASKED)
        self.server.clock.pump([1.0] * int(TIMEOUT - 1))
        self.assertSent()
        self.assertEqual(self.handler.pending, 1)
        waiting.callback(None)
        self.assertSent(answer(reply()))
        self.assertEqual(self.handler.pending, 0)

    def test_never(self) -> None:
        """
        A request without an answer is completed before a server's timeout. A later answer, or a later failure, is
        not sent.
        """
        for late in (None, ZeroDivisionError(), StanzaError("conflict")):
            # A Deferred that ignores its cancellation.
            waiting: Deferred[Any] = Deferred(lambda _: None)
            self.serve(partial(_given, waiting))
            self.server.send(ASKED)
            self.server.clock.pump([1.0] * int(TIMEOUT - 1))
            self.assertSent()
            self.server.clock.pump([1.0] * 2)
            self.assertSent(refused(NoAnswer))
            self.assertEqual(self.handler.pending, 0)
            self.assertIn(f"{PUBSUB} was not answered in time; {JULIET} got an error", self.logged[-1])
            if not waiting.called:
                waiting.callback(late)
            self.assertSent()
        self.assertQuiet()

    def test_cancelled(self) -> None:
        """A handler's Deferred is cancelled after the deadline."""
        told: list[Any] = []
        self.serve(lambda request: Deferred(told.append))
        self.server.send(ASKED)
        self.server.clock.pump([1.0] * int(TIMEOUT + 1))
        self.assertSent(refused(NoAnswer))
        self.assertEqual(len(told), 1)
        self.assertQuiet()


class ManyTests(Case):
    """Many requests at once."""

    def test_sameInnerId(self) -> None:
        """Two users use the same id at the same time: each gets its own answer."""
        waiting: list[Deferred[Any]] = []

        def respond(request: IDelegatedRequest) -> Any:
            waiting.append(Deferred())
            return waiting[-1]

        self.serve(respond)
        romeo = "romeo@capulet.lit/x"
        self.server.send(ASKED + wrapper(request(PAYLOAD, requester=romeo), "d2"))
        waiting[1].callback(element("<two xmlns='urn:x'/>"))
        self.assertSent(answer(reply("<two xmlns='urn:x'/>", to=romeo, sender="romeo@capulet.lit"), "d2"))
        waiting[0].callback(element("<one xmlns='urn:x'/>"))
        self.assertSent(answer(reply("<one xmlns='urn:x'/>")))

    def test_sameOuterId(self) -> None:
        """
        If a server uses an id twice, the second request is refused and the first answered; then the id is free.
        """
        waiting: list[Deferred[Any]] = []

        def respond(request: IDelegatedRequest) -> Any:
            waiting.append(Deferred())
            return waiting[-1]

        fake = self.serve(respond)
        self.server.send(ASKED)
        self.server.send(wrapper(request(PAYLOAD, identifier="2")))
        self.assertSent(refused(AlreadyOpen, identifier="2"))
        self.assertEqual(len(fake.asked), 1)
        waiting[0].callback(None)
        self.assertSent(answer(reply()))
        self.server.send(ASKED)
        waiting[1].callback(None)
        self.assertSent(answer(reply()))

    def test_bound(self) -> None:
        """The number of open requests is limited; each request is answered."""
        self.serve(lambda request: Deferred())
        self.handler._open.shares.bound = 12
        for number in range(3):
            self.server.send(wrapper(request(PAYLOAD), f"d{number}"))
        self.assertSent()
        self.server.send(wrapper(request(PAYLOAD), "d3"))
        self.assertSent(answer(reply(errorXml(TooManyPending), "error"), "d3"))
        self.server.clock.pump([1.0] * int(TIMEOUT + 1))
        self.assertSent(*(answer(reply(errorXml(NoAnswer), "error"), f"d{number}") for number in range(3)))
        self.server.send(wrapper(request(PAYLOAD), "d4"))
        self.assertEqual((self.taken(), self.handler.pending), ([], 1))


class StopTests(Case):
    """A stop of the gateway."""

    def test_drain(self) -> None:
        """Open requests may complete, new ones are refused, and the rest gets an error at the end."""
        waiting = [Deferred[Any](), Deferred[Any]()]
        self.serve(lambda request: waiting[int(request.type == "set")])
        self.server.send(ASKED + wrapper(request(PAYLOAD, "set"), "d2"))
        self.server.link.stopService()
        self.server.send(wrapper(request(PAYLOAD), "d3"))
        self.assertSent(answer(reply(errorXml(Stopping), "error"), "d3"))
        waiting[0].callback(None)
        self.assertSent(answer(reply()))
        self.assertEqual(self.handler.pending, 1)
        self.server.clock.pump([0.1] * 60)
        self.assertSent(answer(reply(errorXml(Stopping), "error"), "d2"))
        self.assertEqual(self.handler.pending, 0)
        self.assertQuiet()

    def test_again(self) -> None:
        """A link that is started again after a stop takes requests."""
        self.serve(lambda request: None)
        self.server.stop()
        self.server.start()
        self.server.send(wrapper(request(PAYLOAD)))
        self.assertSent(answer(reply()))


class ConnectionTests(Case):
    """The link is lost and comes back."""

    def again(self) -> None:
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.accept()

    def advertise(self, *namespaces: str) -> None:
        granted = "".join(f"<delegated namespace='{each}'/>" for each in namespaces)
        self.server.send(
            f"<message from='{HOST}' to='{COMPONENT}'><delegation xmlns='{ns.DELEGATION_2}'>{granted}"
            "</delegation></message>"
        )

    def warned(self) -> list[str]:
        found = [line for line in self.logged if "does not delegate" in line]
        self.logged.clear()
        return found

    def test_answers(self) -> None:
        """An answer that is ready while the link is down is sent when the link is up again."""
        waiting: Deferred[Any] = Deferred()
        self.serve(lambda request: waiting)
        self.server.send(ASKED)
        self.server.lose()
        waiting.callback(None)
        self.server.clock.advance(2.0)
        self.server.accept()
        self.server.clock.advance(0.3)
        self.assertSent(answer(reply()))
        self.assertEqual(self.handler.pending, 0)

    def test_missing(self) -> None:
        """
        Configured namespaces that are not delegated are logged once in each connection, with the configuration for
        Prosody and ejabberd.
        """
        self.serve(lambda request: None)
        self.server.clock.pump([1.0] * int(GRANT_TIMEOUT - 1))
        self.assertEqual(self.warned(), [])
        self.server.clock.pump([1.0] * 2)
        [said] = self.warned()
        self.assertIn(f"{COMPONENT}: {HOST} does not delegate {PUBSUB}", said)
        for line in (f'["{PUBSUB}"] = {{ jid = "{COMPONENT}" }};', f'"{PUBSUB}": {{access: pubsub}}'):
            self.assertIn(line, said)
        self.server.clock.pump([1.0] * 60)
        self.assertEqual(self.warned(), [])
        self.again()
        self.server.clock.pump([1.0] * 60)
        self.assertEqual(len(self.warned()), 1)

    def test_granted(self) -> None:
        """Delegated namespaces are not reported; after a reconnection they are, until they are delegated again."""
        self.serve(lambda request: None, namespaces=frozenset({PUBSUB, "urn:2"}))
        self.advertise(PUBSUB)
        self.server.clock.pump([1.0] * 11)
        [said] = self.warned()
        self.assertIn("does not delegate urn:2, so", said)
        self.again()
        self.advertise("urn:2")
        self.advertise(PUBSUB)
        self.server.clock.pump([1.0] * 11)
        self.assertEqual(self.warned(), [])
        self.again()
        self.server.clock.pump([1.0] * 11)
        [said] = self.warned()
        self.assertIn(PUBSUB, said)
        self.assertIn("urn:2", said)

    def test_lostBefore(self) -> None:
        """If the connection is lost before the deadline, nothing is logged about the server's configuration."""
        self.serve(lambda request: None)
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.clock.pump([1.0] * 20)
        self.assertEqual(self.warned(), [])

    def test_statusWhileDown(self) -> None:
        """Without a connection the status page does not report missing delegations, because they are unknown."""
        self.serve(lambda request: None)
        self.server.clock.pump([1.0] * 5)
        said = "".join(sentences(self.handler.report()))
        self.assertIn("does not delegate", said)
        self.assertIn("ejabberd", said)
        # The lines of the server only, if it is known.
        self.handler.parent.software = "Prosody 13.0.7"
        self.assertNotIn("ejabberd", "".join(sentences(self.handler.report())))
        self.server.lose()
        self.assertEqual(sentences(self.handler.report()), ["open requests: 0"])

    def test_unwanted(self) -> None:
        """Delegated namespaces without a handler are logged as well."""
        self.serve(lambda request: None)
        self.advertise("urn:x", PUBSUB)
        one, two = [line for line in self.logged if "delegates" in line]
        self.assertIn("This namespace is not configured", one)
        self.assertNotIn("nobody", two)

    def test_advice(self) -> None:
        """The advice has the complete configuration for either server."""
        said = howToGrant("gw.capulet.lit", "capulet.lit", {"urn:1": (), "urn:2": ("b", "a")})
        for line in (
            'VirtualHost "capulet.lit"',
            'Component "gw.capulet.lit"',
            'modules_enabled = { "delegation" }',
            '["urn:1"] = { jid = "gw.capulet.lit" };',
            '["urn:2"] = { jid = "gw.capulet.lit", filtering = { "a", "b" } };',
            "acl: {gw: {server: gw.capulet.lit}}",
            "access_rules: {gw: {allow: gw}}",
            '"urn:1": {access: gw}',
            '"urn:2": {access: gw, filtering: ["a", "b"]}',
        ):
            self.assertIn(line, said)
        self.assertEqual(said.count("modules_enabled"), 2)
        self.assertEqual(said, said.rstrip())


class DiscoTests(Case):
    """Section 7: disco requests that servers send before they delegate."""

    def info(self, node: str, expected: str, kind: str = "result") -> None:
        written = f" node='{node}'" if node else ""
        query = f"<query xmlns='{ns.DISCO_INFO}'{written}"
        self.server.send(f"<iq from='{HOST}' to='{COMPONENT}' id='i' type='get'>{query}/></iq>")
        content = f"{query}>{expected}</query>" if kind == "result" else expected
        # The versions of test_versions.
        to = f"{HOST}/delegation" if node.startswith(f"{ns.DELEGATION_1}:") else HOST
        self.assertSent(f"<iq from='{COMPONENT}' to='{to}' id='i' type='{kind}'>{content}</iq>")

    def test_nodes(self) -> None:
        """Both nodes, in both versions. The node is echoed; Prosody ignores answers without it."""
        self.serve(
            lambda request: None,
            features=("urn:f",),
            identities=(("a", "b", "c"),),
            bareFeatures=("urn:bare",),
            bareIdentities=(("d", "e", ""),),
        )
        for version in (ns.DELEGATION_1, ns.DELEGATION_2):
            self.info(f"{version}::{PUBSUB}", "<identity category='a' type='b' name='c'/><feature var='urn:f'/>")
            self.info(f"{version}:bare:{PUBSUB}", "<identity category='d' type='e'/><feature var='urn:bare'/>")

    def test_something(self) -> None:
        """An answer without features is still a result: ejabberd delegates only after a result."""
        self.serve(lambda request: None)
        for version in (ns.DELEGATION_1, ns.DELEGATION_2):
            self.info(f"{version}::{PUBSUB}", f"<feature var='{PUBSUB}'/>")
            self.info(f"{version}:bare:{PUBSUB}", f"<feature var='{PUBSUB}'/>")

    def test_once(self) -> None:
        """The feature of disco itself is not nested: the server lists it already, and it would appear twice."""
        features = (ns.DISCO_INFO, "urn:f")
        self.serve(lambda request: None, features=features, bareFeatures=features)
        for node in (f"{ns.DELEGATION_2}::{PUBSUB}", f"{ns.DELEGATION_2}:bare:{PUBSUB}"):
            self.info(node, "<feature var='urn:f'/>")

    def test_unknown(self) -> None:
        """An unknown node."""
        self.serve(lambda request: None)
        missing = f"<error type='cancel' code='404'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        for node in ("x", f"{ns.DELEGATION_2}::urn:x", f"urn:xmpp:delegation:3::{PUBSUB}", ns.DELEGATION_2):
            self.info(node, f"<query xmlns='{ns.DISCO_INFO}' node='{node}'/>{missing}", "error")

    def test_injection(self) -> None:
        """Wokkel's errors echo the request; a namespace with a quote in it stays a namespace."""
        self.serve(lambda request: None)
        query = f'<query xmlns="{ns.DISCO_INFO}" node="x"><e xmlns="{EVIL}"/></query>'
        self.server.send(f"<iq from='{JULIET}' to='{COMPONENT}' id='i' type='get'>{query}</iq>")
        missing = f"<error type='cancel' code='404'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertSent(f"<iq from='{COMPONENT}' to='{JULIET}' id='i' type='error'>{query}{missing}</iq>")

    def test_own(self) -> None:
        """The component's own features."""
        self.serve(lambda request: None)
        self.info(
            "",
            "<identity category='component' type='generic' name='Namespace delegation'/>"
            f"<feature var='{ns.DISCO_INFO}'/><feature var='{ns.DELEGATION_2}'/><feature var='{ns.DELEGATION_1}'/>",
        )

    def test_forms(self) -> None:
        """Features of a further managing entity are merged; forms that Wokkel cannot write are omitted."""
        delegation = Delegation(PUBSUB, ("x.capulet.lit",), frozenset({"node"}))
        form = "<x xmlns='jabber:x:data' type='result'><field var='a'><value>1</value></field></x>"
        odd = "<x xmlns='jabber:x:data' type='result'><field><value>1</value></field></x>"
        self.make({PUBSUB: Route(FakeNamespace(lambda request: None, features=("urn:f",)), delegation)})
        info = Info((), ("urn:f", "urn:g"), (odd, form))
        self.patch(self.forwarder, "info", lambda delegation, bare: succeed(info))
        self.taken()
        self.info(f"{ns.DELEGATION_2}::{PUBSUB}", f"<feature var='urn:f'/><feature var='urn:g'/>{form}")


class RouteTests(Case):
    """The route, where there is a choice."""

    def test_filtering(self) -> None:
        """
        With all attributes of the filter a request is forwarded; if one is missing, the local handler answers.
        """
        fake = FakeNamespace(lambda request: None)
        delegation = Delegation(PUBSUB, ("x.capulet.lit",), frozenset({"node", "b"}))
        self.make({PUBSUB: Route(fake, delegation)})
        self.taken()
        self.server.send(wrapper(request(f"<pubsub xmlns='{PUBSUB}' node='1'/>")))
        self.assertSent(answer(reply()))
        self.server.send(wrapper(request(f"<pubsub xmlns='{PUBSUB}' b='' node='1'/>")))
        # No managing entity is available.
        self.assertSent(refused(RecipientUnavailable))
        self.assertEqual(len(fake.asked), 1)

    def test_notCovered(self) -> None:
        """Without a local handler, requests that the filter excludes are refused."""
        self.hand(Delegation(PUBSUB, ("x.capulet.lit",), frozenset({"node"})))
        self.taken()
        self.server.send(ASKED)
        self.assertSent(refused(NoHandler))

    def test_remaining(self) -> None:
        """
        Disco requests on bare JIDs go to the managing entity of the special namespace, unless disco itself has a
        route.
        """
        fake = FakeNamespace(lambda request: None)
        self.make({f"{ns.DELEGATION_1}:bare:disco#info:*": Route(fake, None)})
        for name, error in ((ns.DISCO_INFO, None), (ns.DISCO_ITEMS, NoHandler)):
            self.server.send(wrapper(request(f"<query xmlns='{name}'/>")))
            self.assertSent(answer(reply()) if error is None else refused(error))


class AnyTests(Case):
    """Random content of wrappers."""

    def test_any(self) -> None:
        """Each wrapper gets exactly one answer, with the server's id, and nothing raises."""
        numbers = count(1)
        self.serve(lambda request: request.payload)
        namespaces = FakeNamespace(lambda request: request.payload)
        every = {
            name: Route(namespaces, None) for name in (PUBSUB, "urn:d", "jabber:client", "", "urn:h", "urn:p:0")
        }
        self.make(every)

        @steady
        @given(wrappers(prefixes=("stream",)))
        def check(raw: str) -> None:
            identifier = f"n{next(numbers)}"
            self.server.send(raw.replace("'d1'", f"'{identifier}'"))
            sent = self.taken()
            self.assertEqual(len(sent), 1, raw)
            [(name, attributes, _)] = sent
            self.assertEqual((name, attributes.get("id")), ("{jabber:client}iq", identifier))
            # See answerAddress.
            older = [f"{HOST}/delegation"] if ns.DELEGATION_1 in raw else []
            self.assertIn(attributes.get("to"), [HOST, *older], raw)
            self.assertIn(attributes["type"], ("result", "error"))
            self.assertEqual(self.handler.pending, 0)

        check()
        self.assertTrue(namespaces.asked)
        self.assertTrue(self.server.link.ready)
        self.assertQuiet()
