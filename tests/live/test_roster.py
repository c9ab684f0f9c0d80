"""Rosters from a web application, on real servers: what two clients get after a POST."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import scenario
from tests.live.clients import Client, local
from tests.live.gateway import Gateway
from tests.live.processes import freePort, holds, until
from tests.live.rosters import RosterCase, WebApplication
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, Embedded, Prosody


class RosterTests(RosterCase):
    """A mix-in: the scenarios, for one kind of server."""

    application: WebApplication
    gateway: Gateway
    users: tuple[Client, Client]

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
        # Unchanged contacts cause no push.
        await self.refresh(gateway, "alice", "bob", query="?force=1")
        self.assertEqual(await self.pushes(alice) + await self.pushes(bob), [])
        application.say("alice", {bob.bare: {"name": "Robert", "groups": {"C": True, "A": False}}})
        await self.refresh(gateway, "alice")
        self.assertEqual(await self.pushes(alice), [(bob.bare, "Robert", "both", "C")])
        application.say("alice", {})
        await self.refresh(gateway, "alice")
        pushed = [(jid, kind) for jid, _, kind, _ in await self.pushes(alice)]
        self.assertEqual((pushed, await self.pushes(bob)), (self.removed(bob.bare), []))
        self.assertEqual((await self.roster(alice), await self.roster(bob)), ([], [alice.bare]))

    @scenario(60)
    async def test_presence(self) -> None:
        """
        A user gets a contact's presence as long as the contact's roster allows it, from the change on. Each roster
        controls its own user's presence, and is pushed to its own user alone.
        """
        self.application = await self.startApplication()
        self.gateway = await self.startRosters(self.application, **self.probing())
        self.users = alice, bob = await self.online("alice"), await self.online("bob")
        is_, gone = ["available"], ["unavailable"]
        last: dict[Client, list[str]] = {alice: [], bob: []}
        # The contacts that each has of the other, the refreshed users; the pushes, and the presence that each has
        # of the other at the end.
        for aboutBob, aboutAlice, names, toAlice, toBob, alices, bobs in (
            ("both", "both", "alice bob", ["both"], ["both"], is_, is_),
            ("none", "none", "alice bob", ["none"], ["none"], gone, gone),
            ("both", "both", "alice", ["both"], [], [], is_),
            ("both", "both", "bob", [], ["both"], is_, None),
            ("from", "to", "bob alice", ["from"], ["to"], gone, None),
            ("both", "both", "bob alice", ["both"], ["both"], is_, None),
            ("remove", "both", "alice", ["remove"], [], None, gone),
            ("remove", "remove", "bob", [], ["remove"], gone, None),
        ):
            with self.subTest(f"{aboutBob}, {aboutAlice}: {names}"):
                found = await self.settled(aboutBob, aboutAlice, names.split())
                for client, pushed, seen, (pushes, presences) in zip(
                    (alice, bob), (toAlice, toBob), (alices, bobs), found, strict=True
                ):
                    last[client] = presences[-1:] or last[client]
                    other = bob if client is alice else alice
                    expected = [(other.bare, each) for each in pushed]
                    self.assertEqual(pushes, self.removed(other.bare) if pushed == ["remove"] else expected)
                    if seen is not None:
                        self.assertEqual(last[client] if seen else presences, seen)

    @scenario(60)
    async def test_once(self) -> None:
        """
        Two users who become contacts by one request get each other's presence once, in any order of logins; and
        once unavailable presence. With probes, a user who has missed a contact's presence gets it with the contact.
        """
        self.application = await self.startApplication()
        self.gateway = await self.startRosters(self.application, **self.probing(), min_interval=1000)
        for user in ("alice", "bob"):
            self.application.say(user, {})
        self.users = alice, bob = await self.online("alice"), await self.online("bob")
        await asyncio.sleep(1)
        for names in (["alice", "bob"], ["bob", "alice"], ["alice", "bob"]):
            for subscription, seen in (("both", ["available"]), ("remove", ["unavailable"])):
                with self.subTest(f"{names}, {subscription}"):
                    found = await self.settled(subscription, subscription, names)
                    self.assertEqual([presences for _, presences in found], [seen, seen])
            await alice.close()
            await asyncio.sleep(0.5)
            alice = await self.online("alice")
            await asyncio.sleep(1)
            alice.received.clear()
            self.users = alice, bob
        await self.settled("remove", "both", ["bob"])
        await alice.close()
        alice = await self.online("alice")
        await asyncio.sleep(1)
        alice.received.clear()
        self.users = alice, bob
        found = await self.settled("both", "both", ["alice"])
        # Others get it with the contact's next presence.
        missed = ["available"] if self.probing() else []
        self.assertEqual(found[0][1], missed)
        await self.settled("remove", "remove", ["alice", "bob"])

    def probing(self) -> dict[str, Any]:
        """Return the options of the gateway's table that presence at once needs on this server."""
        return {"probes": True} if isinstance(self.server, Prosody) else {}

    async def settled(
        self, aboutBob: str, aboutAlice: str, names: list[str]
    ) -> list[tuple[list[tuple[str | None, str | None]], list[str]]]:
        """
        Set these contacts, and refresh some users; return the pushes, and the presence of each other, that alice
        and bob got.
        """
        alice, bob = self.users
        for user, other, subscription in (("alice", bob, aboutBob), ("bob", alice, aboutAlice)):
            contacts = {} if subscription == "remove" else {other.bare: {"subscription": subscription}}
            self.application.say(user, contacts)
        code, answer = await self.refresh(self.gateway, *names)
        self.assertEqual((code, answer["failed"]), (200, {}))
        await asyncio.sleep(0.4)
        found = []
        for client, other in ((alice, bob), (bob, alice)):
            presences = [
                each.get("type") or "available"
                for each in client.received
                if local(each) == "presence" and each.get("from") == other.jid
            ]
            found.append(([(jid, kind) for jid, _, kind, _ in self.pushed(client)], presences))
        return found

    @scenario(60)
    async def test_nothingWrong(self) -> None:
        """
        An invalid or missing answer of the application changes nothing, and is reported; the next refresh works.
        """
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
            ("null", "null, not an object"),
            ("[{}]", "a list"),
            ({"error": "timeout"}, "neither a user name nor a dot"),
        ):
            application.say("alice", wrong)
            code, answer = await self.refresh(gateway, "alice")
            self.assertEqual((code, answer["status"]), (500, "error"))
            self.assertIn(part, answer["failed"]["alice"])
            self.assertEqual(await self.roster(alice), before)
        # The contact with the fault is reported, and has no other effect.
        for odd, about, part in (
            ("x@y/z", {}, "a resource"),
            (alice.bare, {}, "the user's own"),
            ("localhost", {}, "neither a user name nor a dot"),
            (f"carol@{DOMAIN}", {"subscription": "friend"}, '"friend"'),
            (f"bob@{DOMAIN}", 3, "a number"),
        ):
            application.say("alice", {"kept@example.org": {}, **right, odd: about})
            code, answer = await self.refresh(gateway, "alice")
            self.assertEqual((code, answer["updated"], answer["failed"]), (200, 1, {}))
            self.assertIn(part, answer["skipped"]["alice"][odd])
            self.assertEqual(await self.roster(alice), [*before, "kept@example.org"])
        brief = {"kept@example.org": "Kept", "b@example.org": None, "c@example.org": []}
        application.say("alice", {**right, "": {}, **brief})
        code, answer = await self.refresh(gateway, "alice")
        self.assertEqual((code, list(answer["skipped"]["alice"])), (200, [""]))
        there = sorted([*before, "b@example.org", "c@example.org", "kept@example.org"])
        self.assertEqual(await self.roster(alice), there)
        application.say("alice", right)
        code, answer = await self.refresh(gateway, "alice")
        self.assertEqual((code, await self.roster(alice)), (200, before))
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
        """A user who comes online is refreshed, at each login; if the application fails then, a moment later."""
        application = await self.startApplication()
        # ejabberd does not show the end of the session: the next login is refreshed at the end of the interval.
        more = {"min_interval": 3} if isinstance(self.server, Ejabberd) else {}
        gateway = await self.startRosters(application, **more)
        for user in ("bob", "dave"):
            application.say("carol", {f"{user}@{DOMAIN}": {}})
            carol = await self.online("carol")
            await self.becomes(carol, f"{user}@{DOMAIN}")
            await carol.close()
        application.kill9()
        application.say("carol", {f"bob@{DOMAIN}": {}})
        carol = await self.online("carol")
        await holds(lambda: "the refresh is repeated" in gateway.log(1000), 20, "the refresh has failed")
        self.assertEqual(await self.roster(carol), [f"dave@{DOMAIN}"])
        application.start()
        await self.becomes(carol, f"bob@{DOMAIN}")

    async def becomes(self, client: Client, *contacts: str) -> None:
        """Wait until these are the contacts."""

        async def isRefreshed() -> bool:
            return await self.roster(client) == sorted(contacts)

        await until(isRefreshed, 20, "the roster is what the application says")


    def nothing(self) -> dict[str, str]:
        """Return an API on a port where nothing listens."""
        return {"api": f"http://127.0.0.1:{freePort()}/api"}


