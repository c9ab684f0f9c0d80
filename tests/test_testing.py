"""The tools for tests of plugins."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import ParseError

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from wokkel.generic import VersionHandler

from gateway.config import ConfigError
from gateway.interfaces import IDelegatedRequest
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza
from gateway.testing import (
    MemoryGateway,
    MemoryServer,
    canonical,
    children,
    delegated,
    delegatedRequest,
    forwarded,
    request,
    stanzas,
)
from gateway.testing.wire import HEADER

JID = "service.example.com"
JULIET = "juliet@example.com/balcony"
PRIVATE = "<query xmlns='jabber:iq:private'><x xmlns='urn:x'>{}</x></query>"
ROOMS = '[rooms."rooms.example.com"]\n'
STORAGE = f"""
[delegation."{JID}"]
servers = ["example.com"]
namespaces = {{ "jabber:iq:private" = {{ handler = "private-storage" }} }}
"""


class Recorder(RawHandler):
    """A raw handler that takes every message."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def stanzaReceived(self, stanza: Stanza) -> bool:
        self.seen.append(stanza.raw)
        return stanza.name == "message"


class WireTests(SynchronousTestCase):
    """XML."""

    def test_canonical(self) -> None:
        """Spelling does not matter; names, attributes and text do."""
        same = canonical("""<iq to="a"  from='b'><q xmlns='urn:q'>&#x41;</q></iq>""")
        self.assertEqual(same, canonical("<iq from='b' to='a'><p:q xmlns:p='urn:q'>A</p:q></iq>"))
        self.assertEqual(len(canonical("<iq/> <message/>")), 2)
        for other in ("<iq from='b'/>", "<iq from='b' to='a'><q xmlns='urn:r'>A</q></iq>", "<presence/>"):
            self.assertNotEqual(same, canonical(other))

    def test_children(self) -> None:
        """Complete elements are returned; broken XML is an error, not silence."""
        self.assertEqual([each.tag for each in children(b"<a><b/><c><d/></c><e>")], ["b", "c"])
        self.assertRaises(ParseError, list, children(b"<a><b/></c>"))

    def test_stanzas(self) -> None:
        """Several stanzas, in order."""
        self.assertEqual([each.name for each in stanzas("<iq/><message/>")], ["iq", "message"])


class ServerTests(SynchronousTestCase):
    """One link and its server."""

    def setUp(self) -> None:
        self.server = MemoryServer(JID)
        self.addCleanup(self.server.stop)

    def test_raw(self) -> None:
        """A raw handler gets stanzas; what it does not take is answered by the link."""
        handler = Recorder()
        handler.setHandlerParent(self.server.link)
        self.server.start()
        message = f"<message from='{JULIET}' to='{JID}'/>"
        self.assertEqual(self.server.ask(message), [])
        [refused] = self.server.ask(f"<iq type='get' id='1' from='{JULIET}' to='{JID}'><q xmlns='urn:q'/></iq>")
        self.assertEqual((refused.get("type"), refused.get("to")), ("error", JULIET))
        self.assertEqual(handler.seen[0], message.encode())

    def test_brokenAndRestored(self) -> None:
        """A link without a server tries again, and what it sends then is received after the reconnection."""
        self.server.start()
        self.server.endpoint.mode = "refuse"
        self.server.lose()
        self.server.wait(40)
        self.assertFalse(self.server.link.ready)
        self.assertGreater(self.server.endpoint.attempts, 2)
        self.server.restore()
        self.assertTrue(self.server.link.ready)
        self.assertEqual(self.server.connections, 2)
        self.server.link.sendRaw(b"<message to='juliet@example.com'/>")
        self.server.wait(1)
        self.assertEqual(self.server.taken(), canonical("<message to='juliet@example.com'/>"))
        self.assertEqual(self.server.taken(), [])

    def test_notLost(self) -> None:
        """A link that is up, or not started, cannot be restored; the error says why."""
        self.assertIn("not started", str(self.assertRaises(AssertionError, MemoryServer(JID).restore)))
        self.server.start()
        self.assertIn("not lost", str(self.assertRaises(AssertionError, self.server.restore)))

    def test_stop(self) -> None:
        """A stop ends within the clock's time."""
        self.server.start()
        self.successResultOf(self.server.stop())
        self.assertTrue(self.server.transport.lost)


