"""The thread of a store."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gateway.state.worker import Worker


class WorkerTests(SynchronousTestCase):
    """The order and the end of calls."""

    def test_order(self) -> None:
        """The calls are carried out in their order, all of them before the end."""
        worker = Worker("x")
        worker.start()
        done: list[int] = []
        for number in range(100):
            worker.call(done.append, number)
        worker.stop()
        self.assertEqual(done, list(range(100)))
        self.assertFalse([each for each in worker.threads if each.is_alive()])

    def test_failure(self) -> None:
        """A call that raises is logged; the next one is carried out in the same thread."""
        worker = Worker("x")
        worker.start()
        done: list[Any] = []

        def fail(number: int) -> None:
            raise SystemExit(number)

        with capturedLogs() as logged:
            worker.call(fail, 1)
            worker.call(done.append, 2)
            worker.stop()
        self.assertEqual((done, len(worker.threads)), ([2], 1))
        [event] = logged
        self.assertEqual(event["event"], "state.call_failed")
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_neverStarted(self) -> None:
        """The end does not wait for a thread that was never started."""
        worker = Worker("x")
        worker.stop()
        self.assertEqual(worker.threads, [])
