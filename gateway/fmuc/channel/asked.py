"""Requests of one end of a channel for the numbers of the other end. Pure."""

from __future__ import annotations

from math import inf

from attrs import define, field, frozen

# Open requests; of more, the oldest one is forgotten.
_MAX_OPEN = 8
# Requests of another node that are handled at once.
MAX_REQUESTS = 10


@frozen
class Asked:
    """
    An open request, and the numbers of this node at that time.

    @ivar at: seconds.
    """

    at: float
    sent: int
    acknowledged: int
    highest: int


@define
class Credit:
    """Limits what another node causes by its requests: some are handled at once, and then one each second."""

    _left: float = 0.0
    _at: float = -inf

    def take(self, now: float) -> bool:
        """Return True if another request may be handled now."""
        self._left, self._at = min(MAX_REQUESTS, self._left + now - self._at), now
        isLeft = self._left >= 1
        self._left -= int(isLeft)
        return isLeft


@define
class Requests:
    """
    Open requests, of which any may be answered.

    @ivar attempts: number of requests since the last answer.
    @ivar until: time at which the last one counts as unanswered.
    @ivar isAnew: True if the last one was sent although the answer to another one was still awaited.
    """

    token: str
    attempts: int = 0
    until: float = inf
    isAnew: bool = False
    _open: dict[str, Asked] = field(factory=dict)
    _count: int = 0

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, asked: Asked, timeout: float) -> str:
        """Add a request; return its id."""
        self._count += 1
        identifier = f"{self.token}{self._count}"
        self._open[identifier] = asked
        if len(self._open) > _MAX_OPEN:
            del self._open[next(iter(self._open))]
        self.until, self.isAnew = asked.at + timeout, False
        self.attempts += 1
        return identifier

    def get(self, identifier: str) -> Asked | None:
        """Return the open request with an id."""
        return self._open.get(identifier)

    def isHeard(self) -> None:
        """The other node is heard: the answer may be on its way, behind other stanzas."""
        self.attempts = min(self.attempts, 1)

    @property
    def last(self) -> float:
        """Time of the last open request."""
        return max((each.at for each in self._open.values()), default=-inf)

    def stop(self) -> None:
        """Forget all requests."""
        self._open.clear()
        self.attempts, self.isAnew = 0, False
