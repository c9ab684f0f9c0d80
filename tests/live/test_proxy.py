"""The proxy between a real server and slixmpp clients: its guarantees, as clients see them."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from slixmpp import JID
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import ADDRESSES, ENDED_WELL, PING, PROXY, LiveTests, TogetherTests, proxy, scenario
from tests.live.clients import (
    ECHO,
    Client,
    Implementation,
    canonical,
    condition,
    dropping,
    local,
    payload,
    silent,
    stanza,
    untilServed,
)
from tests.live.processes import holds
from tests.live.servers import Ejabberd, Embedded, Prosody

# Templates of payloads, with a place for a unique text: content that a careless relay would damage.
PAYLOADS = (
    "<query xmlns='{ns}' n='{n}'/>",
    "<query xmlns='{ns}' n='{n}'>a &lt; b &amp;&amp; c &gt; d &quot;e&quot; ä 漢 🙂</query>",
    "<p:query xmlns:p='{ns}' xmlns:q='urn:q' n='{n}' q:a='1'><q:in xmlns=''><x/> <y>  </y></q:in></p:query>",
    "<query xmlns='{ns}' n='{n}'><x xmlns='jabber:x:data'><field><value>1\n2</value></field></x></query>",
)


class ProxyTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    def assertRefused(self, reply: Element, *, by: str, as_: str) -> None:
        """The reply is an error with this condition from exactly this address."""
        self.assertEqual((reply.get("type"), condition(reply), reply.get("from")), ("error", as_, by))

    @scenario(60)
    async def test_nineThousandExchanges(self) -> None:
        """
        Three users with three resources each and the same ids: each of 9,000 replies comes to the right resource,
        with the right id, from exactly the address of the request, with an unchanged payload.
        """
        gateway = await self.startGateway(proxy(PROXY))
        implementing = await self.implementing("a", "b", "c")
        scout = await self.user("mallory", "scout")
        await untilServed(scout, PROXY)
        users = [await self.user(name, resource) for name in ("alice", "bob", "carol") for resource in "xyz"]
        for implementation in implementing:
            implementation.requests.clear()
        before = gateway.residentMiB()
        wrong: list[str] = []

        async def ask(user: Client, number: int) -> None:
            to = ADDRESSES[number % len(ADDRESSES)]
            inner = PAYLOADS[number % len(PAYLOADS)].format(ns=ECHO, n=f"{user.jid} {number}")
            type_ = "set" if number % 2 else "get"
            reply = await user.request(to, inner, type_, f"id{number}", seconds=30)
            seen = (reply.get("type"), reply.get("from"), reply.get("to"), payload(reply))
            if seen != ("result", to, user.jid, [canonical(ElementTree.fromstring(inner))]):
                wrong.append(f"{number} to {to}: {ElementTree.tostring(reply, encoding='unicode')}")

        async def work(user: Client, numbers: list[int]) -> None:
            while numbers:
                await ask(user, numbers.pop())

        await asyncio.gather(
            *(work(user, left) for user in users for left in [list(range(1000))] for _ in range(40))
        )
        self.assertEqual(len(wrong), 0, "\n".join(wrong[:3]))
        everyId = {f"id{number}" for number in range(1000)}
        for user in users:
            self.assertEqual(user.repeated(), {})
            self.assertEqual({reply.get("id") for reply in user.iqs()}, everyId)
        grown = gateway.residentMiB() - before
        self.assertTrue(grown < 16, f"the gateway has grown by {grown:.1f} MiB")
        shares = [len(implementation.requests) for implementation in implementing]
        self.assertEqual(sum(shares), 9000)
        self.assertTrue(min(shares) > 1000, f"unequal shares: {shares}")

    @scenario(20)
    async def test_oneIdAtThreeAddresses(self) -> None:
        """One requester may use one id at several addresses at a time; each reply comes from its own."""
        await self.startGateway(proxy(PROXY))
        await self.implementing("a")
        alice = await self.user("alice")
        await untilServed(alice, PROXY)
        for address in ADDRESSES:
            alice.sendIq(address, f"<to xmlns='{ECHO}'>{address}</to>", id_="same")
        await alice.expect(lambda _: len(alice.iqs("same")) == 3, "three replies")
        self.assertEqual(
            sorted((reply.get("from", ""), reply[0].text or "") for reply in alice.iqs("same")),
            sorted((address, address) for address in ADDRESSES),
        )

    @scenario(20)
    async def test_errorsOfTheImplementation(self) -> None:
        """An error of the implementing client is delivered to the requester unchanged."""
        await self.startGateway(proxy(PROXY))

        def refuse(client: Implementation, request: Element) -> None:
            children = (
                "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>not on Sundays</text></error>"
            )
            client.send(stanza("iq", children, type="error", id=request.get("id"), to=request.get("from")))

        await self.implementing("a", behaviour=refuse)
        alice = await self.user("alice")

        async def forbidden() -> Element:
            while True:
                reply = await alice.request(PROXY, PING)
                if condition(reply) != "service-unavailable":
                    return reply
                await asyncio.sleep(0.05)

        reply = await asyncio.wait_for(forbidden(), 5)
        self.assertRefused(reply, by=PROXY, as_="forbidden")
        self.assertIn("not on Sundays", "".join(reply.itertext()))

    @scenario(20)
    async def test_nobodyThere(self) -> None:
        """Without any resource of the implementing client a request is answered with service-unavailable."""
        await self.startGateway(proxy(PROXY))
        alice = await self.user("alice")
        for address in ADDRESSES:
            self.assertRefused(await alice.request(address, PING), by=address, as_="service-unavailable")

    @scenario(30)
    async def test_resourceDrops(self) -> None:
        """
        Requests of a resource that drops: each get is answered by another resource, each set fails at once and is
        not sent again.
        """
        await self.startGateway(proxy(PROXY, timeout=20))
        first, second = implementing = await self.implementing("a", "b")
        alice = await self.user("alice")
        await self.served(alice, implementing)
        first.behaviour = silent
        gets = [alice.sendIq(PROXY, PING, "get") for _ in range(50)]
        sets = [alice.sendIq(PROXY, PING, "set") for _ in range(50)]
        await holds(lambda: len(first.requests) + len(second.requests) == 100, 5, "all are asked")
        await holds(lambda: len(alice.iqs(*gets, *sets)) == len(second.requests), 5, "one resource has answered")
        taken = {request.get("id") for request in first.requests}
        first.drop()
        await holds(lambda: len(alice.iqs(*gets, *sets)) == 100, 5, "the others are answered too")
        self.assertEqual(alice.repeated(), {})
        for reply in alice.iqs(*gets):
            self.assertEqual((reply.get("type"), reply.get("from")), ("result", PROXY))
        for reply in alice.iqs(*sets):
            if reply.get("id") in taken:
                self.assertRefused(reply, by=PROXY, as_="service-unavailable")
            else:
                self.assertEqual(reply.get("type"), "result")
        twice = taken & {request.get("id") for request in second.requests}
        self.assertEqual(twice, taken & set(gets))
        self.assertTrue(twice and taken - twice, "the resource that dropped had no gets or no sets")

    @scenario(20)
    async def test_lastResourceDrops(self) -> None:
        """A get that was with the only resource when it dropped ends with an error at once."""
        await self.startGateway(proxy(PROXY, timeout=20))
        implementing = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, implementing)
        implementing[0].behaviour = dropping
        reply = await alice.request(PROXY, PING, "get", seconds=5)
        self.assertRefused(reply, by=PROXY, as_="service-unavailable")

    async def resourceNeverAnswers(self) -> None:
        """A request without an answer ends with remote-server-timeout at its deadline, once."""
        await self.startGateway(proxy(PROXY, timeout=2))
        implementing = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, implementing)
        implementing[0].behaviour = silent
        loop = asyncio.get_running_loop()
        for type_ in ("get", "set"):
            started = loop.time()
            reply = await alice.request(ADDRESSES[1], PING, type_, seconds=8)
            took = loop.time() - started
            self.assertRefused(reply, by=ADDRESSES[1], as_="remote-server-timeout")
            self.assertTrue(1.5 <= took <= 5, f"{type_}: after {took:.1f} s")
        # The late answer is dropped.
        late = implementing[0].requests[-1]
        implementing[0].answer(late)
        await asyncio.sleep(0.5)
        self.assertEqual(alice.repeated(), {})

    @scenario(20)
    async def test_terminateWithExchangeOpen(self) -> None:
        """
        After SIGTERM an open exchange can still complete; new requests are refused, and then the process ends.
        """
        gateway = await self.startGateway(proxy(PROXY))
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        implementation.behaviour = silent
        id_ = alice.sendIq(PROXY, PING)
        request = await implementation.asked(id_)
        ending = asyncio.create_task(gateway.terminate(4))
        await asyncio.sleep(0.5)
        self.assertRefused(await alice.request(PROXY, PING), by=PROXY, as_="service-unavailable")
        self.assertEqual(len(implementation.requests), 1)
        implementation.answer(request)
        reply = await alice.expectId(id_, "the answer before the end")
        self.assertEqual((reply.get("type"), reply.get("from")), ("result", PROXY))
        self.assertIn(await ending, ENDED_WELL)

    @scenario(20)
    async def test_addressInAnotherCase(self) -> None:
        """For any spelling of the component's name by a requester: the reply comes back, from the same JID."""
        await self.startGateway(proxy(PROXY))
        await self.implementing("a")
        alice = await self.user("alice")
        await untilServed(alice, PROXY)
        for address in (PROXY.upper(), f"Node@{PROXY.title()}", f"{PROXY.upper()}/Some Res"):
            reply = await alice.request(address, PING)
            self.assertEqual((reply.get("type"), JID(reply.get("from"))), ("result", JID(address)))

    @scenario(30)
    async def test_subscriptionRevoked(self) -> None:
        """If the implementing account revokes the subscription, the gateway asks for it again."""
        await self.startGateway(proxy(PROXY))
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        implementation.accepting = False
        implementation.received.clear()
        implementation.send(stanza("presence", to=PROXY, type="unsubscribed"))
        asked = await implementation.expect(
            lambda element: local(element) == "presence" and element.get("type") == "subscribe",
            "a new subscription request",
            10,
        )
        self.assertEqual(asked.get("from"), PROXY)
        implementation.send(stanza("presence", to=PROXY, type="subscribed"))
        await untilServed(alice, PROXY)
        late = (await self.implementing("b"))[0]
        implementation.drop()
        await untilServed(alice, PROXY)
        self.assertTrue(late.requests)


class ProsodyProxyTests(ProxyTests, SynchronousTestCase):
    """The proxy on Prosody."""

    serverClass = Prosody


class EjabberdProxyTests(ProxyTests, SynchronousTestCase):
    """The proxy on ejabberd."""

    serverClass = Ejabberd


class EmbeddedProxyTests(ProxyTests, SynchronousTestCase):
    """The proxy on the embedded host."""

    serverClass = Embedded


class WaitingProxyTests(TogetherTests, SynchronousTestCase):
    """Tests that mostly wait, on all servers at once."""

    classes = (ProsodyProxyTests, EjabberdProxyTests, EmbeddedProxyTests)

    def test_resourceNeverAnswers(self) -> None:
        """A request without an answer ends at its deadline."""
        self.together("resourceNeverAnswers", 40)
