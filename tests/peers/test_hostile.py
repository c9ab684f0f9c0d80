"""Attacks on a direct link: by programs without its key, by a network that lies, and by a peer that lies."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.peers import identity, service
from gateway.peers.frames import MAX_BATCH, Kind
from gateway.peers.protocol import PeerConnection
from gateway.peers.tls import PROTOCOLS, Connecting
from gateway.peers.trouble import explain
from tests.peers.support import HERE, LISTENS, THERE, Caller, Net, Site, say
from tests.peers.test_link import MIRROR, ROOM, Case, noisy


class Attacker:
    """A TLS client of its own, which connects to the listening side."""

    def __init__(
        self,
        net: Net,
        own: identity.Identity,
        certificate: bytes | None = None,
        protocols: Sequence[bytes] = tuple(PROTOCOLS),
        session: Any = None,
    ) -> None:
        self.net = net
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_privatekey(crypto.PKey.from_cryptography_key(own.key))
        der = certificate or own.certificate.public_bytes(Encoding.DER)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
        if protocols:
            context.set_alpn_protos(list(protocols))
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        if session is not None:
            # pyOpenSSL's own method refuses a session of another context.
            lib.SSL_set_session(self.tls._ssl, session._session)
        self.end, self.got = net.raw()
        # Bytes of the listening side, by flight.
        self.flights: list[int] = []
        self.error = ""
        self.text = b""

    def run(self) -> None:
        """Make the handshake, and read what comes."""
        for _ in range(5):
            try:
                self.tls.do_handshake()
                self.text += self.tls.recv(65536)
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = self.error or str(error)
            with contextlib.suppress(SSL.WantReadError):
                self.end.write(self.tls.bio_read(65536))
            self.net.turn()
            if self.got:
                self.flights.append(len(self.got))
                self.tls.bio_write(bytes(self.got))
                self.got.clear()


def key() -> identity.Identity:
    """Return a key that nobody knows."""
    return identity.make(Ed25519PrivateKey.generate())


def named(own: identity.Identity, name: str) -> bytes:
    """Return a certificate with a name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(own.key.public_key())
    builder = builder.serial_number(1).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    old = own.certificate
    builder = builder.not_valid_before(old.not_valid_before_utc).not_valid_after(old.not_valid_after_utc)
    return builder.sign(own.key, None).public_bytes(Encoding.DER)


def unreadable(own: identity.Identity) -> bytes:
    """Return a certificate of a version that does not exist; OpenSSL reads it."""
    der = own.certificate.public_bytes(Encoding.DER)
    inner = own.certificate.tbs_certificate_bytes.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    start = der.index(own.certificate.tbs_certificate_bytes)
    return der[:start] + inner + der[start + len(inner) : -64] + own.key.sign(inner)


def lines(logged: Any, event: str) -> list[str]:
    """Return the lines of a kind."""
    return [formatEvent(each) or "" for each in logged if each.get("event") == event]


