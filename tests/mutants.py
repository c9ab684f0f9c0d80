"""
Change the code in one place at a time, and list the changes that no test notices.

C{make mutants FILES="gateway/roster/plugin.py"}. For each change, the tests of the file's package or those of the
effects of the configuration should fail. If they pass, the change has no effect, or a test is missing.
"""

from __future__ import annotations

import ast
import compileall
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
# Seconds for the tests of one break; a time-out counts as a failure.
TIMEOUT = 120
# Methods that only write to the log, or set a name.
TOLD = {"debug", "info", "warn", "failure", "error", "critical", "setName"}

# Functions that declare a class.
DECLARE = {"frozen", "define", "field"}

# The tests of modules that are not in a package.
OF_THE_WHOLE = [
    *(f"tests.test_{name}" for name in ("service", "changes", "plugins", "tap")),
    *(f"tests.{package}" for package in ("config", "http", "tour")),
]

# Names of variables that hold a table of the configuration.
TABLES = ("table", "each")

# The files between the configuration and its effects, and the checks of trust.
WIRING = (
    "gateway/checks.py",
    "gateway/builder.py",
    "gateway/service.py",
    "gateway/http/access.py",
    "gateway/proxy/plugin.py",
    "gateway/delegation/plugin.py",
    "gateway/roster/plugin.py",
    "gateway/fmuc/plugin.py",
    "gateway/embedded/host.py",
    "gateway/delegation/handler.py",
    "gateway/delegation/client_mode.py",
    "gateway/delegation/managing.py",
    "gateway/privilege/handler.py",
    "gateway/privilege/core.py",
    "gateway/roster/handler.py",
)


class Mutant(NamedTuple):
    """
    One break.

    @ivar start: offset in the file's bytes.
    @ivar old: the bytes there.
    @ivar new: their replacement.
    """

    line: int
    start: int
    old: bytes
    new: bytes


def mutants(source: bytes) -> list[Mutant]:
    """Return the changes of a file: constant conditions, missing calls and arguments, keys with their defaults."""
    starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + column

    found = []
    for node in _nodes(ast.parse(source)):
        for part, new in _breaks(node):
            start = offset(part.lineno, part.col_offset)
            end = offset(part.end_lineno or 0, part.end_col_offset or 0)
            if isinstance(part, ast.keyword) and source[end : end + 1] == b",":
                end += 1
            found.append(Mutant(part.lineno, start, source[start:end], new))
    return sorted(set(found))


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes of a tree except those within an f-string, whose positions are unknown before Python 3.12."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.JoinedStr):
            yield from _nodes(child)


def _breaks(node: ast.AST) -> Iterator[tuple[ast.expr | ast.keyword | ast.stmt, bytes]]:
    """Yield each part of a node that can be changed, and its replacement."""
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield node.test, b"False"
        yield node.test, b"True"
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield value, b"True" if isinstance(node.op, ast.And) else b"False"
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Compare | ast.BoolOp):
        yield node.value, b"True"
        yield node.value, b"False"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _tells(node.value):
        yield node, b"pass"
    elif isinstance(node, ast.Call) and not _tells(node) and ast.unparse(node.func) not in DECLARE:
        for keyword in node.keywords:
            yield keyword, b""
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in TABLES:
        # The key's default in place of the configured value.
        name = node.value.id
        yield node, f"__import__('attrs').fields_dict(type({name}))['{node.attr}'].default".encode()


def _tells(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in TOLD


def testsOf(name: str) -> tuple[list[str], list[str]]:
    """Return the tests nearest to a file, which notice most changes, and the other tests that should notice one."""
    path = Path(name)
    package, module = Path(ROOT, "tests", path.parent.name), f"test_{path.stem}"
    if not package.is_dir():
        return ["tests.effects"], OF_THE_WHOLE
    near = [f"tests.{package.name}.{module}"] if (package / f"{module}.py").exists() else []
    return [*near, "tests.effects"], [f"tests.{package.name}"]


def main(*names: str) -> int:
    """Change these files, one place at a time; return 1 if a change was not noticed."""
    with tempfile.TemporaryDirectory() as scratch:
        original = Path(scratch, "original")
        shutil.copytree(ROOT, original, ignore=shutil.ignore_patterns(".*", "_trial_temp*", "__pycache__"))
        compileall.compile_dir(original, quiet=2)
        copies: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copies.put(Path(shutil.copytree(original, Path(scratch, str(worker)))))
        tried = survived = 0
        for name in names or WIRING:
            attempt = partial(_isNoticed, copies, original / name, name)
            if attempt(None):
                raise SystemExit(f"{name}: its tests fail for the file as it is; try make unit")
            found = mutants((original / name).read_bytes())
            with ThreadPoolExecutor(WORKERS) as workers:
                noticed = workers.map(attempt, found)
                for mutant, isNoticed in zip(found, noticed, strict=True):
                    tried += 1
                    if not isNoticed:
                        survived += 1
                        old = " ".join(mutant.old.decode().split())
                        sys.stdout.write(f"{name}:{mutant.line}: {old} -> {mutant.new.decode()}\n")
                        sys.stdout.flush()
        sys.stdout.write(f"{tried} tried, {survived} not noticed\n")
    return int(survived > 0)


def _isNoticed(copies: SimpleQueue[Path], original: Path, name: str, mutant: Mutant | None) -> bool:
    """True if tests fail in a copy of the tree with this change."""
    copy = copies.get()
    source = original.read_bytes()
    try:
        if mutant is not None:
            broken = source[: mutant.start] + mutant.new + source[mutant.start + len(mutant.old) :]
            (copy / name).write_bytes(broken)
        return any(_fail(copy, tests) for tests in testsOf(name))
    finally:
        # Keep the file's time, so that its compiled form stays valid.
        shutil.copy2(original, copy / name)
        copies.put(copy)


def _fail(copy: Path, tests: list[str]) -> bool:
    command = [sys.executable, "-B", "-m", "twisted.trial", "--exitfirst", *tests]
    try:
        return subprocess.run(command, cwd=copy, capture_output=True, timeout=TIMEOUT, check=False).returncode != 0
    except subprocess.TimeoutExpired:
        return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
