"""
The numbered examples of XEP-0355 0.5 for both sides in admin mode, sections 4 and 7, as whole stanzas. Those of
client mode are in C{tests.embedded.test_consent}.

Numbers follow the order in the document. Misprints are corrected: "pubub", and inner iqs without their namespace;
the examples of section 4.3.1 use two names for one component. Where the XEP's answers omit C{from}, the gateway
writes it, because servers require it. Ids that the server generates differ.
"""

from __future__ import annotations

import re
from typing import Any

from gateway import ns
from gateway.delegation.delegations import Delegation
from gateway.errors import Forbidden
from tests.delegation.support import (
    COMPONENT,
    HOST,
    JULIET,
    PUBSUB,
    Case,
    End,
    FakeNamespace,
    Host,
    element,
    errorXml,
    meaning,
)

BARE = "juliet@capulet.lit"
MOOD = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='http://jabber.org/protocol/mood'><item>"
    "<mood xmlns='http://jabber.org/protocol/mood'><annoyed/><text>curse my nurse!</text></mood>"
    "</item></publish></pubsub>"
)
EMPTY = "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>"
ROSTER = "<query xmlns='jabber:iq:roster'><item jid='romeo@montaigu.lit' name='My Romeo'></item></query>"
MICROBLOG_INFO = "<query xmlns='http://jabber.org/protocol/disco#info' node='urn:xmpp:microblog:0'/>"
MICROBLOG_FEATURES = """
<query xmlns="http://jabber.org/protocol/disco#info" node="urn:xmpp:microblog:0">
    <identity type="leaf" category="pubsub"/>
    <x xmlns="jabber:x:data" type="result">
        <field var="FORM_TYPE" type="hidden"><value>http://jabber.org/protocol/pubsub#meta-data</value></field>
        <field var="pubsub#node_type" type="text-single"><value>leaf</value></field>
        <field var="pubsub#persist_items" type="boolean"><value>true</value></field>
        <field var="pubsub#max_items" type="text-single"><value>max</value></field>
        <field var="pubsub#access_model" type="list-single"><value>whitelist</value></field>
    </x>
    <feature var="http://jabber.org/protocol/rsm"/>
    <feature var="http://jabber.org/protocol/pubsub#rsm"/>
    <feature var="urn:xmpp:order-by:1"/>
</query>"""
ITEMS = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
NODES = """
<query xmlns="http://jabber.org/protocol/disco#items">
    <item jid="juliet@capulet.int" node="http://jabber.org/protocol/mood"/>
    <item jid="juliet@capulet.int" node="http://jabber.org/protocol/activity"/>
    <item jid="juliet@capulet.int" node="urn:xmpp:microblog:0"/>
</query>"""
MICROBLOG_ITEMS = "<query xmlns='http://jabber.org/protocol/disco#items' node='urn:xmpp:microblog:0'/>"
BLOG = """
<query xmlns="http://jabber.org/protocol/disco#items" node="urn:xmpp:microblog:0">
    <item name="o-romeo-romeo-wherefore-art-thou-romeo-G1aF" jid="juliet@capulet.lit"/>
    <item name="thou-know-st-the-mask-of-night-is-on-my-face-2avF" jid="juliet@capulet.lit"/>
    <item name="balcony-and-privacy-afFG" jid="juliet@capulet.lit"/>
</query>"""
FEATURES = tuple(PUBSUB + each for each in ("", "#publish", "#subscribe", "#publish-options"))
BARE_FEATURES = tuple(
    f"{PUBSUB}#{each}"
    for each in (
        "access-presence",
        "auto-create",
        "auto-subscribe",
        "config-node",
        "create-and-configure",
        "create-nodes",
        "filtered-notifications",
        "persistent-items",
        "publish",
        "retrieve-items",
        "subscribe",
    )
)
# Disco of the embedded host and of its users: the "..." of the examples.
OWN = (
    "<identity category='server' type='im' name='Embedded host'/>",
    (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.VERSION, ns.COMMANDS, "urn:xmpp:delegation:2"),
)
OWN_BARE = "<identity category='account' type='registered'/>", (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING)
REMAINING_INFO = "urn:xmpp:delegation:2:bare:disco#info:*"
REMAINING_ITEMS = "urn:xmpp:delegation:2:bare:disco#items:*"


