"""Each log line of the gateway has the name of its event, in one place, and docs/logs.md describes it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("debug", "info", "warn", "error", "critical", "failure", "emit")
# Names of a log event that have a meaning for Twisted's observers, or for each line in JSON.
RESERVED = {"message", "time", "system", "format", "why", "isError", "warning", "source"}
RESERVED |= {"level", "part", "traceback"}


@frozen
class Line:
    """
    One call of a logger.

    @ivar place: the file and line of the source.
    @ivar method: the method.
    @ivar event: the name; C{None} if it is missing, or no literal.
    @ivar fields: names of the values.
    @ivar used: names that the text uses.
    """

    place: str
    method: str
    event: str | None
    fields: frozenset[str]
    used: frozenset[str]


def linesIn(source: str, place: str) -> Iterator[Line]:
    """
    Yield the calls of loggers in a module.

    @raise AssertionError: a method of a logger is used without being called there.
    """
    tree = ast.parse(source)
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in METHODS:
            continue
        if not re.search(r"(^|\.)_?log$", ast.unparse(node.value)):
            continue
        where = f"{place}:{node.lineno}"
        assert node in calls, f"{where}: call the method, so that its event can be found"
        call = calls[node]
        text = ast.literal_eval(call.args[1 if node.attr == "emit" else 0])
        given = {each.arg or "": each.value for each in call.keywords}
        event = given.pop("event", None)
        yield Line(
            where,
            node.attr,
            event.value if isinstance(event, ast.Constant) and isinstance(event.value, str) else None,
            frozenset(given),
            frozenset(re.findall(r"\{(\w+)", text)),
        )


LINES = [
    line
    for path in sorted((ROOT / "gateway").rglob("*.py"))
    for line in linesIn(path.read_text(), str(path.relative_to(ROOT)))
]
ROWS = re.findall(r"(?m)^\| `([a-z_.]+\.[a-z_]+)` \| ([a-z, ]+) \|", (ROOT / "docs" / "logs.md").read_text())


class EventTests(SynchronousTestCase):
    """The names of events."""

    def test_finds(self) -> None:
        """All calls are found; a method that is passed on is an error."""
        self.assertGreater(len(LINES), 80)
        [line] = linesIn('self._log.warn("{a}: {b!r}", event="x.y", a=1)', "m.py")
        self.assertEqual(line, Line("m.py:1", "warn", "x.y", frozenset({"a"}), frozenset({"a", "b"})))
        self.assertRaises(AssertionError, list, linesIn("call(_log.warn)", "m.py"))

    def test_named(self) -> None:
        """Each line has a name, which is a literal: the part of the gateway and the event."""
        named = re.compile(r"[a-z]+\.[a-z_]+")
        self.assertEqual([line.place for line in LINES if not named.fullmatch(line.event or "")], [])

    def test_unique(self) -> None:
        """No two lines have the same name."""
        names = [line.event for line in LINES]
        self.assertEqual([line.place for line in LINES if names.count(line.event) > 1], [])

    def test_documented(self) -> None:
        """The table has all names, in order, with their levels."""
        levels = {"failure": "critical", "emit": "info, warn"}
        self.assertEqual(dict(ROWS), {line.event: levels.get(line.method, line.method) for line in LINES})
        self.assertEqual(ROWS, sorted(ROWS))

    def test_values(self) -> None:
        """Each line has the values that its text uses, and none with a name of Twisted's."""
        missing = [(line.place, line.used - line.fields) for line in LINES if line.used - line.fields]
        self.assertEqual(missing, [])
        self.assertEqual([line.place for line in LINES if line.fields & RESERVED], [])

    def test_others(self) -> None:
        """No module logs by other means."""
        found = [
            str(path)
            for path in (ROOT / "gateway").rglob("*.py")
            if re.search(r"(?m)^\s*(?:import|from) logging\b|\blog\.(?:msg|err)\(", path.read_text())
        ]
        self.assertEqual(found, [])
