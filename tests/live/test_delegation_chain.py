"""
Requests that a server delegates to the gateway, and the gateway to other components: valid and forged answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import LiveTests, scenario
from tests.live.clients import Client, canonical, condition, newId, payload, stanza
from tests.live.delegations import (
    ALONE,
    BESIDE,
    CHAIN_GATEWAY,
    DISCO_INFO,
    MANAGING,
    ODD,
    OUTSIDER,
    SPARE,
    tables,
)
from tests.live.gateway import Gateway
from tests.live.managing import (
    CLIENT,
    DELEGATION,
    FORWARD,
    HANDLED,
    Delegated,
    Managing,
    ManagingClient,
    ManagingEntity,
    handle,
    ignore,
)
from tests.live.processes import Value, holds
from tests.live.rawcomponent import RawComponent
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody


def chain(*entities: str) -> dict[str, dict[str, Value]]:
    """Return the gateway's tables: requests are forwarded to the first of these that is available."""
    handedOn: dict[str, Value] = {"jid": list(entities), "filtering": ["node"]}
    return tables(CHAIN_GATEWAY, {BESIDE: {"handler": "odd", **handedOn}, ALONE: handedOn})


# The answer of the handler.
DONE = f"{{{ODD}}}done"

NO_PRIVILEGES = "{urn:xmpp:privilege:2}privilege"

FORGED = f"<handled xmlns='{HANDLED}' by='forger'/>"

# Each makes a wrong answer for a request.
FORGERIES: dict[str, Callable[[Delegated], str]] = {
    "another id": lambda asked: asked.reply(asked.answer(FORGED, id="another")),
    "no id": lambda asked: asked.reply(asked.answer(FORGED, id=None)),
    "to another user": lambda asked: asked.reply(asked.answer(FORGED, to=f"bob@{DOMAIN}/home")),
    "to another resource": lambda asked: asked.reply(asked.answer(FORGED, to=f"alice@{DOMAIN}/work")),
    "to nobody": lambda asked: asked.reply(asked.answer(FORGED, to=None)),
    "from another user": lambda asked: asked.reply(asked.answer(FORGED, **{"from": f"bob@{DOMAIN}"})),
    "from the entity": lambda asked: asked.reply(asked.answer(FORGED, **{"from": MANAGING})),
    "a request": lambda asked: asked.reply(asked.answer(FORGED, "set")),
    "no type": lambda asked: asked.reply(asked.answer(FORGED, type=None)),
    "another namespace": lambda asked: asked.reply(asked.answer(FORGED, xmlns="jabber:server")),
    "a message": lambda asked: asked.reply(stanza("message", FORGED, xmlns=CLIENT, to=f"bob@{DOMAIN}/home")),
    "unwrapped": lambda asked: asked.bareReply(asked.answer(FORGED)),
    "only the payload": lambda asked: asked.bareReply(FORGED),
    "nothing": lambda asked: asked.bareReply(""),
    "an empty wrapper": lambda asked: asked.reply(""),
    "another wrapper": lambda asked: asked.reply(asked.answer(FORGED)).replace(DELEGATION, f"{DELEGATION}2"),
    "not forwarded": lambda asked: asked.reply(asked.answer(FORGED)).replace(FORWARD, f"{FORWARD}0"),
    "doubled": lambda asked: asked.reply(asked.answer(FORGED), asked.answer(FORGED)),
    "doubled inside": lambda asked: asked.reply(
        asked.answer(FORGED) + asked.answer(FORGED, to=f"bob@{DOMAIN}/home")
    ),
}


def ask(namespace: str, attributes: str = "") -> str:
    """Return a request that the local handler can answer."""
    return f"<element xmlns='{namespace}' {attributes}/>"


def handledBy(reply: Element) -> str | None:
    """Return the managing entity that has answered."""
    return None if len(reply) != 1 or reply.get("type") != "result" else reply[0].get("by")


def unwrapped(entity: Managing, asked: Delegated) -> None:
    """Answer without a wrapper."""
    entity.send(asked.bareReply(asked.answer(FORGED)))


