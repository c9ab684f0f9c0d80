"""The embedded host as a delegating server (XEP-0355 0.5), as seen by its clients and its managing entities."""

from __future__ import annotations

from typing import Any

from gateway import ns
from gateway.delegation.delegations import Delegation
from gateway.embedded import delegation
from gateway.embedded.core import MAX_STANZA
from gateway.errors import BadRequest, NotAcceptable, RecipientUnavailable
from tests.delegation.support import (
    COMPONENT,
    HOST,
    JULIET,
    PUBSUB,
    Case,
    End,
    Host,
    answer,
    errorXml,
    meaning,
    reply,
    request,
    wrapper,
)

BARE = "juliet@capulet.lit"
SPARE = "spare.capulet.lit"
ROMEO = "romeo@capulet.lit/orchard"
NURSE = "nurse@capulet.lit"
PAYLOAD = f"<pubsub xmlns='{PUBSUB}'/>"


class DelegatingCase(Case):
    """A host, a managing entity, and Juliet."""

    def make_(self, *delegations: Delegation) -> list[Any]:
        """Connect all; record the first stanzas to the managing entity."""
        self.host = Host(delegations, "juliet", "romeo", "nurse")
        self.managing = self.host.component(COMPONENT)
        self.juliet = self.host.client(JULIET)
        return self.managing.taken()

    def setUp(self) -> None:
        super().setUp()
        self.make_(Delegation(PUBSUB, (COMPONENT,)))

    def ask(self, payload: str = PAYLOAD, kind: str = "get", to: str | None = None, end: End | None = None) -> None:
        """Send a request of Juliet, or of another user."""
        written = "" if to is None else f" to='{to}'"
        (end or self.juliet).say(f"<iq{written} id='1' type='{kind}'>{payload}</iq>")

    def handed(self, inner: str | None = None, end: End | None = None, address: str = COMPONENT) -> str:
        """Check that the managing entity got only this; return the outer id."""
        [found] = (end or self.managing).taken()
        identifier = str(found[1]["id"])
        self.assertEqual([found], meaning(wrapper(inner or request(PAYLOAD), identifier, to=address)))
        return identifier

    def answers(self, identifier: str, inner: str, end: End | None = None, address: str = COMPONENT) -> None:
        (end or self.managing).say(answer(inner, identifier, sender=address))

    def assertAnswered(self, content: str = "", kind: str = "result", sender: str = BARE) -> None:
        """Check that Juliet got only this."""
        expected = f"<iq from='{sender}' to='{JULIET}' id='1' type='{kind}'>{content}</iq>"
        self.assertEqual(self.juliet.taken(), meaning(expected))

    def assertRefused(self, error: type[Any] = RecipientUnavailable, sender: str = BARE) -> None:
        self.assertAnswered(errorXml(error), "error", sender)


