"""The embedded host's side of XEP-0356, in memory; stanzas are compared as written to the stream."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.config.tables import Domain, PrivilegesTable
from gateway.delegation.delegations import Delegation
from gateway.embedded.component import ComponentConnection
from gateway.embedded.handler import Services
from gateway.embedded.privileges import Privileges, grants
from gateway.errors import NotGranted
from gateway.interfaces import RosterItem
from gateway.privilege.core import Permissions
from gateway.privilege.handler import PrivilegeHandler
from gateway.stream.component import handshake
from gateway.stream.link import Link
from tests.embedded.support import MemoryPeer, stanza
from tests.privilege import support as xep
from tests.privilege.support import ENTITY, JULIET, SERVER, SUBSCRIBE, SUBSCRIBED
from tests.profiles import steady

NURSE = "nurse@capulet.lit"
# In these tests Romeo's server is a component.
ROMEO = "romeo@montaigu.lit"
ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
PUBSUB = "http://jabber.org/protocol/pubsub"
EVERYTHING = PrivilegesTable(roster="both", message="outgoing", presence="roster", iq={PUBSUB: "set"})


def header(namespace: str) -> str:
    """Return a stream's start tag."""
    return f"<stream:stream xmlns='{namespace}' xmlns:stream='{ns.STREAMS}'>"


def canonical(xml: str, namespace: str) -> list[str]:
    """Return the canonical form of each of these stanzas."""
    found = []
    for child in ElementTree.fromstring(f"{header(namespace)}{xml}</stream:stream>"):
        child.tail = None
        text = ElementTree.tostring(child, encoding="unicode")
        found.append(ElementTree.canonicalize(text, rewrite_prefixes=True))
    return found


class MemoryClient(MemoryPeer):
    """One resource of an account."""

    def __init__(self, services: Services, jid: str) -> None:
        super().__init__()
        self.router = services.router
        self.session, _ = self.router.bind(self.router.accounts[jid.partition("/")[0]], jid, self)

    def send(self, xml: str) -> None:
        """Send a stanza as the client; raise its error."""
        sent = stanza(xml)
        self.router.fromClient(self.session, sent, sent.recipient or "")

    def taken(self) -> list[str]:
        """Return the stanzas sent to it since the last call."""
        return canonical(self.take().decode(), ns.CLIENT)


class MemoryComponent:
    """A connected component."""

    def __init__(self, services: Services, jid: str, clock: Clock) -> None:
        self.jid = jid
        self.transport = StringTransport()
        self.connection = ComponentConnection(services, {jid: "secret"}, clock)
        self.connection.makeConnection(self.transport)
        self.connection.dataReceived(header(ns.COMPONENT_ACCEPT).replace(">", f" to='{jid}'>").encode())
        found = re.search(rb" id='([^']+)'", self.transport.value())
        assert found is not None
        self.transport.clear()
        self.connection.dataReceived(f"<handshake>{handshake(found[1].decode(), 'secret')}</handshake>".encode())

    def send(self, xml: str) -> None:
        self.connection.dataReceived(xml.encode())

    def taken(self) -> list[str]:
        """Return the stanzas sent to it since the last call, without the handshake."""
        data = self.transport.value().decode().removeprefix("<handshake/>")
        self.transport.clear()
        return canonical(data, ns.COMPONENT_ACCEPT)

    def leave(self) -> None:
        self.send("</stream:stream>")


