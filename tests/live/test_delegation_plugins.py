"""Handlers that are plugins, on real servers: that of the documentation, and an ordinary Wokkel handler."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.documented import module
from tests.live.case import LiveTests, scenario
from tests.live.clients import condition
from tests.live.delegations import GREETING, ODD_GATEWAY, PUBSUB, SERVICE, tables
from tests.live.gateway import Gateway
from tests.live.servers import Ejabberd, Embedded, Prosody

TUNE = "http://jabber.org/protocol/tune"
SONG = f"<tune xmlns='{TUNE}'><title>Allegro vigoroso</title></tune>"


class PluginTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    async def run_(self, gateway: Gateway, path: Path) -> None:
        """Start a gateway with a plugin."""
        gateway.addPlugins(path)
        gateway.start()
        await gateway.ready()

    @scenario(30)
    async def test_documented(self) -> None:
        """The handler in the documentation is complete, has under 40 lines, and works as described."""
        source = module("delegation.md")
        self.assertTrue(len(source.splitlines()) < 40)
        gateway = self.newGateway(tables(ODD_GATEWAY, {GREETING: {"handler": "greeter"}}))
        path = gateway.directory / "greeting.py"
        path.write_text(source)
        await self.run_(gateway, path)
        alice = await self.user("alice")
        reply = await self.granted(alice, f"<greeting xmlns='{GREETING}'/>")
        self.assertEqual(reply[0].text, f"Good day, {alice.jid}!")
        refused = await alice.request(alice.bare, f"<greeting xmlns='{GREETING}'/>", "set")
        self.assertEqual(condition(refused), "not-allowed")
        self.assertIn("Greetings are not for sale.", "".join(refused.itertext()))

    @scenario(30)
    async def test_wokkelHandler(self) -> None:
        """
        A PubSubService, unchanged, is the server's PEP: users get the items that they publish, and their errors.
        """
        await self.expectNesting()
        gateway = self.newGateway(tables(SERVICE, {PUBSUB: {"handler": "mounted"}}))
        await self.run_(gateway, Path(__file__).with_name("mounted.py"))
        alice, bob = await self.user("alice"), await self.user("bob")
        wanted = f"<pubsub xmlns='{PUBSUB}'><items node='{TUNE}'/></pubsub>"
        await self.granted(bob, wanted)
        publish = f"<pubsub xmlns='{PUBSUB}'><publish node='{TUNE}'><item id='1'>{SONG}</item></publish></pubsub>"
        published = await alice.request(alice.bare, publish, "set")
        self.assertEqual((published.get("type"), published.get("from")), ("result", alice.bare))
        for user, titles in ((alice, ["Allegro vigoroso"]), (bob, [])):
            reply = await alice.request(user.bare, wanted)
            self.assertEqual((reply.get("type"), reply.get("from")), ("result", user.bare))
            self.assertEqual([each.text for each in reply.iter(f"{{{TUNE}}}title")], titles)
        refused = await alice.request(
            alice.bare, f"<pubsub xmlns='{PUBSUB}'><create node='{TUNE}'/></pubsub>", "set"
        )
        self.assertEqual(condition(refused), "feature-not-implemented")
        self.assertIsNotNone(refused.find(f".//{{{PUBSUB}#errors}}unsupported"))
        self.assertIn(f"{PUBSUB}#publish", await self.nested(alice, alice.bare))
        self.assertNotIn("Traceback", gateway.log(1000))


class EmbeddedPluginTests(PluginTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyPluginTests(PluginTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdPluginTests(PluginTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
