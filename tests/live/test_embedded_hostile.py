"""The embedded host with hostile clients: right errors, limited memory, and other users who are not affected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

from scramp.core import ScramClient
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.live.case import PING, PROXY, PROXY_ALL, LiveTests, scenario
from tests.live.clients import ECHO, Client, condition, local, newId, stanza, untilServed
from tests.live.processes import TWISTD, holds
from tests.live.rawcomponent import RawComponent
from tests.live.rawstream import RawClient, RawStream
from tests.live.servers import DOMAIN, PASSWORD, EmbeddedProxy

# Seconds that the host allows for a login, and for a slow reader to read. Its own values are 30 and 60.
TIMEOUT = 4.0
HASTY = (
    "from gateway.embedded.peer import PeerConnection as each; "
    f"each.admittedWithin = each.stallFor = {TIMEOUT}; "
    "from twisted.scripts.twistd import run; run()"
)

# Connections that may exist before authentication.
STRANGERS = 100

# The first bytes of an incomplete TLS handshake.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

MIB = 1024 * 1024


class Hasty(EmbeddedProxy):
    """The embedded host with shorter timeouts."""

    name = "hasty"

    def start(self) -> None:
        argv, environment = TWISTD
        self._run([sys.executable, "-c", HASTY, *argv[2:]], environment)


class Friends:
    """
    Two users who chat, and one of whom sends requests to the proxy.

    @ivar rounds: a message in each direction, and an answer of the proxy.
    @ivar slowest: seconds of the slowest round.
    @ivar files: maximum number of the host's open files.
    """

    def __init__(self, alice: Client, bob: Client) -> None:
        self._alice = alice
        self._bob = bob
        self._before = alice.server.residentMiB()
        self.rounds = 0
        self.slowest = 0.0
        self.files = 0

    @property
    def grown(self) -> float:
        """Return the growth of the host's memory at its peak, in MiB."""
        return self._alice.server.peakMiB() - self._before

    async def round(self) -> None:
        """Do each action of the two users once."""
        started = time.monotonic()
        for talking, listener in ((self._alice, self._bob), (self._bob, self._alice)):
            id_ = newId()
            talking.send(stanza("message", f"<body>{id_}</body>", to=listener.jid, id=id_))
            assert (await listener.expectId(id_, "a friend's message")).get("from") == talking.jid
            listener.received.clear()
        reply = await self._alice.request(PROXY, PING, seconds=5)
        assert (reply.get("type"), reply.get("from")) == ("result", PROXY), condition(reply)
        self._alice.received.clear()
        self.rounds += 1
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.files = max(self.files, self.filesNow())

    def filesNow(self) -> int:
        """Return the number of files that the host has open."""
        return len(os.listdir(f"/proc/{self._alice.server.child.pid}/fd"))

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, the slowest {self.slowest:.2f} s, "
            f"the host grown by {self.grown:.1f} MiB at most, with {self.files} files open at most"
        )


class Flood:
    """
    Sends stanzas of 100 kB to a recipient, as fast as the host reads them.

    @ivar count: number of stanzas sent.
    """

    def __init__(self, stream: RawStream, to: str, name: str = "message", **attributes: str) -> None:
        self._stream = stream
        self._to = to
        self._name = name
        self._attributes = attributes
        self.count = 0
        self.task = asyncio.create_task(self._write())

    async def refused(self, seconds: float) -> str | None:
        """Continue until one is answered; return the error."""
        answer = await self._stream.next(seconds)
        self.task.cancel()
        return condition(answer)

    async def _write(self) -> None:
        inner = f"<body>{'x' * 100_000}</body>"
        while True:
            self._stream.send(stanza(self._name, inner, to=self._to, id=str(self.count), **self._attributes))
            await self._stream.flush()
            self.count += 1


def bodies(client: Client) -> list[str | None]:
    """Return the bodies of the messages that a client has received."""
    return [child.text for each in client.received for child in each if local(child) == "body"]


async def pong(stream: RawStream) -> bool:
    """True if the host answers a ping; skip other stanzas."""
    stream.send(stanza("iq", f"<ping xmlns='{ns.PING}'/>", type="get", id="pong", to=DOMAIN))
    while (answer := await stream.next()).get("id") != "pong":
        pass
    return answer.get("type") == "result"


