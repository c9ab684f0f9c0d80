"""Refreshes of several users at a time, and of each user one at a time."""

from __future__ import annotations

import json
import weakref
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster import refresher
from gateway.roster.core import Finished
from gateway.roster.failures import RefreshFailed, RosterTooLarge
from gateway.roster.refresher import Refresher

MARIE = RosterItem(jid="marie@h", subscription="both")


@frozen
class FakeAnswer:
    """An answer of the application."""

    document: bytes | None
    tag: str | None = None


class FakeWorld:
    """An application and a server; each question is answered when the test does."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.open: list[Deferred[Any]] = []
        self.tags: list[tuple[str, str | None]] = []
        self.loops = 0
        self.forgotten: list[tuple[str, int]] = []
        self.forgetting: Deferred[None] = succeed(None)

    def _ask(self, *question: Any) -> Deferred[Any]:
        self.asked.append(question)
        self.open.append(Deferred())
        return self.open[-1]

    def fetch(self, name: str, isUnconditional: bool = False) -> Deferred[Any]:
        return self._ask("fetch", name, isUnconditional)

    def remember(self, name: str, tag: str | None) -> None:
        self.tags.append((name, tag))

    def forget(self, name: str) -> Deferred[None]:
        self.forgotten.append((name, len(self.asked)))
        return self.forgetting

    def serverLost(self) -> int:
        return 0

    def get(self, user: str) -> Deferred[Any]:
        return self._ask("get", user)

    def set(self, user: str, item: RosterItem, before: RosterItem) -> Deferred[Any]:
        return self._ask("set", user, item.jid, item.subscription)

    def onLoopback(self) -> None:
        self.loops += 1

    def answer(self, value: Any, number: int = -1) -> None:
        """Answer a question, by default the last one."""
        self.open.pop(number).callback(value)

    def fail(self, error: Exception) -> None:
        self.open.pop().errback(error)

    def taken(self) -> list[tuple[Any, ...]]:
        asked, self.asked = self.asked, []
        return asked


class RefresherTests(SynchronousTestCase):
    """Refreshes."""

    def setUp(self) -> None:
        self.world = FakeWorld()
        self.refresher = Refresher("h", self.world, self.world, 2, Pieces(Clock()), 1)

    def document(self, *contacts: str, tag: str | None = None) -> FakeAnswer:
        return FakeAnswer(json.dumps({contact: {} for contact in contacts}).encode(), tag)

    def test_announced(self) -> None:
        """The number of announced users has a bound."""
        self.patch(refresher, "_MAX_USERS", 3)
        self.assertEqual([self.refresher.announce(2) for _ in range(2)], [True, False])
        self.assertEqual(self.refresher.announced, 2)
        self.assertTrue(self.refresher.announce(1))

    def test_serverLost(self) -> None:
        """A refresh during which the connection was lost leaves no tag, whether it has changed anything or not."""
        for lost in (0, 1, 2, 3):
            self.refresher.refresh("john")
            for step, value in enumerate((self.document("a@h", tag="t"), [], None)):
                if step == lost:
                    self.refresher.serverLost()
                self.world.answer(value)
        self.refresher.refresh("john")
        self.world.answer(self.document(tag="t"))
        self.refresher.serverLost()
        self.world.answer([])
        self.assertEqual(self.world.tags, [("john", tag) for tag in (None, None, None, "t", None)])

    def test_full(self) -> None:
        """The number of waiting users is bounded; a further request for a waiting user is accepted."""
        self.patch(refresher, "_MAX_USERS", 3)
        asked = [self.refresher.refresh(name) for name in ("a", "b", "c")]
        for refused in (self.refresher.refresh("d"), self.refresher.dryRun("d")):
            self.assertIn("ask again later", self.successResultOf(refused).reason)
        again = self.refresher.refresh("a")
        for each in (*asked, again):
            self.assertNoResult(each)

    def test_whole(self) -> None:
        """Fetched, compared, set, and remembered as done."""
        done = self.refresher.refresh("john")
        self.assertEqual(self.world.taken(), [("fetch", "john", False)])
        self.world.answer(self.document("marie@h", tag='"1"'))
        self.assertEqual(self.world.taken(), [("get", "john@h")])
        self.world.answer([RosterItem(jid="old@h")])
        self.assertEqual(self.world.taken(), [("set", "john@h", "marie@h", "both")])
        self.world.answer(None)
        self.assertEqual(self.world.taken(), [("set", "john@h", "old@h", "remove")])
        self.assertNoResult(done)
        self.world.answer(None)
        self.assertEqual(self.successResultOf(done), Finished())
        self.assertEqual(self.world.tags, [("john", '"1"')])

    def test_tooLarge(self) -> None:
        """A roster that is too large is reported, and nothing is set."""
        done = self.refresher.refresh("john")
        self.world.answer(self.document("marie@h"))
        self.world.fail(RosterTooLarge("too large"))
        self.assertEqual(self.successResultOf(done), Finished(reason="too large", isTooLarge=True))
        self.assertEqual([each[0] for each in self.world.taken()], ["fetch", "get"])

    def test_forgotten(self) -> None:
        """The document is not kept after the comparison."""
        self.refresher.refresh("john")
        answer = self.document("marie@h")
        kept = weakref.ref(answer)
        self.world.answer(answer)
        del answer
        self.world.answer([])
        self.assertEqual(self.world.taken()[-1][0], "set")
        self.assertIsNone(kept())

    def test_tagForgotten(self) -> None:
        """The tag is forgotten once, before the first change: a process that is killed then compares again."""
        self.world.forgetting = Deferred()
        done = self.refresher.refresh("john")
        self.world.answer(self.document("marie@h", tag='"2"'))
        self.world.answer([RosterItem(jid="old@h")])
        self.assertEqual(self.world.taken(), [("fetch", "john", False), ("get", "john@h")])
        self.assertEqual(self.world.forgotten, [("john", 2)])
        self.world.forgetting.callback(None)
        self.assertEqual(self.world.taken(), [("set", "john@h", "marie@h", "both")])
        self.world.answer(None)
        self.world.answer(None)
        self.assertEqual(self.successResultOf(done), Finished())
        self.assertEqual((self.world.forgotten, self.world.tags), ([("john", 2)], [("john", '"2"')]))

    def test_tagKept(self) -> None:
        """If nothing is changed, nothing is forgotten."""
        self.refresher.refresh("john")
        self.world.answer(self.document("marie@h", tag='"2"'))
        self.world.answer([MARIE])
        self.assertEqual((self.world.forgotten, self.world.tags), ([], [("john", '"2"')]))

    def test_unchanged(self) -> None:
        """An unchanged document is not compared."""
        done = self.refresher.refresh("john")
        self.world.answer(FakeAnswer(None, '"1"'))
        self.assertEqual(self.successResultOf(done), Finished())
        self.assertEqual(self.world.tags, [("john", '"1"')])

    def test_skipped(self) -> None:
        """A document with invalid contacts is fetched again next time, so that they are reported again."""
        done = self.refresher.refresh("john")
        self.world.answer(FakeAnswer(b'{"marie@h": {}, "odd@h": 3}', '"1"'))
        self.world.answer([MARIE])
        self.assertEqual(list(self.successResultOf(done).skipped), ["odd@h"])
        self.assertEqual(self.world.tags, [("john", None)])

    def test_unknownKeys(self) -> None:
        """Each unknown key is logged once; their number is bounded."""
        self.patch(refresher, "_MAX_LOGGED_KEYS", 3)
        with capturedLogs() as logs:
            for key in "abacd":
                self.refresher.refresh("john")
                self.world.answer(FakeAnswer(json.dumps({"marie@h": {key: 1}}).encode()))
                self.world.answer([MARIE])
        self.assertEqual([event["key"] for event in logs], ['"a"', '"b"', '"c"'])

    def test_failures(self) -> None:
        """A failure of any step is the reason, and the next refresh fetches the document again."""
        for step in range(3):
            done = self.refresher.refresh("john")
            for answer in (self.document("marie@h", tag='"1"'), [])[:step]:
                self.world.answer(answer)
            self.world.fail(RefreshFailed("no luck"))
            self.assertEqual(self.successResultOf(done).reason, "no luck")
            self.assertEqual(self.world.tags.pop(), ("john", None))

    def test_bug(self) -> None:
        """An internal error affects only this user."""
        done = self.refresher.refresh("john")
        self.world.fail(ZeroDivisionError())
        self.assertIn("internal error", self.successResultOf(done).reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_oneAtATime(self) -> None:
        """Requests that come while a user is being refreshed share one further refresh."""
        first = self.refresher.refresh("john")
        later = [self.refresher.refresh("john") for _ in range(3)]
        self.assertEqual(len(self.world.taken()), 1)
        self.world.answer(FakeAnswer(None))
        self.successResultOf(first)
        self.assertEqual(self.world.taken(), [("fetch", "john", False)])
        for each in later:
            self.assertNoResult(each)
        self.world.answer(FakeAnswer(None))
        for each in later:
            self.assertEqual(self.successResultOf(each), Finished())
        self.assertEqual(self.world.taken(), [])

    def test_bounded(self) -> None:
        """The number of users at a time is bounded; the others get a turn."""
        done = [self.refresher.refresh(f"u{number}") for number in range(5)]
        self.assertEqual([each[1] for each in self.world.taken()], ["u0", "u1"])
        for _ in range(5):
            self.world.answer(FakeAnswer(None), 0)
        for each in done:
            self.successResultOf(each)
        self.assertEqual([each[1] for each in self.world.taken()], ["u2", "u3", "u4"])

    def test_forced(self) -> None:
        """
        Many removals need force. A forced refresh also compares an unchanged document, and waits for its turn.
        """
        first = self.refresher.refresh("john")
        forced = self.refresher.refresh("john", True)
        two = [RosterItem(jid="a@h"), RosterItem(jid="b@h")]
        self.world.answer(self.document())
        self.world.answer(two)
        self.assertIn("max_removals", self.successResultOf(first).reason)
        self.assertEqual(self.world.taken()[-1], ("fetch", "john", True))
        self.world.answer(self.document())
        self.world.answer(two)
        self.world.answer(None)
        removals = [("set", "john@h", jid, "remove") for jid in ("a@h", "b@h")]
        self.assertEqual(self.world.taken()[-2:], removals)
        self.world.answer(None)
        self.assertEqual(self.successResultOf(forced), Finished())

    def test_watched(self) -> None:
        """Observers get the server's new item of each contact that was set; not of one that could not be set."""
        told: list[tuple[str, RosterItem]] = []
        self.refresher.watch(lambda user, item: told.append((user, item)))
        self.refresher.refresh("john")
        self.world.answer(FakeAnswer(b'{"to@h": {"subscription": "to"}, "from@h": {"subscription": "from"}}'))
        self.world.answer([RosterItem(jid=jid, ask=True) for jid in ("to@h", "from@h", "old@h")])
        for _ in range(2):
            self.world.answer(None)
        self.world.fail(RefreshFailed("no"))
        self.assertEqual(
            told,
            [
                # A pending subscription request stays, unless the subscription was granted.
                ("john@h", RosterItem(jid="to@h", subscription="to")),
                ("john@h", RosterItem(jid="from@h", subscription="from", ask=True)),
            ],
        )

    def test_unconditional(self) -> None:
        """
        An unconditional refresh compares an unchanged document, also if it follows another one; it is not forced.
        """
        for isSecond in (False, True):
            first = self.refresher.refresh("john") if isSecond else None
            done = self.refresher.refresh("john", isUnconditional=True)
            if first is not None:
                self.world.answer(FakeAnswer(None))
            self.assertEqual(self.world.taken()[-1], ("fetch", "john", True))
            self.world.answer(self.document())
            self.world.answer([RosterItem(jid="a@h"), RosterItem(jid="b@h")])
            self.assertIn("max_removals", self.successResultOf(done).reason)

    def test_roster(self) -> None:
        """A roster that was read and not changed is returned; after a change it is not."""
        for there, expected in (([MARIE], (MARIE,)), ([], None)):
            done = self.refresher.refresh("john")
            self.world.answer(self.document("marie@h"))
            self.world.answer(there)
            if not there:
                self.world.answer(None)
            self.assertEqual(self.successResultOf(done).roster, expected)

    def test_toldFirst(self) -> None:
        """Callers get the result before the next refresh begins."""
        asked: list[int] = []
        self.refresher.refresh("john").addCallback(lambda _: asked.append(len(self.world.asked)))
        self.refresher.refresh("john")
        self.world.answer(FakeAnswer(None))
        self.assertEqual((asked, len(self.world.asked)), ([1], 2))

    def test_dry(self) -> None:
        """A dry run sets nothing, and remembers no tag."""
        done = self.refresher.dryRun("john")
        self.assertEqual(self.world.taken(), [("fetch", "john", True)])
        self.world.answer(self.document("marie@h", tag='"1"'))
        self.world.answer([])
        self.assertEqual(self.successResultOf(done), Finished((MARIE,)))
        self.assertEqual((self.world.taken(), self.world.tags), ([("get", "john@h")], []))

    def test_dryWithoutChanges(self) -> None:
        """A dry run remembers no tag even if there is nothing to change."""
        done = self.refresher.dryRun("john")
        self.world.answer(self.document(tag='"1"'))
        self.world.answer([])
        self.assertEqual(self.successResultOf(done), Finished())
        self.assertEqual(self.world.tags, [])
