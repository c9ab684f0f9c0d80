"""Locked rosters: what clients get, and what they may not do."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.errors import TooManyPending
from gateway.interfaces import IDelegatedNamespace, RosterItem
from gateway.pieces import Pieces
from gateway.roster.document import RefreshFailed
from gateway.roster.lock import LockedRosters
from gateway.stream.stanzas import serialised
from tests.roster.test_refresher import FakeAnswer, FakeWorld


@frozen
class Request:
    """A delegated one."""

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
        self.locked = LockedRosters(self.world, self.world, self.clock, 2, Pieces(self.clock))

    def ask(self, **changes: str) -> Deferred[domish.Element]:
        return ensureDeferred(self.locked.answer(Request(**changes)))

    def refused(self, asked: Deferred[Any]) -> str:
        return str(self.failureResultOf(asked, StanzaError).value.condition)

    def test_interface(self) -> None:
        """It is what can be delegated, and that is rosters."""
        verifyObject(IDelegatedNamespace, self.locked)
        self.assertEqual(self.locked.namespaces, {"jabber:iq:roster"})

    def test_seldomLogged(self) -> None:
        """Where the application fails, a user who asks again and again writes one line a minute."""
        lines: list[Any] = []
        observer = lines.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for isThere in (True, False):
            lines.clear()
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
            said = [each["more"] for each in lines if each.get("reason") == "no"]
            self.assertEqual(said, ["", " (and 99 more like it since the last such line)"])

    def test_bounded(self) -> None:
        """However many log in at once, each of both is asked for so many at a time; who waits, waits in time."""
        asked = [self.ask(entity=f"{name}@h", requester=f"{name}@h/a") for name in "abcd"]
        self.assertEqual([each[1] for each in self.world.taken()], ["a", "b"])
        self.world.answer(FakeAnswer(b"{}"), 0)
        self.successResultOf(asked[0])
        self.assertEqual(self.world.taken(), [("fetch", "c", True)])
        self.clock.advance(10)
        found = [each for each in self.world.taken() if each[0] == "get"]
        self.assertEqual(found, [("get", f"{name}@h") for name in "bc"])

    def test_coalesced(self) -> None:
        """Requests that come while the application answers make one more question, for all of them."""
        asked = [self.ask() for _ in range(5)]
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        self.world.answer(FakeAnswer(b'{"old@h": {}}'))
        self.assertIn("old@h", serialised(self.successResultOf(asked[0]), ns.CLIENT))
        # The document may have changed since the first one asked: none of the others gets that.
        for each in asked[1:]:
            self.assertNoResult(each)
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        self.world.answer(FakeAnswer(b'{"new@h": {}}'))
        for each in asked[1:]:
            self.assertIn("new@h", serialised(self.successResultOf(each), ns.CLIENT))
        self.assertEqual(self.world.taken(), [])
        self.assertEqual(self.locked._said._users, {})

    def test_waitingForTurn(self) -> None:
        """Requests that come before the application is asked are answered by the same question."""
        for name in "ab":
            self.ask(entity=f"{name}@h", requester=f"{name}@h/a")
        asked = [self.ask() for _ in range(3)]
        self.world.taken()
        self.world.answer(FakeAnswer(b"{}"), 0)
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        self.world.answer(FakeAnswer(b'{"new@h": {}}'))
        self.assertEqual(len({id(self.successResultOf(each)) for each in asked}), 1)

    def test_fair(self) -> None:
        """2,500 requests of one user at once: some wait, the rest is refused; another user's turn is the next."""
        self.locked = LockedRosters(self.world, self.world, self.clock, 1, Pieces(self.clock))
        asked = [self.ask() for _ in range(2_500)]
        refused = [each for each in asked if each.called]
        for each in refused:
            self.failureResultOf(each, TooManyPending)
        self.assertEqual(len(refused), 2_484)
        other = self.ask(entity="mary@h", requester="mary@h/a")
        self.world.answer(FakeAnswer(b"{}"), 0)
        self.assertEqual(self.world.taken(), [("fetch", "john", True), ("fetch", "mary", True)])
        self.world.answer(FakeAnswer(b'{"right@h": {}}'), 0)
        self.assertIn("right@h", serialised(self.successResultOf(other), ns.CLIENT))
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])

    def test_givenUp(self) -> None:
        """Nothing is asked for who has given up meanwhile, and a fetch that hangs keeps its place no longer."""
        self.locked = LockedRosters(self.world, self.world, self.clock, 1, Pieces(self.clock))
        self.ask()
        self.clock.advance(5)
        late = self.ask()
        late.cancel()
        self.failureResultOf(late)
        self.clock.advance(5)
        self.assertEqual(self.world.taken(), [("fetch", "john", True), ("get", "john@h")])
        self.ask(entity="mary@h", requester="mary@h/a")
        self.assertEqual(self.world.taken(), [("fetch", "mary", True)])

    def test_fallbackCoalesced(self) -> None:
        """The server is not asked once for each request either, where the application fails."""
        asked = [self.ask() for _ in range(10)]
        self.world.fail(RefreshFailed("status 500"))
        self.assertEqual([each[0] for each in self.world.taken()], ["fetch", "fetch", "get"])
        self.world.open.pop(0).errback(RefreshFailed("status 500"))
        self.assertEqual(self.world.taken(), [])
        self.world.answer([], 0)
        self.assertEqual([each[0] for each in self.world.taken()], ["get"])
        self.world.answer([], 0)
        for each in asked:
            self.successResultOf(each)
        self.assertEqual((self.world.taken(), self.locked._kept._users), ([], {}))

    def test_get(self) -> None:
        """The user gets what the application says, asked anew at each request."""
        asked = self.ask()
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        document = b'{"marie@h": {"name": "M\\u00e4r<", "groups": ["b", "a"]}, "x@y": {"subscription": "to"}}'
        self.world.answer(FakeAnswer(document))
        self.assertEqual(
            serialised(self.successResultOf(asked), ns.CLIENT),
            "<query xmlns='jabber:iq:roster'>"
            "<item jid='marie@h' subscription='both' name='M\u00e4r&lt;'><group>a</group><group>b</group></item>"
            "<item jid='x@y' subscription='to'/></query>",
        )

    def test_set(self) -> None:
        """No client changes anything, and nobody is asked."""
        self.assertEqual(self.refused(self.ask(type="set")), "not-allowed")
        self.assertEqual(self.world.taken(), [])

    def test_others(self) -> None:
        """A roster is its owner's."""
        for kind in ("get", "set"):
            self.assertEqual(self.refused(self.ask(requester="mary@h/a", type=kind)), "forbidden")
        self.assertEqual(self.world.taken(), [])

    def test_loopedBack(self) -> None:
        """A request of the component's own, from any of its addresses, is told from those of others."""
        looped: list[str] = []
        self.locked = LockedRosters(
            self.world, self.world, self.clock, 1, Pieces(self.clock), "r.h", lambda: looped.append("looped")
        )
        for requester, count in (("mary@h/a", 0), ("r.h.evil", 0), ("r.h", 1), ("r.h/x", 2)):
            self.assertEqual(self.refused(self.ask(requester=requester)), "forbidden")
            self.assertEqual(len(looped), count, requester)

    def test_failing(self) -> None:
        """Where the application fails, or says nonsense, the user gets what the server has."""
        for fail in (
            lambda: self.world.fail(RefreshFailed("status 500")),
            lambda: self.world.answer(FakeAnswer(b"[{}]")),
            lambda: self.world.answer(FakeAnswer(b'{"error": {}}')),
            lambda: self.clock.advance(10.1),
        ):
            asked = self.ask()
            fail()
            self.assertEqual(self.world.taken(), [("fetch", "john", True), ("get", "john@h")])
            self.world.answer([RosterItem(jid="old@h", subscription="none", ask=True)])
            xml = serialised(self.successResultOf(asked), ns.CLIENT)
            self.assertIn("<item jid='old@h' subscription='none' ask='subscribe'/>", xml)

    def test_nobody(self) -> None:
        """Where both fail there is an error, in time."""
        for fail in (lambda: self.world.fail(RefreshFailed("not granted")), lambda: self.clock.advance(10.1)):
            asked = self.ask()
            self.clock.advance(10.1)
            self.assertNoResult(asked)
            fail()
            self.assertEqual(self.refused(asked), "service-unavailable")
        self.assertLess(self.clock.seconds(), 2 * 25)