class PrivilegesCase(SynchronousTestCase):
    """A host with two accounts, a privileged component and another one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.services = Services(SERVER, ["juliet", "nurse"], [], self.clock.seconds)
        self.router = self.services.router
        self.router.components.update({ENTITY: None, "montaigu.lit": None})

    def grant(self, table: PrivilegesTable = EVERYTHING) -> None:
        granted = grants(SERVER, {Domain(ENTITY): table})
        self.privileges = Privileges(self.router, granted, self.clock)
        self.router.extensions.append(self.privileges)

    def entity(self, table: PrivilegesTable = EVERYTHING) -> MemoryComponent:
        """Connect the privileged component, and skip the advertisement."""
        self.grant(table)
        entity = MemoryComponent(self.services, ENTITY, self.clock)
        entity.taken()
        return entity

    def client(self, jid: str, presence: str = "<presence/>") -> MemoryClient:
        client = MemoryClient(self.services, jid)
        client.send(f"<iq type='get' id='1'><query xmlns='{ns.ROSTER}'/></iq>")
        if presence:
            client.send(presence)
        client.taken()
        return client

    def subscribe(self, user: str, contact: str, to: bool = True, from_: bool = True) -> None:
        item = self.router.accounts[user].roster.set(contact, "", ())
        item.to, item.from_ = to, from_

    def assertSent(self, whom: MemoryComponent | MemoryClient, *expected: str) -> None:
        """Check that only this was sent since the last call; C{"?"} stands for any id."""
        namespace = ns.COMPONENT_ACCEPT if isinstance(whom, MemoryComponent) else ns.CLIENT
        taken = whom.taken()
        known = canonical("".join(expected), namespace)
        for number, each in enumerate(known[: len(taken)]):
            if 'id="?"' in each:
                taken[number] = re.sub(r'(<\S+ [^>]*?\bid)="[^"]+"', r'\1="?"', taken[number], count=1)
        self.assertEqual(taken, known)

    def error(self, name: str, sender: str, said: str, kind: str = "auth", identifier: str = "1") -> str:
        condition, _, words = said.partition(": ")
        text = f"<text xmlns='{ERRORS}'>{words}</text>" if words else ""
        return (
            f"<{name} from='{sender}' to='{ENTITY}' id='{identifier}' type='error'><error type='{kind}'>"
            f"<{condition} xmlns='{ERRORS}'/>{text}</error></{name}>"
        )


FORBIDDEN = "forbidden: The privilege for this is not granted."


class ExampleTests(PrivilegesCase):
    """The server's side of all numbered examples of XEP-0356."""

    def assertAdvertised(self, expected: str, table: PrivilegesTable) -> None:
        self.grant(table)
        entity = MemoryComponent(self.services, ENTITY, self.clock)
        self.assertSent(entity, expected.replace("12345", "?"))

    def test_example1(self) -> None:
        """Section 4.2: the roster permission is advertised."""
        self.assertAdvertised(xep.EXAMPLE_1, PrivilegesTable(roster="both"))

    def test_examples2and3(self) -> None:
        """Section 4.3: a roster is requested and returned; the host has no roster versions."""
        entity = self.entity()
        for contact in ("nurse@example.com", "romeo@example.net"):
            self.subscribe(JULIET, contact, False, False)
        entity.send(xep.EXAMPLE_2)
        expected = xep.EXAMPLE_3.replace(" ver='ver7'", "").replace("'/>", "' subscription='none'/>")
        self.assertSent(entity, expected)

    def test_example4(self) -> None:
        """Section 4.4: a client's change is pushed."""
        entity = self.entity()
        juliet = self.client(f"{JULIET}/balcony", "")
        juliet.send(
            f"<iq type='set' id='1'><query xmlns='{ns.ROSTER}'><item jid='nurse@example.com'/></query></iq>"
        )
        expected = xep.EXAMPLE_4.replace("roster_push_1", "?").replace(
            "'/></query>", "' subscription='none'/></query>"
        )
        self.assertSent(entity, expected)
        entity.send(f"<iq type='result' id='1' from='{ENTITY}' to='{JULIET}'/>")
        self.assertSent(entity)

    def test_example5(self) -> None:
        """Section 5.2: roster and message."""
        self.assertAdvertised(xep.EXAMPLE_5, PrivilegesTable(roster="both", message="outgoing"))

    def test_examples6and7(self) -> None:
        """Section 5.3: a message on behalf of a user is delivered as the user's."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        montaigu.taken()
        entity.send(xep.EXAMPLE_6.replace("montague.lit", "montaigu.lit"))
        self.assertSent(montaigu, xep.EXAMPLE_7.replace("montague.lit", "montaigu.lit"))
        self.assertSent(entity)

    def test_example8(self) -> None:
        """Section 6.2: the iq permission."""
        self.assertAdvertised(xep.EXAMPLE_8, PrivilegesTable(iq={PUBSUB: "set"}))

    def test_examples9to11(self) -> None:
        """Section 6.3: a request on behalf of a user is sent as the user's, and the answer is returned wrapped."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        montaigu.taken()
        entity.send(xep.EXAMPLE_9)
        self.assertSent(montaigu, xep.EXAMPLE_10)
        self.assertSent(entity)
        montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'>{SUBSCRIBED}</iq>")
        # The example leaves out the namespace that the request must have on its way to the recipient.
        self.assertSent(entity, xep.EXAMPLE_11.replace("<iq type='result' from='romeo", inner("from='romeo")))

    def test_examples12and13(self) -> None:
        """Section 7.3: a user's initial presence is forwarded."""
        entity = self.entity(PrivilegesTable(presence="managed_entity"))
        self.client(f"{JULIET}/balcony", xep.EXAMPLE_13.replace(f" from='{JULIET}/balcony' to='{ENTITY}'", ""))
        self.assertSent(entity, xep.EXAMPLE_13)

    def test_example14(self) -> None:
        """Section 7.5: all permissions; those that are not granted may be left out."""
        expected = xep.EXAMPLE_14.replace("<perm access='message' type='none'/>", "")
        self.assertAdvertised(
            expected, PrivilegesTable(roster="both", push=True, iq={PUBSUB: "set"}, presence="roster")
        )

    def test_examples15and16(self) -> None:
        """Section 7.6: presence of a contact goes to the user and to the entity."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.subscribe(JULIET, ROMEO)
        juliet = self.client(f"{JULIET}/balcony")
        entity.taken()
        montaigu.send(f"<presence from='{ROMEO}/orchard' to='{JULIET}'/>")
        self.assertSent(juliet, f"<presence from='{ROMEO}/orchard' to='{JULIET}'/>")
        self.assertSent(entity, xep.EXAMPLE_16)


def inner(start: str, kind: str = "result") -> str:
    """Return the beginning of an encapsulated answer."""
    return f"<iq xmlns='jabber:client' type='{kind}' {start}"


class RosterTests(PrivilegesCase):
    """Rosters, in addition to the examples."""

    def set(self, entity: MemoryComponent, item: str, user: str = JULIET) -> None:
        query = f"<query xmlns='{ns.ROSTER}'>{item}</query>"
        entity.send(f"<iq type='set' id='1' from='{ENTITY}' to='{user}'>{query}</iq>")

    def push(self, user: str, item: str) -> str:
        query = f"<query xmlns='{ns.ROSTER}'>{item}</query>"
        return f"<iq type='set' id='?' from='{user}' to='{ENTITY}'>{query}</iq>"

    def done(self, user: str = JULIET) -> str:
        return f"<iq type='result' id='1' from='{user}' to='{ENTITY}'/>"

    def test_subscriptions(self) -> None:
        """Each subscription is set as given, with name and groups; clients and the entity get the push."""
        entity = self.entity()
        juliet = self.client(f"{JULIET}/balcony", "")
        for subscription in ("both", "to", "from", "none"):
            item = f"<item jid='x@example.com' name='X' subscription='{subscription}'><group>g</group></item>"
            self.set(entity, item)
            self.assertSent(entity, self.push(JULIET, item), self.done())
            pushed = f"<iq type='set' id='push'><query xmlns='{ns.ROSTER}'>{item}</query></iq>"
            self.assertSent(juliet, pushed)
        self.set(entity, "<item jid='x@example.com' subscription='to'/>")
        self.set(entity, "<item jid='x@example.com' name='Y'/>")
        [found] = self.router.accounts[JULIET].roster.listed()
        self.assertEqual((found.name, found.groups, found.subscription), ("Y", (), "to"))

    def test_remove(self) -> None:
        """A contact is removed."""
        entity = self.entity()
        self.subscribe(JULIET, "x@example.com")
        self.set(entity, "<item jid='x@example.com' subscription='remove'/>")
        removed = self.push(JULIET, "<item jid='x@example.com' subscription='remove'/>")
        self.assertSent(entity, removed, self.done())
        self.set(entity, "<item jid='x@example.com' subscription='remove'/>")
        self.assertSent(entity, self.error("iq", JULIET, "item-not-found: This address is unknown.", "cancel"))

    def test_presenceFlows(self) -> None:
        """Two users who become each other's contacts see each other at once; after a removal they do not."""
        entity = self.entity(PrivilegesTable(roster="set"))
        juliet, nurse = self.client(f"{JULIET}/a"), self.client(f"{NURSE}/b")
        query = "<query xmlns='jabber:iq:roster'><item jid='{}' subscription='{}'/></query>"
        item = f"<iq type='set' id='push'>{query}</iq>"
        self.set(entity, f"<item jid='{NURSE}' subscription='both'/>", JULIET)
        self.assertSent(juliet, item.format(NURSE, "both"))
        self.assertSent(nurse, f"<presence from='{JULIET}/a' to='{NURSE}'/>")
        self.set(entity, f"<item jid='{JULIET}' subscription='both'/>", NURSE)
        self.assertSent(nurse, item.format(JULIET, "both"))
        self.assertSent(juliet, f"<presence from='{NURSE}/b' to='{JULIET}'/>")
        self.set(entity, f"<item jid='{NURSE}' subscription='to'/>", JULIET)
        self.assertSent(juliet, item.format(NURSE, "to"))
        self.assertSent(nurse, f"<presence from='{JULIET}/a' to='{NURSE}' type='unavailable'/>")

    def test_removesAlone(self) -> None:
        """A removed contact keeps its own roster, and does not see the user any longer."""
        entity = self.entity(PrivilegesTable(roster="set"))
        juliet, nurse = self.client(f"{JULIET}/a"), self.client(f"{NURSE}/b")
        for user, contact in ((JULIET, NURSE), (NURSE, JULIET)):
            self.set(entity, f"<item jid='{contact}' subscription='both'/>", user)
        juliet.taken()
        nurse.taken()
        self.set(entity, f"<item jid='{NURSE}' subscription='remove'/>", JULIET)
        removed = f"<query xmlns='{ns.ROSTER}'><item jid='{NURSE}' subscription='remove'/></query>"
        self.assertSent(juliet, f"<iq type='set' id='push'>{removed}</iq>")
        self.assertSent(nurse, f"<presence from='{JULIET}/a' to='{NURSE}' type='unavailable'/>")
        self.assertEqual(self.router.accounts[NURSE].roster.get(JULIET).subscription, "both")

    def test_probe(self) -> None:
        """A contact on a component is probed when an online user gets a subscription to it."""
        entity = self.entity(PrivilegesTable(roster="set"))
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        montaigu.taken()
        self.set(entity, f"<item jid='{ROMEO}' subscription='to'/>", NURSE)
        self.assertSent(montaigu)
        self.client(f"{JULIET}/a")
        self.set(entity, f"<item jid='{ROMEO}' subscription='to'/>")
        self.assertSent(montaigu, f"<presence type='probe' from='{JULIET}' to='{ROMEO}'/>")
        self.set(entity, f"<item jid='{ROMEO}' subscription='both'/>")
        self.assertSent(montaigu, f"<presence from='{JULIET}/a' to='{ROMEO}'/>")

    def test_pendingAndAsked(self) -> None:
        """Open subscription requests end when the subscription is set."""
        entity = self.entity(PrivilegesTable(roster="set"))
        item = self.router.accounts[JULIET].roster.set(NURSE, "", ())
        item.pending, item.ask = "subscribe", True
        self.set(entity, f"<item jid='{NURSE}' subscription='none'/>")
        self.assertEqual((item.pending, item.ask), ("subscribe", True))
        self.set(entity, f"<item jid='{NURSE}' subscription='both'/>")
        self.assertEqual((item.pending, item.ask), (None, False))

    def test_wrong(self) -> None:
        """Invalid changes are refused as for a client, and change nothing."""
        entity = self.entity()
        table = {
            "": "bad-request",
            "<item/>": "bad-request",
            "<item jid='a@b'/><item jid='c@d'/>": "bad-request",
            "<item jid='a@b' subscription='often'/>": "bad-request",
            f"<item jid='{JULIET}' subscription='both'/>": "not-allowed",
            f"<item jid='{JULIET}'/>": "not-allowed",
        }
        for item, condition in table.items():
            self.set(entity, item)
            kind = "modify" if condition == "bad-request" else "cancel"
            self.assertSent(entity, self.error("iq", JULIET, condition, kind))
        self.assertEqual(len(self.router.accounts[JULIET].roster), 0)

    def test_forbidden(self) -> None:
        """Each permission allows its types; without permission nothing is allowed."""
        for kind, allowed in {"none": "", "get": "get", "set": "set"}.items():
            self.router.extensions.clear()
            entity = self.entity(PrivilegesTable(roster=kind))  # type: ignore[arg-type]  # each of its values
            for wanted in ("get", "set"):
                item = "" if wanted == "get" else "<item jid='a@b'/>"
                query = f"<query xmlns='{ns.ROSTER}'>{item}</query>"
                entity.send(f"<iq type='{wanted}' id='1' from='{ENTITY}' to='{JULIET}'>{query}</iq>")
                if wanted != allowed:
                    self.assertSent(entity, self.error("iq", JULIET, FORBIDDEN))
                else:
                    self.assertIn('type="result"', entity.taken()[-1])
            entity.leave()

    def test_thirdParties(self) -> None:
        """A component without privileges can do nothing, and gets nothing."""
        self.grant()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.client(f"{JULIET}/a")
        self.assertSent(montaigu)
        for xml, name, sender, identifier in (
            (xep.EXAMPLE_2, "iq", JULIET, "roster1"),
            (xep.EXAMPLE_6, "message", SERVER, "notif1"),
            (xep.EXAMPLE_9, "iq", JULIET, "priv_iq_1"),
        ):
            montaigu.send(xml.replace(f"'{ENTITY}'", "'montaigu.lit'"))
            refused = self.error(name, sender, FORBIDDEN, "auth", identifier)
            self.assertSent(montaigu, refused.replace(ENTITY, "montaigu.lit"))

    def test_nobody(self) -> None:
        """An unknown user."""
        entity = self.entity()
        for kind in ("get", "set"):
            query = f"<query xmlns='{ns.ROSTER}'/>"
            entity.send(f"<iq type='{kind}' id='1' from='{ENTITY}' to='nobody@{SERVER}'>{query}</iq>")
            self.assertSent(entity, self.error("iq", f"nobody@{SERVER}", "service-unavailable", "cancel"))

    def test_noPushes(self) -> None:
        """No pushes go to an entity that may not read rosters, or that has push = false."""
        for number, table in enumerate((PrivilegesTable(roster="set"), PrivilegesTable(roster="both", push=False))):
            self.router.extensions.clear()
            entity = self.entity(table)
            self.set(entity, f"<item jid='x{number}@y'/>")
            self.assertSent(entity, self.done())
            entity.leave()

    def test_others(self) -> None:
        """Similar stanzas are routed as usual: to a client, to another component."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        juliet = self.client(f"{JULIET}/balcony")
        entity.taken()
        montaigu.taken()
        for recipient, whom in ((f"{JULIET}/balcony", juliet), ("montaigu.lit", montaigu)):
            xml = xep.EXAMPLE_2.replace(f"'{JULIET}'", f"'{recipient}'")
            entity.send(xml)
            self.assertSent(whom, xml)
        entity.send(
            f"<iq type='get' id='1' from='{ENTITY}' to='{JULIET}'><ping xmlns='urn:jabber:iq:roster'/></iq>"
        )
        self.assertSent(entity, self.error("iq", JULIET, "service-unavailable", "cancel"))


class MessageTests(PrivilegesCase):
    """Messages on behalf of the server's users, in addition to the example."""

    def test_toClient(self) -> None:
        """To a client of the host, in the namespace of clients; also from the host itself."""
        entity = self.entity()
        nurse = self.client(f"{NURSE}/b")
        for sender in (JULIET, SERVER):
            message = (
                f"<message xmlns='jabber:client' from='{sender}' to='{NURSE}/b' id='1'><body>x</body></message>"
            )
            entity.send(wrapped(message))
            self.assertSent(nurse, message)

    def test_forbidden(self) -> None:
        """From a resource, another server, an unknown account, without sender: a forbidden message error."""
        entity = self.entity()
        nurse = self.client(f"{NURSE}/b")
        entity.taken()
        for sender in (f"{JULIET}/a", "x@example.com", f"nobody@{SERVER}", ENTITY, "@", ""):
            entity.send(wrapped(f"<message xmlns='jabber:client' from='{sender}' to='{NURSE}'/>"))
            self.assertSent(entity, self.error("message", SERVER, FORBIDDEN))
        self.router.extensions.clear()
        entity.leave()
        entity = self.entity(PrivilegesTable(roster="both"))
        entity.taken()
        entity.send(wrapped(f"<message xmlns='jabber:client' from='{JULIET}' to='{NURSE}'/>"))
        self.assertSent(entity, self.error("message", SERVER, FORBIDDEN))
        self.assertSent(nurse)

    def test_wrong(self) -> None:
        """No message, two messages, or one with an invalid recipient."""
        entity = self.entity()
        message = f"<message xmlns='jabber:client' from='{JULIET}' to='{NURSE}'/>"
        for content, said in {
            "": "bad-request",
            message * 2: "bad-request",
            message.replace("message", "iq"): "bad-request",
            message.replace(NURSE, "@"): "jid-malformed: The address is not a JID.",
            message.replace(f" to='{NURSE}'", ""): "jid-malformed: The address is not a JID.",
        }.items():
            entity.send(wrapped(content))
            self.assertSent(entity, self.error("message", SERVER, said, "modify"))

    def test_hostile(self) -> None:
        """Any names in a message stay names."""
        entity = self.entity()
        nurse = self.client(f"{NURSE}/b")
        entity.taken()
        start = f"<message xmlns='jabber:client' from='{JULIET}' to='{NURSE}'>"
        message = f"""{start}<x xmlns="urn:'/>&lt;injected/>&lt;x"/><p:x xmlns:p="a'b" p:y="'"/></message>"""
        entity.send(wrapped(message))
        self.assertSent(nurse, message)
        message = f"{start}<x xmlns='a b'/><xml:y/></message>"
        entity.send(wrapped(message))
        self.assertSent(nurse, message)

    def test_undeliverable(self) -> None:
        """If the recipient cannot be reached, the entity gets no error: it would go to the message's sender."""
        entity = self.entity()
        for recipient in (NURSE, "x@example.com", f"nobody@{SERVER}", "x@montaigu.lit"):
            entity.send(wrapped(f"<message xmlns='jabber:client' from='{JULIET}' to='{recipient}'/>"))
            self.assertSent(entity)

    def test_other(self) -> None:
        """A message that only mentions the namespace is routed like any other."""
        entity = self.entity()
        entity.send(f"<message id='1' from='{ENTITY}' to='{SERVER}'><body>urn:xmpp:privilege:2</body></message>")
        self.assertSent(entity, self.error("message", SERVER, "service-unavailable", "cancel"))
        privilege = "<privilege xmlns='urn:xmpp:privilege:2'/>"
        entity.send(f"<message type='error' from='{ENTITY}' to='{SERVER}'>{privilege}</message>")
        self.assertSent(entity)


