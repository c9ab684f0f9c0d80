"""One request for many users: its memory, and the other users meanwhile."""

from __future__ import annotations

import json
import tracemalloc

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster.batch import Batch
from gateway.roster.fetch import Fetched
from gateway.roster.refresher import Refresher
from tests.roster.test_refresher import FakeWorld

CONTACTS = 50
# Seconds until an application or a server answers.
DELAY = 0.01


class QuickWorld(FakeWorld):
    """An application and a server that answer each question after a while; every user gets new contacts."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def later(self, value: object) -> Deferred[object]:
        answering: Deferred[object] = Deferred()
        self.clock.callLater(DELAY, answering.callback, value)
        return answering

    def fetch(self, name: str, isUnconditional: bool = False) -> Deferred[object]:
        contacts = {f"friend{number}.of.{name}@h": {"name": f"Friend {number}"} for number in range(CONTACTS)}
        return self.later(Fetched(json.dumps(contacts).encode(), None))

    def remember(self, name: str, tag: str | None) -> None:
        pass

    async def forget(self, name: str) -> None:  # type: ignore[override]
        pass

    def get(self, user: str) -> Deferred[object]:
        return self.later([])

    def set(self, user: str, item: RosterItem, before: RosterItem) -> Deferred[object]:
        return self.later(None)


class ManyTests(SynchronousTestCase):
    """One request."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pieces = Pieces(self.clock)
        self.refresher = Refresher("h", QuickWorld(self.clock), QuickWorld(self.clock), 8, self.pieces)

    def begin(self, users: int) -> tuple[Batch, Deferred[None]]:
        names = [f"user{number}" for number in range(users)]
        self.refresher.announce(users)
        batch = Batch(self.refresher, self.pieces, isDry=False, isForced=False)
        return batch, ensureDeferred(batch.run(names))

    def peak(self, users: int) -> int:
        """Return the bytes of memory that a request takes at its peak."""
        tracemalloc.start()
        try:
            batch, running = self.begin(users)
            while not running.called:
                self.clock.advance(DELAY)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual((batch.done, batch.isFailure, self.refresher.announced), (users, False, 0))
        return peak

    def test_memory(self) -> None:
        """A further user takes a few hundred bytes, not a document and a roster."""
        self.peak(10)
        few, many = self.peak(50), self.peak(250)
        perUser = (many - few) / 200
        self.assertLess(perUser, 1_000)
        # A document alone has more.
        self.assertGreater(CONTACTS * len('"friend10.of.user100@h": {"name": "Friend 10"}'), 2_000)

    def test_others(self) -> None:
        """A user who comes later finds a free slot."""
        batch, running = self.begin(100)
        self.clock.pump([DELAY] * 10)
        later = self.refresher.refresh("later")
        self.clock.pump([DELAY] * (CONTACTS + 5))
        self.assertEqual(self.successResultOf(later).reason, "")
        self.assertNoResult(running)
        self.assertLess(batch.done, 20)
        while not running.called:
            self.clock.advance(DELAY)
