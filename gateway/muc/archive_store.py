"""
The table of the archives of one service: interactions of a store (L{gateway.interfaces.IStore}).

The messages of a room have numbers without gaps, in the order in which they were shown. Only the oldest ones are
removed (XEP-0313 section 3.2), so numbers also count messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from attrs import frozen

from gateway.errors import NoSuchMessage
from gateway.muc.actions import ForgetArchive, ResumeArchive, ToArchive
from gateway.muc.archive_values import ArchivedMessage, ArchiveEnd, ArchivePage, ArchiveQuery, Retention

# C{upto}: bytes of this message and all before it, in its room. There are few indices, because a commit writes each
# changed page as a whole.
MIGRATION = (
    """
    CREATE TABLE archive (
        room TEXT NOT NULL, number BIGINT NOT NULL, id TEXT NOT NULL, utc BIGINT NOT NULL, upto BIGINT NOT NULL,
        nick TEXT NOT NULL, real_jid TEXT NOT NULL, person TEXT NOT NULL, is_open BIGINT NOT NULL,
        affiliation TEXT NOT NULL, role TEXT NOT NULL, occupant_id TEXT NOT NULL, stanza TEXT,
        language TEXT NOT NULL, payload TEXT NOT NULL, is_subject BIGINT NOT NULL,
        PRIMARY KEY (room, number)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX archive_ids ON archive (room, id)",
)

Step = ToArchive | ResumeArchive | ForgetArchive

# Messages that one call removes at most from a room's beginning: a change of the configuration may concern many.
_STEP = 256
# Bytes of one page, by L{_size}; a page has at least one message.
PAGE_BYTES = 256 * 1024
# Messages of an archive, beside the newest ones of the room, in which those are looked for: this node may have
# shown some of its own since.
_OWN = 1_000
# Estimated bytes of a result beside the parts of L{_size}.
_AROUND = 800
_DAY = 86_400

# The conditions of L{_conditions}.
_FIRST = (
    "SELECT * FROM archive WHERE room = ? AND number >= ? AND number <= ? AND (? = 0 OR nick = ?) "
    "AND (? = 0 OR person = ?) AND (? = 0 OR real_jid = ?) AND (? = 0 OR is_open = 1) "
    "ORDER BY number LIMIT ? OFFSET ?"
)
_LAST = (
    "SELECT * FROM archive WHERE room = ? AND number >= ? AND number <= ? AND (? = 0 OR nick = ?) "
    "AND (? = 0 OR person = ?) AND (? = 0 OR real_jid = ?) AND (? = 0 OR is_open = 1) "
    "ORDER BY number DESC LIMIT ? OFFSET ?"
)
_COUNT = (
    "SELECT count(*) FROM archive WHERE room = ? AND number >= ? AND number <= ? AND (? = 0 OR nick = ?) "
    "AND (? = 0 OR person = ?) AND (? = 0 OR real_jid = ?) AND (? = 0 OR is_open = 1)"
)
_END = "SELECT number, utc, upto FROM archive WHERE room = ? ORDER BY number DESC LIMIT 1"
_IDENTITIES = "SELECT id, nick, stanza, payload FROM archive WHERE room = ? ORDER BY number DESC LIMIT ?"
_APPEND = "INSERT INTO archive VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_NEWEST = "SELECT * FROM archive WHERE room = ? AND is_subject = 0 ORDER BY number DESC LIMIT ?"


def append(cursor: Any, messages: Sequence[ArchivedMessage], retention: Retention) -> None:
    """
    Add messages of one room, and remove the oldest ones that exceed a limit. A message whose id is there already is
    not added again: another node may send it twice.
    """
    room = messages[0].room
    cursor.execute(_END, (room,))
    number, utc, upto = end = cursor.fetchone() or (0, 0, 0)
    rows = []
    for message in messages:
        # Searches by time need the messages in order. As in UtcClock, a clock that was ahead by a day is followed.
        utc = utc if message.utc < utc <= message.utc + _DAY else message.utc
        number, upto = number + 1, upto + _size(message)
        rows.append(_row(message, number, utc, upto))
    # One call for all: each one costs as much as its work.
    cursor.executemany(_APPEND, rows)
    if cursor.rowcount < len(rows) > 1:
        # The numbers have no gaps.
        cursor.execute("DELETE FROM archive WHERE room = ? AND number > ?", (room, end[0]))
        for message in messages:
            append(cursor, (message,), retention)
        return
    limits = number - retention.messages, utc - retention.seconds, upto - retention.bytes
    _trim(cursor, room, *limits, max(_STEP, len(rows)))


