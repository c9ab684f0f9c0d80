"""Client mode of delegation (XEP-0355 section 5): the host's side."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.delegation.delegations import Delegation
from gateway.embedded import consent
from gateway.embedded.consent import CONFIGURE
from gateway.embedded.handler import Services
from gateway.embedded.sessions import Session
from gateway.errors import ERRORS, GatewayError
from tests.embedded.support import MemoryPeer, stanza
from tests.stream.memory import Tree, tree

HOST = "capulet.lit"
JULIET = f"juliet@{HOST}"
PUBSUB = "http://jabber.org/protocol/pubsub"
ENTITY = "pubsub.montaigu.lit"
HEADER = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}'>"


class FakePeer(MemoryPeer):
    """A connected peer, without presence."""

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        """Ignore presence."""

    def taken(self) -> list[Tree]:
        root = ElementTree.fromstring(f"{HEADER}{self.take().decode()}</stream:stream>")
        return [tree(child) for child in root]


def trees(xml: str) -> list[Tree]:
    """Parse stanzas, without the white space of their layout."""
    tight = re.sub(r">\s+<", "><", xml.strip())
    root = ElementTree.fromstring(f"{HEADER}{tight}</stream:stream>")
    return [tree(child) for child in root]


def values(form: Tree) -> dict[str, list[str]]:
    """Return the values of a form by field."""
    return {
        field[1]["var"]: [child[2][0] for child in field[2] if child[0].endswith("}value")]
        for field in form[2]
        if field[0].endswith("}field")
    }


def find(element: Tree, name: str) -> Tree:
    """Return the one element of this name at any depth."""
    [found] = [each for each in _all(element) if each[0].rpartition("}")[2] == name]
    return found


def _all(element: Tree) -> Iterable[Tree]:
    yield element
    for child in element[2]:
        if not isinstance(child, str):
            yield from _all(child)


class ConsentTests(SynchronousTestCase):
    """A user, a managing entity, and the stanzas between them."""

    def setUp(self) -> None:
        self.now = 0.0
        self.services = Services(HOST, ["juliet", "nurse", "romeo"], self.delegations(), lambda: self.now)
        self.router = self.services.router
        self.entity = FakePeer()
        self.router.attach(ENTITY, self.entity)
        self.session, self.juliet = self.logIn("balcony")

    def delegations(self) -> list[Delegation]:
        return []

    def logIn(self, resource: str, presence: str = "<presence/>") -> tuple[Session, FakePeer]:
        account = self.router.accounts[JULIET]
        peer = FakePeer()
        session, _ = self.router.bind(account, f"{JULIET}/{resource}", peer)
        if presence:
            self.router.fromClient(session, stanza(presence), "")
            peer.taken()
        return session, peer

    def ask(self, *namespaces: str, user: str = JULIET, sender: str = ENTITY) -> list[Tree]:
        """Send a request of the managing entity; return its immediate answer."""
        inside = "".join(f"<delegate namespace='{each}'/>" for each in namespaces)
        query = (
            f"<iq type='get' id='delegation1'><query xmlns='{ns.DELEGATION_2}' to='{user}'>{inside}</query></iq>"
        )
        self.router.fromComponent(self.entity, stanza(query), sender, HOST)
        return self.entity.taken()

    def answer(self, challenge: str, session: Session | None = None, **answers: str) -> None:
        """Submit a form as Juliet."""
        fields = "".join(
            f"<field var='{name}'><value>{value}</value></field>"
            for name, value in {"FORM_TYPE": "", "challenge": challenge, **answers}.items()
        )
        message = f"<message to='{HOST}'><x xmlns='{ns.DATA}' type='submit'>{fields}</x></message>"
        self.router.fromClient(session or self.session, stanza(message), HOST)

    def challenge(self) -> str:
        [asked] = self.juliet.taken()
        [challenge] = values(find(asked, "x"))["challenge"]
        return challenge

    def grant(self, *namespaces: str) -> None:
        """Ask Juliet for these namespaces, and allow them."""
        self.ask(*namespaces)
        self.answer(self.challenge(), **dict.fromkeys(namespaces, "1"))

    def command(self, inside: str = "", action: str = "execute") -> Tree:
        xml = (
            f"<iq type='set' id='c' to='{HOST}'><command xmlns='{ns.COMMANDS}' node='{CONFIGURE}' "
            f"action='{action}'>{inside}</command></iq>"
        )
        self.router.fromClient(self.session, stanza(xml), HOST)
        [answer] = self.juliet.taken()
        return find(answer, "command")

    def request(self, to: str | None = None, peer: FakePeer | None = None) -> list[Tree]:
        """Send a request of Juliet in the namespace; return what the managing entity gets."""
        written = "" if to is None else f" to='{to}'"
        xml = f"<iq type='get' id='1'{written}><pubsub xmlns='{PUBSUB}'/></iq>"
        self.router.fromClient(self.session, stanza(xml), to or "")
        return self.entity.taken()

    def test_examples12to15(self) -> None:
        """
        Examples 12, "managing entity asks for namespace delegation for one particular entity", 13, "server asks
        user for the namespace delegation", 14, "client answer to the form", and 15, "server advertise delegated
        namespaces for juliet"; complete, except for the texts.
        """
        self.assertEqual(
            self.ask(PUBSUB),
            trees(f"<iq id='delegation1' type='result' from='{HOST}' to='{ENTITY}'/>"),
        )
        [question] = self.juliet.taken()
        [body] = find(question, "body")[2]
        [title] = find(question, "title")[2]
        [instructions] = find(question, "instructions")[2]
        self.assertTrue(ENTITY in body and ENTITY in instructions and title)
        [challenge] = values(find(question, "x"))["challenge"]
        expected = f"""
            <message from='{HOST}' to='{JULIET}/balcony' id='{question[1]["id"]}'><body>{body}</body>
            <x xmlns='jabber:x:data' type='form'><title>{title}</title><instructions>{instructions}</instructions>
            <field type='hidden' var='FORM_TYPE'><value>urn:xmpp:delegation:2</value></field>
            <field type='hidden' var='challenge'><value>{challenge}</value></field>
            <field type='list-single' label='Manage {PUBSUB}' var='{PUBSUB}'><value>0</value>
            <option label='No'><value>0</value></option><option label='Yes'><value>1</value></option></field>
            </x></message>"""
        self.assertEqual([question], trees(expected))
        self.answer(challenge, **{PUBSUB: "1"})
        advertised, _ = self.entity.taken()
        expected = f"""
            <message from='{HOST}' to='{ENTITY}' id='{advertised[1]["id"]}'>
            <delegation xmlns='urn:xmpp:delegation:2' to='{JULIET}'><delegated namespace='{PUBSUB}'/></delegation>
            </message>"""
        self.assertEqual([advertised], trees(expected))
        self.assertEqual(self.juliet.taken(), [])

    def test_asks(self) -> None:
        """
        Section 5.1, examples 12 and 13: the user is asked by a form with a challenge, with the namespaces as
        fields, and 0 as default.
        """
        self.assertEqual([each[1]["type"] for each in self.ask(PUBSUB)], ["result"])
        [asked] = self.juliet.taken()
        self.assertEqual((asked[1]["from"], asked[1]["to"]), (HOST, f"{JULIET}/balcony"))
        self.assertIn(ENTITY, find(asked, "body")[2][0])
        fields = values(find(asked, "x"))
        self.assertEqual(fields["FORM_TYPE"], [ns.DELEGATION_2])
        self.assertEqual(fields[PUBSUB], ["0"])
        self.assertTrue(len(fields["challenge"][0]) > 20)

    def test_grants(self) -> None:
        """
        Section 5.1, examples 14 and 15: allowed namespaces are advertised with the user's bare JID, and the
        features to nest are requested.
        """
        self.ask(PUBSUB, "urn:other")
        self.answer(self.challenge(), **{PUBSUB: "1", "urn:other": "0"})
        message, query = self.entity.taken()
        delegation = find(message, "delegation")
        self.assertEqual((message[1]["from"], message[1]["to"], delegation[1]), (HOST, ENTITY, {"to": JULIET}))
        self.assertEqual([each[1] for each in delegation[2]], [{"namespace": PUBSUB}])
        self.assertEqual(find(query, "query")[1]["node"], f"{ns.DELEGATION_2}:bare:{PUBSUB}")

    def test_refuses(self) -> None:
        """A user who answers no, or sends an empty form, has granted nothing."""
        self.ask(PUBSUB)
        self.answer(self.challenge())
        self.assertEqual(self.entity.taken(), [])
        self.assertRaises(GatewayError, self.request)

    def test_challenge(self) -> None:
        """A challenge is valid for its user, once, for ten minutes; any other is refused."""
        self.ask(PUBSUB)
        challenge = self.challenge()
        nurse = FakePeer()
        other, _ = self.router.bind(self.router.accounts[f"nurse@{HOST}"], f"nurse@{HOST}/x", nurse)
        for wrong, session in (("x", None), (challenge, other)):
            error = self.assertRaises(GatewayError, self.answer, wrong, session, **{PUBSUB: "1"})
            self.assertEqual(type(error).__name__, "NoSuchAddress")
        self.answer(challenge, **{PUBSUB: "1"})
        self.assertRaises(GatewayError, self.answer, challenge, **{PUBSUB: "1"})
        self.ask("urn:late")
        late = self.challenge()
        self.now = 601
        self.assertRaises(GatewayError, self.answer, late, **{"urn:late": "1"})

    def test_mayNot(self) -> None:
        """Section 8, rule 5, and invalid requests; an offline user cannot be distinguished from an unknown one."""
        for namespaces, user, wanted in (
            ([ns.DELEGATION_2], JULIET, "Forbidden"),
            ([ns.DELEGATION_1], JULIET, "Forbidden"),
            ([], JULIET, "BadRequest"),
            ([PUBSUB, ""], JULIET, "BadRequest"),
            ([f"urn:{number}" for number in range(21)], JULIET, "NotAcceptable"),
            ([PUBSUB, "challenge"], JULIET, "NotAcceptable"),
            (["FORM_TYPE"], JULIET, "NotAcceptable"),
            (["x" * 201], JULIET, "NotAcceptable"),
            ([PUBSUB], f"nurse@{HOST}", "RecipientUnavailable"),
            ([PUBSUB], f"nobody@{HOST}", "RecipientUnavailable"),
            ([PUBSUB], f"{JULIET}/balcony", "BadRequest"),
            ([PUBSUB], "@", "BadRequest"),
        ):
            error = self.assertRaises(GatewayError, self.ask, *namespaces, user=user)
            self.assertEqual(type(error).__name__, wanted, (namespaces, user))
        self.ask(PUBSUB)
        for sender in (ENTITY, f"other@{ENTITY}/x"):
            error = self.assertRaises(GatewayError, self.ask, PUBSUB, sender=sender)
            self.assertEqual(type(error).__name__, "ResourceLimit")

    def test_mayNotAskItself(self) -> None:
        """A client may ask to manage namespaces of another user, but not of its own account."""
        query = f"<query xmlns='{ns.DELEGATION_2}' to='{JULIET}'><delegate namespace='{PUBSUB}'/></query>"
        iq = stanza(f"<iq type='get' id='own'>{query}</iq>")
        error = self.assertRaises(GatewayError, self.router.fromClient, self.session, iq, HOST)
        self.assertEqual(type(error).__name__, "NotAllowed")
        self.assertEqual(self.juliet.taken(), [])

    def test_clientsAsk(self) -> None:
        """Each client may have a question open for a user: the clients of a host are separate entities."""
        query = f"<query xmlns='{ns.DELEGATION_2}' to='{JULIET}'><delegate namespace='{PUBSUB}'/></query>"
        for name, resource in (("nurse", "a"), ("romeo", "a"), ("romeo", "b")):
            account = self.router.accounts[f"{name}@{HOST}"]
            session, _ = self.router.bind(account, f"{name}@{HOST}/{resource}", FakePeer())
            iq = stanza(f"<iq type='get' id='q'>{query}</iq>")
            if resource == "b":
                error = self.assertRaises(GatewayError, self.router.fromClient, session, iq, HOST)
                self.assertEqual(type(error).__name__, "ResourceLimit")
            else:
                self.router.fromClient(session, iq, HOST)
        self.assertEqual(len(self.juliet.taken()), 2)

    def test_bounds(self) -> None:
        """The numbers of open questions of all users, and of a user's grants, are limited."""
        self.patch(consent, "_MAX_ASKED", 1)
        self.patch(consent, "_MAX_GRANTED", 1)
        self.ask(PUBSUB)
        error = self.assertRaises(GatewayError, self.ask, PUBSUB, sender="other.montaigu.lit")
        self.assertEqual(type(error).__name__, "ResourceLimit")
        self.answer(self.challenge(), **{PUBSUB: "1"})
        self.grant("urn:further", PUBSUB)
        granted = self.services.delegating.consents.granted
        self.assertEqual([each.namespace for each in granted(JULIET)], [PUBSUB])
        # At the limit, a namespace can still be given to another entity.
        self.ask(PUBSUB, sender="other.montaigu.lit")
        self.answer(self.challenge(), **{PUBSUB: "1"})
        self.assertEqual([each.entities for each in granted(JULIET)], [("other.montaigu.lit",)])

    def test_forwards(self) -> None:
        """Section 5.2, rules 1 and 2: her requests to her server and all requests to her bare JID are forwarded."""
        self.grant(PUBSUB)
        self.entity.taken()
        for to in (None, HOST, JULIET):
            [wrapped] = self.request(to)
            self.assertEqual(find(wrapped, "forwarded")[2][0][1].get("from"), f"{JULIET}/balcony")
        nurse = FakePeer()
        session, _ = self.router.bind(self.router.accounts[f"nurse@{HOST}"], f"nurse@{HOST}/x", nurse)
        xml = f"<iq type='get' id='1' to='{JULIET}'><pubsub xmlns='{PUBSUB}'/></iq>"
        self.router.fromClient(session, stanza(xml), JULIET)
        self.assertEqual(len(self.entity.taken()), 1)

    def test_forwardsNoOther(self) -> None:
        """Section 5.2, rule 3: other users' requests to the server are not forwarded, nor the entity's own."""
        self.grant(PUBSUB)
        self.entity.taken()
        nurse = FakePeer()
        session, _ = self.router.bind(self.router.accounts[f"nurse@{HOST}"], f"nurse@{HOST}/x", nurse)
        xml = f"<iq type='get' id='1' to='{HOST}'><pubsub xmlns='{PUBSUB}'/></iq>"
        self.assertRaises(GatewayError, self.router.fromClient, session, stanza(xml), HOST)
        own = stanza(f"<iq type='get' id='1'><pubsub xmlns='{PUBSUB}'/></iq>")
        self.assertRaises(GatewayError, self.router.fromComponent, self.entity, own, ENTITY, JULIET)
        self.assertEqual(self.entity.taken(), [])

    def test_notThere(self) -> None:
        """
        Section 8, rule 4: while the entity is offline its namespaces are unavailable; then they are advertised
        again.
        """
        self.grant(PUBSUB)
        self.router.attach(ENTITY, None)
        self.assertRaises(GatewayError, self.request)
        back = FakePeer()
        self.router.attach(ENTITY, back)
        self.assertEqual(find(back.taken()[0], "delegation")[1], {"to": JULIET})

    def test_lists(self) -> None:
        """Section 6: the command lists the grants and revokes the selected ones; the entity is notified."""
        self.grant(PUBSUB)
        self.grant("urn:other")
        self.entity.taken()
        shown = self.command()
        self.assertEqual(shown[1]["status"], "executing")
        options = [each for each in _all(shown) if each[0].endswith("}option")]
        self.assertEqual({find(each, "value")[2][0] for each in options}, {PUBSUB, "urn:other"})
        self.assertIn(ENTITY, options[0][1]["label"])
        form = f"<x xmlns='{ns.DATA}' type='submit'><field var='revoke'><value>{PUBSUB}</value></field></x>"
        self.assertEqual(self.command(form, "complete")[1]["status"], "completed")
        [message, *_] = self.entity.taken()
        self.assertEqual([each[1] for each in find(message, "delegation")[2]], [{"namespace": "urn:other"}])
        self.assertRaises(GatewayError, self.request)

    def test_forgotten(self) -> None:
        """Nothing is kept about an entity that manages nothing any longer, whatever addresses it uses."""
        form = f"<x xmlns='{ns.DATA}' type='submit'><field var='revoke'><value>{PUBSUB}</value></field></x>"
        delegating = self.services.delegating
        for _ in range(2):
            self.grant(PUBSUB)
            [_, query] = self.entity.taken()
            self.assertEqual(delegating._delegator.address(ENTITY), ENTITY)
            told = f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/></query>"
            xml = f"<iq type='result' id='{query[1]['id']}'>{told}</iq>"
            self.router.fromComponent(self.entity, stanza(xml), ENTITY, HOST)
            self.assertEqual(len(delegating._infos), 1)
            self.command(form, "complete")
            self.entity.taken()
            self.assertIs(delegating._delegator.address(ENTITY), None)
            self.assertEqual((delegating._infos, delegating._asked), ({}, {}))

    def test_removed(self) -> None:
        """A component that is removed loses its grants and questions; those of other components stay."""
        self.grant(PUBSUB)
        other = FakePeer()
        self.router.attach("other.example", other)
        self.ask("urn:other", sender="other.example")
        self.answer(self.challenge(), **{"urn:other": "1"})
        self.ask("urn:late")
        late = self.challenge()
        self.router.attach(ENTITY, None)
        self.router.removeComponent(ENTITY)
        consents = self.services.delegating.consents
        self.assertEqual([each.namespace for each in consents.granted(JULIET)], ["urn:other"])
        self.assertEqual(consents.entities(), {"other.example"})
        self.router.attach(ENTITY, self.entity)
        self.entity.take()
        with self.assertRaises(GatewayError):
            self.answer(late, **{"urn:late": "1"})
        self.assertFalse(self.entity.take())

    def test_askedOnce(self) -> None:
        """There is only one open disco#info request per node, and their total number is limited."""
        for number in range(3):
            self.grant(f"urn:{number}")
        self.assertEqual(len(self.services.delegating._asked), 3)

    def test_commandIsTheHosts(self) -> None:
        """An entity that manages commands for a user does not get the command that revokes this."""
        self.grant(ns.COMMANDS)
        self.entity.taken()
        options = [each for each in _all(self.command()) if each[0].endswith("}option")]
        self.assertEqual([find(each, "value")[2] for each in options], [[ns.COMMANDS]])
        self.assertEqual(self.entity.taken(), [])
        other = f"<iq type='set' id='1' to='{HOST}'><command xmlns='{ns.COMMANDS}' node='other'/></iq>"
        self.router.fromClient(self.session, stanza(other), HOST)
        self.assertEqual(len(self.entity.taken()), 1)

    def test_nothingToList(self) -> None:
        """A user who has granted nothing is told so; cancelling changes nothing."""
        self.assertEqual(self.command()[1]["status"], "completed")
        self.assertEqual(self.command(action="cancel")[1]["status"], "canceled")

    def test_otherCommand(self) -> None:
        """XEP-0050 section 4.4: an unknown command."""
        other = f"<iq type='set' id='1' to='{HOST}'><command xmlns='{ns.COMMANDS}' node='other'/></iq>"
        error = self.assertRaises(GatewayError, self.router.fromClient, self.session, stanza(other), HOST)
        self.assertEqual(ERRORS[type(error)].condition, "item-not-found")

    def test_commandIsFound(self) -> None:
        """The command is listed as XEP-0050 requires."""
        xml = f"<iq type='get' id='d' to='{HOST}'><query xmlns='{ns.DISCO_ITEMS}' node='{ns.COMMANDS}'/></iq>"
        self.router.fromClient(self.session, stanza(xml), HOST)
        [found] = self.juliet.taken()
        self.assertEqual(find(found, "item")[1]["node"], CONFIGURE)
        xml = f"<iq type='get' id='d' to='{HOST}'><query xmlns='{ns.DISCO_INFO}' node='{CONFIGURE}'/></iq>"
        self.router.fromClient(self.session, stanza(xml), HOST)
        [found] = self.juliet.taken()
        self.assertEqual(find(found, "identity")[1]["type"], "command-node")

    def test_revokedAndGone(self) -> None:
        """Nothing is kept about an entity after its revocation: its open requests are refused at once."""
        for number in range(3):
            nurse = FakePeer()
            session, _ = self.router.bind(self.router.accounts[f"nurse@{HOST}"], f"nurse@{HOST}/{number}", nurse)
            query = f"<query xmlns='{ns.DELEGATION_2}' to='{JULIET}'><delegate namespace='{PUBSUB}'/></query>"
            self.router.fromClient(session, stanza(f"<iq type='get' id='d' to='{HOST}'>{query}</iq>"), HOST)
            self.answer(self.challenge(), **{PUBSUB: "1"})
            [asked] = [each for each in nurse.taken() if each[1].get("type") == "get"]
            info = f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/></query>"
            told = f"<iq type='result' id='{asked[1]['id']}' to='{HOST}'>{info}</iq>"
            self.router.fromClient(session, stanza(told), HOST)
            self.request()
            self.services.delegating.consents.revoke(JULIET, [PUBSUB])
            [refused] = self.juliet.taken()
            self.assertEqual(refused[1]["type"], "error")
            self.router.unbind(session)
            self.assertEqual(self.juliet.taken(), [])
        delegating = self.services.delegating
        self.assertEqual((delegating._delegator._addresses, delegating._infos, delegating._asked), ({}, {}, {}))

    def test_ends(self) -> None:
        """Grants end when the user's last resource disconnects, and the managing entity is notified."""
        self.grant(PUBSUB)
        other, peer = self.logIn("garden", "")
        self.entity.taken()
        self.router.unbind(self.session)
        self.assertEqual(self.entity.taken(), [])
        self.router.unbind(other)
        [message] = self.entity.taken()
        self.assertEqual(find(message, "delegation")[2], [])
        self.session, self.juliet = self.logIn("balcony")
        self.assertRaises(GatewayError, self.request)
        self.assertEqual(peer.taken(), [])