class HostileTests(LiveTests, SynchronousTestCase):
    """Misbehaviour of single peers of the embedded host while others use it."""

    serverClass = Hasty

    def tearDown(self) -> None:
        # Memory that one test makes it take would be free for the next test.
        self.server.stop()

    @contextlib.asynccontextmanager
    async def friends(self, mostMiB: float) -> AsyncIterator[Friends]:
        """Run two users, who must not be affected; meanwhile the host may grow by so many MiB."""
        await self.implementing("a")
        alice, bob = await self.user("alice"), await self.user("bob")
        await untilServed(alice, PROXY)
        friends = Friends(alice, bob)
        over = asyncio.Event()

        async def chat() -> None:
            while not over.is_set():
                await friends.round()
                await asyncio.sleep(0.02)

        chatting = asyncio.create_task(chat())
        try:
            yield friends
            # Later effects as well.
            await holds(lambda: friends.rounds >= 20 or chatting.done(), 10, "friends chat on")
            over.set()
            await chatting
        finally:
            chatting.cancel()
        await friends.round()
        self.assertTrue(friends.slowest < 2, str(friends))
        self.assertTrue(friends.grown < mostMiB, str(friends))

    def raw(self) -> RawClient:
        """Return a misbehaving client."""
        client = RawClient(self.server)
        self.stack.push_async_callback(client.close)
        return client

    def component(self) -> RawComponent:
        """Return a misbehaving component."""
        component = RawComponent(self.server, PROXY_ALL)
        self.stack.push_async_callback(component.close)
        return component

    def assertFailure(self, answer: Element, as_: str) -> None:
        """SASL fails with this condition."""
        self.assertEqual((answer.tag, [local(each) for each in answer]), (f"{{{ns.SASL}}}failure", [as_]))

    @scenario(20)
    async def test_withoutTls(self) -> None:
        """Before TLS only the request for it is accepted: no stanza, and no password, even the right one."""
        async with self.friends(mostMiB=4):
            early = {
                stanza("message", "<body>hi</body>", to=f"alice@{DOMAIN}"): "not-authorized",
                stanza("iq", f"<bind xmlns='{ns.BIND}'/>", type="set", id="b"): "not-authorized",
                stanza("presence"): "not-authorized",
                "<handshake/>": "unsupported-stanza-type",
            }
            for sent, expected in early.items():
                client = await self.raw().greet()
                client.send(sent)
                self.assertEqual(await client.ended(), expected, sent)
                # The same with TLS, but without a login.
                client = await self.raw().secure()
                client.send(sent)
                self.assertEqual(await client.ended(), expected, sent)

            client = await self.raw().greet()
            self.assertFailure(await client.plain("carol", PASSWORD), "encryption-required")
            client.sasl("auth", "n,,n=carol,r=nonce", mechanism="SCRAM-SHA-256")
            self.assertFailure(await client.next(), "encryption-required")
            client.send(stanza("message", "<body>hi</body>", to=f"alice@{DOMAIN}"))
            self.assertEqual(await client.ended(), "not-authorized")

    @scenario(30)
    async def test_wrongPasswords(self) -> None:
        """A hundred wrong passwords: each is refused, at most five on one connection; the right one still works."""
        refusals = 0

        async def guess(number: int) -> None:
            nonlocal refusals
            client = await self.raw().secure()
            for attempt in range(5):
                user = ("carol", "nobody")[attempt % 2]
                wrong = f"wrong{number}.{attempt}"
                answer = await (self.scram(client, user, wrong) if number % 2 else client.plain(user, wrong))
                self.assertFailure(answer, "not-authorized")
                refusals += 1
            self.assertEqual(await client.ended(), "policy-violation")

        async with self.friends(mostMiB=8):
            for first in range(0, 20, 5):
                await asyncio.gather(*(guess(number) for number in range(first, first + 5)))
            self.assertEqual(refusals, 100)
            client = await self.raw().secure()
            self.assertFailure(await self.scram(client, "carol", "wrong"), "not-authorized")
            self.assertEqual(local(await self.scram(client, "carol", PASSWORD)), "success")

    async def scram(self, client: RawClient, user: str, password: str) -> Element:
        """Try a password with SCRAM; return success or failure."""
        exchange = ScramClient(["SCRAM-SHA-256"], user, password)
        client.sasl("auth", exchange.get_client_first(), mechanism="SCRAM-SHA-256")
        challenge = await client.next()
        exchange.set_server_first(b64decode(challenge.text or "").decode())
        client.sasl("response", exchange.get_client_final())
        return await client.next()

    @scenario(50)
    async def test_heldOpen(self) -> None:
        """
        Of a thousand connections that never log in a hundred exist at a time, and each not for long; a user who
        logs in is served.
        """
        standing: set[asyncio.Task[bytes]] = set()
        told: list[bytes] = []

        async def hold(number: int) -> None:
            client = self.raw()
            try:
                await client.dial(self.server.clientPort)
                if number % 4 == 1:
                    client.send("<?xml version='1.0'?><stream:stream to='local")
                elif number % 4 == 2:
                    await client.features()
                    await client.proceed()
                    client.send(HALF_HELLO)
                elif number % 4 == 3:
                    await client.features()
                    await client.proceed()
                    await client.startTls()
                    client.send("<stream:stream to='local")
            except OSError:
                # Refused while it was connecting.
                return
            rest = asyncio.create_task(client.rest())
            standing.add(rest)
            rest.add_done_callback(standing.discard)
            rest.add_done_callback(lambda done: told.append(done.result()))

        async with self.friends(mostMiB=40) as friends:
            before = friends.filesNow()
            for first in range(0, 1000, 50):
                await asyncio.gather(*(hold(number) for number in range(first, first + 50)))
            await holds(lambda: len(standing) <= STRANGERS, 3, "the others are turned away")
            await holds(lambda: friends.filesNow() < before + STRANGERS + 10, 3, "the host has forgotten them")
            self.assertTrue(len(standing) > STRANGERS // 2, f"{len(standing)} stand")
            self.assertTrue(any(b"<resource-constraint " in each for each in told))
            carol = Client(self.server, "carol", "home")
            await carol.loginAgain(5)
            await carol.close()
            await holds(lambda: not standing, TIMEOUT + 3, "none is left")
            self.assertTrue(any(b"<connection-timeout " in each for each in told))
            # A client with TLS has time to receive the error.
            self.assertTrue(friends.files < 500, str(friends))

    @scenario(20)
    async def test_conflict(self) -> None:
        """Of two clients with one resource the older one is disconnected; the newer one is served."""
        async with self.friends(mostMiB=4):
            older = await self.raw().login("carol", "same")
            newer = await self.raw().login("carol", "same")
            self.assertEqual(await older.ended(), "conflict")
            self.assertTrue(await pong(newer))

            component = await self.component().authenticate()
            with self.assertRaises(AssertionError):
                await self.component().authenticate()
            self.assertTrue(await pong(component))

    @scenario(20)
    async def test_spoofed(self) -> None:
        """A client that sends with another user's address is disconnected, and the stanza is not delivered."""
        victim = await self.user("carol")
        async with self.friends(mostMiB=4):
            for sender in (f"alice@{DOMAIN}/home", f"mallory@{DOMAIN}/other", DOMAIN, PROXY, "<"):
                client = await self.raw().login("mallory", "m")
                client.send(stanza("message", "<body>spoofed</body>", to=victim.jid, from_=sender))
                self.assertEqual(await client.ended(), "invalid-from", sender)
            for sender in (f"x@{PROXY}", DOMAIN, victim.jid, f"a@sub.{PROXY_ALL}", "@"):
                component = await self.component().authenticate()
                component.send(stanza("message", "<body>spoofed</body>", to=victim.jid, from_=sender))
                self.assertEqual(await component.ended(), "invalid-from", sender)
            honest = await self.raw().login("mallory", "m")
            for own in (honest.jid, f"mallory@{DOMAIN}", None):
                honest.send(stanza("message", "<body>honest</body>", to=victim.jid, from_=own))
            await victim.expect(lambda _: len(bodies(victim)) == 3, "three honest messages")
            self.assertEqual(bodies(victim), ["honest"] * 3)

    @scenario(20)
    async def test_oneMebibyte(self) -> None:
        """A stanza of 1 MiB is refused, and its stream stays; before the login a tenth of that ends the stream."""
        victim = await self.user("carol")
        async with self.friends(mostMiB=8):
            large = stanza("message", f"<body>{'x' * MIB}</body>", to=victim.jid)
            client = await self.raw().login("mallory", "m")
            component = await self.component().authenticate()
            for sender in (client, component):
                for _ in range(2):
                    sender.send(large)
                    error = await sender.next()
                    self.assertEqual((condition(error), error.get("from")), ("policy-violation", victim.jid))
            for unauthenticated in (await self.raw().greet(), await self.raw().secure()):
                unauthenticated.send(f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{'x' * 20_000}</auth>")
                self.assertEqual(await unauthenticated.ended(), "policy-violation")
            self.assertEqual(bodies(victim), [])

    @scenario(40)
    async def test_slowReader(self) -> None:
        """
        A recipient that does not read slows down only the client that writes to it. If it reads in time nothing is
        lost, otherwise it is disconnected.
        """
        async with self.friends(mostMiB=8):
            slow = await self.raw().login("carol", "slow", kernelBytes=65536)
            flooder = await self.raw().login("mallory", "flood", kernelBytes=65536)
            flooding = Flood(flooder, slow.jid)
            self.stack.callback(flooding.task.cancel)
            await asyncio.sleep(TIMEOUT / 3)
            written = flooding.count
            await asyncio.sleep(TIMEOUT / 6)
            self.assertEqual(flooding.count, written)
            self.assertTrue(1 < written < 80, f"{written} messages of 100 kB have gone out")
            # If it reads in time, all is delivered in order, and the flood continues.
            for number in range(written + 20):
                self.assertEqual((await slow.next()).get("id"), str(number))
            # If it does not.
            self.assertEqual(await flooding.refused(TIMEOUT + 6), "service-unavailable")
            self.assertTrue(await pong(flooder))
            self.assertEqual(await slow.ended(), "without a word")

    @scenario(20)
    async def test_otherFloods(self) -> None:
        """Presence slows down its sender as messages do, and so do answers to no request."""
        async with self.friends(mostMiB=8):
            slow = await self.raw().login("carol", "slow", kernelBytes=65536)
            for name, attributes in (("presence", {}), ("iq", {"type": "result"})):
                flooder = await self.raw().login("mallory", name, kernelBytes=65536)
                flooding = Flood(flooder, slow.jid, name, **attributes)
                self.stack.callback(flooding.task.cancel)
                await asyncio.sleep(TIMEOUT / 6)
                self.assertTrue(1 < flooding.count < 80, f"{flooding.count} of {name} have gone out")

    @scenario(40)
    async def test_slowReaderOfComponent(self) -> None:
        """
        A component is not slowed down by one slow reader: the reader is disconnected when too much waits for it.
        """
        async with self.friends(mostMiB=40):
            slow = await self.raw().login("carol", "slow", kernelBytes=65536)
            component = await self.component().authenticate()
            started = time.monotonic()
            flooding = Flood(component, slow.jid)
            self.stack.callback(flooding.task.cancel)
            self.assertEqual(await flooding.refused(TIMEOUT), "service-unavailable")
            self.assertTrue(time.monotonic() - started < TIMEOUT, "it was cut off for its slowness only")
            self.assertTrue(flooding.count * 100_000 > 16 * MIB, f"{flooding.count} messages of 100 kB")
            self.assertTrue(await pong(component))
            self.assertEqual(await slow.ended(), "without a word")

    @scenario(40)
    async def test_asksAndDoesNotRead(self) -> None:
        """
        A client that does not read the answers to its requests delays only itself: the client that answers still
        serves others.
        """
        async with self.friends(mostMiB=24) as friends:
            asking = await self.raw().login("mallory", "m", kernelBytes=65536)
            payload = f"<q xmlns='{ECHO}'>{'x' * 50_000}</q>"
            asking.send(stanza("iq", payload, type="get", id="q", to=f"implementation@{DOMAIN}/a") * 400)
            await asyncio.sleep(TIMEOUT / 3)
            rounds = friends.rounds
            await asyncio.sleep(TIMEOUT / 6)
            self.assertTrue(friends.rounds > rounds + 5, str(friends))
            files = friends.filesNow()
            await holds(lambda: friends.filesNow() < files, TIMEOUT + 3, "it is closed")
            self.assertEqual(await asking.ended(), "without a word")
