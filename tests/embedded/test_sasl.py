"""SASL: PLAIN, and SCRAM with independent clients; errors always raise a failure."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient as ScrampClient
from twisted.cred.credentials import ICredentials, IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase

from gateway.embedded.sasl import MECHANISMS, Exchange, IProof, SaslFailed, begin
from tests.embedded.support import DOMAIN, PASSWORDS, ScramClient, keys
from tests.profiles import steady

PLAIN, SCRAM = "PLAIN", "SCRAM-SHA-256"
DIGESTS = {SCRAM: "sha256", "SCRAM-SHA-1": "sha1"}


def start(mechanism: str) -> Exchange:
    """Return a new exchange."""
    return begin(mechanism, DOMAIN, keys().keys)


def proofOf(
    exchange: Exchange, first: bytes, final: bytes | None = None, client: ScramClient | None = None
) -> IProof:
    """Run a whole exchange; return its result."""
    challenge = exchange.step(first)
    assert isinstance(challenge, bytes)
    outcome = exchange.step(final if client is None else client.final(challenge))  # type: ignore[arg-type]  # one is given
    assert IProof.providedBy(outcome)
    return cast(IProof, outcome)


class SaslCase(SynchronousTestCase):
    """Base class for refused messages."""

    def refused(self, exchange: Exchange, message: bytes) -> str:
        """Return the condition with which a message is refused."""
        return self.assertRaises(SaslFailed, exchange.step, message).condition  # type: ignore[no-any-return]  # trial has no type for it


class BeginTests(SaslCase):
    """The mechanisms."""

    def test_mechanisms(self) -> None:
        """The stronger mechanisms come first; others are refused."""
        self.assertEqual(MECHANISMS, (SCRAM, "SCRAM-SHA-1", PLAIN))
        for mechanism in ("", "plain", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "ANONYMOUS", "EXTERNAL"):
            failure = self.assertRaises(SaslFailed, begin, mechanism, DOMAIN, keys().keys)
            self.assertEqual(failure.condition, "invalid-mechanism")


class PlainTests(SaslCase):
    """RFC 4616."""

    def test_credentials(self) -> None:
        """Name and password are passed on unchanged; the authorization identity may be the own account."""
        for acting in ("", f"alice@{DOMAIN}"):
            outcome = start(PLAIN).step(f"{acting}\0alice\0pä ss".encode())
            assert IUsernamePassword.providedBy(outcome)
            self.assertEqual((outcome.username, outcome.password), (b"alice", "pä ss".encode()))
        self.assertEqual(start(PLAIN).last, b"")

    def test_another(self) -> None:
        """Another authorization identity is refused."""
        for acting in (f"bob@{DOMAIN}", "alice", "alice@elsewhere"):
            self.assertEqual(self.refused(start(PLAIN), f"{acting}\0alice\0x".encode()), "invalid-authzid")

    def test_malformed(self) -> None:
        """Three parts, in UTF-8."""
        for message in (b"", b"alice", b"\0alice", b"\0a\0b\0c", b"\0\xff\0x", b"\0a\0\xe4"):
            self.assertEqual(self.refused(start(PLAIN), message), "malformed-request")


class ScramTests(SaslCase):
    """RFC 5802 and RFC 7677."""

    def test_independent(self) -> None:
        """A client written from the RFC alone is accepted, and verifies the server's proof."""
        for mechanism, digest in DIGESTS.items():
            for user in ("alice", "bob", "Alice"):
                exchange = start(mechanism)
                client = ScramClient(user, PASSWORDS[user.lower()], digest=digest)
                proof = proofOf(exchange, client.first(), client=client)
                self.assertTrue(proof.verified(), (mechanism, user))
                self.assertEqual(proof.username, user.encode())
                self.assertTrue(client.trusts(exchange.last))

    def test_library(self) -> None:
        """So is the client of the library."""
        for mechanism in DIGESTS:
            exchange, client = start(mechanism), ScrampClient([mechanism], "alice", PASSWORDS["alice"])
            challenge = exchange.step(client.get_client_first().encode())
            assert isinstance(challenge, bytes)
            client.set_server_first(challenge.decode())
            outcome = exchange.step(client.get_client_final().encode())
            self.assertTrue(cast(IProof, outcome).verified(), mechanism)
            client.set_server_final(exchange.last.decode())

    def test_wrong(self) -> None:
        """A wrong password, an unknown user: the same exchange, with the same result."""
        for mechanism, digest in DIGESTS.items():
            for user, password in (("alice", "wrong"), ("nobody", "wrong"), ("nobody", "")):
                client = ScramClient(user, password, digest=digest)
                self.assertFalse(proofOf(start(mechanism), client.first(), client=client).verified())

    def test_replayed(self) -> None:
        """A proof is valid for one exchange only."""
        first = start(SCRAM)
        client = ScramClient("alice", PASSWORDS["alice"])
        challenge = first.step(client.first())
        assert isinstance(challenge, bytes)
        final = client.final(challenge)
        self.assertFalse(proofOf(start(SCRAM), client.first(), final).verified())

    def test_binding(self) -> None:
        """A client that could use channel binding is accepted; one that requires it, or lies, is refused."""
        client = ScramClient("alice", PASSWORDS["alice"], "y,,")
        self.assertTrue(proofOf(start(SCRAM), client.first(), client=client).verified())
        insisting = ScramClient("alice", "x", "p=tls-exporter,,")
        self.assertEqual(self.refused(start(SCRAM), insisting.first()), "malformed-request")
        exchange, lying = start(SCRAM), ScramClient("alice", PASSWORDS["alice"], "n,,")
        challenge = exchange.step(b"y,," + lying.first()[3:])
        assert isinstance(challenge, bytes)
        outcome = exchange.step(lying.final(challenge))
        self.assertFalse(cast(IProof, outcome).verified())

    def test_another(self) -> None:
        """Another authorization identity is refused."""
        client = ScramClient("alice", PASSWORDS["alice"], "n,a=bob,")
        self.assertIn(self.refused(start(SCRAM), client.first()), ("invalid-authzid", "malformed-request"))

    def test_malformed(self) -> None:
        """Invalid first messages."""
        for message in (
            b"",
            b"n,,",
            b"n,,n=alice",
            b"n,,r=x",
            b"x,,n=alice,r=x",
            b"n,,n=a\xff,r=x",
            b"n=alice,r=x",
        ):
            self.assertEqual(self.refused(start(SCRAM), message), "malformed-request", message)

    def test_secondMalformed(self) -> None:
        """An invalid second message proves nothing."""
        for message in (b"", b"x", b"c=biws", b"c=biws,r=,p=", b"c=!,r=x,p=!", b"p=eA==", b",,,"):
            self.assertFalse(proofOf(start(SCRAM), b"n,,n=alice,r=x", message).verified(), message)


