"""Privileges of a component on real servers (XEP-0356), by the interface that plugins use."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import COMPONENTS, SECRET, LiveTests, scenario
from tests.live.clients import Client, condition, local, stanza
from tests.live.early import COUNT
from tests.live.gateway import Gateway
from tests.live.processes import holds
from tests.live.servers import ASKED, ASKING, DOMAIN, Ejabberd, Embedded, Prosody

DO = "urn:xmpp:test:do"
ROSTER = "jabber:iq:roster"
FRIEND = f"friend@{DOMAIN}"


class Answering(Client):
    """Answers requests."""

    def onStanza(self, element: Element) -> None:
        if local(element) == "iq" and element.get("type") == "get":
            inside = f"<answer xmlns='{ASKED}'/>"
            self.send(stanza("iq", inside, type="result", id=element.get("id"), to=element.get("from")))


class PrivilegeTests(LiveTests):
    """
    A mix-in: the scenarios, for one kind of server.

    @cvar grants: the grants that are logged.
    """

    components = {**COMPONENTS, ASKING: SECRET}
    grants: ClassVar[str]

    async def startDoing(self) -> Gateway:
        gateway = self.newGateway({f'doing."{ASKING}"': {"server": DOMAIN}})
        gateway.addPlugins(Path(__file__).with_name("privileged.py"))
        gateway.start()
        await gateway.ready()
        await holds(lambda: self.grants in gateway.log(), 5, "the log says what is granted")
        return gateway

    async def do(self, user: Client, what: str, /, **attributes: str) -> Element:
        """Make the service do something for a user."""
        inside = stanza("do", xmlns=DO, what=what, **{"user": user.bare, **attributes})
        return await user.request(ASKING, inside, "set")

    def lines(self, reply: Element) -> list[str]:
        self.assertEqual(reply.get("type"), "result", "".join(reply.itertext()))
        return [line.text or "" for line in reply.iter(f"{{{DO}}}line")]

    @scenario(30)
    async def test_roster(self) -> None:
        """A roster is read; it is set, with one push to the user's client, if the server supports it."""
        await self.startDoing()
        alice = await self.user("alice")
        await alice.request(None, f"<query xmlns='{ROSTER}'/>")
        before = self.lines(await self.do(alice, "get"))
        self.assertFalse([line for line in before if FRIEND in line])
        contact = {"jid": FRIEND, "name_": "My & Friend", "group": "G", "subscription": "both"}
        done = await self.do(alice, "set", **contact)
        if not self.server.setsRosters:
            self.assertEqual(condition(done), "internal-server-error")
            return
        self.lines(done)
        subscription = "both" if self.server.setsSubscriptions else "none"
        after = sorted([*before, f"{FRIEND} My & Friend G {subscription}"])
        self.assertEqual(self.lines(await self.do(alice, "get")), after)
        self.lines(await self.do(alice, "set", **{**contact, "subscription": "remove"}))
        self.assertEqual(self.lines(await self.do(alice, "get")), before)
        pushes = [
            item.get("subscription")
            for element in alice.received
            if local(element) == "iq" and element.get("type") == "set"
            for item in element.iter(f"{{{ROSTER}}}item")
            if item.get("jid") == FRIEND
        ]
        self.assertEqual(pushes, [subscription, "remove"])

    @scenario(30)
    async def test_message(self) -> None:
        """
        A message is sent in a user's name; one in the name of a third party or of a resource is refused at once.
        """
        await self.startDoing()
        alice, bob = await self.user("alice"), await self.user("bob")
        self.lines(await self.do(alice, "message", to=bob.bare, text="in her name"))
        message = await bob.expect(lambda element: "in her name" in "".join(element.itertext()), "the message")
        self.assertEqual((local(message), message.get("from")), ("message", alice.bare))
        for sender in ("alice@elsewhere.example", alice.jid):
            refused = await self.do(alice, "message", user=sender, to=bob.bare, text="forged")
            self.assertEqual(condition(refused), "forbidden", sender)

    @scenario(30)
    async def test_iq(self) -> None:
        """A request is sent in a user's name, and its answer comes back; requests without a grant are refused."""
        await self.startDoing()
        alice = await self.user("alice")
        bob = await self.login(Answering(self.server, "bob", "home"))
        asking = asyncio.create_task(self.do(alice, "iq", to=bob.jid, ns=ASKED))
        if self.server.asks:
            asked = await bob.expect(lambda element: element.find(f"{{{ASKED}}}query") is not None, "the request")
            self.assertEqual(asked.get("from"), alice.bare)
            if self.server.relaysAnswers:
                self.assertEqual(self.lines(await asking), ["result answer"])
            else:
                asking.cancel()
            asking = asyncio.create_task(self.do(alice, "iq", to=bob.jid, ns="urn:not:granted"))
        refused = await asking
        self.assertEqual(condition(refused), "forbidden")
        self.assertIn(DOMAIN, "".join(refused.itertext()))

    @scenario(30)
    async def test_iqOfNobody(self) -> None:
        """The server's own error to a request in a user's name is returned to the service."""
        await self.startDoing()
        alice = await self.user("alice")
        reply = await self.do(alice, "iq", to=f"bob@{DOMAIN}", ns=ASKED)
        self.assertEqual(condition(reply), "service-unavailable" if self.server.asks else "forbidden")

    @scenario(30)
    async def test_presence(self) -> None:
        """Presence of users is received without a subscription."""
        await self.startDoing()
        alice = await self.user("alice")
        bob = await self.login(Client(self.server, "bob", "home"))
        # ejabberd sends nothing about a client that is cut off.
        bob.send("<presence type='unavailable'/>")
        seen: list[str] = []
        for _ in range(40):
            seen += self.lines(await self.do(alice, "presence"))
            if f"{bob.jid} unavailable" in seen:
                break
        self.assertIn(f"{bob.jid} None", seen)
        self.assertIn(f"{bob.jid} unavailable", seen)


    @scenario(30)
    async def test_early(self) -> None:
        """Stanzas that wait for the link are not lost, although ejabberd 26 sets privileges after the handshake."""
        gateway = self.newGateway({f'early."{ASKING}"': {"server": DOMAIN}})
        gateway.addPlugins(Path(__file__).with_name("early.py"))
        gateway.start()
        await gateway.ready()
        await holds(lambda: f"early: {COUNT} answered" in gateway.log(1000), 10, "all are answered")


class EmbeddedPrivilegeTests(PrivilegeTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded
    grants = f"{DOMAIN} grants roster both with pushes, message outgoing, presence roster, both for {ASKED}"


class ProsodyPrivilegeTests(PrivilegeTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody
    grants = f"{DOMAIN} grants roster both"


class EjabberdPrivilegeTests(PrivilegeTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    grants = f"{DOMAIN} grants roster both"
