"""Two gateways and the direct link between them."""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from benchmarks.peer_dictionary import play
from gateway import ns
from gateway.peers.compression import Compressor
from gateway.peers.frames import MAX_BATCH, Kind, written
from gateway.peers.paths import QUIET
from gateway.peers.profiles import PROFILES
from gateway.stream.interfaces import IPeerHandler
from tests.peers.support import HERE, LISTENS, THERE, Net, Site, Wire, say, two
from tests.profiles import steady
from tests.stream.test_link import RawHandler

ROOM, MIRROR = f"room@{THERE}", f"room@{HERE}"


def noisy(number: int) -> str:
    """Return a message that cannot be compressed well."""
    return say(number).replace("</body>", f"{Random(number).randbytes(1_000).hex()}</body>")


class Case(SynchronousTestCase):
    """Two gateways whose link is up."""

    maxDiff = None

    def setUp(self) -> None:
        self.net, self.one, self.other = self.make()
        self.net.turn()

    def make(self) -> tuple[Net, Site, Site]:
        return two(self.mktemp())

    def tearDown(self) -> None:
        for site in (self.one, self.other):
            site.stop()
        self.net.wait(1)

    def send(self, *numbers: int) -> None:
        """Send messages from the mirror."""
        for number in numbers:
            self.one.link.sendRaw(say(number).encode())
        self.net.turn()

    def report(self, site: Site) -> str:
        return "\n".join(str(each) for each in site.peers.report())

    def connection(self, site: Site) -> Any:
        [peer] = site.peers._peers.values()
        return peer._connection


class StanzaTests(Case):
    """Stanzas on the link."""

    def test_bothWays(self) -> None:
        """Stanzas pass in both directions on one connection, in their order, and the servers see none."""
        back = [say(number, ROOM, MIRROR) for number in range(5)]
        for each in back:
            self.other.link.sendRaw(each.encode())
        self.send(*range(5))
        self.assertEqual(self.other.took(), [say(number) for number in range(5)])
        self.assertEqual(self.one.took(), back)
        self.assertEqual((self.one.viaServer(), self.other.viaServer()), ([], []))
        self.assertEqual(len(self.net.wires), 1)

    def test_others(self) -> None:
        """Stanzas to other domains go to the server, also if they quote the peer, or come with one for it."""
        elsewhere = say(1, MIRROR, "romeo@montague.example")
        quoting = elsewhere.replace("<body>1</body>", f"<x xmlns='urn:x' to='{ROOM}'/>")
        self.one.link.sendRaw(elsewhere.encode())
        self.one.link.sendRaw(quoting.encode())
        self.one.link.sendRaw((elsewhere + say(2) + elsewhere).encode())
        self.net.turn()
        self.assertEqual(self.other.took(), [say(2)])
        found = self.one.viaServer()
        self.assertEqual([f'to="{"romeo@montague.example"}"' in each for each in found], [True] * 4)

    def test_handlers(self) -> None:
        """A request for the component is answered on the link: exactly once, and to its sender."""
        self.one.link.sendRaw(f"<iq from='{MIRROR}' to='{ROOM}' type='get' id='q'><x xmlns='urn:x'/></iq>".encode())
        self.net.turn()
        [answer] = self.one.took()
        self.assertIn("service-unavailable", answer)
        self.assertIn(f"from='{ROOM}'", answer)
        self.assertEqual((self.one.viaServer(), self.other.viaServer()), ([], []))

    def test_large(self) -> None:
        """A stanza that is larger than a frame passes; one over the component's limit is refused to its sender."""
        large = say(1).replace("1</body>", "x" * (3 * MAX_BATCH) + "</body>")
        self.one.link.sendRaw(large.encode())
        self.net.turn()
        self.assertEqual(self.other.took(), [large])
        self.other.link.limits = type(self.other.link.limits)(stanzaSize=MAX_BATCH)
        self.one.link.sendRaw(large.encode())
        self.net.turn()
        self.assertEqual(self.other.took(), [])
        [refused] = self.one.took()
        self.assertIn("<policy-violation", refused)

    def test_batch(self) -> None:
        """The stanzas of one turn of the reactor are one frame."""
        before = len(self.net.wire.log)
        self.send(*range(20))
        self.assertEqual(len(self.net.wire.log), before + 1)

    def test_gathered(self) -> None:
        """On a slow link stanzas wait a moment for others, on both sides; by default they do not."""
        for site, sender, recipient in ((self.one, MIRROR, ROOM), (self.other, ROOM, MIRROR)):
            before = len(self.net.wire.log)
            site.link.sendRaw(say(1, sender, recipient).encode())
            self.net.turn()
            self.assertEqual(len(self.net.wire.log), before + 1)
        profile = {"profile": PROFILES["hf"]}
        self.one.peers.use([self.one.settings(self.other, **profile)])
        self.other.peers.use([self.other.settings(self.one, **LISTENS, **profile)])
        self.net.wait(15)
        for site, sender, recipient in ((self.one, MIRROR, ROOM), (self.other, ROOM, MIRROR)):
            before = len(self.net.wire.log)
            for number in range(3):
                site.link.sendRaw(say(number, sender, recipient).encode())
                self.net.turn()
            self.assertEqual(len(self.net.wire.log), before)
            self.net.wait(0.5)
            self.assertEqual(len(self.net.wire.log), before + 1)

    def test_noPeers(self) -> None:
        """Without peers, stanzas of a component take the short way to its server."""
        self.assertIsNotNone(self.one.link.detour)
        self.assertEqual(self.one.link.flowsSince(THERE), self.one.peers.flowsSince(THERE))
        self.assertEqual(self.one.link.flowsSince(THERE), 0.0)
        self.assertEqual(self.one.link.flowsSince("other.example"), -inf)
        self.one.peers.use([])
        self.assertIsNone(self.one.link.detour)
        self.assertEqual(self.one.link.flowsSince(THERE), -inf)

    def test_slow(self) -> None:
        """If the other side does not read, stanzas wait in the gateway; they arrive in order when it does."""
        self.net.wire.isBlocked = True
        texts = [noisy(number) for number in range(400)]
        for each in texts:
            self.one.link.sendRaw(each.encode())
            self.net.turn()
        self.assertIn("waiting:", self.report(self.one))
        self.net.wire.isBlocked = False
        self.net.turn()
        took = self.other.took()
        self.assertEqual(len(took), len(texts))
        self.assertTrue(took == texts, "they are not the same, or in another order")
        self.assertEqual(self.one.link.lost["full"], 0)

    def test_trace(self) -> None:
        """Stanzas of the link are traced as others are."""
        seen: list[bytes] = []
        self.one.link.trace(True)
        self.patch(self.one.link._tracer, "sent", lambda data, more=0: seen.append(data))
        self.send(1)
        self.assertEqual(seen, [say(1).encode()])


