"""Disks that are small, full or read-only, for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.live.processes import need


class Disk:
    """
    A file system in memory.

    @ivar path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        """Fill the free space."""
        with suppress(OSError), self._filling.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Free the space again."""
        self._filling.unlink()

    def remount(self, mode: str) -> None:
        """Make it read-only ("ro") or writable ("rw")."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True, timeout=10)


@contextmanager
def smallDisk(path: Path, size: str) -> Iterator[Disk]:
    """
    Mount a file system of this size, such as C{"64k"}, in a new folder.

    @raise SkipTest: if this process may not mount file systems.
    """
    path.mkdir(mode=0o700)
    options = f"size={size},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, timeout=10, check=False
    )
    need("a tmpfs cannot be mounted here: root may" if mounted.returncode else None)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=10)
