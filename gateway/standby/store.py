"""The table of leases, in the database that the gateways share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gateway.standby.core import Owner, Row, Turn
from gateway.standby.gateways import Gateway
from gateway.state.guards import Guard, Locks

NAME = "standby"
MIGRATIONS = (
    # Version 1.
    (
        """
        CREATE TABLE leases (
            component TEXT PRIMARY KEY,
            run TEXT NOT NULL,
            name TEXT NOT NULL,
            beat BIGINT NOT NULL,
            wait DOUBLE PRECISION NOT NULL,
            UNIQUE (component, run)
        )
        """,
    ),
    # Version 2: the gateways. C{components} is a list in JSON.
    (
        """
        CREATE TABLE gateways (
            run TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            components TEXT NOT NULL,
            beat BIGINT NOT NULL
        )
        """,
    ),
)


def guard(component: str, own: Owner) -> Guard:
    """
    Return the condition for changes of the stores of a component: the lease is this process's. While one of its
    changes is not committed, nobody else can take the component: C{run} is part of a unique key.
    """
    return Guard(
        own.run,
        NAME,
        "leases",
        {"component": component, "run": own.run},
        f"another gateway may serve {component} by now: this one was halted, or PostgreSQL was away for too long",
    )


_NO_LOCKS = Locks()


def perform(cursor: Any, own: Owner, turn: Turn, locks: Locks = _NO_LOCKS) -> list[Row]:
    """
    Make the changes of a turn that are possible without a wait: a row that a session keeps must not delay the
    renewal of others.

    @param locks: ends the sessions of a former owner with its stores: it may be halted in a change, and would keep
        its row for ever.
    @return: the whole table afterwards.
    """
    for component in turn.release:
        if locks.isFree(cursor, guard(component, own)):
            cursor.execute("DELETE FROM leases WHERE component = ? AND run = ?", (component, own.run))
    for row in turn.take:
        locks.endSessions(cursor, row.owner.run)
        if locks.isFree(cursor, guard(row.component, row.owner)):
            cursor.execute(
                "UPDATE leases SET run = ?, name = ? WHERE component = ? AND run = ? AND beat = ?",
                (own.run, own.name, row.component, row.owner.run, row.beat),
            )
    for component in turn.claim:
        cursor.execute(
            "INSERT INTO leases VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING", (component, own.run, own.name)
        )
    for component in turn.renewed:
        # Also those that were taken or claimed: an earlier transaction, which got no answer, may have done that.
        cursor.execute(
            "UPDATE leases SET beat = beat + 1, wait = ? WHERE component = ? AND run = ?",
            (turn.wait, component, own.run),
        )
    return leases(cursor)


def leases(cursor: Any) -> list[Row]:
    """Return the whole table of leases."""
    cursor.execute("SELECT component, run, name, beat, wait FROM leases")
    return [Row(component, Owner(run, name), beat, wait) for component, run, name, beat, wait in cursor.fetchall()]


def announce(
    cursor: Any, own: Owner, components: Sequence[str], ended: Sequence[tuple[str, int]] = ()
) -> list[Gateway]:
    """
    Change the row of a gateway.

    @param ended: gateways to be removed: run and beat of each.
    @return: all gateways.
    """
    for run, beat in ended:
        cursor.execute("DELETE FROM gateways WHERE run = ? AND beat = ?", (run, beat))
    cursor.execute(
        "INSERT INTO gateways VALUES (?, ?, ?, 0) ON CONFLICT (run) DO UPDATE SET beat = gateways.beat + 1, "
        "components = excluded.components",
        (own.run, own.name, json.dumps(components)),
    )
    cursor.execute("SELECT run, name, components, beat FROM gateways")
    return [Gateway(Owner(run, name), json.loads(found), beat) for run, name, found, beat in cursor.fetchall()]


def leave(cursor: Any, own: Owner) -> None:
    """Remove the row of a gateway."""
    cursor.execute("DELETE FROM gateways WHERE run = ?", (own.run,))
