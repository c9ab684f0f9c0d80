"""
Change the code in one place at a time, and list the changes that no test notices.

C{make mutants} tries the changes of L{tests.mutations}, C{make mutants-all} every change of the files in L{WIRING};
C{FILES="gateway/roster/compose.py"} restricts both. For each change, the tests of the file's package or those of
the effects of the configuration should fail. If they pass, the change has no effect, or a test is missing.
"""

from __future__ import annotations

import ast
import compileall
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutations import OPTIONS, RULES

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
# Seconds for one run of tests; a time-out counts as a failure, and is reported.
TIMEOUT = 300
TIMED_OUT = "(time-out)"
# Methods that only write to the log, or set a name.
TOLD = {"debug", "info", "warn", "failure", "error", "critical", "setName"}

# Functions that declare a class.
DECLARE = {"frozen", "define", "field"}

# The tests of modules that are not in a package.
OF_THE_WHOLE = [
    *(f"tests.{package}" for package in ("composition", "http", "tour")),
    *(f"tests.test_{name}" for name in ("plugins", "tap", "systemd", "metrics", "prometheus", "samples")),
]

# Names of variables that hold a table of the configuration.
TABLES = ("table", "each")

# The files between the configuration and its effects, and the checks of trust.
WIRING = (
    "gateway/composition/checks.py",
    "gateway/composition/builder.py",
    "gateway/composition/service.py",
    "gateway/composition/web.py",
    "gateway/http/access.py",
    "gateway/proxy/compose.py",
    "gateway/delegation/compose.py",
    "gateway/roster/compose.py",
    "gateway/fmuc/compose.py",
    "gateway/fmuc/tables.py",
    "gateway/embedded/host.py",
    "gateway/delegation/handler.py",
    "gateway/delegation/advertised.py",
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


def chosen() -> list[tuple[str, Mutant]]:
    """
    Return the mutations of L{tests.mutations}, each with the name of its file.

    @raise ValueError: if the text of one does not occur exactly once in its file.
    """
    found = []
    for table in (OPTIONS, RULES):
        for name, changes in table.items():
            source = (ROOT / name).read_bytes()
            for old, new in changes:
                count = source.count(old.encode())
                if count != 1:
                    raise ValueError(f"{name}: this text occurs {count} times, not once: {old}")
                start = source.index(old.encode())
                line = source.count(b"\n", 0, start) + 1
                found.append((name, Mutant(line, start, old.encode(), new.encode())))
    return found


def testsOf(name: str) -> list[list[str]]:
    """Return the tests that should notice a change of a file, in several runs; the first notices most changes."""
    path = Path(name)
    package, module = Path(ROOT, "tests", path.parent.name), f"test_{path.stem}"
    if not package.is_dir() or package.name == "composition":
        return [["tests.effects"], OF_THE_WHOLE]
    near = [[f"tests.{package.name}.{module}"]] if (package / f"{module}.py").exists() else []
    wider = [[f"tests.{package.name}"], ["tests.test_fairness"]]
    if package.name in ("muc", "fmuc"):
        # Rooms of several sites use the rules of rooms, and tests of a rule try it in mirrors as well.
        wider.insert(1, ["tests.fmuc" if package.name == "muc" else "tests.muc"])
    return [["tests.effects"], *near, *wider] if name in OPTIONS else [*near, *wider, ["tests.effects"]]


def main(*arguments: str) -> int:
    """
    Try the chosen mutations, or with C{--all} every change of some files; return 1 if one was not noticed.

    @param arguments: C{--all}, and the names of files; without names, the files of L{WIRING}, or all chosen ones.
    """
    names = [each for each in arguments if each != "--all"]
    if "--all" in arguments:
        tried = [(name, each) for name in names or WIRING for each in mutants((ROOT / name).read_bytes())]
    else:
        tried = [(name, each) for name, each in chosen() if not names or name in names]
    survived: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        original = Path(scratch, "original")
        shutil.copytree(ROOT, original, ignore=shutil.ignore_patterns(".*", "_trial_temp*", "__pycache__"))
        compileall.compile_dir(original, quiet=2)
        copies: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copies.put(Path(shutil.copytree(original, Path(scratch, str(worker)))))
        needed = {each for name, _ in tried for tests in testsOf(name) for each in tests}
        # A package has its modules.
        whole = sorted(each for each in needed if each.rpartition(".")[0] not in needed)
        # In a copy, whose path is short enough for the sockets of the tests.
        if why := _failure(Path(scratch, "0"), whole):
            raise SystemExit(f"The tests fail for the code as it is; try make unit. {why}")
        with ThreadPoolExecutor(WORKERS) as workers:
            results = workers.map(partial(_notice, copies, original), tried)
            for (name, mutant), why in zip(tried, results, strict=True):
                old = " ".join(mutant.old.decode().split())
                if not why:
                    survived[_package(name)] += 1
                if not why or why == TIMED_OUT:
                    sys.stdout.write(f"{name}:{mutant.line}: {old} -> {mutant.new.decode().strip()} {why}\n")
                    sys.stdout.flush()
    total = Counter(_package(name) for name, _ in tried)
    for package, count in sorted(total.items()):
        sys.stdout.write(f"{package}: {count - survived[package]} of {count} noticed\n")
    sys.stdout.write(f"{len(tried)} tried, {survived.total()} not noticed\n")
    return int(bool(survived))


def _package(name: str) -> str:
    return Path(name).parent.as_posix()


def _notice(copies: SimpleQueue[Path], original: Path, change: tuple[str, Mutant]) -> str:
    """Return what has noticed a change in a copy of the tree; empty for nothing."""
    name, mutant = change
    copy = copies.get()
    source = (original / name).read_bytes()
    try:
        broken = source[: mutant.start] + mutant.new + source[mutant.start + len(mutant.old) :]
        (copy / name).write_bytes(broken)
        return next((why for tests in testsOf(name) if (why := _failure(copy, tests))), "")
    finally:
        # Keep the file's time, so that its compiled form stays valid.
        shutil.copy2(original / name, copy / name)
        copies.put(copy)


def _failure(copy: Path, tests: list[str]) -> str:
    """Run tests in a copy of the tree; return the last line of a failure, L{TIMED_OUT}, or nothing."""
    command = [sys.executable, "-B", "-m", "twisted.trial", "--exitfirst", *tests]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    return done.stdout[-500:] if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
