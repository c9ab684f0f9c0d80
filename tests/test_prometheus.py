"""The metrics that are recorded for Prometheus, in both formats."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.interfaces import ICounter, IGauge, IHistogram, IMetrics
from gateway.metrics.prometheus import PrometheusMetrics, writeOpenMetrics, writeText
from tests import metrics as _metrics

parseText, parseOpenMetrics = parser.text_string_to_metric_families, openmetrics.text_string_to_metric_families

Numbers = dict[tuple[str, ...], float]


def page(metrics: PrometheusMetrics, write: Callable[..., Any] = writeText) -> str:
    """Return the page that is served."""
    writing = write(metrics.collectors)
    while True:
        try:
            next(writing)
        except StopIteration as end:
            return end.value.decode()  # type: ignore[no-any-return]  # of a StopIteration


def parsed(families: Iterable[Metric]) -> Numbers:
    """Return the samples by name and label values, C{le} last; fail if one is there twice."""
    found: Numbers = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, *(value for name, value in sample.labels.items() if name != "le"))
            key += (sample.labels["le"],) if "le" in sample.labels else ()
            assert key not in found, key
            found[key] = sample.value
    return found


def numbers(metrics: PrometheusMetrics) -> Numbers:
    """Return all samples but those of the process; they are equal in both formats, which are read strictly."""
    text = parsed(parseText(page(metrics)))
    openMetrics = parsed(parseOpenMetrics(page(metrics, writeOpenMetrics)))
    own, other = (
        {key: value for key, value in each.items() if key[0].partition("_")[0] not in ("process", "python")}
        for each in (text, openMetrics)
    )
    assert own == other, (own, other)
    return own


class NumberTests(SynchronousTestCase):
    """Numbers, by labels."""

    def setUp(self) -> None:
        self.metrics = PrometheusMetrics()

    def test_provided(self) -> None:
        """The implementation provides the interfaces."""
        verifyObject(IMetrics, self.metrics)
        verifyObject(ICounter, self.metrics.counter("a_total", "A."))
        verifyObject(IGauge, self.metrics.gauge("b", "B.", ("x",)))
        verifyObject(IHistogram, self.metrics.histogram("c_seconds", "C."))
        self.assertTrue(self.metrics.isRecording)

    def test_numbers(self) -> None:
        """Counters and gauges, with and without labels; the same labels are the same number."""
        self.metrics.counter("a_total", "A.").inc()
        self.metrics.counter("a_total", "A.").inc(2)
        self.metrics.counter("b_total", "B.", ("x", "y")).labels("1", "2").inc()
        self.metrics.counter("b_total", "B.", ("x", "y")).labels("1").labels("2").inc()
        self.metrics.gauge("c", "C.").set(1.5)
        self.metrics.gauge("d", "D.", ("x",))
        self.metrics.gauge("e", "E.", ("x",)).labels("new")
        found = numbers(self.metrics)
        self.assertEqual(found, {("a_total",): 3, ("b_total", "1", "2"): 2, ("c",): 1.5, ("e", "new"): 0})

    def test_functions(self) -> None:
        """Functions are called when the metrics are read; for several labels they return numbers by values."""
        known = {"x": 1}
        self.metrics.counter("a_total", "A.").setFunction(lambda: 0)
        self.metrics.counter("a_total", "A.").setFunction(lambda: known["x"])
        self.metrics.gauge("b", "B.", ("x",)).setFunction(lambda: known)
        self.metrics.gauge("c", "C.", ("x", "y")).setFunction(lambda: {("1", "2"): True})
        self.metrics.gauge("c", "C.", ("x", "y")).labels("3").setFunction(lambda: {"4": 5})
        known["y"] = 2
        found = numbers(self.metrics)
        expected = {("a_total",): 1, ("b", "x"): 1, ("b", "y"): 2, ("c", "1", "2"): 1, ("c", "3", "4"): 5}
        self.assertEqual(found, expected)

    def test_histogram(self) -> None:
        """Each bucket counts all values up to its bound."""
        waits = self.metrics.histogram("a_seconds", "A.", ("x",), (0.5, 1.0, 2.5)).labels("y")
        for value in (0.25, 0.5, 0.75, 2.5, 3.0):
            waits.observe(value)
        buckets = {"0.5": 2, "1.0": 3, "2.5": 4, "+Inf": 5}
        expected: Numbers = {("a_seconds_bucket", "y", bound): count for bound, count in buckets.items()}
        expected |= {("a_seconds_count", "y"): 5, ("a_seconds_sum", "y"): 7.0}
        self.assertEqual(numbers(self.metrics), expected)

    def test_escaped(self) -> None:
        """Any text may be a label value or an explanation."""
        odd = 'a"b\\c\nd=é{}'
        self.metrics.gauge("a", f"Text\\ {odd}", ("x",)).labels(odd).set(1)
        self.assertEqual(numbers(self.metrics), {("a", odd): 1})

    def test_process(self) -> None:
        """The page has the metrics of the process."""
        found = parsed(parseText(page(self.metrics)))
        self.assertGreater(found["process_resident_memory_bytes",], 1_000_000)
        self.assertIn(("python_gc_collections_total", "2"), found)

    def test_own(self) -> None:
        """Two gateways in one process have separate metrics."""
        self.metrics.counter("a_total", "A.").inc()
        other = PrometheusMetrics()
        other.gauge("a", "Another one.").set(2)
        self.assertEqual(numbers(self.metrics), {("a_total",): 1})
        self.assertEqual(numbers(other), {("a",): 2})


class FaultTests(SynchronousTestCase):
    """Faults of plugins: the page stays valid, and has everything else."""

    def setUp(self) -> None:
        self.metrics = PrometheusMetrics()
        self.metrics.gauge("well", "Well.").set(1)

    def test_names(self) -> None:
        """A metric is refused if its names are not valid."""
        for make, name, *labels in (
            (self.metrics.gauge, "with space"),
            (self.metrics.gauge, "2nd"),
            (self.metrics.gauge, "a", "with-hyphen"),
            (self.metrics.gauge, "a", "x", "x"),
            (self.metrics.gauge, "a", "__x"),
            (self.metrics.histogram, "a_seconds", "le"),
            (self.metrics.counter, "a"),
            (self.metrics.gauge, "a_total"),
        ):
            with self.assertRaises(ValueError, msg=(name, labels)) as raised:
                make(name, "A.", tuple(labels))
            self.assertTrue(str(raised.exception).startswith(f"{name}: "))
        self.assertRaises(ValueError, self.metrics.histogram, "a_seconds", "A.", (), (2.0, 1.0))
        self.assertEqual(numbers(self.metrics), {("well",): 1})

    def test_clashes(self) -> None:
        """A name belongs to one metric, with those that a format adds to it."""
        self.metrics.counter("a_total", "A.")
        self.metrics.histogram("b_seconds", "B.", (), (1.0,))
        for make, name, text, labels in (
            (self.metrics.counter, "a_total", "Another.", ()),
            (self.metrics.counter, "a_total", "A.", ("x",)),
            (self.metrics.scope("x", "1").counter, "a_total", "A.", ()),
            (self.metrics.gauge, "a", "A.", ()),
            (self.metrics.gauge, "b_seconds_count", "B.", ()),
            (self.metrics.gauge, "process_open_fds", "Open.", ()),
            (self.metrics.counter, "python_gc_collections_total", "Runs.", ()),
            (self.metrics.histogram, "b_seconds", "B.", ()),
        ):
            self.assertRaises(ValueError, make, name, text, labels)
        self.assertIn(("a_total",), numbers(self.metrics))

    def test_incomplete(self) -> None:
        """A number needs values of all labels."""
        for act in (
            self.metrics.counter("a_total", "A.", ("x",)).inc,
            lambda: self.metrics.gauge("b", "B.", ("x", "y")).labels("1").set(1),
            lambda: self.metrics.histogram("c_seconds", "C.", ("x",)).observe(1),
            lambda: self.metrics.gauge("b", "B.", ("x", "y")).labels("1", "2", "3"),
            lambda: self.metrics.gauge("b", "B.", ("x", "y")).labels(1),
            lambda: self.metrics.scope("x", "\ud800").gauge("d", "D."),
        ):
            self.assertRaises(ValueError, act)
        self.assertEqual(set(numbers(self.metrics)), {("well",)})

    def test_functions(self) -> None:
        """Results of a faulty function are left out. This is logged once, and again if it fails again later."""
        results: list[Any] = [None, "x", {1: 2.0}, {("x", "y"): 1.0}, {"x": "?"}, {"\ud800": 1.0}, 1.0]
        bad = self.metrics.gauge("bad", "Bad.", ("x",))
        bad.labels("well").set(2)
        expected = {("well",): 1, ("bad", "well"): 2}
        for result in results:
            bad.setFunction(lambda result=result: result)
            self.assertEqual(numbers(self.metrics), expected)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        bad.setFunction(lambda: {"x": 3})
        self.assertEqual(numbers(self.metrics), {**expected, ("bad", "x"): 3})
        bad.setFunction(lambda: {}["x"])
        self.assertEqual(numbers(self.metrics), expected)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_unwritable(self) -> None:
        """If a metric cannot be written, the others are."""
        self.metrics.gauge("bad", "Bad \ud800.").set(1)
        self.assertEqual(numbers(self.metrics), {("well",): 1})
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 2)

    def test_bound(self) -> None:
        """The label values of a metric are limited in number; the first ones stay."""
        family = self.metrics.counter("a_total", "A.", ("x",))
        for number in range(10_005):
            family.labels(str(number)).inc()
        family.labels("0").inc()
        found = numbers(self.metrics)
        self.assertEqual(len(found), 1 + 9_999)
        self.assertEqual(found["a_total", "0"], 2)


class ScopeTests(SynchronousTestCase):
    """The metrics of objects that are removed."""

    def setUp(self) -> None:
        self.metrics = PrometheusMetrics()

    def names(self) -> set[tuple[str, ...]]:
        return set(numbers(self.metrics))

    def test_close(self) -> None:
        """The numbers of a scope are forgotten when it is closed, and nothing is recorded in it after that."""
        one, two = (self.metrics.scope("component", name) for name in ("one", "two"))
        for each in (one, two):
            each.gauge("a", "A.").set(1)
            each.scope("file", "f").gauge("b", "B.", ("x",)).setFunction(lambda: {"y": 1})
        kept = one.counter("c_total", "C.")
        self.assertEqual(len(self.names()), 5)
        one.close()
        kept.inc()
        one.gauge("a", "A.").set(2)
        one.scope("file", "f").counter("d_total", "D.").inc()
        self.assertEqual(self.names(), {("a", "two"), ("b", "two", "f", "y")})
        self.assertEqual(len(self.metrics._inner), 1)

    def test_successor(self) -> None:
        """A later scope takes the place of one with the same value, which may then be closed."""
        old, new = (self.metrics.scope("component", "one") for _ in range(2))
        old.gauge("a", "A.").set(1)
        new.gauge("a", "A.").set(2)
        old.counter("b_total", "B.").inc()
        self.assertEqual(numbers(self.metrics), {("a", "one"): 2, ("b_total", "one"): 1})
        old.close()
        self.assertEqual(numbers(self.metrics), {("a", "one"): 2})

    def test_group(self) -> None:
        """A group has no label of its own. If it is closed, its numbers and scopes are forgotten, but no others."""
        group = self.metrics.group()
        group.counter("a_total", "A.").inc()
        group.scope("component", "one").gauge("b", "B.").set(1)
        self.metrics.gauge("c", "C.").set(1)
        self.assertEqual(self.names(), {("a_total",), ("b", "one"), ("c",)})
        group.close()
        self.assertEqual(self.names(), {("c",)})

    def test_released(self) -> None:
        """Nothing keeps an object alive whose scope is closed."""
        # The collection visits only objects of this test.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        kept = Clock()
        scope = self.metrics.scope("component", "one")
        scope.gauge("a", "A.").setFunction(kept.seconds)
        scope.scope("file", "f").gauge("b", "B.").setFunction(kept.seconds)
        scope.close()
        known = weakref.ref(kept)
        del kept, scope
        gc.collect()
        self.assertIsNone(known())

    def test_same(self) -> None:
        """The metrics in memory, which other tests use, forget what these forget."""
        for metrics in (self.metrics, _metrics.RecordingMetrics()):
            group: Any = metrics.group()
            group.scope("component", "one").gauge("a", "A.").set(1)
            metrics.scope("component", "two").gauge("a", "A.").set(1)
            group.close()
            if isinstance(metrics, PrometheusMetrics):
                self.assertEqual(self.names(), {("a", "two")})
            else:
                self.assertEqual(metrics.families["a"].read(), {("two",): 1.0})
