"""The built-in implementing client and its login."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.sasl import SASLAuthError
from twisted.words.protocols.jabber.xmlstream import IQ
from twisted.words.xish import domish

from gateway import __version__, ns
from gateway.embedded.implementation import NAME, Presence
from gateway.embedded.store import HostFolder
from tests.embedded.loopback import IMPLEMENTATION, Arrival, LoopbackCase


class ImplementationTests(LoopbackCase):
    """Its answers."""

    async def test_answers(self) -> None:
        """disco#info, ping and version are answered; other requests are refused."""
        client = self.client(self.place.accounts["alice"])
        arrival = Arrival()
        arrival.setHandlerParent(client)
        await arrival.arrived
        self.assertIsNone(client.failed)
        answers = {}
        for payload in (
            f"<query xmlns='{ns.DISCO_INFO}'/>",
            f"<ping xmlns='{ns.PING}'/>",
            f"<query xmlns='{ns.VERSION}'/>",
        ):
            request = IQ(client.xmlstream, "get")
            request.addRawXml(payload)
            answer = await request.send(IMPLEMENTATION)
            self.assertEqual(answer["from"], IMPLEMENTATION)
            answers[payload] = answer.firstChildElement()
        info, ping, version = answers.values()
        self.assertLessEqual(
            {ns.DISCO_INFO, ns.PING, ns.VERSION}, {each.getAttribute("var") for each in info.elements()}
        )
        self.assertIsNone(ping)
        self.assertEqual([str(each) for each in version.elements()][:2], [NAME, __version__])
        request = IQ(client.xmlstream, "set")
        request.addElement(("urn:x", "x"))
        error = await self.assertFailure(request.send(IMPLEMENTATION), Exception)
        self.assertEqual(error.condition, "service-unavailable")

    async def test_wrongPassword(self) -> None:
        """A failed login has a reason."""
        client = self.client("wrong")
        await self.until(lambda: client.failed)
        assert client.failed is not None
        self.assertIsNotNone(client.failed.check(SASLAuthError))
        self.assertEqual(self.sessions("alice"), [])

    async def test_otherCertificate(self) -> None:
        """A certificate other than the host's is not trusted, even for its name: no password is sent."""
        other = Path(self.mktemp())
        other.mkdir()
        foreign = HostFolder(other).loadCertificate("localhost", datetime.now(UTC))
        client = self.client(self.place.accounts["alice"], foreign)
        lost = Arrival()
        lost.setHandlerParent(client)
        gone: list[object] = []
        self.patch(lost, "connectionLost", gone.append)
        await self.until(lambda: gone or lost.arrived.called)
        self.assertFalse(lost.arrived.called)
        self.assertEqual(self.host._router.accounts["alice@localhost"].sessions, {})


class PresenceTests(SynchronousTestCase):
    """Its presence subscriptions."""

    def setUp(self) -> None:
        self.handler = Presence({"proxy.localhost"}.__contains__)
        self.sent: list[domish.Element] = []
        self.patch(self.handler, "send", self.sent.append)

    def test_subscriptions(self) -> None:
        """The gateway's components are approved; others are not."""
        for sender, kind in (("proxy.localhost", "subscribed"), ("alice@localhost", "unsubscribed")):
            request = domish.Element((None, "presence"))
            request["from"], request["type"] = sender, "subscribe"
            self.handler._subscribed(request)
            answer = self.sent.pop()
            self.assertEqual((answer["to"], answer["type"]), (sender, kind))

    def test_disco(self) -> None:
        """It has no nodes and no items."""
        me = JID("a@b/c")
        self.assertEqual(len(self.handler.getDiscoInfo(me, me)), 2)
        self.assertEqual(self.handler.getDiscoInfo(me, me, "node"), [])
        self.assertEqual(self.handler.getDiscoItems(me, me), [])
