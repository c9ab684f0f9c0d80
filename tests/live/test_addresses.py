"""Users whose addresses have characters newer than Unicode 3.2, on servers that accept them."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.live.case import ROOMS, scenario
from tests.live.clients import condition, local, stanza
from tests.live.rawstream import RawClient
from tests.live.rooms import MUC_USER, MUC_X, RoomsCase
from tests.live.servers import DOMAIN, Embedded, Prosody

THUMB = "\U0001f44d"


class OddClient(RawClient):
    """A user with an emoji as resource, if the server binds it."""

    async def loginAs(self, user: str) -> None:
        """Log in, with TLS if the server has it."""
        await (self.greet() if self.server.certificate is None else self.secure())
        assert local(await self.plain(user, self.server.password(user))) == "success"
        await self.features()
        self.send(f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>{THUMB}</resource></bind></iq>")
        # Prosody, which accepts such resources in senders, binds another one.
        assert (await self.next()).get("type") == "result"

    async def until(self, matches: Callable[[Element], bool]) -> Element:
        """Wait for a stanza."""
        while not matches(element := await self.next()):
            pass
        return element


class OddAddressTests(RoomsCase):
    """A mix-in: the scenario, for one kind of server."""

    @scenario(40)
    async def test_emoji(self) -> None:
        """
        With an emoji as resource and as nick: answered by the component, an occupant of a room, banned from it.
        """
        await self.startSites()
        room = f"emoji@{ROOMS}"
        owner = await self.user("bob")
        await self.enter(owner, room, "bob")
        alice = OddClient(self.server)
        self.stack.push_async_callback(alice.close)
        await alice.loginAs("alice")
        alice.send(stanza("iq", f"<query xmlns='{ns.DISCO_INFO}'/>", to=ROOMS, id="i", type="get"))
        self.assertEqual((await alice.until(lambda each: each.get("id") == "i")).get("type"), "result")

        alice.send(stanza("presence", MUC_X, to=f"{room}/{THUMB}"))
        seen = await owner.expect(lambda each: each.get("from") == f"{room}/{THUMB}", "the occupant")
        self.assertEqual(seen.get("type"), None)
        alice.send(stanza("message", "<body>hi</body>", to=room, type="groupchat"))
        await owner.expect(lambda each: local(each) == "message" and each.get("from") == f"{room}/{THUMB}", "it")
        item = f"<query xmlns='{ns.MUC_ADMIN}'><item jid='alice@{DOMAIN}' affiliation='outcast'/></query>"
        self.assertEqual((await owner.request(room, item, "set")).get("type"), "result")
        gone = await alice.until(lambda each: each.get("type") == "unavailable")
        self.assertIn("301", [each.get("code") for each in gone.iter(f"{{{MUC_USER}}}status")])
        alice.send(stanza("presence", MUC_X, to=f"{room}/{THUMB}"))
        refused = await alice.until(lambda each: each.get("type") == "error")
        self.assertEqual(condition(refused), "forbidden")


class ProsodyOddAddressTests(OddAddressTests, SynchronousTestCase):
    """On Prosody. ejabberd binds no such resource."""

    serverClass = Prosody


class EmbeddedOddAddressTests(OddAddressTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded
