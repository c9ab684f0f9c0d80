"""
The results of the live tests, for docs/compatibility.md: C{python -m docs.results FILE ...} reads the output of
C{make live}, and writes docs/results.json and that page. If a test is in it several times, its last result counts.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = Path(__file__).parent / "results.json"

# Trial's report: a module, its classes, and the tests of each. A test may print something before its result.
_MODULE = re.compile(r"tests\.live\.test_(\w+)")
_CASE = re.compile(r"  (\w+)")
_TEST = re.compile(r" {4}(test\w+) \.\.\..*")
_RESULT = re.compile(r".*\s\[(OK|FAIL|ERROR|SKIPPED|TODO|SUCCESS!\?!)\]")
# Passed and failed tests, by module without C{test_} and kind of server.
Results = Mapping[str, Mapping[str, tuple[int, int]]]


def read(lines: Iterable[str]) -> dict[tuple[str, str, str], bool]:
    """Return whether a test has passed, by module, class and name. Tests that were skipped are left out."""
    found: dict[tuple[str, str, str], bool] = {}
    module = case = test = ""
    for line in lines:
        if header := _MODULE.fullmatch(line):
            module, case, test = header[1], "", ""
        elif header := _CASE.fullmatch(line):
            case, test = header[1], ""
        elif line.startswith("====="):
            module = test = ""
        elif header := _TEST.fullmatch(line):
            test = header[1]
        if module and case and test and (result := _RESULT.fullmatch(line)):
            if result[1] != "SKIPPED":
                found[module, case, test] = result[1] == "OK"
            test = ""
    return found


def count(
    outcomes: Mapping[tuple[str, str, str], bool], cases: Mapping[tuple[str, str], set[str]]
) -> dict[str, dict[str, tuple[int, int]]]:
    """
    Return the numbers of tests.

    @param cases: the kinds of server that each class uses, by module and class.
    """
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for (module, case, _), hasPassed in sorted(outcomes.items()):
        for kind in sorted(cases.get((module, case), ())):
            of = found.setdefault(module, {})
            passed, failed = of.get(kind, (0, 0))
            of[kind] = (passed + hasPassed, failed + (not hasPassed))
    return found


def cell(numbers: Iterable[tuple[int, int]]) -> str:
    """Return the cell of a feature and a server, of the numbers for each module of tests."""
    listed = list(numbers)
    failed = sum(each for _, each in listed)
    if failed:
        return f"{failed} failed"
    return "yes" if all(passed for passed, _ in listed) else "not run"


def load() -> Results:
    """Return what is recorded."""
    found: Results = json.loads(FILE.read_text())
    return found


def save(results: Results) -> None:
    """Record results, with a line for each module."""
    lines = (f" {json.dumps(module)}: {json.dumps(each)}" for module, each in sorted(results.items()))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    from docs.generated import FOLDER, PAGES, cases

    lines = [line for name in sys.argv[1:] for line in Path(name).read_text(errors="replace").splitlines()]
    save(count(read(lines), cases()))
    (FOLDER / "compatibility.md").write_text(PAGES["compatibility.md"]())
