"""
Files of the gateway: written whole or not at all, for their owner alone; and checks of files before they are used.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Bytes of a file that holds one line: a secret, a token, a key.
MAX_LINE_FILE = 4096

_OWN_FILE = 0o600
_OWN_FOLDER = 0o700

# File systems without hard links report one of these.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


def makeFolder(path: Path) -> None:
    """
    Make a folder with mode 0700, whatever the umask, unless it exists.

    @raise OSError: if it cannot be made.
    """
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=_OWN_FOLDER)
    path.chmod(_OWN_FOLDER)
    _syncFolder(path.parent)


def makeFile(path: Path) -> None:
    """
    Make an empty file with mode 0600, whatever the umask, unless it exists.

    @raise OSError: if it cannot be made.
    """
    with suppress(FileExistsError):
        os.close(_create(path))
        _syncFolder(path.parent)


def write(path: Path, data: bytes, replace: bool = True) -> None:
    """
    Write a file beside, flush it to the disk and rename it. Its mode is 0600, whatever the umask. After an error,
    and after a power cut at any moment, the folder has the file of before.

    @param replace: if false, a file that exists is kept.
    @raise FileExistsError: if it is not to be replaced.
    @raise OSError: if it cannot be written.
    """
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(_create(new), "wb") as file:
            file.write(data)
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


def _create(path: Path) -> int:
    """Create a file that does not exist, and open it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _OWN_FILE)
    # A umask may have taken bits from the owner, too.
    os.fchmod(descriptor, _OWN_FILE)
    if os.geteuid() == 0:
        # twistd changes the user later (--uid): to the one that owns the folder.
        folder = path.parent.stat()
        with suppress(OSError):
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def _renameToNew(new: Path, path: Path) -> None:
    # Of two processes that make the same file, one must lose: a rename would replace the winner's file.
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
    """Flush the names in a folder to the disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def readLine(path: Path) -> str:
    """
    Read a file that holds one line, and return that line without the white space around it.

    @raise OSError: if it cannot be read.
    @raise ValueError: with the reason, if it holds anything else; the text shows nothing of the file.
    """
    # A pipe without a writer must not block the start, nor a device without an end fill the memory.
    with open(path, "rb", buffering=0, opener=_openAtOnce) as file:
        data = file.read(MAX_LINE_FILE + 1) or b""
    if len(data) > MAX_LINE_FILE:
        raise ValueError(f"it is longer than {MAX_LINE_FILE} bytes")
    try:
        # Some editors begin a file with a mark of its encoding.
        line = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        # The codec's own error shows a byte.
        raise ValueError("it is not text in UTF-8") from None
    if not line or "\n" in line:
        raise ValueError("it does not hold exactly one line")
    if any(character < " " or character == "\x7f" for character in line):
        raise ValueError("it holds control characters")
    return line


def _openAtOnce(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def folderProblem(folder: Path) -> str:
    """
    Return the reason that no file can be made in a folder, or that the folder cannot be made; empty if it can.
    Leaves nothing behind. Asks the file system itself: permissions do not tell of a read-only mount, nor bind root.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    state = "used" if there == folder else "made"
    if not there.is_dir():
        return f"{folder} cannot be made: {there} is not a folder"
    try:
        if state == "used":
            tempfile.TemporaryFile(dir=there).close()
        else:
            os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError as error:
        return f"{folder} cannot be {state}: {there} cannot be written to: {error.strerror}"
    return ""


def openToOthers(path: Path) -> str:
    """Return a sentence if users other than the owner and the group may use this file or folder; else empty."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if not mode & stat.S_IRWXO:
        return ""
    return f"{path} has mode {mode:04o}, so every user of this machine can use it: chmod o= {path}"


def openFilesIn(folder: Path) -> Iterator[str]:
    """Like L{openToOthers}, for a folder and what is in it; a folder that is closed to others protects the rest."""
    warning = openToOthers(folder)
    if warning:
        yield warning
        with suppress(OSError):
            yield from filter(None, map(openToOthers, sorted(folder.iterdir())))
