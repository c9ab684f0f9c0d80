"""The embedded default as a new user sees it: ordinary clients, the tour, and common obstacles."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.embedded.store import HostFolder
from tests.live.case import ENDED_WELL, PROXY, LiveTests, scenario
from tests.live.clients import Client, local, stanza
from tests.live.processes import TWISTD, Value, freePort, need, outcome, toml
from tests.live.servers import DOMAIN, EmbeddedDefault, EmbeddedProxy, listening
from tests.live.terminal import Profanity, Terminal

BUILT_IN = "xmpp-gateway implementing client"


class QuietDefault(EmbeddedDefault):
    """The default without an http table."""

    def tables(self) -> dict[str, Mapping[str, Value]]:
        return {"embedded": super().tables()["embedded"]}


class EmbeddedTests(LiveTests, SynchronousTestCase):
    """The embedded default, on other ports than its own."""

    serverClass = EmbeddedDefault

    @property
    def config(self) -> Path:
        """Return the server's configuration."""
        return self.server.directory / "gateway.toml"

    async def user(self, name: str, resource: str = "home", mechanism: str = "PLAIN") -> Client:
        """Log in one user, who has no contacts."""
        user = await self.login(Client(self.server, name, resource, mechanism))
        roster = await user.request(user.bare, f"<query xmlns='{ns.ROSTER}'/>")
        for item in roster.iter(f"{{{ns.ROSTER}}}item"):
            gone = stanza("item", jid=item.get("jid"), subscription="remove")
            await user.request(user.bare, f"<query xmlns='{ns.ROSTER}'>{gone}</query>", "set")
        return user

    async def presence(self, client: Client, sender: str, kind: str | None = None) -> Element:
        """Return presence of this kind from a contact, as soon as the client has it."""
        return await client.expect(
            lambda each: local(each) == "presence" and (each.get("from"), each.get("type")) == (sender, kind),
            f"presence from {sender}: {kind or 'available'}",
        )

    async def message(self, client: Client, sender: str, body: str) -> None:
        """Wait for a message."""
        await client.expect(
            lambda each: (
                local(each) == "message"
                and each.get("from") == sender
                and any(local(child) == "body" and child.text == body for child in each)
            ),
            f'"{body}" from {sender}',
        )

    async def accept(self, client: Client, contact: str) -> None:
        """Approve the subscription that a contact asks for."""
        await self.presence(client, contact, "subscribe")
        client.send(stanza("presence", to=contact, type="subscribed"))

    @scenario(20)
    async def test_friends(self) -> None:
        """
        Two clients log in over TLS, with one mechanism each, become contacts, see each other's presence, chat, and
        are answered by the built-in client behind the proxy.
        """
        alice = await self.user("alice", mechanism="SCRAM-SHA-256")
        bob = await self.user("bob", mechanism="SCRAM-SHA-1")
        for asking, asked in ((alice, bob), (bob, alice)):
            asking.send(stanza("presence", to=asked.bare, type="subscribe"))
            await self.accept(asked, asking.bare)
            await self.presence(asking, asked.bare, "subscribed")
            await self.presence(asking, asked.jid)

        for talking, listener, to in ((alice, bob, bob.bare), (bob, alice, alice.jid)):
            talking.send(stanza("message", "<body>Grüße &amp; 漢</body>", to=to, type="chat"))
            await self.message(listener, talking.jid, "Grüße & 漢")

        for user in (alice, bob):
            info = await user.request(PROXY, f"<query xmlns='{ns.DISCO_INFO}'/>")
            self.assertEqual((info.get("type"), info.get("from")), ("result", PROXY))
            features = {each.get("var") for each in info.iter(f"{{{ns.DISCO_INFO}}}feature")}
            self.assertEqual(features, {ns.DISCO_INFO, ns.PING, ns.VERSION})
            version = await user.request(PROXY, f"<query xmlns='{ns.VERSION}'/>")
            self.assertEqual(version.findtext(f".//{{{ns.VERSION}}}name"), BUILT_IN)
            pong = await user.request(f"node@{PROXY}/res", f"<ping xmlns='{ns.PING}'/>")
            self.assertEqual((pong.get("type"), pong.get("from"), len(pong)), ("result", f"node@{PROXY}/res", 0))

        # One logs out in an orderly way, the other is cut off.
        await bob.close()
        await self.presence(alice, bob.jid, "unavailable")
        bob.received.clear()
        await self.login(bob)
        await self.presence(bob, alice.jid)
        alice.drop()
        await self.presence(bob, alice.jid, "unavailable")

    @scenario(20)
    async def test_certificate(self) -> None:
        """
        The certificate is self-signed: a client that trusts another one is not logged in, a client that trusts it
        is.
        """
        folder = HostFolder(Path(tempfile.mkdtemp(dir=self.server.directory)))
        folder.loadCertificate(DOMAIN, datetime.now(UTC))
        alice = Client(self.server, "alice", "wary")
        alice.trusted = folder.certificate
        with self.assertRaises(ConnectionError):
            await alice.login(1)
        alice.trusted = self.server.certificate
        await self.login(alice)

    @scenario(40)
    async def test_profanity(self) -> None:
        """
        A user of profanity logs in over STARTTLS, sees a contact's presence, chats, and sends a request to the
        proxy.
        """
        need(Terminal.missing("profanity"))
        bob = await self.user("bob")
        # A path to a socket may have 107 bytes.
        directory = Path(tempfile.mkdtemp(prefix="p-", dir=self.server.directory))
        terminal = Profanity(directory)
        self.stack.callback(terminal.stop)
        await terminal.login(f"alice@{DOMAIN}/desk", self.server.clientPort, self.server.password("alice"))

        await terminal.type(f"/disco info {PROXY}")
        await terminal.expect(f"Service discovery info for {PROXY}", f"{BUILT_IN} bot client", ns.PING, ns.VERSION)

        await terminal.type(f"/sub request {bob.bare}")
        await self.accept(bob, f"alice@{DOMAIN}")
        await terminal.expect(f"{bob.bare} (home) is online")
        bob.send(stanza("presence", to=f"alice@{DOMAIN}", type="subscribe"))
        await terminal.expect(f"Received authorization request from {bob.bare}")
        await terminal.type(f"/sub allow {bob.bare}")
        await self.presence(bob, f"alice@{DOMAIN}/desk")

        await terminal.type(f"/msg {bob.bare} Hello Bob")
        await self.message(bob, f"alice@{DOMAIN}/desk", "Hello Bob")
        bob.send(stanza("message", "<body>Good day, Alice</body>", to=f"alice@{DOMAIN}/desk", type="chat"))
        await terminal.expect(f"{bob.bare} [online]", "me: Hello Bob", "Good day, Alice")
        await bob.close()
        await terminal.expect(f"{bob.bare} [offline]")

    @scenario(40)
    async def test_tour(self) -> None:
        """The tour shows in words and XML what each service does, from any folder, and exits with 0."""
        code, output = await self.tour(self.config)
        self.assertEqual(code, 0, output)
        self.assertIn(f"=== proxy: {PROXY} ===", output)
        self.assertIn(f"{PROXY} is a component.", output)
        # The answer to each request; and a roster push.
        self.assertEqual((output.count("  -> <iq "), output.count("  <- <iq ")), (13, 14), output)
        self.assertIn("=== delegation: delegate.localhost ===", output)
        self.assertIn("ok: the note is what was stored", output)
        self.assertIn("=== roster: roster.localhost ===", output)
        for one, other in (("alice", "bob"), ("bob", "alice")):
            self.assertIn(f"ok: the roster push that tells {one}@{DOMAIN}/tour of {other}@{DOMAIN}", output)
            self.assertIn(f"ok: the presence of {one}@{DOMAIN}/tour", output)
        self.assertIn("=== rooms: rooms.localhost ===", output)
        self.assertIn("=== mirror: mirror.localhost ===", output)
        for user in ("alice", "bob"):
            self.assertIn(f"ok: {user}@{DOMAIN}/tour receives it", output)
            self.assertIn(f"ok: {user}@{DOMAIN}/tour has left", output)
        self.assertIn(BUILT_IN, output)
        self.assertIn("This is the end of the tour.", output)
        self.assertNotIn(self.server.password("alice"), output)

    @scenario(40)
    async def test_tourOfNothing(self) -> None:
        """
        Without a gateway, or without the service behind the proxy, the tour exits with 1 and says what is missing.
        """
        empty = Path(tempfile.mkdtemp(dir=self.server.directory)) / "gateway.toml"
        empty.write_text("")
        forsaken = EmbeddedProxy(Path(tempfile.mkdtemp(dir=self.server.directory)), ("alice", "implementation"), {})
        self.stack.callback(forsaken.stop)
        forsaken.start()
        await forsaken.ready()
        self.assertIn(await self.server.terminate(), ENDED_WELL)
        tours = (self.tour(empty), self.tour(self.config), self.tour(forsaken.config))
        (none, before), (gone, after), (alone, unanswered) = await asyncio.gather(*tours)
        self.assertEqual((none, gone, alone), (1, 1, 1))
        self.assertRegex(before, "The tour ends here: .* is not the state folder of an embedded host: run the tour")
        self.assertIn(
            f"The tour ends here: no gateway listens at tcp:host=127.0.0.1:port={self.server.clientPort}", after
        )
        self.assertIn("<- <iq ", unanswered)
        self.assertIn("The tour ends here: expected, but not true: the request was answered", unanswered)
        for output in (before, after, unanswered):
            self.assertNotIn("Traceback", output)

    @scenario(20)
    async def test_takenPorts(self) -> None:
        """A port in use is reported with its key; only the default port of http may be in use."""
        keys = ("embedded.c2s", "embedded.component", "http.listen")
        with contextlib.closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            outcomes = await asyncio.gather(*(self.refused(key, port) for key in keys))
        for key, (code, output) in zip(keys, outcomes, strict=True):
            self.assertEqual(code, 1, output)
            self.assertIn(f"{key}: Address already in use: cannot listen on {listening(port)}", output)
            self.assertNotIn("Traceback", output)

    async def refused(self, key: str, port: int) -> tuple[int, str]:
        """Return exit code and output of a gateway with one port in use."""
        directory = Path(tempfile.mkdtemp(dir=self.server.directory))
        tables: dict[str, dict[str, Value]] = {
            "embedded": {"c2s": listening(freePort()), "component": listening(freePort())},
            "http": {"listen": listening(freePort())},
        }
        table, _, name = key.partition(".")
        tables[table][name] = listening(port)
        (directory / "gateway.toml").write_text(toml({"state_dir": "state"}, tables))
        return await outcome(TWISTD[0], directory, 10)

    @scenario(20)
    async def test_takenDefault(self) -> None:
        """
        If the configuration has no C{[http]} table, and its default port is in use, this is logged and the gateway
        runs.
        """
        host = QuietDefault(Path(tempfile.mkdtemp(dir=self.server.directory)), (), {})
        with contextlib.closing(socket.socket()) as taken:
            # It may also be in use already.
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", 5290))
                taken.listen()
            self.stack.callback(host.stop)
            host.start()
            await host.ready()
            self.assertIn(f"http.listen: Address already in use: cannot listen on {listening(5290)}", host.log())
            await (await Client(host, "alice", "home").login()).close()

    @scenario(20)
    async def test_restart(self) -> None:
        """A restart changes neither passwords nor certificate; only their owner can read files with secrets."""
        state = self.server.directory / "state"
        names = ("embedded.json", "embedded.pem")
        before = [(state / name).read_bytes() for name in names]
        alice = Client(self.server, "alice", "home")
        await (await alice.login()).close()
        self.assertIn(await self.server.terminate(), ENDED_WELL)
        self.server.output.unlink()
        self.server.start()
        await self.server.ready()
        self.assertEqual([(state / name).read_bytes() for name in names], before)
        self.assertIn(f"alice@{DOMAIN}  password {self.server.password('alice')}", self.server.log())
        await self.login(alice)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in state.iterdir()}
        self.assertEqual(modes, dict.fromkeys(modes, 0o600))
        self.assertTrue({*names, f"{PROXY}.key"} <= modes.keys(), modes)
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)

    async def tour(self, config: Path) -> tuple[int, str]:
        """Run the tour of a gateway with this configuration."""
        return await outcome([sys.executable, "-m", "gateway.tour", "--config", str(config)], Path("/"), 30)