class KeyTests(Case):
    """Other keys than the configured one."""

    def refused(self, certificate: bytes | None, own: identity.Identity, words: str) -> Attacker:
        with capturedLogs() as logged:
            attacker = Attacker(self.net, own, certificate)
            attacker.run()
        [line] = lines(logged, "peer.connection_refused")
        self.assertIn(words, line)
        self.assertTrue(attacker.end.isLost)
        self.assertIn("alert", attacker.error)
        # After the listening side's part of the handshake there is an alert alone: no session is kept for the key.
        self.assertLess(sum(attacker.flights[1:]), 32)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.send(1)
        self.assertEqual(self.other.took(), [say(1)])
        return attacker

    def test_unknown(self) -> None:
        """Another key is refused within the handshake."""
        own = key()
        self.refused(None, own, f"the key {own.fingerprint} is not configured")
        # The status of a link that is up does not change.
        self.assertNotIn("not configured", "".join(map(str, self.other.peers.report())))

    def test_name(self) -> None:
        """A certificate with the peer's name does not help."""
        own = key()
        self.refused(named(own, HERE), own, f"the key {own.fingerprint} is not configured")

    def test_unreadable(self) -> None:
        """A certificate that OpenSSL reads, but no other program does, is refused, and nothing raises."""
        own = key()
        self.refused(unreadable(own), own, "the certificate of the other side cannot be read")

    def test_versions(self) -> None:
        """The right key, but no version of the protocol in common: the reason is told, and no stanza is read."""
        own = identity.read(Path(self.one.keyFile))
        for protocols in ([b"xg9.9", b"h2"], []):
            attacker = Attacker(self.net, own, None, protocols)
            attacker.run()
            self.assertIn(b"no version of the protocol in common; this one speaks xg1.1", attacker.text)
            # The program does not close its side.
            self.net.wait(3)
            self.assertTrue(attacker.end.isLost)
        self.assertIn(": up", self.report(self.other))

    def test_wrongSecret(self) -> None:
        """The name of a session without its secret resumes nothing; the peer itself then shows its key again."""
        [peer] = self.one.peers._peers.values()
        assert peer._tls is not None
        session = peer._tls.session
        self.assertEqual(lib.SSL_SESSION_get_max_early_data(session._session), 0)
        lib.SSL_SESSION_set1_master_key(session._session, b"x" * 32, 32)
        thief = Attacker(self.net, key(), session=session)
        thief.run()
        self.assertTrue(thief.end.isLost)
        self.assertIn("alert", thief.error)
        self.net.wires[0].cut()
        self.net.wait(5)
        self.assertIn(": up", self.report(self.one))
        self.assertGreater(self.net.wire.count, 1_000)

    def test_sessions(self) -> None:
        """The connecting side keeps one session, however many are offered to it."""
        connecting = Connecting(key())
        self.assertEqual(connecting._context.set_session_cache_mode(SSL.SESS_CACHE_OFF), SSL.SESS_CACHE_OFF)

    def test_otherServer(self) -> None:
        """Another listening gateway in the middle gets nothing, and both sides log the reason."""
        between = Site(self.net, self.mktemp(), THERE)
        between.peers.use([between.settings(self.one, **LISTENS)])
        self.other.stop()
        with capturedLogs() as logged:
            between.start()
            self.addCleanup(between.stop)
            self.one.link.sendRaw(say(1).encode())
            self.net.wait(5)
        self.assertIn(f"the key {between.own} is not configured: compare it", self.report(self.one))
        self.assertIn("in this configuration", self.report(self.one))
        [line] = lines(logged, "peer.connection_refused")
        self.assertIn(f"the other gateway says: the key {between.own} is not configured", line)
        self.assertEqual(between.took(), [])


class NetworkTests(Case):
    """A network that lies."""

    def test_replay(self) -> None:
        """A third party sends the bytes of an earlier connection again: no stanza arrives."""
        self.send(1, 2)
        self.other.took()
        self.net.wire.cut()
        self.net.wait(2)
        for wire in list(self.net.wires):
            end, _ = self.net.raw()
            for side, data in wire.log:
                if side == "client":
                    end.write(data)
                    self.net.turn()
            self.assertTrue(end.isLost)
        self.assertEqual(self.other.took(), [])
        self.assertIn(": up", self.report(self.one))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_changed(self) -> None:
        """A byte that is changed ends the connection; nothing of what follows is read."""
        for at in (0, 3, 5, 20, -1):
            wire = self.net.wire
            self.one.link.sendRaw(say(1).encode())
            self.net.reactor.advance(0)
            wire.client.sent[at] ^= 1
            self.net.turn()
            if at == 3:
                # A length: more would have to follow.
                wire.cut()
            self.net.wait(3)
            self.assertTrue(wire.server.isLost, at)
            self.assertEqual(self.other.took(), [])
            self.assertIsNot(self.net.wire, wire)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_pieces(self) -> None:
        """A handshake, and stanzas, that come byte by byte."""
        self.net.wire.cut()
        self.net.isDown = True
        self.net.wait(1)
        self.net.isDown = False
        self.net.reactor.advance(3)
        self.net._connect()
        wire = self.net.wire
        self.one.link.sendRaw(say(1).encode())
        for _ in range(200):
            self.net.reactor.advance(0)
            for end in (wire.client, wire.server):
                data, end.sent = bytes(end.sent), bytearray()
                for at in range(len(data)):
                    end.other.protocol.dataReceived(data[at : at + 1])
        self.assertEqual(self.other.took(), [say(1)])


