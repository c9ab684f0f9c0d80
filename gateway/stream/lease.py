"""
The time for which a component is this gateway's, if several gateways may serve it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from attrs import define

from gateway.reports import StatusItem


@define(eq=False)
class Lease:
    """
    The lease of one component.

    @ivar until: seconds of the reactor's clock. From then on another gateway may serve the component, so this one
        handles nothing any more.
    @ivar silentAt: likewise, a little later. Until then, what is open may be answered with errors. From then on
        another gateway may answer it, so this one sends nothing any more, and drops what it would send.
    @ivar onOver: called when that time has come; stops the component's links before it returns.
    @ivar report: returns what is reported about the gateways that may serve the component.
    """

    until: float = inf
    onOver: Callable[[], object] = lambda: None
    silentAt: float = inf
    report: Callable[[], Iterable[StatusItem]] = tuple

    def isOver(self, now: float) -> bool:
        """
        True if the component is not this gateway's any longer; then its links are stopped.

        A process that was halted finds out here: its timers may fire only after the input that has come meanwhile.
        """
        if now < self.until:
            return False
        self.onOver()
        return True
