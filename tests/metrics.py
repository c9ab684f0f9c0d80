"""Metrics that are recorded in memory, and a link that has them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from attrs import define, field
from zope.interface import implementer

from gateway.metrics import LATENCY, ICounter, IGauge, IHistogram, IMetrics, Read
from gateway.stream.core import Limits
from gateway.stream.link import Link
from tests.stream.memory import JID, SECRET, World

Labels = tuple[str, ...]


@define(eq=False)
class Family:
    """All values of one metric."""

    kind: str
    name: str
    text: str
    labels: Labels
    buckets: tuple[float, ...] = ()
    numbers: dict[Labels, float] = field(factory=dict)
    observed: dict[Labels, list[float]] = field(factory=dict)
    functions: dict[Labels, Read] = field(factory=dict)
    before: dict[Labels, float] = field(factory=dict)

    def read(self) -> dict[Labels, Any]:
        """Return the numbers, or lists of observed values, by label values."""
        found: dict[Labels, Any] = dict(self.observed) if self.kind == "histogram" else dict(self.numbers)
        for fixed, read in self.functions.items():
            value = read()
            values = value if isinstance(value, Mapping) else {(): value}
            for key, number in values.items():
                whole = (*fixed, *((key,) if isinstance(key, str) else key))
                assert whole not in found, (self.name, whole)
                found[whole] = float(number)
        for whole, number in found.items():
            assert len(whole) == len(self.labels) and all(isinstance(each, str) for each in whole), (
                self.name,
                whole,
            )
            if self.kind == "counter":
                assert number >= self.before.get(whole, 0.0), (self.name, whole)
                self.before[whole] = number
        return found

    def forget(self, fixed: Labels) -> None:
        """Forget the values of a scope."""
        for table in (self.numbers, self.observed, self.functions, self.before):
            for key in [key for key in table if key[: len(fixed)] == fixed]:
                del table[key]


@implementer(ICounter, IGauge, IHistogram)
@define(eq=False)
class Child:
    """A metric with the values of some or all of its labels."""

    family: Family
    values: Labels

    def labels(self, *values: str) -> Child:
        return Child(self.family, self.values + values)

    def inc(self, amount: float = 1.0) -> None:
        self.family.numbers[self._whole] = self.family.numbers.get(self._whole, 0.0) + amount

    def set(self, value: float) -> None:
        self.family.numbers[self._whole] = value

    def observe(self, value: float) -> None:
        self.family.observed.setdefault(self._whole, []).append(value)

    def setFunction(self, read: Read) -> None:
        self.family.functions[self.values] = read

    @property
    def _whole(self) -> Labels:
        assert len(self.values) == len(self.family.labels), self
        return self.values


@implementer(IMetrics)
class RecordingMetrics:
    """Metrics in memory."""

    isRecording = True

    def __init__(self, families: dict[str, Family] | None = None, fixed: dict[str, str] | None = None) -> None:
        self.families: dict[str, Family] = {} if families is None else families
        self._fixed = fixed or {}
        self._inner: list[RecordingMetrics] = []

    def counter(self, name: str, text: str, labels: Labels = ()) -> Child:
        return self._child("counter", name, text, labels)

    def gauge(self, name: str, text: str, labels: Labels = ()) -> Child:
        return self._child("gauge", name, text, labels)

    def histogram(self, name: str, text: str, labels: Labels = (), buckets: tuple[float, ...] = LATENCY) -> Child:
        return self._child("histogram", name, text, labels, buckets)

    def scope(self, label: str, value: str) -> RecordingMetrics:
        return self._made({**self._fixed, label: value})

    def group(self) -> RecordingMetrics:
        return self._made(self._fixed)

    def _made(self, fixed: dict[str, str]) -> RecordingMetrics:
        made = RecordingMetrics(self.families, fixed)
        self._inner.append(made)
        return made

    def close(self) -> None:
        for each in self._inner:
            each.close()
        for family in self.families.values() if self._fixed else ():
            if family.labels[: len(self._fixed)] == tuple(self._fixed):
                family.forget(tuple(self._fixed.values()))

    def _child(self, kind: str, name: str, text: str, labels: Labels, buckets: tuple[float, ...] = ()) -> Child:
        family = Family(kind, name, text, (*self._fixed, *labels), buckets)
        known = self.families.setdefault(name, family)
        assert (known.kind, known.text, known.labels, known.buckets) == (kind, text, family.labels, buckets), name
        return Child(known, tuple(self._fixed.values()))

    def read(self, metric: tuple[Any, ...]) -> dict[Labels, Any]:
        """Return the values of a metric of the catalogue by label values, without the first label, a link's."""
        family = self.families[metric[0]]
        skipped = len(family.labels) - len(metric[2])
        return {key[skipped:]: value for key, value in family.read().items()}

    def value(self, metric: tuple[Any, ...], *labels: str) -> Any:
        """Return one of them; C{None} if there is none."""
        return self.read(metric).get(labels)


class MeasuredWorld(World):
    """A link whose metrics are recorded."""

    def __init__(self, limits: Limits | None = None, jid: str = JID) -> None:
        super().__init__(limits)
        self.metrics = RecordingMetrics()
        own = self.metrics.scope("component", jid)
        self.link = Link(self.clock, self.endpoint, jid, SECRET, limits, Random(1), metrics=own)
