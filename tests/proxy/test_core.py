"""The rules of the translation, each next to its sentence of the design."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from html import unescape
from itertools import cycle

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from gateway import errors
from gateway.proxy.actions import Action, Drop, Fail, Refuse, Relay, Retry
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.pool import Pool, Resource
from gateway.stream.stanzas import Stanza
from tests.profiles import steady
from tests.proxy.support import stanza

C = "proxy.example.com"
T = "implementation@example.com"
U, V = "user@example.com/abc", "mallory@example.com/x"
KEY = b"k" * 32
TIMEOUT = 30.0
# The limits of the tables.
MAX_PENDING, MAX_RETAINED, MAX_ID, MAX_RESOURCES = 16_384, 8 * 1024 * 1024, 1_023, 1_000


@cache
def asked(kind: str, size: int) -> Stanza:
    """Return a request with a payload of about this size."""
    return stanza(f"<iq type='{kind}' id='x'><query xmlns='urn:example'>{'x' * size}</query></iq>")


def ends(route: bytes) -> tuple[str, str]:
    """Return the addresses of a route: from, to."""
    found = re.fullmatch(r" from='([^']*)' to='([^']*)'", route.decode())
    assert found, route
    return unescape(found[1]), unescape(found[2])


class TranslatorCase(SynchronousTestCase):
    """A translator for component C; target T's resources a and b in turn, no grace period."""

    def setUp(self) -> None:
        self.make()

    def make(self, resources: str = "ab", balance: str = "round-robin", **decisions: object) -> None:
        self.pool = Pool(T, "*", balance, cycle([0.0, 0.5]).__next__)
        self.translator = Translator(Sealer(C, KEY), self.pool, Rules(**decisions))  # type: ignore[arg-type]  # keywords of any kind
        for name in resources:
            self.translator.available(f"{T}/{name}")

    def ask(
        self,
        sender: str = U,
        recipient: str = C,
        identifier: str = "1",
        kind: str = "get",
        now: float = 0.0,
        size: int = 1,
    ) -> Action:
        return self.translator.request(asked(kind, size), sender, recipient, identifier, now)

    def forwarded(self, *arguments: str, **others: object) -> tuple[str, str]:
        """Return the alias of a request, and the resource that gets it."""
        action = self.ask(*arguments, **others)  # type: ignore[arg-type]  # keywords of any kind
        assert isinstance(action, Relay), action
        return ends(action.route)

    def answer(self, alias: str, resource: str, identifier: str = "1", now: float = 1.0) -> Action | None:
        return self.translator.answer(resource, alias, identifier, now)

    def assertRelayed(self, action: Action | None, sender: str, recipient: str) -> None:
        assert isinstance(action, Relay), action
        self.assertEqual(ends(action.route), (sender, recipient))

    def assertRefused(self, action: object, error: type[errors.GatewayError]) -> None:
        self.assertEqual(action, Refuse(error))

    def assertDropped(self, action: Action | None, reason: str) -> None:
        """Exactly one stanza was dropped, for this reason."""
        self.assertEqual(action, Drop(reason))
        self.assertEqual(self.translator.dropped, Counter({reason: 1}))

    def assertFailed(
        self, actions: list[Fail | Retry], *expected: tuple[str, str, str, type[errors.GatewayError]]
    ) -> None:
        """Exactly these errors are returned, each as from, to, id and error."""
        found = [(*ends(action.route), action.id, action.error) for action in actions if isinstance(action, Fail)]
        self.assertEqual(sorted(map(str, found)), sorted(map(str, expected)))
        self.assertEqual(len(found), len(actions))

    def assertBalanced(self) -> None:
        """No request is open and no counter is left above zero."""
        self.assertEqual(self.translator.pending, 0)
        self.assertEqual(self.translator._retained, 0)
        self.assertEqual([resource.open for resource in self.pool.all() if resource.open], [])


