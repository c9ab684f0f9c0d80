"""The tour: its output, and its end if a check fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.words.protocols.jabber.xmlstream import STREAM_END_EVENT, Authenticator, XmlStream
from twisted.words.xish import domish
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.delegation.tour import show
from gateway.embedded.login import Client
from gateway.embedded.store import HostFolder
from gateway.interfaces import IGuide, ITourStop
from gateway.tour import command
from gateway.tour.guide import Guide, Mailbox, TourFailed
from tests.embedded.loopback import IMPLEMENTATION, LoopbackCase


class LoggedIn:
    """A logged-in client, on a stream in memory."""

    jid = "alice@h/tour"

    def __init__(self, clock: Clock) -> None:
        self.xmlstream = XmlStream(Authenticator())
        self.xmlstream.transport = StringTransport()
        self.xmlstream._callLater = clock.callLater
        self.sent: list[domish.Element] = []
        self.xmlstream.send = self.sent.append

    def answer(self, kind: str = "result", payload: str = "") -> None:
        """Answer the newest request."""
        request = self.sent[-1]
        answer = domish.Element((None, "iq"))
        answer["type"], answer["id"], answer["from"] = kind, request["id"], request["to"]
        answer.addRawXml(payload)
        text = f"<s xmlns='{ns.CLIENT}'>{answer.toXml()}</s>"
        stream = domish.elementStream()
        found: list[domish.Element] = []
        stream.DocumentStartEvent, stream.DocumentEndEvent = (lambda root: None), (lambda: None)
        stream.ElementEvent = found.append
        stream.parse(text.encode())
        self.xmlstream.dispatch(found[0])


def _message(body: str) -> domish.Element:
    message = domish.Element((ns.CLIENT, "message"))
    message.addElement("body", content=body)
    return message


@implementer(ITourStop)
class Plugin:
    """A plugin whose tour is a function of the test."""

    kind = "shown"

    def __init__(self, show: Any) -> None:
        self._show = show

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {}

    def tour(self, guide: Guide, jid: str) -> Any:
        return self._show(guide, jid)


class Silent:
    """A plugin without a tour."""

    kind = "shown"


class GuideTests(SynchronousTestCase):
    """The guide."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.client = LoggedIn(self.clock)
        self.written: list[str] = []
        self.mailbox = Mailbox()
        self.guide = Guide(cast(Client, self.client), self.mailbox, self.written.append, self.clock, self.nobody)

    async def nobody(self) -> None:
        """Return no second client."""

    def ask(self) -> Deferred[domish.Element]:
        return ensureDeferred(self.guide.ask("c.h", "<ping xmlns='urn:xmpp:ping'/>"))

    def test_interface(self) -> None:
        """It provides the interface for plugins, and has the address that it is logged in as."""
        verifyObject(IGuide, self.guide)
        self.assertEqual(self.guide.jid, "alice@h/tour")

    def test_say(self) -> None:
        """Text is wrapped for a terminal."""
        self.guide.say("word " * 100)
        self.assertLessEqual(max(map(len, "".join(self.written).splitlines())), 100)
        self.assertEqual("".join(self.written).split(), ["word"] * 100)

    def test_ask(self) -> None:
        """Request and answer are printed as XML."""
        asked = self.ask()
        [request] = self.client.sent
        self.assertEqual((request["type"], request["to"]), ("get", "c.h"))
        self.client.answer(payload="<x xmlns='urn:x'>&lt;</x>")
        self.assertEqual(self.successResultOf(asked)["type"], "result")
        sent, came = self.written
        self.assertRegex(sent, "^  -> <iq ")
        self.assertIn("<ping xmlns='urn:xmpp:ping'/>", sent.replace('"', "'"))
        self.assertRegex(came, "^  <- <iq ")
        self.assertIn("&lt;", came)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_send(self) -> None:
        """A sent stanza is printed; no answer is waited for."""
        self.guide.send("<presence to='room@c.h/nick'/>")
        self.assertEqual(self.client.sent, ["<presence to='room@c.h/nick'/>"])
        [shown] = self.written
        self.assertEqual(shown.replace('"', "'"), "  -> <presence to='room@c.h/nick'/>\n")

    def test_error(self) -> None:
        """An error is an answer as well."""
        asked = self.ask()
        self.client.answer("error", f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>")
        self.assertEqual(self.successResultOf(asked)["type"], "error")
        self.assertIn("item-not-found", self.written[1])

    def test_noAnswer(self) -> None:
        """A missing answer ends the tour; the text names the recipient."""
        asked = self.ask()
        self.clock.advance(14.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertIn("c.h did not answer", str(self.failureResultOf(asked, TourFailed).value))

    def test_lost(self) -> None:
        """A lost connection ends the tour with an explanation."""
        asked = self.ask()
        self.client.xmlstream.dispatch(None, STREAM_END_EVENT)
        self.assertIn("lost", str(self.failureResultOf(asked, TourFailed).value))

    def test_check(self) -> None:
        """A promise that holds is printed; one that does not hold ends the tour."""
        self.guide.check(True, "water is wet")
        self.assertEqual(self.written, ["  ok: water is wet\n"])
        raised = self.assertRaises(TourFailed, self.guide.check, False, "fire is cold")
        self.assertIn("fire is cold", str(raised))

    def test_hear(self) -> None:
        """An unsolicited stanza is returned once, also if it came earlier; one that does not come ends the tour."""
        for body in ("a", "b"):
            self.mailbox.came(_message(body))
        for body in ("b", "a"):
            heard = ensureDeferred(self.guide.hear(lambda stanza, body=body: str(stanza.body) == body, "it"))
            self.assertEqual(str(self.successResultOf(heard).body), body)
        later = ensureDeferred(self.guide.hear(lambda stanza: str(stanza.body) == "b", "the next one"))
        self.mailbox.came(_message("c"))
        self.assertNoResult(later)
        self.mailbox.came(_message("b"))
        self.successResultOf(later)
        self.assertIn("  ok: the next one\n", self.written)
        vain = ensureDeferred(self.guide.hear(lambda stanza: False, "water"))
        self.clock.advance(15.1)
        self.assertIn("water", str(self.failureResultOf(vain, TourFailed).value))
        self.mailbox.came(_message("after that"))

    def test_friend(self) -> None:
        """If there is no second account, C{None} is returned."""
        self.assertIsNone(self.successResultOf(ensureDeferred(self.guide.friend())))

    def test_served(self) -> None:
        """A service that has just started is waited for, up to a limit."""
        served = ensureDeferred(self.guide.served("c.h"))
        error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.client.answer("error", error)
        self.assertNoResult(served)
        self.clock.advance(0.5)
        self.client.answer()
        self.successResultOf(served)
        self.assertEqual((len(self.client.sent), self.written), (2, []))

    def test_neverServed(self) -> None:
        """After the limit the request shows the error."""
        served = ensureDeferred(self.guide.served("c.h"))
        for _ in range(40):
            if not served.called:
                self.client.answer("error", f"<error type='wait'><conflict xmlns='{ns.STANZA_ERRORS}'/></error>")
                self.clock.advance(0.5)
        self.successResultOf(served)
        self.assertGreaterEqual(self.clock.seconds(), 15)


class MainTests(SynchronousTestCase):
    """The command."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)

    def ended(self, *arguments: str) -> str:
        """Return the text with which the command ends."""
        run = command.main(list(arguments), lambda text: None)
        failure = self.failureResultOf(ensureDeferred(run(MemoryReactorClock())), SystemExit)
        self.assertIsInstance(failure.value.code, str)
        return str(failure.value)

    def test_notRun(self) -> None:
        """If no gateway has run here, the text explains how to start one."""
        self.assertRegex(
            self.ended(),
            "is not the state folder of an embedded host.*in the folder of the gateway.*twistd -n gateway",
        )

    def test_realServer(self) -> None:
        """A configuration with a server has no embedded host."""
        Path("gateway.toml").write_text(
            "[server]\nendpoint = 'tcp:h:1'\nsecret = 's'\n[proxy.'p.h']\ntarget = 'a@h'\n"
        )
        self.assertIn("for a real server", self.ended())
        self.assertIn("for a real server", self.ended("--config", "gateway.toml"))

    def test_badConfiguration(self) -> None:
        """Errors of the configuration are reported."""
        Path("other.toml").write_text("[embedded]\nnonsense = 1\n")
        self.assertIn("nonsense", self.ended("--config", "other.toml"))
        self.assertIn("gone.toml", self.ended("--config", "gone.toml"))

    def test_noCertificate(self) -> None:
        """Without the host's certificate the client trusts no server, and sends no password."""
        os.mkdir("state")
        (Path("state") / "embedded.json").write_text('{"domain":"h","c2s":"tcp:h:1","accounts":{},"services":{}}')
        self.assertIn("embedded.pem", self.ended())


class TourTests(LoopbackCase):
    """The whole tour, on a running host."""

    async def setUp(self) -> None:
        await super().setUp()
        self.written: list[str] = []
        self.certificate = self.host.certificate
        self.running = evolve(self.place, services={"shown": [IMPLEMENTATION], "other": ["other.localhost"]})

    async def ended(self, plugins: list[object], token: str | None = None, **changes: Any) -> str:
        """Run the tour; return the reason if it ended early."""
        self.patch(command, "findPlugins", lambda: plugins)
        try:
            place = evolve(self.running, **changes)
            session = command.TourSession(place, self.certificate, token, self.written.append, reactor)
            await command.tour(session, place, self.written.append)
        except TourFailed as error:
            return str(error)
        return ""

    async def test_shows(self) -> None:
        """Each running service with a tour is named and demonstrated, by an ordinary client."""

        async def show(guide: Guide, jid: str) -> None:
            answer = await guide.ask(jid, f"<ping xmlns='{ns.PING}'/>")
            guide.check(answer["type"] == "result", f"{guide.jid} was answered")

        self.assertEqual(await self.ended([Plugin(show), Silent()]), "")
        text = "".join(self.written)
        self.assertIn(f"=== shown: {IMPLEMENTATION} ===", text)
        self.assertIn("ok: alice@localhost/tour was answered", text)
        self.assertNotIn("other.localhost", text)
        self.assertIn("This is the end of the tour", text)
        self.assertNotIn(self.place.accounts["alice"], text)

    async def test_friend(self) -> None:
        """The second client is logged in to another account, once; its stanzas are printed with its name."""

        async def show(guide: Guide, jid: str) -> None:
            friend = await guide.friend()
            assert friend is not None
            self.assertIs(await guide.friend(), friend)
            guide.check(friend.jid == "bob@localhost/tour", "it is bob")
            await friend.ask("localhost", f"<ping xmlns='{ns.PING}'/>")
            guide.say("done")

        self.assertEqual(await self.ended([Plugin(show)]), "")
        self.assertRegex("".join(self.written), "  bob -> <iq ")
        accounts = {"alice": self.place.accounts["alice"]}

        async def alone(guide: Guide, jid: str) -> None:
            guide.check(await guide.friend() is None, "it is alone")

        self.assertEqual(await self.ended([Plugin(alone)], accounts=accounts), "")

    async def test_web(self) -> None:
        """HTTP requests are sent with the token, and printed; a failed request ends the tour."""
        root, asked = Resource(), []

        class Shown(Resource):
            isLeaf = True

            def render_POST(self, request: Any) -> bytes:
                asked.append((request.getHeader("authorization"), request.content.read()))
                request.setResponseCode(202)
                return b"heard"

        root.putChild(b"here", Shown())
        port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        self.addCleanup(port.stopListening)

        async def show(guide: Guide, jid: str) -> None:
            self.assertEqual(await guide.web("POST", "/here", "[1]"), (202, "heard"))

        url = f"http://127.0.0.1:{port.getHost().port}"
        self.assertEqual(await self.ended([Plugin(show)], token="t", web=url), "")
        self.assertEqual(asked, [("Bearer t", b"[1]")])
        self.assertIn(f"  -> POST {url}/here\n     [1]\n", self.written)
        self.assertIn("  <- 202\n     heard\n", self.written)
        ended = await self.ended([Plugin(show)], web="http://127.0.0.1:1")
        self.assertIn("POST http://127.0.0.1:1/here failed: ", ended)

    async def test_nothing(self) -> None:
        """If no service has a tour, the text says so."""
        self.assertEqual(await self.ended([Silent()]), "")
        self.assertIn("No service that takes part in the tour is running", self.written[-1])

    async def test_loggedIn(self) -> None:
        """The login is reported when it is complete."""
        await self.ended([], accounts={"alice": "wrong"})
        self.assertEqual(self.written, [])
        await self.ended([])
        self.assertIn("The tour logs in as alice@localhost/tour", self.written[0])

    async def test_noPrivateStorage(self) -> None:
        """If private storage is not delegated, its part of the tour names the missing configuration."""
        ended = await self.ended([Plugin(show)])
        self.assertIn("offers private storage", ended)
        self.assertIn("to [embedded.delegations] and to the namespaces of", " ".join("".join(self.written).split()))

    async def test_failed(self) -> None:
        """A failed check ends the tour, and logs the client out."""

        async def show(guide: Guide, jid: str) -> None:
            guide.check(False, "fire is cold")

        self.assertIn("fire is cold", await self.ended([Plugin(show)]))
        await self.until(lambda: not self.host._router.accounts["alice@localhost"].sessions)

    async def test_cannotLogIn(self) -> None:
        """A wrong password, no listener, no account: each has a text."""
        self.assertIn("the login failed", await self.ended([], accounts={"alice": "wrong"}))
        self.assertIn("no account", await self.ended([], accounts={"implementation": "x"}))
        gone = HostFolder(Path(self.mktemp()))
        self.assertIsNone(gone.read())
        self.assertIn("twistd -n gateway", await self.ended([], c2s="tcp:127.0.0.1:1"))
