"""Presence that waits at one node before it is sent to another one, because the link is slow. Pure."""

from __future__ import annotations

from math import inf

from attrs import define, field

from gateway.muc.values import AVAILABLE, OccupantPresence, Payload, Standing


@define(eq=False)
class Waiting:
    """
    Occupants whose presence has changed since the other node was told.

    @ivar nicks: theirs, in the order of the first change.
    @ivar due: seconds of the link's clock at which it is sent; it begins at the next tick.
    """

    nicks: dict[str, None] = field(factory=dict)
    due: float = inf
    # By nick, what else the other node was told, and the payload.
    _told: dict[str, tuple[Standing, str, str]] = field(factory=dict)
    _payloads: dict[str, Payload] = field(factory=dict)

    def told(self, presence: OccupantPresence) -> None:
        """Record a presence that is sent."""
        nick = presence.nick
        if presence.change.unavailable:
            self.forget(nick)
        else:
            self.nicks.pop(nick, None)
            self._told[nick], self._payloads[nick] = _rest(presence), presence.payload

    def toldPayload(self, nick: str, payload: Payload) -> None:
        """Record the payload of a join that is sent."""
        self.nicks.pop(nick, None)
        self._payloads[nick] = payload

    def forget(self, nick: str) -> None:
        """Forget an occupant who was removed."""
        for each in (self.nicks, self._told, self._payloads):
            each.pop(nick, None)

    def mayWait(self, presence: OccupantPresence) -> bool:
        """True if nothing but the payload is new to the other node."""
        return presence.change == AVAILABLE and self._told.get(presence.nick) == _rest(presence)

    def isNew(self, nick: str, payload: Payload) -> bool:
        """True if the other node does not have this payload."""
        return self._payloads.get(nick) != payload

    def take(self, now: float, gather: float) -> list[str]:
        """
        Return the nicks whose presence is due; they stay until they are told or dropped.

        @param gather: as L{gateway.fmuc.profiles.Profile.gather}.
        """
        if not self.nicks:
            return []
        if self.due == inf:
            self.due = now + gather
        if self.due > now:
            return []
        self.due = inf
        return list(self.nicks)


def _rest(presence: OccupantPresence) -> tuple[Standing, str, str]:
    return presence.standing, presence.realJid, presence.occupantId
