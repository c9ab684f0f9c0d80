"""Joins that a channel delivers late: users have left, others have their nicks."""

from __future__ import annotations

from gateway.fmuc.values import Mode
from tests.fmuc.linked import HERE
from tests.fmuc.test_linked import DAN, LinkedCase

# Another user of the mirror.
EVA = "eva@a.example/1"


class LateTests(LinkedCase):
    """XEP-0045 section 7.14: a user who has left before the answer came is no occupant of any node."""

    def setUp(self) -> None:
        super().setUp()
        self.link.cut()
        self.link.join(DAN, HERE, "x")
        # The join is refused to the user, and its leave waits in the channel behind it.
        self.link.wait(60)

    def finish(self, *nicks: str) -> None:
        """Repair the link; these are in then, and nothing waits."""
        self.link.mend()
        self.link.wait(120)
        self.assertInside("ann", "ben", "own", *nicks)
        self.assertEqual(self.link.down.rooms.rooms[HERE].nodes.pending, {})

    def test_left(self) -> None:
        """The user asks again, and leaves before the join was sent."""
        self.link.join(DAN, HERE, "x")
        self.link.leave(DAN, HERE, "x")
        self.link.wait(120)
        self.finish()

    def test_again(self) -> None:
        """The user asks again, and leaves, several times: only joins that were sent are answered."""
        for _ in range(3):
            self.link.join(DAN, HERE, "x")
            self.link.leave(DAN, HERE, "x")
        self.link.join(DAN, HERE, "x")
        self.finish("x")

    def test_killed(self) -> None:
        """The mirror is killed, and the user asks again, and leaves: all answers are those to earlier joins."""
        self.link.kill(self.link.down)
        pending = self.link.down.rooms.rooms[HERE].nodes.pending["x"]
        self.assertEqual((pending.request.realJid, pending.isWithdrawn, pending.owed), (DAN, True, 0))
        for isLeft in (True, False):
            self.link.join(DAN, HERE, "x")
            if isLeft:
                self.link.leave(DAN, HERE, "x")
        self.link.isLost = lambda sender, text: not text.endswith("iq>")
        self.link.wait(30)
        self.link.leave(DAN, HERE, "x")
        self.finish()

    def test_other(self) -> None:
        """The answer to a user's join is not taken for that to another user's join by this nick."""
        self.link.join(EVA, HERE, "x")
        self.finish("x")
        self.assertEqual(self.link.down.rooms.rooms[HERE].occupants["x"].realJid, EVA)
        self.assertEqual(self.link.errors(EVA), [])

    def test_otherLeft(self) -> None:
        """The same if the other user has left as well."""
        self.link.join(EVA, HERE, "x")
        self.link.wait(120)
        self.link.leave(EVA, HERE, "x")
        self.finish()

    def test_expired(self) -> None:
        """The other user's join was refused in time; the answer to the first one is still to come."""
        self.link.join(EVA, HERE, "x")
        self.link.wait(240)
        self.assertEqual(self.link.errors(EVA), ["remote-server-timeout"])
        self.finish()

    def test_emptied(self) -> None:
        """All users leave, and others join: the answers to earlier joins are stale."""
        self.link.join(EVA, HERE, "x")
        for each in ("ann", "ben"):
            self.link.leave(f"{each}@a.example/{1 + (each == 'ben')}", HERE, each)
        self.link.mend()
        self.link.wait(120)
        self.assertInside("own", "x")


class LateReplicaTests(LateTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


del LinkedCase
