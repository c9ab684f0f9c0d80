"""The embedded host in memory, on a test clock, with clients and components driven by the test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache
from hashlib import pbkdf2_hmac, sha1
from typing import Any
from xml.etree import ElementTree

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from gateway import ns
from gateway.embedded.accounts import Accounts, Passwords
from gateway.embedded.client import ClientConnection
from gateway.embedded.component import ComponentConnection
from gateway.embedded.core import MAX_STANZA, Router
from gateway.embedded.handler import Services
from gateway.embedded.peer import PeerConnection
from gateway.embedded.roster import Item
from gateway.embedded.sessions import Account, Session
from gateway.embedded.stanzas import readdressed, rosterQuery
from gateway.errors import GatewayError, RecipientUnavailable
from gateway.stream.core import Splitter
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryTransport
from gateway.xml.errors import errorStanza
from gateway.xml.write import route

DOMAIN = "h.example"
COMPONENT = "c.h.example"
SECRET = "s3cret"
PASSWORDS = {"alice": "wonder land", "bob": "pässword", "carol": "c", "dave": "d"}

_OPENING = re.compile(rb"<\?xml[^>]*\?>|<stream:stream [^>]*>|</stream:stream>")


def stanza(xml: str, namespace: str = ns.CLIENT, declared: str = "") -> Stanza:
    """Return the one stanza in this text."""
    splitter = Splitter(namespace)
    splitter.feed(f"<stream:stream xmlns='{namespace}' xmlns:stream='{ns.STREAMS}' {declared}>".encode())
    [event] = splitter.feed(xml.encode())
    assert isinstance(event, Stanza), event
    return event


def elements(data: bytes, namespace: str = ns.CLIENT) -> list[ElementTree.Element]:
    """Return the elements of a stream, without its headers and end."""
    content = _OPENING.sub(b"", data)
    root = f"<stream:stream xmlns='{namespace}' xmlns:stream='{ns.STREAMS}'>".encode()
    return list(ElementTree.fromstring(root + content + b"</stream:stream>"))


def local(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def said(element: ElementTree.Element) -> str:
    """
    Describe a first-level element: name, type, id, C{from > to}, and the condition if it is an error.

    Missing attributes are left out.
    """
    if local(element) == "features":
        return "features"
    words = [local(element)]
    words += [element.attrib[name] for name in ("type", "id") if name in element.attrib]
    if {"from", "to"} & element.attrib.keys():
        words.append(f"{element.get('from', '')} > {element.get('to', '')}")
    conditions = (ns.STREAM_ERRORS, ns.STANZA_ERRORS, ns.SASL)
    words += [
        local(each)
        for each in element.iter()
        if each.tag[1:].partition("}")[0] in conditions and each is not element
    ]
    return " ".join(word for word in words if word != "text")


class Recorder:
    """
    A peer that records calls.

    @ivar got: a line for each stanza, C{name type from > to}; announcements have the same form.
    @ivar waited: the peers that it was told to wait for.
    """

    agent = None

    def __init__(self) -> None:
        self.got: list[str] = []
        self.waited: list[object] = []

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        self.got.append(f"{stanza.name} {stanza.type or 'available'} {sender} > {recipient}")

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        self.got.append(f"answer {stanza.id} {recipient} > {sender} {payload}".rstrip())

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        self.got.append(f"presence {kind} {sender} > {recipient}")

    def push(self, item: Item, removed: bool) -> None:
        state = "remove" if removed else item.subscription + (" ask" if item.ask else "")
        self.got.append(f"push {item.jid} {state}")

    def waitFor(self, peer: object, stanza: Stanza) -> None:
        self.waited.append(peer)

    def taken(self) -> list[str]:
        """Return the lines since the last call."""
        got, self.got = self.got, []
        return got


class MemoryPeer:
    """
    A peer that keeps the bytes that are sent to it, as on a client's stream.

    @ivar data: the bytes since the last L{take}.
    """

    agent = None

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        self.write(readdressed(stanza, sender, recipient, ns.CLIENT, MAX_STANZA))

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        self.write(f"<iq type='result' id='{stanza.id}' from='{recipient}' to='{sender}'>{payload}</iq>".encode())

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        self.write(f"<presence type='{kind}' from='{sender}' to='{recipient}'/>".encode())

    def push(self, item: Item, removed: bool) -> None:
        self.write(f"<iq type='set' id='push'>{rosterQuery([item], removed)}</iq>".encode())

    def refuseStanza(self, stanza: Stanza, sender: str, recipient: str, error: type[GatewayError]) -> None:
        self.write(errorStanza(stanza.name, route(recipient, sender), stanza.id, error))

    def waitFor(self, peer: object, stanza: Stanza) -> None:
        """Ignore back-pressure."""

    def take(self) -> bytes:
        data, self.data = self.data, b""
        return data


class Rules:
    """A router for C{h} with three accounts and a component, and L{Recorder}s as its peers."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.router = Router("h", ["alice", "bob", "carol"], self._serve)
        self.component = Recorder()
        self.router.components = {"c.h": self.component, "off.h": None}

    def _serve(self, peer: Any, stanza: Stanza, sender: str, recipient: str, account: Account | None) -> None:
        if account is None and recipient != self.router.domain:
            raise RecipientUnavailable
        self.served.append(f"{sender} > {recipient}")

    def bind(self, jid: str, interested: bool = True) -> tuple[Session, Recorder]:
        """Log a resource in."""
        peer = Recorder()
        session, _ = self.router.bind(self.account(jid), jid, peer)
        session.interested = interested
        return session, peer

    def online(self, jid: str, presence: str = "<presence/>") -> tuple[Session, Recorder]:
        """Log a resource in and make it available."""
        session, peer = self.bind(jid)
        self.router.fromClient(session, stanza(presence), "")
        peer.taken()
        return session, peer

    def account(self, jid: str) -> Account:
        return self.router.accounts[jid.partition("/")[0]]

    def befriend(self, one: str, other: str) -> None:
        """Subscribe two accounts to each other."""
        for own, contact in ((one, other), (other, one)):
            item = self.account(own).roster.set(contact, "", ())
            item.to = item.from_ = True

    def grant(self, own: str, contact: str) -> None:
        """Let a contact see an account."""
        self.account(own).roster.set(contact, "", ()).from_ = True


