"""
Counts the stanzas and bytes of a stream: of each chunk at once, without a call for each stanza. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

from gateway.stream.core import Event, Limits, Splitter
from gateway.stream.outflow import MAX_PARTS, Copies, Outflow
from gateway.stream.stanzas import TAGS, Stanza

RECEIVED, SENT = "received", "sent"
_OTHER = "other"
# Kinds by the second byte of a serialised stanza; bytes of their end tags.
_KINDS = {opening[1]: kind for kind, (opening, _) in TAGS.items()}
_ENDS = {kind: len(ending) for kind, (_, ending) in TAGS.items()}


class Traffic:
    """
    The counters of one link, whose connections share them.

    @ivar received: number of received stanzas by kind.
    @ivar receivedBytes: their bytes.
    @ivar sent: number of sent stanzas, by the second byte of each; 0 for output that is shorter.
    @ivar sentBytes: their bytes.
    @ivar sizes: bytes of the streams by direction.
    """

    def __init__(self) -> None:
        self.received: defaultdict[str, int] = defaultdict(int)
        self.receivedBytes: defaultdict[str, int] = defaultdict(int)
        self.sent: defaultdict[int, int] = defaultdict(int)
        self.sentBytes: defaultdict[int, int] = defaultdict(int)
        self.sizes = {RECEIVED: 0, SENT: 0}

    def stanzas(self) -> dict[tuple[str, ...], int]:
        """Return the numbers of stanzas by kind and direction. Stream headers and handshakes are another kind."""
        return _byKind(self.received, self.sent)

    def stanzaBytes(self) -> dict[tuple[str, ...], int]:
        """Return the bytes of these stanzas by kind and direction."""
        return _byKind(self.receivedBytes, self.sentBytes)


def _byKind(received: Mapping[str, int], sent: Mapping[int, int]) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {(kind, RECEIVED): received.get(kind, 0) for kind in _KINDS.values()}
    found |= {(kind, SENT): sent.get(second, 0) for second, kind in _KINDS.items()}
    found[_OTHER, SENT] = sum(count for second, count in sent.items() if second not in _KINDS)
    return found


class CountingSplitter(Splitter):
    """A splitter that counts what it reads."""

    def __init__(self, namespace: str, limits: Limits | None, traffic: Traffic) -> None:
        super().__init__(namespace, limits)
        self._traffic = traffic

    def feed(self, data: bytes) -> list[Event]:
        traffic = self._traffic
        size = self._restSize + len(data)
        events = Splitter.feed(self, data)
        traffic.sizes[RECEIVED] += len(data)
        if not events:
            return events
        kind = ""
        for event in events:
            if event.__class__ is not Stanza or (event.name != kind and kind):
                kind = ""
                break
            kind = event.name
        if kind and self._skipper is None:
            # Nearly always all stanzas of a chunk are of one kind. Then each need not be counted.
            traffic.received[kind] += len(events)
            traffic.receivedBytes[kind] += size - self._restSize
        else:
            received, receivedBytes = traffic.received, traffic.receivedBytes
            for event in events:
                if event.__class__ is Stanza:
                    name = event.name
                    received[name] += 1
                    receivedBytes[name] += len(event.raw) + _ENDS[name] if event.cut else len(event.whole)
        return events


class CountingOutflow(Outflow):
    """A queue of output that counts what is taken from it. Copies count when the last of them is taken."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    def putJoined(self, copies: Copies) -> None:
        super().putJoined(copies)
        # All copies are one part, which counts as one stanza when it is taken.
        self._traffic.sent[_second(copies.before)] += len(copies.recipients) - 1

    def take(self, most: int) -> bytes:
        traffic = self._traffic
        if self.takesAll(most):
            kind = _onlyKind(self.parts)  # type: ignore[arg-type]  # all of them are bytes
            if kind:
                traffic.sent[kind] += len(self.parts)
                traffic.sentBytes[kind] += self.size
            else:
                self._count(self.parts)
            taken = Outflow.take(self, most)
        else:
            before, there = len(self.parts), tuple(islice(self.parts, MAX_PARTS))
            taken = Outflow.take(self, most)
            self._count(there[: before - len(self.parts)])
        traffic.sizes[SENT] += len(taken)
        return taken

    def _count(self, parts: Iterable[bytes | Copies]) -> None:
        sent, sentBytes = self._traffic.sent, self._traffic.sentBytes
        for part in parts:
            if isinstance(part, bytes):
                size = len(part)
                kind = part[1] if size > 1 else 0
                sent[kind] += 1
                sentBytes[kind] += size
            else:
                kind = _second(part.before)
                sent[kind] += len(part.recipients)
                sentBytes[kind] += part.size


def _second(data: bytes) -> int:
    return data[1] if len(data) > 1 else 0


def _onlyKind(parts: Iterable[bytes]) -> int:
    """Return the second byte of all parts; 0 if they differ, or one is shorter."""
    kind = 0
    try:
        for data in parts:
            if data[1] != kind:
                if kind:
                    return 0
                kind = data[1]
    except IndexError:
        return 0
    return kind
