"""
The tests of L{tests.fmuc.test_losses} with many examples, in their long form: C{make soak-chain}.

The examples come in shares, each with a seed of its own. A failure ends the run, with its example and the seed. The
variable COUNT is the number of examples, half of which are of each test; SEED is the seed of the first share.
"""

from __future__ import annotations

import os
import sys
import time

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from tests.fmuc import test_losses
from tests.fmuc.losses import Losses, Node
from tests.profiles import share

_COUNT, _SHARE = 100_000, 1_000


class Soak(SynchronousTestCase):
    """Many examples."""

    def test_channels(self) -> None:
        """Chains with channels."""
        self.run_("test_channels", test_losses.RELIABLE, test_losses.STEPS)

    def test_any(self) -> None:
        """Any chains."""
        self.run_("test_any", test_losses.ANY, test_losses.FORGETTING)

    def run_(self, name: str, nodes: object, steps: object) -> None:
        """Try the examples of one test."""
        case, count = test_losses.LossesTests(name), int(os.environ.get("COUNT", _COUNT)) // 2
        first = int(os.environ.get("SEED") or time.time())
        for start in range(0, count, _SHARE):
            number = first + start // _SHARE
            size = min(_SHARE, count - start)

            @share(size, number)
            @given(nodes, steps)
            def examples(nodes: tuple[Node, ...], whatHappens: list[tuple[str, int, str]]) -> None:
                case.happen(Losses(nodes), whatHappens)

            sys.stdout.write(f"{name}: examples {start + 1} to {start + size}, seed {number}\n")
            sys.stdout.flush()
            try:
                examples()
            except Exception as error:
                # trial shows no notes, which have the example.
                sys.stdout.write("\n".join(getattr(error, "__notes__", ())) + "\n")
                raise
