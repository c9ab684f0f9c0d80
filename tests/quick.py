"""Base class for tests of the CPU time that one input takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase


class QuickCase(SynchronousTestCase):
    """
    Limits CPU time, which a busy machine changes little.

    @ivar limit: seconds that one input may block the reactor.
    """

    limit = 0.1

    def setUp(self) -> None:
        # The gateway freezes its first objects; in the tests a collection would visit the objects of all tests.
        gc.disable()
        self.addCleanup(gc.enable)

    @contextmanager
    def quickly(self, what: object = "") -> Iterator[None]:
        """Fail if the block takes longer than L{limit}."""
        started = time.process_time()
        yield
        self.assertLess(time.process_time() - started, self.limit, what)
