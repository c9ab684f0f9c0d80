"""
Records: the durable state of a room, as texts by kind and name. Pure.

A record has the whole new value, so writing one twice does no harm, and of two with one key the later one counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import asdict, evolve, fields

from gateway.errors import StoreBroken
from gateway.muc.changes import Changes
from gateway.muc.occupant import Node, Occupant, Session
from gateway.muc.room import Room, Settings
from gateway.muc.values import Delay, Payload, RoomMessage, Standing, VCard
from gateway.xml.write import escape

# The bare JID of the room, the kind of the record, and the name of what it records. Kind GONE removes all records
# of the room.
Key = tuple[str, str, str]
# The value is C{None} if nothing is left to record.
Record = tuple[Key, str | None]
# A stored record: room, kind, name, value.
Row = tuple[str, str, str, str]

GONE, _ROOM, _USER, NODE, _OCCUPANT, MESSAGE = "", "room", "user", "node", "occupant", "message"
# A room is restored in this order: an occupant may be connected through a node.
_ORDER = {kind: place for place, kind in enumerate((_ROOM, _USER, NODE, _OCCUPANT, MESSAGE))}
_SETTINGS = frozenset(each.name for each in fields(Settings))

_NO_DELAY = Delay("", 0.0)
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def removal(room: str) -> Record:
    """Return the record of a room that does not exist any longer."""
    return (room, GONE, ""), None


def take(room: Room) -> list[Record]:
    """Return the records of what has changed in a room since the last call."""
    found = list(_changed(room))
    forget(room)
    return found


def whole(room: Room) -> list[Record]:
    """Return all records of a room, for a new store."""
    registrations = room.registrations
    room.changes = Changes(nicks=dict.fromkeys(room.occupants), nodes=True)
    for table in (room.affiliations, registrations.nicks, registrations.requests):
        table.changed.update(dict.fromkeys(table))
    return take(room)


def withoutHistory(room: Room) -> list[Record]:
    """Return the records of a room whose history has no records any longer."""
    return [((room.jid, MESSAGE, str(number)), None) for number in range(room.bounds.messages)]


def forget(room: Room) -> None:
    """Regard the state of a room as recorded."""
    changes, registrations = room.changes, room.registrations
    if changes.nicks:
        changes.nicks.clear()
    for table in (room.affiliations, registrations.nicks, registrations.requests):
        if table.changed:
            table.changed.clear()
    changes.messages = room.history.added


def _changed(room: Room) -> Iterator[Record]:
    jid, changes, registrations = room.jid, room.changes, room.registrations
    head = (room.settings, room.subject, room.card, bool(room.lockedUntil), room.history.begins)
    if head != changes.head:
        changes.head = (evolve(room.settings), *head[1:])
        yield (jid, _ROOM, ""), _head(room)
    if room.affiliations.changed or registrations.nicks.changed or registrations.requests.changed:
        users = room.affiliations.changed | registrations.nicks.changed | registrations.requests.changed
        for user in users:
            tables = (room.affiliations, registrations.nicks, registrations.requests)
            value = [table.get(user, "") for table in tables]
            yield (jid, _USER, user), _write(value) if any(value) else None
    if changes.nodes:
        changes.nodes = False
        before, changes.recordedNodes = changes.recordedNodes, room.nodes.records()
        for node in {**before, **changes.recordedNodes}:
            now = changes.recordedNodes.get(node)
            if now != before.get(node):
                yield (jid, NODE, node), now
    for nick in changes.nicks:
        occupant = room.occupants.get(nick)
        yield (jid, _OCCUPANT, nick), None if occupant is None else _occupant(occupant)
    if room.durability.hasArchive or room.history.added <= changes.messages:
        return
    for number, message in room.history.since(changes.messages):
        # A message takes the place of the oldest one.
        yield (jid, MESSAGE, str(number % room.bounds.messages)), _write([number, *_message(message)])


def _head(room: Room) -> str:
    card = room.card
    return _write(
        {
            "settings": asdict(room.settings),
            "creators": room.creators,
            "isLocked": bool(room.lockedUntil),
            "subject": None if room.subject is None else _message(room.subject),
            "card": None if card is None else [card.xml, card.hashes],
            "begins": room.history.begins,
        }
    )


def _occupant(occupant: Occupant) -> str:
    sessions = [
        [each.jid, "" if each.node is None else each.node.jid, each.payload.language, each.payload.raw.decode()]
        for each in occupant.allSessions()
    ]
    standing = occupant.standing
    return _write(
        [standing.affiliation, standing.role, occupant.realJid, occupant.id, sessions, occupant.isHidden]
    )


def _message(message: RoomMessage) -> list[object]:
    # The subject that a room sends while none is set has no delay.
    payload, delay = message.payload, message.delay or _NO_DELAY
    return [
        message.nick,
        message.realJid,
        message.occupantId,
        message.stanzaId,
        message.id,
        message.subject,
        delay.by,
        delay.stamp,
        payload.language,
        payload.raw.decode(),
    ]


# From records.


def restore(room: Room, rows: Iterable[Row], now: float, nodeOf: Callable[[str, str], Node | None]) -> None:
    """
    Restore a room that was just made.

    @param rows: its records.
    @param now: seconds of the link's clock.
    @param nodeOf: returns the joining node with a JID; the second argument is its record, or empty for one that was
        restored before.
    @raise StoreBroken: if the records are not those of a room.
    """
    found = sorted(rows, key=lambda row: _ORDER.get(row[1], 0))
    try:
        messages = []
        for _, kind, name, text in found:
            value = json.loads(text)
            if kind == _ROOM:
                _restoreHead(room, value, now)
            elif kind == _USER:
                _restoreUser(room, name, *value)
            elif kind == NODE:
                nodeOf(name, text)
            elif kind == _OCCUPANT:
                _restoreOccupant(room, name, nodeOf, *value)
            elif kind == MESSAGE:
                messages.append(value)
        for number, *message in sorted(messages):
            if number >= room.history.begins:
                room.history.added = number
                room.history.add(_readMessage(*message))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreBroken(f"the record of room {room.jid} is damaged ({error}); restore a backup") from error
    room.stamped = max((each.delay.stamp for each in room.history if each.delay is not None), default=0.0)
    room.changes.nodes = True
    for _ in _changed(room):
        pass
    forget(room)


def _restoreHead(room: Room, head: dict[str, Any], now: float) -> None:
    # An option of another release has its default, or is ignored.
    room.settings = Settings(**{key: each for key, each in head["settings"].items() if key in _SETTINGS})
    room.creators = tuple(head["creators"])
    room.history.added = room.history.begins = head["begins"]
    if head["isLocked"]:
        room.lockedUntil = now + room.bounds.locked
    if head["card"] is not None:
        xml, hashes = head["card"]
        room.card = VCard(xml, tuple(hashes))
    if head["subject"] is not None:
        room.subject = _readMessage(*head["subject"])


def _restoreUser(room: Room, user: str, affiliation: str, nick: str, request: str) -> None:
    if affiliation:
        room.affiliations[user] = affiliation
    if nick:
        room.registrations.reserve(user, nick)
    if request:
        room.registrations.requests[user] = request


def _restoreOccupant(
    room: Room,
    nick: str,
    nodeOf: Callable[[str, str], Node | None],
    affiliation: str,
    role: str,
    realJid: str,
    identifier: str,
    sessions: list[list[str]],
    isHidden: bool | None = None,
) -> None:
    found = []
    for jid, node, language, raw in sessions:
        place = nodeOf(node, "") if node else None
        if node and place is None:
            continue
        address = b"" if node else escape(jid).encode()
        found.append(Session(jid, Payload(raw.encode(), language), place, address))
    if not found:
        return
    last = found[-1]
    if all(each.jid != realJid for each in found):
        # The node of that session is unknown.
        realJid = found[0].jid
    occupant = Occupant(
        nick,
        realJid,
        Standing(affiliation, role),
        last.payload,
        room.settings.nonAnonymous,
        None if any(each.node is None for each in found) else last.node,
        id=identifier,
    )
    # In a large room, an occupant who is to be hidden may still be shown. Older records do not tell.
    occupant.isHidden = room.hides(occupant) if isHidden is None else isHidden
    if len(found) > 1:
        occupant.sessions = tuple(found)
    room.add(occupant)


def _readMessage(
    nick: str,
    realJid: str,
    occupantId: str,
    stanzaId: str,
    identifier: str | None,
    subject: bool,
    by: str,
    stamp: float,
    language: str,
    raw: str,
) -> RoomMessage:
    return RoomMessage(
        nick=nick,
        payload=Payload(raw.encode(), language),
        realJid=realJid,
        occupantId=occupantId,
        stanzaId=stanzaId,
        id=identifier,
        subject=subject,
        delay=Delay(by, stamp) if by else None,
    )
