"""Rosters from a misbehaving web application, and of many users; a gateway that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import TogetherTests, scenario
from tests.live.gateway import Gateway
from tests.live.odd_application import CROWD, ODD, contacts
from tests.live.processes import holds, until
from tests.live.rawcomponent import RawComponent
from tests.live.rosters import ROSTER, Application, RosterCase
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, Embedded, Prosody

# Contacts of each of the crowd. Prosody writes a whole roster for each contact that is set: with 100 it takes
# minutes.
CONTACTS = int(os.environ.get("ROSTER_CONTACTS", "5"))
SECONDS = 40 + 5 * CONTACTS

NAMED = ("jörg", "o\\40brien", "ann")
USERS = (*ODD, *NAMED)
CROWDED = tuple(f"u{number}" for number in range(CROWD))

# The reason for each user whose contacts cannot be fetched; users who are not listed have the right ones in the
# end.
REASONS = {
    "dripping": "did not answer within 2 s; 3 tries",
    "hesitating": "did not answer within 2 s; 3 tries",
    "silent": "did not answer within 2 s; 3 tries",
    "half": "is incomplete; 3 tries",
    "chunked": "is incomplete; 3 tries",
    "cut": "not JSON",
    "endless": "over 8388608 bytes",
    "bomb": "over 8388608 bytes",
    "large": "the document has 9437184 bytes",
    "redirecting": "redirections are not followed",
    "missing": "status 404",
    "failing": "status 500; 3 tries",
    "page": "not JSON",
    "empty": "not JSON",
    "twice": "compressed more than once",
}

# Maximum growth of the gateway after its start, for any number of users and any documents.
MEMORY = 48 * 1024 * 1024

Contacts = dict[str, tuple[str, str, tuple[str, ...]]]


class OddApplication(Application):
    """The misbehaving application."""

    name = "odd"

    def start(self) -> None:
        script = Path(__file__).with_name("odd_application.py")
        self._run([sys.executable, str(script), str(self.port), str(CONTACTS)], {})

    def setMood(self, mood: str) -> None:
        """Set its mood."""
        self._ask(f"mood/{mood}")

    def served(self) -> int:
        """Return the number of users of the crowd that were requested."""
        return int(self._ask("served/crowd"))

    def _ask(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as response:
            found: bytes = response.read()
        return found


def expected(user: str, mood: str) -> Contacts:
    """Return a user's roster after a successful refresh in this mood: name, subscription, groups."""
    found = contacts(user, mood, CONTACTS)
    if user == "mistaken" and mood == "odd":
        # The user is in the place of this contact.
        del found["kept@localhost"]
    return {
        jid: (about.get("name", ""), "both", tuple(sorted(about.get("groups", ())))) for jid, about in found.items()
    }


