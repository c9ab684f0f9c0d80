"""Backups of a state folder, and their restoration."""

from __future__ import annotations

import io
import os
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.state.backup import BackupFailed, backUp, openDatabases, restore


class BackupTests(SynchronousTestCase):
    """The functions."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.folder = self.base / "state"
        self.folder.mkdir(parents=True, mode=0o700)
        self.archive = self.base / "backup.tar"
        (self.folder / "proxy.key").write_text("00" * 32)
        self.database = sqlite3.connect(self.folder / "data", isolation_level=None)
        self.addCleanup(self.database.close)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA user_version = 3")
        self.database.execute("CREATE TABLE t (n)")
        self.database.execute("INSERT INTO t VALUES (1)")

    def values(self) -> list[int]:
        with closing(sqlite3.connect(self.folder / "data")) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]

    def test_copied(self) -> None:
        """All files are copied, databases without what is not committed, into an archive for its owner only."""
        self.database.execute("BEGIN")
        self.database.execute("INSERT INTO t VALUES (2)")
        copied = backUp(self.folder, self.archive)
        self.assertEqual(
            [(each.name, each.isDatabase, each.version) for each in copied],
            [("data", True, 3), ("proxy.key", False, 0)],
        )
        self.assertEqual(stat.S_IMODE(self.archive.stat().st_mode), 0o600)
        self.assertEqual(sorted(each.name for each in self.base.iterdir()), ["backup.tar", "state"])
        self.database.execute("COMMIT")
        self.assertEqual(self.values(), [1, 2])
        old = restore(self.archive, self.folder)
        assert old is not None
        self.assertEqual(self.values(), [1])
        self.assertEqual((self.folder / "proxy.key").read_text(), "00" * 32)
        self.assertTrue((old / "data").exists())
        modes = {stat.S_IMODE(each.stat().st_mode) for each in self.folder.iterdir() if each.name != "data-shm"}
        self.assertEqual((modes, stat.S_IMODE(self.folder.stat().st_mode)), ({0o600}, 0o700))

    def test_log(self) -> None:
        """Rows that are only in the write-ahead log are copied, too."""
        self.assertTrue((self.folder / "data-wal").stat().st_size)
        self.assertEqual(openDatabases(self.folder), [self.folder / "data"])
        backUp(self.folder, self.archive)
        self.database.close()
        self.assertEqual(openDatabases(self.folder), [])
        (self.folder / "data").unlink()
        restore(self.archive, self.folder)
        self.assertEqual(self.values(), [1])

    def test_existing(self) -> None:
        """An existing archive is kept, unless it may be replaced."""
        self.archive.write_text("mine")
        with self.assertRaisesRegex(BackupFailed, "exists already"):
            backUp(self.folder, self.archive)
        self.assertEqual(self.archive.read_text(), "mine")
        self.assertEqual(len(backUp(self.folder, self.archive, replace=True)), 2)

    def test_nothing(self) -> None:
        """A folder that does not exist, or is empty, and an archive that cannot be written are errors."""
        (self.base / "empty").mkdir()
        for folder, archive, reason in (
            (self.base / "none", self.archive, "does not exist"),
            (self.base / "empty", self.archive, "nothing to back up"),
            (self.folder, self.base / "none" / "x.tar", "No such file"),
        ):
            with self.assertRaisesRegex(BackupFailed, reason):
                backUp(folder, archive)
        self.assertFalse(self.archive.exists())

    def test_fresh(self) -> None:
        """A backup can be restored where there is no state folder."""
        backUp(self.folder, self.archive)
        self.assertIsNone(restore(self.archive, self.base / "new"))
        self.assertEqual(sorted(each.name for each in (self.base / "new").iterdir()), ["data", "proxy.key"])

    def test_bad(self) -> None:
        """An archive that is none, is cut off, or has other members is not restored; the folder stays as it is."""
        before = sorted(os.listdir(self.folder))

        def archive(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> None:
            with tarfile.open(self.archive, "w") as tar:
                head = tarfile.TarInfo(name)
                head.size, head.type, head.linkname = len(data), kind, "/etc/passwd"
                tar.addfile(head, io.BytesIO(data))

        def cut() -> None:
            backUp(self.folder, self.archive, replace=True)
            self.archive.write_bytes(self.archive.read_bytes()[:3_000])

        def corrupt() -> None:
            backUp(self.folder, self.archive, replace=True)
            data = bytearray(self.archive.read_bytes())
            at = data.index(b"SQLite format 3\0")
            data[at + 100 : at + 4_096] = b"\xff" * 3_996
            self.archive.write_bytes(data)

        for make, reason in (
            (lambda: self.archive.write_text("no archive"), "was not made by xmpp-gateway state backup"),
            (lambda: archive("../evil"), "not made by this command"),
            (lambda: archive("/etc/evil"), "not made by this command"),
            (lambda: archive(".hidden"), "not made by this command"),
            (lambda: archive("link", kind=tarfile.SYMTYPE), "not made by this command"),
            (lambda: archive("data-wal"), "not made by this command"),
            (cut, "cannot be restored"),
            (corrupt, "is not usable: .* is corrupt|is not usable: .* cannot be used"),
        ):
            make()
            with self.assertRaisesRegex(BackupFailed, reason):
                restore(self.archive, self.folder)
            self.assertEqual(sorted(os.listdir(self.folder)), before)
            self.assertEqual(sorted(each.name for each in self.base.iterdir()), ["backup.tar", "state"])
        self.assertEqual(self.values(), [1])
