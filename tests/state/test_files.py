"""Atomic writes, and checks of files before they are used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.state import files
from tests.disks import smallDisk
from tests.live.processes import need

ROOT = Path(__file__).resolve().parents[2]

# Writes until it is killed.
WRITER = """
import sys
from pathlib import Path
from gateway.state import files
print("ready", flush=True)
while True:
    for letter in b"ab":
        files.write(Path(sys.argv[1]), bytes([letter]) * 100_000)
"""


class FilesCase(SynchronousTestCase):
    """A folder for the files of a test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "file"

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def names(self) -> list[str]:
        return sorted(each.name for each in self.folder.iterdir())


class WriteTests(FilesCase):
    """Files and folders that the gateway creates."""

    def test_modes(self) -> None:
        """Files get mode 0600 and folders 0700, whatever the umask, and whatever mode a replaced file had."""
        for umask in (0, 0o022, 0o077, 0o377, 0o777):
            with self.subTest(oct(umask)):
                before = os.umask(umask)
                self.addCleanup(os.umask, before)
                folder = self.folder / f"{umask}"
                files.makeFolder(folder)
                files.makeFile(folder / "made")
                files.write(folder / "new", b"x", replace=False)
                (folder / "old").write_bytes(b"")
                files.write(folder / "old", b"x")
                os.umask(before)
                self.assertEqual(self.mode(folder), 0o700)
                self.assertEqual({self.mode(each) for each in folder.iterdir()}, {0o600})

    def test_kept(self) -> None:
        """An existing folder or file is kept."""
        self.path.write_bytes(b"x")
        self.path.chmod(0o640)
        files.makeFile(self.path)
        self.assertRaises(FileExistsError, files.write, self.path, b"y", replace=False)
        self.folder.chmod(0o750)
        files.makeFolder(self.folder)
        self.assertEqual(
            (self.path.read_bytes(), self.mode(self.path), self.mode(self.folder)), (b"x", 0o640, 0o750)
        )
        self.assertEqual(self.names(), ["file"])

    def test_owner(self) -> None:
        """A file that root creates belongs to the owner of the folder, because twistd may change to that user."""
        need("only root can give a folder away" if os.geteuid() else None)
        os.chown(self.folder, 12345, 23456)
        files.makeFile(self.path)
        files.write(self.folder / "written", b"x")
        for path in (self.path, self.folder / "written"):
            found = path.stat()
            self.assertEqual((found.st_uid, found.st_gid, self.mode(path)), (12345, 23456, 0o600))

    def test_noLinks(self) -> None:
        """On a file system without hard links, an existing file is still kept."""

        def refused(*arguments: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(Path, "hardlink_to", refused)
        files.write(self.path, b"x", replace=False)
        self.assertRaises(FileExistsError, files.write, self.path, b"y", replace=False)
        self.assertEqual((self.path.read_bytes(), self.names()), (b"x", ["file"]))

    def test_flushed(self) -> None:
        """The content is flushed to the disk before the file is renamed, and then the folder is flushed."""
        done: list[str] = []
        sync, replace = os.fsync, Path.replace

        def synced(descriptor: int) -> None:
            done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
            sync(descriptor)

        def replaced(path: Path, target: Path) -> Path:
            done.append("name")
            return replace(path, target)

        self.patch(os, "fsync", synced)
        self.patch(Path, "replace", replaced)
        files.write(self.path, b"x")
        self.assertEqual(done, ["file", "name", "folder"])

    def test_full(self) -> None:
        """On a full disk the old file stays, or none; no temporary file is left."""
        with smallDisk(self.folder / "disk", "64k") as disk:
            path = disk.path / "file"
            files.write(path, b"before")
            disk.fill()
            for attempt in ("file", "other"):
                error = self.assertRaises(OSError, files.write, disk.path / attempt, bytes(100_000))
                self.assertIn("No space left", str(error))
            self.assertEqual(sorted(each.name for each in disk.path.iterdir()), ["file", "filling"])
            self.assertEqual(path.read_bytes(), b"before")

    def test_killed(self) -> None:
        """A process that is killed while it writes leaves a complete file."""
        for _ in range(5):
            process = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(self.path)],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert process.stdout is not None
            with process.stdout:
                process.stdout.readline()
                while not self.path.exists():
                    pass
                process.kill()
                process.wait()
            self.assertIn(self.path.read_bytes(), (b"a" * 100_000, b"b" * 100_000))


