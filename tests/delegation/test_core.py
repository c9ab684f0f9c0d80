"""The rules of the delegating server, each next to its sentence of XEP-0355 0.5."""

from __future__ import annotations

from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.delegation.core import Reply, Request
from gateway.delegation.delegations import Delegation, isDelegable
from gateway.delegation.delegator import Completed, Delegator, Forward
from gateway.delegation.nesting import REMAINING, VERSIONS, Info, isNested, nestingNode, readNestingNode
from gateway.errors import BadRequest, RecipientUnavailable, TooManyPending
from tests.profiles import steady

A, B, C = "a.capulet.lit", "b.capulet.lit", "c.capulet.lit"
JULIET = "juliet@capulet.lit/balcony"
NAMESPACE = "urn:xmpp:mam:2"


def request(
    kind: str = "get",
    requester: str = JULIET,
    recipient: str | None = None,
    attributes: tuple[str, ...] = (),
    namespace: str = NAMESPACE,
) -> Request:
    """Return a request with default values."""
    return Request(
        requester,
        recipient,
        "1",
        kind,
        namespace,
        dict.fromkeys(attributes, ""),
        f"<query xmlns='{namespace}'/>".encode(),
    )


def reply(
    sender: str | None = "juliet@capulet.lit",
    recipient: str | None = JULIET,
    identifier: str | None = "1",
    kind: str | None = "result",
) -> Reply:
    """Return the answer to L{request}, with default values."""
    return Reply(sender, recipient, identifier, kind, b"")


class RequestTests(SynchronousTestCase):
    """Requests."""

    def test_entity(self) -> None:
        """Without C{to} a request is for the requester's own account; with C{to} it is for that entity."""
        self.assertEqual(request().entity, "juliet@capulet.lit")
        self.assertEqual(request(recipient="romeo@capulet.lit").entity, "romeo@capulet.lit")
        self.assertEqual(request(recipient="capulet.lit").entity, "capulet.lit")

    def test_payload(self) -> None:
        """The tree is that of the XML, and is built once."""
        asked = request()
        self.assertEqual((asked.payload.uri, asked.payload.name), (NAMESPACE, "query"))
        self.assertIs(asked.payload, asked.payload)

    def test_untreed(self) -> None:
        """If no tree can be built, the request is a C{BadRequest}, not an internal error."""
        asked = Request(JULIET, None, "1", "get", NAMESPACE, {}, b"<query xmlns='urn:q'><p:x/></query>")
        self.assertRaises(BadRequest, lambda: asked.payload.name)


class ReplyTests(SynchronousTestCase):
    """
    Section 4.3: "MUST insure that the 'to' and the 'from' attribute corresponds to respectively the 'from' and the
    'to' attributes of the initial stanza, MUST insure that the 'id' attribute of the decapsulated stanza is the
    same as the initial 'id' attribute and that 'type' is "result"".
    """

    def assertAnswers(self, right: bool, given: Reply, to: Request | None = None) -> None:
        self.assertEqual(given.answers(to or request()), right)

    def test_right(self) -> None:
        """A correct result is accepted, also without C{from}, as in the examples of the XEP."""
        self.assertAnswers(True, reply())
        self.assertAnswers(True, reply(sender=None))

    def test_error(self) -> None:
        """An error is accepted like a result."""
        self.assertAnswers(True, reply(kind="error"))

    def test_type(self) -> None:
        """Other types are refused."""
        for kind in ("get", "set", "", None, "RESULT"):
            self.assertAnswers(False, reply(kind=kind))

    def test_id(self) -> None:
        """Another id, or no id, is refused."""
        for identifier in ("2", "", None, "1 "):
            self.assertAnswers(False, reply(identifier=identifier))

    def test_to(self) -> None:
        """Another recipient, the bare JID, or no recipient is refused."""
        for recipient in ("romeo@capulet.lit/x", "juliet@capulet.lit", "juliet@capulet.lit/Balcony", "", None):
            self.assertAnswers(False, reply(recipient=recipient))

    def test_from(self) -> None:
        """An answer from another entity than the recipient of the request is refused."""
        for sender in (A, "capulet.lit", "romeo@capulet.lit", JULIET, ""):
            self.assertAnswers(False, reply(sender=sender))
        toServer = request(recipient="capulet.lit")
        self.assertAnswers(True, reply(sender="capulet.lit"), toServer)
        self.assertAnswers(False, reply(), toServer)

    def test_spelling(self) -> None:
        """Another spelling of the same address is accepted; an invalid address is refused."""
        self.assertAnswers(True, reply(sender="Juliet@CAPULET.lit", recipient="JULIET@Capulet.lit/balcony"))
        self.assertAnswers(False, reply(sender="@", recipient=JULIET))
        self.assertAnswers(False, reply(recipient="a@/"))