def forwarded(identifier: str, inner: str) -> str:
    """Return a request as it is forwarded to the managing entity."""
    return (
        f"<iq from='capulet.lit' to='pubsub.capulet.lit' id='{identifier}' type='set'>"
        "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"{inner}</forwarded></delegation></iq>"
    )


def replied(identifier: str, inner: str) -> str:
    """Return the managing entity's answer to it."""
    return (
        f"<iq from='pubsub.capulet.lit' to='capulet.lit' id='{identifier}' type='result'>"
        "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"{inner}</forwarded></delegation></iq>"
    )


def features(*names: str) -> str:
    """Return features for disco#info."""
    return "".join(f"<feature var='{name}'/>" for name in names)


def shown(identity: str, own: tuple[str, tuple[str, ...]], nested: str) -> str:
    """Return disco#info of the host, with nested features."""
    return f"<query xmlns='{ns.DISCO_INFO}'>{own[0]}{identity}{features(*own[1])}{nested}</query>"


class ManagingTests(Case):
    """The stanzas that the managing entity, pubsub.capulet.lit, reads and writes."""

    def manage(self, namespace: str, answer: Any) -> FakeNamespace:
        return self.serve(lambda request: answer, namespaces=frozenset({namespace}))

    def exchange(self, outer: str, inner: str, answered: str) -> None:
        """Send a request, and compare the answer."""
        self.server.send(forwarded(outer, inner))
        self.assertSent(replied(outer, answered))

    def test_example1(self) -> None:
        """Example 1, "server advertise delegated namespaces": read, with the filter."""
        self.serve(lambda request: None, namespaces=frozenset({PUBSUB, "urn:xmpp:mam:2"}))
        self.server.send("""
            <message from='capulet.lit' to='pubsub.capulet.lit' id='12345'>
                <delegation xmlns='urn:xmpp:delegation:2'>
                    <delegated namespace='urn:xmpp:mam:2'>
                        <attribute name='node' />
                    </delegated>
                    <delegated namespace='http://jabber.org/protocol/pubsub'/>
                </delegation>
            </message>""")
        self.assertSent()
        said = [line for line in self.logged if "delegates" in line]
        self.assertEqual(len(said), 2)
        self.assertIn(
            "capulet.lit delegates urn:xmpp:mam:2, if the payload has node (as urn:xmpp:delegation:2)", said[0]
        )
        self.assertIn("capulet.lit delegates http://jabber.org/protocol/pubsub (as urn:xmpp:delegation:2)", said[1])

    def test_examples3and4(self) -> None:
        """
        Example 3, "Server Delegates The Stanza To pubsub.capulet.lit", and 4, "pubsub.capulet.lit Replies To
        Juliet".
        """
        namespace = self.manage(PUBSUB, element(EMPTY))
        self.exchange(
            "delegate1",
            f"<iq from='{JULIET}' id='pep1' type='set' xmlns='jabber:client'>{MOOD}</iq>",
            f"<iq from='{BARE}' to='{JULIET}' id='pep1' type='result' xmlns='jabber:client'>{EMPTY}</iq>",
        )
        [asked] = namespace.asked
        self.assertEqual((asked.requester, asked.entity, asked.type), (JULIET, BARE, "set"))
        self.assertEqual(meaning(asked.payload.toXml()), meaning(MOOD))

    def test_examples7and8(self) -> None:
        """Example 7, "server forwards stanza to managing entity", and 8, "filtering component accept Romeo"."""
        namespace = self.manage("jabber:iq:roster", None)
        self.exchange(
            "delegate1",
            f"<iq from='{JULIET}' id='roster1' type='set' xmlns='jabber:client'>{ROSTER}</iq>",
            f"<iq from='{BARE}' to='{JULIET}' id='roster1' type='result' xmlns='jabber:client'/>",
        )
        self.assertEqual(meaning(namespace.asked[0].payload.toXml()), meaning(ROSTER))

    def test_examples16and17(self) -> None:
        """
        Examples 16 and 17, "service discovery information request" and "response": an entity "MUST report that fact
        by including a service discovery feature".
        """
        self.manage(PUBSUB, None)
        self.server.send(
            f"<iq from='{HOST}' id='disco1' to='{COMPONENT}' type='get'><query xmlns='{ns.DISCO_INFO}'/></iq>"
        )
        self.assertSent(
            f"<iq from='{COMPONENT}' to='{HOST}' id='disco1' type='result'><query xmlns='{ns.DISCO_INFO}'>"
            "<identity category='component' type='generic' name='Namespace delegation'/>"
            f"{features(ns.DISCO_INFO, 'urn:xmpp:delegation:2', 'urn:xmpp:delegation:1')}</query></iq>"
        )

    def test_examples19and20(self) -> None:
        """
        Example 19, "capulet.lit requests disco infos for pubsub namespace to pubsub.capulet.lit", and 20,
        "pubsub.capulet.lit returns features to nest".
        """
        self.serve(lambda request: None, features=FEATURES)
        node = "urn:xmpp:delegation:2::http://jabber.org/protocol/pubsub"
        self.server.send(
            "<iq from='capulet.lit' id='disco2' to='pubsub.capulet.lit' type='get'>"
            f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>"
        )
        self.assertSent(
            "<iq from='pubsub.capulet.lit' id='disco2' to='capulet.lit' type='result'>"
            f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'>{features(*FEATURES)}</query></iq>"
        )

    def test_examples23and24(self) -> None:
        """Examples 23 and 24, the same for the bare JIDs of users."""
        self.serve(lambda request: None, bareFeatures=BARE_FEATURES, bareIdentities=(("pubsub", "pep", ""),))
        node = "urn:xmpp:delegation:2:bare:http://jabber.org/protocol/pubsub"
        self.server.send(
            "<iq from='capulet.lit' id='disco4' to='pubsub.capulet.lit' type='get'>"
            f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>"
        )
        self.assertSent(
            "<iq from='pubsub.capulet.lit' id='disco4' to='capulet.lit' type='result'>"
            f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'>"
            f"<identity category='pubsub' type='pep'/>{features(*BARE_FEATURES)}</query></iq>"
        )

    def remaining(self, namespace: str, outer: str, identifier: str, query: str, found: str) -> None:
        self.manage(namespace, element(found))
        self.exchange(
            outer,
            f"<iq xmlns='{ns.CLIENT}' from='{JULIET}' id='{identifier}' to='{BARE}' type='get'>{query}</iq>",
            f"<iq xmlns='{ns.CLIENT}' from='{BARE}' to='{JULIET}' id='{identifier}' type='result'>{found}</iq>",
        )

    def test_examples27and28(self) -> None:
        """
        Example 27, "Server Delegates Disco Request to pubsub.capulet.lit", and 28, "pubsub.capulet.lit Replies With
        its Disco Infos for this Node".
        """
        self.remaining(REMAINING_INFO, "delegate_disco_1", "disco1", MICROBLOG_INFO, MICROBLOG_FEATURES)

    def test_examples31and32(self) -> None:
        """
        Example 31, "Server Delegates Disco Items Request to pubsub.capulet.lit", and 32, "pubsub.capulet.lit
        Replies With its Disco Items for this JID".
        """
        self.remaining(REMAINING_ITEMS, "delegate_disco_items_1", "disco_items_1", ITEMS, NODES)

    def test_examples35and36(self) -> None:
        """
        Example 35, "Server Delegates Disco Items Request to pubsub.capulet.lit", and 36, "pubsub.capulet.lit
        Replies With its Disco Items for this Entity and Node".
        """
        self.remaining(REMAINING_ITEMS, "delegate_disco_2", "disco_items_2", MICROBLOG_ITEMS, BLOG)