class ExchangeTests(TranslatorCase):
    """Requests and answers."""

    def test_thereAndBack(self) -> None:
        """
        "A request U -> C becomes C/TOKEN -> T/resource; the reply comes back as C -> U."
        """
        alias, resource = self.forwarded()
        self.assertTrue(alias.startswith(f"{C}/") and alias.endswith(f"/{U}"), alias)
        self.assertIn(resource, self.pool)
        self.assertRelayed(self.answer(alias, resource), C, U)
        self.assertBalanced()

    def test_exactAddress(self) -> None:
        """ "... from exactly the address that U wrote to": host, node and resource forms."""
        for address in (C, f"{C}/res", f"node@{C}", f"node@{C}/r/e@s", f"a'b&c@{C}/<\"é>", f"{C}/"):
            alias, resource = self.forwarded(U, address)
            self.assertRelayed(self.answer(alias, resource), address, U)
        self.assertBalanced()

    def test_once(self) -> None:
        """An answer closes its exchange: a second one is dropped."""
        alias, resource = self.forwarded()
        self.answer(alias, resource)
        self.assertDropped(self.answer(alias, resource), "no such request")

    def test_wrongId(self) -> None:
        """ "A reply is delivered only if it answers a pending request: same token, same id ..." """
        alias, resource = self.forwarded()
        self.assertDropped(self.answer(alias, resource, "2"), "no such request")
        self.assertEqual(self.translator.pending, 1)

    def test_wrongResource(self) -> None:
        """ "... from the resource that was asked ...". The right one can still answer."""
        alias, resource = self.forwarded()
        [other] = [each.jid for each in self.pool.all() if each.jid != resource]
        self.assertDropped(self.answer(alias, other), "an answer from another resource")
        self.assertRelayed(self.answer(alias, resource), C, U)

    def test_thirdParty(self) -> None:
        """Another user, the bare account, and an account with the same beginning cannot answer."""
        for sender in (V, T, f"{T}x/a", T.upper() + "/a", C, U):
            self.make()
            alias, _ = self.forwarded()
            self.assertDropped(self.answer(alias, sender), "an answer from another account")

    def test_afterDeadline(self) -> None:
        """ "... before the deadline." """
        alias, resource = self.forwarded(now=0.0)
        self.translator.expire(TIMEOUT)
        self.assertDropped(self.answer(alias, resource, now=TIMEOUT), "no such request")

    def test_brokenSeal(self) -> None:
        """A forged token is refused, with and without pending requests."""
        alias, resource = self.forwarded()
        forged = alias.replace(U, V)
        self.assertDropped(self.answer(forged, resource), "a broken seal")

    def test_otherAddressOfComponent(self) -> None:
        """An answer to an address that is neither a token nor the sender of a request is dropped."""
        self.assertDropped(self.answer(f"node@{C}", f"{T}/a"), "no such request")

    def test_anotherComponent(self) -> None:
        """
        ejabberd delivers the stanzas for any component of a listener on each of its connections: those for another
        component must not reach this one's implementing client. The requester's spelling of the address is kept.
        """
        self.make(forward=frozenset({"iq", "message", "presence"}))
        for address in ("other.example.com", f"x@other.{C}", f"other.example.com/{C}", f"{C}@other.example.com"):
            self.assertRefused(self.ask(U, address), errors.NoSuchAddress)
            self.assertRefused(self.translator.message(U, address, "chat", 0.0), errors.NoSuchAddress)
            self.assertRefused(self.translator.presence(U, address), errors.NoSuchAddress)
        written = f"Node@{C.upper()}/R"
        self.assertRelayed(self.answer(*self.forwarded(U, written)), written, U)

    def test_notOurs(self) -> None:
        """An answer to the component itself is left to the other handlers."""
        self.assertIsNone(self.answer(C, f"{T}/a"))
        self.assertIsNone(self.answer(C, V))
        self.assertEqual(self.translator.dropped, Counter())

    def test_anothersToken(self) -> None:
        """The token of a user without a pending request of that id is refused."""
        theirs, resource = self.forwarded(V)
        self.answer(theirs, resource)
        alias, resource = self.forwarded(U)
        self.assertDropped(self.answer(theirs, resource), "no such request")
        self.assertRelayed(self.answer(alias, resource), C, U)

    def test_longJid(self) -> None:
        """A requester JID of 3,000 bytes works, also repeatedly, and after its handle was forgotten."""
        requester = f"{'u' * 1000}@{'d' * 1000}/{'r' * 1000}"
        for identifier in "12":
            alias, resource = self.forwarded(requester, identifier=identifier)
            self.assertLessEqual(len(alias.partition("/")[2]), 1023)
            for number in range(1_001):
                self.translator._correspondents.getOrMake(f"{requester}{number}", C)
            self.assertRelayed(self.answer(alias, resource, identifier), C, requester)
        self.assertBalanced()


class SameIdTests(TranslatorCase):
    """Ids are chosen by requesters, and are not unique."""

    def test_twoUsers(self) -> None:
        """Two users with the same id: each gets their own answer."""
        first, second = self.forwarded(U), self.forwarded(V)
        self.assertRelayed(self.answer(*second), C, V)
        self.assertRelayed(self.answer(*first), C, U)
        self.assertBalanced()

    def test_twoAddresses(self) -> None:
        """One user uses an id with two addresses: each answer comes from the right one."""
        first, second = self.forwarded(U, C), self.forwarded(U, f"n@{C}")
        self.assertRelayed(self.answer(*second), f"n@{C}", U)
        self.assertRelayed(self.answer(*first), C, U)
        self.assertBalanced()

    def test_twice(self) -> None:
        """The same id, user and address again: one answer for each request, from one resource."""
        sent = [self.forwarded() for _ in range(3)]
        self.assertEqual(len(set(sent)), 1)
        self.assertEqual(self.translator.pending, 3)
        for _ in sent:
            self.assertRelayed(self.answer(*sent[0]), C, U)
        self.assertEqual(self.answer(*sent[0]), Drop("no such request"))
        self.assertBalanced()

    def test_twiceUnanswered(self) -> None:
        """Each of them gets its own error at its deadline, if it is still open."""
        sent = [self.forwarded() for _ in range(3)]
        self.answer(*sent[0])
        actions, _ = self.translator.expire(TIMEOUT)
        self.assertFailed(actions, *[(C, U, "1", errors.NoAnswer)] * 2)
        self.assertBalanced()

    def test_twiceDeadlines(self) -> None:
        """Each has a deadline of its own, with or without an answer to the earlier one."""
        for answered in (False, True):
            self.make()
            sent = [self.forwarded(now=now) for now in (0.0, 10.0, 20.0)]
            if answered:
                self.answer(*sent[0])
            first = [] if answered else [(C, U, "1", errors.NoAnswer)]
            self.assertFailed(self.translator.expire(TIMEOUT)[0], *first)
            self.assertEqual(self.translator.pending, 2)
            self.assertFailed(self.translator.expire(TIMEOUT + 10.0)[0], (C, U, "1", errors.NoAnswer))
            self.assertRelayed(self.answer(*sent[2], now=TIMEOUT + 19.0), C, U)
            self.assertEqual(self.answer(*sent[2], now=TIMEOUT + 19.0), Drop("no such request"))
            self.assertEqual(self.translator.expire(TIMEOUT + 20.0), ([], []))
            self.assertBalanced()

    def test_twiceOtherContent(self) -> None:
        """
        The second request may have another content; it is not repeated at another resource in place of the first.
        """
        sent = [self.forwarded() for _ in "12"]
        self.answer(*sent[0])
        self.assertFailed(self.translator.unavailable(sent[0][1]), (C, U, "1", errors.ResourceGone))
        self.assertBalanced()

    def test_twiceGone(self) -> None:
        """
        Requests with the same id cannot be told apart at another resource, so all fail when their resource goes.
        """
        alias, resource = self.forwarded()
        self.forwarded()
        self.assertFailed(self.translator.unavailable(resource), *[(C, U, "1", errors.ResourceGone)] * 2)
        self.assertEqual(self.answer(alias, resource), Drop("no such request"))
        self.assertBalanced()


