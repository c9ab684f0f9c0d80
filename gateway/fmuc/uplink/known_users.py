"""Users of a mirror of whom the joined node has decided before: they may enter while it cannot be asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from gateway.muc import members_only, password
from gateway.muc.values import person

# Users that are remembered, of each kind; of more, the oldest ones are forgotten.
_MAX = 1_000
# Features of a room that everybody may enter who is not banned.
_OPEN = frozenset((members_only.OPTION.features[1], password.OPTION.features[1]))


def isOpen(features: Iterable[str]) -> bool:
    """True if features of disco#info say that a room needs neither a membership nor a password."""
    return frozenset(features) >= _OPEN


@define(eq=False)
class KnownUsers:
    """
    The users of one mirror, by bare JID.

    @ivar isOpen: True if the joined node has told that everybody may enter.
    """

    isOpen: bool = False
    # Occupant ids that the joined node has given; empty for unknown ones.
    _admitted: dict[str, str] = field(factory=dict)
    _refused: dict[str, str] = field(factory=dict)

    def admitted(self, user: str, identifier: str) -> None:
        """The joined node has admitted a user (full JID), with an occupant id, which may be empty."""
        _note(self._admitted, person(user), identifier)
        self._refused.pop(person(user), None)

    def refused(self, user: str) -> None:
        """The joined node has banned a user, has ended a membership, or does not admit the user."""
        _note(self._refused, person(user))
        self._admitted.pop(person(user), None)

    def idOf(self, user: str) -> str:
        """Return the occupant id that the joined node has given a user; empty if it is unknown."""
        return self._admitted.get(person(user), "")

    def mayEnter(self, user: str) -> bool:
        """True if the joined node would admit a user, as far as is known here."""
        return person(user) in self._admitted or (self.isOpen and person(user) not in self._refused)


def _note(table: dict[str, str], user: str, identifier: str = "") -> None:
    table.pop(user, None)
    table[user] = identifier
    if len(table) > _MAX:
        del table[next(iter(table))]
