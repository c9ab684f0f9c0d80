"""The state of a managing entity: grants, and pending requests."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.delegation import managing
from gateway.delegation.core import Request
from gateway.delegation.managing import Grants, PendingRequest, PendingRequests, Turns
from gateway.delegation.nesting import Grant
from gateway.errors import AlreadyOpen, TooManyPending

HOST, OTHER = "capulet.lit", "montaigu.lit"
JULIET = "juliet@capulet.lit"


def grant(namespace: str, *filtering: str, version: str = ns.DELEGATION_2) -> Grant:
    """Return a namespace and its filter."""
    return Grant(namespace, version, frozenset(filtering))


class GrantsTests(SynchronousTestCase):
    """Delegated namespaces, by server and by user."""

    def setUp(self) -> None:
        self.grants = Grants()

    def test_added(self) -> None:
        """ejabberd sends its grants one by one, Prosody all at once: they are added."""
        one, two, three = grant("urn:1"), grant("urn:2", "node"), grant("urn:3")
        self.assertEqual(self.grants.onServerAdvertisement(HOST, [one]), [one])
        self.assertEqual(self.grants.onServerAdvertisement(HOST, [two, three]), [two, three])
        found = [self.grants.get(HOST, f"urn:{number}") for number in (1, 2, 3, 4)]
        self.assertEqual(found, [one, two, three, None])

    def test_twice(self) -> None:
        """A grant that is known is not reported again."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        both = [grant("urn:1"), grant("urn:2")]
        self.assertEqual(self.grants.onServerAdvertisement(HOST, both), [grant("urn:2")])

    def test_changed(self) -> None:
        """A changed filter or version is reported, and replaces the old one."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        for changed in (grant("urn:1", "node"), grant("urn:1", "node", version=ns.DELEGATION_1)):
            self.assertEqual(self.grants.onServerAdvertisement(HOST, [changed]), [changed])
            self.assertEqual(self.grants.get(HOST, "urn:1"), changed)

    def test_servers(self) -> None:
        """One server's grants do not affect another's."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        self.assertIsNone(self.grants.get(OTHER, "urn:1"))
        self.assertEqual(self.grants.onServerAdvertisement(OTHER, [grant("urn:1")]), [grant("urn:1")])

    def test_disconnected(self) -> None:
        """Grants end with the connection; afterwards the same grant is reported again."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        self.grants.onUserAdvertisement(JULIET, [grant("urn:2")])
        self.grants.clear()
        self.assertIsNone(self.grants.get(HOST, "urn:1"))
        self.assertFalse(self.grants.grantedBy(JULIET, "urn:2"))
        self.assertEqual(self.grants.onServerAdvertisement(HOST, [grant("urn:1")]), [grant("urn:1")])

    def test_users(self) -> None:
        """A user's grants apply to that user, replace earlier ones, and may be empty."""
        self.grants.onUserAdvertisement(JULIET, [grant("urn:1"), grant("urn:2")])
        self.grants.onUserAdvertisement(JULIET, [grant("urn:2"), grant("urn:3")])
        granted = [self.grants.grantedBy(JULIET, f"urn:{number}") for number in (1, 2, 3)]
        self.assertEqual(granted, [False, True, True])
        self.assertFalse(self.grants.grantedBy("romeo@capulet.lit", "urn:2"))
        self.assertIsNone(self.grants.get(HOST, "urn:2"))
        self.grants.onUserAdvertisement(JULIET, [])
        self.assertFalse(self.grants.grantedBy(JULIET, "urn:2"))

    def test_bounded(self) -> None:
        """The table of users is limited. Its users stay, and may change their grants."""
        self.patch(managing, "_MAX_USERS", 2)
        users = [f"u{number}@{HOST}" for number in range(3)]
        for user in users:
            self.grants.onUserAdvertisement(user, [grant("urn:1")])
        self.assertEqual([self.grants.grantedBy(user, "urn:1") for user in users], [True, True, False])
        self.grants.onUserAdvertisement(users[0], [grant("urn:2")])
        self.grants.onUserAdvertisement(users[1], [])
        self.grants.onUserAdvertisement(users[2], [grant("urn:2")])
        self.assertEqual([self.grants.grantedBy(user, "urn:2") for user in users], [True, False, True])


