"""
The number of examples of the property tests, in one place.

C{EXAMPLES=long} in the environment tries five times as many as the default, C{EXAMPLES=quick}. C{make test}
sets it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

for _name, _examples in (("quick", 20), ("long", 100)):
    # The same examples at each run, on any machine, however slow it is.
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

PROFILE = os.environ.get("EXAMPLES", "quick")
settings.load_profile(PROFILE)

# Decorators of tests: with the usual number of examples, and with more for what has many cases.
steady = settings()
thorough = settings(max_examples=3 * steady.max_examples)


def share(examples: int, number: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Return the decorator of a part of a long run. A failing example is reported as it is: to shorten one takes
    minutes.

    @param number: seed; each one has examples of its own.
    """
    chosen = settings(max_examples=examples, derandomize=False, phases=(Phase.generate,))
    return lambda test: seed(number)(chosen(test))


# Number of long random runs of a test.
RUNS = steady.max_examples // 8
