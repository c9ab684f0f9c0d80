"""Nesting queries of servers wait for the managing entity. Each gets one answer, and nothing else waits."""

from __future__ import annotations

from itertools import pairwise

from gateway import ns
from gateway.delegation.delegations import Delegation
from gateway.delegation.managing import Route
from gateway.delegation.stanzas import answerAddress
from tests.delegation.support import COMPONENT, HOST, PUBSUB, FakeNamespace, meaning
from tests.delegation.test_forwarder import ASKED, LAST, NEXT, NODES, REFUSED, ForwarderCase
from tests.reports import sentences
from tests.stream.memory import Tree

OTHER = "urn:xmpp:test:other"
OLDER = [node.replace(ns.DELEGATION_2, ns.DELEGATION_1) for node in NODES]
ABSENT = "service-unavailable"
FEATURE = "<feature var='urn:g'/>"


class HeldCase(ForwarderCase):
    """A server that asks for features to nest, and a managing entity that is unavailable or comes late."""

    def info(self, node: str = NODES[0], sender: str = HOST, identifier: str = "i") -> None:
        """Send a query for features to nest."""
        self.server.send(
            f"<iq from='{sender}' to='{COMPONENT}' id='{identifier}' type='get'>"
            f"<query xmlns='{ns.DISCO_INFO}' node='{node}'/></iq>"
        )

    def told(self, *features: str, node: str = NODES[0], to: str = "", identifier: str = "i") -> str:
        """Return the answer to it."""
        version = ns.DELEGATION_1 if node in OLDER else ns.DELEGATION_2
        content = "".join(f"<feature var='{each}'/>" for each in features)
        return (
            f"<iq from='{COMPONENT}' to='{to or answerAddress(version, HOST)}' id='{identifier}' type='result'>"
            f"<query xmlns='{ns.DISCO_INFO}' node='{node}'>{content}</query></iq>"
        )

    def hold(self, *nodes: str) -> None:
        """Make the managing entity unavailable, and send the server's queries for these nodes."""
        self.hands(NEXT)
        self.tellError(self.asks(NEXT), ABSENT)
        for node in nodes:
            self.info(node, identifier=node)
        self.assertSent()

    def grant(self, namespace: str = PUBSUB, version: str = ns.DELEGATION_2) -> None:
        """Delegate, as the server."""
        delegated = f"<delegation xmlns='{version}'><delegated namespace='{namespace}'/></delegation>"
        self.server.send(f"<message from='{HOST}' to='{COMPONENT}'>{delegated}</message>")

    def passes(self, seconds: int) -> list[tuple[int, Tree]]:
        """
        Let time pass; the managing entity is reported as unavailable whenever it is asked.

        @return: the other stanzas that are sent, each with its second.
        """
        found = []
        for second in range(1, seconds + 1):
            self.wait(1)
            sent = self.taken()
            found += [(second, each) for each in sent if each[1]["to"] != NEXT]
            self.absent([each for each in sent if each[1]["to"] == NEXT])
        return found

    def absent(self, asked: list[Tree]) -> None:
        """Report, as its server, that the managing entity does not exist."""
        for each in asked:
            self.server.send(
                f"<iq from='{NEXT}' to='{COMPONENT}' id='{each[1]['id']}' type='error'>"
                f"<error type='cancel'><{ABSENT} xmlns='{ns.STANZA_ERRORS}'/></error></iq>"
            )

    def comes(self) -> list[Tree]:
        """
        Connect the managing entity and answer its queries; return what is sent then, without its advertisement.
        """
        for _ in range(100):
            self.wait(1)
            if self.server.transport.value():
                break
        self.tell(self.asks(NEXT), FEATURE)
        return [each for each in self.taken() if each[1]["to"] != NEXT]

    def reports(self) -> str:
        """Return the lines of the status page."""
        return "\n".join(sentences(self.handler.report()))

    def assertAnswered(self, found: list[Tree], *expected: str) -> None:
        """Exactly these answers were sent, in any order."""
        wanted = [each for xml in expected for each in meaning(xml)]
        self.assertEqual(sorted(found, key=repr), sorted(wanted, key=repr))


