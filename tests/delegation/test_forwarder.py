"""Forwarding to other managing entities: who is available, their requests, and their answers."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from gateway import ns
from gateway.delegation.delegations import Delegation
from gateway.delegation.managing import Route
from gateway.errors import Forbidden, RecipientUnavailable
from tests.delegation.support import (
    COMPONENT,
    HOST,
    PUBSUB,
    Case,
    FakeNamespace,
    answer,
    errorXml,
    meaning,
    reply,
    request,
    wrapper,
)
from tests.reports import sentences
from tests.stream.memory import Tree

NEXT, LAST = "pubsub.montaigu.lit", "pubsub.verona.lit"
NURSE = "nurse@montaigu.lit"
PAYLOAD = f"<pubsub xmlns='{PUBSUB}'/>"
ASKED = wrapper(request(PAYLOAD))
REFUSED = answer(reply(errorXml(RecipientUnavailable), "error"))
NODES = [f"{ns.DELEGATION_2}::{PUBSUB}", f"{ns.DELEGATION_2}:bare:{PUBSUB}"]


def error(condition: str) -> str:
    """Return a stanza error."""
    return f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"


def advertised(address: str, filtering: str = "") -> list[Tree]:
    """Return the advertisement to a managing entity, without its id."""
    attributes = f"<attribute name='{filtering}'/>" if filtering else ""
    return meaning(
        f"<message from='{COMPONENT}' to='{address}'><delegation xmlns='{ns.DELEGATION_2}'>"
        f"<delegated namespace='{PUBSUB}'>{attributes}</delegated></delegation></message>"
    )


def presence(kind: str, to: str = NURSE) -> str:
    """Return presence that a client sends."""
    return f"<presence from='{COMPONENT}' to='{to}' type='{kind}'/>"


class ForwarderCase(Case):
    """A gateway that forwards, and its managing entities."""

    def hands(self, *entities: str, filtering: frozenset[str] = frozenset(), **more: Any) -> None:
        self.hand(Delegation(PUBSUB, entities, filtering))

    def asks(self, *addresses: str) -> dict[tuple[str, str], str]:
        """Exactly these are asked for features to nest; return the id of each request, by address and node."""
        found = {}
        for name, attributes, [query] in self.taken():
            self.assertEqual(
                (name, attributes["type"], attributes["from"]), ("{jabber:client}iq", "get", COMPONENT)
            )
            self.assertEqual((query[0], query[2]), (f"{{{ns.DISCO_INFO}}}query", []))
            found[attributes["to"], query[1]["node"]] = attributes["id"]
        self.assertEqual(set(found), {(address, node) for address in addresses for node in NODES})
        return found

    def tell(self, asked: dict[tuple[str, str], str], content: str = "", *addresses: str) -> None:
        """Answer these requests with features."""
        for (address, node), identifier in asked.items():
            if address in addresses or not addresses:
                self.server.send(
                    f"<iq from='{address}' to='{COMPONENT}' id='{identifier}' type='result'>"
                    f"<query xmlns='{ns.DISCO_INFO}' node='{node}'>{content}</query></iq>"
                )

    def tellError(self, asked: dict[tuple[str, str], str], condition: str) -> None:
        for (address, _), identifier in asked.items():
            self.server.send(
                f"<iq from='{address}' to='{COMPONENT}' id='{identifier}' type='error'>{error(condition)}</iq>"
            )

    def assertAdvertised(self, *addresses: str, filtering: str = "") -> None:
        """Exactly these receive an advertisement of their delegations, and no other stanza is sent."""
        # In the order in which they were asked.
        found = sorted(self.taken(), key=lambda each: str(each[1].get("to")))
        for _, attributes, _ in found:
            self.assertTrue(attributes.pop("id"))
        self.assertEqual(found, [each for address in sorted(addresses) for each in advertised(address, filtering)])

    def arrive(self, *entities: str) -> None:
        """Make these available, with their advertisements sent."""
        self.hands(*entities)
        self.tell(self.asks(*entities))
        self.assertAdvertised(*entities)

    def handed(self, address: str, inner: str | None = None) -> str:
        """The only output is the request, to this managing entity; return its outer id."""
        [found] = self.taken()
        identifier = str(found[1]["id"])
        right = wrapper(inner or request(PAYLOAD), identifier, server=COMPONENT, to=address)
        self.assertEqual([found], meaning(right))
        self.assertGreaterEqual(len(identifier), 16)
        return identifier

    def answers(self, address: str, identifier: str, inner: str) -> None:
        self.server.send(answer(inner, identifier, sender=address, to=COMPONENT))

    def wait(self, seconds: int) -> None:
        self.server.clock.pump([1.0] * seconds)


class ArrivalTests(ForwarderCase):
    """A component is available once it has answered."""

    def test_result(self) -> None:
        """Both nodes are asked at once; the first answer, with any content, makes the entity available."""
        for content in ("", "<feature var='urn:f'/>"):
            self.hands(NEXT)
            asked = self.asks(NEXT)
            self.tell(dict([asked.popitem()]), content)
            self.assertAdvertised(NEXT)
            self.tell(asked, content)
            self.assertSent()
            said = f"{NEXT} is available; requests in {PUBSUB} are forwarded to it"
            self.assertTrue([line for line in self.logged if said in line])

    def test_unreadable(self) -> None:
        """A result without readable content makes it available as well."""
        self.hands(NEXT)
        identifier = next(iter(self.asks(NEXT).values()))
        self.server.send(f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='result'/>")
        self.assertAdvertised(NEXT)

    def test_filtering(self) -> None:
        """The advertisement contains the filter."""
        self.hands(NEXT, filtering=frozenset({"node"}))
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT, filtering="node")

    def test_refusal(self) -> None:
        """An error from the entity itself is an answer: it is available."""
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), "item-not-found")
        self.assertAdvertised(NEXT)

    def test_retries(self) -> None:
        """
        If its server reports that it does not exist, it is asked again, after intervals that double up to a minute.
        """
        self.hands(NEXT)
        waited = []
        for condition in (
            "service-unavailable",
            "remote-server-not-found",
            "remote-server-timeout",
            "not-allowed",
            "recipient-unavailable",
            "gone",
            "service-unavailable",
        ):
            self.tellError(self.asks(NEXT), condition)
            seconds = 0
            while not self.server.transport.value():
                self.wait(1)
                seconds += 1
                self.assertLess(seconds, 100)
            waited.append(seconds)
        self.assertEqual(waited, [2, 4, 8, 16, 32, 60, 60])
        self.server.send(ASKED)
        asked = self.taken()
        self.assertEqual(asked[-1:], meaning(REFUSED))

    def test_patienceAnew(self) -> None:
        """An entity that was available is asked again after the shortest interval."""
        self.hands(NEXT)
        for _ in range(3):
            self.tellError(self.asks(NEXT), "service-unavailable")
            self.wait(8)
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT)
        self.server.send(ASKED)
        identifier = self.handed(NEXT)
        self.server.send(
            f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='error'>{error('service-unavailable')}</iq>"
        )
        self.assertSent(REFUSED)
        self.wait(2)
        self.asks(NEXT)

    def test_missed(self) -> None:
        """After three seconds the unavailable entities are logged once, with advice; available ones are not."""
        self.hands(NEXT, LAST, NURSE)
        identifiers = [each["id"] for _, each, _ in self.taken() if each["to"] == LAST]
        self.tell({(LAST, NODES[0]): identifiers[0]})
        self.wait(20)
        client, component = [line for line in self.logged if "is not available" in line]
        self.assertIn(f"{COMPONENT}: {NURSE} is not available", client)
        self.assertIn("accept the subscription", client)
        self.assertIn(f"{COMPONENT}: {NEXT} is not available", component)
        self.assertIn("check that it is connected", component)
        self.assertIn("see docs/privilege.md", component)
        # Only ejabberd drops requests.
        for software, drops in (("ejabberd 26.07", True), ("Prosody 13.0.7", False)):
            self.server.link.software = software
            self.assertEqual("drops requests" in "".join(sentences(self.handler.report())), drops)

    def test_missedRefusing(self) -> None:
        """
        An entity that answers with an error is not reported as unavailable: the report has the error, and advice.
        """
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), "not-allowed")
        self.wait(5)
        [said] = [line for line in self.logged if "is not available" in line]
        self.assertIn(f"{NEXT} is not available, or refuses {COMPONENT} (not-allowed)", said)
        self.assertIn(f"that it accepts delegations from {COMPONENT}", said)
        reports = "".join(sentences(self.handler.report()))
        self.assertIn(f"managing entity {NEXT} is not available, or refuses {COMPONENT} (not-allowed)", reports)
        # Its next answer counts.
        self.tellError(self.asks(NEXT), "service-unavailable")
        self.assertNotIn("refuses", "".join(sentences(self.handler.report())))

    def test_missedFiltering(self) -> None:
        """The advice contains the attributes by which the server should filter."""
        self.hands(NEXT, filtering=frozenset({"node"}))
        self.wait(5)
        [said] = [line for line in self.logged if "does not delegate" in line]
        self.assertIn('filtering = { "node" } }', said)

    def test_silence(self) -> None:
        """An entity that does not answer is asked again."""
        self.hands(NEXT)
        self.asks(NEXT)
        self.wait(30)
        self.assertSent()
        self.wait(3)
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT)

    def test_others(self) -> None:
        """Answers of other entities do not make it available."""
        self.hands(NEXT)
        asked = {(LAST, node): identifier for (_, node), identifier in self.asks(NEXT).items()}
        self.tell(asked)
        self.assertSent()

    def test_reconnection(self) -> None:
        """
        After a reconnection all entities are unknown: they are asked again, and receive their advertisement again.
        """
        self.arrive(NEXT)
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.accept()
        self.server.clock.advance(1.0)
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT)


class RequestTests(ForwarderCase):
    """Forwarded requests and their answers."""

    def test_whole(self) -> None:
        """
        The request goes out in the gateway's name; the answer comes in the form that servers accept; payloads are
        unchanged.
        """
        self.arrive(NEXT)
        inner = request(f"<pubsub xmlns='{PUBSUB}'><x a='&lt;'>é</x></pubsub>", "set", to="romeo@capulet.lit")
        self.server.send(wrapper(inner))
        identifier = self.handed(NEXT, inner)
        self.assertEqual(self.handler.pending, 1)
        self.answers(NEXT, identifier, reply("<y xmlns='urn:y'>é</y>", sender="romeo@capulet.lit"))
        self.assertSent(answer(reply("<y xmlns='urn:y'>é</y>", sender="romeo@capulet.lit")))
        self.assertEqual(self.handler.pending, 0)

    def test_error(self) -> None:
        """An error inside the wrapper is the requester's answer."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        self.answers(NEXT, self.handed(NEXT), reply(error("conflict"), "error"))
        self.assertSent(answer(reply(error("conflict"), "error")))

    def test_withoutFrom(self) -> None:
        """An answer may omit C{from}, as in the XEP's examples; the gateway adds it for the server."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        self.answers(NEXT, self.handed(NEXT), reply(sender=None))
        self.assertSent(answer(reply()))

    def test_nobody(self) -> None:
        """N.B. 1: no managing entity is available."""
        self.hands(NEXT)
        self.asks(NEXT)
        self.server.send(ASKED)
        self.assertSent(REFUSED)

    def test_outerError(self) -> None:
        """N.B. 2: an outer error becomes C{service-unavailable} for the requester; the entity stays available."""
        self.arrive(NEXT)
        for condition in ("bad-request", "undefined-condition"):
            self.server.send(ASKED)
            identifier = self.handed(NEXT)
            self.server.send(
                f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='error'>{error(condition)}</iq>"
            )
            self.assertSent(REFUSED)

    def test_oddError(self) -> None:
        """An outer error without a condition, or one that Twisted cannot parse."""
        self.arrive(NEXT)
        for content in ("", "<error/>", "<x xmlns='a b'/>", "<error><text xmlns='urn:x'/></error>"):
            self.server.send(ASKED)
            identifier = self.handed(NEXT)
            self.server.send(f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='error'>{content}</iq>")
            self.assertSent(REFUSED)
        self.assertQuiet()

    def test_bad(self) -> None:
        """
        "If the forwarded result from managing entity is bad": the requester gets an error, and the log has it.
        """
        self.arrive(NEXT)
        for bad in (
            reply(to="romeo@capulet.lit/x"),
            reply(sender="romeo@capulet.lit"),
            reply(identifier="2"),
            reply(kind="set"),
            reply().replace(ns.CLIENT, "urn:x"),
            reply() * 2,
            "",
            "<iq xmlns='a b'/>",
        ):
            with self.subTest(bad):
                self.server.send(ASKED)
                self.answers(NEXT, self.handed(NEXT), bad)
                self.assertSent(REFUSED)
                self.assertIn(" is invalid", self.logged[-1])
        self.server.send(ASKED)
        identifier = self.handed(NEXT)
        self.server.send(f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='result'/>")
        self.assertSent(REFUSED)
        self.assertQuiet()

    def test_thirdParty(self) -> None:
        """An answer by another entity, or to no request, is ignored."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        identifier = self.handed(NEXT)
        self.answers(LAST, identifier, reply())
        self.answers(f"{NEXT}/x", identifier, reply())
        self.answers(NEXT, "guess", reply())
        self.assertSent()
        self.answers(NEXT, identifier, reply())
        self.assertSent(answer(reply()))
        self.answers(NEXT, identifier, reply())
        self.assertSent()

    def test_silent(self) -> None:
        """If the managing entity never answers, the requester gets an error before a server's timeout."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        identifier = self.handed(NEXT)
        self.wait(19)
        self.assertSent()
        self.wait(2)
        self.assertSent(REFUSED)
        self.assertEqual(self.handler.pending, 0)
        self.answers(NEXT, identifier, reply())
        self.assertSent()

    def test_stop(self) -> None:
        """A stop completes the open requests."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        self.handed(NEXT)
        self.server.link.stopService()
        self.server.clock.pump([0.1] * 60)
        self.assertSent(REFUSED)

    def test_ownStanzas(self) -> None:
        """The managing entity's own requests are not forwarded to it."""
        self.arrive(NEXT)
        self.server.send(wrapper(request(PAYLOAD, requester=f"{NEXT}/x", to=HOST)))
        [(_, attributes, _)] = self.taken()
        self.assertEqual((attributes["to"], attributes["type"]), (HOST, "result"))
        self.assertEqual(self.handler.pending, 0)


