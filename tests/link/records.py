"""
Records of a fault run: messages that the occupants of a room and of its mirror have sent and seen. Pure.

L{check} compares them with the archives of both ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import define, field

# Seconds before a process is killed in which a message may be lost with it.
_IN_FLIGHT = 5.0

# Stanza id and body of a message.
Message = tuple[str, str]


@define(eq=False)
class Record:
    """
    One occupant. The body of a message is its id: the nick, a dot, and a number.

    @ivar isRefused: True if messages are refused while the other end is away: the mirror is a replica.
    @ivar said: times by the bodies of all messages.
    @ivar refused: conditions by the bodies of the messages that came back.
    @ivar shown: messages that were shown live, in their order.
    @ivar readings: after each return the last stanza id that was known, and those that the archive had after it.
    @ivar gaps: intervals of places in C{shown} before which messages may be missing: the gateway was killed when it
        had stored them. The archive has these.
    @ivar outages: intervals of time in which the occupant's client, server or gateway was away.
    """

    nick: str
    isRefused: bool = False
    said: dict[str, float] = field(factory=dict)
    refused: dict[str, str] = field(factory=dict)
    shown: list[Message] = field(factory=list)
    readings: list[tuple[str, list[str]]] = field(factory=list)
    gaps: list[tuple[int, int]] = field(factory=list)
    outages: list[tuple[float, float]] = field(factory=list)

    def isOut(self, at: float) -> bool:
        """True if a message of this time may be lost, or returned by the server."""
        return any(start - _IN_FLIGHT <= at <= end for start, end in self.outages)


@define
class Figures:
    """
    @ivar said: messages.
    @ivar shown: those that both archives have.
    @ivar deliveries: copies of them that were shown live.
    @ivar refused: messages that came back, by condition.
    @ivar lost: messages that were neither stored nor refused, because a process was killed before it had them.
    @ivar read: copies that are missing because a gateway was killed after it had stored them: only in the archive.
    """

    said: int = 0
    shown: int = 0
    deliveries: int = 0
    refused: Counter[str] = field(factory=Counter)
    lost: int = 0
    read: int = 0


def check(ends: Sequence[tuple[Sequence[Message], Sequence[Record]]], isOneOrder: bool) -> Figures:
    """
    Check a room and its mirror: each message is at both ends once, or was refused; each sender's are in order.

    @param ends: for the room, and for the mirror: the archive, and the records of the occupants there.
    @param isOneOrder: True if both ends must have one order.
    @raise AssertionError: if it is not so.
    """
    figures = Figures()
    records = [record for _, each in ends for record in each]
    for archive, _ in ends:
        _checkEnd(archive, records)
    first, second = (archive for archive, _ in ends)
    if isOneOrder:
        place = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
        assert list(first) == list(second), (
            f"the orders differ from {place} on: {first[place:][:5]}, {second[place:][:5]}"
        )
    bodies = {body for _, body in first}
    differ = bodies ^ {body for _, body in second}
    assert not differ, f"only one end has {sorted(differ)}"
    for archive, there in ends:
        for record in there:
            figures.read += _checkShown(archive, record)
            figures.deliveries += len(record.shown)
    for record in records:
        figures.lost += _checkSaid(bodies, record)
        figures.said += len(record.said)
        figures.refused.update(record.refused.values())
    figures.shown = len(bodies)
    return figures


def _checkEnd(archive: Sequence[Message], records: Iterable[Record]) -> None:
    """Check an archive: no message is there twice, and those of each sender are in order."""
    for name, values in (("id", [id_ for id_, _ in archive]), ("message", [body for _, body in archive])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        assert not twice, f"an {name} is there twice: {twice}"
    places = {body: place for place, (_, body) in enumerate(archive)}
    for record in records:
        own = [(places[body], body) for body in record.said if body in places]
        wrong = [own[n - 1 : n + 1] for n in range(1, len(own)) if own[n - 1] >= own[n]]
        assert not wrong, f"messages of {record.nick} are in another order: {wrong}"


def _checkShown(archive: Sequence[Message], record: Record) -> int:
    """Check what was shown to an occupant; return the number of messages that only the archive has."""
    nick = record.nick
    place = {identifier: number for number, (identifier, _) in enumerate(archive)}
    unknown = [each for each in record.shown if archive[place.get(each[0], 0)] != each]
    assert not unknown, f"shown to {nick}, and not in the archive: {unknown}"
    places = [place[identifier] for identifier, _ in record.shown]
    wrong = [record.shown[n] for n in range(1, len(places)) if places[n - 1] >= places[n]]
    assert not wrong, f"{nick} was shown messages twice, or in another order: {wrong}"
    seen = set(places)
    for after, read in record.readings:
        start = place[after] + 1 if after else 0
        assert read == [identifier for identifier, _ in archive[start : start + len(read)]], (
            f"{nick} has not read what was said after {after}"
        )
        seen.update(range(start, start + len(read)))
    missing = [each for each in range(places[0], len(archive)) if each not in seen]
    for each in missing:
        before = bisect_left(places, each)
        isKilled = any(start <= before <= end for start, end in record.gaps)
        assert isKilled, f"{nick} was not shown {archive[each]}, after {record.shown[before - 1]}"
    return len(missing)


def _checkSaid(bodies: set[str], record: Record) -> int:
    """Check that what an occupant has sent was shown or refused; return the number of messages that were lost."""
    nick = record.nick
    both = bodies & set(record.refused)
    assert not both, f"shown though {nick} got an error: {[(each, record.refused[each]) for each in sorted(both)]}"
    lost = [body for body in record.said if body not in bodies and body not in record.refused]
    silent = [(body, record.said[body]) for body in lost if not record.isOut(record.said[body])]
    assert not silent, f"lost, and {nick} was not told: {silent}; outages: {record.outages}"
    if not record.isRefused:
        wrong = [body for body in record.refused if not record.isOut(record.said[body])]
        assert not wrong, f"refused to {nick}: {[(body, record.refused[body]) for body in wrong]}"
    return len(lost)
