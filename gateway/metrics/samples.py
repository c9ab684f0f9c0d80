"""
The last fifteen minutes of each component: the rate of its stanzas, and the latency of what it does. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from attrs import Factory, define, frozen
from zope.interface import implementer

from gateway.metrics import LATENCY, ICounter, IGauge, IHistogram, IMetrics, Read, names

# Seconds between two samples, and seconds that all samples together cover.
EVERY = 5.0
SPAN = 900.0

# The latency of a component: one of these is recorded for each kind of service.
_LATENCIES = {
    each.name for each in (names.PROXY_ROUND_TRIP, names.DELEGATION_REQUEST, names.ROSTER_REFRESH, names.FMUC_ECHO)
}


@frozen
class Sample:
    """
    The work of a component since the sample before.

    @ivar at: the time of the sample.
    @ivar rate: stanzas per second, in both directions.
    @ivar mean: the mean of the durations that ended, in seconds; C{None} if none ended.
    @ivar worst: the longest of them.
    """

    at: float
    rate: float
    mean: float | None = None
    worst: float | None = None


@define(eq=False)
class History:
    """
    The samples of one component.

    @ivar samples: the oldest first; their number is bounded.
    @ivar duration: the text of the histogram whose durations are sampled; empty if there is none.
    """

    samples: deque[Sample] = Factory(lambda: deque(maxlen=round(SPAN / EVERY)))
    duration: str = ""
    _stanzas: Read | None = None
    _bytes: Read | None = None
    _before: float = 0.0
    _then: float | None = None
    _count: int = 0
    _sum: float = 0.0
    _worst: float = 0.0

    @property
    def totals(self) -> tuple[int, int]:
        """Stanzas and bytes so far, in both directions."""
        return round(_total(self._stanzas)), round(_total(self._bytes))

    def readFrom(self, name: str, read: Read) -> None:
        """Take the number of stanzas, or of bytes, from a function."""
        if name == names.STANZAS.name:
            self._stanzas = read
        else:
            self._bytes = read

    def observe(self, seconds: float) -> None:
        """Add a duration."""
        self._count += 1
        self._sum += seconds
        if seconds > self._worst:
            self._worst = seconds

    def take(self, now: float) -> None:
        """Take a sample of the time since the last call. The first call only sets the beginning."""
        total = _total(self._stanzas)
        if self._then is not None and now > self._then:
            rate = max(0.0, total - self._before) / (now - self._then)
            durations = (self._sum / self._count, self._worst) if self._count else (None, None)
            self.samples.append(Sample(now, rate, *durations))
        self._before, self._then = total, now
        self._count, self._sum, self._worst = 0, 0.0, 0.0


def _total(read: Read | None) -> float:
    if read is None:
        return 0.0
    value = read()
    return float(sum(value.values()) if isinstance(value, Mapping) else value)


@implementer(IMetrics)
class Samples:
    """
    Passes all metrics on to their implementation, and takes samples of some.

    @ivar isRecording: that of the implementation. If it records nothing, no samples are taken either: stanzas
        would have to be counted only for them.
    """

    def __init__(self, metrics: IMetrics, histories: dict[str, History] | None = None) -> None:
        self._metrics = metrics
        self.isRecording = metrics.isRecording
        # All histories; and those of this object or group alone, which end with it.
        self._histories: dict[str, History] = {} if histories is None else histories
        self._own: dict[str, History] = self._histories if histories is None else {}

    def history(self, component: str) -> History | None:
        """Return the history of a component; C{None} if there is none."""
        return self._histories.get(component)

    def take(self, now: float) -> None:
        """Take a sample of each component."""
        for history in self._histories.values():
            history.take(now)

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> ICounter:
        return self._metrics.counter(name, text, labels)

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> IGauge:
        return self._metrics.gauge(name, text, labels)

    def histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY
    ) -> IHistogram:
        return self._metrics.histogram(name, text, labels, buckets)

    def scope(self, label: str, value: str) -> IMetrics:
        scope = self._metrics.scope(label, value)
        if label != "component" or not self.isRecording:
            return scope
        history = self._histories[value] = self._own[value] = History()
        return _Sampled(scope, history, lambda: self._forget(value, history))

    def group(self) -> IMetrics:
        return Samples(self._metrics.group(), self._histories)

    def close(self) -> None:
        for component, history in list(self._own.items()):
            self._forget(component, history)
        self._metrics.close()

    def _forget(self, component: str, history: History) -> None:
        # A successor with this name has a history of its own.
        for histories in (self._histories, self._own):
            if histories.get(component) is history:
                del histories[component]


@implementer(IMetrics)
class _Sampled:
    """The metrics of one component."""

    isRecording = True

    def __init__(self, metrics: IMetrics, history: History, forget: Callable[[], None]) -> None:
        self._metrics = metrics
        self._history = history
        self._forget = forget

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> ICounter:
        counter = self._metrics.counter(name, text, labels)
        if name in (names.STANZAS.name, names.STREAM_BYTES.name):
            return _ReadTwice(counter, name, self._history)
        return counter

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> IGauge:
        return self._metrics.gauge(name, text, labels)

    def histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY
    ) -> IHistogram:
        histogram = self._metrics.histogram(name, text, labels, buckets)
        if name not in _LATENCIES:
            return histogram
        self._history.duration = text
        return _Observed(histogram, self._history)

    def scope(self, label: str, value: str) -> IMetrics:
        return self._metrics.scope(label, value)

    def group(self) -> IMetrics:
        return _Sampled(self._metrics.group(), self._history, lambda: None)

    def close(self) -> None:
        self._forget()
        self._metrics.close()


@implementer(ICounter)
class _ReadTwice:
    """A counter whose function the history reads as well."""

    def __init__(self, counter: ICounter, name: str, history: History) -> None:
        self._counter = counter
        self._name = name
        self._history = history

    def labels(self, *values: str) -> ICounter:
        return self._counter.labels(*values)

    def inc(self, amount: float = 1.0) -> None:
        self._counter.inc(amount)

    def setFunction(self, read: Read) -> None:
        self._history.readFrom(self._name, read)
        self._counter.setFunction(read)


@implementer(IHistogram)
class _Observed:
    """A histogram whose durations the history gets as well."""

    def __init__(self, histogram: IHistogram, history: History) -> None:
        self._histogram = histogram
        self._history = history

    def labels(self, *values: str) -> IHistogram:
        return _Observed(self._histogram.labels(*values), self._history)

    def observe(self, value: float) -> None:
        self._histogram.observe(value)
        self._history.observe(value)
