"""The metrics of a gateway in a process of its own, and the files in contrib/, judged by Prometheus' own tool."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from gateway.metrics import CATALOGUE, Histogram
from tests.live.processes import Program, Value, freePort, holds, need
from tests.live.test_http import EmbeddedGateway

CONTRIB = Path(__file__).resolve().parents[2] / "contrib" / "prometheus"
SCRAPE = CONTRIB / "scrape.yml"
RULES = CONTRIB / "xmpp-gateway.rules.yml"
DASHBOARD = CONTRIB.parent / "grafana" / "xmpp-gateway.json"

# Services with all metrics.
TABLES: dict[str, dict[str, Value]] = {
    'proxy."proxy.localhost"': {"target": "implementation@localhost"},
    'delegation."delegate.localhost"': {"servers": ["localhost"], "lend_privileges": ["pep.localhost"]},
    'delegation."delegate.localhost".namespaces."jabber:iq:private"': {"handler": "private-storage"},
    'delegation."delegate.localhost".namespaces."urn:example:pep"': {"jid": "pep.localhost"},
    'roster."roster.localhost"': {"domain": "localhost", "url": "http://127.0.0.1:9/%s", "lock": True},
    'rooms."rooms.localhost"': {},
    'rooms."federated.localhost"': {"backing": "conference.localhost"},
    'mirror."mirror.localhost"': {"allow": ["*"], "users": ["localhost"]},
    # Without a peer, there are no metrics of peers.
    'peers."rooms.example"': {"endpoint": "tls:127.0.0.1:9", "fingerprint": f"sha256:{'0' * 64}"},
}

GATEWAY = 'job="xmpp-gateway", instance="a"'
LINK = f'{GATEWAY}, component="c"'
# The same component of another gateway.
OTHER = LINK.replace('instance="a"', 'instance="b"')
UP = {f"xmpp_gateway_link_up{{{LINK}}}": "1+0x60"}


def buckets(name: str, below: float) -> dict[str, str]:
    """
    Return the series of a histogram whose values all are at most C{below}, one a minute.

    @param name: without the prefix.
    """
    [metric] = [each for each in CATALOGUE if each.name == f"xmpp_gateway_{name}"]
    assert isinstance(metric, Histogram)
    labels = GATEWAY if name.startswith("reactor") else LINK
    bounds = {f"{bound:g}": bound for bound in metric.buckets} | {"+Inf": float("inf")}
    return {
        f'{metric.name}_bucket{{{labels}, le="{text}"}}': "0+10x60" if bound >= below else "0+0x60"
        for text, bound in bounds.items()
    }


def one(name: str, values: str, labels: str = "", of: str = LINK) -> dict[str, str]:
    """Return one series, by default of a component; the name is without the prefix."""
    return {f"xmpp_gateway_{name}{{{of}{', ' if labels else ''}{labels}}}": values}


def refreshes(failed: str) -> dict[str, str]:
    """Return the series of refreshes, of which ten in a minute succeed."""
    return {
        **one("roster_refreshes_total", "0+10x60", 'outcome="changed"'),
        **one("roster_refreshes_total", failed, 'outcome="failed"'),
    }


def descriptors(used: int) -> dict[str, str]:
    """Return the series of a process with 1,000 file descriptors, and of another program with few left."""
    return {
        f"process_open_fds{{{GATEWAY}}}": f"{used}+0x60",
        f"process_max_fds{{{GATEWAY}}}": "1000+0x60",
        'process_open_fds{job="other", instance="b"}': "99+0x60",
        'process_max_fds{job="other", instance="b"}': "100+0x60",
        **one("info", "1+0x60", 'version="1"', GATEWAY),
    }


GRANTED = 'server="s", namespace="n"'
DOWN = {f"xmpp_gateway_link_up{{{LINK}}}": "0+0x60"}
# For each alert, series of which it is to fire after half an hour, and series of which it is not.
ALERTS: dict[str, tuple[dict[str, str], tuple[dict[str, str], ...]]] = {
    "XmppGatewayDown": (
        {f"up{{{GATEWAY}}}": "0+0x60"},
        ({f"up{{{GATEWAY}}}": "1+0x60"}, {'up{job="other", instance="a"}': "0+0x60"}),
    ),
    "XmppGatewayLinkDown": (DOWN, (UP, {next(iter(UP)): "1+0x29 0+0x30"})),
    "XmppGatewayLinkConflict": (one("link_conflict", "1+0x60"), (one("link_conflict", "0+0x60"),)),
    "XmppGatewayNotServed": (
        {**one("standby_serves", "0+0x60"), **one("standby_serves", "0+0x60", of=OTHER)},
        ({**one("standby_serves", "0+0x60"), **one("standby_serves", "1+0x60", of=OTHER)},),
    ),
    "XmppGatewayWithoutStandby": (
        {**one("standby_gateways", "1+0x60"), **one("standby_serves", "1+0x60")},
        (
            {**one("standby_gateways", "2+0x60"), **one("standby_serves", "1+0x60")},
            # Another one is about to take it.
            {**one("standby_gateways", "1+0x60"), **one("standby_serves", "0+0x60")},
        ),
    ),
    "XmppGatewayLinkUnstable": (
        {**one("link_failures_total", "0+1x60"), **UP},
        ({**one("link_failures_total", "3+0x60"), **UP}, {**one("link_failures_total", "0+1x60"), **DOWN}),
    ),
    "XmppGatewayServerReadsSlowly": (
        one("link_unsent_bytes", "5000000+0x60"),
        (one("link_unsent_bytes", "1000000+0x60"),),
    ),
    "XmppGatewayStanzasDropped": (
        one("output_dropped_total", "0+1x60", 'reason="late"'),
        (one("output_dropped_total", "7+0x60", 'reason="late"'),),
    ),
    "XmppGatewayInternalErrors": (
        one("errors_total", "0+1x60", 'condition="internal-server-error"'),
        (one("errors_total", "0+1x60", 'condition="item-not-found"'),),
    ),
    "XmppGatewayUsersOverBudget": (
        one("over_budget_total", "0+100x60", 'budget="copies"'),
        (one("over_budget_total", "0+10x60", 'budget="copies"'),),
    ),
    "XmppGatewayProxyWithoutClient": (
        {**one("proxy_resources", "0+0x60"), **UP},
        ({**one("proxy_resources", "1+0x60"), **UP}, {**one("proxy_resources", "0+0x60"), **DOWN}),
    ),
    "XmppGatewayProxySlow": (
        buckets("proxy_round_trip_seconds", 30),
        (buckets("proxy_round_trip_seconds", 0.5), buckets("proxy_round_trip_seconds", 5)),
    ),
    "XmppGatewayNotDelegated": (
        {**one("delegation_granted", "0+0x60", GRANTED), **UP},
        (
            {**one("delegation_granted", "1+0x60", GRANTED), **UP},
            {**one("delegation_granted", "0+0x60", GRANTED), **DOWN},
        ),
    ),
    "XmppGatewayEntityDown": (
        {**one("delegation_entity_up", "0+0x60", 'entity="e"'), **UP},
        (
            {**one("delegation_entity_up", "1+0x60", 'entity="e"'), **UP},
            {**one("delegation_entity_up", "0+0x60", 'entity="e"'), **DOWN},
        ),
    ),
    "XmppGatewayNoPrivileges": (
        {**one("privileges_granted", "0+0x60", 'server="s"'), **UP},
        (
            {**one("privileges_granted", "1+0x60", 'server="s"'), **UP},
            {**one("privileges_granted", "0+0x60", 'server="s"'), **DOWN},
        ),
    ),
    "XmppGatewayRosterRefreshesFail": (refreshes("0+2x60"), (refreshes("0+1x60"), refreshes("5+0x60"))),
    "XmppGatewayMirrorNotJoined": (
        one("mirrors", "2+0x60", 'state="joining"'),
        (one("mirrors", "0+0x60", 'state="joining"'), one("mirrors", "2+0x60", 'state="joined"')),
    ),
    "XmppGatewayNodeLost": (
        one("fmuc_channels", "1+0x60", 'state="lost"'),
        (one("fmuc_channels", "1+0x20 0+0x40", 'state="lost"'), one("fmuc_channels", "1+0x60", 'state="open"')),
    ),
    "XmppGatewayNodeOutboxFull": (
        one("fmuc_outbox_full_total", "0+1x60"),
        (one("fmuc_outbox_full_total", "5+0x60"),),
    ),
    "XmppGatewayFileBroken": (
        one("state_up", "0+0x60", 'file="f"', GATEWAY),
        (one("state_up", "1+0x60", 'file="f"', GATEWAY),),
    ),
    "XmppGatewayReactorSlow": (buckets("reactor_lag_seconds", 0.5), (buckets("reactor_lag_seconds", 0.05),)),
    "XmppGatewayFewFileDescriptors": (descriptors(900), (descriptors(100),)),
}


def queries(part: object) -> Iterator[str]:
    """Yield all queries of a dashboard, or a part of it."""
    if isinstance(part, dict):
        if "expr" in part:
            yield part["expr"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from queries(each)


class Prometheus(Program):
    """
    A Prometheus server.

    @ivar port: of its HTTP server.
    """

    name = "prometheus"

    def start(self, config: str) -> None:
        self.port = freePort()
        path = self.directory / "prometheus.yml"
        path.write_text(config)
        address = f"127.0.0.1:{self.port}"
        options = {"config.file": path, "storage.tsdb.path": self.directory / "data", "web.listen-address": address}
        self._run(["prometheus", *(f"--{key}={value}" for key, value in options.items())], {})

    def api(self, path: str) -> Any:
        """Return what its API answers; empty while it does not listen."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return {}