def _row(message: ArchivedMessage, number: int, utc: int, upto: int) -> tuple[object, ...]:
    sender = message.nick, message.realJid, message.person, int(message.isOpen), message.affiliation, message.role
    content = message.occupantId, message.stanza, message.language, message.payload, int(message.isSubject)
    return message.room, number, message.id, utc, upto, *sender, *content


def apply(cursor: Any, steps: Sequence[Step], retention: Retention) -> None:
    """Carry out changes in their order."""
    # Messages that are not added yet, by room: rooms do not depend on each other.
    new: dict[str, list[ArchivedMessage]] = {}
    for step in steps:
        if isinstance(step, ToArchive):
            new.setdefault(step.message.room, []).append(step.message)
            continue
        _appendAll(cursor, new, retention)
        if isinstance(step, ResumeArchive):
            resume(cursor, step.room, step.messages, retention)
        else:
            forget(cursor, step.room)
    _appendAll(cursor, new, retention)


def _appendAll(cursor: Any, new: dict[str, list[ArchivedMessage]], retention: Retention) -> None:
    for messages in new.values():
        append(cursor, messages, retention)
    new.clear()


def resume(cursor: Any, room: str, messages: tuple[ArchivedMessage, ...], retention: Retention) -> None:
    """
    Continue the archive of a mirror that joins its room again.

    Section 3.2: "it is not permitted to create gaps". The archive continues if it has one of the room's newest
    messages. If not, messages are missing, or another room has the address now: then it begins anew. A message that
    was shown here first may have another id in the room, or come later there; or the room has refused it. Anybody
    may say the same once more, so the archive continues with such a message only if it is the oldest one.

    @param messages: the newest ones of the room, oldest first.
    """
    cursor.execute(_IDENTITIES, (room, len(messages) + _OWN))
    rows, here = cursor.fetchall(), {each.id for each in messages}
    ids = {identifier for identifier, *_ in rows}
    # Those that may have another id in the room, each of them once.
    own = Counter((nick, stanza, payload) for identifier, nick, stanza, payload in rows if identifier not in here)
    missing: list[ArchivedMessage] = []
    isContinued = False
    for each in messages:
        content = each.nick, each.stanza, each.payload
        if each.id in ids:
            if not isContinued:
                # Earlier ones are older than the archive.
                isContinued, missing = True, []
        elif each.stanza and own[content] > 0:
            own[content] -= 1
            isContinued = isContinued or each is messages[0]
        else:
            missing.append(each)
    if not isContinued:
        forget(cursor, room)
        missing = list(messages)
    if missing:
        append(cursor, missing, retention)
    others = [each for each in _rooms(cursor) if each != room]
    for _ in range(len(others) + 1 - retention.rooms):
        oldest = min(others, key=lambda each: _lastTime(cursor, each))
        others.remove(oldest)
        forget(cursor, oldest)


def forget(cursor: Any, room: str) -> None:
    """Remove the archive of a room."""
    cursor.execute("DELETE FROM archive WHERE room = ?", (room,))


def keepOnly(cursor: Any, rooms: frozenset[str]) -> None:
    """Remove the archives of rooms that do not exist: others may make new rooms with these addresses."""
    for room in [each for each in _rooms(cursor) if each not in rooms]:
        forget(cursor, room)


@frozen
class Swept:
    """
    The result of L{sweep}.

    @ivar room: the last room; empty if the next call begins anew.
    @ivar isDone: False if there may be more to remove now.
    """

    room: str
    isDone: bool


def sweep(cursor: Any, after: str, most: int, utc: float, retention: Retention) -> Swept:
    """
    Remove old messages of some rooms: in a room without new messages, nothing else does. Others wait for the
    store meanwhile, so that one call removes few messages.

    @param after: the last room of the last call.
    @param most: number of rooms.
    """
    room, removed = "", 0
    for each in islice(_rooms(cursor, after), most):
        number = _ends(cursor, each)[1] - retention.messages
        found = _trim(cursor, each, number, utc - retention.seconds, -1, _STEP)
        removed += found
        if found < _STEP:
            room = each
        if removed >= _STEP:
            # A room that may have more is the first of the next call.
            return Swept(room or after, False)
    return Swept(room, True)