class HostileTests(SaslCase):
    """Any bytes."""

    def feed(self, mechanism: str, messages: list[bytes]) -> list[object]:
        """Return the results of these messages, up to the first failure or the credentials."""
        exchange = start(mechanism)
        outcomes: list[object] = []
        for message in messages:
            try:
                outcome: object = exchange.step(message)
            except SaslFailed as failure:
                outcome = failure
            outcomes.append(outcome)
            if not isinstance(outcome, bytes):
                break
        return outcomes

    @steady
    @given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=40), min_size=1, max_size=4))
    def test_bytes(self, mechanism: str, messages: list[bytes]) -> None:
        """Any bytes only raise a failure, and prove nothing."""
        for outcome in self.feed(mechanism, messages):
            self.assertTrue(isinstance(outcome, bytes | SaslFailed) or ICredentials.providedBy(outcome))
            if IProof.providedBy(outcome):
                self.assertFalse(cast(IProof, outcome).verified())

    @steady
    @given(
        st.lists(
            st.lists(
                st.sampled_from(
                    ["n", "y", "p=x", "a=b", "n=", "n=alice", "n=a=2Cb", "r=q", "c=biws", "p=eA==", "m=1", "=", ""]
                ),
                max_size=6,
            ).map(",".join),
            min_size=1,
            max_size=4,
        )
    )
    def test_nearly(self, messages: list[str]) -> None:
        """Neither do messages that are nearly valid."""
        for outcome in self.feed(SCRAM, [message.encode() for message in messages]):
            self.assertTrue(isinstance(outcome, bytes | SaslFailed) or IProof.providedBy(outcome))
            if IProof.providedBy(outcome):
                self.assertFalse(cast(IProof, outcome).verified())
