"""The short form of C{make fuzz}: changed seeds, and what it has found."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz import targets
from tests.fuzz.requests import REQUESTS
from tests.fuzz.seeds import WORDS
from tests.fuzz.targets import MUTATORS, TARGETS, stop
from tests.profiles import steady, thorough

_EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 12), st.integers(0, 30), st.sampled_from(WORDS) | st.binary(max_size=6)),
    max_size=6,
)
# Input that was a fault once.
_FOUND: dict[str, tuple[bytes, ...]] = {}


def changed(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Return input with some parts replaced: each edit has a place, the length of the old part, and the new one."""
    for place, length, new in edits:
        at = place % (len(seed) + 1)
        seed = seed[:at] + new + seed[at + length :]
    return seed


class TargetTests(SynchronousTestCase):
    """Each target takes anything."""

    def tearDown(self) -> None:
        stop()

    def test_seeds(self) -> None:
        """The input to begin with, and what was found."""
        for name, target in TARGETS.items():
            for data in (*target.seeds, *_FOUND.get(name, ()), b"", b"\0"):
                with self.subTest(name=name, data=data):
                    target.attempt(data)

    def test_isReached(self) -> None:
        """Stanzas come to the services, and requests to the pages."""
        for component, data in ((3, b"muc"), (5, b"fmuc"), (1, b"delegation")):
            seeds = [each for each in TARGETS["stanzas"].seeds if each[0] == component and data in each]
            with patch.object(targets, "checkAnswers") as check:
                TARGETS["stanzas"].attempt(seeds[0])
            self.assertTrue(check.call_args.args[-1], seeds[0])
        with patch.object(targets, "checkResponses") as check:
            TARGETS["http"].attempt(REQUESTS[0])
        self.assertIn(b" 200 OK", check.call_args.args[1])

    @steady
    @given(st.sampled_from(sorted(MUTATORS)), st.integers(0, 100), st.randoms(use_true_random=False))
    def test_mutated(self, name: str, number: int, random: Random) -> None:
        """The same with changes that keep its form."""
        target = TARGETS[name]
        data = target.seeds[number % len(target.seeds)]
        target.attempt(MUTATORS[name](data, lambda old: old[1:], random))

    @thorough
    @given(st.sampled_from(sorted(TARGETS)), st.integers(0, 100), _EDITS)
    def test_changed(self, name: str, number: int, edits: list[tuple[int, int, bytes]]) -> None:
        """The same with some parts replaced."""
        target = TARGETS[name]
        target.attempt(changed(target.seeds[number % len(target.seeds)], edits))
