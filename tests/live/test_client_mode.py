"""
Client mode of delegation (XEP-0355 section 5): a user lets the gateway manage a namespace. Only the embedded host
supports it.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import LiveTests, scenario
from tests.live.clients import Client, condition, local, stanza
from tests.live.gateway import Gateway
from tests.live.processes import holds
from tests.live.servers import DOMAIN, Embedded

# No server delegates this component's namespace to it.
COMPONENT = f"chain.{DOMAIN}"
HELD = "urn:xmpp:test:ungranted"
DATA = "jabber:x:data"
COMMANDS = "http://jabber.org/protocol/commands"
CONFIGURE = "urn:xmpp:delegation:2#configure"
QUESTION = f"<element xmlns='{HELD}'/>"


def submit(**values: str) -> str:
    """Return a form with these answers; C{namespace} is the field of a namespace."""
    fields = "".join(
        stanza("field", f"<value>{value}</value>", var=HELD if name == "namespace" else name)
        for name, value in values.items()
    )
    return f"<x xmlns='{DATA}' type='submit'>{fields}</x>"


class ClientModeTests(LiveTests, SynchronousTestCase):
    """From the request to the revocation."""

    serverClass = Embedded

    async def startAsking(self) -> Gateway:
        section = f'delegation."{COMPONENT}"'
        tables = {section: {"users": [DOMAIN]}, f'{section}.namespaces."{HELD}"': {"handler": "odd"}}
        return await self.startOddGateway(tables)

    async def asked(self, user: Client) -> Element:
        """Make the component ask; return the server's question."""
        user.send(stanza("presence", to=COMPONENT, type="subscribe"))
        return await user.expect(lambda each: each.find(f"{{{DATA}}}x") is not None, "the question")

    def answer(self, user: Client, question: Element, yes: str) -> None:
        [challenge] = [
            field[0].text or "" for field in question.iter(f"{{{DATA}}}field") if field.get("var") == "challenge"
        ]
        user.send(stanza("message", submit(challenge=challenge, namespace=yes), to=DOMAIN))

    @scenario(30)
    async def test_grantedAndRevoked(self) -> None:
        """
        The gateway answers in namespaces that a user has granted, for this user alone, until the grant is revoked.
        """
        gateway = await self.startAsking()
        alice, bob = await self.user("alice"), await self.user("bob")
        self.assertEqual(condition(await alice.request(alice.bare, QUESTION)), "service-unavailable")
        question = await self.asked(alice)
        self.assertEqual((local(question), question.get("from")), ("message", DOMAIN))
        self.assertIn(COMPONENT, question.findtext("{jabber:client}body", ""))
        self.answer(alice, question, "1")
        granted = f"{COMPONENT}: {alice.bare} delegates {HELD}"
        await holds(lambda: granted in gateway.log(), 5, "the gateway knows")
        for to in (None, alice.bare, DOMAIN):
            self.assertEqual((await alice.request(to, QUESTION)).get("type"), "result", to)
        # It applies to her alone; requests to her, by any sender, are delegated as well.
        self.assertEqual(condition(await bob.request(bob.bare, QUESTION)), "service-unavailable")
        self.assertEqual((await bob.request(alice.bare, QUESTION)).get("type"), "result")
        command = stanza("command", xmlns=COMMANDS, node=CONFIGURE)
        shown = await alice.request(DOMAIN, command, "set")
        self.assertIn(HELD, "".join(shown.itertext()))
        revoke = f"<x xmlns='{DATA}' type='submit'><field var='revoke'><value>{HELD}</value></field></x>"
        session = shown[0].get("sessionid")
        await alice.request(
            DOMAIN, stanza("command", revoke, xmlns=COMMANDS, node=CONFIGURE, sessionid=session), "set"
        )
        self.assertEqual(condition(await alice.request(alice.bare, QUESTION)), "service-unavailable")
        nothing = f"{COMPONENT}: {alice.bare} delegates nothing"
        await holds(lambda: nothing in gateway.log(), 5, "the gateway knows")

    @scenario(30)
    async def test_refused(self) -> None:
        """Namespaces that a user has refused are not delegated."""
        gateway = await self.startAsking()
        alice = await self.user("alice")
        self.answer(alice, await self.asked(alice), "0")
        self.assertEqual(condition(await alice.request(alice.bare, QUESTION)), "service-unavailable")
        self.assertNotIn("delegates", gateway.log())

    @scenario(30)
    async def test_ends(self) -> None:
        """A grant ends when the user logs out; in the next session the user is asked again."""
        gateway = await self.startAsking()
        alice = await self.user("alice")
        self.answer(alice, await self.asked(alice), "1")
        await holds(lambda: f"{alice.bare} delegates {HELD}" in gateway.log(), 5, "the gateway knows")
        await alice.close()
        await holds(lambda: f"{alice.bare} delegates nothing" in gateway.log(), 5, "the gateway knows")
        again = await self.user("alice", "again")
        self.assertEqual(condition(await again.request(again.bare, QUESTION)), "service-unavailable")
        # The component gets the presence of a subscriber who is back.
        await again.expect(lambda each: each.find(f"{{{DATA}}}x") is not None, "the next question")