def _trim(cursor: Any, room: str, number: int, utc: float, upto: int, most: int) -> int:
    """
    Remove the oldest messages: those up to a number, before a time, or up to a number of bytes.

    @return: the number of removed messages; at most C{most}.
    """
    cursor.execute("SELECT number, utc, upto FROM archive WHERE room = ? ORDER BY number LIMIT ?", (room, most))
    last, count = None, 0
    for row in cursor:
        if row[0] > number and row[1] >= utc and row[2] > upto:
            break
        last, count = row[0], count + 1
    if last is not None:
        cursor.execute("DELETE FROM archive WHERE room = ? AND number <= ?", (room, last))
    return count


def _rooms(cursor: Any, after: str = "") -> Iterator[str]:
    """Yield the rooms with archives, in their order; each costs one search."""
    while True:
        cursor.execute("SELECT room FROM archive WHERE room > ? ORDER BY room LIMIT 1", (after,))
        found = cursor.fetchone()
        if found is None:
            return
        [after] = found
        yield after


def _lastTime(cursor: Any, room: str) -> int:
    cursor.execute("SELECT utc FROM archive WHERE room = ? ORDER BY number DESC LIMIT 1", (room,))
    return int(cursor.fetchone()[0])


def _size(message: ArchivedMessage) -> int:
    """Return the bytes of a result; the nick is in it twice."""
    return message.size + len(message.nick) + _AROUND


def newest(cursor: Any, most: int, size: int) -> dict[str, list[ArchivedMessage]]:
    """
    Return the newest messages of each room, oldest first, without those that set the subject.

    @param most: number of messages of a room.
    @param size: bytes of the messages, which only the oldest one exceeds: the messages of all rooms are in memory
        at once.
    """
    found = {}
    for room in list(_rooms(cursor)):
        cursor.execute(_NEWEST, (room, most))
        messages, left = [], size
        for message in map(_message, cursor):
            messages.append(message)
            left -= message.size
            if left < 0:
                break
        found[room] = messages[::-1]
    return found


def ends(cursor: Any, room: str) -> tuple[ArchiveEnd, ArchiveEnd] | None:
    """Return the first and the last message of an archive; C{None} if it is empty."""
    numbers = _ends(cursor, room)
    if numbers[0] > numbers[1]:
        return None
    found = []
    for number in numbers:
        cursor.execute("SELECT id, utc FROM archive WHERE room = ? AND number = ?", (room, number))
        found.append(ArchiveEnd(*cursor.fetchone()))
    return found[0], found[1]


def page(cursor: Any, query: ArchiveQuery) -> ArchivePage:
    """
    Return a page of an archive.

    @raise NoSuchMessage: if the archive does not have a message whose id is in the query. Section 4.1.3: the server
        "MUST return an item-not-found error".
    """
    room = query.room
    first, last = _ends(cursor, room)
    first = max(first, _numberOf(cursor, room, query.afterId) + 1 if query.afterId else first)
    last = min(last, _numberOf(cursor, room, query.beforeId) - 1 if query.beforeId else last)
    if query.start is not None:
        first = _firstSince(cursor, room, query.start, first, last)
    if query.end is not None:
        last = _firstSince(cursor, room, query.end + 1, first, last) - 1
    low = max(first, _numberOf(cursor, room, query.after) + 1 if query.after else first)
    high = min(last, _numberOf(cursor, room, query.before) - 1 if query.before else last)
    if query.ids is not None:
        return _pageOf(cursor, query, query.ids, (first, last), (low, high))
    conditions = _conditions(query)
    statement = _LAST if query.isBackwards else _FIRST
    cursor.execute(statement, (room, low, high, *conditions, query.limit + 1, query.offset))
    found, isComplete = _fitting(cursor, query.limit)
    count = _count(cursor, room, first, last, conditions)
    index = _count(cursor, room, first, min(number for number, _ in found) - 1, conditions) if found else 0
    return _pageWith(found, isComplete, count, index)


# Messages of a page, with their numbers, in the order of the search.
_Numbered = list[tuple[int, ArchivedMessage]]


