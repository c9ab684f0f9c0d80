"""
The SQL of stores as PostgreSQL spells it. Stores are written as SQLite spells it, in the subset of
docs/architecture.md; this is the only place that knows the differences. Pure.

An entry of a B-tree index of PostgreSQL has at most 2,704 bytes. A JID alone may have 3,071, and others choose it.
So an index has the key of a text, by the function C{xmpp_key}: the text itself if it is short, otherwise its
beginning and its SHA-256. Comparisons use keys as well. Two texts are equal exactly if their keys are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

# Texts up to 500 bytes are their own keys; longer keys are longer, so that nobody can choose a text with the key of
# another one. Four keys fit into an entry.
KEY_FUNCTION = """
CREATE FUNCTION xmpp_key(t TEXT) RETURNS TEXT IMMUTABLE STRICT PARALLEL SAFE LANGUAGE plpgsql AS $$
BEGIN
    IF octet_length(t) <= 500 THEN RETURN t; END IF;
    RETURN rpad(left(t, 40) || encode(sha256(convert_to(t, 'UTF8')), 'hex'), 501, '.');
END $$
"""

# Statements of which the translations are kept.
_MAX_KEPT = 1_000

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|[?%]")
_TABLE = re.compile(r"\s*CREATE TABLE (?:IF NOT EXISTS )?(\w+)\s*\((.*)\)[^)]*", re.DOTALL)
_INDEX = re.compile(r"\s*CREATE (UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+) ON (\w+) \(([^)]*)\)\s*")
_TEXT_COLUMN = re.compile(r"(\"?\w+\"?) TEXT\b")
_KEY_COLUMN = re.compile(r"(\"?\w+\"?) (\w+) PRIMARY KEY")
_PRIMARY_KEY = re.compile(r",\s*PRIMARY KEY \(([^)]*)\)")
_NAMED = re.compile(r"\b(?:FROM|INTO|UPDATE) (\w+)")
_COMPARISON = re.compile(r"(\"?\w+\"?) (=|<>|<=|>=|<|>) \?")
_CONFLICT = re.compile(r"ON CONFLICT \(([^)]*)\)")
_ORDER = re.compile(r"ORDER BY ((?:\"?\w+\"?(?: DESC)?(?:, )?)+?)(?= LIMIT|\s*$)")


class Dialect:
    """
    Translates the statements of one store.

    @param statements: those that create its tables.
    """

    def __init__(self, statements: Iterable[str]) -> None:
        # The columns with text of each table, and those of them that are in an index.
        self._texts: dict[str, set[str]] = {}
        self._keys: dict[str, set[str]] = {}
        for statement in statements:
            self._learn(statement)
        self.translated = lru_cache(_MAX_KEPT)(self._translated)

    def _learn(self, statement: str) -> None:
        if made := _TABLE.fullmatch(statement):
            table, content = made.groups()
            self._texts[table] = set(_TEXT_COLUMN.findall(content))
            self._keys[table] = set(_primaryKey(content)) & self._texts[table]
        elif made := _INDEX.fullmatch(statement):
            _, _, table, columns = made.groups()
            self._keys.setdefault(table, set()).update(
                each for each in _split(columns) if each.removesuffix(" DESC") in self._texts.get(table, ())
            )

    def _translated(self, statement: str) -> tuple[str, ...]:
        """
        Return the statements that do the same in PostgreSQL, with C{%s} for parameters.

        @param statement: with C{?} for parameters.
        """
        if made := _TABLE.fullmatch(statement):
            return tuple(map(_withPlaces, self._table(statement, *made.groups())))
        if made := _INDEX.fullmatch(statement):
            unique, name, table, columns = made.groups()
            return (f"CREATE {unique or ''}INDEX IF NOT EXISTS {name} ON {table} ({self._keyed(table, columns)})",)
        if statement.lstrip().startswith("ALTER"):
            return (_withPlaces(_collated(statement)),)
        named = _NAMED.findall(statement)
        keys = {key for table in named for key in self._keys.get(table, ())}
        if keys:
            table = named[0]
            # What comes before are assignments.
            before, where, conditions = statement.partition("WHERE")
            conditions = _COMPARISON.sub(
                lambda found: f"xmpp_key({found[1]}) {found[2]} xmpp_key(?)" if found[1] in keys else found[0],
                conditions,
            )
            statement = f"{before}{where}{conditions}"
            statement = _CONFLICT.sub(lambda found: f"ON CONFLICT ({self._keyed(table, found[1])})", statement)
            statement = _ORDER.sub(lambda found: f"ORDER BY {self._keyed(table, found[1])}", statement)
        return (_withPlaces(statement),)

    def _table(self, statement: str, table: str, content: str) -> list[str]:
        head = statement[: statement.index("(")]
        columns = ", ".join(_primaryKey(content))
        content = _KEY_COLUMN.sub(r"\1 \2 NOT NULL", _PRIMARY_KEY.sub("", content))
        made = [f"{head}({_collated(content)})"]
        if columns:
            made.append(f"CREATE UNIQUE INDEX IF NOT EXISTS {table}_key ON {table} ({self._keyed(table, columns)})")
        return made

    def _keyed(self, table: str, columns: str) -> str:
        return ", ".join(
            re.sub(r"^\S+", lambda column: f"xmpp_key({column[0]})", each)
            if each.removesuffix(" DESC") in self._keys.get(table, ())
            else each
            for each in _split(columns)
        )


def _primaryKey(content: str) -> list[str]:
    """Return the columns of the primary key of a table."""
    if found := _PRIMARY_KEY.search(content):
        return _split(found[1])
    return [found[1]] if (found := _KEY_COLUMN.search(content)) else []


def _split(columns: str) -> list[str]:
    return [each.strip() for each in columns.split(",")]


def _collated(statement: str) -> str:
    """Give all columns with text the order of SQLite, which does not depend on the database's language."""
    return re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', statement)


def _withPlaces(statement: str) -> str:
    return _QUOTED.sub(lambda found: {"?": "%s", "%": "%%"}.get(found[0], found[0].replace("%", "%%")), statement)