def wrapped(content: str) -> str:
    """Return a message that a privileged entity wants to be sent."""
    return (
        f"<message from='{ENTITY}' to='{SERVER}' id='1'><privilege xmlns='urn:xmpp:privilege:2'>"
        f"<forwarded xmlns='{ns.FORWARD}'>{content}</forwarded></privilege></message>"
    )


class DelegatedTests(PrivilegesCase):
    """Together with XEP-0355."""

    def setUp(self) -> None:
        super().setUp()
        delegations = [Delegation(each, (ENTITY,)) for each in (PUBSUB, ns.ROSTER)]
        self.services = Services(SERVER, ["juliet", "nurse"], delegations, self.clock.seconds)
        self.router = self.services.router
        self.router.components.update({ENTITY: None, "montaigu.lit": None})

    def test_notBack(self) -> None:
        """A managing entity's request in a user's name is not delegated back to it, whatever its resource."""
        entity = self.entity()
        for resource in ("", "/x"):
            xml = xep.EXAMPLE_9.replace(f"from='{ENTITY}'", f"from='{ENTITY}{resource}'").replace(ROMEO, NURSE)
            entity.send(xml)
            [answer] = entity.taken()
            self.assertIn(f'to="{ENTITY}{resource}" type="result"', answer)
            self.assertIn("service-unavailable", answer)

    def test_delegatedToAnother(self) -> None:
        """If rosters are delegated, the managing entity answers all requests (XEP-0355 section 4.3)."""
        granted = grants(SERVER, {Domain(each): EVERYTHING for each in (ENTITY, "montaigu.lit")})
        self.router.extensions.append(Privileges(self.router, granted, self.clock))
        self.managing = MemoryComponent(self.services, ENTITY, self.clock)
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.managing.taken()
        asked = f"id='1' type='get'><query xmlns='{ns.ROSTER}'/></iq>"
        montaigu.send(f"<iq from='montaigu.lit' to='{JULIET}' {asked}")
        [wrapped] = self.managing.taken()
        self.assertIn('from="montaigu.lit"', wrapped)

    def exchange(self, juliet: MemoryClient, asked: str, answered: str) -> None:
        """Send Juliet's roster request; let the managing entity answer it."""
        addresses = f"id='roster1' type='{asked[:3]}'"
        juliet.send(f"<iq {addresses}>{asked[3:]}</iq>")
        identifier = re.search(" id='([^']+)'", self.managing.transport.value().decode())
        assert identifier is not None
        wrapper = (
            f"<iq from='{{}}' to='{{}}' id='{identifier[1]}' type='{{}}'><delegation xmlns='{ns.DELEGATION_2}'>"
            f"<forwarded xmlns='{ns.FORWARD}'>{{}}</forwarded></delegation></iq>"
        )
        inside = f"<iq xmlns='{ns.CLIENT}' from='{JULIET}/balcony' {addresses}>{asked[3:]}</iq>"
        self.assertSent(self.managing, wrapper.format(SERVER, ENTITY, "set", inside))
        reply = f"<iq xmlns='{ns.CLIENT}' to='{JULIET}/balcony' id='roster1' type='result'>{answered}</iq>"
        self.managing.send(wrapper.format(ENTITY, SERVER, "result", reply))
        result = f"<iq from='{JULIET}' to='{JULIET}/balcony' id='roster1' type='result'>{answered}</iq>"
        self.assertSent(juliet, result)

    def test_examples6to11(self) -> None:
        """
        XEP-0355 examples 6 to 11, whole: a filter of rosters is asked, accepts, and adds the contact itself; "The
        server will then send the roster pushes (with the enforced group) normally", for she has got a roster.
        """
        self.managing = self.entity()
        juliet = MemoryClient(self.services, f"{JULIET}/balcony")
        self.exchange(juliet, f"get<query xmlns='{ns.ROSTER}'/>", f"<query xmlns='{ns.ROSTER}'/>")
        item = "<item jid='romeo@montaigu.lit' name='My Romeo'"
        self.exchange(juliet, f"set<query xmlns='{ns.ROSTER}'>{item}></item></query>", "")
        rivals = f"<query xmlns='{ns.ROSTER}'>{item}><group>Rivals</group></item></query>"
        self.managing.send(f"<iq to='{JULIET}' from='{ENTITY}' id='roster2' type='set'>{rivals}</iq>")
        pushed = rivals.replace(" name", " subscription='none' name")
        self.assertSent(
            self.managing,
            f"<iq id='?' from='{JULIET}' to='{ENTITY}' type='set'>{pushed}</iq>",
            f"<iq to='{ENTITY}' from='{JULIET}' id='roster2' type='result'/>",
        )
        self.assertSent(juliet, f"<iq id='push' type='set'>{pushed}</iq>")


