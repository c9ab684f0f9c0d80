"""Rosters from a web application, on real servers: what two clients see after a POST."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import LiveTests, scenario
from tests.live.clients import Client, local
from tests.live.gateway import Gateway
from tests.live.processes import Program, freePort, until
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, Embedded, Prosody

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "contacts.py"
ROSTER = "jabber:iq:roster"


class WebApplication(Program):
    """The documentation's, in a process of its own."""

    name = "contacts"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = freePort()

    def start(self) -> None:
        self._run([sys.executable, str(EXAMPLE), str(self.port)], {})

    async def ready(self) -> None:
        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.close()
            return True

        await until(answers, 10, "the application is ready")

    def say(self, user: str, contacts: Any) -> None:
        """Decide about a user's contacts."""
        content = contacts if isinstance(contacts, str) else json.dumps(contacts)
        (self.directory / f"{user}.json").write_text(content)


class RosterCase(LiveTests):
    """A mix-in: an application beside a gateway, and what clients are told."""

    async def startApplication(self) -> WebApplication:
        application = WebApplication(self.folder("application-"))
        self.stack.callback(application.stop)
        application.start()
        await application.ready()
        return application

    async def startRosters(self, application: WebApplication, **more: Any) -> Gateway:
        url = f"http://127.0.0.1:{application.port}/contacts/%s"
        table = {"domain": DOMAIN, "url": url, **more}
        return await self.startGateway({f'roster."{PRIVILEGED}"': {**table, **self.applies()}})

    def applies(self) -> dict[str, str]:
        """How the server is told: ejabberd 23.01 lets nobody set rosters by privilege."""
        if isinstance(self.server, Ejabberd):
            return {"apply": "ejabberd-api", "api": f"http://127.0.0.1:{self.server.apiPort}/api"}
        return {}

    async def refresh(self, gateway: Gateway, *users: str, query: str = "") -> tuple[int, dict[str, Any]]:
        """POST; status and answer."""
        code, body = await gateway.post(f"/roster_admin/refresh{query}", json.dumps(users).encode())
        return code, json.loads(body)

    async def online(self, name: str) -> Client:
        """A client that has asked for its roster, and so is told of changes."""
        client = await self.user(name)
        await client.request(None, f"<query xmlns='{ROSTER}'/>")
        client.received.clear()
        return client

    async def pushes(self, client: Client) -> list[tuple[str | None, ...]]:
        """What the client was told of since: JID, name, subscription, groups; once nothing more comes."""
        await asyncio.sleep(0.5)
        found = [
            (
                item.get("jid"),
                item.get("name"),
                item.get("subscription"),
                ",".join(sorted(group.text or "" for group in item)),
            )
            for element in client.received
            if local(element) == "iq" and element.get("type") == "set"
            for item in element.iter(f"{{{ROSTER}}}item")
        ]
        client.received.clear()
        return found

    async def roster(self, client: Client) -> list[str | None]:
        reply: Element = await client.request(None, f"<query xmlns='{ROSTER}'/>")
        return sorted(item.get("jid") or "" for item in reply.iter(f"{{{ROSTER}}}item"))


class RosterTests(RosterCase):
    """A mix-in: the scenarios, for one kind of server."""

    @scenario(60)
    async def test_refresh(self) -> None:
        """Contacts appear, are renamed, regrouped and removed in both clients: one push for each change."""
        application = await self.startApplication()
        for user in ("alice", "bob"):
            application.say(user, {})
        gateway = await self.startRosters(application)
        alice, bob = await self.online("alice"), await self.online("bob")
        code, answer = await self.refresh(gateway, "alice", "bob")
        self.assertEqual((code, answer["status"], answer["updated"]), (200, "ok", 2), answer)
        self.assertEqual((await self.roster(alice), await self.roster(bob)), ([], []))
        alice.received.clear()
        bob.received.clear()
        application.say("alice", {bob.bare: {"name": "Bob & <Co>", "groups": ["A", "B"]}})
        application.say("bob", {alice.bare: {}})
        code, answer = await self.refresh(gateway, "alice", "bob", "alice")
        self.assertEqual((code, answer["updated"], answer["failed"]), (200, 2, {}))
        self.assertEqual(await self.pushes(alice), [(bob.bare, "Bob & <Co>", "both", "A,B")])
        self.assertEqual([(jid, kind) for jid, _, kind, _ in await self.pushes(bob)], [(alice.bare, "both")])
        # Nothing is pushed for what did not change.
        await self.refresh(gateway, "alice", "bob", query="?force=1")
        self.assertEqual(await self.pushes(alice) + await self.pushes(bob), [])
        application.say("alice", {bob.bare: {"name": "Robert", "groups": {"C": True, "A": False}}})
        await self.refresh(gateway, "alice")
        self.assertEqual(await self.pushes(alice), [(bob.bare, "Robert", "both", "C")])
        application.say("alice", {})
        await self.refresh(gateway, "alice")
        self.assertEqual([(jid, kind) for jid, _, kind, _ in await self.pushes(alice)], [(bob.bare, "remove")])
        self.assertEqual(await self.roster(alice), [])

    @scenario(60)
    async def test_nothingWrong(self) -> None:
        """What the application says wrongly, or not at all, changes nothing, and is told; then all goes on."""
        application = await self.startApplication()
        right = {f"bob@{DOMAIN}": {"name": "B"}}
        application.say("alice", right)
        gateway = await self.startRosters(application)
        alice = await self.online("alice")
        await self.refresh(gateway, "alice")
        before = await self.roster(alice)
        self.assertEqual(before, [f"bob@{DOMAIN}"])
        for wrong, part in (
            ("", "not JSON"),
            ('{"carol@localhost": {}', "not JSON"),
            ("[]", "a list"),
            ({**right, "x@y/z": {}}, "a resource"),
            ({**right, alice.bare: {}}, "the user's own"),
            ({**right, f"carol@{DOMAIN}": {"subscription": "friend"}}, '"friend"'),
        ):
            application.say("alice", wrong)
            code, answer = await self.refresh(gateway, "alice")
            self.assertEqual((code, answer["status"]), (500, "error"))
            self.assertIn(part, answer["failed"]["alice"])
            self.assertEqual(await self.roster(alice), before)
        code, answer = await self.refresh(gateway, "nobody-has-a-file")
        self.assertIn("status 404", answer["failed"]["nobody-has-a-file"])
        application.kill9()
        code, answer = await self.refresh(gateway, "alice")
        self.assertIn("cannot be reached", answer["failed"]["alice"])
        self.assertEqual(await self.roster(alice), before)
        application.start()
        await application.ready()
        application.say("alice", {})
        code, answer = await self.refresh(gateway, "alice", query="?dry_run=1")
        self.assertEqual(answer["changes"], {"alice": [{"jid": f"bob@{DOMAIN}", "subscription": "remove"}]})
        self.assertEqual(await self.roster(alice), before)
        await self.refresh(gateway, "alice")
        self.assertEqual(await self.roster(alice), [])

    @scenario(60)
    async def test_online(self) -> None:
        """A user who comes online is refreshed."""
        application = await self.startApplication()
        application.say("carol", {f"bob@{DOMAIN}": {}})
        await self.startRosters(application)
        carol = await self.online("carol")

        async def isRefreshed() -> bool:
            return await self.roster(carol) == [f"bob@{DOMAIN}"]

        await until(isRefreshed, 20, "the roster is what the application says")


class EmbeddedRosterTests(RosterTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyRosterTests(RosterTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdRosterTests(RosterTests, SynchronousTestCase):
    """On ejabberd, by its HTTP API."""

    serverClass = Ejabberd