class DelegationTests(SynchronousTestCase):
    """The rules for which requests are delegated."""

    def setUp(self) -> None:
        self.delegator = Delegator([Delegation(NAMESPACE, (A, B), frozenset({"node", "queryid"}))], lambda: "x")

    def test_filtering(self) -> None:
        """
        Section 4.1: "attributes which must be present in the initial iq child element": each of them is required.
        """
        for attributes, covered in (
            ((), False),
            (("node",), False),
            (("queryid",), False),
            (("node", "queryid"), True),
            (("node", "queryid", "more"), True),
            (("Node", "queryid"), False),
        ):
            with self.subTest(attributes):
                self.assertEqual(self.delegator.find(request(attributes=attributes)) is not None, covered)

    def test_namespace(self) -> None:
        """Only requests in the delegated namespace are delegated."""
        both = ("node", "queryid")
        self.assertIsNone(self.delegator.find(request(attributes=both, namespace=NAMESPACE + "#x")))

    def test_ownStanzas(self) -> None:
        """
        Section 4.3.1: "If a stanza is sent by the managing entity on a managed namespace, the server MUST NOT
        forward it". This applies to each managing entity, with any resource.
        """
        for sender in (A, B, f"{A}/x", f"{B}/y"):
            self.assertIsNone(self.delegator.find(request(requester=sender, attributes=("node", "queryid"))))
        for sender in (C, f"x@{A}", JULIET):
            self.assertIsNotNone(self.delegator.find(request(requester=sender, attributes=("node", "queryid"))))

    def test_ownClient(self) -> None:
        """If a managing entity is a client with a resource, requests of its other resources are forwarded."""
        delegator = Delegator([Delegation(NAMESPACE, ("nurse@h/one",))], lambda: "x")
        self.assertIsNone(delegator.find(request(requester="nurse@h/one")))
        self.assertIsNotNone(delegator.find(request(requester="nurse@h/two")))

    def test_delegable(self) -> None:
        """
        Section 8, rule 5: the namespace of the XEP "MUST NOT be delegated"; the special namespaces that begin with
        it may be.
        """
        self.assertEqual(VERSIONS, ("urn:xmpp:delegation:2", "urn:xmpp:delegation:1"))
        for namespace in VERSIONS:
            self.assertFalse(isDelegable(namespace))
        for namespace in (NAMESPACE, "urn:xmpp:delegation:2:bare:disco#info:*", "urn:xmpp:delegation:20"):
            self.assertTrue(isDelegable(namespace))

    def test_remaining(self) -> None:
        """
        Section 7.2.4: "delegate information discovery requests made on bare jids for any discovery node which is
        not already managed by the server". Section 7.2.5 says the same of items. Each is delegated separately, and
        in either version.
        """
        for disco, name in ((ns.DISCO_INFO, "info"), (ns.DISCO_ITEMS, "items")):
            # The last one is the pseudo-namespace in the text of the ProtoXEP.
            for remaining in (*(f"{version}:bare:disco#{name}:*" for version in VERSIONS), f"{disco}:*"):
                self.assertFalse(isNested(remaining))
                delegation = Delegation(remaining, (A,))
                delegator = Delegator([delegation], lambda: "x")
                self.assertIs(delegator.find(request(namespace=disco), managed=False), delegation)
                self.assertIsNone(delegator.find(request(namespace=disco), managed=True))
                self.assertIsNone(delegator.find(request(namespace=NAMESPACE), managed=False))
                [other] = {ns.DISCO_INFO, ns.DISCO_ITEMS} - {disco}
                self.assertIsNone(delegator.find(request(namespace=other), managed=False))
                self.assertIsNone(delegator.find(request(namespace=disco, requester=A), managed=False))
                self.assertIsNone(delegator.find(request(namespace=disco, kind="set"), managed=False))
        self.assertEqual(set(REMAINING), {ns.DISCO_INFO, ns.DISCO_ITEMS})
        self.assertTrue(isNested(NAMESPACE))

    def test_whole(self) -> None:
        """A delegation of disco itself takes precedence over the delegation of remaining disco nodes."""
        whole = Delegation(ns.DISCO_INFO, (B,))
        delegator = Delegator([Delegation(REMAINING[ns.DISCO_INFO][0], (A,)), whole], lambda: "x")
        for managed in (True, False):
            self.assertIs(delegator.find(request(namespace=ns.DISCO_INFO), managed), whole)

    def test_delegatedTo(self) -> None:
        """Return the namespaces that are advertised to each managing entity."""
        one, two = Delegation("urn:1", (A, B)), Delegation("urn:2", (B,))
        delegator = Delegator([one, two], lambda: "x")
        self.assertEqual([delegator.delegatedTo(each) for each in (A, B, C)], [[one], [one, two], []])
        self.assertEqual(delegator.delegations, [one, two])


