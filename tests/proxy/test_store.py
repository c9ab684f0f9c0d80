"""The file with open exchanges for the next process."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.proxy.exchanges import OpenExchange
from gateway.proxy.store import ExchangeFile
from gateway.state import files

OPEN = [
    OpenExchange("user@example.com/\u05d0 'x'", "n@proxy.example.com", "1", "t@example.com/a", 12.5, ()),
    OpenExchange("user@example.com/b", "proxy.example.com", "2", "t@example.com/b", 13.0, (13.5, 14.0)),
]


class ExchangeFileTests(SynchronousTestCase):
    """Stored exchanges are read once; a file that cannot be used is reported, and prevents nothing."""

    def setUp(self) -> None:
        self.file = ExchangeFile(Path(self.mktemp()))
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        if event.get("log_namespace") == "gateway.proxy.store.ExchangeFile":
            self.said.append(str(event["log_format"]).format(**event))  # type: ignore[arg-type]  # a log event's values are objects

    def test_leftAndTaken(self) -> None:
        """The next process gets the stored exchanges, and the one after it none."""
        self.file.leave(OPEN)
        self.assertEqual(self.file.take(), OPEN)
        self.assertEqual(self.file.take(), [])
        self.assertEqual(self.said, [])

    def test_otherClock(self) -> None:
        """Deadlines are stored in UTC: the next process has another clock, and the same remaining time."""
        self.file.leave(OPEN, 1000.0)
        taken = self.file.take(1500.0)
        self.assertEqual([each.deadline for each in taken], [-487.5, -487.0])
        self.assertEqual(taken[1].copies, (-486.5, -486.0))
        self.file.leave(OPEN, 1000.0)
        self.assertIn("1012.5", self.file.path.read_text())

    def test_nothing(self) -> None:
        """Without open exchanges there is no file."""
        self.file.leave([])
        self.assertFalse(self.file.path.exists())
        self.assertEqual(self.file.take(), [])

    def test_broken(self) -> None:
        """A file with other content is reported and removed: the gateway starts."""
        for content in (b"", b"[", b"{}", b"[1]", b'[{"id": "1"}]', b"\xff", b'"x"'):
            self.file.path.write_bytes(content)
            self.said.clear()
            self.assertEqual("is not a file of open exchanges" in self.file.problem(), content != b"{}", content)
            self.assertEqual(self.file.path.read_bytes(), content)
            self.assertEqual(self.file.take(), [], content)
            self.assertEqual(len(self.said), content != b"{}", content)
            self.assertFalse(self.file.path.exists(), content)
        self.assertEqual(self.file.problem(), "")
        self.file.path.mkdir()
        self.assertIn("cannot be read: Is a directory", self.file.problem())
        self.assertEqual(self.file.take(), [])

    def test_halfWritten(self) -> None:
        """If the disk is full, the old file stays, and no partial file is left."""
        self.file.leave(OPEN[:1])

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(files.os, "fsync", full)
        self.file.leave(OPEN)
        self.assertIn("No space left", self.said[0])
        self.assertEqual(list(self.file.path.parent.glob(f"{self.file.path.name}*")), [self.file.path])
        self.assertEqual(self.file.take(), OPEN[:1])

    def test_replaced(self) -> None:
        """A new file replaces one that was not read; only its owner can read it, with any umask."""
        self.addCleanup(os.umask, os.umask(0))
        self.file.leave(OPEN[:1])
        self.file.leave(OPEN)
        self.assertEqual(stat.S_IMODE(self.file.path.stat().st_mode), 0o600)
        self.assertEqual(list(self.file.path.parent.glob(f"{self.file.path.name}*")), [self.file.path])
        self.assertEqual(self.file.take(), OPEN)

    def test_noFolder(self) -> None:
        """If the file cannot be written, this is reported, and the stop continues."""
        file = ExchangeFile(Path(self.mktemp(), "x"))
        file.leave(OPEN)
        self.assertIn("cannot be written", self.said[0])
