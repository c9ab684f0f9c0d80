"""Locked rosters on real servers: right at each login, each change pushed once, and the same on the server."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import SECRET, scenario
from tests.live.clients import Client, local, stanza
from tests.live.gateway import Gateway
from tests.live.rosters import ROSTER, RosterCase, WebApplication
from tests.live.servers import DOMAIN, PRIVILEGED, Ejabberd, Embedded, Prosody

# Users, and rounds in which each of them has one change.
USERS = [f"u{number}" for number in range(20)]
ROUNDS = 20

Contact = dict[str, Any]


def other(number: int, distance: int = 1) -> str:
    """Return the bare JID of another user."""
    return f"{USERS[(number + distance) % len(USERS)]}@{DOMAIN}"


def change(contacts: dict[str, Contact], number: int, step: int) -> tuple[str, str]:
    """Make one change of a kind to a user's contacts; return the contact and its subscription, or C{remove}."""
    changed = other(number, 1 + step % 7)
    if changed not in contacts:
        contacts[changed] = {"name": f"added in {step}"}
    elif step % 4 == 0:
        del contacts[changed]
        return changed, "remove"
    elif step % 4 == 1:
        contacts[changed] = {**contacts[changed], "name": f"named in {step}"}
    elif step % 4 == 2:
        contacts[changed] = {**contacts[changed], "groups": [f"group of {step}"]}
    else:
        before = contacts[changed].get("subscription", "both")
        contacts[changed] = {**contacts[changed], "subscription": "to" if before == "both" else "both"}
    return changed, contacts[changed].get("subscription", "both")


class Acknowledging(Client):
    """A client that acknowledges each push, as it must; the others do not."""

    def onStanza(self, element: Element) -> None:
        if local(element) == "iq" and element.get("type") == "set":
            self.send(stanza("iq", type="result", id=element.get("id"), to=element.get("from")))


