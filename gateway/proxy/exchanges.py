"""
Exchanges: requests that were forwarded and have no answer yet.
"""

from __future__ import annotations

from collections import deque

from attrs import frozen

from gateway.proxy.actions import Relay
from gateway.proxy.correspondents import Correspondent
from gateway.proxy.pool import Resource
from gateway.stream.stanzas import Stanza


class Exchange:
    """
    A request that was handed to a resource.

    @ivar deadline: deadline of the oldest request.
    @ivar number: number of the oldest request in the tables that gateways share (L{Entry}); otherwise 0.
    @ivar copies: deadlines and numbers of later requests with the same id between the same addresses, each of which
        gets an answer; C{None} if there never was one.
    @ivar kept: the request, if it may be tried a second time.
    """

    __slots__ = ("correspondent", "resource", "deadline", "number", "copies", "kept")

    def __init__(
        self,
        correspondent: Correspondent,
        resource: Resource,
        deadline: float,
        kept: Stanza | None,
        number: int = 0,
    ) -> None:
        self.correspondent = correspondent
        self.resource = resource
        self.deadline = deadline
        self.number = number
        self.copies: deque[tuple[float, int]] | None = None
        self.kept = kept

    def repeat(self, deadline: float, number: int = 0) -> None:
        """Expect one more answer."""
        if self.copies is None:
            self.copies = deque()
        self.copies.append((deadline, number))

    def removeCopy(self, number: int) -> None:
        """Forget a later request."""
        self.copies = deque(each for each in self.copies or () if each[1] != number)
        self.correspondent.share.giveBack()

    def endOldest(self) -> bool:
        """
        End the oldest request: its answer has come, or its deadline has passed.

        @return: true if another request waits.
        """
        if not self.copies:
            return False
        self.deadline, self.number = self.copies.popleft()
        self.correspondent.share.giveBack()
        return True


@frozen
class OpenExchange:
    """
    An exchange as it is kept over a restart.

    @ivar deadline: seconds on a clock that is kept over a restart.
    @ivar copies: deadlines of later requests with the same id.
    """

    requester: str
    address: str
    id: str
    resource: str
    deadline: float
    copies: tuple[float, ...]


@frozen
class Outbound:
    """
    A request that the implementing client started.

    @ivar number: as L{Exchange.number}.
    """

    back: Relay
    deadline: float
    number: int = 0
