"""Handing on to other managing entities: who is there, what they get, what becomes of what they answer."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from gateway import ns
from gateway.delegation.core import Delegation
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
from tests.stream.memory import Tree

NEXT, LAST = "pubsub.montaigu.lit", "pubsub.verona.lit"
NURSE = "nurse@montaigu.lit"
PAYLOAD = f"<pubsub xmlns='{PUBSUB}'/>"
ASKED = wrapper(request(PAYLOAD))
REFUSED = answer(reply(errorXml(RecipientUnavailable), "error"))
NODES = [f"{ns.DELEGATION_2}::{PUBSUB}", f"{ns.DELEGATION_2}:bare:{PUBSUB}"]


def error(condition: str) -> str:
    """A stanza error."""
    return f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"


def advertised(address: str, filtering: str = "") -> list[Tree]:
    """What a managing entity is told, but for the id."""
    attributes = f"<attribute name='{filtering}'/>" if filtering else ""
    return meaning(
        f"<message from='{COMPONENT}' to='{address}'><delegation xmlns='{ns.DELEGATION_2}'>"
        f"<delegated namespace='{PUBSUB}'>{attributes}</delegated></delegation></message>"
    )


def presence(kind: str, to: str = NURSE) -> str:
    """What a client is sent."""
    return f"<presence from='{COMPONENT}' to='{to}' type='{kind}'/>"


class ForwarderCase(Case):
    """A gateway that hands on, and those that it knows."""

    def hands(self, *entities: str, filtering: frozenset[str] = frozenset(), **more: Any) -> None:
        self.hand(Delegation(PUBSUB, entities, filtering))

    def asks(self, *addresses: str) -> dict[tuple[str, str], str]:
        """Exactly these are asked for what they have to nest; the id of each question, by address and node."""
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
        """Answer these questions, with features."""
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
        """Each of these is told what is delegated to it, and nobody anything else."""
        # In whichever order they have been asked.
        found = sorted(self.taken(), key=lambda each: str(each[1].get("to")))
        for _, attributes, _ in found:
            self.assertTrue(attributes.pop("id"))
        self.assertEqual(found, [each for address in sorted(addresses) for each in advertised(address, filtering)])

    def arrive(self, *entities: str) -> None:
        """These are there, and have been told."""
        self.hands(*entities)
        self.tell(self.asks(*entities))
        self.assertAdvertised(*entities)

    def handed(self, address: str, inner: str | None = None) -> str:
        """The one thing that goes out is the request, to this one; return its outer id."""
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
    """A component is there once it has answered."""

    def test_result(self) -> None:
        """Asked at once for both nodes; the first answer, whatever is in it, says that it is there."""
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
        """A result that tells nothing, too."""
        self.hands(NEXT)
        identifier = next(iter(self.asks(NEXT).values()))
        self.server.send(f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='result'/>")
        self.assertAdvertised(NEXT)

    def test_filtering(self) -> None:
        """It is told of the filter."""
        self.hands(NEXT, filtering=frozenset({"node"}))
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT, filtering="node")

    def test_refusal(self) -> None:
        """Its own refusal is an answer: it is there."""
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), "item-not-found")
        self.assertAdvertised(NEXT)

    def test_retries(self) -> None:
        """A server's word that it is not there: it is asked again, with patience that doubles up to a minute."""
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
            while not self.server._transport.value():
                self.wait(1)
                seconds += 1
                self.assertLess(seconds, 100)
            waited.append(seconds)
        self.assertEqual(waited, [2, 4, 8, 16, 32, 60, 60])
        self.server.send(ASKED)
        asked = self.taken()
        self.assertEqual(asked[-1:], meaning(REFUSED))

    def test_patienceAnew(self) -> None:
        """Who has been there is asked soon again."""
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
        """After three seconds the log says once who is not there, and what to look at; not who is there."""
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

    def test_missedRefusing(self) -> None:
        """An entity that refuses is not reported as unavailable: the report has the refusal, and advice."""
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), "not-allowed")
        self.wait(5)
        [said] = [line for line in self.logged if "is not available" in line]
        self.assertIn(f"{NEXT} is not available, or refuses {COMPONENT} (not-allowed)", said)
        self.assertIn(f"that it accepts delegations from {COMPONENT}", said)
        reports = "".join(self.handler.report())
        self.assertIn(f"managing entity {NEXT} is not available, or refuses {COMPONENT} (not-allowed)", reports)
        # What it answers next counts.
        self.tellError(self.asks(NEXT), "service-unavailable")
        self.assertNotIn("refuses", "".join(self.handler.report()))

    def test_missedFiltering(self) -> None:
        """What the server should filter by is in the lines that it lacks."""
        self.hands(NEXT, filtering=frozenset({"node"}))
        self.wait(5)
        [said] = [line for line in self.logged if "does not delegate" in line]
        self.assertIn('filtering = { "node" } }', said)

    def test_silence(self) -> None:
        """Who says nothing at all is asked again."""
        self.hands(NEXT)
        self.asks(NEXT)
        self.wait(30)
        self.assertSent()
        self.wait(3)
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT)

    def test_others(self) -> None:
        """What somebody else answers says nothing of it."""
        self.hands(NEXT)
        asked = {(LAST, node): identifier for (_, node), identifier in self.asks(NEXT).items()}
        self.tell(asked)
        self.assertSent()

    def test_reconnection(self) -> None:
        """A new connection knows nobody: everybody is asked, and told, anew."""
        self.arrive(NEXT)
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.accept()
        self.server.clock.advance(1.0)
        self.tell(self.asks(NEXT))
        self.assertAdvertised(NEXT)