class DeadlineTests(TranslatorCase):
    """ "Nothing pending is forgotten." """

    def test_deadline(self) -> None:
        """ "A deadline answers remote-server-timeout": once, not earlier, and from the address of the request."""
        self.forwarded(U, f"n@{C}/r", now=5.0)
        self.assertEqual(self.translator.expire(5.0 + TIMEOUT - 0.1), ([], []))
        actions, _ = self.translator.expire(5.0 + TIMEOUT)
        self.assertFailed(actions, (f"n@{C}/r", U, "1", errors.NoAnswer))
        self.assertEqual(self.translator.expire(100.0), ([], []))
        self.assertBalanced()

    def test_goneSet(self) -> None:
        """ "A resource that goes unavailable answers at once": a set is not sent a second time."""
        _, resource = self.forwarded(kind="set")
        self.assertFailed(self.translator.unavailable(resource), (C, U, "1", errors.ResourceGone))
        self.assertBalanced()

    def test_goneGet(self) -> None:
        """ "... or, for a get, tries one other resource": the stanza is the same, and the second answer counts."""
        alias, resource = self.forwarded()
        [retry] = self.translator.unavailable(resource)
        assert isinstance(retry, Retry)
        self.assertEqual(retry.stanza.type, "get")
        again, other = ends(retry.route)
        self.assertEqual(again, alias)
        self.assertIn(other, self.pool)
        self.assertDropped(self.answer(alias, resource), "an answer from another resource")
        self.assertRelayed(self.answer(alias, other), C, U)
        self.assertBalanced()

    def test_oneOther(self) -> None:
        """ "... one other": if that becomes unavailable as well, the request fails."""
        self.make("abc")
        _, resource = self.forwarded()
        [retry] = self.translator.unavailable(resource)
        _, other = ends(retry.route)
        self.assertFailed(self.translator.unavailable(other), (C, U, "1", errors.ResourceGone))
        self.assertBalanced()

    def test_noOther(self) -> None:
        """A get without another resource fails at once."""
        self.make("a")
        _, resource = self.forwarded()
        self.assertFailed(self.translator.unavailable(resource), (C, U, "1", errors.ResourceGone))
        self.assertBalanced()

    def test_retryKeepsDeadline(self) -> None:
        """The second attempt has the rest of the first one's time."""
        _, resource = self.forwarded(now=0.0)
        self.translator.unavailable(resource)
        self.assertFailed(self.translator.expire(TIMEOUT)[0], (C, U, "1", errors.NoAnswer))
        self.assertBalanced()

    def test_onlyItsOwn(self) -> None:
        """Exchanges of other resources continue."""
        _, first = self.forwarded(identifier="1", kind="set")
        alias, second = self.forwarded(identifier="2", kind="set")
        self.assertNotEqual(first, second)
        self.translator.unavailable(first)
        self.assertRelayed(self.answer(alias, second, "2"), C, U)

    def test_reconnected(self) -> None:
        """An exchange stays open over a lost connection: it can be answered, or fail when its resource goes."""
        sent = {identifier: self.forwarded(identifier=identifier, kind="set") for identifier in "12"}
        self.translator.forgetResources()
        self.assertRefused(self.ask(identifier="3"), errors.NoResource)
        for _, resource in sent.values():
            self.translator.available(resource)
        alias, resource = sent["1"]
        self.assertRelayed(self.answer(alias, resource), C, U)
        self.assertFailed(self.translator.unavailable(sent["2"][1]), (C, U, "2", errors.ResourceGone))
        self.assertBalanced()

    def test_reconnectedAgain(self) -> None:
        """
        Over several losses as well, whether or not the resource was seen between them; in the end nothing is
        stored.
        """
        self.make("a")
        self.forwarded(identifier="1", kind="set")
        self.translator.forgetResources()
        self.translator.available(f"{T}/a")
        self.forwarded(identifier="2", kind="set")
        self.translator.forgetResources()
        self.translator.forgetResources()
        self.assertFailed(
            self.translator.unavailable(f"{T}/a"),
            (C, U, "1", errors.ResourceGone),
            (C, U, "2", errors.ResourceGone),
        )
        self.assertEqual(self.translator.unavailable(f"{T}/a"), [])
        self.translator.forgetResources()
        self.assertEqual(self.pool._former, {})
        self.assertBalanced()

    def test_goneReopened(self) -> None:
        """A resource that only the previous process knew can become unavailable as well."""
        _, resource = self.forwarded()
        left = self.translator.openExchanges()
        self.make("")
        self.translator.reopen(left, 0.0)
        self.assertFailed(self.translator.unavailable(resource), (C, U, "1", errors.ResourceGone))
        self.assertBalanced()

    def test_rested(self) -> None:
        """ "A resource that let several deadlines pass is rested". This is reported once."""
        self.make("a")
        for identifier in "12345":
            self.forwarded(identifier=identifier, now=0.0)
        told = self.translator.expire(TIMEOUT)[1]
        self.assertEqual([resource.jid for resource in told], [f"{T}/a"])
        self.translator.available(f"{T}/b")
        for identifier in "678":
            self.assertEqual(self.forwarded(identifier=identifier, now=TIMEOUT)[1], f"{T}/b")

    def test_notRested(self) -> None:
        """Missed deadlines with answers between them do not rest a resource."""
        self.make("a")
        for number in range(6):
            now = number * TIMEOUT
            self.forwarded(identifier="silent", now=now)
            alias, resource = self.forwarded(identifier="answered", now=now)
            self.assertEqual(self.translator.expire(now + TIMEOUT - 1)[1], [])
            self.assertRelayed(self.answer(alias, resource, "answered", now + 1), C, U)
            self.assertEqual(self.translator.expire(now + TIMEOUT)[1], [])