class RequestTests(DelegatingCase):
    """The forwarded requests and their form."""

    def test_whom(self) -> None:
        """
        Section 4.3: "either directed to him (no 'to' attribute, or 'to' attribute with its own JID), or directed to
        any bare jid (and only bare jid) that it manages"; also to the bare JID of an unknown user.
        """
        for to in (None, HOST, BARE, "romeo@capulet.lit", "nobody@capulet.lit"):
            self.ask(to=to)
            identifier = self.handed(request(PAYLOAD, to=to))
            self.answers(identifier, reply(sender=to or BARE))
            self.assertAnswered(sender=to or BARE)

    def test_others(self) -> None:
        """Requests to a resource, or in another namespace, are not forwarded."""
        for to in (JULIET, ROMEO, f"{HOST}/x", COMPONENT):
            self.ask(to=to)
            self.assertEqual([each for each in self.managing.taken() if each[1]["type"] == "set"], [])
        self.juliet.taken()
        self.ask(f"<ping xmlns='{ns.PING}'/>", to=HOST)
        self.assertAnswered(sender=HOST)
        self.assertEqual(self.managing.taken(), [])

    def test_spelling(self) -> None:
        """Any spelling: prefixes of the stanza's own tag, a repeated default namespace."""
        for written in (
            f"<iq xmlns:p='{PUBSUB}' id='1' type='get'><p:pubsub/></iq>",
            f"<c:iq xmlns:c='{ns.CLIENT}' xmlns='{PUBSUB}' id='1' type='get'><pubsub/></c:iq>",
            f"<iq xmlns='{ns.CLIENT}' id='1' type='get'>{PAYLOAD}</iq>",
            f"<iq id='1' type='get'>\n  {PAYLOAD}\n</iq>",
        ):
            with self.subTest(written):
                self.juliet.say(written)
                self.answers(self.handed(), reply())
                self.assertAnswered()

    def test_language(self) -> None:
        """RFC 6120 section 8.1.5: a server keeps xml:lang, both of the request and of the answer."""
        for inside in ("", " "):
            self.juliet.say(f"<iq id='1' type='get' xml:lang='de'>{PAYLOAD}</iq>")
            identifier = self.handed(request(PAYLOAD).replace("<iq", "<iq xml:lang='de'", 1))
            # With the fast reader, and with the slow one.
            self.answers(identifier, inside + reply(PAYLOAD).replace("<iq", "<iq xml:lang='fr'", 1))
            expected = f"<iq xml:lang='fr' from='{BARE}' to='{JULIET}' id='1' type='result'>{PAYLOAD}</iq>"
            self.assertEqual(self.juliet.taken(), meaning(expected))

    def test_noRequest(self) -> None:
        """A request without a payload, or with two, is the requester's error."""
        for payload in ("", PAYLOAD * 2):
            self.ask(payload)
            self.assertRefused(BadRequest)
        self.assertEqual(self.managing.taken(), [])
        self.assertQuiet()

    def test_filtering(self) -> None:
        """
        N.B. 3: "If the server encounter a delegated namespace but the filtering attribute does not match, it MUST
        follow its normal behaviour".
        """
        self.make_(Delegation(ns.VERSION, (COMPONENT,), frozenset({"a", "b"})))
        for written in ("", " a='1'", " b='1'"):
            self.ask(f"<query xmlns='{ns.VERSION}'{written}/>", to=HOST)
            [(_, attributes, _)] = self.juliet.taken()
            self.assertEqual(attributes["type"], "result")
        self.assertEqual(self.managing.taken(), [])
        payload = f"<query xmlns='{ns.VERSION}' a='' b='1'/>"
        self.ask(payload, to=HOST)
        self.handed(request(payload, to=HOST))

    def test_own(self) -> None:
        """Section 4.3.1: the server itself answers the managing entity's own requests."""
        self.make_(Delegation(ns.PING, (COMPONENT,)))
        for sender in (COMPONENT, f"{COMPONENT}/x"):
            self.managing.say(f"<iq from='{sender}' to='{HOST}' id='1' type='get'><ping xmlns='{ns.PING}'/></iq>")
            expected = f"<iq from='{HOST}' to='{sender}' id='1' type='result'/>"
            self.assertEqual(self.managing.taken(), meaning(expected))

    def test_components(self) -> None:
        """Another component may send requests as well; its answer is in the namespace of its stream."""
        other = self.host.component(SPARE)
        other.say(f"<iq from='x@{SPARE}' to='{BARE}' id='1' type='get'>{PAYLOAD}</iq>")
        inner = request(PAYLOAD, requester=f"x@{SPARE}", to=BARE)
        self.answers(self.handed(inner), reply(f"<x xmlns='{ns.CLIENT}'/>", to=f"x@{SPARE}"))
        [(name, attributes, children)] = other.taken()
        self.assertEqual((name, attributes["to"], attributes["from"]), ("{jabber:client}iq", f"x@{SPARE}", BARE))
        self.assertEqual([each[0] for each in children], ["{jabber:client}x"])

    def test_sameId(self) -> None:
        """Two users with the same id at the same time each get their own answer."""
        romeo = self.host.client(ROMEO)
        self.ask()
        first = self.handed()
        self.ask(end=romeo)
        second = self.handed(request(PAYLOAD, requester=ROMEO))
        self.answers(second, reply("<two xmlns='urn:x'/>", to=ROMEO, sender="romeo@capulet.lit"))
        self.answers(first, reply("<one xmlns='urn:x'/>"))
        self.assertAnswered("<one xmlns='urn:x'/>")
        [found] = romeo.taken()
        self.assertEqual(found[2], meaning("<two xmlns='urn:x'/>"))

    def test_deep(self) -> None:
        """A request that is too deep when wrapped is refused; the managing entity keeps its stream."""
        for depth, fits in ((60, True), (61, False), (63, False)):
            with self.subTest(depth):
                self.ask(f"<pubsub xmlns='{PUBSUB}'>{'<a>' * (depth - 1)}{'</a>' * (depth - 1)}</pubsub>")
                if fits:
                    self.assertEqual(len(self.managing.taken()), 1)
                    self.host.wait(31)
                    self.juliet.taken()
                else:
                    self.assertRefused()
                    self.assertEqual(self.managing.taken(), [])

    def test_large(self) -> None:
        """A request that is too large when wrapped is refused: it would end the managing entity's stream."""
        self.ask(f"<pubsub xmlns='{PUBSUB}'>{'x' * (MAX_STANZA - 16 * 1024 - 200)}</pubsub>")
        [found] = self.managing.taken()
        self.assertEqual(found[1]["type"], "set")
        self.make_(Delegation(PUBSUB, (COMPONENT,)))
        self.patch(delegation, "MAX_STANZA", 200)
        self.ask()
        self.assertRefused()
        self.assertEqual(self.managing.taken(), [])
        self.assertEqual(len(self.host.services.delegating._delegator), 0)