class NestingTests(SynchronousTestCase):
    """
    Section 7.2.1: the node is this XEP's namespace, "::" and the delegated namespace; section 7.2.2: "the separator
    is ':bare:'".
    """

    def test_nodes(self) -> None:
        """Nodes are written and read."""
        node = "urn:xmpp:delegation:2::http://jabber.org/protocol/pubsub"
        bare = "urn:xmpp:delegation:2:bare:http://jabber.org/protocol/pubsub"
        self.assertEqual(nestingNode(ns.DELEGATION_2, "http://jabber.org/protocol/pubsub", False), node)
        self.assertEqual(nestingNode(ns.DELEGATION_2, "http://jabber.org/protocol/pubsub", True), bare)
        for version in VERSIONS:
            for namespace in (NAMESPACE, "a::b:bare:c", REMAINING[ns.DISCO_INFO][0]):
                for isBare in (False, True):
                    written = nestingNode(version, namespace, isBare)
                    self.assertEqual(readNestingNode(written), (namespace, isBare))

    def test_others(self) -> None:
        """Other nodes are not read."""
        for node in (
            "",
            NAMESPACE,
            "urn:xmpp:delegation:2",
            "urn:xmpp:delegation:2:x:y",
            "urn:xmpp:delegation:3::x",
        ):
            self.assertIsNone(readNestingNode(node))

    def test_info(self) -> None:
        """Nested features and identities are added, without duplicates."""
        one = Info((("a", "b", ""),), ("x", "y"), ("<x/>",))
        two = Info((("a", "b", ""), ("a", "b", "name")), ("y", "z"), ("<x/>", "<y/>"))
        self.assertEqual(one + two, Info((("a", "b", ""), ("a", "b", "name")), ("x", "y", "z"), ("<x/>", "<y/>")))
        self.assertEqual(one + Info(), one)


class DelegatorCase(SynchronousTestCase):
    """Two managing entities for one namespace, both available."""

    timeout = 20.0

    def setUp(self) -> None:
        self.make(A, B)

    def make(self, *entities: str, bound: int = 100) -> None:
        ids = count(1)
        self.delegation = Delegation(NAMESPACE, entities)
        self.delegator = Delegator([self.delegation], lambda: f"id{next(ids)}", bound, self.timeout)
        for entity in entities:
            self.delegator.onAvailable(entity, entity)

    def forward(self, kind: str = "get", now: float = 0.0, origin: object = "origin") -> Forward:
        return self.delegator.forward(origin, request(kind), self.delegation, now)

    def assertCompleted(self, action: object, right: bool = False) -> None:
        assert isinstance(action, Completed), action
        self.assertEqual((action.origin, action.reply is not None), ("origin", right))
        self.assertEqual(len(self.delegator), 0)

    def assertForwarded(self, action: object, address: str) -> Forward:
        assert isinstance(action, Forward), action
        self.assertEqual(action.address, address)
        self.assertEqual(len(self.delegator), 1)
        return action


