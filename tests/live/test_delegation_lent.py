"""An external PEP service behind the gateway, by hand: it notifies by privileges that the gateway lends it."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway.addresses import jids
from tests.live.case import COMPONENTS, SECRET, LiveTests, scenario
from tests.live.clients import Client, condition, newId, stanza
from tests.live.delegations import MANAGING, OUTSIDER, PUBSUB, tables
from tests.live.gateway import Gateway
from tests.live.managing import CLIENT, FORWARD, Delegated, Managing, ManagingEntity
from tests.live.processes import holds
from tests.live.rawcomponent import RawComponent
from tests.live.servers import ASKED, ASKING, DOMAIN, Ejabberd, Embedded, Prosody

# The gateway's component: the server delegates to it, and grants it privileges.
GATEWAY = ASKING
PRIVILEGE = "urn:xmpp:privilege:2"
OLDER = "urn:xmpp:privilege:1"
EVENT = f"{PUBSUB}#event"
ROSTER = "jabber:iq:roster"


def alias(user: str) -> str:
    """
    Return a user's address at the gateway, with a resource: a server's own mod_privilege may intercept bare
    addresses.
    """
    return f"{jids.escapeLocal(user)}@{GATEWAY}/x"


def notification(sender: str, to: str, node: str) -> str:
    """Return a message in a user's name."""
    inside = f"<event xmlns='{EVENT}'><items node='{node}'/></event>"
    return stanza("message", inside, xmlns=CLIENT, type="headline", to=to, **{"from": sender})


def carried(message: str, sender: str | None = MANAGING, id_: str = "carried") -> str:
    """Return the message with it to the gateway; any user's address there is accepted."""
    inside = f"<privilege xmlns='{PRIVILEGE}'><forwarded xmlns='{FORWARD}'>{message}</forwarded></privilege>"
    return stanza("message", inside, to=alias(f"x@{DOMAIN}"), id=id_, **{"from": sender})


def publish(entity: Managing, delegated: Delegated) -> None:
    """Act as a PEP service: accept a publication, and notify the publisher's client and a contact."""
    entity.send(delegated.reply(delegated.answer()))
    publisher = delegated.inner.get("from", "")
    for to in (publisher, f"bob@{DOMAIN}"):
        entity.send(carried(notification(publisher.partition("/")[0], to, "n")))


def events(client: Client) -> list[str | None]:
    """Return the senders of the notifications that a client has got."""
    return [each.get("from") for each in client.received if each.find(f"{{{EVENT}}}event") is not None]


class LentTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    components = {**COMPONENTS, ASKING: SECRET}
    delegations = {PUBSUB: {"jid": GATEWAY}}

    async def startService(self) -> tuple[ManagingEntity, Gateway]:
        """Connect the PEP service, and start a gateway that lends it its own privileges."""
        entity = await ManagingEntity(self.server, MANAGING, behaviour=publish).connect()
        self.stack.push_async_callback(entity.close)
        made = tables(GATEWAY, {PUBSUB: {"jid": [MANAGING]}})
        made[f'delegation."{GATEWAY}"']["lend_privileges"] = [MANAGING]
        gateway = await self.startGateway(made)
        await holds(lambda: f"{DOMAIN} grants roster both" in gateway.log(), 5, "the privileges are granted")
        return entity, gateway

    async def ask(self, entity: ManagingEntity, user: str, inside: str, kind: str = "get") -> Element:
        """Return the answer to a request of the service for a user."""
        id_ = newId()
        sender = f"{MANAGING}/pep"
        entity.send(stanza("iq", inside, type=kind, id=id_, to=alias(user), **{"from": sender}))
        return await entity.reply(id_)

    @scenario(40)
    async def test_notifies(self) -> None:
        """
        A PEP service gets an advertisement of the privileges, and the user's contacts are notified of publications.
        """
        entity, gateway = await self.startService()
        alice, bob = await self.user("alice"), await self.user("bob")
        if self.server.dropsIqs:
            # With such a server a managing entity behind the gateway cannot be reached, see docs/privilege.md.
            for to in (alice.jid, bob.bare):
                entity.send(carried(notification(alice.bare, to, "n")))
        else:
            await holds(lambda: len(advertised(entity)) == 2, 10, "the service is told of its privileges")
            self.assertEqual([each["version"] for each in advertised(entity)], [OLDER, PRIVILEGE])
            for each in advertised(entity):
                self.assertEqual((each["from"], each["roster"], each["message"]), (GATEWAY, "both", "outgoing"))
                self.assertNotIn("presence", each)
            published = await self.granted(alice, f"<pubsub xmlns='{PUBSUB}'><publish node='n'/></pubsub>")
            self.assertEqual(published.get("from", alice.bare), alice.bare)
        await holds(lambda: bool(events(alice) and events(bob)), 5, "both are notified")
        self.assertEqual({*events(alice), *events(bob)}, {alice.bare})
        status, text = await gateway.get("/status")
        self.assertEqual(status, 200)
        self.assertRegex(
            text, rf"{MANAGING} uses lent privileges on {DOMAIN}: \d+ messages, 0 requests, 0 refused"
        )

    @scenario(40)
    async def test_requests(self) -> None:
        """
        It reads a user's roster, and sends requests in a user's name if the server supports it; it gets the
        answers.
        """
        entity, _ = await self.startService()
        alice = await self.user("alice")
        roster = await self.ask(entity, alice.bare, f"<query xmlns='{ROSTER}'/>")
        self.assertEqual((roster.get("type"), roster.get("from")), ("result", alias(alice.bare)))
        self.assertIsNotNone(roster.find(f"{{{ROSTER}}}query"))
        inner = stanza("iq", f"<query xmlns='{ASKED}'/>", xmlns=CLIENT, type="get", id="in", to=f"bob@{DOMAIN}")
        answer = await self.ask(entity, alice.bare, f"<privileged_iq xmlns='{PRIVILEGE}'>{inner}</privileged_iq>")
        found = answer.find(f"{{{PRIVILEGE}}}privilege/{{{FORWARD}}}forwarded/{{{CLIENT}}}iq")
        if self.server.asks:
            assert found is not None
            self.assertEqual((found.get("id"), condition(found)), ("in", "service-unavailable"))
        else:
            self.assertEqual((found, condition(answer)), (None, "forbidden"))

    @scenario(40)
    async def test_refused(self) -> None:
        """Requests without a grant, or by others, are refused: nothing of them reaches a user."""
        entity, gateway = await self.startService()
        alice, bob = await self.user("alice"), await self.user("bob")
        outsider = await RawComponent(self.server, OUTSIDER).connect()
        self.stack.push_async_callback(outsider.close)
        forged = notification(alice.bare, bob.bare, "forged")
        outsider.send(carried(forged, OUTSIDER))
        alice.send(carried(forged, None))
        for sender in (alice.jid, "alice@elsewhere.example", MANAGING, GATEWAY):
            id_ = newId()
            entity.send(carried(notification(sender, bob.bare, "forged"), id_=id_))
            refused = await entity.reply(id_)
            self.assertEqual((condition(refused), refused.get("from")), ("forbidden", alias(f"x@{DOMAIN}")), sender)
        inner = stanza("iq", "<query xmlns='urn:not:granted'/>", xmlns=CLIENT, type="get", id="in")
        privileged = f"<privileged_iq xmlns='{PRIVILEGE}'>{inner}</privileged_iq>"
        for user, inside in ((alice.bare, privileged), ("alice@elsewhere.example", f"<query xmlns='{ROSTER}'/>")):
            self.assertEqual(condition(await self.ask(entity, user, inside)), "forbidden", user)
        await bob.request(bob.bare, "<ping xmlns='urn:xmpp:ping'/>")
        self.assertEqual((events(alice), events(bob)), ([], []))
        self.assertIn("6 refused", (await gateway.get("/status"))[1])


def advertised(entity: ManagingEntity) -> list[dict[str, str]]:
    """Return the privileges in each message from the gateway."""
    found = []
    for element in entity.received:
        for version in (OLDER, PRIVILEGE):
            told = element.find(f"{{{version}}}privilege")
            if told is not None and element.get("type") is None:
                perms = {each.get("access", ""): each.get("type", "") for each in told}
                found.append({"version": version, "from": element.get("from", ""), **perms})
    return found


class EmbeddedLentTests(LentTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyLentTests(LentTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdLentTests(LentTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
