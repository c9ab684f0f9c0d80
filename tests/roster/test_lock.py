"""Locked rosters: the answers that clients get."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.errors import TooManyPending
from gateway.interfaces import IDelegatedNamespace, RosterItem
from gateway.pieces import Pieces
from gateway.roster.failures import RefreshFailed
from gateway.roster.interested import InterestedClients
from gateway.roster.lock import LockedRosters
from gateway.roster.refresher import Refresher
from gateway.xml.write import serialised
from tests.roster.support import item
from tests.roster.test_interested import FakePrivileges
from tests.roster.test_refresher import FakeAnswer, FakeWorld


@frozen
class Request:
    """A delegated request."""

    requester: str = "john@h/a"
    entity: str = "john@h"
    type: str = "get"
    namespace: str = ns.ROSTER
    payload: Any = None


class LockedRostersTests(SynchronousTestCase):
    """Requests that a server has delegated."""

    def setUp(self) -> None:
        self.world = FakeWorld()
        self.clock: Any = Clock()
        self.privileges = FakePrivileges()
        self.make(2)

    def make(self, concurrency: int) -> None:
        pieces = Pieces(self.clock)
        self.refresher = Refresher("h", self.world, self.world, concurrency, pieces, 1)
        privileges: Any = self.privileges
        self.interested = InterestedClients("r.h", "h", privileges, self.clock)
        self.locked = LockedRosters(self.refresher, self.world, self.clock, pieces, self.interested, "r.h")

    def fetched(self, document: bytes, number: int = -1) -> None:
        """Let the application answer, and the server have the same contacts."""
        self.world.answer(FakeAnswer(document), number)
        self.world.answer([RosterItem(jid=jid, subscription="both") for jid in json.loads(document)])

    def ask(self, **changes: str) -> Deferred[domish.Element]:
        return ensureDeferred(self.locked.answer(Request(**changes)))

    def contacts(self, asked: Deferred[domish.Element]) -> dict[str, str]:
        """Return the subscriptions in an answer."""
        return {item["jid"]: item["subscription"] for item in self.successResultOf(asked).elements()}

    def refused(self, asked: Deferred[Any]) -> str:
        return str(self.failureResultOf(asked, StanzaError).value.condition)

    def test_interface(self) -> None:
        """It provides the interface of delegated namespaces, for rosters."""
        verifyObject(IDelegatedNamespace, self.locked)
        self.assertEqual(self.locked.namespaces, {"jabber:iq:roster"})

    def test_get(self) -> None:
        """The user is refreshed from a new document, and the server's roster is the answer."""
        asked = self.ask()
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        document = b'{"marie@h": {"name": "M\\u00e4r<", "groups": ["b", "a"]}, "x@y": {"subscription": "to"}}'
        self.world.answer(FakeAnswer(document))
        self.assertEqual(self.world.taken(), [("get", "john@h")])
        there = [
            RosterItem(jid="marie@h", name="M\u00e4r<", groups=frozenset("ab"), subscription="both"),
            RosterItem(jid="x@y", subscription="to"),
        ]
        self.assertNoResult(asked)
        self.world.answer(there)
        self.assertEqual(
            serialised(self.successResultOf(asked), ns.CLIENT),
            "<query xmlns='jabber:iq:roster'>"
            "<item jid='marie@h' subscription='both' name='M\u00e4r&lt;'><group>a</group><group>b</group></item>"
            "<item jid='x@y' subscription='to'/></query>",
        )
        self.assertEqual(self.world.taken(), [])

    def test_applied(self) -> None:
        """Differences are set first, and then the server is asked again."""
        asked = self.ask()
        self.world.answer(FakeAnswer(b'{"new@h": {}}'))
        self.world.answer([RosterItem(jid="old@h", subscription="both")])
        self.world.answer(None)
        self.assertNoResult(asked)
        self.world.answer(None)
        self.assertEqual(
            self.world.taken(),
            [
                ("fetch", "john", True),
                ("get", "john@h"),
                ("set", "john@h", "new@h", "both"),
                ("set", "john@h", "old@h", "remove"),
                ("get", "john@h"),
            ],
        )
        self.world.answer([RosterItem(jid="new@h", subscription="both")])
        self.assertEqual(self.contacts(asked), {"new@h": "both"})

    def test_notApplied(self) -> None:
        """If a contact cannot be set, the client gets the server's roster, and it is not fresh."""
        asked = self.ask()
        self.world.answer(FakeAnswer(b'{"new@h": {}}'))
        self.world.answer([RosterItem(jid="old@h", subscription="both")])
        with capturedLogs() as logs:
            self.world.fail(RefreshFailed("no"))
            self.world.answer([RosterItem(jid="old@h", subscription="both")])
        self.assertEqual(self.contacts(asked), {"old@h": "both"})
        self.assertEqual([event["reason"] for event in logs], ["no"])
        self.assertFalse(self.interested.takeFresh("john@h/a"))

    def test_removals(self) -> None:
        """More removals than allowed change nothing here either."""
        there = [RosterItem(jid=f"{each}@h", subscription="both") for each in "ab"]
        asked = self.ask()
        self.world.answer(FakeAnswer(b"{}"))
        self.world.answer(there)
        self.world.answer(there)
        self.assertEqual(len(self.contacts(asked)), 2)
        self.assertNotIn("set", [each[0] for each in self.world.taken()])

    def test_fresh(self) -> None:
        """A client that got a fresh roster needs no refresh when it comes online."""
        for document, isFresh in ((b'{"a@h": {}}', True), (b'{"a@h": {}, "odd@h": 3}', False)):
            asked = self.ask()
            self.world.answer(FakeAnswer(document))
            self.world.answer([RosterItem(jid="a@h", subscription="both")])
            self.successResultOf(asked)
            self.assertEqual(self.interested.takeFresh("john@h/a"), isFresh)

    def test_pushed(self) -> None:
        """
        Each set is pushed to clients that have the roster; a roster that is being read has all sets until its end.
        """
        first = self.ask()
        self.fetched(b"{}")
        self.successResultOf(first)
        refreshed = self.refresher.refresh("john")
        self.world.answer(FakeAnswer(b'{"new@h": {}, "more@h": {}}'))
        self.world.answer([RosterItem(jid="old@h", subscription="both")])
        # Its own refresh waits for that one: after 10 s the client gets the server's roster.
        asked = self.ask(requester="john@h/b")
        self.clock.advance(10)
        self.assertEqual(self.world.taken()[-1], ("get", "john@h"))
        self.world.answer(None, 0)
        self.assertEqual(self.privileges.taken(), ["john@h/a"])
        # The roster was read before these sets.
        for step in ("set", "set"):
            self.assertEqual(self.world.taken()[-1][0], step)
            self.world.answer(None, -1)
        self.assertEqual(self.privileges.taken(), ["john@h/a", "john@h/a"])
        self.successResultOf(refreshed)
        self.world.answer([RosterItem(jid="old@h", subscription="both")], 0)
        self.assertEqual(self.contacts(asked), {"new@h": "both", "more@h": "both"})
        self.assertEqual(self.locked._changes, {})
        self.refresher.refresh("john")
        self.world.answer(FakeAnswer(b'{"more@h": {}}'))
        self.world.answer([RosterItem(jid=f"{each}@h", subscription="both") for each in ("new", "more")])
        self.world.answer(None)
        self.assertEqual(sorted(self.privileges.taken()), ["john@h/a", "john@h/b"])

    def test_seldomLogged(self) -> None:
        """If the application fails, a user who asks again and again causes one log line a minute."""
        for isThere, key in ((True, "reason"), (False, "error")):
            with capturedLogs() as logs:
                for number in range(101):
                    asked = self.ask()
                    self.world.fail(RefreshFailed("no"))
                    if isThere:
                        self.world.answer([])
                        self.successResultOf(asked)
                    else:
                        self.world.fail(RefreshFailed("neither"))
                        self.assertEqual(self.refused(asked), "service-unavailable")
                    if number == 99:
                        self.clock.advance(60)
            said = [event["more"] for event in logs if event.get(key)]
            self.assertEqual(said, ["", " (and 99 more like it since the last such line)"])

    def test_bounded(self) -> None:
        """The number of users at a time is bounded; the timeout includes the wait for a turn."""
        asked = [self.ask(entity=f"{name}@h", requester=f"{name}@h/a") for name in "abcd"]
        self.assertEqual([each[1] for each in self.world.taken()], ["a", "b"])
        self.world.answer(FakeAnswer(b"{}"), 0)
        self.world.answer([])
        self.successResultOf(asked[0])
        self.assertEqual(self.world.taken(), [("get", "a@h"), ("fetch", "c", True)])
        self.clock.advance(10)
        found = [each for each in self.world.taken() if each[0] == "get"]
        self.assertEqual(found, [("get", f"{name}@h") for name in "bc"])

    def test_coalesced(self) -> None:
        """Requests that come while the application answers share one further question."""
        asked = [self.ask() for _ in range(5)]
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        self.fetched(b'{"old@h": {}}')
        self.assertEqual(self.contacts(asked[0]), {"old@h": "both"})
        # The document may have changed since, so the others do not get the first answer.
        for each in asked[1:]:
            self.assertNoResult(each)
        self.assertEqual(self.world.taken(), [("get", "john@h"), ("fetch", "john", True)])
        self.fetched(b'{"new@h": {}}')
        for each in asked[1:]:
            self.assertEqual(self.contacts(each), {"new@h": "both"})
        self.assertEqual(self.world.taken(), [("get", "john@h")])
        self.assertEqual(self.locked._refreshTurns._users, {})

    def test_waitingForTurn(self) -> None:
        """Requests that come before the application is asked are answered by the same question."""
        for name in "ab":
            self.ask(entity=f"{name}@h", requester=f"{name}@h/a")
        asked = [self.ask() for _ in range(3)]
        self.world.taken()
        self.world.answer(FakeAnswer(b"{}"), 0)
        self.world.answer([])
        self.assertEqual(self.world.taken(), [("get", "a@h"), ("fetch", "john", True)])
        self.fetched(b'{"new@h": {}}')
        self.assertEqual(len({id(self.successResultOf(each)) for each in asked}), 1)

    def test_fair(self) -> None:
        """
        Of 2,500 requests of one user at once some wait, the rest is refused, and another user has the next turn.
        """
        self.make(1)
        asked = [self.ask() for _ in range(2_500)]
        refused = [each for each in asked if each.called]
        for each in refused:
            self.failureResultOf(each, TooManyPending)
        self.assertEqual(len(refused), 2_484)
        other = self.ask(entity="mary@h", requester="mary@h/a")
        self.fetched(b"{}", 0)
        self.assertEqual([each for each in self.world.taken() if each[0] == "fetch"][-1], ("fetch", "mary", True))
        self.fetched(b'{"right@h": {}}', 0)
        self.assertEqual(self.contacts(other), {"right@h": "both"})
        self.assertEqual([each for each in self.world.taken() if each[0] == "fetch"], [("fetch", "john", True)])

    def test_givenUp(self) -> None:
        """Nothing is asked for a request that was cancelled."""
        self.make(1)
        self.ask()
        self.clock.advance(5)
        late = self.ask()
        late.cancel()
        self.failureResultOf(late)
        self.clock.advance(5)
        self.assertEqual(self.world.taken(), [("fetch", "john", True), ("get", "john@h")])
        self.fetched(b"{}", 0)
        self.assertEqual(self.world.taken(), [("get", "john@h")])
        self.assertEqual(self.locked._refreshTurns._users, {})

    def test_oneCancelled(self) -> None:
        """A request that is cancelled while the question is asked does not prevent the answers to the others."""
        self.ask()
        asked = [self.ask() for _ in range(3)]
        self.fetched(b'{"old@h": {}}')
        asked[0].cancel()
        self.failureResultOf(asked[0])
        self.fetched(b'{"new@h": {}}')
        for each in asked[1:]:
            self.assertEqual(self.contacts(each), {"new@h": "both"})
        self.assertEqual(self.locked._refreshTurns._users, {})

    def test_twoReaders(self) -> None:
        """A contact that is set while two rosters of a user are read is recorded for each that is still read."""
        first, second = item("first@h"), item("second@h")
        with self.locked._recording("john@h") as outer:
            with self.locked._recording("john@h") as inner:
                self.locked._onContactSet("john@h", first)
            self.locked._onContactSet("john@h", second)
            self.locked._onContactSet("mary@h", item("third@h"))
        self.assertEqual((list(outer), list(inner)), (["first@h", "second@h"], ["first@h"]))
        self.assertEqual(self.locked._changes, {})

    def test_quiet(self) -> None:
        """Nothing is logged for a request that is answered with the application's roster."""
        with capturedLogs() as events:
            asked = self.ask()
            self.fetched(b'{"new@h": {}}')
        self.assertEqual(self.contacts(asked), {"new@h": "both"})
        self.assertEqual([formatEvent(event) for event in events], [])

    def test_fallbackCoalesced(self) -> None:
        """If the application does not answer, the requests share one question to the server as well."""
        asked = [self.ask() for _ in range(10)]
        self.clock.advance(10)
        self.assertEqual([each[0] for each in self.world.taken()], ["fetch", "get"])
        self.world.answer([])
        self.assertEqual([each[0] for each in self.world.taken()], ["get"])
        self.world.answer([])
        for each in asked:
            self.successResultOf(each)
        self.assertEqual((self.world.taken(), self.locked._readTurns._users), ([], {}))

    def test_set(self) -> None:
        """A set is refused, and nothing is asked."""
        self.assertEqual(self.refused(self.ask(type="set")), "not-allowed")
        self.assertEqual(self.world.taken(), [])

    def test_others(self) -> None:
        """Requests for another user's roster are refused."""
        for kind in ("get", "set"):
            self.assertEqual(self.refused(self.ask(requester="mary@h/a", type=kind)), "forbidden")
        self.assertEqual(self.world.taken(), [])

    def test_loopback(self) -> None:
        """A request of the component itself, from any of its addresses, is detected."""
        for requester, count in (("mary@h/a", 0), ("r.h.evil", 0), ("r.h", 1), ("r.h/x", 2)):
            self.assertEqual(self.refused(self.ask(requester=requester)), "forbidden")
            self.assertEqual(self.world.loops, count, requester)

    def test_failing(self) -> None:
        """If the application fails, or its document is invalid, the user gets the server's roster."""
        for fail in (
            lambda: self.world.fail(RefreshFailed("status 500")),
            lambda: self.world.answer(FakeAnswer(b"[{}]")),
            lambda: self.world.answer(FakeAnswer(b'{"error": {}}')),
            lambda: self.clock.advance(10.1),
        ):
            self.make(2)
            asked = self.ask()
            fail()
            self.assertEqual(self.world.taken(), [("fetch", "john", True), ("get", "john@h")])
            self.world.answer([RosterItem(jid="old@h", subscription="none", ask=True)])
            xml = serialised(self.successResultOf(asked), ns.CLIENT)
            self.assertIn("<item jid='old@h' subscription='none' ask='subscribe'/>", xml)

    def test_nobody(self) -> None:
        """If both fail, the answer is an error, in time."""
        for fail in (lambda: self.world.fail(RefreshFailed("not granted")), lambda: self.clock.advance(10.1)):
            asked = self.ask()
            self.clock.advance(10.1)
            self.assertNoResult(asked)
            fail()
            self.assertEqual(self.refused(asked), "service-unavailable")
        self.assertLess(self.clock.seconds(), 2 * 25)
