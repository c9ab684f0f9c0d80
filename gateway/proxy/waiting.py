"""
Stanzas that wait until the presence of the target is known. Pure.

A connection begins with a probe for the target's presence. A server may send requests in the same packet as the end
of the handshake (Openfire does). The target's resources are unknown then, and an error would be wrong.
"""

from __future__ import annotations

from gateway.stream.shares import Share, Shares, places
from gateway.stream.stanzas import Stanza

# Places for waiting stanzas, of 8 KiB each; a user has a fifth of them at most.
MAX_PLACES = 1_000
# Seconds that a stanza waits. A server answers a probe in milliseconds, a remote one after some round trips.
MAX_SECONDS = 3.0


class WaitingRoom:
    """
    The stanzas of one connection that wait, in order.

    @ivar isOpen: true until the answer to the probe has come.
    """

    def __init__(self) -> None:
        self.isOpen = False
        self._until = 0.0
        self._stanzas: list[tuple[Stanza, Share]] = []
        self._shares = Shares(MAX_PLACES)

    def __len__(self) -> int:
        return len(self._stanzas)

    def open(self, now: float, seconds: float = MAX_SECONDS) -> None:
        """Begin to wait: the component is connected, and the target probed."""
        self.isOpen = True
        self._until = now + min(seconds, MAX_SECONDS)

    def isOver(self, now: float) -> bool:
        """True if no answer to the probe has come in time."""
        return self.isOpen and now >= self._until

    def hold(self, stanza: Stanza) -> bool:
        """
        Keep a stanza.

        @return: true if it was kept: there is a reason to wait, and room.
        """
        if not self.isOpen:
            return False
        share = self._shares.of(stanza.sender or "")
        if not share.take(places(len(stanza.raw))):
            return False
        self._stanzas.append((stanza, share))
        return True

    def close(self) -> list[Stanza]:
        """
        End the wait.

        @return: the stanzas that have waited.
        """
        self.isOpen = False
        held, self._stanzas = self._stanzas, []
        for stanza, share in held:
            share.giveBack(places(len(stanza.raw)))
        return [stanza for stanza, _ in held]
