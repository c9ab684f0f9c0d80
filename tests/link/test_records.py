"""The checks of a fault run: each kind of loss is found."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.link.records import Figures, Message, Record, check

# Messages of two users, by the ids of the room.
A1, A2, B1, B2 = (("1", "a.1"), ("2", "a.2"), ("3", "b.1"), ("4", "b.2"))
ALL = [A1, A2, B1, B2]


def record(nick: str, shown: list[Message], said: int = 2) -> Record:
    """Return the record of a user who has said these messages, at the times 100, 200 …"""
    times = {f"{nick}.{number}": number * 100.0 for number in range(1, said + 1)}
    return Record(nick, said=times, shown=list(shown))


class CheckTests(SynchronousTestCase):
    """A user in the room, and one in the mirror."""

    def setUp(self) -> None:
        self.near, self.far = record("a", ALL), record("b", ALL)

    def check(self, near: list[Message] = ALL, far: list[Message] = ALL, isOneOrder: bool = False) -> Figures:
        """Compare these archives with the records."""
        return check([(near, [self.near]), (far, [self.far])], isOneOrder)

    def assertFound(self, text: str, near: list[Message] = ALL, far: list[Message] = ALL) -> None:
        """The check fails with this text."""
        error = self.assertRaises(AssertionError, self.check, near, far)
        self.assertIn(text, str(error))

    def test_good(self) -> None:
        """Nothing is wrong."""
        self.assertEqual(self.check(isOneOrder=True), Figures(said=4, shown=4, deliveries=8))

    def test_twice(self) -> None:
        """A message is in an archive twice, under another id."""
        self.assertFound("is there twice: ['b.2']", far=[*ALL, ("5", "b.2")])

    def test_oneEnd(self) -> None:
        """Only one end has a message."""
        self.assertFound("only one end has ['b.2']", far=ALL[:-1])

    def test_order(self) -> None:
        """In primary mode the ends may have different orders, but not of the messages of one user."""
        far = [B1, A1, A2, B2]
        self.far.shown[:] = far
        self.check(far=far)
        error = self.assertRaises(AssertionError, self.check, ALL, far, isOneOrder=True)
        self.assertIn("the orders differ from 0 on", str(error))
        self.assertFound("messages of a are in another order", far=[A2, A1, B1, B2])

    def test_shown(self) -> None:
        """A user was shown a message twice, in another order, or one that is not in the archive."""
        for shown in ([A1, A1, A2, B1, B2], [A2, A1, B1, B2]):
            self.far.shown[:] = shown
            self.assertFound("b was shown messages twice, or in another order")
        self.far.shown[:] = [*ALL, ("9", "a.9")]
        self.assertFound("shown to b, and not in the archive")

    def test_missing(self) -> None:
        """A user was not shown a message: only a gateway that is killed at that moment may cause this."""
        for shown in ([A1, B1, B2], [A1, A2, B1]):
            self.far.shown[:] = shown
            self.far.gaps[:] = [(0, 0)]
            self.assertFound("b was not shown")
        self.far.shown[:] = [A1, B1, B2]
        self.far.gaps[:] = [(1, 1)]
        self.assertEqual(self.check().read, 1)

    def test_returned(self) -> None:
        """A user who returns reads what is missing, and all of it."""
        self.far.shown[:] = [A1, B2]
        self.far.readings[:] = [("1", ["2", "3"])]
        self.assertEqual(self.check().read, 0)
        for read in (["3"], ["2", "4"], ["2"]):
            self.far.readings[:] = [("1", read)]
            self.assertRaises(AssertionError, self.check)

    def test_said(self) -> None:
        """A message was neither shown nor refused: only a process that is killed at that moment may cause this."""
        self.near = record("a", ALL, 3)
        self.assertFound("lost, and a was not told: [('a.3', 300.0)]")
        for outage, isAllowed in (((250, 299), False), ((290, 310), True), ((304, 310), True), ((306, 310), False)):
            self.near.outages[:] = [outage]
            if isAllowed:
                self.assertEqual(self.check().lost, 1)
            else:
                self.assertFound("lost, and a was not told")

    def test_refused(self) -> None:
        """A message is refused: by a mirror in replica mode, or by a server whose gateway is away."""
        self.far = record("b", ALL, 3)
        self.far.refused["b.3"] = "recipient-unavailable"
        self.assertFound("refused to b: [('b.3', 'recipient-unavailable')]")
        self.far.isRefused = True
        self.assertEqual(self.check().refused, Counter({"recipient-unavailable": 1}))
        self.far.refused["b.2"] = "recipient-unavailable"
        self.assertFound("shown though b got an error")