class HoldingTests(HeldCase):
    """Queries that wait for a managing entity, and how the wait ends."""

    def test_comes(self) -> None:
        """
        If a managing entity comes within 25 seconds, its features are in the answer for each node, in either
        version.
        """
        for nodes in (NODES, OLDER):
            self.hold(*nodes)
            self.assertEqual(self.passes(20), [])
            found = self.comes()
            self.assertAnswered(found, *(self.told("urn:g", node=node, identifier=node) for node in nodes))
            self.assertEqual(self.passes(60), [])
            self.assertNotIn("was not connected in time", self.reports())

    def test_sought(self) -> None:
        """While a query waits, the managing entity is asked every two seconds; afterwards less often."""
        self.hold(NODES[0])
        asked = []
        for second in range(1, 61):
            self.wait(1)
            found = [each for each in self.taken() if each[1]["to"] == NEXT]
            asked += [second] * bool(found)
            self.absent(found)
        soon = [each for each in asked if each <= 25]
        self.assertLessEqual(max(later - earlier for earlier, later in pairwise(soon)), 3)
        self.assertLessEqual(len(asked) - len(soon), 3)

    def test_tooLate(self) -> None:
        """After 25 seconds the server gets an answer, and the log has advice for the operator."""
        for node, todo in ((NODES[0], "restart the server: Prosody"), (OLDER[0], "restart the gateway: ejabberd")):
            self.logged.clear()
            self.hold(node)
            self.assertIn(f"{HOST} waits for the disco#info of {NEXT} for {PUBSUB}", self.reports())
            [(second, found)] = self.passes(60)
            self.assertIn(second, (25, 26))
            self.assertAnswered([found], self.told(PUBSUB, node=node, identifier=node))
            [line] = [each for each in self.logged if "was not connected in time" in each]
            self.assertIn(f"{COMPONENT}: {HOST} does not show {PUBSUB} in its disco#info, because {NEXT}", line)
            self.assertIn(todo, line)
            self.assertIn(todo, self.reports())
            self.assertNotIn("is told what", self.reports())
            # The report stays until the server asks again.
            self.assertEqual(self.comes(), [])
            self.assertIn(todo, self.reports())
            self.info(node)
            self.assertSent(self.told("urn:g", node=node))
            self.assertNotIn(todo, self.reports())

    def test_delegates(self) -> None:
        """If a server delegates while its query waits, as Prosody does, it gets the answer even an hour later."""
        self.hold(*NODES)
        self.grant()
        self.assertEqual(self.passes(3500), [])
        self.assertAnswered(self.comes(), *(self.told("urn:g", node=node, identifier=node) for node in NODES))

    def test_delegatesLong(self) -> None:
        """There is a maximum for that wait."""
        self.hold(NODES[0])
        self.grant()
        [(second, found)] = self.passes(4000)
        self.assertIn(second, (3600, 3601))
        self.assertAnswered([found], self.told(PUBSUB, identifier=NODES[0]))
        self.assertIn("was not connected in time", self.reports())

    def test_delegatesOlder(self) -> None:
        """A query in the older version never waits longer: ejabberd ignores a later answer."""
        self.hold(OLDER[0])
        self.grant(version=ns.DELEGATION_1)
        [(second, _)] = self.passes(60)
        self.assertIn(second, (25, 26))

    def test_spare(self) -> None:
        """One available managing entity of several is enough."""
        self.hands(NEXT, LAST)
        asked = self.asks(NEXT, LAST)
        self.tellError({key: each for key, each in asked.items() if key[0] == NEXT}, ABSENT)
        self.info()
        self.assertSent()
        self.tell(asked, FEATURE, LAST)
        self.assertAnswered([each for each in self.taken() if each[1]["to"] == HOST], self.told("urn:g"))

    def test_slow(self) -> None:
        """If an available one has answered for one node, the query waits for the other."""
        self.hands(NEXT)
        asked = self.asks(NEXT)
        self.tell({key: each for key, each in asked.items() if key[1] == NODES[0]}, FEATURE)
        for node in NODES:
            self.info(node)
        self.wait(10)
        self.assertAnswered([each for each in self.taken() if each[1]["to"] == HOST], self.told("urn:g"))
        self.tell({key: each for key, each in asked.items() if key[1] == NODES[1]}, FEATURE)
        self.assertSent(self.told("urn:g", node=NODES[1]))

    def test_hasNothing(self) -> None:
        """If an available one answers without features, the query does not wait for it."""
        self.hands(NEXT)
        asked = self.asks(NEXT)
        self.info()
        self.assertSent()
        self.tellError(asked, "item-not-found")
        self.assertAnswered([each for each in self.taken() if each[1]["to"] == HOST], self.told(PUBSUB))