class AnswerTests(DelegatingCase):
    """Answers of managing entities."""

    def test_error(self) -> None:
        """An inner error goes to the requester."""
        error = f"<error type='cancel'><conflict xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.ask(kind="set")
        self.answers(self.handed(request(PAYLOAD, "set")), reply(error, "error"))
        self.assertAnswered(error, "error")

    def test_bad(self) -> None:
        """
        "If the forwarded result from managing entity is bad (i.e. wrong 'to', 'from', 'id' or 'result' attributes),
        the server MUST send an IQ error with condition service-unavailable": each of these faults, and faults of
        the wrapper.
        """
        for bad in (
            reply(to=ROMEO),
            reply(to=BARE),
            reply(sender="romeo@capulet.lit"),
            reply(sender=COMPONENT),
            reply(identifier="2"),
            reply(kind="set"),
            reply().replace(ns.CLIENT, "urn:x"),
            reply().replace(f" xmlns='{ns.CLIENT}'", ""),
            reply() * 2,
            reply(PAYLOAD * 2),
            reply(kind="error"),
            reply(f"<error xmlns='urn:x'/>{PAYLOAD}", "error"),
            "",
            "text",
        ):
            with self.subTest(bad):
                self.ask()
                identifier = self.handed()
                self.answers(identifier, bad)
                self.assertRefused()
                self.answers(identifier, reply())
                self.assertEqual(self.juliet.taken(), [])
        for content in ("", PAYLOAD, reply(), f"<delegation xmlns='{ns.DELEGATION_2}'>{reply()}</delegation>"):
            with self.subTest(content):
                self.ask()
                self.managing.say(
                    f"<iq from='{COMPONENT}' to='{HOST}' id='{self.handed()}' type='result'>{content}</iq>"
                )
                self.assertRefused()
        self.assertQuiet()

    def test_outerError(self) -> None:
        """N.B. 2: an outer error becomes C{service-unavailable} for the requester."""
        self.ask()
        self.managing.say(
            f"<iq from='{COMPONENT}' to='{HOST}' id='{self.handed()}' type='error'>"
            f"<error type='cancel'><conflict xmlns='{ns.STANZA_ERRORS}'/></error></iq>"
        )
        self.assertRefused()

    def test_thirdParty(self) -> None:
        """No other entity can answer, even if it knows the ids."""
        romeo = self.host.client(ROMEO)
        other = self.host.component(SPARE)
        self.ask()
        identifier = self.handed()
        for end, address in ((romeo, ROMEO), (other, SPARE), (self.managing, f"{COMPONENT}/x")):
            self.answers(identifier, reply(), end, address)
        self.assertEqual(self.juliet.taken(), [])
        self.answers(identifier, reply())
        self.assertAnswered()

    def test_requesterGone(self) -> None:
        """An answer for a requester who has disconnected is dropped."""
        self.ask()
        identifier = self.handed()
        self.juliet.gone()
        self.answers(identifier, reply())
        self.assertEqual(self.managing.taken(), [])
        self.assertEqual(len(self.host.services.delegating._delegator), 0)
        self.assertQuiet()

    def test_largeAnswer(self) -> None:
        """An answer that is too large for any client."""
        self.ask()
        self.answers(self.handed(), reply(f"<x xmlns='urn:x'>{'x' * (MAX_STANZA - 100)}</x>"))
        self.assertRefused(NotAcceptable)


