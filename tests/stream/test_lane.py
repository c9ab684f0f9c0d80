"""
Ordinary Wokkel handlers on a link: they work unchanged, and each request gets exactly one answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import toResponse
from twisted.words.xish import domish
from wokkel.disco import DiscoClientProtocol, DiscoHandler
from wokkel.generic import Request, VersionHandler
from wokkel.ping import PingClientProtocol, PingHandler
from wokkel.subprotocols import XMPPHandler

from gateway import ns
from gateway.addresses import jids
from gateway.stream.budget import Budget
from gateway.stream.core import Limits
from gateway.stream.replies import Replies
from gateway.xml.read import MAX_COST
from tests.stream.memory import JID as COMPONENT
from tests.stream.memory import Tree, World

DISCO = "http://jabber.org/protocol/disco#info"
PING = "<ping xmlns='urn:xmpp:ping'/>"


class Doer(XMPPHandler):
    """Observes iq requests, and calls the test's function for each."""

    def __init__(self, do: Callable[[Any], None], observed: str = "/iq[@type='get' or @type='set']") -> None:
        super().__init__()
        self.do = do
        self.observed = observed

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver(self.observed, self.do)


class Fault(Exception):
    """An exception of the tests' handlers."""


def condition(said: Tree) -> str:
    """Return the condition of a stanza error; C{said} must be one."""
    _, attributes, parts = said
    assert attributes["type"] == "error", said
    error = next(part for part in parts if part[0] == f"{{{ns.COMPONENT_ACCEPT}}}error")
    return str(error[2][0][0].rpartition("}")[2])


def iq(payload: str = "<q xmlns='urn:q'/>", **attributes: str) -> bytes:
    """
    Return an iq to the component, by default from alice, with id 1 and type get; an empty value omits the
    attribute.
    """
    known = {"from": "alice@example.com/r", "to": COMPONENT, "id": "1", "type": "get"}
    known.update({name.rstrip("_"): value for name, value in attributes.items()})
    written = "".join(f" {name}='{value}'" for name, value in known.items() if value)
    return f"<iq{written}>{payload}</iq>".encode()


class LaneCase(SynchronousTestCase):
    """A connected link, with one handler for each test."""

    def setUp(self) -> None:
        self.world = World().up()
        self.link = self.world.link

    def does(self, do: Callable[[Any], None], observed: str = "/iq[@type='get' or @type='set']") -> Doer:
        """Add a handler."""
        handler = Doer(do, observed)
        handler.setHandlerParent(self.link)
        return handler

    def answerTo(self, raw: bytes) -> Tree:
        """Deliver stanzas; return the one element that the server receives at once."""
        [said] = self.world.say(raw)
        return said

    def faults(self, count: int) -> None:
        """Exactly this number of handlers' exceptions was logged."""
        self.assertEqual(len(self.flushLoggedErrors(Fault)), count)


