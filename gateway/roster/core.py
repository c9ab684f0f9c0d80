"""
One refresh of one user, step by step; pure.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from attrs import field, frozen

from gateway.interfaces import RosterItem
from gateway.roster.difference import Summary, byContact, checkRemovals, difference
from gateway.roster.document import Document, readingDocument
from gateway.roster.failures import RefreshFailed, RosterTooLarge, UserUnknown


@frozen
class Fetch:
    """Ask the application for the user's document."""


@frozen
class Read:
    """Ask the server for the user's roster."""


@frozen
class Set:
    """
    Set this contact.

    @ivar before: what the server has; a contact without a subscription where it has none.
    """

    item: RosterItem
    before: RosterItem


@frozen
class Finished:
    """
    It is over.

    @ivar summary: what has changed; in a dry run, what would.
    @ivar items: in a dry run, what would be set.
    @ivar skipped: reasons, by address, of contacts that cannot be taken from the document, and stay as they are.
    @ivar reason: why it failed; empty if it did not.
    @ivar isUnknown: whether that is because the application has nothing to say about the user.
    @ivar isTooLarge: whether that is because the server's roster is too large, which another try would not change.
    @ivar roster: the server's roster, if it was read and nothing was set since.
    """

    summary: Summary = field(factory=Summary)
    items: tuple[RosterItem, ...] = ()
    reason: str = ""
    isUnknown: bool = False
    isTooLarge: bool = False
    skipped: Mapping[str, str] = field(factory=dict)
    roster: tuple[RosterItem, ...] | None = field(default=None, eq=False, repr=False)


Step = Fetch | Read | Set | Finished


class Refresh:
    """
    One refresh of one user: each method takes what has happened and gives the next step.

    @param user: bare JID.
    @param maxRemovals: as L{checkRemovals} has it.
    @param isDry: whether only to tell what would change.

    @ivar unknown: keys of the document that mean nothing.
    """

    def __init__(self, user: str, maxRemovals: int | None = None, isDry: bool = False) -> None:
        self.user = user
        self._maxRemovals = maxRemovals
        self._isDry = isDry
        self.unknown: frozenset[str] = frozenset()
        self._wanted = Document()
        self._skipped: Mapping[str, str] = {}
        self._before: list[RosterItem] = []
        self._roster: tuple[RosterItem, ...] | None = None
        self._changes: list[RosterItem] = []
        self._done = 0
        self._summary = Summary()

    def begin(self) -> Step:
        return Fetch()

    def onDocument(self, document: bytes | None) -> Generator[None, None, Step]:
        """
        The application has answered. The next step is found in pieces, as L{readingDocument} is.

        @param document: C{None} if it is what it was at the last refresh that went well.
        """
        if document is None:
            return Finished()
        try:
            self._wanted = yield from readingDocument(document, self.user)
        except RefreshFailed as failure:
            return self.onFailure(failure)
        self._skipped, self.unknown = self._wanted.skipped, self._wanted.unknown
        return Read()

    def onRoster(self, roster: Iterable[RosterItem]) -> Generator[None, None, Step]:
        """The server has answered. The next step is found in pieces: a roster may have 100,000 contacts."""
        found = byContact(roster)
        yield
        self._changes = difference(found.values(), self._wanted)
        self._roster = None if self._changes else tuple(found.values())
        yield
        self._summary = Summary.of(found.values(), self._changes)
        yield
        # Only what differs is needed any more, and others wait for their turn meanwhile.
        self._before = [found.get(item.jid) or RosterItem(jid=item.jid) for item in self._changes]
        self._wanted = Document()
        if self._isDry:
            return Finished(self._summary, tuple(self._changes), skipped=self._skipped)
        try:
            checkRemovals(self._summary, self._maxRemovals)
        except RefreshFailed as failure:
            return self.onFailure(failure)
        return self._next()

    def onSet(self) -> Step:
        """The contact is set."""
        self._done += 1
        return self._next()

    def onFailure(self, failure: RefreshFailed) -> Step:
        """Something of it has failed."""
        reason = str(failure)
        if self._done:
            reason = f"{self._done} of {len(self._changes)} changes were made, then: {reason}"
        return Finished(
            reason=reason,
            isUnknown=isinstance(failure, UserUnknown),
            isTooLarge=isinstance(failure, RosterTooLarge),
            skipped=self._skipped,
        )

    def _next(self) -> Step:
        if self._done == len(self._changes):
            return Finished(self._summary, skipped=self._skipped, roster=self._roster)
        return Set(self._changes[self._done], self._before[self._done])