class AvailabilityTests(DelegatingCase):
    """Availability of managing entities."""

    def test_gone(self) -> None:
        """
        N.B. 1: "If the server encounter a delegated namespace and the managing entity is not available, it MUST
        return ... service-unavailable"; this includes open requests. The entity may come back.
        """
        for kind in ("get", "set"):
            self.ask(kind=kind)
            self.handed(request(PAYLOAD, kind))
            self.managing.gone()
            self.assertRefused()
            self.ask(kind=kind)
            self.assertRefused()
            self.managing = self.host.component(COMPONENT)
            told = self.managing.taken()
            self.assertEqual([each[0] for each in told[:1]], ["{jabber:client}message"])
            self.assertEqual(len(told), 3)

    def test_silent(self) -> None:
        """Without an answer there is C{service-unavailable}, after 25 to 30 seconds."""
        self.ask()
        identifier = self.handed()
        self.host.wait(25)
        self.assertEqual(self.juliet.taken(), [])
        self.host.wait(6)
        self.assertRefused()
        self.answers(identifier, reply())
        self.assertEqual(self.juliet.taken(), [])

    def test_slow(self) -> None:
        """A client that sends more requests than the managing entity reads must wait."""
        self.managing.connection.pauseProducing()
        self.ask()
        self.assertEqual(self.juliet.transport.producerState, "paused")
        self.managing.connection.resumeProducing()
        self.assertEqual(self.juliet.transport.producerState, "producing")
        # The managing entity does not wait for a requester when it answers.
        self.juliet.connection.pauseProducing()
        self.answers(self.handed(), reply())
        self.assertEqual(self.managing.transport.producerState, "producing")
        self.assertEqual(self.juliet.connection._asked, 0)

    def test_failOver(self) -> None:
        """The first connected entity gets requests; when it disconnects, gets go to the next, sets to none."""
        self.make_(Delegation(PUBSUB, (COMPONENT, SPARE)))
        spare = self.host.component(SPARE)
        spare.taken()
        self.ask()
        self.handed()
        self.managing.gone()
        self.answers(self.handed(end=spare, address=SPARE), reply(), spare, SPARE)
        self.assertAnswered()
        self.managing = self.host.component(COMPONENT)
        self.managing.taken()
        self.ask(kind="set")
        self.handed(request(PAYLOAD, "set"))
        self.managing.gone()
        self.assertRefused()
        self.assertEqual(spare.taken(), [])

    def test_client(self) -> None:
        """A client can manage while it is available; requests go to its full JID."""
        self.make_(Delegation(PUBSUB, (NURSE,)))
        nurse = self.host.client(f"{NURSE}/chamber")
        self.ask()
        self.assertRefused()
        nurse.say("<presence/>")
        told = [each for each in nurse.taken() if not each[0].endswith("presence")]
        self.assertEqual([each[1]["to"] for each in told], [f"{NURSE}/chamber"] * 3)
        self.ask()
        self.answers(self.handed(end=nurse, address=f"{NURSE}/chamber"), reply(), nurse, f"{NURSE}/chamber")
        self.assertAnswered()
        self.ask()
        self.handed(end=nurse, address=f"{NURSE}/chamber")
        nurse.say("<presence type='unavailable'/>")
        self.assertRefused()

    def test_otherResource(self) -> None:
        """Another resource takes over if the entity is a bare JID, but not if it is a full JID."""
        for entity, takes in ((NURSE, True), (f"{NURSE}/chamber", False)):
            self.make_(Delegation(PUBSUB, (entity,)))
            nurse = self.host.client(f"{NURSE}/chamber", presence=True)
            other = self.host.client(f"{NURSE}/garden", presence=True)
            nurse.gone()
            other.taken()
            self.ask()
            if takes:
                self.handed(end=other, address=f"{NURSE}/garden")
            else:
                self.assertRefused()