class BytesTests(Case):
    """Bytes of payload over TCP, in both directions."""

    def test_sizes(self) -> None:
        """The first connection takes less than 2.5 kB, a resumed one less than 700 bytes."""
        self.assertLess(self.net.wire.count, 1_500)
        self.net.wire.cut()
        self.net.wait(2)
        self.assertEqual(len(self.net.wires), 2)
        self.assertLess(self.net.wire.count, 700)

    def test_roundTrips(self) -> None:
        """
        The first stanzas on a resumed connection leave with the second flight of the connecting side: after one
        and a half round trips they are there.
        """
        self.net.wire.cut()
        self.send(1)
        self.net.wait(2)
        sides = [side for side, _ in self.net.wire.log]
        self.assertEqual(sides[:2], ["client", "server"])
        self.assertEqual(self.other.took(), [say(1)])
        flights = [side for index, side in enumerate(sides) if not index or sides[index - 1] != side]
        self.assertEqual(flights, ["client", "server", "client", "server"])

    def test_idle(self) -> None:
        """Nothing passes while nobody talks but a ping and its answer."""
        self.net.wire.count = 0
        self.net.wait(31)
        self.assertEqual(self.net.wire.count, 2 * 23)

    def test_talk(self) -> None:
        """Messages between nodes take at most 40 % of their bytes, all included."""
        raw = 0
        talk = [each for each in play(Random(5)) if b"<body>" in each]
        self.net.wire.count = 0
        connection = self.connection(self.one)
        for each in talk:
            connection.write(each)
            self.net.turn()
            raw += len(each)
        self.assertGreater(len(talk), 20)
        self.assertLess(self.net.wire.count / raw, 0.4)


