"""
How much of what is for everybody one user may take; pure.
"""

from __future__ import annotations

from gateway import jids
from gateway.errors import TooManyPending

# Bytes that a request may have for each share that it takes.
PART = 8 * 1024


class Shares:
    """
    What each user has open: nobody shall get all of the room that is for everybody.

    @ivar most: how much one user may have: requests, a large one for as many as it has parts of L{PART} bytes.
    """

    def __init__(self, most: int = 2_000) -> None:
        self.most = most
        self._taken: dict[str, int] = {}

    def take(self, requester: str, size: int) -> None:
        """
        @param requester: any address of the user.
        @param size: of the request, in bytes.
        @raise TooManyPending: when the user has enough.
        """
        user = jids.bare(requester)
        taken = self._taken.get(user, 0)
        if taken >= self.most:
            raise TooManyPending
        self._taken[user] = taken + 1 + size // PART

    def giveBack(self, requester: str, size: int) -> None:
        user = jids.bare(requester)
        self._taken[user] -= 1 + size // PART
        if not self._taken[user]:
            del self._taken[user]
