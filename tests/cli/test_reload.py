"""The request to read the configuration file again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway import tap
from tests.cli.support import call

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
        self.patch(tap, "hangUp", self.sent.append)

    def reload(self) -> Any:
        return call("reload", "--config", str(self.file), "--pidfile", str(self.pidfile))

    def process(self, name: str) -> int:
        """Return a process with this word in its command line, which ends with the test."""
        command = [sys.executable, "-c", WAIT, name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.pidfile.write_text(f"{process.pid}")
        return process.pid

    def test_sent(self) -> None:
        """The process of the file gets the signal."""
        process = self.process("gateway")
        done = self.reload()
        self.assertEqual((done.exit_code, self.sent), (0, [process]), done.output)
        self.assertEqual(done.stdout, f"Process {process} reloads {self.file}; see its log.\n")

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

    def test_wrong(self) -> None:
        """A file that is missing, or has no number of a process."""
        self.assertIn("--pidfile", self.reload().stderr)
        for text in ("x", "-1", "0", "1"):
            self.pidfile.write_text(text)
            done = self.reload()
            self.assertEqual((done.exit_code, self.sent), (1, []), text)

    def test_gone(self) -> None:
        """A process that has ended, or may not be signalled."""

        def fail(process: int) -> None:
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
        tap.hangUp(process.pid)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, -1)
