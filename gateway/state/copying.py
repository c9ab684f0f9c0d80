"""
Copies the stores of one place to another one: a state folder, or a database of PostgreSQL. Everything here blocks,
and no gateway may use either place meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from gateway.state import files
from gateway.state.backup import isDatabase, openDatabases
from gateway.state.jobs import Session
from gateway.state.sqlite import SqliteSession, connect, opened

# Rows that are written together.
_ROWS = 500


class CopyFailed(Exception):
    """The stores cannot be copied; the text says why, and what to do."""


@frozen
class Copied:
    """
    A store that was copied.

    @ivar rows: number of rows, by table.
    """

    name: str
    version: int
    rows: dict[str, int]


@frozen
class Content:
    """
    The content of a table.

    @ivar rows: number of rows.
    @ivar digest: of all rows, in any order.
    """

    rows: int
    digest: int


@frozen
class StoreCopy(ABC):
    """
    One store of a place.

    @ivar name: its name.
    @ivar version: its schema version.
    @ivar statements: those that make its tables, as SQLite spells them.
    """

    name: str
    version: int
    statements: list[str]

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the names of its tables."""

    @abstractmethod
    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table."""


class Place(Protocol):
    """
    A place with stores.

    @ivar shown: its name for operators.
    """

    shown: str

    def users(self) -> str:
        """Return who uses the place, and what to do; empty if nobody does."""

    def stores(self) -> list[StoreCopy]:
        """Return its stores."""

    def make(self, store: StoreCopy) -> StoreCopy:
        """Make a store with the content of another one, in one transaction. It has no name yet."""

    def keep(self, name: str) -> None:
        """
        Give a new store its name.

        @raise CopyFailed: if something else has that name.
        """

    def discard(self, name: str, isKept: bool) -> None:
        """Remove a new store, and nothing else that has its name; C{isKept}: L{keep} has named it."""


def copy(source: Place, target: Place) -> list[Copied]:
    """
    Copy all stores, all or none, and compare them with the copies.

    @raise CopyFailed: if that is not possible; then the target has no stores.
    """
    for place in (source, target):
        if users := place.users():
            raise CopyFailed(users)
    found = source.stores()
    if not found:
        raise CopyFailed(f"{source.shown} has no stores: nothing to copy")
    if there := target.stores():
        raise CopyFailed(f"{target.shown} has stores already, such as {there[0].name}: name an empty place")
    done: list[Copied] = []
    made: list[str] = []
    kept: set[str] = set()
    try:
        for store in found:
            made.append(store.name)
            done.append(_copied(store, target))
        for name in made:
            target.keep(name)
            kept.add(name)
    except BaseException:
        for name in made:
            target.discard(name, name in kept)
        raise
    return done


def _copied(store: StoreCopy, target: Place) -> Copied:
    before = {table: _content(store.rows(table)) for table in store.tables()}
    new = target.make(store)
    after = {table: _content(new.rows(table)) for table in new.tables()}
    if before != after:
        wrong = next(table for table in {**before, **after} if before.get(table) != after.get(table))
        raise CopyFailed(f"{store.name}: the copy of table {wrong} differs: was the gateway started meanwhile?")
    return Copied(store.name, store.version, {table: content.rows for table, content in after.items()})


def _content(rows: Iterable[tuple[Any, ...]]) -> Content:
    count = digest = 0
    for row in rows:
        count += 1
        # A sum does not depend on the order, and the same row twice does not vanish.
        digest += int.from_bytes(sha256(repr(tuple(row)).encode()).digest(), "big")
    return Content(count, digest)


@frozen
class _FileCopy(StoreCopy):
    """A store in a file."""

    path: Path

    def tables(self) -> list[str]:
        with closing(opened(self.path)) as connection:
            return [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        with closing(opened(self.path)) as connection:
            yield from connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # the name is that of a table


class Folder:
    """The files of a state folder."""

    def __init__(self, path: Path) -> None:
        self.shown = str(path)
        self._path = path

    def users(self) -> str:
        """See L{Place.users}."""
        if not self._path.is_dir() or not (found := openDatabases(self._path)):
            return ""
        return f"{found[0]} is open: stop the gateway first. If it was killed, start and stop it once"

    def stores(self) -> list[StoreCopy]:
        """See L{Place.stores}."""
        found = sorted(self._path.iterdir()) if self._path.is_dir() else []
        stores = [_fileCopy(path) for path in found if path.is_file() and isDatabase(path)]
        # A file without a version is not a store, or has no tables yet.
        return [store for store in stores if store.version]

    def make(self, store: StoreCopy) -> StoreCopy:
        """See L{Place.make}."""
        files.makeFolder(self._path)
        path = self._new(store.name)
        with suppress(FileNotFoundError):
            path.unlink()
        files.makeFile(path)
        session = SqliteSession(connect(path, 0))
        try:
            fill(session, store)
        finally:
            session.close()
        return _fileCopy(path)

    def keep(self, name: str) -> None:
        """See L{Place.keep}."""
        path = self._path / name
        if path.exists():
            # It is no store; a renamed file would replace it.
            raise CopyFailed(f"{path} is there already: move it away, or name an empty folder")
        self._new(name).rename(path)

    def discard(self, name: str, isKept: bool) -> None:
        """See L{Place.discard}."""
        with suppress(FileNotFoundError):
            (self._path / name if isKept else self._new(name)).unlink()

    def _new(self, name: str) -> Path:
        return self._path / f"{name}.copy.new"


def _fileCopy(path: Path) -> _FileCopy:
    with closing(opened(path)) as connection:
        rows = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC, rowid"
        ).fetchall()
        version = SqliteSession(connection).version()
    return _FileCopy(path.name, version, [row[0] for row in rows], path)


def fill(session: Session, store: StoreCopy) -> None:
    """Make the tables of a store, with its rows, in one transaction."""
    session.begin(True)
    for statement in store.statements:
        session.execute(statement)
    session.setVersion(store.version)
    for table in store.tables():
        _insert(session.cursor(), table, store.rows(table))
    session.commit()


def _insert(cursor: Any, table: str, rows: Iterator[tuple[Any, ...]]) -> None:
    """Write rows to a table."""
    while some := list(islice(rows, _ROWS)):
        places = ", ".join("?" * len(some[0]))
        cursor.executemany(f'INSERT INTO "{table}" VALUES ({places})', some)  # noqa: S608  # likewise
