"""Samples of metrics."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.metrics import NO_METRICS, ICounter, IHistogram, IMetrics, names
from gateway.metrics.samples import EVERY, SPAN, History, Sample, Samples
from tests.metrics import RecordingMetrics

C = "c.example.com"


class SamplesTests(SynchronousTestCase):
    """The samples of a component."""

    def setUp(self) -> None:
        self.metrics = RecordingMetrics()
        self.samples = Samples(self.metrics)
        self.scope = self.samples.scope("component", C)
        self.stanzas = {("iq", "received"): 0, ("iq", "sent"): 0}
        self.scope.counter(*names.STANZAS).setFunction(lambda: dict(self.stanzas))
        self.durations = self.scope.histogram(*names.PROXY_ROUND_TRIP)

    @property
    def history(self) -> History:
        found = self.samples.history(C)
        assert found is not None
        return found

    def test_provided(self) -> None:
        """The interfaces of metrics are provided."""
        verifyObject(IMetrics, self.samples)
        verifyObject(IMetrics, self.scope)
        verifyObject(ICounter, self.scope.counter(*names.STANZAS))
        verifyObject(IHistogram, self.durations)

    def test_samples(self) -> None:
        """A sample has the stanzas per second, and the durations since the sample before."""
        self.samples.take(100.0)
        self.stanzas["iq", "received"], self.stanzas["iq", "sent"] = 20, 10
        self.durations.observe(1.0)
        self.durations.observe(3.0)
        self.samples.take(105.0)
        self.samples.take(110.0)
        self.assertEqual(list(self.history.samples), [Sample(105.0, 6.0, 2.0, 3.0), Sample(110.0, 0.0)])
        self.assertEqual(self.history.duration, names.PROXY_ROUND_TRIP.text)

    def test_bounded(self) -> None:
        """Fifteen minutes are kept, whatever happens."""
        for number in range(1000):
            self.samples.take(number * EVERY)
        samples = self.history.samples
        self.assertEqual((len(samples), samples[-1].at - samples[0].at), (180, SPAN - EVERY))

    def test_passed(self) -> None:
        """Everything reaches the implementation, other metrics as well."""
        self.stanzas["iq", "sent"] = 4
        self.durations.observe(0.5)
        self.scope.gauge(*names.LINK_UP).set(1.0)
        self.scope.counter(*names.ERRORS).labels("x").inc()
        delegated = self.scope.histogram(*names.DELEGATION_REQUEST).labels("urn:x", "result")
        delegated.observe(0.25)
        self.assertEqual(self.metrics.value(names.STANZAS, "iq", "sent"), 4)
        self.assertEqual(self.metrics.value(names.PROXY_ROUND_TRIP), [0.5])
        self.assertEqual(self.metrics.value(names.LINK_UP), 1.0)
        self.assertEqual(self.metrics.value(names.ERRORS, "x"), 1.0)
        self.assertEqual(self.metrics.value(names.DELEGATION_REQUEST, "urn:x", "result"), [0.25])
        self.samples.take(0.0)
        delegated.observe(0.75)
        self.samples.take(5.0)
        self.assertEqual(self.history.samples[-1].worst, 0.75)

    def test_others(self) -> None:
        """Only latencies are sampled: no times of work on something else."""
        self.scope.histogram(*names.ROSTER_FETCH).labels("fetched").observe(9.0)
        self.samples.take(0.0)
        self.samples.take(5.0)
        self.assertEqual(self.history.samples[-1].worst, None)

    def test_totals(self) -> None:
        """The totals are those of the metrics."""
        self.stanzas["iq", "sent"] = 4
        self.scope.counter(*names.STREAM_BYTES).setFunction(lambda: {"sent": 100, "received": 20})
        self.assertEqual(self.history.totals, (4, 120))

    def test_replaced(self) -> None:
        """A closed scope is forgotten; that of an older link does not end that of its successor."""
        older, self.scope = self.scope, self.samples.scope("component", C)
        older.close()
        self.assertIs(self.samples.history(C), self.history)
        self.scope.close()
        self.assertIs(self.samples.history(C), None)

    def test_groups(self) -> None:
        """The samples of a service end with its metrics, and those of others go on."""
        group = self.samples.group()
        verifyObject(IMetrics, group)
        verifyObject(IMetrics, self.scope.group())
        group.scope("component", "d.example.com").counter(*names.STANZAS).setFunction(dict)
        self.assertIsNot(self.samples.history("d.example.com"), None)
        group.close()
        self.assertIs(self.samples.history("d.example.com"), None)
        self.assertIs(self.samples.history(C), self.history)
        self.samples.close()
        self.assertIs(self.samples.history(C), None)

    def test_nothing(self) -> None:
        """Without metrics there are no samples."""
        samples = Samples(NO_METRICS)
        samples.scope("component", C).histogram(*names.PROXY_ROUND_TRIP).observe(1.0)
        samples.take(1.0)
        self.assertFalse(samples.isRecording)
        self.assertIs(samples.history(C), None)