class CoreCase(SynchronousTestCase):
    """A router, and alice as the sender."""

    def setUp(self) -> None:
        self.rules = Rules()
        self.router = self.rules.router
        self.alice, self.atAlice = self.rules.online("alice@h/a")

    def send(self, xml: str, to: str, sender: Session | None = None) -> type[GatewayError] | None:
        """Send a stanza as a client; return the error that it gets."""
        try:
            self.router.fromClient(sender or self.alice, stanza(xml), to)
        except GatewayError as error:
            return type(error)
        return None

    def fromComponent(self, xml: str, to: str, sender: str = "c.h") -> type[GatewayError] | None:
        """Send a stanza as the component."""
        try:
            self.router.fromComponent(self.rules.component, stanza(xml), sender, to)
        except GatewayError as error:
            return type(error)
        return None


class Wire(MemoryTransport):
    """
    One connection to the host.

    @ivar secured: the argument of C{startTLS}.
    @ivar before: the bytes written before that.
    """

    def __init__(self, clock: Clock, protocol: PeerConnection) -> None:
        super().__init__(clock)
        # These methods of a socket do nothing here.
        directlyProvides(self)
        self.protocol = protocol
        self.secured: list[object] = []
        self.before = b""
        self._read = 0
        protocol.makeConnection(self)

    def startTLS(self, options: object) -> None:
        self.secured.append(options)
        self.before = self.value()

    def send(self, xml: str | bytes) -> list[str]:
        """Send text to the host; return its output since the last time."""
        if not self.lost:
            self.protocol.dataReceived(xml.encode() if isinstance(xml, str) else xml)
        return self.taken()

    def raw(self) -> bytes:
        """Return the bytes received since the last time."""
        data = self.value()[self._read :]
        self._read += len(data)
        return data

    def heard(self) -> list[ElementTree.Element]:
        """Return the elements received since the last time."""
        return elements(self.raw(), self.protocol.namespace)

    def taken(self) -> list[str]:
        """Return descriptions of the elements received since the last time."""
        return [said(element) for element in self.heard()]


@lru_cache
def keys() -> Passwords:
    """Make the certificate once, because a key takes time."""
    return Passwords(PASSWORDS)