class OddTests(RosterCase):
    """A mix-in: the scenarios, for one kind of server."""

    accounts = (*USERS, *CROWDED)
    # The reason for an unknown user; ejabberd's API gives none, and stores contacts for anybody.
    nobody = {"nobody": "kept@localhost could not be set: the server says service-unavailable"}

    async def rosters(self, gateway: Gateway, names: Iterable[str]) -> dict[str, Contacts]:
        """Return the server's rosters. The gateway is stopped by then: a component has one connection."""
        gateway.kill9()
        names = list(names)
        component = await self.inItsPlace(names[0])
        try:
            for name in names:
                self.ask(component, name)
            return {name: self.read(await component.reply(name, 30)) for name in names}
        finally:
            await component.close()

    async def inItsPlace(self, name: str) -> RawComponent:
        """Connect as the gateway's component, once the server has noticed that the gateway has ended."""
        async with asyncio.timeout(10):
            while True:
                component = RawComponent(self.server, PRIVILEGED)
                with contextlib.suppress(AssertionError, ConnectionError):
                    await component.connect()
                    # ejabberd 26 drops stanzas that come before it knows the component's privileges.
                    await asyncio.sleep(0.1)
                    self.ask(component, name, "is-there")
                    if (await component.reply("is-there")).get("type") == "result":
                        return component
                await component.close()
                await asyncio.sleep(0.1)

    def ask(self, component: RawComponent, name: str, id_: str = "") -> None:
        """Request a roster."""
        addresses = f"from='{PRIVILEGED}' to='{name}@{DOMAIN}'"
        component.send(f"<iq type='get' id='{id_ or name}' {addresses}><query xmlns='{ROSTER}'/></iq>")

    def read(self, reply: Any) -> Contacts:
        """Read one of them."""
        self.assertEqual(reply.get("type"), "result")
        return {
            item.get("jid"): (
                item.get("name") or "",
                item.get("subscription"),
                tuple(sorted(group.text for group in item)),
            )
            for item in reply.iter(f"{{{ROSTER}}}item")
        }

    async def again(self, gateway: Gateway) -> None:
        """Start the gateway again."""
        gateway.start()
        await gateway.ready()

    async def odd(self) -> None:
        """
        With any fault of the application, nothing wrong is applied, and the answer has the reason; the next refresh
        completes.
        """
        application = await self.running(OddApplication(self.folder("odd-")))
        gateway = await self.startRosters(application, timeout=2)

        async def isThere() -> bool:
            code, answer = await self.refresh(gateway, *USERS, "Ann")
            return (code, answer["updated"]) == (200, len(USERS))

        # A server that has just started may take longer than is allowed here.
        await until(isThere, 10, "everybody has a contact")
        before = gateway.memory()
        application.setMood("odd")
        code, answer = await self.refresh(gateway, *USERS)
        self.assertEqual((code, answer["status"], answer["updated"]), (200, "ok", len(USERS) - len(REASONS)))
        self.assertEqual(answer["failed"].keys(), REASONS.keys())
        self.assertEqual(answer["skipped"], {"mistaken": {"mistaken@localhost": "it is the user's own JID"}})
        for name, reason in REASONS.items():
            self.assertIn(reason, answer["failed"][name], name)
        self.assertLess(gateway.memory() - before, MEMORY)
        self.assertNotIn("Traceback", gateway.log(1000))
        found = await self.rosters(gateway, USERS)
        for name in USERS:
            self.assertEqual(found[name], expected(name, "before" if name in REASONS else "odd"), name)
        await self.again(gateway)
        application.setMood("after")
        code, answer = await self.refresh(gateway, *USERS)
        self.assertEqual((code, answer["updated"], answer["failed"]), (200, len(USERS), {}))
        answer = json.loads((await gateway.get("/roster_admin/refresh/nobody"))[1])
        self.assertEqual(answer["failed"], self.nobody)
        found = await self.rosters(gateway, USERS)
        for name in USERS:
            self.assertEqual(found[name], expected(name, "after"), name)

    @scenario(SECONDS)
    async def test_crowd(self) -> None:
        """
        A thousand users in one POST, and a gateway that is killed in the middle of it: stored contacts are right,
        and the next POST adds the missing ones. Nothing is lost or pushed twice, and the gateway's memory is
        limited.
        """
        application = await self.running(OddApplication(self.folder("odd-")))
        client = await self.online("u0")
        gateway = await self.startRosters(application)
        posted = asyncio.create_task(self.refresh(gateway, *CROWDED, seconds=SECONDS))
        await holds(lambda: application.served() > CROWD / 2, SECONDS, "half of it is done")
        gateway.kill9()
        self.assertEqual((await posted)[0], 0)
        found = await self.rosters(gateway, CROWDED)
        wanted = {name: expected(name, "after") for name in CROWDED}
        for name in CROWDED:
            self.assertLessEqual(found[name].items(), wanted[name].items(), name)
        missing = sum(not found[name] for name in CROWDED)
        self.assertTrue(CROWD / 4 < missing < CROWD * 3 / 4, f"{missing} without contacts")
        await self.again(gateway)
        before = gateway.memory()
        code, answer = await self.refresh(gateway, *CROWDED, seconds=SECONDS)
        self.assertEqual((code, answer["updated"], answer["failed"]), (200, CROWD, {}))
        self.assertLess(gateway.memory() - before, MEMORY)
        self.assertEqual(await self.rosters(gateway, CROWDED), wanted)
        self.assertEqual(sorted(each[0] or "" for each in self.pushed(client)), sorted(wanted["u0"]))
        self.assertEqual(await self.roster(client), sorted(wanted["u0"]))


class EmbeddedOddTests(OddTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded
    nobody = {"nobody": "the roster could not be read: the server says service-unavailable"}


class ProsodyOddTests(OddTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdOddTests(OddTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    nobody: dict[str, str] = {}


class AllOddTests(TogetherTests, SynchronousTestCase):
    """Tests that mostly wait, on all servers at once."""

    classes = (EmbeddedOddTests, ProsodyOddTests, EjabberdOddTests)

    def test_odd(self) -> None:
        """
        Documents that cannot be fetched are not applied, and are reported; those that can be fetched in the end are
        applied.
        """
        self.together("odd", 60)
