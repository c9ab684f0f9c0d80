"""A link asks its server for its software, and tests whether requests arrive."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import NS_XMPP_STANZAS

from gateway import ns
from gateway.stream.survey import Survey
from tests.reports import sentences
from tests.stream.memory import JID, World

DOMAIN = "example.com"


class SurveyTests(SynchronousTestCase):
    """Servers that answer, refuse, or are silent."""

    def setUp(self) -> None:
        self.world = World(domain=DOMAIN)
        self.survey = Survey(DOMAIN, JID, self.world.clock)
        self.survey.setHandlerParent(self.world.link)
        self.found: list[tuple[str, bool]] = []
        self.survey.watch(lambda: self.found.append((self.survey.software, self.survey.isLossy)))
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.world.up()
        self.world.wait(1.1)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "gateway.stream.survey.Survey":
            self.logged.append(event["loss"])

    def answer(self, to: str, outcome: str) -> None:
        """Answer the last request to this address with an attribute and content."""
        asked = [about for _, about, _ in self.world.server.heard() if about.get("to") == to]
        addresses = f"from='{to}' to='{JID}' id='{asked[-1]['id']}'"
        self.world.say(f"<iq {addresses} {outcome}</iq>".encode())

    def tells(self, name: str, version: str) -> None:
        content = f"<name>{name}</name><version>{version}</version><os>Linux</os>"
        self.answer(DOMAIN, f"type='result'><query xmlns='{ns.VERSION}'>{content}</query>")

    def refuses(self, to: str, condition: str = "service-unavailable") -> None:
        self.answer(to, f"type='error'><error type='cancel'><{condition} xmlns='{NS_XMPP_STANZAS}'/></error>")

    def pongs(self) -> None:
        self.refuses(f"{DOMAIN}/ping", "item-not-found")

    def again(self) -> None:
        """Break the connection, and connect again."""
        self.world.server.lose(ConnectionLost())
        self.world.wait(5)
        self.world.server.accept()
        self.world.wait(1.1)

    def test_asks(self) -> None:
        """One request for the software, and one that always arrives, a second after the connection."""
        asked = [(about["to"], children[0][0]) for _, about, children in self.world.server.heard()]
        self.assertEqual(asked, [(DOMAIN, f"{{{ns.VERSION}}}query"), (f"{DOMAIN}/ping", f"{{{ns.PING}}}ping")])

    def test_told(self) -> None:
        """The server's description is shown on one line, with limited length."""
        self.tells("Prosody", "13.0.7")
        self.pongs()
        self.world.wait(10)
        self.assertEqual(self.found, [("Prosody 13.0.7", False)])
        self.assertEqual(sentences(self.survey.report()), ["example.com is Prosody 13.0.7"])
        self.assertFalse(self.survey.isEjabberd)
        self.assertEqual(self.world.link.software, "Prosody 13.0.7")
        self.again()
        self.tells("ejabberd", f"2&#10;{'6' * 100}")
        self.assertTrue(self.survey.isEjabberd)
        [line] = sentences(self.survey.report())
        self.assertLess(len(line), 80)
        self.assertNotIn("\n", line)

    def test_refused(self) -> None:
        """A server that refuses has received the request."""
        self.pongs()
        self.refuses(DOMAIN)
        self.world.wait(10)
        self.assertEqual((self.found, self.logged), ([("", False)], []))
        self.assertEqual(sentences(self.survey.report()), [])

    def test_nonsense(self) -> None:
        """An answer without content is an answer."""
        self.answer(DOMAIN, "type='result'>")
        self.assertEqual(self.found, [("", False)])

    def test_lossy(self) -> None:
        """If only the first request is lost and the second is answered, the consequence is logged once."""
        self.pongs()
        self.world.wait(2.8)
        self.assertEqual(self.found, [])
        self.world.wait(0.4)
        self.assertEqual(self.found, [("", True)])
        self.assertTrue(self.survey.isEjabberd)
        self.assertEqual(self.world.link.software, "ejabberd")
        # A link that stops has nothing to wait for.
        self.assertEqual(self.world.link.pending, 0)
        self.assertEqual(self.logged, sentences(self.survey.report()))
        for part in (
            "example.com drops requests of this component",
            'mod_privilege: {iq: {"urn:xmpp:ping": {get: none}}}',
        ):
            self.assertIn(part, self.logged[0])
        self.again()
        self.pongs()
        self.world.wait(4)
        self.assertEqual((self.found[1:], len(self.logged)), ([("", True)], 1))
        # It grants something now.
        self.again()
        self.tells("ejabberd", "26.07")
        self.assertEqual(sentences(self.survey.report()), ["example.com is ejabberd 26.07"])

    def test_conflict(self) -> None:
        """While another gateway gets a part of the answers, nothing is concluded from those that are missing."""
        self.pongs()
        self.world.link.conflict = "another gateway is connected"
        self.world.wait(4)
        self.assertEqual((self.found, self.logged), ([], []))
        self.world.link.conflict = ""
        self.again()
        self.pongs()
        self.world.wait(4)
        self.assertEqual(len(sentences(self.survey.report())), 1)
        for setting in ({"conflict": "another gateway is connected"}, {"conflict": "", "shared": True}):
            for name, value in setting.items():
                setattr(self.world.link, name, value)
            self.assertEqual(sentences(self.survey.report()), [])

    def test_slow(self) -> None:
        """A server that answers neither request, or answers a little later, is not reported."""
        self.world.wait(20)
        self.tells("Prosody", "0.12.3")
        self.pongs()
        self.world.wait(5)
        self.assertEqual(self.found, [("Prosody 0.12.3", False)])
        self.again()
        self.pongs()
        self.world.wait(2)
        self.tells("Prosody", "0.12.3")
        self.world.wait(5)
        self.again()
        self.world.wait(40)
        self.assertEqual((self.found[1:], self.logged), ([("Prosody 0.12.3", False)], []))

    def test_lost(self) -> None:
        """If the connection is lost meanwhile, nothing is concluded about the next server."""
        self.pongs()
        self.world.wait(1)
        self.again()
        self.world.wait(4)
        self.assertEqual((self.found, self.logged), ([], []))
        self.world.server.lose(ConnectionLost())
        self.world.wait(2)
        self.world.server.accept()
        before = len(self.world.server.heard())
        self.world.server.lose(ConnectionLost())
        self.world.wait(2)
        self.assertEqual(before, 0)
