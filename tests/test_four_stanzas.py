"""The files, functions and conditions that docs/architecture.md names in its picture and its four stanzas."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import ERRORS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gateway"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
# A file, and the names in it that follow: `proxy/core.py` `Translator.request`, `Translator.answer`
IN_FILE = re.compile(r"`([\w/]+\.py)`((?:(?:,| and)? `[A-Za-z_]\w*(?:\.\w+)?`)*)")
TOKEN = re.compile(r"`([^`\n]+)`")
METHOD = re.compile(r"[A-Z]\w*\.[A-Za-z_]\w*")
CONDITION = re.compile(r"[a-z]+(?:-[a-z]+)+")
CONDITIONS = {error.condition for error in ERRORS.values()}


def section(title: str) -> str:
    """Return a section of the page, without its heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


@cache
def definitions(path: Path) -> frozenset[str]:
    """Return the functions and classes of a module; a method is C{Class.method}."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{each.name}" for each in methods}
    return frozenset(names)


def everything() -> frozenset[str]:
    """Return the definitions of all modules."""
    return frozenset().union(*map(definitions, PACKAGE.rglob("*.py")))


def missingIn(text: str) -> Iterator[str]:
    """Yield the files, functions and conditions of a text that do not exist."""
    for path, names in IN_FILE.findall(text):
        file = (ROOT if path.startswith(("gateway/", "tests/")) else PACKAGE) / path
        if not file.is_file():
            yield path
            continue
        yield from (f"{path} {name}" for name in TOKEN.findall(names) if name not in definitions(file))
    tokens = TOKEN.findall(text)
    yield from (each for each in tokens if METHOD.fullmatch(each) and each not in everything())
    yield from (each for each in tokens if CONDITION.fullmatch(each) and each not in CONDITIONS)


class FourStanzasTests(SynchronousTestCase):
    """The section of the four stanzas."""

    def test_names(self) -> None:
        """Each file has the functions that are named after it, and each condition is in the table of errors."""
        self.assertEqual(list(missingIn(section("Four stanzas"))), [])

    def test_four(self) -> None:
        """Each part has a diagram, and a table with a function in nearly each row."""
        first, *four = re.split(r"^### ", section("Four stanzas"), flags=re.MULTILINE)
        self.assertEqual([each[0] for each in four], ["1", "2", "3", "4"])
        for text in (first, *four):
            rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
            self.assertGreaterEqual(len(rows), 6)
            for row in rows:
                self.assertTrue([names for _, names in IN_FILE.findall(row) if names], row)
        for text in four:
            self.assertRegex(text, r"(?m)^.*──")

    def test_finds(self) -> None:
        """Names that do not exist are found."""
        for text, missing in (
            ("`proxy/core.py` `Translator.request`, `Translator.answer`: `bad-request`", []),
            ("`proxy/gone.py` `Translator.request`", ["proxy/gone.py"]),
            ("`proxy/core.py` `Translator.request` and `gone`", ["proxy/core.py gone"]),
            ("`proxy/pool.py` `Translator.request`", ["proxy/pool.py Translator.request"]),
            ("then `Translator.gone`", ["Translator.gone"]),
            ("`not-a-condition`", ["not-a-condition"]),
        ):
            self.assertEqual(list(missingIn(text)), missing)


class PictureTests(SynchronousTestCase):
    """The picture."""

    def test_files(self) -> None:
        """Each file and folder of the picture exists."""
        picture = section("The picture")
        files = set(re.findall(r"\b\w+\.py\b", picture))
        self.assertLessEqual({"core.py", "link.py", "builder.py"}, files)
        self.assertEqual(files - {path.name for path in PACKAGE.rglob("*.py")}, set())
        folders = set(re.findall(r"(?<![\w/])([a-z]+)/(?=[ ,])", picture))
        self.assertLessEqual({"stream", "http", "proxy", "state"}, folders)
        self.assertEqual([each for each in sorted(folders) if not (PACKAGE / each).is_dir()], [])

    def test_classes(self) -> None:
        """The last row of the box of handlers, and that of the cores, has a class for each feature."""
        lines = section("The picture").splitlines()
        for title in ("─ handlers:", "─ cores:"):
            [begin] = [number for number, line in enumerate(lines) if title in line]
            end = next(number for number in range(begin + 1, len(lines)) if "──" in lines[number])
            names = re.findall(r"\w+", lines[end - 1])
            self.assertGreaterEqual(len(names), 5)
            self.assertEqual([each for each in names if each not in everything()], [])

    def test_box(self) -> None:
        """The lines of the lower box have one length."""
        lines = section("The picture").splitlines()
        [begin] = [number for number, line in enumerate(lines) if "─ handlers:" in line]
        end = next(number for number in range(begin, len(lines)) if "└" in lines[number])
        self.assertEqual(len({len(line) for line in lines[begin : end + 1]}), 1)
