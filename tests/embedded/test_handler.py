"""The requests that the host itself answers: disco, ping, version, rosters."""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__, ns
from tests.embedded.support import COMPONENT, DOMAIN, Client, Host, local

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
INFO = f"<query xmlns='{ns.DISCO_INFO}'/>"
ITEMS = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
PING = f"<ping xmlns='{ns.PING}'/>"
VERSION = f"<query xmlns='{ns.VERSION}'/>"
ROSTER = f"<query xmlns='{ns.ROSTER}'/>"


def item(attributes: str, content: str = "") -> str:
    """Return the payload of a roster set."""
    return f"<query xmlns='{ns.ROSTER}'><item {attributes}>{content}</item></query>"


def change(attributes: str, content: str = "") -> str:
    """Return a roster set."""
    return f"<iq type='set' id='s'>{item(attributes, content)}</iq>"


class HandlerCase(SynchronousTestCase):
    """A host, and alice as the requester."""

    def setUp(self) -> None:
        self.host = Host()
        self.alice = self.host.online("alice/r")

    def ask(self, payload: str, to: str = "", kind: str = "get", who: Client | None = None) -> ElementTree.Element:
        """Send a request; return its answer, which must come first."""
        client = who or self.alice
        client.taken()
        addressed = f" to='{to}'" if to else ""
        client.protocol.dataReceived(f"<iq type='{kind}' id='q'{addressed}>{payload}</iq>".encode())
        answer, *_ = [each for each in client.heard() if each.get("id") == "q"]
        return answer

    def refusal(self, payload: str, to: str = "", kind: str = "get", who: Client | None = None) -> str:
        """Send a request; return the condition of its error."""
        answer = self.ask(payload, to, kind, who)
        self.assertEqual(answer.get("type"), "error")
        return local(answer[0][0])


class HostTests(HandlerCase):
    """Requests to the host."""

    def test_discoInfo(self) -> None:
        """The host is a server, and lists its features."""
        answer = self.ask(INFO, DOMAIN)
        self.assertEqual(
            (answer.get("type"), answer.get("from"), answer.get("to")), ("result", DOMAIN, f"{ALICE}/r")
        )
        identity, *features = answer[0]
        self.assertEqual((identity.get("category"), identity.get("type")), ("server", "im"))
        self.assertEqual(
            {each.get("var") for each in features},
            {ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.VERSION, ns.COMMANDS, ns.DELEGATION_2},
        )

    def test_discoItems(self) -> None:
        """Its items are the connected components."""
        self.assertEqual(len(self.ask(ITEMS, DOMAIN)[0]), 0)
        component = self.host.component()
        self.assertEqual([each.get("jid") for each in self.ask(ITEMS, DOMAIN)[0]], [COMPONENT])
        component.loseConnection()
        self.host.clock.advance(0)
        self.assertEqual(len(self.ask(ITEMS, DOMAIN)[0]), 0)

    def test_features(self) -> None:
        """It supports the features that it lists."""
        self.assertEqual(self.ask(PING, DOMAIN).get("type"), "result")
        self.assertEqual([each.text for each in self.ask(VERSION, DOMAIN)[0]][1], __version__)

    def test_component(self) -> None:
        """A component is answered like a client; as a third party it does not learn about accounts."""
        component = self.host.component()
        anItem = item("jid='a@b'")
        self.assertEqual(
            component.send(f"<iq from='n@{COMPONENT}/r' to='{DOMAIN}' id='1' type='get'>{PING}</iq>"),
            [f"iq result 1 {DOMAIN} > n@{COMPONENT}/r"],
        )
        self.assertEqual(
            component.send(f"<iq from='{COMPONENT}' to='{ALICE}' id='2' type='set'>{anItem}</iq>"),
            [f"iq error 2 {ALICE} > {COMPONENT} forbidden"],
        )

    def test_refused(self) -> None:
        """Unknown, missing or several payloads, and a node: "item-not-found" (XEP-0030 section 7)."""
        self.assertEqual(self.refusal("<x xmlns='urn:x'/>", DOMAIN), "service-unavailable")
        self.assertEqual(self.refusal(PING, DOMAIN, "set"), "service-unavailable")
        self.assertEqual(self.refusal("", DOMAIN), "bad-request")
        self.assertEqual(self.refusal(PING + PING, DOMAIN), "bad-request")
        self.assertEqual(self.refusal("<x xmlns='a b'/>", DOMAIN), "service-unavailable")
        for namespace in (ns.DISCO_INFO, ns.DISCO_ITEMS):
            self.assertEqual(self.refusal(f"<query xmlns='{namespace}' node='n'/>", DOMAIN), "item-not-found")
        self.assertEqual(self.refusal(ROSTER, DOMAIN), "forbidden")

    def test_session(self) -> None:
        """The session request of older clients after binding."""
        self.assertEqual(self.ask(f"<session xmlns='{ns.SESSION}'/>", kind="set").get("type"), "result")


