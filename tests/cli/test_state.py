"""Backups, restorations and upgrades of the state folder, as commands."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.testing import MemoryGateway
from tests.cli.support import Reachable, call

PRIVATE = """
[delegation."delegate.example.com"]
servers = ["example.com"]
[delegation."delegate.example.com".namespaces]
"jabber:iq:private" = { handler = "private-storage" }
[proxy."proxy.example.com"]
target = "implementation@example.com"
"""


class CommandTests(SynchronousTestCase):
    """C{xmpp-gateway state}."""

    def setUp(self) -> None:
        self.gateway = MemoryGateway(self.mktemp(), PRIVATE)
        self.file = str(self.gateway.folder / "gateway.toml")
        self.state = self.gateway.folder / "state"
        self.archive = str(self.gateway.folder / "backup.tar")

    def test_backup(self) -> None:
        """A backup of a running gateway, restored after its stop; the old folder is kept and named."""
        done = call("state", "backup", self.archive, "--config", self.file, gateway=Reachable(self.gateway))
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn(f"{self.archive}: 3 files of {self.state}\n", done.stdout)
        done = call("state", "restore", self.archive, "--config", self.file, gateway=Reachable(self.gateway))
        self.assertEqual(done.exit_code, 1)
        self.assertIn("a gateway runs at http://127.0.0.1:5290: stop it first", done.stderr)
        self.gateway.stop()
        (self.state / "proxy.example.com.key").write_text("lost")
        done = call("state", "restore", self.archive, "--config", self.file)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertRegex(done.stdout, "The old folder is .*/state.before-")
        self.assertEqual(len((self.state / "proxy.example.com.key").read_text()), 65)

    def test_existing(self) -> None:
        """An existing file is not replaced without --force."""
        self.addCleanup(self.gateway.stop)
        Path(self.archive).write_text("mine")
        done = call("state", "backup", self.archive, "--config", self.file)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("choose another name, or give --force", done.stderr)
        self.assertEqual(call("state", "backup", self.archive, "--force", "--config", self.file).exit_code, 0)

    def test_killed(self) -> None:
        """A database that is open elsewhere prevents a restoration and an upgrade."""
        call("state", "backup", self.archive, "--config", self.file)
        self.gateway.stop()
        (self.state / "delegate.example.com.private-wal").write_bytes(b"")
        for arguments in (("restore", self.archive), ("upgrade",)):
            done = call("state", *arguments, "--config", self.file)
            self.assertEqual(done.exit_code, 1, done.output)
            self.assertIn("delegate.example.com.private is open: stop the gateway first", done.stderr)

    def test_upgrade(self) -> None:
        """Each database gets the schema of this release; one of a newer release is an error."""
        self.gateway.stop()
        private = self.state / "delegate.example.com.private"
        private.unlink()
        done = call("state", "upgrade", "--config", self.file)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertRegex(done.stdout, rf"{private}: version 0 is now \d")
        done = call("state", "upgrade", "--config", self.file)
        self.assertRegex(done.stdout, rf"{private}: version \d\n")
        with closing(sqlite3.connect(private)) as connection:
            connection.execute("PRAGMA user_version = 99")
        done = call("state", "upgrade", "--config", self.file)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("a newer release of the gateway has changed it", done.stderr)
