"""Joins that wait: the rules without a link, with a given time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.stream import holdback
from gateway.stream.budget import BURST, Budget, copiesBudget
from gateway.stream.holdback import Holdback
from gateway.stream.stanzas import Stanza
from tests.stream.memory import stanza

BAD, OTHER = "bad@evil.example", "other@example.com"
MUC = f"<x xmlns='{ns.MUC}'/>"


def join(user: str = f"{BAD}/a", number: int = 0, more: str = "") -> Stanza:
    """Return a join, by number."""
    return stanza(f"<presence from='{user}' to='r@c/n' id='{number}'>{MUC}{more}</presence>".encode())


class HoldbackTests(SynchronousTestCase):
    """A user over the budget, and another user."""

    def setUp(self) -> None:
        self.budget = Budget()
        self.copies = copiesBudget(self.budget)
        self.held = Holdback(self.budget, self.copies)
        self.budget.charge(BAD, 2 * BURST, 0.0)

    def ids(self, stanzas: list[Stanza]) -> list[str | None]:
        return [each.id for each in stanzas]

    def test_joins(self) -> None:
        """Joins wait, and so does everything that the user sends after them, except answers; nothing else waits."""
        message = stanza(f"<message from='{BAD}/b'/>".encode())
        answers = [stanza(f"<iq type='{kind}' id='1' from='{BAD}/a'/>".encode()) for kind in ("result", "error")]
        away = stanza(f"<presence from='{BAD}/a'><show>away</show></presence>".encode())
        gone = stanza(f"<presence from='{BAD}/a' type='unavailable'>{MUC}</presence>".encode())
        self.assertFalse(any(self.held.mustWait(each, 0.0) for each in (message, away, gone, *answers)))
        self.assertFalse(self.held.mustWait(join(f"{OTHER}/a"), 0.0))
        written = MUC.replace("muc", "mu&#99;")
        self.assertTrue(self.held.mustWait(stanza(f"<presence from='{BAD}/a'>{written}</presence>".encode()), 0.0))
        self.assertTrue(self.held.mustWait(join(), 0.0))
        self.assertTrue(self.held.hold(join(), 0.0))
        self.assertTrue(all(self.held.mustWait(each, 0.0) for each in (message, away, gone)))
        self.assertFalse(any(self.held.mustWait(each, 0.0) for each in answers))
        self.assertFalse(self.held.mustWait(join(f"{OTHER}/a"), 0.0))
        # As long as one waits, also when no debt is left.
        self.assertTrue(self.held.mustWait(message, 10.0))

    def test_archives(self) -> None:
        """A query of an archive waits as a join does; a client would take an error for the end of the archive."""
        query = stanza(f"<iq type='set' id='q' from='{BAD}/a'><query xmlns='{ns.MAM}'/></iq>".encode())
        form = stanza(f"<iq type='get' id='f' from='{BAD}/a'><query xmlns='{ns.MAM}'/></iq>".encode())
        other = stanza(f"<iq type='set' id='o' from='{BAD}/a'><query xmlns='other'/></iq>".encode())
        self.assertEqual([self.held.mustWait(each, 0.0) for each in (query, form, other)], [True, False, False])
        self.held.hold(query, 0.0)
        self.assertEqual(list(self.held.ready(0.9)), [])
        self.assertEqual(list(self.held.ready(1.1)), [query])

    def test_order(self) -> None:
        """They are released in order, each when it may; the budget is asked again after each."""
        for number in range(5):
            self.held.hold(join(number=number), 0.0)
        self.assertEqual(list(self.held.ready(0.9)), [])
        found = []
        for each in self.held.ready(1.1):
            found.append(each)
            self.budget.charge(BAD, BURST // 2, 1.1)
        self.assertEqual(self.ids(found), ["0"])
        self.assertEqual(self.ids(list(self.held.ready(10.0))), ["1", "2", "3", "4"])
        self.assertEqual((self.held.users, len(self.held)), ({}, 0))

    def test_turns(self) -> None:
        """Users take turns, with one stanza each."""
        for number in range(2):
            for user in (BAD, OTHER):
                self.held.hold(join(f"{user}/a", number), 0.0)
        found = [(each.sender, each.id) for each in self.held.ready(10.0)]
        self.assertEqual(found, [(f"{u}/a", n) for n in ("0", "1") for u in (BAD, OTHER)])

    def test_bounds(self) -> None:
        """Stanzas and bytes of a user are limited, and the bytes of all."""
        taken = [self.held.hold(join(number=number), 0.0) for number in range(300)]
        self.assertEqual(taken.count(True), holdback.MAX_STANZAS)
        large = join(f"{OTHER}/a", more=f"<status>{'x' * 100_000}</status>")
        self.assertEqual([self.held.hold(large, 0.0) for _ in range(3)], [True, True, False])
        users = [join(f"u{number}@h/a", more=f"<status>{'x' * 200_000}</status>") for number in range(100)]
        self.assertEqual(sum(self.held.hold(each, 0.0) for each in users), 82)
        # Released stanzas free their places.
        self.assertEqual(len(list(self.held.leave("u1@h/b"))), 1)
        self.assertTrue(self.held.hold(users[1], 0.0))

    def test_late(self) -> None:
        """A stanza that waits too long is refused, not earlier, and no other."""
        self.held.hold(join(number=1), 0.0)
        self.held.hold(join(number=2), 5.0)
        self.assertEqual(list(self.held.late(19.9)), [])
        self.assertEqual(self.ids(list(self.held.late(20.0))), ["1"])
        self.assertEqual(len(self.held), 1)

    def test_leave(self) -> None:
        """All stanzas of one user are refused, of any resource."""
        self.held.hold(join(number=1), 0.0)
        self.held.hold(join(f"{BAD}/b", 2), 0.0)
        self.held.hold(join(f"{OTHER}/a", 3), 0.0)
        self.assertEqual(self.ids(list(self.held.leave(f"{BAD}/c"))), ["1", "2"])
        self.assertEqual(list(self.held.users), [OTHER])

    def speak(self, user: str, size: int) -> None:
        """Charge a user for copies."""
        if self.copies.chargeUser(user, size, 0.0):
            self.held.watch(user)

    def test_speakers(self) -> None:
        """
        If a user has sent too many copies, everything but answers waits, until the debt is forgiven, in order.
        """
        stanzas = [
            stanza(f"<{inside} from='{OTHER}/a' id='{number}'/>".encode())
            for number, inside in enumerate(("message", "presence", "iq type='get'", "presence type='unavailable'"))
        ]
        self.speak(OTHER, self.copies.burst - 1)
        self.assertEqual(self.held.users, {})
        self.speak(OTHER, 2)
        self.assertEqual(len(self.held), 0)
        self.assertTrue(all(self.held.mustWait(each, 0.0) and self.held.hold(each, 0.0) for each in stanzas))
        for kind in ("iq type='result'", "message type='error'"):
            self.assertFalse(self.held.mustWait(stanza(f"<{kind} from='{OTHER}/a'/>".encode()), 0.0))
        self.assertFalse(self.held.mustWait(stanza(b"<message from='third@example.com/a'/>"), 0.0))
        # Half a second forgives more than the excess.
        self.assertEqual(self.ids(list(self.held.ready(0.5))), ["0", "1", "2", "3"])
        self.assertEqual(self.held.users, {})

    def test_forgiven(self) -> None:
        """A user who has waited long enough does not wait any longer, and is forgotten."""
        self.speak(OTHER, self.copies.burst)
        message = stanza(f"<message from='{OTHER}/a'/>".encode())
        self.assertTrue(self.held.mustWait(message, 0.0))
        self.assertFalse(self.held.mustWait(message, 0.1))
        self.assertEqual(self.held.users, {})
        self.speak("a@b", self.copies.burst)
        self.assertEqual((list(self.held.ready(0.0)), list(self.held.users)), ([], ["a@b"]))
        self.assertEqual((list(self.held.ready(1.0)), self.held.users), ([], {}))
        self.speak("c@d", self.copies.burst)
        self.assertEqual((list(self.held.leave("c@d/e")), self.held.users), ([], {}))
