"""The unit for systemd, checked by systemd's own tools; and the messages of a gateway that runs as one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PROXY, LiveTests, proxy, scenario
from tests.live.processes import holds, need
from tests.live.servers import Prosody

FILES = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
UNIT = FILES / "xmpp-gateway.service"


class UnitTests(SynchronousTestCase):
    """The files in C{packaging/systemd}."""

    def setUp(self) -> None:
        need(None if shutil.which("systemd-analyze") else "systemd is not installed")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def succeeds(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-500:] + done.stderr)
        return done.stdout + done.stderr

    def test_security(self) -> None:
        """The exposure is at most 2.0, of 10."""
        self.succeeds("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT))

    def test_verify(self) -> None:
        """systemd knows all settings. The command is one that exists here."""
        unit = self.folder / UNIT.name
        unit.write_text(UNIT.read_text().replace("/usr/bin/xmpp-gateway", sys.executable))
        self.assertEqual(self.succeeds("systemd-analyze", "verify", "--man=no", str(unit)), "")

    def test_folders(self) -> None:
        """The user is made; only it can use the folders of the configuration and of the state."""
        if os.geteuid() != 0:
            return
        (self.folder / "etc").mkdir()
        root = f"--root={self.folder}"
        self.succeeds("systemd-sysusers", root, str(FILES / "sysusers.conf"))
        self.succeeds("systemd-tmpfiles", "--create", root, str(FILES / "tmpfiles.conf"))
        [user] = [line for line in (self.folder / "etc/passwd").read_text().splitlines() if "xmpp-gateway" in line]
        for name in ("etc/xmpp-gateway", "var/lib/xmpp-gateway"):
            found = (self.folder / name).stat()
            self.assertEqual((found.st_mode & 0o777, found.st_uid), (0o700, int(user.split(":")[2])))


class NotifyTests(LiveTests, SynchronousTestCase):
    """A gateway with a socket of systemd in its environment."""

    serverClass = Prosody

    @scenario(60)
    async def test_life(self) -> None:
        """Ready with its link, alive, reloading twice, stopping."""
        name = f"xmpp-gateway-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(f"\0{name}")
            listening.setblocking(False)
            messages: list[list[str]] = []

            def has(line: str) -> bool:
                try:
                    while True:
                        messages.append(listening.recv(4096).decode().split("\n"))
                except BlockingIOError:
                    return any(line in lines for lines in messages)

            gateway = self.newGateway(proxy(PROXY))
            gateway.environment.update(NOTIFY_SOCKET=f"@{name}", WATCHDOG_USEC="1000000")
            gateway.start()
            await gateway.ready()
            await holds(lambda: has("READY=1"), 5, "the start is over")
            self.assertIn(["READY=1", "STATUS=1 of 1 links connected"], messages)
            text = gateway.config.read_text()
            for wrong, status in (("", "STATUS=1 of 1 links connected"), ("[", "configuration: the reload at ")):
                messages.clear()
                gateway.config.write_text(text + wrong)
                gateway.child.send_signal(signal.SIGHUP)
                await holds(lambda: has("READY=1"), 5, "the reload is over")
                [begun] = [lines for lines in messages if "RELOADING=1" in lines]
                self.assertRegex(begun[1], r"^MONOTONIC_USEC=[0-9]+$")
                [ended] = [lines for lines in messages if "READY=1" in lines]
                self.assertIn(status, ended[1])
            messages.clear()
            await holds(lambda: has("WATCHDOG=1"), 5, "a sign of life")
            await gateway.terminate()
            self.assertTrue(has("STOPPING=1"))