def _pageOf(
    cursor: Any, query: ArchiveQuery, ids: tuple[str, ...], selected: tuple[int, int], paged: tuple[int, int]
) -> ArchivePage:
    """
    Return a page of messages with some ids.

    @param selected: the first and the last number that the filters select.
    @param paged: the same, of those that the page may have.
    """
    numbers = sorted(_numberOf(cursor, query.room, identifier) for identifier in ids)
    rows = []
    for number in numbers:
        if selected[0] <= number <= selected[1]:
            cursor.execute(_FIRST, (query.room, number, number, *_conditions(query), 1, 0))
            rows += cursor.fetchall()
    of = [row for row in rows if paged[0] <= row[1] <= paged[1]]
    found, isComplete = _fitting((of[::-1] if query.isBackwards else of)[query.offset :], query.limit)
    first = min((number for number, _ in found), default=0)
    index = sum(row[1] < first for row in rows)
    return _pageWith(found, isComplete, len(rows), index)


def _pageWith(found: _Numbered, isComplete: bool, count: int, index: int) -> ArchivePage:
    messages = tuple(message for _, message in sorted(found, key=itemgetter(0)))
    return ArchivePage(messages=messages, isComplete=isComplete, count=count, index=index)


def _fitting(rows: Iterable[tuple[Any, ...]], limit: int) -> tuple[_Numbered, bool]:
    """Return the messages that fit into a page, and True if these are all."""
    found: _Numbered = []
    size = 0
    for row in rows:
        message = _message(row)
        size += _size(message)
        if len(found) == limit or (found and size > PAGE_BYTES):
            return found, False
        found.append((row[1], message))
    return found, True


def _conditions(query: ArchiveQuery) -> tuple[object, ...]:
    """Return the values of the conditions beside the range of numbers."""
    sender = query.sender or ""
    isFull = "/" in sender
    return (
        *(int(query.nick is not None), query.nick or ""),
        *(int(bool(sender) and not isFull), sender),
        *(int(isFull), sender),
        int(bool(sender) and not query.seesAll),
    )


def _count(cursor: Any, room: str, first: int, last: int, conditions: tuple[object, ...]) -> int:
    if not any(conditions):
        return max(0, last - first + 1)
    cursor.execute(_COUNT, (room, first, last, *conditions))
    return int(cursor.fetchone()[0])


def _ends(cursor: Any, room: str) -> tuple[int, int]:
    """Return the first and the last number of an archive; of an empty one, the first is after the last."""
    cursor.execute("SELECT min(number) FROM archive WHERE room = ?", (room,))
    [first] = cursor.fetchone()
    cursor.execute("SELECT max(number) FROM archive WHERE room = ?", (room,))
    [last] = cursor.fetchone()
    return (1, 0) if first is None or last is None else (first, last)


def _numberOf(cursor: Any, room: str, identifier: str) -> int:
    """
    Return the number of a message.

    @raise NoSuchMessage: if there is none with this id.
    """
    cursor.execute("SELECT number FROM archive WHERE room = ? AND id = ?", (room, identifier))
    found = cursor.fetchone()
    if found is None:
        raise NoSuchMessage
    return int(found[0])


def _firstSince(cursor: Any, room: str, utc: int, first: int, last: int) -> int:
    """
    Return the number of the first of some messages that was sent at a time or later; the one after C{last} if all
    were sent before. The messages are in the order of their times: an index of these is not worth its cost.
    """
    while first <= last:
        middle = (first + last) // 2
        cursor.execute("SELECT utc FROM archive WHERE room = ? AND number = ?", (room, middle))
        [found] = cursor.fetchone()
        if found < utc:
            first = middle + 1
        else:
            last = middle - 1
    return first


def _message(row: tuple[Any, ...]) -> ArchivedMessage:
    room, _, identifier, utc, _, nick, realJid, person, isOpen, affiliation, role, occupantId, *rest = row
    stanza, language, payload, isSubject = rest
    return ArchivedMessage(
        room=room,
        id=identifier,
        utc=utc,
        nick=nick,
        realJid=realJid,
        person=person,
        isOpen=bool(isOpen),
        affiliation=affiliation,
        role=role,
        occupantId=occupantId,
        stanza=stanza,
        language=language,
        payload=payload,
        isSubject=bool(isSubject),
    )
