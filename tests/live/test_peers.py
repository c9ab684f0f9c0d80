"""
A direct link between two gateways live: one has rooms and the other one mirrors, each on a server of its own. The
servers have no s2s, so nothing but the direct link reaches the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from slixmpp import JID
from twisted.trial.unittest import SynchronousTestCase

from gateway.peers import identity
from tests.live.case import ACCOUNTS, ENDED_WELL, MIRRORS, ROOMS, SECRET, scenario
from tests.live.clients import stanza
from tests.live.gateway import Gateway
from tests.live.processes import Value, freePort, until
from tests.live.rooms import MUC_X, RoomsCase, Talker, mirrored
from tests.live.servers import DOMAIN, Embedded, Prosody

THERE = f"coven@{ROOMS}"


def openFiles(gateway: Gateway) -> int:
    """Return the number of a gateway's file descriptors."""
    return len(list(Path(f"/proc/{gateway.child.pid}/fd").iterdir()))


class Attack:
    """Connections of programs that do not have the key."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._held: list[socket.socket] = []
        self._context = SSL.Context(SSL.TLS_METHOD)
        own = identity.make(Ed25519PrivateKey.generate())
        self._context.use_privatekey(PKey.from_cryptography_key(own.key))
        self._context.use_certificate(X509.from_cryptography(own.certificate))

    def _connect(self, data: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), 5)
        made.sendall(data)
        return made

    async def wave(self) -> None:
        """Connect in all ways."""
        await asyncio.to_thread(self._wave)

    def _wave(self) -> None:
        for number in range(40):
            self._connect().close()
            self._connect(b"GET / HTTP/1.1\r\n\r\n").close()
            self._held.append(self._connect(b"\x16\x03\x01\x02\x00"[: number % 5]))
        for _ in range(10):
            connection = SSL.Connection(self._context, self._connect())
            connection.set_connect_state()
            with contextlib.suppress(SSL.Error):
                connection.do_handshake()
                connection.recv(100)
            connection.close()

    def end(self) -> None:
        """Close the connections that were held."""
        for each in self._held:
            each.close()


class PeersTests(RoomsCase):
    """A mix-in: the scenarios, for one kind of server."""

    def setUp(self) -> None:
        self.server = self.serverClass.shared(ACCOUNTS, {ROOMS: SECRET}, {})
        self.far = self.serverClass.shared(ACCOUNTS, dict.fromkeys(MIRRORS, SECRET), {})
        self._gateways: list[Gateway] = []

    async def startPeers(self, fallback: str = "s2s") -> tuple[Gateway, Gateway]:
        """Start the gateway with the rooms, which listens, and that with the mirrors."""
        port = self.port = freePort()
        files = [str(Path(self.folder("key-"), "peers.key")) for _ in range(2)]
        above, below = (identity.load(Path(each)).fingerprint for each in files)
        first, *others = MIRRORS
        rooms: dict[str, dict[str, Value]] = {
            f'rooms."{ROOMS}"': {"peers": list(MIRRORS)},
            f'peers."{first}"': {
                "listen": f"tls:{port}:interface=127.0.0.1",
                "fingerprint": below,
                "domains": list(others),
                "key_file": files[0],
                "fallback": fallback,
            },
        }
        mirrors: dict[str, dict[str, Value]] = {
            **{
                f'mirror."{jid}"': {"allow": [ROOMS], "users": [DOMAIN], "protocol": protocol, "mode": mode}
                for jid, (protocol, mode) in MIRRORS.items()
            },
            f'peers."{ROOMS}"': {
                "endpoint": f"tls:127.0.0.1:{port}",
                "fingerprint": above,
                "key_file": files[1],
                "fallback": fallback,
            },
        }
        site = self.newGateway(rooms), self.newGateway(mirrors, port=self.far.componentPort)
        for gateway in site:
            gateway.start()
        for gateway in site:
            await gateway.ready()
            await self.shows(gateway, ": up")
        return site

    async def shows(self, gateway: Gateway, text: str, seconds: float = 15) -> None:
        """Wait until the direct link of a gateway has this state."""

        async def isThere() -> bool:
            status = (await gateway.get("/status"))[1]
            return any("direct link" in line and text in line for line in status.split("\n"))

        await until(isThere, seconds, f"direct link: {text}")

    async def farTalker(self, user: str) -> Talker:
        """Log in a client at the server of the mirrors."""
        talker = await Talker(self.far, user).login()
        self.stack.push_async_callback(talker.close)
        return talker

    @scenario(60)
    async def test_talk(self) -> None:
        """Join, history, subject, messages, private messages, a kick, a leave: in each protocol and mode."""
        await self.startPeers()
        bob = await self.talker("bob")
        await bob.join(THERE, "bob")
        bob.muc.set_subject(JID(THERE), "Hurly-burly")
        bob.say(THERE, "When shall we meet again?")
        await bob.awaitMessage(f"{THERE}/bob", "When shall we meet again?")
        for mirror, user in zip(MIRRORS, ("alice", "carol", "mallory", "manager"), strict=True):
            here = mirrored(THERE, mirror)
            other: Any = await self.farTalker(user)
            _, subject, occupants, history = await other.join(here, user)
            self.assertEqual(subject["subject"], "Hurly-burly")
            self.assertIn("bob", [each["muc"]["nick"] for each in occupants])
            self.assertEqual(history[0]["body"], "When shall we meet again?")
            await bob.awaitPresence(f"{THERE}/{user}", None)
            other.say(here, f"{user} says")
            bob.say(THERE, f"to {user}")
            await bob.awaitMessage(f"{THERE}/{user}", f"{user} says")
            await other.awaitMessage(f"{here}/{user}", f"{user} says")
            await other.awaitMessage(f"{here}/bob", f"to {user}")
            other.whisper(f"{here}/bob", f"{user} whispers")
            await bob.awaitMessage(f"{THERE}/{user}", f"{user} whispers")
        await bob.muc.set_role(JID(THERE), "alice", "none", reason="Graymalkin")
        await bob.awaitPresence(f"{THERE}/alice", "unavailable", "307")
        other.muc.leave_muc(JID(here), user)
        await bob.awaitPresence(f"{THERE}/{user}", "unavailable")

    @scenario(60)
    async def test_order(self) -> None:
        """200 messages of each side arrive at the other one, once and in order."""
        await self.startPeers()
        here = mirrored(THERE)
        bob, alice = await self.talker("bob"), await self.farTalker("alice")
        await bob.join(THERE, "bob")
        await alice.join(here, "alice")
        for number in range(200):
            bob.say(THERE, f"b{number}")
            alice.say(here, f"a{number}")
        await alice.awaitMessage(f"{here}/bob", "b199")
        await bob.awaitMessage(f"{THERE}/alice", "a199")
        heard = [text for who, _, text in alice.said if who == f"{here}/bob"]
        self.assertEqual(heard, [f"b{number}" for number in range(200)])
        heard = [text for who, _, text in bob.said if who == f"{THERE}/alice"]
        self.assertEqual(heard, [f"a{number}" for number in range(200)])

    @scenario(90)
    async def test_restart(self) -> None:
        """Each gateway is killed: the other one connects again, and people can join and talk."""
        site = await self.startPeers()
        bob, alice = await self.talker("bob"), await self.farTalker("alice")
        for number, gateway in enumerate(site):
            gateway.kill9()
            gateway.start()
            await gateway.ready()
            for each in site:
                await self.shows(each, ": up")
            room = f"after{number}@{ROOMS}"
            await bob.join(room, "bob")
            await alice.join(mirrored(room), "alice")
            alice.say(mirrored(room), f"heard {number}")
            await bob.awaitMessage(f"{room}/alice", f"heard {number}")
        self.assertNotIn("Traceback", "".join(gateway.log(1000) for gateway in site))

    @scenario(60)
    async def test_down(self) -> None:
        """If the link is down and there is no other way, a join gets an error that says so."""
        above, below = await self.startPeers("none")
        above.kill9()
        await self.shows(below, "stanzas to it: refused", 25)
        alice = await self.farTalker("alice")
        here = mirrored(f"none@{ROOMS}")
        alice.stream.send_raw(stanza("presence", MUC_X, to=f"{here}/alice"))
        await alice.awaitPresence(f"{here}/alice", "error")

    @scenario(60)
    async def test_stop(self) -> None:
        """A stop of the mirrors' gateway is told to the other one; after its start, its occupants talk on."""
        above, below = await self.startPeers()
        here = mirrored(THERE)
        bob, alice = await self.talker("bob"), await self.farTalker("alice")
        await bob.join(THERE, "bob")
        await alice.join(here, "alice")
        await bob.awaitPresence(f"{THERE}/alice", None)
        bob.came.clear()
        self.assertIn(await below.terminate(), ENDED_WELL)
        self.assertIn("the other gateway stops", above.log())
        below.start()
        await below.ready()
        await self.shows(below, ": up")
        alice.say(here, "again")
        await bob.awaitMessage(f"{THERE}/alice", "again")
        self.assertFalse([each for each in bob.came if each[1] == "unavailable"])


