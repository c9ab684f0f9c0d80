"""
The metrics of a link.
"""

from __future__ import annotations

import typing
from collections import Counter

from gateway.metrics import IMetrics, label, names
from gateway.stream.fairness import Fairness
from gateway.stream.outbox import Outbox
from gateway.stream.refusals import Refusals
from gateway.stream.traffic import RECEIVED, SENT, Traffic


class Measured(typing.Protocol):
    """The part of a link that is measured; its attributes are described there."""

    ready: bool
    conflict: str
    connections: int
    failures: int
    outbox: Outbox
    lost: Counter[str]
    errors: Counter[str]
    refusals: Refusals
    fairness: Fairness

    @property
    def unsentBytes(self) -> int:
        """Bytes of output that wait for the server to read."""

    @property
    def openReplies(self) -> int:
        """Number of requests that wait for the answer of an element handler."""

    @property
    def openRequests(self) -> int:
        """Number of the component's own requests without an answer."""


# Directions of refused stanzas by their names in the log.
_DIRECTIONS = {"from the server": RECEIVED, "to the server": SENT}


def measure(link: Measured, metrics: IMetrics) -> Traffic:
    """
    Register the metrics of a link.

    @param metrics: of this link alone.
    @return: counts the link's stanzas, which only metrics show.
    """
    traffic = Traffic()
    fairness = link.fairness
    metrics.counter(*names.STANZAS).setFunction(traffic.stanzas)
    metrics.counter(*names.STANZA_BYTES).setFunction(traffic.stanzaBytes)
    metrics.counter(*names.STREAM_BYTES).setFunction(lambda: dict(traffic.sizes))
    metrics.gauge(*names.LINK_UP).setFunction(lambda: link.ready)
    metrics.gauge(*names.LINK_CONFLICT).setFunction(lambda: bool(link.conflict))
    metrics.counter(*names.LINK_CONNECTIONS).setFunction(lambda: link.connections)
    metrics.counter(*names.LINK_FAILURES).setFunction(lambda: link.failures)
    metrics.gauge(*names.LINK_UNSENT).setFunction(lambda: link.unsentBytes)
    metrics.gauge(*names.OUTBOX_STANZAS).setFunction(lambda: len(link.outbox))
    metrics.gauge(*names.OUTBOX_BYTES).setFunction(lambda: link.outbox.size)
    metrics.counter(*names.OUTPUT_DROPPED).setFunction(lambda: dict(link.lost))
    metrics.counter(*names.REFUSED).setFunction(
        lambda: {
            (_DIRECTIONS[direction], label(reason)): count
            for (direction, reason), count in link.refusals.counts.items()
        }
    )
    metrics.counter(*names.ERRORS).setFunction(lambda: dict(link.errors))
    budgets = {"answers": fairness.budget, "copies": fairness.copies}
    metrics.counter(*names.OVER_BUDGET).setFunction(lambda: {name: each.refused for name, each in budgets.items()})
    metrics.gauge(*names.IN_DEBT).setFunction(lambda: {name: len(each.debts) for name, each in budgets.items()})
    metrics.gauge(*names.HELD_STANZAS).setFunction(lambda: fairness.heldStanzas)
    metrics.gauge(*names.HELD_USERS).setFunction(lambda: len(fairness.held))
    pending = metrics.gauge(*names.PENDING)
    pending.labels("handlers").setFunction(lambda: link.openReplies)
    pending.labels("own").setFunction(lambda: link.openRequests)
    return traffic