class PendingRequestsTests(SynchronousTestCase):
    """Each forwarded request is closed once."""

    def setUp(self) -> None:
        self.make(100)
        self.request = Request(f"{JULIET}/balcony", None, "1", "get", "urn:1", {}, b"<x xmlns='urn:1'/>")

    def make(self, bound: int) -> None:
        self.open = PendingRequests(bound, timeout=25.0)

    def opened(self, identifier: str, server: str = HOST, now: float = 0.0) -> PendingRequest:
        return self.open.open(ns.DELEGATION_2, server, identifier, self.request, now)

    def test_once(self) -> None:
        """Only the first answer may be sent."""
        opened = self.opened("a")
        self.assertTrue(self.open.isOpen(opened))
        self.assertTrue(self.open.close(opened))
        self.assertFalse(self.open.isOpen(opened))
        self.assertFalse(self.open.close(opened))
        self.assertEqual(len(self.open), 0)

    def test_twice(self) -> None:
        """An id of the same server is refused while it is in use; the same id of another server is separate."""
        opened = self.opened("a")
        self.assertRaises(AlreadyOpen, self.opened, "a")
        self.opened("a", OTHER)
        self.assertTrue(self.open.close(opened))
        again = self.opened("a")
        # The answer to the old request is not accepted for the new one.
        self.assertFalse(self.open.close(opened))
        self.assertTrue(self.open.close(again))

    def test_bound(self) -> None:
        """The number of requests is limited; at the limit, open requests are not affected."""
        self.make(3)
        opened = []
        for each in "abc":
            self.request = evolve(self.request, requester=f"juliet@{each}.lit")
            opened.append(self.opened(each))
        self.request = evolve(self.request, requester="juliet@d.lit")
        self.assertRaises(TooManyPending, self.opened, "d")
        self.assertEqual(len(self.open), 3)
        self.assertTrue(all(self.open.close(each) for each in opened))
        self.opened("d")

    def test_shares(self) -> None:
        """One user cannot take all places, with any number of resources; all places are returned."""
        self.make(4)
        opened = self.opened("a")
        theirs = evolve(self.request, requester="romeo@capulet.lit/orchard")
        self.request = evolve(self.request, requester=f"{JULIET}/chamber")
        self.assertRaises(TooManyPending, self.opened, "b")
        # An id that is in use is the reason that is given, because a later attempt with it fails as well.
        self.assertRaises(AlreadyOpen, self.opened, "a")
        mine, self.request = self.request, theirs
        self.opened("b")
        self.request = mine
        self.open.close(opened)
        self.opened("c")
        self.open.abandon()
        self.assertEqual(self.open.shares.taken, 0)

    def test_expire(self) -> None:
        """Overdue requests are closed in order; others are not."""
        first, second = self.opened("a"), self.opened("b", now=1.0)
        closed = self.opened("c")
        self.open.close(closed)
        self.assertEqual(self.open.expire(24.9), [])
        self.assertEqual(self.open.expire(25.0), [first])
        self.assertFalse(self.open.close(first))
        self.assertEqual(self.open.expire(26.0), [second])
        self.assertEqual((self.open.expire(99.0), len(self.open)), ([], 0))

    def test_abandon(self) -> None:
        """All requests are closed; then none is left."""
        opened = [self.opened(each) for each in "ab"]
        self.assertEqual(self.open.abandon(), opened)
        self.assertEqual((self.open.abandon(), len(self.open)), ([], 0))
        self.assertFalse(self.open.close(opened[0]))


class TurnsTests(SynchronousTestCase):
    """A limited number of requests per user are handled at a time."""

    def test_order(self) -> None:
        """Further requests wait, in order; those of another user do not wait; in the end none is left."""
        turns: Turns[int] = Turns(2)
        for number in range(2):
            self.assertTrue(turns.beginOrQueue(JULIET, number))
            turns.begin(JULIET)
        self.assertEqual([turns.beginOrQueue(JULIET, number) for number in (2, 3)], [False, False])
        self.assertTrue(turns.beginOrQueue("romeo@montague.lit", 9))
        self.assertIsNone(turns.takeNext(JULIET))
        turns.end(JULIET)
        self.assertEqual(turns.takeNext(JULIET), 2)
        turns.begin(JULIET)
        self.assertIsNone(turns.takeNext(JULIET))
        for _ in range(2):
            turns.end(JULIET)
        self.assertEqual([turns.takeNext(JULIET) for _ in range(2)], [3, None])
        self.assertEqual(turns.lines, {})
