"""
A server with the delegations of mod_delegation's documentation behaves as that text says; the managing entity is a
component by hand. The embedded host is compared with Prosody's own module.
"""

from __future__ import annotations

import functools
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import LiveTests, scenario
from tests.live.clients import Client, canonical, condition, newId, payload, stanza
from tests.live.delegations import (
    CLIENTS,
    DISCO_INFO,
    DISCO_ITEMS,
    EXAMPLE,
    MAM,
    MANAGER,
    OUTSIDER,
    PUBSUB,
    PUBSUB_OWNER,
    SERVICE,
    TWICE,
)
from tests.live.managing import DELEGATION, HANDLED, Delegated, Managing, ManagingClient, ManagingEntity
from tests.live.processes import holds
from tests.live.rawcomponent import RawComponent
from tests.live.servers import DOMAIN, Embedded, Prosody


def query(namespace: str, attributes: str = "", name: str = "query", inside: str = "") -> str:
    """Return the payload of a request."""
    return f"<{name} xmlns='{namespace}' {attributes}>{inside}</{name}>"


def _has(received: list[Element], id_: str) -> bool:
    """True if there is a stanza with this id."""
    return any(each.get("id") == id_ for each in received)


class ExampleTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    async def startService(self) -> ManagingEntity:
        """Connect the managing entity until the scenario ends."""
        service = await ManagingEntity(self.server, SERVICE).connect()
        self.stack.push_async_callback(service.close)
        return service

    async def delegated(self, service: Managing, user: Client, to: str, inner: str, kind: str) -> bool:
        """Return true if a request reaches the managing entity; check that it is unchanged and is answered."""
        before = len(service.delegated)
        reply = await user.request(to, inner, kind)
        arrived: list[Delegated] = service.delegated[before:]
        if not arrived:
            self.assertNotEqual([each.tag for each in reply], [f"{{{HANDLED}}}handled"])
            return False
        [one] = arrived
        self.assertEqual(
            [one.inner.get(name) for name in ("from", "id", "type")], [user.jid, reply.get("id"), kind]
        )
        self.assertIn(one.inner.get("to"), (to, None) if to == user.bare else (to,))
        self.assertEqual((one.outer.get("from"), one.outer.get("type")), (DOMAIN, "set"))
        self.assertEqual(payload(one.inner), [canonical(ElementTree.fromstring(inner))])
        self.assertEqual([each.tag for each in reply], [f"{{{HANDLED}}}handled"])
        self.assertEqual((reply.get("type"), reply.get("from") or user.bare), ("result", to))
        return True

    @scenario(20)
    async def test_advertised(self) -> None:
        """
        The managing entity gets an advertisement of its namespaces, with their attributes, at each connection.
        """
        filtered = {MAM: {"node"}, TWICE: {"node", "kind"}}
        everything = {each: filtered.get(each, set()) for each in (*EXAMPLE, TWICE)}
        alice = await self.user("alice")
        for _ in range(2):
            service = await self.startService()
            await self.delegated(service, alice, DOMAIN, query(PUBSUB), "get")
            [advertised] = service.advertised()
            self.assertEqual({each: set(names) for each, names in advertised.items()}, everything)
            await service.close()

    @scenario(20)
    async def test_attributes(self) -> None:
        """
        "All MAM requests with a node attribute" are delegated, "others will be treated normally"; "all pubsub
        request to the host (i.e. the PEP requests)".
        """
        service = await self.startService()
        alice = await self.user("alice")
        for to in (DOMAIN, alice.bare, f"bob@{DOMAIN}"):
            for kind in ("get", "set"):
                for inner, is_ in (
                    (query(MAM, "node='n'"), True),
                    (query(MAM, "node=''"), True),
                    (query(MAM, "node='n' queryid='q'"), True),
                    (query(MAM), False),
                    (query(MAM, "queryid='q'"), False),
                    (query(MAM, "Node='n'"), False),
                    (query(MAM, "xmlns:n='urn:n' n:node='n'"), False),
                    (query(MAM, inside="<x node='n'/>"), False),
                    (query("urn:xmpp:mam:1", "node='n'"), False),
                    (query(TWICE, "kind='k' node='n'"), True),
                    (query(TWICE, "node='n'"), False),
                    (query(TWICE, "kind='k'"), False),
                    (query(PUBSUB, name="pubsub"), True),
                    (query(PUBSUB, "node='n'", "pubsub", "<items node='n'/>"), True),
                    (query(PUBSUB_OWNER, name="pubsub"), True),
                    (query(f"{PUBSUB}#event", name="pubsub"), False),
                ):
                    found = await self.delegated(service, alice, to, inner, kind)
                    self.assertEqual(found, is_, f"{kind} {inner} to {to}")

    @scenario(20)
    async def test_notForTheServer(self) -> None:
        """Requests to a full JID or a component are not the server's to delegate."""
        service = await self.startService()
        outsider = await RawComponent(self.server, OUTSIDER).connect()
        self.stack.push_async_callback(outsider.close)
        alice, bob = await self.user("alice"), await self.user("bob")
        for inner in (query(PUBSUB), query(MAM, "node='n'"), query(DISCO_INFO, "node='n'")):
            for to, received in ((OUTSIDER, outsider.received), (bob.jid, bob.received)):
                id_ = alice.sendIq(to, inner)
                await holds(functools.partial(_has, received, id_), 5, f"{inner} reaches {to}")
        self.assertEqual(service.delegated, [])

    @scenario(20)
    async def test_remainingDisco(self) -> None:
        """
        "Used to delegate remaining disco (i.e. nodes not already handled by the server itself)": on bare JIDs.
        """
        service = await self.startService()
        alice = await self.user("alice")
        for namespace, attributes, to, is_ in (
            (DISCO_INFO, "node='n'", alice.bare, True),
            (DISCO_ITEMS, "node='n'", alice.bare, True),
            (DISCO_ITEMS, "", alice.bare, True),
            (DISCO_INFO, "", alice.bare, False),
            (DISCO_INFO, "", DOMAIN, False),
            (DISCO_INFO, "node='n'", DOMAIN, False),
            (DISCO_ITEMS, "", DOMAIN, False),
            (DISCO_ITEMS, "node='n'", DOMAIN, False),
            # No contact.
            (DISCO_INFO, "node='n'", f"bob@{DOMAIN}", False),
            (DISCO_INFO, "node='n'", f"nobody@{DOMAIN}", False),
            (DISCO_ITEMS, "node='n'", f"bob@{DOMAIN}", True),
        ):
            found = await self.delegated(service, alice, to, query(namespace, attributes), "get")
            self.assertEqual(found, is_, f"{namespace} {attributes} to {to}")

    @scenario(20)
    async def test_nesting(self) -> None:
        """The disco#info of the server and its users has the features of the managing entity for each namespace."""
        await self.expectNesting()
        service = await self.startService()
        alice = await self.user("alice")
        namespaces = (MAM, PUBSUB, PUBSUB_OWNER, TWICE)
        # The special namespace for disco itself has nothing to nest.
        self.assertEqual(
            sorted(service.nodes),
            sorted(f"{DELEGATION}{between}{each}" for between in ("::", ":bare:") for each in namespaces),
        )
        host, account = await self.nested(alice, DOMAIN), await self.nested(alice, alice.bare)
        self.assertEqual({each for each in host if "managed" in each}, {f"managed:{each}" for each in namespaces})
        self.assertEqual(
            {each for each in account if "managed" in each}, {f"managed-bare:{each}" for each in namespaces}
        )

    @scenario(20)
    async def test_ownStanzas(self) -> None:
        """Stanzas of the managing entity are not delegated back to it; those of another component are."""
        service = await self.startService()
        outsider = await RawComponent(self.server, OUTSIDER).connect()
        self.stack.push_async_callback(outsider.close)
        for inner in (query(PUBSUB), query(PUBSUB_OWNER), query(MAM, "node='n'")):
            for to in (DOMAIN, f"alice@{DOMAIN}"):
                id_ = newId()
                service.send(stanza("iq", inner, type="get", id=id_, to=to, **{"from": SERVICE}))
                self.assertEqual(condition(await service.reply(id_)), "service-unavailable", f"{inner} to {to}")
        self.assertEqual(service.delegated, [])
        id_ = newId()
        outsider.send(stanza("iq", query(PUBSUB), type="get", id=id_, to=DOMAIN, **{"from": OUTSIDER}))
        self.assertEqual([each.tag for each in await outsider.reply(id_)], [f"{{{HANDLED}}}handled"])

    @scenario(20)
    async def test_nobodyThere(self) -> None:
        """
        Without its managing entity requests in a delegated namespace are refused; others are treated normally.
        """
        alice = await self.user("alice")
        service = await self.startService()
        self.assertTrue(await self.delegated(service, alice, DOMAIN, query(PUBSUB), "get"))
        await service.close()
        reply = await alice.request(DOMAIN, query(PUBSUB))
        self.assertEqual(condition(reply), "service-unavailable")
        reply = await alice.request(DOMAIN, query(DISCO_INFO))
        self.assertEqual(reply.get("type"), "result")


