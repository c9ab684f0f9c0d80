"""Rosters of many users in one request, on real servers: nobody else waits for it, and outages in its middle."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import ACCOUNTS, scenario
from tests.live.gateway import Gateway
from tests.live.processes import until
from tests.live.rosters import RosterCase, WebApplication
from tests.live.servers import DOMAIN, ROSTER, DelayingProsody, Ejabberd, Prosody

MANY = [f"many{number}" for number in range(40)]
CONTACTS = 15
# Users that are refreshed at a time.
_LANES = 10


class ManyCase(RosterCase):
    """A mix-in: many users, and a request for all of them."""

    accounts = (*ACCOUNTS, *MANY)

    async def startMany(self) -> tuple[WebApplication, Gateway]:
        application = await self.startApplication()
        return application, await self.startRosters(application, concurrency=_LANES)

    def say(self, application: WebApplication, domain: str) -> None:
        """Give each of the many users new contacts."""
        for user in MANY:
            application.say(user, {f"friend{number}@{domain}": {} for number in range(CONTACTS)})

    async def begin(self, gateway: Gateway) -> str:
        """POST all of them without waiting; return the address of the result."""
        body = json.dumps(MANY).encode()
        code, answer = await gateway.post("/roster_admin/refresh", body, 5, "Prefer: respond-async\r\n")
        self.assertEqual(code, 202)
        return str(json.loads(answer)["result"])

    async def result(self, gateway: Gateway, path: str) -> tuple[int, dict[str, Any]]:
        code, answer = await gateway.get(path)
        return code, json.loads(answer)

    async def progress(self, gateway: Gateway, path: str, users: int) -> None:
        """Wait until so many users are done, of more."""

        async def isUnderWay() -> bool:
            code, answer = await self.result(gateway, path)
            self.assertEqual(code, 202, answer)
            return bool(answer["done"] >= users)

        await until(isUnderWay, 30, f"{users} users are done")

    async def end(self, gateway: Gateway, path: str, seconds: float) -> dict[str, Any]:
        """Wait for the answer; each user must be in it once."""

        async def isOver() -> bool:
            return (await self.result(gateway, path))[0] == 200

        await until(isOver, seconds, "the request is over")
        _, answer = await self.result(gateway, path)
        self.assertEqual(answer["updated"] + answer["errors"], len(MANY), answer)
        self.assertEqual(len(answer["failed"]), answer["errors"], answer)
        return answer

    async def agree(self, gateway: Gateway) -> None:
        """Refresh all of them again; then each roster is what the application says."""
        code, answer = await self.refresh(gateway, *MANY, seconds=60)
        self.assertEqual((code, answer["failed"]), (200, {}))
        code, answer = await self.refresh(gateway, *MANY, query="?dry_run=1")
        self.assertEqual((code, answer["changes"]), (200, {user: [] for user in MANY}))

    async def granted(self, gateway: Gateway) -> None:
        """Wait until the server has granted its privileges, after a restart."""
        await gateway.ready(60)

        async def isGranted() -> bool:
            return (await self.refresh(gateway, MANY[0], query="?dry_run=1"))[0] == 200

        await until(isGranted, 20, "the server has granted its privileges")


class ManyTests(ManyCase):
    """A mix-in: the scenarios, for one kind of server."""

    @scenario(120)
    async def test_others(self) -> None:
        """While the request is under way, other users are refreshed, and the server answers clients."""
        application, gateway = await self.startMany()
        self.say(application, "first.example")
        alice = await self.online("alice")
        await self.refresh(gateway, "alice")
        path = await self.begin(gateway)
        await self.progress(gateway, path, 1)
        for number in range(3):
            application.say("alice", {f"bob{number}@{DOMAIN}": {}})
            started = time.monotonic()
            code, answer = await self.refresh(gateway, "alice")
            self.assertEqual((code, answer["updated"]), (200, 1))
            self.assertEqual(await self.roster(alice), [f"bob{number}@{DOMAIN}"])
            self.assertLess(time.monotonic() - started, 10)
            code, _ = await self.result(gateway, path)
            if not number:
                self.assertEqual(code, 202)
        self.assertEqual((await self.end(gateway, path, 60))["failed"], {})
        await self.agree(gateway)

    @scenario(120)
    async def test_server(self) -> None:
        """
        If the server ends in the middle, the request ends soon, and names each user whose roster may not be right.
        """
        application, gateway = await self.startMany()
        self.say(application, "second.example")
        path = await self.begin(gateway)
        await self.progress(gateway, path, 3)
        self.server.kill9()
        answer = await self.end(gateway, path, 30)
        self.assertGreater(answer["updated"], 0)
        self.assertGreater(answer["errors"], 0)
        self.server.start()
        await self.server.ready()
        await self.granted(gateway)
        await self.agree(gateway)

    @scenario(120)
    async def test_application(self) -> None:
        """If the application is restarted in the middle, only those fail whose documents were just asked for."""
        application, gateway = await self.startMany()
        self.say(application, "third.example")
        path = await self.begin(gateway)
        await self.progress(gateway, path, 3)
        application.kill9()
        await until(lambda: self.isLogged(gateway, "does not answer for any user"), 20, "the outage is detected")
        application.start()
        await application.ready()
        answer = await self.end(gateway, path, 60)
        self.assertLessEqual(answer["errors"], _LANES)
        for reason in answer["failed"].values():
            self.assertIn("the application", reason)
        self.assertTrue(await self.isLogged(gateway, "The application answers again"))
        await self.agree(gateway)

    async def isLogged(self, gateway: Gateway, text: str) -> bool:
        return text in gateway.log(1000)


class ProsodyManyRostersTests(ManyTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class ProsodyDelayTests(ManyCase, SynchronousTestCase):
    """On Prosody with the module that saves rosters with a delay."""

    serverClass = DelayingProsody

    def saved(self, user: str) -> str:
        """Return the content of the file with a roster; empty if there is none."""
        path = self.server.directory / "data" / DOMAIN / "roster" / f"{user}.dat"
        return path.read_text() if path.exists() else ""

    async def restart(self) -> None:
        await self.server.terminate()
        self.server.start()
        await self.server.ready()

    @scenario(60)
    async def test_saved(self) -> None:
        """Each roster is saved soon, and when the server stops: the gateway's changes, and those of clients."""
        application, gateway = await self.startMany()
        self.say(application, "saved.example")
        await self.refresh(gateway, *MANY)
        await self.restart()
        for user in MANY:
            self.assertEqual(self.saved(user).count("@saved.example"), CONTACTS)
        await self.granted(gateway)
        user = MANY[0]
        application.say(user, {"one@saved.example": {}})
        await self.refresh(gateway, user)
        await until(lambda: self.hasSaved(user, "one@saved.example"), 10, "the roster is saved")
        client = await self.online(user)
        await client.request(
            None, f"<query xmlns='{ROSTER}'><item jid='two@saved.example'/></query>", "set"
        )
        application.say(user, {"two@saved.example": {}, "three@saved.example": {}})
        await self.refresh(gateway, user)
        self.assertEqual(await self.roster(client), ["three@saved.example", "two@saved.example"])
        await self.restart()
        client = await self.online(user)
        self.assertEqual(await self.roster(client), ["three@saved.example", "two@saved.example"])

    @scenario(60)
    async def test_killed(self) -> None:
        """If the server is killed, its last changes are lost; the next refresh makes them again."""
        application, gateway = await self.startMany()
        self.say(application, "killed.example")
        await self.refresh(gateway, *MANY)
        self.server.kill9()
        self.server.start()
        await self.server.ready()
        await self.granted(gateway)
        await self.agree(gateway)

    async def hasSaved(self, user: str, jid: str) -> bool:
        return self.saved(user).count("@") == 1 and jid in self.saved(user)


class EjabberdManyRostersTests(ManyTests, SynchronousTestCase):
    """On ejabberd, by its API."""

    serverClass = Ejabberd