class PushTests(RosterCase):
    """
    A mix-in: the scenarios, for one kind of server, which delegates rosters to the component that stores them.

    @cvar pushesToAll: true if the server also pushes to clients that have not requested their roster.
    """

    pushesToAll: ClassVar[bool] = False

    accounts = tuple(USERS)
    components = {PRIVILEGED: SECRET}
    delegations = {ROSTER: {"jid": PRIVILEGED}}

    application: WebApplication
    gateway: Gateway

    async def start(self, contacts: dict[str, dict[str, Contact]], **more: Any) -> None:
        self.application = await self.startApplication()
        self.contacts = contacts
        for user in USERS:
            self.application.say(user, contacts.setdefault(user, {}))
        self.gateway = await self.startRosters(self.application, lock=True, **more)

    async def told(self, client: Client) -> dict[str | None, tuple[Any, ...]]:
        """Return the roster that a client gets."""
        reply = await client.request(None, f"<query xmlns='{ROSTER}'/>")
        self.assertEqual(reply.get("type"), "result")
        return {
            item.get("jid"): (
                item.get("name"),
                item.get("subscription"),
                sorted(group.text or "" for group in item),
            )
            for item in reply.iter(f"{{{ROSTER}}}item")
        }

    def said(self, user: str) -> dict[str, tuple[Any, ...]]:
        """Return the roster of the application's document."""
        return {
            jid: (about.get("name"), about.get("subscription", "both"), sorted(about.get("groups", [])))
            for jid, about in self.contacts[user].items()
        }

    async def first(self, name: str, resource: str = "home") -> Client:
        """Return a client that has got its roster for the first time."""
        kind = Acknowledging if int(name[1:]) % 2 else Client
        client = await self.login(kind(self.server, name, resource))
        await self.granted(client, f"<query xmlns='{ROSTER}'/>")
        return client

    def expected(self, changed: tuple[str, str]) -> list[tuple[str, str]]:
        return self.removed(changed[0]) if changed[1] == "remove" else [changed]

    @scenario(240)
    async def test_pushes(self) -> None:
        """
        20 clients are online, and each has 20 changes: each is pushed once to each of the user's resources, and to
        nobody else; a client that logs in meanwhile gets the application's contacts, and the user's other client a
        push.
        """
        await self.start({user: {other(number): {}} for number, user in enumerate(USERS)})
        clients = [[await self.first(user)] for user in USERS]
        clients[0].append(await self.first(USERS[0], "desk"))
        for user, [client, *_] in zip(USERS, clients, strict=True):
            self.assertEqual(await self.told(client), self.said(user))
        await asyncio.sleep(1)
        everybody = [client for several in clients for client in several]
        for client in everybody:
            client.received.clear()
        wrong = []
        for step in range(ROUNDS):
            changes = [change(self.contacts[user], number, step) for number, user in enumerate(USERS)]
            for user in USERS:
                self.application.say(user, self.contacts[user])
            # One of the users is not named in the request, but logs in with another client.
            named = [user for number, user in enumerate(USERS) if number != step]
            code, answer = await self.refresh(self.gateway, *named)
            self.assertEqual((code, answer["failed"]), (200, {}))
            third = await self.user(USERS[step], "third")
            self.assertEqual(await self.told(third), self.said(USERS[step]))
            await asyncio.sleep(0.5)
            for number, several in enumerate(clients):
                for client in several:
                    found = [(jid, kind) for jid, _, kind, _ in self.pushed(client)]
                    if found != self.expected(changes[number]):
                        wrong.append((step, client.jid, found, changes[number]))
            pushed = [(jid, kind) for jid, _, kind, _ in self.pushed(third)]
            if pushed and not (self.pushesToAll and pushed == self.expected(changes[step])):
                wrong.append((step, third.jid, pushed, changes[step]))
            await third.close()
        self.assertEqual(wrong, [], f"{len(wrong)} of {ROUNDS * len(everybody)}")
        for user, several in zip(USERS, clients, strict=True):
            for client in several:
                self.assertEqual(await self.told(client), self.said(user))

    @scenario(60)
    async def test_agrees(self) -> None:
        """
        Clients get the roster that the server stores: a removed contact does not get the user's presence any
        longer.
        """
        names = [f"{user}@{DOMAIN}" for user in USERS[:5]]
        await self.start({USERS[1]: {names[2]: {}, names[3]: {}}, USERS[3]: {names[1]: {}}})
        watcher = await self.first(USERS[3])
        await self.refresh(self.gateway, USERS[1], USERS[3])
        user = await self.first(USERS[1])
        await self.seen(watcher, user.jid, "available")
        await user.close()
        await self.seen(watcher, user.jid, "unavailable")
        self.application.say(USERS[1], {names[2]: {}, names[4]: {}})
        again = Client(self.server, USERS[1], "again")
        again.initialPresence = ""
        await self.login(again)
        self.assertEqual(sorted(await self.told(again)), [names[2], names[4]])
        again.send("<presence/>")
        await asyncio.sleep(1)
        # ejabberd ends subscriptions that do not exist.
        self.assertNotIn("available", self.presences(watcher, again.jid))

    @scenario(60)
    async def test_restart(self) -> None:
        """Clients that are online when the gateway ends get the changes when it is back, and so do others."""
        await self.start({USERS[0]: {other(0): {}}, USERS[1]: {}})
        clients = [await self.first(user) for user in USERS[:2]]
        self.gateway.kill9()
        self.gateway.start()
        await self.gateway.ready()
        clients.append(await self.first(USERS[2]))
        await asyncio.sleep(1)
        for client in clients:
            client.received.clear()
        for number in range(3):
            self.application.say(USERS[number], {other(number, 5): {}})
        code, answer = await self.refresh(self.gateway, *USERS[:3])
        self.assertEqual((code, answer["failed"]), (200, {}))
        pushed = [[(jid, kind) for jid, _, kind, _ in await self.pushes(client)] for client in clients]
        added = [[(other(number, 5), "both")] for number in range(3)]
        self.assertEqual(pushed, [added[0] + self.removed(other(0)), added[1], added[2]])

    async def seen(self, watcher: Client, jid: str, kind: str) -> None:
        async with asyncio.timeout(10):
            while kind not in self.presences(watcher, jid):
                await asyncio.sleep(0.05)

    def presences(self, watcher: Client, jid: str) -> list[str]:
        return [
            each.get("type") or "available"
            for each in watcher.received
            if local(each) == "presence" and each.get("from") == jid
        ]


class EmbeddedPushTests(PushTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyPushTests(PushTests, SynchronousTestCase):
    """On Prosody, by privileged iqs."""

    serverClass = Prosody


class EjabberdPushTests(PushTests, SynchronousTestCase):
    """On ejabberd, by its HTTP API."""

    serverClass = Ejabberd
    pushesToAll = True