class PrometheusTests(SynchronousTestCase):
    """A Prometheus server reads the metrics of a gateway, by the lines in contrib/."""

    def test_scraped(self) -> None:
        """With the token of the gateway it reads them all; with another one it reports 401."""
        need(None if shutil.which("prometheus") else "prometheus is not installed")
        folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self.addCleanup(shutil.rmtree, folder)
        for name in ("gateway", "right", "wrong"):
            (folder / name).mkdir()
        for name, token in (("gateway/token", "t0ken"), ("right/token", "t0ken"), ("wrong/token", "other")):
            (folder / name).write_text(token)
            (folder / name).chmod(0o600)
        gateway = EmbeddedGateway(folder / "gateway", {**TABLES, "http": {"token_file": "token"}})
        self.addCleanup(gateway.stop)
        gateway.start()
        asyncio.run(gateway.ready())
        lines = SCRAPE.read_text().partition("scrape_configs:")[2]
        lines = lines.replace("xmpp-gateway.token", "token").replace(":5290", f":{gateway.httpPort}")
        for name in ("right", "wrong"):
            prometheus = Prometheus(folder / name)
            self.addCleanup(prometheus.stop)
            prometheus.start(f"global:\n  scrape_interval: 1s\nscrape_configs:{lines}")
            found: list[dict[str, str]] = []

            def scraped(prometheus: Prometheus = prometheus, found: list[dict[str, str]] = found) -> bool:
                found[:] = prometheus.api("targets").get("activeTargets", ())
                return any(each["health"] != "unknown" for each in found)

            asyncio.run(holds(scraped, 30, "Prometheus has asked the gateway"))
            [target] = found
            if name == "wrong":
                self.assertEqual(target["health"], "down")
                self.assertIn("401", target["lastError"])
                continue
            self.assertEqual((target["health"], target["lastError"]), ("up", ""))
            [value] = prometheus.api("query?query=xmpp_gateway_link_up%7Bcomponent%3D%22proxy.localhost%22%7D")[
                "result"
            ]
            self.assertEqual(value["value"][1], "1")
            known = {each["metric"] for each in prometheus.api("targets/metadata")}
            # In OpenMetrics, a counter is named without the end.
            missing = [each.name for each in CATALOGUE if not {each.name, each.name.removesuffix("_total")} & known]
            self.assertEqual(missing, [])


