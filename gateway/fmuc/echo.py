"""Time until the joined node returns messages of a mirror's occupants. Pure."""

from __future__ import annotations

from collections.abc import Callable

from gateway.fmuc.actions import Submission, ToNode

# Maximum number of messages that are waited for; above it, the oldest is forgotten.
_MAX_WAITING = 1_000


class Echoes:
    """
    Messages that were sent to joined nodes, and have not come back. Only those with an id or a digest can be
    recognised.

    @param observe: is called with the seconds that a message took.
    """

    def __init__(self, observe: Callable[[float], object]) -> None:
        self._observe = observe
        self._sentAt: dict[tuple[str, str, str, str], float] = {}

    def __len__(self) -> int:
        return len(self._sentAt)

    def sent(self, action: ToNode, now: float) -> None:
        """Record a message that was sent to a joined node, if that node returns it."""
        stanza = action.stanza
        if not isinstance(stanza, Submission) or stanza.nomirror or not (stanza.digest or stanza.message.id):
            return
        key = (action.room, action.peer, stanza.message.nick, stanza.digest or stanza.message.id or "")
        self._sentAt.setdefault(key, now)
        if len(self._sentAt) > _MAX_WAITING:
            del self._sentAt[next(iter(self._sentAt))]

    def returned(self, room: str, peer: str, nick: str, identifier: str | None, now: float) -> None:
        """
        Handle a message that was received: if it has come back, observe the time that it took.

        @param room: bare JID of the room here.
        @param peer: bare JID of the sender; of the joined node if the message has come back.
        @param identifier: digest by which the message is returned, or else its id.
        """
        sentAt = self._sentAt.pop((room, peer, nick, identifier or ""), None)
        if sentAt is not None:
            self._observe(now - sentAt)
