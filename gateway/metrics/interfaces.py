"""
Metrics: the interface that services report them by, and the implementation that records nothing.

Each number has one source. A number that an object has anyway (a counter of stanzas, the size of a table, a
state) stays a plain attribute; C{/status} reads it, and so does a function that is registered with C{setFunction}
and called when the metrics are read. So metrics cost nothing between two reads, and both always agree.
Durations go into histograms, at the end of the operation. C{inc} and C{set} are for code that has no
attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zope.interface import Attribute, Interface, implementer

from gateway.metrics.names import LATENCY

# The value of a metric, or its values by label values: a string for one label, a tuple for several.
Read = Callable[[], float | Mapping[Any, float]]



class ICounter(Interface):
    """A number that only grows while the process runs."""

    def labels(*values: str) -> ICounter:
        """
        Return the counter with these values of the labels, always the same one. Get it once, and keep it.

        @param values: one for each label, in order.
        """

    def inc(amount: float = 1.0) -> None:
        """Add an amount, which is not negative."""

    def setFunction(read: Read) -> None:
        """
        Take the value from a function whenever the metrics are read. It replaces an earlier function, must not
        raise, and must take little time.

        @param read: returns the number; if the metric has labels that L{labels} did not set, the numbers by label
            values.
        """


class IGauge(Interface):
    """A number that grows and shrinks."""

    def labels(*values: str) -> IGauge:
        """As L{ICounter.labels}."""

    def set(value: float) -> None:
        """Set the number."""

    def setFunction(read: Read) -> None:
        """As L{ICounter.setFunction}."""


class IHistogram(Interface):
    """A distribution of observed values."""

    def labels(*values: str) -> IHistogram:
        """As L{ICounter.labels}."""

    def observe(value: float) -> None:
        """Add one observed value, in seconds."""


class IMetrics(Interface):
    """
    Takes the metrics of a service.

    A name stands for one metric of the process: each further call for this name passes the same text, labels and
    buckets. Otherwise, or if Prometheus would not accept the metric, C{ValueError} is raised.
    """

    isRecording: bool = Attribute("False if nothing is recorded. Then do not count anything only for the metrics.")

    def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> ICounter:
        """
        Return a counter.

        @param name: ends in C{_total}.
        @param text: a sentence for people.
        @param labels: names of labels, in addition to those of L{scope}.
        """

    def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> IGauge:
        """Return a gauge. Its name ends in the unit, if it has one: C{_bytes}, C{_seconds}."""

    def histogram(
        name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY
    ) -> IHistogram:
        """
        Return a histogram.

        @param name: ends in C{_seconds}.
        @param buckets: upper bounds in seconds, in rising order, without infinity.
        """

    def scope(label: str, value: str) -> IMetrics:
        """
        Return the metrics of one object, such as a link. Each metric has one more label, which comes after those
        of this scope, with this value. A later scope with the same label and value takes the place of this one.
        """

    def group() -> IMetrics:
        """Return metrics with the same labels, such as those of one service, that can be closed by themselves."""

    def close() -> None:
        """
        Forget the functions and numbers of this scope, and of all that was made of it, because its object was
        removed. Nothing keeps the object alive then.
        """


class IMetricsProvider(Interface):
    """A handler may provide this to report metrics of its own."""

    def measure(metrics: IMetrics) -> None:
        """
        Register the metrics. Called once, when the handler is added to its link, and only if they are recorded.

        @param metrics: those of the link; each metric has the label C{component}.
        """


@implementer(ICounter, IGauge, IHistogram)
class NoMetric:
    """A counter, gauge or histogram that records nothing."""

    def labels(self, *values: str) -> NoMetric:
        return self

    def inc(self, amount: float = 1.0) -> None:
        """Do nothing."""

    def set(self, value: float) -> None:
        """Do nothing."""

    def observe(self, value: float) -> None:
        """Do nothing."""

    def setFunction(self, read: Read) -> None:
        """Do nothing, and keep no reference."""


NO_METRIC = NoMetric()


@implementer(IMetrics)
class NoMetrics:
    """The metrics of a gateway that records none."""

    isRecording = False

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> NoMetric:
        return NO_METRIC

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> NoMetric:
        return NO_METRIC

    def histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY
    ) -> NoMetric:
        return NO_METRIC

    def scope(self, label: str, value: str) -> NoMetrics:
        return self

    def group(self) -> NoMetrics:
        return self

    def close(self) -> None:
        """Do nothing."""


NO_METRICS = NoMetrics()
