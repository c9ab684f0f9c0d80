"""Tests that hold the work for one input to a bound."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase


class QuickCase(SynchronousTestCase):
    """
    Bounds CPU time, so that a busy machine changes little.

    @ivar limit: seconds that one input may keep the reactor.
    """

    limit = 0.1

    def setUp(self) -> None:
        # The process under test has frozen what it began with; here a collection would go through all tests.
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    @contextmanager
    def quickly(self, what: object = "") -> Iterator[None]:
        """Fail if the block takes longer than L{limit}."""
        started = time.process_time()
        yield
        self.assertLess(time.process_time() - started, self.limit, what)