class BoundTests(TranslatorCase):
    """Requests of third parties use a limited amount of memory."""

    def test_noResource(self) -> None:
        """ "No resource: service-unavailable." """
        self.make("")
        self.assertRefused(self.ask(), errors.NoResource)
        self.assertBalanced()

    def test_pending(self) -> None:
        """
        "The pending table is bounded (resource-constraint)", repeated ids included; later there are free places
        again.
        """
        for number in range(MAX_PENDING - 1):
            self.ask(f"user@{number}.example/r", identifier=str(number))
        self.assertIsInstance(self.ask(identifier="0"), Relay)
        self.assertRefused(self.ask(identifier="0"), errors.TooManyPending)
        self.assertRefused(self.ask("user@more.example/r"), errors.TooManyPending)
        actions, _ = self.translator.expire(TIMEOUT)
        self.assertEqual(len(actions), MAX_PENDING)
        self.assertIsInstance(self.ask(identifier="more", now=TIMEOUT), Relay)

    def test_outboundPending(self) -> None:
        """The limit also applies to requests of the implementing client."""
        self.make(outbound=True)
        alias, resource = self.forwarded(identifier="first")
        for number in range(MAX_PENDING):
            self.assertIsInstance(self.ask(resource, alias, str(number)), Relay)
        self.assertRefused(self.ask(resource, alias, "out"), errors.TooManyPending)
        self.assertIsInstance(self.ask(identifier="second"), Relay)

    def test_fair(self) -> None:
        """
        One account gets a fifth of the places, with any resources and ids, and one domain half; others are not
        affected.
        """
        for number in range(MAX_PENDING):
            self.ask(f"greedy@evil.example/{number % 50}", identifier=str(number % 5_000))
        self.assertEqual(self.translator.pending, 1 + MAX_PENDING // 5)
        self.assertRefused(self.ask("greedy@evil.example/new"), errors.TooManyPending)
        self.assertIsInstance(self.ask("other@evil.example/r"), Relay)
        for number in range(MAX_PENDING):
            self.ask(f"user{number % 1_000}@evil.example/r", identifier=str(number))
        self.assertEqual(self.translator.pending, MAX_PENDING // 2)
        for number in range(1_000):
            self.assertIsInstance(self.ask(identifier=str(number)), Relay)

    def test_countedOnce(self) -> None:
        """An account that was forgotten while it had no open request is one account again, for any recipients."""
        self.forwarded(identifier="a")
        self.translator.expire(TIMEOUT)
        # Addresses that are too long for the cache.
        for number in range(5_000):
            self.ask(f"user@{number}.example/{'r' * 600}")
            self.translator.expire(2 * TIMEOUT)
        self.ask(identifier="b")
        self.ask(recipient=f"n@{C}", identifier="c")
        self.assertEqual(self.translator._owed.of(U).taken, 2)
        self.translator.expire(3 * TIMEOUT)
        self.assertEqual((self.translator.pending, self.translator._owed.taken), (0, 0))

    def test_longId(self) -> None:
        """An id is stored until its exchange is closed; a very long one is refused."""
        self.assertIsInstance(self.ask(identifier="x" * MAX_ID), Relay)
        self.assertRefused(self.ask(identifier="x" * (MAX_ID + 1)), errors.TooManyPending)
        self.assertEqual(self.translator.pending, 1)

    def test_retained(self) -> None:
        """Requests are kept for a second attempt up to a number of bytes; others work, without a second attempt."""
        size = 250 * 1024
        for number in range(2 * MAX_RETAINED // size):
            self.assertIsInstance(self.ask(identifier=str(number), size=size), Relay)
        self.assertLessEqual(self.translator._retained, MAX_RETAINED + size + 1000)
        self.assertGreaterEqual(self.translator._retained, MAX_RETAINED)
        actions = self.translator.unavailable(f"{T}/a")
        failed = sum(isinstance(action, Fail) for action in actions)
        self.assertTrue(0 < failed < len(actions))
        self.assertEqual(len(self.translator.expire(TIMEOUT)[0]) + failed, 2 * MAX_RETAINED // size)
        self.assertBalanced()

    def test_correspondents(self) -> None:
        """A limited number of correspondents is remembered, with addresses of any length; all are served."""
        known = self.translator._correspondents
        for number in range(5_000):
            requester = f"u{number}@example.com/r"
            self.assertRelayed(self.answer(*self.forwarded(requester)), C, requester)
        self.assertLessEqual(len(known._byAddress), 4_096)
        self.assertLessEqual(len(known._byAlias), 4_096)
        before = len(known._byAddress)
        self.forwarded(U, f"{C}/{'x' * 600}")
        self.assertEqual(len(known._byAddress), before)

    def test_routes(self) -> None:
        """Routes from one correspondent to many resources are limited as well."""
        self.make("")
        for number in range(100):
            self.translator.available(f"{T}/{number}")
        met = self.translator._correspondents.getOrMake(U, C)
        found = {ends(met.to(resource.jid).route)[1] for resource in self.pool.all()}
        self.assertEqual(len(found), 100)
        self.assertLessEqual(len(met._there), 16)

    def test_routesBytes(self) -> None:
        """
        They are limited in bytes as well: long addresses need no more memory than short ones, and work the same.
        """
        for resource in (*(f"{T}/{'r' * 900}{number}" for number in range(16)), f"{T}/{'&' * 1000}", f"{T}/a"):
            met = self.translator._correspondents.getOrMake(U, C)
            self.assertEqual(ends(met.to(resource).route), (met.alias, resource))
            kept = sum(len(relay.route) for relay in met._there.values())
            self.assertEqual(kept, met._bytes)
            self.assertLessEqual(kept, 2_048)
        self.assertIs(met.to(f"{T}/a"), met.to(f"{T}/a"))


class GraceTests(TranslatorCase):
    """
    "For one timeout after a start, or with shared = true, a valid seal is enough."
    """

    def setUp(self) -> None:
        self.make()
        # The previous process forwarded it.
        self.alias, self.resource = self.forwarded()
        self.make()

    def test_afterStart(self) -> None:
        """Answers to requests of an earlier process are delivered for one timeout."""
        self.translator.started(10.0)
        self.assertRelayed(self.answer(self.alias, self.resource, now=10.0 + TIMEOUT - 0.1), C, U)
        self.assertDropped(self.answer(self.alias, self.resource, now=10.0 + TIMEOUT), "no such request")

    def test_once(self) -> None:
        """
        After a start, too, each request gets one answer: one that was answered or has failed is not answered again.
        """
        self.translator.started(0.0)
        self.assertRelayed(self.answer(self.alias, self.resource), C, U)
        self.assertDropped(self.answer(self.alias, self.resource), "a second answer")
        alias, resource = self.forwarded(identifier="2")
        self.assertRelayed(self.answer(alias, resource, "2"), C, U)
        self.assertEqual(self.answer(alias, resource, "2"), Drop("a second answer"))
        alias, resource = self.forwarded(identifier="3", kind="set")
        self.assertFailed(self.translator.unavailable(resource), (C, U, "3", errors.ResourceGone))
        self.assertEqual(self.answer(alias, resource, "3"), Drop("a second answer"))

    def test_reopened(self) -> None:
        """
        Exchanges that the previous process left open are open: their answers are accepted only from the resource
        that was asked, with repeated ids, and they fail at their deadline.
        """
        alias, resource = self.forwarded(identifier="open")
        self.forwarded(identifier="open")
        self.forwarded(V, f"n@{C}/r", "late", now=5.0)
        left = self.translator.openExchanges()
        self.make()
        self.translator.reopen(left, 10.0)
        self.translator.started(10.0)
        self.assertEqual(self.translator.pending, 3)
        [other] = [each.jid for each in self.pool.all() if each.jid != resource]
        self.assertDropped(self.answer(alias, other, "open"), "an answer from another resource")
        self.assertRelayed(self.answer(alias, resource, "open"), C, U)
        self.assertRelayed(self.answer(alias, resource, "open"), C, U)
        self.assertEqual(self.answer(alias, resource, "open"), Drop("a second answer"))
        actions, rested = self.translator.expire(5.0 + TIMEOUT)
        self.assertFailed(actions, (f"n@{C}/r", V, "late", errors.NoAnswer))
        self.assertEqual((rested, self.translator.pending), ([], 0))

    def test_reopenedLate(self) -> None:
        """
        A deadline that passed between the processes has passed; with a clock that was ahead, no request has more
        than a timeout.
        """
        self.forwarded(identifier="old")
        self.forwarded(identifier="old", now=90.0)
        self.forwarded(identifier="ahead", now=1e6)
        self.forwarded(identifier="ahead", now=2e6)
        left = self.translator.openExchanges()
        self.make()
        self.translator.reopen(left, 100.0)
        self.assertFailed(self.translator.expire(100.0)[0], (C, U, "old", errors.NoAnswer))
        self.assertFailed(self.translator.expire(90.0 + TIMEOUT)[0], (C, U, "old", errors.NoAnswer))
        self.assertFailed(self.translator.expire(100.0 + TIMEOUT)[0], *[(C, U, "ahead", errors.NoAnswer)] * 2)

    def test_reopenedElsewhere(self) -> None:
        """Stored exchanges of another component are ignored."""
        self.forwarded()
        [left] = self.translator.openExchanges()
        self.make()
        self.translator.reopen([evolve(left, address="other.example.com")], 0.0)
        self.assertEqual(self.translator.pending, 0)

    def test_abandoned(self) -> None:
        """At the end of a stop, requests of the implementing client fail with an error."""
        self.make(outbound=True)
        action = self.translator.request(stanza("<iq type='get' id='x'/>"), f"{T}/a", self.alias, "7", 0.0)
        self.assertRelayed(action, C, U)
        self.assertFailed(self.translator.abandon(), (self.alias, f"{T}/a", "7", errors.Stopping))
        self.assertEqual((self.translator.pending, self.translator.abandon()), (0, []))

    def test_abandonedAll(self) -> None:
        """If no process follows, every exchange ends with an error, also each of those with one id."""
        self.make(outbound=True)
        self.translator.request(stanza("<iq type='get' id='x'/>"), f"{T}/a", self.alias, "7", 0.0)
        for _ in range(2):
            self.ask(identifier="8")
        ended = self.translator.abandonAll()
        self.assertEqual([(each.id, each.error) for each in ended], [(name, errors.Stopping) for name in "788"])
        self.assertEqual((self.translator.pending, self.translator.openExchanges()), (0, []))

    def test_shared(self) -> None:
        """If several gateways serve one component, the answer may come to another one than the request."""
        self.make(shared=True)
        self.assertRelayed(self.answer(self.alias, self.resource, now=1e6), C, U)

    def test_stillChecked(self) -> None:
        """The seal must be valid, and the sender must be the target."""
        for make in (lambda: self.translator.started(0.0), lambda: self.make(shared=True)):
            make()
            answers = {
                "a broken seal": self.answer(self.alias + "x", self.resource),
                "an answer from another account": self.answer(self.alias, V),
                "a forgotten handle": self.answer(f"{C}/{'A' * 20}/~AAAA", self.resource),
            }
            for reason, action in answers.items():
                self.assertEqual(action, Drop(reason))
            self.assertEqual(self.translator.dropped, Counter(dict.fromkeys(answers, 1)))

    def test_openExchange(self) -> None:
        """For its own requests the gateway knows the resource that was asked, also in its grace period."""
        self.translator.started(0.0)
        alias, resource = self.forwarded()
        [other] = [each.jid for each in self.pool.all() if each.jid != resource]
        self.assertDropped(self.answer(alias, other), "an answer from another resource")

    def test_sharedSaysNothing(self) -> None:
        """
        Another gateway may have delivered the answer: no error, no second attempt, no rest, and nothing is stored.
        """
        self.make(shared=True)
        for identifier in "12345678":
            self.forwarded(identifier=identifier)
        self.assertBalanced()
        self.assertEqual(self.translator.openExchanges(), [])
        self.assertEqual(self.translator.expire(TIMEOUT), ([], []))
        self.assertBalanced()
        _, resource = self.forwarded(now=TIMEOUT)
        self.assertEqual(self.translator.unavailable(resource), [])
        self.assertBalanced()


class DrainTests(TranslatorCase):
    """The gateway is stopping."""

    def test_drain(self) -> None:
        """No new requests in either direction; open exchanges can still end."""
        self.make(outbound=True)
        alias, resource = self.forwarded()
        self.translator.drain()
        self.assertRefused(self.ask(identifier="2"), errors.Stopping)
        self.assertRefused(self.ask(), errors.Stopping)
        self.assertRefused(self.ask(resource, alias, "3"), errors.Stopping)
        self.assertRelayed(self.answer(alias, resource), C, U)
        self.assertBalanced()


class OutboundTests(TranslatorCase):
    """
    "With outbound, the implementing client may write to a TOKEN it was given or to user\\40domain@C/resource."
    """

    def setUp(self) -> None:
        self.make(outbound=True)
        self.alias, self.resource = self.forwarded()
        self.answer(self.alias, self.resource)

    def test_token(self) -> None:
        """A request to a TOKEN goes to its requester, and "the answer finds its way back"."""
        self.assertRelayed(self.ask(self.resource, self.alias), C, U)
        self.assertRelayed(self.translator.answer(U, C, "1", 1.0), self.alias, self.resource)
        self.assertBalanced()

    def test_tokenOfNode(self) -> None:
        """... from the address that the requester had written to."""
        alias, resource = self.forwarded(U, f"n@{C}")
        self.answer(alias, resource)
        self.assertRelayed(self.ask(resource, alias), f"n@{C}", U)
        self.assertRelayed(self.translator.answer(U, f"n@{C}", "1", 1.0), alias, resource)

    def test_escaped(self) -> None:
        """XEP-0106: full and bare addresses, of users who have never written."""
        for written, meant in {
            f"bob\\40example.org@{C}/phone": "bob@example.org/phone",
            f"bob\\40example.org@{C}": "bob@example.org",
            f"d\\5c27artagnan\\40example.org@{C}/a b": "d\\27artagnan@example.org/a b",
            f"BOB\\40Example.ORG@{C}": "bob@example.org",
        }.items():
            with self.subTest(written):
                self.make(outbound=True)
                action = self.ask(self.resource, written)
                assert isinstance(action, Relay), action
                sender, recipient = ends(action.route)
                self.assertEqual((sender, recipient), (C, meant))
                self.assertRelayed(self.translator.answer(recipient, C, "1", 1.0), written, self.resource)

    def test_nobody(self) -> None:
        """A forged token, or an invalid JID, is refused."""
        for recipient in (
            self.alias.replace(U, V),
            f"{C}/x",
            f"\\40@{C}",
            f"\\40example.org@{C}",
            f"a\\40@{C}",
            f"a\\40b..c@{C}",
        ):
            with self.subTest(recipient):
                self.assertRefused(self.ask(self.resource, recipient), errors.NoSuchAddress)
        self.assertBalanced()

    def test_anotherComponent(self) -> None:
        """
        A stanza of the implementing client to another component, which a server may deliver here as well, is not
        forwarded.
        """
        for recipient in ("bob\\40example.org@other.example.com", f"bob\\40example.org@other.{C}/r"):
            self.assertRefused(self.ask(self.resource, recipient), errors.NoSuchAddress)
        self.assertBalanced()
        self.assertIsInstance(self.ask(self.resource, f"bob\\40example.org@{C.upper()}"), Relay)

    def test_noLoops(self) -> None:
        """An address of the component itself is refused, in any spelling."""
        for recipient in (f"x\\40{C}@{C}", f"x\\40{C.upper()}@{C}", f"a\\5c40example.com\\40{C}@{C}/r"):
            with self.subTest(recipient):
                self.assertRefused(self.ask(self.resource, recipient), errors.NoSuchAddress)

    def test_onlyThePartner(self) -> None:
        """Only the partner that was asked can answer, with the id and to the address of the request."""
        self.ask(self.resource, self.alias, "7")
        for sender, recipient, identifier in ((V, C, "7"), (U, C, "8"), (U, f"x@{C}", "7"), (U + "x", C, "7")):
            self.assertNotIsInstance(self.translator.answer(sender, recipient, identifier, 1.0), Relay)
        self.assertRelayed(self.translator.answer(U, C, "7", 1.0), self.alias, self.resource)

    def test_once(self) -> None:
        """A second answer is dropped."""
        self.ask(self.resource, self.alias)
        self.translator.answer(U, C, "1", 1.0)
        self.assertIsNone(self.translator.answer(U, C, "1", 1.0))

    def test_deadline(self) -> None:
        """The implementing client gets its error from the address of its request."""
        self.ask(self.resource, self.alias, now=0.0)
        self.assertFailed(self.translator.expire(TIMEOUT)[0], (self.alias, self.resource, "1", errors.NoAnswer))
        self.assertBalanced()

    def test_sameId(self) -> None:
        """
        Two resources cannot have open requests to the same user with the same id: the answers would be ambiguous.
        """
        self.assertIsInstance(self.ask(f"{T}/a", self.alias), Relay)
        self.assertRefused(self.ask(f"{T}/b", self.alias), errors.AlreadyOpen)
        self.translator.answer(U, C, "1", 1.0)
        self.assertIsInstance(self.ask(f"{T}/b", self.alias), Relay)

    def test_bothWays(self) -> None:
        """The same id in both directions between the same two is no problem."""
        alias, resource = self.forwarded(identifier="9")
        self.assertRelayed(self.ask(resource, alias, "9"), C, U)
        self.assertRelayed(self.translator.answer(U, C, "9", 1.0), alias, resource)
        self.assertRelayed(self.answer(alias, resource, "9"), C, U)
        self.assertBalanced()

    def test_off(self) -> None:
        """ "Off by default." """
        self.make()
        for recipient in (self.alias, f"bob\\40example.org@{C}"):
            self.assertRefused(self.ask(self.resource, recipient), errors.NotOffered)
        self.assertBalanced()

    def test_othersCannot(self) -> None:
        """For any other sender a token is an ordinary recipient."""
        alias, _ = self.forwarded(V, self.alias)
        self.assertTrue(alias.endswith(f"/{V}"), alias)
        alias, _ = self.forwarded(V, f"bob\\40example.org@{C}")
        self.assertTrue(alias.endswith(f"/{V}"), alias)

    def test_asRequester(self) -> None:
        """The implementing client may use its own service as a requester."""
        alias, resource = self.forwarded(f"{T}/a")
        self.assertRelayed(self.answer(alias, resource), C, f"{T}/a")


class ForwardTests(TranslatorCase):
    """ "Off by default: messages and presence both ways." """

    def message(self, sender: str = U, recipient: str = C, kind: str | None = "chat") -> Action:
        return self.translator.message(sender, recipient, kind, 0.0)

    def test_messagesOff(self) -> None:
        """Refused in both directions; an error is never answered."""
        alias, resource = self.forwarded()
        self.assertRefused(self.message(), errors.NotOffered)
        self.assertRefused(self.message(resource, alias), errors.NotOffered)
        self.assertRefused(self.message(resource, f"bob\\40example.org@{C}"), errors.NotOffered)
        self.assertDropped(self.message(kind="error"), "an error message for nobody")

    def test_messages(self) -> None:
        """Messages in both directions, and errors, but no errors of rooms."""
        self.make(forward=frozenset({"message"}))
        action = self.message(U, f"n@{C}")
        assert isinstance(action, Relay)
        alias, resource = ends(action.route)
        self.assertRelayed(self.message(resource, alias), f"n@{C}", U)
        self.assertRelayed(self.message(resource, alias, "error"), f"n@{C}", U)
        self.assertRefused(self.message(kind="groupchat"), errors.NotOffered)
        self.assertRefused(self.message(resource, alias.replace(U, V)), errors.NoSuchAddress)
        self.assertRefused(self.ask(), errors.NotOffered)

    def test_messagesToNobody(self) -> None:
        """Without a resource the sender gets an error."""
        self.make("", forward=frozenset({"message"}))
        self.assertRefused(self.message(), errors.NoResource)
        self.assertDropped(self.message(kind="error"), "an error message for nobody")

    def test_startedByTheClient(self) -> None:
        """To an XEP-0106 address only with C{outbound}."""
        self.make(forward=frozenset({"message"}))
        self.assertRefused(self.message(f"{T}/a", f"bob\\40example.org@{C}"), errors.NotOffered)
        self.make(forward=frozenset({"message"}), outbound=True)
        self.assertRelayed(self.message(f"{T}/a", f"bob\\40example.org@{C}"), C, "bob@example.org")

    def test_presenceOff(self) -> None:
        """Refused in both directions."""
        alias, resource = self.forwarded()
        self.assertRefused(self.translator.presence(U, C), errors.NotOffered)
        self.assertRefused(self.translator.presence(resource, alias), errors.NotOffered)

    def test_presence(self) -> None:
        """A requester's presence goes to every resource; that of the implementing client to its recipient."""
        self.make(forward=frozenset({"presence"}))
        relays = self.translator.presence(U, C)
        assert isinstance(relays, list)
        found = [ends(relay.route) for relay in relays]
        [alias] = {sender for sender, _ in found}
        self.assertEqual({recipient for _, recipient in found}, {f"{T}/a", f"{T}/b"})
        relays = self.translator.presence(f"{T}/b", alias)
        assert isinstance(relays, list)
        [relay] = relays
        self.assertRelayed(relay, C, U)
        self.assertRefused(self.translator.presence(f"{T}/b", f"{C}/x"), errors.NoSuchAddress)


class Books(RuleBasedStateMachine):
    """A state machine: events in any order, compared with a simple model of the open requests."""

    USERS = (U, V, f"{T}/a")
    ADDRESSES = (C, f"n@{C}", f"{C}/r")
    RESOURCES = tuple(f"{T}/{name}" for name in "abc")
    IDS = ("1", "2")

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(T, "*", "least-pending", lambda: 0.0)
        self.translator = Translator(Sealer(C, KEY), self.pool, Rules(outbound=True))
        self.now = 0.0
        # Each as (requester, address, id).
        self.owed: Counter[tuple[str, str, str]] = Counter()
        # Open requests of resources, each as (resource, alias, id), and of partners, as (partner, address, id).
        self.asked: list[tuple[str, str, str]] = []
        self.askedOut: list[tuple[str, str, str]] = []
        self.resources: dict[int, Resource] = {}
        for jid in self.RESOURCES:
            self.available(jid)

    def paid(self, route: bytes, identifier: str) -> None:
        sender, recipient = ends(route)
        key = recipient, sender, identifier
        assert self.owed[key] > 0, f"{key} is owed nothing"
        self.owed[key] -= 1

    def carryOut(self, actions: list[Fail | Retry]) -> None:
        for action in actions:
            if isinstance(action, Fail):
                self.paid(action.route, action.id)
            else:
                alias, resource = ends(action.route)
                assert resource in self.pool
                identifier = action.stanza.id or ""
                self.asked.append((resource, alias, identifier))

    @rule(
        user=st.sampled_from(USERS),
        address=st.sampled_from(ADDRESSES),
        identifier=st.sampled_from(IDS),
        kind=st.sampled_from(["get", "set"]),
    )
    def request(self, user: str, address: str, identifier: str, kind: str) -> None:
        asked = stanza(f"<iq type='{kind}' id='{identifier}'/>")
        action = self.translator.request(asked, user, address, identifier, self.now)
        # T's stanzas to C/r are for a user behind the component; no such token exists.
        if user.startswith(T) and address == f"{C}/r":
            assert action == Refuse(errors.NoSuchAddress)
        elif not len(self.pool) and not isinstance(action, Relay):
            assert action == Refuse(errors.NoResource)
        else:
            assert isinstance(action, Relay)
            alias, resource = ends(action.route)
            self.asked.append((resource, alias, identifier))
            self.owed[user, address, identifier] += 1

    @rule(which=st.integers(0, 100))
    def answer(self, which: int) -> None:
        if self.asked:
            resource, alias, identifier = self.asked.pop(which % len(self.asked))
            action = self.translator.answer(resource, alias, identifier, self.now)
            if isinstance(action, Relay):
                self.paid(action.route, identifier)

    @rule(which=st.integers(0, 100), identifier=st.sampled_from(IDS), user=st.sampled_from((U, V)))
    def requestOut(self, which: int, identifier: str, user: str) -> None:
        resource = self.RESOURCES[which % 3]
        alias = self.translator._correspondents.getOrMake(user, C).alias
        action = self.translator.request(
            stanza(f"<iq type='get' id='{identifier}'/>"), resource, alias, identifier, self.now
        )
        if isinstance(action, Relay):
            assert ends(action.route) == (C, user)
            self.askedOut.append((user, C, identifier))
            self.owed[resource, alias, identifier] += 1
        else:
            assert action == Refuse(errors.AlreadyOpen)

    @rule(which=st.integers(0, 100))
    def answerOut(self, which: int) -> None:
        if self.askedOut:
            user, address, identifier = self.askedOut.pop(which % len(self.askedOut))
            action = self.translator.answer(user, address, identifier, self.now)
            if isinstance(action, Relay):
                self.paid(action.route, identifier)

    @rule(
        sender=st.sampled_from((*RESOURCES, U, V, T)),
        user=st.sampled_from(USERS),
        address=st.sampled_from(ADDRESSES),
        identifier=st.sampled_from(("1", "3")),
        spoil=st.booleans(),
    )
    def forge(self, sender: str, user: str, address: str, identifier: str, spoil: bool) -> None:
        """An answer is forwarded only if a request is open; with a forged seal never."""
        alias = self.translator._correspondents.getOrMake(user, address).alias + "x" * spoil
        action = self.translator.answer(sender, alias, identifier, self.now)
        if isinstance(action, Relay):
            assert not spoil
            self.paid(action.route, identifier)

    @rule(jid=st.sampled_from(RESOURCES))
    def available(self, jid: str) -> None:
        self.translator.available(jid)
        self.resources |= {id(resource): resource for resource in self.pool.all()}

    @rule(jid=st.sampled_from(RESOURCES))
    def unavailable(self, jid: str) -> None:
        self.carryOut(self.translator.unavailable(jid))
        assert not any(exchange.resource.jid == jid for exchange in self.translator._exchanges.values())

    @rule(back=st.sets(st.sampled_from(RESOURCES)))
    def reconnect(self, back: set[str]) -> None:
        self.translator.forgetResources()
        for jid in back:
            self.available(jid)

    @rule(seconds=st.sampled_from([0.5, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.carryOut(self.translator.expire(self.now)[0])

    @invariant()
    def balanced(self) -> None:
        assert self.translator.pending == self.owed.total(), (self.translator.pending, self.owed)
        exchanges = list(self.translator._exchanges.values())
        for resource in self.resources.values():
            assert len(resource.open) == sum(exchange.resource is resource for exchange in exchanges)
        assert self.translator._retained == sum(len(each.kept.raw) for each in exchanges if each.kept)

    def teardown(self) -> None:
        """At the end each request has had exactly one answer."""
        self.wait(31.0)
        assert self.owed.total() == 0, self.owed
        assert self.translator.pending == self.translator._retained == self.translator._owed.taken == 0
        assert not any(resource.open for resource in self.resources.values())


class BooksTests(SynchronousTestCase):
    """Random orders of events."""

    def test_always(self) -> None:
        """
        "Nothing pending is forgotten": requests, answers, forgeries, resources and connections that come and go,
        and time, in any order. Each request gets exactly one answer, and nothing stays in the tables.
        """
        run_state_machine_as_test(
            Books,
            settings=settings(steady, stateful_step_count=30),
        )