class EmbeddedExampleTests(ExampleTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded

    @scenario(20)
    async def test_feature(self) -> None:
        """Its disco#info has the feature of delegation (section 7.1)."""
        alice = await self.user("alice")
        self.assertIn(DELEGATION, await self.nested(alice, DOMAIN))

    @scenario(20)
    async def test_client(self) -> None:
        """
        A client can be a managing entity, too (on Prosody it fails); its own stanzas are not delegated back to it.
        """
        manager = await self.login(ManagingClient(self.server, MANAGER.partition("@")[0], "desk"))
        alice = await self.user("alice")
        await holds(lambda: manager.advertised() == [{CLIENTS: []}], 5, "the client is advertised to")
        nodes = {f"{DELEGATION}{between}{CLIENTS}" for between in ("::", ":bare:")}
        await holds(lambda: set(manager.nodes) == nodes, 5, "the client is asked for what is to be nested")
        for to in (DOMAIN, alice.bare, MANAGER):
            self.assertTrue(await self.delegated(manager, alice, to, query(CLIENTS), "set"), to)
        before = len(manager.delegated)
        for to in (DOMAIN, alice.bare, MANAGER):
            reply = await manager.request(to, query(CLIENTS))
            self.assertEqual(condition(reply), "service-unavailable", to)
        self.assertEqual(len(manager.delegated), before)
        await manager.close()
        reply = await alice.request(DOMAIN, query(CLIENTS))
        self.assertEqual(condition(reply), "service-unavailable")


class ProsodyExampleTests(ExampleTests, SynchronousTestCase):
    """On Prosody, which has this module."""

    serverClass = Prosody
