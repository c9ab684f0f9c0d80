"""One refresh, step by step."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.roster.core import Fetch, Finished, Read, Refresh, Set
from gateway.roster.failures import RefreshFailed
from tests.roster.support import JOHN, MARIE, document, item, whole


class RefreshTests(SynchronousTestCase):
    """One refresh."""

    def test_whole(self) -> None:
        """Fetch, read, set each contact, finish."""
        refresh = Refresh(JOHN)
        self.assertEqual(refresh.begin(), Fetch())
        self.assertEqual(whole(refresh.onDocument(document({MARIE: {}}))), Read())
        self.assertEqual(whole(refresh.onRoster([item("old@x")])), Set(item(), RosterItem(jid=MARIE)))
        self.assertEqual(refresh.onSet(), Set(RosterItem(jid="old@x", subscription="remove"), item("old@x")))
        self.assertEqual(refresh.onSet(), Finished())

    def test_unchanged(self) -> None:
        """Nothing is done if the document is unchanged, and nothing is set if the server has it already."""
        self.assertEqual(whole(Refresh(JOHN).onDocument(None)), Finished())
        refresh = Refresh(JOHN)
        whole(refresh.onDocument(document({MARIE: {}})))
        self.assertEqual(whole(refresh.onRoster([item()])), Finished())

    def test_bad(self) -> None:
        """An invalid document ends the refresh before the server is asked."""
        finished = whole(Refresh(JOHN).onDocument(b"[{}]"))
        assert isinstance(finished, Finished)
        self.assertIn("a list", finished.reason)

    def test_failed(self) -> None:
        """A failure ends the refresh; the reason has the number of changes that were made."""
        refresh = Refresh(JOHN)
        self.assertEqual(refresh.onFailure("no answer"), Finished(reason="no answer"))
        whole(refresh.onDocument(document({"a@x": {}, "b@x": {}})))
        whole(refresh.onRoster([]))
        refresh.onSet()
        reason = "1 of 2 changes were made, then: no answer"
        self.assertEqual(refresh.onFailure("no answer"), Finished(reason=reason))

    def test_skipped(self) -> None:
        """Skipped contacts are reported, if the refresh succeeds and if it fails."""
        value = document({MARIE: {}, "a@x": 3})
        skipped = {"a@x": "its value is a number, not an object"}
        refresh = Refresh(JOHN)
        whole(refresh.onDocument(value))
        self.assertEqual(whole(refresh.onRoster([item("a@x"), item()])), Finished(skipped=skipped))
        self.assertEqual(refresh.onFailure(RefreshFailed("x")), Finished(reason="x", skipped=skipped))
        refresh = Refresh(JOHN, isDry=True)
        whole(refresh.onDocument(value))
        self.assertEqual(whole(refresh.onRoster([])), Finished((item(),), skipped=skipped))

    def test_dry(self) -> None:
        """A dry run returns the items that it would set, even with too many removals, and sets none."""
        refresh = Refresh(JOHN, maxRemovals=0, isDry=True)
        whole(refresh.onDocument(document({MARIE: {}})))
        removal = RosterItem(jid="old@x", subscription="remove")
        self.assertEqual(whole(refresh.onRoster([item("old@x")])), Finished((item(), removal)))

    def test_removals(self) -> None:
        """More removals than allowed are refused; the reason names the option that allows them."""
        there = [item(f"c{number}@x") for number in range(3)]
        refresh = Refresh(JOHN, maxRemovals=2)
        whole(refresh.onDocument(b"{}"))
        finished = whole(refresh.onRoster(there))
        assert isinstance(finished, Finished)
        for part in ("3 contacts", "max_removals (2)", "?force=1"):
            self.assertIn(part, finished.reason)
        refresh = Refresh(JOHN, maxRemovals=3)
        whole(refresh.onDocument(b"{}"))
        self.assertIsInstance(whole(refresh.onRoster(there)), Set)
