"""/metrics, over the whole HTTP stack in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from gateway.composition.reader import load
from gateway.composition.service import findPlugins, makeService
from gateway.http.access import Gate
from gateway.http.metrics import MetricsPage, preferred
from gateway.http.site import QuietSite
from gateway.metrics import CATALOGUE, names
from gateway.metrics.prometheus import PrometheusMetrics
from gateway.pieces import Pieces
from gateway.testing import MemoryGateway
from gateway.testing.http import Response, request
from tests.test_metrics import FILE, kindOf
from tests.test_prometheus import parsed, parseOpenMetrics, parseText

OPENMETRICS, TEXT = "application/openmetrics-text", "text/plain"
# As Prometheus 2.53 and 3.5 send it.
OLDER = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
NEWER = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class PreferredTests(SynchronousTestCase):
    """The choice of the format."""

    def test_preferred(self) -> None:
        """OpenMetrics for those who prefer it, in the version that is written; text for all others."""
        for accepted, expected in (
            ("", TEXT),
            ("*/*", TEXT),
            ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", TEXT),
            ("text/plain", TEXT),
            (OLDER, OPENMETRICS),
            (NEWER, OPENMETRICS),
            (OPENMETRICS, OPENMETRICS),
            ("Application/OpenMetrics-Text ; Version=1.0.0", OPENMETRICS),
            (f'{OPENMETRICS};version="1.0.0"', OPENMETRICS),
            (f"{OPENMETRICS};version=2.0.0", TEXT),
            (f"{OPENMETRICS};q=0", TEXT),
            (f"{OPENMETRICS};q=0.2,text/plain;q=0.3", TEXT),
            (f"{OPENMETRICS};q=0.3,text/plain;q=0.2", OPENMETRICS),
        ):
            self.assertEqual(preferred(accepted), expected, accepted)

    def test_bad(self) -> None:
        """Nothing in the header raises."""
        for accepted in (
            *(";", ",;=,", f"{OPENMETRICS};version=1.0.0;q=x", f"{OPENMETRICS};q=nan", f"{OPENMETRICS};q=2"),
            *(f"{OPENMETRICS};version=\x00", f"{OPENMETRICS};q=-1", "é" * 1000, f"{OPENMETRICS};version=x.y"),
        ):
            self.assertEqual(preferred(accepted), TEXT, accepted)


class PageTests(SynchronousTestCase):
    """The page alone."""

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.metrics = PrometheusMetrics()
        self.metrics.gauge("a", "A.").set(1)

    def ask(self, token: str | None = None, method: str = "GET", **headers: str) -> Response:
        root = Resource()
        root.putChild(b"metrics", MetricsPage(self.metrics, Pieces(self.clock)))
        site = QuietSite(root, Gate(token), self.clock)
        return request(site, self.clock, method, "/metrics", **headers)

    def test_formats(self) -> None:
        """The type of the answer is that of its body, which is read strictly."""
        for accepted, kind, parse in (
            (OLDER, "application/openmetrics-text; version=1.0.0; charset=utf-8", parseOpenMetrics),
            (NEWER, "application/openmetrics-text; version=1.0.0; charset=utf-8", parseOpenMetrics),
            ("*/*", "text/plain; version=0.0.4; charset=utf-8", parseText),
        ):
            answer = self.ask(Accept=accepted)
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, kind))
            self.assertEqual((answer.headers["Cache-Control"], answer.headers["Vary"]), ("no-store", "Accept"))
            self.assertEqual(parsed(parse(answer.text))["a",], 1)

    def test_token(self) -> None:
        """The token protects the page."""
        self.assertEqual(self.ask("t0ken").status, 401)
        self.assertEqual(self.ask("t0ken", Authorization="Bearer t0ken").status, 200)

    def test_methods(self) -> None:
        """HEAD has no body; other methods are refused."""
        answer = self.ask(method="HEAD")
        self.assertEqual(answer.status, 200)
        self.assertGreater(int(answer.headers["Content-Length"]), 100)
        self.assertEqual(self.ask(method="POST").status, 405)

    def test_pieces(self) -> None:
        """A large page is written in several reactor turns; other work runs in between."""
        clock = self.clock
        seen: list[int | None] = []

        def slow() -> float:
            clock.rightNow += 0.006
            return 1.0

        for number in range(5):
            self.metrics.gauge(f"slow_{number}", "Slow.").setFunction(slow)
        answer = self.ask()
        self.assertIsNone(answer.status)
        clock.callLater(0, lambda: seen.append(answer.status))
        clock.advance(0)
        self.assertEqual((seen, answer.status), ([None], 200))
        self.assertEqual(parsed(parseText(answer.text))["slow_4",], 1)

    def test_gone(self) -> None:
        """If the caller disconnects meanwhile, nothing is written and nothing fails."""

        def slow() -> float:
            self.clock.rightNow += 0.02
            return 1.0

        self.metrics.gauge("slow", "Slow.").setFunction(slow)
        answer = self.ask()
        self.assertIsNone(answer.status)
        answer._transport.lose(ConnectionError())
        for _ in range(5):
            self.clock.advance(0)
        self.assertIsNone(answer.status)

    def test_fault(self) -> None:
        """If the page cannot be written at all, the caller is told, without the reason."""
        self.patch(PrometheusMetrics, "collectors", property(lambda self: 1 // 0))
        answer = self.ask()
        self.assertEqual((answer.status, answer.text), (500, "The metrics cannot be written: see the log.\n"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class GatewayTests(SynchronousTestCase):
    """The page of a whole gateway."""

    def setUp(self) -> None:
        self.gateway = MemoryGateway(self.mktemp(), FILE)
        self.addCleanup(self.gateway.stop)

    def numbers(self) -> dict[tuple[str, ...], float]:
        return parsed(parseText(self.gateway.request("GET", "/metrics").text))

    def test_all(self) -> None:
        """Each metric of the catalogue is on the page, in both formats, with its type."""
        for parse, accepted in ((parseText, "*/*"), (parseOpenMetrics, OPENMETRICS)):
            text = self.gateway.request("GET", "/metrics", Accept=accepted).text
            kinds = {each.name: each.type for each in parse(text)}
            for each in CATALOGUE:
                self.assertEqual(kinds.get(each.name.removesuffix("_total")), kindOf(each), each.name)

    def test_traffic(self) -> None:
        """An exchange is on the page, and so is the link's state."""
        server = self.gateway.server("proxy.example.com")
        self.assertEqual(self.numbers()[names.PROXY_RESOURCES.name, "proxy.example.com"], 0)
        server.ask("<presence from='implementation@example.com/a' to='proxy.example.com'/>")
        found = self.numbers()
        self.assertEqual(found[names.LINK_UP.name, "proxy.example.com"], 1)
        self.assertEqual(found[names.PROXY_RESOURCES.name, "proxy.example.com"], 1)
        self.assertEqual(found[names.STANZAS.name, "proxy.example.com", "received", "presence"], 1)
        self.assertEqual(found[names.HTTP_REQUESTS.name, "200"], 1)
        self.gateway.wait(3)
        self.assertGreater(self.numbers()[f"{names.REACTOR_LAG.name}_count",], 1)

    def test_removed(self) -> None:
        """When a service is removed, its metrics are, of its links and its files; those of others stay."""
        component, other = "delegate.example.com", "proxy.example.com"
        before = {key for key in self.numbers() if any(each.startswith(component) for each in key)}
        self.assertIn((names.STATE_UP.name, f"{component}.private"), before)
        self.assertIn((names.LINK_UP.name, component), before)
        removing = self.gateway.service.remove(component)
        self.gateway.wait(10)
        self.successResultOf(removing)
        found = self.numbers()
        self.assertEqual([key for key in found if any(each.startswith(component) for each in key)], [])
        self.assertIn((names.LINK_UP.name, other), found)

    def test_replaced(self) -> None:
        """A service that is replaced has its metrics anew."""
        self.gateway.server("proxy.example.com")
        path = self.gateway.folder / "gateway.toml"
        path.write_text(path.read_text().replace("implementation@", "other@"))
        changing = self.gateway.service.apply(load(path, findPlugins(), self.gateway.reactor))
        self.gateway.wait(10)
        self.successResultOf(changing)
        found = self.numbers()
        self.assertEqual(found[names.LINK_UP.name, "proxy.example.com"], 1)
        self.assertEqual(found[names.LINK_CONNECTIONS.name, "proxy.example.com"], 1)

    def test_protected(self) -> None:
        """The page needs the token, as the other paths do."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "token").write_text("t0ken")
        (folder / "token").chmod(0o600)
        tables = f'[http]\ntoken_file = "{folder}/token"\n[rooms."rooms.example.com"]\n'
        gateway = MemoryGateway(folder / "other", tables)
        self.addCleanup(gateway.stop)
        self.assertEqual(gateway.request("GET", "/metrics").status, 401)
        self.assertEqual(gateway.request("GET", "/metrics", Authorization="Bearer t0ken").status, 200)

    def test_unrecorded(self) -> None:
        """A gateway that records nothing has no page."""
        path = self.gateway.folder / "gateway.toml"
        reactor: Any = MemoryReactorClock()
        gateway: Any = makeService(load(path, findPlugins(), reactor), reactor)
        self.assertNotIn(b"metrics", gateway.webServer()._root.children)