class CrowdTests(Case):
    """Many connections without a key."""

    def test_peerGetsIn(self) -> None:
        """One address, or one network of IPv6, cannot keep a peer out that needs long for its handshake."""
        for addresses in (
            [IPv4Address("TCP", "198.51.100.7", number) for number in range(60)],
            [IPv6Address("TCP", f"2001:db8:1:2::{number:x}", 1) for number in range(60)],
        ):
            [slow] = self.crowd([IPv4Address("TCP", "192.0.2.1", 1)])
            ends = self.crowd(addresses)
            self.assertFalse(slow.isLost)
            self.assertEqual([end.isLost for end in ends[-19:]], [False] * 19)
            self.assertEqual([end.isLost for end in ends[:-19]], [True] * 41)
            for end in [slow, *ends]:
                end.other.lose(ConnectionError())

    def crowd(self, addresses: list[Any]) -> list[Any]:
        found = []
        for each in addresses:
            self.patch(type(self.net.wire.server), "getPeer", lambda _, each=each: each)
            found.append(self.net.raw()[0])
            self.net.turn()
        return found


class LyingTests(Case):
    """A peer that lies."""

    def test_lateReady(self) -> None:
        """A peer that accepts a connection after it was removed here gets nothing, and is not listened to."""
        held: list[Any] = []
        signal = PeerConnection._signal

        def signalLater(connection: PeerConnection, kind: Kind, content: bytes = b"") -> None:
            if kind is Kind.READY:
                held.append(lambda: signal(connection, kind, content))
            else:
                signal(connection, kind, content)

        self.patch(PeerConnection, "_signal", signalLater)
        # Without a session: the connecting side waits for READY.
        self.one.peers.use([self.one.settings(self.other, domains=frozenset([THERE, "more.example"]))])
        self.net.wait(3)
        wire = self.net.wire
        self.one.peers.use([])
        held[-1]()
        self.other.link.sendRaw(say(1, ROOM, MIRROR).encode())
        self.net.wait(3)
        self.assertEqual(self.one.took(), [])
        self.assertTrue(wire.client.isLost)

    def test_stopDuringHandshake(self) -> None:
        """A stop does not wait for a handshake that makes no progress, and leaves no connection."""
        self.other.stop()
        self.net.turn()
        self.net.wait(1)
        wires = len(self.net.wires)
        self.other.start()
        while len(self.net.wires) == wires:
            self.net.reactor.advance(0.5)
            self.net._connect()
        self.net.wire.isBlocked = True
        stopped = self.one.peers.stopService()
        self.net.turn()
        self.successResultOf(stopped)
        self.assertTrue(self.net.wire.client.isLost)

    def test_forgedLines(self) -> None:
        """The reason of a peer, and addresses that it makes up, cannot begin a line of the log."""
        forged = "x\n2026-01-01 [error] y\x1b[31m"
        with capturedLogs() as logged:
            self.connection(self.one).write(say(1, forged.replace("\n", "&#10;").replace("\x1b", "")).encode())
            self.net.turn()
            self.connection(self.one).close(forged)
            self.net.turn()
        texts = [formatEvent(each) or "" for each in logged]
        self.assertEqual(len([each for each in texts if "2026-01-01" in each]), 2)
        self.assertNotIn("\n", "".join(texts))
        self.assertNotIn("\x1b", "".join(texts))

    def test_log(self) -> None:
        """A peer that connects again and again fills no log."""
        own = identity.read(Path(self.one.keyFile))
        self.one.stop()
        self.net.wait(61)
        [factory] = [each for number, each, *_ in self.net.reactor.tcpServers if number == 5299]
        with capturedLogs() as logged:
            for _ in range(50):
                caller = Caller(self.net.reactor, own)
                wire = caller.call(factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000)))
                self.assertIsNotNone(caller.connection)
                wire.cut()
        self.assertLess(len(logged), 5)

    def test_pings(self) -> None:
        """A peer that connects again and again leaves one open ping by the server."""
        own = identity.read(Path(self.one.keyFile))
        self.one.stop()
        self.net.wait(20)
        self.other.link.sendRaw(say(1, ROOM, MIRROR).encode())
        [factory] = [each for number, each, *_ in self.net.reactor.tcpServers if number == 5299]
        for _ in range(20):
            wire = Caller(self.net.reactor, own).call(factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
            self.assertEqual(len(self.other.link._lane.requests), 1)
            wire.cut()

    def test_manyConnections(self) -> None:
        """Of many connections of one peer, one is left."""
        own = identity.read(Path(self.one.keyFile))
        self.one.stop()
        self.net.wait(1)
        [factory] = [each for number, each, *_ in self.net.reactor.tcpServers if number == 5299]
        address = IPv4Address("TCP", "192.0.2.1", 1)
        wires = [Caller(self.net.reactor, own).call(factory.buildProtocol(address)) for _ in range(10)]
        self.assertEqual([wire.server.isAborted for wire in wires], [True] * 9 + [False])
        wires[-1].cut()

    def test_burst(self) -> None:
        """The answers to a stanza of the peer, however large they are, are sent without a wait."""
        answers = [say(number, ROOM, MIRROR).replace("</body>", "x" * 2_000 + "</body>") for number in range(100)]
        self.assertGreater(len("".join(answers)), 2 * MAX_BATCH)

        def stanzaReceived(stanza: Any, isNew: bool = True) -> None:
            for each in answers:
                self.other.link.sendRaw(each.encode())

        self.patch(self.other.link, "stanzaReceived", stanzaReceived)
        self.send(1)
        self.assertEqual(len(self.one.took()), 100)


class ChangeTests(Case):
    """Settings change while stanzas wait."""

    def test_kept(self) -> None:
        """Stanzas that wait for a peer whose settings change are sent by the new ones, in their order."""
        self.net.isDown = True
        self.net.wire.cut()
        self.send(1, 2)
        self.one.peers.use([self.one.settings(self.other, domains=frozenset([THERE, "more.example"]))])
        self.send(3)
        self.net.isDown = False
        self.net.wait(5)
        self.assertEqual(self.other.took(), [say(1), say(2), say(3)])
        self.assertEqual(self.one.viaServer(), [])

    def test_busy(self) -> None:
        """Settings change while much is being sent: all of it arrives, in its order."""
        texts = [noisy(number) for number in range(200)]
        for each in texts:
            self.one.link.sendRaw(each.encode())
        self.one.peers.use([self.one.settings(self.other, domains=frozenset([THERE, "more.example"]))])
        self.net.wait(5)
        self.assertTrue(self.other.took() == texts, "they are not the same, or in another order")

    def test_order(self) -> None:
        """The server may still have stanzas of before the change: a ping goes by the server first."""
        self.net.isDown = True
        self.net.wire.cut()
        self.net.wait(20)
        self.send(1)
        self.assertEqual(len(self.one.viaServer()), 1)
        self.one.peers.use([self.one.settings(self.other, domains=frozenset([THERE, "more.example"]))])
        self.net.isDown = False
        self.net.wait(5)
        self.send(2)
        self.assertEqual(self.other.took(), [])
        [ping] = self.one.viaServer()
        self.assertIn("urn:xmpp:ping", ping)

    def test_ownKey(self) -> None:
        """The connecting side has a new key in the same file: it shows that one, and stanzas that wait are kept."""
        old, path = self.one.own, Path(self.one.keyFile)
        path.unlink()
        self.one.own = identity.load(path).fingerprint
        both = frozenset([old, self.one.own])
        self.other.peers.use([self.other.settings(self.one, **LISTENS, fingerprints=both)])
        self.net.wait(5)
        shown = []
        self.patch(PeerConnection, "keyShown", lambda _, fingerprint: shown.append(fingerprint) or True)
        self.one.peers.use([self.one.settings(self.other)])
        self.send(1)
        self.net.wait(5)
        self.assertIn(self.one.own, shown)
        self.assertEqual(self.other.took(), [say(1)])

    def test_removed(self) -> None:
        """Stanzas that wait for a peer that is removed go by the server; without a fallback they are answered."""
        for fallsBack in (True, False):
            self.one.peers.use([self.one.settings(self.other, fallsBack=fallsBack)])
            self.net.wait(3)
            self.one.viaServer()
            self.net.isDown = True
            self.net.wire.cut()
            self.send(1, 2)
            self.one.peers.use([])
            self.net.turn()
            answers = [each for each in self.one.took() if "<remote-server-timeout" in each]
            self.assertEqual((len(self.one.viaServer()), len(answers)), (2, 0) if fallsBack else (0, 2))
            self.net.isDown = False

    def test_successor(self) -> None:
        """A service is replaced: its last stanzas, and what its server still has, come before its successor's."""
        self.net.isDown = True
        self.net.wire.cut()
        self.send(1)
        self.replace()
        self.send(2)
        self.net.isDown = False
        self.net.wait(5)
        self.assertEqual(self.other.took(), [say(1), say(2)])
        self.net.isDown = True
        self.net.wire.cut()
        self.net.wait(20)
        self.send(3)
        self.assertEqual(len(self.one.viaServer()), 1)
        self.replace()
        self.net.isDown = False
        self.net.wait(35)
        self.send(4)
        self.assertEqual(self.other.took(), [])
        self.assertIn("urn:xmpp:ping", self.one.viaServer()[0])

    def test_componentRemoved(self) -> None:
        """The last stanzas of a component that was removed leave by the direct link, or are dropped with it."""
        for isBack in (True, False):
            self.net.isDown = True
            self.net.wire.cut()
            self.send(1, 2)
            self.one.peers.remove(self.one.link)
            self.net.isDown = not isBack
            self.net.wait(20)
            self.assertEqual(self.other.took(), [say(1), say(2)] if isBack else [])
            [peer] = self.one.peers._peers.values()
            self.assertEqual((peer.paths.waiting, self.one.viaServer()), (0, []))
            self.one.peers.add(self.one.link)

    def replace(self) -> None:
        """Remove the component, and add it again."""
        self.one.peers.remove(self.one.link)
        self.net.wait(1)
        self.one.peers.add(self.one.link)


class EndpointTests(SynchronousTestCase):
    """Endpoints of plugins."""

    def test_never(self) -> None:
        """An endpoint that does not tell whether it connects is asked again."""
        net = Net()
        site = Site(net, self.mktemp(), HERE)
        asked: list[Any] = []

        class Never:
            def connect(self, factory: Any) -> Deferred[Any]:
                asked.append(factory)
                return Deferred()

        self.patch(service, "clientEndpoint", lambda reactor, text: Never())
        site.peers.use([site.settings(THERE)])
        site.start()
        self.addCleanup(site.stop)
        net.wait(299)
        self.assertEqual(len(asked), 1)
        net.wait(10)
        self.assertEqual(len(asked), 2)
        self.assertIn("nothing answers at tcp:192.0.2.2:5299", "\n".join(map(str, site.peers.report())))


class WordTests(SynchronousTestCase):
    """Errors in words."""

    def test_errors(self) -> None:
        """Each error of OpenSSL has words, with a list of its own ones, with others, and without."""
        for error in (SSL.Error(), SSL.Error([]), SSL.ZeroReturnError(), SSL.SysCallError(-1, "Unexpected EOF")):
            self.assertIn("TLS failed: ", explain(Failure(error), None))
