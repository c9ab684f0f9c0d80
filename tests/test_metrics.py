"""Metrics: the interface, the catalogue and its documentation, and all services in one composition."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.composition.reader import load
from gateway.composition.service import findPlugins, makeService
from gateway.metrics import (
    CATALOGUE,
    NO_METRIC,
    NO_METRICS,
    Histogram,
    ICounter,
    IGauge,
    IHistogram,
    IMetrics,
    IMetricsProvider,
    bounded,
    label,
    names,
)
from gateway.metrics.prometheus import PrometheusMetrics
from gateway.pieces import ReactorLag
from tests.metrics import RecordingMetrics

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(xmpp_gateway_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)

FILE = """
[server]
endpoint = "tcp:xmpp.example.com:5347"
secret = "s3cret"
domain = "example.com"
[proxy."proxy.example.com"]
target = "implementation@example.com"
[delegation."delegate.example.com"]
servers = ["example.com"]
lend_privileges = ["pep.example.com"]
[delegation."delegate.example.com".namespaces]
"jabber:iq:private" = { handler = "private-storage" }
"urn:example:pep" = { jid = "pep.example.com" }
[roster."roster.example.com"]
domain = "example.com"
url = "http://localhost/%s"
lock = true
[rooms."rooms.example.com"]
backing = "conference.example.com"
[mirror."mirror.example.com"]
allow = ["*"]
users = ["example.com"]
[http]
[peers."gateway.example.net"]
listen = "tls:5299"
fingerprint = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
"""


def kindOf(metric: names.Metric | Histogram) -> str:
    """Return the kind of a metric of the catalogue."""
    if isinstance(metric, Histogram):
        return "histogram"
    return "counter" if metric.name.endswith("_total") else "gauge"


class InterfaceTests(SynchronousTestCase):
    """The implementations of the interfaces."""

    def test_provided(self) -> None:
        """Both implementations provide the interfaces."""
        for metrics in (NO_METRICS, RecordingMetrics()):
            verifyObject(IMetrics, metrics)
            verifyObject(ICounter, metrics.counter("a_total", "A."))
            verifyObject(IGauge, metrics.gauge("a", "A."))
            verifyObject(IHistogram, metrics.histogram("a_seconds", "A."))
            verifyObject(IMetrics, metrics.scope("a", "b"))

    def test_nothing(self) -> None:
        """Without metrics nothing is recorded, and no reference is kept."""
        # The collection visits only objects of this test.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        self.assertFalse(NO_METRICS.isRecording)
        self.assertIs(NO_METRICS.scope("component", "x"), NO_METRICS)
        kept = Clock()
        NO_METRICS.gauge("a", "A.").setFunction(kept.seconds)
        NO_METRICS.counter("a_total", "A.", ("x",)).labels("y").inc()
        NO_METRICS.histogram("a_seconds", "A.").observe(1.0)
        NO_METRIC.set(1.0)
        NO_METRICS.close()
        known = weakref.ref(kept)
        del kept
        gc.collect()
        self.assertIsNone(known())


class LabelTests(SynchronousTestCase):
    """Label values."""

    def test_label(self) -> None:
        """A text becomes words that are joined by underscores."""
        self.assertEqual(label("that cannot be answered: NoAnswer"), "that_cannot_be_answered_noanswer")

    def test_bounded(self) -> None:
        """After the last new value that has room, all other values are one."""
        known: set[str] = set()
        found = [bounded(each, known, 2) for each in ("a", "b", "a", "c", "b", "d")]
        self.assertEqual(found, ["a", "b", "a", "other", "b", "other"])


class CatalogueTests(SynchronousTestCase):
    """The names of the metrics."""

    def test_names(self) -> None:
        """Names follow the conventions of Prometheus; no name occurs twice."""
        self.assertGreater(len(CATALOGUE), 40)
        self.assertEqual(len({each.name for each in CATALOGUE}), len(CATALOGUE))
        for each in CATALOGUE:
            self.assertRegex(each.name, r"^xmpp_gateway(_[a-z]+)+$")
            self.assertEqual(isinstance(each, Histogram), each.name.endswith("_seconds"), each.name)
            self.assertRegex(each.text, r"^[A-Z0-9].*\.$")
            if isinstance(each, Histogram):
                self.assertEqual(list(each.buckets), sorted(set(each.buckets)))

    def test_users(self) -> None:
        """No label is named after a user, or a user's address."""
        labels = {name for each in CATALOGUE for name in each.labels}
        self.assertFalse(labels & {"user", "jid", "requester", "room", "nick", "resource", "sender", "recipient"})

    def test_buckets(self) -> None:
        """The page names the buckets of each histogram."""
        text = PAGE.read_text()
        for each in CATALOGUE:
            if isinstance(each, Histogram):
                written = ", ".join(f"{bound:g}" for bound in each.buckets)
                self.assertRegex(text, rf"\| `[^|]*{each.name}`[^|]* \| {re.escape(written)} \|")

    def test_documented(self) -> None:
        """The page has a row for each metric, with its kind and its labels, and no other row."""
        rows = {
            name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels, _ in ROW.findall(PAGE.read_text())
        }
        expected = {each.name: (kindOf(each), list(each.labels)) for each in CATALOGUE}
        scopes = ["component"], ["file"]
        found = {
            name: (kind, labels[1:] if labels[:1] in scopes and (kind, labels) != expected.get(name) else labels)
            for name, (kind, labels) in rows.items()
        }
        self.assertEqual(found, expected)

    def test_process(self) -> None:
        """The page has a row for each metric of the process, with its kind and its labels."""
        rows = re.findall(r"^\| `((?:process|python)_\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
        found = {}
        for collector in PrometheusMetrics().collectors:
            for each in collector.collect():
                name = f"{each.name}_total" if each.type == "counter" else each.name
                found[name] = each.type, sorted({key for sample in each.samples for key in sample.labels})
        expected = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
        self.assertEqual(found, expected)


class CompositionTests(SynchronousTestCase):
    """All services of a configuration."""

    def setUp(self) -> None:
        self.metrics = RecordingMetrics()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(mode=0o700)
        path = folder / "gateway.toml"
        path.write_text(f'state_dir = "{folder}/state"\n' + FILE)
        path.chmod(0o600)
        self.reactor: Any = MemoryReactorClock()
        self.config = load(path, findPlugins(), self.reactor)
        self.gateway: MultiService = makeService(self.config, self.reactor, metrics=self.metrics)

    def test_all(self) -> None:
        """Each metric of the catalogue is registered by a service, with the labels that the page names."""
        rows = {name: re.findall(r"`(\w+)`", labels) for name, _, labels, _ in ROW.findall(PAGE.read_text())}
        found = {name: list(family.labels) for name, family in self.metrics.families.items()}
        self.assertEqual(found, rows)
        for each in CATALOGUE:
            self.assertEqual(self.metrics.families[each.name].kind, kindOf(each))

    def test_read(self) -> None:
        """Each metric can be read before anything has happened; all values are numbers."""
        for each in CATALOGUE:
            self.metrics.read(each)
        links = self.metrics.families[names.LINK_UP.name].read()
        kinds = ("proxy", "delegate", "roster", "rooms", "mirror")
        self.assertEqual(links, {(f"{kind}.example.com",): 0.0 for kind in kinds})
        tables = {key[1] for key in self.metrics.families[names.PENDING.name].read()}
        expected = {"handlers", "own", "proxy", "proxy_waiting", "delegation", "delegation_forwarded", "lent"}
        self.assertEqual(tables, expected | {"rooms"})

    def test_close(self) -> None:
        """When the metrics of a link are closed, only the values of others are left."""
        link: Any = self.gateway.getServiceNamed("proxy:proxy.example.com")
        link.metrics.close()
        components = {
            key[0]
            for family in self.metrics.families.values()
            if family.labels[:1] == ("component",)
            for key in family.read()
        }
        self.assertIn("rooms.example.com", components)
        self.assertNotIn("proxy.example.com", components)

    def test_providers(self) -> None:
        """Handlers with metrics provide the interface."""
        found = set()
        for service in self.gateway:
            for handler in service if hasattr(service, "addHandler") else ():
                if IMetricsProvider.providedBy(handler):
                    verifyObject(IMetricsProvider, handler)
                    found.add(type(handler).__name__)
        self.assertEqual(
            found,
            {
                *("InterestedClients", "Lending", "ManagingHandler", "PresenceWatcher", "PrivilegeHandler"),
                *("ProxyHandler", "RoomsHandler"),
            },
        )

    def test_lag(self) -> None:
        """A timer looks at the delay of the reactor, but only if that is recorded."""
        self.assertEqual(len([each for each in self.gateway if isinstance(each, ReactorLag)]), 1)
        unmeasured = makeService(self.config, MemoryReactorClock())
        self.assertEqual([each for each in unmeasured if isinstance(each, ReactorLag)], [])


class LagTests(SynchronousTestCase):
    """The delay of the reactor."""

    def test_lag(self) -> None:
        """Each second, the delay of a timer; nothing after the end."""
        metrics, clock = RecordingMetrics(), Clock()
        service = ReactorLag(clock, metrics)
        service.startService()
        clock.advance(1.0)
        clock.advance(1.25)
        self.assertEqual(metrics.value(names.REACTOR_LAG), [0.0, 0.25])
        service.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])
