"""The order in which a removal is told (XEP-0045 sections 7.14, 8.2, 9.1 and 10.9)."""

from __future__ import annotations

from gateway import ns
from tests.muc.test_muc import CRONE, ELDER, HAG, HECATE, WISE, R, RoomCase


class OrderTests(RoomCase):
    """The order over all recipients."""

    def recipients(self, told: list[str]) -> list[str]:
        """Return the recipients, in order."""
        return [each.split(" > ")[1].split(" ")[0] for each in told]

    def test_kick(self) -> None:
        """
        Section 8.2: first the kicked occupant, "after removing the kicked occupant(s)" the moderator's result, and
        "after informing the moderator" the remaining occupants.
        """
        told = self.administer(CRONE, "nick='nobody' role='none'")
        gone = "unavailable none/none actor=owner"
        self.assertTold(
            told,
            f"presence {R}/nobody > {HECATE} {gone} 307 110",
            f"iq {R} > {CRONE} result",
            f"presence {R}/nobody > {HAG} {gone} 307",
            f"presence {R}/nobody > {ELDER} {gone} 307",
            f"presence {R}/nobody > {CRONE} unavailable none/none jid={HECATE} actor=owner 307",
            f"presence {R}/nobody > {WISE} unavailable none/none jid={HECATE} actor=owner 307",
        )

    def test_several(self) -> None:
        """Several at once: each with the own reason; each of them is told of no other removal."""
        items = (
            "<item nick='member' role='visitor'/>"
            "<item nick='nobody' role='none'><reason>a</reason></item><item nick='elder' role='none'/>"
        )
        told = self.wire.ask(R, CRONE, f"<query xmlns='{ns.MUC_ADMIN}'>{items}</query>", "set")
        self.assertEqual(self.recipients(told)[:3], [HECATE, ELDER, CRONE])
        gone = f"unavailable none/none jid={HECATE} actor=owner reason=a 307"
        self.assertIn(f"presence {R}/nobody > {WISE} {gone}", told)
        self.assertIn(f"presence {R}/elder > {HAG} unavailable member/none actor=owner 307", told)
        self.assertIn(f"presence {R}/member > {WISE} member/visitor jid={HAG} actor=owner", told)
        self.assertEqual([self.recipients(told).count(who) for who in (HECATE, ELDER)], [1, 1])

    def test_oneself(self) -> None:
        """A moderator who kicks themself is removed, and then gets the result."""
        told = self.administer(CRONE, "nick='owner' role='none'")
        self.assertEqual(self.recipients(told)[:2], [CRONE, CRONE])
        self.assertEqual(told[1], f"iq {R} > {CRONE} result")

    def test_ban(self) -> None:
        """Section 9.2: after the result "MUST then remove the affected occupants", and tell the others."""
        told = self.administer(CRONE, "jid='hecate@shakespeare.lit' affiliation='outcast'")
        self.assertEqual(self.recipients(told), [CRONE, HECATE, HAG, ELDER, CRONE, WISE])

    def test_leave(self) -> None:
        """Section 7.14: the departing occupant, and then the remaining ones."""
        self.assertEqual(self.recipients(self.wire.leave(R, "nobody", HECATE)), [HECATE, HAG, ELDER, CRONE, WISE])

    def test_destroy(self) -> None:
        """Section 10.9: all occupants, the owner among them, and then the owner's result."""
        told = self.wire.ask(R, CRONE, f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>", "set")
        self.assertEqual(told[-1], f"iq {R} > {CRONE} result")
        self.assertEqual(sorted(self.recipients(told)), sorted([CRONE, WISE, HAG, ELDER, HECATE, CRONE]))
