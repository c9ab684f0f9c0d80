"""The gateways that have a component, as each of them sees the table."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.standby.core import Owner
from gateway.standby.gateways import ANNOUNCE_EVERY, COUNTS_FOR, REMOVED_AFTER, Gateway, Gateways
from gateway.standby.store import MIGRATIONS, announce, leave
from gateway.state.memory import MemoryStore

C, D = "rooms.example.com", "mirror.example.com"


class GatewaysTests(SynchronousTestCase):
    """L{Gateways} and L{announce}."""

    def setUp(self) -> None:
        self.store = MemoryStore(MIGRATIONS)
        self.owners = {name: Owner(f"run-{name}", name) for name in ("a", "b")}
        self.seen = {name: Gateways(owner) for name, owner in self.owners.items()}

    def announce(self, name: str, now: float, *components: str) -> list[Gateway]:
        """Announce a gateway, and show it the table."""
        ended = self.seen[name].ended(now)
        found: list[Gateway] = self.store.atStart(announce, self.owners[name], components or (C,), ended)
        self.seen[name].observed(found, now)
        return found

    def run_(self, start: float, seconds: float, *running: str) -> None:
        """Let time pass for some gateways."""
        for number in range(round(seconds / ANNOUNCE_EVERY) + 1):
            for name in running:
                self.announce(name, start + number * ANNOUNCE_EVERY)

    def test_seen(self) -> None:
        """Each gateway knows the others that have a component, but not itself."""
        self.announce("a", 0.0, C, D)
        self.announce("b", 0.0)
        self.announce("a", 5.0, C, D)
        self.assertEqual([self.seen["a"].names(each, 5.0) for each in (C, D)], [["b"], []])
        self.assertEqual([self.seen["b"].names(each, 5.0) for each in (C, D)], [["a"], ["a"]])

    def test_killed(self) -> None:
        """One that has ended is soon not counted any longer, and its row is removed by another one later."""
        self.run_(0.0, 20.0, "a", "b")
        self.run_(25.0, COUNTS_FOR - 6.0, "a")
        self.assertEqual(self.seen["a"].names(C, 25.0 + COUNTS_FOR - 1.0), ["b"])
        self.assertEqual(self.seen["a"].names(C, 25.0 + COUNTS_FOR), [])
        self.run_(40.0, REMOVED_AFTER, "a")
        self.assertEqual([row.process.name for row in self.announce("a", 110.0)], ["a"])
        # One that was taken for ended, and goes on, is there again.
        self.announce("b", 111.0)
        self.announce("a", 115.0)
        self.assertEqual(self.seen["a"].names(C, 115.0), ["b"])

    def test_left(self) -> None:
        """One that stops is not counted from the next look."""
        self.run_(0.0, 20.0, "a", "b")
        self.store.atStart(leave, self.owners["b"])
        self.announce("a", 25.0)
        self.assertEqual(self.seen["a"].names(C, 25.0), [])

    def test_outage(self) -> None:
        """An outage of the database, during which nobody can change a row, removes none."""
        self.run_(0.0, 20.0, "a", "b")
        self.announce("a", 500.0)
        self.assertEqual((self.seen["a"].names(C, 500.0), self.seen["a"].ended(500.0)), (["b"], []))

    def test_earlier(self) -> None:
        """An earlier process of the same gateway is not counted."""
        self.owners["b"] = Owner("run-b", "a")
        self.seen["b"] = Gateways(self.owners["b"])
        self.announce("a", 0.0)
        self.announce("b", 1.0)
        self.assertEqual(self.seen["b"].names(C, 1.0), [])
