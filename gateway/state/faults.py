"""
Faults of a SQLite file: the error that a requester gets, and a sentence for the operator with the remedy.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from attrs import define

from gateway.errors import GatewayError, StoreBroken, StoreBusy, StoreFull
from gateway.state.migrations import Migrations, newerVersion

# Seconds between two log lines about a file.
_LOG_EVERY = 60.0
# Bytes up to which --check and the start read the whole file.
_MAX_CHECKED = 64 * 1024 * 1024

_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# Faults of a statement or its values, not of the file.
_STATEMENT = {
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
}
# The shared memory file could not grow; this has an error code of its own.
_SHM_FULL = sqlite3.SQLITE_IOERR_SHMSIZE

_RESTORE = (
    "stop the gateway, move the file away together with its -wal and -shm files, and restore a backup; without a "
    "file the gateway creates an empty one"
)


def domainError(error: sqlite3.Error | OSError) -> GatewayError | None:
    """Return the error for the requester, with a text for the operator; C{None} if the file is not at fault."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreFull("the disk is full: free some space")
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return StoreBroken(f"{error.strerror}: {_writable()}")
        return StoreBroken(f"{error.strerror}: check the file, its folder and its disk")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary is None or primary in _STATEMENT:
        return None
    if primary == sqlite3.SQLITE_FULL or code == _SHM_FULL:
        return StoreFull("the disk is full: free some space")
    if primary in _LOCKED:
        return StoreBusy("another process has locked it: end that process (fuser names it)")
    if primary in _READ_ONLY:
        return StoreBroken(f"{error}: {_writable()}")
    if primary in _CORRUPT:
        return StoreBroken(f"{error}: {_RESTORE}")
    return StoreBroken(f"{error}: check the file and its disk")


def _writable() -> str:
    return f"make the file and its folder writable for the gateway's uid {os.getuid()}"


@define
class Condition:
    """
    The state of a file as reported to the operator; pure.

    @ivar trouble: the reason why the file does not work, and a remedy; empty while it works.
    @ivar refused: number of requests and probes that failed since the file last worked.
    """

    trouble: str = ""
    refused: int = 0
    _logAt: float = float("-inf")
    _logged: bool = False

    def failed(self, trouble: str, now: float) -> bool:
        """Count a failure; return true if it should be logged: once a minute."""
        self.trouble = trouble
        self.refused += 1
        if now < self._logAt:
            return False
        self._logAt = now + _LOG_EVERY
        self._logged = True
        return True

    def works(self) -> bool:
        """Record a success; return true if it should be logged, because a failure was logged."""
        logged = self._logged
        self.trouble, self.refused, self._logged = "", 0, False
        return logged


def problem(path: Path, migrations: Migrations | None = None) -> str:
    """
    Return the reason why a file cannot be used, and a remedy; empty if it can be used or does not exist yet.
    Create nothing.

    @param migrations: those of the store in it, to find a newer version; C{None} for a file without a version.
    """
    if not os.path.lexists(path):
        return ""
    if not path.is_file():
        return f"{path} is not a file"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} is not readable and writable for the gateway's user (uid {os.getuid()})"
    # If there is no journal, no process has the file open. "immutable" prevents SQLite from creating a journal.
    isOpen = Path(f"{path}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'' if isOpen else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(uri, timeout=0, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            [version] = connection.execute("PRAGMA user_version").fetchone()
            if migrations is not None and (reason := newerVersion(version, migrations)):
                return f"{path} cannot be used: {reason}"
            if path.stat().st_size <= _MAX_CHECKED:
                [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
                return "" if found == "ok" else f"{path} is corrupt: {_RESTORE}"
    except (sqlite3.Error, OSError) as error:
        refusal = domainError(error)
        # A running gateway may hold the lock.
        if not isinstance(refusal, StoreBusy):
            return f"{path} cannot be used: {refusal or error}"
    return ""
