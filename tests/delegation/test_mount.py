"""Ordinary Wokkel handlers on delegated namespaces, unchanged."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.generic import FallbackHandler, VersionHandler
from wokkel.pubsub import NS_PUBSUB, Item, PubSubResource, PubSubService
from wokkel.subprotocols import XMPPHandler

from gateway import ns
from gateway.delegation.mount import Mount
from gateway.interfaces import IDelegatedRequest
from gateway.privilege.handler import PrivilegeHandler
from gateway.testing import delegatedRequest
from gateway.xml.read import parse
from tests.stream.memory import HEADER, World, domishTree

TUNE = "<tune xmlns='urn:tune'/>"
ITEM = f"<item id='1'>{TUNE}</item>"
JULIET = "juliet@example.com/balcony"


def element(xml: str) -> domish.Element:
    """Return an element, as it comes from a stream."""
    return parse(HEADER, xml.encode())


class Resource(PubSubResource):
    """A PEP service with one item in each node."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def items(self, request: Any) -> Deferred[list[Item]]:
        self.requests.append(request)
        return succeed([Item("1", element(TUNE))])


class Late(XMPPHandler):
    """A resource that keeps its requests, and answers on demand."""

    def connectionInitialized(self) -> None:
        self.taken: list[Any] = []
        self.xmlstream.addObserver("/iq", self._take)

    def _take(self, iq: Any) -> None:
        iq.handled = True
        self.taken.append(iq)


class MountTests(SynchronousTestCase):
    """A mount on a link."""

    def setUp(self) -> None:
        self.world = World()

    def mount(self, *handlers: XMPPHandler, up: bool = True) -> Mount:
        made = Mount(self.world.link, [NS_PUBSUB], handlers, [("pubsub", "pep", "")])
        if up:
            self.world.up()
        return made

    def ask(self, mount: Mount, request: IDelegatedRequest) -> Any:
        return mount.answer(request)

    def test_pubsub(self) -> None:
        """A PubSubService gets requester and recipient, and its answer is returned."""
        resource = Resource()
        mount = self.mount(PubSubService(resource))
        request = delegatedRequest(f"<pubsub xmlns='{NS_PUBSUB}'><items node='urn:tune'/></pubsub>")
        answer = self.successResultOf(self.ask(mount, request))
        wanted = f"<pubsub xmlns='{NS_PUBSUB}'><items node='urn:tune'>{ITEM}</items></pubsub>"
        self.assertEqual(domishTree(answer), domishTree(element(wanted)))
        [seen] = resource.requests
        self.assertEqual((seen.sender.full(), seen.recipient.full()), (JULIET, "juliet@example.com"))
        self.assertEqual(self.world.server.heard(), [])

    def test_error(self) -> None:
        """Its refusal is an error with the condition and the application-specific condition."""
        mount = self.mount(PubSubService(PubSubResource()))
        request = delegatedRequest(f"<pubsub xmlns='{NS_PUBSUB}'><create node='x'/></pubsub>", "set")
        error = self.failureResultOf(self.ask(mount, request), StanzaError).value
        self.assertEqual(error.condition, "feature-not-implemented")
        self.assertEqual(error.appCondition.name, "unsupported")

    def test_nobody(self) -> None:
        """A request without a handler is refused at once."""
        mount = self.mount(VersionHandler("x", "1"))
        error = self.assertRaises(StanzaError, self.ask, mount, delegatedRequest("<query xmlns='urn:other'/>"))
        self.assertEqual(error.condition, "service-unavailable")

    def test_fallback(self) -> None:
        """A handler may be synchronous."""
        mount = self.mount(FallbackHandler())
        self.failureResultOf(self.ask(mount, delegatedRequest("<query xmlns='urn:other'/>")), StanzaError)

    def test_notConnected(self) -> None:
        """Without a link requests are refused."""
        mount = self.mount(Late(), up=False)
        self.assertRaises(StanzaError, self.ask, mount, delegatedRequest("<query xmlns='urn:other'/>"))

    def test_lateAndTwice(self) -> None:
        """Two requests with the same id get their own answers; a second answer is dropped."""
        late = Late()
        mount = self.mount(late)
        one = self.ask(mount, delegatedRequest("<a xmlns='urn:a'/>"))
        two = self.ask(mount, delegatedRequest("<b xmlns='urn:b'/>", requester="romeo@example.com/x"))
        for iq in reversed(late.taken):
            for _ in range(2):
                result = domish.Element((None, "iq"), attribs={"type": "result", "id": iq["id"], "to": iq["from"]})
                result.addChild(next(iq.elements()))
                late.send(result)
        self.assertEqual([self.successResultOf(each).name for each in (one, two)], ["a", "b"])
        self.assertEqual(self.world.server.heard(), [])

    def test_givenUp(self) -> None:
        """A request is forgotten when it is cancelled."""
        late = Late()
        mount = self.mount(late)
        given = self.ask(mount, delegatedRequest("<a xmlns='urn:a'/>"))
        given.cancel()
        self.failureResultOf(given)
        late.send(domish.Element((None, "iq"), attribs={"type": "result", "id": late.taken[0]["id"]}))
        self.assertEqual(self.world.server.heard(), [])

    def test_sends(self) -> None:
        """A handler's other stanzas are sent on the link; its requests are answered there."""
        late = Late()
        self.mount(late)
        message = domish.Element((None, "message"), attribs={"to": JULIET})
        late.send(message)
        [heard] = self.world.server.heard()
        self.assertEqual(heard[1], {"from": self.world.link.jid, "to": JULIET})

    def test_privileged(self) -> None:
        """A message in a user's name is sent by privilege if that is granted, and else not at all."""
        late = Late()
        self.mount(late)
        privileges = PrivilegeHandler(["example.com"])
        privileges.setHandlerParent(self.world.link)
        message = domish.Element(
            (None, "message"), attribs={"from": "juliet@example.com", "to": "romeo@example.net"}
        )
        late.send(message)
        self.assertEqual(self.world.server.heard(), [])
        self.world.server.say(
            f"<message from='example.com' to='{self.world.link.jid}'><privilege xmlns='{ns.PRIVILEGE}'>"
            "<perm access='message' type='outgoing'/></privilege></message>".encode()
        )
        late.send(message)
        [heard] = self.world.server.heard()
        self.assertEqual((heard[1]["to"], heard[2][0][0]), ("example.com", f"{{{ns.PRIVILEGE}}}privilege"))

    def test_disco(self) -> None:
        """Features of its handlers are nested by the server."""
        mount = self.mount(PubSubService(Resource()))
        self.assertIn(ns.DISCO_ITEMS, mount.features)
        self.assertEqual(mount.features, mount.bareFeatures)
        self.assertEqual(mount.bareIdentities, (("pubsub", "pep", ""),))

    def test_reconnects(self) -> None:
        """Handlers are told of each connection, and work after it."""
        late = Late()
        mount = self.mount(late)
        self.world.server.lose(ConnectionError())
        self.assertRaises(StanzaError, self.ask, mount, delegatedRequest("<a xmlns='urn:a'/>"))
        self.world.wait(2)
        self.world.server.accept()
        self.ask(mount, delegatedRequest("<a xmlns='urn:a'/>"))
        self.assertEqual(len(late.taken), 1)