class FailOverTests(ForwarderCase):
    """Several managing entities for one namespace."""

    def test_notThere(self) -> None:
        """
        If a server reports that the first does not exist, the next one gets the request, even a set, until the
        first is back.
        """
        self.arrive(NEXT, LAST)
        inner = request(PAYLOAD, "set")
        self.server.send(wrapper(inner))
        identifier = self.handed(NEXT, inner)
        self.server.send(
            f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='error'>{error('service-unavailable')}</iq>"
        )
        self.answers(LAST, self.handed(LAST, inner), reply())
        self.assertSent(answer(reply()))
        self.server.send(ASKED)
        self.answers(LAST, self.handed(LAST), reply())
        self.assertSent(answer(reply()))
        self.wait(2)
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT)
        self.server.send(ASKED)
        self.handed(NEXT)

    def test_silent(self) -> None:
        """
        After its share of the time a get goes to the next one. A set fails, because the first may have carried it
        out.
        """
        self.arrive(NEXT, LAST)
        self.server.send(ASKED)
        self.handed(NEXT)
        self.wait(11)
        self.answers(LAST, self.handed(LAST), reply())
        self.assertSent(answer(reply()))
        inner = request(PAYLOAD, "set")
        self.server.send(wrapper(inner))
        self.handed(NEXT, inner)
        self.wait(11)
        self.assertSent(REFUSED)

    def test_first(self) -> None:
        """Only available entities are asked."""
        self.hands(NEXT, LAST)
        self.tell(self.asks(NEXT, LAST), "", LAST)
        self.assertAdvertised(LAST)
        self.server.send(ASKED)
        self.handed(LAST)

    def test_noClient(self) -> None:
        """Presence of a managing component is ignored: its answers tell that it is available."""
        self.hands(NEXT)
        self.taken()
        for kind in ("", " type='subscribe'", " type='unavailable'"):
            self.server.send(f"<presence from='{NEXT}' to='{COMPONENT}'{kind}/>")
        self.assertSent()


