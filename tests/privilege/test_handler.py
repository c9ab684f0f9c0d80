"""The privileged entity on a link, on a connection in memory; stanzas are compared as they are sent."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway.errors import BadRequest, Malformed, NotGranted
from gateway.interfaces import IPrivileges, IRawHandler, IStatusProvider, RosterItem
from gateway.privilege import handler
from gateway.privilege.core import Permissions
from gateway.privilege.handler import PrivilegeHandler
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryServer, canonical
from tests.privilege import support as xep
from tests.privilege.support import ENTITY, JULIET, PRIVILEGE, SERVER, privilege
from tests.profiles import steady
from tests.proxy.support import stanza
from tests.reports import sentences

ROMEO = "romeo@montaigu.lit"


class HandlerCase(TestCase):
    """A privileged entity with a connected link; its server has advertised nothing."""

    def setUp(self) -> None:
        self.server = MemoryServer(ENTITY)
        self.handler = PrivilegeHandler([SERVER, "second.lit"])
        self.handler.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.server.start()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith("gateway.privilege"):
            self.logged.append(event["log_format"].format(**event))

    def sent(self) -> str:
        """Return the one stanza that was sent since the last call."""
        [found] = self.server.taken()
        return found

    def assertSent(self, *expected: str) -> None:
        self.assertEqual(self.server.taken(), canonical("".join(expected)))

    def assertSentAs(self, expected: str, given: str) -> str:
        """
        Exactly this stanza was sent, except for its id.

        @param given: the id in C{expected}.
        @return: its id.
        """
        found = self.sent()
        identifier = re.search(r'<\S+ [^>]*\bid="([^"]+)"', found)
        assert identifier is not None
        self.assertEqual([found], canonical(expected.replace(f"'{given}'", f"'{identifier.group(1)}'")))
        return identifier.group(1)

    def assertNotGranted(self, words: str, outcome: Deferred[Any]) -> None:
        """The request was refused at once, and nothing was sent."""
        self.assertIn(words, self.failureResultOf(outcome, NotGranted).getErrorMessage())
        self.assertSent()

    def assertFailed(self, condition: str, outcome: Deferred[Any]) -> None:
        self.assertEqual(self.failureResultOf(outcome, StanzaError).value.condition, condition)


class ExampleTests(HandlerCase):
    """The entity's side of each numbered example of XEP-0356."""

    def test_example1(self) -> None:
        """Section 4.2: the roster permission."""
        self.server.send(xep.EXAMPLE_1)
        self.assertEqual(self.handler.permissions(SERVER), Permissions(SERVER, PRIVILEGE, roster="both", push=True))
        self.assertSent()

    def test_examples2and3(self) -> None:
        """Section 4.3: the roster is requested and received."""
        self.server.send(xep.EXAMPLE_1)
        roster = self.handler.getRoster(JULIET)
        identifier = self.assertSentAs(xep.EXAMPLE_2, "roster1")
        self.server.send(xep.EXAMPLE_3.replace("roster1", identifier))
        self.assertEqual(
            self.successResultOf(roster), [RosterItem(jid="nurse@example.com"), RosterItem(jid="romeo@example.net")]
        )

    def test_example4(self) -> None:
        """Section 4.4: a push is reported to observers and acknowledged."""
        heard: list[object] = []
        self.handler.watchRosters(lambda user, items: heard.append((user, items)))
        self.server.send(xep.EXAMPLE_1 + xep.EXAMPLE_4)
        self.assertEqual(heard, [(JULIET, [RosterItem(jid="nurse@example.com")])])
        self.assertSent(f"<iq id='roster_push_1' from='{ENTITY}' to='{JULIET}' type='result'/>")

    def test_example5(self) -> None:
        """Section 5.2: roster and message."""
        self.server.send(xep.EXAMPLE_5)
        expected = Permissions(SERVER, PRIVILEGE, roster="both", push=True, message="outgoing")
        self.assertEqual(self.handler.permissions(SERVER), expected)

    def test_example6(self) -> None:
        """Section 5.3: a message on behalf of a user."""
        self.server.send(xep.EXAMPLE_5)
        message = stanza(xep.EXAMPLE_7).element
        before = message.toXml()
        self.handler.sendAs(message)
        self.assertSentAs(xep.EXAMPLE_6, "notif1")
        self.assertEqual(message.toXml(), before)

    def test_example8(self) -> None:
        """Section 6.2: the iq permission."""
        self.server.send(xep.EXAMPLE_8)
        expected = Permissions(SERVER, PRIVILEGE, iq={"http://jabber.org/protocol/pubsub": "set"})
        self.assertEqual(self.handler.permissions(SERVER), expected)

    def test_examples9and11(self) -> None:
        """Section 6.3: a request on behalf of a user, and its answer."""
        self.server.send(xep.EXAMPLE_8)
        request = stanza(xep.EXAMPLE_10).element
        del request["from"]
        before = request.toXml()
        answer = self.handler.requestAs(JULIET, request)
        identifier = self.assertSentAs(xep.EXAMPLE_9, "priv_iq_1")
        self.assertEqual(request.toXml(), before)
        self.server.send(xep.EXAMPLE_11.replace("priv_iq_1", identifier))
        expected = (
            f"<iq xmlns='jabber:client' type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'>{xep.SUBSCRIBED}</iq>"
        )
        self.assertEqual(canonical(self.successResultOf(answer).toXml()), canonical(expected))

    def test_example13(self) -> None:
        """Section 7.3: a managed entity's presence."""
        heard: list[Stanza] = []
        self.handler.watchPresence(heard.append)
        self.server.send(privilege("<perm access='presence' type='managed_entity'/>") + xep.EXAMPLE_13)
        self.assertEqual([(each.sender, each.type) for each in heard], [(f"{JULIET}/balcony", None)])
        self.assertEqual(canonical(heard[0].element.toXml()), canonical(xep.EXAMPLE_13))

    def test_example14(self) -> None:
        """Section 7.5: all the permissions at once."""
        self.server.send(xep.EXAMPLE_14)
        permissions = self.handler.permissions(SERVER)
        expected = Permissions(
            SERVER, PRIVILEGE, "both", True, "none", "roster", {"http://jabber.org/protocol/pubsub": "set"}
        )
        self.assertEqual(permissions, expected)
        self.assertEqual(permissions.feed, "roster")

    def test_example16(self) -> None:
        """Section 7.6: presence of a contact on another server."""
        heard: list[str | None] = []
        self.handler.watchPresence(lambda presence: heard.append(presence.sender))
        self.server.send(xep.EXAMPLE_14 + xep.EXAMPLE_16)
        self.assertEqual(heard, [f"{ROMEO}/orchard"])


