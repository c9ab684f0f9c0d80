"""
C{python -m gateway.delegation.importer}: imports private data that users have stored with their server.

The gateway may run at the same time.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from attrs import define, field

from gateway.config.values import checkDomain
from gateway.delegation import exports
from gateway.delegation.private import MAX_BYTES, MAX_ELEMENTS
from gateway.delegation.store import MIGRATIONS, insert
from gateway.delegation.stored import BadData, Entry, Skipped
from gateway.errors import GatewayError, ResourceLimit
from gateway.log.printable import printable
from gateway.state import places, urls
from gateway.state.faults import domainError
from gateway.state.migrations import newerVersion
from gateway.state.sqlite import SqliteSession, connect

if TYPE_CHECKING:
    from gateway.state.postgresql_session import PostgresSession

# Elements and characters of one transaction. The gateway waits for the lock half a second at most.
_MAX_AT_ONCE = 100
_MAX_CHARACTERS = 1024 * 1024
# Seconds to wait for a transaction of the gateway.
_LOCK_TIMEOUT = 10

_KEPT = "the user has stored a different one, which is kept"
_FULL = f"the user's storage is full: the limit is {MAX_ELEMENTS:,} elements and {MAX_BYTES} bytes"


class Failed(Exception):
    """The import ends; the text of the exception is the reason."""


@define
class Counts:
    """
    Numbers of elements, by outcome.

    @ivar imported: stored now.
    @ivar present: the same element was stored already.
    @ivar kept: not stored, because the user has stored another one here.
    @ivar skipped: not stored for any other reason.
    """

    imported: int = 0
    present: int = 0
    kept: int = 0
    skipped: int = 0

    def inWords(self) -> str:
        """Return a line for the operator."""
        return (
            f"imported: {self.imported}; already stored: {self.present}; different one kept: {self.kept}; "
            f"skipped: {self.skipped}"
        )


@define
class Importer:
    """
    Stores elements, a few in each transaction.

    @ivar session: of the storage.
    @ivar tell: is called with a line for each element that is not stored.
    @ivar isTrial: true if nothing is to be stored.
    """

    session: SqliteSession | PostgresSession
    tell: Callable[[str], object]
    isTrial: bool = False
    counts: Counts = field(factory=Counts)
    _batch: list[Entry] = field(factory=list, init=False)
    _characters: int = field(default=0, init=False)

    def run(self, found: Iterable[Entry | Skipped]) -> None:
        """
        Store all elements.

        @raise Failed: if the storage fails. Everything counted is stored.
        """
        try:
            for each in found:
                if isinstance(each, Skipped):
                    self._skip(each.what, each.why)
                    continue
                self._batch.append(each)
                self._characters += len(each.xml)
                if len(self._batch) >= _MAX_AT_ONCE or self._characters >= _MAX_CHARACTERS:
                    self._store()
        finally:
            self._store()

    def _store(self) -> None:
        batch, self._batch, self._characters = self._batch, [], 0
        if not batch:
            return
        session = self.session
        try:
            session.begin(True)
            try:
                outcomes = [_insert(session.cursor(), each) for each in batch]
            except BaseException:
                session.rollBack()
                raise
            if self.isTrial:
                session.rollBack()
            else:
                session.commit()
        except session.connection.Error as error:
            raise Failed(f"the storage: {session.domainError(error) or error}") from error
        for each, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self.counts.imported += 1
            elif outcome and _same(outcome, each.xml):
                self.counts.present += 1
            elif outcome:
                self.counts.kept += 1
                self._tell(each, _KEPT)
            else:
                self.counts.skipped += 1
                self._tell(each, _FULL)

    def _tell(self, entry: Entry, why: str) -> None:
        self.tell(f"{entry.user}: {entry.key[1]} in {entry.key[0]}: {why}")

    def _skip(self, what: str, why: str) -> None:
        self.counts.skipped += 1
        self.tell(f"{what}: skipped: {why}")


def _same(one: str, other: str) -> bool:
    """Return true if both are equal as XML: servers do not keep the order of attributes."""
    return one == other or ElementTree.canonicalize(one) == ElementTree.canonicalize(other)


def _insert(cursor: Any, entry: Entry) -> str | None:
    """
    Store an element and return C{None}. If another one is stored already, return that; if there is no room, C{""}.
    """
    try:
        return insert(cursor, entry.user, entry.key, entry.xml, MAX_BYTES, MAX_ELEMENTS)
    except ResourceLimit:
        return ""


def openStorage(place: str) -> SqliteSession | PostgresSession:
    """
    Open a component's private storage, which exists.

    @param place: the path of a file; or the URL of a PostgreSQL database, C{#} and the name of the store.
    @raise Failed: if it does not exist, is another kind of file, or one of a newer release.
    """
    url, _, name = place.partition("#")
    if name and urls.isUrl(url):
        return _openSchema(url, name)
    return _openFile(Path(place))


def _openSchema(url: str, name: str) -> PostgresSession:
    if unusable := places.urlProblem(url):
        raise Failed(f"{urls.shown(url)}: {unusable}")
    # Imported here: it needs psycopg, which is optional.
    from gateway.state.postgresql import openStore

    try:
        return openStore(url, name, MIGRATIONS, _LOCK_TIMEOUT)
    except GatewayError as error:
        raise Failed(f"{urls.shown(url)}, {name} cannot be used: {error}") from error


def _openFile(path: Path) -> SqliteSession:
    wanted = "expected COMPONENT.private in the gateway's state_dir, which the gateway creates when it starts"
    if not path.is_file():
        raise Failed(f"{path} does not exist: {wanted}")
    connection = None
    try:
        uri = f"file:{quote(str(path))}?mode=rw"
        connection = connect(uri, _LOCK_TIMEOUT, uri=True)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(private)")]
        [version] = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise Failed(f"{path} cannot be used: {domainError(error) or error}") from error
    if columns != ["user", "namespace", "name", "xml"]:
        connection.close()
        raise Failed(f"{path} is not a private storage: {wanted}")
    if refusal := newerVersion(version, MIGRATIONS):
        connection.close()
        raise Failed(f"{path} cannot be used: {refusal}")
    return SqliteSession(connection)


def main(arguments: list[str], write: Callable[[str], object]) -> int:
    """
    Run the command.

    @param write: is called with the output.
    @return: the exit code: 0, or 1 if a source could not be read or the storage not be written.
    """
    options = _parser().parse_args(arguments)

    def tell(line: str) -> None:
        write(f"{printable(line)}\n")

    failed = False
    try:
        domain = checkDomain(options.domain)
    except ValueError:
        tell(f"{options.domain} is not a domain")
        return 1
    try:
        with closing(openStorage(options.storage)) as session:
            importer = Importer(session, tell, options.dry_run)
            for source in options.source:
                try:
                    importer.run(exports.read(source, domain))
                except (BadData, OSError) as error:
                    failed = True
                    tell(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}")
                except Failed:
                    tell(importer.counts.inWords())
                    raise
    except Failed as error:
        tell(str(error))
        return 1
    tell(("This is a dry run: nothing is stored. " if options.dry_run else "") + importer.counts.inWords())
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m gateway.delegation.importer",
        description="Import the private data (XEP-0049) that users have stored on their server into the gateway's "
        "private storage. Elements that are there already are kept. The command may be repeated, and the gateway "
        "may run meanwhile. See docs/delegation.md.",
    )
    parser.add_argument("--dry-run", action="store_true", help="only report; store nothing")
    parser.add_argument(
        "storage",
        help="STATE_DIR/COMPONENT.private, or URL#COMPONENT.private with the url of [state], which the gateway has "
        "created",
    )
    parser.add_argument("domain", help="domain of the users, such as example.com")
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        help="Prosody's data folder or its prosody.sqlite, or a file that ejabberdctl export_piefxis_host wrote",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout.write))
