"""Stanzas of clients after the login, and their limits (RFC 6120 sections 8 and 10)."""

from __future__ import annotations

from typing import Any

from twisted.logger import globalLogPublisher

from gateway import ns
from gateway.embedded.peer import CLIENTS, MAX_STANZA, UNAUTHENTICATED
from tests.embedded.support import COMPONENT, DOMAIN, PASSWORDS, ClientCase

ALICE = f"alice@{DOMAIN}"


class StanzaTests(ClientCase):
    """Stanzas of a client."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.alice = self.host.online("alice/r")
        self.bob = self.host.online("bob/r")

    def test_from(self) -> None:
        """A stanza arrives with the full address of its sender, if it has one of the sender's addresses or none."""
        for given_ in ("", f" from='{ALICE}'", f" from='{ALICE}/r'", f" from='{ALICE.upper()}'"):
            self.alice.send(f"<message{given_} to='bob@{DOMAIN}/r' type='chat' id='1'><body>b</body></message>")
            [message] = self.bob.heard()
            self.assertEqual((message.get("from"), message[0].text), (f"{ALICE}/r", "b"))

    def test_spoofed(self) -> None:
        """A stanza with the address of another user ends the stream."""
        for sender in (f"bob@{DOMAIN}", f"{ALICE}/other", DOMAIN, "@", f"x{ALICE}", ""):
            alice = self.host.online("alice/x")
            heard = alice.send(f"<message from='{sender}' to='bob@{DOMAIN}/r'/><message to='bob@{DOMAIN}/r'/>")
            self.assertEnded(alice, heard, "invalid-from")
        self.assertEqual(self.bob.taken(), [])

    def test_errors(self) -> None:
        """Errors come from the address that the stanza was sent to."""
        for to, condition in (
            (f"nobody@{DOMAIN}", "service-unavailable"),
            (f"Bob@{DOMAIN}/gone", "service-unavailable"),
            (COMPONENT, "service-unavailable"),
            ("else.example", "remote-server-not-found"),
            ("a b@x", "jid-malformed"),
            (f"a@{'x' * 1_024}", "jid-malformed"),
        ):
            for xml, name in (("<iq type='get' id='1'", "iq"), ("<message id='1'", "message")):
                self.assertEqual(
                    self.alice.send(f"{xml} to='{to}'><x/></{name}>"),
                    [f"{name} error 1 {to} > {ALICE}/r {condition}"],
                )

    def test_presenceErrors(self) -> None:
        """Presence to an unreachable domain is answered as well."""
        self.assertEqual(
            self.alice.send("<presence to='else.example' id='1'/>"),
            [f"presence error 1 else.example > {ALICE}/r remote-server-not-found"],
        )

    def test_noAnswers(self) -> None:
        """An error or a result is never answered, whatever its address or content."""
        for start in (
            "<iq type='error' id='1'",
            "<iq type='result' id='1'",
            "<message type='error'",
            "<presence type='error'",
        ):
            for to in (f"nobody@{DOMAIN}", "else.example", "a b@x", f"bob@{DOMAIN}/gone", DOMAIN):
                self.assertEqual(self.alice.send(f"{start} to='{to}'/>"), [])
        self.assertEqual(self.alice.send("<iq type='result'/>"), [])

    def test_badIq(self) -> None:
        """An iq without an id, or with an unknown type, gets bad-request."""
        for xml in (
            "<iq type='get'/>",
            "<iq id='1'/>",
            "<iq id='1' type='x'/>",
            f"<iq to='bob@{DOMAIN}/r' type='set'/>",
        ):
            [heard] = self.alice.send(xml)
            self.assertTrue(heard.endswith(" bad-request"), heard)
        self.assertEqual(self.bob.taken(), [])

    def test_iq(self) -> None:
        """A request to a resource of another user, and its answer."""
        self.alice.send(f"<iq to='bob@{DOMAIN}/r' type='get' id='q'><x xmlns='urn:x'/></iq>")
        self.assertEqual(self.bob.taken(), [f"iq get q {ALICE}/r > bob@{DOMAIN}/r"])
        self.bob.send(f"<iq to='{ALICE}/r' type='result' id='q'/>")
        self.assertEqual(self.alice.taken(), [f"iq result q bob@{DOMAIN}/r > {ALICE}/r"])

    def test_unknown(self) -> None:
        """An unknown element ends the stream (RFC 6120 section 4.9.3.24)."""
        for xml in ("<x xmlns='urn:x'/>", "<stanza/>", f"<starttls xmlns='{ns.TLS}'/>"):
            client = self.host.online("carol/r")
            self.assertEnded(client, client.send(xml), "unsupported-stanza-type")

    def test_keepalive(self) -> None:
        """White space between stanzas is ignored."""
        for space in (" ", "\n", " \r\n\t" * 1_000):
            self.assertEqual(self.alice.send(space), [])
        self.assertEqual(self.alice.send(f" <message to='{ALICE}/r'/> "), [f"message {ALICE}/r > {ALICE}/r"])

    def test_broken(self) -> None:
        """XML that is not well-formed, or that XMPP forbids, ends the stream."""
        for xml, condition in (
            ("<message></iq>", "not-well-formed"),
            ("<!-- x -->", "restricted-xml"),
            ("<message>&x;</message>", "restricted-xml"),
        ):
            client = self.host.online("carol/r")
            self.assertEnded(client, client.send(xml), condition)

    def test_fault(self) -> None:
        """An exception in the host becomes an error for the requester and a log line."""
        self.patch(self.host.router, "_serve", lambda *request: {}["x"])
        self.assertEqual(
            self.alice.send("<iq type='get' id='1'/>"), [f"iq error 1 {ALICE} > {ALICE}/r internal-server-error"]
        )
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.alice.send(f"<message to='{ALICE}/r'/>"), [f"message {ALICE}/r > {ALICE}/r"])

    def test_lost(self) -> None:
        """A lost connection, or an ended stream, is unavailable at once."""
        roster = self.host.router.accounts[ALICE].roster
        roster.set(f"bob@{DOMAIN}", "", ()).from_ = True
        self.bob.send("<presence/>")
        other = self.host.online("alice/other")
        for client, end in ((self.alice, None), (other, "</stream:stream>")):
            client.send("<presence/>")
            self.bob.taken()
            client.lose(ConnectionError()) if end is None else client.send(end)
            [gone] = self.bob.taken()
            self.assertTrue(gone.startswith(f"presence unavailable {ALICE}/"), gone)
        self.assertTrue(other.value().endswith(b"</stream:stream>"))
        self.assertEqual(self.host.router.accounts[ALICE].sessions, {})

    def test_header(self) -> None:
        """A prefix that is declared in a client's header keeps its meaning for other clients and components."""
        component = self.host.component()
        carol = self.host.connected()
        carol.logIn("carol", PASSWORDS["carol"], declared=f"xmlns:p='urn:p' xmlns:c='{ns.CLIENT}'")
        for target, wire, namespace in (
            (f"bob@{DOMAIN}/r", self.bob, ns.CLIENT),
            (COMPONENT, component, ns.COMPONENT_ACCEPT),
        ):
            carol.send(f"<c:message to='{target}'><p:x/><c:body/></c:message>")
            [message] = wire.heard()
            self.assertEqual(
                [each.tag for each in message.iter()],
                [f"{{{namespace}}}message", "{urn:p}x", f"{{{namespace}}}body"],
            )