class OfflineTests(RosterTests):
    """A mix-in: for servers that report which users are online."""

    @scenario(60)
    async def test_offline(self) -> None:
        """Users who are not online are refreshed at their login; others at once, also after a restart."""
        application = await self.startApplication()
        gateway = await self.startRosters(application, offline="later", max_removals=1)
        contacts = [f"{name}@{DOMAIN}" for name in ("bob", "dave")]
        for user in ("alice", "carol"):
            application.say(user, dict.fromkeys(contacts))
        alice = await self.online("alice")
        code, answer = await self.refresh(gateway, "alice", "carol")
        self.assertEqual((code, answer["updated"], answer["offline"]), (200, 1, ["carol"]))
        self.assertEqual(await self.roster(alice), contacts)
        carol = await self.online("carol")
        await self.becomes(carol, *contacts)
        await carol.close()
        gateway.kill9()
        gateway.start()
        await gateway.ready()
        application.say("carol", {})

        async def isOffline() -> bool:
            _, answer = await self.refresh(gateway, "alice", "carol", query="?force=1")
            return bool(answer.get("offline") == ["carol"] and answer["updated"] == 1)

        await until(isOffline, 20, "the server has shown who is online")
        carol = await self.online("carol")
        await self.becomes(carol)
        application.say("alice", {})
        await self.refresh(gateway, "alice", query="?force=1")
        self.assertEqual(await self.roster(alice), [])


    @scenario(30)
    async def test_autoWithoutApi(self) -> None:
        """If no API answers, privileges are used; the log and /status show that, and the reason."""
        application = await self.startApplication()
        bob = f"bob@{DOMAIN}"
        application.say("alice", {bob: {"subscription": "to"}})
        gateway = await self.startGateway({f'roster."{PRIVILEGED}"': {**self.table(application), **self.nothing()}})
        found = "rosters are set by privilege; subscriptions are not verified yet; the API cannot be used: "
        await holds(lambda: found in gateway.log(1000), 20, "the way is found")
        alice = await self.online("alice")
        code, answer = await self.refresh(gateway, "alice", query="?force=1")
        self.assertEqual((code, answer["failed"], await self.roster(alice)), (200, {}, [bob]))
        _, status = await gateway.get("/status")
        self.assertIn("the server keeps subscriptions; the API cannot be used: ejabberd's API cannot be", status)


