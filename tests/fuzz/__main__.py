"""
C{python -m tests.fuzz NAME [libFuzzer options]}: any bytes for one target, guided by what they reach (atheris).

A fault ends the run, and its input is in the working directory as C{crash-...}; it becomes a case of
L{tests.fuzz.test_targets}.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

# The parts of the gateway that guide the choice of input, if not all do: the others do not depend on it.
_PARTS = {
    "stream": ["gateway.stream", "gateway.xml"],
    "configuration": ["gateway.composition", "gateway.config", "gateway.addresses", "gateway.state.urls"],
    "http": ["gateway.http", "gateway.roster"],
}


def main() -> None:
    """Run."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=_PARTS.get(name, ["gateway"])):
        from tests.fuzz.seeds import WORDS
        from tests.fuzz.targets import MUTATORS, TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_quoted(each)}"\n' for each in WORDS))
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, each in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(each)
        with atheris.instrument_imports(include=_PARTS.get(name, ["gateway"])):
            # Services are imported when they are made.
            for each in target.seeds:
                target.attempt(each)
        mutator = {"custom_mutator": _by(MUTATORS[name])} if name in MUTATORS else {}
        atheris.Setup([sys.argv[0], f"-dict={words}", *options, str(corpus)], target.attempt, **mutator)
        atheris.Fuzz()


def _by(change: Callable[..., bytes]) -> Callable[[bytes, int, int], bytes]:
    """Return a change of input in the form that atheris calls."""

    def mutator(data: bytes, largest: int, seed: int) -> bytes:
        return change(data, lambda old: atheris.Mutate(old, len(old)), Random(seed))[:largest]

    return mutator


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{each:02x}" for each in word)


if __name__ == "__main__":
    main()