class LengthenTests(FilesCase):
    """A file gets a length."""

    def test_zeros(self) -> None:
        """Zeros are appended; a file that is long enough stays as it is."""
        path = Path(self.mktemp())
        path.write_bytes(b"content")
        files.lengthen(path, 10)
        self.assertEqual(path.read_bytes(), b"content\0\0\0")
        files.lengthen(path, 9)
        self.assertEqual(path.read_bytes(), b"content\0\0\0")

    def test_full(self) -> None:
        """On a full disk, the file stays as it is."""
        with smallDisk(Path(self.mktemp()).absolute(), "64k") as disk:
            path = disk.path / "x"
            path.write_bytes(b"content")
            self.assertRaises(OSError, files.lengthen, path, 100_000)
            self.assertEqual(path.read_bytes(), b"content")


class ReadLineTests(FilesCase):
    """Files with a secret, a token or a key."""

    def test_read(self) -> None:
        """White space around the line, and a byte order mark before it, are removed."""
        for content in (b"p\xc3\xa4ss word", b" p\xc3\xa4ss word\r\n\n", b"\xef\xbb\xbfp\xc3\xa4ss word\n"):
            self.path.write_bytes(content)
            self.assertEqual(files.readLine(self.path), "p\u00e4ss word", content)

    def test_refused(self) -> None:
        """Any other content is refused at once with a reason that does not show it."""
        for content, reason in (
            (b"", "exactly one line"),
            (b"\xef\xbb\xbf \n", "exactly one line"),
            (b"hidden\nhidden", "exactly one line"),
            (b"hidden" * 1000, "longer than 4096 bytes"),
            (b"hidden\xff", "not text in UTF-8"),
            (b"hidden\0hidden", "control characters"),
            (b"hidden\x1b", "control characters"),
        ):
            self.path.write_bytes(content)
            error = self.assertRaises(ValueError, files.readLine, self.path)
            self.assertIn(reason, str(error), content)
            self.assertNotIn("hidden", str(error))
            self.assertNotIn("ff", str(error))

    def test_otherKinds(self) -> None:
        """A folder is refused; a pipe without a writer, or an endless device, does not block."""
        self.assertRaises(IsADirectoryError, files.readLine, self.folder)
        os.mkfifo(self.path)
        self.assertRaises(ValueError, files.readLine, self.path)
        self.assertRaises(ValueError, files.readLine, Path("/dev/zero"))
        self.assertRaises(FileNotFoundError, files.readLine, self.folder / "none")


class ProblemTests(FilesCase):
    """Checks of folders."""

    def test_folder(self) -> None:
        """A folder that can be used or created has no problem; the check leaves nothing behind."""
        for folder in (self.folder, self.folder / "new", self.folder / "new" / "newer"):
            self.assertEqual(files.folderProblem(folder), "")
        self.assertEqual(self.names(), [])

    def test_folderProblem(self) -> None:
        """The reason comes from the file system, also for root and on a read-only mount."""
        self.path.write_bytes(b"")
        (self.folder / "loop").symlink_to("loop")
        for name in ("file", "file/new", "loop", "loop/new"):
            problem = files.folderProblem(self.folder / name)
            self.assertIn(f"cannot be created: {self.folder / name.split('/')[0]} is not a folder", problem)
        self.assertIn(
            f"cannot be created: /proc is not writable for the gateway's user (uid {os.geteuid()}): No such file",
            files.folderProblem(Path("/proc/x")),
        )
        with smallDisk(self.folder / "disk", "64k") as disk:
            disk.remount("ro")
            for folder in (disk.path, disk.path / "new"):
                problem = f"{disk.path} is not writable for the gateway's user (uid {os.geteuid()}): Read-only"
                self.assertIn(problem, files.folderProblem(folder))

    def test_openToOthers(self) -> None:
        """Others are users who are neither the owner nor in the group."""
        self.path.write_bytes(b"")
        for mode, isOpen in ((0o600, False), (0o640, False), (0o644, True), (0o602, True), (0o400, False)):
            self.path.chmod(mode)
            self.assertEqual(f"has mode {mode:04o}" in files.openToOthers(self.path), isOpen, oct(mode))
        self.assertEqual(files.openToOthers(self.folder / "none"), "")

    def test_openFolder(self) -> None:
        """A folder that is closed to others protects its files."""
        self.path.write_bytes(b"")
        self.path.chmod(0o644)
        self.folder.chmod(0o755)
        self.assertEqual(len(list(files.openFilesIn(self.folder))), 2)
        self.path.chmod(0o600)
        self.assertEqual(len(list(files.openFilesIn(self.folder))), 1)
        self.path.chmod(0o644)
        self.folder.chmod(0o700)
        self.assertEqual(list(files.openFilesIn(self.folder)), [])
        self.assertEqual(list(files.openFilesIn(self.folder / "none")), [])