class NothingElseTests(HeldCase):
    """Everything else is answered without a wait."""

    def test_others(self) -> None:
        """Only queries of a server wait; those of others are answered at once."""
        self.hold(NODES[0])
        self.info(sender="romeo@montaigu.lit/x")
        self.assertSent(self.told(PUBSUB, to="romeo@montaigu.lit/x"))

    def test_odd(self) -> None:
        """A query without such a node, or an unreadable one, does not wait."""
        self.hold(NODES[0])
        for node in ("", "urn:x", f"{ns.DELEGATION_2}::urn:unknown", ns.DELEGATION_2, f"{ns.DELEGATION_2}::"):
            self.info(node)
            [found] = self.taken()
            self.assertEqual((found[1]["to"], found[1]["id"]), (HOST, "i"), node)
        for payload in ("", "<x xmlns='a b'/>", f"<x xmlns='{ns.DELEGATION_2}'/>"):
            text = f"<y xmlns='{ns.DELEGATION_2}'/>"
            self.server.send(f"<iq from='{HOST}' to='{COMPONENT}' id='i' type='get'>{payload}{text}</iq>")
            [found] = self.taken()
            self.assertEqual((found[1]["to"], found[1]["type"]), (HOST, "error"), payload)
        self.assertQuiet()

    def test_handler(self) -> None:
        """Queries for namespaces with a local handler do not wait, even if a managing entity has them as well."""
        fake = FakeNamespace(lambda request: None, namespaces=frozenset({PUBSUB, OTHER}), features=("urn:own",))
        delegation = Delegation(PUBSUB, (NEXT,), frozenset({"node"}))
        alone = Delegation("urn:alone", (NEXT,))
        routes = {PUBSUB: Route(fake, delegation), OTHER: Route(fake), "urn:alone": Route(None, alone)}
        self.make(routes)
        self.passes(1)
        self.info(f"{ns.DELEGATION_2}::urn:alone")
        self.taken()
        for node in (NODES[0], OLDER[0], f"{ns.DELEGATION_2}::{OTHER}"):
            self.info(node)
            self.assertSent(self.told("urn:own", node=node))

    def test_requests(self) -> None:
        """Requests are answered meanwhile, and a waiting query is not counted as an open request."""
        self.hold(*NODES)
        self.server.send(ASKED)
        self.assertSent(REFUSED)
        self.assertEqual((self.handler.pending, self.server.link.pending), (0, 0))

    def test_again(self) -> None:
        """If a server asks again, each query gets an answer: the first at once, the later one waits."""
        self.hold(NODES[0])
        for number in range(1_000):
            self.info(identifier=f"again{number}")
        before = [each[1]["id"] for each in self.taken()]
        self.assertEqual(before, [NODES[0], *(f"again{number}" for number in range(999))])
        self.assertAnswered(self.comes(), self.told("urn:g", identifier="again999"))

    def test_stop(self) -> None:
        """A stop does not wait: every query is answered at once, and the log explains the effect."""
        self.hold(*NODES)
        self.handler.drain()
        expected = [self.told(PUBSUB, node=node, identifier=node) for node in NODES]
        self.assertAnswered(self.taken(), *expected)
        [line] = [each for each in self.logged if "was not connected in time" in each]
        self.assertIn("restart the server", line)
        self.info()
        self.assertSent(self.told(PUBSUB))

    def test_reconnection(self) -> None:
        """A query stays open over a reconnection, as in Prosody; time while the link is down is not counted."""
        self.hold(NODES[0])
        self.assertEqual(self.passes(20), [])
        self.server.lose()
        self.server.clock.advance(30.0)
        self.assertEqual(len(self.handler._held._held), 1)
        self.server.accept()
        self.assertEqual(self.passes(20), [])
        self.assertAnswered(self.comes(), self.told("urn:g", identifier=NODES[0]))

    def test_servers(self) -> None:
        """Each server's queries are separate."""
        hosts = (HOST, "montaigu.lit")
        self.make({PUBSUB: Route(None, Delegation(PUBSUB, (NEXT,)))}, servers=hosts)
        self.tellError(self.asks(NEXT), ABSENT)
        for host in hosts:
            self.info(sender=host)
        self.assertSent()
        self.assertAnswered(self.comes(), *(self.told("urn:g", to=host) for host in hosts))