class EmbeddedPeersTests(PeersTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded

    @scenario(90)
    async def test_attacks(self) -> None:
        """
        Programs without the key hold connections, send garbage, other protocols and other keys, in loops. People
        talk on, a peer that was killed connects again meanwhile, and neither file descriptors nor the log grow.
        """
        above, below = await self.startPeers()
        here = mirrored(THERE)
        bob, alice = await self.talker("bob"), await self.farTalker("alice")
        await bob.join(THERE, "bob")
        await alice.join(here, "alice")
        files = openFiles(above)
        lines = len(above.log(1000).splitlines())
        attack = Attack(self.port)
        for number in range(3):
            for _ in range(4):
                await attack.wave()
                alice.say(here, f"a{number}")
                await bob.awaitMessage(f"{THERE}/alice", f"a{number}")
                bob.said.clear()
            below.kill9()
            below.start()
            await below.ready()
            await attack.wave()
            await self.shows(below, ": up")
            await alice.join(here, "alice")

        async def areFew() -> bool:
            # At most 20 that have not shown a key; those that the last wave has closed end in the next turns.
            return openFiles(above) - files <= 25

        await until(areFew, 2, "connections without a key are few")
        attack.end()

        async def areClosed() -> bool:
            return openFiles(above) <= files + 2

        await until(areClosed, 15, "connections are closed")
        log = above.log(1000)
        self.assertLess(len(log.splitlines()) - lines, 60)
        self.assertNotIn("Traceback", log)


class ProsodyPeersTests(PeersTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody
