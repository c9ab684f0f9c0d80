"""
Faults of a SQLite file: the error that a requester gets, and the sentence that tells the operator what to do.
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
# The shared memory beside the file could not grow: this has a code of its own.
_SHM_FULL = sqlite3.SQLITE_IOERR_SHMSIZE

_RESTORE = (
    "stop the gateway, move the file away together with those of the same name in -wal and -shm, and restore a "
    "backup; without a file the gateway makes an empty one"
)


def domainError(error: sqlite3.Error | OSError) -> GatewayError | None:
    """Return what a requester gets, with a text for the operator; C{None} if the file is not at fault."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreFull("the disk is full: free some space")
        return StoreBroken(f"{error.strerror}: see to the file, its folder and its disk")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary is None or primary in _STATEMENT:
        return None
    if primary == sqlite3.SQLITE_FULL or code == _SHM_FULL:
        return StoreFull("the disk is full: free some space")
    if primary in _LOCKED:
        return StoreBusy("another process has locked it: end that process (fuser names it)")
    if primary in _READ_ONLY:
        return StoreBroken(f"{error}: let the gateway's user (uid {os.getuid()}) write to the file and its folder")
    if primary in _CORRUPT:
        return StoreBroken(f"{error}: {_RESTORE}")
    return StoreBroken(f"{error}: see to the file and its disk")


@define
class Condition:
    """
    The state of a file as the operator should know it; pure.

    @ivar trouble: why it does not work, and what to do; empty while it works.
    @ivar refused: requests and probes that failed since it last worked.
    """

    trouble: str = ""
    refused: int = 0
    _logAt: float = float("-inf")
    _logged: bool = False

    def failed(self, trouble: str, now: float) -> bool:
        """Count a failure; return whether to log it: one line a minute."""
        self.trouble = trouble
        self.refused += 1
        if now < self._logAt:
            return False
        self._logAt = now + _LOG_EVERY
        self._logged = True
        return True

    def works(self) -> bool:
        """Note a success; return whether to log it: if the trouble was."""
        logged = self._logged
        self.trouble, self.refused, self._logged = "", 0, False
        return logged


def problem(path: Path) -> str:
    """
    Return why a file cannot be used, and what to do; empty if it can, or is not there yet. Makes nothing.
    """
    if not os.path.lexists(path):
        return ""
    if not path.is_file():
        return f"{path} is not a file"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} cannot be read and written by the gateway's user (uid {os.getuid()})"
    # Without a journal nobody writes to it, and nothing need be made to read it.
    isOpen = Path(f"{path}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'' if isOpen else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(uri, timeout=0, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if path.stat().st_size <= _MAX_CHECKED:
                [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
                return "" if found == "ok" else f"{path} is corrupt: {_RESTORE}"
    except (sqlite3.Error, OSError) as error:
        refusal = domainError(error)
        # A gateway that runs may hold the lock.
        if not isinstance(refusal, StoreBusy):
            return f"{path} cannot be used: {refusal or error}"
    return ""
