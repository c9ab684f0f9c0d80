"""The thread of a store."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool


class Worker:
    """
    A thread that carries out calls in their order.

    A L{ThreadPool} makes several objects for each call, and a store hands over one call for each commit. So this
    one runs as a single call of the pool.

    @ivar threads: the thread, once it has started.
    """

    _log = Logger()

    def __init__(self, name: str) -> None:
        self._pool = ThreadPool(0, 1, name)
        self.threads = self._pool.threads
        self._calls: SimpleQueue[tuple[Callable[[Any], object], Any] | None] = SimpleQueue()

    def start(self) -> None:
        """Start the thread."""
        self._pool.start()
        self._pool.callInThread(self._work)

    def call(self, act: Callable[[Any], object], argument: Any) -> None:
        """Call a function in the thread."""
        self._calls.put((act, argument))

    def isDone(self, seconds: float) -> bool:
        """Wait until all calls were carried out; return false if that takes longer than so many seconds."""
        done: SimpleQueue[None] = SimpleQueue()
        self.call(done.put, None)
        try:
            done.get(timeout=seconds)
        except Empty:
            return False
        return True

    def stop(self) -> None:
        """Wait for all calls, and end the thread."""
        self._calls.put(None)
        self._pool.stop()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            act, argument = call
            try:
                act(argument)
            except BaseException:
                # Later calls are carried out nevertheless.
                self._log.failure("A call in the thread of a store has failed.", event="state.call_failed")
