"""
Counts the stanzas and bytes of a stream: of each chunk at once, without a call for each stanza. Pure.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from itertools import islice

from gateway.stream.core import Event, Limits, Splitter
from gateway.stream.outflow import MAX_PARTS, Copies, Outflow
from gateway.stream.stanzas import TAGS, Stanza

RECEIVED, SENT = "received", "sent"
_OTHER = "other"
# Kinds by the second byte of a serialised stanza; bytes of their end tags.
_KINDS = {opening[1:2]: kind for kind, (opening, _) in TAGS.items()}
_ENDS = {kind: len(ending) for kind, (_, ending) in TAGS.items()}


class Traffic:
    """
    The counters of one link, whose connections share them.

    @ivar received: number of received stanzas by kind.
    @ivar receivedBytes: their bytes.
    @ivar sent: number of sent stanzas, by the second byte of each; empty for output that is shorter.
    @ivar sentBytes: their bytes.
    @ivar sizes: bytes of the streams by direction.
    """

    def __init__(self) -> None:
        self.received: defaultdict[str, int] = defaultdict(int)
        self.receivedBytes: defaultdict[str, int] = defaultdict(int)
        self.sent: defaultdict[bytes, int] = defaultdict(int)
        self.sentBytes: defaultdict[bytes, int] = defaultdict(int)
        self.sizes = {RECEIVED: 0, SENT: 0}

    def stanzas(self) -> dict[tuple[str, ...], int]:
        """Return the numbers of stanzas by kind and direction. Stream headers and handshakes are another kind."""
        return _byKind(self.received, self.sent)

    def stanzaBytes(self) -> dict[tuple[str, ...], int]:
        """Return the bytes of these stanzas by kind and direction."""
        return _byKind(self.receivedBytes, self.sentBytes)


def _byKind(received: Mapping[str, int], sent: Mapping[bytes, int]) -> dict[tuple[str, ...], int]:
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
        traffic, received = self._traffic, self._traffic.received
        size = self._restSize + len(data)
        events = super().feed(data)
        traffic.sizes[RECEIVED] += len(data)
        if not events:
            return events
        first = events[0]
        kind = first.name if first.__class__ is Stanza else _OTHER
        before = received[kind]
        for event in events:
            if event.__class__ is Stanza:
                received[event.name] += 1
        if received[kind] - before == len(events) and self._skipper is None:
            # Nearly always all stanzas of a chunk are of one kind. Then their sizes need not be added up.
            traffic.receivedBytes[kind] += size - self._restSize
        else:
            for event in events:
                if event.__class__ is Stanza:
                    name = event.name
                    length = len(event.raw) + _ENDS[name] if event.cut else len(event.whole)
                    traffic.receivedBytes[name] += length
        return events


class CountingOutflow(Outflow):
    """A queue of output that counts what is taken from it. Copies count when the last of them is taken."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    def putJoined(self, copies: Copies) -> None:
        super().putJoined(copies)
        # The part counts as the last of them.
        self._traffic.sent[copies.before[1:2]] += len(copies.recipients) - 1

    def take(self, most: int) -> bytes:
        traffic, sent = self._traffic, self._traffic.sent
        if self.takesAll(most):
            parts: deque[bytes] = self.parts  # type: ignore[assignment]  # all of them are bytes
            kind = parts[0][1:2] if parts else b""
            before = sent[kind]
            for data in parts:
                sent[data[1:2]] += 1
            if sent[kind] - before == len(parts):
                traffic.sentBytes[kind] += self.size
            else:
                for data in parts:
                    traffic.sentBytes[data[1:2]] += len(data)
            taken = super().take(most)
        else:
            count, there = len(self.parts), tuple(islice(self.parts, MAX_PARTS))
            taken = super().take(most)
            for part in there[: count - len(self.parts)]:
                if isinstance(part, Copies):
                    sent[part.before[1:2]] += len(part.recipients)
                    traffic.sentBytes[part.before[1:2]] += part.size
                else:
                    sent[part[1:2]] += 1
                    traffic.sentBytes[part[1:2]] += len(part)
        traffic.sizes[SENT] += len(taken)
        return taken
