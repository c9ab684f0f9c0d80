"""
Copies of a state folder: one archive, made while the gateway runs, and restored while it does not. Everything here
blocks.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from attrs import frozen

from gateway.state import faults, files
from gateway.state.sqlite import opened, versionOf

# The first bytes of a SQLite file, and the endings of the files beside one: their content is in the copy.
_SQLITE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
_TEMPORARY = ".new"
# Files and bytes of an archive.
_MAX_FILES = 10_000
_PIECE = 1024 * 1024


class BackupFailed(Exception):
    """A backup cannot be made or used; the text says why."""


@frozen
class Copied:
    """
    A file in an archive.

    @ivar isDatabase: true for a SQLite file.
    @ivar version: its schema version; 0 for other files.
    """

    name: str
    size: int
    isDatabase: bool
    version: int = 0


def backUp(folder: Path, archive: Path, replace: bool = False) -> list[Copied]:
    """
    Copy a state folder into a new archive with mode 0600. A database is copied as it is between two transactions.

    @param replace: true if an existing archive is replaced.
    @raise BackupFailed: if that is not possible; then there is no new archive.
    """
    try:
        found = sorted(_filesIn(folder))
        if not found:
            raise BackupFailed(f"{folder} has no files: nothing to back up")
        with files.writing(archive, replace) as file, tarfile.open(fileobj=file, mode="w") as tar:
            return [_add(tar, path, archive.parent) for path in found]
    except FileExistsError as error:
        raise BackupFailed(f"{archive} exists already: choose another name, or give --force") from error
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise BackupFailed(f"{folder} cannot be backed up to {archive}: {_reason(error)}") from error


def restore(archive: Path, folder: Path) -> Path | None:
    """
    Put the content of an archive in the place of a state folder. The archive is read and checked completely before
    the folder is touched.

    @return: the new name of the old folder; C{None} if there was none.
    @raise BackupFailed: if that is not possible; then the state folder is as it was.
    """
    new = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        files.makeFolder(new)
        _ownAs(folder if folder.exists() else folder.parent, new)
        with tarfile.open(archive, mode="r:") as tar:
            for member in _members(tar):
                _extract(tar, member, new)
        for path in sorted(_filesIn(new)):
            if isDatabase(path) and (problem := faults.problem(path)):
                raise BackupFailed(f"{archive} is not usable: {problem}")
        old = None
        if folder.exists():
            old = folder.with_name(f"{folder.name}.before-{secrets.token_hex(4)}")
            folder.rename(old)
        new.rename(folder)
    except tarfile.TarError as error:
        reason = f"it is damaged, or was not made by xmpp-gateway state backup ({error})"
        raise BackupFailed(f"{archive} cannot be restored to {folder}: {reason}") from error
    except OSError as error:
        raise BackupFailed(f"{archive} cannot be restored to {folder}: {_reason(error)}") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(new)
    return old


def isDatabase(path: Path) -> bool:
    """True for a SQLite file."""
    with open(path, "rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def openDatabases(folder: Path) -> list[Path]:
    """Return the databases that a process has open, or had open when it was killed."""
    return [path for path in sorted(_filesIn(folder)) if Path(f"{path}-wal").exists()]


def _filesIn(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise BackupFailed(f"{folder} does not exist, or is not a folder: see state_dir in the configuration")
    for path in folder.iterdir():
        isPart = path.name.endswith((*_BESIDE, _TEMPORARY))
        if path.is_file() and not path.is_symlink() and not isPart:
            yield path


def _add(tar: tarfile.TarFile, path: Path, beside: Path) -> Copied:
    if not isDatabase(path):
        data = path.read_bytes()
        tar.addfile(_head(path.name, len(data), path), io.BytesIO(data))
        return Copied(path.name, len(data), False)
    copy = beside / f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    try:
        files.makeFile(copy)
        with closing(opened(path)) as source, closing(sqlite3.connect(copy)) as target:
            # All pages in one step, under one lock: a state between two transactions.
            source.backup(target)
            # One file alone, without a journal beside it.
            target.execute("PRAGMA journal_mode = DELETE")
        size = copy.stat().st_size
        with open(copy, "rb") as file:
            tar.addfile(_head(path.name, size, path), file)
        return Copied(path.name, size, True, versionOf(copy))
    finally:
        for each in (copy, *(Path(f"{copy}{ending}") for ending in _BESIDE)):
            with suppress(OSError):
                each.unlink()


def _head(name: str, size: int, path: Path) -> tarfile.TarInfo:
    head = tarfile.TarInfo(name)
    head.size, head.mode, head.mtime = size, 0o600, int(path.stat().st_mtime)
    return head


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the files of an archive, if it is one of a state folder."""
    count = 0
    for member in tar:
        count += 1
        isPlain = member.isreg() and os.path.basename(member.name) == member.name and member.name[:1] != "."
        if not isPlain or member.name.endswith((*_BESIDE, _TEMPORARY)) or count > _MAX_FILES:
            raise BackupFailed(f"the archive was not made by this command: it contains {member.name!r}")
        yield member
    if not count:
        raise BackupFailed("the archive is empty")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise BackupFailed(f"the archive has no content of {member.name!r}")
    with files.writing(folder / member.name, replace=False) as target:
        shutil.copyfileobj(source, target, _PIECE)


def _ownAs(model: Path, folder: Path) -> None:
    """Give a folder the owner of another one, if this process may: root may restore for the gateway's user."""
    if os.geteuid() == 0:
        about = model.stat()
        os.chown(folder, about.st_uid, about.st_gid)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