class LossTests(Case):
    """The link is lost."""

    def test_reconnects(self) -> None:
        """Stanzas wait for the link, and arrive when it is back."""
        self.net.wire.cut()
        self.send(1, 2)
        self.assertEqual(self.other.took(), [])
        self.net.wait(2)
        self.assertEqual(self.other.took(), [say(1), say(2)])
        self.assertEqual(self.one.viaServer(), [])

    def test_told(self) -> None:
        """Handlers that want to know it are told of each new connection; a handler that fails does no harm."""
        told = []

        @implementer(IPeerHandler)
        class Handler(RawHandler):
            def peerConnected(self, domains: Collection[str]) -> None:
                told.append(set(domains))
                raise ValueError

        for handler in (RawHandler(), Handler(), Handler()):
            handler.setHandlerParent(self.one.link)
        self.net.wire.cut()
        self.send(1)
        self.assertEqual(told, [])
        self.net.wait(2)
        self.assertEqual(told, [{THERE}] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual(self.other.took(), [say(1)])

    def test_fallback(self) -> None:
        """If it does not come back, they go by the server; back on the link, a ping by the server goes before."""
        self.net.isDown = True
        self.net.wire.cut()
        self.send(1)
        self.net.wait(20)
        self.send(2)
        self.assertEqual(['id="m1"' in each or 'id="m2"' in each for each in self.one.viaServer()], [True, True])
        self.assertIn("down: nothing listens at tcp:192.0.2.2:5299", self.report(self.one))
        self.assertIn("by the server", self.report(self.one))
        self.net.isDown = False
        self.net.wait(40)
        self.send(3)
        self.assertEqual(self.other.took(), [])
        # The ping is repeated; the answer to the first one counts.
        ping, again = self.one.viaServer()
        for each in (ping, again):
            self.assertIn("urn:xmpp:ping", each)
        identifier = ping.split('id="')[1].split('"')[0]
        self.one.fromServer(
            f"<iq from='{THERE}/ping' to='{HERE}' type='error' id='{identifier}'>"
            "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
        self.net.turn()
        self.assertEqual(self.other.took(), [say(3)])

    def test_domains(self) -> None:
        """Each domain of the peer has a ping of its own: the server has a connection for each of them."""
        more = "more.there.example"
        self.one.peers.use([self.one.settings(self.other, domains=frozenset([THERE, more]))])
        self.net.wait(2)
        self.net.isDown = True
        self.net.wires[-1].cut()
        self.send(1)
        self.one.link.sendRaw(say(2, MIRROR, more).encode())
        self.net.wait(20)
        self.one.viaServer()
        self.net.isDown = False
        self.net.wait(40)
        self.send(3)
        found = self.one.viaServer()
        pings = {domain: each for each in found for domain in (THERE, more) if f'"{domain}/ping"' in each}
        self.assertEqual(len(pings), 2)
        for domain, expected in ((more, []), (THERE, [say(3)])):
            identifier = pings[domain].split('id="')[1].split('"')[0]
            self.one.fromServer(f"<iq from='{domain}/ping' to='{HERE}' type='result' id='{identifier}'/>")
            self.net.turn()
            self.assertEqual(self.other.took(), expected)

    def test_bothFellBack(self) -> None:
        """Both sides have used the server: neither answer to a ping waits for the other one."""
        self.net.isDown = True
        self.net.wire.cut()
        self.send(1)
        self.other.link.sendRaw(f"<message from='{ROOM}' to='{MIRROR}' id='o1'/>".encode())
        self.net.wait(20)
        self.net.isDown = False
        self.net.wait(40)
        self.send(2)
        self.other.link.sendRaw(f"<message from='{ROOM}' to='{MIRROR}' id='o2'/>".encode())
        self.net.turn()
        self.assertEqual((self.one.took(), self.other.took()), ([], []))
        # The servers deliver the pings, and the components answer.
        ways = ((self.one, self.other, HERE, THERE), (self.other, self.one, THERE, HERE))
        for asking, answering, here, there in ways:
            identifier = asking.viaServer()[-1].split('id="')[1].split('"')[0]
            answer = f"<iq from='{there}/ping' to='{here}' type='result' id='{identifier}'/>"
            answering.link.sendRaw(answer.encode())
        self.net.turn()
        self.assertIn(say(2), self.other.took())
        self.assertIn("id='o2'", "".join(self.one.took()))

    def test_channel(self) -> None:
        """
        Both sides have used the server, and no ping is answered: stanzas of a channel pass nevertheless, in both
        directions. Others wait.
        """
        self.net.isDown = True
        self.net.wire.cut()
        self.send(1)
        self.other.link.sendRaw(say(1, ROOM, MIRROR).encode())
        self.net.wait(20)
        self.net.isDown = False
        self.net.wait(40)
        header = f"<r xmlns='{ns.CHANNEL}' n='417 12 34'/></message>"
        numbered = [say(2, *way).replace("</message>", header) for way in ((MIRROR, ROOM), (ROOM, MIRROR))]
        for site, each in zip((self.one, self.other), numbered, strict=True):
            site.link.sendRaw(each.encode())
        self.send(3)
        self.assertEqual((self.other.took(), self.one.took()), (numbered[:1], numbered[1:]))

    def test_noPingAnswer(self) -> None:
        """If the server does not answer the ping, stanzas wait until it keeps none any longer."""
        self.net.isDown = True
        self.net.wire.cut()
        self.send(1)
        self.net.wait(20)
        self.net.isDown = False
        self.net.wait(40)
        self.send(2)
        self.net.wait(QUIET / 2)
        self.assertEqual(self.other.took(), [])
        self.net.wait(QUIET / 2)
        self.assertEqual(self.other.took(), [say(2)])

    def test_halfOpen(self) -> None:
        """A connection on which nothing passes any more is found by a ping; a new one takes its place."""
        self.net.wire.isBlocked = True
        self.net.wait(31 + 16 + 3)
        self.assertEqual(len(self.net.wires), 2)
        self.assertLess(self.net.wire.count, 700, "the session was not resumed")
        self.send(1)
        self.assertEqual(self.other.took(), [say(1)])

    def test_stalled(self) -> None:
        """A peer that reads nothing is gone after some time."""
        self.net.wire.server.isPaused = True
        texts = [noisy(number) for number in range(400)]
        for each in texts:
            self.one.link.sendRaw(each.encode())
            self.net.turn()
        self.assertIn(": up", self.report(self.one))
        wires = len(self.net.wires)
        self.net.wait(PROFILES["broadband"].stall + 5)
        self.assertGreater(len(self.net.wires), wires)

    def test_stalledPing(self) -> None:
        """Once output has stalled behind a ping, no answer to that ping is demanded any longer."""
        wires = len(self.net.wires)
        self.net.wire.isBlocked = True
        self.net.wait(31)
        connection = self.connection(self.one)
        for number in range(100):
            if not connection.stalled:
                self.one.link.sendRaw(noisy(number).encode())
                self.net.turn()
        self.assertTrue(connection.stalled)
        self.net.wait(20)
        self.net.wire.isBlocked, self.net.wire.client.isPaused = False, True
        self.net.wire.pass_()
        self.assertFalse(connection.stalled)
        self.one.peers._tick()
        self.net.wire.client.isPaused = False
        self.net.wait(2)
        self.assertEqual(len(self.net.wires), wires)

    def test_refused(self) -> None:
        """Without a fallback the sender gets an error that says to try again; answers are dropped."""
        self.one.peers.use([self.one.settings(self.other, fallsBack=False)])
        self.net.isDown = True
        self.net.wait(20)
        self.one.link.sendRaw(f"<presence from='{MIRROR}/a' to='{ROOM}/a' id='p'/>".encode())
        self.one.link.sendRaw(f"<iq from='{MIRROR}' to='{ROOM}' type='result' id='r'/>".encode())
        self.send(1)
        errors = self.one.took()
        self.assertEqual([each.split(" ")[0] for each in errors], ["<presence", "<message"])
        for each in errors:
            self.assertIn("<remote-server-timeout", each)
            self.assertIn("type='wait'", each)
        self.assertEqual(self.one.viaServer(), [])

    def test_replaced(self) -> None:
        """A new connection of the same peer ends the old one; nothing that is left in it arrives later."""
        old = self.net.wire
        self.send(1)
        old.client.sent += b"left"
        old.isBlocked = True
        self.one.peers.stopService()
        self.one.peers.startService()
        self.net.turn()
        self.assertEqual(len(self.net.wires), 2)
        self.assertTrue(old.server.isAborted)
        self.send(2)
        self.assertEqual(self.other.took(), [say(1), say(2)])
        self.assertIn(": up", self.report(self.other))

    def test_flapping(self) -> None:
        """The tries become rarer as well if each connection is lost soon."""
        for _ in range(120):
            self.net.wire.cut()
            self.net.wait(1)
        self.assertLess(len(self.net.wires), 40)
        self.net.wait(60)
        wires = len(self.net.wires)
        self.net.wire.cut()
        self.net.wait(1)
        self.assertEqual(len(self.net.wires), wires + 1, "after a connection that has lasted they are quick again")

    def test_stop(self) -> None:
        """At a stop the other side is told so."""
        self.other.stop()
        self.net.turn()
        self.assertIn("down: the other gateway stops", self.report(self.one))

    def drainOne(self) -> None:
        """Stop the mirror's component; it has an open exchange, so that it stays connected for a while."""
        link = self.one.link

        class Draining(RawHandler):
            """Sends its last stanza when the component stops."""

            def drain(self) -> None:
                self.pending = 1
                link.sendRaw(say(1).encode())

        Draining().setHandlerParent(link)
        self.addCleanup(self.net.wait, link.drainFor)
        link.stopService()
        self.net.turn()

    def test_drain(self) -> None:
        """A component that stops gets stanzas of the peer while it waits for open exchanges."""
        self.drainOne()
        self.assertEqual(self.other.took(), [say(1)])
        self.other.link.sendRaw(say(2, ROOM, MIRROR).encode())
        self.net.turn()
        self.assertEqual((self.one.took(), self.other.took()), ([say(2, ROOM, MIRROR)], []))
        self.net.wait(self.one.link.drainFor)
        self.other.link.sendRaw(say(3, ROOM, MIRROR).encode())
        self.net.turn()
        self.assertEqual(self.one.took(), [])
        self.assertIn("<remote-server-not-found", self.other.took()[0])

    def test_drainByServer(self) -> None:
        """The last stanzas of a component that stops go by its server if the direct link is down for long."""
        self.net.isDown = True
        self.net.wire.cut()
        self.net.wait(20)
        self.drainOne()
        self.assertEqual(len(self.one.viaServer()), 1)

    def test_drainRefused(self) -> None:
        """Without a fallback, a component that stops gets the error for its last stanza."""
        self.one.peers.use([self.one.settings(self.other, fallsBack=False)])
        self.net.isDown = True
        self.net.wait(20)
        self.drainOne()
        self.assertEqual(len(self.one.took()), 1)

    def test_backoff(self) -> None:
        """The tries to connect become rarer."""
        self.net.isDown = True
        self.net.wire.cut()
        self.net.wait(600)
        self.assertLess(len(self.net.reactor.tcpClients), 70)
        self.assertGreater(len(self.net.reactor.tcpClients), 20)


class TrustTests(Case):
    """A peer speaks for its own domains, with its own key."""

    def inject(self, *xml: str) -> None:
        """Let the peer send stanzas that its gateway would not send."""
        connection = self.connection(self.one)
        for each in xml:
            connection.write(each.encode())
        self.net.turn()

    def test_senders(self) -> None:
        """Stanzas from other domains are dropped, logged and counted; so are unprepared spellings."""
        for sender in (
            *("romeo@montague.example", THERE, f"x@{THERE}", f"room@evil.{HERE}", f"room@{HERE}.evil.example"),
            *(f"Room@{HERE}", f"room@{HERE.upper()}", f"room@{HERE}/", f"a@b@{HERE}", "", "@"),
        ):
            self.inject(say(1, sender))
            self.assertEqual(self.other.took(), [], sender)
        self.inject(say(1).replace(f" from='{MIRROR}'", ""), "<x xmlns='urn:x'/>")
        self.assertEqual(self.other.took(), [])
        self.assertIn(
            "11 from a domain that is not the peer's" if False else "not the peer's", self.report(self.other)
        )
        self.inject(say(2))
        self.assertEqual(self.other.took(), [say(2)])

    def test_recipients(self) -> None:
        """A stanza for a domain that is no component here gets an error on the link, and no server sees it."""
        for recipient in ("user@there.example", "there.example", f"x@other.{THERE}"):
            self.inject(say(1, MIRROR, recipient))
            [answer] = self.one.took() or [""]
            self.assertEqual(answer, "", "it is not from the peer's domain either")
        self.assertEqual(self.other.took(), [])
        self.assertEqual(self.other.viaServer(), [])
        self.assertIn("to a domain that is not a component here", self.report(self.other))
        self.inject(say(1, MIRROR, f"ROOM@{THERE}"))
        self.assertEqual(self.other.took(), [])

    def test_noComponent(self) -> None:
        """A domain that is configured as the peer's, but is no component there: requests get one answer."""
        extra = f"extra.{THERE}"
        self.one.peers.use([self.one.settings(self.other, domains=frozenset([THERE, extra]))])
        self.net.wait(2)
        for kind in ("get", "result", "error"):
            xml = f"<iq from='{MIRROR}' to='{extra}' type='{kind}' id='{kind}'><x xmlns='urn:x'/></iq>"
            self.one.link.sendRaw(xml.encode())
        self.net.turn()
        [answer] = self.one.took()
        self.assertIn("<remote-server-not-found", answer)
        self.assertIn(f"from='{extra}' to='{MIRROR}'", answer)

    def test_removed(self) -> None:
        """A component that is removed gets nothing, and sends to its server."""
        self.other.peers.remove(self.other.link)
        self.inject(say(1))
        self.assertEqual(self.other.took(), [])
        self.other.link.sendRaw(say(1, ROOM, MIRROR).encode())
        self.assertEqual(len(self.other.viaServer()), 1)

    def test_stanzasRefused(self) -> None:
        """A stanza that the rules of XML forbid is refused alone, and the link goes on."""
        deep = say(1).replace("<body>1</body>", "<a>" * 100 + "</a>" * 100)
        self.inject(deep, say(2))
        self.assertEqual(self.other.took(), [say(2)])
        [answer] = self.one.took()
        self.assertIn("<policy-violation", answer)
        self.inject(deep.replace(MIRROR, "romeo@montague.example"))
        self.assertEqual((self.one.took(), self.other.viaServer()), ([], []))


@implementer(IOpenSSLClientConnectionCreator)
class Keyless:
    """A TLS client without a key."""

    def __init__(self, version: int) -> None:
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.set_max_proto_version(version)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class Talks(Protocol):
    """A server that speaks first, and no TLS."""

    def connectionMade(self) -> None:
        self.transport.write(b"220 mail.example ESMTP\r\n")


class KeyTests(SynchronousTestCase):
    """Handshakes that fail."""

    def make(
        self, here: dict[str, Any] | None = None, there: dict[str, Any] | None = None
    ) -> tuple[Net, Site, Site]:
        net, one, other = two(self.mktemp(), here, there)
        self.addCleanup(net.wait, 1)
        self.addCleanup(one.stop)
        self.addCleanup(other.stop)
        net.turn()
        return net, one, other

    def report(self, site: Site) -> str:
        return "\n".join(str(each) for each in site.peers.report())

    def test_unknown(self) -> None:
        """The listening side does not know the key: both say so, with the fingerprint, and nothing is lost."""
        net, one, other = self.make(None, {"fingerprints": frozenset(["sha256:" + "0" * 64])})
        net.wait(1)
        self.assertIn(f"the other gateway says: the key {one.own} is not configured", self.report(one))
        self.assertIn("the other side's configuration", self.report(one))
        refused = f"refused: the key {one.own} is not configured: compare it with fingerprint in this configuration"
        self.assertRegex(self.report(other), f"direct link to {HERE}: down: .*; a connection from .* was {refused}")
        one.link.sendRaw(say(1).encode())
        net.wait(20)
        self.assertEqual(len(one.viaServer()), 1)
        other.peers.use([other.settings(one, **LISTENS)])
        net.wait(60)
        self.assertIn(": up", self.report(other))
        one.stop()
        net.wait(3)
        self.assertIn(": down", self.report(other))
        self.assertNotIn("not configured", self.report(other))

    def test_wrong(self) -> None:
        """The listening side has another key than configured: the connecting side sends it nothing."""
        net, one, other = self.make({"fingerprints": frozenset(["sha256:" + "0" * 64])})
        one.link.sendRaw(say(1).encode())
        net.wait(1)
        self.assertIn(f"the key {other.own} is not configured", self.report(one))
        self.assertIn("fingerprint in this configuration", self.report(one))
        self.assertEqual(other.took(), [])

    def test_two(self) -> None:
        """While a key is replaced, two fingerprints are configured."""
        own = "sha256:" + "0" * 64
        net = Net()
        folder = self.mktemp()
        one, other = Site(net, folder + ".1", HERE), Site(net, folder + ".2", THERE)
        one.peers.use([one.settings(other, fingerprints=frozenset([own, other.own]))])
        other.peers.use([other.settings(one, **LISTENS, fingerprints=frozenset([own, one.own]))])
        for site in (other, one):
            site.start()
            self.addCleanup(site.stop)
        net.turn()
        self.assertIn(": up", self.report(one))

    def test_changed(self) -> None:
        """A key that is taken back is refused at once, also with a session of before."""
        net, one, other = self.make()
        self.assertIn(": up", self.report(one))
        other.peers.use([other.settings(one, **LISTENS, fingerprints=frozenset(["sha256:" + "0" * 64]))])
        net.wait(3)
        self.assertIn("is not configured", self.report(one))
        one.link.sendRaw(say(1).encode())
        net.wait(3)
        self.assertEqual(other.took(), [])

    def test_restarted(self) -> None:
        """If the listening side has forgotten the session, there is a full handshake."""
        net, one, other = self.make()
        other.peers.use([])
        net.wait(1)
        other.peers.use([other.settings(one, **LISTENS)])
        net.wait(5)
        self.assertIn(": up", self.report(one))
        self.assertGreater(net.wire.count, 1_000)

    def test_noKey(self) -> None:
        """A TLS client that shows no key, or speaks TLS 1.2 only, is refused; the log says so."""
        net, _, other = self.make()
        for version, words in (
            (SSL.TLS1_3_VERSION, "the other side has shown no key"),
            (SSL.TLS1_2_VERSION, "the other side does not speak TLS 1.3"),
        ):
            net.wait(61)
            with capturedLogs() as lines:
                factory = TLSMemoryBIOFactory(Keyless(version), True, Factory.forProtocol(Protocol), net.reactor)
                [server] = [each for number, each, *_ in net.reactor.tcpServers if number == 5299]
                address = IPv4Address("TCP", "192.0.2.1", 40000)
                net.wires.append(Wire(factory.buildProtocol(address), server.buildProtocol(address)))
                net.turn()
            self.assertTrue(net.wire.server.isLost)
            [line] = [formatEvent(each) or "" for each in lines if "listen" in each]
            self.assertIn("tcp:5299: a connection from 192.0.2.1 was refused: TLS failed", line)
            self.assertIn(words, line)
        self.assertIn(": up", self.report(other))

    def test_notTls(self) -> None:
        """The connecting side finds something else than a gateway."""
        net = Net()
        one = Site(net, self.mktemp(), HERE)
        one.peers.use([one.settings(THERE, fingerprints=frozenset([one.own]))])
        net.reactor.listenTCP(5299, Factory.forProtocol(Talks))
        one.start()
        self.addCleanup(one.stop)
        net.turn()
        self.assertIn("the other side does not speak TLS 1.3: is it a gateway", self.report(one))

    def test_garbage(self) -> None:
        """Bytes that are no TLS, or a TLS without a key, end the connection; others go on."""
        net, one, other = self.make()
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0" * 100,
            b"<stream:stream>",
            b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        ):
            end, _ = net.raw()
            end.write(garbage)
            net.turn()
            self.assertTrue(end.isLost, garbage[:20])
        one.link.sendRaw(say(1).encode())
        net.turn()
        self.assertEqual(other.took(), [say(1)])

    def test_silent(self) -> None:
        """Connections that show no key: the oldest are closed when there are many, and all after some time."""
        net, one, _ = self.make()
        ends = [net.raw()[0] for _ in range(25)]
        net.turn()
        self.assertEqual([end.isLost for end in ends], [True] * 5 + [False] * 20)
        ends[-1].write(b"\x16")
        net.wait(PROFILES["hf"].handshake + 1)
        self.assertEqual([end.isLost for end in ends], [True] * 25)
        self.assertIn(": up", self.report(one))


class HostileTests(Case):
    """An authenticated peer that breaks the rules."""

    def frame(self, data: bytes) -> None:
        """Send the listening side bytes above TLS."""
        self.connection(self.one).transport.write(data)
        self.net.turn()

    def test_frames(self) -> None:
        """Bad frames end the connection, with a reason for both sides; the next connection works."""
        for data, why in (
            (b"\xff\xff\xff\xff", "header"),
            (b"\x07", "unknown kind"),
            (written(Kind.PING, b"x"), "content in a frame"),
            (written(Kind.READY), "READY from the connecting side"),
            (written(Kind.STANZAS, b"no zstd at all"), "decompressed"),
            (written(Kind.STANZAS, Compressor(1)._stream.compress(b"x" * 10_000_000, 1)), "more than 65536 bytes"),
        ):
            wires = len(self.net.wires)
            self.frame(data)
            self.net.wait(2)
            self.assertGreater(len(self.net.wires), wires, why)
            self.send(1)
            self.assertEqual(self.other.took(), [say(1)])
            self.flushLoggedErrors()

    @steady
    @given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=6), st.binary(max_size=40))
    def test_anything(self, frames: list[tuple[Kind, bytes]], more: bytes) -> None:
        """Frames with any content, and any bytes: nothing raises, and a new connection works."""
        net, one, other = two(self.mktemp())
        net.turn()
        [peer] = one.peers._peers.values()
        assert peer._connection is not None
        peer._connection.transport.write(b"".join(written(*each) for each in frames) + more)
        net.turn()
        net.wire.cut()
        net.wait(3)
        one.link.sendRaw(say(1).encode())
        net.turn()
        self.assertEqual(other.took(), [say(1)])
        self.assertEqual(self.flushLoggedErrors(), [])
        for site in (one, other):
            site.stop()
        net.wait(1)

    def test_early(self) -> None:
        """Stanzas before the connection is ready end it."""
        connection = self.connection(self.other)
        connection.isReady = False
        self.connection(self.one).write(say(1).encode())
        self.net.turn()
        self.assertTrue(connection.hasEnded)
        self.assertEqual(self.other.took(), [])

    def test_xml(self) -> None:
        """XML that cannot be read on ends the connection."""
        for xml in (b"<message><a></message>", b"<!DOCTYPE x>", b"</stream:stream>", b"\xff"):
            wires = len(self.net.wires)
            self.connection(self.one).write(xml)
            self.net.turn()
            self.net.wait(2)
            self.assertGreater(len(self.net.wires), wires, xml)

    def test_pings(self) -> None:
        """A flood of pings is answered once a turn."""
        self.net.wire.count = 0
        before = len(self.net.wire.log)
        self.frame(written(Kind.PING) * 20_000)
        answers = [side for side, _ in self.net.wire.log[before:] if side == "server"]
        self.assertLess(len(answers), 50)
        before = len(self.net.wire.log)
        self.send(1)
        self.assertEqual([side for side, _ in self.net.wire.log[before:]], ["client"])

    def test_flood(self) -> None:
        """Frames that stand for many bytes are read little by little, and the reactor goes on meanwhile."""
        connection = self.connection(self.one)
        stanza = say(1, "romeo@montague.example").encode()
        batch = stanza * (MAX_BATCH // len(stanza))
        data = b"".join(written(Kind.STANZAS, connection._compressor.compress(batch)) for _ in range(100))
        self.assertLess(len(data), MAX_BATCH)
        connection.transport.write(data)
        self.net.reactor.advance(0)
        self.net.wire.pass_()
        [peer] = self.other.peers._peers.values()
        first = peer.refused["from a domain that is not the peer's"]
        self.assertLess(first, 2 * len(batch) // len(stanza) + 1)
        self.net.turn()
        self.assertEqual(peer.refused["from a domain that is not the peer's"], 100 * (len(batch) // len(stanza)))

    def test_endless(self) -> None:
        """A stanza without an end takes bounded memory."""
        connection = self.connection(self.one)
        connection.write(b"<message from='%b' to='%b'><body>" % (MIRROR.encode(), ROOM.encode()))
        for _ in range(20):
            connection.write(b"x" * MAX_BATCH)
            self.net.turn()
        self.assertLess(self.connection(self.other)._splitter._restSize, 1024 * 1024)
        connection.write(b"</body></message>" + say(2).encode())
        self.net.turn()
        self.assertEqual(self.other.took(), [say(2)])
