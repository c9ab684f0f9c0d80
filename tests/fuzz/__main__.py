"""
C{python -m tests.fuzz NAME [libFuzzer options]}: any bytes for one target, guided by what they reach (atheris).

A fault ends the run, and its input is in the working directory as C{crash-...}; it becomes a case of
L{tests.fuzz.test_targets}.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, each in enumerate(target.seeds):
            (Path(folder) / str(number)).write_bytes(each)
        atheris.Setup([sys.argv[0], *options, folder], target.attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