class ChainTests(LiveTests):
    """A mix-in: the scenarios, for one kind of server."""

    async def entity(self, jid: str) -> ManagingEntity:
        """Connect a managing entity until the scenario ends."""
        entity = await ManagingEntity(self.server, jid).connect()
        self.stack.push_async_callback(entity.close)
        return entity

    async def startChain(self) -> tuple[ManagingEntity, Client, Gateway]:
        """Start a managing entity, one of its users, and the gateway between them."""
        managing = await self.entity(MANAGING)
        gateway = await self.startOddGateway(chain(MANAGING, SPARE))
        alice = await self.user("alice")
        for namespace in (BESIDE, ALONE):
            await self.untilHandled(alice, MANAGING, namespace)
        managing.delegated.clear()
        return managing, alice, gateway

    async def untilHandled(self, user: Client, by: str, namespace: str = BESIDE, seconds: float = 10) -> None:
        """Repeat a request until this managing entity answers."""
        await self.untilAnswered(user, namespace, lambda reply: handledBy(reply) == by, seconds)

    async def untilAnswered(
        self, user: Client, namespace: str, matches: Callable[[Element], bool], seconds: float = 10
    ) -> None:
        """Repeat a request until there is such an answer; a request may be lost while a peer ends."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(AssertionError):
                    if matches(await user.request(user.bare, ask(namespace, "node='n'"), seconds=1)):
                        return
                await asyncio.sleep(0.05)

    @scenario(30)
    async def test_filtering(self) -> None:
        """
        A payload with the attribute is forwarded unchanged to the managing entity; one without it is answered here.
        """
        managing, alice, _ = await self.startChain()
        for namespace in (BESIDE, ALONE):
            for to in (alice.bare, DOMAIN):
                for kind in ("get", "set"):
                    request = (
                        f"<element xmlns='{namespace}' node='' a='&lt;&apos;'>x &amp; y<z xmlns=''/></element>"
                    )
                    reply = await alice.request(to, request, kind)
                    self.assertEqual((handledBy(reply), reply.get("from")), (MANAGING, to))
                    inner = managing.delegated[-1].inner
                    said = [inner.get(name) for name in ("from", "id", "type")]
                    self.assertEqual(said, [alice.jid, reply.get("id"), kind])
                    # Some servers omit the default recipient.
                    self.assertIn(inner.get("to"), (to, None) if to == alice.bare else (to,))
                    self.assertEqual(payload(inner), [canonical(ElementTree.fromstring(request))])
        self.assertEqual(len(managing.delegated), 8)
        for attributes in ("", "Node='n'", "xmlns:n='urn:n' n:node='n'"):
            beside = await alice.request(alice.bare, ask(BESIDE, attributes))
            self.assertEqual((beside.get("type"), [each.tag for each in beside]), ("result", [DONE]))
            alone = await alice.request(alice.bare, ask(ALONE, attributes))
            self.assertEqual(condition(alone), "service-unavailable")
        self.assertEqual(len(managing.delegated), 8)

    @scenario(30)
    async def test_disco(self) -> None:
        """
        The managing entity gets its advertisement and is asked for features to nest, and the server nests them.
        """
        await self.expectNesting()
        managing, alice, _ = await self.startChain()
        self.assertEqual(managing.advertised(), [{BESIDE: ["node"], ALONE: ["node"]}])
        self.assertEqual(
            sorted(managing.nodes),
            sorted(f"{DELEGATION}{sep}{each}" for sep in ("::", ":bare:") for each in (BESIDE, ALONE)),
        )
        self.assertTrue({f"managed:{BESIDE}", f"managed:{ALONE}"} <= await self.nested(alice, DOMAIN))
        self.assertTrue({f"managed-bare:{BESIDE}", f"managed-bare:{ALONE}"} <= await self.nested(alice, alice.bare))

    @scenario(60)
    async def test_comesLater(self) -> None:
        """
        The features of a managing entity that connects after the gateway are nested, and requests are forwarded to
        it.
        """
        await self.expectNesting()
        gateway = await self.startOddGateway(chain(MANAGING, SPARE))
        alice = await self.user("alice")
        await self.untilAnswered(alice, BESIDE, lambda reply: condition(reply) == "service-unavailable")
        await holds(lambda: "is not available" in gateway.log(1000), 10, "the log says that it is missed")
        for to in (DOMAIN, alice.bare):
            self.assertFalse([each for each in await self.nested(alice, to) if each.startswith("managed")])
        await self.entity(MANAGING)
        await self.untilHandled(alice, MANAGING, ALONE)
        self.assertIn(f"managed:{ALONE}", await self.nested(alice, DOMAIN))
        self.assertIn(f"managed-bare:{ALONE}", await self.nested(alice, alice.bare))

    @scenario(60)
    async def test_tooLate(self) -> None:
        """
        After a restart of the gateway Prosody, which asks once, lists no features; the status page reports it.
        """
        await self.expectNesting()
        gateway = await self.startOddGateway(chain(MANAGING, SPARE))
        alice = await self.user("alice")
        await self.untilAnswered(alice, BESIDE, lambda reply: condition(reply) == "service-unavailable")
        gateway.stop()
        await self.entity(MANAGING)
        gateway.start()
        await gateway.ready()
        await self.untilHandled(alice, MANAGING, ALONE)
        if self.server.nestsOnce:
            said = f"{DOMAIN} does not show {ALONE} in its disco#info"
            await holds(lambda: said in gateway.log(1000), 15, "the log says so")
            self.assertIn(said, (await gateway.get("/status"))[1])
        else:
            await asyncio.sleep(8)
            self.assertNotIn("does not show", (await gateway.get("/status"))[1])
        self.assertEqual(f"managed:{ALONE}" in await self.nested(alice, DOMAIN), not self.server.nestsOnce)

    @scenario(40)
    async def test_forgeries(self) -> None:
        """A reply that is not exactly the answer gives the requester an error, once, and reaches nobody else."""
        managing, alice, gateway = await self.startChain()
        others = [await self.user("bob"), await self.user("alice", "work")]
        outsider = await RawComponent(self.server, OUTSIDER).connect()
        self.stack.push_async_callback(outsider.close)
        for name, forge in FORGERIES.items():

            def forging(entity: Managing, asked: Delegated, forge: Callable[[Delegated], str] = forge) -> None:
                entity.send(forge(asked))
                # A later answer is ignored.
                handle(entity, asked)

            managing.behaviour = forging
            reply = await alice.request(alice.bare, ask(BESIDE, "node='n'"), "set")
            self.assertEqual(condition(reply), "service-unavailable", name)
        for rightly in (True, False):
            await self._outsiders(managing, alice, outsider, rightly)
        self.assertIn(" is invalid; ", gateway.log(1000))
        for other in others:
            # Nothing came in that time but presence, and Prosody's message to each that it has no privileges.
            await other.request(other.bare, ask(BESIDE), id_="last")
            heard = [each for each in other.received if not each.tag.endswith("}presence")]
            self.assertEqual([each.get("id") for each in heard if each.find(NO_PRIVILEGES) is None], ["last"])
        self.assertEqual(alice.repeated(), {})
        self.assertEqual([each.get("type") for each in outsider.received], ["result"] * 2)

    async def _outsiders(
        self, managing: ManagingEntity, alice: Client, outsider: RawComponent, rightly: bool
    ) -> None:
        """Another component sends answers with the right ids before the managing entity does."""
        managing.behaviour = ignore
        asked = len(managing.delegated)
        id_ = alice.sendIq(alice.bare, ask(BESIDE, "node='n'"))
        await holds(lambda: len(managing.delegated) > asked, 5, "the request is forwarded")
        delegated = managing.delegated[-1]
        forged = delegated.reply(delegated.answer(FORGED)).replace(f"from='{MANAGING}'", f"from='{OUTSIDER}'", 1)
        outsider.send(forged.replace(f'from="{MANAGING}"', f'from="{OUTSIDER}"', 1))
        question = newId()
        query = f"<query xmlns='{DISCO_INFO}'/>"
        outsider.send(stanza("iq", query, type="get", id=question, to=CHAIN_GATEWAY, **{"from": OUTSIDER}))
        # Earlier stanzas have arrived by then.
        await outsider.reply(question)
        self.assertEqual(alice.iqs(id_), [])
        (handle if rightly else unwrapped)(managing, delegated)
        reply = await alice.expectId(id_, "the answer")
        self.assertEqual(
            (handledBy(reply), condition(reply)), (MANAGING, None) if rightly else (None, "service-unavailable")
        )

    @scenario(30)
    async def test_takenForServer(self) -> None:
        """
        A managing entity is not a server: requests and advertisements that it sends to the gateway are refused.
        """
        managing, alice, gateway = await self.startChain()
        inner = stanza("iq", ask(BESIDE), xmlns=CLIENT, type="get", id="i", to=alice.bare, **{"from": alice.jid})
        wrapped = f"<delegation xmlns='{DELEGATION}'><forwarded xmlns='{FORWARD}'>{inner}</forwarded></delegation>"
        addresses = {"to": CHAIN_GATEWAY, "from": MANAGING}
        advertised = (
            f"<delegation xmlns='{DELEGATION}'><delegated namespace='urn:xmpp:test:imagined'/></delegation>"
        )
        managing.send(stanza("message", advertised, **addresses))
        managing.send(stanza("iq", wrapped, type="set", id="o", **addresses))
        reply = await managing.reply("o")
        self.assertEqual(condition(reply), "service-unavailable")
        self.assertNotIn("imagined", gateway.log(1000))
        self.assertEqual(alice.iqs("i"), [])

    @scenario(30)
    async def test_spare(self) -> None:
        """When the managing entity is killed, its spare takes over until it is back."""
        spare = await self.entity(SPARE)
        managing, alice, _ = await self.startChain()
        await holds(lambda: len(spare.advertised()) == 1, 5, "the spare is advertised to")
        self.assertEqual(spare.advertised(), [{BESIDE: ["node"], ALONE: ["node"]}])
        self.assertEqual(spare.delegated, [])
        managing.behaviour = ignore
        get = asyncio.create_task(alice.request(alice.bare, ask(BESIDE, "node='n'")))
        set_ = asyncio.create_task(alice.request(alice.bare, ask(BESIDE, "node='n'"), "set"))
        await holds(lambda: len(managing.delegated) == 2, 5, "both requests are forwarded")
        await managing.close()
        await self.untilHandled(alice, SPARE, ALONE)
        # A get is sent to the spare; a set, which may have been carried out, is not repeated.
        self.assertEqual(handledBy(await get), SPARE)
        self.assertEqual(condition(await set_), "service-unavailable")
        self.assertEqual([each.inner.get("type") for each in spare.delegated].count("set"), 0)
        back = await self.entity(MANAGING)
        await self.untilHandled(alice, MANAGING)
        self.assertEqual(back.advertised(), [{BESIDE: ["node"], ALONE: ["node"]}])
        await back.close()
        await spare.close()
        for namespace in (BESIDE, ALONE):
            await self.untilAnswered(alice, namespace, lambda reply: condition(reply) == "service-unavailable")
        reply = await alice.request(alice.bare, ask(BESIDE))
        self.assertEqual([each.tag for each in reply], [DONE])

    @scenario(30)
    async def test_client(self) -> None:
        """A client manages like a component, with the resource that is online; a component is its spare."""
        spare = await self.entity(SPARE)
        account = f"carol@{DOMAIN}"
        await self.startOddGateway(chain(account, SPARE))
        alice = await self.user("alice")
        await self.untilHandled(alice, SPARE)
        for resource in ("desk", "field"):
            carol = await self.login(ManagingClient(self.server, "carol", resource))
            await self.untilHandled(alice, carol.jid)
            self.assertEqual(carol.advertised(), [{BESIDE: ["node"], ALONE: ["node"]}])
            self.assertEqual({each.outer.get("from") for each in carol.delegated}, {CHAIN_GATEWAY})
            carol.behaviour = ignore
            carol.delegated.clear()
            spare.delegated.clear()
            get = asyncio.create_task(alice.request(alice.bare, ask(BESIDE, "node='n'")))
            await holds(functools.partial(bool, carol.delegated), 5, "the request is forwarded")
            self.assertEqual(spare.delegated, [])
            carol.drop()
            self.assertEqual(handledBy(await get), SPARE)


class EmbeddedChainTests(ChainTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyChainTests(ChainTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdChainTests(ChainTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
