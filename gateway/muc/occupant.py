"""An occupant of a room, and the node that an occupant is connected through."""

from __future__ import annotations

from typing import Protocol

from attrs import define

from gateway.muc.values import AVAILABLE, NO_ROLE, OccupantPresence, Payload, PresenceChange, Standing, person


class Node(Protocol):
    """
    Another node of a room.

    @ivar jid: bare JID of the room there.
    """

    jid: str
    occupants: dict[str, Occupant]


_NO_PAYLOAD = Payload()


@define(eq=False)
class Occupant:
    """
    An occupant.

    @ivar realJid: full JID; empty if another node does not tell it.
    @ivar nonAnonymous: True if every occupant may see the real JID.
    @ivar node: the node through which the occupant is connected; C{None} for a local user.
    @ivar address: of a local user: the JID, escaped for an XML attribute.
    @ivar id: occupant id (XEP-0421); empty if another node tells neither the id nor the JID.
    """

    nick: str
    realJid: str
    standing: Standing
    payload: Payload
    nonAnonymous: bool
    node: Node | None = None
    address: bytes = b""
    id: str = ""
    _last: OccupantPresence | None = None
    _person: tuple[str, str] = ("", "")

    @property
    def person(self) -> str:
        """The user's bare JID, as L{person} normalises it."""
        # A ban asks this of all occupants, and some addresses take long to prepare.
        if self._person[0] != self.realJid:
            self._person = self.realJid, person(self.realJid)
        return self._person[1]

    def presence(self, change: PresenceChange) -> OccupantPresence:
        """Return the occupant's current presence."""
        last = self._last
        if change is AVAILABLE and last is not None and self._isAs(last):
            return last
        standing, payload = self.standing, self.payload
        if change.nick:
            # The presence is that of the new nick, and follows. Clients would take this one for a leave.
            payload = _NO_PAYLOAD
        elif change.unavailable:
            # An occupant who leaves has no role. An occupant who changes the nick keeps it.
            standing = Standing(standing.affiliation, NO_ROLE)
        presence = OccupantPresence(
            nick=self.nick,
            realJid=self.realJid,
            nonAnonymous=self.nonAnonymous,
            standing=standing,
            payload=payload,
            change=change,
            occupantId=self.id,
        )
        if change is AVAILABLE:
            # Every new occupant is sent this presence; it need not be serialised again for each.
            self._last = presence
        return presence

    def _isAs(self, presence: OccupantPresence) -> bool:
        return (
            presence.payload is self.payload
            and presence.standing is self.standing
            and presence.nick is self.nick
            and presence.realJid is self.realJid
            and presence.nonAnonymous is self.nonAnonymous
            and presence.occupantId is self.id
        )