class DelegatingTests(Case):
    """The stanzas that the delegating server, capulet.lit, reads and writes: the embedded host."""

    def delegate(self, *delegations: Delegation) -> list[Any]:
        """Connect both, and return the first advertisement that the managing entity receives."""
        self.host = Host(delegations)
        self.managing = self.host.component(COMPONENT)
        told = self.managing.taken()
        self.juliet = self.host.client(JULIET)
        return told

    def assertTaken(self, end: End, xml: str) -> None:
        self.assertEqual(end.taken(), meaning(xml))

    def outerId(self, delegate: str) -> str:
        """Compare the stanza that the managing entity receives, except for its id; return the id."""
        [found] = self.managing.taken()
        identifier = found[1]["id"]
        self.assertGreaterEqual(len(identifier), 16)
        self.assertEqual([found], meaning(re.sub(r"id='delegate\w*'", f"id='{identifier}'", delegate)))
        return str(identifier)

    def exchange(self, request: str, inner: str, answered: str, result: str) -> None:
        """
        Send a request as Juliet, check its forward, send the managing entity's answer, and check Juliet's answer.
        """
        self.juliet.say(request)
        identifier = self.outerId(forwarded("delegate1", inner))
        self.managing.say(replied(identifier, answered))
        self.assertTaken(self.juliet, result)
        self.assertEqual(self.managing.taken(), [])

    def test_example1(self) -> None:
        """Example 1, "server advertise delegated namespaces"."""
        told = self.delegate(
            Delegation("urn:xmpp:mam:2", (COMPONENT,), frozenset({"node"})), Delegation(PUBSUB, (COMPONENT,))
        )
        identifier = told[0][1]["id"]
        self.assertEqual(
            told[:1],
            meaning(f"""
                <message from='capulet.lit' to='pubsub.capulet.lit' id='{identifier}'>
                    <delegation xmlns='urn:xmpp:delegation:2'>
                        <delegated namespace='urn:xmpp:mam:2'>
                            <attribute name='node' />
                        </delegated>
                        <delegated namespace='http://jabber.org/protocol/pubsub'/>
                    </delegation>
                </message>"""),
        )

    def test_examples2to5(self) -> None:
        """
        Example 2, "Juliet sends her mood to her server via PEP", 3, "Server Delegates The Stanza To
        pubsub.capulet.lit", 4, "pubsub.capulet.lit Replies To Juliet", and 5, "capulet.lit Replies To Juliet".
        """
        self.delegate(Delegation(PUBSUB, (COMPONENT,)))
        self.exchange(
            f"<iq from='{JULIET}' id='pep1' type='set'>{MOOD}</iq>",
            f"<iq from='{JULIET}' id='pep1' type='set' xmlns='jabber:client'>{MOOD}</iq>",
            f"<iq to='{JULIET}' id='pep1' type='result' xmlns='jabber:client'>{EMPTY}</iq>",
            f"<iq from='{BARE}' to='{JULIET}' id='pep1' type='result'>{EMPTY}</iq>",
        )

    def test_examples6to9(self) -> None:
        """
        Example 6, "Juliet adds Romeo to her roster", 7, "server forwards stanza to managing entity", 8, "filtering
        component accept Romeo", and 9, "server decapsulate and send the result with the initial id". Her roster
        does not change.
        """
        self.delegate(Delegation("jabber:iq:roster", (COMPONENT,)))
        self.exchange(
            f"<iq from='{JULIET}' id='roster1' type='set'>{ROSTER}</iq>",
            f"<iq from='{JULIET}' id='roster1' type='set' xmlns='jabber:client'>{ROSTER}</iq>",
            f"<iq to='{JULIET}' id='roster1' type='result' xmlns='jabber:client' />",
            f"<iq from='{BARE}' to='{JULIET}' id='roster1' type='result' />",
        )
        self.assertEqual(list(self.host.services.router.accounts[BARE].roster.listed()), [])

    def test_examples10and11(self) -> None:
        """
        Example 10, "filter.capulet.lit uses privileged entity to add Romeo", and 11, "server accept new entity in
        roster": "as the stanza is from the managing entity, the server manages it normally". Here the component has
        no privilege, so the server refuses it. The test with the privilege is in C{tests.embedded.test_privileges}.
        """
        self.delegate(Delegation("jabber:iq:roster", (COMPONENT,)))
        self.managing.say(
            f"<iq to='{BARE}' from='{COMPONENT}' id='roster2' type='set'><query xmlns='jabber:iq:roster'>"
            "<item jid='romeo@montaigu.lit' name='My Romeo'><group>Rivals</group></item></query></iq>"
        )
        self.assertTaken(
            self.managing,
            f"<iq to='{COMPONENT}' from='{BARE}' id='roster2' type='error'>{errorXml(Forbidden)}</iq>",
        )

    def test_examples16and17(self) -> None:
        """Examples 16 and 17, "service discovery information request" and "response"."""
        self.delegate(Delegation(PUBSUB, (COMPONENT,)))
        self.managing.say(
            "<iq from='pubsub.capulet.lit' id='disco1' to='capulet.lit' type='get'>"
            "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        self.assertTaken(
            self.managing,
            f"<iq from='capulet.lit' id='disco1' to='pubsub.capulet.lit' type='result'>{shown('', OWN, '')}</iq>",
        )

    def nested(self, bare: bool, answered: str, result: str) -> None:
        """Answer the server's request for features to nest; return the disco#info that Juliet gets after it."""
        told = self.delegate(Delegation(PUBSUB, (COMPONENT,)))
        separator = ":bare:" if bare else "::"
        node = f"urn:xmpp:delegation:2{separator}{PUBSUB}"
        [query] = [each for each in told if each[0].endswith("}iq") and each[2][0][1]["node"] == node]
        identifier = query[1]["id"]
        content = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'"
        asked = f"<iq from='capulet.lit' id='{identifier}' to='pubsub.capulet.lit' type='get'>{content}/></iq>"
        self.assertEqual([query], meaning(asked))
        self.managing.say(
            f"<iq from='pubsub.capulet.lit' id='{identifier}' to='capulet.lit' type='result'>"
            f"{content}>{answered}</query></iq>"
        )
        whom = BARE if bare else HOST
        self.juliet.say(
            f"<iq from='{JULIET}' id='disco1' to='{whom}' type='get'>"
            "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        self.assertTaken(self.juliet, f"<iq from='{whom}' id='disco1' to='{JULIET}' type='result'>{result}</iq>")

    def test_examples18to21(self) -> None:
        """
        Example 18, "Juliet asks her server its available features", 19, "capulet.lit requests disco infos for
        pubsub namespace to pubsub.capulet.lit", 20, "pubsub.capulet.lit returns features to nest", and 21,
        "capulet.lit return disco info including features from pubsub.capulet.lit".
        """
        self.nested(False, features(*FEATURES), shown("", OWN, features(*FEATURES)))

    def test_examples22to25(self) -> None:
        """
        Example 22, "Juliet Asks Features for Her Own Bare JID", 23, 24 and 25, "capulet.lit returns disco info to
        Juliet".
        """
        identity, nested = "<identity category='pubsub' type='pep'/>", features(*BARE_FEATURES)
        self.nested(True, identity + nested, shown(identity, OWN_BARE, nested))

    def remaining(self, namespace: str, identifier: str, query: str, found: str) -> None:
        self.delegate(Delegation(namespace, (COMPONENT,)))
        asked = f"from='{JULIET}' id='{identifier}' to='{BARE}' type='get'>{query}</iq>"
        self.exchange(
            f"<iq {asked}",
            f"<iq xmlns='{ns.CLIENT}' {asked}",
            f"<iq to='{JULIET}' id='{identifier}' type='result' xmlns='jabber:client'>{found}</iq>",
            f"<iq from='{BARE}' to='{JULIET}' id='{identifier}' type='result'>{found}</iq>",
        )

    def test_examples26to29(self) -> None:
        """
        Example 26, "Juliet Asks Features for the Microblog Node 'urn:xmpp:microblog:0' for her Own Bare JID", 27,
        28 and 29, "capulet.lit Sends the Disco Infos to Juliet".
        """
        self.remaining(REMAINING_INFO, "disco1", MICROBLOG_INFO, MICROBLOG_FEATURES)

    def test_examples30to33(self) -> None:
        """
        Example 30, "Juliet Discover Items from her Own Bare JID", 31, 32 and 33, "capulet.lit Sends the Disco Items
        to Juliet".
        """
        self.remaining(REMAINING_ITEMS, "disco_items_1", ITEMS, NODES)

    def test_examples34to37(self) -> None:
        """
        Example 34, "Juliet Discovers Items for the Microblog Node 'urn:xmpp:microblog:0' on her Own Bare JID", 35,
        36 and 37, "capulet.lit Sends the Disco Items to Juliet".
        """
        self.remaining(REMAINING_ITEMS, "disco_items_2", MICROBLOG_ITEMS, BLOG)