class WokkelTests(LaneCase):
    """Wokkel's own handlers, unchanged."""

    def test_disco(self) -> None:
        """DiscoHandler collects the features of the other handlers on the link."""
        DiscoHandler().setHandlerParent(self.link)
        VersionHandler("gateway", "1").setHandlerParent(self.link)
        PingHandler().setHandlerParent(self.link)
        _, attributes, parts = self.answerTo(iq(f"<query xmlns='{DISCO}'/>", to=COMPONENT))
        self.assertEqual(attributes, {"from": COMPONENT, "to": "alice@example.com/r", "id": "1", "type": "result"})
        features = {part[1].get("var") for part in parts[0][2]}
        self.assertLessEqual({"jabber:iq:version", ns.PING}, features)

    def test_oddAddresses(self) -> None:
        """Handlers answer each sender that a server accepts, and do not raise for an invalid address."""
        DiscoHandler().setHandlerParent(self.link)
        VersionHandler("gateway", "1").setHandlerParent(self.link)
        for sender in (
            "max@chat_srv.lan/r",
            "u@[2001:db8::1]/x",
            "u@h/\U0001f44d",
            "\U0001f44d@h/x",
            "u@h.",
            "u@-/x",
        ):
            for to in (COMPONENT, f"{COMPONENT}/\U0001f44d"):
                for query in (DISCO, "jabber:iq:version"):
                    answer = self.answerTo(iq(f"<query xmlns='{query}'/>", from_=sender, to=to))[1]
                    self.assertEqual((answer["type"], answer["to"], answer["from"]), ("result", sender, to))
        for sender in ("u@h/\u202e", "a@b@c", "u@h/a\u2066"):
            said = self.answerTo(iq(f"<query xmlns='{DISCO}'/>", from_=sender))
            self.assertEqual(condition(said), "bad-request")

    def test_version(self) -> None:
        """VersionHandler answers, from the address of the request."""
        VersionHandler("gateway", "1.0").setHandlerParent(self.link)
        _, attributes, parts = self.answerTo(iq("<query xmlns='jabber:iq:version'/>", to=f"n@{COMPONENT}/x"))
        self.assertEqual((attributes["from"], attributes["type"]), (f"n@{COMPONENT}/x", "result"))
        said = {part[0].rpartition("}")[2]: part[2] for part in parts[0][2]}
        self.assertEqual(said, {"name": ["gateway"], "version": ["1.0"]})

    def test_ping(self) -> None:
        """PingHandler answers, on each stream."""
        PingHandler().setHandlerParent(self.link)
        self.assertEqual(self.answerTo(iq(PING))[1]["type"], "result")
        self.world.server.say(b"</stream:stream>")
        self.world.wait(2)
        self.world.server.accept()
        [said] = self.world.say(iq(PING))
        self.assertEqual(said[1]["type"], "result")

    def test_clients(self) -> None:
        """Wokkel's client protocols get their answers, matched by the recipient of the request."""
        ping, disco = PingClientProtocol(), DiscoClientProtocol()
        ping.setHandlerParent(self.link)
        disco.setHandlerParent(self.link)
        pinged, info = ping.ping(JID("a@b/c"), JID(COMPONENT)), disco.requestInfo(JID("d@e"))
        asked = self.world.server.heard()
        self.assertEqual(
            [(said[1]["to"], said[1]["from"]) for said in asked], [("a@b/c", COMPONENT), ("d@e", COMPONENT)]
        )
        first, second = (said[1]["id"] for said in asked)
        self.world.server.say(f"<iq from='a@b/c' to='{COMPONENT}' id='{first}' type='result'/>".encode())
        self.successResultOf(pinged)
        self.world.server.say(
            f"<iq from='d@e' to='{COMPONENT}' id='{second}' type='result'>"
            f"<query xmlns='{DISCO}'><feature var='urn:f'/></query></iq>".encode()
        )
        self.assertEqual(self.successResultOf(info).features, {"urn:f"})

    def test_messages(self) -> None:
        """Handlers get messages and presence, as trees; neither is answered."""
        seen = []
        self.does(lambda element: seen.append((element.name, str(element.body or ""))), "/message")
        self.does(lambda element: seen.append((element.name, element["from"])), "/presence")
        said = self.world.say(b"<message from='a@b'><body>x &amp; y</body></message><presence from='a@b'/>")
        self.assertEqual((said, seen), ([], [("message", "x & y"), ("presence", "a@b")]))