class SizeTests(ClientCase):
    """Size limits."""

    def test_thirdParties(self) -> None:
        """Before the login the limits are small; exceeding them ends the stream, within an element or not."""
        for secure in (False, True):
            size = UNAUTHENTICATED.stanzaSize
            for xml in (f"<x>{'y' * size}</x>", "<x" + " " * size, "<a>" * 9):
                client = self.host.connected()
                client.secure() if secure else client.header()
                self.assertEnded(client, client.send(xml), "policy-violation")
        fill = "x" * UNAUTHENTICATED.stanzaSize
        huge = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' a='{fill}"
        self.assertEnded(self.client, self.client.send(huge), "policy-violation")

    def test_clients(self) -> None:
        """A large stanza is delivered; one that is too large is refused, and the stream goes on."""
        alice, bob = self.host.online("alice/r"), self.host.online("bob/r")
        opening = f"<message to='bob@{DOMAIN}/r'>"
        fill = "x" * (CLIENTS.stanzaSize - len(opening) - len("</message>"))
        alice.send(f"{opening}{fill}</message>")
        self.assertEqual(len(bob.taken()), 1)
        refused = f"message error bob@{DOMAIN}/r > alice@{DOMAIN}/r policy-violation"
        self.assertEqual(alice.send(f"{opening}{fill}x</message>"), [refused])
        self.assertEqual(bob.taken(), [])
        alice.send(opening)
        for _ in range(100):
            self.assertEqual(alice.send("x" * 16_384), [])
        self.assertEqual(alice.send(f"</message>{opening}</message>"), [refused])
        self.assertEqual(bob.taken(), [f"message alice@{DOMAIN}/r > bob@{DOMAIN}/r"])
        self.assertFalse(alice.disconnecting)

    def test_seldomLogged(self) -> None:
        """Refused stanzas of a client cause one log line a minute."""
        lines: list[Any] = []
        observer = lines.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        alice = self.host.online("alice/r")
        for _ in range(2):
            alice.send("<message><a:b/></message>" * 50)
            self.host.clock.advance(61)
        self.assertEqual(
            [each["more"] for each in lines if "refused" in each],
            ["", " (and 49 more like it since the last such line)"],
        )

    def test_growth(self) -> None:
        """A stanza that becomes too large on its way is refused, not sent: a component would end its stream."""
        component = self.host.component()
        alice = self.host.connected()
        alice.logIn("alice", PASSWORDS["alice"], declared=f"xmlns:p='urn:{'p' * 1_000}'")
        body = f"<x xmlns='jabber:client'/>{'<p:y/>' * 10_000}"
        self.assertEqual(
            alice.send(f"<message to='{COMPONENT}' id='1'>{body}</message>"),
            [f"message error 1 {COMPONENT} > {ALICE}/r not-acceptable"],
        )
        self.assertEqual(component.taken(), [])
        self.assertLess(len(alice.value()) + len(component.value()), MAX_STANZA)
        # If an answer cannot be delivered, the requester gets an error.
        component.send(f"<iq from='{COMPONENT}' to='{ALICE}/r' type='get' id='2'><x xmlns='urn:x'/></iq>")
        alice.taken()
        alice.send(f"<iq type='result' to='{COMPONENT}' id='2'>{body}</iq>")
        self.assertEqual(component.taken(), [f"iq error 2 {ALICE}/r > {COMPONENT} policy-violation"])
