"""The messages to systemd, in memory and through a socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.reports import StatusItem
from gateway.systemd import ServiceManager, notify, serviceManager


@define
class Link:
    """A link that is reported."""

    jid: str
    ready: bool = False
    trouble: str = "connecting"
    conflict: str = ""


@define
class Gateway:
    """The parts of a gateway that are reported."""

    links: list[Any] = field(factory=lambda: [Link("proxy.example.com"), Link("rooms.example.com")])
    reports: list[StatusItem] = field(factory=list)


class ServiceManagerTests(SynchronousTestCase):
    """The messages of a gateway's life."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.gateway = Gateway()
        self.sent: list[tuple[str, ...]] = []

    def start(self, watchdog: float | None = None) -> ServiceManager:
        def send(*lines: str) -> None:
            self.sent.append(lines)

        made = ServiceManager(self.gateway, self.clock, send, lambda: 12.3456789, watchdog)
        made.startService()
        return made

    def taken(self) -> list[tuple[str, ...]]:
        taken, self.sent[:] = self.sent[:], []
        return taken

    def connect(self) -> None:
        for link in self.gateway.links:
            link.ready, link.trouble = True, ""

    def started(self) -> ServiceManager:
        """Return the manager of a gateway that is ready."""
        self.connect()
        made = self.start()
        self.taken()
        return made

    def test_ready(self) -> None:
        """The start is over when all links are connected; until then the sentence names the first that is not."""
        self.start()
        self.assertEqual(self.taken(), [("STATUS=0 of 2 links connected; proxy.example.com: connecting",)])
        self.gateway.links[0].ready = True
        self.clock.advance(1)
        self.assertEqual(self.taken(), [("STATUS=1 of 2 links connected; rooms.example.com: connecting",)])
        self.connect()
        self.clock.advance(1)
        self.assertEqual(self.taken(), [("READY=1", "STATUS=2 of 2 links connected")])
        self.clock.pump([1] * 60)
        self.assertEqual(self.taken(), [])

    def test_late(self) -> None:
        """After 30 seconds the start is over in any case, and says what is wrong."""
        self.start()
        self.clock.pump([1] * 29)
        self.assertEqual(len(self.taken()), 1)
        self.clock.advance(1)
        self.assertEqual(
            self.taken(), [("READY=1", "STATUS=0 of 2 links connected; proxy.example.com: connecting")]
        )

    def test_lost(self) -> None:
        """A lost connection changes the sentence; its text cannot add lines, and is not long."""
        self.started()
        self.gateway.links[1].ready, self.gateway.links[1].trouble = False, "refused\nREADY=1" + "x" * 1000
        self.clock.advance(1)
        [[line]] = self.taken()
        self.assertTrue(line.startswith("STATUS=1 of 2 links connected; rooms.example.com: refused\\nREADY=1x"))
        self.assertEqual(len(line), len("STATUS=") + 300)

    def test_reload(self) -> None:
        """A reload has a beginning with its time in microseconds, and an end, also if the file has errors."""
        manager = self.started()
        reload: Deferred[None] = Deferred()
        manager.reloading(lambda: reload)
        begun = ("RELOADING=1", "MONOTONIC_USEC=12345678", "STATUS=reloading the configuration")
        self.assertEqual(self.taken(), [begun])
        text = "configuration: the reload was refused:{lines}"
        self.gateway.reports.append(StatusItem("gateway.reload", text, {"lines": "\n  x"}, isProblem=True))
        reload.callback(None)
        ended = "STATUS=2 of 2 links connected; configuration: the reload was refused:"
        self.assertEqual(self.taken(), [("READY=1", ended)])

    def test_reloadBefore(self) -> None:
        """A reload during the start does not end the start."""
        manager = self.start()
        self.taken()
        reload: Deferred[None] = Deferred()
        manager.reloading(lambda: reload)
        reload.callback(None)
        self.assertEqual(self.taken(), [])

    def test_reloadAtStop(self) -> None:
        """A reload that ends during the stop says nothing."""
        manager = self.started()
        reload: Deferred[None] = Deferred()
        manager.reloading(lambda: reload)
        manager.stopService()
        self.taken()
        reload.callback(None)
        self.assertEqual(self.taken(), [])

    def test_stop(self) -> None:
        """The stop is reported before the other services stop, and is the end of all messages."""
        process = MultiService()
        stopping: list[str] = []
        other = MultiService()
        self.patch(other, "stopService", lambda: stopping.extend(line for lines in self.taken() for line in lines))
        other.setServiceParent(process)
        manager = self.started()
        manager.setServiceParent(process)
        process.running = 1
        process.stopService()
        self.assertEqual(stopping, ["STOPPING=1", "STATUS=stopping; waiting for open requests"])
        self.clock.advance(60)
        self.assertEqual(self.taken(), [])

    def test_watchdog(self) -> None:
        """Signs of life come at half of the time of the watchdog, however short it is."""
        self.connect()
        for watchdog, expected in ((30.0, 4), (2.0, 60), (0.5, 240)):
            manager = self.start(watchdog)
            self.taken()
            self.clock.pump([0.125] * 480)
            self.assertEqual(self.taken(), [("WATCHDOG=1",)] * expected)
            manager.stopService()

    def test_environment(self) -> None:
        """A unit of another type, and a process that is no unit, have no service manager."""
        unit = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "30000000"}
        for changes, watchdog in (
            ({}, 30.0),
            ({"WATCHDOG_PID": str(os.getpid())}, 30.0),
            ({"WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
        ):
            made = serviceManager(self.gateway, self.clock, {**unit, **changes}, float)
            assert made is not None
            self.assertEqual(made._watchdog, watchdog)
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
            self.assertIdentical(serviceManager(self.gateway, self.clock, environment, float), None)


class NotifyTests(SynchronousTestCase):
    """The socket of systemd."""

    def listen(self, name: str) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(name)
        listening.settimeout(10)
        return listening

    def test_send(self) -> None:
        """Lines are one message, to a path and to a name in the abstract namespace."""
        path = os.path.relpath(Path(self.mktemp()))
        name = f"gateway-test-{os.getpid()}"
        for address, bound in ((path, path), (f"@{name}", f"\0{name}")):
            listening = self.listen(bound)
            notify(address, "READY=1", "STATUS=ü")
            self.assertEqual(listening.recv(100), "READY=1\nSTATUS=ü".encode())

    def test_lost(self) -> None:
        """A message that nobody receives has no effect, and nothing waits for a slow receiver."""
        notify(str(Path(self.mktemp()).absolute())[:100], "READY=1")
        path = os.path.relpath(Path(self.mktemp()))
        self.listen(path)
        for _ in range(1_000):
            notify(path, "WATCHDOG=1")
