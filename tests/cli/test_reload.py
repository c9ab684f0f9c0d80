"""The request to read the configuration file again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from gateway import tap
from gateway.cli.web import Answer, Unreachable
from gateway.composition.reload import Reloader
from gateway.testing import MemoryGateway
from tests.cli.support import Reachable, call

WAIT = "import sys; sys.stdin.read()"
TABLES = """
[server]
endpoint = "tcp:127.0.0.1:9"
secret = "hidden"
[proxy."p.x.org"]
target = "imp@x.org"
"""


class ReloadTests(SynchronousTestCase):
    """C{xmpp-gateway reload}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "gateway.toml"
        self.file.write_text(TABLES)
        self.pidfile = self.folder / "twistd.pid"
        self.sent: list[int] = []
        self.patch(tap, "hangUp", self.hangUp)

    def hangUp(self, process: int) -> float:
        self.sent.append(process)
        return 0.0

    def reload(self, gateway: Any = None) -> Any:
        return call("reload", "--config", str(self.file), "--pidfile", str(self.pidfile), gateway=gateway)

    def running(self, reloads: bool = True) -> Reachable:
        """
        Return a gateway in memory with this file.

        @param reloads: true if the signal reaches it.
        """
        gateway = MemoryGateway(self.folder, TABLES)
        self.addCleanup(gateway.stop)
        reloader = Reloader(self.file, gateway.reactor, gateway.service)

        def hangUp(process: int) -> float:
            now: float = gateway.reactor.seconds()
            if reloads:
                reloader.reload()
            return now

        self.patch(tap, "hangUp", hangUp)
        self.process("gateway")
        return Reachable(gateway)

    def process(self, name: str, first: str = ":") -> int:
        """Return a process with this word in its command line, which runs a command, and ends with the test."""
        command = ["sh", "-c", f"{first}; echo; read end", name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        # Popen returns just before the process has its command line.
        assert process.stdout is not None
        process.stdout.readline()
        self.pidfile.write_text(f"{process.pid}")
        return process.pid

    def test_sent(self) -> None:
        """The process of the file gets the signal. If the gateway cannot be asked, the result is not known."""
        process = self.process("gateway")
        done = self.reload()
        self.assertEqual((done.exit_code, self.sent, done.stdout), (3, [process], ""), done.output)
        unknown = "the result is not known: no gateway answers. See its log.\n"
        self.assertEqual(done.stderr, f"Process {process} reloads its file, but {unknown}")

    def test_done(self) -> None:
        """The services that were changed are printed, after the gateway has changed them."""
        gateway = self.running()
        self.file.write_text(TABLES.replace("imp@", "other@") + '[rooms."r.x.org"]\n')
        done = self.reload(gateway)
        self.assertEqual((done.exit_code, done.stdout), (0, "Reloaded.\n  added: r.x.org\n  replaced: p.x.org\n"))
        self.file.write_text('[server]\nendpoint = "tcp:127.0.0.1:9"\nsecret = "hidden"\n[rooms."r.x.org"]\n')
        self.assertEqual(self.reload(gateway).stdout, "Reloaded.\n  removed: p.x.org\n")
        self.assertEqual(self.reload(gateway).stdout, "Reloaded: no service differs.\n")

    def test_refused(self) -> None:
        """A change that only the running gateway can refuse: its errors are printed, and the exit code is 1."""
        gateway = self.running()
        self.file.write_text('state_dir = "other"\n' + TABLES + '[http]\nlisten = "tcp:5291:interface=127.0.0.1"\n')
        done = self.reload(gateway)
        self.assertEqual((done.exit_code, done.stdout), (1, ""))
        self.assertIn("configuration: the reload at ", done.stderr)
        self.assertIn(" was refused; nothing was changed:\n", done.stderr)
        for key in ("state_dir", "http"):
            self.assertIn(f"\n    {key}: has changed, which requires a restart\n", done.stderr)
        # Both forms of the report have it until the next reload.
        self.assertIn("was refused; nothing was changed", self.get(gateway, "/status"))
        page = self.get(gateway, "/")
        self.assertIn("Configuration</h2>", page)
        self.assertIn("http: has changed, which requires a restart", page)

    def get(self, gateway: Reachable, path: str) -> str:
        """Return what the gateway has at a path."""
        return self.successResultOf(Deferred.fromCoroutine(gateway.request("GET", path))).text

    def test_newToken(self) -> None:
        """The gateway may refuse the new token until it has read it."""
        gateway = self.running()
        request, refused = gateway.request, []

        async def refuse(method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
            if not refused:
                refused.append(path)
                raise Unreachable("refuses this command: another token")
            return await request(method, path, body, **headers)

        self.patch(gateway, "request", refuse)
        done = self.reload(gateway)
        self.assertEqual((done.exit_code, done.stdout), (0, "Reloaded: no service differs.\n"))
        self.assertEqual(refused, ["/status"])

    def test_late(self) -> None:
        """A gateway that does not reload is not waited for without end."""
        done = self.reload(self.running(reloads=False))
        self.assertEqual((done.exit_code, done.stdout), (3, ""), done.output)
        self.assertIn("/status does not have it after 90 s. See its log.", done.stderr)

    def test_errors(self) -> None:
        """If the configuration has errors, they are printed, and no signal is sent."""
        self.process("gateway")
        self.file.write_text(TABLES.replace("target", "tarqet"))
        done = self.reload()
        self.assertEqual((done.exit_code, self.sent), (1, []))
        self.assertIn("2 errors:", done.stderr)

    def test_other(self) -> None:
        """Another process that has the number now is not disturbed."""
        self.process("innocent")
        done = self.reload()
        self.assertEqual((done.exit_code, self.sent), (1, []))
        self.assertIn("is no gateway: was it killed?", done.stderr)

    def test_ignored(self) -> None:
        """A process that ignores the signal, as under nohup, would not reload; the message says why."""
        process = self.process("gateway", "trap '' HUP")
        done = self.reload()
        self.assertEqual((done.exit_code, self.sent), (1, []))
        self.assertIn(f"process {process} ignores SIGHUP, as programs under nohup do: restart it", done.stderr)

    def test_wrong(self) -> None:
        """A file that is missing, or has no number of a process."""
        self.assertIn("--pidfile", self.reload().stderr)
        for text in ("x", "-1", "0", "1"):
            self.pidfile.write_text(text)
            done = self.reload()
            self.assertEqual((done.exit_code, self.sent), (1, []), text)

    def test_gone(self) -> None:
        """A process that has ended, or may not be signalled."""

        def fail(process: int) -> float:
            raise PermissionError(1, os.strerror(1))

        self.process("gateway")
        self.patch(tap, "hangUp", fail)
        done = self.reload()
        self.assertEqual(done.exit_code, 1)
        self.assertIn("cannot be signalled: Operation not permitted", done.stderr)


class HangUpTests(SynchronousTestCase):
    """The signal."""

    def test_hangUp(self) -> None:
        """The process gets SIGHUP, which ends one that does not handle it."""
        process = subprocess.Popen([sys.executable, "-c", WAIT], stdin=subprocess.PIPE)
        before = time()
        self.assertTrue(before <= tap.hangUp(process.pid) <= time())
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, -1)
