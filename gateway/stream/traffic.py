"""
Counts the stanzas and bytes of a stream: of each chunk at once, without a call for each stanza. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

from gateway.stream.core import Event, Limits, Splitter
from gateway.stream.outflow import MAX_PARTS, Copies, Outflow
from gateway.stream.stanzas import TAGS, Stanza

RECEIVED, SENT = "received", "sent"
_OTHER = "other"
# Kinds by the second byte of a serialised stanza.
_KINDS = {opening[1:2]: kind for kind, (opening, _) in TAGS.items()}


class Traffic:
    """
    The counters of one link, whose connections share them.

    @ivar received: number of received stanzas by kind.
    @ivar sent: number of sent stanzas, by the second byte of each; empty for output that is shorter.
    @ivar sizes: bytes of the streams by direction.
    """

    def __init__(self) -> None:
        self.received: defaultdict[str, int] = defaultdict(int)
        self.sent: defaultdict[bytes, int] = defaultdict(int)
        self.sizes = {RECEIVED: 0, SENT: 0}

    def stanzas(self) -> dict[tuple[str, ...], int]:
        """Return the numbers of stanzas by kind and direction. Stream headers and handshakes are another kind."""
        found: dict[tuple[str, ...], int] = {(kind, RECEIVED): self.received[kind] for kind in _KINDS.values()}
        found |= {(kind, SENT): self.sent[second] for second, kind in _KINDS.items()}
        found[_OTHER, SENT] = sum(count for second, count in self.sent.items() if second not in _KINDS)
        return found

    def countJoined(self, stanzas: Iterable[bytes]) -> None:
        """Count stanzas that are written as one part: all but the first, which counts as a part."""
        for data in islice(stanzas, 1, None):
            self.sent[data[1:2]] += 1


class CountingSplitter(Splitter):
    """A splitter that counts what it reads."""

    def __init__(self, namespace: str, limits: Limits | None, traffic: Traffic) -> None:
        super().__init__(namespace, limits)
        self._traffic = traffic

    def feed(self, data: bytes) -> list[Event]:
        events = super().feed(data)
        self._traffic.sizes[RECEIVED] += len(data)
        received = self._traffic.received
        for event in events:
            if event.__class__ is Stanza:
                received[event.name] += 1
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
        sent = self._traffic.sent
        if self.takesAll(most):
            for data in self.parts:
                sent[data[1:2]] += 1  # type: ignore[index]  # all of them are bytes
            taken = super().take(most)
        else:
            before, there = len(self.parts), tuple(islice(self.parts, MAX_PARTS))
            taken = super().take(most)
            for part in there[: before - len(self.parts)]:
                if isinstance(part, Copies):
                    sent[part.before[1:2]] += len(part.recipients)
                else:
                    sent[part[1:2]] += 1
        self._traffic.sizes[SENT] += len(taken)
        return taken
