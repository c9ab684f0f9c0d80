"""
Metrics that Prometheus reads: the implementation of L{IMetrics} that records.

The numbers are kept here, not in the classes of C{prometheus_client}: these take a lock at each change, and take
from a function only one number, not numbers by label values. The library is used for the formats, the check for
clashes of names, and the metrics of the process.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.logger import Logger
from zope.interface import implementer

from gateway.metrics import LATENCY, NO_METRIC, ICounter, IGauge, IHistogram, IMetrics, Read

_Values = tuple[str, ...]

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# The end of a page in OpenMetrics.
_EOF = b"# EOF\n"

# Label values of one metric. More of them can only be a fault, such as users in a label.
_MAX_SERIES = 10_000

_log = Logger()


@implementer(ICounter, IGauge, IHistogram)
class _Child:
    """
    A metric with values of some or all of its labels.

    @ivar values: of the first labels.
    @ivar read: returns the number, or the numbers by the values of the other labels.
    """

    def __init__(self, scope: PrometheusMetrics, family: _Family, values: _Values) -> None:
        self._scope = scope
        self.family = family
        self.values = values
        self.read: Read | None = None

    def labels(self, *values: str) -> Any:
        return self._scope.child(self.family, self.values + values)

    def setFunction(self, read: Read) -> None:
        self.read = read

    def inc(self, amount: float = 1.0) -> None:
        raise self.family.incomplete()

    def set(self, value: float) -> None:
        raise self.family.incomplete()

    def observe(self, value: float) -> None:
        raise self.family.incomplete()


class _Number(_Child):
    """A counter or gauge with values of all labels."""

    value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value


class _Distribution(_Child):
    """
    A histogram with values of all labels.

    @ivar counts: of each bucket, without those below it; the last bucket has no bound.
    """

    def __init__(self, scope: PrometheusMetrics, family: _Family, values: _Values) -> None:
        super().__init__(scope, family, values)
        self._bounds = family.buckets
        self.counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class _Family:
    """
    One metric with all its numbers, in the form that C{prometheus_client} collects.

    @ivar children: by the values of their labels.
    """

    def __init__(self, kind: str, name: str, text: str, labels: _Values, buckets: tuple[float, ...]) -> None:
        """@raise ValueError: if Prometheus would not accept the metric."""
        if not all(map(_NAME.fullmatch, (name, *labels))) or len(set(labels)) < len(labels):
            raise ValueError(f"{name}: not a valid name, or not valid names of labels: {labels}")
        if any(label.startswith("__") or label == "le" for label in labels):
            raise ValueError(f"{name}: a reserved name of a label: {labels}")
        if (kind == "counter") is not name.endswith("_total"):
            raise ValueError(f"{name}: the names of counters, and no others, end in _total")
        if list(buckets) != sorted(set(buckets)):
            raise ValueError(f"{name}: the buckets are not in rising order: {buckets}")
        self.kind, self.name, self.text, self.labels, self.buckets = kind, name, text, labels, buckets
        self.children: dict[_Values, _Child] = {}
        self._bounds = [*map(floatToGoString, buckets), "+Inf"]
        self._isFaulty = False

    def describe(self) -> list[Metric]:
        """Return the metric without numbers, for the check whether names clash."""
        return [self._empty()]

    def collect(self) -> list[Metric]:
        """Return the metric."""
        metric = self._empty()
        isFaulty = False
        # A dictionary, because Prometheus refuses a page on which a number is twice.
        numbers: dict[_Values, float] = {}
        for values, child in self.children.items():
            if isinstance(child, _Distribution):
                buckets = list(zip(self._bounds, accumulate(child.counts), strict=True))
                metric.add_metric(values, buckets, child.sum)
            elif child.read is not None:
                try:
                    numbers.update(self._read(values, child.read))
                except Exception:
                    isFaulty = True
                    if not self._isFaulty:
                        _log.failure("The metric {name} cannot be read.", event="metrics.not_read", name=self.name)
            elif isinstance(child, _Number):
                numbers[values] = child.value
        self._isFaulty = isFaulty
        for values, number in numbers.items():
            metric.add_metric(values, number)
        return [metric]

    def _read(self, values: _Values, read: Read) -> dict[_Values, float]:
        found = read()
        more = found if isinstance(found, Mapping) else {(): found}
        numbers = {
            (*values, *((key,) if isinstance(key, str) else key)): float(number) for key, number in more.items()
        }
        for each in numbers:
            self.check(each)
            if len(each) < len(self.labels):
                raise self.incomplete()
        return numbers

    def check(self, values: _Values) -> None:
        """@raise ValueError: if these cannot be values of the labels, or of the first of them."""
        if len(values) > len(self.labels) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"{self.name}: not values of the labels {self.labels}: {values}")
        for value in values:
            # A lone surrogate cannot be written.
            value.encode()

    def incomplete(self) -> ValueError:
        """Return the error for a number without values of all labels."""
        return ValueError(f"{self.name}: no number without values of all labels: {self.labels}")

    def _empty(self) -> Any:
        if self.kind == "counter":
            return CounterMetricFamily(self.name, self.text, labels=self.labels)
        if self.kind == "gauge":
            return GaugeMetricFamily(self.name, self.text, labels=self.labels)
        return HistogramMetricFamily(self.name, self.text, labels=self.labels)


class _Families:
    """
    The metrics of a gateway.

    @ivar collectors: of each metric, and of the process.
    """

    def __init__(self) -> None:
        # auto_describe: it also finds the names of metrics that have no method describe().
        self._registry = CollectorRegistry(auto_describe=True)
        self._byName: dict[str, _Family] = {}
        self.collectors: list[Collector] = [ProcessCollector(registry=self._registry), GCCollector(self._registry)]

    def get(self, kind: str, name: str, text: str, labels: _Values, buckets: tuple[float, ...] = ()) -> _Family:
        """
        Return a metric, always the same one.

        @raise ValueError: if it is not valid, or another one has this name or one of its names.
        """
        known = self._byName.get(name)
        if known is None:
            known = _Family(kind, name, text, labels, buckets)
            try:
                self._registry.register(known)
            except ValueError as error:
                raise ValueError(f"{name}: clashes with the names of another metric") from error
            self._byName[name] = known
            self.collectors.append(known)
        elif (kind, text, labels, buckets) != (known.kind, known.text, known.labels, known.buckets):
            raise ValueError(f"{name}: is registered already, with another kind, text, labels or buckets")
        return known


@implementer(IMetrics)
class PrometheusMetrics:
    """The metrics of one gateway, or a scope of them."""

    isRecording = True

    def __init__(self, parent: PrometheusMetrics | None = None, label: str = "", value: str = "") -> None:
        """
        @param parent: C{None} for all metrics of a gateway.
        @param label: in addition to those of the parent; empty for none.
        """
        self._parent = parent
        self._families: _Families = _Families() if parent is None else parent._families
        self._labels: _Values = () if parent is None else parent._labels
        self._values: _Values = () if parent is None else parent._values
        if label:
            self._labels += (label,)
            self._values += (value,)
        self._inner: dict[PrometheusMetrics, None] = {}
        self._children: dict[tuple[str, _Values], _Child] = {}
        self._isClosed = False

    @property
    def collectors(self) -> Iterable[Collector]:
        """Each metric of the gateway, in the form that C{prometheus_client} collects."""
        return self._families.collectors

    def counter(self, name: str, text: str, labels: _Values = ()) -> Any:
        return self._metric("counter", name, text, labels)

    def gauge(self, name: str, text: str, labels: _Values = ()) -> Any:
        return self._metric("gauge", name, text, labels)

    def histogram(self, name: str, text: str, labels: _Values = (), buckets: tuple[float, ...] = LATENCY) -> Any:
        return self._metric("histogram", name, text, labels, buckets)

    def _metric(self, kind: str, name: str, text: str, labels: _Values, buckets: tuple[float, ...] = ()) -> Any:
        family = self._families.get(kind, name, text, (*self._labels, *labels), buckets)
        return self.child(family, self._values)

    def child(self, family: _Family, values: _Values) -> Any:
        """Return the metric with these values of labels, always the same one."""
        known = self._children.get((family.name, values))
        if known is not None:
            return known
        family.check(values)
        if len(family.children) >= _MAX_SERIES:
            return NO_METRIC
        make: type[_Child] = _Child
        if len(values) == len(family.labels):
            make = _Distribution if family.kind == "histogram" else _Number
        made = make(self, family, values)
        if not self._isClosed:
            self._children[family.name, values] = family.children[values] = made
        return made

    def scope(self, label: str, value: str) -> PrometheusMetrics:
        return self._made(PrometheusMetrics(self, label, value))

    def group(self) -> PrometheusMetrics:
        return self._made(PrometheusMetrics(self))

    def _made(self, inner: PrometheusMetrics) -> PrometheusMetrics:
        if self._isClosed:
            inner.close()
        else:
            self._inner[inner] = None
        return inner

    def close(self) -> None:
        self._isClosed = True
        for inner in list(self._inner):
            inner.close()
        for child in self._children.values():
            # A later scope may have taken the place of this one.
            if child.family.children.get(child.values) is child:
                del child.family.children[child.values]
        self._children.clear()
        if self._parent is not None:
            self._parent._inner.pop(self, None)


def writeText(collectors: Iterable[Collector]) -> Generator[None, None, bytes]:
    """Return all metrics in the text format of Prometheus; yield after each metric."""
    return _written(collectors, _text)


def writeOpenMetrics(collectors: Iterable[Collector]) -> Generator[None, None, bytes]:
    """Return all metrics in OpenMetrics 1.0.0; yield after each metric."""
    page = yield from _written(collectors, _openMetrics)
    return page + _EOF


def _text(collector: Any) -> bytes:
    return exposition.generate_latest(collector, openmetrics.ALLOWUTF8)


def _openMetrics(collector: Any) -> bytes:
    # Without escaping, which would go through each character of the names: ours need none.
    page: bytes = openmetrics.generate_latest(collector, openmetrics.ALLOWUTF8)
    return page.removesuffix(_EOF)


def _written(collectors: Iterable[Collector], write: Callable[[Any], bytes]) -> Generator[None, None, bytes]:
    parts: list[bytes] = []
    # A metric may be added between two pieces.
    for collector in list(collectors):
        try:
            parts.append(write(collector))
        except Exception:
            _log.failure("{collector} cannot be written.", event="metrics.not_written", collector=collector)
        yield
    return b"".join(parts)
