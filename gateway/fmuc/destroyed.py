"""
Rooms that were destroyed, for joining nodes that were away and could not be told (XEP-0045 section 10.9). Pure.

Such a node asks to resume. It gets the error C{gone} with the element C{destroy}, in place of C{item-not-found}, by
which it would join anew, and so make a room that its owner has destroyed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import define, evolve, field

from gateway import ns
from gateway.errors import BadRequest, StoreBroken
from gateway.muc.elements import destroyXml
from gateway.muc.records import Record, Row
from gateway.muc.stanzas import readChange
from gateway.muc.values import AVAILABLE, PresenceChange
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children
from gateway.xml.write import iq, route, tag

# Kind of the records (L{gateway.muc.records.Key}).
_DESTROYED = "destroyed"
# Rooms that are remembered; of more, the oldest ones are forgotten.
_MAX_ROOMS = 1_000
# Nodes that have joined a later room with the address; of more, the oldest ones are told again.
_MAX_NODES = 100

_GONE = "gone"


@define
class _Room:
    """
    A room that was destroyed.

    @ivar change: reason, alternate room and its password.
    @ivar settled: nodes that have joined a later room with this address.
    """

    change: PresenceChange
    settled: dict[str, None] = field(factory=dict)


@define(eq=False)
class DestroyedRooms:
    """The rooms of one service that were destroyed, by bare JID."""

    _rooms: dict[str, _Room] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._rooms)

    def add(self, room: str, change: PresenceChange) -> list[Record]:
        """Remember a room; return the records of what has changed."""
        self._rooms.pop(room, None)
        self._rooms[room] = _Room(change)
        found = self.records(room)
        if len(self._rooms) > _MAX_ROOMS:
            oldest = next(iter(self._rooms))
            del self._rooms[oldest]
            found.append(((oldest, _DESTROYED, ""), None))
        return found

    def owed(self, room: str, node: str) -> PresenceChange | None:
        """Return the change that a node (bare JID) must be told; C{None} if it need not be told."""
        known = self._rooms.get(room)
        return None if known is None or node in known.settled else known.change

    def joined(self, room: str, node: str) -> list[Record]:
        """A node has joined a later room with this address; return the records."""
        known = self._rooms.get(room)
        if known is None or node in known.settled:
            return []
        known.settled[node] = None
        if len(known.settled) > _MAX_NODES:
            del known.settled[next(iter(known.settled))]
        return self.records(room)

    def records(self, room: str) -> list[Record]:
        """Return the record of a room, which the removal of a later one has removed; empty for another room."""
        known = self._rooms.get(room)
        if known is None:
            return []
        change = known.change
        value = json.dumps([change.reason, change.jid, change.password, list(known.settled)])
        return [((room, _DESTROYED, ""), value)]

    def all(self) -> list[Record]:
        """Return all records, for a new store."""
        return [record for room in self._rooms for record in self.records(room)]

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        """
        Restore the rooms of an earlier process; return the other rows.

        @raise StoreBroken: if a record is not one.
        """
        others: list[Row] = []
        for row in rows:
            if row[1] != _DESTROYED:
                others.append(row)
                continue
            try:
                reason, jid, password, settled = json.loads(row[3])
                change = PresenceChange(unavailable=True, destroyed=True, reason=reason, jid=jid, password=password)
                self._rooms[row[0]] = _Room(change, dict.fromkeys(settled))
            except (ValueError, TypeError) as error:
                raise StoreBroken(f"the record of room {row[0]} is damaged; restore a backup") from error
        return others


def goneXml(stanza: Stanza, change: PresenceChange) -> bytes:
    """Return the answer to a node that asks to resume."""
    inside = tag(_GONE, xmlns=ns.STANZA_ERRORS) + tag("x", destroyXml(change), xmlns=ns.MUC_USER)
    addresses = route(stanza.recipient or "", stanza.sender or "")
    return iq(addresses, stanza.id or "", "error", tag("error", inside, type="cancel").encode())


def readGone(stanza: Stanza, condition: str) -> PresenceChange | None:
    """
    Return the destruction of a room from the answer to a request to resume; C{None} if the answer is another one.

    @param condition: of the error; empty for a result.
    """
    if condition != _GONE:
        return None
    try:
        for error in children(stanza.element):
            for each in children(error) if error.name == "error" else ():
                change: PresenceChange = readChange(each) if each.uri == ns.MUC_USER else AVAILABLE
                if change.destroyed:
                    return evolve(change, unavailable=True)
    except BadRequest:
        pass
    return None
