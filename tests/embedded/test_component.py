"""Components of the host: the accepting side of XEP-0114."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.embedded.peer import MAX_STANZA
from tests.embedded.support import COMPONENT, DOMAIN, SECRET, Component, Host

MESSAGE = f"<message from='{COMPONENT}' to='alice@{DOMAIN}/r' id='m'/>"


class ComponentCase(SynchronousTestCase):
    """A host, and a connected component."""

    def setUp(self) -> None:
        self.host = Host()
        self.component = self.connected()

    def connected(self) -> Component:
        return Component(self.host.clock, self.host.componentConnection())

    def assertEnded(self, component: Component, heard: list[str], condition: str) -> None:
        """Check that the stream ended with this error, and that the connection is closed."""
        self.assertEqual(heard, [f"error {condition}"])
        self.assertTrue(component.value().endswith(b"</stream:stream>"))
        self.host.clock.advance(0)
        self.assertTrue(component.lost)


class HandshakeTests(ComponentCase):
    """The handshake."""

    def test_right(self) -> None:
        """A header with its name and an id, then the handshake, then stanzas in both directions."""
        self.assertEqual(self.component.logIn(COMPONENT, SECRET), ["handshake"])
        self.assertIn(f"from='{COMPONENT}'".encode(), self.component.value())
        self.assertIs(self.host.router.components[COMPONENT], self.component.protocol)
        alice = self.host.online("alice/r")
        self.component.send(MESSAGE)
        self.assertEqual(alice.taken(), [f"message m {COMPONENT} > alice@{DOMAIN}/r"])
        alice.send(f"<message to='n@{COMPONENT}/r' id='b'/>")
        self.assertEqual(self.component.taken(), [f"message b alice@{DOMAIN}/r > n@{COMPONENT}/r"])

    def test_name(self) -> None:
        """Any spelling of a domain is accepted."""
        self.assertEqual(self.component.logIn(COMPONENT.upper(), SECRET), ["handshake"])
        self.assertIsNotNone(self.host.router.components[COMPONENT])

    def test_wrong(self) -> None:
        """A wrong secret, and text that is not a digest."""
        self.assertEnded(self.component, self.component.logIn(COMPONENT, "wrong"), "not-authorized")
        for text in ("", "x" * 40, "ä", "<x/>", "<x xmlns='a b'/>"):
            component = self.connected()
            component.header()
            self.assertEnded(component, component.send(f"<handshake>{text}</handshake>"), "not-authorized")
        self.assertIsNone(self.host.router.components[COMPONENT])

    def test_unknown(self) -> None:
        """Only configured components are accepted; the host itself is not one."""
        for jid in ("other.h.example", DOMAIN, "", "<&amp;"):
            component = self.connected()
            component.header(jid.replace("<", "&lt;"))
            self.assertEnded(component, component.taken(), "host-unknown")

    def test_namespace(self) -> None:
        """A client that connects to the port for components is refused."""
        heard = self.component.send(
            f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{DOMAIN}'>"
        )
        self.assertEnded(self.component, heard, "invalid-namespace")

    def test_conflict(self) -> None:
        """A second connection of a component is refused; after the first has ended it is accepted."""
        self.component.logIn(COMPONENT, SECRET)
        late = self.connected()
        self.assertEnded(late, late.logIn(COMPONENT, SECRET), "conflict")
        self.assertIs(self.host.router.components[COMPONENT], self.component.protocol)
        self.component.lose(ConnectionError())
        self.assertIsNone(self.host.router.components[COMPONENT])
        self.assertEqual(self.connected().logIn(COMPONENT, SECRET), ["handshake"])

    def test_early(self) -> None:
        """A stanza before the handshake ends the stream, and is not delivered."""
        alice = self.host.online("alice/r")
        self.component.header()
        self.assertEnded(self.component, self.component.send(MESSAGE), "not-authorized")
        self.assertEqual(alice.taken(), [])

    def test_sameSegment(self) -> None:
        """Stanzas that arrive with the handshake are handled if it is right, and not if it is wrong."""
        alice = self.host.online("alice/r")
        self.component.logIn(COMPONENT, "wrong", MESSAGE)
        self.assertEqual(alice.taken(), [])
        self.assertEqual(self.connected().logIn(COMPONENT, SECRET, MESSAGE * 2), ["handshake"])
        self.assertEqual(alice.taken(), [f"message m {COMPONENT} > alice@{DOMAIN}/r"] * 2)

    def test_twice(self) -> None:
        """A second handshake is an unknown element, like any other that is not a stanza."""
        for xml in ("<handshake/>", "<x xmlns='urn:x'/>"):
            component = self.connected()
            component.logIn(COMPONENT, SECRET)
            self.assertEnded(component, component.send(xml), "unsupported-stanza-type")
            self.assertIsNone(self.host.router.components[COMPONENT])


class StanzaTests(ComponentCase):
    """Stanzas of a component."""

    def setUp(self) -> None:
        super().setUp()
        self.component.logIn(COMPONENT, SECRET)

    def test_from(self) -> None:
        """A component may use any address of its own; another address ends the stream."""
        alice = self.host.online("alice/r")
        for sender in (COMPONENT, f"n@{COMPONENT}", f"n@{COMPONENT}/r", f"{COMPONENT}/r"):
            self.component.send(f"<message from='{sender}' to='alice@{DOMAIN}/r'/>")
            self.assertEqual(alice.taken(), [f"message {sender} > alice@{DOMAIN}/r"])
        for sender in (
            DOMAIN,
            f"alice@{DOMAIN}/r",
            f"sub.{COMPONENT}",
            f"{COMPONENT}@{DOMAIN}",
            f"x/{COMPONENT}",
            "@",
        ):
            component = self.component
            heard = component.send(f"<message from='{sender}' to='alice@{DOMAIN}/r'/>{MESSAGE}")
            self.assertEnded(component, heard, "invalid-from")
            self.assertEqual(alice.taken(), [])
            self.component = self.connected()
            self.component.logIn(COMPONENT, SECRET)

    def test_errors(self) -> None:
        """Errors come from the recipient and go to the sender, with the addresses as in the stanza."""
        for to, condition in (
            (f"nobody@{DOMAIN}", "service-unavailable"),
            (f"alice@{DOMAIN}/gone", "service-unavailable"),
            ("a@elsewhere.example", "remote-server-not-found"),
            ("a b@x", "jid-malformed"),
        ):
            heard = self.component.send(f"<iq from='N@{COMPONENT}/R' to='{to}' id='1' type='get'><x/></iq>")
            self.assertEqual(heard, [f"iq error 1 {to} > N@{COMPONENT}/R {condition}"])

    def test_noAnswers(self) -> None:
        """Errors and results are never answered."""
        for xml in (
            "<iq type='error' id='1'",
            "<iq type='result' id='1'",
            "<message type='error'",
            "<presence type='error'",
        ):
            self.assertEqual(self.component.send(f"{xml} from='{COMPONENT}' to='nobody@{DOMAIN}'/>"), [])

    def test_badIq(self) -> None:
        """An iq without an id, or with an unknown type, gets bad-request."""
        for xml in ("<iq type='get'><x/></iq>", "<iq id='1'><x/></iq>", "<iq id='1' type='x'><x/></iq>"):
            [heard] = self.component.send(xml)
            self.assertTrue(heard.endswith(f"{DOMAIN} > {COMPONENT} bad-request"), heard)

    def test_size(self) -> None:
        """The largest stanza for a client is accepted and delivered; a larger one is refused."""
        alice = self.host.online("alice/r")
        opening = f"<message from='{COMPONENT}' to='alice@{DOMAIN}/r'>"
        fill = "x" * (MAX_STANZA - 100)
        self.component.send(f"{opening}{fill}</message>")
        self.assertEqual(len(alice.taken()), 1)
        fill += "x" * 10_000
        self.assertEqual(
            self.component.send(f"{opening}{fill}</message>"),
            [f"message error alice@{DOMAIN}/r > {COMPONENT} not-acceptable"],
        )
        self.assertEqual(alice.taken(), [])
        fill *= 2
        self.assertEqual(
            self.component.send(f"{opening}{fill}</message>"),
            [f"message error alice@{DOMAIN}/r > {COMPONENT} policy-violation"],
        )
        self.assertFalse(self.component.disconnecting)

    def test_end(self) -> None:
        """If the component ends its stream, the host ends its own."""
        self.assertEqual(self.component.send("</stream:stream>"), [])
        self.assertTrue(self.component.value().endswith(b"</stream:stream>"))
        self.assertIsNone(self.host.router.components[COMPONENT])