class GatewayTests(SynchronousTestCase):
    """The whole gateway."""

    def make(self, tables: str) -> MemoryGateway:
        gateway = MemoryGateway(self.mktemp(), tables)
        self.addCleanup(gateway.stop)
        return gateway

    def test_server(self) -> None:
        """Without a host there is a default server; a table of the test's own is used instead."""
        side = self.make(ROOMS).server("rooms.example.com")
        self.assertEqual(side.place[1], 5347)
        own = '[server]\nendpoint = "tcp:xmpp.example.org:5275"\nsecret = "x"\n'
        self.assertEqual(self.make(ROOMS + own).server("rooms.example.com").place, ("xmpp.example.org", 5275))

    def test_noSuchComponent(self) -> None:
        """A component that has not connected is an error that names those which have."""
        error = self.assertRaises(AssertionError, self.make(ROOMS).server, "room.example.com")
        self.assertIn("rooms.example.com", str(error))

    def test_refused(self) -> None:
        """Errors of a configuration are errors of the test."""
        self.assertRaises(ConfigError, MemoryGateway, self.mktemp(), "[romos]\n")

    def test_outage(self) -> None:
        """While connections are refused a component is down, which its status page tells."""
        gateway = self.make(ROOMS)
        server = gateway.server("rooms.example.com")
        self.assertEqual(gateway.request("GET", "/readyz").status, 200)
        gateway.refuses = True
        server.lose()
        gateway.wait(10)
        self.assertEqual(gateway.request("GET", "/readyz").status, 503)
        gateway.refuses = False
        self.assertIsNotNone(gateway.until(lambda: gateway.request("GET", "/readyz").status == 200))
        self.assertTrue(server.isGone)
        self.assertFalse(gateway.server("rooms.example.com").isGone)

    def test_until(self) -> None:
        """The time until something happens, or None."""
        gateway = self.make(ROOMS)
        self.assertEqual(gateway.until(lambda: gateway.reactor.seconds() >= 3), 3)
        self.assertIsNone(gateway.until(lambda: False, 2))

    def test_calls(self) -> None:
        """A request of the gateway to a web application, and its answer."""
        url = "http://web.example.net/contacts/%s"
        gateway = self.make(f'[roster."{JID}"]\ndomain = "example.com"\nurl = "{url}"\n')
        gateway.server(JID)
        answer = gateway.request("POST", "/roster_admin/refresh", b'["juliet"]')
        self.assertIsNone(answer.status)
        [call] = gateway.calls()
        self.assertEqual((call.method, call.path, call.place), ("GET", "/contacts/juliet", ("127.0.0.1", 80)))
        self.assertEqual(gateway.calls(), [])
        call.reply([], 404)
        self.assertIsNotNone(gateway.until(lambda: answer.status))
        self.assertIn("status 404", answer.body["failed"]["juliet"])

    def test_delegated(self) -> None:
        """A delegated request, and the iq in its answer."""
        server = self.make(STORAGE).server(JID)
        [answer] = server.ask(delegated("<a xmlns='jabber:iq:private'/>", JID, "set", identifier="<'7'>"))
        self.assertEqual((answer.get("type"), answer.get("id")), ("result", "<'7'>"))
        inner = forwarded(answer)
        self.assertEqual((inner.get("type"), inner.get("id"), inner.get("to")), ("error", "<'7'>", JULIET))


class DelegationTests(SynchronousTestCase):
    """Delegated requests for a handler."""

    def test_request(self) -> None:
        """It is the real request, as the handler gets it."""
        made: Any = delegatedRequest(PRIVATE.format("&lt;"), "set", JULIET, "example.com", "7")
        self.assertTrue(IDelegatedRequest.providedBy(made))
        self.assertEqual(
            (made.type, made.requester, made.entity, made.id, made.namespace),
            ("set", JULIET, "example.com", "7", "jabber:iq:private"),
        )
        self.assertEqual(made.xml.decode(), PRIVATE.format("&lt;"))
        self.assertEqual(str(next(made.payload.elements())), "<")

    def test_ownAccount(self) -> None:
        """Without a recipient it is for the requester's account."""
        self.assertEqual(delegatedRequest("<q xmlns='urn:q'/>", requester=JULIET).entity, "juliet@example.com")

    def test_forwarded(self) -> None:
        """An answer without a forwarded iq is a failure of the test that says what came."""
        [refused] = children((HEADER + "<iq type='error'/>").encode())
        error = self.assertRaises(AssertionError, forwarded, refused)
        self.assertIn("error", str(error))


class HttpTests(SynchronousTestCase):
    """A site without a gateway."""

    def test_request(self) -> None:
        """Method, path, headers and body reach the resource."""

        class Echo(Resource):
            isLeaf = True

            def render_POST(self, asked: Any) -> bytes:
                kind = asked.getHeader("X-Kind").encode()
                return b'{"said": "%b %b %b"}' % (asked.path, kind, asked.content.read())

        clock: Any = Clock()
        answer = request(Site(Echo(), reactor=clock), clock, "POST", "/a?b", b"{}", X_Kind="odd")
        self.assertEqual((answer.status, answer.body), (200, {"said": "/a odd {}"}))
        self.assertEqual(answer.headers["content-type"], "text/html")

    def test_chunked(self) -> None:
        """An answer without a length is decoded."""

        class Pieces(Resource):
            isLeaf = True

            def render_GET(self, asked: Any) -> int:
                asked.write(b"one ")
                asked.write(b"two")
                asked.finish()
                return NOT_DONE_YET

        clock: Any = Clock()
        answer = request(Site(Pieces(), reactor=clock), clock, "GET", "/")
        self.assertEqual((answer.status, answer.text), (200, "one two"))

    def test_unknown(self) -> None:
        """A path without a resource."""
        clock: Any = Clock()
        self.assertEqual(request(Site(Resource(), reactor=clock), clock, "GET", "/").status, 404)


class HandlerTests(SynchronousTestCase):
    """An ordinary handler."""

    def test_wokkel(self) -> None:
        """It answers as on a real server."""
        server = MemoryServer(JID)
        self.addCleanup(server.stop)
        VersionHandler("Example", "1").setHandlerParent(server.link)
        server.start()
        [answer] = server.ask(
            f"<iq type='get' id='1' from='{JULIET}' to='{JID}'><query xmlns='jabber:iq:version'/></iq>"
        )
        self.assertEqual(answer.findtext("*/{jabber:iq:version}name"), "Example")