class RequestTests(ForwarderCase):
    """What is handed on, and what comes of it."""

    def test_whole(self) -> None:
        """There in the gateway's name, and back in the form that the server wants; payloads as they are."""
        self.arrive(NEXT)
        inner = request(f"<pubsub xmlns='{PUBSUB}'><x a='&lt;'>é</x></pubsub>", "set", to="romeo@capulet.lit")
        self.server.send(wrapper(inner))
        identifier = self.handed(NEXT, inner)
        self.assertEqual(self.handler.pending, 1)
        self.answers(NEXT, identifier, reply("<y xmlns='urn:y'>é</y>", sender="romeo@capulet.lit"))
        self.assertSent(answer(reply("<y xmlns='urn:y'>é</y>", sender="romeo@capulet.lit")))
        self.assertEqual(self.handler.pending, 0)

    def test_error(self) -> None:
        """An error that it has put inside is the requester's."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        self.answers(NEXT, self.handed(NEXT), reply(error("conflict"), "error"))
        self.assertSent(answer(reply(error("conflict"), "error")))

    def test_withoutFrom(self) -> None:
        """An answer may leave C{from} out, as the XEP's examples do; the server gets it."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        self.answers(NEXT, self.handed(NEXT), reply(sender=None))
        self.assertSent(answer(reply()))

    def test_nobody(self) -> None:
        """N.B. 1: who is not there."""
        self.hands(NEXT)
        self.asks(NEXT)
        self.server.send(ASKED)
        self.assertSent(REFUSED)

    def test_outerError(self) -> None:
        """N.B. 2: its error is the requester's C{service-unavailable}; it stays in charge."""
        self.arrive(NEXT)
        for condition in ("bad-request", "undefined-condition"):
            self.server.send(ASKED)
            identifier = self.handed(NEXT)
            self.server.send(
                f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='error'>{error(condition)}</iq>"
            )
            self.assertSent(REFUSED)

    def test_oddError(self) -> None:
        """One that says nothing, or what Twisted builds no tree of."""
        self.arrive(NEXT)
        for content in ("", "<error/>", "<x xmlns='a b'/>", "<error><text xmlns='urn:x'/></error>"):
            self.server.send(ASKED)
            identifier = self.handed(NEXT)
            self.server.send(f"<iq from='{NEXT}' to='{COMPONENT}' id='{identifier}' type='error'>{content}</iq>")
            self.assertSent(REFUSED)
        self.assertQuiet()

    def test_bad(self) -> None:
        """ "If the forwarded result from managing entity is bad": the requester is told, and the log."""
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

    def test_stranger(self) -> None:
        """What somebody else answers to it, or it answers to nothing, is no answer to anything."""
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
        """One that never answers: the requester is told before any server would."""
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
        """A stop ends what is still open."""
        self.arrive(NEXT)
        self.server.send(ASKED)
        self.handed(NEXT)
        self.server.link.stopService()
        self.server.clock.pump([0.1] * 60)
        self.assertSent(REFUSED)

    def test_ownStanzas(self) -> None:
        """What it asks itself, it is not asked."""
        self.arrive(NEXT)
        self.server.send(wrapper(request(PAYLOAD, requester=f"{NEXT}/x", to=HOST)))
        [(_, attributes, _)] = self.taken()
        self.assertEqual((attributes["to"], attributes["type"]), (HOST, "result"))
        self.assertEqual(self.handler.pending, 0)


