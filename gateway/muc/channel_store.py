"""
The tables of the channels between nodes of one service: interactions of a store (L{gateway.interfaces.IStore}).

Their records are stored with those of the rooms: a stanza in the outbox with the change that it tells, and the
number of a received stanza with the change that it made. A channel outlives its room, because the other node must
learn that the room was destroyed.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

# Kinds of records (L{gateway.muc.records.Key}): the numbers of a channel, named by the other node's bare JID; and a
# stanza of its outbox, named by the number, a space and that JID. CHANNEL without a value removes all of a channel.
CHANNEL, OUTGOING = "channel", "outgoing"

MIGRATION = (
    "CREATE TABLE channels (room TEXT NOT NULL, peer TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (room, peer))",
    """
    CREATE TABLE outgoing (
        room TEXT NOT NULL, peer TEXT NOT NULL, number BIGINT NOT NULL, stanza TEXT NOT NULL,
        PRIMARY KEY (room, peer, number)
    )
    """,
)
_SET_CHANNEL = (
    "INSERT INTO channels VALUES (?, ?, ?) ON CONFLICT (room, peer) DO UPDATE SET value = excluded.value"
)
_SET_OUTGOING = (
    "INSERT INTO outgoing VALUES (?, ?, ?, ?) "
    "ON CONFLICT (room, peer, number) DO UPDATE SET stanza = excluded.stanza"
)


@define
class StoredChannel:
    """
    A channel as it is stored.

    @ivar room: bare JID of the room here.
    @ivar peer: bare JID of the room there.
    @ivar value: its numbers, as a text of L{gateway.fmuc.channel.core.Channel}.
    @ivar outgoing: the stanzas of its outbox, by number.
    """

    room: str
    peer: str
    value: str
    outgoing: dict[int, str] = field(factory=dict)


def outgoingName(number: int, peer: str) -> str:
    """Return the name of the record of a stanza in the outbox."""
    return f"{number} {peer}"


def save(cursor: Any, room: str, kind: str, name: str, value: str | None) -> None:
    """Store a record of one of the two kinds, or remove it."""
    if kind == OUTGOING:
        number, _, peer = name.partition(" ")
        if value is None:
            cursor.execute(
                "DELETE FROM outgoing WHERE room = ? AND peer = ? AND number = ?", (room, peer, int(number))
            )
        else:
            cursor.execute(_SET_OUTGOING, (room, peer, int(number), value))
    elif value is None:
        cursor.execute("DELETE FROM channels WHERE room = ? AND peer = ?", (room, name))
        cursor.execute("DELETE FROM outgoing WHERE room = ? AND peer = ?", (room, name))
    else:
        cursor.execute(_SET_CHANNEL, (room, name, value))


def clear(cursor: Any) -> None:
    """Remove all channels: the whole state follows."""
    cursor.execute("DELETE FROM channels")
    cursor.execute("DELETE FROM outgoing")


def loadChannels(cursor: Any) -> list[StoredChannel]:
    """Return all channels."""
    cursor.execute("SELECT room, peer, value FROM channels ORDER BY room, peer")
    found = {row[:2]: StoredChannel(*row) for row in cursor.fetchall()}
    cursor.execute("SELECT room, peer, number, stanza FROM outgoing ORDER BY room, peer, number")
    for room, peer, number, stanza in cursor.fetchall():
        if (room, peer) in found:
            found[room, peer].outgoing[number] = stanza
    return list(found.values())
