"""
The proxy and its link with the output of Openfire 5.1.1, recorded on a component link, stanza by stanza.

Tokens are made with these tests' key; the rest of Openfire's half is unchanged.
"""

from __future__ import annotations

from hashlib import sha1

from twisted.trial.unittest import TestCase

from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.pool import Pool
from gateway.proxy.store import MIGRATIONS, ExchangeStore
from gateway.state.memory import MemoryStore
from gateway.testing import MemoryServer, canonical

C, T, ANN = "proxy.localhost", "impl@localhost", "ann@localhost/r"
NODE = "node@proxy.localhost/some resource"
OPENFIRE = "component.localhost"

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
HEADER = (
    '<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:component:accept" '
    'from="proxy.localhost"'
)
ACCEPTED = "<handshake></handshake>"
INFO = (
    '<iq type="get" id="41-2" from="component.localhost" to="proxy.localhost">'
    '<query xmlns="http://jabber.org/protocol/disco#info"/></iq>'
)
VERSION = (
    '<iq type="get" id="224-3" from="component.localhost" to="proxy.localhost">'
    '<query xmlns="jabber:iq:version"/></iq>'
)
PHOTO = '<x xmlns="vcard-temp:x:update"><photo/></x>'
SUBSCRIBED = '<presence to="proxy.localhost" type="subscribed" from="impl@localhost"/>'
ONLINE = f'<presence from="impl@localhost/a" to="proxy.localhost">{PHOTO}</presence>'
PROBE = f"<presence from='{C}' to='{T}' type='probe'/>"
SUBSCRIBE = f"<presence from='{C}' to='{T}' type='subscribe'/>"


def refused(identifier: str, recipient: str, text: str) -> str:
    """Return the gateway's own error."""
    namespace = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
    return (
        f"<iq from='{C}' to='{recipient}' id='{identifier}' type='error'><error type='cancel'>"
        f"<service-unavailable {namespace}/><text {namespace}>{text}</text></error></iq>"
    )


class OpenfireCase(TestCase):
    """A gateway that connects to Openfire."""

    def setUp(self) -> None:
        self.sealer = Sealer(C, b"k" * 32)
        pool = Pool(T, "*", "round-robin", lambda: 0.0)
        rules = Rules(forward=frozenset(("iq", "message", "presence")))
        self.server = MemoryServer(C)
        handler = ProxyHandler(Translator(self.sealer, pool, rules), ExchangeStore(MemoryStore(MIGRATIONS)))
        handler.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.server.link.startService()

    def assertSent(self, *expected: str) -> None:
        """Exactly this was sent since the last call."""
        self.assertEqual(self.server.taken(), canonical("".join(expected)))

    def alias(self, address: str = C, requester: str = ANN) -> str:
        """Return the address of the requester that the implementing client sees."""
        return f"{C}/{self.sealer.seal(requester, address)}"

    def connect(self, identifier: str, *more: str) -> None:
        """Connect: the first requests arrive in the same packet as the end of the handshake."""
        self.server.transport.clear()
        self.server.send(f'{DECLARATION}{HEADER} id="{identifier}">')
        digest = sha1(f"{identifier}secret".encode(), usedforsecurity=False).hexdigest()
        self.assertEqual(self.server.transport.value(), f"<handshake>{digest}</handshake>".encode())
        self.server.transport.clear()
        self.server.send(ACCEPTED + "".join(more))
        self.assertTrue(self.server.link.ready)


class LinkTests(OpenfireCase):
    """Connecting."""

    def test_firstTime(self) -> None:
        """Openfire's own requests wait; if no client accepts the subscription they are refused."""
        self.connect("1qgm9hi7l", INFO, VERSION)
        self.assertSent(PROBE, SUBSCRIBE)
        self.server.clock.pump([0.5] * 8)
        nobody = "No implementing client is online."
        sent = [each for each in self.server.taken() if "service-unavailable" in each]
        self.assertEqual(sent, canonical(refused("41-2", OPENFIRE, nobody) + refused("224-3", OPENFIRE, nobody)))
        self.server.send(SUBSCRIBED + ONLINE)
        self.server.taken()
        self.server.send(INFO)
        self.assertIn(f"{T}/a", self.server.taken()[0])

    def test_restarted(self) -> None:
        """After a restart Openfire's requests reach the implementing client, once its presence has come."""
        self.connect("b032vajyh2", INFO)
        self.assertSent(PROBE, SUBSCRIBE)
        self.server.send(VERSION)
        self.server.send('<presence to="proxy.localhost" from="impl@localhost" type="subscribed"/>')
        self.assertSent()
        self.server.send(ONLINE)
        there = f"from='{self.alias(C, OPENFIRE)}' to='{T}/a'"
        self.assertSent(
            *(each.replace(f'from="{OPENFIRE}" to="{C}"', there) for each in (INFO, VERSION)),
        )

    def test_taken(self) -> None:
        """A name in use by another connection: a header without an id, then the end; no hash is sent."""
        self.server.transport.clear()
        self.server.send(f"{DECLARATION}{HEADER}>")
        self.assertEqual(self.server.transport.value(), b"")
        self.server.lose()
        self.assertIn("does not accept this component's name", self.server.link.trouble)
        for _ in range(14):
            self.server.clock.advance(1.0)
        self.assertEqual(self.server.connections, 1)

    def test_takenWithError(self) -> None:
        """By Openfire's source a stream error follows that header; if it arrives, it is the reason."""
        self.server.send(
            f"{DECLARATION}{HEADER}>"
            '<stream:error><conflict xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>'
        )
        self.server.lose()
        self.assertIn("another connection for this component", self.server.link.trouble)