class IqTests(PrivilegesCase):
    """Requests on behalf of users, in addition to the example."""

    def setUp(self) -> None:
        super().setUp()
        self.privileged = self.entity()
        self.montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.montaigu.taken()

    def answer(self, content: str, identifier: str = "priv_iq_1") -> str:
        """Return the entity's answer with this inner answer."""
        return (
            f"<iq type='result' from='{JULIET}' to='{ENTITY}' id='{identifier}'>"
            f"<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='{ns.FORWARD}'>{content}</forwarded>"
            "</privilege></iq>"
        )

    def failure(self, condition: str, kind: str, asked: str, words: str = "") -> str:
        text = f"<text xmlns='{ERRORS}'>{words}</text>" if words else ""
        error = f"<error type='{kind}'><{condition} xmlns='{ERRORS}'/>{text}</error>"
        return self.answer(inner(f"id='sub_1' from='{asked}' to='{JULIET}'>{error}</iq>", "error"))

    def assertRefused(self, xml: str, said: str = FORBIDDEN, kind: str = "auth", sender: str = JULIET) -> None:
        self.assertNotEqual(xml, xep.EXAMPLE_9)
        self.privileged.send(xml)
        self.assertSent(self.privileged, self.error("iq", sender, said, kind, "priv_iq_1"))
        self.assertSent(self.montaigu)

    def test_recipient(self) -> None:
        """Forbidden: the top-level iq is not for the bare JID of a managed entity."""
        for other in (f"{JULIET}/balcony", f"nobody@{SERVER}", SERVER):
            self.assertRefused(xep.EXAMPLE_9.replace(f"to='{JULIET}'", f"to='{other}'"), sender=other)

    def test_namespace(self) -> None:
        """Forbidden: the payload's namespace is not granted."""
        self.assertRefused(xep.EXAMPLE_9.replace("protocol/pubsub", "protocol/other"))

    def test_type(self) -> None:
        """Forbidden: this type is not granted for the namespace."""
        self.assertRefused(xep.EXAMPLE_9.replace("type='set'", "type='get'"))

    def test_innerNamespace(self) -> None:
        """Forbidden: the encapsulated iq is not in the namespace of clients."""
        self.assertRefused(xep.EXAMPLE_9.replace(" xmlns='jabber:client'", ""))

    def test_sender(self) -> None:
        """Forbidden: the encapsulated iq is from another entity."""
        for sender in (NURSE, f"{JULIET}/balcony", ENTITY):
            self.assertRefused(xep.EXAMPLE_9.replace("<iq xmlns", f"<iq from='{sender}' xmlns"))
        self.privileged.send(xep.EXAMPLE_9.replace("<iq xmlns", f"<iq from='{JULIET}' xmlns"))
        self.assertSent(self.montaigu, xep.EXAMPLE_10)

    def test_types(self) -> None:
        """Forbidden: the types of both iqs differ."""
        self.assertRefused(xep.EXAMPLE_9.replace("type='set'", "type='get'", 1))

    def test_noRequest(self) -> None:
        """No iq in it, two, no payload, no id, or an invalid recipient."""
        found = re.search("<iq xmlns.*?</iq>", xep.EXAMPLE_9)
        assert found is not None
        for wrong in ("", found[0] * 2, found[0].replace(SUBSCRIBE, ""), found[0].replace(" id='sub_1'", "")):
            self.assertRefused(xep.EXAMPLE_9.replace(found[0], wrong), "bad-request", "modify")
        said = "jid-malformed: The address is not a JID."
        self.assertRefused(xep.EXAMPLE_9.replace(f"to='{ROMEO}'", "to='@'"), said, "modify")

    def test_error(self) -> None:
        """An error of the recipient is returned inside a result."""
        self.privileged.send(xep.EXAMPLE_9)
        error = f"<error type='cancel' by='x'><conflict xmlns='{ERRORS}'/><own xmlns='urn:x'/></error>"
        self.montaigu.send(f"<iq type='error' from='{ROMEO}' to='{JULIET}' id='sub_1'>{error}</iq>")
        answer = inner(f"from='{ROMEO}' to='{JULIET}' id='sub_1'>{error}</iq>", "error")
        self.assertSent(self.privileged, self.answer(answer))

    def test_unreachable(self) -> None:
        """If the recipient cannot be reached, the host's error is the answer."""
        for other, condition, words in (
            ("x@example.com", "remote-server-not-found", "This host reaches no other server."),
            (f"nobody@{SERVER}", "service-unavailable", ""),
        ):
            self.privileged.send(xep.EXAMPLE_9.replace(ROMEO, other))
            self.assertSent(self.privileged, self.failure(condition, "cancel", other, words))

    def test_host(self) -> None:
        """Without another recipient, the host answers the request itself, or for the user's account."""
        self.router.extensions.clear()
        self.privileged.leave()
        entity = self.entity(PrivilegesTable(iq={ns.PING: "get"}))
        ping = xep.EXAMPLE_9.replace("'set'", "'get'").replace(SUBSCRIBE, f"<ping xmlns='{ns.PING}'/>")
        for recipient, asked in ((f"to='{SERVER}'", SERVER), ("", JULIET)):
            entity.send(ping.replace(f"to='{ROMEO}'", recipient))
            self.assertSent(entity, self.answer(inner(f"id='sub_1' from='{asked}' to='{JULIET}'/>")))

    def test_roster(self) -> None:
        """A user's roster, "as if it were sent by Juliet herself"."""
        self.router.extensions.clear()
        self.privileged.leave()
        entity = self.entity(PrivilegesTable(iq={ns.ROSTER: "both"}))
        item = "<item jid='x@example.com' subscription='none'/>"
        for kind, asked, content in (("set", item, ""), ("get", "", f"<query xmlns='{ns.ROSTER}'>{item}</query>")):
            query = f"<query xmlns='{ns.ROSTER}'>{asked}</query>"
            request = xep.EXAMPLE_9.replace("'set'", f"'{kind}'").replace(SUBSCRIBE, query)
            entity.send(request.replace(f" to='{ROMEO}'", ""))
            answer = inner(f"id='sub_1' from='{JULIET}' to='{JULIET}'>{content}</iq>")
            self.assertSent(entity, self.answer(answer))

    def test_client(self) -> None:
        """A client gets the request, and answers."""
        nurse = self.client(f"{NURSE}/b")
        self.privileged.taken()
        self.privileged.send(xep.EXAMPLE_9.replace(ROMEO, f"{NURSE}/b"))
        self.assertSent(nurse, xep.EXAMPLE_10.replace(ROMEO, f"{NURSE}/b"))
        nurse.send(f"<iq type='result' id='sub_1' to='{JULIET}'/>")
        answer = inner(f"id='sub_1' from='{NURSE}/b' to='{JULIET}'/>")
        self.assertSent(self.privileged, self.answer(answer))

    def test_forged(self) -> None:
        """Only the recipient can answer, with the right id and user, and once."""
        self.privileged.send(xep.EXAMPLE_9)
        self.montaigu.taken()
        nurse = self.client(f"{NURSE}/b")
        self.privileged.taken()
        nurse.send(f"<iq type='result' id='sub_1' to='{JULIET}'/>")
        for sender, recipient, identifier in (
            (f"{ROMEO}/x", JULIET, "sub_1"),
            (ROMEO, NURSE, "sub_1"),
            (ROMEO, JULIET, "sub_2"),
        ):
            self.montaigu.send(f"<iq type='result' from='{sender}' to='{recipient}' id='{identifier}'/>")
        self.assertSent(self.privileged)
        for _ in range(2):
            self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'/>")
        self.assertEqual(len(self.privileged.taken()), 1)

    def test_sameId(self) -> None:
        """Two users with the same id get their own answers; a second request of one user with it is refused."""
        other = xep.EXAMPLE_9.replace(JULIET, NURSE).replace("priv_iq_1", "priv_iq_2")
        self.privileged.send(xep.EXAMPLE_9 + other + xep.EXAMPLE_9)
        refused = self.error("iq", JULIET, "conflict: A request with this id is still open.", "cancel", "priv_iq_1")
        self.assertSent(self.privileged, refused)
        for user in (NURSE, JULIET):
            self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{user}' id='sub_1'/>")
        self.assertSent(
            self.privileged,
            self.answer(inner(f"id='sub_1' from='{ROMEO}' to='{NURSE}'/>"), "priv_iq_2").replace(
                f"from='{JULIET}'", f"from='{NURSE}'"
            ),
            self.answer(inner(f"id='sub_1' from='{ROMEO}' to='{JULIET}'/>")),
        )

    def test_deadline(self) -> None:
        """A request has a deadline, and a late answer is dropped."""
        self.privileged.send(xep.EXAMPLE_9)
        self.clock.advance(24)
        self.assertSent(self.privileged)
        self.clock.advance(2)
        words = "No answer came in time."
        self.assertSent(self.privileged, self.failure("remote-server-timeout", "wait", ROMEO, words))
        self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'/>")
        self.assertSent(self.privileged)

    def test_hostile(self) -> None:
        """Any names in an answer stay names; an answer that grows too large by them is refused."""
        request = xep.EXAMPLE_9
        for content in (
            """<x xmlns="urn:'/>&lt;injected/>&lt;x"/>""",
            """<p:x xmlns:p="a'b&lt;" p:y="1" xml:lang='e"n'><p:z/>&lt;z/&gt;'</p:x>""",
            "<x xmlns=''><y xmlns='urn:y' z='&#10;'/></x>",
            "<x xmlns='a b'><xml:y><z/></xml:y></x>",
        ):
            self.privileged.send(request)
            self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'>{content}</iq>")
            answer = inner(f"id='sub_1' from='{ROMEO}' to='{JULIET}'>{content}</iq>")
            self.assertSent(self.privileged, self.answer(answer))
        long = "x" * 1_000
        swelling = f"<p:x xmlns:p='{long}'>" + f"<y xmlns='{ns.CLIENT}'><p:y/></y>" * 1_000 + "</p:x>"
        self.privileged.send(request)
        self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'>{swelling}</iq>")
        self.assertSent(self.privileged, self.error("iq", JULIET, "not-acceptable", "modify", "priv_iq_1"))

    def test_again(self) -> None:
        """The deadline of an answered request does not affect a later one with the same key."""
        for _ in range(2):
            self.privileged.send(xep.EXAMPLE_9)
            self.clock.advance(20)
            self.assertSent(self.privileged)
            self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'/>")
            answer = inner(f"id='sub_1' from='{ROMEO}' to='{JULIET}'/>")
            self.assertSent(self.privileged, self.answer(answer))

    def test_bounded(self) -> None:
        """At most a thousand are open; they end with the connection, and no delayed call is left."""
        before = len(self.clock.getDelayedCalls())
        for number in range(1000):
            self.privileged.send(xep.EXAMPLE_9.replace("sub_1", f"sub_{number}"))
        self.montaigu.taken()
        said = "resource-constraint: Too many requests are open; try again later."
        self.assertRefused(xep.EXAMPLE_9.replace("sub_1", "one more"), said, "wait")
        self.privileged.leave()
        self.assertLessEqual(len(self.clock.getDelayedCalls()), before + 1)
        again = MemoryComponent(self.services, ENTITY, self.clock)
        again.taken()
        self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'/>")
        self.assertSent(again)

    def test_tooDeep(self) -> None:
        """An answer that would end the entity's stream when wrapped is refused."""
        for depth, fits in ((60, True), (61, False)):
            deep = "<x xmlns='urn:x'>" * depth + "</x>" * depth
            self.privileged.send(xep.EXAMPLE_9)
            self.montaigu.send(f"<iq type='result' from='{ROMEO}' to='{JULIET}' id='sub_1'>{deep}</iq>")
            expected = self.answer(inner(f"id='sub_1' from='{ROMEO}' to='{JULIET}'>{deep}</iq>"))
            refused = self.error("iq", JULIET, "not-acceptable", "modify", "priv_iq_1")
            self.assertSent(self.privileged, expected if fits else refused)


