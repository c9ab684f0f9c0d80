"""
Breaks the code on purpose, one place at a time, and lists the breaks that no test notices.

C{make mutants FILES="gateway/roster/plugin.py"}. For each break, the tests of the file's package or those of the
effects of the configuration should fail. If they pass, the break changes nothing, or a test is missing.
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
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
# Seconds for the tests of one break; a time-out counts as a failure.
LONGEST = 120
# Methods that only write to the log, or name something.
TOLD = {"debug", "info", "warn", "failure", "error", "critical", "setName"}

# Names of variables that hold a table of the configuration.
TABLES = ("table", "each")

# The way of the configuration to its effects, and the checks of trust.
WIRING = (
    "gateway/service.py",
    "gateway/monitor/access.py",
    "gateway/proxy/plugin.py",
    "gateway/delegation/plugin.py",
    "gateway/roster/plugin.py",
    "gateway/fmuc/plugin.py",
    "gateway/embedded/host.py",
    "gateway/delegation/handler.py",
    "gateway/delegation/asking.py",
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
    """The breaks of a file: constant conditions, calls and arguments left out, keys that have their defaults."""
    starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + column

    found = []
    for node in ast.walk(ast.parse(source)):
        for part, new in _breaks(node):
            start = offset(part.lineno, part.col_offset)
            end = offset(part.end_lineno or 0, part.end_col_offset or 0)
            if isinstance(part, ast.keyword) and source[end : end + 1] == b",":
                end += 1
            found.append(Mutant(part.lineno, start, source[start:end], new))
    return sorted(set(found))


def _breaks(node: ast.AST) -> Iterator[tuple[ast.expr | ast.keyword | ast.stmt, bytes]]:
    """Each part of a node that may be broken, and its replacement."""
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
    elif isinstance(node, ast.Call) and not _tells(node):
        for keyword in node.keywords:
            yield keyword, b""
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in TABLES:
        # The key's default in place of the configured value.
        name = node.value.id
        yield node, f"__import__('attrs').fields_dict(type({name}))['{node.attr}'].default".encode()


def _tells(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in TOLD


def testsOf(name: str) -> list[str]:
    """The tests nearest to a file."""
    package = Path(name).parent.name
    own = [f"tests.{package}"] if Path(ROOT, "tests", package).is_dir() else []
    if not own:
        own = ["tests.test_service", "tests.test_site", "tests.test_status", "tests.test_config"]
    return [*own, "tests.effects"]


def main(*names: str) -> int:
    """Break these files, one place at a time; return 1 if a break was not noticed."""
    with tempfile.TemporaryDirectory() as scratch:
        copies: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copy = Path(scratch, str(worker))
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "_trial_temp*", "__pycache__"))
            compileall.compile_dir(copy, quiet=2)
            copies.put(copy)
        tried = survived = 0
        for name in names or WIRING:
            tests = testsOf(name)
            if _fails(copies, name, None, tests):
                raise SystemExit(f"{name}: {' '.join(tests)} fail for the file as it is")
            found = mutants(Path(ROOT, name).read_bytes())
            with ThreadPoolExecutor(WORKERS) as workers:
                noticed = workers.map(lambda each, name=name, tests=tests: _fails(copies, name, each, tests), found)
                for mutant, isNoticed in zip(found, noticed, strict=True):
                    tried += 1
                    if not isNoticed:
                        survived += 1
                        old = " ".join(mutant.old.decode().split())
                        sys.stdout.write(f"{name}:{mutant.line}: {old} -> {mutant.new.decode()}\n")
                        sys.stdout.flush()
        sys.stdout.write(f"{tried} tried, {survived} not noticed\n")
    return int(survived > 0)


def _fails(copies: SimpleQueue[Path], name: str, mutant: Mutant | None, tests: list[str]) -> bool:
    """True if the tests fail in a copy of the tree with this break."""
    copy = copies.get()
    path = copy / name
    source = Path(ROOT, name).read_bytes()
    try:
        if mutant is not None:
            path.write_bytes(source[: mutant.start] + mutant.new + source[mutant.start + len(mutant.old) :])
        command = [sys.executable, "-B", "-m", "twisted.trial", "--exitfirst", *tests]
        return subprocess.run(command, cwd=copy, capture_output=True, timeout=LONGEST, check=False).returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        # With its time, so that what is compiled of it still counts.
        shutil.copy2(ROOT / name, path)
        copies.put(copy)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
