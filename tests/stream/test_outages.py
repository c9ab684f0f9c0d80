"""Reports about the connections of all components of one server."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from gateway.stream.outages import Back, Lost, Outage, Report, StillLost
from gateway.testing import MemoryGateway

REFUSED = "the server rejects the secret"
AWAY = "nothing listens"


class OutageTests(SynchronousTestCase):
    """One server with three components."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.outage = Outage()
        self.components = ("a", "b", "c")
        for each in self.components:
            self.outage.add(each)

    def failed(self, component: str, trouble: str = AWAY) -> list[Report]:
        return list(self.outage.failed(component, trouble, trouble == REFUSED, 0.5, self.now))

    def connected(self, component: str) -> list[Report]:
        return list(self.outage.connected(component, self.now))

    def wait(self, seconds: float) -> list[Report]:
        """Let time pass, a tick a second."""
        found: list[Report] = []
        for _ in range(round(seconds)):
            self.now += 1
            found += self.outage.tick(self.now)
        return found

    def test_whole(self) -> None:
        """An outage of an hour: one report at its begin, one each five minutes, one at its end."""
        self.assertEqual(self.failed("a") + self.failed("c"), [])
        self.assertEqual(self.failed("b"), [Lost(("a", "b", "c"), AWAY, 0.5)])
        found: list[Report] = []
        for _ in range(120):
            found += self.wait(30)
            for each in self.components:
                found += self.failed(each)
        # Three tries each half a minute; those of the last one come after the report.
        every = [StillLost(self.components, AWAY, 300.0 * n, 30 * n) for n in range(1, 13)]
        self.assertEqual(found, every)
        self.assertEqual(self.connected("a") + self.wait(5) + self.connected("b") + self.wait(5), [])
        self.assertEqual(self.connected("c"), [Back(self.components, 3610.0, 363)])
        self.assertEqual(self.wait(1000), [])

    def test_one(self) -> None:
        """If one of several is lost, this is reported a second later; also if it is connected again by then."""
        self.assertEqual(self.failed("b"), [])
        self.assertEqual(self.wait(2), [Lost(("b",), AWAY)])
        self.assertEqual(self.connected("b"), [Back(("b",), 2.0, 1)])
        self.wait(60)
        self.assertEqual(self.failed("b"), [])
        self.assertEqual(self.connected("b"), [Lost(("b",), AWAY), Back(("b",), 0.0, 1)])

    def test_reasons(self) -> None:
        """Each reason is a report of its own, and a refusal is reported whenever it comes, once in an outage."""
        self.failed("a")
        self.failed("b", REFUSED)
        self.assertEqual(self.failed("c"), [Lost(("a", "c"), AWAY, 0.5), Lost(("b",), REFUSED, 0.5)])
        self.assertEqual(self.failed("b") + self.failed("c", "closed") + self.failed("b", REFUSED), [])
        self.assertEqual(self.failed("a", REFUSED), [Lost(("a",), REFUSED, 0.5)])
        self.assertEqual(self.wait(10), [])

    def test_later(self) -> None:
        """A component that fails later is reported then."""
        self.failed("a")
        self.assertEqual(self.wait(2), [Lost(("a",), AWAY)])
        self.failed("b")
        self.assertEqual(self.wait(2), [Lost(("b",), AWAY)])

    def test_partly(self) -> None:
        """If one stays away, those that are back are reported half a minute later, and then the others."""
        for each in self.components:
            self.failed(each)
        self.assertEqual(self.connected("a") + self.connected("b") + self.wait(34), [])
        self.assertEqual(self.wait(1), [Back(("a", "b"), 35.0, 3)])
        self.assertEqual(self.wait(300), [StillLost(("c",), AWAY, 300.0, 3)])
        self.assertEqual(self.connected("c"), [Back(("c",), 335.0, 3)])

    def test_flapping(self) -> None:
        """A server that accepts a component and disconnects it at once, again and again, causes few reports."""
        self.outage = Outage()
        self.outage.add("a")
        found: list[Report] = []
        for _ in range(60):
            found += self.failed("a") + self.wait(5) + self.connected("a") + self.wait(5)
        expected = [
            Lost(("a",), AWAY, 0.5),
            Back(("a",), 5.0, 1),
            Lost(("a",), AWAY, 0.5),
            StillLost(("a",), AWAY, 301.0, 31),
        ]
        self.assertEqual(found, expected)
        self.assertEqual(self.wait(5), [Back(("a",), 595.0, 59)])
        self.wait(10)
        self.assertEqual(self.failed("a"), [Lost(("a",), AWAY, 0.5)])
        self.assertEqual(self.connected("a"), [Back(("a",), 0.0, 1)])

    def test_removed(self) -> None:
        """A component that is removed is not reported, and the others do not wait for it."""
        for each in self.components:
            self.failed(each)
        self.connected("a")
        self.connected("b")
        self.outage.remove("c")
        self.assertEqual(self.wait(1), [Back(("a", "b"), 1.0, 3)])
        self.failed("a")
        self.outage.remove("a")
        self.assertEqual(self.wait(1000), [])
        self.assertEqual(self.failed("b"), [Lost(("b",), AWAY, 0.5)])


class GatewayTests(SynchronousTestCase):
    """The log of a gateway with five components on one server, and one on another."""

    def test_log(self) -> None:
        """An outage of eleven minutes is four lines, and no other server's; its end is at info."""
        tables = "".join(f'[rooms."{name}.example.com"]\n' for name in "abcde")
        tables += '[rooms."z.example.com"]\nendpoint = "tcp:other.example:5347"\n'
        gateway = MemoryGateway(self.mktemp(), tables)
        self.addCleanup(gateway.stop)
        servers = [gateway.server(f"{name}.example.com") for name in "abcde"]
        gateway.wait(20)
        gateway.refuses = True
        with capturedLogs() as logged:
            for each in servers:
                each.lose()
            gateway.wait(660)
            gateway.refuses = False
            gateway.wait(60)
        events = [each for each in logged if each["log_namespace"].startswith("gateway.stream")]
        tries = [each for each in events if each["log_level"] is LogLevel.debug]
        self.assertGreater(len(tries), 100)
        events = [each for each in events if each not in tries]
        lines = [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]
        names = ", ".join(f"{name}.example.com" for name in "abcde")
        self.assertEqual(len(lines), 4, lines)
        self.assertRegex(lines[0], rf"^{names}: not connected: the server has .* \(next try in [\d.]+ s\)\.$")
        for line, seconds in zip(lines[1:3], ("300", "600"), strict=True):
            self.assertRegex(line, rf"^{names}: still not connected: .* \(for {seconds} s; failed tries: \d+\)\.$")
        self.assertRegex(lines[3], rf"^{names}: connected again \(after 6\d\d s; failed tries: \d+\)\.$")
        self.assertEqual([each["log_level"] for each in events], [LogLevel.warn] * 3 + [LogLevel.info])

    def test_removed(self) -> None:
        """A service that is removed while its component is not connected is not reported any longer."""
        gateway = MemoryGateway(self.mktemp(), '[rooms."a.example.com"]\n[rooms."b.example.com"]\n')
        self.addCleanup(gateway.stop)
        server = gateway.server("b.example.com")
        gateway.refuses = True
        with capturedLogs() as logged:
            server.lose()
            gateway.wait(10)
            gateway.service.remove("b.example.com")
            gateway.wait(660)
        reports = [each["event"] for each in logged if "b.example.com" in each.get("components", "")]
        self.assertEqual(reports, ["link.lost"])
