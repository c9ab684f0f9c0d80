"""Presence that real servers send a proxy unasked (XEP-0356 section 7), and presence that users direct."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import COMPONENTS, PROXY, SECRET, LiveTests, proxy, scenario
from tests.live.clients import Client, condition, local, stanza, untilServed
from tests.live.servers import DOMAIN, FED, FEEDS, Ejabberd, Embedded, Prosody


class UnaskedTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    components = {**COMPONENTS, **dict.fromkeys(FEEDS, SECRET)}

    async def arrived(self, user: Client, *components: str) -> None:
        """Wait until each proxy has answered: it has received what was sent before."""
        for component in components:
            await untilServed(user, component)

    def errors(self, user: Client, sender: str) -> list[str | None]:
        """Return the conditions of the errors from an address that a user was sent for presence."""
        found = [each for each in user.received if local(each) == "presence" and each.get("from") == sender]
        return [condition(each) for each in found if each.get("type") == "error"]

    @scenario(40)
    async def test_logins(self) -> None:
        """
        Users get no error when they come online and change their presence, although the server sends it to the
        proxies, which report that.
        """
        tables = {key: table for jid in (PROXY, *FEEDS) for key, table in proxy(jid).items()}
        gateway = await self.startGateway(tables)
        await self.implementing("a")
        alice, bob = await self.user("alice"), await self.user("bob")
        await self.arrived(alice, *FEEDS)
        for user in (alice, bob):
            for show in ("away", "dnd"):
                user.send(stanza("presence", f"<show>{show}</show>"))
            # A presence to a contact is sent to some servers' components, too.
            user.send(stanza("presence", to=(bob if user is alice else alice).jid))
            await self.arrived(user, *FEEDS)
            for fed in FEEDS:
                self.assertEqual(self.errors(user, fed), [])
        _, status = await gateway.get("/status")
        for granted in FEEDS.values():
            self.assertIn(f"{DOMAIN} grants the privilege presence = {granted['presence']}", status)
        self.assertEqual(status.count("grants the privilege"), len(FEEDS))

    @scenario(40)
    async def test_directed(self) -> None:
        """Presence that a user directs to other addresses of these proxies, or to other proxies, is refused."""
        await self.startGateway({**proxy(PROXY), **proxy(FED)})
        await self.implementing("a")
        alice = await self.user("alice")
        await self.arrived(alice, FED, PROXY)
        for address in (PROXY, f"node@{FED}", f"{FED}/some res"):
            alice.send(stanza("presence", to=address))
        await self.arrived(alice, FED, PROXY)
        for address in (PROXY, f"node@{FED}", f"{FED}/some res"):
            self.assertEqual(self.errors(alice, address), ["service-unavailable"], address)
        self.assertEqual(self.errors(alice, FED), [])


class ProsodyUnaskedTests(UnaskedTests, SynchronousTestCase):
    """Prosody."""

    serverClass = Prosody


class EjabberdUnaskedTests(UnaskedTests, SynchronousTestCase):
    """ejabberd."""

    serverClass = Ejabberd


class EmbeddedUnaskedTests(UnaskedTests, SynchronousTestCase):
    """The embedded host."""

    serverClass = Embedded