class AdvertisementTests(HandlerCase):
    """Grants: what, by which server, and for how long."""

    def test_interfaces(self) -> None:
        """It provides the interfaces of the link and the features."""
        self.assertTrue(verifyObject(IPrivileges, self.handler))
        self.assertTrue(verifyObject(IRawHandler, self.handler))
        self.assertTrue(verifyObject(IStatusProvider, self.handler))

    def test_missed(self) -> None:
        """If an observer needs grants that the server does not give, the log and C{/status} say so."""
        self.handler.watchPresence(lambda presence: None)
        self.server.send(privilege(xep.ROSTER))
        self.assertEqual(len(sentences(self.handler.report())), 1)
        self.server.clock.pump([1.0] * 10)
        [said] = [line for line in self.logged if "privileges" in line]
        self.assertIn("second.lit grants no privileges", said)
        granted, missed = sentences(self.handler.report())
        self.assertIn(f"{SERVER} grants roster both", granted)
        self.assertIn(missed, said)
        self.assertIn("see docs/privilege.md", missed)
        for software, remedy in (("Openfire 5", "needs Prosody"), ("xmpp-gateway embedded host", "[embedded.")):
            self.handler.parent.software = software
            self.assertIn(remedy, sentences(self.handler.report())[1])
        self.server.lose()
        self.assertEqual(sentences(self.handler.report()), [])

    def test_notMissed(self) -> None:
        """Without observers nothing is reported as missing."""
        self.server.clock.pump([1.0] * 10)
        self.assertEqual((self.logged, sentences(self.handler.report())), ([], []))

    def test_thirdParties(self) -> None:
        """Only configured servers can grant anything; their users cannot."""
        for other in ("montague.lit", JULIET, f"{SERVER}/x", "x.capulet.lit", ""):
            self.server.send(privilege(xep.ROSTER, server=other))
        self.assertEqual(self.handler.permissions(SERVER), Permissions(SERVER))
        self.assertNotGranted("not one of the configured servers", self.handler.getRoster("juliet@montague.lit"))
        heard: list[object] = []
        self.handler.watchRosters(lambda user, items: heard.append(user))
        self.handler.watchPresence(heard.append)
        self.server.send(privilege(xep.ROSTER + xep.PRESENCE, server="montague.lit"))
        for xml in (xep.EXAMPLE_4, xep.EXAMPLE_13):
            self.assertFalse(self.handler.stanzaReceived(stanza(xml.replace(JULIET, "juliet@montague.lit"))), xml)
        self.assertEqual(heard, [])

    def test_replaced(self) -> None:
        """A server's last advertisement counts; those of other servers are separate."""
        self.server.send(xep.EXAMPLE_5 + privilege(xep.IQ, server="second.lit"))
        self.server.send(privilege("<perm access='roster' type='get'/>"))
        self.assertEqual(self.handler.permissions(SERVER), Permissions(SERVER, PRIVILEGE, roster="get"))
        self.assertEqual(len(self.handler.permissions("second.lit").iq), 1)
        self.server.send(privilege(""))
        self.assertEqual(self.handler.permissions(SERVER), Permissions(SERVER, PRIVILEGE))

    def test_forgotten(self) -> None:
        """Grants end with the connection; nothing is sent before they are granted again."""
        self.server.send(xep.EVERYTHING)
        self.server.lose()
        words = "capulet.lit has advertised no privileges"
        self.assertNotGranted(words, self.handler.getRoster(JULIET))
        self.server.clock.advance(1)
        self.server.accept()
        self.assertNotGranted(words, self.handler.getRoster(JULIET))
        self.server.send(xep.EVERYTHING)
        self.assertNoResult(self.handler.getRoster(JULIET).addErrback(lambda _: None))

    def test_prosodyNesting(self) -> None:
        """Prosody 0.12 nests the second namespace in the first."""
        self.server.send(
            privilege(
                "<perm access='iq'><namespace ns='urn:1' type='both'><namespace ns='urn:2' type='get'>"
                "<namespace ns='urn:3' type='none'/></namespace></namespace></perm>"
            )
        )
        expected = {"urn:1": "both", "urn:2": "get", "urn:3": "none"}
        self.assertEqual(self.handler.permissions(SERVER).iq, expected)

    def test_older(self) -> None:
        """ejabberd grants in the older version, and is sent requests in it."""
        self.server.send(privilege(xep.ROSTER + xep.MESSAGE, "urn:xmpp:privilege:1"))
        self.assertEqual(self.handler.permissions(SERVER).version, "urn:xmpp:privilege:1")
        self.handler.sendAs(stanza(xep.EXAMPLE_7).element)
        self.assertSentAs(xep.EXAMPLE_6.replace("privilege:2", "privilege:1"), "notif1")

    def test_bothVersions(self) -> None:
        """If a server grants in both versions, the newer one is used."""
        older = f"<privilege xmlns='urn:xmpp:privilege:1'>{xep.MESSAGE}</privilege>"
        self.server.send(privilege(xep.ROSTER).replace("<privilege", older + "<privilege"))
        expected = Permissions(SERVER, PRIVILEGE, roster="both", push=True)
        self.assertEqual(self.handler.permissions(SERVER), expected)

    def test_unknown(self) -> None:
        """An unknown access, type or attribute is ignored; the others count."""
        self.server.send(
            privilege(
                "<perm/><perm access='roster'/><perm access='vcard' type='both'/>"
                "<perm access='message' type='all'/>"
                "<perm access='iq' type='both'><namespace ns='urn:1'/><namespace type='get'/>"
                "<namespace ns='urn:2' type='all'/><x/></perm><other/>text"
                "<perm access='roster' type='get' push='perhaps'/>"
                "<perm xmlns='urn:x' access='message' type='outgoing'/>"
            )
        )
        self.assertEqual(self.handler.permissions(SERVER), Permissions(SERVER, PRIVILEGE, roster="get"))

    def test_otherMessages(self) -> None:
        """Other messages are left to the other handlers, and so are those for another address."""
        wrapped = xep.EXAMPLE_6.replace(f"'{ENTITY}'", f"'{SERVER}'", 1).replace(
            f"to='{SERVER}'", f"to='{ENTITY}'", 1
        )
        for xml in (
            f"<message from='{SERVER}' to='{ENTITY}'><body>privilege</body></message>",
            f"<message from='{SERVER}' to='{ENTITY}' type='error'><body>privilege</body></message>",
            f"<message from='{SERVER}' to='{ENTITY}'><privilege xmlns='urn:xmpp:privilege:9'/></message>",
            privilege(xep.ROSTER).replace(f"to='{ENTITY}'", f"to='x@{ENTITY}'"),
            wrapped,
        ):
            self.assertFalse(self.handler.stanzaReceived(stanza(xml)), xml)
        self.assertEqual(self.handler.permissions(SERVER), Permissions(SERVER))

    def test_said(self) -> None:
        """Grants are logged when they change."""
        self.server.send(xep.EVERYTHING + xep.EVERYTHING)
        [line] = self.logged
        self.assertEqual(
            line,
            "pubsub.capulet.lit: capulet.lit grants roster both with pushes, message outgoing, "
            "presence roster, set for http://jabber.org/protocol/pubsub.",
        )


class RosterTests(HandlerCase):
    """Rosters, in addition to the examples."""

    def setUp(self) -> None:
        super().setUp()
        self.server.send(xep.EXAMPLE_1)

    def answer(self, identifier: str, content: str = "", kind: str = "result") -> None:
        self.server.send(f"<iq type='{kind}' from='{JULIET}' to='{ENTITY}' id='{identifier}'>{content}</iq>")

    def ask(self) -> tuple[Deferred[list[RosterItem]], str]:
        roster = self.handler.getRoster(JULIET)
        return roster, self.assertSentAs(xep.EXAMPLE_2, "roster1")

    def test_items(self) -> None:
        """All attributes of an item; an item without a JID is ignored, and so are invalid values."""
        roster, identifier = self.ask()
        self.answer(
            identifier,
            "<query xmlns='jabber:iq:roster'>"
            "<item jid='Romeo@montague.lit' name='R &amp; J' subscription='both'><group>a</group><group>b</group>"
            "<group/></item><item jid='x@y' subscription='often' ask='subscribe'/><item/><item jid='@'/><other/>"
            "</query>",
        )
        self.assertEqual(
            self.successResultOf(roster),
            [
                RosterItem(
                    jid="romeo@montague.lit", name="R & J", groups=frozenset("ab"), subscription="both", ask=False
                ),
                RosterItem(jid="x@y", ask=True),
            ],
        )

    def test_foreign(self) -> None:
        """Foreign elements in a roster are ignored, in any spelling of the roster; a long name is not cut."""
        roster, identifier = self.ask()
        self.server.send(
            f"<iq type='result' from='{JULIET}' to='{ENTITY}' id='{identifier}' xmlns:r='jabber:iq:roster'>text"
            "<x xmlns='urn:x'><query xmlns='jabber:iq:roster'><item jid='a@no'/></query><item jid='b@no'/></x>"
            "<item xmlns='jabber:iq:roster' jid='c@no'/>"
            "<r:query>text<r:item x='y' r:jid='d@no' jid='a@b'>text<r:group>&lt;a&gt;<![CDATA[&b]]></r:group>"
            "<r:note><r:group>no</r:group></r:note><group>no</group>"
            f"<r:group>{'long ' * 4_000}</r:group>text</r:item>"
            "<x xmlns='urn:x'><r:item jid='e@no'/><r:group>no</r:group></x><item jid='f@no'/></r:query>"
            "<query xmlns='jabber:iq:roster'><item jid='g@no'/></query></iq>"
        )
        [item] = self.successResultOf(roster)
        self.assertEqual(item, RosterItem(jid="a@b", groups=frozenset(["<a>&b", "long " * 4_000])))

    def test_noRoster(self) -> None:
        """An answer without a roster is an error, not an empty roster."""
        for content in ("", "<query xmlns='urn:x'/>"):
            roster, identifier = self.ask()
            self.answer(identifier, content)
            self.assertFailed("undefined-condition", roster)
        roster, identifier = self.ask()
        self.answer(identifier, "<query xmlns='jabber:iq:roster'/>")
        self.assertEqual(self.successResultOf(roster), [])

    def test_set(self) -> None:
        """Items are sent one by one, each in a request of its own."""
        items = [
            RosterItem(jid="r@m", name="R", groups=frozenset(["b", "a"]), subscription="both", ask=True),
            RosterItem(jid="x@m", name="ignored", subscription="remove"),
        ]
        done = self.handler.setRoster(JULIET, items)
        for content in (
            "<item jid='r@m' name='R' subscription='both'><group>a</group><group>b</group></item>",
            "<item jid='x@m' subscription='remove'/>",
        ):
            self.assertNoResult(done)
            expected = xep.EXAMPLE_2.replace("'get'", "'set'").replace("/></iq>", f">{content}</query></iq>")
            self.answer(self.assertSentAs(expected, "roster1"))
        self.assertIsNone(self.successResultOf(done))

    def test_setFails(self) -> None:
        """The server's error is the result, and the remaining items are not sent."""
        done = self.handler.setRoster(JULIET, [RosterItem(jid="a@m"), RosterItem(jid="b@m")])
        found = re.search('id="([^"]+)"', self.sent())
        assert found is not None
        error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        self.answer(found.group(1), error, "error")
        self.assertFailed("item-not-found", done)
        self.assertSent()

    def test_setNothing(self) -> None:
        """An empty set completes at once."""
        self.assertIsNone(self.successResultOf(self.handler.setRoster(JULIET, [])))
        self.assertSent()

    def test_refused(self) -> None:
        """Requests without a grant are refused with the reason, and nothing is sent."""
        self.server.send(privilege("<perm access='roster' type='get'/>"))
        self.assertNotGranted('to set rosters (roster is "get")', self.handler.setRoster(JULIET, []))
        self.server.send(privilege("<perm access='roster' type='set'/>"))
        self.assertNotGranted('to get rosters (roster is "set")', self.handler.getRoster(JULIET))
        self.assertNotGranted("is not the bare JID", self.handler.getRoster(f"{JULIET}/balcony"))
        self.failureResultOf(self.handler.getRoster("@"), Malformed)
        self.assertSent()

    def test_deadline(self) -> None:
        """A request without an answer fails at the link's deadline."""
        roster, _ = self.ask()
        self.server.clock.pump([1.0] * 29)
        self.assertNoResult(roster)
        self.server.clock.pump([1.0] * 2)
        self.assertFailed("remote-server-timeout", roster)

    def test_lost(self) -> None:
        """A request fails when the connection is lost."""
        roster, _ = self.ask()
        self.server.lose()
        self.assertFailed("remote-server-not-found", roster)

    def test_bounded(self) -> None:
        """At most a thousand requests are open; one more is refused."""
        for _ in range(1000):
            self.handler.getRoster(JULIET).addErrback(lambda _: None)
        self.assertFailed("resource-constraint", self.handler.getRoster(JULIET))

    def test_forgedAnswer(self) -> None:
        """Only an answer by the account, with the right id, is accepted."""
        roster, identifier = self.ask()
        for sender in (SERVER, f"{JULIET}/balcony", "romeo@capulet.lit"):
            self.server.send(xep.EXAMPLE_3.replace("roster1", identifier).replace(JULIET, sender))
        self.server.send(xep.EXAMPLE_3)
        self.assertNoResult(roster)
        self.server.send(xep.EXAMPLE_3.replace("roster1", identifier))
        self.assertEqual(len(self.successResultOf(roster)), 2)

    def test_falsePushes(self) -> None:
        """Pushes of others, of a resource, of a server without pushes, or with other content are ignored."""
        heard: list[str] = []
        self.handler.watchRosters(lambda user, items: heard.append(user))
        for xml in (
            xep.EXAMPLE_4.replace(JULIET, "juliet@montague.lit"),
            xep.EXAMPLE_4.replace(JULIET, "juliet@second.lit"),
            xep.EXAMPLE_4.replace(JULIET, f"{JULIET}/balcony"),
            xep.EXAMPLE_4.replace(JULIET, SERVER),
            xep.EXAMPLE_4.replace("jabber:iq:roster", "urn:x"),
            xep.EXAMPLE_4.replace("'set'", "'get'"),
            xep.EXAMPLE_4.replace(" id='roster_push_1'", ""),
            xep.EXAMPLE_4.replace(f"to='{ENTITY}'", f"to='x@{ENTITY}'"),
        ):
            self.assertNotEqual(xml, xep.EXAMPLE_4)
            self.assertFalse(self.handler.stanzaReceived(stanza(xml)), xml)
        self.server.send(privilege("<perm access='roster' type='both' push='false'/>"))
        self.assertFalse(self.handler.stanzaReceived(stanza(xep.EXAMPLE_4)))
        self.assertEqual(heard, [])