class PromtoolTests(SynchronousTestCase):
    """The judgement of promtool."""

    def setUp(self) -> None:
        need(None if shutil.which("promtool") else "promtool is not installed (Debian's package prometheus)")
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def promtool(self, *arguments: str, given: str = "") -> str:
        """Return what promtool prints; fail if it finds anything."""
        done = subprocess.run(
            ["promtool", *arguments],
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_metrics(self) -> None:
        """/metrics of a process: promtool has nothing to say about names, types and texts."""
        gateway = EmbeddedGateway(self.folder, TABLES)
        self.addCleanup(gateway.stop)
        gateway.start()
        asyncio.run(gateway.ready())
        status, page = asyncio.run(gateway.get("/metrics"))
        self.assertEqual(status, 200)
        self.assertRegex(page, r'(?m)^xmpp_gateway_link_up\{component="proxy.localhost"\} 1.0$')
        self.assertRegex(page, r"(?m)^process_cpu_seconds_total \d")
        self.assertEqual([each.name for each in CATALOGUE if f"# TYPE {each.name} " not in page], [])
        self.assertEqual(self.promtool("check", "metrics", given=page), "")

    def test_faulty(self) -> None:
        """It would say something."""
        with self.assertRaises(self.failureException):
            self.promtool("check", "metrics", given="# HELP a A.\n# TYPE a counter\na 1\n")

    def test_configuration(self) -> None:
        """The lines for Prometheus and the alerts are valid."""
        for each in CONTRIB.iterdir():
            shutil.copy(each, self.folder)
        (self.folder / "xmpp-gateway.token").write_text("t0ken")
        found = self.promtool("check", "config", "scrape.yml")
        self.assertIn(f"{len(ALERTS)} rules found", found)
        self.promtool("check", "rules", RULES.name)

    def test_dashboard(self) -> None:
        """Each query of the dashboard is valid PromQL, with values for the variables of Grafana."""
        values = {"$__rate_interval": "5m", "$instance": ".*", "$component": ".*"}
        found = [
            re.sub(r"\$\w+", lambda name: values[name[0]], each)
            for each in queries(json.loads(DASHBOARD.read_text()))
        ]
        rules = [{"record": f"query:{number}", "expr": each} for number, each in enumerate(found)]
        self.assertGreater(len(rules), 50)
        (self.folder / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
        self.promtool("check", "rules", "queries.yml")

    def test_alerts(self) -> None:
        """Each alert fires when it should, and only then."""
        self.assertEqual(set(re.findall(r"- alert: (\w+)", RULES.read_text())), set(ALERTS))
        shutil.copy(RULES, self.folder)
        tests = []
        for alert, (fires, others) in ALERTS.items():
            for value, series in ((1, fires), *((0, each) for each in others)):
                query = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
                expected = {"expr": query, "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": value}]}
                given = [{"series": name, "values": values} for name, values in series.items()]
                tests.append({"interval": "1m", "input_series": given, "promql_expr_test": [expected]})
        # Each JSON document is a YAML document.
        document = {"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": tests}
        (self.folder / "tests.yml").write_text(json.dumps(document))
        self.assertIn("SUCCESS", self.promtool("test", "rules", "tests.yml"))
