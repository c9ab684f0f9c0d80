"""The proxy's translated addresses on a real server: sealed, stable over restarts, for JIDs of any length."""

from __future__ import annotations

import asyncio
from collections import Counter
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import (
    ADDRESSES,
    ENDED_WELL,
    LONG_DOMAINS,
    PING,
    PROXY,
    LiveTests,
    TogetherTests,
    proxy,
    scenario,
)
from tests.live.clients import Client, Implementation, echo, newId, silent, stanza, untilServed
from tests.live.processes import holds
from tests.live.rawcomponent import RawComponent
from tests.live.servers import Ejabberd, Embedded, Prosody

# A resource that both servers allow, and that a careless token would damage.
RESOURCE = "é 漢/~%41 <&'\">"


def forgeries(token: str, requester: Client) -> list[str]:
    """Return addresses that look like this token of the requester, and are invalid."""
    seal, _, who = token.removeprefix(f"{PROXY}/").partition("/")
    otherSeal = ("A" if seal[0] != "A" else "B") + seal[1:]
    return [
        f"{PROXY}/{otherSeal}/{who}",
        f"{PROXY}/{seal}/{who.replace('alice@', 'bob@')}",
        f"{PROXY}/{seal[:-1]}/{who}",
        f"{PROXY}//{who}",
        f"{PROXY}/{requester.jid}",
        f"node@{token}",
        PROXY,
    ]


class ProxyTokenTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    async def whoHas(self, id_: str, implementing: list[Implementation]) -> tuple[Implementation, Element]:
        """Return the resource that got this request, and the request."""

        def found() -> list[tuple[Implementation, Element]]:
            return [(one, asked) for one in implementing for asked in one.requests if asked.get("id") == id_]

        await holds(lambda: bool(found()), 5, f"request {id_}")
        ((one, asked),) = found()
        return one, asked

    async def forgedReplies(self) -> None:
        """
        Wrong id, wrong resource, forged seal, another user's token, another account: nothing is delivered, and the
        true answer still is, once.
        """
        await self.startGateway(proxy(PROXY, timeout=4))
        first, second = implementing = await self.implementing("a", "b")
        alice, bob = await self.user("alice"), await self.user("bob")
        mallory = await self.login(Implementation(self.server, "mallory", "evil"))
        await self.served(alice, implementing)
        # For one timeout after a start a valid seal alone is enough.
        await asyncio.sleep(4.5)
        for client in implementing:
            client.behaviour = silent
        before = len(alice.received), len(bob.received)
        id_ = alice.sendIq(PROXY, PING)
        right, request = await self.whoHas(id_, implementing)
        other = second if right is first else first
        _, requestOfBob = await self.whoHas(bob.sendIq(PROXY, PING), implementing)
        for type_ in ("result", "error"):
            right.answer(request, id="another", type=type_)
            other.answer(request, type=type_)
            mallory.answer(request, type=type_)
            right.answer(request, to=requestOfBob.get("from", ""), type=type_)
            for forged in forgeries(request.get("from", ""), alice):
                right.answer(request, to=forged, type=type_)
        await asyncio.sleep(1)
        self.assertEqual((len(alice.received), len(bob.received)), before)
        right.answer(request)
        reply = await alice.expectId(id_, "the true answer")
        self.assertEqual((reply.get("type"), reply.get("from")), ("result", PROXY))
        right.answer(request)
        await asyncio.sleep(0.5)
        self.assertEqual(alice.repeated(), {})
        self.assertEqual(len(bob.received), before[1])

    @scenario(30)
    async def test_forgedRepliesAfterStart(self) -> None:
        """While a valid seal is enough, a forged one is not, nor a valid one from another account."""
        await self.startGateway(proxy(PROXY, timeout=25))
        (implementation,) = await self.implementing("a")
        alice, bob = await self.user("alice"), await self.user("bob")
        mallory = await self.login(Implementation(self.server, "mallory", "evil"))
        await self.served(alice, [implementation])
        id_ = newId()
        await alice.request(PROXY, PING, id_=id_)
        request = await implementation.asked(id_)
        before = len(alice.received), len(bob.received)
        mallory.answer(request, id="forged")
        for forged in forgeries(request.get("from", ""), alice):
            implementation.answer(request, to=forged, id="forged")
            mallory.answer(request, to=forged, id="forged")
        await asyncio.sleep(1)
        self.assertEqual((len(alice.received), len(bob.received)), before)
        implementation.answer(request, id="sealed")
        await alice.expectId("sealed", "what a valid seal lets through")

    @scenario(20)
    async def test_longRequester(self) -> None:
        """A requester whose JID has 3,000 bytes, or the server's maximum, is served like any other."""
        await self.startGateway(proxy(PROXY))
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await untilServed(alice, PROXY)
        domain = max(each for each in LONG_DOMAINS if len(each) <= self.server.longestDomain)
        component = await RawComponent(self.server, domain).connect()
        self.stack.push_async_callback(component.close)
        requesters = [f"{'n' * 1023}@{domain}/{last}{'r' * 1022}" for last in "ab"]
        for number, jid in enumerate(requesters):
            ids = [f"long{number}.{address}" for address in range(len(ADDRESSES))]
            for id_, address in zip(ids, ADDRESSES, strict=True):
                component.send(stanza("iq", PING, type="get", id=id_, to=address, from_=jid))
            for id_, address in zip(ids, ADDRESSES, strict=True):
                reply = await component.reply(id_)
                self.assertEqual((reply.get("type"), reply.get("from"), reply.get("to")), ("result", address, jid))
        tokens = {request.get("from", "") for request in implementation.requests}
        self.assertTrue(all(len(token.partition("/")[2].encode()) <= 1023 for token in tokens))

    async def restarted(self, *, kill: bool) -> None:
        """Restart a gateway with an open request: the token is the same, and the answer is delivered, once."""
        gateway = await self.startGateway(proxy(PROXY, timeout=20))
        (implementation,) = await self.implementing("a")
        alice = await self.user("alice")
        await self.served(alice, [implementation])
        implementation.behaviour = silent
        id_ = alice.sendIq(ADDRESSES[2], PING)
        before = await implementation.asked(id_)
        if kill:
            gateway.kill9()
        else:
            self.assertIn(await gateway.terminate(), ENDED_WELL)
        gateway.start()
        await gateway.ready()
        implementation.answer(before)
        reply = await alice.expectId(id_, "the answer after the restart")
        self.assertEqual((reply.get("type"), reply.get("from")), ("result", ADDRESSES[2]))
        implementation.behaviour = echo
        await untilServed(alice, PROXY)
        again = newId()
        await alice.request(ADDRESSES[2], PING, id_=again)
        self.assertEqual((await implementation.asked(again)).get("from"), before.get("from"))
        self.assertEqual(alice.repeated(), {})

    async def restartAfterTerminate(self) -> None:
        """Tokens stay valid after SIGTERM, and answers to earlier requests are delivered afterwards."""
        await self.restarted(kill=False)

    async def restartAfterKill(self) -> None:
        """Tokens stay valid after kill -9, and answers to earlier requests are delivered afterwards."""
        await self.restarted(kill=True)

    @scenario(20)
    async def test_tokens(self) -> None:
        """A token is readable, the same for every request, and different for another requester or address."""
        await self.startGateway(proxy(PROXY))
        (implementation,) = await self.implementing("a")
        users = [await self.user("alice", "one"), await self.user("alice", RESOURCE), await self.user("bob", "one")]
        await untilServed(users[0], PROXY)
        implementation.requests.clear()
        for _ in range(2):
            for user in users:
                for address in ADDRESSES:
                    reply = await user.request(address, PING)
                    self.assertEqual((reply.get("from"), reply.get("to")), (address, user.jid))
        tokens = Counter(request.get("from", "") for request in implementation.requests)
        self.assertEqual(len(tokens), len(users) * len(ADDRESSES))
        self.assertEqual(set(tokens.values()), {2})
        for token in tokens:
            self.assertTrue(token.startswith(f"{PROXY}/"))
            self.assertIn(unquote(token.split("/", 2)[2]), [user.jid for user in users])


class ProsodyProxyTokenTests(ProxyTokenTests, SynchronousTestCase):
    """Tokens on Prosody."""

    serverClass = Prosody


class EjabberdProxyTokenTests(ProxyTokenTests, SynchronousTestCase):
    """Tokens on ejabberd."""

    serverClass = Ejabberd


class EmbeddedProxyTokenTests(ProxyTokenTests, SynchronousTestCase):
    """Tokens on the embedded host."""

    serverClass = Embedded


class WaitingProxyTokenTests(TogetherTests, SynchronousTestCase):
    """Tests that mostly wait, on all servers at once."""

    classes = (ProsodyProxyTokenTests, EjabberdProxyTokenTests, EmbeddedProxyTokenTests)

    def test_forgedReplies(self) -> None:
        """An answer without an open exchange is delivered to nobody."""
        self.together("forgedReplies", 60)

    def test_restartAfterTerminate(self) -> None:
        """A token means the same after an orderly stop."""
        self.together("restartAfterTerminate", 60)

    def test_restartAfterKill(self) -> None:
        """A token means the same after a kill."""
        self.together("restartAfterKill", 60)
