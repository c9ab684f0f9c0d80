"""What a managing entity keeps: grants, and requests without an answer."""

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
    """A namespace and its filter."""
    return Grant(namespace, version, frozenset(filtering))


class GrantsTests(SynchronousTestCase):
    """What is delegated by whom."""

    def setUp(self) -> None:
        self.grants = Grants()

    def test_added(self) -> None:
        """ejabberd sends its grants one by one, Prosody all at once: they add up."""
        one, two, three = grant("urn:1"), grant("urn:2", "node"), grant("urn:3")
        self.assertEqual(self.grants.onServerAdvertisement(HOST, [one]), [one])
        self.assertEqual(self.grants.onServerAdvertisement(HOST, [two, three]), [two, three])
        found = [self.grants.get(HOST, f"urn:{number}") for number in (1, 2, 3, 4)]
        self.assertEqual(found, [one, two, three, None])

    def test_twice(self) -> None:
        """What is known is no news."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        both = [grant("urn:1"), grant("urn:2")]
        self.assertEqual(self.grants.onServerAdvertisement(HOST, both), [grant("urn:2")])

    def test_changed(self) -> None:
        """Another filter, or another version, is; and holds from then on."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        for changed in (grant("urn:1", "node"), grant("urn:1", "node", version=ns.DELEGATION_1)):
            self.assertEqual(self.grants.onServerAdvertisement(HOST, [changed]), [changed])
            self.assertEqual(self.grants.get(HOST, "urn:1"), changed)

    def test_servers(self) -> None:
        """What one server grants says nothing of another."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        self.assertIsNone(self.grants.get(OTHER, "urn:1"))
        self.assertEqual(self.grants.onServerAdvertisement(OTHER, [grant("urn:1")]), [grant("urn:1")])

    def test_disconnected(self) -> None:
        """They are gone with the connection; the same again is news."""
        self.grants.onServerAdvertisement(HOST, [grant("urn:1")])
        self.grants.onUserAdvertisement(JULIET, [grant("urn:2")])
        self.grants.clear()
        self.assertIsNone(self.grants.get(HOST, "urn:1"))
        self.assertFalse(self.grants.grantedBy(JULIET, "urn:2"))
        self.assertEqual(self.grants.onServerAdvertisement(HOST, [grant("urn:1")]), [grant("urn:1")])

    def test_users(self) -> None:
        """What a user grants is for that user, replaces what was, and may be nothing."""
        self.grants.onUserAdvertisement(JULIET, [grant("urn:1"), grant("urn:2")])
        self.grants.onUserAdvertisement(JULIET, [grant("urn:2"), grant("urn:3")])
        granted = [self.grants.grantedBy(JULIET, f"urn:{number}") for number in (1, 2, 3)]
        self.assertEqual(granted, [False, True, True])
        self.assertFalse(self.grants.grantedBy("romeo@capulet.lit", "urn:2"))
        self.assertIsNone(self.grants.get(HOST, "urn:2"))
        self.grants.onUserAdvertisement(JULIET, [])
        self.assertFalse(self.grants.grantedBy(JULIET, "urn:2"))

    def test_bounded(self) -> None:
        """The table of users is bounded; those who are in it stay, and may change what they grant."""
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
    """Each request that was forwarded is closed once."""

    def setUp(self) -> None:
        self.make(100)
        self.request = Request(f"{JULIET}/balcony", None, "1", "get", "urn:1", {}, b"<x xmlns='urn:1'/>")

    def make(self, bound: int) -> None:
        self.open = PendingRequests(bound, timeout=25.0)

    def opened(self, identifier: str, server: str = HOST, now: float = 0.0) -> PendingRequest:
        return self.open.open(ns.DELEGATION_2, server, identifier, self.request, now)

    def test_once(self) -> None:
        """The first answer may be sent, and no other."""
        opened = self.opened("a")
        self.assertTrue(self.open.isOpen(opened))
        self.assertTrue(self.open.close(opened))
        self.assertFalse(self.open.isOpen(opened))
        self.assertFalse(self.open.close(opened))
        self.assertEqual(len(self.open), 0)

    def test_twice(self) -> None:
        """The same id from the same server is refused while it is open; another server's is another."""
        opened = self.opened("a")
        self.assertRaises(AlreadyOpen, self.opened, "a")
        self.opened("a", OTHER)
        self.assertTrue(self.open.close(opened))
        again = self.opened("a")
        # What answers the old one does not answer the new one.
        self.assertFalse(self.open.close(opened))
        self.assertTrue(self.open.close(again))

    def test_bound(self) -> None:
        """So many, and no more; nothing that is open suffers."""
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
        """One user does not get all of the room, from however many resources; all of it is given back."""
        self.make(4)
        opened = self.opened("a")
        theirs = evolve(self.request, requester="romeo@capulet.lit/orchard")
        self.request = evolve(self.request, requester=f"{JULIET}/chamber")
        self.assertRaises(TooManyPending, self.opened, "b")
        mine, self.request = self.request, theirs
        self.opened("b")
        self.request = mine
        self.open.close(opened)
        self.opened("c")
        self.open.abandon()
        self.assertEqual(self.open.shares.taken, 0)

    def test_expire(self) -> None:
        """Who is overdue is closed, in order; not before, and not who came later."""
        first, second = self.opened("a"), self.opened("b", now=1.0)
        closed = self.opened("c")
        self.open.close(closed)
        self.assertEqual(self.open.expire(24.9), [])
        self.assertEqual(self.open.expire(25.0), [first])
        self.assertFalse(self.open.close(first))
        self.assertEqual(self.open.expire(26.0), [second])
        self.assertEqual((self.open.expire(99.0), len(self.open)), ([], 0))

    def test_abandon(self) -> None:
        """All of them, and then none."""
        opened = [self.opened(each) for each in "ab"]
        self.assertEqual(self.open.abandon(), opened)
        self.assertEqual((self.open.abandon(), len(self.open)), ([], 0))
        self.assertFalse(self.open.close(opened[0]))


class TurnsTests(SynchronousTestCase):
    """So many of a user's requests are worked on at a time."""

    def test_order(self) -> None:
        """The others come after them, in order; another user's need not wait; and nothing is left."""
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