class CheckTests(HeldCase):
    """For a server that does not ask again, its disco#info tells whether it lists what it should."""

    def begin(self, version: str = ns.DELEGATION_2) -> None:
        """Start a connection in which a managing entity is available, and the server delegates without a query."""
        self.hands(NEXT)
        self.grant(version=version)
        self.tell(self.asks(NEXT), f"<feature var='{ns.DISCO_INFO}'/>{FEATURE}")
        self.assertAdvertised(NEXT)

    def checked(self) -> str:
        """Return the id of the one disco request to the server."""
        [(name, attributes, [query])] = self.taken()
        self.assertEqual((name, attributes["to"], attributes["type"]), ("{jabber:client}iq", HOST, "get"))
        self.assertEqual(query, (f"{{{ns.DISCO_INFO}}}query", {}, []))
        return attributes["id"]

    def show(self, identifier: str, content: str, kind: str = "result") -> None:
        """Answer it, as the server."""
        self.server.send(f"<iq from='{HOST}' to='{COMPONENT}' id='{identifier}' type='{kind}'>{content}</iq>")

    def test_missing(self) -> None:
        """If features are missing, log and status report it, with advice; each connection is checked once."""
        self.begin()
        self.wait(4)
        self.assertSent()
        self.wait(2)
        self.show(self.checked(), f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/></query>")
        [line] = [each for each in self.logged if "was not connected in time" in each]
        self.assertIn(f"{HOST} does not show {PUBSUB}", line)
        self.assertIn("restart the server", self.reports())
        self.wait(100)
        self.assertSent()
        # The server has been restarted, and asks.
        self.info()
        self.assertSent(self.told("urn:g"))
        self.assertNotIn("restart", self.reports())

    def test_shown(self) -> None:
        """If all features are listed, or the answer is unreadable, nothing is reported."""
        shown = f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/>{FEATURE}</query>"
        refused = f"<error type='cancel'><{ABSENT} xmlns='{ns.STANZA_ERRORS}'/></error>"
        for kind, content in (
            ("result", shown),
            ("error", refused),
            ("result", ""),
            ("result", "<x xmlns='a b'/>"),
        ):
            self.begin()
            self.wait(6)
            self.show(self.checked(), content, kind)
            self.assertNotIn("was not connected in time", "".join(self.logged))
            self.assertNotIn("restart", self.reports())
        self.assertQuiet()

    def test_reconnection(self) -> None:
        """A new connection is checked again, once the managing entity has answered."""
        self.begin()
        self.wait(6)
        self.checked()
        self.server.lose()
        self.server.clock.advance(5.0)
        self.server.accept()
        self.grant()
        self.wait(4)
        self.taken()
        self.wait(3)
        self.checked()

    def test_none(self) -> None:
        """
        No disco request is sent to a server that asks in each connection, has not delegated, or has a waiting
        query.
        """
        self.begin(ns.DELEGATION_1)
        self.wait(60)
        self.assertSent()
        self.hands(NEXT)
        self.tell(self.asks(NEXT), FEATURE)
        self.assertAdvertised(NEXT)
        self.wait(60)
        self.assertSent()
        self.hold(*NODES)
        self.grant()
        self.assertEqual(self.passes(60), [])