class ExchangeTests(OpenfireCase):
    """Connected, with the implementing client online."""

    def setUp(self) -> None:
        super().setUp()
        self.connect("b032vajyh2")
        self.server.send(SUBSCRIBED + ONLINE)
        self.assertSent(PROBE, SUBSCRIBE)

    def test_request(self) -> None:
        """A request to any address of the component, and the error that answers it."""
        query = '<query xmlns="jabber:iq:version"></query>'
        self.server.send(f'<iq type="get" to="{NODE}" id="q2" from="{ANN}">{query}</iq>')
        self.assertSent(f"<iq from='{self.alias(NODE)}' to='{T}/a' type=\"get\" id=\"q2\">{query}</iq>")
        error = (
            '<error type="cancel"><feature-not-implemented xmlns="urn:ietf:params:xml:ns:xmpp-stanzas">'
            "</feature-not-implemented></error>"
        )
        self.server.send(f'<iq type="error" to="{self.alias(NODE)}" id="q2" from="{T}/a">{error}</iq>')
        self.assertSent(f"<iq from='{NODE}' to='{ANN}' type=\"error\" id=\"q2\">{error}</iq>")

    def test_result(self) -> None:
        """An empty result."""
        self.server.send(f'<iq type="get" to="{C}" id="q1" from="{ANN}"><ping xmlns="urn:xmpp:ping"></ping></iq>')
        self.server.taken()
        self.server.send(f'<iq type="result" to="{self.alias()}" id="q1" from="{T}/a"/>')
        self.assertSent(f"<iq from='{C}' to='{ANN}' type=\"result\" id=\"q1\"></iq>")

    def test_messages(self) -> None:
        """Messages in both directions."""
        self.server.send(f'<message to="{C}" type="chat" id="m1" from="{ANN}"><body>hello</body></message>')
        self.assertSent(
            f"<message from='{self.alias()}' to='{T}/a' type=\"chat\" id=\"m1\"><body>hello</body></message>"
        )
        self.server.send(f'<message to="{self.alias()}" type="chat" from="{T}/a"><body>hi</body></message>')
        self.assertSent(f"<message from='{C}' to='{ANN}' type=\"chat\"><body>hi</body></message>")

    def test_presence(self) -> None:
        """Directed presence, to which Openfire adds a photo's element."""
        inside = f"<status>directed</status>{PHOTO}"
        self.server.send(f'<presence to="{C}" from="{ANN}">{inside}</presence>')
        self.assertSent(f"<presence from='{self.alias()}' to='{T}/a'>{inside}</presence>")

    def test_gone(self) -> None:
        """The resource of an open request becomes unavailable: a get goes to the other one, a set is refused."""
        self.server.send(f'<iq type="get" to="{C}" id="k0" from="{ANN}"><ping xmlns="urn:xmpp:ping"></ping></iq>')
        self.server.send(ONLINE.replace("/a", "/b", 1))
        self.server.taken()
        self.server.send(f'<presence type="unavailable" from="{T}/a" to="{C}"/>')
        self.assertSent(
            f"<iq from='{self.alias()}' to='{T}/b' type='get' id='k0'><ping xmlns=\"urn:xmpp:ping\"></ping></iq>"
        )
        self.server.send(f'<iq type="result" to="{self.alias()}" id="k0" from="{T}/b"/>')
        self.server.taken()
        self.server.send(f'<iq type="set" to="{C}" id="k1" from="{ANN}"><query xmlns="x:y"></query></iq>')
        self.server.taken()
        self.server.send(f'<presence type="unavailable" from="{T}/b" to="{C}"/>')
        self.assertSent(refused("k1", ANN, "The implementing client went offline."))
        self.server.send(f'<iq type="get" to="{C}" id="k2" from="{ANN}"><ping xmlns="urn:xmpp:ping"></ping></iq>')
        self.assertSent(refused("k2", ANN, "No implementing client is online."))
