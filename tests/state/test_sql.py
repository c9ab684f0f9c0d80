"""The SQL of all stores: the part that SQLite and PostgreSQL have in common, by docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from gateway.state.memory import MemoryStore

ROOT = Path(__file__).resolve().parent.parent.parent
STORES = sorted(ROOT.glob("gateway/*/*store.py"))
STATEMENT = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|SAVEPOINT|ROLLBACK|PRAGMA|BEGIN)\b")
# Words that only SQLite has, or that PostgreSQL reserves.
FORBIDDEN = re.compile(
    r"PRAGMA|BEGIN|COMMIT|INSERT OR|REPLACE INTO|AUTOINCREMENT|\bBLOB|\browid\b|\bGLOB\b|ifnull|datetime|strftime"
    r"|last_insert_rowid|\bINTEGER\b|\bREAL\b|(?<!\")\buser\b(?!\")|(?<!octet_)length\(|[:@$]\w|%s"
)


def statements(source: str) -> Iterator[str]:
    """Yield the strings of a module that are SQL."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            yield node.value


def wrong(statement: str) -> list[str]:
    """Return the parts of a statement that are not allowed."""
    found = [match.group() for match in FORBIDDEN.finditer(statement)]
    if "DO UPDATE" in statement and not re.search(r"ON CONFLICT \(", statement):
        found.append("ON CONFLICT without columns")
    return found


class SqlTests(TestCase):
    """Statements, and the example of the documentation."""

    def test_stores(self) -> None:
        """No store has a statement with other words."""
        found = [(path.parent.name, list(statements(path.read_text()))) for path in STORES]
        self.assertLessEqual({"delegation", "muc", "proxy", "roster"}, {name for name, each in found if each})
        self.assertEqual([wrong(each) for _, every in found for each in every if wrong(each)], [])

    def test_finds(self) -> None:
        """The check finds other words."""
        for statement in (
            "INSERT OR IGNORE INTO x VALUES (?)",
            "INSERT INTO x VALUES (?) ON CONFLICT DO UPDATE SET y = 1",
            "SELECT user FROM x",
            "SELECT length(y) FROM x",
            "SELECT y FROM x WHERE z = :z",
        ):
            self.assertTrue(wrong(statement), statement)

    @inlineCallbacks
    def test_example(self) -> Any:
        """The example works."""
        page = (ROOT / "docs" / "architecture.md").read_text()
        examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        [example] = [each for each in examples if "composition.store" in each]
        definitions, _, _ = example.partition("\n\nstore = ")
        names: dict[str, Any] = {}
        exec(definitions, names)  # noqa: S102  # our own documentation
        self.assertEqual([wrong(each) for each in statements(definitions) if wrong(each)], [])
        store = MemoryStore(names["MIGRATIONS"])
        for visits in (1, 2):
            self.assertEqual((yield store.write(names["count"], "john@example.com")), visits)