class ClientTests(ForwarderCase):
    """A managing entity may be an ordinary client; its presence tells its full address."""

    def come(self, resource: str = "chamber") -> None:
        self.server.send(f"<presence from='{NURSE}/{resource}' to='{COMPONENT}'/>")

    def go(self, resource: str = "chamber") -> None:
        self.server.send(f"<presence from='{NURSE}/{resource}' to='{COMPONENT}' type='unavailable'/>")

    def there(self) -> None:
        self.hands(NURSE)
        self.assertSent(presence("probe"), presence("subscribe"))
        self.come()
        self.tell(self.asks(f"{NURSE}/chamber"))
        self.assertAdvertised(f"{NURSE}/chamber")

    def test_presence(self) -> None:
        """Its presence is subscribed to and probed; requests go to its full address."""
        self.there()
        self.server.send(ASKED)
        identifier = self.handed(f"{NURSE}/chamber")
        self.answers(NURSE, identifier, reply())
        self.assertSent()
        self.answers(f"{NURSE}/chamber", identifier, reply())
        self.assertSent(answer(reply()))

    def test_notAsked(self) -> None:
        """While it is offline it is not asked: its server would answer an iq to the bare JID."""
        self.hands(NURSE)
        self.taken()
        self.wait(10)
        self.assertSent()
        self.server.send(ASKED)
        self.assertSent(REFUSED)

    def test_gone(self) -> None:
        """When it goes offline its requests are completed; it may come back with another resource."""
        self.there()
        self.server.send(ASKED)
        self.handed(f"{NURSE}/chamber")
        self.go()
        self.assertSent(REFUSED)
        self.server.send(ASKED)
        self.assertSent(REFUSED)
        self.come("garden")
        self.tell(self.asks(f"{NURSE}/garden"))
        self.assertAdvertised(f"{NURSE}/garden")
        self.server.send(ASKED)
        self.handed(f"{NURSE}/garden")

    def test_others(self) -> None:
        """Presence of its other resources changes nothing."""
        self.there()
        self.come("garden")
        self.come()
        self.go("garden")
        self.assertSent()
        self.server.send(ASKED)
        self.handed(f"{NURSE}/chamber")

    def test_subscription(self) -> None:
        """It may subscribe to the gateway's presence."""
        self.there()
        self.server.send(f"<presence from='{NURSE}' to='{COMPONENT}' type='subscribe'/>")
        self.assertSent(presence("subscribed"))

    def test_reconnection(self) -> None:
        """After a reconnection its presence is requested again."""
        self.there()
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.accept()
        self.assertEqual(self.handler.pending, 0)
        self.server.send(ASKED)
        self.assertSent(presence("probe"), presence("subscribe"), REFUSED)
        self.come()
        self.tell(self.asks(f"{NURSE}/chamber"))
        self.assertAdvertised(f"{NURSE}/chamber")

    def test_resource(self) -> None:
        """A managing entity may be configured as a full JID."""
        self.hands(f"{NURSE}/chamber")
        found = self.taken()
        self.assertEqual(found[:2], meaning(presence("probe") + presence("subscribe")))
        self.assertEqual([each[1]["to"] for each in found[2:]], [f"{NURSE}/chamber"] * 2)
        self.come("garden")
        self.assertSent()