class DiscoTests(DelegatingCase):
    """Section 7."""

    def info(self, to: str, node: str = "") -> tuple[list[dict[str, str]], list[str], list[Any]]:
        """Return the identities, features and forms that Juliet gets."""
        written = f" node='{node}'" if node else ""
        self.ask(f"<query xmlns='{ns.DISCO_INFO}'{written}/>", to=to)
        [(_, attributes, [(_, _, shown)])] = self.juliet.taken()
        self.assertEqual((attributes["type"], attributes["from"]), ("result", to))
        found: dict[str, list[Any]] = {"identity": [], "feature": [], "x": []}
        for each in shown:
            found[each[0].rpartition("}")[2]].append(each)
        return (
            [each[1] for each in found["identity"]],
            [each[1]["var"] for each in found["feature"]],
            found["x"],
        )

    def asked(self, told: list[Any]) -> dict[str, str]:
        """Return the ids of the host's disco#info requests, by node."""
        return {each[2][0][1]["node"]: each[1]["id"] for each in told if each[0].endswith("}iq")}

    def tell(self, identifier: str, content: str, kind: str = "result") -> None:
        self.managing.say(f"<iq from='{COMPONENT}' to='{HOST}' id='{identifier}' type='{kind}'>{content}</iq>")

    def test_removed(self) -> None:
        """
        Section 7.2.1: the managing entity's features in the namespace replace the server's own, "for the whole
        delegated namespace", even if a filter excludes some requests; they are removed when the managing entity
        disconnects.
        """
        told = self.make_(Delegation(ns.VERSION, (COMPONENT,), frozenset({"node"})))
        self.assertNotIn(ns.VERSION, self.info(HOST)[1])
        node = f"{ns.DELEGATION_2}::{ns.VERSION}"
        query = f"<query xmlns='{ns.DISCO_INFO}' node='{node}'>"
        self.tell(self.asked(told)[node], f"{query}<feature var='{ns.VERSION}'/><feature var='urn:x'/></query>")
        features = self.info(HOST)[1]
        self.assertEqual(features[-2:], [ns.VERSION, "urn:x"])
        self.assertIn(ns.PING, features)
        self.assertNotIn("urn:x", self.info(BARE)[1])
        self.managing.gone()
        self.assertNotIn("urn:x", self.info(HOST)[1])

    def test_forms(self) -> None:
        """Section 7.2.3: "extensions of managing entity MUST be included"."""
        node = f"{ns.DELEGATION_2}:bare:{PUBSUB}"
        told = self.make_(Delegation(PUBSUB, (COMPONENT,)))
        form = "<x xmlns='jabber:x:data' type='result'><field var='a'><value>1</value></field></x>"
        self.tell(self.asked(told)[node], f"<query xmlns='{ns.DISCO_INFO}' node='{node}'>{form}</query>")
        self.assertEqual(self.info(BARE)[2], meaning(form))
        self.assertEqual(self.info(HOST)[2], [])

    def test_much(self) -> None:
        """The size of nested information in one answer is limited, because clients must be able to receive it."""
        node = f"{ns.DELEGATION_2}::{PUBSUB}"
        query = f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/></query>"
        for most, isShown in ((len(query), True), (len(query) - 1, False)):
            self.patch(delegation, "_MAX_NESTED", most)
            self.tell(self.asked(self.make_(Delegation(PUBSUB, (COMPONENT,))))[node], query)
            self.assertEqual("urn:x" in self.info(HOST)[1], isShown)

    def test_badInfo(self) -> None:
        """An error, an answer of another entity, or an invalid one adds nothing and has no other effect."""
        node = f"{ns.DELEGATION_2}::{PUBSUB}"
        for content, kind in (
            ("", "result"),
            (f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/></query>", "error"),
            ("<x xmlns='a b'/>", "result"),
        ):
            identifier = self.asked(self.make_(Delegation(PUBSUB, (COMPONENT,))))[node]
            other = self.host.component(SPARE)
            other.say(
                f"<iq from='{SPARE}' to='{HOST}' id='{identifier}' type='result'>"
                f"<query xmlns='{ns.DISCO_INFO}'><feature var='urn:x'/></query></iq>"
            )
            self.tell(identifier, content, kind)
            self.assertNotIn("urn:x", self.info(HOST)[1])
            self.ask()
            self.handed()
        self.assertQuiet()

    def test_remaining(self) -> None:
        """
        Sections 7.2.4 and 7.2.5: only requests on bare JIDs that the server cannot answer; the special namespaces
        have nothing to nest.
        """
        info, items = (f"{ns.DELEGATION_2}:bare:disco#{name}:*" for name in ("info", "items"))
        told = self.make_(Delegation(info, (COMPONENT,)), Delegation(items, (COMPONENT,)))
        self.assertEqual(self.asked(told), {})
        self.assertEqual(len(told), 1)
        self.assertEqual(self.info(BARE)[0], [{"category": "account", "type": "registered"}])
        self.assertEqual(self.managing.taken(), [])
        for payload, to, isHanded in (
            (f"<query xmlns='{ns.DISCO_INFO}' node='n'/>", BARE, True),
            (f"<query xmlns='{ns.DISCO_INFO}' node='n'/>", HOST, False),
            (f"<query xmlns='{ns.DISCO_ITEMS}'/>", BARE, True),
            (f"<query xmlns='{ns.DISCO_ITEMS}' node='n'/>", BARE, True),
            (f"<query xmlns='{ns.DISCO_ITEMS}'/>", HOST, False),
        ):
            with self.subTest(payload, to=to):
                self.ask(payload, to=to)
                if isHanded:
                    self.answers(self.handed(request(payload, to=to)), reply(sender=to))
                self.assertEqual(len(self.juliet.taken()), 1)
                self.assertEqual(self.managing.taken(), [])

    def test_remainingUnseen(self) -> None:
        """
        Nodes of an account are shown to itself and to those who may see it; disco#items is forwarded for anybody.
        Prosody does the same.
        """
        info, items = (f"{ns.DELEGATION_2}:bare:disco#{name}:*" for name in ("info", "items"))
        self.make_(Delegation(info, (COMPONENT,)), Delegation(items, (COMPONENT,)))
        romeo = self.host.services.router.accounts["romeo@capulet.lit"]
        for to in (romeo.jid, "nobody@capulet.lit"):
            for node in ("", " node='n'"):
                self.ask(f"<query xmlns='{ns.DISCO_INFO}'{node}/>", to=to)
                [refused] = self.juliet.taken()
                self.assertEqual(refused[2], meaning(f"<iq>{errorXml(RecipientUnavailable)}</iq>")[0][2])
                self.assertEqual(self.managing.taken(), [])
        payload = f"<query xmlns='{ns.DISCO_ITEMS}' node='n'/>"
        self.ask(payload, to=romeo.jid)
        self.answers(self.handed(request(payload, to=romeo.jid)), reply(sender=romeo.jid))
        self.juliet.taken()
        romeo.roster.set(BARE, "", ()).from_ = True
        payload = f"<query xmlns='{ns.DISCO_INFO}' node='n'/>"
        self.ask(payload, to=romeo.jid)
        self.answers(self.handed(request(payload, to=romeo.jid)), reply(sender=romeo.jid))
        self.assertEqual(len(self.juliet.taken()), 1)
