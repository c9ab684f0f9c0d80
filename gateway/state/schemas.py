"""
The stores of a PostgreSQL database, to be copied. Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen

from gateway.state import urls
from gateway.state.copying import CopyFailed, StoreCopy, fill
from gateway.state.dialect import Dialect
from gateway.state.postgresql_faults import domainError
from gateway.state.postgresql_session import PREFIX, PostgresSession, connect, quoted, schemaOf, unusable

# Schemas that are not complete.
_NEW = "gateway-copy:"
# Bytes of a name.
_MAX_NAME = 63


@frozen
class _SchemaCopy(StoreCopy):
    """A store in a schema."""

    url: str
    schema: str

    def tables(self) -> list[str]:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'gateway_store'"
        with _connected(self.url) as connection:
            return [table for (table,) in connection.execute(query, (self.schema,))]

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        with _connected(self.url) as connection, connection.transaction(), connection.cursor("rows") as cursor:
            # In portions: the table may be large.
            cursor.execute(f"SELECT * FROM {quoted(self.schema)}.{quoted(table)}".encode())  # noqa: S608  # a table
            yield from cursor


class Schemas:
    """The schemas of a database."""

    def __init__(self, url: str) -> None:
        self.shown = urls.shown(url)
        self._url = url

    def users(self) -> str:
        """See L{Place.users}."""
        query = (
            "SELECT application_name, pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name LIKE 'xmpp-gateway %' AND pid <> pg_backend_pid()"
        )
        with _connected(self._url) as connection:
            if refusal := unusable(connection):
                raise CopyFailed(f"{self.shown}: {refusal}")
            found = connection.execute(query.encode()).fetchone()
        if found is None:
            return ""
        return f"{self.shown} is in use by {found[0]} (pid {found[1]}): stop the gateway first"

    def stores(self) -> list[StoreCopy]:
        """See L{Place.stores}."""
        query = (
            "SELECT schemaname FROM pg_tables WHERE tablename = 'gateway_store' AND starts_with(schemaname, %s) "
            "ORDER BY schemaname"
        )
        with _connected(self._url) as connection:
            schemas = [schema for (schema,) in connection.execute(query, (PREFIX,))]
            found: list[StoreCopy] = [self._copy(connection, schema) for schema in schemas]
        return found

    def _copy(self, connection: psycopg.Connection[Any], schema: str) -> _SchemaCopy:
        query = f"SELECT name, version, statements FROM {quoted(schema)}.gateway_store"  # noqa: S608  # a schema
        row = connection.execute(query.encode()).fetchone()
        if row is None:
            raise CopyFailed(f"{self.shown}: the schema {schema} is damaged: restore a backup")
        name, version, statements = row
        return _SchemaCopy(name, version, statements, self._url, schema)

    def make(self, store: StoreCopy) -> StoreCopy:
        """See L{Place.make}."""
        self._run(f"DROP SCHEMA IF EXISTS {quoted(self._new(store.name))} CASCADE")
        with _connected(self._url) as connection:
            session = PostgresSession(connection, store.name, Dialect(store.statements), self._new(store.name))
            session.make()
            fill(session, store)
            return self._copy(connection, self._new(store.name))

    def keep(self, name: str) -> None:
        """See L{Place.keep}."""
        self._run(f"ALTER SCHEMA {quoted(self._new(name))} RENAME TO {quoted(schemaOf(name))}")

    def discard(self, name: str, isKept: bool) -> None:
        """See L{Place.discard}."""
        schema = schemaOf(name) if isKept else self._new(name)
        self._run(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")

    def _run(self, statement: str) -> None:
        with _connected(self._url) as connection:
            connection.execute(statement.encode())

    def _new(self, name: str) -> str:
        return schemaOf(name).replace(PREFIX, _NEW, 1).encode()[:_MAX_NAME].decode(errors="ignore")


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with connect(url, "copy of stores") as connection:
            yield connection
    except psycopg.Error as error:
        raise CopyFailed(f"{urls.shown(url)}: {domainError(error) or error}") from error