class AnswerTests(DelegatorCase):
    """Answers of managing entities."""

    def test_right(self) -> None:
        """ "If everything is alright, it can send the decapsulated stanza". A second answer is ignored."""
        handed = self.forward()
        self.assertEqual((handed.address, handed.request.id), (A, "1"))
        given = reply()
        settled = self.delegator.onAnswer(A, handed.id, given)
        self.assertCompleted(settled, right=True)
        assert isinstance(settled, Completed)
        self.assertIs(settled.reply, given)
        self.assertIsNone(self.delegator.onAnswer(A, handed.id, given))

    def test_bad(self) -> None:
        """
        "If the forwarded result from managing entity is bad (i.e. wrong 'to', 'from', 'id' or 'result' attributes),
        the server MUST send an IQ error with condition service-unavailable". One bad answer completes the request.
        """
        for bad in (
            None,
            reply(sender=A),
            reply(recipient="romeo@capulet.lit/x"),
            reply(identifier="2"),
            reply(kind="set"),
        ):
            for kind in ("get", "set"):
                handed = self.forward(kind)
                self.assertCompleted(self.delegator.onAnswer(A, handed.id, bad))
                self.assertIsNone(self.delegator.onAnswer(A, handed.id, reply()))

    def test_outerFrom(self) -> None:
        """An answer from another sender is ignored; the right answer is still accepted."""
        handed = self.forward()
        for sender in (B, f"{A}/x", f"x@{A}", "capulet.lit", A.upper(), ""):
            self.assertIsNone(self.delegator.onAnswer(sender, handed.id, reply()))
            for isThere in (True, False):
                self.assertIsNone(self.delegator.onError(sender, handed.id, isThere, 1.0))
        self.assertCompleted(self.delegator.onAnswer(A, handed.id, reply()), right=True)

    def test_outerId(self) -> None:
        """An answer with an unknown id is ignored."""
        handed = self.forward()
        for identifier in ("", "1", handed.id + "x", "id2"):
            self.assertIsNone(self.delegator.onAnswer(A, identifier, reply()))
            self.assertIsNone(self.delegator.onError(A, identifier, True, 1.0))
        self.assertEqual(len(self.delegator), 1)

    def test_refused(self) -> None:
        """
        N.B. 2: "if the managing entity return an IQ stanza of type "error", the server must return itself an IQ
        stanza of type "error"". No other managing entity is asked.
        """
        for kind in ("get", "set"):
            self.assertCompleted(self.delegator.onError(A, self.forward(kind).id, True, 1.0))

    def test_unsent(self) -> None:
        """A request that could not be sent is completed."""
        self.assertCompleted(self.delegator.onSendFailed(self.forward()))

    def test_abandon(self) -> None:
        """All requests are completed at once."""
        for number in range(3):
            self.forward(origin=number)
        settled = self.delegator.abandon()
        self.assertEqual([(each.origin, each.reply) for each in settled], [(0, None), (1, None), (2, None)])
        self.assertEqual(self.delegator.abandon(), [])