class FailOverTests(ForwarderCase):
    """Several for one namespace."""

    def test_notThere(self) -> None:
        """A server says that the first is gone: the next one gets it, a set as well, until the first is back."""
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
        """After its share of the time a get goes to the next one; a set does not, for it may have been seen."""
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
        """Only who is there counts."""
        self.hands(NEXT, LAST)
        self.tell(self.asks(NEXT, LAST), "", LAST)
        self.assertAdvertised(LAST)
        self.server.send(ASKED)
        self.handed(LAST)

    def test_noClient(self) -> None:
        """Presence of a component that manages is not looked at: its answers tell that it is there."""
        self.hands(NEXT)
        self.taken()
        for kind in ("", " type='subscribe'", " type='unavailable'"):
            self.server.send(f"<presence from='{NEXT}' to='{COMPONENT}'{kind}/>")
        self.assertSent()


class ClientTests(ForwarderCase):
    """An ordinary client may manage; its presence says where it is."""

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
        """It is watched, asked where it is, and gets requests there."""
        self.there()
        self.server.send(ASKED)
        identifier = self.handed(f"{NURSE}/chamber")
        self.answers(NURSE, identifier, reply())
        self.assertSent()
        self.answers(f"{NURSE}/chamber", identifier, reply())
        self.assertSent(answer(reply()))

    def test_notAsked(self) -> None:
        """Until it shows itself nobody is asked: an iq to the bare JID is its server's to answer."""
        self.hands(NURSE)
        self.taken()
        self.wait(10)
        self.assertSent()
        self.server.send(ASKED)
        self.assertSent(REFUSED)

    def test_gone(self) -> None:
        """Once it goes, what it had is over; it may come back elsewhere."""
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
        """Other resources of it, that come or go, change nothing."""
        self.there()
        self.come("garden")
        self.come()
        self.go("garden")
        self.assertSent()
        self.server.send(ASKED)
        self.handed(f"{NURSE}/chamber")

    def test_subscription(self) -> None:
        """It may watch the gateway in turn."""
        self.there()
        self.server.send(f"<presence from='{NURSE}' to='{COMPONENT}' type='subscribe'/>")
        self.assertSent(presence("subscribed"))

    def test_reconnection(self) -> None:
        """After a new connection its presence is asked for again."""
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
        """One resource alone may be meant."""
        self.hands(f"{NURSE}/chamber")
        found = self.taken()
        self.assertEqual(found[:2], meaning(presence("probe") + presence("subscribe")))
        self.assertEqual([each[1]["to"] for each in found[2:]], [f"{NURSE}/chamber"] * 2)
        self.come("garden")
        self.assertSent()


class InfoTests(ForwarderCase):
    """Disco of a managing entity is in the gateway's; a server's own query may wait, see L{test_held}."""

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
        """Beside what the handler here has; in either version; nothing twice."""
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
        """A query waits a little while the managing entity is being asked."""
        self.hands(NEXT)
        asked = self.asks(NEXT)
        self.info()
        self.assertSent()
        self.tell(asked, "<feature var='urn:g'/>")
        found = self.taken()
        self.assertEqual(found[1:], meaning(self.told("urn:g")))

    def test_late(self) -> None:
        """But not for long."""
        self.hands(NEXT)
        self.asks(NEXT)
        self.info()
        self.wait(1)
        self.assertSent()
        self.wait(2)
        self.assertSent(self.told(PUBSUB))

    def test_notThere(self) -> None:
        """Where there is no hope it is answered at once."""
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), "service-unavailable")
        self.info()
        self.assertSent(self.told(PUBSUB))

    def test_many(self) -> None:
        """Anybody may want to know, as often as they like, while there is no answer: nobody else is looked at."""
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
    """Two gateways, each on a link of its own, and a router between them that spells everything anew."""

    def carry(self) -> None:
        """Take what either writes to the other, until neither has anything more to say."""
        ends = {COMPONENT: self.near, NEXT: self.far}
        for _ in range(20):
            moved = 0
            for end in ends.values():
                data = end._transport.value().decode()
                end._transport.clear()
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
        The second is a managing entity of the first as the first is of the server: it is found, told, asked, and
        its answer comes back through both. That is a refusal: a gateway answers for the domain alone of who
        forwards to it, and the users are another's.
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
