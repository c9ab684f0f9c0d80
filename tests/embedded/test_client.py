"""The login of clients: header, STARTTLS, SASL, binding (RFC 6120 sections 4 to 7)."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail

from gateway import ns
from tests.embedded.support import DOMAIN, PASSWORDS, ClientCase, ScramClient, elements, local
from tests.profiles import steady

SCRAM = "SCRAM-SHA-256"
STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"
WRONG = base64.b64encode(b"\0alice\0wrong").decode()
ALICE = f"alice@{DOMAIN}"


def offered(data: bytes) -> list[str]:
    """Return the features of a stream."""
    [features] = elements(data)
    assert local(features) == "features"
    return [local(each) for each in features]


class HeaderTests(ClientCase):
    """The beginning of a stream (RFC 6120 sections 4.7 and 4.9)."""

    def test_answered(self) -> None:
        """The host's header has its name, a unique id, version and language."""
        self.client.protocol.dataReceived(
            f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{DOMAIN}' version='1.0'>".encode()
        )
        header = self.client.value().partition(b">")[0] + self.client.value().partition(b">")[2]
        for part in (f"from='{DOMAIN}'", "version='1.0'", "xml:lang='en'", f"xmlns='{ns.CLIENT}'", " id='"):
            self.assertIn(part.encode(), header)
        other = self.host.connected()
        other.header()
        self.assertNotEqual(other.value(), self.client.value())

    def test_errors(self) -> None:
        """Another host, another version, another namespace, no XML: each error is sent in an open stream."""
        streams = f"xmlns:stream='{ns.STREAMS}'"
        for header, condition in (
            (f"<stream:stream xmlns='jabber:client' {streams} to='else' version='1.0'>", "host-unknown"),
            (f"<stream:stream xmlns='jabber:client' {streams} to='{DOMAIN}'>", "unsupported-version"),
            (f"<stream:stream xmlns='jabber:client' {streams} to='{DOMAIN}' version='0.9'>", "unsupported-version"),
            (f"<stream:stream xmlns='jabber:client' {streams} to='{DOMAIN}' version='2.0'>", "unsupported-version"),
            (f"<stream:stream xmlns='jabber:server' {streams} to='{DOMAIN}' version='1.0'>", "invalid-namespace"),
            ("<stream:stream xmlns='jabber:client' xmlns:stream='urn:x'>", "invalid-namespace"),
            ("<html>", "invalid-namespace"),
            ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
            ("<!DOCTYPE x>", "restricted-xml"),
            ("\x16\x03\x01", "not-well-formed"),
        ):
            client = self.host.connected()
            self.assertEnded(client, client.send(header), condition)
            self.assertEqual(client.value().count(b"<stream:stream "), 1, header)

    def test_name(self) -> None:
        """Any spelling of the host's name is accepted; a missing "to" means the host."""
        self.assertEqual(self.client.header(DOMAIN.upper()), ["features"])
        other = self.host.connected()
        heard = other.send(f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>")
        self.assertEqual(heard, ["features"])

    def test_pieces(self) -> None:
        """A stream that arrives byte by byte is handled in the same way."""
        header = (
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>"
        )
        for byte in header.encode():
            self.client.protocol.dataReceived(bytes([byte]))
        self.client.protocol.dataReceived(STARTTLS.encode())
        self.assertEqual(self.client.secured, [self.host.tls])


class TlsTests(ClientCase):
    """STARTTLS (RFC 6120 section 5)."""

    def test_required(self) -> None:
        """STARTTLS is the only feature, and required."""
        self.client.header()
        [features] = elements(self.client.value())
        [starttls] = features
        self.assertEqual((starttls.tag, local(starttls[0])), (f"{{{ns.TLS}}}starttls", "required"))

    def test_proceed(self) -> None:
        """After "proceed" nothing is sent unencrypted; then a new stream begins, with mechanisms."""
        self.client.header()
        self.client.raw()
        self.client.send(STARTTLS)
        self.assertTrue(self.client.before.endswith(f"<proceed xmlns='{ns.TLS}'/>".encode()))
        self.assertEqual(self.client.before, self.client.value())
        self.client.raw()
        self.client.protocol.dataReceived(
            f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>".encode()
        )
        data = self.client.raw()
        self.assertEqual(offered(data), ["mechanisms"])
        [[mechanisms]] = elements(data)
        self.assertEqual([each.text for each in mechanisms], [SCRAM, "SCRAM-SHA-1", "PLAIN"])

    def test_sameSegment(self) -> None:
        """A header and STARTTLS may arrive in one segment."""
        self.client.send(f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>{STARTTLS}")
        self.assertTrue(self.client.before.endswith(f"<proceed xmlns='{ns.TLS}'/>".encode()))

    def test_injection(self) -> None:
        """Unencrypted bytes after it in the same segment are never read."""
        self.client.header()
        header = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>"
        auth = base64.b64encode(f"\0alice\0{PASSWORDS['alice']}".encode()).decode()
        injected = f"{header}<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{auth}</auth>"
        self.client.send(STARTTLS + injected)
        self.assertEqual(self.client.value(), self.client.before)
        self.assertEqual(self.client.header(), ["features"])
        # Nor is the beginning of an element that the encrypted bytes would complete.
        other = self.host.connected()
        other.header()
        other.send(STARTTLS + "<stream:stream to='evil'")
        self.assertEqual(other.header(), ["features"])

    def test_twice(self) -> None:
        """There is no TLS within TLS."""
        self.client.secure()
        self.assertEnded(self.client, self.client.send(STARTTLS), "unsupported-stanza-type")
        self.assertEqual(len(self.client.secured), 1)

    def test_inTheClear(self) -> None:
        """Without TLS no password is accepted, right or wrong."""
        self.client.header()
        self.assertEqual(self.client.plain("alice", PASSWORDS["alice"]), ["failure encryption-required"])
        self.assertEqual(
            self.client.auth(SCRAM, ScramClient("alice", "x").first()), ["failure encryption-required"]
        )
        self.assertEnded(self.client, self.client.bind("r"), "not-authorized")


class SaslTests(ClientCase):
    """Authentication (RFC 6120 section 6)."""

    def setUp(self) -> None:
        super().setUp()
        self.client.secure()

    def payload(self) -> bytes:
        """Return the decoded content of the one received element."""
        [element] = self.client.heard()
        return base64.b64decode(element.text or "")

    def test_plain(self) -> None:
        """After the right password comes success, and then a stream in which a resource can be bound."""
        self.assertEqual(self.client.plain("alice", PASSWORDS["alice"]), ["success"])
        self.client.raw()
        self.client.protocol.dataReceived(
            f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>".encode()
        )
        self.assertEqual(offered(self.client.raw()), ["bind", "session"])

    def test_scram(self) -> None:
        """A whole exchange, in which the server proves that it knows the password as well."""
        scram = ScramClient("bob", PASSWORDS["bob"])
        first = base64.b64encode(scram.first()).decode()
        self.client.protocol.dataReceived(f"<auth xmlns='{ns.SASL}' mechanism='{SCRAM}'>{first}</auth>".encode())
        final = base64.b64encode(scram.final(self.payload())).decode()
        self.client.protocol.dataReceived(f"<response xmlns='{ns.SASL}'>{final}</response>".encode())
        self.assertTrue(scram.trusts(self.payload()))
        self.client.header()
        self.client.bind("r")
        self.assertIn(f"bob@{DOMAIN}/r", self.host.router.accounts[f"bob@{DOMAIN}"].sessions)

    def test_askedFirst(self) -> None:
        """A client that sends no initial response gets an empty challenge."""
        for mechanism in ("PLAIN", SCRAM):
            self.assertEqual(self.client.auth(mechanism, None), ["challenge"])
        self.assertEqual(self.client.auth("PLAIN", None), ["challenge"])
        self.assertEqual(self.client.respond(f"\0alice\0{PASSWORDS['alice']}".encode()), ["success"])

    def test_empty(self) -> None:
        """An empty initial response is written as "="."""
        for mechanism in ("PLAIN", SCRAM):
            self.assertEqual(self.client.auth(mechanism, b""), ["failure malformed-request"])

    def test_failures(self) -> None:
        """Errors, and the condition of each."""
        sasl = f"xmlns='{ns.SASL}'"
        right = base64.b64encode(f"\0alice\0{PASSWORDS['alice']}".encode()).decode()
        for xml, condition in (
            (f"<auth {sasl} mechanism='ANONYMOUS'/>", "invalid-mechanism"),
            (f"<auth {sasl}>{right}</auth>", "invalid-mechanism"),
            (f"<auth {sasl} mechanism='PLAIN'>{right[:-1]}</auth>", "incorrect-encoding"),
            (f"<auth {sasl} mechanism='PLAIN'> {right}</auth>", "incorrect-encoding"),
            (f"<auth {sasl} mechanism='PLAIN'>ä</auth>", "incorrect-encoding"),
            (f"<auth {sasl} mechanism='PLAIN'><x xmlns='a b'/></auth>", "malformed-request"),
            (f"<response {sasl}>{right}</response>", "malformed-request"),
            (f"<abort {sasl}/>", "aborted"),
            (f"<nonsense {sasl}/>", "malformed-request"),
            (f"<success {sasl}/>", "malformed-request"),
        ):
            client = self.host.connected().secure()
            self.assertEqual(client.send(xml), [f"failure {condition}"], xml)
            self.assertEqual(client.plain("alice", PASSWORDS["alice"]), ["success"], xml)

    def test_abort(self) -> None:
        """An aborted exchange cannot be continued."""
        self.client.auth(SCRAM, ScramClient("alice", "x").first())
        self.assertEqual(self.client.send(f"<abort xmlns='{ns.SASL}'/>"), ["failure aborted"])
        self.assertEqual(self.client.respond(b"c=biws,r=x,p=eA=="), ["failure malformed-request"])

    def test_indistinguishable(self) -> None:
        """A wrong password cannot be distinguished from an unknown user, not even by the lengths of answers."""
        lengths: dict[str, set[int]] = {"alice": set(), "nobod": set()}
        for name, found in lengths.items():
            client = self.host.connected().secure()
            self.assertEqual(client.plain(name, "x"), ["failure not-authorized"])
            scram = ScramClient(name, "x")
            data = base64.b64encode(scram.first()).decode()
            client.protocol.dataReceived(f"<auth xmlns='{ns.SASL}' mechanism='{SCRAM}'>{data}</auth>".encode())
            [challenge] = client.heard()
            found.add(len(challenge.text or ""))
            final = scram.final(base64.b64decode(challenge.text or ""))
            self.assertEqual(client.respond(final), ["failure not-authorized"])
        self.assertEqual(lengths["alice"], lengths["nobod"])

    def test_tooMany(self) -> None:
        """After five failed attempts of any kind the connection ends; other connections are not affected."""
        for _ in range(2):
            self.assertEqual(self.client.plain("alice", "x"), ["failure not-authorized"])
            self.assertEqual(self.client.auth("NONE", b""), ["failure invalid-mechanism"])
        heard = self.client.plain("alice", "x")
        self.assertEqual(heard, ["failure not-authorized", "error policy-violation"])
        self.assertEnded(self.client, heard, "policy-violation")
        self.host.online("alice/r")

    def test_manyAtOnce(self) -> None:
        """A hundred attempts in one segment count as five."""
        auth = f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{WRONG}</auth>"
        heard = self.client.send(auth * 100)
        self.assertEqual(heard, ["failure not-authorized"] * 5 + ["error policy-violation"])

    def test_again(self) -> None:
        """A client that is logged in cannot log in again on the same stream."""
        self.client.plain("alice", PASSWORDS["alice"])
        self.client.header()
        self.assertEnded(self.client, self.client.plain("bob", PASSWORDS["bob"]), "unsupported-stanza-type")

    def test_ahead(self) -> None:
        """Bytes that were sent before success was received belong to the old stream, and are not read."""
        auth = base64.b64encode(f"\0alice\0{PASSWORDS['alice']}".encode()).decode()
        heard = self.client.send(f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{auth}</auth><iq type='set' id='1'/>")
        self.assertEqual(heard, ["success"])
        self.assertEqual(self.client.header(), ["features"])

    def test_broken(self) -> None:
        """An exception of the checker is reported as a temporary failure."""

        class Broken:
            def login(self, credentials: object, mind: object, interface: object) -> Any:
                return fail(ValueError("broken"))

        self.client.protocol._portal = Broken()
        self.assertEqual(self.client.plain("alice", "x"), ["failure temporary-auth-failure"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    @steady
    @given(
        st.lists(
            st.tuples(st.sampled_from(["PLAIN", SCRAM, "X", None]), st.none() | st.binary(max_size=30)),
            min_size=1,
            max_size=4,
        )
    )
    def test_bytes(self, messages: list[tuple[str | None, bytes | None]]) -> None:
        """For any bytes there is one answer each; nothing raises, and no login succeeds."""
        client = self.host.connected().secure()
        for mechanism, message in messages:
            heard = client.respond(message or b"") if mechanism is None else client.auth(mechanism, message)
            self.assertEqual(len(heard), 1, heard)
            self.assertIn(heard[0].split()[0], ("challenge", "failure"))


class BindTests(ClientCase):
    """Resources (RFC 6120 section 7)."""

    def setUp(self) -> None:
        super().setUp()
        self.client.secure()
        self.client.plain("alice", PASSWORDS["alice"])
        self.client.header()

    def bound(self, resource: str) -> str:
        """Bind a resource; return the resulting address."""
        wanted = f"<resource>{resource}</resource>" if resource else ""
        self.client.protocol.dataReceived(
            f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'>{wanted}</bind></iq>".encode()
        )
        [answer] = self.client.heard()
        return answer[0][0].text or ""

    def test_wanted(self) -> None:
        """The client gets the resource that it asks for, in its prepared form."""
        self.assertEqual(self.bound("Ä &amp; r"), f"{ALICE}/Ä & r")

    def test_any(self) -> None:
        """Without a requested resource the client gets a random one."""
        jid = self.bound("")
        self.assertGreaterEqual(len(jid.partition("/")[2]), 12)
        other = self.host.connected().secure()
        other.plain("alice", PASSWORDS["alice"])
        other.header()
        self.assertEqual(other.bind(""), ["iq result bind"])
        self.assertEqual(len(self.host.router.accounts[ALICE].sessions), 2)

    def test_refused(self) -> None:
        """An invalid resource is refused; the client may try again."""
        for resource in ("x" * 1_024, "\u0221\ue000"):
            self.assertEqual(self.client.bind(resource), ["iq error bind jid-malformed"])
        self.assertEqual(self.client.bind("r"), ["iq result bind"])

    def test_tooMany(self) -> None:
        """After sixty-four resources the next one is refused."""
        account = self.host.router.accounts[ALICE]
        for number in range(64):
            self.host.router.bind(account, f"{ALICE}/{number}", self.client.protocol)
        self.assertEqual(self.client.bind("more"), ["iq error bind resource-constraint"])

    def test_early(self) -> None:
        """A stanza before binding ends the stream, and is not delivered."""
        bob = self.host.online("bob/r")
        for xml in (
            f"<message to='bob@{DOMAIN}/r'/>",
            f"<iq type='get' id='1' to='bob@{DOMAIN}/r'><query xmlns='urn:x'/></iq>",
            f"<iq type='get' id='1'><bind xmlns='{ns.BIND}'/></iq>",
            "<iq type='set' id='1'><x xmlns='a b'/></iq>",
            "<presence/>",
        ):
            client = self.host.connected().secure()
            client.plain("alice", PASSWORDS["alice"])
            client.header()
            self.assertEnded(client, client.send(xml), "not-authorized")
        self.assertEqual(bob.taken(), [])

    def test_conflict(self) -> None:
        """A newer session replaces an older one, whose stream ends; its later stanzas are not delivered."""
        older = self.host.online("alice/r")
        bob = self.host.online("bob/r")
        self.assertEqual(self.client.bind("r"), ["iq result bind"])
        self.assertEnded(older, older.taken(), "conflict")
        bob.send(f"<message to='{ALICE}/r'/>")
        self.assertEqual(self.client.taken(), [f"message bob@{DOMAIN}/r > {ALICE}/r"])
        self.assertEqual(older.taken(), [])

    def test_twice(self) -> None:
        """A second resource on one stream is refused."""
        self.client.bind("r")
        self.assertEqual(self.client.bind("second"), [f"iq error bind {ALICE} > {ALICE}/r service-unavailable"])
        self.assertEqual(list(self.host.router.accounts[ALICE].sessions), [f"{ALICE}/r"])