class FailOverTests(DelegatorCase):
    """
    Several managing entities for one namespace: the first available one is asked, and the next one if it fails.
    """

    def test_order(self) -> None:
        """The first one in configured order that is available is asked."""
        self.assertEqual(self.delegator.reachable(self.delegation), A)
        self.delegator.onUnavailable(A, 0.0)
        self.assertEqual(self.delegator.reachable(self.delegation), B)
        self.assertForwarded(self.forward(), B)
        self.delegator.onAvailable(A, A)
        self.assertEqual(self.delegator.reachable(self.delegation), A)

    def test_nobody(self) -> None:
        """
        N.B. 1: "If the server encounter a delegated namespace and the managing entity is not available, it MUST
        return ... service-unavailable".
        """
        for entity in (A, B):
            self.delegator.onUnavailable(entity, 0.0)
        self.assertIsNone(self.delegator.reachable(self.delegation))
        self.assertRaises(RecipientUnavailable, self.forward)
        self.assertEqual(len(self.delegator), 0)

    def test_address(self) -> None:
        """
        A managing entity is asked, and its answers are accepted, at its full address: a client has a resource.
        """
        self.make("nurse@capulet.lit")
        self.delegator.onAvailable("nurse@capulet.lit", "nurse@capulet.lit/chamber")
        self.assertEqual(self.delegator.address("nurse@capulet.lit"), "nurse@capulet.lit/chamber")
        handed = self.assertForwarded(self.forward(), "nurse@capulet.lit/chamber")
        self.assertIsNone(self.delegator.onAnswer("nurse@capulet.lit", handed.id, reply()))
        self.assertCompleted(
            self.delegator.onAnswer("nurse@capulet.lit/chamber", handed.id, reply()), right=True
        )

    def test_gone(self) -> None:
        """
        If a managing entity becomes unavailable, its open get requests go to the next one. A set fails, because it
        may have been carried out.
        """
        handed = self.forward("get")
        [action] = self.delegator.onUnavailable(A, 1.0)
        again = self.assertForwarded(action, B)
        self.assertNotEqual(again.id, handed.id)
        self.assertIsNone(self.delegator.onAnswer(A, handed.id, reply()))
        self.assertCompleted(self.delegator.onAnswer(B, again.id, reply()), right=True)
        self.delegator.onAvailable(A, A)
        self.forward("set")
        [action] = self.delegator.onUnavailable(A, 1.0)
        self.assertCompleted(action)

    def test_goneLast(self) -> None:
        """If no other managing entity is left, the request fails."""
        self.delegator.onUnavailable(B, 0.0)
        self.forward("get")
        [action] = self.delegator.onUnavailable(A, 1.0)
        self.assertCompleted(action)
        self.assertEqual(self.delegator.onUnavailable(A, 1.0), [])

    def test_otherGone(self) -> None:
        """If another managing entity becomes unavailable, nothing changes."""
        handed = self.forward()
        self.assertEqual(self.delegator.onUnavailable(B, 1.0), [])
        self.assertCompleted(self.delegator.onAnswer(A, handed.id, reply()), right=True)

    def test_notThere(self) -> None:
        """
        If a server reports that the recipient does not exist, the request was not delivered: a set goes to the next
        one, too.
        """
        for kind in ("get", "set"):
            again = self.assertForwarded(self.delegator.onError(A, self.forward(kind).id, False, 1.0), B)
            self.assertCompleted(self.delegator.onError(B, again.id, False, 1.0))

    def test_silent(self) -> None:
        """
        A managing entity that does not answer within its share of the time fails: a get goes to the next one, a set
        fails.
        """
        handed = self.forward("get")
        self.assertEqual(self.delegator.expire(9.9), [])
        [action] = self.delegator.expire(10.0)
        again = self.assertForwarded(action, B)
        # The right answer is too late.
        self.assertIsNone(self.delegator.onAnswer(A, handed.id, reply()))
        self.assertEqual(self.delegator.expire(19.9), [])
        [action] = self.delegator.expire(20.0)
        self.assertCompleted(action)
        self.assertIsNone(self.delegator.onAnswer(B, again.id, reply()))
        self.forward("set", 100.0)
        self.assertEqual(self.delegator.expire(109.9), [])
        [action] = self.delegator.expire(110.0)
        self.assertCompleted(action)

    def test_shares(self) -> None:
        """All shares together are the whole timeout; time that one does not use is available to the others."""
        self.make(A, B, C)
        self.forward("get", 100.0)
        [action] = self.delegator.onUnavailable(A, 102.0)
        self.assertForwarded(action, B)
        self.assertEqual(self.delegator.expire(110.9), [])
        [action] = self.delegator.expire(111.0)
        self.assertForwarded(action, C)
        self.assertEqual(self.delegator.expire(119.9), [])
        [action] = self.delegator.expire(120.0)
        self.assertCompleted(action)

    def test_noTimeLeft(self) -> None:
        """If the clock jumps forward, no time is left for another attempt."""
        self.forward("get")
        [action] = self.delegator.expire(20.0)
        self.assertCompleted(action)

    def test_alone(self) -> None:
        """A single managing entity has the whole timeout."""
        self.make(A)
        self.forward()
        self.assertEqual(self.delegator.expire(19.9), [])
        [action] = self.delegator.expire(20.0)
        self.assertCompleted(action)

    def test_bound(self) -> None:
        """The number of open requests is limited; a place is free again once a request is completed."""
        self.make(A, bound=8)
        handed = [self.forward(), self.forward()]
        self.assertRaises(TooManyPending, self.forward)
        self.assertEqual(len(self.delegator), 2)
        self.delegator.onAnswer(A, handed[0].id, reply())
        self.forward()
        self.assertRaises(TooManyPending, self.forward)

    def test_fair(self) -> None:
        """One user cannot take all places. The user's places are free again, however the requests end."""
        self.make(A, bound=4)
        for end in (
            lambda handed: self.delegator.onAnswer(A, handed.id, reply()),
            lambda handed: self.delegator.onError(A, handed.id, True, 1.0),
            lambda handed: self.delegator.onError(A, handed.id, False, 1.0),
            self.delegator.onSendFailed,
            lambda handed: self.delegator.expire(99.0),
            lambda handed: self.delegator.abandon(),
        ):
            handed = self.forward()
            self.assertRaises(TooManyPending, self.forward)
            self.assertEqual(len(self.delegator), 1)
            end(handed)
            self.assertEqual((len(self.delegator), self.delegator.shares.taken), (0, 0))
        self.delegator.onUnavailable(A, 0.0)
        self.assertRaises(RecipientUnavailable, self.forward)
        self.assertEqual(self.delegator.shares.taken, 0)