class OneAnswerTests(LaneCase):
    """Exactly one answer for each request, whatever handlers do (RFC 6120 section 8.2.3)."""

    def silent(self, element: Any) -> None:
        """Accept a request, and do nothing."""
        element.handled = True

    def take(self, element: Any) -> None:
        """Accept a request and keep it."""
        element.handled = True
        self.kept = element

    def test_unhandled(self) -> None:
        """A request that no handler accepts gets service-unavailable, with and without handlers."""
        self.assertEqual(condition(self.answerTo(iq())), "service-unavailable")
        self.does(lambda element: None)
        for kind in ("get", "set"):
            said = self.answerTo(iq(type=kind, to=f"n@{COMPONENT}/r"))
            self.assertEqual(condition(said), "service-unavailable")
            self.assertEqual((said[1]["from"], said[1]["to"]), (f"n@{COMPONENT}/r", "alice@example.com/r"))

    def test_raising(self) -> None:
        """
        If a handler raises, the request gets one error without the exception's text; the link and other handlers
        work on.
        """

        def fail(element: Any) -> None:
            raise Fault("the secret is x")

        self.does(fail)
        said = self.answerTo(iq())
        self.faults(1)
        # Twisted's dispatcher logs an observer's exception and reports it to nobody.
        self.assertEqual(condition(said), "service-unavailable")
        self.assertNotIn("secret is", repr(said))
        self.world.say(b"<message from='a@b'/>" + iq(type="result"))
        self.assertTrue(self.link.ready)
        self.assertEqual(self.link.pending, 0)

    def test_raisingAfterAnswer(self) -> None:
        """If a handler answers and then raises, the answer is sent."""

        def answerAndFail(element: Any) -> None:
            self.link.send(toResponse(element, "result"))
            raise Fault

        self.does(answerAndFail)
        self.assertEqual(self.answerTo(iq())[1]["type"], "result")
        self.faults(1)

    def test_silent(self) -> None:
        """A request that is accepted and not answered gets remote-server-timeout; a later answer is not sent."""
        self.does(self.take)
        self.assertEqual(self.world.say(iq(to=f"{COMPONENT}/x")), [])
        self.assertEqual(self.link.pending, 1)
        self.world.wait(27)
        [said] = self.world.server.heard()
        self.assertEqual((condition(said), said[1]["from"]), ("remote-server-timeout", f"{COMPONENT}/x"))
        self.link.send(toResponse(self.kept, "result"))
        self.assertEqual((len(self.world.server.heard()), self.link.pending), (1, 0))

    def test_silentWhileDown(self) -> None:
        """The same after an outage of any length: the error is sent when the stream is back, once."""
        self.does(self.take)
        self.world.say(iq())
        self.world.endpoint.mode = "refuse"
        self.world.server.lose(ConnectionLost())
        self.world.wait(120)
        self.world.endpoint.mode = "connect"
        while len(self.world.endpoint.transports) < 2:
            self.world.wait(1)
        self.world.server.accept()
        self.world.wait(1.5)
        [said] = self.world.server.heard()
        self.assertEqual(condition(said), "remote-server-timeout")
        self.link.send(toResponse(self.kept, "result"))
        self.world.wait(1.5)
        self.assertEqual((len(self.world.server.heard()), self.link.pending), (1, 0))

    def test_double(self) -> None:
        """The first of two answers is sent."""

        def twice(element: Any) -> None:
            element.handled = True
            self.link.send(toResponse(element, "result"))
            self.link.send(StanzaError("conflict").toResponse(element))

        self.does(twice)
        self.assertEqual(self.answerTo(iq())[1]["type"], "result")

    def test_wrong(self) -> None:
        """An answer with a wrong id, to or from is not sent, and the request still gets an answer."""
        self.does(self.take)
        self.world.say(iq())
        for name, value in (
            ("id", "2"),
            ("id", ""),
            ("to", "bob@example.com/r"),
            ("from", f"x@{COMPONENT}"),
            ("to", "@"),
        ):
            wrong = toResponse(self.kept, "result")
            wrong[name] = value
            self.link.send(wrong)
        self.assertEqual(self.world.server.heard(), [])
        self.link.send(toResponse(self.kept, "result"))
        self.assertEqual(len(self.world.server.heard()), 1)

    def test_otherSpelling(self) -> None:
        """An answer whose addresses are the same JIDs in another spelling is accepted."""
        self.does(self.take)
        self.world.say(iq(from_="Alice@EXAMPLE.com/r", to=COMPONENT.upper()))
        self.kept["to"], self.kept["from"] = COMPONENT, "alice@example.com/r"
        self.link.send(toResponse(self.kept, "result"))
        self.assertEqual(len(self.world.server.heard()), 1)

    def test_sameId(self) -> None:
        """Two peers with the same id, and one peer that uses it twice, each get their own answers."""
        kept: list[Any] = []
        self.does(lambda element: (self.take(element), kept.append(element)))
        for sender in ("alice@example.com/r", "bob@example.com/r", "bob@example.com/r"):
            self.world.say(iq(from_=sender))
        for element in reversed(kept):
            for _ in range(3):
                self.link.send(toResponse(element, "result"))
        self.assertEqual(
            sorted(said[1]["to"] for said in self.world.server.heard()),
            ["alice@example.com/r", "bob@example.com/r", "bob@example.com/r"],
        )

    def test_bound(self) -> None:
        """Over the limit of open requests a further one is refused at once; the open ones are not affected."""
        self.does(self.take)
        self.link._lane.replies = Replies(bound=10)
        self.assertEqual(self.world.say(iq(id="1") + iq(id="2")), [])
        self.assertEqual(condition(self.answerTo(iq(id="3"))), "resource-constraint")
        self.world.wait(27)
        self.assertEqual([said[1]["id"] for said in self.world.server.heard()], ["3", "1", "2"])

    def test_fair(self) -> None:
        """A user with a fair share of the open requests is refused; others are not."""
        self.does(self.silent)
        many = b"".join(iq(id=str(number)) for number in range(2_500))
        self.assertEqual(len(self.world.say(many)), 500)
        other = iq(id="other", from_="bob@example.com/r")
        self.assertEqual(self.world.say(other), [])

    def test_noRoom(self) -> None:
        """Answers that do not fit into the output become errors, which have reserved room."""
        self.link.budget = Budget(10**9)
        kept: list[Any] = []

        def take(element: Any) -> None:
            element.handled = True
            kept.append(element)

        self.does(take)
        many = b"".join(iq(id=str(number)) for number in range(20))
        self.world.say(many)
        protocol = self.world.server.protocol
        protocol.fullBytes = 50_000
        protocol.pauseProducing()
        for element in kept:
            answer = toResponse(element, "result")
            answer.addElement(("urn:q", "q"), content="x" * 10_000)
            self.link.send(answer)
        protocol.resumeProducing()
        heard = self.world.server.heard()
        self.assertEqual({attributes["id"] for _, attributes, _ in heard}, {str(number) for number in range(20)})
        self.assertEqual(len(heard), 20)
        errors = [said for said in heard if said[1]["type"] == "error"]
        self.assertEqual({condition(said) for said in errors}, {"resource-constraint"})
        self.assertEqual(len(errors), 15)

    def test_tooLargeForTheServer(self) -> None:
        """An answer over the server's limit becomes one error."""
        self.link.limits = Limits(outgoingSize=1000)

        def answer(element: Any) -> None:
            element.handled = True
            result = toResponse(element, "result")
            result.addElement(("urn:q", "q"), content="x" * 1000)
            self.link.send(result)

        self.does(answer)
        self.assertEqual(condition(self.answerTo(iq())), "policy-violation")

    def test_tooLargeForATree(self) -> None:
        """No tree is built of a stanza with very many elements; its sender gets an error, and nothing is logged."""
        self.does(self.silent)
        said = self.world.say(iq("<q>" + "<i/>" * MAX_COST + "</q>") + iq(id="2", type="odd"))
        self.assertEqual([condition(one) for one in said], ["policy-violation", "bad-request"])

    def test_lawyers(self) -> None:
        """
        No id, no type, an unknown type, or a sender that is not a JID: bad-request. Answers, and stanzas without a
        sender: no answer.
        """
        self.does(self.silent)
        for raw in (
            iq(id=""),
            iq(type=""),
            iq(type="GET"),
            iq(type="x", id=""),
            iq(from_="a b@c"),
            iq(from_="\ufeff\u3002.\u00df"),
        ):
            self.assertEqual(condition(self.answerTo(raw)), "bad-request", raw)
        for raw in (
            iq(type="error"),
            iq(type="result"),
            iq(type="error", id=""),
            iq(type="result", from_=""),
            iq(from_=""),
            iq(from_="", id=""),
            iq(from_="", type="x"),
            b"<message type='error' from='a@b'/>",
            b"<message type='nonsense'/>",
            b"<presence type='nonsense'/>",
            b"<iq/>",
            b"<other xmlns='urn:o'/>",
        ):
            self.assertEqual(self.world.say(raw), [], raw)

    def test_noAddressee(self) -> None:
        """A request without C{to} is answered from the component, because an address must not be empty."""
        said = self.answerTo(iq(to=""))
        self.assertEqual((condition(said), said[1]["from"]), ("service-unavailable", COMPONENT))

    def test_thirdPartiesAreForgotten(self) -> None:
        """Memory for addresses of third parties is limited."""
        self.does(self.silent)
        self.world.say(b"".join(iq(from_=f"\u00fcser{number}@example.com/r") for number in range(5000)))
        kept = jids._preparedByUnicode.cache_info()
        self.assertLessEqual(kept.currsize, kept.maxsize or 0)
        self.assertEqual(self.link.pending, 5000)