class MessageTests(HandlerCase):
    """Messages, in addition to the example."""

    def setUp(self) -> None:
        super().setUp()
        self.server.send(xep.EXAMPLE_5)

    def test_server(self) -> None:
        """The server itself may be the sender; content in another namespace keeps it."""
        message = domish.Element((None, "message"), attribs={"from": SERVER, "to": "r@m"})
        message.addElement("body", content="hi")
        message.addElement(("urn:x", "x")).addElement((None, "y"))
        self.handler.sendAs(message)
        self.assertSentAs(
            f"<message from='{ENTITY}' to='{SERVER}' id='?'><privilege xmlns='urn:xmpp:privilege:2'>"
            "<forwarded xmlns='urn:xmpp:forward:0'>"
            f"<message xmlns='jabber:client' from='{SERVER}' to='r@m'><body>hi</body><x xmlns='urn:x'><y/></x>"
            "</message></forwarded></privilege></message>",
            "?",
        )

    def test_normalised(self) -> None:
        """The sender is written in normalised form, because Prosody compares it literally."""
        message = stanza(xep.EXAMPLE_7).element
        message["from"] = "Juliet@CAPULET.lit"
        self.handler.sendAs(message)
        self.assertSentAs(xep.EXAMPLE_6, "notif1")

    def test_refused(self) -> None:
        """
        A foreign address, a resource, no address, or no permission: refused with the reason, and nothing is sent.
        """
        message = stanza(xep.EXAMPLE_7).element
        for sender, error in {
            f"{JULIET}/balcony": NotGranted,
            "r@montague.lit": NotGranted,
            "": Malformed,
            "@": Malformed,
        }.items():
            message["from"] = sender
            self.assertRaises(error, self.handler.sendAs, message)
        message["from"] = JULIET
        self.server.send(xep.EXAMPLE_1)
        refusal = self.assertRaises(NotGranted, self.handler.sendAs, message)
        self.assertIn('message is "none"', str(refusal))
        self.assertSent()

    def test_comesBack(self) -> None:
        """If the server refuses a message, its error is logged, and is not read as an advertisement."""
        error = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        for content, condition in ((error, "forbidden"), ("<error code='x'/>", "undefined-condition")):
            self.handler.sendAs(stanza(xep.EXAMPLE_7).element)
            identifier = self.assertSentAs(xep.EXAMPLE_6, "notif1")
            self.logged.clear()
            self.server.send(
                f"<message from='{SERVER}' to='{ENTITY}' id='{identifier}' type='error'>{content}</message>"
            )
            self.assertEqual(
                self.logged, [f"pubsub.capulet.lit: capulet.lit refused to send a message: {condition}."]
            )
        self.assertEqual(self.handler.permissions(SERVER).message, "outgoing")
        self.assertSent()