class InfoTests(ForwarderCase):
    """Disco of the managing entity is part of the gateway's. A query by a server may wait, see L{test_held}."""

    asking = "romeo@montaigu.lit/x"

    def info(self, node: str = NODES[0]) -> None:
        self.server.send(
            f"<iq from='{self.asking}' to='{COMPONENT}' id='i' type='get'>"
            f"<query xmlns='{ns.DISCO_INFO}' node='{node}'/></iq>"
        )

    def told(self, *features: str, node: str = NODES[0]) -> str:
        content = "".join(f"<feature var='{each}'/>" for each in features)
        return (
            f"<iq from='{COMPONENT}' to='{self.asking}' id='i' type='result'>"
            f"<query xmlns='{ns.DISCO_INFO}' node='{node}'>{content}</query></iq>"
        )

    def test_merged(self) -> None:
        """It is merged with that of the local handler, in either version, without duplicates."""
        fake = FakeNamespace(lambda request: None, features=("urn:f", "urn:own"), bareFeatures=("urn:bare",))
        self.make({PUBSUB: Route(fake, Delegation(PUBSUB, (NEXT,), frozenset({"node"})))})
        self.tell(self.asks(NEXT), "<feature var='urn:f'/><feature var='urn:g'/>")
        self.taken()
        for node in (NODES[0], NODES[0].replace(ns.DELEGATION_2, ns.DELEGATION_1)):
            self.info(node)
            self.assertSent(self.told("urn:f", "urn:own", "urn:g", node=node))
        self.info(NODES[1])
        self.assertSent(self.told("urn:bare", "urn:f", "urn:g", node=NODES[1]))

    def test_soon(self) -> None:
        """A query waits for a short time while the managing entity is being asked."""
        self.hands(NEXT)
        asked = self.asks(NEXT)
        self.info()
        self.assertSent()
        self.tell(asked, "<feature var='urn:g'/>")
        found = self.taken()
        self.assertEqual(found[1:], meaning(self.told("urn:g")))

    def test_late(self) -> None:
        """The query does not wait for longer."""
        self.hands(NEXT)
        self.asks(NEXT)
        self.info()
        self.wait(1)
        self.assertSent()
        self.wait(2)
        self.assertSent(self.told(PUBSUB))

    def test_notThere(self) -> None:
        """If the managing entity cannot answer, the query is answered at once."""
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), "service-unavailable")
        self.info()
        self.assertSent(self.told(PUBSUB))

    def test_many(self) -> None:
        """Many queries by anybody, while there is no answer, are limited and cause no search through the others."""
        self.hands(NEXT)
        looks: list[Any] = []
        tell = self.forwarder._answerIfKnown
        self.patch(self.forwarder, "_answerIfKnown", lambda *wanted: looks.append(wanted) or tell(*wanted))
        [delegation] = self.forwarder._delegator.delegations
        told = [self.forwarder.info(delegation, bare=False) for _ in range(10)]
        self.assertEqual(len(looks), 10)
        self.tell(self.asks(NEXT), "<feature var='urn:x'/>")
        self.assertEqual([self.successResultOf(each).features for each in told], [("urn:x",)] * 10)


