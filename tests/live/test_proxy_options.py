"""The proxy's options on a real server: stanzas that each allows, and those that are refused without it."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import ADDRESSES, PING, PROXY, PROXY_ALL, LiveTests, proxy, scenario
from tests.live.clients import (
    ECHO,
    Client,
    Implementation,
    canonical,
    condition,
    local,
    newId,
    payload,
    stanza,
    untilServed,
)
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody


class ProxyOptionsTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    @scenario(20)
    async def test_messagesAndPresenceAreRefused(self) -> None:
        """Without their options messages, presence and the implementing client's own requests are refused."""
        await self.startGateway(proxy(PROXY))
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        request = await implementation.asked(await self.asks(alice))
        token = request.get("from", "")
        before = len(implementation.received)
        for address in ADDRESSES:
            id_ = newId()
            alice.send(stanza("message", "<body>hello</body>", to=address, id=id_, type="chat"))
            error = await alice.expectId(id_, "error for a message")
            self.assertEqual((local(error), error.get("type"), error.get("from")), ("message", "error", address))
            self.assertEqual(condition(error), "service-unavailable")
            alice.send(stanza("presence", to=address))
            refusal = await alice.expect(
                lambda element, address=address: local(element) == "presence" and element.get("from") == address,
                "error for presence",
            )
            self.assertEqual((refusal.get("type"), condition(refusal)), ("error", "service-unavailable"))
        self.assertEqual(len(implementation.received), before)
        toAlice = len(alice.received)
        for to in (token, f"alice\\40{DOMAIN}@{PROXY}/home"):
            reply = await implementation.request(to, PING)
            self.assertEqual((reply.get("type"), reply.get("from")), ("error", to))
            id_ = newId()
            implementation.send(stanza("message", "<body>hello</body>", to=to, id=id_))
            error = await implementation.expectId(id_, "error for the implementation's message")
            self.assertEqual((local(error), error.get("type"), error.get("from")), ("message", "error", to))
        self.assertEqual(len(alice.received), toAlice)

    @scenario(20)
    async def test_errorsAreNotAnswered(self) -> None:
        """An error stanza is never answered by an error stanza."""
        await self.startGateway(proxy(PROXY))
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        # Her own presence comes before the answer.
        await alice.request(PROXY, PING)
        before = len(alice.received)
        child = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        for address in ADDRESSES:
            for name in ("iq", "message", "presence"):
                alice.send(stanza(name, child, type="error", id=newId(), to=address))
        await alice.request(PROXY, PING)
        await asyncio.sleep(0.3)
        self.assertEqual([local(element) for element in alice.received[before:]], ["iq"])

    @scenario(20)
    async def test_forwardedMessages(self) -> None:
        """
        With the option a message is delivered to one resource; the answer comes from the address of the message.
        """
        await self.startAll()
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await untilServed(alice, PROXY_ALL)
        for address in (PROXY_ALL, f"node@{PROXY_ALL}", f"{PROXY_ALL}/some res"):
            id_ = newId()
            alice.send(stanza("message", "<body>a &amp; b</body>", to=address, id=id_, type="chat"))
            message = await implementation.expectId(id_, f"message to {address}")
            self.assertEqual((message.get("type"), message.findtext("{jabber:client}body")), ("chat", "a & b"))
            token = message.get("from", "")
            self.assertTrue(token.startswith(f"{PROXY_ALL}/"))
            back = newId()
            implementation.send(stanza("message", "<body>yes</body>", to=token, id=back, type="chat"))
            answer = await alice.expectId(back, "the answer")
            self.assertEqual((local(answer), answer.get("type"), answer.get("from")), ("message", "chat", address))

    @scenario(20)
    async def test_forwardedPresence(self) -> None:
        """
        With the option presence is delivered to the implementing client, and presence to its token to the user.
        """
        await self.startAll()
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await untilServed(alice, PROXY_ALL)
        for type_ in (None, "unavailable"):
            alice.send(stanza("presence", "<status>busy</status>", to=f"node@{PROXY_ALL}", type=type_))
            presence = await implementation.expect(
                lambda element, type_=type_: (
                    local(element) == "presence"
                    and element.get("type") == type_
                    and element.findtext("{jabber:client}status") == "busy"
                ),
                f"presence of type {type_}",
            )
            token = presence.get("from", "")
            self.assertTrue(token.startswith(f"{PROXY_ALL}/"))
            implementation.send(stanza("presence", "<status>seen</status>", to=token, type=type_))
            back = await alice.expect(
                lambda element, type_=type_: (
                    local(element) == "presence"
                    and element.get("type") == type_
                    and element.findtext("{jabber:client}status") == "seen"
                ),
                "presence back",
            )
            self.assertEqual(back.get("from"), f"node@{PROXY_ALL}")

    @scenario(20)
    async def test_outboundRequests(self) -> None:
        """
        With `outbound` the implementing client sends requests to a token or an XEP-0106 address, and gets the
        replies.
        """
        await self.startAll()
        (implementation,) = await self.implementing("a")
        alice = await self.login(Implementation(self.server, "alice", "home"))
        await untilServed(alice, PROXY_ALL)
        id_ = newId()
        await alice.request(f"node@{PROXY_ALL}", PING, id_=id_)
        token = (await implementation.asked(id_)).get("from", "")
        for to, sender in ((token, f"node@{PROXY_ALL}"), (f"alice\\40{DOMAIN}@{PROXY_ALL}/home", PROXY_ALL)):
            for type_ in ("get", "set"):
                id_ = newId()
                body = f"<ask xmlns='{ECHO}' n='{id_}'>x &lt; y</ask>"
                reply = await implementation.request(to, body, type_, id_)
                self.assertEqual(
                    (reply.get("type"), reply.get("from"), reply.get("to")),
                    ("result", to, implementation.jid),
                )
                self.assertEqual(payload(reply), [canonical(ElementTree.fromstring(body))])
                seen = (await alice.asked(id_)).get("from", "")
                self.assertEqual(seen, sender)

    @scenario(20)
    async def test_outboundMessages(self) -> None:
        """With both options the implementing client may send messages to a user who has never written to it."""
        await self.startAll()
        (implementation,) = await self.implementing("a")
        bob = await self.user("bob")
        await untilServed(bob, PROXY_ALL)
        carol = await self.user("carol")
        for resource in ("", "/home"):
            id_ = newId()
            to = f"carol\\40{DOMAIN}@{PROXY_ALL}{resource}"
            implementation.send(stanza("message", "<body>news</body>", to=to, id=id_, type="chat"))
            message = await carol.expectId(id_, f"the message to {to}")
            self.assertEqual((message.get("from"), message.findtext("{jabber:client}body")), (PROXY_ALL, "news"))

    @scenario(20)
    async def test_outboundIsForTheImplementationOnly(self) -> None:
        """
        Stanzas of others to a token or an XEP-0106 address are delivered to the implementation, never to a user.
        """
        await self.startAll()
        (implementation,) = await self.implementing("a")
        alice = await self.login(Implementation(self.server, "alice", "home"))
        mallory = await self.user("mallory", "evil")
        await untilServed(alice, PROXY_ALL)
        id_ = newId()
        await alice.request(PROXY_ALL, PING, id_=id_)
        token = (await implementation.asked(id_)).get("from", "")
        before = len(alice.received)
        for to in (token, f"alice\\40{DOMAIN}@{PROXY_ALL}/home"):
            mallory.send(stanza("message", "<body>psst</body>", to=to))
            reply = await mallory.request(to, PING)
            self.assertEqual(reply.get("from"), to)
        await asyncio.sleep(0.3)
        self.assertEqual(len(alice.received), before)

    async def startAll(self) -> None:
        """Start a gateway whose proxy has every option on."""
        await self.startGateway(proxy(PROXY_ALL, forward=["iq", "message", "presence"], outbound=True))

    async def asks(self, user: Client) -> str:
        """Make one exchange with the implementing client; return its id."""
        id_ = newId()
        await user.request(PROXY, PING, id_=id_)
        return id_


class ProsodyProxyOptionsTests(ProxyOptionsTests, SynchronousTestCase):
    """The options on Prosody."""

    serverClass = Prosody


class EjabberdProxyOptionsTests(ProxyOptionsTests, SynchronousTestCase):
    """The options on ejabberd."""

    serverClass = Ejabberd


class EmbeddedProxyOptionsTests(ProxyOptionsTests, SynchronousTestCase):
    """The options on the embedded host."""

    serverClass = Embedded
