"""
What a managing entity keeps: what it was granted, and what it has yet to answer; pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from gateway.delegation.core import Grant, Request
from gateway.errors import AlreadyOpen, TooManyPending


class Grants:
    """
    What each server has delegated.

    A server may send its grants one by one, so they add up; they are gone with the connection.
    """

    def __init__(self) -> None:
        self._granted: dict[str, dict[str, Grant]] = {}

    def advertised(self, server: str, grants: Iterable[Grant]) -> list[Grant]:
        """
        A server has advertised these.

        @return: those that are new, or changed.
        """
        known = self._granted.setdefault(server, {})
        news = [grant for grant in grants if known.get(grant.namespace) != grant]
        known.update((grant.namespace, grant) for grant in news)
        return news

    def disconnected(self) -> None:
        self._granted.clear()

    def get(self, server: str, namespace: str) -> Grant | None:
        return self._granted.get(server, {}).get(namespace)


@frozen(eq=False)
class Open:
    """A request that was forwarded to the managing entity and has no answer yet."""

    version: str
    server: str
    id: str
    request: Request
    deadline: float


class OpenRequests:
    """
    The forwarded requests without an answer, by server and outer id; bounded.

    @param patience: seconds for the answer: fewer than any server waits.
    """

    def __init__(self, bound: int = 10_000, patience: float = 25.0) -> None:
        self._bound = bound
        self._patience = patience
        self._open: dict[tuple[str, str], Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, version: str, server: str, identifier: str, request: Request, now: float) -> Open:
        """
        A request has come.

        @raise AlreadyOpen: when the server uses an id twice.
        @raise TooManyPending: when there is no room.
        """
        key = (server, identifier)
        if key in self._open:
            raise AlreadyOpen
        if len(self._open) >= self._bound:
            raise TooManyPending
        opened = self._open[key] = Open(version, server, identifier, request, now + self._patience)
        return opened

    def isOpen(self, opened: Open) -> bool:
        return self._open.get((opened.server, opened.id)) is opened

    def closed(self, opened: Open) -> bool:
        """Whether the answer that is there may be sent: it is the first, and in time."""
        if not self.isOpen(opened):
            return False
        del self._open[opened.server, opened.id]
        return True

    def expire(self, now: float) -> list[Open]:
        """Close those whose deadline has passed: each gets an error."""
        overdue = []
        # They are in the order of their deadlines.
        for opened in self._open.values():
            if opened.deadline > now:
                break
            overdue.append(opened)
        for opened in overdue:
            self.closed(opened)
        return overdue

    def abandon(self) -> list[Open]:
        """Close all of them."""
        opened = list(self._open.values())
        self._open.clear()
        return opened