class Host:
    """The host without its ports."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.services = Services(DOMAIN, PASSWORDS, [], self.clock.seconds)
        self.router = self.services.router
        self.secrets = {COMPONENT: SECRET}
        self.router.components[COMPONENT] = None
        self.portal = Portal(Accounts(self.router), [keys()])
        self.tls = object()

    def client(self) -> ClientConnection:
        return ClientConnection(self.services, self.portal, keys(), self.tls, self.clock)

    def componentConnection(self) -> ComponentConnection:
        return ComponentConnection(self.services, self.secrets, self.clock)

    def connected(self) -> Client:
        """Return a connected client, not logged in."""
        return Client(self.clock, self.client())

    def online(self, jid: str) -> Client:
        """Return a logged-in client; available if a resource is given."""
        client = self.connected()
        user, _, resource = jid.partition("/")
        client.logIn(user, PASSWORDS[user], resource or "r")
        return client

    def component(self, jid: str = COMPONENT) -> Component:
        """Return a connected component."""
        component = Component(self.clock, self.componentConnection())
        component.logIn(jid, self.secrets[jid])
        return component


class Client(Wire):
    """The client's end of a connection."""

    def header(self, domain: str = DOMAIN, more: str = "version='1.0'", declared: str = "") -> list[str]:
        """Open a stream."""
        return self.send(
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' {declared} "
            f"to='{domain}' {more}>"
        )

    def secure(self) -> Client:
        """Open a stream over TLS."""
        self.header()
        self.send(f"<starttls xmlns='{ns.TLS}'/>")
        self.header()
        return self

    def auth(self, mechanism: str, message: bytes | None) -> list[str]:
        """Begin a SASL exchange."""
        data = "" if message is None else base64.b64encode(message).decode() or "="
        return self.send(f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{data}</auth>")

    def respond(self, message: bytes) -> list[str]:
        """Continue a SASL exchange."""
        return self.send(f"<response xmlns='{ns.SASL}'>{base64.b64encode(message).decode() or '='}</response>")

    def plain(self, user: str, password: str) -> list[str]:
        """Log in with PLAIN."""
        return self.auth("PLAIN", f"\0{user}\0{password}".encode())

    def logIn(self, user: str, password: str, resource: str = "r", declared: str = "") -> None:
        """Do everything before the first stanza."""
        self.secure()
        assert self.plain(user, password) == ["success"]
        self.header(declared=declared)
        assert self.bind(resource) == ["iq result bind"]

    def bind(self, resource: str) -> list[str]:
        """Bind a resource."""
        wanted = f"<resource>{resource}</resource>" if resource else ""
        return self.send(f"<iq type='set' id='bind'><bind xmlns='{ns.BIND}'>{wanted}</bind></iq>")


class ClientCase(SynchronousTestCase):
    """A host, and a connected client."""

    def setUp(self) -> None:
        self.host = Host()
        self.client = self.host.connected()

    def assertEnded(self, client: Client, heard: list[str], condition: str) -> None:
        """Check that the stream ended with this error, as its last element, and that the connection is closed."""
        self.assertEqual(heard[-1:], [f"error {condition}"])
        self.assertTrue(client.value().endswith(b"</stream:stream>"))
        self.host.clock.advance(0)
        self.assertTrue(client.lost)


class Component(Wire):
    """The component's end of a connection."""

    def header(self, jid: str = COMPONENT) -> str:
        """
        Open a stream.

        @return: its id.
        """
        self.protocol.dataReceived(
            f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}' to='{jid}'>".encode()
        )
        found = re.search(rb" id='([^']*)'", self.value())
        return found.group(1).decode() if found else ""

    def logIn(self, jid: str, secret: str, more: str = "") -> list[str]:
        """Send the handshake, and more in the same segment."""
        proof = sha1((self.header(jid) + secret).encode()).hexdigest()  # noqa: S324  # XEP-0114 has it so
        return self.send(f"<handshake>{proof}</handshake>{more}")


class ScramClient:
    """
    The client's side of RFC 5802, written without the library that the host uses.

    @param digest: the hash function.
    """

    def __init__(
        self,
        user: str,
        password: str,
        header: str = "n,,",
        nonce: str = "fyko+d2lbbFgONRv9qkxdawL",
        digest: str = "sha256",
    ) -> None:
        self._digest = digest
        self._password = password
        self._header = header
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self._expected = b""

    def first(self) -> bytes:
        return (self._header + self._bare).encode()

    def final(self, challenge: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = pbkdf2_hmac(self._digest, self._password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        binding = base64.b64encode(self._header.encode()).decode()
        without = f"c={binding},r={fields['r']}"
        message = f"{self._bare},{challenge.decode()},{without}".encode()
        key = hmac.digest(salted, b"Client Key", self._digest)
        signature = hmac.digest(hashlib.new(self._digest, key).digest(), message, self._digest)
        serverKey = hmac.digest(salted, b"Server Key", self._digest)
        self._expected = hmac.digest(serverKey, message, self._digest)
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        return f"{without},p={base64.b64encode(proof).decode()}".encode()

    def trusts(self, final: bytes) -> bool:
        """True if the server has proved that it knows the keys."""
        return final == b"v=" + base64.b64encode(self._expected)