class PresenceTests(PrivilegesCase):
    """The presence feed, in addition to the examples."""

    def test_onlyTheFirst(self) -> None:
        """Of an available resource nothing more is sent until it becomes unavailable; then it starts again."""
        entity = self.entity(PrivilegesTable(presence="managed_entity"))
        juliet = self.client(f"{JULIET}/a")
        shown = f"<presence from='{JULIET}/a' to='{ENTITY}'/>"
        self.assertSent(entity, shown)
        juliet.send("<presence><show>away</show></presence>")
        self.assertSent(entity)
        juliet.send("<presence type='unavailable'><status>bye</status></presence>")
        gone = f"<presence from='{JULIET}/a' to='{ENTITY}' type='unavailable'/>"
        self.assertSent(entity, gone.replace("/>", "><status>bye</status></presence>"))
        juliet.send("<presence/>")
        self.assertSent(entity, shown)
        self.router.unbind(juliet.session)
        self.assertSent(entity, gone)

    def test_atConnect(self) -> None:
        """An entity that connects later gets the presence of online users, once each, at each connection."""
        self.grant()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        for user in (JULIET, NURSE):
            self.subscribe(user, ROMEO)
            montaigu.send(f"<presence from='{ROMEO}/orchard' to='{user}'/>")
        self.subscribe(JULIET, NURSE)
        self.subscribe(NURSE, JULIET)
        self.client(f"{JULIET}/a")
        self.client(f"{JULIET}/b", "")
        self.client(f"{NURSE}/c")
        for _ in range(2):
            entity = MemoryComponent(self.services, ENTITY, self.clock)
            _, *presence = entity.taken()
            expected = [f"<presence from='{jid}' to='{ENTITY}'/>" for jid in (f"{JULIET}/a", f"{NURSE}/c")]
            expected.append(f"<presence from='{ROMEO}/orchard' to='{ENTITY}'/>")
            self.assertEqual(presence, canonical("".join(expected), ns.COMPONENT_ACCEPT))
            entity.leave()

    def test_contacts(self) -> None:
        """Contacts: once for all users who have them, also while no user is online; no other entities."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        for user in (JULIET, NURSE):
            self.subscribe(user, ROMEO)
        for user in (JULIET, NURSE):
            montaigu.send(f"<presence from='{ROMEO}/a' to='{user}'/>")
        self.assertSent(entity, f"<presence from='{ROMEO}/a' to='{ENTITY}'/>")
        for user in (JULIET, NURSE):
            montaigu.send(f"<presence from='{ROMEO}/a' to='{user}' type='unavailable'/>")
        self.assertSent(entity, f"<presence from='{ROMEO}/a' to='{ENTITY}' type='unavailable'/>")
        montaigu.send(f"<presence from='tybalt@montaigu.lit/a' to='{JULIET}'/>")
        montaigu.send(f"<presence from='{ROMEO}/a' to='nobody@{SERVER}'/>")
        montaigu.send(f"<presence from='{ROMEO}/a' to='{JULIET}' type='probe'/>")
        self.assertSent(entity)
        entity.leave()
        entity = MemoryComponent(self.services, ENTITY, self.clock)
        self.assertEqual(len(entity.taken()), 1)

    def test_contactRemoved(self) -> None:
        """A contact of nobody is not shown; unavailable presence to one of two users has no effect."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        users = self.client(f"{JULIET}/a"), self.client(f"{NURSE}/b")
        for each in users:
            self.subscribe(each.session.account.jid, ROMEO)
            montaigu.send(f"<presence from='{ROMEO}/o' to='{each.session.account.jid}'/>")
        for each in users:
            entity.taken()
            item = f"<item jid='{ROMEO}' subscription='remove'/>"
            each.send(f"<iq type='set' id='1'><query xmlns='{ns.ROSTER}'>{item}</query></iq>")
            self.assertEqual(len(entity.taken()), 1)
            gone = f"<presence from='{ROMEO}/o' to='{each.session.account.jid}' type='unavailable'/>"
            if each is users[0]:
                montaigu.send(gone)
                self.assertSent(entity)
        entity.leave()
        entity = MemoryComponent(self.services, ENTITY, self.clock)
        self.assertNotIn(ROMEO, "".join(entity.taken()))

    def test_lastUnavailable(self) -> None:
        """Unavailable presence to the last user who was subscribed to the contact goes to the entity."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.subscribe(JULIET, ROMEO)
        montaigu.send(f"<presence from='{ROMEO}/o' to='{JULIET}'/>")
        self.router.accounts[JULIET].roster.get(ROMEO).to = False
        entity.taken()
        montaigu.send(f"<presence from='{ROMEO}/o' to='{JULIET}' type='unavailable'/>")
        self.assertSent(entity, f"<presence from='{ROMEO}/o' to='{ENTITY}' type='unavailable'/>")

    def test_contactsLeave(self) -> None:
        """Contacts become unavailable with their component; when they return, they are shown again."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.subscribe(JULIET, ROMEO)
        shown = f"<presence from='{ROMEO}/o' to='{ENTITY}'/>"
        montaigu.send(f"<presence from='{ROMEO}/o' to='{JULIET}'/>")
        self.assertSent(entity, shown)
        montaigu.leave()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        montaigu.send(f"<presence from='{ROMEO}/o' to='{JULIET}'/>")
        self.assertSent(entity, shown)
        montaigu.leave()
        entity.leave()
        self.assertEqual(len(MemoryComponent(self.services, ENTITY, self.clock).taken()), 1)

    def test_contactsBounded(self) -> None:
        """The number of shown contacts on components is limited, and long presence is not shown."""
        entity = self.entity()
        montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
        self.subscribe(JULIET, ROMEO)
        long = f"<status>{'x' * 20_000}</status>"
        montaigu.send(f"<presence from='{ROMEO}/long' to='{JULIET}'>{long}</presence>")
        self.assertSent(entity)
        for number in range(2_001):
            montaigu.send(f"<presence from='{ROMEO}/{number}' to='{JULIET}'/>")
        self.assertEqual(len(entity.taken()), 2_000)
        montaigu.send(f"<presence from='{ROMEO}/0' to='{JULIET}' type='unavailable'/>")
        montaigu.send(f"<presence from='{ROMEO}/again' to='{JULIET}'/>")
        self.assertEqual(len(entity.taken()), 2)

    def test_notGranted(self) -> None:
        """No contacts for "managed_entity"; nothing for "none", nor for "roster" without roster access."""
        for table, expected in (
            (PrivilegesTable(presence="managed_entity"), 1),
            (PrivilegesTable(roster="get"), 0),
            (PrivilegesTable(roster="set", presence="roster"), 0),
        ):
            self.setUp()
            entity = self.entity(table)
            montaigu = MemoryComponent(self.services, "montaigu.lit", self.clock)
            self.subscribe(JULIET, ROMEO)
            montaigu.send(f"<presence from='{ROMEO}/a' to='{JULIET}'/>")
            self.client(f"{JULIET}/a")
            self.assertEqual(len(entity.taken()), expected)

    def test_transparent(self) -> None:
        """Rosters do not show the entity."""
        self.entity()
        self.client(f"{JULIET}/a")
        self.assertEqual(len(self.router.accounts[JULIET].roster), 0)


