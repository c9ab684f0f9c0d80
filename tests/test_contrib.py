"""The alerts and the dashboard: their queries are about metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway.metrics import CATALOGUE, Histogram
from gateway.metrics.prometheus import PrometheusMetrics

ROOT = Path(__file__).parent.parent
RULES = ROOT / "contrib" / "prometheus" / "xmpp-gateway.rules.yml"
SCRAPE = ROOT / "contrib" / "prometheus" / "scrape.yml"
DASHBOARD = ROOT / "contrib" / "grafana" / "xmpp-gateway.json"
PAGE = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| \w+ \| ([^|]*) \|", re.MULTILINE)

# Operators of PromQL, and the labels that Prometheus itself adds.
WORDS = {"and", "or"}
SCRAPED = {"job", "instance"}
NAME = re.compile(r"\b[a-zA-Z_][a-zA-Z0-9_]*\b")


def series() -> dict[str, set[str]]:
    """Return the labels of all series of a gateway, by their names."""
    labels = {name: set(re.findall(r"`(\w+)`", found)) for name, found in ROW.findall(PAGE.read_text())}
    known: dict[str, set[str]] = {"up": set()}
    for each in CATALOGUE:
        if isinstance(each, Histogram):
            known |= {f"{each.name}_{end}": labels[each.name] for end in ("sum", "count")}
            known[f"{each.name}_bucket"] = labels[each.name] | {"le"}
        else:
            known[each.name] = labels[each.name]
    for collector in PrometheusMetrics().collectors:
        for metric in collector.collect():
            for sample in metric.samples:
                known[sample.name] = set(sample.labels)
    return known


def faults(query: str, known: dict[str, set[str]]) -> list[str]:
    """Return what a query names and does not exist."""
    bare = re.sub(r"\[[^\]]*\]", " ", query)
    # A list of labels after these words is about all series of the query; matchers are about their own one.
    grouping = re.compile(r"\b(?:by|on) *\(([^)]*)\)")
    groups = [name for names in grouping.findall(bare) for name in NAME.findall(names)]
    selected = re.findall(r"\b([a-zA-Z_]\w*)\b(?:\{([^}]*)\})?(?! *\()", grouping.sub(" ", bare))
    names = [(name, matchers) for name, matchers in selected if name not in WORDS]
    found = [f"no such metric: {name}" for name, _ in names if name not in known]
    labels = SCRAPED.union(*(known.get(name, ()) for name, _ in names))
    for name, matchers in names:
        own = known.get(name, set()) | SCRAPED
        wanted = re.findall(r"(\w+)\s*[=!]=?~?", matchers)
        found += [f"{name} has no label {each}" for each in wanted if each not in own]
    found += [f"no label {each} in {query}" for each in groups if each not in labels]
    return found if names else [f"no metric: {query}"]


def rules() -> dict[str, str]:
    """Return the expressions of the alerts by their names, each in one line."""
    found = {}
    for block in RULES.read_text().split("- alert: ")[1:]:
        [expression] = re.findall(r"^        expr: (.*\n(?:          .*\n)*)", block, re.MULTILINE)
        found[block.split()[0]] = " ".join(expression.removeprefix(">-").split())
    return found


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all dictionaries of a document."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each)


class QueryTests(SynchronousTestCase):
    """The check itself."""

    def test_faults(self) -> None:
        """It finds a wrong name and a wrong label, wherever they are."""
        known = {"a_total": {"x", "le"}, "b": {"y"}, "up": set[str]()}
        for query in (
            'sum by (x) (rate(a_total{x=~"$x", instance="i"}[5m])) > 0.5',
            "up == 0",
            "(count(b == 0) or vector(0)) + b and on (instance, y) a_total",
        ):
            self.assertEqual(faults(query, known), [], query)
        for query, fault in (
            ("rate(c_total[5m])", "no such metric: c_total"),
            ('b{x="1"}', "b has no label x"),
            ('b{y="1", z=~"1"}', "b has no label z"),
            ("sum by (z) (b)", "no label z in sum by (z) (b)"),
            ("b and on (job, z) up", "no label z in b and on (job, z) up"),
            ("vector(0)", "no metric: vector(0)"),
        ):
            self.assertEqual(faults(query, known), [fault])


class AlertTests(SynchronousTestCase):
    """The alerts."""

    def test_queries(self) -> None:
        """Each alert asks for metrics and labels that exist, and has a severity, a summary and a remedy."""
        known = series()
        found = rules()
        self.assertGreater(len(found), 15)
        self.assertEqual([fault for query in found.values() for fault in faults(query, known)], [])
        for block in RULES.read_text().split("- alert: ")[1:]:
            for part in (r"severity: (critical|warning)\n", "summary: ", "description: "):
                self.assertRegex(block, f"\n          {part}")

    def test_texts(self) -> None:
        """The texts of an alert name only labels that its result has."""
        known = series()
        for name, block in zip(rules(), RULES.read_text().split("- alert: ")[1:], strict=True):
            query = rules()[name]
            # The labels of the left side; an aggregation leaves those that it names.
            groups = re.findall(r"sum by \(([^)]*)\)", query)
            first = NAME.findall(re.sub(r"\b(increase|rate)\(", "", query))[0]
            labels = set(NAME.findall(groups[0])) if groups else known[first] | SCRAPED
            used = set(re.findall(r"\$labels\.(\w+)", block))
            self.assertEqual(used - labels, set(), name)

    def test_scraped(self) -> None:
        """The lines for Prometheus are those of the documentation."""
        [shown] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        self.assertTrue(SCRAPE.read_text().endswith(shown))
        self.assertIn('up{job="xmpp-gateway"}', RULES.read_text())
        self.assertIn("job_name: xmpp-gateway\n", shown)


class DashboardTests(SynchronousTestCase):
    """The dashboard."""

    def setUp(self) -> None:
        self.dashboard = json.loads(DASHBOARD.read_text())

    def queries(self) -> list[str]:
        """Return the queries of the panels and of the variables."""
        found = [each["expr"] for each in parts(self.dashboard) if "expr" in each]
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                [(query, label)] = re.findall(r"^label_values\((.*), (\w+)\)$", variable["definition"])
                self.assertEqual(variable["query"]["query"], variable["definition"])
                found.append(f"sum by ({label}) ({query})")
        return found

    def test_queries(self) -> None:
        """Each query asks for metrics and labels that exist."""
        known = series()
        self.assertGreater(len(self.queries()), 50)
        self.assertEqual([fault for query in self.queries() for fault in faults(query, known)], [])

    def test_complete(self) -> None:
        """Each metric of the gateway is shown."""
        asked = {name for query in self.queries() for name in NAME.findall(query)}
        shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} | asked
        self.assertEqual([each.name for each in CATALOGUE if each.name not in shown], [])

    def test_legends(self) -> None:
        """The legend of a query names only labels that its result has."""
        known = series()
        for target in (each for each in parts(self.dashboard) if "legendFormat" in each):
            query, legend = target["expr"], target["legendFormat"]
            groups = re.findall(r"by \(([^)]*)\)", query)
            first = re.sub(r"^(rate|increase)\(", "", query)
            labels = set(NAME.findall(groups[0])) if groups else known.get(NAME.findall(first)[0], set()) | SCRAPED
            self.assertEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)) - labels, set(), query)

    def test_layout(self) -> None:
        """Panels have numbers of their own, do not overlap, and each has a title."""
        panels = self.dashboard["panels"]
        self.assertEqual(len({each["id"] for each in panels}), len(panels))
        taken: set[tuple[int, int]] = set()
        for each in panels:
            place = each["gridPos"]
            self.assertTrue(each["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(cells & taken, each["title"])
            taken |= cells
