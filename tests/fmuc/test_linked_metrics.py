"""Metrics and status of a channel."""

from __future__ import annotations

from typing import Any

from gateway.errors import OutboxFull
from gateway.fmuc.channel.values import Pace
from gateway.fmuc.values import Mode, ResumeAnswer
from gateway.metrics import names
from tests.fmuc.linked import ANN, DOWN, HERE, OWN, ROOM, TOP, Side
from tests.fmuc.test_linked import LinkedCase
from tests.metrics import RecordingMetrics
from tests.reports import sentences


class MeasuredCase(LinkedCase):
    """Both nodes are measured."""

    def enter(self) -> None:
        super().enter()
        self.link.wait(5)
        self.top = self.measured(self.link.top)
        self.down = self.measured(self.link.down)

    def measured(self, side: Side) -> RecordingMetrics:
        """Measure a process."""
        metrics = RecordingMetrics()
        side.handler.measure(metrics)
        return metrics

    def assertValues(self, metrics: RecordingMetrics, **expected: Any) -> None:
        """Metrics have these values; the names are those of the catalogue."""
        found = {}
        for name in expected:
            values = metrics.read(getattr(names, name))
            found[name] = values.get((), None) if () in values else {key: value for (key,), value in values.items()}
        self.assertEqual(found, expected)


class MeasuredTests(MeasuredCase):
    """Counts of channels, and their status."""

    def reported(self, side: Side) -> str:
        """Return the line of the status about the room."""
        return next(each for each in sentences(side.handler.report()) if "mirror" in each)

    def isProblem(self, side: Side) -> bool:
        """True if the status says that the operator should do something about the room."""
        [item] = [each for each in side.handler.report() if each.name == "rooms.federated"]
        return item.isProblem

    def test_lost(self) -> None:
        """State, outbox and its age while a node does not answer; the return, and what is sent again."""
        self.assertValues(
            self.down,
            FMUC_CHANNELS={"open": 1, "lost": 0},
            FMUC_OUTBOX_STANZAS=0,
            FMUC_OUTBOX_BYTES=0,
            FMUC_OUTBOX_AGE=0,
            FMUC_REPEATED=0,
            FMUC_OUTBOX_FULL=0,
        )
        self.assertNotIn("channel", self.reported(self.link.down))
        self.link.cut()
        self.link.say(ANN, HERE, "a")
        self.link.wait(200)
        self.link.say(ANN, HERE, "b")
        channel = self.link.channel(DOWN)
        size = channel.size
        self.assertGreater(size, 500)
        self.link.wait(1)
        self.assertEqual(channel.tally.size, size)
        self.assertValues(
            self.down,
            FMUC_CHANNELS={"open": 0, "lost": 1},
            FMUC_OUTBOX_STANZAS=2,
            FMUC_OUTBOX_BYTES=size,
            FMUC_OUTBOX_AGE=201,
            FMUC_REPEATED=0,
        )
        self.assertIn(", channel lost, stanzas not acknowledged: 2; if the network", self.reported(self.link.down))
        # The room does not need its mirror; the mirror cannot do its work.
        self.assertEqual([self.isProblem(side) for side in (self.link.top, self.link.down)], [False, True])
        self.link.mend()
        self.link.wait(100)
        self.assertHeard("a", "b", users=(OWN,))
        self.assertFalse(self.isProblem(self.link.down))
        self.assertValues(
            self.down,
            FMUC_CHANNELS={"open": 1, "lost": 0},
            FMUC_OUTBOX_STANZAS=0,
            FMUC_OUTBOX_AGE=0,
            FMUC_REPEATED=1,
        )
        [seconds] = self.down.value(names.FMUC_RETURN)
        # The stanzas are acknowledged alone.
        self.assertEqual(seconds, Pace().ackDelay)
        self.assertNotIn("channel", self.reported(self.link.down))

    def test_full(self) -> None:
        """Stanzas are refused because the outbox is full."""
        self.link.cut()
        for number in range(Pace().stanzas + 2):
            self.link.say(OWN, ROOM, str(number))
        self.assertValues(self.top, FMUC_OUTBOX_STANZAS=Pace().stanzas + 2)
        with self.assertRaises(OutboxFull):
            self.link.channel(TOP).check(self.link.top.server.clock.seconds())
        self.assertValues(self.top, FMUC_OUTBOX_FULL=1)
        self.assertIn(", channel open, stanzas not acknowledged: 1002", self.reported(self.link.top))

    def test_compared(self) -> None:
        """A mirror that was restarted compares; the outcomes."""
        self.link.kill(self.link.down)
        down = self.measured(self.link.down)
        self.link.wait(5)
        self.assertValues(down, FMUC_COMPARISONS={"equal": 1})
        room = self.link.down.rooms.rooms[HERE]
        room.remove(room.occupants["own"])
        self.link.down.handler._perform(self.link.down.rooms.settled(room))
        self.link.settle()
        self.link.kill(self.link.down)
        down = self.measured(self.link.down)
        self.link.wait(5)
        self.assertValues(down, FMUC_COMPARISONS={"different": 1})
        outcomes = [
            ResumeAnswer(condition=each).outcome
            for each in ("item-not-found", "remote-server-timeout", "feature-not-implemented")
        ]
        self.assertEqual(outcomes, ["unknown", "unreachable", "unknown"])


class ReturnedTests(MeasuredCase):
    """Replica mode: the joined node returns messages themselves, and no references."""

    mode = Mode.REPLICA

    def test_returned(self) -> None:
        """The time until a message comes back; nothing is kept for a reference."""
        self.link.say(ANN, HERE, "a")
        self.assertHeard("a")
        [seconds] = self.down.value(names.FMUC_ECHO)
        self.assertGreaterEqual(seconds, 0)
        federation = self.link.down.rooms.federation(HERE)
        assert federation is not None and federation.joinedNode is not None
        self.assertEqual(len(federation.joinedNode.awaited), 0)
