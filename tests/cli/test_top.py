"""The load of a running gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.rates import lines, read
from gateway.cli.top import nextReading
from gateway.cli.web import Answer
from tests.cli.support import NoGateway, call

METRICS = """
# TYPE xmpp_gateway_info gauge
xmpp_gateway_info{version="1.2"} 1.0
# TYPE xmpp_gateway_link_up gauge
xmpp_gateway_link_up{component="p.x.org"} 1.0
xmpp_gateway_link_up{component="d.x.org"} 0.0
# TYPE xmpp_gateway_stanzas_total counter
xmpp_gateway_stanzas_total{component="p.x.org",kind="iq",direction="received"} %(received)d
xmpp_gateway_stanzas_total{component="p.x.org",kind="message",direction="received"} 5
xmpp_gateway_stanzas_total{component="p.x.org",kind="iq",direction="sent"} 7
# TYPE xmpp_gateway_stream_bytes_total counter
xmpp_gateway_stream_bytes_total{component="p.x.org",direction="received"} %(bytes)d
# TYPE xmpp_gateway_pending_requests gauge
xmpp_gateway_pending_requests{component="p.x.org",table="proxy"} 3
xmpp_gateway_pending_requests{component="p.x.org",table="own"} 1
# TYPE xmpp_gateway_outbox_stanzas gauge
xmpp_gateway_outbox_stanzas{component="d.x.org"} 12
# TYPE xmpp_gateway_proxy_round_trip_seconds histogram
xmpp_gateway_proxy_round_trip_seconds_bucket{component="p.x.org",le="0.005"} %(fast)d
xmpp_gateway_proxy_round_trip_seconds_bucket{component="p.x.org",le="2.5"} %(slow)d
xmpp_gateway_proxy_round_trip_seconds_bucket{component="p.x.org",le="+Inf"} %(slow)d
# TYPE xmpp_gateway_state_up gauge
xmpp_gateway_state_up{file="p.x.org.proxy"} 1.0
xmpp_gateway_state_up{file="d.x.org.private"} 0.0
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total %(cpu)f
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 104857600
"""
BEFORE = {"received": 100, "bytes": 0, "fast": 1_000, "slow": 1_000, "cpu": 10}
NOW = {"received": 300, "bytes": 4_096, "fast": 1_090, "slow": 1_100, "cpu": 10.5}


class RateTests(SynchronousTestCase):
    """The table."""

    def test_table(self) -> None:
        """Rates are differences per second over all kinds; latencies are those of the interval."""
        shown = lines(read(METRICS % BEFORE, 10), read(METRICS % NOW, 12))
        self.assertEqual(
            shown,
            [
                "xmpp-gateway 1.2   CPU 25 %   memory 100.0 MiB   FILES THAT DO NOT WORK: d.x.org.private",
                "",
                "component  link  in/s  out/s   in B/s  out B/s  open  waiting  errors/s  median   95 %",
                "d.x.org    DOWN     0      0      0 B      0 B     0       12         0       -      -",
                "p.x.org    up     100      0  2.0 KiB      0 B     4        0         0    5 ms  2.5 s",
            ],
        )

    def test_narrow(self) -> None:
        """In a narrow terminal, bytes are left out, and names are shortened; a low one has the first lines."""
        before, now = read(METRICS % BEFORE, 10), read(METRICS % NOW, 12)
        shown = lines(before, now, 80, 24)
        self.assertEqual(shown[2], "component  link  in/s  out/s  open  waiting  errors/s  median   95 %")
        self.assertEqual(shown[4], "p.x.org    up     100      0     4        0         0    5 ms  2.5 s")
        self.assertEqual(len(lines(before, now)), len(lines(before, now, 200, 5)))
        self.assertEqual(lines(before, now, 200, 4)[2:], [lines(before, now)[2], "... and 2 further components"])
        name = "proxy." + "x" * 20 + ".org"
        before, now = (read((METRICS % each).replace("p.x.org", name), 0) for each in (BEFORE, NOW))
        shown = lines(before, now, 75, 24)
        self.assertRegex(shown[4], r"^proxy\.x+\.\.\.  up ")
        self.assertEqual({len(line) for line in shown[2:]}, {75})
        self.assertLessEqual(max(map(len, lines(before, now, 30, 24))), 30)

    def test_restarted(self) -> None:
        """A restart between two readings gives no negative rate."""
        shown = lines(read(METRICS % NOW, 10), read(METRICS % BEFORE, 12))
        self.assertRegex(shown[-1], r"^p\.x\.org    up       0      0")
        self.assertTrue(shown[-1].endswith("-      -") or shown[-1].endswith("-     -"), shown[-1])

    def test_wrong(self) -> None:
        """Text that is not of metrics is an error."""
        for text in ("<html>", "a{b=", "a b c d"):
            with self.assertRaises(ValueError):
                read(text, 0)


class TopTests(SynchronousTestCase):
    """C{xmpp-gateway top}."""

    def top(self, answer: Answer, *arguments: str) -> Any:
        class Running(NoGateway):
            async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
                assert (method, path) == ("GET", "/metrics")
                return answer

        path = Path(self.mktemp())
        path.write_text("[embedded]\n")
        return call("top", "--config", str(path), *arguments, gateway=Running())

    def test_once(self) -> None:
        """One table, if the output is no terminal."""
        done = self.top(Answer(200, METRICS % NOW))
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("p.x.org    up ", done.stdout)
        self.assertNotIn("\x1b", done.stdout)

    def test_restarts(self) -> None:
        """While the gateway is away, the reason is shown; then the rates are those of the whole time."""
        before = read(METRICS % BEFORE, 0)
        size = os.terminal_size((30, 24))
        clock = Clock()
        waiting = nextReading(NoGateway(), before, size, clock)  # type: ignore[arg-type]  # a part of it
        kept, shown = self.successResultOf(Deferred.fromCoroutine(waiting))
        self.assertIs(kept, before)
        self.assertEqual(shown, ["no gateway answers", "", "This command tries again."])

        class Running(NoGateway):
            async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
                return Answer(200, METRICS % NOW)

        clock.advance(4)
        now, shown = self.successResultOf(Deferred.fromCoroutine(nextReading(Running(), kept, size, clock)))  # type: ignore[arg-type]  # as above
        self.assertEqual(now.at, 4)
        self.assertEqual(shown, lines(before, now, 30, 23))

    def test_none(self) -> None:
        """An answer that has no metrics is an error, as is no gateway."""
        done = self.top(Answer(404, "No such resource"))
        self.assertEqual(done.stderr, "http://127.0.0.1:5290/metrics: 404 No such resource\n")
        self.assertEqual(done.exit_code, 1)
        done = self.top(Answer(200, "<html>"))
        self.assertEqual(done.exit_code, 1)
        self.assertIn("has no metrics: is it a gateway?", done.stderr)
        self.assertEqual(self.top(Answer(200, ""), "--interval", "0").exit_code, 2)
