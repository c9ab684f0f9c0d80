"""The gateways of one component, as one of them sees their table."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.proxy.members import SERVES_FOR, WAITS_FOR, Members


class MembersTests(SynchronousTestCase):
    """A gateway, own, reads the table at some times."""

    def setUp(self) -> None:
        self.members = Members()

    def read(self, now: float, **beats: int) -> list[tuple[str, int]]:
        """Read the table in an instant; return the gateways that are silent then."""
        self.members.observed("own", {"own": int(now), **beats}, now, now)
        return self.members.silent(now)

    def test_valid(self) -> None:
        """A gateway relies on its memory for some seconds after the beginning of its last beat."""
        self.assertFalse(self.members.isValid(0.0))
        self.members.observed("own", {}, 1.0, 3.0)
        self.assertTrue(self.members.isValid(1.0 + SERVES_FOR - 0.1))
        self.assertFalse(self.members.isValid(1.0 + SERVES_FOR))
        self.members.observed("own", {}, 10.0, 10.0)
        self.members.lost()
        self.assertFalse(self.members.isValid(10.0))

    def test_silent(self) -> None:
        """Another one is silent if its row was the same for longer than it relies on its memory."""
        for second in range(int(WAITS_FOR)):
            self.assertEqual(self.read(second, other=7, third=second), [])
            self.assertEqual(self.members.others, 2)
        self.assertEqual(self.read(WAITS_FOR, other=7, third=99), [("other", 7)])
        self.assertEqual(self.members.others, 1)
        self.assertEqual(self.read(WAITS_FOR + 1, other=8, third=99), [])
        self.assertGreater(WAITS_FOR, SERVES_FOR)

    def test_gap(self) -> None:
        """While the table is not read, no time passes: perhaps nobody could change it."""
        for second in (0, 1, 2, 60, 61, 62, 63, 64, 65):
            self.assertEqual(self.read(second, other=7), [], second)
        self.assertEqual(self.read(66, other=7), [("other", 7)])