class IqTests(HandlerCase):
    """Requests on behalf of users, in addition to the example."""

    def setUp(self) -> None:
        super().setUp()
        self.server.send(privilege(xep.IQ.replace("'set'", "'both'")))
        self.request = stanza(xep.EXAMPLE_10).element

    def ask(self) -> tuple[Deferred[domish.Element], str]:
        answer = self.handler.requestAs(JULIET, self.request)
        found = re.search('id="([^"]+)"', self.sent())
        assert found is not None
        return answer, found.group(1)

    def test_sender(self) -> None:
        """The sender in the request, if there is one, must be the user."""
        self.assertNoResult(self.ask()[0].addErrback(lambda _: None))
        self.request["from"] = f"{JULIET}/balcony"
        self.assertNotGranted("the encapsulated iq is from", self.handler.requestAs(JULIET, self.request))

    def test_refused(self) -> None:
        """Another namespace, type or user is refused with the reason, and nothing is sent."""
        for user in (SERVER, f"{JULIET}/balcony"):
            self.assertNotGranted("is not the bare JID of a user", self.handler.requestAs(user, self.request))
        self.request["type"] = "result"
        self.assertNotGranted("to result", self.handler.requestAs(JULIET, self.request))
        other = stanza("<iq type='get' id='1'><x xmlns='urn:x'/></iq>").element
        self.assertNotGranted("requests of 'urn:x'", self.handler.requestAs(JULIET, other))
        self.server.send(xep.EXAMPLE_8)
        self.request["type"] = "get"
        self.assertNotGranted('granted as "set"', self.handler.requestAs(JULIET, self.request))

    def test_pushes(self) -> None:
        """
        A push is sent to one client, from its user. Of the answers only an error by the server is reported, once.
        """
        item = RosterItem(jid="r@h", name="R & J", groups=frozenset("ba"), subscription="none", ask=True)
        refused: list[str] = []
        resource = f"{JULIET}/balcony"

        def push(given: RosterItem) -> str:
            self.assertTrue(self.handler.pushRoster(JULIET, resource, given, lambda: refused.append("")))
            return self.sent()

        self.assertRaises(NotGranted, push, item)
        self.assertSent()
        self.server.send(privilege("<perm access='iq'><namespace ns='jabber:iq:roster' type='set'/></perm>"))
        found = push(item)
        [identifier] = set(re.findall(' id="([^"]+)"', found))
        [expected] = canonical(
            f"<iq from='{ENTITY}' to='{JULIET}' id='{identifier}' type='set'>"
            f"<privileged_iq xmlns='urn:xmpp:privilege:2'>"
            f"<iq xmlns='jabber:client' from='{JULIET}' to='{resource}' id='{identifier}' type='set'>"
            "<query xmlns='jabber:iq:roster'><item jid='r@h' subscription='none' name='R &amp; J' ask='subscribe'>"
            "<group>a</group><group>b</group></item></query></iq></privileged_iq></iq>"
        )
        self.assertEqual(found, expected)
        # A new id each time, because Prosody drops a second one.
        self.assertNotIn(identifier, push(RosterItem(jid="r@h", subscription="remove")))

        def answer(sender: str, kind: str) -> list[str]:
            self.server.send(f"<iq type='{kind}' from='{sender}' to='{ENTITY}' id='{identifier}'/>")
            return refused

        self.assertEqual(answer(resource, "error"), [])
        self.assertEqual(answer(JULIET, "error"), [""])
        self.assertEqual(answer(JULIET, "error"), [""])
        [identifier] = set(re.findall(' id="([^"]+)"', push(item)))
        answer(JULIET, "result")
        self.assertEqual(answer(JULIET, "error"), [""])
        self.patch(handler, "_MAX_PUSHES", 2)
        [identifier] = set(re.findall(' id="([^"]+)"', push(item)))
        for _ in "12":
            push(item)
        self.assertEqual(answer(JULIET, "error"), [""])
        self.assertEqual(len(self.handler._unanswered), 2)
        self.server.lose()
        self.assertEqual(len(self.handler._unanswered), 0)

    def test_noRequest(self) -> None:
        """A request without a payload, or with two, is invalid."""
        for payload in ("", "<a xmlns='urn:x'/><b xmlns='urn:x'/>"):
            iq = stanza(f"<iq type='get' id='1'>{payload}</iq>").element
            self.failureResultOf(self.handler.requestAs(JULIET, iq), BadRequest)
        self.assertSent()

    def test_withoutId(self) -> None:
        """A request without an id gets one."""
        del self.request["id"]
        answer, identifier = self.ask()
        self.server.send(xep.EXAMPLE_11.replace("priv_iq_1", identifier))
        self.assertFailed("undefined-condition", answer)
        self.assertFalse(self.request.hasAttribute("id"))

    def test_error(self) -> None:
        """An error comes inside a result, in any namespace, with condition, type and text."""
        error = (
            "<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
            "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>No.</text></error>"
        )
        failing = xep.EXAMPLE_11.replace("<iq type='result' from='romeo", "<iq type='error' from='romeo")
        for inner in ("<iq type='error'", "<iq xmlns='jabber:client' type='error'"):
            answer, identifier = self.ask()
            xml = failing.replace(xep.SUBSCRIBED, error).replace("<iq type='error'", inner)
            self.server.send(xml.replace("priv_iq_1", identifier))
            value = self.failureResultOf(answer, StanzaError).value
            self.assertEqual((value.condition, value.type, value.text), ("not-acceptable", "modify", "No."))

    def test_outerError(self) -> None:
        """The server's own refusal is an error as well."""
        answer, identifier = self.ask()
        self.server.send(
            f"<iq type='error' from='{JULIET}' to='{ENTITY}' id='{identifier}'><error type='auth'>"
            "<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
        self.assertFailed("forbidden", answer)

    def test_errorInError(self) -> None:
        """
        Newer servers wrap an error in an error: the inner one is the result, also if the outer one has no
        condition.
        """
        refusal = "<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        outer = "<error type='cancel'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        failing = xep.EXAMPLE_11.replace("<iq type='result' from='romeo", "<iq type='error' from='romeo")
        for content, condition in (
            (refusal, "not-acceptable"),
            ("", "undefined-condition"),
            ("<error code='x'/>", "undefined-condition"),
        ):
            for end in ("</iq>", outer):
                answer, identifier = self.ask()
                xml = failing.replace(xep.SUBSCRIBED, content).replace("type='result'", "type='error'", 1)
                self.assertNotEqual(xml, failing.replace(xep.SUBSCRIBED, content))
                self.server.send(xml[: xml.rindex("</iq>")].replace("priv_iq_1", identifier) + end)
                self.assertFailed(condition, answer)

    def test_resultInError(self) -> None:
        """A result wrapped in an error is not a result."""
        answer, identifier = self.ask()
        self.server.send(
            xep.EXAMPLE_11.replace("type='result'", "type='error'", 1).replace("priv_iq_1", identifier)
        )
        self.assertFailed("undefined-condition", answer)

    def test_nonsense(self) -> None:
        """A wrong or missing answer is an error, never a result."""
        right = xep.EXAMPLE_11
        inner = right[right.index("<iq type='result' from='romeo") : right.index("</forwarded>")]
        for wrong in (
            right.replace("sub_1", "sub_2"),
            right.replace("<iq type='result' from='romeo", "<iq type='set' from='romeo"),
            right.replace("<iq type='result' from='romeo", "<iq type='error' from='romeo"),
            right.replace("<iq type='result' from='romeo", "<iq from='romeo"),
            right.replace(f"to='{JULIET}' id='sub_1'", "to='nurse@capulet.lit' id='sub_1'"),
            right.replace(inner, ""),
            right.replace(inner, inner + inner),
            right.replace(inner, "<message/>"),
            right.replace("urn:xmpp:forward:0", "urn:x"),
            right.replace("urn:xmpp:privilege:2", "urn:x"),
        ):
            self.assertNotEqual(wrong, right)
            answer, identifier = self.ask()
            self.server.send(wrong.replace("priv_iq_1", identifier))
            self.assertFailed("undefined-condition", answer)


class PresenceTests(HandlerCase):
    """Presence, in addition to the examples."""

    def test_nobodyListens(self) -> None:
        """Presence is left to the other handlers if there is no observer, or no grant."""
        self.server.send(xep.EVERYTHING)
        self.assertFalse(self.handler.stanzaReceived(stanza(xep.EXAMPLE_13)))
        self.handler.watchPresence(lambda presence: self.fail("not granted"))
        self.server.send(xep.EXAMPLE_5)
        for xml in (xep.EXAMPLE_13, xep.EXAMPLE_16):
            self.assertFalse(self.handler.stanzaReceived(stanza(xml)))

    def test_others(self) -> None:
        """Other handlers get the presence as well."""
        heard: list[Stanza] = []
        self.handler.watchPresence(heard.append)
        self.server.send(xep.EVERYTHING)
        self.assertFalse(self.handler.stanzaReceived(stanza(xep.EXAMPLE_13)))
        self.assertEqual(len(heard), 1)

    def test_types(self) -> None:
        """
        Only available and unavailable presence is reported; not subscriptions, nor presence for another address.
        """
        heard: list[str | None] = []
        self.handler.watchPresence(lambda presence: heard.append(presence.type))
        self.server.send(xep.EVERYTHING + xep.EXAMPLE_13.replace("<presence", "<presence type='unavailable'"))
        self.assertEqual(heard, ["unavailable"])
        for kind in ("subscribe", "probe", "error"):
            xml = xep.EXAMPLE_13.replace("<presence", f"<presence type='{kind}'")
            self.assertFalse(self.handler.stanzaReceived(stanza(xml)))
        self.assertFalse(self.handler.stanzaReceived(stanza(xep.EXAMPLE_13.replace(ENTITY, f"x@{ENTITY}"))))

    def test_managedOnly(self) -> None:
        """Without a grant for contacts, presence of others is not reported."""
        self.handler.watchPresence(lambda presence: self.fail("not granted"))
        self.server.send(privilege("<perm access='presence' type='managed_entity'/>"))
        self.assertFalse(self.handler.stanzaReceived(stanza(xep.EXAMPLE_16)))

    def test_observerFails(self) -> None:
        """If an observer raises, the others are still called."""
        heard: list[str | None] = []
        self.handler.watchPresence(lambda presence: 1 / 0)
        self.handler.watchPresence(lambda presence: heard.append(presence.sender))
        self.server.send(xep.EVERYTHING + xep.EXAMPLE_13)
        self.assertEqual(heard, [f"{JULIET}/balcony"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


names = st.sampled_from(
    ["privilege", "perm", "namespace", "forwarded", "iq", "message", "query", "item", "error", "privileged_iq"]
)
spaces = st.sampled_from(
    [
        PRIVILEGE,
        "urn:xmpp:privilege:1",
        "urn:xmpp:forward:0",
        "jabber:iq:roster",
        "jabber:client",
        "",
        "urn:x",
        "a b",
    ]
)
values = st.sampled_from([*"rx", "roster", "iq", "both", "true", "result", "error", "get", "1", "a@b", "@", JULIET])
attributes = st.dictionaries(
    st.sampled_from(["access", "type", "push", "ns", "id", "to", "from", "jid", "code"]), values
)
anything = xep.elements(names, spaces, attributes)


class AnythingTests(SynchronousTestCase):
    """Random input: the handler does not raise, and each request has one result."""

    @steady
    @given(st.lists(anything, max_size=3), st.sampled_from(["", " type='error'", " type='set'"]))
    def test_messages(self, contents: list[str], kind: str) -> None:
        """Advertisements, presence and pushes with random content."""
        handler = PrivilegeHandler([SERVER])
        server = MemoryServer(ENTITY)
        handler.setHandlerParent(server.link)
        handler.watchPresence(lambda presence: None)
        server.start()
        server.send(xep.EVERYTHING)
        for name in ("message", "presence", "iq"):
            xml = f"<{name} from='{SERVER}' to='{ENTITY}' id='1'{kind}>{''.join(contents)}</{name}>"
            taken = handler.stanzaReceived(
                stanza(xml.replace(f"'{SERVER}'", f"'{JULIET}'") if name == "iq" else xml)
            )
            self.assertIsInstance(taken, bool)
        self.assertIsInstance(handler.permissions(SERVER), Permissions)
        server.stop()

    @steady
    @given(st.lists(anything, max_size=2), st.sampled_from(["result", "error"]), st.booleans())
    def test_answers(self, contents: list[str], kind: str, wrapped: bool) -> None:
        """Answers with random content."""
        handler = PrivilegeHandler([SERVER])
        server = MemoryServer(ENTITY)
        handler.setHandlerParent(server.link)
        server.start()
        server.send(xep.EVERYTHING)
        outcomes: list[object] = []
        handler.getRoster(JULIET).addBoth(outcomes.append)
        handler.requestAs(JULIET, stanza(xep.EXAMPLE_10).element).addBoth(outcomes.append)
        content = "".join(contents)
        if wrapped:
            forwarded = f"<forwarded xmlns='urn:xmpp:forward:0'>{content}</forwarded>"
            content = f"<privilege xmlns='{PRIVILEGE}'>{forwarded}</privilege>"
        for request in server.taken():
            identifier = re.search('id="([^"]+)"', request)
            assert identifier is not None
            server.send(
                f"<iq type='{kind}' from='{JULIET}' to='{ENTITY}' id='{identifier.group(1)}'>{content}</iq>"
            )
        self.assertEqual(len(outcomes), 2)
        for outcome in outcomes:
            if not isinstance(outcome, list | domish.Element):
                self.assertIsInstance(outcome.value, StanzaError)  # type: ignore[attr-defined]  # a Failure
        server.stop()