class SendTests(LaneCase):
    """Stanzas that handlers send."""

    def test_serialised(self) -> None:
        """Elements without a namespace, with that of the stream or with others keep their meaning."""
        message = domish.Element((None, "message"), attribs={"to": "a@b"})
        message.addElement("body", content="<&>\u20ac")
        message.addElement(("urn:x", "x"))["v"] = "'\""
        same = domish.Element((ns.COMPONENT_ACCEPT, "message"), attribs={"to": "a@b"})
        same.addElement((ns.STREAMS, "odd"))
        self.link.send(message)
        self.link.send(same)
        first, second = self.world.server.heard()
        root = f"{{{ns.COMPONENT_ACCEPT}}}"
        self.assertEqual(first[:2], (root + "message", {"to": "a@b", "from": COMPONENT}))
        self.assertEqual(first[2], [(root + "body", {}, ["<&>\u20ac"]), ("{urn:x}x", {"v": "'\""}, [])])
        self.assertEqual((second[0], second[2]), (root + "message", [(f"{{{ns.STREAMS}}}odd", {}, [])]))

    def test_notXml(self) -> None:
        """Text that XML does not allow raises in the handler that sends it: it would end the stream for all."""
        for text in ("\x0b", "\x00", "\ud800", "\uffff"):
            message = domish.Element((None, "message"), attribs={"to": "a@b"})
            message.addElement("body", content=text)
            self.assertRaises(ValueError, self.link.send, message)
        self.assertEqual(self.world.server.heard(), [])

    def test_answerNotXml(self) -> None:
        """Such text is not an answer either: the request stays open for another answer."""
        kept: list[Any] = []

        def take(element: Any) -> None:
            element.handled = True
            kept.append(element)

        self.does(take)
        self.world.say(iq())
        wrong = toResponse(kept[0], "result")
        wrong.addElement("x", content="\x01")
        self.assertRaises(ValueError, self.link.send, wrong)
        self.link.send(toResponse(kept[0], "result"))
        self.assertEqual(len(self.world.server.heard()), 1)

    def test_text(self) -> None:
        """Text and bytes are sent unchanged."""
        self.link.send("<message to='\u20ac'/>")
        self.link.send(b"<message to='b'/>")
        self.assertEqual([said[1]["to"] for said in self.world.server.heard()], ["\u20ac", "b"])

    def test_requestNotXml(self) -> None:
        """A request with such text is not sent, and no answer is awaited."""
        wrong = Request(JID("a@b"), stanzaType="get").toElement()
        wrong.addElement("x", content="\x01")
        self.assertRaises(ValueError, self.link.request, wrong)
        self.assertEqual((self.world.server.heard(), self.link.pending), ([], 0))

    def test_requestTimeout(self) -> None:
        """A Wokkel request keeps its own timeout; others get that of the lane."""
        short, usual = Request(JID("a@b"), stanzaType="get"), Request(JID("a@b"), stanzaType="get")
        short.timeout = 5
        first, second = self.link.request(short), self.link.request(usual)
        self.world.wait(4)
        self.assertNoResult(first)
        self.world.wait(3)
        self.assertEqual(self.failureResultOf(first, StanzaError).value.condition, "remote-server-timeout")
        self.world.wait(22)
        self.assertNoResult(second)
        self.world.wait(3)
        self.failureResultOf(second, StanzaError)

    def test_requestOnLostStream(self) -> None:
        """Open requests fail with the stream; forged answers to them are ignored."""
        answer = self.link.request(Request(JID("a@b"), stanzaType="get"))
        identifier = self.world.server.heard()[0][1]["id"]
        self.world.server.say(f"<iq from='evil@b' id='{identifier}' type='result'/>".encode())
        self.assertNoResult(answer)
        self.world.server.say(b"</stream:stream>")
        self.world.wait(0.1)
        self.failureResultOf(answer, StanzaError)

    def test_oddAnswerToRequest(self) -> None:
        """An error answer that Twisted cannot read ends the request, not the stream."""
        answer = self.link.request(Request(JID("a@b"), stanzaType="get"))
        identifier = self.world.server.heard()[0][1]["id"]
        self.world.server.say(f"<iq from='a@b' id='{identifier}' type='error'><error code='999'/></iq>".encode())
        self.failureResultOf(answer, StanzaError)
        self.assertTrue(self.link.ready)

    def test_handlerCannotBegin(self) -> None:
        """A handler that raises when the stream begins or ends does not affect the others."""
        world = World()

        class Failing(XMPPHandler):
            """Raises at each step."""

            def connectionInitialized(self) -> None:
                raise Fault

            def connectionLost(self, reason: Any) -> None:
                raise Fault

        Failing().setHandlerParent(world.link)
        PingHandler().setHandlerParent(world.link)
        world.up()
        self.assertEqual(world.say(iq(PING))[0][1]["type"], "result")
        world.server.say(b"</stream:stream>")
        world.wait(2)
        self.faults(2)
        self.assertEqual(len(world.endpoint.transports), 2)

    def test_removed(self) -> None:
        """A handler that is removed is not told of the next stream."""
        told = []
        handler = self.does(lambda element: None)
        self.patch(handler, "connectionInitialized", lambda: told.append(1))
        handler.disownHandlerParent(self.link)
        self.assertNotIn(handler, list(self.link))
        self.world.server.say(b"</stream:stream>")
        self.world.wait(2)
        self.world.server.accept()
        self.assertEqual(told, [])
