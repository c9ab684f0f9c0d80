"""
Write files atomically, with permissions for their owner only; check files before they are used.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

# Bytes of a file that holds one line: a secret, a token, a key.
MAX_LINE_FILE = 4096

# Bytes of a file that are compared to find out whether it has changed.
_MAX_COMPARED = 64 * 1024

_OWN_FILE = 0o600
_OWN_FOLDER = 0o700

# File systems without hard links report one of these.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


def makeFolder(path: Path) -> None:
    """
    Create a folder with mode 0700, whatever the umask, unless it exists.

    @raise OSError: if it cannot be created.
    """
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=_OWN_FOLDER)
    path.chmod(_OWN_FOLDER)
    _syncFolder(path.parent)


def makeFile(path: Path) -> None:
    """
    Create an empty file with mode 0600, whatever the umask, unless it exists.

    @raise OSError: if it cannot be created.
    """
    with suppress(FileExistsError):
        os.close(_create(path))
        _syncFolder(path.parent)


def write(path: Path, data: bytes, replace: bool = True) -> None:
    """
    Write a whole file, as L{writing} does.

    @raise FileExistsError: if the file exists and C{replace} is false.
    @raise OSError: if it cannot be written.
    """
    with writing(path, replace) as file:
        file.write(data)


@contextmanager
def writing(path: Path, replace: bool = True) -> Iterator[BinaryIO]:
    """
    Write a temporary file in the same folder; at the end, flush it to the disk and rename it. Its mode is 0600,
    whatever the umask. After an error or a power failure, the folder still has the old file.

    @param replace: if false, an existing file is kept.
    @raise FileExistsError: if the file exists and C{replace} is false.
    @raise OSError: if it cannot be written.
    """
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(_create(new), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            new.replace(path)
        else:
            _renameToNew(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    _syncFolder(path.parent)


def lengthen(path: Path, size: int) -> None:
    """
    Append zeros to a file that is shorter than a number of bytes.

    @raise OSError: if it cannot be written; it is not longer then.
    """
    with open(path, "r+b", buffering=0) as file:
        old = file.seek(0, os.SEEK_END)
        try:
            if old < size and file.write(bytes(size - old)) < size - old:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(old)
            raise


def remove(path: Path) -> None:
    """
    Remove a file, if it exists. After a power failure it does not come back.

    @raise OSError: if it cannot be removed.
    """
    with suppress(FileNotFoundError):
        path.unlink()
        _syncFolder(path.parent)


def _create(path: Path) -> int:
    """Create a file that does not exist, and open it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _OWN_FILE)
    # The umask may remove bits of the owner as well.
    os.fchmod(descriptor, _OWN_FILE)
    if os.geteuid() == 0:
        # twistd changes its user later (--uid). The new user must own the file, as it owns the folder.
        folder = path.parent.stat()
        with suppress(OSError):
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def _renameToNew(new: Path, path: Path) -> None:
    # If two processes create the same file, one must fail: a rename would replace the file of the other one.
    try:
        path.hardlink_to(new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        new.replace(path)
    else:
        new.unlink()


def _syncFolder(path: Path) -> None:
    """Flush the names in a folder to the disk, if the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def readLine(path: Path) -> str:
    """
    Read a file that holds one line, and return that line without leading and trailing white space.

    @raise OSError: if it cannot be read.
    @raise ValueError: with the reason, if the file does not hold one line; the text shows nothing of the content.
    """
    data = readStart(path, MAX_LINE_FILE + 1)
    if len(data) > MAX_LINE_FILE:
        raise ValueError(f"it is longer than {MAX_LINE_FILE} bytes")
    try:
        # Some editors begin a file with a byte order mark.
        line = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        # The error of the codec would show a byte of the secret.
        raise ValueError("it is not text in UTF-8") from None
    if not line or "\n" in line:
        raise ValueError("it does not have exactly one line")
    if any(character < " " or character == "\x7f" for character in line):
        raise ValueError("it contains control characters")
    return line


def readStart(path: Path, most: int) -> bytes:
    """
    Return at most so many bytes from the beginning of a file.

    @raise OSError: if it cannot be read.
    """
    # A pipe without a writer must not block the start, and an endless device must not fill the memory.
    with open(path, "rb", buffering=0, opener=_openAtOnce) as file:
        return file.read(most) or b""


def digest(path: Path) -> bytes:
    """Return a digest of the beginning of a file, to detect changes; empty if the file cannot be read."""
    try:
        return sha256(readStart(path, _MAX_COMPARED)).digest()
    except OSError:
        return b""


def remedy(error: OSError) -> str:
    """Return what to do about a file that cannot be read or written, after "; "; empty if that is not known."""
    user = f"the gateway's user (uid {os.geteuid()})"
    known = {
        errno.ENOENT: f"create it, readable for {user} only",
        errno.EACCES: f"give it to {user}, with chown or chmod",
        errno.EPERM: f"give it to {user}, with chown or chmod",
        errno.EISDIR: "it is a folder: name a file",
        errno.ENOTDIR: "a part of its path is a file: correct the path",
        errno.EROFS: "it is on a disk that is mounted read-only: choose another folder",
        errno.ENOSPC: "free some space on the disk",
        errno.EDQUOT: f"free some space of {user}",
    }
    return f"; {known[error.errno]}" if error.errno in known else ""


def _openAtOnce(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def folderProblem(folder: Path) -> str:
    """
    Return the reason why a folder cannot be written to, or cannot be created; empty if it can.

    Nothing is left behind. The test is an actual write, because permissions do not show a read-only mount and do
    not apply to root.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        return f"{folder} cannot be created: {there} is not a folder; choose another name, or move it away"
    try:
        if there == folder:
            tempfile.TemporaryFile(dir=there).close()
        else:
            os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError as error:
        problem = "" if there == folder else f"{folder} cannot be created: "
        user = f"the gateway's user (uid {os.geteuid()})"
        return f"{problem}{there} is not writable for {user}: {error.strerror}{remedy(error)}"
    return ""


def appendProblem(path: Path) -> str:
    """Return the reason why a file cannot be appended to, or cannot be created; empty if it can."""
    if not os.path.lexists(path):
        return folderProblem(path.parent) if path.parent.exists() else f"the folder of {path} does not exist"
    if path.is_dir():
        return f"{path} is a folder"
    if not os.access(path, os.W_OK, effective_ids=True):
        return f"{path} is not writable for the gateway's user (uid {os.geteuid()})"
    return ""


def openToOthers(path: Path) -> str:
    """Return a warning if users other than the owner and the group can access this file or folder; else empty."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if not mode & stat.S_IRWXO:
        return ""
    return f"{path} has mode {mode:04o}: every user of this machine can access it; run chmod o= {path}"


def openFilesIn(folder: Path) -> Iterator[str]:
    """Yield warnings as L{openToOthers} for a folder and the files in it; a closed folder protects its files."""
    warning = openToOthers(folder)
    if warning:
        yield warning
        with suppress(OSError):
            yield from filter(None, map(openToOthers, sorted(folder.iterdir())))
