"""Differences between a roster and a document."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.roster.core import Refresh, Set
from gateway.roster.difference import byContact, difference
from gateway.roster.document import Document
from tests.profiles import steady
from tests.roster.support import JOHN, MARIE, document, item, whole

ROSTERS = st.dictionaries(
    st.sampled_from([f"c{number}@example.com" for number in range(5)]),
    st.tuples(st.sampled_from(["", "N"]), st.sampled_from([(), ("G",)]), st.sampled_from(["none", "both"])),
)


class DifferenceTests(SynchronousTestCase):
    """Items to set."""

    def test_none(self) -> None:
        """An unchanged contact is not set; a pending subscription request makes no difference."""
        there = RosterItem(jid=MARIE, name="M", groups=frozenset("AB"), subscription="to", ask=True)
        wanted = item(name="M", groups=("B", "A"), subscription="to")
        self.assertEqual(difference(byContact([there]), Document({MARIE: wanted})), [])

    def test_each(self) -> None:
        """
        New contacts and those with a new name, group or subscription are set, missing ones are removed; each once.
        """
        there = [item(f"c{number}@x") for number in range(5)]
        wanted = [
            item("new@x"),
            item("c0@x"),
            item("c1@x", name="N"),
            item("c2@x", groups=("G",)),
            item("c3@x", subscription="to"),
        ]
        changes = difference(byContact(there), Document({each.jid: each for each in wanted}))
        removed = RosterItem(jid="c4@x", subscription="remove")
        self.assertEqual(changes, [wanted[0], *wanted[2:], removed])

    def test_kept(self) -> None:
        """The server's items for invalid contacts stay; if such a contact may be any, all items stay."""
        there = [item("odd@x/home"), item("gone@x")]
        changes = difference(byContact(there), Document({MARIE: item()}, kept=frozenset({"odd@x"})))
        self.assertEqual(changes, [item(), RosterItem(jid="gone@x", subscription="remove")])
        self.assertEqual(difference(byContact(there), Document({MARIE: item()}, isComplete=False)), [item()])

    def test_resource(self) -> None:
        """A contact is a bare JID; an item with a resource, as ejabberd may have, is the same contact."""
        there = item("c0@x/home"), item("c1@x/home")
        removed = RosterItem(jid="c1@x", subscription="remove")
        changes = difference(byContact(there), Document({"c0@x": item("c0@x")}))
        self.assertEqual(changes, [item("c0@x"), removed])
        refresh = Refresh(JOHN)
        whole(refresh.onDocument(document({"c0@x": {}})))
        self.assertEqual(whole(refresh.onRoster(there)), Set(item("c0@x"), item("c0@x/home")))
        self.assertEqual(refresh.onSet(), Set(removed, item("c1@x/home")))

    @steady
    @given(ROSTERS, ROSTERS)
    def test_becomes(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Setting all items leads to the document, and no item is superfluous or repeated."""
        there = {jid: item(jid, *about) for jid, about in before.items()}
        wanted = {jid: item(jid, *about) for jid, about in after.items()}
        changes = difference(there, Document(wanted))
        self.assertEqual(len({each.jid for each in changes}), len(changes))
        for each in changes:
            self.assertNotEqual(there.get(each.jid), each)
            if each.subscription == "remove":
                del there[each.jid]
            else:
                there[each.jid] = each
        self.assertEqual(there, wanted)