class EmbeddedRosterTests(OfflineTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyRosterTests(OfflineTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody

    @scenario(30)
    async def test_presenceLater(self) -> None:
        """Without probes, Prosody shows two users to each other at their next presence, or login."""
        self.application = await self.startApplication()
        self.gateway = await self.startRosters(self.application)
        self.users = await self.online("alice"), await self.online("bob")
        for subscription, later in (("both", ["available"]), ("none", [])):
            for _, presences in await self.settled(subscription, subscription, ["alice", "bob"]):
                self.assertEqual(presences, [])
            for client in self.users:
                client.send("<presence><status>new</status></presence>")
            for _, presences in await self.settled(subscription, subscription, []):
                self.assertEqual(presences, later)


class EjabberdRosterTests(RosterTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd

    @scenario(30)
    async def test_semicolon(self) -> None:
        """A group with a semicolon is one group, or is refused; it never becomes two."""
        application = await self.startApplication()
        bob = f"bob@{DOMAIN}"
        application.say("alice", {bob: {"groups": ["A;B", "C"]}})
        gateway = await self.startRosters(application)
        alice = await self.online("alice")
        _, answer = await self.refresh(gateway, "alice")
        pushes = await self.pushes(alice)
        assert isinstance(self.server, Ejabberd)
        if self.server.listsGroups:
            self.assertEqual((answer["failed"], pushes), ({}, [(bob, None, "both", "A;B,C")]))
        else:
            self.assertIn("reads the group 'A;B' as several groups", answer["failed"]["alice"])
            self.assertEqual(pushes, [])

    @scenario(30)
    async def test_privilege(self) -> None:
        """By privilege this server sets no subscriptions: a refresh says so and what to use, and updates nobody."""
        application = await self.startApplication()
        application.say("alice", {f"bob@{DOMAIN}": {}})
        gateway = await self.startGateway({f'roster."{PRIVILEGED}"': self.table(application)})
        for _ in range(2):
            code, answer = await self.refresh(gateway, "alice")
            self.assertEqual((code, answer["updated"]), (500, 0))
            self.assertIn("set api under [roster]", answer["failed"]["alice"])

    @scenario(30)
    async def test_privilegeIsKnown(self) -> None:
        """
        Before the first refresh it is reported that this server stores no subscriptions, and what to configure.
        """
        application = await self.startApplication()
        gateway = await self.startGateway({f'roster."{PRIVILEGED}"': self.table(application)})
        await holds(lambda: "known to keep them" in gateway.log(1000), 20, "the server is found out")
        for part in (f'[roster."{PRIVILEGED}"]', 'api = "http://127.0.0.1:5281/api"', "what: [add_rosteritem,"):
            self.assertIn(part, gateway.log(1000))

    @scenario(30)
    async def test_auto(self) -> None:
        """With an address of its API, that is used; if nothing answers there, nothing is set by privilege."""
        application = await self.startApplication()
        application.say("alice", {f"bob@{DOMAIN}": {}})
        api = {"api": self.applies()["api"]}
        gateway = await self.startGateway({f'roster."{PRIVILEGED}"': {**self.table(application), **api}})
        self.assertEqual((await self.refresh(gateway, "alice"))[0], 200)
        self.assertIn("rosters are set by ejabberd's HTTP API", gateway.log())
        gateway.stop()
        gateway = await self.startGateway({f'roster."{PRIVILEGED}"': {**self.table(application), **self.nothing()}})
        await holds(lambda: "rosters cannot be set: " in gateway.log(1000), 20, "the API is missed")
        application.say("alice", {f"bob@{DOMAIN}": {}, f"dave@{DOMAIN}": {}})
        code, answer = await self.refresh(gateway, "alice")
        self.assertEqual((code, answer["updated"]), (500, 0))
        self.assertIn("ejabberd's API cannot be reached", answer["failed"]["alice"])
        self.assertIn("is ejabberd", answer["failed"]["alice"])
        self.assertEqual(await self.roster(await self.online("alice")), [f"bob@{DOMAIN}"])
