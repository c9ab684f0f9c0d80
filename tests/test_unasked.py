"""Presence that a server sends unasked (XEP-0356 section 7), and presence that users direct, at each service."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.testing import MemoryGateway

ALICE = "alice@example.com/home"
BOT = "bot@example.com"
TABLES = {
    "proxy": f'target = "{BOT}"',
    "delegation": 'servers = ["example.com"]\nnamespaces."jabber:iq:private" = { handler = "private-storage" }',
    "roster": 'domain = "example.com"\nurl = "http://127.0.0.1:1/%s"',
    "rooms": "",
    "mirror": 'allow = ["rooms.example.net"]\nusers = ["example.com"]',
}


def granted(component: str, kind: str) -> str:
    """Return the advertisement of ejabberd; C{none} is never advertised there."""
    perms = f"<perm access='message' type='none'/><perm access='presence' type='{kind}'/>"
    return (
        f"<message from='example.com' to='{component}'><privilege xmlns='{ns.PRIVILEGE}'>"
        f"<perm access='roster' type='get'/>{perms}</privilege></message>"
    )


def presence(sender: str, recipient: str, content: str = "<show>away</show>") -> str:
    """Return presence, as ejabberd sends it: unasked or directed, it is the same."""
    return f"<presence xml:lang='en' to='{recipient}' from='{sender}'>{content}</presence>"


class UnaskedTests(SynchronousTestCase):
    """A gateway on one server."""

    def start(self, kind: str, table: str) -> str:
        """Start a gateway with one service; return its component."""
        component = f"{kind}.example.com"
        self.gateway = MemoryGateway(self.mktemp(), f'[{kind}."{component}"]\n{table}\n')
        self.addCleanup(self.gateway.stop)
        self.server = self.gateway.server(component)
        self.gateway.wait(1)
        self.server.received()
        return component

    def answers(self, xml: str) -> list[Element]:
        """Return presence and messages that are sent as an answer, without the proxy's subscription requests."""
        found = self.server.ask(xml)
        self.gateway.wait(1)
        found += self.server.received()
        return [each for each in found if not each.tag.endswith("iq") and each.get("to") != BOT]

    def assertRefused(self, sender: str, recipient: str) -> None:
        """Presence is refused."""
        [refusal] = self.answers(presence(sender, recipient))
        self.assertEqual([refusal.get(name) for name in ("type", "from", "to")], ["error", recipient, sender])

    def test_services(self) -> None:
        """No service answers presence that the server sends unasked."""
        for service, table in TABLES.items():
            for kind in ("managed_entity", "roster"):
                component = self.start(service, table)
                self.answers(granted(component, kind))
                self.assertEqual(self.answers(presence(ALICE, component)), [], service)
                self.gateway.stop()

    def test_directed(self) -> None:
        """A proxy refuses presence that cannot have come unasked: before the grant, and to other addresses."""
        component = self.start("proxy", TABLES["proxy"])
        self.assertRefused(ALICE, component)
        self.assertEqual(self.answers(granted(component, "managed_entity")), [])
        for recipient in (f"node@{component}", f"{component}/x"):
            self.assertRefused(ALICE, recipient)
        self.assertRefused("eve@example.net/home", component)
        self.assertEqual(self.answers(presence(ALICE, component)), [])
        self.answers(granted(component, "none"))
        self.assertRefused(ALICE, component)

    def test_contacts(self) -> None:
        """With the grant of contacts' presence, presence from any server may have come unasked."""
        component = self.start("proxy", TABLES["proxy"])
        self.answers(granted(component, "roster"))
        self.assertEqual(self.answers(presence("eve@example.net/home", component)), [])
        self.assertRefused("eve@example.net/home", f"{component}/x")

    def test_target(self) -> None:
        """The target's own presence counts as without a grant: the proxy forwards requests to it."""
        component = self.start("proxy", TABLES["proxy"])
        self.answers(granted(component, "managed_entity") + presence(f"{BOT}/a", component))
        [forwarded] = self.server.ask(f"<iq type='get' id='1' from='{ALICE}' to='{component}'><q xmlns='x'/></iq>")
        self.assertEqual(forwarded.get("to"), f"{BOT}/a")

    def test_forwarded(self) -> None:
        """
        With C{forward}, the implementing client gets presence that is sent unasked, as it is then used; it does not
        get the advertisement.
        """
        component = self.start("proxy", f'{TABLES["proxy"]}\nforward = ["iq", "message", "presence"]')
        self.server.ask(presence(f"{BOT}/a", component))
        self.assertEqual(self.answers(granted(component, "managed_entity")), [])
        [forwarded] = self.answers(presence(ALICE, component))
        self.assertEqual(forwarded.get("to"), f"{BOT}/a")
        self.assertNotIn("grants the privilege", self.gateway.request("GET", "/status").text)

    def test_reported(self) -> None:
        """Presence that is sent for nothing is reported at a proxy and at rooms, not at rosters, which use it."""
        for service, isUnused in (("proxy", True), ("rooms", True), ("roster", False), ("delegation", True)):
            component = self.start(service, TABLES[service])
            self.answers(granted(component, "managed_entity") + presence(ALICE, component) * 3)
            found = "presence = managed_entity" in self.gateway.request("GET", "/status").text
            self.assertEqual(found, isUnused, service)
            self.gateway.stop()