@implementer(IStreamClientEndpoint)
class IntoHost:
    """Connects a link to a host by transports in memory."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self.services = services
        self.clock = clock

    def connect(self, factory: Any) -> Deferred[Any]:
        server = ComponentConnection(self.services, {ENTITY: "secret"}, self.clock)
        client = factory.buildProtocol(None)
        self.pump = connect(server, FakeTransport(server, True), client, FakeTransport(client, False))
        return succeed(client)


class BothSidesTests(PrivilegesCase):
    """The gateway's side with the host's."""

    def setUp(self) -> None:
        super().setUp()
        self.grant(PrivilegesTable(roster="both", message="outgoing", presence="roster", iq={ns.PING: "get"}))
        self.endpoint = IntoHost(self.services, self.clock)
        link = Link(self.clock, self.endpoint, ENTITY, "secret")
        self.handler = PrivilegeHandler([SERVER])
        self.handler.setHandlerParent(link)
        self.heard: list[object] = []
        self.handler.watchRosters(lambda user, items: self.heard.append((user, items)))
        self.handler.watchPresence(lambda presence: self.heard.append((presence.sender, presence.type)))
        link.startService()
        self.endpoint.pump.flush()

    def test_rosters(self) -> None:
        """A roster item is set, and pushed."""
        item = RosterItem(jid="x@example.com", name="X & Y", groups=frozenset(["b", "a"]), subscription="both")
        done = self.handler.setRoster(JULIET, [item])
        self.endpoint.pump.flush()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.heard, [(JULIET, [item])])
        roster = self.handler.getRoster(JULIET)
        self.endpoint.pump.flush()
        self.assertEqual(self.successResultOf(roster), [item])

    def test_message(self) -> None:
        """A message is delivered."""
        nurse = self.client(f"{NURSE}/b")
        message = domish.Element((None, "message"), attribs={"from": JULIET, "to": NURSE, "id": "1"})
        message.addElement("body", content="hi")
        self.handler.sendAs(message)
        self.endpoint.pump.flush()
        self.assertSent(nurse, f"<message from='{JULIET}' to='{NURSE}' id='1'><body>hi</body></message>")

    def test_iq(self) -> None:
        """A request is answered, with a result or an error."""
        iq = domish.Element((None, "iq"), attribs={"type": "get", "to": SERVER})
        iq.addElement((ns.PING, "ping"))
        answer = self.handler.requestAs(JULIET, iq)
        self.endpoint.pump.flush()
        self.assertEqual(self.successResultOf(answer)["from"], SERVER)
        iq["to"] = "nobody@example.com"
        failing = self.handler.requestAs(JULIET, iq)
        self.endpoint.pump.flush()
        self.assertEqual(self.failureResultOf(failing, StanzaError).value.condition, "remote-server-not-found")

    def test_presence(self) -> None:
        """Presence is forwarded."""
        juliet = self.client(f"{JULIET}/a")
        self.router.unbind(juliet.session)
        self.endpoint.pump.flush()
        self.assertEqual(self.heard, [(f"{JULIET}/a", None), (f"{JULIET}/a", "unavailable")])

    def test_permissions(self) -> None:
        """The advertised permissions are the configured ones."""
        expected = Permissions(SERVER, ns.PRIVILEGE, "both", True, "outgoing", "roster", {ns.PING: "get"})
        self.assertEqual(self.handler.permissions(SERVER), expected)
        other = domish.Element((None, "iq"), attribs={"type": "set"})
        other.addElement((ns.PING, "ping"))
        self.failureResultOf(self.handler.requestAs(JULIET, other), NotGranted)


names = st.sampled_from(["privilege", "forwarded", "iq", "message", "query", "item", "error", "privileged_iq"])
spaces = st.sampled_from([ns.PRIVILEGE, ns.PRIVILEGE_1, ns.FORWARD, ns.ROSTER, ns.CLIENT, "", PUBSUB])
attributes = st.dictionaries(
    st.sampled_from(["type", "id", "to", "from", "jid", "subscription"]),
    st.sampled_from(["get", "set", "result", "both", "1", "@", JULIET, NURSE, SERVER, ENTITY]),
)


anything = xep.elements(names, spaces, attributes)


class AnythingTests(SynchronousTestCase):
    """For any input of a component, the host does not fail, and each iq request gets one answer."""

    @steady
    @given(st.lists(anything, max_size=2), st.sampled_from(["get", "set"]), st.sampled_from([JULIET, SERVER]))
    def test_anything(self, contents: list[str], kind: str, recipient: str) -> None:
        """Requests and messages of any form; a failure of the host would be an internal-server-error."""
        case = PrivilegesCase()
        case.setUp()
        entity = case.entity()
        content = "".join(contents)
        wrapped_ = f"<privileged_iq xmlns='{ns.PRIVILEGE}'>{content}</privileged_iq>"
        for payload in (content, wrapped_):
            entity.send(f"<iq type='{kind}' id='outer' from='{ENTITY}' to='{recipient}'>{payload}</iq>")
            case.clock.advance(30)
            answers = [each for each in entity.taken() if 'id="outer"' in each and 'type="set"' not in each]
            self.assertEqual(len(answers), 1, payload)
            self.assertNotIn("internal-server-error", answers[0])
        entity.send(wrapped(content))
        self.assertNotIn("internal-server-error", "".join(entity.taken()))
        self.assertFalse(entity.transport.disconnecting)
