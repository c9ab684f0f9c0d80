"""
The tables that the gateways of one component share: their open exchanges, themselves, and the resources of the
target that are online. Interactions of a store (L{gateway.interfaces.IStore}).

A request has a row from the moment before it is forwarded. One gateway, the I{owner}, ends it if nobody answers.
The gateway that gets the answer may be another one: it marks the row as answered, which succeeds once. The owner
removes the row, and forgets the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from gateway.proxy.entries import Entry
from gateway.proxy.settings import Gateway, fromText

# The row of a gateway that has left, or that was taken over.
LEFT = -1

MIGRATIONS = (
    # Deadlines are in seconds since 1970 UTC.
    (
        "CREATE TABLE gateways (name TEXT PRIMARY KEY, beat BIGINT NOT NULL)",
        """
        CREATE TABLE exchanges (
            number BIGINT PRIMARY KEY, owner TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL,
            id TEXT NOT NULL, back_from TEXT NOT NULL, back_to TEXT NOT NULL, deadline DOUBLE PRECISION NOT NULL,
            is_outbound BIGINT NOT NULL, is_answered BIGINT NOT NULL
        )
        """,
        "CREATE INDEX exchanges_owner ON exchanges (owner, is_answered)",
        "CREATE INDEX exchanges_answer ON exchanges (recipient, id)",
        "CREATE TABLE resources (jid TEXT PRIMARY KEY, asked TEXT NOT NULL)",
    ),
    # What is reported about a gateway (L{Gateway}).
    (
        "ALTER TABLE gateways ADD COLUMN host TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE gateways ADD COLUMN settings TEXT NOT NULL DEFAULT ''",
    ),
)

_COLUMNS = "number, sender, recipient, id, back_from, back_to, deadline, is_outbound"


@frozen
class Changes:
    """
    Changes of one transaction, in the order in which they are made.

    @ivar ended: numbers of exchanges whose answer this gateway has delivered.
    @ivar opened: requests that will be forwarded.
    @ivar moved: numbers of exchanges, and the resource that gets the request now.
    @ivar closed: numbers of exchanges that end with an error, unless they were answered.
    @ivar found: sender, recipient and id of answers to exchanges that this gateway may not have.
    @ivar resources: full JIDs, and true for each that is online.
    """

    ended: Sequence[int] = ()
    opened: Sequence[Entry] = ()
    moved: Sequence[tuple[int, str]] = ()
    closed: Sequence[int] = ()
    found: Sequence[tuple[str, str, str]] = ()
    resources: Sequence[tuple[str, bool]] = ()


@frozen
class Outcome:
    """
    The outcomes of changes, in their order.

    @ivar opened: C{None} if this gateway was taken over meanwhile; otherwise for each request false if another one
        with this id is open.
    @ivar moved: true if the exchange is open.
    @ivar closed: true if there was no answer.
    @ivar found: the exchange; C{None} if there is none.
    """

    opened: Sequence[bool] | None = ()
    moved: Sequence[bool] = ()
    closed: Sequence[bool] = ()
    found: Sequence[Entry | None] = ()


@frozen
class News:
    """
    The news for one gateway, once a second.

    @ivar isLost: true if it has no row: another gateway has taken it over. All else is empty then.
    @ivar beats: the rows of all gateways that have not left.
    @ivar gateways: these gateways.
    @ivar adopted: exchanges of gateways that have ended, which are this one's now.
    @ivar answered: exchanges of this gateway that another one has answered.
    @ivar resources: full JIDs of the target that are online; C{None} if that is not known.
    """

    isLost: bool = False
    beats: dict[str, int] = field(factory=dict)
    gateways: dict[str, Gateway] = field(factory=dict)
    adopted: Sequence[Entry] = ()
    answered: Sequence[Entry] = ()
    resources: frozenset[str] | None = None


def _register(cursor: Any, name: str, gateway: Gateway) -> None:
    cursor.execute(
        "INSERT INTO gateways (name, beat, host, settings) VALUES (?, 0, ?, ?) ON CONFLICT DO NOTHING",
        (name, gateway.host, gateway.toText()),
    )


def leave(cursor: Any, name: str) -> None:
    """Leave the exchanges of a gateway to the others, or to the next process."""
    cursor.execute("UPDATE gateways SET beat = ? WHERE name = ?", (LEFT, name))


def perform(cursor: Any, owner: str, changes: Changes) -> Outcome:
    """Make changes of a gateway."""
    # One that was answered by another gateway meanwhile stays: the next beat reports it.
    _forEach(cursor, "DELETE FROM exchanges WHERE number = ? AND is_answered = 0", changes.ended)
    opened = _open(cursor, owner, changes.opened) if changes.opened else ()
    moved = [
        _one(
            cursor,
            "UPDATE exchanges SET sender = ? WHERE number = ? AND owner = ? AND is_answered = 0 RETURNING number",
            (resource, number, owner),
        )
        is not None
        for number, resource in changes.moved
    ]
    closed = [_close(cursor, owner, number) for number in changes.closed]
    found = [_find(cursor, *answer) for answer in changes.found]
    _forEach(
        cursor, "DELETE FROM resources WHERE jid = ?", [jid for jid, isOnline in changes.resources if not isOnline]
    )
    _forEach(
        cursor,
        "INSERT INTO resources VALUES (?, '') ON CONFLICT (jid) DO UPDATE SET asked = ''",
        [jid for jid, isOnline in changes.resources if isOnline],
    )
    return Outcome(opened, moved, closed, found)


def _open(cursor: Any, owner: str, entries: Sequence[Entry]) -> Sequence[bool] | None:
    # Rows of a gateway without a row of its own would be nobody's.
    if _one(cursor, "SELECT name FROM gateways WHERE name = ? AND beat >= 0", (owner,)) is None:
        return None
    outbound = [entry for entry in entries if entry.isOutbound]
    _insert(cursor, owner, [entry for entry in entries if not entry.isOutbound])
    refused = set()
    for entry in outbound:
        if _one(
            cursor,
            "SELECT number FROM exchanges WHERE recipient = ? AND id = ? AND sender = ? AND is_outbound = 1 "
            "AND is_answered = 0",
            (entry.recipient, entry.id, entry.sender),
        ):
            refused.add(entry.number)
        else:
            _insert(cursor, owner, [entry])
    return [entry.number not in refused for entry in entries]


def _insert(cursor: Any, owner: str, entries: Sequence[Entry]) -> None:
    if entries:
        cursor.executemany(
            "INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            [
                (
                    *(each.number, owner, each.sender, each.recipient, each.id, each.backFrom, each.backTo),
                    *(each.deadline, int(each.isOutbound)),
                )
                for each in entries
            ],
        )


def _close(cursor: Any, owner: str, number: int) -> bool:
    row = _one(
        cursor, "DELETE FROM exchanges WHERE number = ? AND owner = ? RETURNING is_answered", (number, owner)
    )
    return row is not None and not row[0]


def _find(cursor: Any, sender: str, recipient: str, identifier: str) -> Entry | None:
    """Mark the oldest exchange that has this answer as answered, and return it."""
    row = _one(
        cursor,
        "UPDATE exchanges SET is_answered = 1 WHERE number = (SELECT number FROM exchanges WHERE recipient = ? "  # noqa: S608  # a constant
        f"AND id = ? AND sender = ? AND is_answered = 0 ORDER BY deadline LIMIT 1) RETURNING {_COLUMNS}",
        (recipient, identifier, sender),
    )
    return None if row is None else Entry(*row)


def beat(
    cursor: Any, own: str, silent: Iterable[tuple[str, int]], room: int, isNew: Gateway | None = None
) -> News:
    """
    Change the row of a gateway, and read what has happened.

    @param silent: gateways that have ended, each with the value of its row: if that is still the same, this gateway
        takes over their exchanges.
    @param room: number of exchanges that this gateway may take over.
    @param isNew: what is reported about this gateway, if it has no row yet.
    """
    if isNew is not None:
        _register(cursor, own, isNew)
    if (
        _one(cursor, "UPDATE gateways SET beat = beat + 1 WHERE name = ? AND beat >= 0 RETURNING beat", (own,))
        is None
    ):
        return News(isLost=True)
    for name, value in silent:
        cursor.execute("UPDATE gateways SET beat = ? WHERE name = ? AND beat = ?", (LEFT, name, value))
    cursor.execute("SELECT name, beat, host, settings FROM gateways")
    rows = cursor.fetchall()
    beats = {name: value for name, value, _, _ in rows}
    gateways = {name: fromText(host, settings) for name, value, host, settings in rows if value != LEFT}
    adopted: list[Entry] = []
    for name in [name for name, value in beats.items() if value == LEFT]:
        del beats[name]
        adopted += _adopt(cursor, own, name, room - len(adopted))
    cursor.execute(f"SELECT {_COLUMNS} FROM exchanges WHERE owner = ? AND is_answered = 1", (own,))  # noqa: S608  # a constant
    answered = _entries(cursor)
    _forEach(cursor, "DELETE FROM exchanges WHERE number = ?", [each.number for each in answered])
    cursor.execute("SELECT jid FROM resources")
    return News(False, beats, gateways, adopted, answered, frozenset(jid for (jid,) in cursor.fetchall()))


def _adopt(cursor: Any, own: str, former: str, room: int) -> list[Entry]:
    """Take over exchanges of a gateway that has ended."""
    cursor.execute("DELETE FROM exchanges WHERE owner = ? AND is_answered = 1", (former,))
    cursor.execute(
        f"SELECT {_COLUMNS} FROM exchanges WHERE owner = ? ORDER BY deadline LIMIT ?",  # noqa: S608  # a constant
        (former, max(0, room)),
    )
    entries = _entries(cursor)
    if len(entries) < room:
        cursor.execute("UPDATE exchanges SET owner = ? WHERE owner = ?", (own, former))
        cursor.execute("DELETE FROM gateways WHERE name = ?", (former,))
    else:
        # There may be more: they wait until there is room.
        for entry in entries:
            cursor.execute("UPDATE exchanges SET owner = ? WHERE number = ?", (own, entry.number))
    return entries


def restore(cursor: Any, entry: Entry, nobody: str) -> None:
    """
    Note that the answer of an exchange was lost. If its owner has forgotten it already, a gateway takes it over.

    @param nobody: a name that no gateway has.
    """
    statement = "UPDATE exchanges SET is_answered = 0 WHERE number = ? RETURNING number"
    if _one(cursor, statement, (entry.number,)) is None:
        cursor.execute("INSERT INTO gateways (name, beat) VALUES (?, ?)", (nobody, LEFT))
        _insert(cursor, nobody, [entry])


def ask(cursor: Any, own: str) -> None:
    """Note that the target is probed: its resources that are online will send presence."""
    cursor.execute("UPDATE resources SET asked = ?", (own,))


def forget(cursor: Any, asked: str) -> None:
    """Remove the resources that have not answered a probe."""
    cursor.execute("DELETE FROM resources WHERE asked = ?", (asked,))


def forgetAll(cursor: Any) -> None:
    """Remove all resources."""
    cursor.execute("DELETE FROM resources")


def _entries(cursor: Any) -> list[Entry]:
    return [Entry(*row) for row in cursor.fetchall()]


def _one(cursor: Any, statement: str, parameters: tuple[object, ...]) -> Any:
    cursor.execute(statement, parameters)
    return next(iter(cursor.fetchall()), None)


def _forEach(cursor: Any, statement: str, values: Sequence[object]) -> None:
    if values:
        cursor.executemany(statement, [(value,) for value in values])
