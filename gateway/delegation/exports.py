"""
Reads files of private data: Prosody's data folder and SQLite file, and XML by XEP-0227.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from twisted.words.xish import domish

from gateway.addresses import jids
from gateway.delegation import lua
from gateway.delegation.stored import BadData, Entry, ExportReader, Skipped, entry, fromTable

# Bytes of one user's file, and characters of one element in a database: several times the limits of the storage.
_MAX_FILE = 8 * 1024 * 1024
_PIECE = 64 * 1024
_SQLITE = b"SQLite format 3\0"
_USER_FILE = ".dat"

_ELEMENTS = (
    "SELECT user, key, type, CASE WHEN length(value) <= ? THEN value END FROM prosody WHERE host = ? AND store = ?"
)

Found = Iterator[Entry | Skipped]


def read(source: Path, domain: str) -> Found:
    """
    Read the private data of a domain's users, one element at a time.

    @raise BadData: if the source is of no known kind, or broken. Everything returned before is valid.
    @raise OSError: if it cannot be read.
    """
    if source.is_dir():
        return _folder(source, domain)
    with open(source, "rb") as file:
        isDatabase = file.read(len(_SQLITE)) == _SQLITE
    return _database(source, domain) if isDatabase else _export(source, domain)


def _folder(folder: Path, domain: str) -> Found:
    """Read Prosody's internal storage: C{HOST/private/USER.dat}, with escaped names."""
    users = folder / _encoded(domain) / "private"
    if not users.is_dir():
        raise BadData(
            f"there is no folder {users}. The source must be Prosody's data folder (data_path), such as "
            "/var/lib/prosody, its SQLite file, or an XML file that another server has exported (XEP-0227)"
        )
    with os.scandir(users) as files:
        for file in files:
            if file.name.endswith(_USER_FILE):
                yield from _file(Path(file.path), domain)


def _file(path: Path, domain: str) -> Found:
    try:
        user = _user(_decoded(path.name.removesuffix(_USER_FILE)), domain)
        table = lua.read(_whole(path))
        if not isinstance(table, dict):
            raise BadData("it is not a table")
    except (ValueError, OSError) as error:
        yield Skipped(str(path), _reason(error))
        return
    for key, value in table.items():
        yield _entry(user, key, value)


def _database(path: Path, domain: str) -> Found:
    """Read Prosody's SQL storage in SQLite (mod_storage_sql): a row for each element, in JSON."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            for name, key, kind, value in connection.execute(_ELEMENTS, (_MAX_FILE, domain, "private")):
                yield _row(name, key, kind, value, domain)
    except sqlite3.Error as error:
        raise BadData(f"it is not a readable database of Prosody: {error}") from None


def _row(name: object, key: object, kind: object, value: object, domain: str) -> Entry | Skipped:
    try:
        user = _user(str(name), domain)
        if kind != "json" or not isinstance(value, str):
            raise BadData(f"it is not JSON, or it has over {_MAX_FILE} characters")
        table = json.loads(value)
    except (ValueError, RecursionError) as error:
        return Skipped(f"{name}@{domain}: {key}", _reason(error))
    return _entry(user, key, table)


def _export(path: Path, domain: str) -> Found:
    """Read XML by XEP-0227, as ejabberd's C{export_piefxis_host} writes it."""
    reader = ExportReader(domain)
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield from _exported(reader.read(piece), domain)
    yield from _exported(reader.read(b"", isLast=True), domain)


def _exported(found: list[tuple[str, domish.Element] | Skipped], domain: str) -> Found:
    for each in found:
        if isinstance(each, Skipped):
            yield each
            continue
        name, element = each
        try:
            yield entry(_user(name, domain), element)
        except ValueError as error:
            yield Skipped(f"{name}@{domain}: {element.name}", str(error))


def _entry(user: str, key: object, value: object) -> Entry | Skipped:
    """Return the element that Prosody has stored under this key."""
    try:
        found = entry(user, fromTable(value))
    except ValueError as error:
        return Skipped(f"{user}: {key}", str(error))
    namespace, name = found.key
    if key != f"{name}:{namespace}":
        why = f"it is the element {name} in the namespace {namespace}, so the key is wrong"
        return Skipped(f"{user}: {key}", why)
    return found


def _user(name: str, domain: str) -> str:
    """
    Return a user's prepared bare JID.

    @raise ValueError: if the name is not a localpart.
    """
    return f"{jids.preparedLocal(name)}@{domain}"


def _whole(path: Path) -> bytes:
    """Read a file that other processes may change or replace; never block on a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadData("it is not a file")
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise BadData(f"it has over {_MAX_FILE} bytes")
    return data


def _encoded(name: str) -> str:
    """Return a name as Prosody writes it in the file system: all bytes but ASCII letters and digits are escaped."""
    return re.sub(rb"[^A-Za-z0-9]", lambda byte: b"%%%02x" % ord(byte[0]), name.encode()).decode()


def _decoded(name: str) -> str:
    return re.sub(rb"%([0-9a-f]{2})", lambda digits: bytes.fromhex(digits[1].decode()), os.fsencode(name)).decode()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return str(error)