class DelegatorMachine(RuleBasedStateMachine):
    """A state machine: events in any order; each request is completed once, and none stays open."""

    def __init__(self) -> None:
        super().__init__()
        ids = count(1)
        self.delegation = Delegation(NAMESPACE, (A, B, C))
        self.delegator = Delegator([self.delegation], lambda: f"id{next(ids)}", bound=17)
        self.now = 0.0
        self.there: set[str] = set()
        self.numbers = count(1)
        # Open requests: for each origin the managing entity, the outer id, and the entities that were asked before.
        self.open: dict[int, Forward] = {}
        self.seen: dict[int, list[str]] = {}
        self.began: dict[int, float] = {}

    def perform(self, action: Forward | Completed | None, mayRepeatSets: bool = False) -> None:
        if isinstance(action, Completed):
            assert action.origin in self.open, "settled twice"
            assert action.request is self.open.pop(action.origin).request
            if action.reply is not None:
                assert action.reply.answers(action.request)
        elif action is not None:
            [origin] = [number for number, each in self.open.items() if each.request is action.request]
            assert action.request.type == "get" or mayRepeatSets, "a set was made twice"
            assert action.address not in self.seen[origin], "asked twice"
            self.seen[origin].append(action.address)
            self.open[origin] = action

    @rule(entity=st.sampled_from((A, B, C)))
    def arrive(self, entity: str) -> None:
        self.there.add(entity)
        self.delegator.onAvailable(entity, entity)

    @rule(entity=st.sampled_from((A, B, C)))
    def leave(self, entity: str) -> None:
        self.there.discard(entity)
        for action in self.delegator.onUnavailable(entity, self.now):
            self.perform(action)

    @rule(kind=st.sampled_from(("get", "set")))
    def forward(self, kind: str) -> None:
        number = next(self.numbers)
        asked = request(kind)
        full = len(self.open) == 4  # The places of one user, of 17.
        try:
            handed = self.delegator.forward(number, asked, self.delegation, self.now)
        except TooManyPending:
            assert full
        except RecipientUnavailable:
            assert not self.there
        else:
            assert not full and handed.request is asked
            assert handed.address == min(self.there)
            self.open[number], self.seen[number], self.began[number] = handed, [handed.address], self.now

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        sender=st.sampled_from((A, B, C, None)),
        given=st.sampled_from((reply(), reply(kind="error"), reply(identifier="2"), reply(recipient=A), None)),
    )
    def answer(self, data: st.DataObject, sender: str | None, given: Reply | None) -> None:
        handed = self.open[data.draw(st.sampled_from(sorted(self.open)))]
        action = self.delegator.onAnswer(sender or handed.address, handed.id, given)
        if (sender or handed.address) == handed.address:
            assert isinstance(action, Completed)
            right = given is not None and given.answers(handed.request)
            assert action.reply is (given if right else None)
        else:
            assert action is None
        self.perform(action)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), isThere=st.booleans())
    def refuse(self, data: st.DataObject, isThere: bool) -> None:
        handed = self.open[data.draw(st.sampled_from(sorted(self.open)))]
        action = self.delegator.onError(handed.address, handed.id, isThere, self.now)
        assert action is not None and (isinstance(action, Completed) or not isThere)
        self.perform(action, mayRepeatSets=True)

    @rule(identifier=st.integers(0, 40), sender=st.sampled_from((A, B, C)))
    def guess(self, identifier: int, sender: str) -> None:
        isOpen = any((each.id, each.address) == (f"id{identifier}", sender) for each in self.open.values())
        if not isOpen:
            assert self.delegator.onAnswer(sender, f"id{identifier}", reply()) is None

    @rule(seconds=st.floats(0.1, 25.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for action in self.delegator.expire(self.now):
            self.perform(action)
        for number in self.open:
            assert self.now < self.began[number] + 20.001, "overdue"

    @rule()
    def abandon(self) -> None:
        for action in self.delegator.abandon():
            self.perform(action)
        assert not self.open

    @invariant()
    def counted(self) -> None:
        assert len(self.delegator) == len(self.open)
        assert self.delegator.shares.taken == len(self.delegator)

    def teardown(self) -> None:
        # Shares of the time are rounded.
        self.now += 20.001
        for action in self.delegator.expire(self.now):
            self.perform(action)
        assert not self.open and len(self.delegator) == 0


class MachineTests(SynchronousTestCase):
    """Random orders of events."""

    def test_settledOnce(self) -> None:
        """Each forwarded request is completed exactly once, in any order of events; then none is pending."""
        run_state_machine_as_test(DelegatorMachine, settings=settings(steady, stateful_step_count=30))