class AccountTests(HandlerCase):
    """Requests to accounts."""

    def test_own(self) -> None:
        """The own account, with and without its address."""
        for to in ("", ALICE):
            answer = self.ask(INFO, to)
            identity, *features = answer[0]
            self.assertEqual((identity.get("category"), identity.get("type")), ("account", "registered"))
            self.assertEqual({each.get("var") for each in features}, {ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING})
            self.assertEqual(answer.get("from"), ALICE)
            self.assertEqual(self.ask(PING, to).get("type"), "result")
            self.assertEqual(len(self.ask(ITEMS, to)[0]), 0)

    def test_thirdParties(self) -> None:
        """Only subscribers of an account learn that it exists."""
        unavailable = "<service-unavailable"
        node = "node='n&amp;&gt;'"
        asked = (INFO, PING, VERSION, ROSTER, "<x xmlns='urn:x'/>")
        expected = [("get", payload, unavailable) for payload in asked]
        expected += [("set", payload, unavailable) for payload in (ITEMS, VERSION)]
        # XEP-0030 section 8.
        empty = f"<query xmlns='{ns.DISCO_ITEMS}'"
        expected += [("get", ITEMS, f"{empty}></query>"), ("get", f"{empty} {node}/>", f"{empty} {node}></query>")]
        expected += [("get", INFO.replace("/>", f" {node}/>"), unavailable)]
        # RFC 6121 section 2.1.5.
        expected += [("set", item(f"jid='{contact}'"), "<forbidden") for contact in ("x@y", ALICE, BOB)]
        expected += [("set", ROSTER, "<forbidden")]
        for kind, payload, answer in expected:
            answers = []
            for name in ("bob", "nobody"):
                self.alice.taken()
                self.alice.protocol.dataReceived(
                    f"<iq type='{kind}' id='q' to='{name}@{DOMAIN}'>{payload}</iq>".encode()
                )
                answers.append(self.alice.raw().decode().replace(name, "who"))
            self.assertIn(answer.replace("'", '"'), answers[0].replace("'", '"'))
            self.assertEqual(answers[0], answers[1], payload)
        self.host.router.accounts[BOB].roster.set(ALICE, "", ()).from_ = True
        for payload in (INFO, ITEMS, PING):
            self.assertEqual(self.ask(payload, BOB).get("type"), "result")

    def test_version(self) -> None:
        """An account has no software version."""
        self.assertEqual(self.refusal(VERSION, ALICE), "service-unavailable")


class RosterTests(HandlerCase):
    """RFC 6121 section 2."""

    def test_set(self) -> None:
        """A contact is added, changed and removed; the roster shows it, and each change is pushed."""
        self.assertEqual(len(self.ask(ROSTER)[0]), 0)
        second = self.host.online("alice/second")
        self.ask(ROSTER, who=second)
        self.alice.taken()
        answer = self.alice.send(change(f"jid='{BOB}' name='Bob'", "<group>g</group>"))
        self.assertEqual(answer, ["iq set push1", f"iq result s {ALICE} > {ALICE}/r"])
        [push] = second.heard()
        [pushed] = push[0]
        self.assertEqual(pushed.attrib, {"jid": BOB, "name": "Bob", "subscription": "none"})
        [known] = self.ask(ROSTER)[0]
        self.assertEqual((known.attrib, known[0].text), (pushed.attrib, "g"))
        self.ask(item(f"jid='{BOB}'"), kind="set")
        self.assertEqual(self.ask(ROSTER)[0][0].attrib, {"jid": BOB, "subscription": "none"})
        second.taken()
        self.ask(item(f"jid='{BOB}' subscription='remove'"), kind="set")
        [push] = second.heard()
        self.assertEqual(push[0][0].attrib, {"jid": BOB, "subscription": "remove"})
        self.assertEqual(len(self.ask(ROSTER)[0]), 0)

    def test_pushes(self) -> None:
        """Pushes have unique ids, and their answers are ignored."""
        self.ask(ROSTER)
        ids = []
        for name in "abc":
            self.alice.taken()
            self.alice.protocol.dataReceived(change(f"jid='{name}@x'").encode())
            ids += [each.get("id", "") for each in self.alice.heard() if each.get("type") == "set"]
        self.assertEqual(len(set(ids)), 3)
        self.assertEqual(self.alice.send(f"<iq type='result' id='{ids[0]}'/>"), [])

    def test_notInterested(self) -> None:
        """A resource that has not requested the roster gets no pushes."""
        self.host.online("alice/second").send(change("jid='a@x'"))
        self.assertEqual(self.alice.taken(), [])

    def test_refused(self) -> None:
        """Refused: the own account, no JID, an unknown contact, another user's roster."""
        self.assertEqual(self.refusal(item(f"jid='{ALICE}'"), kind="set"), "not-allowed")
        self.assertEqual(self.refusal(item(""), kind="set"), "bad-request")
        self.assertEqual(self.refusal(item("jid='x@y' subscription='remove'"), kind="set"), "item-not-found")
        self.assertEqual(self.refusal(item("jid='x@y'", "<group/>"), kind="set"), "not-acceptable")
        for kind in ("get", "set"):
            self.assertIn(self.refusal(item("jid='x@y'"), BOB, kind), ("forbidden", "service-unavailable"))
        self.assertEqual(len(self.host.router.accounts[BOB].roster), 0)

    def test_full(self) -> None:
        """A full roster refuses further contacts."""
        roster = self.host.router.accounts[ALICE].roster
        for number in range(1_000):
            roster.set(f"n{number}@x", "", ())
        self.assertEqual(self.refusal(item("jid='more@x'"), kind="set"), "resource-constraint")