class ChainTests(ForwarderCase):
    """Two gateways, each on a link of its own, and a router between them that spells everything differently."""

    def carry(self) -> None:
        """Deliver the output of each to the other, until neither writes any more."""
        ends = {COMPONENT: self.near, NEXT: self.far}
        for _ in range(20):
            moved = 0
            for end in ends.values():
                data = end.transport.value().decode()
                end.transport.clear()
                root = ElementTree.fromstring(f"<s xmlns='{ns.COMPONENT_ACCEPT}'>{data}</s>")
                for stanza in root:
                    moved += 1
                    spelled = ElementTree.tostring(stanza, encoding="unicode")
                    if stanza.get("to") in ends:
                        ends[stanza.get("to", "")].send(spelled)
                    else:
                        self.arrived.append(stanza)
            if not moved:
                return
        self.fail("they never come to an end")

    def test_chain(self) -> None:
        """
        The second gateway is a managing entity of the first, as the first is of the server: it becomes available,
        receives its advertisement and the request, and its answer comes back through both. That answer is an error:
        a gateway serves only the domain of the forwarding server, and the users are in another domain.
        """
        fake = FakeNamespace(lambda request: None, features=("urn:f",))
        self.make({PUBSUB: Route(fake, None)}, servers=(COMPONENT,), component=NEXT)
        self.far = self.server
        self.hands(NEXT)
        self.near = self.server
        self.arrived: list[ElementTree.Element] = []
        self.carry()
        self.assertTrue([line for line in self.logged if f"{COMPONENT} delegates {PUBSUB}" in line])
        self.assertEqual(self.arrived, [])
        self.near.send(ASKED)
        self.carry()
        [found] = self.arrived
        spelled = ElementTree.tostring(found, encoding="unicode")
        self.assertEqual(
            meaning(spelled, ns.COMPONENT_ACCEPT), meaning(answer(reply(errorXml(Forbidden), "error")))
        )
        self.assertEqual((fake.asked, self.handler.pending), ([], 0))
