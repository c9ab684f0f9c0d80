"""Users of a server that sends no presence by itself: each is shown to another at once, and once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.roster import visibility
from gateway.roster.visibility import Visibility, isSameDomain
from tests.proxy.support import stanza

JOHN, MARIE = "john@h", "marie@h"
# Stanzas for John and Marie.
TO_JOHN, TO_MARIE = f"probe {JOHN} {MARIE}", f"probe {MARIE} {JOHN}"


class VisibilityTests(SynchronousTestCase):
    """Presence that is sent in the names of two users."""

    def setUp(self) -> None:
        self.visibility = Visibility()

    def comes(self, jid: str, kind: str = "", wasThere: bool = False) -> None:
        delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-29T10:00:00Z'/>" if wasThere else ""
        type_ = f" type='{kind}'" if kind else ""
        self.visibility.onPresence(stanza(f"<presence from='{jid}'{type_}>{delay}</presence>"))

    def sets(self, user: str, contact: str, before: str, now: str, hasPresenceFeed: bool = True) -> list[str]:
        """Set a contact; return type, sender and recipient of the presence that is sent."""
        item, there = (RosterItem(jid=contact, subscription=each) for each in (now, before))
        self.visibility.beginSet(user, item, there)
        self.visibility.endSet(user, item)
        found = []
        for each in self.visibility.onSet(user, item, there, hasPresenceFeed):
            sent = stanza(each.decode())
            found.append(f"{sent.type} {sent.sender} {sent.recipient}")
        return found

    def test_neighbours(self) -> None:
        """Only users of the same domain are shown."""
        self.assertTrue(isSameDomain(JOHN, MARIE))
        self.assertFalse(isSameDomain(JOHN, "marie@other"))

    def test_both(self) -> None:
        """Two users who become contacts are each shown once, in any order of their logins and sets."""
        for first, second in ((JOHN, MARIE), (MARIE, JOHN)):
            for one, other, probes in ((JOHN, MARIE, [TO_MARIE, TO_JOHN]), (MARIE, JOHN, [TO_JOHN, TO_MARIE])):
                self.setUp()
                self.comes(f"{first}/a")
                self.comes(f"{second}/a")
                sent = self.sets(one, other, "none", "both")
                # The server answers no probe for a user whose own roster is still empty.
                self.assertIn(probes[0], sent)
                self.assertIn(probes[1], self.sets(other, one, "none", "both"))
                gone = self.sets(one, other, "both", "remove")
                gone += self.sets(other, one, "both", "remove")
                self.assertEqual(gone, [f"unavailable {one}/a {other}", f"unavailable {other}/a {one}"])
                self.assertEqual(len(self.sets(one, other, "none", "both")), 2)
                self.assertEqual(len(self.sets(other, one, "none", "both")), 1)

    def test_atOnce(self) -> None:
        """If the set that will show a user is under way, nothing else does."""
        self.comes(f"{MARIE}/a")
        self.comes(f"{JOHN}/a")
        item = RosterItem(jid=JOHN, subscription="both")
        self.visibility.beginSet(MARIE, item, RosterItem(jid=JOHN))
        self.assertEqual(self.sets(JOHN, MARIE, "none", "both"), [TO_MARIE])
        self.visibility.endSet(MARIE, item)
        self.assertEqual(
            [bytes(each) for each in self.visibility.onSet(MARIE, item, RosterItem(jid=JOHN), True)],
            [b"<presence from='john@h' to='marie@h' type='probe'/>"],
        )

    def test_missed(self) -> None:
        """A resource that came online after a contact's last presence is sent it; one that has got it is not."""
        self.comes(f"{JOHN}/early")
        self.comes(f"{MARIE}/a")
        self.comes(f"{JOHN}/late")
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [f"probe {JOHN}/late {MARIE}"])
        # Now all resources have it; one that comes later does not.
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [])
        self.comes(f"{JOHN}/third")
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [f"probe {JOHN}/third {MARIE}"])
        self.comes(f"{JOHN}/fourth")
        self.comes(f"{MARIE}/a")
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [])
        # A change of status is not a login.
        self.comes(f"{JOHN}/fourth")
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [])

    def test_hiddenAndShown(self) -> None:
        """A contact that was hidden, and is allowed again, is shown to all resources that it was hidden from."""
        self.comes(f"{JOHN}/a")
        self.comes(f"{MARIE}/a")
        self.assertEqual(self.sets(JOHN, MARIE, "to", "none"), [f"unavailable {MARIE}/a {JOHN}"])
        self.assertEqual(self.sets(JOHN, MARIE, "to", "none"), [])
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [f"probe {JOHN}/a {MARIE}"])
        self.sets(JOHN, MARIE, "to", "none")
        # The contact's roster allowed it, so the server sent its presence again.
        self.comes(f"{MARIE}/a")
        self.assertEqual(self.sets(MARIE, JOHN, "from", "none"), [f"unavailable {MARIE}/a {JOHN}"])

    def test_gone(self) -> None:
        """Nothing is sent to or for users who are offline."""
        self.assertEqual(self.sets(JOHN, MARIE, "none", "both"), [])
        self.comes(f"{JOHN}/a")
        self.assertEqual(self.sets(JOHN, MARIE, "none", "both"), [])
        self.assertEqual(self.sets(JOHN, MARIE, "both", "to"), [f"unavailable {JOHN}/a {MARIE}"])
        self.comes(f"{JOHN}/a", "unavailable")
        self.comes(f"{JOHN}/b", "unavailable")
        self.assertEqual(self.visibility.online, {})
        self.comes(f"{MARIE}/a")
        self.assertEqual(self.sets(JOHN, MARIE, "none", "both"), [])

    def test_onlyWhatChanged(self) -> None:
        """Nothing is sent for a new name, or for an unchanged direction of a subscription."""
        self.comes(f"{MARIE}/a")
        self.comes(f"{JOHN}/a")
        for same in ("none", "to", "from", "both"):
            self.assertEqual(self.sets(JOHN, MARIE, same, same), [])
        self.assertEqual(self.sets(JOHN, MARIE, "to", "both"), [TO_MARIE])
        self.assertEqual(self.sets(JOHN, MARIE, "from", "both"), [f"probe {JOHN}/a {MARIE}"])
        self.assertEqual(self.sets(JOHN, MARIE, "both", "to"), [f"unavailable {JOHN}/a {MARIE}"])
        self.assertEqual(self.sets(JOHN, MARIE, "both", "from"), [f"unavailable {MARIE}/a {JOHN}"])

    def test_unfed(self) -> None:
        """Both users are probed if the server sends no presence feed."""
        self.assertEqual(self.sets(JOHN, MARIE, "none", "both", False), [TO_MARIE, TO_JOHN])

    def test_connection(self) -> None:
        """After a connection earlier presence is unknown, so presence may be sent twice."""
        self.comes(f"{JOHN}/a")
        self.comes(f"{MARIE}/a")
        self.visibility.clear()
        self.comes(f"{JOHN}/a", wasThere=True)
        self.comes(f"{MARIE}/a", wasThere=True)
        self.assertEqual(self.sets(JOHN, MARIE, "none", "to"), [f"probe {JOHN}/a {MARIE}"])
        self.assertEqual(self.sets(JOHN, MARIE, "to", "none"), [f"unavailable {MARIE}/a {JOHN}"])

    def test_bounded(self) -> None:
        """The numbers of users, resources and pairs are bounded."""
        for name in ("_MAX_USERS", "_MAX_RESOURCES", "_MAX_PAIRS"):
            self.patch(visibility, name, 2)
        for name in "abc":
            self.comes(f"{name}@h/r")
        for resource in "stu":
            self.comes(f"a@h/{resource}")
        self.assertEqual(
            {user: list(resources) for user, resources in self.visibility.online.items()},
            {"a@h": ["a@h/t", "a@h/u"], "b@h": ["b@h/r"]},
        )
        # Other users do not count as offline.
        self.assertEqual(self.sets("a@h", "c@h", "none", "from"), ["probe c@h a@h"])
        for contact in "bcd":
            self.sets("a@h", f"{contact}@h", "none", "from")
        self.assertEqual([seeing for _, seeing in self.visibility._pairs], ["c@h", "d@h"])
