"""Rosters: each subscription state with each stanza (RFC 6121 appendix A)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.embedded.core import MAX_STANZA
from gateway.embedded.roster import Item, Roster
from gateway.embedded.stanzas import rosterQuery
from gateway.errors import NoSuchAddress, ResourceLimit
from tests.embedded.support import stanza

CONTACT = "bob@h"

# The names of RFC 6121 appendix A.1: to, from, pending out, pending in.
STATES = {
    "none": (False, False, False, False),
    "none+out": (False, False, True, False),
    "none+in": (False, False, False, True),
    "none+out+in": (False, False, True, True),
    "to": (True, False, False, False),
    "to+in": (True, False, False, True),
    "from": (False, True, False, False),
    "from+out": (False, True, True, False),
    "both": (True, True, False, False),
}

# By state: whether it is delivered, and the next state.
OUTBOUND = {
    "subscribe": {
        "none": (True, "none+out"),
        "none+out": (True, "none+out"),
        "none+in": (True, "none+out+in"),
        "none+out+in": (True, "none+out+in"),
        "to": (True, "to"),
        "to+in": (True, "to+in"),
        "from": (True, "from+out"),
        "from+out": (True, "from+out"),
        "both": (True, "both"),
    },
    "unsubscribe": {
        "none": (True, "none"),
        "none+out": (True, "none"),
        "none+in": (True, "none+in"),
        "none+out+in": (True, "none+in"),
        "to": (True, "none"),
        "to+in": (True, "none+in"),
        "from": (True, "from"),
        "from+out": (True, "from"),
        "both": (True, "from"),
    },
    "subscribed": {
        "none": (False, "none"),
        "none+out": (False, "none+out"),
        "none+in": (True, "from"),
        "none+out+in": (True, "from+out"),
        "to": (False, "to"),
        "to+in": (True, "both"),
        "from": (False, "from"),
        "from+out": (False, "from+out"),
        "both": (False, "both"),
    },
    "unsubscribed": {
        "none": (False, "none"),
        "none+out": (False, "none+out"),
        "none+in": (True, "none"),
        "none+out+in": (True, "none+out"),
        "to": (False, "to"),
        "to+in": (True, "to"),
        "from": (True, "none"),
        "from+out": (True, "none+out"),
        "both": (True, "to"),
    },
}
INBOUND = {
    "subscribe": {
        "none": (True, "none+in"),
        "none+out": (True, "none+out+in"),
        "none+in": (False, "none+in"),
        "none+out+in": (False, "none+out+in"),
        "to": (True, "to+in"),
        "to+in": (False, "to+in"),
        "from": (False, "from"),
        "from+out": (False, "from+out"),
        "both": (False, "both"),
    },
    "unsubscribe": {
        "none": (False, "none"),
        "none+out": (False, "none+out"),
        "none+in": (True, "none"),
        "none+out+in": (True, "none+out"),
        "to": (False, "to"),
        "to+in": (True, "to"),
        "from": (True, "none"),
        "from+out": (True, "none+out"),
        "both": (True, "to"),
    },
    "subscribed": {
        "none": (False, "none"),
        "none+out": (True, "to"),
        "none+in": (False, "none+in"),
        "none+out+in": (True, "to+in"),
        "to": (False, "to"),
        "to+in": (False, "to+in"),
        "from": (False, "from"),
        "from+out": (True, "both"),
        "both": (False, "both"),
    },
    "unsubscribed": {
        "none": (False, "none"),
        "none+out": (True, "none"),
        "none+in": (False, "none+in"),
        "none+out+in": (True, "none+in"),
        "to": (True, "none"),
        "to+in": (True, "none+in"),
        "from": (False, "from"),
        "from+out": (True, "from"),
        "both": (True, "from"),
    },
}


def rosterIn(state: str, listed: bool = True) -> Roster:
    """Return a roster with one contact in this state."""
    roster = Roster()
    item = roster.set(CONTACT, "", ())
    item.to, item.from_, item.ask, pending = STATES[state]
    item.pending, item.listed = "subscribe" if pending else None, listed
    return roster


def stateOf(roster: Roster) -> str:
    """Return the state of the only contact."""
    [item] = roster._items.values() or [Item(CONTACT)]
    found = item.to, item.from_, item.ask, item.pending is not None
    return next(name for name, state in STATES.items() if state == found)


def shown(roster: Roster) -> list[tuple[str, bool]]:
    """Return the part of the state that clients see."""
    return [(item.subscription, item.ask) for item in roster.listed()]


class StateTests(SynchronousTestCase):
    """The tables of states."""

    def test_complete(self) -> None:
        """The tables name every state."""
        for table in (OUTBOUND, INBOUND):
            for kind, rows in table.items():
                self.assertEqual(rows.keys(), STATES.keys(), kind)

    def test_outbound(self) -> None:
        """A stanza of the account is delivered, and changes the state, as in appendix A.2."""
        for kind, rows in OUTBOUND.items():
            for before, (passes, after) in rows.items():
                roster = rosterIn(before)
                change = roster.outbound(kind, CONTACT)
                self.assertEqual((change.passes, stateOf(roster)), (passes, after), f"{kind} in {before}")

    def test_inbound(self) -> None:
        """A stanza of a contact is delivered, and changes the state, as in appendix A.3."""
        for kind, rows in INBOUND.items():
            for before, (passes, after) in rows.items():
                roster = rosterIn(before)
                change = roster.inbound(kind, CONTACT, kind)
                self.assertEqual((change.passes, stateOf(roster)), (passes, after), f"{kind} in {before}")

    def test_pushes(self) -> None:
        """A push is sent exactly if the visible state has changed."""
        for table in (OUTBOUND, INBOUND):
            for kind, rows in table.items():
                for before in rows:
                    roster = rosterIn(before)
                    seen = shown(roster)
                    if table is OUTBOUND:
                        change = roster.outbound(kind, CONTACT)
                    else:
                        change = roster.inbound(kind, CONTACT, kind)
                    self.assertEqual(change.pushes, shown(roster) != seen, f"{kind} in {before}")

    def test_thirdParties(self) -> None:
        """With an entity that is not in the roster, only requests are accepted, and only withdrawals sent."""
        for kind in INBOUND:
            roster = Roster()
            self.assertEqual(roster.inbound(kind, CONTACT, kind).passes, kind == "subscribe", kind)
            self.assertEqual(roster.listed(), [])
        for kind in OUTBOUND:
            roster = Roster()
            self.assertEqual(roster.outbound(kind, CONTACT).passes, kind in ("subscribe", "unsubscribe"), kind)
            self.assertEqual(shown(roster), [("none", True)] if kind == "subscribe" else [])

    def test_unlisted(self) -> None:
        """An entity with a pending request is not listed, neither before an approval nor after a denial."""
        roster = Roster()
        roster.inbound("subscribe", CONTACT, "subscribe")
        self.assertEqual((roster.listed(), len(roster)), ([], 1))
        self.assertRaises(NoSuchAddress, roster.get, CONTACT)
        roster.outbound("unsubscribed", CONTACT)
        self.assertEqual(len(roster), 0)
        roster.inbound("subscribe", CONTACT, "subscribe")
        roster.inbound("unsubscribe", CONTACT, "unsubscribe")
        self.assertEqual(len(roster), 0)
        roster.inbound("subscribe", CONTACT, "subscribe")
        roster.outbound("subscribed", CONTACT)
        self.assertEqual(shown(roster), [("from", False)])


class RosterTests(SynchronousTestCase):
    """The content of a roster."""

    def test_set(self) -> None:
        """A contact has name and groups; setting them again keeps the subscription."""
        roster = rosterIn("both")
        item = roster.set(CONTACT, "Bob", ("friends",))
        self.assertEqual((item.name, item.groups, item.subscription), ("Bob", ("friends",), "both"))
        self.assertIs(roster.get(CONTACT), item)
        roster.remove(item)
        self.assertRaises(NoSuchAddress, roster.get, CONTACT)

    def test_whoSees(self) -> None:
        """Presence goes to subscribers, and comes from subscriptions."""
        for state, (to, from_, _, pending) in STATES.items():
            roster = rosterIn(state)
            self.assertEqual(roster.subscriptions(), [CONTACT] if to else [], state)
            self.assertEqual(roster.subscribers(), [CONTACT] if from_ else [], state)
            self.assertEqual(roster.isSubscriber(CONTACT), from_, state)
            self.assertEqual(len(roster.pending()), pending, state)

    def test_pending(self) -> None:
        """A request is kept unchanged; of a long one only its type is kept."""
        roster = Roster()
        short, long = (stanza(f"<presence type='subscribe'>{'x' * size}</presence>") for size in (9, 5_000))
        roster.inbound("subscribe", "a@h", short)
        roster.inbound("subscribe", "b@h", long)
        self.assertEqual(roster.pending(), [("a@h", short), ("b@h", "subscribe")])

    def test_bound(self) -> None:
        """A thousand contacts; then no other is added, and existing ones can be changed."""
        roster = Roster()
        for number in range(1_000):
            roster.set(f"u{number}@h", "", ())
        roster.inbound("subscribe", "last@h", "subscribe")
        self.assertRaises(ResourceLimit, roster.outbound, "subscribed", "last@h")
        self.assertEqual([jid for jid, _ in roster.pending()], ["last@h"])
        roster.inbound("unsubscribe", "last@h", "unsubscribe")
        self.assertRaises(ResourceLimit, roster.set, "more@h", "", ())
        self.assertRaises(ResourceLimit, roster.outbound, "subscribe", "more@h")
        self.assertEqual(len(roster), 1_000)
        self.assertTrue(roster.outbound("subscribe", "u1@h").passes)
        self.assertEqual(roster.set("u2@h", "Two", ()).name, "Two")

    def test_thirdParties(self) -> None:
        """A thousand pending requests; then others are ignored; they do not reduce the number of contacts."""
        roster = Roster()
        for number in range(1_000):
            self.assertTrue(roster.inbound("subscribe", f"u{number}@h", "subscribe").passes)
        self.assertFalse(roster.inbound("subscribe", "more@h", "subscribe").passes)
        roster.set("bob@h", "Bob", ())
        self.assertEqual([item.jid for item in roster.listed()], ["bob@h"])
        self.assertTrue(roster.outbound("subscribed", "u1@h").passes)
        self.assertTrue(roster.inbound("subscribe", "more@h", "subscribe").passes)

    def test_bytes(self) -> None:
        """A whole roster always fits into one stanza; an item that does not fit changes nothing."""
        roster = Roster()
        groups = tuple(f"{number}" + "'" * 1_000 for number in range(10))
        with self.assertRaises(ResourceLimit):
            for number in range(1_000):
                roster.set(f"u{number}@h", '"' * 1_000, groups)
        self.assertTrue(100 * 1024 < len(rosterQuery(roster.listed()).encode()) < MAX_STANZA)
        count = len(roster)
        self.assertRaises(ResourceLimit, roster.set, "u0@h", "", groups * 3)
        self.assertEqual((len(roster), roster.get("u0@h").groups), (count, groups))
        roster.set("u0@h", "", ())
        roster.remove(roster.get("u1@h"))
        roster.set("more@h", '"' * 1_000, groups)
        roster = Roster()
        with self.assertRaises(ResourceLimit):
            for number in range(1_000):
                roster.outbound("subscribe", f"{'x' * 1_000}{number}@h")
        self.assertTrue(100 * 1024 < len(rosterQuery(roster.listed()).encode()) < MAX_STANZA)
