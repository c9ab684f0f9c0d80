"""
One refresh of one user, step by step; pure.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from attrs import field, frozen

from gateway.interfaces import RosterItem
from gateway.roster.difference import byContact, checkRemovals, difference
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
    Set one contact.

    @ivar before: the server's item; one without a subscription if the server has none.
    """

    item: RosterItem
    before: RosterItem


@frozen
class Finished:
    """
    The refresh is over.

    @ivar items: in a dry run, items that would be set.
    @ivar skipped: reasons, by address, for contacts of the document that are invalid. Their items on the server
        stay.
    @ivar reason: reason of the failure; empty if it succeeded.
    @ivar isUnknown: true if it failed because the application does not know the user.
    @ivar isTooLarge: true if it failed because the server's roster is too large; another try would fail, too.
    @ivar roster: the server's roster, if it was read and nothing had to be set.
    """

    items: tuple[RosterItem, ...] = ()
    reason: str = ""
    isUnknown: bool = False
    isTooLarge: bool = False
    skipped: Mapping[str, str] = field(factory=dict)
    roster: tuple[RosterItem, ...] | None = field(default=None, eq=False, repr=False)


Step = Fetch | Read | Set | Finished


class Refresh:
    """
    One refresh of one user. Each method handles the result of a step and returns the next step.

    @param user: bare JID.
    @param maxRemovals: limit for L{checkRemovals}.
    @param isDry: true to compute the changes without making them.

    @ivar unknown: unknown keys of the document.
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

    def begin(self) -> Step:
        return Fetch()

    def onDocument(self, document: bytes | None) -> Generator[None, None, Step]:
        """
        The application has answered. Runs in pieces, as L{readingDocument}.

        @param document: C{None} if it is unchanged since the last successful refresh.
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
        """The server has answered. Runs in pieces: a roster may have 100,000 contacts."""
        found = byContact(roster)
        yield
        self._changes = difference(found, self._wanted)
        yield
        self._roster = None if self._changes else tuple(found.values())
        yield
        # Free memory: only the differences are needed from here on.
        self._before = [found.get(item.jid) or RosterItem(jid=item.jid) for item in self._changes]
        self._wanted = Document()
        if self._isDry:
            return Finished(tuple(self._changes), skipped=self._skipped)
        try:
            checkRemovals(self._changes, self._maxRemovals)
        except RefreshFailed as failure:
            return self.onFailure(failure)
        return self._next()

    def onSet(self) -> Step:
        """The contact was set."""
        self._done += 1
        return self._next()

    @property
    def hasChanged(self) -> bool:
        """True if a contact was set."""
        return self._done > 0

    def onFailure(self, failure: RefreshFailed) -> Step:
        """A step has failed."""
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
            return Finished(skipped=self._skipped, roster=self._roster)
        return Set(self._changes[self._done], self._before[self._done])
